/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The loop, woken by other threads, and sockets that are taken before anybody listens on them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/obj.h"
#include "os/host.h"
#include "os/loop_uv.h"
#include "os/tcp.h"

enum { WAKES = 10000 };

struct woken {
	struct loop loop;
	atomic_uint asked, seen; /* wakes; how many of them a turn has seen */
	unsigned turns;
};

static uint64_t turn(void *arg, uint64_t now_ns)
{
	struct woken *w = arg;

	(void)now_ns;
	w->turns++;
	atomic_store(&w->seen, atomic_load(&w->asked));
	if (atomic_load(&w->seen) >= WAKES)
		loop_stop(&w->loop);
	return NEVER;
}

/* Asks and waits until a turn has seen it, then asks many times at once. */
static void *ask(void *arg)
{
	struct woken *w = arg;

	for (unsigned i = 1; i <= WAKES / 2; i++) {
		atomic_store(&w->asked, i);
		loop_wake(&w->loop);
		while (i % 16 == 0 && atomic_load(&w->seen) < i)
			sched_yield();
	}
	for (unsigned i = WAKES / 2 + 1; i <= WAKES; i++) {
		atomic_store(&w->asked, i);
		loop_wake(&w->loop);
	}
	return NULL;
}

static void no_wake_is_lost_and_many_are_one_turn(void **state)
{
	struct woken w = {.turns = 0};
	pthread_t t;

	(void)state;
	loop_init(&w.loop, host_clock(), turn, &w);
	assert_int_equal(pthread_create(&t, NULL, ask, &w), 0);
	/* Without a deadline only a wake ends a poll: a lost one would hang here. */
	loop_run(&w.loop);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(atomic_load(&w.seen), WAKES);
	assert_true(w.turns < 2 * WAKES);
	loop_fini(&w.loop);
}

static int try_connect(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	assert_true(fd >= 0);
	rc = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? 0 : errno;
	close(fd);
	return rc;
}

static void a_socket_is_taken_first_and_listens_later(void **state)
{
	uint16_t port = 0, again = 0;
	char why[256] = "", want[64];
	int fd = -1, other = -1;

	(void)state;
	assert_int_equal(tcp_socket("127.0.0.1", 0, &fd, &port, why, sizeof(why)), ST_OK);
	assert_true(port != 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	/* Whoever comes early is refused, he does not wait. */
	assert_int_equal(try_connect(port), ECONNREFUSED);
	assert_int_equal(tcp_socket_listen(fd, why, sizeof(why)), ST_OK);
	assert_int_equal(try_connect(port), 0);
	assert_int_equal(tcp_socket("127.0.0.1", port, &other, &again, why, sizeof(why)), ST_EXISTS);
	snprintf(want, sizeof(want), "cannot bind to 127.0.0.1:%u", port);
	assert_non_null(strstr(why, want));
	assert_int_equal(other, -1);
	close(fd);
	assert_int_equal(tcp_socket("localhost", 0, &fd, &port, why, sizeof(why)), ST_BAD_ARG);
	assert_non_null(strstr(why, "localhost"));
}

static void two_that_were_bound_at_once_do_not_both_listen(void **state)
{
	uint16_t port = 0, again = 0;
	char why[256] = "", want[64];
	int a, b;

	(void)state;
	/* The system lets both bind as long as neither listens. */
	assert_int_equal(tcp_socket("127.0.0.1", 0, &a, &port, why, sizeof(why)), ST_OK);
	assert_int_equal(tcp_socket("127.0.0.1", port, &b, &again, why, sizeof(why)), ST_OK);
	assert_int_equal(tcp_socket_listen(a, why, sizeof(why)), ST_OK);
	assert_int_equal(tcp_socket_listen(b, why, sizeof(why)), ST_EXISTS);
	snprintf(want, sizeof(want), "cannot listen on 127.0.0.1:%u", port);
	assert_non_null(strstr(why, want));
	close(a);
	close(b);
}

static void random_bytes_fill_all_that_was_asked_for(void **state)
{
	uint8_t v[1000] = {0};
	unsigned zeros = 0;

	(void)state;
	host_random_bytes(v, sizeof(v));
	for (size_t i = 0; i < sizeof(v); i++)
		zeros += v[i] == 0;
	assert_true(zeros < 50);
	host_random_bytes(v, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_wake_is_lost_and_many_are_one_turn),
		cmocka_unit_test(a_socket_is_taken_first_and_listens_later),
		cmocka_unit_test(two_that_were_bound_at_once_do_not_both_listen),
		cmocka_unit_test(random_bytes_fill_all_that_was_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
