/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Sentences of the MQTT specifications that are easily forgotten, one by one; the numbers are the 5.0 specification's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "tests/lib/mqtt_rig.h"

static struct mclient p, s, w;

static void subscriber(const char *filter, uint8_t qos)
{
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, filter, qos);
}

/* 3.1.2.5: only a DISCONNECT with reason 0x00 takes the will back. */
static void a_disconnect_for_a_reason_publishes_the_will(void **state)
{
	static const char *const reasons[] = {"E0 01 80", "E0 01 81", "E0 02 97 00", "E0 01 04"};
	static const char *const goodbyes[] = {"E0 00", "E0 01 00", "E0 02 00 00"};

	(void)state;
	subscriber("w/#", 0);
	for (unsigned i = 0; i < ARRAY_LEN(reasons) + ARRAY_LEN(goodbyes); i++) {
		bool good = i >= ARRAY_LEN(reasons);
		mclient_open(&mrig, &w, 5);
		mclient_say(&w, "10 L s'MQTT' 05 06 0000 {} s'x' {} s'w/1' s'bye'");
		assert_true(mclient_take(&w));
		mclient_say(&w, good ? goodbyes[i - ARRAY_LEN(reasons)] : reasons[i]);
		mclient_close(&w);
		mclient_expect(&s, good ? "" : "PUBLISH v5 qos0 topic=w/1 payload=bye");
	}
}

/* 3.3.4-6 */
static void clients_send_no_subscription_identifiers(void **state)
{
	(void)state;
	mclient_open(&mrig, &p, 5);
	mclient_connect(&p, "p", true, 0);
	mclient_say(&p, "32 L s'a' 0001 {0B 05} 'x'");
	mclient_expect(&p, "DISCONNECT v5 reason=82 props[reason=a\\x20subscription\\x20identifier,\\x20which\\x20only\\x20servers\\x20send]");
	mclient_expect(&p, "closed");
}

/* 1.5.4-2: no string that we send has U+0000 in it, whatever another front stored. */
static void what_is_no_mqtt_string_is_left_out(void **state)
{
	static const uint8_t props[] = "bad\1x\0y\2b\0d\1value\2content-type\1a\0b\2KEYS\1k\0\2good\1yes\2";
	struct engine_send q = {.msg = {.topic = SLICE_LIT("t"), .body = SLICE_LIT("body"), .props = {props, sizeof(props) - 1}, .queue = -1,
		.max_reconsume = -1}, .default_topic = SLICE_LIT("TBW102"), .default_queues = 1};
	static struct actor me = {.front = "test"};

	(void)state;
	subscriber("t", 0);
	q.actor = &me;
	engine_send(mrig.e, &q);
	mrig_run(&mrig, 50);
	mclient_expect(&s, "PUBLISH v5 qos0 topic=t props[user:good=yes] payload=body");
}

/* 3.8.3-3: also for what is retained, and for a will. */
static void no_local_holds_for_retained_messages_and_wills(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		mclient_open(&mrig, &p, 5);
		mclient_connect(&p, "p", true, 0);
		if (round == 0)
			mclient_publish(&p, "r/1", "mine", 1, true);
		mclient_say(&p, "82 L 0064 {} s'r/#' 05");
		mclient_expect(&p, "SUBACK v5 id=100 01");
		mclient_expect(&p, "");
		mclient_say(&p, "82 L 0065 {} s'r/#' 01");
		mclient_expect(&p, "SUBACK v5 id=101 01");
		mclient_expect(&p, "PUBLISH v5 qos1 retain id=1 topic=r/1 payload=mine");
		mclient_close(&p);
		if (round == 0)
			mrig_restart(&mrig);
	}
	mclient_open(&mrig, &w, 5);
	mclient_say(&w, "10 L s'MQTT' 05 06 0000 {11 00000064} s'x' {} s'w/1' s'bye' | 82 L 0001 {} s'w/#' 05");
	assert_true(mclient_take(&w) && mclient_take(&w));
	mclient_close(&w);
	mrig_run(&mrig, 100);
	mclient_open(&mrig, &w, 5);
	mclient_connect(&w, "x", false, 100);
	assert_true(w.p.session_present);
	mclient_expect(&w, "");
}

/* 3.1.2.10 of 3.1.1: one and a half times what the client said, whatever we would like. */
static void an_old_client_keeps_its_keep_alive(void **state)
{
	(void)state;
	mrig.conf.mqtt_max_keep_alive_s = 10;
	mclient_open(&mrig, &w, 4);
	mclient_say(&w, "10 L s'MQTT' 04 02 003C s'x'");
	assert_true(mclient_take(&w));
	for (unsigned i = 0; i < 8; i++)
		mrig_run(&mrig, 10000);
	assert_false(w.s.closed);
	mrig_run(&mrig, 11000);
	mclient_expect(&w, "closed");
}

/* A session that outlives its connection subscribes to so many retained messages. */
static void subscribe_to_retained(unsigned count)
{
	mclient_open(&mrig, &p, 5);
	mclient_connect(&p, "p", true, 0);
	for (unsigned i = 0; i < count; i++) {
		char name[16];
		snprintf(name, sizeof(name), "r/%u", i);
		mclient_publish(&p, name, "x", 1, true);
	}
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "dur", false, 1000);
	mclient_subscribe(&s, "r/#", 1);
}

/* 4.1: what is to be sent to a session that outlives its connection is part of it, retained messages too. */
static void retained_messages_that_were_not_sent_yet_are_owed(void **state)
{
	unsigned n = 0;

	(void)state;
	mrig.conf.mqtt_max_inflight = 2;
	mrig_restart(&mrig);
	subscribe_to_retained(10);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(mclient_take(&s));
		if (i < 2)
			mclient_ack(&s, s.p.id);
	}
	mclient_close(&s);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "dur", false, 1000);
	for (unsigned idle = 0; idle < 5;) {
		if (!mclient_take(&s)) {
			idle++;
			continue;
		}
		assert_true(s.p.type == MQTT_PUBLISH && s.p.retain);
		mclient_ack(&s, s.p.id);
		n++;
	}
	assert_int_equal(n, 8);
	/* Not what it has unsubscribed from, and not twice what it subscribes to again. */
	mclient_say(&s, "82 L 0064 {} s'r/#' 01");
	assert_true(mclient_take(&s) && mclient_take(&s));
	mclient_close(&s);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "dur", false, 1000);
	mclient_say(&s, "82 L 0065 {} s'r/#' 01");
	for (n = 0; n < 16 && mclient_take(&s);) {
		if (s.p.type != MQTT_PUBLISH)
			continue;
		mclient_ack(&s, s.p.id);
		n += !s.p.dup;
	}
	assert_int_equal(n, 10);
	mclient_say(&s, "82 L 0066 {} s'r/#' 01 | A2 L 0067 {} s'r/#'");
	for (n = 0; mclient_take(&s);)
		if (s.p.type == MQTT_PUBLISH) {
			mclient_ack(&s, s.p.id);
			n++;
		}
	assert_true(n <= 4);
}

/* 3.1.2.11.3 and 4.4: a connection that takes less at once than the last one gets all that was not acknowledged, with each acknowledgement more. */
static void retained_messages_come_again_as_fast_as_the_client_takes_them(void **state)
{
	(void)state;
	subscribe_to_retained(5);
	for (unsigned i = 0; i < 5; i++)
		assert_true(mclient_take(&s));
	/* Nothing else is kept for it that would move it on. */
	mclient_say(&s, "A2 L 0064 {} s'r/#'");
	assert_true(mclient_take(&s));
	mclient_close(&s);
	mclient_open(&mrig, &s, 5);
	mclient_say(&s, "10 L s'MQTT' 05 00 0000 {11 000003E8 21 0001} s'dur'");
	assert_true(mclient_take(&s) && s.p.session_present);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(mclient_take(&s) && s.p.type == MQTT_PUBLISH && s.p.dup);
		mclient_ack(&s, s.p.id);
	}
	mclient_expect(&s, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mrig_setup, mrig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_disconnect_for_a_reason_publishes_the_will),
		TEST(clients_send_no_subscription_identifiers),
		TEST(what_is_no_mqtt_string_is_left_out),
		TEST(no_local_holds_for_retained_messages_and_wills),
		TEST(an_old_client_keeps_its_keep_alive),
		TEST(retained_messages_that_were_not_sent_yet_are_owed),
		TEST(retained_messages_come_again_as_fast_as_the_client_takes_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
