/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Hash tables in memory: byte strings or 64-bit numbers to pointers. String keys are not copied: the slice must live as long as
 * the entry (usually it stands inside the value). Open addressing, no order.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/slice.h"

struct map_slot {
	uint64_t hash; /* 0: free */
	struct slice key;
	void *value;
};
struct map {
	struct map_slot *slots;
	size_t count, cap;
};
void map_fini(struct map *m);                                   /* frees the table, not the values */
void *map_get(const struct map *m, struct slice key);           /* NULL when absent */
void *map_put(struct map *m, struct slice key, void *value);    /* the value it replaces, or NULL; key is replaced too */
void *map_drop(struct map *m, struct slice key);                /* the value removed, or NULL */
/* Walks the table: start with *at = 0; NULL at the end. Entries must not be added or removed meanwhile. */
struct map_slot *map_each(const struct map *m, size_t *at);

struct u64map_slot {
	uint64_t key;
	void *value; /* NULL: free */
};
struct u64map {
	struct u64map_slot *slots;
	size_t count, cap;
};
void u64map_fini(struct u64map *m);
void *u64map_get(const struct u64map *m, uint64_t key);
void *u64map_put(struct u64map *m, uint64_t key, void *value);  /* value is not NULL */
void *u64map_drop(struct u64map *m, uint64_t key);
struct u64map_slot *u64map_each(const struct u64map *m, size_t *at);

#endif
