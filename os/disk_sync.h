/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Where a hot sync runs: on the loop while syncs are quick, since a hop to a thread and back costs more than a quick sync; on the sync
 * thread while they are slow, since the loop has better to do than to wait. Pure, so that tests can drive it.
 */
#ifndef OS_DISK_SYNC_H
#define OS_DISK_SYNC_H

#include <stdbool.h>
#include <stdint.h>

enum {
	SYNC_WINDOW = 2048,         /* syncs that are remembered */
	SYNC_SLOW_MAX = 20,         /* so many of the window may be slow on the loop: 99 of 100 are quick */
	SYNC_TRIAL_MIN = 256,       /* so many quick ones on the thread give the loop a trial ... */
	SYNC_TRIAL_QUICK = 20,      /* ... quick: at most one slow among so many */
};
#define SYNC_SLOW_NS UINT64_C(500000)         /* a sync that takes longer is slow */
#define SYNC_TRIAL_NS UINT64_C(1000000000)    /* between two trials */

struct sync_place {
	bool on_thread;
	uint8_t slow[SYNC_WINDOW]; /* ring: 1 for a slow sync */
	uint32_t n, at, n_slow;
	uint64_t since;            /* when the place was last changed */
};

/* Says where the next sync should run. */
bool sync_place_on_loop(const struct sync_place *p);
/* Tells how long one took, wherever it ran; may change the place. */
void sync_place_took(struct sync_place *p, uint64_t now_ns, uint64_t took_ns);

#endif
