/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * PUBLISH of clients: a packet becomes a draft, the draft a message in the engine, and the engine's answer a PUBACK. A retained message is stored first as a
 * message, then as its topic's cell; PUBACK comes after both.
 *
 * PUBACKs keep the order of their PUBLISHes: a connection's pubs stand in a list, and what is done is acknowledged from its front.
 */
#include "front/mqtt/mq.h"

#include "base/props.h"

struct mq_pub {
	uint32_t magic;
	uint8_t qos, reason;
	bool done;
	uint16_t id;
	struct mq *f;
	struct mq_conn *c;                 /* NULL: it is gone, or there was none */
	struct list link;                  /* in c->pubs, or f->idle */
	struct blob *value;                /* of the cell of a retained message; NULL: the cell is dropped, or nothing is retained */
	char *name;                        /* the topic of one that is retained; NULL: none is */
	size_t name_n;
	char *why;                         /* for an answer that says no */
	struct engine_send send;
	struct engine_cell cell;
};

/* ---- Pubs ------------------------------------------------------------------------------------------------------------------------------ */

static struct mq_pub *pub_new(struct mq *f)
{
	struct list *n = list_pop(&f->idle);
	struct mq_pub *b;

	if (n != NULL) {
		b = container_of(n, struct mq_pub, link);
		f->n_idle--;
	} else {
		b = mem_new(sizeof(*b));
		b->magic = MQ_PUB_MAGIC;
		b->f = f;
	}
	b->c = NULL;
	b->done = false;
	b->reason = MQTT_OK;
	memset(&b->send, 0, sizeof(b->send));
	return b;
}

static void pub_free(struct mq_pub *b)
{
	struct mq *f = b->f;

	CHECK_OBJ(b, MQ_PUB_MAGIC);
	list_remove(&b->link);
	blob_drop(b->value);
	mem_free(b->name);
	mem_free(b->why);
	b->value = NULL;
	b->name = b->why = NULL;
	if (f->n_idle >= MQ_IDLE_PUBS) {
		b->magic = 0;
		mem_free(b);
		return;
	}
	list_push_front(&f->idle, &b->link);
	f->n_idle++;
}

void mq_pubs_free(struct mq *f)
{
	struct list *n;

	while ((n = list_pop(&f->idle)) != NULL)
		mem_free(container_of(n, struct mq_pub, link));
	f->n_idle = 0;
}

void mq_pubs_orphan(struct mq_conn *c)
{
	LIST_EACH_SAFE(&c->pubs, n, next) {
		struct mq_pub *b = container_of(n, struct mq_pub, link);
		list_remove(n);
		b->c = NULL;
		if (b->done)
			pub_free(b);
	}
	c->n_pubs = 0;
}

/* ---- Answers --------------------------------------------------------------------------------------------------------------------------- */

/* The reasons that a PUBACK may have are fewer than all. */
static uint8_t reason_of(enum status st)
{
	uint8_t r = front_statuses[st].mqtt;

	switch (r) {
	case MQTT_OK:
	case MQTT_NOT_AUTHORIZED:
	case MQTT_BAD_TOPIC:
	case MQTT_QUOTA_EXCEEDED:
	case MQTT_BAD_PAYLOAD_FORMAT:
	case MQTT_FAILED:
		return r;
	default:
		return MQTT_IMPLEMENTATION;
	}
}

static void say_no(struct mq_conn *c, const struct mq_pub *b)
{
	struct mqtt_packet p = {.type = MQTT_PUBACK, .id = b->id, .reason = b->reason};

	if (c->version != MQTT_5) {
		/* It has no word for no, and an acknowledgement would say that the message is stored. */
		mq_conn_refuse(c, b->reason, b->why == NULL ? "a message could not be stored" : b->why);
		return;
	}
	if (c->problems && b->why != NULL)
		MQTT_SET(&p.props, REASON, reason, slice_str(b->why));
	mq_conn_send(c, &p);
}

static void acknowledge(struct mq_conn *c)
{
	struct mq *f = c->f;

	buf_reset(&f->out);
	while (!list_empty(&c->pubs)) {
		struct mq_pub *b = container_of(c->pubs.next, struct mq_pub, link);
		if (!b->done)
			break;
		if (b->qos > 0 && b->reason == MQTT_OK) {
			mqtt_put_ack(&f->out, c->version, MQTT_PUBACK, b->id, MQTT_OK);
		} else if (b->qos > 0) {
			if (f->out.n > 0)
				stream_put(c->stream, buf_view(&f->out));
			say_no(c, b);
			buf_reset(&f->out);
		}
		CHECK(c->n_pubs > 0);
		c->n_pubs--;
		pub_free(b);
	}
	if (f->out.n > 0 && c->state != MQ_CLOSING)
		stream_put(c->stream, buf_view(&f->out));
	mq_conn_flow(c);
}

static void finish(struct mq_pub *b, enum status st, const char *why)
{
	struct mq *f = b->f;

	b->done = true;
	if (st == ST_OK) {
		f->n.published++;
	} else {
		b->reason = reason_of(st);
		f->n.refused_publishes++;
		if (why != NULL && why[0] != '\0')
			b->why = slice_dup(slice_str(why));
		if (b->c == NULL || b->qos == 0)
			log_info(f->log, "mqtt", "peer=%s a message could not be stored: %s", b->c == NULL ? "none" : b->c->peer, why == NULL ? status_text(st) : why);
	}
	if (b->c == NULL)
		pub_free(b);
	else if (&b->link == b->c->pubs.next)
		acknowledge(b->c);
}

static void kept(struct engine_ask *a, enum status st)
{
	struct mq_pub *b = container_of(container_of(a, struct engine_cell, ask), struct mq_pub, cell);
	struct mq *f = b->f;

	CHECK_OBJ(b, MQ_PUB_MAGIC);
	mq_retained_changed(f, slice_of(b->name, b->name_n), b->value, st != ST_OK);
	finish(b, st, st == ST_OK ? NULL : "the message is stored, but it could not be retained");
	mq_answered(f);
}

static void stored(struct engine_ask *a, enum status st)
{
	struct mq_pub *b = container_of(container_of(a, struct engine_send, ask), struct mq_pub, send);
	struct mq *f = b->f;

	CHECK_OBJ(b, MQ_PUB_MAGIC);
	if (st == ST_OK && b->name != NULL) {
		struct slice name = slice_of(b->name, b->name_n);
		mq_retained_change(f, name, b->value);
		b->cell = (struct engine_cell){.ask = {.done = kept}, .actor = &f->actor, .space = MQ_RETAINED_SPACE, .name = name, .drop = b->value == NULL};
		if (b->value != NULL)
			b->cell.value = slice_of(b->value->p, b->value->n);
		engine_cell_put(f->engine, &b->cell);
		return;
	}
	finish(b, st, st == ST_OK ? NULL : status_text(st));
	mq_answered(f);
}

/* ---- Messages ---------------------------------------------------------------------------------------------------------------------------- */

/* Fills the front's draft; d->why says what is wrong. */
static enum status fill(struct mq *f, const struct mqtt_packet *p, struct slice name, struct slice no_local_client, int64_t now_ms, int64_t *ret_expires_ms)
{
	struct draft *d = &f->draft;
	struct slice rest = p->props.repeated, user, value;
	char digits[24];
	enum status st;

	draft_reset(d);
	*ret_expires_ms = 0;
	if (!mq_levels_fine(name) || !mq_map(f, name, &d->topic) || mq_topic_own(f, d->topic)) {
		memcpy(d->why, "the first level is no legal topic name", sizeof("the first level is no legal topic name"));
		return ST_BAD_NAME;
	}
	if (p->props.payload_format == 1 && !utf8_valid(p->payload)) {
		memcpy(d->why, "the payload is not the UTF-8 that it says it is", sizeof("the payload is not the UTF-8 that it says it is"));
		return ST_ILLEGAL;
	}
	d->body = p->payload;
	if ((st = draft_put(d, MESSAGE_MQTT_TOPIC, name)) != ST_OK || (st = draft_put(d, MESSAGE_ORDER_KEY, name)) != ST_OK)
		return st;
	if (p->props.has == 0)
		goto out;
	if ((st = draft_put(d, MESSAGE_CONTENT_TYPE, p->props.content_type)) != ST_OK ||
	    (st = draft_put(d, MESSAGE_REPLY_TO, p->props.response_topic)) != ST_OK ||
	    (st = draft_put(d, MESSAGE_CORRELATION, p->props.correlation)) != ST_OK)
		return st;
	if (mqtt_has(&p->props, MQTT_P_MESSAGE_EXPIRY)) {
		*ret_expires_ms = now_ms + (int64_t)p->props.message_expiry * 1000;
		struct buf b = {.p = (uint8_t *)digits, .cap = sizeof(digits), .max = sizeof(digits)};
		buf_i64_dec(&b, *ret_expires_ms);
		if ((st = draft_put(d, MESSAGE_EXPIRES, buf_view(&b))) != ST_OK)
			return st;
	}
	while (mqtt_user_next(&rest, &user, &value))
		if ((st = draft_user(d, user, value)) != ST_OK)
			return st;
out:
	if (no_local_client.n > 0)
		props_put(&d->props, SLICE_LIT(MQ_PROP_CLIENT), no_local_client);
	return ST_OK;
}

static bool fits_property(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= 2)
			return false;
	return true;
}

static void publish(struct mq *f, struct mq_conn *c, const struct mq_session *s, const struct mqtt_packet *p, struct slice name)
{
	int64_t now_ms = clock_wall_ms(f->clock), expires_ms;
	struct mq_pub *b = pub_new(f);
	enum status st;

	b->c = c;
	b->qos = p->qos;
	b->id = p->id;
	if (c != NULL) {
		list_push(&c->pubs, &b->link);
		c->n_pubs++;
	}
	st = fill(f, p, name, s->n_no_local > 0 && fits_property(s->id) ? s->id : (struct slice){NULL, 0}, now_ms, &expires_ms);
	if (st == ST_OK && p->retain && p->payload.n > 0 && !mq_retained_room(f, name)) {
		memcpy(f->draft.why, "there are as many retained messages as may be", sizeof("there are as many retained messages as may be"));
		st = ST_BUSY;
	}
	if (st != ST_OK) {
		finish(b, st, f->draft.why);
		return;
	}
	if (p->retain) {
		b->name = slice_dup(name);
		b->name_n = name.n;
		b->value = p->payload.n == 0 ? NULL : mq_retained_encode(f, p, name, expires_ms, s->id);
		if (p->payload.n > 0 && b->value == NULL) {
			finish(b, ST_TOO_BIG, status_text(ST_TOO_BIG));
			return;
		}
	}
	draft_send(&f->draft, f->conf, now_ms, &b->send);
	b->send.ask.done = stored;
	b->send.actor = &f->actor;
	b->send.msg.flag = MQ_FLAG_MARK | (p->qos == 0 ? MQ_FLAG_QOS_0 : 0) | (p->retain ? MQ_FLAG_RETAIN : 0) |
		(p->props.payload_format == 1 ? MQ_FLAG_UTF8 : 0);
	if (c != NULL && c->ip != 0) {
		b->send.msg.born_ip = c->ip;
		b->send.msg.born_port = c->port;
	}
	mq_asked(f);
	engine_send(f->engine, &b->send);
}

void mq_publish_stored(struct mq_session *s, const struct mqtt_packet *p)
{
	publish(s->f, NULL, s, p, p->topic);
}

/* The topic of a PUBLISH that has an alias; false: the connection is refused. */
static bool resolve_alias(struct mq_conn *c, const struct mqtt_packet *p, struct slice *ret)
{
	uint16_t alias = p->props.topic_alias;

	*ret = p->topic;
	if (!mqtt_has(&p->props, MQTT_P_TOPIC_ALIAS)) {
		if (p->topic.n > 0)
			return true;
		mq_conn_refuse(c, MQTT_PROTOCOL_ERROR, "a PUBLISH without a topic");
		return false;
	}
	if (alias == 0 || alias > MQ_ALIAS_MAX) {
		mq_conn_refuse(c, MQTT_BAD_ALIAS, "a topic alias above the maximum");
		return false;
	}
	if (p->topic.n > 0) {
		if (c->aliases == NULL)
			c->aliases = mem_array(MQ_ALIAS_MAX, sizeof(*c->aliases));
		mem_free(c->aliases[alias - 1]);
		c->aliases[alias - 1] = slice_dup(p->topic);
		return true;
	}
	if (c->aliases == NULL || c->aliases[alias - 1] == NULL) {
		mq_conn_refuse(c, MQTT_PROTOCOL_ERROR, "a topic alias that was not set");
		return false;
	}
	*ret = slice_str(c->aliases[alias - 1]);
	return true;
}

void mq_publish(struct mq_conn *c, const struct mqtt_packet *p)
{
	struct slice name;

	if (p->qos > 1) {
		mq_conn_refuse(c, MQTT_NO_QOS, "QoS 2 is not served");
		return;
	}
	if (mqtt_has(&p->props, MQTT_P_SUB_ID)) {
		mq_conn_refuse(c, MQTT_PROTOCOL_ERROR, "a subscription identifier, which only servers send");
		return;
	}
	if (resolve_alias(c, p, &name))
		publish(c->f, c, c->session, p, name);
}
