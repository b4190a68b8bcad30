/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The extent file below the queue index: which extents are in use, free or parked; writing, reading and checking them. Knows
 * nothing of queues but the uid and the first offset that stand in an extent's head. Private to qindex.c.
 *
 * An extent in memory is QX_BYTES heap bytes: room for the head, then the entries.
 *
 * Freed extents and snapshots: a snapshot names extents, and must find in them what it saved. Snapshots are numbered when they
 * begin. An extent freed while the newest number is g may be named by snapshots up to g; it is parked until the two newest
 * snapshots that are done both have a higher number.
 */
#ifndef ENGINE_QEXTENT_H
#define ENGINE_QEXTENT_H

#include "base/buf.h"
#include "base/disk.h"
#include "base/log.h"
#include "base/slice.h"
#include "base/status.h"

#define QX_BYTES 4096u
#define QX_HEAD 16u
#define QX_CACHE 256u             /* extents kept in memory for reading, direct-mapped: 1 MiB */
#define QX_EXTENTS_MAX 0xFFFFFFF0u /* numbers from here on are free for other meanings */

enum qx_state { QX_FREE, QX_USED, QX_PARKED };

struct qx_cached {
	uint32_t extent;          /* 0: nothing */
	uint8_t *bytes;
};
struct qx_parked {
	uint32_t extent, generation;
};
struct qx {
	uint32_t magic;
	struct disk_file *file;
	struct log *log;
	uint32_t life;            /* goes into every checksum: what was written before the last fresh start is not valid; 0: not known */
	bool head_due;            /* the file's head is still to be written */
	uint32_t n;               /* extents in the file, the head (number 0) included */
	uint8_t *state;           /* enum qx_state of each */
	uint32_t state_cap;
	uint32_t *free;           /* a stack */
	uint32_t n_free, free_cap;
	struct qx_parked *parked; /* [parked_head, parked_end), generations ascend */
	uint32_t parked_head, parked_end, parked_cap;
	uint32_t generation;      /* number of the snapshot begun last */
	uint32_t done[2];         /* numbers of the newest and the second newest snapshot that are done */
	bool loading;             /* between the open and qx_load_done */
	uint8_t *listed;          /* while loading: what the snapshot says of extents that are not in use */
	uint32_t listed_n;
	enum status last_error;   /* of a write */
	uint64_t write_errors, damaged;
	uint32_t damaged_last;    /* named in the log already */
	struct qx_cached cache[QX_CACHE];
};

enum status qx_open(struct qx *x, struct disk *disk, const char *path, struct log *log, bool fresh);
void qx_close(struct qx *x);
/* Fills in the head of 'bytes' and writes them to an extent of their own. On OK takes 'bytes'. */
enum status qx_write(struct qx *x, uint32_t uid, uint64_t first, uint8_t *bytes, uint32_t *ret_extent);
/* The same over an extent in use. */
enum status qx_rewrite(struct qx *x, uint32_t extent, uint32_t uid, uint64_t first, uint8_t *bytes);
/* The extent's entries, valid until the next call; CORRUPT when they are not what they should be. */
enum status qx_read(struct qx *x, uint32_t extent, uint32_t uid, uint64_t first, const uint8_t **ret_entries);
void qx_free(struct qx *x, uint32_t extent);
bool qx_sync(struct qx *x, struct disk_op *op, enum status *ret_now);

void qx_snapshot_begin(struct qx *x);
void qx_snapshot_done(struct qx *x);
void qx_save(const struct qx *x, struct buf *to);
enum status qx_load(struct qx *x, struct slice *rest);
/* While loading: the extent is in use. False when it is not in the file, or in use already. */
bool qx_claim(struct qx *x, uint32_t extent);
void qx_load_done(struct qx *x);

#endif
