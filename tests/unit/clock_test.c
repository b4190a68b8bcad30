/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Wall clocks that step: what is kept by age, and what is delayed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/eng.h"
#include "tests/lib/group_rig.h"

#define HOUR_MS INT64_C(3600000)

static void setup(struct rig *r)
{
	rig_init(r);
	r->conf.reserved_ms = (uint64_t)(10 * HOUR_MS);
	r->conf.offset_sync_ms = 100;
	rig_open(r);
	assert_int_equal(rig_topic(r, "t", 1), ST_OK);
}

/* Some segments full of messages, and both snapshots behind them. */
static void fill(struct rig *r)
{
	char body[40000];

	memset(body, 'x', sizeof body - 1);
	body[sizeof body - 1] = '\0';
	for (int i = 0; i < 100; i++) {
		assert_int_equal(rig_send(r, "t", 0, NULL, body), ST_OK);
		rig_run(r, 100);
	}
	assert_true(rig_stat(r, STAT_SEGMENTS) > 3);
	assert_true(snapshot_floor(eng_of(r->e)) > 2 * r->conf.segment_bytes);
}

static uint64_t log_min(struct rig *r)
{
	return rig_stat(r, STAT_LOG_MIN);
}

static void a_clock_that_jumps_ahead_makes_nothing_old(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	fill(&r);
	r.clock.wall_ms += 1000 * HOUR_MS;
	rig_run(&r, 60000);
	assert_int_equal(rig_send(&r, "t", 0, NULL, "ahead"), ST_OK); /* a record of that time makes no difference */
	rig_run(&r, (uint64_t)HOUR_MS);
	assert_int_equal(log_min(&r), 0);
	r.clock.wall_ms -= 1000 * HOUR_MS;
	rig_run(&r, (uint64_t)(8 * HOUR_MS));
	assert_int_equal(log_min(&r), 0);
	rig_run(&r, (uint64_t)(2 * HOUR_MS));
	assert_true(log_min(&r) > 0); /* in its time */
	rig_fini(&r);
}

static void a_clock_that_is_right_is_believed_little_by_little(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	fill(&r);
	rig_close(&r);
	r.clock.wall_ms += 1000 * HOUR_MS; /* a long stop, or a wrong clock at the start: who knows? */
	rig_open(&r);
	rig_run(&r, (uint64_t)(4 * HOUR_MS));
	assert_int_equal(log_min(&r), 0);
	rig_run(&r, (uint64_t)(2 * HOUR_MS));
	assert_true(log_min(&r) > 0); /* five hours of a process count for ten */
	rig_fini(&r);
}

static void age_counts_through_a_restart(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	fill(&r);
	rig_run(&r, (uint64_t)(6 * HOUR_MS));
	assert_int_equal(rig_send(&r, "t", 0, NULL, "later"), ST_OK);
	rig_restart(&r);
	rig_run(&r, (uint64_t)(3 * HOUR_MS));
	assert_int_equal(log_min(&r), 0);
	rig_run(&r, (uint64_t)(2 * HOUR_MS));
	assert_true(log_min(&r) > 0);
	rig_fini(&r);
}

static uint64_t messages(struct rig *r)
{
	return eng_of(r->e)->stats[STAT_DELAYED_OUT_TOTAL];
}

static void send_delayed(struct rig *r, const char *level)
{
	struct buf props = {0};

	buf_fmt(&props, "DELAY%c%s%c", 1, level, 2);
	assert_int_equal(rig_send_props(r, "t", 0, buf_view(&props), "m"), ST_OK);
	buf_fini(&props);
}

static void delays_are_kept_when_the_clock_was_ahead(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	r.clock.wall_ms += 1000 * HOUR_MS;
	rig_run(&r, 1000);
	assert_int_equal(rig_send(&r, "t", 0, NULL, "ahead"), ST_OK);
	r.clock.wall_ms -= 1000 * HOUR_MS;
	rig_run(&r, 1000);
	for (int restart = 0; restart < 2; restart++) {
		uint64_t before = messages(&r);
		send_delayed(&r, "5"); /* a minute */
		rig_run(&r, 59900);
		assert_int_equal(messages(&r), before); /* never early */
		struct engine_stats n = {.actor = NULL};
		delay_numbers(eng_of(r.e), &n);
		assert_true(n.delay[4].next + 1 == n.delay[4].end && n.delay[3].end == 0);
		rig_run(&r, 60000 / 7 + 200);
		assert_int_equal(messages(&r), before + 1);
		rig_restart(&r);
	}
	/* A step back alone makes nobody wait either. */
	send_delayed(&r, "5");
	rig_run(&r, 30000);
	r.clock.wall_ms -= 5000 * HOUR_MS;
	rig_run(&r, 29900);
	assert_int_equal(messages(&r), 0);
	rig_run(&r, 60000 / 7 + 200);
	assert_int_equal(messages(&r), 1);
	rig_fini(&r);
}

/* The store's clock goes on, never back, and lets a clock that is right catch up. */
static void store_times_and_the_clock_meet_again(void **state)
{
	struct rig r;
	int64_t last = 0;

	(void)state;
	setup(&r);
	r.clock.wall_ms += HOUR_MS;
	rig_run(&r, 1000);
	assert_int_equal(rig_send(&r, "t", 0, NULL, "ahead"), ST_OK);
	r.clock.wall_ms -= HOUR_MS;
	for (int minutes = 0; minutes < 9 * 60; minutes++) {
		struct eng *g = eng_of(r.e);
		rig_run(&r, 60000);
		assert_int_equal(rig_send(&r, "t", 0, NULL, "m"), ST_OK);
		assert_true(g->store_ms >= last && (last == 0 || g->store_ms - last < 62000));
		assert_true(g->store_ms >= g->now_ms && (minutes < 8 * 60 || g->store_ms == g->now_ms));
		last = g->store_ms;
	}
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_clock_that_jumps_ahead_makes_nothing_old),
		cmocka_unit_test(a_clock_that_is_right_is_believed_little_by_little),
		cmocka_unit_test(age_counts_through_a_restart),
		cmocka_unit_test(delays_are_kept_when_the_clock_was_ahead),
		cmocka_unit_test(store_times_and_the_clock_meet_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
