/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The disk's threads, private to os/disk_*.c. */
#ifndef OS_DISK_WORK_H
#define OS_DISK_WORK_H

#include <pthread.h>
#include <uv.h>

#include "base/clock.h"
#include "base/disk.h"
#include "base/list.h"
#include "os/disk_direct.h"
#include "os/disk_sync.h"

enum { DISK_WORKERS = 2 };

enum job_kind { JOB_READ, JOB_SYNC, JOB_ZERO, JOB_HOT_SYNC };

struct job {
	struct list link;
	enum job_kind kind;
	int fd;
	struct disk_op *op;
	void (*let_go)(void *file); /* loop's thread only: fd is not used any more */
	void *file;
	enum status status;
	uint64_t at, to;      /* READ: at. ZERO: what is left of the range */
	void *buf;
	size_t n;
	size_t *ret_n;
	int direct_fd;        /* ZERO: past the page cache; -1: not open */
	bool no_direct;       /* ZERO: this file system has no such thing */
	bool paced;           /* ZERO: the worker rests between steps */
	uint64_t took_ns;     /* HOT_SYNC */
};

/*
 * Two workers share the reads; at most one of them is at a slow job (cold sync, zeros), so that a read never waits behind one. Zeros
 * are written in steps and go to the end of the line after each. Hot syncs have a thread of their own.
 */
struct work {
	pthread_mutex_t mutex;
	pthread_cond_t for_workers, for_syncer;
	pthread_t workers[DISK_WORKERS], syncer;
	struct list reads, slow, hot; /* jobs to do */
	struct list finished;         /* to be told */
	bool slow_busy;               /* a worker is at a slow job */
	bool stopping;
	size_t under_way;             /* loop's thread only: jobs not yet told */
	uv_async_t wake;
	struct clock *clock;
	struct sync_place place;      /* loop's thread only */
	uint8_t *zeros;               /* ZERO_STEP aligned bytes */
	struct direct direct;         /* of the worker at the slow job */
};

void work_init(struct work *w, uv_loop_t *loop, struct clock *clock);
/* Joins the threads and frees what was not told. 'gone' comes when the loop has let go of the handle. */
void work_fini(struct work *w, uv_close_cb gone);
void work_put(struct work *w, const struct job *job);

/* errno as a status. */
enum status disk_status(int err);
enum status disk_write_all(int fd, uint64_t at, const struct slice *v, unsigned n);

#endif
