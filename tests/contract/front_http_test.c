/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The contract of fronts, stamped on the HTTP interface: calls as a carrier makes them. Its consumers follow a group's event stream and settle by receipt;
 * a lease is short, so that one who hung up is missed soon.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/mem.h"
#include "base/obj.h"
#include "tests/contract/front.h"
#include "tests/lib/http_rig.h"

#define SENDS_MAX 512

struct http {
	struct http_rig rig;
	bool stopping;
};
struct client {
	struct front_peer base;
	struct http_call_rig *sends[SENDS_MAX]; /* in order */
	unsigned n_sends;
	struct http_call_rig *stream;
	struct http_call_rig *acks;
	char receipt[300];
};

static struct client *client_of(struct front_peer *p) { return container_of(p, struct client, base); }
static struct http_rig *rig(struct front_world *w) { return &((struct http *)w->front)->rig; }

static void start(struct front_world *w)
{
	w->front = mem_new(sizeof(struct http));
	http_rig_attach(rig(w), w->engine, &w->clock.base, &w->log.log, &w->conf);
}

static void turn(struct front_world *w)
{
	if (rig(w)->api != NULL)
		http_rig_attached_turn(rig(w), w->clock.ns);
}

static void drain(struct front_world *w) { http_api_drain(rig(w)->api); }

static void stop(struct front_world *w) { ((struct http *)w->front)->stopping = true; }

static bool stopped(struct front_world *w)
{
	struct http_rig *h = rig(w);

	if (h->api != NULL && http_api_idle(h->api) && engine_port_idle(h->port)) {
		http_rig_detach(h);
		h->api = NULL;
	}
	return h->api == NULL;
}

static void fini(struct front_world *w) { mem_free(w->front); }

static struct front_peer *connect_client(struct front_world *w)
{
	struct client *c = mem_new(sizeof(*c));

	c->base.w = w;
	return &c->base;
}

static void hang_up(struct front_peer *p)
{
	struct client *c = client_of(p);

	for (unsigned i = 0; i < c->n_sends; i++)
		http_rig_free(c->sends[i]);
	if (c->stream != NULL)
		http_rig_free(c->stream);
	if (c->acks != NULL)
		http_rig_free(c->acks);
	mem_free(c);
}

static bool is_open(struct front_peer *p)
{
	(void)p;
	return true; /* a connection is not the interface's */
}

static void publish(struct front_peer *p, const char *topic, struct slice body)
{
	struct client *c = client_of(p);
	char target[100];

	snprintf(target, sizeof(target), "/v1/topics/%s/messages?queue=0", topic);
	assert_true(c->n_sends < SENDS_MAX);
	c->sends[c->n_sends++] = http_rig_start(rig(p->w), "POST", target, NULL, body);
}

static enum front_said said(struct front_peer *p, unsigned *ret_code)
{
	struct client *c = client_of(p);

	if (c->n_sends == 0 || !c->sends[0]->over)
		return SAID_NOTHING;
	unsigned status = c->sends[0]->status;
	http_rig_free(c->sends[0]);
	memmove(c->sends, c->sends + 1, --c->n_sends * sizeof(c->sends[0]));
	if (ret_code != NULL)
		*ret_code = status;
	return status == 201 ? SAID_OK : SAID_ERROR;
}

static unsigned code(enum status st) { return front_statuses[st].http; }

static void subscribe(struct front_peer *p, const char *topic, const char *group)
{
	struct client *c = client_of(p);
	char target[160];

	snprintf(target, sizeof(target), "/v1/topics/%s/groups/%s/messages?ack=receipt&lease=3s", topic, group);
	c->stream = http_rig_start(rig(p->w), "GET", target, "accept: text/event-stream\n", (struct slice){NULL, 0});
	front_world_run(p->w, 200);
	assert_int_equal(c->stream->status, 200);
}

/* Takes one event off the stream's text. */
static bool received(struct front_peer *p, struct buf *body)
{
	struct client *c = client_of(p);
	struct buf *b = &c->stream->body;

	if (c->stream->stalled)
		return false;
	for (;;) {
		uint8_t *end = b->n < 2 ? NULL : memmem(b->p, b->n, "\n\n", 2);
		if (end == NULL)
			return false;
		struct slice event = slice_of(b->p, (size_t)(end - b->p)), line;
		bool got = false;
		while (slice_split(&event, '\n', &line)) {
			if (!slice_starts(line, SLICE_LIT("data: ")))
				continue;
			json_t *j = json_loadb((const char *)line.p + 6, line.n - 6, JSON_ALLOW_NUL, NULL);
			assert_non_null(j);
			const json_t *text = json_object_get(j, "body");
			buf_put(body, json_string_value(text), json_string_length(text));
			snprintf(c->receipt, sizeof(c->receipt), "%s", json_string_value(json_object_get(j, "receipt")));
			json_decref(j);
			got = true;
		}
		buf_drop_front(b, (size_t)(end - b->p) + 2);
		if (got)
			return true;
	}
}

static void settle(struct front_peer *p)
{
	struct client *c = client_of(p);
	char target[400];

	if (c->acks != NULL)
		http_rig_free(c->acks);
	snprintf(target, sizeof(target), "/v1/receipts/ack?receipt=%s", c->receipt);
	c->acks = http_rig_start(rig(p->w), "POST", target, NULL, (struct slice){NULL, 0});
}

static void stall(struct front_peer *p, bool stalled) { client_of(p)->stream->stalled = stalled; }

static size_t queued(struct front_peer *p) { return client_of(p)->stream->queued.n; }

static void request(struct front_peer *p, struct buf *to)
{
	(void)p;
	buf_reset(to); /* a carrier hands in whole requests only */
}

/* What may be anything in a whole request: its query, and its body. */
static void raw(struct front_peer *p, struct slice bytes)
{
	struct client *c = client_of(p);
	struct buf target = {0};

	buf_str(&target, "/v1/topics/orders/messages?");
	for (size_t i = 0; i < bytes.n && i < 100; i++)
		buf_u8(&target, bytes.p[i] == 0 ? '0' : bytes.p[i]);
	c->sends[c->n_sends++] = http_rig_start(rig(p->w), "POST", buf_cstr(&target), "content-type: application/json\n", bytes);
	buf_reset(&target);
	buf_str(&target, "/");
	for (size_t i = 0; i < bytes.n; i++)
		buf_u8(&target, bytes.p[i] == 0 ? '0' : bytes.p[i]);
	c->sends[c->n_sends++] = http_rig_start(rig(p->w), "GET", buf_cstr(&target), NULL, bytes);
	c->sends[c->n_sends++] = http_rig_start(rig(p->w), "POST", "/v1/receipts/ack", "content-type: text/plain\n", bytes);
	buf_fini(&target);
}

static const struct front_kind kind = {
	.name = "http", .start = start, .turn = turn, .drain = drain, .stop = stop, .stopped = stopped, .fini = fini, .connect = connect_client,
	.hang_up = hang_up, .is_open = is_open, .publish = publish, .said = said, .code = code, .subscribe = subscribe, .received = received,
	.settle = settle, .stall = stall, .queued = queued, .request = request, .raw = raw,
};

int main(void)
{
	const struct CMUnitTest tests[] = {FRONT_CONTRACT_TESTS()};

	front_kind_under_test = &kind;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
