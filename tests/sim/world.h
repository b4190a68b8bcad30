/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A whole broker in one thread: virtual time, a simulated disk, a captured log, and the real engine, all from one seed. The world's turn
 * is that of the process: run the engine, then jump to whatever comes first, an event or the engine's next deadline.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "engine/engine.h"
#include "tests/sim/clock.h"
#include "tests/sim/disk.h"
#include "tests/sim/log.h"

struct sim_world {
	struct sim_clock clock;
	struct sim_disk *disk;
	struct sim_log log;
	struct prng prng;        /* the world's own dice */
	struct prng engine_prng; /* the engine's */
	struct engine_conf conf;
	struct engine *engine;   /* NULL: not running */
	char why[512];           /* of the last failed open */
	uint64_t deadline;       /* from the last turn */
	uint64_t turns;
};

void sim_world_init(struct sim_world *w, uint64_t seed, const struct engine_conf *conf, const struct sim_disk_conf *disk, enum log_level level);
void sim_world_fini(struct sim_world *w);
enum status sim_world_open(struct sim_world *w);
/* One turn of the engine, then time goes on; never beyond 'until_ns'. False: nothing will ever happen by itself, or 'until_ns' is reached. */
bool sim_world_turn(struct sim_world *w, uint64_t until_ns);
/* Turns until *flag, for at most 'ns' of virtual time. */
bool sim_world_until(struct sim_world *w, const bool *flag, uint64_t ns);
void sim_world_run(struct sim_world *w, uint64_t ns);
/* Ends the engine as a crash would, and leaves the disk as one may. The engine's requests are never answered. */
void sim_world_crash(struct sim_world *w, enum sim_crash how);

#endif
