/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Admission of messages: what a send must be, where it goes, and what becomes of its properties.
 *
 * A send for which there is no prepared space at this moment is parked with a copy of its bytes, in order, and tried again every turn; what
 * is parked is bounded by unsynced_bytes, beyond that the answer is BUSY.
 */
#include "base/mem.h"
#include "base/props.h"
#include "base/utf.h"
#include "engine/eng.h"

#define BATCH_MAX 65536u /* messages in one batch */

struct parked {
	struct list link;
	struct engine_send *r;
	struct msg msg;           /* as r->msg, but its slices are copies */
	char *default_topic;
	size_t bytes;
	uint8_t *copy;
};

/* What the engine needs to know of the properties. */
struct prop_notes {
	bool has_uniq, has_crc, no_wait, timer, half;
	int delay;
	struct slice order_key;
};

static void note_props(struct slice props, struct prop_notes *n)
{
	struct slice name, value;
	uint64_t level;
	*n = (struct prop_notes){0};
	while (props_next(&props, &name, &value)) {
		if (slice_eq(name, SLICE_LIT("UNIQ_KEY")))
			n->has_uniq = value.n > 0;
		else if (slice_eq(name, SLICE_LIT("WAIT")))
			n->no_wait = slice_eq(value, SLICE_LIT("false"));
		else if (slice_eq(name, SLICE_LIT("DELAY")))
			n->delay = slice_u64(value, &level) ? (int)u64_min(level, DELAY_LEVELS) : 0;
		else if (slice_eq(name, SLICE_LIT("__CRC32#")))
			n->has_crc = true;
		else if (slice_starts(name, SLICE_LIT("TIMER_D")))
			n->timer = true;
		else if (slice_eq(name, SLICE_LIT("__SHARDINGKEY")))
			n->order_key = value;
		else if (slice_eq(name, SLICE_LIT("TRAN_MSG")))
			n->half = slice_eq(value, SLICE_LIT("true"));
	}
}

static char *put_hex(char *to, uint64_t v, unsigned digits)
{
	while (digits > 0)
		*to++ = "0123456789ABCDEF"[v >> 4 * --digits & 15];
	return to;
}

/* 32 hex digits that no other message has: our address, a counter, and randomness. */
static void make_uniq(struct eng *g, char to[33])
{
	to = put_hex(to, g->conf.store_ip, 8);
	to = put_hex(to, g->uniq_counter++, 8);
	to = put_hex(to, prng_u64(g->env.prng), 16);
	*to = '\0';
}

/* The properties as they are stored: without a checksum of somebody else's, with a UNIQ_KEY. Where that changes them they go behind what is in 'to'. */
static struct slice settle_props(struct eng *g, struct slice in, const struct prop_notes *n, struct buf *to)
{
	if (n->has_uniq && !n->has_crc)
		return in;
	size_t from = to->n;
	struct slice name, value;
	char uniq[33];
	while (props_next(&in, &name, &value))
		if (!slice_eq(name, SLICE_LIT("__CRC32#")) && (n->has_uniq || !slice_eq(name, SLICE_LIT("UNIQ_KEY"))))
			props_put(to, name, value);
	if (!n->has_uniq) {
		make_uniq(g, uniq);
		props_put(to, SLICE_LIT("UNIQ_KEY"), slice_of(uniq, 32));
	}
	return slice_of(to->p + from, to->n - from);
}

/* The queue of an order key: the one that Java's clients choose by the key's hash. */
static int32_t order_queue(const struct topic *t, struct slice key)
{
	int64_t h = java_hash(key);

	return t->conf.write_queues == 0 ? 0 : (int32_t)((h < 0 ? -h : h) % t->conf.write_queues);
}

int32_t send_pick_queue(struct eng *g, struct topic *t)
{
	(void)g;
	CHECK_OBJ(t, TOPIC_MAGIC);
	return t->conf.write_queues == 0 ? 0 : (int32_t)(t->rotor++ % t->conf.write_queues);
}

/* A send to %RETRY%group by a client that gave up sending back: it may have had its attempts. */
static struct slice retry_destination(struct eng *g, const struct msg *m, struct buf *name, bool *ret_dead)
{
	struct slice group = slice_skip(m->topic, sizeof RETRY_PREFIX - 1);
	struct group *gr = group_find(g, group);
	uint32_t max = m->max_reconsume >= 0 ? (uint32_t)m->max_reconsume : gr != NULL ? group_conf_of(gr)->retry_max : 16;
	*ret_dead = m->reconsume_times >= 0 && (uint32_t)m->reconsume_times >= max;
	if (!*ret_dead)
		return m->topic;
	buf_str(name, DLQ_PREFIX);
	buf_slice(name, group);
	return buf_view(name);
}

static enum status need_topic(struct eng *g, struct slice name, struct slice template_name, int32_t queues, bool dead, struct topic **ret)
{
	struct topic *t = topic_find(g, name), *from;
	*ret = t;
	if (t != NULL)
		return ST_OK;
	enum status st = topic_check_name(name, NAME_MAX_TOPIC);
	if (dead) {
		struct topic_conf c = {.read_queues = 1, .write_queues = 1, .perm = PERM_READ | PERM_WRITE};
		return topic_put(g, name, &c, NULL, ret);
	}
	if (slice_starts(name, SLICE_LIT(RETRY_PREFIX)) || slice_starts(name, SLICE_LIT(DLQ_PREFIX)))
		return ST_NO_TOPIC;
	if (st != ST_OK)
		return st;
	if (!g->conf.auto_create_topic || template_name.n == 0 || (from = topic_find(g, template_name)) == NULL || (from->conf.perm & PERM_INHERIT) == 0)
		return ST_NO_TOPIC;
	uint32_t n = (uint32_t)u64_max(1, u64_min(queues > 0 ? (uint32_t)queues : 1, from->conf.write_queues));
	struct topic_conf c = {.read_queues = n, .write_queues = n, .perm = from->conf.perm & ~(uint32_t)PERM_INHERIT};
	return topic_put(g, name, &c, NULL, ret);
}

static enum status check_place(struct eng *g, const struct msg *m, struct topic *t, int32_t *queue)
{
	(void)g;
	if (!t->sendable || (t->conf.perm & PERM_WRITE) == 0)
		return ST_DENIED;
	if (*queue >= 0 && (uint32_t)*queue >= t->conf.read_queues && (uint32_t)*queue >= t->conf.write_queues)
		return ST_NO_QUEUE;
	if ((m->sys_flag & SYS_TXN_MASK) != 0)
		return ST_DENIED;
	return ST_OK;
}

static void fill_record(struct append *a, const struct msg *m, struct slice body, struct slice props)
{
	a->r.flag = m->flag;
	a->r.sys_flag = m->sys_flag & ~(SYS_BORN_V6 | SYS_STORE_V6 | SYS_INNER_BATCH);
	a->r.born_ms = m->born_ms;
	a->r.born_ip = m->born_ip;
	a->r.born_port = m->born_port;
	a->r.reconsume_times = m->reconsume_times;
	a->r.body = body;
	a->r.props = props;
	a->r.topic = topic_name(a->topic);
	a->r.queue = a->queue->id;
}

/* The request ends with this record, or earlier when its sender does not want to wait for the disk. */
static void arrange_answer(struct eng *g, struct engine_send *r, bool no_wait)
{
	r->durable = g->conf.flush == FLUSH_SYNC && !no_wait;
	if (no_wait && g->conf.flush == FLUSH_SYNC)
		eng_complete_at(g, &r->ask, g->clog.tail, true);
	else
		append_last(g)->ask = &r->ask;
}

static enum status send_one(struct eng *g, struct engine_send *r, const struct msg *m, struct topic *t, bool dead)
{
	struct prop_notes n;
	int32_t queue = dead ? 0 : m->queue;
	enum status st = check_place(g, m, t, &queue);
	note_props(m->props, &n);
	if (st == ST_OK && n.half)
		st = ST_DENIED;
	if (st == ST_OK && n.timer && n.delay == 0)
		st = ST_UNSUPPORTED;
	if (st == ST_OK && m->body.n > g->conf.max_message)
		st = ST_TOO_BIG;
	struct append a = {.kind = APPEND_USER, .topic = t};
	if (st == ST_OK) {
		if (queue < 0)
			queue = n.order_key.n > 0 ? order_queue(t, n.order_key) : send_pick_queue(g, t);
		a.queue = topic_queue(g, t, queue);
		buf_reset(&g->props);
		struct slice p = settle_props(g, m->props, &n, &g->props);
		if (p.n + RECORD_CRC_SIZE + 1 > RECORD_PROPS_MAX)
			st = ST_ILLEGAL;
		fill_record(&a, m, m->body, p);
		r->queue = a.queue->id;
	}
	if (st == ST_OK && n.delay > 0 && !dead)
		st = delay_park(g, &a, n.delay);
	if (st == ST_OK)
		st = append_record(g, &a);
	if (st != ST_OK)
		return st;
	r->position = a.r.position;
	r->offset = a.r.queue_offset;
	r->store_ms = a.r.store_ms;
	r->count = 1;
	arrange_answer(g, r, n.no_wait);
	return ST_OK;
}

struct batch_item {
	int32_t flag;
	struct slice body;
	struct slice props;     /* p == NULL: at 'at' of the batch's buffer */
	size_t at;
	bool in_buf;
};

static enum status batch_read(struct eng *g, const struct msg *m, struct batch_item **ret, uint32_t *ret_n, struct buf *props)
{
	struct slice rest = m->body, p;
	struct batch_item *v = NULL;
	uint32_t n = 0, cap = 0;
	struct prop_notes notes;
	enum status st;
	for (;;) {
		struct batch_item it = {0};
		st = batch_next(&rest, &it.flag, &it.body, &p);
		if (st != ST_OK)
			break;
		note_props(p, &notes);
		st = notes.delay > 0 || notes.half || n == BATCH_MAX ? ST_ILLEGAL : notes.timer ? ST_UNSUPPORTED :
			it.body.n > g->conf.max_message ? ST_TOO_BIG : ST_OK;
		if (st != ST_OK)
			break;
		it.in_buf = !notes.has_uniq || notes.has_crc;
		it.at = props->n;
		it.props = settle_props(g, p, &notes, props);
		if (it.props.n + RECORD_CRC_SIZE + 1 > RECORD_PROPS_MAX) {
			st = ST_ILLEGAL;
			break;
		}
		if (n == cap)
			v = mem_grow(v, (cap = cap == 0 ? 64 : cap * 2) * sizeof *v);
		v[n++] = it;
	}
	*ret = v;
	*ret_n = n;
	return st == ST_NOT_FOUND ? n > 0 ? ST_OK : ST_ILLEGAL : st == ST_PROTO ? ST_ILLEGAL : st;
}

static enum status send_batch(struct eng *g, struct engine_send *r, const struct msg *m, struct topic *t)
{
	struct buf props = {0};
	struct batch_item *v = NULL;
	uint32_t n = 0;
	uint64_t total = 0;
	int32_t queue = m->queue;
	struct prop_notes notes;
	struct append a = {.kind = APPEND_USER, .topic = t};
	enum status st = check_place(g, m, t, &queue);
	note_props(m->props, &notes);
	if (st == ST_OK && (notes.delay > 0 || notes.half || slice_starts(m->topic, SLICE_LIT(RETRY_PREFIX))))
		st = ST_ILLEGAL;
	if (st == ST_OK)
		st = batch_read(g, m, &v, &n, &props);
	if (st == ST_OK)
		a.queue = topic_queue(g, t, queue >= 0 ? queue : send_pick_queue(g, t));
	for (uint32_t i = 0; i < n && st == ST_OK; i++) {
		if (v[i].in_buf)
			v[i].props.p = props.p + v[i].at;
		fill_record(&a, m, v[i].body, v[i].props);
		total += record_size(&a.r);
	}
	if (st == ST_OK && total > g->conf.max_message + (uint64_t)RECORD_PROPS_MAX)
		st = ST_TOO_BIG; /* a batch is one piece of the log */
	if (st == ST_OK)
		st = append_room(g, APPEND_USER, (uint32_t)total);
	if (st == ST_OK) {
		r->positions = mem_array(n, sizeof *r->positions);
		for (uint32_t i = 0; i < n; i++) {
			fill_record(&a, m, v[i].body, v[i].props);
			a.r.flag = v[i].flag;
			CHECK(append_record(g, &a) == ST_OK);
			r->positions[i] = a.r.position;
			if (i == 0)
				r->offset = a.r.queue_offset;
		}
		r->queue = a.queue->id;
		r->position = r->positions[0];
		r->store_ms = a.r.store_ms;
		r->count = n;
		arrange_answer(g, r, notes.no_wait);
	}
	mem_free(v);
	buf_fini(&props);
	return st;
}

/* Tries to store a send. OK: it is in the log and will be answered. */
static enum status try_send(struct eng *g, struct engine_send *r, const struct msg *m, struct slice default_topic)
{
	struct buf name = {0};
	struct slice topic = m->topic;
	struct topic *t;
	bool dead = false;
	if (g->clog.poisoned)
		return ST_IO;
	if (g->clog.full || g->space_low)
		return ST_DISK_FULL;
	if (slice_starts(topic, SLICE_LIT(RETRY_PREFIX)))
		topic = retry_destination(g, m, &name, &dead);
	enum status st = need_topic(g, topic, default_topic, r->default_queues, dead, &t);
	if (st == ST_OK)
		st = r->batch ? send_batch(g, r, m, t) : send_one(g, r, m, t, dead);
	if (st == ST_OK && dead)
		eng_count(g, STAT_DEAD_LETTERS_TOTAL, 1);
	buf_fini(&name);
	return st;
}

static void refuse(struct eng *g, struct engine_send *r, enum status st)
{
	eng_count(g, STAT_SENDS_REFUSED_TOTAL, 1);
	if (st == ST_BUSY)
		eng_count(g, STAT_SENDS_REFUSED_BUSY_TOTAL, 1);
	if (st == ST_DISK_FULL)
		eng_count(g, STAT_SENDS_REFUSED_FULL_TOTAL, 1);
	eng_complete(g, &r->ask, st);
}

static struct slice copied(uint8_t **at, struct slice s)
{
	struct slice c = slice_of(*at, s.n);
	if (s.n > 0)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return c;
}

static bool park(struct eng *g, struct engine_send *r)
{
	size_t n = r->msg.topic.n + r->msg.body.n + r->msg.props.n + r->default_topic.n;
	if (g->parked_bytes + n + sizeof(struct parked) > g->conf.unsynced_bytes)
		return false;
	struct parked *p = mem_new(sizeof *p);
	uint8_t *at = p->copy = mem_grow(NULL, n + 1);
	p->r = r;
	p->bytes = n + sizeof *p;
	p->msg = r->msg;
	p->msg.topic = copied(&at, r->msg.topic);
	p->msg.body = copied(&at, r->msg.body);
	p->msg.props = copied(&at, r->msg.props);
	p->default_topic = slice_dup(r->default_topic);
	g->parked_bytes += p->bytes;
	list_push(&g->parked, &p->link);
	log_trace(g->log, "send", "topic=%.*s event=parked bytes=%zu", (int)p->msg.topic.n, (const char *)p->msg.topic.p, g->parked_bytes);
	return true;
}

static void unpark(struct eng *g, struct parked *p)
{
	list_remove(&p->link);
	g->parked_bytes -= p->bytes;
	mem_free(p->copy);
	mem_free(p->default_topic);
	mem_free(p);
}

void send_parked_retry(struct eng *g)
{
	while (!list_empty(&g->parked)) {
		struct parked *p = container_of(g->parked.next, struct parked, link);
		enum status st = try_send(g, p->r, &p->msg, slice_str(p->default_topic));
		if (st == ST_BUSY)
			return;
		if (st != ST_OK)
			refuse(g, p->r, st);
		unpark(g, p);
	}
}

void send_parked_fail(struct eng *g, enum status st)
{
	while (!list_empty(&g->parked)) {
		struct parked *p = container_of(g->parked.next, struct parked, link);
		refuse(g, p->r, st);
		unpark(g, p);
	}
}

void send_parked_forget(struct eng *g)
{
	while (!list_empty(&g->parked))
		unpark(g, container_of(g->parked.next, struct parked, link));
}

void send_submit(struct eng *g, struct engine_ask *ask)
{
	struct engine_send *r = container_of(ask, struct engine_send, ask);
	/* Behind parked ones it has to wait too: the order of one sender holds. */
	enum status st = list_empty(&g->parked) ? try_send(g, r, &r->msg, r->default_topic) : ST_BUSY;
	if (st == ST_BUSY && park(g, r))
		return;
	if (st != ST_OK)
		refuse(g, r, st);
}
