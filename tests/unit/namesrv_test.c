/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The whole name server through a byte stream, under a virtual clock: every request that it serves, and what it does
 * with bad ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/be.h"
#include "base/crc.h"
#include "base/mem.h"
#include "base/obj.h"
#include "namesrv/namesrv.h"
#include "tests/lib/fake_clock.h"
#include "tests/lib/fake_stream.h"
#include "tests/lib/memdisk.h"
#include "wire/codes.h"
#include "wire/frame.h"

static struct fake_clock now;
static struct testlog lines;

static struct namesrv *ns;
static struct namesrv_conf conf;
static struct buf kept;          /* what kv_changed got last */
static bool keep_fails;
static struct fake_stream client;
static struct buf scratch, held; /* held: the bytes of the last answer */
static struct wire_cmd ans;

static bool kv_changed(void *arg, struct slice text)
{
	assert_ptr_equal(arg, &kept);
	if (keep_fails)
		return false;
	buf_reset(&kept);
	buf_slice(&kept, text);
	return true;
}

static void start(void)
{
	struct namesrv_env env = {&now.base, &lines.log, kv_changed, &kept};
	ns = namesrv_open(&env, &conf);
	fake_stream_open(&client, &namesrv_stream, ns, "127.0.0.1:40000");
}

static int setup(void **state)
{
	(void)state;
	fake_clock_init(&now);
	now.ns = 5 * SEC_NS;
	testlog_init(&lines);
	lines.log.level = LOG_TRACE;
	keep_fails = false;
	namesrv_conf_default(&conf);
	start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_stream_fini(&client);
	namesrv_close(ns);
	buf_fini(&kept);
	buf_fini(&scratch);
	buf_fini(&held);
	return 0;
}

/* Builds a request: fields are name, value, ... NULL. */
static void put_request(struct buf *b, enum wire_form form, int32_t code, int32_t flag, const char *const *fields,
	struct slice body)
{
	struct wire_out o;
	wire_begin(&o, b, form, code, 77, flag);
	for (; fields != NULL && *fields != NULL; fields += 2)
		wire_put(&o, fields[0], slice_str(fields[1]));
	wire_finish(&o, body.n);
	buf_slice(b, body);
}

/* Takes the answer that stands in the stream into 'ans'. */
static void take_answer(struct fake_stream *s)
{
	static const struct wire_limits limits = {WIRE_FRAME_MAX, WIRE_HEADER_MAX, WIRE_EXT_MAX};
	size_t used;
	const char *why;
	buf_reset(&held);
	buf_slice(&held, buf_view(&s->out));
	assert_int_equal(wire_decode(buf_view(&held), &limits, &scratch, &ans, &used, &why), WIRE_GOT);
	buf_drop_front(&s->out, used);
	assert_int_equal(ans.opaque, 77);
	assert_int_equal(ans.flag, WIRE_FLAG_RESPONSE);
}

static int32_t ask_on(struct fake_stream *s, int32_t code, const char *const *fields, struct slice body)
{
	struct buf b = {0};
	put_request(&b, WIRE_JSON, code, 0, fields, body);
	fake_stream_feed(s, buf_view(&b));
	buf_fini(&b);
	take_answer(s);
	assert_int_equal(s->out.n, 0);
	return ans.code;
}

#define FIELDS(...) ((const char *const[]){__VA_ARGS__, NULL})
static int32_t ask(int32_t code, const char *const *fields) { return ask_on(&client, code, fields, slice_of(NULL, 0)); }

static void assert_body(const char *want)
{
	struct buf b = {0};
	buf_slice(&b, ans.body);
	assert_string_equal(buf_cstr(&b), want);
	buf_fini(&b);
}

static void assert_field(const char *name, const char *want)
{
	struct slice v;
	assert_true(wire_ext(&ans, name, &v));
	assert_true(slice_eq_str(v, want));
}

static void assert_remark(const char *want)
{
	struct buf b = {0};
	buf_slice(&b, ans.remark);
	assert_string_equal(buf_cstr(&b), want);
	buf_fini(&b);
}

/* Registers a broker with topics T0 ... T(n-1) over a stream. */
static int32_t reg(struct fake_stream *s, const char *cluster, const char *broker, const char *id, const char *addr,
	unsigned n)
{
	static const char *const names[] = {"T0", "T1", "T2", "T3"};
	struct wire_topic v[4];
	struct wire_data_version version = {0, 5, n};
	struct buf b = {0};
	for (unsigned i = 0; i < n; i++)
		v[i] = (struct wire_topic){slice_str(names[i]), 4, 4, 6, i, false};
	wire_register(&b, &version, v, n);
	int32_t code = ask_on(s, REQ_REGISTER_BROKER, FIELDS("brokerName", broker, "brokerAddr", addr, "clusterName",
		cluster, "haServerAddr", "10.0.0.1:10912",
	                      "brokerId", id), buf_view(&b));
	buf_fini(&b);
	return code;
}

static int32_t route_of(const char *topic) { return ask(REQ_GET_ROUTEINFO_BY_TOPIC, FIELDS("topic", topic)); }

static void a_route_to_the_letter(void **state)
{
	(void)state;
	assert_int_equal(route_of("T0"), 17);
	assert_remark("No topic route info in name server for the topic: T0");
	assert_int_equal(reg(&client, "c", "b-a", "0", "10.0.0.1:10911", 2), 0);
	assert_int_equal(reg(&client, "c", "b-a", "1", "10.0.0.2:10911", 0), 0);
	assert_int_equal(route_of("T1"), 0);
	assert_body("{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"10.0.0.1:10911\",\"1\":\"10.0.0.2:10911\"},"
		"\"brokerName\":\"b-a\",\"cluster\":\"c\","
		"\"enableActingMaster\":false}],\"filterServerTable\":{},\"queueDatas\":[{\"brokerName\":\"b-a\",\"perm\":6,"
		"\"readQueueNums\":4,\"topicSysFlag\":1,"
		"\"writeQueueNums\":4}]}");
	assert_int_equal(ask(REQ_GET_BROKER_CLUSTER_INFO, NULL), 0);
	assert_body("{\"brokerAddrTable\":{\"b-a\":{\"brokerAddrs\":{\"0\":\"10.0.0.1:10911\",\"1\":\"10.0.0.2:10911\"},"
		"\"brokerName\":\"b-a\",\"cluster\":\"c\","
		"\"enableActingMaster\":false}},\"clusterAddrTable\":{\"c\":[\"b-a\"]}}");
}

static void a_slave_hears_of_its_master(void **state)
{
	(void)state;
	struct slice v;
	assert_int_equal(reg(&client, "c", "b", "1", "10.0.0.2:10911", 0), 0);
	assert_false(wire_ext(&ans, "masterAddr", &v));
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	assert_false(wire_ext(&ans, "masterAddr", &v));
	assert_int_equal(reg(&client, "c", "b", "1", "10.0.0.2:10911", 0), 0);
	assert_field("masterAddr", "10.0.0.1:10911");
	assert_field("haServerAddr", "10.0.0.1:10912");
}

static void binary_requests_get_binary_answers(void **state)
{
	(void)state;
	struct buf b = {0};
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	put_request(&b, WIRE_BINARY, REQ_GET_ROUTEINFO_BY_TOPIC, 0, FIELDS("topic", "T0"), slice_of(NULL, 0));
	fake_stream_feed(&client, buf_view(&b));
	buf_fini(&b);
	assert_int_equal(client.out.p[4], WIRE_BINARY);
	take_answer(&client);
	assert_int_equal(ans.code, 0);
	assert_true(ans.body.n > 0);
}

static void packed_registrations_and_checksums(void **state)
{
	(void)state;
	struct buf b = {0}, crc = {0};
	struct wire_topic t[2] = {{SLICE_LIT("P"), 3, 5, 6, 0, false}, {SLICE_LIT("Q"), 1, 1, 4, 0, false}};
	struct wire_data_version version = {0, 5, 1};
	do { /* until the checksum has the bit that is not sent */
		version.counter++;
		buf_reset(&b);
		assert_true(wire_register_packed(&b, &version, t, 2, WIRE_VERSION));
	} while ((crc32_of(b.p, b.n) & 0x80000000u) == 0);
	buf_u64_dec(&crc, crc32_of(b.p, b.n) & 0x7FFFFFFF);
	assert_int_equal(ask_on(&client, REQ_REGISTER_BROKER, FIELDS("brokerName", "b", "brokerAddr", "1.2.3.4:5",
		"clusterName", "c", "haServerAddr", "",
	                 "brokerId", "0", "compressed", "true", "bodyCrc32", buf_cstr(&crc)), buf_view(&b)), 0);
	assert_int_equal(route_of("P"), 0);
	b.p[b.n - 1] ^= 1;
	assert_int_equal(ask_on(&client, REQ_REGISTER_BROKER, FIELDS("brokerName", "b", "brokerAddr", "1.2.3.4:5",
		"clusterName", "c", "haServerAddr", "",
	                 "brokerId", "0", "compressed", "true", "bodyCrc32", buf_cstr(&crc)), buf_view(&b)), 1);
	assert_remark("crc32 not match");
	assert_int_equal(ask_on(&client, REQ_REGISTER_BROKER, FIELDS("brokerName", "b", "brokerAddr", "1.2.3.4:5",
		"clusterName", "c", "haServerAddr", "",
	                 "brokerId", "0", "compressed", "true"), SLICE_LIT("no")), 1);
	assert_remark("the body is not a registration: registration cannot be unpacked");
	buf_fini(&b);
	buf_fini(&crc);
}

static void one_topic_of_an_unknown_broker_is_refused(void **state)
{
	(void)state;
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 1), 1);
	assert_remark("register broker failed");
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 1), 0);
	assert_int_equal(reg(&client, "c", "b x", "0", "10.0.0.1:10911", 2), 1);
	assert_remark("a name or address of the broker is not usable");
}

static void silence_expires_after_120_seconds(void **state)
{
	(void)state;
	struct fake_stream other;
	uint64_t start_ns = now.ns;
	fake_stream_open(&other, &namesrv_stream, ns, "127.0.0.1:40001");
	assert_int_equal(reg(&other, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	assert_true(namesrv_turn(ns) == start_ns + 120 * SEC_NS);
	now.ns = start_ns + 119 * SEC_NS;
	assert_int_equal(ask_on(&other, REQ_BROKER_HEARTBEAT, FIELDS("brokerName", "b", "brokerAddr", "10.0.0.1:10911",
		"clusterName", "c"), slice_of(NULL, 0)), 0);
	assert_true(namesrv_turn(ns) == start_ns + 239 * SEC_NS);
	now.ns = start_ns + 238 * SEC_NS;
	namesrv_turn(ns);
	assert_int_equal(route_of("T0"), 0);
	now.ns = start_ns + 239 * SEC_NS;
	assert_int_equal(namesrv_turn(ns), NEVER);
	assert_int_equal(route_of("T0"), 17);
	/* A registration may name its own time, within bounds. */
	assert_int_equal(ask_on(&other, REQ_REGISTER_BROKER, FIELDS("brokerName", "b", "brokerAddr", "1:1", "clusterName",
		"c", "haServerAddr", "", "brokerId", "0",
	                 "heartbeatTimeoutMillis", "5000"), slice_of(NULL, 0)), 0);
	assert_true(namesrv_turn(ns) == now.ns + 5 * SEC_NS);
	assert_int_equal(ask_on(&other, REQ_REGISTER_BROKER, FIELDS("brokerName", "b", "brokerAddr", "1:1", "clusterName",
		"c", "haServerAddr", "", "brokerId", "0",
	                 "heartbeatTimeoutMillis", "99999999999"), slice_of(NULL, 0)), 0);
	assert_true(namesrv_turn(ns) == now.ns + 3600 * SEC_NS);
	fake_stream_fini(&other);
}

static void a_closed_connection_drops_its_broker(void **state)
{
	(void)state;
	struct fake_stream broker, again;
	fake_stream_open(&broker, &namesrv_stream, ns, "127.0.0.1:40001");
	fake_stream_open(&again, &namesrv_stream, ns, "127.0.0.1:40002");
	assert_int_equal(reg(&broker, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	assert_int_equal(route_of("T0"), 0);
	assert_int_equal(reg(&again, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	fake_stream_fini(&broker); /* it has registered over the other one meanwhile */
	assert_int_equal(route_of("T0"), 0);
	fake_stream_fini(&again);
	assert_int_equal(route_of("T0"), 17);
}

static void unregistering(void **state)
{
	(void)state;
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	assert_int_equal(ask(REQ_UNREGISTER_BROKER, FIELDS("brokerName", "b", "brokerAddr", "10.0.0.9:10911", "clusterName",
		"c", "brokerId", "0")), 0);
	assert_int_equal(route_of("T0"), 0);
	assert_int_equal(ask(REQ_UNREGISTER_BROKER, FIELDS("brokerName", "b", "brokerAddr", "10.0.0.1:10911", "clusterName",
		"c", "brokerId", "0")), 0);
	assert_int_equal(route_of("T0"), 17);
	assert_int_equal(ask(REQ_UNREGISTER_BROKER, FIELDS("brokerName", "b", "brokerAddr", "x", "brokerId", "0")), 1);
	assert_remark("the field clusterName is missing");
}

static void data_versions_are_compared(void **state)
{
	(void)state;
	const char *const *who = FIELDS("brokerName", "b", "brokerAddr", "10.0.0.1:10911", "clusterName", "c", "brokerId",
		"0");
	uint64_t start_ns = now.ns;
	assert_int_equal(ask_on(&client, REQ_QUERY_DATA_VERSION, who, SLICE_LIT("{\"counter\":2,\"timestamp\":5}")), 0);
	assert_field("changed", "true");
	assert_int_equal(ans.body.n, 0);
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	now.ns += SEC_NS;
	assert_int_equal(ask_on(&client, REQ_QUERY_DATA_VERSION, who, SLICE_LIT("{\"counter\":3,\"timestamp\":5}")), 0);
	assert_field("changed", "true");
	assert_body("{\"counter\":2,\"stateVersion\":0,\"timestamp\":5}");
	assert_true(namesrv_turn(ns) == start_ns + 120 * SEC_NS);
	assert_int_equal(ask_on(&client, REQ_QUERY_DATA_VERSION, who, SLICE_LIT("{\"counter\":2,\"stateVersion\":0,"
		"\"timestamp\":5}")), 0);
	assert_field("changed", "false");
	assert_true(namesrv_turn(ns) == now.ns + 120 * SEC_NS); /* an unchanged one is a sign of life */
	assert_int_equal(ask_on(&client, REQ_QUERY_DATA_VERSION, who, SLICE_LIT("[")), 1);
}

static void write_permission_and_topic_lists(void **state)
{
	(void)state;
	assert_int_equal(reg(&client, "c1", "a", "0", "10.0.0.1:10911", 4), 0);
	assert_int_equal(reg(&client, "c2", "b", "0", "10.0.0.2:10911", 2), 0);
	assert_int_equal(ask(REQ_WIPE_WRITE_PERM_OF_BROKER, FIELDS("brokerName", "a")), 0);
	assert_field("wipeTopicCount", "4");
	assert_int_equal(route_of("T3"), 0);
	assert_non_null(memmem(ans.body.p, ans.body.n, "\"perm\":4", 8));
	assert_int_equal(ask(REQ_ADD_WRITE_PERM_OF_BROKER, FIELDS("brokerName", "a")), 0);
	assert_field("addTopicCount", "4");
	assert_int_equal(route_of("T3"), 0);
	assert_non_null(memmem(ans.body.p, ans.body.n, "\"perm\":6", 8));
	assert_int_equal(ask(REQ_WIPE_WRITE_PERM_OF_BROKER, FIELDS("brokerName", "nobody")), 0);
	assert_field("wipeTopicCount", "0");

	assert_int_equal(ask(REQ_GET_ALL_TOPIC_LIST_FROM_NAMESERVER, NULL), 0);
	assert_body("{\"topicList\":[\"T0\",\"T1\",\"T2\",\"T3\"]}");
	assert_int_equal(ask(REQ_GET_TOPICS_BY_CLUSTER, FIELDS("cluster", "c2")), 0);
	assert_body("{\"topicList\":[\"T0\",\"T1\"]}");
	assert_int_equal(ask(REQ_GET_TOPICS_BY_CLUSTER, NULL), 1);
	assert_remark("the field cluster is missing");
	assert_int_equal(ask(REQ_GET_SYSTEM_TOPIC_LIST_FROM_NS, NULL), 0);
	assert_body("{\"brokerAddr\":\"10.0.0.1:10911\",\"topicList\":[\"c1\",\"c2\",\"a\",\"b\"]}");
	assert_int_equal(ask(REQ_GET_UNIT_TOPIC_LIST, NULL), 0);
	assert_body("{\"topicList\":[\"T1\",\"T3\"]}");
	assert_int_equal(ask(REQ_GET_HAS_UNIT_SUB_TOPIC_LIST, NULL), 0);
	assert_body("{\"topicList\":[\"T2\",\"T3\"]}");
	assert_int_equal(ask(REQ_GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, NULL), 0);
	assert_body("{\"topicList\":[\"T2\"]}");

	assert_int_equal(ask(REQ_DELETE_TOPIC_IN_NAMESRV, FIELDS("topic", "T0", "clusterName", "c1")), 0);
	assert_int_equal(route_of("T0"), 0);
	assert_int_equal(ask(REQ_DELETE_TOPIC_IN_NAMESRV, FIELDS("topic", "T0")), 0);
	assert_int_equal(route_of("T0"), 17);
}

static void one_topic_is_registered_and_members_are_told(void **state)
{
	(void)state;
	struct slice body = SLICE_LIT("{\"brokerDatas\":[],\"queueDatas\":[{\"brokerName\":\"b\",\"perm\":6,"
		"\"readQueueNums\":2,\"topicSysFlag\":0,\"writeQueueNums\":2}]}");
	assert_int_equal(ask_on(&client, REQ_REGISTER_TOPIC_IN_NAMESRV, FIELDS("topic", "N"), body), 1);
	assert_remark("the route names a broker that is not registered");
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	assert_int_equal(ask_on(&client, REQ_REGISTER_TOPIC_IN_NAMESRV, FIELDS("topic", "N"), body), 0);
	assert_int_equal(route_of("N"), 0);
	assert_int_equal(ask_on(&client, REQ_REGISTER_TOPIC_IN_NAMESRV, FIELDS("topic", "N"), SLICE_LIT("{")), 1);
	assert_int_equal(ask(REQ_GET_BROKER_MEMBER_GROUP, FIELDS("clusterName", "c", "brokerName", "b")), 0);
	assert_body("{\"brokerMemberGroup\":{\"brokerAddrs\":{\"0\":\"10.0.0.1:10911\"},"
		"\"brokerName\":\"b\",\"cluster\":\"c\"}}");
	assert_int_equal(ask(REQ_GET_BROKER_MEMBER_GROUP, FIELDS("clusterName", "c", "brokerName", "x")), 0);
	assert_body("{\"brokerMemberGroup\":{\"brokerAddrs\":{},\"brokerName\":\"x\",\"cluster\":\"c\"}}");
}

static void kv_is_kept_and_loaded(void **state)
{
	(void)state;
	char why[100];
	assert_int_equal(ask(REQ_GET_KV_CONFIG, FIELDS("namespace", "n", "key", "k")), 22);
	assert_int_equal(ask(REQ_GET_KVLIST_BY_NAMESPACE, FIELDS("namespace", "n")), 22);
	assert_int_equal(ask(REQ_PUT_KV_CONFIG, FIELDS("namespace", "n", "key", "k", "value", "v")), 0);
	assert_string_equal(buf_cstr(&kept), "{\"configTable\":{\"n\":{\"k\":\"v\"}}}");
	assert_int_equal(ask(REQ_GET_KV_CONFIG, FIELDS("namespace", "n", "key", "k")), 0);
	assert_field("value", "v");
	assert_int_equal(ask(REQ_PUT_KV_CONFIG, FIELDS("namespace", "n", "key", "k")), 1);
	assert_remark("the field value is missing");
	/* What cannot be kept is not changed. */
	keep_fails = true;
	assert_int_equal(ask(REQ_PUT_KV_CONFIG, FIELDS("namespace", "n", "key", "k", "value", "w")), 1);
	assert_int_equal(ask(REQ_PUT_KV_CONFIG, FIELDS("namespace", "n", "key", "l", "value", "w")), 1);
	assert_int_equal(ask(REQ_DELETE_KV_CONFIG, FIELDS("namespace", "n", "key", "k")), 1);
	assert_int_equal(ask(REQ_GET_KVLIST_BY_NAMESPACE, FIELDS("namespace", "n")), 0);
	assert_body("{\"table\":{\"k\":\"v\"}}");
	keep_fails = false;

	struct buf stored = kept;
	kept = (struct buf){0};
	fake_stream_fini(&client);
	namesrv_close(ns);
	start();
	assert_true(namesrv_kv_load(ns, buf_view(&stored), why, sizeof(why)));
	buf_fini(&stored);
	assert_int_equal(ask(REQ_GET_KV_CONFIG, FIELDS("namespace", "n", "key", "k")), 0);
	assert_field("value", "v");
	assert_int_equal(ask(REQ_DELETE_KV_CONFIG, FIELDS("namespace", "n", "key", "k")), 0);
	assert_string_equal(buf_cstr(&kept), "{\"configTable\":{}}");
	assert_int_equal(ask(REQ_DELETE_KV_CONFIG, FIELDS("namespace", "n", "key", "k")), 0);
	assert_false(namesrv_kv_load(ns, SLICE_LIT("{\"configTable\":[]}"), why, sizeof(why)));
	assert_string_equal(why, "KV configuration: configTable");
	assert_true(namesrv_kv_load(ns, SLICE_LIT(""), why, sizeof(why)));
	assert_false(namesrv_kv_load(ns, SLICE_LIT("{\"configTable\":{\"n\":{\"\":\"\"}}}"), why, sizeof(why)));
}

static void order_configuration_reaches_routes_and_brokers(void **state)
{
	(void)state;
	assert_int_equal(ask(REQ_PUT_KV_CONFIG, FIELDS("namespace", "ORDER_TOPIC_CONFIG", "key", "T0", "value", "b:8")), 0);
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	assert_body("{\"table\":{\"T0\":\"b:8\"}}");
	assert_int_equal(route_of("T0"), 0);
	assert_null(memmem(ans.body.p, ans.body.n, "orderTopicConf", 14));
	assert_int_equal(ask_on(&client, REQ_UPDATE_NAMESRV_CONFIG, NULL, SLICE_LIT("orderMessageEnable=true\n")), 0);
	assert_int_equal(route_of("T0"), 0);
	assert_non_null(memmem(ans.body.p, ans.body.n, "\"orderTopicConf\":\"b:8\"", 22));
	assert_int_equal(route_of("T1"), 0);
	assert_null(memmem(ans.body.p, ans.body.n, "orderTopicConf", 14));
	assert_int_equal(ask_on(&client, REQ_UPDATE_NAMESRV_CONFIG, NULL,
		SLICE_LIT("returnOrderTopicConfigToBroker=false")), 0);
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	assert_int_equal(ans.body.n, 0);
}

static void settings_change_all_or_none(void **state)
{
	(void)state;
	static const char *const never[] = {
		"configStorePath=/x", "kvConfigPath=/x", "rocketmqHome=/x", "configBlackList=", "productEnvName=x",
		"bindAddress=0.0.0.0", "listenPort=1",
		"ConfigStorePathName=x",
	};
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_int_equal(ask_on(&client, REQ_UPDATE_NAMESRV_CONFIG, NULL, slice_str(never[i])), 16);
	assert_int_equal(ask_on(&client, REQ_UPDATE_NAMESRV_CONFIG, NULL,
		SLICE_LIT("orderMessageEnable=true\nnonsense=1\n")), 29);
	assert_remark("nonsense is not a setting that can be changed");
	assert_int_equal(ask_on(&client, REQ_UPDATE_NAMESRV_CONFIG, NULL, SLICE_LIT("brokerExpireMillis=10")), 29);
	assert_int_equal(ask_on(&client, REQ_UPDATE_NAMESRV_CONFIG, NULL, SLICE_LIT("enableTopicList=perhaps")), 29);
	assert_int_equal(ask(REQ_GET_NAMESRV_CONFIG, NULL), 0);
	assert_body("listenPort=9876\norderMessageEnable=false\nreturnOrderTopicConfigToBroker=true\nenableAllTopicList=true\nenableTopicList=true\n"
		"brokerExpireMillis=120000\n");
	assert_int_equal(ask_on(&client, REQ_UPDATE_NAMESRV_CONFIG, NULL,
		SLICE_LIT("enableAllTopicList=false\nbrokerExpireMillis=60000")), 0);
	assert_int_equal(ask(REQ_GET_ALL_TOPIC_LIST_FROM_NAMESERVER, NULL), 1);
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 2), 0);
	assert_true(namesrv_turn(ns) == now.ns + 60 * SEC_NS);
	(void)state;
}

static void unknown_requests_and_missing_fields(void **state)
{
	(void)state;
	assert_int_equal(ask(9999, NULL), 3);
	assert_remark(" request type 9999 not supported");
	assert_int_equal(ask(REQ_SEND_MESSAGE, NULL), 3);
	assert_int_equal(ask(REQ_GET_ROUTEINFO_BY_TOPIC, NULL), 1);
	assert_remark("the field topic is missing");
	static const char *const all[] = {"brokerName", "b", "brokerAddr", "1.1.1.1:1", "clusterName", "c", "haServerAddr",
		"h", "brokerId", "0"};
	for (unsigned drop = 0; drop < 5; drop++) {
		const char *fields[11] = {NULL};
		char want[64];
		for (unsigned i = 0, at = 0; i < 5; i++) {
			if (i == drop)
				continue;
			fields[at++] = all[2 * i];
			fields[at++] = all[2 * i + 1];
		}
		assert_int_equal(ask(REQ_REGISTER_BROKER, fields), 1);
		snprintf(want, sizeof(want), "the field %s is missing", all[2 * drop]);
		assert_remark(want);
	}
	assert_int_equal(ask(REQ_REGISTER_BROKER, FIELDS("brokerName", "b", "brokerAddr", "1.1.1.1:1", "clusterName", "c",
		"haServerAddr", "h", "brokerId", "x")), 1);
	assert_remark("the field brokerId is not a 64-bit integer");
}

static void oneway_and_answers_are_not_answered(void **state)
{
	(void)state;
	struct buf b = {0};
	put_request(&b, WIRE_JSON, REQ_GET_ROUTEINFO_BY_TOPIC, WIRE_FLAG_ONEWAY, FIELDS("topic", "T"), slice_of(NULL, 0));
	put_request(&b, WIRE_JSON, REQ_GET_ROUTEINFO_BY_TOPIC, WIRE_FLAG_RESPONSE, FIELDS("topic", "T"), slice_of(NULL, 0));
	fake_stream_feed(&client, buf_view(&b));
	assert_int_equal(client.out.n, 0);
	assert_false(client.close_asked);
	buf_fini(&b);
}

static void a_malformed_frame_closes_its_own_connection_only(void **state)
{
	(void)state;
	static const char *const bad[] = {"\xff\xff\xff\xff", "\0\0\0\6\0\0\0\2{]", "\0\0\0\2", "GET / HTTP/1.1\r\n",
		"\x16\x03\x01\x02"};
	static const size_t size[] = {4, 10, 4, 16, 4};
	for (size_t i = 0; i < 5; i++) {
		struct fake_stream other;
		fake_stream_open(&other, &namesrv_stream, ns, "127.0.0.1:40009");
		fake_stream_feed(&other, slice_of(bad[i], size[i]));
		assert_true(other.close_asked);
		fake_stream_fini(&other);
		assert_int_equal(route_of("T"), 17);
	}
}

static void requests_come_in_any_pieces(void **state)
{
	(void)state;
	struct buf b = {0};
	put_request(&b, WIRE_JSON, REQ_GET_ROUTEINFO_BY_TOPIC, 0, FIELDS("topic", "T"), slice_of(NULL, 0));
	put_request(&b, WIRE_BINARY, REQ_GET_BROKER_CLUSTER_INFO, 0, NULL, SLICE_LIT("body"));
	for (size_t piece = 1; piece <= b.n; piece = piece * 2 + 1) {
		for (size_t at = 0; at < b.n; at += piece)
			fake_stream_feed(&client, slice_of(b.p + at, at + piece > b.n ? b.n - at : piece));
		take_answer(&client);
		assert_int_equal(ans.code, 17);
		take_answer(&client);
		assert_int_equal(ans.code, 0);
		assert_int_equal(client.out.n, 0);
	}
	buf_fini(&b);
}

static void a_peer_that_does_not_read_is_not_served_further(void **state)
{
	(void)state;
	struct buf b = {0};
	put_request(&b, WIRE_JSON, REQ_GET_ROUTEINFO_BY_TOPIC, 0, FIELDS("topic", "T"), slice_of(NULL, 0));
	client.room = 0;
	fake_stream_feed(&client, buf_view(&b));
	assert_true(client.paused);
	assert_int_equal(client.out.n, 0);
	client.room = 1000;
	client.eager = true;
	namesrv_stream.drained(client.conn);
	assert_false(client.paused);
	fake_stream_step(&client);
	take_answer(&client);
	assert_int_equal(ans.code, 17);
	buf_fini(&b);
}

static void idle_connections_are_closed(void **state)
{
	(void)state;
	uint64_t start_ns = now.ns;
	assert_true(namesrv_stream.turn(client.conn, now.ns) == start_ns + 120 * SEC_NS);
	now.ns += 100 * SEC_NS;
	assert_int_equal(route_of("T"), 17);
	assert_true(namesrv_stream.turn(client.conn, now.ns) == now.ns + 120 * SEC_NS);
	now.ns += 120 * SEC_NS;
	assert_int_equal(namesrv_stream.turn(client.conn, now.ns), NEVER);
	assert_true(client.close_asked);
	assert_string_equal(client.reason, "0 idle");
}

static void the_broker_of_the_process(void **state)
{
	(void)state;
	struct wire_topic t = {SLICE_LIT("L"), 8, 8, 7, 0, false};
	struct buf b = {0};
	namesrv_local_broker(ns, SLICE_LIT("c"), SLICE_LIT("me"), 0, SLICE_LIT("127.0.0.1:10911"));
	namesrv_local_topic(ns, &t);
	assert_int_equal(route_of("L"), 0);
	assert_non_null(memmem(ans.body.p, ans.body.n, "\"perm\":7", 8));
	assert_int_equal(namesrv_turn(ns), NEVER);
	/* Others can neither take its name nor send it away; its own registration changes nothing. */
	assert_int_equal(reg(&client, "c", "me", "0", "6.6.6.6:1", 2), 1);
	assert_remark("this broker name and id belong to the name server's own process");
	assert_int_equal(ask(REQ_UNREGISTER_BROKER, FIELDS("brokerName", "me", "brokerAddr", "127.0.0.1:10911",
		"clusterName", "c", "brokerId", "0")), 1);
	assert_int_equal(reg(&client, "c", "me", "0", "127.0.0.1:10911", 2), 0);
	assert_int_equal(route_of("T0"), 17);
	assert_int_equal(namesrv_turn(ns), NEVER);
	/* A slave of it is a broker like any other. */
	assert_int_equal(reg(&client, "c", "me", "1", "10.0.0.2:10911", 0), 0);
	assert_field("masterAddr", "127.0.0.1:10911");
	namesrv_local_broker(ns, SLICE_LIT("c"), SLICE_LIT("me"), 0, SLICE_LIT("127.0.0.1:20911"));
	assert_int_equal(route_of("L"), 0);
	assert_non_null(memmem(ans.body.p, ans.body.n, "127.0.0.1:20911", 15));
	namesrv_local_topic_drop(ns, SLICE_LIT("L"));
	assert_int_equal(route_of("L"), 17);
	namesrv_local_topic(ns, &t);
	fake_stream_fini(&client);
	namesrv_local_gone(ns);
	namesrv_local_gone(ns);
	fake_stream_open(&client, &namesrv_stream, ns, "127.0.0.1:40000");
	assert_int_equal(route_of("L"), 17);
	namesrv_describe(ns, &b);
	assert_non_null(strstr(buf_cstr(&b), "{\"brokers\":0,\"topics\":0,"));
	buf_fini(&b);
}

static void limits_are_answered(void **state)
{
	(void)state;
	fake_stream_fini(&client);
	namesrv_close(ns);
	conf.max_topics = 2;
	conf.max_kv = 1;
	conf.max_header = 200;
	start();
	assert_int_equal(reg(&client, "c", "b", "0", "10.0.0.1:10911", 4), 1);
	assert_int_equal(route_of("T1"), 0);
	assert_int_equal(route_of("T2"), 17);
	assert_int_equal(ask(REQ_PUT_KV_CONFIG, FIELDS("namespace", "n", "key", "k", "value", "v")), 0);
	assert_int_equal(ask(REQ_PUT_KV_CONFIG, FIELDS("namespace", "n", "key", "l", "value", "v")), 1);
	char big[200];
	struct buf b = {0};
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	put_request(&b, WIRE_JSON, REQ_GET_ROUTEINFO_BY_TOPIC, 0, FIELDS("topic", big), slice_of(NULL, 0));
	fake_stream_feed(&client, buf_view(&b));
	assert_true(client.close_asked);
	buf_fini(&b);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_route_to_the_letter), T(a_slave_hears_of_its_master), T(binary_requests_get_binary_answers),
			T(packed_registrations_and_checksums),
		T(one_topic_of_an_unknown_broker_is_refused), T(silence_expires_after_120_seconds),
			T(a_closed_connection_drops_its_broker), T(unregistering),
		T(data_versions_are_compared), T(write_permission_and_topic_lists),
			T(one_topic_is_registered_and_members_are_told), T(kv_is_kept_and_loaded),
		T(order_configuration_reaches_routes_and_brokers), T(settings_change_all_or_none),
			T(unknown_requests_and_missing_fields),
		T(oneway_and_answers_are_not_answered), T(a_malformed_frame_closes_its_own_connection_only),
			T(requests_come_in_any_pieces),
		T(a_peer_that_does_not_read_is_not_served_further), T(idle_connections_are_closed),
			T(the_broker_of_the_process), T(limits_are_answered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
