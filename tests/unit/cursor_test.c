/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* A cursor by itself: what it saves it loads, and what no cursor saves it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/groups.h"
#include "tests/lib/group_rig.h"

static void setup(struct rig *r)
{
	rig_init(r);
	rig_open(r);
	assert_int_equal(rig_topic(r, "t", 2), ST_OK);
}

static struct cursor *cursor_in(struct rig *r, int32_t queue)
{
	struct eng *g = eng_of(r->e);
	struct group *gr;

	assert_int_equal(group_need(g, SLICE_LIT("g"), &gr), ST_OK);
	return cursor_of(g->gs, goff_need(gtopic_need(g->gs, gr, topic_find(g, SLICE_LIT("t"))), queue));
}

static void hold(struct cursor *c, uint64_t offset, uint32_t attempts, bool dead)
{
	struct item *it = item_new(c, offset);

	it->attempts = attempts;
	it->dead = dead;
	it->state = ITEM_HELD;
	list_push(&c->held, &it->link);
}

static void what_a_cursor_saves_it_loads(void **state)
{
	struct rig r;
	struct prng rnd;
	const unsigned spans[] = {3, 60, 500, 20000, LEASE_WINDOW - 1};

	(void)state;
	prng_init(&rnd, 41);
	setup(&r);
	struct cursor *a = cursor_in(&r, 0), *b = cursor_in(&r, 1);
	for (unsigned i = 0; i < 60; i++) {
		unsigned span = spans[i % ARRAY_LEN(spans)], n = 1 + (unsigned)prng_below(&rnd, i % 2 == 0 ? 5 : span);
		uint64_t prefix = prng_below(&rnd, 1u << 20);
		cursor_reset(a, prefix);
		for (unsigned k = 0; k < n; k++) {
			uint64_t from = 1 + prng_below(&rnd, span), len = 1 + prng_below(&rnd, 40);
			for (uint64_t at = from; at < from + len && at < span; at++)
				cursor_settle(a, prefix + at);
		}
		for (unsigned k = 0; k < 5; k++) {
			uint64_t at = prefix + prng_below(&rnd, LEASE_WINDOW);
			if (!cursor_known(a, at))
				hold(a, at, 1 + k, k == 3);
		}
		struct buf saved = {0}, again = {0};
		cursor_save(a, &saved);
		struct slice rest = buf_view(&saved);
		assert_int_equal(cursor_load(b, prefix, &rest), ST_OK);
		assert_int_equal(rest.n, 0);
		assert_true(b->prefix == a->prefix && b->n_ahead == a->n_ahead && b->n_items == a->n_items && b->top == a->top);
		for (uint64_t at = prefix; at < prefix + LEASE_WINDOW; at++)
			assert_int_equal(cursor_known(a, at), cursor_known(b, at));
		cursor_save(b, &again);
		assert_true(slice_eq(buf_view(&saved), buf_view(&again)));
		for (size_t cut = 0; cut < saved.n; cut += 1 + saved.n / 50) {
			rest = slice_of(saved.p, cut);
			assert_int_equal(cursor_load(b, prefix, &rest), ST_CORRUPT);
		}
		/* Settling the rest moves the prefix over all of it, and costs no memory after. */
		for (uint64_t at = prefix; at < prefix + LEASE_WINDOW - 1; at++)
			if (u64map_get(&a->items, at) != NULL)
				item_settled(u64map_get(&a->items, at));
			else if (!cursor_known(a, at))
				cursor_settle(a, at);
		assert_true(a->prefix >= prefix + LEASE_WINDOW - 1 && a->n_ahead == 0 && a->bits == NULL);
		cursor_reset(a, 0);
		cursor_reset(b, 0);
		buf_fini(&saved);
		buf_fini(&again);
	}
	rig_fini(&r);
}

/* The bits are a ring: what was settled ahead may have the place of something that is owed from far below. */
static void debts_are_loaded_whatever_was_settled_ahead(void **state)
{
	struct rig r;
	struct buf saved = {0};

	(void)state;
	setup(&r);
	struct cursor *a = cursor_in(&r, 0), *b = cursor_in(&r, 1);
	cursor_reset(a, LEASE_WINDOW + 4);
	hold(a, 5, 1, false);
	cursor_settle(a, LEASE_WINDOW + 5);
	cursor_save(a, &saved);
	struct slice rest = buf_view(&saved);
	assert_int_equal(cursor_load(b, a->prefix, &rest), ST_OK);
	assert_true(b->n_items == 1 && b->n_ahead == 1 && u64map_get(&b->items, 5) != NULL);
	buf_fini(&saved);
	rig_fini(&r);
}

static void what_is_held_outside_the_window_is_damage(void **state)
{
	struct rig r;
	struct buf saved = {0};

	(void)state;
	setup(&r);
	struct cursor *a = cursor_in(&r, 0), *b = cursor_in(&r, 1);
	cursor_reset(a, 10);
	hold(a, 10 + LEASE_WINDOW - 1, 1, false);
	cursor_save(a, &saved);
	struct slice rest = buf_view(&saved);
	assert_int_equal(cursor_load(b, 10, &rest), ST_OK);
	rest = buf_view(&saved);
	assert_int_equal(cursor_load(b, 9, &rest), ST_CORRUPT);
	buf_fini(&saved);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_cursor_saves_it_loads),
		cmocka_unit_test(debts_are_loaded_whatever_was_settled_ahead),
		cmocka_unit_test(what_is_held_outside_the_window_is_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
