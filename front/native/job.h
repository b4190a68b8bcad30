/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Jobs: requests that need many answers of the engine. A few workers take the items of a phase one by one, each with one ask under way; when all
 * are done the phase ends and may start the next. A job ends in one answer, and outlives its connection like any call.
 */
#ifndef FRONT_NATIVE_JOB_H
#define FRONT_NATIVE_JOB_H

#include "front/native/nat.h"

#define JOB_MAGIC 0x4e41544au
#define JOB_WORKERS 16

struct job_row {
	size_t topic;              /* in names */
	size_t group;              /* 317: in groups */
	int32_t queue;
	bool ranged;               /* min and max are known */
	uint64_t min, max;
	uint64_t offset;           /* 208: committed, 0 when none; 222: the new one */
	int64_t last_ms;           /* 0: not known */
};

struct job_worker {
	struct nat_job *job;
	size_t at;                 /* item of the phase */
	union {
		struct engine_ask any;
		struct engine_range range;
		struct engine_pull pull;
		struct engine_topic topic;
		struct engine_offsets offsets;
		struct engine_members members;
		struct engine_offset offset;
	} ask;
};

struct nat_job {
	uint32_t magic;
	struct nat_call *call;
	const struct actor *actor;
	struct engine *engine;
	char *subject;             /* 208, 222: the group; 300: the topic */
	char **names;              /* 202, 208, 222, 317: topics; 300: groups */
	bool *marks;               /* 300: the group consumes the topic */
	size_t n_names, cap_names;
	struct job_row *rows;
	size_t n_rows, cap_rows;
	bool over;                 /* more rows than an answer may have */
	char **groups;             /* 317 */
	size_t n_groups;
	bool any_topic;            /* 208: no topic was named */
	bool force;                /* 222: also forwards; 317: only groups that consume in order */
	int64_t time_ms;           /* 222: -1 for the end */
	enum status failed;        /* 222: what went wrong first */
	uint8_t language;          /* 222: of the tool */
	/* The phase under way. */
	size_t n, next;
	unsigned running;
	bool (*begin)(struct job_worker *);   /* asks for an item; false: there is nothing to ask */
	void (*finish)(struct nat_job *);
	struct job_worker workers[JOB_WORKERS];
	union {
		struct engine_ask any;
		struct engine_topic topic;
		struct engine_offsets offsets;
		struct engine_members members;
		struct engine_groups groups;
	} ask;
};

#define JOB_ASK(j, field, on_done) (memset(&(j)->ask.field, 0, sizeof((j)->ask.field)), (j)->ask.any.done = (on_done))
#define WORKER_ASK(w, field, on_done) (memset(&(w)->ask.field, 0, sizeof((w)->ask.field)), (w)->ask.any.done = (on_done))

struct nat_job *nat_job_new(struct nat_call *c);
void nat_job_fail(struct nat_job *j, enum status st);               /* answers and frees */
void nat_job_answer(struct nat_job *j, const struct buf *body);     /* likewise */
struct nat_job *nat_job_of(struct engine_ask *a);                   /* of an ask of the job itself */
struct job_worker *nat_job_worker_of(struct engine_ask *a);         /* of a worker's */
void nat_job_next(struct job_worker *w);                            /* the worker's item is done */
/*
 * Runs 'n' items through begin(), which asks for one (false: there is nothing to ask), and then finish(), once. The done() of an item's ask ends in
 * nat_job_next, or asks again.
 */
void nat_job_phase(struct nat_job *j, size_t n, bool (*begin)(struct job_worker *), void (*finish)(struct nat_job *));
size_t nat_job_name(struct nat_job *j, struct slice name);          /* its place in names; added when it is new */
struct job_row *nat_job_row(struct nat_job *j, size_t topic, int32_t queue); /* a new row; NULL, and 'over', beyond the bound */
bool nat_job_range_begin(struct job_worker *w);                     /* asks for the range of a row that has none */
bool nat_job_time_begin(struct job_worker *w, uint64_t offset);     /* asks for the store time of the message before an offset of the row */

#endif
