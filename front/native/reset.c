/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Resetting a group's offsets of a topic to a time (222), and telling its consumers (220).
 *
 *   topic -> per queue: the offset at that time -> unless forced: only where it goes back -> set -> notices -> the table
 *
 * The offsets are set whether or not a consumer is connected. A connected one is told, drops what it has fetched and goes on from there; without
 * the notice its next commit would undo the reset.
 */
#include "front/native/job.h"

#define TIME_END (-1)

static void tell(const struct nat_job *j, struct nat_member *m, const struct wire_mq *v, const int64_t *offsets)
{
	struct nat *f = m->peer->front;
	struct wire_out o;

	buf_reset(&f->body);
	wire_reset_body(&f->body, v, offsets, j->n_rows, m->language == WIRE_CPP);
	buf_reset(&f->out);
	wire_begin(&o, &f->out, WIRE_JSON, REQ_RESET_CONSUMER_CLIENT_OFFSET, (int32_t)f->opaque++, WIRE_FLAG_ONEWAY);
	wire_put(&o, "topic", slice_str(j->names[0]));
	wire_put(&o, "group", slice_str(j->subject));
	wire_put_i64(&o, "timestamp", j->time_ms);
	wire_put_bool(&o, "isForce", j->force);
	wire_finish(&o, f->body.n);
	struct piece pieces[] = {{buf_view(&f->out), NULL}, {buf_view(&f->body), NULL}};
	stream_send(m->peer->stream, pieces, 2);
	m->peer->active = true;
	f->n.notices++;
}

static void reset_finish(struct nat_job *j)
{
	if (j->failed != ST_OK) {
		nat_job_fail(j, j->failed);
		return;
	}
	struct nat *f = j->call->front;
	struct wire_mq *v = mem_array(j->n_rows + 1, sizeof(*v));
	int64_t *offsets = mem_array(j->n_rows + 1, sizeof(*offsets));
	for (size_t i = 0; i < j->n_rows; i++) {
		v[i] = (struct wire_mq){slice_str(j->names[0]), f->conf->broker, j->rows[i].queue};
		offsets[i] = (int64_t)j->rows[i].offset;
	}
	LIST_EACH(&f->peers, pn) {
		struct nat_peer *p = container_of(pn, struct nat_peer, link);

		if (p->closing)
			continue;
		LIST_EACH(&p->members, mn) {
			struct nat_member *m = container_of(mn, struct nat_member, link);
			if (m->kind == MEMBER_CONSUMER && strcmp(m->group, j->subject) == 0)
				tell(j, m, v, offsets);
		}
	}
	struct buf *b = nat_body(j->call);
	wire_reset_body(b, v, offsets, j->n_rows, j->language == WIRE_CPP);
	mem_free(v);
	mem_free(offsets);
	nat_job_answer(j, b);
}

static void failed(struct nat_job *j, enum status st)
{
	if (j->failed == ST_OK)
		j->failed = st;
}

/* ---- Set ------------------------------------------------------------------------------------------------------------------------ */

static void offset_set(struct engine_ask *a, enum status st)
{
	struct job_worker *w = nat_job_worker_of(a);

	if (st != ST_OK)
		failed(w->job, st);
	nat_job_next(w);
}

static void offset_ask(struct job_worker *w)
{
	struct nat_job *j = w->job;

	w->ask.offset.actor = j->actor;
	w->ask.offset.group = slice_str(j->subject);
	w->ask.offset.topic = slice_str(j->names[0]);
	w->ask.offset.queue = j->rows[w->at].queue;
}

static bool set_begin(struct job_worker *w)
{
	WORKER_ASK(w, offset, offset_set);
	offset_ask(w);
	w->ask.offset.offset = w->job->rows[w->at].offset;
	engine_offset_reset(w->job->engine, &w->ask.offset);
	return true;
}

/* ---- Where to ---------------------------------------------------------------------------------------------------------------------- */

static void current_got(struct engine_ask *a, enum status st)
{
	struct job_worker *w = nat_job_worker_of(a);
	struct job_row *r = &w->job->rows[w->at];

	if (st == ST_OK)
		r->offset = u64_min(r->offset, w->ask.offset.offset);
	else if (st != ST_NOT_FOUND)
		failed(w->job, st);
	nat_job_next(w);
}

static bool current_begin(struct job_worker *w)
{
	WORKER_ASK(w, offset, current_got);
	offset_ask(w);
	engine_offset_get(w->job->engine, &w->ask.offset);
	return true;
}

static void set_all(struct nat_job *j)
{
	if (j->failed != ST_OK)
		nat_job_fail(j, j->failed);
	else
		nat_job_phase(j, j->n_rows, set_begin, reset_finish);
}

static void compare_all(struct nat_job *j)
{
	if (j->failed != ST_OK || j->force)
		set_all(j);
	else
		nat_job_phase(j, j->n_rows, current_begin, set_all);
}

static void target_got(struct engine_ask *a, enum status st)
{
	struct job_worker *w = nat_job_worker_of(a);
	struct nat_job *j = w->job;
	struct job_row *r = &j->rows[w->at];
	const struct engine_range *g = &w->ask.range;

	if (st != ST_OK)
		failed(j, st);
	else if (r->ranged && (r->offset < g->min || r->offset > g->max))
		failed(j, ST_MOVED); /* an offset that the tool named is not in the queue */
	else if (!r->ranged)
		r->offset = j->time_ms == TIME_END ? g->max : g->offset;
	nat_job_next(w);
}

/* 'ranged' marks the row whose offset the tool named itself. */
static bool target_begin(struct job_worker *w)
{
	struct nat_job *j = w->job;
	const struct job_row *r = &j->rows[w->at];

	WORKER_ASK(w, range, target_got);
	w->ask.range.actor = j->actor;
	w->ask.range.topic = slice_str(j->names[0]);
	w->ask.range.queue = r->queue;
	w->ask.range.time_ms = j->time_ms;
	if (r->ranged || j->time_ms == TIME_END)
		engine_range(j->engine, &w->ask.range);
	else
		engine_at_time(j->engine, &w->ask.range);
	return true;
}

static void topic_got(struct engine_ask *a, enum status st)
{
	struct nat_job *j = nat_job_of(a);

	if (st != ST_OK) {
		nat_job_fail(j, st);
		return;
	}
	/* A queue that the tool named is a row already. */
	uint32_t n = j->n_rows > 0 ? 0 : (uint32_t)u64_max(j->ask.topic.conf.read_queues, j->ask.topic.conf.write_queues);
	for (uint32_t q = 0; q < n && !j->over; q++)
		nat_job_row(j, 0, (int32_t)q);
	nat_job_phase(j, j->n_rows, target_begin, compare_all);
}

void nat_reset(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);
	struct slice topic = wire_str(&a, "topic");
	struct slice group = wire_str(&a, "group");
	int64_t time_ms = wire_i64(&a, "timestamp");
	bool force = wire_bool(&a, "isForce");
	int32_t queue = wire_i32_or(&a, "queueId", -1);
	int64_t offset = wire_i64_or(&a, "offset", -1);

	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note_pair(c, topic, group);
	struct nat_job *j = nat_job_new(c);
	j->subject = slice_dup(group);
	j->force = force;
	j->time_ms = time_ms;
	j->language = cmd->language;
	nat_job_name(j, topic);
	if (queue >= 0) {
		struct job_row *r = nat_job_row(j, 0, queue);
		r->ranged = offset >= 0;
		r->offset = offset >= 0 ? (uint64_t)offset : 0;
		j->force |= r->ranged;
	}
	JOB_ASK(j, topic, topic_got);
	j->ask.topic.actor = j->actor;
	j->ask.topic.name = topic;
	engine_topic_get(j->engine, &j->ask.topic);
}
