/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Bodies that clients and brokers exchange about members: heartbeats, client checks, queue locks, consumer ids, resets.
 */
#include "wire/doc.h"

static const char *const consume_types[] = {"CONSUME_ACTIVELY", "CONSUME_PASSIVELY", "CONSUME_POP"};
static const char *const message_models[] = {"BROADCASTING", "CLUSTERING"};
static const char *const consume_froms[] = {
	"CONSUME_FROM_LAST_OFFSET", "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST", "CONSUME_FROM_MIN_OFFSET",
	"CONSUME_FROM_MAX_OFFSET", "CONSUME_FROM_FIRST_OFFSET", "CONSUME_FROM_TIMESTAMP"
};
enum { TYPE_PASSIVELY = 1, MODEL_CLUSTER = 1, FROM_LAST = 0 }; /* what an absent enum means */

static void sub_of(const json_t *o, struct wire_sub *s, const char **fault)
{
	s->topic = doc_str(o, "topic", fault);
	s->expr = doc_str(o, "subString", fault);
	s->expr_type = doc_str(o, "expressionType", fault);
	if (s->expr_type.n == 0)
		s->expr_type = SLICE_LIT("TAG");
	s->version = doc_int(o, "subVersion", 0, fault);
	s->class_filter = doc_bool(o, "classFilterMode", false, fault);
	if (s->topic.n == 0 && *fault == NULL)
		*fault = "topic";
}

static void consumer_of(struct wire_doc *d, const json_t *o, struct wire_consumer *c, const char **fault)
{
	c->group = doc_str(o, "groupName", fault);
	c->type = doc_enum(o, "consumeType", consume_types, 3, TYPE_PASSIVELY, fault);
	c->model = doc_enum(o, "messageModel", message_models, 2, MODEL_CLUSTER, fault);
	c->from = doc_enum(o, "consumeFromWhere", consume_froms, 6, FROM_LAST, fault);
	c->unit_mode = doc_bool(o, "unitMode", false, fault);
	if (c->group.n == 0 && *fault == NULL)
		*fault = "groupName";
	json_t *subs = doc_list(o, "subscriptionDataSet", fault);
	c->n_subs = json_array_size(subs);
	c->subs = doc_array(d, c->n_subs, sizeof(*c->subs));
	for (size_t i = 0; i < c->n_subs; i++)
		sub_of(json_array_get(subs, i), &c->subs[i], fault);
}

bool wire_heartbeat_decode(struct slice body, struct wire_heartbeat *ret, const char **ret_why)
{
	struct wire_heartbeat h = {0};
	const char *fault = NULL;
	if (!doc_parse(&h.doc, body, DOC_BYTES_SMALL, DOC_VALUES_SMALL, ret_why))
		return false;
	h.client_id = doc_str(h.doc.json, "clientID", &fault);
	if (h.client_id.n == 0 && fault == NULL)
		fault = "clientID";
	h.fingerprint = (int32_t)doc_range(h.doc.json, "heartbeatFingerprint", 0, INT32_MIN, INT32_MAX, &fault);
	h.without_sub = doc_bool(h.doc.json, "withoutSub", false, &fault);

	json_t *consumers = doc_list(h.doc.json, "consumerDataSet", &fault);
	h.n_consumers = json_array_size(consumers);
	h.consumers = doc_array(&h.doc, h.n_consumers, sizeof(*h.consumers));
	for (size_t i = 0; i < h.n_consumers; i++)
		consumer_of(&h.doc, json_array_get(consumers, i), &h.consumers[i], &fault);

	json_t *producers = doc_list(h.doc.json, "producerDataSet", &fault);
	h.n_producers = json_array_size(producers);
	h.producers = doc_array(&h.doc, h.n_producers, sizeof(*h.producers));
	for (size_t i = 0; i < h.n_producers; i++) {
		h.producers[i] = doc_str(json_array_get(producers, i), "groupName", &fault);
		if (h.producers[i].n == 0 && fault == NULL)
			fault = "groupName";
	}
	if (fault != NULL)
		return doc_refuse(&h.doc, ret_why, fault);
	*ret = h;
	return true;
}

bool wire_client_config_decode(struct slice body, struct wire_client_config *ret, const char **ret_why)
{
	struct wire_client_config c = {0};
	const char *fault = NULL;
	if (!doc_parse(&c.doc, body, DOC_BYTES_SMALL, DOC_VALUES_SMALL, ret_why))
		return false;
	c.client_id = doc_str(c.doc.json, "clientId", &fault);
	c.group = doc_str(c.doc.json, "group", &fault);
	json_t *sub = doc_object(c.doc.json, "subscriptionData", &fault);
	c.has_sub = sub != NULL;
	if (c.has_sub)
		sub_of(sub, &c.sub, &fault);
	if (fault != NULL)
		return doc_refuse(&c.doc, ret_why, fault);
	*ret = c;
	return true;
}

bool wire_locks_decode(struct slice body, struct wire_locks *ret, const char **ret_why)
{
	struct wire_locks l = {0};
	const char *fault = NULL;
	if (!doc_parse(&l.doc, body, DOC_BYTES_SMALL, DOC_VALUES_SMALL, ret_why))
		return false;
	l.client_id = doc_str(l.doc.json, "clientId", &fault);
	l.group = doc_str(l.doc.json, "consumerGroup", &fault);
	if (fault == NULL && (l.client_id.n == 0 || l.group.n == 0))
		fault = l.client_id.n == 0 ? "clientId" : "consumerGroup";
	json_t *set = doc_list(l.doc.json, "mqSet", &fault);
	l.n = json_array_size(set);
	l.v = doc_array(&l.doc, l.n, sizeof(*l.v));
	for (size_t i = 0; i < l.n; i++) {
		const json_t *o = json_array_get(set, i);
		l.v[i].topic = doc_str(o, "topic", &fault);
		l.v[i].broker = doc_str(o, "brokerName", &fault);
		l.v[i].queue = (int32_t)doc_range(o, "queueId", -1, INT32_MIN, INT32_MAX, &fault);
		if (l.v[i].topic.n == 0 && fault == NULL)
			fault = "topic";
	}
	if (fault != NULL)
		return doc_refuse(&l.doc, ret_why, fault);
	*ret = l;
	return true;
}

static void put_mq(struct buf *b, const struct wire_mq *q)
{
	buf_str(b, "{\"brokerName\":");
	buf_json_str(b, q->broker);
	buf_str(b, ",\"queueId\":");
	buf_i64_dec(b, q->queue);
	buf_str(b, ",\"topic\":");
	buf_json_str(b, q->topic);
	buf_u8(b, '}');
}

void wire_locks_answer(struct buf *b, const struct wire_mq *v, const bool *granted, size_t n)
{
	bool any = false;
	buf_str(b, "{\"lockOKMQSet\":[");
	for (size_t i = 0; i < n; i++) {
		if (granted != NULL && !granted[i])
			continue;
		if (any)
			buf_u8(b, ',');
		any = true;
		put_mq(b, &v[i]);
	}
	buf_str(b, "]}");
}

void wire_consumer_ids(struct buf *b, const struct slice *ids, size_t n)
{
	buf_str(b, "{\"consumerIdList\":[");
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_u8(b, ',');
		buf_json_str(b, ids[i]);
	}
	buf_str(b, "]}");
}

void wire_reset_body(struct buf *b, const struct wire_mq *v, const int64_t *offsets, size_t n, bool as_list)
{
	buf_str(b, as_list ? "{\"offsetTable\":[" : "{\"offsetTable\":{");
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_u8(b, ',');
		if (!as_list) {
			put_mq(b, &v[i]);
			buf_u8(b, ':');
			buf_i64_dec(b, offsets[i]);
			continue;
		}
		buf_str(b, "{\"brokerName\":");
		buf_json_str(b, v[i].broker);
		buf_str(b, ",\"offset\":");
		buf_i64_dec(b, offsets[i]);
		buf_str(b, ",\"queueId\":");
		buf_i64_dec(b, v[i].queue);
		buf_str(b, ",\"topic\":");
		buf_json_str(b, v[i].topic);
		buf_u8(b, '}');
	}
	buf_str(b, as_list ? "]}" : "}}");
}
