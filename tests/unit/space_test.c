/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The space that is prepared ahead of the log's tail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/clog.h"
#include "tests/lib/engine_rig.h"

enum { AHEAD = 4 * CLOG_ZERO_STEP };

static void on_done(struct engine_ask *a, enum status st)
{
	(void)a;
	assert_int_equal(st, ST_OK);
}

/* Zeroing leaves half of the disk to the log, but not while sends are about to wait for it. */
static void space_is_prepared_without_a_rest_while_it_is_short(void **state)
{
	static uint8_t body[1 << 20];
	struct rig r;
	struct engine_send sends[20];

	(void)state;
	rig_init(&r);
	r.conf.auto_create_topic = true;
	r.conf.max_message = sizeof(body);
	r.conf.segment_bytes = 128u << 20;
	r.conf.block_bytes = 1u << 20;
	r.conf.ahead_bytes = r.conf.unsynced_bytes = AHEAD;
	r.disk.paced = true;
	assert_int_equal(rig_try_open(&r), ST_OK);
	engine_turn(r.e);
	assert_false(r.disk.paced); /* there is next to nothing */
	memdisk_run(&r.disk);
	rig_run(&r, 100);
	assert_true(r.disk.paced); /* the last of it was not urgent */
	for (size_t i = 0; i < sizeof(sends) / sizeof(sends[0]); i++) {
		sends[i] = (struct engine_send){.ask = {.done = on_done}, .default_topic = SLICE_LIT("TBW102"), .default_queues = 1};
		sends[i].msg = (struct msg){.topic = SLICE_LIT("orders"), .body = slice_of(body, sizeof(body)), .max_reconsume = -1};
		engine_send(r.e, &sends[i]);
	}
	engine_turn(r.e);
	assert_false(r.disk.paced);
	memdisk_run(&r.disk);
	rig_run(&r, 100);
	assert_true(r.disk.paced);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(space_is_prepared_without_a_rest_while_it_is_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
