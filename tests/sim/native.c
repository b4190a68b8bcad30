/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Native clients.
 *
 * Between the front and the engine stands a go-between, an engine of its own that passes everything on and remembers what is not answered. At
 * a crash it answers all of that with CLOSED, so that the front can be stopped although its engine is gone; so it is the front itself that
 * frees what it had under way, and what it forgets leaks.
 */
#include "tests/sim/native.h"

#include "base/props.h"
#include "front/native/native.h"
#include "record/record.h"
#include "tests/sim/net.h"
#include "wire/codes.h"
#include "wire/fields.h"
#include "wire/frame.h"

#define ANSWER_NS (30 * SEC_NS) /* every request is answered by then, and garbage by a closed connection */
#define WAIT_MS 20000            /* the longest of long polls: longer than a front may need to stop */
#define STOP_NS (5 * SEC_NS)
#define HOLD_NS (300 * MS_NS)    /* a slow reader stops for so long, at most */
#define PIECES_MAX 300           /* a frame that would take more of them goes to the engine instead */
enum { LOCK_QUEUES = 2 };

struct client {
	struct sim_peer peer;
	struct life *life;
	struct sim_conn *conn;   /* NULL: not connected */
	int no;
	char address[32];        /* of the connection, as the front sees it */
	struct buf in;           /* of an answer that is not whole */
	int32_t opaque;
	bool beaten;             /* a heartbeat was sent */
	bool garbage;            /* so was garbage: it must be closed */
	uint64_t garbage_ns;
	struct sim_event wake;   /* reads again */
};

/* Who holds a queue of the first topic. */
struct lock_model {
	bool held;
	int holder;
	uint64_t asked_ns, answered_ns;
	int32_t unlocked[CLIENTS + 1]; /* the last request of each client that may have given it back */
};

/* A request that the engine has not answered. */
struct passed {
	struct list link;
	struct engine_ask *ask;
	void (*done)(struct engine_ask *, enum status);
};

struct native {
	struct engine between;   /* the engine that the front sees */
	struct engine *engine;   /* the real one; NULL: it is gone */
	bool inside;             /* an asking call */
	struct list passed;
	struct life *life;
	void *front;
	struct front_conf conf;
	struct sim_net net;
	struct client clients[CLIENTS];
	struct lock_model locks[GROUPS][LOCK_QUEUES];
	struct buf frame, unescaped;
	struct wire_cmd cmd;
	bool stopping, stopped;
};

/* ---- The go-between ------------------------------------------------------------------------------------------------------------ */

static struct native *native_of(struct engine *e)
{
	return container_of(e, struct native, between);
}

/* The request of the front that this is; taken off the list. */
static struct passed *passed_take(struct native *n, struct engine_ask *a)
{
	LIST_EACH(&n->passed, k) {
		struct passed *p = container_of(k, struct passed, link);

		if (p->ask != a)
			continue;
		list_remove(&p->link);
		return p;
	}
	fail(n->life, "the engine answered what was not asked, or twice (verb %d)", a->verb);
}

/* The engine knows only the request: whose it is, the one front of the process knows. */
static struct native *answering;

static void answer(struct engine_ask *a, enum status st)
{
	struct native *n = answering;

	MUST(n->life, !n->inside, "done() came inside the asking call (verb %d)", a->verb);
	struct passed *p = passed_take(n, a);

	a->done = p->done;
	mem_free(p);
	if (a->done != NULL)
		a->done(a, st);
}

static void pass_submit(struct engine *e, struct engine_ask *a)
{
	struct native *n = native_of(e);
	struct passed *p = mem_new(sizeof(*p));

	p->ask = a;
	p->done = a->done;
	a->done = answer;
	list_push(&n->passed, &p->link);
	if (n->engine == NULL)
		return;
	n->inside = true;
	n->engine->ops->submit(n->engine, a);
	n->inside = false;
}

static void pass_cancel(struct engine *e, struct engine_ask *a)
{
	struct native *n = native_of(e);

	if (n->engine != NULL)
		engine_cancel(n->engine, a);
}

static void pass_credit(struct engine *e, struct engine_sub *s, uint32_t more)
{
	engine_sub_credit(native_of(e)->engine, s, more);
}

static void pass_close(struct engine *e, struct engine_sub *s)
{
	engine_sub_close(native_of(e)->engine, s);
}

static const struct engine_ops between_ops = {.submit = pass_submit, .cancel = pass_cancel, .sub_credit = pass_credit, .sub_close = pass_close};

static void answer_all(struct native *n)
{
	CHECK(n->engine == NULL);
	while (!list_empty(&n->passed))
		answer(container_of(n->passed.next, struct passed, link)->ask, ST_CLOSED);
}

/* ---- Requests -------------------------------------------------------------------------------------------------------------------- */

static void put_send(struct native *n, struct wire_out *o, const struct op *op, enum wire_form form, int32_t flag)
{
	/* The fields of 10, and the letters that 310 and 320 have for them. */
	static const char *const names[2][13] = {
		{"producerGroup", "topic", "defaultTopic", "defaultTopicQueueNums", "queueId", "sysFlag", "bornTimestamp", "flag", "properties",
			"reconsumeTimes", "unitMode", "maxReconsumeTimes", "batch"},
		{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"}};
	const struct msg *m = &op->u.send.msg;
	struct life *l = n->life;
	int32_t code = op->u.send.batch && one_in(l, 2) ? REQ_SEND_BATCH_MESSAGE : one_in(l, 4) ? REQ_SEND_MESSAGE : REQ_SEND_MESSAGE_V2;
	const char *const *name = names[code != REQ_SEND_MESSAGE];

	wire_begin(o, &n->frame, form, code, op->opaque, flag);
	wire_put(o, name[0], SLICE_LIT("senders"));
	wire_put(o, name[1], m->topic);
	wire_put(o, name[2], op->u.send.default_topic);
	wire_put_i64(o, name[3], op->u.send.default_queues);
	wire_put_i64(o, name[4], m->queue);
	wire_put_i64(o, name[5], m->sys_flag);
	wire_put_i64(o, name[6], m->born_ms);
	wire_put_i64(o, name[7], m->flag);
	wire_put(o, name[8], m->props);
	wire_put_i64(o, name[9], 0);
	wire_put_bool(o, name[10], false);
	wire_put_i64(o, name[11], 16);
	if (op->u.send.batch && code != REQ_SEND_BATCH_MESSAGE)
		wire_put_bool(o, name[12], true);
	wire_finish(o, m->body.n);
	buf_slice(&n->frame, m->body);
}

static void put_pull(struct native *n, struct wire_out *o, struct op *op, enum wire_form form, const struct client *c)
{
	struct life *l = n->life;
	struct engine_pull *r = &op->u.pull;
	bool announced = c->beaten && one_in(l, 3); /* filter by what the group subscribes to */

	if (n->net.conf.chunk_max > 0)
		r->max_bytes = (uint32_t)u64_min(r->max_bytes, (uint64_t)n->net.conf.chunk_max * PIECES_MAX);
	if (r->wait_ms > 0 && one_in(l, 4))
		r->wait_ms = 1 + below(l, WAIT_MS);
	op->group = c->no % GROUPS;
	wire_begin(o, &n->frame, form, REQ_PULL_MESSAGE, op->opaque, 0);
	wire_put(o, "consumerGroup", slice_str(group_of(op->group)));
	wire_put(o, "topic", r->topic);
	wire_put_i64(o, "queueId", r->queue);
	wire_put_i64(o, "queueOffset", (int64_t)r->from);
	wire_put_i64(o, "maxMsgNums", r->max_msgs);
	wire_put_i64(o, "maxMsgBytes", r->max_bytes);
	wire_put_i64(o, "sysFlag", (r->wait_ms > 0 ? PULL_SUSPEND : 0) | (announced ? 0 : PULL_SUBSCRIPTION));
	wire_put_i64(o, "commitOffset", 0);
	wire_put_i64(o, "suspendTimeoutMillis", (int64_t)r->wait_ms);
	if (!announced)
		wire_put(o, "subscription", SLICE_LIT("*"));
	wire_put_i64(o, "subVersion", announced ? 0 : 1);
	wire_put(o, "expressionType", SLICE_LIT("TAG"));
	wire_finish(o, 0);
}

static void put_offset(struct native *n, struct wire_out *o, const struct op *op, enum wire_form form, int32_t flag)
{
	wire_begin(o, &n->frame, form, REQ_UPDATE_CONSUMER_OFFSET, op->opaque, flag);
	wire_put(o, "consumerGroup", op->u.offset.group);
	wire_put(o, "topic", op->u.offset.topic);
	wire_put_i64(o, "queueId", op->u.offset.queue);
	wire_put_i64(o, "commitOffset", (int64_t)op->u.offset.offset);
	wire_finish(o, 0);
}

static void put_back(struct native *n, struct wire_out *o, const struct op *op, enum wire_form form)
{
	wire_begin(o, &n->frame, form, REQ_CONSUMER_SEND_MSG_BACK, op->opaque, 0);
	wire_put_i64(o, "offset", (int64_t)op->u.back.position);
	wire_put(o, "group", op->u.back.group);
	wire_put_i64(o, "delayLevel", op->u.back.delay_level);
	wire_put_bool(o, "unitMode", false);
	wire_put_i64(o, "maxReconsumeTimes", op->u.back.max_reconsume);
	wire_finish(o, 0);
}

static void put_topic(struct native *n, struct wire_out *o, const struct op *op, enum wire_form form)
{
	wire_begin(o, &n->frame, form, REQ_UPDATE_AND_CREATE_TOPIC, op->opaque, 0);
	wire_put(o, "topic", op->u.topic.name);
	wire_put(o, "defaultTopic", SLICE_LIT("TBW102"));
	wire_put_i64(o, "readQueueNums", op->u.topic.conf.read_queues);
	wire_put_i64(o, "writeQueueNums", op->u.topic.conf.write_queues);
	wire_put_i64(o, "perm", op->u.topic.conf.perm);
	wire_put(o, "topicFilterType", SLICE_LIT("SINGLE_TAG"));
	wire_put_i64(o, "topicSysFlag", 0);
	wire_put_bool(o, "order", false);
	wire_finish(o, 0);
}

/* The frame goes; from now on the op is the connection's. */
static void go(struct native *n, struct client *c, struct op *op)
{
	struct life *l = n->life;

	op->via = c->no + 1;
	op->asked_ns = l->world.clock.now_ns;
	op->was_present = l->topics[op->topic].being == PRESENT;
	op->was_group = l->group_sure[op->group];
	l->carried++;
	sim_conn_send(c->conn, buf_view(&n->frame));
}

static enum wire_form next_request(struct native *n, struct client *c, struct op *op)
{
	buf_reset(&n->frame);
	op->opaque = ++c->opaque;
	op->form = (uint8_t)(one_in(n->life, 2) ? WIRE_JSON : WIRE_BINARY);
	return (enum wire_form)op->form;
}

static bool usable(const struct client *c)
{
	return c->conn != NULL && !c->conn->closing && !c->garbage;
}

bool native_carry(struct life *l, struct op *op)
{
	struct native *n = l->native;

	if (n == NULL || n->stopping || one_in(l, 3))
		return false;
	struct client *c = &n->clients[below(l, CLIENTS)];

	if (!usable(c))
		return false;
	struct wire_out o;
	enum wire_form form = next_request(n, c, op);

	op->oneway = (op->kind == OP_SEND && one_in(l, 12)) || (op->kind == OP_COMMIT && one_in(l, 4));
	int32_t flag = op->oneway ? WIRE_FLAG_ONEWAY : 0;

	switch (op->kind) {
	case OP_SEND:
		if (op->u.send.msg.body.n > n->conf.max_message)
			return false;
		put_send(n, &o, op, form, flag);
		break;
	case OP_PULL: put_pull(n, &o, op, form, c); break;
	case OP_COMMIT: put_offset(n, &o, op, form, flag); break;
	case OP_SEND_BACK: put_back(n, &o, op, form); break;
	case OP_TOPIC_PUT: put_topic(n, &o, op, form); break;
	default: return false;
	}
	if (n->net.conf.chunk_max > 0 && n->frame.n > (size_t)n->net.conf.chunk_max * PIECES_MAX)
		return false;
	if (op->kind == OP_SEND) {
		static const struct slice later = SLICE_LIT("WAIT\1false");
		const struct msg *m = &op->u.send.msg;

		/* Then the answer does not say that it is on disk. */
		op->early = (m->props.n > 0 && memmem(m->props.p, m->props.n, later.p, later.n) != NULL) ||
			memmem(m->body.p, m->body.n, later.p, later.n) != NULL;
		for (uint64_t i = 0; i < op->count; i++)
			l->msgs[op->first + i].via = (uint8_t)(c->no + 1);
	}
	go(n, c, op);
	return true;
}

/* ---- Requests that only clients make ------------------------------------------------------------------------------------------- */

static struct op *own_op(struct native *n, enum op_kind kind, void (*done)(struct engine_ask *, enum status))
{
	struct op *op = op_new(n->life, kind);

	op->u.ask.done = done;
	return op;
}

static void own_answered(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct life *l = op->life;

	MUST(l, st == ST_OK || st == ST_BUSY || st == ST_CLOSED || excused(l, st) || (st == ST_NO_GROUP && !op->was_group), "a client's request (kind %d) was answered with %s", op->kind,
		status_name(st));
	if (op->kind == OP_JOIN && st == ST_OK)
		l->group_sure[op->group] = true;
	op_free(op);
}

static void beat(struct native *n, struct client *c)
{
	struct life *l = n->life;
	struct op *op = own_op(n, OP_JOIN, own_answered);
	struct wire_out o;
	struct buf body = {0};

	op->group = c->no % GROUPS;
	buf_fmt(&body, "{\"clientID\":\"net-%d\",\"producerDataSet\":[{\"groupName\":\"senders\"}],\"consumerDataSet\":[{\"groupName\":\"%s\","
		"\"consumeType\":\"CONSUME_PASSIVELY\",\"messageModel\":\"CLUSTERING\",\"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\","
		"\"unitMode\":false,\"subscriptionDataSet\":[", c->no, group_of(op->group));
	for (int i = 0; i < TOPICS; i++)
		buf_fmt(&body, "%s{\"topic\":\"%s\",\"subString\":\"*\",\"subVersion\":1,\"tagsSet\":[],\"codeSet\":[],\"classFilterMode\":false}",
			i == 0 ? "" : ",", l->topics[i].name);
	buf_str(&body, "]}]}");
	enum wire_form form = next_request(n, c, op);

	wire_begin(&o, &n->frame, form, REQ_HEART_BEAT, op->opaque, 0);
	wire_finish(&o, body.n);
	buf_slice(&n->frame, buf_view(&body));
	buf_fini(&body);
	c->beaten = true;
	go(n, c, op);
}

static void unregister(struct native *n, struct client *c)
{
	struct op *op = own_op(n, OP_OTHER, own_answered);
	struct wire_out o;
	char id[16];

	snprintf(id, sizeof(id), "net-%d", c->no);
	enum wire_form form = next_request(n, c, op);

	wire_begin(&o, &n->frame, form, REQ_UNREGISTER_CLIENT, op->opaque, 0);
	wire_put(&o, "clientID", slice_str(id));
	wire_put(&o, "consumerGroup", slice_str(group_of(c->no % GROUPS)));
	wire_put(&o, "producerGroup", SLICE_LIT("senders"));
	wire_finish(&o, 0);
	c->beaten = false;
	go(n, c, op);
}

static void max_answered(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct life *l = op->life;

	if (st == ST_OK && op->was_present && l->topics[op->topic].life == op->topic_life)
		MUST(l, op->u.range.max >= op->u.range.min, "the end of %s/%d is %llu, was %llu", l->topics[op->topic].name, op->queue,
			(unsigned long long)op->u.range.max, (unsigned long long)op->u.range.min);
	own_answered(a, st);
}

static void ask_max(struct native *n, struct client *c)
{
	struct life *l = n->life;
	struct op *op = own_op(n, OP_OTHER, max_answered);
	struct wire_out o;

	op->topic = (int)below(l, TOPICS);
	op->topic_life = l->topics[op->topic].life;
	op->queue = (int32_t)below(l, QUEUES);
	op->u.range.min = l->topics[op->topic].dropping ? 0 : l->topics[op->topic].next[op->queue];
	enum wire_form form = next_request(n, c, op);

	wire_begin(&o, &n->frame, form, REQ_GET_MAX_OFFSET, op->opaque, 0);
	wire_put(&o, "topic", slice_str(l->topics[op->topic].name));
	wire_put_i64(&o, "queueId", op->queue);
	wire_finish(&o, 0);
	op->max_asked = true;
	go(n, c, op);
}

static void lock_answered(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct life *l = op->life;
	struct lock_model *k = &l->native->locks[op->group][op->queue];
	uint64_t now = l->world.clock.now_ns;

	if (st == ST_OK && op->granted) {
		MUST(l, !k->held || k->holder == op->via || op->asked_ns <= k->answered_ns ||
			now >= k->asked_ns + l->world.conf.lock_expire_ms * MS_NS,
			"queue %d is locked for client %d, and for %d as well", op->queue, k->holder - 1, op->via - 1);
		if (op->opaque > k->unlocked[op->via]) {
			k->held = true;
			k->holder = op->via;
			k->asked_ns = op->asked_ns;
			k->answered_ns = now;
		}
	}
	own_answered(a, st);
}

static void poll_answered(struct engine_ask *a, enum status st)
{
	(void)st; /* read_pulled has looked at it */
	op_free(container_of(a, struct op, u.ask));
}

/* Waits at what may be the end of a queue, for longer than a front may need to stop. */
static void poll_long(struct native *n, struct client *c)
{
	struct life *l = n->life;
	int topic = (int)below(l, TOPICS);
	struct topic_model *t = &l->topics[topic];
	int32_t queue = (int32_t)below(l, QUEUES);

	if (t->being != PRESENT || t->busy || (uint32_t)queue >= t->queues)
		return;
	struct op *op = own_op(n, OP_PULL, poll_answered);
	struct wire_out o;

	op->topic = topic;
	op->topic_life = t->life;
	op->queue = queue;
	op->u.pull.topic = slice_str(t->name);
	op->u.pull.queue = queue;
	op->u.pull.from = t->next[queue];
	op->u.pull.max_msgs = 1;
	op->u.pull.max_bytes = 1;
	op->u.pull.wait_ms = WAIT_MS;
	enum wire_form form = next_request(n, c, op);

	put_pull(n, &o, op, form, c);
	go(n, c, op);
}

void native_topic_gone(struct life *l, int topic)
{
	if (l->native != NULL && topic == 0)
		memset(l->native->locks, 0, sizeof(l->native->locks));
}

static void lock(struct native *n, struct client *c, bool take)
{
	struct life *l = n->life;
	struct op *op = own_op(n, OP_OTHER, take ? lock_answered : own_answered);
	struct buf body = {0};
	struct wire_out o;

	/* Clients 0 and GROUPS are of one group, and want the same. */
	op->group = c->no % GROUPS;
	op->queue = (int32_t)below(l, LOCK_QUEUES);
	op->lock_asked = take;
	struct lock_model *k = &n->locks[op->group][op->queue];

	if (!take && k->holder == c->no + 1)
		k->held = false;
	buf_fmt(&body, "{\"clientId\":\"net-%d\",\"consumerGroup\":\"%s\",\"mqSet\":[{\"topic\":\"topic-0\",\"brokerName\":\"broker-a\",\"queueId\":%d}]}",
		c->no, group_of(op->group), op->queue);
	enum wire_form form = next_request(n, c, op);

	if (!take)
		k->unlocked[c->no + 1] = op->opaque;
	wire_begin(&o, &n->frame, form, take ? REQ_LOCK_BATCH_MQ : REQ_UNLOCK_BATCH_MQ, op->opaque, 0);
	wire_finish(&o, body.n);
	buf_slice(&n->frame, buf_view(&body));
	buf_fini(&body);
	go(n, c, op);
}

/* ---- Answers ------------------------------------------------------------------------------------------------------------------------- */

static bool says(struct slice remark, const char *text)
{
	struct slice t = slice_str(text);

	return slice_starts(remark, t) && (remark.n == t.n || remark.p[t.n] == ':');
}

/* What the engine must have said for this answer. */
static enum status status_of(struct life *l, const struct wire_cmd *a, bool pull)
{
	if (a->code == ANS_SUCCESS)
		return ST_OK;
	for (int st = ST_OK + 1; st < ST_COUNT; st++) {
		bool code = front_statuses[st].native == a->code || (st == ST_NOT_FOUND && a->code == ANS_SYSTEM_ERROR);

		if (code && (says(a->remark, status_text((enum status)st)) || (pull && (st == ST_NO_MATCH || st == ST_MOVED))))
			return (enum status)st;
	}
	fail(l, "an answer has code %d and says \"%.*s\"", a->code, (int)a->remark.n, (const char *)a->remark.p);
}

static void read_sent(struct life *l, struct op *op, struct wire_args *a)
{
	struct engine_send *r = &op->u.send;
	struct slice ids = wire_str(a, "msgId"), id;
	uint32_t ip, port;

	r->queue = wire_i32(a, "queueId");
	r->offset = (uint64_t)wire_i64(a, "queueOffset");
	r->durable = l->world.conf.flush == FLUSH_SYNC && !op->early;
	r->store_ms = 0;
	if (r->batch)
		r->positions = mem_array(op->count, sizeof(*r->positions));
	while (slice_split(&ids, ',', &id)) {
		uint64_t position;

		MUST(l, r->count < op->count && offset_id_parse(id, &ip, &port, &position) && ip == l->native->conf.advertised_ip &&
			port == l->native->conf.advertised_port, "a send of %llu was answered with odd ids", (unsigned long long)op->count);
		if (r->batch)
			r->positions[r->count] = position;
		else
			r->position = position;
		r->count++;
	}
}

static void read_pulled(struct life *l, struct op *op, const struct wire_cmd *cmd, struct wire_args *a, enum status st, struct piece *piece)
{
	struct engine_pull *r = &op->u.pull;

	MUST(l, st == ST_OK || cmd->body.n == 0, "a pull that found nothing has a body");
	MUST(l, st == ST_OK || st == ST_EMPTY || st == ST_MOVED || st == ST_BUSY || excused(l, st) || st == ST_CLOSED ||
		(st == ST_NO_GROUP && !op->was_group) || st == ST_NOT_SUBSCRIBED || st == ST_STALE_SUB,
		"a pull was answered with %s", status_name(st));
	if (st != ST_OK && st != ST_EMPTY && st != ST_MOVED)
		return;
	r->next = (uint64_t)wire_i64(a, "nextBeginOffset");
	r->min = (uint64_t)wire_i64(a, "minOffset");
	r->max = (uint64_t)wire_i64(a, "maxOffset");
	wire_i64(a, "suggestWhichBrokerId");
	*piece = (struct piece){cmd->body, NULL};
	r->pieces = piece;
	r->n_pieces = 1;
	for (struct slice rest = cmd->body; rest.n > 0; r->count++) {
		struct record rec;

		MUST(l, record_decode(rest, &rec) == ST_OK, "a pull's body is not records");
		rest = slice_skip(rest, rec.size);
	}
	MUST(l, r->next <= r->max && r->min <= r->max, "a pull says next %llu of %llu to %llu", (unsigned long long)r->next,
		(unsigned long long)r->min, (unsigned long long)r->max);
}

/* What was sent before a request that is answered has reached the engine; of a one-way request nobody will learn more. */
static void end_oneways(struct life *l, const struct client *c, int32_t opaque)
{
	LIST_EACH_SAFE(&l->ops, k, t) {
		struct op *op = container_of(k, struct op, link);

		if (op->via == c->no + 1 && op->oneway && op->opaque < opaque)
			op_lost(op);
	}
}

static struct op *find_op(struct life *l, const struct client *c, int32_t opaque)
{
	LIST_EACH(&l->ops, k) {
		struct op *op = container_of(k, struct op, link);

		if (op->via == c->no + 1 && op->opaque == opaque)
			return op;
	}
	return NULL;
}

static void answered(struct native *n, struct client *c)
{
	struct life *l = n->life;
	const struct wire_cmd *cmd = &n->cmd;
	struct wire_args a = wire_args(cmd);
	struct piece piece;

	if (!wire_is_response(cmd)) {
		struct slice group = wire_str(&a, "consumerGroup");

		MUST(l, cmd->code == REQ_NOTIFY_CONSUMER_IDS_CHANGED && wire_is_oneway(cmd) && slice_eq_str(group, group_of(c->no % GROUPS)),
			"client %d was asked for %d", c->no, cmd->code);
		return;
	}
	struct op *op = find_op(l, c, cmd->opaque);

	MUST(l, op != NULL, "client %d got an answer (code %d) to %d, which it has not asked, or twice", c->no, cmd->code, cmd->opaque);
	MUST(l, !op->oneway, "a one-way request was answered with %d", cmd->code);
	MUST(l, cmd->form == (enum wire_form)op->form && cmd->version == WIRE_VERSION, "an answer has another form than its request");
	end_oneways(l, c, cmd->opaque);
	enum status st = status_of(l, cmd, op->kind == OP_PULL);

	if (op->kind == OP_PULL)
		read_pulled(l, op, cmd, &a, st, &piece);
	else if (op->kind == OP_SEND && st == ST_OK)
		read_sent(l, op, &a);
	else if (op->max_asked && st == ST_OK)
		op->u.range.max = (uint64_t)wire_i64(&a, "offset");
	else if (op->lock_asked && st == ST_OK)
		op->granted = memmem(cmd->body.p, cmd->body.n, "\"queueId\":", 10) != NULL;
	MUST(l, a.field == NULL, "an answer's field %s %s", a.field, a.why);
	op->u.ask.done(&op->u.ask, st);
}

static void client_input(struct sim_peer *p, struct slice bytes)
{
	struct client *c = container_of(p, struct client, peer);
	struct life *l = c->life;
	struct native *n = l->native;
	size_t at = 0;

	buf_slice(&c->in, bytes);
	while (at < c->in.n) {
		const char *why = "";
		size_t used = 0;
		enum wire_got got = wire_decode(slice_skip(buf_view(&c->in), at), &WIRE_LIMITS_DEFAULT, &n->unescaped, &n->cmd, &used, &why);

		MUST(l, got != WIRE_BAD, "an answer is malformed: %s", why);
		if (got == WIRE_MORE)
			break;
		answered(n, c);
		at += used;
	}
	buf_drop_front(&c->in, at);
}

/* ---- Connections ------------------------------------------------------------------------------------------------------------------- */

/* The connection was in no group any more, as soon as it was gone. */
static void members_answered(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	const struct engine_members *r = &op->u.members;
	struct life *l = op->life;

	for (size_t i = 0; st == ST_OK && i < r->count; i++)
		MUST(l, !slice_eq_str(r->v[i].address, op->arg), "%s is still a member of %s, and its connection is gone", (const char *)op->arg,
			group_of(op->group));
	mem_free(op->arg);
	op_free(op);
}

static void ask_members(struct native *n, const struct client *c)
{
	struct op *op = own_op(n, OP_MEMBERS, members_answered);

	op->arg = slice_dup(slice_str(c->address));
	op->group = c->no % GROUPS;
	op->u.members.group = slice_str(group_of(op->group));
	op->u.members.kind = MEMBER_CONSUMER;
	engine_members(n->life->world.engine, &op->u.members);
}

/* What was under way on it is unsure. */
static void client_gone(struct client *c)
{
	struct life *l = c->life;
	struct native *n = l->native;

	LIST_EACH_SAFE(&l->ops, k, t) {
		struct op *op = container_of(k, struct op, link);

		if (op->via == c->no + 1)
			op_lost(op);
	}
	for (int g = 0; g < GROUPS; g++)
		for (int q = 0; q < LOCK_QUEUES; q++)
			if (n->locks[g][q].holder == c->no + 1)
				n->locks[g][q].held = false;
	sim_event_stop(&l->world.clock, &c->wake);
	buf_reset(&c->in);
	c->conn = NULL;
	c->garbage = c->beaten = false;
}

static void client_closed(struct sim_peer *p)
{
	struct client *c = container_of(p, struct client, peer);
	struct life *l = c->life;
	enum status why = c->conn->why;

	MUST(l, why == ST_IO || (why == ST_PROTO && c->garbage) || (why == ST_CLOSED && (l->native->stopping || strcmp(c->conn->reason, "idle") == 0)),
		"the front closed client %d: %s %s", c->no, status_name(why), c->conn->reason);
	ask_members(l->native, c);
	client_gone(c);
}

static void read_again(struct sim_event *e)
{
	struct client *c = container_of(e, struct client, wake);

	if (c->conn != NULL)
		sim_conn_hold(c->conn, false);
}

static bool has_ops(struct life *l, const struct client *c)
{
	LIST_EACH(&l->ops, k)
		if (container_of(k, struct op, link)->via == c->no + 1)
			return true;
	return false;
}

static void client_connect(struct native *n, struct client *c)
{
	snprintf(c->address, sizeof(c->address), "10.0.0.1:%u", n->net.next_port);
	c->conn = sim_net_connect(&n->net, front_native.stream, n->front, &c->peer);
}

/* Bytes that no frame begins with, or the beginning of a header and then nothing that could end it. */
static void send_garbage(struct native *n, struct client *c)
{
	struct life *l = n->life;
	uint8_t junk[64];

	memset(junk, 0xff, sizeof(junk));
	c->garbage = true;
	c->garbage_ns = l->world.clock.now_ns;
	if (one_in(l, 2)) {
		junk[1] = (uint8_t)below(l, 256);
		sim_conn_send(c->conn, slice_of(junk, 4 + below(l, sizeof(junk) - 3)));
		return;
	}
	struct wire_out o;

	buf_reset(&n->frame);
	wire_begin(&o, &n->frame, WIRE_JSON, REQ_GET_MAX_OFFSET, ++c->opaque, 0);
	wire_put(&o, "topic", SLICE_LIT("topic-0"));
	wire_put_i64(&o, "queueId", 0);
	wire_finish(&o, 0);
	size_t cut = 8 + below(l, n->frame.n - 8);

	memset(n->frame.p + cut, 0xff, n->frame.n - cut);
	sim_conn_send(c->conn, buf_view(&n->frame));
}

static void hang_up(struct client *c)
{
	sim_conn_hangup(c->conn);
	client_gone(c);
}

/* ---- Life ------------------------------------------------------------------------------------------------------------------------------ */

/* Does anything explain that nothing is answered any more? */
static bool broken(const struct life *l)
{
	return l->faulty || l->tight || l->world.disk->dead;
}

void native_open(struct life *l)
{
	static const uint32_t windows[] = {100, 3000, 100000, 1 << 20};

	if (!l->clients)
		return;
	CHECK(l->native == NULL && l->world.engine != NULL);
	struct native *n = mem_new(sizeof(*n));
	struct sim_net_conf conf = {.latency_min_ns = below(l, 50000), .window = windows[below(l, ARRAY_LEN(windows))],
		.cut_per_million = one_in(l, 3) ? 0 : (uint32_t)below(l, 4000), .tiny_permille = one_in(l, 2) ? 0 : (uint32_t)below(l, 100)};

	conf.latency_max_ns = conf.latency_min_ns + below(l, one_in(l, 3) ? 3 * MS_NS : 100000);
	if (one_in(l, 5) && l->world.conf.max_message < 3000)
		conf.chunk_max = 1 + (uint32_t)below(l, 20);
	else if (!one_in(l, 4))
		conf.chunk_max = 400 + (uint32_t)below(l, 8000);
	n->between.ops = &between_ops;
	n->engine = l->world.engine;
	n->life = l;
	list_init(&n->passed);
	n->conf = (struct front_conf){.cluster = l->world.conf.cluster, .broker = l->world.conf.broker, .advertised_ip = 0x7f000001,
		.advertised_port = 10911, .max_message = l->world.conf.max_message, .max_header = WIRE_HEADER_MAX, .max_frame = WIRE_FRAME_MAX,
		.max_requests = 1 + (uint32_t)below(l, 40), .idle_ms = 120000, .max_wait_ms = 30000};
	sim_net_init(&n->net, &l->world.clock, &conf, prng_u64(&l->prng));
	for (int i = 0; i < CLIENTS; i++)
		n->clients[i] = (struct client){.peer = {.input = client_input, .closed = client_closed}, .life = l, .no = i, .wake = {.fire = read_again}};
	struct front_env env = {.engine = &n->between, .clock = &l->world.clock.base, .log = &l->world.log.base, .conf = &n->conf};

	n->front = mem_new(front_native.size);
	MUST(l, front_native.start(n->front, &env) == ST_OK, "the front does not start");
	l->native = answering = n;
}

void native_flush(struct life *l)
{
	struct native *n = l->native;

	for (int i = 0; n != NULL && i < CLIENTS; i++)
		if (usable(&n->clients[i]))
			ask_max(n, &n->clients[i]);
}

static void note_stopped(void *arg)
{
	struct native *n = arg;

	MUST(n->life, !n->stopped, "the front stopped twice");
	n->stopped = true;
}

static void native_free(struct life *l)
{
	struct native *n = l->native;

	MUST(l, list_empty(&n->passed), "a front that has stopped has asked something");
	sim_net_fini(&n->net);
	for (int i = 0; i < CLIENTS; i++) {
		sim_event_stop(&l->world.clock, &n->clients[i].wake);
		buf_fini(&n->clients[i].in);
	}
	buf_fini(&n->frame);
	buf_fini(&n->unescaped);
	mem_free(n->front);
	mem_free(n);
	l->native = answering = NULL;
}

static void check_empty(struct native *n)
{
	static const char *const none[] = {"\"connections\":0,", "\"requestsUnderWay\":0,", "\"waitingPulls\":0,"};
	struct buf json = {0};

	front_native.describe(n->front, &json);
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		MUST(n->life, strstr(buf_cstr(&json), none[i]) != NULL, "all connections are closed, and the front says %s", buf_cstr(&json));
	buf_fini(&json);
}

void native_stop(struct life *l)
{
	struct native *n = l->native;

	if (n == NULL)
		return;
	bool close_first = one_in(l, 2);

	for (int i = 0; i < CLIENTS; i++)
		for (int k = 0; k < 3 && usable(&n->clients[i]); k++)
			poll_long(n, &n->clients[i]);
	sim_world_run(&l->world, 50 * MS_NS);

	for (int i = 0; i < CLIENTS; i++) {
		struct client *c = &n->clients[i];

		if (close_first && c->conn != NULL && has_ops(l, c))
			sim_conn_cut(c->conn);
		else if (close_first && c->conn != NULL && !c->conn->closing)
			hang_up(c);
	}
	if (close_first) {
		sim_world_run(&l->world, SEC_NS);
		check_empty(n);
	}
	n->stopping = true;
	front_native.stop(n->front, note_stopped, n);
	bool stopped = sim_world_until(&l->world, &n->stopped, STOP_NS);

	MUST(l, stopped || broken(l), "the front does not stop");
	if (!stopped)
		return; /* the crash that must come frees it */
	sim_world_run(&l->world, SEC_NS);
	native_free(l);
}

void native_crashed(struct life *l)
{
	struct native *n = l->native;
	bool stopping;

	if (n == NULL)
		return;
	stopping = n->stopping;
	n->engine = NULL;
	n->stopping = true;
	sim_net_fini(&n->net); /* the clients hear nothing: what they had under way ends with everything else that had */
	answer_all(n);
	check_empty(n);
	if (!stopping)
		front_native.stop(n->front, note_stopped, n);
	answer_all(n);
	MUST(l, n->stopped, "the front does not stop, although all that it asked is answered and all connections are closed");
	native_free(l);
}

/* ---- One step ---------------------------------------------------------------------------------------------------------------------------- */

/* Requests, and garbage, have had their time. */
static void check_answered(struct life *l)
{
	const struct native *n = l->native;
	uint64_t now = l->world.clock.now_ns;

	if (broken(l))
		return;
	LIST_EACH(&l->ops, k) {
		const struct op *op = container_of(k, struct op, link);

		MUST(l, op->via == 0 || op->oneway || now < op->asked_ns + ANSWER_NS, "client %d has no answer to %d (kind %d)", op->via - 1,
			op->opaque, op->kind);
	}
	for (int i = 0; i < CLIENTS; i++)
		MUST(l, !n->clients[i].garbage || now < n->clients[i].garbage_ns + ANSWER_NS, "garbage of client %d does no harm to it", i);
}

/* The front is started anew while the engine goes on, or everything on its connections is answered first. */
static void restart(struct life *l)
{
	if (one_in(l, 2)) {
		native_flush(l);
		for (uint64_t t = 0; t < ANSWER_NS && !l->world.disk->dead; t += SEC_NS)
			sim_world_run(&l->world, SEC_NS);
		check_answered(l);
	}
	if (l->world.disk->dead)
		return;
	native_stop(l);
	if (l->native == NULL)
		native_open(l);
}

void native_step(struct life *l)
{
	struct native *n = l->native;

	if (n == NULL || n->stopping)
		return;
	if (one_in(l, 150) && !broken(l)) {
		restart(l);
		return;
	}
	check_answered(l);
	struct client *c = &n->clients[below(l, CLIENTS)];
	if (c->conn == NULL) {
		client_connect(n, c);
		return;
	}
	if (!usable(c))
		return;
	switch (below(l, 24)) {
	case 0: case 1: case 2: case 3: beat(n, c); break;
	case 4: case 5: case 6: case 7: ask_max(n, c); break;
	case 8: case 9: case 10: lock(n, c, true); break;
	case 11: lock(n, c, false); break;
	case 12:
		if (one_in(l, 4))
			unregister(n, c);
		break;
	case 13: case 14:
		sim_conn_hold(c->conn, true);
		sim_event_set(&l->world.clock, &c->wake, 1 + below(l, HOLD_NS));
		break;
	case 15:
		if (one_in(l, 3))
			sim_conn_cut(c->conn);
		break;
	case 16:
		if (!has_ops(l, c) && one_in(l, 2))
			hang_up(c);
		break;
	case 17:
		if (one_in(l, 4))
			send_garbage(n, c);
		break;
	default: break;
	}
}
