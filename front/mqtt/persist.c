/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Durable sessions in the log: a cell each, in the space "mqtt-session", named by the client id. Integers are big-endian.
 *
 *   u8   format: 1, or 2 where the last part is there
 *   u8   protocol level
 *   u32  expiry, seconds
 *   u64  when its connection ended, ms since 1970; 0: it had one
 *   u32  subscriptions: each u8 options (bits 0-1 QoS, 2 no local, 3 retain as published, 4-5 retain handling), u32 identifier,
 *        u64 first place of the log that is for it, u64 when that was (ms since 1970), u32 length, filter
 *   u32  delay of the will, seconds; u32 length of the will (0: none), a PUBLISH of MQTT 5.0
 *   what was sent and not acknowledged when the connection ended, to the end, for each queue: u32 length, topic, u32 queue, u64 behind the last offset that
 *        was sent, u32 n, n times (u64 offset, u16 packet identifier)
 *
 * A session that had a connection when the process ended is away since the next start. What had been sent to it is not known then: all that was stored before
 * may have been.
 */
#include "front/mqtt/mq.h"

#define SPACE SLICE_LIT("mqtt-session")
#define FORMAT 1u
#define FORMAT_SENT 2u
#define SENT_BYTES 10u
#define SPREAD_S 3600u /* sessions that had a connection when the process ended are noted as away one after the other */

/* ---- Bytes ------------------------------------------------------------------------------------------------------------------------------- */

/* At most '*left' of one queue; what is left out is as if it had not been sent. */
static void encode_sent(const struct mq_flow *w, struct buf *b, unsigned *left)
{
	uint64_t behind = w->again_below;
	uint32_t n = 0;

	LIST_EACH(&w->sent, l) {
		if (n == *left) {
			behind = container_of(l, struct mq_sent, link)->offset;
			break;
		}
		n++;
	}
	if (n == 0)
		return;
	*left -= n;
	buf_be32(b, (uint32_t)w->topic->name.n);
	buf_slice(b, w->topic->name);
	buf_be32(b, (uint32_t)w->queue);
	buf_be64(b, behind);
	buf_be32(b, n);
	LIST_EACH(&w->sent, l) {
		const struct mq_sent *e = container_of(l, struct mq_sent, link);
		if (n-- == 0)
			break;
		buf_be64(b, e->offset);
		buf_be16(b, e->id);
	}
}

void mq_session_encode(const struct mq_session *s, struct buf *b)
{
	unsigned left = MQ_KEEP_SENT;
	size_t form = b->n, end;

	buf_u8(b, FORMAT);
	buf_u8(b, s->version);
	buf_be32(b, s->expiry_s);
	buf_be64(b, (uint64_t)s->seen_ms);
	buf_be32(b, s->n_subs);
	LIST_EACH(&s->subs, n) {
		const struct mq_sub *sub = container_of(n, struct mq_sub, link);
		buf_u8(b, (uint8_t)(sub->qos | sub->no_local << 2 | sub->as_published << 3 | sub->handling << 4));
		buf_be32(b, sub->id);
		buf_be64(b, sub->from);
		buf_be64(b, (uint64_t)sub->from_ms);
		buf_be32(b, (uint32_t)sub->filter.n);
		buf_slice(b, sub->filter);
	}
	buf_be32(b, s->will == NULL ? 0 : s->will->delay_s);
	buf_be32(b, s->will == NULL ? 0 : (uint32_t)s->will->packet.n);
	if (s->will != NULL)
		buf_slice(b, s->will->packet);
	if (s->conn != NULL)
		return;
	end = b->n;
	buf_slice(b, s->unacked);
	LIST_EACH(&s->flows, n)
		encode_sent(container_of(n, struct mq_flow, link), b, &left);
	if (b->n > end)
		b->p[form] = FORMAT_SENT;
}

/* Takes an integer of n bytes off the front. */
static bool take(struct slice *v, unsigned n, uint64_t *ret)
{
	*ret = 0;
	if (v->n < n)
		return false;
	for (unsigned i = 0; i < n; i++)
		*ret = *ret << 8 | v->p[i];
	*v = slice_skip(*v, n);
	return true;
}

static bool take_bytes(struct slice *v, struct slice *ret)
{
	uint64_t n;

	if (!take(v, 4, &n) || n > v->n)
		return false;
	*ret = slice_of(v->p, n);
	*v = slice_skip(*v, n);
	return true;
}

static bool take_sub(struct mq_session *s, struct slice *v)
{
	uint64_t options, id, from, from_ms;
	struct slice filter;

	if (!take(v, 1, &options) || !take(v, 4, &id) || !take(v, 8, &from) || !take(v, 8, &from_ms) || !take_bytes(v, &filter) ||
	    (options & 3) > 1 || !mqtt_filter_valid(filter) || !mq_levels_fine(filter))
		return false;
	struct mq_sub *sub = mq_sub_new(s, filter);
	mq_sub_options(sub, options & 3, options >> 2 & 1, options >> 3 & 1, options >> 4 & 3, (uint32_t)id);
	sub->from = from;
	sub->from_ms = (int64_t)from_ms;
	return true;
}

/* One queue of what was sent, off the front; *ret_sent: the pairs. */
static bool take_sent(struct slice *v, struct slice *ret_topic, uint64_t *ret_queue, uint64_t *ret_behind, struct slice *ret_sent)
{
	uint64_t n;

	if (!take_bytes(v, ret_topic) || !take(v, 4, ret_queue) || !take(v, 8, ret_behind) || !take(v, 4, &n) || n > v->n / SENT_BYTES)
		return false;
	*ret_sent = slice_of(v->p, n * SENT_BYTES);
	*v = slice_skip(*v, n * SENT_BYTES);
	return true;
}

static bool sent_fine(struct slice v)
{
	uint64_t queue, behind;
	struct slice topic, sent;

	while (v.n > 0)
		if (!take_sent(&v, &topic, &queue, &behind, &sent))
			return false;
	return true;
}

void mq_persist_sent(struct mq_flow *w)
{
	uint64_t queue, behind, offset, id;
	struct slice rest = w->session->unacked, topic, sent;

	while (take_sent(&rest, &topic, &queue, &behind, &sent)) {
		if (!slice_eq(topic, w->topic->name) || queue != (uint32_t)w->queue || behind <= w->next)
			continue;
		for (uint64_t last = w->next; take(&sent, 8, &offset) && take(&sent, 2, &id); last = offset + 1)
			if (offset >= last && offset < behind && id != 0)
				mq_window_put_again(w->session, w, offset, (uint16_t)id);
		w->again_below = behind;
		w->old = w->sent.next;
	}
}

bool mq_session_decode(struct mq_session *s, struct slice value)
{
	uint64_t format, version, expiry_s, seen_ms, n, delay_s;
	struct slice packet;

	if (!take(&value, 1, &format) || format < FORMAT || format > FORMAT_SENT || !take(&value, 1, &version) || !take(&value, 4, &expiry_s) ||
	    !take(&value, 8, &seen_ms) || !take(&value, 4, &n))
		return false;
	while (n-- > 0)
		if (!take_sub(s, &value))
			return false;
	if (!take(&value, 4, &delay_s) || !take_bytes(&value, &packet) || (value.n > 0 && format == FORMAT) || !sent_fine(value))
		return false;
	if (value.n > 0)
		s->unacked = slice_of(slice_dup(value), value.n);
	s->version = (uint8_t)version;
	s->expiry_s = (uint32_t)expiry_s;
	s->seen_ms = (int64_t)seen_ms;
	if (packet.n > 0)
		s->will = mq_will_new((uint32_t)delay_s, packet);
	return true;
}

/* ---- Cells -------------------------------------------------------------------------------------------------------------------------------- */

struct writing {
	struct mq *f;
	void (*done)(void *arg, enum status);
	void *arg;
	struct engine_cell ask;
};

static void written(struct engine_ask *a, enum status st)
{
	struct writing *k = container_of(container_of(a, struct engine_cell, ask), struct writing, ask);
	struct mq *f = k->f;

	if (st != ST_OK && st != ST_CLOSED)
		log_warn(f->log, "mqtt", "a session could not be written: %s", status_text(st));
	if (k->done != NULL)
		k->done(k->arg, st);
	mem_free(k);
	mq_answered(f);
}

static struct writing *writing_new(struct mq_session *s)
{
	struct writing *k = mem_new(sizeof(*k));

	k->f = s->f;
	k->ask = (struct engine_cell){.ask = {.done = written}, .actor = &s->f->actor, .space = SPACE, .name = s->id};
	mq_asked(s->f);
	return k;
}

void mq_persist(struct mq_session *s, void (*done)(void *arg, enum status), void *arg)
{
	struct writing *k = writing_new(s);
	struct buf value = {0};

	k->done = done;
	k->arg = arg;
	s->stored = true;
	s->unnoted = false;
	mq_session_encode(s, &value);
	k->ask.value = buf_view(&value);
	engine_cell_put(s->f->engine, &k->ask);
	buf_fini(&value);
}

struct grouping {
	struct mq *f;
	void (*done)(void *arg, enum status);
	void *arg;
	struct engine_group ask;
};

static void grouped(struct engine_ask *a, enum status st)
{
	struct grouping *k = container_of(container_of(a, struct engine_group, ask), struct grouping, ask);
	struct mq *f = k->f;

	if (k->done != NULL)
		k->done(k->arg, st);
	mem_free(k);
	mq_answered(f);
}

static struct grouping *grouping_new(struct mq_session *s)
{
	struct grouping *k = mem_new(sizeof(*k));

	k->f = s->f;
	k->ask = (struct engine_group){.ask = {.done = grouped}, .actor = &s->f->actor, .name = slice_str(s->group)};
	mq_asked(s->f);
	return k;
}

void mq_persist_group(struct mq_session *s, void (*done)(void *arg, enum status), void *arg)
{
	struct grouping *k = grouping_new(s);

	k->done = done;
	k->arg = arg;
	group_conf_default(&k->ask.conf);
	engine_group_put(s->f->engine, &k->ask);
}

void mq_persist_drop(struct mq_session *s)
{
	if (s->stored) {
		struct writing *k = writing_new(s);
		k->ask.drop = true;
		engine_cell_put(s->f->engine, &k->ask);
	}
	s->stored = false;
	if (s->group != NULL) {
		struct grouping *k = grouping_new(s);
		k->ask.drop_offsets = true;
		engine_group_drop(s->f->engine, &k->ask);
	}
}

/* ---- Progress that nobody needs any more -------------------------------------------------------------------------------------------------- */

struct forgetting {
	struct mq *f;
	struct engine_offset ask;
};

static void forgotten(struct engine_ask *a, enum status st)
{
	struct forgetting *k = container_of(container_of(a, struct engine_offset, ask), struct forgetting, ask);
	struct mq *f = k->f;

	if (st != ST_OK && st != ST_CLOSED && st != ST_NO_TOPIC && st != ST_NO_GROUP)
		log_warn(f->log, "mqtt", "offsets that a session does not need any more could not be forgotten: %s", status_text(st));
	mem_free(k);
	mq_answered(f);
}

static void forget(struct mq_session *s, struct slice topic)
{
	struct forgetting *k = mem_new(sizeof(*k));

	k->f = s->f;
	k->ask = (struct engine_offset){.ask = {.done = forgotten}, .actor = &s->f->actor, .group = slice_str(s->group), .topic = topic};
	mq_asked(s->f);
	engine_offset_drop(s->f->engine, &k->ask);
}

void mq_persist_tidy(struct mq_session *s, const struct engine_offsets *r)
{
	struct slice last = {NULL, 0};

	for (size_t i = 0; s->durable && i < r->count; i++) {
		struct mq_topic *t = mq_topic_find(s->f, r->v[i].topic);
		if (slice_eq(r->v[i].topic, last))
			continue;
		last = r->v[i].topic;
		if (t != NULL && t->exists && !mq_session_reads(s, t))
			forget(s, last);
	}
}

struct tidying {
	struct mq *f;
	struct mq_session *session;        /* held */
	struct engine_offsets ask;
};

static void offsets_listed(struct engine_ask *a, enum status st)
{
	struct tidying *k = container_of(container_of(a, struct engine_offsets, ask), struct tidying, ask);
	struct mq *f = k->f;

	if (st == ST_OK)
		mq_persist_tidy(k->session, &k->ask);
	mq_session_release(k->session);
	mem_free(k);
	mq_answered(f);
}

void mq_persist_forget(struct mq_session *s)
{
	struct tidying *k;

	if (!s->durable || s->group == NULL)
		return;
	k = mem_new(sizeof(*k));
	k->f = s->f;
	k->session = s;
	k->ask = (struct engine_offsets){.ask = {.done = offsets_listed}, .actor = &s->f->actor, .group = slice_str(s->group)};
	mq_session_hold(s);
	mq_asked(s->f);
	engine_offset_list(s->f->engine, &k->ask);
}

/* ---- The start ------------------------------------------------------------------------------------------------------------------------------ */

struct listing {
	struct mq *f;
	struct engine_cells ask;
};

static void load_one(struct mq *f, const struct cell_info *c)
{
	struct mq_session *s;

	if (mq_session_find(f, c->name) != NULL)
		return;
	s = mq_session_new(f, c->name);
	if (!mq_session_decode(s, c->value)) {
		/* Its cell stays: a newer release may know what to do with it. */
		log_error(f->log, "mqtt", "client=%.*s its session cannot be read, and is not used", (int)u64_min(c->name.n, 64), (const char *)c->name.p);
		s->group = NULL;
		mq_session_forget(s);
		return;
	}
	(void)mq_session_durable(s, (uint32_t)u64_max(s->expiry_s, 1), true);
	s->stored = s->cold = s->parked = true;
	s->unsure = s->unnoted = s->seen_ms == 0;
	if (s->unsure)
		s->seen_ms = clock_wall_ms(f->clock);
	mq_will_load(s);
	mq_session_expire_in(s);
	if (s->unsure)
		mq_timer_set(f, &s->expiry, u64_min((uint64_t)s->expiry_s, 1 + f->spread++ % SPREAD_S) * 1000);
}

static void listed(struct engine_ask *a, enum status st)
{
	struct listing *k = container_of(container_of(a, struct engine_cells, ask), struct listing, ask);
	struct mq *f = k->f;

	for (size_t i = 0; st == ST_OK && i < k->ask.count; i++)
		load_one(f, &k->ask.v[i]);
	mem_free(k);
	mq_loaded(f, st);
}

void mq_persist_load(struct mq *f)
{
	struct listing *k = mem_new(sizeof(*k));

	k->f = f;
	k->ask = (struct engine_cells){.ask = {.done = listed}, .actor = &f->actor, .space = SPACE};
	f->loading++;
	mq_asked(f);
	engine_cell_list(f->engine, &k->ask);
}
