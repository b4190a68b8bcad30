/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Fields of sends and pulls as the stock clients spell them, and their answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/codes.h"
#include "wire/fields.h"

/* A request with fields name, value, name, value ... NULL. */
static struct wire_cmd request(int32_t code, const char *const *fields)
{
	struct wire_cmd c = {.code = code};
	for (; *fields != NULL; fields += 2)
		c.ext[c.n_ext++] = (struct wire_ext){slice_str(fields[0]), slice_str(fields[1])};
	return c;
}

static const char *const long_send[] = {
	"producerGroup", "pg", "topic", "T", "defaultTopic", "TBW102", "defaultTopicQueueNums", "4", "queueId", "3",
	"sysFlag", "1",
	"bornTimestamp", "1700000000000", "flag", "-9", "properties", "A\1b\2", "reconsumeTimes", "2", "unitMode", "true",
	"maxReconsumeTimes", "16", "batch", "false", "brokerName", "b-a", "unknown", "x", NULL
};
static const char *const letter_send[] = {
	"a", "pg", "b", "T", "c", "TBW102", "d", "4", "e", "3", "f", "1", "g", "1700000000000", "h", "-9", "i", "A\1b\2",
	"j", "2", "k", "true",
	"l", "16", "m", "false", "n", "b-a", "o", "x", "lo", "true", NULL
};

static void assert_send(const struct wire_send *s)
{
	assert_true(slice_eq_str(s->producer_group, "pg"));
	assert_true(slice_eq_str(s->topic, "T"));
	assert_true(slice_eq_str(s->default_topic, "TBW102"));
	assert_int_equal(s->default_queues, 4);
	assert_int_equal(s->queue, 3);
	assert_int_equal(s->sys_flag, 1);
	assert_true(s->born_ms == 1700000000000);
	assert_int_equal(s->flag, -9);
	assert_true(slice_eq_str(s->props, "A\1b\2"));
	assert_int_equal(s->reconsume_times, 2);
	assert_true(s->unit_mode);
	assert_int_equal(s->max_reconsume, 16);
	assert_true(slice_eq_str(s->broker_name, "b-a"));
}

static void a_send_is_the_same_with_names_and_letters(void **state)
{
	(void)state;
	static const struct { int32_t code; bool spelled, batch; } kinds[] = {
		{10, true, false}, {324, true, false}, {310, false, false}, {320, false, true}, {325, false, false},
	};
	for (size_t i = 0; i < 5; i++) {
		struct wire_cmd c = request(kinds[i].code, kinds[i].spelled ? long_send : letter_send);
		struct wire_send s;
		struct wire_args a;
		assert_true(wire_send_decode(&c, &s, &a));
		assert_send(&s);
		assert_int_equal(s.batch, kinds[i].batch);
		/* The other spelling says nothing. */
		c = request(kinds[i].code, kinds[i].spelled ? letter_send : long_send);
		assert_false(wire_send_decode(&c, &s, &a));
	}
}

static void optional_fields_of_a_send_have_defaults(void **state)
{
	(void)state;
	static const char *const least[] = {
		"a", "pg", "b", "T", "c", "TBW102", "d", "4", "e", "0", "f", "0", "g", "1", "h", "0", "l", "", "m", "", NULL
	};
	struct wire_cmd c = request(310, least);
	struct wire_send s;
	struct wire_args a;
	assert_true(wire_send_decode(&c, &s, &a));
	assert_int_equal(s.props.n, 0);
	assert_int_equal(s.reconsume_times, 0);
	assert_int_equal(s.max_reconsume, -1);
	assert_false(s.unit_mode);
	assert_false(s.batch);
	c.ext[9].value = SLICE_LIT("true"); /* the C++ client's batch */
	assert_true(wire_send_decode(&c, &s, &a));
	assert_true(s.batch);
}

static void a_missing_field_of_a_send_is_named(void **state)
{
	(void)state;
	for (unsigned drop = 0; drop < 8; drop++) {
		struct wire_cmd c = request(10, long_send);
		struct wire_send s;
		struct wire_args a;
		const char *name = long_send[2 * drop];
		c.ext[drop] = c.ext[c.n_ext - 1];
		assert_false(wire_send_decode(&c, &s, &a));
		assert_string_equal(a.field, name);
		assert_string_equal(a.why, "is missing");
	}
	struct wire_cmd c = request(310, letter_send);
	struct wire_send s;
	struct wire_args a;
	c.ext[4].value = SLICE_LIT("2147483648");
	assert_false(wire_send_decode(&c, &s, &a));
	assert_string_equal(a.field, "e (queueId)");
	c.ext[4].value = SLICE_LIT("");
	assert_false(wire_send_decode(&c, &s, &a));
	assert_string_equal(a.why, "is missing");
	c.ext[4].value = SLICE_LIT("1");
	c.ext[12].value = SLICE_LIT("perhaps");
	assert_false(wire_send_decode(&c, &s, &a));
	assert_string_equal(a.field, "m (batch)");
}

static const char *const pull[] = {
	"consumerGroup", "g", "topic", "T", "queueId", "2", "queueOffset", "100", "maxMsgNums", "32", "sysFlag", "3",
	"commitOffset", "-1",
	"suspendTimeoutMillis", "15000", "subVersion", "1700000000000000000", "expressionType", "TAG", "maxMsgBytes",
	"262144",
	"subscription", "a||b", "lo", "false", NULL
};

static void a_pull_is_read_whole(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		struct wire_cmd c = request(k == 0 ? REQ_PULL_MESSAGE : REQ_LITE_PULL_MESSAGE, pull);
		struct wire_pull p;
		struct wire_args a;
		assert_true(wire_pull_decode(&c, &p, &a));
		assert_true(slice_eq_str(p.group, "g") && slice_eq_str(p.topic, "T"));
		assert_int_equal(p.queue, 2);
		assert_int_equal(p.offset, 100);
		assert_int_equal(p.max_msgs, 32);
		assert_int_equal(p.max_bytes, 262144);
		assert_int_equal(p.sys_flag, PULL_COMMIT | PULL_SUSPEND);
		assert_int_equal(p.commit, -1);
		assert_int_equal(p.suspend_ms, 15000);
		assert_true(p.sub_version == 1700000000000000000);
		assert_true(p.has_subscription && slice_eq_str(p.subscription, "a||b"));
		assert_true(slice_eq_str(p.expression_type, "TAG"));
	}
	struct wire_cmd c = request(11, pull);
	struct wire_pull p;
	struct wire_args a;
	c.n_ext = 9; /* what the C++ client sends */
	assert_true(wire_pull_decode(&c, &p, &a));
	assert_false(p.has_subscription);
	assert_int_equal(p.max_bytes, 0);
	assert_true(slice_eq_str(p.expression_type, "TAG"));
	for (unsigned drop = 0; drop < 9; drop++) {
		c = request(11, pull);
		c.ext[drop] = c.ext[12];
		assert_false(wire_pull_decode(&c, &p, &a));
		assert_string_equal(a.field, pull[2 * drop]);
	}
}

static struct buf scratch;

static struct wire_cmd reread(const struct buf *b)
{
	static const struct wire_limits limits = {WIRE_FRAME_MAX, WIRE_HEADER_MAX, WIRE_EXT_MAX};
	struct wire_cmd c;
	size_t used;
	const char *why;
	assert_int_equal(wire_decode(buf_view(b), &limits, &scratch, &c, &used, &why), WIRE_GOT);
	return c;
}

static void answers_carry_their_fields(void **state)
{
	(void)state;
	for (enum wire_form form = WIRE_JSON; form <= WIRE_BINARY; form++) {
		struct wire_cmd req = {.code = 310, .opaque = 4, .form = form};
		struct buf b = {0};
		struct wire_send_answer sent = {
			.msg_id = SLICE_LIT("7F00000100002A9F00000000000003E8"), .queue = 3, .offset = 7,
				.region = SLICE_LIT("DefaultRegion"), .trace_on = true
		};
		wire_send_answer(&b, &req, ANS_SUCCESS, slice_of(NULL, 0), &sent);
		struct wire_cmd c = reread(&b);
		struct wire_args a = wire_args(&c);
		assert_true(slice_eq(wire_str(&a, "msgId"), sent.msg_id));
		assert_int_equal(wire_i32(&a, "queueId"), 3);
		assert_int_equal(wire_i64(&a, "queueOffset"), 7);
		assert_true(slice_eq_str(wire_str(&a, "MSG_REGION"), "DefaultRegion"));
		assert_true(wire_bool(&a, "TRACE_ON"));
		assert_null(a.field);
		assert_int_equal(c.n_ext, 5);

		struct wire_pull_answer pulled = {.next = 8, .min = 1, .max = 9};
		buf_reset(&b);
		wire_pull_answer(&b, &req, ANS_PULL_NOT_FOUND, SLICE_LIT("OFFSET_OVERFLOW_ONE"), &pulled, 0);
		c = reread(&b);
		a = wire_args(&c);
		assert_int_equal(c.code, 19);
		assert_int_equal(wire_i64(&a, "suggestWhichBrokerId"), 0);
		assert_int_equal(wire_i64(&a, "nextBeginOffset"), 8);
		assert_int_equal(wire_i64(&a, "minOffset"), 1);
		assert_int_equal(wire_i64(&a, "maxOffset"), 9);
		assert_null(a.field);
		buf_fini(&b);
	}
	buf_fini(&scratch);
}

/* The usual answer takes another way than one in pieces: the bytes may not tell. */
static void both_ways_to_answer_a_send_give_the_same_bytes(void **state)
{
	static const int64_t numbers[] = {0, 1, 9, 10, 99, 100, 101, 999, 1000, 12345, 99999, INT32_MAX, INT64_C(1234567890123), INT64_MAX, -1};
	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct wire_cmd req = {.code = 310, .opaque = i % 2 ? (int32_t)numbers[i] : INT32_MIN, .form = WIRE_JSON};
		struct wire_send_answer v = {
			.msg_id = i % 3 ? SLICE_LIT("7F00000100002A9F00000000000003E8") : SLICE_LIT("A,B"), .queue = (int32_t)(numbers[i] % 65536),
			.offset = (uint64_t)numbers[i], .region = SLICE_LIT("DefaultRegion"), .trace_on = i % 2 == 0,
		};
		struct buf usual = {0}, pieces = {0};
		struct wire_out o;
		wire_send_answer(&usual, &req, ANS_SUCCESS, slice_of(NULL, 0), &v);
		wire_answer(&o, &pieces, &req, ANS_SUCCESS);
		wire_put(&o, "msgId", v.msg_id);
		wire_put_i64(&o, "queueId", v.queue);
		wire_put_i64(&o, "queueOffset", (int64_t)v.offset);
		wire_put(&o, "MSG_REGION", v.region);
		wire_put_bool(&o, "TRACE_ON", v.trace_on);
		wire_finish(&o, 0);
		assert_int_equal(usual.n, pieces.n);
		assert_memory_equal(usual.p, pieces.p, pieces.n);
		/* What would have to be escaped goes in pieces. */
		v.region = SLICE_LIT("a\"b");
		buf_reset(&usual);
		wire_send_answer(&usual, &req, ANS_SUCCESS, slice_of(NULL, 0), &v);
		struct wire_cmd c = reread(&usual);
		struct wire_args a = wire_args(&c);
		assert_true(slice_eq_str(wire_str(&a, "MSG_REGION"), "a\"b"));
		buf_fini(&usual);
		buf_fini(&pieces);
	}
	buf_fini(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_send_is_the_same_with_names_and_letters),
		cmocka_unit_test(optional_fields_of_a_send_have_defaults),
		cmocka_unit_test(a_missing_field_of_a_send_is_named),
		cmocka_unit_test(a_pull_is_read_whole),
		cmocka_unit_test(answers_carry_their_fields),
		cmocka_unit_test(both_ways_to_answer_a_send_give_the_same_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
