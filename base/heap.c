/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Binary heap of embedded nodes: each knows its place, so moving and dropping one need no search. */
#include "base/heap.h"

#include "base/mem.h"
#include "base/obj.h"

enum { CAP_MIN = 16 };

void heap_fini(struct heap *h)
{
	for (size_t i = 0; i < h->n; i++)
		h->v[i]->at = 0;
	mem_free(h->v);
	*h = (struct heap){NULL, 0, 0};
}

static void set(struct heap *h, size_t i, struct heap_node *n)
{
	h->v[i] = n;
	n->at = i + 1;
}

static void sift_up(struct heap *h, size_t i, struct heap_node *n)
{
	while (i > 0 && h->v[(i - 1) / 2]->due > n->due) {
		set(h, i, h->v[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	set(h, i, n);
}

static void sift_down(struct heap *h, size_t i, struct heap_node *n)
{
	for (;;) {
		size_t kid = 2 * i + 1;

		if (kid >= h->n)
			break;
		if (kid + 1 < h->n && h->v[kid + 1]->due < h->v[kid]->due)
			kid++;
		if (h->v[kid]->due >= n->due)
			break;
		set(h, i, h->v[kid]);
		i = kid;
	}
	set(h, i, n);
}

static void settle(struct heap *h, size_t i, struct heap_node *n)
{
	if (i > 0 && h->v[(i - 1) / 2]->due > n->due)
		sift_up(h, i, n);
	else
		sift_down(h, i, n);
}

void heap_put(struct heap *h, struct heap_node *n, uint64_t due)
{
	n->due = due;
	if (n->at != 0) {
		CHECK(n->at <= h->n && h->v[n->at - 1] == n);
		settle(h, n->at - 1, n);
		return;
	}
	if (h->n == h->cap) {
		h->cap = h->cap == 0 ? CAP_MIN : h->cap * 2;
		h->v = mem_grow(h->v, h->cap * sizeof(*h->v));
	}
	sift_up(h, h->n++, n);
}

void heap_drop(struct heap *h, struct heap_node *n)
{
	if (n->at == 0)
		return;
	size_t i = n->at - 1;

	CHECK(i < h->n && h->v[i] == n);
	struct heap_node *last = h->v[--h->n];

	n->at = 0;
	if (last != n)
		settle(h, i, last);
}

struct heap_node *heap_first(const struct heap *h)
{
	return h->n == 0 ? NULL : h->v[0];
}
