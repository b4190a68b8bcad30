/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What main.c asks of crash.c. */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

#include "tests/sim/crash.h"

struct run_report {
	uint64_t crashes, messages, acked, checked, carried, calls;
};

/* One life of a store; adds to the report. Does not return when something broke. */
void run_life(const struct options *opt, uint64_t seed, unsigned crashes, struct run_report *ret);

#endif
