/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Shared bytes: the one refcounted thing. The count is atomic, so that another thread's front may hold one. */
#ifndef BASE_BLOB_H
#define BASE_BLOB_H

#include <stdatomic.h>

#include "base/slice.h"

struct blob {
	atomic_uint refs;
	void (*free)(struct blob *); /* called by the last blob_drop */
	size_t n;
	uint8_t *p;
};

struct blob *blob_new(size_t n);              /* n bytes, one reference; content not set */
struct blob *blob_copy(struct slice s);
static inline struct blob *blob_hold(struct blob *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}
void blob_drop(struct blob *b);               /* NULL is fine */

/* Bytes on their way to a peer: where blob is NULL they are copied by whoever keeps them, else they stand in it. */
struct piece {
	struct slice bytes;
	struct blob *blob;
};

#endif
