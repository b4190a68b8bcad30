/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Leases: delivery under credit, settling, redelivery, dead letters, sharing with native members, and what a crash leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/props.h"
#include "engine/groups.h"
#include "tests/lib/group_rig.h"

static void send(struct rig *r, const char *topic, int32_t queue, const char *tags, const char *body)
{
	assert_int_equal(rig_send(r, topic, queue, tags, body), ST_OK);
}

static void assert_texts(const struct rig_sub *s, size_t from, const char *want)
{
	char *got = rig_texts(s, from);

	assert_string_equal(got, want);
	mem_free(got);
}

static void assert_bodies(struct rig *r, const char *topic, int32_t queue, const char *want)
{
	char *got = rig_bodies(r, topic, queue);

	assert_string_equal(got, want);
	mem_free(got);
}

static void assert_offset(struct rig *r, const char *group, const char *topic, int32_t queue, uint64_t want)
{
	uint64_t v = 0;

	assert_int_equal(rig_get(r, group, topic, queue, &v, NULL), ST_OK);
	assert_int_equal(v, want);
}

static void setup(struct rig *r, uint32_t queues)
{
	rig_init(r);
	rig_open(r);
	assert_int_equal(rig_topic(r, "t", queues), ST_OK);
}

static struct rig_open opening(uint32_t credit)
{
	return (struct rig_open){.topic = "t", .group = "g", .expr = "*", .start = SUB_START_FIRST, .lease_ms = 1000, .credit = credit};
}

static void credit_is_never_exceeded(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(2);

	(void)state;
	setup(&r, 1);
	for (char c = 'a'; c < 'h'; c++)
		send(&r, "t", 0, NULL, (char[]){c, '\0'});
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "a b");
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_ACK, 0), ST_OK); /* gives no credit back */
	rig_turns(&r, 20);
	assert_int_equal(s.n, 2);
	rig_credit(&r, &s, 3);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "a b c d e");
	assert_int_equal(rig_stat(&r, STAT_LEASES), 4);
	rig_unsubscribe(&r, &s);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 0);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void the_settled_prefix_is_the_committed_offset(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(10);

	(void)state;
	setup(&r, 1);
	for (char c = 'a'; c < 'g'; c++)
		send(&r, "t", 0, NULL, (char[]){c, '\0'});
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(s.n, 6);
	assert_offset(&r, "g", "t", 0, 0);
	assert_int_equal(rig_settle(&r, &s, s.v[1].tag, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(rig_settle(&r, &s, s.v[3].tag, SETTLE_ACK, 0), ST_OK);
	assert_offset(&r, "g", "t", 0, 0);
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_ACK, 0), ST_OK);
	assert_offset(&r, "g", "t", 0, 2);
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag + 1, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_settle(&r, &s, UINT64_MAX, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_settle(&r, &s, s.v[2].tag, SETTLE_ACK, 0), ST_OK);
	assert_offset(&r, "g", "t", 0, 4);
	rig_unsubscribe(&r, &s);
	assert_int_equal(rig_settle(&r, &s, s.v[5].tag, SETTLE_ACK, 0), ST_GONE);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void what_was_settled_ahead_survives_a_crash(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(10);
	struct prng torn;

	(void)state;
	prng_init(&torn, 3);
	setup(&r, 1);
	for (char c = 'a'; c < 'g'; c++)
		send(&r, "t", 0, NULL, (char[]){c, '\0'});
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(rig_settle(&r, &s, s.v[1].tag, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(rig_settle(&r, &s, s.v[4].tag, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(rig_settle(&r, &s, s.v[2].tag, SETTLE_RETRY, 500), ST_OK);
	rig_run(&r, 150);
	rig_crash(&r, &torn);
	rig_sub_free(&s);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "a d f"); /* c waits for its time */
	rig_run(&r, 400);
	assert_texts(&s, 0, "a d f c");
	assert_int_equal(s.v[3].attempt, 2);
	rig_restart(&r);
	rig_sub_free(&s);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(s.n, 4);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void leases_run_out_and_come_back(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(10);

	(void)state;
	setup(&r, 1);
	send(&r, "t", 0, NULL, "a");
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.v[0].attempt, 1);
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_EXTEND, 3000), ST_OK);
	rig_run(&r, 2500);
	assert_int_equal(s.n, 1);
	rig_run(&r, 600);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.v[1].attempt, 2);
	assert_int_equal(rig_stat(&r, STAT_LEASES_EXPIRED_TOTAL), 1);
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_settle(&r, &s, s.v[1].tag, SETTLE_EXTEND, 0), ST_BAD_ARG);
	assert_int_equal(rig_settle(&r, &s, s.v[1].tag, SETTLE_ACK, 0), ST_OK);
	rig_run(&r, 5000);
	assert_int_equal(s.n, 2);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

/* What a dead letter says about its origin. */
static void dlq_record(struct rig *r, struct record *rec, struct blob **blob)
{
	struct eng *g = eng_of(r->e);
	struct topic *t = topic_find(g, SLICE_LIT("%DLQ%g"));
	struct qentry e;
	struct slice bytes;
	enum status st;

	assert_non_null(t);
	assert_int_equal(eng_index_read(g, topic_queue(g, t, 0), 0, &e, 1, &st), 1);
	assert_int_equal(eng_record_blob(g, e.position, e.size, blob, &bytes, NULL), ST_OK);
	assert_int_equal(record_decode(bytes, rec), ST_OK);
}

static void after_the_last_attempt_comes_the_dead_letter_topic(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(100);
	struct group_conf c;
	struct record rec;
	struct blob *blob;
	struct slice v;

	(void)state;
	setup(&r, 1);
	group_conf_default(&c);
	c.retry_max = 3;
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	send(&r, "t", 0, "T", "a");
	send(&r, "t", 0, NULL, "b");
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(rig_settle(&r, &s, s.v[1].tag, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_RETRY, 0), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(s.n, 3);
	rig_run(&r, 1100); /* the second one runs out */
	assert_int_equal(s.n, 4);
	assert_int_equal(s.v[3].attempt, 3);
	assert_offset(&r, "g", "t", 0, 0);
	assert_int_equal(rig_settle(&r, &s, s.v[3].tag, SETTLE_RETRY, -1), ST_OK);
	rig_run(&r, 100);
	assert_int_equal(s.n, 4);
	assert_offset(&r, "g", "t", 0, 2);
	assert_bodies(&r, "%DLQ%g", 0, "a");
	assert_int_equal(rig_stat(&r, STAT_DEAD_LETTERS_TOTAL), 1);
	dlq_record(&r, &rec, &blob);
	assert_int_equal(rec.reconsume_times, 3);
	assert_true(rec.prepared > 0);
	assert_true(props_get(rec.props, SLICE_LIT("TAGS"), &v) && slice_eq_str(v, "T"));
	assert_true(props_get(rec.props, SLICE_LIT("RETRY_TOPIC"), &v) && slice_eq_str(v, "t"));
	assert_true(props_get(rec.props, SLICE_LIT("DLQ_ORIGIN_TOPIC"), &v) && slice_eq_str(v, "t"));
	assert_true(props_get(rec.props, SLICE_LIT("DLQ_ORIGIN_MESSAGE_ID"), &v) && v.n == 32);
	assert_true(props_get(rec.props, SLICE_LIT("RECONSUME_TIME"), &v) && slice_eq_str(v, "3"));
	blob_drop(blob);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void the_groups_delays_grow_as_for_native_clients(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(10);

	(void)state;
	setup(&r, 1);
	send(&r, "t", 0, NULL, "a");
	o.lease_ms = 600000;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_RETRY, -1), ST_OK);
	rig_run(&r, 9900);
	assert_int_equal(s.n, 1);
	rig_run(&r, 200);
	assert_int_equal(s.n, 2);
	assert_int_equal(rig_settle(&r, &s, s.v[1].tag, SETTLE_RETRY, -1), ST_OK);
	rig_run(&r, 29900);
	assert_int_equal(s.n, 2);
	rig_run(&r, 200);
	assert_int_equal(s.n, 3);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void a_rejected_message_is_dead_lettered_once_whatever_crashes(void **state)
{
	struct prng torn;

	(void)state;
	prng_init(&torn, 29);
	for (unsigned turns = 0; turns < 12; turns++) {
		struct rig r;
		struct rig_sub s = {0};
		struct rig_open o = opening(10);
		setup(&r, 1);
		send(&r, "t", 0, NULL, "a");
		send(&r, "t", 0, NULL, "b");
		assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
		rig_turns(&r, 20);
		assert_int_equal(s.n, 2);
		struct engine_settle q = {.sub = &s.s, .tag = s.v[0].tag, .how = SETTLE_REJECT};
		engine_settle(r.e, &q);
		rig_turns(&r, turns);
		rig_crash(&r, &torn);
		rig_sub_free(&s);
		assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
		rig_turns(&r, 20);
		/* Either nothing of it was kept, and it is delivered again, or it is in the dead-letter topic: never both, never neither. */
		bool again = s.n == 2;
		if (again)
			assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_REJECT, 0), ST_OK);
		assert_int_equal(rig_settle(&r, &s, s.v[s.n - 1].tag, SETTLE_ACK, 0), ST_OK);
		rig_run(&r, 300);
		assert_bodies(&r, "%DLQ%g", 0, "a");
		assert_offset(&r, "g", "t", 0, 2);
		rig_unsubscribe(&r, &s);
		rig_sub_free(&s);
		rig_fini(&r);
	}
}

/* The copy got to the disk and the state record behind it did not: replaying the copy has to do. */
static void a_replayed_copy_settles_its_original(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(10);
	struct record rec;
	struct blob *blob;

	(void)state;
	setup(&r, 1);
	for (char c = 'a'; c < 'd'; c++)
		send(&r, "t", 0, NULL, (char[]){c, '\0'});
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(rig_settle(&r, &s, s.v[1].tag, SETTLE_REJECT, 0), ST_OK);
	rig_unsubscribe(&r, &s);
	dlq_record(&r, &rec, &blob);
	/* As if nothing of it had been kept. */
	struct eng *g = eng_of(r.e);
	assert_int_equal(rig_reset(&r, "g", "t", 0, 0), ST_OK);
	groups_copy_replayed(g, &rec);
	rig_sub_free(&s);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "a c");
	rig_unsubscribe(&r, &s);
	/* A group whose first offset is not in the log: it is in the copy. */
	rig_run(&r, 200);
	assert_int_equal(rig_group_drop(&r, "g", true), ST_OK);
	struct group_conf c;
	group_conf_default(&c);
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	groups_copy_replayed(g, &rec);
	assert_offset(&r, "g", "t", 0, 0);
	rig_sub_free(&s);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "a c");
	rig_unsubscribe(&r, &s);
	/* A copy of the copy settles nothing, nor does nonsense of a user's. */
	assert_int_equal(rig_reset(&r, "g", "t", 0, 0), ST_OK);
	rec.prepared++;
	groups_copy_replayed(g, &rec);
	const char *odd[] = {"", "@", "1@2@3", "1@2@3@4@5@g@t", "1@0@0@99999999999999999999@0@g@t", "1@@@@@@", "1@0@0@4611686018427387904@0@g@t"};
	for (unsigned i = 0; i < ARRAY_LEN(odd); i++) {
		struct buf props = {0};
		props_put(&props, SLICE_LIT(PROP_LEASE_ORIGIN), slice_str(odd[i]));
		struct record user = {.prepared = 1, .props = buf_view(&props)};
		groups_copy_replayed(g, &user);
		buf_fini(&props);
	}
	rig_sub_free(&s);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "a b c");
	blob_drop(blob);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

/* Both saved forms, sparse and dense, with items between, against a second cursor that loads them. */
static void filters_work_on_the_index(void **state)
{
	struct rig r;
	struct rig_sub a = {0}, b = {0};
	struct rig_open o = opening(10);

	(void)state;
	setup(&r, 1);
	o.expr = "A||X";
	assert_int_equal(rig_subscribe(&r, &a, &o), ST_OK);
	o.expr = "B";
	assert_int_equal(rig_subscribe(&r, &b, &o), ST_OK);
	send(&r, "t", 0, "A", "a1");
	send(&r, "t", 0, "B", "b1");
	send(&r, "t", 0, "C", "c1");
	send(&r, "t", 0, NULL, "n1");
	send(&r, "t", 0, "X", "x1");
	send(&r, "t", 0, "C", "c2");
	rig_turns(&r, 20);
	assert_texts(&a, 0, "a1 x1");
	assert_texts(&b, 0, "b1");
	assert_int_equal(rig_settle(&r, &a, a.v[0].tag, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(rig_settle(&r, &b, b.v[0].tag, SETTLE_ACK, 0), ST_OK);
	assert_offset(&r, "g", "t", 0, 4);
	assert_int_equal(rig_settle(&r, &a, a.v[1].tag, SETTLE_ACK, 0), ST_OK);
	assert_offset(&r, "g", "t", 0, 6);
	rig_unsubscribe(&r, &a);
	rig_unsubscribe(&r, &b);
	rig_sub_free(&a);
	rig_sub_free(&b);
	rig_fini(&r);
}

static void assert_got(const struct rig_sub *s, const char *want)
{
	char *got = rig_texts(s, 0);

	assert_string_equal(got, want);
	mem_free(got);
}

static void a_redelivery_goes_where_its_tag_matches(void **state)
{
	struct rig r;
	struct rig_sub a = {0}, b = {0}, later = {0};
	struct rig_open of_a = opening(1), of_b = opening(100);
	struct prng torn;

	(void)state;
	prng_init(&torn, 11);
	setup(&r, 1);
	of_a.expr = "A";
	of_b.expr = "B";
	of_b.lease_ms = 60000;
	assert_int_equal(rig_subscribe(&r, &a, &of_a), ST_OK);
	assert_int_equal(rig_subscribe(&r, &b, &of_b), ST_OK);
	assert_int_equal(rig_send(&r, "t", 0, "A", "a1"), ST_OK);
	assert_int_equal(rig_send(&r, "t", 0, "B", "b1"), ST_OK);
	rig_turns(&r, 10);
	assert_got(&a, "a1");
	assert_got(&b, "b1");
	/* Its subscription has no credit: it waits for that, and the other one goes on meanwhile. */
	assert_int_equal(rig_settle(&r, &a, a.v[0].tag, SETTLE_RETRY, 0), ST_OK);
	assert_int_equal(rig_settle(&r, &b, b.v[0].tag, SETTLE_RETRY, 0), ST_OK);
	assert_int_equal(rig_send(&r, "t", 0, "B", "b2"), ST_OK);
	rig_turns(&r, 10);
	assert_got(&b, "b1 b1 b2");
	assert_int_equal(b.v[1].attempt, 2);
	rig_credit(&r, &a, 1);
	rig_turns(&r, 10);
	assert_got(&a, "a1 a1");
	assert_int_equal(a.v[1].attempt, 2);
	/* Nobody of its tag is there: it waits for who comes, and nothing spins meanwhile. */
	rig_unsubscribe(&r, &a);
	assert_int_equal(rig_send(&r, "t", 0, "B", "b3"), ST_OK);
	rig_run(&r, 5000);
	assert_got(&b, "b1 b1 b2 b3");
	uint64_t v;
	assert_int_equal(rig_get(&r, "g", "t", 0, &v, NULL), ST_OK);
	assert_int_equal(v, 0);
	assert_int_equal(rig_subscribe(&r, &later, &of_a), ST_OK);
	rig_turns(&r, 10);
	assert_got(&later, "a1");
	assert_int_equal(later.v[0].attempt, 2); /* its subscription's end was no attempt */
	rig_unsubscribe(&r, &later);
	/* Neither does it go astray behind a crash. */
	rig_run(&r, 200);
	rig_crash(&r, &torn);
	rig_sub_free(&a);
	rig_sub_free(&b);
	rig_sub_free(&later);
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	assert_int_equal(rig_subscribe(&r, &b, &of_b), ST_OK);
	rig_run(&r, 100);
	assert_int_equal(b.n, 3);
	for (size_t i = 0; i < b.n; i++)
		assert_int_equal(b.v[i].body[0], 'b');
	for (unsigned i = 0; i < 5; i++)
		assert_true(engine_turn(r.e) > r.clock.ns);
	assert_int_equal(rig_subscribe(&r, &a, &of_a), ST_OK);
	rig_turns(&r, 10);
	assert_got(&a, "a1");
	assert_int_equal(a.v[0].attempt, 2);
	rig_sub_free(&a);
	rig_sub_free(&b);
	rig_fini(&r);
}

static void a_redelivery_that_nobody_wants_stops_no_queue(void **state)
{
	struct rig r;
	struct rig_sub a = {0}, b = {0};
	struct rig_open of_a = opening(1), of_b = opening(0);

	(void)state;
	setup(&r, 1);
	of_a.expr = "A";
	of_b.expr = "B";
	of_b.lease_ms = 60000;
	assert_int_equal(rig_subscribe(&r, &a, &of_a), ST_OK);
	assert_int_equal(rig_send(&r, "t", 0, "A", "a1"), ST_OK);
	rig_turns(&r, 10);
	assert_got(&a, "a1");
	assert_int_equal(rig_subscribe(&r, &b, &of_b), ST_OK);
	rig_unsubscribe(&r, &a);
	for (unsigned i = 0; i < LEASE_ITEMS_MAX + 10; i++)
		assert_int_equal(rig_send(&r, "t", 0, "B", "b"), ST_OK);
	rig_credit(&r, &b, LEASE_ITEMS_MAX + 10);
	rig_run(&r, 1000);
	assert_int_equal(b.n, LEASE_ITEMS_MAX); /* as many as may be under way: the other one does not count among them any more */
	char *waits = rig_bodies(&r, "%RETRY%g", 0);
	assert_string_equal(waits, "a1");
	mem_free(waits);
	rig_sub_free(&a);
	memset(&a, 0, sizeof a);
	assert_int_equal(rig_subscribe(&r, &a, &of_a), ST_OK);
	rig_run(&r, 100);
	assert_got(&a, "a1");
	assert_string_equal(a.v[0].topic, "t");
	assert_int_equal(a.v[0].attempt, 1);
	rig_sub_free(&a);
	rig_sub_free(&b);
	rig_fini(&r);
}

/* The queue was full before its last wanted message was given out, and nothing arrives any more. */
static void a_full_queue_goes_on_when_nobody_wants_what_fills_it(void **state)
{
	(void)state;
	for (int came_back = 0; came_back < 2; came_back++) {
		struct rig r;
		struct rig_sub a = {0}, b = {0};
		struct rig_open of_a = opening(LEASE_ITEMS_MAX), of_b = opening(10);
		setup(&r, 1);
		of_a.expr = "A";
		of_b.expr = "B";
		of_a.lease_ms = of_b.lease_ms = 60000;
		assert_int_equal(rig_subscribe(&r, &a, &of_a), ST_OK);
		assert_int_equal(rig_subscribe(&r, &b, &of_b), ST_OK);
		for (unsigned i = 0; i < LEASE_ITEMS_MAX; i++)
			send(&r, "t", 0, "A", "a");
		send(&r, "t", 0, "B", "b");
		rig_turns(&r, 100);
		assert_int_equal(a.n, LEASE_ITEMS_MAX);
		assert_int_equal(b.n, 0);
		/* They are with the one who goes away, or wait for his credit. */
		for (unsigned i = 0; came_back && i < LEASE_ITEMS_MAX; i++)
			assert_int_equal(rig_settle(&r, &a, a.v[i].tag, SETTLE_RETRY, 0), ST_OK);
		rig_turns(&r, 10);
		assert_int_equal(b.n, 0);
		rig_unsubscribe(&r, &a);
		rig_run(&r, 1000);
		assert_got(&b, "b");
		rig_sub_free(&a);
		rig_sub_free(&b);
		rig_fini(&r);
	}
}

static void subscriptions_of_a_group_share_and_others_do_not(void **state)
{
	struct rig r;
	struct rig_sub a = {0}, b = {0}, other = {0}, eph = {0};
	struct rig_open o = opening(100);

	(void)state;
	setup(&r, 4);
	assert_int_equal(rig_subscribe(&r, &a, &o), ST_OK);
	assert_int_equal(rig_subscribe(&r, &b, &o), ST_OK);
	o.group = "h";
	assert_int_equal(rig_subscribe(&r, &other, &o), ST_OK);
	o.group = "";
	assert_int_equal(rig_subscribe(&r, &eph, &o), ST_OK);
	for (unsigned i = 0; i < 40; i++)
		send(&r, "t", (int32_t)(i % 4), NULL, "m");
	rig_turns(&r, 50);
	assert_int_equal(a.n + b.n, 40);
	assert_true(a.n >= 15 && b.n >= 15);
	assert_int_equal(other.n, 40);
	assert_int_equal(eph.n, 40);
	/* Ephemeral: a retry comes back for ever, a reject is the end, nothing is remembered. */
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(rig_settle(&r, &eph, eph.v[eph.n - 1].tag, SETTLE_RETRY, 0), ST_OK);
		rig_turns(&r, 5);
		assert_int_equal(eph.n, 41 + i);
		assert_int_equal(eph.v[eph.n - 1].attempt, i + 2);
	}
	uint64_t leases = rig_stat(&r, STAT_LEASES);
	assert_int_equal(rig_settle(&r, &eph, eph.v[eph.n - 1].tag, SETTLE_REJECT, 0), ST_OK);
	assert_int_equal(rig_stat(&r, STAT_DEAD_LETTERS_TOTAL), 0);
	assert_int_equal(rig_stat(&r, STAT_LEASES), leases - 1);
	/* The foreign subscription's tag is no receipt. */
	assert_int_equal(rig_settle(&r, &b, a.v[0].tag, SETTLE_ACK, 0), ST_GONE);
	/* What one gives back goes to the other at once, and is no failed attempt. */
	size_t had = b.n, owed = a.n;
	rig_unsubscribe(&r, &a);
	rig_turns(&r, 20);
	assert_int_equal(b.n, had + owed);
	assert_int_equal(b.v[b.n - 1].attempt, 1);
	rig_unsubscribe(&r, &b);
	rig_unsubscribe(&r, &other);
	rig_unsubscribe(&r, &eph);
	rig_sub_free(&a);
	rig_sub_free(&b);
	rig_sub_free(&other);
	rig_sub_free(&eph);
	rig_fini(&r);
}

static void where_a_group_begins(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(100);

	(void)state;
	setup(&r, 1);
	for (char c = 'a'; c < 'f'; c++)
		send(&r, "t", 0, NULL, (char[]){c, '\0'});
	o.start = SUB_START_LAST;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(s.n, 0);
	send(&r, "t", 0, NULL, "f");
	rig_turns(&r, 20);
	assert_texts(&s, 0, "f");
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	/* The group has begun: FIRST means nothing to it any more. */
	o.start = SUB_START_FIRST;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "f");
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	o.group = "h";
	o.start = SUB_START_OFFSET;
	o.start_offset = 4;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "e f");
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	o.group = "i";
	o.start = SUB_START_COMMITTED; /* a young queue: from its beginning */
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(s.n, 6);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void bad_requests_are_refused(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(1);
	struct group_conf c;

	(void)state;
	setup(&r, 1);
	o.topic = "no";
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_NO_TOPIC);
	o = opening(1);
	o.expr = "||";
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_BAD_FILTER);
	o = opening(1);
	o.group = "no good";
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_BAD_NAME);
	group_conf_default(&c);
	c.consume = false;
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	o = opening(1);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_DENIED);
	assert_null(s.s.priv[0]);
	c.consume = true;
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	send(&r, "t", 0, NULL, "a");
	rig_turns(&r, 20);
	assert_int_equal(s.n, 1);
	/* Switched off and on while it is open. */
	c.consume = false;
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	rig_credit(&r, &s, 5);
	send(&r, "t", 0, NULL, "b");
	rig_turns(&r, 20);
	assert_int_equal(s.n, 1);
	c.consume = true;
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(s.n, 2);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void the_end_of_a_topic_or_group_ends_subscriptions(void **state)
{
	struct rig r;
	struct rig_sub a = {0}, b = {0}, c = {0};
	struct rig_open o = opening(10);

	(void)state;
	setup(&r, 2);
	assert_int_equal(rig_topic(&r, "u", 1), ST_OK);
	send(&r, "t", 0, NULL, "x");
	send(&r, "u", 0, NULL, "y");
	assert_int_equal(rig_subscribe(&r, &a, &o), ST_OK);
	o.group = "";
	assert_int_equal(rig_subscribe(&r, &b, &o), ST_OK);
	o.group = "g";
	o.topic = "u";
	assert_int_equal(rig_subscribe(&r, &c, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(a.n + b.n + c.n, 3);
	assert_int_equal(rig_topic_drop(&r, "t"), ST_OK);
	rig_turns(&r, 5);
	assert_true(a.ended && b.ended && !c.ended);
	assert_int_equal(a.why, ST_NO_TOPIC);
	assert_int_equal(b.why, ST_NO_TOPIC);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 1);
	assert_int_equal(rig_group_drop(&r, "g", true), ST_OK);
	rig_turns(&r, 5);
	assert_true(c.ended);
	assert_int_equal(c.why, ST_NO_GROUP);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 0);
	rig_run(&r, 5000);
	rig_sub_free(&a);
	rig_sub_free(&b);
	rig_sub_free(&c);
	/* Open ones end with the engine. */
	o.topic = "u";
	assert_int_equal(rig_subscribe(&r, &a, &o), ST_OK);
	rig_restart(&r);
	assert_true(a.ended);
	assert_int_equal(a.why, ST_CLOSED);
	rig_sub_free(&a);
	rig_fini(&r);
}

static void queues_that_are_added_are_delivered(void **state)
{
	struct rig r;
	struct rig_sub s = {0}, e = {0};
	struct rig_open o = opening(10);

	(void)state;
	setup(&r, 1);
	o.start = SUB_START_LAST;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	o.group = "";
	assert_int_equal(rig_subscribe(&r, &e, &o), ST_OK);
	assert_int_equal(rig_topic(&r, "t", 3), ST_OK);
	send(&r, "t", 2, NULL, "a");
	rig_turns(&r, 20);
	assert_texts(&s, 0, "a");
	assert_texts(&e, 0, "a");
	rig_unsubscribe(&r, &s);
	rig_unsubscribe(&r, &e);
	rig_sub_free(&s);
	rig_sub_free(&e);
	rig_fini(&r);
}

static void an_orderly_group_gets_one_message_of_a_queue_at_a_time(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(10);
	struct group_conf c;

	(void)state;
	setup(&r, 2);
	group_conf_default(&c);
	c.orderly = true;
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	for (char b = 'a'; b < 'd'; b++) {
		send(&r, "t", 0, NULL, (char[]){b, '\0'});
		send(&r, "t", 1, NULL, (char[]){(char)(b - 32), '\0'});
	}
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "a A");
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_RETRY, 100), ST_OK);
	assert_int_equal(rig_settle(&r, &s, s.v[1].tag, SETTLE_ACK, 0), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "a A B");
	rig_run(&r, 150);
	assert_texts(&s, 0, "a A B a");
	assert_int_equal(rig_settle(&r, &s, s.v[3].tag, SETTLE_ACK, 0), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "a A B a b");
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void a_reset_makes_leases_stale(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(20);

	(void)state;
	setup(&r, 1);
	for (char c = 'a'; c < 'f'; c++)
		send(&r, "t", 0, NULL, (char[]){c, '\0'});
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(s.n, 5);
	assert_int_equal(rig_settle(&r, &s, s.v[2].tag, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(rig_reset(&r, "g", "t", 0, 1), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 5, "b c d e");
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 4);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void who_acks_inside_the_delivery_gets_all(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(1);

	(void)state;
	setup(&r, 4);
	for (unsigned i = 0; i < 600; i++)
		send(&r, "t", (int32_t)(i % 4), NULL, "m");
	s.ack_in_deliver = 1000;
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_run(&r, 10);
	assert_int_equal(s.n, 600);
	for (int32_t q = 0; q < 4; q++)
		assert_offset(&r, "g", "t", q, 150);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

/* One stuck message and much settled behind it: its kilobytes do not ride on each write, and are not forgotten either. */
static void a_wide_cursor_is_written_now_and_then(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(6000);
	struct prng torn;

	(void)state;
	prng_init(&torn, 43);
	setup(&r, 1);
	o.lease_ms = 600000;
	for (unsigned i = 0; i < 3000; i++)
		send(&r, "t", 0, NULL, "m");
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_run(&r, 50);
	assert_int_equal(s.n, 3000);
	for (unsigned i = 1; i < 3000; i += 2)
		assert_int_equal(rig_settle(&r, &s, s.v[i].tag, SETTLE_ACK, 0), ST_OK);
	rig_run(&r, 500);
	uint64_t before = eng_of(r.e)->clog.tail;
	for (unsigned i = 2; i < 200; i += 2) {
		assert_int_equal(rig_settle(&r, &s, s.v[i].tag, SETTLE_ACK, 0), ST_OK);
		send(&r, "t", 0, NULL, "m");
	}
	uint64_t grew = eng_of(r.e)->clog.tail - before;
	assert_true(grew < 99 * 200 + 4 * 800);
	rig_run(&r, 2 * r.conf.offset_sync_ms + 10);
	rig_crash(&r, &torn);
	rig_sub_free(&s);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_run(&r, 50);
	assert_int_equal(s.n, 3000 + 99 - 1500 - 99);
	for (unsigned i = 0; i < s.n; i++)
		assert_int_equal(s.v[i].attempt, 1);
	/* At an orderly end nothing is put off. */
	assert_int_equal(rig_settle(&r, &s, s.v[5].tag, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(rig_settle(&r, &s, s.v[6].tag, SETTLE_ACK, 0), ST_OK);
	size_t had = s.n;
	rig_restart(&r);
	rig_crash(&r, &torn);
	rig_sub_free(&s);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_run(&r, 50);
	assert_int_equal(s.n, had - 2);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void the_window_is_bounded(void **state)
{
	struct rig r;
	struct rig_sub s = {0};
	struct rig_open o = opening(LEASE_ITEMS_MAX + 100);

	(void)state;
	setup(&r, 1);
	o.lease_ms = 600000;
	for (unsigned i = 0; i < LEASE_ITEMS_MAX + 50; i++)
		send(&r, "t", 0, NULL, "m");
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_run(&r, 100);
	assert_int_equal(s.n, LEASE_ITEMS_MAX);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(rig_settle(&r, &s, s.v[i * 7].tag, SETTLE_ACK, 0), ST_OK);
	rig_run(&r, 100);
	assert_int_equal(s.n, LEASE_ITEMS_MAX + 10);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(credit_is_never_exceeded),
		cmocka_unit_test(the_settled_prefix_is_the_committed_offset),
		cmocka_unit_test(what_was_settled_ahead_survives_a_crash),
		cmocka_unit_test(leases_run_out_and_come_back),
		cmocka_unit_test(after_the_last_attempt_comes_the_dead_letter_topic),
		cmocka_unit_test(the_groups_delays_grow_as_for_native_clients),
		cmocka_unit_test(a_rejected_message_is_dead_lettered_once_whatever_crashes),
		cmocka_unit_test(a_replayed_copy_settles_its_original),
		cmocka_unit_test(filters_work_on_the_index),
		cmocka_unit_test(a_redelivery_goes_where_its_tag_matches),
		cmocka_unit_test(a_redelivery_that_nobody_wants_stops_no_queue),
		cmocka_unit_test(a_full_queue_goes_on_when_nobody_wants_what_fills_it),
		cmocka_unit_test(subscriptions_of_a_group_share_and_others_do_not),
		cmocka_unit_test(where_a_group_begins),
		cmocka_unit_test(bad_requests_are_refused),
		cmocka_unit_test(the_end_of_a_topic_or_group_ends_subscriptions),
		cmocka_unit_test(queues_that_are_added_are_delivered),
		cmocka_unit_test(an_orderly_group_gets_one_message_of_a_queue_at_a_time),
		cmocka_unit_test(a_reset_makes_leases_stale),
		cmocka_unit_test(who_acks_inside_the_delivery_gets_all),
		cmocka_unit_test(a_wide_cursor_is_written_now_and_then),
		cmocka_unit_test(the_window_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
