/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Topics: create or change (17), drop (215), one (351), all (21), the system's (305). */
#include "front/native/nat.h"

static void plain_done(struct engine_ask *a, enum status st)
{
	nat_answer_status(nat_call_of(a), st);
}


void nat_topic_put(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);

	NAT_ASK(c, topic, plain_done);
	struct engine_topic *r = &c->u.topic;
	r->actor = &c->peer->actor;
	r->name = wire_str(&a, "topic");
	int32_t read = wire_i32(&a, "readQueueNums");
	int32_t write = wire_i32(&a, "writeQueueNums");
	int32_t perm = wire_i32(&a, "perm");
	int32_t sys_flag = wire_i32_or(&a, "topicSysFlag", 0);
	r->conf.order = wire_bool_or(&a, "order", false);
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note(c, r->name);
	if (read < 0 || write < 0 || perm < 0 || sys_flag < 0) {
		nat_answer_status(c, ST_BAD_ARG);
		return;
	}
	r->conf.read_queues = (uint32_t)read;
	r->conf.write_queues = (uint32_t)write;
	r->conf.perm = (uint32_t)perm;
	r->conf.sys_flag = (uint32_t)sys_flag;
	engine_topic_put(c->front->engine, r);
}

static void dropped(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);

	/* Tools drop a topic on every broker, also where it never was. */
	if (st == ST_NO_TOPIC)
		nat_answer_status(c, ST_OK);
	else if (st == ST_DENIED)
		nat_answer_code(c, ANS_INVALID_PARAMETER, st);
	else
		nat_answer_status(c, st);
}

/* Fills the ask for one topic's name; false: the request has been answered. */
static bool topic_ask(struct nat_call *c, const struct wire_cmd *cmd, void (*done)(struct engine_ask *, enum status))
{
	struct wire_args a = wire_args(cmd);

	NAT_ASK(c, topic, done);
	struct engine_topic *r = &c->u.topic;
	r->actor = &c->peer->actor;
	r->name = wire_str(&a, "topic");
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return false;
	}
	nat_note(c, r->name);
	return true;
}

void nat_topic_drop(struct nat_call *c, const struct wire_cmd *cmd)
{
	if (topic_ask(c, cmd, dropped))
		engine_topic_drop(c->front->engine, &c->u.topic);
}

static struct wire_topic topic_of(struct slice name, const struct topic_conf *conf)
{
	return (struct wire_topic){
		.name = name,
		.read_queues = conf->read_queues,
		.write_queues = conf->write_queues,
		.perm = conf->perm,
		.sys_flag = conf->sys_flag,
		.order = conf->order,
	};
}

static void topic_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);

	if (st != ST_OK) {
		nat_answer_status(c, st);
		return;
	}
	struct wire_topic t = topic_of(c->u.topic.info.name, &c->u.topic.conf);
	struct buf *b = nat_body(c);
	wire_topic(b, &t);
	nat_answer_body(c, b);
}

void nat_topic_get(struct nat_call *c, const struct wire_cmd *cmd)
{
	if (topic_ask(c, cmd, topic_got))
		engine_topic_get(c->front->engine, &c->u.topic);
}

/* ---- Lists ------------------------------------------------------------------------------------------------------------------- */

static void all_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	const struct engine_topics *r = &c->u.topics;
	struct wire_out o;

	if (st != ST_OK) {
		nat_answer_status(c, st);
		return;
	}
	struct buf *b = nat_body(c);
	struct wire_topic *v = mem_array(r->count + 1, sizeof(*v));
	for (size_t i = 0; i < r->count; i++)
		v[i] = topic_of(r->v[i].name, &r->v[i].conf);
	struct wire_data_version version = {.state = 0, .timestamp = c->front->boot_ms, .counter = (int64_t)r->version};
	wire_topics(b, &version, v, r->count);
	int64_t count = (int64_t)r->count;
	mem_free(v);
	if (nat_answer_begin(c, &o, ANS_SUCCESS) == NULL)
		return;
	wire_put_i64(&o, "totalTopicNum", count);
	nat_answer_finish(c, &o, buf_view(b));
}

static void system_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	const struct engine_topics *r = &c->u.topics;
	size_t n = 0;

	if (st != ST_OK) {
		nat_answer_status(c, st);
		return;
	}
	struct buf *b = nat_body(c);
	struct slice *names = mem_array(r->count + 1, sizeof(*names));
	for (size_t i = 0; i < r->count; i++)
		if (r->v[i].system)
			names[n++] = r->v[i].name;
	wire_topic_list(b, names, n, (struct slice){NULL, 0});
	mem_free(names);
	nat_answer_body(c, b);
}

static void list_go(struct nat_call *c, void (*done)(struct engine_ask *, enum status))
{
	NAT_ASK(c, topics, done);
	c->u.topics.actor = &c->peer->actor;
	engine_topic_list(c->front->engine, &c->u.topics);
}

void nat_topic_all(struct nat_call *c, const struct wire_cmd *cmd)
{
	(void)cmd;
	list_go(c, all_got);
}

void nat_topic_system(struct nat_call *c, const struct wire_cmd *cmd)
{
	(void)cmd;
	list_go(c, system_got);
}
