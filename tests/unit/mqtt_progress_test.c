/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What the broker keeps of a durable session, and for how long: offsets, identifiers of what is under way, what it knows after a restart; and what bounds it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "tests/lib/mqtt_rig.h"

static struct mclient p, s;

static void publisher(void)
{
	mclient_open(&mrig, &p, 4);
	mclient_connect(&p, "publisher", true, 0);
}

static void resume(void)
{
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "dur", false, 100000);
	assert_true(s.p.session_present);
}

static void subscriber(const char *filter)
{
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "dur", false, 100000);
	assert_false(s.p.session_present);
	mclient_subscribe(&s, filter, 1);
}

/* Takes PUBLISHes, and acknowledges nothing; how many. */
static unsigned take_all(uint16_t *ret_last)
{
	unsigned n = 0;

	for (unsigned idle = 0; idle < 2;) {
		if (!mclient_take(&s)) {
			idle++;
			continue;
		}
		assert_int_equal(s.p.type, MQTT_PUBLISH);
		if (ret_last != NULL && s.p.id > *ret_last)
			*ret_last = s.p.id;
		n++;
	}
	return n;
}

/* ---- Identifiers ------------------------------------------------------------------------------------------------------------------------ */

/* What was sent comes again before anything new does, whatever queue it is of. */
static void who_acknowledges_nothing_gets_the_same_again(void **state)
{
	uint16_t last = 0;

	(void)state;
	mrig.conf.mqtt_max_inflight = 4;
	mrig_restart(&mrig);
	mrig_topic(&mrig, "t", 8);
	subscriber("t/#");
	publisher();
	for (unsigned i = 0; i < 80; i++) {
		char topic[16];
		snprintf(topic, sizeof(topic), "t/%u", i % 20);
		mclient_publish(&p, topic, "x", 1, false);
	}
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(take_all(&last), 4);
		assert_int_equal(last, 4);
		mclient_close(&s);
		resume();
	}
}

static void as_many_as_may_be_under_way_come_again(void **state)
{
	enum { MOST = 32767, BATCH = 4096 };
	struct mqtt_packet packet = {.type = MQTT_PUBLISH, .qos = 1, .topic = SLICE_LIT("t/1"), .payload = SLICE_LIT("x")};
	uint16_t last = 0;

	(void)state;
	mrig.conf.mqtt_max_inflight = 65535;
	mrig_restart(&mrig);
	mrig_topic(&mrig, "t", 1);
	subscriber("t/#");
	publisher();
	for (unsigned n = 0; n < MOST + 10;) {
		for (unsigned i = 0; i < BATCH; i++, n++) {
			packet.id = (uint16_t)(1 + n % 60000);
			mclient_put(&p, &packet);
		}
		while (mclient_take(&p) && p.p.id != packet.id)
			;
	}
	assert_int_equal(take_all(&last), MOST);
	assert_int_equal(last, MOST);
	mclient_close(&s);
	resume();
	assert_int_equal(take_all(NULL), MOST);
	for (unsigned i = 1; i <= MOST; i++)
		mclient_ack(&s, (uint16_t)i);
	assert_true(take_all(NULL) >= 10);
}

/* ---- After a restart -------------------------------------------------------------------------------------------------------------------------- */

static void three_are_sent_and_one_acknowledged(void)
{
	mrig_topic(&mrig, "t", 1);
	subscriber("t/#");
	publisher();
	mclient_publish(&p, "t/1", "one", 1, false);
	mclient_publish(&p, "t/1", "two", 1, false);
	mclient_publish(&p, "t/1", "three", 1, false);
	assert_int_equal(take_all(NULL), 3);
	mclient_ack(&s, 2);
}

static void back_after_the_process(void)
{
	mclient_close(&s);
	mclient_close(&p);
	publisher();
	mclient_publish(&p, "t/1", "four", 1, false);
	resume();
}

static void what_was_sent_comes_again_as_itself(void)
{
	mclient_expect(&s, "PUBLISH v5 qos1 dup id=1 topic=t/1 payload=one");
	mclient_expect(&s, "PUBLISH v5 qos1 dup id=3 topic=t/1 payload=three");
	mclient_expect(&s, "PUBLISH v5 qos1 id=4 topic=t/1 payload=four");
	mclient_expect(&s, "");
	mclient_ack(&s, 1);
	mclient_ack(&s, 3);
	mclient_ack(&s, 4);
	mrig_run(&mrig, 200);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "t", 0), 4);
}

static void a_process_that_stops_in_order_remembers_what_it_sent(void **state)
{
	(void)state;
	three_are_sent_and_one_acknowledged();
	mrig_restart(&mrig);
	mrig_restart(&mrig);
	back_after_the_process();
	what_was_sent_comes_again_as_itself();
}

static void what_an_absent_client_was_sent_survives_a_crash(void **state)
{
	(void)state;
	three_are_sent_and_one_acknowledged();
	mclient_close(&s);
	mrig_run(&mrig, 200);
	mrig_kill(&mrig);
	mclient_open(&mrig, &s, 5); /* closed by the next line */
	back_after_the_process();
	what_was_sent_comes_again_as_itself();
}

/* Nobody knows what a process had sent that died: all that was there and is not acknowledged says that it may come again. */
static void after_a_crash_what_may_have_been_sent_says_so(void **state)
{
	(void)state;
	three_are_sent_and_one_acknowledged();
	mclient_ack(&s, 1);
	mrig_run(&mrig, 200);
	mrig_kill(&mrig);
	back_after_the_process();
	mclient_expect(&s, "PUBLISH v5 qos1 dup id=1 topic=t/1 payload=three");
	mclient_expect(&s, "PUBLISH v5 qos1 id=2 topic=t/1 payload=four");
	mclient_publish(&p, "t/1", "five", 1, false);
	mclient_expect(&s, "PUBLISH v5 qos1 id=3 topic=t/1 payload=five");
	mclient_expect(&s, "");
	/* What comes for an absent client was not sent. */
	mclient_ack(&s, 1);
	mclient_ack(&s, 2);
	mclient_ack(&s, 3);
	mclient_close(&s);
	mclient_publish(&p, "t/1", "six", 1, false);
	mrig_kill(&mrig);
	mclient_open(&mrig, &s, 5);
	back_after_the_process();
	mclient_expect(&s, "PUBLISH v5 qos1 id=1 topic=t/1 payload=six");
	mclient_expect(&s, "PUBLISH v5 qos1 id=2 topic=t/1 payload=four");
}

/* More than a record has room for comes again, too. */
static void a_great_deal_that_was_sent_comes_again(void **state)
{
	enum { MANY = 1500 };
	struct mqtt_packet packet = {.type = MQTT_PUBLISH, .qos = 1, .payload = SLICE_LIT("x")};

	(void)state;
	mrig.conf.mqtt_max_inflight = MANY;
	mrig_restart(&mrig);
	mrig_topic(&mrig, "t", 2);
	subscriber("t/#");
	publisher();
	for (unsigned i = 0; i < MANY; i++) {
		packet.topic = i % 2 == 0 ? SLICE_LIT("t/1") : SLICE_LIT("t/4");
		packet.id = (uint16_t)(i + 1);
		mclient_put(&p, &packet);
	}
	while (mclient_take(&p))
		;
	assert_int_equal(take_all(NULL), MANY);
	mclient_ack(&s, 7);
	mrig_restart(&mrig);
	mclient_close(&s);
	mclient_close(&p);
	resume();
	assert_int_equal(take_all(NULL), MANY - 1);
}

/* A client that never comes back is forgotten in time, however often the process ends meanwhile. */
static void restarts_do_not_prolong_a_session(void **state)
{
	(void)state;
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "dur", false, 10000);
	mrig_kill(&mrig);
	mrig_run(&mrig, 6000000);
	mrig_kill(&mrig);
	assert_int_equal(mrig_number(&mrig, "durableSessions"), 1);
	mrig_run(&mrig, 5000000);
	assert_int_equal(mrig_number(&mrig, "durableSessions"), 0);
}

/* ---- Offsets ------------------------------------------------------------------------------------------------------------------------------ */

static void publish_and_ack(const char *topic)
{
	mclient_publish(&p, topic, "x", 1, false);
	if (!mclient_take(&s) || s.p.type != MQTT_PUBLISH)
		fail_msg("%s did not come", topic);
	mclient_ack(&s, s.p.id);
	mrig_run(&mrig, 200);
}

static void offsets_go_with_the_last_filter_that_needs_them(void **state)
{
	(void)state;
	mrig_topic(&mrig, "t", 1);
	mrig_topic(&mrig, "u", 1);
	subscriber("t/#");
	mclient_subscribe(&s, "+/1", 1);
	publisher();
	publish_and_ack("t/1");
	publish_and_ack("u/1");
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "t", 0), 1);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "u", 0), 1);
	/* "+/1" may match what is in t. */
	mclient_say(&s, "A2 L 0064 {} s't/#'");
	mclient_expect(&s, "UNSUBACK v5 id=100 00");
	mrig_run(&mrig, 200);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "t", 0), 1);
	publish_and_ack("t/1");
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "t", 0), 2);
	mclient_subscribe(&s, "u/1", 1);
	/* With QoS 0 nothing is kept for it. */
	mclient_say(&s, "82 L 0065 {} s'+/1' 00");
	mclient_expect(&s, "SUBACK v5 id=101 00");
	mrig_run(&mrig, 200);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "t", 0), -1);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "u", 0), 1);
	mclient_say(&s, "A2 L 0066 {} s'u/1'");
	mclient_expect(&s, "UNSUBACK v5 id=102 00");
	mrig_run(&mrig, 6000);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "u", 0), -1);
	/* Again: from now on. */
	mclient_publish(&p, "u/2", "before", 1, false);
	mclient_subscribe(&s, "u/#", 1);
	publish_and_ack("u/2");
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "u", 0), 3);
}

static void one_turn(void)
{
	mrig.clock.ns += MS_NS / 10;
	fake_stream_step(&s.s);
	front_mqtt.turn(mrig.front, mrig.clock.ns);
	engine_turn(mrig.e);
	memdisk_run(&mrig.disk);
	front_mqtt.flush(mrig.front, mrig.clock.ns);
}

/* The process ends so many turns after UNSUBSCRIBE came: the subscription is there with its progress, or neither is. */
static void dies_after(unsigned turns)
{
	mrig_init(&mrig);
	mrig_open(&mrig);
	mrig_topic(&mrig, "t", 1);
	mrig_topic(&mrig, "u", 1);
	subscriber("t/#");
	mclient_subscribe(&s, "u/#", 1);
	publisher();
	for (unsigned i = 0; i < 5; i++) {
		publish_and_ack("t/1");
		publish_and_ack("u/1");
	}
	mclient_say(&s, "A2 L 0064 {} s't/#'");
	for (unsigned i = 0; i < turns; i++)
		one_turn();
	bool answered = mclient_take_now(&s);
	mrig_kill(&mrig);
	mclient_close(&s);
	mclient_close(&p);
	publisher();
	resume();
	mrig_run(&mrig, 200);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "u", 0), 5);
	mclient_publish(&p, "t/1", "later", 1, false);
	mclient_publish(&p, "u/1", "other", 1, false);
	bool there = mrig_offset(&mrig, "mqtt-dur", "t", 0) >= 0;
	if (there && answered)
		fail_msg("%u turns: it was unsubscribed", turns);
	if (there)
		mclient_expect(&s, "PUBLISH v5 qos1 id=1 topic=t/1 payload=later");
	mclient_expect(&s, there ? "PUBLISH v5 qos1 id=2 topic=u/1 payload=other" : "PUBLISH v5 qos1 id=1 topic=u/1 payload=other");
	mclient_expect(&s, "");
	mrig_fini(&mrig);
}

static void a_crash_leaves_the_subscription_with_its_progress_or_neither(void **state)
{
	(void)state;
	for (unsigned turns = 0; turns < 8; turns++)
		dies_after(turns);
}

/* ---- Bounds --------------------------------------------------------------------------------------------------------------------------------- */

static void filters_reach_so_many_queues_at_most(void **state)
{
	(void)state;
	mrig.conf.mqtt_max_queues = 10;
	mrig_restart(&mrig);
	mrig_topic(&mrig, "t", 4);
	mrig_topic(&mrig, "u", 4);
	mrig_topic(&mrig, "v", 4);
	subscriber("t/#");
	mclient_say(&s, "82 L 0064 {} s'u/#' 01 s't/1' 01 s'v' 01 s'#' 01 s'+/#' 00 s'nope/#' 01");
	mclient_expect(&s, "SUBACK v5 id=100 01 01 97 97 00 01");
	mclient_say(&s, "82 L 0065 {} s'+/#' 01");
	mclient_expect(&s, "SUBACK v5 id=101 97");
	mclient_say(&s, "A2 L 0066 {} s't/1' s't/#'");
	mclient_expect(&s, "UNSUBACK v5 id=102 00 00");
	mclient_say(&s, "82 L 0067 {} s'v' 01");
	mclient_expect(&s, "SUBACK v5 id=103 01");
}

/* Topics that come later and are beyond the bound: their messages come while the client takes them. */
static void what_is_beyond_the_bound_comes_while_it_is_taken(void **state)
{
	(void)state;
	mrig.conf.mqtt_max_queues = 2;
	mrig_restart(&mrig);
	mrig_topic(&mrig, "t", 2);
	subscriber("#");
	mrig_run(&mrig, 200);
	mrig_topic(&mrig, "u", 1);
	publisher();
	mclient_publish(&p, "u/1", "one", 1, false);
	mclient_expect(&s, "PUBLISH v5 qos1 id=1 topic=u/1 payload=one");
	mclient_ack(&s, 1);
	mclient_publish(&p, "u/1", "two", 1, false);
	mclient_expect(&s, "PUBLISH v5 qos1 id=2 topic=u/1 payload=two");
	mclient_publish(&p, "t/1", "kept", 1, false);
	mclient_expect(&s, "PUBLISH v5 qos1 id=3 topic=t/1 payload=kept");
	mrig_run(&mrig, 6000);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "u", 0), -1);
	mclient_close(&s);
	mclient_publish(&p, "u/1", "three", 1, false);
	mclient_publish(&p, "t/1", "four", 1, false);
	resume();
	mclient_expect(&s, "PUBLISH v5 qos1 dup id=3 topic=t/1 payload=kept");
	mclient_expect(&s, "PUBLISH v5 qos1 id=4 topic=t/1 payload=four");
	mclient_expect(&s, "");
	mclient_publish(&p, "u/1", "five", 1, false);
	mclient_expect(&s, "PUBLISH v5 qos1 id=5 topic=u/1 payload=five");
	/* More than the client acknowledges: they are dropped, and counted. */
	for (unsigned i = 0; i < 40; i++)
		mclient_publish(&p, "u/1", "many", 1, false);
	assert_int_equal(take_all(NULL), 13);
	assert_true(mrig_number(&mrig, "dropped") > 0);
}

/* ---- Retained messages that the log refuses -------------------------------------------------------------------------------------------------- */

/* What a new subscriber is given, in any order: "a=1 b=2 " */
static void retained_are(const char *expected)
{
	struct buf b = {0};

	mclient_open(&mrig, &s, 4);
	mclient_connect(&s, "looks", true, 0);
	mclient_subscribe(&s, "r/#", 0);
	while (mclient_take(&s)) {
		buf_slice(&b, slice_of(s.p.topic.p, s.p.topic.n));
		buf_fmt(&b, "=%u ", (unsigned)s.p.payload.n);
	}
	if (strcmp(buf_cstr(&b), expected) != 0)
		fail_msg("got %s, expected %s", buf_cstr(&b), expected);
	buf_fini(&b);
	mclient_close(&s);
}

static void memory_has_the_retained_message_that_the_log_has(void **state)
{
	static const char *const big = "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";
	char script[1024];

	(void)state;
	mrig_init(&mrig);
	mrig.engine_conf.max_cell_bytes = 120;
	mrig_open(&mrig);
	mclient_open(&mrig, &p, 5);
	mclient_connect(&p, "p", true, 0);
	mclient_publish(&p, "r/1", "a", 1, true);
	/* Refused: it is too much. */
	snprintf(script, sizeof(script), "33 L s'r/1' 0100 {} '%s'", big);
	mclient_say(&p, script);
	mclient_expect(&p, "PUBACK v5 id=256 reason=97 props[reason=the\\x20message\\x20is\\x20stored,\\x20but\\x20it\\x20could\\x20not\\x20be\\x20retained]");
	retained_are("r/1=1 ");
	snprintf(script, sizeof(script), "33 L s'r/2' 0101 {} '%s'", big);
	mclient_say(&p, script);
	assert_true(mclient_take(&p) && p.p.reason == MQTT_QUOTA_EXCEEDED);
	assert_int_equal(mrig_number(&mrig, "retained"), 1);
	/* One behind the other, before anything is answered. */
	snprintf(script, sizeof(script), "33 L s'r/1' 0102 {} 'bb' | 33 L s'r/1' 0103 {} '%s' | 33 L s'r/2' 0104 {} '%s' | 33 L s'r/1' 0105 {} ''", big, big);
	mclient_say(&p, script);
	for (unsigned i = 0; i < 4; i++)
		assert_true(mclient_take(&p));
	retained_are("");
	snprintf(script, sizeof(script), "33 L s'r/1' 0106 {} 'bb' | 33 L s'r/1' 0107 {} '%s' | 33 L s'r/1' 0108 {} '%s1'", big, big);
	mclient_say(&p, script);
	for (unsigned i = 0; i < 3; i++)
		assert_true(mclient_take(&p));
	retained_are("r/1=2 ");
	mrig_restart(&mrig);
	retained_are("r/1=2 ");
	mrig_fini(&mrig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mrig_setup, mrig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_acknowledges_nothing_gets_the_same_again),
		TEST(as_many_as_may_be_under_way_come_again),
		TEST(a_process_that_stops_in_order_remembers_what_it_sent),
		TEST(what_an_absent_client_was_sent_survives_a_crash),
		TEST(after_a_crash_what_may_have_been_sent_says_so),
		TEST(a_great_deal_that_was_sent_comes_again),
		TEST(restarts_do_not_prolong_a_session),
		TEST(offsets_go_with_the_last_filter_that_needs_them),
		cmocka_unit_test(a_crash_leaves_the_subscription_with_its_progress_or_neither),
		TEST(filters_reach_so_many_queues_at_most),
		TEST(what_is_beyond_the_bound_comes_while_it_is_taken),
		cmocka_unit_test(memory_has_the_retained_message_that_the_log_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
