/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Many messages by one request: a JSON array, or one JSON object on each line. Each is stored or refused by itself; the answer has a result for
 * each, in their order. They go to the engine in their order too.
 */
#include <jansson.h>

#include "base/props.h"
#include "front/http/api.h"

struct batch;
struct item {
	struct engine_send send;
	struct batch *batch;
	enum status st;
	unsigned http;
	char *why;                       /* of a refusal here */
	char id[API_ID_SIZE];
	bool delayed;
};
struct batch {
	struct api_job *job;
	unsigned n, left;
	bool memory;                     /* nobody waits for the disk */
	struct item *v;
};

static void fini(struct api_job *j)
{
	struct batch *b = j->x;

	for (unsigned i = 0; i < b->n; i++)
		mem_free(b->v[i].why);
	mem_free(b->v);
	mem_free(b);
}

static const struct api_job_ops batch_ops = {.fini = fini};

static void put_result(struct buf *to, const struct item *it)
{
	if (it->st != ST_OK) {
		api_problem_json(to, it->http, it->st, slice_str(it->why), (struct slice){NULL, 0});
		return;
	}
	buf_str(to, "{\"status\":201,\"id\":\"");
	buf_put(to, it->id, API_ID_SIZE);
	if (it->delayed)
		buf_str(to, "\",\"delayed\":true");
	else
		buf_fmt(to, "\",\"queue\":%d,\"offset\":%llu", it->send.queue, (unsigned long long)it->send.offset);
	buf_fmt(to, ",\"durability\":\"%s\",\"storedAt\":%lld}", it->send.durable ? "disk" : "memory", (long long)it->send.store_ms);
}

static void answer(struct batch *b)
{
	struct buf *to = api_out(b->job->api);

	if (b->job->call == NULL)
		return;
	buf_str(to, "{\"results\":[");
	for (unsigned i = 0; i < b->n; i++) {
		buf_str(to, i > 0 ? "," : "");
		put_result(to, &b->v[i]);
	}
	buf_str(to, "]}");
	api_reply_json(b->job, 200, to);
}

static void sent(struct engine_ask *ask, enum status st)
{
	struct item *it = container_of(ask, struct item, send.ask);
	struct batch *b = it->batch;
	struct api_job *j = b->job;

	it->st = st;
	it->http = front_statuses[st].http;
	CHECK(b->left > 0 && j->asks > 0);
	j->asks--;
	if (--b->left == 0)
		answer(b);
	api_tidy(j);
}

static void refuse(struct item *it, unsigned http, enum status st, const char *why)
{
	it->st = st;
	it->http = http;
	it->why = slice_dup(slice_str(why));
}

static void send_item(struct batch *b, struct item *it, const json_t *json)
{
	struct api_job *j = b->job;
	struct http_api *a = j->api;
	struct draft *d = &a->draft;

	draft_reset(d);
	enum status st = draft_json(d, a->conf, api_now_ms(a), json, NULL);
	if (st != ST_OK) {
		refuse(it, front_statuses[st].http, st, d->why);
		return;
	}
	if (d->topic.n > 0 && !slice_eq(d->topic, j->arg[0])) {
		refuse(it, front_statuses[ST_ILLEGAL].http, ST_ILLEGAL, "member \"topic\" names another topic than the path");
		return;
	}
	d->topic = j->arg[0];
	api_new_id(a, it->id);
	struct slice level;
	it->delayed = props_get(buf_view(&d->props), SLICE_LIT("DELAY"), &level);
	props_put(&d->props, SLICE_LIT("UNIQ_KEY"), slice_of(it->id, API_ID_SIZE));
	if (b->memory)
		props_put(&d->props, SLICE_LIT("WAIT"), SLICE_LIT("false"));
	it->send.ask.done = sent;
	it->send.actor = &j->actor;
	draft_send(d, a->conf, api_now_ms(a), &it->send);
	j->asks++;
	b->left++;
	engine_send(a->engine, &it->send);
}

static bool too_many(struct api_job *j, size_t n)
{
	uint32_t max = j->api->conf->http_max_batch;

	if (n > 0 && n <= max)
		return false;
	if (n == 0)
		api_problem(j, 400, ST_BAD_ARG, "a batch without a message");
	else
		api_problem(j, 413, ST_TOO_BIG, "a batch has %u messages at most", max);
	return true;
}

static void start(struct api_job *j, size_t n, bool memory)
{
	struct batch *b = mem_new(sizeof(*b));

	b->job = j;
	b->n = (unsigned)n;
	b->memory = memory;
	b->v = mem_array(n, sizeof(*b->v));
	for (size_t i = 0; i < n; i++)
		b->v[i].batch = b;
	j->ops = &batch_ops;
	j->x = b;
}

/* The engine's answers come later, also where the last one is refused here. */
static void started(struct api_job *j)
{
	struct batch *b = j->x;

	if (b->left == 0)
		answer(b);
}

static void from_array(struct api_job *j, bool memory)
{
	struct slice body = j->call->body;
	json_error_t error;

	if (!json_bounded(body, JSON_VALUES_MAX)) {
		api_problem(j, 413, ST_TOO_BIG, "the batch has more than %u JSON values", JSON_VALUES_MAX);
		return;
	}
	json_t *json = json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (json == NULL) {
		api_problem(j, 400, ST_BAD_ARG, "the body is not JSON: line %d column %d: %.100s", error.line, error.column, error.text);
		return;
	}
	if (!too_many(j, json_array_size(json))) {
		start(j, json_array_size(json), memory);
		struct batch *b = j->x;
		for (unsigned i = 0; i < b->n; i++)
			send_item(b, &b->v[i], json_array_get(json, i));
		started(j);
	}
	json_decref(json);
}

static bool next_line(struct slice *rest, struct slice *ret)
{
	while (slice_split(rest, '\n', ret)) {
		*ret = slice_trim(*ret);
		if (ret->n > 0 && ret->p[ret->n - 1] == '\r')
			ret->n--;
		if (ret->n > 0)
			return true;
	}
	return false;
}

static void from_lines(struct api_job *j, bool memory)
{
	struct slice rest = j->call->body, line;
	size_t n = 0;

	while (next_line(&rest, &line))
		n++;
	if (too_many(j, n))
		return;
	start(j, n, memory);
	struct batch *b = j->x;
	rest = j->call->body;
	for (unsigned i = 0; next_line(&rest, &line); i++) {
		json_error_t error;
		bool bounded = json_bounded(line, JSON_VALUES_MAX);
		json_t *json = !bounded ? NULL : json_loadb((const char *)line.p, line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
		if (!bounded)
			refuse(&b->v[i], 413, ST_TOO_BIG, "the line has too many JSON values");
		else if (json == NULL)
			refuse(&b->v[i], 400, ST_BAD_ARG, "the line is not JSON");
		else
			send_item(b, &b->v[i], json);
		json_decref(json);
	}
	started(j);
}

void api_publish_batch(struct api_job *j, bool lines)
{
	const struct api_opts *o = &j->api->opts;
	bool memory = api_has(o, PARAM_DURABILITY) && slice_eq_str(o->v[PARAM_DURABILITY], "memory");

	if (api_has(o, PARAM_DURABILITY) && !memory && !slice_eq_str(o->v[PARAM_DURABILITY], "disk")) {
		api_problem(j, 400, ST_BAD_ARG, "option \"durability\" must be disk or memory");
		return;
	}
	for (unsigned p = 0; p < PARAM_COUNT; p++)
		if (api_has(o, (enum api_param)p) && p != PARAM_DURABILITY && p != PARAM_RAW) {
			api_problem(j, 400, ST_BAD_ARG, "option \"%s\" is not one of a batch: each of its messages says it for itself", api_params[p].name);
			return;
		}
	if (lines)
		from_lines(j, memory);
	else
		from_array(j, memory);
}
