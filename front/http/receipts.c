/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Receipts: what a caller shows to settle a message that it was given. One names group, topic, which life of the two it is of, and the delivery, under a
 * seal; nothing of it is kept here, and so it holds after a restart. The key of the seal stands in the engine's log (cell "receipt-key" of the
 * space "http") and is made when it is first wanted.
 *
 *   u8 1, u64 tag, u64 incarnation, u16 n, group, u16 n, topic, seal[16]        as base64url without padding
 */
#include <jansson.h>

#include "base/be.h"
#include "front/http/api.h"

#define RECEIPT_VERSION 1u
#define RECEIPT_FIXED (1u + 8 + 8 + 2 + 2 + SEAL_SIZE)
#define RECEIPT_MAX 4096u /* bytes of a receipt as text */
#define KEY_SPACE SLICE_LIT("http")
#define KEY_NAME SLICE_LIT("receipt-key")

/* ---- The key ------------------------------------------------------------------------------------------------------------------------ */

static void wake_waiters(struct http_api *a, enum status st)
{
	struct list now, *n;

	list_init(&now);
	list_move(&now, &a->key_waiters);
	while ((n = list_pop(&now)) != NULL) {
		struct api_job *j = container_of(n, struct api_job, ready);
		if (st == ST_OK && !a->draining)
			api_dispatch(j);
		else if (st == ST_OK)
			api_refuse(j, ST_CLOSED, NULL); /* what it asks for may take long, and the process is about to end */
		else
			api_refuse(j, st, "the key that seals receipts cannot be had");
		api_tidy(j);
	}
}

static void key_stored(struct engine_ask *ask, enum status st)
{
	struct http_api *a = container_of(ask, struct http_api, cell.ask);

	a->loose--;
	a->key_state = st == ST_OK ? KEY_THERE : KEY_FAILED;
	wake_waiters(a, st);
}

static void key_listed(struct engine_ask *ask, enum status st)
{
	struct http_api *a = container_of(ask, struct http_api, cells.ask);
	const struct engine_cells *r = &a->cells;

	a->loose--;
	if (st == ST_OK && r->count == 1 && r->v[0].value.n == sizeof(a->key)) {
		memcpy(a->key, r->v[0].value.p, sizeof(a->key));
		a->key_state = KEY_THERE;
		wake_waiters(a, ST_OK);
		return;
	}
	if (st != ST_OK) {
		a->key_state = KEY_FAILED;
		wake_waiters(a, st);
		return;
	}
	a->env.random(a->key, sizeof(a->key));
	a->cell = (struct engine_cell){.ask = {.done = key_stored}, .space = KEY_SPACE, .name = KEY_NAME, .value = slice_of(a->key, sizeof(a->key))};
	a->loose++;
	engine_cell_put(a->engine, &a->cell);
}

void receipts_key_open(struct http_api *a)
{
	if (a->key_state != KEY_FAILED)
		return;
	a->key_state = KEY_ASKED;
	a->cells = (struct engine_cells){.ask = {.done = key_listed}, .space = KEY_SPACE, .name = KEY_NAME, .one = true};
	a->loose++;
	engine_cell_list(a->engine, &a->cells);
}

/* ---- Text --------------------------------------------------------------------------------------------------------------------------- */

void receipt_put(struct http_api *a, struct buf *to, const struct api_receipt *r)
{
	struct buf *b = &a->scratch;
	uint8_t seal[SEAL_SIZE];

	CHECK(a->key_state == KEY_THERE);
	buf_reset(b);
	buf_u8(b, RECEIPT_VERSION);
	buf_be64(b, r->tag);
	buf_be64(b, r->incarnation);
	buf_be16(b, (uint16_t)r->group.n);
	buf_slice(b, r->group);
	buf_be16(b, (uint16_t)r->topic.n);
	buf_slice(b, r->topic);
	seal_make(a->key, buf_view(b), seal);
	buf_put(b, seal, sizeof(seal));
	size_t from = to->n;
	base64_put(to, buf_view(b));
	while (to->n > from && to->p[to->n - 1] == '=')
		to->n--;
	for (size_t i = from; i < to->n; i++)
		to->p[i] = to->p[i] == '+' ? '-' : to->p[i] == '/' ? '_' : to->p[i];
}

static bool take_name(struct slice *rest, struct slice *ret)
{
	if (rest->n < 2 || rest->n - 2 < be16_get(rest->p))
		return false;
	*ret = slice_of(rest->p + 2, be16_get(rest->p));
	*rest = slice_skip(*rest, 2 + ret->n);
	return ret->n > 0;
}

bool receipt_get(const struct http_api *a, struct slice text, struct buf *scratch, struct api_receipt *ret)
{
	uint8_t seal[SEAL_SIZE];

	buf_reset(scratch);
	if (text.n > RECEIPT_MAX || !base64_get(scratch, text) || scratch->n < RECEIPT_FIXED || scratch->p[0] != RECEIPT_VERSION)
		return false;
	struct slice sealed = slice_of(scratch->p, scratch->n - SEAL_SIZE), rest = slice_skip(sealed, 17);
	seal_make(a->key, sealed, seal);
	if (!seal_same(seal, sealed.p + sealed.n))
		return false;
	ret->tag = be64_get(sealed.p + 1);
	ret->incarnation = be64_get(sealed.p + 9);
	return take_name(&rest, &ret->group) && take_name(&rest, &ret->topic) && rest.n == 0;
}

/* ---- Settling without anybody who waits --------------------------------------------------------------------------------------------- */

struct loose {
	struct engine_settle settle;
	struct http_api *api;
	settle_told_fn *told;
	void *arg;
	uint64_t arg2;
};

static void loose_done(struct engine_ask *ask, enum status st)
{
	struct loose *l = container_of(ask, struct loose, settle.ask);

	l->api->loose--;
	if (l->told != NULL)
		l->told(l->api, l->arg, l->arg2, st);
	mem_free(l);
}

void api_settle(struct http_api *a, const struct api_receipt *r, enum settle how, int64_t after_ms, settle_told_fn *told, void *arg, uint64_t arg2)
{
	struct loose *l = mem_new(sizeof(*l));

	l->api = a;
	l->told = told;
	l->arg = arg;
	l->arg2 = arg2;
	l->settle = (struct engine_settle){.ask = {.done = loose_done}, .group = r->group, .topic = r->topic, .incarnation = r->incarnation, .tag = r->tag,
		.how = how, .after_ms = after_ms};
	a->loose++;
	engine_settle(a->engine, &l->settle);
}

/* ---- Requests ----------------------------------------------------------------------------------------------------------------------- */

struct settling;
struct one {
	struct engine_settle settle;
	struct settling *all;
	enum status st;
	unsigned http;
	uint8_t *receipt;                /* as bytes: a stream may want to know */
	size_t receipt_n;
};
struct settling {
	struct api_job *job;
	enum settle how;
	int64_t after_ms;
	bool single;
	unsigned n, left;
	struct one *v;
};

static void fini(struct api_job *j)
{
	struct settling *s = j->x;

	for (unsigned i = 0; i < s->n; i++)
		mem_free(s->v[i].receipt);
	mem_free(s->v);
	mem_free(s);
}

static const struct api_job_ops settling_ops = {.fini = fini};

static const char *why(enum status st)
{
	return st == ST_PROTO ? "not a receipt of this broker" : st == ST_GONE ? "the message was settled, or went to somebody else" : "";
}

static void answer(struct settling *s)
{
	struct api_job *j = s->job;
	struct buf *b = api_out(j->api);

	if (j->call == NULL)
		return;
	if (s->single && s->v[0].st != ST_OK) {
		api_problem(j, s->v[0].http, s->v[0].st, "%s", why(s->v[0].st));
		return;
	}
	buf_str(b, "{\"results\":[");
	for (unsigned i = 0; i < s->n; i++) {
		buf_str(b, i > 0 ? "," : "");
		if (s->v[i].st == ST_OK)
			buf_str(b, "{\"status\":200}");
		else
			api_problem_json(b, s->v[i].http, s->v[i].st, slice_str(why(s->v[i].st)), (struct slice){NULL, 0});
	}
	buf_str(b, "]}");
	api_reply_json(j, 200, b);
}

/* The names of a receipt that was found good before. */
static struct api_receipt receipt_of(const struct one *one)
{
	struct slice rest = slice_skip(slice_of(one->receipt, one->receipt_n), 17);
	struct api_receipt r = {.tag = be64_get(one->receipt + 1), .incarnation = be64_get(one->receipt + 9)};

	CHECK(take_name(&rest, &r.group) && take_name(&rest, &r.topic));
	return r;
}

static void settled(struct engine_ask *ask, enum status st)
{
	struct one *one = container_of(ask, struct one, settle.ask);
	struct settling *s = one->all;
	struct api_job *j = s->job;

	/* A group or topic that is not there any more has no deliveries either. */
	one->st = st == ST_NO_GROUP || st == ST_NO_TOPIC || st == ST_NOT_FOUND ? ST_GONE : st;
	one->http = front_statuses[one->st].http;
	if (st == ST_OK && s->how != SETTLE_EXTEND) {
		struct api_receipt r = receipt_of(one);
		streams_settled(j->api, &r);
	}
	CHECK(s->left > 0 && j->asks > 0);
	j->asks--;
	if (--s->left == 0)
		answer(s);
	api_tidy(j);
}

static void settle_one(struct settling *s, struct one *one, struct slice text)
{
	struct api_job *j = s->job;
	struct http_api *a = j->api;
	struct buf bytes = {0};
	struct api_receipt r;

	one->all = s;
	if (!receipt_get(a, text, &bytes, &r)) {
		one->st = ST_PROTO;
		one->http = 400;
		buf_fini(&bytes);
		return;
	}
	one->receipt = bytes.p; /* the buffer's memory is ours now */
	one->receipt_n = bytes.n;
	one->settle = (struct engine_settle){.ask = {.done = settled}, .group = r.group, .topic = r.topic, .incarnation = r.incarnation, .tag = r.tag,
		.how = s->how, .after_ms = s->after_ms};
	j->asks++;
	s->left++;
	engine_settle(a->engine, &one->settle);
}

/* Receipts as lines of text, one in a parameter, or in JSON; gives them one by one. */
struct source {
	json_t *array;                   /* or */
	json_t *text;                    /* or */
	struct slice lines;
	size_t at;
};

static bool next_receipt(struct source *s, struct slice *ret)
{
	if (s->array != NULL) {
		const json_t *v = json_array_get(s->array, s->at++);
		*ret = slice_of(json_string_value(v), json_string_length(v));
		return v != NULL;
	}
	if (s->text != NULL) {
		*ret = slice_of(json_string_value(s->text), json_string_length(s->text));
		return s->at++ == 0;
	}
	while (slice_split(&s->lines, '\n', ret)) {
		*ret = slice_trim(*ret);
		if (ret->n > 0 && ret->p[ret->n - 1] == '\r')
			ret->n--;
		if (ret->n > 0)
			return true;
	}
	return false;
}

static bool find_source(struct api_job *j, json_t *json, struct source *ret)
{
	const struct api_opts *o = &j->api->opts;
	json_t *one = json_object_get(json, "receipt"), *many = json_object_get(json, "receipts");
	bool option = api_has(o, PARAM_RECEIPT), lines = json == NULL && !option;

	*ret = (struct source){.array = many, .text = one};
	if ((one != NULL) + (many != NULL) + option + lines != 1) {
		api_problem(j, 400, ST_BAD_ARG, "wanted: {\"receipts\": [...]}, or {\"receipt\": \"...\"}, or lines of text/plain, or the option receipt");
		return false;
	}
	if ((one != NULL && !json_is_string(one)) || (many != NULL && !json_is_array(many))) {
		api_problem(j, 400, ST_BAD_ARG, "a receipt is text, receipts are an array of texts");
		return false;
	}
	if (option)
		ret->lines = o->v[PARAM_RECEIPT];
	else if (lines)
		ret->lines = j->call->body;
	return true;
}

static void settle_all(struct api_job *j, json_t *json, enum settle how, int64_t after_ms)
{
	uint32_t max = j->api->conf->http_max_batch;
	struct source all, again;
	struct slice text;
	size_t n = 0;

	if (!find_source(j, json, &all))
		return;
	again = all;
	while (next_receipt(&again, &text))
		n++;
	if (n == 0 || n > max) {
		if (n == 0)
			api_problem(j, 400, ST_BAD_ARG, "no receipt");
		else
			api_problem(j, 413, ST_TOO_BIG, "%u receipts at most", max);
		return;
	}
	struct settling *s = mem_new(sizeof(*s));
	*s = (struct settling){.job = j, .how = how, .after_ms = after_ms, .single = n == 1 && all.array == NULL, .n = (unsigned)n};
	s->v = mem_array(n, sizeof(*s->v));
	j->x = s;
	j->ops = &settling_ops;
	for (unsigned i = 0; i < n && next_receipt(&all, &text); i++)
		settle_one(s, &s->v[i], text);
	if (s->left == 0)
		answer(s);
}

/* The body, where it is JSON; lines of receipts are looked at later. */
static bool read_json(struct api_job *j, const char *const *members, void **ret)
{
	*ret = NULL;
	return api_is_type(api_content_type(j->call), "text/plain") || api_has(&j->api->opts, PARAM_RECEIPT) || api_json(j, members, ret);
}

void api_ack(struct api_job *j)
{
	static const char *const members[] = {"receipt", "receipts", NULL};
	void *json;

	if (read_json(j, members, &json))
		settle_all(j, json, SETTLE_ACK, -1);
	api_json_free(json);
}

void api_nack(struct api_job *j)
{
	static const char *const members[] = {"receipt", "receipts", "delay", "reject", NULL};
	int64_t delay = -1;
	bool reject = false;
	void *json;

	if (read_json(j, members, &json) && api_opt_duration(j, PARAM_DELAY, 0, API_LEASE_MAX_MS, &delay) && api_opt_bool(j, PARAM_REJECT, &reject) &&
		api_json_duration(j, json, "delay", 0, API_LEASE_MAX_MS, &delay) && api_json_bool(j, json, "reject", &reject))
		settle_all(j, json, reject ? SETTLE_REJECT : SETTLE_RETRY, delay);
	api_json_free(json);
}

void api_extend(struct api_job *j)
{
	static const char *const members[] = {"receipt", "receipts", "lease", NULL};
	int64_t lease = (int64_t)j->api->conf->lease_ms;
	void *json;

	if (read_json(j, members, &json) && api_opt_duration(j, PARAM_LEASE, 1, API_LEASE_MAX_MS, &lease) &&
		api_json_duration(j, json, "lease", 1, API_LEASE_MAX_MS, &lease))
		settle_all(j, json, SETTLE_EXTEND, lease);
	api_json_free(json);
}
