/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Clocks, randomness and the log's sink on a POSIX machine. */
#include "os/host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/obj.h"

static uint64_t host_mono_ns(struct clock *c)
{
	static _Thread_local uint64_t last;
	struct timespec t;
	uint64_t now;

	(void)c;
	CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
	now = (uint64_t)t.tv_sec * SEC_NS + (uint64_t)t.tv_nsec;
	CHECK(now >= last);
	last = now;
	return now;
}

static int64_t host_wall_ms(struct clock *c)
{
	struct timespec t;

	(void)c;
	CHECK(clock_gettime(CLOCK_REALTIME, &t) == 0);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static const struct clock_ops host_clock_ops = {.mono_ns = host_mono_ns, .wall_ms = host_wall_ms};
static struct clock the_clock = {&host_clock_ops};

struct clock *host_clock(void) { return &the_clock; }

void host_random_bytes(void *to, size_t n)
{
	uint8_t *p = to;

	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		CHECK(got > 0);
		p += got;
		n -= (size_t)got;
	}
}

uint64_t host_random(void)
{
	uint64_t v;

	host_random_bytes(&v, sizeof(v));
	return v;
}

static void host_line(struct log *base, enum log_level level, const char *area, const char *line)
{
	static const char *const names[] = {"error", "warn", "info", "trace"};
	struct host_log *l = container_of(base, struct host_log, base);
	char head[96];
	struct timespec t;
	struct tm tm;
	int n;

	CHECK(level < ARRAY_LEN(names));
	CHECK(clock_gettime(CLOCK_REALTIME, &t) == 0);
	CHECK(gmtime_r(&t.tv_sec, &tm) != NULL);
	n = snprintf(head, sizeof(head), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s %.32s ", tm.tm_year + 1900, tm.tm_mon + 1,
		     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(t.tv_nsec / 1000000), names[level], area);
	if (n < 0 || (size_t)n >= sizeof(head))
		return;
	struct iovec v[3] = {{head, (size_t)n}, {(void *)(uintptr_t)line, strlen(line)}, {(void *)(uintptr_t)"\n", 1}};
	/* One call, so that lines of several threads do not mix. There is nobody to tell when it fails. */
	if (writev(l->fd, v, 3) < 0)
		return;
}

void host_log_init(struct host_log *l, int fd, enum log_level level)
{
	static const struct log_ops ops = {.line = host_line};

	CHECK(l != NULL && fd >= 0);
	*l = (struct host_log){.base = {.ops = &ops, .level = level}, .fd = fd};
}
