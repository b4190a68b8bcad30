/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Stories: what the engine logs, line by line, in a world of virtual time (tests/sim/world.h) whose disk takes exactly 10 ms for what it does
 * beside the loop. A line is "[ms since the story began] area key=value ...". The test's own lines have the area "client": "> ..." is a request,
 * "< ..." an answer. Compared exactly, so that a changed order, a sync too many or an answer too early fails.
 */
#ifndef TESTS_LIB_TRACE_H
#define TESTS_LIB_TRACE_H

#include "base/buf.h"
#include "tests/sim/world.h"

#define TRACE_TOPIC "orders" /* is there when a story begins, with one queue */
#define TRACE_DISK_MS 10u

struct trace {
	struct sim_world w;
	struct engine_conf conf;     /* for the open; a test may change it first */
	struct sim_disk_conf disk;
	bool closed;
};

/* Requests whose answers are lines. */
struct trace_send {
	struct engine_send send;
	struct trace *t;
	const char *name;
	bool done;
};
struct trace_pull {
	struct engine_pull pull;
	struct trace *t;
	const char *name;
	bool done;
};

/* The fixture of a story, whose test finds the trace in *state. */
#define TRACE_TEST(name) cmocka_unit_test_setup_teardown(test_##name, trace_setup, trace_teardown)
int trace_setup(void **state);
int trace_teardown(void **state);
/* Opens the store, makes the topic, waits until all is quiet; the story's time begins. */
void trace_open(struct trace *t);
/* 'name' tells them apart in the story. The body is 'size' bytes. */
void trace_send(struct trace *t, struct trace_send *s, const char *name, size_t size, const char *props);
void trace_pull(struct trace *t, struct trace_pull *p, const char *name, uint64_t from, uint64_t wait_ms);
void trace_run(struct trace *t, uint64_t ms);
void trace_close(struct trace *t);
/*
 * The log's lines since the last call (or the story's begin) are these, each with its newline; '#' stands for any number. Fails the test and prints
 * both otherwise.
 */
void trace_expect(struct trace *t, const char *story);
/* What was logged so far is not part of the story; its time begins again. */
void trace_begin(struct trace *t);

#endif
