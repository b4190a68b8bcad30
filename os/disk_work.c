/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The disk's threads. A job is copied into the queue by the loop's thread, done by a worker, moved to 'finished', and told by the
 * loop's thread, which one uv_async wakes however many have finished.
 *
 * Zeros bypass the page cache: written through it, they would be flushed by the kernel when it likes, together with the log's tail.
 * Where they are paced, the worker rests after each step as long as the step took, so that the log keeps at least half of the disk.
 */
#include "os/disk_work.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/obj.h"

enum {
	ZERO_STEP = 1 << 20,      /* bytes written at once; also the alignment's multiple */
	ZERO_ALIGN = 4096,        /* what every device takes for O_DIRECT */
	REST_MAX_MS = 50,         /* longest rest after a step */
	IOV_BATCH = IOV_MAX < 256 ? IOV_MAX : 256,
};

enum status disk_status(int err)
{
	switch (err) {
	case 0:
		return ST_OK;
	case ENOSPC:
	case EDQUOT:
		return ST_DISK_FULL;
	case ENOENT:
		return ST_NOT_FOUND;
	case EWOULDBLOCK:
		return ST_BUSY;
	default:
		return ST_IO;
	}
}

/* One gathered write, retried and continued until all is written. */
static enum status write_batch(int fd, uint64_t at, struct iovec *iov, int n)
{
	while (n > 0) {
		ssize_t k = pwritev(fd, iov, n, (off_t)at);
		if (k < 0) {
			if (errno == EINTR)
				continue;
			return disk_status(errno);
		}
		at += (uint64_t)k;
		while (n > 0 && (size_t)k >= iov->iov_len) {
			k -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + k;
			iov->iov_len -= (size_t)k;
		}
	}
	return ST_OK;
}

enum status disk_write_all(int fd, uint64_t at, const struct slice *v, unsigned n)
{
	struct iovec iov[IOV_BATCH];
	enum status st = ST_OK;
	unsigned i = 0;

	while (i < n && st == ST_OK) {
		uint64_t bytes = 0;
		int k = 0;
		for (; i < n && k < IOV_BATCH; i++) {
			if (v[i].n == 0)
				continue;
			iov[k++] = (struct iovec){(void *)(uintptr_t)v[i].p, v[i].n};
			bytes += v[i].n;
		}
		st = write_batch(fd, at, iov, k);
		at += bytes;
	}
	return st;
}

static enum status do_sync(int fd)
{
	int rc;

	do {
		rc = fdatasync(fd);
	} while (rc < 0 && errno == EINTR);
	return rc == 0 ? ST_OK : disk_status(errno);
}

static enum status do_read(struct job *j)
{
	size_t got = 0;

	while (got < j->n) {
		ssize_t k = pread(j->fd, (uint8_t *)j->buf + got, j->n - got, (off_t)(j->at + got));
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return disk_status(errno);
		if (k == 0)
			break;
		got += (size_t)k;
	}
	*j->ret_n = got;
	return ST_OK;
}

/* Zeros through the page cache, pushed out at once so that little is dirty at any time. */
static enum status zero_buffered(struct job *j, const uint8_t *zeros, uint64_t n)
{
	struct slice v = slice_of(zeros, (size_t)n);
	enum status st = disk_write_all(j->fd, j->at, &v, 1);

	/* Advice only: the sync at the end is what counts. */
	if (st == ST_OK)
		(void)sync_file_range(j->fd, (off_t)j->at, (off_t)n,
				      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
	return st;
}

static int open_direct(int fd)
{
	char path[64];

	/* By descriptor, since the file may have been renamed meanwhile. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
}

/* Writes the next zeros of the range: up to an aligned place first, then whole steps, then the rest. Returns true when nothing is left. */
static bool zero_step(struct work *w, struct job *j)
{
	uint64_t left = j->to - j->at, n;

	if (j->at % ZERO_ALIGN != 0) {
		n = u64_min(left, ZERO_ALIGN - j->at % ZERO_ALIGN);
		j->status = zero_buffered(j, w->zeros, n);
	} else if (left < ZERO_ALIGN || j->direct_fd < 0) {
		n = u64_min(left, ZERO_STEP);
		j->status = zero_buffered(j, w->zeros, n);
	} else {
		int64_t k;
		n = u64_min(left - left % ZERO_ALIGN, ZERO_STEP);
		k = direct_write(&w->direct, j->direct_fd, j->at, w->zeros, (size_t)n);
		if (k >= ZERO_ALIGN) {
			n = (uint64_t)k - (uint64_t)k % ZERO_ALIGN;
		} else if (k == -ENOSPC || k == -EDQUOT) {
			j->status = ST_DISK_FULL;
		} else {
			/* Some file systems open for O_DIRECT and refuse to write so. A true failure shows again in the other way. */
			close(j->direct_fd);
			j->direct_fd = -1;
			j->no_direct = true;
			j->status = zero_buffered(j, w->zeros, n);
		}
	}
	if (j->status != ST_OK)
		return true;
	j->at += n;
	if (j->at < j->to)
		return false;
	j->status = do_sync(j->fd);
	return true;
}

/* ---- Threads ------------------------------------------------------------------------------------------------------------ */

static void finish(struct work *w, struct job *j)
{
	pthread_mutex_lock(&w->mutex);
	list_push(&w->finished, &j->link);
	pthread_mutex_unlock(&w->mutex);
	uv_async_send(&w->wake);
}

static void rest(uint64_t took_ns)
{
	uint64_t ns = u64_min(took_ns, REST_MAX_MS * MS_NS);
	struct timespec t = {(time_t)(ns / SEC_NS), (long)(ns % SEC_NS)};

	nanosleep(&t, NULL);
}

static void do_zero(struct work *w, struct job *j)
{
	uint64_t began = clock_mono_ns(w->clock);
	bool ended = j->at >= j->to || zero_step(w, j);

	if (!ended && j->paced)
		rest(clock_mono_ns(w->clock) - began);
	pthread_mutex_lock(&w->mutex);
	w->slow_busy = false;
	if (!ended)
		list_push(&w->slow, &j->link);
	pthread_cond_signal(&w->for_workers);
	pthread_mutex_unlock(&w->mutex);
	if (!ended)
		return;
	if (j->direct_fd >= 0)
		close(j->direct_fd);
	finish(w, j);
}

static void do_cold_sync(struct work *w, struct job *j)
{
	j->status = do_sync(j->fd);
	pthread_mutex_lock(&w->mutex);
	w->slow_busy = false;
	pthread_cond_signal(&w->for_workers);
	pthread_mutex_unlock(&w->mutex);
	finish(w, j);
}

/* The next job for a worker; NULL when there is none that may be begun now. The mutex is held. */
static struct job *next_job(struct work *w)
{
	struct list *l = list_pop(&w->reads);

	if (l == NULL && !w->slow_busy) {
		l = list_pop(&w->slow);
		w->slow_busy = l != NULL;
	}
	return l == NULL ? NULL : container_of(l, struct job, link);
}

static void *worker(void *arg)
{
	struct work *w = arg;

	for (;;) {
		struct job *j = NULL;
		pthread_mutex_lock(&w->mutex);
		while (!w->stopping && (j = next_job(w)) == NULL)
			pthread_cond_wait(&w->for_workers, &w->mutex);
		pthread_mutex_unlock(&w->mutex);
		if (j == NULL)
			return NULL;
		switch (j->kind) {
		case JOB_READ:
			j->status = do_read(j);
			finish(w, j);
			break;
		case JOB_SYNC:
			do_cold_sync(w, j);
			break;
		case JOB_ZERO:
			if (j->direct_fd < 0 && !j->no_direct) {
				j->direct_fd = open_direct(j->fd);
				j->no_direct = j->direct_fd < 0;
			}
			do_zero(w, j);
			break;
		case JOB_HOT_SYNC:
			PANIC("a hot sync among the workers");
		}
	}
}

static void *syncer(void *arg)
{
	struct work *w = arg;

	for (;;) {
		struct list *l = NULL;
		struct job *j;
		uint64_t began;
		pthread_mutex_lock(&w->mutex);
		while (!w->stopping && (l = list_pop(&w->hot)) == NULL)
			pthread_cond_wait(&w->for_syncer, &w->mutex);
		pthread_mutex_unlock(&w->mutex);
		if (l == NULL)
			return NULL;
		j = container_of(l, struct job, link);
		began = clock_mono_ns(w->clock);
		j->status = do_sync(j->fd);
		j->took_ns = clock_mono_ns(w->clock) - began;
		finish(w, j);
	}
}

/* ---- The loop's side ------------------------------------------------------------------------------------------------------ */

static void tell(uv_async_t *h)
{
	struct work *w = container_of(h, struct work, wake);
	struct list finished, *l;

	list_init(&finished);
	pthread_mutex_lock(&w->mutex);
	list_move(&finished, &w->finished);
	pthread_mutex_unlock(&w->mutex);
	while ((l = list_pop(&finished)) != NULL) {
		struct job *j = container_of(l, struct job, link);
		struct disk_op *op = j->op;
		enum status st = j->status;
		if (j->kind == JOB_HOT_SYNC)
			sync_place_took(&w->place, clock_mono_ns(w->clock), j->took_ns);
		j->let_go(j->file);
		mem_free(j);
		CHECK(w->under_way > 0);
		w->under_way--;
		op->done(op, st);
	}
}

void work_init(struct work *w, uv_loop_t *loop, struct clock *clock)
{
	CHECK(w != NULL && loop != NULL && clock != NULL);
	*w = (struct work){.clock = clock};
	list_init(&w->reads);
	list_init(&w->slow);
	list_init(&w->hot);
	list_init(&w->finished);
	CHECK(pthread_mutex_init(&w->mutex, NULL) == 0);
	CHECK(pthread_cond_init(&w->for_workers, NULL) == 0);
	CHECK(pthread_cond_init(&w->for_syncer, NULL) == 0);
	w->zeros = aligned_alloc(ZERO_ALIGN, ZERO_STEP);
	CHECK(w->zeros != NULL);
	memset(w->zeros, 0, ZERO_STEP);
	direct_init(&w->direct);
	CHECK(uv_async_init(loop, &w->wake, tell) == 0);
	for (int i = 0; i < DISK_WORKERS; i++)
		CHECK(pthread_create(&w->workers[i], NULL, worker, w) == 0);
	CHECK(pthread_create(&w->syncer, NULL, syncer, w) == 0);
}

static void drop_jobs(struct list *jobs)
{
	struct list *l;

	while ((l = list_pop(jobs)) != NULL) {
		struct job *j = container_of(l, struct job, link);
		if (j->kind == JOB_ZERO && j->direct_fd >= 0)
			close(j->direct_fd);
		j->let_go(j->file);
		mem_free(j);
	}
}

void work_fini(struct work *w, uv_close_cb gone)
{
	pthread_mutex_lock(&w->mutex);
	w->stopping = true;
	pthread_cond_broadcast(&w->for_workers);
	pthread_cond_broadcast(&w->for_syncer);
	pthread_mutex_unlock(&w->mutex);
	for (int i = 0; i < DISK_WORKERS; i++)
		CHECK(pthread_join(w->workers[i], NULL) == 0);
	CHECK(pthread_join(w->syncer, NULL) == 0);
	drop_jobs(&w->reads);
	drop_jobs(&w->slow);
	drop_jobs(&w->hot);
	drop_jobs(&w->finished);
	pthread_cond_destroy(&w->for_workers);
	pthread_cond_destroy(&w->for_syncer);
	pthread_mutex_destroy(&w->mutex);
	direct_fini(&w->direct);
	free(w->zeros);
	w->zeros = NULL;
	uv_close((uv_handle_t *)&w->wake, gone);
}

void work_put(struct work *w, const struct job *job)
{
	struct job *j = mem_dup(job, sizeof(*job));

	CHECK(job->op != NULL && job->op->done != NULL && job->let_go != NULL);
	if (j->kind == JOB_ZERO)
		j->direct_fd = -1;
	w->under_way++;
	pthread_mutex_lock(&w->mutex);
	list_push(job->kind == JOB_READ ? &w->reads : job->kind == JOB_HOT_SYNC ? &w->hot : &w->slow, &j->link);
	pthread_mutex_unlock(&w->mutex);
	/* Woken with the mutex free, or it would wake only to wait again. The job is the thread's by now. */
	pthread_cond_signal(job->kind == JOB_HOT_SYNC ? &w->for_syncer : &w->for_workers);
}
