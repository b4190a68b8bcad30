/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/contract/front.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"

#define SLOW_BODY 2000u      /* bytes of a message for the slow reader */
#define SLOW_MESSAGES 3000u  /* all of them are far more than a stalled client may have queued */
#define QUEUED_MAX (1u << 20)

const struct front_kind *front_kind_under_test;

static void random_bytes(void *to, size_t n) { memset(to, 0x5a, n); }

static void open_world(struct front_world *w)
{
	struct engine_env env = {&w->clock.base, &w->disk.disk, &w->prng, &w->log.log};

	if (engine_open(&w->engine, &env, &w->engine_conf, w->why, sizeof(w->why)) != ST_OK)
		fail_msg("engine_open: %s", w->why);
	w->env = (struct front_env){.engine = w->engine, .clock = &w->clock.base, .log = &w->log.log, .conf = &w->conf, .random = random_bytes};
	w->kind->start(w);
}

int front_contract_setup(void **state)
{
	struct front_world *w = mem_new(sizeof(*w));

	w->kind = front_kind_under_test;
	memdisk_init(&w->disk);
	testlog_init(&w->log);
	fake_clock_init(&w->clock);
	prng_init(&w->prng, 11);
	engine_conf_default(&w->engine_conf);
	w->engine_conf.segment_bytes = 4u << 20;
	w->engine_conf.block_bytes = 16384;
	w->engine_conf.max_message = 64u << 10;
	w->engine_conf.unsynced_bytes = w->engine_conf.ahead_bytes = 1u << 20;
	w->engine_conf.snapshot_bytes = 2u << 20;
	w->engine_conf.cache_bytes = 1u << 20;
	w->conf = (struct front_conf){
		.cluster = SLICE_LIT("DefaultCluster"), .broker = SLICE_LIT("broker-a"), .advertised_ip = 0x7f000001, .advertised_port = 10911,
		.max_message = w->engine_conf.max_message, .max_header = 131072, .max_frame = 16u << 20, .max_requests = 64, .idle_ms = 120000,
		.max_wait_ms = 30000, .lease_ms = 30000, .default_queues = 1, .auto_create_topic = true, .http_max_batch = 100, .http_max_body = 1u << 20,
		.http_max_header = 16384, .http_max_conns = 64, .http_request_ms = 60000, .http_heartbeat_ms = 15000, .http_stream_window = 1000,
		.ws_max_conns = 64, .ws_max_message = 1u << 20, .ws_max_subs = 16, .ws_max_credit = 256, .ws_ping_ms = 30000,
		.mqtt_max_packet = 1u << 20, .mqtt_max_inflight = 32, .mqtt_max_sessions = 100, .mqtt_max_subs = 16, .mqtt_max_queues = 1000, .mqtt_max_retained = 100,
		.mqtt_session_ms = 86400000,
	};
	memcpy(w->conf.delay_ms, w->engine_conf.delay_ms, sizeof(w->conf.delay_ms));
	open_world(w);
	*state = w;
	return 0;
}

static void on_closed(void *arg)
{
	struct front_world *w = arg;

	w->engine = NULL;
	w->closed = true;
}

enum front_said front_next_answer(struct front_answers *a, bool closed, unsigned *ret_code)
{
	if (a->ok > 0) {
		a->ok--;
		return SAID_OK;
	}
	if (a->errors > 0) {
		a->errors--;
		if (ret_code != NULL)
			*ret_code = a->code;
		return SAID_ERROR;
	}
	return closed ? SAID_GOODBYE : SAID_NOTHING;
}

void front_world_run(struct front_world *w, uint64_t ms)
{
	uint64_t end = w->clock.ns + ms * MS_NS;

	for (unsigned i = 0; i < 200000 && w->engine != NULL; i++) {
		w->kind->turn(w);
		uint64_t due = engine_turn(w->engine);
		memdisk_run(&w->disk);
		if (due <= w->clock.ns)
			continue;
		if (w->clock.ns >= end)
			return;
		w->clock.ns = u64_min(u64_min(due, end), w->clock.ns + 50 * MS_NS);
	}
	if (w->engine != NULL)
		fail_msg("the world does not come to rest");
}

int front_contract_teardown(void **state)
{
	struct front_world *w = *state;

	w->disk.later = false;
	w->disk.write_fails = w->disk.sync_fails = w->disk.open_fails = ST_OK;
	w->kind->drain(w);
	w->kind->stop(w);
	for (unsigned i = 0; i < 1000 && !w->kind->stopped(w); i++)
		front_world_run(w, 100);
	assert_true(w->kind->stopped(w));
	engine_close(w->engine, on_closed, w);
	front_world_run(w, 10000);
	assert_true(w->closed);
	w->kind->fini(w);
	memdisk_fini(&w->disk);
	mem_free(w);
	return 0;
}

/* ---- What tests are made of ---------------------------------------------------------------------------------------------------------- */

static enum front_said wait_said(struct front_peer *p, unsigned *code)
{
	enum front_said s = p->w->kind->said(p, code);

	for (unsigned i = 0; s == SAID_NOTHING && i < 5000; i++) {
		front_world_run(p->w, 2);
		s = p->w->kind->said(p, code);
	}
	return s;
}

static void publish_ok(struct front_peer *p, const char *topic, struct slice body)
{
	unsigned code = 0;

	p->w->kind->publish(p, topic, body);
	if (wait_said(p, &code) != SAID_OK)
		fail_msg("%s: a publish was not answered well (%u)", p->w->kind->name, code);
}

static void make_topic(struct front_world *w, const char *name)
{
	static struct actor me = {.front = "test"};
	struct engine_topic t = {.actor = &me, .name = slice_str(name), .conf = {.read_queues = 1, .write_queues = 1, .perm = PERM_READ | PERM_WRITE}};

	engine_topic_put(w->engine, &t);
	front_world_run(w, 200);
	assert_int_equal(t.ask.status, ST_OK);
}

static bool wait_received(struct front_peer *p, struct buf *body)
{
	for (unsigned i = 0; i < 5000; i++) {
		buf_reset(body);
		if (p->w->kind->received(p, body))
			return true;
		front_world_run(p->w, 2);
	}
	return false;
}

static void expect(struct front_peer *p, const char *want)
{
	struct buf b = {0};

	if (!wait_received(p, &b))
		fail_msg("%s: \"%s\" did not come", p->w->kind->name, want);
	if (!slice_eq_str(buf_view(&b), want))
		fail_msg("%s: \"%.*s\" came instead of \"%s\"", p->w->kind->name, (int)b.n, (const char *)b.p, want);
	buf_fini(&b);
}

static void expect_nothing(struct front_peer *p, uint64_t ms)
{
	struct buf b = {0};

	for (uint64_t t = 0; t < ms; t += 100) {
		if (p->w->kind->received(p, &b))
			fail_msg("%s: \"%.*s\" came where nothing should", p->w->kind->name, (int)b.n, (const char *)b.p);
		front_world_run(p->w, 100);
	}
	buf_fini(&b);
}

/* ---- The contract -------------------------------------------------------------------------------------------------------------------------- */

/* "OK" is said after the sync and not before. */
void front_contract_answers_when_stored(void **state)
{
	struct front_world *w = *state;

	make_topic(w, "orders");
	struct front_peer *p = w->kind->connect(w);
	publish_ok(p, "orders", SLICE_LIT("warm"));
	uint64_t syncs = w->disk.syncs;
	w->disk.later = true;
	w->kind->publish(p, "orders", SLICE_LIT("one"));
	/* The write and its sync hang: nothing is done until memdisk_run. */
	for (unsigned i = 0; i < 50; i++) {
		w->kind->turn(w);
		engine_turn(w->engine);
		w->kind->turn(w);
		assert_int_equal(w->kind->said(p, NULL), SAID_NOTHING);
	}
	assert_int_equal(wait_said(p, NULL), SAID_OK);
	assert_true(w->disk.syncs > syncs);
	w->kind->hang_up(p);
}

void front_contract_unknown_topic(void **state)
{
	struct front_world *w = *state;
	unsigned code = 0;

	w->conf.auto_create_topic = false;
	w->engine_conf.auto_create_topic = false;
	struct front_peer *p = w->kind->connect(w);
	w->kind->publish(p, "no-such-topic", SLICE_LIT("x"));
	enum front_said s = wait_said(p, &code);
	/* The engine's own setting is still on: only what the front asks for counts here. */
	if (!w->kind->needs_topic && s == SAID_OK)
		fail_msg("%s: a topic was made although the settings say no", w->kind->name);
	assert_int_equal(s, SAID_ERROR);
	assert_int_equal(code, w->kind->code(ST_NO_TOPIC));
	make_topic(w, "orders");
	publish_ok(p, "orders", SLICE_LIT("the connection lives"));
	w->kind->hang_up(p);
}

void front_contract_too_big(void **state)
{
	struct front_world *w = *state;
	unsigned code = 0;
	size_t n = w->conf.max_message + 1;
	uint8_t *big = mem_new(n);

	memset(big, 'x', n);
	make_topic(w, "orders");
	struct front_peer *p = w->kind->connect(w), *q = w->kind->connect(w);
	publish_ok(p, "orders", slice_of(big, n - 1));
	w->kind->publish(p, "orders", slice_of(big, n));
	assert_int_equal(wait_said(p, &code), SAID_ERROR);
	assert_int_equal(code, w->kind->code(ST_TOO_BIG));
	publish_ok(q, "orders", SLICE_LIT("the neighbour notices nothing"));
	mem_free(big);
	w->kind->hang_up(p);
	w->kind->hang_up(q);
}

/* A full disk refuses sends, says so, and lets reads go on. */
void front_contract_disk_full(void **state)
{
	struct front_world *w = *state;
	unsigned code = 0, refused = 0;
	uint8_t body[4096];

	memset(body, 'y', sizeof(body));
	make_topic(w, "orders");
	struct front_peer *p = w->kind->connect(w), *reader = w->kind->connect(w);
	w->kind->subscribe(reader, "orders", "readers");
	front_world_run(w, 500);
	publish_ok(p, "orders", SLICE_LIT("before"));
	w->disk.open_fails = w->disk.write_fails = ST_DISK_FULL;
	w->disk.good_writes = 200;
	for (unsigned i = 0; i < 4000 && refused == 0; i++) {
		w->kind->publish(p, "orders", slice_of(body, sizeof(body)));
		if (wait_said(p, &code) != SAID_OK)
			refused = code;
	}
	if (refused != w->kind->code(ST_DISK_FULL) && refused != w->kind->code(ST_BUSY) && refused != w->kind->code(ST_IO))
		fail_msg("%s: a full disk was answered %u", w->kind->name, refused);
	expect(reader, "before");
	w->kind->hang_up(p);
	w->kind->hang_up(reader);
}

/* A sync that failed is never forgotten: no publish is acknowledged any more. */
void front_contract_disk_failed(void **state)
{
	struct front_world *w = *state;
	unsigned code = 0;

	make_topic(w, "orders");
	struct front_peer *p = w->kind->connect(w);
	publish_ok(p, "orders", SLICE_LIT("before"));
	w->disk.sync_fails = ST_IO;
	w->kind->publish(p, "orders", SLICE_LIT("lost"));
	assert_int_equal(wait_said(p, &code), SAID_ERROR);
	assert_int_equal(code, w->kind->code(ST_IO));
	w->disk.sync_fails = ST_OK;
	w->kind->publish(p, "orders", SLICE_LIT("after"));
	assert_int_equal(wait_said(p, &code), SAID_ERROR);
	w->kind->hang_up(p);
}

/* Too much at once is answered "busy", or taken more slowly; never dropped without a word, never kept without bound. */
void front_contract_busy(void **state)
{
	struct front_world *w = *state;
	unsigned code = 0, ok = 0, busy = 0, n = 400;
	uint8_t body[8192];

	memset(body, 'z', sizeof(body));
	make_topic(w, "orders");
	struct front_peer *p = w->kind->connect(w);
	publish_ok(p, "orders", SLICE_LIT("warm"));
	w->disk.later = true;
	for (unsigned i = 0; i < n; i++)
		w->kind->publish(p, "orders", slice_of(body, sizeof(body)));
	while (ok + busy < n) {
		enum front_said s = wait_said(p, &code);
		if (s == SAID_OK)
			ok++;
		else if (s == SAID_ERROR && code == w->kind->code(ST_BUSY))
			busy++;
		else
			fail_msg("%s: %u publishes ok, %u busy, then %d (%u)", w->kind->name, ok, busy, (int)s, code);
	}
	assert_true(ok > 0);
	w->disk.later = false;
	publish_ok(p, "orders", SLICE_LIT("later it goes"));
	w->kind->hang_up(p);
}

/* Who hangs up with a message in hand gives it back. */
void front_contract_hang_up_gives_back(void **state)
{
	struct front_world *w = *state;

	make_topic(w, "orders");
	struct front_peer *p = w->kind->connect(w), *a = w->kind->connect(w);
	w->kind->subscribe(a, "orders", "workers");
	front_world_run(w, 500);
	publish_ok(p, "orders", SLICE_LIT("work"));
	expect(a, "work");
	w->kind->hang_up(a);
	front_world_run(w, 1000);
	struct front_peer *b = w->kind->connect(w);
	w->kind->subscribe(b, "orders", "workers");
	expect(b, "work");
	w->kind->settle(b);
	w->kind->hang_up(b);
	w->kind->hang_up(p);
}

/* What was settled does not come again, also for another member of the group. */
void front_contract_settled_is_settled(void **state)
{
	struct front_world *w = *state;

	make_topic(w, "orders");
	struct front_peer *p = w->kind->connect(w), *a = w->kind->connect(w);
	w->kind->subscribe(a, "orders", "workers");
	front_world_run(w, 500);
	publish_ok(p, "orders", SLICE_LIT("first"));
	publish_ok(p, "orders", SLICE_LIT("second"));
	expect(a, "first");
	w->kind->settle(a);
	front_world_run(w, 1000);
	w->kind->hang_up(a);
	front_world_run(w, 1000);
	struct front_peer *b = w->kind->connect(w);
	w->kind->subscribe(b, "orders", "workers");
	expect(b, "second");
	w->kind->settle(b);
	expect_nothing(b, 1000);
	w->kind->hang_up(b);
	w->kind->hang_up(p);
}

void front_contract_two_groups(void **state)
{
	struct front_world *w = *state;

	make_topic(w, "orders");
	struct front_peer *p = w->kind->connect(w), *a = w->kind->connect(w), *b = w->kind->connect(w);
	w->kind->subscribe(a, "orders", "one");
	w->kind->subscribe(b, "orders", "two");
	front_world_run(w, 500);
	publish_ok(p, "orders", SLICE_LIT("for both"));
	expect(a, "for both");
	w->kind->settle(a);
	expect(b, "for both");
	w->kind->settle(b);
	expect_nothing(a, 500);
	expect_nothing(b, 500);
	w->kind->hang_up(a);
	w->kind->hang_up(b);
	w->kind->hang_up(p);
}

/* Who does not read has only so much queued, and loses nothing. */
void front_contract_slow_reader(void **state)
{
	struct front_world *w = *state;
	uint8_t body[SLOW_BODY];
	struct buf b = {0};
	unsigned next = 0;

	memset(body, '.', sizeof(body));
	make_topic(w, "orders");
	struct front_peer *p = w->kind->connect(w), *a = w->kind->connect(w);
	w->kind->subscribe(a, "orders", "slow");
	front_world_run(w, 500);
	w->kind->stall(a, true);
	for (unsigned i = 0; i < SLOW_MESSAGES; i++) {
		snprintf((char *)body, 16, "%06u", i);
		publish_ok(p, "orders", slice_of(body, sizeof(body)));
	}
	if (w->kind->queued(a) > QUEUED_MAX)
		fail_msg("%s: %zu bytes are queued for a client that does not read", w->kind->name, w->kind->queued(a));
	w->kind->stall(a, false);
	while (next < SLOW_MESSAGES && wait_received(a, &b)) {
		uint64_t got;
		assert_int_equal(b.n, sizeof(body));
		assert_true(slice_u64(slice_of(b.p, 6), &got));
		if (got == next)
			next++;
		w->kind->settle(a);
	}
	if (next != SLOW_MESSAGES)
		fail_msg("%s: only %u of %u messages came", w->kind->name, next, SLOW_MESSAGES);
	buf_fini(&b);
	w->kind->hang_up(a);
	w->kind->hang_up(p);
}

/* While it drains, nothing is acknowledged that is not stored, and nobody waits for ever. */
void front_contract_drain(void **state)
{
	struct front_world *w = *state;

	make_topic(w, "orders");
	struct front_peer *p = w->kind->connect(w), *a = w->kind->connect(w);
	w->kind->subscribe(a, "orders", "workers");
	front_world_run(w, 500);
	publish_ok(p, "orders", SLICE_LIT("before"));
	w->kind->publish(p, "orders", SLICE_LIT("on its way"));
	w->kind->drain(w);
	enum front_said s = wait_said(p, NULL);
	assert_true(s == SAID_OK || s == SAID_ERROR || s == SAID_GOODBYE);
	if (w->kind->is_open(p)) {
		w->kind->publish(p, "orders", SLICE_LIT("too late"));
		s = wait_said(p, NULL);
		assert_true(s == SAID_ERROR || s == SAID_GOODBYE);
	}
	w->kind->hang_up(a);
	w->kind->hang_up(p);
}

/* A request that ends at any byte harms nobody, and is not half done. */
void front_contract_cut_requests(void **state)
{
	struct front_world *w = *state;
	struct buf whole = {0}, got = {0};

	make_topic(w, "orders");
	struct front_peer *reader = w->kind->connect(w), *p = w->kind->connect(w);
	w->kind->subscribe(reader, "orders", "readers");
	front_world_run(w, 500);
	w->kind->request(p, &whole);
	w->kind->hang_up(p);
	for (size_t n = 0; n < whole.n; n++) {
		p = w->kind->connect(w);
		w->kind->raw(p, slice_of(whole.p, n));
		front_world_run(w, 10);
		w->kind->hang_up(p);
	}
	front_world_run(w, 500);
	p = w->kind->connect(w);
	publish_ok(p, "orders", SLICE_LIT("whole"));
	expect(reader, "whole"); /* no part of the cut ones came before it */
	buf_fini(&whole);
	buf_fini(&got);
	w->kind->hang_up(p);
	w->kind->hang_up(reader);
}

void front_contract_garbage(void **state)
{
	struct front_world *w = *state;
	struct buf whole = {0};
	uint8_t noise[300];

	make_topic(w, "orders");
	struct front_peer *good = w->kind->connect(w), *p = w->kind->connect(w);
	w->kind->request(p, &whole);
	w->kind->hang_up(p);
	for (unsigned i = 0; i < 500; i++) {
		size_t n = 1 + prng_below(&w->prng, sizeof(noise));
		for (size_t k = 0; k < n; k++)
			noise[k] = (uint8_t)prng_u64(&w->prng);
		if (i % 2 == 1 && whole.n > 0) { /* a legal request with some bytes changed */
			n = whole.n < sizeof(noise) ? whole.n : sizeof(noise);
			memcpy(noise, whole.p, n);
			for (unsigned k = 0; k < 1 + i % 5; k++)
				noise[prng_below(&w->prng, n)] = (uint8_t)prng_u64(&w->prng);
		}
		p = w->kind->connect(w);
		w->kind->raw(p, slice_of(noise, n));
		front_world_run(w, 10);
		w->kind->hang_up(p);
	}
	publish_ok(good, "orders", SLICE_LIT("the neighbour notices nothing"));
	buf_fini(&whole);
	w->kind->hang_up(good);
}
