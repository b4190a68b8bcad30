/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Writes past the page cache that do not hold the file's lock while the device works.
 *
 * A plain write to an O_DIRECT descriptor keeps the inode locked until the device is done, and a write of the log's tail into the same
 * file waits so long (measured: p99 2.8 ms). Submitted as asynchronous i/o the lock is given back at once (p99 33 us), although the
 * worker waits for the outcome all the same.
 */
#ifndef OS_DISK_DIRECT_H
#define OS_DISK_DIRECT_H

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct direct {
	aio_context_t ctx;
	bool usable; /* false: not permitted here, plain writes it is */
};

void direct_init(struct direct *d);
void direct_fini(struct direct *d);
/* One write, waited for. Returns the bytes written, or minus errno. One caller at a time. */
int64_t direct_write(struct direct *d, int fd, uint64_t at, const void *p, size_t n);

#endif
