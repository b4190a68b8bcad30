/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * State records: everything that must survive and is not a message, as records of a reserved topic in the same log.
 *
 * A record's body is a run of items, each an absolute set: applying one twice, or again after a snapshot that knew it, changes nothing.
 * Definitions (topics, groups) get a record of their own at once, because what follows in the log leans on them. What changes often
 * (offsets, leases) is only marked dirty, last value per key, and rides on the next write, or is written by itself when it is due.
 *
 * Each record begins with the durable mark of its moment. Recovery learns from it what was on disk before a place that it cannot read:
 * that tells a torn tail from rot (docs/decisions/0002-torn-or-rotten.md).
 */
#include "base/be.h"
#include "engine/eng.h"

#define STATE_RECORD_MAX (256u << 10) /* bytes of items in one record of dirty state */
#define STATE_ITEM_MAX (128u << 10)   /* one item is never larger: what dirty state may be over its record's bound */
#define CLOSE_PATIENCE_NS (3 * SEC_NS) /* a closing engine waits so long for room for its last state */
#define STATE_MARK_EVERY (1u << 20)   /* log bytes after which the durable mark is written even when nothing is dirty */

size_t state_item_begin(struct buf *b, enum state_type type)
{
	buf_u8(b, (uint8_t)type);
	buf_be32(b, 0);
	return b->n;
}

void state_item_end(struct buf *b, size_t begun)
{
	CHECK(begun >= 5 && b->n >= begun);
	be32_put(b->p + begun - 4, (uint32_t)(b->n - begun));
}

void state_put_name(struct buf *b, struct slice name)
{
	CHECK(name.n <= UINT16_MAX);
	buf_be16(b, (uint16_t)name.n);
	buf_slice(b, name);
}

bool state_get_name(struct slice *rest, struct slice *ret)
{
	if (rest->n < 2 || rest->n - 2 < be16_get(rest->p))
		return false;
	*ret = slice_of(rest->p + 2, be16_get(rest->p));
	*rest = slice_skip(*rest, 2 + ret->n);
	return true;
}

bool state_get_u8(struct slice *rest, uint8_t *ret)
{
	if (rest->n < 1)
		return false;
	*ret = rest->p[0];
	*rest = slice_skip(*rest, 1);
	return true;
}

bool state_get_u32(struct slice *rest, uint32_t *ret)
{
	if (rest->n < 4)
		return false;
	*ret = be32_get(rest->p);
	*rest = slice_skip(*rest, 4);
	return true;
}

bool state_get_u64(struct slice *rest, uint64_t *ret)
{
	if (rest->n < 8)
		return false;
	*ret = be64_get(rest->p);
	*rest = slice_skip(*rest, 8);
	return true;
}

static enum status append_items(struct eng *g, struct slice items, struct engine_ask *ask, void (*visible)(struct eng *, const struct pending *),
	uint64_t arg, uint64_t *ret_position)
{
	struct buf body = {0};
	size_t at = state_item_begin(&body, STATE_MARK);
	buf_be64(&body, g->clog.durable);
	state_item_end(&body, at);
	buf_slice(&body, items);
	struct append a = {.kind = APPEND_STATE, .ask = ask, .visible = visible, .arg = arg};
	a.r = (struct record){.body = buf_view(&body), .topic = SLICE_LIT(TOPIC_STATE), .born_ms = eng_stamp(g), .born_ip = g->conf.store_ip,
		.born_port = g->conf.store_port};
	enum status st = append_record(g, &a);
	buf_fini(&body);
	if (st != ST_OK)
		return st;
	eng_count(g, STAT_STATE_RECORDS_TOTAL, 1);
	g->mark_position = g->clog.tail;
	if (ret_position != NULL)
		*ret_position = a.r.position;
	return ST_OK;
}

enum status state_append(struct eng *g, struct slice items, struct engine_ask *ask, uint64_t *ret_position)
{
	return append_items(g, items, ask, NULL, 0, ret_position);
}

enum status state_append_then(struct eng *g, struct slice items, struct engine_ask *ask, void (*visible)(struct eng *, const struct pending *),
	uint64_t arg, uint64_t *ret_position)
{
	return append_items(g, items, ask, visible, arg, ret_position);
}

void state_dirty(struct eng *g)
{
	if (g->state_due_ns == NEVER && !g->state_given_up)
		g->state_due_ns = g->now_ns + g->conf.offset_sync_ms * MS_NS;
}

enum status state_epoch(struct eng *g)
{
	struct buf b = {0};
	size_t at = state_item_begin(&b, STATE_EPOCH);
	buf_be64(&b, g->epoch);
	buf_be64(&b, (uint64_t)g->now_ms);
	state_item_end(&b, at);
	enum status st = state_append(g, buf_view(&b), NULL, NULL);
	buf_fini(&b);
	if (st == ST_OK)
		g->epoch_due = false;
	return st;
}

void state_flush(struct eng *g)
{
	enum status st = g->epoch_due ? state_epoch(g) : ST_OK;
	uint64_t bound = u64_min(g->conf.segment_bytes, u64_min(g->conf.ahead_bytes, g->conf.unsynced_bytes)) / 2; /* more is never prepared */
	uint32_t max = (uint32_t)u64_min(STATE_RECORD_MAX, bound / 4);
	bool rides = g->clog.tail != g->flushed_tail, marks = g->clog.tail - g->mark_position >= STATE_MARK_EVERY;
	bool dirty = g->state_due_ns != NEVER && (rides || g->closing || g->now_ns >= g->state_due_ns);
	if (!dirty && !(rides && marks))
		return;
	/* Room first, so that what is collected cannot fail to be appended. One record a turn: the rest goes with the next. */
	uint32_t room = (uint32_t)u64_min(max + STATE_ITEM_MAX, bound);
	if (st == ST_OK)
		st = append_room(g, APPEND_STATE, room);
	if (st != ST_OK && dirty && g->closing && (st == ST_DISK_FULL || g->now_ns - g->closing_ns > CLOSE_PATIENCE_NS)) {
		log_warn(g->log, "state", "event=given-up reason=\"%s\" the last offsets are not stored", status_text(st));
		g->state_due_ns = NEVER;
		g->state_given_up = true;
	} else if (st != ST_OK) {
		if (dirty)
			g->state_due_ns = g->now_ns + g->conf.offset_sync_ms * MS_NS;
	}
	if (st != ST_OK)
		return;
	buf_reset(&g->state_items);
	bool more = dirty && groups_state_dirty(g, &g->state_items, max);
	CHECK(g->state_items.n <= room - RECORD_SIZE_MIN - sizeof TOPIC_STATE - 64);
	if (g->state_items.n > 0 || marks)
		CHECK(append_items(g, buf_view(&g->state_items), NULL, NULL, 0, NULL) == ST_OK);
	if (dirty)
		g->state_due_ns = more ? g->now_ns : NEVER;
}

static enum status apply_one(struct eng *g, uint8_t type, struct slice payload, uint64_t position, uint64_t *ret_mark)
{
	uint64_t mark;
	switch ((enum state_type)type) {
	case STATE_MARK:
		if (!state_get_u64(&payload, &mark))
			return ST_CORRUPT;
		*ret_mark = u64_max(*ret_mark, mark);
		return ST_OK;
	case STATE_EPOCH:
		return state_get_u64(&payload, &g->epoch) ? ST_OK : ST_CORRUPT;
	case STATE_TOPIC:
	case STATE_TOPIC_DROP:
		return topic_state_apply(g, (enum state_type)type, payload, position);
	case STATE_GROUP:
	case STATE_GROUP_DROP:
	case STATE_OFFSETS:
	case STATE_LEASES:
	case STATE_OFFSETS_DROP:
	case STATE_OFFSETS_FROM:
	case STATE_LEASES_FROM:
		return groups_state_apply(g, (enum state_type)type, payload, position);
	case STATE_CELL:
	case STATE_CELL_DROP:
		return cells_state_apply(g, (enum state_type)type, payload);
	case STATE_QUEUE:
		return topic_queue_apply(g, payload);
	case STATE_DELAY:
		return delay_state_apply(g, payload);
	case STATE_LOG:
		return state_get_u64(&payload, &g->log_min) ? ST_OK : ST_CORRUPT;
	}
	return ST_VERSION; /* written by a later release: what it means cannot be guessed */
}

enum status state_apply(struct eng *g, struct slice items, uint64_t position, uint64_t *ret_mark)
{
	while (items.n > 0) {
		uint8_t type;
		uint32_t n;
		if (!state_get_u8(&items, &type) || !state_get_u32(&items, &n) || n > items.n)
			return ST_CORRUPT;
		enum status st = apply_one(g, type, slice_of(items.p, n), position, ret_mark);
		if (st != ST_OK)
			return st;
		items = slice_skip(items, n);
	}
	return ST_OK;
}
