/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The stories of the commit log: what is written, synced, visible and answered, and in which order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/trace.h"

static void test_sends_of_one_turn_share_a_sync(void **state)
{
	struct trace *t = *state;
	struct trace_send a, b, c;
	trace_open(t);
	trace_send(t, &a, "a", 100, "");
	trace_send(t, &b, "b", 100, "");
	trace_send(t, &c, "c", 100, "");
	trace_run(t, 100);
	trace_expect(t,
		"[   0] client > a\n"
		"[   0] client > b\n"
		"[   0] client > c\n"
		"[   0] clog write from=347 to=1124\n"
		"[   0] clog sync to=1124\n"
		"[  10] clog durable to=1124\n"
		"[  10] append visible to=1124 records=3\n"
		"[  10] client < a OK offset=0 durable=1\n"
		"[  10] client < b OK offset=1 durable=1\n"
		"[  10] client < c OK offset=2 durable=1\n");
}

static void test_sends_during_a_sync_go_into_the_next(void **state)
{
	struct trace *t = *state;
	struct trace_send a, b, c;
	trace_open(t);
	trace_send(t, &a, "a", 100, "");
	trace_run(t, 3);
	trace_send(t, &b, "b", 100, "");
	trace_run(t, 3);
	trace_send(t, &c, "c", 100, "");
	trace_run(t, 100);
	trace_expect(t,
		"[   0] client > a\n"
		"[   0] clog write from=347 to=606\n"
		"[   0] clog sync to=606\n"
		"[   3] client > b\n"
		"[   3] clog write from=606 to=865\n"
		"[   6] client > c\n"
		"[   6] clog write from=865 to=1124\n"
		"[  10] clog durable to=606\n"
		"[  10] clog sync to=1124\n"
		"[  10] append visible to=606 records=1\n"
		"[  10] client < a OK offset=0 durable=1\n"
		"[  20] clog durable to=1124\n"
		"[  20] append visible to=1124 records=2\n"
		"[  20] client < b OK offset=1 durable=1\n"
		"[  20] client < c OK offset=2 durable=1\n");
}

static void test_who_does_not_wait_is_answered_when_it_is_written(void **state)
{
	struct trace *t = *state;
	struct trace_send a, b;
	trace_open(t);
	trace_send(t, &a, "a", 100, "WAIT\1false\2");
	trace_send(t, &b, "b", 100, "");
	trace_run(t, 100);
	trace_expect(t,
		"[   0] client > a\n"
		"[   0] client > b\n"
		"[   0] clog write from=347 to=876\n"
		"[   0] clog sync to=876\n"
		"[   0] client < a OK offset=0 durable=0\n"
		"[  10] clog durable to=876\n"
		"[  10] append visible to=876 records=2\n"
		"[  10] client < b OK offset=1 durable=1\n");
}

static void test_async_flush_syncs_later(void **state)
{
	struct trace *t = *state;
	struct trace_send a, b;
	uint64_t turns;
	t->conf.flush = FLUSH_ASYNC;
	t->conf.flush_async_ms = 200;
	trace_open(t);
	turns = t->w.turns;
	trace_send(t, &a, "a", 100, "");
	trace_run(t, 50);
	trace_send(t, &b, "b", 100, "");
	trace_run(t, 500);
	trace_expect(t,
		"[   0] client > a\n"
		"[   0] clog write from=347 to=606\n"
		"[   0] clog sync to=606\n"
		"[   0] append visible to=606 records=1\n"
		"[   0] client < a OK offset=0 durable=0\n"
		"[  10] clog durable to=606\n"
		"[  50] client > b\n"
		"[  50] clog write from=606 to=865\n"
		"[  50] append visible to=865 records=1\n"
		"[  50] client < b OK offset=1 durable=0\n"
		"[ 210] clog sync to=865\n"
		"[ 220] clog durable to=865\n");
	assert_in_range(t->w.turns - turns, 1, 50); /* nobody turns in circles until a sync has ended */
}

/* No more than the configured bytes are ever unsynced: what comes on top waits for the sync. */
static void test_sends_over_the_bound_wait_for_the_sync(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
	struct trace *t = *state;
	struct trace_send s[6];
	trace_open(t);
	for (int i = 0; i < 6; i++)
		trace_send(t, &s[i], names[i], 120000, "");
	trace_run(t, 100);
	trace_expect(t,
		"[   0] client > a\n"
		"[   0] client > b\n"
		"[   0] client > c\n"
		"[   0] client > d\n"
		"[   0] send topic=orders event=parked bytes=#\n"
		"[   0] client > e\n"
		"[   0] send topic=orders event=parked bytes=#\n"
		"[   0] client > f\n"
		"[   0] send topic=orders event=parked bytes=#\n"
		"[   0] clog write from=347 to=360824\n"
		"[   0] clog sync to=360824\n"
		"[  10] clog durable to=360824\n"
		"[  10] append visible to=360824 records=3\n"
		"[  10] client < a OK offset=0 durable=1\n"
		"[  10] client < b OK offset=1 durable=1\n"
		"[  10] client < c OK offset=2 durable=1\n"
		"[  10] clog write from=360824 to=721301\n"
		"[  10] clog sync to=721301\n"
		"[  20] clog segment at=1048576\n"
		"[  20] clog durable to=721301\n"
		"[  20] append visible to=721301 records=3\n"
		"[  20] client < d OK offset=3 durable=1\n"
		"[  20] client < e OK offset=4 durable=1\n"
		"[  20] client < f OK offset=5 durable=1\n");
}

/* The old segment is durable to its end before a byte of the new one is written. */
static void test_a_roll_is_a_barrier(void **state)
{
	struct trace *t = *state;
	struct trace_send s[8];
	static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
	trace_open(t);
	for (int i = 0; i < 8; i++) {
		trace_send(t, &s[i], names[i], 120000, "");
		trace_run(t, 100);
	}
	trace_begin(t);
	trace_send(t, &s[0], "i", 100000, "");
	trace_send(t, &s[1], "j", 100000, "");
	trace_run(t, 200);
	trace_expect(t,
		"[   0] client > i\n"
		"[   0] clog roll to=1048576\n"
		"[   0] client > j\n"
		"[   0] clog write from=961619 to=961627\n"
		"[   0] clog sync to=1048576\n"
		"[  10] clog durable to=1048576\n"
		"[  10] clog write from=1048576 to=1249038\n"
		"[  10] clog sync to=1249038\n"
		"[  20] clog durable to=1249038\n"
		"[  20] append visible to=1249038 records=3\n"
		"[  20] client < i OK offset=8 durable=1\n"
		"[  20] client < j OK offset=9 durable=1\n");
}

static void test_a_failed_sync_poisons(void **state)
{
	struct trace *t = *state;
	struct trace_send a, b, c;
	struct trace_pull p;
	trace_open(t);
	trace_send(t, &a, "a", 100, "");
	trace_run(t, 100);
	trace_begin(t);
	sim_disk_fault(t->w.disk, SIM_SYNC, 1, false, ST_IO);
	trace_send(t, &b, "b", 100, "");
	trace_run(t, 5);
	trace_send(t, &c, "c", 100, "");
	trace_run(t, 100);
	trace_send(t, &c, "d", 100, "");
	trace_pull(t, &p, "pull", 0, 0);
	trace_run(t, 100);
	trace_expect(t,
		"[   0] client > b\n"
		"[   0] clog write from=606 to=865\n"
		"[   0] clog sync to=865\n"
		"[   5] client > c\n"
		"[   5] clog write from=865 to=1124\n"
		"[  10] clog event=poisoned what=sync reason=\"disk failed, the store acknowledges nothing until restart\" written=1124 durable=606 nothing is acknowledged until restart\n"
		"[  10] client < b IO\n"
		"[  10] client < c IO\n"
		"[ 105] client > d\n"
		"[ 105] client > pull\n"
		"[ 105] client < d IO\n"
		"[ 105] pull topic=orders queue=0 from=0 count=1 next=1 status=OK\n"
		"[ 105] client < pull OK count=1\n");
}

static void test_a_full_disk_refuses_and_recovers(void **state)
{
	struct trace *t = *state;
	struct trace_send s[32];
	t->conf.disk_reserve_bytes = 0;
	t->disk.quota = 1300u << 10;
	trace_open(t);
	for (int i = 0; i < 4; i++) {
		trace_send(t, &s[i], "fill", 120000, "");
		trace_run(t, 100);
	}
	trace_begin(t);
	trace_send(t, &s[4], "last", 120000, "");
	trace_run(t, 100);
	trace_send(t, &s[5], "over", 100, "");
	trace_run(t, 400);
	t->w.disk->conf.quota = 64u << 20;
	trace_send(t, &s[6], "soon", 100, ""); /* the disk is asked again once a second */
	trace_run(t, 1000);
	trace_send(t, &s[7], "back", 100, "");
	trace_run(t, 100);
	trace_expect(t,
		"[   0] client > last\n"
		"[   0] clog segment at=1048576\n"
		"[   0] clog write from=480983 to=601142\n"
		"[   0] clog sync to=601142\n"
		"[  10] clog event=space-short reason=\"disk is full\" sends are refused until there is space\n"
		"[  10] clog durable to=601142\n"
		"[  10] append visible to=601142 records=1\n"
		"[  10] client < last OK offset=4 durable=1\n"
		"[ 100] client > over\n"
		"[ 100] client < over DISK_FULL\n"
		"[ 500] client > soon\n"
		"[ 500] client < soon DISK_FULL\n"
		"[1010] clog event=space-back\n"
		"[1500] client > back\n"
		"[1500] clog write from=601142 to=601401\n"
		"[1500] clog sync to=601401\n"
		"[1510] clog durable to=601401\n"
		"[1510] append visible to=601401 records=1\n"
		"[1510] client < back OK offset=5 durable=1\n");
}

static void test_a_close_syncs_and_takes_a_snapshot(void **state)
{
	struct trace *t = *state;
	struct trace_send a;
	struct trace_pull p;
	trace_open(t);
	trace_pull(t, &p, "pull", 0, 30000);
	trace_run(t, 5);
	trace_send(t, &a, "a", 100, "");
	trace_close(t);
	trace_expect(t,
		"[   0] client > pull\n"
		"[   0] pull topic=orders queue=0 from=0 event=waits\n"
		"[   5] client > a\n"
		"[   5] client > close\n"
		"[   5] clog write from=347 to=606\n"
		"[   5] clog sync to=606\n"
		"[   5] pull topic=orders queue=0 from=0 count=0 next=0 status=CLOSED\n"
		"[   5] client < pull CLOSED count=0\n"
		"[  15] clog durable to=606\n"
		"[  15] append visible to=606 records=1\n"
		"[  15] client < a OK offset=0 durable=1\n"
		"[  16] snapshot position=606 event=begun\n"
		"[  16] snapshot position=606 bytes=# event=written\n"
		"[  46] snapshot position=606 event=synced\n"
		"[  46] snapshot position=606 event=read-back\n"
		"[  46] snapshot position=606 bytes=# event=done\n"
		"[  46] engine event=closed durable=606\n"
		"[  46] client < closed\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TRACE_TEST(sends_of_one_turn_share_a_sync),
		TRACE_TEST(sends_during_a_sync_go_into_the_next),
		TRACE_TEST(who_does_not_wait_is_answered_when_it_is_written),
		TRACE_TEST(async_flush_syncs_later),
		TRACE_TEST(sends_over_the_bound_wait_for_the_sync),
		TRACE_TEST(a_roll_is_a_barrier),
		TRACE_TEST(a_failed_sync_poisons),
		TRACE_TEST(a_full_disk_refuses_and_recovers),
		TRACE_TEST(a_close_syncs_and_takes_a_snapshot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
