/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Heartbeats, leaving, notices, who is in a group, and queue locks. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/lib/native_rig.h"

#define NOTHING ((struct slice){NULL, 0})
#define JAVA_BEAT \
	"{\"clientID\":\"10.0.0.1@1#2\",\"consumerDataSet\":[{\"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\",\"consumeType\":" \
	"\"CONSUME_PASSIVELY\",\"groupName\":\"g\",\"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":[{\"classFilterMode\":false," \
	"\"codeSet\":[2598919],\"expressionType\":\"TAG\",\"subString\":\"TagA\",\"subVersion\":1700000000000,\"tagsSet\":[\"TagA\"]," \
	"\"topic\":\"T\"},{\"classFilterMode\":false,\"codeSet\":[],\"expressionType\":\"TAG\",\"subString\":\"*\",\"subVersion\":5," \
	"\"tagsSet\":[],\"topic\":\"%RETRY%g\"}],\"unitMode\":false}],\"heartbeatFingerprint\":FP,\"producerDataSet\":[{\"groupName\":" \
	"\"CLIENT_INNER_PRODUCER\"}],\"withoutSub\":SHORT}"

static void beat(struct rig *r, const char *body)
{
	rig_ask(r, REQ_HEART_BEAT, slice_str(body), NULL);
}

/* JAVA_BEAT with its two variable parts. */
static const char *java_beat(const char *fingerprint, const char *without_sub)
{
	static char text[2048];
	const char *all = JAVA_BEAT, *fp = strstr(all, "FP"), *cut = strstr(all, "SHORT");

	snprintf(text, sizeof(text), "%.*s%s%.*s%s%s", (int)(fp - all), all, fingerprint, (int)(cut - fp) - 2, fp + 2, without_sub, cut + 5);
	return text;
}

static void simple_beat(struct rig *r, const char *group)
{
	struct buf b = {0};

	buf_str(&b, "{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"");
	buf_str(&b, group);
	buf_str(&b, "\",\"consumeType\":\"CONSUME_PASSIVELY\",\"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":[]}],\"producerDataSet\":[]}");
	rig_ask(r, REQ_HEART_BEAT, buf_view(&b), NULL);
	buf_fini(&b);
	rig_turn(r);
	rig_expect(r, ANS_SUCCESS);
}

static void java_heartbeat(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	beat(&r, java_beat("0", "false"));
	assert_string_equal(fake_engine_trace(&r.e),
		"JOIN kind=1 group=CLIENT_INNER_PRODUCER client=10.0.0.1@1#2 language=1 version=479\n"
		"JOIN kind=0 group=g client=10.0.0.1@1#2 language=1 version=479 type=1 model=1 from=4 keep=0 "
		"sub=T expr=TagA v=1700000000000 sub=%RETRY%g expr=* v=5\n");
	rig_none(&r); /* not before all joins are done */
	fake_engine_turn(&r.e);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "IS_SUPPORT_HEART_BEAT_V2"), "(absent)");
	/* Again: the same members, no new ones. */
	beat(&r, java_beat("0", "false"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_int_equal(r.e.n_members, 2);
	rig_close(&r);
}

static void cpp_heartbeat_with_ordinals(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_feed_json(&r, "{\"code\":34,\"flag\":0,\"language\":\"CPP\",\"opaque\":4,\"version\":333}",
		SLICE_LIT("{\"clientID\":\"c\",\"consumerDataSet\":[{\"consumeFromWhere\":0,\"consumeType\":0,\"groupName\":\"g\",\"messageModel\":0,"
		"\"subscriptionDataSet\":[{\"subString\":\"*\",\"subVersion\":\"77\",\"topic\":\"T\"}]}]}"));
	assert_string_equal(fake_engine_trace(&r.e),
		"JOIN kind=0 group=g client=c language=1 version=333 type=0 model=0 from=0 keep=0 sub=T expr=* v=77\n");
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_close(&r);
}

static void short_heartbeats_keep_the_subscription(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	/* A short one first: nothing is known, the full form is asked for. */
	beat(&r, java_beat("55", "true"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "IS_SUPPORT_HEART_BEAT_V2"), "true");
	assert_string_equal(rig_ext(&r, "IS_SUB_CHANGE"), "true");
	beat(&r, java_beat("55", "true"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "IS_SUB_CHANGE"), "true");
	/* The first full one is a change, the next is not; then short ones will do. */
	beat(&r, java_beat("56", "false"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "IS_SUB_CHANGE"), "true");
	beat(&r, java_beat("56", "false"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "IS_SUB_CHANGE"), "false");
	fake_engine_trace(&r.e);
	beat(&r, java_beat("56", "true"));
	assert_non_null(strstr(fake_engine_trace(&r.e), "keep=1"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "IS_SUB_CHANGE"), "false");
	/* Another fingerprint, and a subscription that another member changed. */
	beat(&r, java_beat("57", "true"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "IS_SUB_CHANGE"), "true");
	r.e.drop_subs_changed = true;
	beat(&r, java_beat("57", "true"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "IS_SUB_CHANGE"), "true");
	rig_close(&r);
}

static void a_heartbeat_counts_before_what_follows(void **state)
{
	(void)state;
	struct rig r;
	struct buf b = {0};

	rig_open(&r);
	/* Both in one read: the engine is asked in this order. */
	rig_frame_json(&b, "{\"code\":34,\"flag\":0,\"language\":\"JAVA\",\"opaque\":1,\"version\":407}", slice_str(java_beat("0", "false")));
	rig_frame_json(&b, "{\"code\":38,\"extFields\":{\"consumerGroup\":\"g\"},\"flag\":0,\"language\":\"JAVA\",\"opaque\":2,\"version\":407}", NOTHING);
	fake_stream_feed(&r.s, buf_view(&b));
	buf_fini(&b);
	const char *trace = fake_engine_trace(&r.e);
	assert_true(strstr(trace, "JOIN kind=0 group=g") < strstr(trace, "MEMBERS group=g kind=0"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r), "{\"consumerIdList\":[\"10.0.0.1@1#2\"]}");
	rig_close(&r);
}

static void sql_subscriptions_are_left_out_and_checked(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	beat(&r, "{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[{\"expressionType\":\"SQL92\","
		"\"subString\":\"a > 5\",\"subVersion\":1,\"topic\":\"T\"},{\"subString\":\"*\",\"subVersion\":2,\"topic\":\"U\"}]}]}");
	const char *trace = fake_engine_trace(&r.e);
	assert_null(strstr(trace, "sub=T"));
	assert_non_null(strstr(trace, "sub=U expr=* v=2"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_ask(&r, REQ_CHECK_CLIENT_CONFIG, SLICE_LIT("{\"clientId\":\"c\",\"group\":\"g\",\"subscriptionData\":{\"expressionType\":\"SQL92\","
		"\"subString\":\"a > 5\",\"topic\":\"T\"}}"), NULL);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	assert_string_equal(rig_remark(&r), "The broker does not support consumer to filter message by SQL92");
	rig_ask(&r, REQ_CHECK_CLIENT_CONFIG, SLICE_LIT("{\"clientId\":\"c\",\"group\":\"g\",\"subscriptionData\":{\"expressionType\":\"TAG\","
		"\"subString\":\"a\",\"topic\":\"T\"}}"), NULL);
	rig_expect(&r, ANS_SUCCESS);
	rig_ask(&r, REQ_CHECK_CLIENT_CONFIG, SLICE_LIT("{\"clientId\":\"c\",\"group\":\"g\",\"subscriptionData\":{\"expressionType\":\"XPATH\","
		"\"subString\":\"a\",\"topic\":\"T\"}}"), NULL);
	rig_expect(&r, ANS_SUBSCRIPTION_PARSE_FAILED);
	rig_ask(&r, REQ_CHECK_CLIENT_CONFIG, SLICE_LIT("not json"), NULL);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	rig_close(&r);
}

static void refused_groups_are_forgotten(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.e.next[ENGINE_JOIN] = ST_NO_GROUP;
	beat(&r, java_beat("0", "false"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUBSCRIPTION_GROUP_NOT_EXIST);
	assert_non_null(strstr(rig_remark(&r), "CLIENT_INNER_PRODUCER"));
	assert_int_equal(r.e.asked[ENGINE_LEAVE], 0);
	/* Nothing of the refused ones is left to leave. */
	fake_stream_hangup(&r.s, ST_OK);
	assert_int_equal(r.e.asked[ENGINE_LEAVE], 0);
	rig_close(&r);
}

static void a_refused_renewal_does_not_end_a_member(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	simple_beat(&r, "g");
	r.e.next[ENGINE_JOIN] = ST_BAD_FILTER;
	/* Even when the engine is about to say that it has lost the member. */
	struct engine_member *m = r.e.members[0].member;
	void *priv = m->priv[0];
	m->priv[0] = NULL;
	beat(&r, "{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[]}]}");
	rig_turn(&r);
	rig_expect(&r, ANS_SUBSCRIPTION_PARSE_FAILED);
	m->priv[0] = priv;
	fake_engine_changed(&r.e, "g");
	assert_true(rig_next(&r));
	assert_int_equal(r.got.code, REQ_NOTIFY_CONSUMER_IDS_CHANGED);
	fake_stream_hangup(&r.s, ST_OK);
	assert_int_equal(r.e.asked[ENGINE_LEAVE], 1);
	fake_engine_run(&r.e);
	rig_close(&r);
}

static void bad_heartbeats_are_answered(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	beat(&r, "");
	rig_expect(&r, ANS_SYSTEM_ERROR);
	beat(&r, "{\"clientID\":\"c\"");
	rig_expect(&r, ANS_SYSTEM_ERROR);
	beat(&r, "{\"clientID\":\"\",\"producerDataSet\":[{\"groupName\":\"p\"}]}");
	rig_expect(&r, ANS_SYSTEM_ERROR);
	assert_non_null(strstr(rig_remark(&r), "clientID"));
	beat(&r, "{\"clientID\":\"c\",\"producerDataSet\":[{\"groupName\":\"\"}]}");
	rig_expect(&r, ANS_SYSTEM_ERROR);
	assert_int_equal(r.e.asked[ENGINE_JOIN], 0);
	rig_close(&r);
}

static void unregister_leaves(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	beat(&r, java_beat("0", "false"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_ask(&r, REQ_UNREGISTER_CLIENT, NOTHING, "clientID", "10.0.0.1@1#2", "consumerGroup", "g", NULL);
	assert_int_equal(r.e.n_members, 1);
	rig_none(&r);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	/* Both at once, one of which is gone already; then nothing at all. */
	rig_ask(&r, REQ_UNREGISTER_CLIENT, NOTHING, "clientID", "10.0.0.1@1#2", "consumerGroup", "g", "producerGroup", "CLIENT_INNER_PRODUCER", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_int_equal(r.e.n_members, 0);
	rig_ask(&r, REQ_UNREGISTER_CLIENT, NOTHING, "clientID", "x", NULL);
	rig_expect(&r, ANS_SUCCESS);
	rig_ask(&r, REQ_UNREGISTER_CLIENT, NOTHING, NULL);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	/* One that left comes back with its next heartbeat. */
	beat(&r, java_beat("0", "false"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_int_equal(r.e.n_members, 2);
	rig_close(&r);
}

static void a_hang_up_leaves_all_groups(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	beat(&r, java_beat("0", "false"));
	/* The joins are still under way when the connection goes. */
	fake_stream_hangup(&r.s, ST_OK);
	assert_int_equal(r.e.asked[ENGINE_LEAVE], 2);
	fake_engine_run(&r.e);
	rig_close(&r);
}

/* ---- Notices -------------------------------------------------------------------------------------------------------------------- */

static void expect_notice(struct rig *r, const char *group)
{
	assert_true(rig_next(r));
	assert_int_equal(r->got.code, REQ_NOTIFY_CONSUMER_IDS_CHANGED);
	assert_int_equal(r->got.flag, WIRE_FLAG_ONEWAY);
	assert_int_equal(r->got.form, WIRE_JSON);
	assert_string_equal(rig_ext(r, "consumerGroup"), group);
}

static void consumers_are_told_of_changes(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.form = WIRE_BINARY;
	beat(&r, java_beat("0", "false"));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	fake_engine_changed(&r.e, "g");
	fake_engine_changed(&r.e, "CLIENT_INNER_PRODUCER");
	expect_notice(&r, "g");
	rig_none(&r); /* producers are never told */
	rig_close(&r);
}

static void a_storm_of_changes_is_two_notices(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	simple_beat(&r, "g");
	for (int i = 0; i < 100; i++)
		fake_engine_changed(&r.e, "g");
	expect_notice(&r, "g");
	rig_none(&r);
	/* When the peer speaks again the one that is owed goes out. */
	rig_ask(&r, REQ_GET_CONSUMER_LIST_BY_GROUP, NOTHING, "consumerGroup", "g", NULL);
	expect_notice(&r, "g");
	rig_none(&r);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	/* Nothing is owed now; a new change is told at once. */
	rig_ask(&r, REQ_GET_CONSUMER_LIST_BY_GROUP, NOTHING, "consumerGroup", "g", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_none(&r);
	fake_engine_changed(&r.e, "g");
	expect_notice(&r, "g");
	/* A peer that stays silent gets it with its turn. */
	fake_engine_changed(&r.e, "g");
	rig_none(&r);
	r.s.ops->turn(r.s.conn, r.now_ns + 10 * SEC_NS);
	expect_notice(&r, "g");
	fake_engine_run(&r.e);
	rig_close(&r);
}

static void an_expired_member_joins_anew(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	simple_beat(&r, "g");
	simple_beat(&r, "h");
	fake_engine_lose(&r.e, "g");
	fake_engine_changed(&r.e, "g");
	rig_none(&r);
	assert_int_equal(r.e.n_members, 1);
	simple_beat(&r, "g");
	assert_int_equal(r.e.n_members, 2);
	fake_engine_lose(&r.e, "h");
	/* Lost while it is leaving. */
	rig_ask(&r, REQ_UNREGISTER_CLIENT, NOTHING, "clientID", "c", "consumerGroup", "g", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_close(&r);
}

static void groups_of_one_connection_are_bounded(void **state)
{
	(void)state;
	struct rig r;
	struct buf b = {0};

	rig_open(&r);
	r.e.quiet = true;
	buf_str(&b, "{\"clientID\":\"c\",\"producerDataSet\":[");
	for (int i = 0; i < 1025; i++)
		buf_fmt(&b, "%s{\"groupName\":\"p%d\"}", i > 0 ? "," : "", i);
	buf_str(&b, "]}");
	rig_ask(&r, REQ_HEART_BEAT, buf_view(&b), NULL);
	buf_fini(&b);
	rig_turn(&r);
	rig_expect(&r, ANS_SYSTEM_BUSY);
	assert_non_null(strstr(rig_remark(&r), "p1024"));
	assert_int_equal(r.e.n_members, 1024);
	rig_close(&r);
}

/* ---- Groups ----------------------------------------------------------------------------------------------------------------------- */

static void an_empty_group_is_an_error(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_GET_CONSUMER_LIST_BY_GROUP, NOTHING, "consumerGroup", "g", NULL);
	r.e.next[ENGINE_MEMBERS] = ST_NO_GROUP;
	rig_ask(&r, REQ_GET_CONSUMER_LIST_BY_GROUP, NOTHING, "consumerGroup", "g", NULL);
	rig_ask(&r, REQ_GET_CONSUMER_LIST_BY_GROUP, NOTHING, NULL);
	rig_turn(&r);
	for (int i = 0; i < 3; i++)
		rig_expect(&r, ANS_SYSTEM_ERROR);
	rig_close(&r);
}

#define LOCKS "{\"clientId\":\"c\",\"consumerGroup\":\"g\",\"mqSet\":[{\"brokerName\":\"b-x\",\"queueId\":0,\"topic\":\"T\"}," \
	"{\"brokerName\":\"b-x\",\"queueId\":1,\"topic\":\"T\"},{\"brokerName\":\"b-x\",\"queueId\":0,\"topic\":\"U\"}],\"onlyThisBroker\":false}"

static void granted_locks_are_echoed(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.e.last_is_late = true;
	rig_ask(&r, REQ_LOCK_BATCH_MQ, SLICE_LIT(LOCKS), NULL);
	assert_string_equal(fake_engine_trace(&r.e), "LOCK group=g client=c topic=T queue=0 topic=T queue=1 topic=U queue=0\n");
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_body(&r), "{\"lockOKMQSet\":[{\"brokerName\":\"b-x\",\"queueId\":0,\"topic\":\"T\"},"
		"{\"brokerName\":\"b-x\",\"queueId\":0,\"topic\":\"U\"}]}");
	rig_ask_oneway(&r, REQ_UNLOCK_BATCH_MQ, SLICE_LIT(LOCKS), NULL);
	assert_string_equal(fake_engine_trace(&r.e), "UNLOCK group=g client=c topic=T queue=0 topic=T queue=1 topic=U queue=0\n");
	rig_turn(&r);
	rig_none(&r);
	rig_ask(&r, REQ_UNLOCK_BATCH_MQ, SLICE_LIT(LOCKS), NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	r.e.next[ENGINE_LOCK] = ST_NO_GROUP;
	rig_ask(&r, REQ_LOCK_BATCH_MQ, SLICE_LIT(LOCKS), NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUBSCRIPTION_GROUP_NOT_EXIST);
	rig_ask(&r, REQ_LOCK_BATCH_MQ, SLICE_LIT("{}"), NULL);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	rig_ask(&r, REQ_LOCK_BATCH_MQ, SLICE_LIT("["), NULL);
	rig_expect(&r, ANS_SYSTEM_ERROR);
	/* Asked for, and gone before the answer. */
	rig_ask(&r, REQ_LOCK_BATCH_MQ, SLICE_LIT(LOCKS), NULL);
	fake_stream_hangup(&r.s, ST_OK);
	fake_engine_run(&r.e);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(java_heartbeat),
		cmocka_unit_test(cpp_heartbeat_with_ordinals),
		cmocka_unit_test(short_heartbeats_keep_the_subscription),
		cmocka_unit_test(a_heartbeat_counts_before_what_follows),
		cmocka_unit_test(sql_subscriptions_are_left_out_and_checked),
		cmocka_unit_test(refused_groups_are_forgotten),
		cmocka_unit_test(a_refused_renewal_does_not_end_a_member),
		cmocka_unit_test(bad_heartbeats_are_answered),
		cmocka_unit_test(unregister_leaves),
		cmocka_unit_test(a_hang_up_leaves_all_groups),
		cmocka_unit_test(consumers_are_told_of_changes),
		cmocka_unit_test(a_storm_of_changes_is_two_notices),
		cmocka_unit_test(an_expired_member_joins_anew),
		cmocka_unit_test(groups_of_one_connection_are_bounded),
		cmocka_unit_test(an_empty_group_is_an_error),
		cmocka_unit_test(granted_locks_are_echoed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
