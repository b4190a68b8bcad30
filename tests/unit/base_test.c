/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The small vocabulary: views, buffers, text, checksum, randomness, shared bytes, log lines, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/be.h"
#include "base/blob.h"
#include "base/buf.h"
#include "base/crc.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/obj.h"
#include "base/prng.h"
#include "base/status.h"
#include "base/utf.h"

static void status_has_names_and_texts(void **state)
{
	(void)state;
	assert_string_equal(status_name(ST_OK), "OK");
	assert_string_equal(status_name(ST_UNSUPPORTED), "UNSUPPORTED");
	assert_string_equal(status_text(ST_DISK_FULL), "disk is full");
	assert_non_null(status_name(ST_COUNT));
	assert_non_null(status_text((enum status)-1));
}

/* ---- Checksum --------------------------------------------------------------------------------------------------------------- */

static uint32_t crc_bitwise(uint32_t crc, const uint8_t *p, size_t n)
{
	crc = ~crc;
	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static void crc_matches_the_definition(void **state)
{
	static uint8_t bytes[2100];
	struct prng p;

	(void)state;
	assert_int_equal(crc32_of("", 0), 0);
	assert_int_equal(crc32_of(NULL, 0), 0);
	assert_int_equal(crc32_of("123456789", 9), 0xcbf43926u);
	assert_int_equal(crc32_of("hi", 2), 0xd8932aacu);
	prng_init(&p, 4);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)prng_u64(&p);
	for (size_t n = 0; n <= 600; n++)
		assert_int_equal(crc32_of(bytes + n % 17, n), crc_bitwise(0, bytes + n % 17, n));
	/* Pieces under 64 bytes go by tables on every machine. */
	for (int i = 0; i < 300; i++) {
		uint32_t crc = 0;
		size_t at = 0;

		for (size_t n; at < sizeof(bytes); at += n) {
			n = u64_min(prng_below(&p, 64), sizeof(bytes) - at);
			crc = crc32_more(crc, bytes + at, n);
		}
		assert_int_equal(crc, crc_bitwise(0, bytes, sizeof(bytes)));
		bytes[prng_below(&p, sizeof(bytes))] = (uint8_t)prng_u64(&p);
	}
	for (int i = 0; i < 3000; i++) {
		size_t at = prng_below(&p, 1000), n = prng_below(&p, 1100), cut = prng_below(&p, n + 1);
		uint32_t start = (uint32_t)prng_u64(&p), want = crc_bitwise(start, bytes + at, n);

		assert_int_equal(crc32_more(start, bytes + at, n), want);
		assert_int_equal(crc32_more(crc32_more(start, bytes + at, cut), bytes + at + cut, n - cut), want);
	}
}

/* ---- Views ------------------------------------------------------------------------------------------------------------------ */

static void slices_compare_and_split(void **state)
{
	struct slice rest = SLICE_LIT("a,,b"), part;

	(void)state;
	assert_true(slice_cmp(SLICE_LIT("a"), SLICE_LIT("b")) < 0);
	assert_true(slice_cmp(SLICE_LIT("ab"), SLICE_LIT("a")) > 0);
	assert_true(slice_cmp(SLICE_LIT("a"), SLICE_LIT("\xff")) < 0);
	assert_int_equal(slice_cmp(SLICE_LIT(""), slice_of(NULL, 0)), 0);
	assert_true(slice_split(&rest, ',', &part) && slice_eq_str(part, "a"));
	assert_true(slice_split(&rest, ',', &part) && slice_eq_str(part, ""));
	assert_true(slice_split(&rest, ',', &part) && slice_eq_str(part, "b"));
	assert_false(slice_split(&rest, ',', &part));
	assert_true(slice_eq_str(slice_trim(SLICE_LIT(" \ta b\t ")), "a b"));
	assert_int_equal(slice_trim(SLICE_LIT(" \t ")).n, 0);
	assert_true(slice_starts(SLICE_LIT("abc"), SLICE_LIT("ab")));
	assert_false(slice_starts(SLICE_LIT("a"), SLICE_LIT("ab")));
	assert_int_equal(slice_skip(SLICE_LIT("abc"), 5).n, 0);
	char *dup = slice_dup(SLICE_LIT("abc"));

	assert_string_equal(dup, "abc");
	mem_free(dup);
}

static void numbers_are_read_strictly(void **state)
{
	uint64_t u = 77;
	int64_t i = 77;
	bool b = false;

	(void)state;
	assert_true(slice_u64(SLICE_LIT("18446744073709551615"), &u) && u == UINT64_MAX);
	assert_true(slice_u64(SLICE_LIT("007"), &u) && u == 7);
	assert_false(slice_u64(SLICE_LIT("18446744073709551616"), &u));
	assert_false(slice_u64(SLICE_LIT("99999999999999999999"), &u));
	assert_false(slice_u64(SLICE_LIT(""), &u));
	assert_false(slice_u64(SLICE_LIT("1 "), &u));
	assert_false(slice_u64(SLICE_LIT("+1"), &u));
	assert_int_equal(u, 7);
	assert_true(slice_i64(SLICE_LIT("-9223372036854775808"), &i) && i == INT64_MIN);
	assert_true(slice_i64(SLICE_LIT("+9223372036854775807"), &i) && i == INT64_MAX);
	assert_false(slice_i64(SLICE_LIT("9223372036854775808"), &i));
	assert_false(slice_i64(SLICE_LIT("-9223372036854775809"), &i));
	assert_false(slice_i64(SLICE_LIT("-"), &i));
	assert_false(slice_i64(SLICE_LIT("--1"), &i));
	assert_true(slice_bool(SLICE_LIT("TrUe"), &b) && b);
	assert_true(slice_bool(SLICE_LIT("false"), &b) && !b);
	assert_false(slice_bool(SLICE_LIT("yes"), &b));
	assert_false(slice_bool(SLICE_LIT(""), &b));
}

/* ---- Buffers ---------------------------------------------------------------------------------------------------------------- */

static void buffers_append(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_u8(&b, 0x01);
	buf_be16(&b, 0x0203);
	buf_be32(&b, 0x04050607);
	buf_be64(&b, UINT64_C(0x08090a0b0c0d0e0f));
	for (uint8_t i = 0; i < 15; i++)
		assert_int_equal(b.p[i], i + 1);
	buf_drop_front(&b, 14);
	assert_int_equal(b.n, 1);
	assert_int_equal(b.p[0], 15);
	buf_reset(&b);
	buf_u64_dec(&b, 0);
	buf_u8(&b, ' ');
	buf_u64_dec(&b, UINT64_MAX);
	buf_u8(&b, ' ');
	buf_i64_dec(&b, INT64_MIN);
	buf_u8(&b, ' ');
	buf_fmt(&b, "%s=%d", "x", -3);
	assert_string_equal(buf_cstr(&b), "0 18446744073709551615 -9223372036854775808 x=-3");
	buf_reset(&b);
	for (int i = 0; i < 1000; i++)
		buf_fmt(&b, "%04d", i);
	assert_int_equal(b.n, 4000);
	assert_memory_equal(b.p + 3996, "0999", 4);
	memcpy(buf_room(&b, 5), "12345", 5);
	buf_used(&b, 2);
	assert_int_equal(b.n, 4002);
	buf_fini(&b);
	assert_null(b.p);
}

static void a_full_buffer_stays_over(void **state)
{
	struct buf b = {.max = 10};

	(void)state;
	buf_str(&b, "0123456789");
	assert_false(b.over);
	buf_u8(&b, 'x');
	assert_true(b.over);
	assert_int_equal(b.n, 10);
	buf_drop_front(&b, 5);
	buf_u8(&b, 'x');
	assert_int_equal(b.n, 5);
	assert_null(buf_room(&b, 1));
	buf_reset(&b);
	buf_fmt(&b, "%s", "0123456789");
	assert_false(b.over);
	assert_string_equal(buf_cstr(&b), "0123456789");
	buf_fmt(&b, "x");
	assert_true(b.over);
	buf_fini(&b);
}

static void json_strings(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_json_str(&b, SLICE_LIT("a\"b\\c\n\t\1\x7f/\xe6\xa0\x87\xff!\xf0\x9f\x98\x80\xe4\xbd"));
	buf_json_str(&b, SLICE_LIT(""));
	buf_json_str(&b, slice_of("\0", 1));
	assert_string_equal(buf_cstr(&b), "\"a\\\"b\\\\c\\n\\t\\u0001\\u007f/\xe6\xa0\x87\xef\xbf\xbd!\xf0\x9f\x98\x80\xef\xbf\xbd\"\"\"\"\\u0000\"");
	buf_fini(&b);
}

/* ---- Text: what Java 17 says of the same bytes -------------------------------------------------------------------------------- */

static void java_hashes(void **state)
{
	static const struct {
		const char *text;
		int32_t hash;
		bool valid;
	} rows[] = {
		{"", 0, true}, {"TagA", 2598919, true}, {"TagB", 2598920, true}, {"\xe6\xa0\x87\xe7\xad\xbe", 857175, true},
		{"\xf0\x9f\x98\x80", 1772899, true}, {"\xc0\x80", 2097056, false}, {"\xc3", 65533, false}, {"\xc3" "a", 2031620, false},
		{"\xe4\xbd", 65533, false}, {"\xe4\xbd" "a", 2031620, false}, {"\xe0\x80\x9f", 65074269, false},
		{"\xed\xa0\x80", 65533, false}, {"\xed\xb0\x80" "a", 2031620, false}, {"\xf0\x80\x80\x80", 2017367872, false},
		{"\xf0\x9f\x98", 65533, false}, {"\xf0\x9f\x98" "a", 2031620, false}, {"\xf4\x90\x80\x80", 2017367872, false},
		{"\xf5\x80\x80\x80", 2017367872, false}, {"\xff" "a", 2031620, false}, {"\x80", 65533, false}, {"\xe4", 65533, false},
		{"\xf0\x9f", 65533, false}, {"\xc1\xbf" "a", 65008833, false}, {"\xed\xa0", 65533, false}, {"\xed\xa0" "a", 2031620, false},
		{"\xf4\x8f\xbf\xbf", 0xdbff * 31 + 0xdfff, true}, {"\xef\xbf\xbd", 65533, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(java_hash(slice_str(rows[i].text)), rows[i].hash);
		assert_int_equal(utf8_valid(slice_str(rows[i].text)), rows[i].valid);
	}
}

static void every_code_point_is_valid(void **state)
{
	(void)state;
	for (uint32_t c = 0x800; c <= 0x110000; c += c < 0x20000 ? 1 : 97) {
		uint8_t t[4];
		size_t n = c < 0x10000 ? 3 : 4;

		t[0] = (uint8_t)(n == 3 ? 0xe0 | c >> 12 : 0xf0 | c >> 18);
		for (size_t i = 1; i < n; i++)
			t[i] = (uint8_t)(0x80 | (c >> 6 * (n - 1 - i) & 0x3f));
		uint32_t code;
		bool legal = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);

		assert_int_equal(utf8_valid(slice_of(t, n)), legal);
		if (legal) {
			assert_int_equal(utf8_take(slice_of(t, n), &code), n);
			assert_int_equal(code, c);
		}
	}
}

/* ---- The rest ----------------------------------------------------------------------------------------------------------------- */

static void randomness_is_the_published_one(void **state)
{
	struct prng r = {{1, 2, 3, 4}}, a, b;
	unsigned seen[7] = {0};

	(void)state;
	/* The first words that xoshiro256** gives from the state 1, 2, 3, 4. */
	assert_int_equal(prng_u64(&r), 11520);
	assert_int_equal(prng_u64(&r), 0);
	assert_int_equal(prng_u64(&r), 1509978240);
	assert_int_equal(prng_u64(&r), UINT64_C(1215971899390074240));
	prng_init(&a, 9);
	prng_init(&b, 9);
	for (int i = 0; i < 7000; i++) {
		uint64_t v = prng_below(&a, 7);

		assert_true(v < 7);
		assert_int_equal(v, prng_below(&b, 7));
		seen[v]++;
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 850, 1150);
	assert_int_equal(prng_below(&a, 1), 0);
}

static void blobs_are_freed_by_the_last(void **state)
{
	struct blob *b = blob_copy(SLICE_LIT("abc"));

	(void)state;
	assert_int_equal(b->n, 3);
	assert_memory_equal(b->p, "abc", 3);
	assert_ptr_equal(blob_hold(b), b);
	blob_drop(b);
	assert_memory_equal(b->p, "abc", 3);
	blob_drop(b);
	blob_drop(NULL);
}

struct sink {
	struct log log;
	char last[2048];
	unsigned lines;
};

static void keep_line(struct log *l, enum log_level level, const char *area, const char *line)
{
	struct sink *s = container_of(l, struct sink, log);

	(void)level;
	assert_string_equal(area, "test");
	assert_true(strlen(line) < sizeof(s->last));
	strcpy(s->last, line);
	s->lines++;
}

static void log_lines_obey_the_level(void **state)
{
	static const struct log_ops ops = {.line = keep_line};
	struct sink s = {.log = {&ops, LOG_INFO}};
	char big[3000];

	(void)state;
	log_info(&s.log, "test", "a=%d", 1);
	assert_string_equal(s.last, "a=1");
	log_info(&s.log, "test", "client=%s", "x\n2026 error\x1b[2J\xc3\xa4");
	assert_string_equal(s.last, "client=x?2026 error?[2J\xc3\xa4");
	log_trace(&s.log, "test", "a=%d", 2);
	assert_int_equal(s.lines, 2);
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	log_error(&s.log, "test", "%s", big);
	assert_int_equal(s.lines, 3);
}

static void memory_can_be_made_to_fail(void **state)
{
	(void)state;
	mem_fail_nth(2);
	void *p = mem_try(10);

	assert_non_null(p);
	assert_null(mem_try(10));
	mem_free(p);
	p = mem_try(10);
	assert_non_null(p);
	mem_free(p);
	char *q = mem_dup("ab", 2);

	assert_string_equal(q, "ab");
	mem_free(q);
	uint8_t *z = mem_array(3, 5);

	for (int i = 0; i < 15; i++)
		assert_int_equal(z[i], 0);
	mem_free(z);
}

static void lists_are_rings(void **state)
{
	struct list a, b, n[4] = {{0}};

	(void)state;
	list_init(&a);
	list_init(&b);
	assert_null(list_pop(&a));
	assert_false(list_linked(&n[0]));
	list_push(&a, &n[0]);
	list_push(&a, &n[1]);
	list_push(&b, &n[2]);
	list_push_front(&b, &n[3]);
	list_move(&a, &b);
	assert_true(list_empty(&b));
	struct list *want[] = {&n[0], &n[1], &n[3], &n[2]};

	for (size_t i = 0; i < 4; i++)
		assert_ptr_equal(list_pop(&a), want[i]);
	assert_true(list_empty(&a));
	list_remove(&n[0]);
	assert_false(list_linked(&n[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_has_names_and_texts),
		cmocka_unit_test(crc_matches_the_definition),
		cmocka_unit_test(slices_compare_and_split),
		cmocka_unit_test(numbers_are_read_strictly),
		cmocka_unit_test(buffers_append),
		cmocka_unit_test(a_full_buffer_stays_over),
		cmocka_unit_test(json_strings),
		cmocka_unit_test(java_hashes),
		cmocka_unit_test(every_code_point_is_valid),
		cmocka_unit_test(randomness_is_the_published_one),
		cmocka_unit_test(blobs_are_freed_by_the_last),
		cmocka_unit_test(log_lines_obey_the_level),
		cmocka_unit_test(memory_can_be_made_to_fail),
		cmocka_unit_test(lists_are_rings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
