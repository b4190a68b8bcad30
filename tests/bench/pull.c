/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Reads a backlog from its first message to the offset that was the last at the start, all queues at once, one pull in flight per
 * queue as stock consumers do. Offsets must be dense, and the sum over the ids is printed for comparison with the sender's.
 */
#include "tests/bench/bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PULL_FOUND = 0, PULL_NOT_FOUND = 19, PULL_AGAIN = 20, STALL_S = 30 };

struct queue {
	struct conn *conn;
	uint64_t next, end;
	uint64_t asked_ns;
	int loops_left;
};

static struct queue *queues;
static struct hist hist;
static struct errors errors;
static uint64_t messages, bytes, pulls, ids;
static int open_queues;
static uint64_t last_ns;

static void ask(int i, uint64_t now)
{
	struct queue *q = &queues[i];
	q->asked_ns = now;
	rm_put_pull(q->conn, OPAQUE_BASE | (uint32_t)i, opt.topic, i, q->next, 0);
}

static void eat_records(int i, const struct rm_reply *r)
{
	struct queue *q = &queues[i];
	const char *p = r->body, *end = p + r->body_len;
	struct rm_record rec;
	while (rm_record_next(&p, end, &rec)) {
		if (rec.offset != q->next || rec.queue != (uint32_t)i)
			fatal("queue %d: offset %" PRIu64 " of queue %u came where %" PRIu64 " was due", i, rec.offset, rec.queue, q->next);
		q->next++;
		messages++;
		if (rec.body_len >= 8)
			ids += id_mix(be64_get(rec.body));
	}
	bytes += r->body_len;
}

static void pull_input(struct conn *c)
{
	struct rm_reply r;
	while (rm_next(c, &r)) {
		uint32_t i = r.opaque & ~OPAQUE_BASE;
		if (!r.response)
			continue;
		if (i >= (uint32_t)opt.queues)
			fatal("an answer to a pull that was never sent");
		struct queue *q = &queues[i];
		hist_add(&hist, c->read_ns - q->asked_ns);
		pulls++;
		if (r.code == PULL_FOUND)
			eat_records((int)i, &r);
		else
			errors_add(&errors, r.code);
		if (errors.total > 1000)
			fatal("too many errors, the last with code %d", r.code);
		if (q->next >= q->end) {
			if (--q->loops_left == 0) {
				open_queues--;
				continue;
			}
			q->next = 0;
		}
		ask((int)i, c->read_ns);
	}
	last_ns = c->read_ns;
}

void mode_pull(void)
{
	struct rm_caller caller;
	uint64_t expected = 0;
	rm_caller_open(&caller, opt.port);
	queues = calloc((size_t)opt.queues, sizeof *queues);
	struct conn *conns = calloc((size_t)opt.conns, sizeof *conns);
	for (int i = 0; i < opt.queues; i++) {
		int64_t max = rm_max_offset(&caller, opt.topic, i);
		if (max < 0)
			fatal("no offset for queue %d of %s", i, opt.topic);
		queues[i] = (struct queue){ .conn = &conns[i % opt.conns], .end = (uint64_t)max, .loops_left = opt.loops };
		expected += (uint64_t)max * (uint64_t)opt.loops;
	}
	for (int i = 0; i < opt.conns; i++)
		conn_open(&conns[i], opt.port, pull_input, NULL);
	uint64_t start = now_ns(), cpu = proc_cpu_us(opt.server_pid), self = self_cpu_us();
	last_ns = start;
	for (int i = 0; i < opt.queues; i++) {
		if (queues[i].end == 0)
			continue;
		open_queues++;
		ask(i, start);
		conn_flush(queues[i].conn);
	}
	while (open_queues > 0) {
		net_poll(opt.spin ? 0 : SECOND_NS / 10);
		if (now_ns() - last_ns > STALL_S * SECOND_NS)
			fatal("no answer to a pull within %d s", STALL_S);
	}
	double s = (double)(last_ns - start) / 1e9, n = messages > 0 ? (double)messages : 1;
	uint64_t server_us = proc_cpu_us(opt.server_pid) - cpu;
	printf("mode=pull server=%s conns=%d queues=%d max_msgs=%d header=%s loops=%d", opt.label, opt.conns, opt.queues, opt.max_msgs,
	       opt.binary ? "binary" : "json", opt.loops);
	printf(" seconds=%.3f messages=%" PRIu64 " rate=%.0f mb_s=%.1f", s, messages, n / s, (double)bytes / 1e6 / s);
	printf(" per_pull=%.1f", n / (double)(pulls ? pulls : 1));
	hist_print(&hist, "");
	if (opt.server_pid > 0)
		printf(" server_cpu_us=%.3f server_cpu=%.2f", (double)server_us / n, (double)server_us / 1e6 / s);
	printf(" client_cpu_us=%.3f total=%" PRIu64 " ids=%016" PRIx64, (double)(self_cpu_us() - self) / n, messages, ids);
	errors_print(&errors);
	verdict(errors.total > 0 ? "errors" : messages != expected ? "count-differs" : messages == 0 ? "nothing-to-read" : NULL);
}
