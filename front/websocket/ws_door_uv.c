/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A visitor:
 *
 *   reading   its request comes; it is looked at where it lies (MSG_PEEK), and SO_RCVLOWAT keeps the poll from waking for bytes already seen
 *   passing   it passed: the poll is closing, and only when it has gone may another watch the socket
 *   leaving   it was refused and has its answer; what it still sends is taken and dropped until it hangs up, so that the answer is not destroyed
 *             by a reset
 *   gone      the poll is closing, then the socket is closed
 *
 * Every state has the same time limit, so the oldest visitor is the first to be late.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"
#include "front/websocket/ws_door.h"
#include "front/websocket/ws_upgrade.h"

enum { DOOR_MAGIC = 0x77736472, VISITOR_MAGIC = 0x77737673, ACCEPT_BATCH = 64, LEAVING_MAX = 256 << 10,
       NOT_SENT_MAX = 32 << 10 /* the kernel would keep megabytes for each connection that does not read */ };
#define LIMIT_NS (10 * SEC_NS)          /* for the request */
#define LEAVE_NS (1 * SEC_NS)           /* for a refused one to hang up */
#define COMPLAIN_EVERY_NS (10 * SEC_NS)

struct ws_door {
	uint32_t magic;
	struct ws_door_conf conf;
	uv_poll_t poll;
	bool shut;
	size_t handles;          /* of uv, not closed yet */
	struct list reading, leaving; /* visitors, oldest first */
	int reserve_fd;          /* given up for a moment to refuse a connection when there is no other descriptor */
	uint64_t complained_ns;
	struct ws_door_numbers n;
};
enum visitor_state { READING, PASSING, LEAVING, GONE };
struct visitor {
	uint32_t magic;
	enum visitor_state state;
	struct ws_door *door;
	struct list link;        /* in one of the door's lists; neither while the poll closes */
	uv_poll_t poll;
	int fd;
	uint64_t due_ns;
	size_t seen;             /* bytes peeked at, or dropped while leaving */
};

static void visitor_end(struct visitor *v, enum visitor_state to);

static void complain(struct ws_door *d, const char *why)
{
	uint64_t now = clock_mono_ns(d->conf.env->clock);

	if (d->complained_ns != 0 && now - d->complained_ns < COMPLAIN_EVERY_NS)
		return;
	d->complained_ns = now;
	log_warn(d->conf.env->log, "websocket", "refused=%llu why=\"%s\"", (unsigned long long)d->n.refused, why);
}

/* ---- Passing --------------------------------------------------------------------------------------------------------------------------- */

struct address {
	char text[INET6_ADDRSTRLEN + 16]; /* "ip:port" */
	uint32_t ip;             /* IPv4, host order; 0 for IPv6 */
	uint16_t port;
};

static void read_address(const struct sockaddr_storage *s, struct address *ret)
{
	char ip[INET6_ADDRSTRLEN] = "";

	memset(ret, 0, sizeof(*ret));
	if (s->ss_family == AF_INET) {
		const struct sockaddr_in *a = (const struct sockaddr_in *)s;
		ret->ip = ntohl(a->sin_addr.s_addr);
		ret->port = ntohs(a->sin_port);
		inet_ntop(AF_INET, &a->sin_addr, ip, sizeof(ip));
		snprintf(ret->text, sizeof(ret->text), "%s:%u", ip, ret->port);
	} else if (s->ss_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)s;
		ret->port = ntohs(a->sin6_port);
		inet_ntop(AF_INET6, &a->sin6_addr, ip, sizeof(ip));
		snprintf(ret->text, sizeof(ret->text), "[%s]:%u", ip, ret->port);
	}
}

static ssize_t peek(int fd, uint8_t *to, size_t n, int flags)
{
	ssize_t k;

	do {
		k = recv(fd, to, n, flags | MSG_DONTWAIT);
	} while (k < 0 && errno == EINTR);
	return k;
}

/* The socket is nobody's: its request is read off it for good, and it is handed on. */
static void hand_over(struct ws_door *d, int fd)
{
	struct sockaddr_storage peer = {0}, local = {0};
	socklen_t peer_n = sizeof(peer), local_n = sizeof(local);
	struct ws_arrival a = {.fd = fd};
	struct address from, to;
	uint8_t head[UPGRADE_HEAD_MAX];
	struct upgrade u;
	struct buf plain = {0};
	ssize_t n = peek(fd, head, sizeof(head), MSG_PEEK);
	int low = 1;

	if (n <= 0 || upgrade_read(slice_of(head, (size_t)n), d->conf.env->conf, d->conf.protocols, &u) != UPGRADE_GOT ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)) < 0 || peek(fd, head, u.bytes, 0) != (ssize_t)u.bytes ||
	    getpeername(fd, (struct sockaddr *)&peer, &peer_n) < 0 || getsockname(fd, (struct sockaddr *)&local, &local_n) < 0) {
		close(fd); /* reset meanwhile: what was whole a moment ago is not taken back by an honest peer */
		return;
	}
	read_address(&peer, &from);
	read_address(&local, &to);
	upgrade_plain(&plain, &u, d->conf.protocols);
	a.protocol = u.protocol;
	a.request = buf_view(&plain);
	a.info = (struct stream_info){.peer = slice_str(from.text), .peer_ip = from.ip, .peer_port = from.port, .local_ip = to.ip, .local_port = to.port,
				      .subprotocol = slice_str(d->conf.protocols[u.protocol]), .origin = u.origin};
	d->conf.arrived(d->conf.arg, &a);
	buf_fini(&plain);
}

static void poll_gone(uv_handle_t *h)
{
	struct visitor *v = container_of((uv_poll_t *)h, struct visitor, poll);
	struct ws_door *d = v->door;

	CHECK_OBJ(v, VISITOR_MAGIC);
	d->handles--;
	if (v->state == PASSING && !d->shut)
		hand_over(d, v->fd);
	else
		close(v->fd);
	v->magic = 0;
	mem_free(v);
	d->n.waiting--;
}

static void visitor_end(struct visitor *v, enum visitor_state to)
{
	CHECK(v->state == READING || v->state == LEAVING);
	v->state = to;
	list_remove(&v->link);
	uv_close((uv_handle_t *)&v->poll, poll_gone);
}

/* ---- Reading and refusing ------------------------------------------------------------------------------------------------------------------ */

static void on_visitor(uv_poll_t *h, int status, int events);

static void refuse(struct visitor *v, const struct upgrade *u)
{
	struct ws_door *d = v->door;
	struct buf b = {0};
	int low = 1;

	d->n.refused++;
	upgrade_refusal(&b, u, d->conf.protocols);
	ssize_t n = send(v->fd, b.p, b.n, MSG_NOSIGNAL | MSG_DONTWAIT); /* an empty send buffer takes it */
	bool sent = n == (ssize_t)b.n && shutdown(v->fd, SHUT_WR) == 0 && setsockopt(v->fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)) == 0;
	buf_fini(&b);
	if (!sent) {
		visitor_end(v, GONE);
		return;
	}
	v->state = LEAVING;
	v->seen = 0;
	v->due_ns = clock_mono_ns(d->conf.env->clock) + LEAVE_NS;
	list_remove(&v->link);
	list_push(&d->leaving, &v->link);
}

static void leave(struct visitor *v)
{
	uint8_t drop[16 << 10];
	ssize_t n = peek(v->fd, drop, sizeof(drop), 0);

	if (n > 0)
		v->seen += (size_t)n;
	if (n == 0 || (n < 0 && errno != EAGAIN) || v->seen > LEAVING_MAX)
		visitor_end(v, GONE);
}

static void on_visitor(uv_poll_t *h, int status, int events)
{
	struct visitor *v = container_of(h, struct visitor, poll);
	struct ws_door *d = v->door;
	uint8_t head[UPGRADE_HEAD_MAX];
	struct upgrade u;

	(void)events;
	CHECK_OBJ(v, VISITOR_MAGIC);
	if (v->state == LEAVING) {
		leave(v);
		return;
	}
	ssize_t n = status < 0 ? 0 : peek(v->fd, head, sizeof(head), MSG_PEEK);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || (size_t)n == v->seen) { /* nothing new and yet awake: it hung up in the middle */
		visitor_end(v, GONE);
		return;
	}
	v->seen = (size_t)n;
	switch (upgrade_read(slice_of(head, (size_t)n), d->conf.env->conf, d->conf.protocols, &u)) {
	case UPGRADE_MORE: {
		int low = (int)n + 1;
		if (setsockopt(v->fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)) < 0)
			visitor_end(v, GONE);
		return;
	}
	case UPGRADE_REFUSED:
		refuse(v, &u);
		return;
	case UPGRADE_GOT:
		break;
	}
	if (!d->conf.full(d->conf.arg)) {
		visitor_end(v, PASSING);
		return;
	}
	complain(d, "connection limit");
	u.status = 503;
	u.why = "there are too many connections";
	refuse(v, &u);
}

/* ---- Accepting --------------------------------------------------------------------------------------------------------------------------------- */

static void take(struct ws_door *d, int fd)
{
	int one = 1, bytes = NOT_SENT_MAX;

	if (d->n.waiting >= d->conf.env->conf->ws_max_conns) {
		d->n.refused++;
		complain(d, "too many connections at the door");
		close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
	struct visitor *v = mem_new(sizeof(*v));
	v->magic = VISITOR_MAGIC;
	v->door = d;
	v->fd = fd;
	if (uv_poll_init(d->conf.env->loop, &v->poll, fd) != 0) {
		close(fd);
		mem_free(v);
		return;
	}
	d->n.accepted++;
	d->n.waiting++;
	d->handles++;
	v->due_ns = clock_mono_ns(d->conf.env->clock) + LIMIT_NS;
	list_push(&d->reading, &v->link);
	CHECK(uv_poll_start(&v->poll, UV_READABLE, on_visitor) == 0);
}

/* No descriptor is left: the connection that waits is taken with the reserve and closed. */
static void refuse_one(struct ws_door *d)
{
	int fd;

	d->n.refused++;
	complain(d, "no file descriptor left");
	if (d->reserve_fd >= 0)
		close(d->reserve_fd);
	fd = accept4(d->conf.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	d->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_accept(uv_poll_t *h, int status, int events)
{
	struct ws_door *d = container_of(h, struct ws_door, poll);

	(void)status;
	(void)events;
	CHECK_OBJ(d, DOOR_MAGIC);
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(d->conf.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			take(d, fd);
		} else if (errno == EMFILE || errno == ENFILE) {
			refuse_one(d);
			return;
		} else if (errno == EAGAIN) {
			return;
		}
		/* Anything else is the fate of one connection that never came to be. */
	}
}

/* ---- Life ----------------------------------------------------------------------------------------------------------------------------------------- */

struct ws_door *ws_door_open(const struct ws_door_conf *conf)
{
	struct ws_door *d = mem_new(sizeof(*d));

	d->magic = DOOR_MAGIC;
	d->conf = *conf;
	list_init(&d->reading);
	list_init(&d->leaving);
	d->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK(uv_poll_init(conf->env->loop, &d->poll, conf->fd) == 0);
	d->handles++;
	CHECK(uv_poll_start(&d->poll, UV_READABLE, on_accept) == 0);
	return d;
}

static uint64_t late(struct list *l, uint64_t now_ns)
{
	while (!list_empty(l)) {
		struct visitor *v = container_of(l->next, struct visitor, link);
		if (v->due_ns > now_ns)
			return v->due_ns;
		if (v->state == READING && v->seen > 0) {
			struct upgrade u = {.status = 408, .why = "the request did not come in time"};
			refuse(v, &u);
		} else {
			visitor_end(v, GONE);
		}
	}
	return NEVER;
}

uint64_t ws_door_turn(struct ws_door *d, uint64_t now_ns)
{
	uint64_t due;

	CHECK_OBJ(d, DOOR_MAGIC);
	due = late(&d->reading, now_ns);
	return u64_min(due, late(&d->leaving, now_ns));
}

static void listener_gone(uv_handle_t *h)
{
	struct ws_door *d = container_of((uv_poll_t *)h, struct ws_door, poll);

	close(d->conf.fd);
	d->handles--;
}

void ws_door_shut(struct ws_door *d)
{
	CHECK_OBJ(d, DOOR_MAGIC);
	if (d->shut)
		return;
	d->shut = true;
	uv_close((uv_handle_t *)&d->poll, listener_gone);
	while (!list_empty(&d->reading))
		visitor_end(container_of(d->reading.next, struct visitor, link), GONE);
	while (!list_empty(&d->leaving))
		visitor_end(container_of(d->leaving.next, struct visitor, link), GONE);
}

bool ws_door_empty(const struct ws_door *d)
{
	CHECK_OBJ(d, DOOR_MAGIC);
	return d->handles == 0;
}

void ws_door_free(struct ws_door *d)
{
	CHECK_OBJ(d, DOOR_MAGIC);
	CHECK(d->handles == 0);
	if (d->reserve_fd >= 0)
		close(d->reserve_fd);
	d->magic = 0;
	mem_free(d);
}

struct ws_door_numbers ws_door_numbers(const struct ws_door *d)
{
	return d->n;
}
