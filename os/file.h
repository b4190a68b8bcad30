/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Small files outside of the store, and facts of the machine that only the start needs. Blocking. */
#ifndef OS_FILE_H
#define OS_FILE_H

#include "base/buf.h"
#include "base/status.h"

/* Appends a whole file. NOT_FOUND; TOO_BIG beyond 'max' bytes; IO. 'why' says what and where. */
enum status file_read(const char *path, size_t max, struct buf *ret, char *why, size_t why_size);
/* Makes the file have this content, durably, or leaves it as it was. The folder is made on demand. */
enum status file_replace(const char *path, struct slice content, char *why, size_t why_size);

/* The first IPv4 address of this machine that is not loopback, host order; 0 when there is none. */
uint32_t host_ipv4(void);
/* Allows as many open files as may be; returns how many. */
uint64_t host_raise_files(void);

/* One request over a connection of its own: what is read up to the length that 'whole' names (0: not known yet) is the answer. */
enum status host_ask(const char *host, uint16_t port, unsigned timeout_ms, struct slice request, size_t (*whole)(struct slice got),
		     size_t max, struct buf *ret, char *why, size_t why_size);

#endif
