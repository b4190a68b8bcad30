/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Looking at stored messages for no group: from an offset of one queue on, or the newest ones, of one queue or of all. Queues are read one after
 * the other, and no more than what is shown is kept.
 */
#include <stdlib.h>

#include "front/http/api.h"

#define BROWSE_QUEUES 256u           /* that are read for one answer */

struct kept {
	struct blob *blob;               /* the record */
	int64_t store_ms;
	int32_t queue;
	uint64_t offset;
};
struct browse {
	struct kept *v;
	size_t n, cap;
	uint32_t max;
	int32_t queue, queues;           /* the next one, and how many; 'one': that one only */
	bool one, has_from;
	uint64_t from, next, first, last;
	struct buf expr;
};

static void fini(struct api_job *j)
{
	struct browse *b = j->x;

	for (size_t i = 0; i < b->n; i++)
		blob_drop(b->v[i].blob);
	mem_free(b->v);
	buf_fini(&b->expr);
	mem_free(b);
}

static const struct api_job_ops browse_ops = {.fini = fini};

static int in_time(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;

	if (x->store_ms != y->store_ms)
		return x->store_ms < y->store_ms ? -1 : 1;
	if (x->queue != y->queue)
		return x->queue < y->queue ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Keeps the newest ones, in order. What begins at an offset stays as it was pulled: it goes on at 'next'. */
static void trim(struct browse *b)
{
	size_t drop = b->n, bytes = 0;

	if (b->has_from)
		return;
	if (b->n > 1)
		qsort(b->v, b->n, sizeof(*b->v), in_time);
	while (drop > 0 && b->n - drop < b->max && bytes < API_ANSWER_BYTES)
		bytes += b->v[--drop].blob->n;
	if (drop == 0)
		return;
	for (size_t i = 0; i < drop; i++)
		blob_drop(b->v[i].blob);
	memmove(b->v, b->v + drop, (b->n - drop) * sizeof(*b->v));
	b->n -= drop;
}

static void finish(struct api_job *j)
{
	struct browse *b = j->x;
	struct buf *to = api_out(j->api);
	struct message m;

	buf_str(to, "{\"messages\":[");
	for (size_t i = 0; i < b->n; i++) {
		CHECK(message_read(slice_of(b->v[i].blob->p, b->v[i].blob->n), &m) == ST_OK);
		buf_str(to, i > 0 ? "," : "");
		api_message(j->api, to, &m, buf_view(&j->text), 0, NULL, 0);
	}
	buf_u8(to, ']');
	if (b->one)
		buf_fmt(to, ",\"next\":%llu,\"min\":%llu,\"max\":%llu", (unsigned long long)b->next, (unsigned long long)b->first, (unsigned long long)b->last);
	buf_u8(to, '}');
	api_reply_json(j, 200, to);
}

static void keep(struct browse *b, struct slice record, const struct record *r)
{
	if (b->n == b->cap)
		b->v = mem_grow(b->v, (b->cap = b->cap == 0 ? 16 : b->cap * 2) * sizeof(*b->v));
	b->v[b->n++] = (struct kept){blob_copy(slice_of(record.p, r->size)), r->store_ms, r->queue, r->queue_offset};
}

static void next_queue(struct api_job *j);

static void pulled(struct engine_ask *ask, enum status st)
{
	struct api_job *j;
	struct buf all = {0};
	struct record r;

	if (api_asked(ask, &j)) {
		struct browse *b = j->x;
		const struct engine_pull *p = &j->u.pull;
		for (unsigned i = 0; st == ST_OK && i < p->n_pieces; i++)
			buf_slice(&all, p->pieces[i].bytes);
		for (struct slice rest = buf_view(&all); rest.n > 0 && record_decode(rest, &r) == ST_OK; rest = slice_skip(rest, r.size))
			keep(b, rest, &r);
		buf_fini(&all);
		if (st == ST_OK || st == ST_EMPTY || st == ST_NO_MATCH || (st == ST_MOVED && !b->has_from)) {
			b->next = p->next;
			b->first = p->min;
			b->last = p->max;
			trim(b);
			next_queue(j);
		} else if (st == ST_MOVED) {
			api_refuse(j, st, "the queue holds offsets from %llu to %llu", (unsigned long long)p->min, (unsigned long long)p->max);
		} else {
			api_refuse(j, st, NULL);
		}
	}
	api_tidy(j);
}

static void pull(struct api_job *j, uint64_t from)
{
	struct browse *b = j->x;
	struct engine_pull *r = API_ASK(j, pull, pulled);

	r->topic = buf_view(&j->text);
	r->queue = b->queue++;
	r->from = from;
	r->max_msgs = b->max;
	r->max_bytes = API_ANSWER_BYTES;
	r->has_expr = true;
	r->expr = buf_view(&b->expr);
	r->commit = -1;
	engine_pull(j->api->engine, r);
}

static void bounds_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct browse *b = j->x;
		uint64_t min = j->u.range.min, max = j->u.range.max;
		pull(j, max - min > b->max ? max - b->max : min);
	}
	api_tidy(j);
}

static void next_queue(struct api_job *j)
{
	struct browse *b = j->x;

	if (b->queue >= b->queues) {
		finish(j);
	} else if (b->has_from) {
		pull(j, b->from);
	} else {
		struct engine_range *r = API_ASK(j, range, bounds_known);
		r->topic = buf_view(&j->text);
		r->queue = b->queue;
		engine_range(j->api->engine, r);
	}
}

static void topic_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct browse *b = j->x;
		uint32_t n = j->u.topic.conf.read_queues;
		if (b->one && (uint32_t)b->queue >= n) {
			api_refuse(j, ST_NO_QUEUE, "the topic has %u queues", n);
		} else if (!b->one && n > BROWSE_QUEUES) {
			api_problem(j, 400, ST_BAD_ARG, "the topic has %u queues: say which one", n);
		} else {
			b->queues = b->one ? b->queue + 1 : (int32_t)n;
			next_queue(j);
		}
	}
	api_tidy(j);
}

void api_browse(struct api_job *j)
{
	struct http_api *a = j->api;
	const struct api_opts *o = &a->opts;
	uint64_t max = API_MAX_DEFAULT, queue = 0, from = 0;

	if (api_accepts(j->call, "text/event-stream")) {
		stream_tap_start(j);
		return;
	}
	if (api_has(o, PARAM_FROM) || api_has(o, PARAM_LAST_EVENT_ID)) {
		api_problem(j, 400, ST_BAD_ARG, "options \"from\" and \"last-event-id\" are of event streams: Accept: text/event-stream");
		return;
	}
	if (!api_opt_u64(j, PARAM_MAX, 1, a->conf->http_max_batch, &max) || !api_opt_u64(j, PARAM_QUEUE, 0, INT32_MAX - 1, &queue) ||
		!api_opt_u64(j, PARAM_OFFSET, 0, INT64_MAX, &from))
		return;
	if (api_has(o, PARAM_OFFSET) && !api_has(o, PARAM_QUEUE)) {
		api_problem(j, 400, ST_BAD_ARG, "an offset is one of a queue: say which one");
		return;
	}
	struct browse *b = mem_new(sizeof(*b));
	j->x = b;
	j->ops = &browse_ops;
	b->max = (uint32_t)max;
	b->queue = (int32_t)queue;
	b->one = api_has(o, PARAM_QUEUE);
	b->has_from = api_has(o, PARAM_OFFSET);
	b->from = from;
	buf_slice(&b->expr, api_has(o, PARAM_TAG) ? o->v[PARAM_TAG] : SLICE_LIT("*"));
	buf_slice(&j->text, j->arg[0]);
	struct engine_topic *r = API_ASK(j, topic, topic_known);
	r->name = buf_view(&j->text);
	engine_topic_get(a->engine, r);
}
