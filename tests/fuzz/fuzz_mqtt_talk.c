/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * MQTT conversations of three clients with the front, over the real engine on a disk in memory. An input is a script: packets made from a few names, so that
 * what one client says meets what another has said; bytes as they stand; hang-ups, clients that do not read, time, topics that come and go, cells that somebody else
 * wrote, a disk that fails, and the front's own end and start. Whatever comes: each packet that goes out is one that the client can read and has asked for, no more is
 * under way than it allows, answers come in order, and in the end nothing is left. Each input has a world of its own.
 */
#include "base/mem.h"
#include "base/obj.h"
#include "front/mqtt/codec.h"
#include "front/mqtt/mqtt.h"
#include "tests/lib/fake_stream.h"
#include "tests/lib/memdisk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENTS = 3, STEPS_MAX = 150, OWED_MAX = 64, GOT_MAX = 64, TURNS_MAX = 20000 };

static const char *const names[] = {"t/a", "t/b", "t", "u/a/b", "$s/a", "t/", "%RETRY%g/x", "t/a/b/c", "v", "\xc3\xa9/a", "t//b", "+"};
static const char *const filters[] = {"t/a", "t/+", "#", "t/#", "+/a", "u/a/b", "$s/#", "+/+/#", "$share/g/t/+", "t/#/x", "v", "\xc3\xa9/+", "/", "t//b"};
static const char *const ids[] = {"one", "two", "", "three"};
static const char *const topics[] = {"t", "u", "v", "w"};

struct client {
	struct fake_stream s;
	bool open, greeted, raw, stalled;
	uint8_t version;
	uint16_t id;                    /* last used */
	uint16_t receive_max;           /* 0: 65535 */
	uint32_t max_packet;            /* 0: any */
	struct {
		uint8_t type;
		uint16_t id;
		unsigned n;             /* filters */
	} owed[OWED_MAX];               /* answers that are due, in the order they may come */
	unsigned n_owed;
	uint16_t got[GOT_MAX];              /* identifiers of messages that were not acknowledged, in order */
	unsigned n_got;
};
static struct world {
	struct memdisk disk;
	struct testlog log;
	struct clock clock;
	struct prng prng;
	uint64_t ns;
	struct engine *e;
	struct front_conf conf;
	void *front;
	bool stopped;
	unsigned asks;                  /* of ours */
	struct client clients[CLIENTS];
} w;

static uint64_t mono(struct clock *c) { (void)c; return w.ns; }
static int64_t wall(struct clock *c) { (void)c; return 1700000000000 + (int64_t)(w.ns / MS_NS); }
static const struct clock_ops clock_ops = {mono, wall};
static struct actor actor = {.front = "test"};
static void random_bytes(void *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = (uint8_t)prng_u64(&w.prng);
}
static void on_stopped(void *arg) { *(bool *)arg = true; }

/* ---- The input ------------------------------------------------------------------------------------------------------------------------------- */

static struct slice in;

static unsigned take(void)
{
	unsigned v = in.n == 0 ? 0 : in.p[0];

	in = slice_skip(in, u64_min(in.n, 1));
	return v;
}

static struct slice take_some(size_t max)
{
	size_t n = u64_min(take() % (max + 1), in.n);
	struct slice some = slice_of(in.p, n);

	in = slice_skip(in, n);
	return some;
}

#define PICK(table) slice_str((table)[take() % ARRAY_LEN(table)])

/* ---- What comes out ---------------------------------------------------------------------------------------------------------------------------- */

static void owe(struct client *c, uint8_t type, uint16_t id, unsigned n)
{
	if (c->n_owed == OWED_MAX) {
		c->raw = true;
		return;
	}
	c->owed[c->n_owed].type = type;
	c->owed[c->n_owed].id = id;
	c->owed[c->n_owed++].n = n;
}

static void forget(struct client *c, unsigned i)
{
	memmove(&c->got[i], &c->got[i + 1], (c->n_got - i - 1) * sizeof(c->got[0]));
	c->n_got--;
}

static void got_publish(struct client *c, const struct mqtt_packet *p)
{
	CHECK(p->qos <= 1 && p->topic.n > 0 && mqtt_topic_valid(p->topic) && !mqtt_has(&p->props, MQTT_P_TOPIC_ALIAS));
	CHECK(p->qos == 1 || !p->dup);
	if (p->qos == 0 || c->raw)
		return;
	for (unsigned i = 0; i < c->n_got; i++)
		CHECK(c->got[i] != p->id);
	CHECK(c->n_got < GOT_MAX);
	c->got[c->n_got++] = p->id;
	CHECK(c->receive_max == 0 || c->n_got <= c->receive_max);
}

/* An answer is the first of its kind that is due; those of PUBLISH, and those of SUBSCRIBE and UNSUBSCRIBE, come in order among themselves. */
static void got_answer(struct client *c, const struct mqtt_packet *p)
{
	bool ack = p->type == MQTT_PUBACK;

	if (c->raw)
		return;
	for (unsigned i = 0; i < c->n_owed; i++) {
		if ((c->owed[i].type == MQTT_PUBACK) != ack)
			continue;
		CHECK(c->owed[i].type == p->type && c->owed[i].id == p->id);
		CHECK(ack || (p->type == MQTT_UNSUBACK && c->version == MQTT_3_1_1) || p->list.n == c->owed[i].n);
		memmove(&c->owed[i], &c->owed[i + 1], (c->n_owed - i - 1) * sizeof(c->owed[0]));
		c->n_owed--;
		return;
	}
	CHECK(!"an answer that nobody asked for");
}

static void got(struct client *c, const struct mqtt_packet *p)
{
	/* Who sends bytes as they stand may have said anything, another CONNECT first too. */
	CHECK(c->raw || c->greeted == (p->type != MQTT_CONNACK));
	switch (p->type) {
	case MQTT_CONNACK: c->greeted = true; break;
	case MQTT_PUBLISH: got_publish(c, p); break;
	case MQTT_PUBACK:
	case MQTT_SUBACK:
	case MQTT_UNSUBACK: got_answer(c, p); break;
	case MQTT_PINGRESP: break;
	case MQTT_DISCONNECT: CHECK(c->version == MQTT_5 || c->raw); break;
	default: CHECK(!"a packet that no server of ours sends");
	}
}

static void look(struct client *c)
{
	struct mqtt_packet p;

	while (c->open && !c->stalled && c->s.out.n > 0) {
		ptrdiff_t n = mqtt_next(buf_view(&c->s.out), c->version, c->max_packet, &p);
		/* Bytes as they stand may have been a CONNECT of another version. */
		if (n <= 0 && c->raw && !c->greeted && c->version == MQTT_5) {
			c->version = MQTT_3_1_1;
			continue;
		}
		CHECK(n > 0);
		got(c, &p);
		buf_drop_front(&c->s.out, (size_t)n);
		if (!c->s.closed)
			fake_stream_taken(&c->s);
	}
}

/* ---- The world --------------------------------------------------------------------------------------------------------------------------------- */

static uint64_t turn(void)
{
	uint64_t due = NEVER;

	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *c = &w.clients[i];
		if (c->open && !c->s.closed)
			fake_stream_step(&c->s);
		if (c->open && !c->s.closed)
			due = u64_min(due, u64_max(c->s.ops->turn(c->s.conn, w.ns), w.ns + MS_NS));
		look(c);
	}
	if (!w.stopped)
		due = u64_min(due, front_mqtt.turn(w.front, w.ns));
	due = u64_min(due, engine_turn(w.e));
	memdisk_run(&w.disk);
	if (!w.stopped)
		due = u64_min(due, front_mqtt.flush(w.front, w.ns));
	return due;
}

static void run(uint64_t ms)
{
	uint64_t end = w.ns + ms * MS_NS;

	for (unsigned i = 0; i < TURNS_MAX; i++) {
		uint64_t due = turn();
		if (due <= w.ns)
			w.ns++;
		else if (w.ns >= end)
			return;
		else
			w.ns = u64_min(due, end);
	}
	CHECK(!"no rest");
}

static void start_front(void)
{
	struct front_env env = {.engine = w.e, .clock = &w.clock, .log = &w.log.log, .conf = &w.conf, .random = random_bytes};

	w.front = mem_new(front_mqtt.size);
	w.stopped = false;
	CHECK(front_mqtt.start(w.front, &env) == ST_OK);
}

static void open_world(void)
{
	struct engine_env env = {&w.clock, &w.disk.disk, &w.prng, &w.log.log};
	struct engine_conf ec;
	char why[256] = "";

	memset(&w, 0, sizeof(w));
	memdisk_init(&w.disk);
	testlog_init(&w.log);
	w.log.log.level = LOG_ERROR;
	w.clock.ops = &clock_ops;
	w.ns = SEC_NS;
	prng_init(&w.prng, 5);
	engine_conf_default(&ec);
	ec.segment_bytes = 64u << 10;
	ec.block_bytes = 4096;
	ec.max_message = 4096;
	ec.ahead_bytes = ec.unsynced_bytes = 48u << 10;
	ec.cache_bytes = 32u << 10;
	ec.max_topics = ec.max_groups = 32;
	CHECK(engine_open(&w.e, &env, &ec, why, sizeof(why)) == ST_OK);
	w.conf = (struct front_conf){
		.max_message = ec.max_message, .default_queues = 2, .auto_create_topic = true, .mqtt_max_packet = 2048, .mqtt_max_inflight = 4,
		.mqtt_max_sessions = 2, .mqtt_max_subs = 5, .mqtt_max_queues = 6, .mqtt_max_retained = 3, .mqtt_session_ms = 600000, .mqtt_topics = SLICE_LIT("u/#=v"),
	};
	memcpy(w.conf.delay_ms, ec.delay_ms, sizeof(w.conf.delay_ms));
	start_front();
}

static void hang_up(struct client *c)
{
	if (c->open)
		fake_stream_fini(&c->s);
	c->open = false;
}

static void stop_front(void)
{
	front_mqtt.drain(w.front);
	front_mqtt.stop(w.front, on_stopped, &w.stopped);
	for (unsigned i = 0; i < 400 && !w.stopped; i++)
		run(10);
	/* Nobody waits for a client that reads nothing: the process hangs up. */
	for (unsigned i = 0; i < CLIENTS; i++)
		hang_up(&w.clients[i]);
	for (unsigned i = 0; i < 400 && !w.stopped; i++)
		run(10);
	CHECK(w.stopped);
	mem_free(w.front);
}

/* ---- What clients say ---------------------------------------------------------------------------------------------------------------------- */

static void feed(struct client *c, struct slice bytes)
{
	if (!c->open) {
		memset(c, 0, sizeof(*c));
		fake_stream_open(&c->s, front_mqtt.stream, w.front, "127.0.0.1:40000");
		c->s.real = true;
		c->s.room = front_mqtt.stream->out_max;
		c->open = true;
		c->version = MQTT_5;
	}
	if (!c->s.closed)
		fake_stream_feed(&c->s, bytes);
}

static void put(struct client *c, const struct mqtt_packet *p)
{
	struct buf b = {0};

	if (mqtt_put(&b, c->open ? c->version : p->version, 0, p))
		feed(c, buf_view(&b));
	buf_fini(&b);
}

static void say_connect(struct client *c)
{
	unsigned how = take();
	struct mqtt_packet p = {.type = MQTT_CONNECT, .version = how & 1 ? MQTT_5 : MQTT_3_1_1, .clean_start = how & 2, .client_id = PICK(ids),
		.keep_alive = how & 4 ? 10 : 0};

	if (c->open && !c->s.closed)
		c->raw = true; /* a second one */
	if (c->s.closed)
		hang_up(c);
	if (how & 8)
		MQTT_SET(&p.props, SESSION_EXPIRY, session_expiry, how & 16 ? UINT32_MAX : 60);
	if (how & 32)
		MQTT_SET(&p.props, RECEIVE_MAX, receive_max, (uint16_t)(1 + take() % 4));
	if (how & 64)
		MQTT_SET(&p.props, MAX_PACKET, max_packet, 100 + take());
	if (how & 128) {
		unsigned will = take();
		p.has_will = true;
		p.will = (struct mqtt_will){.retain = will & 1, .qos = will >> 1 & 1, .topic = PICK(names), .payload = slice_str("will")};
		if (will & 4)
			MQTT_SET(&p.will.props, WILL_DELAY, will_delay, will >> 3);
		if (mqtt_has_wildcard(p.will.topic))
			p.will.topic = slice_str("t/a");
	}
	if (!c->open) {
		feed(c, slice_of(NULL, 0));
		c->version = p.version;
		if (p.version == MQTT_5) {
			c->receive_max = p.props.receive_max;
			c->max_packet = p.props.max_packet;
		}
	}
	put(c, &p);
}

static void say_subscribe(struct client *c, enum mqtt_type type)
{
	struct mqtt_packet p = {.type = type, .version = MQTT_5, .id = ++c->id != 0 ? c->id : ++c->id};
	struct buf list = {0};
	unsigned n = 1 + take() % 3;

	for (unsigned i = 0; i < n; i++) {
		unsigned how = type == MQTT_SUBSCRIBE ? take() : 0;
		struct mqtt_filter f = {.filter = PICK(filters), .qos = how % 3};
		if (type == MQTT_SUBSCRIBE && c->version == MQTT_5) {
			f.no_local = (how & 4) != 0 && !slice_starts(f.filter, SLICE_LIT("$share"));
			f.retain_as_published = how & 8;
			f.retain_handling = (how >> 4 & 3) % 3;
			if (how & 64)
				MQTT_SET(&p.props, SUB_ID, sub_id, 1 + (how >> 7));
		}
		mqtt_put_filter(&list, type, &f);
	}
	p.list = buf_view(&list);
	owe(c, type == MQTT_SUBSCRIBE ? MQTT_SUBACK : MQTT_UNSUBACK, p.id, n);
	put(c, &p);
	buf_fini(&list);
}

static void say_publish(struct client *c)
{
	unsigned how = take();
	struct mqtt_packet p = {.type = MQTT_PUBLISH, .version = MQTT_5, .qos = how % 3, .retain = how & 4, .topic = PICK(names)};

	if (p.qos > 0)
		p.id = ++c->id != 0 ? c->id : ++c->id;
	if (how & 8)
		p.payload = take_some(200);
	if (how & 16)
		MQTT_SET(&p.props, TOPIC_ALIAS, topic_alias, (uint16_t)(1 + take() % 17));
	if (how & 32)
		MQTT_SET(&p.props, MESSAGE_EXPIRY, message_expiry, take());
	if ((how & 80) == 80)
		p.topic = slice_of(NULL, 0);
	p.dup = p.qos > 0 && (how & 128);
	if (p.qos == 1)
		owe(c, MQTT_PUBACK, p.id, 0);
	put(c, &p);
}

static void say_ack(struct client *c, unsigned which)
{
	struct mqtt_packet p = {.type = MQTT_PUBACK, .version = MQTT_5, .id = (uint16_t)which};

	if (c->n_got > 0 && which < 200) {
		p.id = c->got[which % c->n_got];
		forget(c, which % c->n_got);
	} else {
		c->raw = true;
	}
	put(c, &p);
}

static void say_disconnect(struct client *c)
{
	unsigned how = take();
	struct mqtt_packet p = {.type = MQTT_DISCONNECT, .version = MQTT_5, .reason = how & 1 ? MQTT_LEAVE_WITH_WILL : MQTT_OK};

	if (how & 2)
		MQTT_SET(&p.props, SESSION_EXPIRY, session_expiry, how >> 2);
	put(c, &p);
}

/* ---- What else happens ------------------------------------------------------------------------------------------------------------------------- */

static void answered(struct engine_ask *a, enum status st)
{
	(void)st;
	w.asks--;
	mem_free(a); /* each request begins with it */
}

#define ASK(verb, kind, ...) \
	do { \
		struct kind *q_ = mem_new(sizeof(*q_)); \
		*q_ = (struct kind){.ask = {.done = answered}, .actor = &actor, __VA_ARGS__}; \
		w.asks++; \
		verb(w.e, q_); \
	} while (0)

/* Sessions and retained messages that are damaged, or that another release wrote; the front reads them when it starts. */
static void foreign_cell(void)
{
	unsigned how = take();
	struct slice name = how & 1 ? PICK(ids) : PICK(names), value = take_some(120);

	ASK(engine_cell_put, engine_cell, .space = how & 1 ? SLICE_LIT("mqtt-session") : SLICE_LIT("mqtt-retained"), .name = name, .value = value,
		.drop = (how & 6) == 6);
}

static void other_front(void)
{
	unsigned how = take();
	struct slice topic = PICK(topics), props = how & 4 ? take_some(60) : slice_of(NULL, 0);

	switch (how & 3) {
	case 0: ASK(engine_topic_drop, engine_topic, .name = topic); break;
	case 1: ASK(engine_topic_put, engine_topic, .name = topic, .conf = {.read_queues = 1 + (how >> 6), .write_queues = 1, .perm = PERM_READ | PERM_WRITE}); break;
	default:
		ASK(engine_send, engine_send, .msg = {.topic = topic, .body = SLICE_LIT("body"), .props = props, .queue = -1, .max_reconsume = -1,
			.flag = how & 8 ? 0x4d510000 | (int32_t)(how >> 4) : 0}, .default_topic = SLICE_LIT("TBW102"), .default_queues = 2);
	}
}

static void step(void)
{
	unsigned what = take();
	struct client *c = &w.clients[what % CLIENTS];

	switch (what / CLIENTS % 18) {
	case 0: c->raw = true; feed(c, take_some(100)); break;
	case 1:
	case 2: say_connect(c); break;
	case 3:
	case 4: say_subscribe(c, MQTT_SUBSCRIBE); break;
	case 5: say_subscribe(c, MQTT_UNSUBSCRIBE); break;
	case 6:
	case 7:
	case 8: say_publish(c); break;
	case 9: say_ack(c, take()); break;
	case 10: say_disconnect(c); break;
	case 11: hang_up(c); break;
	case 12: c->stalled = !c->stalled; break;
	case 13: run((uint64_t)take() * take()); break;
	case 14: foreign_cell(); break;
	case 15: other_front(); break;
	case 16:
		if (take() % 4 == 0)
			w.disk.write_fails = w.disk.sync_fails = ST_IO;
		break;
	default:
		stop_front();
		start_front();
	}
	run(take() % 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	in = slice_of(data, size);
	open_world();
	for (unsigned i = 0; i < STEPS_MAX && in.n > 0; i++)
		step();
	stop_front();
	for (unsigned i = 0; i < 1000 && w.asks > 0; i++)
		run(1);
	CHECK(w.asks == 0);
	engine_abandon(w.e);
	memdisk_fini(&w.disk);
	return 0;
}
