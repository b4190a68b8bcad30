/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The contract of fronts, stamped on the MQTT one. A member of a group is a durable session of the group's name; handled is what is acknowledged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "front/mqtt/codec.h"
#include "front/mqtt/mqtt.h"
#include "tests/contract/front.h"
#include "tests/lib/fake_stream.h"

struct mqtt_world {
	void *front;
	bool stopped;
};
struct client {
	struct front_peer base;
	struct fake_stream s;
	bool stalled;
	struct front_answers answers;
	uint16_t id;                /* of the last publish */
	uint16_t last;              /* of the message that was received last; 0: none */
	struct buf bodies;          /* received and not taken: 2 bytes identifier, 4 length, body */
	struct buf frame;
};

static struct client *client_of(struct front_peer *p) { return container_of(p, struct client, base); }
static struct mqtt_world *world_of(struct front_world *w) { return w->front; }

static void start(struct front_world *w)
{
	struct mqtt_world *m = mem_new(sizeof(*m));

	m->front = mem_new(front_mqtt.size);
	w->front = m;
	assert_int_equal(front_mqtt.start(m->front, &w->env), ST_OK);
	front_world_run(w, 1);
}

/* Both halves of a turn: what the one after the engine's owes is done before the next. */
static void turn(struct front_world *w)
{
	if (world_of(w)->stopped)
		return;
	front_mqtt.flush(world_of(w)->front, w->clock.ns);
	if (!world_of(w)->stopped)
		front_mqtt.turn(world_of(w)->front, w->clock.ns);
}

static void drain(struct front_world *w) { front_mqtt.drain(world_of(w)->front); }
static void on_stopped(void *arg) { ((struct mqtt_world *)arg)->stopped = true; }
static void stop(struct front_world *w) { front_mqtt.stop(world_of(w)->front, on_stopped, w->front); }
static bool stopped(struct front_world *w) { return world_of(w)->stopped; }

static void fini(struct front_world *w)
{
	mem_free(world_of(w)->front);
	mem_free(w->front);
}

static void say(struct client *c, const struct mqtt_packet *p)
{
	struct buf b = {0};

	assert_true(mqtt_put(&b, MQTT_5, 0, p));
	if (!c->s.closed)
		fake_stream_feed(&c->s, buf_view(&b));
	buf_fini(&b);
}

static void open_as(struct client *c, const char *id, uint32_t expiry_s)
{
	struct mqtt_packet p = {.type = MQTT_CONNECT, .client_id = slice_str(id), .clean_start = expiry_s == 0};

	if (expiry_s > 0)
		MQTT_SET(&p.props, SESSION_EXPIRY, session_expiry, expiry_s);
	fake_stream_open(&c->s, front_mqtt.stream, world_of(c->base.w)->front, "127.0.0.1:40000");
	c->s.real = true;
	c->s.room = front_mqtt.stream->out_max;
	say(c, &p);
	front_world_run(c->base.w, 50);
}

static struct front_peer *connect_client(struct front_world *w)
{
	static unsigned serial;
	struct client *c = mem_new(sizeof(*c));
	char id[32];

	c->base.w = w;
	snprintf(id, sizeof(id), "client-%u", ++serial);
	open_as(c, id, 0);
	return &c->base;
}

static void hang_up(struct front_peer *p)
{
	struct client *c = client_of(p);

	fake_stream_fini(&c->s);
	buf_fini(&c->bodies);
	buf_fini(&c->frame);
	mem_free(c);
}

static bool is_open(struct front_peer *p) { return !client_of(p)->s.closed; }

static struct mqtt_packet publish_of(struct client *c, const char *topic, struct slice body)
{
	c->id = c->id == UINT16_MAX ? 1 : (uint16_t)(c->id + 1);
	return (struct mqtt_packet){.type = MQTT_PUBLISH, .qos = 1, .id = c->id, .topic = slice_str(topic), .payload = body};
}

static void publish(struct front_peer *p, const char *topic, struct slice body)
{
	struct mqtt_packet packet = publish_of(client_of(p), topic, body);

	say(client_of(p), &packet);
}

static void handle(struct client *c, const struct mqtt_packet *p)
{
	if (p->type == MQTT_PUBACK && p->reason < MQTT_FAILED) {
		c->answers.ok++;
	} else if (p->type == MQTT_PUBACK) {
		c->answers.errors++;
		c->answers.code = p->reason;
	} else if (p->type == MQTT_PUBLISH) {
		buf_be16(&c->bodies, p->id);
		buf_be32(&c->bodies, (uint32_t)p->payload.n);
		buf_slice(&c->bodies, p->payload);
	}
}

static void read_packets(struct client *c)
{
	struct mqtt_packet p;
	ptrdiff_t used;

	if (!c->s.closed)
		fake_stream_step(&c->s);
	while (!c->stalled && (used = mqtt_next(buf_view(&c->s.out), MQTT_5, 0, &p)) != 0) {
		if (used < 0)
			fail_msg("not a packet: %s", p.why);
		handle(c, &p);
		buf_drop_front(&c->s.out, (size_t)used);
		if (!c->s.closed)
			fake_stream_taken(&c->s);
	}
}

static enum front_said said(struct front_peer *p, unsigned *ret_code)
{
	struct client *c = client_of(p);

	read_packets(c);
	return front_next_answer(&c->answers, c->s.closed, ret_code);
}

/* A PUBACK has fewer reasons than there are. */
static unsigned code(enum status st)
{
	return st == ST_TOO_BIG ? MQTT_IMPLEMENTATION : front_statuses[st].mqtt;
}

static void subscribe(struct front_peer *p, const char *topic, const char *group)
{
	struct client *c = client_of(p);
	struct mqtt_filter filter = {.filter = slice_str(topic), .qos = 1};
	struct mqtt_packet packet = {.type = MQTT_SUBSCRIBE, .id = 1};
	struct buf list = {0};

	fake_stream_fini(&c->s);
	open_as(c, group, 100000);
	mqtt_put_filter(&list, MQTT_SUBSCRIBE, &filter);
	packet.list = buf_view(&list);
	say(c, &packet);
	buf_fini(&list);
	front_world_run(p->w, 50);
}

static bool received(struct front_peer *p, struct buf *body)
{
	struct client *c = client_of(p);

	read_packets(c);
	if (c->bodies.n == 0)
		return false;
	const uint8_t *at = c->bodies.p;
	uint32_t n = (uint32_t)at[2] << 24 | (uint32_t)at[3] << 16 | (uint32_t)at[4] << 8 | at[5];
	c->last = (uint16_t)(at[0] << 8 | at[1]);
	buf_put(body, at + 6, n);
	buf_drop_front(&c->bodies, 6 + n);
	return true;
}

static void settle(struct front_peer *p)
{
	struct mqtt_packet packet = {.type = MQTT_PUBACK, .id = client_of(p)->last};

	say(client_of(p), &packet);
}

static void stall(struct front_peer *p, bool stalled)
{
	client_of(p)->stalled = stalled;
}

static size_t queued(struct front_peer *p) { return client_of(p)->s.out.n; }

static void request(struct front_peer *p, struct buf *to)
{
	struct mqtt_packet packet = publish_of(client_of(p), "orders", SLICE_LIT("cut"));

	assert_true(mqtt_put(to, MQTT_5, 0, &packet));
}

static void raw(struct front_peer *p, struct slice bytes)
{
	struct client *c = client_of(p);

	fake_stream_feed(&c->s, bytes);
	fake_stream_step(&c->s);
}

static const struct front_kind kind = {
	"mqtt", start, turn, drain, stop, stopped, fini, connect_client, hang_up, is_open, publish, said, code, subscribe, received, settle, stall, queued,
	request, raw, false,
};

int main(void)
{
	const struct CMUnitTest tests[] = {FRONT_CONTRACT_TESTS()};

	front_kind_under_test = &kind;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
