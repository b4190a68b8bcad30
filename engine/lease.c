/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Leases: the engine hands messages to members one by one, takes them back when their time is over, and counts what failed.
 *
 * A subscription belongs to a feed: all subscriptions of one group to one topic share one, and with it one cursor for each queue. An
 * ephemeral subscription has a feed and cursors of its own, and nothing of it is remembered.
 *
 *   looked at --> LEASED --ack--> settled
 *                  |  ^
 *       retry, end |  | credit
 *    of the lease  v  |
 *               WAITING --> READY          after the group's last attempt: COPY --> settled
 *
 * A delivery costs one credit, and settling gives none back. A feed serves its subscriptions in turn, redeliveries first, then its
 * queues in turn. A message that matches no subscription of the feed is settled without a word; one whose subscriptions have no credit
 * holds its queue until they have. A redelivery holds up nobody: it waits, put aside, for a subscription of its tag with credit, also when there is
 * none of its tag at all; when its queue is full by then, it waits as a record of the group's retry topic.
 *
 * A group's feed outlives its last subscription by feed_linger_ms, and by its detached leases: with it the engine keeps its place among the native
 * members, who need not divide the queues anew because a caller's poll ended and its next one is on its way. At rest it delivers nothing.
 *
 * How deliveries are settled: settle.c.
 */
#include "base/mem.h"
#include "base/props.h"
#include "engine/groups.h"

static void feed_close(struct feed *f);

/* ---- Feeds ------------------------------------------------------------------------------------------------------------------------------ */

void feed_wake(struct feed *f)
{
	CHECK_OBJ(f, FEED_MAGIC);
	if (f->dead || list_linked(&f->due))
		return;
	list_push(&f->gs->feeds_run, &f->due);
	pump_soon(f->gs);
}

/* Somebody may want what was put aside. */
static void look_again(struct feed *f)
{
	list_move(&f->aside, &f->ready);
	list_move(&f->ready, &f->aside);
}

static void feed_block_ready(struct clog_wait *w)
{
	feed_wake(container_of(w, struct feed, wait));
}

static void feed_try_again(struct eng *g, struct eng_timer *t)
{
	(void)g;
	feed_wake(container_of(t, struct feed, again));
}

static void linger_over(struct eng *g, struct eng_timer *t)
{
	struct feed *f = container_of(t, struct feed, linger);

	(void)g;
	if (f->n_subs == 0 && f->n_detached == 0)
		feed_close(f);
}

void feed_rest(struct feed *f)
{
	CHECK_OBJ(f, FEED_MAGIC);
	if (f->n_subs == 0 && f->n_detached == 0)
		eng_timer_set(f->gs->eng, &f->linger, u64_max(f->rest_ns, f->gs->eng->now_ns));
}

static struct feed *feed_new(struct groups_state *gs, struct topic *t, struct group *gr)
{
	struct feed *f = mem_new(sizeof *f);

	f->magic = FEED_MAGIC;
	f->gs = gs;
	f->topic = t;
	f->group = gr;
	list_init(&f->subs);
	list_init(&f->ready);
	list_init(&f->aside);
	list_init(&f->run);
	list_init(&f->due);
	list_init(&f->wait.link);
	f->wait.ready = feed_block_ready;
	f->again.fire = feed_try_again;
	f->linger.fire = linger_over;
	return f;
}

/* Where a queue without a committed offset begins. 'fresh': it is younger than the feed, so all of it is new. */
uint64_t feed_start(struct feed *f, struct topic *t, int32_t queue, bool fresh)
{
	struct queue *q = topic_queue(f->gs->eng, t, queue);
	uint64_t min = queue_min(f->gs->eng, q), end = q->index.next;
	struct qentry first;
	enum status st;

	if (fresh || f->start == SUB_START_FIRST)
		return min;
	if (f->start == SUB_START_OFFSET)
		return f->start_offset < min ? min : u64_min(f->start_offset, end);
	if (f->start == SUB_START_LAST || min > 0 || end == 0)
		return end;
	if (eng_index_read(f->gs->eng, q, 0, &first, 1, &st) == 0)
		return st == ST_BUSY ? 0 : end; /* rather too many than too few */
	return f->gs->eng->clog.tail - first.position <= f->gs->eng->conf.young_bytes ? 0 : end;
}

void feed_grow(struct feed *f)
{
	uint32_t n = f->topic->conf.read_queues < f->topic->n_queues ? f->topic->conf.read_queues : f->topic->n_queues;

	CHECK(f->group == NULL);
	if (n <= f->n_cursors)
		return;
	bool fresh = f->n_cursors > 0;
	f->cursors = mem_grow(f->cursors, n * sizeof(struct cursor *));
	for (uint32_t i = f->n_cursors; i < n; i++) {
		struct cursor *c = cursor_new(f->gs, f->topic, (int32_t)i, NULL, f);
		f->cursors[i] = c;
		c->prefix = c->next = feed_start(f, f->topic, (int32_t)i, fresh);
		cursor_activate(c, true);
	}
	f->n_cursors = n;
	f->n_owned = n;
}

/* Items of the group that were to be delivered here need another home. */
static void forget_feed(struct gtopic *gt, const struct feed *f)
{
	for (uint32_t i = 0; gt != NULL && i < gt->n; i++) {
		if (gt->q[i] == NULL || gt->q[i]->cursor == NULL)
			continue;
		LIST_EACH(&gt->q[i]->cursor->all, n) {
			struct item *it = container_of(n, struct item, all);
			if (it->feed == f)
				it->feed = NULL;
		}
	}
}

struct gtopic *retry_gtopic(const struct group *gr)
{
	LIST_EACH(&gr->topics, n) {
		struct gtopic *gt = container_of(n, struct gtopic, link);
		if (gt->retry)
			return gt;
	}
	return NULL;
}

/* Nobody needs it any more. The feed's memory stays until the pump: somebody may be at work on it. */
static void feed_close(struct feed *f)
{
	struct groups_state *gs = f->gs;
	struct gtopic *gt = f->gt;
	struct list *n;

	CHECK(list_empty(&f->subs) && !f->dead);
	f->dead = true;
	list_remove(&f->link);
	list_remove(&f->due);
	list_remove(&f->wait.link);
	eng_timer_stop(gs->eng, &f->again);
	eng_timer_stop(gs->eng, &f->linger);
	while (list_pop(&f->run) != NULL)
		;
	for (uint32_t i = 0; i < f->n_cursors && f->cursors != NULL; i++)
		cursor_bury(f->cursors[i]);
	if (gt != NULL) {
		gt->feed = NULL;
		forget_feed(gt, f);
		forget_feed(retry_gtopic(f->group), f);
		for (uint32_t i = 0; i < gt->n; i++)
			if (gt->q[i] != NULL && gt->q[i]->cursor != NULL)
				cursor_activate(gt->q[i]->cursor, false);
		look_again(f);
		while ((n = f->ready.next) != &f->ready)
			item_ready(container_of(n, struct item, link));
		share_check(gs, f->group);
	}
	f->topic = NULL;
	f->gt = NULL;
	list_push(&gs->dead_feeds, &f->link);
	pump_soon(gs);
}

void feed_free(struct feed *f)
{
	CHECK_OBJ(f, FEED_MAGIC);
	heap_drop(&f->gs->eng->timers, &f->again.node);
	heap_drop(&f->gs->eng->timers, &f->linger.node);
	LIST_EACH_SAFE(&f->subs, n, t) {
		struct sub *s = container_of(n, struct sub, link);
		filter_fini(&s->filter);
		mem_free(s);
	}
	for (uint32_t i = 0; i < f->n_cursors && f->cursors != NULL && !f->dead; i++)
		cursor_free(f->cursors[i]);
	mem_free(f->cursors);
	f->magic = 0;
	mem_free(f);
}

void feed_bury(struct groups_state *gs)
{
	struct list *n;

	while ((n = list_pop(&gs->dead_feeds)) != NULL)
		feed_free(container_of(n, struct feed, link));
	while ((n = list_pop(&gs->dead_cursors)) != NULL)
		cursor_free(container_of(n, struct cursor, grave));
}

/* ---- Subscriptions ------------------------------------------------------------------------------------------------------------------------ */

/* They live on without it, until their time is over or they are settled by receipt. */
static void detach_leases(struct sub *s)
{
	LIST_EACH_SAFE(&s->leases, n, t) {
		struct item *it = container_of(n, struct item, link);
		list_remove(n);
		it->sub = NULL;
		it->feed->n_detached++;
	}
}

static void sub_end(struct sub *s, enum status why)
{
	struct feed *f = s->feed;
	bool rests = f->group != NULL && why == ST_CLOSED && !s->gs->ended;
	struct list *n;

	CHECK_OBJ(s, SUB_MAGIC);
	CHECK(!s->over);
	s->over = true;
	s->why = why;
	s->credit = 0;
	list_remove(&s->link);
	f->n_subs--;
	if (rests && s->detach)
		detach_leases(s);
	f->rest_ns = s->gs->eng->now_ns + s->gs->eng->conf.feed_linger_ms * MS_NS;
	if (f->n_subs == 0 && !(rests && (f->n_detached > 0 || s->gs->eng->conf.feed_linger_ms > 0)))
		feed_close(f);
	else if (f->n_subs == 0)
		feed_rest(f);
	while ((n = s->leases.next) != &s->leases) /* none are left when the cursors went with the feed */
		item_ready(container_of(n, struct item, link));
	if (!f->dead) { /* what waited for its credit may be wanted by nobody now */
		look_again(f);
		feed_wake(f);
	}
	if (!f->dead && f->group != NULL && f->n_owned == 0)
		share_check(s->gs, f->group); /* counts the idle ones */
	list_push(&f->gs->ended_subs, &s->link);
	pump_soon(f->gs);
}

void feed_end(struct feed *f, enum status why)
{
	while (!f->dead)
		if (list_empty(&f->subs))
			feed_close(f);
		else
			sub_end(container_of(f->subs.next, struct sub, link), why);
}

static struct sub *next_ended(struct groups_state *gs)
{
	LIST_EACH(&gs->ended_subs, n) {
		struct sub *s = container_of(n, struct sub, link);
		if (!s->opening) /* its open is answered first */
			return s;
	}
	return NULL;
}

static void fire_ended(struct groups_state *gs)
{
	struct sub *s;

	while ((s = next_ended(gs)) != NULL) {
		struct engine_sub *who = s->who;
		enum status why = s->why;
		CHECK_OBJ(s, SUB_MAGIC);
		list_remove(&s->link);
		filter_fini(&s->filter);
		s->magic = 0;
		mem_free(s);
		if (who == NULL)
			continue;
		who->priv[0] = NULL;
		if (who->ended != NULL)
			who->ended(who, why);
	}
}

/* The open is durable, where that was needed: the caller hears of it before its first delivery. */
static void open_done(struct engine_ask *a, enum status st)
{
	struct sub *s = container_of(a, struct sub, open);
	struct engine_ask *user = s->user;

	CHECK_OBJ(s, SUB_MAGIC);
	s->opening = false;
	if (st != ST_OK) { /* it never was open, so there is no ended() */
		s->who->priv[0] = NULL;
		s->who = NULL;
		if (!s->over)
			sub_end(s, st);
	}
	if (s->over) {
		pump_soon(s->gs);
	} else {
		look_again(s->feed);
		feed_wake(s->feed);
	}
	user->status = st;
	if (user->done != NULL)
		user->done(user, st);
}

static enum status open_group(struct groups_state *gs, const struct engine_sub_open *r, struct group **ret, bool *made)
{
	struct topic *retry;
	enum status st = group_ensure(gs, r->group, ret, made);

	if (st != ST_OK)
		return st;
	if (!(*ret)->conf.consume)
		return ST_DENIED;
	uint32_t queues = (*ret)->conf.retry_queues == 0 ? 1 : (*ret)->conf.retry_queues;
	return group_ensure_topic(gs, *ret, RETRY_PREFIX, queues, &retry, made);
}

/* What was held back for want of a subscription gets another look. */
static void release_held(struct gtopic *gt)
{
	struct list *n;

	for (uint32_t i = 0; gt != NULL && i < gt->n; i++) {
		if (gt->q[i] == NULL || gt->q[i]->cursor == NULL)
			continue;
		while ((n = gt->q[i]->cursor->held.next) != &gt->q[i]->cursor->held)
			item_ready(container_of(n, struct item, link));
	}
}

static struct feed *feed_open(struct groups_state *gs, const struct engine_sub_open *r, struct topic *t, struct group *gr)
{
	struct gtopic *gt = gr == NULL ? NULL : gtopic_need(gs, gr, t);

	if (gt != NULL && gt->feed != NULL)
		return gt->feed;
	struct feed *f = feed_new(gs, t, gr);
	f->start = r->start;
	f->start_offset = r->start_offset;
	if (gr == NULL) {
		list_push(&topic_users(gs, t, true)->feeds, &f->link);
		feed_grow(f);
		return f;
	}
	f->gt = gt;
	gt->feed = f;
	f->n_cursors = t->n_queues; /* queues beyond these are younger than the feed */
	list_push(&gr->feeds, &f->link);
	release_held(gt);
	release_held(retry_gtopic(gr));
	share_check(gs, gr);
	return f;
}

static void do_open(struct groups_state *gs, struct engine_sub_open *r)
{
	if (r->tap) {
		tap_open(gs, r);
		return;
	}
	struct topic *t = topic_find(gs->eng, r->topic);
	struct filter filter = {0};
	struct group *gr = NULL;
	bool made = false;
	enum status st = t == NULL ? ST_NO_TOPIC : !(t->conf.perm & PERM_READ) ? ST_DENIED : filter_set(&filter, r->expr);

	CHECK(r->sub != NULL && r->sub->deliver != NULL && r->sub->priv[0] == NULL);
	if (st == ST_OK && (r->start > SUB_START_OFFSET || r->lease_ms > LEASE_MAX_MS || (r->detach && r->group.n == 0)))
		st = ST_BAD_ARG;
	if (st == ST_OK && r->group.n > 0)
		st = open_group(gs, r, &gr, &made);
	if (st == ST_OK && gr != NULL && gtopic_need(gs, gr, t)->retry)
		st = ST_DENIED; /* a group's retries come with the topics that they are of */
	if (st != ST_OK) {
		filter_fini(&filter);
		eng_complete(gs->eng, &r->ask, st);
		return;
	}
	struct sub *s = mem_new(sizeof *s);
	s->magic = SUB_MAGIC;
	s->gs = gs;
	s->who = r->sub;
	s->filter = filter;
	s->lease_ms = r->lease_ms != 0 ? r->lease_ms : gs->eng->conf.lease_ms;
	s->credit = r->credit;
	s->detach = r->detach;
	s->feed = feed_open(gs, r, t, gr);
	list_init(&s->leases);
	list_push(&s->feed->subs, &s->link);
	s->feed->n_subs++;
	if (gr != NULL && s->feed->n_owned == 0)
		share_check(gs, gr);
	r->sub->priv[0] = s;
	s->opening = true;
	s->user = &r->ask;
	s->open.done = open_done;
	s->open.verb = r->ask.verb;
	if (made)
		eng_complete_durable(gs->eng, &s->open);
	else
		eng_complete(gs->eng, &s->open, ST_OK);
}

/* What a caller's priv[0] points at begins with its magic number. */
bool sub_is_tap(const void *p)
{
	uint32_t magic;

	memcpy(&magic, p, sizeof magic);
	return magic == TAP_MAGIC;
}

void lease_credit(struct engine *e, struct engine_sub *who, uint32_t more)
{
	struct sub *s = who->priv[0];

	CHECK_OBJ(eng_of(e), ENG_MAGIC);
	if (s != NULL && sub_is_tap(s)) {
		tap_credit(who->priv[0], more);
		return;
	}
	if (s == NULL || s->over)
		return;
	CHECK_OBJ(s, SUB_MAGIC);
	if (s->credit == 0)
		look_again(s->feed);
	s->credit = more > UINT32_MAX - s->credit ? UINT32_MAX : s->credit + more;
	feed_wake(s->feed);
}

void lease_close(struct engine *e, struct engine_sub *who)
{
	struct sub *s = who->priv[0];

	CHECK_OBJ(eng_of(e), ENG_MAGIC);
	if (s != NULL && sub_is_tap(s))
		tap_close(who->priv[0]);
	else if (s != NULL && !s->over)
		sub_end(s, ST_CLOSED);
}

/* ---- Delivering ----------------------------------------------------------------------------------------------------------------------------- */

/* The subscription whose turn it is; *any: there is one that would take it, credit or not. */
static struct sub *pick(struct feed *f, uint64_t tag, bool *any)
{
	*any = false;
	LIST_EACH(&f->subs, n) {
		struct sub *s = container_of(n, struct sub, link);
		if (!tag_filter_match(&s->filter.f, tag))
			continue;
		*any = true;
		if (s->credit == 0 || s->opening)
			continue;
		list_remove(n);
		list_push(&f->subs, n);
		return s;
	}
	return NULL;
}

/* Hands it out. The callback may end the feed, the cursor and the item: nothing of them may be touched after. */
static void deliver(struct feed *f, struct sub *s, struct item *it, struct blob *blob, struct slice bytes)
{
	struct eng *g = f->gs->eng;

	item_lease(it, s, f, s->lease_ms);
	item_given(it);
	CHECK(s->credit > 0);
	s->credit--;
	eng_count(g, STAT_MESSAGES_OUT_TOTAL, 1);
	eng_count(g, STAT_BYTES_OUT_TOTAL, bytes.n);
	struct delivery d = {.tag = item_tag(it), .incarnation = it->incarnation, .record = bytes, .blob = blob, .topic = topic_name(f->topic), .queue = it->cursor->queue,
		.offset = it->offset, .attempt = item_attempt(it), .lease_ms = (int64_t)s->lease_ms};
	s->who->deliver(s->who, &d);
	blob_drop(blob);
}

/* A record that cannot be read is passed over, loudly: waiting for it would stop the group for good. */
static void log_lost(struct cursor *c, uint64_t offset, enum status st)
{
	log_error(c->gs->eng->log, "lease", "topic=%s queue=%d offset=%llu group=%s passed over: %s", c->topic->name, c->queue,
		(unsigned long long)offset, c->off == NULL ? "" : c->off->gt->group->name, status_text(st));
}

/* A redelivery; false when there is none that can be made now. */
static bool step_ready(struct feed *f)
{
	struct blob *blob;
	struct slice bytes;
	bool any;

	if (list_linked(&f->wait.link) || heap_has(&f->again.node))
		return false;
	while (!list_empty(&f->ready)) {
		struct item *it = container_of(f->ready.next, struct item, link);
		CHECK_OBJ(it, ITEM_MAGIC);
		enum status st = item_place(it);
		struct sub *s = st == ST_OK ? pick(f, it->tag, &any) : NULL;
		if (st == ST_OK && s == NULL) { /* it is in nobody's way there */
			list_remove(&it->link);
			list_push(&f->aside, &it->link);
			if (!any && cursor_full(it->cursor))
				cursor_wake(it->cursor); /* unless its queue is full, and waits for what nobody wants: make_room */
			continue;
		}
		if (st == ST_OK)
			st = item_fetch(it, &blob, &bytes, &f->wait);
		if (st == ST_IO)
			eng_timer_set(f->gs->eng, &f->again, f->gs->eng->now_ns + LEASE_TRY_AGAIN_MS * MS_NS);
		if (st == ST_BUSY || st == ST_IO)
			return false;
		if (st == ST_OK) {
			deliver(f, s, it, blob, bytes);
		} else {
			log_lost(it->cursor, it->offset, st);
			item_settled(it);
		}
		return true;
	}
	return false;
}

static bool wanted(const struct feed *f, uint32_t tag)
{
	LIST_EACH(&f->subs, n)
		if (tag_filter_match(&container_of(n, struct sub, link)->filter.f, tag))
			return true;
	return false;
}

/*
 * The queue is full: redeliveries that no subscription here wants, and that hold it up, go to the group's retry topic and wait there. Not so in an
 * orderly group, where everything behind them has to wait.
 */
static void make_room(struct feed *f, struct cursor *c)
{
	if (f->group == NULL || f->group->conf.orderly)
		return;
	LIST_EACH_SAFE(&c->all, n, t) {
		struct item *it = container_of(n, struct item, all);
		if (it->state != ITEM_READY || it->size == 0 || wanted(f, it->tag))
			continue;
		it->due_ms = f->gs->eng->now_ms;
		item_copy(it, false);
	}
}

/* The index entry at c->next. EMPTY at the end; IO and CORRUPT as they come. */
static enum status cursor_peek(struct cursor *c, struct qentry *ret)
{
	struct eng *g = c->gs->eng;
	struct queue *q = topic_queue(g, c->topic, c->queue);
	enum status st = queue_trim(g, q);

	if (st == ST_BUSY)
		return st;
	uint64_t min = queue_min(g, q);
	if (c->next < min)
		cursor_raise(c, min); /* retention took them */
	if (c->next >= q->index.next)
		return ST_EMPTY;
	if (c->next < c->cache_at || c->next >= c->cache_at + c->cache_n) {
		c->cache_at = c->next;
		c->cache_n = eng_index_read(g, q, c->next, c->cache, ARRAY_LEN(c->cache), &st);
		if (c->cache_n == 0)
			return st == ST_OK ? ST_EMPTY : st;
	}
	*ret = c->cache[c->next - c->cache_at];
	return ST_OK;
}

static bool cursor_pause(struct cursor *c, enum status st)
{
	list_remove(&c->run);
	if (st == ST_IO)
		eng_timer_set(c->gs->eng, &c->again, c->gs->eng->now_ns + LEASE_TRY_AGAIN_MS * MS_NS);
	return false;
}

static void pass_over(struct cursor *c, enum status why)
{
	uint64_t offset = c->next++;

	if (why != ST_OK)
		log_lost(c, offset, why);
	cursor_settle(c, offset);
}

/* Looks for the next message of a queue and hands it out. False: nothing here now. */
static bool step_cursor(struct feed *f, struct cursor *c, unsigned *scan)
{
	struct qentry e;
	struct blob *blob;
	struct slice bytes;
	bool any;

	for (;; (*scan)--) {
		if (*scan == 0)
			return true;
		if (c->active && cursor_full(c))
			make_room(f, c);
		if (!c->active || list_linked(&c->wait.link) || heap_has(&c->again.node) || cursor_full(c))
			return cursor_pause(c, ST_OK);
		enum status st = cursor_peek(c, &e);
		if (st == ST_EMPTY || st == ST_IO || st == ST_BUSY)
			return cursor_pause(c, st == ST_BUSY ? ST_IO : st);
		if (cursor_known(c, c->next)) {
			c->next++;
			continue;
		}
		if (st != ST_OK) {
			pass_over(c, st);
			continue;
		}
		struct sub *s = pick(f, e.tag, &any);
		if (s == NULL && any)
			return false; /* stays in f->run, for credit */
		if (s == NULL) {
			pass_over(c, ST_OK);
			continue;
		}
		st = eng_record_blob(f->gs->eng, e.position, e.size, &blob, &bytes, &c->wait);
		if (st == ST_BUSY || st == ST_IO)
			return cursor_pause(c, st);
		if (st != ST_OK) {
			pass_over(c, st);
			continue;
		}
		struct item *it = item_new(c, c->next++);
		item_placed(it, &e);
		deliver(f, s, it, blob, bytes);
		return true;
	}
}

static bool has_credit(const struct feed *f)
{
	LIST_EACH(&f->subs, n) {
		const struct sub *s = container_of(n, struct sub, link);
		if (s->credit > 0 && !s->opening)
			return true;
	}
	return false;
}

/* One delivery, or some progress. False: nothing can be done until something happens. */
static bool feed_step(struct feed *f, unsigned *scan)
{
	if (f->group != NULL && !f->group->conf.consume)
		return false;
	if (!has_credit(f))
		return false;
	if (step_ready(f))
		return true;
	LIST_EACH_SAFE(&f->run, n, t) {
		struct cursor *c = container_of(n, struct cursor, run);
		if (!step_cursor(f, c, scan))
			continue;
		if (!f->dead && list_linked(&c->run)) { /* a dead cursor is in no list, and is freed later */
			list_remove(&c->run);
			list_push(&f->run, &c->run);
		}
		return true;
	}
	return false;
}

static void feed_run(struct feed *f)
{
	unsigned burst = LEASE_BURST, scan = LEASE_SCAN_MAX;

	while (!f->dead && feed_step(f, &scan)) {
		if (--burst > 0 && scan > 0)
			continue;
		if (!f->dead)
			feed_wake(f);
		return;
	}
}

/* ---- Retries: of which topic are they? ------------------------------------------------------------------------------------------------------- */

static void route_record(struct item *it, struct slice bytes)
{
	struct group *gr = it->cursor->off->gt->group;
	struct record r;
	struct slice name;

	if (record_decode(bytes, &r) != ST_OK) {
		log_lost(it->cursor, it->offset, ST_CORRUPT);
		item_settled(it);
		return;
	}
	it->base = r.reconsume_times > 0 ? (uint32_t)r.reconsume_times : 0;
	struct topic *t = props_get(r.props, SLICE_LIT("RETRY_TOPIC"), &name) ? topic_find(it->cursor->gs->eng, name) : NULL;
	if (t == NULL) {
		item_copy(it, true); /* its topic is gone: nobody will ever ask for it */
		return;
	}
	struct gtopic *gt = gtopic_find(gr, t);
	it->feed = gt == NULL ? NULL : gt->feed;
	if (it->feed != NULL) {
		item_ready(it);
	} else {
		item_unlink(it);
		it->state = ITEM_HELD;
		list_push(&it->cursor->held, &it->link);
	}
}

/* False: nothing to do for now, or it must wait. */
static bool route_step(struct cursor *c)
{
	struct blob *blob;
	struct slice bytes;
	struct qentry e;
	enum status st;

	if (list_linked(&c->wait.link) || heap_has(&c->again.node))
		return false;
	if (!list_empty(&c->unrouted)) {
		struct item *it = container_of(c->unrouted.next, struct item, link);
		st = item_fetch(it, &blob, &bytes, &c->wait);
		if (st == ST_BUSY || st == ST_IO)
			return cursor_pause(c, st);
		if (st != ST_OK) {
			log_lost(c, it->offset, st);
			item_settled(it);
			return true;
		}
		route_record(it, bytes);
		blob_drop(blob);
		return true;
	}
	if (!c->active || cursor_full(c))
		return false;
	st = cursor_peek(c, &e);
	if (st == ST_EMPTY || st == ST_IO || st == ST_BUSY)
		return cursor_pause(c, st == ST_BUSY ? ST_IO : st);
	if (cursor_known(c, c->next)) {
		c->next++;
	} else if (st != ST_OK) {
		pass_over(c, st);
	} else {
		struct item *it = item_new(c, c->next++);
		item_placed(it, &e);
		item_ready(it);
	}
	return true;
}

static void routes_run(struct groups_state *gs)
{
	struct list now, *n;

	list_init(&now);
	list_move(&now, &gs->routes);
	while ((n = list_pop(&now)) != NULL) {
		struct cursor *c = container_of(n, struct cursor, run);
		unsigned budget = LEASE_BURST;
		while (budget > 0 && route_step(c))
			budget--;
		list_remove(&c->run);
		if (budget == 0)
			cursor_wake(c);
	}
}

void lease_pump(struct groups_state *gs)
{
	struct list now, *n;

	fire_ended(gs);
	routes_run(gs);
	list_init(&now);
	list_move(&now, &gs->feeds_run);
	while ((n = list_pop(&now)) != NULL)
		feed_run(container_of(n, struct feed, due));
}

void lease_submit(struct groups_state *gs, struct engine_ask *a)
{
	if (a->verb == ENGINE_SUB_OPEN)
		do_open(gs, container_of(a, struct engine_sub_open, ask));
	else
		settle_submit(gs, container_of(a, struct engine_settle, ask));
}
