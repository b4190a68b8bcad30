/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A connection's life, input and deadlines.
 *
 * Input is read into one buffer that all connections of the loop share, and offered from there; only what the protocol leaves is kept
 * in memory of the connection's own, and that is given back when it is consumed. So an idle connection costs its structs and no
 * buffers. A rest that is small is put in front of the next read; a large one (a frame of megabytes) is read into directly.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/loop_uv.h"
#include "os/tcp_conn.h"

enum {
	IN_SHARE = 64 << 10,         /* a connection may keep so much even when all together keep too much */
	REST_SMALL = READ_BYTES / 2, /* a rest up to here is copied in front of the next read */
	READ_ROUNDS = 4,             /* full buffers read per event, so that others get their turn */
	UNSENT_MAX = 32 << 10,       /* bytes that the kernel takes of who has an out_max and does not send yet */
	ENDING_MS = 50,              /* ending: between looks whether the peer has all, and its time to hang up by itself */
};

/* ---- Transport: what TLS would replace --------------------------------------------------------------------------------------- */

/* Bytes read; 0: the peer's end; -1: errno, EAGAIN when there is nothing. */
static ssize_t transport_read(struct conn *c, void *p, size_t n)
{
	ssize_t k;

	do {
		k = recv(c->fd, p, n, 0);
	} while (k < 0 && errno == EINTR);
	return k;
}

/* ---- Life ------------------------------------------------------------------------------------------------------------------------ */

static void on_event(uv_poll_t *h, int status, int events);

void conn_poll(struct conn *c)
{
	int want = 0;

	if (c->state == CONN_SHUT || (c->state == CONN_OPEN && !c->paused))
		want |= UV_READABLE;
	if (c->out_bytes > 0)
		want |= UV_WRITABLE;
	if (want == c->events)
		return;
	c->events = want;
	if (want == 0)
		CHECK(uv_poll_stop(&c->poll) == 0);
	else
		CHECK(uv_poll_start(&c->poll, want, on_event) == 0);
}

void conn_set_timer(struct conn *c, uint64_t earliest)
{
	uint64_t due = u64_max(earliest, u64_min(c->proto_due, u64_min(c->stall_due, c->linger_due)));

	if (due == NEVER)
		heap_drop(&c->tcp->timers, &c->timer);
	else if (!heap_has(&c->timer) || c->timer.due != due)
		heap_put(&c->tcp->timers, &c->timer, due);
}

void conn_open(struct tcp *t, int fd, const struct stream_ops *ops, void *front, bool accepted)
{
	struct conn *c = mem_new(sizeof(*c) + ops->conn_size);
	struct sockaddr_storage s;
	struct tcp_addr peer = {.ip = 0}, local = {.ip = 0};
	socklen_t n = sizeof(s);
	int one = 1, unsent = UNSENT_MAX;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* A bound on what is queued here means little while the kernel takes megabytes that its peer does not. */
	if (ops->out_max > 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	if (getpeername(fd, (struct sockaddr *)&s, &n) == 0)
		tcp_addr(&s, &peer);
	n = sizeof(s);
	if (getsockname(fd, (struct sockaddr *)&s, &n) == 0)
		tcp_addr(&s, &local);
	c->stream.out = &tcp_out_ops;
	c->magic = CONN_MAGIC;
	c->tcp = t;
	c->ops = ops;
	c->fd = fd;
	c->accepted = accepted;
	c->proto_due = c->stall_due = c->linger_due = NEVER;
	CHECK(uv_poll_init(t->loop, &c->poll, fd) == 0);
	t->handles++;
	t->stats.conns++;
	t->n_accepted += accepted;
	list_push(&t->conns, &c->link);
	list_push(&t->active, &c->active);
	struct stream_info info = {
		.peer = slice_str(peer.text), .peer_ip = peer.ip, .peer_port = peer.port, .local_ip = local.ip, .local_port = local.port};
	t->called = true;
	ops->opened(c->state_of_ops, front, &c->stream, &info);
	conn_poll(c);
}

static void forget_input(struct conn *c)
{
	CHECK(c->tcp->kept >= c->in_cap);
	c->tcp->kept -= c->in_cap;
	mem_free(c->in);
	c->in = NULL;
	c->in_n = c->in_cap = 0;
}

static void grow_input(struct conn *c, size_t cap)
{
	CHECK(cap >= c->in_cap);
	c->tcp->kept += cap - c->in_cap;
	c->in_cap = cap;
	c->in = mem_grow(c->in, cap);
}

static void conn_gone(uv_handle_t *h)
{
	struct conn *c = container_of((uv_poll_t *)h, struct conn, poll);
	struct tcp *t = c->tcp;

	c->magic = 0;
	mem_free(c);
	tcp_handle_gone(t);
}

void conn_die(struct conn *c, enum status why)
{
	struct tcp *t = c->tcp;

	CHECK_OBJ(c, CONN_MAGIC);
	CHECK(c->state != CONN_DEAD);
	c->state = CONN_DEAD;
	uv_poll_stop(&c->poll);
	close(c->fd);
	c->fd = -1;
	heap_drop(&t->timers, &c->timer);
	list_remove(&c->link);
	list_remove(&c->dirty);
	list_remove(&c->active);
	list_remove(&c->resumed);
	forget_input(c);
	conn_out_free(c);
	t->stats.conns--;
	t->n_accepted -= c->accepted;
	t->called = true;
	c->ops->closed(c->state_of_ops, why);
	uv_close((uv_handle_t *)&c->poll, conn_gone);
}

void conn_hang_up(struct conn *c, enum status why)
{
	struct tcp *t = c->tcp;

	if (c->state != CONN_OPEN)
		return;
	c->state = CONN_CLOSING;
	c->why = why;
	/* Kept input stays for now: the protocol may be looking at it. */
	list_remove(&c->active);
	list_remove(&c->resumed);
	/* The flush of this turn writes what is queued and goes on from there; the peer's time begins with it, for until then the peer got nothing. */
	if (!list_linked(&c->dirty))
		list_push(&t->dirty, &c->dirty);
}

/* ---- Input ------------------------------------------------------------------------------------------------------------------------- */

/* Offers bytes until the protocol wants more than there is, pauses or closes. Returns how many it consumed. */
static size_t offer(struct conn *c, const uint8_t *p, size_t n)
{
	size_t used = 0;

	c->tcp->called = true;
	while (used < n && c->state == CONN_OPEN && !c->paused) {
		ptrdiff_t k = c->ops->input(c->state_of_ops, slice_of(p + used, n - used));
		if (k < 0) {
			conn_hang_up(c, ST_PROTO);
			break;
		}
		CHECK((size_t)k <= n - used);
		if (k == 0)
			break;
		used += (size_t)k;
	}
	return used;
}

/* Keeps what was not consumed. It may stand in 'in' itself. */
static void keep(struct conn *c, const uint8_t *p, size_t n)
{
	if (n == 0 || c->state != CONN_OPEN) {
		forget_input(c);
		return;
	}
	if (c->in_cap < n) {
		CHECK(c->in == NULL || p < c->in || p >= c->in + c->in_cap);
		grow_input(c, (n + 1023) & ~(size_t)1023);
	}
	memmove(c->in, p, n);
	c->in_n = n;
	if (c->tcp->kept > c->tcp->conf.in_limit && n > IN_SHARE && !c->paused) {
		log_warn(c->tcp->log, "tcp", "proto=%s closed why=\"too much of requests that are not whole is kept\" bytes=%zu all=%zu", c->ops->name, n, c->tcp->kept);
		conn_hang_up(c, ST_BUSY);
		return;
	}
	if (n >= c->ops->input_max && !c->paused) {
		log_warn(c->tcp->log, "tcp", "proto=%s closed why=\"more unconsumed bytes than a frame may have\" bytes=%zu", c->ops->name, n);
		conn_hang_up(c, ST_PROTO);
	}
}

static void mark_active(struct conn *c)
{
	if (c->state == CONN_OPEN && !list_linked(&c->active))
		list_push(&c->tcp->active, &c->active);
}

void conn_offer(struct conn *c)
{
	size_t used;

	CHECK_OBJ(c, CONN_MAGIC);
	if (c->state != CONN_OPEN || c->paused || c->in_n == 0)
		return;
	used = offer(c, c->in, c->in_n);
	keep(c, c->in + used, c->in_n - used);
	mark_active(c);
}

/* Where the next read goes, behind the rest that was kept. */
static uint8_t *read_place(struct conn *c, size_t *ret_cap)
{
	if (c->in_n <= REST_SMALL) {
		if (c->in_n > 0)
			memcpy(c->tcp->read_buf, c->in, c->in_n);
		*ret_cap = READ_BYTES;
		return c->tcp->read_buf;
	}
	if (c->in_cap < c->in_n * 2) {
		grow_input(c, (size_t)u64_max(u64_min(c->in_n * 2, c->ops->input_max), c->in_n + 4096));
	}
	*ret_cap = c->in_cap;
	return c->in;
}

static enum status why_gone(int err)
{
	return err == ETIMEDOUT ? ST_TIMEOUT : err == ECONNRESET || err == EPIPE ? ST_OK : ST_IO;
}

/* One read and one offer. Returns true when there may be more to read. */
static bool read_once(struct conn *c)
{
	size_t cap, used, n;
	uint8_t *p = read_place(c, &cap);
	ssize_t k = transport_read(c, p + c->in_n, cap - c->in_n);

	if (k < 0 && errno == EAGAIN)
		return false;
	if (k <= 0) {
		conn_die(c, k == 0 ? ST_OK : why_gone(errno));
		return false;
	}
	c->tcp->stats.reads++;
	c->tcp->stats.bytes_in += (uint64_t)k;
	n = c->in_n + (size_t)k;
	used = offer(c, p, n);
	keep(c, p + used, n - used);
	mark_active(c);
	return n == cap && c->state == CONN_OPEN && !c->paused;
}

/* After our end is shut: drops what still comes, until the peer hangs up. */
static void drop_input(struct conn *c)
{
	for (int i = 0; i < READ_ROUNDS; i++) {
		ssize_t k = transport_read(c, c->tcp->read_buf, READ_BYTES);
		if (k < 0 && errno == EAGAIN)
			return;
		if (k <= 0) {
			conn_die(c, c->why);
			return;
		}
	}
}

/* Has the peer's kernel everything, our end included? Then nothing that happens to the socket destroys it. */
static bool peer_has_all(const struct conn *c)
{
	int left = 0;

	return ioctl(c->fd, TIOCOUTQ, &left) == 0 && left == 0;
}

void conn_ending(struct conn *c, uint64_t now_ns)
{
	if (c->state != CONN_SHUT || !c->tcp->ending)
		return;
	c->proto_due = now_ns + ENDING_MS * MS_NS;
	conn_set_timer(c, 0);
}

static void on_event(uv_poll_t *h, int status, int events)
{
	struct conn *c = container_of(h, struct conn, poll);

	CHECK_OBJ(c, CONN_MAGIC);
	CHECK(c->state != CONN_DEAD);
	loop_fed(h->loop);
	if (status < 0) {
		/* libuv has stopped polling; the read says what happened. */
		c->events = 0;
		events = UV_READABLE;
	}
	if (events & UV_WRITABLE)
		conn_flush(c, clock_mono_ns(c->tcp->clock));
	if (c->state == CONN_SHUT) {
		drop_input(c);
	} else if (c->state == CONN_OPEN && !c->paused && (events & UV_READABLE)) {
		for (int i = 0; i < READ_ROUNDS && read_once(c); i++)
			;
	} else if (c->state != CONN_DEAD && status < 0) {
		conn_die(c, ST_OK);
	}
	if (c->state != CONN_DEAD)
		conn_poll(c);
}

/* ---- Deadlines ------------------------------------------------------------------------------------------------------------------------ */

void conn_deadline(struct conn *c, uint64_t now_ns)
{
	CHECK_OBJ(c, CONN_MAGIC);
	if (c->ops->turn == NULL || c->state != CONN_OPEN)
		return;
	c->proto_due = c->ops->turn(c->state_of_ops, now_ns);
	/* A deadline that moved away stays in the heap where it was: it comes, and is looked at again. */
	if (c->state == CONN_OPEN && (!heap_has(&c->timer) || c->proto_due < c->timer.due))
		conn_set_timer(c, now_ns + 1);
}

void conn_tick(struct conn *c, uint64_t now_ns)
{
	struct tcp *t = c->tcp;

	CHECK_OBJ(c, CONN_MAGIC);
	heap_drop(&t->timers, &c->timer);
	t->called = true;
	if (now_ns >= c->linger_due || (c->state == CONN_SHUT && now_ns >= c->proto_due && peer_has_all(c))) {
		conn_die(c, c->why);
		return;
	}
	if (now_ns >= c->stall_due) {
		log_info(t->log, "tcp", "proto=%s closed why=\"the peer takes no answers\" queued=%zu", c->ops->name, c->out_bytes);
		conn_die(c, ST_TIMEOUT);
		return;
	}
	if (c->state == CONN_OPEN && now_ns >= c->proto_due)
		conn_deadline(c, now_ns);
	else if (c->state != CONN_OPEN)
		c->proto_due = NEVER;
	conn_ending(c, now_ns);
	conn_set_timer(c, now_ns + 1);
}
