/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The log's bytes in memory: blocks of equal size, shared by reference with whoever sends them.
 *
 * A block is the tail (being filled by the encoder), full, or loaded from the file. Full and loaded ones stand in the lru list and go when
 * the cache is over its bound, but never before they are written. A block that the cache has dropped lives on while somebody holds its
 * blob, and until the next turn at least, so that pieces may be used in one turn without holding them. Bytes below the visible mark never change, so readers need no lock and no copy.
 *
 * Only so many blocks are read at once; who comes then stands in line. Else thousands of readers of old messages would each have a block of their own
 * read, far beyond the bound of the cache.
 */
#include "base/mem.h"
#include "base/obj.h"
#include "engine/clog.h"

#define BLOCK_AWAITED_NS SEC_NS /* how long a block that was read for somebody waits for him */

static void block_free(struct blob *blob)
{
	struct clog_block *b = container_of(blob, struct clog_block, blob);
	CHECK(b->log == NULL && !b->loading);
	mem_free(b->blob.p);
	mem_free(b);
}

static void block_forget(struct clog *c, struct clog_block *b)
{
	CHECK(b->log == c && !b->loading);
	u64map_drop(&c->blocks, b->start / c->conf.block_bytes + 1);
	list_remove(&b->lru);
	c->cached -= c->conf.block_bytes;
	b->log = NULL;
	list_push(&c->limbo, &b->lru);
}

void clog_blocks_release(struct clog *c)
{
	struct list *n;
	while ((n = list_pop(&c->limbo)) != NULL)
		blob_drop(&container_of(n, struct clog_block, lru)->blob);
}

static void make_room(struct clog *c)
{
	LIST_EACH_SAFE(&c->lru, n, t) {
		if (c->cached + c->conf.block_bytes <= c->conf.cache_bytes)
			return;
		struct clog_block *b = container_of(n, struct clog_block, lru);
		/* What was read for somebody who has not come for it yet stays: else readers of long records could chase each other for ever. */
		bool awaited = b->awaited_ns != 0 && c->now_ns - b->awaited_ns < BLOCK_AWAITED_NS;
		if (b->start + b->valid <= c->written && !b->loading && !awaited)
			block_forget(c, b);
	}
}

struct clog_block *clog_block_new(struct clog *c, uint64_t start)
{
	CHECK(start % c->conf.block_bytes == 0);
	make_room(c);
	struct clog_block *b = mem_new(sizeof *b);
	atomic_init(&b->blob.refs, 1);
	b->blob.free = block_free;
	b->blob.n = c->conf.block_bytes;
	b->blob.p = mem_grow(NULL, c->conf.block_bytes);
	b->log = c;
	b->start = start;
	list_init(&b->lru);
	list_init(&b->waiters);
	c->cached += c->conf.block_bytes;
	CHECK(u64map_put(&c->blocks, start / c->conf.block_bytes + 1, b) == NULL);
	return b;
}

struct clog_block *clog_block_find(struct clog *c, uint64_t position)
{
	return u64map_get(&c->blocks, position / c->conf.block_bytes + 1);
}

void clog_block_settle(struct clog *c, struct clog_block *b)
{
	list_remove(&b->lru);
	list_push(&c->lru, &b->lru);
}

void clog_blocks_drop(struct clog *c, uint64_t from, uint64_t to)
{
	for (uint64_t p = from - from % c->conf.block_bytes; p < to; p += c->conf.block_bytes) {
		struct clog_block *b = clog_block_find(c, p);
		if (b != NULL)
			block_forget(c, b);
	}
}

static void wake_waiters(struct clog_block *b)
{
	struct list *n;
	while ((n = list_pop(&b->waiters)) != NULL) {
		struct clog_wait *w = container_of(n, struct clog_wait, link);
		w->failed = b->failed;
		w->ready(w);
	}
}

static void load_done(struct disk_op *op, enum status st)
{
	struct clog_block *b = container_of(op, struct clog_block, op);
	struct clog *c = b->log;
	CHECK(c != NULL && b->loading);
	clog_segment(c, b->start)->readers--;
	c->loads--;
	b->loading = false;
	b->failed = st != ST_OK || b->got < b->valid;
	b->awaited_ns = c->now_ns;
	if (!b->failed)
		clog_block_settle(c, b);
	wake_waiters(b);
	if (b->failed) {
		log_error(c->log, "clog", "block=%llu cannot be read: %s", (unsigned long long)b->start, status_text(st));
		block_forget(c, b);
	}
}

void clog_blocks_admit(struct clog *c)
{
	struct list *n;
	for (uint64_t loads = c->loads; loads < clog_loads_max(c) && (n = list_pop(&c->line)) != NULL; loads++) {
		struct clog_wait *w = container_of(n, struct clog_wait, link);
		w->failed = false;
		w->admitted = true;
		w->ready(w);
	}
}

void clog_waits_forget(struct clog *c)
{
	size_t at = 0;
	struct u64map_slot *slot;
	while (list_pop(&c->line) != NULL)
		;
	while ((slot = u64map_each(&c->blocks, &at)) != NULL)
		while (list_pop(&((struct clog_block *)slot->value)->waiters) != NULL)
			;
}

/* Must it wait until others have had their blocks read? Bytes that are in the page cache can always be had. */
static bool lines_up(struct clog *c, uint64_t position, struct clog_wait *w)
{
	struct segment *s = clog_segment(c, position);
	bool admitted = w != NULL && w->admitted;
	uint8_t first;
	size_t got;
	if (admitted)
		w->admitted = false;
	if (admitted || s == NULL || (c->loads < clog_loads_max(c) && list_empty(&c->line)))
		return false;
	if (s->file->ops->read_at(s->file, position - s->start, &first, 1, true, &got) != ST_BUSY)
		return false;
	if (w != NULL && !list_linked(&w->link))
		list_push(&c->line, &w->link);
	return true;
}

/* Brings a block into memory. OK, BUSY (a worker reads it), IO. */
static enum status block_load(struct clog *c, uint64_t position, struct clog_block **ret)
{
	struct segment *s = clog_segment(c, position);
	if (s == NULL)
		return ST_NOT_FOUND;
	uint64_t start = position - position % c->conf.block_bytes;
	struct clog_block *b = clog_block_new(c, start);
	b->cold = true;
	b->valid = (uint32_t)u64_min(c->conf.block_bytes, u64_min(c->written, segment_end(c, s)) - start);
	enum status st = s->file->ops->read_at(s->file, start - s->start, b->blob.p, b->valid, true, &b->got);
	if (st == ST_BUSY) {
		c->cold_reads++;
		c->loads++;
		b->loading = true;
		b->op.done = load_done;
		s->readers++;
		s->file->ops->read(s->file, start - s->start, b->blob.p, b->valid, &b->got, &b->op);
		*ret = b;
		return ST_BUSY;
	}
	if (st != ST_OK || b->got < b->valid) {
		log_error(c->log, "clog", "block=%llu cannot be read: %s", (unsigned long long)start, status_text(st));
		block_forget(c, b);
		return st == ST_OK ? ST_CORRUPT : st;
	}
	clog_block_settle(c, b);
	*ret = b;
	return ST_OK;
}

bool clog_piece_cold(const struct piece *p)
{
	return container_of(p->blob, struct clog_block, blob)->cold;
}

enum status clog_pieces(struct clog *c, uint64_t position, uint32_t size, struct piece *v, unsigned max, unsigned *ret_n, struct clog_wait *w)
{
	CHECK(position + size <= c->tail);
	unsigned n = 0;
	while (size > 0) {
		struct clog_block *b = clog_block_find(c, position);
		/* Who has a part of a record gets the rest at once: what he has takes memory for as long as he waits. */
		if (b == NULL && n == 0 && lines_up(c, position, w))
			return ST_BUSY;
		enum status st = b == NULL ? block_load(c, position, &b) : b->loading ? ST_BUSY : ST_OK;
		if (st == ST_BUSY && w != NULL && !list_linked(&w->link))
			list_push(&b->waiters, &w->link);
		if (st != ST_OK)
			return st;
		uint32_t at = (uint32_t)(position - b->start);
		CHECK(at < b->valid);
		if (n == max)
			return ST_TOO_BIG;
		uint32_t take = (uint32_t)u64_min(size, b->valid - at);
		v[n++] = (struct piece){slice_of(b->blob.p + at, take), &b->blob};
		if (b != c->tail_block && b->lru.next != &c->lru)
			clog_block_settle(c, b);
		position += take;
		size -= take;
	}
	for (unsigned i = 0; i < n; i++)
		container_of(v[i].blob, struct clog_block, blob)->awaited_ns = 0;
	*ret_n = n;
	return ST_OK;
}
