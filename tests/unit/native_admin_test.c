/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What tools ask: topics, groups, lookups, connections, progress, the broker's numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/be.h"
#include "record/record.h"
#include "tests/lib/native_rig.h"

#define NOTHING ((struct slice){NULL, 0})

/* ---- Topics -------------------------------------------------------------------------------------------------------------------- */

static void topics_are_put_and_dropped(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_feed_json(&r,
		"{\"code\":17,\"extFields\":{\"topic\":\"T\",\"defaultTopic\":\"TBW102\",\"readQueueNums\":8,\"writeQueueNums\":\"4\",\"perm\":\"6\","
		"\"topicFilterType\":\"SINGLE_TAG\",\"topicSysFlag\":\"1\",\"order\":\"true\"},\"flag\":0,\"language\":\"JAVA\",\"opaque\":1,"
		"\"version\":407}", NOTHING);
	assert_string_equal(fake_engine_trace(&r.e), "TOPIC_PUT name=T read=8 write=4 perm=6 sys=1 order=1\n");
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	r.e.next[ENGINE_TOPIC_PUT] = ST_BAD_NAME;
	rig_ask(&r, REQ_UPDATE_AND_CREATE_TOPIC, NOTHING, "topic", "a b", "readQueueNums", "1", "writeQueueNums", "1", "perm", "6", NULL);
	rig_ask(&r, REQ_UPDATE_AND_CREATE_TOPIC, NOTHING, "topic", "T", "readQueueNums", "-1", "writeQueueNums", "1", "perm", "6", NULL);
	rig_ask(&r, REQ_UPDATE_AND_CREATE_TOPIC, NOTHING, "topic", "T", "readQueueNums", "1", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_INVALID_PARAMETER);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	rig_expect(&r, ANS_INVALID_PARAMETER);

	static const struct { enum status st; int32_t code; } drops[] = {{ST_OK, 0}, {ST_NO_TOPIC, 0}, {ST_DENIED, 29}, {ST_IO, 14}};
	for (size_t i = 0; i < ARRAY_LEN(drops); i++) {
		r.e.next[ENGINE_TOPIC_DROP] = drops[i].st;
		rig_ask(&r, REQ_DELETE_TOPIC_IN_BROKER, NOTHING, "topic", "T", NULL);
		rig_turn(&r);
		rig_expect(&r, drops[i].code);
	}
	rig_close(&r);
}

static void topics_are_shown(void **state)
{
	(void)state;
	struct topic_info topics[] = {
		{.name = SLICE_LIT("TBW102"), .conf = {8, 8, 7, 0, false}, .system = true},
		{.name = SLICE_LIT("T"), .conf = {4, 2, 6, 0, true}},
	};
	struct rig r;

	rig_open(&r);
	r.e.topics = topics;
	r.e.n_topics = 2;
	rig_ask(&r, REQ_GET_TOPIC_CONFIG, NOTHING, "topic", "T", "lo", "true", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_non_null(strstr(rig_body(&r), "\"topicName\":\"T\""));
	assert_non_null(strstr(rig_body(&r), "\"readQueueNums\":2"));
	r.e.next[ENGINE_TOPIC_GET] = ST_NO_TOPIC;
	rig_ask(&r, REQ_GET_TOPIC_CONFIG, NOTHING, "topic", "T", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_TOPIC_NOT_EXIST);
	rig_ask(&r, REQ_GET_ALL_TOPIC_CONFIG, NOTHING, NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "totalTopicNum"), "2");
	json_t *doc = json_loads(rig_body(&r), 0, NULL);
	assert_non_null(doc);
	json_t *t = json_object_get(json_object_get(doc, "topicConfigTable"), "T");
	assert_int_equal(json_integer_value(json_object_get(t, "readQueueNums")), 4);
	assert_int_equal(json_integer_value(json_object_get(t, "writeQueueNums")), 2);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(doc, "dataVersion"), "counter")), 9);
	json_decref(doc);
	rig_ask(&r, REQ_GET_SYSTEM_TOPIC_LIST_FROM_BROKER, NOTHING, NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r), "{\"topicList\":[\"TBW102\"]}");
	rig_close(&r);
}

/* ---- Groups -------------------------------------------------------------------------------------------------------------------- */

static void groups_are_put_shown_and_dropped(void **state)
{
	(void)state;
	struct group_info groups[] = {{.name = SLICE_LIT("g"), .conf = {.consume = true, .retry_max = 16, .retry_queues = 1}}};
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, SLICE_LIT("{\"brokerId\":0,\"consumeBroadcastEnable\":false,\"consumeEnable\":true,"
		"\"groupName\":\"g\",\"retryMaxTimes\":3,\"retryQueueNums\":2}"), NULL);
	assert_string_equal(fake_engine_trace(&r.e), "GROUP_PUT name=g consume=1 broadcast=0 retry=2 max=3\n");
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_ask(&r, REQ_UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, SLICE_LIT("{\"groupName\":\"g\",\"retryMaxTimes\":-1}"), NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_INVALID_PARAMETER);
	rig_ask(&r, REQ_UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, SLICE_LIT("no"), NULL);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	fake_engine_trace(&r.e);

	r.e.groups = groups;
	r.e.n_groups = 1;
	r.e.group_conf = groups[0].conf;
	rig_ask(&r, REQ_GET_ALL_SUBSCRIPTIONGROUP_CONFIG, NOTHING, NULL);
	rig_ask(&r, REQ_GET_SUBSCRIPTIONGROUP_CONFIG, NOTHING, "group", "g", NULL);
	fake_engine_trace(&r.e);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "totalGroupNum"), "1");
	assert_non_null(strstr(rig_body(&r), "\"forbiddenTable\":{}"));
	assert_non_null(strstr(rig_body(&r), "\"groupName\":\"g\""));
	rig_expect(&r, ANS_SUCCESS);
	assert_non_null(strstr(rig_body(&r), "\"groupName\":\"g\""));
	assert_non_null(strstr(rig_body(&r), "\"retryMaxTimes\":16"));
	r.e.next[ENGINE_GROUP_GET] = ST_NO_GROUP;
	rig_ask(&r, REQ_GET_SUBSCRIPTIONGROUP_CONFIG, NOTHING, "group", "h", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUBSCRIPTION_GROUP_NOT_EXIST);
	fake_engine_trace(&r.e);

	rig_ask(&r, REQ_DELETE_SUBSCRIPTIONGROUP, NOTHING, "groupName", "g", "removeOffset", "true", NULL);
	assert_string_equal(fake_engine_trace(&r.e), "GROUP_DROP name=g offsets=1\n");
	rig_ask(&r, REQ_DELETE_SUBSCRIPTIONGROUP, NOTHING, "groupName", "g", "cleanOffset", "true", NULL);
	assert_string_equal(fake_engine_trace(&r.e), "GROUP_DROP name=g offsets=1\n");
	r.e.next[ENGINE_GROUP_DROP] = ST_NO_GROUP;
	rig_ask(&r, REQ_DELETE_SUBSCRIPTIONGROUP, NOTHING, "groupName", "g", NULL);
	assert_string_equal(fake_engine_trace(&r.e), "GROUP_DROP name=g offsets=0\n");
	rig_turn(&r);
	for (int i = 0; i < 3; i++)
		rig_expect(&r, ANS_SUCCESS);
	rig_close(&r);
}

/* ---- Lookups ------------------------------------------------------------------------------------------------------------------- */

static void messages_by_key(void **state)
{
	(void)state;
	static uint8_t big[5000000];
	struct piece pieces[] = {{SLICE_LIT("one"), NULL}, {SLICE_LIT("two"), NULL}};
	struct piece large[] = {{slice_of(big, sizeof(big)), NULL}, {slice_of(big, sizeof(big)), NULL}};
	struct rig r;

	rig_open(&r);
	r.e.pieces = pieces;
	r.e.n_pieces = 2;
	rig_ask(&r, REQ_QUERY_MESSAGE, NOTHING, "topic", "T", "key", "k", "maxNum", "64", "beginTimestamp", "0", "endTimestamp",
		"9223372036854775807", NULL);
	rig_ask(&r, REQ_QUERY_MESSAGE, NOTHING, "topic", "T", "key", "U1", "maxNum", "100000", "beginTimestamp", "3", "endTimestamp", "4",
		"_UNIQUE_KEY_QUERY", "true", NULL);
	assert_string_equal(fake_engine_trace(&r.e),
		"FIND topic=T key=k unique=0 max=64 begin=0 end=9223372036854775807\nFIND topic=T key=U1 unique=1 max=32 begin=3 end=4\n");
	rig_turn(&r);
	for (int i = 0; i < 2; i++) {
		rig_expect(&r, ANS_SUCCESS);
		assert_string_equal(rig_ext(&r, "indexLastUpdateTimestamp"), "1700000000000");
		assert_string_equal(rig_ext(&r, "indexLastUpdatePhyoffset"), "4711");
		assert_string_equal(rig_body(&r), "onetwo");
	}
	r.e.next[ENGINE_FIND] = ST_NOT_FOUND;
	rig_ask(&r, REQ_QUERY_MESSAGE, NOTHING, "topic", "T", "key", "k", "maxNum", "64", "beginTimestamp", "0", "endTimestamp", "1", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_QUERY_NOT_FOUND);
	/* What would not fit into a frame is left out. */
	r.e.next[ENGINE_FIND] = ST_OK;
	r.e.pieces = large;
	rig_ask(&r, REQ_QUERY_MESSAGE, NOTHING, "topic", "T", "key", "k", "maxNum", "64", "beginTimestamp", "0", "endTimestamp", "1", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_int_equal(r.got.body.n, sizeof(big));
	rig_close(&r);
}

static void a_message_by_its_offset_id(void **state)
{
	(void)state;
	struct piece piece = {SLICE_LIT("rec"), NULL};
	struct rig r;

	rig_open(&r);
	r.e.pieces = &piece;
	rig_ask(&r, REQ_VIEW_MESSAGE_BY_ID, NOTHING, "offset", "4096", "topic", "T", NULL);
	assert_string_equal(fake_engine_trace(&r.e), "VIEW position=4096\n");
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r), "rec");
	r.e.next[ENGINE_VIEW] = ST_NOT_FOUND;
	rig_ask(&r, REQ_VIEW_MESSAGE_BY_ID, NOTHING, "offset", "4097", NULL);
	rig_ask(&r, REQ_VIEW_MESSAGE_BY_ID, NOTHING, "offset", "-1", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	rig_close(&r);
}

/* ---- Who and how far ---------------------------------------------------------------------------------------------------------- */

static void join(struct rig *r)
{
	rig_ask(r, REQ_HEART_BEAT, SLICE_LIT("{\"clientID\":\"c\\\"1\",\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[]}],"
		"\"producerDataSet\":[{\"groupName\":\"p\"}]}"), NULL);
	rig_turn(r);
	rig_expect(r, ANS_SUCCESS);
	fake_engine_trace(&r->e);
}

static void connections_are_shown(void **state)
{
	(void)state;
	struct subscription subs[] = {{SLICE_LIT("T"), SLICE_LIT("TagA || TagB"), 7}, {SLICE_LIT("U"), SLICE_LIT("*"), 8}};
	struct rig r;

	rig_open(&r);
	r.e.subs = subs;
	r.e.n_subs = 2;
	join(&r);
	rig_ask(&r, REQ_GET_CONSUMER_CONNECTION_LIST, NOTHING, "consumerGroup", "g", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r),
		"{\"connectionSet\":[{\"clientAddr\":\"127.0.0.1:40000\",\"clientId\":\"c\\\"1\",\"language\":\"JAVA\",\"version\":407}],"
		"\"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\",\"consumeType\":\"CONSUME_PASSIVELY\",\"messageModel\":\"CLUSTERING\","
		"\"subscriptionTable\":{\"T\":{\"classFilterMode\":false,\"codeSet\":[2598919,2598920],\"expressionType\":\"TAG\",\"subString\":"
		"\"TagA || TagB\",\"subVersion\":7,\"tagsSet\":[\"TagA\",\"TagB\"],\"topic\":\"T\"},\"U\":{\"classFilterMode\":false,\"codeSet\":[],"
		"\"expressionType\":\"TAG\",\"subString\":\"*\",\"subVersion\":8,\"tagsSet\":[],\"topic\":\"U\"}}}");
	rig_ask(&r, REQ_GET_PRODUCER_CONNECTION_LIST, NOTHING, "producerGroup", "p", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r),
		"{\"connectionSet\":[{\"clientAddr\":\"127.0.0.1:40000\",\"clientId\":\"c\\\"1\",\"language\":\"JAVA\",\"version\":407}]}");
	r.e.next[ENGINE_MEMBERS] = ST_NO_GROUP;
	rig_ask(&r, REQ_GET_CONSUMER_CONNECTION_LIST, NOTHING, "consumerGroup", "g", NULL);
	rig_ask(&r, REQ_GET_PRODUCER_CONNECTION_LIST, NOTHING, "producerGroup", "p", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_CONSUMER_NOT_ONLINE);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	rig_close(&r);
}

/* Keys that are objects are quoted so that a strict parser reads the rest. */
static json_t *parse_keyed(const char *text)
{
	struct buf b = {0};
	json_t *doc;

	for (const char *p = text; *p != '\0'; p++) {
		const char *end;
		if (p > text && (p[-1] == '{' || p[-1] == ',') && strncmp(p, "{\"brokerName\"", 13) == 0 && (end = strchr(p, '}')) != NULL) {
			buf_json_str(&b, slice_of(p, (size_t)(end + 1 - p)));
			p = end;
		} else {
			buf_u8(&b, (uint8_t)*p);
		}
	}
	doc = json_loads(buf_cstr(&b), 0, NULL);
	if (doc == NULL)
		fail_msg("not a document: %s", text);
	buf_fini(&b);
	return doc;
}

static int64_t number_at(json_t *doc, const char *queue, const char *field)
{
	json_t *row = json_object_get(json_object_get(doc, "offsetTable"), queue);

	return row == NULL ? -99 : (int64_t)json_integer_value(json_object_get(row, field));
}

static void offsets_of_a_topic(void **state)
{
	(void)state;
	uint8_t record[RECORD_SIZE_MIN] = {0};
	struct piece piece = {slice_of(record, sizeof(record)), NULL};
	struct rig r;

	rig_open(&r);
	be64_put(record + RECORD_AT_STORE_MS, 1234567);
	r.e.pieces = &piece;
	r.e.n_pieces = 1;
	r.e.min = 3;
	r.e.max = 10;
	r.e.topic_conf = (struct topic_conf){.read_queues = 40, .write_queues = 2, .perm = 6};
	rig_ask(&r, REQ_GET_TOPIC_STATS_INFO, NOTHING, "topic", "T", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	json_t *doc = parse_keyed(rig_body(&r));
	assert_int_equal(json_object_size(json_object_get(doc, "offsetTable")), 40);
	assert_int_equal(number_at(doc, "{\"brokerName\":\"broker-a\",\"queueId\":39,\"topic\":\"T\"}", "maxOffset"), 10);
	assert_int_equal(number_at(doc, "{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"T\"}", "minOffset"), 3);
	assert_int_equal(number_at(doc, "{\"brokerName\":\"broker-a\",\"queueId\":7,\"topic\":\"T\"}", "lastUpdateTimestamp"), 1234567);
	json_decref(doc);
	assert_int_equal(r.e.asked[ENGINE_RANGE], 40);
	assert_non_null(strstr(fake_engine_trace(&r.e), "PULL topic=T queue=7 from=9 msgs=1 "));
	/* Empty queues have no last message. */
	r.e.min = r.e.max = 0;
	rig_ask(&r, REQ_GET_TOPIC_STATS_INFO, NOTHING, "topic", "T", NULL);
	rig_turn(&r);
	assert_int_equal(r.e.asked[ENGINE_PULL], 40);
	rig_expect(&r, ANS_SUCCESS);
	r.e.next[ENGINE_TOPIC_GET] = ST_NO_TOPIC;
	rig_ask(&r, REQ_GET_TOPIC_STATS_INFO, NOTHING, "topic", "T", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_TOPIC_NOT_EXIST);
	rig_close(&r);
}

static void progress_of_a_group(void **state)
{
	(void)state;
	struct offset_info offsets[] = {
		{.topic = SLICE_LIT("T"), .queue = 1, .offset = 5, .min = 1, .max = 9},
		{.topic = SLICE_LIT("U"), .queue = 0, .offset = 2, .min = 0, .max = 2},
	};
	struct subscription subs[] = {{SLICE_LIT("V"), SLICE_LIT("*"), 8}};
	struct rig r;

	rig_open(&r);
	r.e.offsets = offsets;
	r.e.n_offsets = 2;
	r.e.subs = subs;
	r.e.n_subs = 1;
	r.e.max = 20;
	join(&r);
	rig_ask(&r, REQ_GET_CONSUME_STATS, NOTHING, "consumerGroup", "g", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	json_t *doc = parse_keyed(rig_body(&r));
	/* Two queues each: those with an offset, and those without, which count from 0. */
	assert_int_equal(json_object_size(json_object_get(doc, "offsetTable")), 6);
	assert_int_equal(number_at(doc, "{\"brokerName\":\"broker-a\",\"queueId\":1,\"topic\":\"T\"}", "consumerOffset"), 5);
	assert_int_equal(number_at(doc, "{\"brokerName\":\"broker-a\",\"queueId\":1,\"topic\":\"T\"}", "brokerOffset"), 9);
	assert_int_equal(number_at(doc, "{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"T\"}", "consumerOffset"), 0);
	assert_int_equal(number_at(doc, "{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"T\"}", "brokerOffset"), 20);
	assert_int_equal(number_at(doc, "{\"brokerName\":\"broker-a\",\"queueId\":1,\"topic\":\"V\"}", "brokerOffset"), 20);
	json_decref(doc);
	assert_non_null(strstr(fake_engine_trace(&r.e), "PULL topic=T queue=1 from=4 msgs=1 "));
	rig_ask(&r, REQ_GET_CONSUME_STATS, NOTHING, "consumerGroup", "g", "topic", "U", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	doc = parse_keyed(rig_body(&r));
	assert_int_equal(json_object_size(json_object_get(doc, "offsetTable")), 2);
	json_decref(doc);
	r.e.next[ENGINE_OFFSET_LIST] = ST_NO_GROUP;
	r.e.next[ENGINE_MEMBERS] = ST_NO_GROUP;
	rig_ask(&r, REQ_GET_CONSUME_STATS, NOTHING, "consumerGroup", "x", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r), "{\"consumeTps\":0.0,\"offsetTable\":{}}");
	rig_close(&r);
}

static void groups_of_a_topic(void **state)
{
	(void)state;
	struct offset_info offsets[] = {{.topic = SLICE_LIT("T"), .queue = 1, .offset = 5, .min = 1, .max = 9}};
	struct subscription subs[] = {{SLICE_LIT("V"), SLICE_LIT("*"), 8}};
	struct group_info groups[40];
	char names[40][16];
	struct rig r;

	rig_open(&r);
	for (int i = 0; i < 40; i++) {
		snprintf(names[i], sizeof(names[i]), "g%d", i);
		groups[i] = (struct group_info){.name = slice_str(names[i])};
	}
	r.e.groups = groups;
	r.e.n_groups = 40;
	r.e.offsets = offsets;
	r.e.n_offsets = 1;
	r.e.subs = subs;
	r.e.n_subs = 1;
	rig_ask(&r, REQ_QUERY_TOPIC_CONSUME_BY_WHO, NOTHING, "topic", "T", NULL);
	rig_ask(&r, REQ_QUERY_TOPIC_CONSUME_BY_WHO, NOTHING, "topic", "V", NULL);
	rig_ask(&r, REQ_QUERY_TOPIC_CONSUME_BY_WHO, NOTHING, "topic", "nobody", NULL);
	rig_turn(&r);
	unsigned full = 0, empty = 0;
	for (int i = 0; i < 3; i++) {
		rig_expect(&r, ANS_SUCCESS);
		json_t *doc = json_loads(rig_body(&r), 0, NULL);
		size_t n = json_array_size(json_object_get(doc, "groupList"));
		full += n == 40;
		empty += n == 0;
		json_decref(doc);
	}
	assert_int_equal(full, 2);
	assert_int_equal(empty, 1);
	rig_close(&r);
}

static void offsets_of_all_groups(void **state)
{
	(void)state;
	struct offset_info offsets[] = {
		{.topic = SLICE_LIT("T"), .queue = 1, .offset = 5, .min = 1, .max = 9},
		{.topic = SLICE_LIT("U"), .queue = 0, .offset = 2, .min = 0, .max = 2},
		{.topic = SLICE_LIT("T"), .queue = 0, .offset = 4, .min = 1, .max = 4},
	};
	struct group_info groups[] = {{.name = SLICE_LIT("g")}, {.name = SLICE_LIT("h"), .conf = {.orderly = true}}};
	struct rig r;

	rig_open(&r);
	r.e.groups = groups;
	r.e.n_groups = 2;
	r.e.offsets = offsets;
	r.e.n_offsets = 3;
	rig_ask(&r, REQ_GET_BROKER_CONSUME_STATS, NOTHING, "isOrder", "false", NULL);
	rig_ask(&r, REQ_GET_BROKER_CONSUME_STATS, NOTHING, "isOrder", "true", NULL);
	rig_turn(&r);
	for (int i = 0; i < 2; i++) {
		rig_expect(&r, ANS_SUCCESS);
		json_t *doc = parse_keyed(rig_body(&r));
		json_t *list = json_object_get(doc, "consumeStatsList");
		size_t n = json_array_size(list);
		assert_true(n == 1 || n == 2);
		assert_int_equal(json_integer_value(json_object_get(doc, "totalDiff")), 4 * (int)n);
		json_t *tables = json_object_get(json_array_get(list, n - 1), "h");
		assert_int_equal(json_array_size(tables), 2);
		assert_int_equal(number_at(json_array_get(tables, 0), "{\"brokerName\":\"broker-a\",\"queueId\":1,\"topic\":\"T\"}", "consumerOffset"), 5);
		assert_int_equal(number_at(json_array_get(tables, 0), "{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"T\"}", "brokerOffset"), 4);
		json_decref(doc);
	}
	r.e.n_groups = 0;
	rig_ask(&r, REQ_GET_BROKER_CONSUME_STATS, NOTHING, "isOrder", "false", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r), "{\"brokerAddr\":\"127.0.0.1:10911\",\"consumeStatsList\":[],\"totalDiff\":0,\"totalInflightDiff\":0}");
	rig_close(&r);
}

static void all_producers(void **state)
{
	(void)state;
	struct fake_stream other;
	struct buf b = {0};
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_GET_ALL_PRODUCER_INFO, NOTHING, NULL);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r), "{\"data\":{}}");
	join(&r);
	rig_frame_json(&b, "{\"code\":34,\"flag\":0,\"opaque\":1,\"version\":407,\"language\":\"GO\"}",
		SLICE_LIT("{\"clientID\":\"z\",\"producerDataSet\":[{\"groupName\":\"q\"},{\"groupName\":\"p\"}]}"));
	fake_stream_open(&other, front_native.stream, r.front, "127.0.0.1:40001");
	fake_stream_feed(&other, buf_view(&b));
	buf_fini(&b);
	rig_turn(&r);
	rig_ask(&r, REQ_GET_ALL_PRODUCER_INFO, NOTHING, NULL);
	rig_expect(&r, ANS_SUCCESS);
	json_t *doc = json_loads(rig_body(&r), 0, NULL);
	json_t *data = json_object_get(doc, "data");
	assert_int_equal(json_array_size(json_object_get(data, "p")), 2);
	json_t *q = json_array_get(json_object_get(data, "q"), 0);
	assert_string_equal(json_string_value(json_object_get(q, "clientId")), "z");
	assert_string_equal(json_string_value(json_object_get(q, "language")), "GO");
	assert_string_equal(json_string_value(json_object_get(q, "remoteIP")), "127.0.0.1:40001");
	assert_int_equal(json_integer_value(json_object_get(q, "lastUpdateTimestamp")), r.now_ms);
	json_decref(doc);
	fake_stream_fini(&other);
	rig_close(&r);
}

static void entries_of_a_queue(void **state)
{
	(void)state;
	uint8_t bytes[1024];
	struct record one = {.position = 4096, .topic = SLICE_LIT("T"), .body = SLICE_LIT("hi"), .props = SLICE_LIT("TAGS\1TagA\2")};
	struct record two = {.position = 5000, .topic = SLICE_LIT("T"), .body = SLICE_LIT("ho")};
	size_t n = record_size(&one), all = n + record_size(&two);
	struct rig r;

	rig_open(&r);
	record_encode(&one, bytes);
	record_encode(&two, bytes + n);
	/* Cut in the middle of the first record, as at the end of a block. */
	struct piece pieces[] = {{slice_of(bytes, 20), NULL}, {slice_of(bytes + 20, all - 20), NULL}};
	r.e.pieces = pieces;
	r.e.n_pieces = 2;
	r.e.max = 9;
	rig_ask(&r, REQ_QUERY_CONSUME_QUEUE, NOTHING, "topic", "T", "queueId", "1", "index", "3", "count", "2", "consumerGroup", "", NULL);
	assert_non_null(strstr(fake_engine_trace(&r.e), "PULL topic=T queue=1 from=3 msgs=2 "));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	char expected[400];
	snprintf(expected, sizeof(expected), "{\"maxQueueIndex\":9,\"minQueueIndex\":0,\"queueData\":[{\"eval\":false,\"physicOffset\":4096,"
		"\"physicSize\":%zu,\"tagsCode\":2598919},{\"eval\":false,\"physicOffset\":5000,\"physicSize\":%zu,\"tagsCode\":0}]}", n, all - n);
	assert_string_equal(rig_body(&r), expected);
	r.e.next[ENGINE_PULL] = ST_MOVED;
	rig_ask(&r, REQ_QUERY_CONSUME_QUEUE, NOTHING, "topic", "T", "queueId", "1", "index", "30", "count", "2", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r), "{\"maxQueueIndex\":9,\"minQueueIndex\":0,\"queueData\":[]}");
	r.e.next[ENGINE_PULL] = ST_NO_QUEUE;
	rig_ask(&r, REQ_QUERY_CONSUME_QUEUE, NOTHING, "topic", "T", "queueId", "1", "index", "0", "count", "2", NULL);
	rig_ask(&r, REQ_QUERY_CONSUME_QUEUE, NOTHING, "topic", "T", "queueId", "1", "index", "0", "count", "0", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_INVALID_PARAMETER);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	rig_close(&r);
}

/* ---- Resets and relays --------------------------------------------------------------------------------------------------------- */

/* A consumer of group g beside the rig's own connection. */
static void consumer_open(struct rig *r, struct fake_stream *s, const char *language)
{
	struct buf b = {0}, header = {0};

	buf_str(&header, "{\"code\":34,\"flag\":0,\"opaque\":1,\"version\":407,\"language\":\"");
	buf_str(&header, language);
	buf_str(&header, "\"}");
	rig_frame_json(&b, buf_cstr(&header), SLICE_LIT("{\"clientID\":\"the client\",\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[]}]}"));
	fake_stream_open(s, front_native.stream, r->front, "127.0.0.1:40001");
	fake_stream_feed(s, buf_view(&b));
	fake_engine_run(&r->e);
	assert_true(s->out.n > 0);
	buf_reset(&s->out);
	fake_engine_trace(&r->e);
	buf_fini(&header);
	buf_fini(&b);
}

/* Moves what was sent to the consumer to where rig_next looks for it. */
static void look_at(struct rig *r, struct fake_stream *s)
{
	assert_int_equal(r->s.out.n, 0);
	buf_slice(&r->s.out, buf_view(&s->out));
	buf_reset(&s->out);
	assert_true(rig_next(r));
}

static void a_reset_sets_and_tells(void **state)
{
	(void)state;
	static const char *const languages[] = {"JAVA", "CPP"};

	for (int i = 0; i < 2; i++) {
		struct fake_stream consumer;
		struct rig r;

		rig_open(&r);
		consumer_open(&r, &consumer, languages[i]);
		r.e.offset = 4;
		rig_ask(&r, REQ_INVOKE_BROKER_TO_RESET_OFFSET, NOTHING, "topic", "T", "group", "g", "timestamp", "1700000000000", "isForce", "true",
			NULL);
		rig_turn(&r);
		assert_string_equal(fake_engine_trace(&r.e),
			"TOPIC_GET name=T\nAT_TIME topic=T queue=0 time=1700000000000 upper=0\nAT_TIME topic=T queue=1 time=1700000000000 upper=0\n"
			"OFFSET_RESET group=g topic=T queue=0 offset=4 member=0\nOFFSET_RESET group=g topic=T queue=1 offset=4 member=0\n");
		rig_expect(&r, ANS_SUCCESS);
		char *table = strdup(rig_body(&r));
		assert_non_null(strstr(table, "\"topic\":\"T\"}"));
		look_at(&r, &consumer);
		assert_int_equal(r.got.code, REQ_RESET_CONSUMER_CLIENT_OFFSET);
		assert_int_equal(r.got.flag, WIRE_FLAG_ONEWAY);
		assert_string_equal(rig_ext(&r, "group"), "g");
		assert_string_equal(rig_ext(&r, "isForce"), "true");
		/* C++ clients get the list form, whatever the tool speaks; the tool of this test says CPP. */
		assert_int_equal(strcmp(rig_body(&r), table) == 0, i == 1);
		free(table);
		fake_stream_fini(&consumer);
		rig_close(&r);
	}
}

static void a_reset_without_force_only_goes_back(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.e.max = 9;
	r.e.offset = 5; /* committed */
	rig_ask(&r, REQ_INVOKE_BROKER_TO_RESET_OFFSET, NOTHING, "topic", "T", "group", "g", "timestamp", "-1", "isForce", "false", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_non_null(strstr(fake_engine_trace(&r.e), "OFFSET_RESET group=g topic=T queue=1 offset=5"));
	r.e.next[ENGINE_OFFSET_GET] = ST_NOT_FOUND;
	rig_ask(&r, REQ_INVOKE_BROKER_TO_RESET_OFFSET, NOTHING, "topic", "T", "group", "g", "timestamp", "-1", "isForce", "false", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_non_null(strstr(fake_engine_trace(&r.e), "OFFSET_RESET group=g topic=T queue=1 offset=9"));
	/* One queue, to an offset. */
	rig_ask(&r, REQ_INVOKE_BROKER_TO_RESET_OFFSET, NOTHING, "topic", "T", "group", "g", "timestamp", "0", "isForce", "false", "queueId", "1",
		"offset", "7", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(fake_engine_trace(&r.e),
		"TOPIC_GET name=T\nRANGE topic=T queue=1\nOFFSET_RESET group=g topic=T queue=1 offset=7 member=0\n");
	rig_ask(&r, REQ_INVOKE_BROKER_TO_RESET_OFFSET, NOTHING, "topic", "T", "group", "g", "timestamp", "0", "isForce", "false", "queueId", "1",
		"offset", "10", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_PULL_OFFSET_MOVED);
	r.e.next[ENGINE_OFFSET_RESET] = ST_NO_GROUP;
	rig_ask(&r, REQ_INVOKE_BROKER_TO_RESET_OFFSET, NOTHING, "topic", "T", "group", "g", "timestamp", "5", "isForce", "true", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUBSCRIPTION_GROUP_NOT_EXIST);
	r.e.next[ENGINE_TOPIC_GET] = ST_NO_TOPIC;
	rig_ask(&r, REQ_INVOKE_BROKER_TO_RESET_OFFSET, NOTHING, "topic", "T", "group", "g", "timestamp", "5", "isForce", "true", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_TOPIC_NOT_EXIST);
	rig_close(&r);
}

static void answer_as_client(struct fake_stream *s, int32_t opaque, const char *body)
{
	struct buf b = {0};
	struct wire_out o;

	wire_begin(&o, &b, WIRE_JSON, ANS_SUCCESS, opaque, WIRE_FLAG_RESPONSE);
	wire_finish(&o, strlen(body));
	buf_str(&b, body);
	fake_stream_feed(s, buf_view(&b));
	buf_fini(&b);
}

static void clients_are_asked_for_tools(void **state)
{
	(void)state;
	struct piece piece = {SLICE_LIT("the record"), NULL};
	struct fake_stream consumer;
	struct rig r;

	rig_open(&r);
	r.e.pieces = &piece;
	consumer_open(&r, &consumer, "JAVA");
	rig_ask(&r, REQ_GET_CONSUMER_RUNNING_INFO, NOTHING, "consumerGroup", "g", "clientId", "the client", "jstackEnable", "false", NULL);
	int32_t asked = r.opaque;
	look_at(&r, &consumer);
	assert_int_equal(r.got.code, REQ_GET_CONSUMER_RUNNING_INFO);
	assert_int_equal(r.got.flag, 0);
	assert_string_equal(rig_ext(&r, "jstackEnable"), "false");
	answer_as_client(&consumer, r.got.opaque + 1, "somebody else's");
	rig_none(&r);
	answer_as_client(&consumer, r.got.opaque, "{\"properties\":{}}");
	rig_expect(&r, ANS_SUCCESS);
	assert_int_equal(r.got.opaque, asked);
	assert_string_equal(rig_body(&r), "{\"properties\":{}}");

	/* 309 carries the record. */
	rig_ask(&r, REQ_CONSUME_MESSAGE_DIRECTLY, NOTHING, "consumerGroup", "g", "clientId", "the client", "msgId",
		"7F00000100002A9F00000000000003E8", NULL);
	assert_non_null(strstr(fake_engine_trace(&r.e), "VIEW position=1000"));
	rig_turn(&r);
	look_at(&r, &consumer);
	assert_int_equal(r.got.code, REQ_CONSUME_MESSAGE_DIRECTLY);
	assert_string_equal(rig_body(&r), "the record");
	answer_as_client(&consumer, r.got.opaque, "{\"consumeResult\":\"CR_SUCCESS\"}");
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r), "{\"consumeResult\":\"CR_SUCCESS\"}");

	/* Nobody there, no such message, an id that is none. */
	rig_ask(&r, REQ_GET_CONSUMER_RUNNING_INFO, NOTHING, "consumerGroup", "g", "clientId", "another", NULL);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	r.e.next[ENGINE_VIEW] = ST_NOT_FOUND;
	rig_ask(&r, REQ_CONSUME_MESSAGE_DIRECTLY, NOTHING, "consumerGroup", "g", "msgId", "7F00000100002A9F00000000000003E8", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	rig_ask(&r, REQ_CONSUME_MESSAGE_DIRECTLY, NOTHING, "consumerGroup", "g", "msgId", "UNIQ", NULL);
	rig_expect(&r, ANS_INVALID_PARAMETER);
	fake_stream_fini(&consumer);
	rig_close(&r);
}

static void questions_to_clients_end(void **state)
{
	(void)state;
	struct fake_stream consumer;
	struct rig r;

	rig_open(&r);
	consumer_open(&r, &consumer, "JAVA");
	/* Too many, then too late. */
	r.conf.max_requests = 100;
	for (int i = 0; i < 64; i++)
		rig_ask(&r, REQ_GET_CONSUMER_RUNNING_INFO, NOTHING, "consumerGroup", "g", "clientId", "the client", NULL);
	rig_none(&r);
	rig_ask(&r, REQ_GET_CONSUMER_RUNNING_INFO, NOTHING, "consumerGroup", "g", "clientId", "the client", NULL);
	rig_expect(&r, ANS_SYSTEM_BUSY);
	consumer.ops->turn(consumer.conn, r.now_ns + 11 * SEC_NS);
	for (int i = 0; i < 64; i++)
		rig_expect(&r, ANS_CONSUME_MSG_TIMEOUT);
	/* The client goes, the tool goes, the broker goes. */
	rig_ask(&r, REQ_GET_CONSUMER_RUNNING_INFO, NOTHING, "consumerGroup", "g", "clientId", "the client", NULL);
	fake_stream_fini(&consumer);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	consumer_open(&r, &consumer, "JAVA");
	rig_ask(&r, REQ_GET_CONSUMER_RUNNING_INFO, NOTHING, "consumerGroup", "g", "clientId", "the client", NULL);
	front_native.drain(r.front);
	rig_expect(&r, ANS_CONSUME_MSG_TIMEOUT);
	rig_ask(&r, REQ_GET_CONSUMER_RUNNING_INFO, NOTHING, "consumerGroup", "g", "clientId", "the client", NULL);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	fake_stream_fini(&consumer);
	rig_close(&r);

	rig_open(&r);
	consumer_open(&r, &consumer, "JAVA");
	rig_ask(&r, REQ_GET_CONSUMER_RUNNING_INFO, NOTHING, "consumerGroup", "g", "clientId", "the client", NULL);
	fake_stream_hangup(&r.s, ST_OK);
	fake_engine_run(&r.e);
	fake_stream_fini(&consumer);
	rig_close(&r);
}

static void the_configuration_is_shown(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_GET_BROKER_CONFIG, NOTHING, NULL);
	rig_expect(&r, ANS_SUCCESS);
	assert_non_null(strstr(rig_ext(&r, "version"), "\"counter\":0"));
	assert_string_equal(rig_body(&r), "brokerClusterName=DefaultCluster\nbrokerName=broker-a\nbrokerId=0\nbrokerIP1=127.0.0.1\n"
		"listenPort=10911\nmaxMessageSize=4194304\n");
	r.conf.settings = SLICE_LIT("flushDiskType=SYNC_FLUSH\n");
	rig_ask(&r, REQ_GET_BROKER_CONFIG, NOTHING, NULL);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r), "flushDiskType=SYNC_FLUSH\n");
	rig_close(&r);
}

/* ---- 28 -------------------------------------------------------------------------------------------------------------------------- */

static const char *number_of(json_t *table, const char *name)
{
	const char *s = json_string_value(json_object_get(table, name));

	if (s == NULL)
		fail_msg("the key %s is missing", name);
	return s;
}

static void runtime_has_every_key(void **state)
{
	(void)state;
	static const char *const keys[] = {
		"bootTimestamp", "runtime", "brokerVersion", "brokerVersionDesc", "brokerActive", "putMessageEntireTimeMax", "putMessageTimesTotal",
		"putMessageFailedTimes", "putMessageSizeTotal", "putMessageAverageSize", "putMessageDistributeTime", "putTps", "getFoundTps",
		"getMissTps", "getTotalTps", "getTransferredTps", "getMessageEntireTimeMax", "putLatency99", "putLatency999", "dispatchBehindBytes",
		"dispatchMaxBuffer", "pageCacheLockTimeMills", "earliestMessageTimeStamp", "startAcceptSendRequestTimeStamp", "commitLogMinOffset",
		"commitLogMaxOffset", "commitLogDirCapacity", "commitLogDiskRatio", "consumeQueueDiskRatio", "remainHowManyDataToFlush",
		"remainTransientStoreBufferNumbs", "sendThreadPoolQueueSize", "sendThreadPoolQueueCapacity", "sendThreadPoolQueueHeadWaitTimeMills",
		"pullThreadPoolQueueSize", "pullThreadPoolQueueHeadWaitTimeMills", "litePullThreadPoolQueueSize", "queryThreadPoolQueueSize",
		"ackThreadPoolQueueSize", "EndTransactionQueueSize", "EndTransactionThreadPoolQueueCapacity", "msgPutTotalYesterdayMorning",
		"msgPutTotalTodayMorning", "msgPutTotalTodayNow", "msgGetTotalYesterdayMorning", "msgGetTotalTodayMorning", "msgGetTotalTodayNow",
		"timerReadBehind", "timerOffsetBehind", "timerCongestNum", "timerEnqueueTps", "timerDequeueTps",
	};
	struct rig r;

	rig_open(&r);
	r.e.stats[STAT_MESSAGES_IN_TOTAL] = 4;
	r.e.stats[STAT_BYTES_IN_TOTAL] = 600;
	r.e.stats[STAT_LOG_WRITTEN] = 1000;
	r.e.stats[STAT_LOG_VISIBLE] = 900;
	r.e.stats[STAT_LOG_DURABLE] = 900;
	r.e.stats[STAT_LOG_MIN] = 100;
	r.e.stats[STAT_DISK_FREE_BYTES] = 8100;
	r.e.delay[17] = (struct delay_numbers){3, 21};
	rig_ask(&r, REQ_GET_BROKER_RUNTIME_INFO, NOTHING, NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	json_t *doc = json_loads(rig_body(&r), 0, NULL);
	json_t *table = json_object_get(doc, "table");
	assert_non_null(table);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		number_of(table, keys[i]);
	for (unsigned i = 0; i < STAT_COUNT; i++)
		number_of(table, engine_stat_rows[i].name);
	assert_string_equal(number_of(table, "putMessageTimesTotal"), "4");
	assert_string_equal(number_of(table, "putMessageAverageSize"), "150.0000");
	assert_string_equal(number_of(table, "commitLogDiskRatio"), "0.1000");
	assert_string_equal(number_of(table, "dispatchBehindBytes"), "100");
	assert_string_equal(number_of(table, "msgPutTotalTodayNow"), "4");
	assert_string_equal(number_of(table, "scheduleMessageOffset_1"), "0,0");
	assert_string_equal(number_of(table, "scheduleMessageOffset_18"), "3,21");
	json_decref(doc);
	rig_close(&r);
}

static void rates_and_midnights(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.now_ms = 1700000000000 - 1700000000000 % 86400000 + 86400000 - 600000; /* ten minutes before midnight */
	r.conf.idle_ms = 0;
	/* 100 messages a second for twelve minutes, then half a minute of 400. */
	for (unsigned s = 0; s < 750; s++) {
		r.e.stats[STAT_MESSAGES_IN_TOTAL] += s < 720 ? 100 : 400;
		r.now_ns += SEC_NS;
		r.now_ms += 1000;
		r.s.ops->turn(r.s.conn, r.now_ns);
		fake_engine_run(&r.e);
	}
	rig_ask(&r, REQ_GET_BROKER_RUNTIME_INFO, NOTHING, NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	json_t *doc = json_loads(rig_body(&r), 0, NULL);
	json_t *table = json_object_get(doc, "table");
	double a, b, c;
	assert_int_equal(sscanf(number_of(table, "putTps"), "%lf %lf %lf", &a, &b, &c), 3);
	assert_true(a > 399 && a < 401);
	assert_true(b > 220 && b < 280);
	assert_true(c > 110 && c < 120);
	/* Midnight came at 600 seconds, the sample at most ten later. */
	long today = atol(number_of(table, "msgPutTotalTodayMorning"));
	assert_true(today >= 60000 && today <= 61100);
	assert_string_equal(number_of(table, "msgPutTotalYesterdayMorning"), "0");
	assert_string_equal(number_of(table, "runtime"), "[ 0 days, 0 hours, 12 minutes, 30 seconds ]");
	json_decref(doc);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(topics_are_put_and_dropped),
		cmocka_unit_test(topics_are_shown),
		cmocka_unit_test(groups_are_put_shown_and_dropped),
		cmocka_unit_test(messages_by_key),
		cmocka_unit_test(a_message_by_its_offset_id),
		cmocka_unit_test(connections_are_shown),
		cmocka_unit_test(offsets_of_a_topic),
		cmocka_unit_test(progress_of_a_group),
		cmocka_unit_test(groups_of_a_topic),
		cmocka_unit_test(offsets_of_all_groups),
		cmocka_unit_test(all_producers),
		cmocka_unit_test(entries_of_a_queue),
		cmocka_unit_test(a_reset_sets_and_tells),
		cmocka_unit_test(a_reset_without_force_only_goes_back),
		cmocka_unit_test(clients_are_asked_for_tools),
		cmocka_unit_test(questions_to_clients_end),
		cmocka_unit_test(the_configuration_is_shown),
		cmocka_unit_test(runtime_has_every_key),
		cmocka_unit_test(rates_and_midnights),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
