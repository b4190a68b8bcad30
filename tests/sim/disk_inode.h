/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What disk.c and inode.c share: files with their versions. */
#ifndef TESTS_SIM_DISK_INODE_H
#define TESTS_SIM_DISK_INODE_H

#include "tests/sim/disk.h"

struct sim_version {
	uint64_t seq;
	uint8_t data[SIM_SECTOR];
};

/* A sector whose newest content is not durable. */
struct sim_sector {
	struct list link;
	uint64_t no;
	uint64_t seq;             /* of the newest content, which stands in the file's bytes */
	bool lost;                /* a failed sync marked it clean: later syncs do not write it */
	uint8_t base[SIM_SECTOR]; /* durable content */
	struct sim_version *old;  /* between base and the newest */
	size_t n_old, cap_old;
};

struct sim_length {
	uint64_t seq, size;
};

/* A cut: sectors from 'sector' on lost their content at 'seq'. It is undone together with the length. */
struct sim_cut {
	uint64_t seq, sector;
};

struct sim_inode {
	struct list link;
	struct sim_disk *disk;
	unsigned refs;            /* names (now, durable, pending) and open files */
	uint8_t *bytes;           /* [cap], zeros behind size */
	uint64_t size, cap;
	uint64_t durable_size;
	struct sim_length *lengths; /* since then, in order; the last is the present one */
	size_t n_lengths, cap_lengths;
	struct sim_cut *cuts;
	size_t n_cuts, cap_cuts;
	struct u64map sectors;    /* number -> struct sim_sector */
	struct list dirty;
	uint8_t *pages;           /* [cap / SIM_PAGE]: 1 where space is allocated */
};

struct sim_inode *inode_new(struct sim_disk *d);
void inode_drop(struct sim_inode *i);
/* Bytes of disk space that writing there would newly take. */
uint64_t inode_cost(const struct sim_inode *i, uint64_t at, uint64_t n);
/* p NULL: zeros. Extends the file. */
void inode_write(struct sim_inode *i, uint64_t at, const uint8_t *p, uint64_t n);
void inode_truncate(struct sim_inode *i, uint64_t size);
/* What stood at 'seq' is durable now, in sectors [from, to). */
void inode_promote(struct sim_inode *i, uint64_t seq, uint64_t from, uint64_t to);
/* A sync failed: some sectors are durable, some dirty as before, and some are taken for clean and never written. */
void inode_sync_failed(struct sim_inode *i, struct prng *r);
/* Leaves one of the states that a crash may leave. 'new_permille': how likely the newest is where there is a choice. */
void inode_crash(struct sim_inode *i, struct prng *r, uint32_t new_permille);

#endif
