/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Frames in both header forms: what stock peers send, what must be refused, and what our own builder makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/be.h"
#include "base/mem.h"
#include "wire/codes.h"
#include "wire/frame.h"

static struct wire_limits limits;
static struct buf scratch, kept; /* kept: what the last decode_header decoded */
static struct wire_cmd cmd;
static size_t used;
static const char *why;

static int setup(void **state)
{
	(void)state;
	limits = WIRE_LIMITS_DEFAULT;
	memset(&cmd, 0xA5, sizeof(cmd));
	why = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_fini(&scratch);
	buf_fini(&kept);
	return 0;
}

/* A frame around a JSON header and a body. */
static struct buf json_frame(const char *header, const char *body)
{
	struct buf b = {0};
	buf_be32(&b, (uint32_t)(4 + strlen(header) + strlen(body)));
	buf_be32(&b, (uint32_t)strlen(header));
	buf_str(&b, header);
	buf_str(&b, body);
	return b;
}

/* The bytes of a text of hex digits and blanks. */
static struct buf unhex(const char *text)
{
	struct buf b = {0};
	char pair[3] = {0};
	for (; *text != '\0'; text++) {
		if (*text == ' ')
			continue;
		pair[0] = text[0];
		pair[1] = text[1];
		buf_u8(&b, (uint8_t)strtoul(pair, NULL, 16));
		text++;
	}
	return b;
}

static enum wire_got decode(struct slice bytes)
{
	return wire_decode(bytes, &limits, &scratch, &cmd, &used, &why);
}

static enum wire_got decode_header(const char *header)
{
	buf_fini(&kept);
	kept = json_frame(header, "");
	return decode(buf_view(&kept));
}

static void assert_ext(const char *name, const char *value)
{
	struct slice v;
	assert_true(wire_ext(&cmd, name, &v));
	assert_int_equal(v.n, strlen(value));
	assert_memory_equal(v.p, value, v.n);
}

static void binary_request_of_the_java_encoder(void **state)
{
	(void)state;
	struct buf b = unhex("00000027 01000023 0069 00 0000 00000000 00000000 00000002 6869 0000000c 0005 746f706963 00000001 54");
	assert_int_equal(decode(buf_view(&b)), WIRE_GOT);
	assert_int_equal(used, b.n);
	assert_int_equal(cmd.code, 105);
	assert_int_equal(cmd.form, WIRE_BINARY);
	assert_int_equal(cmd.language, WIRE_JAVA);
	assert_int_equal(cmd.version, 0);
	assert_int_equal(cmd.opaque, 0);
	assert_true(slice_eq_str(cmd.remark, "hi"));
	assert_int_equal(cmd.n_ext, 1);
	assert_ext("topic", "T");
	assert_int_equal(cmd.body.n, 0);
	buf_fini(&b);
}

static void json_request_with_the_lengths_of_the_protocol_page(void **state)
{
	(void)state;
	struct buf b = json_frame("{\"code\":105,\"extFields\":{\"topic\":\"T\"},\"flag\":0,"
		"\"language\":\"JAVA\",\"opaque\":7,\"version\":407}", "");
	struct buf lengths = unhex("0000005e 0000005a 7b22");
	assert_memory_equal(b.p, lengths.p, lengths.n);
	assert_int_equal(decode(buf_view(&b)), WIRE_GOT);
	assert_int_equal(cmd.code, 105);
	assert_int_equal(cmd.opaque, 7);
	assert_int_equal(cmd.version, 407);
	assert_int_equal(cmd.flag, 0);
	assert_int_equal(cmd.language, WIRE_JAVA);
	assert_ext("topic", "T");
	buf_fini(&b);
	buf_fini(&lengths);
}

static void json_request_as_java_sends_it(void **state)
{
	(void)state;
	struct buf b = json_frame("{\"code\":310,"
		"\"extFields\":{\"a\":\"pg\",\"b\":\"T\",\"c\":\"TBW102\",\"d\":\"4\",\"e\":\"0\",\"f\":\"0\",\"g\":\"1700000000000\","
		"\"h\":\"0\",\"i\":\"KEYS\\u0001k\\u0002UNIQ_KEY\\u00017F\\u0002WAIT\\u0001true\\u0002TAGS\\u0001TagA\",\"j\":\"0\",\"k\":\"false\",\"m\":\"false\"},"
		"\"flag\":2,\"language\":\"JAVA\",\"opaque\":12,\"serializeTypeCurrentRPC\":\"JSON\",\"version\":407}", "hello");
	assert_int_equal(decode(buf_view(&b)), WIRE_GOT);
	assert_int_equal(cmd.n_ext, 12);
	assert_true(wire_is_oneway(&cmd));
	assert_false(wire_is_response(&cmd));
	assert_ext("i", "KEYS\1k\2UNIQ_KEY\0017F\2WAIT\1true\2TAGS\1TagA");
	assert_true(slice_eq_str(cmd.body, "hello"));
	buf_fini(&b);
}

static void json_request_as_go_sends_it(void **state)
{
	(void)state;
	assert_int_equal(decode_header("{\"code\":34,\"language\":\"GO\",\"version\":317,\"opaque\":3,\"flag\":0,"
		"\"remark\":\"\",\"extFields\":{}}"), WIRE_GOT);
	assert_int_equal(cmd.language, WIRE_GO);
	assert_int_equal(cmd.version, 317);
	assert_int_equal(cmd.n_ext, 0);
	assert_int_equal(cmd.remark.n, 0);
}

static void numbers_and_booleans_count_as_text(void **state)
{
	(void)state;
	assert_int_equal(decode_header("{\"code\":310,\"extFields\":{\"d\":4,\"e\":-1,\"k\":false,\"m\":true,\"x\":null,"
		"\"g\":1700000000000},\"flag\":0,"
		"\"language\":\"CPP\",\"opaque\":1,\"version\":333}\n"), WIRE_GOT);
	assert_int_equal(cmd.language, WIRE_CPP);
	assert_int_equal(cmd.n_ext, 5);
	assert_ext("d", "4");
	assert_ext("e", "-1");
	assert_ext("k", "false");
	assert_ext("m", "true");
	assert_ext("g", "1700000000000");
	struct slice v;
	assert_false(wire_ext(&cmd, "x", &v));
}

static void absent_and_null_fields_are_none(void **state)
{
	(void)state;
	assert_int_equal(decode_header("{\"code\":106,\"extFields\":null,\"flag\":0,\"language\":\"JAVA\",\"opaque\":0,"
		"\"remark\":null,\"version\":479}"), WIRE_GOT);
	assert_int_equal(cmd.n_ext, 0);
	assert_int_equal(cmd.remark.n, 0);
	assert_int_equal(decode_header("{\"code\":106}"), WIRE_GOT);
	assert_int_equal(cmd.n_ext, 0);
	assert_int_equal(cmd.language, WIRE_OTHER);
	assert_int_equal(cmd.version, 0);
}

static void keys_in_any_order_with_white_space_and_unknown_values(void **state)
{
	(void)state;
	assert_int_equal(decode_header(" { \"version\" : 1 ,\r\n\t\"more\" : { \"a\" : [ 1 , { \"b\" : null } , [ ] , \"x\\\"y\" ] } , \"opaque\" : -5 ,"
		"\"extFields\" : { \"q\" : \"1\" , \"r\" : 2 } , \"code\" : 200050 } "), WIRE_GOT);
	assert_int_equal(cmd.code, 200050);
	assert_int_equal(cmd.opaque, -5);
	assert_ext("q", "1");
	assert_ext("r", "2");
}

static void escapes_become_utf8(void **state)
{
	(void)state;
	assert_int_equal(decode_header("{\"code\":1,"
		"\"remark\":\"a\\\"b\\\\c\\/d\\b\\f\\n\\r\\t\",\"extFields\":{\"\\u0074opic\":\"\\u00e9\\u6807\\uD83D\\uDE00"
		"|\\ud83d|\\ude00x|\\ud83d\\u0041\"}}"), WIRE_GOT);
	assert_true(slice_eq_str(cmd.remark, "a\"b\\c/d\b\f\n\r\t"));
	assert_ext("topic", "\xC3\xA9\xE6\xA0\x87\xF0\x9F\x98\x80|\xEF\xBF\xBD|\xEF\xBF\xBDx|\xEF\xBF\xBD" "A");
}

static void the_ends_of_the_surrogate_ranges(void **state)
{
	(void)state;
	assert_int_equal(decode_header("{\"code\":1,"
		"\"remark\":\"\\ud800\\udc00\\uDBFF\\uDFFF\\ud7ff\\ue000\\udbff\\ue000\"}"), WIRE_GOT);
	assert_true(slice_eq_str(cmd.remark,
		"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBD\xEE\x80\x80"));
}

static void bytes_behind_the_fields_are_refused(void **state)
{
	(void)state;
	struct buf b = unhex("0000001b 01000017 0069 00 0000 00000000 00000000 00000000 00000000 0000");
	assert_int_equal(decode(buf_view(&b)), WIRE_BAD);
	assert_string_equal(why, "bytes behind the binary header's fields");
	buf_fini(&b);
}

static void the_last_of_a_name_counts(void **state)
{
	(void)state;
	assert_int_equal(decode_header("{\"code\":1,\"extFields\":{\"a\":\"1\",\"a\":\"2\"}}"), WIRE_GOT);
	assert_ext("a", "2");
}

static void headers_that_are_refused(void **state)
{
	static const char *const headers[] = {
		"", "{", "[]", "null", "{}", "{\"code\":1", "{\"code\":1,}", "{\"code\":1}x", "{\"code\" 1}", "{code:1}",
		"{\"code\":1.5}",
		"{\"code\":2147483648}", "{\"code\":\"x\"}", "{\"code\":{}}", "{\"opaque\":1}", "{\"code\":1,\"extFields\":[]}",
		"{\"code\":1,\"extFields\":\"x\"}", "{\"code\":1,\"extFields\":{\"a\"}}", "{\"code\":1,\"extFields\":{\"a\":{}}}",
		"{\"code\":1,\"extFields\":{\"a\":\"1\"}", "{\"code\":1,\"extFields\":{\"a\":\"1}}", "{\"code\":1,"
			"\"remark\":\"\\q\"}",
		"{\"code\":1,\"remark\":\"\\u12g4\"}", "{\"code\":1,\"remark\":\"\\u12", "{\"code\":1,"
			"\"remark\":\"\\", "{\"code\":1,\"remark\":nul}",
		"{\"code\":1,\"z\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}", "{\"code\":1,\"z\":[1,2}", "{\"code\":1,"
			"\"z\":{\"a\":1]}",
	};
	(void)state;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		why = NULL;
		if (decode_header(headers[i]) != WIRE_BAD || why == NULL)
			fail_msg("accepted: %s", headers[i]);
	}
}

/* Decodes 'b' cut at every length from a heap copy of just those bytes: more, until it is whole. */
static void assert_every_cut(const struct buf *b)
{
	for (size_t n = 0; n <= b->n; n++) {
		uint8_t *copy = mem_dup(b->p, n);
		enum wire_got got = decode(slice_of(copy, n));
		assert_int_equal(got, n < b->n ? WIRE_MORE : WIRE_GOT);
		if (n >= 4)
			assert_int_equal(used, b->n);
		else
			assert_int_equal(used, 0);
		mem_free(copy);
	}
}

static void a_cut_frame_needs_more(void **state)
{
	(void)state;
	struct buf b = json_frame("{\"code\":11,\"extFields\":{\"topic\":\"\\u0054\"}}", "body");
	assert_every_cut(&b);
	buf_fini(&b);
	b = unhex("00000029 01000023 0069 00 0000 00000000 00000000 00000002 6869 0000000c 0005 746f706963 00000001 54 0102");
	assert_every_cut(&b);
	buf_fini(&b);
}

static void a_cut_header_is_refused(void **state)
{
	static const char *const header = "{\"code\":11,\"flag\":1,\"extFields\":{\"topic\":\"\\u0054\",\"n\":1},"
		"\"remark\":\"r\",\"x\":[true,{\"y\":\"\"}]}";
	(void)state;
	for (size_t n = 0; n < strlen(header); n++) {
		char *cut = mem_dup(header, n);
		assert_int_equal(decode_header(cut), WIRE_BAD);
		mem_free(cut);
	}
	assert_int_equal(decode_header(header), WIRE_GOT);

	struct buf whole = unhex("0069 00 0000 00000000 00000000 00000002 6869 0000000c 0005 746f706963 00000001 54");
	for (size_t n = 0; n < whole.n; n++) {
		struct buf b = {0};
		buf_be32(&b, (uint32_t)(4 + n));
		buf_be32(&b, 0x01000000u | (uint32_t)n);
		buf_put(&b, whole.p, n);
		assert_int_equal(decode(buf_view(&b)), WIRE_BAD);
		buf_fini(&b);
	}
	buf_fini(&whole);
}

static void lengths_out_of_bounds_are_refused_at_once(void **state)
{
	static const char *const frames[] = {
		"00000003", "01000000", "ffffffff", "80000000", "0000000a 0000000b", "0000000a 02000001", "0000000a ff000001",
		"00030000 00020001",
	};
	(void)state;
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct buf b = unhex(frames[i]);
		if (decode(buf_view(&b)) != WIRE_BAD)
			fail_msg("accepted: %s", frames[i]);
		buf_fini(&b);
	}
	struct buf tls = unhex("16030100 c8");
	assert_int_equal(decode(buf_view(&tls)), WIRE_BAD);
	assert_string_equal(why, "TLS handshake on a port without TLS");
	buf_fini(&tls);
	limits.frame = 1000;
	struct buf b = unhex("000003e4");
	assert_int_equal(decode(buf_view(&b)), WIRE_MORE);
	assert_int_equal(used, 1000);
	b.p[3]++;
	assert_int_equal(decode(buf_view(&b)), WIRE_BAD);
	buf_fini(&b);
}

static void too_many_fields_are_refused(void **state)
{
	(void)state;
	for (unsigned n = 63; n <= 65; n++) {
		struct buf h = {0}, b = {0};
		buf_str(&h, "{\"code\":1,\"extFields\":{");
		for (unsigned i = 0; i < n; i++)
			buf_fmt(&h, "%s\"f%u\":%u", i == 0 ? "" : ",", i, i);
		buf_str(&h, "}}");
		assert_int_equal(decode_header(buf_cstr(&h)), n <= WIRE_EXT_MAX ? WIRE_GOT : WIRE_BAD);

		buf_be32(&b, 4 + 21 + 8 * n);
		buf_be32(&b, 0x01000000u | (21 + 8 * n));
		for (int i = 0; i < 17; i++)
			buf_u8(&b, 0);
		buf_be32(&b, 8 * n);
		for (unsigned i = 0; i < n; i++) {
			buf_be16(&b, 1);
			buf_u8(&b, 'k');
			buf_be32(&b, 1);
			buf_u8(&b, 'v');
		}
		assert_int_equal(decode(buf_view(&b)), n <= WIRE_EXT_MAX ? WIRE_GOT : WIRE_BAD);
		buf_fini(&h);
		buf_fini(&b);
	}
}

static void a_bounded_scratch_is_refused_not_overrun(void **state)
{
	(void)state;
	struct buf small = {.max = 8};
	struct buf b = json_frame("{\"code\":1,\"remark\":\"\\u0041\\u0042\"}", "");
	assert_int_equal(wire_decode(buf_view(&b), &limits, &small, &cmd, &used, &why), WIRE_BAD);
	buf_fini(&small);
	buf_fini(&b);
}

static void getters_name_the_first_bad_field(void **state)
{
	(void)state;
	struct buf text = {0};
	assert_int_equal(decode_header("{\"code\":1,\"extFields\":{\"s\":\"\",\"i\":\"7\",\"l\":9000000000,"
		"\"b\":\"TRUE\",\"e\":\"\",\"bad\":\"7x\",\"no\":\"maybe\"}}"), WIRE_GOT);
	struct wire_args a = wire_args(&cmd);
	assert_int_equal(wire_str(&a, "s").n, 0);
	assert_int_equal(wire_i32(&a, "i"), 7);
	assert_true(wire_i64(&a, "l") == 9000000000);
	assert_true(wire_bool(&a, "b"));
	assert_int_equal(wire_i32_or(&a, "e", 5), 5);
	assert_int_equal(wire_i64_or(&a, "absent", -3), -3);
	assert_true(wire_bool_or(&a, "absent", true));
	assert_true(slice_eq_str(wire_str_or(&a, "absent", SLICE_LIT("d")), "d"));
	assert_null(a.field);

	struct wire_args b = a;
	wire_i32(&b, "l");
	assert_string_equal(b.field, "l");
	wire_i32(&b, "absent");
	wire_args_remark(&b, &text);
	assert_string_equal(buf_cstr(&text), "the field l is not a 32-bit integer");

	b = a;
	wire_i64(&b, "e");
	buf_reset(&text);
	wire_args_remark(&b, &text);
	assert_string_equal(buf_cstr(&text), "the field e is missing");
	b = a;
	wire_i32_or(&b, "bad", 1);
	assert_string_equal(b.why, "is not a 32-bit integer");
	b = a;
	wire_bool_or(&b, "no", true);
	assert_string_equal(b.why, "is neither true nor false");
	b = a;
	wire_str(&b, "gone");
	assert_string_equal(b.field, "gone");
	assert_string_equal(b.why, "is missing");
	buf_fini(&text);
}

static void what_is_built_is_what_is_read(void **state)
{
	(void)state;
	for (enum wire_form form = WIRE_JSON; form <= WIRE_BINARY; form++)
		for (unsigned parts = 0; parts < 8; parts++) {
			struct buf b = {0};
			struct wire_out o;
			buf_str(&b, "before");
			wire_begin(&o, &b, form, 310, -77, WIRE_FLAG_ONEWAY);
			if (parts & 1)
				wire_remark(&o, SLICE_LIT("why \"not\"\1"));
			if (parts & 2) {
				wire_put(&o, "topic", SLICE_LIT("\xE6\xA0\x87\2"));
				wire_put_i64(&o, "min", INT64_MIN);
				wire_put_i64(&o, "max", INT64_MAX);
				wire_put_i64(&o, "zero", 0);
				wire_put_bool(&o, "yes", true);
			}
			wire_finish(&o, parts & 4 ? 3 : 0);
			if (parts & 4)
				buf_str(&b, "abc");
			struct slice bytes = slice_skip(buf_view(&b), 6);
			assert_int_equal(decode(bytes), WIRE_GOT);
			assert_int_equal(used, bytes.n);
			assert_int_equal(cmd.form, form);
			assert_int_equal(cmd.code, 310);
			assert_int_equal(cmd.opaque, -77);
			assert_int_equal(cmd.flag, 2);
			assert_int_equal(cmd.version, WIRE_VERSION);
			assert_int_equal(cmd.language, WIRE_CPP);
			assert_true(slice_eq_str(cmd.remark, parts & 1 ? "why \"not\"\1" : ""));
			assert_true(slice_eq_str(cmd.body, parts & 4 ? "abc" : ""));
			assert_int_equal(cmd.n_ext, parts & 2 ? 5 : 0);
			if (parts & 2) {
				assert_ext("topic", "\xE6\xA0\x87\2");
				assert_ext("min", "-9223372036854775808");
				assert_ext("max", "9223372036854775807");
				assert_ext("zero", "0");
				assert_ext("yes", "true");
			}
			buf_fini(&b);
		}
}

static void answers_come_in_the_form_of_the_request(void **state)
{
	(void)state;
	struct buf b = {0};
	for (enum wire_form form = WIRE_JSON; form <= WIRE_BINARY; form++) {
		struct wire_cmd request = {.code = 105, .opaque = 99, .form = form};
		buf_reset(&b);
		wire_answer_plain(&b, &request, ANS_TOPIC_NOT_EXIST, SLICE_LIT("no route"));
		assert_int_equal(b.p[4], form);
		assert_int_equal(decode(buf_view(&b)), WIRE_GOT);
		assert_int_equal(cmd.code, 17);
		assert_int_equal(cmd.opaque, 99);
		assert_int_equal(cmd.flag, WIRE_FLAG_RESPONSE);
		assert_true(slice_eq_str(cmd.remark, "no route"));
	}
	buf_fini(&b);
}

static void a_code_over_16_bits_makes_the_frame_json(void **state)
{
	(void)state;
	struct buf b = {0};
	struct wire_out o;
	wire_begin(&o, &b, WIRE_BINARY, REQ_POP_MESSAGE, 1, 0);
	wire_finish(&o, 0);
	assert_int_equal(decode(buf_view(&b)), WIRE_GOT);
	assert_int_equal(cmd.form, WIRE_JSON);
	assert_int_equal(cmd.code, 200050);
	buf_fini(&b);
}

static void two_frames_are_taken_one_by_one(void **state)
{
	(void)state;
	struct buf b = json_frame("{\"code\":1}", "x"), second = json_frame("{\"code\":2}", "");
	size_t first = b.n;
	buf_slice(&b, buf_view(&second));
	assert_int_equal(decode(buf_view(&b)), WIRE_GOT);
	assert_int_equal(used, first);
	assert_int_equal(decode(slice_skip(buf_view(&b), used)), WIRE_GOT);
	assert_int_equal(cmd.code, 2);
	buf_fini(&b);
	buf_fini(&second);
}

static void codes_have_rows(void **state)
{
	(void)state;
	unsigned n;
	const struct wire_code_row *rows = wire_request_rows(&n);
	assert_int_equal(n, 158);
	for (unsigned i = 0; i < n; i++) {
		assert_ptr_equal(wire_request_row(rows[i].code), &rows[i]);
		if (i > 0)
			assert_true(rows[i].code > rows[i - 1].code);
	}
	assert_string_equal(wire_request_row(REQ_PULL_MESSAGE)->name, "PULL_MESSAGE");
	assert_null(wire_request_row(9));
	assert_null(wire_request_row(-1));
	assert_null(wire_request_row(200152));
	assert_string_equal(wire_answer_row(209)->name, "POLLING_FULL");
	assert_string_equal(wire_answer_row(0)->name, "SUCCESS");
	assert_null(wire_answer_row(5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(binary_request_of_the_java_encoder, setup, teardown),
		cmocka_unit_test_setup_teardown(json_request_with_the_lengths_of_the_protocol_page, setup, teardown),
		cmocka_unit_test_setup_teardown(json_request_as_java_sends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(json_request_as_go_sends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(numbers_and_booleans_count_as_text, setup, teardown),
		cmocka_unit_test_setup_teardown(absent_and_null_fields_are_none, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_in_any_order_with_white_space_and_unknown_values, setup, teardown),
		cmocka_unit_test_setup_teardown(escapes_become_utf8, setup, teardown),
		cmocka_unit_test_setup_teardown(the_ends_of_the_surrogate_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_behind_the_fields_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_of_a_name_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(headers_that_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cut_frame_needs_more, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cut_header_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(lengths_out_of_bounds_are_refused_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(too_many_fields_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_bounded_scratch_is_refused_not_overrun, setup, teardown),
		cmocka_unit_test_setup_teardown(getters_name_the_first_bad_field, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_built_is_what_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_come_in_the_form_of_the_request, setup, teardown),
		cmocka_unit_test_setup_teardown(a_code_over_16_bits_makes_the_frame_json, setup, teardown),
		cmocka_unit_test_setup_teardown(two_frames_are_taken_one_by_one, setup, teardown),
		cmocka_unit_test_setup_teardown(codes_have_rows, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
