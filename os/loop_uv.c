/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Poll and turn. libuv runs timers before the poll and checks after it, so a timer that fires must also keep the poll from
 * waiting: it starts the idle handle, whose presence makes the poll's timeout zero.
 */
#include "os/loop_uv.h"

#include <stdbool.h>

#include "base/obj.h"

#define SPIN_NS UINT64_C(50000)  /* how long a poll may be awaited awake */
#define WORTH_MAX 32             /* an arrival in that time is worth 1 ... */
#define WORTH_MISS 4             /* ... and waiting in vain costs this much */
#define WORTH_TRY_EVERY 128u     /* when it did not pay: arrivals until the next try */

static void loop_idle(uv_idle_t *h) { (void)h; }

static void loop_woken(uv_async_t *h) { loop_fed(h->loop); }

static void loop_due(uv_timer_t *t)
{
	struct loop *l = container_of(t, struct loop, timer);

	loop_again(l);
}

/* Is the next poll to be awaited awake? 'now' is the time after the turn. */
static bool loop_spins(struct loop *l, uint64_t now)
{
	if (l->events != l->seen) {
		if (l->spin_until != 0 && l->worth < WORTH_MAX)
			l->worth++;
		if (l->worth <= 0 && l->events / WORTH_TRY_EVERY != l->seen / WORTH_TRY_EVERY)
			l->worth = 1;
		l->seen = l->events;
		l->spin_until = l->worth > 0 ? now + SPIN_NS : 0;
	} else if (l->spin_until != 0 && now >= l->spin_until) {
		l->worth -= WORTH_MISS;
		l->spin_until = 0;
	}
	return l->spin_until != 0;
}

static void loop_turn(uv_check_t *c)
{
	struct loop *l = container_of(c, struct loop, check);
	uint64_t now = clock_mono_ns(l->clock), due;

	CHECK(uv_idle_stop(&l->again) == 0);
	due = l->turn(l->arg, now);
	if (loop_spins(l, clock_mono_ns(l->clock)))
		loop_again(l);
	if (due == NEVER)
		return;
	/* A timer that is set for earlier stays: it comes, finds nothing to do, and is set anew. */
	if (uv_is_active((uv_handle_t *)&l->timer) && l->armed <= due && due != 0)
		return;
	/* Rounded up: a turn that comes before its deadline would find nothing to do. */
	now = clock_mono_ns(l->clock);
	if (due <= now) {
		loop_again(l);
		return;
	}
	uv_update_time(&l->uv);
	CHECK(uv_timer_start(&l->timer, loop_due, (due - now + MS_NS - 1) / MS_NS, 0) == 0);
	l->armed = due;
}

void loop_init(struct loop *l, struct clock *clock, uint64_t (*turn)(void *arg, uint64_t now_ns), void *arg)
{
	CHECK(l != NULL && clock != NULL && turn != NULL);
	*l = (struct loop){.clock = clock, .turn = turn, .arg = arg};
	CHECK(uv_loop_init(&l->uv) == 0);
	l->uv.data = l;
	l->worth = 1;
	CHECK(uv_check_init(&l->uv, &l->check) == 0);
	CHECK(uv_timer_init(&l->uv, &l->timer) == 0);
	CHECK(uv_idle_init(&l->uv, &l->again) == 0);
	CHECK(uv_async_init(&l->uv, &l->wake, loop_woken) == 0);
	CHECK(uv_check_start(&l->check, loop_turn) == 0);
	loop_again(l);
}

void loop_run(struct loop *l)
{
	CHECK(l != NULL);
	uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l) { uv_stop(&l->uv); }

void loop_again(struct loop *l) { CHECK(uv_idle_start(&l->again, loop_idle) == 0); }

void loop_wake(struct loop *l) { CHECK(uv_async_send(&l->wake) == 0); }

void loop_fini(struct loop *l)
{
	CHECK(l != NULL);
	uv_close((uv_handle_t *)&l->wake, NULL);
	uv_close((uv_handle_t *)&l->check, NULL);
	uv_close((uv_handle_t *)&l->timer, NULL);
	uv_close((uv_handle_t *)&l->again, NULL);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	CHECK(uv_loop_close(&l->uv) == 0);
}
