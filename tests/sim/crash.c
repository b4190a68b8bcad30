/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* One life of a store: a random configuration, and crashes until it ends. */
#include "tests/sim/native.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/be.h"
#include "tests/sim/run.h"

#define QUIET_NS (60 * SEC_NS)

bool one_in(struct life *l, uint64_t n)
{
	return prng_below(&l->prng, n) == 0;
}

uint64_t below(struct life *l, uint64_t n)
{
	return prng_below(&l->prng, n);
}

const char *group_of(int group)
{
	static const char *const names[GROUPS] = {"readers", "writers", "others"};

	return names[group];
}

_Noreturn void fail(struct life *l, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "---- the last of the log\n");
	sim_log_tail(&l->world.log, 60);
	fprintf(stderr, "---- FAILED: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n     life seed=%llu crash=%u call=%llu time=%llu ms segment=%llu block=%u flush=%s\n", (unsigned long long)l->seed, l->crash_no,
		(unsigned long long)l->world.disk->calls, (unsigned long long)(l->world.clock.now_ns / MS_NS),
		(unsigned long long)l->world.conf.segment_bytes, l->world.conf.block_bytes, l->world.conf.flush == FLUSH_SYNC ? "sync" : "async");
	fprintf(stderr, "     again: sim --seed %llu --crashes 1 --steps %u%s --verbose\n", (unsigned long long)l->seed, l->opt->steps,
		l->opt->lying ? " --lying-sync" : "");
	_Exit(1); /* nothing is freed: what leaks is of no interest now */
}

/* ---- Bodies ----------------------------------------------------------------------------------------------------------------- */

static uint8_t body_byte(uint64_t id, uint32_t i)
{
	uint64_t v = (id * 0x9e3779b97f4a7c15u) ^ (i / 8);

	return (uint8_t)((v ^ v >> 29) >> i % 8 * 7);
}

void body_put(struct buf *b, uint64_t id, uint32_t size)
{
	uint8_t *to = buf_room(b, size);

	CHECK(size >= BODY_MIN);
	be64_put(to, id);
	be32_put(to + 8, size);
	for (uint32_t i = BODY_MIN; i < size; i++)
		to[i] = body_byte(id, i);
	buf_used(b, size);
}

uint64_t body_id(struct slice body)
{
	if (body.n < BODY_MIN || be32_get(body.p + 8) != body.n)
		return 0;
	uint64_t id = be64_get(body.p);

	for (uint32_t i = BODY_MIN; i < body.n; i++)
		if (body.p[i] != body_byte(id, i))
			return 0;
	return id;
}

/* ---- A configuration that makes trouble ------------------------------------------------------------------------------------------ */

static void random_conf(struct life *l, struct engine_conf *c, struct sim_disk_conf *d)
{
	engine_conf_default(c);
	c->block_bytes = 4096u << below(l, 5);
	c->segment_bytes = UINT64_C(65536) << below(l, 5);
	if (c->segment_bytes < 2 * c->block_bytes)
		c->segment_bytes = 2 * c->block_bytes;
	/* The largest record must fit into a segment, with all properties that it may have. */
	c->max_message = (uint32_t)(1000 + below(l, c->segment_bytes - 36000));
	if (c->max_message > 100000)
		c->max_message = 100000;
	uint64_t largest = c->max_message + 36000;

	c->ahead_bytes = largest + below(l, 2 * c->segment_bytes);
	c->unsynced_bytes = largest + below(l, 4 * c->segment_bytes);
	c->snapshot_bytes = 20000 + below(l, 500000);
	c->cache_bytes = 4 * c->block_bytes + below(l, 500000);
	c->flush = one_in(l, 5) ? FLUSH_ASYNC : FLUSH_SYNC;
	c->flush_async_ms = (uint32_t)(10 + below(l, 500));
	c->reserved_ms = 0;
	c->lease_ms = 1000;
	c->young_bytes = 100000;
	c->feed_linger_ms = (uint32_t)below(l, 2) * (uint32_t)below(l, 3000);
	if (one_in(l, 4))
		c->max_cells = CELL_SPACES * CELLS - 3;
	for (unsigned i = 0; i < ARRAY_LEN(c->delay_ms); i++)
		c->delay_ms[i] = 20 + i * i * 20;
	l->uniform = one_in(l, 5);
	if (one_in(l, 6)) {
		l->forgets = true;
		c->retain_bytes = (3 + below(l, 8)) * c->segment_bytes;
		c->keep_unconsumed = one_in(l, 3);
	}
	l->tight = c->keep_unconsumed;
	*d = (struct sim_disk_conf){
		.latency_min_ns = below(l, 100000),
		.sync_now_permille = one_in(l, 3) ? 0 : (uint32_t)below(l, 1000),
		.uncached_permille = (uint32_t)below(l, 500),
		.lying = l->opt->lying,
	};
	if (one_in(l, 8)) {
		l->tight = true;
		d->quota = (6 + below(l, 20)) * c->segment_bytes + 500000;
		c->disk_reserve_bytes = below(l, 2 * c->segment_bytes);
	}
	l->clients = one_in(l, 2);
	d->latency_max_ns = d->latency_min_ns + 1 + below(l, one_in(l, 4) ? 20 * MS_NS : 2 * MS_NS);
}

/* ---- Crashes ------------------------------------------------------------------------------------------------------------------------ */

static enum sim_crash random_crash(struct life *l)
{
	if (l->world.conf.flush == FLUSH_ASYNC && one_in(l, 2))
		return SIM_CRASH_KILL;
	switch (below(l, 8)) {
	case 0: return SIM_CRASH_KILL;
	case 1: return SIM_CRASH_NEW;
	case 2: return SIM_CRASH_OLD;
	default: return SIM_CRASH_RANDOM;
	}
}

static void crash_world(struct life *l, enum sim_crash how)
{
	l->crash_no++;
	if (l->opt->verbose)
		fprintf(stderr, "---- crash %u (%s) at call %llu\n", l->crash_no, how == SIM_CRASH_KILL ? "process" : how == SIM_CRASH_OLD ? "old" :
			how == SIM_CRASH_NEW ? "new" : "random", (unsigned long long)l->world.disk->calls);
	sim_world_crash(&l->world, how);
	work_crashed(l);
}

/* What a crash may lose is decided by the worst of those since the last check. */
static enum sim_crash worse(enum sim_crash a, enum sim_crash b)
{
	return a == SIM_CRASH_KILL ? b : a;
}

/* Opens the store, with further crashes while it recovers. */
static enum sim_crash open_world(struct life *l, enum sim_crash how)
{
	for (;;) {
		bool doomed = one_in(l, 3) && l->crash_no > 0;

		if (doomed)
			l->world.disk->crash_at = l->world.disk->calls + 1 + below(l, one_in(l, 2) ? 10 : 60);
		enum status st = sim_world_open(&l->world);

		if (!l->world.disk->dead) {
			MUST(l, st == ST_OK, "the store does not open: %s: %s", status_name(st), l->world.why);
			sim_disk_heal(l->world.disk);
			native_open(l);
			return how;
		}
		enum sim_crash again = random_crash(l);

		how = worse(how, again);
		crash_world(l, again);
	}
}

static void inject_fault(struct life *l)
{
	static const enum sim_verb verbs[] = {SIM_WRITE, SIM_SYNC, SIM_ZERO, SIM_TRUNCATE, SIM_OPEN, SIM_RENAME, SIM_SYNC_DIR, SIM_READ, SIM_REMOVE};
	enum sim_verb v = verbs[below(l, ARRAY_LEN(verbs))];

	sim_disk_fault(l->world.disk, v, 1 + below(l, 40), one_in(l, 4), v == SIM_SYNC || v == SIM_READ || one_in(l, 2) ? ST_IO : ST_DISK_FULL);
	l->faulty = true;
}

static void work(struct life *l)
{
	unsigned steps = (unsigned)below(l, l->opt->steps) + 1;

	if (!one_in(l, 4))
		l->world.disk->crash_at = l->world.disk->calls + 1 + below(l, one_in(l, 3) ? 30 : 600);
	if (one_in(l, 6))
		inject_fault(l);
	for (unsigned i = 0; i < steps; i++) {
		if (one_in(l, 50))
			sim_clock_step_wall(&l->world.clock, (int64_t)below(l, 4000) - 2000);
		work_step(l);
		uint64_t until = l->world.clock.now_ns + below(l, one_in(l, 20) ? 300 * MS_NS : 2 * MS_NS);

		while (sim_world_turn(&l->world, until))
			;
		/* A few more turns on the dead disk: nothing that it should not say may be said. */
		if (l->world.disk->dead && one_in(l, 3))
			return;
	}
}

static void note_closed(void *arg)
{
	*(bool *)arg = true;
}

/* Lets everything that was asked be answered, and all delays pass; then nothing may be missing. */
static void end_life(struct life *l)
{
	l->ending = true;
	native_flush(l);
	sim_world_run(&l->world, QUIET_NS);
	MUST(l, list_empty(&l->ops), "%u requests are not answered on a healthy disk", l->n_ops);
	check_end(l, false);
	tap_drain(l);
	lease_drain(l);
	check_end(l, true);
	if (one_in(l, 2)) {
		bool closed = false;

		native_stop(l);
		engine_close(l->world.engine, note_closed, &closed);
		MUST(l, sim_world_until(&l->world, &closed, QUIET_NS), "the engine does not close");
		l->world.engine = NULL;
		sim_disk_kill(l->world.disk);
		sim_disk_crash(l->world.disk, SIM_CRASH_OLD);
		work_crashed(l);
		open_world(l, SIM_CRASH_OLD);
		check_all(l, SIM_CRASH_OLD, l->world.clock.now_ns);
		check_end(l, true);
	}
	sim_world_crash(&l->world, SIM_CRASH_KILL);
}

static void life_fini(struct life *l)
{
	work_crashed(l);
	for (int g = 0; g < GROUPS; g++)
		for (int t = 0; t < TOPICS; t++)
			for (int q = 0; q < QUEUES; q++)
				mem_free(l->offsets[g][t][q].history);
	cell_fini(l);
	sim_world_fini(&l->world);
	mem_free(l->msgs);
	buf_fini(&l->body);
	buf_fini(&l->props);
}

void run_life(const struct options *opt, uint64_t seed, unsigned crashes, struct run_report *ret)
{
	struct life *l = mem_new(sizeof(*l));
	struct engine_conf conf;
	struct sim_disk_conf disk;

	l->opt = opt;
	l->seed = seed;
	prng_init(&l->prng, seed);
	random_conf(l, &conf, &disk);
	sim_world_init(&l->world, prng_u64(&l->prng), &conf, &disk, opt->verbose ? LOG_TRACE : LOG_INFO);
	l->world.log.echo = opt->verbose;
	list_init(&l->ops);
	l->n_msgs = 1;
	l->msgs = mem_array(l->cap_msgs = 256, sizeof(*l->msgs));
	for (int i = 0; i < TOPICS; i++)
		snprintf(l->topics[i].name, sizeof(l->topics[i].name), "topic-%d", i);
	open_world(l, SIM_CRASH_OLD);
	while (l->crash_no < crashes) {
		work(l);
		uint64_t now = l->world.clock.now_ns;
		enum sim_crash how = random_crash(l);

		crash_world(l, how);
		how = open_world(l, how);
		check_all(l, how, now);
		l->faulty = false;
	}
	end_life(l);
	ret->crashes += l->crash_no;
	ret->messages += l->n_msgs - 1;
	ret->acked += l->acked;
	ret->checked += l->checked;
	ret->carried += l->carried;
	ret->calls += l->world.disk->calls;
	life_fini(l);
	mem_free(l);
}
