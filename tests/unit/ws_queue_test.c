/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The queue of a WebSocket connection: what goes in as messages comes out as frames that say the same, at every length where a head changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/be.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/obj.h"
#include "front/websocket/ws_queue.h"

static uint8_t *gathered;

/* Takes everything off, whole frames at a time; appends each message with its length before it. */
static void drain(struct ws_queue *q, struct buf *ret, bool text)
{
	struct buf message = {0};
	bool open = false;
	size_t n;

	while ((n = ws_queue_gather(q, gathered, text)) > 0) {
		assert_true(n <= WS_GATHER_MAX);
		for (size_t at = 0; at < n;) {
			uint8_t first = gathered[at];
			size_t len = gathered[at + 1], head = 2;
			assert_int_equal(first & 0x70, 0);
			assert_int_equal(first & 15, open ? 0 : text ? 1 : 2);
			if (len == 126) {
				len = be16_get(gathered + at + 2);
				head = 4;
				assert_true(len > 125); /* the shortest form that fits */
			} else if (len == 127) {
				len = be64_get(gathered + at + 2);
				head = 10;
				assert_true(len > UINT16_MAX);
			}
			assert_true(at + head + len <= n && len <= WS_FRAGMENT);
			buf_put(&message, gathered + at + head, len);
			at += head + len;
			open = (first & 0x80) == 0;
			if (open)
				continue;
			buf_be32(ret, (uint32_t)message.n);
			buf_slice(ret, buf_view(&message));
			buf_reset(&message);
		}
	}
	assert_false(open);
	assert_int_equal(q->bytes, 0);
	assert_true(ws_queue_empty(q));
	assert_null(q->v);
	assert_null(q->chunk);
	buf_fini(&message);
}

static void put(struct ws_queue *q, struct buf *want, size_t n, bool owned, unsigned pieces)
{
	struct blob *b = blob_new(n);
	struct piece v[4];

	for (size_t i = 0; i < n; i++)
		b->p[i] = (uint8_t)(i * 31 + n);
	for (unsigned i = 0; i < pieces; i++) {
		size_t from = n * i / pieces, to = n * (i + 1) / pieces;
		v[i] = (struct piece){slice_of(b->p + from, to - from), owned ? b : NULL};
	}
	ws_queue_put(q, v, pieces);
	buf_be32(want, (uint32_t)n);
	buf_put(want, b->p, n);
	if (!owned)
		memset(b->p, 0xee, n); /* what nobody owns was copied */
	blob_drop(b);
}

static void test_lengths(void **state)
{
	(void)state;
	static const size_t lengths[] = {0, 1, 2, 124, 125, 126, 127, 128, 129, 1000, 16383, 16384, 65534, 65535, 65536, 65537, 65546, 131071, 131072, 131073, 300000};

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
		for (unsigned pieces = 1; pieces <= 3; pieces++)
			for (unsigned how = 0; how < 4; how++) {
				struct ws_queue q = {0};
				struct buf want = {0}, got = {0};
				put(&q, &want, lengths[i], how & 1, pieces);
				put(&q, &want, 3, how & 1, 1);
				assert_int_equal(q.bytes, lengths[i] + 3);
				drain(&q, &got, (how & 2) != 0);
				assert_true(slice_eq(buf_view(&want), buf_view(&got)));
				buf_fini(&want);
				buf_fini(&got);
			}
}

/* Many messages of all kinds, taken off now and then, given up at last. */
static void test_mixture(void **state)
{
	(void)state;
	struct ws_queue q = {0};
	struct buf want = {0}, got = {0};
	uint32_t dice = 1;

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 1 + dice % 20; i++) {
			dice = dice * 1103515245u + 12345u;
			put(&q, &want, (dice >> 8) % ((dice & 0x40) ? 200 : 5000), (dice & 1) != 0, 1 + (dice >> 3) % 3);
		}
		drain(&q, &got, true);
		assert_true(slice_eq(buf_view(&want), buf_view(&got)));
		buf_reset(&want);
		buf_reset(&got);
	}
	for (unsigned i = 0; i < 50; i++)
		put(&q, &want, i * 10, i % 2 == 0, 1);
	(void)ws_queue_gather(&q, gathered, true);
	ws_queue_free(&q);
	assert_true(ws_queue_empty(&q));
	buf_fini(&want);
	buf_fini(&got);
}

/* One message to many queues stands in memory once. */
static void test_shared(void **state)
{
	(void)state;
	struct ws_queue q[10] = {{0}};
	struct blob *b = blob_new(1000);
	struct piece v = {slice_of(b->p, b->n), b};

	memset(b->p, 'x', b->n);
	for (unsigned i = 0; i < 10; i++)
		ws_queue_put(&q[i], &v, 1);
	assert_int_equal(atomic_load(&b->refs), 11);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(ws_queue_gather(&q[i], gathered, true), 1004);
	assert_int_equal(atomic_load(&b->refs), 6);
	for (unsigned i = 0; i < 10; i++)
		ws_queue_free(&q[i]);
	assert_int_equal(atomic_load(&b->refs), 1);
	blob_drop(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lengths), cmocka_unit_test(test_mixture), cmocka_unit_test(test_shared)};

	gathered = malloc(WS_GATHER_MAX);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(gathered);
	return failed;
}
