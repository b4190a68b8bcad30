/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What is measured of a whole process: boot (from exec to the first answered request, and the memory of an idle server), and idle
 * (what many quiet connections cost).
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BOOT_GIVE_UP_S = 120, RETRY_NS = 200000, TERM_S = 20 };

static pid_t child;

static void pause_ns(uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS) };
	nanosleep(&t, NULL);
}

static void kill_child(void)
{
	if (child > 0)
		kill(child, SIGKILL);
}

/* Whether the server answers code 30 by now, and with what. A server that listens but is not ready keeps the request waiting. */
static bool ask_once(int port, int64_t *ret_offset)
{
	char at[1024], answer[1024];
	struct rm_request q;
	struct rm_reply r;
	size_t have = 0;
	int fd = net_try(port);
	if (fd < 0)
		return false;
	rm_begin(&q, at, sizeof at, opt.binary, 30, OPAQUE_BASE);
	rm_text(&q, "topic", opt.topic);
	rm_text(&q, "queueId", "0");
	rm_end(&q, OPAQUE_BASE, NULL, 0);
	bool good = write(fd, at, q.len) == (ssize_t)q.len;
	struct conn c = { .in = answer, .in_size = sizeof answer };
	while (good) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = poll(&p, 1, 1000) == 1 ? read(fd, answer + have, sizeof answer - have) : -1;
		if (n <= 0) {
			good = false;
			break;
		}
		have += (size_t)n;
		c.in_len = have;
		c.in_pos = 0;
		if (rm_next(&c, &r)) {
			good = r.code == 0 && rm_number(&r, "offset", ret_offset);
			break;
		}
	}
	close(fd);
	return good;
}

static void start_child(void)
{
	child = fork();
	if (child < 0)
		fatal("fork: %s", strerror(errno));
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(STDERR_FILENO, STDOUT_FILENO); /* the line of results stays alone on the standard output */
		execvp(opt.command[0], opt.command);
		fprintf(stderr, "load: %s: %s\n", opt.command[0], strerror(errno));
		_exit(127);
	}
	atexit(kill_child);
}

void mode_boot(void)
{
	int64_t offset = -1;
	int status;
	if (opt.command == NULL)
		fatal("boot needs a command behind --");
	uint64_t start = now_ns();
	start_child();
	while (!ask_once(opt.port, &offset)) {
		if (waitpid(child, &status, WNOHANG) == child)
			fatal("the server ended with status %d before it answered", status);
		if (now_ns() - start > BOOT_GIVE_UP_S * SECOND_NS)
			fatal("no answer within %d s", BOOT_GIVE_UP_S);
		pause_ns(RETRY_NS);
	}
	uint64_t ready = now_ns();
	uint64_t cpu = proc_cpu_us(child), from = now_ns();
	pause_ns((uint64_t)(opt.seconds * 1e9));
	double idle_cpu = (double)(proc_cpu_us(child) - cpu) / 1e6 / ((double)(now_ns() - from) / 1e9);
	uint64_t rss = proc_rss_kb(child);
	kill(child, SIGTERM);
	uint64_t term = now_ns();
	while (waitpid(child, &status, WNOHANG) == 0 && now_ns() - term < TERM_S * SECOND_NS)
		pause_ns(RETRY_NS);
	double stop_ms = (double)(now_ns() - term) / 1e6;
	kill_child();
	child = 0;
	printf("mode=boot server=%s boot_ms=%.2f offset=%" PRId64 " rss_kb=%" PRIu64, opt.label, (double)(ready - start) / 1e6, offset, rss);
	printf(" idle_cpu=%.4f stop_ms=%.1f", idle_cpu, stop_ms);
	verdict(opt.expect != 0 && (uint64_t)offset != opt.expect ? "offset-differs" : NULL);
}

/* ---- Idle connections -------------------------------------------------------------------------------------------- */

static int answered;

static void idle_input(struct conn *c)
{
	struct rm_reply r;
	while (rm_next(c, &r))
		answered += r.response;
}

void mode_idle(void)
{
	struct rlimit lim = { (rlim_t)opt.conns + 64, (rlim_t)opt.conns + 64 };
	if (setrlimit(RLIMIT_NOFILE, &lim) != 0)
		fatal("%d descriptors: %s", opt.conns, strerror(errno));
	struct conn *conns = calloc((size_t)opt.conns, sizeof *conns);
	uint64_t rss = proc_rss_kb(opt.server_pid), start = now_ns();
	for (int i = 0; i < opt.conns; i++) {
		enum { ROOM = 512 };
		struct rm_request q;
		conn_open(&conns[i], opt.port, idle_input, NULL);
		rm_begin(&q, conn_room(&conns[i], ROOM), ROOM, opt.binary, 30, OPAQUE_BASE);
		rm_text(&q, "topic", opt.topic);
		rm_text(&q, "queueId", "0");
		rm_end(&q, OPAQUE_BASE, NULL, 0);
		conn_wrote(&conns[i], q.len);
		conn_flush(&conns[i]);
		net_poll(0);
	}
	while (answered < opt.conns && now_ns() - start < 60 * SECOND_NS)
		net_poll(SECOND_NS / 10);
	double s = (double)(now_ns() - start) / 1e9;
	uint64_t cpu = proc_cpu_us(opt.server_pid), quiet = now_ns();
	while (now_ns() - quiet < (uint64_t)(opt.seconds * 1e9))
		net_poll(SECOND_NS / 10);
	uint64_t rss_after = proc_rss_kb(opt.server_pid);
	printf("mode=idle server=%s conns=%d seconds=%.3f rate=%.0f", opt.label, opt.conns, s, opt.conns / s);
	printf(" rss_before_kb=%" PRIu64 " rss_after_kb=%" PRIu64 " bytes_per_conn=%.0f", rss, rss_after,
	       ((double)rss_after - (double)rss) * 1024 / opt.conns);
	printf(" idle_cpu=%.4f", (double)(proc_cpu_us(opt.server_pid) - cpu) / 1e6 / (opt.seconds > 0 ? opt.seconds : 1));
	verdict(answered == opt.conns ? NULL : "not-all-answered");
}
