/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The WebSocket front as the process sees it.
 *
 * Stop: subscriptions close (which gives back what was not settled), publishes and settlements that are under way are answered, each connection
 * hears bye and is closed; when the last one has gone the carrier goes, and then stopped() is called.
 */
#include "front/websocket/websocket.h"

#include "front/websocket/ws.h"
#include "front/websocket/ws_carrier.h"

static enum status start(void *front, const struct front_env *env)
{
	struct ws *w = front;
	const struct front_conf *c = env->conf;

	CHECK(env->engine != NULL && env->clock != NULL && env->log != NULL && c != NULL && env->random != NULL);
	if (c->ws_max_conns == 0 || c->ws_max_message == 0 || c->ws_max_subs == 0 || c->ws_max_credit == 0 || c->max_requests == 0) {
		log_error(env->log, "websocket", "no limit of connections, messages, subscriptions, requests and credit may be 0");
		return ST_BAD_ARG;
	}
	w->magic = WS_MAGIC;
	w->env = *env;
	w->engine = env->engine;
	w->clock = env->clock;
	w->log = env->log;
	w->conf = c;
	w->now_ns = clock_mono_ns(env->clock);
	w->held_max = (size_t)u64_max((uint64_t)c->ws_max_message * WS_HELD_FRAMES, WS_HELD_MIN);
	list_init(&w->peers);
	list_init(&w->hungry);
	draft_init(&w->draft);
	env->random(&w->uniq_random, sizeof(w->uniq_random));
	if (env->loop == NULL || env->n_ports == 0)
		return ST_OK;
	w->carrier = ws_carrier_new(&w->env, &ws_json_stream, w);
	return w->carrier != NULL ? ST_OK : ST_IO;
}

static void open(void *front)
{
	struct ws *w = front;

	CHECK_OBJ(w, WS_MAGIC);
	if (w->carrier != NULL)
		ws_carrier_open(w->carrier);
}

static uint64_t turn(void *front, uint64_t now_ns)
{
	struct ws *w = front;
	uint64_t due;

	CHECK_OBJ(w, WS_MAGIC);
	w->now_ns = now_ns;
	due = ws_cache_turn(w, now_ns);
	return w->carrier != NULL ? u64_min(due, ws_carrier_turn(w->carrier, now_ns)) : due;
}

static uint64_t flush(void *front, uint64_t now_ns)
{
	struct ws *w = front;

	CHECK_OBJ(w, WS_MAGIC);
	uint64_t due = w->carrier != NULL ? ws_carrier_flush(w->carrier, now_ns) : NEVER;
	return ws_late_turn(w) ? 0 : due;
}

static void drain(void *front)
{
	struct ws *w = front;

	CHECK_OBJ(w, WS_MAGIC);
	if (w->draining)
		return;
	w->draining = true;
	if (w->carrier != NULL)
		ws_carrier_unlisten(w->carrier);
	LIST_EACH(&w->peers, p) {
		LIST_EACH_SAFE(&container_of(p, struct ws_peer, link)->subs, n, t)
			ws_sub_close(container_of(n, struct ws_sub, link));
	}
}

static void carrier_gone(void *arg)
{
	struct ws *w = arg;
	void (*stopped)(void *) = w->stopped;

	w->carrier = NULL;
	w->stopped = NULL;
	ws_cache_clear(w);
	CHECK(w->held == 0 && list_empty(&w->hungry));
	draft_fini(&w->draft);
	buf_fini(&w->out);
	stopped(w->stopped_arg);
}

void ws_settled(struct ws *w)
{
	CHECK_OBJ(w, WS_MAGIC);
	if (w->stopped == NULL || w->n_peers > 0)
		return;
	if (w->carrier != NULL)
		ws_carrier_close(w->carrier, carrier_gone, w);
	else
		carrier_gone(w);
}

static void stop(void *front, void (*stopped)(void *), void *arg)
{
	struct ws *w = front;

	CHECK_OBJ(w, WS_MAGIC);
	CHECK(stopped != NULL && w->stopped == NULL);
	drain(front);
	w->stopped = stopped;
	w->stopped_arg = arg;
	LIST_EACH_SAFE(&w->peers, n, t)
		ws_peer_flow(container_of(n, struct ws_peer, link));
	ws_settled(w);
}

static void number(struct buf *json, const char *name, uint64_t v)
{
	buf_fmt(json, "%s\"%s\":%llu", json->n > 0 && json->p[json->n - 1] == '{' ? "" : ",", name, (unsigned long long)v);
}

static void describe(void *front, struct buf *json)
{
	struct ws *w = front;
	uint64_t subs = 0, publishing = 0, unsettled = 0;

	CHECK_OBJ(w, WS_MAGIC);
	LIST_EACH(&w->peers, n) {
		struct ws_peer *p = container_of(n, struct ws_peer, link);
		subs += p->n_subs;
		publishing += p->publishing;
		LIST_EACH(&p->subs, k)
			unsettled += container_of(k, struct ws_sub, link)->unsettled;
	}
	buf_str(json, "{");
	number(json, "connections", w->n_peers);
	number(json, "subscriptions", subs);
	number(json, "publishesUnderWay", publishing);
	number(json, "bytesHeld", w->held);
	number(json, "unsettled", unsettled);
	number(json, "opened", w->n.opened);
	number(json, "publishes", w->n.publishes);
	number(json, "published", w->n.published);
	number(json, "delivered", w->n.delivered);
	number(json, "encoded", w->n.encoded);
	number(json, "expired", w->n.expired);
	number(json, "acks", w->n.acks);
	number(json, "nacks", w->n.nacks);
	number(json, "errors", w->n.errors);
	number(json, "malformed", w->n.malformed);
	if (w->carrier != NULL)
		ws_carrier_describe(w->carrier, json);
	buf_str(json, "}");
}

const struct front_ops front_websocket = {
	.name = "websocket",
	.size = sizeof(struct ws),
	.start = start,
	.open = open,
	.turn = turn,
	.flush = flush,
	.drain = drain,
	.stop = stop,
	.describe = describe,
};
