/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/lib/mqtt_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "record/record.h"

static struct actor actor = {.front = "test"};

static void random_bytes(void *to, size_t n) { memset(to, 0x5a, n); }

void mrig_init(struct mrig *r)
{
	memset(r, 0, sizeof(*r));
	memdisk_init(&r->disk);
	testlog_init(&r->log);
	fake_clock_init(&r->clock);
	prng_init(&r->prng, 5);
	list_init(&r->clients);
	engine_conf_default(&r->engine_conf);
	r->engine_conf.segment_bytes = 4u << 20;
	r->engine_conf.block_bytes = 16384;
	r->engine_conf.max_message = 64u << 10;
	r->engine_conf.unsynced_bytes = r->engine_conf.ahead_bytes = 1u << 20;
	r->engine_conf.snapshot_bytes = 1u << 20;
	r->engine_conf.cache_bytes = 1u << 20;
	r->conf = (struct front_conf){
		.cluster = SLICE_LIT("DefaultCluster"), .broker = SLICE_LIT("broker-a"), .advertised_ip = 0x7f000001, .advertised_port = 10911,
		.max_message = r->engine_conf.max_message, .default_queues = 4, .auto_create_topic = true, .mqtt_max_packet = 1u << 20, .mqtt_max_inflight = 16,
		.mqtt_max_sessions = 100, .mqtt_max_subs = 64, .mqtt_max_queues = 1000, .mqtt_max_retained = 100, .mqtt_session_ms = 86400000,
	};
	memcpy(r->conf.delay_ms, r->engine_conf.delay_ms, sizeof(r->conf.delay_ms));
}

void mrig_open(struct mrig *r)
{
	struct engine_env env = {&r->clock.base, &r->disk.disk, &r->prng, &r->log.log};
	char why[256] = "";

	if (engine_open(&r->e, &env, &r->engine_conf, why, sizeof(why)) != ST_OK)
		fail_msg("engine_open: %s", why);
	r->env = (struct front_env){.engine = r->e, .clock = &r->clock.base, .log = &r->log.log, .conf = &r->conf, .random = random_bytes};
	r->front = mem_new(front_mqtt.size);
	r->stopped = false;
	assert_int_equal(front_mqtt.start(r->front, &r->env), ST_OK);
	mrig_run(r, 1);
}

static void step_clients(struct mrig *r)
{
	LIST_EACH_SAFE(&r->clients, n, next) {
		struct mclient *c = container_of(n, struct mclient, link);
		if (!c->s.closed)
			fake_stream_step(&c->s);
		if (!c->s.closed)
			c->s.ops->turn(c->s.conn, r->clock.ns);
	}
}

/* One turn of the process; the deadline. */
static uint64_t turn(struct mrig *r)
{
	uint64_t due = NEVER;

	step_clients(r);
	if (!r->stopped)
		due = front_mqtt.turn(r->front, r->clock.ns);
	due = u64_min(due, engine_turn(r->e));
	memdisk_run(&r->disk);
	if (!r->stopped)
		due = u64_min(due, front_mqtt.flush(r->front, r->clock.ns));
	return due;
}

void mrig_run(struct mrig *r, uint64_t ms)
{
	uint64_t end = r->clock.ns + ms * MS_NS;

	for (unsigned i = 0; i < 500000; i++) {
		uint64_t due = turn(r);
		if (r->e == NULL)
			return;
		if (due <= r->clock.ns) {
			r->clock.ns++;
			continue;
		}
		if (r->clock.ns >= end)
			return;
		r->clock.ns = u64_min(due, end);
	}
	fail_msg("the rig does not come to rest");
}

static void on_stopped(void *arg) { ((struct mrig *)arg)->stopped = true; }
static void on_closed(void *arg) { ((struct mrig *)arg)->e = NULL; }

void mrig_stop(struct mrig *r)
{
	front_mqtt.drain(r->front);
	front_mqtt.stop(r->front, on_stopped, r);
	for (unsigned i = 0; i < 1000 && !r->stopped; i++)
		mrig_run(r, 10);
	assert_true(r->stopped);
	mem_free(r->front);
	r->front = NULL;
	engine_close(r->e, on_closed, r);
	for (unsigned i = 0; i < 1000 && r->e != NULL; i++)
		mrig_run(r, 10);
	assert_null(r->e);
}

void mrig_restart(struct mrig *r)
{
	mrig_stop(r);
	mrig_open(r);
}

struct copying {
	struct memdisk *from, *to;
};

static void copy_file(const char *path, void *arg)
{
	struct copying *k = arg;
	size_t n;
	const uint8_t *p = memdisk_bytes(k->from, path, &n);

	if (p != NULL)
		memdisk_put(k->to, path, p, n);
}

/* The disk as it is now is kept, while the process that had it ends on a disk that nobody looks at again. */
void mrig_kill(struct mrig *r)
{
	struct memdisk now;
	struct copying k = {&r->disk, &now};

	memdisk_init(&now);
	memdisk_each(&r->disk, copy_file, &k);
	mrig_stop(r);
	memdisk_fini(&r->disk);
	memdisk_init(&r->disk);
	k = (struct copying){&now, &r->disk};
	memdisk_each(&now, copy_file, &k);
	memdisk_fini(&now);
	mrig_open(r);
}

void mrig_fini(struct mrig *r)
{
	while (!list_empty(&r->clients))
		mclient_close(container_of(r->clients.next, struct mclient, link));
	if (r->e != NULL)
		mrig_stop(r);
	memdisk_fini(&r->disk);
}

/* ---- The engine, asked -------------------------------------------------------------------------------------------------------------- */

uint64_t mrig_number(struct mrig *r, const char *name)
{
	struct buf b = {0};
	char key[80];
	unsigned long long v = UINT64_MAX;

	front_mqtt.describe(r->front, &b);
	snprintf(key, sizeof(key), "\"%s\":", name);
	const char *at = strstr(buf_cstr(&b), key);
	if (at == NULL || sscanf(at + strlen(key), "%llu", &v) != 1)
		fail_msg("no number %s in %s", name, buf_cstr(&b));
	buf_fini(&b);
	return v;
}

static void answered(struct engine_ask *a, enum status st)
{
	(void)a;
	(void)st;
}

#define ASK(r, verb, q) \
	do { \
		(q)->ask.done = answered; \
		(q)->actor = &actor; \
		verb((r)->e, (q)); \
		mrig_run((r), 20); \
	} while (0)

enum status mrig_send(struct mrig *r, const char *topic, const char *props, const char *body)
{
	struct engine_send q = {.msg = {.topic = slice_str(topic), .body = slice_str(body), .props = slice_str(props), .queue = -1, .max_reconsume = -1,
		.born_ms = clock_wall_ms(&r->clock.base)}, .default_topic = SLICE_LIT("TBW102"), .default_queues = 4};

	ASK(r, engine_send, &q);
	return q.ask.status;
}

enum status mrig_topic(struct mrig *r, const char *name, uint32_t queues)
{
	struct engine_topic q = {.name = slice_str(name), .conf = {.read_queues = queues, .write_queues = queues, .perm = PERM_READ | PERM_WRITE}};

	ASK(r, engine_topic_put, &q);
	return q.ask.status;
}

enum status mrig_topic_drop(struct mrig *r, const char *name)
{
	struct engine_topic q = {.name = slice_str(name)};

	ASK(r, engine_topic_drop, &q);
	return q.ask.status;
}

int64_t mrig_offset(struct mrig *r, const char *group, const char *topic, int32_t queue)
{
	struct engine_offset q = {.group = slice_str(group), .topic = slice_str(topic), .queue = queue};

	ASK(r, engine_offset_get, &q);
	return q.ask.status == ST_OK ? (int64_t)q.offset : -1;
}

struct reading {
	struct engine_pull q;
	struct buf text;
};

static void pulled(struct engine_ask *a, enum status st)
{
	struct reading *k = container_of(container_of(a, struct engine_pull, ask), struct reading, q);
	struct buf all = {0};
	struct record rec;

	for (unsigned i = 0; st == ST_OK && i < k->q.n_pieces; i++)
		buf_slice(&all, k->q.pieces[i].bytes);
	for (struct slice rest = buf_view(&all); rest.n > 0 && record_decode(rest, &rec) == ST_OK; rest = slice_skip(rest, rec.size)) {
		if (k->text.n > 0)
			buf_str(&k->text, " ");
		buf_slice(&k->text, rec.body);
	}
	buf_fini(&all);
}

char *mrig_bodies(struct mrig *r, const char *topic, int32_t queue)
{
	struct reading k = {.q = {.ask = {.done = pulled}, .actor = &actor, .topic = slice_str(topic), .queue = queue, .max_msgs = 100000,
		.max_bytes = 64u << 20, .has_expr = true, .commit = -1}};

	for (uint64_t from = UINT64_MAX; from != k.q.next;) {
		from = k.q.from = k.q.next;
		k.q.ask = (struct engine_ask){.done = pulled};
		engine_pull(r->e, &k.q);
		mrig_run(r, 20);
	}
	char *text = slice_dup(buf_view(&k.text));
	buf_fini(&k.text);
	return text;
}

/* ---- Clients ------------------------------------------------------------------------------------------------------------------------ */

void mclient_open(struct mrig *r, struct mclient *c, uint8_t version)
{
	static unsigned port = 40000;
	char peer[32];

	memset(c, 0, sizeof(*c));
	c->rig = r;
	c->version = version;
	snprintf(peer, sizeof(peer), "127.0.0.1:%u", ++port);
	fake_stream_open(&c->s, front_mqtt.stream, r->front, peer);
	c->s.real = true;
	c->s.room = front_mqtt.stream->out_max;
	list_push(&r->clients, &c->link);
}

void mclient_close(struct mclient *c)
{
	list_remove(&c->link);
	fake_stream_fini(&c->s);
	buf_fini(&c->frame);
	buf_fini(&c->text);
}

static void feed(struct mclient *c, struct slice bytes)
{
	if (!c->s.closed)
		fake_stream_feed(&c->s, bytes);
}

void mclient_bytes(struct buf *b, const char *script)
{
	struct slice rest = slice_str(script), one;
	char text[1024];

	while (slice_split(&rest, '|', &one)) {
		assert_true(one.n < sizeof(text));
		memcpy(text, one.p, one.n);
		text[one.n] = '\0';
		mqtt_bytes(b, text);
	}
}

void mclient_say(struct mclient *c, const char *script)
{
	struct buf b = {0};

	mclient_bytes(&b, script);
	feed(c, buf_view(&b));
	buf_fini(&b);
}

void mclient_put(struct mclient *c, const struct mqtt_packet *p)
{
	struct buf b = {0};

	assert_true(mqtt_put(&b, c->version, 0, p));
	feed(c, buf_view(&b));
	buf_fini(&b);
}

bool mclient_take_now(struct mclient *c)
{
	ptrdiff_t used;

	if (c->stalled || c->s.out.n == 0)
		return false;
	used = mqtt_next(buf_view(&c->s.out), c->version, 0, &c->p);
	if (used < 0)
		fail_msg("the server sent no packet: %s", c->p.why);
	if (used == 0)
		return false;
	buf_reset(&c->frame);
	buf_put(&c->frame, c->s.out.p, (size_t)used);
	buf_drop_front(&c->s.out, (size_t)used);
	assert_true(mqtt_next(buf_view(&c->frame), c->version, 0, &c->p) == used);
	if (!c->s.closed)
		fake_stream_taken(&c->s);
	return true;
}

bool mclient_take(struct mclient *c)
{
	if (mclient_take_now(c))
		return true;
	mrig_run(c->rig, 20);
	return mclient_take_now(c);
}

const char *mclient_next(struct mclient *c)
{
	buf_reset(&c->text);
	if (mclient_take(c))
		mqtt_show(&c->text, &c->p);
	else if (c->s.closed)
		buf_str(&c->text, "closed");
	return buf_cstr(&c->text);
}

void mclient_expect(struct mclient *c, const char *text)
{
	const char *got = mclient_next(c);

	if (strcmp(got, text) != 0)
		fail_msg("got      %s\nexpected %s", got, text);
}

void mclient_connect(struct mclient *c, const char *id, bool clean, uint32_t expiry_s)
{
	struct mqtt_packet p = {.type = MQTT_CONNECT, .clean_start = clean, .client_id = slice_str(id)};

	if (c->version == MQTT_5 && expiry_s > 0)
		MQTT_SET(&p.props, SESSION_EXPIRY, session_expiry, expiry_s);
	mclient_put(c, &p);
	if (!mclient_take(c) || c->p.type != MQTT_CONNACK || c->p.reason != 0)
		fail_msg("%s could not connect: %s", id, mclient_next(c));
}

void mclient_subscribe(struct mclient *c, const char *filter, uint8_t qos)
{
	struct mqtt_filter f = {.filter = slice_str(filter), .qos = qos};
	struct mqtt_packet p = {.type = MQTT_SUBSCRIBE, .id = ++c->id};
	struct buf list = {0};

	mqtt_put_filter(&list, MQTT_SUBSCRIBE, &f);
	p.list = buf_view(&list);
	mclient_put(c, &p);
	buf_fini(&list);
	if (!mclient_take(c) || c->p.type != MQTT_SUBACK || c->p.id != c->id || c->p.list.p[0] != (qos > 0))
		fail_msg("%s could not be subscribed to", filter);
}

void mclient_publish(struct mclient *c, const char *topic, const char *body, uint8_t qos, bool retain)
{
	struct mqtt_packet p = {.type = MQTT_PUBLISH, .qos = qos, .retain = retain, .topic = slice_str(topic), .payload = slice_str(body)};

	if (qos > 0)
		p.id = ++c->id;
	mclient_put(c, &p);
	if (qos > 0 && (!mclient_take(c) || c->p.type != MQTT_PUBACK || c->p.id != c->id || c->p.reason != 0))
		fail_msg("%s could not be published to: %s", topic, mclient_next(c));
	if (qos == 0)
		mrig_run(c->rig, 20);
}

void mclient_ack(struct mclient *c, uint16_t id)
{
	struct mqtt_packet p = {.type = MQTT_PUBACK, .id = id};

	mclient_put(c, &p);
}

struct mrig mrig;

int mrig_setup(void **state)
{
	(void)state;
	mrig_init(&mrig);
	mrig_open(&mrig);
	return 0;
}

int mrig_teardown(void **state)
{
	(void)state;
	mrig_fini(&mrig);
	return 0;
}
