/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Retained messages: the last one of each topic, in memory in a tree of names, in the log as cells of the space "mqtt-retained", named by the topic:
 *
 *   u8   format: 2; 1 where the second line is not there
 *   u16  length, client id of its publisher (integers are big-endian)
 *   u64  when it expires, ms since 1970; 0: never
 *   a PUBLISH of MQTT 5.0
 *
 * A new subscription's are sent as there is room, one subscription's after the other; the list of one is made when it is its turn. One that is sent with QoS 1 is
 * held until it is acknowledged.
 */
#include "front/mqtt/mq.h"

#include "base/be.h"

#define FORMAT_ANONYMOUS 1u
#define FORMAT 2u

/* ---- The table -------------------------------------------------------------------------------------------------------------------------- */

void mq_retained_release(struct mq_retained *r)
{
	CHECK(r->refs > 0);
	if (--r->refs > 0)
		return;
	blob_drop(r->value);
	mem_free(r);
}

bool mq_retained_room(struct mq *f, struct slice name)
{
	struct mq_node *n;

	if (f->n_retained < f->conf->mqtt_max_retained)
		return true;
	n = mq_node_find(f->names, name);
	return n != NULL && n->value != NULL;
}

/* A cell's value; false: it is none. */
static bool parse(struct slice v, struct slice *ret_client, int64_t *ret_expires_ms, struct slice *ret_packet)
{
	uint8_t format = v.n == 0 ? 0 : v.p[0];

	*ret_client = (struct slice){NULL, 0};
	if (format != FORMAT && format != FORMAT_ANONYMOUS)
		return false;
	v = slice_skip(v, 1);
	if (format == FORMAT) {
		if (v.n < 2 || v.n - 2 < be16_get(v.p))
			return false;
		*ret_client = slice_of(v.p + 2, be16_get(v.p));
		v = slice_skip(v, 2 + ret_client->n);
	}
	if (v.n <= 8)
		return false;
	*ret_expires_ms = (int64_t)be64_get(v.p);
	*ret_packet = slice_skip(v, 8);
	return true;
}

struct blob *mq_retained_encode(struct mq *f, const struct mqtt_packet *p, struct slice name, int64_t expires_ms, struct slice client)
{
	struct mqtt_packet own = {.type = MQTT_PUBLISH, .qos = p->qos, .retain = true, .id = p->qos > 0 ? 1 : 0, .topic = name, .payload = p->payload, .props = p->props};

	own.props.has &= ~(1ull << MQTT_P_TOPIC_ALIAS | 1ull << MQTT_P_SUB_ID);
	buf_reset(&f->scratch);
	buf_u8(&f->scratch, FORMAT);
	buf_be16(&f->scratch, (uint16_t)client.n);
	buf_slice(&f->scratch, client);
	buf_be64(&f->scratch, (uint64_t)expires_ms);
	return mqtt_put(&f->scratch, MQTT_5, 0, &own) ? blob_copy(buf_view(&f->scratch)) : NULL;
}

static void unset(struct mq *f, struct slice name)
{
	struct mq_node *n = mq_node_find(f->names, name);
	struct mq_retained *r = n == NULL ? NULL : n->value;

	if (r == NULL)
		return;
	n->value = NULL;
	r->node = NULL;
	f->n_retained--;
	mq_retained_release(r);
	mq_node_drop(n);
}

static void set(struct mq *f, struct slice name, struct blob *value)
{
	struct mq_retained *r = mem_new(sizeof(*r));

	CHECK(parse(slice_of(value->p, value->n), &r->client, &r->expires_ms, &r->packet));
	unset(f, name);
	r->refs = 1;
	r->value = blob_hold(value);
	r->node = mq_node_hold(f->names, name);
	r->node->value = r;
	f->n_retained++;
}

/*
 * A name whose cell is being changed. Memory has the new message at once, so that whoever subscribes after it was visible gets it; when the log has refused it, memory
 * goes back to what the log has.
 */
struct keeping {
	struct blob *logged;               /* by the answers so far; NULL: nothing */
	uint32_t left;                     /* answers to come */
	struct slice name;                 /* behind it in memory */
};

void mq_retained_change(struct mq *f, struct slice name, struct blob *value)
{
	struct keeping *k = map_get(&f->keeping, name);
	struct mq_node *n;

	if (k == NULL) {
		k = mem_new(sizeof(*k) + name.n);
		memcpy(k + 1, name.p, name.n);
		k->name = slice_of(k + 1, name.n);
		n = mq_node_find(f->names, name);
		if (n != NULL && n->value != NULL)
			k->logged = blob_hold(((struct mq_retained *)n->value)->value);
		map_put(&f->keeping, k->name, k);
	}
	k->left++;
	if (value != NULL)
		set(f, name, value);
	else
		unset(f, name);
}

void mq_retained_changed(struct mq *f, struct slice name, struct blob *value, bool refused)
{
	struct keeping *k = map_get(&f->keeping, name);
	struct mq_node *n = mq_node_find(f->names, name);
	struct mq_retained *now = n == NULL ? NULL : n->value;

	CHECK(k != NULL && k->left > 0);
	if (!refused) {
		blob_drop(k->logged);
		k->logged = value == NULL ? NULL : blob_hold(value);
	}
	if (--k->left > 0)
		return;
	if (k->logged == NULL)
		unset(f, name);
	else if (now == NULL || now->value != k->logged)
		set(f, name, k->logged);
	CHECK(map_drop(&f->keeping, k->name) == k);
	blob_drop(k->logged);
	mem_free(k);
}

/* ---- To a new subscription ---------------------------------------------------------------------------------------------------------------- */

static void collect(struct mq_node *n, void *arg)
{
	struct mq_backlog *b = arg;
	struct mq_retained *r = n->value;

	if ((b->n & (b->n - 1)) == 0)
		b->v = mem_grow(b->v, (b->n == 0 ? 1 : b->n * 2) * sizeof(struct mq_retained *));
	r->refs++;
	b->v[b->n++] = r;
}

static void backlog_free(struct mq_session *s, struct mq_backlog *b)
{
	list_remove(&b->link);
	s->n_backlog--;
	for (uint32_t i = b->at; i < b->n; i++)
		mq_retained_release(b->v[i]);
	mem_free(b->v);
	mem_free(b);
}

void mq_backlog_free(struct mq_session *s)
{
	LIST_EACH_SAFE(&s->backlog, n, next)
		backlog_free(s, container_of(n, struct mq_backlog, link));
}

void mq_backlog_away(struct mq_session *s)
{
	LIST_EACH_SAFE(&s->backlog, n, next) {
		struct mq_backlog *b = container_of(n, struct mq_backlog, link);
		b->away = true;
		if (b->qos == 0)
			backlog_free(s, b);
	}
}

void mq_backlog_drop(struct mq_session *s, struct slice filter, bool away)
{
	LIST_EACH_SAFE(&s->backlog, n, next) {
		struct mq_backlog *b = container_of(n, struct mq_backlog, link);
		if (slice_eq(b->filter, filter) && (b->away || !away))
			backlog_free(s, b);
	}
}

void mq_retained_queue(struct mq_session *s, const struct mq_sub *sub)
{
	struct mq_backlog *b = mem_new(sizeof(*b) + sub->filter.n);

	mq_backlog_drop(s, sub->filter, true); /* all of it begins anew */
	memcpy(b + 1, sub->filter.p, sub->filter.n);
	b->filter = slice_of(b + 1, sub->filter.n);
	b->qos = sub->qos;
	b->sub_id = sub->id;
	b->no_local = sub->no_local;
	list_push(&s->backlog, &b->link);
	s->n_backlog++;
}

/* As a message to be sent; false: it has expired, and is forgotten. */
static bool dress(struct mq *f, struct mq_retained *r, struct mq_outgoing *o)
{
	int64_t left = r->expires_ms - clock_wall_ms(f->clock);

	memset(o, 0, sizeof(*o));
	if (r->expires_ms != 0 && left <= 0) {
		f->n.expired++;
		if (r->node != NULL)
			mq_retained_expired(f, r);
		return false;
	}
	if (mqtt_next(r->packet, MQTT_5, 0, &o->p) != (ptrdiff_t)r->packet.n)
		return false;
	o->dressed = true;
	o->qos = o->p.qos;
	o->blob = r->value;
	if (r->expires_ms != 0)
		MQTT_SET(&o->p.props, MESSAGE_EXPIRY, message_expiry, (uint32_t)u64_min(((uint64_t)left + 999) / 1000, UINT32_MAX));
	return true;
}

/* One of them. False: no room. */
static bool send_one(struct mq_session *s, struct mq_retained *r, uint8_t qos, uint32_t sub_id)
{
	struct mq_outgoing o;
	struct mq_sent *e = NULL;

	if (!mq_conn_takes(s->conn))
		return false;
	if (!dress(s->f, r, &o))
		return true;
	if (qos > 0 && o.qos > 0) {
		if (!mq_window_open(s))
			return false;
		e = mq_window_put(s, NULL, 0);
		e->retained = r;
		e->sub_id = sub_id;
		r->refs++;
	}
	if (!mq_send(s->conn, &o, e, true, NULL, sub_id) && e != NULL)
		mq_window_drop(s, e);
	s->f->n.retained_sent++;
	return true;
}

bool mq_retained_work(struct mq_session *s)
{
	while (!list_empty(&s->backlog)) {
		struct mq_backlog *b = container_of(s->backlog.next, struct mq_backlog, link);
		if (!mq_conn_takes(s->conn))
			return false;
		if (!b->begun)
			mq_trie_names(s->f->names, b->filter, collect, b);
		b->begun = true;
		for (; b->at < b->n; b->at++) {
			bool own = b->no_local && slice_eq(b->v[b->at]->client, s->id);
			if (!own && !send_one(s, b->v[b->at], b->qos, b->sub_id))
				return false;
			mq_retained_release(b->v[b->at]);
		}
		backlog_free(s, b);
	}
	return true;
}

/* Those that the last connection did not acknowledge. What is not in memory any more cannot be sent again. */
void mq_retained_resend(struct mq_session *s)
{
	struct mq_outgoing o;

	LIST_EACH_SAFE(&s->sent_retained, n, next) {
		struct mq_sent *e = container_of(n, struct mq_sent, link);
		if (!e->old)
			continue;
		if (!mq_conn_takes(s->conn) || !mq_window_again(s))
			return;
		if (e->retained == NULL || !dress(s->f, e->retained, &o) || !mq_send(s->conn, &o, e, true, NULL, e->sub_id)) {
			mq_window_drop(s, e);
			continue;
		}
		e->old = false;
		s->window.out++;
		s->f->n.resent++;
	}
}

/* ---- The log ------------------------------------------------------------------------------------------------------------------------------- */

struct dropping {
	struct mq *f;
	struct engine_cell ask;
};

static void dropped(struct engine_ask *a, enum status st)
{
	struct dropping *k = container_of(container_of(a, struct engine_cell, ask), struct dropping, ask);
	struct mq *f = k->f;

	(void)st; /* it expires again after the next start */
	mem_free(k);
	mq_answered(f);
}

void mq_retained_expired(struct mq *f, struct mq_retained *r)
{
	struct dropping *k = mem_new(sizeof(*k));
	struct mqtt_packet p;

	CHECK(mqtt_next(r->packet, MQTT_5, 0, &p) > 0);
	k->f = f;
	k->ask = (struct engine_cell){.ask = {.done = dropped}, .actor = &f->actor, .space = MQ_RETAINED_SPACE, .name = p.topic, .drop = true};
	mq_asked(f);
	engine_cell_put(f->engine, &k->ask);
	r->refs++;
	unset(f, p.topic);
	mq_retained_release(r);
}

struct listing {
	struct mq *f;
	struct engine_cells ask;
};

static void listed(struct engine_ask *a, enum status st)
{
	struct listing *k = container_of(container_of(a, struct engine_cells, ask), struct listing, ask);
	struct mq *f = k->f;
	struct mqtt_packet p;

	for (size_t i = 0; st == ST_OK && i < k->ask.count; i++) {
		const struct cell_info *c = &k->ask.v[i];
		struct slice client, packet;
		int64_t expires_ms;
		if (!parse(c->value, &client, &expires_ms, &packet) || mqtt_next(packet, MQTT_5, 0, &p) != (ptrdiff_t)packet.n || p.type != MQTT_PUBLISH ||
		    !slice_eq(p.topic, c->name) || !mq_levels_fine(p.topic)) {
			log_error(f->log, "mqtt", "topic=%.*s its retained message cannot be read, and is not used", (int)u64_min(c->name.n, 128), (const char *)c->name.p);
			continue;
		}
		struct blob *b = blob_copy(c->value);
		set(f, c->name, b);
		blob_drop(b);
	}
	mem_free(k);
	mq_loaded(f, st);
}

void mq_retained_load(struct mq *f)
{
	struct listing *k = mem_new(sizeof(*k));

	k->f = f;
	k->ask = (struct engine_cells){.ask = {.done = listed}, .actor = &f->actor, .space = MQ_RETAINED_SPACE};
	f->loading++;
	mq_asked(f);
	engine_cell_list(f->engine, &k->ask);
}

void mq_retained_free(struct mq *f)
{
	struct mq_backlog all = {.n = 0};
	struct map_slot *slot;

	mq_trie_names(f->names, SLICE_LIT("#"), collect, &all);
	for (size_t at = 0; (slot = map_each(&f->names->children, &at)) != NULL;) {
		/* Names that begin with $ are below no wildcard. */
		struct mq_node *n = slot->value;
		if (n->n > 0 && n->level[0] == '$')
			mq_trie_below(n, collect, &all);
	}
	for (uint32_t i = 0; i < all.n; i++) {
		struct mq_node *n = all.v[i]->node;
		n->value = NULL;
		all.v[i]->node = NULL;
		f->n_retained--;
		mq_retained_release(all.v[i]);
		mq_node_drop(n);
		mq_retained_release(all.v[i]);
	}
	mem_free(all.v);
}
