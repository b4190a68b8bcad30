/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * How a record enters the log, and what happens when it becomes visible.
 *
 * append_record is the one door. It gives the record its queue offset and its position, encodes it into the tail, and puts an entry into
 * the ring. append_visible takes entries off the ring, in log order, as the visible mark passes them: the queue's index gets its entry,
 * whoever waits for the queue hears of it, the key index gets the keys, and the request is completed.
 */
#include "base/mem.h"
#include "base/props.h"
#include "base/utf.h"
#include "engine/eng.h"
#include "engine/kindex.h"

#define APPEND_SPARE (256u << 10) /* prepared bytes that users' messages leave free */

/*
 * The store's clock. Where the wall clock was set back it goes on by itself, since delays are measured by it, but it loses one millisecond in
 * eight to let the wall clock catch up.
 */
int64_t eng_stamp(struct eng *g)
{
	const uint64_t span = 8 * MS_NS;

	if (g->now_ms >= g->store_ms) {
		g->store_ms = g->now_ms;
		g->stamp_ns = g->now_ns;
	} else if (g->now_ns >= g->stamp_ns + span) {
		uint64_t n = (g->now_ns - g->stamp_ns) / span;
		g->store_ms += (int64_t)(n * 7);
		g->stamp_ns += n * span;
	}
	return g->store_ms;
}

uint64_t record_tag(const struct record *r)
{
	struct slice tags;
	if (!props_get(r->props, SLICE_LIT("TAGS"), &tags) || tags.n == 0)
		return 0;
	return (uint32_t)java_hash(tags);
}

uint32_t key_hash(struct slice topic, struct slice key)
{
	return ki_hash(topic, key);
}

void keys_add(struct eng *g, const struct record *r, bool with_uniq)
{
	struct slice rest = r->props, name, value, key;
	while (props_next(&rest, &name, &value)) {
		if (slice_eq(name, SLICE_LIT("KEYS"))) {
			while (slice_split(&value, ' ', &key))
				if (key.n > 0)
					ki_add(g->ki, r->position, key_hash(r->topic, key));
		} else if (with_uniq && slice_eq(name, SLICE_LIT("UNIQ_KEY")) && value.n > 0) {
			ki_add(g->ki, r->position, key_hash(r->topic, value));
		}
	}
}

/* ---- The ring ----------------------------------------------------------------------------------------------------------------- */

static struct pending *ring_push(struct eng *g)
{
	if (g->ring_n == g->ring_cap) {
		size_t cap = g->ring_cap == 0 ? 256 : g->ring_cap * 2;
		struct pending *v = mem_array(cap, sizeof *v);
		for (size_t i = 0; i < g->ring_n; i++)
			v[i] = g->ring[(g->ring_head + i) & (g->ring_cap - 1)];
		mem_free(g->ring);
		g->ring = v;
		g->ring_head = 0;
		g->ring_cap = cap;
	}
	struct pending *p = &g->ring[(g->ring_head + g->ring_n++) & (g->ring_cap - 1)];
	*p = (struct pending){0};
	return p;
}

struct pending *append_last(struct eng *g)
{
	CHECK(g->ring_n > 0);
	return &g->ring[(g->ring_head + g->ring_n - 1) & (g->ring_cap - 1)];
}

/* ---- Appending ------------------------------------------------------------------------------------------------------------------ */

enum status append_room(struct eng *g, enum append_kind kind, uint32_t size)
{
	uint64_t position;
	if (g->clog.poisoned)
		return ST_IO;
	if (kind == APPEND_USER && (g->clog.full || g->space_low))
		return ST_DISK_FULL;
	/* Users leave some prepared space to what they cause and to definitions, which are not parked when space is short. */
	enum status st = kind == APPEND_USER ? clog_spare(&g->clog, size, (uint32_t)u64_min(APPEND_SPARE, g->conf.segment_bytes / 8)) : ST_OK;
	if (st != ST_OK)
		return st;
	return clog_room(&g->clog, size, &position);
}

/* What the index needs of the properties, so that append_visible need not decode the record again unless it has KEYS. */
static void note_keys(struct pending *p, const struct record *r)
{
	struct slice rest = r->props, name, value;
	while (props_next(&rest, &name, &value)) {
		if (name.n == 4 && memcmp(name.p, "KEYS", 4) == 0) {
			p->has_keys = value.n > 0;
		} else if (name.n == 4 && memcmp(name.p, "TAGS", 4) == 0) {
			p->tag = value.n > 0 ? (uint32_t)java_hash(value) : 0;
		} else if (name.n == 8 && memcmp(name.p, "UNIQ_KEY", 8) == 0 && value.n > 0) {
			p->has_uniq = true;
			p->uniq_hash = ki_hash(r->topic, value);
		}
	}
}

enum status append_record(struct eng *g, struct append *a)
{
	struct record *r = &a->r;
	if (a->kind == APPEND_USER && !a->topic->sendable)
		return ST_DENIED;
	CHECK((a->topic == NULL) == (a->kind == APPEND_STATE) && (a->topic == NULL) == (a->queue == NULL));
	uint32_t size = record_size(r);
	uint64_t position;
	enum status st = append_room(g, a->kind, size);
	if (st != ST_OK)
		return st;
	CHECK(clog_room(&g->clog, size, &position) == ST_OK);
	r->position = position;
	r->queue_offset = a->queue != NULL ? a->queue->next++ : g->state_seq++;
	r->store_ms = eng_stamp(g);
	r->store_ip = g->conf.store_ip;
	r->store_port = g->conf.store_port;
	record_encode(r, clog_reserve(&g->clog, size));
	clog_commit(&g->clog, size);
	struct segment *s = clog_segment(&g->clog, position);
	if (s->first_ms == 0)
		s->first_ms = r->store_ms;
	s->last_ms = r->store_ms;
	struct pending *p = ring_push(g);
	p->position = position;
	p->size = size;
	p->queue = a->queue;
	p->offset = r->queue_offset;
	p->ask = a->ask;
	p->visible = a->visible;
	p->arg = a->arg;
	if (a->topic != NULL) {
		topic_hold(a->topic);
		note_keys(p, r);
		if (a->tag_is_time)
			p->tag = (uint64_t)a->due_ms;
		eng_count(g, STAT_MESSAGES_IN_TOTAL, 1);
		eng_count(g, STAT_BYTES_IN_TOTAL, size);
	}
	return ST_OK;
}

struct slice append_bytes(struct eng *g, uint64_t position, uint32_t size)
{
	enum { MAX = 64 };
	struct piece v[MAX];
	unsigned n = 0;
	if (clog_pieces(&g->clog, position, size, v, MAX, &n, NULL) != ST_OK)
		return (struct slice){NULL, 0};
	if (n == 1)
		return v[0].bytes;
	buf_reset(&g->scratch);
	for (unsigned i = 0; i < n; i++)
		buf_slice(&g->scratch, v[i].bytes);
	return buf_view(&g->scratch);
}

/* ---- Becoming visible ------------------------------------------------------------------------------------------------------------ */

static void index_pending(struct eng *g, const struct pending *p)
{
	struct queue *q = p->queue;
	struct qentry e = {p->position, p->size, p->tag};
	if (!q->topic->dead) {
		CHECK(q->index.next == p->offset);
		qi_append(g->qi, &q->index, &e);
		if (p->has_uniq)
			ki_add(g->ki, p->position, p->uniq_hash);
		struct record r;
		struct slice b;
		if (p->has_keys && (b = append_bytes(g, p->position, p->size)).n > 0 && record_decode(b, &r) == ST_OK)
			keys_add(g, &r, false);
		LIST_EACH_SAFE(&q->waiters, n, t) {
			struct queue_waiter *w = container_of(n, struct queue_waiter, link);
			w->arrived(g, w, &e);
		}
	}
	eng_count(g, STAT_MESSAGES_STORED_TOTAL, 1);
}

void append_visible(struct eng *g)
{
	uint64_t visible = clog_visible(&g->clog), before = g->ring_n;
	while (g->ring_n > 0) {
		struct pending p = g->ring[g->ring_head & (g->ring_cap - 1)];
		if (p.position + p.size > visible)
			break;
		g->ring_head = (g->ring_head + 1) & (g->ring_cap - 1);
		g->ring_n--;
		if (p.queue != NULL)
			index_pending(g, &p);
		if (p.visible != NULL)
			p.visible(g, &p);
		if (p.ask != NULL)
			eng_complete(g, p.ask, ST_OK);
		if (p.queue != NULL)
			topic_drop_ref(g, p.queue->topic);
	}
	if (g->ring_n < before)
		log_trace(g->log, "append", "visible to=%llu records=%llu", (unsigned long long)visible, (unsigned long long)(before - g->ring_n));
}

void append_fail(struct eng *g, enum status st)
{
	while (g->ring_n > 0) {
		struct pending p = g->ring[g->ring_head & (g->ring_cap - 1)];
		g->ring_head = (g->ring_head + 1) & (g->ring_cap - 1);
		g->ring_n--;
		if (p.ask != NULL)
			eng_complete(g, p.ask, st);
		if (p.queue != NULL)
			topic_drop_ref(g, p.queue->topic);
	}
}

/* ---- Copies: retries, dead letters, due messages -------------------------------------------------------------------------------- */

static bool is_dropped(const struct eng_copy *c, struct slice name)
{
	if (slice_eq(name, SLICE_LIT("__CRC32#")))
		return true;
	for (unsigned i = 0; i < c->n_drop; i++)
		if (slice_eq(c->drop[i], name))
			return true;
	for (unsigned i = 0; i < c->n_put; i++)
		if (slice_eq(c->put[i][0], name))
			return true;
	return false;
}

enum status append_copy(struct eng *g, const struct eng_copy *c)
{
	struct topic *t = topic_find(g, c->topic);
	struct slice rest = c->from->props, name, value;
	struct buf props = {.max = RECORD_PROPS_MAX - RECORD_CRC_SIZE};
	if (t == NULL)
		return ST_NO_TOPIC;
	while (props_next(&rest, &name, &value))
		if (!is_dropped(c, name))
			props_put(&props, name, value);
	for (unsigned i = 0; i < c->n_put; i++)
		props_put(&props, c->put[i][0], c->put[i][1]);
	enum status st = props.over ? ST_ILLEGAL : ST_OK;
	struct append a = {.kind = APPEND_CONSEQUENCE, .r = *c->from, .topic = t, .ask = c->ask, .visible = c->visible, .arg = c->arg};
	int32_t id = c->queue >= 0 ? c->queue : send_pick_queue(g, t);
	if (st == ST_OK && (a.queue = topic_queue(g, t, id)) == NULL)
		st = ST_NO_QUEUE;
	a.r.topic = topic_name(t);
	a.r.queue = id;
	a.r.props = buf_view(&props);
	a.r.reconsume_times = c->reconsume_times;
	a.r.prepared = c->prepared;
	a.r.sys_flag &= ~(SYS_BORN_V6 | SYS_STORE_V6);
	if (st == ST_OK && c->delay_level > 0)
		st = delay_park(g, &a, c->delay_level);
	if (st == ST_OK)
		st = append_record(g, &a);
	buf_fini(&props);
	return st;
}
