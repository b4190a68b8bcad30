/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The world's turn. */
#include "tests/sim/world.h"

#include "base/mem.h"
#include "base/obj.h"

enum { LOG_KEEP = 2000 };
#define TURN_NS_MAX 20000u /* what a turn of the engine takes, at most */

void sim_world_init(struct sim_world *w, uint64_t seed, const struct engine_conf *conf, const struct sim_disk_conf *disk, enum log_level level)
{
	*w = (struct sim_world){.conf = *conf};
	prng_init(&w->prng, seed);
	prng_init(&w->engine_prng, prng_u64(&w->prng));
	sim_clock_init(&w->clock);
	w->disk = sim_disk_new(&w->clock, disk, prng_u64(&w->prng));
	sim_log_init(&w->log, &w->clock, level, LOG_KEEP);
}

void sim_world_fini(struct sim_world *w)
{
	CHECK(w->engine == NULL);
	sim_disk_free(w->disk);
	sim_log_fini(&w->log);
	sim_clock_fini(&w->clock);
}

enum status sim_world_open(struct sim_world *w)
{
	struct engine_env env = {&w->clock.base, &w->disk->base, &w->engine_prng, &w->log.base};
	struct engine *e = NULL;

	CHECK(w->engine == NULL);
	w->why[0] = '\0';
	enum status st = engine_open(&e, &env, &w->conf, w->why, sizeof(w->why));

	if (st == ST_OK)
		w->engine = e;
	return st;
}

/* The clock does not jump when the turn has set the flag. */
static bool turn(struct sim_world *w, uint64_t until_ns, const bool *flag)
{
	uint64_t now = w->clock.now_ns;

	if (now >= until_ns)
		return false;
	w->turns++;
	w->deadline = engine_turn(w->engine);
	if (flag != NULL && *flag)
		return true;
	uint64_t next = u64_min(w->deadline, sim_clock_next(&w->clock));

	if (next == NEVER && until_ns == NEVER)
		return false;
	/* The turn itself has taken some time. */
	next = u64_max(next, now + 1 + prng_below(&w->prng, TURN_NS_MAX));
	sim_clock_run(&w->clock, u64_min(next, until_ns));
	return true;
}

bool sim_world_turn(struct sim_world *w, uint64_t until_ns)
{
	return turn(w, until_ns, NULL);
}

bool sim_world_until(struct sim_world *w, const bool *flag, uint64_t ns)
{
	uint64_t until = w->clock.now_ns + ns;

	while (!*flag && turn(w, until, flag))
		;
	return *flag;
}

void sim_world_run(struct sim_world *w, uint64_t ns)
{
	uint64_t until = w->clock.now_ns + ns;

	while (sim_world_turn(w, until))
		;
}

void sim_world_crash(struct sim_world *w, enum sim_crash how)
{
	sim_disk_kill(w->disk);
	if (w->engine != NULL)
		engine_abandon(w->engine);
	w->engine = NULL;
	sim_disk_crash(w->disk, how);
}
