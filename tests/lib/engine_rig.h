/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* An engine on a disk in memory with a clock that the test moves. */
#ifndef TESTS_LIB_ENGINE_RIG_H
#define TESTS_LIB_ENGINE_RIG_H

#include "engine/engine.h"
#include "tests/lib/fake_clock.h"
#include "tests/lib/memdisk.h"

struct rig {
	struct memdisk disk;
	struct testlog log;
	struct fake_clock clock;
	struct prng prng;
	struct engine_conf conf;
	struct engine *e;
	char why[256];
};
void rig_init(struct rig *r);                 /* conf may be changed before rig_open */
enum status rig_try_open(struct rig *r);      /* 'why' says why not */
void rig_open(struct rig *r);                 /* which must go well */
void rig_run(struct rig *r, uint64_t ms);     /* turns, for so long by the clock */
void rig_turns(struct rig *r, unsigned n);    /* turns, without moving the clock unless nothing is due */
void rig_close(struct rig *r);
void rig_restart(struct rig *r);              /* close, open */
void rig_crash(struct rig *r, struct prng *torn); /* what is not synced is lost; open */
void rig_fini(struct rig *r);

#endif
