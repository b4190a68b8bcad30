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
#include <cmocka.h>

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
	rig.ns += MS_NS / 10;
	LIST_EACH_SAFE(&rig.clients, n, next) {
		struct mclient *c = container_of(n, struct mclient, link);
		if (!c->s.closed)
			fake_stream_step(&c->s);
	}
	front_mqtt.turn(rig.front, rig.ns);
	engine_turn(rig.e);
	memdisk_run(&rig.disk);
	front_mqtt.flush(rig.front, rig.ns);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_taken_over_session_misses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
