/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* RocketMQ's property text, with and without the last U+0002, and text that is not legal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"
#include "base/props.h"

static void pairs_come_in_order(void **state)
{
	struct slice rest = SLICE_LIT("A\1one\2B\1\2junk\2C\1t\1wo"), name, value;

	(void)state;
	assert_true(props_next(&rest, &name, &value));
	assert_true(slice_eq_str(name, "A") && slice_eq_str(value, "one"));
	assert_true(props_next(&rest, &name, &value));
	assert_true(slice_eq_str(name, "B") && value.n == 0);
	assert_true(props_next(&rest, &name, &value));
	assert_true(slice_eq_str(name, "C") && slice_eq_str(value, "t\1wo"));
	assert_false(props_next(&rest, &name, &value));
	rest = slice_str("");
	assert_false(props_next(&rest, &name, &value));
	rest = slice_str("junk");
	assert_false(props_next(&rest, &name, &value));
}

static void the_first_of_a_name_wins(void **state)
{
	struct slice value = {NULL, 0};

	(void)state;
	assert_true(props_get(SLICE_LIT("A\0011\2A\0012\2"), SLICE_LIT("A"), &value));
	assert_true(slice_eq_str(value, "1"));
	assert_true(props_get(SLICE_LIT("A\0011\2AB\0012"), SLICE_LIT("AB"), &value));
	assert_true(slice_eq_str(value, "2"));
	assert_false(props_get(SLICE_LIT("AB\0011\2"), SLICE_LIT("A"), &value));
	assert_false(props_get(SLICE_LIT(""), SLICE_LIT("A"), &value));
}

static void valid_text(void **state)
{
	(void)state;
	assert_true(props_valid(SLICE_LIT("")));
	assert_true(props_valid(SLICE_LIT("A\1one")));
	assert_true(props_valid(SLICE_LIT("A\1one\2")));
	assert_true(props_valid(SLICE_LIT("A\1\2")));
	assert_true(props_valid(SLICE_LIT("A\1one\2B\1")));
	assert_false(props_valid(SLICE_LIT("A")));
	assert_false(props_valid(SLICE_LIT("\1")));
	assert_false(props_valid(SLICE_LIT("\2")));
	assert_false(props_valid(SLICE_LIT("\1one\2")));
	assert_false(props_valid(SLICE_LIT("A\1one\2\2")));
	assert_false(props_valid(SLICE_LIT("A\1one\2junk")));
	assert_false(props_valid(SLICE_LIT("A\1o\1ne\2")));
}

static void put_closes_what_was_open(void **state)
{
	struct buf b = {0};

	(void)state;
	props_put(&b, SLICE_LIT("A"), SLICE_LIT("1"));
	assert_true(slice_eq(buf_view(&b), SLICE_LIT("A\0011\2")));
	buf_reset(&b);
	buf_str(&b, "X\1y");
	props_put(&b, SLICE_LIT("A"), SLICE_LIT(""));
	props_put(&b, SLICE_LIT("B"), SLICE_LIT("2"));
	assert_true(slice_eq(buf_view(&b), SLICE_LIT("X\1y\2A\1\2B\0012\2")));
	buf_fini(&b);
}

static void random_pairs_round_trip(void **state)
{
	struct prng p;

	(void)state;
	prng_init(&p, 5);
	for (int i = 0; i < 2000; i++) {
		struct buf b = {0};
		struct slice rest, name, value;
		char texts[20][16];
		size_t n = prng_below(&p, 10), at = 0;

		for (size_t k = 0; k < n * 2; k++) {
			size_t len = prng_below(&p, 15) + (k % 2 == 0);

			for (size_t j = 0; j < len; j++)
				texts[k][j] = (char)(3 + prng_below(&p, 253));
			texts[k][len] = '\0';
		}
		for (size_t k = 0; k < n; k++)
			props_put(&b, slice_str(texts[2 * k]), slice_str(texts[2 * k + 1]));
		if (n > 0 && prng_below(&p, 2))
			b.n--; /* as a 4.9 client would send it */
		assert_true(props_valid(buf_view(&b)));
		rest = buf_view(&b);
		while (props_next(&rest, &name, &value)) {
			assert_true(slice_eq_str(name, texts[2 * at]));
			assert_true(slice_eq_str(value, texts[2 * at + 1]));
			at++;
		}
		assert_int_equal(at, n);
		buf_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_come_in_order),
		cmocka_unit_test(the_first_of_a_name_wins),
		cmocka_unit_test(valid_text),
		cmocka_unit_test(put_closes_what_was_open),
		cmocka_unit_test(random_pairs_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
