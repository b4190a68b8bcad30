/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Pulls of what is on the disk only: how much is read at once, in which order, and that nobody is forgotten in the line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/clog.h"
#include "engine/eng.h"
#include "tests/lib/group_rig.h"

/* Each message fills more than half of a block, so every other one begins in a block of its own. */
enum { BODY = 16000, MESSAGES = 60, PULLS = MESSAGES / 2, BLOCK = 16384, LOADS_MAX = 2 };

struct cold_pull {
	struct engine_pull pull;
	bool done;
	enum status st;
	unsigned place;       /* among those that were answered */
};

static struct rig rig;
static struct cold_pull pulls[PULLS];
static unsigned answered;
static bool sent;

static void on_sent(struct engine_ask *a, enum status st)
{
	(void)a;
	sent = st == ST_OK;
}

static void on_pulled(struct engine_ask *a, enum status st)
{
	struct cold_pull *p = container_of(container_of(a, struct engine_pull, ask), struct cold_pull, pull);

	assert_false(p->done);
	p->done = true;
	p->st = st;
	p->place = answered++;
}

static void send(struct slice props)
{
	static uint8_t body[BODY];
	struct engine_send s = {.ask = {.done = on_sent}, .default_topic = SLICE_LIT("TBW102"), .default_queues = 1};

	s.msg = (struct msg){.topic = SLICE_LIT("orders"), .props = props, .body = slice_of(body, BODY), .max_reconsume = -1};
	sent = false;
	engine_send(rig.e, &s);
	rig_run(&rig, 1);
	assert_true(sent);
}

/* A store whose messages are not in memory. */
static int setup(void **state)
{
	(void)state;
	memset(pulls, 0, sizeof(pulls));
	answered = 0;
	rig_init(&rig);
	rig.conf.auto_create_topic = true;
	rig.conf.block_bytes = BLOCK;
	rig.conf.max_message = BODY;
	rig.conf.cache_bytes = (uint64_t)LOADS_MAX * CLOG_LOADS_SHARE * BLOCK;
	rig.conf.segment_bytes = rig.conf.ahead_bytes = rig.conf.unsynced_bytes = 2u << 20;
	rig_open(&rig);
	for (int i = 0; i < MESSAGES; i++)
		send((struct slice){NULL, 0});
	rig_restart(&rig);
	rig_run(&rig, 100);
	rig.disk.cold = true;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_fini(&rig);
	return 0;
}

static void ask(unsigned i, uint64_t from)
{
	pulls[i].pull = (struct engine_pull){
		.ask = {.done = on_pulled}, .topic = SLICE_LIT("orders"), .from = from, .max_msgs = 1, .max_bytes = 2 * BODY};
	engine_pull(rig.e, &pulls[i].pull);
}

/* Turns, while one is due or something is being read; the clock stands. Returns the most that was being read at once. */
static uint64_t run_still(void)
{
	uint64_t due, most = 0;
	bool reading;
	int turns = 0;

	do {
		uint64_t before = rig.disk.loads;
		due = engine_turn(rig.e);
		most = u64_max(most, rig.disk.loads - before);
		reading = !list_empty(&rig.disk.ops);
		memdisk_run(&rig.disk);
		assert_true(turns++ < 1000);
	} while (reading || due <= rig.clock.ns);
	return most;
}

static void many_pulls_have_few_blocks_read_at_once_in_their_order(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PULLS; i++)
		ask(i, 2 * i);
	assert_in_range(run_still(), 1, 2 * LOADS_MAX); /* half of the records go into the next block */
	for (unsigned i = 0; i < PULLS; i++) {
		assert_true(pulls[i].done);
		assert_int_equal(pulls[i].st, ST_OK);
		assert_in_range(pulls[i].place + LOADS_MAX, i, i + 2 * LOADS_MAX);
	}
}

static void newcomers_overtake_nobody(void **state)
{
	enum { EARLY = PULLS / 2 };

	(void)state;
	for (unsigned i = 0; i < EARLY; i++)
		ask(i, 2 * i);
	engine_turn(rig.e);
	for (unsigned i = EARLY; i < PULLS; i++) {
		memdisk_run(&rig.disk);
		ask(i, 2 * i);
		engine_turn(rig.e);
	}
	(void)run_still();
	assert_int_equal(answered, PULLS);
	for (unsigned i = EARLY; i < PULLS; i++)
		assert_in_range(pulls[i].place + LOADS_MAX, i, i + 2 * LOADS_MAX);
}

static void who_goes_away_holds_up_nobody(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PULLS; i++)
		ask(i, 2 * i);
	engine_turn(rig.e);
	for (unsigned i = 0; i < PULLS - 1; i++)
		engine_cancel(rig.e, &pulls[i].pull.ask);
	(void)run_still();
	assert_int_equal(answered, PULLS);
	for (unsigned i = 0; i < PULLS; i++)
		assert_int_equal(pulls[i].st, i < PULLS - 1 ? ST_CLOSED : ST_OK);
}

/* Those in front need no read any more when it is their turn, so no end of one lets the others go on. */
static void the_line_goes_on_without_reads(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PULLS; i++)
		ask(i, i < LOADS_MAX ? 2 * i : 10);
	(void)run_still();
	assert_int_equal(answered, PULLS);
}

static void a_failed_read_ends_only_its_own_pull(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PULLS; i++)
		ask(i, 2 * i);
	rig.disk.read_fails = ST_IO;
	engine_turn(rig.e);
	memdisk_run(&rig.disk);
	rig.disk.read_fails = ST_OK;
	(void)run_still();
	assert_int_equal(answered, PULLS);
	for (unsigned i = 0; i < PULLS; i++)
		assert_int_equal(pulls[i].st, i < LOADS_MAX ? ST_IO : ST_OK);
}

/* What is freed first is in the line no more when the others leave it. */
static void a_crash_leaves_nobody_in_the_line(void **state)
{
	struct rig_open o = {.topic = "orders", .group = "g", .expr = "*", .start = SUB_START_FIRST, .lease_ms = 1000};
	struct rig_sub s = {0};
	struct prng torn;
	unsigned standing = 0;

	(void)state;
	prng_init(&torn, 5);
	rig.disk.cold = false;
	send(SLICE_LIT("DELAY\0012\2"));
	for (int i = 0; i < 4; i++)
		send((struct slice){NULL, 0});
	rig_restart(&rig);
	assert_int_equal(rig_subscribe(&rig, &s, &o), ST_OK);
	rig.disk.cold = true;
	for (unsigned i = 0; i < LOADS_MAX; i++)
		ask(i, 2 + 2 * i);
	engine_turn(rig.e);
	rig_credit(&rig, &s, 1);
	for (int i = 0; i < 3; i++)
		engine_turn(rig.e);
	rig.clock.ns += 6 * SEC_NS; /* the delayed one is due */
	engine_turn(rig.e);
	LIST_EACH(&eng_of(rig.e)->clog.line, n)
		standing++;
	assert_int_equal(standing, 2);
	memdisk_run(&rig.disk); /* the reads end, and nobody has been let in yet */
	rig.disk.cold = false;
	rig_crash(&rig, &torn);
	assert_int_equal(answered, 0);
	rig_sub_free(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(many_pulls_have_few_blocks_read_at_once_in_their_order),
		TEST(newcomers_overtake_nobody),
		TEST(who_goes_away_holds_up_nobody),
		TEST(the_line_goes_on_without_reads),
		TEST(a_failed_read_ends_only_its_own_pull),
		TEST(a_crash_leaves_nobody_in_the_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
