/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* A consumer beside an open-loop sender: long polls on every queue, and how long after its scheduled moment each message came. */
#include "tests/bench/bench.h"

#include <inttypes.h>
#include <stdlib.h>

enum { FOUND = 0, NOT_FOUND = 19, WAIT_MS = 15000 };

struct watched {
	struct watch *watch;
	struct conn conn;
	int queue;
	uint64_t next;
};

struct watch {
	uint64_t start_ns, record_from_ns, seen;
	double per_second;
	struct hist hist;
	struct watched *queues;
};

static void ask(struct watched *q)
{
	rm_put_pull(&q->conn, OPAQUE_BASE | (uint32_t)q->queue, opt.topic, q->queue, q->next, WAIT_MS);
}

static void watch_input(struct conn *c)
{
	struct watched *q = c->owner;
	struct watch *w = q->watch;
	struct rm_reply r;
	while (rm_next(c, &r)) {
		if (!r.response)
			continue;
		if (r.code != FOUND && r.code != NOT_FOUND)
			fatal("a long poll was answered with code %d", r.code);
		const char *p = r.body, *end = p + r.body_len;
		struct rm_record rec;
		while (rm_record_next(&p, end, &rec)) {
			uint64_t due = w->start_ns + (uint64_t)((double)be64_get(rec.body) * 1e9 / w->per_second);
			if (rec.offset != q->next)
				fatal("queue %d: offset %" PRIu64 " came where %" PRIu64 " was due", q->queue, rec.offset, q->next);
			q->next++;
			w->seen++;
			if (due >= w->record_from_ns)
				hist_add(&w->hist, c->read_ns - due);
		}
		ask(q);
	}
}

struct watch *watch_open(uint64_t start_ns, double per_second, uint64_t record_from_ns)
{
	struct watch *w = calloc(1, sizeof *w);
	w->start_ns = start_ns;
	w->per_second = per_second;
	w->record_from_ns = record_from_ns;
	w->queues = calloc((size_t)opt.queues, sizeof *w->queues);
	for (int i = 0; i < opt.queues; i++) {
		struct watched *q = &w->queues[i];
		q->watch = w;
		q->queue = i;
		conn_open(&q->conn, opt.port, watch_input, q);
		ask(q);
		conn_flush(&q->conn);
	}
	return w;
}

const struct hist *watch_hist(const struct watch *w) { return &w->hist; }
uint64_t watch_seen(const struct watch *w) { return w->seen; }
