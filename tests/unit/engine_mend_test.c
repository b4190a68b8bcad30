/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What the engine does when extents of the queue index are damaged under it; and snapshots of a log in which nothing was written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/be.h"
#include "base/mem.h"
#include "engine/eng.h"
#include "tests/lib/engine_rig.h"

#define TOPIC "orders"
#define POSITIONS 1024u

struct world {
	struct rig r;
	struct eng *g;
	uint64_t positions[POSITIONS]; /* of the messages of queue 0, by offset */
	uint64_t turns;
};

static int setup(void **state)
{
	struct world *w = mem_new(sizeof *w);
	rig_init(&w->r);
	w->r.conf.max_message = 256u << 10;
	w->r.conf.auto_create_topic = true;
	w->r.conf.snapshot_bytes = 1u << 30; /* the test says when */
	rig_open(&w->r);
	w->g = eng_of(w->r.e);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	rig_fini(&w->r);
	mem_free(w);
	return 0;
}

static void turn(struct world *w)
{
	w->turns++;
	rig_turns(&w->r, 1);
}

struct answer {
	union {
		struct engine_ask ask;
		struct engine_send send;
		struct engine_pull pull;
	} u;
	bool done;
	enum status st;
	uint64_t offsets[64];
	unsigned n;
};

static void on_done(struct engine_ask *a, enum status st)
{
	struct answer *r = (struct answer *)(void *)a;
	struct buf b = {0};
	struct record rec;
	r->done = true;
	r->st = st;
	if (a->verb != ENGINE_PULL)
		return;
	for (unsigned i = 0; i < r->u.pull.n_pieces; i++)
		buf_slice(&b, r->u.pull.pieces[i].bytes);
	struct slice rest = buf_view(&b);
	while (rest.n > 0) {
		assert_int_equal(record_decode(rest, &rec), ST_OK);
		r->offsets[r->n++] = rec.queue_offset;
		rest = slice_skip(rest, rec.size);
	}
	buf_fini(&b);
}

static void send_n(struct world *w, int32_t queue, unsigned n, size_t size, const char *props)
{
	static uint8_t body[200u << 10];
	for (unsigned i = 0; i < n; i++) {
		struct answer r = {.done = false};
		r.u.send.ask.done = on_done;
		r.u.send.msg = (struct msg){.topic = SLICE_LIT(TOPIC), .body = slice_of(body, size), .props = slice_str(props), .queue = queue, .max_reconsume = -1};
		r.u.send.default_topic = SLICE_LIT("TBW102");
		r.u.send.default_queues = 4;
		engine_send(w->r.e, &r.u.send);
		for (unsigned k = 0; k < 1000 && !r.done; k++)
			turn(w);
		assert_int_equal(r.st, ST_OK);
		if (queue == 0 && *props == '\0')
			w->positions[r.u.send.offset] = r.u.send.position;
	}
}

static void pull_begin(struct world *w, int32_t queue, uint64_t from, struct answer *r)
{
	memset(r, 0, sizeof *r);
	r->u.pull.ask.done = on_done;
	r->u.pull.topic = SLICE_LIT(TOPIC);
	r->u.pull.queue = queue;
	r->u.pull.from = from;
	r->u.pull.max_msgs = 32;
	r->u.pull.max_bytes = 1u << 20;
	engine_pull(w->r.e, &r->u.pull);
}

static enum status pull(struct world *w, int32_t queue, uint64_t from, struct answer *r)
{
	pull_begin(w, queue, from, r);
	for (unsigned i = 0; i < 1000 && !r->done; i++)
		turn(w);
	assert_true(r->done);
	return r->st;
}

/* All offsets of a queue from 'from' on but 'lost' (UINT64_MAX: none), as pulls give them. */
static void expect_all(struct world *w, int32_t queue, uint64_t from, uint64_t to, uint64_t lost)
{
	struct answer r;
	uint64_t want = from;
	for (uint64_t at = from; at < to; at = r.u.pull.next) {
		enum status st = pull(w, queue, at, &r);
		assert_true(st == ST_OK || st == ST_NO_MATCH);
		for (unsigned i = 0; i < r.n; i++) {
			want += want == lost;
			assert_int_equal(r.offsets[i], want++);
		}
		assert_true(r.u.pull.next > at);
	}
	assert_int_equal(want, to);
}

static void snapshot_now(struct world *w)
{
	snapshot_want(w->g);
	for (unsigned i = 0; i < 1000 && !snapshot_idle(w->g); i++)
		turn(w);
	assert_true(snapshot_idle(w->g));
}

/* Restarts, with the extents of a queue whose first offset is below 'below' damaged in between; how many. */
static unsigned damage_now(struct world *w, const char *topic, int32_t queue, uint64_t below)
{
	size_t n;
	unsigned hits = 0;
	uint32_t uid = topic_queue(w->g, topic_find(w->g, slice_str(topic)), queue)->index.uid;
	engine_abandon(w->r.e);
	memdisk_crash(&w->r.disk, NULL);
	uint8_t *b = memdisk_bytes(&w->r.disk, QI_FILE, &n);
	for (size_t at = QI_EXTENT_BYTES; b != NULL && at + QI_EXTENT_BYTES <= n; at += QI_EXTENT_BYTES)
		if (be32_get(b + at) == uid && be64_get(b + at + 4) < below) {
			b[at + 100] ^= 0x40;
			hits++;
		}
	rig_open(&w->r);
	w->g = eng_of(w->r.e);
	return hits;
}

static unsigned damage(struct world *w, const char *topic, int32_t queue, uint64_t below)
{
	snapshot_now(w);
	return damage_now(w, topic, queue, below);
}

static void test_mending_takes_several_turns(void **state)
{
	struct world *w = *state;
	struct answer r, other;
	send_n(w, 0, 100, 10, "");
	send_n(w, 1, 250, 200000, ""); /* 50 MB between the two halves of the extent */
	send_n(w, 0, 150, 10, "");
	assert_int_equal(damage(w, TOPIC, 0, 1), 1);
	uint64_t began = w->turns;
	pull_begin(w, 0, 99, &r);
	turn(w);
	assert_false(r.done);
	assert_int_equal(pull(w, 2, 0, &other), ST_EMPTY); /* nobody else waits for it */
	assert_false(r.done);
	while (!r.done && w->turns < began + 50)
		turn(w);
	assert_in_range(w->turns - began, 4, 12);
	assert_int_equal(r.st, ST_OK);
	assert_int_equal(r.n, 32);
	assert_int_equal(r.offsets[0], 99);
	began = w->turns;
	assert_int_equal(pull(w, 0, 203, &r), ST_OK); /* it is mended for good */
	assert_int_equal(w->turns - began, 1);
	expect_all(w, 0, 0, 250, UINT64_MAX);
}

static void test_what_retention_took_is_not_missed(void **state)
{
	struct world *w = *state;
	struct answer r;
	for (int i = 0; i < 800; i++) {
		send_n(w, 0, 1, 10, "");
		send_n(w, 1, 1, 10000, "");
	}
	w->r.conf.retain_bytes = 3u << 20; /* from the restart on */
	assert_int_equal(damage(w, TOPIC, 0, 800), 3); /* before the queue knows that anything is gone */
	for (int i = 0; i < 4; i++) {
		snapshot_now(w);
		send_n(w, 1, 1, 10, "");
		rig_run(&w->r, 3000);
	}
	assert_in_range(w->g->clog.min, 3u << 20, 6u << 20);
	uint64_t min = 0;
	while (w->positions[min] < w->g->clog.min)
		min++;
	assert_in_range(min % QI_EXTENT_ENTRIES, 1, QI_EXTENT_ENTRIES - 1); /* within an extent, not at its edge */
	assert_int_equal(pull(w, 0, 0, &r), ST_MOVED);
	assert_int_equal(r.u.pull.next, min);
	expect_all(w, 0, min, 800, UINT64_MAX);
	assert_int_equal(w->g->stats[STAT_DAMAGED_RECORDS_TOTAL], 0);
}

/* A record that is damaged with its index costs that one message, also when its length cannot be read any more. */
static void lose_one(struct world *w, uint64_t offset, size_t byte)
{
	struct answer r;
	size_t n;
	send_n(w, 0, 250, 3000, "");
	char path[40];
	clog_path(path, 0);
	assert_int_equal(damage(w, TOPIC, 0, 1), 1);
	uint8_t *b = memdisk_bytes(&w->r.disk, path, &n);
	b[w->positions[offset] + byte] ^= 0x41;
	expect_all(w, 0, 0, 250, offset);
	assert_int_equal(w->g->stats[STAT_DAMAGED_RECORDS_TOTAL], 1);
	struct qentry e;
	enum status st;
	assert_int_equal(eng_index_read(w->g, topic_queue(w->g, topic_find(w->g, SLICE_LIT(TOPIC)), 0), offset, &e, 1, &st), 0);
	assert_int_equal(st, ST_CORRUPT);
	b[w->positions[offset] + byte] ^= 0x41;
	assert_int_equal(pull(w, 0, offset, &r), ST_OK);
	assert_int_equal(r.offsets[0], offset + 1);
}

static void test_a_damaged_first_record_is_one_lost_message(void **state) { lose_one(*state, 0, 200); }

static void test_a_damaged_body_is_one_lost_message(void **state) { lose_one(*state, 77, 200); }

static void test_a_damaged_size_is_one_lost_message(void **state) { lose_one(*state, 77, 1); }

static void test_a_damaged_magic_number_is_one_lost_message(void **state) { lose_one(*state, 203, 6); }

static void test_a_disk_that_fails_is_asked_again(void **state)
{
	struct world *w = *state;
	struct answer r;
	send_n(w, 0, 250, 10, "");
	assert_int_equal(damage(w, TOPIC, 0, 1), 1);
	w->r.disk.read_fails = ST_IO;
	assert_int_equal(pull(w, 0, 0, &r), ST_IO);
	w->r.disk.read_fails = ST_OK;
	assert_int_equal(pull(w, 0, 0, &r), ST_IO);
	rig_run(&w->r, 6000);
	expect_all(w, 0, 0, 250, UINT64_MAX);
}

static void test_a_topic_that_goes_while_it_is_mended(void **state)
{
	struct world *w = *state;
	struct answer r;
	struct engine_topic drop = {.name = SLICE_LIT(TOPIC)};
	send_n(w, 0, 100, 10, "");
	send_n(w, 1, 150, 200000, "");
	send_n(w, 0, 150, 10, "");
	assert_int_equal(damage(w, TOPIC, 0, 1), 1);
	pull_begin(w, 0, 0, &r);
	turn(w);
	assert_false(r.done);
	engine_topic_drop(w->r.e, &drop);
	rig_run(&w->r, 100);
	assert_int_equal(r.st, ST_NO_TOPIC);
	send_n(w, 0, 1, 10, "");
	assert_int_equal(pull(w, 0, 0, &r), ST_OK);
}

/* Half of the level is delivered when the process dies; then the index of the parked messages is damaged. */
static void test_delayed_messages_come_once(void **state)
{
	struct world *w = *state;
	send_n(w, 0, 120, 300, "DELAY\0011\2");
	rig_run(&w->r, 600);
	send_n(w, 0, 130, 300, "DELAY\0011\2");
	snapshot_now(w);
	rig_run(&w->r, 600);
	struct queue *q = topic_queue(w->g, topic_find(w->g, SLICE_LIT(TOPIC)), 0);
	assert_int_equal(q->index.next, 120);
	assert_int_equal(damage_now(w, TOPIC_SCHEDULE, 0, 1), 1); /* the copies are behind the snapshot: they are replayed */
	assert_int_equal(w->g->stats[STAT_DELAYED], 130);
	q = topic_queue(w->g, topic_find(w->g, SLICE_LIT(TOPIC)), 0);
	assert_int_equal(q->index.next, 120);
	rig_run(&w->r, 3000);
	assert_int_equal(q->index.next, 250);
	assert_int_equal(w->g->stats[STAT_DELAYED], 0);
	/* And while it runs. */
	send_n(w, 0, 210, 300, "DELAY\0011\2");
	assert_int_equal(damage(w, TOPIC_SCHEDULE, 0, 1000), 2);
	rig_run(&w->r, 3000);
	q = topic_queue(w->g, topic_find(w->g, SLICE_LIT(TOPIC)), 0);
	assert_int_equal(q->index.next, 460);
}

static void test_nothing_new_is_no_snapshot(void **state)
{
	struct world *w = *state;
	send_n(w, 0, 3, 10, "");
	snapshot_now(w);
	assert_int_equal(w->g->stats[STAT_SNAPSHOTS_TOTAL], 1);
	snapshot_now(w);
	assert_int_equal(w->g->stats[STAT_SNAPSHOTS_TOTAL], 1);
	send_n(w, 0, 1, 10, "");
	snapshot_now(w);
	assert_int_equal(w->g->stats[STAT_SNAPSHOTS_TOTAL], 2);
	uint64_t writes = w->r.disk.writes;
	rig_close(&w->r);
	assert_int_equal(w->r.disk.writes, writes); /* the snapshot of the close would be the same */
	rig_open(&w->r);
	w->g = eng_of(w->r.e);
	assert_true(w->g->stats[STAT_SNAPSHOT_POSITION] > 0);
	expect_all(w, 0, 0, 4, UINT64_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(mending_takes_several_turns),
		TEST(what_retention_took_is_not_missed),
		TEST(a_damaged_first_record_is_one_lost_message),
		TEST(a_damaged_body_is_one_lost_message),
		TEST(a_damaged_size_is_one_lost_message),
		TEST(a_damaged_magic_number_is_one_lost_message),
		TEST(a_disk_that_fails_is_asked_again),
		TEST(a_topic_that_goes_while_it_is_mended),
		TEST(delayed_messages_come_once),
		TEST(nothing_new_is_no_snapshot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
