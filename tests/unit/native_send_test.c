/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Sending through the native front: every client's way to write the request, the answers, and the refusals. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "front/native/nat.h"
#include "tests/lib/native_rig.h"

#define BODY SLICE_LIT("hi")
/* Fields of 310 as Java writes them. */
#define LETTERS "a", "pg", "b", "T", "c", "TBW102", "d", "4", "e", "3", "f", "0", "g", "1700000000000", "h", "7", "i", "TAGS\1TagA\2", \
	"j", "0", "k", "false", "m", "false", "n", "broker-a"

static const char java_trace[] = "SEND topic=T queue=3 body=hi props=TAGS=TagA; flag=7 sys=0 times=0 max=-1 born=1700000000000 ip=2130706433 "
	"port=40000 batch=0 default=TBW102 queues=4\n";

static void check_answer(struct rig *r)
{
	rig_expect(r, ANS_SUCCESS);
	assert_string_equal(rig_ext(r, "msgId"), "7F00000100002A9F00000000000003E8");
	assert_string_equal(rig_ext(r, "queueId"), "3");
	assert_string_equal(rig_ext(r, "queueOffset"), "0");
	assert_string_equal(rig_ext(r, "MSG_REGION"), "DefaultRegion");
	assert_string_equal(rig_ext(r, "TRACE_ON"), "true");
	assert_int_equal(r->got.opaque, r->opaque);
	assert_int_equal(r->got.body.n, 0);
}

static void java_310_in_both_forms(void **state)
{
	(void)state;
	for (int form = WIRE_JSON; form <= WIRE_BINARY; form++) {
		struct rig r;

		rig_open(&r);
		r.form = (enum wire_form)form;
		rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
		rig_none(&r); /* nothing is answered before the engine is done */
		rig_turn(&r);
		assert_string_equal(fake_engine_trace(&r.e), java_trace);
		check_answer(&r);
		assert_int_equal(r.got.form, form);
		rig_close(&r);
	}
}

static void go_10_with_long_names(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_SEND_MESSAGE, BODY, "producerGroup", "pg", "topic", "T", "defaultTopic", "TBW102", "defaultTopicQueueNums", "4",
		"queueId", "3", "sysFlag", "0", "bornTimestamp", "1700000000000", "flag", "7", "properties", "TAGS\1TagA\2", "reconsumeTimes", "0",
		"unitMode", "false", "maxReconsumeTimes", "0", "batch", "false", NULL);
	rig_turn(&r);
	assert_non_null(strstr(fake_engine_trace(&r.e), "topic=T queue=3 body=hi props=TAGS=TagA; flag=7 sys=0 times=0 max=0"));
	check_answer(&r);
	rig_close(&r);
}

static void cpp_numbers_instead_of_texts(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.opaque = 9;
	rig_feed_json(&r,
		"{\"code\":310,\"extFields\":{\"a\":\"pg\",\"b\":\"T\",\"c\":\"TBW102\",\"d\":4,\"e\":3,\"f\":0,\"g\":\"1700000000000\",\"h\":7,"
		"\"i\":\"TAGS\\u0001TagA\\u0002\",\"j\":\"0\",\"k\":\"false\",\"l\":-1,\"m\":\"false\",\"OnsChannel\":\"ALIYUN\"},\"flag\":0,"
		"\"language\":\"CPP\",\"opaque\":9,\"version\":333}", BODY);
	rig_turn(&r);
	assert_string_equal(fake_engine_trace(&r.e), java_trace);
	check_answer(&r);
	assert_int_equal(r.got.form, WIRE_JSON);
	rig_close(&r);
}

static void old_clients_do_not_set_max_reconsume(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_feed_json(&r,
		"{\"code\":310,\"extFields\":{\"a\":\"pg\",\"b\":\"%RETRY%g\",\"c\":\"TBW102\",\"d\":\"4\",\"e\":\"0\",\"f\":\"0\",\"g\":\"1\","
		"\"h\":\"0\",\"j\":\"3\",\"l\":\"5\"},\"flag\":0,\"language\":\"JAVA\",\"opaque\":1,\"version\":120}", BODY);
	rig_feed_json(&r,
		"{\"code\":310,\"extFields\":{\"a\":\"pg\",\"b\":\"%RETRY%g\",\"c\":\"TBW102\",\"d\":\"4\",\"e\":\"0\",\"f\":\"0\",\"g\":\"1\","
		"\"h\":\"0\",\"j\":\"3\",\"l\":\"5\"},\"flag\":0,\"language\":\"JAVA\",\"opaque\":2,\"version\":121}", BODY);
	const char *trace = fake_engine_trace(&r.e);
	assert_non_null(strstr(trace, "times=3 max=-1"));
	assert_non_null(strstr(trace, "times=3 max=5"));
	rig_turn(&r);
	rig_close(&r);
}

static void batches_by_code_and_by_field(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_SEND_BATCH_MESSAGE, BODY, LETTERS, NULL);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, "a", "pg", "b", "T", "c", "TBW102", "d", "4", "e", "3", "f", "0", "g", "1", "h", "0", "m",
		"true", NULL);
	assert_int_equal(r.e.asked[ENGINE_SEND], 2);
	const char *trace = fake_engine_trace(&r.e);
	assert_non_null(strstr(trace, "batch=1"));
	assert_null(strstr(trace, "batch=0"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "msgId"), "7F00000100002A9F00000000000003E8,7F00000100002A9F000000000000044C,"
		"7F00000100002A9F00000000000004B0");
	assert_string_equal(rig_ext(&r, "queueOffset"), "0");
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "queueOffset"), "3");
	rig_close(&r);
}

static void oneway_is_stored_and_never_answered(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask_oneway(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	rig_ask_oneway(&r, REQ_SEND_BATCH_MESSAGE, BODY, LETTERS, NULL);
	r.e.next[ENGINE_SEND] = ST_BUSY;
	rig_ask_oneway(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	rig_ask_oneway(&r, REQ_SEND_MESSAGE_V2, BODY, "a", "pg", NULL);
	rig_ask_oneway(&r, 9999, BODY, NULL);
	assert_int_equal(r.e.asked[ENGINE_SEND], 3);
	rig_turn(&r);
	rig_none(&r);
	rig_close(&r);
}

static void each_status_has_its_code_and_text(void **state)
{
	(void)state;
	static const struct { enum status st; int32_t code; } rows[] = {
		{ST_NO_TOPIC, 17}, {ST_NO_QUEUE, 29}, {ST_BAD_NAME, 29}, {ST_DENIED, 16}, {ST_ILLEGAL, 13}, {ST_TOO_BIG, 13}, {ST_BUSY, 2},
		{ST_DISK_FULL, 14}, {ST_IO, 14}, {ST_CLOSED, 14}, {ST_UNSUPPORTED, 13},
	};
	struct rig r;

	rig_open(&r);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		r.e.next[ENGINE_SEND] = rows[i].st;
		rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
		rig_turn(&r);
		rig_expect(&r, rows[i].code);
		assert_non_null(strstr(rig_remark(&r), status_text(rows[i].st)));
		assert_non_null(strstr(rig_remark(&r), ": T"));
		assert_string_equal(rig_ext(&r, "msgId"), "(absent)");
	}
	rig_close(&r);
}

static void a_missing_field_is_named(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, "a", "pg", "b", "T", "c", "TBW102", "d", "4", "f", "0", "g", "1", "h", "0", NULL);
	rig_ask(&r, REQ_SEND_MESSAGE, BODY, "producerGroup", "pg", "topic", "T", "defaultTopic", "TBW102", "defaultTopicQueueNums", "x", NULL);
	rig_turn(&r);
	assert_int_equal(r.e.asked[ENGINE_SEND], 0);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	assert_non_null(strstr(rig_remark(&r), "queueId"));
	rig_expect(&r, ANS_SYSTEM_ERROR);
	assert_non_null(strstr(rig_remark(&r), "defaultTopicQueueNums"));
	rig_close(&r);
}

static void too_big_a_body_is_refused_before_the_engine(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.conf.max_message = 1;
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	assert_int_equal(r.e.asked[ENGINE_SEND], 0);
	rig_expect(&r, ANS_MESSAGE_ILLEGAL);
	r.conf.max_message = 2;
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	assert_int_equal(r.e.asked[ENGINE_SEND], 1);
	rig_turn(&r);
	rig_close(&r);
}

static void half_messages_are_refused(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, "a", "pg", "b", "T", "c", "TBW102", "d", "4", "e", "3", "f", "4", "g", "1", "h", "0", NULL);
	rig_expect(&r, ANS_NO_PERMISSION);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, "a", "pg", "b", "T", "c", "TBW102", "d", "4", "e", "3", "f", "0", "g", "1", "h", "0", "i",
		"PGROUP\1pg\2TRAN_MSG\1true\2", NULL);
	rig_expect(&r, ANS_NO_PERMISSION);
	assert_non_null(strstr(rig_remark(&r), "transaction"));
	assert_int_equal(r.e.asked[ENGINE_SEND], 0);
	/* A value that only mentions it, and a message that is retried, are ordinary. */
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, "a", "pg", "b", "T", "c", "TBW102", "d", "4", "e", "3", "f", "0", "g", "1", "h", "0", "i",
		"KEYS\1TRAN_MSG\2", NULL);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, "a", "pg", "b", "%RETRY%g", "c", "TBW102", "d", "4", "e", "0", "f", "0", "g", "1", "h", "0", "j",
		"2", "i", "TRAN_MSG\1true\2DELAY\0015\2", NULL);
	assert_int_equal(r.e.asked[ENGINE_SEND], 2);
	rig_turn(&r);
	rig_close(&r);
}

static void replies_and_transaction_ends_are_refused_clearly(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_SEND_REPLY_MESSAGE_V2, BODY, LETTERS, NULL);
	rig_expect(&r, ANS_REQUEST_CODE_NOT_SUPPORTED);
	assert_non_null(strstr(rig_remark(&r), "request-reply"));
	rig_ask(&r, REQ_SEND_REPLY_MESSAGE, BODY, NULL);
	rig_expect(&r, ANS_REQUEST_CODE_NOT_SUPPORTED);
	rig_ask(&r, REQ_END_TRANSACTION, (struct slice){NULL, 0}, NULL);
	rig_expect(&r, ANS_REQUEST_CODE_NOT_SUPPORTED);
	assert_non_null(strstr(rig_remark(&r), "transaction"));
	rig_ask(&r, REQ_RECALL_MESSAGE, BODY, NULL);
	rig_expect(&r, ANS_REQUEST_CODE_NOT_SUPPORTED);
	assert_string_equal(rig_remark(&r), " request type 370 not supported");
	static const int32_t nobodys[] = {-1, 0, NAT_CODES, INT32_MAX};
	for (size_t i = 0; i < ARRAY_LEN(nobodys); i++) {
		rig_ask(&r, nobodys[i], BODY, NULL);
		rig_expect(&r, ANS_REQUEST_CODE_NOT_SUPPORTED);
	}
	rig_close(&r);
}

static void send_back_names_the_record(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_feed_json(&r,
		"{\"code\":36,\"extFields\":{\"offset\":\"4096\",\"group\":\"g\",\"delayLevel\":\"0\",\"originMsgId\":\"AB\",\"originTopic\":\"T\","
		"\"unitMode\":\"false\",\"maxReconsumeTimes\":\"16\"},\"flag\":0,\"language\":\"JAVA\",\"opaque\":1,\"version\":407}",
		(struct slice){NULL, 0});
	assert_string_equal(fake_engine_trace(&r.e), "SEND_BACK group=g position=4096 level=0 max=16 origin=AB\n");
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	r.e.next[ENGINE_SEND_BACK] = ST_NOT_FOUND;
	rig_ask(&r, REQ_CONSUMER_SEND_MSG_BACK, (struct slice){NULL, 0}, "offset", "1", "group", "g", "delayLevel", "-1", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	r.e.next[ENGINE_SEND_BACK] = ST_NO_GROUP;
	rig_ask(&r, REQ_CONSUMER_SEND_MSG_BACK, (struct slice){NULL, 0}, "offset", "1", "group", "g", "delayLevel", "-1", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUBSCRIPTION_GROUP_NOT_EXIST);
	rig_ask(&r, REQ_CONSUMER_SEND_MSG_BACK, (struct slice){NULL, 0}, "offset", "-1", "group", "g", "delayLevel", "0", NULL);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	rig_close(&r);
}

static void draining_refuses_sends_only(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	front_native.drain(r.front);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	rig_expect(&r, ANS_SERVICE_NOT_AVAILABLE);
	assert_string_equal(rig_remark(&r), "shutting down");
	rig_ask(&r, REQ_CONSUMER_SEND_MSG_BACK, BODY, "offset", "1", "group", "g", "delayLevel", "0", NULL);
	rig_expect(&r, ANS_SERVICE_NOT_AVAILABLE);
	rig_ask(&r, REQ_GET_MAX_OFFSET, BODY, "topic", "T", "queueId", "0", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(java_310_in_both_forms),
		cmocka_unit_test(go_10_with_long_names),
		cmocka_unit_test(cpp_numbers_instead_of_texts),
		cmocka_unit_test(old_clients_do_not_set_max_reconsume),
		cmocka_unit_test(batches_by_code_and_by_field),
		cmocka_unit_test(oneway_is_stored_and_never_answered),
		cmocka_unit_test(each_status_has_its_code_and_text),
		cmocka_unit_test(a_missing_field_is_named),
		cmocka_unit_test(too_big_a_body_is_refused_before_the_engine),
		cmocka_unit_test(half_messages_are_refused),
		cmocka_unit_test(replies_and_transaction_ends_are_refused_clearly),
		cmocka_unit_test(send_back_names_the_record),
		cmocka_unit_test(draining_refuses_sends_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
