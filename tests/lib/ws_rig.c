/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/lib/ws_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "front/websocket/websocket.h"
#include "front/websocket/ws.h"

#define ROOM (64u << 10)

struct ws_rig {
	void *front;
	bool stopped;
};
struct note {
	struct list link;
	size_t n;
	const uint8_t *p;
	struct blob *blob; /* owns p */
};

static void push(struct list *to, const struct piece *v)
{
	struct note *m = mem_new(sizeof(*m));

	m->blob = v->blob != NULL ? blob_hold(v->blob) : blob_copy(v->bytes);
	m->p = v->blob != NULL ? v->bytes.p : m->blob->p;
	m->n = v->bytes.n;
	list_push(to, &m->link);
}

static void note_free(struct note *m)
{
	blob_drop(m->blob);
	mem_free(m);
}

static void drop_all(struct list *l)
{
	struct list *n;

	while ((n = list_pop(l)) != NULL)
		note_free(container_of(n, struct note, link));
}

/* ---- The carrier ------------------------------------------------------------------------------------------------------------------- */

static struct ws_client *client(struct stream *s) { return container_of(s, struct ws_client, stream); }

static void out_send(struct stream *s, const struct piece *v, unsigned n)
{
	struct ws_client *c = client(s);

	CHECK(!c->closed && n == 1);
	if (c->close_asked)
		return;
	push(&c->out, v);
	c->out_bytes += v->bytes.n;
	c->peak = c->out_bytes > c->peak ? c->out_bytes : c->peak;
}

static size_t out_room(struct stream *s)
{
	struct ws_client *c = client(s);

	if (c->out_bytes < c->room)
		return c->room - c->out_bytes;
	c->full = true;
	return 0;
}

static void out_pause(struct stream *s, bool pause) { client(s)->paused = pause; }

static void out_close(struct stream *s, int code, const char *reason)
{
	struct ws_client *c = client(s);

	CHECK(!c->closed);
	c->close_asked = true;
	c->code = code;
	snprintf(c->reason, sizeof(c->reason), "%s", reason == NULL ? "" : reason);
}

static const struct stream_out_ops out_ops = {out_send, out_room, out_pause, out_close};

void ws_step(struct ws_client *c)
{
	while (!c->closed && !c->close_asked && !c->paused && !list_empty(&c->in)) {
		struct note *m = container_of(list_pop(&c->in), struct note, link);
		uint8_t *copy = malloc(m->n + 1);
		CHECK(copy != NULL);
		memcpy(copy, m->p, m->n);
		copy[m->n] = '!';
		assert_int_equal(ws_json_stream.input(c->conn, slice_of(copy, m->n)), m->n);
		free(copy);
		note_free(m);
	}
	if (c->full && !c->close_asked && !c->closed && c->out_bytes <= c->room / 2) {
		c->full = false;
		ws_json_stream.drained(c->conn);
	}
	if (c->close_asked && !c->closed) {
		c->closed = true;
		ws_json_stream.closed(c->conn, ST_OK);
		mem_free(c->conn);
		c->conn = NULL;
	}
}

struct ws_client *ws_connect(struct front_world *w)
{
	struct ws_client *c = mem_new(sizeof(*c));
	struct stream_info info = {.peer = SLICE_LIT("127.0.0.1:40000"), .peer_ip = 0x7f000001, .peer_port = 40000, .subprotocol = SLICE_LIT(WS_SUBPROTOCOL)};

	c->base.w = w;
	c->stream.out = &out_ops;
	c->room = ROOM;
	list_init(&c->in);
	list_init(&c->out);
	c->conn = mem_new(ws_json_stream.conn_size);
	ws_json_stream.opened(c->conn, ws_front(w), &c->stream, &info);
	if (!c->close_asked) {
		json_t *m = ws_next(c);
		assert_non_null(m);
		assert_string_equal(ws_text(m, "type"), "welcome");
	}
	return c;
}

void ws_hang_up(struct ws_client *c)
{
	if (!c->closed) {
		c->closed = true;
		ws_json_stream.closed(c->conn, ST_OK);
		mem_free(c->conn);
	}
	drop_all(&c->in);
	drop_all(&c->out);
	json_decref(c->got);
	mem_free(c);
}

/* ---- Talking ---------------------------------------------------------------------------------------------------------------------------- */

void ws_say_bytes(struct ws_client *c, struct slice bytes)
{
	if (c->closed || c->close_asked)
		return;
	push(&c->in, &(struct piece){bytes, NULL});
	ws_step(c);
}

void ws_say(struct ws_client *c, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	CHECK(n >= 0);
	ws_say_bytes(c, slice_of(text, (size_t)n));
	free(text);
}

json_t *ws_next(struct ws_client *c)
{
	json_error_t err;
	struct list *n = c->stalled ? NULL : list_pop(&c->out);

	json_decref(c->got);
	c->got = NULL;
	if (n == NULL)
		return NULL;
	struct note *m = container_of(n, struct note, link);
	c->out_bytes -= m->n;
	snprintf(c->text, sizeof(c->text), "%.*s", (int)m->n, (const char *)m->p);
	c->got = json_loadb((const char *)m->p, m->n, JSON_ALLOW_NUL, &err);
	if (c->got == NULL || !json_is_object(c->got))
		fail_msg("not a JSON object: %s: %s", err.text, c->text);
	note_free(m);
	return c->got;
}

json_t *ws_expect(struct ws_client *c, const char *type)
{
	json_t *j = NULL;

	for (unsigned i = 0; i < 2000 && (j = ws_next(c)) == NULL; i++) {
		front_world_run(c->base.w, 5);
		ws_step(c);
	}
	if (j == NULL)
		fail_msg("nothing came where %s was expected", type);
	if (type[0] != '\0' && strcmp(ws_text(j, "type"), type) != 0)
		fail_msg("%s came where %s was expected", c->text, type);
	return j;
}

void ws_expect_nothing(struct ws_client *c, uint64_t ms)
{
	front_world_run(c->base.w, ms);
	ws_step(c);
	if (ws_next(c) != NULL)
		fail_msg("%s came where nothing should", c->text);
}

void ws_expect_error(struct ws_client *c, enum status st)
{
	json_t *j = ws_expect(c, "error");

	if (strcmp(ws_text(j, "code"), status_name(st)) != 0)
		fail_msg("%s came where %s was expected", c->text, status_name(st));
	assert_int_equal(ws_number(j, "status"), front_statuses[st].http);
	assert_true(strlen(ws_text(j, "detail")) > 0);
	assert_true(json_is_boolean(json_object_get(j, "retry")));
}

void ws_expect_bye(struct ws_client *c, int code, bool reconnect)
{
	json_t *j = ws_expect(c, "bye");

	assert_int_equal(json_is_true(json_object_get(j, "reconnect")), reconnect);
	assert_int_equal(ws_number(j, "retryAfter") > 0, reconnect);
	assert_int_equal(c->code, code);
	ws_step(c);
	assert_true(c->closed);
}

const char *ws_text(const json_t *j, const char *name)
{
	const char *s = json_string_value(json_object_get(j, name));

	return s == NULL ? "(absent)" : s;
}

json_int_t ws_number(const json_t *j, const char *name)
{
	const json_t *v = json_object_get(j, name);

	return json_is_integer(v) ? json_integer_value(v) : -1;
}

/* ---- The front as a kind of front ---------------------------------------------------------------------------------------------------------- */

static void start(struct front_world *w)
{
	struct ws_rig *r = mem_new(sizeof(*r));

	r->front = mem_new(front_websocket.size);
	w->front = r;
	assert_int_equal(front_websocket.start(r->front, &w->env), ST_OK);
	front_websocket.open(r->front);
}

struct ws *ws_front(struct front_world *w) { return ((struct ws_rig *)w->front)->front; }

static void turn(struct front_world *w)
{
	front_websocket.turn(ws_front(w), w->clock.ns);
	front_websocket.flush(ws_front(w), w->clock.ns);
}

static void drain(struct front_world *w) { front_websocket.drain(ws_front(w)); }
static void on_stopped(void *arg) { ((struct ws_rig *)arg)->stopped = true; }
static void stop(struct front_world *w) { front_websocket.stop(ws_front(w), on_stopped, w->front); }
static bool stopped(struct front_world *w) { return ((struct ws_rig *)w->front)->stopped; }

static void fini(struct front_world *w)
{
	mem_free(ws_front(w));
	mem_free(w->front);
}

static struct ws_client *client_of(struct front_peer *p) { return container_of(p, struct ws_client, base); }
static struct front_peer *connect_client(struct front_world *w) { return &ws_connect(w)->base; }
static void hang_up(struct front_peer *p) { ws_hang_up(client_of(p)); }
static bool is_open(struct front_peer *p) { return !client_of(p)->closed; }

static void publish(struct front_peer *p, const char *topic, struct slice body)
{
	struct buf b = {0};

	buf_fmt(&b, "{\"type\":\"publish\",\"id\":1,\"topic\":\"%s\",\"body\":", topic);
	buf_json_str(&b, body);
	buf_str(&b, "}");
	ws_say_bytes(client_of(p), buf_view(&b));
	buf_fini(&b);
}

/* Answers are taken note of; a message stays the next one. True: one came. */
static bool read_on(struct ws_client *c, struct buf *body)
{
	json_t *j;

	ws_step(c);
	while ((j = ws_next(c)) != NULL) {
		const char *type = ws_text(j, "type");
		if (strcmp(type, "published") == 0) {
			c->answers.ok++;
		} else if (strcmp(type, "error") == 0) {
			c->answers.errors++;
			c->answers.code = (unsigned)ws_number(j, "status");
		} else if (strcmp(type, "message") == 0 && body != NULL) {
			const json_t *v = json_object_get(j, "body");
			buf_put(body, json_string_value(v), json_string_length(v));
			c->seq = (uint64_t)ws_number(j, "seq");
			return true;
		}
	}
	return false;
}

static enum front_said said(struct front_peer *p, unsigned *ret_code)
{
	struct ws_client *c = client_of(p);

	(void)read_on(c, NULL);
	return front_next_answer(&c->answers, c->closed, ret_code);
}

static unsigned code(enum status st) { return front_statuses[st].http; }

static void subscribe(struct front_peer *p, const char *topic, const char *group)
{
	struct ws_client *c = client_of(p);

	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"%s\",\"group\":\"%s\",\"from\":\"latest\",\"credit\":64}", topic, group);
	ws_expect(c, "subscribed");
}

static bool received(struct front_peer *p, struct buf *body) { return read_on(client_of(p), body); }

static void settle(struct front_peer *p)
{
	struct ws_client *c = client_of(p);

	ws_say(c, "{\"type\":\"ack\",\"sub\":\"s\",\"seq\":%llu}", (unsigned long long)c->seq);
}

static void stall(struct front_peer *p, bool stalled)
{
	struct ws_client *c = client_of(p);

	c->stalled = stalled;
	ws_step(c);
}

static size_t queued(struct front_peer *p) { return client_of(p)->out_bytes; }

static void request(struct front_peer *p, struct buf *to)
{
	(void)p;
	buf_str(to, "{\"type\":\"publish\",\"id\":1,\"topic\":\"orders\",\"tag\":\"a\",\"properties\":{\"k\":\"v\"},\"body\":\"cut\"}");
}

static void raw(struct front_peer *p, struct slice bytes)
{
	ws_say_bytes(client_of(p), bytes);
	ws_step(client_of(p));
}

const struct front_kind ws_front_kind = {
	"websocket", start, turn, drain, stop, stopped, fini, connect_client, hang_up, is_open, publish, said, code, subscribe, received, settle, stall, queued,
	request, raw, false,
};

void ws_put_topic(struct front_world *w, const char *name, uint32_t queues)
{
	static struct actor me = {.front = "test"};
	struct engine_topic t = {.actor = &me, .name = slice_str(name), .conf = {.read_queues = queues, .write_queues = queues, .perm = PERM_READ | PERM_WRITE}};

	engine_topic_put(w->engine, &t);
	front_world_run(w, 200);
	assert_int_equal(t.ask.status, ST_OK);
}

void ws_put(struct ws_client *c, const char *topic, const char *body)
{
	ws_say(c, "{\"type\":\"publish\",\"id\":\"p\",\"topic\":\"%s\",\"body\":\"%s\"}", topic, body);
	ws_expect(c, "published");
}

void ws_put_numbers(struct ws_client *c, const char *topic, unsigned from, unsigned to)
{
	char body[16];

	for (unsigned i = from; i < to; i++) {
		snprintf(body, sizeof(body), "%u", i);
		ws_put(c, topic, body);
	}
}
