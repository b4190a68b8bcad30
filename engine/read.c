/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Reading by position: pulls, and the bounds of queues.
 *
 * A pull that is submitted goes to the ready list and is tried in the turn. It is answered from there, straight out of the block cache: the
 * pieces that done() gets point into blocks. At the end of its queue it waits, linked into the queue, for an entry that its filter lets
 * through, or for its time; while a block is being read by a worker it waits for that.
 */
#include "base/mem.h"
#include "engine/eng.h"

#define PULL_MSGS_MAX 4096u   /* messages in one answer, whatever was asked for */
#define PULL_BYTES_MAX (8u << 20)
#define EXAMINE_MAX 8192u     /* entries looked at for one answer: a filter that lets nothing through ends with NO_MATCH */
#define PIECES_MAX 1024u      /* runs of bytes in one answer */
#define TURN_BYTES (16u << 20) /* record bytes handed out in one turn: the rest waits until what is queued has been written or refused */

struct pull {
	struct engine_pull *r;
	struct eng *g;
	struct topic *topic;
	struct queue *queue;
	struct tag_filter filter;
	struct buf codes;           /* the filter's, ours */
	struct queue_waiter waiter; /* linked: waits for a message */
	struct eng_timer timer;     /* the end of its wait */
	struct clog_wait wait;      /* linked: waits for a block */
	struct list link;           /* ready list, or all */
	uint64_t deadline;          /* mono ns; 0: does not wait */
	bool expired, cancelled;
	uint64_t from;
};

struct reader {
	struct list ready;          /* pulls to try */
	struct list waiting;        /* pulls that wait */
	struct list free;
	struct piece pieces[PIECES_MAX + RECORD_PIECES];
	uint64_t n_waiting;
};

/* ---- Records ------------------------------------------------------------------------------------------------------------------- */

enum status eng_record_pieces(struct eng *g, const struct qentry *e, struct piece *v, unsigned max, unsigned *ret_n, struct clog_wait *w)
{
	if (e->position < g->clog.min || e->position + e->size > g->clog.tail)
		return ST_NOT_FOUND;
	return clog_pieces(&g->clog, e->position, e->size, v, max, ret_n, w);
}

enum status eng_record_blob(struct eng *g, uint64_t position, uint32_t size, struct blob **ret, struct slice *ret_bytes, struct clog_wait *w)
{
	struct piece v[RECORD_PIECES];
	struct qentry e = {position, size, 0};
	struct record r;
	unsigned n;
	enum status st = eng_record_pieces(g, &e, v, RECORD_PIECES, &n, w);
	if (st != ST_OK)
		return st;
	struct blob *b;
	struct slice bytes = v[0].bytes;
	if (n == 1) {
		b = blob_hold(v[0].blob);
	} else {
		b = blob_new(size);
		size_t at = 0;
		for (unsigned i = 0; i < n; at += v[i++].bytes.n)
			memcpy(b->p + at, v[i].bytes.p, v[i].bytes.n);
		bytes = slice_of(b->p, size);
	}
	if (record_check(bytes, position, position < g->crc_from, &r) != ST_OK) {
		eng_count(g, STAT_DAMAGED_RECORDS_TOTAL, 1);
		log_error(g->log, "read", "position=%llu size=%u event=damaged", (unsigned long long)position, size);
		blob_drop(b);
		return ST_CORRUPT;
	}
	*ret = b;
	*ret_bytes = bytes;
	return ST_OK;
}

enum status record_at(struct eng *g, uint64_t position, uint32_t *ret_size)
{
	uint8_t head[8];
	size_t got = 0;
	if (position < g->clog.min || position + RECORD_SIZE_MIN > clog_visible(&g->clog))
		return ST_NOT_FOUND;
	enum status st = clog_read_now(&g->clog, position, head, sizeof head, &got);
	if (st != ST_OK)
		return st;
	if (got < sizeof head || record_peek(head, ret_size) != RECORD_MESSAGE || position + *ret_size > clog_visible(&g->clog))
		return ST_NOT_FOUND;
	struct segment *s = clog_segment(&g->clog, position);
	return position + *ret_size > segment_end(&g->clog, s) ? ST_NOT_FOUND : ST_OK;
}

/* ---- Pulls ---------------------------------------------------------------------------------------------------------------------------- */

static void pull_unlink(struct pull *p)
{
	struct eng *g = p->g;
	list_remove(&p->waiter.link);
	list_remove(&p->wait.link);
	list_remove(&p->link);
	if (heap_has(&p->timer.node)) {
		eng_timer_stop(g, &p->timer);
		g->stats[STAT_PULLS_WAITING]--;
	}
}

static void pull_ready(struct pull *p)
{
	if (p->queue != NULL)
		list_remove(&p->waiter.link);
	list_remove(&p->wait.link);
	list_remove(&p->link);
	list_push(&p->g->reader->ready, &p->link);
}

static void pull_arrived(struct eng *g, struct queue_waiter *w, const struct qentry *e)
{
	struct pull *p = container_of(w, struct pull, waiter);
	(void)g;
	if (tag_filter_match(&p->filter, e->tag))
		pull_ready(p);
}

static void pull_expired(struct eng *g, struct eng_timer *t)
{
	struct pull *p = container_of(t, struct pull, timer);
	g->stats[STAT_PULLS_WAITING]--;
	p->expired = true;
	pull_ready(p);
}

static void pull_loaded(struct clog_wait *w)
{
	pull_ready(container_of(w, struct pull, wait));
}

static void pull_answer(struct pull *p, enum status st, unsigned n_pieces)
{
	struct eng *g = p->g;
	struct engine_pull *r = p->r;
	log_trace(g->log, "pull", "topic=%s queue=%d from=%llu count=%u next=%llu status=%s", p->topic->name, p->queue->id, (unsigned long long)p->from,
		r->count, (unsigned long long)r->next, status_name(st));
	pull_unlink(p);
	r->pieces = g->reader->pieces;
	r->n_pieces = n_pieces;
	eng_count(g, STAT_PULLS_TOTAL, 1);
	eng_count(g, STAT_MESSAGES_OUT_TOTAL, r->count);
	eng_count(g, STAT_BYTES_OUT_TOTAL, r->bytes);
	topic_drop_ref(g, p->topic);
	buf_reset(&p->codes);
	list_push(&g->reader->free, &p->link);
	p->r = NULL;
	r->ask.priv[0] = NULL;
	if (r->ask.done != NULL)
		r->ask.done(&r->ask, st);
}

/* Adds a record's pieces, joining those that stand side by side in one block. */
static unsigned join_pieces(struct piece *v, unsigned n, unsigned more)
{
	for (unsigned i = 0; i < more; i++) {
		struct piece *new = &v[n + i], *last = n > 0 ? &v[n - 1] : NULL;
		if (last != NULL && i == 0 && last->blob == new->blob && last->bytes.p + last->bytes.n == new->bytes.p) {
			last->bytes.n += new->bytes.n;
			memmove(new, new + 1, (more - 1) * sizeof *new);
			return n + more - 1;
		}
	}
	return n + more;
}

/*
 * Bytes that came from the disk are checked before anybody gets them; what this process wrote itself and still has in memory is as it was made. A
 * damaged record is said, counted and left out: its reader would otherwise stand before it for ever.
 */
static bool is_sound(struct eng *g, const struct qentry *e, const struct piece *v, unsigned n)
{
	struct record r;
	struct slice bytes = v[0].bytes;
	bool cold = false;
	for (unsigned i = 0; i < n; i++)
		cold |= clog_piece_cold(&v[i]);
	if (!cold)
		return true;
	if (n > 1) {
		buf_reset(&g->scratch);
		for (unsigned i = 0; i < n; i++)
			buf_slice(&g->scratch, v[i].bytes);
		bytes = buf_view(&g->scratch);
	}
	if (record_check(bytes, e->position, e->position < g->crc_from, &r) == ST_OK)
		return true;
	eng_count(g, STAT_DAMAGED_RECORDS_TOTAL, 1);
	log_error(g->log, "read", "position=%llu size=%u event=damaged left out", (unsigned long long)e->position, e->size);
	return false;
}

/* Collects messages from p->from on. OK, NO_MATCH (next is behind what was examined), BUSY (a block is being read), EMPTY. */
static enum status pull_collect(struct pull *p, unsigned *ret_pieces)
{
	enum { STEP = 64 };
	struct eng *g = p->g;
	struct engine_pull *r = p->r;
	struct qentry e[STEP];
	struct piece *v = g->reader->pieces;
	uint32_t examined = 0, max = (uint32_t)u64_min(r->max_msgs > 0 ? r->max_msgs : 1, PULL_MSGS_MAX);
	uint32_t max_bytes = (uint32_t)u64_min(r->max_bytes, PULL_BYTES_MAX);
	unsigned pieces = 0;
	enum status st = ST_OK;
	uint64_t at = p->from;
	while (r->count < max && examined < EXAMINE_MAX && pieces < PIECES_MAX) {
		unsigned n = eng_index_read(g, p->queue, at, e, (unsigned)u64_min(STEP, max - r->count), &st);
		if (n == 0 && st == ST_CORRUPT) {
			at++; /* lost for good: mend.c has said so */
			examined++;
			st = ST_OK;
			continue;
		}
		if (n == 0)
			break;
		for (unsigned i = 0; i < n; i++, at++, examined++) {
			unsigned more;
			if (!tag_filter_match(&p->filter, e[i].tag))
				continue;
			if (r->count > 0 && r->bytes + e[i].size > max_bytes)
				goto out;
			st = eng_record_pieces(g, &e[i], v + pieces, RECORD_PIECES, &more, r->count == 0 ? &p->wait : NULL);
			if (st != ST_OK || pieces >= PIECES_MAX)
				goto out;
			if (!is_sound(g, &e[i], v + pieces, more))
				continue;
			pieces = join_pieces(v, pieces, more);
			r->count++;
			r->bytes += e[i].size;
		}
	}
out:
	r->next = at;
	*ret_pieces = pieces;
	if (r->count > 0)
		return ST_OK;
	if (st == ST_BUSY || st == ST_CORRUPT || st == ST_IO)
		return st;
	return at > p->from ? ST_NO_MATCH : ST_EMPTY;
}

/* Nothing for it yet: waits, or is answered. */
static void pull_wait(struct pull *p)
{
	struct eng *g = p->g;
	if (p->deadline == 0 || p->expired || g->closing) {
		pull_answer(p, ST_EMPTY, 0);
		return;
	}
	if (!heap_has(&p->timer.node)) {
		if (g->stats[STAT_PULLS_WAITING] >= g->conf.max_waiting) {
			pull_answer(p, ST_BUSY, 0);
			return;
		}
		eng_timer_set(g, &p->timer, p->deadline);
		g->stats[STAT_PULLS_WAITING]++;
		eng_count(g, STAT_PULLS_WAITED_TOTAL, 1);
		log_trace(g->log, "pull", "topic=%s queue=%d from=%llu event=waits", p->topic->name, p->queue->id, (unsigned long long)p->from);
	}
	list_remove(&p->link);
	list_push(&g->reader->waiting, &p->link);
	list_push(&p->queue->waiters, &p->waiter.link);
}

static void pull_try(struct pull *p)
{
	struct eng *g = p->g;
	struct engine_pull *r = p->r;
	unsigned pieces = 0;
	r->count = r->bytes = 0;
	r->next = p->from;
	if (p->cancelled || p->topic->dead || p->wait.failed) {
		pull_answer(p, p->cancelled ? ST_CLOSED : p->topic->dead ? ST_NO_TOPIC : ST_IO, 0);
		return;
	}
	if (queue_trim(g, p->queue) == ST_BUSY) { /* where the queue begins is being found out */
		pull_ready(p);
		return;
	}
	r->min = queue_min(g, p->queue);
	r->max = p->queue->index.next;
	if (p->from < r->min || p->from > r->max) {
		r->next = p->from < r->min ? r->min : r->max;
		pull_answer(p, ST_MOVED, 0);
		return;
	}
	if (p->from == r->max) {
		pull_wait(p);
		return;
	}
	enum status st = pull_collect(p, &pieces);
	if (st == ST_BUSY) {
		list_remove(&p->link);
		list_push(&g->reader->waiting, &p->link);
		if (!list_linked(&p->wait.link))
			pull_ready(p);
		return;
	}
	pull_answer(p, st, pieces);
}

/* Who may pull what, with which filter. */
static enum status pull_check(struct eng *g, struct engine_pull *r, struct pull *p)
{
	struct topic *t = topic_find(g, r->topic);
	struct group *gr;
	enum status st;
	if (r->group.n > 0 && (st = group_need(g, r->group, &gr)) != ST_OK)
		return st;
	if (r->group.n > 0 && !group_conf_of(gr)->consume)
		return ST_DENIED;
	if (t == NULL)
		return ST_NO_TOPIC;
	if ((t->conf.perm & PERM_READ) == 0)
		return ST_DENIED;
	if (r->queue < 0 || (uint32_t)r->queue >= t->conf.read_queues)
		return ST_NO_QUEUE;
	p->topic = t;
	if (r->has_expr || r->group.n == 0)
		return tag_filter_parse(r->expr, &p->codes, &p->filter);
	st = group_filter(g, r->group, t, r->sub_version, &p->filter);
	if (st == ST_OK && !p->filter.all) {
		buf_put(&p->codes, p->filter.codes, p->filter.n * sizeof *p->filter.codes);
		p->filter.codes = (const int32_t *)(const void *)p->codes.p;
	}
	return st;
}

static void pull_submit(struct eng *g, struct engine_pull *r)
{
	struct list *n = list_pop(&g->reader->free);
	struct pull *p = n != NULL ? container_of(n, struct pull, link) : mem_new(sizeof *p);
	struct buf codes = p->codes;
	*p = (struct pull){.r = r, .g = g, .codes = codes};
	buf_reset(&p->codes);
	list_init(&p->waiter.link);
	list_init(&p->wait.link);
	list_init(&p->link);
	r->ask.priv[0] = NULL;
	r->pieces = NULL;
	r->n_pieces = 0;
	r->count = r->bytes = 0;
	r->next = r->from;
	enum status st = pull_check(g, r, p);
	if (st != ST_OK) {
		list_push(&g->reader->free, &p->link);
		eng_complete(g, &r->ask, st);
		return;
	}
	if (r->group.n > 0)
		group_pulled(g, r->group, p->topic, r->queue, r->actor != NULL ? r->actor->address : (struct slice){NULL, 0}, r->commit);
	topic_hold(p->topic);
	p->queue = topic_queue(g, p->topic, r->queue);
	p->from = r->from;
	p->waiter.arrived = pull_arrived;
	p->timer.fire = pull_expired;
	p->wait.ready = pull_loaded;
	p->deadline = r->wait_ms > 0 ? g->now_ns + r->wait_ms * MS_NS : 0;
	r->ask.priv[0] = p;
	list_push(&g->reader->ready, &p->link);
}

void read_cancel(struct eng *g, struct engine_ask *a)
{
	struct pull *p = a->priv[0];
	(void)g;
	if (p == NULL)
		return; /* answered, or refused and its answer is on its way */
	CHECK(p->r == container_of(a, struct engine_pull, ask));
	p->cancelled = true;
	pull_ready(p);
}

bool read_turn(struct eng *g)
{
	struct list now, *n;
	list_init(&now);
	list_move(&now, &g->reader->ready);
	bool again = mend_turn(g);
	uint64_t enough = g->stats[STAT_BYTES_OUT_TOTAL] + TURN_BYTES;
	while (g->stats[STAT_BYTES_OUT_TOTAL] < enough && (n = list_pop(&now)) != NULL)
		pull_try(container_of(n, struct pull, link));
	while (!list_empty(&now)) {
		n = now.prev;
		list_remove(n);
		list_push_front(&g->reader->ready, n);
	}
	return again || !list_empty(&g->reader->ready);
}

void read_topic_dropped(struct eng *g, struct topic *t)
{
	LIST_EACH_SAFE(&g->reader->waiting, n, next) {
		struct pull *p = container_of(n, struct pull, link);
		if (p->topic == t)
			pull_ready(p); /* pull_try sees that it is dead; those that are ready already see it too */
	}
}

void read_close(struct eng *g)
{
	LIST_EACH_SAFE(&g->reader->waiting, n, next) {
		struct pull *p = container_of(n, struct pull, link);
		p->cancelled = true;
		pull_ready(p);
	}
}

void reader_init(struct eng *g)
{
	g->reader = mem_new(sizeof *g->reader);
	list_init(&g->reader->ready);
	list_init(&g->reader->waiting);
	list_init(&g->reader->free);
}

void reader_fini(struct eng *g)
{
	struct list *lists[] = {&g->reader->ready, &g->reader->waiting, &g->reader->free};
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct list *n;
		while ((n = list_pop(lists[i])) != NULL) {
			struct pull *p = container_of(n, struct pull, link);
			list_remove(&p->waiter.link);
			list_remove(&p->wait.link);
			buf_fini(&p->codes);
			mem_free(p);
		}
	}
	mem_free(g->reader);
	mend_fini(g);
}

/* ---- Bounds ---------------------------------------------------------------------------------------------------------------------------- */

/* Store time of an entry's record, -1 when it cannot be read; *busy when that will change. */
static int64_t entry_ms(struct eng *g, struct queue *q, uint64_t offset, bool *busy)
{
	struct qentry e;
	enum status st;
	uint8_t b[8];
	size_t got = 0;
	struct slice bytes;
	if (eng_index_read(g, q, offset, &e, 1, &st) == 0) {
		*busy |= st == ST_BUSY;
		return -1;
	}
	if (clog_read_now(&g->clog, e.position + RECORD_AT_SYS_FLAG, b, 4, &got) != ST_OK || got < 4)
		return -1;
	bytes = slice_of(b, 4);
	uint32_t sys;
	CHECK(state_get_u32(&bytes, &sys));
	uint64_t ms, at = e.position + RECORD_AT_STORE_MS + ((sys & SYS_BORN_V6) != 0 ? 12 : 0);
	if (clog_read_now(&g->clog, at, b, 8, &got) != ST_OK || got < 8)
		return -1;
	bytes = slice_of(b, 8);
	CHECK(state_get_u64(&bytes, &ms));
	return (int64_t)ms;
}

/* The first offset of [min, max) whose store time is at or after (or, with 'after', behind) 'ms'. */
static uint64_t first_at(struct eng *g, struct queue *q, uint64_t lo, uint64_t hi, int64_t ms, bool after, bool *busy)
{
	while (lo < hi && !*busy) {
		uint64_t mid = lo + (hi - lo) / 2;
		int64_t t = entry_ms(g, q, mid, busy);
		if (after ? t <= ms : t < ms)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static enum status range(struct eng *g, struct engine_range *r, bool at_time)
{
	struct topic *t = topic_find(g, r->topic);
	if (t == NULL)
		return ST_NO_TOPIC;
	if (r->queue < 0 || (uint32_t)r->queue >= t->n_queues)
		return ST_NO_QUEUE;
	struct queue *q = topic_queue_peek(t, r->queue);
	r->min = r->max = r->offset = 0;
	r->first_ms = -1;
	if (q == NULL)
		return ST_OK;
	bool busy = queue_trim(g, q) == ST_BUSY;
	r->min = queue_min(g, q);
	r->max = q->index.next;
	if (!at_time) {
		r->first_ms = r->min < r->max ? entry_ms(g, q, r->min, &busy) : -1;
		return busy ? ST_BUSY : ST_OK;
	}
	r->offset = first_at(g, q, r->min, r->max, r->time_ms, r->upper, &busy);
	if (busy)
		return ST_BUSY;
	if (r->upper && r->offset > r->min)
		r->offset--; /* the last one at or before the time */
	return ST_OK;
}

void read_submit(struct eng *g, struct engine_ask *a)
{
	if (a->verb == ENGINE_PULL)
		pull_submit(g, container_of(a, struct engine_pull, ask));
	else
		eng_complete(g, a, range(g, container_of(a, struct engine_range, ask), a->verb == ENGINE_AT_TIME));
}
