/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The TCP carrier and the dialler, with real sockets on loopback and a protocol that can be told how to behave. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/be.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/obj.h"
#include "os/host.h"
#include "os/loop_uv.h"
#include "os/tcp.h"
#include "os/tcp_conn.h"

enum { FRAME_MAX = 8 << 20, PATIENCE_MS = 60000 };

/* May what has to happen be waited for still? The machine may be slow, or paused: a test that nothing holds up does not come near this limit. */
static bool in_time(uint64_t *until_ns)
{
	uint64_t now = clock_mono_ns(host_clock());

	if (*until_ns == 0)
		*until_ns = now + PATIENCE_MS * MS_NS;
	return now < *until_ns;
}

/* What the protocol saw, and how it shall behave. */
struct front {
	unsigned opened, closed, frames, inputs, drained, turns;
	enum status why;
	struct stream *stream;       /* of the newest connection */
	void *conn;
	uint32_t peer_ip;
	uint16_t peer_port, local_port;
	unsigned pause_after;        /* frames; 0: never */
	bool refuse, quiet, close_after_one;
	uint64_t turn_every_ns;
	size_t seen_bytes;
};

/* Frames: length in 4 bytes, then so many bytes; each is echoed. */
struct echo {
	struct front *front;
	struct stream *stream;
};

static void echo_opened(void *conn, void *front, struct stream *out, const struct stream_info *info)
{
	struct echo *e = conn;

	e->front = front;
	e->stream = e->front->stream = out;
	e->front->conn = conn;
	e->front->opened++;
	e->front->peer_ip = info->peer_ip;
	e->front->peer_port = info->peer_port;
	e->front->local_port = info->local_port;
	assert_true(info->peer.n > 0);
}

static ptrdiff_t echo_input(void *conn, struct slice bytes)
{
	struct echo *e = conn;
	struct slice rest = bytes;

	e->front->inputs++;
	while (rest.n >= 4) {
		uint32_t n = be32_get(rest.p);
		if (rest.n - 4 < n)
			break;
		if (!e->front->quiet)
			stream_put(e->stream, slice_of(rest.p, 4 + n));
		e->front->seen_bytes += n;
		rest = slice_skip(rest, 4 + n);
		e->front->frames++;
		if (e->front->refuse)
			return -1;
		if (e->front->close_after_one) {
			stream_close(e->stream, 0, "one is enough");
			break;
		}
		if (e->front->pause_after != 0 && e->front->frames % e->front->pause_after == 0) {
			stream_pause(e->stream, true);
			break;
		}
	}
	return (ptrdiff_t)(bytes.n - rest.n);
}

static void echo_drained(void *conn) { ((struct echo *)conn)->front->drained++; }

static uint64_t echo_turn(void *conn, uint64_t now_ns)
{
	struct front *f = ((struct echo *)conn)->front;

	f->turns++;
	return f->turn_every_ns == 0 ? NEVER : now_ns + f->turn_every_ns;
}

static void echo_closed(void *conn, enum status why)
{
	struct front *f = ((struct echo *)conn)->front;

	f->closed++;
	f->why = why;
	f->stream = NULL;
}

static const struct stream_ops echo_ops = {.name = "echo", .conn_size = sizeof(struct echo), .input_max = FRAME_MAX, .opened = echo_opened,
	.input = echo_input, .drained = echo_drained, .turn = echo_turn, .closed = echo_closed};

struct fixture {
	struct loop loop;
	struct host_log log;
	struct tcp *tcp;
	struct tcp_listener *listener;
	uint16_t port;
	struct front front;
};

static uint64_t turn(void *arg, uint64_t now_ns)
{
	struct fixture *f = arg;

	if (f->tcp == NULL)
		return NEVER;
	tcp_turn(f->tcp, now_ns);
	return tcp_flush(f->tcp, now_ns);
}

static struct fixture *start_with(const struct tcp_conf *conf, const struct stream_ops *ops)
{
	struct fixture *f = mem_new(sizeof(*f));
	struct tcp_conf c;
	char why[256];

	tcp_conf_default(&c);
	/* Where a test is not about it, a pause of the machine shall not be the end of a connection. */
	c.linger_ms = PATIENCE_MS;
	if (conf != NULL)
		c = *conf;
	host_log_init(&f->log, 2, LOG_ERROR);
	loop_init(&f->loop, host_clock(), turn, f);
	f->tcp = tcp_open(&f->loop.uv, host_clock(), &f->log.base, &c);
	assert_int_equal(tcp_bind(f->tcp, "127.0.0.1", 0, &f->listener, &f->port, why, sizeof(why)), ST_OK);
	assert_int_not_equal(f->port, 0);
	assert_int_equal(tcp_listen(f->listener, ops, &f->front, why, sizeof(why)), ST_OK);
	return f;
}

static struct fixture *start(const struct tcp_conf *conf) { return start_with(conf, &echo_ops); }

static void stop(struct fixture *f)
{
	tcp_close(f->tcp);
	f->tcp = NULL;
	assert_int_equal(f->front.opened, f->front.closed);
	loop_fini(&f->loop);
	mem_free(f);
}

static void step(struct fixture *f) { uv_run(&f->loop.uv, UV_RUN_NOWAIT); }

static int client(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

/* Writes all while the loop runs. */
static void give(struct fixture *f, int fd, const void *p, size_t n)
{
	size_t done = 0;

	for (uint64_t until = 0; done < n && in_time(&until);) {
		ssize_t k = send(fd, (const uint8_t *)p + done, n - done, MSG_NOSIGNAL);
		if (k > 0)
			done += (size_t)k;
		else
			usleep(10);
		step(f);
	}
	assert_int_equal(done, n);
}

/* Reads n bytes while the loop runs; fewer at the end of the stream. */
static size_t get(struct fixture *f, int fd, void *p, size_t n)
{
	size_t done = 0;

	for (uint64_t until = 0; done < n && in_time(&until);) {
		ssize_t k = recv(fd, (uint8_t *)p + done, n - done, 0);
		if (k == 0 || (k < 0 && errno != EAGAIN))
			return done;
		if (k > 0)
			done += (size_t)k;
		else
			usleep(10);
		step(f);
	}
	return done;
}

static size_t frame(uint8_t *p, uint32_t n, uint8_t fill)
{
	be32_put(p, n);
	for (uint32_t i = 0; i < n; i++)
		p[4 + i] = (uint8_t)(fill + i * 7 + (i >> 8));
	return 4 + n;
}

#define UNTIL(f, cond) do { for (uint64_t until_ = 0; !(cond) && in_time(&until_);) { step(f); usleep(10); } assert_true(cond); } while (0)

static void bytes_come_back_however_they_are_cut(void **state)
{
	static const size_t cuts[] = {1, 3, 4, 5, 100, 4096};
	struct fixture *f = start(NULL);
	uint8_t out[3000], in[3000];
	int fd = client(f->port);

	(void)state;
	for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
		size_t n = 0;
		for (uint32_t i = 0; i < 20; i++)
			n += frame(out + n, i * 7, (uint8_t)i);
		for (size_t at = 0; at < n; at += cuts[c])
			give(f, fd, out + at, cuts[c] < n - at ? cuts[c] : n - at);
		assert_int_equal(get(f, fd, in, n), n);
		assert_memory_equal(in, out, n);
	}
	assert_int_equal(f->front.frames, 20 * ARRAY_LEN(cuts));
	assert_int_equal(f->front.peer_ip, INADDR_LOOPBACK);
	assert_int_equal(f->front.local_port, f->port);
	close(fd);
	UNTIL(f, f->front.closed == 1);
	assert_int_equal(f->front.why, ST_OK);
	stop(f);
}

static void all_frames_of_a_read_are_one_input_and_one_write(void **state)
{
	enum { N = 1000 };
	struct fixture *f = start(NULL);
	static uint8_t out[N * 104], in[N * 104];
	struct tcp_stats st;
	int fd = client(f->port);
	size_t n = 0;

	(void)state;
	UNTIL(f, f->front.opened == 1);
	for (uint32_t i = 0; i < N; i++)
		n += frame(out + n, 100, (uint8_t)i);
	assert_int_equal(send(fd, out, n, 0), n);
	assert_int_equal(get(f, fd, in, n), n);
	assert_memory_equal(in, out, n);
	assert_int_equal(f->front.frames, N);
	tcp_stats(f->tcp, &st);
	/* The kernel may have cut it into a few parts. */
	assert_true(st.reads <= N / 20);
	assert_true(st.writes <= N / 20);
	assert_true(f->front.inputs <= N / 20);
	close(fd);
	stop(f);
}

static void a_frame_of_megabytes_comes_and_goes(void **state)
{
	static const uint32_t sizes[] = {100000, 131072 - 4, 262144, 300001, 5 << 20};
	struct fixture *f = start(NULL);
	uint8_t *out = malloc(FRAME_MAX), *in = malloc(FRAME_MAX);
	int fd = client(f->port);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t n = frame(out, sizes[i], (uint8_t)i);
		give(f, fd, out, n);
		assert_int_equal(get(f, fd, in, n), n);
		assert_memory_equal(in, out, n);
	}
	/* Consumed: nothing of it is kept. */
	assert_null(container_of(f->front.stream, struct conn, stream)->in);
	assert_null(container_of(f->front.stream, struct conn, stream)->out);
	assert_true(sizeof(struct conn) < 1024);
	close(fd);
	free(out);
	free(in);
	stop(f);
}

static void a_frame_that_never_ends_is_cut(void **state)
{
	struct fixture *f = start(NULL);
	uint8_t *junk = calloc(1, FRAME_MAX + 1024);
	int fd = client(f->port);
	size_t sent = 0;

	(void)state;
	be32_put(junk, UINT32_MAX);
	for (uint64_t until = 0; f->front.closed == 0 && in_time(&until);) {
		ssize_t k = send(fd, junk, FRAME_MAX + 1024 - sent, MSG_NOSIGNAL);
		if (k > 0)
			sent += (size_t)k;
		else if (errno != EAGAIN)
			close(fd), fd = -1;
		step(f);
		if (sent == FRAME_MAX + 1024 && fd >= 0) {
			assert_int_equal(f->front.closed, 0);
			shutdown(fd, SHUT_RDWR);
		}
	}
	assert_int_equal(f->front.closed, 1);
	assert_int_equal(f->front.why, ST_PROTO);
	if (fd >= 0)
		close(fd);
	free(junk);
	stop(f);
}

static void what_was_answered_before_a_refusal_goes_out(void **state)
{
	struct fixture *f = start(NULL);
	uint8_t out[256], in[256];
	size_t n = frame(out, 100, 1);
	int fd = client(f->port);

	(void)state;
	f->front.refuse = true;
	give(f, fd, out, n);
	assert_int_equal(get(f, fd, in, sizeof(in)), n);
	assert_memory_equal(in, out, n);
	close(fd);
	UNTIL(f, f->front.closed == 1);
	assert_int_equal(f->front.why, ST_PROTO);
	stop(f);
}

static void closing_sends_the_queue_first(void **state)
{
	struct fixture *f = start(NULL);
	uint8_t *out = malloc(FRAME_MAX), *in = malloc(FRAME_MAX);
	size_t n = frame(out, 3 << 20, 1);
	int fd = client(f->port);

	(void)state;
	f->front.close_after_one = true;
	give(f, fd, out, n);
	/* More of ours is on its way when the other end closes: it may not destroy what comes from there. */
	give(f, fd, out, 100000);
	assert_int_equal(get(f, fd, in, FRAME_MAX), n);
	assert_memory_equal(in, out, n);
	assert_int_equal(f->front.frames, 1);
	assert_int_equal(f->front.closed, 0);
	close(fd);
	UNTIL(f, f->front.closed == 1);
	assert_int_equal(f->front.why, ST_OK);
	free(out);
	free(in);
	stop(f);
}

static void a_peer_that_does_not_hang_up_is_cut(void **state)
{
	struct tcp_conf conf;
	uint8_t out[64], in[64];
	size_t n = frame(out, 10, 1);

	(void)state;
	tcp_conf_default(&conf);
	conf.linger_ms = 30;
	struct fixture *f = start(&conf);
	int fd = client(f->port);
	f->front.close_after_one = true;
	give(f, fd, out, n);
	assert_int_equal(get(f, fd, in, sizeof(in)), n);
	UNTIL(f, f->front.closed == 1);
	close(fd);
	stop(f);
}

static void an_answer_goes_out_however_late_its_turn_comes(void **state)
{
	struct tcp_conf conf;
	uint8_t out[64], in[64];
	size_t n = frame(out, 10, 1);

	(void)state;
	tcp_conf_default(&conf);
	conf.linger_ms = 0; /* it is over before the turn in which the answer is written */
	struct fixture *f = start(&conf);
	int fd = client(f->port);
	f->front.close_after_one = true;
	give(f, fd, out, n);
	assert_int_equal(get(f, fd, in, n), n);
	assert_memory_equal(in, out, n);
	UNTIL(f, f->front.closed == 1);
	close(fd);
	stop(f);
}

static void a_peer_that_takes_nothing_is_cut(void **state)
{
	struct tcp_conf conf;
	struct blob *b = blob_new(8 << 20);
	struct piece v = {slice_of(b->p, b->n), b};

	(void)state;
	memset(b->p, 1, b->n);
	tcp_conf_default(&conf);
	conf.stall_ms = 50;
	struct fixture *f = start(&conf);
	int fd = client(f->port);
	UNTIL(f, f->front.opened == 1);
	for (int i = 0; i < 4; i++)
		stream_send(f->front.stream, &v, 1);
	loop_again(&f->loop);
	UNTIL(f, f->front.closed == 1);
	assert_int_equal(f->front.why, ST_TIMEOUT);
	assert_int_equal(atomic_load(&b->refs), 1);
	blob_drop(b);
	close(fd);
	stop(f);
}

static void too_much_queued_is_cut(void **state)
{
	struct tcp_conf conf;
	struct blob *b = blob_new(1 << 20);
	struct piece v = {slice_of(b->p, b->n), b};

	(void)state;
	memset(b->p, 1, b->n);
	tcp_conf_default(&conf);
	conf.out_limit = 20 << 20;
	struct fixture *f = start(&conf);
	int fd = client(f->port);
	UNTIL(f, f->front.opened == 1);
	for (int i = 0; i < 60 && f->front.closed == 0; i++) {
		stream_send(f->front.stream, &v, 1);
		loop_again(&f->loop);
		step(f);
	}
	assert_int_equal(f->front.closed, 1);
	assert_int_equal(f->front.why, ST_BUSY);
	assert_int_equal(atomic_load(&b->refs), 1);
	blob_drop(b);
	close(fd);
	stop(f);
}

static void what_is_not_whole_is_bounded_in_all(void **state)
{
	struct tcp_conf conf;
	uint8_t *junk = calloc(1, 1 << 20);
	int fds[8];
	uint8_t small[8];

	(void)state;
	tcp_conf_default(&conf);
	conf.in_limit = 4 << 20;
	struct fixture *f = start(&conf);
	be32_put(junk, FRAME_MAX - 1024); /* none of these frames ends */
	for (int i = 0; i < 8; i++) {
		fds[i] = client(f->port);
		uint64_t until = 0;
		for (size_t done = 0; done < 1 << 20 && in_time(&until);) {
			ssize_t k = send(fds[i], junk + done, (1 << 20) - done, MSG_NOSIGNAL);
			if (k < 0 && errno != EAGAIN)
				break; /* it was cut */
			done += k > 0 ? (size_t)k : 0;
			step(f);
		}
	}
	UNTIL(f, f->front.closed > 0);
	assert_int_equal(f->front.why, ST_BUSY);
	assert_true(f->front.closed < 8);
	assert_true(f->tcp->kept <= conf.in_limit + (2 << 20));
	int good = client(f->port); /* who keeps little is not concerned */
	give(f, good, small, frame(small, 4, 1));
	assert_int_equal(get(f, good, junk, 8), 8);
	close(good);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	UNTIL(f, f->front.closed == f->front.opened);
	assert_int_equal(f->tcp->kept, 0);
	free(junk);
	stop(f);
}

static void held_bytes_are_written_in_order_and_let_go(void **state)
{
	enum { N = 2000, BIG = 3000, SMALL = 10 };
	struct fixture *f = start(NULL);
	struct blob *b = blob_new(BIG);
	size_t n = N * (BIG + SMALL);
	uint8_t *in = malloc(n), small[SMALL];
	int fd = client(f->port);

	(void)state;
	memset(b->p, 'B', BIG);
	UNTIL(f, f->front.opened == 1);
	/* More pieces than a system call gathers. */
	for (int i = 0; i < N; i++) {
		struct piece v[2] = {{slice_of(small, SMALL), NULL}, {slice_of(b->p, BIG), b}};
		memset(small, 'a' + i % 26, SMALL);
		stream_send(f->front.stream, v, 2);
	}
	assert_true(atomic_load(&b->refs) > N);
	loop_again(&f->loop);
	assert_int_equal(get(f, fd, in, n), n);
	for (int i = 0; i < N; i++) {
		const uint8_t *p = in + (size_t)i * (BIG + SMALL);
		assert_true(p[0] == 'a' + i % 26 && p[SMALL - 1] == p[0]);
		assert_true(p[SMALL] == 'B' && p[SMALL + BIG - 1] == 'B');
	}
	assert_int_equal(atomic_load(&b->refs), 1);
	blob_drop(b);
	free(in);
	close(fd);
	stop(f);
}

static void room_ends_and_comes_back(void **state)
{
	struct tcp_conf conf;
	uint8_t *in = malloc(16 << 20);
	struct blob *b = blob_new(4 << 20);
	struct piece v = {slice_of(b->p, b->n), b};

	(void)state;
	memset(b->p, 1, b->n);
	tcp_conf_default(&conf);
	struct fixture *f = start(&conf);
	int fd = client(f->port);
	UNTIL(f, f->front.opened == 1);
	assert_int_equal(stream_room(f->front.stream), conf.out_max);
	stream_put(f->front.stream, SLICE_LIT("12345"));
	assert_int_equal(stream_room(f->front.stream), conf.out_max - 5);
	for (int i = 0; i < 3; i++)
		stream_send(f->front.stream, &v, 1);
	assert_int_equal(stream_room(f->front.stream), 0);
	assert_int_equal(f->front.drained, 0);
	loop_again(&f->loop);
	assert_int_equal(get(f, fd, in, (12 << 20) + 5), (12 << 20) + 5);
	UNTIL(f, f->front.drained == 1);
	assert_int_equal(stream_room(f->front.stream), conf.out_max);
	blob_drop(b);
	free(in);
	close(fd);
	stop(f);
}

static void a_protocol_may_want_less_queued_than_the_carrier(void **state)
{
	enum { NARROW = 10000 };
	struct stream_ops ops = echo_ops;
	uint8_t in[NARROW + 1] = {0};

	(void)state;
	ops.out_max = NARROW;
	struct fixture *f = start_with(NULL, &ops);
	int fd = client(f->port);
	UNTIL(f, f->front.opened == 1);
	assert_int_equal(stream_room(f->front.stream), NARROW);
	stream_put(f->front.stream, slice_of(in, NARROW - 1));
	assert_int_equal(stream_room(f->front.stream), 1);
	stream_put(f->front.stream, slice_of(in, 2));
	assert_int_equal(stream_room(f->front.stream), 0);
	loop_again(&f->loop);
	assert_int_equal(get(f, fd, in, sizeof(in)), sizeof(in));
	UNTIL(f, f->front.drained == 1);
	assert_int_equal(stream_room(f->front.stream), NARROW);
	close(fd);
	stop(f);
}

static void what_nobody_takes_does_not_pile_up_in_the_kernel(void **state)
{
	enum { NARROW = 10000, PART = 4096, MUCH = 1 << 20 };
	struct stream_ops ops = echo_ops;
	uint8_t part[PART] = {0};
	size_t taken = 0;

	(void)state;
	ops.out_max = NARROW;
	struct fixture *f = start_with(NULL, &ops);
	int fd = client(f->port);
	UNTIL(f, f->front.opened == 1);
	/* The client reads nothing. Only what went to the kernel makes room again. */
	for (int idle = 0; idle < 50 && taken <= MUCH; idle++) {
		while (stream_room(f->front.stream) > 0) {
			stream_put(f->front.stream, slice_of(part, PART));
			taken += PART;
			idle = 0;
		}
		loop_again(&f->loop);
		uv_run(&f->loop.uv, UV_RUN_NOWAIT);
		usleep(1000);
	}
	assert_in_range(taken, NARROW, MUCH);
	close(fd);
	stop(f);
}

static void paused_input_is_kept_and_offered_again(void **state)
{
	enum { N = 50, SIZE = 20000 };
	struct fixture *f = start(NULL);
	size_t n = N * (SIZE + 4);
	uint8_t *out = malloc(n), *in = malloc(n);
	int fd = client(f->port);

	(void)state;
	n = 0;
	for (uint32_t i = 0; i < N; i++)
		n += frame(out + n, SIZE, (uint8_t)i);
	f->front.pause_after = 3;
	uint64_t until = 0;
	for (size_t sent = 0, got = 0; got < n;) {
		ssize_t k = sent < n ? send(fd, out + sent, n - sent, MSG_NOSIGNAL) : 0;
		unsigned before = f->front.frames;
		assert_true(in_time(&until));
		if (k > 0)
			sent += (size_t)k;
		for (int i = 0; i < 3; i++)
			step(f);
		assert_true(f->front.frames - before <= 3);
		k = recv(fd, in + got, n - got, 0);
		if (k > 0)
			got += (size_t)k;
		if (f->front.frames % 3 == 0 && f->front.stream != NULL) {
			stream_pause(f->front.stream, false);
			loop_again(&f->loop);
		}
	}
	assert_memory_equal(in, out, n);
	assert_int_equal(f->front.frames, N);
	free(in);
	free(out);
	close(fd);
	stop(f);
}

static void the_protocols_deadline_is_kept(void **state)
{
	struct fixture *f = start(NULL);
	uint64_t began;
	int fd;

	(void)state;
	f->front.turn_every_ns = 20 * MS_NS;
	fd = client(f->port);
	UNTIL(f, f->front.opened == 1);
	began = clock_mono_ns(host_clock());
	/* The loop itself waits for it: no bytes come. */
	while (f->front.turns < 5)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	assert_true(clock_mono_ns(host_clock()) - began >= 3 * 20 * MS_NS);
	close(fd);
	stop(f);
}

static void connections_over_the_limit_are_refused(void **state)
{
	struct tcp_conf conf;
	struct tcp_stats st;
	int fd[4];
	char c;

	(void)state;
	tcp_conf_default(&conf);
	conf.max_conns = 3;
	struct fixture *f = start(&conf);
	f->log.base.level = LOG_ERROR;
	for (int i = 0; i < 4; i++)
		fd[i] = client(f->port);
	assert_int_equal(get(f, fd[3], &c, 1), 0);
	assert_int_equal(f->front.opened, 3);
	tcp_stats(f->tcp, &st);
	assert_int_equal(st.refused, 1);
	assert_int_equal(st.conns, 3);
	/* Room is made by whoever leaves. */
	close(fd[0]);
	UNTIL(f, f->front.closed == 1);
	fd[0] = client(f->port);
	UNTIL(f, f->front.opened == 4);
	for (int i = 0; i < 4; i++)
		close(fd[i]);
	stop(f);
}

static void without_descriptors_connections_are_refused_not_ignored(void **state)
{
	struct fixture *f = start(NULL);
	struct rlimit old, low;
	int fd, spare;
	char c;

	(void)state;
	f->log.base.level = LOG_ERROR;
	f->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	fd = client(f->port);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	spare = dup(0);
	close(spare);
	low = (struct rlimit){(rlim_t)spare, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(get(f, fd, &c, 1), 0);
	assert_int_equal(f->front.opened, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	close(fd);
	fd = client(f->port);
	UNTIL(f, f->front.opened == 1);
	close(fd);
	close(f->log.fd);
	stop(f);
}

static void a_port_has_one_owner(void **state)
{
	struct fixture *f = start(NULL);
	struct tcp_listener *l;
	char why[256] = "";

	(void)state;
	assert_int_equal(tcp_bind(f->tcp, "127.0.0.1", f->port, &l, NULL, why, sizeof(why)), ST_EXISTS);
	assert_non_null(strstr(why, "127.0.0.1:"));
	assert_int_equal(tcp_bind(f->tcp, "localhost!", 0, &l, NULL, why, sizeof(why)), ST_BAD_ARG);
	assert_int_equal(tcp_bind(f->tcp, "192.0.2.1", 0, &l, NULL, why, sizeof(why)), ST_BAD_ARG);
	/* Nobody accepts before tcp_listen. */
	uint16_t port;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(tcp_bind(f->tcp, "127.0.0.1", 0, &l, &port, why, sizeof(why)), ST_OK);
	a.sin_port = htons(port);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	stop(f);
}

static void hanging_up_closes_everyone(void **state)
{
	enum { N = 20 };
	struct fixture *f = start(NULL);
	int fd[N];
	char c;

	(void)state;
	for (int i = 0; i < N; i++)
		fd[i] = client(f->port);
	UNTIL(f, f->front.opened == N);
	tcp_unlisten(f->tcp);
	tcp_hang_up(f->tcp);
	loop_again(&f->loop);
	for (int i = 0; i < N; i++) {
		assert_int_equal(get(f, fd[i], &c, 1), 0);
		close(fd[i]);
	}
	UNTIL(f, f->front.closed == N);
	assert_int_equal(f->front.why, ST_CLOSED);
	stop(f);
}

static void who_does_not_look_hardly_keeps_an_ending_process(void **state)
{
	struct tcp_conf conf;
	uint8_t *out = malloc(FRAME_MAX), *in = malloc(FRAME_MAX);
	size_t n = frame(out, 6 << 20, 1);

	(void)state;
	tcp_conf_default(&conf);
	conf.linger_ms = 60000;
	struct fixture *f = start(&conf);
	int idle = client(f->port), slow = client(f->port);
	UNTIL(f, f->front.opened == 2);
	give(f, slow, out, n);
	UNTIL(f, f->front.frames == 1);
	tcp_unlisten(f->tcp);
	tcp_hang_up(f->tcp);
	loop_again(&f->loop);
	/* Neither hangs up. One has all there was; the other takes its answer in time, and all of it. */
	UNTIL(f, f->front.closed == 1);
	assert_int_equal(get(f, slow, in, FRAME_MAX), n);
	assert_memory_equal(in, out, n);
	UNTIL(f, f->front.closed == 2);
	close(idle);
	close(slow);
	free(out);
	free(in);
	stop(f);
}

/* ---- Dialling ------------------------------------------------------------------------------------------------------------- */

struct caller {
	struct dial_call call;
	unsigned failed;
	enum status why;
};

static void call_failed(struct dial_call *call, enum status why, const char *text)
{
	struct caller *c = container_of(call, struct caller, call);

	c->failed++;
	c->why = why;
	assert_non_null(text);
}

static struct caller caller(const char *host, uint16_t port, struct front *front)
{
	return (struct caller){.call = {.host = slice_str(host), .port = port, .timeout_ms = PATIENCE_MS, .ops = &echo_ops, .front = front,
				       .failed = call_failed}};
}

static void a_call_reaches_a_listener(void **state)
{
	static const char *const hosts[] = {"127.0.0.1", "localhost"};
	struct fixture *f = start(NULL);
	struct dial *d = dial_tcp_open(f->tcp, &f->loop.uv);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		struct front ours = {.quiet = true};
		struct caller c = caller(hosts[i], f->port, &ours);
		uint8_t out[64];
		size_t n = frame(out, 40, 3);
		dial_connect(d, &c.call);
		assert_int_equal(ours.opened, 0);
		UNTIL(f, ours.opened == 1 && f->front.opened == i + 1);
		assert_null(c.call.priv[0]);
		dial_cancel(d, &c.call);
		stream_put(ours.stream, slice_of(out, n));
		loop_again(&f->loop);
		UNTIL(f, ours.frames == 1);
		assert_int_equal(ours.seen_bytes, 40);
		stream_close(ours.stream, 0, "enough");
		assert_int_equal(ours.closed, 0);
		loop_again(&f->loop);
		UNTIL(f, ours.closed == 1 && f->front.closed == i + 1);
		assert_int_equal(c.failed, 0);
	}
	dial_tcp_close(d);
	stop(f);
}

/* A port that answers nobody: its queue of connections is full. */
static uint16_t silent_port(int *fds, unsigned n)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fds[0], (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fds[0], 0), 0);
	assert_int_equal(getsockname(fds[0], (struct sockaddr *)&a, &len), 0);
	for (unsigned i = 1; i < n; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)!connect(fds[i], (struct sockaddr *)&a, sizeof(a));
	}
	return ntohs(a.sin_port);
}

/* Ends a call after it began and before the loop's next look at what came. */
struct canceller {
	uv_prepare_t prepare;
	struct dial *dial;
	struct dial_call *call;
};

static void cancel_now(uv_prepare_t *p)
{
	struct canceller *c = container_of(p, struct canceller, prepare);

	dial_cancel(c->dial, c->call);
	uv_prepare_stop(p);
}

static void a_call_that_fails_says_so_once(void **state)
{
	/* A part of a name has 63 letters at most: the resolver refuses this one without asking anybody. */
	static const char nobody[] = "a-name-that-no-server-is-asked-for-since-a-part-of-it-is-longer-than-63-letters.invalid";
	int silent[6];
	struct fixture *f = start(NULL);
	struct dial *d = dial_tcp_open(f->tcp, &f->loop.uv);
	struct front ours = {0};
	struct caller refused = caller("127.0.0.1", 1, &ours), unknown = caller(nobody, 1, &ours);
	struct caller tls = caller("127.0.0.1", f->port, &ours), cancelled = caller("127.0.0.1", f->port, &ours);
	struct caller looking = caller(nobody, 1, &ours), slow = caller("127.0.0.1", silent_port(silent, ARRAY_LEN(silent)), &ours);
	struct caller left = caller("127.0.0.1", f->port, &ours);

	(void)state;
	tls.call.tls = true;
	slow.call.timeout_ms = 30;
	dial_connect(d, &refused.call);
	dial_connect(d, &tls.call);
	dial_connect(d, &cancelled.call);
	dial_connect(d, &slow.call);
	dial_cancel(d, &cancelled.call);
	assert_int_equal(refused.failed, 0);
	UNTIL(f, refused.failed == 1 && tls.failed == 1 && slow.failed == 1);
	assert_int_equal(refused.why, ST_NO_MEMBER);
	assert_int_equal(tls.why, ST_DENIED);
	assert_int_equal(slow.why, ST_TIMEOUT);
	struct canceller c = {.dial = d, .call = &looking.call};
	assert_int_equal(uv_prepare_init(&f->loop.uv, &c.prepare), 0);
	assert_int_equal(uv_prepare_start(&c.prepare, cancel_now), 0);
	dial_connect(d, &looking.call);
	assert_non_null(looking.call.priv[0]);
	step(f);
	assert_null(looking.call.priv[0]);
	uv_close((uv_handle_t *)&c.prepare, NULL);
	dial_connect(d, &unknown.call);
	UNTIL(f, unknown.failed == 1);
	assert_int_equal(unknown.why, ST_NO_MEMBER);
	dial_connect(d, &left.call);
	dial_tcp_close(d);
	assert_int_equal(left.failed, 1);
	assert_int_equal(left.why, ST_CLOSED);
	assert_int_equal(cancelled.failed + looking.failed, 0);
	assert_int_equal(ours.opened, 0);
	for (size_t i = 0; i < ARRAY_LEN(silent); i++)
		close(silent[i]);
	stop(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_come_back_however_they_are_cut),
		cmocka_unit_test(all_frames_of_a_read_are_one_input_and_one_write),
		cmocka_unit_test(a_frame_of_megabytes_comes_and_goes),
		cmocka_unit_test(a_frame_that_never_ends_is_cut),
		cmocka_unit_test(what_was_answered_before_a_refusal_goes_out),
		cmocka_unit_test(closing_sends_the_queue_first),
		cmocka_unit_test(a_peer_that_does_not_hang_up_is_cut),
		cmocka_unit_test(an_answer_goes_out_however_late_its_turn_comes),
		cmocka_unit_test(a_peer_that_takes_nothing_is_cut),
		cmocka_unit_test(too_much_queued_is_cut), cmocka_unit_test(what_is_not_whole_is_bounded_in_all),
		cmocka_unit_test(held_bytes_are_written_in_order_and_let_go),
		cmocka_unit_test(room_ends_and_comes_back),
		cmocka_unit_test(a_protocol_may_want_less_queued_than_the_carrier),
		cmocka_unit_test(what_nobody_takes_does_not_pile_up_in_the_kernel),
		cmocka_unit_test(paused_input_is_kept_and_offered_again),
		cmocka_unit_test(the_protocols_deadline_is_kept),
		cmocka_unit_test(connections_over_the_limit_are_refused),
		cmocka_unit_test(without_descriptors_connections_are_refused_not_ignored),
		cmocka_unit_test(a_port_has_one_owner),
		cmocka_unit_test(hanging_up_closes_everyone),
		cmocka_unit_test(who_does_not_look_hardly_keeps_an_ending_process),
		cmocka_unit_test(a_call_reaches_a_listener),
		cmocka_unit_test(a_call_that_fails_says_so_once),
	};

	return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
