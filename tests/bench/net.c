/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Loopback connections in one epoll set. A connection that the server closes ends the run: nothing after it could be believed. */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_SIZE = 256 << 10, OUT_SIZE = 16 << 10, EVENTS = 256 };

static int epoll_fd = -1;

int net_try(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	if (fd < 0)
		fatal("socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
		int err = errno;
		close(fd);
		errno = err;
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

static void watch_events(struct conn *c, int op, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = c };
	if (epoll_ctl(epoll_fd, op, c->fd, &ev) != 0)
		fatal("epoll_ctl: %s", strerror(errno));
}

void conn_open(struct conn *c, int port, void (*input)(struct conn *), void *owner)
{
	if (epoll_fd < 0 && (epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
		fatal("epoll_create1: %s", strerror(errno));
	memset(c, 0, sizeof *c);
	c->fd = net_try(port);
	if (c->fd < 0)
		fatal("connect to port %d: %s", port, strerror(errno));
	fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
	c->input = input;
	c->owner = owner;
	watch_events(c, EPOLL_CTL_ADD, EPOLLIN);
}

void conn_close(struct conn *c)
{
	close(c->fd);
	free(c->in);
	free(c->out);
	memset(c, 0, sizeof *c);
	c->fd = -1;
}

char *conn_room(struct conn *c, size_t n)
{
	if (c->out_size - c->out_len < n) {
		if (c->out_pos > 0) {
			memmove(c->out, c->out + c->out_pos, c->out_len - c->out_pos);
			c->out_len -= c->out_pos;
			c->out_pos = 0;
		}
		size_t size = c->out_size ? c->out_size : OUT_SIZE;
		while (size - c->out_len < n)
			size *= 2;
		if (size != c->out_size && (c->out = realloc(c->out, size)) == NULL)
			fatal("out of memory");
		c->out_size = size;
	}
	return c->out + c->out_len;
}

void conn_flush(struct conn *c)
{
	while (c->out_pos < c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_pos, c->out_len - c->out_pos, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (!c->blocked)
				watch_events(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
			c->blocked = true;
			return;
		}
		if (n < 0)
			fatal("send: %s", strerror(errno));
		c->out_pos += (size_t)n;
	}
	c->out_pos = c->out_len = 0;
	if (c->blocked)
		watch_events(c, EPOLL_CTL_MOD, EPOLLIN);
	c->blocked = false;
}

/* Reads once. A frame that does not fit makes the buffer grow: the parsers ask for whole frames only. */
static void conn_read(struct conn *c)
{
	if (c->in_pos == c->in_len)
		c->in_pos = c->in_len = 0;
	if (c->in_size - c->in_len < IN_SIZE / 4) {
		if (c->in_pos > 0) {
			memmove(c->in, c->in + c->in_pos, c->in_len - c->in_pos);
			c->in_len -= c->in_pos;
			c->in_pos = 0;
		}
		if (c->in_size - c->in_len < IN_SIZE / 4) {
			c->in_size = c->in_size ? c->in_size * 2 : IN_SIZE;
			if ((c->in = realloc(c->in, c->in_size)) == NULL)
				fatal("out of memory");
		}
	}
	ssize_t n = recv(c->fd, c->in + c->in_len, c->in_size - c->in_len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		fatal("recv: %s", strerror(errno));
	if (n == 0)
		fatal("the server closed a connection");
	c->in_len += (size_t)n;
	c->read_ns = now_ns();
	c->input(c);
}

void net_poll(uint64_t timeout_ns)
{
	struct epoll_event ev[EVENTS];
	struct timespec t = { .tv_sec = (time_t)(timeout_ns / SECOND_NS), .tv_nsec = (long)(timeout_ns % SECOND_NS) };
	int n = timeout_ns == 0 ? epoll_wait(epoll_fd, ev, EVENTS, 0) : epoll_pwait2(epoll_fd, ev, EVENTS, &t, NULL);
	if (n < 0 && errno != EINTR)
		fatal("epoll_wait: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		struct conn *c = ev[i].data.ptr;
		if (ev[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			conn_read(c);
		if (c->out_pos < c->out_len && (!c->blocked || (ev[i].events & EPOLLOUT)))
			conn_flush(c);
	}
}
