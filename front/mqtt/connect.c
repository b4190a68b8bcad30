/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * CONNECT: whose session it is, what becomes of the connection that had it, and what the client is told.
 *
 * A new durable session is in the log before its CONNACK; one that is known from its cell only first gets its offsets.
 */
#include "front/mqtt/mq.h"

#define ASSIGNED_BYTES 12u /* of an id that we make: twice as many digits */

struct mq_connecting {
	struct mq *f;
	struct mq_conn *c;                 /* NULL: it is gone */
	struct mq_session *session;        /* held */
	uint32_t left;                     /* answers that are waited for, and one while they are being asked for */
	enum status status;
	bool present, is_new, assigned;
	struct engine_offsets offsets;
};

static void refuse(struct mq_conn *c, uint8_t reason, const char *why)
{
	struct mqtt_packet p = {.type = MQTT_CONNACK, .reason = reason};
	struct mq *f = c->f;

	f->n.refused++;
	log_info(f->log, "mqtt", "peer=%s CONNECT refused reason=0x%02x: %s", c->peer, reason, why);
	if (c->version == MQTT_5 && c->problems)
		MQTT_SET(&p.props, REASON, reason, slice_str(why));
	if (c->version == MQTT_5 || mqtt_return_code(reason) >= 0)
		mq_conn_send(c, &p);
	mq_conn_shut(c, why);
}

/* What we do not do as the client may expect is said here. */
static void accept_it(struct mq_connecting *k)
{
	struct mq_conn *c = k->c;
	struct mq_session *s = k->session;
	const struct front_conf *conf = k->f->conf;
	struct mqtt_packet p = {.type = MQTT_CONNACK, .session_present = k->present};

	MQTT_SET(&p.props, RECEIVE_MAX, receive_max, k->f->max_inflight);
	MQTT_SET(&p.props, MAX_QOS, max_qos, 1);
	MQTT_SET(&p.props, MAX_PACKET, max_packet, conf->mqtt_max_packet);
	MQTT_SET(&p.props, ALIAS_MAX, alias_max, MQ_ALIAS_MAX);
	MQTT_SET(&p.props, SHARED_AVAILABLE, shared_available, 0);
	MQTT_SET(&p.props, SESSION_EXPIRY, session_expiry, s->expiry_s);
	if (k->assigned)
		MQTT_SET(&p.props, CLIENT_ID, client_id, s->id);
	/* Who speaks 3.1.1 cannot be told, and would be hung up on while it keeps to what it said. */
	if (c->version == MQTT_5 && conf->mqtt_max_keep_alive_s > 0 && (c->keep_alive_s == 0 || c->keep_alive_s > conf->mqtt_max_keep_alive_s)) {
		c->keep_alive_s = (uint16_t)u64_min(conf->mqtt_max_keep_alive_s, UINT16_MAX);
		MQTT_SET(&p.props, SERVER_KEEP_ALIVE, server_keep_alive, c->keep_alive_s);
	}
	k->f->n.connects++;
	c->state = MQ_UP;
	mq_conn_send(c, &p);
	s->attached = true;
	LIST_EACH(&s->subs, n)
		mq_sub_attach(container_of(n, struct mq_sub, link));
	mq_session_wake(s);
}

static void step(struct mq_connecting *k)
{
	struct mq_conn *c = k->c;
	struct mq_session *s = k->session;
	struct mq *f = k->f;

	CHECK(k->left > 0);
	if (--k->left > 0)
		return;
	if (c != NULL) {
		c->connecting = NULL;
		c->busy = false;
		if (k->status == ST_OK) {
			accept_it(k);
		} else {
			c->session = NULL;
			s->conn = NULL;
			mq_will_drop(s);
			if (k->is_new)
				mq_session_drop(s);
			else
				mq_session_away(s);
			refuse(c, k->status == ST_BUSY || k->status == ST_DISK_FULL ? MQTT_QUOTA_EXCEEDED : MQTT_UNAVAILABLE, status_text(k->status));
		}
		mq_conn_flow(c);
	}
	mq_session_release(s);
	mem_free(k);
	mq_answered(f);
}

static void written(void *arg, enum status st)
{
	struct mq_connecting *k = arg;

	if (st != ST_OK)
		k->status = st;
	step(k);
}

/* How far the group has come in each queue is where the session goes on. */
static void offsets_known(struct engine_ask *a, enum status st)
{
	struct mq_connecting *k = container_of(container_of(a, struct engine_offsets, ask), struct mq_connecting, offsets);
	struct mq_session *s = k->session;

	for (size_t i = 0; st == ST_OK && i < k->offsets.count && !s->dropped && s->cold; i++) {
		const struct offset_info *o = &k->offsets.v[i];
		struct mq_topic *t = mq_topic_find(k->f, o->topic);
		if (t == NULL || !t->exists || !mq_session_reads(s, t) || mq_flow_find(s, t, o->queue) != NULL)
			continue;
		struct mq_flow *w = mq_flow_need(s, t, o->queue, o->offset);
		if (w == NULL)
			break;
		mq_flow_behind(w, o->offset);
		w->committed = o->offset;
		mq_persist_sent(w);
		if (w->old != &w->sent)
			mq_flow_first(w);
	}
	if (st == ST_OK)
		mq_persist_tidy(s, &k->offsets);
	if (st == ST_OK || st == ST_NO_GROUP) {
		s->cold = false;
		mem_free((void *)(uintptr_t)s->unacked.p);
		s->unacked = (struct slice){NULL, 0};
	} else {
		k->status = st;
	}
	mq_answered(k->f);
	step(k);
}

void mq_connect_gone(struct mq_conn *c)
{
	if (c->connecting != NULL)
		c->connecting->c = NULL;
	c->connecting = NULL;
}

/* ---- Whose session ------------------------------------------------------------------------------------------------------------------------- */

/* The client connects again while its older connection is there: that one goes. */
static void take_over(struct mq_session *s)
{
	struct mq_conn *old = s->conn;
	bool connecting = old->state == MQ_CONNECTING;

	s->f->n.takeovers++;
	mq_conn_refuse(old, MQTT_TAKEN_OVER, "another connection has the same client id");
	mq_connect_gone(old);
	mq_subscribe_gone(old);
	old->session = NULL;
	s->conn = NULL;
	if (old->goodbye || connecting)
		mq_will_drop(s);
	mq_session_away(s);
}

static struct slice make_id(struct mq *f, char to[ASSIGNED_BYTES * 2 + 8])
{
	uint8_t bytes[ASSIGNED_BYTES] = {0};
	struct slice id;

	do {
		if (f->random != NULL)
			f->random(bytes, sizeof(bytes));
		else
			memcpy(bytes, &(uint64_t){++f->serial}, 8);
		memcpy(to, "gantry-", 7);
		for (unsigned i = 0; i < sizeof(bytes); i++) {
			to[7 + 2 * i] = "0123456789abcdef"[bytes[i] >> 4];
			to[8 + 2 * i] = "0123456789abcdef"[bytes[i] & 15];
		}
		id = slice_of(to, 7 + 2 * sizeof(bytes));
	} while (mq_session_find(f, id) != NULL);
	return id;
}

/* What can be refused at once. NULL: nothing. */
static const char *wrong(struct mq_conn *c, const struct mqtt_packet *p, uint8_t *ret_reason)
{
	struct slice topic;

	if (mqtt_has(&p->props, MQTT_P_AUTH_METHOD))
		return *ret_reason = MQTT_BAD_AUTH_METHOD, "there is no extended authentication";
	if (p->client_id.n > MQ_CLIENT_ID_MAX)
		return *ret_reason = MQTT_BAD_CLIENT_ID, "the client id is too long";
	if (p->client_id.n == 0 && c->version != MQTT_5 && !p->clean_start)
		return *ret_reason = MQTT_BAD_CLIENT_ID, "no client id, and no clean session";
	if (p->has_will && p->will.qos > 1)
		return *ret_reason = MQTT_NO_QOS, "the will has QoS 2, which is not served";
	if (p->has_will && (!mq_levels_fine(p->will.topic) || !mq_map(c->f, p->will.topic, &topic)))
		return *ret_reason = MQTT_BAD_TOPIC, "the will's topic has no legal topic as its first level";
	if (p->has_will && p->will.props.payload_format == 1 && !utf8_valid(p->will.payload))
		return *ret_reason = MQTT_BAD_PAYLOAD_FORMAT, "the will is not the text that it says it is";
	return NULL;
}

/* What the connection says about itself. */
static void note(struct mq_conn *c, const struct mqtt_packet *p)
{
	c->version = p->version;
	c->keep_alive_s = p->keep_alive;
	c->receive_max = mqtt_has(&p->props, MQTT_P_RECEIVE_MAX) ? p->props.receive_max : UINT16_MAX;
	c->max_packet = mqtt_has(&p->props, MQTT_P_MAX_PACKET) ? p->props.max_packet : 0;
	c->problems = !mqtt_has(&p->props, MQTT_P_REQUEST_PROBLEM) || p->props.request_problem != 0;
}

static struct mq_session *session_for(struct mq_conn *c, const struct mqtt_packet *p, struct slice id, bool *ret_present)
{
	struct mq *f = c->f;
	struct mq_session *s = mq_session_find(f, id);

	if (s != NULL && s->conn != NULL) {
		take_over(s);
		s = mq_session_find(f, id);
	}
	if (s != NULL && p->clean_start) {
		mq_will_now(s);
		mq_session_drop(s);
		s = NULL;
	}
	*ret_present = s != NULL;
	return s != NULL ? s : mq_session_new(f, id);
}

/* Asks for what has to be known or written first. */
static void begin(struct mq_connecting *k)
{
	struct mq *f = k->f;
	struct mq_session *s = k->session;

	k->left = 1;
	if (s->durable && k->is_new) {
		k->left += 2;
		mq_persist_group(s, written, k);
		mq_persist(s, written, k);
	} else if (s->durable) {
		mq_persist(s, NULL, NULL);
	}
	if (s->cold) {
		k->left++;
		k->offsets = (struct engine_offsets){.ask = {.done = offsets_known}, .actor = &f->actor, .group = slice_str(s->group)};
		mq_asked(f);
		engine_offset_list(f->engine, &k->offsets);
	}
	step(k);
}

void mq_connect(struct mq_conn *c, const struct mqtt_packet *p)
{
	struct mq *f = c->f;
	char made[ASSIGNED_BYTES * 2 + 8];
	uint8_t reason = MQTT_FAILED;
	bool present;

	note(c, p);
	const char *why = wrong(c, p, &reason);
	if (why != NULL) {
		refuse(c, reason, why);
		return;
	}
	bool assigned = p->client_id.n == 0;
	struct mq_session *s = session_for(c, p, assigned ? make_id(f, made) : p->client_id, &present);
	uint32_t expiry_s = c->version == MQTT_5 ? p->props.session_expiry : p->clean_start ? 0 : UINT32_MAX;

	if (mq_session_durable(s, expiry_s, false) != ST_OK) {
		mq_session_drop(s);
		refuse(c, MQTT_QUOTA_EXCEEDED, "there are as many durable sessions as may be");
		return;
	}
	struct mq_connecting *k = mem_new(sizeof(*k));

	k->f = f;
	k->c = c;
	k->session = s;
	k->present = present;
	k->is_new = !present;
	k->assigned = assigned;
	mq_session_hold(s);
	mq_asked(f);
	c->connecting = k;
	c->busy = true;
	c->state = MQ_CONNECTING;
	c->session = s;
	s->conn = c;
	s->version = c->version;
	s->seen_ms = 0;
	mq_timer_drop(f, &s->expiry);
	mq_will_drop(s);
	if (p->has_will)
		mq_will_set(s, &p->will);
	begin(k);
}
