/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Sessions and their subscriptions.
 *
 *   with a connection     attached: the subscriptions have their nodes in the tree and hold their topics
 *   away, durable         detached; flows, and what was sent and not acknowledged, stay in memory; the cell and the group's offsets are what a restart needs
 *   away, not durable     there is no such session
 *   cold                  known from its cell after a restart: its flows are made from the group's offsets when its client comes back
 */
#include "front/mqtt/mq.h"

#define GROUP_NAME_MAX 120u /* bytes; the engine takes more, retry topics need some of it */
#define TIMER_MAX_MS 3600000u /* the wall clock is looked at so often at least */

/* ---- Subscriptions ----------------------------------------------------------------------------------------------------------------------- */

struct mq_sub *mq_session_sub(struct mq_session *s, struct slice filter)
{
	LIST_EACH(&s->subs, n) {
		struct mq_sub *sub = container_of(n, struct mq_sub, link);
		if (slice_eq(sub->filter, filter))
			return sub;
	}
	return NULL;
}

struct mq_sub *mq_sub_new(struct mq_session *s, struct slice filter)
{
	struct mq_sub *sub = mem_new(sizeof(*sub) + filter.n);

	sub->magic = MQ_SUB_MAGIC;
	sub->session = s;
	memcpy(sub + 1, filter.p, filter.n);
	sub->filter = slice_of(sub + 1, filter.n);
	list_push(&s->subs, &sub->link);
	s->n_subs++;
	return sub;
}

void mq_sub_options(struct mq_sub *sub, uint8_t qos, bool no_local, bool as_published, uint8_t handling, uint32_t id)
{
	struct mq_session *s = sub->session;

	s->topic_changes = UINT64_MAX; /* other topics may matter now */
	s->n_qos1 += (uint32_t)(qos > 0) - (uint32_t)(sub->qos > 0);
	s->n_no_local += (uint32_t)no_local - (uint32_t)sub->no_local;
	sub->qos = qos;
	sub->no_local = no_local;
	sub->as_published = as_published;
	sub->handling = handling;
	sub->id = id;
}

void mq_sub_attach(struct mq_sub *sub)
{
	struct mq *f = sub->session->f;

	if (sub->node != NULL)
		return;
	sub->node = mq_node_hold(f->filters, sub->filter);
	if (sub->session->parked) {
		sub->node->parked++;
		sub->hits = sub->node->hits;
	} else {
		list_push(&sub->node->subs, &sub->in_node);
	}
	if (mq_filter_wide(sub->filter))
		mq_topics_wide(f, 1);
	else
		mq_filter_topics(f, sub->filter, mq_topic_hold, NULL);
}

void mq_sub_detach(struct mq_sub *sub)
{
	struct mq *f = sub->session->f;

	if (sub->node == NULL)
		return;
	if (list_linked(&sub->in_node))
		list_remove(&sub->in_node);
	else
		sub->node->parked--;
	mq_node_drop(sub->node);
	sub->node = NULL;
	if (mq_filter_wide(sub->filter))
		mq_topics_wide(f, -1);
	else
		mq_filter_topics(f, sub->filter, mq_topic_drop, NULL);
}

void mq_sub_free(struct mq_sub *sub)
{
	struct mq_session *s = sub->session;

	CHECK_OBJ(sub, MQ_SUB_MAGIC);
	mq_sub_detach(sub);
	s->n_subs--;
	s->n_qos1 -= sub->qos > 0;
	s->n_no_local -= sub->no_local;
	list_remove(&sub->link);
	sub->magic = 0;
	mem_free(sub);
}

/* ---- Sessions ------------------------------------------------------------------------------------------------------------------------------- */

static void on_expiry(struct mq_timer *t);

static void on_retry(struct mq_timer *t)
{
	mq_session_wake(container_of(t, struct mq_session, retry));
}

static void on_will(struct mq_timer *t)
{
	mq_will_due(container_of(t, struct mq_session, will_due));
}

struct mq_session *mq_session_find(struct mq *f, struct slice id)
{
	return map_get(&f->sessions, id);
}

struct mq_session *mq_session_new(struct mq *f, struct slice id)
{
	struct mq_session *s = mem_new(sizeof(*s) + id.n);

	s->magic = MQ_SESSION_MAGIC;
	s->f = f;
	if (id.n > 0)
		memcpy(s + 1, id.p, id.n);
	s->id = slice_of(s + 1, id.n);
	s->refs = 1;
	s->expiry.fire = on_expiry;
	s->will_due.fire = on_will;
	s->retry.fire = on_retry;
	list_init(&s->subs);
	list_init(&s->flows);
	list_init(&s->behind);
	list_init(&s->sent_retained);
	list_init(&s->backlog);
	CHECK(map_put(&f->sessions, s->id, s) == NULL);
	return s;
}

void mq_session_hold(struct mq_session *s)
{
	CHECK_OBJ(s, MQ_SESSION_MAGIC);
	s->refs++;
}

void mq_session_release(struct mq_session *s)
{
	CHECK_OBJ(s, MQ_SESSION_MAGIC);
	CHECK(s->refs > 0);
	if (--s->refs > 0)
		return;
	CHECK(s->dropped && list_empty(&s->flows) && list_empty(&s->subs));
	s->magic = 0;
	mem_free(s);
}

/* Everything that it has in memory, and its name. */
void mq_session_forget(struct mq_session *s)
{
	struct mq *f = s->f;

	CHECK_OBJ(s, MQ_SESSION_MAGIC);
	CHECK(s->conn == NULL && !s->dropped);
	s->dropped = true;
	s->attached = false;
	CHECK(map_drop(&f->sessions, s->id) == s);
	f->n_durable -= s->durable;
	s->durable = false;
	mq_timer_drop(f, &s->expiry);
	mq_timer_drop(f, &s->will_due);
	mq_timer_drop(f, &s->retry);
	list_remove(&s->work);
	mq_backlog_free(s);
	mq_window_fini(s);
	LIST_EACH_SAFE(&s->flows, n, next)
		mq_flow_free(container_of(n, struct mq_flow, link));
	u64map_fini(&s->by_queue);
	LIST_EACH_SAFE(&s->subs, n, next)
		mq_sub_free(container_of(n, struct mq_sub, link));
	mem_free(s->will);
	s->will = NULL;
	mem_free((void *)(uintptr_t)s->unacked.p);
	s->unacked = (struct slice){NULL, 0};
	mem_free(s->group);
	s->group = NULL;
	mq_session_release(s);
}

void mq_session_drop(struct mq_session *s)
{
	mq_persist_drop(s);
	mq_session_forget(s);
}

void mq_session_free_all(struct mq *f)
{
	struct map_slot *slot;
	size_t at;

	while (at = 0, (slot = map_each(&f->sessions, &at)) != NULL)
		mq_session_forget(slot->value);
}

/* A legal group name for a client id: itself behind a prefix, or a number made of it where it is long or has other characters. */
static char *group_of(struct slice id)
{
	struct buf b = {0};
	bool plain = id.n > 0 && id.n <= GROUP_NAME_MAX - 5;
	uint64_t h[2] = {UINT64_C(0xcbf29ce484222325), UINT64_C(0x9ae16a3b2f90404f)};

	for (size_t i = 0; i < id.n; i++) {
		uint8_t c = id.p[i];
		plain = plain && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-');
		h[0] = (h[0] ^ c) * UINT64_C(0x100000001b3);
		h[1] = (h[1] + c) * UINT64_C(0x9e3779b97f4a7c15);
		h[1] ^= h[1] >> 29;
	}
	buf_str(&b, "mqtt-");
	if (plain)
		buf_slice(&b, id);
	else
		buf_fmt(&b, "%%%016llx%016llx", (unsigned long long)h[0], (unsigned long long)h[1]);
	char *name = slice_dup(buf_view(&b));
	buf_fini(&b);
	return name;
}

enum status mq_session_durable(struct mq_session *s, uint32_t expiry_s, bool loaded)
{
	struct mq *f = s->f;

	s->expiry_s = (uint32_t)u64_min(expiry_s, f->conf->mqtt_session_ms / 1000);
	if (s->expiry_s > 0 && !s->durable) {
		if (!loaded && f->n_durable >= f->conf->mqtt_max_sessions)
			return ST_BUSY;
		s->durable = true;
		f->n_durable++;
		if (s->group == NULL)
			s->group = group_of(s->id);
	}
	return ST_OK;
}

void mq_session_expire_in(struct mq_session *s)
{
	int64_t left = s->seen_ms + (int64_t)s->expiry_s * 1000 - clock_wall_ms(s->f->clock);

	mq_timer_set(s->f, &s->expiry, left <= 0 ? 0 : u64_min((uint64_t)left, TIMER_MAX_MS));
}

static void on_expiry(struct mq_timer *t)
{
	struct mq_session *s = container_of(t, struct mq_session, expiry);
	struct mq *f = s->f;

	CHECK_OBJ(s, MQ_SESSION_MAGIC);
	if (s->conn != NULL)
		return;
	if (s->seen_ms + (int64_t)s->expiry_s * 1000 > clock_wall_ms(f->clock)) {
		if (s->unnoted)
			mq_persist(s, NULL, NULL);
		mq_session_expire_in(s);
		return;
	}
	log_info(f->log, "mqtt", "client=%.*s session expired after %u s", (int)u64_min(s->id.n, 64), (const char *)s->id.p, s->expiry_s);
	f->n.sessions_expired++;
	mq_will_now(s);
	mq_session_drop(s);
}

void mq_session_away(struct mq_session *s)
{
	struct mq *f = s->f;

	CHECK_OBJ(s, MQ_SESSION_MAGIC);
	CHECK(s->conn == NULL);
	list_remove(&s->work);
	mq_timer_drop(f, &s->retry);
	mq_backlog_away(s);
	if (!s->durable || s->expiry_s == 0) {
		if (!f->draining)
			mq_will_now(s);
		mq_session_drop(s);
		return;
	}
	mq_flows_away(s);
	s->attached = false;
	LIST_EACH(&s->subs, n)
		mq_sub_detach(container_of(n, struct mq_sub, link));
	mq_commit_all(s);
	s->seen_ms = clock_wall_ms(f->clock);
	mq_will_ended(s);
	mq_persist(s, NULL, NULL);
	mq_session_expire_in(s);
}
