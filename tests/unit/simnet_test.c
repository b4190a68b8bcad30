/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The simulated network: bytes arrive in order and complete whatever their pieces, and each connection ends once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/obj.h"
#include "tests/sim/net.h"

/* A protocol that sends back each message of a 4-byte length and that many bytes, and stops at one of length 0. */
struct echo {
	struct stream *out;
	bool stopped;
};

static unsigned ends;
static enum status last_why;

static void echo_opened(void *conn, void *front, struct stream *out, const struct stream_info *info)
{
	struct echo *e = conn;

	assert_ptr_equal(front, &ends);
	assert_true(info->peer.n > 0);
	e->out = out;
}

static ptrdiff_t echo_input(void *conn, struct slice bytes)
{
	struct echo *e = conn;

	assert_false(e->stopped);
	if (bytes.n < 4)
		return 0;
	uint32_t n = be32_get(bytes.p);

	if (n > 100000)
		return -1;
	if (n == 0) {
		e->stopped = true;
		stream_close(e->out, 0, "stop");
		return 4;
	}
	if (bytes.n < 4 + n)
		return 0;
	stream_put(e->out, slice_of(bytes.p, 4 + n));
	stream_room(e->out);
	return 4 + n;
}

static void echo_drained(void *conn)
{
	(void)conn;
}

static void echo_closed(void *conn, enum status why)
{
	(void)conn;
	ends++;
	last_why = why;
}

static const struct stream_ops echo_ops = {.name = "echo", .conn_size = sizeof(struct echo), .input_max = 200000, .opened = echo_opened,
	.input = echo_input, .drained = echo_drained, .closed = echo_closed};

struct caller {
	struct sim_peer base;
	struct buf got;
	unsigned closed;
};

static void caller_input(struct sim_peer *p, struct slice bytes)
{
	buf_slice(&container_of(p, struct caller, base)->got, bytes);
}

static void caller_closed(struct sim_peer *p)
{
	container_of(p, struct caller, base)->closed++;
}

static void drain(struct sim_clock *c)
{
	while (sim_clock_next(c) != NEVER)
		sim_clock_run(c, sim_clock_next(c));
}

static void run(const struct sim_net_conf *conf, uint64_t seed, bool *ret_whole, struct sim_net *ret)
{
	struct caller caller = {.base = {caller_input, caller_closed}};
	struct buf sent = {0};
	struct sim_clock clock;
	struct sim_net net;
	struct prng r;

	ends = 0;
	prng_init(&r, seed);
	sim_clock_init(&clock);
	sim_net_init(&net, &clock, conf, seed);
	struct sim_conn *c = sim_net_connect(&net, &echo_ops, &ends, &caller.base);

	for (int i = 0; i < 50; i++) {
		uint32_t n = 1 + (uint32_t)prng_below(&r, 3000);
		size_t from = sent.n;

		buf_be32(&sent, n);
		for (uint32_t k = 0; k < n; k++)
			buf_u8(&sent, (uint8_t)prng_u64(&r));
		sim_conn_send(c, slice_of(sent.p + from, sent.n - from));
	}
	uint8_t stop[4] = {0};

	sim_conn_send(c, slice_of(stop, 4));
	drain(&clock);
	assert_int_equal(ends, 1);
	assert_int_equal(caller.closed, 1);
	assert_true(slice_starts(buf_view(&sent), buf_view(&caller.got)));
	*ret_whole = caller.got.n == sent.n;
	*ret = net;
	sim_net_fini(&net);
	buf_fini(&sent);
	buf_fini(&caller.got);
	sim_clock_fini(&clock);
}

static void bytes_arrive_whatever_their_pieces(void **state)
{
	struct sim_net net;
	bool whole;

	(void)state;
	for (uint64_t seed = 1; seed < 30; seed++) {
		struct sim_net_conf conf = {.latency_max_ns = MS_NS, .chunk_max = (uint32_t)(seed * seed * 7), .window = 5000};

		run(&conf, seed, &whole, &net);
		assert_true(whole);
		assert_int_equal(last_why, ST_CLOSED);
	}
}

static void exact_sends_arrive_whole(void **state)
{
	struct sim_net_conf conf = {.exact = true};
	struct sim_net net;
	bool whole;

	(void)state;
	run(&conf, 1, &whole, &net);
	assert_true(whole);
}

static void connections_break(void **state)
{
	unsigned broken = 0;

	(void)state;
	for (uint64_t seed = 1; seed < 60; seed++) {
		struct sim_net_conf conf = {.latency_max_ns = MS_NS, .chunk_max = 1000, .cut_per_million = 3000};
		struct sim_net net;
		bool whole;

		run(&conf, seed, &whole, &net);
		assert_true(net.cuts <= 1);
		assert_int_equal(last_why == ST_IO, net.cuts == 1);
		broken += net.cuts > 0;
	}
	assert_in_range(broken, 10, 55);
}

static void bad_bytes_and_hangups_end_a_connection(void **state)
{
	struct caller caller = {.base = {caller_input, caller_closed}};
	struct sim_net_conf conf = {.latency_max_ns = MS_NS};
	struct sim_clock clock;
	struct sim_net net;
	uint8_t bad[4] = {255, 0, 0, 0};

	(void)state;
	ends = 0;
	sim_clock_init(&clock);
	sim_net_init(&net, &clock, &conf, 3);
	struct sim_conn *c = sim_net_connect(&net, &echo_ops, &ends, &caller.base);

	sim_conn_send(c, slice_of(bad, 4));
	drain(&clock);
	assert_int_equal(last_why, ST_PROTO);
	assert_int_equal(caller.closed, 1);
	c = sim_net_connect(&net, &echo_ops, &ends, &caller.base);
	sim_conn_send(c, slice_of("\0\0\0\1x", 5));
	sim_conn_hangup(c);
	drain(&clock);
	assert_int_equal(last_why, ST_OK);
	assert_int_equal(ends, 2);
	assert_int_equal(caller.closed, 1);
	sim_net_connect(&net, &echo_ops, &ends, &caller.base);
	sim_net_fini(&net);
	assert_int_equal(ends, 3);
	buf_fini(&caller.got);
	sim_clock_fini(&clock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_arrive_whatever_their_pieces),
		cmocka_unit_test(exact_sends_arrive_whole),
		cmocka_unit_test(connections_break),
		cmocka_unit_test(bad_bytes_and_hangups_end_a_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
