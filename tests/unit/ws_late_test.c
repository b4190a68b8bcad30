/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Readers of the JSON protocol who do not read, and what they may cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "front/websocket/websocket.h"
#include "front/websocket/ws.h"
#include "tests/lib/ws_rig.h"

/* Publishes 'count' messages of 'n' bytes, which begin with their numbers, at once. */
static void publish_large(struct ws_client *p, const char *topic, size_t n, unsigned from, unsigned count)
{
	char *body = malloc(n + 1);

	memset(body, 'x', n);
	body[n] = '\0';
	for (unsigned i = from; i < from + count; i++) {
		memcpy(body, "000-", 4);
		body[1] = (char)('0' + i / 10);
		body[2] = (char)('0' + i % 10);
		ws_say(p, "{\"type\":\"publish\",\"id\":%u,\"topic\":\"%s\",\"body\":\"%s\"}", i, topic, body);
	}
	for (unsigned i = 0; i < count; i++)
		ws_expect(p, "published");
	free(body);
}

static void expect_large(struct ws_client *c, unsigned number)
{
	json_t *j = ws_expect(c, "message");

	assert_int_equal(atoi(ws_text(j, "body")), number);
}

/* Credit that was granted while messages were small is not used up by large ones. */
static void test_large_behind_small(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *p = ws_connect(w);

	ws_put_topic(w, "t", 1);
	c->room = 16 << 10;
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"t\",\"credit\":200}");
	ws_expect(c, "subscribed");
	ws_put_numbers(p, "t", 0, 64);
	for (unsigned i = 0; i < 64; i++)
		ws_expect(c, "message");
	c->stalled = true;
	publish_large(p, "t", 50 << 10, 0, 12);
	ws_put_numbers(p, "t", 70, 74);
	front_world_run(w, 1000);
	if (c->peak > (16 << 10) + (51 << 10))
		fail_msg("%zu bytes were queued", c->peak);
	c->stalled = false;
	for (unsigned i = 0; i < 12; i++)
		expect_large(c, i);
	for (unsigned i = 70; i < 74; i++)
		expect_large(c, i);
	/* The credit is right: 80 were used. */
	ws_say(c, "{\"type\":\"credit\",\"id\":1,\"sub\":\"s\",\"more\":%u}", w->conf.ws_max_credit - 120 + 1);
	ws_expect_error(c, ST_BAD_ARG);
	ws_say(c, "{\"type\":\"credit\",\"sub\":\"s\",\"more\":%u}", w->conf.ws_max_credit - 120);
	ws_expect_nothing(c, 100);
	ws_hang_up(c);
	ws_hang_up(p);
}

/* The same in a group: what cannot be sent goes back, and comes when there is room. */
static void test_large_in_group(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *p = ws_connect(w);
	bool seen[12] = {0};

	ws_put_topic(w, "t", 1);
	c->room = 16 << 10;
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"g\",\"topic\":\"t\",\"group\":\"workers\",\"from\":\"earliest\",\"credit\":200}");
	ws_expect(c, "subscribed");
	ws_put_numbers(p, "t", 0, 64);
	for (unsigned i = 0; i < 64; i++)
		ws_expect(c, "message");
	c->stalled = true;
	publish_large(p, "t", 50 << 10, 0, 12);
	front_world_run(w, 1000);
	if (c->peak > (16 << 10) + (51 << 10))
		fail_msg("%zu bytes were queued", c->peak);
	c->stalled = false;
	for (unsigned i = 0; i < 12; i++) {
		json_t *j = ws_expect(c, "message");
		int k = atoi(ws_text(j, "body"));
		assert_false(seen[k]);
		seen[k] = true;
		assert_int_equal(ws_number(j, "attempt"), 1);
	}
	ws_hang_up(c);
	ws_hang_up(p);
}

/* Subscriptions of one connection whose messages each take all of its room have their turns. */
static void test_large_by_turns(void **state)
{
	enum { TAPS = 3, EACH = 24 };
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *p = ws_connect(w);
	unsigned came[TAPS] = {0};

	for (unsigned i = 0; i < TAPS; i++) {
		char name[2] = {(char)('0' + i), '\0'};
		ws_put_topic(w, name, 1);
		publish_large(p, name, 30 << 10, 0, EACH);
	}
	c->room = 16 << 10;
	for (unsigned i = 0; i < TAPS; i++)
		ws_say(c, "{\"type\":\"subscribe\",\"id\":\"%u\",\"topic\":\"%u\",\"from\":\"earliest\",\"credit\":\"auto\"}", i, i);
	for (unsigned n = 0; n < TAPS * EACH;) {
		json_t *j = ws_expect(c, "");
		if (strcmp(ws_text(j, "type"), "message") != 0)
			continue;
		unsigned i = (unsigned)atoi(ws_text(j, "sub"));
		assert_true(i < TAPS);
		assert_int_equal(atoi(ws_text(j, "body")), came[i]);
		came[i]++;
		n++;
		for (unsigned k = 0; k < TAPS; k++)
			if (came[k] < EACH && came[i] > came[k] + 4)
				fail_msg("%u of %u, but %u of %u", came[i], i, came[k], k);
	}
	ws_hang_up(c);
	ws_hang_up(p);
}

/* All readers together are bounded, and those that wait have their turn when others read, or go. */
static void test_slow_readers_together(void **state)
{
	enum { READERS = 20, BYTES = 50 << 10, MOST = 512 << 10 };
	struct front_world *w = *state;
	struct ws_client *c[READERS], *p = ws_connect(w);
	unsigned waiting = 0;

	ws_put_topic(w, "t", 1);
	ws_front(w)->held_max = MOST;
	for (unsigned i = 0; i < READERS; i++) {
		c[i] = ws_connect(w);
		if (i % 2 == 0)
			ws_say(c[i], "{\"type\":\"subscribe\",\"id\":\"s%u\",\"topic\":\"t\",\"credit\":\"auto\"}", i);
		else
			ws_say(c[i], "{\"type\":\"subscribe\",\"id\":\"g\",\"topic\":\"t\",\"group\":\"g%u\",\"credit\":4}", i);
		ws_expect(c[i], "subscribed");
		c[i]->stalled = true;
	}
	publish_large(p, "t", BYTES, 7, 1);
	front_world_run(w, 1000);
	for (unsigned i = 0; i < READERS; i++)
		waiting += list_empty(&c[i]->out);
	assert_int_equal(waiting, READERS - MOST / BYTES);
	assert_in_range(ws_front(w)->held, 1, MOST + 4096);
	for (unsigned i = 0; i < READERS; i += 4) {
		ws_hang_up(c[i]);
		c[i] = NULL;
	}
	front_world_run(w, 5000);
	for (unsigned i = 0; i < READERS; i++)
		if (c[i] != NULL) {
			c[i]->stalled = false;
			expect_large(c[i], 7);
			ws_hang_up(c[i]);
		}
	ws_hang_up(p);
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, front_contract_setup, front_contract_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(large_behind_small), T(large_in_group), T(large_by_turns), T(slow_readers_together)};

	front_kind_under_test = &ws_front_kind;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
