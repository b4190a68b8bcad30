/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* A clock that stands until the test moves it; the time of day goes along. */
#ifndef TESTS_LIB_FAKE_CLOCK_H
#define TESTS_LIB_FAKE_CLOCK_H

#include "base/clock.h"

struct fake_clock {
	struct clock base;
	uint64_t ns;
	int64_t wall_ms; /* the time of day when 'ns' was 0 */
};
void fake_clock_init(struct fake_clock *c);

#endif
