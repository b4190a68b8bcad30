/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Taps in the crash test: readers by position that stop, go on, close and come back, also after a crash. What must hold:
 *   - never more deliveries than credit was granted;
 *   - in each queue every message from where the tap began on, once and in order; a gap only where retention took what is missing;
 *   - at the end each tap has come to the end of each queue.
 */
#include "record/record.h"
#include "tests/sim/crash.h"

enum { CREDIT_MAX = 40 };
#define CATCH_UP_NS (60 * SEC_NS)

static const struct actor watcher = {.front = "sim", .address = {(const uint8_t *)"10.0.0.3:3", 10}};

static void ended(struct engine_sub *sub, enum status why)
{
	struct tap_model *t = container_of(sub, struct tap_model, sub);
	struct life *l = t->life;
	const struct topic_model *topic = &l->topics[t->topic];

	MUST(l, t->state != SUB_OFF, "ended() of a tap that was over (%s)", status_name(why));
	MUST(l, why == ST_CLOSED ? t->state == SUB_ENDING || l->ending : why == ST_NO_TOPIC && (topic->dropping || topic->life != t->topic_life),
		"a tap of %s ends with %s", topic->name, status_name(why));
	t->state = SUB_OFF;
	t->resumes &= why == ST_CLOSED;
}

static void deliver(struct engine_sub *sub, const struct delivery *d)
{
	struct tap_model *t = container_of(sub, struct tap_model, sub);
	struct life *l = t->life;
	struct topic_model *topic = &l->topics[t->topic];
	struct record r;

	MUST(l, t->state == SUB_ON && t->open, "a delivery to a tap that is over, or not open yet");
	MUST(l, t->credit > 0, "a tap was given a message without credit");
	t->credit--;
	MUST(l, d->tag == 0 && d->attempt == 1 && slice_eq_str(d->topic, topic->name) && d->queue >= 0 && d->queue < QUEUES, "a tap was given nonsense");
	MUST(l, record_decode(d->record, &r) == ST_OK && record_check(d->record, r.position, false, &r) == ST_OK, "a tap was given what is no record");
	MUST(l, r.queue == d->queue && r.queue_offset == d->offset, "a tap was given %d/%llu as %d/%llu", r.queue, (unsigned long long)r.queue_offset, d->queue,
		(unsigned long long)d->offset);
	MUST(l, d->offset == t->next[d->queue] || (l->forgets && d->offset > t->next[d->queue]), "a tap of %s/%d was given %llu where %llu should come", topic->name,
		d->queue, (unsigned long long)d->offset, (unsigned long long)t->next[d->queue]);
	uint64_t id = body_id(r.body);

	MUST(l, id > 0 && id < l->n_msgs && l->msgs[id].topic == t->topic &&
		(l->msgs[id].life == t->topic_life || l->msgs[id].delay > 0 || l->world.conf.flush == FLUSH_ASYNC), "a tap of %s (life %u) was given %d/%llu: message %llu of topic %d, life %u",
		topic->name, t->topic_life, r.queue, (unsigned long long)r.queue_offset, (unsigned long long)id, id < l->n_msgs ? l->msgs[id].topic : -1,
		id < l->n_msgs ? l->msgs[id].life : 0);
	struct message *m = &l->msgs[id];

	MUST(l, !m->seen || (m->position == r.position && m->offset == r.queue_offset && m->queue == r.queue), "message %llu is in two places",
		(unsigned long long)id);
	m->seen = true;
	m->position = r.position;
	m->offset = r.queue_offset;
	m->queue = r.queue;
	if (l->world.conf.flush == FLUSH_SYNC)
		m->durable = true; /* nothing is visible before it is on disk */
	t->next[d->queue] = d->offset + 1;
	if (topic->life == t->topic_life && topic->next[d->queue] <= d->offset)
		topic->next[d->queue] = d->offset + 1;
	if (one_in(l, 100)) { /* from within */
		t->state = SUB_ENDING;
		engine_sub_close(l->world.engine, &t->sub);
	} else if (one_in(l, 10)) {
		t->credit++;
		engine_sub_credit(l->world.engine, &t->sub, 1);
	}
}

static void opened(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct life *l = op->life;
	struct tap_model *t = op->arg;

	MUST(l, st == ST_OK || st == ST_NO_TOPIC || excused(l, st) || (st == ST_CLOSED && l->ending), "a tap was answered with %s", status_name(st));
	t->open = st == ST_OK;
	if (st != ST_OK) {
		t->state = SUB_OFF;
		t->resumes = false;
	}
	op_free(op);
}

/* Asked in the same breath as the tap's open: where it begins. */
static void end_known(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct tap_model *t = op->arg;

	MUST(op->life, !t->open, "the answers come in another order than they were asked for");
	t->next[op->queue] = st == ST_OK || st == ST_BUSY ? op->u.range.max : 0;
	op_free(op);
}

static void open_tap(struct life *l, struct tap_model *t, int topic)
{
	struct topic_model *m = &l->topics[topic];
	struct queue_from from[QUEUES];
	bool resumes = t->resumes && t->topic == topic && t->topic_life == m->life;
	enum sub_start start = one_in(l, 2) ? SUB_START_FIRST : SUB_START_LAST;
	struct op *op;

	if (!resumes)
		memset(t->next, 0, sizeof(t->next));
	t->sub = (struct engine_sub){.deliver = deliver, .ended = ended};
	t->life = l;
	t->state = SUB_ON;
	t->open = false;
	t->topic = topic;
	t->topic_life = m->life;
	t->credit = below(l, CREDIT_MAX);
	t->resumes = true;
	for (int32_t q = 0; q < QUEUES; q++) {
		from[q] = (struct queue_from){q, t->next[q]};
		if (resumes || start == SUB_START_FIRST)
			continue;
		op = op_new(l, OP_OTHER);
		op->queue = q;
		op->arg = t;
		op->u.range = (struct engine_range){.ask = {.done = end_known}, .actor = &watcher, .topic = slice_str(m->name), .queue = q};
		engine_range(l->world.engine, &op->u.range);
	}
	op = op_new(l, OP_OTHER);
	op->arg = t;
	op->u.sub = (struct engine_sub_open){.ask = {.done = opened}, .actor = &watcher, .sub = &t->sub, .topic = slice_str(m->name), .expr = SLICE_LIT("*"),
		.start = start, .tap = true, .credit = (uint32_t)t->credit, .from = from, .n_from = resumes ? QUEUES : 0};
	engine_sub_open(l->world.engine, &op->u.sub);
	memset(from, 0xdb, sizeof(from));
}

void tap_step(struct life *l)
{
	struct tap_model *t = &l->taps[below(l, TAPS)];
	int topic = t->resumes && !one_in(l, 4) ? t->topic : one_in(l, 2) ? 0 : (int)below(l, TOPICS); /* often several of one topic */

	if (t->state == SUB_OFF) {
		if (l->topics[topic].being == PRESENT && !l->topics[topic].busy)
			open_tap(l, t, topic);
	} else if (t->state == SUB_ON && one_in(l, 15)) {
		t->state = SUB_ENDING;
		engine_sub_close(l->world.engine, &t->sub);
	} else if (t->state == SUB_ON && t->credit < CREDIT_MAX) {
		uint32_t more = 1 + (uint32_t)below(l, CREDIT_MAX);

		t->credit += more;
		engine_sub_credit(l->world.engine, &t->sub, more);
	}
}

void tap_crashed(struct life *l)
{
	for (int i = 0; i < TAPS; i++) {
		struct tap_model *t = &l->taps[i];

		t->resumes &= t->state == SUB_OFF || t->open;
		t->state = SUB_OFF;
		memset(&t->sub, 0, sizeof(t->sub));
	}
}

void tap_recovered(struct life *l, bool lossy)
{
	for (int i = 0; i < TAPS; i++)
		if (lossy) /* offsets that it saw may be given to others now */
			l->taps[i].resumes = false;
}

void tap_drain(struct life *l)
{
	for (int i = 0; i < TAPS; i++) {
		struct tap_model *t = &l->taps[i];

		if (t->state == SUB_OFF && t->resumes && l->topics[t->topic].being == PRESENT && l->topics[t->topic].life == t->topic_life)
			open_tap(l, t, t->topic);
		if (t->state != SUB_ON)
			continue;
		t->credit += 1000000;
		engine_sub_credit(l->world.engine, &t->sub, 1000000);
	}
	sim_world_run(&l->world, CATCH_UP_NS);
	for (int i = 0; i < TAPS; i++) {
		struct tap_model *t = &l->taps[i];

		for (int32_t q = 0; q < QUEUES && t->state == SUB_ON; q++) {
			struct op *op = op_new(l, OP_OTHER);
			op->u.range = (struct engine_range){.actor = &watcher, .topic = slice_str(l->topics[t->topic].name), .queue = q};
			enum status st = ask_wait(l, op, submit_range);
			uint64_t max = op->u.range.max;
			bool none = op->u.range.min == max;

			op_free(op);
			MUST(l, st != ST_OK || t->next[q] == max || (l->forgets && none), "a tap of %s/%d stays at %llu, the queue ends at %llu",
				l->topics[t->topic].name, q, (unsigned long long)t->next[q], (unsigned long long)max);
		}
		if (t->state == SUB_ON) {
			t->state = SUB_ENDING;
			engine_sub_close(l->world.engine, &t->sub);
		}
	}
	sim_world_run(&l->world, SEC_NS);
	for (int i = 0; i < TAPS; i++)
		MUST(l, l->taps[i].state == SUB_OFF, "a tap does not end");
}
