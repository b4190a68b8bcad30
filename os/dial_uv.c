/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * base/dial.h over TCP. An attempt resolves its name (libuv asks the resolver on a thread of its pool), then tries the addresses one
 * after the other; one timer bounds the whole. What connects is handed to the carrier.
 *
 * The attempt is an object of its own, since the resolver and libuv's close callbacks may come after the call was answered or cancelled.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/tcp_conn.h"

enum { DIAL_MAGIC = 0x6469616c, ATTEMPT_MAGIC = 0x61747074 };

struct dialer {
	struct dial base;
	uint32_t magic;
	struct tcp *tcp;
	uv_loop_t *loop;
	struct list attempts;      /* not answered yet */
	size_t alive;              /* attempts whose memory is still there */
	bool closing;
};

struct attempt;
/* One address that is being connected to; libuv's handle outlives the try by a moment. */
struct try {
	uv_poll_t poll;
	struct attempt *attempt;
};

struct attempt {
	uint32_t magic;
	struct dialer *d;
	struct dial_call *call;    /* NULL: answered or cancelled */
	struct list link;
	uv_timer_t timer;          /* the attempt's start, which must not be inside connect(), then its end */
	uv_getaddrinfo_t lookup;
	struct addrinfo *found, *next;
	struct try *try;           /* NULL: nothing is being connected */
	int fd;                    /* of the try; -1 without one */
	bool looking, timer_gone;
	char host[256];
	uint16_t port;
	uint32_t timeout_ms;
	char text[160];            /* why the last address failed */
};

static void attempt_free(struct attempt *a)
{
	struct dialer *d = a->d;

	if (!a->timer_gone || a->looking)
		return;
	CHECK(a->call == NULL && a->try == NULL);
	if (a->found != NULL)
		uv_freeaddrinfo(a->found);
	a->magic = 0;
	mem_free(a);
	CHECK(d->alive > 0);
	if (--d->alive == 0 && d->closing)
		mem_free(d);
}

static void on_timer_gone(uv_handle_t *h)
{
	struct attempt *a = container_of((uv_timer_t *)h, struct attempt, timer);

	a->timer_gone = true;
	attempt_free(a);
}

static void on_try_gone(uv_handle_t *h) { mem_free(container_of((uv_poll_t *)h, struct try, poll)); }

/* Ends the try and gives its descriptor back, open. */
static int try_end(struct attempt *a)
{
	int fd = a->fd;

	if (a->try != NULL) {
		a->try->attempt = NULL;
		uv_poll_stop(&a->try->poll);
		uv_close((uv_handle_t *)&a->try->poll, on_try_gone);
	}
	a->try = NULL;
	a->fd = -1;
	return fd;
}

/* Ends the attempt; the call is the caller's to answer. The descriptor, if there is one, is given back open. */
static int attempt_end(struct attempt *a)
{
	int fd;

	CHECK_OBJ(a, ATTEMPT_MAGIC);
	CHECK(a->call != NULL);
	fd = try_end(a);
	list_remove(&a->link);
	a->call->priv[0] = NULL;
	a->call = NULL;
	if (a->looking)
		uv_cancel((uv_req_t *)&a->lookup);
	uv_close((uv_handle_t *)&a->timer, on_timer_gone);
	return fd;
}

static void attempt_fail(struct attempt *a, enum status why, const char *text)
{
	struct dial_call *call = a->call;
	struct tcp *t = a->d->tcp;
	char copy[sizeof(a->text)];
	int fd;

	snprintf(copy, sizeof(copy), "%s", text);
	fd = attempt_end(a);
	if (fd >= 0)
		close(fd);
	t->called = true;
	call->failed(call, why, copy);
}

static void on_connected(uv_poll_t *h, int status, int events);

/* Starts to connect to one address. False: it failed at once, 'text' says why. */
static bool try_start(struct attempt *a, const struct addrinfo *to)
{
	a->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (a->fd < 0) {
		snprintf(a->text, sizeof(a->text), "%s", strerror(errno));
		return false;
	}
	if (connect(a->fd, to->ai_addr, to->ai_addrlen) < 0 && errno != EINPROGRESS && errno != EINTR) {
		snprintf(a->text, sizeof(a->text), "%s", strerror(errno));
		close(a->fd);
		a->fd = -1;
		return false;
	}
	a->try = mem_new(sizeof(*a->try));
	a->try->attempt = a;
	CHECK(uv_poll_init(a->d->loop, &a->try->poll, a->fd) == 0);
	CHECK(uv_poll_start(&a->try->poll, UV_WRITABLE, on_connected) == 0);
	return true;
}

static void try_next(struct attempt *a)
{
	while (a->next != NULL) {
		struct addrinfo *to = a->next;
		a->next = to->ai_next;
		if (try_start(a, to))
			return;
	}
	attempt_fail(a, ST_NO_MEMBER, a->text);
}

static void on_connected(uv_poll_t *h, int status, int events)
{
	struct attempt *a = container_of(h, struct try, poll)->attempt;
	int err = 0, fd;
	socklen_t n = sizeof(err);

	(void)events;
	CHECK_OBJ(a, ATTEMPT_MAGIC);
	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
		err = errno;
	if (err == 0 && status < 0)
		err = ECONNREFUSED;
	if (err == 0) {
		struct dial_call *call = a->call;
		struct tcp *t = a->d->tcp;
		fd = attempt_end(a);
		tcp_adopt(t, fd, call->ops, call->front);
		return;
	}
	snprintf(a->text, sizeof(a->text), "%s", strerror(err));
	close(try_end(a));
	try_next(a);
}

static void on_found(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
	struct attempt *a = container_of(req, struct attempt, lookup);

	CHECK_OBJ(a, ATTEMPT_MAGIC);
	a->looking = false;
	a->found = a->next = found;
	if (a->call == NULL)
		attempt_free(a);
	else if (status < 0)
		attempt_fail(a, ST_NO_MEMBER, uv_strerror(status));
	else
		try_next(a);
}

static void on_timeout(uv_timer_t *h)
{
	struct attempt *a = container_of(h, struct attempt, timer);

	attempt_fail(a, ST_TIMEOUT, a->looking ? "the name was not resolved in time" : "no answer in time");
}

static void on_start(uv_timer_t *h)
{
	struct attempt *a = container_of(h, struct attempt, timer);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
	struct sockaddr_storage s;
	socklen_t n;
	char port[8];
	int rc;

	CHECK_OBJ(a, ATTEMPT_MAGIC);
	if (a->call->tls) {
		attempt_fail(a, ST_DENIED, "this build does not speak TLS");
		return;
	}
	CHECK(uv_timer_start(&a->timer, on_timeout, a->timeout_ms, 0) == 0);
	if (tcp_parse(a->host, a->port, &s, &n)) {
		struct addrinfo to = {.ai_family = s.ss_family, .ai_addr = (struct sockaddr *)&s, .ai_addrlen = n};
		if (!try_start(a, &to))
			attempt_fail(a, ST_NO_MEMBER, a->text);
		return;
	}
	snprintf(port, sizeof(port), "%u", a->port);
	rc = uv_getaddrinfo(a->d->loop, &a->lookup, on_found, a->host, port, &hints);
	if (rc != 0)
		attempt_fail(a, ST_NO_MEMBER, uv_strerror(rc));
	else
		a->looking = true;
}

static struct dialer *dialer_of(struct dial *base)
{
	struct dialer *d = container_of(base, struct dialer, base);

	CHECK_OBJ(d, DIAL_MAGIC);
	return d;
}

static void dialer_connect(struct dial *base, struct dial_call *call)
{
	struct dialer *d = dialer_of(base);
	struct attempt *a = mem_new(sizeof(*a));

	CHECK(call != NULL && call->ops != NULL && call->failed != NULL && call->priv[0] == NULL && !d->closing);
	a->magic = ATTEMPT_MAGIC;
	a->d = d;
	a->call = call;
	a->fd = -1;
	a->port = call->port;
	a->timeout_ms = call->timeout_ms;
	/* A name that is too long stays empty, and is not found. */
	if (call->host.n > 0 && call->host.n < sizeof(a->host))
		memcpy(a->host, call->host.p, call->host.n);
	snprintf(a->text, sizeof(a->text), "the name has no address");
	call->priv[0] = a;
	list_push(&d->attempts, &a->link);
	d->alive++;
	CHECK(uv_timer_init(d->loop, &a->timer) == 0);
	CHECK(uv_timer_start(&a->timer, on_start, 0, 0) == 0);
}

static void dialer_cancel(struct dial *base, struct dial_call *call)
{
	struct attempt *a = call->priv[0];
	int fd;

	CHECK(dialer_of(base) != NULL);
	if (a == NULL)
		return;
	fd = attempt_end(a);
	if (fd >= 0)
		close(fd);
}

struct dial *dial_tcp_open(struct tcp *t, uv_loop_t *loop)
{
	static const struct dial_ops ops = {.connect = dialer_connect, .cancel = dialer_cancel};
	struct dialer *d = mem_new(sizeof(*d));

	CHECK_OBJ(t, TCP_MAGIC);
	*d = (struct dialer){.base = {&ops}, .magic = DIAL_MAGIC, .tcp = t, .loop = loop};
	list_init(&d->attempts);
	return &d->base;
}

void dial_tcp_close(struct dial *base)
{
	struct dialer *d = dialer_of(base);

	d->closing = true;
	while (!list_empty(&d->attempts))
		attempt_fail(container_of(d->attempts.next, struct attempt, link), ST_CLOSED, "shutting down");
	if (d->alive == 0)
		mem_free(d);
}
