/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Tag filters: what an expression means, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/utf.h"
#include "engine/groups.h"

static enum status parse(const char *expr, struct buf *scratch, struct tag_filter *f)
{
	return tag_filter_parse(slice_str(expr), scratch, f);
}

static uint64_t tag(const char *s)
{
	return (uint32_t)java_hash(slice_str(s));
}

static void all_matches_everything(void **state)
{
	struct buf b = {0};
	struct tag_filter f;
	const char *all[] = {"", "*", " * ", "   "};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
		assert_int_equal(parse(all[i], &b, &f), ST_OK);
		assert_true(f.all);
		assert_true(tag_filter_match(&f, 0));
		assert_true(tag_filter_match(&f, tag("TagA")));
	}
	buf_fini(&b);
}

static void tags_are_sorted_and_unique(void **state)
{
	struct buf b = {0};
	struct tag_filter f;

	(void)state;
	assert_int_equal(parse("TagB || TagA||TagB|| 标签 ||", &b, &f), ST_OK);
	assert_false(f.all);
	assert_int_equal(f.n, 3);
	assert_int_equal(f.codes[0], 857175);
	assert_int_equal(f.codes[1], 2598919);
	assert_int_equal(f.codes[2], 2598920);
	assert_true(tag_filter_match(&f, tag("TagA")));
	assert_true(tag_filter_match(&f, tag("标签")));
	assert_false(tag_filter_match(&f, tag("TagC")));
	assert_false(tag_filter_match(&f, 0));
	buf_fini(&b);
}

static void a_negative_hash_matches(void **state)
{
	struct buf b = {0};
	struct tag_filter f;

	(void)state;
	assert_true(java_hash(SLICE_LIT("zzzzzzzz")) < 0);
	assert_int_equal(parse("zzzzzzzz", &b, &f), ST_OK);
	assert_true(tag_filter_match(&f, tag("zzzzzzzz")));
	assert_true(tag_filter_match(&f, (uint64_t)(int64_t)java_hash(SLICE_LIT("zzzzzzzz")))); /* sign-extended, as Apache stores it */
	buf_fini(&b);
}

static void nonsense_is_refused(void **state)
{
	struct buf b = {0}, big = {0};
	struct tag_filter f = {.all = true, .n = 77};

	(void)state;
	assert_int_equal(parse("||", &b, &f), ST_BAD_FILTER);
	assert_int_equal(parse(" || || ", &b, &f), ST_BAD_FILTER);
	for (unsigned i = 0; i <= FILTER_TAGS_MAX; i++)
		buf_fmt(&big, "t%u||", i);
	assert_int_equal(tag_filter_parse(buf_view(&big), &b, &f), ST_BAD_FILTER);
	buf_reset(&big);
	for (unsigned i = 0; i < FILTER_TAGS_MAX; i++)
		buf_fmt(&big, "t%u||", i);
	assert_int_equal(f.n, 77); /* untouched on failure */
	assert_int_equal(tag_filter_parse(buf_view(&big), &b, &f), ST_OK);
	assert_int_equal(f.n, FILTER_TAGS_MAX);
	buf_reset(&big);
	memset(buf_room(&big, FILTER_BYTES_MAX + 1), 'a', FILTER_BYTES_MAX + 1);
	buf_used(&big, FILTER_BYTES_MAX + 1);
	assert_int_equal(tag_filter_parse(buf_view(&big), &b, &f), ST_BAD_FILTER);
	buf_fini(&big);
	buf_fini(&b);
}

static void a_bad_expression_leaves_the_old_filter(void **state)
{
	struct filter f = {0};

	(void)state;
	assert_int_equal(filter_set(&f, SLICE_LIT("a")), ST_OK);
	assert_int_equal(filter_set(&f, SLICE_LIT("||")), ST_BAD_FILTER);
	assert_int_equal(f.f.n, 1);
	assert_true(tag_filter_match(&f.f, tag("a")));
	filter_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_matches_everything),
		cmocka_unit_test(tags_are_sorted_and_unique),
		cmocka_unit_test(a_negative_hash_matches),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(a_bad_expression_leaves_the_old_filter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
