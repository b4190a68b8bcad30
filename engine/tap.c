/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Taps: readers of a topic by position, over all its queues. Nothing is leased or remembered.
 *
 *   TAIL   it has seen what was handed on so far. It has no position of its own: 'hand' of the topic has it for all at the tail
 *   RUN    it has credit and something to read: it reads from its own positions, a bounded piece each turn
 *   REST   it stands before a message for which it has no credit, or waits for a block, a timer or the answer to its open
 *
 * One record that became visible is looked up and read once, and is given to all taps at the tail that want it before the next one is looked at.
 * A tap that wants it and has no credit leaves the tail there, at REST; credit makes it RUN, and once it is behind the hand in no queue it is at the tail
 * again. A tap may also be before the hand, when it began at an end that the hand had not come to; at the tail it skips what is before its beginning.
 *
 *      handed on          the hand            the queue's end
 *   -------------------|---------------------|
 *        ^ taps at RUN, REST   ^ taps at TAIL     ^ a tap that begins now
 *
 * The hand goes through the queues in the order of the log, as far as it looks at TAP_MERGE of them at once; a tap that reads for itself goes through one
 * queue after the other. Order within a queue always holds. Without taps at the tail the hand only moves to the queues' ends.
 *
 * A callback may close taps, open them, grant credit and drop the topic: whoever calls one looks at 'over' and 'dead' after it.
 */
#include "base/mem.h"
#include "engine/groups.h"

#define TAPS_MAGIC 0x54415053u
#define TAP_STEP 64u             /* index entries read at once */
#define TAP_MERGE 16u            /* queues among which the hand takes the earliest record */
#define TAP_HAND_RECORDS 256u    /* records that one topic's hand passes in one turn */
#define TAP_BURST 512u           /* index entries that one tap reads for itself in one turn; more than the hand, so that it comes up with it */
#define TAP_TURN 4096u           /* units of work in one turn over all topics, for hands and for taps at RUN each */
#define TAP_UNIT_BYTES 4096u     /* bytes handed out that count as one more unit */
#define TAP_AGAIN_MS UINT64_C(1000) /* after a read that failed */
#define TAP_SOON_MS UINT64_C(10)    /* while a queue's index is being mended */
#define TAP_UNPLACED UINT64_MAX  /* a position that is found when the tap runs */

/* One queue as the hand sees it. */
struct hand_queue {
	struct taps *taps;
	int32_t id;
	uint64_t next;             /* handed on up to here */
	struct queue_waiter waiter;
	struct list link;          /* taps->dirty: there is more */
	struct qentry cache[8];    /* index entries from cache_at on */
	uint64_t cache_at;
	unsigned cache_n;
};

/* All taps of one topic, and the hand. */
struct taps {
	uint32_t magic;
	struct groups_state *gs;
	struct topic *topic;
	struct list all, tail;
	struct hand_queue **q;     /* [n] */
	uint32_t n;
	size_t count;
	struct list dirty;         /* struct hand_queue */
	struct list due;           /* gs->hands */
	struct clog_wait wait;
	struct eng_timer again;
	struct list grave;         /* gs->dead_taps */
	bool dead;
};

struct tap {
	uint32_t magic;            /* first, as in struct sub */
	uint32_t credit;
	struct list link;          /* taps->tail, gs->taps_run or gs->ended_taps */
	bool at_tail, ahead, opening, over;
	struct filter filter;
	struct groups_state *gs;
	struct engine_sub *who;
	struct taps *taps;         /* not to be touched once 'over' */
	uint64_t *next;            /* [n]: positions; at the tail only those before the hand count */
	uint32_t n, at;            /* at: the queue to go on with */
	uint64_t start_position;   /* where TAP_UNPLACED queues begin */
	struct list all;
	struct clog_wait wait;
	struct eng_timer again;
	enum status why;
	struct engine_ask open;    /* completes the caller's */
	struct engine_ask *user;
};

/* ---- Waking ------------------------------------------------------------------------------------------------------------------------- */

static void hand_wake(struct taps *ts)
{
	if (ts->dead || list_linked(&ts->due))
		return;
	list_push(&ts->gs->hands, &ts->due);
	pump_soon(ts->gs);
}

static void hand_loaded(struct clog_wait *w)
{
	struct taps *ts = container_of(w, struct taps, wait);

	if (w->failed)
		eng_timer_set(ts->gs->eng, &ts->again, ts->gs->eng->now_ns + TAP_AGAIN_MS * MS_NS);
	else
		hand_wake(ts);
}

static void hand_again(struct eng *g, struct eng_timer *t)
{
	(void)g;
	hand_wake(container_of(t, struct taps, again));
}

static void tap_wake(struct tap *t)
{
	if (t->over || t->opening || t->at_tail || list_linked(&t->link) || list_linked(&t->wait.link) || heap_has(&t->again.node))
		return;
	list_push(&t->gs->taps_run, &t->link);
	pump_soon(t->gs);
}

static void tap_loaded(struct clog_wait *w)
{
	struct tap *t = container_of(w, struct tap, wait);

	if (w->failed)
		eng_timer_set(t->gs->eng, &t->again, t->gs->eng->now_ns + TAP_AGAIN_MS * MS_NS);
	else
		tap_wake(t);
}

static void tap_again(struct eng *g, struct eng_timer *t)
{
	(void)g;
	tap_wake(container_of(t, struct tap, again));
}

/* The hand of a topic without taps at the tail has nothing to look at. */
static void hand_jump(struct hand_queue *h)
{
	h->next = queue_end(h->taps->topic, h->id);
	h->cache_n = 0;
	list_remove(&h->link);
}

static void arrived(struct eng *g, struct queue_waiter *w, const struct qentry *e)
{
	struct hand_queue *h = container_of(w, struct hand_queue, waiter);

	(void)g;
	(void)e;
	if (list_empty(&h->taps->tail)) {
		hand_jump(h);
		return;
	}
	if (!list_linked(&h->link))
		list_push(&h->taps->dirty, &h->link);
	hand_wake(h->taps);
}

/* ---- Topics -------------------------------------------------------------------------------------------------------------------------- */

static void grow(struct taps *ts)
{
	uint32_t n = ts->topic->conf.read_queues < ts->topic->n_queues ? ts->topic->conf.read_queues : ts->topic->n_queues;

	if (n <= ts->n)
		return;
	ts->q = mem_grow(ts->q, n * sizeof(struct hand_queue *));
	for (uint32_t i = ts->n; i < n; i++) {
		struct hand_queue *h = mem_new(sizeof *h);
		h->taps = ts;
		h->id = (int32_t)i;
		list_init(&h->link);
		h->waiter.arrived = arrived;
		list_push(&topic_queue(ts->gs->eng, ts->topic, h->id)->waiters, &h->waiter.link);
		h->next = queue_end(ts->topic, h->id);
		ts->q[i] = h;
	}
	LIST_EACH(&ts->all, l) {
		struct tap *t = container_of(l, struct tap, all);
		t->next = mem_grow(t->next, n * sizeof *t->next);
		for (uint32_t i = t->n; i < n; i++)
			t->next[i] = 0;
		t->n = n;
	}
	ts->n = n;
}

static struct taps *taps_of(struct groups_state *gs, struct topic *t)
{
	struct taps *ts = u64map_get(&gs->taps, (uint64_t)(uintptr_t)t);

	if (ts != NULL)
		return ts;
	ts = mem_new(sizeof *ts);
	ts->magic = TAPS_MAGIC;
	ts->gs = gs;
	ts->topic = t;
	list_init(&ts->all);
	list_init(&ts->tail);
	list_init(&ts->dirty);
	list_init(&ts->due);
	list_init(&ts->wait.link);
	list_init(&ts->grave);
	ts->wait.ready = hand_loaded;
	ts->again.fire = hand_again;
	u64map_put(&gs->taps, (uint64_t)(uintptr_t)t, ts);
	grow(ts);
	return ts;
}

/* The last tap has gone. The memory stays until the next pump: somebody may be at work on it. */
static void taps_close(struct taps *ts)
{
	struct groups_state *gs = ts->gs;

	CHECK_OBJ(ts, TAPS_MAGIC);
	CHECK(list_empty(&ts->all) && !ts->dead);
	ts->dead = true;
	for (uint32_t i = 0; i < ts->n; i++) {
		list_remove(&ts->q[i]->waiter.link);
		list_remove(&ts->q[i]->link);
	}
	list_remove(&ts->due);
	list_remove(&ts->wait.link);
	eng_timer_stop(gs->eng, &ts->again);
	CHECK(u64map_drop(&gs->taps, (uint64_t)(uintptr_t)ts->topic) == ts);
	ts->topic = NULL;
	list_push(&gs->dead_taps, &ts->grave);
	pump_soon(gs);
}

static void taps_free(struct taps *ts)
{
	heap_drop(&ts->gs->eng->timers, &ts->again.node);
	for (uint32_t i = 0; i < ts->n; i++)
		mem_free(ts->q[i]);
	mem_free(ts->q);
	ts->magic = 0;
	mem_free(ts);
}

void taps_topic_changed(struct groups_state *gs, struct topic *t)
{
	struct taps *ts = u64map_get(&gs->taps, (uint64_t)(uintptr_t)t);

	if (ts != NULL)
		grow(ts);
}

/* ---- A tap's life ---------------------------------------------------------------------------------------------------------------------- */

static void tap_end(struct tap *t, enum status why)
{
	struct taps *ts = t->taps;

	CHECK_OBJ(t, TAP_MAGIC);
	CHECK(!t->over);
	t->over = true;
	t->why = why;
	t->credit = 0;
	list_remove(&t->link);
	list_remove(&t->all);
	list_remove(&t->wait.link);
	eng_timer_stop(t->gs->eng, &t->again);
	t->gs->eng->stats[STAT_TAPS]--;
	list_push(&t->gs->ended_taps, &t->link);
	pump_soon(t->gs);
	if (--ts->count == 0)
		taps_close(ts);
}

static void tap_free(struct tap *t)
{
	heap_drop(&t->gs->eng->timers, &t->again.node);
	filter_fini(&t->filter);
	mem_free(t->next);
	t->magic = 0;
	mem_free(t);
}

void taps_topic_dropped(struct groups_state *gs, struct topic *t)
{
	struct taps *ts = u64map_get(&gs->taps, (uint64_t)(uintptr_t)t);

	while (ts != NULL && !ts->dead)
		tap_end(container_of(ts->all.next, struct tap, all), ST_NO_TOPIC);
}

void taps_end(struct groups_state *gs, enum status why)
{
	size_t at = 0;

	for (struct u64map_slot *s; (s = u64map_each(&gs->taps, &at)) != NULL; at = 0) {
		struct taps *ts = s->value;
		while (!ts->dead)
			tap_end(container_of(ts->all.next, struct tap, all), why);
	}
}

void taps_fini(struct groups_state *gs)
{
	size_t at = 0;

	for (struct u64map_slot *s; (s = u64map_each(&gs->taps, &at)) != NULL;) {
		struct taps *ts = s->value;
		LIST_EACH_SAFE(&ts->all, n, next)
			tap_free(container_of(n, struct tap, all));
		taps_free(ts);
	}
	u64map_fini(&gs->taps);
	LIST_EACH_SAFE(&gs->ended_taps, n, next)
		tap_free(container_of(n, struct tap, link));
	LIST_EACH_SAFE(&gs->dead_taps, n, next)
		taps_free(container_of(n, struct taps, grave));
}

static struct tap *next_ended(struct groups_state *gs)
{
	LIST_EACH(&gs->ended_taps, n) {
		struct tap *t = container_of(n, struct tap, link);
		if (!t->opening) /* its open is answered first */
			return t;
	}
	return NULL;
}

static void fire_ended(struct groups_state *gs)
{
	struct tap *t;

	while ((t = next_ended(gs)) != NULL) {
		struct engine_sub *who = t->who;
		enum status why = t->why;
		list_remove(&t->link);
		tap_free(t);
		who->priv[0] = NULL;
		if (who->ended != NULL)
			who->ended(who, why);
	}
}

/* The open is answered before the first delivery. */
static void open_done(struct engine_ask *a, enum status st)
{
	struct tap *t = container_of(a, struct tap, open);
	struct engine_ask *user = t->user;

	CHECK_OBJ(t, TAP_MAGIC);
	CHECK(st == ST_OK);
	t->opening = false;
	if (t->over)
		pump_soon(t->gs);
	else
		tap_wake(t);
	user->status = st;
	if (user->done != NULL)
		user->done(user, st);
}

/* Where it begins in a queue that is there. */
static uint64_t first_position(struct groups_state *gs, const struct engine_sub_open *r, struct topic *t, uint32_t queue)
{
	struct queue *q = topic_queue(gs->eng, t, (int32_t)queue);
	uint64_t min = queue_min(gs->eng, q), end = q->index.next;

	switch (r->start) {
	case SUB_START_FIRST:
		return min;
	case SUB_START_OFFSET:
		return u64_min(u64_max(r->start_offset, min), end);
	case SUB_START_POSITION:
		return TAP_UNPLACED;
	default:
		return end;
	}
}

static enum status check(struct eng *g, const struct engine_sub_open *r, struct topic *t)
{
	if (r->group.n > 0 || r->detach || r->start > SUB_START_POSITION)
		return ST_BAD_ARG;
	for (size_t i = 0; i < r->n_from; i++)
		if (r->from[i].queue < 0 || r->from[i].offset >= OFFSET_LIMIT)
			return ST_BAD_ARG;
	if (t == NULL)
		return ST_NO_TOPIC;
	if (r->n_from > 0 && r->start == SUB_START_POSITION && r->start_offset > 0 && r->start_offset < t->incarnation)
		return ST_GONE;
	if ((t->conf.perm & PERM_READ) == 0)
		return ST_DENIED;
	return g->stats[STAT_TAPS] >= g->conf.max_waiting ? ST_BUSY : ST_OK;
}

void tap_open(struct groups_state *gs, struct engine_sub_open *r)
{
	struct topic *topic = topic_find(gs->eng, r->topic);
	struct filter filter = {0};
	enum status st = check(gs->eng, r, topic);

	CHECK(r->sub != NULL && r->sub->deliver != NULL && r->sub->priv[0] == NULL);
	r->incarnation = topic == NULL ? 0 : topic->incarnation;
	if (st == ST_OK)
		st = filter_set(&filter, r->expr);
	if (st != ST_OK) {
		eng_complete(gs->eng, &r->ask, st);
		return;
	}
	struct taps *ts = taps_of(gs, topic);
	struct tap *t = mem_new(sizeof *t);
	t->magic = TAP_MAGIC;
	t->gs = gs;
	t->taps = ts;
	t->who = r->sub;
	t->filter = filter;
	t->credit = r->credit;
	t->start_position = r->start_offset;
	t->n = ts->n;
	t->next = mem_array(ts->n, sizeof *t->next);
	for (uint32_t i = 0; i < ts->n; i++)
		t->next[i] = first_position(gs, r, topic, i);
	for (size_t i = 0; i < r->n_from; i++)
		if ((uint32_t)r->from[i].queue < ts->n)
			t->next[r->from[i].queue] = u64_min(r->from[i].offset, queue_end(topic, r->from[i].queue));
	list_init(&t->link);
	list_init(&t->wait.link);
	t->wait.ready = tap_loaded;
	t->again.fire = tap_again;
	list_push(&ts->all, &t->all);
	ts->count++;
	gs->eng->stats[STAT_TAPS]++;
	r->sub->priv[0] = t;
	t->opening = true;
	t->user = &r->ask;
	t->open.done = open_done;
	t->open.verb = r->ask.verb;
	eng_complete(gs->eng, &t->open, ST_OK);
}

void tap_credit(struct tap *t, uint32_t more)
{
	CHECK_OBJ(t, TAP_MAGIC);
	if (t->over)
		return;
	t->credit = more > UINT32_MAX - t->credit ? UINT32_MAX : t->credit + more;
	if (more > 0)
		tap_wake(t);
}

void tap_close(struct tap *t)
{
	CHECK_OBJ(t, TAP_MAGIC);
	if (!t->over)
		tap_end(t, ST_CLOSED);
}

/* ---- Handing out --------------------------------------------------------------------------------------------------------------------------- */

/* What a turn may still do. */
struct budget {
	uint32_t units;
};

static void spend(struct budget *b, uint64_t units)
{
	b->units -= (uint32_t)u64_min(units, b->units);
}

/* A record's bytes with a reference. What this process wrote and still has in memory is as it was made, so only the rest is checked. */
static enum status fetch(struct eng *g, const struct qentry *e, struct blob **ret, struct slice *ret_bytes, struct clog_wait *w)
{
	struct piece v[RECORD_PIECES];
	unsigned n;
	enum status st = eng_record_pieces(g, e, v, RECORD_PIECES, &n, w);

	if (st != ST_OK)
		return st;
	if (n > 1 || clog_piece_cold(&v[0]))
		return eng_record_blob(g, e->position, e->size, ret, ret_bytes, w);
	*ret = blob_hold(v[0].blob);
	*ret_bytes = v[0].bytes;
	return ST_OK;
}

static void log_lost(struct eng *g, const struct topic *t, int32_t queue, uint64_t offset, enum status st)
{
	log_error(g->log, "tap", "topic=%s queue=%d offset=%llu passed over: %s", t->name, queue, (unsigned long long)offset, status_text(st));
}

/* The tap is closed, and the topic dropped maybe, when this returns. */
static void give(struct tap *t, const struct delivery *d)
{
	struct eng *g = t->gs->eng;

	CHECK(t->credit > 0);
	t->credit--;
	eng_count(g, STAT_MESSAGES_OUT_TOTAL, 1);
	eng_count(g, STAT_BYTES_OUT_TOTAL, d->record.n);
	t->who->deliver(t->who, d);
}

/* ---- The tail ------------------------------------------------------------------------------------------------------------------------------- */

/* From here on the tap has positions of its own. */
static void leave_tail(struct tap *t)
{
	struct taps *ts = t->taps;

	for (uint32_t i = 0; i < t->n; i++)
		t->next[i] = t->ahead ? u64_max(t->next[i], ts->q[i]->next) : ts->q[i]->next;
	t->at_tail = t->ahead = false;
	list_remove(&t->link);
}

/* It is behind the hand in no queue. */
static void join_tail(struct tap *t)
{
	struct taps *ts = t->taps;

	for (uint32_t i = 0; i < t->n; i++) {
		CHECK(t->next[i] >= ts->q[i]->next && t->next[i] != TAP_UNPLACED);
		t->ahead |= t->next[i] > ts->q[i]->next;
	}
	t->at_tail = true;
	list_remove(&t->link);
	list_push(&ts->tail, &t->link);
	log_trace(t->gs->eng->log, "tap", "topic=%s event=at-tail", ts->topic->name);
}

static bool wants(const struct tap *t, const struct hand_queue *h, const struct qentry *e)
{
	return tag_filter_match(&t->filter.f, e->tag) && !(t->ahead && h->next < t->next[h->id]);
}

static bool anybody(const struct taps *ts, const struct hand_queue *h, const struct qentry *e)
{
	LIST_EACH(&ts->tail, n) {
		const struct tap *t = container_of(n, struct tap, link);
		if (t->credit > 0 && wants(t, h, e))
			return true;
	}
	return false;
}

/* The hand stops until it is woken. */
static bool hand_pause(struct taps *ts, enum status st)
{
	if (st != ST_BUSY || !list_linked(&ts->wait.link))
		eng_timer_set(ts->gs->eng, &ts->again, ts->gs->eng->now_ns + (st == ST_BUSY ? TAP_SOON_MS : TAP_AGAIN_MS) * MS_NS);
	return false;
}

/* The entry that the hand is at. EMPTY: none is there; else it has to wait. */
static enum status hand_peek(struct hand_queue *h, const struct qentry **ret)
{
	struct eng *g = h->taps->gs->eng;
	struct queue *q = topic_queue(g, h->taps->topic, h->id);
	enum status st = queue_trim(g, q);

	if (st == ST_BUSY)
		return st;
	h->next = u64_max(h->next, queue_min(g, q)); /* retention took what is before */
	while (h->next < q->index.next) {
		if (h->next >= h->cache_at && h->next < h->cache_at + h->cache_n) {
			*ret = &h->cache[h->next - h->cache_at];
			return ST_OK;
		}
		h->cache_at = h->next;
		h->cache_n = eng_index_read(g, q, h->next, h->cache, ARRAY_LEN(h->cache), &st);
		if (h->cache_n > 0)
			continue;
		if (st != ST_CORRUPT)
			return st == ST_NOT_FOUND ? ST_EMPTY : st;
		log_lost(g, h->taps->topic, h->id, h->next++, st);
	}
	return ST_EMPTY;
}

/* The queue whose next record comes first in the log, of the first few. EMPTY: the hand is where all queues end. */
static enum status hand_choose(struct taps *ts, struct hand_queue **ret, struct qentry *ret_entry)
{
	const struct qentry *e = NULL;
	unsigned seen = 0;

	*ret = NULL;
	LIST_EACH_SAFE(&ts->dirty, n, next) {
		struct hand_queue *h = container_of(n, struct hand_queue, link);
		enum status st = hand_peek(h, &e);
		if (st == ST_EMPTY) {
			list_remove(n);
			continue;
		}
		if (st != ST_OK)
			return st;
		if (*ret == NULL || e->position < ret_entry->position) {
			*ret = h;
			*ret_entry = *e;
		}
		if (++seen == TAP_MERGE)
			break;
	}
	return *ret == NULL ? ST_EMPTY : ST_OK;
}

/* One record to all at the tail; blob NULL: nobody with credit wants it. Each tap is taken off the tail before its callback. */
static void hand_out(struct taps *ts, struct hand_queue *h, const struct qentry *e, struct blob *blob, struct slice bytes, struct budget *b)
{
	struct delivery d = {.record = bytes, .blob = blob, .topic = topic_name(ts->topic), .queue = h->id, .offset = h->next, .attempt = 1};
	uint64_t given = ts->gs->eng->stats[STAT_MESSAGES_OUT_TOTAL];
	unsigned left = 0;
	struct list passed, *n;

	list_init(&passed);
	while ((n = list_pop(&ts->tail)) != NULL) {
		struct tap *t = container_of(n, struct tap, link);
		if (!wants(t, h, e)) {
			list_push(&passed, n);
		} else if (t->credit == 0) {
			leave_tail(t);
			left++;
		} else {
			list_push(&passed, n);
			give(t, &d);
		}
		spend(b, 1);
	}
	list_move(&ts->tail, &passed);
	given = ts->gs->eng->stats[STAT_MESSAGES_OUT_TOTAL] - given;
	log_trace(ts->gs->eng->log, "tap", "queue=%d offset=%llu given=%llu left-behind=%u", h->id, (unsigned long long)h->next, (unsigned long long)given, left);
	if (bytes.n > 0)
		spend(b, bytes.n / TAP_UNIT_BYTES);
	h->next++;
}

/* False: nothing more can be done now. */
static bool hand_step(struct taps *ts, struct budget *b)
{
	struct eng *g = ts->gs->eng;
	struct hand_queue *h;
	struct qentry e;
	struct blob *blob = NULL;
	struct slice bytes = {NULL, 0};
	enum status st = hand_choose(ts, &h, &e);

	if (st == ST_EMPTY)
		return false;
	if (st != ST_OK)
		return hand_pause(ts, st);
	if (anybody(ts, h, &e)) {
		st = fetch(g, &e, &blob, &bytes, &ts->wait);
		if (st == ST_BUSY || st == ST_IO)
			return hand_pause(ts, st);
		if (st != ST_OK) {
			log_lost(g, ts->topic, h->id, h->next++, st);
			return true;
		}
	}
	hand_out(ts, h, &e, blob, bytes, b);
	blob_drop(blob);
	return true;
}

static void hand_run(struct taps *ts, struct budget *b)
{
	unsigned records = TAP_HAND_RECORDS;
	bool more = true;

	if (list_linked(&ts->wait.link) || heap_has(&ts->again.node))
		return;
	while (more && records > 0 && b->units > 0 && !list_empty(&ts->tail)) {
		records--;
		more = hand_step(ts, b);
		if (ts->dead)
			return;
	}
	if (!list_empty(&ts->tail)) {
		if (more)
			hand_wake(ts);
		return;
	}
	struct list *n;
	while ((n = ts->dirty.next) != &ts->dirty)
		hand_jump(container_of(n, struct hand_queue, link));
}

/* ---- Taps that read for themselves ------------------------------------------------------------------------------------------------------------ */

/* Finds out where it begins by the log's position. */
static enum status place(struct tap *t, uint32_t queue)
{
	struct eng *g = t->gs->eng;
	struct queue *q = topic_queue(g, t->taps->topic, (int32_t)queue);
	enum status st = queue_trim(g, q);

	return st == ST_BUSY ? st : queue_find_position(g, q, t->start_position, &t->next[queue]);
}

/* Its turn is over until something calls it again. */
static bool tap_pause(struct tap *t, enum status st)
{
	if (st != ST_BUSY || !list_linked(&t->wait.link))
		eng_timer_set(t->gs->eng, &t->again, t->gs->eng->now_ns + (st == ST_BUSY ? TAP_SOON_MS : TAP_AGAIN_MS) * MS_NS);
	return false;
}

/* One record for one tap. False: it stops here. */
static bool tap_give(struct tap *t, uint32_t queue, const struct qentry *e, struct budget *b)
{
	struct taps *ts = t->taps;
	struct eng *g = t->gs->eng;
	struct blob *blob;
	struct slice bytes;

	if (t->credit == 0)
		return false;
	enum status st = fetch(g, e, &blob, &bytes, &t->wait);
	if (st == ST_BUSY || st == ST_IO)
		return tap_pause(t, st);
	if (st != ST_OK) {
		log_lost(g, ts->topic, (int32_t)queue, t->next[queue]++, st);
		return true;
	}
	struct delivery d = {.record = bytes, .blob = blob, .topic = topic_name(ts->topic), .queue = (int32_t)queue, .offset = t->next[queue]++,
		.attempt = 1};
	spend(b, bytes.n / TAP_UNIT_BYTES);
	log_trace(g->log, "tap", "queue=%u offset=%llu event=from-log", queue, (unsigned long long)d.offset);
	give(t, &d);
	blob_drop(blob);
	return !t->over;
}

/* Reads a queue up to the hand. False: it stops here, *more when only for this turn. */
static bool tap_read(struct tap *t, uint32_t queue, struct budget *b, unsigned *burst, bool *more)
{
	struct taps *ts = t->taps;
	struct eng *g = t->gs->eng;
	struct queue *q = topic_queue(g, ts->topic, (int32_t)queue);
	struct qentry v[TAP_STEP];
	enum status st = t->next[queue] == TAP_UNPLACED ? place(t, queue) : queue_trim(g, q);

	if (st == ST_BUSY || t->next[queue] == TAP_UNPLACED)
		return tap_pause(t, st);
	t->next[queue] = u64_max(t->next[queue], queue_min(g, q)); /* retention took what is before */
	while (t->next[queue] < ts->q[queue]->next) {
		unsigned n = eng_index_read(g, q, t->next[queue], v, (unsigned)u64_min(TAP_STEP, ts->q[queue]->next - t->next[queue]), &st);
		if (n == 0 && st != ST_CORRUPT)
			return tap_pause(t, st);
		if (n == 0)
			log_lost(g, ts->topic, (int32_t)queue, t->next[queue]++, st);
		for (unsigned i = 0; i < n; i++) {
			if (*burst == 0 || b->units == 0) {
				*more = true;
				return false;
			}
			(*burst)--;
			spend(b, 1);
			if (!tag_filter_match(&t->filter.f, v[i].tag))
				t->next[queue]++;
			else if (!tap_give(t, queue, &v[i], b))
				return false;
		}
	}
	return true;
}

/* Its next piece of work: through the queues once, beginning where it stopped, then to the tail if it has come up with the hand. */
static void tap_run(struct tap *t, struct budget *b)
{
	unsigned burst = TAP_BURST;
	bool more = false;
	uint32_t n = t->n;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t queue = t->at;
		t->at = (t->at + 1) % n;
		if (tap_read(t, queue, b, &burst, &more))
			continue;
		if (more && !t->over)
			tap_wake(t);
		return;
	}
	join_tail(t);
}

void taps_pump(struct groups_state *gs)
{
	struct budget hands = {TAP_TURN}, readers = {TAP_TURN};
	struct list now, *n;

	fire_ended(gs);
	list_init(&now);
	list_move(&now, &gs->hands);
	while (hands.units > 0 && (n = list_pop(&now)) != NULL)
		hand_run(container_of(n, struct taps, due), &hands);
	list_move(&now, &gs->hands); /* behind those that had no turn */
	list_move(&gs->hands, &now);
	list_move(&now, &gs->taps_run);
	while (readers.units > 0 && (n = list_pop(&now)) != NULL)
		tap_run(container_of(n, struct tap, link), &readers);
	list_move(&now, &gs->taps_run);
	list_move(&gs->taps_run, &now);
	if (!list_empty(&gs->hands) || !list_empty(&gs->taps_run))
		pump_soon(gs);
}

void taps_bury(struct groups_state *gs)
{
	struct list *n;

	while ((n = list_pop(&gs->dead_taps)) != NULL)
		taps_free(container_of(n, struct taps, grave));
}
