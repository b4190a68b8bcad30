/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What the machine allows, without a broker:
 *   bare sync FILE [--bytes N] [--seconds S]   pwrite + fdatasync at a growing offset of a file full of zeros
 *   bare write FILE [...]                      the same without the sync: the page cache
 *   bare echo PORT [--reply N]                 a server that answers each frame (u32 length, u32 opaque, ...) with N bytes
 * The first two print one line of key=value.
 */
#include "base/be.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FILE_SIZE = 128 << 20, CHUNK = 1 << 20, SAMPLES = 1 << 20, BUFFER = 256 << 10, EVENTS = 256, FRAME_LIMIT = 64 << 10 };

static void fail(const char *what)
{
	fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* ---- Disk -------------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int open_zeroed(const char *path)
{
	static char zeros[CHUNK];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		fail(path);
	for (long at = 0; at < FILE_SIZE; at += CHUNK)
		if (pwrite(fd, zeros, CHUNK, at) != CHUNK)
			fail("write");
	if (fsync(fd) != 0)
		fail("fsync");
	return fd;
}

static void disk(const char *path, bool sync, size_t bytes, double seconds)
{
	char *record = malloc(bytes);
	uint32_t *took = calloc(SAMPLES, sizeof *took);
	int fd = open_zeroed(path);
	uint64_t n = 0, start, now;
	long at = 0;
	if (record == NULL || took == NULL)
		fail("malloc");
	memset(record, 'r', bytes);
	start = now = now_ns();
	for (; now - start < (uint64_t)(seconds * 1e9); n++) {
		if (at + (long)bytes > FILE_SIZE)
			at = 0;
		if (pwrite(fd, record, bytes, at) != (ssize_t)bytes)
			fail("pwrite");
		if (sync && fdatasync(fd) != 0)
			fail("fdatasync");
		uint64_t then = now;
		now = now_ns();
		took[n % SAMPLES] = (uint32_t)(now - then);
		at += (long)bytes;
	}
	size_t samples = n < SAMPLES ? n : SAMPLES;
	qsort(took, samples, sizeof *took, by_value);
	double s = (double)(now - start) / 1e9;
	printf("mode=%s server=bare bytes=%zu seconds=%.3f messages=%" PRIu64 " rate=%.0f", sync ? "sync" : "write", bytes, s, n, (double)n / s);
	printf(" p50_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f valid=1 why=-\n", took[samples / 2] / 1e3,
	       took[samples * 99 / 100] / 1e3, took[samples * 999 / 1000] / 1e3, took[samples - 1] / 1e3);
	close(fd);
	unlink(path);
	free(record);
	free(took);
}

/* ---- Echo -------------------------------------------------------------------------------------------------------- */

struct peer {
	int fd;
	size_t in_len, out_len;
	char in[BUFFER];
	char *out;
};

static void peer_gone(struct peer *p)
{
	close(p->fd);
	free(p->out);
	free(p);
}

/* One read, all its frames, one write: the pattern that a broker uses at best. The write may block; a client reads what it asked for. */
static void serve(struct peer *p, size_t reply)
{
	ssize_t n = recv(p->fd, p->in + p->in_len, BUFFER - p->in_len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		peer_gone(p);
		return;
	}
	p->in_len += (size_t)n;
	size_t at = 0;
	for (p->out_len = 0; p->in_len - at >= 8;) {
		size_t frame = 4 + (size_t)be32_get(p->in + at);
		if (frame < 8 || frame > FRAME_LIMIT) {
			peer_gone(p);
			return;
		}
		if (p->in_len - at < frame)
			break;
		be32_put(p->out + p->out_len, (uint32_t)reply - 4);
		memcpy(p->out + p->out_len + 4, p->in + at + 4, 4);
		p->out_len += reply;
		at += frame;
	}
	memmove(p->in, p->in + at, p->in_len - at);
	p->in_len -= at;
	for (size_t sent = 0; sent < p->out_len; sent += (size_t)n) {
		n = send(p->fd, p->out + sent, p->out_len - sent, MSG_NOSIGNAL);
		if (n < 0) {
			peer_gone(p);
			return;
		}
	}
}

static void echo(int port, size_t reply)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev[EVENTS] = { { .events = EPOLLIN, .data.ptr = NULL } };
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, 1024) != 0)
		fail("listen");
	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev[0]);
	for (;;) {
		int n = epoll_wait(ep, ev, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct peer *p = ev[i].data.ptr;
			if (p != NULL) {
				serve(p, reply);
				continue;
			}
			p = malloc(sizeof *p);
			p->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			p->in_len = 0;
			p->out = malloc((BUFFER / 8 + 1) * reply);
			setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
			struct epoll_event add = { .events = EPOLLIN, .data.ptr = p };
			epoll_ctl(ep, EPOLL_CTL_ADD, p->fd, &add);
		}
	}
}

/* ---- Fan out ----------------------------------------------------------------------------------------------------- */

enum { FANS_MAX = 16384, ANSWER = 120 };

/* A WebSocket frame of so many bytes in all. */
static void ws_frame(char *to, size_t bytes)
{
	size_t n = bytes - (bytes < 128 ? 2 : 4);

	memset(to, 'x', bytes);
	to[0] = (char)0x81;
	to[1] = n < 126 ? (char)n : 126;
	if (n >= 126)
		be16_put(to + 2, (uint16_t)n);
}

static void send_all(int fd, const char *p, size_t bytes)
{
	for (size_t sent = 0; sent < bytes;) {
		ssize_t n = send(fd, p + sent, bytes - sent, MSG_NOSIGNAL);
		if (n < 0)
			return; /* gone: its own event says so */
		sent += (size_t)n;
	}
}

/* Whoever sends a request has one frame sent to every other connection, in a loop, and then gets an answer. */
static void fan(int port, size_t reply)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, ep = epoll_create1(EPOLL_CLOEXEC), *fds = calloc(FANS_MAX, sizeof *fds), n_fds = 0;
	struct epoll_event ev[EVENTS] = { { .events = EPOLLIN, .data.fd = listener } };
	char *frame = malloc(reply), answer[ANSWER], *in = malloc(BUFFER);
	size_t in_n = 0;

	ws_frame(frame, reply);
	ws_frame(answer, ANSWER);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, 1024) != 0)
		fail("listen");
	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev[0]);
	for (;;) {
		int n = epoll_wait(ep, ev, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			int fd = ev[i].data.fd;
			if (fd == listener) {
				fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
				struct epoll_event add = { .events = EPOLLIN, .data.fd = fd };
				epoll_ctl(ep, EPOLL_CTL_ADD, fd, &add);
				if (n_fds < FANS_MAX)
					fds[n_fds++] = fd;
				continue;
			}
			ssize_t k = recv(fd, in + in_n, BUFFER - in_n, 0);
			if (k <= 0) {
				for (int f = 0; f < n_fds; f++)
					if (fds[f] == fd)
						fds[f--] = fds[--n_fds];
				close(fd);
				in_n = 0;
				continue;
			}
			in_n += (size_t)k;
			while (in_n >= 4 && in_n >= 4 + (size_t)be32_get(in)) { /* one publisher: one buffer */
				size_t used = 4 + (size_t)be32_get(in);
				for (int f = 0; f < n_fds; f++)
					if (fds[f] != fd)
						send_all(fds[f], frame, reply);
				send_all(fd, answer, ANSWER);
				memmove(in, in + used, in_n - used);
				in_n -= used;
			}
		}
	}
}

int main(int argc, char **argv)
{
	size_t bytes = 300, reply = 200;
	double seconds = 5;
	signal(SIGPIPE, SIG_IGN);
	if (argc < 3)
		goto usage;
	for (int i = 3; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--bytes") == 0)
			bytes = strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--reply") == 0)
			reply = strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--seconds") == 0)
			seconds = strtod(argv[i + 1], NULL);
		else
			goto usage;
	}
	if (bytes < 1 || bytes > FILE_SIZE || reply < 8)
		goto usage;
	if (strcmp(argv[1], "echo") == 0)
		echo(atoi(argv[2]), reply);
	if (strcmp(argv[1], "fan") == 0)
		fan(atoi(argv[2]), reply);
	if (strcmp(argv[1], "sync") != 0 && strcmp(argv[1], "write") != 0)
		goto usage;
	disk(argv[2], argv[1][0] == 's', bytes, seconds);
	return 0;
usage:
	fprintf(stderr, "usage: bare sync|write FILE [--bytes N] [--seconds S], bare echo|fan PORT [--reply N]\n");
	return 2;
}
