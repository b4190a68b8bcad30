/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Sets how far a group has come in a topic: everywhere at the first message, behind the last one, or at a moment; or queue by queue. What is under
 * way of the messages concerned counts no more.
 */
#include <jansson.h>

#include "front/http/api.h"

enum target { TO_EARLIEST, TO_LATEST, TO_MOMENT, TO_OFFSETS };
struct reset;
struct queue {
	struct reset *all;
	struct engine_range range;
	struct engine_offset offset;
	uint64_t to;
	bool chosen;
};
struct reset {
	struct api_job *job;
	enum target target;
	int64_t moment_ms;
	char *topic;
	unsigned n, left;
	struct queue *v;
	json_t *offsets;                 /* of TO_OFFSETS */
	enum status st;                  /* the first thing that went wrong */
};

static void fini(struct api_job *j)
{
	struct reset *r = j->x;

	json_decref(r->offsets);
	mem_free(r->topic);
	mem_free(r->v);
	mem_free(r);
}

static const struct api_job_ops reset_ops = {.fini = fini};

static void finish(struct reset *r)
{
	struct api_job *j = r->job;
	struct buf *b = api_out(j->api);
	bool any = false;

	if (j->call == NULL || api_failed(j, r->st))
		return;
	buf_str(b, "{\"offsets\":[");
	for (unsigned i = 0; i < r->n; i++) {
		if (!r->v[i].chosen)
			continue;
		buf_fmt(b, "%s{\"queue\":%u,\"offset\":%llu}", any ? "," : "", i, (unsigned long long)r->v[i].to);
		any = true;
	}
	buf_str(b, "]}");
	api_reply_json(j, 200, b);
}

static void one_less(struct reset *r, enum status st)
{
	struct api_job *j = r->job;

	if (st != ST_OK && r->st == ST_OK)
		r->st = st;
	j->asks--;
	if (--r->left == 0)
		finish(r);
	api_tidy(j);
}

static void offset_set(struct engine_ask *ask, enum status st)
{
	one_less(container_of(ask, struct queue, offset.ask)->all, st);
}

static void set_offset(struct queue *q, uint64_t to)
{
	struct reset *r = q->all;
	struct api_job *j = r->job;

	q->to = to;
	q->chosen = true;
	q->offset = (struct engine_offset){.ask = {.done = offset_set}, .actor = &j->actor, .group = buf_view(&j->text), .topic = slice_str(r->topic),
		.queue = (int32_t)(q - r->v), .offset = to};
	j->asks++;
	r->left++;
	engine_offset_reset(j->api->engine, &q->offset);
}

static void range_known(struct engine_ask *ask, enum status st)
{
	struct queue *q = container_of(ask, struct queue, range.ask);
	struct reset *r = q->all;

	if (st == ST_OK)
		set_offset(q, r->target == TO_EARLIEST ? q->range.min : r->target == TO_LATEST ? q->range.max : q->range.offset);
	one_less(r, st);
}

static void ask_range(struct queue *q)
{
	struct reset *r = q->all;
	struct api_job *j = r->job;

	q->range = (struct engine_range){.ask = {.done = range_known}, .actor = &j->actor, .topic = slice_str(r->topic), .queue = (int32_t)(q - r->v),
		.time_ms = r->moment_ms};
	j->asks++;
	r->left++;
	if (r->target == TO_MOMENT)
		engine_at_time(j->api->engine, &q->range);
	else
		engine_range(j->api->engine, &q->range);
}

/* {"0": 15, "3": 7}. False: refused, and answered; nothing is set then. */
static bool read_offsets(struct reset *r, bool set)
{
	const char *key;
	uint64_t queue;
	json_t *v;

	json_object_foreach(r->offsets, key, v) {
		if (!slice_u64(slice_str(key), &queue) || queue >= r->n || !json_is_integer(v) || json_integer_value(v) < 0) {
			api_problem(r->job, 400, ST_BAD_ARG, "member \"to\": {\"queue\": offset}, with queues from 0 to %u", r->n - 1);
			return false;
		}
		if (set && !r->v[queue].chosen)
			set_offset(&r->v[queue], (uint64_t)json_integer_value(v));
	}
	return true;
}

static void topic_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct reset *r = j->x;
		r->n = j->u.topic.conf.read_queues;
		if (r->n > API_QUEUES_MAX)
			r->n = API_QUEUES_MAX;
		r->v = mem_array(r->n, sizeof(*r->v));
		for (unsigned i = 0; i < r->n; i++)
			r->v[i].all = r;
		if (r->target == TO_OFFSETS && !read_offsets(r, false)) {
			api_tidy(j);
			return;
		}
		for (unsigned i = 0; r->target != TO_OFFSETS && i < r->n; i++)
			ask_range(&r->v[i]);
		if (r->target == TO_OFFSETS)
			read_offsets(r, true);
		if (r->left == 0)
			finish(r);
	}
	api_tidy(j);
}

static void group_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct reset *r = j->x;
		struct engine_topic *t = API_ASK(j, topic, topic_known);
		t->name = slice_str(r->topic);
		engine_topic_get(j->api->engine, t);
	}
	api_tidy(j);
}

static bool read_target(struct reset *r, json_t *to)
{
	struct slice text = slice_of(json_string_value(to), json_string_length(to));

	if (json_is_object(to)) {
		r->target = TO_OFFSETS;
		r->offsets = json_incref(to);
		return true;
	}
	r->target = TO_MOMENT;
	r->moment_ms = json_integer_value(to);
	if (json_is_integer(to))
		return r->moment_ms >= 0;
	if (!json_is_string(to))
		return false;
	if (slice_eq_str(text, "earliest"))
		r->target = TO_EARLIEST;
	else if (slice_eq_str(text, "latest"))
		r->target = TO_LATEST;
	else
		return moment_parse(text, &r->moment_ms);
	return true;
}

void api_group_reset(struct api_job *j)
{
	static const char *const members[] = {"topic", "to", NULL};
	void *json;

	if (!api_json(j, members, &json))
		return;
	const char *topic = json_string_value(json_object_get(json, "topic"));
	struct reset *r = mem_new(sizeof(*r));
	r->job = j;
	j->x = r;
	j->ops = &reset_ops;
	if (topic == NULL || !read_target(r, json_object_get(json, "to"))) {
		api_problem(j, 400, ST_BAD_ARG, "wanted: {\"topic\": name, \"to\": \"earliest\", \"latest\", a moment, or {\"queue\": offset}}");
	} else {
		r->topic = slice_dup(slice_str(topic));
		buf_slice(&j->text, j->arg[0]);
		struct engine_group *g = API_ASK(j, group, group_known);
		g->name = buf_view(&j->text);
		engine_group_get(j->api->engine, g);
	}
	api_json_free(json);
}
