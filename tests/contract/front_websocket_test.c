/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The contract of fronts, stamped on the WebSocket one's JSON protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/lib/ws_rig.h"

int main(void)
{
	const struct CMUnitTest tests[] = {FRONT_CONTRACT_TESTS()};

	front_kind_under_test = &ws_front_kind;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
