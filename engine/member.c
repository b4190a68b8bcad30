/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Who is there: members of groups, and what they subscribe to.
 *
 * A join is a heartbeat: said again it only renews. The subscription belongs to the group, as RocketMQ has it: for each topic the newest
 * version counts, and what the latest heartbeat does not name is dropped. Members live in memory only: after a start they say again that
 * they are there.
 *
 * changed() goes to all consumers of the group when one came or went, or a topic was added to or dropped from the subscription. It
 * fires from the pump, once for all that happened before it.
 */
#include "base/mem.h"
#include "engine/groups.h"

struct announced *group_announced(const struct group *gr, struct slice topic)
{
	return map_get(&gr->by_sub, topic);
}

bool member_present(const struct group *gr, struct slice address)
{
	LIST_EACH(&gr->members, n) {
		struct member *m = container_of(n, struct member, link);
		if (m->kind == MEMBER_CONSUMER && slice_eq_str(address, m->address))
			return true;
	}
	return false;
}

void group_tell(struct groups_state *gs, struct group *gr)
{
	if (!gr->conf.notify || !gr->known || gr->model == MODEL_BROADCASTING)
		return;
	LIST_EACH(&gr->members, n) {
		struct member *m = container_of(n, struct member, link);
		if (m->kind == MEMBER_CONSUMER && !list_linked(&m->due))
			list_push(&gs->told, &m->due);
	}
	pump_soon(gs);
}

/* ---- Coming and going ------------------------------------------------------------------------------------------------------------------- */

static void arm_expiry(struct groups_state *gs)
{
	if (list_empty(&gs->members)) {
		eng_timer_stop(gs->eng, &gs->expire);
		return;
	}
	struct member *m = container_of(gs->members.next, struct member, seen);
	eng_timer_set(gs->eng, &gs->expire, m->seen_ns + gs->eng->conf.member_expire_ms * MS_NS);
}

static void member_seen(struct groups_state *gs, struct member *m)
{
	list_remove(&m->seen);
	m->seen_ns = gs->eng->now_ns;
	m->seen_ms = gs->eng->now_ms;
	list_push(&gs->members, &m->seen);
	arm_expiry(gs);
}

static struct member *member_new(struct groups_state *gs, struct group *gr, struct engine_member *who, enum member_kind kind)
{
	struct member *m = mem_new(sizeof *m);

	m->magic = MEMBER_MAGIC;
	m->group = gr;
	m->who = who;
	m->kind = kind;
	list_init(&m->seen);
	list_init(&m->due);
	list_push(&gr->members, &m->link);
	if (kind == MEMBER_CONSUMER)
		gr->n_consumers++;
	else
		gr->n_producers++;
	gs->eng->stats[STAT_MEMBERS]++;
	who->priv[0] = m;
	return m;
}

static void member_free(struct member *m)
{
	list_remove(&m->due);
	mem_free(m->client_id);
	mem_free(m->address);
	m->magic = 0;
	mem_free(m);
}

static void drop_announced(struct group *gr, struct announced *an)
{
	map_drop(&gr->by_sub, slice_str(an->topic));
	list_remove(&an->link);
	gr->n_subs--;
	filter_fini(&an->filter);
	mem_free(an->topic);
	mem_free(an->expr);
	mem_free(an);
}

/* Out of the group, with what follows for the others. The member's memory stays. */
static void member_out(struct groups_state *gs, struct member *m)
{
	struct group *gr = m->group;

	CHECK_OBJ(m, MEMBER_MAGIC);
	list_remove(&m->link);
	list_remove(&m->seen);
	list_remove(&m->due);
	m->who->priv[0] = NULL;
	gs->eng->stats[STAT_MEMBERS]--;
	if (m->kind == MEMBER_CONSUMER) {
		gr->n_consumers--;
		if (gr->n_consumers == 0)
			LIST_EACH_SAFE(&gr->subs, n, t)
				drop_announced(gr, container_of(n, struct announced, link));
		group_tell(gs, gr);
		share_check(gs, gr);
	} else {
		gr->n_producers--;
	}
	m->group = NULL;
	arm_expiry(gs);
	group_tidy(gs, gr);
}

void members_expire(struct eng *g, struct eng_timer *t)
{
	struct groups_state *gs = container_of(t, struct groups_state, expire);
	uint64_t life = g->conf.member_expire_ms * MS_NS;

	while (!list_empty(&gs->members)) {
		struct member *m = container_of(gs->members.next, struct member, seen);
		if (m->seen_ns + life > g->now_ns)
			break;
		log_info(g->log, "group", "group=%s client=%s lost: silent for %u ms", m->group->name, m->client_id, g->conf.member_expire_ms);
		member_out(gs, m);
		list_push(&gs->lost, &m->due);
		pump_soon(gs);
	}
	arm_expiry(gs);
}

void members_pump(struct groups_state *gs)
{
	struct list *n;

	/* Only who is due now: callbacks may add more, which is for the next turn. */
	struct list now;
	list_init(&now);
	list_move(&now, &gs->told);
	while ((n = list_pop(&now)) != NULL) {
		struct member *m = container_of(n, struct member, due);
		CHECK_OBJ(m, MEMBER_MAGIC);
		if (m->who->changed != NULL)
			m->who->changed(m->who);
	}
	while ((n = list_pop(&gs->lost)) != NULL) {
		struct member *m = container_of(n, struct member, due);
		struct engine_member *who = m->who;
		member_free(m);
		if (who->lost != NULL)
			who->lost(who);
	}
}

void members_forget(struct groups_state *gs, bool abandoned)
{
	LIST_EACH_SAFE(&gs->members, n, t) {
		struct member *m = container_of(n, struct member, seen);
		list_remove(&m->link);
		list_remove(&m->seen);
		if (!abandoned)
			m->who->priv[0] = NULL;
		if (m->kind == MEMBER_CONSUMER)
			m->group->n_consumers--;
		else
			m->group->n_producers--;
		member_free(m);
	}
	LIST_EACH_SAFE(&gs->lost, n, t)
		member_free(container_of(n, struct member, due));
	list_init(&gs->lost);
	list_init(&gs->told);
	gs->eng->stats[STAT_MEMBERS] = 0;
}

void group_free_members(struct groups_state *gs, struct group *gr)
{
	(void)gs;
	CHECK(list_empty(&gr->members));
	LIST_EACH_SAFE(&gr->subs, n, t)
		drop_announced(gr, container_of(n, struct announced, link));
	map_fini(&gr->by_sub);
}

/* ---- Subscriptions ---------------------------------------------------------------------------------------------------------------------- */

static enum status check_subs(const struct engine_join *r)
{
	struct buf scratch = {0};
	struct tag_filter f;
	enum status st = r->n_subs > GROUP_SUBS_MAX ? ST_BAD_ARG : ST_OK;

	for (size_t i = 0; st == ST_OK && i < r->n_subs; i++) {
		st = topic_check_name(r->subs[i].topic, NAME_MAX_SYSTEM);
		if (st == ST_OK)
			st = tag_filter_parse(r->subs[i].expr, &scratch, &f);
	}
	buf_fini(&scratch);
	return st;
}

/* One row of a heartbeat. *added: the topic is new; *other: its filter is not what it was. */
static void take_sub(struct group *gr, const struct subscription *s, bool *added, bool *other)
{
	struct announced *an = group_announced(gr, s->topic);

	if (an == NULL) {
		an = mem_new(sizeof *an);
		an->topic = slice_dup(s->topic);
		an->expr = slice_dup(s->expr);
		an->version = s->version;
		CHECK(filter_set(&an->filter, s->expr) == ST_OK);
		list_push(&gr->subs, &an->link);
		map_put(&gr->by_sub, slice_str(an->topic), an);
		gr->n_subs++;
		*added = true;
	} else if (s->version > an->version) {
		an->version = s->version;
		if (!slice_eq_str(s->expr, an->expr)) {
			mem_free(an->expr);
			an->expr = slice_dup(s->expr);
			CHECK(filter_set(&an->filter, s->expr) == ST_OK);
			*other = true;
		}
	}
	an->kept = true;
}

/* True when a topic came or went. */
static bool take_subs(struct group *gr, struct engine_join *r)
{
	bool moved = false, other = false;

	LIST_EACH(&gr->subs, n)
		container_of(n, struct announced, link)->kept = false;
	for (size_t i = 0; i < r->n_subs; i++)
		take_sub(gr, &r->subs[i], &moved, &other);
	LIST_EACH_SAFE(&gr->subs, n, t) {
		struct announced *an = container_of(n, struct announced, link);
		if (an->kept)
			continue;
		drop_announced(gr, an);
		moved = true;
	}
	r->subs_changed = moved || other;
	return moved;
}

enum status group_filter(struct eng *g, struct slice group, struct topic *t, int64_t sub_version, struct tag_filter *ret)
{
	struct group *gr = group_find(g, group);

	if (gr == NULL) {
		enum status st = group_need(g, group, &gr);
		if (st != ST_OK)
			return st;
	}
	if (!gr->conf.consume)
		return ST_DENIED;
	if (gr->n_consumers == 0)
		return ST_NOT_SUBSCRIBED;
	if (gr->model == MODEL_BROADCASTING && !gr->conf.broadcast)
		return ST_DENIED;
	struct announced *an = group_announced(gr, topic_name(t));
	if (an == NULL)
		return ST_NOT_SUBSCRIBED;
	if (an->version < sub_version)
		return ST_STALE_SUB;
	*ret = an->filter.f;
	return ST_OK;
}

/* ---- Verbs ---------------------------------------------------------------------------------------------------------------------------------- */

static void set_text(char **at, struct slice s)
{
	if (*at != NULL && slice_eq_str(s, *at))
		return;
	mem_free(*at);
	*at = slice_dup(s);
}

static enum status join_group(struct groups_state *gs, struct engine_join *r, struct group **ret, bool *made)
{
	if (r->client_id.n == 0 || r->client_id.n > CLIENT_ID_MAX || r->member == NULL)
		return ST_BAD_ARG;
	enum status st = check_subs(r);
	if (st != ST_OK)
		return st;
	if (r->kind == MEMBER_PRODUCER)
		return group_bare(gs, r->group, ret);
	struct topic *t;
	st = group_ensure(gs, r->group, ret, made);
	if (st != ST_OK)
		return st;
	uint32_t queues = (*ret)->conf.retry_queues == 0 ? 1 : (*ret)->conf.retry_queues;
	return group_ensure_topic(gs, *ret, RETRY_PREFIX, queues, &t, made);
}

static void do_join(struct groups_state *gs, struct engine_join *r)
{
	struct group *gr = NULL;
	struct member *m = r->member == NULL ? NULL : r->member->priv[0];
	bool made = false, fresh = m == NULL;

	r->subs_changed = false;
	enum status st = join_group(gs, r, &gr, &made);
	if (st == ST_OK && !fresh) {
		CHECK_OBJ(m, MEMBER_MAGIC);
		if (m->group != gr || m->kind != r->kind)
			st = ST_BAD_ARG;
	}
	if (st != ST_OK) {
		eng_complete(gs->eng, &r->ask, st);
		return;
	}
	if (fresh)
		m = member_new(gs, gr, r->member, r->kind);
	set_text(&m->client_id, r->client_id);
	set_text(&m->address, r->actor == NULL ? (struct slice){NULL, 0} : r->actor->address);
	m->language = r->language;
	m->version = r->version;
	member_seen(gs, m);
	if (r->kind == MEMBER_CONSUMER) {
		gr->type = r->type;
		gr->model = r->model;
		gr->from = r->from;
		bool moved = !r->keep_subs && take_subs(gr, r);
		if (fresh || moved) {
			group_tell(gs, gr);
			share_check(gs, gr);
		}
	}
	if (made)
		gr->defined_to = gs->eng->clog.tail;
	/* Also who finds the group there has to wait until it is sure to stay. */
	if (gr->defined_to > clog_visible(&gs->eng->clog))
		eng_complete_durable(gs->eng, &r->ask);
	else
		eng_complete(gs->eng, &r->ask, ST_OK);
}

static void do_leave(struct groups_state *gs, struct engine_leave *r)
{
	struct member *m = r->member->priv[0];

	if (m == NULL) {
		eng_complete(gs->eng, &r->ask, ST_NO_MEMBER);
		return;
	}
	member_out(gs, m);
	member_free(m);
	eng_complete(gs->eng, &r->ask, ST_OK);
}

static size_t feed_topic_len(const struct feed *f)
{
	return f->topic == NULL ? 0 : topic_name(f->topic).n;
}

/* The subscription of the native members, or of the engine's own when there are none. */
static void list_subs(struct reply *rep, struct group *gr, struct subscription *s)
{
	LIST_EACH(&gr->subs, n) {
		struct announced *an = container_of(n, struct announced, link);
		*s++ = (struct subscription){reply_text(rep, slice_str(an->topic)), reply_text(rep, slice_str(an->expr)), an->version};
	}
	if (gr->n_consumers > 0)
		return;
	LIST_EACH(&gr->feeds, n) {
		struct feed *f = container_of(n, struct feed, link);
		if (f->topic != NULL)
			*s++ = (struct subscription){reply_text(rep, topic_name(f->topic)), reply_text(rep, slice_str("*")), 0};
	}
}

static void do_members(struct groups_state *gs, struct engine_members *r)
{
	struct group *gr = group_at(gs, r->group);
	bool gateway = gr != NULL && r->kind == MEMBER_CONSUMER && share_listed(gr);
	size_t n = gateway, subs = 0, text = gateway ? strlen(gs->gateway) : 0;

	if (gr == NULL || (r->kind == MEMBER_CONSUMER && !gr->known) ||
		(r->kind == MEMBER_CONSUMER ? gr->n_consumers : gr->n_producers) + n == 0) {
		eng_complete(gs->eng, &r->ask, ST_NO_GROUP);
		return;
	}
	LIST_EACH(&gr->members, l) {
		struct member *m = container_of(l, struct member, link);
		if (m->kind == r->kind) {
			n++;
			text += strlen(m->client_id) + strlen(m->address);
		}
	}
	LIST_EACH(&gr->subs, l) {
		struct announced *an = container_of(l, struct announced, link);
		subs++;
		text += strlen(an->topic) + strlen(an->expr);
	}
	LIST_EACH(&gr->feeds, l) {
		subs++;
		text += feed_topic_len(container_of(l, struct feed, link)) + 1;
	}
	struct reply *rep = reply_new(gs, &r->ask, n * sizeof(struct member_info) + subs * sizeof(struct subscription), text);
	struct member_info *v = rep->rows;
	struct subscription *s = (struct subscription *)(void *)(v + n);
	r->v = v;
	r->count = n;
	LIST_EACH(&gr->members, l) {
		struct member *m = container_of(l, struct member, link);
		if (m->kind == r->kind)
			*v++ = (struct member_info){reply_text(rep, slice_str(m->client_id)), reply_text(rep, slice_str(m->address)), m->language,
				m->version, m->seen_ms};
	}
	if (gateway)
		*v++ = (struct member_info){.client_id = reply_text(rep, slice_str(gs->gateway)), .seen_ms = gs->eng->now_ms};
	r->type = gr->n_consumers > 0 ? gr->type : CONSUME_POP;
	r->model = gr->n_consumers > 0 ? gr->model : MODEL_CLUSTERING;
	r->from = gr->from;
	r->subs = s;
	r->n_subs = gr->n_subs;
	if (gr->n_consumers == 0)
		LIST_EACH(&gr->feeds, l)
			r->n_subs += container_of(l, struct feed, link)->topic != NULL;
	list_subs(rep, gr, s);
	reply_send(gs, rep, ST_OK);
}

void member_submit(struct groups_state *gs, struct engine_ask *a)
{
	if (a->verb == ENGINE_JOIN)
		do_join(gs, container_of(a, struct engine_join, ask));
	else if (a->verb == ENGINE_LEAVE)
		do_leave(gs, container_of(a, struct engine_leave, ask));
	else
		do_members(gs, container_of(a, struct engine_members, ask));
}
