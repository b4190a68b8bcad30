/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Who owns which queue of a group: native members, which divide the queues among themselves, or the engine, which leases from the
 * rest on behalf of its subscriptions.
 *
 * Native clients compute their shares from the list of members, averagely over sorted client ids. With subscriptions of its own, the
 * engine stands in that list as one more member (gateway@BROKER), computes the same, and leases only from what falls to it. It is listed
 * only while it serves every topic that the natives subscribe to: otherwise queues of the others would fall to it and nobody would
 * read them. When it is not listed, natives own all queues of what they subscribe to, and its subscriptions there get nothing.
 *
 * A queue is taken when its former native owner has left, or has not pulled for QUEUE_GRACE_MS. A queue that falls to a native is handed
 * over at once: the committed offset moves behind all that was leased, what waits here becomes a copy in the group's retry topic, and
 * what a member still has may be settled by it, or becomes a copy too when it fails.
 */
#include <stdlib.h>

#include "engine/groups.h"
#include "base/mem.h"

void share_check(struct groups_state *gs, struct group *gr)
{
	CHECK_OBJ(gr, GROUP_MAGIC);
	if (!list_linked(&gr->check))
		list_push(&gs->checks, &gr->check);
	pump_soon(gs);
}

void share_grace(struct eng *g, struct eng_timer *t)
{
	struct group *gr = container_of(t, struct group, grace);

	share_check(g->gs, gr);
}

static bool has_natives(const struct group *gr)
{
	return gr->n_consumers > 0 && gr->model == MODEL_CLUSTERING;
}

static bool own_retry(const struct group *gr, const char *topic)
{
	return slice_starts(slice_str(topic), SLICE_LIT(RETRY_PREFIX)) && strcmp(topic + strlen(RETRY_PREFIX), gr->name) == 0;
}

bool share_listed(const struct group *gr)
{
	if (list_empty(&gr->feeds))
		return false;
	if (!has_natives(gr))
		return true;
	LIST_EACH(&gr->subs, n) {
		const struct announced *an = container_of(n, struct announced, link);
		if (own_retry(gr, an->topic))
			continue;
		const struct gtopic *gt = map_get(&gr->by_topic, slice_str(an->topic));
		if (gt == NULL || gt->feed == NULL)
			return false;
	}
	return true;
}

uint32_t share_average(uint32_t queues, uint32_t members, uint32_t at, uint32_t *ret_from)
{
	CHECK(at < members);
	uint32_t mod = queues % members;
	uint32_t size = queues <= members ? 1 : mod > 0 && at < mod ? queues / members + 1 : queues / members;
	uint32_t from = mod > 0 && at < mod ? at * size : at * size + mod;

	*ret_from = from;
	return from >= queues ? 0 : size < queues - from ? size : queues - from;
}

static int cmp_id(const void *a, const void *b)
{
	const char *x, *y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return strcmp(x, y);
}

/* The engine's place among the sorted client ids, and how many there are with it. */
static uint32_t place(const struct groups_state *gs, const struct group *gr, uint32_t *ret_members)
{
	const char **ids = mem_array(gr->n_consumers + 1, sizeof(char *));
	uint32_t n = 0, at = 0;

	LIST_EACH(&gr->members, l) {
		const struct member *m = container_of(l, struct member, link);
		if (m->kind == MEMBER_CONSUMER)
			ids[n++] = m->client_id;
	}
	ids[n++] = gs->gateway;
	qsort(ids, n, sizeof(char *), cmp_id);
	while (ids[at] != gs->gateway)
		at++;
	mem_free(ids);
	*ret_members = n;
	return at;
}

/* The queue falls to us: start, or wait until its former owner is through. */
static void take(struct groups_state *gs, struct gtopic *gt, uint32_t queue, uint64_t *grace)
{
	struct goff *o = goff_need(gt, (int32_t)queue);
	struct cursor *c = cursor_of(gs, o);

	if (c->active)
		return;
	uint64_t until = o->pulled_ns + QUEUE_GRACE_MS * MS_NS;
	if (o->puller_n > 0 && until > gs->eng->now_ns && member_present(gt->group, slice_of(o->puller, o->puller_n))) {
		*grace = u64_min(*grace, until);
		return;
	}
	if (!o->set) {
		struct queue *q = topic_queue(gs->eng, gt->topic, (int32_t)queue);
		o->value = gt->retry ? queue_min(gs->eng, q) : feed_start(gt->feed, gt->topic, (int32_t)queue, queue >= gt->feed->n_cursors);
		cursor_reset(c, o->value);
	}
	if (!o->set || o->incarnation == 0) {
		goff_renew(gs, o);
		goff_dirty(gs, o);
	}
	log_trace(gs->eng->log, "lease", "group=%s topic=%s queue=%u taken at=%llu", gt->group->name, gt->topic->name, queue,
		(unsigned long long)o->value);
	cursor_activate(c, true);
}

/* A native member owns the queue now. Every offset below c->next is settled or an item, so the natives may start there. */
static void hand_over(struct cursor *c)
{
	uint64_t at = c->next;

	cursor_activate(c, false);
	if (c->handed)
		return;
	c->handed = true;
	while (at > c->prefix && cursor_known(c, at))
		at++;
	if (at > c->prefix) {
		cursor_raise(c, at);
		log_trace(c->gs->eng->log, "lease", "group=%s topic=%s queue=%d handed over at=%llu", c->off->gt->group->name, c->topic->name,
			c->queue, (unsigned long long)c->prefix);
	}
	LIST_EACH_SAFE(&c->all, n, t) {
		struct item *it = container_of(n, struct item, all);
		if (it->state != ITEM_LEASED && it->state != ITEM_COPY)
			item_copy(it, false);
	}
}

static void check_topic(struct groups_state *gs, struct gtopic *gt, uint32_t at, uint32_t members, uint64_t *grace)
{
	struct group *gr = gt->group;
	uint32_t n = gt->topic->conf.read_queues < gt->topic->n_queues ? gt->topic->conf.read_queues : gt->topic->n_queues;
	bool natives = has_natives(gr) && group_announced(gr, topic_name(gt->topic)) != NULL;
	bool served = gt->retry ? !list_empty(&gr->feeds) : gt->feed != NULL;
	uint32_t from = 0, owned = n;

	if (natives)
		owned = members == 0 ? 0 : share_average(n, members, at, &from);
	for (uint32_t i = 0; i < n || i < gt->n; i++) {
		bool mine = served && i >= from && i - from < owned;
		struct goff *o = goff_find(gt, (int32_t)i);
		if (mine) {
			take(gs, gt, i, grace);
		} else if (o != NULL && o->cursor != NULL) {
			if (natives && i < n)
				hand_over(o->cursor);
			else
				cursor_activate(o->cursor, false);
		}
	}
	if (gt->feed != NULL) {
		gt->feed->n_owned = owned;
		feed_wake(gt->feed);
	}
}

/* The group's retries are looked at from the first subscription on. */
static void need_retries(struct groups_state *gs, struct group *gr)
{
	char name[NAME_MAX_SYSTEM];
	size_t n = strlen(RETRY_PREFIX), m = strlen(gr->name);

	CHECK(n + m <= sizeof name);
	memcpy(name, RETRY_PREFIX, n);
	memcpy(name + n, gr->name, m);
	struct topic *t = topic_find(gs->eng, slice_of(name, n + m));
	if (t != NULL)
		gtopic_need(gs, gr, t);
}

static void check_group(struct groups_state *gs, struct group *gr)
{
	uint64_t grace = NEVER;
	uint32_t members = 0, at = 0, idle = 0;
	bool listed = share_listed(gr);

	if (listed != gr->listed) {
		gr->listed = listed;
		group_tell(gs, gr);
	}
	if (!list_empty(&gr->feeds))
		need_retries(gs, gr);
	if (listed && has_natives(gr))
		at = place(gs, gr, &members);
	LIST_EACH(&gr->topics, n) {
		struct gtopic *gt = container_of(n, struct gtopic, link);
		if (gt->feed != NULL || gt->n_cursors > 0 || (gt->retry && !list_empty(&gr->feeds)))
			check_topic(gs, gt, at, members, &grace);
		if (gt->feed != NULL && gt->feed->n_owned == 0)
			idle += gt->feed->n_subs;
	}
	gs->eng->stats[STAT_SUBSCRIPTIONS_IDLE] += idle;
	gs->eng->stats[STAT_SUBSCRIPTIONS_IDLE] -= gr->idle_subs;
	gr->idle_subs = idle;
	if (grace != NEVER)
		eng_timer_set(gs->eng, &gr->grace, grace);
	else
		eng_timer_stop(gs->eng, &gr->grace);
}

void share_pump(struct groups_state *gs)
{
	struct list now, *n;

	list_init(&now);
	list_move(&now, &gs->checks);
	while ((n = list_pop(&now)) != NULL)
		check_group(gs, container_of(n, struct group, check));
}
