/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/lib/engine_rig.h"

#include "base/obj.h"

void rig_init(struct rig *r)
{
	memset(r, 0, sizeof *r);
	memdisk_init(&r->disk);
	testlog_init(&r->log);
	fake_clock_init(&r->clock);
	prng_init(&r->prng, 7);
	engine_conf_default(&r->conf);
	r->conf.segment_bytes = 1u << 20;
	r->conf.block_bytes = 16384;
	r->conf.max_message = 64u << 10;
	r->conf.unsynced_bytes = r->conf.ahead_bytes = 512u << 10;
	r->conf.snapshot_bytes = 256u << 10;
	r->conf.cache_bytes = 256u << 10;
	r->conf.auto_create_topic = false;
}

enum status rig_try_open(struct rig *r)
{
	struct engine_env env = {&r->clock.base, &r->disk.disk, &r->prng, &r->log.log};

	return engine_open(&r->e, &env, &r->conf, r->why, sizeof r->why);
}

void rig_open(struct rig *r)
{
	enum status st = rig_try_open(r);

	if (st != ST_OK)
		PANIC("engine_open: %s: %s", status_name(st), r->why);
	rig_turns(r, 3); /* the first space is prepared */
}

void rig_run(struct rig *r, uint64_t ms)
{
	uint64_t end = r->clock.ns + ms * MS_NS;

	for (unsigned i = 0; i < 1000000 && r->e != NULL; i++) {
		uint64_t due = engine_turn(r->e);
		memdisk_run(&r->disk);
		if (due <= r->clock.ns) {
			r->clock.ns++; /* a turn takes some time at least */
			continue;
		}
		if (r->clock.ns >= end)
			return;
		r->clock.ns = u64_min(due, end);
	}
}

void rig_turns(struct rig *r, unsigned n)
{
	for (; n > 0 && r->e != NULL; n--) {
		engine_turn(r->e);
		memdisk_run(&r->disk);
		r->clock.ns += 1000;
	}
}

static void on_closed(void *arg)
{
	((struct rig *)arg)->e = NULL;
}

void rig_close(struct rig *r)
{
	engine_close(r->e, on_closed, r);
	for (unsigned i = 0; i < 10000 && r->e != NULL; i++)
		rig_run(r, 10);
	CHECK(r->e == NULL);
}

void rig_restart(struct rig *r)
{
	rig_close(r);
	rig_open(r);
}

void rig_crash(struct rig *r, struct prng *torn)
{
	engine_abandon(r->e);
	r->e = NULL;
	memdisk_run(&r->disk);
	memdisk_crash(&r->disk, torn);
	rig_open(r);
}

void rig_fini(struct rig *r)
{
	if (r->e != NULL)
		rig_close(r);
	memdisk_fini(&r->disk);
}
