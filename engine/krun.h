/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * One file of the key index: the runs of one log segment. Private to kindex.c.
 *
 * The runs that are known never overlap: in the file a later run replaces all that it overlaps. A run whose entries turn out to be
 * damaged is forgotten, which leaves a gap; nothing in the file is changed for that, since the run that fills the gap comes later.
 * The entries of a run are checked against their checksum when it is first searched; from then on they are read in small pieces.
 */
#ifndef ENGINE_KRUN_H
#define ENGINE_KRUN_H

#include "base/disk.h"
#include "base/list.h"
#include "base/log.h"
#include "base/status.h"

#define KR_PATH_SIZE 64u
#define KR_NAME_DIGITS 20u
#define KR_RUNS_MAX 65536u        /* runs of one file; what comes behind them is a gap */

/* Positions are relative to the segment's start here. An entry is hash << 32 | position. */
struct kr_run {
	uint32_t from, last;      /* covers both and what is between */
	uint32_t at;              /* of its head in the file, in units of 8 bytes */
	uint32_t count, crc;
	bool checked;
};
struct kr_segment {
	uint32_t magic;
	struct list link;         /* the owner's, most recently used first */
	uint64_t start;
	struct disk_file *file;   /* NULL: there is none */
	uint64_t size, end;       /* of the file; behind its last run */
	struct kr_run *runs;      /* ascending */
	uint32_t n, cap;
	bool gap;                 /* has one, or had one when it was last looked at */
	bool dirty;               /* written since the last sync began */
	bool sync_due, syncing, dropped;
};
struct kr_env {
	struct disk *disk;
	struct log *log;
	uint64_t segment_bytes;
	uint8_t *scratch;
	size_t scratch_cap;
	bool dir_dirty;           /* a file was created */
	enum status last_error;   /* of a write */
	uint64_t write_errors, damaged;
};

/* Sorts n entries whose positions ascend. 'v' and 'tmp' (n each) are both overwritten; the result is in the one that is returned. */
uint64_t *kr_sort(uint64_t *v, uint64_t *tmp, size_t n);

/* Reads what there is: never fails, what cannot be read is a gap. 'check': the entries too, and a torn tail is dropped. */
struct kr_segment *kr_open(struct kr_env *env, uint64_t start, bool check);
void kr_close(struct kr_segment *s);
/* Removes the file, and all runs with it. The segment may be used on. */
enum status kr_remove(struct kr_env *env, struct kr_segment *s);
/* Removes the file of a segment that is not open. OK also when there was none. */
enum status kr_unlink(struct kr_env *env, uint64_t start);
/* Appends a run for the absolute span [from, to). The page cache only; the file is made on demand. */
enum status kr_append(struct kr_env *env, struct kr_segment *s, uint64_t from, uint64_t to, const uint64_t *sorted, size_t n);
/* Where the coverage ends: behind the last run, the segment's start when there is none. Absolute. */
uint64_t kr_covered(const struct kr_segment *s);
/* The run that covers an absolute position; -1: a gap, whose start *ret_gap_from is. */
int64_t kr_covering(const struct kr_segment *s, uint64_t position, uint64_t *ret_gap_from);
/*
 * The highest position of this hash in run i, from 'last' (absolute) down. NOT_FOUND; CORRUPT: the run was damaged and is forgotten.
 */
enum status kr_search(struct kr_env *env, struct kr_segment *s, uint32_t i, uint32_t hash, uint64_t last, uint64_t *ret);
/* The last gap below the absolute 'upper'; false when there is none. */
bool kr_last_gap(const struct kr_segment *s, uint64_t upper, uint64_t *ret_from, uint64_t *ret_to);

#endif
