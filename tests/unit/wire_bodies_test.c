/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* JSON bodies: every variant that a known client sends, what must be refused, and what we write, to the letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <zlib.h>

#include "base/be.h"
#include "base/mem.h"
#include "wire/bodies.h"

static const char *why;

static void assert_text(struct buf *b, const char *want)
{
	assert_string_equal(buf_cstr(b), want);
	buf_reset(b);
}

/* ---- Heartbeats -------------------------------------------------------------------------------------------------- */

static void heartbeat_of_java(void **state)
{
	(void)state;
	struct wire_heartbeat h;
	assert_true(wire_heartbeat_decode(SLICE_LIT("{\"clientID\":\"10.0.0.1@1234#567\",\"consumerDataSet\":[{\"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\","
		"\"consumeType\":\"CONSUME_ACTIVELY\",\"groupName\":\"g\",\"messageModel\":\"BROADCASTING\",\"subscriptionDataSet\":[{\"classFilterMode\":false,"
		"\"codeSet\":[2598919],\"expressionType\":\"TAG\",\"subString\":\"TagA\",\"subVersion\":1700000000000,"
		"\"tagsSet\":[\"TagA\"],\"topic\":\"T\"},"
		"{\"classFilterMode\":false,\"codeSet\":[],\"expressionType\":\"SQL92\",\"subString\":\"a > 1\",\"subVersion\":2,"
		"\"tagsSet\":[],\"topic\":\"%RETRY%g\"}],"
		"\"unitMode\":true}],\"heartbeatFingerprint\":-7,"
		"\"producerDataSet\":[{\"groupName\":\"pg\"},{\"groupName\":\"CLIENT_INNER_PRODUCER\"}],"
		"\"withoutSub\":true}"), &h, &why));
	assert_true(slice_eq_str(h.client_id, "10.0.0.1@1234#567"));
	assert_int_equal(h.fingerprint, -7);
	assert_true(h.without_sub);
	assert_int_equal(h.n_consumers, 1);
	const struct wire_consumer *c = &h.consumers[0];
	assert_true(slice_eq_str(c->group, "g"));
	assert_int_equal(c->type, 0);
	assert_int_equal(c->model, 0);
	assert_int_equal(c->from, 4);
	assert_true(c->unit_mode);
	assert_int_equal(c->n_subs, 2);
	assert_true(slice_eq_str(c->subs[0].topic, "T") && slice_eq_str(c->subs[0].expr, "TagA"));
	assert_true(slice_eq_str(c->subs[0].expr_type, "TAG"));
	assert_true(c->subs[0].version == 1700000000000);
	assert_true(slice_eq_str(c->subs[1].topic, "%RETRY%g") && slice_eq_str(c->subs[1].expr_type, "SQL92"));
	assert_int_equal(h.n_producers, 2);
	assert_true(slice_eq_str(h.producers[1], "CLIENT_INNER_PRODUCER"));
	wire_doc_fini(&h.doc);
}

static void heartbeat_of_cpp(void **state)
{
	(void)state;
	struct wire_heartbeat h;
	assert_true(wire_heartbeat_decode(SLICE_LIT("{\"clientID\":\"c\",\"consumerDataSet\":[{\"consumeFromWhere\":5,"
		"\"consumeType\":1,\"groupName\":\"g\","
		"\"messageModel\":1,"
		"\"subscriptionDataSet\":[{\"subString\":\"*\",\"subVersion\":\"1700000000000\",\"topic\":\"T\"}]}]}\n"), &h,
		&why));
	assert_int_equal(h.n_producers, 0);
	assert_int_equal(h.consumers[0].from, 5);
	assert_int_equal(h.consumers[0].type, 1);
	assert_int_equal(h.consumers[0].model, 1);
	assert_true(h.consumers[0].subs[0].version == 1700000000000);
	assert_true(slice_eq_str(h.consumers[0].subs[0].expr_type, "TAG"));
	assert_false(h.without_sub);
	wire_doc_fini(&h.doc);
}

static void heartbeat_of_go(void **state)
{
	(void)state;
	struct wire_heartbeat h;
	assert_true(wire_heartbeat_decode(SLICE_LIT("{\"clientID\":\"10.0.0.1@77\",\"producerDataSet\":[],"
		"\"consumerDataSet\":[{\"groupName\":\"g\",\"consumeType\":\"CONSUME_PASSIVELY\","
		"\"messageModel\":\"Clustering\",\"consumeFromWhere\":\"CONSUME_FROM_LAST_OFFSET\",\"subscriptionDataSet\":[{\"classFilterMode\":false,\"topic\":\"T\","
		"\"subString\":\"TagA\",\"tagsSet\":[\"TagA\"],\"codeSet\":[\"2598919\"],\"subVersion\":1700000000000000001,"
		"\"expressionType\":\"\"}],\"unitMode\":false}]}"),
		&h, &why) == false); /* an unknown name of a model is not guessed at */
	assert_string_equal(why, "messageModel");
	assert_true(wire_heartbeat_decode(SLICE_LIT("{\"clientID\":\"10.0.0.1@77\",\"producerDataSet\":null,"
		"\"consumerDataSet\":[{\"groupName\":\"g\",\"consumeType\":\"CONSUME_PASSIVELY\","
		"\"messageModel\":\"CLUSTERING\",\"consumeFromWhere\":\"CONSUME_FROM_LAST_OFFSET\",\"subscriptionDataSet\":[{\"classFilterMode\":false,\"topic\":\"T\","
		"\"subString\":\"TagA\",\"tagsSet\":[\"TagA\"],\"codeSet\":[\"2598919\"],\"subVersion\":1700000000000000001,"
		"\"expressionType\":\"\"}],\"unitMode\":false}]}"),
		&h, &why));
	assert_true(h.consumers[0].subs[0].version == 1700000000000000001);
	assert_true(slice_eq_str(h.consumers[0].subs[0].expr_type, "TAG"));
	wire_doc_fini(&h.doc);
}

static void heartbeats_that_are_refused(void **state)
{
	static const struct { const char *body, *why; } bad[] = {
		{"", "document is not JSON"}, {"{}", "clientID"}, {"{\"clientID\":5}", "clientID"},
		{"{\"clientID\":\"\"}", "clientID"},
		{"{\"clientID\":\"c\",\"consumerDataSet\":{}}", "consumerDataSet"},
		{"{\"clientID\":\"c\",\"consumerDataSet\":[5]}", "groupName"},
		{"{\"clientID\":\"c\",\"producerDataSet\":[null]}", "groupName"},
		{"{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"consumeType\":3}]}", "consumeType"},
		{"{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[{}]}]}", "topic"},
		{"{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[{\"topic\":\"T\",\"subVersion\":\"x\"}]}]}", "subVersion"},
		{"{\"clientID\":\"\xff\"}", "document is not JSON"}, {"{\"clientID\":\"c\"} {}", "document is not JSON"},
		{"{a:1}", "document has a key that is neither text, integer nor object"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct wire_heartbeat h;
		if (wire_heartbeat_decode(slice_str(bad[i].body), &h, &why))
			fail_msg("accepted: %s", bad[i].body);
		assert_string_equal(why, bad[i].why);
	}
}

static void depth_and_size_are_bounded(void **state)
{
	(void)state;
	struct wire_heartbeat h;
	struct buf b = {0};
	for (unsigned depth = WIRE_BODY_DEPTH - 1; depth <= WIRE_BODY_DEPTH; depth++) {
		buf_reset(&b);
		buf_str(&b, "{\"clientID\":\"c\",\"x\":");
		for (unsigned i = 0; i < depth; i++)
			buf_u8(&b, '[');
		for (unsigned i = 0; i < depth; i++)
			buf_u8(&b, ']');
		buf_u8(&b, '}');
		bool ok = wire_heartbeat_decode(buf_view(&b), &h, &why);
		assert_int_equal(ok, depth < WIRE_BODY_DEPTH);
		if (ok)
			wire_doc_fini(&h.doc);
	}
	assert_string_equal(why, "document is nested too deeply");
	buf_reset(&b);
	buf_str(&b, "{\"clientID\":\"c\",\"x\":[0");
	for (unsigned i = 0; i < 100001; i++)
		buf_str(&b, ",1");
	buf_str(&b, "]}");
	assert_false(wire_heartbeat_decode(buf_view(&b), &h, &why));
	assert_string_equal(why, "document has too many values");
	buf_reset(&b);
	buf_str(&b, "{\"clientID\":\"c\"");
	while (b.n <= 1u << 20)
		buf_str(&b, "                ");
	buf_u8(&b, '}');
	assert_false(wire_heartbeat_decode(buf_view(&b), &h, &why));
	assert_string_equal(why, "document is over the limit");
	buf_fini(&b);
}

/* Every prefix of a good document is refused, from a heap copy of just those bytes. */
static void a_cut_heartbeat_is_refused(void **state)
{
	static const char *const whole = "{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"x\":{1:2,{\"a\":\"}\"}:[3]}}],\"producerDataSet\":[{\"groupName\":\"p\\\"\"}]}";
	struct wire_heartbeat h;
	(void)state;
	for (size_t n = 0; n <= strlen(whole); n++) {
		uint8_t *copy = mem_dup(whole, n);
		bool ok = wire_heartbeat_decode(slice_of(copy, n), &h, &why);
		assert_int_equal(ok, n == strlen(whole));
		if (ok)
			wire_doc_fini(&h.doc);
		mem_free(copy);
	}
}

/* ---- Clients ----------------------------------------------------------------------------------------------------- */

static void client_config_and_locks(void **state)
{
	(void)state;
	struct wire_client_config c;
	assert_true(wire_client_config_decode(SLICE_LIT("{\"clientId\":\"c\",\"group\":\"g\",\"namespace\":\"\",\"subscriptionData\":{\"topic\":\"T\",\"subString\":\"a=1\","
		"\"expressionType\":\"SQL92\",\"subVersion\":1}}"), &c, &why));
	assert_true(c.has_sub && slice_eq_str(c.sub.expr, "a=1") && slice_eq_str(c.sub.expr_type,
		"SQL92") && slice_eq_str(c.group, "g"));
	wire_doc_fini(&c.doc);

	struct wire_locks l;
	assert_true(wire_locks_decode(SLICE_LIT("{\"clientId\":\"c\",\"consumerGroup\":\"g\",\"mqSet\":[{\"brokerName\":\"b\",\"queueId\":1,\"topic\":\"T\"},"
		"{\"topic\":\"%RETRY%g\",\"brokerName\":\"b\",\"queueId\":\"0\"}],\"onlyThisBroker\":false}"), &l, &why));
	assert_int_equal(l.n, 2);
	assert_true(slice_eq_str(l.v[1].topic, "%RETRY%g") && l.v[1].queue == 0 && l.v[0].queue == 1);
	struct buf b = {0};
	bool granted[2] = {false, true};
	wire_locks_answer(&b, l.v, granted, 2);
	assert_text(&b, "{\"lockOKMQSet\":[{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"%RETRY%g\"}]}");
	wire_locks_answer(&b, l.v, NULL, 2);
	assert_text(&b, "{\"lockOKMQSet\":[{\"brokerName\":\"b\",\"queueId\":1,"
		"\"topic\":\"T\"},{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"%RETRY%g\"}]}");
	int64_t offsets[2] = {5, 0};
	wire_reset_body(&b, l.v, offsets, 2, false);
	assert_text(&b, "{\"offsetTable\":{{\"brokerName\":\"b\",\"queueId\":1,"
		"\"topic\":\"T\"}:5,{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"%RETRY%g\"}:0}}");
	wire_reset_body(&b, l.v, offsets, 1, true);
	assert_text(&b, "{\"offsetTable\":[{\"brokerName\":\"b\",\"offset\":5,\"queueId\":1,\"topic\":\"T\"}]}");
	wire_doc_fini(&l.doc);

	assert_true(wire_locks_decode(SLICE_LIT("{\"clientId\":\"c\",\"consumerGroup\":\"g\"}"), &l, &why));
	assert_int_equal(l.n, 0);
	wire_doc_fini(&l.doc);
	assert_false(wire_locks_decode(SLICE_LIT("{\"clientId\":\"c\"}"), &l, &why));
	assert_string_equal(why, "consumerGroup");

	struct slice ids[] = {SLICE_LIT("a@1"), SLICE_LIT("b\"2")};
	wire_consumer_ids(&b, ids, 2);
	assert_text(&b, "{\"consumerIdList\":[\"a@1\",\"b\\\"2\"]}");
	wire_consumer_ids(&b, NULL, 0);
	assert_text(&b, "{\"consumerIdList\":[]}");
	buf_fini(&b);
}

/* ---- Topics and registrations ------------------------------------------------------------------------------------ */

static const struct wire_topic two[] = {
	{.name = {(const uint8_t *)"T", 1}, .read_queues = 4, .write_queues = 8, .perm = 6},
	{.name = {(const uint8_t *)"%RETRY%g", 8}, .read_queues = 1, .write_queues = 1, .perm = 7},
};
static const struct wire_data_version version = {.state = 0, .timestamp = 1700000000000, .counter = 3};

static void assert_two(const struct wire_topics *t)
{
	assert_int_equal(t->n, 2);
	assert_true(wire_data_version_eq(&t->version, &version));
	for (size_t i = 0; i < 2; i++) {
		assert_true(slice_eq(t->v[i].name, two[i].name));
		assert_int_equal(t->v[i].read_queues, two[i].read_queues);
		assert_int_equal(t->v[i].write_queues, two[i].write_queues);
		assert_int_equal(t->v[i].perm, two[i].perm);
	}
}

static void topics_go_there_and_back(void **state)
{
	(void)state;
	struct buf b = {0};
	struct wire_doc d;
	struct wire_topic t = two[0];
	t.sys_flag = 2;
	t.order = true;
	wire_topic(&b, &t);
	assert_string_equal(buf_cstr(&b), "{\"attributes\":{},\"order\":true,\"perm\":6,\"readQueueNums\":4,"
		"\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"T\","
		"\"topicSysFlag\":2,\"writeQueueNums\":8}");
	struct wire_topic back;
	assert_true(wire_topic_decode(buf_view(&b), &d, &back, &why));
	assert_true(slice_eq_str(back.name, "T") && back.sys_flag == 2 && back.order && back.write_queues == 8);
	wire_doc_fini(&d);
	assert_false(wire_topic_decode(SLICE_LIT("{\"perm\":6}"), &d, &back, &why));
	assert_string_equal(why, "topicName");
	assert_false(wire_topic_decode(SLICE_LIT("{\"topicName\":\"T\",\"readQueueNums\":-1}"), &d, &back, &why));
	assert_string_equal(why, "readQueueNums");

	struct wire_topics all;
	buf_reset(&b);
	wire_topics(&b, &version, two, 2);
	assert_true(wire_topics_decode(buf_view(&b), &all, &why));
	assert_two(&all);
	wire_doc_fini(&all.doc);

	struct wire_data_version v;
	buf_reset(&b);
	wire_data_version(&b, &version);
	assert_true(wire_data_version_decode(buf_view(&b), &v, &why));
	assert_true(wire_data_version_eq(&v, &version));
	assert_true(wire_data_version_decode(SLICE_LIT("{\"counter\":{\"value\":1},\"timestamp\":5}"), &v, &why) == false);
	buf_fini(&b);
}

static void a_registration_goes_there_and_back(void **state)
{
	(void)state;
	struct buf b = {0};
	struct wire_topics t;
	wire_register(&b, &version, two, 2);
	assert_true(wire_register_decode(buf_view(&b), false, 479, &t, &why));
	assert_two(&t);
	wire_doc_fini(&t.doc);
	for (int32_t v = 407; v <= 479; v += 72) {
		buf_reset(&b);
		assert_true(wire_register_packed(&b, &version, two, 2, v));
		assert_true(wire_register_decode(buf_view(&b), true, v, &t, &why));
		assert_two(&t);
		wire_doc_fini(&t.doc);
		for (size_t n = 1; n < b.n; n++) { /* every cut is refused */
			uint8_t *copy = mem_dup(b.p, n);
			assert_false(wire_register_decode(slice_of(copy, n), true, v, &t, &why));
			mem_free(copy);
		}
	}
	assert_true(wire_register_decode(slice_of(NULL, 0), false, 479, &t, &why));
	assert_int_equal(t.n, 0);
	wire_doc_fini(&t.doc);
	assert_true(wire_register_decode(SLICE_LIT("{\"topicConfigSerializeWrapper\":null}"), false, 479, &t, &why));
	assert_int_equal(t.n, 0);
	wire_doc_fini(&t.doc);
	/* Brokers before 3.0.11 sent the inner part alone. */
	buf_reset(&b);
	wire_topics(&b, &version, two, 2);
	assert_true(wire_register_decode(buf_view(&b), false, 36, &t, &why));
	assert_two(&t);
	wire_doc_fini(&t.doc);
	buf_fini(&b);
}

/* Packs plain bytes as a registration is packed. */
static struct buf packed(const struct buf *plain)
{
	struct buf b = {0};
	uLongf n = compressBound((uLong)plain->n);
	uint8_t *to = buf_room(&b, n);
	assert_int_equal(compress(to, &n, plain->p, (uLong)plain->n), Z_OK);
	buf_used(&b, n);
	return b;
}

static void a_registration_that_inflates_too_far_is_refused(void **state)
{
	(void)state;
	struct buf plain = {0};
	size_t size = WIRE_INFLATED_MAX + 1;
	memset(buf_room(&plain, size), ' ', size);
	buf_used(&plain, size);
	struct buf b = packed(&plain);
	struct wire_topics t;
	assert_true(b.n < 100000);
	assert_false(wire_register_decode(buf_view(&b), true, 479, &t, &why));
	assert_string_equal(why, "registration is over the limit when unpacked");
	buf_fini(&plain);
	buf_fini(&b);
}

static void malformed_packed_registrations_are_refused(void **state)
{
	static const char *const topics[] = {"", "T", "T 1 2", "T 1 2 x SINGLE_TAG", " 1 2 6", "T 1 2 99999999999",
		"T -1 2 6"};
	(void)state;
	for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
		struct buf plain = {0};
		buf_be32(&plain, 2);
		buf_str(&plain, "{}");
		buf_be32(&plain, 1);
		buf_be32(&plain, (uint32_t)strlen(topics[i]));
		buf_str(&plain, topics[i]);
		struct buf b = packed(&plain);
		struct wire_topics t;
		assert_false(wire_register_decode(buf_view(&b), true, 479, &t, &why));
		assert_string_equal(why, "packed registration has a malformed topic");
		buf_fini(&plain);
		buf_fini(&b);
	}
	/* A count that the bytes cannot hold does not make memory for it. */
	struct buf plain = {0};
	buf_be32(&plain, 2);
	buf_str(&plain, "{}");
	buf_be32(&plain, 0xFFFFFFFFu);
	struct buf b = packed(&plain);
	struct wire_topics t;
	assert_false(wire_register_decode(buf_view(&b), true, 479, &t, &why));
	buf_fini(&plain);
	buf_fini(&b);
	assert_false(wire_register_decode(SLICE_LIT("not zlib"), true, 479, &t, &why));
	assert_string_equal(why, "registration cannot be unpacked");
}

static void groups_have_defaults(void **state)
{
	(void)state;
	struct buf b = {0};
	struct wire_doc d;
	struct wire_group g, back;
	wire_group_default(&g);
	g.name = SLICE_LIT("g");
	wire_group(&b, &g);
	assert_string_equal(buf_cstr(&b), "{\"attributes\":{},\"brokerId\":0,\"consumeBroadcastEnable\":true,"
		"\"consumeEnable\":true,\"consumeFromMinEnable\":true,"
		"\"consumeMessageOrderly\":false,\"consumeTimeoutMinute\":15,"
		"\"groupName\":\"g\",\"groupRetryPolicy\":{\"type\":\"CUSTOMIZED\"},\"groupSysFlag\":0,"
		"\"notifyConsumerIdsChangedEnable\":true,\"retryMaxTimes\":16,\"retryQueueNums\":1,"
		"\"whichBrokerWhenConsumeSlowly\":1}");
	assert_true(wire_group_decode(buf_view(&b), &d, &back, &why));
	assert_true(back.consume && back.notify && back.retry_max == 16 && slice_eq_str(back.name, "g"));
	wire_doc_fini(&d);
	assert_true(wire_group_decode(SLICE_LIT("{\"groupName\":\"x\",\"retryMaxTimes\":3,"
		"\"consumeBroadcastEnable\":false}"), &d, &back, &why));
	assert_true(back.retry_max == 3 && !back.broadcast && back.consume_timeout_min == 15);
	wire_doc_fini(&d);
	buf_reset(&b);
	wire_groups(&b, &version, &g, 0);
	assert_text(&b, "{\"dataVersion\":{\"counter\":3,\"stateVersion\":0,\"timestamp\":1700000000000},"
		"\"forbiddenTable\":{},\"subscriptionGroupTable\":{}}");
	buf_fini(&b);
}

/* ---- Routes ------------------------------------------------------------------------------------------------------ */

static void a_route_has_quoted_keys_and_no_blanks(void **state)
{
	(void)state;
	struct wire_addr addrs[] = {{0, SLICE_LIT("10.0.0.1:10911")}, {1, SLICE_LIT("10.0.0.2:10911")}};
	struct wire_broker_data broker = {SLICE_LIT("DefaultCluster"), SLICE_LIT("b-a"), addrs, 2, false};
	struct wire_queue_data queue = {SLICE_LIT("b-a"), 4, 4, 6, 0};
	struct wire_route r = {.brokers = &broker, .n_brokers = 1, .queues = &queue, .n_queues = 1}, back;
	struct buf b = {0};
	wire_route(&b, &r);
	assert_string_equal(buf_cstr(&b),
		"{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"10.0.0.1:10911\",\"1\":\"10.0.0.2:10911\"},\"brokerName\":\"b-a\","
		"\"cluster\":\"DefaultCluster\",\"enableActingMaster\":false}],\"filterServerTable\":{},"
		"\"queueDatas\":[{\"brokerName\":\"b-a\",\"perm\":6,"
		"\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4}]}");
	r.order_conf = SLICE_LIT("b-a:4");
	buf_reset(&b);
	wire_route(&b, &r);
	assert_true(wire_route_decode(buf_view(&b), &back, &why));
	assert_true(slice_eq_str(back.order_conf, "b-a:4"));
	assert_int_equal(back.n_brokers, 1);
	assert_int_equal(back.brokers[0].n_addrs, 2);
	assert_true(back.brokers[0].addrs[1].id == 1 && slice_eq_str(back.brokers[0].addrs[1].addr, "10.0.0.2:10911"));
	assert_true(back.n_queues == 1 && back.queues[0].perm == 6);
	wire_doc_fini(&back.doc);

	buf_reset(&b);
	wire_cluster_info(&b, &broker, 1);
	assert_string_equal(buf_cstr(&b),
		"{\"brokerAddrTable\":{\"b-a\":{\"brokerAddrs\":{\"0\":\"10.0.0.1:10911\",\"1\":\"10.0.0.2:10911\"},\"brokerName\":\"b-a\","
		"\"cluster\":\"DefaultCluster\",\"enableActingMaster\":false}},"
		"\"clusterAddrTable\":{\"DefaultCluster\":[\"b-a\"]}}");
	struct wire_cluster_info info;
	assert_true(wire_cluster_info_decode(buf_view(&b), &info, &why));
	assert_int_equal(info.n_brokers, 1);
	wire_doc_fini(&info.doc);
	buf_reset(&b);
	wire_member_group(&b, &broker);
	assert_text(&b, "{\"brokerMemberGroup\":{\"brokerAddrs\":{\"0\":\"10.0.0.1:10911\",\"1\":\"10.0.0.2:10911\"},"
		"\"brokerName\":\"b-a\",\"cluster\":\"DefaultCluster\"}}");
	buf_fini(&b);
}

static void clusters_list_their_brokers_once(void **state)
{
	(void)state;
	struct wire_broker_data v[] = {
		{SLICE_LIT("c1"), SLICE_LIT("a"), NULL, 0, false}, {SLICE_LIT("c2"), SLICE_LIT("b"), NULL, 0, false},
			{SLICE_LIT("c1"), SLICE_LIT("c"), NULL, 0, true},
	};
	struct buf b = {0};
	wire_cluster_info(&b, v, 3);
	const char *tail = strstr(buf_cstr(&b), "\"clusterAddrTable\"");
	assert_string_equal(tail, "\"clusterAddrTable\":{\"c1\":[\"a\",\"c\"],\"c2\":[\"b\"]}}");
	buf_fini(&b);
}

static void java_keys_that_are_not_text_are_read(void **state)
{
	(void)state;
	struct wire_route r;
	assert_true(wire_route_decode(SLICE_LIT("{\"brokerDatas\":[{\"brokerAddrs\":{0:\"1.2.3.4:1\" , 1 : \"1.2.3.5:1\"},"
		"\"brokerName\":\"b\",\"cluster\":\"c\"}],"
		"\"filterServerTable\":{},\"queueDatas\":[]}"), &r, &why));
	assert_int_equal(r.brokers[0].n_addrs, 2);
	assert_true(r.brokers[0].addrs[0].id == 0 && r.brokers[0].addrs[1].id == 1);
	assert_true(slice_eq_str(r.brokers[0].addrs[1].addr, "1.2.3.5:1"));
	wire_doc_fini(&r.doc);
	struct wire_doc d;
	struct wire_pair *pairs;
	size_t n;
	assert_true(wire_table_decode(SLICE_LIT("{\"table\":{{\"queueId\":1,\"topic\":\"a}\\\"\"}:5,-3:true,"
		"\"x\":\"y\"}}"), &d, &pairs, &n, &why));
	assert_int_equal(n, 3);
	assert_true(slice_eq_str(pairs[0].name, "{\"queueId\":1,\"topic\":\"a}\\\"\"}") && slice_eq_str(pairs[0].value, "5"));
	assert_true(slice_eq_str(pairs[1].name, "-3") && slice_eq_str(pairs[1].value, "true"));
	assert_true(slice_eq_str(pairs[2].name, "x") && slice_eq_str(pairs[2].value, "y"));
	wire_doc_fini(&d);
	assert_false(wire_table_decode(SLICE_LIT("{\"table\":{\"a\":[]}}"), &d, &pairs, &n, &why));
	assert_false(wire_table_decode(SLICE_LIT("{\"table\":[]}"), &d, &pairs, &n, &why));
}

/* ---- Lists, tables, properties ----------------------------------------------------------------------------------- */

static void lists_tables_and_properties(void **state)
{
	(void)state;
	struct buf b = {0};
	struct slice names[] = {SLICE_LIT("a"), SLICE_LIT("b")};
	wire_topic_list(&b, names, 2, slice_of(NULL, 0));
	assert_text(&b, "{\"topicList\":[\"a\",\"b\"]}");
	wire_topic_list(&b, NULL, 0, SLICE_LIT("1.2.3.4:5"));
	assert_text(&b, "{\"brokerAddr\":\"1.2.3.4:5\",\"topicList\":[]}");
	wire_group_list(&b, names, 1);
	assert_text(&b, "{\"groupList\":[\"a\"]}");
	struct wire_table t;
	wire_table_begin(&t, &b);
	wire_table_end(&t);
	assert_text(&b, "{\"table\":{}}");
	wire_table_begin(&t, &b);
	wire_table_put(&t, SLICE_LIT("k"), SLICE_LIT("v\n"));
	wire_table_put(&t, SLICE_LIT("l"), SLICE_LIT(""));
	wire_table_end(&t);
	assert_text(&b, "{\"table\":{\"k\":\"v\\n\",\"l\":\"\"}}");

	struct slice rest = SLICE_LIT("# comment\r\n a = 1=2 \r\n\n!x\nempty=\nalone\n=v"), name, value;
	assert_true(wire_properties_next(&rest, &name, &value) && slice_eq_str(name, "a") && slice_eq_str(value, "1=2"));
	assert_true(wire_properties_next(&rest, &name, &value) && slice_eq_str(name, "empty") && value.n == 0);
	assert_true(wire_properties_next(&rest, &name, &value) && slice_eq_str(name, "alone") && value.n == 0);
	assert_true(wire_properties_next(&rest, &name, &value) && name.n == 0 && slice_eq_str(value, "v"));
	assert_false(wire_properties_next(&rest, &name, &value));
	wire_properties_put(&b, SLICE_LIT("k"), SLICE_LIT("v"));
	assert_text(&b, "k=v\n");
	buf_fini(&b);
}

static void the_kv_configuration_goes_there_and_back(void **state)
{
	(void)state;
	struct wire_kv v[] = {
		{SLICE_LIT("A"), SLICE_LIT("k"), SLICE_LIT("1")}, {SLICE_LIT("A"), SLICE_LIT("l"), SLICE_LIT("x\ny")},
			{SLICE_LIT("B"), SLICE_LIT("k"), SLICE_LIT("")},
	}, *back;
	struct wire_doc d;
	struct buf b = {0};
	size_t n;
	wire_kv(&b, v, 3);
	assert_string_equal(buf_cstr(&b), "{\"configTable\":{\"A\":{\"k\":\"1\",\"l\":\"x\\ny\"},\"B\":{\"k\":\"\"}}}");
	assert_true(wire_kv_decode(buf_view(&b), &d, &back, &n, &why));
	assert_int_equal(n, 3);
	for (size_t i = 0; i < 3; i++)
		assert_true(slice_eq(back[i].space, v[i].space) && slice_eq(back[i].key, v[i].key) && slice_eq(back[i].value,
			v[i].value));
	wire_doc_fini(&d);
	buf_reset(&b);
	wire_kv(&b, NULL, 0);
	assert_true(wire_kv_decode(buf_view(&b), &d, &back, &n, &why));
	assert_int_equal(n, 0);
	wire_doc_fini(&d);
	assert_false(wire_kv_decode(SLICE_LIT("{\"configTable\":{\"A\":{\"k\":{}}}}"), &d, &back, &n, &why));
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heartbeat_of_java),
		cmocka_unit_test(heartbeat_of_cpp),
		cmocka_unit_test(heartbeat_of_go),
		cmocka_unit_test(heartbeats_that_are_refused),
		cmocka_unit_test(depth_and_size_are_bounded),
		cmocka_unit_test(a_cut_heartbeat_is_refused),
		cmocka_unit_test(client_config_and_locks),
		cmocka_unit_test(topics_go_there_and_back),
		cmocka_unit_test(a_registration_goes_there_and_back),
		cmocka_unit_test(a_registration_that_inflates_too_far_is_refused),
		cmocka_unit_test(malformed_packed_registrations_are_refused),
		cmocka_unit_test(groups_have_defaults),
		cmocka_unit_test(a_route_has_quoted_keys_and_no_blanks),
		cmocka_unit_test(clusters_list_their_brokers_once),
		cmocka_unit_test(java_keys_that_are_not_text_are_read),
		cmocka_unit_test(lists_tables_and_properties),
		cmocka_unit_test(the_kv_configuration_goes_there_and_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
