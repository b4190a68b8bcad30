/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What the process gets from its machine: time, randomness, a place for log lines. */
#ifndef OS_HOST_H
#define OS_HOST_H

#include <stddef.h>

#include "base/clock.h"
#include "base/log.h"

/* The machine's clocks. Mono is CLOCK_MONOTONIC, and a step back is a panic. */
struct clock *host_clock(void);
/* A seed from the kernel. */
uint64_t host_random(void);
/* Secret bytes from the kernel; from any thread. */
void host_random_bytes(void *to, size_t n);

/* Lines on a file descriptor: "2026-01-31T12:00:00.123Z level area key=value ...". Never buffered; a line that the descriptor does not take is lost. */
struct host_log {
	struct log base;
	int fd;
};
void host_log_init(struct host_log *l, int fd, enum log_level level);

#endif
