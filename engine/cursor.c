/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A cursor: what the engine knows of one queue that it hands out message by message.
 *
 *      settled        some settled, some items        not looked at
 *   ------------|----------------------------------|------------------>
 *             prefix                              next
 *
 * An offset in [prefix, next) is settled (a bit), or an item: leased, waiting, ready, held back or about to be copied. The prefix is the
 * committed offset. Items below it exist only after the queue was handed to a native member: debts, which end as copies. So an item
 * is unsettled wherever it stands, and only the items and bits are more than the committed offset tells.
 *
 * Saved form (in STATE_LEASES_FROM, behind the offset): u8 form, u32 n and n bytes or n pairs: form 0: n times (u16 gap, u16 length) of runs
 * of settled offsets, the first gap from the prefix on, the others from the end of the run before; form 1: a bitmap of n bytes, lowest
 * bit first, from the last multiple of 8 at or before the prefix on. Then u32 n, n times (u64 offset, u32 attempts, u64 wall time of its next delivery, u8 1: to be dead-lettered).
 * Items that are merely leased for the first time are not saved: after a crash they are delivered again.
 */
#include "base/be.h"
#include "base/mem.h"
#include "engine/groups.h"

enum { FORM_RUNS = 0, FORM_BITS = 1 };

static bool bit_get(const struct cursor *c, uint64_t offset)
{
	uint32_t i = (uint32_t)(offset % LEASE_WINDOW);

	return c->bits != NULL && (c->bits[i / 8] >> (i % 8) & 1) != 0;
}

static void bit_set(struct cursor *c, uint64_t offset)
{
	uint32_t i = (uint32_t)(offset % LEASE_WINDOW);

	CHECK(offset > c->prefix && offset - c->prefix < LEASE_WINDOW);
	if (c->bits == NULL)
		c->bits = mem_new(LEASE_WINDOW / 8);
	if (bit_get(c, offset))
		return;
	c->bits[i / 8] |= (uint8_t)(1u << (i % 8));
	c->n_ahead++;
	c->top = u64_max(c->top, offset + 1);
}

static void bit_clear(struct cursor *c, uint64_t offset)
{
	uint32_t i = (uint32_t)(offset % LEASE_WINDOW);

	if (!bit_get(c, offset))
		return;
	c->bits[i / 8] &= (uint8_t)~(1u << (i % 8));
	c->n_ahead--;
}

static void bits_drop(struct cursor *c)
{
	mem_free(c->bits);
	c->bits = NULL;
	c->n_ahead = 0;
	c->top = 0;
}

/* The prefix moves over what is settled behind it. */
static void advance(struct cursor *c)
{
	while (c->n_ahead > 0 && bit_get(c, c->prefix)) {
		bit_clear(c, c->prefix);
		c->prefix++;
	}
	if (c->n_ahead == 0 && c->bits != NULL)
		bits_drop(c);
	if (c->next < c->prefix)
		c->next = c->prefix;
}

/* ---- Life ------------------------------------------------------------------------------------------------------------------------------ */

static void arrived(struct eng *g, struct queue_waiter *w, const struct qentry *e)
{
	(void)g;
	(void)e;
	cursor_wake(container_of(w, struct cursor, waiter));
}

static void block_ready(struct clog_wait *w)
{
	cursor_wake(container_of(w, struct cursor, wait));
}

static void try_again(struct eng *g, struct eng_timer *t)
{
	(void)g;
	cursor_wake(container_of(t, struct cursor, again));
}

struct cursor *cursor_new(struct groups_state *gs, struct topic *t, int32_t queue, struct goff *off, struct feed *own)
{
	struct cursor *c = mem_new(sizeof *c);

	CHECK((off == NULL) != (own == NULL));
	c->magic = CURSOR_MAGIC;
	c->gs = gs;
	c->topic = t;
	c->queue = queue;
	c->off = off;
	c->own = own;
	c->retry = off != NULL && off->gt->retry;
	list_init(&c->all);
	list_init(&c->held);
	list_init(&c->unrouted);
	list_init(&c->run);
	list_init(&c->waiter.link);
	list_init(&c->wait.link);
	list_init(&c->grave);
	c->waiter.arrived = arrived;
	c->wait.ready = block_ready;
	c->again.fire = try_again;
	return c;
}

struct cursor *cursor_of(struct groups_state *gs, struct goff *off)
{
	if (off->cursor == NULL) {
		off->cursor = cursor_new(gs, off->gt->topic, off->queue, off, NULL);
		off->cursor->prefix = off->cursor->next = off->set ? off->value : 0;
		off->gt->n_cursors++;
	}
	return off->cursor;
}

static void drop_items(struct cursor *c)
{
	LIST_EACH_SAFE(&c->all, n, t)
		item_free(container_of(n, struct item, all));
}

void cursor_bury(struct cursor *c)
{
	CHECK_OBJ(c, CURSOR_MAGIC);
	if (c->buried)
		return;
	drop_items(c);
	cursor_activate(c, false);
	list_remove(&c->run);
	list_remove(&c->wait.link);
	c->buried = true;
	if (c->off != NULL) {
		c->off->gt->n_cursors--;
		c->off->cursor = NULL;
		c->off = NULL;
	}
	c->own = NULL;
	c->topic = NULL;
	list_push(&c->gs->dead_cursors, &c->grave);
	pump_soon(c->gs);
}

void cursor_free(struct cursor *c)
{
	CHECK_OBJ(c, CURSOR_MAGIC);
	LIST_EACH_SAFE(&c->all, n, t) {
		struct item *it = container_of(n, struct item, all);
		heap_drop(&c->gs->eng->timers, &it->timer.node);
		mem_free(it);
	}
	heap_drop(&c->gs->eng->timers, &c->again.node);
	u64map_fini(&c->items);
	mem_free(c->bits);
	c->magic = 0;
	mem_free(c);
}

void cursor_activate(struct cursor *c, bool active)
{
	CHECK_OBJ(c, CURSOR_MAGIC);
	if (c->active == active)
		return;
	c->active = active;
	if (active) {
		struct queue *q = topic_queue(c->gs->eng, c->topic, c->queue);
		CHECK(q != NULL && !c->buried);
		c->handed = false;
		c->cache_n = 0;
		list_push(&q->waiters, &c->waiter.link);
		cursor_wake(c);
	} else {
		list_remove(&c->waiter.link);
		list_remove(&c->run);
		eng_timer_stop(c->gs->eng, &c->again);
	}
}

struct feed *cursor_feed(const struct cursor *c)
{
	return c->off == NULL ? c->own : c->retry ? NULL : c->off->gt->feed;
}

void cursor_wake(struct cursor *c)
{
	CHECK_OBJ(c, CURSOR_MAGIC);
	if (c->buried || (!c->active && list_empty(&c->unrouted)))
		return;
	if (c->retry) {
		if (!list_linked(&c->run))
			list_push(&c->gs->routes, &c->run);
		pump_soon(c->gs);
		return;
	}
	struct feed *f = cursor_feed(c);
	if (f == NULL || f->dead)
		return;
	if (!list_linked(&c->run))
		list_push(&f->run, &c->run);
	feed_wake(f);
}

/* ---- Settling --------------------------------------------------------------------------------------------------------------------------- */

void cursor_changed(struct cursor *c)
{
	if (c->off == NULL)
		return;
	c->off->value = c->prefix;
	goff_dirty(c->gs, c->off);
}

bool cursor_known(const struct cursor *c, uint64_t offset)
{
	return offset < c->prefix || bit_get(c, offset) || u64map_get(&c->items, offset) != NULL;
}

bool cursor_full(const struct cursor *c)
{
	bool orderly = c->off != NULL && c->off->gt->group->conf.orderly && c->n_items > 0;

	return orderly || c->next - c->prefix >= LEASE_WINDOW || c->n_items >= LEASE_ITEMS_MAX;
}

void cursor_settle(struct cursor *c, uint64_t offset)
{
	CHECK_OBJ(c, CURSOR_MAGIC);
	bool full = cursor_full(c);

	if (offset == c->prefix) {
		c->prefix++;
		advance(c);
	} else if (offset > c->prefix) {
		bit_set(c, offset);
	}
	cursor_changed(c);
	if (full)
		cursor_wake(c);
}

void cursor_raise(struct cursor *c, uint64_t to)
{
	CHECK_OBJ(c, CURSOR_MAGIC);
	if (to <= c->prefix)
		return;
	if (to - c->prefix >= LEASE_WINDOW)
		bits_drop(c);
	for (uint64_t at = c->prefix; c->n_ahead > 0 && at < to; at++)
		bit_clear(c, at);
	c->prefix = to;
	advance(c);
	cursor_changed(c);
	cursor_wake(c);
}

void cursor_reset(struct cursor *c, uint64_t to)
{
	CHECK_OBJ(c, CURSOR_MAGIC);
	drop_items(c);
	bits_drop(c);
	c->prefix = c->next = to;
	c->cache_n = 0;
	cursor_wake(c);
}

void cursor_lower(struct cursor *c, uint64_t to)
{
	CHECK_OBJ(c, CURSOR_MAGIC);
	LIST_EACH_SAFE(&c->all, n, t) {
		struct item *it = container_of(n, struct item, all);
		if (it->offset >= to)
			item_free(it);
	}
	bits_drop(c);
	c->prefix = c->next = to;
	c->cache_n = 0;
	cursor_wake(c);
}

uint64_t cursor_lowest(const struct cursor *c)
{
	uint64_t lowest = UINT64_MAX;

	LIST_EACH(&c->all, n)
		lowest = u64_min(lowest, container_of(n, struct item, all)->offset);
	return lowest;
}

/* ---- Items -------------------------------------------------------------------------------------------------------------------------------- */

struct item *item_new(struct cursor *c, uint64_t offset)
{
	struct item *it = mem_new(sizeof *it);

	CHECK(u64map_get(&c->items, offset) == NULL);
	it->magic = ITEM_MAGIC;
	it->cursor = c;
	it->offset = offset;
	it->timer.fire = lease_fire;
	list_init(&it->link);
	list_push(&c->all, &it->all);
	u64map_put(&c->items, offset, it);
	c->n_items++;
	return it;
}

void item_unlink(struct item *it)
{
	struct eng *g = it->cursor->gs->eng;

	CHECK_OBJ(it, ITEM_MAGIC);
	if (it->state == ITEM_LEASED) {
		g->stats[STAT_LEASES]--;
		if (it->sub == NULL && it->feed != NULL && !it->feed->dead) {
			it->feed->n_detached--;
			feed_rest(it->feed);
		}
	}
	it->state = ITEM_NEW;
	it->sub = NULL;
	list_remove(&it->link);
	eng_timer_stop(g, &it->timer);
}

void item_free(struct item *it)
{
	struct cursor *c = it->cursor;

	item_unlink(it);
	list_remove(&it->all);
	CHECK(u64map_drop(&c->items, it->offset) == it);
	c->n_items--;
	it->magic = 0;
	mem_free(it);
}

void item_settled(struct item *it)
{
	struct cursor *c = it->cursor;
	uint64_t offset = it->offset;
	bool full = cursor_full(c);

	item_free(it);
	cursor_settle(c, offset);
	if (full)
		cursor_wake(c);
}

void item_ready(struct item *it)
{
	struct cursor *c = it->cursor;

	if (c->handed) { /* not ours any more */
		it->due_ms = c->gs->eng->now_ms;
		item_copy(it, false);
		return;
	}
	item_unlink(it);
	if (!c->retry)
		it->feed = cursor_feed(c);
	if (it->feed != NULL && it->feed->dead)
		it->feed = NULL;
	if (it->feed != NULL) {
		it->state = ITEM_READY;
		list_push(&it->feed->ready, &it->link);
		feed_wake(it->feed);
	} else if (c->retry) {
		it->state = ITEM_UNROUTED;
		list_push(&c->unrouted, &it->link);
		cursor_wake(c);
	} else {
		it->state = ITEM_HELD;
		list_push(&c->held, &it->link);
	}
}

void item_wait(struct item *it, uint64_t ms)
{
	struct eng *g = it->cursor->gs->eng;

	it->due_ms = g->now_ms + (int64_t)ms;
	if (ms == 0) {
		item_ready(it);
		return;
	}
	item_unlink(it);
	it->state = ITEM_WAITING;
	eng_timer_set(g, &it->timer, g->now_ns + ms * MS_NS);
}

void item_placed(struct item *it, const struct qentry *e)
{
	it->position = e->position;
	it->size = e->size;
	it->tag = (uint32_t)e->tag;
}

enum status item_place(struct item *it)
{
	struct cursor *c = it->cursor;
	struct eng *g = c->gs->eng;
	struct qentry e;
	enum status st = ST_OK;

	if (it->size > 0)
		return ST_OK;
	struct queue *q = topic_queue(g, c->topic, c->queue);
	if (q == NULL || it->offset < queue_min(g, q) || it->offset >= q->index.next)
		return ST_NOT_FOUND;
	if (eng_index_read(g, q, it->offset, &e, 1, &st) != 1)
		return st == ST_OK ? ST_NOT_FOUND : st == ST_BUSY ? ST_IO : st; /* nobody is called when the index is mended: by the clock */
	item_placed(it, &e);
	return ST_OK;
}

enum status item_fetch(struct item *it, struct blob **ret, struct slice *ret_bytes, struct clog_wait *w)
{
	enum status st = item_place(it);

	return st != ST_OK ? st : eng_record_blob(it->cursor->gs->eng, it->position, it->size, ret, ret_bytes, w);
}

/* ---- Saved form --------------------------------------------------------------------------------------------------------------------------- */

static bool item_extra(const struct item *it)
{
	return it->attempts > 0 || it->dead || it->state == ITEM_WAITING || it->state == ITEM_COPY || it->offset < it->cursor->prefix;
}

bool cursor_extra(const struct cursor *c)
{
	if (c->n_ahead > 0)
		return true;
	LIST_EACH(&c->all, n)
		if (item_extra(container_of(n, struct item, all)))
			return true;
	return false;
}

/* The first offset from 'at' on that is settled (or is not); c->top when there is none before it. */
static uint64_t find_bit(const struct cursor *c, uint64_t at, bool settled)
{
	while (at < c->top) {
		uint8_t b = c->bits[at % LEASE_WINDOW / 8];
		if (at % 8 == 0 && b == (settled ? 0 : 0xFF)) {
			at += 8;
			continue;
		}
		if ((b >> (at % 8) & 1) == settled)
			return at;
		at++;
	}
	return c->top;
}

/* The next run of settled offsets from *at on; its length, 0 when there is none. */
static uint64_t next_run(const struct cursor *c, uint64_t *at)
{
	*at = find_bit(c, *at, true);
	return find_bit(c, *at, false) - *at;
}

static uint32_t count_runs(const struct cursor *c)
{
	uint32_t runs = 0;
	uint64_t n;

	for (uint64_t at = c->prefix; c->n_ahead > 0 && (n = next_run(c, &at)) > 0; at += n)
		runs++;
	return runs;
}

/* Eight bits from a multiple of 8 on, none of them outside [prefix, top): the ring's first and last byte may share a place. */
static uint8_t byte_at(const struct cursor *c, uint64_t at)
{
	uint8_t b = at >= c->top ? 0 : c->bits[at % LEASE_WINDOW / 8];

	if (at < c->prefix)
		b &= (uint8_t)(0xFFu << (c->prefix - at));
	if (c->top - at < 8)
		b &= (uint8_t)((1u << (c->top - at)) - 1);
	return b;
}

static void save_bits(const struct cursor *c, struct buf *to)
{
	uint64_t base = c->prefix - c->prefix % 8, end = c->prefix, n;
	uint32_t runs = count_runs(c), bytes = c->n_ahead == 0 ? 0 : (uint32_t)((c->top - base + 7) / 8);

	if (runs * 4 <= bytes || runs == 0) {
		buf_u8(to, FORM_RUNS);
		buf_be32(to, runs);
		for (uint64_t at = c->prefix; runs > 0 && (n = next_run(c, &at)) > 0; at += n) {
			buf_be16(to, (uint16_t)(at - end));
			buf_be16(to, (uint16_t)n);
			end = at + n;
		}
		return;
	}
	buf_u8(to, FORM_BITS);
	buf_be32(to, bytes);
	for (uint32_t i = 0; i < bytes; i++)
		buf_u8(to, byte_at(c, base + (uint64_t)i * 8));
}

void cursor_save(const struct cursor *c, struct buf *to)
{
	uint32_t n = 0;
	size_t count_at;

	CHECK_OBJ(c, CURSOR_MAGIC);
	save_bits(c, to);
	count_at = to->n;
	buf_be32(to, 0);
	LIST_EACH(&c->all, l) {
		const struct item *it = container_of(l, struct item, all);
		if (!item_extra(it))
			continue;
		buf_be64(to, it->offset);
		buf_be32(to, it->attempts);
		buf_be64(to, it->state == ITEM_WAITING ? (uint64_t)it->due_ms : 0);
		buf_u8(to, it->dead);
		n++;
	}
	be32_put(to->p + count_at, n);
}

static enum status load_bits(struct cursor *c, struct slice *rest)
{
	uint8_t form;
	uint32_t n;
	uint64_t at = c->prefix, base = c->prefix - c->prefix % 8;

	if (!state_get_u8(rest, &form) || !state_get_u32(rest, &n) || form > FORM_BITS || n > LEASE_WINDOW)
		return ST_CORRUPT;
	if (rest->n < (form == FORM_RUNS ? 4 : 1) * (size_t)n)
		return ST_CORRUPT;
	for (uint32_t i = 0; i < n && form == FORM_BITS; i++)
		for (unsigned k = 0; k < 8; k++) {
			uint64_t offset = base + i * 8 + k;
			if ((rest->p[i] >> k & 1) == 0)
				continue;
			if (offset <= c->prefix || offset - c->prefix >= LEASE_WINDOW)
				return ST_CORRUPT;
			bit_set(c, offset);
		}
	for (uint32_t i = 0; i < n && form == FORM_RUNS; i++) {
		uint16_t len = be16_get(rest->p + i * 4 + 2);
		at += be16_get(rest->p + i * 4);
		if (at == c->prefix || len == 0 || at + len - c->prefix > LEASE_WINDOW)
			return ST_CORRUPT;
		for (; len > 0; len--)
			bit_set(c, at++);
	}
	*rest = slice_skip(*rest, (form == FORM_RUNS ? 4 : 1) * (size_t)n);
	return ST_OK;
}

enum status cursor_load(struct cursor *c, uint64_t prefix, struct slice *rest)
{
	uint32_t n, attempts;
	uint64_t offset, due;
	uint8_t dead;

	CHECK_OBJ(c, CURSOR_MAGIC);
	drop_items(c);
	bits_drop(c);
	c->prefix = c->next = prefix;
	enum status st = load_bits(c, rest);
	if (st != ST_OK)
		return st;
	if (!state_get_u32(rest, &n) || n > LEASE_ITEMS_MAX)
		return ST_CORRUPT;
	for (uint32_t i = 0; i < n; i++) {
		if (!state_get_u64(rest, &offset) || !state_get_u32(rest, &attempts) || !state_get_u64(rest, &due) || !state_get_u8(rest, &dead))
			return ST_CORRUPT;
		if (offset >= OFFSET_LIMIT || due > INT64_MAX || u64map_get(&c->items, offset) != NULL)
			return ST_CORRUPT;
		/* Below the prefix it is a debt: the bits say nothing of it, the ring has another offset in its place. */
		if (offset >= c->prefix && (offset - c->prefix >= LEASE_WINDOW || bit_get(c, offset)))
			return ST_CORRUPT;
		struct item *it = item_new(c, offset);
		it->attempts = attempts;
		it->due_ms = (int64_t)due;
		it->dead = dead != 0;
		it->state = ITEM_HELD;
		list_push(&c->held, &it->link);
	}
	return ST_OK;
}
