/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Connections of the native front: fragments, malformed frames, too much at once, hanging up at any moment, idle ones, stopping. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "tests/lib/native_rig.h"

#define NOTHING ((struct slice){NULL, 0})
#define BODY SLICE_LIT("hi")
#define LETTERS "a", "pg", "b", "T", "c", "TBW102", "d", "4", "e", "3", "f", "0", "g", "1", "h", "7", "i", "TAGS\1TagA\2"
#define PULL "consumerGroup", "g", "topic", "T", "queueId", "1", "queueOffset", "5", "maxMsgNums", "32", "commitOffset", "4", "sysFlag", "2", \
	"suspendTimeoutMillis", "15000", "subVersion", "0"
#define BEAT "{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[{\"topic\":\"T\",\"subString\":\"*\"," \
	"\"subVersion\":1}]}],\"producerDataSet\":[{\"groupName\":\"p\"}]}"
#define LOCKS "{\"clientId\":\"c\",\"consumerGroup\":\"g\",\"mqSet\":[{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"T\"}]}"
#define GROUP "{\"groupName\":\"g\"}"

/* One request of every kind that is served, in both forms. */
static void every_request(struct rig *r)
{
	for (int form = WIRE_JSON; form <= WIRE_BINARY; form++) {
		r->form = (enum wire_form)form;
		rig_ask(r, REQ_HEART_BEAT, SLICE_LIT(BEAT), NULL);
		rig_ask(r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
		rig_ask(r, REQ_SEND_BATCH_MESSAGE, BODY, LETTERS, NULL);
		rig_ask_oneway(r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
		rig_ask(r, REQ_PULL_MESSAGE, NOTHING, PULL, NULL);
		rig_ask(r, REQ_QUERY_MESSAGE, NOTHING, "topic", "T", "key", "k", "maxNum", "3", "beginTimestamp", "0", "endTimestamp", "9", NULL);
		rig_ask(r, REQ_VIEW_MESSAGE_BY_ID, NOTHING, "offset", "4096", NULL);
		rig_ask(r, REQ_QUERY_CONSUMER_OFFSET, NOTHING, "consumerGroup", "g", "topic", "T", "queueId", "0", NULL);
		rig_ask(r, REQ_UPDATE_CONSUMER_OFFSET, NOTHING, "consumerGroup", "g", "topic", "T", "queueId", "0", "commitOffset", "3", NULL);
		rig_ask(r, REQ_SEARCH_OFFSET_BY_TIMESTAMP, NOTHING, "topic", "T", "queueId", "0", "timestamp", "5", NULL);
		rig_ask(r, REQ_GET_MAX_OFFSET, NOTHING, "topic", "T", "queueId", "0", NULL);
		rig_ask(r, REQ_GET_MIN_OFFSET, NOTHING, "topic", "T", "queueId", "0", NULL);
		rig_ask(r, REQ_GET_EARLIEST_MSG_STORETIME, NOTHING, "topic", "T", "queueId", "0", NULL);
		rig_ask(r, REQ_GET_CONSUMER_LIST_BY_GROUP, NOTHING, "consumerGroup", "g", NULL);
		rig_ask(r, REQ_LOCK_BATCH_MQ, SLICE_LIT(LOCKS), NULL);
		rig_ask(r, REQ_UNLOCK_BATCH_MQ, SLICE_LIT(LOCKS), NULL);
		rig_ask(r, REQ_CONSUMER_SEND_MSG_BACK, NOTHING, "offset", "1", "group", "g", "delayLevel", "0", NULL);
		rig_ask(r, REQ_UPDATE_AND_CREATE_TOPIC, NOTHING, "topic", "T", "readQueueNums", "4", "writeQueueNums", "4", "perm", "6", NULL);
		rig_ask(r, REQ_DELETE_TOPIC_IN_BROKER, NOTHING, "topic", "T", NULL);
		rig_ask(r, REQ_GET_TOPIC_CONFIG, NOTHING, "topic", "T", NULL);
		rig_ask(r, REQ_GET_ALL_TOPIC_CONFIG, NOTHING, NULL);
		rig_ask(r, REQ_GET_SYSTEM_TOPIC_LIST_FROM_BROKER, NOTHING, NULL);
		rig_ask(r, REQ_GET_BROKER_RUNTIME_INFO, NOTHING, NULL);
		rig_ask(r, REQ_UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, SLICE_LIT(GROUP), NULL);
		rig_ask(r, REQ_GET_ALL_SUBSCRIPTIONGROUP_CONFIG, NOTHING, NULL);
		rig_ask(r, REQ_GET_SUBSCRIPTIONGROUP_CONFIG, NOTHING, "group", "g", NULL);
		rig_ask(r, REQ_DELETE_SUBSCRIPTIONGROUP, NOTHING, "groupName", "g", NULL);
		rig_ask(r, REQ_GET_TOPIC_STATS_INFO, NOTHING, "topic", "T", NULL);
		rig_ask(r, REQ_GET_CONSUMER_CONNECTION_LIST, NOTHING, "consumerGroup", "g", NULL);
		rig_ask(r, REQ_GET_PRODUCER_CONNECTION_LIST, NOTHING, "producerGroup", "p", NULL);
		rig_ask(r, REQ_GET_CONSUME_STATS, NOTHING, "consumerGroup", "g", NULL);
		rig_ask(r, REQ_QUERY_TOPIC_CONSUME_BY_WHO, NOTHING, "topic", "T", NULL);
		rig_ask(r, REQ_GET_BROKER_CONSUME_STATS, NOTHING, "isOrder", "false", NULL);
		rig_ask(r, REQ_QUERY_CONSUME_QUEUE, NOTHING, "topic", "T", "queueId", "1", "index", "3", "count", "2", NULL);
		rig_ask(r, REQ_GET_ALL_PRODUCER_INFO, NOTHING, NULL);
		rig_ask(r, REQ_GET_BROKER_CONFIG, NOTHING, NULL);
		rig_ask(r, REQ_INVOKE_BROKER_TO_RESET_OFFSET, NOTHING, "topic", "T", "group", "x", "timestamp", "5", "isForce", "false", NULL);
		rig_ask(r, REQ_GET_CONSUMER_RUNNING_INFO, NOTHING, "consumerGroup", "x", "clientId", "y", NULL);
		rig_ask(r, REQ_CONSUME_MESSAGE_DIRECTLY, NOTHING, "consumerGroup", "x", "msgId", "7F00000100002A9F00000000000003E8", NULL);
		rig_ask(r, REQ_CHECK_CLIENT_CONFIG, SLICE_LIT("{\"clientId\":\"c\",\"group\":\"g\"}"), NULL);
		rig_ask(r, REQ_END_TRANSACTION, NOTHING, NULL);
		rig_ask(r, REQ_SEND_REPLY_MESSAGE_V2, NOTHING, NULL);
		rig_ask(r, 4242, NOTHING, NULL);
		rig_ask(r, REQ_UNREGISTER_CLIENT, NOTHING, "clientID", "c", "consumerGroup", "g", NULL);
	}
}

/* What answers need. */
static struct piece piece = {SLICE_LIT("rec"), NULL};
static struct topic_info topic = {.name = SLICE_LIT("T")};
static struct group_info group = {.name = SLICE_LIT("g")};
static struct offset_info offset = {.topic = SLICE_LIT("T"), .queue = 0, .offset = 3, .min = 1, .max = 9};

static void furnish(struct rig *r)
{
	r->e.pieces = &piece;
	r->e.n_pieces = 1;
	r->e.min = 1;
	r->e.max = 9;
	r->e.topics = &topic;
	r->e.n_topics = 1;
	r->e.groups = &group;
	r->e.n_groups = 1;
	r->e.offsets = &offset;
	r->e.n_offsets = 1;
}

static void open_wide(struct rig *r)
{
	rig_open(r);
	furnish(r);
}

/* All bytes that a sequence of requests makes. */
static void collect(struct buf *to)
{
	struct rig r;

	open_wide(&r);
	r.conf.max_requests = 1000;
	/* A paused stream keeps what it is fed. */
	r.s.paused = true;
	every_request(&r);
	buf_slice(to, buf_view(&r.s.in));
	buf_reset(&r.s.in);
	rig_close(&r);
}

static void every_cut_gives_the_same_answers(void **state)
{
	(void)state;
	struct buf all = {0}, expected = {0};
	struct rig r;

	collect(&all);
	open_wide(&r);
	r.conf.max_requests = 1000;
	fake_stream_feed(&r.s, buf_view(&all));
	rig_turn(&r);
	buf_slice(&expected, buf_view(&r.s.out));
	assert_true(expected.n > 1000);
	rig_close(&r);

	/* Cut once at every place. */
	for (size_t cut = 1; cut < all.n; cut++) {
		open_wide(&r);
		r.conf.max_requests = 1000;
		r.e.quiet = true;
		fake_stream_feed(&r.s, slice_of(all.p, cut));
		fake_stream_feed(&r.s, slice_of(all.p + cut, all.n - cut));
		rig_turn(&r);
		assert_int_equal(r.s.out.n, expected.n);
		assert_memory_equal(r.s.out.p, expected.p, expected.n);
		rig_close(&r);
	}
	buf_fini(&all);
	buf_fini(&expected);
}

static void byte_by_byte(void **state)
{
	(void)state;
	struct buf all = {0};
	struct rig r;
	unsigned answers = 0;

	collect(&all);
	open_wide(&r);
	for (size_t i = 0; i < all.n; i++) {
		fake_stream_feed(&r.s, slice_of(all.p + i, 1));
		rig_turn(&r);
		while (rig_next(&r))
			answers++;
	}
	assert_false(r.s.close_asked);
	assert_int_equal(answers, 2 * 43);
	rig_close(&r);
	buf_fini(&all);
}

static void hanging_up_leaves_nothing_behind(void **state)
{
	(void)state;
	struct buf all = {0};
	struct rig r;

	collect(&all);
	/* Everything under way at once. */
	open_wide(&r);
	r.conf.max_requests = 1000;
	r.e.hold_pulls = true;
	fake_stream_feed(&r.s, buf_view(&all));
	fake_stream_hangup(&r.s, ST_OK);
	fake_engine_run(&r.e);
	assert_int_equal(r.s.out.n > 0, 1); /* what needs no engine was answered */
	rig_close(&r);
	/* In the middle of anything, and after any number of engine turns. */
	for (unsigned turns = 0; turns < 4; turns++)
		for (size_t cut = 1; cut < all.n; cut += 7) {
			open_wide(&r);
			r.conf.max_requests = 1000;
			r.e.quiet = true;
			r.e.hold_pulls = cut % 2;
			fake_stream_feed(&r.s, slice_of(all.p, cut));
			for (unsigned i = 0; i < turns; i++)
				fake_engine_turn(&r.e);
			fake_stream_hangup(&r.s, ST_OK);
			fake_engine_run(&r.e);
			rig_close(&r);
		}
	buf_fini(&all);
}

static void every_failure_is_answered(void **state)
{
	(void)state;
	struct buf all = {0};

	collect(&all);
	for (int st = ST_OK + 1; st < ST_COUNT; st++) {
		struct rig r;
		unsigned answers = 0;

		open_wide(&r);
		r.conf.max_requests = 1000;
		for (int v = 0; v < ENGINE_VERB_COUNT; v++)
			r.e.next[v] = (enum status)st;
		r.e.next[ENGINE_LEAVE] = ST_OK;
		fake_stream_feed(&r.s, buf_view(&all));
		rig_turn(&r);
		while (rig_next(&r))
			answers++;
		assert_int_equal(answers, 2 * 43);
		rig_close(&r);
	}
	buf_fini(&all);
}

static void malformed_frames_close_this_connection_only(void **state)
{
	(void)state;
	static const struct { const char *bytes; size_t n; } bad[] = {
		{"\x7f\xff\xff\xff\x00\x00\x00\x01{", 9},           /* over 16 MiB */
		{"\x00\x00\x00\x03\x00\x00\x00", 7},                /* shorter than its own length word */
		{"\x00\x00\x00\x08\x07\x00\x00\x04{}{}", 12},       /* no such header form */
		{"\x00\x00\x00\x08\x00\x00\x00\x09{}{}", 12},       /* header longer than the frame */
		{"\x00\x00\x00\x08\x00\x00\x00\x04{]{}", 12},       /* not JSON */
		{"\x00\x00\x00\x08\x01\x00\x00\x04\x00\x0a\x00\x00", 12}, /* binary header cut short */
		{"GET / HTTP/1.1\r\n\r\n", 18},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11}, /* TLS where there is none */
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct rig r;
		struct fake_stream other;

		rig_open(&r);
		fake_stream_open(&other, front_native.stream, r.front, "127.0.0.1:40001");
		rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
		fake_stream_feed(&r.s, slice_of(bad[i].bytes, bad[i].n));
		assert_true(r.s.close_asked);
		assert_non_null(strstr(buf_cstr(&r.lines), "peer=127.0.0.1:40000 closed: malformed frame: "));
		assert_null(strchr(strchr(buf_cstr(&r.lines), '\n') + 1, '\n')); /* one line */
		rig_turn(&r);
		assert_true(r.s.closed);
		assert_int_equal(r.s.why, ST_PROTO);
		assert_int_equal(r.s.out.n, 0);
		assert_false(other.close_asked);
		fake_stream_feed(&other, buf_view(&r.request));
		fake_engine_run(&r.e);
		assert_true(other.out.n > 0);
		fake_stream_fini(&other);
		rig_close(&r);
	}
}

static void set_true(void *arg)
{
	*(bool *)arg = true;
}

static void limits_are_the_configuration_s(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	size_t size = r.request.n;
	struct buf request = r.request;
	memset(&r.request, 0, sizeof(r.request));
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_close(&r);

	for (int small = 0; small < 2; small++) {
		void *front = mem_new(front_native.size);
		struct fake_stream s;

		rig_open(&r);
		r.conf.max_frame = (uint32_t)(size - (size_t)small);
		assert_int_equal(front_native.start(front, &r.env), ST_OK);
		fake_stream_open(&s, front_native.stream, front, "p");
		fake_stream_feed(&s, buf_view(&request));
		assert_int_equal(s.close_asked, small);
		fake_engine_run(&r.e);
		fake_stream_fini(&s);
		bool stopped = false;
		front_native.stop(front, set_true, &stopped);
		assert_true(stopped);
		rig_close(&r);
		mem_free(front);
	}
	buf_fini(&request);
}

static void a_flood_pauses_input(void **state)
{
	(void)state;
	for (int eager = 0; eager < 2; eager++) {
		struct rig r;
		unsigned answers = 0;

		rig_open(&r);
		r.s.eager = eager;
		r.conf.max_requests = 10;
		for (int i = 0; i < 100; i++)
			rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
		assert_true(r.s.paused);
		assert_int_equal(r.e.asked[ENGINE_SEND], 10);
		for (int turn = 0; turn < 100 && answers < 100; turn++) {
			uint64_t before = r.e.asked[ENGINE_SEND];
			unsigned pending = 0;

			LIST_EACH(&r.e.asks, n)
				pending++;
			assert_true(pending <= 10);
			fake_engine_turn(&r.e);
			fake_stream_step(&r.s);
			assert_true(r.e.asked[ENGINE_SEND] - before <= 20);
			while (rig_next(&r)) {
				answers++;
				assert_int_equal(r.got.opaque, answers); /* in order, none twice */
			}
		}
		assert_int_equal(answers, 100);
		assert_false(r.s.paused);
		rig_close(&r);
	}
}

static void paused_input_is_resumed_when_half_is_answered(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.conf.max_requests = 10;
	for (int i = 0; i < 4; i++)
		rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	struct list first;
	list_init(&first);
	list_move(&first, &r.e.asks);
	for (int i = 0; i < 7; i++)
		rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	assert_true(r.s.paused);
	struct list rest;
	list_init(&rest);
	list_move(&rest, &r.e.asks);
	list_move(&r.e.asks, &first);
	fake_engine_turn(&r.e);
	assert_true(r.s.paused); /* six are left */
	/* Bytes that are offered nevertheless are left alone. */
	assert_int_equal(r.s.ops->input(r.s.conn, buf_view(&r.s.in)), 0);
	assert_int_equal(r.e.asked[ENGINE_SEND], 10);
	list_push(&r.e.asks, list_pop(&rest));
	fake_engine_turn(&r.e);
	assert_false(r.s.paused);
	list_move(&r.e.asks, &rest);
	rig_turn(&r);
	for (int i = 0; i < 11; i++)
		rig_expect(&r, ANS_SUCCESS);
	rig_close(&r);
}

static void a_client_that_does_not_read_is_paused(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.s.room = 0;
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	assert_true(r.s.paused);
	assert_int_equal(r.e.asked[ENGINE_SEND], 0);
	r.s.room = 100;
	r.s.ops->drained(r.s.conn);
	assert_false(r.s.paused);
	fake_stream_step(&r.s);
	assert_int_equal(r.e.asked[ENGINE_SEND], 1);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_close(&r);
}

static void waiting_pulls_have_a_bound_of_their_own(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.e.quiet = true;
	r.e.hold_pulls = true;
	for (int i = 0; i < 4096; i++)
		rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, NULL);
	assert_false(r.s.paused);
	rig_none(&r);
	rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, NULL);
	rig_expect(&r, ANS_SYSTEM_BUSY);
	rig_ask(&r, REQ_GET_MAX_OFFSET, NOTHING, "topic", "T", "queueId", "0", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	fake_engine_wake(&r.e, ST_EMPTY);
	for (int i = 0; i < 4096; i++)
		rig_expect(&r, ANS_PULL_NOT_FOUND);
	rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, NULL);
	rig_none(&r);
	rig_close(&r);
}

static void answers_of_clients_are_ignored(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	rig_feed_json(&r, "{\"code\":0,\"flag\":1,\"language\":\"JAVA\",\"opaque\":5,\"version\":407}", NOTHING);
	rig_turn(&r);
	rig_none(&r);
	assert_false(r.s.close_asked);
	rig_close(&r);
}

static void idle_connections_are_closed(void **state)
{
	(void)state;
	struct rig r;
	uint64_t due, start;

	rig_open(&r);
	start = r.now_ns;
	due = r.s.ops->turn(r.s.conn, r.now_ns);
	assert_true(due > r.now_ns && due <= r.now_ns + 10 * SEC_NS);
	/* 119 seconds of silence are fine, and a request starts them anew. */
	r.now_ns = start + 119 * SEC_NS;
	r.s.ops->turn(r.s.conn, r.now_ns);
	assert_false(r.s.close_asked);
	rig_ask(&r, REQ_GET_MAX_OFFSET, NOTHING, "topic", "T", "queueId", "0", NULL);
	rig_turn(&r);
	r.s.ops->turn(r.s.conn, r.now_ns);
	start = r.now_ns;
	while (!r.s.close_asked) {
		due = r.s.ops->turn(r.s.conn, r.now_ns);
		if (due == NEVER)
			break;
		assert_true(due > r.now_ns);
		r.now_ns = due;
		fake_engine_run(&r.e);
		assert_true(r.now_ns - start <= 150 * SEC_NS);
	}
	assert_true(r.s.close_asked);
	assert_true(r.now_ns - start >= 120 * SEC_NS);
	assert_string_equal(r.s.reason, "0 idle");
	rig_close(&r);
}

static void draining_answers_what_is_under_way(void **state)
{
	(void)state;
	struct rig r;

	rig_open(&r);
	r.e.hold_pulls = true;
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	rig_ask(&r, REQ_PULL_MESSAGE, NOTHING, PULL, NULL);
	fake_stream_step(&r.s);
	front_native.drain(r.front);
	fake_engine_run(&r.e);
	rig_expect(&r, ANS_SUCCESS);
	rig_expect(&r, ANS_SERVICE_NOT_AVAILABLE);
	rig_close(&r);
}

static void stop_closes_connections(void **state)
{
	(void)state;
	struct rig r;
	struct fake_stream late;
	bool stopped = false;
	void *front = mem_new(front_native.size);

	rig_open(&r);
	assert_int_equal(front_native.start(front, &r.env), ST_OK);
	struct fake_stream s;
	fake_stream_open(&s, front_native.stream, front, "p");
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	fake_stream_feed(&s, buf_view(&r.request));
	front_native.stop(front, set_true, &stopped);
	assert_false(s.close_asked); /* its send is under way */
	fake_stream_open(&late, front_native.stream, front, "q");
	assert_true(late.close_asked);
	fake_engine_run(&r.e);
	assert_true(s.out.n > 0);
	assert_true(s.close_asked);
	assert_false(stopped);
	fake_stream_fini(&s);
	assert_false(stopped);
	fake_stream_fini(&late);
	assert_true(stopped);
	mem_free(front);
	rig_close(&r);
}

static void describe_is_a_document(void **state)
{
	(void)state;
	struct rig r;
	struct buf b = {0};

	rig_open(&r);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	front_native.describe(r.front, &b);
	assert_non_null(strstr(buf_cstr(&b), "{\"connections\":1,"));
	assert_non_null(strstr(buf_cstr(&b), "\"requestsUnderWay\":1,"));
	buf_fini(&b);
	rig_turn(&r);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cut_gives_the_same_answers),
		cmocka_unit_test(byte_by_byte),
		cmocka_unit_test(hanging_up_leaves_nothing_behind),
		cmocka_unit_test(every_failure_is_answered),
		cmocka_unit_test(malformed_frames_close_this_connection_only),
		cmocka_unit_test(limits_are_the_configuration_s),
		cmocka_unit_test(a_flood_pauses_input),
		cmocka_unit_test(paused_input_is_resumed_when_half_is_answered),
		cmocka_unit_test(a_client_that_does_not_read_is_paused),
		cmocka_unit_test(waiting_pulls_have_a_bound_of_their_own),
		cmocka_unit_test(answers_of_clients_are_ignored),
		cmocka_unit_test(idle_connections_are_closed),
		cmocka_unit_test(draining_answers_what_is_under_way),
		cmocka_unit_test(stop_closes_connections),
		cmocka_unit_test(describe_is_a_document),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
