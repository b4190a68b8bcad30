/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Committed offsets: who may set them to what, what a crash leaves of them, and the orderly locks beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/groups.h"
#include "tests/lib/group_rig.h"

static const struct rig_subscription sub_t[] = {{"t", "*", 1}};

static void fill(struct rig *r, const char *topic, int32_t queue, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(rig_send(r, topic, queue, NULL, "m"), ST_OK);
}

static void assert_offset(struct rig *r, const char *group, const char *topic, int32_t queue, uint64_t want)
{
	uint64_t v = 0;

	assert_int_equal(rig_get(r, group, topic, queue, &v, NULL), ST_OK);
	assert_int_equal(v, want);
}

static void unknown_things_are_named(void **state)
{
	struct rig r;
	uint64_t v;
	bool young;

	(void)state;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 2), ST_OK);
	assert_int_equal(rig_get(&r, "g", "u", 0, &v, NULL), ST_NO_TOPIC);
	assert_int_equal(rig_get(&r, "g", "t", 2, &v, NULL), ST_NO_QUEUE);
	assert_int_equal(rig_get(&r, "g", "t", -1, &v, NULL), ST_NO_QUEUE);
	assert_int_equal(rig_get(&r, "g", "t", 1, &v, &young), ST_NOT_FOUND);
	assert_true(young);
	assert_int_equal(rig_commit(&r, "g", "t", 1, 1, NULL, ""), ST_BAD_ARG); /* behind the end */
	assert_int_equal(rig_reset(&r, "g", "t", 1, 1), ST_BAD_ARG);
	assert_int_equal(rig_commit(&r, "g", "t", 2, 0, NULL, ""), ST_NO_QUEUE);
	assert_int_equal(rig_commit(&r, "g g", "t", 0, 0, NULL, ""), ST_BAD_NAME);
	rig_fini(&r);
}

static void a_queue_is_young_until_much_was_written(void **state)
{
	struct rig r;
	uint64_t v;
	bool young;

	(void)state;
	rig_init(&r);
	r.conf.young_bytes = 4096;
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	fill(&r, "t", 0, 5);
	assert_int_equal(rig_get(&r, "g", "t", 0, &v, &young), ST_NOT_FOUND);
	assert_true(young);
	fill(&r, "t", 0, 60);
	assert_int_equal(rig_get(&r, "g", "t", 0, &v, &young), ST_NOT_FOUND);
	assert_false(young);
	rig_fini(&r);
}

static void commits_survive_a_crash_within_100_ms(void **state)
{
	struct rig r;
	struct prng torn;

	(void)state;
	prng_init(&torn, 3);
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 3), ST_OK);
	for (int32_t q = 0; q < 3; q++)
		fill(&r, "t", q, 10);
	assert_int_equal(rig_commit(&r, "g", "t", 0, 4, NULL, ""), ST_OK);
	assert_int_equal(rig_commit(&r, "g", "t", 2, 7, NULL, ""), ST_OK);
	rig_run(&r, r.conf.offset_sync_ms + 1);
	assert_int_equal(rig_commit(&r, "g", "t", 2, 9, NULL, ""), ST_OK); /* too late for the crash */
	assert_offset(&r, "g", "t", 2, 9);
	rig_crash(&r, &torn);
	assert_offset(&r, "g", "t", 0, 4);
	assert_offset(&r, "g", "t", 2, 7);
	uint64_t v;
	assert_int_equal(rig_get(&r, "g", "t", 1, &v, NULL), ST_NOT_FOUND);
	assert_int_equal(rig_commit(&r, "g", "t", 2, 9, NULL, ""), ST_OK);
	rig_restart(&r); /* orderly: nothing is lost */
	assert_offset(&r, "g", "t", 0, 4);
	assert_offset(&r, "g", "t", 2, 9);
	rig_crash(&r, &torn); /* now from the snapshot */
	assert_offset(&r, "g", "t", 2, 9);
	rig_fini(&r);
}

static bool answered;

static void on_answer(struct engine_ask *a, enum status st)
{
	(void)a;
	assert_int_equal(st, ST_OK);
	answered = true;
}

static void a_commit_that_makes_its_group_is_durable_when_answered(void **state)
{
	struct rig r;
	struct engine_offset q = {.ask = {.done = on_answer}, .group = SLICE_LIT("g"), .topic = SLICE_LIT("t")};

	(void)state;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	r.disk.later = true;
	answered = false;
	engine_offset_commit(r.e, &q);
	for (int i = 0; i < 5; i++)
		engine_turn(r.e); /* the disk takes its time */
	assert_false(answered);
	rig_turns(&r, 20);
	assert_true(answered);
	rig_fini(&r);
}

static void a_stale_member_cannot_set_back(void **state)
{
	struct rig r;
	struct rig_member a = {.id = "a", .address = "1.1.1.1:1"}, b = {.id = "b", .address = "1.1.1.1:2"};
	enum status st;

	(void)state;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	fill(&r, "t", 0, 20);
	assert_int_equal(rig_join(&r, &a, "g", MODEL_CLUSTERING, sub_t, 1, NULL), ST_OK);
	assert_int_equal(rig_join(&r, &b, "g", MODEL_CLUSTERING, sub_t, 1, NULL), ST_OK);
	mem_free(rig_pull(&r, "g", &a, "t", 0, 0, 10, &st));
	assert_int_equal(st, ST_OK);
	assert_offset(&r, "g", "t", 0, 10);
	/* A commit on the way of a pull only raises. */
	mem_free(rig_pull(&r, "g", &a, "t", 0, 10, 5, &st));
	assert_offset(&r, "g", "t", 0, 10);
	mem_free(rig_pull(&r, "g", &a, "t", 0, 10, 21, &st)); /* nonsense is not taken */
	assert_offset(&r, "g", "t", 0, 10);
	/* From another than the puller: up, not down. */
	assert_int_equal(rig_commit(&r, "g", "t", 0, 8, &b.m, b.address), ST_OK);
	assert_offset(&r, "g", "t", 0, 10);
	assert_int_equal(rig_commit(&r, "g", "t", 0, 12, &b.m, b.address), ST_OK);
	assert_offset(&r, "g", "t", 0, 12);
	/* From the puller: down. */
	assert_int_equal(rig_commit(&r, "g", "t", 0, 6, &a.m, a.address), ST_OK);
	assert_offset(&r, "g", "t", 0, 6);
	/* Nobody pulls: down from anybody. */
	assert_int_equal(rig_leave(&r, &a), ST_OK);
	assert_int_equal(rig_commit(&r, "g", "t", 0, 2, NULL, "9.9.9.9:9"), ST_OK);
	assert_offset(&r, "g", "t", 0, 2);
	assert_int_equal(rig_leave(&r, &b), ST_OK);
	rig_fini(&r);
}

static void a_reset_is_durable_when_answered(void **state)
{
	struct rig r;
	struct prng torn;

	(void)state;
	prng_init(&torn, 11);
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	fill(&r, "t", 0, 10);
	assert_int_equal(rig_commit(&r, "g", "t", 0, 9, NULL, ""), ST_OK);
	rig_run(&r, 200);
	assert_int_equal(rig_reset(&r, "g", "t", 0, 3), ST_OK);
	rig_crash(&r, &torn);
	assert_offset(&r, "g", "t", 0, 3);
	assert_int_equal(rig_reset(&r, "g", "t", 0, 11), ST_BAD_ARG);
	assert_int_equal(rig_reset(&r, "g", "t", 0, 10), ST_OK);
	assert_offset(&r, "g", "t", 0, 10);
	rig_fini(&r);
}

static void free_offset(struct engine_ask *a, enum status st)
{
	assert_int_equal(st, ST_OK);
	mem_free(container_of(a, struct engine_offset, ask));
}

static void offsets_go_with_their_topic_and_group(void **state)
{
	struct rig r;
	struct prng torn;
	struct group_conf c;
	uint64_t v;

	(void)state;
	prng_init(&torn, 13);
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	fill(&r, "t", 0, 5);
	assert_int_equal(rig_commit(&r, "g", "t", 0, 5, NULL, ""), ST_OK);
	rig_run(&r, 200);
	assert_int_equal(rig_topic_drop(&r, "t"), ST_OK);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	assert_int_equal(rig_get(&r, "g", "t", 0, &v, NULL), ST_NOT_FOUND);
	rig_crash(&r, &torn); /* the record of the old topic's offset is in the log, before the new topic */
	assert_int_equal(rig_get(&r, "g", "t", 0, &v, NULL), ST_NOT_FOUND);
	fill(&r, "t", 0, 5);
	assert_int_equal(rig_commit(&r, "g", "t", 0, 2, NULL, ""), ST_OK);
	/* A dropped group keeps its offsets for one of the same name, unless they are to go. */
	assert_int_equal(rig_group_drop(&r, "g", false), ST_OK);
	assert_int_equal(rig_get(&r, "g", "t", 0, &v, NULL), ST_NOT_FOUND);
	rig_run(&r, 200);
	rig_crash(&r, &torn);
	group_conf_default(&c);
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	assert_offset(&r, "g", "t", 0, 2);
	assert_int_equal(rig_group_drop(&r, "g", true), ST_OK);
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	assert_int_equal(rig_get(&r, "g", "t", 0, &v, NULL), ST_NOT_FOUND);
	rig_crash(&r, &torn);
	assert_int_equal(rig_get(&r, "g", "t", 0, &v, NULL), ST_NOT_FOUND);
	/* What a dropped group left can be dropped later. */
	assert_int_equal(rig_commit(&r, "g", "t", 0, 2, NULL, ""), ST_OK);
	assert_int_equal(rig_group_drop(&r, "g", false), ST_OK);
	rig_run(&r, 200);
	rig_restart(&r);
	assert_int_equal(rig_group_drop(&r, "g", false), ST_NO_GROUP);
	assert_int_equal(rig_group_drop(&r, "g", true), ST_OK);
	assert_int_equal(rig_group_drop(&r, "g", true), ST_NO_GROUP);
	rig_crash(&r, &torn);
	assert_int_equal(rig_group(&r, "g", &c), ST_OK);
	assert_int_equal(rig_get(&r, "g", "t", 0, &v, NULL), ST_NOT_FOUND);
	rig_fini(&r);
}

/* Progress that nobody announced or configured: many commits of many groups, each a few bytes in a record that all share. */
static void commits_without_a_configuration_are_cheap_and_stay(void **state)
{
	enum { GROUPS = 50, ROUNDS = 40 };
	struct rig r;
	struct prng torn;
	char name[32];
	uint64_t v;

	(void)state;
	prng_init(&torn, 13);
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 2), ST_OK);
	fill(&r, "t", 0, ROUNDS);
	for (int g = 0; g < GROUPS; g++) {
		snprintf(name, sizeof name, "session-%d", g);
		assert_int_equal(rig_commit(&r, name, "t", 1, 0, NULL, ""), ST_OK);
	}
	uint64_t records = rig_stat(&r, STAT_STATE_RECORDS_TOTAL);
	for (uint64_t at = 1; at <= ROUNDS; at++) {
		for (int g = 0; g < GROUPS; g++) {
			struct engine_offset *q = mem_new(sizeof *q);
			snprintf(name, sizeof name, "session-%d", g);
			*q = (struct engine_offset){.ask = {.done = free_offset}, .group = slice_str(name), .topic = SLICE_LIT("t"), .offset = at};
			engine_offset_commit(r.e, q);
		}
		rig_run(&r, 50);
	}
	assert_in_range(rig_stat(&r, STAT_STATE_RECORDS_TOTAL) - records, 10, ROUNDS);
	rig_run(&r, 200);
	rig_crash(&r, &torn);
	for (int g = 0; g < GROUPS; g++) {
		snprintf(name, sizeof name, "session-%d", g);
		assert_offset(&r, name, "t", 0, ROUNDS);
		assert_offset(&r, name, "t", 1, 0);
		if (g % 2 == 0)
			assert_int_equal(rig_group_drop(&r, name, true), ST_OK);
	}
	for (int how = 0; how < 2; how++) {
		if (how == 0)
			rig_crash(&r, &torn);
		else
			rig_restart(&r);
		for (int g = 0; g < GROUPS; g++) {
			snprintf(name, sizeof name, "session-%d", g);
			assert_int_equal(rig_get(&r, name, "t", 0, &v, NULL), g % 2 == 0 ? ST_NOT_FOUND : ST_OK);
		}
	}
	rig_fini(&r);
}

static void the_lowest_offset_counts_for_retention(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 2), ST_OK);
	fill(&r, "t", 0, 9);
	struct eng *g = eng_of(r.e);
	struct topic *t = topic_find(g, SLICE_LIT("t"));
	assert_true(groups_lowest(g, t, 0) == UINT64_MAX);
	assert_int_equal(rig_commit(&r, "g", "t", 0, 7, NULL, ""), ST_OK);
	assert_int_equal(rig_commit(&r, "h", "t", 0, 4, NULL, ""), ST_OK);
	assert_int_equal(groups_lowest(g, t, 0), 4);
	assert_true(groups_lowest(g, t, 1) == UINT64_MAX);
	assert_int_equal(rig_group_drop(&r, "h", false), ST_OK);
	assert_int_equal(groups_lowest(g, t, 0), 7);
	rig_fini(&r);
}

static void many_offsets_survive_slices_of_a_snapshot(void **state)
{
	struct rig r;
	char name[16];
	struct prng torn;

	(void)state;
	prng_init(&torn, 17);
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 64), ST_OK);
	for (int32_t q = 0; q < 64; q++)
		fill(&r, "t", q, 3);
	for (unsigned i = 0; i < 40; i++)
		for (int32_t q = 0; q < 64; q += 1 + (int32_t)(i % 3)) {
			struct buf b = {0};
			buf_fmt(&b, "g%u", i);
			memcpy(name, buf_cstr(&b), b.n + 1);
			buf_fini(&b);
			assert_int_equal(rig_commit(&r, name, "t", q, (i + (unsigned)q) % 4, NULL, ""), ST_OK);
		}
	/* In slices so small that each takes many calls: what comes out is all of it, whatever is dropped between. */
	struct eng *g = eng_of(r.e);
	struct buf items = {0};
	uint64_t cursor = 0;
	unsigned slices = 0;
	while (groups_state_all(g, &items, 100, &cursor) && slices < 100000)
		slices++;
	assert_true(slices > 100);
	rig_run(&r, 200);
	rig_restart(&r);
	rig_crash(&r, &torn);
	for (unsigned i = 0; i < 40; i++)
		for (int32_t q = 0; q < 64; q += 1 + (int32_t)(i % 3)) {
			struct buf b = {0};
			buf_fmt(&b, "g%u", i);
			assert_offset(&r, buf_cstr(&b), "t", q, (i + (unsigned)q) % 4);
			buf_fini(&b);
		}
	/* The slices say the same as the state they are applied to. */
	struct buf again = {0};
	struct slice rest = buf_view(&items);
	while (rest.n > 0) {
		uint8_t type;
		uint32_t n = 0;
		assert_true(state_get_u8(&rest, &type) && state_get_u32(&rest, &n) && n <= rest.n);
		assert_int_equal(groups_state_apply(eng_of(r.e), (enum state_type)type, slice_of(rest.p, n), 0), ST_OK);
		rest = slice_skip(rest, n);
	}
	cursor = 0;
	assert_false(groups_state_all(eng_of(r.e), &again, 1u << 30, &cursor));
	assert_true(again.n > 0 && again.n <= items.n);
	buf_fini(&again);
	buf_fini(&items);
	rig_fini(&r);
}

static void damaged_items_are_refused(void **state)
{
	struct rig r;
	struct prng rnd;

	(void)state;
	prng_init(&rnd, 23);
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 4), ST_OK);
	for (int32_t q = 0; q < 4; q++) {
		fill(&r, "t", q, 4);
		assert_int_equal(rig_commit(&r, "g", "t", q, 2, NULL, ""), ST_OK);
	}
	struct eng *g = eng_of(r.e);
	struct buf items = {0};
	uint64_t cursor = 0;
	assert_false(groups_state_all(g, &items, 1u << 20, &cursor));
	/* Cut anywhere: no crash, and never OK for an item that lacks bytes. */
	struct slice rest = buf_view(&items);
	while (rest.n > 0) {
		uint8_t type;
		uint32_t n = 0;
		assert_true(state_get_u8(&rest, &type) && state_get_u32(&rest, &n));
		for (uint32_t cut = 0; cut < n; cut++) {
			uint8_t *p = mem_dup(rest.p, cut);
			assert_int_equal(groups_state_apply(g, (enum state_type)type, slice_of(p, cut), 0), ST_CORRUPT);
			mem_free(p);
		}
		for (unsigned i = 0; i < 2000; i++) {
			uint8_t *p = mem_dup(rest.p, n);
			p[prng_below(&rnd, n)] ^= (uint8_t)(1u << prng_below(&rnd, 8));
			enum status st = groups_state_apply(g, (enum state_type)type, slice_of(p, n), 0);
			assert_true(st == ST_OK || st == ST_CORRUPT);
			mem_free(p);
		}
		rest = slice_skip(rest, n);
	}
	buf_fini(&items);
	rig_fini(&r);
}

static void lock(struct rig *r, const char *client, bool take, const struct queue_name *v, size_t n, bool *granted)
{
	struct engine_locks q = {.group = SLICE_LIT("g"), .client_id = slice_str(client), .v = v, .count = n, .granted = granted};

	if (take)
		engine_lock(r->e, &q);
	else
		engine_unlock(r->e, &q);
	rig_turns(r, 5);
}

static void a_queue_has_one_lock_holder(void **state)
{
	struct rig r;
	struct queue_name v[] = {{SLICE_LIT("t"), 0}, {SLICE_LIT("t"), 1}, {SLICE_LIT("t"), 9}, {SLICE_LIT("no"), 0}};
	bool ok[4];

	(void)state;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 2), ST_OK);
	lock(&r, "a", true, v, 4, ok);
	assert_true(ok[0] && ok[1] && !ok[2] && !ok[3]);
	lock(&r, "b", true, v, 1, ok);
	assert_false(ok[0]);
	lock(&r, "b", false, v, 1, NULL); /* not its own to give up */
	lock(&r, "b", true, v, 1, ok);
	assert_false(ok[0]);
	lock(&r, "a", false, v, 1, NULL);
	lock(&r, "b", true, v, 2, ok);
	assert_true(ok[0] && !ok[1]);
	/* Said again within its life it is kept; not said again it is free. */
	rig_run(&r, 40000);
	lock(&r, "a", true, v + 1, 1, ok);
	assert_true(ok[0]);
	rig_run(&r, 40000);
	lock(&r, "c", true, v, 2, ok);
	assert_true(ok[0] && !ok[1]);
	assert_int_equal(rig_forget(&r, "g", "t"), ST_OK); /* it is of the members, not of the offsets */
	lock(&r, "b", true, v, 2, ok);
	assert_true(!ok[0] && !ok[1]);
	rig_fini(&r);
}

static void assert_no_offset(struct rig *r, const char *group, const char *topic, int32_t queue)
{
	uint64_t v = 0;

	assert_int_equal(rig_get(r, group, topic, queue, &v, NULL), ST_NOT_FOUND);
}

static void what_a_group_had_in_a_topic_is_forgotten_for_good(void **state)
{
	struct rig r;
	struct prng torn;

	(void)state;
	prng_init(&torn, 6);
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 2), ST_OK);
	assert_int_equal(rig_topic(&r, "u", 1), ST_OK);
	fill(&r, "t", 0, 3);
	fill(&r, "t", 1, 3);
	fill(&r, "u", 0, 3);
	assert_int_equal(rig_forget(&r, "g", "t"), ST_NO_GROUP);
	assert_int_equal(rig_commit(&r, "g", "t", 0, 1, NULL, ""), ST_OK);
	assert_int_equal(rig_commit(&r, "g", "t", 1, 2, NULL, ""), ST_OK);
	assert_int_equal(rig_commit(&r, "g", "u", 0, 3, NULL, ""), ST_OK);
	assert_int_equal(rig_commit(&r, "h", "t", 0, 2, NULL, ""), ST_OK);
	assert_int_equal(rig_forget(&r, "g", "v"), ST_NO_TOPIC);
	assert_int_equal(rig_forget(&r, "g", "t"), ST_OK);
	assert_int_equal(rig_forget(&r, "g", "t"), ST_OK); /* nothing is left to forget */
	for (int i = 0; i < 3; i++) {
		assert_no_offset(&r, "g", "t", 0);
		assert_no_offset(&r, "g", "t", 1);
		assert_offset(&r, "g", "u", 0, 3);
		assert_offset(&r, "h", "t", 0, 2);
		if (i == 0)
			rig_crash(&r, &torn); /* from the log alone, and then by a snapshot */
		else
			rig_restart(&r);
	}
	assert_int_equal(rig_commit(&r, "g", "t", 1, 1, NULL, ""), ST_OK);
	rig_run(&r, 200);
	rig_crash(&r, &torn);
	assert_no_offset(&r, "g", "t", 0);
	assert_offset(&r, "g", "t", 1, 1);
	assert_int_equal(rig_group_drop(&r, "g", false), ST_OK);
	assert_int_equal(rig_forget(&r, "g", "t"), ST_OK); /* what a dropped group left */
	assert_int_equal(rig_group(&r, "g", &(struct group_conf){.consume = true}), ST_OK);
	assert_no_offset(&r, "g", "t", 1);
	assert_offset(&r, "g", "u", 0, 3);
	/* Of the topic's next life nothing is forgotten by a record of this one. */
	assert_int_equal(rig_commit(&r, "g", "t", 0, 1, NULL, ""), ST_OK);
	assert_int_equal(rig_forget(&r, "g", "t"), ST_OK);
	assert_int_equal(rig_topic_drop(&r, "t"), ST_OK);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	fill(&r, "t", 0, 1);
	assert_int_equal(rig_commit(&r, "g", "t", 0, 1, NULL, ""), ST_OK);
	rig_run(&r, 200);
	rig_crash(&r, &torn);
	assert_offset(&r, "g", "t", 0, 1);
	rig_fini(&r);
}

static void subscriptions_end_where_their_group_is_forgotten(void **state)
{
	struct rig r;
	struct rig_sub s = {0}, other = {0}, ephemeral = {0};
	struct rig_open o = {.topic = "t", .group = "g", .start = SUB_START_FIRST, .credit = 9}, of_u = o, nobody = o;
	struct prng torn;

	(void)state;
	prng_init(&torn, 7);
	of_u.topic = "u";
	nobody.group = NULL;
	rig_init(&r);
	rig_open(&r);
	assert_int_equal(rig_topic(&r, "t", 1), ST_OK);
	assert_int_equal(rig_topic(&r, "u", 1), ST_OK);
	fill(&r, "t", 0, 4);
	fill(&r, "u", 0, 1);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	assert_int_equal(rig_subscribe(&r, &other, &of_u), ST_OK);
	assert_int_equal(rig_subscribe(&r, &ephemeral, &nobody), ST_OK);
	rig_turns(&r, 10);
	assert_int_equal(s.n, 4);
	assert_int_equal(rig_settle(&r, &s, s.v[0].tag, SETTLE_ACK, 0), ST_OK);
	assert_int_equal(rig_settle(&r, &s, s.v[1].tag, SETTLE_RETRY, 1000), ST_OK); /* waits */
	assert_int_equal(rig_settle(&r, &s, s.v[2].tag, SETTLE_REJECT, 0), ST_OK);
	rig_turns(&r, 10);
	assert_int_equal(rig_forget(&r, "g", "t"), ST_OK);
	rig_turns(&r, 10);
	assert_true(s.ended);
	assert_int_equal(s.why, ST_GONE);
	assert_false(other.ended);
	assert_false(ephemeral.ended);
	assert_int_equal(rig_settle(&r, &s, s.v[3].tag, SETTLE_ACK, 0), ST_GONE);
	assert_int_equal(rig_stat(&r, STAT_LEASES), 5); /* the others' */
	rig_sub_free(&s);
	rig_run(&r, 2000);
	rig_crash(&r, &torn);
	rig_sub_free(&other);
	rig_sub_free(&ephemeral);
	memset(&s, 0, sizeof s);
	assert_int_equal(rig_subscribe(&r, &s, &o), ST_OK);
	rig_run(&r, 2000);
	assert_int_equal(s.n, 4); /* from the beginning, first attempts all */
	for (size_t i = 0; i < s.n; i++)
		assert_int_equal(s.v[i].attempt, 1);
	rig_unsubscribe(&r, &s);
	rig_sub_free(&s);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_things_are_named),
		cmocka_unit_test(a_queue_is_young_until_much_was_written),
		cmocka_unit_test(commits_survive_a_crash_within_100_ms),
		cmocka_unit_test(a_commit_that_makes_its_group_is_durable_when_answered),
		cmocka_unit_test(a_stale_member_cannot_set_back),
		cmocka_unit_test(a_reset_is_durable_when_answered),
		cmocka_unit_test(offsets_go_with_their_topic_and_group),
		cmocka_unit_test(commits_without_a_configuration_are_cheap_and_stay),
		cmocka_unit_test(the_lowest_offset_counts_for_retention),
		cmocka_unit_test(many_offsets_survive_slices_of_a_snapshot),
		cmocka_unit_test(damaged_items_are_refused),
		cmocka_unit_test(a_queue_has_one_lock_holder),
		cmocka_unit_test(what_a_group_had_in_a_topic_is_forgotten_for_good),
		cmocka_unit_test(subscriptions_end_where_their_group_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
