/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The disk, injected. Paths are relative to the store's folder, parts separated by '/'; folders are made on demand by open.
 *
 * After a crash each 512-byte sector that was not synced is old or new, in any order; a create, rename or remove without a
 * sync_dir after it may be undone. Implementers: os/disk_posix.c, tests/sim/disk.c.
 *
 * Blocking verbs return their status. A started disk_op answers through done(), from the loop, never from inside the starting
 * call; but disk_sync may say that it finished at once (see there). An op belongs to the caller, who leaves it alone until then.
 * Errors: DISK_FULL for "no space" (also quotas), NOT_FOUND, LOCKED, IO for everything else. EINTR and short writes are the
 * implementer's business and never seen.
 */
#ifndef BASE_DISK_H
#define BASE_DISK_H

#include "base/slice.h"
#include "base/status.h"

struct disk;
struct disk_file;

enum { DISK_READ = 0, DISK_WRITE = 1, DISK_CREATE = 2 }; /* open flags; CREATE implies WRITE and keeps what is there */

struct disk_op {
	void (*done)(struct disk_op *, enum status); /* last word; the op may be started again inside it */
	void *priv[6];                               /* the implementer's */
};

struct disk_ops {
	enum status (*open)(struct disk *, const char *path, unsigned flags, struct disk_file **ret, uint64_t *ret_size);
	/* Closes and forgets; no op may be under way on the file. */
	void (*close)(struct disk_file *);
	/* Writes all of v[0..n) at 'at', into the page cache. */
	enum status (*write_at)(struct disk_file *, uint64_t at, const struct slice *v, unsigned n);
	/* Reads up to n bytes; fewer only at the file's end. With 'cached_only' it gives BUSY instead of waiting for the device. */
	enum status (*read_at)(struct disk_file *, uint64_t at, void *buf, size_t n, bool cached_only, size_t *ret_n);
	/* Reads on a worker; *ret_n is set before done(). */
	void (*read)(struct disk_file *, uint64_t at, void *buf, size_t n, size_t *ret_n, struct disk_op *);
	/* The same as sync, waiting for it: only while the store is opened. */
	enum status (*sync_now)(struct disk_file *);
	/*
	 * Makes the file's bytes durable (fdatasync). Returns true when it finished inside the call: then *ret_now is the outcome and
	 * done() is not called. 'hot': the log's own sync, which may run on the loop when that is cheapest; cold ones never block.
	 */
	bool (*sync)(struct disk_file *, bool hot, struct disk_op *, enum status *ret_now);
	/* Writes zeros over [from, to) on a worker, bypassing the page cache where possible; durable when done. 'paced': half of the time, others have the disk. */
	void (*zero)(struct disk_file *, uint64_t from, uint64_t to, bool paced, struct disk_op *);
	/* Sets the length; a longer file reads zeros there. */
	enum status (*truncate)(struct disk_file *, uint64_t size);
	/* Makes creates, renames and removes in a folder durable ("" is the store's own). Blocking. */
	enum status (*sync_dir)(struct disk *, const char *dir);
	enum status (*rename)(struct disk *, const char *from, const char *to); /* replaces 'to' */
	enum status (*remove)(struct disk *, const char *path);
	/* Calls each(arg, name) for the files of a folder, in no order; an absent folder is an empty one. */
	enum status (*list)(struct disk *, const char *dir, void (*each)(void *arg, const char *name), void *arg);
	/* Free and total bytes of the file system (or of the quota of the simulated one). */
	enum status (*space)(struct disk *, uint64_t *ret_free, uint64_t *ret_total);
	/* Takes the store's lock until the process ends: LOCKED when another process has it. */
	enum status (*lock)(struct disk *, const char *path);
};
struct disk {
	const struct disk_ops *ops;
};
struct disk_file {
	const struct disk_ops *ops;
};

#endif
