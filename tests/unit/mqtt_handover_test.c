/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Durable sessions whose connections and topics change while messages are on their way: nothing that was acknowledged to its publisher is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "tests/lib/mqtt_rig.h"

static struct mrig rig;
static struct mclient p, s, s2;

static void connect_now(struct mclient *c, const char *id)
{
	struct mqtt_packet packet = {.type = MQTT_CONNECT, .client_id = slice_str(id)};

	MQTT_SET(&packet.props, SESSION_EXPIRY, session_expiry, 1000);
	mclient_open(&rig, c, 5);
	mclient_put(c, &packet);
}

/* Publishes without waiting for anything. */
static void publish_now(struct mclient *c, const char *topic, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		char body[16];
		snprintf(body, sizeof(body), "%u", i);
		struct mqtt_packet packet = {.type = MQTT_PUBLISH, .qos = 1, .id = ++c->id, .topic = slice_str(topic), .payload = slice_str(body)};
		mclient_put(c, &packet);
	}
}

/* Takes and acknowledges whatever comes. */
static void take_all(struct mclient *c, bool got[], unsigned n)
{
	for (unsigned idle = 0; idle < 5;) {
		uint64_t m;
		if (!mclient_take(c)) {
			idle++;
			continue;
		}
		idle = 0;
		if (c->p.type != MQTT_PUBLISH)
			continue;
		if (!slice_u64(c->p.payload, &m) || m >= n)
			fail_msg("something came that was not published");
		got[m] = true;
		mclient_ack(c, c->p.id);
	}
}

static void all_came(const bool got[], unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!got[i])
			fail_msg("message %u never came", i);
}

static void one_turn(void)
{
	rig.clock.ns += MS_NS / 10;
	LIST_EACH_SAFE(&rig.clients, n, next) {
		struct mclient *c = container_of(n, struct mclient, link);
		if (!c->s.closed)
			fake_stream_step(&c->s);
	}
	front_mqtt.turn(rig.front, rig.clock.ns);
	engine_turn(rig.e);
	memdisk_run(&rig.disk);
	front_mqtt.flush(rig.front, rig.clock.ns);
}

/* The new connection comes 'when' turns after the messages. */
static void taken_over(unsigned when)
{
	bool got[260] = {false};

	mrig_init(&rig);
	rig.conf.mqtt_max_inflight = 1000;
	mrig_open(&rig);
	mrig_topic(&rig, "t", 1);
	connect_now(&s, "dur");
	assert_true(mclient_take(&s));
	mclient_subscribe(&s, "t/#", 1);
	mclient_open(&rig, &p, 4);
	mclient_connect(&p, "publisher", true, 0);
	publish_now(&p, "t/1", 0, 250);
	for (unsigned i = 0; i < when; i++)
		one_turn();
	connect_now(&s2, "dur");
	for (unsigned i = 250; i < 260; i++) {
		publish_now(&p, "t/1", i, i + 1);
		one_turn();
	}
	take_all(&s2, got, 260);
	all_came(got, 260);
	mrig_fini(&rig);
}

static void a_taken_over_session_misses_nothing(void **state)
{
	(void)state;
	for (unsigned when = 0; when < 12; when++)
		taken_over(when);
}

/* It does not wait for acknowledgements, nor does it get twice what is read for it and comes live. */
static void a_subscription_of_less_qos_is_live(void **state)
{
	bool got[120] = {false};
	uint64_t m;

	(void)state;
	mrig_init(&rig);
	rig.conf.mqtt_max_inflight = 10;
	mrig_open(&rig);
	mrig_topic(&rig, "t", 1);
	connect_now(&s, "dur");
	assert_true(mclient_take(&s));
	mclient_subscribe(&s, "t/#", 1);
	mclient_open(&rig, &p, 4);
	mclient_connect(&p, "publisher", true, 0);
	for (unsigned i = 0; i < 100; i++) {
		char body[8];
		snprintf(body, sizeof(body), "%u", i);
		mclient_publish(&p, "t/1", body, 1, false);
	}
	mclient_say(&s, "82 L 0002 {} s't/#' 00");
	for (unsigned i = 100; i < 120; i++) {
		publish_now(&p, "t/1", i, i + 1);
		mrig_run(&rig, 1);
	}
	for (unsigned idle = 0; idle < 5;) {
		if (!mclient_take(&s)) {
			idle++;
			continue;
		}
		if (s.p.type != MQTT_PUBLISH)
			continue;
		assert_true(slice_u64(s.p.payload, &m) && m < 120);
		if (got[m])
			fail_msg("message %u came twice", (unsigned)m);
		got[m] = true;
	}
	assert_true(got[0] && got[119]);
	mrig_fini(&rig);
}

static void one_packet_asks_for_so_many_filters_at_most(void **state)
{
	unsigned n = 0;

	(void)state;
	mrig_init(&rig);
	rig.conf.mqtt_max_subs = 3;
	mrig_open(&rig);
	mclient_open(&rig, &p, 4);
	mclient_connect(&p, "publisher", true, 0);
	mclient_publish(&p, "r/1", "x", 1, true);
	mclient_publish(&p, "r/2", "x", 1, true);
	mclient_open(&rig, &s, 5);
	mclient_connect(&s, "s", true, 0);
	mclient_say(&s, "82 L 0001 {} s'r/#' 00 s'r/#' 00 s'r/#' 00 s'r/#' 00 s'r/#' 00");
	mclient_expect(&s, "SUBACK v5 id=1 00 00 00 97 97");
	while (mclient_take(&s))
		n++;
	assert_int_equal(n, 6);
	mclient_say(&s, "A2 L 0002 {} s'x' s'x' s'r/#' s'r/#'");
	mclient_expect(&s, "UNSUBACK v5 id=2 11 11 00 80");
	mrig_fini(&rig);
}

/* They are the broker's own: a subscriber would never see it. */
static void what_no_subscription_sees_is_not_taken(void **state)
{
	static const char *const names[] = {"BenchmarkTest/x", "TBW102/x", "SCHEDULE_TOPIC_XXXX/x", "RMQ_SYS_TRACE_TOPIC", "rmq_sys_gantry_state", "%RETRY%g/x",
		"CLUSTER", "BROKER/x", "CLUSTER_REPLY_TOPIC/x", "TRANS_CHECK_MAX_TIME_TOPIC/x"};

	(void)state;
	mrig_init(&rig);
	mrig_open(&rig);
	mclient_open(&rig, &s, 4);
	mclient_connect(&s, "s", true, 0);
	mclient_subscribe(&s, "#", 1);
	mclient_open(&rig, &p, 5);
	mclient_connect(&p, "publisher", true, 0);
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		char name[64];
		struct slice cluster = rig.engine_conf.cluster, broker = rig.engine_conf.broker;
		const char *rest = strncmp(names[i], "CLUSTER", 7) == 0 ? names[i] + 7 : strncmp(names[i], "BROKER", 6) == 0 ? names[i] + 6 : NULL;
		struct slice first = rest == NULL ? (struct slice){NULL, 0} : names[i][0] == 'C' ? cluster : broker;
		snprintf(name, sizeof(name), "%.*s%s", (int)first.n, first.n == 0 ? "" : (const char *)first.p, rest == NULL ? names[i] : rest);
		struct mqtt_packet packet = {.type = MQTT_PUBLISH, .qos = 1, .id = 1, .topic = slice_str(name), .payload = SLICE_LIT("x")};
		mclient_put(&p, &packet);
		if (!mclient_take(&p) || p.p.type != MQTT_PUBACK || p.p.reason < MQTT_FAILED)
			fail_msg("%s was taken", name);
	}
	mclient_expect(&s, "");
	mrig_fini(&rig);
}

static struct engine_topic dropping;

static void drop_now(const char *name)
{
	dropping = (struct engine_topic){.name = slice_str(name)};
	engine_topic_drop(rig.e, &dropping);
}

/* The topic is dropped and made again 'when' turns after it was subscribed to; what was in it before was more than what comes now. */
static void made_again(unsigned when, unsigned again)
{
	bool got[100] = {false};

	mrig_init(&rig);
	rig.conf.mqtt_max_inflight = 200;
	mrig_open(&rig);
	mrig_topic(&rig, "t", 1);
	mclient_open(&rig, &p, 4);
	mclient_connect(&p, "publisher", true, 0);
	for (unsigned i = 0; i < 60; i++)
		mclient_publish(&p, "t/1", "old", 1, false);
	connect_now(&s, "dur");
	assert_true(mclient_take(&s));
	struct mqtt_packet packet = {.type = MQTT_SUBSCRIBE, .id = 1};
	struct mqtt_filter filter = {.filter = SLICE_LIT("t/#"), .qos = 1};
	struct buf list = {0};
	mqtt_put_filter(&list, MQTT_SUBSCRIBE, &filter);
	packet.list = buf_view(&list);
	mclient_put(&s, &packet);
	buf_fini(&list);
	for (unsigned i = 0; i < when; i++)
		one_turn();
	drop_now("t");
	for (unsigned i = 0; i < again; i++)
		one_turn();
	mrig_topic(&rig, "t", 1);
	mrig_run(&rig, 400); /* the client has its SUBACK by then */
	publish_now(&p, "t/1", 0, 20);
	take_all(&s, got, 100);
	all_came(got, 20);
	mrig_fini(&rig);
}

static void a_topic_that_is_made_again_is_read_from_its_own_beginning(void **state)
{
	(void)state;
	for (unsigned when = 0; when < 8; when++)
		for (unsigned again = 0; again < 4; again++)
			made_again(when, again);
}

/* The carrier asks for a deadline when bytes have come, and at the deadline. */
static void who_is_silent_after_connect_has_a_deadline(void **state)
{
	struct mqtt_packet packet = {.type = MQTT_CONNECT, .client_id = SLICE_LIT("dur"), .keep_alive = 10};

	(void)state;
	mrig_init(&rig);
	mrig_open(&rig);
	MQTT_SET(&packet.props, SESSION_EXPIRY, session_expiry, 1000);
	mclient_open(&rig, &s, 5);
	mclient_put(&s, &packet);
	for (uint64_t due = rig.clock.ns; !s.s.closed && rig.clock.ns < 100 * SEC_NS;) {
		if (rig.clock.ns >= due && !s.s.close_asked)
			due = s.s.ops->turn(s.s.conn, rig.clock.ns);
		rig.clock.ns += SEC_NS / 10;
		front_mqtt.turn(rig.front, rig.clock.ns);
		engine_turn(rig.e);
		memdisk_run(&rig.disk);
		front_mqtt.flush(rig.front, rig.clock.ns);
		fake_stream_step(&s.s);
	}
	assert_true(s.s.closed);
	mrig_fini(&rig);
}

/* ---- Random lives, a turn at a time ---- */

enum { SESSIONS = 3, MESSAGES = 2000, NAMES = 8, FILTERS = 2, CONNECTIONS = 4000 };

struct life {
	struct mclient *now;               /* NULL: away */
	const char *filter[FILTERS];
	bool subscribed[FILTERS];          /* SUBACK has come */
	bool asked;                        /* one SUBSCRIBE is under way on this connection: of filter 'which' */
	unsigned which;
	bool wants[MESSAGES], got[MESSAGES];
	uint16_t id[256];
	unsigned n_id;
};
static struct life lives[SESSIONS];
static struct mclient *connections[CONNECTIONS];
static unsigned n_connections;
static unsigned n_sent, n_acked;       /* PUBACKs keep the order of the PUBLISHes */
static unsigned name_of[MESSAGES];
static const char *const names[NAMES] = {"a/1", "a/2", "b/1", "b/2/x", "c", "new/1", "new2", "a/3"};
static const char *const filters[] = {"#", "a/+", "a/1", "+/1", "b/#", "new2", "c/#"};

static struct mclient *connection(void)
{
	assert_true(n_connections < CONNECTIONS);
	return connections[n_connections++] = mem_new(sizeof(struct mclient));
}

/* The older connection, if there is one, is taken over. */
static void life_up(unsigned i)
{
	struct life *k = &lives[i];
	char id[16];

	snprintf(id, sizeof(id), "life-%u", i);
	k->now = connection();
	connect_now(k->now, id);
	k->n_id = 0;
	k->asked = false;
}

static void life_down(unsigned i)
{
	if (lives[i].now != NULL)
		fake_stream_hangup(&lives[i].now->s, ST_OK);
	lives[i].now = NULL;
}

static void life_subscribe(unsigned i, struct prng *r)
{
	struct life *k = &lives[i];
	unsigned f = (unsigned)prng_below(r, FILTERS);
	struct buf list = {0};

	if (k->now == NULL || k->asked || k->subscribed[f])
		return;
	if (k->filter[f] == NULL)
		k->filter[f] = filters[prng_below(r, ARRAY_LEN(filters))];
	struct mqtt_filter filter = {.filter = slice_str(k->filter[f]), .qos = 1};
	struct mqtt_packet packet = {.type = MQTT_SUBSCRIBE, .id = 1};
	mqtt_put_filter(&list, MQTT_SUBSCRIBE, &filter);
	packet.list = buf_view(&list);
	k->asked = true;
	k->which = f;
	mclient_put(k->now, &packet);
	buf_fini(&list);
}

/* Reads what has come, without a turn; acknowledges some of it in any order. */
static unsigned life_take(unsigned i, struct prng *r, unsigned percent)
{
	struct life *k = &lives[i];
	unsigned n = 0;
	uint64_t m;

	while (k->now != NULL && !k->now->s.closed && mclient_take_now(k->now)) {
		struct mqtt_packet *got = &k->now->p;
		n++;
		if (got->type == MQTT_SUBACK) {
			k->subscribed[k->which] = true;
			k->asked = false;
		}
		if (got->type != MQTT_PUBLISH)
			continue;
		if (!slice_u64(got->payload, &m) || m >= n_sent || !slice_eq_str(got->topic, names[name_of[m]]))
			fail_msg("session %u got something that was not published", i);
		k->got[m] = true;
		assert_true(k->n_id < ARRAY_LEN(k->id));
		k->id[k->n_id++] = got->id;
	}
	for (unsigned a = k->n_id; k->now != NULL && a > 0; a--) {
		unsigned at = (unsigned)prng_below(r, k->n_id);
		if (prng_below(r, 100) >= percent)
			continue;
		mclient_ack(k->now, k->id[at]);
		k->id[at] = k->id[--k->n_id];
	}
	return n;
}

static void lives_publish(struct mclient *c, struct prng *r)
{
	unsigned m = n_sent++;

	name_of[m] = (unsigned)prng_below(r, m < 200 ? 5 : NAMES);
	for (unsigned i = 0; i < SESSIONS; i++)
		for (unsigned f = 0; f < FILTERS; f++)
			if (lives[i].subscribed[f] && mqtt_filter_matches(slice_str(lives[i].filter[f]), slice_str(names[name_of[m]])))
				lives[i].wants[m] = true;
	publish_now(c, names[name_of[m]], m, m + 1);
}

static void acks_take(struct mclient *c)
{
	while (mclient_take_now(c))
		n_acked += c->p.type == MQTT_PUBACK && c->p.reason == 0;
}

static void lives_check(unsigned seed, struct prng *r)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		life_up(i);
		for (unsigned idle = 0; idle < 5;) {
			mrig_run(&rig, 50);
			idle = life_take(i, r, 100) > 0 || lives[i].n_id > 0 ? 0 : idle + 1;
		}
		for (unsigned m = 0; m < n_acked; m++)
			if (lives[i].wants[m] && !lives[i].got[m])
				fail_msg("seed %u: session %u never got message %u of %s", seed, i, m, names[name_of[m]]);
	}
}

static void lives_end(void)
{
	mrig_fini(&rig);
	while (n_connections > 0)
		mem_free(connections[--n_connections]);
}

/* What was not acknowledged by then may be stored or not. */
static struct mclient *process_ends(struct prng *r)
{
	struct mclient *c = connection();

	if (prng_below(r, 2) == 0)
		mrig_kill(&rig);
	else
		mrig_restart(&rig);
	for (unsigned i = 0; i < SESSIONS; i++) {
		memset(&lives[i].wants[n_acked], 0, (n_sent - n_acked) * sizeof(bool));
		lives[i].now = NULL;
	}
	n_acked = n_sent;
	mclient_open(&rig, c, 5);
	mclient_connect(c, "publisher", true, 0);
	return c;
}

static void amid_messages(unsigned seed)
{
	struct mclient *c;
	struct prng r;

	prng_init(&r, seed);
	memset(lives, 0, sizeof(lives));
	n_sent = n_acked = 0;
	mrig_init(&rig);
	rig.conf.mqtt_max_inflight = (uint32_t)(prng_below(&r, 2) == 0 ? 200 : 1 + prng_below(&r, 20));
	rig.conf.default_queues = 1 + (uint32_t)prng_below(&r, 3);
	mrig_open(&rig);
	c = connection();
	mclient_open(&rig, c, 5);
	mclient_connect(c, "publisher", true, 0);
	for (unsigned step = 0; step < 4000; step++) {
		unsigned i = (unsigned)prng_below(&r, SESSIONS);
		unsigned what = (unsigned)prng_below(&r, 64);
		if (what < 2)
			life_up(i);
		else if (what < 4)
			life_down(i);
		else if (what < 6)
			life_subscribe(i, &r);
		else if (what < 8)
			for (unsigned n = (unsigned)prng_below(&r, 80); n > 0 && n_sent < MESSAGES && n_sent - n_acked < 200; n--)
				lives_publish(c, &r);
		else if (what < 24)
			life_take(i, &r, (unsigned)prng_below(&r, 120));
		else if (what == 24 && prng_below(&r, 20) == 0)
			c = process_ends(&r);
		else if (what < 26)
			mrig_run(&rig, prng_below(&r, 100));
		else
			one_turn();
		acks_take(c);
	}
	for (unsigned n = 0; n < 100 && n_acked < n_sent; n++) {
		mrig_run(&rig, 20);
		acks_take(c);
	}
	assert_int_equal(n_acked, n_sent);
	lives_check(seed, &r);
	lives_end();
}

static void sessions_miss_nothing_when_connections_change_amid_messages(void **state)
{
	unsigned n = getenv("MQTT_LIVES") != NULL ? (unsigned)atoi(getenv("MQTT_LIVES")) : 10;
	unsigned first = getenv("MQTT_SEED") != NULL ? (unsigned)atoi(getenv("MQTT_SEED")) : 1;

	(void)state;
	for (unsigned seed = first; seed < first + n; seed++)
		amid_messages(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_taken_over_session_misses_nothing),
		cmocka_unit_test(a_subscription_of_less_qos_is_live),
		cmocka_unit_test(one_packet_asks_for_so_many_filters_at_most),
		cmocka_unit_test(what_no_subscription_sees_is_not_taken),
		cmocka_unit_test(a_topic_that_is_made_again_is_read_from_its_own_beginning),
		cmocka_unit_test(who_is_silent_after_connect_has_a_deadline),
		cmocka_unit_test(sessions_miss_nothing_when_connections_change_amid_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
