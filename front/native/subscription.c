/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The configuration of consumer groups: create or change (200), all (201), one (352), drop (207). */
#include "front/native/nat.h"

static void plain_done(struct engine_ask *a, enum status st)
{
	nat_answer_status(nat_call_of(a), st);
}

static uint32_t not_negative(int64_t v)
{
	return v < 0 ? 0 : (uint32_t)u64_min((uint64_t)v, UINT32_MAX);
}

static struct wire_group group_of(struct slice name, const struct group_conf *conf)
{
	struct wire_group w;

	wire_group_default(&w);
	w.name = name;
	w.consume = conf->consume;
	w.from_min = conf->from_min;
	w.broadcast = conf->broadcast;
	w.orderly = conf->orderly;
	w.notify = conf->notify;
	w.retry_queues = (int32_t)conf->retry_queues;
	w.retry_max = (int32_t)conf->retry_max;
	w.broker_id = conf->broker_id;
	w.slow_broker_id = conf->slow_broker_id;
	w.sys_flag = (int32_t)conf->sys_flag;
	w.consume_timeout_min = (int32_t)conf->consume_timeout_min;
	return w;
}

void nat_group_put(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_doc doc;
	struct wire_group w;
	const char *why;

	if (!wire_group_decode(cmd->body, &doc, &w, &why)) {
		nat_answer_body_bad(c, why);
		return;
	}
	NAT_ASK(c, group, plain_done);
	struct engine_group *r = &c->u.group;
	r->actor = &c->peer->actor;
	r->name = w.name;
	nat_note(c, w.name);
	if (w.retry_queues < 0 || w.retry_max < 0) {
		wire_doc_fini(&doc);
		nat_answer_status(c, ST_BAD_ARG);
		return;
	}
	r->conf = (struct group_conf){
		.consume = w.consume,
		.broadcast = w.broadcast,
		.from_min = w.from_min,
		.orderly = w.orderly,
		.notify = w.notify,
		.retry_queues = not_negative(w.retry_queues),
		.retry_max = not_negative(w.retry_max),
		.broker_id = not_negative(w.broker_id),
		.slow_broker_id = not_negative(w.slow_broker_id),
		.sys_flag = not_negative(w.sys_flag),
		.consume_timeout_min = not_negative(w.consume_timeout_min),
	};
	engine_group_put(c->front->engine, r);
	wire_doc_fini(&doc);
}

static void all_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	const struct engine_groups *r = &c->u.groups;
	struct wire_out o;

	if (st != ST_OK) {
		nat_answer_status(c, st);
		return;
	}
	struct buf *b = nat_body(c);
	struct wire_group *v = mem_array(r->count + 1, sizeof(*v));
	for (size_t i = 0; i < r->count; i++)
		v[i] = group_of(r->v[i].name, &r->v[i].conf);
	struct wire_data_version version = {.state = 0, .timestamp = c->front->boot_ms, .counter = (int64_t)r->count};
	wire_groups(b, &version, v, r->count);
	int64_t count = (int64_t)r->count;
	mem_free(v);
	if (nat_answer_begin(c, &o, ANS_SUCCESS) == NULL)
		return;
	wire_put_i64(&o, "totalGroupNum", count);
	nat_answer_finish(c, &o, buf_view(b));
}

void nat_group_all(struct nat_call *c, const struct wire_cmd *cmd)
{
	(void)cmd;
	NAT_ASK(c, groups, all_got);
	c->u.groups.actor = &c->peer->actor;
	engine_group_list(c->front->engine, &c->u.groups);
}

/* The answer needs the name, which the engine does not give back: the note holds it, as a group's name is shorter than a note. */
static void group_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);

	if (st != ST_OK) {
		nat_answer_status(c, st);
		return;
	}
	struct wire_group w = group_of(slice_of(c->note, c->note_n), &c->u.group.conf);
	struct buf *b = nat_body(c);
	wire_group(b, &w);
	nat_answer_body(c, b);
}

void nat_group_get(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);

	NAT_ASK(c, group, group_got);
	struct engine_group *r = &c->u.group;
	r->actor = &c->peer->actor;
	r->name = wire_str(&a, "group");
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note(c, r->name);
	if (r->name.n > NAT_NOTE_SIZE)
		nat_answer_status(c, ST_NO_GROUP);
	else
		engine_group_get(c->front->engine, r);
}

static void dropped(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);

	/* Tools drop a group on every broker, also where it never was. */
	nat_answer_status(c, st == ST_NO_GROUP ? ST_OK : st);
}

void nat_group_drop(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);

	NAT_ASK(c, group, dropped);
	struct engine_group *r = &c->u.group;
	r->actor = &c->peer->actor;
	r->name = wire_str(&a, "groupName");
	/* 4.9 and 5.x have different names for the same wish. */
	bool remove_offset = wire_bool_or(&a, "removeOffset", false);
	bool clean_offset = wire_bool_or(&a, "cleanOffset", false);
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	r->drop_offsets = remove_offset || clean_offset;
	nat_note(c, r->name);
	engine_group_drop(c->front->engine, r);
}
