/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A disk in memory that behaves as badly as base/disk.h permits, from one seed.
 *
 * What it keeps of a file: its bytes as programs see them now (the page cache), and for every sector that is not synced the content that
 * the platter surely has plus every version written since. A sync that ends makes the versions durable that stood when it began. A crash
 * picks one version for each sector, one length for each file, and a subset of the creates, renames and removes that no sync_dir covered:
 * each of them independently, except that what happened to one name or one file is kept in order.
 *
 * Async ops end through events of the simulated clock. Call numbers: every verb counts; at number 'crash_at' the disk dies (a write may
 * be half done), and answers everything with IO until sim_disk_crash.
 *
 * To crash a world: sim_disk_kill (ops under way are forgotten, their done() never comes), engine_abandon, sim_disk_crash, open again.
 */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include "base/disk.h"
#include "base/list.h"
#include "base/map.h"
#include "base/prng.h"
#include "tests/sim/clock.h"

#define SIM_SECTOR 512u
#define SIM_PAGE 4096u /* what space is counted in */

enum sim_verb {
	SIM_OPEN, SIM_WRITE, SIM_READ, SIM_SYNC, SIM_ZERO, SIM_TRUNCATE, SIM_SYNC_DIR, SIM_RENAME, SIM_REMOVE, SIM_LIST, SIM_SPACE, SIM_LOCK,
	SIM_VERB_COUNT
};

/* The nth call of a verb from now fails (1 = the next one); 0: off. */
struct sim_fault {
	uint64_t nth;
	bool for_ever; /* and all that follow */
	enum status status;
};

enum sim_crash {
	SIM_CRASH_RANDOM, /* each on its own */
	SIM_CRASH_OLD,    /* nothing that was not synced */
	SIM_CRASH_NEW,    /* everything, as if it had been synced */
	SIM_CRASH_KILL    /* the process only: the page cache lives on, what is not synced stays so */
};

struct sim_disk_conf {
	uint64_t latency_min_ns, latency_max_ns; /* of an async op */
	uint32_t sync_now_permille; /* hot syncs that end inside the call */
	uint32_t uncached_permille; /* cached_only reads that say BUSY */
	uint64_t quota;             /* bytes; 0: no limit worth the name */
	bool lying;                 /* syncs report success and do nothing */
};

struct sim_name {
	char *path;
	struct sim_inode *inode;
};
struct sim_names {
	struct sim_name *v;
	size_t n, cap;
};

struct sim_disk {
	struct disk base;
	struct sim_disk_conf conf;
	struct sim_clock *clock;
	struct prng prng;
	struct sim_names now, durable; /* the name space as seen, and as surely stored */
	struct list pending;     /* struct sim_dirop: between the two, in order */
	struct list inodes, ops, files;
	uint64_t seq;            /* number of the last change of any file */
	uint64_t used;           /* bytes allocated */
	uint64_t calls;          /* verbs so far */
	uint64_t crash_at;       /* die at this call number; 0: never */
	bool dead, locked;
	struct sim_fault faults[SIM_VERB_COUNT];
	uint64_t syncs, writes;  /* counters for reports */
};

struct sim_disk *sim_disk_new(struct sim_clock *clock, const struct sim_disk_conf *conf, uint64_t seed);
void sim_disk_free(struct sim_disk *d); /* kills first */
void sim_disk_fault(struct sim_disk *d, enum sim_verb verb, uint64_t nth, bool for_ever, enum status st);
void sim_disk_heal(struct sim_disk *d); /* no faults, no crash_at */
void sim_disk_kill(struct sim_disk *d);
/* After sim_disk_kill, with all files closed. The disk works again, without faults. */
void sim_disk_crash(struct sim_disk *d, enum sim_crash how);
static inline unsigned sim_disk_busy(const struct sim_disk *d) { return !list_empty(&d->ops); }

/* For checkers: a file's bytes as they are seen now; false when it is absent. Valid until the disk changes. */
bool sim_disk_bytes(struct sim_disk *d, const char *path, struct slice *ret);
/* Sets bytes behind everybody's back, durably: rot. */
void sim_disk_rot(struct sim_disk *d, const char *path, uint64_t at, uint8_t mask);
/* The path of the i-th file, in no order; NULL behind the last. */
const char *sim_disk_path(struct sim_disk *d, size_t i);

#endif
