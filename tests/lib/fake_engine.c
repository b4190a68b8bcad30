/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/lib/fake_engine.h"

#include <stdlib.h>

#include "base/mem.h"
#include "record/record.h"

static const char *const verbs[ENGINE_VERB_COUNT] = {
	"SEND", "SEND_BACK", "PULL", "VIEW", "FIND", "RANGE", "AT_TIME", "TOPIC_PUT", "TOPIC_GET", "TOPIC_DROP", "TOPIC_LIST", "GROUP_PUT",
	"GROUP_GET", "GROUP_DROP", "GROUP_LIST", "JOIN", "LEAVE", "MEMBERS", "LOCK", "UNLOCK", "OFFSET_GET", "OFFSET_COMMIT", "OFFSET_RESET",
	"OFFSET_DROP", "OFFSET_LIST", "SUB_OPEN", "SETTLE", "CELL_PUT", "CELL_LIST", "STATS",
};

/* ---- The trace ------------------------------------------------------------------------------------------------------------------ */

/* Property text is written with '=' and ';' for its two control characters. */
static void put_text(struct fake_engine *e, const char *name, struct slice v)
{
	buf_fmt(&e->trace, " %s=", name);
	for (size_t i = 0; i < v.n; i++) {
		uint8_t ch = v.p[i];
		buf_u8(&e->trace, ch == 1 ? '=' : ch == 2 ? ';' : ch);
	}
}

static void put_num(struct fake_engine *e, const char *name, int64_t v)
{
	buf_fmt(&e->trace, " %s=%lld", name, (long long)v);
}

static void trace_send(struct fake_engine *e, const struct engine_send *r)
{
	put_text(e, "topic", r->msg.topic);
	put_num(e, "queue", r->msg.queue);
	put_text(e, "body", r->msg.body);
	put_text(e, "props", r->msg.props);
	put_num(e, "flag", r->msg.flag);
	put_num(e, "sys", r->msg.sys_flag);
	put_num(e, "times", r->msg.reconsume_times);
	put_num(e, "max", r->msg.max_reconsume);
	put_num(e, "born", r->msg.born_ms);
	put_num(e, "ip", r->msg.born_ip);
	put_num(e, "port", r->msg.born_port);
	put_num(e, "batch", r->batch);
	put_text(e, "default", r->default_topic);
	put_num(e, "queues", r->default_queues);
}

static void trace_pull(struct fake_engine *e, const struct engine_pull *r)
{
	put_text(e, "topic", r->topic);
	put_num(e, "queue", r->queue);
	put_num(e, "from", (int64_t)r->from);
	put_num(e, "msgs", r->max_msgs);
	put_num(e, "bytes", r->max_bytes);
	put_num(e, "wait", (int64_t)r->wait_ms);
	put_text(e, "group", r->group);
	if (r->has_expr)
		put_text(e, "expr", r->expr);
	put_num(e, "sub", r->sub_version);
	put_num(e, "commit", r->commit);
}

static void trace_join(struct fake_engine *e, const struct engine_join *r)
{
	put_num(e, "kind", r->kind);
	put_text(e, "group", r->group);
	put_text(e, "client", r->client_id);
	put_num(e, "language", r->language);
	put_num(e, "version", r->version);
	if (r->kind == MEMBER_CONSUMER) {
		put_num(e, "type", r->type);
		put_num(e, "model", r->model);
		put_num(e, "from", r->from);
		put_num(e, "keep", r->keep_subs);
	}
	for (size_t i = 0; i < r->n_subs; i++) {
		put_text(e, "sub", r->subs[i].topic);
		put_text(e, "expr", r->subs[i].expr);
		put_num(e, "v", r->subs[i].version);
	}
}

static void trace_topic(struct fake_engine *e, const struct engine_topic *r)
{
	put_text(e, "name", r->name);
	if (r->ask.verb == ENGINE_TOPIC_PUT) {
		put_num(e, "read", r->conf.read_queues);
		put_num(e, "write", r->conf.write_queues);
		put_num(e, "perm", r->conf.perm);
		put_num(e, "sys", r->conf.sys_flag);
		put_num(e, "order", r->conf.order);
	}
}

static void trace_group(struct fake_engine *e, const struct engine_group *r)
{
	put_text(e, "name", r->name);
	if (r->ask.verb == ENGINE_GROUP_PUT) {
		put_num(e, "consume", r->conf.consume);
		put_num(e, "broadcast", r->conf.broadcast);
		put_num(e, "retry", r->conf.retry_queues);
		put_num(e, "max", r->conf.retry_max);
	}
	if (r->ask.verb == ENGINE_GROUP_DROP)
		put_num(e, "offsets", r->drop_offsets);
}

static void trace_locks(struct fake_engine *e, const struct engine_locks *r)
{
	put_text(e, "group", r->group);
	put_text(e, "client", r->client_id);
	for (size_t i = 0; i < r->count; i++) {
		put_text(e, "topic", r->v[i].topic);
		put_num(e, "queue", r->v[i].queue);
	}
}

static void trace_offset(struct fake_engine *e, const struct engine_offset *r)
{
	put_text(e, "group", r->group);
	put_text(e, "topic", r->topic);
	put_num(e, "queue", r->queue);
	if (r->ask.verb != ENGINE_OFFSET_GET) {
		put_num(e, "offset", (int64_t)r->offset);
		put_num(e, "member", r->member != NULL);
	}
}

static void trace_range(struct fake_engine *e, const struct engine_range *r)
{
	put_text(e, "topic", r->topic);
	put_num(e, "queue", r->queue);
	if (r->ask.verb == ENGINE_AT_TIME) {
		put_num(e, "time", r->time_ms);
		put_num(e, "upper", r->upper);
	}
}

static void trace_find(struct fake_engine *e, const struct engine_find *r)
{
	put_text(e, "topic", r->topic);
	put_text(e, "key", r->key);
	put_num(e, "unique", r->unique);
	put_num(e, "max", r->max);
	put_num(e, "begin", r->begin_ms);
	put_num(e, "end", r->end_ms);
}

static void trace_back(struct fake_engine *e, const struct engine_send_back *r)
{
	put_text(e, "group", r->group);
	put_num(e, "position", (int64_t)r->position);
	put_num(e, "level", r->delay_level);
	put_num(e, "max", r->max_reconsume);
	put_text(e, "origin", r->origin_id);
}

static void trace(struct fake_engine *e, struct engine_ask *a)
{
	buf_str(&e->trace, verbs[a->verb]);
	switch ((enum engine_verb)a->verb) {
	case ENGINE_SEND: trace_send(e, container_of(a, struct engine_send, ask)); break;
	case ENGINE_SEND_BACK: trace_back(e, container_of(a, struct engine_send_back, ask)); break;
	case ENGINE_PULL: trace_pull(e, container_of(a, struct engine_pull, ask)); break;
	case ENGINE_VIEW: put_num(e, "position", (int64_t)container_of(a, struct engine_view, ask)->position); break;
	case ENGINE_FIND: trace_find(e, container_of(a, struct engine_find, ask)); break;
	case ENGINE_RANGE:
	case ENGINE_AT_TIME: trace_range(e, container_of(a, struct engine_range, ask)); break;
	case ENGINE_TOPIC_PUT:
	case ENGINE_TOPIC_GET:
	case ENGINE_TOPIC_DROP: trace_topic(e, container_of(a, struct engine_topic, ask)); break;
	case ENGINE_GROUP_PUT:
	case ENGINE_GROUP_GET:
	case ENGINE_GROUP_DROP: trace_group(e, container_of(a, struct engine_group, ask)); break;
	case ENGINE_JOIN: trace_join(e, container_of(a, struct engine_join, ask)); break;
	case ENGINE_MEMBERS:
		put_text(e, "group", container_of(a, struct engine_members, ask)->group);
		put_num(e, "kind", container_of(a, struct engine_members, ask)->kind);
		break;
	case ENGINE_LOCK:
	case ENGINE_UNLOCK: trace_locks(e, container_of(a, struct engine_locks, ask)); break;
	case ENGINE_OFFSET_GET:
	case ENGINE_OFFSET_COMMIT:
	case ENGINE_OFFSET_RESET:
	case ENGINE_OFFSET_DROP: trace_offset(e, container_of(a, struct engine_offset, ask)); break;
	case ENGINE_OFFSET_LIST: put_text(e, "group", container_of(a, struct engine_offsets, ask)->group); break;
	default: break;
	}
	buf_u8(&e->trace, '\n');
}

/* ---- Members ---------------------------------------------------------------------------------------------------------------------- */

static void member_forget(struct fake_engine *e, size_t i)
{
	e->members[i].member->priv[0] = NULL;
	free(e->members[i].group);
	free(e->members[i].client_id);
	e->members[i] = e->members[--e->n_members];
}

static void join(struct fake_engine *e, struct engine_join *r)
{
	CHECK(r->actor != NULL && r->member != NULL);
	if (e->next[ENGINE_JOIN] != ST_OK)
		return;
	for (size_t i = 0; i < e->n_members; i++)
		if (e->members[i].member == r->member)
			return;
	CHECK(e->n_members < FAKE_MEMBERS_MAX);
	CHECK(r->member->priv[0] == NULL);
	r->member->priv[0] = e;
	e->members[e->n_members++] = (struct fake_member){r->member, r->kind, strndup((const char *)r->group.p, r->group.n),
		strndup((const char *)r->client_id.p, r->client_id.n)};
}

static void leave(struct fake_engine *e, struct engine_leave *r)
{
	for (size_t i = 0; i < e->n_members; i++)
		if (e->members[i].member == r->member) {
			member_forget(e, i);
			return;
		}
}

void fake_engine_changed(struct fake_engine *e, const char *group)
{
	for (size_t i = 0; i < e->n_members; i++)
		if (strcmp(e->members[i].group, group) == 0 && e->members[i].member->changed != NULL)
			e->members[i].member->changed(e->members[i].member);
}

void fake_engine_lose(struct fake_engine *e, const char *group)
{
	for (size_t i = 0; i < e->n_members;)
		if (strcmp(e->members[i].group, group) == 0) {
			struct engine_member *m = e->members[i].member;
			member_forget(e, i);
			m->lost(m);
		} else {
			i++;
		}
}

/* ---- Answers ------------------------------------------------------------------------------------------------------------------------ */

static void answer_send(struct fake_engine *e, struct engine_send *r)
{
	r->position = e->position;
	r->offset = e->offset;
	r->queue = r->msg.queue < 0 ? 0 : r->msg.queue;
	r->durable = true;
	r->count = 1;
	if (r->batch) {
		/* The body is gone by now; three records are claimed. */
		r->count = 3;
		r->positions = mem_array(r->count, sizeof(*r->positions));
		for (uint32_t i = 0; i < r->count; i++)
			r->positions[i] = e->position + 100 * i;
	}
	e->position += 100 * r->count;
	e->offset += r->count;
}

static void answer_pull(struct fake_engine *e, struct engine_pull *r, enum status st)
{
	r->min = e->min;
	r->max = e->max;
	r->next = r->from;
	if (st == ST_OK) {
		r->count = e->n_pieces;
		r->next = r->from + e->n_pieces;
		r->pieces = e->pieces;
		r->n_pieces = e->n_pieces;
	}
	if (st == ST_MOVED)
		r->next = e->max;
}

static void answer_members(struct fake_engine *e, struct engine_members *r, struct member_info *v)
{
	for (size_t i = 0; i < e->n_members; i++) {
		const struct fake_member *m = &e->members[i];
		if (m->kind == r->kind)
			v[r->count++] = (struct member_info){slice_str(m->client_id), SLICE_LIT("127.0.0.1:40000"), 0, 407, 1};
	}
	r->v = v;
	r->type = CONSUME_PASSIVELY;
	r->model = MODEL_CLUSTERING;
	r->from = FROM_FIRST;
	r->subs = e->subs;
	r->n_subs = e->n_subs;
}

static void fill(struct fake_engine *e, struct engine_ask *a, enum status st, void *scratch)
{
	bool ok = st == ST_OK;

	switch ((enum engine_verb)a->verb) {
	case ENGINE_SEND:
		if (ok)
			answer_send(e, container_of(a, struct engine_send, ask));
		break;
	case ENGINE_PULL: answer_pull(e, container_of(a, struct engine_pull, ask), st); break;
	case ENGINE_VIEW:
		if (ok)
			container_of(a, struct engine_view, ask)->piece = e->pieces[0];
		break;
	case ENGINE_FIND: {
		struct engine_find *r = container_of(a, struct engine_find, ask);
		r->pieces = e->pieces;
		r->count = ok ? e->n_pieces : 0;
		r->last_ms = 1700000000000;
		r->last_position = 4711;
		break;
	}
	case ENGINE_RANGE:
	case ENGINE_AT_TIME: {
		struct engine_range *r = container_of(a, struct engine_range, ask);
		r->min = e->min;
		r->max = e->max;
		r->offset = e->offset;
		r->first_ms = e->first_ms;
		break;
	}
	case ENGINE_TOPIC_GET: {
		struct engine_topic *r = container_of(a, struct engine_topic, ask);
		r->conf = e->topic_conf;
		r->info = (struct topic_info){.name = SLICE_LIT("T"), .conf = e->topic_conf};
		break;
	}
	case ENGINE_TOPIC_LIST: {
		struct engine_topics *r = container_of(a, struct engine_topics, ask);
		r->v = e->topics;
		r->count = e->n_topics;
		r->version = 9;
		break;
	}
	case ENGINE_GROUP_GET: container_of(a, struct engine_group, ask)->conf = e->group_conf; break;
	case ENGINE_GROUP_LIST: {
		struct engine_groups *r = container_of(a, struct engine_groups, ask);
		r->v = e->groups;
		r->count = e->n_groups;
		break;
	}
	case ENGINE_JOIN: container_of(a, struct engine_join, ask)->subs_changed = e->drop_subs_changed; break;
	case ENGINE_MEMBERS:
		if (ok)
			answer_members(e, container_of(a, struct engine_members, ask), scratch);
		break;
	case ENGINE_LOCK: {
		struct engine_locks *r = container_of(a, struct engine_locks, ask);
		for (size_t i = 0; i < r->count; i++)
			r->granted[i] = !e->last_is_late || i % 2 == 0;
		break;
	}
	case ENGINE_OFFSET_GET: {
		struct engine_offset *r = container_of(a, struct engine_offset, ask);
		r->offset = e->offset;
		r->young = e->young;
		break;
	}
	case ENGINE_OFFSET_LIST: {
		struct engine_offsets *r = container_of(a, struct engine_offsets, ask);
		r->v = e->offsets;
		r->count = e->n_offsets;
		break;
	}
	case ENGINE_STATS:
		memcpy(container_of(a, struct engine_stats, ask)->v, e->stats, sizeof(e->stats));
		memcpy(container_of(a, struct engine_stats, ask)->delay, e->delay, sizeof(e->delay));
		break;
	default: break;
	}
}

static void answer(struct fake_engine *e, struct engine_ask *a, enum status st)
{
	struct member_info *scratch = a->verb == ENGINE_MEMBERS ? mem_array(e->n_members + 1, sizeof(*scratch)) : NULL;

	fill(e, a, st, scratch);
	if (a->done != NULL)
		a->done(a, st);
	mem_free(scratch);
}

static void submit(struct engine *base, struct engine_ask *a)
{
	struct fake_engine *e = container_of(base, struct fake_engine, base);

	CHECK(a->verb < ENGINE_VERB_COUNT);
	e->asked[a->verb]++;
	if (!e->quiet)
		trace(e, a);
	if (a->verb == ENGINE_JOIN)
		join(e, container_of(a, struct engine_join, ask));
	if (a->verb == ENGINE_LEAVE)
		leave(e, container_of(a, struct engine_leave, ask));
	a->status = e->next[a->verb];
	if (a->verb == ENGINE_PULL && e->hold_pulls && container_of(a, struct engine_pull, ask)->wait_ms > 0)
		list_push(&e->held, &a->link);
	else
		list_push(&e->asks, &a->link);
}

static void cancel(struct engine *base, struct engine_ask *a)
{
	struct fake_engine *e = container_of(base, struct fake_engine, base);

	CHECK(list_linked(&a->link));
	LIST_EACH(&e->held, n)
		if (n == &a->link) {
			a->status = ST_CLOSED;
			list_remove(&a->link);
			list_push(&e->asks, &a->link);
			return;
		}
}

static const struct engine_ops ops = {.submit = submit, .cancel = cancel};

void fake_engine_init(struct fake_engine *e)
{
	memset(e, 0, sizeof(*e));
	e->base.ops = &ops;
	list_init(&e->asks);
	list_init(&e->held);
	e->position = 1000;
	e->first_ms = -1;
	e->topic_conf = (struct topic_conf){.read_queues = 2, .write_queues = 2, .perm = 6};
}

void fake_engine_fini(struct fake_engine *e)
{
	CHECK(list_empty(&e->asks) && list_empty(&e->held));
	while (e->n_members > 0)
		member_forget(e, 0);
	buf_fini(&e->trace);
}

unsigned fake_engine_turn(struct fake_engine *e)
{
	struct list now;
	struct list *n;
	unsigned count = 0;

	list_init(&now);
	list_move(&now, &e->asks);
	while ((n = list_pop(&now)) != NULL) {
		struct engine_ask *a = container_of(n, struct engine_ask, link);
		answer(e, a, a->status);
		count++;
	}
	return count;
}

void fake_engine_run(struct fake_engine *e)
{
	while (fake_engine_turn(e) > 0)
		;
}

void fake_engine_wake(struct fake_engine *e, enum status st)
{
	struct list now;
	struct list *n;

	list_init(&now);
	list_move(&now, &e->held);
	while ((n = list_pop(&now)) != NULL)
		answer(e, container_of(n, struct engine_ask, link), st);
}

const char *fake_engine_trace(struct fake_engine *e)
{
	static char last[65536];
	size_t n = e->trace.n < sizeof(last) - 1 ? e->trace.n : sizeof(last) - 1;

	memcpy(last, e->trace.p == NULL ? (const uint8_t *)"" : e->trace.p, n);
	last[n] = '\0';
	buf_reset(&e->trace);
	return last;
}
