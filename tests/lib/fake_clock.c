/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/lib/fake_clock.h"

#include "base/obj.h"

static uint64_t mono(struct clock *c)
{
	return container_of(c, struct fake_clock, base)->ns;
}

static int64_t wall(struct clock *c)
{
	const struct fake_clock *k = container_of(c, struct fake_clock, base);

	return k->wall_ms + (int64_t)(k->ns / MS_NS);
}

static const struct clock_ops clock_ops = {mono, wall};

void fake_clock_init(struct fake_clock *c)
{
	*c = (struct fake_clock){{&clock_ops}, SEC_NS, 1700000000000};
}
