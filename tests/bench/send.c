/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The sending loop. Closed: each connection keeps 'window' requests in flight and sends the next one when an answer comes. Open
 * (opt.rate): request i belongs to the moment start + i / rate, whether or not the server keeps up, and its latency counts from
 * there, so that a stall shows in every request that it delayed and not only in the one that it hit.
 *
 * An opaque number is OPAQUE_BASE | generation << 15 | slot: an answer that comes twice, or to a request that was never sent, is
 * an error.
 */
#include "tests/bench/send.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOT_BITS = 15, WINDOW_MAX = 1 << SLOT_BITS, GENERATIONS = 1 << 14, QUEUES_MAX = 1024, DRAIN_S = 30 };
enum { ANSWER_STRAY = -1000 };

struct slot {
	uint64_t start_ns, id;
	uint32_t generation;
	uint16_t queue;
	bool busy;
};

struct lane {
	struct conn conn;
	struct slot *slot;
	uint16_t *free; /* a ring: with answers in order, slots are used in turn */
	unsigned free_head, free_count;
	unsigned oldest; /* fifo: the slot that the next answer belongs to */
};

struct mark {
	uint64_t ns, acked, cpu_us, self_us;
};

static struct {
	const struct codec *codec;
	struct lane *lanes;
	uint64_t next_id, limit; /* ids below 'limit' may be sent */
	unsigned per_request, queue;
	uint64_t in_flight, acked, ids;
	uint64_t stored[QUEUES_MAX];
	uint64_t start_ns, stop_ns;
	bool sending, recording;
	struct hist hist;
	struct errors errors;
	struct mark from, to; /* of what is measured */
} run;

static uint64_t schedule_ns(uint64_t id) { return run.start_ns + (uint64_t)((double)id * 1e9 / opt.rate); }

/* ---- Requests and answers ---------------------------------------------------------------------------------------- */

static void submit(struct lane *l, uint64_t start_ns)
{
	unsigned i = l->free[l->free_head];
	struct slot *s = &l->slot[i];
	l->free_head = (l->free_head + 1) % (unsigned)opt.window;
	l->free_count--;
	s->generation = (s->generation + 1) % GENERATIONS;
	s->busy = true;
	s->id = run.next_id;
	s->start_ns = start_ns;
	s->queue = (uint16_t)run.queue;
	run.queue = (run.queue + 1) % (unsigned)opt.queues;
	run.next_id += run.per_request;
	run.in_flight++;
	char *out = conn_room(&l->conn, run.codec->frame_size());
	conn_wrote(&l->conn, run.codec->put(out, OPAQUE_BASE | s->generation << SLOT_BITS | i, s->id, s->queue));
}

/* Stored, but not as durably as was asked for: an error of the run, and a message in the queue. */
static bool is_stored(int code) { return code == 0 || code == 10 || code == 11 || code == 12; }

static void answered(struct lane *l, uint32_t opaque, int code)
{
	unsigned i = run.codec->fifo ? l->oldest : opaque & (WINDOW_MAX - 1);
	struct slot *s = &l->slot[i];
	bool known = i < (unsigned)opt.window && s->busy;
	if (known && !run.codec->fifo)
		known = opaque == (OPAQUE_BASE | s->generation << SLOT_BITS | i);
	if (!known) {
		errors_add(&run.errors, ANSWER_STRAY);
		return;
	}
	l->oldest = (l->oldest + 1) % (unsigned)opt.window;
	s->busy = false;
	l->free[(l->free_head + l->free_count) % (unsigned)opt.window] = (uint16_t)i;
	l->free_count++;
	run.in_flight--;
	if (is_stored(code)) {
		run.stored[s->queue] += run.per_request;
		for (unsigned k = 0; k < run.per_request; k++)
			run.ids += id_mix(s->id + k);
	}
	if (code != 0) {
		errors_add(&run.errors, code);
		return;
	}
	run.acked += run.per_request;
	if (run.recording)
		hist_add(&run.hist, l->conn.read_ns - s->start_ns);
}

static void fill(struct lane *l, uint64_t now)
{
	while (run.sending && l->free_count > 0 && run.next_id < run.limit)
		submit(l, now);
}

static void lane_input(struct conn *c)
{
	struct lane *l = c->owner;
	uint32_t opaque = 0;
	int code;
	run.codec->tick();
	while (run.codec->take(c, &opaque, &code))
		answered(l, opaque, code);
	if (opt.rate == 0)
		fill(l, c->read_ns);
}

/* ---- The run ----------------------------------------------------------------------------------------------------- */

static void open_lanes(void)
{
	run.lanes = calloc((size_t)opt.conns, sizeof *run.lanes);
	for (int i = 0; i < opt.conns; i++) {
		struct lane *l = &run.lanes[i];
		l->slot = calloc((size_t)opt.window, sizeof *l->slot);
		l->free = calloc((size_t)opt.window, sizeof *l->free);
		for (int k = 0; k < opt.window; k++)
			l->free[k] = (uint16_t)k;
		l->free_count = (unsigned)opt.window;
		conn_open(&l->conn, opt.port, lane_input, l);
		if (run.codec->open != NULL)
			run.codec->open(&l->conn);
	}
}

/* Sends what is due by now, on whichever connection has room. Returns how long until the next is due. */
static uint64_t send_due(uint64_t now)
{
	static int turn;
	int full = 0;
	run.codec->tick();
	while (run.sending && run.next_id < run.limit && full < opt.conns) {
		uint64_t due = schedule_ns(run.next_id);
		if (due > now)
			return due - now;
		struct lane *l = &run.lanes[turn];
		turn = (turn + 1) % opt.conns;
		if (l->free_count == 0) {
			full++;
			continue;
		}
		full = 0;
		submit(l, due);
		conn_flush(&l->conn);
	}
	return SECOND_NS / 100;
}

static struct mark mark_now(uint64_t now)
{
	return (struct mark){ .ns = now, .acked = run.acked, .cpu_us = proc_cpu_us(opt.server_pid), .self_us = self_cpu_us() };
}

static void loop(void)
{
	uint64_t now = now_ns(), wait;
	uint64_t record_from = run.start_ns + (uint64_t)(opt.warmup * 1e9);
	run.stop_ns = opt.count ? UINT64_MAX : record_from + (uint64_t)(opt.seconds * 1e9);
	uint64_t give_up = UINT64_MAX;
	bool recorded = false;
	while (run.sending || run.in_flight > 0) {
		if (!recorded && !run.recording && now >= record_from) {
			run.from = mark_now(now);
			run.recording = true;
		}
		if (run.sending && (now >= run.stop_ns || (run.next_id >= run.limit && run.in_flight == 0))) {
			run.to = mark_now(now);
			run.recording = false;
			recorded = true;
			run.sending = false;
			give_up = now + DRAIN_S * SECOND_NS;
		}
		if (now > give_up)
			fatal("%" PRIu64 " requests were never answered", run.in_flight);
		wait = opt.rate > 0 ? send_due(now) : SECOND_NS / 100;
		net_poll(opt.spin ? 0 : wait);
		now = now_ns();
	}
}

static void print(void)
{
	double s = (double)(run.to.ns - run.from.ns) / 1e9;
	double n = (double)(run.to.acked - run.from.acked);
	printf("mode=%s server=%s conns=%d window=%d body=%d batch=%d queues=%d", opt.mode, opt.label, opt.conns, opt.window, opt.body,
	       opt.batch, opt.queues);
	printf(" header=%s wait=%d offered=%.0f seconds=%.3f messages=%.0f rate=%.0f", opt.binary ? "binary" : "json", opt.wait, opt.rate, s, n, n / s);
	hist_print(&run.hist, "");
	if (opt.server_pid > 0)
		printf(" server_cpu_us=%.3f server_cpu=%.2f", (double)(run.to.cpu_us - run.from.cpu_us) / (n > 0 ? n : 1),
		       (double)(run.to.cpu_us - run.from.cpu_us) / 1e6 / s);
	printf(" client_cpu_us=%.3f total=%" PRIu64 " ids=%016" PRIx64, (double)(run.to.self_us - run.from.self_us) / (n > 0 ? n : 1), run.acked, run.ids);
}

void mode_send(const struct codec *codec)
{
	struct watch *watch = NULL;
	if (opt.window < 1 || opt.window > WINDOW_MAX || opt.queues < 1 || opt.queues > QUEUES_MAX || opt.conns < 1)
		fatal("window 1..%d, queues 1..%d, at least one connection", WINDOW_MAX, QUEUES_MAX);
	run.codec = codec;
	run.per_request = opt.batch > 0 ? (unsigned)opt.batch : 1;
	run.limit = opt.count ? opt.count : UINT64_MAX;
	codec->prepare();
	codec->tick();
	open_lanes();
	run.start_ns = now_ns();
	if (opt.deliver && opt.rate > 0)
		watch = watch_open(run.start_ns, opt.rate, run.start_ns + (uint64_t)(opt.warmup * 1e9));
	run.sending = true;
	for (int i = 0; opt.rate == 0 && i < opt.conns; i++) {
		fill(&run.lanes[i], run.start_ns);
		conn_flush(&run.lanes[i].conn);
	}
	loop();
	/* The last messages may still be on their way to the watching consumers. */
	for (uint64_t until = now_ns() + 10 * SECOND_NS; watch != NULL && watch_seen(watch) < run.acked && now_ns() < until;)
		net_poll(SECOND_NS / 100);
	print();
	if (watch != NULL) {
		hist_print(watch_hist(watch), "deliver_");
		printf(" delivered=%" PRIu64, watch_seen(watch));
	}
	errors_print(&run.errors);
	const char *why = codec->verify(run.stored, (unsigned)opt.queues);
	if (run.errors.total > 0)
		why = "errors";
	else if (watch != NULL && watch_seen(watch) != run.acked)
		why = "not-all-delivered";
	verdict(why);
}
