/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The kernel's own asynchronous i/o, by its bare system calls: there is one write at a time, so a library would add nothing. */
#include "os/disk_direct.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/obj.h"

void direct_init(struct direct *d)
{
	*d = (struct direct){.ctx = 0};
	d->usable = syscall(SYS_io_setup, 1, &d->ctx) == 0;
}

void direct_fini(struct direct *d)
{
	if (d->usable)
		syscall(SYS_io_destroy, d->ctx);
	d->usable = false;
}

static int64_t plain_write(int fd, uint64_t at, const void *p, size_t n)
{
	ssize_t k;

	do {
		k = pwrite(fd, p, n, (off_t)at);
	} while (k < 0 && errno == EINTR);
	return k < 0 ? -errno : k;
}

int64_t direct_write(struct direct *d, int fd, uint64_t at, const void *p, size_t n)
{
	struct iocb cb = {.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (uint32_t)fd, .aio_buf = (uintptr_t)p, .aio_nbytes = n,
			  .aio_offset = (int64_t)at};
	struct iocb *list = &cb;
	struct io_event done = {.res = 0};
	long rc;

	if (!d->usable || syscall(SYS_io_submit, d->ctx, 1, &list) != 1)
		return plain_write(fd, at, p, n);
	do {
		rc = syscall(SYS_io_getevents, d->ctx, 1, 1, &done, NULL);
	} while (rc < 0 && errno == EINTR);
	/* The buffer belongs to the kernel until the outcome is known, so there is no going on without it. */
	CHECK(rc == 1);
	return done.res;
}
