/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Bodies about topics and groups, and both forms of a broker's registration. */
#include <zlib.h>

#include "base/be.h"
#include "base/obj.h"
#include "wire/doc.h"

enum { MAPPINGS_SINCE = 413, WRAPPED_SINCE = 37 }; /* request versions at which a registration's body changed */

/* ---- Versions and topics ----------------------------------------------------------------------------------------- */

void wire_data_version(struct buf *b, const struct wire_data_version *v)
{
	buf_str(b, "{\"counter\":");
	buf_i64_dec(b, v->counter);
	buf_str(b, ",\"stateVersion\":");
	buf_i64_dec(b, v->state);
	buf_str(b, ",\"timestamp\":");
	buf_i64_dec(b, v->timestamp);
	buf_u8(b, '}');
}

static struct wire_data_version version_of(const json_t *o, const char **fault)
{
	return (struct wire_data_version){
		.state = doc_int(o, "stateVersion", 0, fault),
		.timestamp = doc_int(o, "timestamp", 0, fault),
		.counter = doc_int(o, "counter", 0, fault),
	};
}

bool wire_data_version_decode(struct slice body, struct wire_data_version *ret, const char **ret_why)
{
	struct wire_doc d = {0};
	const char *fault = NULL;
	if (!doc_parse(&d, body, DOC_BYTES_SMALL, DOC_VALUES_SMALL, ret_why))
		return false;
	struct wire_data_version v = version_of(d.json, &fault);
	if (fault != NULL)
		return doc_refuse(&d, ret_why, fault);
	wire_doc_fini(&d);
	*ret = v;
	return true;
}

void wire_topic(struct buf *b, const struct wire_topic *t)
{
	buf_str(b, "{\"attributes\":{},\"order\":");
	buf_str(b, t->order ? "true" : "false");
	buf_str(b, ",\"perm\":");
	buf_u64_dec(b, t->perm);
	buf_str(b, ",\"readQueueNums\":");
	buf_u64_dec(b, t->read_queues);
	buf_str(b, ",\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":");
	buf_json_str(b, t->name);
	buf_str(b, ",\"topicSysFlag\":");
	buf_u64_dec(b, t->sys_flag);
	buf_str(b, ",\"writeQueueNums\":");
	buf_u64_dec(b, t->write_queues);
	buf_u8(b, '}');
}

static void topic_of(const json_t *o, struct wire_topic *t, const char **fault)
{
	enum { QUEUES_ABSENT = 16, PERM_ABSENT = 6 };
	t->name = doc_str(o, "topicName", fault);
	t->read_queues = (uint32_t)doc_range(o, "readQueueNums", QUEUES_ABSENT, 0, INT32_MAX, fault);
	t->write_queues = (uint32_t)doc_range(o, "writeQueueNums", QUEUES_ABSENT, 0, INT32_MAX, fault);
	t->perm = (uint32_t)doc_range(o, "perm", PERM_ABSENT, 0, INT32_MAX, fault);
	t->sys_flag = (uint32_t)doc_range(o, "topicSysFlag", 0, 0, INT32_MAX, fault);
	t->order = doc_bool(o, "order", false, fault);
}

bool wire_topic_decode(struct slice body, struct wire_doc *doc, struct wire_topic *ret, const char **ret_why)
{
	struct wire_topic t;
	const char *fault = NULL;
	*doc = (struct wire_doc){NULL, NULL};
	if (!doc_parse(doc, body, DOC_BYTES_SMALL, DOC_VALUES_SMALL, ret_why))
		return false;
	topic_of(doc->json, &t, &fault);
	if (t.name.n == 0 && fault == NULL)
		fault = "topicName";
	if (fault != NULL)
		return doc_refuse(doc, ret_why, fault);
	*ret = t;
	return true;
}

static void topics_inside(struct buf *b, const struct wire_data_version *version, const struct wire_topic *v, size_t n)
{
	buf_str(b, "{\"dataVersion\":");
	wire_data_version(b, version);
	buf_str(b, ",\"mappingDataVersion\":");
	wire_data_version(b, version);
	buf_str(b, ",\"topicConfigTable\":{");
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_u8(b, ',');
		buf_json_str(b, v[i].name);
		buf_u8(b, ':');
		wire_topic(b, &v[i]);
	}
	buf_str(b, "},\"topicQueueMappingDetailMap\":{},\"topicQueueMappingInfoMap\":{}}");
}

void wire_topics(struct buf *b, const struct wire_data_version *version, const struct wire_topic *v, size_t n)
{
	topics_inside(b, version, v, n);
}

/* Fills *t from a wrapper object that belongs to t->doc. */
static void topics_of(const json_t *o, struct wire_topics *t, const char **fault)
{
	json_t *version = doc_object(o, "dataVersion", fault), *table = doc_object(o, "topicConfigTable", fault), *value;
	const char *key;
	size_t length;
	t->version = version_of(version, fault);
	t->v = doc_array(&t->doc, json_object_size(table), sizeof(*t->v));
	json_object_keylen_foreach(table, key, length, value) {
		struct wire_topic *at = &t->v[t->n];
		if (json_is_null(value))
			continue;
		topic_of(value, at, fault);
		if (at->name.n == 0)
			at->name = slice_of(key, length);
		if (at->name.n == 0 && *fault == NULL)
			*fault = "topicName";
		t->n++;
	}
}

bool wire_topics_decode(struct slice body, struct wire_topics *ret, const char **ret_why)
{
	struct wire_topics t = {0};
	const char *fault = NULL;
	if (!doc_parse(&t.doc, body, WIRE_BODY_MAX, DOC_VALUES_LARGE, ret_why))
		return false;
	topics_of(t.doc.json, &t, &fault);
	if (fault != NULL)
		return doc_refuse(&t.doc, ret_why, fault);
	*ret = t;
	return true;
}

/* ---- Registration, as a document --------------------------------------------------------------------------------- */

void wire_register(struct buf *b, const struct wire_data_version *version, const struct wire_topic *v, size_t n)
{
	buf_str(b, "{\"filterServerList\":[],\"topicConfigSerializeWrapper\":");
	topics_inside(b, version, v, n);
	buf_u8(b, '}');
}

static bool register_json(struct slice body, int32_t request_version, struct wire_topics *ret, const char **ret_why)
{
	struct wire_topics t = {0};
	const char *fault = NULL;
	if (!doc_parse(&t.doc, body, WIRE_BODY_MAX, DOC_VALUES_LARGE, ret_why))
		return false;
	json_t *wrapper = doc_object(t.doc.json, "topicConfigSerializeWrapper", &fault);
	if (wrapper == NULL && request_version < WRAPPED_SINCE)
		wrapper = t.doc.json;
	if (wrapper != NULL)
		topics_of(wrapper, &t, &fault);
	if (fault != NULL)
		return doc_refuse(&t.doc, ret_why, fault);
	*ret = t;
	return true;
}

/* ---- Registration, packed ---------------------------------------------------------------------------------------- */

bool wire_register_packed(struct buf *b, const struct wire_data_version *version, const struct wire_topic *v, size_t n,
                          int32_t request_version)
{
	struct buf plain = {0};
	size_t at;
	buf_be32(&plain, 0);
	wire_data_version(&plain, version);
	be32_put(plain.p, (uint32_t)(plain.n - 4));
	buf_be32(&plain, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		at = plain.n;
		buf_be32(&plain, 0);
		buf_slice(&plain, v[i].name);
		buf_u8(&plain, ' ');
		buf_u64_dec(&plain, v[i].read_queues);
		buf_u8(&plain, ' ');
		buf_u64_dec(&plain, v[i].write_queues);
		buf_u8(&plain, ' ');
		buf_u64_dec(&plain, v[i].perm);
		buf_str(&plain, " SINGLE_TAG {}");
		be32_put(plain.p + at, (uint32_t)(plain.n - at - 4));
	}
	buf_be32(&plain, 2);
	buf_str(&plain, "[]");
	if (request_version >= MAPPINGS_SINCE)
		buf_be32(&plain, 0);

	uLongf size = compressBound((uLong)plain.n);
	uint8_t *to = buf_room(b, size);
	bool ok = to != NULL && compress(to, &size, plain.p, (uLong)plain.n) == Z_OK;
	if (ok)
		buf_used(b, size);
	buf_fini(&plain);
	return ok;
}

/* Inflates into out, whose max bounds it. */
static const char *inflate_into(struct slice in, struct buf *out)
{
	enum { STEP = 65536 };
	z_stream z = {0};
	const char *why = NULL;
	int st;
	if (inflateInit(&z) != Z_OK)
		return "registration cannot be unpacked";
	z.next_in = (Bytef *)(uintptr_t)in.p;
	z.avail_in = (uInt)in.n;
	do {
		uint8_t *to = buf_room(out, STEP);
		if (to == NULL) {
			why = "registration is over the limit when unpacked";
			break;
		}
		z.next_out = to;
		z.avail_out = STEP;
		st = inflate(&z, Z_NO_FLUSH);
		buf_used(out, STEP - z.avail_out);
		if (st != Z_OK && st != Z_STREAM_END)
			why = "registration cannot be unpacked";
	} while (why == NULL && st != Z_STREAM_END);
	inflateEnd(&z);
	return why;
}

static bool take(struct slice *rest, size_t n, struct slice *ret)
{
	if (n > rest->n)
		return false;
	*ret = slice_of(rest->p, n);
	*rest = slice_skip(*rest, n);
	return true;
}

static bool take_u32(struct slice *rest, uint32_t *ret)
{
	struct slice s;
	if (!take(rest, 4, &s))
		return false;
	*ret = be32_get(s.p);
	return true;
}

static bool take_text(struct slice *rest, struct slice *ret)
{
	uint32_t n;
	return take_u32(rest, &n) && take(rest, n, ret);
}

/* "topic read write perm SINGLE_TAG {attributes}" */
static bool topic_of_text(struct slice text, struct wire_topic *t)
{
	struct slice part[4];
	uint64_t v[3];
	for (int i = 0; i < 4; i++)
		if (!slice_split(&text, ' ', &part[i]))
			return false;
	for (int i = 0; i < 3; i++)
		if (!slice_u64(part[i + 1], &v[i]) || v[i] > INT32_MAX)
			return false;
	*t = (struct wire_topic){
		.name = part[0], .read_queues = (uint32_t)v[0], .write_queues = (uint32_t)v[1], .perm = (uint32_t)v[2]
	};
	return t->name.n > 0;
}

static const char *unpack(struct slice rest, struct wire_topics *t)
{
	struct slice text;
	uint32_t n;
	const char *why;
	enum { TOPIC_MIN = 4 }; /* a topic's length word */
	if (!take_text(&rest, &text))
		return "packed registration is cut off";
	if (!wire_data_version_decode(text, &t->version, &why))
		return why;
	if (!take_u32(&rest, &n) || n > rest.n / TOPIC_MIN)
		return "packed registration is cut off";
	t->v = doc_array(&t->doc, n, sizeof(*t->v));
	for (uint32_t i = 0; i < n; i++) {
		if (!take_text(&rest, &text))
			return "packed registration is cut off";
		if (!topic_of_text(text, &t->v[t->n++]))
			return "packed registration has a malformed topic";
	}
	return NULL; /* filter servers and queue mappings follow; nobody here asks for them */
}

static bool register_packed(struct slice body, struct wire_topics *ret, const char **ret_why)
{
	struct wire_topics t = {0};
	struct buf plain = {.max = WIRE_INFLATED_MAX};
	const char *why = body.n > WIRE_BODY_MAX ? "registration is over the limit" : inflate_into(body, &plain);
	if (why == NULL) {
		uint8_t *copy = doc_array(&t.doc, plain.n, 1);
		if (plain.n > 0)
			memcpy(copy, plain.p, plain.n);
		why = unpack(slice_of(copy, plain.n), &t);
	}
	buf_fini(&plain);
	if (why != NULL)
		return doc_refuse(&t.doc, ret_why, why);
	*ret = t;
	return true;
}

bool wire_register_decode(struct slice body, bool compressed, int32_t request_version, struct wire_topics *ret,
                          const char **ret_why)
{
	if (body.n == 0) {
		*ret = (struct wire_topics){0};
		return true;
	}
	return compressed ? register_packed(body, ret, ret_why) : register_json(body, request_version, ret, ret_why);
}

/* ---- Groups ------------------------------------------------------------------------------------------------------ */

void wire_group_default(struct wire_group *g)
{
	*g = (struct wire_group){
		.consume = true, .from_min = true, .broadcast = true, .notify = true, .retry_queues = 1, .retry_max = 16,
		.slow_broker_id = 1, .consume_timeout_min = 15,
	};
}

static void put_bool(struct buf *b, const char *key, bool v)
{
	doc_key(b, false, key);
	buf_str(b, v ? "true" : "false");
}

static void put_int(struct buf *b, const char *key, int64_t v)
{
	doc_key(b, false, key);
	buf_i64_dec(b, v);
}

void wire_group(struct buf *b, const struct wire_group *g)
{
	buf_str(b, "{\"attributes\":{}");
	put_int(b, "brokerId", g->broker_id);
	put_bool(b, "consumeBroadcastEnable", g->broadcast);
	put_bool(b, "consumeEnable", g->consume);
	put_bool(b, "consumeFromMinEnable", g->from_min);
	put_bool(b, "consumeMessageOrderly", g->orderly);
	put_int(b, "consumeTimeoutMinute", g->consume_timeout_min);
	doc_key(b, false, "groupName");
	buf_json_str(b, g->name);
	buf_str(b, ",\"groupRetryPolicy\":{\"type\":\"CUSTOMIZED\"}");
	put_int(b, "groupSysFlag", g->sys_flag);
	put_bool(b, "notifyConsumerIdsChangedEnable", g->notify);
	put_int(b, "retryMaxTimes", g->retry_max);
	put_int(b, "retryQueueNums", g->retry_queues);
	put_int(b, "whichBrokerWhenConsumeSlowly", g->slow_broker_id);
	buf_u8(b, '}');
}

bool wire_group_decode(struct slice body, struct wire_doc *doc, struct wire_group *ret, const char **ret_why)
{
	struct wire_group g;
	const char *fault = NULL;
	*doc = (struct wire_doc){NULL, NULL};
	if (!doc_parse(doc, body, DOC_BYTES_SMALL, DOC_VALUES_SMALL, ret_why))
		return false;
	const json_t *o = doc->json;
	wire_group_default(&g);
	g.name = doc_str(o, "groupName", &fault);
	g.consume = doc_bool(o, "consumeEnable", g.consume, &fault);
	g.from_min = doc_bool(o, "consumeFromMinEnable", g.from_min, &fault);
	g.broadcast = doc_bool(o, "consumeBroadcastEnable", g.broadcast, &fault);
	g.orderly = doc_bool(o, "consumeMessageOrderly", g.orderly, &fault);
	g.notify = doc_bool(o, "notifyConsumerIdsChangedEnable", g.notify, &fault);
	g.retry_queues = (int32_t)doc_range(o, "retryQueueNums", g.retry_queues, 0, INT32_MAX, &fault);
	g.retry_max = (int32_t)doc_range(o, "retryMaxTimes", g.retry_max, INT32_MIN, INT32_MAX, &fault);
	g.broker_id = doc_int(o, "brokerId", g.broker_id, &fault);
	g.slow_broker_id = doc_int(o, "whichBrokerWhenConsumeSlowly", g.slow_broker_id, &fault);
	g.sys_flag = (int32_t)doc_range(o, "groupSysFlag", g.sys_flag, INT32_MIN, INT32_MAX, &fault);
	g.consume_timeout_min = (int32_t)doc_range(o, "consumeTimeoutMinute", g.consume_timeout_min, 0, INT32_MAX, &fault);
	if (g.name.n == 0 && fault == NULL)
		fault = "groupName";
	if (fault != NULL)
		return doc_refuse(doc, ret_why, fault);
	*ret = g;
	return true;
}

void wire_groups(struct buf *b, const struct wire_data_version *version, const struct wire_group *v, size_t n)
{
	buf_str(b, "{\"dataVersion\":");
	wire_data_version(b, version);
	buf_str(b, ",\"forbiddenTable\":{},\"subscriptionGroupTable\":{");
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_u8(b, ',');
		buf_json_str(b, v[i].name);
		buf_u8(b, ':');
		wire_group(b, &v[i]);
	}
	buf_str(b, "}}");
}
