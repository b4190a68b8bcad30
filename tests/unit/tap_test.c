/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Taps: where they begin, what they are given and when, catching up, and callbacks that turn everything over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/groups.h"
#include "tests/lib/group_rig.h"

static void send(struct rig *r, const char *topic, int32_t queue, const char *tags, const char *body)
{
	assert_int_equal(rig_send(r, topic, queue, tags, body), ST_OK);
}

static void send_letters(struct rig *r, int32_t queue, const char *letters)
{
	for (; *letters != '\0'; letters++)
		send(r, "t", queue, NULL, (char[]){*letters, '\0'});
}

static void assert_texts(const struct rig_sub *s, size_t from, const char *want)
{
	char *got = rig_texts(s, from);

	assert_string_equal(got, want);
	mem_free(got);
}

static void setup(struct rig *r, uint32_t queues)
{
	rig_init(r);
	rig_open(r);
	assert_int_equal(rig_topic(r, "t", queues), ST_OK);
}

static struct rig_open tapping(enum sub_start start, uint32_t credit)
{
	return (struct rig_open){.topic = "t", .start = start, .credit = credit, .tap = true};
}

static void close_tap(struct rig *r, struct rig_sub *s)
{
	rig_unsubscribe(r, s);
	assert_int_equal(s->why, ST_CLOSED);
	rig_sub_free(s);
}

static void taps_at_the_tail_get_each_message_once_and_in_order(void **state)
{
	enum { N = 20 };
	struct rig r;
	struct rig_sub s[N];
	struct rig_open o = tapping(SUB_START_LAST, 100);

	(void)state;
	memset(s, 0, sizeof s);
	setup(&r, 2);
	send_letters(&r, 0, "xy");
	for (int i = 0; i < N; i++)
		assert_int_equal(rig_subscribe(&r, &s[i], &o), ST_OK);
	assert_int_equal(rig_stat(&r, STAT_TAPS), N);
	for (int i = 0; i < 6; i++)
		send_letters(&r, i % 2, (char[]){(char)('a' + i), '\0'});
	rig_turns(&r, 10);
	for (int i = 0; i < N; i++) {
		assert_texts(&s[i], 0, "a b c d e f");
		assert_int_equal(s[i].v[0].tag, 0);
		assert_int_equal(s[i].v[0].attempt, 1);
		assert_int_equal(s[i].v[0].offset, 2);
		assert_int_equal(s[i].v[5].queue, 1);
		assert_int_equal(s[i].v[5].offset, 2);
		close_tap(&r, &s[i]);
	}
	assert_int_equal(rig_stat(&r, STAT_TAPS), 0);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 0);
	rig_fini(&r);
}

static void a_tap_begins_where_it_says(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = tapping(SUB_START_FIRST, 100);
	struct queue_from from[] = {{1, 2}, {7, 1}};

	(void)state;
	setup(&r, 2);
	send_letters(&r, 0, "abc");
	send_letters(&r, 1, "uvw");
	struct eng *g = eng_of(r.e);
	struct qentry e;
	enum status st;
	assert_int_equal(eng_index_read(g, topic_queue(g, topic_find(g, SLICE_LIT("t")), 0), 2, &e, 1, &st), 1);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 10);
	assert_texts(&s, 0, "a b c u v w");
	close_tap(&r, &s);
	o.start = SUB_START_OFFSET;
	o.start_offset = 1;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 10);
	assert_texts(&s, 0, "b c v w");
	close_tap(&r, &s);
	o.start_offset = 99; /* no queue is so long: at the end */
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	send_letters(&r, 0, "d");
	rig_turns(&r, 10);
	assert_texts(&s, 0, "d");
	close_tap(&r, &s);
	o.start = SUB_START_POSITION;
	o.start_offset = e.position;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 10);
	assert_texts(&s, 0, "c d u v w");
	close_tap(&r, &s);
	o.start_offset = e.position + 1;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 10);
	assert_texts(&s, 0, "d u v w");
	close_tap(&r, &s);
	o.start = SUB_START_LAST;
	o.from = from;
	o.n_from = 2; /* the second is of a queue that is not there */
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 10);
	assert_texts(&s, 0, "w");
	close_tap(&r, &s);
	o.start = SUB_START_COMMITTED;
	o.n_from = 0;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 10);
	assert_int_equal(s.n, 0);
	close_tap(&r, &s);
	rig_fini(&r);
}

static void credit_is_never_exceeded_and_what_waited_comes_from_the_log(void **state)
{
	struct rig r;
	struct rig_sub slow = {0}, fast = {0};
	struct rig_open o = tapping(SUB_START_LAST, 2), all = tapping(SUB_START_LAST, 1000);

	(void)state;
	setup(&r, 1);
	assert_int_equal(rig_subscribe(&r, &slow, &o), ST_OK);
	assert_int_equal(rig_subscribe(&r, &fast, &all), ST_OK);
	send_letters(&r, 0, "abcdef");
	rig_turns(&r, 10);
	assert_texts(&slow, 0, "a b");
	assert_texts(&fast, 0, "a b c d e f");
	rig_credit(&r, &slow, 1);
	rig_turns(&r, 10);
	assert_texts(&slow, 0, "a b c");
	rig_credit(&r, &slow, 10);
	rig_turns(&r, 10);
	assert_texts(&slow, 0, "a b c d e f");
	send_letters(&r, 0, "gh"); /* it is at the tail again */
	rig_turns(&r, 10);
	assert_texts(&slow, 0, "a b c d e f g h");
	assert_texts(&fast, 6, "g h");
	close_tap(&r, &slow);
	close_tap(&r, &fast);
	rig_fini(&r);
}

static void a_filter_costs_no_credit(void **state)
{
	struct rig r;
	struct rig_sub s = {0}, late = {0};
	struct rig_open o = tapping(SUB_START_LAST, 1);

	(void)state;
	setup(&r, 1);
	o.expr = "red || blue";
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	send(&r, "t", 0, "green", "a");
	send(&r, "t", 0, NULL, "b");
	send(&r, "t", 0, "red", "c");
	send(&r, "t", 0, "green", "d");
	send(&r, "t", 0, "blue", "e");
	rig_turns(&r, 10);
	assert_texts(&s, 0, "c");
	rig_credit(&r, &s, 5);
	rig_turns(&r, 10);
	assert_texts(&s, 0, "c e");
	o.start = SUB_START_FIRST;
	assert_int_equal(rig_subscribe(&r, &late, &o), ST_OK);
	rig_turns(&r, 10);
	assert_texts(&late, 0, "c");
	o.expr = "||";
	struct rig_sub bad = {0};
	assert_int_equal(rig_subscribe(&r, &bad, &o), ST_BAD_FILTER);
	close_tap(&r, &s);
	close_tap(&r, &late);
	rig_fini(&r);
}

static void what_a_tap_cannot_be(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = tapping(SUB_START_LAST, 1);
	struct queue_from from = {-1, 0};

	(void)state;
	setup(&r, 1);
	o.group = "g";
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_BAD_ARG);
	o.group = NULL;
	o.detach = true;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_BAD_ARG);
	o.detach = false;
	o.from = &from;
	o.n_from = 1;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_BAD_ARG);
	o.n_from = 0;
	o.topic = "none";
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_NO_TOPIC);
	o.topic = "t";
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	assert_int_equal(rig_settle(&r, &s, 0, SETTLE_ACK, 0), ST_BAD_ARG); /* there is nothing to settle */
	close_tap(&r, &s);
	rig_fini(&r);
}

static void a_dropped_topic_ends_its_taps(void **state)
{
	struct rig r;
	struct rig_sub a = {0}, b = {0};
	struct rig_open o = tapping(SUB_START_LAST, 9), none = tapping(SUB_START_FIRST, 0);

	(void)state;
	setup(&r, 1);
	send_letters(&r, 0, "ab");
	assert_int_equal(rig_subscribe(&r, &a, &o), ST_OK);
	assert_int_equal(rig_subscribe(&r, &b, &none), ST_OK);
	assert_int_equal(rig_topic_drop(&r, "t"), ST_OK);
	rig_turns(&r, 5);
	assert_true(a.ended && b.ended);
	assert_int_equal(a.why, ST_NO_TOPIC);
	assert_int_equal(b.why, ST_NO_TOPIC);
	struct rig_open stale = tapping(SUB_START_POSITION, 9);
	struct queue_from from = {0, 1};
	stale.start_offset = 1; /* of the log, before the topic was made again */
	stale.from = &from;
	stale.n_from = 1;
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	assert_int_equal(rig_subscribe(&r, &b, &stale), ST_GONE);
	assert_int_equal(rig_subscribe(&r, &a, &o), ST_OK);
	send_letters(&r, 0, "c");
	rig_turns(&r, 5);
	assert_texts(&a, 0, "c");
	rig_sub_free(&b);
	engine_sub_close(r.e, &a.s);
	engine_sub_close(r.e, &a.s);
	rig_turns(&r, 5);
	assert_true(a.ended);
	rig_sub_free(&a);
	rig_fini(&r);
}

static void queues_that_come_later_are_read_from_their_beginning(void **state)
{
	struct rig r;
	struct rig_sub a = {0}, slow = {0};
	struct rig_open o = tapping(SUB_START_LAST, 99), few = tapping(SUB_START_LAST, 1);

	(void)state;
	setup(&r, 2);
	send_letters(&r, 0, "x");
	assert_int_equal(rig_subscribe(&r, &a, &o), ST_OK);
	assert_int_equal(rig_subscribe(&r, &slow, &few), ST_OK);
	send_letters(&r, 1, "ab");
	assert_int_equal(rig_topic(&r, "t", 4), ST_OK);
	send_letters(&r, 3, "cd");
	rig_turns(&r, 10);
	assert_texts(&a, 0, "a b c d");
	assert_texts(&slow, 0, "a");
	rig_credit(&r, &slow, 99);
	rig_turns(&r, 10);
	assert_int_equal(slow.n, 4);
	assert_int_equal(slow.v[3].queue == 3 ? slow.v[3].offset : slow.v[2].offset, 1);
	close_tap(&r, &a);
	close_tap(&r, &slow);
	rig_fini(&r);
}

/* Callbacks that do what they like. */
struct havoc {
	struct rig *r;
	struct rig_sub *other[2];
	struct rig_sub late;
	struct ask_open {
		struct engine_sub_open q;
		bool done;
	} open;
	struct engine_topic drop;
};

static void on_open(struct engine_ask *a, enum status st)
{
	assert_int_equal(st, ST_OK);
	((struct ask_open *)(void *)a)->done = true;
}

static void havoc(struct rig_sub *s, struct rig_got *got)
{
	struct havoc *h = s->arg;

	if (strcmp(got->body, "a") == 0) {
		engine_sub_close(h->r->e, &s->s); /* itself */
		engine_sub_close(h->r->e, &h->other[0]->s);
		rig_credit(h->r, h->other[1], 10);
		h->late.rig = h->r;
		h->late.given = 10;
		h->late.s = h->other[1]->s;
		h->late.s.priv[0] = NULL;
		h->open.q = (struct engine_sub_open){.ask = {.done = on_open}, .sub = &h->late.s, .topic = SLICE_LIT("t"), .tap = true, .credit = 10,
			.start = SUB_START_LAST};
		engine_sub_open(h->r->e, &h->open.q);
		assert_false(h->open.done);
	} else if (strcmp(got->body, "z") == 0) {
		h->drop.name = SLICE_LIT("t");
		engine_topic_drop(h->r->e, &h->drop);
	}
}

static void a_callback_may_close_open_grant_and_drop(void **state)
{
	struct rig r;
	struct rig_sub first = {0}, second = {0}, third = {0};
	struct rig_open o = tapping(SUB_START_LAST, 5), none = tapping(SUB_START_LAST, 0);
	struct havoc h = {.r = &r, .other = {&second, &third}};

	(void)state;
	setup(&r, 1);
	first.hook = havoc;
	first.arg = &h;
	assert_int_equal(rig_subscribe(&r, &third, &none), ST_OK);
	assert_int_equal(rig_subscribe(&r, &first, &o), ST_OK);
	assert_int_equal(rig_subscribe(&r, &second, &o), ST_OK);
	send_letters(&r, 0, "abc");
	rig_turns(&r, 10);
	assert_texts(&first, 0, "a");
	assert_true(first.ended && second.ended);
	assert_int_equal(second.n, 0);
	assert_texts(&third, 0, "a b c");
	assert_true(h.open.done);
	assert_texts(&h.late, 0, "b c");
	third.hook = havoc;
	third.arg = &h;
	send_letters(&r, 0, "yz");
	rig_turns(&r, 10);
	assert_true(third.ended && h.late.ended);
	assert_int_equal(third.why, ST_NO_TOPIC);
	assert_int_equal(third.n, 5);
	rig_sub_free(&first);
	rig_sub_free(&second);
	rig_sub_free(&third);
	rig_sub_free(&h.late);
	rig_fini(&r);
}

/* One more credit for each delivery. */
static void regrant(struct rig_sub *s, struct rig_got *got)
{
	(void)got;
	rig_credit(s->rig, s, 1);
}

static void a_backlog_is_read_in_pieces(void **state)
{
	enum { N = 3000 };
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = tapping(SUB_START_FIRST, 8);
	char body[300];

	(void)state;
	rig_init(&r);
	r.conf.segment_bytes = 16u << 20;
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 3), ST_OK);
	memset(body, 'x', sizeof body);
	for (int i = 0; i < N; i++) {
		snprintf(body, sizeof body, "%d", i);
		body[strlen(body)] = ' ';
		body[sizeof body - 1] = '\0';
		send(&r, "t", i % 3, NULL, body);
	}
	rig_restart(&r); /* nothing of it is in memory now */
	s.hook = regrant;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	size_t most = 0;
	for (int i = 0; i < 100000 && s.n < N; i++) {
		size_t before = s.n;
		rig_turns(&r, 1);
		most = s.n - before > most ? s.n - before : most;
	}
	assert_int_equal(s.n, N);
	assert_true(most <= 512 && most > 0);
	uint64_t next[3] = {0};
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(s.v[i].offset, next[s.v[i].queue]++);
		assert_int_equal(atoi(s.v[i].body), s.v[i].offset * 3 + (uint64_t)s.v[i].queue);
	}
	close_tap(&r, &s);
	rig_fini(&r);
}

static void free_send(struct engine_ask *a, enum status st)
{
	assert_int_equal(st, ST_OK);
	mem_free(container_of(a, struct engine_send, ask));
}

/* Much becomes visible at once, so that the taps at the tail are still being given it while another one begins at the end. */
static void who_begins_before_the_hand_gets_nothing_old(void **state)
{
	enum { N = 2000 };
	struct rig r;
	struct rig_sub first = {0}, second = {0};
	struct rig_open all = tapping(SUB_START_LAST, 10000);

	(void)state;
	setup(&r, 2);
	assert_int_equal(rig_subscribe(&r, &first, &all), ST_OK);
	rig_turns(&r, 5);
	for (int i = 0; i < N; i++) {
		struct engine_send *q = mem_new(sizeof *q);
		*q = (struct engine_send){.ask = {.done = free_send}, .msg = {.topic = SLICE_LIT("t"), .body = SLICE_LIT("x"), .queue = i % 2, .max_reconsume = -1}};
		engine_send(r.e, q);
	}
	for (int i = 0; i < 100 && first.n == 0; i++)
		rig_turns(&r, 1);
	assert_in_range(first.n, 1, N - 1);
	assert_int_equal(rig_subscribe(&r, &second, &all), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(first.n, N);
	assert_int_equal(second.n, 0);
	send_letters(&r, 0, "a");
	send_letters(&r, 1, "b");
	rig_turns(&r, 10);
	assert_int_equal(first.n, N + 2);
	assert_texts(&second, 0, "a b");
	close_tap(&r, &first);
	close_tap(&r, &second);
	rig_fini(&r);
}

static void retention_moves_a_tap_on(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = tapping(SUB_START_FIRST, 1);
	struct queue_from from = {0, 1};
	char body[40000];

	(void)state;
	rig_init(&r);
	r.conf.reserved_ms = 1000;
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	memset(body, 'x', sizeof body - 1);
	body[sizeof body - 1] = '\0';
	send(&r, "t", 0, NULL, body);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 10);
	assert_int_equal(s.n, 1);
	for (int i = 0; i < 100; i++) {
		send(&r, "t", 0, NULL, body);
		rig_run(&r, 100);
	}
	rig_run(&r, 200000);
	send(&r, "t", 0, NULL, "last");
	rig_credit(&r, &s, 1000);
	rig_run(&r, 1000);
	assert_true(s.n > 1 && s.v[1].offset > 1);
	assert_string_equal(s.v[s.n - 1].body, "last");
	for (size_t i = 2; i < s.n; i++)
		assert_int_equal(s.v[i].offset, s.v[i - 1].offset + 1);
	uint64_t first = s.v[1].offset;
	close_tap(&r, &s);
	o.from = &from;
	o.n_from = 1;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_run(&r, 100);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.v[0].offset, first);
	close_tap(&r, &s);
	rig_fini(&r);
}

static void an_engine_that_closes_ends_its_taps(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = tapping(SUB_START_LAST, 1);

	(void)state;
	setup(&r, 1);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_fini(&r);
	assert_true(s.ended);
	assert_int_equal(s.why, ST_CLOSED);
	setup(&r, 1);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	struct prng torn;
	prng_init(&torn, 1);
	rig_crash(&r, &torn);
	assert_false(s.ended);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taps_at_the_tail_get_each_message_once_and_in_order),
		cmocka_unit_test(a_tap_begins_where_it_says),
		cmocka_unit_test(credit_is_never_exceeded_and_what_waited_comes_from_the_log),
		cmocka_unit_test(a_filter_costs_no_credit),
		cmocka_unit_test(what_a_tap_cannot_be),
		cmocka_unit_test(a_dropped_topic_ends_its_taps),
		cmocka_unit_test(queues_that_come_later_are_read_from_their_beginning),
		cmocka_unit_test(a_callback_may_close_open_grant_and_drop),
		cmocka_unit_test(a_backlog_is_read_in_pieces),
		cmocka_unit_test(who_begins_before_the_hand_gets_nothing_old),
		cmocka_unit_test(retention_moves_a_tap_on),
		cmocka_unit_test(an_engine_that_closes_ends_its_taps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
