/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * An event stream for a reader without a group. An event's id is where to go on in every queue: "@P,0:15,3:7" means from offset 15 of queue 0, 7 of
 * queue 3, and in the others from the first message at position P of the log; without "@P" from their first message. So a reader who comes back with
 * the last id that it saw misses nothing and sees nothing twice. Ids that are given out always have P, and never one from before the topic was made: when
 * the topic was dropped and made again, the offsets of an id mean nothing any more, and its reader gets the new one from its beginning.
 */
#include "front/http/api.h"

#define CURSOR_BYTES_MAX 65536u

/* A message that came when there was no room for it: it is read again, from its place. */
struct late {
	uint64_t position;
	size_t n;                        /* bytes of its record */
};
struct tap {
	struct api_job *job;
	struct http_api *api;
	struct engine_sub sub;
	struct engine_sub_open open;
	struct queue_from *at;           /* where to go on, by queue */
	size_t n, cap;
	bool has_position;
	uint64_t position;
	int64_t moment_ms;
	int32_t queue, queues;           /* of a moment: the next one to ask for */
	struct buf expr;
	struct sse_flow flow;
	struct late late[API_STREAM_CREDIT]; /* in order; what comes behind them goes there too */
	uint32_t n_late;
	bool viewing;                    /* the first of them is being read */
	struct engine_view view;
	bool opened, closing, begun, wrote;
};

static struct queue_from *place(struct tap *t, int32_t queue, bool make)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (t->at[mid].queue < queue)
			low = mid + 1;
		else
			high = mid;
	}
	if (low < t->n && t->at[low].queue == queue)
		return make ? &t->at[low] : NULL;
	if (t->n == t->cap)
		t->at = mem_grow(t->at, (t->cap = t->cap == 0 ? 8 : t->cap * 2) * sizeof(*t->at));
	memmove(t->at + low + 1, t->at + low, (t->n - low) * sizeof(*t->at));
	t->n++;
	t->at[low] = (struct queue_from){queue, 0};
	return &t->at[low];
}

static bool parse_cursor(struct tap *t, struct slice text)
{
	struct slice one, queue;
	uint64_t q, offset;

	if (text.n == 0 || text.n > CURSOR_BYTES_MAX)
		return false;
	if (text.p[0] == '@') {
		t->has_position = slice_split(&text, ',', &one) && slice_u64(slice_skip(one, 1), &t->position);
		if (!t->has_position)
			return false;
	}
	while (slice_split(&text, ',', &one)) {
		if (!slice_split(&one, ':', &queue) || !slice_u64(queue, &q) || q > INT32_MAX || !slice_u64(one, &offset) || offset > INT64_MAX)
			return false;
		struct queue_from *p = place(t, (int32_t)q, false);
		if (p == NULL)
			return false; /* named twice */
		p->offset = offset;
	}
	return true;
}

static void put_id(struct buf *b, const struct tap *t)
{
	bool any = t->has_position;

	buf_str(b, "id: ");
	if (t->has_position) {
		buf_u8(b, '@');
		buf_u64_dec(b, t->position);
	}
	for (size_t i = 0; i < t->n; i++) {
		buf_str(b, any ? "," : "");
		any = true;
		buf_u64_dec(b, (uint64_t)t->at[i].queue);
		buf_u8(b, ':');
		buf_u64_dec(b, t->at[i].offset);
	}
	buf_u8(b, '\n');
}

static void close_sub(struct tap *t)
{
	if (t->closing)
		return;
	t->closing = true;
	if (t->opened)
		engine_sub_close(t->api->engine, &t->sub);
}

static void viewed(struct engine_ask *ask, enum status st);

static void more(struct tap *t)
{
	if (t->closing || !t->begun || t->job->call == NULL)
		return;
	if (t->n_late == 0) {
		uint32_t n = sse_more(&t->flow, UINT32_MAX);
		if (n > 0)
			engine_sub_credit(t->api->engine, &t->sub, n);
	} else if (!t->viewing && sse_room(&t->flow, t->late[0].n)) {
		t->viewing = true;
		t->view = (struct engine_view){.ask.done = viewed, .actor = &t->job->actor, .position = t->late[0].position};
		t->job->asks++;
		engine_view(t->api->engine, &t->view);
	}
}

static void write_event(struct tap *t, const struct message *m)
{
	struct buf *b = api_out(t->api);

	place(t, m->r.queue, true)->offset = m->r.queue_offset + 1;
	put_id(b, t);
	buf_str(b, "event: message\ndata: ");
	api_message(t->api, b, m, m->r.topic, 0, NULL, 0);
	buf_str(b, "\n\n");
	t->wrote = true;
	sse_write(t->job, buf_view(b));
	sse_sized(&t->flow, b->n);
}

static void viewed(struct engine_ask *ask, enum status st)
{
	struct tap *t = container_of(ask, struct tap, view.ask);
	struct api_job *j = t->job;
	struct message m;

	CHECK(j->asks > 0);
	j->asks--;
	t->viewing = false;
	if (t->closing || j->call == NULL) {
		api_tidy(j);
		return;
	}
	if (st == ST_OK)
		st = message_read(t->view.piece.bytes, &m);
	if (st != ST_OK && st != ST_NOT_FOUND) /* which is what retention dropped */
		log_error(t->api->env.log, "http", "position=%llu event=unreadable status=%s", (unsigned long long)t->late[0].position, status_name(st));
	t->n_late--;
	memmove(t->late, t->late + 1, t->n_late * sizeof(t->late[0]));
	if (st == ST_OK && !message_expired(&m, api_now_ms(t->api)))
		write_event(t, &m);
	more(t);
	api_tidy(j);
}

static void deliver(struct engine_sub *sub, const struct delivery *d)
{
	struct tap *t = container_of(sub, struct tap, sub);
	struct api_job *j = t->job;
	struct message m;

	if (t->closing || j->call == NULL)
		return;
	if (message_read(d->record, &m) != ST_OK || message_expired(&m, api_now_ms(t->api)))
		sse_came(&t->flow, 0);
	else if (sse_came(&t->flow, t->n_late == 0 ? d->record.n : 0) && t->n_late == 0)
		write_event(t, &m);
	else
		t->late[t->n_late++] = (struct late){m.r.position, d->record.n};
	more(t);
}

static void ended(struct engine_sub *sub, enum status why)
{
	struct tap *t = container_of(sub, struct tap, sub);
	struct api_job *j = t->job;

	CHECK(j->asks > 0);
	j->asks--;
	t->closing = true;
	if (j->call != NULL && t->begun)
		sse_fail(j, why);
	else if (j->call != NULL)
		api_refuse(j, why, NULL);
	api_tidy(j);
}

static void open_sub(struct tap *t);

static void opened(struct engine_ask *ask, enum status st)
{
	struct tap *t = container_of(ask, struct tap, open.ask);
	struct api_job *j = t->job;
	struct http_api *a = t->api;

	j->asks--;
	t->position = u64_max(t->has_position ? t->position : 0, t->open.incarnation);
	t->has_position = true;
	if (st != ST_OK) {
		CHECK(j->asks > 0);
		j->asks--; /* there will be no end of what never began */
		if (st == ST_GONE && t->n > 0 && j->call != NULL && !t->closing) {
			t->n = 0;
			open_sub(t);
			return;
		}
		t->closing = true;
		if (j->call != NULL)
			api_refuse(j, st, NULL);
		api_tidy(j);
		return;
	}
	t->opened = true;
	if (t->closing) {
		engine_sub_close(a->engine, &t->sub);
	} else if (j->call != NULL) {
		t->begun = true;
		sse_begin(j);
		/* An id without data: a reader who is cut before the first event comes back to this place too. */
		struct buf *b = api_out(a);
		put_id(b, t);
		buf_u8(b, '\n');
		sse_write(j, buf_view(b));
		api_due(j, clock_mono_ns(a->env.clock) + a->conf->http_heartbeat_ms * MS_NS);
		more(t);
	}
	api_tidy(j);
}

/* ---- What the job hears ------------------------------------------------------------------------------------------------------------- */

static void on_due(struct api_job *j, uint64_t now_ns)
{
	struct tap *t = j->x;

	if (j->call == NULL || !t->begun)
		return;
	if (!t->wrote && j->call->unsent == 0)
		sse_write(j, SLICE_LIT(": \n\n"));
	t->wrote = false;
	api_due(j, now_ns + j->api->conf->http_heartbeat_ms * MS_NS);
}

static void on_writable(struct api_job *j)
{
	more(j->x);
}

static void on_gone(struct api_job *j)
{
	close_sub(j->x);
	api_due(j, NEVER);
}

static void on_drain(struct api_job *j)
{
	struct tap *t = j->x;

	close_sub(t);
	if (t->begun)
		sse_end(j);
	else
		api_refuse(j, ST_CLOSED, NULL);
}

static void fini(struct api_job *j)
{
	struct tap *t = j->x;

	j->api->n_streams -= t->begun;
	sse_flow_fini(&t->flow);
	mem_free(t->at);
	buf_fini(&t->expr);
	mem_free(t);
}

static const struct api_job_ops tap_ops = {.gone = on_gone, .drain = on_drain, .due = on_due, .writable = on_writable, .fini = fini};

/* ---- Starting ----------------------------------------------------------------------------------------------------------------------- */

static void open_sub(struct tap *t)
{
	struct api_job *j = t->job;

	t->sub.deliver = deliver;
	t->sub.ended = ended;
	t->open = (struct engine_sub_open){.ask = {.done = opened}, .actor = &j->actor, .sub = &t->sub, .topic = buf_view(&j->text), .client_id = j->call->peer,
		.expr = buf_view(&t->expr), .start = t->has_position ? SUB_START_POSITION : SUB_START_FIRST, .start_offset = t->position, .tap = true,
		.from = t->at, .n_from = t->n};
	j->asks += 2; /* the request, and the subscription */
	engine_sub_open(t->api->engine, &t->open);
}

static void end_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct tap *t = j->x;
		t->has_position = true;
		t->position = j->u.stats.visible;
		open_sub(t);
	}
	api_tidy(j);
}

static void next_queue(struct tap *t);

static void time_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct tap *t = j->x;
		place(t, t->queue++, true)->offset = j->u.range.offset;
		next_queue(t);
	}
	api_tidy(j);
}

static void next_queue(struct tap *t)
{
	struct api_job *j = t->job;

	if (t->queue >= t->queues) {
		open_sub(t);
		return;
	}
	struct engine_range *r = API_ASK(j, range, time_known);
	r->topic = buf_view(&j->text);
	r->queue = t->queue;
	r->time_ms = t->moment_ms;
	engine_at_time(t->api->engine, r);
}

static void queues_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct tap *t = j->x;
		if (j->u.topic.conf.read_queues > API_QUEUES_MAX) {
			api_problem(j, 400, ST_BAD_ARG, "a topic of so many queues cannot be read from a moment on");
		} else {
			t->queues = (int32_t)j->u.topic.conf.read_queues;
			next_queue(t);
		}
	}
	api_tidy(j);
}

static void start(struct tap *t, struct slice from)
{
	struct api_job *j = t->job;

	if (from.n == 0 || slice_eq_str(from, "latest")) {
		engine_stats(t->api->engine, API_ASK(j, stats, end_known));
	} else if (slice_eq_str(from, "earliest") || parse_cursor(t, from)) {
		open_sub(t);
	} else if (moment_parse(from, &t->moment_ms)) {
		t->n = 0;
		t->has_position = false;
		struct engine_topic *r = API_ASK(j, topic, queues_known);
		r->name = buf_view(&j->text);
		engine_topic_get(t->api->engine, r);
	} else {
		api_problem(j, 400, ST_BAD_ARG, "a stream begins at earliest, latest, a moment, or the id of an event");
	}
}

void stream_tap_start(struct api_job *j)
{
	struct http_api *a = j->api;
	const struct api_opts *o = &a->opts;

	if ((o->set & (P(QUEUE) | P(OFFSET) | P(MAX))) != 0) {
		api_problem(j, 400, ST_BAD_ARG, "options \"queue\", \"offset\" and \"max\" are not of event streams");
		return;
	}
	struct tap *t = mem_new(sizeof(*t));
	t->job = j;
	t->api = a;
	sse_flow_init(&t->flow, j);
	j->x = t;
	j->ops = &tap_ops;
	buf_slice(&j->text, j->arg[0]);
	if (api_has(o, PARAM_TAG))
		buf_slice(&t->expr, o->v[PARAM_TAG]);
	if (api_has(o, PARAM_LAST_EVENT_ID) && o->v[PARAM_LAST_EVENT_ID].n > 0)
		start(t, o->v[PARAM_LAST_EVENT_ID]);
	else
		start(t, api_has(o, PARAM_FROM) ? o->v[PARAM_FROM] : (struct slice){NULL, 0});
}
