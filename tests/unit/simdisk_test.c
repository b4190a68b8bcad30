/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The simulated disk: the contract, what a crash may and may not do, faults, and a toy log on it that loses nothing when it does everything
 * right, and something when it leaves out a sync.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/be.h"
#include "base/crc.h"
#include "base/mem.h"
#include "base/obj.h"
#include "tests/contract/disk.h"
#include "tests/sim/disk.h"

struct fixture {
	struct disk_fixture base;
	struct sim_clock clock;
	struct sim_disk *disk;
};

static void step(struct disk_fixture *base)
{
	struct fixture *f = container_of(base, struct fixture, base);
	uint64_t next = sim_clock_next(&f->clock);

	sim_clock_run(&f->clock, next == NEVER ? f->clock.now_ns + MS_NS : next);
}

static int setup(void **state)
{
	static const struct sim_disk_conf conf = {.latency_min_ns = 1000, .latency_max_ns = 5 * MS_NS, .sync_now_permille = 300,
		.uncached_permille = 300};
	struct fixture *f = mem_new(sizeof(*f));

	sim_clock_init(&f->clock);
	f->disk = sim_disk_new(&f->clock, &conf, 42);
	f->base.disk = &f->disk->base;
	f->base.step = step;
	*state = &f->base;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = container_of((struct disk_fixture *)*state, struct fixture, base);

	sim_disk_free(f->disk);
	sim_clock_fini(&f->clock);
	mem_free(f);
	return 0;
}

static struct fixture *fixture_of(void **state)
{
	return container_of((struct disk_fixture *)*state, struct fixture, base);
}

static struct disk_file *open_file(struct sim_disk *d, const char *path)
{
	struct disk_file *f = NULL;

	assert_int_equal(d->base.ops->open(&d->base, path, DISK_CREATE, &f, NULL), ST_OK);
	return f;
}

static enum status put(struct disk_file *f, uint64_t at, const char *text)
{
	struct slice v = slice_str(text);

	return f->ops->write_at(f, at, &v, 1);
}

static void crash(struct sim_disk *d, struct disk_file *f, enum sim_crash how)
{
	sim_disk_kill(d);
	if (f != NULL)
		f->ops->close(f);
	sim_disk_crash(d, how);
}

static void synced_bytes_survive_and_others_are_old_or_new(void **state)
{
	struct sim_disk *d = fixture_of(state)->disk;
	unsigned seen[3] = {0};

	for (int i = 0; i < 300; i++) {
		struct disk_file *f = open_file(d, "a");
		struct slice got;

		assert_int_equal(put(f, 0, "old"), ST_OK);
		assert_int_equal(f->ops->sync_now(f), ST_OK);
		assert_int_equal(d->base.ops->sync_dir(&d->base, ""), ST_OK);
		assert_int_equal(put(f, 0, "mid"), ST_OK);
		assert_int_equal(put(f, 0, "new"), ST_OK);
		crash(d, f, SIM_CRASH_RANDOM);
		assert_true(sim_disk_bytes(d, "a", &got));
		assert_int_equal(got.n, 3);
		int which = memcmp(got.p, "old", 3) == 0 ? 0 : memcmp(got.p, "mid", 3) == 0 ? 1 : 2;

		assert_true(which < 2 || memcmp(got.p, "new", 3) == 0);
		seen[which]++;
	}
	assert_true(seen[0] > 20 && seen[1] > 20 && seen[2] > 20);
}

static void a_write_tears_between_sectors(void **state)
{
	struct sim_disk *d = fixture_of(state)->disk;
	static char old[4 * SIM_SECTOR + 1], new[4 * SIM_SECTOR + 1];
	unsigned patterns[16] = {0}, distinct = 0;

	memset(old, 'o', sizeof(old) - 1);
	memset(new, 'n', sizeof(new) - 1);
	for (int i = 0; i < 400; i++) {
		struct disk_file *f = open_file(d, "a");
		struct slice got;
		unsigned pattern = 0;

		put(f, 0, old);
		f->ops->sync_now(f);
		d->base.ops->sync_dir(&d->base, "");
		put(f, 0, new);
		crash(d, f, SIM_CRASH_RANDOM);
		assert_true(sim_disk_bytes(d, "a", &got));
		for (unsigned s = 0; s < 4; s++) {
			for (unsigned k = 1; k < SIM_SECTOR; k++)
				assert_int_equal(got.p[s * SIM_SECTOR], got.p[s * SIM_SECTOR + k]);
			pattern |= (unsigned)(got.p[s * SIM_SECTOR] == 'n') << s;
		}
		patterns[pattern]++;
	}
	for (int i = 0; i < 16; i++)
		distinct += patterns[i] > 0;
	assert_true(distinct >= 14);
}

static void names_need_a_synced_folder(void **state)
{
	struct sim_disk *d = fixture_of(state)->disk;
	unsigned there = 0;
	struct slice got;

	for (int i = 0; i < 100; i++) {
		struct disk_file *f = open_file(d, "a");

		put(f, 0, "x");
		f->ops->sync_now(f);
		crash(d, f, SIM_CRASH_RANDOM);
		if (sim_disk_bytes(d, "a", &got)) {
			there++;
			assert_int_equal(got.n, 1);
			assert_int_equal(d->base.ops->remove(&d->base, "a"), ST_OK);
			assert_int_equal(d->base.ops->sync_dir(&d->base, ""), ST_OK);
		}
	}
	assert_in_range(there, 10, 90);
	struct disk_file *f = open_file(d, "a");

	put(f, 0, "x");
	f->ops->sync_now(f);
	d->base.ops->sync_dir(&d->base, "");
	crash(d, f, SIM_CRASH_OLD);
	assert_true(sim_disk_bytes(d, "a", &got));
	/* A rename that may be undone leaves one name or the other, never both or none. */
	unsigned moved = 0;

	for (int i = 0; i < 100; i++) {
		bool at_a = sim_disk_bytes(d, "a", &got), at_b;

		assert_int_equal(d->base.ops->rename(&d->base, at_a ? "a" : "b", at_a ? "b" : "a"), ST_OK);
		crash(d, NULL, SIM_CRASH_RANDOM);
		at_b = sim_disk_bytes(d, "b", &got);
		assert_true(sim_disk_bytes(d, "a", &got) != at_b);
		moved += at_a == at_b;
	}
	assert_in_range(moved, 10, 90);
}

static void changes_of_one_file_are_undone_from_the_back(void **state)
{
	struct sim_disk *d = fixture_of(state)->disk;
	struct slice got;

	for (int i = 0; i < 300; i++) {
		struct disk_file *f = open_file(d, "a");

		f->ops->close(f);
		d->base.ops->rename(&d->base, "a", "b");
		d->base.ops->rename(&d->base, "b", "c");
		crash(d, NULL, SIM_CRASH_RANDOM);
		int names = sim_disk_bytes(d, "a", &got) + sim_disk_bytes(d, "b", &got) + sim_disk_bytes(d, "c", &got);

		assert_true(names <= 1);
		for (const char *p = "abc"; *p != '\0'; p++) {
			char path[2] = {*p, '\0'};

			if (sim_disk_bytes(d, path, &got))
				d->base.ops->remove(&d->base, path);
		}
		d->base.ops->sync_dir(&d->base, "");
	}
}

static void a_cut_is_undone_with_the_length_or_not_at_all(void **state)
{
	struct sim_disk *d = fixture_of(state)->disk;
	static char text[3 * SIM_SECTOR + 1];
	unsigned lengths[4] = {0};

	memset(text, 't', sizeof(text) - 1);
	for (int i = 0; i < 300; i++) {
		struct disk_file *f = open_file(d, "a");
		struct slice got;

		put(f, 0, text);
		f->ops->sync_now(f);
		d->base.ops->sync_dir(&d->base, "");
		f->ops->truncate(f, SIM_SECTOR);
		f->ops->truncate(f, 3 * SIM_SECTOR);
		crash(d, f, SIM_CRASH_RANDOM);
		assert_true(sim_disk_bytes(d, "a", &got));
		lengths[got.n / SIM_SECTOR]++;
		if (got.n == 3 * SIM_SECTOR)
			assert_int_equal(got.p[SIM_SECTOR], got.p[3 * SIM_SECTOR - 1]); /* the old text or zeros, never a mixture */
	}
	assert_true(lengths[1] > 10 && lengths[3] > 10 && lengths[2] == 0);
}

struct told {
	struct disk_op op;
	enum status status;
	bool done;
};

static void note_done(struct disk_op *op, enum status st)
{
	struct told *t = container_of(op, struct told, op);

	t->status = st;
	t->done = true;
}

static void a_sync_covers_what_stood_when_it_began(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct sim_disk *d = fx->disk;

	for (int i = 0; i < 100; i++) {
		struct disk_file *f = open_file(d, "a");
		struct told t = {.op = {.done = note_done}};
		enum status st;
		struct slice got;

		d->base.ops->sync_dir(&d->base, "");
		put(f, 0, "before");
		bool now = f->ops->sync(f, false, &t.op, &st);

		assert_false(now);
		put(f, 0, "behind");
		while (!t.done)
			step(&fx->base);
		crash(d, f, i % 2 ? SIM_CRASH_OLD : SIM_CRASH_RANDOM);
		assert_true(sim_disk_bytes(d, "a", &got));
		assert_true(memcmp(got.p, "before", 6) == 0 || (i % 2 == 0 && memcmp(got.p, "behind", 6) == 0));
	}
}

static void a_failed_sync_may_lose_the_bytes_for_good(void **state)
{
	struct sim_disk *d = fixture_of(state)->disk;
	unsigned lost = 0;

	for (int i = 0; i < 100; i++) {
		struct disk_file *f = open_file(d, "a");
		struct slice got;

		put(f, 0, "old");
		d->base.ops->sync_dir(&d->base, "");
		f->ops->sync_now(f);
		put(f, 0, "new");
		sim_disk_fault(d, SIM_SYNC, 1, false, ST_IO);
		assert_int_equal(f->ops->sync_now(f), ST_IO);
		assert_int_equal(f->ops->sync_now(f), ST_OK); /* and that is the lie of real systems */
		crash(d, f, SIM_CRASH_OLD);
		assert_true(sim_disk_bytes(d, "a", &got));
		lost += memcmp(got.p, "old", 3) == 0;
	}
	assert_in_range(lost, 10, 90);
}

static void a_killed_process_loses_nothing(void **state)
{
	struct sim_disk *d = fixture_of(state)->disk;
	struct disk_file *f = open_file(d, "a");
	struct slice got;

	put(f, 0, "x");
	crash(d, f, SIM_CRASH_KILL);
	assert_true(sim_disk_bytes(d, "a", &got));
	assert_int_equal(got.n, 1);
	crash(d, NULL, SIM_CRASH_OLD);
	assert_false(sim_disk_bytes(d, "a", &got));
}

static void faults_and_quota(void **state)
{
	struct sim_disk *d = fixture_of(state)->disk;
	struct disk_file *f = open_file(d, "a");
	uint64_t avail, total;

	sim_disk_fault(d, SIM_WRITE, 2, false, ST_IO);
	assert_int_equal(put(f, 0, "1"), ST_OK);
	assert_int_equal(put(f, 0, "2"), ST_IO);
	assert_int_equal(put(f, 0, "3"), ST_OK);
	sim_disk_fault(d, SIM_WRITE, 1, true, ST_DISK_FULL);
	assert_int_equal(put(f, 0, "1"), ST_DISK_FULL);
	assert_int_equal(put(f, 0, "2"), ST_DISK_FULL);
	sim_disk_heal(d);
	d->conf.quota = 2 * SIM_PAGE;
	assert_int_equal(put(f, SIM_PAGE, "1"), ST_OK);
	assert_int_equal(put(f, 2 * SIM_PAGE, "1"), ST_DISK_FULL);
	assert_int_equal(put(f, SIM_PAGE + 5, "1"), ST_OK); /* prepared space is never short */
	assert_int_equal(d->base.ops->space(&d->base, &avail, &total), ST_OK);
	assert_int_equal(avail, 0);
	f->ops->close(f);
	assert_int_equal(d->base.ops->remove(&d->base, "a"), ST_OK);
	d->base.ops->sync_dir(&d->base, "");
	assert_int_equal(d->base.ops->space(&d->base, &avail, &total), ST_OK);
	assert_int_equal(avail, total);
}

static void a_dead_disk_answers_nothing_until_the_crash(void **state)
{
	struct sim_disk *d = fixture_of(state)->disk;
	struct disk_file *f = open_file(d, "a");

	d->crash_at = d->calls + 2;
	assert_int_equal(put(f, 0, "1"), ST_OK);
	assert_int_equal(put(f, 0, "2"), ST_IO);
	assert_int_equal(f->ops->sync_now(f), ST_IO);
	assert_int_equal(d->base.ops->lock(&d->base, "lock"), ST_IO);
	crash(d, f, SIM_CRASH_RANDOM);
	assert_int_equal(d->base.ops->lock(&d->base, "lock"), ST_OK);
	assert_int_equal(d->base.ops->lock(&d->base, "lock"), ST_LOCKED);
}

/* ---- A toy log ------------------------------------------------------------------------------------------------------------------ */

/*
 * Records of a length, a checksum and that many bytes, appended and synced; acknowledged when the sync has returned. Opening finds the end,
 * cuts what is behind it, and syncs that.
 */
struct toy {
	struct sim_disk *d;
	struct disk_file *f;
	uint64_t end, count;
};

enum toy_mistake { TOY_RIGHT, TOY_NO_SYNC, TOY_NO_SYNC_DIR, TOY_NO_CHECKSUM };

static enum status toy_open(struct toy *t, struct sim_disk *d, enum toy_mistake m)
{
	uint64_t size;
	enum status st = d->base.ops->open(&d->base, "dir/log", DISK_CREATE, &t->f, &size);

	*t = (struct toy){.d = d, .f = st == ST_OK ? t->f : NULL};
	if (st == ST_OK && m != TOY_NO_SYNC_DIR)
		st = d->base.ops->sync_dir(&d->base, "dir");
	while (st == ST_OK && t->end + 8 <= size) {
		uint8_t head[8], body[3000];
		size_t got;

		st = t->f->ops->read_at(t->f, t->end, head, 8, false, &got);
		if (st != ST_OK || be32_get(head) == 0 || be32_get(head) > sizeof(body) || t->end + 8 + be32_get(head) > size)
			break;
		st = t->f->ops->read_at(t->f, t->end + 8, body, be32_get(head), false, &got);
		if (st != ST_OK || (m != TOY_NO_CHECKSUM && crc32_of(body, got) != be32_get(head + 4)))
			break;
		if (be64_get(body) != t->count)
			break;
		t->end += 8 + got;
		t->count++;
	}
	if (st == ST_OK)
		st = t->f->ops->truncate(t->f, t->end);
	if (st == ST_OK)
		st = t->f->ops->sync_now(t->f);
	return st;
}

static bool toy_intact(const struct toy *t, uint64_t count)
{
	struct slice all;
	uint64_t at = 0;

	if (!sim_disk_bytes(t->d, "dir/log", &all))
		return count == 0;
	for (uint64_t i = 0; i < count; i++) {
		if (at + 8 > all.n || at + 8 + be32_get(all.p + at) > all.n || be32_get(all.p + at) < 8 ||
		    crc32_of(all.p + at + 8, be32_get(all.p + at)) != be32_get(all.p + at + 4) || be64_get(all.p + at + 8) != i)
			return false;
		at += 8 + be32_get(all.p + at);
	}
	return true;
}

static enum status toy_append(struct toy *t, struct prng *r, enum toy_mistake m)
{
	uint8_t rec[3008];
	uint32_t n = (uint32_t)(8 + prng_below(r, 2900));
	struct slice v = slice_of(rec, 8 + n);

	memset(rec, (int)(t->count % 251), sizeof(rec));
	be32_put(rec, n);
	be64_put(rec + 8, t->count);
	be32_put(rec + 4, crc32_of(rec + 8, n));
	enum status st = t->f->ops->write_at(t->f, t->end, &v, 1);

	if (st == ST_OK && m != TOY_NO_SYNC)
		st = t->f->ops->sync_now(t->f);
	if (st == ST_OK) {
		t->end += 8 + n;
		t->count++;
	}
	return st;
}

/* True when 'crashes' crashes at random calls, recovery included, lost nothing that was acknowledged and let nothing broken in. */
static bool toy_survives(uint64_t seed, unsigned crashes, enum toy_mistake m, bool lying)
{
	struct sim_disk_conf conf = {.latency_max_ns = 1000, .lying = lying};
	struct sim_clock clock;
	struct toy t = {0};
	uint64_t acked = 0;
	struct prng r;
	bool good = true;

	prng_init(&r, seed);
	sim_clock_init(&clock);
	struct sim_disk *d = sim_disk_new(&clock, &conf, seed);

	for (unsigned i = 0; i < crashes && good; i++) {
		d->crash_at = d->calls + 1 + prng_below(&r, 60 + 3 * acked);
		enum status st = toy_open(&t, d, m);

		if (st == ST_OK) {
			good = t.count >= acked && toy_intact(&t, t.count);
			acked = t.count; /* what recovery has accepted it may not lose later */
		}
		while (st == ST_OK && good) {
			st = toy_append(&t, &r, m);
			if (st == ST_OK)
				acked = t.count;
		}
		sim_disk_kill(d);
		if (t.f != NULL)
			t.f->ops->close(t.f);
		sim_disk_crash(d, (enum sim_crash)prng_below(&r, 4));
	}
	sim_disk_free(d);
	sim_clock_fini(&clock);
	return good;
}

static unsigned toys_that_survive(enum toy_mistake m, bool lying)
{
	unsigned n = 0;

	for (uint64_t seed = 1; seed <= 40; seed++)
		n += toy_survives(seed, 50, m, lying);
	return n;
}

static void a_log_that_does_all_right_loses_nothing(void **state)
{
	(void)state;
	assert_int_equal(toys_that_survive(TOY_RIGHT, false), 40);
}

static void every_mistake_is_found(void **state)
{
	(void)state;
	assert_true(toys_that_survive(TOY_NO_SYNC, false) < 4);
	assert_true(toys_that_survive(TOY_NO_SYNC_DIR, false) < 40);
	assert_true(toys_that_survive(TOY_NO_CHECKSUM, false) < 40);
	assert_true(toys_that_survive(TOY_RIGHT, true) < 4);
}

static void one_seed_is_one_world(void **state)
{
	uint64_t calls[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct sim_disk_conf conf = {.latency_max_ns = 1000};
		struct sim_clock clock;
		struct toy t = {0};
		struct prng r;

		prng_init(&r, 5);
		sim_clock_init(&clock);
		struct sim_disk *d = sim_disk_new(&clock, &conf, 5);

		d->crash_at = 100;
		assert_int_equal(toy_open(&t, d, TOY_RIGHT), ST_OK);
		while (toy_append(&t, &r, TOY_RIGHT) == ST_OK)
			;
		crash(d, t.f, SIM_CRASH_RANDOM);
		assert_int_equal(toy_open(&t, d, TOY_RIGHT), ST_OK);
		calls[i] = d->calls * 1000000 + t.end;
		crash(d, t.f, SIM_CRASH_OLD);
		sim_disk_free(d);
		sim_clock_fini(&clock);
	}
	assert_int_equal(calls[0], calls[1]);
}

#define OWN(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_CONTRACT_TESTS(setup, teardown),
		OWN(synced_bytes_survive_and_others_are_old_or_new),
		OWN(a_write_tears_between_sectors),
		OWN(names_need_a_synced_folder),
		OWN(changes_of_one_file_are_undone_from_the_back),
		OWN(a_cut_is_undone_with_the_length_or_not_at_all),
		OWN(a_sync_covers_what_stood_when_it_began),
		OWN(a_failed_sync_may_lose_the_bytes_for_good),
		OWN(a_killed_process_loses_nothing),
		OWN(faults_and_quota),
		OWN(a_dead_disk_answers_nothing_until_the_crash),
		cmocka_unit_test(a_log_that_does_all_right_loses_nothing),
		cmocka_unit_test(every_mistake_is_found),
		cmocka_unit_test(one_seed_is_one_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
