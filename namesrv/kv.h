/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Private to namesrv/: the KV configuration, texts by namespace and key. Small, so it is one array, sorted by both. */
#ifndef NAMESRV_KV_H
#define NAMESRV_KV_H

#include "base/status.h"
#include "wire/bodies.h"

struct kv {
	struct wire_kv *v;    /* every slice is an allocation of its own */
	size_t n, cap;
	size_t bytes;         /* of all texts */
	size_t max, max_bytes;
};
void kv_init(struct kv *k, size_t max, size_t max_bytes);
void kv_fini(struct kv *k);
bool kv_get(const struct kv *k, struct slice space, struct slice key, struct slice *ret);
/* BAD_ARG: an empty name; BUSY: a limit is reached. */
enum status kv_put(struct kv *k, struct slice space, struct slice key, struct slice value);
bool kv_drop(struct kv *k, struct slice space, struct slice key);
/* The pairs of a namespace: [*ret_from, *ret_from + result). */
size_t kv_space(const struct kv *k, struct slice space, size_t *ret_from);

#endif
