/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* See trace.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "record/record.h"
#include "tests/lib/trace.h"

#define BODY_MAX (256u << 10)
#define QUIET_MS 2000u

int trace_setup(void **state)
{
	struct trace *t = mem_new(sizeof *t);
	engine_conf_default(&t->conf);
	t->conf.segment_bytes = 1u << 20;
	t->conf.block_bytes = 16384;
	t->conf.max_message = 128u << 10;
	t->conf.unsynced_bytes = 512u << 10;
	/* With the largest record that is prepared on top it makes 512 KiB. */
	t->conf.ahead_bytes = t->conf.unsynced_bytes - (t->conf.max_message + RECORD_PROPS_MAX + RECORD_SIZE_MIN + 255 + RECORD_BLANK_SIZE);
	t->conf.snapshot_bytes = 1u << 30;
	t->conf.cache_bytes = 256u << 10;
	t->conf.auto_create_topic = false;
	t->disk = (struct sim_disk_conf){.latency_min_ns = TRACE_DISK_MS * MS_NS, .latency_max_ns = TRACE_DISK_MS * MS_NS};
	*state = t;
	return 0;
}

static void topic_made(struct engine_ask *a, enum status st)
{
	assert_int_equal(st, ST_OK);
	(void)a;
}

void trace_open(struct trace *t)
{
	struct engine_topic put = {.ask = {.done = topic_made}, .name = SLICE_LIT(TRACE_TOPIC),
		.conf = {.read_queues = 1, .write_queues = 1, .perm = PERM_READ | PERM_WRITE}};
	sim_world_init(&t->w, 1, &t->conf, &t->disk, LOG_TRACE);
	assert_int_equal(sim_world_open(&t->w), ST_OK);
	engine_topic_put(t->w.engine, &put);
	trace_run(t, QUIET_MS);
	trace_begin(t);
}

void trace_begin(struct trace *t)
{
	sim_log_clear(&t->w.log);
	t->w.log.began_ns = t->w.clock.now_ns;
}

void trace_run(struct trace *t, uint64_t ms)
{
	uint64_t until = t->w.clock.now_ns + ms * MS_NS;
	while (t->w.engine != NULL && sim_world_turn(&t->w, until))
		;
}

static void on_closed(void *arg)
{
	struct trace *t = arg;
	t->closed = true;
	log_trace(&t->w.log.base, "client", "< closed");
}

void trace_close(struct trace *t)
{
	log_trace(&t->w.log.base, "client", "> close");
	engine_close(t->w.engine, on_closed, t);
	assert_true(sim_world_until(&t->w, &t->closed, 60 * SEC_NS));
	t->w.engine = NULL;
}

int trace_teardown(void **state)
{
	struct trace *t = *state;
	if (t->w.engine != NULL)
		sim_world_crash(&t->w, SIM_CRASH_OLD);
	sim_world_fini(&t->w);
	mem_free(t);
	return 0;
}

static void send_done(struct engine_ask *a, enum status st)
{
	struct trace_send *s = container_of(a, struct trace_send, send.ask);
	s->done = true;
	if (st == ST_OK)
		log_trace(&s->t->w.log.base, "client", "< %s OK offset=%llu durable=%d", s->name, (unsigned long long)s->send.offset, s->send.durable);
	else
		log_trace(&s->t->w.log.base, "client", "< %s %s", s->name, status_name(st));
}

void trace_send(struct trace *t, struct trace_send *s, const char *name, size_t size, const char *props)
{
	static const uint8_t body[BODY_MAX];
	assert_true(size <= BODY_MAX);
	*s = (struct trace_send){.t = t, .name = name};
	s->send.ask.done = send_done;
	s->send.msg = (struct msg){.topic = SLICE_LIT(TRACE_TOPIC), .body = slice_of(body, size), .props = slice_str(props), .max_reconsume = -1};
	log_trace(&t->w.log.base, "client", "> %s", name);
	engine_send(t->w.engine, &s->send);
}

static void pull_done(struct engine_ask *a, enum status st)
{
	struct trace_pull *p = container_of(a, struct trace_pull, pull.ask);
	p->done = true;
	log_trace(&p->t->w.log.base, "client", "< %s %s count=%u", p->name, status_name(st), p->pull.count);
}

void trace_pull(struct trace *t, struct trace_pull *p, const char *name, uint64_t from, uint64_t wait_ms)
{
	*p = (struct trace_pull){.t = t, .name = name};
	p->pull.ask.done = pull_done;
	p->pull.topic = SLICE_LIT(TRACE_TOPIC);
	p->pull.from = from;
	p->pull.max_msgs = 32;
	p->pull.max_bytes = 1u << 20;
	p->pull.wait_ms = wait_ms;
	log_trace(&t->w.log.base, "client", "> %s", name);
	engine_pull(t->w.engine, &p->pull);
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool same(const char *want, struct slice got)
{
	size_t i = 0;
	for (; *want != '\0'; want++) {
		if (*want == '#') {
			size_t from = i;
			while (i < got.n && is_digit(got.p[i]))
				i++;
			if (i == from)
				return false;
		} else if (i == got.n || got.p[i++] != (uint8_t)*want) {
			return false;
		}
	}
	return i == got.n;
}

void trace_expect(struct trace *t, const char *story)
{
	struct buf got = {0};
	const char *line;
	for (size_t i = 0; (line = sim_log_line(&t->w.log, i)) != NULL; i++)
		buf_fmt(&got, "%s\n", line);
	sim_log_clear(&t->w.log);
	if (!same(story, buf_view(&got))) {
		fprintf(stderr, "---- expected\n%s---- but this happened\n%.*s----\n", story, (int)got.n, (const char *)got.p);
		buf_fini(&got);
		fail_msg("%s", "another story");
	}
	buf_fini(&got);
}
