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
#include "base/clock.h"
#include "base/disk.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"

struct clog;

/* Who waits for a block of the log to be read. ready() runs inside the disk's completion: it must only note the fact. */
struct clog_wait {
	struct list link;
	void (*ready)(struct clog_wait *);
	bool failed;             /* set before ready(): the block cannot be read */
	bool admitted;           /* it has stood in the line: it may have a block read, however many are */
};

struct clog_block {
	struct blob blob;        /* the bytes; first, so that its free function finds the block */
	struct clog *log;        /* NULL once the cache has let go of it */
	uint64_t start;          /* position of its first byte, a multiple of the block size */
	uint32_t valid;          /* bytes that are there */
	bool loading, failed;
	bool cold;               /* read from the file, not written by this process */
	uint64_t awaited_ns;     /* when it was loaded, until who asked for it has had it; 0: not waited for */
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
	bool fresh;              /* made by this process: it holds nothing of an earlier life */
	bool zeroing;
	struct disk_op zero_op;
	uint64_t zero_to;
	struct clog *log;
	uint64_t data_end;       /* where its records end: behind the blank record's head once it is rolled, else its end */
	int64_t first_ms, last_ms; /* store times of its first and last record; 0: none known */
	unsigned readers;        /* loads under way: it cannot be closed */
};

struct clog_conf {
	uint64_t segment_bytes, ahead_bytes, unsynced_bytes, cache_bytes;
	uint64_t record_max;     /* largest record: so much more is prepared, since the rest of a segment may be too short for one */
	uint32_t block_bytes;
	bool sync_before_visible; /* SYNC_FLUSH */
	uint64_t async_ns;
};

struct clog {
	struct disk *disk;
	struct clock *clock;
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
	struct list limbo;       /* blocks that the cache dropped in this turn: pieces of them may be in use */
	uint64_t cached;         /* bytes of blocks in memory */
	unsigned loads;          /* blocks that are being read */
	struct list line;        /* who wants a block read while as many as may be are: struct clog_wait, in their order */
	struct clog_block *tail_block;
	uint8_t *spill;          /* contiguous room for a record that spans blocks */
	size_t spill_cap;
	char *spares[2];         /* recycled files, ready to be renamed */
	unsigned n_spares;
	uint64_t syncs, sync_us, cold_reads, recycled, dropped, failures; /* counters */
	uint64_t now_ns;
};

/* How much is prepared at a time: small steps, so that the first sends of an empty store need not wait for all of it. */
#define CLOG_ZERO_STEP (8u << 20)
#define CLOG_FIRST_SPACE (1u << 20)
#define CLOG_LOADS_SHARE 8u /* so much of the cache, one part in eight, may be blocks that are being read */
#define CLOG_FULL_RETRY_NS UINT64_C(1000000000)
#define CLOG_DIR "commitlog"

void clog_init(struct clog *c, struct disk *disk, struct clock *clock, struct log *log, const struct clog_conf *conf);
/* Closes files and frees memory; nothing is written. Disk operations under way must have ended (clog_idle). */
void clog_fini(struct clog *c);
bool clog_idle(const struct clog *c);
/* Opens the segments that are there, checking names, lengths and that none is missing between. CORRUPT with 'why'. */
enum status clog_scan(struct clog *c, char *why, size_t why_size);
/* Makes the segment behind the last one (or the first at 'start'). DISK_FULL, IO. */
enum status clog_add_segment(struct clog *c, uint64_t start);
/*
 * After recovery: the log ends at 'end', and was durable up to 'sure' before this start: what lies between is written again and synced. Everything behind it that is not zero is zeroed and synced, so that no record that was
 * cut off comes back to life later; segments behind the one that holds 'end' become free space.
 */
enum status clog_set_end(struct clog *c, uint64_t end, uint64_t sure);

/* Segment that holds a position; NULL when there is none. */
struct segment *clog_segment(const struct clog *c, uint64_t position);
static inline uint64_t segment_end(const struct clog *c, const struct segment *s) { return s->start + c->conf.segment_bytes; }

/*
 * Makes sure that a record of 'size' bytes can be placed, rolling to the next segment when this one is too short; its position goes to
 * *ret. BUSY: space is being prepared or too much is unsynced; DISK_FULL; IO when poisoned; TOO_BIG.
 */
enum status clog_room(struct clog *c, uint32_t size, uint64_t *ret);
/* Is there prepared space for 'size' bytes and 'spare' more behind them, and is an eighth of what may be unsynced left? OK, BUSY, DISK_FULL. */
enum status clog_spare(const struct clog *c, uint32_t size, uint32_t spare);
/* Contiguous memory for the record that clog_room made room for; then clog_commit makes it part of the log. */
uint8_t *clog_reserve(struct clog *c, uint32_t size);
void clog_commit(struct clog *c, uint32_t size);
/* Writes what is not written and syncs it when the mode (or 'force') says so. */
void clog_flush(struct clog *c, uint64_t now_ns, bool force);
static inline uint64_t clog_visible(const struct clog *c) { return c->conf.sync_before_visible ? c->durable : c->written; }
/* Lets who waits for a block to be read go on, prepares space ahead, tries again after "disk full". Returns the next deadline in mono ns. */
uint64_t clog_turn(struct clog *c, uint64_t now_ns);
/* Gives the first segment up; its file is kept for reuse or removed. CHECKs that the tail is not in it. */
enum status clog_drop_first(struct clog *c);

/*
 * The bytes [position, position + size) as pieces of cached blocks (blobs not held: they are good until the end of this turn). BUSY: a block is being read; 'w' (when not NULL and
 * not linked) hears of it; without a 'w' it may be that none is read, since others are first. TOO_BIG when 'max' pieces do not suffice; IO.
 */
enum status clog_pieces(struct clog *c, uint64_t position, uint32_t size, struct piece *v, unsigned max, unsigned *ret_n, struct clog_wait *w);
static inline uint64_t clog_loads_max(const struct clog *c) { return u64_max(1, c->conf.cache_bytes / c->conf.block_bytes / CLOG_LOADS_SHARE); }
/* Does somebody stand in line although blocks may be read? Then a turn is due: those before him have gone away. */
static inline bool clog_line_moves(const struct clog *c) { return !list_empty(&c->line) && c->loads < clog_loads_max(c); }
/* Do a piece's bytes come from the disk? Only for pieces of clog_pieces. */
bool clog_piece_cold(const struct piece *p);
/* Reads written bytes, waiting for the device if need be. Fewer than n only at the end of a segment. */
enum status clog_read_now(struct clog *c, uint64_t position, void *buf, size_t n, size_t *ret_n);
/* File name of a segment, "commitlog/<20 digits>", into 'to' (at least 40 bytes). */
void clog_path(char to[40], uint64_t start);

/* block.c, for clog.c only */
struct clog_block *clog_block_new(struct clog *c, uint64_t start);
struct clog_block *clog_block_find(struct clog *c, uint64_t position);
void clog_block_settle(struct clog *c, struct clog_block *b); /* full: it may go when memory is short */
void clog_blocks_release(struct clog *c); /* lets go of what was dropped before this turn */
void clog_blocks_admit(struct clog *c); /* lets the first of the line go on, as far as there is room for reads; once a turn */
void clog_waits_forget(struct clog *c); /* nobody waits any more, and nobody is told: those who did are about to be freed, one beside the other */
void clog_blocks_drop(struct clog *c, uint64_t from, uint64_t to); /* forgets cached blocks of [from, to) */

#endif
