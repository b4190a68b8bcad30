/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Hot syncs move to the thread when more than one in a hundred of the last 2,048 was slow (a short burst, as the zeroing of space ahead makes
 * every few seconds, is no reason). They come back for a trial, at most once a second, when the thread's were quick; a trial begins with an
 * empty window, so it costs twenty-one slow syncs at most.
 */
#include "os/disk_sync.h"

#include "base/obj.h"

bool sync_place_on_loop(const struct sync_place *p) { return !p->on_thread; }

static void place_move(struct sync_place *p, uint64_t now_ns)
{
	*p = (struct sync_place){.on_thread = !p->on_thread, .since = now_ns};
}

void sync_place_took(struct sync_place *p, uint64_t now_ns, uint64_t took_ns)
{
	uint8_t slow = took_ns > SYNC_SLOW_NS;

	CHECK(p->at < SYNC_WINDOW && p->n_slow <= p->n);
	if (p->n == SYNC_WINDOW)
		p->n_slow -= p->slow[p->at];
	else
		p->n++;
	p->slow[p->at] = slow;
	p->n_slow += slow;
	p->at = (p->at + 1) % SYNC_WINDOW;
	if (!p->on_thread) {
		if (p->n_slow > SYNC_SLOW_MAX)
			place_move(p, now_ns);
	} else if (p->n >= SYNC_TRIAL_MIN && p->n_slow * SYNC_TRIAL_QUICK <= p->n && now_ns - p->since >= SYNC_TRIAL_NS) {
		place_move(p, now_ns);
	}
}
