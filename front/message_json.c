/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* A message as a JSON object that somebody sends: the members of docs/mapping.md, into a draft. */
#include <jansson.h>
#include <stdio.h>

#include "front/front.h"
#include "front/message.h"

/* What the members of one object are put together from. */
struct reading {
	struct draft *d;
	const struct front_conf *conf;
	int64_t now_ms;
	bool has_body;
};

static enum status complain(struct draft *d, const char *name, const char *why)
{
	snprintf(d->why, sizeof(d->why), "member \"%.60s\" %s", name, why);
	return ST_ILLEGAL;
}

static struct slice text_of(const json_t *v) { return slice_of(json_string_value(v), json_string_length(v)); }

static enum status put_text(struct reading *r, const char *name, const json_t *v, enum message_field f)
{
	if (!json_is_string(v))
		return complain(r->d, name, "must be text");
	return f == MESSAGE_CORRELATION ? draft_correlation(r->d, text_of(v)) : draft_put(r->d, f, text_of(v));
}

/* Keys: text, or an array of texts; a key has no blank, for blanks separate them. */
static enum status put_keys(struct reading *r, const char *name, const json_t *v)
{
	struct buf b = {0};
	enum status st = ST_OK;
	size_t i;
	json_t *one;

	if (json_is_string(v))
		return draft_put(r->d, MESSAGE_KEYS, text_of(v));
	if (!json_is_array(v))
		return complain(r->d, name, "must be text, or an array of texts");
	json_array_foreach(v, i, one) {
		struct slice key = text_of(one);
		if (st == ST_OK && (key.n == 0 || memchr(key.p, ' ', key.n) != NULL))
			st = complain(r->d, name, "must hold texts without blanks");
		buf_str(&b, i > 0 ? " " : "");
		buf_slice(&b, key);
	}
	if (st == ST_OK)
		st = draft_put(r->d, MESSAGE_KEYS, buf_view(&b));
	buf_fini(&b);
	return st;
}

static bool get_duration(const json_t *v, int64_t *ret)
{
	*ret = json_integer_value(v);
	return json_is_string(v) ? duration_parse(text_of(v), ret) : json_is_integer(v) && *ret >= 0;
}

static bool get_moment(const json_t *v, int64_t *ret)
{
	*ret = json_integer_value(v);
	return json_is_string(v) ? moment_parse(text_of(v), ret) : json_is_integer(v) && *ret >= 0;
}

static enum status put_expiry(struct reading *r, const char *name, const json_t *v, bool relative)
{
	char text[24];
	int64_t ms;

	if (!(relative ? get_duration(v, &ms) : get_moment(v, &ms)))
		return complain(r->d, name, relative ? "must be a duration: \"90s\", or milliseconds" : "must be a moment: RFC 3339, or milliseconds since 1970");
	if (relative && ms == 0)
		return ST_OK;
	snprintf(text, sizeof(text), "%lld", (long long)(relative ? r->now_ms + ms : ms));
	return draft_put(r->d, MESSAGE_EXPIRES, slice_str(text));
}

static enum status put_delay(struct reading *r, const char *name, const json_t *v)
{
	int64_t ms;

	return get_duration(v, &ms) ? draft_delay(r->d, r->conf, ms) : complain(r->d, name, "must be a duration: \"10s\", or milliseconds");
}

static enum status put_properties(struct reading *r, const char *name, json_t *v)
{
	enum status st = ST_OK;
	const char *key;
	json_t *one;

	if (!json_is_object(v))
		return complain(r->d, name, "must be an object of texts");
	json_object_foreach(v, key, one) {
		if (st == ST_OK)
			st = json_is_string(one) ? draft_user(r->d, slice_str(key), text_of(one)) : complain(r->d, name, "must be an object of texts");
	}
	return st;
}

static enum status put_body(struct reading *r, const char *name, const json_t *v)
{
	struct draft *d = r->d;

	if (r->has_body)
		return complain(d, name, "is a second body: there is one of body, bodyBase64 and json");
	r->has_body = true;
	if (strcmp(name, "json") == 0) {
		char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
		if (text == NULL)
			return complain(d, name, "cannot be written");
		buf_str(&d->own, text);
		free(text);
		d->body = buf_view(&d->own);
		return ST_OK;
	}
	if (!json_is_string(v))
		return complain(d, name, "must be text");
	d->body = text_of(v);
	if (strcmp(name, "body") == 0)
		return ST_OK;
	if (!base64_get(&d->own, d->body))
		return complain(d, name, "is not base64");
	d->body = buf_view(&d->own);
	return ST_OK;
}

static enum status put_member(struct reading *r, const char *name, json_t *v)
{
	static const struct {
		const char *name;
		enum message_field field;
	} texts[] = {
		{"tag", MESSAGE_TAG}, {"orderKey", MESSAGE_ORDER_KEY}, {"contentType", MESSAGE_CONTENT_TYPE}, {"correlationData", MESSAGE_CORRELATION},
		{"replyTo", MESSAGE_REPLY_TO}, {"mqttTopic", MESSAGE_MQTT_TOPIC},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strcmp(name, texts[i].name) == 0)
			return put_text(r, name, v, texts[i].field);
	if (strcmp(name, "topic") == 0) {
		r->d->topic = text_of(v);
		return json_is_string(v) ? ST_OK : complain(r->d, name, "must be text");
	}
	if (strcmp(name, "queue") == 0) {
		json_int_t n = json_integer_value(v);
		r->d->queue = (int32_t)n;
		return json_is_integer(v) && n >= 0 && n <= INT32_MAX ? ST_OK : complain(r->d, name, "must be the number of a queue");
	}
	if (strcmp(name, "keys") == 0)
		return put_keys(r, name, v);
	if (strcmp(name, "expire") == 0 || strcmp(name, "expiresAt") == 0)
		return put_expiry(r, name, v, strcmp(name, "expire") == 0);
	if (strcmp(name, "delay") == 0)
		return put_delay(r, name, v);
	if (strcmp(name, "properties") == 0)
		return put_properties(r, name, v);
	if (strcmp(name, "body") == 0 || strcmp(name, "bodyBase64") == 0 || strcmp(name, "json") == 0)
		return put_body(r, name, v);
	return complain(r->d, name, "is not known");
}

enum status draft_json(struct draft *d, const struct front_conf *conf, int64_t now_ms, const void *value, const char *const *ignore)
{
	json_t *object = (json_t *)(uintptr_t)value, *v;
	struct reading r = {.d = d, .conf = conf, .now_ms = now_ms};
	enum status st = ST_OK;
	const char *name;

	if (!json_is_object(object)) {
		snprintf(d->why, sizeof(d->why), "a message is a JSON object");
		return ST_ILLEGAL;
	}
	json_object_foreach(object, name, v) {
		bool theirs = false;
		for (size_t i = 0; ignore != NULL && ignore[i] != NULL; i++)
			theirs = theirs || strcmp(name, ignore[i]) == 0;
		if (st == ST_OK && !theirs)
			st = put_member(&r, name, v);
	}
	/* What "json" was made of is JSON, unless its sender knows better: the first value of a field stays. */
	if (st == ST_OK && json_object_get(object, "json") != NULL)
		st = draft_put(d, MESSAGE_CONTENT_TYPE, SLICE_LIT("application/json"));
	return st;
}
