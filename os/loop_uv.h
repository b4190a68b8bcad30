/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The loop: poll, then one turn of everything pure, for ever. Events of the poll (bytes, finished disk operations) only feed; the
 * turn decides and answers; so all that came in during one poll is handled, written and synced together.
 */
#ifndef OS_LOOP_UV_H
#define OS_LOOP_UV_H

#include <uv.h>

#include "base/clock.h"

struct loop {
	uv_loop_t uv;
	uv_check_t check;   /* runs the turn after each poll */
	uv_timer_t timer;   /* ends a poll when the turn's deadline comes */
	uv_idle_t again;    /* active while the next poll must not wait */
	uv_async_t wake;    /* ends a poll for other threads */
	struct clock *clock;
	uint64_t events;    /* arrivals so far: who feeds the loop counts them (loop_fed) */
	uint64_t seen;      /* of these, at the last turn */
	uint64_t spin_until; /* until then polls do not wait */
	int worth;          /* how well waiting awake has paid lately; <= 0: it does not */
	uint64_t armed;     /* the deadline that the timer is set for, while it is active */
	uint64_t (*turn)(void *arg, uint64_t now_ns); /* returns its next deadline; 0: again after a poll that does not wait */
	void *arg;
};

void loop_init(struct loop *l, struct clock *clock, uint64_t (*turn)(void *arg, uint64_t now_ns), void *arg);
/* Runs until loop_stop. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
/*
 * Something came from outside. A peer that talks in turns with us has its next request ready within microseconds, while falling asleep and being woken
 * costs tens of them: so after an arrival the loop polls awake for a short while, as long as that pays.
 */
static inline void loop_fed(uv_loop_t *uv)
{
	if (uv->data != NULL)
		((struct loop *)uv->data)->events++;
}
/* Makes the next poll return at once; for state that changed outside of poll and turn. */
void loop_again(struct loop *l);
/* From any thread: a turn is wanted. Calls until that turn are one. Not after loop_fini has begun. */
void loop_wake(struct loop *l);
/* Everything else on the loop must be closed or closing; its close callbacks run in here. */
void loop_fini(struct loop *l);

#endif
