/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Pulling and offsets through the native front. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/lib/native_rig.h"

#define NOTHING ((struct slice){NULL, 0})
#define PULL "consumerGroup", "g", "topic", "T", "queueId", "1", "queueOffset", "5", "maxMsgNums", "32", "commitOffset", "4"

static void check_range(struct rig *r, const char *next)
{
	assert_string_equal(rig_ext(r, "suggestWhichBrokerId"), "0");
	assert_string_equal(rig_ext(r, "nextBeginOffset"), next);
	assert_string_equal(rig_ext(r, "minOffset"), "2");
	assert_string_equal(rig_ext(r, "maxOffset"), "9");
}

static void found_messages_are_the_stored_bytes(void **state)
{
	(void)state;
	struct piece pieces[] = {{SLICE_LIT("record one|"), NULL}, {SLICE_LIT("record two"), NULL}};

	for (int form = WIRE_JSON; form <= WIRE_BINARY; form++) {
		struct rig r;

		rig_open(&r);
		r.form = (enum wire_form)form;
		r.e.pieces = pieces;
		r.e.n_pieces = 2;
		r.e.min = 2;
		r.e.max = 9;
		rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, "sysFlag", "3", "suspendTimeoutMillis", "15000", "subVersion", "77", "expressionType",
			"TAG", "maxMsgBytes", "1000", NULL);
		assert_string_equal(fake_engine_trace(&r.e),
			"PULL topic=T queue=1 from=5 msgs=32 bytes=1000 wait=15000 group=g sub=77 commit=4\n");
		rig_turn(&r);
		rig_expect(&r, ANS_SUCCESS);
		check_range(&r, "7");
		assert_string_equal(rig_body(&r), "record one|record two");
		assert_int_equal(r.got.form, form);
		rig_close(&r);
	}
}

static void every_outcome_carries_the_range(void **state)
{
	(void)state;
	static const struct { enum status st; int32_t code; const char *next; } rows[] = {
		{ST_EMPTY, ANS_PULL_NOT_FOUND, "5"}, {ST_NO_MATCH, ANS_PULL_RETRY_IMMEDIATELY, "5"}, {ST_MOVED, ANS_PULL_OFFSET_MOVED, "9"},
	};
	struct rig r;

	rig_open(&r);
	r.e.min = 2;
	r.e.max = 9;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		r.e.next[ENGINE_PULL] = rows[i].st;
		rig_ask(&r, REQ_LITE_PULL_MESSAGE, NOTHING, PULL, "sysFlag", "22", "suspendTimeoutMillis", "20000", "subVersion", "0",
			"subscription", "a || b", NULL);
		assert_string_equal(fake_engine_trace(&r.e),
			"PULL topic=T queue=1 from=5 msgs=32 bytes=262144 wait=20000 group=g expr=a || b sub=0 commit=-1\n");
		rig_turn(&r);
		rig_expect(&r, rows[i].code);
		check_range(&r, rows[i].next);
		assert_int_equal(r.got.body.n, 0);
	}
	rig_close(&r);
}

static void failures_have_no_range(void **state)
{
	(void)state;
	static const struct { enum status st; int32_t code; } rows[] = {
		{ST_NO_TOPIC, 17}, {ST_NO_QUEUE, 29}, {ST_NO_GROUP, 26}, {ST_NOT_SUBSCRIBED, 24}, {ST_STALE_SUB, 25}, {ST_BAD_FILTER, 23},
		{ST_DENIED, 16}, {ST_CLOSED, 14}, {ST_BUSY, 2},
	};
	struct rig r;

	rig_open(&r);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		r.e.next[ENGINE_PULL] = rows[i].st;
		rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, "sysFlag", "0", "suspendTimeoutMillis", "0", "subVersion", "0", NULL);
		rig_turn(&r);
		rig_expect(&r, rows[i].code);
		assert_string_equal(rig_ext(&r, "nextBeginOffset"), "(absent)");
		assert_non_null(strstr(rig_remark(&r), "T@g"));
	}
	rig_close(&r);
}

static void numbers_are_bounded(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.conf.max_wait_ms = 30000;
	rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, "consumerGroup", "g", "topic", "T", "queueId", "0", "queueOffset", "-1", "maxMsgNums", "2147483647",
		"commitOffset", "-1", "sysFlag", "3", "suspendTimeoutMillis", "9223372036854775807", "subVersion", "0", "maxMsgBytes", "2147483647",
		NULL);
	assert_string_equal(fake_engine_trace(&r.e), "PULL topic=T queue=0 from=0 msgs=1024 bytes=8388608 wait=30000 group=g sub=0 commit=-1\n");
	rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, "consumerGroup", "g", "topic", "T", "queueId", "0", "queueOffset", "1", "maxMsgNums", "0",
		"commitOffset", "5", "sysFlag", "2", "suspendTimeoutMillis", "-1", "subVersion", "0", "maxMsgBytes", "-1", NULL);
	assert_string_equal(fake_engine_trace(&r.e), "PULL topic=T queue=0 from=1 msgs=1 bytes=262144 wait=0 group=g sub=0 commit=-1\n");
	rig_turn(&r);
	rig_close(&r);
}

static void cpp_pull_with_numbers(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_feed_json(&r,
		"{\"code\":11,\"extFields\":{\"commitOffset\":\"4\",\"consumerGroup\":\"g\",\"maxMsgNums\":32,\"queueId\":1,\"queueOffset\":\"5\","
		"\"subVersion\":\"0\",\"subscription\":\"*\",\"suspendTimeoutMillis\":\"15000\",\"sysFlag\":7,\"topic\":\"T\"},\"flag\":0,"
		"\"language\":\"CPP\",\"opaque\":3,\"version\":333}", NOTHING);
	assert_string_equal(fake_engine_trace(&r.e),
		"PULL topic=T queue=1 from=5 msgs=32 bytes=262144 wait=15000 group=g expr=* sub=0 commit=4\n");
	rig_turn(&r);
	rig_close(&r);
}

static void sql_filters_are_refused_clearly(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, "sysFlag", "2", "suspendTimeoutMillis", "0", "subVersion", "0", "expressionType", "SQL92",
		NULL);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	assert_string_equal(rig_remark(&r), "The broker does not support consumer to filter message by SQL92");
	assert_int_equal(r.e.asked[ENGINE_PULL], 0);
	rig_close(&r);
}

static void a_waiting_pull_lets_others_pass(void **state)
{
	(void)state;
	struct piece piece = {SLICE_LIT("rec"), NULL};
	struct rig r;

	rig_open(&r);
	r.e.hold_pulls = true;
	r.e.pieces = &piece;
	r.e.n_pieces = 1;
	r.e.min = 2;
	r.e.max = 9;
	rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, "sysFlag", "2", "suspendTimeoutMillis", "15000", "subVersion", "0", NULL);
	int32_t pull = r.opaque;
	rig_ask(&r, REQ_GET_MAX_OFFSET, NOTHING, "topic", "T", "queueId", "0", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_int_equal(r.got.opaque, r.opaque);
	rig_none(&r);
	fake_engine_wake(&r.e, ST_OK);
	rig_expect(&r, ANS_SUCCESS);
	assert_int_equal(r.got.opaque, pull);
	rig_close(&r);
}

static void a_hang_up_cancels_waiting_pulls(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.e.hold_pulls = true;
	for (int i = 0; i < 5; i++)
		rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, "sysFlag", "2", "suspendTimeoutMillis", "15000", "subVersion", "0", NULL);
	fake_stream_hangup(&r.s, ST_OK);
	fake_engine_run(&r.e);
	assert_true(list_empty(&r.e.held));
	rig_close(&r);
}

static void draining_gives_waiting_pulls_back(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.e.hold_pulls = true;
	rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, "sysFlag", "2", "suspendTimeoutMillis", "15000", "subVersion", "0", NULL);
	front_native.drain(r.front);
	rig_turn(&r);
	rig_expect(&r, ANS_SERVICE_NOT_AVAILABLE);
	rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, "sysFlag", "2", "suspendTimeoutMillis", "15000", "subVersion", "0", NULL);
	rig_expect(&r, ANS_SERVICE_NOT_AVAILABLE);
	rig_close(&r);
}

/* ---- Offsets -------------------------------------------------------------------------------------------------------------------- */

static void get_offset(struct rig *r, enum status st, bool young, const char *topic, const char *zero)
{
	r->e.next[ENGINE_OFFSET_GET] = st;
	r->e.young = young;
	r->e.offset = 41;
	if (zero == NULL)
		rig_ask(r, REQ_QUERY_CONSUMER_OFFSET, NOTHING, "consumerGroup", "g", "topic", topic, "queueId", "2", NULL);
	else
		rig_ask(r, REQ_QUERY_CONSUMER_OFFSET, NOTHING, "consumerGroup", "g", "topic", topic, "queueId", "2", "setZeroIfNotFound", zero, NULL);
	rig_turn(r);
}

static void a_group_without_offset_starts_where_stock_clients_expect(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	get_offset(&r, ST_OK, false, "T", NULL);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "offset"), "41");
	assert_string_equal(fake_engine_trace(&r.e), "OFFSET_GET group=g topic=T queue=2\n");

	static const struct { enum status st; bool young; const char *topic, *zero; bool found; } rows[] = {
		{ST_NOT_FOUND, true, "T", NULL, true},
		{ST_NOT_FOUND, true, "T", "true", true},
		{ST_NOT_FOUND, true, "T", "false", false},
		{ST_NOT_FOUND, false, "T", NULL, false},
		{ST_NOT_FOUND, false, "%RETRY%g", NULL, true},
		{ST_NOT_FOUND, false, "%RETRY%g", "false", false},
		{ST_NO_TOPIC, true, "T", NULL, false},
		{ST_NO_QUEUE, false, "T", "true", false},
		{ST_NO_GROUP, false, "T", NULL, false},
		{ST_NO_TOPIC, false, "%RETRY%g", NULL, true},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		get_offset(&r, rows[i].st, rows[i].young, rows[i].topic, rows[i].zero);
		rig_expect(&r, rows[i].found ? ANS_SUCCESS : ANS_QUERY_NOT_FOUND);
		assert_string_equal(rig_ext(&r, "offset"), rows[i].found ? "0" : "(absent)");
	}
	get_offset(&r, ST_CLOSED, true, "T", NULL);
	rig_expect(&r, ANS_SERVICE_NOT_AVAILABLE);
	rig_close(&r);
}

static void commits_name_who_commits(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask_oneway(&r, REQ_UPDATE_CONSUMER_OFFSET, NOTHING, "consumerGroup", "g", "topic", "T", "queueId", "2", "commitOffset", "7", NULL);
	assert_string_equal(fake_engine_trace(&r.e), "OFFSET_COMMIT group=g topic=T queue=2 offset=7 member=0\n");
	rig_feed_json(&r, "{\"code\":34,\"flag\":0,\"language\":\"JAVA\",\"opaque\":1,\"version\":407}",
		SLICE_LIT("{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[]}],\"producerDataSet\":[]}"));
	rig_turn(&r);
	fake_engine_trace(&r.e);
	rig_expect(&r, ANS_SUCCESS);
	rig_ask(&r, REQ_UPDATE_CONSUMER_OFFSET, NOTHING, "consumerGroup", "g", "topic", "T", "queueId", "2", "commitOffset", "8", NULL);
	assert_string_equal(fake_engine_trace(&r.e), "OFFSET_COMMIT group=g topic=T queue=2 offset=8 member=1\n");
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_ask(&r, REQ_UPDATE_CONSUMER_OFFSET, NOTHING, "consumerGroup", "g", "topic", "T", "queueId", "2", "commitOffset", "-8", NULL);
	rig_expect(&r, ANS_INVALID_PARAMETER);
	static const struct { enum status st; int32_t code; } rows[] = {{ST_NO_GROUP, 26}, {ST_NO_TOPIC, 17}, {ST_NO_QUEUE, 29}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		r.e.next[ENGINE_OFFSET_COMMIT] = rows[i].st;
		rig_ask(&r, REQ_UPDATE_CONSUMER_OFFSET, NOTHING, "consumerGroup", "g", "topic", "T", "queueId", "2", "commitOffset", "8", NULL);
		rig_turn(&r);
		rig_expect(&r, rows[i].code);
	}
	rig_close(&r);
}

static void bounds_of_a_queue(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.e.min = 3;
	r.e.max = 12;
	r.e.offset = 8;
	r.e.first_ms = 1699999999999;
	rig_ask(&r, REQ_GET_MAX_OFFSET, NOTHING, "topic", "T", "queueId", "1", "committed", "true", NULL);
	rig_ask(&r, REQ_GET_MIN_OFFSET, NOTHING, "topic", "T", "queueId", "1", NULL);
	rig_ask(&r, REQ_GET_EARLIEST_MSG_STORETIME, NOTHING, "topic", "T", "queueId", "1", NULL);
	rig_ask(&r, REQ_SEARCH_OFFSET_BY_TIMESTAMP, NOTHING, "topic", "T", "queueId", "1", "timestamp", "1700000000000", NULL);
	rig_ask(&r, REQ_SEARCH_OFFSET_BY_TIMESTAMP, NOTHING, "topic", "T", "queueId", "1", "timestamp", "5", "boundaryType", "upper", NULL);
	assert_string_equal(fake_engine_trace(&r.e),
		"RANGE topic=T queue=1\nRANGE topic=T queue=1\nRANGE topic=T queue=1\n"
		"AT_TIME topic=T queue=1 time=1700000000000 upper=0\nAT_TIME topic=T queue=1 time=5 upper=1\n");
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "offset"), "12");
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "offset"), "3");
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "timestamp"), "1699999999999");
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "offset"), "8");
	rig_expect(&r, ANS_SUCCESS);

	/* A queue that is not there is empty. */
	r.e.next[ENGINE_RANGE] = ST_NO_TOPIC;
	r.e.next[ENGINE_AT_TIME] = ST_NO_QUEUE;
	rig_ask(&r, REQ_GET_MAX_OFFSET, NOTHING, "topic", "T", "queueId", "1", NULL);
	rig_ask(&r, REQ_GET_MIN_OFFSET, NOTHING, "topic", "T", "queueId", "1", NULL);
	rig_ask(&r, REQ_SEARCH_OFFSET_BY_TIMESTAMP, NOTHING, "topic", "T", "queueId", "1", "timestamp", "5", NULL);
	rig_ask(&r, REQ_GET_EARLIEST_MSG_STORETIME, NOTHING, "topic", "T", "queueId", "1", NULL);
	rig_turn(&r);
	for (int i = 0; i < 3; i++) {
		rig_expect(&r, ANS_SUCCESS);
		assert_string_equal(rig_ext(&r, "offset"), "0");
	}
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "timestamp"), "-1");
	r.e.next[ENGINE_RANGE] = ST_CLOSED;
	rig_ask(&r, REQ_GET_MAX_OFFSET, NOTHING, "topic", "T", "queueId", "1", NULL);
	rig_ask(&r, REQ_GET_MAX_OFFSET, NOTHING, "topic", "T", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	assert_non_null(strstr(rig_remark(&r), "queueId"));
	rig_expect(&r, ANS_SERVICE_NOT_AVAILABLE);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_messages_are_the_stored_bytes),
		cmocka_unit_test(every_outcome_carries_the_range),
		cmocka_unit_test(failures_have_no_range),
		cmocka_unit_test(numbers_are_bounded),
		cmocka_unit_test(cpp_pull_with_numbers),
		cmocka_unit_test(sql_filters_are_refused_clearly),
		cmocka_unit_test(a_waiting_pull_lets_others_pass),
		cmocka_unit_test(a_hang_up_cancels_waiting_pulls),
		cmocka_unit_test(draining_gives_waiting_pulls_back),
		cmocka_unit_test(a_group_without_offset_starts_where_stock_clients_expect),
		cmocka_unit_test(commits_name_who_commits),
		cmocka_unit_test(bounds_of_a_queue),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
