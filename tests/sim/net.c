/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The simulated network. */
#include "tests/sim/net.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/obj.h"

struct sim_message {
	struct list link;
	size_t n;
	uint8_t bytes[];
};

static const struct stream_out_ops out_ops;

static struct sim_conn *conn_of(struct stream *s)
{
	struct sim_conn *c = container_of(s, struct sim_conn, base);

	CHECK(s->out == &out_ops);
	return c;
}

static uint64_t delay(struct sim_net *n)
{
	if (n->conf.exact)
		return 0;
	return n->conf.latency_min_ns + prng_below(&n->prng, n->conf.latency_max_ns - n->conf.latency_min_ns + 1);
}

static size_t chunk(struct sim_net *n, size_t have)
{
	size_t most = n->conf.chunk_max == 0 || have < n->conf.chunk_max ? have : n->conf.chunk_max;

	if (n->conf.tiny_permille > 0 && have > 0 && prng_below(&n->prng, 1000) < n->conf.tiny_permille)
		return 1;
	return n->conf.exact || most == 0 ? have : 1 + prng_below(&n->prng, most);
}

static bool breaks(struct sim_conn *c)
{
	struct sim_net *n = c->net;

	n->deliveries++;
	if (n->conf.cut_per_million == 0 || prng_below(&n->prng, 1000000) >= n->conf.cut_per_million)
		return false;
	n->cuts++;
	sim_conn_cut(c);
	return true;
}

static void later(struct sim_conn *c, struct sim_event *e, uint64_t in_ns)
{
	if (!c->closed && !heap_has(&e->node))
		sim_event_set(c->net->clock, e, in_ns);
}

static void conn_free(struct sim_conn *c)
{
	struct list *n;

	sim_event_stop(c->net->clock, &c->in_event);
	sim_event_stop(c->net->clock, &c->out_event);
	sim_event_stop(c->net->clock, &c->turn_event);
	sim_event_stop(c->net->clock, &c->close_event);
	while ((n = list_pop(&c->messages)) != NULL)
		mem_free(container_of(n, struct sim_message, link));
	list_remove(&c->link);
	buf_fini(&c->in);
	buf_fini(&c->out);
	buf_fini(&c->offered);
	mem_free(c->conn);
	mem_free(c);
}

/* Both sides hear of the end, once. */
static void conn_end(struct sim_conn *c, bool tell_peer)
{
	CHECK(!c->closed);
	c->closed = true;
	c->ops->closed(c->conn, c->why);
	if (tell_peer && !c->hungup && c->peer->closed != NULL)
		c->peer->closed(c->peer);
	conn_free(c);
}

static void close_fire(struct sim_event *e)
{
	conn_end(container_of(e, struct sim_conn, close_event), true);
}

static void end_soon(struct sim_conn *c, enum status why)
{
	if (heap_has(&c->close_event.node))
		return;
	c->closing = true;
	c->why = why;
	later(c, &c->close_event, 0);
}

void sim_conn_cut(struct sim_conn *c)
{
	buf_reset(&c->out);
	end_soon(c, ST_IO);
}

/* ---- To the protocol ------------------------------------------------------------------------------------------------------------ */

/* Offers bytes as a heap copy of their own; returns what input() said. */
static ptrdiff_t offer(struct sim_conn *c, struct slice bytes)
{
	uint8_t *copy = mem_grow(NULL, bytes.n);

	memcpy(copy, bytes.p, bytes.n);
	ptrdiff_t took = c->ops->input(c->conn, slice_of(copy, bytes.n));

	mem_free(copy);
	CHECK(took <= (ptrdiff_t)bytes.n);
	return took;
}

static void set_turn(struct sim_conn *c)
{
	uint64_t now = c->net->clock->now_ns, due;

	if (c->ops->turn == NULL || c->closing || c->closed)
		return;
	due = c->ops->turn(c->conn, now);
	sim_event_stop(c->net->clock, &c->turn_event);
	if (due != NEVER)
		sim_event_set(c->net->clock, &c->turn_event, due <= now ? 1000 : due - now);
}

static void turn_fire(struct sim_event *e)
{
	set_turn(container_of(e, struct sim_conn, turn_event));
}

static void offer_run(struct sim_conn *c)
{
	size_t take = chunk(c->net, c->in.n);

	buf_put(&c->offered, c->in.p, take);
	buf_drop_front(&c->in, take);
	while (c->offered.n > 0 && !c->paused && !c->closing) {
		ptrdiff_t took = offer(c, buf_view(&c->offered));

		if (took < 0) {
			end_soon(c, ST_PROTO);
			return;
		}
		buf_drop_front(&c->offered, (size_t)took);
		if (took == 0)
			break;
	}
	if (c->offered.n > c->ops->input_max)
		end_soon(c, ST_PROTO);
}

static void offer_message(struct sim_conn *c)
{
	struct list *n = list_pop(&c->messages);
	struct sim_message *m = n == NULL ? NULL : container_of(n, struct sim_message, link);

	if (m == NULL)
		return;
	if (offer(c, slice_of(m->bytes, m->n)) < 0)
		end_soon(c, ST_PROTO);
	mem_free(m);
}

static void in_fire(struct sim_event *e)
{
	struct sim_conn *c = container_of(e, struct sim_conn, in_event);

	if (c->closing || c->paused || breaks(c))
		return;
	if (c->ops->framed)
		offer_message(c);
	else
		offer_run(c);
	set_turn(c);
	if (c->closing || c->paused)
		return;
	if (c->in.n > 0 || !list_empty(&c->messages))
		later(c, &c->in_event, delay(c->net));
	else if (c->hungup)
		end_soon(c, ST_OK);
}

void sim_conn_send(struct sim_conn *c, struct slice bytes)
{
	CHECK(!c->hungup);
	if (c->closing || bytes.n == 0)
		return;
	if (c->ops->framed) {
		struct sim_message *m = mem_new(sizeof(*m) + bytes.n);

		m->n = bytes.n;
		memcpy(m->bytes, bytes.p, bytes.n);
		list_push(&c->messages, &m->link);
	} else {
		buf_slice(&c->in, bytes);
	}
	later(c, &c->in_event, delay(c->net));
}

void sim_conn_hangup(struct sim_conn *c)
{
	c->hungup = true;
	later(c, &c->in_event, delay(c->net));
}

/* ---- From the protocol ------------------------------------------------------------------------------------------------------------ */

static void out_fire(struct sim_event *e)
{
	struct sim_conn *c = container_of(e, struct sim_conn, out_event);
	if (c->held && !c->closing)
		return;
	size_t n = chunk(c->net, c->out.n);

	if (c->out.n > 0 && !breaks(c)) {
		uint8_t *copy = mem_grow(NULL, n);

		memcpy(copy, c->out.p, n);
		buf_drop_front(&c->out, n);
		if (!c->hungup)
			c->peer->input(c->peer, slice_of(copy, n));
		mem_free(copy);
	}
	if (c->out.n > 0)
		later(c, &c->out_event, delay(c->net));
	else if (c->closing)
		later(c, &c->close_event, 0);
	if (c->full && !c->closing && c->out.n < c->net->conf.window) {
		c->full = false;
		c->ops->drained(c->conn);
	}
}

void sim_conn_hold(struct sim_conn *c, bool hold)
{
	c->held = hold;
	if (!hold && (c->out.n > 0 || c->full))
		later(c, &c->out_event, delay(c->net));
}

static void out_send(struct stream *s, const struct piece *v, unsigned n)
{
	struct sim_conn *c = conn_of(s);

	CHECK(!c->closed);
	if (c->closing)
		return;
	for (unsigned i = 0; i < n; i++)
		buf_slice(&c->out, v[i].bytes);
	later(c, &c->out_event, delay(c->net));
}

static size_t out_room(struct stream *s)
{
	struct sim_conn *c = conn_of(s);
	size_t room = c->out.n < c->net->conf.window ? c->net->conf.window - c->out.n : 0;

	c->full |= room == 0;
	return room;
}

static void out_pause(struct stream *s, bool pause)
{
	struct sim_conn *c = conn_of(s);

	c->paused = pause;
	if (!pause && !c->closing)
		later(c, &c->in_event, delay(c->net));
}

static void out_close(struct stream *s, int code, const char *reason)
{
	struct sim_conn *c = conn_of(s);

	if (c->closing)
		return;
	c->closing = true;
	c->why = ST_CLOSED;
	c->code = code;
	snprintf(c->reason, sizeof(c->reason), "%s", reason == NULL ? "" : reason);
	later(c, &c->out_event, delay(c->net)); /* what is queued goes first */
}

static const struct stream_out_ops out_ops = {.send = out_send, .room = out_room, .pause = out_pause, .close = out_close};

/* ---- Life -------------------------------------------------------------------------------------------------------------------------- */

void sim_net_init(struct sim_net *n, struct sim_clock *clock, const struct sim_net_conf *conf, uint64_t seed)
{
	CHECK(conf->latency_min_ns <= conf->latency_max_ns);
	*n = (struct sim_net){.clock = clock, .conf = *conf, .next_port = 40000};
	if (n->conf.window == 0)
		n->conf.window = 1 << 20;
	prng_init(&n->prng, seed);
	list_init(&n->conns);
}

void sim_net_fini(struct sim_net *n)
{
	LIST_EACH_SAFE(&n->conns, l, t) {
		struct sim_conn *c = container_of(l, struct sim_conn, link);

		c->why = ST_IO;
		conn_end(c, false);
	}
}

struct sim_conn *sim_net_connect(struct sim_net *n, const struct stream_ops *ops, void *front, struct sim_peer *peer)
{
	struct sim_conn *c = mem_new(sizeof(*c));
	char text[32];
	struct stream_info info = {.peer_ip = 0x0a000001, .peer_port = (uint16_t)n->next_port++, .local_ip = 0x0a000002, .local_port = 10911};

	if (n->next_port > UINT16_MAX)
		n->next_port = 40000;
	snprintf(text, sizeof(text), "10.0.0.1:%u", info.peer_port);
	info.peer = slice_str(text);
	c->base.out = &out_ops;
	c->net = n;
	c->ops = ops;
	c->peer = peer;
	c->conn = mem_new(ops->conn_size == 0 ? 1 : ops->conn_size);
	c->in_event.fire = in_fire;
	c->out_event.fire = out_fire;
	c->turn_event.fire = turn_fire;
	c->close_event.fire = close_fire;
	list_init(&c->messages);
	list_push(&n->conns, &c->link);
	ops->opened(c->conn, front, &c->base, &info);
	set_turn(c);
	return c;
}
