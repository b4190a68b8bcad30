/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Native members and the engine's own subscriptions in one group: who gets which queue, and nothing is handled twice or by nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/groups.h"
#include "tests/lib/group_rig.h"

static const struct rig_subscription subs[] = {{"t", "*", 1}, {"%RETRY%g", "*", 1}, {"u", "*", 1}};

static void send(struct rig *r, const char *topic, int32_t queue, const char *body)
{
	assert_int_equal(rig_send(r, topic, queue, NULL, body), ST_OK);
}

static void assert_texts(const struct rig_sub *s, size_t from, const char *want)
{
	char *got = rig_texts(s, from);

	assert_string_equal(got, want);
	mem_free(got);
}

static void assert_members(struct rig *r, const char *want)
{
	char *got = rig_members(r, "g");

	assert_string_equal(got, want);
	mem_free(got);
}

static void assert_offset(struct rig *r, const char *topic, int32_t queue, uint64_t want)
{
	uint64_t v = 0;

	assert_int_equal(rig_get(r, "g", topic, queue, &v, NULL), ST_OK);
	assert_int_equal(v, want);
}

static void pulls(struct rig *r, const struct rig_member *m, const char *topic, int32_t queue, uint64_t from, const char *want)
{
	enum status st;
	char *got = rig_pull(r, "g", m, topic, queue, from, -1, &st);

	assert_string_equal(got, want);
	mem_free(got);
}

static void setup(struct rig *r)
{
	rig_init(r);
	r->conf.feed_linger_ms = 0; /* what lingers is told in receipt_test.c */
	rig_open(r);
	assert_int_equal(rig_topic(r, "t", 4), ST_OK);
	assert_int_equal(rig_topic(r, "u", 1), ST_OK);
}

static struct rig_open opening(const char *topic)
{
	return (struct rig_open){.topic = topic, .group = "g", .expr = "*", .start = SUB_START_FIRST, .lease_ms = 5000, .credit = 100};
}

static void the_gateway_is_a_member(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"};
	struct rig_sub s = {0};
	struct rig_open o = opening("t");

	(void)state;
	setup(&r);
	assert_members(&r, "");
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	assert_members(&r, "gateway@gantry");
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, subs, 2, NULL), ST_OK);
	rig_turns(&r, 5);
	assert_members(&r, "a gateway@gantry");
	unsigned told = a.changed;
	rig_unsubscribe(&r, &s);
	rig_turns(&r, 5);
	assert_members(&r, "a");
	assert_int_equal(a.changed, told + 1);
	rig_sub_free(&s);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 5);
	assert_int_equal(a.changed, told + 2);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	rig_fini(&r);
}

static void each_queue_has_one_owner(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"}, z = {.id = "z", .address = "1.1.1.1:2"};
	struct rig_sub s = {0};
	struct rig_open o = opening("t");

	(void)state;
	setup(&r);
	for (int32_t q = 0; q < 4; q++)
		send(&r, "t", q, (char[]){(char)('0' + q), '\0'});
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, subs, 2, NULL), ST_OK);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "2 3"); /* a: 0 and 1 */
	/* a, gateway, z: one has two queues, by the clients' rule the first. */
	assert_int_equal(rig_join(&r, &z, "g", MODEL_CLUSTERING, subs, 2, NULL), ST_OK);
	rig_turns(&r, 5);
	for (int32_t q = 0; q < 4; q++)
		send(&r, "t", q, (char[]){(char)('a' + q), '\0'});
	rig_turns(&r, 20);
	assert_texts(&s, 2, "c");
	/* Nobody but us: all, also what the others left. */
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	assert_int_equal(rig_leave(&r, &z), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(s.n, 8);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void a_handed_over_queue_repeats_nothing_and_loses_nothing(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"};
	struct rig_sub s = {0};
	struct rig_open o = opening("t");
	const char *bodies[] = {"m0", "m1", "m2", "m3"};

	(void)state;
	setup(&r);
	for (unsigned i = 0; i < 4; i++)
		send(&r, "t", 0, bodies[i]);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "m0 m1 m2 m3");
	assert_int_equal(rig_settle(&r, &s, s.v[1].tag, SETTLE_RETRY, 60000), ST_OK); /* waits */
	assert_int_equal(rig_settle(&r, &s, s.v[2].tag, SETTLE_ACK, 0), ST_OK);       /* settled ahead */
	assert_offset(&r, "t", 0, 0);
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, subs, 2, NULL), ST_OK);
	rig_turns(&r, 10);
	assert_offset(&r, "t", 0, 4); /* the native begins behind all of it */
	send(&r, "t", 0, "m4");
	pulls(&r, &a, "t", 0, 4, "m4");
	/* The native sets its offset back, as its puller: that costs nothing of what is owed before it. */
	assert_int_equal(rig_commit(&r, "g", "t", 0, 5, &a.m, a.address), ST_OK);
	assert_int_equal(rig_commit(&r, "g", "t", 0, 4, &a.m, a.address), ST_OK);
	assert_offset(&r, "t", 0, 4);
	/* What a member has is its own still. */
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_ACK, 0), ST_OK);
	/* m1 is parked for its minute (61 s at most), then a copy; m3 fails now: a copy at once. */
	assert_int_equal(rig_settle(&r, &s, s.v[3].tag, SETTLE_RETRY, 0), ST_OK);
	rig_run(&r, 1000);
	char *now = rig_bodies(&r, "%RETRY%g", 0);
	assert_string_equal(now, "m3");
	mem_free(now);
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, subs, 2, NULL), ST_OK);
	rig_run(&r, 58000);
	now = rig_bodies(&r, "%RETRY%g", 0);
	assert_string_equal(now, "m3");
	mem_free(now);
	rig_run(&r, 4000);
	now = rig_bodies(&r, "%RETRY%g", 0);
	assert_string_equal(now, "m3 m1");
	mem_free(now);
	assert_int_equal(s.n, 4); /* the retry queue falls to the native */
	assert_int_equal(rig_stat(&r, STAT_LEASES), 0);
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	rig_turns(&r, 30);
	/* And with the native it comes to us, as what it was. */
	assert_int_equal(s.n, 7);
	assert_texts(&s, 4, "m3 m1 m4");
	assert_string_equal(s.v[5].topic, "t");
	assert_int_equal(s.v[5].attempt, 2);
	assert_int_equal(s.v[6].attempt, 1);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void what_is_owed_survives_a_crash(void **state)
{
	struct prng torn;

	(void)state;
	prng_init(&torn, 31);
	for (unsigned turns = 0; turns < 10; turns++) {
		struct rig r;
		struct rig_member a = {.id = "a", .address = "1.1.1.1:1"}, b = {.id = "a", .address = "1.1.1.1:2"};
		struct rig_sub s = {0};
		struct rig_open o = opening("t");
		setup(&r);
		send(&r, "t", 0, "m0");
		send(&r, "t", 0, "m1");
		assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
		rig_turns(&r, 20);
		assert_int_equal(s.n, 2);
		assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_RETRY, 60000), ST_OK);
		assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, subs, 2, NULL), ST_OK);
		if (turns == 9)
			rig_run(&r, 200);
		rig_turns(&r, turns);
		rig_crash(&r, &torn);
		rig_sub_free(&s);
		/* m1 was leased, m0 waited: whoever asks for them now, natives from the committed offset and the retry topic, gets both. */
		assert_int_equal(rig_join(&r, &b, "g", MODEL_CLUSTERING, subs, 2, NULL), ST_OK);
		rig_run(&r, 70000);
		uint64_t from = 0;
		assert_true(rig_get(&r, "g", "t", 0, &from, NULL) == ST_OK || from == 0);
		enum status st;
		char *direct = rig_pull(&r, "g", &b, "t", 0, from, -1, &st), *retry = rig_bodies(&r, "%RETRY%g", 0);
		struct buf all = {0};
		buf_fmt(&all, "%s %s", direct, retry);
		const char *text = buf_cstr(&all);
		const char *m0 = strstr(text, "m0"), *m1 = strstr(text, "m1");
		if (m0 == NULL || m1 == NULL || strstr(m0 + 1, "m0") != NULL || strstr(m1 + 1, "m1") != NULL)
			fail_msg("after %u turns: '%s' and '%s'", turns, direct, retry);
		mem_free(direct);
		mem_free(retry);
		buf_fini(&all);
		assert_int_equal(rig_leave(&r, &b), ST_OK);
		rig_fini(&r);
	}
}

static void a_queue_is_taken_when_its_owner_is_through(void **state)
{
	struct rig r;
	struct rig_member z = {.id = "z", .address = "1.1.1.1:2"};
	struct rig_sub s = {0};
	struct rig_open o = opening("t");

	(void)state;
	o.lease_ms = 600000;
	setup(&r);
	for (int32_t q = 0; q < 4; q++)
		send(&r, "t", q, (char[]){(char)('0' + q), '\0'});
	assert_int_equal(rig_join(&r, &z, "g", MODEL_CLUSTERING, subs, 2, NULL), ST_OK);
	pulls(&r, &z, "t", 0, 0, "0");
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&s, 0, "1"); /* 0 and 1 fall to us, 0 was pulled just now */
	assert_int_equal(rig_commit(&r, "g", "t", 0, 1, &z.m, z.address), ST_OK);
	send(&r, "t", 0, "x");
	rig_run(&r, QUEUE_GRACE_MS - 500);
	assert_texts(&s, 0, "1");
	rig_run(&r, 1000);
	assert_texts(&s, 0, "1 x"); /* the native has handled "0" */
	assert_int_equal(rig_leave(&r, &z), ST_OK);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

static void the_gateway_stays_out_where_it_would_starve_a_topic(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"};
	struct rig_sub t = {0}, u = {0};
	struct rig_open o = opening("t");

	(void)state;
	setup(&r);
	for (int32_t q = 0; q < 4; q++)
		send(&r, "t", q, (char[]){(char)('0' + q), '\0'});
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, subs, 3, NULL), ST_OK); /* t and u */
	assert_int_equal(rig_subscribe(&r, &t, &o), ST_OK);
	rig_turns(&r, 20);
	assert_members(&r, "a");
	assert_int_equal(t.n, 0);
	assert_int_equal(rig_stat(&r, STAT_SUBSCRIPTIONS_IDLE), 1);
	o = opening("u");
	assert_int_equal(rig_subscribe(&r, &u, &o), ST_OK);
	rig_turns(&r, 20);
	assert_members(&r, "a gateway@gantry");
	assert_texts(&t, 0, "2 3");
	/* u has one queue, which is the native's by the rule: that subscription gets nothing. */
	assert_int_equal(rig_stat(&r, STAT_SUBSCRIPTIONS_IDLE), 1);
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(rig_stat(&r, STAT_SUBSCRIPTIONS_IDLE), 0);
	assert_int_equal(t.n, 4);
	rig_unsubscribe(&r, &t);
	rig_unsubscribe(&r, &u);
	rig_sub_free(&t);
	rig_sub_free(&u);
	rig_fini(&r);
}

static void broadcast_natives_share_nothing(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"};
	struct rig_sub t = {0};
	struct rig_open o = opening("t");

	(void)state;
	setup(&r);
	for (int32_t q = 0; q < 4; q++)
		send(&r, "t", q, (char[]){(char)('0' + q), '\0'});
	assert_int_equal(rig_join(&r, &a, "g", MODEL_BROADCASTING, subs, 1, NULL), ST_OK);
	assert_int_equal(rig_subscribe(&r, &t, &o), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(t.n, 4);
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	rig_unsubscribe(&r, &t);
	rig_sub_free(&t);
	rig_fini(&r);
}

struct back {
	struct engine_send_back q;
	bool done;
	enum status st;
};

static void back_done(struct engine_ask *a, enum status st)
{
	struct back *b = (void *)a;

	b->done = true;
	b->st = st;
}

/* What natives sent back comes to the subscription of its topic, and waits for one when there is none. */
static void retries_go_where_their_topic_is_subscribed(void **state)
{
	struct rig r;
	struct rig_sub t = {0}, u = {0};
	struct rig_open o = opening("t");
	const char *topics[] = {"u", "t", "u"};

	(void)state;
	setup(&r);
	struct group *gr;
	assert_int_equal(group_need(eng_of(r.e), SLICE_LIT("g"), &gr), ST_OK);
	for (unsigned i = 0; i < 3; i++) {
		send(&r, topics[i], 0, topics[i]);
		struct qentry e;
		enum status st;
		struct topic *tp = topic_find(eng_of(r.e), slice_str(topics[i]));
		uint64_t last = topic_queue(eng_of(r.e), tp, 0)->index.next - 1;
		assert_int_equal(eng_index_read(eng_of(r.e), topic_queue(eng_of(r.e), tp, 0), last, &e, 1, &st), 1);
		struct back b = {.q = {.ask = {.done = back_done}, .group = SLICE_LIT("g"), .position = e.position, .delay_level = 1,
			.max_reconsume = -1}};
		engine_send_back(r.e, &b.q);
		for (unsigned k = 0; k < 100 && !b.done; k++)
			rig_turns(&r, 1);
		assert_true(b.done && b.st == ST_OK);
	}
	rig_run(&r, 3000);
	o.start = SUB_START_LAST;
	assert_int_equal(rig_subscribe(&r, &t, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&t, 0, "t");
	assert_string_equal(t.v[0].topic, "t");
	assert_int_equal(t.v[0].attempt, 2);
	assert_int_equal(rig_settle(&r, &t, t.v[0].tag, SETTLE_ACK, 0), ST_OK);
	assert_offset(&r, "%RETRY%g", 0, 0);
	o = opening("u");
	o.start = SUB_START_LAST;
	assert_int_equal(rig_subscribe(&r, &u, &o), ST_OK);
	rig_turns(&r, 20);
	assert_texts(&u, 0, "u u");
	assert_int_equal(rig_settle(&r, &u, u.v[0].tag, SETTLE_ACK, 0), ST_OK);
	assert_offset(&r, "%RETRY%g", 0, 2);
	/* Retried in place: the count goes on from where the natives left it. */
	assert_int_equal(rig_settle(&r, &u, u.v[1].tag, SETTLE_RETRY, 0), ST_OK);
	rig_turns(&r, 20);
	assert_int_equal(u.v[2].attempt, 3);
	/* Its topic goes: the dead-letter topic has it. */
	assert_int_equal(rig_settle(&r, &u, u.v[2].tag, SETTLE_RETRY, 1000), ST_OK);
	assert_int_equal(rig_topic_drop(&r, "u"), ST_OK);
	rig_run(&r, 1500);
	assert_true(u.ended);
	char *dead = rig_bodies(&r, "%DLQ%g", 0);
	assert_string_equal(dead, "u");
	mem_free(dead);
	assert_offset(&r, "%RETRY%g", 0, 3);
	rig_unsubscribe(&r, &t);
	rig_sub_free(&t);
	rig_sub_free(&u);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_gateway_is_a_member),
		cmocka_unit_test(each_queue_has_one_owner),
		cmocka_unit_test(a_handed_over_queue_repeats_nothing_and_loses_nothing),
		cmocka_unit_test(what_is_owed_survives_a_crash),
		cmocka_unit_test(a_queue_is_taken_when_its_owner_is_through),
		cmocka_unit_test(the_gateway_stays_out_where_it_would_starve_a_topic),
		cmocka_unit_test(broadcast_natives_share_nothing),
		cmocka_unit_test(retries_go_where_their_topic_is_subscribed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
