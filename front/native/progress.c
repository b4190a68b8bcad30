/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * How far things have come: the queues of a topic (202), a group's offsets beside its queues' ends (208), the groups that consume a topic (300),
 * the offsets of all groups (317).
 *
 *   202  topic -> rows of its queues -> their ranges -> store times of their last messages
 *   208  the group's offsets and subscription -> queues of those topics that have no offset -> ranges -> store times of the last consumed
 *   300  groups -> per group: its offsets, then its members' subscription
 *   317  groups -> their offsets -> store times of the last consumed
 */
#include <stdlib.h>

#include "front/native/job.h"

static bool newest_begin(struct job_worker *w)
{
	return nat_job_time_begin(w, w->job->rows[w->at].max);
}

static bool consumed_begin(struct job_worker *w)
{
	return nat_job_time_begin(w, w->job->rows[w->at].offset);
}

/* {"brokerName":"b","queueId":1,"topic":"T"} as a key, which is how all peers write it. */
static void put_queue(struct buf *b, const struct nat_job *j, const struct job_row *r)
{
	buf_str(b, "{\"brokerName\":");
	buf_json_str(b, j->call->front->conf->broker);
	buf_str(b, ",\"queueId\":");
	buf_i64_dec(b, r->queue);
	buf_str(b, ",\"topic\":");
	buf_json_str(b, slice_str(j->names[r->topic]));
	buf_str(b, "}");
}

static void put_field(struct buf *b, const char *name, uint64_t v)
{
	buf_str(b, name);
	buf_u64_dec(b, v);
}

/* ---- 202 ----------------------------------------------------------------------------------------------------------------------- */

static void stats_finish(struct nat_job *j)
{
	struct buf *b = nat_body(j->call);

	buf_str(b, "{\"offsetTable\":{");
	for (size_t i = 0; i < j->n_rows; i++) {
		const struct job_row *r = &j->rows[i];

		if (i > 0)
			buf_str(b, ",");
		put_queue(b, j, r);
		put_field(b, ":{\"lastUpdateTimestamp\":", (uint64_t)r->last_ms);
		put_field(b, ",\"maxOffset\":", r->max);
		put_field(b, ",\"minOffset\":", r->min);
		buf_str(b, "}");
	}
	buf_str(b, "},\"topicPutTps\":0.0}");
	nat_job_answer(j, b);
}

static void stats_ranged(struct nat_job *j)
{
	nat_job_phase(j, j->n_rows, newest_begin, stats_finish);
}

static void stats_topic_got(struct engine_ask *a, enum status st)
{
	struct nat_job *j = nat_job_of(a);

	if (st != ST_OK) {
		nat_job_fail(j, st);
		return;
	}
	const struct topic_conf *conf = &j->ask.topic.conf;
	uint64_t n = u64_max(conf->read_queues, conf->write_queues);
	for (uint64_t q = 0; q < n && !j->over; q++)
		nat_job_row(j, 0, (int32_t)q);
	nat_job_phase(j, j->n_rows, nat_job_range_begin, stats_ranged);
}

void nat_topic_stats(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);
	struct slice topic = wire_str(&a, "topic");

	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note(c, topic);
	struct nat_job *j = nat_job_new(c);
	nat_job_name(j, topic);
	JOB_ASK(j, topic, stats_topic_got);
	j->ask.topic.actor = j->actor;
	j->ask.topic.name = topic;
	engine_topic_get(j->engine, &j->ask.topic);
}

/* ---- 208 ----------------------------------------------------------------------------------------------------------------------- */

static void put_progress(struct buf *b, const struct nat_job *j, const struct job_row *r)
{
	put_queue(b, j, r);
	put_field(b, ":{\"brokerOffset\":", r->max);
	put_field(b, ",\"consumerOffset\":", r->offset);
	put_field(b, ",\"lastTimestamp\":", (uint64_t)r->last_ms);
	put_field(b, ",\"pullOffset\":", r->offset);
	buf_str(b, "}");
}

static void progress_finish(struct nat_job *j)
{
	struct buf *b = nat_body(j->call);
	bool any = false;

	if (j->over) {
		nat_job_fail(j, ST_TOO_BIG);
		return;
	}
	buf_str(b, "{\"consumeTps\":0.0,\"offsetTable\":{");
	for (size_t i = 0; i < j->n_rows; i++) {
		const struct job_row *r = &j->rows[i];

		if (!r->ranged)
			continue; /* its topic went meanwhile */
		if (any)
			buf_str(b, ",");
		any = true;
		put_progress(b, j, r);
	}
	buf_str(b, "}}");
	nat_job_answer(j, b);
}

static void progress_ranged(struct nat_job *j)
{
	nat_job_phase(j, j->n_rows, consumed_begin, progress_finish);
}

static void progress_queues(struct nat_job *j)
{
	nat_job_phase(j, j->n_rows, nat_job_range_begin, progress_ranged);
}

/* Queues of a topic without a committed offset count from 0. */
static void queues_got(struct engine_ask *a, enum status st)
{
	struct job_worker *w = nat_job_worker_of(a);
	struct nat_job *j = w->job;

	if (st == ST_OK && w->ask.topic.conf.read_queues > 0) {
		uint32_t n = w->ask.topic.conf.read_queues;
		bool *has = mem_array(n, sizeof(*has));
		for (size_t i = 0; i < j->n_rows; i++)
			if (j->rows[i].topic == w->at && j->rows[i].queue >= 0 && (uint32_t)j->rows[i].queue < n)
				has[j->rows[i].queue] = true;
		for (uint32_t q = 0; q < n && !j->over; q++)
			if (!has[q])
				nat_job_row(j, w->at, (int32_t)q);
		mem_free(has);
	}
	nat_job_next(w);
}

static bool queues_begin(struct job_worker *w)
{
	struct nat_job *j = w->job;

	WORKER_ASK(w, topic, queues_got);
	w->ask.topic.actor = j->actor;
	w->ask.topic.name = slice_str(j->names[w->at]);
	engine_topic_get(j->engine, &w->ask.topic);
	return true;
}

static void subs_got(struct engine_ask *a, enum status st)
{
	struct nat_job *j = nat_job_of(a);

	if (st == ST_OK)
		for (size_t i = 0; i < j->ask.members.n_subs; i++)
			nat_job_name(j, j->ask.members.subs[i].topic);
	nat_job_phase(j, j->n_names, queues_begin, progress_queues);
}

/* Rows for what a group has committed; of one topic only, when one was named. */
static void add_offsets(struct nat_job *j, const struct engine_offsets *o, size_t group)
{
	for (size_t i = 0; i < o->count && !j->over; i++) {
		if (!j->any_topic && !slice_eq_str(o->v[i].topic, j->names[0]))
			continue;
		size_t topic = nat_job_name(j, o->v[i].topic);
		struct job_row *r = nat_job_row(j, topic, o->v[i].queue);
		if (r == NULL)
			return;
		r->group = group;
		r->ranged = true;
		r->min = o->v[i].min;
		r->max = o->v[i].max;
		r->offset = o->v[i].offset;
	}
}

static void offsets_got(struct engine_ask *a, enum status st)
{
	struct nat_job *j = nat_job_of(a);

	if (st != ST_OK && st != ST_NO_GROUP && st != ST_NOT_FOUND) {
		nat_job_fail(j, st);
		return;
	}
	if (st == ST_OK)
		add_offsets(j, &j->ask.offsets, 0);
	if (!j->any_topic) {
		nat_job_phase(j, j->n_names, queues_begin, progress_queues);
		return;
	}
	JOB_ASK(j, members, subs_got);
	j->ask.members.actor = j->actor;
	j->ask.members.group = slice_str(j->subject);
	j->ask.members.kind = MEMBER_CONSUMER;
	engine_members(j->engine, &j->ask.members);
}

void nat_consume_stats(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);
	struct slice group = wire_str(&a, "consumerGroup");
	struct slice topic = wire_str_or(&a, "topic", (struct slice){NULL, 0});

	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note(c, group);
	struct nat_job *j = nat_job_new(c);
	j->subject = slice_dup(group);
	j->any_topic = topic.n == 0;
	if (topic.n > 0)
		nat_job_name(j, topic);
	JOB_ASK(j, offsets, offsets_got);
	j->ask.offsets.actor = j->actor;
	j->ask.offsets.group = group;
	engine_offset_list(j->engine, &j->ask.offsets);
}

/* ---- All groups ---------------------------------------------------------------------------------------------------------------- */

/* Their names, or of those only that consume in order. False: the job has failed. */
static bool keep_groups(struct nat_job *j, enum status st, bool only_orderly)
{
	const struct engine_groups *g = &j->ask.groups;

	if (st != ST_OK) {
		nat_job_fail(j, st);
		return false;
	}
	j->groups = mem_array(g->count + 1, sizeof(*j->groups));
	for (size_t i = 0; i < g->count; i++)
		if (!only_orderly || g->v[i].conf.orderly)
			j->groups[j->n_groups++] = slice_dup(g->v[i].name);
	return true;
}

static void ask_offsets(struct job_worker *w, void (*done)(struct engine_ask *, enum status))
{
	struct nat_job *j = w->job;

	WORKER_ASK(w, offsets, done);
	w->ask.offsets.actor = j->actor;
	w->ask.offsets.group = slice_str(j->groups[w->at]);
	engine_offset_list(j->engine, &w->ask.offsets);
}

/* ---- 300 ----------------------------------------------------------------------------------------------------------------------- */

static void who_finish(struct nat_job *j)
{
	struct buf *b = nat_body(j->call);
	struct slice *v = mem_array(j->n_groups + 1, sizeof(*v));
	size_t n = 0;

	for (size_t i = 0; i < j->n_groups; i++)
		if (j->marks[i])
			v[n++] = slice_str(j->groups[i]);
	wire_group_list(b, v, n);
	mem_free(v);
	nat_job_answer(j, b);
}

static void who_subs_got(struct engine_ask *a, enum status st)
{
	struct job_worker *w = nat_job_worker_of(a);
	const struct engine_members *m = &w->ask.members;

	for (size_t i = 0; st == ST_OK && i < m->n_subs; i++)
		if (slice_eq_str(m->subs[i].topic, w->job->subject))
			w->job->marks[w->at] = true;
	nat_job_next(w);
}

static void who_offsets_got(struct engine_ask *a, enum status st)
{
	struct job_worker *w = nat_job_worker_of(a);
	struct nat_job *j = w->job;
	const struct engine_offsets *o = &w->ask.offsets;

	for (size_t i = 0; st == ST_OK && i < o->count; i++)
		if (slice_eq_str(o->v[i].topic, j->subject))
			j->marks[w->at] = true;
	if (j->marks[w->at]) {
		nat_job_next(w);
		return;
	}
	WORKER_ASK(w, members, who_subs_got);
	w->ask.members.actor = j->actor;
	w->ask.members.group = slice_str(j->groups[w->at]);
	w->ask.members.kind = MEMBER_CONSUMER;
	engine_members(j->engine, &w->ask.members);
}

static bool who_begin(struct job_worker *w)
{
	ask_offsets(w, who_offsets_got);
	return true;
}

static void groups_got(struct engine_ask *a, enum status st)
{
	struct nat_job *j = nat_job_of(a);

	if (!keep_groups(j, st, false))
		return;
	j->marks = mem_array(j->n_groups + 1, sizeof(*j->marks));
	nat_job_phase(j, j->n_groups, who_begin, who_finish);
}

void nat_who_consumes(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);
	struct slice topic = wire_str(&a, "topic");

	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note(c, topic);
	struct nat_job *j = nat_job_new(c);
	j->subject = slice_dup(topic);
	JOB_ASK(j, groups, groups_got);
	j->ask.groups.actor = j->actor;
	engine_group_list(j->engine, &j->ask.groups);
}

/* ---- 317 ----------------------------------------------------------------------------------------------------------------------- */

static int by_group_and_topic(const void *a, const void *b)
{
	const struct job_row *x = a, *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	return x->topic == y->topic ? 0 : x->topic < y->topic ? -1 : 1;
}

/* One table for each topic of a group. */
static void all_finish(struct nat_job *j)
{
	struct buf *b = nat_body(j->call);
	const struct front_conf *conf = j->call->front->conf;
	uint32_t ip = conf->advertised_ip;
	uint64_t behind = 0;

	buf_fmt(b, "{\"brokerAddr\":\"%u.%u.%u.%u:%u\",\"consumeStatsList\":[", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255,
	        conf->advertised_port);
	for (size_t i = 0; i < j->n_rows; i++) {
		const struct job_row *r = &j->rows[i], *p = i > 0 ? r - 1 : NULL;
		bool group = p == NULL || p->group != r->group, topic = group || p->topic != r->topic;

		if (p != NULL)
			buf_str(b, group ? "}}]}," : topic ? "}}," : ",");
		if (group) {
			buf_str(b, "{");
			buf_json_str(b, slice_str(j->groups[r->group]));
			buf_str(b, ":[");
		}
		if (topic)
			buf_str(b, "{\"consumeTps\":0.0,\"offsetTable\":{");
		put_progress(b, j, r);
		behind += r->max > r->offset ? r->max - r->offset : 0;
	}
	buf_str(b, j->n_rows > 0 ? "}}]}]" : "]");
	put_field(b, ",\"totalDiff\":", behind);
	buf_str(b, ",\"totalInflightDiff\":0}");
	nat_job_answer(j, b);
}

static void all_sorted(struct nat_job *j)
{
	if (j->over) {
		nat_job_fail(j, ST_TOO_BIG);
		return;
	}
	if (j->n_rows > 0)
		qsort(j->rows, j->n_rows, sizeof(*j->rows), by_group_and_topic);
	nat_job_phase(j, j->n_rows, consumed_begin, all_finish);
}

static void all_offsets_got(struct engine_ask *a, enum status st)
{
	struct job_worker *w = nat_job_worker_of(a);
	struct nat_job *j = w->job;

	if (st == ST_OK)
		add_offsets(j, &w->ask.offsets, w->at);
	nat_job_next(w);
}

static bool all_begin(struct job_worker *w)
{
	ask_offsets(w, all_offsets_got);
	return true;
}

static void all_groups_got(struct engine_ask *a, enum status st)
{
	struct nat_job *j = nat_job_of(a);

	if (!keep_groups(j, st, j->force))
		return;
	j->any_topic = true;
	nat_job_phase(j, j->n_groups, all_begin, all_sorted);
}

void nat_broker_consume_stats(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);
	bool orderly = wire_bool_or(&a, "isOrder", false);

	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	struct nat_job *j = nat_job_new(c);
	j->force = orderly;
	JOB_ASK(j, groups, all_groups_got);
	j->ask.groups.actor = j->actor;
	engine_group_list(j->engine, &j->ask.groups);
}
