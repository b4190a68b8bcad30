/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The key index: (topic, key) -> positions of records that may carry the key. Private to engine/. Format: docs/index-format.md.
 *
 * For each log segment there is a file "index/keys/<20-digit start>" of sorted runs. A run covers a span of positions [from, to): it
 * has the keys of all records that begin there. What lies in the log but in no run (nor in memory) is a gap. A gap is damage, never
 * "no such key": a lookup that meets one says CORRUPT, and the caller fills it from the log (ki_damaged, ki_rebuild_run). Lost files,
 * torn runs, failed writes and bit rot all come down to gaps, so the index never stops the broker.
 *
 * Segments begin at multiples of segment_bytes. Positions in this interface are absolute. A position that a lookup gives is a
 * candidate: the caller compares the key. The hash is part of the format: see ki_hash.
 *
 * A start: ki_open, ki_load, ki_add of every key from ki_covered on (what is below is ignored), ki_recovered once the log's end is
 * known and before anything is appended to the log.
 */
#ifndef ENGINE_KINDEX_H
#define ENGINE_KINDEX_H

#include "base/disk.h"
#include "base/log.h"
#include "base/slice.h"
#include "base/status.h"

#define KI_DIR "index/keys"
#define KI_RUN_KEYS 16384u        /* a run is written when so many are gathered and their record is complete */
#define KI_RUN_MAX 65536u         /* most keys of a run; what cannot be written is held back up to this and then left as a gap */
#define KI_SEGMENTS_MAX 64u       /* segments whose runs are known in memory, with their files open, besides the open one */
#define KI_SEGMENT_BYTES_MAX (UINT64_C(1) << 32)

struct kindex;

/* 32-bit FNV-1a over topic, '#', key; then the 32-bit finaliser of MurmurHash3. */
uint32_t ki_hash(struct slice topic, struct slice key);

enum status ki_open(struct kindex **ret, struct disk *disk, struct log *log, uint64_t segment_bytes);
/* No sync may be under way. What is gathered is not written: ki_flush before, for an orderly end. */
void ki_close(struct kindex *ki);

/*
 * Makes the segment of 'replay_from' the open one: keys of records from there on will be added. Reads its runs, drops a torn tail.
 * Never fails for what it finds: that is a gap. Must be called once, also for an empty log (with 0).
 */
void ki_load(struct kindex *ki, uint64_t replay_from);
/* Records of the open segment below this need not be added (again): they are covered, or noted as a gap. */
uint64_t ki_covered(const struct kindex *ki);
/*
 * Recovery found that the log holds [log_first, log_end). Files of segments outside are removed, and so is one that claims to cover
 * records at or beyond log_end (they were lost in a crash after their keys were written): then its segment is a gap up to log_end.
 * IO when that could not be made durable: then keys may be missed, and the log must not be appended to.
 */
enum status ki_recovered(struct kindex *ki, uint64_t log_first, uint64_t log_end);

/*
 * A record at 'position' has a key of this hash. Positions ascend (several keys of one record: the same position). Another segment
 * than before seals the one before. May write a run (page cache only). Before ki_recovered what is below ki_covered is ignored;
 * after it no record may be added below a position that was flushed.
 */
void ki_add(struct kindex *ki, uint64_t position, uint32_t hash);
/*
 * All records below 'position' were added: what is gathered becomes a run. For snapshots, and before ki_close. 'position' may be the
 * start of the next segment, which seals this one. An error is logged, and the write is tried again by later adds and flushes.
 */
void ki_flush(struct kindex *ki, uint64_t position);
/* Makes written runs durable. As disk->sync: true: finished, *ret_now is the outcome; false: op->done follows. One at a time. */
bool ki_sync(struct kindex *ki, struct disk_op *op, enum status *ret_now);
/* The segment, the oldest one, leaves the log: removes its file. */
void ki_drop_segment(struct kindex *ki, uint64_t segment_start);

/* A lookup, newest first. Plain data: it needs no end, and may wait for turns while the index goes on. */
struct ki_cursor {
	uint32_t hash;
	uint64_t below;           /* everything from here on has been looked at */
	uint64_t oldest;
	uint64_t gap_from;        /* after CORRUPT: the gap is [gap_from, below) or more */
};
/* Records with oldest <= position < newest. */
void ki_find_begin(struct ki_cursor *c, uint32_t hash, uint64_t oldest, uint64_t newest);
/*
 * The next candidate. OK: *ret_position is set. NOT_FOUND: there are no more. BUSY: *budget runs were looked at (each costs some 4 KiB
 * reads; the first time since the start the whole run): call again in a later turn. CORRUPT: a gap is in the way: call again when
 * it is rebuilt, or after ki_find_skip.
 */
enum status ki_find_next(struct kindex *ki, struct ki_cursor *c, unsigned *budget, uint64_t *ret_position);
/* Goes on below the gap; the answer is incomplete then, and the caller says so. */
void ki_find_skip(struct ki_cursor *c);

/* One gap that was met: its segment and span. False: none known. The newest one first. */
bool ki_damaged(struct kindex *ki, uint64_t *ret_segment, uint64_t *ret_from, uint64_t *ret_to);
struct ki_key {
	uint64_t position;
	uint32_t hash;
};
/*
 * Fills a gap or a part of it: v has the keys of all records in [from, to), ascending, KI_RUN_MAX at most. To fill a long gap call it
 * for parts of some KI_RUN_KEYS keys each, in any order. On an error (DISK_FULL, IO) it is still a gap.
 */
enum status ki_rebuild_run(struct kindex *ki, uint64_t segment_start, uint64_t from, uint64_t to, const struct ki_key *v, size_t n);

struct ki_stats {
	uint64_t gathered;        /* keys in memory */
	uint64_t segments;        /* known in memory */
	uint64_t runs;            /* of these segments */
	uint64_t write_errors, damaged; /* since the open */
	enum status last_error;   /* of a write; OK when the last one went well */
};
void ki_stats(const struct kindex *ki, struct ki_stats *ret);

#endif
