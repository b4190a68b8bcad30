/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The route table and the KV configuration by themselves, with time as a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/obj.h"
#include "base/prng.h"
#include "namesrv/kv.h"
#include "namesrv/routes.h"

static struct routes r;
static unsigned gone_count;

static int setup(void **state)
{
	(void)state;
	routes_init(&r, 4, 8, 16);
	gone_count = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	routes_fini(&r);
	return 0;
}

static void gone(void *arg, const struct route_addr *a)
{
	(void)arg;
	assert_non_null(a->addr);
	gone_count++;
}

static struct wire_topic topic(const char *name, uint32_t queues)
{
	return (struct wire_topic){slice_str(name), queues, queues, 6, 0, false};
}

/* Registers broker/id at addr with n topics out of T0, T1 ... */
static enum status reg(const char *broker, int64_t id, const char *addr, unsigned n, uint64_t now, const void *owner)
{
	static const char *const names[] = {"T0", "T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9"};
	struct wire_topic v[10];
	struct wire_topics topics = {.v = v, .n = n, .version = {0, 1, 1}};
	for (unsigned i = 0; i < n; i++)
		v[i] = topic(names[i], 4);
	struct route_register q = {
		.cluster = SLICE_LIT("c"), .broker = slice_str(broker), .addr = slice_str(addr), .ha_addr = SLICE_LIT("h"),
			.id = id,
		.timeout_ns = 120 * SEC_NS, .owner = owner, .topics = &topics,
	};
	return routes_register(&r, &q, now);
}

static void topics_belong_to_the_name(void **state)
{
	(void)state;
	assert_int_equal(reg("a", 0, "1:1", 2, 0, NULL), ST_OK);
	assert_int_equal(reg("b", 0, "2:1", 3, 0, NULL), ST_OK);
	assert_int_equal(reg("a", 1, "3:1", 0, 0, NULL), ST_OK);
	assert_int_equal(r.topic_names.count, 3);
	assert_int_equal(routes_topic(&r, SLICE_LIT("T0"))->n, 2);
	assert_int_equal(routes_topic(&r, SLICE_LIT("T2"))->n, 1);
	assert_int_equal(r.n_queues, 5);
	/* The master leaves: the slave still serves its topics. */
	routes_unregister(&r, SLICE_LIT("a"), 0, SLICE_LIT("1:1"));
	assert_int_equal(routes_topic(&r, SLICE_LIT("T0"))->n, 2);
	/* A stranger cannot unregister an address by its id. */
	routes_unregister(&r, SLICE_LIT("a"), 1, SLICE_LIT("9:9"));
	assert_non_null(routes_broker(&r, SLICE_LIT("a")));
	routes_unregister(&r, SLICE_LIT("a"), 1, SLICE_LIT("3:1"));
	assert_null(routes_broker(&r, SLICE_LIT("a")));
	assert_int_equal(routes_topic(&r, SLICE_LIT("T0"))->n, 1);
	routes_unregister(&r, SLICE_LIT("b"), 0, SLICE_LIT("2:1"));
	assert_int_equal(r.topic_names.count, 0);
	assert_int_equal(r.n_queues, 0);
}

static void slaves_do_not_set_topics(void **state)
{
	(void)state;
	assert_int_equal(reg("a", 1, "1:1", 2, 0, NULL), ST_OK);
	assert_int_equal(r.topic_names.count, 0);
	struct slice master, ha;
	routes_master(&r, SLICE_LIT("a"), &master, &ha);
	assert_int_equal(master.n, 0);
	assert_int_equal(reg("a", 0, "2:2", 2, 0, NULL), ST_OK);
	routes_master(&r, SLICE_LIT("a"), &master, &ha);
	assert_true(slice_eq_str(master, "2:2") && slice_eq_str(ha, "h"));
	const struct route_addr *first = container_of(routes_broker(&r, SLICE_LIT("a"))->addrs.next, struct route_addr, link);
	assert_int_equal(first->id, 0);
}

static void a_slave_that_becomes_master_leaves_its_old_id(void **state)
{
	(void)state;
	assert_int_equal(reg("a", 1, "1:1", 0, 0, NULL), ST_OK);
	assert_int_equal(reg("a", 0, "1:1", 2, 0, NULL), ST_OK);
	const struct route_broker *b = routes_broker(&r, SLICE_LIT("a"));
	assert_int_equal(b->n_addrs, 1);
	assert_int_equal(routes_find_addr(&r, SLICE_LIT("a"), SLICE_LIT("1:1"))->id, 0);
	/* A master that moved takes its id along. */
	assert_int_equal(reg("a", 0, "5:5", 2, 0, NULL), ST_OK);
	assert_int_equal(b->n_addrs, 1);
	assert_null(routes_find_addr(&r, SLICE_LIT("a"), SLICE_LIT("1:1")));
}

static void silence_expires(void **state)
{
	(void)state;
	assert_int_equal(routes_turn(&r, 0, gone, NULL), NEVER);
	assert_int_equal(reg("a", 0, "1:1", 2, 0, NULL), ST_OK);
	assert_int_equal(reg("b", 0, "2:1", 2, 50 * SEC_NS, NULL), ST_OK);
	assert_true(routes_turn(&r, 119 * SEC_NS, gone, NULL) == 120 * SEC_NS);
	assert_int_equal(gone_count, 0);
	assert_true(routes_touch(&r, SLICE_LIT("a"), SLICE_LIT("1:1"), 119 * SEC_NS));
	assert_false(routes_touch(&r, SLICE_LIT("a"), SLICE_LIT("1:2"), 119 * SEC_NS));
	assert_true(routes_turn(&r, 170 * SEC_NS, gone, NULL) == 239 * SEC_NS);
	assert_int_equal(gone_count, 1);
	assert_null(routes_broker(&r, SLICE_LIT("b")));
	assert_int_equal(routes_topic(&r, SLICE_LIT("T0"))->n, 1);
	assert_int_equal(routes_turn(&r, 240 * SEC_NS, gone, NULL), NEVER);
	assert_null(routes_topic(&r, SLICE_LIT("T0")));
}

static void a_closed_connection_takes_its_brokers_along(void **state)
{
	(void)state;
	int one = 1, two = 2;
	assert_int_equal(reg("a", 0, "1:1", 2, 0, &one), ST_OK);
	assert_int_equal(reg("a", 1, "1:2", 0, 0, &one), ST_OK);
	assert_int_equal(reg("b", 0, "2:1", 2, 0, &one), ST_OK);
	assert_int_equal(reg("b", 0, "2:1", 2, 0, &two), ST_OK); /* has a new connection already */
	routes_owner_gone(&r, &one, gone, NULL);
	assert_int_equal(gone_count, 2);
	assert_null(routes_broker(&r, SLICE_LIT("a")));
	assert_non_null(routes_broker(&r, SLICE_LIT("b")));
}

static void one_topic_of_a_stranger_is_refused(void **state)
{
	(void)state;
	assert_int_equal(reg("a", 0, "1:1", 1, 0, NULL), ST_NO_MEMBER);
	assert_null(routes_broker(&r, SLICE_LIT("a")));
	assert_int_equal(reg("a", 0, "1:1", 0, 0, NULL), ST_OK);
	assert_int_equal(reg("a", 0, "1:1", 1, 0, NULL), ST_OK);
	assert_int_equal(reg("a", 1, "1:2", 1, 0, NULL), ST_NO_MEMBER);
}

static void limits_hold(void **state)
{
	(void)state;
	assert_int_equal(reg("a", 0, "1:1", 10, 0, NULL), ST_BUSY); /* 8 topics at most */
	assert_int_equal(r.topic_names.count, 8);
	assert_int_equal(reg("b", 0, "1:2", 8, 0, NULL), ST_OK);
	assert_int_equal(r.n_queues, 16);
	assert_int_equal(reg("c", 0, "1:3", 2, 0, NULL), ST_BUSY); /* 16 queue datas at most */
	assert_int_equal(reg("d", 0, "1:4", 0, 0, NULL), ST_OK);
	assert_int_equal(reg("e", 0, "1:5", 0, 0, NULL), ST_BUSY); /* 4 brokers at most */
	assert_null(routes_broker(&r, SLICE_LIT("e")));
	for (int64_t id = 1; id < ROUTE_ADDRS_MAX; id++) {
		char addr[] = {'x', (char)('0' + id / 10), (char)('0' + id % 10), '\0'};
		assert_int_equal(reg("d", id, addr, 0, 0, NULL), ST_OK);
	}
	assert_int_equal(reg("d", 64, "y", 0, 0, NULL), ST_BUSY);
}

static void names_that_clients_could_not_use_are_refused(void **state)
{
	(void)state;
	assert_int_equal(reg("", 0, "1:1", 0, 0, NULL), ST_BAD_ARG);
	assert_int_equal(reg("a", 0, "", 0, 0, NULL), ST_BAD_ARG);
	assert_int_equal(reg("a b", 0, "1:1", 0, 0, NULL), ST_BAD_ARG);
	assert_int_equal(reg("a", 0, "1:1\"", 0, 0, NULL), ST_BAD_ARG);
	assert_int_equal(reg("a", 0, "1\n1", 0, 0, NULL), ST_BAD_ARG);
	assert_int_equal(reg("a", -1, "1:1", 0, 0, NULL), ST_BAD_ARG);
	assert_int_equal(reg("a", 0, "1:1", 0, 0, NULL), ST_OK);
	struct wire_topic t = topic("x y", 1);
	assert_false(routes_topic_put(&r, routes_broker(&r, SLICE_LIT("a")), &t));
}

static void the_write_permission_stays_away_until_it_is_given_back(void **state)
{
	(void)state;
	assert_int_equal(reg("a", 0, "1:1", 2, 0, NULL), ST_OK);
	assert_int_equal(reg("b", 0, "2:1", 1, 0, NULL), ST_NO_MEMBER);
	assert_int_equal(routes_write_perm(&r, SLICE_LIT("nobody"), false), 0);
	assert_int_equal(routes_write_perm(&r, SLICE_LIT("a"), false), 2);
	assert_int_equal(route_perm(&routes_topic(&r, SLICE_LIT("T0"))->v[0]), 4);
	assert_int_equal(reg("a", 0, "1:1", 3, 0, NULL), ST_OK);
	assert_int_equal(route_perm(&routes_topic(&r, SLICE_LIT("T0"))->v[0]), 4);
	assert_int_equal(route_perm(&routes_topic(&r, SLICE_LIT("T2"))->v[0]), 4);
	assert_int_equal(routes_write_perm(&r, SLICE_LIT("a"), true), 3);
	assert_int_equal(route_perm(&routes_topic(&r, SLICE_LIT("T2"))->v[0]), 6);
}

static void topics_are_dropped_by_broker_cluster_or_altogether(void **state)
{
	(void)state;
	assert_int_equal(reg("a", 0, "1:1", 2, 0, NULL), ST_OK);
	assert_int_equal(reg("b", 0, "2:1", 2, 0, NULL), ST_OK);
	assert_false(routes_topic_drop(&r, SLICE_LIT("T0"), slice_of(NULL, 0), SLICE_LIT("other")));
	assert_true(routes_topic_drop(&r, SLICE_LIT("T0"), SLICE_LIT("a"), slice_of(NULL, 0)));
	assert_int_equal(routes_topic(&r, SLICE_LIT("T0"))->n, 1);
	assert_string_equal(routes_topic(&r, SLICE_LIT("T0"))->v[0].broker->name, "b");
	assert_true(routes_topic_drop(&r, SLICE_LIT("T0"), slice_of(NULL, 0), SLICE_LIT("c")));
	assert_null(routes_topic(&r, SLICE_LIT("T0")));
	assert_true(routes_topic_drop(&r, SLICE_LIT("T1"), slice_of(NULL, 0), slice_of(NULL, 0)));
	assert_false(routes_topic_drop(&r, SLICE_LIT("T1"), slice_of(NULL, 0), slice_of(NULL, 0)));
	assert_int_equal(r.n_queues, 0);
	assert_int_equal(routes_broker(&r, SLICE_LIT("a"))->n_topics, 0);
}

static void kv_pairs_are_sorted_and_bounded(void **state)
{
	struct kv k;
	struct prng rnd;
	struct slice v;
	size_t from;
	(void)state;
	kv_init(&k, 100, 2000);
	prng_init(&rnd, 7);
	for (int i = 0; i < 4000; i++) {
		char space[2] = {(char)('A' + prng_below(&rnd, 4)), 0}, key[2] = {(char)('a' + prng_below(&rnd, 20)), 0};
		if (prng_below(&rnd, 3) == 0)
			kv_drop(&k, slice_str(space), slice_str(key));
		else
			assert_int_equal(kv_put(&k, slice_str(space), slice_str(key), slice_str(key)), ST_OK);
		size_t bytes = 0;
		for (size_t m = 0; m < k.n; m++) {
			bytes += k.v[m].space.n + k.v[m].key.n + k.v[m].value.n;
			if (m > 0) {
				int c = slice_cmp(k.v[m - 1].space, k.v[m].space);
				assert_true(c < 0 || (c == 0 && slice_cmp(k.v[m - 1].key, k.v[m].key) < 0));
			}
		}
		assert_int_equal(bytes, k.bytes);
	}
	kv_fini(&k);
	kv_init(&k, 2, 20);
	assert_int_equal(kv_put(&k, SLICE_LIT("s"), SLICE_LIT("b"), SLICE_LIT("1")), ST_OK);
	assert_int_equal(kv_put(&k, SLICE_LIT("s"), SLICE_LIT("a"), SLICE_LIT("2")), ST_OK);
	assert_int_equal(kv_put(&k, SLICE_LIT("s"), SLICE_LIT("c"), SLICE_LIT("")), ST_BUSY);
	assert_int_equal(kv_put(&k, SLICE_LIT("s"), SLICE_LIT("a"), SLICE_LIT("0123456789abcdefg")), ST_BUSY);
	assert_int_equal(kv_put(&k, SLICE_LIT(""), SLICE_LIT("a"), SLICE_LIT("")), ST_BAD_ARG);
	assert_true(kv_get(&k, SLICE_LIT("s"), SLICE_LIT("a"), &v) && slice_eq_str(v, "2"));
	assert_int_equal(kv_space(&k, SLICE_LIT("s"), &from), 2);
	assert_int_equal(from, 0);
	assert_int_equal(kv_space(&k, SLICE_LIT("t"), &from), 0);
	kv_fini(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(topics_belong_to_the_name, setup, teardown),
		cmocka_unit_test_setup_teardown(slaves_do_not_set_topics, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slave_that_becomes_master_leaves_its_old_id, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_expires, setup, teardown),
		cmocka_unit_test_setup_teardown(a_closed_connection_takes_its_brokers_along, setup, teardown),
		cmocka_unit_test_setup_teardown(one_topic_of_a_stranger_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(limits_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(names_that_clients_could_not_use_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(the_write_permission_stays_away_until_it_is_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(topics_are_dropped_by_broker_cluster_or_altogether, setup, teardown),
		cmocka_unit_test(kv_pairs_are_sorted_and_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
