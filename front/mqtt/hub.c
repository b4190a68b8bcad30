/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The hub: each topic that a filter of a connected session may match is read once, by a tap, however many subscribe.
 *
 *   closed    nobody wants it, or the topic is not there
 *   opening   where its queues end is asked for, then the tap is opened exactly there: so 'next' is known from the first moment
 *   open      'next' of each queue: what is before it was dispatched
 *   closing   the engine has been told; what it still delivers is dispatched
 *
 * Credit is given back after the engine's turn, as much as a turn should deal out: the more receivers a topic's messages have and the larger they are, the less. So
 * a topic with thousands of subscribers cannot hold up the turn; it reads the log a little later.
 */
#include "front/mqtt/mq.h"

#define QUEUES_MAX 65536u

struct mq_opening;
struct asking {
	struct engine_range ask;
	struct mq_opening *op;
};
struct mq_opening {
	struct mq_topic *topic;
	uint32_t left;                     /* ranges that are not answered */
	enum status status;
	struct engine_sub_open open;
	struct queue_from *from;
	uint32_t n;
	struct asking v[];
};

static void look_again(struct mq_topic *t);

/* ---- Topics --------------------------------------------------------------------------------------------------------------------------- */

struct mq_topic *mq_topic_find(struct mq *f, struct slice name)
{
	return map_get(&f->topics, name);
}

static struct mq_topic *topic_need(struct mq *f, struct slice name)
{
	struct mq_topic *t = mq_topic_find(f, name);

	if (t != NULL)
		return t;
	t = mem_new(sizeof(*t));
	t->magic = MQ_TOPIC_MAGIC;
	t->f = f;
	t->serial = ++f->topic_serial;
	t->name = slice_of(slice_dup(name), name.n);
	t->user = mq_user_topic(name);
	list_init(&t->flows);
	map_put(&f->topics, t->name, t);
	return t;
}

static void topic_free(struct mq_topic *t)
{
	CHECK_OBJ(t, MQ_TOPIC_MAGIC);
	CHECK(list_empty(&t->flows));
	list_remove(&t->owing);
	map_drop(&t->f->topics, t->name);
	mem_free((void *)(uintptr_t)t->name.p);
	mem_free(t->next);
	mem_free(t->swept);
	t->magic = 0;
	mem_free(t);
}

static void tidy(struct mq_topic *t)
{
	if (!t->exists && t->interest == 0 && t->tap == MQ_TAP_CLOSED)
		topic_free(t);
}

static bool wanted(const struct mq_topic *t)
{
	return t->exists && t->user && (t->interest > 0 || t->f->wide > 0) && !t->f->unloading;
}

bool mq_topic_at(const struct mq_topic *t, int32_t queue, uint64_t *ret)
{
	bool known = t->tap == MQ_TAP_OPEN || t->tap == MQ_TAP_CLOSING || (t->tap == MQ_TAP_OPENING && t->op->left == 0) || t->keep;

	if ((uint32_t)queue >= t->n_next || !known || t->stale)
		return false;
	*ret = t->next[queue];
	return true;
}

bool mq_topic_own(struct mq *f, struct slice name)
{
	struct mq_topic *t = mq_topic_find(f, name);

	return t != NULL && t->exists && !t->user;
}

bool mq_topic_tapped(const struct mq_topic *t)
{
	return t->tap == MQ_TAP_OPEN && !t->f->unloading;
}

/* ---- Taps -------------------------------------------------------------------------------------------------------------------------------- */

static void deliver(struct engine_sub *sub, const struct delivery *d)
{
	struct mq_topic *t = container_of(sub, struct mq_topic, sub);
	CHECK_OBJ(t, MQ_TOPIC_MAGIC);
	struct mq *f = t->f;
	struct mq_outgoing o;
	uint32_t sent;

	if (t->granted > 0)
		t->granted--;
	if (!list_linked(&t->owing))
		list_push(&f->owing, &t->owing);
	if (d->queue < 0 || (uint32_t)d->queue >= t->n_next || d->offset < t->next[d->queue])
		return;
	if (mq_outgoing_read(f, d->record, d->blob, t, &o)) {
		sent = mq_dispatch(f, t, d->queue, d->offset, &o);
		mq_outgoing_fini(&o);
		f->dealt += sent;
		t->fan_out = (t->fan_out * 7 + sent * 8) / 8;
		t->size = (t->size * 7 + (uint32_t)u64_min(d->record.n, UINT32_MAX / 16) + 7) / 8;
	}
	t->next[d->queue] = d->offset + 1;
}

static void ended(struct engine_sub *sub, enum status st)
{
	struct mq_topic *t = container_of(sub, struct mq_topic, sub);
	CHECK_OBJ(t, MQ_TOPIC_MAGIC);
	struct mq *f = t->f;

	log_trace(f->log, "mqtt", "topic=%.*s tap ended status=%s", (int)t->name.n, (const char *)t->name.p, status_name(st));
	t->tap = MQ_TAP_CLOSED;
	t->granted = 0;
	list_remove(&t->owing);
	if (st != ST_CLOSED && st != ST_NO_TOPIC)
		log_error(f->log, "mqtt", "topic=%.*s cannot be read any more: %s", (int)t->name.n, (const char *)t->name.p, status_text(st));
	if (!t->keep)
		t->n_next = 0;
	mq_answered(f);
	/* An end that we did not ask for is not tried again at once: the sweep does. */
	if (st == ST_CLOSED || t->again)
		look_again(t);
	else
		tidy(t);
}

/* How many records of the topic a turn should deal out. */
static uint32_t slice_of_turn(const struct mq_topic *t)
{
	uint64_t n = u64_min(MQ_FAN_OUT * 8ull / (t->fan_out + 1), MQ_TURN_BYTES / (t->size + 1));

	return (uint32_t)u64_max(1, u64_min(n, MQ_TURN_RECORDS));
}

uint64_t mq_hub_flush(struct mq *f, uint64_t now_ns)
{
	struct list *n;

	/* After many deliveries those who publish get their turns before there are more. */
	if (f->dealt >= MQ_DEAL_MANY && f->n.published != f->dealt_published)
		f->deal_due = clock_mono_ns(f->clock) + f->dealt * MQ_DEAL_NS; /* the turn began a while ago */
	f->dealt = 0;
	f->dealt_published = f->n.published;
	if (list_empty(&f->owing))
		return NEVER;
	if (now_ns < f->deal_due)
		return f->deal_due;
	while ((n = list_pop(&f->owing)) != NULL) {
		struct mq_topic *t = container_of(n, struct mq_topic, owing);
		uint32_t want = slice_of_turn(t);
		if (t->tap != MQ_TAP_OPEN || t->granted >= want)
			continue;
		engine_sub_credit(f->engine, &t->sub, want - t->granted);
		t->granted = want;
	}
	return 0;
}

/* ---- Opening ------------------------------------------------------------------------------------------------------------------------------ */

static void opening_free(struct mq_topic *t)
{
	struct mq_opening *op = t->op;

	t->op = NULL;
	mem_free(op->from);
	mem_free(op);
}

static void opened(struct engine_ask *a, enum status st)
{
	struct mq_opening *op = container_of(container_of(a, struct engine_sub_open, ask), struct mq_opening, open);
	struct mq_topic *t = op->topic;
	CHECK_OBJ(t, MQ_TOPIC_MAGIC);
	struct mq *f = t->f;

	opening_free(t);
	if (st == ST_OK) {
		t->tap = MQ_TAP_OPEN; /* it is counted until it has ended */
		t->keep = false;
		LIST_EACH(&t->flows, n)
			mq_session_wake(container_of(n, struct mq_flow, in_topic)->session);
	} else {
		if (st != ST_CLOSED && st != ST_NO_TOPIC)
			log_error(f->log, "mqtt", "topic=%.*s cannot be read: %s", (int)t->name.n, (const char *)t->name.p, status_text(st));
		t->tap = MQ_TAP_CLOSED;
		t->keep = st != ST_CLOSED && wanted(t) && !t->stale; /* the next attempt misses nothing */
		if (!t->keep)
			t->n_next = 0;
		mq_answered(f);
	}
	if (st == ST_OK || t->again)
		look_again(t);
	else
		tidy(t);
}

static void open_tap(struct mq_topic *t)
{
	struct mq *f = t->f;
	struct mq_opening *op = t->op;

	t->next = mem_grow(t->next, op->n * sizeof(*t->next));
	t->swept = mem_grow(t->swept, op->n * sizeof(*t->swept));
	for (uint32_t q = 0; q < op->n; q++)
		t->next[q] = t->swept[q] = op->from[q].offset;
	t->n_next = op->n;
	t->granted = 1;
	t->sub = (struct engine_sub){.deliver = deliver, .ended = ended};
	op->open = (struct engine_sub_open){.ask = {.done = opened}, .actor = &f->actor, .sub = &t->sub, .topic = t->name, .expr = SLICE_LIT("*"),
		.start = SUB_START_FIRST, .tap = true, .from = op->from, .n_from = op->n, .credit = t->granted};
	mq_asked(f);
	engine_sub_open(f->engine, &op->open);
}

static void range_done(struct engine_ask *a, enum status st)
{
	struct asking *k = container_of(container_of(a, struct engine_range, ask), struct asking, ask);
	struct mq_opening *op = k->op;
	struct mq_topic *t = op->topic;
	struct mq *f = t->f;
	uint32_t q = (uint32_t)k->ask.queue;

	if (st == ST_OK)
		op->from[q].offset = k->ask.max;
	else
		op->status = st;
	mq_answered(f);
	if (--op->left > 0)
		return;
	if (op->status == ST_OK) {
		open_tap(t);
		return;
	}
	/* The topic changed meanwhile; who changed it has told, or will. */
	opening_free(t);
	t->tap = MQ_TAP_CLOSED;
	t->n_next = 0;
	if (t->again)
		look_again(t);
	else
		tidy(t);
}

static void begin_opening(struct mq_topic *t)
{
	struct mq *f = t->f;
	uint32_t n = (uint32_t)u64_min(u64_max(t->queues, 1), QUEUES_MAX);
	struct mq_opening *op = mem_new(sizeof(*op) + n * sizeof(op->v[0]));

	t->tap = MQ_TAP_OPENING;
	t->again = t->stale = false;
	t->op = op;
	op->topic = t;
	op->n = n;
	op->from = mem_array(n, sizeof(*op->from));
	for (uint32_t q = 0; q < n; q++)
		op->from[q] = (struct queue_from){.queue = (int32_t)q, .offset = t->keep && q < t->n_next ? t->next[q] : 0};
	/* All of a new topic, or a new queue, is new. */
	if (t->fresh || t->keep) {
		t->fresh = t->keep = false;
		open_tap(t);
		return;
	}
	op->left = n;
	for (uint32_t q = 0; q < n; q++) {
		op->v[q].op = op;
		op->v[q].ask = (struct engine_range){.ask = {.done = range_done}, .actor = &f->actor, .topic = t->name, .queue = (int32_t)q};
		mq_asked(f);
		engine_range(f->engine, &op->v[q].ask);
	}
}

static void close_tap(struct mq_topic *t)
{
	t->tap = MQ_TAP_CLOSING;
	engine_sub_close(t->f->engine, &t->sub);
}

static void look_again(struct mq_topic *t)
{
	if (t->tap == MQ_TAP_CLOSED && wanted(t)) {
		begin_opening(t);
	} else if (t->tap == MQ_TAP_OPEN && (!wanted(t) || t->stale || t->n_next < t->queues)) {
		t->keep = (wanted(t) || t->f->unloading) && !t->stale;
		close_tap(t);
	} else if (t->tap == MQ_TAP_OPENING || t->tap == MQ_TAP_CLOSING) {
		t->again = true;
	}
	/* A tap that is wanted again before it has closed goes on where it stops: who came back in between is live from there. */
	if ((t->tap == MQ_TAP_CLOSING || t->tap == MQ_TAP_CLOSED) && !t->f->unloading)
		t->keep = wanted(t) && !t->stale && (t->tap == MQ_TAP_CLOSING || t->keep);
	if (t->tap == MQ_TAP_CLOSED && !t->keep)
		t->n_next = 0;
	tidy(t);
}

/* ---- Who wants what -------------------------------------------------------------------------------------------------------------------------- */

void mq_topic_hold(struct mq *f, struct slice name, void *unused)
{
	struct mq_topic *t = topic_need(f, name);

	(void)unused;
	t->interest++;
	look_again(t);
}

void mq_topic_drop(struct mq *f, struct slice name, void *unused)
{
	struct mq_topic *t = mq_topic_find(f, name);

	(void)unused;
	CHECK(t != NULL && t->interest > 0);
	t->interest--;
	look_again(t);
}

static void look_at_all(struct mq *f)
{
	struct mq_topic **v = mem_array(f->topics.count + 1, sizeof(struct mq_topic *));
	struct map_slot *slot;
	size_t n = 0;

	for (size_t at = 0; (slot = map_each(&f->topics, &at)) != NULL;)
		v[n++] = slot->value;
	while (n > 0)
		look_again(v[--n]);
	mem_free(v);
}

void mq_hub_sweep(struct mq *f)
{
	look_at_all(f);
}

void mq_topics_wide(struct mq *f, int change)
{
	f->wide += (uint32_t)change;
	if (f->wide == 0 || (f->wide == 1 && change > 0))
		look_at_all(f);
}

static void check_settled(struct mq *f, struct slice topic, void *arg)
{
	struct mq_topic *t = mq_topic_find(f, topic);

	if (t != NULL && wanted(t) && (t->tap == MQ_TAP_OPENING || t->tap == MQ_TAP_CLOSING))
		*(bool *)arg = false;
}

bool mq_hub_settled(struct mq *f, struct slice filter)
{
	struct map_slot *slot;
	bool settled = true;

	if (!mq_filter_wide(filter)) {
		mq_filter_topics(f, filter, check_settled, &settled);
		return settled;
	}
	for (size_t at = 0; (slot = map_each(&f->topics, &at)) != NULL && settled;)
		check_settled(f, slot->key, &settled);
	return settled;
}

/* ---- What the engine has ------------------------------------------------------------------------------------------------------------------------ */

static void count_queues(struct mq_topic *t)
{
	uint32_t n = t->exists && t->user ? t->queues : 0;

	t->f->n_queues = t->f->n_queues - t->counted + n;
	t->counted = n;
}

static void topic_gone(struct mq_topic *t)
{
	t->exists = false;
	count_queues(t);
	t->f->topic_changes++;
	t->keep = t->fresh = false;
	t->stale = t->tap != MQ_TAP_CLOSED;
	LIST_EACH_SAFE(&t->flows, n, next)
		mq_flow_free(container_of(n, struct mq_flow, in_topic));
	if (t->tap == MQ_TAP_OPEN)
		close_tap(t);
	look_again(t);
}

static void topic_there(struct mq *f, const struct topic_info *info, bool is_new)
{
	struct mq_topic *t = topic_need(f, info->name);

	t->user = mq_user_topic(info->name) && !info->system;
	t->queues = info->conf.read_queues;
	f->topic_changes++;
	if (!t->exists)
		t->fresh = is_new && (t->interest > 0 || f->wide > 0);
	t->exists = true;
	count_queues(t);
	look_again(t);
}

static void on_topic(struct engine_watch *w, const struct topic_info *info, bool dropped)
{
	struct mq *f = container_of(w, struct mq, watch);
	CHECK_OBJ(f, MQ_MAGIC);
	struct mq_topic *t;

	if (!dropped)
		topic_there(f, info, true);
	else if ((t = mq_topic_find(f, info->name)) != NULL)
		topic_gone(t);
}

struct listing {
	struct mq *f;
	struct engine_topics ask;
};

static void listed(struct engine_ask *a, enum status st)
{
	struct listing *k = container_of(container_of(a, struct engine_topics, ask), struct listing, ask);
	struct mq *f = k->f;

	for (size_t i = 0; st == ST_OK && i < k->ask.count; i++)
		topic_there(f, &k->ask.v[i], false);
	mem_free(k);
	mq_loaded(f, st);
}

void mq_hub_load(struct mq *f)
{
	struct listing *k = mem_new(sizeof(*k));

	f->watch.topic = on_topic;
	engine_watch_add(f->engine, &f->watch);
	f->watching = true;
	k->f = f;
	k->ask = (struct engine_topics){.ask = {.done = listed}, .actor = &f->actor};
	f->loading++;
	mq_asked(f);
	engine_topic_list(f->engine, &k->ask);
}

void mq_hub_unload(struct mq *f)
{
	if (f->watching)
		engine_watch_drop(f->engine, &f->watch);
	f->watching = false;
	f->unloading = true;
	look_at_all(f);
}

void mq_hub_free(struct mq *f)
{
	struct map_slot *slot;
	size_t at;

	while (at = 0, (slot = map_each(&f->topics, &at)) != NULL)
		topic_free(slot->value);
	map_fini(&f->topics);
}
