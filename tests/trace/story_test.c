/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Stories that reach over several parts of the engine: waiting pulls, delays, snapshots, retention. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/eng.h"
#include "tests/lib/trace.h"

static void test_a_waiting_pull_is_woken(void **state)
{
	struct trace *t = *state;
	struct trace_send a;
	struct trace_pull p, q;
	trace_open(t);
	trace_pull(t, &p, "pull", 0, 1000);
	trace_run(t, 100);
	trace_send(t, &a, "a", 100, "");
	trace_run(t, 100);
	trace_pull(t, &q, "late", 1, 300);
	trace_run(t, 1000);
	trace_expect(t,
		"[   0] client > pull\n"
		"[   0] pull topic=orders queue=0 from=0 event=waits\n"
		"[ 100] client > a\n"
		"[ 100] clog write from=347 to=606\n"
		"[ 100] clog sync to=606\n"
		"[ 110] clog durable to=606\n"
		"[ 110] append visible to=606 records=1\n"
		"[ 110] client < a OK offset=0 durable=1\n"
		"[ 110] pull topic=orders queue=0 from=0 count=1 next=1 status=OK\n"
		"[ 110] client < pull OK count=1\n"
		"[ 200] client > late\n"
		"[ 200] pull topic=orders queue=0 from=1 event=waits\n"
		"[ 500] pull topic=orders queue=0 from=1 count=0 next=1 status=EMPTY\n"
		"[ 500] client < late EMPTY count=0\n");
}

static void test_a_delay_is_parked_and_copied(void **state)
{
	struct trace *t = *state;
	struct trace_send a;
	struct trace_pull p;
	trace_open(t);
	trace_pull(t, &p, "pull", 0, 5000);
	trace_send(t, &a, "a", 100, "DELAY\0011\2");
	trace_run(t, 3000);
	trace_expect(t,
		"[   0] client > pull\n"
		"[   0] client > a\n"
		"[   0] delay level=1 in_ms=1000 event=parked\n"
		"[   0] clog write from=347 to=656\n"
		"[   0] clog sync to=656\n"
		"[   0] pull topic=orders queue=0 from=0 event=waits\n"
		"[  10] clog durable to=656\n"
		"[  10] append visible to=656 records=1\n"
		"[  10] client < a OK offset=0 durable=1\n"
		"[1000] delay level=1 position=347 event=due\n"
		"[1000] clog write from=656 to=915\n"
		"[1000] clog sync to=915\n"
		"[1010] clog durable to=915\n"
		"[1010] append visible to=915 records=1\n"
		"[1010] pull topic=orders queue=0 from=0 count=1 next=1 status=OK\n"
		"[1010] client < pull OK count=1\n");
}

static void test_a_snapshot(void **state)
{
	struct trace *t = *state;
	struct trace_send a;
	trace_open(t);
	snapshot_want(eng_of(t->w.engine));
	trace_run(t, 5);
	trace_send(t, &a, "a", 100, "");
	trace_run(t, 200);
	trace_expect(t,
		"[   0] snapshot position=347 event=begun\n"
		"[   0] snapshot position=347 bytes=# event=written\n"
		"[   5] client > a\n"
		"[   5] clog write from=347 to=606\n"
		"[   5] clog sync to=606\n"
		"[  15] clog durable to=606\n"
		"[  15] append visible to=606 records=1\n"
		"[  15] client < a OK offset=0 durable=1\n"
		"[  30] snapshot position=347 event=synced\n"
		"[  30] snapshot position=347 event=read-back\n"
		"[  30] snapshot position=347 bytes=# event=done\n");
}

/* A segment goes only when two snapshots cover it. */
static void test_retention(void **state)
{
	struct trace *t = *state;
	struct trace_send s;
	trace_open(t);
	for (int i = 0; i < 10; i++) {
		trace_send(t, &s, "fill", 120000, "");
		trace_run(t, 100);
	}
	eng_of(t->w.engine)->conf.retain_bytes = 64u << 10;
	trace_begin(t);
	trace_run(t, 3000);
	trace_send(t, &s, "a", 100, "");
	trace_run(t, 3000);
	trace_expect(t,
		"[   0] snapshot position=1289038 event=begun\n"
		"[   0] snapshot position=1289038 bytes=# event=written\n"
		"[  40] snapshot position=1289038 event=synced\n"
		"[  40] snapshot position=1289038 event=read-back\n"
		"[  40] snapshot position=1289038 bytes=# event=done\n"
		"[3000] client > a\n"
		"[3000] clog write from=1289038 to=1289297\n"
		"[3000] clog sync to=1289297\n"
		"[3010] clog durable to=1289297\n"
		"[3010] append visible to=1289297 records=1\n"
		"[3010] client < a OK offset=10 durable=1\n"
		"[4000] snapshot position=1289297 event=begun\n"
		"[4000] snapshot position=1289297 bytes=# event=written\n"
		"[4030] snapshot position=1289297 event=synced\n"
		"[4030] snapshot position=1289297 event=read-back\n"
		"[4030] snapshot position=1289297 bytes=# event=done\n"
		"[5000] janitor segment=0 event=dropped\n");
}

/* A subscription whose deliveries are lines. */
struct story_tap {
	struct engine_sub sub;
	struct engine_sub_open open;
	struct trace *t;
	const char *name;
};

static void tap_opened(struct engine_ask *a, enum status st)
{
	struct story_tap *s = container_of(a, struct story_tap, open.ask);
	log_trace(&s->t->w.log.base, "client", "< %s %s", s->name, status_name(st));
}

static void tap_given(struct engine_sub *sub, const struct delivery *d)
{
	struct story_tap *s = container_of(sub, struct story_tap, sub);
	log_trace(&s->t->w.log.base, "client", "< %s offset=%llu", s->name, (unsigned long long)d->offset);
}

static void tap_over(struct engine_sub *sub, enum status st)
{
	struct story_tap *s = container_of(sub, struct story_tap, sub);
	log_trace(&s->t->w.log.base, "client", "< %s ended %s", s->name, status_name(st));
}

static void open_tap(struct trace *t, struct story_tap *s, const char *name, enum sub_start start, uint32_t credit)
{
	*s = (struct story_tap){.sub = {.deliver = tap_given, .ended = tap_over}, .t = t, .name = name};
	s->open = (struct engine_sub_open){.ask = {.done = tap_opened}, .sub = &s->sub, .topic = SLICE_LIT(TRACE_TOPIC), .tap = true, .start = start,
		.credit = credit};
	log_trace(&t->w.log.base, "client", "> %s", name);
	engine_sub_open(t->w.engine, &s->open);
}

/* One look at each message for all at the tail; who has no credit stays behind, reads what it missed by itself, and comes back. */
static void test_taps_fan_out_and_catch_up(void **state)
{
	struct trace *t = *state;
	struct trace_send a, b, c;
	struct story_tap fast, slow;
	trace_open(t);
	open_tap(t, &fast, "fast", SUB_START_LAST, 9);
	open_tap(t, &slow, "slow", SUB_START_LAST, 1);
	trace_run(t, 10);
	trace_send(t, &a, "a", 100, "");
	trace_send(t, &b, "b", 100, "");
	trace_run(t, 20);
	log_trace(&t->w.log.base, "client", "> slow credit=5");
	engine_sub_credit(t->w.engine, &slow.sub, 5);
	trace_run(t, 10);
	trace_send(t, &c, "c", 100, "");
	trace_run(t, 20);
	engine_sub_close(t->w.engine, &fast.sub);
	trace_run(t, 10);
	trace_expect(t,
		"[   0] client > fast\n"
		"[   0] client > slow\n"
		"[   0] client < fast OK\n"
		"[   0] client < slow OK\n"
		"[   0] tap topic=orders event=at-tail\n"
		"[   0] tap topic=orders event=at-tail\n"
		"[  10] client > a\n"
		"[  10] client > b\n"
		"[  10] clog write from=347 to=865\n"
		"[  10] clog sync to=865\n"
		"[  20] clog durable to=865\n"
		"[  20] append visible to=865 records=2\n"
		"[  20] client < a OK offset=0 durable=1\n"
		"[  20] client < b OK offset=1 durable=1\n"
		"[  20] client < fast offset=0\n"
		"[  20] client < slow offset=0\n"
		"[  20] tap queue=0 offset=0 given=2 left-behind=0\n"
		"[  20] client < fast offset=1\n"
		"[  20] tap queue=0 offset=1 given=1 left-behind=1\n"
		"[  30] client > slow credit=5\n"
		"[  30] tap queue=0 offset=1 event=from-log\n"
		"[  30] client < slow offset=1\n"
		"[  30] tap topic=orders event=at-tail\n"
		"[  40] client > c\n"
		"[  40] clog write from=865 to=1124\n"
		"[  40] clog sync to=1124\n"
		"[  50] clog durable to=1124\n"
		"[  50] append visible to=1124 records=1\n"
		"[  50] client < c OK offset=2 durable=1\n"
		"[  50] client < fast offset=2\n"
		"[  50] client < slow offset=2\n"
		"[  50] tap queue=0 offset=2 given=2 left-behind=0\n"
		"[  60] client < fast ended CLOSED\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TRACE_TEST(a_waiting_pull_is_woken),
		TRACE_TEST(a_delay_is_parked_and_copied),
		TRACE_TEST(a_snapshot),
		TRACE_TEST(retention),
		TRACE_TEST(taps_fan_out_and_catch_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
