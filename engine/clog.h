/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The commit log: one run of bytes in segments of equal size, each file named by the 20-digit position of its first byte.
 *
 *   min <= durable <= written <= tail       visible = durable (SYNC_FLUSH) or written (ASYNC_FLUSH)
 *
 * tail: records are encoded up to here, in blocks in memory. written: write_at has returned. durable: a sync has returned after it.
 * At most one sync is under way; what arrives meanwhile goes into the next. The last segment is left only after all of it is durable,
 * so a valid record in a later segment proves that everything before it once was on disk.
 *
 * A failed write or sync of prepared space poisons the log for good (until the store is opened again): nothing is appended or
 * acknowledged any more.
 *
 * A segment gets its full length at once (sparse) and is zero-filled ahead of the tail by a worker. 'ready' is the position up to which
 * records may be placed. Failing to prepare space is "disk full", which ends by itself.
 */
#ifndef ENGINE_CLOG_H
#define ENGINE_CLOG_H

#include "base/blob.h"
#include "base/disk.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"

struct clog;

/* Who waits for a block of the log to be read. ready() runs inside the disk's completion: it must only note the fact. */
struct clog_wait {
	struct list link;
	void (*ready)(struct clog_wait *);
};

struct clog_block {
	struct blob blob;        /* the bytes; first, so that its free function finds the block */
	struct clog *log;        /* NULL once the cache has let go of it */
	uint64_t start;          /* position of its first byte, a multiple of the block size */
	uint32_t valid;          /* bytes that are there */
	bool loading, failed;
	struct list lru;
	struct list waiters;
	struct disk_op op;
	struct disk_file *file;
	size_t got;
};

struct segment {
	uint64_t start;
	struct disk_file *file;
	uint64_t filled;         /* zeroed up to this position */
	bool zeroing;
	struct disk_op zero_op;
	uint64_t zero_to;
	struct clog *log;
	int64_t first_ms, last_ms; /* store times of its first and last record; 0: none known */
	unsigned readers;        /* loads under way: it cannot be closed */
};

struct clog_conf {
	uint64_t segment_bytes, ahead_bytes, unsynced_bytes, cache_bytes, reserve_bytes;
	uint32_t block_bytes;
	bool sync_before_visible; /* SYNC_FLUSH */
	uint64_t async_ns;
};

struct clog {
	struct disk *disk;
	struct log *log;
	struct clog_conf conf;
	struct segment **segs;   /* in order, all of segment_bytes */
	size_t n_segs, cap_segs;
	uint64_t min, tail, written, durable;
	bool poisoned;
	bool full;               /* preparing space failed: no room for sends */
	uint64_t full_retry_ns;
	bool syncing;
	uint64_t sync_target, sync_started_ns, last_sync_ns, sync_from;
	struct disk_op sync_op;
	enum status sync_status; /* outcome of an asynchronous sync, taken in by the turn */
	bool sync_done;
	struct u64map blocks;    /* block number -> struct clog_block */
	struct list lru;         /* blocks that may go, oldest first */
	uint64_t cached;         /* bytes of blocks in memory */
	struct clog_block *tail_block;
	uint8_t *spill;          /* contiguous room for a record that spans blocks */
	size_t spill_cap;
	char *spares[2];         /* recycled files, ready to be renamed */
	unsigned n_spares;
	uint64_t syncs, sync_us, cold_reads, recycled, dropped, failures; /* counters */
	uint64_t now_ns;
};

#endif
