/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Bodies: the first byte picks the decoder, the rest is the body. What was accepted is written again, and that must be
 * accepted too.
 */
#include "base/obj.h"
#include "wire/bodies.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *why;

static void again(const struct wire_topics *t)
{
	struct wire_topics back;
	struct buf b = {0};
	wire_register(&b, &t->version, t->v, t->n);
	CHECK(wire_register_decode(buf_view(&b), false, 479, &back, &why));
	CHECK(back.n <= t->n && wire_data_version_eq(&back.version, &t->version));
	wire_doc_fini(&back.doc);
	buf_fini(&b);
}

static void lists(struct slice body)
{
	struct wire_doc d;
	struct wire_pair *pairs;
	struct wire_kv *kv;
	struct slice name, value;
	size_t n;
	struct buf b = {0};
	if (wire_table_decode(body, &d, &pairs, &n, &why)) {
		struct wire_table t;
		wire_table_begin(&t, &b);
		for (size_t i = 0; i < n; i++)
			wire_table_put(&t, pairs[i].name, pairs[i].value);
		wire_table_end(&t);
		wire_doc_fini(&d);
		CHECK(wire_table_decode(buf_view(&b), &d, &pairs, &n, &why));
		wire_doc_fini(&d);
	}
	if (wire_kv_decode(body, &d, &kv, &n, &why)) {
		buf_reset(&b);
		wire_kv(&b, kv, n);
		wire_doc_fini(&d);
		CHECK(wire_kv_decode(buf_view(&b), &d, &kv, &n, &why));
		wire_doc_fini(&d);
	}
	while (wire_properties_next(&body, &name, &value))
		wire_properties_put(&b, name, value);
	buf_fini(&b);
}

static void clients(struct slice body)
{
	struct wire_heartbeat h;
	struct wire_client_config c;
	struct wire_locks l;
	struct buf b = {0};
	if (wire_heartbeat_decode(body, &h, &why)) {
		wire_consumer_ids(&b, h.producers, h.n_producers);
		wire_doc_fini(&h.doc);
	}
	if (wire_client_config_decode(body, &c, &why))
		wire_doc_fini(&c.doc);
	if (wire_locks_decode(body, &l, &why)) {
		wire_locks_answer(&b, l.v, NULL, l.n);
		wire_doc_fini(&l.doc);
	}
	buf_fini(&b);
}

static void brokers(struct slice body)
{
	struct wire_route r;
	struct wire_cluster_info info;
	struct wire_doc d;
	struct wire_group g;
	struct wire_topic t;
	struct wire_data_version v;
	struct buf b = {0};
	if (wire_route_decode(body, &r, &why)) {
		wire_route(&b, &r);
		wire_doc_fini(&r.doc);
		CHECK(wire_route_decode(buf_view(&b), &r, &why));
		wire_doc_fini(&r.doc);
	}
	if (wire_cluster_info_decode(body, &info, &why)) {
		wire_cluster_info(&b, info.brokers, info.n_brokers);
		wire_doc_fini(&info.doc);
	}
	if (wire_group_decode(body, &d, &g, &why)) {
		wire_group(&b, &g);
		wire_doc_fini(&d);
	}
	if (wire_topic_decode(body, &d, &t, &why)) {
		wire_topic(&b, &t);
		wire_doc_fini(&d);
	}
	if (wire_data_version_decode(body, &v, &why))
		wire_data_version(&b, &v);
	buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct slice body = {data + 1, size - 1};
	struct wire_topics t;
	switch (data[0] % 6) {
	case 0:
		clients(body);
		break;
	case 1:
		brokers(body);
		break;
	case 2:
		lists(body);
		break;
	case 3:
		if (wire_topics_decode(body, &t, &why)) {
			again(&t);
			wire_doc_fini(&t.doc);
		}
		break;
	default:
		if (wire_register_decode(body, data[0] % 6 == 4, data[0] < 128 ? 479 : 36, &t, &why)) {
			if (data[0] % 6 == 5) /* packed topics may have names that are not UTF-8 */
				again(&t);
			wire_doc_fini(&t.doc);
		}
		break;
	}
	return 0;
}
