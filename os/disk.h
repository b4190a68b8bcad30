/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* base/disk.h on a folder of the machine. */
#ifndef OS_DISK_H
#define OS_DISK_H

#include <uv.h>

#include "base/clock.h"
#include "base/disk.h"
#include "base/log.h"

/*
 * Opens the folder, which is made when it is not there, and starts the workers. done() of started ops fires from the loop's poll.
 * On failure 'why' says what and where.
 */
enum status disk_posix_open(struct disk **ret, uv_loop_t *loop, struct clock *clock, struct log *log, const char *root, char *why,
			    size_t why_size);
/*
 * Joins the workers, gives up the lock and closes the folder. No op should be under way: one that is ends without done(). The loop
 * must run once more before it is closed.
 */
void disk_posix_close(struct disk *d);

/* Where hot syncs run at present, for the log and tests. */
bool disk_posix_sync_on_loop(const struct disk *d);

#endif
