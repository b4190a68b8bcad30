/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * SUBSCRIBE and UNSUBSCRIBE.
 *
 *   asking    where the log ends: what is stored from there on is for the new subscriptions. Then they are put into the tree.
 *   opening   the taps of their topics are being opened
 *   writing   a durable session's cell
 *   ready     answered in the next turn, so that a retained message whose publishing was visible before is known by then
 */
#include "front/mqtt/mq.h"

enum stage { ASKING, OPENING, WRITING, READY };

struct row {
	struct mqtt_filter filter;         /* views 'text' */
	uint8_t reason;
	bool is_new;
};
struct mq_subscribing {
	struct mq *f;
	struct list link;                  /* in f->subscribing */
	struct mq_conn *c;                 /* NULL: it is gone */
	struct mq_session *session;        /* held */
	enum mqtt_type type;
	enum stage stage;
	uint16_t id;
	uint32_t sub_id;
	bool less;                         /* the session may read less than before at QoS 1 */
	struct buf text;
	struct engine_stats stats;
	uint32_t n;
	struct row *rows;
};

static struct mq_subscribing *op_new(struct mq_conn *c, const struct mqtt_packet *p)
{
	struct mq_subscribing *k = mem_new(sizeof(*k));
	struct mqtt_filter filter;
	struct slice rest;

	k->f = c->f;
	k->c = c;
	k->session = c->session;
	k->type = p->type;
	k->id = p->id;
	k->sub_id = mqtt_has(&p->props, MQTT_P_SUB_ID) ? p->props.sub_id : 0;
	mq_session_hold(k->session);
	buf_slice(&k->text, p->list);
	for (rest = buf_view(&k->text); mqtt_filter_next(p->type, &rest, &filter);)
		k->n++;
	k->rows = mem_array(k->n, sizeof(*k->rows));
	k->n = 0;
	for (rest = buf_view(&k->text); mqtt_filter_next(p->type, &rest, &filter);)
		k->rows[k->n++].filter = filter;
	list_push(&k->f->subscribing, &k->link);
	c->subscribing = k;
	c->busy = true;
	return k;
}

static void op_free(struct mq_subscribing *k)
{
	list_remove(&k->link);
	mq_session_release(k->session);
	buf_fini(&k->text);
	mem_free(k->rows);
	mem_free(k);
}

void mq_subscribe_gone(struct mq_conn *c)
{
	struct mq_subscribing *k = c->subscribing;

	if (k == NULL)
		return;
	c->subscribing = NULL;
	k->c = NULL;
	if (k->stage == OPENING || k->stage == READY)
		op_free(k);
}

/* ---- The answer ------------------------------------------------------------------------------------------------------------------------ */

static void queue_retained(struct mq_subscribing *k)
{
	for (uint32_t i = 0; i < k->n; i++) {
		struct mq_sub *sub = k->rows[i].reason >= MQTT_FAILED ? NULL : mq_session_sub(k->session, k->rows[i].filter.filter);
		if (sub != NULL && (sub->handling == 0 || (sub->handling == 1 && k->rows[i].is_new)))
			mq_retained_queue(k->session, sub);
	}
}

static void answer(struct mq_subscribing *k)
{
	struct mq_conn *c = k->c;
	struct mq_session *s = k->session;
	struct mqtt_packet p = {.type = k->type == MQTT_SUBSCRIBE ? MQTT_SUBACK : MQTT_UNSUBACK, .id = k->id};
	struct buf reasons = {0};

	for (uint32_t i = 0; i < k->n; i++)
		buf_u8(&reasons, k->rows[i].reason);
	p.list = buf_view(&reasons);
	c->subscribing = NULL;
	c->busy = false;
	mq_conn_send(c, &p);
	buf_fini(&reasons);
	if (k->type == MQTT_SUBSCRIBE) {
		queue_retained(k);
		if (s->durable && !s->parked) {
			/* What is before it now is not for it: the log is told, so that its lag is seen. */
			mq_flows_all(s, false);
			LIST_EACH(&s->flows, n)
				mq_flow_dirty(container_of(n, struct mq_flow, link));
		}
		mq_session_wake(s);
	}
	op_free(k);
	mq_conn_flow(c);
}

/* What is new is taken back. */
static void not_written(struct mq_subscribing *k, enum status st)
{
	for (uint32_t i = 0; i < k->n; i++) {
		struct mq_sub *sub = k->rows[i].is_new ? mq_session_sub(k->session, k->rows[i].filter.filter) : NULL;
		if (sub != NULL)
			mq_sub_free(sub);
		if (k->rows[i].reason < MQTT_FAILED)
			k->rows[i].reason = st == ST_BUSY || st == ST_DISK_FULL ? MQTT_QUOTA_EXCEEDED : MQTT_FAILED;
	}
	mq_flows_tidy(k->session);
}

static void written(void *arg, enum status st)
{
	struct mq_subscribing *k = arg;

	if (k->c != NULL && st != ST_OK)
		not_written(k, st);
	if (k->less && st == ST_OK)
		mq_persist_forget(k->session);
	if (k->c == NULL)
		op_free(k);
	else
		k->stage = READY;
}

static void write_it(struct mq_subscribing *k)
{
	if (!k->session->durable) {
		k->stage = READY;
		return;
	}
	k->stage = WRITING;
	mq_persist(k->session, written, k);
}

static bool all_open(const struct mq_subscribing *k)
{
	for (uint32_t i = 0; i < k->n; i++)
		if (k->rows[i].reason < MQTT_FAILED && !mq_hub_settled(k->f, k->rows[i].filter.filter))
			return false;
	return true;
}

bool mq_subscribes_ready(const struct mq *f)
{
	LIST_EACH(&f->subscribing, n) {
		const struct mq_subscribing *k = container_of(n, struct mq_subscribing, link);
		if (k->stage == READY || (k->stage == OPENING && all_open(k)))
			return true;
	}
	return false;
}

void mq_subscribe_turn(struct mq *f)
{
	LIST_EACH_SAFE(&f->subscribing, n, next) {
		struct mq_subscribing *k = container_of(n, struct mq_subscribing, link);
		if (k->stage == OPENING && all_open(k))
			write_it(k);
		else if (k->stage == READY)
			answer(k);
	}
}

/* ---- SUBSCRIBE ------------------------------------------------------------------------------------------------------------------------------ */

/* Whether it may be subscribed to at all; it is the packet's 'row'. */
static uint8_t check(const struct mq_session *s, uint32_t row, const struct mqtt_filter *f)
{
	uint32_t max = s->f->conf->mqtt_max_subs;

	if (!mqtt_filter_valid(f->filter) || !mq_levels_fine(f->filter))
		return MQTT_BAD_FILTER;
	if (slice_starts(f->filter, SLICE_LIT("$share/")))
		return MQTT_NO_SHARED;
	/* Who subscribes again and again, and does not take the retained messages, does not get a longer and longer list of them. */
	if (row >= max || s->n_backlog > max)
		return MQTT_QUOTA_EXCEEDED;
	return f->qos > 0 ? MQTT_GRANTED_1 : MQTT_OK;
}

static void put_in(struct mq_subscribing *k, struct row *r)
{
	struct mq_session *s = k->session;
	struct mq_sub *sub = mq_session_sub(s, r->filter.filter);

	r->is_new = sub == NULL;
	if ((r->is_new && s->n_subs >= k->f->conf->mqtt_max_subs) ||
	    (r->filter.qos > 0 && (sub == NULL || sub->qos == 0) && mq_reaches_too_far(s, r->filter.filter))) {
		r->reason = MQTT_QUOTA_EXCEEDED;
		r->is_new = false;
		return;
	}
	if (sub == NULL) {
		sub = mq_sub_new(s, r->filter.filter);
		sub->from = k->stats.visible;
		sub->from_ms = clock_wall_ms(k->f->clock);
	} else if (sub->qos == 0 && r->filter.qos > 0) {
		/* What came before was not kept for it. */
		sub->from = k->stats.visible;
		sub->from_ms = clock_wall_ms(k->f->clock);
	}
	k->less = k->less || (sub->qos > 0 && r->filter.qos == 0);
	mq_sub_options(sub, r->filter.qos > 0, r->filter.no_local, r->filter.retain_as_published, r->filter.retain_handling, k->sub_id);
	mq_sub_attach(sub);
}

static void asked(struct engine_ask *a, enum status st)
{
	struct mq_subscribing *k = container_of(container_of(a, struct engine_stats, ask), struct mq_subscribing, stats);
	struct mq *f = k->f;

	if (k->c == NULL || k->session->dropped) {
		op_free(k);
		mq_answered(f);
		return;
	}
	for (uint32_t i = 0; i < k->n; i++) {
		if (k->rows[i].reason < MQTT_FAILED && st == ST_OK)
			put_in(k, &k->rows[i]);
		else if (k->rows[i].reason < MQTT_FAILED)
			k->rows[i].reason = MQTT_FAILED;
	}
	if (k->less)
		mq_flows_tidy(k->session);
	k->stage = OPENING;
	mq_answered(f);
}

void mq_subscribe(struct mq_conn *c, const struct mqtt_packet *p)
{
	struct mq_subscribing *k = op_new(c, p);

	c->f->n.subscribes++;
	for (uint32_t i = 0; i < k->n; i++)
		k->rows[i].reason = check(c->session, i, &k->rows[i].filter);
	k->stage = ASKING;
	k->stats = (struct engine_stats){.ask = {.done = asked}, .actor = &c->f->actor};
	mq_asked(c->f);
	engine_stats(c->f->engine, &k->stats);
}

void mq_unsubscribe(struct mq_conn *c, const struct mqtt_packet *p)
{
	struct mq_subscribing *k = op_new(c, p);

	for (uint32_t i = 0; i < k->n; i++) {
		/* There are no more subscriptions than that; the rest of an endless packet is not looked up. */
		bool may = i < c->f->conf->mqtt_max_subs;
		struct mq_sub *sub = may ? mq_session_sub(k->session, k->rows[i].filter.filter) : NULL;
		k->rows[i].reason = sub != NULL ? MQTT_OK : !mqtt_filter_valid(k->rows[i].filter.filter) ? MQTT_BAD_FILTER : may ? MQTT_NO_SUBSCRIPTION : MQTT_FAILED;
		if (sub == NULL)
			continue;
		k->less = k->less || sub->qos > 0;
		mq_backlog_drop(k->session, sub->filter, false);
		mq_sub_free(sub);
	}
	if (k->less)
		mq_flows_tidy(c->session);
	write_it(k);
}
