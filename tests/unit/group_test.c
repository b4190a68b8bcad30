/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Groups and members: registry, what survives a start, who hears of what, and who may pull. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/groups.h"
#include "tests/lib/group_rig.h"

static void assert_members(struct rig *r, const char *group, const char *want)
{
	char *got = rig_members(r, group);

	assert_string_equal(got, want);
	mem_free(got);
}

static void configuration_survives(void **state)
{
	struct rig r;
	struct group_conf c, got;
	struct prng torn;

	(void)state;
	prng_init(&torn, 5);
	rig_init(&r);
	rig_open(&r);
	group_conf_default(&c);
	assert_int_equal(c.retry_max, 16);
	c.retry_max = 3;
	c.orderly = true;
	c.consume = false;
	c.retry_queues = 4;
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	assert_int_equal(rig_group(&r, "bad name", &c), ST_BAD_NAME);
	assert_int_equal(rig_group(&r, "", &c), ST_BAD_NAME);
	char longest[NAME_MAX_GROUP + 2];
	memset(longest, 'x', sizeof longest - 1);
	longest[NAME_MAX_GROUP + 1] = '\0';
	assert_int_equal(rig_group(&r, longest, &c), ST_BAD_NAME);
	longest[NAME_MAX_GROUP] = '\0';
	assert_int_equal(rig_group(&r, longest, &c), ST_OK);
	assert_int_equal(rig_group_get(&r, "h", &got), ST_NO_GROUP);
	rig_crash(&r, &torn);
	assert_int_equal(rig_group_get(&r, "g", &got), ST_OK);
	assert_int_equal(got.retry_max, 3);
	assert_int_equal(got.retry_queues, 4);
	assert_true(got.orderly);
	assert_false(got.consume);
	assert_true(got.notify);
	assert_int_equal(rig_group_drop(&r, "g", true), ST_OK);
	assert_int_equal(rig_group_drop(&r, "g", true), ST_NO_GROUP);
	rig_restart(&r);
	assert_int_equal(rig_group_get(&r, "g", &got), ST_NO_GROUP);
	assert_int_equal(rig_group_get(&r, longest, &got), ST_OK);
	rig_fini(&r);
}

static void system_groups_are_there(void **state)
{
	struct rig r;
	struct group_conf got;

	(void)state;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_group_get(&r, "TOOLS_CONSUMER", &got), ST_OK);
	assert_int_equal(rig_group_drop(&r, "TOOLS_CONSUMER", true), ST_DENIED);
	assert_int_equal(rig_stat(&r, STAT_GROUPS), 8);
	rig_fini(&r);
}

static void the_number_of_groups_is_bounded(void **state)
{
	struct rig r;
	struct group_conf c;

	(void)state;
	rig_init(&r);
	r.conf.max_groups = 10;
	rig_open(&r);
	group_conf_default(&c);
	assert_int_equal(rig_group(&r, "a", &c), ST_OK);
	assert_int_equal(rig_group(&r, "b", &c), ST_OK);
	assert_int_equal(rig_group(&r, "c", &c), ST_BUSY);
	assert_int_equal(rig_group_drop(&r, "a", true), ST_OK);
	assert_int_equal(rig_group(&r, "c", &c), ST_OK);
	rig_fini(&r);
}

static void joining_makes_the_group_and_its_retry_topic(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"};
	struct group_conf c;
	struct rig_subscription s[] = {{"t", "*", 1}, {"%RETRY%g", "*", 1}};
	bool changed;

	(void)state;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, s, 2, &changed), ST_OK);
	assert_true(changed);
	assert_int_equal(rig_group_get(&r, "g", &c), ST_OK);
	assert_int_equal(rig_send(&r, "%RETRY%g", 0, NULL, "x"), ST_OK);
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, s, 2, &changed), ST_OK);
	assert_false(changed);
	assert_members(&r, "g", "a");
	assert_int_equal(rig_stat(&r, STAT_MEMBERS), 1);
	/* A member is one of one group. */
	assert_int_equal(rig_join(&r, &a, "h", MODEL_CLUSTERING, s, 2, &changed), ST_BAD_ARG);
	struct rig_subscription bad[] = {{"t", "||", 2}};
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, bad, 1, &changed), ST_BAD_FILTER);
	bad[0] = (struct rig_subscription){"no topic!", "*", 2};
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, bad, 1, &changed), ST_BAD_NAME);
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	assert_int_equal(rig_leave(&r, &a), ST_NO_MEMBER);
	assert_members(&r, "g", "");
	assert_int_equal(rig_stat(&r, STAT_MEMBERS), 0);
	rig_fini(&r);
}

static void without_auto_creation_unknown_groups_are_refused(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"};
	struct rig_subscription s[] = {{"t", "*", 1}};

	(void)state;
	rig_init(&r);
	r.conf.auto_create_group = false;
	rig_open(&r);
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, s, 1, NULL), ST_NO_GROUP);
	assert_null(a.m.priv[0]);
	assert_int_equal(rig_commit(&r, "g", "TBW102", 0, 0, NULL, ""), ST_NO_GROUP);
	assert_int_equal(rig_join(&r, &a, "TOOLS_CONSUMER", MODEL_CLUSTERING, s, 1, NULL), ST_OK);
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	rig_fini(&r);
}

static void changes_are_told_once(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"}, b = {.id = "b", .address = "1.1.1.1:2"};
	struct rig_subscription s[] = {{"t", "*", 1}, {"u", "*", 1}};

	(void)state;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, s, 1, NULL), ST_OK);
	rig_run(&r, 1);
	assert_int_equal(a.changed, 1); /* the new one hears of itself too */
	assert_int_equal(rig_join(&r, &b, "g", MODEL_CLUSTERING, s, 1, NULL), ST_OK);
	rig_run(&r, 1);
	assert_int_equal(a.changed, 2);
	assert_int_equal(b.changed, 1);
	/* A heartbeat, a new version of the same topics: nothing. */
	s[0].version = 2;
	assert_int_equal(rig_join(&r, &b, "g", MODEL_CLUSTERING, s, 1, NULL), ST_OK);
	rig_run(&r, 1);
	assert_int_equal(a.changed, 2);
	/* A topic more, a topic less. */
	assert_int_equal(rig_join(&r, &b, "g", MODEL_CLUSTERING, s, 2, NULL), ST_OK);
	rig_run(&r, 1);
	assert_int_equal(a.changed, 3);
	assert_int_equal(rig_join(&r, &b, "g", MODEL_CLUSTERING, s, 1, NULL), ST_OK);
	rig_run(&r, 1);
	assert_int_equal(a.changed, 4);
	/* keep_subs says nothing about topics. */
	assert_int_equal(rig_join(&r, &b, "g", MODEL_CLUSTERING, NULL, 0, NULL), ST_OK);
	rig_run(&r, 1);
	assert_int_equal(a.changed, 4);
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	rig_run(&r, 1);
	assert_int_equal(b.changed, 4);
	assert_int_equal(a.changed, 4);
	/* Gone at once and never told after: changed() was due when it left. */
	struct rig_member c = {.id = "c", .address = "1.1.1.1:3"};
	assert_int_equal(rig_join(&r, &c, "g", MODEL_CLUSTERING, s, 2, NULL), ST_OK);
	assert_int_equal(rig_leave(&r, &c), ST_OK);
	rig_run(&r, 1);
	assert_int_equal(rig_leave(&r, &b), ST_OK);
	rig_fini(&r);
}

static void broadcast_and_quiet_groups_are_not_told(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"}, b = {.id = "b", .address = "1.1.1.1:2"};
	struct rig_subscription s[] = {{"t", "*", 1}};
	struct group_conf c;

	(void)state;
	rig_init(&r);
	rig_open(&r);
	group_conf_default(&c);
	c.notify = false;
	assert_int_equal(rig_group(&r, "quiet", &c), ST_OK);
	assert_int_equal(rig_join(&r, &a, "quiet", MODEL_CLUSTERING, s, 1, NULL), ST_OK);
	assert_int_equal(rig_join(&r, &b, "wide", MODEL_BROADCASTING, s, 1, NULL), ST_OK);
	rig_run(&r, 10);
	assert_int_equal(a.changed, 0);
	assert_int_equal(b.changed, 0);
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	assert_int_equal(rig_leave(&r, &b), ST_OK);
	rig_fini(&r);
}

static void the_silent_are_lost(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"}, b = {.id = "b", .address = "1.1.1.1:2"};
	struct rig_subscription s[] = {{"t", "*", 1}};

	(void)state;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, s, 1, NULL), ST_OK);
	assert_int_equal(rig_join(&r, &b, "g", MODEL_CLUSTERING, s, 1, NULL), ST_OK);
	rig_run(&r, 100000);
	assert_int_equal(rig_join(&r, &b, "g", MODEL_CLUSTERING, s, 1, NULL), ST_OK);
	rig_run(&r, 19000);
	assert_int_equal(a.lost, 0);
	rig_run(&r, 2000);
	assert_int_equal(a.lost, 1);
	assert_null(a.m.priv[0]);
	assert_int_equal(b.lost, 0);
	assert_members(&r, "g", "b");
	assert_true(b.changed >= 2);
	rig_run(&r, 120000);
	assert_int_equal(b.lost, 1);
	assert_members(&r, "g", "");
	rig_fini(&r);
}

static void who_may_pull(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"};
	struct rig_subscription s[] = {{"t", "A || B", 5}};
	struct group_conf c;
	struct tag_filter f;

	(void)state;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 2), ST_OK);
	assert_int_equal(rig_topic(&r, "u", 2), ST_OK);
	struct eng *g = eng_of(r.e);
	struct topic *t = topic_find(g, SLICE_LIT("t")), *u = topic_find(g, SLICE_LIT("u"));
	assert_int_equal(group_filter(g, SLICE_LIT("b@d"), t, 0, &f), ST_BAD_NAME);
	assert_int_equal(group_filter(g, SLICE_LIT("g"), t, 0, &f), ST_NOT_SUBSCRIBED);
	assert_int_equal(rig_group_get(&r, "g", &c), ST_OK); /* made on the way */
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, s, 1, NULL), ST_OK);
	assert_int_equal(group_filter(g, SLICE_LIT("g"), t, 5, &f), ST_OK);
	assert_int_equal(f.n, 2);
	assert_int_equal(group_filter(g, SLICE_LIT("g"), t, 6, &f), ST_STALE_SUB);
	assert_int_equal(group_filter(g, SLICE_LIT("g"), u, 0, &f), ST_NOT_SUBSCRIBED);
	/* An older version does not replace a newer one; a newer one does. */
	struct rig_subscription older[] = {{"t", "C", 4}};
	bool changed;
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, older, 1, &changed), ST_OK);
	assert_false(changed);
	assert_int_equal(group_filter(g, SLICE_LIT("g"), t, 5, &f), ST_OK);
	assert_int_equal(f.n, 2);
	older[0].version = 7;
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, older, 1, &changed), ST_OK);
	assert_true(changed);
	assert_int_equal(group_filter(g, SLICE_LIT("g"), t, 7, &f), ST_OK);
	assert_int_equal(f.n, 1);
	c.consume = false;
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	assert_int_equal(group_filter(g, SLICE_LIT("g"), t, 0, &f), ST_DENIED);
	c.consume = true;
	c.broadcast = false;
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	assert_int_equal(group_filter(g, SLICE_LIT("g"), t, 0, &f), ST_OK);
	assert_int_equal(rig_join(&r, &a, "g", MODEL_BROADCASTING, older, 1, &changed), ST_OK);
	assert_int_equal(group_filter(g, SLICE_LIT("g"), t, 0, &f), ST_DENIED);
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	assert_int_equal(group_filter(g, SLICE_LIT("g"), t, 0, &f), ST_NOT_SUBSCRIBED);
	rig_fini(&r);
}

static void producers_are_no_consumers(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"};
	struct group_conf c;
	struct actor who = {"test", {NULL, 0}, SLICE_LIT("1.1.1.1:1")};
	struct engine_join j = {.actor = &who, .member = &a.m, .kind = MEMBER_PRODUCER, .group = SLICE_LIT("p"), .client_id = SLICE_LIT("a")};

	(void)state;
	rig_init(&r);
	rig_open(&r);
	engine_join(r.e, &j);
	rig_run(&r, 1);
	assert_non_null(a.m.priv[0]);
	assert_int_equal(rig_group_get(&r, "p", &c), ST_NO_GROUP);
	assert_members(&r, "p", "");
	assert_int_equal(rig_stat(&r, STAT_MEMBERS), 1);
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	assert_null(group_at(eng_of(r.e)->gs, SLICE_LIT("p"))); /* nothing is left of it */
	rig_fini(&r);
}

static void average_shares_are_those_of_the_clients(void **state)
{
	uint32_t from;

	(void)state;
	/* Each queue to one member, whatever the numbers. */
	for (uint32_t q = 1; q < 40; q++)
		for (uint32_t m = 1; m < 45; m++) {
			uint32_t next = 0;
			for (uint32_t at = 0; at < m; at++) {
				uint32_t n = share_average(q, m, at, &from);
				if (n > 0)
					assert_int_equal(from, next);
				next += n;
			}
			assert_int_equal(next, q);
		}
	assert_int_equal(share_average(8, 3, 0, &from), 3);
	assert_int_equal(share_average(8, 3, 2, &from), 2);
	assert_int_equal(from, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_survives),
		cmocka_unit_test(system_groups_are_there),
		cmocka_unit_test(the_number_of_groups_is_bounded),
		cmocka_unit_test(joining_makes_the_group_and_its_retry_topic),
		cmocka_unit_test(without_auto_creation_unknown_groups_are_refused),
		cmocka_unit_test(changes_are_told_once),
		cmocka_unit_test(broadcast_and_quiet_groups_are_not_told),
		cmocka_unit_test(the_silent_are_lost),
		cmocka_unit_test(who_may_pull),
		cmocka_unit_test(producers_are_no_consumers),
		cmocka_unit_test(average_shares_are_those_of_the_clients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
