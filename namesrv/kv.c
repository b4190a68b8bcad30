/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "namesrv/kv.h"

#include "base/mem.h"
#include "base/obj.h"

void kv_init(struct kv *k, size_t max, size_t max_bytes)
{
	*k = (struct kv){.max = max, .max_bytes = max_bytes};
}

static void drop_text(struct slice s)
{
	mem_free((void *)(uintptr_t)s.p);
}

void kv_fini(struct kv *k)
{
	for (size_t i = 0; i < k->n; i++) {
		drop_text(k->v[i].space);
		drop_text(k->v[i].key);
		drop_text(k->v[i].value);
	}
	mem_free(k->v);
	*k = (struct kv){0};
}

static int compare(const struct wire_kv *a, struct slice space, struct slice key)
{
	int c = slice_cmp(a->space, space);
	return c != 0 ? c : slice_cmp(a->key, key);
}

/* The first place whose pair is not below (space, key). */
static size_t place(const struct kv *k, struct slice space, struct slice key)
{
	size_t low = 0, high = k->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (compare(&k->v[mid], space, key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool there(const struct kv *k, size_t at, struct slice space, struct slice key)
{
	return at < k->n && compare(&k->v[at], space, key) == 0;
}

bool kv_get(const struct kv *k, struct slice space, struct slice key, struct slice *ret)
{
	size_t at = place(k, space, key);
	if (!there(k, at, space, key))
		return false;
	*ret = k->v[at].value;
	return true;
}

static struct slice copy(struct slice s)
{
	return slice_of(slice_dup(s), s.n);
}

enum status kv_put(struct kv *k, struct slice space, struct slice key, struct slice value)
{
	size_t at = place(k, space, key);
	bool old = there(k, at, space, key);
	size_t bytes = old ? k->bytes - k->v[at].value.n + value.n : k->bytes + space.n + key.n + value.n;
	if (space.n == 0 || key.n == 0)
		return ST_BAD_ARG;
	if (bytes > k->max_bytes || (!old && k->n >= k->max))
		return ST_BUSY;
	if (old) {
		struct slice was = k->v[at].value;
		k->v[at].value = copy(value);
		drop_text(was);
	} else {
		if (k->n == k->cap) {
			k->cap = k->cap == 0 ? 8 : k->cap * 2;
			k->v = mem_grow(k->v, k->cap * sizeof(*k->v));
		}
		memmove(&k->v[at + 1], &k->v[at], (k->n - at) * sizeof(*k->v));
		k->v[at] = (struct wire_kv){copy(space), copy(key), copy(value)};
		k->n++;
	}
	k->bytes = bytes;
	return ST_OK;
}

bool kv_drop(struct kv *k, struct slice space, struct slice key)
{
	size_t at = place(k, space, key);
	if (!there(k, at, space, key))
		return false;
	struct wire_kv old = k->v[at];
	k->bytes -= old.space.n + old.key.n + old.value.n;
	memmove(&k->v[at], &k->v[at + 1], (k->n - at - 1) * sizeof(*k->v));
	k->n--;
	drop_text(old.space);
	drop_text(old.key);
	drop_text(old.value);
	return true;
}

size_t kv_space(const struct kv *k, struct slice space, size_t *ret_from)
{
	size_t from = place(k, space, slice_of(NULL, 0)), to = from;
	while (to < k->n && slice_eq(k->v[to].space, space))
		to++;
	*ret_from = from;
	return to - from;
}
