/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The MQTT front, packet by packet: what clients of both versions are told, and what they get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "tests/lib/mqtt_rig.h"

static struct mclient a, b, c, o, p, s, w;

#define V5_LIMITS "receive_max=16 alias_max=16 max_qos=1 max_packet=1048576 shared_available=0"

/* ---- CONNECT ---- */

static void connect_is_answered_in_its_version(void **state)
{
	(void)state;
	mclient_open(&mrig, &a, 4);
	mclient_say(&a, "10 L s'MQTT' 04 02 003C s'one'");
	mclient_expect(&a, "CONNACK v4 reason=00");
	mclient_open(&mrig, &b, 5);
	mclient_say(&b, "10 L s'MQTT' 05 02 003C {} s'two'");
	mclient_expect(&b, "CONNACK v5 reason=00 props[session_expiry=0 " V5_LIMITS "]");
	mclient_open(&mrig, &c, 5);
	mclient_say(&c, "10 L s'MQTT' 05 02 003C {} s''");
	mclient_expect(&c, "CONNACK v5 reason=00 props[session_expiry=0 client_id=gantry-5a5a5a5a5a5a5a5a5a5a5a5a " V5_LIMITS "]");
	mclient_say(&c, "C0 00");
	mclient_expect(&c, "PINGRESP v5");
}

static void connects_that_cannot_be_served_are_told_why(void **state)
{
	static const struct {
		uint8_t version;
		const char *script, *answer;
	} v[] = {
		{4, "10 L s'MQTT' 04 00 003C s''", "CONNACK v4 reason=85"},
		{4, "10 L s'MQTT' 03 02 003C s'x'", "CONNACK v4 reason=84"},
		{5, "10 L s'MQTT' 05 02 003C {15 s'SCRAM'} s'x'", "CONNACK v5 reason=8C props[reason=there\\x20is\\x20no\\x20extended\\x20authentication]"},
		{5, "10 L s'MQTT' 05 16 003C {} s'x' {} s'w' s'bye'", "CONNACK v5 reason=9B props[reason=the\\x20will\\x20has\\x20QoS\\x202,\\x20which\\x20is\\x20not\\x20served]"},
		{5, "10 L s'MQTT' 05 06 003C {} s'x' {} s'a.b/c' s'bye'",
			"CONNACK v5 reason=90 props[reason=the\\x20will's\\x20topic\\x20has\\x20no\\x20legal\\x20topic\\x20as\\x20its\\x20first\\x20level]"},
		{5, "10 L s'MQTT' 05 06 003C {17 00} s'x' {} s'a.b/c' s'bye'", "CONNACK v5 reason=90"},
		{4, "30 L s'a' 'x'", "closed"},
		{4, "C0 00", "closed"},
		{4, "00 00", "closed"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(v); i++) {

		mclient_open(&mrig, &c, v[i].version);
		mclient_say(&c, v[i].script);
		mclient_expect(&c, v[i].answer);
		mclient_expect(&c, "closed");
		mclient_close(&c);
	}
	assert_int_equal(mrig_number(&mrig, "sessions"), 0);
}

static void who_says_nothing_is_closed(void **state)
{
	(void)state;
	mclient_open(&mrig, &a, 4);
	mrig_run(&mrig, 9000);
	assert_false(a.s.closed);
	for (unsigned i = 0; i < 20; i++)
		mrig_run(&mrig, 100);
	mclient_expect(&a, "closed");
	mclient_open(&mrig, &b, 5);
	mclient_say(&b, "10 L s'MQTT' 05 02 000A {} s'two'");
	assert_true(mclient_take(&b));
	for (unsigned i = 0; i < 14; i++)
		mrig_run(&mrig, 1000);
	assert_false(b.s.closed);
	mrig_run(&mrig, 2000);
	mclient_expect(&b, "DISCONNECT v5 reason=8D props[reason=nothing\\x20was\\x20heard\\x20for\\x20one\\x20and\\x20a\\x20half\\x20times\\x20the\\x20keep\\x20alive]");
}

static void a_session_that_cannot_be_kept_is_refused(void **state)
{
	(void)state;
	mrig.disk.sync_fails = ST_IO;
	mclient_open(&mrig, &c, 5);
	mclient_say(&c, "10 L s'MQTT' 05 00 003C {11 00000064} s'x'");
	mclient_expect(&c, "CONNACK v5 reason=88 props[reason=disk\\x20failed,\\x20the\\x20store\\x20acknowledges\\x20nothing\\x20until\\x20restart]");
	mclient_expect(&c, "closed");
	assert_int_equal(mrig_number(&mrig, "sessions"), 0);
}

static void a_second_connect_is_an_error(void **state)
{
	(void)state;
	mclient_open(&mrig, &c, 5);
	mclient_connect(&c, "x", true, 0);
	mclient_say(&c, "10 L s'MQTT' 05 02 003C {} s'x'");
	mclient_expect(&c, "DISCONNECT v5 reason=82 props[reason=a\\x20second\\x20CONNECT]");
}

static void keep_alive_is_bounded(void **state)
{
	(void)state;
	mrig.conf.mqtt_max_keep_alive_s = 30;
	mclient_open(&mrig, &c, 5);
	mclient_say(&c, "10 L s'MQTT' 05 02 0000 {} s'two'");
	mclient_expect(&c, "CONNACK v5 reason=00 props[session_expiry=0 server_keep_alive=30 " V5_LIMITS "]");
}

static void the_newer_connection_takes_over(void **state)
{
	(void)state;
	mclient_open(&mrig, &a, 5);
	mclient_connect(&a, "me", true, 100);
	mclient_subscribe(&a, "t/#", 1);
	mclient_open(&mrig, &b, 5);
	mclient_say(&b, "10 L s'MQTT' 05 00 0000 {11 00000064} s'me'");
	mclient_expect(&b, "CONNACK v5 present reason=00 props[session_expiry=100 " V5_LIMITS "]");
	mclient_expect(&a, "DISCONNECT v5 reason=8E props[reason=another\\x20connection\\x20has\\x20the\\x20same\\x20client\\x20id]");
	mclient_expect(&a, "closed");
	mclient_open(&mrig, &c, 4);
	mclient_connect(&c, "pub", true, 0);
	mclient_publish(&c, "t/1", "hi", 1, false);
	mclient_expect(&b, "PUBLISH v5 qos1 id=1 topic=t/1 payload=hi");
	assert_int_equal(mrig_number(&mrig, "takeovers"), 1);
}

/* ---- Publishing ---- */

static void what_is_acknowledged_is_stored(void **state)
{

	char *bodies;

	(void)state;
	mrig_topic(&mrig, "orders", 1);
	mclient_open(&mrig, &c, 4);
	mclient_connect(&c, "p", true, 0);
	mclient_publish(&c, "orders/7/new", "one", 1, false);
	mclient_publish(&c, "orders", "two", 0, false);
	mclient_publish(&c, "orders/8", "three", 1, false);
	bodies = mrig_bodies(&mrig, "orders", 0);
	assert_string_equal(bodies, "one two three");
	mem_free(bodies);
}

static void publishes_that_cannot_be_stored_are_told_why(void **state)
{
	static const struct {
		const char *script, *answer;
	} v[] = {
		{"32 L s'a.b/c' 0001 {} 'x'", "PUBACK v5 id=1 reason=90 props[reason=the\\x20first\\x20level\\x20is\\x20no\\x20legal\\x20topic\\x20name]"},
		{"32 L s'/c' 0001 {} 'x'", "PUBACK v5 id=1 reason=90 props[reason=the\\x20first\\x20level\\x20is\\x20no\\x20legal\\x20topic\\x20name]"},
		{"32 L s'$SYS/c' 0001 {} 'x'", "PUBACK v5 id=1 reason=90 props[reason=the\\x20first\\x20level\\x20is\\x20no\\x20legal\\x20topic\\x20name]"},
		{"32 L s'%RETRY%g' 0001 {} 'x'", "PUBACK v5 id=1 reason=90 props[reason=the\\x20first\\x20level\\x20is\\x20no\\x20legal\\x20topic\\x20name]"},
		{"32 L s'a' 0001 {01 01} FF", "PUBACK v5 id=1 reason=99 props[reason=the\\x20payload\\x20is\\x20not\\x20the\\x20UTF-8\\x20that\\x20it\\x20says\\x20it\\x20is]"},
		{"32 L s'a' 0001 {26 s'UNIQ_KEY' s'x'} 'x'", "PUBACK v5 id=1 reason=99 props[reason=property\\x20UNIQ_KEY:\\x20the\\x20name\\x20is\\x20reserved]"},
		{"34 L s'a' 0001 {} 'x'", "DISCONNECT v5 reason=9B props[reason=QoS\\x202\\x20is\\x20not\\x20served]"},
		{"32 L s'a/+' 0001 {} 'x'", "DISCONNECT v5 reason=90"},
		{"32 L s'' 0001 {23 0011} 'x'", "DISCONNECT v5 reason=94 props[reason=a\\x20topic\\x20alias\\x20above\\x20the\\x20maximum]"},
		{"32 L s'' 0001 {23 0001} 'x'", "DISCONNECT v5 reason=82 props[reason=a\\x20topic\\x20alias\\x20that\\x20was\\x20not\\x20set]"},
		{"E0 00 ", "closed"},
		{"F0 02 18 00", "DISCONNECT v5 reason=82"},
		{"20 03 00 00 00", "DISCONNECT v5 reason=82"},
		{"62 02 00 01", "DISCONNECT v5 reason=82"},
		{"E0 07 00 05 11 00000010", "DISCONNECT v5 reason=82"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(v); i++) {

		mclient_open(&mrig, &c, 5);
		mclient_connect(&c, "p", true, 0);
		mclient_say(&c, v[i].script);
		const char *got = mclient_next(&c);
		if (strncmp(got, v[i].answer, strlen(v[i].answer)) != 0)
			fail_msg("%s\ngot      %s\nexpected %s", v[i].script, got, v[i].answer);
		if (strncmp(got, "PUBACK", 6) == 0) {
			mclient_publish(&c, "a", "the connection lives", 1, false);
		} else {
			mclient_expect(&c, "closed");
		}
		mclient_close(&c);
	}
}

static void the_old_version_has_no_word_for_no(void **state)
{
	static const char *const v[] = {"32 L s'a.b/c' 0001 'x'", "34 L s'a' 0001 'x'"};
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(v); i++) {
		mclient_open(&mrig, &c, 4);
		mclient_connect(&c, "p", true, 0);
		mclient_say(&c, v[i]);
		mclient_expect(&c, "closed");
		mclient_close(&c);
	}
	/* QoS 0 promises nothing: the message is counted, and the connection lives. */
	mclient_open(&mrig, &c, 4);
	mclient_connect(&c, "p", true, 0);
	mclient_say(&c, "30 L s'a.b/c' 'x'");
	mclient_publish(&c, "a", "fine", 1, false);
	assert_true(mrig_number(&mrig, "refusedPublishes") >= 2);
}

static void topics_may_have_aliases(void **state)
{

	char *bodies;

	(void)state;
	mrig_topic(&mrig, "a", 1);
	mclient_open(&mrig, &c, 5);
	mclient_connect(&c, "p", true, 0);
	mclient_say(&c, "32 L s'a/b' 0001 {23 0001} 'one' | 32 L s'' 0002 {23 0001} 'two' | 32 L s'a/c' 0003 {23 0001} 'three' | 32 L s'' 0004 {23 0001} 'four'");
	mclient_expect(&c, "PUBACK v5 id=1 reason=00");
	mclient_expect(&c, "PUBACK v5 id=2 reason=00");
	mclient_expect(&c, "PUBACK v5 id=3 reason=00");
	mclient_expect(&c, "PUBACK v5 id=4 reason=00");
	bodies = mrig_bodies(&mrig, "a", 0);
	assert_string_equal(bodies, "one two three four");
	mem_free(bodies);
}

static void acknowledgements_keep_their_order(void **state)
{
	(void)state;
	mclient_open(&mrig, &c, 5);
	mclient_connect(&c, "p", true, 0);
	/* The second is refused at once, the first has to be stored. */
	mclient_say(&c, "32 L s'a' 0007 {} 'x' | 32 L s'a.b' 0008 {} 'x' | 32 L s'a' 0009 {} 'x'");
	mclient_expect(&c, "PUBACK v5 id=7 reason=00");
	mclient_expect(&c, "PUBACK v5 id=8 reason=90 props[reason=the\\x20first\\x20level\\x20is\\x20no\\x20legal\\x20topic\\x20name]");
	mclient_expect(&c, "PUBACK v5 id=9 reason=00");
}

static void as_many_publishes_as_may_be_are_under_way(void **state)
{
	struct mqtt_packet packet = {.type = MQTT_PUBLISH, .qos = 1, .topic = SLICE_LIT("a/b"), .payload = SLICE_LIT("x")};
	(void)state;
	mclient_open(&mrig, &c, 4);
	mclient_connect(&c, "p", true, 0);
	for (unsigned i = 1; i <= 100; i++) {
		packet.id = (uint16_t)i;
		mclient_put(&c, &packet);
	}
	assert_true(c.s.paused);
	assert_true(c.s.in.n > 0);
	for (unsigned i = 1; i <= 100; i++) {
		assert_true(mclient_take(&c));
		assert_int_equal(c.p.type, MQTT_PUBACK);
		assert_int_equal(c.p.id, i);
	}
	assert_false(c.s.paused);
}

/* ---- Subscribing ---- */

static void subscriptions_are_granted_or_told_why_not(void **state)
{
	(void)state;
	mrig.conf.mqtt_max_subs = 3;
	mclient_open(&mrig, &a, 5);
	mclient_connect(&a, "a", true, 0);
	mclient_say(&a, "82 L 0001 {} s'a' 00 s'b/+' 01 s'c/#' 02 s'd/#/e' 00 s'$share/g/x' 01 s'e' 00");
	mclient_expect(&a, "SUBACK v5 id=1 00 01 01 8F 9E 97");
	mclient_say(&a, "A2 L 0002 {} s'b/+' s'nope' s'x/#/y'");
	mclient_expect(&a, "UNSUBACK v5 id=2 00 11 8F");
	mclient_open(&mrig, &b, 4);
	mclient_connect(&b, "b", true, 0);
	mclient_say(&b, "82 L 0001 s'a' 00 s'b/+' 01 s'c/#' 02 s'd/#/e' 00 s'$share/g/x' 01");
	mclient_expect(&b, "SUBACK v4 id=1 00 01 01 80 80");
	mclient_say(&b, "A2 L 0002 s'b/+' s'nope'");
	mclient_expect(&b, "UNSUBACK v4 id=2");
}

static void a_message_comes_once_with_the_highest_qos(void **state)
{
	(void)state;
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	mclient_say(&s, "82 L 0001 {0B 05} s't/#' 00");
	assert_true(mclient_take(&s));
	mclient_say(&s, "82 L 0002 {0B 07} s't/+' 01");
	assert_true(mclient_take(&s));
	mclient_open(&mrig, &p, 4);
	mclient_connect(&p, "p", true, 0);
	mclient_publish(&p, "t/1", "x", 1, false);
	mclient_expect(&s, "PUBLISH v5 qos1 id=1 topic=t/1 props[sub_id=7 id:7 id:5] payload=x");
	mclient_expect(&s, "");
	/* What was published with QoS 0 stays so. */
	mclient_publish(&p, "t/1", "y", 0, false);
	mclient_expect(&s, "PUBLISH v5 qos0 topic=t/1 props[sub_id=7 id:7 id:5] payload=y");
	mclient_publish(&p, "t/1/2", "z", 1, false);
	mclient_expect(&s, "PUBLISH v5 qos0 topic=t/1/2 props[sub_id=5 id:5] payload=z");
}

static void everything_that_a_message_says_comes_out(void **state)
{
	(void)state;
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, "#", 1);
	mclient_open(&mrig, &o, 4);
	mclient_connect(&o, "o", true, 0);
	mclient_subscribe(&o, "dev/+/cmd", 1);
	mclient_open(&mrig, &p, 5);
	mclient_connect(&p, "p", true, 0);
	mclient_say(&p, "32 L s'dev/7/cmd' 0001 {01 01 02 0000003C 03 s'text/x' 08 s'back/7' 09 0003 'c' 00 01 26 s'k' s'v' 26 s'TAGS' s'T' 26 s'KEYS' s'A B'} 'do'");
	mclient_expect(&p, "PUBACK v5 id=1 reason=00");
	mclient_expect(&s, "PUBLISH v5 qos1 id=1 topic=dev/7/cmd props[payload_format=1 message_expiry=60 content_type=text/x response_topic=back/7 "
		"correlation=c\\x00\\x01 user:TAGS=T user:KEYS=A\\x20B user:k=v] payload=do");
	mclient_expect(&o, "PUBLISH v4 qos1 id=1 topic=dev/7/cmd payload=do");
}

static void messages_of_other_fronts_appear_under_their_topic(void **state)
{
	(void)state;
	mrig_topic(&mrig, "orders", 2);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, "orders/#", 1);
	mclient_open(&mrig, &w, 5);
	mclient_connect(&w, "w", true, 0);
	mclient_subscribe(&w, "#", 0);
	assert_int_equal(mrig_send(&mrig, "orders", "TAGS\1red\2KEYS\1k1\2mine\1yes\2", "one"), ST_OK);
	mclient_expect(&s, "PUBLISH v5 qos1 id=1 topic=orders props[user:TAGS=red user:KEYS=k1 user:mine=yes] payload=one");
	mclient_expect(&w, "PUBLISH v5 qos0 topic=orders props[user:TAGS=red user:KEYS=k1 user:mine=yes] payload=one");
	assert_int_equal(mrig_send(&mrig, "orders", "mqtt-topic\1orders/7/x\2", "two"), ST_OK);
	mclient_expect(&s, "PUBLISH v5 qos1 id=2 topic=orders/7/x payload=two");
	/* A name that does not lead here, or is none, is not what it appears under. */
	assert_int_equal(mrig_send(&mrig, "orders", "mqtt-topic\1else/where\2", "three"), ST_OK);
	mclient_expect(&s, "PUBLISH v5 qos1 id=3 topic=orders payload=three");
	assert_int_equal(mrig_send(&mrig, "orders", "mqtt-topic\1orders/#\2", "four"), ST_OK);
	mclient_expect(&s, "PUBLISH v5 qos1 id=4 topic=orders payload=four");
	/* Expired ones are not delivered. */
	assert_int_equal(mrig_send(&mrig, "orders", "expires-at\001" "1" "\2", "old"), ST_OK);
	mclient_expect(&s, "");
	assert_true(mrig_number(&mrig, "expired") > 0);
}

static void topics_that_come_later_are_subscribed_too(void **state)
{
	(void)state;
	mclient_open(&mrig, &s, 4);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, "later/#", 1);
	mclient_open(&mrig, &w, 4);
	mclient_connect(&w, "w", true, 0);
	mclient_subscribe(&w, "+/x", 1);
	assert_int_equal(mrig_send(&mrig, "later", "mqtt-topic\1later/x\2", "first"), ST_OK);
	mclient_expect(&s, "PUBLISH v4 qos1 id=1 topic=later/x payload=first");
	mclient_expect(&w, "PUBLISH v4 qos1 id=1 topic=later/x payload=first");
	/* Dropped and made again. */
	assert_int_equal(mrig_topic_drop(&mrig, "later"), ST_OK);
	mrig_run(&mrig, 100);
	assert_int_equal(mrig_send(&mrig, "later", "mqtt-topic\1later/x\2", "again"), ST_OK);
	mclient_expect(&s, "PUBLISH v4 qos1 id=2 topic=later/x payload=again");
	mclient_expect(&w, "PUBLISH v4 qos1 id=2 topic=later/x payload=again");
	/* More queues. */
	assert_int_equal(mrig_topic(&mrig, "later", 9), ST_OK);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(mrig_send(&mrig, "later", "", "q"), ST_OK);
	for (unsigned i = 0; i < 40; i++) {
		if (!mclient_take(&s) || s.p.type != MQTT_PUBLISH)
			fail_msg("only %u of 40", i);
		mclient_ack(&s, s.p.id);
	}
}

static void no_local_is_not_told_its_own(void **state)
{
	(void)state;
	mclient_open(&mrig, &a, 5);
	mclient_connect(&a, "a", true, 0);
	mclient_say(&a, "82 L 0001 {} s't/#' 05");
	mclient_expect(&a, "SUBACK v5 id=1 01");
	mclient_open(&mrig, &b, 5);
	mclient_connect(&b, "b", true, 0);
	mclient_subscribe(&b, "t/#", 1);
	a.id = 10;
	mclient_publish(&a, "t/1", "mine", 1, false);
	mclient_expect(&b, "PUBLISH v5 qos1 id=1 topic=t/1 payload=mine");
	mclient_publish(&b, "t/2", "yours", 0, false);
	mclient_expect(&a, "PUBLISH v5 qos0 topic=t/2 payload=yours");
	mclient_expect(&a, "");
}

static void the_clients_limits_are_kept(void **state)
{

	char big[400];

	(void)state;
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	mclient_open(&mrig, &s, 5);
	mclient_say(&s, "10 L s'MQTT' 05 02 0000 {21 0002 27 00000080} s's'");
	assert_true(mclient_take(&s));
	mclient_subscribe(&s, "t/#", 1);
	mclient_open(&mrig, &p, 4);
	mclient_connect(&p, "p", true, 0);
	mclient_publish(&p, "t/1", big, 1, false);
	for (unsigned i = 0; i < 5; i++)
		mclient_publish(&p, "t/1", "small", 1, false);
	mclient_expect(&s, "PUBLISH v5 qos1 id=2 topic=t/1 payload=small");
	mclient_expect(&s, "PUBLISH v5 qos1 id=3 topic=t/1 payload=small");
	mclient_expect(&s, "");
	assert_int_equal(mrig_number(&mrig, "tooLarge"), 1);
	mclient_ack(&s, 2);
	mclient_expect(&s, "PUBLISH v5 qos1 id=4 topic=t/1 payload=small");
	mclient_expect(&s, "");
	mclient_ack(&s, 3);
	mclient_ack(&s, 4);
	mclient_expect(&s, "PUBLISH v5 qos1 id=5 topic=t/1 payload=small");
	mclient_expect(&s, "PUBLISH v5 qos1 id=6 topic=t/1 payload=small");
	mclient_expect(&s, "");
}

static void native_clients_bodies_are_inflated(void **state)
{
	/* zlib of "aaaaaaaaaaaaaaaaaaaa" */
	(void)state;
	static const uint8_t z[] = {0x78, 0x9c, 0x4b, 0x4c, 0xc4, 0x04, 0x00, 0x4f, 0xa6, 0x07, 0x95};
	static struct actor me = {.front = "test"};
	struct engine_send q = {.actor = &me, .msg = {.topic = SLICE_LIT("packed"), .body = {z, sizeof(z)}, .queue = -1, .max_reconsume = -1, .sys_flag = 1},
		.default_topic = SLICE_LIT("TBW102"), .default_queues = 1};
	mclient_open(&mrig, &s, 4);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, "packed", 0);
	engine_send(mrig.e, &q);
	mrig_run(&mrig, 50);
	mclient_expect(&s, "PUBLISH v4 qos0 topic=packed payload=aaaaaaaaaaaaaaaaaaaa");
}

/* ---- Retained ---- */

static void retained_messages_come_with_the_subscription(void **state)
{
	(void)state;
	mclient_open(&mrig, &p, 5);
	mclient_connect(&p, "p", true, 0);
	mclient_publish(&p, "r/1", "one", 1, true);
	mclient_publish(&p, "r/2", "two", 0, true);
	mclient_say(&p, "33 L s'r/3' 0063 {02 0000000A 26 s'k' s'v'} 'three'");
	mclient_expect(&p, "PUBACK v5 id=99 reason=00");
	mclient_publish(&p, "other", "x", 1, true);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	mrig_run(&mrig, 4000);
	mclient_say(&s, "82 L 0001 {0B 03} s'r/+' 01");
	assert_true(mclient_take(&s));
	unsigned seen = 0;
	for (unsigned i = 0; i < 3; i++) {
		const char *got = mclient_next(&s);
		seen |= strcmp(got, "PUBLISH v5 qos1 retain id=1 topic=r/1 props[sub_id=3 id:3] payload=one") == 0 ||
			strcmp(got, "PUBLISH v5 qos1 retain id=2 topic=r/1 props[sub_id=3 id:3] payload=one") == 0 ? 1 : 0;
		seen |= strcmp(got, "PUBLISH v5 qos0 retain topic=r/2 props[sub_id=3 id:3] payload=two") == 0 ? 2 : 0;
		seen |= strstr(got, "topic=r/3 props[message_expiry=6 sub_id=3 id:3 user:k=v] payload=three") != NULL ? 4 : 0;
	}
	assert_int_equal(seen, 7);
	mclient_expect(&s, "");
	/* Again only as Retain Handling says: 1 is for new ones, 2 is never. */
	mclient_say(&s, "82 L 0002 {} s'r/1' 11");
	assert_true(mclient_take(&s));
	mclient_expect(&s, "PUBLISH v5 qos1 retain id=3 topic=r/1 payload=one");
	mclient_say(&s, "82 L 0003 {} s'r/1' 11");
	assert_true(mclient_take(&s));
	mclient_expect(&s, "");
	mclient_say(&s, "82 L 0004 {} s'r/2' 21");
	assert_true(mclient_take(&s));
	mclient_expect(&s, "");
	/* What comes live has no retain flag, unless it was asked for. */
	mclient_publish(&p, "r/2", "live", 0, true);
	mclient_expect(&s, "PUBLISH v5 qos0 topic=r/2 props[sub_id=3 id:3] payload=live");
	mclient_say(&s, "82 L 0005 {} s'r/2' 28");
	assert_true(mclient_take(&s));
	mclient_publish(&p, "r/2", "live", 0, true);
	mclient_expect(&s, "PUBLISH v5 qos0 retain topic=r/2 props[sub_id=3 id:3] payload=live");
}

static void retained_messages_are_replaced_dropped_and_survive(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		mclient_open(&mrig, &p, 5);
		mclient_connect(&p, "p", true, 0);
		if (round == 0) {
			mclient_publish(&p, "r/1", "old", 1, true);
			mclient_publish(&p, "r/1", "new", 1, true);
			mclient_publish(&p, "r/2", "gone", 1, true);
			mclient_publish(&p, "r/2", "", 1, true);
			mclient_publish(&p, "$a/x", "no", 0, true);
		}
		assert_int_equal(mrig_number(&mrig, "retained"), 1);
		mclient_open(&mrig, &s, 4);
		mclient_connect(&s, "s", true, 0);
		mclient_subscribe(&s, "#", 0);
		mclient_expect(&s, "PUBLISH v4 qos0 retain topic=r/1 payload=new");
		mclient_expect(&s, "");
		mclient_close(&p);
		mclient_close(&s);
		if (round == 0)
			mrig_kill(&mrig);
		else
			mrig_restart(&mrig);
	}
}

static void retained_messages_are_bounded_and_expire(void **state)
{
	(void)state;
	mrig.conf.mqtt_max_retained = 2;
	mclient_open(&mrig, &p, 5);
	mclient_connect(&p, "p", true, 0);
	mclient_publish(&p, "r/1", "a", 1, true);
	mclient_say(&p, "33 L s'r/2' 0063 {02 00000001} 'b'");
	mclient_expect(&p, "PUBACK v5 id=99 reason=00");
	mclient_say(&p, "33 L s'r/3' 0064 {} 'c'");
	mclient_expect(&p, "PUBACK v5 id=100 reason=97 props[reason=there\\x20are\\x20as\\x20many\\x20retained\\x20messages\\x20as\\x20may\\x20be]");
	mclient_publish(&p, "r/1", "a2", 1, true);
	mrig_run(&mrig, 2000);
	mclient_open(&mrig, &s, 4);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, "r/#", 0);
	mclient_expect(&s, "PUBLISH v4 qos0 retain topic=r/1 payload=a2");
	mclient_expect(&s, "");
	assert_int_equal(mrig_number(&mrig, "retained"), 1);
	mclient_publish(&p, "r/3", "c", 1, true);
}

/* ---- Wills ---- */

static void wills_are_published_when_nobody_said_goodbye(void **state)
{
	(void)state;
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, "w/#", 1);
	/* Hung up. */
	mclient_open(&mrig, &w, 4);
	mclient_say(&w, "10 L s'MQTT' 04 2E 0000 s'x' s'w/1' s'bye'");
	assert_true(mclient_take(&w));
	mclient_close(&w);
	mclient_expect(&s, "PUBLISH v5 qos1 id=1 topic=w/1 payload=bye");
	assert_int_equal(mrig_number(&mrig, "retained"), 1);
	/* Said goodbye. */
	mclient_open(&mrig, &w, 4);
	mclient_say(&w, "10 L s'MQTT' 04 0E 0000 s'x' s'w/1' s'bye' | E0 00");
	assert_true(mclient_take(&w));
	mclient_close(&w);
	mclient_expect(&s, "");
	/* Goodbye, but with the will. */
	mclient_open(&mrig, &w, 5);
	mclient_say(&w, "10 L s'MQTT' 05 0E 0000 {} s'x' {26 s'k' s'v'} s'w/1' s'bye' | E0 01 04");
	assert_true(mclient_take(&w));
	mclient_expect(&s, "PUBLISH v5 qos1 id=2 topic=w/1 props[user:k=v] payload=bye");
	mclient_close(&w);
	/* Malformed. */
	mclient_open(&mrig, &w, 5);
	mclient_say(&w, "10 L s'MQTT' 05 0E 0000 {} s'x' {} s'w/1' s'bye' | FF FF FF FF FF");
	assert_true(mclient_take(&w));
	mclient_expect(&s, "PUBLISH v5 qos1 id=3 topic=w/1 payload=bye");
	mclient_close(&w);
	/* Taken over. */
	mclient_open(&mrig, &w, 4);
	mclient_say(&w, "10 L s'MQTT' 04 0E 0000 s'x' s'w/1' s'bye'");
	assert_true(mclient_take(&w));
	mclient_open(&mrig, &o, 4);
	mclient_connect(&o, "x", true, 0);
	mclient_expect(&s, "PUBLISH v5 qos1 id=4 topic=w/1 payload=bye");
	assert_int_equal(mrig_number(&mrig, "wills"), 4);
}

static void wills_wait_for_their_delay_or_the_end_of_the_session(void **state)
{
	(void)state;
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, "w/#", 0);
	/* Back in time: nothing. */
	mclient_open(&mrig, &w, 5);
	mclient_say(&w, "10 L s'MQTT' 05 06 0000 {11 00000064} s'x' {18 0000000A} s'w/1' s'one'");
	assert_true(mclient_take(&w));
	mclient_close(&w);
	mrig_run(&mrig, 5000);
	mclient_open(&mrig, &w, 5);
	mclient_say(&w, "10 L s'MQTT' 05 04 0000 {11 00000064} s'x' {18 0000000A} s'w/1' s'two'");
	assert_true(mclient_take(&w));
	mrig_run(&mrig, 20000);
	mclient_expect(&s, "");
	/* Not back. */
	mclient_close(&w);
	mrig_run(&mrig, 9000);
	mclient_expect(&s, "");
	mrig_run(&mrig, 2000);
	mclient_expect(&s, "PUBLISH v5 qos0 topic=w/1 payload=two");
	/* The session ends before the delay does. */
	mclient_open(&mrig, &w, 5);
	mclient_say(&w, "10 L s'MQTT' 05 06 0000 {11 00000005} s'x' {18 000000FF} s'w/1' s'three'");
	assert_true(mclient_take(&w));
	mclient_close(&w);
	mrig_run(&mrig, 4000);
	mclient_expect(&s, "");
	mrig_run(&mrig, 2000);
	mclient_expect(&s, "PUBLISH v5 qos0 topic=w/1 payload=three");
	/* A clean start ends it too. */
	mclient_open(&mrig, &w, 5);
	mclient_say(&w, "10 L s'MQTT' 05 06 0000 {11 00000064} s'x' {18 000000FF} s'w/1' s'four'");
	assert_true(mclient_take(&w));
	mclient_close(&w);
	mclient_open(&mrig, &w, 5);
	mclient_connect(&w, "x", true, 0);
	mclient_expect(&s, "PUBLISH v5 qos0 topic=w/1 payload=four");
}

static void a_durable_sessions_will_survives_a_crash(void **state)
{
	(void)state;
	mclient_open(&mrig, &w, 5);
	mclient_say(&w, "10 L s'MQTT' 05 06 0000 {11 00000064} s'x' {18 00000005} s'w/1' s'died'");
	assert_true(mclient_take(&w));
	mrig_kill(&mrig);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, "w/#", 0);
	mrig_run(&mrig, 3000);
	mclient_expect(&s, "");
	mrig_run(&mrig, 3000);
	mclient_expect(&s, "PUBLISH v5 qos0 topic=w/1 payload=died");
	mclient_close(&s);
	mclient_close(&w);
	/* And only once. */
	mrig_kill(&mrig);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, "w/#", 0);
	mrig_run(&mrig, 20000);
	mclient_expect(&s, "");
}

/* ---- The end ---- */

static void drain_acknowledges_and_says_goodbye(void **state)
{
	(void)state;
	mclient_open(&mrig, &a, 5);
	mclient_connect(&a, "a", true, 0);
	mclient_open(&mrig, &b, 4);
	mclient_connect(&b, "b", true, 0);
	mclient_say(&a, "32 L s't/1' 0001 {} 'x'");
	front_mqtt.drain(mrig.front);
	mclient_expect(&a, "PUBACK v5 id=1 reason=00");
	mclient_expect(&a, "DISCONNECT v5 reason=8B props[reason=the\\x20broker\\x20is\\x20shutting\\x20down]");
	mclient_expect(&a, "closed");
	mclient_expect(&b, "closed");
	mrig_stop(&mrig);
}

/* Every packet, cut at every byte; and every single byte of it changed. Nobody else notices. */
static void malformed_packets_harm_nobody(void **state)
{
	static const char *const scripts[] = {
		"10 L s'MQTT' 05 0E 0000 {11 00000064} s'x' {18 0000000A} s'w/1' s'one' | 82 L 0001 {0B 03} s'r/+' 01 s'#' 00 | 32 L s't/1' 0007 {02 00000009 26 s'k' s'v'} 'x' | "
		"40 02 0001 | A2 L 0002 {} s'r/+' | C0 00 | 33 L s't/1' 0008 {} 'y' | E0 00",
		"10 L s'MQTT' 04 2E 0000 s'x' s'w/1' s'bye' | 82 L 0001 s'a/+' 01 | 32 L s't/1' 0007 'x' | 40 02 0001 | A2 L 0002 s'a/+' | C0 00 | E0 00",
	};

	struct buf whole = {0};

	(void)state;
	mclient_open(&mrig, &o, 5);
	mclient_connect(&o, "good", true, 0);
	for (unsigned k = 0; k < ARRAY_LEN(scripts); k++) {
		buf_reset(&whole);
		mclient_bytes(&whole, scripts[k]);
		for (size_t i = 0; i < 2 * whole.n; i++) {

			mclient_open(&mrig, &c, 5);
			if (i < whole.n) {
				fake_stream_feed(&c.s, slice_of(whole.p, i));
			} else {
				uint8_t was = whole.p[i - whole.n];
				whole.p[i - whole.n] = (uint8_t)prng_u64(&mrig.prng);
				fake_stream_feed(&c.s, buf_view(&whole));
				whole.p[i - whole.n] = was;
			}
			mrig_run(&mrig, 5);
			mclient_close(&c);
		}
	}
	buf_fini(&whole);
	mclient_publish(&o, "fine", "x", 1, false);
	assert_false(o.s.closed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mrig_setup, mrig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(connect_is_answered_in_its_version),
		TEST(connects_that_cannot_be_served_are_told_why),
		TEST(who_says_nothing_is_closed),
		TEST(a_session_that_cannot_be_kept_is_refused),
		TEST(a_second_connect_is_an_error),
		TEST(keep_alive_is_bounded),
		TEST(the_newer_connection_takes_over),
		TEST(what_is_acknowledged_is_stored),
		TEST(publishes_that_cannot_be_stored_are_told_why),
		TEST(the_old_version_has_no_word_for_no),
		TEST(topics_may_have_aliases),
		TEST(acknowledgements_keep_their_order),
		TEST(as_many_publishes_as_may_be_are_under_way),
		TEST(subscriptions_are_granted_or_told_why_not),
		TEST(a_message_comes_once_with_the_highest_qos),
		TEST(everything_that_a_message_says_comes_out),
		TEST(messages_of_other_fronts_appear_under_their_topic),
		TEST(topics_that_come_later_are_subscribed_too),
		TEST(no_local_is_not_told_its_own),
		TEST(the_clients_limits_are_kept),
		TEST(native_clients_bodies_are_inflated),
		TEST(retained_messages_come_with_the_subscription),
		TEST(retained_messages_are_replaced_dropped_and_survive),
		TEST(retained_messages_are_bounded_and_expire),
		TEST(wills_are_published_when_nobody_said_goodbye),
		TEST(wills_wait_for_their_delay_or_the_end_of_the_session),
		TEST(a_durable_sessions_will_survives_a_crash),
		TEST(drain_acknowledges_and_says_goodbye),
		TEST(malformed_packets_harm_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
