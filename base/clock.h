/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Time, injected. Mono runs every timer; wall only stamps messages. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct clock;
struct clock_ops {
	uint64_t (*mono_ns)(struct clock *); /* never steps back */
	int64_t (*wall_ms)(struct clock *);  /* since 1970, may step either way */
};
struct clock {
	const struct clock_ops *ops;
};
static inline uint64_t clock_mono_ns(struct clock *c) { return c->ops->mono_ns(c); }
static inline int64_t clock_wall_ms(struct clock *c) { return c->ops->wall_ms(c); }

#define MS_NS UINT64_C(1000000)
#define SEC_NS UINT64_C(1000000000)
#define NEVER UINT64_MAX /* "no deadline" wherever a deadline in mono ns is returned */

#endif
