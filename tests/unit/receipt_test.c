/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Detached leases, receipts, deliveries given back, and the rest of a feed between two subscriptions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/groups.h"
#include "tests/lib/group_rig.h"

static void send(struct rig *r, const char *topic, int32_t queue, const char *body)
{
	assert_int_equal(rig_send(r, topic, queue, NULL, body), ST_OK);
}

static void assert_texts(const struct rig_sub *s, const char *want)
{
	char *got = rig_texts(s, 0);

	assert_string_equal(got, want);
	mem_free(got);
}

static void assert_bodies(struct rig *r, const char *topic, const char *want)
{
	char *got = rig_bodies(r, topic, 0);

	assert_string_equal(got, want);
	mem_free(got);
}

static void setup(struct rig *r, uint32_t queues)
{
	rig_init(r);
	rig_open(r);
	assert_int_equal(rig_topic(r, "t", queues), ST_OK);
}

static struct rig_open polling(uint32_t credit)
{
	return (struct rig_open){.topic = "t", .group = "g", .start = SUB_START_FIRST, .lease_ms = 1000, .credit = credit, .detach = true};
}

/* What a long poll does: a subscription of its own for a few messages. Text and tags of what came; the caller frees with rig_sub_free. */
static struct rig_sub poll(struct rig *r, uint32_t credit)
{
	struct rig_sub s = {0};
	struct rig_open o = polling(credit);

	assert_int_equal(rig_subscribe(r, &s, &o), ST_OK);
	rig_turns(r, 10);
	rig_unsubscribe(r, &s);
	return s;
}

static void assert_poll(struct rig *r, uint32_t credit, const char *want)
{
	struct rig_sub s = poll(r, credit);

	assert_texts(&s, want);
	rig_sub_free(&s);
}

static enum status by(struct rig *r, const struct rig_sub *s, size_t i, enum settle how, int64_t after_ms)
{
	return rig_receipt(r, "g", "t", s->v[i].incarnation, s->v[i].tag, how, after_ms);
}

static void a_detached_lease_outlives_its_subscription(void **state)
{
	struct rig r;
	struct rig_sub s;
	uint64_t v;

	(void)state;
	setup(&r, 1);
	send(&r, "t", 0, "a");
	send(&r, "t", 0, "b");
	s = poll(&r, 2);
	assert_texts(&s, "a b");
	assert_int_equal(rig_stat(&r, STAT_LEASES), 2);
	assert_poll(&r, 5, ""); /* they are leased still */
	uint64_t inc = s.v[0].incarnation;
	assert_int_equal(rig_receipt(&r, "g", "t", inc + 1, s.v[0].tag, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_receipt(&r, "h", "t", inc, s.v[0].tag, SETTLE_ACK, 0), ST_NO_GROUP);
	assert_int_equal(rig_receipt(&r, "g", "u", inc, s.v[0].tag, SETTLE_ACK, 0), ST_NO_TOPIC);
	assert_int_equal(rig_receipt(&r, "g", "t", inc, s.v[0].tag ^ UINT64_C(1) << 20, SETTLE_ACK, 0), ST_GONE); /* another queue */
	assert_int_equal(rig_receipt(&r, "g", "t", inc, s.v[0].tag ^ 1u << 13, SETTLE_ACK, 0), ST_GONE);           /* the retry topic */
	assert_int_equal(rig_receipt(&r, "g", "t", inc, s.v[0].tag ^ UINT64_C(1) << 60, SETTLE_ACK, 0), ST_GONE); /* another offset */
	assert_int_equal(rig_receipt(&r, "g", "t", inc, s.v[0].tag, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(rig_receipt(&r, "g", "t", inc, s.v[0].tag, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_get(&r, "g", "t", 0, &v, NULL), ST_OK);
	assert_int_equal(v, 1);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 1);
	rig_run(&r, 1100); /* its time is over */
	assert_int_equal(rig_stat(&r, STAT_LEASES_EXPIRED_TOTAL), 1);
	struct rig_sub again = poll(&r, 1);
	assert_texts(&again, "b");
	assert_int_equal(again.v[0].attempt, 2);
	assert_int_equal(by(&r, &s, 1, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(by(&r, &again, 0, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 0);
	rig_sub_free(&s);
	rig_sub_free(&again);
	rig_fini(&r);
}

static void a_receipt_holds_through_a_restart(void **state)
{
	struct rig r;
	struct rig_sub s, other;
	struct prng torn;

	(void)state;
	prng_init(&torn, 4);
	setup(&r, 1);
	for (char c = 'a'; c < 'f'; c++)
		send(&r, "t", 0, (char[]){c, '\0'});
	s = poll(&r, 5);
	assert_texts(&s, "a b c d e");
	rig_run(&r, 200);
	rig_crash(&r, &torn);
	assert_int_equal(by(&r, &s, 1, SETTLE_ACK, 0), ST_OK); /* in the middle: the prefix stays */
	assert_int_equal(by(&r, &s, 1, SETTLE_ACK, 0), ST_GONE);
	other = poll(&r, 1);
	assert_texts(&other, "a");
	assert_int_equal(other.v[0].attempt, 1);
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_GONE); /* somebody else has it now */
	assert_int_equal(by(&r, &other, 0, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(by(&r, &s, 2, SETTLE_RETRY, 0), ST_OK);
	assert_int_equal(by(&r, &s, 2, SETTLE_ACK, 0), ST_GONE); /* another attempt */
	assert_int_equal(by(&r, &s, 3, SETTLE_REJECT, 0), ST_OK);
	assert_int_equal(by(&r, &s, 4, SETTLE_RELEASE, 0), ST_OK); /* nobody has it anyway */
	assert_int_equal(by(&r, &s, 4, SETTLE_ACK, 0), ST_OK);
	rig_run(&r, 200);
	assert_bodies(&r, "%DLQ%g", "d");
	rig_sub_free(&s);
	rig_sub_free(&other);
	s = poll(&r, 9);
	assert_texts(&s, "c");
	assert_int_equal(s.v[0].attempt, 2);
	rig_restart(&r);
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_OK); /* the failed attempt is remembered too */
	rig_run(&r, 200);
	rig_crash(&r, &torn);
	assert_poll(&r, 9, "");
	rig_sub_free(&s);
	rig_fini(&r);
}

static void a_receipt_that_was_never_given_is_gone(void **state)
{
	struct rig r;
	struct rig_sub s;

	(void)state;
	setup(&r, 1);
	send(&r, "t", 0, "a");
	s = poll(&r, 1);
	uint64_t tag = s.v[0].tag, inc = s.v[0].incarnation;
	assert_int_equal(rig_receipt(&r, "g", "t", inc, tag + (UINT64_C(1) << 30), SETTLE_ACK, 0), ST_GONE); /* the queue is not so long */
	assert_int_equal(rig_receipt(&r, "g", "t", inc, tag + (UINT64_C(70000) << 30), SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_receipt(&r, "g", "t", inc, UINT64_MAX, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_receipt(&r, "g", "t", inc, 0, SETTLE_ACK, 0), ST_GONE);
	send(&r, "t", 0, "b");
	assert_int_equal(rig_receipt(&r, "g", "t", inc, tag + (UINT64_C(1) << 30) + (1u << 6), SETTLE_ACK, 0), ST_GONE); /* no second attempt yet */
	assert_int_equal(rig_receipt(&r, "g", "t", inc, tag, SETTLE_RELEASE + 1, 0), ST_BAD_ARG);
	assert_int_equal(rig_receipt(&r, "g", "t", inc, tag, SETTLE_EXTEND, 0), ST_BAD_ARG);
	assert_int_equal(rig_receipt(&r, "g", "t", inc, tag, SETTLE_RETRY, (int64_t)LEASE_MAX_MS + 1), ST_BAD_ARG);
	assert_int_equal(rig_receipt(&r, "g", "t", inc, tag, SETTLE_ACK, 0), ST_OK);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void a_lease_is_extended_by_receipt(void **state)
{
	struct rig r;
	struct rig_sub s;
	struct prng torn;

	(void)state;
	prng_init(&torn, 4);
	setup(&r, 1);
	send(&r, "t", 0, "a");
	s = poll(&r, 1);
	assert_int_equal(by(&r, &s, 0, SETTLE_EXTEND, 5000), ST_OK);
	rig_run(&r, 3000);
	assert_poll(&r, 1, "");
	rig_crash(&r, &torn);
	assert_int_equal(by(&r, &s, 0, SETTLE_EXTEND, 0), ST_BAD_ARG);
	assert_int_equal(by(&r, &s, 0, SETTLE_EXTEND, 2000), ST_OK); /* anew */
	assert_int_equal(rig_stat(&r, STAT_LEASES), 1);
	assert_poll(&r, 1, "");
	assert_int_equal(by(&r, &s, 0, SETTLE_EXTEND, 2000), ST_OK);
	rig_run(&r, 1500);
	assert_poll(&r, 1, "");
	rig_run(&r, 600);
	struct rig_sub again = poll(&r, 1);
	assert_texts(&again, "a");
	assert_int_equal(again.v[0].attempt, 2); /* the lease ran out, so that counted */
	assert_int_equal(by(&r, &s, 0, SETTLE_EXTEND, 2000), ST_GONE);
	assert_int_equal(by(&r, &again, 0, SETTLE_ACK, 0), ST_OK);
	rig_sub_free(&s);
	rig_sub_free(&again);
	rig_fini(&r);
}

static void what_is_released_counts_for_nothing(void **state)
{
	struct rig r;
	struct rig_sub s, t;
	struct rig_open o = polling(1);

	(void)state;
	setup(&r, 1);
	send(&r, "t", 0, "a");
	s = poll(&r, 1);
	for (int i = 0; i < 40; i++) { /* more often than the group has attempts */
		assert_int_equal(by(&r, &s, 0, SETTLE_RELEASE, 0), ST_OK);
		t = poll(&r, 1);
		assert_texts(&t, "a");
		assert_int_equal(t.v[0].attempt, 1);
		assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_GONE); /* the one before is stale */
		rig_sub_free(&s);
		s = t;
	}
	assert_int_equal(by(&r, &s, 0, SETTLE_RELEASE, 0), ST_OK);
	memset(&t, 0, sizeof t);
	o.detach = false;
	assert_int_equal(rig_subscribe(&r, &t, &o), ST_OK);
	rig_turns(&r, 10);
	assert_int_equal(t.n, 1);
	rig_credit(&r, &t, 1);
	assert_int_equal(rig_settle(&r, &t, t.v[0].tag, SETTLE_RELEASE, 0), ST_OK);
	rig_turns(&r, 10);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.v[1].attempt, 1);
	assert_int_equal(rig_settle(&r, &t, t.v[0].tag, SETTLE_ACK, 0), ST_GONE);
	rig_unsubscribe(&r, &t); /* not detached: it goes back at once */
	assert_int_equal(rig_stat(&r, STAT_LEASES), 0);
	rig_sub_free(&s);
	s = poll(&r, 1);
	assert_texts(&s, "a");
	assert_int_equal(s.v[0].attempt, 1);
	assert_int_equal(rig_receipt(&r, "g", "t", t.v[1].incarnation, t.v[1].tag, SETTLE_ACK, 0), ST_GONE);
	struct prng torn;
	prng_init(&torn, 3);
	rig_crash(&r, &torn);
	rig_sub_free(&t);
	assert_int_equal(rig_subscribe(&r, &t, &o), ST_OK);
	rig_turns(&r, 10);
	rig_unsubscribe(&r, &t);
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_GONE); /* somebody had it since, although nobody has it now */
	rig_sub_free(&s);
	s = poll(&r, 1);
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_OK);
	rig_sub_free(&s);
	rig_sub_free(&t);
	rig_fini(&r);
}

static void a_stale_receipt_never_passes_for_a_later_attempt(void **state)
{
	enum { N = 130 };
	struct rig r;
	struct rig_sub s;
	uint64_t tags[N];
	struct group_conf c;

	(void)state;
	setup(&r, 1);
	group_conf_default(&c);
	c.retry_max = 1000;
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	send(&r, "t", 0, "a");
	for (int i = 0; i < N; i++) {
		s = poll(&r, 1);
		assert_int_equal(s.n, 1);
		assert_int_equal(s.v[0].attempt, i + 1);
		tags[i] = s.v[0].tag;
		for (int k = 0; k < i; k++)
			assert_int_equal(rig_receipt(&r, "g", "t", s.v[0].incarnation, tags[k], SETTLE_ACK, 0), ST_GONE);
		assert_int_equal(by(&r, &s, 0, SETTLE_RETRY, 0), ST_OK);
		for (int k = 0; k < i && k < 63; k++) /* whose attempts are exact */
			assert_int_equal(rig_receipt(&r, "g", "t", s.v[0].incarnation, tags[k], SETTLE_ACK, 0), ST_GONE);
		rig_sub_free(&s);
	}
	rig_fini(&r);
}

static void a_receipt_from_before_a_reset_is_gone(void **state)
{
	struct rig r;
	struct rig_sub before, other;
	struct prng torn;

	(void)state;
	prng_init(&torn, 5);
	setup(&r, 1);
	send(&r, "t", 0, "a");
	send(&r, "t", 0, "b");
	before = poll(&r, 2);
	assert_texts(&before, "a b");
	assert_int_equal(rig_reset(&r, "g", "t", 0, 0), ST_OK);
	assert_int_equal(by(&r, &before, 0, SETTLE_ACK, 0), ST_GONE); /* nobody has it again yet */
	other = poll(&r, 1);
	assert_texts(&other, "a");
	assert_int_equal(by(&r, &before, 0, SETTLE_RETRY, 0), ST_GONE); /* somebody else has it */
	assert_int_equal(by(&r, &before, 1, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(by(&r, &other, 0, SETTLE_ACK, 0), ST_OK);
	rig_sub_free(&before);
	rig_sub_free(&other);
	/* Receipts live through a restart, but not through a reset behind it. */
	before = poll(&r, 1);
	assert_texts(&before, "b");
	rig_run(&r, 200);
	rig_crash(&r, &torn);
	assert_int_equal(rig_reset(&r, "g", "t", 0, 0), ST_OK);
	assert_int_equal(by(&r, &before, 0, SETTLE_ACK, 0), ST_GONE);
	assert_poll(&r, 2, "a b");
	rig_sub_free(&before);
	rig_fini(&r);
}

/* What makes the group begin anew in t. */
enum anew { RESET, LOWER, FORGET, DROP_GROUP, ANEW_COUNT };
static void begin_anew(struct rig *r, enum anew how)
{
	switch (how) {
	case RESET:
		assert_int_equal(rig_reset(r, "g", "t", 0, 0), ST_OK);
		break;
	case LOWER:
		assert_int_equal(rig_commit(r, "g", "t", 0, 0, NULL, ""), ST_OK);
		break;
	case FORGET:
		assert_int_equal(rig_forget(r, "g", "t"), ST_OK);
		break;
	default:
		assert_int_equal(rig_group_drop(r, "g", true), ST_OK);
	}
}

static void a_receipt_from_before_a_new_beginning_is_gone_after_a_restart_too(void **state)
{
	for (int how = 0; how < ANEW_COUNT; how++)
		for (int snapshot = 0; snapshot < 2; snapshot++)
			for (int looked = 0; looked < 2; looked++) {
				struct rig r;
				struct rig_sub before, other = {0};
				struct prng torn;

				(void)state;
				prng_init(&torn, 5);
				setup(&r, 1);
				send(&r, "t", 0, "x");
				send(&r, "t", 0, "a");
				before = poll(&r, 2);
				assert_texts(&before, "x a");
				assert_int_equal(by(&r, &before, 0, SETTLE_ACK, 0), ST_OK);
				begin_anew(&r, (enum anew)how);
				if (looked) {
					other = poll(&r, 2);
					assert_texts(&other, "x a");
				}
				rig_run(&r, 200);
				if (snapshot)
					rig_restart(&r);
				else
					rig_crash(&r, &torn);
				enum status st = by(&r, &before, 1, SETTLE_ACK, 0);
				assert_true(st == ST_GONE || (st == ST_NO_GROUP && how == DROP_GROUP && !looked));
				if (looked) /* what was given out behind it holds */
					assert_int_equal(by(&r, &other, 1, SETTLE_ACK, 0), ST_OK);
				assert_poll(&r, 2, looked ? "x" : "x a");
				st = by(&r, &before, 1, SETTLE_ACK, 0);
				assert_int_equal(st, ST_GONE);
				rig_sub_free(&before);
				rig_sub_free(&other);
				rig_fini(&r);
			}
}

/* The store of an early release, whose offsets had no incarnation: receipts said the topic's. */
static void receipts_of_an_early_release_hold_until_the_group_is_given_something(void **state)
{
	struct rig r;
	struct rig_sub s;
	struct buf items = {0};

	(void)state;
	setup(&r, 1);
	send(&r, "t", 0, "a");
	send(&r, "t", 0, "b");
	s = poll(&r, 2);
	struct eng *g = eng_of(r.e);
	struct topic *t = topic_find(g, SLICE_LIT("t"));
	for (int leases = 0; leases < 2; leases++) {
		size_t at = state_item_begin(&items, leases ? STATE_LEASES : STATE_OFFSETS);
		state_put_name(&items, SLICE_LIT("g"));
		state_put_name(&items, SLICE_LIT("t"));
		buf_be64(&items, t->incarnation);
		buf_be32(&items, leases ? 0 : 1); /* the queue, or how many */
		if (!leases)
			buf_be32(&items, 0);
		buf_be64(&items, leases ? 0 : 2);
		buf_be64(&items, 5000);
		for (int i = 0; leases && i < 9; i++)
			buf_u8(&items, 0); /* no runs, no items */
		state_item_end(&items, at);
	}
	rig_run(&r, 200);
	assert_int_equal(state_append(g, buf_view(&items), NULL, NULL), ST_OK);
	buf_fini(&items);
	uint64_t incarnation = t->incarnation;
	rig_run(&r, 200);
	rig_crash(&r, NULL);
	assert_int_equal(rig_receipt(&r, "g", "t", s.v[0].incarnation, s.v[0].tag, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_receipt(&r, "g", "t", incarnation, s.v[0].tag, SETTLE_ACK, 0), ST_OK);
	assert_poll(&r, 2, "b");
	assert_int_equal(rig_receipt(&r, "g", "t", incarnation, s.v[1].tag, SETTLE_ACK, 0), ST_GONE);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void a_receipt_of_a_group_that_was_dropped_is_gone(void **state)
{
	struct rig r;
	struct rig_sub before, other;

	(void)state;
	setup(&r, 1);
	send(&r, "t", 0, "a");
	before = poll(&r, 1);
	assert_int_equal(rig_group_drop(&r, "g", true), ST_OK);
	assert_int_equal(by(&r, &before, 0, SETTLE_ACK, 0), ST_NO_GROUP);
	other = poll(&r, 1);
	assert_texts(&other, "a");
	assert_int_equal(by(&r, &before, 0, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(by(&r, &other, 0, SETTLE_ACK, 0), ST_OK);
	rig_sub_free(&before);
	rig_sub_free(&other);
	rig_fini(&r);
}

static void receipts_of_the_retry_topic(void **state)
{
	struct rig r;
	struct rig_sub s;
	struct rig_member m = {.id = "a", .address = "1.1.1.1:1"};
	const struct rig_subscription subs[] = {{"t", "*", 1}};
	struct prng torn;

	(void)state;
	prng_init(&torn, 4);
	setup(&r, 2);
	send(&r, "t", 0, "x");
	send(&r, "t", 1, "y");
	s = poll(&r, 2);
	assert_int_equal(s.n, 2);
	assert_int_equal(rig_join(&r, &m, "g", MODEL_CLUSTERING, subs, 1, NULL), ST_OK);
	rig_run(&r, 100); /* the member and the engine have a queue each now */
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(by(&r, &s, i, SETTLE_RETRY, 0), ST_OK);
	rig_run(&r, 1500);
	rig_sub_free(&s);
	s = poll(&r, 9);
	assert_int_equal(s.n, 2); /* one in place, one as a copy in the retry topic */
	assert_string_equal(s.v[0].topic, "t");
	assert_string_equal(s.v[1].topic, "t");
	assert_int_equal(s.v[0].attempt, 2);
	assert_int_equal(s.v[1].attempt, 2);
	assert_true(((s.v[0].tag ^ s.v[1].tag) >> 13 & 1) == 1);
	rig_run(&r, 200);
	rig_crash(&r, &torn);
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(by(&r, &s, 1, SETTLE_ACK, 0), ST_OK);
	rig_run(&r, 200);
	rig_crash(&r, &torn);
	assert_poll(&r, 9, "");
	rig_sub_free(&s);
	rig_fini(&r);
}

static void polls_that_come_and_go_make_nobody_rebalance(void **state)
{
	struct rig r;
	struct rig_sub s;
	struct rig_member m = {.id = "a", .address = "1.1.1.1:1"};
	const struct rig_subscription subs[] = {{"t", "*", 1}};

	(void)state;
	setup(&r, 2);
	assert_int_equal(rig_join(&r, &m, "g", MODEL_CLUSTERING, subs, 1, NULL), ST_OK);
	s = poll(&r, 1);
	rig_sub_free(&s);
	rig_run(&r, 100);
	unsigned changed = m.changed;
	char *members = rig_members(&r, "g");
	assert_string_equal(members, "a gateway@gantry");
	mem_free(members);
	for (int i = 0; i < 50; i++) {
		rig_run(&r, 5000);
		assert_poll(&r, 1, "");
		if (i % 5 == 0)
			assert_int_equal(rig_join(&r, &m, "g", MODEL_CLUSTERING, subs, 1, NULL), ST_OK);
	}
	assert_int_equal(m.changed, changed);
	send(&r, "t", 0, "x");
	send(&r, "t", 1, "y");
	s = poll(&r, 1); /* the queue that is ours */
	assert_int_equal(s.n, 1);
	assert_int_equal(by(&r, &s, 0, SETTLE_EXTEND, 50000), ST_OK);
	rig_run(&r, 40000);
	assert_int_equal(m.changed, changed); /* a lease is out */
	assert_int_equal(rig_join(&r, &m, "g", MODEL_CLUSTERING, subs, 1, NULL), ST_OK);
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_OK);
	rig_run(&r, 100);
	assert_int_equal(m.changed, changed + 1); /* that was all */
	members = rig_members(&r, "g");
	assert_string_equal(members, "a");
	mem_free(members);
	rig_sub_free(&s);
	s = poll(&r, 1);
	rig_sub_free(&s);
	rig_run(&r, 29000);
	assert_int_equal(m.changed, changed + 2);
	rig_run(&r, 2000);
	assert_int_equal(m.changed, changed + 3);
	rig_fini(&r);
}

static void what_ends_a_feed_at_rest(void **state)
{
	struct rig r;
	struct rig_sub s;

	(void)state;
	setup(&r, 1);
	send(&r, "t", 0, "a");
	s = poll(&r, 1);
	assert_int_equal(rig_group_drop(&r, "g", true), ST_OK);
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_NO_GROUP);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 0);
	rig_sub_free(&s);
	s = poll(&r, 1);
	assert_texts(&s, "a");
	assert_int_equal(rig_group_drop(&r, "g", false), ST_OK); /* its offsets stay, and its leases run out */
	rig_run(&r, 1500);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 0);
	rig_sub_free(&s);
	s = poll(&r, 1);
	assert_texts(&s, "a");
	assert_int_equal(s.v[0].attempt, 2);
	assert_int_equal(rig_topic_drop(&r, "t"), ST_OK);
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_NO_TOPIC);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 0);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	send(&r, "t", 0, "b");
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_GONE);
	rig_sub_free(&s);
	s = poll(&r, 1);
	assert_texts(&s, "b");
	rig_restart(&r); /* with a lease out, at rest */
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_OK);
	rig_sub_free(&s);
	struct rig_open o = polling(1);
	o.group = NULL;
	memset(&s, 0, sizeof s);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_BAD_ARG); /* nobody could name its leases */
	rig_fini(&r);
}

static void without_lingering_the_feed_goes_with_its_last_subscription(void **state)
{
	struct rig r;
	struct rig_sub s;
	struct rig_member m = {.id = "a", .address = "1.1.1.1:1"};
	const struct rig_subscription subs[] = {{"t", "*", 1}};

	(void)state;
	rig_init(&r);
	r.conf.feed_linger_ms = 0;
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	assert_int_equal(rig_join(&r, &m, "g", MODEL_BROADCASTING, subs, 1, NULL), ST_OK);
	s = poll(&r, 1);
	rig_sub_free(&s);
	rig_turns(&r, 5);
	char *members = rig_members(&r, "g");
	assert_string_equal(members, "a");
	mem_free(members);
	send(&r, "t", 0, "a");
	s = poll(&r, 1);
	assert_int_equal(s.n, 1);
	rig_turns(&r, 5);
	members = rig_members(&r, "g");
	assert_string_equal(members, "a gateway@gantry"); /* until the lease is back */
	mem_free(members);
	assert_int_equal(by(&r, &s, 0, SETTLE_ACK, 0), ST_OK);
	rig_turns(&r, 5);
	members = rig_members(&r, "g");
	assert_string_equal(members, "a");
	mem_free(members);
	rig_sub_free(&s);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_detached_lease_outlives_its_subscription),
		cmocka_unit_test(a_receipt_holds_through_a_restart),
		cmocka_unit_test(a_receipt_that_was_never_given_is_gone),
		cmocka_unit_test(a_lease_is_extended_by_receipt),
		cmocka_unit_test(what_is_released_counts_for_nothing),
		cmocka_unit_test(a_stale_receipt_never_passes_for_a_later_attempt),
		cmocka_unit_test(a_receipt_from_before_a_reset_is_gone),
		cmocka_unit_test(a_receipt_from_before_a_new_beginning_is_gone_after_a_restart_too),
		cmocka_unit_test(receipts_of_an_early_release_hold_until_the_group_is_given_something),
		cmocka_unit_test(a_receipt_of_a_group_that_was_dropped_is_gone),
		cmocka_unit_test(receipts_of_the_retry_topic),
		cmocka_unit_test(polls_that_come_and_go_make_nobody_rebalance),
		cmocka_unit_test(what_ends_a_feed_at_rest),
		cmocka_unit_test(without_lingering_the_feed_goes_with_its_last_subscription),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
