/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The numbers of the fronts, as others ask for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "app/numbers.h"

static void a_text_is_written_when_one_is_wanted(void **state)
{
	struct numbers n;
	struct buf fresh = {0}, out = {0};

	(void)state;
	numbers_init(&n);
	assert_false(numbers_wanted(&n));
	numbers_get(&n, &out);
	assert_int_equal(out.n, 0);
	buf_str(&fresh, "one\n");
	numbers_put(&n, &fresh);
	assert_int_equal(fresh.n, 0);
	numbers_get(&n, &out);
	assert_string_equal(buf_cstr(&out), "one\n");
	assert_false(numbers_wanted(&n));
	numbers_want(&n);
	numbers_want(&n);
	assert_true(numbers_wanted(&n));
	assert_false(numbers_wanted(&n));
	buf_str(&fresh, "two\n");
	numbers_put(&n, &fresh);
	numbers_get(&n, &out);
	assert_string_equal(buf_cstr(&out), "one\ntwo\n");
	buf_fini(&fresh);
	buf_fini(&out);
	numbers_fini(&n);
}

static void a_description_is_lines_for_prometheus(void **state)
{
	struct buf out = {0};

	(void)state;
	numbers_of_front(&out, "mqtt", SLICE_LIT("{\"connections\":12,\"waitingPulls\":0,\"more\":{\"x\":7}}"));
	assert_string_equal(buf_cstr(&out), "# TYPE gantry_mqtt_connections untyped\ngantry_mqtt_connections 12\n"
					    "# TYPE gantry_mqtt_waiting_pulls untyped\ngantry_mqtt_waiting_pulls 0\n"
					    "# TYPE gantry_mqtt_x untyped\ngantry_mqtt_x 7\n");
	buf_reset(&out);
	numbers_of_front(&out, "x", SLICE_LIT("{}"));
	numbers_of_front(&out, "x", SLICE_LIT("{\"a"));
	numbers_of_front(&out, "x", SLICE_LIT("{\"a\":"));
	numbers_of_front(&out, "x", SLICE_LIT(""));
	assert_int_equal(out.n, 0);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_text_is_written_when_one_is_wanted),
		cmocka_unit_test(a_description_is_lines_for_prometheus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
