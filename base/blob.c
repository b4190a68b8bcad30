/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Shared bytes, in one allocation with their count. */
#include "base/blob.h"

#include "base/mem.h"
#include "base/obj.h"

static void free_blob(struct blob *b)
{
	mem_free(b);
}

struct blob *blob_new(size_t n)
{
	CHECK(n <= SIZE_MAX - sizeof(struct blob));
	struct blob *b = mem_grow(NULL, sizeof(*b) + n);

	atomic_init(&b->refs, 1);
	b->free = free_blob;
	b->n = n;
	b->p = (uint8_t *)(b + 1);
	return b;
}

struct blob *blob_copy(struct slice s)
{
	struct blob *b = blob_new(s.n);

	if (s.n > 0)
		memcpy(b->p, s.p, s.n);
	return b;
}

void blob_drop(struct blob *b)
{
	if (b == NULL)
		return;
	unsigned before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);

	CHECK(before > 0);
	if (before == 1)
		b->free(b);
}
