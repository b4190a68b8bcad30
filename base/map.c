/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Hash tables with linear probing. Removing shifts the rest of its run back, so there are no tombstones and a lookup ends at the first
 * free slot. At most three quarters of the slots are taken; a table never shrinks.
 */
#include "base/map.h"

#include "base/mem.h"
#include "base/obj.h"

enum { CAP_MIN = 16 };

static bool is_full(size_t count, size_t cap)
{
	return count + 1 > cap - cap / 4;
}

/* ---- Byte strings ------------------------------------------------------------------------------------------------------------- */

static uint64_t key_hash(struct slice key)
{
	uint64_t h = slice_hash(key);

	return h == 0 ? 1 : h;
}

/* The slot of the key, or the free one where it would go. */
static size_t map_seek(const struct map *m, uint64_t hash, struct slice key)
{
	size_t at = hash & (m->cap - 1);

	while (m->slots[at].hash != 0 && !(m->slots[at].hash == hash && slice_eq(m->slots[at].key, key)))
		at = (at + 1) & (m->cap - 1);
	return at;
}

static void map_widen(struct map *m)
{
	struct map_slot *old = m->slots;
	size_t n = m->cap;

	m->cap = n == 0 ? CAP_MIN : n * 2;
	m->slots = mem_array(m->cap, sizeof(*m->slots));
	for (size_t i = 0; i < n; i++) {
		if (old[i].hash == 0)
			continue;
		size_t at = old[i].hash & (m->cap - 1);

		while (m->slots[at].hash != 0)
			at = (at + 1) & (m->cap - 1);
		m->slots[at] = old[i];
	}
	mem_free(old);
}

void map_fini(struct map *m)
{
	mem_free(m->slots);
	*m = (struct map){NULL, 0, 0};
}

void *map_get(const struct map *m, struct slice key)
{
	if (m->count == 0)
		return NULL;
	return m->slots[map_seek(m, key_hash(key), key)].value; /* NULL in a free one */
}

void *map_put(struct map *m, struct slice key, void *value)
{
	CHECK(value != NULL);
	if (is_full(m->count, m->cap))
		map_widen(m);
	uint64_t hash = key_hash(key);
	struct map_slot *s = &m->slots[map_seek(m, hash, key)];
	void *old = s->value;

	m->count += s->hash == 0;
	*s = (struct map_slot){hash, key, value};
	return old;
}

void *map_drop(struct map *m, struct slice key)
{
	if (m->count == 0)
		return NULL;
	size_t mask = m->cap - 1, hole = map_seek(m, key_hash(key), key);
	void *old = m->slots[hole].value;

	if (old == NULL)
		return NULL;
	/* Whoever stands behind the hole and would be found before it moves into it. */
	for (size_t at = (hole + 1) & mask; m->slots[at].hash != 0; at = (at + 1) & mask) {
		size_t home = m->slots[at].hash & mask;

		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		m->slots[hole] = m->slots[at];
		hole = at;
	}
	m->slots[hole] = (struct map_slot){0};
	m->count--;
	return old;
}

struct map_slot *map_each(const struct map *m, size_t *at)
{
	while (*at < m->cap) {
		struct map_slot *s = &m->slots[(*at)++];

		if (s->hash != 0)
			return s;
	}
	return NULL;
}

/* ---- Numbers ------------------------------------------------------------------------------------------------------------------ */

/* Positions and counters have their entropy in few bits: spread it (the finalizer of splitmix64). */
static size_t u64_home(const struct u64map *m, uint64_t key)
{
	key = (key ^ (key >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	key = (key ^ (key >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (key ^ (key >> 31)) & (m->cap - 1);
}

static size_t u64_seek(const struct u64map *m, uint64_t key)
{
	size_t at = u64_home(m, key);

	while (m->slots[at].value != NULL && m->slots[at].key != key)
		at = (at + 1) & (m->cap - 1);
	return at;
}

static void u64_widen(struct u64map *m)
{
	struct u64map_slot *old = m->slots;
	size_t n = m->cap;

	m->cap = n == 0 ? CAP_MIN : n * 2;
	m->slots = mem_array(m->cap, sizeof(*m->slots));
	for (size_t i = 0; i < n; i++)
		if (old[i].value != NULL)
			m->slots[u64_seek(m, old[i].key)] = old[i];
	mem_free(old);
}

void u64map_fini(struct u64map *m)
{
	mem_free(m->slots);
	*m = (struct u64map){NULL, 0, 0};
}

void *u64map_get(const struct u64map *m, uint64_t key)
{
	return m->count == 0 ? NULL : m->slots[u64_seek(m, key)].value;
}

void *u64map_put(struct u64map *m, uint64_t key, void *value)
{
	CHECK(value != NULL);
	if (is_full(m->count, m->cap))
		u64_widen(m);
	struct u64map_slot *s = &m->slots[u64_seek(m, key)];
	void *old = s->value;

	m->count += old == NULL;
	*s = (struct u64map_slot){key, value};
	return old;
}

void *u64map_drop(struct u64map *m, uint64_t key)
{
	if (m->count == 0)
		return NULL;
	size_t mask = m->cap - 1, hole = u64_seek(m, key);
	void *old = m->slots[hole].value;

	if (old == NULL)
		return NULL;
	for (size_t at = (hole + 1) & mask; m->slots[at].value != NULL; at = (at + 1) & mask) {
		size_t home = u64_home(m, m->slots[at].key);

		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		m->slots[hole] = m->slots[at];
		hole = at;
	}
	m->slots[hole] = (struct u64map_slot){0, NULL};
	m->count--;
	return old;
}

struct u64map_slot *u64map_each(const struct u64map *m, size_t *at)
{
	while (*at < m->cap) {
		struct u64map_slot *s = &m->slots[(*at)++];

		if (s->value != NULL)
			return s;
	}
	return NULL;
}
