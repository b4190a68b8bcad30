/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Clients: heartbeats (34), leaving (35), checking a subscription (46), and the notice to consumers that their group changed (40).
 *
 * There is one member per (kind, group, connection): several connections may share a client id. A member's memory is held by the peer's list,
 * by each join under way and by its leave; the engine may use it until leave is done or lost() has come.
 *
 * Notices: a client that gets a 40 asks who is in its group. Changes that come after a 40 and before the peer says anything are owed, not
 * sent at once, so that a storm of joins costs each consumer two notices and not one per join.
 */
#include "front/native/nat.h"

#define TAG_TYPE SLICE_LIT("TAG")
#define NO_SQL "The broker does not support consumer to filter message by SQL92"

/* A group of a heartbeat on its way into the engine. */
struct join {
	struct engine_join ask;
	struct nat_call *call;
	struct nat_member *member;
};

/* ---- Members ------------------------------------------------------------------------------------------------------------------ */

static void member_drop(struct nat_member *m)
{
	CHECK_OBJ(m, NAT_MEMBER_MAGIC);
	CHECK(m->refs > 0);
	if (--m->refs > 0)
		return;
	struct nat_peer *p = m->peer;

	m->magic = 0;
	mem_free(m->group);
	mem_free(m->client_id);
	mem_free(m);
	nat_peer_drop(p);
}

/* Takes a member off its peer's list, whose reference goes to the caller. */
static void member_unlink(struct nat_member *m)
{
	CHECK(list_linked(&m->link));
	list_remove(&m->link);
	m->peer->n_members--;
	if (m->noticed)
		m->peer->noticed--;
	m->noticed = m->again = false;
}

static void notice(struct nat_member *m)
{
	struct nat_peer *p = m->peer;
	struct nat *f = p->front;
	struct wire_out o;

	buf_reset(&f->out);
	wire_begin(&o, &f->out, WIRE_JSON, REQ_NOTIFY_CONSUMER_IDS_CHANGED, (int32_t)f->opaque++, WIRE_FLAG_ONEWAY);
	wire_put(&o, "consumerGroup", slice_str(m->group));
	wire_finish(&o, 0);
	stream_put(p->stream, buf_view(&f->out));
	p->active = true;
	f->n.notices++;
	m->again = false;
	if (!m->noticed) {
		m->noticed = true;
		p->noticed++;
	}
}

static void changed(struct engine_member *em)
{
	struct nat_member *m = container_of(em, struct nat_member, member);
	CHECK_OBJ(m, NAT_MEMBER_MAGIC);

	if (m->kind != MEMBER_CONSUMER || !list_linked(&m->link) || m->peer->stream == NULL || m->peer->closing)
		return;
	if (m->noticed)
		m->again = true;
	else
		notice(m);
}

void nat_members_notice(struct nat_peer *p)
{
	if (p->noticed == 0 || p->stream == NULL || p->closing)
		return;
	LIST_EACH(&p->members, n) {
		struct nat_member *m = container_of(n, struct nat_member, link);

		if (!m->noticed)
			continue;
		m->noticed = false;
		p->noticed--;
		if (m->again)
			notice(m);
	}
}

/* The engine has forgotten it; a later heartbeat makes a new member. */
static void lost(struct engine_member *em)
{
	struct nat_member *m = container_of(em, struct nat_member, member);
	CHECK_OBJ(m, NAT_MEMBER_MAGIC);

	if (!list_linked(&m->link))
		return; /* it is leaving anyway */
	member_unlink(m);
	member_drop(m);
}

static struct nat_member *find(struct nat_peer *p, enum member_kind kind, struct slice group)
{
	LIST_EACH(&p->members, n) {
		struct nat_member *m = container_of(n, struct nat_member, link);

		if (m->kind == kind && slice_eq_str(group, m->group))
			return m;
	}
	return NULL;
}

const struct engine_member *nat_member_find(struct nat_peer *p, enum member_kind kind, struct slice group)
{
	struct nat_member *m = find(p, kind, group);

	return m == NULL ? NULL : &m->member;
}

static struct nat_member *member_new(struct nat_peer *p, enum member_kind kind, struct slice group)
{
	struct nat_member *m = mem_new(sizeof(*m));

	m->magic = NAT_MEMBER_MAGIC;
	m->member.changed = changed;
	m->member.lost = lost;
	m->peer = p;
	m->kind = kind;
	m->group = slice_dup(group);
	m->refs = 1;
	nat_peer_hold(p);
	list_push(&p->members, &m->link);
	p->n_members++;
	return m;
}

static void left(struct engine_ask *a, enum status st)
{
	struct nat_member *m = container_of(a, struct nat_member, leave.ask);
	CHECK_OBJ(m, NAT_MEMBER_MAGIC);
	struct nat_call *c = m->leaver;

	(void)st; /* a member that was not there has left as well */
	m->leaver = NULL;
	member_drop(m);
	if (c == NULL)
		return;
	CHECK(c->u.leave.left > 0);
	if (--c->u.leave.left == 0)
		nat_answer_status(c, ST_OK);
}

/* The member leaves; 'c' waits for it, or nobody when NULL. The list's reference becomes the leave's. */
static void leave(struct nat_member *m, struct nat_call *c)
{
	struct nat *f = m->peer->front;

	member_unlink(m);
	m->leaver = c;
	if (c != NULL)
		c->u.leave.left++;
	m->leave.ask.done = left;
	m->leave.member = &m->member;
	engine_leave(f->engine, &m->leave);
}

void nat_members_leave(struct nat_peer *p)
{
	while (!list_empty(&p->members))
		leave(container_of(p->members.next, struct nat_member, link), NULL);
}

/* ---- 34 -------------------------------------------------------------------------------------------------------------------------- */

/* One join is done, or the start of all of them: answers when it was the last. */
static void beat_step(struct nat_call *c)
{
	struct nat_beat_call *b = &c->u.beat;
	struct wire_out o;

	CHECK(b->left > 0);
	if (--b->left > 0)
		return;
	if (b->status != ST_OK) {
		nat_answer_status(c, b->status);
		return;
	}
	if (nat_answer_begin(c, &o, ANS_SUCCESS) == NULL)
		return;
	if (b->answers_v2) {
		wire_put_bool(&o, "IS_SUPPORT_HEART_BEAT_V2", true);
		wire_put_bool(&o, "IS_SUB_CHANGE", b->sub_changed);
	}
	nat_answer_finish(c, &o, (struct slice){NULL, 0});
}

static void beat_failed(struct nat_call *c, enum status st, struct slice group)
{
	if (c->u.beat.status != ST_OK)
		return;
	c->u.beat.status = st;
	nat_note(c, group);
}

static void joined(struct engine_ask *a, enum status st)
{
	struct join *j = container_of(a, struct join, ask.ask);
	struct nat_call *c = j->call;
	struct nat_member *m = j->member;

	if (st != ST_OK) {
		beat_failed(c, st, slice_str(m->group));
		/* Refused at its first join: the engine has never known it. */
		if (!m->known && list_linked(&m->link)) {
			member_unlink(m);
			member_drop(m);
		}
	} else if (j->ask.subs_changed && j->ask.keep_subs) {
		c->u.beat.sub_changed = true;
	}
	member_drop(m);
	mem_free(j);
	beat_step(c);
}

/* The member for a group of the heartbeat; NULL when there may be none, and the call knows why. */
static struct nat_member *beat_member(struct nat_call *c, enum member_kind kind, struct slice group)
{
	struct nat_peer *p = c->peer;

	if (group.n == 0 || group.n > NAT_NAME_MAX) {
		beat_failed(c, ST_BAD_NAME, group);
		return NULL;
	}
	struct nat_member *m = find(p, kind, group);
	if (m != NULL)
		return m;
	if (p->n_members >= NAT_MEMBERS_MAX) {
		beat_failed(c, ST_BUSY, group);
		return NULL;
	}
	return member_new(p, kind, group);
}

static struct join *join_new(struct nat_call *c, struct nat_member *m, const struct wire_cmd *cmd, const struct wire_heartbeat *h)
{
	struct join *j = mem_new(sizeof(*j));

	j->call = c;
	j->member = m;
	j->ask.ask.done = joined;
	j->ask.actor = &c->peer->actor;
	j->ask.member = &m->member;
	j->ask.kind = m->kind;
	j->ask.group = slice_str(m->group);
	j->ask.client_id = h->client_id;
	j->ask.language = cmd->language;
	j->ask.version = (uint32_t)cmd->version;
	m->refs++;
	m->language = cmd->language;
	m->version = cmd->version;
	m->seen_ms = clock_wall_ms(c->front->clock);
	if (m->client_id == NULL || !slice_eq_str(h->client_id, m->client_id)) {
		mem_free(m->client_id);
		m->client_id = slice_dup(h->client_id);
	}
	c->u.beat.left++;
	return j;
}

static void join_go(struct nat_call *c, struct join *j)
{
	engine_join(c->front->engine, &j->ask);
	if (j->member->member.priv[0] != NULL)
		j->member->known = true;
}

static void join_producer(struct nat_call *c, const struct wire_cmd *cmd, const struct wire_heartbeat *h, struct slice group)
{
	struct nat_member *m = beat_member(c, MEMBER_PRODUCER, group);

	if (m != NULL)
		join_go(c, join_new(c, m, cmd, h));
}

/* Subscriptions with another filter than tags are left out: the client's check (46) and its pulls say that they are not supported. */
static size_t tag_subs(struct subscription *to, const struct wire_consumer *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n_subs; i++)
		if (slice_eq(w->subs[i].expr_type, TAG_TYPE))
			to[n++] = (struct subscription){w->subs[i].topic, w->subs[i].expr, w->subs[i].version};
	return n;
}

static void join_consumer(struct nat_call *c, const struct wire_cmd *cmd, const struct wire_heartbeat *h, const struct wire_consumer *w)
{
	struct nat_member *m = beat_member(c, MEMBER_CONSUMER, w->group);

	if (m == NULL)
		return;
	/* A short heartbeat stands for the last full one; if that was another one, or none, the client is asked for the full form. */
	if (h->fingerprint != 0 && (m->fingerprint != h->fingerprint || (h->without_sub && !m->announced)))
		c->u.beat.sub_changed = true;
	m->fingerprint = h->fingerprint;
	if (!h->without_sub)
		m->announced = true;

	struct join *j = join_new(c, m, cmd, h);
	struct subscription *subs = w->n_subs > 0 ? mem_array(w->n_subs, sizeof(*subs)) : NULL;
	j->ask.type = (enum consume_type)w->type;
	j->ask.model = (enum message_model)w->model;
	j->ask.from = (enum consume_from)w->from;
	j->ask.subs = subs;
	j->ask.n_subs = tag_subs(subs, w);
	j->ask.keep_subs = h->without_sub;
	join_go(c, j);
	mem_free(subs);
}

void nat_heartbeat(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_heartbeat h;
	const char *why;

	if (!wire_heartbeat_decode(cmd->body, &h, &why)) {
		nat_answer_body_bad(c, why);
		return;
	}
	if (h.client_id.n == 0 || h.client_id.n > NAT_NAME_MAX) {
		wire_doc_fini(&h.doc);
		nat_answer_str(c, ANS_INVALID_PARAMETER, "clientID is missing or too long");
		return;
	}
	memset(&c->u.beat, 0, sizeof(c->u.beat));
	c->u.beat.left = 1;
	c->u.beat.answers_v2 = h.fingerprint != 0;
	for (size_t i = 0; i < h.n_producers; i++)
		join_producer(c, cmd, &h, h.producers[i]);
	for (size_t i = 0; i < h.n_consumers; i++)
		join_consumer(c, cmd, &h, &h.consumers[i]);
	wire_doc_fini(&h.doc);
	beat_step(c);
}

/* ---- 35 and 46 --------------------------------------------------------------------------------------------------------------------- */

void nat_unregister(struct nat_call *c, const struct wire_cmd *cmd)
{
	static const struct slice none = {NULL, 0};
	struct wire_args a = wire_args(cmd);

	wire_str(&a, "clientID");
	struct slice producer = wire_str_or(&a, "producerGroup", none);
	struct slice consumer = wire_str_or(&a, "consumerGroup", none);
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	struct nat_member *p = producer.n > 0 ? find(c->peer, MEMBER_PRODUCER, producer) : NULL;
	struct nat_member *m = consumer.n > 0 ? find(c->peer, MEMBER_CONSUMER, consumer) : NULL;
	c->u.leave.left = 0;
	if (p != NULL)
		leave(p, c);
	if (m != NULL)
		leave(m, c);
	if (c->u.leave.left == 0)
		nat_answer_status(c, ST_OK);
}

void nat_check_config(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_client_config w;
	const char *why;

	if (!wire_client_config_decode(cmd->body, &w, &why)) {
		nat_answer_body_bad(c, why);
		return;
	}
	bool tags = !w.has_sub || slice_eq(w.sub.expr_type, TAG_TYPE);
	bool sql = !tags && slice_eq_str(w.sub.expr_type, "SQL92");

	wire_doc_fini(&w.doc);
	if (tags)
		nat_answer_status(c, ST_OK);
	else if (sql)
		nat_answer_str(c, ANS_SYSTEM_ERROR, NO_SQL);
	else
		nat_answer_str(c, ANS_SUBSCRIPTION_PARSE_FAILED, "unknown kind of filter");
}
