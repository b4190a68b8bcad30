/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Leases in the crash test: subscriptions of one group take messages and settle them, or not; some leave with leases that are settled by receipt,
 * also after a crash. What must hold:
 *   - never more deliveries than credit was granted;
 *   - what was acknowledged is not delivered again in this run of the engine, nor after a crash when the acknowledgement was durable;
 *   - a receipt settles while its lease lasts, whatever became of the subscription; never what was settled before, nor what somebody else was given
 *     later in the same run;
 *   - it never settles anything once the group has begun anew behind it (its offset was reset, or forgotten), also after a crash;
 *   - at the end every message of a live topic was settled, or lies in the group's dead-letter topic, where it lies once.
 */
#include "record/record.h"
#include "tests/sim/crash.h"

#define SETTLE_SLACK_NS (2 * SEC_NS)
#define DRAIN_NS (120 * SEC_NS)
#define LEASE_NS (SEC_NS - 20 * MS_NS) /* a lease lasts so long at least */
enum { CREDIT_MAX = 30 };

static const struct actor taker = {.front = "sim", .address = {(const uint8_t *)"10.0.0.2:2", 10}};

static void sub_answered(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct life *l = op->life;
	struct sub_model *s = op->arg;

	MUST(l, st == ST_OK || l->faulty || l->tight || l->world.disk->dead || st == ST_NO_TOPIC || st == ST_BUSY, "a subscription was answered with %s", status_name(st));
	if (st != ST_OK)
		s->state = SUB_OFF;
	op_free(op);
}

static void forget_deliveries(struct sub_model *s)
{
	s->n_out = 0;
}

static void sub_ended(struct engine_sub *sub, enum status why)
{
	struct sub_model *s = container_of(sub, struct sub_model, sub);

	MUST(s->life, s->state != SUB_OFF, "ended() of a subscription that was over (%s)", status_name(why));
	s->state = SUB_OFF;
	forget_deliveries(s);
}

static void settle_answered(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct life *l = op->life;
	struct message *m = &l->msgs[op->first];
	enum settle how = op->u.settle.how;

	MUST(l, st == ST_OK || st == ST_GONE || st == ST_CLOSED || l->faulty || l->tight || l->world.disk->dead || (op->u.settle.sub == NULL &&
		(st == ST_BUSY || st == ST_NO_TOPIC || st == ST_NO_GROUP)), "settling was answered with %s", status_name(st));
	if (st == ST_OK && (how == SETTLE_ACK || how == SETTLE_REJECT)) {
		m->lease = op->anew != l->anew[op->topic] ? LEASE_UNSURE : how == SETTLE_ACK ? LEASE_ACKED : LEASE_REJECTED;
		m->lease_ns = l->world.clock.now_ns;
	}
	op_free(op);
}

/* What the model knows when a receipt is used, for its answer. */
static void receipt_answered(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct life *l = op->life;
	struct message *m = &l->msgs[op->first];
	enum settle how = op->u.settle.how;
	bool ends = how == SETTLE_ACK || how == SETTLE_REJECT || how == SETTLE_RETRY;

	MUST(l, st != ST_OK || !ends || !op->granted, "a receipt of message %llu settled, although it was settled before (%d), or given to somebody else since (tag %llx in run %u)",
		(unsigned long long)op->first, m->lease, (unsigned long long)m->lease_tag, m->lease_run);
	MUST(l, st == ST_OK || !op->was_present || l->faulty || l->tight || l->world.disk->dead || st == ST_CLOSED, "a receipt of message %llu says %s while its lease lasts",
		(unsigned long long)op->first, status_name(st));
	if (st == ST_OK && ends)
		m->given_ns = 0; /* its lease is over */
	settle_answered(a, st);
}

static void settle_receipt(struct life *l)
{
	size_t i = below(l, l->n_receipts);
	struct receipt r = l->receipts[i];
	struct message *m = &l->msgs[r.id];
	static const enum settle hows[] = {SETTLE_ACK, SETTLE_ACK, SETTLE_ACK, SETTLE_RETRY, SETTLE_REJECT, SETTLE_EXTEND, SETTLE_RELEASE};
	enum settle how = hows[below(l, ARRAY_LEN(hows))];
	bool current = m->lease_run == l->crash_no, latest = m->lease_tag == r.tag && m->lease_incarnation == r.incarnation;
	struct op *op = op_new(l, OP_SETTLE);

	op->topic = r.topic;
	op->first = r.id;
	op->anew = l->anew[r.topic];
	op->granted = (current && !latest) || m->lease == LEASE_ACKED || m->lease == LEASE_REJECTED ||
		r.anew < l->anew_sure[r.topic][r.queue]; /* it must be stale */
	op->was_present = current && latest && m->lease == LEASE_NONE && m->given_ns > 0 && l->world.clock.now_ns < m->given_ns + LEASE_NS &&
		l->topics[r.topic].being == PRESENT && !l->topics[r.topic].busy && l->topics[r.topic].life == r.topic_life; /* it must hold */
	op->u.settle = (struct engine_settle){.ask = {.done = receipt_answered}, .group = SLICE_LIT("leasers"), .topic = slice_str(l->topics[r.topic].name),
		.incarnation = r.incarnation, .tag = r.tag, .how = how,
		.after_ms = how == SETTLE_RETRY ? (one_in(l, 2) ? 0 : (int64_t)below(l, 500)) : 500};
	if (how == SETTLE_RELEASE || how == SETTLE_EXTEND || how == SETTLE_RETRY)
		m->given_ns = 0; /* how long it lasts now is not known to the model */
	if (!one_in(l, 3)) /* else it is used again later */
		l->receipts[i] = l->receipts[--l->n_receipts];
	engine_settle(l->world.engine, &op->u.settle);
}

static void settle(struct life *l, struct sub_model *s, size_t i, enum settle how)
{
	struct op *op = op_new(l, OP_SETTLE);

	op->topic = s->topic;
	op->first = s->out[i].id;
	op->anew = l->anew[s->topic];
	op->u.settle = (struct engine_settle){.ask = {.done = settle_answered}, .sub = &s->sub, .tag = s->out[i].tag, .how = how,
		.after_ms = how == SETTLE_RETRY ? (one_in(l, 2) ? 0 : (int64_t)below(l, 500)) : 500};
	l->msgs[s->out[i].id].given_ns = 0;
	if (how != SETTLE_EXTEND)
		s->out[i] = s->out[--s->n_out];
	engine_settle(l->world.engine, &op->u.settle);
}

static void deliver(struct engine_sub *sub, const struct delivery *d)
{
	struct sub_model *s = container_of(sub, struct sub_model, sub);
	struct life *l = s->life;
	struct record r;

	MUST(l, s->state == SUB_ON, "a delivery to a subscription that is over");
	MUST(l, s->credit > 0, "a delivery without credit");
	s->credit--;
	MUST(l, record_decode(d->record, &r) == ST_OK && record_check(d->record, r.position, false, &r) == ST_OK, "a delivery is not a record");
	uint64_t id = body_id(r.body);

	MUST(l, id > 0 && id < l->n_msgs && l->msgs[id].topic == s->topic && slice_eq_str(d->topic, l->topics[s->topic].name), "a delivery that nobody sent");
	struct message *m = &l->msgs[id];

	MUST(l, m->lease == LEASE_NONE || m->lease == LEASE_UNSURE, "message %llu was %s, and is delivered again (attempt %u)", (unsigned long long)id,
		m->lease == LEASE_REJECTED ? "rejected" : "acknowledged", d->attempt);
	MUST(l, d->attempt >= 1 && d->lease_ms > 0, "attempt %u, lease %lld ms", d->attempt, (long long)d->lease_ms);
	m->lease = LEASE_NONE;
	m->lease_tag = d->tag;
	m->lease_incarnation = d->incarnation;
	m->lease_run = l->crash_no;
	m->given_ns = s->detach ? l->world.clock.now_ns : 0;
	if (s->n_out == ARRAY_LEN(s->out))
		forget_deliveries(s); /* their leases run out */
	s->out[s->n_out++] = (struct lease_out){d->tag, d->incarnation, id, d->queue, l->anew[s->topic]};
	if (s->eager)
		settle(l, s, s->n_out - 1, SETTLE_ACK);
}

static void open_sub(struct life *l, struct sub_model *s, int topic, bool eager)
{
	struct op *op = op_new(l, OP_SUB);

	*s = (struct sub_model){.sub = {.deliver = deliver, .ended = sub_ended}, .life = l, .state = SUB_ON, .topic = topic, .eager = eager,
		.credit = eager ? 1000000 : below(l, CREDIT_MAX), .detach = !eager && one_in(l, 2)};
	op->topic = topic;
	op->arg = s;
	op->u.sub = (struct engine_sub_open){.ask = {.done = sub_answered}, .actor = &taker, .sub = &s->sub, .topic = slice_str(l->topics[topic].name),
		.group = SLICE_LIT("leasers"), .client_id = SLICE_LIT("taker"), .expr = SLICE_LIT("*"), .start = SUB_START_FIRST,
		.credit = (uint32_t)s->credit, .detach = s->detach};
	engine_sub_open(l->world.engine, &op->u.sub);
}

static void keep_receipts(struct life *l, const struct sub_model *s)
{
	for (size_t i = 0; i < s->n_out; i++) {
		struct receipt r = {s->out[i].tag, s->out[i].incarnation, s->out[i].id, s->topic, s->out[i].queue, l->msgs[s->out[i].id].life,
			s->out[i].anew};

		l->receipts[l->n_receipts < RECEIPTS ? l->n_receipts++ : below(l, RECEIPTS)] = r;
	}
}

static void begun_anew(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct life *l = op->life;

	MUST(l, st == ST_OK || excused(l, st) || st == ST_BUSY || st == ST_CLOSED || st == ST_IO || st == ST_NO_GROUP || st == ST_NO_TOPIC || st == ST_NO_QUEUE || st == ST_BAD_ARG,
		"beginning anew was answered with %s", status_name(st));
	if (st == ST_OK && l->topics[op->topic].life == op->topic_life) {
		l->anew_done[op->topic] = op->anew;
		for (int32_t q = 0; q < QUEUES; q++)
			if (op->queue < 0 || op->queue == q)
				l->anew_sure[op->topic][q] = op->anew;
	}
	op_free(op);
}

/* Sets a queue's offset anew, or forgets all of them. What was handled may come again from now on, whether that happens or not. */
static void begin_anew(struct life *l, int topic)
{
	const struct topic_model *t = &l->topics[topic];
	bool forget = one_in(l, 2);

	if (t->being != PRESENT || t->busy || t->queues == 0)
		return;
	struct op *op = op_new(l, OP_ANEW);

	for (uint64_t id = 1; id < l->n_msgs; id++) {
		struct message *m = &l->msgs[id];

		if (m->topic != topic)
			continue;
		m->lease = LEASE_UNSURE;
		m->given_ns = 0;
		m->again = true;
	}
	op->topic = topic;
	op->topic_life = t->life;
	op->queue = forget ? -1 : (int32_t)below(l, t->queues);
	op->anew = ++l->anew[topic];
	op->u.offset = (struct engine_offset){.ask = {.done = begun_anew}, .actor = &taker, .group = SLICE_LIT("leasers"), .topic = slice_str(t->name),
		.queue = op->queue, .offset = forget ? 0 : below(l, t->next[op->queue] + 1)};
	if (forget)
		engine_offset_drop(l->world.engine, &op->u.offset);
	else
		engine_offset_reset(l->world.engine, &op->u.offset);
}

void lease_step(struct life *l)
{
	struct sub_model *s = &l->subs[below(l, SUBS)];

	if (one_in(l, 60))
		begin_anew(l, (int)below(l, TOPICS));
	if (l->n_receipts > 0 && one_in(l, 3))
		settle_receipt(l);
	if (s->state == SUB_OFF) {
		int topic = (int)below(l, TOPICS);

		if (l->topics[topic].being == PRESENT && !l->topics[topic].busy)
			open_sub(l, s, topic, false);
		return;
	}
	if (s->state != SUB_ON)
		return;
	if (one_in(l, 20)) {
		s->state = SUB_ENDING;
		if (s->detach)
			keep_receipts(l, s);
		forget_deliveries(s);
		engine_sub_close(l->world.engine, &s->sub);
		return;
	}
	if (s->credit < 5 && one_in(l, 2)) {
		uint32_t more = 1 + (uint32_t)below(l, CREDIT_MAX);

		s->credit += more;
		engine_sub_credit(l->world.engine, &s->sub, more);
	}
	for (uint64_t n = below(l, 4); n > 0 && s->n_out > 0; n--) {
		static const enum settle hows[] = {SETTLE_ACK, SETTLE_ACK, SETTLE_ACK, SETTLE_ACK, SETTLE_RETRY, SETTLE_REJECT, SETTLE_EXTEND};

		settle(l, s, below(l, s->n_out), hows[below(l, ARRAY_LEN(hows))]);
	}
}

void lease_crashed(struct life *l)
{
	for (int i = 0; i < SUBS; i++)
		if (l->subs[i].state == SUB_ON)
			keep_receipts(l, &l->subs[i]);
	memset(l->subs, 0, sizeof(l->subs));
}

void lease_recovered(struct life *l, bool lossy, uint64_t crashed_ns)
{
	uint64_t due = l->world.conf.offset_sync_ms * MS_NS + SETTLE_SLACK_NS;

	if (lossy) /* a message that was lost may have left its offset to another one, which its receipt would name */
		l->n_receipts = 0;
	for (uint64_t id = 1; id < l->n_msgs; id++) {
		struct message *m = &l->msgs[id];

		if (m->again && (lossy || l->anew[m->topic] != l->anew_done[m->topic]))
			m->lease = LEASE_UNSURE; /* it was given out again because of what may not have happened now */
		if (m->lease == LEASE_NONE)
			continue;
		if (lossy || l->faulty || l->tight || m->lease_ns + due >= crashed_ns)
			m->lease = LEASE_UNSURE;
	}
}

void lease_drain(struct life *l)
{
	for (int i = 0; i < SUBS; i++)
		if (l->subs[i].state == SUB_ON)
			engine_sub_close(l->world.engine, &l->subs[i].sub);
	sim_world_run(&l->world, SEC_NS);
	for (int i = 0; i < SUBS; i++)
		MUST(l, l->subs[i].state == SUB_OFF, "a subscription does not end");
	for (int t = 0; t < TOPICS; t++)
		if (l->topics[t].being == PRESENT)
			open_sub(l, &l->drains[t], t, true);
	sim_world_run(&l->world, DRAIN_NS);
	for (int t = 0; t < TOPICS; t++)
		if (l->drains[t].state == SUB_ON) {
			l->drains[t].state = SUB_ENDING;
			engine_sub_close(l->world.engine, &l->drains[t].sub);
		}
	sim_world_run(&l->world, 10 * SEC_NS);
	for (int t = 0; t < TOPICS; t++)
		MUST(l, l->drains[t].state == SUB_OFF, "a subscription does not end");
}
