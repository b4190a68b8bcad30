/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Sessions that outlive their connections and the process; slow readers; and random lives against a model. */
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

static struct mclient c, p, s;

static void publisher(void)
{
	mclient_open(&mrig, &p, 4);
	mclient_connect(&p, "publisher", true, 0);
}

/* CONNECT of a session that is there. */
static void resume(struct mclient *k, const char *id)
{
	mclient_open(&mrig, k, 5);
	mclient_connect(k, id, false, 1000);
	assert_true(k->p.session_present);
}

static void subscriber(const char *id, const char *filter)
{
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, id, false, 1000);
	assert_false(s.p.session_present);
	mclient_subscribe(&s, filter, 1);
}

static void what_came_while_away_comes_later(void **state)
{
	(void)state;
	mrig_topic(&mrig, "t", 1);
	subscriber("dur", "t/+");
	mclient_close(&s);
	publisher();
	mclient_publish(&p, "t/1", "one", 1, false);
	mclient_publish(&p, "other/1", "no", 1, false);
	mclient_publish(&p, "t/1/x", "no", 1, false);
	mclient_publish(&p, "t/2", "two", 1, false);
	resume(&s, "dur");
	mclient_expect(&s, "PUBLISH v5 qos1 id=1 topic=t/1 payload=one");
	mclient_expect(&s, "PUBLISH v5 qos1 id=2 topic=t/2 payload=two");
	mclient_expect(&s, "");
	mclient_publish(&p, "t/3", "three", 1, false);
	mclient_expect(&s, "PUBLISH v5 qos1 id=3 topic=t/3 payload=three");
	/* Acknowledged out of order, then gone: what is not acknowledged comes again, under its identifier. */
	mclient_ack(&s, 2);
	mrig_run(&mrig, 200);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "t", 0), 0);
	mclient_close(&s);
	mclient_publish(&p, "t/4", "four", 1, false);
	resume(&s, "dur");
	mclient_expect(&s, "PUBLISH v5 qos1 dup id=1 topic=t/1 payload=one");
	mclient_expect(&s, "PUBLISH v5 qos1 dup id=3 topic=t/3 payload=three");
	mclient_expect(&s, "PUBLISH v5 qos1 id=4 topic=t/4 payload=four");
	mclient_expect(&s, "");
	mclient_ack(&s, 1);
	mclient_ack(&s, 3);
	mclient_ack(&s, 4);
	mrig_run(&mrig, 200);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "t", 0), 5);
	mclient_close(&s);
	resume(&s, "dur");
	mclient_expect(&s, "");
}

static void the_options_of_a_subscription_survive_the_process(void **state)
{
	(void)state;
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "dur", false, 1000);
	mclient_say(&s, "82 L 0001 {} s't/#' 0D"); /* QoS 1, no local, retain as published */
	mclient_expect(&s, "SUBACK v5 id=1 01");
	mclient_close(&s);
	mrig_restart(&mrig);
	resume(&s, "dur");
	publisher();
	mclient_publish(&p, "t/1", "kept", 1, true);
	mclient_expect(&s, "PUBLISH v5 qos1 retain id=1 topic=t/1 payload=kept");
	s.id = 10;
	mclient_publish(&s, "t/1", "mine", 1, false);
	mrig_run(&mrig, 100);
	mclient_expect(&s, "");
}

static void a_session_survives_the_process(void **state)
{
	(void)state;
	mrig_topic(&mrig, "t", 1);
	subscriber("dur", "t/#");
	publisher();
	for (unsigned round = 0; round < 4; round++) {
		char body[16];
		snprintf(body, sizeof(body), "a%u", round);
		mclient_publish(&p, "t/1", body, 1, false);
		if (!mclient_take(&s) || s.p.type != MQTT_PUBLISH || !slice_eq_str(s.p.payload, body))
			fail_msg("%s did not come", body);
		mclient_ack(&s, s.p.id);
		snprintf(body, sizeof(body), "b%u", round);
		mclient_publish(&p, "t/1", body, 1, false);
		assert_true(mclient_take(&s));
		mrig_run(&mrig, 300); /* commits */
		if (round % 2 == 0)
			mrig_kill(&mrig);
		else
			mrig_restart(&mrig);
		mclient_close(&s);
		mclient_close(&p);
		publisher();
		resume(&s, "dur");
		if (!mclient_take(&s) || !slice_eq_str(s.p.payload, body))
			fail_msg("%s did not come again", body);
		mclient_ack(&s, s.p.id);
		mclient_expect(&s, "");
	}
}

static void queues_without_progress_begin_at_the_subscription(void **state)
{
	(void)state;
	mrig_topic(&mrig, "t", 4);
	publisher();
	for (unsigned i = 0; i < 20; i++)
		mclient_publish(&p, "t/before", "x", 1, false);
	mrig_run(&mrig, 5000);
	subscriber("dur", "#");
	mrig_kill(&mrig); /* at once: nothing was committed, or all of it */
	mclient_close(&s);
	mclient_close(&p);
	publisher();
	for (unsigned i = 0; i < 10; i++) {
		char topic[16];
		snprintf(topic, sizeof(topic), "t/%u", i);
		mclient_publish(&p, topic, "after", 1, false);
		snprintf(topic, sizeof(topic), "new%u/x", i);
		mclient_publish(&p, topic, "after", 1, false);
	}
	resume(&s, "dur");
	for (unsigned i = 0; i < 20; i++) {
		if (!mclient_take(&s) || !slice_eq_str(s.p.payload, "after"))
			fail_msg("message %u did not come", i);
		mclient_ack(&s, s.p.id);
	}
	mclient_expect(&s, "");
}

static void sessions_expire_by_the_clock_on_the_wall(void **state)
{
	(void)state;
	subscriber("dur", "t/#");
	publisher();
	mclient_publish(&p, "t/1", "x", 1, false);
	assert_true(mclient_take(&s));
	mclient_ack(&s, s.p.id);
	mrig_run(&mrig, 300);
	mclient_close(&s);
	mrig_run(&mrig, 900000);
	assert_int_equal(mrig_number(&mrig, "durableSessions"), 1);
	mrig_kill(&mrig);
	mclient_close(&p);
	assert_int_equal(mrig_number(&mrig, "durableSessions"), 1);
	mrig_run(&mrig, 110000);
	assert_int_equal(mrig_number(&mrig, "durableSessions"), 0);
	mrig_restart(&mrig);
	assert_int_equal(mrig_number(&mrig, "sessions"), 0);
	for (int32_t q = 0; q < 4; q++)
		assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "t", q), -1);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "dur", false, 1000);
	assert_false(s.p.session_present);
}

static void a_session_ends_when_its_client_says_so(void **state)
{
	(void)state;
	subscriber("dur", "t/#");
	mclient_say(&s, "E0 07 00 05 11 00000000"); /* expiry 0 */
	mrig_run(&mrig, 20);
	assert_int_equal(mrig_number(&mrig, "sessions"), 0);
	mclient_close(&s);
	subscriber("dur", "t/#");
	mclient_close(&s);
	mclient_open(&mrig, &s, 4);
	mclient_connect(&s, "dur", true, 0);
	assert_false(s.p.session_present);
	publisher();
	mclient_publish(&p, "t/1", "x", 1, false);
	mclient_expect(&s, "");
	mclient_close(&s);
	assert_int_equal(mrig_number(&mrig, "durableSessions"), 0);
	/* 3.1.1 without clean session is durable, and found again by 5.0. */
	mclient_open(&mrig, &s, 4);
	mclient_connect(&s, "dur", false, 0);
	mclient_subscribe(&s, "t/#", 1);
	mclient_close(&s);
	resume(&s, "dur");
}

static void durable_sessions_are_bounded(void **state)
{
	(void)state;
	mrig.conf.mqtt_max_sessions = 1;
	subscriber("one", "t/#");
	mclient_open(&mrig, &c, 5);
	mclient_say(&c, "10 L s'MQTT' 05 02 0000 {11 00000064} s'two'");
	mclient_expect(&c, "CONNACK v5 reason=97 props[reason=there\\x20are\\x20as\\x20many\\x20durable\\x20sessions\\x20as\\x20may\\x20be]");
	mclient_close(&c);
	mclient_open(&mrig, &c, 5);
	mclient_connect(&c, "two", true, 0);
}

static void an_id_of_any_characters_has_a_legal_group(void **state)
{
	(void)state;
	mrig_topic(&mrig, "t", 1);
	subscriber("a/b c\xc3\xa4", "t/#");
	publisher();
	mclient_publish(&p, "t/1", "x", 1, false);
	assert_true(mclient_take(&s));
	mclient_ack(&s, s.p.id);
	mrig_run(&mrig, 300);
	mrig_kill(&mrig);
	mclient_close(&s);
	mclient_close(&p);
	resume(&s, "a/b c\xc3\xa4");
	mclient_expect(&s, "");
}

static void retained_messages_under_way_come_again(void **state)
{
	(void)state;
	publisher();
	mclient_publish(&p, "r/1", "kept", 1, true);
	subscriber("dur", "r/#");
	mclient_expect(&s, "PUBLISH v5 qos1 retain id=1 topic=r/1 payload=kept");
	mclient_close(&s);
	resume(&s, "dur");
	mclient_expect(&s, "PUBLISH v5 qos1 dup retain id=1 topic=r/1 payload=kept");
	mclient_ack(&s, 1);
	mclient_close(&s);
	resume(&s, "dur");
	mclient_expect(&s, "");
}

static void unsubscribing_ends_it(void **state)
{
	(void)state;
	mrig_topic(&mrig, "t", 1);
	subscriber("dur", "t/#");
	mclient_say(&s, "A2 L 0002 {} s't/#'");
	mclient_expect(&s, "UNSUBACK v5 id=2 00");
	publisher();
	mclient_publish(&p, "t/1", "x", 1, false);
	mclient_expect(&s, "");
	mrig_kill(&mrig);
	mclient_close(&s);
	mclient_close(&p);
	resume(&s, "dur");
	mclient_expect(&s, "");
}

/* What was sent of a topic that is dropped cannot be sent again; its identifier is free once it is acknowledged, or the client is back. */
static void a_topic_that_is_dropped_takes_its_messages_along(void **state)
{
	(void)state;
	mrig_topic(&mrig, "t", 1);
	mrig_topic(&mrig, "u", 1);
	subscriber("dur", "#");
	publisher();
	mclient_publish(&p, "t/1", "one", 1, false);
	mclient_publish(&p, "t/1", "two", 1, false);
	mclient_publish(&p, "u/1", "stays", 1, false);
	mclient_expect(&s, "PUBLISH v5 qos1 id=1 topic=t/1 payload=one");
	mclient_expect(&s, "PUBLISH v5 qos1 id=2 topic=t/1 payload=two");
	mclient_expect(&s, "PUBLISH v5 qos1 id=3 topic=u/1 payload=stays");
	assert_int_equal(mrig_topic_drop(&mrig, "t"), ST_OK);
	mclient_ack(&s, 1);
	mrig_run(&mrig, 100);
	mclient_close(&s);
	resume(&s, "dur");
	mclient_expect(&s, "PUBLISH v5 qos1 dup id=3 topic=u/1 payload=stays");
	mclient_expect(&s, "");
	mclient_publish(&p, "t/1", "new", 1, false);
	if (!mclient_take(&s) || !slice_eq_str(s.p.payload, "new"))
		fail_msg("the topic that was made again is not subscribed");
}

/* Retention, or a message that expired meanwhile: what cannot be sent again does not stay in the way. */
static void what_expired_is_not_sent_again(void **state)
{
	(void)state;
	mrig_topic(&mrig, "t", 1);
	subscriber("dur", "t/#");
	mclient_open(&mrig, &p, 5);
	mclient_connect(&p, "publisher", true, 0);
	mclient_say(&p, "32 L s't/1' 0001 {02 00000005} 'brief' | 32 L s't/1' 0002 {} 'long'");
	mclient_expect(&s, "PUBLISH v5 qos1 id=1 topic=t/1 props[message_expiry=5] payload=brief");
	mclient_expect(&s, "PUBLISH v5 qos1 id=2 topic=t/1 payload=long");
	mclient_close(&s);
	mrig_run(&mrig, 6000);
	resume(&s, "dur");
	mclient_expect(&s, "PUBLISH v5 qos1 dup id=2 topic=t/1 payload=long");
	mclient_ack(&s, 2);
	mrig_run(&mrig, 300);
	assert_int_equal(mrig_offset(&mrig, "mqtt-dur", "t", 0), 2);
}

/* ---- Slow readers ---- */

static void who_does_not_read_costs_no_memory_and_loses_nothing(void **state)
{
	char body[1000], want[8];
	unsigned next = 0;

	(void)state;
	mrig_topic(&mrig, "t", 1);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "slow", true, 0);
	mclient_subscribe(&s, "t/#", 1);
	mclient_open(&mrig, &c, 4); /* does not acknowledge, but reads */
	mclient_connect(&c, "forgetful", true, 0);
	mclient_subscribe(&c, "t/#", 1);
	s.stalled = true;
	publisher();
	memset(body, '.', sizeof(body));
	body[sizeof(body) - 1] = '\0';
	for (unsigned i = 0; i < 1500; i++) {
		snprintf(want, sizeof(want), "%06u", i);
		memcpy(body, want, 6);
		mclient_publish(&p, "t/1", body, 1, false);
	}
	assert_true(s.s.out.n <= front_mqtt.stream->out_max + 2 * sizeof(body));
	assert_true(mrig_number(&mrig, "parked") >= 2);
	for (unsigned i = 0; i < 16; i++)
		assert_true(mclient_take(&c));
	mclient_expect(&c, "");
	s.stalled = false;
	while (next < 1500) {
		snprintf(want, sizeof(want), "%06u", next);
		if (!mclient_take(&s) || s.p.payload.n != sizeof(body) - 1 || memcmp(s.p.payload.p, want, 6) != 0)
			fail_msg("%s did not come", want);
		mclient_ack(&s, s.p.id);
		next++;
	}
	mclient_expect(&s, "");
	mclient_publish(&p, "t/1", "live", 1, false);
	assert_true(mclient_take(&s));
	assert_true(slice_eq_str(s.p.payload, "live"));
}

static void a_read_that_outlives_its_session_wakes_nobody(void **state)
{
	(void)state;
	mrig_topic(&mrig, "t", 1);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "brief", true, 0);
	mclient_subscribe(&s, "t/#", 1);
	publisher();
	for (unsigned i = 0; i < 40; i++)
		mclient_publish(&p, "t/1", "x", 1, false);
	for (unsigned i = 0; i < 16; i++)
		assert_true(mclient_take(&s));
	uint64_t pulls = mrig_number(&mrig, "catchUpReads");
	for (uint16_t id = 1; id <= 16; id++)
		mclient_ack(&s, id);
	front_mqtt.turn(mrig.front, mrig.clock.ns);
	assert_int_equal(mrig_number(&mrig, "catchUpReads"), pulls + 1);
	mclient_close(&s); /* before the read is answered */
	mrig_run(&mrig, 2000);
	assert_int_equal(mrig_number(&mrig, "sessions"), 1);
	mclient_publish(&p, "t/1", "fine", 1, false);
}

static void qos_0_is_dropped_and_counted(void **state)
{
	char body[1000];
	unsigned got = 0;

	(void)state;
	mrig_topic(&mrig, "t", 1);
	mclient_open(&mrig, &s, 5);
	mclient_connect(&s, "slow", true, 0);
	mclient_subscribe(&s, "t/#", 0);
	s.stalled = true;
	publisher();
	memset(body, '.', sizeof(body));
	body[sizeof(body) - 1] = '\0';
	for (unsigned i = 0; i < 500; i++)
		mclient_publish(&p, "t/1", body, 1, false);
	assert_true(s.s.out.n <= front_mqtt.stream->out_max + 2 * sizeof(body));
	s.stalled = false;
	while (mclient_take(&s))
		got++;
	assert_true(got < 100);
	assert_int_equal(got + mrig_number(&mrig, "dropped"), 500);
	mclient_publish(&p, "t/1", "live", 1, false);
	assert_true(mclient_take(&s));
	assert_true(slice_eq_str(s.p.payload, "live"));
}

/* ---- Random lives ---- */

enum { CLIENTS = 4, TOPICS = 6, MESSAGES = 4000, FILTERS_EACH = 3 };

struct model_client {
	struct mclient c;
	bool up, there;                /* has a connection; its session is there */
	const char *filters[FILTERS_EACH];
	bool wants[MESSAGES];          /* published while it had a subscription that matches, and acknowledged to the publisher */
	bool got[MESSAGES], acked[MESSAGES];
	bool here[MESSAGES];           /* came on this connection */
	uint16_t waiting[64];          /* identifiers to be acknowledged */
	unsigned what[64];
	unsigned n_waiting, subacks;
	unsigned last[TOPICS];         /* 1 + the newest message of the topic that came for the first time */
};
static struct model_client clients[CLIENTS];
static const char *const topics[TOPICS] = {"m1/a", "m1/b/c", "m2/a", "m2/b", "m3", "m3/x"};
static const char *const filters[] = {"#", "+/a", "m1/#", "m2/+", "m3", "m3/#", "+/b/c", "m2/b"};
static unsigned topic_of[MESSAGES], n_messages;
static struct mclient sender;

static void model_up(unsigned i)
{
	struct model_client *k = &clients[i];
	char id[16];

	snprintf(id, sizeof(id), "model-%u", i);
	mclient_open(&mrig, &k->c, i % 2 == 0 ? 5 : 4);
	mclient_connect(&k->c, id, false, 100000);
	if (k->c.p.session_present != k->there)
		fail_msg("client %u: session present %d", i, k->c.p.session_present);
	memset(k->here, 0, sizeof(k->here));
	k->there = k->up = true;
	k->n_waiting = 0;
}

static void model_down(unsigned i)
{
	if (clients[i].up)
		mclient_close(&clients[i].c);
	clients[i].up = false;
}

/* Takes what has come; acknowledges some of it. */
static unsigned model_take(unsigned i, struct prng *r, unsigned percent)
{
	struct model_client *k = &clients[i];
	unsigned taken = 0;

	while (k->up && mclient_take(&k->c)) {
		uint64_t m;
		taken++;
		k->subacks += k->c.p.type == MQTT_SUBACK;
		if (k->c.p.type != MQTT_PUBLISH)
			continue;
		if (!slice_u64(k->c.p.payload, &m) || m >= n_messages || !slice_eq_str(k->c.p.topic, topics[topic_of[m]]))
			fail_msg("client %u got something that was not published", i);
		if (k->here[m])
			fail_msg("client %u got message %u twice on one connection", i, (unsigned)m);
		k->here[m] = true;
		if (!k->got[m]) {
			if (k->last[topic_of[m]] > m)
				fail_msg("client %u got message %u of its topic after %u", i, (unsigned)m, k->last[topic_of[m]] - 1);
			k->last[topic_of[m]] = (unsigned)m + 1;
		}
		k->got[m] = true;
		if (k->n_waiting < ARRAY_LEN(k->waiting)) {
			k->waiting[k->n_waiting] = k->c.p.id;
			k->what[k->n_waiting++] = (unsigned)m;
		}
	}
	for (unsigned n = k->n_waiting; k->up && n > 0; n--) {
		unsigned at = (unsigned)prng_below(r, k->n_waiting);
		if (prng_below(r, 100) >= percent)
			continue;
		mclient_ack(&k->c, k->waiting[at]);
		k->acked[k->what[at]] = true;
		k->waiting[at] = k->waiting[--k->n_waiting];
		k->what[at] = k->what[k->n_waiting];
	}
	return taken;
}

static void model_publish(struct prng *r)
{
	unsigned t = (unsigned)prng_below(r, TOPICS), m = n_messages++;
	char body[16];

	topic_of[m] = t;
	snprintf(body, sizeof(body), "%u", m);
	mclient_publish(&sender, topics[t], body, 1, false);
	for (unsigned i = 0; i < CLIENTS; i++)
		for (unsigned f = 0; clients[i].there && f < FILTERS_EACH; f++)
			if (clients[i].filters[f] != NULL && mqtt_filter_matches(slice_str(clients[i].filters[f]), slice_str(topics[t])))
				clients[i].wants[m] = true;
}

static void model_subscribe(unsigned i, struct prng *r)
{
	struct model_client *k = &clients[i];
	unsigned f = (unsigned)prng_below(r, FILTERS_EACH);

	/* A filter once subscribed to stays: what is wanted does not become unwanted. */
	if (!k->up || k->filters[f] != NULL)
		return;
	k->filters[f] = filters[prng_below(r, ARRAY_LEN(filters))];
	struct mqtt_filter filter = {.filter = slice_str(k->filters[f]), .qos = 1};
	struct mqtt_packet packet = {.type = MQTT_SUBSCRIBE, .id = ++k->c.id};
	struct buf list = {0};
	mqtt_put_filter(&list, MQTT_SUBSCRIBE, &filter);
	packet.list = buf_view(&list);
	k->c.stalled = false;
	mclient_put(&k->c, &packet);
	buf_fini(&list);
	for (unsigned n = k->subacks, tries = 0; k->subacks == n; tries++) {
		if (tries > 1000)
			fail_msg("%s could not be subscribed to", k->filters[f]);
		model_take(i, r, 50);
	}
}

static void model_process_ends(struct prng *r)
{
	if (prng_below(r, 2) == 0)
		mrig_kill(&mrig);
	else
		mrig_restart(&mrig);
	for (unsigned i = 0; i < CLIENTS; i++)
		model_down(i);
	mclient_close(&sender);
	mclient_open(&mrig, &sender, 4);
	mclient_connect(&sender, "sender", true, 0);
}

static void model_end(unsigned seed, struct prng *r)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (!clients[i].there)
			continue;
		model_down(i);
		model_up(i);
		for (unsigned idle = 0; idle < 5;)
			idle = model_take(i, r, 100) > 0 || clients[i].n_waiting > 0 ? 0 : idle + 1;
		for (unsigned m = 0; m < n_messages; m++)
			if (clients[i].wants[m] && !clients[i].got[m])
				fail_msg("seed %u: client %u never got message %u of %s", seed, i, m, topics[topic_of[m]]);
	}
}

static void one_life(unsigned seed)
{
	struct prng r;

	prng_init(&r, seed);
	memset(clients, 0, sizeof(clients));
	n_messages = 0;
	mrig_init(&mrig);
	mrig.conf.mqtt_max_inflight = 1 + (uint32_t)prng_below(&r, 20);
	mrig.conf.default_queues = 1 + (uint32_t)prng_below(&r, 4);
	mrig_open(&mrig);
	mclient_open(&mrig, &sender, 4);
	mclient_connect(&sender, "sender", true, 0);
	for (unsigned step = 0; step < 1200 && n_messages < MESSAGES - 50; step++) {
		unsigned i = (unsigned)prng_below(&r, CLIENTS);
		switch (prng_below(&r, 20)) {
		case 0:
			if (clients[i].up)
				model_down(i);
			else
				model_up(i);
			break;
		case 1:
			if (!clients[i].up)
				model_up(i);
			break;
		case 2:
			model_subscribe(i, &r);
			break;
		case 3:
			if (prng_below(&r, 10) == 0)
				model_process_ends(&r);
			break;
		case 4:
			for (unsigned n = (unsigned)prng_below(&r, 40); n > 0; n--)
				model_publish(&r);
			break;
		case 5:
			if (clients[i].up)
				clients[i].c.stalled = !clients[i].c.stalled;
			break;
		case 6:
			mrig_run(&mrig, prng_below(&r, 400));
			break;
		case 7: case 8: case 9: case 10: case 11:
			model_take(i, &r, (unsigned)prng_below(&r, 100));
			break;
		default:
			model_publish(&r);
		}
	}
	model_end(seed, &r);
	mrig_fini(&mrig);
}

static void nothing_is_lost_in_random_lives(void **state)
{
	unsigned lives = getenv("MQTT_LIVES") != NULL ? (unsigned)atoi(getenv("MQTT_LIVES")) : 12;
	unsigned first = getenv("MQTT_SEED") != NULL ? (unsigned)atoi(getenv("MQTT_SEED")) : 1;

	(void)state;
	for (unsigned seed = first; seed < first + lives; seed++)
		one_life(seed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, mrig_setup, mrig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_came_while_away_comes_later),
		TEST(the_options_of_a_subscription_survive_the_process),
		TEST(a_session_survives_the_process),
		TEST(queues_without_progress_begin_at_the_subscription),
		TEST(sessions_expire_by_the_clock_on_the_wall),
		TEST(a_session_ends_when_its_client_says_so),
		TEST(durable_sessions_are_bounded),
		TEST(an_id_of_any_characters_has_a_legal_group),
		TEST(retained_messages_under_way_come_again),
		TEST(unsubscribing_ends_it),
		TEST(a_topic_that_is_dropped_takes_its_messages_along),
		TEST(what_expired_is_not_sent_again),
		TEST(who_does_not_read_costs_no_memory_and_loses_nothing),
		TEST(a_read_that_outlives_its_session_wakes_nobody),
		TEST(qos_0_is_dropped_and_counted),
		cmocka_unit_test(nothing_is_lost_in_random_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
