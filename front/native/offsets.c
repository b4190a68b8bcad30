/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Offsets: 14 and 15 are a group's, 29 to 32 a queue's. A queue that does not exist has the range 0 to 0 for 29 to 32, as clients ask for
 * the queues of a route that may be older than the broker's topics.
 */
#include <strings.h>

#include "front/native/nat.h"

#define RETRY_PREFIX SLICE_LIT("%RETRY%")

/* ---- A group's offset ------------------------------------------------------------------------------------------------------- */

static void offset_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	const struct engine_offset *r = &c->u.offset.ask;

	if (st == ST_OK) {
		nat_answer_offset(c, r->offset);
		return;
	}
	if (st != ST_NOT_FOUND && st != ST_NO_TOPIC && st != ST_NO_QUEUE && st != ST_NO_GROUP) {
		nat_answer_status(c, st);
		return;
	}
	/*
	 * A group without an offset starts where its client decides (22), unless all that the queue ever held is young: then a group that starts at
	 * the end would miss what was sent before its first rebalance. Retry topics start at their first message.
	 */
	bool retry = slice_starts(slice_of(c->note, c->note_n), RETRY_PREFIX);
	if (c->u.offset.zero && ((st == ST_NOT_FOUND && r->young) || retry))
		nat_answer_offset(c, 0);
	else
		nat_answer_code(c, ANS_QUERY_NOT_FOUND, ST_NOT_FOUND);
}

void nat_offset_get(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);

	NAT_ASK(c, offset, offset_got);
	struct engine_offset *r = &c->u.offset.ask;
	r->actor = &c->peer->actor;
	r->group = wire_str(&a, "consumerGroup");
	r->topic = wire_str(&a, "topic");
	r->queue = wire_i32(&a, "queueId");
	c->u.offset.zero = wire_bool_or(&a, "setZeroIfNotFound", true);
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note_pair(c, r->topic, r->group);
	engine_offset_get(c->front->engine, r);
}

static void plain_done(struct engine_ask *a, enum status st)
{
	nat_answer_status(nat_call_of(a), st);
}

void nat_offset_commit(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);

	NAT_ASK(c, offset, plain_done);
	struct engine_offset *r = &c->u.offset.ask;
	r->actor = &c->peer->actor;
	r->group = wire_str(&a, "consumerGroup");
	r->topic = wire_str(&a, "topic");
	r->queue = wire_i32(&a, "queueId");
	int64_t offset = wire_i64(&a, "commitOffset");
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note_pair(c, r->topic, r->group);
	if (offset < 0) {
		nat_answer_str(c, ANS_INVALID_PARAMETER, "commitOffset must not be negative");
		return;
	}
	r->offset = (uint64_t)offset;
	r->member = nat_member_find(c->peer, MEMBER_CONSUMER, r->group);
	engine_offset_commit(c->front->engine, r);
}

/* ---- A queue's offsets ------------------------------------------------------------------------------------------------------- */

/* True when the queue has a range; everything else has been answered. */
static bool has_range(struct nat_call *c, enum status st)
{
	if (st == ST_OK)
		return true;
	if (st == ST_NO_TOPIC || st == ST_NO_QUEUE)
		nat_answer_offset(c, 0);
	else
		nat_answer_status(c, st);
	return false;
}

static void at_time_done(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);

	if (has_range(c, st))
		nat_answer_offset(c, c->u.range.offset);
}

static void max_done(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);

	if (has_range(c, st))
		nat_answer_offset(c, c->u.range.max);
}

static void min_done(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);

	if (has_range(c, st))
		nat_answer_offset(c, c->u.range.min);
}

static void earliest_done(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	int64_t first_ms = c->u.range.first_ms;
	struct wire_out o;

	if (st == ST_NO_TOPIC || st == ST_NO_QUEUE) {
		first_ms = -1;
	} else if (st != ST_OK) {
		nat_answer_status(c, st);
		return;
	}
	if (nat_answer_begin(c, &o, ANS_SUCCESS) == NULL)
		return;
	wire_put_i64(&o, "timestamp", first_ms);
	nat_answer_finish(c, &o, (struct slice){NULL, 0});
}

static struct engine_range *range_ask(struct nat_call *c, struct wire_args *a, void (*done)(struct engine_ask *, enum status))
{
	NAT_ASK(c, range, done);
	struct engine_range *r = &c->u.range;
	r->actor = &c->peer->actor;
	r->topic = wire_str(a, "topic");
	r->queue = wire_i32(a, "queueId");
	nat_note(c, r->topic);
	return r;
}

/* Asks for the range, or says what is wrong with the fields. */
static void range_go(struct nat_call *c, const struct wire_cmd *cmd, void (*done)(struct engine_ask *, enum status))
{
	struct wire_args a = wire_args(cmd);
	struct engine_range *r = range_ask(c, &a, done);

	if (a.field != NULL)
		nat_answer_args(c, &a);
	else
		engine_range(c->front->engine, r);
}

void nat_offset_max(struct nat_call *c, const struct wire_cmd *cmd)
{
	range_go(c, cmd, max_done);
}

void nat_offset_min(struct nat_call *c, const struct wire_cmd *cmd)
{
	range_go(c, cmd, min_done);
}

void nat_offset_earliest(struct nat_call *c, const struct wire_cmd *cmd)
{
	range_go(c, cmd, earliest_done);
}

void nat_offset_at_time(struct nat_call *c, const struct wire_cmd *cmd)
{
	static const struct slice upper = SLICE_LIT("UPPER");
	struct wire_args a = wire_args(cmd);
	struct engine_range *r = range_ask(c, &a, at_time_done);

	r->time_ms = wire_i64(&a, "timestamp");
	struct slice bound = wire_str_or(&a, "boundaryType", SLICE_LIT("LOWER"));
	r->upper = bound.n == upper.n && strncasecmp((const char *)bound.p, (const char *)upper.p, upper.n) == 0;
	if (a.field != NULL)
		nat_answer_args(c, &a);
	else
		engine_at_time(c->front->engine, r);
}
