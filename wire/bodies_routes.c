/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Bodies about brokers and routes, and plain lists and tables. */
#include <stdlib.h>

#include "wire/doc.h"

static void comma(struct buf *b, size_t i)
{
	if (i > 0)
		buf_u8(b, ',');
}

/* {"0":"ip:port",...} */
static void put_addrs(struct buf *b, const struct wire_broker_data *d)
{
	buf_u8(b, '{');
	for (size_t i = 0; i < d->n_addrs; i++) {
		comma(b, i);
		buf_u8(b, '"');
		buf_i64_dec(b, d->addrs[i].id);
		buf_str(b, "\":");
		buf_json_str(b, d->addrs[i].addr);
	}
	buf_u8(b, '}');
}

static void put_broker(struct buf *b, const struct wire_broker_data *d)
{
	buf_str(b, "{\"brokerAddrs\":");
	put_addrs(b, d);
	buf_str(b, ",\"brokerName\":");
	buf_json_str(b, d->broker);
	buf_str(b, ",\"cluster\":");
	buf_json_str(b, d->cluster);
	buf_str(b, ",\"enableActingMaster\":");
	buf_str(b, d->acting_master ? "true}" : "false}");
}

static void put_queue(struct buf *b, const struct wire_queue_data *q)
{
	buf_str(b, "{\"brokerName\":");
	buf_json_str(b, q->broker);
	buf_str(b, ",\"perm\":");
	buf_u64_dec(b, q->perm);
	buf_str(b, ",\"readQueueNums\":");
	buf_u64_dec(b, q->read_queues);
	buf_str(b, ",\"topicSysFlag\":");
	buf_u64_dec(b, q->sys_flag);
	buf_str(b, ",\"writeQueueNums\":");
	buf_u64_dec(b, q->write_queues);
	buf_u8(b, '}');
}

void wire_route(struct buf *b, const struct wire_route *r)
{
	buf_str(b, "{\"brokerDatas\":[");
	for (size_t i = 0; i < r->n_brokers; i++) {
		comma(b, i);
		put_broker(b, &r->brokers[i]);
	}
	buf_str(b, "],\"filterServerTable\":{}");
	if (r->order_conf.n > 0) {
		buf_str(b, ",\"orderTopicConf\":");
		buf_json_str(b, r->order_conf);
	}
	buf_str(b, ",\"queueDatas\":[");
	for (size_t i = 0; i < r->n_queues; i++) {
		comma(b, i);
		put_queue(b, &r->queues[i]);
	}
	buf_str(b, "]}");
}

static void broker_of(struct wire_doc *d, const json_t *o, struct wire_broker_data *to, const char **fault)
{
	json_t *addrs = doc_object(o, "brokerAddrs", fault), *value;
	const char *key;
	size_t length;
	to->broker = doc_str(o, "brokerName", fault);
	to->cluster = doc_str(o, "cluster", fault);
	to->acting_master = doc_bool(o, "enableActingMaster", false, fault);
	to->addrs = doc_array(d, json_object_size(addrs), sizeof(*to->addrs));
	json_object_keylen_foreach(addrs, key, length, value) {
		struct wire_addr *a = &to->addrs[to->n_addrs++];
		if (!slice_i64(slice_of(key, length), &a->id) || !json_is_string(value)) {
			*fault = "brokerAddrs";
			return;
		}
		a->addr = doc_text(value);
	}
}

static void queue_of(const json_t *o, struct wire_queue_data *q, const char **fault)
{
	q->broker = doc_str(o, "brokerName", fault);
	q->perm = (uint32_t)doc_range(o, "perm", 0, 0, INT32_MAX, fault);
	q->read_queues = (uint32_t)doc_range(o, "readQueueNums", 0, 0, INT32_MAX, fault);
	q->write_queues = (uint32_t)doc_range(o, "writeQueueNums", 0, 0, INT32_MAX, fault);
	q->sys_flag = (uint32_t)doc_range(o, "topicSysFlag", 0, 0, INT32_MAX, fault);
	if (q->broker.n == 0 && *fault == NULL)
		*fault = "brokerName";
}

bool wire_route_decode(struct slice body, struct wire_route *ret, const char **ret_why)
{
	struct wire_route r = {0};
	const char *fault = NULL;
	if (!doc_parse(&r.doc, body, WIRE_BODY_MAX, DOC_VALUES_SMALL, ret_why))
		return false;
	json_t *brokers = doc_list(r.doc.json, "brokerDatas", &fault), *queues = doc_list(r.doc.json, "queueDatas", &fault);
	r.order_conf = doc_str(r.doc.json, "orderTopicConf", &fault);
	r.n_brokers = json_array_size(brokers);
	r.brokers = doc_array(&r.doc, r.n_brokers, sizeof(*r.brokers));
	for (size_t i = 0; i < r.n_brokers; i++)
		broker_of(&r.doc, json_array_get(brokers, i), &r.brokers[i], &fault);
	r.n_queues = json_array_size(queues);
	r.queues = doc_array(&r.doc, r.n_queues, sizeof(*r.queues));
	for (size_t i = 0; i < r.n_queues; i++)
		queue_of(json_array_get(queues, i), &r.queues[i], &fault);
	if (fault != NULL)
		return doc_refuse(&r.doc, ret_why, fault);
	*ret = r;
	return true;
}

/* True when an earlier broker is of the same cluster: that one has listed them all. */
static bool cluster_listed(const struct wire_broker_data *v, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (slice_eq(v[k].cluster, v[i].cluster))
			return true;
	return false;
}

void wire_cluster_info(struct buf *b, const struct wire_broker_data *v, size_t n)
{
	bool any = false;
	buf_str(b, "{\"brokerAddrTable\":{");
	for (size_t i = 0; i < n; i++) {
		comma(b, i);
		buf_json_str(b, v[i].broker);
		buf_u8(b, ':');
		put_broker(b, &v[i]);
	}
	buf_str(b, "},\"clusterAddrTable\":{");
	for (size_t i = 0; i < n; i++) {
		if (cluster_listed(v, i))
			continue;
		comma(b, any);
		any = true;
		buf_json_str(b, v[i].cluster);
		buf_str(b, ":[");
		for (size_t k = i; k < n; k++) {
			if (!slice_eq(v[k].cluster, v[i].cluster))
				continue;
			comma(b, k > i);
			buf_json_str(b, v[k].broker);
		}
		buf_u8(b, ']');
	}
	buf_str(b, "}}");
}

bool wire_cluster_info_decode(struct slice body, struct wire_cluster_info *ret, const char **ret_why)
{
	struct wire_cluster_info c = {0};
	const char *fault = NULL, *key;
	json_t *value;
	if (!doc_parse(&c.doc, body, WIRE_BODY_MAX, DOC_VALUES_SMALL, ret_why))
		return false;
	json_t *table = doc_object(c.doc.json, "brokerAddrTable", &fault);
	c.brokers = doc_array(&c.doc, json_object_size(table), sizeof(*c.brokers));
	json_object_foreach(table, key, value)
		broker_of(&c.doc, value, &c.brokers[c.n_brokers++], &fault);
	if (fault != NULL)
		return doc_refuse(&c.doc, ret_why, fault);
	*ret = c;
	return true;
}

void wire_member_group(struct buf *b, const struct wire_broker_data *d)
{
	buf_str(b, "{\"brokerMemberGroup\":{\"brokerAddrs\":");
	put_addrs(b, d);
	buf_str(b, ",\"brokerName\":");
	buf_json_str(b, d->broker);
	buf_str(b, ",\"cluster\":");
	buf_json_str(b, d->cluster);
	buf_str(b, "}}");
}

/* ---- Lists and tables -------------------------------------------------------------------------------------------- */

static void put_names(struct buf *b, const char *key, bool first, const struct slice *names, size_t n)
{
	doc_key(b, first, key);
	buf_u8(b, '[');
	for (size_t i = 0; i < n; i++) {
		comma(b, i);
		buf_json_str(b, names[i]);
	}
	buf_str(b, "]}");
}

void wire_topic_list(struct buf *b, const struct slice *names, size_t n, struct slice broker_addr)
{
	buf_u8(b, '{');
	if (broker_addr.n > 0) {
		doc_key(b, true, "brokerAddr");
		buf_json_str(b, broker_addr);
	}
	put_names(b, "topicList", broker_addr.n == 0, names, n);
}

void wire_group_list(struct buf *b, const struct slice *names, size_t n)
{
	buf_u8(b, '{');
	put_names(b, "groupList", true, names, n);
}

void wire_table_begin(struct wire_table *t, struct buf *b)
{
	*t = (struct wire_table){.buf = b};
	buf_str(b, "{\"table\":{");
}

void wire_table_put(struct wire_table *t, struct slice name, struct slice value)
{
	comma(t->buf, t->any);
	t->any = true;
	buf_json_str(t->buf, name);
	buf_u8(t->buf, ':');
	buf_json_str(t->buf, value);
}

void wire_table_end(struct wire_table *t)
{
	buf_str(t->buf, "}}");
}

/* A scalar as text; false for objects and arrays. */
static bool scalar(struct wire_doc *d, const json_t *v, struct slice *ret)
{
	if (json_is_string(v)) {
		*ret = doc_text(v);
		return true;
	}
	char *text = json_is_object(v) || json_is_array(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY);
	if (text == NULL)
		return false;
	size_t n = strlen(text);
	uint8_t *copy = doc_array(d, n + 1, 1);
	memcpy(copy, text, n);
	free(text);
	*ret = slice_of(copy, n);
	return true;
}

bool wire_table_decode(struct slice body, struct wire_doc *doc, struct wire_pair **ret, size_t *ret_n,
                       const char **ret_why)
{
	const char *fault = NULL, *key;
	size_t n = 0, length;
	json_t *value;
	*doc = (struct wire_doc){NULL, NULL};
	if (!doc_parse(doc, body, WIRE_BODY_MAX, DOC_VALUES_SMALL, ret_why))
		return false;
	json_t *table = doc_object(doc->json, "table", &fault);
	if (fault != NULL)
		return doc_refuse(doc, ret_why, fault);
	struct wire_pair *v = doc_array(doc, json_object_size(table), sizeof(*v));
	json_object_keylen_foreach(table, key, length, value) {
		if (json_is_null(value))
			continue;
		v[n].name = slice_of(key, length);
		if (!scalar(doc, value, &v[n].value))
			return doc_refuse(doc, ret_why, "table");
		n++;
	}
	*ret = v;
	*ret_n = n;
	return true;
}

/* ---- The KV configuration as it is kept -------------------------------------------------------------------------- */

void wire_kv(struct buf *b, const struct wire_kv *v, size_t n)
{
	buf_str(b, "{\"configTable\":{");
	for (size_t i = 0; i < n; i++) {
		bool first = i == 0 || !slice_eq(v[i].space, v[i - 1].space);
		if (first) {
			buf_str(b, i == 0 ? "" : "},");
			buf_json_str(b, v[i].space);
			buf_str(b, ":{");
		} else {
			buf_u8(b, ',');
		}
		buf_json_str(b, v[i].key);
		buf_u8(b, ':');
		buf_json_str(b, v[i].value);
	}
	buf_str(b, n == 0 ? "}}" : "}}}");
}

bool wire_kv_decode(struct slice text, struct wire_doc *doc, struct wire_kv **ret, size_t *ret_n, const char **ret_why)
{
	const char *fault = NULL, *space, *key;
	size_t n = 0, count = 0, space_n, key_n;
	json_t *keys, *value;
	*doc = (struct wire_doc){NULL, NULL};
	if (!doc_parse(doc, text, WIRE_BODY_MAX, DOC_VALUES_LARGE, ret_why))
		return false;
	json_t *table = doc_object(doc->json, "configTable", &fault);
	if (fault != NULL)
		return doc_refuse(doc, ret_why, fault);
	json_object_keylen_foreach(table, space, space_n, keys)
		count += json_object_size(keys);
	struct wire_kv *v = doc_array(doc, count, sizeof(*v));
	json_object_keylen_foreach(table, space, space_n, keys) {
		json_object_keylen_foreach(keys, key, key_n, value) {
			v[n].space = slice_of(space, space_n);
			v[n].key = slice_of(key, key_n);
			if (!scalar(doc, value, &v[n].value))
				return doc_refuse(doc, ret_why, "configTable");
			n++;
		}
	}
	*ret = v;
	*ret_n = n;
	return true;
}
