/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Virtual time. */
#include "tests/sim/clock.h"

#include "base/obj.h"

#define WALL_AT_START INT64_C(1700000000000)

static uint64_t mono_ns(struct clock *base)
{
	return container_of(base, struct sim_clock, base)->now_ns;
}

static int64_t wall_ms(struct clock *base)
{
	struct sim_clock *c = container_of(base, struct sim_clock, base);

	return c->wall_ms + (int64_t)(c->now_ns / MS_NS);
}

static const struct clock_ops clock_ops = {.mono_ns = mono_ns, .wall_ms = wall_ms};

void sim_clock_init(struct sim_clock *c)
{
	/* Not at 0: a deadline of 0 has a meaning of its own. */
	*c = (struct sim_clock){.base = {&clock_ops}, .now_ns = SEC_NS, .wall_ms = WALL_AT_START};
}

void sim_clock_fini(struct sim_clock *c)
{
	heap_fini(&c->events);
}

void sim_event_set(struct sim_clock *c, struct sim_event *e, uint64_t in_ns)
{
	CHECK(e->fire != NULL);
	heap_put(&c->events, &e->node, c->now_ns + in_ns);
}

void sim_event_stop(struct sim_clock *c, struct sim_event *e)
{
	heap_drop(&c->events, &e->node);
}

uint64_t sim_clock_next(const struct sim_clock *c)
{
	const struct heap_node *n = heap_first(&c->events);

	return n == NULL ? NEVER : n->due;
}

void sim_clock_run(struct sim_clock *c, uint64_t to_ns)
{
	struct heap_node *n;

	CHECK(to_ns >= c->now_ns && to_ns != NEVER);
	while ((n = heap_first(&c->events)) != NULL && n->due <= to_ns) {
		struct sim_event *e = container_of(n, struct sim_event, node);

		c->now_ns = u64_max(c->now_ns, n->due);
		heap_drop(&c->events, n);
		e->fire(e);
	}
	c->now_ns = u64_max(c->now_ns, to_ns);
}

void sim_clock_step_wall(struct sim_clock *c, int64_t by_ms)
{
	c->wall_ms += by_ms;
}
