/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Finding messages: by key (12) and by offset id (33), whose records go to the client as they are stored; and what a queue's index says of its
 * messages (321).
 */
#include "base/props.h"
#include "base/utf.h"
#include "front/native/nat.h"
#include "record/record.h"

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

/* ---- 321 -------------------------------------------------------------------------------------------------------------------------- */

#define INDEX_ENTRIES_MAX 1024

static void put_entry(struct buf *b, const struct record *r, bool first)
{
	struct slice tags = {NULL, 0};

	props_get(r->props, SLICE_LIT("TAGS"), &tags);
	buf_str(b, first ? "{\"eval\":false,\"physicOffset\":" : ",{\"eval\":false,\"physicOffset\":");
	buf_u64_dec(b, r->position);
	buf_str(b, ",\"physicSize\":");
	buf_u64_dec(b, r->size);
	buf_str(b, ",\"tagsCode\":");
	buf_i64_dec(b, tags.n > 0 ? java_hash(tags) : 0);
	buf_str(b, "}");
}

static void index_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	const struct engine_pull *r = &c->u.pull.ask;
	struct buf all = {0};
	bool first = true;

	if (st != ST_OK && st != ST_EMPTY && st != ST_MOVED) {
		nat_answer_code(c, ANS_SYSTEM_ERROR, st);
		return;
	}
	/* A record may lie across two pieces. */
	for (unsigned i = 0; st == ST_OK && i < r->n_pieces; i++)
		buf_slice(&all, r->pieces[i].bytes);
	struct buf *b = nat_body(c);
	buf_str(b, "{\"maxQueueIndex\":");
	buf_u64_dec(b, r->max);
	buf_str(b, ",\"minQueueIndex\":");
	buf_u64_dec(b, r->min);
	buf_str(b, ",\"queueData\":[");
	struct slice rest = buf_view(&all);
	struct record rec;
	for (; rest.n > 0 && record_decode(rest, &rec) == ST_OK; rest = slice_skip(rest, rec.size), first = false)
		put_entry(b, &rec, first);
	buf_str(b, "]}");
	buf_fini(&all);
	nat_answer_body(c, b);
}

void nat_queue_index(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);

	NAT_ASK(c, pull, index_got);
	struct engine_pull *r = &c->u.pull.ask;
	r->actor = &c->peer->actor;
	r->topic = wire_str(&a, "topic");
	r->queue = wire_i32(&a, "queueId");
	int64_t from = wire_i64(&a, "index");
	int32_t count = wire_i32(&a, "count");
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note(c, r->topic);
	if (from < 0 || count <= 0) {
		nat_answer_status(c, ST_BAD_ARG);
		return;
	}
	r->from = (uint64_t)from;
	r->max_msgs = (uint32_t)u64_min((uint64_t)count, INDEX_ENTRIES_MAX);
	r->max_bytes = NAT_BODY_MAX;
	r->has_expr = true;
	r->commit = -1;
	engine_pull(c->front->engine, r);
}
