/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The queue index: queue offset -> (position in the log, size, tag word). Private to engine/. Format: docs/index-format.md.
 *
 * All queues share the file "index/queues" of 4096-byte extents, each with 204 consecutive entries of one queue. Only full extents
 * are in the file, and an extent is written once until it is freed; a queue's open tail is in memory and in the snapshots. Which
 * extents belong to a queue is known from memory and from the snapshots only.
 *
 * The index is derived from the log, so it never stops the broker:
 *  - An extent that cannot be written stays in memory and is tried again when the queue fills its next one and when it is saved.
 *    At most QI_PENDING_MAX extents wait so; what is over that is forgotten and reads as CORRUPT until it is repaired.
 *  - An extent that cannot be read, or is not what it should be, reads as CORRUPT, and the caller puts its entries back from the
 *    log: qi_neighbours names the span to scan, qi_repair_extent takes the entries.
 *
 * A snapshot: qi_snapshot_begin, qi_save and qi_queue_save of every queue (in slices, appends and trims may go on between), qi_sync
 * and wait for it, write and sync and re-read the snapshot, qi_snapshot_done. One that fails is just never done. What is saved
 * carries no checksum of its own: the snapshot has one.
 * A start: qi_open, qi_load, qi_queue_load of every queue, qi_load_done. Without a snapshot: qi_open with 'fresh'.
 */
#ifndef ENGINE_QINDEX_H
#define ENGINE_QINDEX_H

#include "base/buf.h"
#include "base/disk.h"
#include "base/log.h"
#include "base/slice.h"
#include "base/status.h"

#define QI_FILE "index/queues"
#define QI_EXTENT_BYTES 4096u
#define QI_EXTENT_ENTRIES 204u    /* (4096 - 16) / 20 */
#define QI_ENTRY_BYTES 20u
#define QI_PENDING_MAX 16384u     /* full extents in memory, over all queues, that could not be written: 64 MiB */

struct qindex;
struct qi_pending;

struct qentry {
	uint64_t position;
	uint32_t size;
	uint64_t tag;
};

/* The index of one queue, embedded in whoever owns the queue. It may move in memory. */
struct qi_queue {
	uint32_t magic;
	uint32_t uid;             /* names the queue in its extents; never used again for another one */
	uint64_t first;           /* first valid offset */
	uint64_t next;            /* offset of the next append */
	/* private */
	uint64_t slot_base;       /* offset of the first entry of the first slot */
	uint32_t *slots;          /* extent numbers, from slots[slot_head] on */
	uint32_t slot_head, n_slots, slot_cap;
	uint16_t n_tail, tail_cap;
	uint8_t *tail;            /* entries behind the slots, as they will stand in the extent */
	struct qi_pending *pending; /* full extents that could not be written, ascending */
};

/*
 * Opens the file, or creates it. 'fresh': whatever it holds is thrown away, for a new store and for a rebuild from the log's start.
 * IO, DISK_FULL.
 */
enum status qi_open(struct qindex **ret, struct disk *disk, struct log *log, bool fresh);
/* Every queue is fini'd before; no sync may be under way. */
void qi_close(struct qindex *qi);

/* An empty queue whose first append gets the offset 'base'. Allocates nothing. */
void qi_queue_init(struct qi_queue *q, uint32_t uid, uint64_t base);
/* Memory only: the extents stay as they are. Leaves an initialised empty queue. */
void qi_queue_fini(struct qindex *qi, struct qi_queue *q);
/* Gives the extents back too: the queue is gone. */
void qi_queue_free(struct qindex *qi, struct qi_queue *q);

/* Appends at q->next. Never fails (see above). Positions of a queue ascend, else qi_lower_bound_position finds nonsense. */
void qi_append(struct qindex *qi, struct qi_queue *q, const struct qentry *e);
/* One entry. NOT_FOUND outside [first, next); CORRUPT. */
enum status qi_get(struct qindex *qi, struct qi_queue *q, uint64_t offset, struct qentry *ret);
/*
 * Up to n consecutive entries from 'offset' on; returns how many, *ret is OK then. With 0: NOT_FOUND outside [first, next); CORRUPT
 * when the extent of 'offset' is damaged (damage further on just ends the run, so that the next call meets it).
 */
unsigned qi_read(struct qindex *qi, struct qi_queue *q, uint64_t offset, struct qentry *v, unsigned n, enum status *ret);
/* Everything below 'first' (at most q->next) is gone; whole extents below are given back. A lower value than before is ignored. */
void qi_trim(struct qindex *qi, struct qi_queue *q, uint64_t first);
/*
 * The first offset in [first, next] whose position is 'position' or higher (next: none). CORRUPT: *ret is an offset inside the
 * damaged extent that stands in the way; repair it and ask again.
 */
enum status qi_lower_bound_position(struct qindex *qi, struct qi_queue *q, uint64_t position, uint64_t *ret);

/*
 * For the extent that holds 'offset' (below the tail): its first offset, and the positions of the nearest readable entries before
 * (0: none) and behind it (UINT64_MAX: none). What belongs into the extent lies between the two.
 */
void qi_neighbours(struct qindex *qi, struct qi_queue *q, uint64_t offset, uint64_t *ret_extent_first, uint64_t *ret_prev_position,
	uint64_t *ret_next_position);
/* Puts QI_EXTENT_ENTRIES rebuilt entries back. Entries below q->first may be anything. Never fails: memory has them at least. */
void qi_repair_extent(struct qindex *qi, struct qi_queue *q, uint64_t extent_first, const struct qentry *v, unsigned n);

/* Makes what was written durable: disk->sync, not hot. See base/disk.h for what it returns. */
bool qi_sync(struct qindex *qi, struct disk_op *op, enum status *ret_now);

void qi_snapshot_begin(struct qindex *qi);
/* The snapshot that was begun last is durable and was read back; it and the one done before are the two newest. */
void qi_snapshot_done(struct qindex *qi);
/* What is common to all queues: right after qi_snapshot_begin, before the queues. */
void qi_save(struct qindex *qi, struct buf *to);
void qi_queue_save(struct qindex *qi, struct qi_queue *q, struct buf *to);
/*
 * The reverse; each takes what it reads off '*rest'. qi_load comes first. VERSION: of another format. CORRUPT: nonsense, an extent
 * outside the file, or one that a queue had before. After an error nothing of this index may be used: close it, open it afresh.
 * q needs no init; after an error it is an empty queue.
 */
enum status qi_load(struct qindex *qi, struct slice *rest);
enum status qi_queue_load(struct qindex *qi, struct qi_queue *q, struct slice *rest);
/* All queues are loaded: other extents are free, or wait until no snapshot needs them. Not needed after qi_open with 'fresh'. */
void qi_load_done(struct qindex *qi);

struct qi_stats {
	uint64_t extents;         /* in the file */
	uint64_t free;            /* of these, ready for use */
	uint64_t parked;          /* of these, freed but perhaps needed by a snapshot */
	uint64_t pending;         /* full extents that wait in memory */
	uint64_t lost;            /* extents that were forgotten because too many waited; they read as CORRUPT */
	uint64_t write_errors, damaged; /* since the open */
	enum status last_error;   /* of a write; OK when the last one went well */
};
void qi_stats(const struct qindex *qi, struct qi_stats *ret);

#endif
