/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A small disk in memory for unit tests: base/disk.h with failures on demand, bytes to be damaged by hand, and crashes. Ops finish
 * inside the call unless 'later' is set, then from memdisk_run. One lock holder.
 */
#ifndef TESTS_LIB_MEMDISK_H
#define TESTS_LIB_MEMDISK_H

#include "base/disk.h"
#include "base/list.h"
#include "base/log.h"
#include "base/prng.h"

struct memdisk {
	struct disk disk;
	struct list files;        /* struct memfile, those without a name but with a past too */
	struct list ops;          /* under way, with 'later' */
	bool later;
	bool cold;                /* nothing is in the page cache */
	/* While one of these is not OK, such calls fail with it; after 'good_writes' more writes have gone well. */
	enum status open_fails, write_fails, read_fails, sync_fails, remove_fails;
	unsigned good_writes;
	bool sync_loses;          /* a sync that fails takes the file back to the last one that went well, as dropped pages do */
	bool paced;               /* was the last zeroing? */
	uint64_t reads, loads, writes, syncs; /* calls; loads: the reads by a worker */
};
void memdisk_init(struct memdisk *m);
void memdisk_fini(struct memdisk *m);
/* Finishes the ops that are under way. */
void memdisk_run(struct memdisk *m);
/*
 * Called when all files are closed (without a sync). Names are as sync_dir left them, and of each file every 512-byte sector that was not synced is old or new.
 * r NULL: all old.
 */
void memdisk_crash(struct memdisk *m, struct prng *r);
/* The bytes of a file as they are; NULL when there is none. */
uint8_t *memdisk_bytes(struct memdisk *m, const char *path, size_t *ret_n);
/* Each file that has a name. */
void memdisk_each(struct memdisk *m, void (*each)(const char *path, void *arg), void *arg);
/* Makes the file hold these bytes, durable. */
void memdisk_put(struct memdisk *m, const char *path, const void *p, size_t n);

/* A log that counts lines, and prints them when the environment has TEST_LOG. */
struct testlog {
	struct log log;
	unsigned lines[4];        /* by level */
};
void testlog_init(struct testlog *l);

#endif
