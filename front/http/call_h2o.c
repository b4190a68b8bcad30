/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Requests between the library and the interface, and their answers.
 *
 * A request ends in forgotten(), which the library calls exactly once, whether the answer went out or the connection broke. Of an answer the library has
 * at most one piece at a time; what is written meanwhile waits in 'queue', and the two buffers change places.
 *
 * While the interface works on a request the socket stays in the poll set, but nobody reads: two system calls less for each request than taking it out and
 * in again, and the caller's death is noticed. The library's buffer must not be read into, because the request's body stands in it.
 */
#include <errno.h>
#include <sys/socket.h>

#include "front/http/carrier_h2o.h"

enum { INLINE_MAX = 16 << 10, BUF_KEPT = 4 << 10, QUEUE_STEP = 8 << 10 };

static h2o_generator_t at_once; /* of answers that are given whole */

/* ---- The end of a request ------------------------------------------------------------------------------------------------------ */

static void tell_gone(struct conn *c)
{
	if (c->finished)
		return;
	c->finished = true;
	http_api_gone(c->front->api, &c->call);
}

/* The library forgets the request. Afterwards it reads the next one, or closes the connection. */
static void forgotten(void *tag)
{
	struct conn *c = *(struct conn **)tag;

	CHECK_OBJ(c, CONN_MAGIC);
	CHECK(c->req != NULL);
	c->req = NULL;
	tell_gone(c);
	buf_fini(&c->queue);
	buf_fini(&c->flying);
	mem_free(c->head);
	c->head = NULL;
	c->flying_now = false;
	conn_hold(c, 0);
	conn_hold_stream(c, 0);
	list_remove(&c->dirty);
	list_remove(&c->suspect);
	h2o_socket_dont_read(c->sock, 0);
	conn_enter(c, CONN_CLOSING);
	if (!list_linked(&c->arming))
		list_push(&c->front->arming, &c->arming);
}

void call_kill(struct conn *c)
{
	CHECK(c->req != NULL);
	tell_gone(c);
	c->req->http1_is_persistent = 0;
	if (c->flying_now) {
		/* The library waits for the socket: it finds out there. */
		shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
		return;
	}
	c->flying_now = true;
	if (!c->begun) {
		c->req->res.status = 503;
		c->req->res.reason = http_reason(503);
		c->req->res.content_length = 0;
		h2o_start_response(c->req, &at_once);
	}
	h2o_send(c->req, NULL, 0, H2O_SEND_STATE_FINAL);
}

/* ---- The caller while he waits --------------------------------------------------------------------------------------------------- */

/* Something happens on the socket of a request that has no answer yet. */
static void stirs(h2o_socket_t *sock, const char *err)
{
	struct conn *c = sock->on_close.data;
	char byte;
	ssize_t n;

	CHECK_OBJ(c, CONN_MAGIC);
	(void)err;
	/* Most often the answer is out, the library is about to hear of it, and this is the next request. */
	if (c->finished && !c->stirred) {
		c->stirred = true;
		return;
	}
	n = recv(h2o_socket_get_fd(sock), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	h2o_socket_read_stop(sock);
	if (c->req == NULL)
		return;
	/*
	 * Who closes his side after he waited for a while is gone, and at once: what comes in the next moment is for others. Right behind a request some
	 * close theirs and still want the answer; and what is being written he may have read, which is known in a moment.
	 */
	bool waited = c->streaming || c->since_ns + LOOK_NS <= carrier_now(c->front);
	if (!c->flying_now && (n < 0 || (n == 0 && waited && !c->finished))) {
		call_kill(c);
		return;
	}
	/* He sent the next request already, or closed his side right behind this one: he is looked at from time to time. */
	if (!list_linked(&c->suspect))
		list_push(&c->front->suspects, &c->suspect);
	if (c->front->look_at_ns == NEVER)
		c->front->look_at_ns = carrier_now(c->front) + LOOK_NS;
}

/* ---- Answers -------------------------------------------------------------------------------------------------------------------------- */

static void put_headers(h2o_req_t *req, struct slice headers)
{
	char *copy;
	struct slice rest, line;

	if (headers.n == 0)
		return;
	copy = h2o_mem_alloc_pool(&req->pool, headers.n);
	memcpy(copy, headers.p, headers.n);
	rest = slice_of(copy, headers.n);
	while (slice_split(&rest, '\n', &line)) {
		const uint8_t *colon = memchr(line.p, ':', line.n);
		if (line.n == 0)
			continue;
		CHECK(line.p[line.n - 1] == '\r' && colon != NULL);
		struct slice value = slice_trim(slice_of(colon + 1, (size_t)(line.p + line.n - 1 - (colon + 1))));
		h2o_add_header_by_str(&req->pool, &req->res.headers, (const char *)line.p, (size_t)(colon - line.p), 0, NULL,
				      (const char *)value.p, value.n);
	}
}

static struct conn *answering(struct http_call *call)
{
	struct conn *c = container_of(call, struct conn, call);

	CHECK_OBJ(c, CONN_MAGIC);
	CHECK(c->req != NULL && !c->finished);
	return c;
}

static void begin(struct conn *c, unsigned status, struct slice headers, size_t length)
{
	CHECK(!c->begun);
	c->begun = true;
	c->req->res.status = (int)status;
	c->req->res.reason = http_reason(status);
	c->req->res.content_length = length;
	if (c->parsed.close || c->front->drained_ns != 0)
		c->req->http1_is_persistent = 0;
	put_headers(c->req, headers);
}

/* Gives the next bytes to the library. It may be the last time that the request is there. */
static void send_more(struct conn *c)
{
	if (c->req == NULL || c->flying_now)
		return;
	if (c->flown == c->flying.n && c->queue.n > 0) {
		struct buf empty = c->flying;
		c->flying = c->queue;
		c->queue = empty;
		if (empty.cap > BUF_KEPT)
			buf_fini(&c->queue);
		buf_reset(&c->queue);
		c->flown = 0;
	}
	size_t left = c->flying.n - c->flown;
	c->flight = left < SLICE_MAX ? left : SLICE_MAX;
	bool last = c->finished && c->queue.n == 0 && c->flight == left;
	if (c->flight == 0 && !last)
		return;
	h2o_iovec_t v = h2o_iovec_init(c->flying.p + c->flown, c->flight);
	c->flying_now = true;
	conn_enter(c, CONN_WRITING);
	h2o_send(c->req, &v, c->flight > 0, last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

/*
 * The library looks at what a socket is polled for only after something changed. What we write between two runs of its loop is confirmed in the next one; when it
 * looks in between, at the end of an earlier write that had to wait, say, it takes the socket for one that waits again, and polls it on. It must
 * look once more when nobody writes: a socket that is writable then ends the process.
 */
static void writes_no_more(h2o_socket_t *sock)
{
	if (h2o_socket_is_reading(sock))
		h2o_socket_read_start(sock, sock->_cb.read);
	else
		h2o_socket_read_stop(sock);
}

static void sent(h2o_generator_t *g, h2o_req_t *req)
{
	struct conn *c = container_of(g, struct conn, generator);

	(void)req;
	CHECK_OBJ(c, CONN_MAGIC);
	c->flying_now = false;
	c->flown += c->flight;
	c->call.unsent -= c->flight < c->call.unsent ? c->flight : c->call.unsent;
	if (c->streaming)
		conn_hold_stream(c, c->call.unsent);
	conn_enter(c, CONN_CALL);
	if (c->flown < c->flying.n || c->queue.n > 0 || c->finished) {
		send_more(c);
		return;
	}
	/* A stream that is idle keeps no memory. */
	if (c->flying.cap > BUF_KEPT)
		buf_fini(&c->flying);
	buf_reset(&c->flying);
	buf_fini(&c->queue);
	c->flown = 0;
	writes_no_more(c->sock);
	http_api_writable(c->front->api, &c->call);
}

static void mark_dirty(struct conn *c)
{
	if (!list_linked(&c->dirty))
		list_push(&c->front->dirty, &c->dirty);
}

static void reply(struct http_call *call, unsigned status, struct slice headers, const struct piece *body, unsigned n)
{
	struct conn *c = answering(call);
	bool no_body = status == 204 || status == 304;
	size_t total = 0, at = 0;

	for (unsigned i = 0; i < n; i++)
		total += body[i].bytes.n;
	begin(c, status, headers, no_body ? SIZE_MAX : total);
	c->finished = true;
	if (no_body || slice_eq_str(c->call.method, "HEAD"))
		total = 0;
	if (total > INLINE_MAX) {
		for (unsigned i = 0; i < n; i++)
			buf_slice(&c->queue, body[i].bytes);
		h2o_start_response(c->req, &c->generator);
		send_more(c);
		return;
	}
	h2o_iovec_t v = {NULL, 0};
	if (total > 0) {
		v = h2o_iovec_init(h2o_mem_alloc_pool(&c->req->pool, total), total);
		for (unsigned i = 0; i < n; at += body[i++].bytes.n)
			if (body[i].bytes.n > 0)
				memcpy(v.base + at, body[i].bytes.p, body[i].bytes.n);
	}
	c->flying_now = true;
	conn_enter(c, CONN_WRITING);
	h2o_start_response(c->req, &at_once);
	h2o_send(c->req, &v, total > 0, H2O_SEND_STATE_FINAL);
}

static void stream_begin(struct http_call *call, unsigned status, struct slice headers)
{
	struct conn *c = answering(call);

	begin(c, status, headers, SIZE_MAX);
	c->streaming = true;
	/* Without chunks only the connection's end can end it. */
	if (c->parsed.http10)
		c->req->http1_is_persistent = 0;
	h2o_start_response(c->req, &c->generator);
}

/* A stalled stream costs what it has to say, not up to twice as much. */
static void make_room(struct buf *b, size_t n)
{
	size_t need = b->n + n;

	if (need <= b->cap || need <= QUEUE_STEP)
		return;
	b->cap = (need + QUEUE_STEP - 1) / QUEUE_STEP * QUEUE_STEP;
	b->p = mem_grow(b->p, b->cap);
}

static void stream_write(struct http_call *call, const struct piece *v, unsigned n)
{
	struct conn *c = answering(call);

	CHECK(c->begun);
	for (unsigned i = 0; i < n; i++) {
		make_room(&c->queue, v[i].bytes.n);
		buf_slice(&c->queue, v[i].bytes);
		c->call.unsent += v[i].bytes.n;
	}
	conn_hold_stream(c, c->call.unsent);
	mark_dirty(c);
}

static void stream_end(struct http_call *call)
{
	struct conn *c = answering(call);

	CHECK(c->begun);
	c->finished = true;
	mark_dirty(c);
}

static bool room(struct http_call *call, size_t n)
{
	struct conn *c = answering(call);
	size_t before = c->streaming ? c->held_stream : c->held;
	bool fits = c->streaming ? conn_hold_stream(c, c->call.unsent + n) : conn_hold(c, before + n);

	if (!fits && c->streaming)
		conn_hold_stream(c, before);
	else if (!fits)
		conn_hold(c, before);
	return fits;
}

void call_flush_all(struct http *f)
{
	struct list *n;

	while ((n = list_pop(&f->dirty)) != NULL)
		send_more(container_of(n, struct conn, dirty));
}

/* ---- The beginning of a request -------------------------------------------------------------------------------------------------- */

static const struct http_carrier_ops carrier_ops = {
	.reply = reply, .stream_begin = stream_begin, .stream_write = stream_write, .stream_end = stream_end, .room = room,
};

/* What was read behind this request waits until its answer is out. */
static void keep_rest(struct conn *c, h2o_req_t *req)
{
	h2o_buffer_t *in = c->sock->input;
	size_t used = c->parsed.chunked ? (size_t)(req->entity.base + req->entity.len - in->bytes) : c->head_n + c->parsed.length;
	size_t more = in->size - used;

	CHECK(used <= in->size);
	if (more == 0)
		return;
	if (c->stash_at > 0) {
		/* They came from there, as its last bytes so far. */
		CHECK(more <= c->stash_at);
		c->stash_at -= more;
	} else {
		CHECK(c->stash.n == 0);
		buf_put(&c->stash, in->bytes + used, more);
	}
	in->size = used;
}

int call_begin(h2o_handler_t *self, h2o_req_t *req)
{
	struct conn *c = req->conn->callbacks->get_socket(req->conn)->on_close.data;
	struct http *f;

	(void)self;
	CHECK_OBJ(c, CONN_MAGIC);
	CHECK(c->req == NULL && c->head != NULL);
	f = c->front;
	keep_rest(c, req);
	struct conn **tag = h2o_mem_alloc_shared(&req->pool, sizeof(*tag), forgotten);
	*tag = c;
	c->req = req;
	c->begun = c->finished = c->streaming = c->flying_now = c->stirred = false;
	c->flown = c->flight = 0;
	c->generator = (h2o_generator_t){.proceed = sent};
	c->call = (struct http_call){
		.ops = &carrier_ops,
		.method = c->parsed.method,
		.path = c->parsed.path,
		.query = c->parsed.query,
		.host = c->parsed.host,
		.origin = c->parsed.origin,
		.headers = c->parsed.headers,
		.n_headers = c->parsed.n_headers,
		.body = slice_of(req->entity.base, req->entity.len),
		.peer = slice_of(c->peer, c->peer_n),
		.tls = c->tls,
	};
	conn_enter(c, CONN_CALL);
	h2o_socket_dont_read(c->sock, 1);
	h2o_socket_read_start(c->sock, stirs);
	atomic_fetch_add_explicit(&f->n_requests, 1, memory_order_relaxed);
	http_api_call(f->api, &c->call);
	return 0;
}
