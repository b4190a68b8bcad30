/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The carrier: listeners, accepting, and its part in the loop's turn.
 *
 * A process out of descriptors could neither accept nor refuse, and its listener would stay readable for ever. So one descriptor is
 * held in reserve: it is given up to accept and close the one that waits.
 */
#include "os/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/tcp_conn.h"

enum {
	LISTENER_MAGIC = 0x6c69736e,
	BACKLOG = 4096,
	ACCEPT_BATCH = 64,      /* connections taken per event, so that those that are there get their turn */
};
#define COMPLAIN_EVERY_NS (10 * SEC_NS)

struct tcp_listener {
	uint32_t magic;
	struct tcp *tcp;
	struct list link;
	int fd;
	bool listening;
	uv_poll_t poll;
	const struct stream_ops *ops;
	void *front;
	char where[64];
};

void tcp_conf_default(struct tcp_conf *c)
{
	*c = (struct tcp_conf){
		.max_conns = 20000, .out_max = 1 << 20, .out_limit = 256 << 20, .in_limit = 512 << 20, .stall_ms = 60000, .linger_ms = 2000};
}

/* ---- Addresses ------------------------------------------------------------------------------------------------------------ */

bool tcp_parse(const char *ip, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_n)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1) {
		memcpy(ret, &v4, sizeof(v4));
		*ret_n = sizeof(v4);
		return true;
	}
	if (inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1) {
		memcpy(ret, &v6, sizeof(v6));
		*ret_n = sizeof(v6);
		return true;
	}
	return false;
}

void tcp_addr(const struct sockaddr_storage *s, struct tcp_addr *ret)
{
	char ip[INET6_ADDRSTRLEN] = "?";
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	*ret = (struct tcp_addr){.ip = 0};
	if (s->ss_family == AF_INET) {
		memcpy(&v4, s, sizeof(v4));
		ret->ip = ntohl(v4.sin_addr.s_addr);
		ret->port = ntohs(v4.sin_port);
		inet_ntop(AF_INET, &v4.sin_addr, ip, sizeof(ip));
		snprintf(ret->text, sizeof(ret->text), "%s:%u", ip, ret->port);
	} else if (s->ss_family == AF_INET6) {
		memcpy(&v6, s, sizeof(v6));
		ret->port = ntohs(v6.sin6_port);
		inet_ntop(AF_INET6, &v6.sin6_addr, ip, sizeof(ip));
		snprintf(ret->text, sizeof(ret->text), "[%s]:%u", ip, ret->port);
	}
}

/* ---- Listeners -------------------------------------------------------------------------------------------------------------- */

static enum status why_not(int err, const char *what, const char *where, char *why, size_t why_size)
{
	snprintf(why, why_size, "cannot %s %s: %s", what, where, strerror(err));
	return err == EADDRINUSE ? ST_EXISTS : err == EACCES ? ST_DENIED : ST_BAD_ARG;
}

/* A bound socket, and where. */
static enum status bound(const char *ip, uint16_t port, int *ret, struct tcp_addr *ret_addr, char *why, size_t why_size)
{
	struct sockaddr_storage s;
	socklen_t n;
	int fd, one = 1, err;

	CHECK(ip != NULL && ret != NULL && why != NULL);
	if (!tcp_parse(ip, port, &s, &n)) {
		snprintf(why, why_size, "not an IP address: %s", ip);
		return ST_BAD_ARG;
	}
	tcp_addr(&s, ret_addr);
	fd = socket(s.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return why_not(errno, "open a socket for", ret_addr->text, why, why_size);
	/* Else a port would stay taken for a minute by connections of the process that had it before. */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&s, n) < 0) {
		err = errno;
		close(fd);
		return why_not(err, "bind to", ret_addr->text, why, why_size);
	}
	n = sizeof(s);
	CHECK(getsockname(fd, (struct sockaddr *)&s, &n) == 0);
	tcp_addr(&s, ret_addr);
	*ret = fd;
	return ST_OK;
}

enum status tcp_socket(const char *ip, uint16_t port, int *ret, uint16_t *ret_port, char *why, size_t why_size)
{
	struct tcp_addr addr;
	enum status st = bound(ip, port, ret, &addr, why, why_size);

	if (st == ST_OK)
		*ret_port = addr.port;
	return st;
}

enum status tcp_socket_listen(int fd, char *why, size_t why_size)
{
	struct sockaddr_storage s = {.ss_family = AF_UNSPEC};
	socklen_t n = sizeof(s);
	struct tcp_addr addr;

	if (listen(fd, BACKLOG) == 0)
		return ST_OK;
	int err = errno;
	(void)getsockname(fd, (struct sockaddr *)&s, &n);
	tcp_addr(&s, &addr);
	return why_not(err, "listen on", addr.text, why, why_size);
}

enum status tcp_bind(struct tcp *t, const char *ip, uint16_t port, struct tcp_listener **ret, uint16_t *ret_port, char *why,
		     size_t why_size)
{
	struct tcp_addr addr;
	enum status st;
	int fd;

	CHECK_OBJ(t, TCP_MAGIC);
	CHECK(ret != NULL);
	st = bound(ip, port, &fd, &addr, why, why_size);
	if (st != ST_OK)
		return st;
	if (ret_port != NULL)
		*ret_port = addr.port;

	struct tcp_listener *l = mem_new(sizeof(*l));
	l->magic = LISTENER_MAGIC;
	l->tcp = t;
	l->fd = fd;
	memcpy(l->where, addr.text, sizeof(l->where));
	CHECK(uv_poll_init(t->loop, &l->poll, fd) == 0);
	t->handles++;
	list_push(&t->listeners, &l->link);
	*ret = l;
	return ST_OK;
}

static bool may_complain(uint64_t *last, uint64_t now)
{
	if (*last != 0 && now - *last < COMPLAIN_EVERY_NS)
		return false;
	*last = now;
	return true;
}

/* No descriptor is left: the connection that waits is taken with the reserve and closed. */
static void refuse_one(struct tcp_listener *l)
{
	struct tcp *t = l->tcp;
	int fd;

	t->stats.refused++;
	if (may_complain(&t->fds_logged_ns, clock_mono_ns(t->clock)))
		log_error(t->log, "tcp", "listener=%s refused=%llu why=\"no file descriptor left\" conns=%u", l->where,
			  (unsigned long long)t->stats.refused, t->n_accepted);
	if (t->reserve_fd >= 0)
		close(t->reserve_fd);
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	t->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void take(struct tcp_listener *l, int fd)
{
	struct tcp *t = l->tcp;

	if (t->n_accepted >= t->conf.max_conns) {
		t->stats.refused++;
		if (may_complain(&t->full_logged_ns, clock_mono_ns(t->clock)))
			log_warn(t->log, "tcp", "listener=%s refused=%llu why=\"connection limit\" limit=%u", l->where,
				 (unsigned long long)t->stats.refused, t->conf.max_conns);
		close(fd);
		return;
	}
	t->stats.accepted++;
	conn_open(t, fd, l->ops, l->front, true);
}

static void on_accept(uv_poll_t *h, int status, int events)
{
	struct tcp_listener *l = container_of(h, struct tcp_listener, poll);

	(void)status;
	(void)events;
	CHECK_OBJ(l, LISTENER_MAGIC);
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			take(l, fd);
		} else if (errno == EMFILE || errno == ENFILE) {
			refuse_one(l);
			return;
		} else if (errno == EAGAIN) {
			return;
		}
		/* Anything else is the fate of one connection that never came to be. */
	}
}

enum status tcp_listen(struct tcp_listener *l, const struct stream_ops *ops, void *front, char *why, size_t why_size)
{
	CHECK_OBJ(l, LISTENER_MAGIC);
	CHECK(ops != NULL && !ops->framed && !l->listening);
	if (listen(l->fd, BACKLOG) < 0)
		return why_not(errno, "listen on", l->where, why, why_size);
	l->ops = ops;
	l->front = front;
	l->listening = true;
	CHECK(uv_poll_start(&l->poll, UV_READABLE, on_accept) == 0);
	return ST_OK;
}

static void listener_gone(uv_handle_t *h)
{
	struct tcp_listener *l = container_of((uv_poll_t *)h, struct tcp_listener, poll);
	struct tcp *t = l->tcp;

	l->magic = 0;
	mem_free(l);
	tcp_handle_gone(t);
}

void tcp_unlisten(struct tcp *t)
{
	struct list *n;

	CHECK_OBJ(t, TCP_MAGIC);
	while ((n = list_pop(&t->listeners)) != NULL) {
		struct tcp_listener *l = container_of(n, struct tcp_listener, link);
		uv_poll_stop(&l->poll);
		close(l->fd);
		uv_close((uv_handle_t *)&l->poll, listener_gone);
	}
	t->ending = true;
	LIST_EACH(&t->conns, c)
		conn_ending(container_of(c, struct conn, link), clock_mono_ns(t->clock));
}

/* ---- Life and turn ------------------------------------------------------------------------------------------------------------ */

struct tcp *tcp_open(uv_loop_t *loop, struct clock *clock, struct log *log, const struct tcp_conf *conf)
{
	struct tcp *t = mem_new(sizeof(*t));

	CHECK(loop != NULL && clock != NULL && log != NULL && conf != NULL);
	CHECK(conf->max_conns > 0 && conf->out_max > 0 && conf->out_limit >= conf->out_max);
	t->magic = TCP_MAGIC;
	t->loop = loop;
	t->clock = clock;
	t->log = log;
	t->conf = *conf;
	list_init(&t->listeners);
	list_init(&t->conns);
	list_init(&t->dirty);
	list_init(&t->active);
	list_init(&t->resumed);
	t->read_buf = mem_grow(NULL, READ_BYTES);
	t->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return t;
}

void tcp_turn(struct tcp *t, uint64_t now_ns)
{
	struct list resumed, *n;
	struct heap_node *h;

	CHECK_OBJ(t, TCP_MAGIC);
	list_init(&resumed);
	list_move(&resumed, &t->resumed);
	while ((n = list_pop(&resumed)) != NULL)
		conn_offer(container_of(n, struct conn, resumed));
	while ((n = list_pop(&t->active)) != NULL)
		conn_deadline(container_of(n, struct conn, active), now_ns);
	while ((h = heap_first(&t->timers)) != NULL && h->due <= now_ns)
		conn_tick(container_of(h, struct conn, timer), now_ns);
	t->called = false;
}

uint64_t tcp_flush(struct tcp *t, uint64_t now_ns)
{
	struct list dirty, *n;
	struct heap_node *h;

	CHECK_OBJ(t, TCP_MAGIC);
	/* What becomes dirty meanwhile has its turn after the next poll: a peer that takes all may not keep us here. */
	list_init(&dirty);
	list_move(&dirty, &t->dirty);
	while ((n = list_pop(&dirty)) != NULL)
		conn_flush(container_of(n, struct conn, dirty), now_ns);
	if (t->called || !list_empty(&t->dirty) || !list_empty(&t->resumed) || !list_empty(&t->active))
		return 0;
	h = heap_first(&t->timers);
	return h == NULL ? NEVER : h->due;
}

void tcp_hang_up(struct tcp *t)
{
	CHECK_OBJ(t, TCP_MAGIC);
	LIST_EACH(&t->conns, n)
		conn_hang_up(container_of(n, struct conn, link), ST_CLOSED);
}

void tcp_stats(const struct tcp *t, struct tcp_stats *ret)
{
	CHECK_OBJ(t, TCP_MAGIC);
	*ret = t->stats;
}

static void tcp_free(struct tcp *t)
{
	CHECK(list_empty(&t->conns) && list_empty(&t->listeners));
	if (t->reserve_fd >= 0)
		close(t->reserve_fd);
	heap_fini(&t->timers);
	mem_free(t->read_buf);
	t->magic = 0;
	mem_free(t);
}

void tcp_handle_gone(struct tcp *t)
{
	CHECK(t->handles > 0);
	if (--t->handles == 0 && t->closing)
		tcp_free(t);
}

void tcp_close(struct tcp *t)
{
	CHECK_OBJ(t, TCP_MAGIC);
	tcp_unlisten(t);
	while (!list_empty(&t->conns))
		conn_die(container_of(t->conns.next, struct conn, link), ST_CLOSED);
	t->closing = true;
	if (t->handles == 0)
		tcp_free(t);
}

void tcp_adopt(struct tcp *t, int fd, const struct stream_ops *ops, void *front)
{
	CHECK_OBJ(t, TCP_MAGIC);
	CHECK(fd >= 0 && ops != NULL && !ops->framed);
	conn_open(t, fd, ops, front, false);
}
