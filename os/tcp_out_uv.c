/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A connection's output. Pieces without an owner, and small ones, are copied behind each other into a chunk; large owned ones are held
 * and written from where they stand. All that a turn queued goes out in one system call; what the kernel does not take waits until the
 * socket is writable.
 */
#include <errno.h>
#include <limits.h>

#include "base/mem.h"
#include "os/tcp_conn.h"

enum {
	COPY_MAX = 512,           /* an owned piece up to here is copied: that is cheaper than to hold and gather it */
	CHUNK_FIRST = 960,        /* most answers of a turn fit into this, and malloc has it at hand */
	CHUNK_NEXT = 16 << 10,
	OUT_CAP_FIRST = 8,
	IOV_BATCH = IOV_MAX < 512 ? IOV_MAX : 512,
};

static struct conn *conn_of(struct stream *s)
{
	struct conn *c = container_of(s, struct conn, stream);

	CHECK_OBJ(c, CONN_MAGIC);
	return c;
}

/* What TLS would replace, with transport_read. Bytes written, or -1 with errno. */
static ssize_t transport_write(struct conn *c, struct iovec *v, int n)
{
	struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)n};
	ssize_t k;

	/* Most answers are one piece, and the kernel takes that with less ado. */
	do {
		k = n == 1 ? send(c->fd, v->iov_base, v->iov_len, MSG_NOSIGNAL) : sendmsg(c->fd, &m, MSG_NOSIGNAL);
	} while (k < 0 && errno == EINTR);
	return k;
}

static struct tcp_out *out_new(struct conn *c)
{
	if (c->out_n == c->out_cap) {
		if (c->out_first > c->out_cap / 2) {
			c->out_n -= c->out_first;
			memmove(c->out, c->out + c->out_first, c->out_n * sizeof(*c->out));
			c->out_first = 0;
		} else {
			c->out_cap = c->out_cap == 0 ? OUT_CAP_FIRST : c->out_cap * 2;
			c->out = mem_grow(c->out, c->out_cap * sizeof(*c->out));
		}
	}
	return &c->out[c->out_n++];
}

/* Copies into the connection's chunk. What stands between two held pieces is an entry of its own in the same chunk. */
static void out_copy(struct conn *c, struct slice s)
{
	while (s.n > 0) {
		struct tcp_out *last = c->out_n > c->out_first ? &c->out[c->out_n - 1] : NULL;
		size_t n;
		if (c->chunk == NULL || c->chunk_used == c->chunk->n) {
			size_t size = (size_t)u64_max(s.n, c->chunk == NULL ? CHUNK_FIRST : CHUNK_NEXT);
			blob_drop(c->chunk);
			c->chunk = blob_new(size);
			c->chunk_used = 0;
		}
		if (last == NULL || last->p + last->n != c->chunk->p + c->chunk_used || last->blob != c->chunk) {
			last = out_new(c);
			*last = (struct tcp_out){.blob = blob_hold(c->chunk), .p = c->chunk->p + c->chunk_used, .n = 0};
		}
		n = (size_t)u64_min(s.n, c->chunk->n - c->chunk_used);
		memcpy(c->chunk->p + c->chunk_used, s.p, n);
		c->chunk_used += n;
		last->n += n;
		s = slice_skip(s, n);
	}
}

static void out_send(struct stream *s, const struct piece *v, unsigned n)
{
	struct conn *c = conn_of(s);

	if (c->state != CONN_OPEN)
		return;
	for (unsigned i = 0; i < n; i++) {
		if (v[i].bytes.n == 0)
			continue;
		c->out_bytes += v[i].bytes.n;
		if (v[i].blob == NULL || v[i].bytes.n <= COPY_MAX)
			out_copy(c, v[i].bytes);
		else
			*out_new(c) = (struct tcp_out){.blob = blob_hold(v[i].blob), .p = v[i].bytes.p, .n = v[i].bytes.n};
	}
	/* While the socket is not writable there is no use in trying: its event will. */
	if (((c->out_bytes > 0 && !(c->events & UV_WRITABLE)) || c->out_bytes > c->tcp->conf.out_limit) && !list_linked(&c->dirty))
		list_push(&c->tcp->dirty, &c->dirty);
}

static size_t out_max(const struct conn *c)
{
	size_t own = c->ops->out_max, max = c->tcp->conf.out_max;

	return own == 0 || own > max ? max : own;
}

static size_t out_room(struct stream *s)
{
	struct conn *c = conn_of(s);
	size_t max = out_max(c);

	if (c->out_bytes < max)
		return max - c->out_bytes;
	c->full = true;
	return 0;
}

static void out_pause(struct stream *s, bool pause)
{
	struct conn *c = conn_of(s);

	if (c->paused == pause || c->state != CONN_OPEN)
		return;
	c->paused = pause;
	conn_poll(c);
	if (!pause && c->in_n > 0 && !list_linked(&c->resumed))
		list_push(&c->tcp->resumed, &c->resumed);
	else if (pause)
		list_remove(&c->resumed);
}

static void out_close(struct stream *s, int code, const char *reason)
{
	(void)code;
	(void)reason;
	conn_hang_up(conn_of(s), ST_OK);
}

const struct stream_out_ops tcp_out_ops = {.send = out_send, .room = out_room, .pause = out_pause, .close = out_close};

void conn_out_free(struct conn *c)
{
	for (uint32_t i = c->out_first; i < c->out_n; i++)
		blob_drop(c->out[i].blob);
	mem_free(c->out);
	c->out = NULL;
	blob_drop(c->chunk);
	c->chunk = NULL;
	c->out_first = c->out_n = c->out_cap = 0;
	c->out_bytes = 0;
}

/* Takes n written bytes off the queue. */
static void out_advance(struct conn *c, size_t n)
{
	CHECK(n <= c->out_bytes);
	c->out_bytes -= n;
	if (c->out_bytes == 0) {
		conn_out_free(c);
		return;
	}
	while (n > 0) {
		struct tcp_out *o = &c->out[c->out_first];
		size_t k = (size_t)u64_min(n, o->n);
		o->p += k;
		o->n -= k;
		n -= k;
		if (o->n == 0) {
			blob_drop(o->blob);
			c->out_first++;
		}
	}
}

/* Writes until nothing is left or the kernel takes no more. Returns 0, or errno. */
static int out_write(struct conn *c, bool *ret_progress)
{
	while (c->out_bytes > 0) {
		struct iovec v[IOV_BATCH];
		size_t bytes = 0;
		int n = 0;
		ssize_t k;
		for (uint32_t i = c->out_first; i < c->out_n && n < IOV_BATCH; i++) {
			v[n++] = (struct iovec){(void *)(uintptr_t)c->out[i].p, c->out[i].n};
			bytes += c->out[i].n;
		}
		k = transport_write(c, v, n);
		if (k < 0)
			return errno == EAGAIN ? 0 : errno;
		*ret_progress = true;
		c->tcp->stats.writes++;
		c->tcp->stats.bytes_out += (uint64_t)k;
		out_advance(c, (size_t)k);
		if ((size_t)k < bytes)
			return 0;
	}
	return 0;
}

void conn_flush(struct conn *c, uint64_t now_ns)
{
	struct tcp *t = c->tcp;
	bool progress = false;
	int err;

	CHECK_OBJ(c, CONN_MAGIC);
	CHECK(c->state != CONN_DEAD);
	list_remove(&c->dirty);
	err = out_write(c, &progress);
	if (err != 0) {
		conn_die(c, err == EPIPE || err == ECONNRESET ? ST_OK : err == ETIMEDOUT ? ST_TIMEOUT : ST_IO);
		return;
	}
	if (c->out_bytes > t->conf.out_limit) {
		log_warn(t->log, "tcp", "proto=%s closed why=\"too much is queued for it\" queued=%zu", c->ops->name, c->out_bytes);
		conn_die(c, ST_BUSY);
		return;
	}
	if (c->out_bytes == 0 && c->stall_due != NEVER) {
		c->stall_due = NEVER; /* the heap's entry comes in vain, once */
	} else if (c->out_bytes > 0 && (progress || c->stall_due == NEVER)) {
		c->stall_due = now_ns + t->conf.stall_ms * MS_NS;
		if (!heap_has(&c->timer) || c->stall_due < c->timer.due)
			conn_set_timer(c, 0);
	}
	if (c->state == CONN_CLOSING && c->linger_due == NEVER) {
		c->linger_due = now_ns + t->conf.linger_ms * MS_NS;
		conn_set_timer(c, 0);
	}
	if (c->state == CONN_CLOSING && c->out_bytes == 0) {
		c->state = CONN_SHUT;
		if (shutdown(c->fd, SHUT_WR) < 0) {
			conn_die(c, c->why);
			return;
		}
		c->proto_due = NEVER;
		conn_ending(c, now_ns);
	}
	conn_poll(c);
	if (c->full && c->state == CONN_OPEN && c->out_bytes <= out_max(c) / 2) {
		c->full = false;
		t->called = true;
		c->ops->drained(c->state_of_ops);
	}
}
