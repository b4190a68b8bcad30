/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * From a record to its subscribers. The tree of filters says who they are; each session gets a message once, with the highest QoS and all the identifiers of its
 * subscriptions that match. What is the same for many receivers is encoded once.
 */
#include "front/mqtt/mq.h"

#include "base/be.h"
#include "base/props.h"

#define COPY_WHOLE 4096u /* an encoded packet up to here is copied with its identifier; a larger one is sent in pieces */

/* ---- Reading ---------------------------------------------------------------------------------------------------------------------------- */

static bool appears_under(const struct mq *f, struct slice name, const struct mq_topic *t)
{
	struct slice topic;

	return name.n > 0 && mqtt_topic_valid(name) && mq_levels_fine(name) && mq_map(f, name, &topic) && slice_eq(topic, t->name);
}

bool mq_outgoing_read(struct mq *f, struct slice record, struct blob *blob, struct mq_topic *t, struct mq_outgoing *o)
{
	struct message *m = &o->m;

	memset(o, 0, sizeof(*o));
	if (message_read(record, m) != ST_OK)
		return false;
	if (message_expired(m, clock_wall_ms(f->clock))) {
		f->n.expired++;
		return false;
	}
	o->qos = 1;
	if (((uint32_t)m->r.flag & 0xffff0000u) == MQ_FLAG_MARK) {
		o->qos = (m->r.flag & MQ_FLAG_QOS_0) == 0;
		o->retain = (m->r.flag & MQ_FLAG_RETAIN) != 0;
		o->utf8 = (m->r.flag & MQ_FLAG_UTF8) != 0;
	}
	o->p.type = MQTT_PUBLISH;
	o->p.topic = appears_under(f, m->field[MESSAGE_MQTT_TOPIC], t) ? m->field[MESSAGE_MQTT_TOPIC] : t->name;
	o->p.payload = message_body(m, f->conf->max_message, &f->body);
	/* An inflated body stands in scratch memory: no blob holds it. */
	o->blob = o->p.payload.p == m->r.body.p ? blob : NULL;
	return true;
}

void mq_outgoing_fini(struct mq_outgoing *o)
{
	for (unsigned i = 0; i < 8; i++)
		blob_drop(o->made[i >> 2][i >> 1 & 1][i & 1].blob);
}

/* The properties, when the first receiver speaks 5.0. What other fronts wrote may not be legal here, and is left out. */
static void dress(struct mq *f, struct mq_outgoing *o)
{
	const struct message *m = &o->m;
	struct slice name, value, rest = m->r.props, v;
	int64_t left = m->expires_ms - clock_wall_ms(f->clock);

	if (o->dressed)
		return;
	o->dressed = true;
	if (o->utf8)
		MQTT_SET(&o->p.props, PAYLOAD_FORMAT, payload_format, 1);
	if (m->expires_ms != 0)
		MQTT_SET(&o->p.props, MESSAGE_EXPIRY, message_expiry, left <= 0 ? 0 : (uint32_t)u64_min(((uint64_t)left + 999) / 1000, UINT32_MAX));
	v = m->field[MESSAGE_CONTENT_TYPE];
	if (v.n > 0 && v.n <= MQTT_STRING_MAX && mqtt_text_valid(v))
		MQTT_SET(&o->p.props, CONTENT_TYPE, content_type, v);
	v = m->field[MESSAGE_REPLY_TO];
	if (v.n > 0 && v.n <= MQTT_STRING_MAX && mqtt_topic_valid(v))
		MQTT_SET(&o->p.props, RESPONSE_TOPIC, response_topic, v);
	v = message_correlation(m, &f->correlation);
	if (v.n > 0)
		MQTT_SET(&o->p.props, CORRELATION, correlation, v);
	buf_reset(&f->repeated);
	if (m->field[MESSAGE_TAG].n > 0 && mqtt_text_valid(m->field[MESSAGE_TAG]))
		mqtt_put_user(&f->repeated, SLICE_LIT("TAGS"), m->field[MESSAGE_TAG]);
	if (m->field[MESSAGE_KEYS].n > 0 && mqtt_text_valid(m->field[MESSAGE_KEYS]))
		mqtt_put_user(&f->repeated, SLICE_LIT("KEYS"), m->field[MESSAGE_KEYS]);
	while (message_user(&rest, &name, &value))
		if (mqtt_text_valid(name) && mqtt_text_valid(value) && !slice_eq_str(name, MQ_PROP_CLIENT))
			mqtt_put_user(&f->repeated, name, value);
	if (f->repeated.n > 0) {
		o->p.props.has |= 1ull << MQTT_P_USER;
		o->p.props.repeated = buf_view(&f->repeated);
	}
}

/* ---- Sending ----------------------------------------------------------------------------------------------------------------------------- */

/* One receiver's own encoding. */
static bool send_own(struct mq_conn *c, struct mq_outgoing *o, const struct mq_sent *e)
{
	struct mq *f = c->f;
	struct piece v[2];
	size_t id_at = 0;

	buf_reset(&f->out);
	if (!mqtt_put_publish_head(&f->out, c->version, c->max_packet, &o->p, &id_at))
		return false;
	if (e != NULL)
		mqtt_set_id(f->out.p, id_at, e->id, e->old || e->maybe);
	if (o->p.payload.n <= MQ_COPY_MAX) {
		buf_slice(&f->out, o->p.payload);
		stream_put(c->stream, buf_view(&f->out));
		return true;
	}
	v[0] = (struct piece){buf_view(&f->out), NULL};
	v[1] = (struct piece){o->p.payload, o->blob};
	stream_send(c->stream, v, 2);
	return true;
}

/* The encoding that all receivers of a kind share. */
static bool send_shared(struct mq_conn *c, struct mq_outgoing *o, const struct mq_sent *e)
{
	struct mq *f = c->f;
	bool inside = o->p.payload.n <= MQ_COPY_MAX;
	struct piece v[4];
	unsigned n = 0;
	uint8_t id[2];
	size_t id_at = 0;

	if (o->made[c->version == MQTT_5][o->p.qos][o->p.retain].blob == NULL) {
		buf_reset(&f->out);
		if (!mqtt_put_publish_head(&f->out, c->version, 0, &o->p, &id_at))
			return false;
		if (inside)
			buf_slice(&f->out, o->p.payload);
		o->made[c->version == MQTT_5][o->p.qos][o->p.retain].blob = blob_copy(buf_view(&f->out));
		o->made[c->version == MQTT_5][o->p.qos][o->p.retain].id_at = id_at;
	}
	struct blob *b = o->made[c->version == MQTT_5][o->p.qos][o->p.retain].blob;

	id_at = o->made[c->version == MQTT_5][o->p.qos][o->p.retain].id_at;
	if (c->max_packet != 0 && b->n + (inside ? 0 : o->p.payload.n) > c->max_packet)
		return false;
	if (e == NULL) {
		v[n++] = (struct piece){slice_of(b->p, b->n), b};
	} else if (b->n <= COPY_WHOLE) {
		buf_reset(&f->out);
		buf_put(&f->out, b->p, b->n);
		mqtt_set_id(f->out.p, id_at, e->id, false);
		v[n++] = (struct piece){buf_view(&f->out), NULL};
	} else {
		be16_put(id, e->id);
		v[n++] = (struct piece){slice_of(b->p, id_at), b};
		v[n++] = (struct piece){slice_of(id, 2), NULL};
		v[n++] = (struct piece){slice_of(b->p + id_at + 2, b->n - id_at - 2), b};
	}
	if (!inside)
		v[n++] = (struct piece){o->p.payload, o->blob};
	stream_send(c->stream, v, n);
	return true;
}

bool mq_send(struct mq_conn *c, struct mq_outgoing *o, const struct mq_sent *e, bool retain, const struct mq_sub *subs, uint32_t sub_id)
{
	struct mq *f = c->f;
	unsigned ids = sub_id != 0;
	bool fits;

	o->p.qos = e != NULL;
	o->p.retain = retain;
	if (c->version == MQTT_5) {
		dress(f, o);
		for (const struct mq_sub *sub = subs; sub != NULL; sub = sub->chain) {
			ids += sub->id != 0;
			sub_id = sub->id != 0 ? sub->id : sub_id;
		}
	}
	if (c->version != MQTT_5 || ids == 0) {
		fits = o->many && (e == NULL || !e->old) ? send_shared(c, o, e) : send_own(c, o, e);
	} else {
		struct mqtt_props own = o->p.props;
		o->p.props.has |= 1ull << MQTT_P_SUB_ID;
		o->p.props.sub_id = sub_id;
		if (ids > 1) {
			buf_reset(&f->ids);
			for (const struct mq_sub *sub = subs; sub != NULL; sub = sub->chain)
				if (sub->id != 0)
					mqtt_put_sub_id(&f->ids, sub->id);
			buf_slice(&f->ids, own.repeated);
			o->p.props.repeated = buf_view(&f->ids);
		}
		fits = send_own(c, o, e);
		o->p.props = own;
	}
	if (fits)
		f->n.delivered++;
	else
		f->n.too_large++;
	return fits;
}

/* ---- Who gets it ------------------------------------------------------------------------------------------------------------------------------ */

static bool is_for(const struct mq_sub *sub, const struct mq_outgoing *o)
{
	struct slice client;

	if (o->m.r.position < sub->from)
		return false;
	return !sub->no_local || !props_get(o->m.r.props, SLICE_LIT(MQ_PROP_CLIENT), &client) || !slice_eq(client, sub->session->id);
}

/* What the subscriptions that match mean together. */
static void sum_up(const struct mq_sub *subs, const struct mq_outgoing *o, uint8_t *ret_qos, bool *ret_retain)
{
	uint8_t qos = 0;
	bool retain = false;

	for (; subs != NULL; subs = subs->chain) {
		qos = subs->qos > qos ? subs->qos : qos;
		retain = retain || subs->as_published;
	}
	*ret_qos = qos < o->qos ? qos : o->qos;
	*ret_retain = retain && o->retain;
}

struct matching {
	struct mq *f;
	const struct mq_outgoing *o;
};

static void on_node(struct mq_node *n, void *arg)
{
	struct matching *m = arg;
	struct mq *f = m->f;

	if (n->parked > 0)
		n->hits++;
	LIST_EACH(&n->subs, l) {
		struct mq_sub *sub = container_of(l, struct mq_sub, in_node);
		struct mq_session *s = sub->session;
		if (!is_for(sub, m->o))
			continue;
		if (s->hit_serial != f->hit_serial) {
			if (f->n_hits == f->cap_hits) {
				f->cap_hits = f->cap_hits == 0 ? 64 : f->cap_hits * 2;
				f->hits = mem_grow(f->hits, f->cap_hits * sizeof(*f->hits));
			}
			s->hit_serial = f->hit_serial;
			s->hit = f->n_hits;
			f->hits[f->n_hits++] = (struct mq_hit){s, NULL};
		}
		sub->chain = f->hits[s->hit].subs;
		f->hits[s->hit].subs = sub;
	}
}

/* It cannot take anything now. After some more of this it does not take part any more until it can. */
static void skipped(struct mq_session *s)
{
	if (++s->skips > MQ_PARK_AFTER + s->n_subs)
		mq_park(s);
}

/* True: it was sent. */
static bool deliver_live(const struct mq_hit *h, struct mq_topic *t, int32_t queue, uint64_t offset, struct mq_outgoing *o)
{
	struct mq_session *s = h->session;
	struct mq_flow *w = s->n_qos1 > 0 ? mq_flow_find(s, t, queue) : NULL;
	struct mq_sent *e;
	uint8_t qos;
	bool retain;

	if (w != NULL && w->state != MQ_LIVE) { /* it reads this queue by itself at the time */
		skipped(s);
		return false;
	}
	if (w != NULL && offset < w->next) /* it has read this already */
		return false;
	sum_up(h->subs, o, &qos, &retain);
	if (qos > 0 && w == NULL)
		w = mq_flow_need(s, t, queue, offset);
	if (!mq_conn_takes(s->conn) || (qos > 0 && !mq_window_open(s))) {
		if (w != NULL && qos > 0)
			mq_flow_behind(w, offset);
		else
			s->f->n.dropped++;
		skipped(s);
		return false;
	}
	s->skips = 0;
	if (qos == 0)
		return mq_send(s->conn, o, NULL, retain, h->subs, 0);
	e = mq_window_put(s, w, offset);
	if (mq_send(s->conn, o, e, retain, h->subs, 0))
		return true;
	mq_window_drop(s, e);
	return false;
}

uint32_t mq_dispatch(struct mq *f, struct mq_topic *t, int32_t queue, uint64_t offset, struct mq_outgoing *o)
{
	struct matching m = {f, o};
	uint32_t sent = 0;

	f->n_hits = 0;
	f->hit_serial++;
	mq_trie_match(f->filters, o->p.topic, on_node, &m);
	o->many = f->n_hits > 1;
	for (uint32_t i = 0; i < f->n_hits; i++)
		sent += deliver_live(&f->hits[i], t, queue, offset, o);
	return sent;
}

bool mq_catch_up(struct mq_flow *w, uint64_t offset, struct mq_outgoing *o)
{
	struct mq_session *s = w->session;
	struct mq_sub *chain = NULL;
	struct mq_sent *e = NULL;
	uint8_t qos;
	bool retain;

	LIST_EACH(&s->subs, n) {
		struct mq_sub *sub = container_of(n, struct mq_sub, link);
		if (is_for(sub, o) && mqtt_filter_matches(sub->filter, o->p.topic)) {
			sub->chain = chain;
			chain = sub;
		}
	}
	sum_up(chain, o, &qos, &retain);
	if (offset < w->again_below) {
		/* Sent to the connection before: again, if it was not acknowledged, even if nobody would get it now. */
		e = w->old == &w->sent ? NULL : container_of(w->old, struct mq_sent, link);
		if (e == NULL || e->offset != offset)
			return true;
		if (!mq_conn_takes(s->conn) || !mq_window_again(s))
			return false;
		bool fits = mq_send(s->conn, o, e, retain, chain, 0);
		w->old = e->link.next;
		e->old = false;
		s->window.out++;
		s->f->n.resent++;
		if (!fits)
			mq_window_drop(s, e);
		return true;
	}
	if (chain == NULL)
		return true;
	if (!mq_conn_takes(s->conn) || (qos > 0 && !mq_window_open(s)))
		return false;
	if (qos > 0) {
		e = mq_window_put(s, w, offset);
		e->maybe = s->unsure && o->m.r.position < s->f->began;
	}
	if (!mq_send(s->conn, o, e, retain, chain, 0) && e != NULL)
		mq_window_drop(s, e);
	return true;
}
