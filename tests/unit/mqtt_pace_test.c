/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The MQTT front does what can be done at once, waits for no other traffic, and lets go of what is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "tests/lib/mqtt_rig.h"

static struct mclient p, s;

/* Without the clock moving, and without a turn that nobody asked for. */
static void answered_at_once(const char *script)
{
	size_t had = s.s.out.n;

	mclient_say(&s, script);
	mrig_run(&mrig, 0);
	if (s.s.out.n == had)
		fail_msg("no answer to %s", script);
}

static void a_suback_waits_for_no_other_traffic(void **state)
{
	(void)state;
	assert_int_equal(mrig_topic(&mrig, "t", 4), ST_OK);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	answered_at_once("82 L 0001 {} s't/a' 01");         /* its topic is opened */
	answered_at_once("82 L 0002 {} s't/#' 00");         /* is open already */
	answered_at_once("82 L 0003 {} s'nothing/yet' 01"); /* is not there */
	answered_at_once("82 L 0004 {} s'#' 01");
	answered_at_once("A2 L 0005 {} s'#'");
}

static void a_durable_suback_waits_for_its_cell_only(void **state)
{
	(void)state;
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", false, 100);
	answered_at_once("82 L 0001 {} s't/a' 01");
	answered_at_once("A2 L 0002 {} s't/a'");
}

/* A client that keeps some messages for long has the rest of its window all the same. */
static void a_window_with_some_room_is_used(void **state)
{
	uint16_t first;

	(void)state;
	mclient_open(&mrig, &p, 4);
	mclient_connect(&p, "p", true, 0);
	mclient_open(&mrig, &s, 5);
	mclient_say(&s, "10 L s'MQTT' 05 02 0000 {21 0004} s's'");
	assert_true(mclient_take(&s));
	mclient_subscribe(&s, "t/#", 1);
	for (unsigned i = 0; i < 8; i++)
		mclient_publish(&p, "t/x", (const char *[]){"0", "1", "2", "3", "4", "5", "6", "7"}[i], 1, false);
	assert_true(mclient_take(&s));
	first = s.p.id;
	for (unsigned i = 1; i < 4; i++)
		assert_true(mclient_take(&s));
	assert_false(mclient_take(&s));
	mclient_ack(&s, first);
	mrig_run(&mrig, 10);
	assert_true(mclient_take(&s));
	assert_true(slice_eq_str(s.p.payload, "4"));
	assert_false(mclient_take(&s));
}

/* A session that was away while its topic lost queues: it gets what can be read, and what cannot is no trouble. */
static void queues_that_went_while_a_session_was_away(void **state)
{
	char topic[16];
	unsigned got = 0;

	(void)state;
	assert_int_equal(mrig_topic(&mrig, "t", 8), ST_OK);
	mclient_open(&mrig, &p, 4);
	mclient_connect(&p, "p", true, 0);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", false, 100);
	mclient_subscribe(&s, "t/#", 1);
	mclient_close(&s);
	for (unsigned i = 0; i < 32; i++) {
		snprintf(topic, sizeof(topic), "t/%u", i);
		mclient_publish(&p, topic, "x", 1, false);
	}
	assert_int_equal(mrig_topic(&mrig, "t", 2), ST_OK);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", false, 100);
	mrig_run(&mrig, 100);
	while (mclient_take(&s)) {
		assert_int_equal(s.p.type, MQTT_PUBLISH);
		mclient_ack(&s, s.p.id);
		got++;
	}
	assert_in_range(got, 1, 31);
	mclient_publish(&p, "t/new", "y", 1, false);
	assert_true(mclient_take(&s));
	assert_true(slice_eq_str(s.p.payload, "y"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_suback_waits_for_no_other_traffic, mrig_setup, mrig_teardown),
		cmocka_unit_test_setup_teardown(a_durable_suback_waits_for_its_cell_only, mrig_setup, mrig_teardown),
		cmocka_unit_test_setup_teardown(a_window_with_some_room_is_used, mrig_setup, mrig_teardown),
		cmocka_unit_test_setup_teardown(queues_that_went_while_a_session_was_away, mrig_setup, mrig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
