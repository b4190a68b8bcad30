/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The MQTT front as the process sees it: its start, which reads what the log remembers, its turns, and its end.
 *
 * Start: sessions, retained messages and the list of topics are asked for; until they are there, connections wait with their CONNECT.
 * End: nothing new is read; messages under way are acknowledged; every client is told and closed; sessions are written; taps are closed; when the last request
 * is answered, nothing is left.
 */
#include "front/mqtt/mq.h"

/* ---- Timers ------------------------------------------------------------------------------------------------------------------------- */

void mq_timer_set(struct mq *f, struct mq_timer *t, uint64_t in_ms)
{
	heap_put(&f->timers, &t->node, clock_mono_ns(f->clock) + in_ms * MS_NS);
}

void mq_timer_drop(struct mq *f, struct mq_timer *t)
{
	heap_drop(&f->timers, &t->node);
}

static uint64_t fire_timers(struct mq *f, uint64_t now_ns)
{
	struct heap_node *n;

	while ((n = heap_first(&f->timers)) != NULL && n->due <= now_ns) {
		struct mq_timer *t = container_of(n, struct mq_timer, node);
		heap_drop(&f->timers, n);
		t->fire(t);
	}
	return n == NULL ? NEVER : n->due;
}

/* ---- Start and end ------------------------------------------------------------------------------------------------------------------------ */

struct where {
	struct mq *f;
	struct engine_stats ask;
};

static void where_known(struct engine_ask *a, enum status st)
{
	struct where *k = container_of(container_of(a, struct engine_stats, ask), struct where, ask);
	struct mq *f = k->f;

	f->began = k->ask.visible;
	mem_free(k);
	mq_loaded(f, st);
}

static void ask_where(struct mq *f)
{
	struct where *k = mem_new(sizeof(*k));

	k->f = f;
	k->ask = (struct engine_stats){.ask = {.done = where_known}, .actor = &f->actor};
	f->loading++;
	mq_asked(f);
	engine_stats(f->engine, &k->ask);
}

static enum status start(void *front, const struct front_env *env)
{
	struct mq *f = front;

	CHECK(env->engine != NULL && env->clock != NULL && env->log != NULL && env->conf != NULL);
	f->magic = MQ_MAGIC;
	f->engine = env->engine;
	f->clock = env->clock;
	f->log = env->log;
	f->conf = env->conf;
	f->random = env->random;
	f->actor = (struct actor){.front = "mqtt"};
	list_init(&f->conns);
	list_init(&f->work);
	list_init(&f->dirty);
	list_init(&f->owing);
	list_init(&f->subscribing);
	list_init(&f->idle);
	f->max_inflight = (uint16_t)u64_min(env->conf->mqtt_max_inflight, UINT16_MAX / 2);
	f->commit_due = NEVER;
	f->sweep_due = clock_mono_ns(f->clock) + MQ_SWEEP_MS * MS_NS;
	if (env->conf->mqtt_max_packet == 0 || env->conf->mqtt_max_inflight == 0) {
		log_error(f->log, "mqtt", "mqtt_max_packet and mqtt_max_inflight must not be 0");
		return ST_BAD_ARG;
	}
	if (mq_rules_init(f) != ST_OK) {
		mem_free(f->rules);
		return ST_BAD_ARG;
	}
	f->filters = mq_node_new();
	f->names = mq_node_new();
	draft_init(&f->draft);
	ask_where(f);
	mq_hub_load(f);
	mq_persist_load(f);
	mq_retained_load(f);
	return ST_OK;
}

static void release(struct mq *f)
{
	mq_session_free_all(f);
	mq_retained_free(f);
	mq_hub_free(f);
	mq_pubs_free(f);
	mq_node_free(f->filters);
	mq_node_free(f->names);
	map_fini(&f->sessions);
	CHECK(f->keeping.count == 0);
	map_fini(&f->keeping);
	heap_fini(&f->timers);
	draft_fini(&f->draft);
	buf_fini(&f->out);
	buf_fini(&f->repeated);
	buf_fini(&f->body);
	buf_fini(&f->correlation);
	buf_fini(&f->scratch);
	buf_fini(&f->ids);
	mem_free(f->hits);
	mem_free(f->rules);
}

/* Once nothing is under way any more. */
static void settle(struct mq *f)
{
	if (f->stopped == NULL || f->n_conns > 0 || f->asks > 0)
		return;
	void (*stopped)(void *) = f->stopped;

	f->stopped = NULL;
	release(f);
	stopped(f->stopped_arg);
}

void mq_answered(struct mq *f)
{
	CHECK_OBJ(f, MQ_MAGIC);
	CHECK(f->asks > 0);
	f->asks--;
}

void mq_loaded(struct mq *f, enum status st)
{
	CHECK(f->loading > 0);
	f->loading--;
	if (st != ST_OK && st != ST_CLOSED)
		log_error(f->log, "mqtt", "what the log remembers could not be read: %s", status_text(st));
	mq_answered(f);
	if (f->loading > 0)
		return;
	LIST_EACH_SAFE(&f->conns, n, next)
		mq_conn_flow(container_of(n, struct mq_conn, link));
}

static void drain(void *front)
{
	struct mq *f = front;
	CHECK_OBJ(f, MQ_MAGIC);

	if (f->draining)
		return;
	f->draining = true;
	LIST_EACH_SAFE(&f->conns, n, next)
		mq_conn_flow(container_of(n, struct mq_conn, link));
}

static void stop(void *front, void (*stopped)(void *), void *arg)
{
	struct mq *f = front;
	CHECK_OBJ(f, MQ_MAGIC);
	CHECK(stopped != NULL && f->stopped == NULL);

	drain(f);
	f->stopped = stopped;
	f->stopped_arg = arg;
	mq_hub_unload(f);
}

/* ---- Turns --------------------------------------------------------------------------------------------------------------------------------- */

static uint64_t turn(void *front, uint64_t now_ns)
{
	struct mq *f = front;
	CHECK_OBJ(f, MQ_MAGIC);
	uint64_t due = fire_timers(f, now_ns);
	struct list todo, *n;

	mq_subscribe_turn(f);
	list_init(&todo);
	list_move(&todo, &f->work);
	while ((n = list_pop(&todo)) != NULL)
		mq_session_work(container_of(n, struct mq_session, work));
	mq_commit_turn(f, now_ns);
	due = u64_min(due, u64_min(f->commit_due, f->sweep_due));
	return list_empty(&f->work) ? due : 0;
}

static uint64_t flush(void *front, uint64_t now_ns)
{
	struct mq *f = front;
	CHECK_OBJ(f, MQ_MAGIC);

	bool again = !list_empty(&f->work) || mq_subscribes_ready(f);
	uint64_t due = mq_hub_flush(f, now_ns);
	settle(f);
	return again ? 0 : due;
}

/* ---- Numbers --------------------------------------------------------------------------------------------------------------------------------- */

static void number(struct buf *json, const char *name, uint64_t v)
{
	buf_str(json, ",\"");
	buf_str(json, name);
	buf_str(json, "\":");
	buf_u64_dec(json, v);
}

static void describe(void *front, struct buf *json)
{
	struct mq *f = front;
	CHECK_OBJ(f, MQ_MAGIC);

	buf_str(json, "{\"connections\":");
	buf_u64_dec(json, f->n_conns);
	number(json, "sessions", f->sessions.count);
	number(json, "durableSessions", f->n_durable);
	number(json, "retained", f->n_retained);
	number(json, "connects", f->n.connects);
	number(json, "refusedConnects", f->n.refused);
	number(json, "takeovers", f->n.takeovers);
	number(json, "published", f->n.published);
	number(json, "refusedPublishes", f->n.refused_publishes);
	number(json, "subscribes", f->n.subscribes);
	number(json, "delivered", f->n.delivered);
	number(json, "resent", f->n.resent);
	number(json, "retainedSent", f->n.retained_sent);
	number(json, "dropped", f->n.dropped);
	number(json, "expired", f->n.expired);
	number(json, "tooLarge", f->n.too_large);
	number(json, "parked", f->n.parked);
	number(json, "catchUpReads", f->n.pulls);
	number(json, "wills", f->n.wills);
	number(json, "sessionsExpired", f->n.sessions_expired);
	number(json, "malformed", f->n.malformed);
	buf_str(json, "}");
}

const struct front_ops front_mqtt = {
	.name = "mqtt",
	.size = sizeof(struct mq),
	.start = start,
	.turn = turn,
	.flush = flush,
	.drain = drain,
	.stop = stop,
	.describe = describe,
	.stream = &mq_stream,
};
