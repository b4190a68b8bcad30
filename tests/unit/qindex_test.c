/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The queue index against a model that has every entry in an array, as the log would: appends, trims, snapshots, crashes, reloads of
 * the newest and of the older snapshot, failing writes; and damage to every byte of the file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>

#include "base/mem.h"
#include "base/obj.h"
#include "engine/qindex.h"
#include "tests/lib/memdisk.h"

enum { QUEUES = 9, STEPS = 6000 };
#define E QI_EXTENT_ENTRIES

struct model {
	struct qi_queue q;
	uint32_t uid;
	uint64_t base, first;
	struct qentry *v;        /* v[offset - base] */
	size_t n, cap;
};
struct world {
	struct memdisk disk;
	struct testlog log;
	struct prng prng;
	struct qindex *qi;
	struct model m[QUEUES];
	uint32_t next_uid;
	uint64_t position;
	struct buf newest, older; /* snapshots that are done */
	unsigned repairs;
};

static uint64_t pick(struct world *w, uint64_t n) { return prng_below(&w->prng, n); }

static void world_init(struct world *w, uint64_t seed)
{
	*w = (struct world){.next_uid = 1};
	memdisk_init(&w->disk);
	testlog_init(&w->log);
	prng_init(&w->prng, seed);
	assert_int_equal(qi_open(&w->qi, &w->disk.disk, &w->log.log, true), ST_OK);
}

static void model_init(struct world *w, struct model *m, uint64_t base)
{
	mem_free(m->v);
	*m = (struct model){.uid = w->next_uid++, .base = base, .first = base};
	qi_queue_init(&m->q, m->uid, base);
}

static void close_all(struct world *w)
{
	for (int i = 0; i < QUEUES; i++)
		if (w->m[i].uid != 0)
			qi_queue_fini(w->qi, &w->m[i].q);
	qi_close(w->qi);
}

static void world_fini(struct world *w)
{
	close_all(w);
	for (int i = 0; i < QUEUES; i++)
		mem_free(w->m[i].v);
	buf_fini(&w->newest);
	buf_fini(&w->older);
	memdisk_fini(&w->disk);
}

static void append(struct world *w, struct model *m)
{
	struct qentry e = {.position = w->position, .size = (uint32_t)pick(w, 1000) + 1, .tag = prng_u64(&w->prng)};
	w->position += e.size;
	if (m->n == m->cap) {
		m->cap = m->cap * 2 + 64;
		m->v = mem_grow(m->v, m->cap * sizeof m->v[0]);
	}
	m->v[m->n++] = e;
	qi_append(w->qi, &m->q, &e);
	assert_int_equal(m->q.next, m->base + m->n);
}

static void assert_entry(const struct qentry *a, const struct qentry *b)
{
	assert_int_equal(a->position, b->position);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->tag, b->tag);
}

/* As the engine would: the span from the neighbours, the entries from the log. */
static void repair(struct world *w, struct model *m, uint64_t offset)
{
	uint64_t first, prev, next;
	struct qentry v[E];
	qi_neighbours(w->qi, &m->q, offset, &first, &prev, &next);
	assert_true(first <= offset && offset < first + E);
	for (unsigned i = 0; i < E; i++) {
		v[i] = m->v[first + i - m->base];
		assert_true(v[i].position >= prev && v[i].position < next);
	}
	qi_repair_extent(w->qi, &m->q, first, v, E);
	w->repairs++;
}

static void check_range(struct world *w, struct model *m, uint64_t from, uint64_t to)
{
	struct qentry v[700];
	enum status st;
	while (from < to) {
		unsigned want = (unsigned)u64_min(1 + pick(w, 700), to - from);
		unsigned n = qi_read(w->qi, &m->q, from, v, want, &st);
		if (st == ST_CORRUPT) {
			assert_int_equal(n, 0);
			repair(w, m, from);
			continue;
		}
		assert_int_equal(st, ST_OK);
		assert_true(n > 0 && n <= want);
		for (unsigned i = 0; i < n; i++)
			assert_entry(&v[i], &m->v[from + i - m->base]);
		from += n;
	}
}

static void check_bound(struct world *w, struct model *m)
{
	uint64_t position = pick(w, w->position + 10), got, want = m->first;
	while (want < m->base + m->n && m->v[want - m->base].position < position)
		want++;
	while (qi_lower_bound_position(w->qi, &m->q, position, &got) == ST_CORRUPT)
		repair(w, m, got);
	assert_int_equal(got, want);
}

static void check_all(struct world *w)
{
	for (int i = 0; i < QUEUES; i++) {
		struct model *m = &w->m[i];
		struct qentry e;
		assert_int_equal(m->q.next, m->base + m->n);
		assert_int_equal(m->q.first, m->first);
		check_range(w, m, m->first, m->base + m->n);
		check_bound(w, m);
		assert_int_equal(qi_get(w->qi, &m->q, m->base + m->n, &e), ST_NOT_FOUND);
		if (m->first > 0)
			assert_int_equal(qi_get(w->qi, &m->q, m->first - 1, &e), ST_NOT_FOUND);
	}
}

static void trim(struct world *w, struct model *m)
{
	uint64_t next = m->base + m->n;
	m->first = pick(w, 6) == 0 ? next : m->first + pick(w, (next - m->first) / 2 + 1);
	qi_trim(w->qi, &m->q, m->first);
}

static void sync_now(struct world *w)
{
	enum status st = ST_IO;
	struct disk_op op = {0};
	assert_true(qi_sync(w->qi, &op, &st));
	assert_int_equal(st, ST_OK);
}

static void snapshot(struct world *w)
{
	struct buf b = {0};
	qi_snapshot_begin(w->qi);
	qi_save(w->qi, &b);
	for (int i = 0; i < QUEUES; i++) {
		qi_queue_save(w->qi, &w->m[i].q, &b);
		/* It is made in slices: the broker goes on between them. */
		for (uint64_t k = pick(w, 300); k > 0; k--)
			append(w, &w->m[pick(w, QUEUES)]);
		if (pick(w, 3) == 0)
			trim(w, &w->m[pick(w, QUEUES)]);
	}
	if (pick(w, 5) == 0) {
		buf_fini(&b);
		return;
	}
	sync_now(w);
	qi_snapshot_done(w->qi);
	buf_fini(&w->older);
	w->older = w->newest;
	w->newest = b;
}

/* Loads a snapshot and replays the log behind it. */
static void load(struct world *w, const struct buf *snap)
{
	struct slice rest = buf_view(snap);
	assert_int_equal(qi_open(&w->qi, &w->disk.disk, &w->log.log, snap->n == 0), ST_OK);
	if (snap->n > 0) {
		assert_int_equal(qi_load(w->qi, &rest), ST_OK);
		for (int i = 0; i < QUEUES; i++)
			assert_int_equal(qi_queue_load(w->qi, &w->m[i].q, &rest), ST_OK);
		assert_int_equal(rest.n, 0);
		qi_load_done(w->qi);
	}
	for (int i = 0; i < QUEUES; i++) {
		struct model *m = &w->m[i];
		if (snap->n > 0 && m->q.uid != m->uid)
			qi_queue_free(w->qi, &m->q);
		if (snap->n == 0 || m->q.uid != m->uid)
			qi_queue_init(&m->q, m->uid, m->base);
		/* First what the snapshot has, unchanged since. */
		check_range(w, m, m->q.first, m->q.next);
		while (m->q.next < m->base + m->n)
			qi_append(w->qi, &m->q, &m->v[m->q.next - m->base]);
		qi_trim(w->qi, &m->q, m->first);
	}
}

static void step(struct world *w)
{
	struct model *m = &w->m[pick(w, QUEUES)];
	uint64_t next = m->base + m->n, what = pick(w, 100);
	if (what < 50) {
		for (uint64_t k = pick(w, pick(w, 8) == 0 ? 2000 : 40); k > 0; k--)
			append(w, m);
	} else if (what < 70) {
		uint64_t from = m->first + pick(w, next - m->first + 1);
		check_range(w, m, from, u64_min(next, from + pick(w, 900)));
	} else if (what < 80) {
		check_bound(w, m);
	} else if (what < 94) {
		trim(w, m);
	} else if (what < 96) {
		qi_queue_free(w->qi, &m->q);
		model_init(w, m, pick(w, 2) * pick(w, 100000));
	} else {
		snapshot(w);
	}
}

static void run(uint64_t seed, bool failing)
{
	struct world w;
	world_init(&w, seed);
	for (int i = 0; i < QUEUES; i++)
		model_init(&w, &w.m[i], i % 3 == 0 ? 1000 : 0);
	for (int i = 0; i < STEPS; i++) {
		step(&w);
		if (failing && pick(&w, 20) == 0) {
			w.disk.write_fails = pick(&w, 2) == 0 ? ST_DISK_FULL : ST_OK;
			w.disk.good_writes = (unsigned)pick(&w, 10);
		}
		if (pick(&w, 80) != 0)
			continue;
		/* A crash; sometimes the newest snapshot cannot be read after it. */
		w.disk.write_fails = ST_OK;
		close_all(&w);
		memdisk_crash(&w.disk, pick(&w, 4) == 0 ? NULL : &w.prng);
		if (pick(&w, 3) == 0) {
			buf_fini(&w.newest);
			w.newest = w.older;
			w.older = (struct buf){0};
		}
		load(&w, &w.newest);
		check_all(&w);
	}
	check_all(&w);
	/* Nothing was damaged, so nothing may have asked for repair. */
	assert_int_equal(w.repairs, 0);
	world_fini(&w);
}

static void index_behaves_as_its_model(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++)
		run(seed, false);
}

static void failing_writes_lose_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = 101; seed <= 106; seed++)
		run(seed, true);
}

static void freed_extents_wait_for_two_snapshots(void **state)
{
	struct world w;
	struct qi_stats st;
	(void)state;
	world_init(&w, 3);
	for (int i = 0; i < QUEUES; i++)
		model_init(&w, &w.m[i], 0);
	for (unsigned i = 0; i < 10 * E; i++)
		append(&w, &w.m[0]);
	qi_snapshot_begin(w.qi);
	sync_now(&w);
	qi_snapshot_done(w.qi);
	qi_trim(w.qi, &w.m[0].q, 4 * E);
	qi_stats(w.qi, &st);
	assert_int_equal(st.parked, 4);
	assert_int_equal(st.free, 0);
	for (int i = 0; i < 2; i++) {
		qi_stats(w.qi, &st);
		assert_int_equal(st.parked, 4);
		/* One that fails does not count. */
		qi_snapshot_begin(w.qi);
		qi_snapshot_begin(w.qi);
		qi_snapshot_done(w.qi);
	}
	qi_stats(w.qi, &st);
	assert_int_equal(st.parked, 0);
	assert_int_equal(st.free, 4);
	assert_int_equal(st.extents, 11);
	for (unsigned i = 0; i < 4 * E; i++)
		append(&w, &w.m[1]);
	qi_stats(w.qi, &st);
	assert_int_equal(st.free, 0);
	assert_int_equal(st.extents, 11);
	world_fini(&w);
}

/* Short lives with one snapshot each must not make the file grow for ever. */
static void restarts_do_not_leak_extents(void **state)
{
	struct world w;
	struct qi_stats st;
	(void)state;
	world_init(&w, 4);
	for (int i = 0; i < QUEUES; i++)
		model_init(&w, &w.m[i], 0);
	for (int life = 0; life < 60; life++) {
		for (unsigned i = 0; i < 5 * E; i++)
			append(&w, &w.m[2]);
		w.m[2].first = w.m[2].n;
		qi_trim(w.qi, &w.m[2].q, w.m[2].first);
		do
			snapshot(&w);
		while (w.newest.n == 0);
		close_all(&w);
		memdisk_crash(&w.disk, &w.prng);
		for (int i = 0; i < QUEUES; i++) {
			w.m[i].first = w.m[i].q.next;
			w.m[i].n = 0;
			w.m[i].base = w.m[i].first;
		}
		struct slice rest = buf_view(&w.newest);
		assert_int_equal(qi_open(&w.qi, &w.disk.disk, &w.log.log, false), ST_OK);
		assert_int_equal(qi_load(w.qi, &rest), ST_OK);
		for (int i = 0; i < QUEUES; i++)
			assert_int_equal(qi_queue_load(w.qi, &w.m[i].q, &rest), ST_OK);
		qi_load_done(w.qi);
		for (int i = 0; i < QUEUES; i++) {
			qi_queue_free(w.qi, &w.m[i].q);
			model_init(&w, &w.m[i], 0);
		}
	}
	qi_stats(w.qi, &st);
	assert_true(st.extents < 120);
	world_fini(&w);
}

static void a_hundred_thousand_queues_are_cheap(void **state)
{
	enum { N = 100000 };
	struct world w;
	(void)state;
	assert_true(sizeof(struct qi_queue) < 200);
	world_init(&w, 5);
	size_t before = mallinfo2().uordblks;
	struct qi_queue *q = mem_array(N, sizeof *q);
	for (uint32_t i = 0; i < N; i++)
		qi_queue_init(&q[i], i + 1, 0);
	assert_true(mallinfo2().uordblks - before < N * 200);
	struct qentry e = {1, 2, 3};
	for (uint32_t i = 0; i < N; i++)
		qi_append(w.qi, &q[i], &e);
	assert_true(mallinfo2().uordblks - before < N * 350);
	for (uint32_t i = 0; i < N; i++)
		qi_trim(w.qi, &q[i], 1);
	assert_true(mallinfo2().uordblks - before < N * 200);
	struct buf b = {0};
	for (uint32_t i = 0; i < N; i++)
		qi_queue_save(w.qi, &q[i], &b);
	assert_int_equal(b.n, N * 21);
	buf_fini(&b);
	mem_free(q);
	world_fini(&w);
}

static void too_many_waiting_extents_are_rebuilt_from_the_log(void **state)
{
	struct world w;
	struct qi_stats st;
	(void)state;
	world_init(&w, 6);
	for (int i = 0; i < QUEUES; i++)
		model_init(&w, &w.m[i], 0);
	w.disk.write_fails = ST_DISK_FULL;
	for (unsigned i = 0; i < (QI_PENDING_MAX + 5) * E; i++)
		append(&w, &w.m[0]);
	for (unsigned i = 0; i < 3 * E; i++)
		append(&w, &w.m[1]);
	qi_stats(w.qi, &st);
	assert_int_equal(st.pending, QI_PENDING_MAX);
	assert_int_equal(st.lost, 5 + 3);
	assert_int_equal(st.last_error, ST_DISK_FULL);
	/* While the disk is still full a reader gets all of it. */
	check_range(&w, &w.m[0], 0, 12 * E);
	check_range(&w, &w.m[1], 0, 3 * E);
	assert_true(w.repairs >= 8);
	qi_stats(w.qi, &st);
	assert_int_equal(st.pending, QI_PENDING_MAX + 1);
	struct buf b = {0};
	qi_queue_save(w.qi, &w.m[1].q, &b);
	buf_fini(&b);
	w.disk.write_fails = ST_OK;
	qi_queue_save(w.qi, &w.m[0].q, &b);
	qi_queue_save(w.qi, &w.m[1].q, &b);
	buf_fini(&b);
	qi_stats(w.qi, &st);
	assert_int_equal(st.pending, 0);
	assert_int_equal(st.last_error, ST_OK);
	check_range(&w, &w.m[0], 0, 20 * E);
	check_range(&w, &w.m[1], 0, 3 * E);
	qi_stats(w.qi, &st);
	assert_int_equal(st.lost, 0);
	world_fini(&w);
}

static void unreadable_is_said_and_mended(void **state)
{
	struct world w;
	struct qentry e;
	(void)state;
	world_init(&w, 7);
	for (int i = 0; i < QUEUES; i++)
		model_init(&w, &w.m[i], 0);
	for (unsigned i = 0; i < 600 * E; i++)
		append(&w, &w.m[0]);
	w.disk.read_fails = ST_IO;
	assert_int_equal(qi_get(w.qi, &w.m[0].q, 5, &e), ST_CORRUPT);
	w.disk.read_fails = ST_OK;
	assert_int_equal(qi_get(w.qi, &w.m[0].q, 5, &e), ST_OK);
	assert_entry(&e, &w.m[0].v[5]);
	/* All of the file is gone, and nothing can be written: even so each reader gets on. */
	size_t n;
	memset(memdisk_bytes(&w.disk, QI_FILE, &n), 0x55, 600 * QI_EXTENT_BYTES);
	check_range(&w, &w.m[0], 0, 100 * E);
	w.disk.write_fails = ST_IO;
	check_range(&w, &w.m[0], 100 * E, 300 * E);
	w.disk.write_fails = ST_OK;
	/* One of them was in memory. */
	assert_int_equal(w.repairs, 299);
	/* What could not be written over was given back. */
	struct qi_stats st;
	qi_stats(w.qi, &st);
	assert_int_equal(st.parked, 200);
	assert_int_equal(w.log.lines[LOG_ERROR], 0);
	world_fini(&w);
}

/* Two queues, in one snapshot, three extents of one and one of the other. The third has one that waits. */
static void small_world(struct world *w, bool waiting)
{
	world_init(w, 8);
	for (int i = 0; i < QUEUES; i++)
		model_init(w, &w->m[i], 0);
	for (unsigned i = 0; i < 3 * E + 7; i++)
		append(w, &w->m[0]);
	for (unsigned i = 0; i < E + 1; i++)
		append(w, &w->m[1]);
	w->disk.write_fails = ST_DISK_FULL;
	for (unsigned i = 0; waiting && i < E; i++)
		append(w, &w->m[2]);
	qi_snapshot_begin(w->qi);
	qi_save(w->qi, &w->newest);
	for (int i = 0; i < QUEUES; i++)
		qi_queue_save(w->qi, &w->m[i].q, &w->newest);
	w->disk.write_fails = ST_OK;
	sync_now(w);
	qi_snapshot_done(w->qi);
}

static void reload(struct world *w)
{
	close_all(w);
	load(w, &w->newest);
}

static void damage_to_any_byte_is_noticed(void **state)
{
	struct world w;
	size_t n = 0;
	unsigned silent = 0;
	(void)state;
	small_world(&w, false);
	close_all(&w);
	uint8_t *p = memdisk_bytes(&w.disk, QI_FILE, &n);
	assert_int_equal(n, 5 * QI_EXTENT_BYTES);
	for (size_t at = 0; at < n; at++) {
		uint8_t was = p[at];
		p[at] ^= (uint8_t)(1u << pick(&w, 8));
		w.repairs = 0;
		load(&w, &w.newest);
		check_all(&w);
		/* The head of the file may be mended by itself. */
		silent += w.repairs == 0;
		assert_true(w.repairs == 1 || at < QI_EXTENT_BYTES);
		close_all(&w);
		/* Repaired in place: the same bytes as ever. */
		assert_int_equal(p[at], at < 12 || at >= QI_EXTENT_BYTES ? was : p[at]);
		p[at] = was;
	}
	assert_int_equal(silent, QI_EXTENT_BYTES);
	load(&w, &w.newest);
	world_fini(&w);
}

static void extents_that_were_swapped_are_noticed(void **state)
{
	struct world w;
	size_t n;
	uint8_t t[QI_EXTENT_BYTES];
	(void)state;
	small_world(&w, false);
	close_all(&w);
	uint8_t *p = memdisk_bytes(&w.disk, QI_FILE, &n);
	memcpy(t, p + QI_EXTENT_BYTES, sizeof t);
	memcpy(p + QI_EXTENT_BYTES, p + 2 * QI_EXTENT_BYTES, sizeof t);
	memcpy(p + 2 * QI_EXTENT_BYTES, t, sizeof t);
	load(&w, &w.newest);
	check_all(&w);
	assert_int_equal(w.repairs, 2);
	world_fini(&w);
}

/* The state that a snapshot of an earlier life names is never taken for what stands in the file now. */
static void a_fresh_start_disowns_old_snapshots(void **state)
{
	struct world w;
	struct buf old = {0};
	(void)state;
	small_world(&w, false);
	buf_slice(&old, buf_view(&w.newest));
	close_all(&w);
	buf_fini(&w.newest);
	load(&w, &w.newest);
	check_all(&w);
	sync_now(&w);
	close_all(&w);
	struct slice rest = buf_view(&old);
	assert_int_equal(qi_open(&w.qi, &w.disk.disk, &w.log.log, false), ST_OK);
	assert_int_equal(qi_load(w.qi, &rest), ST_CORRUPT);
	qi_close(w.qi);
	/* Even where the file's head is lost: the checksums know. Tails are in the snapshot itself. */
	size_t n;
	memset(memdisk_bytes(&w.disk, QI_FILE, &n), 0, QI_EXTENT_BYTES);
	for (int i = 0; i < QUEUES; i++)
		for (size_t k = 0; k < w.m[i].n / E * E; k++)
			w.m[i].v[k].tag++;
	load(&w, &old);
	check_all(&w);
	assert_int_equal(w.repairs, 4);
	buf_fini(&old);
	world_fini(&w);
}

static enum status try_load(struct world *w, struct slice rest, struct qi_queue *q)
{
	assert_int_equal(qi_open(&w->qi, &w->disk.disk, &w->log.log, false), ST_OK);
	enum status st = qi_load(w->qi, &rest);
	int loaded = 0;
	for (; st == ST_OK && loaded < QUEUES; loaded++)
		st = qi_queue_load(w->qi, &q[loaded], &rest);
	for (int i = 0; i < loaded; i++)
		qi_queue_fini(w->qi, &q[i]);
	qi_close(w->qi);
	return st;
}

static void nonsense_snapshots_are_refused(void **state)
{
	struct world w;
	struct qi_queue q[QUEUES];
	(void)state;
	small_world(&w, true);
	close_all(&w);
	struct buf b = {0};
	buf_slice(&b, buf_view(&w.newest));
	for (size_t n = 0; n < b.n; n++) {
		/* A copy, so that reading over the end is noticed. */
		uint8_t *cut = mem_new(n + 1);
		memcpy(cut, b.p, n);
		assert_int_equal(try_load(&w, slice_of(cut, n), q), ST_CORRUPT);
		mem_free(cut);
	}
	assert_int_equal(try_load(&w, buf_view(&b), q), ST_OK);
	for (size_t at = 0; at < b.n * 8; at++) {
		b.p[at / 8] ^= (uint8_t)(1u << at % 8);
		try_load(&w, buf_view(&b), q);
		b.p[at / 8] ^= (uint8_t)(1u << at % 8);
	}
	/* 7 numbers of the common part, then the first queue's head; its three slots begin here. */
	size_t slot = 7 * 4 + 21;
	b.p[slot + 3] = 5;
	assert_int_equal(try_load(&w, buf_view(&b), q), ST_CORRUPT);
	b.p[slot + 3] = 0;
	assert_int_equal(try_load(&w, buf_view(&b), q), ST_CORRUPT);
	b.p[slot + 3] = b.p[slot + 7];
	assert_int_equal(try_load(&w, buf_view(&b), q), ST_CORRUPT);
	b.p[0] ^= 1;
	assert_int_equal(try_load(&w, buf_view(&b), q), ST_VERSION);
	/* The file has lost what the snapshot names. */
	size_t n;
	uint8_t *p = memdisk_bytes(&w.disk, QI_FILE, &n);
	uint8_t *half = mem_dup(p, n);
	memdisk_put(&w.disk, QI_FILE, half, n - 1);
	assert_int_equal(try_load(&w, buf_view(&w.newest), q), ST_CORRUPT);
	memdisk_put(&w.disk, QI_FILE, half, n);
	mem_free(half);
	buf_fini(&b);
	load(&w, &w.newest);
	reload(&w);
	check_all(&w);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(index_behaves_as_its_model),
		cmocka_unit_test(failing_writes_lose_nothing),
		cmocka_unit_test(freed_extents_wait_for_two_snapshots),
		cmocka_unit_test(restarts_do_not_leak_extents),
		cmocka_unit_test(a_hundred_thousand_queues_are_cheap),
		cmocka_unit_test(too_many_waiting_extents_are_rebuilt_from_the_log),
		cmocka_unit_test(unreadable_is_said_and_mended),
		cmocka_unit_test(damage_to_any_byte_is_noticed),
		cmocka_unit_test(extents_that_were_swapped_are_noticed),
		cmocka_unit_test(a_fresh_start_disowns_old_snapshots),
		cmocka_unit_test(nonsense_snapshots_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
