/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Virtual time, and the one heap of what will happen. Nothing in a simulated world waits: the clock jumps from event to event. The wall
 * clock runs along, and steps either way when a test says so.
 */
#ifndef TESTS_SIM_CLOCK_H
#define TESTS_SIM_CLOCK_H

#include "base/clock.h"
#include "base/heap.h"

struct sim_event {
	struct heap_node node;
	void (*fire)(struct sim_event *); /* it has left the heap; may be set again */
};

struct sim_clock {
	struct clock base;
	uint64_t now_ns;
	int64_t wall_ms; /* wall time at now_ns 0 */
	struct heap events;
};

void sim_clock_init(struct sim_clock *c);
void sim_clock_fini(struct sim_clock *c);
/* Fires 'in_ns' from now; an event that is set already is moved. */
void sim_event_set(struct sim_clock *c, struct sim_event *e, uint64_t in_ns);
void sim_event_stop(struct sim_clock *c, struct sim_event *e);
/* When the next event is due; NEVER when there is none. */
uint64_t sim_clock_next(const struct sim_clock *c);
/* Jumps to 'to_ns' (not back) and fires what is due until then, each at its own time. */
void sim_clock_run(struct sim_clock *c, uint64_t to_ns);
/* The wall clock is set. */
void sim_clock_step_wall(struct sim_clock *c, int64_t by_ms);

#endif
