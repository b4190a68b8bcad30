/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * How far things have come: the queues of a topic (202), a group's offsets beside its queues' ends (208), the groups that consume a topic (300).
 *
 * Each of these needs many answers of the engine, so it is a job: a few workers take its items one by one, each with one ask under way, phase
 * after phase. A job ends in one answer, and outlives its connection like any call.
 *
 *   202  topic -> rows of its queues -> their ranges -> store times of their last messages
 *   208  the group's offsets and subscription -> queues of those topics that have no offset -> ranges -> store times of the last consumed
 *   300  groups -> per group: its offsets, then its members' subscription
 */
#include "base/be.h"
#include "front/native/nat.h"
#include "record/record.h"

#define JOB_MAGIC 0x4e41544au
#define WORKERS 16

struct row {
	size_t topic;              /* in names */
	int32_t queue;
	bool ranged;               /* min and max are known */
	uint64_t min, max;
	uint64_t offset;           /* 208: committed, 0 when none */
	int64_t last_ms;           /* 0: not known */
};

struct worker {
	struct nat_job *job;
	size_t at;                 /* item of the phase */
	union {
		struct engine_ask any;
		struct engine_range range;
		struct engine_pull pull;
		struct engine_topic topic;
		struct engine_offsets offsets;
		struct engine_members members;
	} ask;
};

struct nat_job {
	uint32_t magic;
	struct nat_call *call;
	const struct actor *actor;
	struct engine *engine;
	char *subject;             /* 208: the group; 300: the topic */
	char **names;              /* 202, 208: topics; 300: groups */
	bool *marks;               /* 300: the group consumes the topic */
	size_t n_names, cap_names;
	struct row *rows;
	size_t n_rows, cap_rows;
	bool over;                 /* more rows than an answer may have */
	bool any_topic;            /* 208: no topic was named */
	/* The phase under way. */
	size_t n, next;
	unsigned running;
	bool (*begin)(struct worker *);   /* asks for an item; false: there is nothing to ask */
	void (*finish)(struct nat_job *);
	struct worker workers[WORKERS];
	union {
		struct engine_ask any;
		struct engine_topic topic;
		struct engine_offsets offsets;
		struct engine_members members;
		struct engine_groups groups;
	} ask;
};

/* ---- Jobs ---------------------------------------------------------------------------------------------------------------------- */

static struct nat_job *job_new(struct nat_call *c)
{
	struct nat_job *j = mem_new(sizeof(*j));

	j->magic = JOB_MAGIC;
	j->call = c;
	j->actor = &c->peer->actor;
	j->engine = c->front->engine;
	c->u.job = j;
	for (unsigned i = 0; i < WORKERS; i++)
		j->workers[i].job = j;
	return j;
}

static void job_free(struct nat_job *j)
{
	CHECK_OBJ(j, JOB_MAGIC);
	CHECK(j->running == 0);
	for (size_t i = 0; i < j->n_names; i++)
		mem_free(j->names[i]);
	mem_free(j->names);
	mem_free(j->marks);
	mem_free(j->rows);
	mem_free(j->subject);
	j->magic = 0;
	mem_free(j);
}

static void job_fail(struct nat_job *j, enum status st)
{
	struct nat_call *c = j->call;

	job_free(j);
	nat_answer_status(c, st);
}

static void job_answer(struct nat_job *j, const struct buf *body)
{
	struct nat_call *c = j->call;

	job_free(j);
	nat_answer_body(c, body);
}

static struct nat_job *job_of(struct engine_ask *a)
{
	struct nat_job *j = container_of(a, struct nat_job, ask.any);
	CHECK_OBJ(j, JOB_MAGIC);
	return j;
}

static struct worker *worker_of(struct engine_ask *a)
{
	struct worker *w = container_of(a, struct worker, ask.any);
	CHECK_OBJ(w->job, JOB_MAGIC);
	return w;
}

#define JOB_ASK(j, field, on_done) (memset(&(j)->ask.field, 0, sizeof((j)->ask.field)), (j)->ask.any.done = (on_done))
#define WORKER_ASK(w, field, on_done) (memset(&(w)->ask.field, 0, sizeof((w)->ask.field)), (w)->ask.any.done = (on_done))

/* The worker goes on with the next item that has something to ask; the last one to find none ends the phase. */
static void worker_next(struct worker *w)
{
	struct nat_job *j = w->job;

	while (j->next < j->n) {
		w->at = j->next++;
		if (j->begin(w))
			return;
	}
	CHECK(j->running > 0);
	if (--j->running == 0)
		j->finish(j);
}

static void phase(struct nat_job *j, size_t n, bool (*begin)(struct worker *), void (*finish)(struct nat_job *))
{
	CHECK(j->running == 0);
	j->n = n;
	j->next = 0;
	j->begin = begin;
	j->finish = finish;
	j->running = WORKERS;
	/* No done() comes from inside an ask, so only the last of these calls can end the phase. */
	for (unsigned i = 0; i < WORKERS; i++)
		worker_next(&j->workers[i]);
}

static size_t name_add(struct nat_job *j, struct slice name)
{
	/* From the end, as rows of a topic mostly come together. */
	for (size_t i = j->n_names; i > 0; i--)
		if (slice_eq_str(name, j->names[i - 1]))
			return i - 1;
	if (j->n_names == j->cap_names) {
		j->cap_names = j->cap_names * 2 + 8;
		j->names = mem_grow(j->names, j->cap_names * sizeof(*j->names));
	}
	j->names[j->n_names] = slice_dup(name);
	return j->n_names++;
}

static struct row *row_add(struct nat_job *j, size_t topic, int32_t queue)
{
	if (j->n_rows == NAT_ROWS_MAX) {
		j->over = true;
		return NULL;
	}
	if (j->n_rows == j->cap_rows) {
		j->cap_rows = j->cap_rows * 2 + 16;
		j->rows = mem_grow(j->rows, j->cap_rows * sizeof(*j->rows));
	}
	struct row *r = &j->rows[j->n_rows++];
	*r = (struct row){.topic = topic, .queue = queue};
	return r;
}

/* ---- Ranges and store times of rows ------------------------------------------------------------------------------------------- */

static void range_got(struct engine_ask *a, enum status st)
{
	struct worker *w = worker_of(a);
	struct row *r = &w->job->rows[w->at];

	if (st == ST_OK) {
		r->ranged = true;
		r->min = w->ask.range.min;
		r->max = w->ask.range.max;
	}
	worker_next(w);
}

static bool range_begin(struct worker *w)
{
	struct nat_job *j = w->job;
	const struct row *r = &j->rows[w->at];

	if (r->ranged)
		return false;
	WORKER_ASK(w, range, range_got);
	w->ask.range.actor = j->actor;
	w->ask.range.topic = slice_str(j->names[r->topic]);
	w->ask.range.queue = r->queue;
	engine_range(j->engine, &w->ask.range);
	return true;
}

static void time_got(struct engine_ask *a, enum status st)
{
	struct worker *w = worker_of(a);
	const struct engine_pull *p = &w->ask.pull;

	if (st == ST_OK && p->n_pieces > 0 && p->pieces[0].bytes.n >= RECORD_AT_STORE_MS + 8)
		w->job->rows[w->at].last_ms = (int64_t)be64_get(p->pieces[0].bytes.p + RECORD_AT_STORE_MS);
	worker_next(w);
}

/* Asks for the message before 'offset', for its store time. */
static bool time_begin(struct worker *w, uint64_t offset)
{
	struct nat_job *j = w->job;
	const struct row *r = &j->rows[w->at];

	if (!r->ranged || offset <= r->min || offset > r->max)
		return false;
	WORKER_ASK(w, pull, time_got);
	w->ask.pull.actor = j->actor;
	w->ask.pull.topic = slice_str(j->names[r->topic]);
	w->ask.pull.queue = r->queue;
	w->ask.pull.from = offset - 1;
	w->ask.pull.max_msgs = 1;
	w->ask.pull.max_bytes = 1;
	w->ask.pull.has_expr = true;
	w->ask.pull.commit = -1;
	engine_pull(j->engine, &w->ask.pull);
	return true;
}

static bool newest_begin(struct worker *w)
{
	return time_begin(w, w->job->rows[w->at].max);
}

static bool consumed_begin(struct worker *w)
{
	return time_begin(w, w->job->rows[w->at].offset);
}

/* {"brokerName":"b","queueId":1,"topic":"T"} as a key, which is how all peers write it. */
static void put_queue(struct buf *b, const struct nat_job *j, const struct row *r)
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
		const struct row *r = &j->rows[i];

		if (i > 0)
			buf_str(b, ",");
		put_queue(b, j, r);
		put_field(b, ":{\"lastUpdateTimestamp\":", (uint64_t)r->last_ms);
		put_field(b, ",\"maxOffset\":", r->max);
		put_field(b, ",\"minOffset\":", r->min);
		buf_str(b, "}");
	}
	buf_str(b, "},\"topicPutTps\":0.0}");
	job_answer(j, b);
}

static void stats_ranged(struct nat_job *j)
{
	phase(j, j->n_rows, newest_begin, stats_finish);
}

static void stats_topic_got(struct engine_ask *a, enum status st)
{
	struct nat_job *j = job_of(a);

	if (st != ST_OK) {
		job_fail(j, st);
		return;
	}
	const struct topic_conf *conf = &j->ask.topic.conf;
	uint64_t n = u64_max(conf->read_queues, conf->write_queues);
	for (uint64_t q = 0; q < n && !j->over; q++)
		row_add(j, 0, (int32_t)q);
	phase(j, j->n_rows, range_begin, stats_ranged);
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
	struct nat_job *j = job_new(c);
	name_add(j, topic);
	JOB_ASK(j, topic, stats_topic_got);
	j->ask.topic.actor = j->actor;
	j->ask.topic.name = topic;
	engine_topic_get(j->engine, &j->ask.topic);
}

/* ---- 208 ----------------------------------------------------------------------------------------------------------------------- */

static void progress_finish(struct nat_job *j)
{
	struct buf *b = nat_body(j->call);
	bool any = false;

	if (j->over) {
		job_fail(j, ST_TOO_BIG);
		return;
	}
	buf_str(b, "{\"consumeTps\":0.0,\"offsetTable\":{");
	for (size_t i = 0; i < j->n_rows; i++) {
		const struct row *r = &j->rows[i];

		if (!r->ranged)
			continue; /* its topic went meanwhile */
		if (any)
			buf_str(b, ",");
		any = true;
		put_queue(b, j, r);
		put_field(b, ":{\"brokerOffset\":", r->max);
		put_field(b, ",\"consumerOffset\":", r->offset);
		put_field(b, ",\"lastTimestamp\":", (uint64_t)r->last_ms);
		put_field(b, ",\"pullOffset\":", r->offset);
		buf_str(b, "}");
	}
	buf_str(b, "}}");
	job_answer(j, b);
}

static void progress_ranged(struct nat_job *j)
{
	phase(j, j->n_rows, consumed_begin, progress_finish);
}

static void progress_queues(struct nat_job *j)
{
	phase(j, j->n_rows, range_begin, progress_ranged);
}

/* Queues of a topic without a committed offset count from 0. */
static void queues_got(struct engine_ask *a, enum status st)
{
	struct worker *w = worker_of(a);
	struct nat_job *j = w->job;

	if (st == ST_OK && w->ask.topic.conf.read_queues > 0) {
		uint32_t n = w->ask.topic.conf.read_queues;
		bool *has = mem_array(n, sizeof(*has));
		for (size_t i = 0; i < j->n_rows; i++)
			if (j->rows[i].topic == w->at && j->rows[i].queue >= 0 && (uint32_t)j->rows[i].queue < n)
				has[j->rows[i].queue] = true;
		for (uint32_t q = 0; q < n && !j->over; q++)
			if (!has[q])
				row_add(j, w->at, (int32_t)q);
		mem_free(has);
	}
	worker_next(w);
}

static bool queues_begin(struct worker *w)
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
	struct nat_job *j = job_of(a);

	if (st == ST_OK)
		for (size_t i = 0; i < j->ask.members.n_subs; i++)
			name_add(j, j->ask.members.subs[i].topic);
	phase(j, j->n_names, queues_begin, progress_queues);
}

static void offsets_got(struct engine_ask *a, enum status st)
{
	struct nat_job *j = job_of(a);

	if (st != ST_OK && st != ST_NO_GROUP && st != ST_NOT_FOUND) {
		job_fail(j, st);
		return;
	}
	const struct engine_offsets *o = &j->ask.offsets;
	for (size_t i = 0; st == ST_OK && i < o->count && !j->over; i++) {
		if (!j->any_topic && !slice_eq_str(o->v[i].topic, j->names[0]))
			continue;
		size_t topic = name_add(j, o->v[i].topic);
		struct row *r = row_add(j, topic, o->v[i].queue);
		if (r == NULL)
			break;
		r->ranged = true;
		r->min = o->v[i].min;
		r->max = o->v[i].max;
		r->offset = o->v[i].offset;
	}
	if (!j->any_topic) {
		phase(j, j->n_names, queues_begin, progress_queues);
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
	struct nat_job *j = job_new(c);
	j->subject = slice_dup(group);
	j->any_topic = topic.n == 0;
	if (topic.n > 0)
		name_add(j, topic);
	JOB_ASK(j, offsets, offsets_got);
	j->ask.offsets.actor = j->actor;
	j->ask.offsets.group = group;
	engine_offset_list(j->engine, &j->ask.offsets);
}

/* ---- 300 ----------------------------------------------------------------------------------------------------------------------- */

static void who_finish(struct nat_job *j)
{
	struct buf *b = nat_body(j->call);
	struct slice *v = mem_array(j->n_names + 1, sizeof(*v));
	size_t n = 0;

	for (size_t i = 0; i < j->n_names; i++)
		if (j->marks[i])
			v[n++] = slice_str(j->names[i]);
	wire_group_list(b, v, n);
	mem_free(v);
	job_answer(j, b);
}

static void who_subs_got(struct engine_ask *a, enum status st)
{
	struct worker *w = worker_of(a);
	const struct engine_members *m = &w->ask.members;

	for (size_t i = 0; st == ST_OK && i < m->n_subs; i++)
		if (slice_eq_str(m->subs[i].topic, w->job->subject))
			w->job->marks[w->at] = true;
	worker_next(w);
}

static void who_offsets_got(struct engine_ask *a, enum status st)
{
	struct worker *w = worker_of(a);
	struct nat_job *j = w->job;
	const struct engine_offsets *o = &w->ask.offsets;

	for (size_t i = 0; st == ST_OK && i < o->count; i++)
		if (slice_eq_str(o->v[i].topic, j->subject))
			j->marks[w->at] = true;
	if (j->marks[w->at]) {
		worker_next(w);
		return;
	}
	WORKER_ASK(w, members, who_subs_got);
	w->ask.members.actor = j->actor;
	w->ask.members.group = slice_str(j->names[w->at]);
	w->ask.members.kind = MEMBER_CONSUMER;
	engine_members(j->engine, &w->ask.members);
}

static bool who_begin(struct worker *w)
{
	struct nat_job *j = w->job;

	WORKER_ASK(w, offsets, who_offsets_got);
	w->ask.offsets.actor = j->actor;
	w->ask.offsets.group = slice_str(j->names[w->at]);
	engine_offset_list(j->engine, &w->ask.offsets);
	return true;
}

static void groups_got(struct engine_ask *a, enum status st)
{
	struct nat_job *j = job_of(a);
	const struct engine_groups *g = &j->ask.groups;

	if (st != ST_OK) {
		job_fail(j, st);
		return;
	}
	j->names = mem_array(g->count + 1, sizeof(*j->names));
	j->marks = mem_array(g->count + 1, sizeof(*j->marks));
	for (size_t i = 0; i < g->count; i++)
		j->names[i] = slice_dup(g->v[i].name);
	j->n_names = g->count;
	phase(j, j->n_names, who_begin, who_finish);
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
	struct nat_job *j = job_new(c);
	j->subject = slice_dup(topic);
	JOB_ASK(j, groups, groups_got);
	j->ask.groups.actor = j->actor;
	engine_group_list(j->engine, &j->ask.groups);
}
