/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Consumer groups: their registry, configuration and state records; the pump that fires what members and subscriptions wait to hear;
 * and the table of which file answers which verb.
 *
 * A configuration is in the log before it counts: a STATE_GROUP record at creation and at each change. System groups exist from the
 * start, without a record, and cannot be dropped. A group without configuration ("bare") is no group to anybody outside: it carries the
 * producers that gave its name, or offsets that were kept when it was dropped.
 */
#include "base/mem.h"
#include "engine/groups.h"

#define RETRY_MAX_DEFAULT 16u
#define CONSUME_TIMEOUT_MIN_DEFAULT 15u

static const char *const system_groups[] = {
	"TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP", "CID_ONS-HTTP-PROXY", "CID_ONSAPI_PULL", "CID_ONSAPI_PERMISSION",
	"CID_ONSAPI_OWNER", "CID_RMQ_SYS_TRANS",
};

void group_conf_default(struct group_conf *c)
{
	*c = (struct group_conf){.consume = true, .broadcast = true, .from_min = true, .notify = true, .retry_queues = 1,
		.retry_max = RETRY_MAX_DEFAULT, .slow_broker_id = 1, .consume_timeout_min = CONSUME_TIMEOUT_MIN_DEFAULT};
}

/* ---- Registry ------------------------------------------------------------------------------------------------------------------------- */

struct group *group_at(struct groups_state *gs, struct slice name)
{
	struct group *gr = map_get(&gs->eng->groups, name);

	if (gr != NULL)
		CHECK_OBJ(gr, GROUP_MAGIC);
	return gr;
}

struct group *group_find(struct eng *g, struct slice name)
{
	struct group *gr = group_at(g->gs, name);

	return gr != NULL && gr->known ? gr : NULL;
}

const struct group_conf *group_conf_of(const struct group *gr)
{
	CHECK_OBJ(gr, GROUP_MAGIC);
	return &gr->conf;
}

enum status group_bare(struct groups_state *gs, struct slice name, struct group **ret)
{
	struct group *gr = group_at(gs, name);

	if (gr != NULL) {
		*ret = gr;
		return ST_OK;
	}
	enum status st = topic_check_name(name, NAME_MAX_GROUP);
	if (st != ST_OK)
		return st;
	if (gs->eng->groups.count >= gs->eng->conf.max_groups && !gs->eng->recovering)
		return ST_BUSY;
	gr = mem_new(sizeof *gr);
	gr->magic = GROUP_MAGIC;
	gr->gs = gs;
	gr->name = slice_dup(name);
	gr->serial = ++gs->serial;
	gr->model = MODEL_CLUSTERING;
	gr->grace.fire = share_grace;
	list_init(&gr->topics);
	list_init(&gr->members);
	list_init(&gr->subs);
	list_init(&gr->feeds);
	list_init(&gr->check);
	list_push(&gs->groups, &gr->link);
	CHECK(map_put(&gs->eng->groups, group_name(gr), gr) == NULL);
	*ret = gr;
	return ST_OK;
}

static void group_free(struct groups_state *gs, struct group *gr)
{
	CHECK(list_empty(&gr->feeds));
	eng_timer_stop(gs->eng, &gr->grace);
	list_remove(&gr->check);
	list_remove(&gr->link);
	group_free_members(gs, gr);
	map_fini(&gr->by_topic);
	CHECK(map_drop(&gs->eng->groups, group_name(gr)) == gr);
	gr->magic = 0;
	mem_free(gr->name);
	mem_free(gr);
}

void group_tidy(struct groups_state *gs, struct group *gr)
{
	CHECK_OBJ(gr, GROUP_MAGIC);
	if (!gr->known && list_empty(&gr->topics) && list_empty(&gr->members) && list_empty(&gr->feeds))
		group_free(gs, gr);
}

static void set_known(struct groups_state *gs, struct group *gr, const struct group_conf *c)
{
	gr->conf = *c;
	if (!gr->known)
		gs->eng->stats[STAT_GROUPS]++;
	gr->known = true;
}

/* ---- State records ---------------------------------------------------------------------------------------------------------------------- */

enum { FLAG_CONSUME = 1, FLAG_BROADCAST = 2, FLAG_FROM_MIN = 4, FLAG_ORDERLY = 8, FLAG_NOTIFY = 16 };

static void put_item(struct buf *b, struct slice name, const struct group_conf *c)
{
	size_t at = state_item_begin(b, STATE_GROUP);

	state_put_name(b, name);
	buf_u8(b, (uint8_t)((c->consume ? FLAG_CONSUME : 0) | (c->broadcast ? FLAG_BROADCAST : 0) | (c->from_min ? FLAG_FROM_MIN : 0) |
		(c->orderly ? FLAG_ORDERLY : 0) | (c->notify ? FLAG_NOTIFY : 0)));
	buf_be32(b, c->retry_queues);
	buf_be32(b, c->retry_max);
	buf_be32(b, c->broker_id);
	buf_be32(b, c->slow_broker_id);
	buf_be32(b, c->sys_flag);
	buf_be32(b, c->consume_timeout_min);
	state_item_end(b, at);
}

/* Writes the configuration; memory follows only when that worked. 'ask' (may be NULL) completes when it is durable. */
static enum status put_conf(struct groups_state *gs, struct group *gr, const struct group_conf *c, struct engine_ask *ask)
{
	struct buf items = {0};

	put_item(&items, group_name(gr), c);
	enum status st = state_append(gs->eng, buf_view(&items), ask, NULL);
	buf_fini(&items);
	if (st != ST_OK)
		return st;
	set_known(gs, gr, c);
	gr->recorded = true;
	gr->defined_to = gs->eng->clog.tail;
	share_check(gs, gr);
	return ST_OK;
}

static enum status apply_group(struct groups_state *gs, struct slice p)
{
	struct slice name;
	struct group_conf c = {0};
	struct group *gr;
	uint8_t flags;

	if (!state_get_name(&p, &name) || !state_get_u8(&p, &flags) || !state_get_u32(&p, &c.retry_queues) || !state_get_u32(&p, &c.retry_max) ||
		!state_get_u32(&p, &c.broker_id) || !state_get_u32(&p, &c.slow_broker_id) || !state_get_u32(&p, &c.sys_flag) ||
		!state_get_u32(&p, &c.consume_timeout_min) || group_bare(gs, name, &gr) != ST_OK)
		return ST_CORRUPT;
	c.consume = flags & FLAG_CONSUME;
	c.broadcast = flags & FLAG_BROADCAST;
	c.from_min = flags & FLAG_FROM_MIN;
	c.orderly = flags & FLAG_ORDERLY;
	c.notify = flags & FLAG_NOTIFY;
	set_known(gs, gr, &c);
	gr->recorded = true;
	return ST_OK;
}

/* The group is none any more; its subscriptions end, its offsets stay or go. Members stay: their next sign of life makes it again. */
static void forget_group(struct groups_state *gs, struct group *gr, bool drop_offsets)
{
	if (gr->known)
		gs->eng->stats[STAT_GROUPS]--;
	gr->known = gr->recorded = false;
	LIST_EACH_SAFE(&gr->feeds, n, t)
		feed_end(container_of(n, struct feed, link), ST_NO_GROUP);
	gs->renewals += drop_offsets;
	if (drop_offsets)
		LIST_EACH_SAFE(&gr->topics, n, t)
			gtopic_free(gs, container_of(n, struct gtopic, link));
	group_tidy(gs, gr);
}

static enum status apply_drop(struct groups_state *gs, struct slice p)
{
	struct slice name;
	uint8_t drop_offsets;

	if (!state_get_name(&p, &name) || !state_get_u8(&p, &drop_offsets))
		return ST_CORRUPT;
	struct group *gr = group_at(gs, name);
	if (gr != NULL && !gr->system)
		forget_group(gs, gr, drop_offsets != 0);
	return ST_OK;
}

enum status groups_state_apply(struct eng *g, enum state_type type, struct slice payload, uint64_t position)
{
	CHECK_OBJ(g->gs, GROUPS_MAGIC);
	(void)position;
	switch (type) {
	case STATE_GROUP:
		return apply_group(g->gs, payload);
	case STATE_GROUP_DROP:
		return apply_drop(g->gs, payload);
	default:
		return groups_offsets_apply(g->gs, type, payload);
	}
}

/* cursor: the serial to go on with; its top bit: the groups are through, offsets are next. Serials only grow, so nothing is missed. */
bool groups_state_all(struct eng *g, struct buf *items, size_t max, uint64_t *cursor)
{
	const uint64_t second = UINT64_C(1) << 63;
	struct groups_state *gs = g->gs;
	size_t limit = items->n + max;

	if ((*cursor & second) == 0) {
		LIST_EACH(&gs->groups, n) {
			struct group *gr = container_of(n, struct group, link);
			if (gr->serial < *cursor || !gr->recorded)
				continue;
			if (items->n >= limit) {
				*cursor = gr->serial;
				return true;
			}
			put_item(items, group_name(gr), &gr->conf);
		}
		*cursor = second;
	}
	uint64_t rest = *cursor & ~second;
	bool more = groups_offsets_all(gs, items, limit, &rest);
	*cursor = second | rest;
	return more;
}

/* ---- Making groups ------------------------------------------------------------------------------------------------------------------------- */

enum status group_ensure(struct groups_state *gs, struct slice name, struct group **ret, bool *ret_made)
{
	struct group *gr = group_find(gs->eng, name);

	if (gr == NULL) {
		enum status st = topic_check_name(name, NAME_MAX_GROUP);
		if (st != ST_OK)
			return st;
		if (!gs->eng->conf.auto_create_group)
			return ST_NO_GROUP;
		st = group_bare(gs, name, &gr);
		if (st != ST_OK)
			return st;
		struct group_conf c;
		group_conf_default(&c);
		st = put_conf(gs, gr, &c, NULL);
		if (st != ST_OK) {
			group_tidy(gs, gr);
			return st;
		}
		*ret_made = true;
	}
	*ret = gr;
	return ST_OK;
}

enum status group_ensure_topic(struct groups_state *gs, struct group *gr, const char *prefix, uint32_t queues, struct topic **ret,
	bool *ret_made)
{
	char text[NAME_MAX_SYSTEM];
	size_t n = strlen(prefix), m = strlen(gr->name);

	CHECK(n + m <= sizeof text);
	memcpy(text, prefix, n);
	memcpy(text + n, gr->name, m);
	*ret = topic_find(gs->eng, slice_of(text, n + m));
	if (*ret != NULL)
		return ST_OK;
	struct topic_conf c = {.read_queues = queues, .write_queues = queues, .perm = PERM_READ | PERM_WRITE};
	enum status st = topic_put(gs->eng, slice_of(text, n + m), &c, NULL, ret);
	if (st == ST_OK)
		*ret_made = true;
	return st;
}

/* A group whose configuration says 0 retry queues gets one all the same: what failed must go somewhere. */
static uint32_t retry_queues(const struct group *gr)
{
	return gr->conf.retry_queues == 0 ? 1 : gr->conf.retry_queues > QUEUES_MAX ? QUEUES_MAX : gr->conf.retry_queues;
}

enum status group_need(struct eng *g, struct slice name, struct group **ret)
{
	struct groups_state *gs = g->gs;
	struct group *gr;
	struct topic *t;
	bool made = false;
	enum status st = group_ensure(gs, name, &gr, &made);

	if (st == ST_OK)
		st = group_ensure_topic(gs, gr, RETRY_PREFIX, retry_queues(gr), &t, &made);
	if (st == ST_OK)
		*ret = gr;
	return st;
}

/* ---- Replies ----------------------------------------------------------------------------------------------------------------------------------- */

struct reply *reply_new(struct groups_state *gs, struct engine_ask *user, size_t rows, size_t text)
{
	struct reply *r = mem_new(sizeof *r);

	r->user = user;
	r->rows = mem_new(rows + text);
	r->text = (uint8_t *)r->rows + rows;
	r->text_end = r->text + text;
	list_push(&gs->replies, &r->link);
	return r;
}

struct slice reply_text(struct reply *r, struct slice s)
{
	uint8_t *at = r->text;

	CHECK(s.n <= (size_t)(r->text_end - r->text));
	if (s.n > 0)
		memcpy(at, s.p, s.n);
	r->text += s.n;
	return slice_of(at, s.n);
}

static void reply_free(struct reply *r)
{
	list_remove(&r->link);
	for (size_t i = 0; i < r->n_held; i++)
		blob_drop(r->held[i]);
	mem_free(r->held);
	mem_free(r->rows);
	mem_free(r);
}

static void reply_done(struct engine_ask *a, enum status st)
{
	struct reply *r = container_of(a, struct reply, ask);

	r->user->status = st;
	if (r->user->done != NULL)
		r->user->done(r->user, st);
	reply_free(r);
}

void reply_send(struct groups_state *gs, struct reply *r, enum status st)
{
	r->ask.done = reply_done;
	r->ask.verb = r->user->verb;
	eng_complete(gs->eng, &r->ask, st);
}

/* ---- Verbs ---------------------------------------------------------------------------------------------------------------------------------------- */

static void do_put(struct groups_state *gs, struct engine_group *r)
{
	struct group *gr;
	enum status st = topic_check_name(r->name, NAME_MAX_GROUP);

	if (st == ST_OK && (r->conf.retry_queues > QUEUES_MAX || r->conf.retry_max > INT32_MAX))
		st = ST_BAD_ARG;
	if (st == ST_OK)
		st = group_bare(gs, r->name, &gr);
	if (st == ST_OK) {
		st = put_conf(gs, gr, &r->conf, &r->ask);
		if (st != ST_OK)
			group_tidy(gs, gr);
	}
	if (st != ST_OK)
		eng_complete(gs->eng, &r->ask, st);
}

static void do_get(struct groups_state *gs, struct engine_group *r)
{
	struct group *gr = group_find(gs->eng, r->name);

	if (gr != NULL)
		r->conf = gr->conf;
	eng_complete(gs->eng, &r->ask, gr == NULL ? ST_NO_GROUP : ST_OK);
}

static void do_drop(struct groups_state *gs, struct engine_group *r)
{
	struct group *gr = group_at(gs, r->name);

	/* Of one that was dropped before, or never was one, the offsets may be left. */
	if (gr == NULL || gr->system || (!gr->known && (!r->drop_offsets || list_empty(&gr->topics)))) {
		eng_complete(gs->eng, &r->ask, gr != NULL && gr->system ? ST_DENIED : ST_NO_GROUP);
		return;
	}
	struct buf items = {0};
	size_t at = state_item_begin(&items, STATE_GROUP_DROP);
	state_put_name(&items, r->name);
	buf_u8(&items, r->drop_offsets);
	state_item_end(&items, at);
	enum status st = state_append(gs->eng, buf_view(&items), &r->ask, NULL);
	buf_fini(&items);
	if (st == ST_OK)
		forget_group(gs, gr, r->drop_offsets);
	else
		eng_complete(gs->eng, &r->ask, st);
}

static void do_list(struct groups_state *gs, struct engine_groups *r)
{
	size_t n = 0, text = 0;

	LIST_EACH(&gs->groups, l) {
		struct group *gr = container_of(l, struct group, link);
		n += gr->known;
		text += group_name(gr).n;
	}
	struct reply *rep = reply_new(gs, &r->ask, n * sizeof(struct group_info), text);
	struct group_info *v = rep->rows;
	r->v = v;
	r->count = n;
	LIST_EACH(&gs->groups, l) {
		struct group *gr = container_of(l, struct group, link);
		if (gr->known)
			*v++ = (struct group_info){reply_text(rep, group_name(gr)), gr->conf, gr->n_consumers + (share_listed(gr) ? 1 : 0)};
	}
	reply_send(gs, rep, ST_OK);
}

/*
 * Requests come between turns, maybe long after the last one: leases and lives that begin now must not begin in the past. Inside the
 * pump time stands still, so that what it sets to "soon" stays in the next turn.
 */
void groups_clock(struct groups_state *gs)
{
	struct eng *g = gs->eng;

	if (gs->pumping)
		return;
	g->now_ns = u64_max(g->now_ns, clock_mono_ns(g->env.clock));
	g->now_ms = clock_wall_ms(g->env.clock);
}

void groups_submit(struct eng *g, struct engine_ask *a)
{
	struct groups_state *gs = g->gs;

	CHECK_OBJ(gs, GROUPS_MAGIC);
	groups_clock(gs);
	switch ((enum engine_verb)a->verb) {
	case ENGINE_GROUP_PUT:
		do_put(gs, container_of(a, struct engine_group, ask));
		break;
	case ENGINE_GROUP_GET:
		do_get(gs, container_of(a, struct engine_group, ask));
		break;
	case ENGINE_GROUP_DROP:
		do_drop(gs, container_of(a, struct engine_group, ask));
		break;
	case ENGINE_GROUP_LIST:
		do_list(gs, container_of(a, struct engine_groups, ask));
		break;
	case ENGINE_JOIN:
	case ENGINE_LEAVE:
	case ENGINE_MEMBERS:
		member_submit(gs, a);
		break;
	case ENGINE_LOCK:
	case ENGINE_UNLOCK:
	case ENGINE_OFFSET_GET:
	case ENGINE_OFFSET_COMMIT:
	case ENGINE_OFFSET_RESET:
	case ENGINE_OFFSET_DROP:
	case ENGINE_OFFSET_LIST:
		offset_submit(gs, a);
		break;
	case ENGINE_SUB_OPEN:
	case ENGINE_SETTLE:
		lease_submit(gs, a);
		break;
	default:
		PANIC("verb %u is not of the groups", a->verb);
	}
}

/* ---- Life ------------------------------------------------------------------------------------------------------------------------------------------ */

/* Inside the pump "soon" is the next turn, so that two callers who answer each other cannot keep a turn from ending. */
void pump_soon(struct groups_state *gs)
{
	uint64_t due = gs->eng->now_ns + (gs->pumping ? 1 : 0);

	if (!heap_has(&gs->pump.node) || gs->pump.node.due > due)
		eng_timer_set(gs->eng, &gs->pump, due);
}

static void pump(struct eng *g, struct eng_timer *t)
{
	struct groups_state *gs = container_of(t, struct groups_state, pump);

	CHECK(gs->eng == g && !gs->pumping);
	gs->pumping = true;
	feed_bury(gs);
	taps_bury(gs);
	members_pump(gs);
	share_pump(gs);
	copies_pump(gs);
	lease_pump(gs);
	taps_pump(gs);
	gs->pumping = false;
}

static void topic_seen(struct engine_watch *w, const struct topic_info *info, bool dropped)
{
	struct groups_state *gs = container_of(w, struct groups_state, watch);
	struct topic *t = dropped ? NULL : topic_find(gs->eng, info->name);

	if (t != NULL)
		offset_watch(gs, t);
}

enum status groups_init(struct eng *g)
{
	struct groups_state *gs = mem_new(sizeof *gs);

	gs->magic = GROUPS_MAGIC;
	gs->eng = g;
	struct list *lists[] = {&gs->groups, &gs->gtopics, &gs->members, &gs->dirty, &gs->written, &gs->later, &gs->replies, &gs->told, &gs->lost,
		&gs->ended_subs, &gs->checks, &gs->routes, &gs->copies, &gs->feeds_run, &gs->dead_feeds, &gs->dead_cursors, &gs->copy_wait.link,
		&gs->hands, &gs->taps_run, &gs->ended_taps, &gs->dead_taps};
	for (unsigned i = 0; i < ARRAY_LEN(lists); i++)
		list_init(lists[i]);
	gs->pump.fire = pump;
	gs->expire.fire = members_expire;
	gs->copy_again.fire = copies_again;
	gs->later_timer.fire = offsets_later;
	gs->copy_wait.ready = copies_ready;
	struct buf id = {0};
	buf_str(&id, "gateway@");
	buf_slice(&id, g->conf.broker);
	gs->gateway = mem_dup(id.p, id.n);
	buf_fini(&id);
	g->gs = gs;
	gs->watch.topic = topic_seen;
	engine_watch_add(&g->head, &gs->watch);
	for (unsigned i = 0; i < ARRAY_LEN(system_groups); i++) {
		struct group *gr;
		struct group_conf c;
		enum status st = group_bare(gs, slice_str(system_groups[i]), &gr);
		if (st != ST_OK)
			return st;
		group_conf_default(&c);
		set_known(gs, gr, &c);
		gr->system = true;
	}
	return ST_OK;
}

void groups_recovered(struct eng *g)
{
	struct groups_state *gs = g->gs;

	LIST_EACH(&gs->gtopics, n) {
		struct gtopic *gt = container_of(n, struct gtopic, all);
		for (uint32_t i = 0; i < gt->n; i++) {
			struct goff *o = gt->q[i];
			if (o == NULL || !o->set)
				continue;
			uint64_t end = queue_end(gt->topic, (int32_t)i);
			if (o->value <= end)
				continue;
			log_error(g->log, "group", "group=%s topic=%s queue=%u offset=%llu is behind the queue's end %llu: set back", gt->group->name,
				gt->topic->name, i, (unsigned long long)o->value, (unsigned long long)end);
			goff_set(gs, o, end);
		}
	}
	LIST_EACH(&gs->gtopics, n) {
		struct gtopic *gt = container_of(n, struct gtopic, all);
		for (uint32_t i = 0; i < gt->n; i++) {
			struct cursor *c = gt->q[i] == NULL ? NULL : gt->q[i]->cursor;
			if (c == NULL)
				continue;
			LIST_EACH_SAFE(&c->all, l, t) {
				struct item *it = container_of(l, struct item, all);
				if (it->dead)
					item_copy(it, true);
				else
					item_wait(it, it->due_ms <= g->now_ms ? 0 : (uint64_t)(it->due_ms - g->now_ms));
			}
		}
	}
}

bool groups_close(struct eng *g)
{
	struct groups_state *gs = g->gs;

	CHECK_OBJ(gs, GROUPS_MAGIC);
	if (!gs->ended) {
		gs->ended = true;
		members_forget(gs, false);
		offsets_later(g, &gs->later_timer);
		LIST_EACH_SAFE(&gs->groups, n, t) {
			struct group *gr = container_of(n, struct group, link);
			LIST_EACH_SAFE(&gr->feeds, l, u)
				feed_end(container_of(l, struct feed, link), ST_CLOSED);
		}
		size_t at = 0;
		for (struct u64map_slot *s; (s = u64map_each(&gs->users, &at)) != NULL;) {
			struct topic_users *u = s->value;
			LIST_EACH_SAFE(&u->feeds, l, v)
				feed_end(container_of(l, struct feed, link), ST_CLOSED);
		}
		taps_end(gs, ST_CLOSED);
		pump_soon(gs);
	}
	return list_empty(&gs->ended_subs) && list_empty(&gs->ended_taps) && list_empty(&gs->replies);
}

/* Frees memory only: topics, timers and blocks that point here are going too, and may be gone. */
void groups_fini(struct eng *g)
{
	struct groups_state *gs = g->gs;

	if (gs == NULL)
		return;
	CHECK_OBJ(gs, GROUPS_MAGIC);
	gs->eng = g;
	members_forget(gs, true);
	taps_fini(gs);
	groups_offsets_fini(gs);
	LIST_EACH_SAFE(&gs->replies, n, t)
		reply_free(container_of(n, struct reply, link));
	LIST_EACH_SAFE(&gs->groups, n, t)
		group_free(gs, container_of(n, struct group, link));
	map_fini(&g->groups);
	gs->magic = 0;
	mem_free(gs->gateway);
	mem_free(gs);
	g->gs = NULL;
}
