/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A poll: a subscription that lives until the first turn in which something came, or as long as its caller wants to wait. Its leases outlive it:
 * they end by receipt. What came for a caller who has hung up goes back at once, and counts as no attempt.
 *
 *   open --> (API_SETTLE_MS) --> do queues fall to us at all? --> wait --> answer, close
 *     \------------------ a message came -------------------------------/
 */
#include "front/http/api.h"

struct got {
	struct blob *blob;
	struct slice record;
	uint64_t tag, incarnation;
	uint32_t attempt;
	int64_t until_ms;
};
struct poll {
	struct api_job *job;
	struct http_api *api;
	struct engine_sub sub;
	struct engine_sub_open open;
	struct engine_topic topic;
	struct engine_members members;
	struct slice topic_name, group;  /* in the job's text */
	uint32_t queues;
	bool opened, topic_known, closing, asked_members;
	uint64_t until_ns;               /* 0: not opened yet */
	uint64_t wait_ms;
	struct got *v;
	unsigned n, max;
	size_t bytes;                    /* of their records */
};

static struct api_receipt receipt_of(const struct poll *p, uint64_t incarnation, uint64_t tag)
{
	return (struct api_receipt){p->group, p->topic_name, incarnation, tag};
}

static void give_back(struct poll *p, uint64_t incarnation, uint64_t tag)
{
	struct api_receipt r = receipt_of(p, incarnation, tag);

	api_settle(p->api, &r, SETTLE_RELEASE, -1, NULL, NULL, 0);
}

static void give_back_all(struct poll *p)
{
	for (unsigned i = 0; i < p->n; i++)
		give_back(p, p->v[i].incarnation, p->v[i].tag);
}

static void drop_all(struct poll *p)
{
	for (unsigned i = 0; i < p->n; i++)
		blob_drop(p->v[i].blob);
	p->n = 0;
}

/* No more deliveries are wanted. */
static void close_sub(struct poll *p)
{
	if (p->closing)
		return;
	p->closing = true;
	if (p->opened)
		engine_sub_close(p->api->engine, &p->sub);
}

void api_message(struct http_api *a, struct buf *b, const struct message *m, struct slice topic, uint32_t attempt, const struct api_receipt *receipt,
	int64_t until_ms)
{
	buf_u8(b, '{');
	message_json(b, m, topic, attempt, a->conf->max_message);
	if (receipt != NULL) {
		buf_str(b, ",\"receipt\":\"");
		receipt_put(a, b, receipt);
		buf_str(b, "\",\"leaseUntil\":");
		buf_i64_dec(b, until_ms);
	}
	buf_u8(b, '}');
}

static void answer(struct poll *p)
{
	struct api_job *j = p->job;
	struct buf *b = api_out(p->api);
	struct message m;
	bool any = false;

	if (j->call == NULL)
		return;
	buf_str(b, "{\"messages\":[");
	for (unsigned i = 0; i < p->n; i++) {
		struct api_receipt r = receipt_of(p, p->v[i].incarnation, p->v[i].tag);
		CHECK(message_read(p->v[i].record, &m) == ST_OK);
		buf_str(b, any ? "," : "");
		any = true;
		api_message(p->api, b, &m, p->topic_name, p->v[i].attempt, &r, p->v[i].until_ms);
	}
	buf_str(b, "]}");
	if (api_room(j, b->n)) {
		api_reply_json(j, 200, b);
	} else {
		give_back_all(p);
		api_refuse_large(j);
	}
	drop_all(p);
	close_sub(p);
	api_due(j, NEVER);
}

/* ---- What the engine says ----------------------------------------------------------------------------------------------------------- */

static void deliver(struct engine_sub *sub, const struct delivery *d)
{
	struct poll *p = container_of(sub, struct poll, sub);
	struct api_receipt r = receipt_of(p, d->incarnation, d->tag);
	struct message m;

	if (p->closing || p->n == p->max) {
		give_back(p, d->incarnation, d->tag);
		return;
	}
	/* What has expired, and what is no record, is handled already: nobody wants it. */
	if (message_read(d->record, &m) != ST_OK || message_expired(&m, api_now_ms(p->api))) {
		api_settle(p->api, &r, SETTLE_ACK, -1, NULL, NULL, 0);
		engine_sub_credit(p->api->engine, sub, 1);
		return;
	}
	p->bytes += d->record.n;
	p->v[p->n++] = (struct got){blob_hold(d->blob), d->record, d->tag, d->incarnation, d->attempt, api_now_ms(p->api) + d->lease_ms};
	api_ready(p->job);
	if (p->bytes >= API_ANSWER_BYTES)
		close_sub(p); /* what else is on its way goes back, for the next one who asks */
}

static void ended(struct engine_sub *sub, enum status why)
{
	struct poll *p = container_of(sub, struct poll, sub);
	struct api_job *j = p->job;

	CHECK(j->asks > 0);
	j->asks--;
	p->closing = true;
	if (p->n > 0)
		answer(p);
	else if (why != ST_CLOSED && j->call != NULL)
		api_refuse(j, why, NULL);
	else if (j->call != NULL)
		api_refuse(j, ST_CLOSED, NULL);
	api_tidy(j);
}

static void opened(struct engine_ask *ask, enum status st)
{
	struct poll *p = container_of(ask, struct poll, open.ask);
	struct api_job *j = p->job;

	if (st != ST_OK) {
		CHECK(j->asks > 1);
		j->asks -= 2; /* there will be no end of what never began */
		p->closing = true;
		if (j->call != NULL)
			api_refuse(j, st, NULL);
		api_tidy(j);
		return;
	}
	CHECK(j->asks > 0);
	j->asks--;
	p->opened = true;
	if (p->closing) {
		engine_sub_close(p->api->engine, &p->sub);
	} else if (j->call != NULL) {
		uint64_t now = clock_mono_ns(p->api->env.clock);
		p->until_ns = now + (p->wait_ms > API_LOOK_MS ? p->wait_ms : API_LOOK_MS) * MS_NS;
		api_due(j, now + API_SETTLE_MS * MS_NS);
	}
	api_tidy(j);
}

static void topic_known(struct engine_ask *ask, enum status st)
{
	struct poll *p = container_of(ask, struct poll, topic.ask);
	struct api_job *j = p->job;

	CHECK(j->asks > 0);
	j->asks--;
	p->topic_known = st == ST_OK;
	p->queues = p->topic.conf.read_queues;
	api_tidy(j);
}

bool api_idle_group(const struct engine_members *m, enum status st, struct slice topic, uint32_t queues)
{
	bool ours = false, announced = false, listed = false;
	size_t before = 0;

	if (st != ST_OK || m->model != MODEL_CLUSTERING)
		return false;
	for (size_t i = 0; i < m->n_subs; i++)
		announced = announced || slice_eq(m->subs[i].topic, topic);
	for (size_t i = 0; i < m->count; i++)
		ours = slice_starts(m->v[i].client_id, SLICE_LIT("gateway@")) || ours;
	if (!announced)
		return false;
	if (!ours)
		return m->count > 0;
	/* They divide the queues averagely, in order of their ids: the last ones get none when there are more members than queues. */
	for (size_t i = 0; i < m->count; i++) {
		listed = slice_starts(m->v[i].client_id, SLICE_LIT("gateway@"));
		for (size_t k = 0; listed && k < m->count; k++)
			before += slice_cmp(m->v[k].client_id, m->v[i].client_id) < 0;
	}
	return before >= queues;
}

static void members_known(struct engine_ask *ask, enum status st)
{
	struct poll *p = container_of(ask, struct poll, members.ask);
	struct api_job *j = p->job;

	CHECK(j->asks > 0);
	j->asks--;
	if (j->call != NULL && p->n == 0 && !p->closing && p->topic_known && api_idle_group(&p->members, st, p->topic_name, p->queues)) {
		api_problem(j, 409, ST_LOCKED, "no queue assigned: native members of the group own all %u queues of the topic", p->queues);
		close_sub(p);
		api_due(j, NEVER);
	}
	api_tidy(j);
}

/* ---- What the job hears ------------------------------------------------------------------------------------------------------------- */

static void on_ready(struct api_job *j)
{
	struct poll *p = j->x;

	if (p->n > 0)
		answer(p);
}

static void on_due(struct api_job *j, uint64_t now_ns)
{
	struct poll *p = j->x;

	if (j->call == NULL)
		return;
	if (!p->asked_members) {
		p->asked_members = true;
		p->members = (struct engine_members){.ask = {.done = members_known}, .actor = &j->actor, .group = p->group, .kind = MEMBER_CONSUMER};
		j->asks++;
		engine_members(p->api->engine, &p->members);
	}
	if (now_ns >= p->until_ns)
		answer(p);
	else
		api_due(j, p->until_ns);
}

static void on_gone(struct api_job *j)
{
	struct poll *p = j->x;

	give_back_all(p);
	drop_all(p);
	close_sub(p);
	api_due(j, NEVER);
}

static void on_drain(struct api_job *j)
{
	answer(j->x);
}

static void fini(struct api_job *j)
{
	struct poll *p = j->x;

	drop_all(p);
	p->api->n_polls--;
	mem_free(p->v);
	mem_free(p);
}

static const struct api_job_ops poll_ops = {.gone = on_gone, .drain = on_drain, .due = on_due, .ready = on_ready, .fini = fini};

/* ---- Starting ----------------------------------------------------------------------------------------------------------------------- */

bool api_sub_options(struct api_job *j, struct engine_sub_open *o)
{
	struct http_api *a = j->api;
	const struct api_opts *opts = &a->opts;
	int64_t lease = 0;

	if (!api_opt_duration(j, PARAM_LEASE, 1, API_LEASE_MAX_MS, &lease))
		return false;
	o->actor = &j->actor;
	o->lease_ms = (uint32_t)lease;
	o->expr = api_has(opts, PARAM_TAG) ? opts->v[PARAM_TAG] : (struct slice){NULL, 0};
	o->start = SUB_START_COMMITTED;
	if (!api_has(opts, PARAM_FROM))
		return true;
	if (slice_eq_str(opts->v[PARAM_FROM], "earliest")) {
		o->start = SUB_START_FIRST;
	} else if (slice_eq_str(opts->v[PARAM_FROM], "latest")) {
		o->start = SUB_START_LAST;
	} else {
		api_problem(j, 400, ST_BAD_ARG, "a group begins at earliest or latest; later it goes on where it is");
		return false;
	}
	return true;
}

static void start_poll(struct api_job *j, uint32_t max, uint64_t wait_ms, const struct engine_sub_open *o)
{
	struct http_api *a = j->api;
	struct poll *p = mem_new(sizeof(*p));

	p->job = j;
	p->api = a;
	p->max = max;
	p->wait_ms = wait_ms;
	p->v = mem_array(max, sizeof(*p->v));
	buf_slice(&j->text, j->arg[0]);
	buf_slice(&j->text, j->arg[1]);
	p->topic_name = slice_of(j->text.p, j->arg[0].n);
	p->group = slice_of(j->text.p + j->arg[0].n, j->arg[1].n);
	j->x = p;
	j->ops = &poll_ops;
	a->n_polls++;
	p->topic = (struct engine_topic){.ask = {.done = topic_known}, .actor = &j->actor, .name = p->topic_name};
	j->asks++;
	engine_topic_get(a->engine, &p->topic);
	p->sub.deliver = deliver;
	p->sub.ended = ended;
	p->open = *o;
	p->open.ask = (struct engine_ask){.done = opened};
	p->open.sub = &p->sub;
	p->open.topic = p->topic_name;
	p->open.group = p->group;
	p->open.client_id = j->call->peer;
	p->open.detach = true;
	p->open.credit = max;
	j->asks += 2; /* the request, and the subscription */
	engine_sub_open(a->engine, &p->open);
}

void api_consume(struct api_job *j)
{
	const struct front_conf *conf = j->api->conf;
	struct engine_sub_open o = {.lease_ms = 0};
	uint64_t max = conf->http_max_batch < API_MAX_DEFAULT ? conf->http_max_batch : API_MAX_DEFAULT;
	int64_t wait = 0;

	if (api_accepts(j->call, "text/event-stream")) {
		stream_group_start(j);
		return;
	}
	if (api_has(&j->api->opts, PARAM_ACK) || api_has(&j->api->opts, PARAM_LAST_EVENT_ID)) {
		api_problem(j, 400, ST_BAD_ARG, "options \"ack\" and \"last-event-id\" are of event streams: Accept: text/event-stream");
		return;
	}
	if (api_opt_u64(j, PARAM_MAX, 1, conf->http_max_batch, &max) && api_opt_duration(j, PARAM_WAIT, 0, (int64_t)conf->max_wait_ms, &wait) &&
		api_sub_options(j, &o))
		start_poll(j, (uint32_t)max, (uint64_t)wait, &o);
}
