/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Finding messages: by key (12) and by offset id (33). Their records go to the client as they are stored. */
#include "front/native/nat.h"

static void found(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	const struct engine_find *r = &c->u.find;
	struct wire_out o;
	size_t body = 0;
	unsigned n = 0;

	if (st == ST_NOT_FOUND || st == ST_NO_TOPIC || (st == ST_OK && r->count == 0)) {
		nat_answer_code(c, ANS_QUERY_NOT_FOUND, ST_NOT_FOUND);
		return;
	}
	if (st != ST_OK) {
		nat_answer_status(c, st);
		return;
	}
	/* Newest first: when they do not all fit into an answer, the oldest are left out. */
	while (n < r->count && (n == 0 || body + r->pieces[n].bytes.n <= NAT_BODY_MAX))
		body += r->pieces[n++].bytes.n;
	if (nat_answer_begin(c, &o, ANS_SUCCESS) == NULL)
		return;
	wire_put_i64(&o, "indexLastUpdateTimestamp", r->last_ms);
	wire_put_i64(&o, "indexLastUpdatePhyoffset", (int64_t)r->last_position);
	wire_finish(&o, body);
	nat_send_pieces(c, r->pieces, n);
}

void nat_query(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);

	NAT_ASK(c, find, found);
	struct engine_find *r = &c->u.find;
	r->actor = &c->peer->actor;
	r->topic = wire_str(&a, "topic");
	r->key = wire_str(&a, "key");
	int32_t max = wire_i32(&a, "maxNum");
	r->begin_ms = wire_i64(&a, "beginTimestamp");
	r->end_ms = wire_i64(&a, "endTimestamp");
	r->unique = wire_bool_or(&a, "_UNIQUE_KEY_QUERY", false);
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note(c, r->key);
	if (r->unique)
		r->max = NAT_FIND_UNIQUE_MAX;
	else
		r->max = max > 0 ? (uint32_t)u64_min((uint64_t)max, NAT_FIND_MAX) : 1;
	engine_find(c->front->engine, r);
}

static void viewed(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	const struct engine_view *r = &c->u.view;
	struct wire_out o;

	if (st != ST_OK) {
		if (st == ST_NOT_FOUND)
			nat_answer_code(c, ANS_SYSTEM_ERROR, st);
		else
			nat_answer_status(c, st);
		return;
	}
	if (nat_answer_begin(c, &o, ANS_SUCCESS) == NULL)
		return;
	wire_finish(&o, r->piece.bytes.n);
	nat_send_pieces(c, &r->piece, 1);
}

void nat_view(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);

	NAT_ASK(c, view, viewed);
	struct engine_view *r = &c->u.view;
	r->actor = &c->peer->actor;
	int64_t position = wire_i64(&a, "offset");
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	if (position < 0) {
		nat_answer_code(c, ANS_SYSTEM_ERROR, ST_NOT_FOUND);
		return;
	}
	r->position = (uint64_t)position;
	engine_view(c->front->engine, r);
}
