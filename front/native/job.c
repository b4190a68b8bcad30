/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "base/be.h"
#include "front/native/job.h"
#include "record/record.h"

/* ---- Life ---------------------------------------------------------------------------------------------------------------------- */

struct nat_job *nat_job_new(struct nat_call *c)
{
	struct nat_job *j = mem_new(sizeof(*j));

	j->magic = JOB_MAGIC;
	j->call = c;
	j->actor = &c->peer->actor;
	j->engine = c->front->engine;
	c->u.job = j;
	for (unsigned i = 0; i < JOB_WORKERS; i++)
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
	for (size_t i = 0; i < j->n_groups; i++)
		mem_free(j->groups[i]);
	mem_free(j->groups);
	mem_free(j->marks);
	mem_free(j->rows);
	mem_free(j->subject);
	j->magic = 0;
	mem_free(j);
}

void nat_job_fail(struct nat_job *j, enum status st)
{
	struct nat_call *c = j->call;

	job_free(j);
	nat_answer_status(c, st);
}

void nat_job_answer(struct nat_job *j, const struct buf *body)
{
	struct nat_call *c = j->call;

	job_free(j);
	nat_answer_body(c, body);
}

struct nat_job *nat_job_of(struct engine_ask *a)
{
	struct nat_job *j = container_of(a, struct nat_job, ask.any);
	CHECK_OBJ(j, JOB_MAGIC);
	return j;
}

struct job_worker *nat_job_worker_of(struct engine_ask *a)
{
	struct job_worker *w = container_of(a, struct job_worker, ask.any);
	CHECK_OBJ(w->job, JOB_MAGIC);
	return w;
}

/* The worker goes on with the next item that has something to ask; the last one to find none ends the phase. */
void nat_job_next(struct job_worker *w)
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

void nat_job_phase(struct nat_job *j, size_t n, bool (*begin)(struct job_worker *), void (*finish)(struct nat_job *))
{
	CHECK(j->running == 0);
	j->n = n;
	j->next = 0;
	j->begin = begin;
	j->finish = finish;
	j->running = JOB_WORKERS;
	/* No done() comes from inside an ask, so only the last of these calls can end the phase. */
	for (unsigned i = 0; i < JOB_WORKERS; i++)
		nat_job_next(&j->workers[i]);
}

size_t nat_job_name(struct nat_job *j, struct slice name)
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

struct job_row *nat_job_row(struct nat_job *j, size_t topic, int32_t queue)
{
	if (j->n_rows == NAT_ROWS_MAX) {
		j->over = true;
		return NULL;
	}
	if (j->n_rows == j->cap_rows) {
		j->cap_rows = j->cap_rows * 2 + 16;
		j->rows = mem_grow(j->rows, j->cap_rows * sizeof(*j->rows));
	}
	struct job_row *r = &j->rows[j->n_rows++];
	*r = (struct job_row){.topic = topic, .queue = queue};
	return r;
}

/* ---- Ranges and store times of rows ------------------------------------------------------------------------------------------- */

static void range_got(struct engine_ask *a, enum status st)
{
	struct job_worker *w = nat_job_worker_of(a);
	struct job_row *r = &w->job->rows[w->at];

	if (st == ST_OK) {
		r->ranged = true;
		r->min = w->ask.range.min;
		r->max = w->ask.range.max;
	}
	nat_job_next(w);
}

bool nat_job_range_begin(struct job_worker *w)
{
	struct nat_job *j = w->job;
	const struct job_row *r = &j->rows[w->at];

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
	struct job_worker *w = nat_job_worker_of(a);
	const struct engine_pull *p = &w->ask.pull;

	if (st == ST_OK && p->n_pieces > 0 && p->pieces[0].bytes.n >= RECORD_AT_STORE_MS + 8)
		w->job->rows[w->at].last_ms = (int64_t)be64_get(p->pieces[0].bytes.p + RECORD_AT_STORE_MS);
	nat_job_next(w);
}

bool nat_job_time_begin(struct job_worker *w, uint64_t offset)
{
	struct nat_job *j = w->job;
	const struct job_row *r = &j->rows[w->at];

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
