/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Settling: what becomes of a leased message, by its subscription or by receipt.
 *
 * The tag of a delivery names the message and which of its deliveries this was:
 *
 *   34 bits of the offset | 16 queue | 1 of the retry topic | 7 attempt | 6 turn
 *
 * offset: the lowest bits; the whole one is that which is nearest to where the cursor stands. A receipt would have to be 8 milliards of messages old to
 * name another one. attempt: how many in-place attempts there were with this one; exact up to 63, then 64 to 127 round and round: a stale receipt
 * of a later attempt could only pass for one of 64 attempts after it. turn: counts the message's deliveries, modulo 61, so that the two together repeat
 * after 3904 of them. It also tells deliveries of one attempt apart, since not each is counted: it went back by SETTLE_RELEASE or with its subscription, or
 * the lease was lost in a restart. It begins anew with each start of the engine, at a place that goes with the epoch.
 *
 * A receipt (group, topic, incarnation, tag) holds while its attempt is the message's latest:
 *   it was delivered since the start:  attempt, turn and incarnation must be those of its latest delivery, whoever has it
 *   it was not, and is not settled:    the attempt must be the next one, the incarnation the one that the group's offset has. So receipts live
 *                                      through a restart, which keeps what was settled and the failed attempts, but no leases. EXTEND takes the lease
 *                                      anew then, if the queue is ours.
 *   else:                              GONE
 * Where the group's offset is set anew, or forgotten, the offset gets another incarnation, and the turns go on elsewhere: what was given out before settles
 * nothing of what comes again, also after a restart.
 * With FLUSH_ASYNC a message may be lost with the power and leave its offset to another one, which its receipt then names.
 */
#include "engine/groups.h"

#define TAG_OFFSET_BITS 34
#define TAG_TURN_BITS 6
#define TAG_TURN_MASK ((1u << TAG_TURN_BITS) - 1)
#define TAG_TURNS 61u
#define TAG_TURNS_AN_EPOCH 8u /* by so many do the turns of two starts stand apart at first */
#define TAG_TURNS_A_RENEWAL 29u /* the same, before and behind a reset */

/* ---- Tags ------------------------------------------------------------------------------------------------------------------------------- */

uint32_t item_attempt(const struct item *it)
{
	return it->base + it->attempts + 1;
}

static uint32_t attempt_bits(uint32_t attempts)
{
	uint32_t attempt = attempts + 1;

	return attempt < 64 ? attempt : 64 | (attempt & 63);
}

uint64_t item_tag(const struct item *it)
{
	return it->offset << (64 - TAG_OFFSET_BITS) | (uint64_t)(uint16_t)it->cursor->queue << 14 | (it->cursor->retry ? 1u << 13 : 0) |
		attempt_bits(it->attempts) << TAG_TURN_BITS | it->turn;
}

static int32_t tag_queue(uint64_t tag)
{
	return (int32_t)(tag >> 14 & 0xFFFF);
}

static bool tag_retry(uint64_t tag)
{
	return (tag >> 13 & 1) != 0;
}

static uint32_t tag_attempt(uint64_t tag)
{
	return (uint32_t)(tag >> TAG_TURN_BITS & 0x7F);
}

/* The offset with these lowest bits that is nearest to where the cursor stands. */
static uint64_t tag_offset(const struct cursor *c, uint64_t tag)
{
	const uint64_t span = UINT64_C(1) << TAG_OFFSET_BITS;
	uint64_t at = (c->next & ~(span - 1)) | tag >> (64 - TAG_OFFSET_BITS);

	if (at > c->next && at - c->next > span / 2 && at >= span)
		return at - span;
	return at < c->next && c->next - at > span / 2 ? at + span : at;
}

void item_given(struct item *it)
{
	const struct groups_state *gs = it->cursor->gs;
	uint64_t first = gs->eng->epoch % TAG_TURNS * TAG_TURNS_AN_EPOCH + gs->renewals % TAG_TURNS * TAG_TURNS_A_RENEWAL;

	it->turn = (uint8_t)((it->given ? it->turn + 1u : first) % TAG_TURNS);
	it->given = true;
	it->incarnation = it->cursor->off == NULL ? 0 : goff_incarnation(it->cursor->off);
}

void item_lease(struct item *it, struct sub *s, struct feed *f, uint64_t ms)
{
	struct eng *g = it->cursor->gs->eng;

	item_unlink(it);
	it->state = ITEM_LEASED;
	it->sub = s;
	it->feed = f;
	if (s != NULL)
		list_push(&s->leases, &it->link);
	else if (f != NULL)
		f->n_detached++;
	eng_timer_set(g, &it->timer, g->now_ns + ms * MS_NS);
	eng_count(g, STAT_LEASES, 1);
}

/* ---- What becomes of it ---------------------------------------------------------------------------------------------------------------------- */

/* The delay of the group's next retry: level 3 + times so far, as for native consumers. */
static uint64_t next_delay(const struct item *it)
{
	uint32_t at = it->base + it->attempts + 2;

	return it->cursor->gs->eng->conf.delay_ms[at < DELAY_LEVELS ? at : DELAY_LEVELS - 1];
}

void item_failed(struct item *it, uint64_t after_ms)
{
	struct cursor *c = it->cursor;

	CHECK_OBJ(it, ITEM_MAGIC);
	if (it->attempts < UINT32_MAX / 2)
		it->attempts++;
	cursor_changed(c);
	if (c->off == NULL) {
		item_wait(it, after_ms);
	} else if (it->base + it->attempts >= c->off->gt->group->conf.retry_max) {
		item_copy(it, true);
	} else if (c->handed) {
		it->due_ms = c->gs->eng->now_ms + (int64_t)after_ms;
		item_copy(it, false);
	} else {
		item_wait(it, after_ms);
	}
}

void lease_fire(struct eng *g, struct eng_timer *t)
{
	struct item *it = container_of(t, struct item, timer);

	CHECK_OBJ(it, ITEM_MAGIC);
	if (it->state == ITEM_WAITING) {
		item_ready(it);
		return;
	}
	CHECK(it->state == ITEM_LEASED);
	eng_count(g, STAT_LEASES_EXPIRED_TOTAL, 1);
	item_failed(it, 0);
}

static enum status extend(struct item *it, int64_t ms)
{
	if (ms <= 0)
		return ST_BAD_ARG;
	eng_timer_set(it->cursor->gs->eng, &it->timer, it->cursor->gs->eng->now_ns + (uint64_t)ms * MS_NS);
	return ST_OK;
}

static void reject(struct item *it)
{
	if (it->cursor->off == NULL) {
		item_settled(it);
		return;
	}
	it->attempts++;
	item_copy(it, true);
}

/* 'it' is leased, or it is like one whose lease has just ended. */
static enum status settle_item(struct item *it, enum settle how, int64_t after_ms)
{
	switch (how) {
	case SETTLE_ACK:
		item_settled(it);
		return ST_OK;
	case SETTLE_RETRY:
		item_failed(it, after_ms >= 0 || it->cursor->off == NULL ? (uint64_t)(after_ms < 0 ? 0 : after_ms) : next_delay(it));
		return ST_OK;
	case SETTLE_REJECT:
		reject(it);
		return ST_OK;
	case SETTLE_EXTEND:
		return extend(it, after_ms);
	case SETTLE_RELEASE:
		if (it->state == ITEM_LEASED)
			item_ready(it);
		return ST_OK;
	}
	return ST_BAD_ARG;
}

/* ---- By subscription --------------------------------------------------------------------------------------------------------------------------- */

static struct item *find_item(struct sub *s, uint64_t tag)
{
	int32_t queue = tag_queue(tag);
	struct feed *f = s->feed;
	struct cursor *c = NULL;

	if (f->group == NULL) {
		c = !tag_retry(tag) && (uint32_t)queue < f->n_cursors ? f->cursors[queue] : NULL;
	} else {
		struct goff *o = goff_find(tag_retry(tag) ? retry_gtopic(f->group) : f->gt, queue);
		c = o == NULL ? NULL : o->cursor;
	}
	struct item *it = c == NULL ? NULL : u64map_get(&c->items, tag_offset(c, tag));
	return it != NULL && it->state == ITEM_LEASED && it->sub == s && item_tag(it) == tag ? it : NULL;
}

static enum status by_sub(const struct engine_settle *r)
{
	struct sub *s = r->sub->priv[0];

	if (s != NULL && sub_is_tap(s))
		return ST_BAD_ARG; /* its deliveries are nobody's to settle */
	struct item *it = s == NULL || s->over ? NULL : find_item(s, r->tag);
	return it == NULL ? ST_GONE : settle_item(it, r->how, r->after_ms);
}

/* ---- By receipt --------------------------------------------------------------------------------------------------------------------------------- */

/* The cursor that the receipt is of; NULL: there is nothing left that it could name. */
static struct cursor *receipt_cursor(struct groups_state *gs, struct group *gr, struct gtopic *gt, uint64_t tag)
{
	if (tag_retry(tag))
		gt = gt == NULL ? NULL : retry_gtopic(gr);
	struct goff *o = goff_find(gt, tag_queue(tag));

	return o == NULL || !o->set ? NULL : cursor_of(gs, o);
}

/* Nobody has the message, and it is neither settled nor was it given to anybody later. Its item is made when something must be remembered of it. */
static enum status settle_idle(struct cursor *c, struct gtopic *gt, uint64_t offset, const struct engine_settle *r)
{
	struct item *it = u64map_get(&c->items, offset);

	if (it == NULL && r->how == SETTLE_ACK) {
		cursor_settle(c, offset);
		return ST_OK;
	}
	if (r->how == SETTLE_RELEASE)
		return ST_OK;
	if (r->how == SETTLE_EXTEND && r->after_ms <= 0)
		return ST_BAD_ARG;
	if (r->how == SETTLE_EXTEND && c->handed)
		return ST_GONE;
	if (it == NULL && c->n_items >= LEASE_ITEMS_MAX)
		return ST_BUSY;
	if (it == NULL)
		it = item_new(c, offset);
	if (r->how != SETTLE_EXTEND)
		return settle_item(it, r->how, r->after_ms);
	item_lease(it, NULL, gt->feed, (uint64_t)r->after_ms);
	it->turn = r->tag & TAG_TURN_MASK; /* the receipt goes on to hold */
	it->incarnation = r->incarnation;
	it->given = true;
	return ST_OK;
}

static enum status by_receipt(struct groups_state *gs, const struct engine_settle *r)
{
	struct group *gr = group_find(gs->eng, r->group);
	struct topic *t = topic_find(gs->eng, r->topic);

	if (gr == NULL || t == NULL)
		return gr == NULL ? ST_NO_GROUP : ST_NO_TOPIC;
	struct gtopic *gt = gtopic_find(gr, t);
	struct cursor *c = receipt_cursor(gs, gr, gt, r->tag);
	if (c == NULL)
		return ST_GONE;
	uint64_t offset = tag_offset(c, r->tag);
	struct item *it = u64map_get(&c->items, offset);
	bool given = it != NULL && it->given;
	if (r->incarnation != (given ? it->incarnation : goff_incarnation(c->off)) || (given && item_tag(it) != r->tag))
		return ST_GONE;
	if (it != NULL && it->state == ITEM_LEASED)
		return settle_item(it, r->how, r->after_ms);
	if (it == NULL && (cursor_known(c, offset) || offset >= queue_end(c->topic, c->queue) || offset - c->prefix >= LEASE_WINDOW))
		return ST_GONE;
	if (tag_attempt(r->tag) != attempt_bits(it == NULL ? 0 : it->attempts))
		return ST_GONE;
	return settle_idle(c, gt, offset, r);
}

void settle_submit(struct groups_state *gs, struct engine_settle *r)
{
	enum status st = r->after_ms > (int64_t)LEASE_MAX_MS || r->how > SETTLE_RELEASE ? ST_BAD_ARG : ST_OK;

	if (st == ST_OK)
		st = r->sub != NULL ? by_sub(r) : by_receipt(gs, r);
	eng_complete(gs->eng, &r->ask, st);
}
