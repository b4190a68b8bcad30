/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The workload: random requests, and what the model learns from their answers. A request whose answer the crash took away is "unsure": it
 * may have happened or not. What a request lends the engine is overwritten as soon as the asking call has returned.
 */
#include "base/be.h"
#include "base/props.h"
#include "record/record.h"
#include "tests/sim/native.h"

#define ANSWER_NS (30 * SEC_NS) /* every request is answered by then */
enum {
	OPS_MAX = 60,
	SCRIBBLE = 0xdb,
	UNIFORM_BODY = 21 /* makes the record as long as the one that the engine writes at each start, so that their bounds fall together */
};

static const struct actor tester = {.front = "sim", .address = {(const uint8_t *)"10.0.0.1:1", 10}};

/* ---- Requests in general ------------------------------------------------------------------------------------------------------ */

struct op *op_new(struct life *l, enum op_kind kind)
{
	struct op *op = mem_new(sizeof(*op));

	op->life = l;
	op->kind = kind;
	list_push(&l->ops, &op->link);
	l->n_ops++;
	return op;
}

void op_free(struct op *op)
{
	op->life->n_ops--;
	list_remove(&op->link);
	mem_free(op);
}

static struct op *op_of(struct engine_ask *a)
{
	return container_of(a, struct op, u.ask);
}

static void note_answer(struct engine_ask *a, enum status st)
{
	struct op *op = op_of(a);

	MUST(op->life, !op->done, "done() came twice");
	op->done = true;
	op->status = st;
	if (op->then != NULL)
		op->then(op);
}

enum status ask_wait(struct life *l, struct op *op, void (*submit)(struct life *, struct op *))
{
	op->u.ask.done = note_answer;
	op->waited = true;
	submit(l, op);
	MUST(l, !op->done, "done() came inside the asking call");
	MUST(l, sim_world_until(&l->world, &op->done, ANSWER_NS), "a request (verb %d) is not answered", op->u.ask.verb);
	return op->status;
}

bool excused(const struct life *l, enum status st)
{
	return l->faulty || l->world.disk->dead || (l->tight && st == ST_DISK_FULL);
}

static void scribble(struct buf *b)
{
	memset(b->p, SCRIBBLE, b->n);
	buf_reset(b);
}

static void trace(struct op *op, const char *what, enum status st)
{
	log_trace(&op->life->world.log.base, "sim", "answer=%s status=%s topic=%d group=%d first=%llu count=%llu", what, status_name(st), op->topic, op->group,
		(unsigned long long)op->first, (unsigned long long)op->count);
}

/* Answers that say for sure that nothing was stored. */
static bool is_refusal(enum status st)
{
	return st != ST_OK && st != ST_IO && st != ST_CLOSED;
}

/* ---- Sending -------------------------------------------------------------------------------------------------------------------- */

static uint64_t message_new(struct life *l, int topic, int32_t queue, uint32_t size, int delay)
{
	if (l->n_msgs == l->cap_msgs) {
		l->cap_msgs *= 2;
		l->msgs = mem_grow(l->msgs, l->cap_msgs * sizeof(*l->msgs));
	}
	struct message *m = &l->msgs[l->n_msgs];

	*m = (struct message){.fate = FATE_NEW, .topic = (int16_t)topic, .life = l->topics[topic].life, .size = size, .queue = queue,
		.delay = (uint8_t)delay};
	return l->n_msgs++;
}

static void sent(struct engine_ask *a, enum status st)
{
	struct op *op = op_of(a);
	struct life *l = op->life;
	const struct engine_send *r = &op->u.send;

	trace(op, "send", st);
	l->sender_busy[op->sender] = false;
	if (st == ST_OK) {
		MUST(l, r->count == op->count, "a batch of %llu was stored as %u", (unsigned long long)op->count, r->count);
		MUST(l, !r->durable || l->world.conf.flush == FLUSH_SYNC, "memory was called disk");
		if (l->topics[op->topic].being != PRESENT && l->topics[op->topic].life == op->topic_life)
			l->topics[op->topic].being = r->durable || l->world.conf.flush == FLUSH_ASYNC ? PRESENT : UNSURE;
	}
	for (uint64_t i = 0; i < op->count; i++) {
		struct message *m = &l->msgs[op->first + i];

		m->fate = st == ST_OK ? FATE_ACKED : is_refusal(st) ? FATE_REFUSED : FATE_UNSURE;
		m->answered_ns = l->world.clock.now_ns;
		if (st != ST_OK)
			continue;
		m->durable |= r->durable;
		m->stored_ms = r->store_ms;
		if (m->delay > 0) {
			m->parked = r->position;
			continue;
		}
		uint64_t position = r->positions != NULL ? r->positions[i] : r->position;

		MUST(l, !m->seen || (m->queue == r->queue && m->offset == r->offset + i && m->position == position),
			"message %llu was read elsewhere than its sender is told", (unsigned long long)(op->first + i));
		m->seen = true;
		m->queue = r->queue;
		m->offset = r->offset + i;
		m->position = position;
	}
	l->acked += st == ST_OK ? op->count : 0;
	l->refused += is_refusal(st) ? op->count : 0;
	/* Without faults only three refusals are plausible here. */
	MUST(l, st == ST_OK || excused(l, st) || st == ST_NO_TOPIC || st == ST_BUSY || st == ST_NO_QUEUE || st == ST_CLOSED,
		"a send was answered with %s", status_name(st));
	MUST(l, st != ST_NO_TOPIC || l->topics[op->topic].being != PRESENT || (op->via > 0 && !op->was_present) || l->topics[op->topic].life != op->topic_life || l->topics[op->topic].busy,
		"%s exists, but a send was answered with NO_TOPIC", l->topics[op->topic].name);
	mem_free(r->positions);
	op_free(op);
}

static void put_props(struct life *l, uint64_t id, int delay)
{
	char text[64];

	snprintf(text, sizeof(text), "%016llX", (unsigned long long)id);
	buf_reset(&l->props);
	if (l->uniform) {
		props_put(&l->props, SLICE_LIT("UNIQ_KEY"), slice_str(text));
		return;
	}
	if (!one_in(l, 5))
		props_put(&l->props, SLICE_LIT("UNIQ_KEY"), slice_str(text));
	if (one_in(l, 2))
		props_put(&l->props, SLICE_LIT("TAGS"), one_in(l, 2) ? SLICE_LIT("TagA") : SLICE_LIT("TagB"));
	if (one_in(l, 3))
		props_put(&l->props, SLICE_LIT("KEYS"), slice_str(text));
	if (one_in(l, 30))
		props_put(&l->props, SLICE_LIT("__CRC32#"), SLICE_LIT("0123456789"));
	if (one_in(l, 15))
		props_put(&l->props, SLICE_LIT("WAIT"), SLICE_LIT("false"));
	if (delay > 0) {
		snprintf(text, sizeof(text), "%d", delay);
		props_put(&l->props, SLICE_LIT("DELAY"), slice_str(text));
	}
	if (one_in(l, 100)) {
		static char big[30000];

		memset(big, 'b', sizeof(big));
		props_put(&l->props, SLICE_LIT("big"), slice_of(big, below(l, sizeof(big))));
	}
	/* As a 4.9 client leaves it. */
	if (l->props.n > 0 && one_in(l, 3))
		l->props.n--;
}

static uint32_t random_size(struct life *l)
{
	uint32_t max = l->world.conf.max_message, n;

	if (l->uniform)
		return UNIFORM_BODY;
	switch (below(l, 12)) {
	case 0: n = (uint32_t)below(l, max); break;
	case 1: n = max - (uint32_t)below(l, 50); break;
	case 2: n = l->world.conf.block_bytes - (uint32_t)below(l, 300); break; /* at a block's edge */
	default: n = (uint32_t)below(l, 400);
	}
	return n < BODY_MIN ? BODY_MIN : n > max ? max : n;
}

static void ask_send(struct life *l, int topic)
{
	struct topic_model *t = &l->topics[topic];
	struct op *op = op_new(l, OP_SEND);
	struct engine_send *r = &op->u.send;
	int32_t queue = t->queues == 0 || one_in(l, 3) ? -1 : (int32_t)below(l, t->queues);
	int delay = one_in(l, 8) && !l->uniform ? 1 + (int)below(l, 6) : 0;

	op->topic = topic;
	op->topic_life = t->life;
	op->sender = -1;
	for (int i = 0; i < SENDERS; i++)
		if (!l->sender_busy[i])
			op->sender = i;
	if (op->sender < 0) {
		op_free(op);
		return;
	}
	l->sender_busy[op->sender] = true;
	buf_reset(&l->body);
	op->count = one_in(l, 6) && !l->uniform ? 1 + below(l, 8) : 1;
	r->batch = op->count > 1 || (one_in(l, 40) && !l->uniform);
	if (r->batch)
		delay = 0;
	for (uint64_t i = 0; i < op->count; i++) {
		uint32_t size = r->batch ? BODY_MIN + (uint32_t)below(l, l->world.conf.max_message / 10) : random_size(l);
		uint64_t id = message_new(l, topic, queue, size, delay);

		if (i == 0)
			op->first = id;
		put_props(l, id, delay);
		if (!r->batch) {
			body_put(&l->body, id, size);
			break;
		}
		l->props.n = u64_min(l->props.n, 100);
		while (l->props.n > 0 && !props_valid(buf_view(&l->props)))
			l->props.n--;
		buf_be32(&l->body, 22 + size + (uint32_t)l->props.n);
		buf_be64(&l->body, 0);
		buf_be32(&l->body, 7);
		buf_be32(&l->body, size);
		body_put(&l->body, id, size);
		buf_be16(&l->body, (uint16_t)l->props.n);
		buf_slice(&l->body, buf_view(&l->props));
	}
	if (r->batch)
		buf_reset(&l->props);
	char name[32];

	snprintf(name, sizeof(name), "%s", t->name);
	r->ask.done = sent;
	r->actor = &tester;
	r->msg = (struct msg){.topic = slice_str(name), .body = buf_view(&l->body), .props = buf_view(&l->props), .queue = queue, .flag = 7,
		.max_reconsume = -1, .born_ms = clock_wall_ms(&l->world.clock.base), .born_ip = 0x0a000001, .born_port = 1234};
	if (topic == TOPICS - 1) {
		r->default_topic = SLICE_LIT("TBW102");
		r->default_queues = QUEUES;
	}
	if (!native_carry(l, op))
		engine_send(l->world.engine, r);
	memset(name, SCRIBBLE, sizeof(name));
	if (l->body.n > 0)
		scribble(&l->body);
	if (l->props.n > 0)
		scribble(&l->props);
}

/* ---- Topics --------------------------------------------------------------------------------------------------------------------- */

static void topic_forgotten(struct life *l, int topic)
{
	struct topic_model *t = &l->topics[topic];

	native_topic_gone(l, topic);
	t->being = ABSENT;
	t->life++;
	t->queues = t->maybe = 0;
	t->incarnation = 0;
	memset(t->next, 0, sizeof(t->next));
	for (int g = 0; g < GROUPS; g++)
		for (int q = 0; q < QUEUES; q++) {
			l->offsets[g][topic][q].n = 0;
			l->offsets[g][topic][q].sure = false;
		}
}

static void topic_answered(struct engine_ask *a, enum status st)
{
	struct op *op = op_of(a);
	struct life *l = op->life;
	struct topic_model *t = &l->topics[op->topic];

	trace(op, "topic", st);
	t->busy = t->dropping = false;
	if (op->kind == OP_TOPIC_PUT && st == ST_OK) {
		t->being = PRESENT;
		t->queues = t->asked;
	} else if (op->kind == OP_TOPIC_DROP && (st == ST_OK || st == ST_NO_TOPIC)) {
		MUST(l, st == ST_OK || t->being != PRESENT, "%s exists, but cannot be dropped", t->name);
		topic_forgotten(l, op->topic);
	} else if (st == ST_IO || st == ST_CLOSED) {
		t->being = UNSURE;
	} else {
		MUST(l, excused(l, st) || st == ST_BUSY, "a change of a topic was answered with %s", status_name(st));
	}
	op_free(op);
}

static void ask_topic(struct life *l, int topic, bool drop)
{
	struct topic_model *t = &l->topics[topic];
	struct op *op;

	if (t->busy)
		return;
	if (drop)
		LIST_EACH(&l->ops, n) {
			/* Who asked for what before a drop is not followed up: wait for quiet. */
			struct op *other = container_of(n, struct op, link);

			if (other->kind != OP_JOIN && other->kind != OP_LEAVE && other->kind != OP_SUB && other->kind != OP_SETTLE && other->topic == topic)
				return;
		}
	op = op_new(l, drop ? OP_TOPIC_DROP : OP_TOPIC_PUT);
	op->topic = topic;
	op->u.topic.ask.done = topic_answered;
	op->u.topic.actor = &tester;
	op->u.topic.name = slice_str(t->name);
	t->asked = (uint32_t)u64_max(u64_max(t->queues, t->maybe), 1 + below(l, QUEUES));
	op->u.topic.conf = (struct topic_conf){.read_queues = t->asked, .write_queues = t->asked, .perm = PERM_READ | PERM_WRITE};
	t->busy = true;
	t->dropping = drop;
	if (drop)
		engine_topic_drop(l->world.engine, &op->u.topic);
	else if (!native_carry(l, op))
		engine_topic_put(l->world.engine, &op->u.topic);
}

/* ---- Offsets ---------------------------------------------------------------------------------------------------------------------- */

static void offset_answered(struct engine_ask *a, enum status st)
{
	struct op *op = op_of(a);
	struct life *l = op->life;
	struct offset_model *o = &l->offsets[op->group][op->topic][op->queue];
	bool current = l->topics[op->topic].life == op->topic_life && op->commit < o->n;

	trace(op, "offset", st);
	if (st == ST_OK && current) {
		o->history[op->commit].answered = true;
		o->history[op->commit].answered_ns = l->world.clock.now_ns;
		/* A commit is answered before it is durable, and so is then the group that it made. */
		l->group_sure[op->group] |= op->kind == OP_RESET;
	} else if (is_refusal(st)) {
		MUST(l, excused(l, st) || st == ST_BUSY || !current || l->topics[op->topic].being != PRESENT,
			"a commit was answered with %s", status_name(st));
	}
	op_free(op);
}

/* A commit that is on its way to the engine could come behind what is asked of it now. */
static bool commit_under_way(struct life *l, int group, int topic, int32_t queue)
{
	LIST_EACH(&l->ops, k) {
		const struct op *other = container_of(k, struct op, link);

		if (other->via > 0 && other->kind == OP_COMMIT && other->group == group && other->topic == topic && other->queue == queue)
			return true;
	}
	return false;
}

static size_t commit_add(struct offset_model *o, struct commit c)
{
	if (o->n == o->cap) {
		o->cap = o->cap == 0 ? 8 : o->cap * 2;
		o->history = mem_grow(o->history, o->cap * sizeof(*o->history));
	}
	o->history[o->n] = c;
	return o->n++;
}

static void ask_offset(struct life *l, int topic, bool reset)
{
	struct topic_model *t = &l->topics[topic];
	int group = (int)below(l, GROUPS);
	int32_t queue = (int32_t)below(l, QUEUES);
	struct offset_model *o = &l->offsets[group][topic][queue];
	uint64_t last = 0;

	if (commit_under_way(l, group, topic, queue))
		return;
	/* Above all that the offset may be: a lower one does not count while somebody pulls. */
	for (size_t i = o->n; i > 0; i--) {
		last = u64_max(last, o->history[i - 1].value);
		if (o->history[i - 1].reset && o->history[i - 1].answered)
			break;
	}
	if (t->being != PRESENT || t->busy || (uint32_t)queue >= t->queues)
		return;
	/* Only what is visible for sure can be committed. */
	uint64_t end = t->next[queue];

	if (end == 0 || (!reset && last >= end))
		return;
	struct op *op = op_new(l, reset ? OP_RESET : OP_COMMIT);

	op->group = group;
	op->topic = topic;
	op->topic_life = t->life;
	op->queue = queue;
	op->commit = commit_add(o, (struct commit){.value = reset ? below(l, end + 1) : last + 1 + below(l, end - last), .reset = reset});
	op->u.offset = (struct engine_offset){.ask = {.done = offset_answered}, .actor = &tester, .group = slice_str(group_of(group)),
		.topic = slice_str(t->name), .queue = queue, .offset = o->history[op->commit].value};
	if (reset)
		engine_offset_reset(l->world.engine, &op->u.offset);
	else if (!native_carry(l, op))
		engine_offset_commit(l->world.engine, &op->u.offset);
}

static void forgotten(struct engine_ask *a, enum status st)
{
	struct op *op = op_of(a);
	struct life *l = op->life;

	trace(op, "forget", st);
	for (int q = 0; q < QUEUES && st == ST_OK && l->topics[op->topic].life == op->topic_life; q++) {
		struct offset_model *o = &l->offsets[op->group][op->topic][q];

		if (op->commits[q] < o->n)
			o->history[op->commits[q]].answered = true;
	}
	MUST(l, st == ST_OK || excused(l, st) || st == ST_BUSY || st == ST_CLOSED || st == ST_IO || st == ST_NO_GROUP || st == ST_NO_TOPIC,
		"forgetting a topic's offsets was answered with %s", status_name(st));
	op_free(op);
}

static void ask_forget(struct life *l, int topic)
{
	struct topic_model *t = &l->topics[topic];
	int group = (int)below(l, GROUPS);

	if (t->being != PRESENT || t->busy)
		return;
	for (int32_t q = 0; q < QUEUES; q++)
		if (commit_under_way(l, group, topic, q))
			return;
	struct op *op = op_new(l, OP_FORGET);

	op->group = group;
	op->topic = topic;
	op->topic_life = t->life;
	for (int q = 0; q < QUEUES; q++)
		op->commits[q] = commit_add(&l->offsets[group][topic][q], (struct commit){.reset = true, .none = true});
	op->u.offset = (struct engine_offset){.ask = {.done = forgotten}, .actor = &tester, .group = slice_str(group_of(group)), .topic = slice_str(t->name)};
	engine_offset_drop(l->world.engine, &op->u.offset);
}

/* ---- Members ------------------------------------------------------------------------------------------------------------------------ */

static void member_answered(struct engine_ask *a, enum status st)
{
	struct op *op = op_of(a);
	struct life *l = op->life;

	trace(op, "member", st);
	if (op->kind == OP_JOIN && st == ST_OK)
		l->group_sure[op->group] = true;
	MUST(l, st == ST_OK || excused(l, st) || st == ST_BUSY || st == ST_CLOSED, "a member was answered with %s", status_name(st));
	op_free(op);
}

static void ask_member(struct life *l)
{
	int i = (int)below(l, MEMBERS);
	bool leave = l->joined[i] && one_in(l, 3);
	struct op *op = op_new(l, leave ? OP_LEAVE : OP_JOIN);

	op->group = i % GROUPS;
	if (leave) {
		op->u.leave = (struct engine_leave){.ask = {.done = member_answered}, .member = &l->members[i]};
		l->joined[i] = false;
		engine_leave(l->world.engine, &op->u.leave);
		return;
	}
	char id[16];
	struct subscription subs[TOPICS];
	size_t n = 1 + below(l, TOPICS);

	snprintf(id, sizeof(id), "client-%d", i);
	for (size_t k = 0; k < n; k++)
		subs[k] = (struct subscription){slice_str(l->topics[k].name), SLICE_LIT("*"), 1};
	op->u.join = (struct engine_join){.ask = {.done = member_answered}, .actor = &tester, .member = &l->members[i], .kind = MEMBER_CONSUMER,
		.group = slice_str(group_of(op->group)), .client_id = slice_str(id), .type = CONSUME_PASSIVELY, .model = MODEL_CLUSTERING, .subs = subs,
		.n_subs = n};
	l->joined[i] = true;
	engine_join(l->world.engine, &op->u.join);
	memset(id, SCRIBBLE, sizeof(id));
	memset(subs, SCRIBBLE, sizeof(subs));
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------------------ */

static void pulled(struct engine_ask *a, enum status st)
{
	struct op *op = op_of(a);
	struct life *l = op->life;
	struct engine_pull *r = &op->u.pull;
	struct topic_model *t = &l->topics[op->topic];
	struct buf all = {0};

	if (t->life != op->topic_life || st != ST_OK) {
		MUST(l, st != ST_CORRUPT, "a pull was answered with CORRUPT");
		op_free(op);
		return;
	}
	MUST(l, r->count >= 1 && r->next > r->from, "a pull without messages or progress");
	for (unsigned i = 0; i < r->n_pieces; i++)
		buf_slice(&all, r->pieces[i].bytes);
	struct slice rest = buf_view(&all);

	for (uint32_t i = 0; i < r->count; i++) {
		struct record rec;
		enum status check = record_decode(rest, &rec);

		MUST(l, check == ST_OK && record_check(rest, rec.position, false, &rec) == ST_OK, "a pull of %s/%d gave bytes that are not a record",
			t->name, op->queue);
		uint64_t id = body_id(rec.body);

		MUST(l, id > 0 && id < l->n_msgs && l->msgs[id].topic == op->topic, "a pull of %s/%d at %llu gave a message that nobody sent", t->name,
			op->queue, (unsigned long long)rec.queue_offset);
		struct message *m = &l->msgs[id];

		MUST(l, rec.queue_offset == r->from + i && rec.queue == op->queue, "a pull of %s/%d from %llu gave %d/%llu", t->name, op->queue,
			(unsigned long long)(r->from + i), rec.queue, (unsigned long long)rec.queue_offset);
		MUST(l, !m->seen || (m->position == rec.position && m->offset == rec.queue_offset && m->queue == op->queue),
			"message %llu is in two places", (unsigned long long)id);
		m->seen = true;
		m->position = rec.position;
		m->offset = rec.queue_offset;
		m->queue = op->queue;
		if (l->world.conf.flush == FLUSH_SYNC)
			m->durable = true; /* nothing is visible before it is on disk */
		if (t->next[op->queue] <= rec.queue_offset)
			t->next[op->queue] = rec.queue_offset + 1;
		rest = slice_skip(rest, rec.size);
	}
	MUST(l, rest.n == 0 && r->next == r->from + r->count, "a pull gave more bytes or steps than messages");
	buf_fini(&all);
	op_free(op);
}

static void ask_pull(struct life *l, int topic)
{
	struct topic_model *t = &l->topics[topic];
	int32_t queue = (int32_t)below(l, QUEUES);

	if (t->being != PRESENT || t->busy || (uint32_t)queue >= t->queues)
		return;
	struct op *op = op_new(l, OP_PULL);

	op->topic = topic;
	op->topic_life = t->life;
	op->queue = queue;
	op->u.pull = (struct engine_pull){.ask = {.done = pulled}, .actor = &tester, .topic = slice_str(t->name), .queue = queue,
		.from = one_in(l, 2) ? t->next[queue] : below(l, t->next[queue] + 1), .max_msgs = 1 + (uint32_t)below(l, 40),
		.max_bytes = 1 + (uint32_t)below(l, 200000), .wait_ms = one_in(l, 2) ? 0 : below(l, 500), .has_expr = true, .expr = SLICE_LIT("*"),
		.commit = -1};
	if (!native_carry(l, op))
		engine_pull(l->world.engine, &op->u.pull);
}

/* ---- Sending back --------------------------------------------------------------------------------------------------------------------- */

static void sent_back(struct engine_ask *a, enum status st)
{
	struct op *op = op_of(a);
	struct message *m = &op->life->msgs[op->first];

	trace(op, "send-back", st);
	MUST(op->life, m->backs_unsure[op->group] > 0, "a message came back that was not sent back");
	if (st == ST_OK || is_refusal(st))
		m->backs_unsure[op->group]--;
	if (st == ST_OK) {
		m->backs_sure[op->group]++;
		op->life->group_sure[op->group] = true;
	}
	MUST(op->life, st == ST_OK || excused(op->life, st) || st == ST_BUSY || st == ST_NO_GROUP || st == ST_NOT_FOUND ||
		st == ST_CLOSED || st == ST_ILLEGAL, "a send-back was answered with %s", status_name(st));
	MUST(op->life, st != ST_NO_GROUP || !op->life->group_sure[op->group] || (op->via > 0 && !op->was_group), "the group exists, but a send-back was answered with NO_GROUP");
	op_free(op);
}

static void ask_send_back(struct life *l)
{
	uint64_t id = 1 + below(l, l->n_msgs);

	if (id >= l->n_msgs || !l->msgs[id].seen || l->msgs[id].fate == FATE_LOST || l->topics[l->msgs[id].topic].life != l->msgs[id].life)
		return;
	struct op *op = op_new(l, OP_SEND_BACK);

	op->first = id;
	op->topic = l->msgs[id].topic;
	op->group = (int)below(l, GROUPS);
	l->msgs[id].backs_unsure[op->group]++;
	op->u.back = (struct engine_send_back){.ask = {.done = sent_back}, .actor = &tester, .group = slice_str(group_of(op->group)),
		.position = l->msgs[id].position, .delay_level = one_in(l, 5) ? -1 : 1 + (int)below(l, 4), .max_reconsume = -1};
	if (!native_carry(l, op))
		engine_send_back(l->world.engine, &op->u.back);
}

/* ---- One step ------------------------------------------------------------------------------------------------------------------------- */

void work_step(struct life *l)
{
	int topic = (int)below(l, TOPICS);
	struct topic_model *t = &l->topics[topic];

	if (l->n_ops >= OPS_MAX)
		return;
	if (one_in(l, 4))
		native_step(l);
	switch (below(l, 25)) {
	case 0:
		if (topic != TOPICS - 1)
			ask_topic(l, topic, t->being == PRESENT && one_in(l, 12));
		break;
	case 1: ask_member(l); break;
	case 2:
	case 3:
		if (one_in(l, 12))
			ask_forget(l, topic);
		else
			ask_offset(l, topic, one_in(l, 5));
		break;
	case 4:
	case 5:
	case 6: ask_pull(l, topic); break;
	case 7: ask_send_back(l); break;
	case 8:
	case 9: lease_step(l); break;
	case 10:
	case 11: tap_step(l); break;
	case 12: cell_step(l); break;
	default:
		if (topic != TOPICS - 1 && t->being == ABSENT)
			ask_topic(l, topic, false);
		else if (!t->dropping)
			for (uint64_t n = one_in(l, 10) ? below(l, l->uniform ? SENDERS : 6) : 1; n > 0; n--)
				ask_send(l, topic);
	}
}

void op_lost(struct op *op)
{
	struct life *l = op->life;

	for (uint64_t i = 0; i < op->count; i++)
		l->msgs[op->first + i].fate = FATE_UNSURE;
	if (op->kind == OP_SETTLE && (op->u.settle.how == SETTLE_ACK || op->u.settle.how == SETTLE_REJECT))
		l->msgs[op->first].lease = LEASE_UNSURE;
	if (op->kind == OP_SEND) {
		mem_free(op->u.send.positions);
		l->sender_busy[op->sender] = false;
		if (op->topic == TOPICS - 1 && l->topics[op->topic].being == ABSENT)
			l->topics[op->topic].being = UNSURE;
	}
	if (op->kind == OP_TOPIC_PUT || op->kind == OP_TOPIC_DROP) {
		struct topic_model *t = &l->topics[op->topic];

		t->being = UNSURE;
		t->busy = t->dropping = false;
		t->maybe = (uint32_t)u64_max(t->maybe, t->asked);
	}
	if (op->kind == OP_MEMBERS || op->kind == OP_CELLS)
		mem_free(op->arg);
	op_free(op);
}

void work_crashed(struct life *l)
{
	native_crashed(l);
	while (!list_empty(&l->ops))
		op_lost(container_of(l->ops.next, struct op, link));
	for (int i = 0; i < TOPICS; i++) {
		if (l->topics[i].busy || (i == TOPICS - 1 && l->topics[i].being == ABSENT))
			l->topics[i].being = UNSURE;
		l->topics[i].busy = l->topics[i].dropping = false;
	}
	lease_crashed(l);
	tap_crashed(l);
	memset(l->sender_busy, 0, sizeof(l->sender_busy));
	memset(l->members, 0, sizeof(l->members));
	memset(l->joined, 0, sizeof(l->joined));
}
