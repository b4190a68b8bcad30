/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Cells: set, dropped, listed, bounded; after restarts, crashes and snapshots; and large ones while the log has no room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/groups.h"
#include "tests/lib/group_rig.h"

struct put {
	struct engine_cell q;
	bool done;
	enum status st;
	unsigned turn; /* among all answers */
};
static unsigned answers;

static void put_done(struct engine_ask *a, enum status st)
{
	struct put *p = (void *)a;

	assert_false(p->done);
	p->done = true;
	p->st = st;
	p->turn = ++answers;
}

static void start(struct rig *r, struct put *p, const char *space, struct slice name, struct slice value, bool drop)
{
	*p = (struct put){.q = {.ask = {.done = put_done}, .space = slice_str(space), .name = name, .value = value, .drop = drop}};
	engine_cell_put(r->e, &p->q);
	assert_false(p->done);
	p->q.space = p->q.name = p->q.value = slice_of("??", 2); /* borrowed during the call only */
}

static enum status finish(struct rig *r, struct put *p)
{
	for (int i = 0; i < 100000 && !p->done; i++)
		rig_turns(r, 1);
	assert_true(p->done);
	return p->st;
}

static enum status put(struct rig *r, const char *space, const char *name, const char *value)
{
	struct put p;

	start(r, &p, space, slice_str(name), slice_str(value), false);
	return finish(r, &p);
}

static enum status drop(struct rig *r, const char *space, const char *name)
{
	struct put p;

	start(r, &p, space, slice_str(name), slice_of(NULL, 0), true);
	return finish(r, &p);
}

struct list_ask {
	struct engine_cells q;
	bool done;
	enum status st;
	char *text;
};

static void list_done(struct engine_ask *a, enum status st)
{
	struct list_ask *x = (void *)a;
	struct buf b = {0};

	x->done = true;
	x->st = st;
	for (size_t i = 0; st == ST_OK && i < x->q.count; i++) {
		buf_str(&b, i == 0 ? "" : " ");
		buf_slice(&b, x->q.v[i].name);
		buf_str(&b, "=");
		if (x->q.v[i].value.n < 100)
			buf_slice(&b, x->q.v[i].value);
		else
			buf_fmt(&b, "%c*%zu", x->q.v[i].value.p[0], x->q.v[i].value.n);
	}
	x->text = mem_dup(b.p, b.n);
	buf_fini(&b);
}

static void assert_cells(struct rig *r, const char *space, const char *one, const char *want)
{
	struct list_ask x = {.q = {.ask = {.done = list_done}, .space = slice_str(space), .name = slice_str(one == NULL ? "" : one), .one = one != NULL}};

	engine_cell_list(r->e, &x.q);
	assert_false(x.done);
	for (int i = 0; i < 100000 && !x.done; i++)
		rig_turns(r, 1);
	assert_int_equal(x.st, ST_OK);
	assert_string_equal(x.text, want);
	mem_free(x.text);
}

static void setup(struct rig *r)
{
	rig_init(r);
	rig_open(r);
}

static void the_last_value_counts(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	assert_cells(&r, "s", NULL, "");
	assert_int_equal(put(&r, "s", "a", "1"), ST_OK);
	assert_int_equal(put(&r, "s", "b", "2"), ST_OK);
	assert_int_equal(put(&r, "other", "a", "x"), ST_OK);
	assert_int_equal(put(&r, "s", "a", "three"), ST_OK);
	assert_cells(&r, "s", NULL, "a=three b=2");
	assert_cells(&r, "s", "b", "b=2");
	assert_cells(&r, "s", "c", "");
	assert_cells(&r, "other", NULL, "a=x");
	assert_int_equal(rig_stat(&r, STAT_CELLS), 3);
	assert_int_equal(rig_stat(&r, STAT_CELL_BYTES), 6 + 2 + 2);
	assert_int_equal(drop(&r, "s", "a"), ST_OK);
	assert_int_equal(drop(&r, "s", "never"), ST_OK);
	assert_int_equal(drop(&r, "nowhere", "never"), ST_OK);
	assert_int_equal(put(&r, "s", "", ""), ST_OK); /* a name may be empty, and a value */
	assert_cells(&r, "s", NULL, "b=2 =");
	assert_int_equal(drop(&r, "other", "a"), ST_OK);
	assert_cells(&r, "other", NULL, "");
	assert_int_equal(rig_stat(&r, STAT_CELLS), 2);
	rig_fini(&r);
}

static void cells_survive(void **state)
{
	struct rig r;
	struct prng torn;

	(void)state;
	prng_init(&torn, 5);
	setup(&r);
	assert_int_equal(put(&r, "s", "a", "1"), ST_OK);
	assert_int_equal(put(&r, "s", "b", "2"), ST_OK);
	assert_int_equal(put(&r, "s", "a", "3"), ST_OK);
	assert_int_equal(drop(&r, "s", "b"), ST_OK);
	rig_crash(&r, &torn); /* from the log */
	assert_cells(&r, "s", NULL, "a=3");
	assert_int_equal(put(&r, "s", "c", "4"), ST_OK);
	rig_restart(&r); /* from the snapshot */
	assert_cells(&r, "s", NULL, "a=3 c=4");
	assert_int_equal(drop(&r, "s", "a"), ST_OK);
	rig_crash(&r, &torn); /* from both */
	assert_cells(&r, "s", NULL, "c=4");
	assert_int_equal(rig_stat(&r, STAT_CELL_BYTES), 2);
	rig_fini(&r);
}

static void what_is_put_is_seen_before_it_is_durable(void **state)
{
	struct rig r;
	struct put p, q;
	struct list_ask x = {.q = {.ask = {.done = list_done}, .space = SLICE_LIT("s")}};

	(void)state;
	setup(&r);
	start(&r, &p, "s", SLICE_LIT("a"), SLICE_LIT("1"), false);
	start(&r, &q, "s", SLICE_LIT("a"), SLICE_LIT("2"), false);
	engine_cell_list(r.e, &x.q);
	start(&r, &q, "s", SLICE_LIT("a"), slice_of(NULL, 0), true); /* its value lives on in the list */
	rig_turns(&r, 50);
	assert_true(x.done && p.done && q.done);
	assert_string_equal(x.text, "a=2");
	mem_free(x.text);
	assert_cells(&r, "s", NULL, "");
	rig_fini(&r);
}

static void bounds_are_kept(void **state)
{
	struct rig r;
	char space[CELL_SPACE_MAX + 2], value[200];
	struct put p;

	(void)state;
	rig_init(&r);
	r.conf.max_cells = 3;
	r.conf.max_cell_bytes = 300;
	rig_open(&r);
	memset(space, 's', sizeof space - 1);
	space[sizeof space - 1] = '\0';
	assert_int_equal(put(&r, space, "a", "1"), ST_BAD_ARG);
	assert_int_equal(put(&r, "", "a", "1"), ST_BAD_ARG);
	assert_int_equal(put(&r, "s", "a", "1"), ST_OK);
	assert_int_equal(put(&r, "s", "b", "1"), ST_OK);
	assert_int_equal(put(&r, "t", "c", "1"), ST_OK);
	assert_int_equal(put(&r, "t", "d", "1"), ST_BUSY);
	assert_int_equal(put(&r, "t", "c", "2"), ST_OK);
	assert_int_equal(drop(&r, "s", "a"), ST_OK);
	memset(value, 'v', sizeof value);
	start(&r, &p, "s", SLICE_LIT("b"), slice_of(value, 200), false);
	assert_int_equal(finish(&r, &p), ST_OK);
	start(&r, &p, "s", SLICE_LIT("x"), slice_of(value, 150), false);
	assert_int_equal(finish(&r, &p), ST_BUSY);
	start(&r, &p, "s", SLICE_LIT("b"), slice_of(value, 100), false); /* less than before is always taken */
	assert_int_equal(finish(&r, &p), ST_OK);
	start(&r, &p, "s", SLICE_LIT("x"), slice_of(value, 150), false);
	assert_int_equal(finish(&r, &p), ST_OK);
	uint32_t most = r.conf.max_message + (64u << 10);
	uint8_t *big = mem_array(1, most + 1);
	start(&r, &p, "s", SLICE_LIT("b"), slice_of(big, most + 1), false);
	assert_int_equal(finish(&r, &p), ST_TOO_BIG);
	start(&r, &p, "s", slice_of(big, CELL_NAME_MAX + 1), slice_of(NULL, 0), false);
	assert_int_equal(finish(&r, &p), ST_TOO_BIG);
	mem_free(big);
	rig_restart(&r);
	assert_cells(&r, "t", NULL, "c=2");
	rig_fini(&r);
}

/* The largest there can be, more of them at once than the log has room for. */
static void large_cells_wait_for_room_in_order(void **state)
{
	enum { N = 24 };
	struct rig r;
	struct put p[N];
	struct list_ask x = {.q = {.ask = {.done = list_done}, .space = SLICE_LIT("s"), .name = SLICE_LIT("n"), .one = true}};
	struct prng torn;

	(void)state;
	prng_init(&torn, 9);
	rig_init(&r);
	r.conf.snapshot_bytes = 128u << 10;
	rig_open(&r);
	uint32_t most = r.conf.max_message + (64u << 10);
	uint8_t *name = mem_array(1, CELL_NAME_MAX), *v = mem_array(1, most);
	unsigned waited = 0;
	uint64_t snapshots = 0;
	for (int round = 0; round < 6; round++) {
		for (int i = 0; i < N; i++) {
			memset(v, 'A' + i, most);
			memset(name, 'a' + i % 3, CELL_NAME_MAX);
			if (i == N - 1)
				start(&r, &p[i], "s", SLICE_LIT("n"), slice_of(v, 200), false);
			else
				start(&r, &p[i], "s", slice_of(name, CELL_NAME_MAX), slice_of(v, most), false);
		}
		engine_cell_list(r.e, &x.q);
		waited += cells_waiting(eng_of(r.e));
		for (int i = 0; i < N; i++) {
			enum status st = finish(&r, &p[i]);
			assert_true(st == ST_OK || st == ST_BUSY);
			for (int k = 0; k < i && st == ST_OK; k++)
				assert_true(p[k].done && (p[k].st != ST_OK || p[k].turn < p[i].turn)); /* none overtakes */
		}
		for (int i = 0; i < 1000 && !x.done; i++)
			rig_turns(&r, 1);
		assert_true(x.done && (x.st == ST_OK || x.st == ST_BUSY));
		if (p[N - 1].st == ST_OK && x.st == ST_OK)
			assert_string_equal(x.text, "n=X*200");
		mem_free(x.text);
		x.done = false;
		rig_run(&r, 1000);
		snapshots += rig_stat(&r, STAT_SNAPSHOTS_TOTAL);
		if (round % 2 == 0)
			rig_crash(&r, &torn);
		else
			rig_restart(&r);
		assert_int_equal(rig_stat(&r, STAT_CELLS), 4);
		assert_cells(&r, "s", "n", "n=X*200");
	}
	assert_true(waited > 0 && snapshots > 0);
	mem_free(name);
	mem_free(v);
	rig_fini(&r);
}

/* Many cells, so that a snapshot takes several slices, with changes between them. */
static void a_snapshot_in_slices_misses_none(void **state)
{
	enum { N = 2000 };
	struct rig r;
	char name[16], value[700];
	static int model[N];
	struct put p;
	struct prng dice, torn;

	(void)state;
	prng_init(&dice, 11);
	prng_init(&torn, 12);
	rig_init(&r);
	r.conf.snapshot_bytes = 64u << 10;
	rig_open(&r);
	memset(model, 0, sizeof model);
	memset(value, 'x', sizeof value);
	for (int i = 0; i < 12000; i++) {
		int at = (int)(prng_u64(&dice) % N);
		bool gone = prng_u64(&dice) % 4 == 0;
		model[at] = gone ? 0 : i + 1;
		snprintf(name, sizeof name, "%d", at);
		snprintf(value, sizeof value, "%d.", i + 1);
		start(&r, &p, "s", slice_str(name), slice_of(value, sizeof value), gone);
		assert_int_equal(finish(&r, &p), ST_OK);
		if (i % 3000 == 2999) {
			rig_crash(&r, &torn);
			for (int k = 0; k < N; k++) {
				char want[32] = "";
				snprintf(name, sizeof name, "%d", k);
				if (model[k] != 0)
					snprintf(want, sizeof want, "%d=%c*700", k, '0' + (model[k] >= 10000 ? model[k] / 10000 : model[k] >= 1000 ? model[k] / 1000 :
						model[k] >= 100 ? model[k] / 100 : model[k] >= 10 ? model[k] / 10 : model[k]));
				assert_cells(&r, "s", name, want);
			}
		}
	}
	rig_fini(&r);
}

struct peek {
	union {
		struct engine_ask ask;
		struct engine_view view;
		struct engine_send_back back;
	} u;
	bool done;
	enum status st;
};

static void peeked(struct engine_ask *a, enum status st)
{
	struct peek *p = (void *)a;

	p->done = true;
	p->st = st;
}

/* A front may keep a secret in a cell: no request for a message may get at the record. */
static void a_cells_record_is_no_message(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	rig_turns(&r, 50);
	uint64_t position = eng_of(r.e)->clog.tail;
	uint32_t size;
	assert_int_equal(put(&r, "keys", "secret", "1234"), ST_OK);
	assert_int_equal(record_at(eng_of(r.e), position, &size), ST_OK);
	struct peek v = {.u.view = {.ask = {.done = peeked}, .position = position}};
	engine_view(r.e, &v.u.view);
	struct peek b = {.u.back = {.ask = {.done = peeked}, .group = SLICE_LIT("g"), .position = position, .delay_level = -1, .max_reconsume = -1}};
	engine_send_back(r.e, &b.u.back);
	rig_turns(&r, 200);
	assert_true(v.done && b.done);
	assert_int_equal(v.st, ST_NOT_FOUND);
	assert_int_equal(b.st, ST_NOT_FOUND);
	rig_fini(&r);
}

static void a_full_disk_refuses_puts_but_not_drops(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	assert_int_equal(put(&r, "s", "a", "1"), ST_OK);
	eng_of(r.e)->space_low = true;
	assert_int_equal(put(&r, "s", "b", "2"), ST_DISK_FULL);
	assert_int_equal(drop(&r, "s", "a"), ST_OK);
	assert_cells(&r, "s", NULL, "");
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_value_counts),
		cmocka_unit_test(cells_survive),
		cmocka_unit_test(what_is_put_is_seen_before_it_is_durable),
		cmocka_unit_test(bounds_are_kept),
		cmocka_unit_test(large_cells_wait_for_room_in_order),
		cmocka_unit_test(a_snapshot_in_slices_misses_none),
		cmocka_unit_test(a_cells_record_is_no_message),
		cmocka_unit_test(a_full_disk_refuses_puts_but_not_drops),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
