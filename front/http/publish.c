/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * One message by one request: the body is the message's, the options say the rest. This is the path that a thousand requests a second take, so it
 * makes no JSON tree and allocates nothing of its own once it is warm.
 */
#include <stdio.h>

#include "base/props.h"
#include "front/http/api.h"

static const struct {
	enum api_param param;
	enum message_field field;
} fields[] = {
	{PARAM_TAG, MESSAGE_TAG}, {PARAM_KEYS, MESSAGE_KEYS}, {PARAM_ORDER_KEY, MESSAGE_ORDER_KEY}, {PARAM_CORRELATION_DATA, MESSAGE_CORRELATION},
	{PARAM_REPLY_TO, MESSAGE_REPLY_TO}, {PARAM_MQTT_TOPIC, MESSAGE_MQTT_TOPIC}, {PARAM_CONTENT_TYPE, MESSAGE_CONTENT_TYPE},
};

/* "a/b" may stand in a path as one name. */
static void put_escaped(struct buf *b, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.')
			buf_u8(b, c);
		else
			buf_fmt(b, "%%%02X", c);
	}
}

static void answer(struct api_job *j)
{
	struct http_api *a = j->api;
	const struct engine_send *r = &j->u.send;
	struct buf *b = api_out(a);
	struct slice id = slice_of(j->id, API_ID_SIZE), topic = buf_view(&j->text);

	buf_str(b, "location: /v1/messages/");
	buf_slice(b, id);
	buf_str(b, "?topic=");
	put_escaped(b, topic);
	buf_str(b, "\r\n");
	size_t head = b->n;
	buf_str(b, "{\"id\":\"");
	buf_slice(b, id);
	buf_str(b, "\",\"topic\":");
	buf_json_str(b, topic);
	if (j->delayed) {
		buf_str(b, ",\"delayed\":true");
	} else {
		buf_str(b, ",\"queue\":");
		buf_u64_dec(b, (uint64_t)r->queue);
		buf_str(b, ",\"offset\":");
		buf_u64_dec(b, r->offset);
	}
	buf_str(b, r->durable ? ",\"durability\":\"disk\",\"storedAt\":" : ",\"durability\":\"memory\",\"storedAt\":");
	buf_i64_dec(b, r->store_ms);
	buf_u8(b, '}');
	api_reply(j, 201, "application/json", slice_of(b->p, head), slice_of(b->p + head, b->n - head));
}

static void sent(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j)) {
		if (st == ST_OK)
			answer(j);
		else if (st == ST_NO_TOPIC)
			api_refuse(j, st, "topic \"%.*s\" is not there, and is not made by sending", (int)j->text.n, (const char *)j->text.p);
		else
			api_refuse(j, st, NULL);
	}
	api_tidy(j);
}

/* What programs say of any body when they were not told a type tells nothing of this one. */
static bool is_default_type(struct slice type)
{
	return type.n == 0 || api_is_type(type, "application/octet-stream") || api_is_type(type, "application/x-www-form-urlencoded");
}

static bool put_delays(struct api_job *j, struct draft *d)
{
	struct http_api *a = j->api;
	int64_t delay = 0, at = 0, expire = 0;
	char text[24];

	if (!api_opt_duration(j, PARAM_DELAY, 0, INT64_MAX, &delay) || !api_opt_moment(j, PARAM_DELIVER_AT, &at) ||
		!api_opt_duration(j, PARAM_EXPIRE, 1, INT64_C(1) << 52, &expire))
		return false;
	if (at > api_now_ms(a)) {
		api_problem(j, 501, ST_UNSUPPORTED, "delivery at a moment that is to come is not supported yet: use delay");
		return false;
	}
	if (expire > 0) {
		snprintf(text, sizeof(text), "%lld", (long long)(api_now_ms(a) + expire));
		CHECK(draft_put(d, MESSAGE_EXPIRES, slice_str(text)) == ST_OK);
	}
	j->delayed = delay > 0;
	if (delay > 0 && draft_delay(d, a->conf, delay) != ST_OK) {
		api_refuse(j, ST_ILLEGAL, "%s", d->why);
		return false;
	}
	return true;
}

static bool put_options(struct api_job *j, struct draft *d)
{
	const struct api_opts *o = &j->api->opts;
	enum status st = ST_OK;
	uint64_t queue = 0;

	for (unsigned i = 0; i < ARRAY_LEN(fields) && st == ST_OK; i++)
		if (api_has(o, fields[i].param))
			st = draft_put(d, fields[i].field, o->v[fields[i].param]);
	for (unsigned i = 0; i < o->n_props && st == ST_OK; i++)
		st = draft_user(d, o->prop[i].name, o->prop[i].value);
	if (st != ST_OK) {
		api_refuse(j, st, "%s", d->why);
		return false;
	}
	if (!api_opt_u64(j, PARAM_QUEUE, 0, INT32_MAX, &queue) || !put_delays(j, d))
		return false;
	if (api_has(o, PARAM_QUEUE))
		d->queue = (int32_t)queue;
	if (!api_has(o, PARAM_DURABILITY) || slice_eq_str(o->v[PARAM_DURABILITY], "disk"))
		return true;
	if (!slice_eq_str(o->v[PARAM_DURABILITY], "memory")) {
		api_problem(j, 400, ST_BAD_ARG, "option \"durability\" must be disk or memory");
		return false;
	}
	props_put(&d->props, SLICE_LIT("WAIT"), SLICE_LIT("false"));
	return true;
}

/* A batch, by its type? *ret_lines: one object on each line. */
static bool is_batch(struct api_job *j, struct slice type, bool *ret_lines, bool *ret_bad)
{
	struct slice body = j->call->body;
	bool raw = false;

	*ret_bad = !api_opt_bool(j, PARAM_RAW, &raw);
	*ret_lines = false;
	if (*ret_bad || raw || type.n < sizeof("application/json") - 1)
		return false;
	if (api_is_type(type, "application/x-ndjson") || api_is_type(type, "application/ndjson"))
		return *ret_lines = true;
	if (!api_is_type(type, "application/json"))
		return false;
	while (body.n > 0 && (*body.p == ' ' || *body.p == '\t' || *body.p == '\r' || *body.p == '\n'))
		body = slice_skip(body, 1);
	return body.n > 0 && *body.p == '[';
}

void api_publish(struct api_job *j)
{
	struct http_api *a = j->api;
	struct draft *d = &a->draft;
	struct slice whole = http_header(j->call, "content-type"), type = api_content_type(j->call);
	bool lines, bad;

	if (is_batch(j, type, &lines, &bad)) {
		api_publish_batch(j, lines);
		return;
	}
	if (bad)
		return;
	draft_reset(d);
	d->topic = j->arg[0];
	d->body = j->call->body;
	if (!put_options(j, d))
		return;
	if (!is_default_type(type) && !api_has(&a->opts, PARAM_CONTENT_TYPE) && draft_put(d, MESSAGE_CONTENT_TYPE, slice_trim(whole)) != ST_OK) {
		api_refuse(j, ST_ILLEGAL, "%s", d->why);
		return;
	}
	api_new_id(a, j->id);
	props_put(&d->props, SLICE_LIT("UNIQ_KEY"), slice_of(j->id, API_ID_SIZE));
	buf_slice(&j->text, j->arg[0]);
	struct engine_send *r = API_ASK(j, send, sent);
	draft_send(d, a->conf, api_now_ms(a), r);
	engine_send(a->engine, r);
}
