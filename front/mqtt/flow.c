/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Flows: how far a session has come in each queue that holds something for it at QoS 1.
 *
 *   live     the hub feeds it. A queue without a flow is live too.
 *   behind   the session could not take a message: it reads from there by itself, as its client makes room, until it has reached the hub
 *   seek     the same, but where its subscriptions begin has to be looked up by their time first
 *
 * One read of a session is under way at a time. What it brings goes through the session's own filters. When the flow has come to where the hub is, it is live again: what
 * the hub brings from there on is new to it ('next' says so, if the read saw more than the hub).
 *
 * All of a flow before its prefix is done: that is what is committed.
 */
#include "front/mqtt/mq.h"

#define RETRY_MS 1000u /* after a read that failed */

struct mq_read {
	uint32_t magic;
	struct mq *f;
	struct mq_session *session;        /* held */
	struct mq_flow *flow;              /* NULL: it is gone */
	union {
		struct engine_pull pull;
		struct engine_range range;
	} u;
};

/* ---- Flows -------------------------------------------------------------------------------------------------------------------------- */

static uint64_t key_of(const struct mq_topic *t, int32_t queue)
{
	return t->serial << 16 | (uint32_t)queue;
}

struct mq_flow *mq_flow_find(struct mq_session *s, struct mq_topic *t, int32_t queue)
{
	return u64map_get(&s->by_queue, key_of(t, queue));
}

struct mq_flow *mq_flow_need(struct mq_session *s, struct mq_topic *t, int32_t queue, uint64_t next)
{
	struct mq_flow *w = mq_flow_find(s, t, queue);

	if (w != NULL)
		return w;
	if (s->n_flows >= s->f->conf->mqtt_max_queues) {
		if (!s->beyond)
			log_warn(s->f->log, "mqtt", "client=%.*s topic=%.*s nothing is kept of it and of others: the session has places in mqttMaxQueues=%u queues",
				(int)u64_min(s->id.n, 64), (const char *)s->id.p, (int)t->name.n, (const char *)t->name.p, s->f->conf->mqtt_max_queues);
		s->beyond = true;
		return NULL;
	}
	w = mem_new(sizeof(*w));
	w->magic = MQ_FLOW_MAGIC;
	w->session = s;
	w->topic = t;
	w->queue = queue;
	w->next = next;
	w->committed = UINT64_MAX;
	list_init(&w->sent);
	w->old = &w->sent;
	list_push(&s->flows, &w->link);
	s->n_flows++;
	list_push(&t->flows, &w->in_topic);
	u64map_put(&s->by_queue, key_of(t, queue), w);
	return w;
}

void mq_flow_free(struct mq_flow *w)
{
	struct mq_session *s = w->session;
	struct list *n;

	CHECK_OBJ(w, MQ_FLOW_MAGIC);
	if (s->read != NULL && s->read->flow == w)
		s->read->flow = NULL;
	/* What was sent of it and is not acknowledged keeps its identifier taken until it is. */
	w->old = &w->sent;
	while ((n = list_pop(&w->sent)) != NULL) {
		container_of(n, struct mq_sent, link)->flow = NULL;
		list_push(&s->sent_retained, n);
	}
	u64map_drop(&s->by_queue, key_of(w->topic, w->queue));
	list_remove(&w->link);
	s->n_flows--;
	list_remove(&w->in_topic);
	list_remove(&w->behind);
	list_remove(&w->commit);
	w->magic = 0;
	mem_free(w);
}

void mq_flow_behind(struct mq_flow *w, uint64_t at)
{
	CHECK_OBJ(w, MQ_FLOW_MAGIC);
	w->state = MQ_BEHIND;
	w->next = at;
	if (!list_linked(&w->behind))
		list_push(&w->session->behind, &w->behind);
}

static void go_live(struct mq_flow *w)
{
	w->state = MQ_LIVE;
	w->again_below = 0;
	list_remove(&w->behind);
	mq_flow_dirty(w);
}

/* ---- Commits -------------------------------------------------------------------------------------------------------------------------------- */

uint64_t mq_flow_prefix(const struct mq_flow *w)
{
	uint64_t hub;

	if (!list_empty(&w->sent))
		return container_of(w->sent.next, struct mq_sent, link)->offset;
	if (w->state == MQ_SEEK)
		return UINT64_MAX;
	if (w->state == MQ_LIVE && mq_topic_at(w->topic, w->queue, &hub))
		return u64_max(hub, w->next);
	return w->next;
}

void mq_flow_dirty(struct mq_flow *w)
{
	struct mq *f = w->session->f;

	if (!w->session->durable || list_linked(&w->commit))
		return;
	list_push(&f->dirty, &w->commit);
	if (f->commit_due == NEVER)
		f->commit_due = clock_mono_ns(f->clock) + MQ_COMMIT_MS * MS_NS;
}

struct commit {
	struct mq *f;
	struct engine_offset ask;
};

static void commit_done(struct engine_ask *a, enum status st)
{
	struct commit *k = container_of(container_of(a, struct engine_offset, ask), struct commit, ask);
	struct mq *f = k->f;

	if (st != ST_OK && st != ST_CLOSED && st != ST_NO_TOPIC && st != ST_NO_QUEUE)
		log_warn(f->log, "mqtt", "a session's progress could not be kept: %s", status_text(st));
	mem_free(k);
	mq_answered(f);
}

static void commit(struct mq_flow *w)
{
	struct mq *f = w->session->f;
	uint64_t at = mq_flow_prefix(w);

	if (!w->session->durable || at == UINT64_MAX || at == w->committed || !w->topic->exists)
		return;
	struct commit *k = mem_new(sizeof(*k));

	w->committed = at;
	k->f = f;
	k->ask = (struct engine_offset){.ask = {.done = commit_done}, .actor = &f->actor, .group = slice_str(w->session->group), .topic = w->topic->name,
		.queue = w->queue, .offset = at};
	mq_asked(f);
	engine_offset_commit(f->engine, &k->ask);
}

void mq_commit_all(struct mq_session *s)
{
	LIST_EACH(&s->flows, n) {
		struct mq_flow *w = container_of(n, struct mq_flow, link);
		list_remove(&w->commit);
		commit(w);
	}
}

/* Where the hub went on and nobody acknowledged anything, because nothing matched. */
static void sweep(struct mq *f)
{
	struct map_slot *slot;

	for (size_t at = 0; (slot = map_each(&f->topics, &at)) != NULL;) {
		struct mq_topic *t = slot->value;
		bool moved = false;
		for (uint32_t q = 0; q < t->n_next; q++) {
			moved = moved || t->swept[q] != t->next[q];
			t->swept[q] = t->next[q];
		}
		if (!moved)
			continue;
		LIST_EACH(&t->flows, n) {
			struct mq_flow *w = container_of(n, struct mq_flow, in_topic);
			if (w->state == MQ_LIVE)
				mq_flow_dirty(w);
		}
	}
}

void mq_commit_turn(struct mq *f, uint64_t now_ns)
{
	struct list *n;

	if (now_ns >= f->sweep_due) {
		f->sweep_due = now_ns + MQ_SWEEP_MS * MS_NS;
		sweep(f);
		mq_hub_sweep(f);
	}
	if (now_ns < f->commit_due)
		return;
	for (unsigned i = 0; i < MQ_COMMIT_MANY && (n = list_pop(&f->dirty)) != NULL; i++)
		commit(container_of(n, struct mq_flow, commit));
	f->commit_due = list_empty(&f->dirty) ? NEVER : now_ns;
}

/* ---- Parking ------------------------------------------------------------------------------------------------------------------------------------ */

bool mq_session_reads(struct mq_session *s, struct mq_topic *t)
{
	LIST_EACH(&s->subs, n) {
		struct mq_sub *sub = container_of(n, struct mq_sub, link);
		if (sub->qos > 0 && mq_filter_touches(s->f, sub->filter, t->name))
			return true;
	}
	return false;
}

/* Every queue that holds something for the session at QoS 1 gets a flow, where the hub is; or one that has to seek. */
void mq_flows_all(struct mq_session *s, bool seek)
{
	struct mq *f = s->f;
	struct map_slot *slot;
	uint64_t hub;

	s->topic_changes = f->topic_changes;
	if (s->n_qos1 == 0)
		return;
	for (size_t at = 0; (slot = map_each(&f->topics, &at)) != NULL;) {
		struct mq_topic *t = slot->value;
		if (!t->exists || !t->user || !mq_session_reads(s, t))
			continue;
		for (uint32_t q = 0; q < t->queues; q++) {
			if (mq_flow_find(s, t, (int32_t)q) != NULL)
				continue;
			bool known = !seek && mq_topic_at(t, (int32_t)q, &hub);
			struct mq_flow *w = mq_flow_need(s, t, (int32_t)q, known ? hub : 0);
			if (w == NULL)
				return;
			if (!known) {
				mq_flow_behind(w, 0);
				w->state = MQ_SEEK;
			}
		}
	}
}

void mq_flows_tidy(struct mq_session *s)
{
	LIST_EACH_SAFE(&s->flows, n, next) {
		struct mq_flow *w = container_of(n, struct mq_flow, link);
		if (!mq_session_reads(s, w->topic))
			mq_flow_free(w);
	}
	s->beyond = false;
}

static void reach(struct mq *f, struct slice name, void *arg)
{
	struct mq_topic *t = mq_topic_find(f, name);

	if (t == NULL || t->reached == f->reach_serial)
		return;
	t->reached = f->reach_serial;
	*(uint64_t *)arg += t->counted;
}

bool mq_reaches_too_far(struct mq_session *s, struct slice filter)
{
	struct mq *f = s->f;
	uint64_t n = 0, more = 0;

	f->reach_serial++;
	LIST_EACH(&s->subs, l) {
		struct mq_sub *sub = container_of(l, struct mq_sub, link);
		if (sub->qos > 0 && mq_filter_wide(sub->filter))
			return false; /* it reaches everything already */
		if (sub->qos > 0)
			mq_filter_topics(f, sub->filter, reach, &n);
	}
	if (mq_filter_wide(filter))
		more = f->n_queues - n;
	else
		mq_filter_topics(f, filter, reach, &more);
	return more > 0 && n + more > f->conf->mqtt_max_queues;
}

void mq_park(struct mq_session *s)
{
	uint64_t hub;

	if (s->parked || !s->attached)
		return;
	s->parked = true;
	s->f->n.parked++;
	mq_flows_all(s, false);
	LIST_EACH(&s->flows, n) {
		struct mq_flow *w = container_of(n, struct mq_flow, link);
		if (w->state != MQ_LIVE)
			continue;
		mq_flow_behind(w, mq_topic_at(w->topic, w->queue, &hub) ? u64_max(hub, w->next) : w->next);
	}
	LIST_EACH(&s->subs, n) {
		struct mq_sub *sub = container_of(n, struct mq_sub, link);
		list_remove(&sub->in_node);
		sub->node->parked++;
		sub->hits = sub->node->hits;
	}
}

void mq_unpark(struct mq_session *s)
{
	if (!s->parked || !s->attached)
		return;
	/* A topic that came meanwhile went past it. */
	if (s->topic_changes != s->f->topic_changes)
		mq_flows_all(s, true);
	s->parked = false;
	s->skips = 0;
	LIST_EACH(&s->subs, n) {
		struct mq_sub *sub = container_of(n, struct mq_sub, link);
		CHECK(sub->node->parked > 0);
		sub->node->parked--;
		list_push(&sub->node->subs, &sub->in_node);
		if (s->n_qos1 == 0)
			s->f->n.dropped += sub->node->hits - sub->hits;
	}
}

/*
 * What was sent before is sent again before anything new is, of any queue: else a client that comes and goes and acknowledges nothing would have more under way with each
 * connection.
 */
void mq_flow_first(struct mq_flow *w)
{
	list_remove(&w->behind);
	list_push_front(&w->session->behind, &w->behind);
}

void mq_flows_away(struct mq_session *s)
{
	mq_park(s);
	if (s->read != NULL)
		s->read->flow = NULL; /* what it brings is not where the next connection goes on */
	mq_window_old(s);
	LIST_EACH(&s->flows, n) {
		struct mq_flow *w = container_of(n, struct mq_flow, link);
		if (list_empty(&w->sent))
			continue;
		w->again_below = u64_max(w->again_below, w->next);
		w->old = w->sent.next;
		w->next = container_of(w->sent.next, struct mq_sent, link)->offset;
		mq_flow_first(w);
	}
}

/* ---- Catching up ---------------------------------------------------------------------------------------------------------------------------------- */

void mq_session_wake(struct mq_session *s)
{
	/* A read that ends after its session holds the last of it. */
	if (!s->dropped && !list_linked(&s->work))
		list_push(&s->f->work, &s->work);
}

/* What was sent of it before and has been passed is not in the log any more, or too old. */
static void forget_old(struct mq_flow *w)
{
	while (w->old != &w->sent && container_of(w->old, struct mq_sent, link)->offset < w->next)
		mq_window_drop(w->session, container_of(w->old, struct mq_sent, link));
}

/* Gives the session what a read brought; stops where there is no room, and behind what was sent before. */
static void take_records(struct mq_flow *w, struct slice run, uint64_t next)
{
	struct mq *f = w->session->f;
	bool again = w->next < w->again_below;
	struct mq_outgoing o;
	struct record r;

	while (run.n > 0 && record_decode(run, &r) == ST_OK) {
		bool went = true;
		if (again && r.queue_offset >= w->again_below) {
			next = w->again_below;
			break;
		}
		if (r.queue_offset >= w->next) {
			w->next = r.queue_offset;
			forget_old(w);
			if (mq_outgoing_read(f, slice_of(run.p, r.size), NULL, w->topic, &o)) {
				went = mq_catch_up(w, r.queue_offset, &o);
				mq_outgoing_fini(&o);
			}
			w->next = r.queue_offset + went;
			forget_old(w);
		}
		if (!went)
			return;
		run = slice_skip(run, r.size);
	}
	w->next = u64_max(w->next, next);
	forget_old(w);
}

/* All the pieces as one run. */
static struct slice joined(struct mq *f, const struct engine_pull *r)
{
	if (r->n_pieces == 1)
		return r->pieces[0].bytes;
	buf_reset(&f->scratch);
	for (unsigned i = 0; i < r->n_pieces; i++)
		buf_slice(&f->scratch, r->pieces[i].bytes);
	return buf_view(&f->scratch);
}

static struct mq_read *read_ended(struct mq_read *k)
{
	CHECK_OBJ(k, MQ_OP_MAGIC);
	CHECK(k->session->read == k);
	k->session->read = NULL;
	return k;
}

static void read_free(struct mq_read *k)
{
	struct mq *f = k->f;

	k->magic = 0;
	mq_session_release(k->session);
	mem_free(k);
	mq_answered(f);
}

static void pulled(struct engine_ask *a, enum status st)
{
	struct mq_read *k = read_ended(container_of(container_of(a, struct engine_pull, ask), struct mq_read, u.pull));
	struct mq_session *s = k->session;
	struct mq_flow *w = k->flow;

	if (w == NULL) {
		mq_session_wake(s);
	} else if (st == ST_OK) {
		take_records(w, joined(k->f, &k->u.pull), k->u.pull.next);
		mq_session_wake(s);
	} else if (st == ST_NO_MATCH || st == ST_MOVED) {
		w->next = k->u.pull.next;
		forget_old(w);
		mq_session_wake(s);
	} else if (st == ST_NO_TOPIC || st == ST_NO_QUEUE || st == ST_DENIED) {
		mq_flow_free(w);
		w = NULL;
		mq_session_wake(s);
	} else if (st != ST_EMPTY && st != ST_CLOSED) {
		log_warn(k->f->log, "mqtt", "topic=%.*s queue=%d from=%llu a session cannot go on: %s", (int)w->topic->name.n, (const char *)w->topic->name.p,
			 w->queue, (unsigned long long)w->next, status_text(st));
		mq_timer_set(k->f, &s->retry, RETRY_MS);
	} else if (st == ST_EMPTY && mq_topic_tapped(w->topic)) {
		/* At the end, and the hub has not seen all of it yet: it will have, in this turn or the next. */
		mq_unpark(s);
		go_live(w);
		mq_session_wake(s);
	}
	if (w != NULL && s->read == NULL && list_linked(&w->behind)) {
		/* The others get their turn, once what was sent before is. */
		list_remove(&w->behind);
		list_push(&s->behind, &w->behind);
		if (w->next < w->again_below)
			mq_flow_first(w);
	}
	read_free(k);
}

static void sought(struct engine_ask *a, enum status st)
{
	struct mq_read *k = read_ended(container_of(container_of(a, struct engine_range, ask), struct mq_read, u.range));
	struct mq_session *s = k->session;

	if (k->flow != NULL && st == ST_OK) {
		mq_flow_behind(k->flow, k->u.range.offset);
		mq_flow_dirty(k->flow);
		mq_session_wake(s);
	} else if (k->flow != NULL && (st == ST_NO_TOPIC || st == ST_NO_QUEUE)) {
		mq_flow_free(k->flow);
		mq_session_wake(s);
	} else if (st != ST_CLOSED && !s->dropped) {
		mq_timer_set(k->f, &s->retry, RETRY_MS);
	}
	read_free(k);
}

static struct mq_read *read_new(struct mq_flow *w)
{
	struct mq_read *k = mem_new(sizeof(*k));

	k->magic = MQ_OP_MAGIC;
	k->f = w->session->f;
	k->session = w->session;
	k->flow = w;
	w->session->read = k;
	mq_session_hold(w->session);
	mq_asked(k->f);
	return k;
}

static void seek(struct mq_flow *w)
{
	struct mq_read *k = read_new(w);
	int64_t from_ms = INT64_MAX;

	LIST_EACH(&w->session->subs, n) {
		struct mq_sub *sub = container_of(n, struct mq_sub, link);
		if (sub->qos > 0 && sub->from_ms < from_ms && mq_filter_touches(k->f, sub->filter, w->topic->name))
			from_ms = sub->from_ms;
	}
	k->u.range = (struct engine_range){.ask = {.done = sought}, .actor = &k->f->actor, .topic = w->topic->name, .queue = w->queue,
		.time_ms = from_ms == INT64_MAX ? from_ms : from_ms - MQ_SEEK_SLACK_MS};
	engine_at_time(k->f->engine, &k->u.range);
}

static void pull(struct mq_flow *w)
{
	struct mq_read *k = read_new(w);

	k->f->n.pulls++;
	k->u.pull = (struct engine_pull){.ask = {.done = pulled}, .actor = &k->f->actor, .topic = w->topic->name, .queue = w->queue, .from = w->next,
		.max_msgs = MQ_PULL_MSGS, .max_bytes = MQ_PULL_BYTES, .has_expr = true, .expr = SLICE_LIT("*"), .commit = -1};
	engine_pull(k->f->engine, &k->u.pull);
}

void mq_session_work(struct mq_session *s)
{
	struct mq_conn *c = s->conn;
	uint64_t hub;

	CHECK_OBJ(s, MQ_SESSION_MAGIC);
	if (c == NULL || c->state != MQ_UP || !s->attached || s->read != NULL || !mq_conn_takes(c))
		return;
	if (s->n_qos1 > 0 && !mq_window_again(s))
		return; /* an acknowledgement wakes it */
	mq_retained_resend(s);
	mq_retained_work(s);
	if (s->parked && s->topic_changes != s->f->topic_changes)
		mq_flows_all(s, true);
	while (!list_empty(&s->behind) && mq_conn_takes(c) && mq_window_again(s)) {
		struct mq_flow *w = container_of(s->behind.next, struct mq_flow, behind);
		if (w->next >= w->again_below && !mq_window_open(s))
			return;
		if (w->state == MQ_SEEK) {
			seek(w);
			return;
		}
		if (!mq_topic_at(w->topic, w->queue, &hub) || w->next < hub || w->next < w->again_below) {
			pull(w);
			return;
		}
		mq_unpark(s);
		go_live(w);
	}
	if (list_empty(&s->behind))
		mq_unpark(s);
}
