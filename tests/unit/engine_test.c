/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The engine through its public interface, on a disk in memory: sends, pulls, delays, retries, restarts, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "base/props.h"
#include "record/record.h"
#include "tests/lib/engine_rig.h"

#define FIRST_SEGMENT "commitlog/00000000000000000000"
#define SECOND_SEGMENT "commitlog/00000000000001048576"

/* Every test begins with an empty disk; what is open at its end is closed. */
static int setup(void **state)
{
	struct rig *w = mem_new(sizeof *w);
	rig_init(w);
	w->conf.max_message = 256u << 10;
	w->conf.auto_create_topic = true;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	rig_fini(*state);
	mem_free(*state);
	return 0;
}

struct answer {
	union {
		struct engine_ask ask;
		struct engine_send send;
		struct engine_pull pull;
		struct engine_topic topic;
		struct engine_send_back back;
		struct engine_offset offset;
		struct engine_range range;
		struct engine_find find;
		struct engine_view view;
	} u;
	bool done;
	enum status st;
	struct buf bytes; /* of a pull */
};

static void on_done(struct engine_ask *a, enum status st)
{
	struct answer *r = (struct answer *)(void *)a;
	assert_false(r->done);
	r->done = true;
	r->st = st;
	if (a->verb == ENGINE_PULL)
		for (unsigned i = 0; i < r->u.pull.n_pieces; i++)
			buf_slice(&r->bytes, r->u.pull.pieces[i].bytes);
	if (a->verb == ENGINE_FIND)
		for (unsigned i = 0; i < r->u.find.count; i++)
			buf_slice(&r->bytes, r->u.find.pieces[i].bytes);
}

static enum status finish(struct rig *w, struct answer *r)
{
	for (unsigned i = 0; i < 1000 && !r->done; i++)
		rig_run(w, 1);
	assert_true(r->done);
	return r->st;
}

static enum status send_props(struct rig *w, const char *topic, int32_t queue, struct slice body, const char *props, struct answer *r)
{
	memset(r, 0, sizeof *r);
	r->u.ask.done = on_done;
	r->u.send.msg = (struct msg){.topic = slice_str(topic), .body = body, .props = slice_str(props), .queue = queue, .max_reconsume = -1};
	r->u.send.default_topic = SLICE_LIT("TBW102");
	r->u.send.default_queues = 4;
	engine_send(w->e, &r->u.send);
	return finish(w, r);
}

static enum status pull(struct rig *w, const char *topic, int32_t queue, uint64_t from, struct answer *r)
{
	memset(r, 0, sizeof *r);
	r->u.ask.done = on_done;
	r->u.pull.topic = slice_str(topic);
	r->u.pull.queue = queue;
	r->u.pull.from = from;
	r->u.pull.max_msgs = 32;
	r->u.pull.max_bytes = 1u << 20;
	engine_pull(w->e, &r->u.pull);
	return finish(w, r);
}

static enum status put_topic(struct rig *w, const char *name, uint32_t queues)
{
	struct answer r = {0};
	r.u.ask.done = on_done;
	r.u.topic.name = slice_str(name);
	r.u.topic.conf = (struct topic_conf){.read_queues = queues, .write_queues = queues, .perm = PERM_READ | PERM_WRITE};
	engine_topic_put(w->e, &r.u.topic);
	return finish(w, &r);
}

static struct record first_record(struct answer *r)
{
	struct record rec;
	assert_int_equal(record_decode(buf_view(&r->bytes), &rec), ST_OK);
	return rec;
}

static void test_send_and_pull(void **state)
{
	struct rig *w = *state;
	struct answer r;
	rig_open(w);
	for (int i = 0; i < 10; i++) {
		char body[32];
		snprintf(body, sizeof body, "body-%d", i);
		assert_int_equal(send_props(w, "orders", 1, slice_str(body), "TAGS\1TagA\2KEYS\1k1 k2", &r), ST_OK);
		assert_int_equal(r.u.send.offset, i);
		assert_true(r.u.send.durable);
	}
	assert_int_equal(pull(w, "orders", 1, 0, &r), ST_OK);
	assert_int_equal(r.u.pull.count, 10);
	assert_int_equal(r.u.pull.next, 10);
	struct slice rest = buf_view(&r.bytes);
	for (int i = 0; i < 10; i++) {
		struct record rec;
		assert_int_equal(record_decode(rest, &rec), ST_OK);
		assert_int_equal(rec.queue_offset, i);
		assert_int_equal(record_check(slice_of(rest.p, rec.size), rec.position, false, &rec), ST_OK);
		rest = slice_skip(rest, rec.size);
	}
	buf_fini(&r.bytes);
	assert_int_equal(pull(w, "orders", 1, 10, &r), ST_EMPTY);
	assert_int_equal(pull(w, "orders", 1, 11, &r), ST_MOVED);
	assert_int_equal(r.u.pull.next, 10);
	assert_int_equal(pull(w, "orders", 7, 0, &r), ST_NO_QUEUE);
	assert_int_equal(pull(w, "nothing", 0, 0, &r), ST_NO_TOPIC);
}

/* The queue of a key is the one that Java's clients choose: hashCode, remainder, sign dropped. */
static void test_an_order_key_chooses_the_queue(void **state)
{
	static const struct { const char *props; int queue; } rows[] = {
		{"__SHARDINGKEY\1a\2", 97 % 4}, {"__SHARDINGKEY\1orders-17\2", 2}, {"X\1y\2__SHARDINGKEY\1polygenelubricants\2", 0}, /* the smallest int there is */
	};
	struct rig *w = *state;
	struct answer r;
	rig_open(w);
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(send_props(w, "keyed", -1, SLICE_LIT("x"), rows[i % 3].props, &r), ST_OK);
		assert_int_equal(r.u.send.queue, rows[i % 3].queue);
	}
	assert_int_equal(send_props(w, "keyed", 2, SLICE_LIT("x"), rows[0].props, &r), ST_OK);
	assert_int_equal(r.u.send.queue, 2); /* who names a queue gets it */
}

static void test_restart_keeps_all(void **state)
{
	struct rig *w = *state;
	struct answer r;
	uint8_t body[3000];
	memset(body, 'x', sizeof body);
	for (int life = 0; life < 4; life++) {
		rig_open(w);
		for (int i = 0; i < 500; i++) {
			assert_int_equal(send_props(w, "orders", i % 4, slice_of(body, (size_t)(i * 7) % sizeof body), "", &r), ST_OK);
			assert_int_equal(r.u.send.offset, life * 125 + i / 4);
		}
		if (life % 2 == 0) {
			rig_close(w);
		} else {
			engine_abandon(w->e);
			w->e = NULL;
			memdisk_crash(&w->disk, &w->prng);
		}
	}
	rig_open(w);
	for (int q = 0; q < 4; q++) {
		uint64_t at = 0;
		for (;;) {
			enum status st = pull(w, "orders", q, at, &r);
			if (st == ST_EMPTY)
				break;
			assert_int_equal(st, ST_OK);
			assert_int_equal(first_record(&r).queue_offset, at);
			at = r.u.pull.next;
			buf_fini(&r.bytes);
		}
		assert_int_equal(at, 500);
	}
}

static void test_delay_is_never_early(void **state)
{
	struct rig *w = *state;
	struct answer r;
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("now"), "", &r), ST_OK);
	uint64_t sent = w->clock.ns;
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("later"), "DELAY\0012\2", &r), ST_OK);
	rig_run(w, 4990 - (w->clock.ns - sent) / MS_NS);
	assert_int_equal(pull(w, "orders", 0, 1, &r), ST_EMPTY);
	rig_run(w, 50);
	assert_int_equal(pull(w, "orders", 0, 1, &r), ST_OK);
	struct record rec = first_record(&r);
	struct slice v;
	assert_true(slice_eq_str(rec.body, "later"));
	assert_false(props_get(rec.props, SLICE_LIT("REAL_TOPIC"), &v));
	buf_fini(&r.bytes);
	/* Delivered once, also after a restart. */
	rig_crash(w, NULL);
	rig_run(w, 6000);
	assert_int_equal(pull(w, "orders", 0, 2, &r), ST_EMPTY);
}

static void test_parked_survives(void **state)
{
	struct rig *w = *state;
	struct answer r;
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("later"), "DELAY\0013\2", &r), ST_OK);
	rig_crash(w, NULL);
	rig_run(w, 9000);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_EMPTY);
	rig_run(w, 1100);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_OK);
	buf_fini(&r.bytes);
}

static void batch_put(struct buf *b, int32_t flag, struct slice body, const char *props)
{
	buf_be32(b, (uint32_t)(22 + body.n + strlen(props)));
	buf_be32(b, 0);
	buf_be32(b, 0);
	buf_be32(b, (uint32_t)flag);
	buf_be32(b, (uint32_t)body.n);
	buf_slice(b, body);
	buf_be16(b, (uint16_t)strlen(props));
	buf_str(b, props);
}

/* Sends and empties it. */
static enum status send_batch(struct rig *w, struct buf *b, const char *props, struct answer *r)
{
	memset(r, 0, sizeof *r);
	r->u.send = (struct engine_send){.ask = {.done = on_done}, .batch = true,
		.msg = {.topic = SLICE_LIT("orders"), .body = buf_view(b), .props = slice_str(props), .max_reconsume = -1}};
	engine_send(w->e, &r->u.send);
	enum status st = finish(w, r);
	buf_reset(b);
	return st;
}

static void test_a_batch_is_so_many_messages(void **state)
{
	struct rig *w = *state;
	struct answer r;
	struct buf b = {0};
	struct slice v;
	rig_open(w);
	assert_int_equal(put_topic(w, "orders", 1), ST_OK);
	batch_put(&b, 0, SLICE_LIT("a"), "TAGS\1TagA\2");
	batch_put(&b, 7, SLICE_LIT("b"), "");
	batch_put(&b, 0, SLICE_LIT("c"), "UNIQ_KEY\1U3\2");
	assert_int_equal(send_batch(w, &b, "", &r), ST_OK);
	assert_int_equal(r.u.send.count, 3);
	assert_int_equal(r.u.send.offset, 0);
	assert_true(r.u.send.durable);
	uint64_t *positions = r.u.send.positions;
	assert_int_equal(positions[0], r.u.send.position);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_OK);
	assert_int_equal(r.u.pull.count, 3);
	struct slice rest = buf_view(&r.bytes);
	for (uint64_t i = 0; i < 3; i++) {
		struct record rec;
		assert_int_equal(record_decode(rest, &rec), ST_OK);
		assert_int_equal(rec.queue_offset, i);
		assert_int_equal(rec.position, positions[i]);
		assert_true(slice_eq_str(rec.body, (const char *[]){"a", "b", "c"}[i]));
		assert_int_equal(rec.flag, i == 1 ? 7 : 0);
		assert_true(props_get(rec.props, SLICE_LIT("UNIQ_KEY"), &v)); /* who brings none gets one */
		assert_int_equal(slice_eq_str(v, "U3"), i == 2);
		rest = slice_skip(rest, rec.size);
	}
	buf_fini(&r.bytes);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("d"), "", &r), ST_OK);
	assert_int_equal(r.u.send.offset, 3);
	mem_free(positions);
	buf_fini(&b);
}

/* All or nothing: what one of its messages may not be, none is stored for. */
static void test_batches_that_are_refused(void **state)
{
	static const struct { const char *props; enum status st; } rows[] = {
		{"DELAY\0011\2", ST_ILLEGAL}, {"TRAN_MSG\1true\2", ST_ILLEGAL}, {"TIMER_DELAY_MS\0015\2", ST_UNSUPPORTED},
	};
	static uint8_t big[300u << 10];
	struct rig *w = *state;
	struct answer r;
	struct buf b = {0};
	rig_open(w);
	assert_int_equal(put_topic(w, "orders", 1), ST_OK);
	assert_int_equal(send_batch(w, &b, "", &r), ST_ILLEGAL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		batch_put(&b, 0, SLICE_LIT("a"), "");
		batch_put(&b, 0, SLICE_LIT("b"), rows[i].props);
		assert_int_equal(send_batch(w, &b, "", &r), rows[i].st);
	}
	batch_put(&b, 0, SLICE_LIT("a"), "");
	assert_int_equal(send_batch(w, &b, "DELAY\0011\2", &r), ST_ILLEGAL);
	batch_put(&b, 0, SLICE_LIT("a"), "");
	buf_u8(&b, 0);
	assert_int_equal(send_batch(w, &b, "", &r), ST_ILLEGAL);
	batch_put(&b, 0, slice_of(big, sizeof big), "");
	assert_int_equal(send_batch(w, &b, "", &r), ST_TOO_BIG);
	for (int i = 0; i < 2; i++) /* each is small enough, and both together are not */
		batch_put(&b, 0, slice_of(big, 200u << 10), "");
	assert_int_equal(send_batch(w, &b, "", &r), ST_TOO_BIG);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_EMPTY);
	buf_fini(&b);
}

/* A folder of other segments, or of another broker, is not opened by mistake. */
static void test_a_store_is_opened_as_it_was_made(void **state)
{
	struct rig *w = *state;
	struct slice broker = w->conf.broker;
	rig_open(w);
	rig_close(w);
	w->conf.segment_bytes *= 2;
	assert_int_equal(rig_try_open(w), ST_VERSION);
	w->conf.segment_bytes /= 2;
	w->conf.broker = SLICE_LIT("another");
	assert_int_equal(rig_try_open(w), ST_VERSION);
	w->conf.broker = broker;
	rig_open(w);
}

static void test_refusals(void **state)
{
	struct rig *w = *state;
	struct answer r;
	static uint8_t big[300u << 10];
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 9, SLICE_LIT("x"), "", &r), ST_NO_QUEUE);
	assert_int_equal(send_props(w, "or/ders", 0, SLICE_LIT("x"), "", &r), ST_BAD_NAME);
	assert_int_equal(send_props(w, "", 0, SLICE_LIT("x"), "", &r), ST_BAD_NAME);
	assert_int_equal(send_props(w, "SCHEDULE_TOPIC_XXXX", 0, SLICE_LIT("x"), "", &r), ST_DENIED);
	assert_int_equal(send_props(w, "rmq_sys_gantry_state", 0, SLICE_LIT("x"), "", &r), ST_DENIED);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("x"), "DELAY\0011\2REAL_TOPIC\1rmq_sys_gantry_state\2", &r), ST_OK);
	assert_int_equal(send_props(w, "orders", 0, slice_of(big, sizeof big), "", &r), ST_TOO_BIG);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("x"), "TRAN_MSG\1true\2", &r), ST_DENIED);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("x"), "TIMER_DELAY_MS\0015\2", &r), ST_UNSUPPORTED);
	assert_int_equal(send_props(w, "%RETRY%nobody", 0, SLICE_LIT("x"), "", &r), ST_NO_TOPIC);
}

static void test_io_error_poisons(void **state)
{
	struct rig *w = *state;
	struct answer r;
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("one"), "", &r), ST_OK);
	w->disk.sync_fails = ST_IO;
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("two"), "", &r), ST_IO);
	w->disk.sync_fails = ST_OK;
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("three"), "", &r), ST_IO);
	/* What was acknowledged can still be read. */
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_OK);
	assert_int_equal(r.u.pull.count, 1);
	buf_fini(&r.bytes);
}

static void test_foreign_folder_is_refused(void **state)
{
	struct rig *w = *state;
	size_t n;
	memdisk_put(&w->disk, FIRST_SEGMENT, "hello", 5);
	assert_int_equal(rig_try_open(w), ST_VERSION);
	assert_int_equal(memdisk_bytes(&w->disk, FIRST_SEGMENT, &n) != NULL && n == 5, 1);
	assert_null(memdisk_bytes(&w->disk, "format", &n));
}

static void test_rot_below_a_snapshot_stops_no_start(void **state)
{
	struct rig *w = *state;
	struct answer r;
	size_t n;
	rig_open(w);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("body"), "", &r), ST_OK);
		rig_run(w, 10);
	}
	rig_close(w);
	w->conf.snapshot_bytes = 1u << 30;
	uint8_t *log = memdisk_bytes(&w->disk, FIRST_SEGMENT, &n);
	log[500] ^= 4;
	/* The snapshot of the close covers it: the record is damaged, but what is behind the snapshot is whole. */
	rig_open(w);
	assert_int_equal(pull(w, "orders", 0, 49, &r), ST_OK);
	buf_fini(&r.bytes);
}

static void test_damaged_record_is_left_out(void **state)
{
	struct rig *w = *state;
	struct answer r;
	size_t n;
	rig_open(w);
	uint64_t second = 0;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("a body"), "", &r), ST_OK);
		second = i == 1 ? r.u.send.position : second;
	}
	rig_close(w);
	memdisk_bytes(&w->disk, FIRST_SEGMENT, &n)[second + RECORD_AT_BODY] ^= 1;
	rig_open(w);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_OK);
	assert_int_equal(r.u.pull.count, 4);
	assert_int_equal(r.u.pull.next, 5);
	buf_fini(&r.bytes);
	assert_int_equal(pull(w, "orders", 0, 1, &r), ST_OK);
	assert_int_equal(first_record(&r).queue_offset, 2);
	buf_fini(&r.bytes);
}

/* The process dies, and the first message's record cannot be told any more: what stands behind it proves that this is no torn write. */
static void refused_for_damage(struct rig *w, uint64_t position, const char *reason)
{
	size_t n;
	engine_abandon(w->e);
	memdisk_crash(&w->disk, NULL);
	memdisk_bytes(&w->disk, FIRST_SEGMENT, &n)[position + 5] ^= 1;
	assert_int_equal(rig_try_open(w), ST_CORRUPT);
	assert_non_null(strstr(w->why, reason));
	memdisk_bytes(&w->disk, FIRST_SEGMENT, &n)[position + 5] ^= 1;
	rig_open(w); /* nothing was changed */
}

static void test_damage_before_a_later_segment_refuses_the_start(void **state)
{
	static uint8_t body[200u << 10];
	struct rig *w = *state;
	struct answer r;
	uint64_t position = 0;
	w->conf.snapshot_bytes = 1u << 30;
	rig_open(w);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(send_props(w, "orders", 0, slice_of(body, sizeof body), "", &r), ST_OK);
		position = i == 0 ? r.u.send.position : position;
	}
	refused_for_damage(w, position, "a later segment holds records");
}

static void test_damage_before_a_record_that_knows_better_refuses_the_start(void **state)
{
	struct rig *w = *state;
	struct answer r;
	w->conf.snapshot_bytes = 1u << 30;
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("a"), "", &r), ST_OK);
	uint64_t position = r.u.send.position;
	assert_int_equal(put_topic(w, "later", 1), ST_OK); /* its record carries the durable mark */
	refused_for_damage(w, position, "a later record says that it was on disk");
}

static void test_a_send_never_waits_for_more_than_is_prepared(void **state)
{
	struct rig *w = *state;
	struct answer r;
	static uint8_t body[250u << 10];
	w->conf.ahead_bytes = 300000; /* little more than the largest message */
	rig_open(w);
	for (int i = 0; i < 20; i++)
		assert_int_equal(send_props(w, "orders", 0, slice_of(body, sizeof body - (size_t)i * 4001), "", &r), ST_OK);
}

static void test_topic_incarnations(void **state)
{
	struct rig *w = *state;
	struct answer r;
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("old"), "KEYS\1k\2", &r), ST_OK);
	memset(&r, 0, sizeof r);
	r.u.ask.done = on_done;
	r.u.topic.name = SLICE_LIT("orders");
	engine_topic_drop(w->e, &r.u.topic);
	assert_int_equal(finish(w, &r), ST_OK);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_NO_TOPIC);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("new"), "", &r), ST_OK);
	assert_int_equal(r.u.send.offset, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pull(w, "orders", 0, 0, &r), ST_OK);
		assert_true(slice_eq_str(first_record(&r).body, "new"));
		buf_fini(&r.bytes);
		rig_crash(w, NULL);
	}
}

static void fewer_queues(struct rig *w, void (*end)(struct rig *))
{
	struct answer r;
	rig_open(w);
	assert_int_equal(put_topic(w, "wide", 8), ST_OK);
	assert_int_equal(send_props(w, "wide", 7, SLICE_LIT("far"), "", &r), ST_OK);
	assert_int_equal(send_props(w, "TBW102", 7, SLICE_LIT("far"), "", &r), ST_OK);
	assert_int_equal(put_topic(w, "wide", 4), ST_OK);
	end(w);
	w->conf.default_queues = 2;
	rig_open(w);
	assert_int_equal(put_topic(w, "wide", 8), ST_OK);
	assert_int_equal(pull(w, "wide", 7, 0, &r), ST_OK);
	assert_true(slice_eq_str(first_record(&r).body, "far"));
	buf_fini(&r.bytes);
}

static void just_end(struct rig *w) { engine_abandon(w->e); }

static void test_fewer_queues_are_in_the_log(void **state) { fewer_queues(*state, just_end); }

static void test_fewer_queues_are_in_a_snapshot(void **state) { fewer_queues(*state, rig_close); }

/* What nobody defined follows the settings of each start, not those of the start that a snapshot comes from. */
static void test_settings_win_over_snapshots(void **state)
{
	struct rig *w = *state;
	struct answer r;
	w->conf.auto_create_topic = false;
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("a"), "", &r), ST_NO_TOPIC);
	rig_close(w);
	w->conf.auto_create_topic = true;
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("a"), "", &r), ST_OK);
}

static void remove_log(struct disk *d) { assert_int_equal(d->ops->remove(d, FIRST_SEGMENT), ST_OK); }

static void empty_log(struct disk *d)
{
	struct disk_file *f;
	uint64_t size;
	assert_int_equal(d->ops->open(d, FIRST_SEGMENT, DISK_WRITE, &f, &size), ST_OK);
	assert_int_equal(f->ops->truncate(f, 0), ST_OK);
	f->ops->close(f);
}

static void lose_log(struct rig *w, void (*lose)(struct disk *))
{
	struct answer r;
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("a"), "", &r), ST_OK);
	rig_close(w);
	lose(&w->disk.disk);
	for (int again = 0; again < 2; again++)
		assert_int_equal(rig_try_open(w), ST_CORRUPT);
}

static void test_a_removed_log_is_not_an_empty_one(void **state) { lose_log(*state, remove_log); }

static void test_a_truncated_log_is_not_an_empty_one(void **state) { lose_log(*state, empty_log); }

/* A crash may leave the next segment's file without its length. No other length is one that we gave it. */
static void test_only_a_last_segment_may_be_without_its_length(void **state)
{
	struct rig *w = *state;
	rig_open(w);
	rig_close(w);
	memdisk_put(&w->disk, SECOND_SEGMENT, "", 0);
	rig_open(w);
	rig_close(w);
	memdisk_put(&w->disk, SECOND_SEGMENT, "x", 1);
	assert_int_equal(rig_try_open(w), ST_CORRUPT);
	assert_non_null(strstr(w->why, SECOND_SEGMENT));
}

/* Who brings no key of his own gets one: our address, a counter, and randomness, as 32 hex digits. */
static void test_a_made_key(void **state)
{
	struct rig *w = *state;
	struct answer r;
	struct record rec;
	struct slice key;
	rig_open(w);
	for (unsigned i = 0; i < 18; i++) {
		char want[17];
		snprintf(want, sizeof want, "7F000001%08X", i);
		assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("one"), "", &r), ST_OK);
		memset(&r, 0, sizeof r);
		r.u.pull = (struct engine_pull){.ask = {.done = on_done}, .topic = SLICE_LIT("orders"), .from = i, .max_msgs = 1, .max_bytes = 4096};
		engine_pull(w->e, &r.u.pull);
		assert_int_equal(finish(w, &r), ST_OK);
		assert_int_equal(record_decode(buf_view(&r.bytes), &rec), ST_OK);
		assert_true(props_get(rec.props, SLICE_LIT("UNIQ_KEY"), &key));
		assert_int_equal(key.n, 32);
		assert_memory_equal(key.p, want, 16);
		for (size_t k = 0; k < key.n; k++)
			assert_non_null(strchr("0123456789ABCDEF", key.p[k]));
		buf_fini(&r.bytes);
	}
}

static void test_find_and_view(void **state)
{
	struct rig *w = *state;
	struct answer r;
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("one"), "KEYS\1k1 k2\2UNIQ_KEY\1U1\2", &r), ST_OK);
	uint64_t position = r.u.send.position;
	assert_int_equal(send_props(w, "orders", 1, SLICE_LIT("two"), "KEYS\1k2\2UNIQ_KEY\1U2\2", &r), ST_OK);
	const char *keys[] = {"k1", "k2", "U1", "none"};
	unsigned counts[] = {1, 2, 1, 0};
	for (int life = 0; life < 2; life++) {
		for (int i = 0; i < 4; i++) {
			memset(&r, 0, sizeof r);
			r.u.ask.done = on_done;
			r.u.find.topic = SLICE_LIT("orders");
			r.u.find.key = slice_str(keys[i]);
			r.u.find.max = 32;
			r.u.find.end_ms = INT64_MAX;
			engine_find(w->e, &r.u.find);
			assert_int_equal(finish(w, &r), counts[i] > 0 ? ST_OK : ST_NOT_FOUND);
			assert_int_equal(r.u.find.count, counts[i]);
			buf_fini(&r.bytes);
		}
		memset(&r, 0, sizeof r);
		r.u.ask.done = on_done;
		r.u.view.position = position;
		engine_view(w->e, &r.u.view);
		assert_int_equal(finish(w, &r), ST_OK);
		memset(&r, 0, sizeof r);
		r.u.ask.done = on_done;
		r.u.view.position = position + 1;
		engine_view(w->e, &r.u.view);
		assert_int_equal(finish(w, &r), ST_NOT_FOUND);
		rig_crash(w, NULL);
	}
}

static uint64_t at_time(struct rig *w, int64_t ms, bool upper)
{
	struct answer r = {.u.range = {.ask = {.done = on_done}, .topic = SLICE_LIT("orders"), .time_ms = ms, .upper = upper}};
	engine_at_time(w->e, &r.u.range);
	assert_int_equal(finish(w, &r), ST_OK);
	return r.u.range.offset;
}

static void test_offsets_by_time(void **state)
{
	struct rig *w = *state;
	struct answer v[3] = {0}, r;
	rig_open(w);
	assert_int_equal(put_topic(w, "orders", 1), ST_OK);
	for (int i = 0; i < 3; i++) { /* of one turn: of the same time */
		v[i].u.send = (struct engine_send){.ask = {.done = on_done}, .msg = {.topic = SLICE_LIT("orders"), .body = SLICE_LIT("x"), .max_reconsume = -1}};
		engine_send(w->e, &v[i].u.send);
	}
	assert_int_equal(finish(w, &v[2]), ST_OK);
	rig_run(w, 1000);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("later"), "", &r), ST_OK);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_OK);
	int64_t ms = first_record(&r).store_ms;
	buf_fini(&r.bytes);
	assert_int_equal(pull(w, "orders", 0, 3, &r), ST_OK);
	int64_t later_ms = first_record(&r).store_ms;
	buf_fini(&r.bytes);
	assert_int_equal(at_time(w, ms - 1, false), 0);
	assert_int_equal(at_time(w, ms, false), 0);
	assert_int_equal(at_time(w, ms, true), 2);
	assert_int_equal(at_time(w, ms + 1, false), 3);
	assert_int_equal(at_time(w, ms + 1, true), 2);
	assert_int_equal(at_time(w, later_ms, false), 3);
	assert_int_equal(at_time(w, later_ms, true), 3);
	assert_int_equal(at_time(w, later_ms + 1, false), 4);
}

static void test_index_is_rebuilt(void **state)
{
	struct rig *w = *state;
	struct answer r;
	size_t n;
	rig_open(w);
	for (int i = 0; i < 3000; i++)
		assert_int_equal(send_props(w, "orders", i % 3, SLICE_LIT("body of some length"), "", &r), ST_OK);
	rig_close(w);
	uint8_t *index = memdisk_bytes(&w->disk, "index/queues", &n);
	assert_non_null(index);
	memset(index, 0xee, n);
	rig_open(w);
	for (int q = 0; q < 3; q++)
		for (uint64_t at = 0; at < 1000; at = r.u.pull.next) {
			assert_int_equal(pull(w, "orders", q, at, &r), ST_OK);
			assert_int_equal(first_record(&r).queue_offset, at);
			buf_fini(&r.bytes);
		}
	rig_close(w);
	memdisk_put(&w->disk, "index/queues", "", 0);
	rig_open(w);
	assert_int_equal(pull(w, "orders", 2, 999, &r), ST_OK);
	buf_fini(&r.bytes);
}

static void test_retention_by_size(void **state)
{
	struct rig *w = *state;
	struct answer r;
	static uint8_t body[10000];
	w->conf.retain_bytes = 3u << 20;
	rig_open(w);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(send_props(w, "orders", 0, slice_of(body, sizeof body), "", &r), ST_OK);
		rig_run(w, 10);
	}
	rig_run(w, 3000);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_MOVED);
	uint64_t min = r.u.pull.next;
	assert_in_range(min, 500, 800);
	assert_int_equal(pull(w, "orders", 0, min, &r), ST_OK);
	buf_fini(&r.bytes);
	rig_crash(w, &w->prng);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_MOVED);
	assert_int_equal(r.u.pull.next, min);
	assert_int_equal(pull(w, "orders", 0, 999, &r), ST_OK);
	buf_fini(&r.bytes);
}

/* What is not due yet is read from the log when it is: its segment stays, and goes after it. */
static void test_retention_waits_for_parked_messages(void **state)
{
	enum { HOURS_2 = 7200000 };
	static uint8_t body[100000];
	struct rig *w = *state;
	struct answer r;
	w->conf.retain_bytes = 2u << 20;
	rig_open(w);
	assert_int_equal(send_props(w, "later", 0, SLICE_LIT("parked"), "DELAY\00118\2", &r), ST_OK);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(send_props(w, "orders", 0, slice_of(body, sizeof body), "", &r), ST_OK);
		rig_run(w, 100);
	}
	rig_run(w, 5000);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_OK);
	buf_fini(&r.bytes);
	rig_run(w, HOURS_2);
	assert_int_equal(pull(w, "later", 0, 0, &r), ST_OK);
	assert_true(slice_eq_str(first_record(&r).body, "parked"));
	buf_fini(&r.bytes);
	assert_int_equal(pull(w, "orders", 0, 0, &r), ST_MOVED);
}

static void test_waiting_pull(void **state)
{
	struct rig *w = *state;
	struct answer p, r;
	rig_open(w);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("one"), "", &r), ST_OK);
	memset(&p, 0, sizeof p);
	p.u.ask.done = on_done;
	p.u.pull = (struct engine_pull){.ask = {.done = on_done}, .topic = SLICE_LIT("orders"), .from = 1, .max_msgs = 32, .max_bytes = 1000, .wait_ms = 500,
		.has_expr = true, .expr = SLICE_LIT("TagB")};
	engine_pull(w->e, &p.u.pull);
	rig_run(w, 100);
	assert_false(p.done);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("a"), "TAGS\1TagA\2", &r), ST_OK);
	rig_run(w, 100);
	assert_false(p.done);
	assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("b"), "TAGS\1TagB\2", &r), ST_OK);
	rig_run(w, 1);
	assert_true(p.done);
	assert_int_equal(p.st, ST_OK);
	assert_int_equal(p.u.pull.count, 1);
	assert_int_equal(first_record(&p).queue_offset, 2);
	buf_fini(&p.bytes);
	memset(&p, 0, sizeof p);
	p.u.pull = (struct engine_pull){.ask = {.done = on_done}, .topic = SLICE_LIT("orders"), .from = 3, .max_msgs = 32, .max_bytes = 1000, .wait_ms = 500};
	engine_pull(w->e, &p.u.pull);
	rig_run(w, 490);
	assert_false(p.done);
	rig_run(w, 20);
	assert_true(p.done);
	assert_int_equal(p.st, ST_EMPTY);
}

static void test_a_filtered_pull_gives_no_more_than_it_was_asked_for(void **state)
{
	static const char *const props[] = {"TAGS\1TagA\2", "TAGS\1TagA\2", "TAGS\1TagB\2", "TAGS\1TagB\2", "TAGS\1TagB\2", "TAGS\1TagB\2", "TAGS\1TagB\2"};
	struct rig *w = *state;
	struct answer r;
	rig_open(w);
	for (size_t i = 0; i < ARRAY_LEN(props); i++)
		assert_int_equal(send_props(w, "orders", 0, SLICE_LIT("x"), props[i], &r), ST_OK);
	memset(&r, 0, sizeof r);
	r.u.pull = (struct engine_pull){.ask = {.done = on_done}, .topic = SLICE_LIT("orders"), .max_msgs = 3, .max_bytes = 4096, .has_expr = true,
		.expr = SLICE_LIT("TagB")};
	engine_pull(w->e, &r.u.pull);
	assert_int_equal(finish(w, &r), ST_OK);
	assert_int_equal(r.u.pull.count, 3);
	assert_int_equal(r.u.pull.next, 5);
	buf_fini(&r.bytes);
}

/* However much is asked for at once, one turn hands out only so much: what is queued must be seen by its carrier before there is more. */
static void test_a_turn_hands_out_only_so_much(void **state)
{
	enum { BODY = 200000, MESSAGES = 20, PULLS = 16, TURN_MAX = 24 << 20 };
	struct rig *w = *state;
	struct answer r, p[PULLS];
	uint8_t *body = mem_new(BODY);
	size_t before = 0, after = 0;
	w->conf.segment_bytes = w->conf.cache_bytes = w->conf.unsynced_bytes = w->conf.ahead_bytes = w->conf.snapshot_bytes = 16u << 20;
	rig_open(w);
	for (int i = 0; i < MESSAGES; i++)
		assert_int_equal(send_props(w, "orders", 0, slice_of(body, BODY), "", &r), ST_OK);
	memset(p, 0, sizeof p);
	for (int i = 0; i < PULLS; i++) {
		p[i].u.pull = (struct engine_pull){.ask = {.done = on_done}, .topic = SLICE_LIT("orders"), .max_msgs = 32, .max_bytes = 8u << 20};
		engine_pull(w->e, &p[i].u.pull);
	}
	for (int turn = 0; turn < 1000 && after < (size_t)PULLS * MESSAGES * BODY; turn++) {
		engine_turn(w->e);
		memdisk_run(&w->disk);
		before = after;
		after = 0;
		for (int i = 0; i < PULLS; i++)
			after += p[i].bytes.n;
		assert_true(after - before <= TURN_MAX);
	}
	for (int i = 0; i < PULLS; i++) {
		assert_true(p[i].done);
		assert_int_equal(p[i].st, ST_OK);
		assert_int_equal(p[i].u.pull.count, MESSAGES);
		buf_fini(&p[i].bytes);
	}
	mem_free(body);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(send_and_pull),
		TEST(an_order_key_chooses_the_queue),
		TEST(restart_keeps_all),
		TEST(delay_is_never_early),
		TEST(parked_survives),
		TEST(a_batch_is_so_many_messages),
		TEST(batches_that_are_refused),
		TEST(a_store_is_opened_as_it_was_made),
		TEST(refusals),
		TEST(io_error_poisons),
		TEST(foreign_folder_is_refused),
		TEST(rot_below_a_snapshot_stops_no_start),
		TEST(damaged_record_is_left_out),
		TEST(damage_before_a_later_segment_refuses_the_start),
		TEST(damage_before_a_record_that_knows_better_refuses_the_start),
		TEST(a_send_never_waits_for_more_than_is_prepared),
		TEST(topic_incarnations),
		TEST(fewer_queues_are_in_the_log),
		TEST(fewer_queues_are_in_a_snapshot),
		TEST(settings_win_over_snapshots),
		TEST(a_removed_log_is_not_an_empty_one),
		TEST(a_truncated_log_is_not_an_empty_one),
		TEST(only_a_last_segment_may_be_without_its_length),
		TEST(a_made_key),
		TEST(find_and_view),
		TEST(offsets_by_time),
		TEST(index_is_rebuilt),
		TEST(retention_by_size),
		TEST(retention_waits_for_parked_messages),
		TEST(waiting_pull),
		TEST(a_filtered_pull_gives_no_more_than_it_was_asked_for),
		TEST(a_turn_hands_out_only_so_much),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
