/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A group's event stream. Its messages are leased; the leases are made longer while it lives. An event's id is "STREAM.SEQUENCE", and what handles
 * an event depends on ?ack=:
 *
 *   event    (the default) its receipt; or a Last-Event-ID that comes back: all events of that stream up to it are handled, the others given back
 *   receipt  its receipt alone
 *   auto     that the socket took it
 *
 * A stream that was cut is remembered for the time of a lease (a->cuts), so that the id can come back. An id that nobody knows (a restart) handles
 * nothing: its messages come again when their leases are over. At most http_stream_window events are not handled; a reader who uses no receipts
 * has no other way to say that it got them than to come back, so its stream is ended there.
 */
#include "front/http/api.h"

#define STREAM_MAGIC 0x48535452u
#define EVENT_MIX UINT64_C(0x9E3779B97F4A7C15)
#define BEAT ": \n\n"
#define EXTENDS_A_LEASE 3u           /* so many times in its length */

enum ack { ACK_EVENT, ACK_RECEIPT, ACK_AUTO };
struct sse {
	uint32_t magic;
	struct http_api *api;
	struct api_job *job;             /* NULL: cut, in a->cuts */
	struct list link;
	uint64_t id, seq;
	struct buf names;
	struct slice topic, group;
	uint32_t queues;
	enum ack ack;
	bool opened, known, begun, closing, looked, wrote;
	bool receipts;                   /* somebody settled one of its events by receipt */
	struct engine_sub sub;
	struct engine_sub_open open;
	struct engine_topic topic_get;
	struct engine_members members;
	struct list events;              /* struct event, not handled, in order */
	uint32_t n_events;
	struct sse_flow flow;
	uint64_t written;                /* bytes in all */
	int64_t lease_ms;
	uint64_t beat_ns, extend_ns, forget_ns;
};
struct event {
	struct list link;
	struct sse *stream;
	uint64_t tag, incarnation, seq, key;
	uint64_t end;                    /* bytes of the stream up to its end */
};

/* ---- Events ------------------------------------------------------------------------------------------------------------------------- */

static uint64_t event_key(struct slice group, struct slice topic, uint64_t tag)
{
	return (slice_hash(group) * 31 + slice_hash(topic)) ^ (tag + 1) * EVENT_MIX;
}

static void event_drop(struct event *e)
{
	struct sse *s = e->stream;

	if (u64map_get(&s->api->by_event, e->key) == e)
		u64map_drop(&s->api->by_event, e->key);
	list_remove(&e->link);
	s->n_events--;
	s->api->n_cut_events -= list_linked(&s->link);
	mem_free(e);
}

static struct event *event_add(struct sse *s, const struct delivery *d)
{
	struct event *e = mem_new(sizeof(*e));

	e->stream = s;
	e->tag = d->tag;
	e->incarnation = d->incarnation;
	e->seq = ++s->seq;
	e->key = event_key(s->group, s->topic, d->tag);
	u64map_put(&s->api->by_event, e->key, e);
	list_push(&s->events, &e->link);
	s->n_events++;
	return e;
}

static void settle(struct sse *s, uint64_t incarnation, uint64_t tag, enum settle how)
{
	struct api_receipt r = {s->group, s->topic, incarnation, tag};

	api_settle(s->api, &r, how, -1, NULL, NULL, 0);
}

static void event_settle(struct event *e, enum settle how)
{
	settle(e->stream, e->incarnation, e->tag, how);
	event_drop(e);
}

/* Bytes that the socket took. */
static uint64_t taken(const struct sse *s)
{
	const struct http_call *c = s->job == NULL ? NULL : s->job->call;

	return c == NULL ? s->written : s->written - u64_min(s->written, c->unsent);
}

/* ---- The end ------------------------------------------------------------------------------------------------------------------------ */

static void close_sub(struct sse *s)
{
	if (s->closing)
		return;
	s->closing = true;
	if (s->opened)
		engine_sub_close(s->api->engine, &s->sub);
}

static void stream_free(struct sse *s)
{
	struct http_api *a = s->api;
	struct list *n;

	while ((n = s->events.next) != &s->events)
		event_drop(container_of(n, struct event, link));
	if (u64map_get(&a->by_id, s->id) == s)
		u64map_drop(&a->by_id, s->id);
	if (list_linked(&s->link)) {
		list_remove(&s->link);
		a->n_cuts--;
	}
	buf_fini(&s->names);
	s->magic = 0;
	mem_free(s);
}

static void end_stream(struct sse *s)
{
	close_sub(s);
	if (s->begun)
		sse_end(s->job);
	else
		api_refuse(s->job, ST_CLOSED, NULL);
}

/* The job is over: what its reader may still handle is remembered for a while. */
static void fini(struct api_job *j)
{
	struct sse *s = j->x;
	struct http_api *a = s->api;

	a->n_streams -= s->begun;
	sse_flow_fini(&s->flow);
	s->job = NULL;
	if (s->n_events == 0) {
		stream_free(s);
		return;
	}
	while (a->n_cuts > 0 && (a->n_cuts == API_CUTS_MAX || a->n_cut_events + s->n_events > API_CUT_EVENTS_MAX))
		stream_free(container_of(a->cuts.next, struct sse, link));
	s->forget_ns = clock_mono_ns(a->env.clock) + (uint64_t)s->lease_ms * MS_NS;
	a->cuts_due = u64_min(a->cuts_due, s->forget_ns);
	list_push(&a->cuts, &s->link);
	a->n_cuts++;
	a->n_cut_events += s->n_events;
}

uint64_t streams_turn(struct http_api *a, uint64_t now_ns)
{
	uint64_t due = NEVER;

	if (now_ns < a->cuts_due)
		return a->cuts_due;
	LIST_EACH_SAFE(&a->cuts, n, t) {
		struct sse *s = container_of(n, struct sse, link);
		CHECK_OBJ(s, STREAM_MAGIC);
		if (s->forget_ns <= now_ns)
			stream_free(s);
		else
			due = u64_min(due, s->forget_ns);
	}
	a->cuts_due = due;
	return due;
}

void streams_fini(struct http_api *a)
{
	while (!list_empty(&a->cuts))
		stream_free(container_of(a->cuts.next, struct sse, link));
}

/* ---- Giving ------------------------------------------------------------------------------------------------------------------------- */

static void more(struct sse *s)
{
	struct api_job *j = s->job;
	uint32_t window = s->api->conf->http_stream_window;

	if (j == NULL || j->call == NULL || s->closing || !s->begun)
		return;
	uint32_t busy = s->n_events + s->flow.waits_for, n = sse_more(&s->flow, busy < window ? window - busy : 0);
	if (n > 0) {
		engine_sub_credit(s->api->engine, &s->sub, n);
	} else if (s->n_events >= window && s->ack == ACK_EVENT && !s->receipts && j->call->unsent == 0) {
		end_stream(s);
	}
}

static void begin(struct sse *s)
{
	uint64_t now = clock_mono_ns(s->api->env.clock);

	if (s->begun)
		return;
	s->begun = true;
	sse_begin(s->job);
	s->beat_ns = now + s->api->conf->http_heartbeat_ms * MS_NS;
	s->extend_ns = NEVER;
	api_due(s->job, s->beat_ns);
}

static void write_event(struct sse *s, const struct delivery *d, const struct message *m)
{
	struct http_api *a = s->api;
	struct event *e = event_add(s, d);
	struct api_receipt r = {s->group, s->topic, d->incarnation, d->tag};
	struct buf *b = api_out(a);

	buf_fmt(b, "id: %016llx.%llu\nevent: message\ndata: ", (unsigned long long)s->id, (unsigned long long)e->seq);
	api_message(a, b, m, s->topic, d->attempt, &r, api_now_ms(a) + d->lease_ms);
	buf_str(b, "\n\n");
	s->written += b->n;
	e->end = s->written;
	s->wrote = true;
	sse_write(s->job, buf_view(b));
	if (s->extend_ns == NEVER) {
		s->lease_ms = d->lease_ms;
		s->extend_ns = clock_mono_ns(a->env.clock) + (uint64_t)s->lease_ms * MS_NS / EXTENDS_A_LEASE;
		api_due(s->job, u64_min(s->beat_ns, s->extend_ns));
	}
}

static void deliver(struct engine_sub *sub, const struct delivery *d)
{
	struct sse *s = container_of(sub, struct sse, sub);
	struct message m;

	if (s->closing || s->job->call == NULL || !s->known) {
		settle(s, d->incarnation, d->tag, SETTLE_RELEASE);
		return;
	}
	begin(s);
	if (message_read(d->record, &m) != ST_OK || message_expired(&m, api_now_ms(s->api))) {
		sse_came(&s->flow, 0);
		settle(s, d->incarnation, d->tag, SETTLE_ACK);
	} else if (sse_came(&s->flow, d->record.n)) {
		uint64_t before = s->written;
		write_event(s, d, &m);
		sse_sized(&s->flow, (size_t)(s->written - before));
	} else {
		/* Perhaps another member of the group has room. */
		settle(s, d->incarnation, d->tag, SETTLE_RELEASE);
		return;
	}
	more(s);
}

static void ended(struct engine_sub *sub, enum status why)
{
	struct sse *s = container_of(sub, struct sse, sub);
	struct api_job *j = s->job;

	CHECK(j->asks > 0);
	j->asks--;
	s->closing = true;
	if (j->call != NULL && s->begun)
		sse_fail(j, why);
	else if (j->call != NULL)
		api_refuse(j, why, NULL);
	api_tidy(j);
}

static void opened(struct engine_ask *ask, enum status st)
{
	struct sse *s = container_of(ask, struct sse, open.ask);
	struct api_job *j = s->job;

	j->asks--;
	if (st != ST_OK) {
		CHECK(j->asks > 0);
		j->asks--; /* there will be no end of what never began */
		s->closing = true;
		if (j->call != NULL)
			api_refuse(j, st, NULL);
		api_tidy(j);
		return;
	}
	s->opened = true;
	if (s->closing)
		engine_sub_close(s->api->engine, &s->sub);
	else if (j->call != NULL)
		api_due(j, clock_mono_ns(s->api->env.clock) + API_SETTLE_MS * MS_NS);
	api_tidy(j);
}

static void topic_known(struct engine_ask *ask, enum status st)
{
	struct sse *s = container_of(ask, struct sse, topic_get.ask);
	struct api_job *j = s->job;

	CHECK(j->asks > 0);
	j->asks--;
	s->known = st == ST_OK;
	s->queues = s->topic_get.conf.read_queues;
	api_tidy(j);
}

static void members_known(struct engine_ask *ask, enum status st)
{
	struct sse *s = container_of(ask, struct sse, members.ask);
	struct api_job *j = s->job;
	bool idle = api_idle_group(&s->members, st, s->topic, s->queues);

	CHECK(j->asks > 0);
	j->asks--;
	if (j->call != NULL && !s->closing && !s->begun) {
		if (idle) {
			api_problem(j, 409, ST_LOCKED, "no queue assigned: native members of the group own all %u queues of the topic", s->queues);
			close_sub(s);
			api_due(j, NEVER);
		} else {
			begin(s);
			more(s);
		}
	}
	api_tidy(j);
}

/* ---- What the job hears ------------------------------------------------------------------------------------------------------------- */

/* A lease that could not be made longer is over: nobody handles that event here any more. */
static void extended(struct http_api *a, void *arg, uint64_t key, enum status st)
{
	struct event *e = st == ST_OK ? NULL : u64map_get(&a->by_event, key);

	(void)arg;
	if (e == NULL)
		return;
	struct sse *s = e->stream;
	event_drop(e);
	more(s);
	if (s->job == NULL && s->n_events == 0)
		stream_free(s);
	else if (s->job != NULL)
		api_tidy(s->job);
}

static void extend(struct sse *s, uint64_t now_ns)
{
	uint64_t sent = taken(s);

	LIST_EACH(&s->events, n) {
		struct event *e = container_of(n, struct event, link);
		struct api_receipt r = {s->group, s->topic, e->incarnation, e->tag};
		if (e->end > sent)
			break; /* a reader that does not read keeps nothing for ever */
		api_settle(s->api, &r, SETTLE_EXTEND, s->lease_ms, extended, NULL, e->key);
	}
	s->extend_ns = now_ns + (uint64_t)s->lease_ms * MS_NS / EXTENDS_A_LEASE;
}

static void on_due(struct api_job *j, uint64_t now_ns)
{
	struct sse *s = j->x;

	if (j->call == NULL)
		return;
	if (!s->begun) {
		if (s->looked)
			return;
		s->looked = true;
		s->members = (struct engine_members){.ask = {.done = members_known}, .actor = &j->actor, .group = s->group, .kind = MEMBER_CONSUMER};
		j->asks++;
		engine_members(s->api->engine, &s->members);
		return;
	}
	if (s->beat_ns <= now_ns) {
		if (!s->wrote && j->call->unsent == 0) {
			sse_write(j, SLICE_LIT(BEAT));
			s->written += sizeof(BEAT) - 1;
		}
		s->wrote = false;
		s->beat_ns = now_ns + s->api->conf->http_heartbeat_ms * MS_NS;
	}
	if (s->extend_ns <= now_ns)
		extend(s, now_ns);
	api_due(j, u64_min(s->beat_ns, s->extend_ns));
}

static void ack_taken(struct sse *s)
{
	uint64_t sent = taken(s);

	LIST_EACH_SAFE(&s->events, n, t) {
		struct event *e = container_of(n, struct event, link);
		if (e->end > sent)
			break;
		event_settle(e, SETTLE_ACK);
	}
}

static void on_writable(struct api_job *j)
{
	struct sse *s = j->x;

	if (s->ack == ACK_AUTO)
		ack_taken(s);
	more(s);
}

/* What never left goes back at once; what may have been read waits for its reader. */
static void on_gone(struct api_job *j)
{
	struct sse *s = j->x;
	uint64_t sent = taken(s);

	if (s->ack == ACK_AUTO)
		ack_taken(s);
	LIST_EACH_SAFE(&s->events, n, t) {
		struct event *e = container_of(n, struct event, link);
		if (e->end > sent)
			event_settle(e, SETTLE_RELEASE);
	}
	close_sub(s);
	api_due(j, NEVER);
}

static void on_drain(struct api_job *j)
{
	end_stream(j->x);
}

static const struct api_job_ops stream_ops = {.gone = on_gone, .drain = on_drain, .due = on_due, .writable = on_writable, .fini = fini};

void streams_settled(struct http_api *a, const struct api_receipt *r)
{
	struct event *e = u64map_get(&a->by_event, event_key(r->group, r->topic, r->tag));

	if (e == NULL || e->tag != r->tag || !slice_eq(e->stream->group, r->group) || !slice_eq(e->stream->topic, r->topic))
		return;
	struct sse *s = e->stream;
	s->receipts = true;
	event_drop(e);
	more(s);
	if (s->job == NULL && s->n_events == 0)
		stream_free(s);
}

/* ---- Starting ----------------------------------------------------------------------------------------------------------------------- */

static bool parse_id(struct slice text, uint64_t *ret_id, uint64_t *ret_seq)
{
	uint64_t id = 0;

	if (text.n < 18 || text.p[16] != '.')
		return false;
	for (unsigned i = 0; i < 16; i++) {
		uint8_t c = text.p[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
		id = id << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	*ret_id = id;
	return slice_u64(slice_skip(text, 17), ret_seq);
}

/* The reader of a stream is back. */
static void resume(struct http_api *a, struct slice last, struct slice topic, struct slice group, enum ack ack)
{
	uint64_t id, seq;
	struct sse *s = parse_id(last, &id, &seq) ? u64map_get(&a->by_id, id) : NULL;

	if (s == NULL || !slice_eq(s->topic, topic) || !slice_eq(s->group, group))
		return;
	CHECK_OBJ(s, STREAM_MAGIC);
	LIST_EACH_SAFE(&s->events, n, t) {
		struct event *e = container_of(n, struct event, link);
		if (e->seq > seq)
			event_settle(e, SETTLE_RELEASE);
		else if (ack == ACK_RECEIPT)
			event_drop(e); /* its receipt is good as long as its lease */
		else
			event_settle(e, SETTLE_ACK);
	}
	if (s->job == NULL) {
		stream_free(s);
	} else if (s->job->call != NULL) {
		struct api_job *j = s->job;
		end_stream(s); /* the socket did not tell of its end yet */
		api_tidy(j);
	}
}

static bool read_ack(struct api_job *j, enum ack *ret)
{
	const struct api_opts *o = &j->api->opts;

	*ret = ACK_EVENT;
	if (!api_has(o, PARAM_ACK) || slice_eq_str(o->v[PARAM_ACK], "event"))
		return true;
	*ret = slice_eq_str(o->v[PARAM_ACK], "auto") ? ACK_AUTO : ACK_RECEIPT;
	if (*ret == ACK_AUTO || slice_eq_str(o->v[PARAM_ACK], "receipt"))
		return true;
	api_problem(j, 400, ST_BAD_ARG, "option \"ack\" must be event, receipt or auto");
	return false;
}

static struct sse *stream_new(struct api_job *j, enum ack ack)
{
	struct http_api *a = j->api;
	struct sse *s = mem_new(sizeof(*s));

	s->magic = STREAM_MAGIC;
	s->api = a;
	s->job = j;
	s->ack = ack;
	list_init(&s->link);
	list_init(&s->events);
	sse_flow_init(&s->flow, j);
	a->env.random(&s->id, sizeof(s->id)); /* whoever knows it may handle its events */
	u64map_put(&a->by_id, s->id, s);
	buf_slice(&s->names, j->arg[0]);
	buf_slice(&s->names, j->arg[1]);
	s->topic = slice_of(s->names.p, j->arg[0].n);
	s->group = slice_of(s->names.p + j->arg[0].n, j->arg[1].n);
	j->x = s;
	j->ops = &stream_ops;
	return s;
}

void stream_group_start(struct api_job *j)
{
	struct http_api *a = j->api;
	const struct api_opts *o = &a->opts;
	struct engine_sub_open open = {.lease_ms = 0};
	enum ack ack;

	if ((o->set & (P(MAX) | P(WAIT))) != 0) {
		api_problem(j, 400, ST_BAD_ARG, "options \"max\" and \"wait\" are not of event streams");
		return;
	}
	if (!read_ack(j, &ack) || !api_sub_options(j, &open))
		return;
	if (api_has(o, PARAM_LAST_EVENT_ID))
		resume(a, o->v[PARAM_LAST_EVENT_ID], j->arg[0], j->arg[1], ack);
	struct sse *s = stream_new(j, ack);
	s->topic_get = (struct engine_topic){.ask = {.done = topic_known}, .actor = &j->actor, .name = s->topic};
	j->asks++;
	engine_topic_get(a->engine, &s->topic_get);
	s->sub.deliver = deliver;
	s->sub.ended = ended;
	s->open = open;
	s->open.ask = (struct engine_ask){.done = opened};
	s->open.sub = &s->sub;
	s->open.topic = s->topic;
	s->open.group = s->group;
	s->open.client_id = j->call->peer;
	s->open.detach = true;
	s->open.credit = s->flow.waits_for = 1;
	j->asks += 2; /* the request, and the subscription */
	engine_sub_open(a->engine, &s->open);
}
