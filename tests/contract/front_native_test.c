/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The contract of fronts, stamped on the native one. Its consumers pull by position and commit offsets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/obj.h"
#include "front/native/native.h"
#include "record/record.h"
#include "tests/contract/front.h"
#include "tests/lib/fake_stream.h"
#include "wire/codes.h"
#include "wire/frame.h"

#define STALLED_ROOM (256u << 10)

enum { OPAQUE_PUBLISH = 1, OPAQUE_OFFSET, OPAQUE_MAX, OPAQUE_PULL, OPAQUE_OTHER };
struct native {
	void *front;
	bool stopped;
};
struct client {
	struct front_peer base;
	struct fake_stream s;
	bool stalled, pulling;
	struct front_answers answers;
	const char *topic, *group;
	int64_t next;               /* offset of the next pull; -1: not known yet */
	struct buf records;         /* pulled and not taken */
	struct buf frame, unescaped;
};

static struct client *client_of(struct front_peer *p) { return container_of(p, struct client, base); }

static void start(struct front_world *w)
{
	struct native *n = mem_new(sizeof(*n));

	n->front = mem_new(front_native.size);
	w->front = n;
	assert_int_equal(front_native.start(n->front, &w->env), ST_OK);
}

static void turn(struct front_world *w) { (void)w; }

static void drain(struct front_world *w) { front_native.drain(((struct native *)w->front)->front); }

static void on_stopped(void *arg) { ((struct native *)arg)->stopped = true; }

static void stop(struct front_world *w)
{
	struct native *n = w->front;

	front_native.stop(n->front, on_stopped, n);
}

static bool stopped(struct front_world *w) { return ((struct native *)w->front)->stopped; }

static void fini(struct front_world *w)
{
	mem_free(((struct native *)w->front)->front);
	mem_free(w->front);
}

static struct front_peer *connect_client(struct front_world *w)
{
	struct client *c = mem_new(sizeof(*c));

	c->base.w = w;
	c->next = -1;
	fake_stream_open(&c->s, front_native.stream, ((struct native *)w->front)->front, "127.0.0.1:40000");
	return &c->base;
}

static void hang_up(struct front_peer *p)
{
	struct client *c = client_of(p);

	if (!c->s.closed)
		fake_stream_hangup(&c->s, ST_OK);
	fake_stream_fini(&c->s);
	buf_fini(&c->records);
	buf_fini(&c->frame);
	buf_fini(&c->unescaped);
	mem_free(c);
}

static bool is_open(struct front_peer *p) { return !client_of(p)->s.closed; }

static void say(struct client *c, struct buf *b, struct wire_out *o, struct slice body)
{
	wire_finish(o, body.n);
	buf_slice(b, body);
	fake_stream_feed(&c->s, buf_view(b));
}

static void put_send(struct buf *b, struct wire_out *o, const char *topic)
{
	wire_begin(o, b, WIRE_JSON, REQ_SEND_MESSAGE, OPAQUE_PUBLISH, 0);
	wire_put(o, "producerGroup", SLICE_LIT("p"));
	wire_put(o, "topic", slice_str(topic));
	wire_put(o, "defaultTopic", SLICE_LIT("TBW102"));
	wire_put_i64(o, "defaultTopicQueueNums", 1);
	wire_put_i64(o, "queueId", 0);
	wire_put_i64(o, "sysFlag", 0);
	wire_put_i64(o, "bornTimestamp", 1700000000000);
	wire_put_i64(o, "flag", 0);
	wire_put(o, "properties", SLICE_LIT("k\1v\2"));
	wire_put_i64(o, "reconsumeTimes", 0);
}

/* The topic that settings do not let anybody make is asked for without a template, as a client without one would. */
static void publish(struct front_peer *p, const char *topic, struct slice body)
{
	struct client *c = client_of(p);
	struct buf b = {0};
	struct wire_out o;

	put_send(&b, &o, topic);
	if (!p->w->conf.auto_create_topic)
		wire_put(&o, "defaultTopic", (struct slice){NULL, 0});
	say(c, &b, &o, body);
	buf_fini(&b);
}

static void handle(struct client *c, const struct wire_cmd *got)
{
	struct slice v;

	if (got->opaque == OPAQUE_PUBLISH) {
		if (got->code == ANS_SUCCESS) {
			c->answers.ok++;
		} else {
			c->answers.errors++;
			c->answers.code = (unsigned)got->code;
		}
	} else if (got->opaque == OPAQUE_OFFSET || got->opaque == OPAQUE_MAX) {
		struct buf b = {0};
		struct wire_out o;
		if (got->code == ANS_SUCCESS) {
			assert_true(wire_ext(got, "offset", &v));
			assert_true(slice_i64(v, &c->next));
		} else if (got->opaque == OPAQUE_OFFSET) {
			wire_begin(&o, &b, WIRE_JSON, REQ_GET_MAX_OFFSET, OPAQUE_MAX, 0);
			wire_put(&o, "topic", slice_str(c->topic));
			wire_put_i64(&o, "queueId", 0);
			say(c, &b, &o, (struct slice){NULL, 0});
		}
		buf_fini(&b);
	} else if (got->opaque == OPAQUE_PULL) {
		c->pulling = false;
		if (got->code == ANS_SUCCESS) {
			buf_slice(&c->records, got->body);
			assert_true(wire_ext(got, "nextBeginOffset", &v));
			assert_true(slice_i64(v, &c->next));
		}
	}
}

static void read_answers(struct client *c)
{
	static const struct wire_limits limits = {WIRE_FRAME_MAX, WIRE_FRAME_MAX, WIRE_EXT_MAX};
	struct wire_cmd got;
	const char *why = "";
	size_t used = 0;

	if (!c->s.closed)
		fake_stream_step(&c->s);
	while (!c->stalled && c->s.out.n >= 4 && c->s.out.n >= 4 + (size_t)be32_get(c->s.out.p)) {
		buf_reset(&c->frame);
		buf_put(&c->frame, c->s.out.p, 4 + (size_t)be32_get(c->s.out.p));
		buf_drop_front(&c->s.out, c->frame.n);
		if (wire_decode(buf_view(&c->frame), &limits, &c->unescaped, &got, &used, &why) != WIRE_GOT)
			fail_msg("not a frame: %s", why);
		handle(c, &got);
	}
	if (c->stalled)
		c->s.room = c->s.out.n < STALLED_ROOM ? STALLED_ROOM - c->s.out.n : 0;
}

static enum front_said said(struct front_peer *p, unsigned *ret_code)
{
	struct client *c = client_of(p);

	read_answers(c);
	return front_next_answer(&c->answers, c->s.closed, ret_code);
}

static unsigned code(enum status st) { return front_statuses[st].native; }

static void subscribe(struct front_peer *p, const char *topic, const char *group)
{
	struct client *c = client_of(p);
	struct buf b = {0}, body = {0};
	struct wire_out o;

	c->topic = topic;
	c->group = group;
	buf_fmt(&body, "{\"clientID\":\"c@%p\",\"consumerDataSet\":[{\"consumeFromWhere\":\"CONSUME_FROM_LAST_OFFSET\",\"consumeType\":\"CONSUME_PASSIVELY\",\"groupName\":\"%s\","
		"\"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":[{\"topic\":\"%s\",\"subString\":\"*\",\"subVersion\":1}]}]}", (void *)c, group, topic);
	wire_begin(&o, &b, WIRE_JSON, REQ_HEART_BEAT, OPAQUE_OTHER, 0);
	say(c, &b, &o, buf_view(&body));
	buf_reset(&b);
	wire_begin(&o, &b, WIRE_JSON, REQ_QUERY_CONSUMER_OFFSET, OPAQUE_OFFSET, 0);
	wire_put(&o, "consumerGroup", slice_str(group));
	wire_put(&o, "topic", slice_str(topic));
	wire_put_i64(&o, "queueId", 0);
	say(c, &b, &o, (struct slice){NULL, 0});
	buf_fini(&b);
	buf_fini(&body);
	front_world_run(p->w, 50);
	read_answers(c);
}

static void pull(struct client *c)
{
	struct buf b = {0};
	struct wire_out o;

	wire_begin(&o, &b, WIRE_JSON, REQ_PULL_MESSAGE, OPAQUE_PULL, 0);
	wire_put(&o, "consumerGroup", slice_str(c->group));
	wire_put(&o, "topic", slice_str(c->topic));
	wire_put_i64(&o, "queueId", 0);
	wire_put_i64(&o, "queueOffset", c->next);
	wire_put_i64(&o, "maxMsgNums", 1);
	wire_put_i64(&o, "sysFlag", 2);
	wire_put_i64(&o, "commitOffset", 0);
	wire_put_i64(&o, "suspendTimeoutMillis", 1000);
	wire_put_i64(&o, "subVersion", 0);
	c->pulling = true;
	say(c, &b, &o, (struct slice){NULL, 0});
	buf_fini(&b);
}

static bool received(struct front_peer *p, struct buf *body)
{
	struct client *c = client_of(p);
	struct record r;

	read_answers(c);
	if (c->records.n > 0) {
		assert_int_equal(record_decode(buf_view(&c->records), &r), ST_OK);
		buf_slice(body, r.body);
		buf_drop_front(&c->records, r.size);
		return true;
	}
	if (!c->pulling && !c->stalled && c->next >= 0 && !c->s.closed)
		pull(c);
	return false;
}

static void settle(struct front_peer *p)
{
	struct client *c = client_of(p);
	struct buf b = {0};
	struct wire_out o;

	wire_begin(&o, &b, WIRE_JSON, REQ_UPDATE_CONSUMER_OFFSET, OPAQUE_OTHER, 0);
	wire_put(&o, "consumerGroup", slice_str(c->group));
	wire_put(&o, "topic", slice_str(c->topic));
	wire_put_i64(&o, "queueId", 0);
	wire_put_i64(&o, "commitOffset", c->next);
	say(c, &b, &o, (struct slice){NULL, 0});
	buf_fini(&b);
}

static void stall(struct front_peer *p, bool stalled)
{
	struct client *c = client_of(p);

	c->stalled = stalled;
	c->s.room = stalled ? STALLED_ROOM : 1u << 20;
	if (!stalled)
		c->s.ops->drained(c->s.conn);
}

static size_t queued(struct front_peer *p) { return client_of(p)->s.out.n; }

static void request(struct front_peer *p, struct buf *to)
{
	struct wire_out o;

	(void)p;
	put_send(to, &o, "orders");
	wire_finish(&o, 3);
	buf_str(to, "cut");
}

static void raw(struct front_peer *p, struct slice bytes)
{
	struct client *c = client_of(p);

	fake_stream_feed(&c->s, bytes);
	fake_stream_step(&c->s);
}

static const struct front_kind kind = {
	"native", start, turn, drain, stop, stopped, fini, connect_client, hang_up, is_open, publish, said, code, subscribe, received, settle, stall, queued,
	request, raw, false,
};

int main(void)
{
	const struct CMUnitTest tests[] = {FRONT_CONTRACT_TESTS()};

	front_kind_under_test = &kind;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
