/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Binary heap of timers, smallest 'due' first (ties in no order). Nodes are embedded; a node is in one heap at most. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	uint64_t due;
	size_t at; /* 1 + index in the heap; 0: not in it */
};
struct heap {
	struct heap_node **v;
	size_t n, cap;
};
void heap_fini(struct heap *h);
void heap_put(struct heap *h, struct heap_node *n, uint64_t due); /* inserts, or moves one that is in already */
void heap_drop(struct heap *h, struct heap_node *n);              /* fine when it is not in */
struct heap_node *heap_first(const struct heap *h);               /* NULL when empty */
static inline bool heap_has(const struct heap_node *n) { return n->at != 0; }

#endif
