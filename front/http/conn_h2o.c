/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Connections: from accept to close, everything but a request that is in the interface's hands. See carrier_h2o.h for the states. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "front/http/carrier_h2o.h"

void conn_enter(struct conn *c, enum conn_state state)
{
	list_remove(&c->link);
	c->state = state;
	c->since_ns = carrier_now(c->front);
	list_push(&c->front->conns[state], &c->link);
}

size_t conn_count(const struct http *f)
{
	return atomic_load_explicit(&f->n_conns, memory_order_relaxed);
}

bool conn_hold(struct conn *c, size_t n)
{
	c->front->held += n;
	c->front->held -= c->held;
	c->held = n;
	return n <= SMALL_BODY || c->front->held <= c->front->max_held;
}

bool conn_hold_stream(struct conn *c, size_t n)
{
	c->front->held_streams += n;
	c->front->held_streams -= c->held_stream;
	c->held_stream = n;
	return n <= SMALL_BODY || c->front->held_streams <= c->front->max_held;
}

/* ---- Closing --------------------------------------------------------------------------------------------------------------------- */

/* The socket is closed. It may happen inside of a function that still has the connection at hand: it is freed later. */
static void closed(void *arg)
{
	struct conn *c = arg;

	CHECK_OBJ(c, CONN_MAGIC);
	CHECK(c->req == NULL);
	c->sock = NULL;
	conn_hold(c, 0);
	conn_hold_stream(c, 0);
	list_remove(&c->link);
	list_remove(&c->arming);
	list_remove(&c->dirty);
	list_remove(&c->suspect);
	list_push(&c->front->dead, &c->link);
	atomic_fetch_sub_explicit(&c->front->n_conns, 1, memory_order_relaxed);
}

void conn_bury(struct http *f)
{
	struct list *n;

	while ((n = list_pop(&f->dead)) != NULL) {
		struct conn *c = container_of(n, struct conn, link);
		mem_free(c->head);
		buf_fini(&c->stash);
		buf_fini(&c->queue);
		buf_fini(&c->flying);
		c->magic = 0;
		mem_free(c);
	}
}

/* The library ends a connection of which it waits for bytes when reading fails. */
static void drop(struct conn *c, const char *why)
{
	conn_enter(c, CONN_CLOSING);
	c->front->h2o_read(c->sock, why);
}

void conn_kill(struct conn *c)
{
	switch (c->state) {
	case CONN_HANDSHAKE:
		conn_enter(c, CONN_CLOSING);
		h2o_socket_close(c->sock);
		break;
	case CONN_CLOSING:
		/* TLS has something to say that the caller does not take. */
		shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
		break;
	case CONN_IDLE:
	case CONN_READING:
	case CONN_LINGER:
		drop(c, "ended");
		break;
	case CONN_CALL:
	case CONN_WRITING:
		call_kill(c);
		break;
	case CONN_STATES:
		PANIC("no state");
	}
}

/* ---- Refusals --------------------------------------------------------------------------------------------------------------------- */

static void discard(h2o_socket_t *sock, const char *err)
{
	struct conn *c = sock->on_close.data;

	CHECK_OBJ(c, CONN_MAGIC);
	c->lingered += sock->input->size;
	h2o_buffer_consume(&sock->input, sock->input->size);
	if (err != NULL || c->lingered > LINGER_BYTES)
		drop(c, "refused");
}

/* A socket that is closed with bytes unread answers with a reset, which can reach the caller before he has read the refusal. */
static void refused(h2o_socket_t *sock, const char *err)
{
	struct conn *c = sock->on_close.data;

	CHECK_OBJ(c, CONN_MAGIC);
	if (err != NULL) {
		drop(c, err);
		return;
	}
	if (!c->tls)
		shutdown(h2o_socket_get_fd(sock), SHUT_WR);
	h2o_buffer_consume(&sock->input, sock->input->size);
	conn_hold(c, 0);
	h2o_socket_read_start(sock, discard);
}

static enum status problem_of(unsigned http)
{
	switch (http) {
	case 408:
		return ST_TIMEOUT;
	case 413:
	case 431:
		return ST_TOO_BIG;
	case 503:
		return ST_BUSY;
	case 505:
		return ST_VERSION;
	default:
		return ST_PROTO;
	}
}

static void refuse(struct conn *c, unsigned status, const char *why)
{
	struct buf *b = &c->flying;
	struct buf body = {0};

	atomic_fetch_add_explicit(&c->front->n_refused, 1, memory_order_relaxed);
	conn_enter(c, CONN_LINGER);
	c->lingered = 0;
	/* 100 Continue is on its way and stuck. */
	if (h2o_socket_is_writing(c->sock)) {
		drop(c, why);
		return;
	}
	h2o_get_timestamp(&c->front->ctx, NULL, NULL); /* brings the cached one up to date */
	api_problem_json(&body, status, problem_of(status), slice_str(why), (struct slice){NULL, 0});
	buf_reset(b);
	buf_fmt(b, "HTTP/1.1 %u %s\r\nDate: %s\r\nConnection: close\r\nContent-Length: %zu\r\nServer: gantry\r\n"
		"content-type: application/problem+json\r\n\r\n", status, http_reason(status), c->front->ctx._timestamp_cache.value->rfc1123, body.n);
	buf_slice(b, buf_view(&body));
	buf_fini(&body);
	h2o_iovec_t v = h2o_iovec_init(b->p, b->n);
	h2o_socket_read_stop(c->sock);
	h2o_socket_write(c->sock, &v, 1, refused);
}

/* ---- Reading ---------------------------------------------------------------------------------------------------------------------- */

/* More of a body is there, as the last n bytes of the buffer. */
static void more_body(struct conn *c, size_t n)
{
	h2o_buffer_t *in = c->sock->input;

	if (!conn_hold(c, in->size)) {
		refuse(c, 503, "too many large bodies under way, try again later");
		return;
	}
	if (c->parsed.chunked) {
		if (!http_chunks_scan(&c->chunks, slice_of(in->bytes + in->size - n, n))) {
			refuse(c, 400, "the body's chunks are not well formed");
			return;
		}
		if (c->chunks.total > c->front->conf->http_max_body) {
			refuse(c, 413, "the body is larger than httpMaxBody");
			return;
		}
	}
	c->front->h2o_read(c->sock, NULL);
}

/* The head is whole: it is copied, because the library changes and moves it, and looked at. */
static void whole_head(struct conn *c, size_t n)
{
	h2o_buffer_t *in = c->sock->input;
	unsigned lines = http_head_lines(slice_of(in->bytes, n));
	const char *why = "";
	unsigned status;

	if (lines > HEAD_HEADERS_MAX + 2) {
		refuse(c, 431, "too many header lines");
		return;
	}
	CHECK(c->head == NULL);
	c->head = mem_grow(NULL, lines * sizeof(struct http_header) + n);
	memcpy(c->head + lines * sizeof(struct http_header), in->bytes, n);
	c->head_n = n;
	c->parsed.headers = (struct http_header *)(void *)c->head;
	status = http_head_parse(c->head + lines * sizeof(struct http_header), n, &c->parsed, &why);
	if (status == 0 && c->parsed.length > c->front->conf->http_max_body) {
		status = 413;
		why = "the body is larger than httpMaxBody";
	}
	if (status != 0) {
		refuse(c, status, why);
		return;
	}
	c->chunks = (struct http_chunks){0};
	/* With 100-continue the library's callback takes our place until the word is sent. */
	if (c->parsed.expect && !list_linked(&c->arming))
		list_push(&c->front->arming, &c->arming);
	more_body(c, in->size - n);
}

static void more_head(struct conn *c)
{
	h2o_socket_t *sock = c->sock;
	size_t blank = 0;
	ptrdiff_t n;

	/* Empty lines before a request: some send one behind a body. */
	while (c->scanned == 0 && blank + 1 < sock->input->size && blank < 4 && memcmp(sock->input->bytes + blank, "\r\n", 2) == 0)
		blank += 2;
	h2o_buffer_consume(&sock->input, blank);
	if (sock->input->size == 0)
		return;
	if (c->state == CONN_IDLE)
		conn_enter(c, CONN_READING);
	if (sock->input->size == 1 && sock->input->bytes[0] == '\r')
		return;
	n = http_head_end(slice_of(sock->input->bytes, sock->input->size), &c->scanned);
	if (n < 0)
		refuse(c, 400, "this is not HTTP/1.1");
	else if ((n == 0 ? sock->input->size : (size_t)n) > c->front->max_header)
		refuse(c, 431, "the request line and the header are larger than httpMaxHeader");
	else if (n > 0)
		whole_head(c, (size_t)n);
}

static void some_more(struct conn *c, size_t n)
{
	if (c->head == NULL)
		more_head(c);
	else
		more_body(c, n);
}

/* Instead of the library's own callback. */
static void on_read(h2o_socket_t *sock, const char *err)
{
	struct conn *c = sock->on_close.data;

	CHECK_OBJ(c, CONN_MAGIC);
	CHECK(c->state == CONN_IDLE || c->state == CONN_READING);
	if (err != NULL)
		drop(c, err);
	else if (sock->bytes_read > 0)
		some_more(c, sock->bytes_read);
}

/* Gives the library bytes that are here already, until they are a request, or used up. */
static void feed(struct conn *c)
{
	while (c->sock != NULL && c->stash_at < c->stash.n && (c->state == CONN_IDLE || c->state == CONN_READING) &&
	       c->sock->_cb.read == on_read) {
		size_t n = c->stash.n - c->stash_at < FEED_MAX ? c->stash.n - c->stash_at : FEED_MAX;
		h2o_iovec_t to = h2o_buffer_reserve(&c->sock->input, n);
		CHECK(to.base != NULL);
		memcpy(to.base, c->stash.p + c->stash_at, n);
		c->sock->input->size += n;
		c->stash_at += n;
		some_more(c, n);
	}
	if (c->stash_at == c->stash.n) {
		buf_fini(&c->stash);
		c->stash_at = 0;
	}
}

void conn_arm_all(struct http *f)
{
	LIST_EACH_SAFE(&f->arming, n, t) {
		struct conn *c = container_of(n, struct conn, arming);
		if (c->sock->_cb.read != f->h2o_read) {
			/* While 100 Continue is on its way the library does not read yet. */
			if (c->state != CONN_READING)
				list_remove(&c->arming);
			continue;
		}
		list_remove(&c->arming);
		c->sock->_cb.read = on_read;
		if (c->state == CONN_CLOSING) {
			c->scanned = 0;
			conn_enter(c, CONN_IDLE);
			if (f->drained_ns != 0) {
				conn_kill(c);
				continue;
			}
		}
		feed(c);
	}
}

/* ---- Beginning -------------------------------------------------------------------------------------------------------------------- */

/* The library makes its connection, and begins to read. */
static void speak_http(struct conn *c)
{
	struct http *f = c->front;
	h2o_buffer_t **in = &c->sock->input;

	/* Bytes that came right behind the handshake. */
	if ((*in)->size > 0) {
		buf_put(&c->stash, (*in)->bytes, (*in)->size);
		h2o_buffer_consume(in, (*in)->size);
	}
	h2o_http1_accept(&f->accept, c->sock, *h2o_get_timestamp(&f->ctx, NULL, NULL));
	f->h2o_read = c->sock->_cb.read;
	CHECK(f->h2o_read != NULL && f->h2o_read != on_read);
	c->sock->_cb.read = on_read;
	conn_enter(c, CONN_IDLE);
	feed(c);
}

static void shook_hands(h2o_socket_t *sock, const char *err)
{
	struct conn *c = sock->on_close.data;

	CHECK_OBJ(c, CONN_MAGIC);
	if (err != NULL)
		conn_kill(c);
	else
		speak_http(c);
}

static void name_peer(struct conn *c, const struct sockaddr *peer)
{
	char ip[INET6_ADDRSTRLEN] = "?";
	unsigned port = 0;
	int n;

	if (peer->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)peer;
		inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
		port = ntohs(in->sin_port);
		n = snprintf(c->peer, sizeof(c->peer), "%s:%u", ip, port);
	} else {
		const struct sockaddr_in6 *in6 = (const void *)peer;
		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
		port = ntohs(in6->sin6_port);
		n = snprintf(c->peer, sizeof(c->peer), "[%s]:%u", ip, port);
	}
	CHECK(n > 0 && (size_t)n < sizeof(c->peer));
	c->peer_n = (unsigned)n;
}

void conn_accept(struct http *f, int fd, const struct sockaddr *peer, bool tls)
{
	struct conn *c = mem_new(sizeof(*c));
	int on = 1, unsent = UNSENT_MAX;

	c->magic = CONN_MAGIC;
	c->front = f;
	c->tls = tls;
	list_init(&c->link);
	list_init(&c->arming);
	list_init(&c->dirty);
	list_init(&c->suspect);
	name_peer(c, peer);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	c->sock = h2o_evloop_socket_create(f->loop, fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
	c->sock->on_close.cb = closed;
	c->sock->on_close.data = c;
	atomic_fetch_add_explicit(&f->n_conns, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&f->n_accepted, 1, memory_order_relaxed);
	if (!tls) {
		speak_http(c);
		return;
	}
	conn_enter(c, CONN_HANDSHAKE);
	h2o_socket_ssl_handshake(c->sock, f->ssl, NULL, shook_hands);
}

/* ---- Deadlines -------------------------------------------------------------------------------------------------------------------- */

static void late(struct conn *c)
{
	if (c->state == CONN_READING)
		refuse(c, 408, "the request did not come within httpRequestTime");
	else
		conn_kill(c);
}

/* Ends those that have been in a state for too long. A connection leaves the list, or goes to its end, by what is done to it. */
static uint64_t expire(struct http *f, enum conn_state state, uint64_t allowed_ns)
{
	struct list *head = &f->conns[state];

	for (;;) {
		if (list_empty(head))
			return NEVER;
		struct conn *c = container_of(head->next, struct conn, link);
		if (c->since_ns + allowed_ns > f->now_ns)
			return c->since_ns + allowed_ns;
		late(c);
		if (c->sock != NULL && c->state == state)
			conn_enter(c, state); /* on its way out */
	}
}

/* Those that wait for an answer and whose sockets are not in the poll set any more. */
static uint64_t look_at_suspects(struct http *f)
{
	if (f->now_ns < f->look_at_ns)
		return f->look_at_ns;
	LIST_EACH_SAFE(&f->suspects, n, t) {
		struct conn *c = container_of(n, struct conn, suspect);
		struct tcp_info info;
		socklen_t size = sizeof(info);
		if (getsockopt(h2o_socket_get_fd(c->sock), IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || info.tcpi_state == TCP_CLOSE ||
		    (info.tcpi_state == TCP_CLOSE_WAIT && !c->finished && c->since_ns + LOOK_NS <= f->now_ns)) {
			list_remove(&c->suspect);
			call_kill(c);
		}
	}
	f->look_at_ns = list_empty(&f->suspects) ? NEVER : f->now_ns + LOOK_NS;
	return f->look_at_ns;
}

static uint64_t finish_all(struct http *f)
{
	if (f->now_ns < f->drained_ns + GRACE_NS)
		return f->drained_ns + GRACE_NS;
	for (unsigned state = 0; state < CONN_STATES; state++) {
		struct list all;
		struct list *n;
		list_init(&all);
		list_move(&all, &f->conns[state]);
		while ((n = list_pop(&all)) != NULL) {
			struct conn *c = container_of(n, struct conn, link);
			list_push(&f->conns[state], &c->link);
			conn_kill(c);
		}
	}
	return f->now_ns + LOOK_NS;
}

uint64_t conn_turn_all(struct http *f)
{
	uint64_t due = NEVER;

	due = u64_min(due, expire(f, CONN_HANDSHAKE, HANDSHAKE_NS));
	due = u64_min(due, expire(f, CONN_IDLE, f->request_ns));
	due = u64_min(due, expire(f, CONN_READING, f->request_ns));
	due = u64_min(due, expire(f, CONN_WRITING, f->stall_ns));
	due = u64_min(due, expire(f, CONN_LINGER, LINGER_NS));
	due = u64_min(due, expire(f, CONN_CLOSING, LINGER_NS));
	due = u64_min(due, look_at_suspects(f));
	if (f->drained_ns != 0)
		due = u64_min(due, finish_all(f));
	return due;
}
