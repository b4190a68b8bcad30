/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Offsets: how far a group has come in a queue. Also the orderly locks, which stand at the same place.
 *
 * A committed offset is the next one to be consumed. It only grows, but for a commit by the queue's present puller (or by anybody, when
 * there is none) and for a reset. What has changed is marked dirty; the last value of each rides in a state record. An item in the log
 * sets the value whatever it was: log order is the order in which things happened, so replaying ends where the log ends.
 *
 * STATE_OFFSETS_FROM: group name, topic name, u64 incarnation, u32 n, n times (u32 queue, u64 offset, u64 commit time, u64 the offset's incarnation).
 * STATE_LEASES_FROM: group name, topic name, u64 incarnation, u32 queue, u64 offset, u64 commit time, u64 the offset's incarnation, then what cursor.c adds.
 * STATE_OFFSETS, STATE_LEASES: the same without the offset's incarnation; only read.
 * STATE_OFFSETS_DROP: group name, topic name, u64 incarnation: nothing is left of the group there.
 */
#include "base/mem.h"
#include "engine/groups.h"

#define ITEM_QUEUES_MAX 4096u /* queues in one STATE_OFFSETS item */
#define LOCKS_MAX 65536u      /* queues in one request to lock */

/* ---- Tables -------------------------------------------------------------------------------------------------------------------------- */

struct topic_users *topic_users(struct groups_state *gs, struct topic *t, bool make)
{
	uint64_t key = (uint64_t)(uintptr_t)t;
	struct topic_users *u = u64map_get(&gs->users, key);

	if (u == NULL && make) {
		u = mem_new(sizeof *u);
		list_init(&u->gtopics);
		list_init(&u->feeds);
		u64map_put(&gs->users, key, u);
	}
	return u;
}

struct gtopic *gtopic_find(struct group *gr, struct topic *t)
{
	struct gtopic *gt = map_get(&gr->by_topic, topic_name(t));

	return gt != NULL && gt->topic == t ? gt : NULL;
}

struct gtopic *gtopic_need(struct groups_state *gs, struct group *gr, struct topic *t)
{
	struct gtopic *gt = gtopic_find(gr, t);
	size_t prefix = strlen(RETRY_PREFIX);

	if (gt != NULL)
		return gt;
	gt = mem_new(sizeof *gt);
	gt->group = gr;
	gt->topic = t;
	gt->incarnation = t->incarnation;
	gt->serial = ++gs->serial;
	gt->retry = slice_starts(topic_name(t), SLICE_LIT(RETRY_PREFIX)) && slice_eq(slice_skip(topic_name(t), prefix), group_name(gr));
	list_push(&gr->topics, &gt->link);
	list_push(&gs->gtopics, &gt->all);
	list_push(&topic_users(gs, t, true)->gtopics, &gt->user);
	CHECK(map_put(&gr->by_topic, topic_name(t), gt) == NULL);
	return gt;
}

struct goff *goff_find(struct gtopic *gt, int32_t queue)
{
	return gt != NULL && queue >= 0 && (uint32_t)queue < gt->n ? gt->q[queue] : NULL;
}

struct goff *goff_need(struct gtopic *gt, int32_t queue)
{
	struct goff *o = goff_find(gt, queue);

	if (o != NULL)
		return o;
	CHECK(queue >= 0 && (uint32_t)queue < QUEUES_MAX);
	if ((uint32_t)queue >= gt->n) {
		uint32_t n = (uint32_t)queue + 1 > gt->topic->n_queues ? (uint32_t)queue + 1 : gt->topic->n_queues;
		gt->q = mem_grow(gt->q, n * sizeof(struct goff *));
		memset(gt->q + gt->n, 0, (n - gt->n) * sizeof(struct goff *));
		gt->n = n;
	}
	o = mem_new(sizeof *o);
	o->gt = gt;
	o->queue = queue;
	list_init(&o->dirty);
	gt->q[queue] = o;
	return o;
}

static void goff_free(struct goff *o)
{
	list_remove(&o->dirty);
	if (o->cursor != NULL)
		cursor_bury(o->cursor);
	mem_free(o->holder);
	mem_free(o);
}

void gtopic_free(struct groups_state *gs, struct gtopic *gt)
{
	struct topic_users *u = topic_users(gs, gt->topic, false);

	if (gt->feed != NULL)
		feed_end(gt->feed, ST_NO_TOPIC);
	for (uint32_t i = 0; i < gt->n; i++)
		if (gt->q[i] != NULL)
			goff_free(gt->q[i]);
	list_remove(&gt->link);
	list_remove(&gt->all);
	list_remove(&gt->user);
	CHECK(map_drop(&gt->group->by_topic, topic_name(gt->topic)) == gt);
	if (u != NULL && list_empty(&u->gtopics) && list_empty(&u->feeds)) {
		u64map_drop(&gs->users, (uint64_t)(uintptr_t)gt->topic);
		mem_free(u);
	}
	mem_free(gt->q);
	mem_free(gt);
}

void groups_topic_dropped(struct eng *g, struct topic *t)
{
	struct groups_state *gs = g->gs;
	struct topic_users *u = topic_users(gs, t, false);

	taps_topic_dropped(gs, t);
	if (u == NULL)
		return;
	LIST_EACH_SAFE(&u->feeds, n, next)
		feed_end(container_of(n, struct feed, link), ST_NO_TOPIC);
	if (list_empty(&u->gtopics)) {
		u64map_drop(&gs->users, (uint64_t)(uintptr_t)t);
		mem_free(u);
		return;
	}
	for (bool last = false; !last;) { /* the last one frees u */
		struct gtopic *gt = container_of(u->gtopics.next, struct gtopic, user);
		struct group *gr = gt->group;
		last = gt->user.next == &u->gtopics;
		gtopic_free(gs, gt);
		share_check(gs, gr);
		group_tidy(gs, gr);
	}
}

/* What is of the members (who pulled last, who holds the lock) stays. */
static void goff_forget(struct goff *o)
{
	list_remove(&o->dirty);
	o->state = GOFF_CLEAN;
	if (o->cursor != NULL)
		cursor_bury(o->cursor);
	o->set = o->extra_logged = false;
	o->value = o->incarnation = 0;
}

/* No message of the topic was ever given to the group. */
static void forget_gtopic(struct groups_state *gs, struct gtopic *gt)
{
	struct group *gr = gt->group;
	bool stays = false;

	gs->renewals++;
	if (gt->feed != NULL)
		feed_end(gt->feed, ST_GONE);
	for (uint32_t i = 0; i < gt->n; i++)
		if (gt->q[i] != NULL) {
			goff_forget(gt->q[i]);
			stays |= gt->q[i]->holder != NULL || gt->q[i]->puller_n > 0;
		}
	if (!stays)
		gtopic_free(gs, gt);
	share_check(gs, gr);
	group_tidy(gs, gr);
}

void offset_watch(struct groups_state *gs, struct topic *t)
{
	struct topic_users *u = topic_users(gs, t, false);

	taps_topic_changed(gs, t);
	if (u != NULL) {
		LIST_EACH(&u->gtopics, n)
			share_check(gs, container_of(n, struct gtopic, user)->group);
		LIST_EACH(&u->feeds, n)
			feed_grow(container_of(n, struct feed, link));
	}
	if (slice_starts(topic_name(t), SLICE_LIT(RETRY_PREFIX))) {
		struct group *gr = group_at(gs, slice_skip(topic_name(t), strlen(RETRY_PREFIX)));
		if (gr != NULL)
			share_check(gs, gr);
	}
}

/* ---- Values -------------------------------------------------------------------------------------------------------------------------- */

void goff_dirty(struct groups_state *gs, struct goff *o)
{
	o->set = true;
	o->commit_ms = gs->eng->now_ms;
	if (o->state != GOFF_DIRTY) {
		list_remove(&o->dirty);
		list_push(&gs->dirty, &o->dirty);
		o->state = GOFF_DIRTY;
	}
	state_dirty(gs->eng);
}

void goff_renew(struct groups_state *gs, struct goff *o)
{
	o->incarnation = prng_u64(gs->eng->env.prng) | 1;
	gs->renewals++;
}

uint64_t goff_incarnation(const struct goff *o)
{
	return o->incarnation != 0 ? o->incarnation : o->gt->incarnation;
}

void goff_set(struct groups_state *gs, struct goff *o, uint64_t value)
{
	bool raise = o->set && value >= o->value;

	if (o->cursor != NULL && raise)
		cursor_raise(o->cursor, value);
	else if (o->cursor != NULL)
		cursor_lower(o->cursor, value);
	if (!raise)
		goff_renew(gs, o);
	o->value = o->cursor != NULL ? o->cursor->prefix : value; /* it may have settled more */
	goff_dirty(gs, o);
}

bool goff_puller_present(struct groups_state *gs, const struct goff *o)
{
	return o->puller_n > 0 && gs->eng->now_ns - o->pulled_ns <= PULLER_PRESENT_MS * MS_NS &&
		member_present(o->gt->group, slice_of(o->puller, o->puller_n));
}

static bool is_puller(const struct goff *o, struct slice address)
{
	return address.n > 0 && slice_eq(slice_of(address.p, address.n < sizeof o->puller ? address.n : sizeof o->puller),
		slice_of(o->puller, o->puller_n));
}

uint64_t queue_end(struct topic *t, int32_t queue)
{
	struct queue *q = topic_queue_peek(t, queue);

	return q == NULL ? 0 : q->index.next;
}

static uint64_t queue_begin(struct eng *g, struct topic *t, int32_t queue)
{
	struct queue *q = topic_queue_peek(t, queue);

	return q == NULL ? 0 : queue_min(g, q);
}

void group_pulled(struct eng *g, struct slice group, struct topic *t, int32_t queue, struct slice address, int64_t commit)
{
	struct groups_state *gs = g->gs;
	struct group *gr = group_find(g, group);

	if (gr == NULL || queue < 0 || (uint32_t)queue >= t->n_queues)
		return;
	struct goff *o = goff_need(gtopic_need(gs, gr, t), queue);
	groups_clock(gs);
	o->puller_n = (uint8_t)(address.n < sizeof o->puller ? address.n : sizeof o->puller);
	if (o->puller_n > 0)
		memcpy(o->puller, address.p, o->puller_n);
	o->pulled_ns = g->now_ns;
	if (commit < 0 || (o->set && (uint64_t)commit <= o->value) || (uint64_t)commit > queue_end(t, queue))
		return;
	goff_set(gs, o, (uint64_t)commit);
	eng_count(g, STAT_OFFSETS_COMMITTED_TOTAL, 1);
}

uint64_t groups_lowest(struct eng *g, struct topic *t, int32_t queue)
{
	struct topic_users *u = topic_users(g->gs, t, false);
	uint64_t lowest = UINT64_MAX;

	if (u == NULL)
		return lowest;
	LIST_EACH(&u->gtopics, n) {
		struct gtopic *gt = container_of(n, struct gtopic, user);
		struct goff *o = goff_find(gt, queue);
		if (o != NULL && o->set && gt->group->known)
			lowest = u64_min(lowest, o->cursor == NULL ? o->value : u64_min(o->value, cursor_lowest(o->cursor)));
	}
	return lowest;
}

/* ---- State items ---------------------------------------------------------------------------------------------------------------------- */

static void put_head(struct buf *b, const struct gtopic *gt)
{
	state_put_name(b, group_name(gt->group));
	state_put_name(b, topic_name(gt->topic));
	buf_be64(b, gt->incarnation);
}

static void put_offset(struct buf *b, const struct goff *o)
{
	buf_be32(b, (uint32_t)o->queue);
	buf_be64(b, o->value);
	buf_be64(b, (uint64_t)o->commit_ms);
	buf_be64(b, o->incarnation);
}

static void put_leases(struct buf *b, const struct goff *o)
{
	size_t at = state_item_begin(b, STATE_LEASES_FROM);

	put_head(b, o->gt);
	put_offset(b, o);
	cursor_save(o->cursor, b);
	state_item_end(b, at);
}

/* A run of offsets of one topic as one item. */
struct run {
	struct buf *b;
	const struct gtopic *gt; /* NULL: none open */
	size_t begun, count_at;
	uint32_t n;
};

static void run_end(struct run *r)
{
	if (r->gt == NULL)
		return;
	uint8_t n[4] = {(uint8_t)(r->n >> 24), (uint8_t)(r->n >> 16), (uint8_t)(r->n >> 8), (uint8_t)r->n};
	memcpy(r->b->p + r->count_at, n, sizeof n);
	state_item_end(r->b, r->begun);
	r->gt = NULL;
}

static void run_put(struct run *r, const struct goff *o)
{
	if (o->cursor != NULL && (o->extra_logged || cursor_extra(o->cursor))) {
		run_end(r);
		put_leases(r->b, o);
		return;
	}
	if (r->gt != o->gt || r->n >= ITEM_QUEUES_MAX) {
		run_end(r);
		r->begun = state_item_begin(r->b, STATE_OFFSETS_FROM);
		put_head(r->b, o->gt);
		r->count_at = r->b->n;
		buf_be32(r->b, 0);
		r->gt = o->gt;
		r->n = 0;
	}
	put_offset(r->b, o);
	r->n++;
}

static void forget_written(struct groups_state *gs)
{
	struct list *n;

	while ((n = list_pop(&gs->written)) != NULL)
		container_of(n, struct goff, dirty)->state = GOFF_CLEAN;
}

/* A wide cursor is some kilobytes: it would swell every write of a busy log if it rode on each. */
static bool put_off(struct groups_state *gs, struct goff *o)
{
	struct eng *g = gs->eng;
	uint64_t due = o->saved_ns + g->conf.offset_sync_ms * MS_NS;

	if (o->cursor == NULL || o->cursor->top <= o->cursor->prefix + LEASE_LARGE || due <= g->now_ns || g->closing)
		return false;
	list_push(&gs->later, &o->dirty);
	if (!heap_has(&gs->later_timer.node))
		eng_timer_set(g, &gs->later_timer, due);
	return true;
}

void offsets_later(struct eng *g, struct eng_timer *t)
{
	struct groups_state *gs = g->gs;

	(void)t;
	list_move(&gs->dirty, &gs->later);
	if (!list_empty(&gs->dirty))
		g->state_due_ns = u64_min(g->state_due_ns, g->now_ns);
}

/* An item of leases may be over 'max' by itself: by LEASE_WINDOW / 8 and 20 bytes for each of LEASE_ITEMS_MAX at most. */
bool groups_state_dirty(struct eng *g, struct buf *items, size_t max)
{
	struct groups_state *gs = g->gs;
	size_t limit = items->n + max;
	struct run run = {.b = items};

	forget_written(gs);
	while (!list_empty(&gs->dirty) && items->n < limit) {
		struct goff *o = container_of(list_pop(&gs->dirty), struct goff, dirty);
		CHECK(o->state == GOFF_DIRTY);
		if (put_off(gs, o))
			continue;
		run_put(&run, o);
		if (o->cursor != NULL)
			o->saved_ns = g->now_ns;
		o->extra_logged = o->cursor != NULL && cursor_extra(o->cursor);
		o->state = GOFF_WRITTEN;
		list_push(&gs->written, &o->dirty);
	}
	run_end(&run);
	return !list_empty(&gs->dirty);
}

/* cursor: serial of the gtopic to go on with, times QUEUES_MAX, plus the queue. */
bool groups_offsets_all(struct groups_state *gs, struct buf *items, size_t limit, uint64_t *cursor)
{
	uint64_t serial = *cursor / QUEUES_MAX;
	uint32_t from = (uint32_t)(*cursor % QUEUES_MAX);
	struct run run = {.b = items};

	LIST_EACH(&gs->gtopics, n) {
		struct gtopic *gt = container_of(n, struct gtopic, all);
		if (gt->serial < serial)
			continue;
		for (uint32_t i = gt->serial == serial ? from : 0; i < gt->n; i++) {
			if (gt->q[i] == NULL || !gt->q[i]->set)
				continue;
			if (items->n >= limit) {
				run_end(&run);
				*cursor = gt->serial * QUEUES_MAX + i;
				return true;
			}
			run_put(&run, gt->q[i]);
		}
	}
	run_end(&run);
	*cursor = (gs->serial + 1) * QUEUES_MAX;
	return false;
}

/* The gtopic that an item is of; *ret NULL: of a topic or an incarnation that is gone. */
static enum status get_head(struct groups_state *gs, struct slice *p, struct gtopic **ret)
{
	struct slice group, topic;
	uint64_t incarnation;
	struct group *gr;

	*ret = NULL;
	if (!state_get_name(p, &group) || !state_get_name(p, &topic) || !state_get_u64(p, &incarnation))
		return ST_CORRUPT;
	struct topic *t = topic_find(gs->eng, topic);
	if (t == NULL || t->incarnation != incarnation)
		return ST_OK;
	if (group_bare(gs, group, &gr) != ST_OK)
		return ST_CORRUPT;
	*ret = gtopic_need(gs, gr, t);
	return ST_OK;
}

static enum status apply_offset(struct groups_state *gs, struct gtopic *gt, struct slice *p, enum state_type type)
{
	bool leases = type == STATE_LEASES || type == STATE_LEASES_FROM, from = type == STATE_OFFSETS_FROM || type == STATE_LEASES_FROM;
	uint32_t queue;
	uint64_t value, commit_ms, incarnation = 0;

	if (!state_get_u32(p, &queue) || !state_get_u64(p, &value) || !state_get_u64(p, &commit_ms) || value >= OFFSET_LIMIT)
		return ST_CORRUPT;
	if (from && !state_get_u64(p, &incarnation))
		return ST_CORRUPT;
	if (gt == NULL || queue >= gt->topic->n_queues)
		return ST_OK;
	struct goff *o = goff_need(gt, (int32_t)queue);
	if (o->cursor != NULL)
		cursor_reset(o->cursor, value);
	o->value = value;
	o->commit_ms = (int64_t)commit_ms;
	o->incarnation = incarnation;
	o->set = true;
	o->extra_logged = false;
	if (!leases)
		return ST_OK;
	enum status st = cursor_load(cursor_of(gs, o), value, p);
	o->extra_logged = cursor_extra(o->cursor);
	return st;
}

static enum status apply_drop(struct groups_state *gs, struct slice p)
{
	struct slice group, topic;
	uint64_t incarnation;

	if (!state_get_name(&p, &group) || !state_get_name(&p, &topic) || !state_get_u64(&p, &incarnation))
		return ST_CORRUPT;
	struct group *gr = group_at(gs, group);
	struct topic *t = topic_find(gs->eng, topic);
	struct gtopic *gt = gr == NULL || t == NULL || t->incarnation != incarnation ? NULL : gtopic_find(gr, t);
	if (gt != NULL)
		forget_gtopic(gs, gt);
	return ST_OK;
}

enum status groups_offsets_apply(struct groups_state *gs, enum state_type type, struct slice p)
{
	if (type == STATE_OFFSETS_DROP)
		return apply_drop(gs, p);
	struct gtopic *gt;
	uint32_t n = 1;
	enum status st = get_head(gs, &p, &gt);

	if (st == ST_OK && (type == STATE_OFFSETS || type == STATE_OFFSETS_FROM) && !state_get_u32(&p, &n))
		st = ST_CORRUPT;
	for (uint32_t i = 0; st == ST_OK && i < n; i++)
		st = apply_offset(gs, gt, &p, type);
	return st;
}

void groups_offsets_fini(struct groups_state *gs)
{
	size_t at = 0;

	LIST_EACH_SAFE(&gs->groups, n, t) {
		struct group *gr = container_of(n, struct group, link);
		LIST_EACH_SAFE(&gr->feeds, l, u)
			feed_free(container_of(l, struct feed, link));
		list_init(&gr->feeds);
	}
	LIST_EACH_SAFE(&gs->gtopics, n, t) {
		struct gtopic *gt = container_of(n, struct gtopic, all);
		for (uint32_t i = 0; i < gt->n; i++) {
			if (gt->q[i] == NULL)
				continue;
			if (gt->q[i]->cursor != NULL)
				cursor_free(gt->q[i]->cursor);
			mem_free(gt->q[i]->holder);
			mem_free(gt->q[i]);
		}
		mem_free(gt->q);
		mem_free(gt);
	}
	for (struct u64map_slot *s; (s = u64map_each(&gs->users, &at)) != NULL;) {
		struct topic_users *u = s->value;
		LIST_EACH_SAFE(&u->feeds, l, v)
			feed_free(container_of(l, struct feed, link));
		mem_free(u);
	}
	u64map_fini(&gs->users);
	LIST_EACH_SAFE(&gs->ended_subs, n, t) {
		struct sub *s = container_of(n, struct sub, link);
		filter_fini(&s->filter);
		mem_free(s);
	}
	LIST_EACH_SAFE(&gs->dead_feeds, n, t)
		feed_free(container_of(n, struct feed, link));
	LIST_EACH_SAFE(&gs->dead_cursors, n, t)
		cursor_free(container_of(n, struct cursor, grave));
	list_init(&gs->gtopics);
}

/* ---- Verbs ------------------------------------------------------------------------------------------------------------------------------ */

static enum status find_queue(struct eng *g, const struct engine_offset *r, struct topic **ret)
{
	struct topic *t = topic_find(g, r->topic);

	if (t == NULL)
		return ST_NO_TOPIC;
	if (r->queue < 0 || (uint32_t)r->queue >= t->n_queues)
		return ST_NO_QUEUE;
	*ret = t;
	return ST_OK;
}

static bool queue_young(struct eng *g, struct topic *t, int32_t queue)
{
	struct queue *q = topic_queue_peek(t, queue);
	struct qentry first;
	enum status st;

	if (q == NULL || q->index.next == 0)
		return true;
	if (queue_min(g, q) > 0)
		return false;
	if (eng_index_read(g, q, 0, &first, 1, &st) == 0)
		return st == ST_BUSY; /* rather too many than too few */
	return g->clog.tail - first.position <= g->conf.young_bytes;
}

static void do_get(struct groups_state *gs, struct engine_offset *r)
{
	struct topic *t;
	enum status st = find_queue(gs->eng, r, &t);

	if (st == ST_OK) {
		struct group *gr = group_find(gs->eng, r->group);
		struct goff *o = gr == NULL ? NULL : goff_find(gtopic_find(gr, t), r->queue);
		r->young = false;
		if (o != NULL && o->set) {
			r->offset = o->value;
		} else {
			r->young = queue_young(gs->eng, t, r->queue);
			st = ST_NOT_FOUND;
		}
	}
	eng_complete(gs->eng, &r->ask, st);
}

static enum status commit(struct groups_state *gs, struct engine_offset *r, bool *made)
{
	struct topic *t;
	struct group *gr;
	enum status st = find_queue(gs->eng, r, &t);

	if (st == ST_OK && r->offset > queue_end(t, r->queue))
		st = ST_BAD_ARG;
	if (st == ST_OK)
		st = group_ensure(gs, r->group, &gr, made);
	if (st != ST_OK)
		return st;
	struct goff *o = goff_need(gtopic_need(gs, gr, t), r->queue);
	if (o->set && r->offset < o->value && goff_puller_present(gs, o)) {
		struct member *m = r->member == NULL ? NULL : r->member->priv[0];
		struct slice from = m != NULL ? slice_str(m->address) : r->actor != NULL ? r->actor->address : (struct slice){NULL, 0};
		if (!is_puller(o, from))
			return ST_OK; /* a stale member's: somebody else has come further since */
	}
	if (!o->set || r->offset != o->value)
		goff_set(gs, o, r->offset);
	eng_count(gs->eng, STAT_OFFSETS_COMMITTED_TOTAL, 1);
	return ST_OK;
}

static void do_commit(struct groups_state *gs, struct engine_offset *r)
{
	bool made = false;
	enum status st = commit(gs, r, &made);

	if (st == ST_OK && made)
		eng_complete_durable(gs->eng, &r->ask);
	else
		eng_complete(gs->eng, &r->ask, st);
}

static void do_reset(struct groups_state *gs, struct engine_offset *r)
{
	struct topic *t;
	struct group *gr;
	bool made = false;
	enum status st = find_queue(gs->eng, r, &t);

	if (st == ST_OK && r->offset > queue_end(t, r->queue))
		st = ST_BAD_ARG;
	if (st == ST_OK)
		st = group_ensure(gs, r->group, &gr, &made);
	if (st == ST_OK) {
		struct goff *o = goff_need(gtopic_need(gs, gr, t), r->queue), as = *o;
		struct buf items = {0};
		struct run run = {.b = &items};
		as.value = r->offset;
		as.commit_ms = gs->eng->now_ms;
		as.cursor = NULL;
		goff_renew(gs, &as);
		run_put(&run, &as);
		run_end(&run);
		st = state_append(gs->eng, buf_view(&items), &r->ask, NULL);
		buf_fini(&items);
		if (st == ST_OK) {
			if (o->cursor != NULL)
				cursor_reset(o->cursor, r->offset);
			o->incarnation = as.incarnation;
			o->value = r->offset;
			o->commit_ms = as.commit_ms;
			o->set = true;
			o->extra_logged = false;
			list_remove(&o->dirty); /* the log has its last value */
			o->state = GOFF_CLEAN;
			eng_count(gs->eng, STAT_OFFSETS_COMMITTED_TOTAL, 1);
		}
	}
	if (st != ST_OK)
		eng_complete(gs->eng, &r->ask, st);
}

static void do_drop(struct groups_state *gs, struct engine_offset *r)
{
	struct group *gr = group_at(gs, r->group);
	struct topic *t = topic_find(gs->eng, r->topic);
	struct gtopic *gt = gr == NULL || t == NULL ? NULL : gtopic_find(gr, t);

	if (gr == NULL || t == NULL) {
		eng_complete(gs->eng, &r->ask, gr == NULL ? ST_NO_GROUP : ST_NO_TOPIC);
		return;
	}
	if (gt == NULL) {
		eng_complete_durable(gs->eng, &r->ask); /* what made it so may not be on disk yet */
		return;
	}
	struct buf items = {0};
	size_t at = state_item_begin(&items, STATE_OFFSETS_DROP);
	put_head(&items, gt);
	state_item_end(&items, at);
	enum status st = state_append(gs->eng, buf_view(&items), &r->ask, NULL);
	buf_fini(&items);
	if (st == ST_OK)
		forget_gtopic(gs, gt);
	else
		eng_complete(gs->eng, &r->ask, st);
}

static void do_list(struct groups_state *gs, struct engine_offsets *r)
{
	struct group *gr = group_find(gs->eng, r->group);
	size_t n = 0, text = 0;

	if (gr == NULL) {
		eng_complete(gs->eng, &r->ask, ST_NO_GROUP);
		return;
	}
	LIST_EACH(&gr->topics, l) {
		struct gtopic *gt = container_of(l, struct gtopic, link);
		text += topic_name(gt->topic).n;
		for (uint32_t i = 0; i < gt->n; i++)
			n += gt->q[i] != NULL && gt->q[i]->set;
	}
	struct reply *rep = reply_new(gs, &r->ask, n * sizeof(struct offset_info), text);
	struct offset_info *v = rep->rows;
	r->v = v;
	r->count = n;
	LIST_EACH(&gr->topics, l) {
		struct gtopic *gt = container_of(l, struct gtopic, link);
		struct slice name = reply_text(rep, topic_name(gt->topic));
		for (uint32_t i = 0; i < gt->n; i++) {
			struct goff *o = gt->q[i];
			if (o != NULL && o->set)
				*v++ = (struct offset_info){name, o->queue, o->value, queue_begin(gs->eng, gt->topic, o->queue),
					queue_end(gt->topic, o->queue), o->commit_ms};
		}
	}
	reply_send(gs, rep, ST_OK);
}

/* ---- Orderly locks ------------------------------------------------------------------------------------------------------------------------ */

static bool lock_one(struct groups_state *gs, struct group *gr, const struct engine_locks *r, const struct queue_name *q, bool take)
{
	struct topic *t = topic_find(gs->eng, q->topic);

	if (t == NULL || q->queue < 0 || (uint32_t)q->queue >= t->n_queues)
		return false;
	struct goff *o = take ? goff_need(gtopic_need(gs, gr, t), q->queue) : goff_find(gtopic_find(gr, t), q->queue);
	if (o == NULL)
		return false;
	bool mine = o->holder != NULL && slice_eq_str(r->client_id, o->holder);
	bool over = o->holder == NULL || gs->eng->now_ns - o->held_ns > gs->eng->conf.lock_expire_ms * MS_NS;
	if (!take && !mine)
		return false;
	if (take && !mine && !over)
		return false;
	if (!mine || !take) {
		mem_free(o->holder);
		o->holder = take ? slice_dup(r->client_id) : NULL;
	}
	o->held_ns = gs->eng->now_ns;
	return true;
}

static void do_lock(struct groups_state *gs, struct engine_locks *r, bool take)
{
	struct group *gr = NULL;
	bool made = false;
	enum status st = r->client_id.n == 0 || r->client_id.n > CLIENT_ID_MAX || r->count > LOCKS_MAX ? ST_BAD_ARG : ST_OK;

	if (st == ST_OK && take)
		st = group_ensure(gs, r->group, &gr, &made);
	else if (st == ST_OK && (gr = group_find(gs->eng, r->group)) == NULL)
		st = ST_NO_GROUP;
	for (size_t i = 0; i < r->count; i++) {
		bool ok = st == ST_OK && lock_one(gs, gr, r, &r->v[i], take);
		if (take && r->granted != NULL)
			r->granted[i] = ok;
	}
	eng_complete(gs->eng, &r->ask, st);
}

void offset_submit(struct groups_state *gs, struct engine_ask *a)
{
	switch ((enum engine_verb)a->verb) {
	case ENGINE_OFFSET_GET:
		do_get(gs, container_of(a, struct engine_offset, ask));
		break;
	case ENGINE_OFFSET_COMMIT:
		do_commit(gs, container_of(a, struct engine_offset, ask));
		break;
	case ENGINE_OFFSET_RESET:
		do_reset(gs, container_of(a, struct engine_offset, ask));
		break;
	case ENGINE_OFFSET_DROP:
		do_drop(gs, container_of(a, struct engine_offset, ask));
		break;
	case ENGINE_OFFSET_LIST:
		do_list(gs, container_of(a, struct engine_offsets, ask));
		break;
	default:
		do_lock(gs, container_of(a, struct engine_locks, ask), a->verb == ENGINE_LOCK);
	}
}
