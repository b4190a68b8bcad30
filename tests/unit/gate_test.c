/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The gate: answers that tell of a topic wait for the name servers, no others do, and none for long. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "app/gate.h"
#include "base/obj.h"
#include "front/native/nat.h"
#include "tests/lib/native_rig.h"

#define BODY SLICE_LIT("hi")
#define LETTERS "a", "pg", "b", "T", "c", "TBW102", "d", "4", "e", "3", "f", "0", "g", "1700000000000", "h", "7", "j", "0", "k", "false"

struct waiter {
	struct front_wait wait;
	unsigned gone;
};

static uint64_t now_ns;
static uint64_t fake_mono(struct clock *c) { (void)c; return now_ns; }
static const struct clock_ops clock_ops = {fake_mono, NULL};
static struct clock fake_clock = {&clock_ops};

static void gone(struct front_wait *w) { container_of(w, struct waiter, wait)->gone++; }

static void wait_at(struct gate *g, struct waiter *w, const char *topic)
{
	*w = (struct waiter){.wait.go = gone};
	assert_true(g->base.shut(&g->base, slice_str(topic)));
	g->base.wait(&g->base, &w->wait, slice_str(topic));
}

static void topics_are_waited_for_by_their_numbers(void **state)
{
	(void)state;
	struct gate g;
	struct waiter a, a2, b, any;

	now_ns = SEC_NS;
	gate_init(&g, &fake_clock);
	assert_true(gate_turn(&g, 0) == NEVER);
	assert_false(g.base.shut(&g.base, SLICE_LIT("A")) || g.base.shut(&g.base, SLICE_LIT("")));
	gate_topic(&g, SLICE_LIT("A"), 7);
	gate_topic(&g, SLICE_LIT("B"), 8);
	gate_topic(&g, SLICE_LIT("A"), 9);
	assert_false(g.base.shut(&g.base, SLICE_LIT("C")));
	wait_at(&g, &a, "A");
	wait_at(&g, &b, "B");
	wait_at(&g, &a2, "A");
	wait_at(&g, &any, "");
	assert_true(gate_turn(&g, 6) == now_ns + GATE_MS * MS_NS);
	assert_int_equal(a.gone + a2.gone + b.gone + any.gone, 0);
	gate_turn(&g, 7);
	assert_true(a.gone == 1 && a2.gone == 1 && b.gone == 0 && any.gone == 0);
	assert_false(g.base.shut(&g.base, SLICE_LIT("A")));
	assert_true(gate_turn(&g, 8) == NEVER);
	assert_true(b.gone == 1 && any.gone == 1 && a.gone == 1);
	gate_fini(&g);
}

static void a_slow_name_server_is_waited_for_only_so_long(void **state)
{
	(void)state;
	struct gate g;
	struct waiter a, b;

	now_ns = SEC_NS;
	gate_init(&g, &fake_clock);
	gate_topic(&g, SLICE_LIT("A"), 2);
	wait_at(&g, &a, "A");
	now_ns += 400 * MS_NS;
	gate_topic(&g, SLICE_LIT("B"), 3);
	wait_at(&g, &b, "B");
	now_ns += 599 * MS_NS;
	gate_turn(&g, 1);
	assert_int_equal(a.gone, 0);
	now_ns += MS_NS;
	assert_true(gate_turn(&g, 1) == now_ns + 400 * MS_NS);
	assert_true(a.gone == 1 && b.gone == 0);
	gate_fini(&g);
	assert_int_equal(b.gone, 1);
}

static void answers_of_sends_creations_and_heartbeats_wait(void **state)
{
	(void)state;
	struct rig r;
	struct gate g;

	rig_open(&r);
	gate_init(&g, &fake_clock);
	((struct nat *)r.front)->gate = &g.base;
	gate_topic(&g, SLICE_LIT("T"), 2);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	rig_turn(&r);
	rig_none(&r);
	gate_turn(&g, 2);
	rig_expect(&r, ANS_SUCCESS);
	assert_string_equal(rig_ext(&r, "queueId"), "3");

	gate_topic(&g, SLICE_LIT("other"), 3);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_ask(&r, REQ_GET_MAX_OFFSET, BODY, "topic", "other", "queueId", "0", NULL);
	rig_turn(&r);
	rig_expect(&r, ANS_SUCCESS);
	rig_ask(&r, REQ_UPDATE_AND_CREATE_TOPIC, SLICE_LIT(""), "topic", "other", "readQueueNums", "4", "writeQueueNums", "4", "perm", "6", NULL);
	rig_turn(&r);
	rig_none(&r);
	gate_turn(&g, 3);
	rig_expect(&r, ANS_SUCCESS);

	gate_topic(&g, SLICE_LIT("%RETRY%g"), 4);
	rig_ask(&r, REQ_HEART_BEAT, SLICE_LIT("{\"clientID\":\"c@1\",\"producerDataSet\":[{\"groupName\":\"p\"}]}"), NULL);
	rig_turn(&r);
	rig_none(&r);
	gate_turn(&g, 4);
	rig_expect(&r, ANS_SUCCESS);
	gate_fini(&g);
	rig_close(&r);
}

static void who_hangs_up_meanwhile_is_not_answered(void **state)
{
	(void)state;
	struct rig r;
	struct gate g;

	rig_open(&r);
	gate_init(&g, &fake_clock);
	((struct nat *)r.front)->gate = &g.base;
	gate_topic(&g, SLICE_LIT("T"), 2);
	rig_ask(&r, REQ_SEND_MESSAGE_V2, BODY, LETTERS, NULL);
	rig_turn(&r);
	rig_none(&r);
	fake_stream_hangup(&r.s, ST_OK);
	gate_fini(&g);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(topics_are_waited_for_by_their_numbers),
		cmocka_unit_test(a_slow_name_server_is_waited_for_only_so_long),
		cmocka_unit_test(answers_of_sends_creations_and_heartbeats_wait),
		cmocka_unit_test(who_hangs_up_meanwhile_is_not_answered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
