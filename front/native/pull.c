/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Pulling (11, 361): the stored bytes of a queue go to the client as they are, uncopied. The four codes of a pull that was carried out (found,
 * nothing yet, nothing matched, offset moved) all carry where to go on and the queue's range; Java clients need them unconditionally.
 */
#include "front/native/nat.h"

#define TAG_TYPE SLICE_LIT("TAG")
#define NO_SQL "The broker does not support consumer to filter message by SQL92"

static const char *pull_remark(enum status st)
{
	switch (st) {
	case ST_OK: return "FOUND";
	case ST_EMPTY: return "no message at this offset yet";
	case ST_NO_MATCH: return "no message matched the filter";
	default: return "the offset is outside the queue";
	}
}

/* Header and pieces of a pull that was carried out. */
static void pulled(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	struct engine_pull *r = &c->u.pull.ask;
	struct nat *f = c->front;
	size_t body = 0;

	if (st == ST_OK)
		f->n.pulls_found++;
	else
		f->n.pulls_missed++;
	if (st != ST_OK && st != ST_EMPTY && st != ST_NO_MATCH && st != ST_MOVED) {
		nat_answer_status(c, st);
		return;
	}
	if (!nat_wanted(c)) {
		nat_drop(c);
		return;
	}
	unsigned n = st == ST_OK ? r->n_pieces : 0;
	for (unsigned i = 0; i < n; i++)
		body += r->pieces[i].bytes.n;
	struct wire_pull_answer v = {.suggest_broker = 0, .next = r->next, .min = r->min, .max = r->max};
	buf_reset(&f->out);
	wire_pull_answer(&f->out, nat_echo(c), front_statuses[st].native, slice_str(pull_remark(st)), &v, body);
	nat_send_pieces(c, r->pieces, n);
}

static uint32_t bytes_wanted(int32_t asked)
{
	return asked <= 0 ? NAT_PULL_BYTES : (uint32_t)u64_min((uint64_t)asked, NAT_BODY_MAX);
}

/* Counts the call among the waiting ones instead of those that are worked on. */
static void set_waiting(struct nat_call *c)
{
	CHECK(!c->waits && c->peer->busy > 0);
	c->waits = true;
	c->peer->busy--;
	c->peer->waits++;
}

void nat_pull(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct nat *f = c->front;
	struct nat_peer *p = c->peer;
	struct wire_args args = wire_args(cmd);
	struct wire_pull w;

	if (!wire_pull_decode(cmd, &w, &args)) {
		nat_answer_args(c, &args);
		return;
	}
	if (f->draining) {
		nat_answer_str(c, ANS_SERVICE_NOT_AVAILABLE, "shutting down");
		return;
	}
	nat_note_pair(c, w.topic, w.group);
	if (!slice_eq(w.expression_type, TAG_TYPE)) {
		nat_answer_str(c, ANS_SYSTEM_ERROR, NO_SQL);
		return;
	}
	uint64_t wait_ms = 0;
	if ((w.sys_flag & PULL_SUSPEND) != 0 && w.suspend_ms > 0)
		wait_ms = u64_min((uint64_t)w.suspend_ms, f->conf->max_wait_ms);
	if (wait_ms > 0 && p->waits >= NAT_WAITS_MAX) {
		nat_answer_str(c, ANS_SYSTEM_BUSY, "too many pulls of this connection are waiting");
		return;
	}
	NAT_ASK(c, pull, pulled);
	struct engine_pull *r = &c->u.pull.ask;
	r->actor = &p->actor;
	r->topic = w.topic;
	r->queue = w.queue;
	r->from = w.offset > 0 ? (uint64_t)w.offset : 0;
	r->max_msgs = w.max_msgs > 0 ? (uint32_t)u64_min((uint64_t)w.max_msgs, NAT_PULL_MSGS_MAX) : 1;
	r->max_bytes = bytes_wanted(w.max_bytes);
	r->wait_ms = wait_ms;
	r->group = w.group;
	r->has_expr = (w.sys_flag & PULL_SUBSCRIPTION) != 0;
	if (r->has_expr)
		r->expr = w.subscription;
	r->sub_version = w.sub_version;
	r->commit = (w.sys_flag & PULL_COMMIT) != 0 && w.commit >= 0 ? w.commit : -1;
	if (wait_ms > 0)
		set_waiting(c);
	engine_pull(f->engine, r);
}
