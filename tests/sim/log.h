/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Keeps the lines of the log as an array: "[ms] area key=value ...", ms since the world began. The story that a trace test compares, and
 * the tail that a failed simulation prints.
 */
#ifndef TESTS_SIM_LOG_H
#define TESTS_SIM_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"
#include "tests/sim/clock.h"

struct sim_log {
	struct log base;
	struct sim_clock *clock;
	uint64_t began_ns;
	char **lines;  /* the last 'keep' ones; a ring once it is full */
	size_t n;      /* lines ever */
	size_t keep;
	bool echo;     /* to stderr as well, as they come */
	size_t errors; /* lines of level ERROR ever */
};

void sim_log_init(struct sim_log *l, struct sim_clock *clock, enum log_level level, size_t keep);
void sim_log_fini(struct sim_log *l);
void sim_log_clear(struct sim_log *l);
/* The i-th line of those that are kept, oldest first; NULL behind the end. */
const char *sim_log_line(const struct sim_log *l, size_t i);
/* Is there a kept line that contains 'part'? */
bool sim_log_has(const struct sim_log *l, const char *part);
/* Prints the last n lines to stderr. */
void sim_log_tail(const struct sim_log *l, size_t n);

#endif
