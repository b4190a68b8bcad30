/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Many topics: how long their creation takes (code 17, pipelined), and how soon the first message of each reaches a consumer that
 * already waits for it. At most 'window' topics are in flight in either part.
 */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 1024, FOUND = 0, NOT_FOUND = 19, WAIT_MS = 15000, NAME_MAX_BYTES = 96, GIVE_UP_S = 180, LATE_MS = 50 };

struct first {
	uint64_t sent_ns, acked_ns, seen_ns;
};

static struct conn creator, sender, puller;
static struct errors errors;
static int started, finished;
static uint64_t last_ns;
static struct first *firsts;

static void name_of(char *at, int i) { snprintf(at, NAME_MAX_BYTES, "%s_%d", opt.topic, i); }

/* ---- Creation ---------------------------------------------------------------------------------------------------- */

static void put_creation(int i)
{
	char name[NAME_MAX_BYTES];
	struct rm_request q;
	name_of(name, i);
	rm_begin(&q, conn_room(&creator, ROOM), ROOM, opt.binary, 17, OPAQUE_BASE | (uint32_t)i);
	rm_text(&q, "topic", name);
	rm_text(&q, "defaultTopic", "TBW102");
	rm_int(&q, "readQueueNums", opt.queues);
	rm_int(&q, "writeQueueNums", opt.queues);
	rm_int(&q, "perm", 6);
	rm_text(&q, "topicFilterType", "SINGLE_TAG");
	rm_int(&q, "topicSysFlag", 0);
	rm_text(&q, "order", "false");
	rm_end(&q, OPAQUE_BASE | (uint32_t)i, NULL, 0);
	conn_wrote(&creator, q.len);
}

static void creator_input(struct conn *c)
{
	struct rm_reply r;
	while (rm_next(c, &r)) {
		if (!r.response)
			continue;
		finished++;
		if (r.code != 0)
			errors_add(&errors, r.code);
		if (started < opt.topics)
			put_creation(started++);
	}
	last_ns = c->read_ns;
}

static void wait_for_all(void)
{
	last_ns = now_ns();
	while (finished < opt.topics && now_ns() - last_ns < GIVE_UP_S * SECOND_NS)
		net_poll(SECOND_NS / 10);
}

/* ---- First messages ---------------------------------------------------------------------------------------------- */

static void put_pull(int i)
{
	char name[NAME_MAX_BYTES];
	name_of(name, i);
	rm_put_pull(&puller, OPAQUE_BASE | (uint32_t)i, name, 0, 0, WAIT_MS);
}

static void put_first(int i)
{
	char name[NAME_MAX_BYTES], body[128];
	struct rm_request q;
	name_of(name, i);
	memset(body, 'x', sizeof body);
	be64_put(body, (uint64_t)i);
	rm_begin(&q, conn_room(&sender, ROOM), ROOM, opt.binary, 310, OPAQUE_BASE | (uint32_t)i);
	rm_text(&q, "a", "bench_producer");
	rm_text(&q, "b", name);
	rm_text(&q, "c", "TBW102");
	rm_text(&q, "d", "4");
	rm_text(&q, "e", "0");
	rm_text(&q, "f", "0");
	rm_int(&q, "g", wall_ms());
	rm_text(&q, "h", "0");
	rm_text(&q, "i", "WAIT\001true\002");
	rm_text(&q, "j", "0");
	rm_end(&q, OPAQUE_BASE | (uint32_t)i, body, sizeof body);
	conn_wrote(&sender, q.len);
	firsts[i].sent_ns = now_ns();
}

static void start_first(void)
{
	int i = started++;
	put_pull(i);
	conn_flush(&puller);
	put_first(i);
	conn_flush(&sender);
}

static struct first *first_of(const struct rm_reply *r)
{
	uint32_t i = r->opaque & ~OPAQUE_BASE;
	if (i >= (uint32_t)opt.topics)
		fatal("an answer to a request that was never sent");
	return &firsts[i];
}

static void settle(const struct first *f)
{
	if (f->acked_ns == 0 || f->seen_ns == 0)
		return;
	finished++;
	if (started < opt.topics)
		start_first();
}

static void sender_input(struct conn *c)
{
	struct rm_reply r;
	while (rm_next(c, &r)) {
		if (!r.response)
			continue;
		struct first *f = first_of(&r);
		if (r.code != 0)
			errors_add(&errors, r.code);
		f->acked_ns = c->read_ns;
		settle(f);
	}
	last_ns = c->read_ns;
}

static void puller_input(struct conn *c)
{
	struct rm_reply r;
	while (rm_next(c, &r)) {
		if (!r.response)
			continue;
		struct first *f = first_of(&r);
		if (r.code == NOT_FOUND && f->seen_ns == 0) {
			put_pull((int)(f - firsts));
			continue;
		}
		if (r.code != FOUND)
			errors_add(&errors, r.code);
		f->seen_ns = c->read_ns;
		settle(f);
	}
	last_ns = c->read_ns;
}

static void print_visibility(void)
{
	static struct hist from_send, from_ack;
	int late = 0, unseen = 0;
	for (int i = 0; i < opt.topics; i++) {
		const struct first *f = &firsts[i];
		if (f->seen_ns == 0) {
			unseen++;
			continue;
		}
		hist_add(&from_send, f->seen_ns - f->sent_ns);
		hist_add(&from_ack, f->seen_ns > f->acked_ns ? f->seen_ns - f->acked_ns : 0);
		late += f->seen_ns - f->acked_ns > LATE_MS * (SECOND_NS / 1000) && f->seen_ns > f->acked_ns;
	}
	hist_print(&from_send, "seen_");
	hist_print(&from_ack, "seen_after_ack_");
	printf(" late=%d unseen=%d", late, unseen);
}

void mode_topics(void)
{
	uint64_t cpu = proc_cpu_us(opt.server_pid), rss = proc_rss_kb(opt.server_pid);
	if (opt.topics < 1)
		fatal("--topics says how many");
	conn_open(&creator, opt.port, creator_input, NULL);
	uint64_t start = now_ns();
	while (started < opt.topics && started < opt.window)
		put_creation(started++);
	conn_flush(&creator);
	wait_for_all();
	double create_s = (double)(now_ns() - start) / 1e9;
	printf("mode=topics server=%s topics=%d window=%d queues=%d", opt.label, opt.topics, opt.window, opt.queues);
	printf(" created=%d create_s=%.3f rate=%.0f", finished, create_s, finished / create_s);
	bool all = finished == opt.topics && errors.total == 0;
	if (all) {
		firsts = calloc((size_t)opt.topics, sizeof *firsts);
		started = finished = 0;
		conn_open(&puller, opt.port, puller_input, NULL);
		conn_open(&sender, opt.port, sender_input, NULL);
		start = now_ns();
		while (started < opt.topics && started < opt.window)
			start_first();
		wait_for_all();
		printf(" first_s=%.3f", (double)(now_ns() - start) / 1e9);
		print_visibility();
	}
	if (opt.server_pid > 0)
		printf(" server_cpu_s=%.2f rss_kb_per_1000=%.0f", (double)(proc_cpu_us(opt.server_pid) - cpu) / 1e6,
		       ((double)proc_rss_kb(opt.server_pid) - (double)rss) * 1000 / opt.topics);
	errors_print(&errors);
	verdict(!all ? "creation-failed" : errors.total > 0 ? "errors" : finished < opt.topics ? "not-all-seen" : NULL);
}
