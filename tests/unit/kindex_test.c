/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The key index against a model that is the log: each record with the hashes of its keys. Whatever happens to the files, a lookup
 * gives exactly the model's records, after repairs that it asked for; and it asks for none when nothing went wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "engine/kindex.h"
#include "tests/lib/memdisk.h"

enum { SEGMENT = 1 << 16, KEYS_MAX = 3, STEPS = 1500, FEW = 40 };

struct rec {
	uint64_t position;
	unsigned n;
	uint32_t hash[KEYS_MAX];
};
struct world {
	struct memdisk disk;
	struct testlog log;
	struct prng prng;
	struct kindex *ki;
	uint64_t segment;
	struct rec *v;           /* the log */
	size_t n, cap;
	uint64_t first, end;     /* of the log */
	uint64_t durable, snapshot; /* marks of the log: synced; where replay begins */
	unsigned repairs, syncs_done;
	enum status sync_status;
	struct disk_op op;
};

static uint64_t pick(struct world *w, uint64_t n) { return prng_below(&w->prng, n); }
static uint64_t segment_of(const struct world *w, uint64_t position) { return position - position % w->segment; }

static void world_open(struct world *w)
{
	assert_int_equal(ki_open(&w->ki, &w->disk.disk, &w->log.log, w->segment), ST_OK);
}

static void world_init(struct world *w, uint64_t seed, uint64_t segment)
{
	*w = (struct world){.segment = segment};
	memdisk_init(&w->disk);
	testlog_init(&w->log);
	prng_init(&w->prng, seed);
	world_open(w);
	ki_load(w->ki, 0);
	assert_int_equal(ki_recovered(w->ki, 0, 0), ST_OK);
}

static void world_fini(struct world *w)
{
	memdisk_run(&w->disk);
	ki_close(w->ki);
	mem_free(w->v);
	memdisk_fini(&w->disk);
}

static uint32_t some_hash(struct world *w)
{
	/* A few that many records share, among them the ends of the range; and some that hardly anybody has. */
	static const uint32_t ends[] = {0, 1, UINT32_MAX, UINT32_MAX - 1};
	uint64_t k = pick(w, FEW);
	return k < 4 ? ends[k] : k < FEW / 2 ? (uint32_t)(k * 0x9e3779b1u) : (uint32_t)prng_u64(&w->prng);
}

static void index_record(struct world *w, const struct rec *r)
{
	for (unsigned i = 0; i < r->n; i++)
		ki_add(w->ki, r->position, r->hash[i]);
}

static void add_record(struct world *w)
{
	uint64_t size = 8 + pick(w, 64);
	if (segment_of(w, w->end) != segment_of(w, w->end + size - 1))
		w->end = segment_of(w, w->end) + w->segment;
	if (w->n == w->cap) {
		w->cap = w->cap * 2 + 1024;
		w->v = mem_grow(w->v, w->cap * sizeof w->v[0]);
	}
	struct rec *r = &w->v[w->n++];
	*r = (struct rec){.position = w->end, .n = (unsigned)pick(w, KEYS_MAX + 1)};
	for (unsigned i = 0; i < r->n; i++)
		r->hash[i] = some_hash(w);
	w->end += size;
	index_record(w, r);
}

/* The first record at 'position' or behind it. */
static size_t record_at(const struct world *w, uint64_t position)
{
	size_t lo = 0, hi = w->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (w->v[mid].position < position)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* As the engine would: scans the gap, in parts. */
static bool repair(struct world *w)
{
	uint64_t segment, from, to;
	if (!ki_damaged(w->ki, &segment, &from, &to))
		return false;
	assert_true(from < to && segment <= from && to <= segment + w->segment && segment == segment_of(w, from));
	if (pick(w, 3) == 0)
		to -= pick(w, to - from);
	struct ki_key *v = mem_array(KI_RUN_MAX, sizeof *v);
	size_t n = 0;
	for (size_t i = record_at(w, from); i < w->n && w->v[i].position < to; i++)
		for (unsigned k = 0; k < w->v[i].n; k++)
			v[n++] = (struct ki_key){w->v[i].position, w->v[i].hash[k]};
	enum status st = ki_rebuild_run(w->ki, segment, from, to, v, n);
	if (st != ST_OK)
		w->disk.write_fails = w->disk.open_fails = ST_OK;
	mem_free(v);
	w->repairs++;
	return true;
}

static bool has(const struct rec *r, uint32_t hash)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->hash[i] == hash)
			return true;
	return false;
}

static void check_find(struct world *w, uint32_t hash, uint64_t oldest, uint64_t newest)
{
	struct ki_cursor c;
	size_t i = record_at(w, newest);
	uint64_t position = 0;
	ki_find_begin(&c, hash, oldest, newest);
	for (;;) {
		unsigned budget = (unsigned)pick(w, 4);
		enum status st = ki_find_next(w->ki, &c, &budget, &position);
		if (st == ST_BUSY) {
			assert_int_equal(budget, 0);
			if (pick(w, 20) == 0)
				ki_flush(w->ki, w->end);
			continue;
		}
		if (st == ST_CORRUPT) {
			assert_true(repair(w));
			continue;
		}
		while (i > 0 && w->v[i - 1].position >= u64_max(oldest, w->first) && !has(&w->v[i - 1], hash))
			i--;
		bool more = i > 0 && w->v[i - 1].position >= u64_max(oldest, w->first);
		assert_int_equal(st, more ? ST_OK : ST_NOT_FOUND);
		if (!more)
			return;
		assert_int_equal(position, w->v[i - 1].position);
		i--;
	}
}

static void check_some(struct world *w, unsigned n)
{
	while (n-- > 0) {
		uint64_t a = pick(w, 3) == 0 ? pick(w, w->end + 1) : 0, b = pick(w, 2) == 0 ? a + pick(w, w->end - a + 1) : w->end;
		check_find(w, some_hash(w), a, b);
		/* The ends are exact: one record alone. */
		const struct rec *r = w->n == 0 ? NULL : &w->v[pick(w, w->n)];
		if (r != NULL && r->n > 0) {
			check_find(w, r->hash[0], r->position, r->position + 1);
			check_find(w, r->hash[0], r->position + 1, r->position + 2);
			check_find(w, r->hash[0], 0, r->position);
		}
	}
}

static void sync_done(struct disk_op *op, enum status st)
{
	struct world *w = container_of(op, struct world, op);
	w->sync_status = st;
	w->syncs_done++;
}

/* True when it went well. With an asynchronous disk the broker goes on meanwhile. */
static bool sync_index(struct world *w)
{
	enum status st;
	w->op.done = sync_done;
	if (ki_sync(w->ki, &w->op, &st))
		return st == ST_OK;
	unsigned before = w->syncs_done;
	for (uint64_t k = pick(w, 100); k > 0; k--)
		add_record(w);
	if (w->first > 0)
		check_some(w, 2);
	assert_int_equal(w->syncs_done, before);
	memdisk_run(&w->disk);
	assert_int_equal(w->syncs_done, before + 1);
	return w->sync_status == ST_OK;
}

static void snapshot(struct world *w)
{
	uint64_t at = w->end;
	ki_flush(w->ki, at);
	if (sync_index(w)) {
		w->snapshot = at;
		w->durable = u64_max(w->durable, at);
	}
}

static void drop_oldest(struct world *w)
{
	if (w->first + w->segment > segment_of(w, w->snapshot) || segment_of(w, w->snapshot) > ki_covered(w->ki))
		return;
	ki_drop_segment(w->ki, w->first);
	w->first += w->segment;
}

static void crash(struct world *w)
{
	memdisk_run(&w->disk);
	ki_close(w->ki);
	w->disk.write_fails = w->disk.open_fails = w->disk.sync_fails = ST_OK;
	memdisk_crash(&w->disk, pick(w, 4) == 0 ? NULL : &w->prng);
	/* The log may lose what was not synced, though some of its keys may be on disk. */
	size_t keep = record_at(w, w->durable);
	keep += pick(w, 2) == 0 ? w->n - keep : pick(w, w->n - keep + 1);
	if (keep < w->n)
		w->end = w->v[keep].position;
	w->n = keep;
	w->durable = w->end;
	world_open(w);
	ki_load(w->ki, w->snapshot);
	for (size_t i = record_at(w, w->snapshot); i < w->n; i++)
		index_record(w, &w->v[i]);
	assert_int_equal(ki_recovered(w->ki, w->first, w->end), ST_OK);
}

static void run(uint64_t seed, bool failing, bool crashing, bool later)
{
	struct world w;
	world_init(&w, seed, SEGMENT);
	w.disk.later = later;
	for (int i = 0; i < STEPS; i++) {
		uint64_t what = pick(&w, 100);
		if (what < 60)
			for (uint64_t k = pick(&w, 200); k > 0; k--)
				add_record(&w);
		else if (what < 85)
			check_some(&w, 1);
		else if (what < 92)
			ki_flush(w.ki, w.end);
		else if (what < 95)
			w.durable = w.end;
		else if (what < 98)
			snapshot(&w);
		else
			drop_oldest(&w);
		if (failing && pick(&w, 30) == 0) {
			w.disk.write_fails = pick(&w, 3) == 0 ? ST_DISK_FULL : ST_OK;
			w.disk.good_writes = (unsigned)pick(&w, 3);
			w.disk.open_fails = pick(&w, 6) == 0 ? ST_IO : ST_OK;
			w.disk.sync_fails = pick(&w, 6) == 0 ? ST_IO : ST_OK;
			w.disk.sync_loses = true;
		}
		if (crashing && pick(&w, 150) == 0) {
			crash(&w);
			check_some(&w, 4);
		}
	}
	check_some(&w, 40);
	if (!failing && !crashing)
		assert_int_equal(w.repairs, 0);
	if (failing)
		assert_true(w.repairs > 0);
	assert_true(w.first > 0 && w.end / SEGMENT > 20);
	world_fini(&w);
}

static void index_behaves_as_its_model(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		run(seed, false, false, false);
		run(seed + 10, false, false, true);
	}
}

static void failures_become_gaps_that_are_said(void **state)
{
	(void)state;
	for (uint64_t seed = 21; seed <= 24; seed++)
		run(seed, true, false, seed % 2 == 0);
}

static void crashes_lose_no_key(void **state)
{
	(void)state;
	for (uint64_t seed = 31; seed <= 36; seed++) {
		run(seed, false, true, seed % 2 == 0);
		run(seed + 20, true, true, seed % 2 == 0);
	}
}

/* A stop in good order asks for no repair afterwards, also where records had no keys. */
static void orderly_restarts_need_no_repair(void **state)
{
	struct world w;
	(void)state;
	world_init(&w, 41, SEGMENT);
	for (int life = 0; life < 30; life++) {
		for (uint64_t k = life % 3 == 2 ? 0 : pick(&w, 800); k > 0; k--)
			add_record(&w);
		w.end += pick(&w, 3) * 100;
		snapshot(&w);
		assert_int_equal(w.snapshot, w.end);
		crash(&w);
		assert_int_equal(ki_covered(w.ki), w.end);
		check_some(&w, 3);
	}
	assert_int_equal(w.repairs, 0);
	world_fini(&w);
}

/* Runs of full size, cut at a record's end; hashes that are not spread; many keys of one record. */
static void long_runs_are_found(void **state)
{
	struct world w;
	struct ki_stats st;
	(void)state;
	world_init(&w, 42, UINT64_C(1) << 32);
	for (unsigned i = 0; i < 100000; i++) {
		struct rec r = {.position = w.end, .n = 1};
		r.hash[0] = i % 3 == 0 ? i & 1023 : (uint32_t)prng_u64(&w.prng);
		w.end += 1 + pick(&w, 60000);
		if (w.n == w.cap) {
			w.cap = w.cap * 2 + 1024;
			w.v = mem_grow(w.v, w.cap * sizeof w.v[0]);
		}
		w.v[w.n++] = r;
		index_record(&w, &r);
	}
	assert_true(w.end < UINT64_C(1) << 32);
	ki_stats(w.ki, &st);
	assert_int_equal(st.runs, 100000 / KI_RUN_KEYS);
	for (int again = 0; again < 2; again++) {
		for (uint32_t h = 0; h < 1030; h += 7)
			check_find(&w, h, 0, w.end);
		for (int i = 0; i < 2000; i++) {
			uint64_t a = pick(&w, w.end);
			check_find(&w, w.v[pick(&w, w.n)].hash[0], a, a + pick(&w, w.end - a + 1));
		}
		ki_flush(w.ki, w.end);
	}
	for (unsigned i = 0; i < 40000; i++)
		ki_add(w.ki, w.end, i);
	ki_add(w.ki, w.end + 1, 7);
	ki_stats(w.ki, &st);
	assert_int_equal(st.gathered, 1);
	assert_int_equal(w.repairs, 0);
	world_fini(&w);
}

/* While nothing can be written keys are held back to a bound, then left as a gap; all of it comes back. */
static void what_cannot_be_written_is_bounded(void **state)
{
	struct world w;
	struct ki_stats st;
	(void)state;
	world_init(&w, 43, UINT64_C(1) << 30);
	w.disk.write_fails = ST_DISK_FULL;
	for (unsigned i = 0; i < 200000; i++) {
		add_record(&w);
		ki_stats(w.ki, &st);
		assert_true(st.gathered <= KI_RUN_MAX);
	}
	assert_int_equal(st.last_error, ST_DISK_FULL);
	unsigned budget = 100;
	uint64_t position;
	struct ki_cursor c;
	ki_find_begin(&c, 12345, 0, w.end);
	assert_int_equal(ki_find_next(w.ki, &c, &budget, &position), ST_CORRUPT);
	assert_true(c.gap_from == 0 && c.below > 0);
	ki_find_skip(&c);
	assert_int_equal(ki_find_next(w.ki, &c, &budget, &position), ST_NOT_FOUND);
	/* One record with more keys than may ever be held. */
	for (unsigned i = 0; i < 2 * KI_RUN_MAX; i++)
		ki_add(w.ki, w.end, i);
	ki_find_begin(&c, 0, w.end, w.end + 1);
	assert_int_equal(ki_find_next(w.ki, &c, &budget, &position), ST_CORRUPT);
	w.disk.write_fails = ST_OK;
	/* Too many keys for one run each time: repair in small parts. */
	uint64_t segment, from, to;
	while (ki_damaged(w.ki, &segment, &from, &to)) {
		to = u64_min(to, from + 300000);
		struct ki_key *v = mem_array(KI_RUN_MAX, sizeof *v);
		size_t n = 0;
		for (size_t i = record_at(&w, from); i < w.n && w.v[i].position < to; i++)
			for (unsigned k = 0; k < w.v[i].n; k++)
				v[n++] = (struct ki_key){w.v[i].position, w.v[i].hash[k]};
		assert_int_equal(ki_rebuild_run(w.ki, segment, from, to, v, n), ST_OK);
		mem_free(v);
	}
	check_some(&w, 50);
	assert_int_equal(w.repairs, 0);
	world_fini(&w);
}

static void damage_to_any_byte_is_noticed(void **state)
{
	struct world w;
	(void)state;
	world_init(&w, 44, SEGMENT);
	for (int i = 0; i < 3; i++) {
		while (w.end < (uint64_t)(i + 1) * 2500)
			add_record(&w);
		ki_flush(w.ki, w.end);
	}
	w.end = SEGMENT;
	add_record(&w);
	snapshot(&w);
	const char *path = KI_DIR "/00000000000000000000";
	size_t n;
	uint8_t *kept = mem_dup(memdisk_bytes(&w.disk, path, &n), (memdisk_bytes(&w.disk, path, &n), n));
	assert_true(n > 3 * 32 + 400);
	for (size_t at = 0; at <= 2 * n; at++) {
		ki_close(w.ki);
		/* First each byte, then each length. */
		memdisk_put(&w.disk, path, kept, at < n ? n : at - n);
		if (at < n)
			memdisk_bytes(&w.disk, path, &(size_t){0})[at] ^= (uint8_t)(1u << pick(&w, 8));
		world_open(&w);
		/* As the open segment, and as a sealed one. */
		ki_load(w.ki, pick(&w, 2) == 0 ? 0 : w.snapshot);
		if (segment_of(&w, ki_covered(w.ki)) == 0)
			for (size_t i = 0; i < w.n; i++)
				index_record(&w, &w.v[i]);
		assert_int_equal(ki_recovered(w.ki, 0, w.end), ST_OK);
		for (size_t i = 0; i < 3; i++) {
			const struct rec *r = &w.v[pick(&w, w.n)];
			check_find(&w, r->n == 0 ? 5 : r->hash[0], 0, w.end);
		}
	}
	assert_true(w.repairs > n / 2);
	assert_int_equal(w.log.lines[LOG_ERROR], 0);
	mem_free(kept);
	world_fini(&w);
}

/* Keys that were written for records which a crash then took out of the log must not stand for the records written in their place. */
static void runs_beyond_the_logs_end_are_disowned(void **state)
{
	struct world w;
	(void)state;
	world_init(&w, 45, SEGMENT);
	while (w.end < 5000)
		add_record(&w);
	w.durable = w.end;
	while (w.end < 9000)
		add_record(&w);
	ki_flush(w.ki, w.end);
	enum status st;
	assert_true(ki_sync(w.ki, &w.op, &st));
	ki_close(w.ki);
	w.n = record_at(&w, 5000);
	w.end = w.v[w.n].position;
	for (int crashes = 0; crashes < 2; crashes++) {
		memdisk_crash(&w.disk, NULL);
		world_open(&w);
		ki_load(w.ki, 0);
		for (size_t i = 0; i < w.n; i++)
			index_record(&w, &w.v[i]);
		/* A removal that does not last would let them come back. */
		w.disk.remove_fails = crashes == 0 ? ST_IO : ST_OK;
		st = ki_recovered(w.ki, 0, w.end);
		assert_int_equal(st, crashes == 0 ? ST_IO : ST_OK);
		w.disk.remove_fails = ST_OK;
		if (crashes == 0) {
			ki_close(w.ki);
			world_open(&w);
			ki_load(w.ki, 0);
			assert_int_equal(ki_recovered(w.ki, 0, w.end), ST_OK);
		}
		/* Others come in their place. */
		while (w.end < 9500)
			add_record(&w);
		check_some(&w, 20);
		ki_close(w.ki);
	}
	world_open(&w);
	ki_load(w.ki, 0);
	assert_int_equal(ki_recovered(w.ki, 0, w.end), ST_OK);
	world_fini(&w);
}

/* Damage to one run, also to its head, costs that run and no other. */
static void other_runs_are_found_behind_a_damaged_one(void **state)
{
	struct world w;
	uint64_t ends[4] = {0}, segment, from, to;
	size_t starts[4] = {0}, n;
	const char *path = KI_DIR "/00000000000000000000";
	(void)state;
	world_init(&w, 47, SEGMENT);
	for (int i = 1; i < 4; i++) {
		while (w.end < (uint64_t)i * 15000)
			add_record(&w);
		ki_flush(w.ki, ends[i] = w.end);
		assert_non_null(memdisk_bytes(&w.disk, path, &starts[i]));
	}
	for (int part = 1; part < 3; part++) {
		ki_close(w.ki);
		memdisk_bytes(&w.disk, path, &n)[starts[part] + (part == 1 ? 9 : 40)] ^= 4;
		world_open(&w);
		ki_load(w.ki, w.end);
		assert_true(ki_damaged(w.ki, &segment, &from, &to));
		assert_true(segment == 0 && from == ends[part] && to == ends[part + 1]);
		check_find(&w, 0, 0, w.end);
		assert_false(ki_damaged(w.ki, &segment, &from, &to));
		memdisk_bytes(&w.disk, path, &n)[starts[part] + (part == 1 ? 9 : 40)] ^= 4;
	}
	world_fini(&w);
}

static void files_outside_the_log_are_removed(void **state)
{
	struct world w;
	size_t n;
	(void)state;
	world_init(&w, 48, SEGMENT);
	while (w.end < 5 * SEGMENT)
		add_record(&w);
	w.end = 5 * SEGMENT;
	ki_flush(w.ki, w.end);
	ki_close(w.ki);
	world_open(&w);
	w.first = 2 * SEGMENT;
	ki_load(w.ki, 3 * SEGMENT);
	w.n = record_at(&w, 3 * SEGMENT + 1000);
	w.end = w.v[w.n].position;
	assert_int_equal(ki_recovered(w.ki, w.first, w.end), ST_OK);
	assert_null(memdisk_bytes(&w.disk, KI_DIR "/00000000000000000000", &n));
	assert_null(memdisk_bytes(&w.disk, KI_DIR "/00000000000000065536", &n));
	assert_non_null(memdisk_bytes(&w.disk, KI_DIR "/00000000000000131072", &n));
	assert_null(memdisk_bytes(&w.disk, KI_DIR "/00000000000000196608", &n));
	assert_null(memdisk_bytes(&w.disk, KI_DIR "/00000000000000262144", &n));
	check_some(&w, 20);
	assert_true(w.repairs > 0);
	world_fini(&w);
}

static void nothing_written_nothing_synced(void **state)
{
	struct world w;
	(void)state;
	world_init(&w, 49, SEGMENT);
	add_record(&w);
	snapshot(&w);
	uint64_t syncs = w.disk.syncs;
	assert_true(syncs > 0);
	assert_true(sync_index(&w));
	assert_int_equal(w.disk.syncs, syncs);
	world_fini(&w);
}

static void more_segments_than_are_kept_in_memory(void **state)
{
	struct world w;
	struct ki_stats st;
	(void)state;
	world_init(&w, 46, 4096);
	while (w.end < 200 * 4096)
		add_record(&w);
	check_some(&w, 100);
	ki_stats(w.ki, &st);
	assert_true(st.segments <= KI_SEGMENTS_MAX + 1);
	assert_int_equal(w.repairs, 0);
	world_fini(&w);
}

static void the_hash_is_part_of_the_format(void **state)
{
	(void)state;
	assert_int_equal(ki_hash(SLICE_LIT("orders"), SLICE_LIT("k-1")), 0x57cc612au);
	assert_int_equal(ki_hash(SLICE_LIT(""), SLICE_LIT("")), 0x40d07c57u);
	assert_int_not_equal(ki_hash(SLICE_LIT("a"), SLICE_LIT("b")), ki_hash(SLICE_LIT("b"), SLICE_LIT("a")));
}

static void bad_segment_sizes_are_refused(void **state)
{
	struct world w = {0};
	(void)state;
	memdisk_init(&w.disk);
	testlog_init(&w.log);
	assert_int_equal(ki_open(&w.ki, &w.disk.disk, &w.log.log, 0), ST_BAD_ARG);
	assert_int_equal(ki_open(&w.ki, &w.disk.disk, &w.log.log, KI_SEGMENT_BYTES_MAX + 1), ST_BAD_ARG);
	memdisk_fini(&w.disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(index_behaves_as_its_model),
		cmocka_unit_test(failures_become_gaps_that_are_said),
		cmocka_unit_test(crashes_lose_no_key),
		cmocka_unit_test(orderly_restarts_need_no_repair),
		cmocka_unit_test(long_runs_are_found),
		cmocka_unit_test(what_cannot_be_written_is_bounded),
		cmocka_unit_test(damage_to_any_byte_is_noticed),
		cmocka_unit_test(runs_beyond_the_logs_end_are_disowned),
		cmocka_unit_test(other_runs_are_found_behind_a_damaged_one),
		cmocka_unit_test(files_outside_the_log_are_removed),
		cmocka_unit_test(nothing_written_nothing_synced),
		cmocka_unit_test(more_segments_than_are_kept_in_memory),
		cmocka_unit_test(the_hash_is_part_of_the_format),
		cmocka_unit_test(bad_segment_sizes_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
