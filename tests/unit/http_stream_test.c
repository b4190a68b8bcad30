/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Event streams over HTTP: of a group, with leases, and for a reader without one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/mem.h"
#include "tests/lib/http_rig.h"

#define GROUP "/v1/topics/t/groups/g/messages"
#define TAP "/v1/topics/t/messages"
#define EVENTS "accept: text/event-stream\n"

static struct http_rig h;

static int setup(void **state)
{
	(void)state;
	http_rig_init(&h);
	h.conf.http_stream_window = 4;
	http_rig_open(&h);
	http_rig_ask(&h, "PUT", "/v1/topics/t", NULL, "{\"readQueues\":2,\"writeQueues\":2}");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	http_rig_fini(&h);
	return 0;
}

static void has(const char *text, const char *what)
{
	if (strstr(text, what) == NULL)
		fail_msg("no '%s' in '%s'", what, text);
}

static void has_not(const char *text, const char *what)
{
	if (strstr(text, what) != NULL)
		fail_msg("'%s' in '%s'", what, text);
}

static void publish(const char *body, unsigned queue)
{
	char target[200];

	snprintf(target, sizeof(target), "/v1/topics/t/messages?queue=%u&tag=%c", queue, body[0]);
	struct http_call_rig *c = http_rig_ask(&h, "POST", target, NULL, body);
	assert_int_equal(c->status, 201);
	http_rig_free(c);
	http_rig_run(&h, 2);
}

static struct http_call_rig *follow(const char *target, const char *last)
{
	char headers[600];

	snprintf(headers, sizeof(headers), "accept: text/event-stream\n%s%s\n", last == NULL ? "" : "last-event-id: ", last == NULL ? "" : last);
	struct http_call_rig *c = http_rig_start(&h, "GET", target, headers, (struct slice){NULL, 0});
	http_rig_run(&h, 100);
	return c;
}

/* Bodies of all events so far; ids and receipts of the first ones. */
static char ids[16][400], receipts[16][200];

static const char *bodies(struct http_call_rig *c)
{
	static char all[2000];
	struct slice rest = slice_str(http_rig_body(c)), line;
	unsigned n = 0;
	char id[400] = "";

	all[0] = '\0';
	while (slice_split(&rest, '\n', &line)) {
		if (slice_starts(line, SLICE_LIT("id: ")))
			snprintf(id, sizeof(id), "%.*s", (int)(line.n - 4), (const char *)line.p + 4);
		if (!slice_starts(line, SLICE_LIT("data: ")))
			continue;
		json_t *j = json_loadb((const char *)line.p + 6, line.n - 6, 0, NULL);
		assert_non_null(j);
		if (json_object_get(j, "body") != NULL) {
			strcat(all, n > 0 ? " " : "");
			strcat(all, json_string_value(json_object_get(j, "body")));
			if (n < 16) {
				const char *r = json_string_value(json_object_get(j, "receipt"));
				strcpy(ids[n], id);
				strcpy(receipts[n], r == NULL ? "" : r);
			}
			n++;
		}
		json_decref(j);
	}
	return all;
}

static void expect(struct http_call_rig *c, const char *what)
{
	if (strcmp(bodies(c), what) != 0)
		fail_msg("got '%s', expected '%s': %s", bodies(c), what, http_rig_body(c));
}

static int by_letter(const void *a, const void *b) { return *(const char *)a - *(const char *)b; }

/* Bodies of one letter, in any order: queues do not wait for each other. */
static void gets_all(struct http_call_rig *c, const char *what)
{
	char got[64] = "";

	for (const char *p = bodies(c); *p != '\0'; p++)
		if (*p != ' ' && strlen(got) < sizeof(got) - 1)
			strncat(got, p, 1);
	qsort(got, strlen(got), 1, by_letter);
	if (strcmp(got, what) != 0)
		fail_msg("got '%s', expected '%s'", got, what);
}

/* What a poll of the group gets now. */
static void left(const char *what)
{
	struct http_call_rig *c = http_rig_ask(&h, "GET", GROUP "?max=50", NULL, NULL);
	char all[1000] = "";
	json_t *j = json_loads(http_rig_body(c), 0, NULL), *m;
	size_t i;

	json_array_foreach(json_object_get(j, "messages"), i, m) {
		strcat(all, i > 0 ? " " : "");
		strcat(all, json_string_value(json_object_get(m, "body")));
	}
	json_decref(j);
	http_rig_free(c);
	if (strcmp(all, what) != 0)
		fail_msg("left '%s', expected '%s'", all, what);
}

static unsigned ack(const char *receipt)
{
	char target[300];

	snprintf(target, sizeof(target), "/v1/receipts/ack?receipt=%s", receipt);
	struct http_call_rig *c = http_rig_ask(&h, "POST", target, NULL, NULL);
	unsigned status = c->status;
	http_rig_free(c);
	return status;
}

static uint64_t lag(void)
{
	struct http_call_rig *c = http_rig_ask(&h, "GET", "/v1/groups/g", NULL, NULL);
	json_t *j = json_loads(http_rig_body(c), 0, NULL);
	uint64_t n = (uint64_t)json_integer_value(json_object_get(j, "lag"));

	json_decref(j);
	http_rig_free(c);
	return n;
}

/* ---- Groups ------------------------------------------------------------------------------------------------------------------------- */

static void events_come_with_receipts(void **state)
{
	struct http_call_rig *c;

	(void)state;
	publish("a1", 0);
	c = follow(GROUP, NULL);
	assert_int_equal(c->status, 200);
	has(http_rig_head(c), "content-type: text/event-stream\r\n");
	has(http_rig_head(c), "cache-control: no-store\r\n");
	has(http_rig_body(c), "retry: 1000\n\n");
	publish("b2", 1);
	expect(c, "a1 b2");
	assert_int_equal(ack(receipts[0]), 200);
	assert_int_equal(ack(receipts[1]), 200);
	http_rig_gone(c);
	http_rig_run(&h, 40000);
	left("");
}

static void the_last_id_handles_what_came_before_it(void **state)
{
	struct http_call_rig *c;
	char last[40];

	(void)state;
	publish("1", 0);
	publish("2", 0);
	publish("3", 0);
	c = follow(GROUP, NULL);
	expect(c, "1 2 3");
	strcpy(last, ids[1]);
	http_rig_gone(c);
	http_rig_run(&h, 5000);
	left("");
	c = follow(GROUP, last);
	expect(c, "3");
	assert_int_equal(lag(), 1);
	has(http_rig_body(c), "\"attempt\":1"); /* given back, and nobody had it */
	assert_int_equal(ack(receipts[0]), 200);
	assert_int_equal(lag(), 0);
	/* A second time it says nothing. */
	http_rig_gone(c);
	c = follow(GROUP, last);
	expect(c, "");
}

static void an_id_that_nobody_knows_handles_nothing(void **state)
{
	struct http_call_rig *c;
	char last[40];

	(void)state;
	publish("1", 0);
	c = follow(GROUP "?lease=5s", NULL);
	expect(c, "1");
	strcpy(last, ids[0]);
	http_rig_restart(&h);
	c = follow(GROUP, last);
	expect(c, "1");
	http_rig_gone(c);
	assert_int_equal(lag(), 1);
	c = follow(GROUP, "0123456789abcdef.1");
	http_rig_gone(c);
	c = follow(GROUP, "nonsense");
	http_rig_gone(c);
	assert_int_equal(lag(), 1);
}

static void an_id_of_another_group_handles_nothing(void **state)
{
	struct http_call_rig *c;

	(void)state;
	publish("1", 0);
	c = follow(GROUP, NULL);
	expect(c, "1");
	http_rig_gone(c);
	c = follow("/v1/topics/t/groups/other/messages", ids[0]);
	assert_int_equal(lag(), 1);
}

static void a_reader_who_is_back_ends_its_old_stream(void **state)
{
	struct http_call_rig *old, *c;

	(void)state;
	publish("1", 0);
	publish("2", 0);
	old = follow(GROUP, NULL);
	expect(old, "1 2");
	c = follow(GROUP, ids[0]);
	assert_true(old->over);
	expect(c, "2");
	assert_int_equal(lag(), 1);
}

static void a_stream_that_was_cut_is_remembered_for_a_lease(void **state)
{
	struct http_call_rig *c;
	char last[40];

	(void)state;
	publish("1", 0);
	c = follow(GROUP "?lease=5s", NULL);
	expect(c, "1");
	strcpy(last, ids[0]);
	http_rig_gone(c);
	http_rig_run(&h, 100);
	assert_true(http_api_turn(h.api, h.r.clock.ns) < h.r.clock.ns + 5 * SEC_NS);
	http_rig_run(&h, 6000);
	assert_true(http_api_turn(h.api, h.r.clock.ns) == NEVER); /* nothing of it is kept */
	c = follow(GROUP "?lease=5s", last);
	expect(c, "1");
	has(http_rig_body(c), "\"attempt\":2");
}

static void leases_are_made_longer_while_the_stream_lives(void **state)
{
	struct http_call_rig *c;

	(void)state;
	publish("1", 0);
	c = follow(GROUP "?lease=5s", NULL);
	expect(c, "1");
	http_rig_run(&h, 30000);
	left("");
	expect(c, "1");
	assert_int_equal(ack(receipts[0]), 200);
	assert_int_equal(lag(), 0);
}

static void what_the_socket_took_is_handled_where_that_is_wanted(void **state)
{
	struct http_call_rig *c;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		publish("x", 0);
	c = follow(GROUP "?ack=auto", NULL);
	expect(c, "x x x x x x x x x x");
	http_rig_run(&h, 200);
	assert_int_equal(lag(), 0);
	http_rig_stall(c, true);
	publish("y", 0);
	http_rig_run(&h, 200);
	assert_int_equal(lag(), 1);
	http_rig_gone(c);
	http_rig_run(&h, 50);
	left("y");
}

/* A browser can say that it handled its events by coming back only. */
static void a_full_window_ends_the_stream(void **state)
{
	struct http_call_rig *c;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		publish("x", 0);
	c = follow(GROUP, NULL);
	expect(c, "x x x x");
	assert_true(c->over);
	assert_int_equal(lag(), 6);
	c = follow(GROUP, ids[3]);
	expect(c, "x x");
	assert_false(c->over);
	assert_int_equal(lag(), 2);
}

/* Who has shown a receipt once is no browser that can only come back. */
static void one_receipt_keeps_a_full_stream(void **state)
{
	struct http_call_rig *c;

	(void)state;
	publish("1", 0);
	publish("2", 0);
	c = follow(GROUP, NULL);
	expect(c, "1 2");
	assert_int_equal(ack(receipts[0]), 200);
	for (unsigned i = 0; i < 5; i++)
		publish("x", 0);
	expect(c, "1 2 x x x");
	assert_false(c->over);
	assert_int_equal(ack(receipts[1]), 200);
	http_rig_run(&h, 20);
	expect(c, "1 2 x x x x");
}

static void receipts_move_the_window(void **state)
{
	struct http_call_rig *c;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		publish("x", 0);
	c = follow(GROUP "?ack=receipt", NULL);
	expect(c, "x x x x");
	assert_false(c->over);
	assert_int_equal(ack(receipts[0]), 200);
	http_rig_run(&h, 50);
	expect(c, "x x x x x");
	/* Its last id says nothing of what was handled. */
	http_rig_gone(c);
	c = follow(GROUP "?ack=receipt", ids[4]);
	expect(c, "x");
	assert_int_equal(lag(), 5);
	assert_int_equal(ack(receipts[0]), 200);
}

static void a_stalled_reader_costs_little_and_keeps_nothing_for_ever(void **state)
{
	char *big = mem_new(20001);
	struct http_call_rig *c = follow(GROUP "?lease=5s&ack=receipt", NULL);

	(void)state;
	memset(big, 'x', 20000);
	http_rig_stall(c, true);
	for (unsigned i = 0; i < 40; i++)
		publish(big, i % 2);
	http_rig_run(&h, 1000);
	assert_true(c->queued.n < 16384 + 21000);
	http_rig_run(&h, 6000);
	/* Others get what it does not read. */
	struct http_call_rig *other = http_rig_ask(&h, "GET", GROUP "?max=50", NULL, NULL);
	assert_int_equal(other->status, 200);
	assert_true(other->body.n > 40 * 20000);
	mem_free(big);
}

static void what_never_left_goes_back_at_once(void **state)
{
	struct http_call_rig *c = follow(GROUP, NULL);

	(void)state;
	publish("1", 0);
	http_rig_stall(c, true);
	publish("2", 0);
	http_rig_gone(c);
	http_rig_run(&h, 20);
	expect(c, "1");
	left("2");
}

static void a_quiet_stream_has_a_heartbeat(void **state)
{
	struct http_call_rig *c = follow(GROUP, NULL), *t = follow(TAP, NULL);

	(void)state;
	size_t n = c->body.n;
	http_rig_run(&h, 16000);
	assert_int_equal(c->body.n, n + 4);
	http_rig_run(&h, 15000);
	assert_int_equal(c->body.n, n + 8);
	has(http_rig_body(t), "\n: \n\n: \n\n");
	/* One who does not read gets no more of them. */
	http_rig_stall(c, true);
	http_rig_run(&h, 200000);
	assert_true(c->queued.n <= 4);
}

static void an_end_is_said(void **state)
{
	struct http_call_rig *c = follow(GROUP, NULL), *t = follow(TAP, NULL);

	(void)state;
	http_rig_ask(&h, "DELETE", "/v1/topics/t", NULL, NULL);
	http_rig_run(&h, 20);
	assert_true(c->over && t->over);
	has(http_rig_body(c), "event: problem\ndata: {\"type\":\"urn:gantry:problem:no-topic\"");
	has(http_rig_body(t), "event: problem\n");
	assert_int_equal(http_rig_ask(&h, "GET", GROUP, EVENTS, NULL)->status, 404);
	assert_int_equal(http_rig_ask(&h, "GET", TAP, EVENTS, NULL)->status, 404);
}

static void streams_end_with_the_front(void **state)
{
	struct http_call_rig *c, *t;

	(void)state;
	publish("1", 0);
	c = follow(GROUP, NULL);
	t = follow(TAP, NULL);
	struct http_call_rig *young = http_rig_start(&h, "GET", GROUP, EVENTS, (struct slice){NULL, 0});
	struct http_call_rig *young_tap = http_rig_start(&h, "GET", TAP "?from=earliest", EVENTS, (struct slice){NULL, 0});
	http_api_drain(h.api);
	assert_true(c->over && t->over);
	http_rig_run(&h, 50);
	assert_true(young->over && young_tap->over);
	assert_int_equal(young->status, 503);
	assert_true(http_api_idle(h.api));
}

static void what_is_no_stream_is_refused(void **state)
{
	(void)state;
	assert_int_equal(http_rig_ask(&h, "GET", GROUP "?max=1", EVENTS, NULL)->status, 400);
	assert_int_equal(http_rig_ask(&h, "GET", GROUP "?ack=maybe", EVENTS, NULL)->status, 400);
	assert_int_equal(http_rig_ask(&h, "GET", GROUP "?from=yesterday", EVENTS, NULL)->status, 400);
	assert_int_equal(http_rig_ask(&h, "GET", TAP "?queue=1", EVENTS, NULL)->status, 400);
	assert_int_equal(http_rig_ask(&h, "GET", TAP "?from=1:2:3", EVENTS, NULL)->status, 400);
	assert_int_equal(http_rig_ask(&h, "GET", TAP "?from=0:1,0:2", EVENTS, NULL)->status, 400);
	assert_int_equal(http_rig_ask(&h, "GET", TAP "?from=@x", EVENTS, NULL)->status, 400);
	assert_int_equal(http_rig_ask(&h, "GET", TAP "?ack=auto", EVENTS, NULL)->status, 400);
	assert_true(http_api_idle(h.api));
}

static void who_hangs_up_at_any_moment_leaves_nothing(void **state)
{
	static const char *const targets[] = {GROUP, TAP, TAP "?from=earliest", TAP "?from=2001-01-01T00:00:00Z", GROUP "?ack=auto"};

	(void)state;
	publish("1", 0);
	for (unsigned t = 0; t < 5; t++)
		for (unsigned turns = 0; turns < 14; turns++) {
			struct http_call_rig *c = http_rig_start(&h, "GET", targets[t], EVENTS, (struct slice){NULL, 0});
			http_rig_stall(c, true); /* so that no event leaves */
			http_rig_turns(&h, turns);
			http_rig_free(c);
			http_rig_run(&h, 20);
			assert_true(http_api_idle(h.api));
			assert_true(engine_port_idle(h.port));
			assert_int_equal(rig_stat(&h.r, STAT_LEASES), 0);
		}
	left("1");
}

/* ---- Readers without a group -------------------------------------------------------------------------------------------------------- */

static void a_reader_sees_what_comes(void **state)
{
	struct http_call_rig *c;

	(void)state;
	publish("before", 0);
	c = follow(TAP, NULL);
	publish("1", 0);
	publish("2", 1);
	expect(c, "1 2");
	has_not(http_rig_body(c), "receipt");
	assert_int_equal(rig_stat(&h.r, STAT_LEASES), 0);
}

static void a_reader_begins_where_it_wants(void **state)
{
	char target[100];

	(void)state;
	publish("1", 0);
	publish("2", 1);
	http_rig_run(&h, 1000);
	int64_t middle = h.r.clock.wall_ms + (int64_t)(h.r.clock.ns / MS_NS);
	http_rig_run(&h, 1000);
	publish("3", 0);
	gets_all(follow(TAP "?from=earliest", NULL), "123");
	has(http_rig_body(h.calls[h.n_calls - 1]), ",0:");
	gets_all(follow(TAP "?from=0:1", NULL), "23");
	expect(follow(TAP "?from=0:1,1:1", NULL), "3");
	expect(follow(TAP "?from=0:2,1:1", NULL), "");
	snprintf(target, sizeof(target), TAP "?from=%lld", (long long)middle);
	expect(follow(target, NULL), "3");
	expect(follow(TAP "?last-event-id=0:1,1:1&from=latest", NULL), "3");
}

static void a_reader_gets_only_its_tags(void **state)
{
	struct http_call_rig *c = follow(TAP "?tag=a%7C%7Cb", NULL);

	(void)state;
	publish("a", 0);
	publish("c", 0);
	publish("b", 0);
	expect(c, "a b");
}

static void a_reader_who_comes_back_misses_nothing(void **state)
{
	struct http_call_rig *c = follow(TAP, NULL);
	char last[400], *at;

	(void)state;
	/* Before its first event it has an id already. */
	at = strstr((char *)(uintptr_t)http_rig_body(c), "id: @");
	assert_non_null(at);
	snprintf(last, sizeof(last), "%.*s", (int)strcspn(at + 4, "\n"), at + 4);
	http_rig_gone(c);
	publish("1", 0);
	publish("2", 1);
	c = follow(TAP, last);
	expect(c, "1 2");
	strcpy(last, ids[0]);
	http_rig_gone(c);
	publish("3", 0);
	c = follow(TAP, last);
	gets_all(c, "23");
	strcpy(last, ids[1]);
	http_rig_restart(&h);
	publish("4", 1);
	c = follow(TAP, last);
	expect(c, "4");
}

static void a_reader_of_a_topic_that_was_made_again_gets_all_of_it(void **state)
{
	static const char *const targets[] = {TAP, TAP "?from=earliest"};
	char last[2][400];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct http_call_rig *c = follow(targets[i], NULL);
		publish("1", 0);
		publish("2", 0);
		http_rig_run(&h, 100);
		bodies(c);
		snprintf(last[i], sizeof(last[i]), "%s", ids[1]);
		http_rig_gone(c);
	}
	assert_int_equal(http_rig_ask(&h, "DELETE", "/v1/topics/t", NULL, NULL)->status, 204);
	http_rig_ask(&h, "PUT", "/v1/topics/t", NULL, "{\"readQueues\":2,\"writeQueues\":2}");
	for (unsigned i = 0; i < 6; i++)
		publish((char[]){(char)('3' + i), '\0'}, 0);
	for (unsigned i = 0; i < 2; i++) {
		struct http_call_rig *c = follow(targets[i], last[i]);
		expect(c, "3 4 5 6 7 8");
		snprintf(last[i], sizeof(last[i]), "%s", ids[3]);
		http_rig_gone(c);
		expect(follow(targets[i], last[i]), "7 8"); /* the new one's ids are good */
	}
}

static void a_stalled_reader_of_a_topic_costs_little(void **state)
{
	struct http_call_rig *c = follow(TAP, NULL);
	char body[1024];

	(void)state;
	memset(body, 'x', sizeof(body) - 1);
	body[sizeof(body) - 1] = '\0';
	http_rig_stall(c, true);
	for (unsigned i = 0; i < 200; i++)
		publish(body, i % 2);
	assert_true(c->queued.n < 16384 + 1400);
	http_rig_stall(c, false);
	http_rig_run(&h, 2000);
	unsigned n = 0;
	for (const char *p = http_rig_body(c); (p = strstr(p, "event: message")) != NULL; p++)
		n++;
	assert_int_equal(n, 200);
}

/* Streams whose credit was asked for when messages were small. */
static void large_messages_behind_small_ones_wait_for_room(void **state)
{
	static const char *const targets[] = {TAP, GROUP "?ack=auto"};
	char big[20001];

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (unsigned k = 0; k < 2; k++) {
		struct http_call_rig *c = follow(targets[k], NULL);
		for (unsigned i = 0; i < 40; i++)
			publish("small", 0);
		http_rig_run(&h, 100);
		http_rig_stall(c, true);
		for (unsigned i = 0; i < 12; i++) {
			big[0] = (char)('a' + i);
			publish(big, 0);
		}
		publish("end", 0);
		http_rig_run(&h, 100);
		if (c->queued.n > 16384 + 21000)
			fail_msg("%s: %zu bytes are queued", targets[k], c->queued.n);
		http_rig_stall(c, false);
		http_rig_run(&h, 2000);
		for (unsigned i = 0; i < 13; i++) {
			char what[40];
			snprintf(what, sizeof(what), i == 12 ? "\"body\":\"end\"" : "\"body\":\"%cx", 'a' + i);
			has(http_rig_body(c), what);
		}
		http_rig_gone(c);
		http_rig_run(&h, 100);
	}
}

static void slow_readers_are_bounded_together(void **state)
{
	enum { READERS = 24, MOST = 100000 };
	struct http_call_rig *c[READERS];
	char big[20001], target[64];
	size_t sum = 0;

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (unsigned i = 0; i < READERS; i++) {
		snprintf(target, sizeof(target), i % 2 == 0 ? TAP : "/v1/topics/t/groups/g%u/messages", i);
		c[i] = follow(target, NULL);
		http_rig_stall(c[i], true);
	}
	http_rig_kept = MOST;
	publish(big, 0);
	http_rig_run(&h, 1000);
	for (unsigned i = 0; i < READERS; i++)
		sum += c[i]->queued.n;
	assert_in_range(sum, 20000, MOST + 1000);
	/* Those who read, and those who go, make room for the others. */
	for (unsigned i = 0; i < READERS; i++) {
		if (i % 4 != 3 && i > 1) {
			http_rig_stall(c[i], false);
			continue;
		}
		http_rig_gone(c[i]);
	}
	http_rig_run(&h, 2000);
	for (unsigned i = 2; i < READERS; i++)
		if (i % 4 != 3)
			has(http_rig_body(c[i]), "\"body\":\"xxx");
	http_rig_kept = SIZE_MAX;
}

static void an_expired_message_is_passed_over(void **state)
{
	(void)state;
	struct http_call_rig *p = http_rig_ask(&h, "POST", "/v1/topics/t/messages?expire=1s&queue=0", NULL, "stale");
	assert_int_equal(p->status, 201);
	http_rig_run(&h, 1500);
	publish("good", 0);
	expect(follow(TAP "?from=earliest", NULL), "good");
	expect(follow(GROUP, NULL), "good");
	assert_int_equal(ack(receipts[0]), 200);
	assert_int_equal(lag(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(events_come_with_receipts), T(the_last_id_handles_what_came_before_it), T(an_id_that_nobody_knows_handles_nothing),
		T(an_id_of_another_group_handles_nothing), T(a_reader_who_is_back_ends_its_old_stream), T(a_stream_that_was_cut_is_remembered_for_a_lease),
		T(leases_are_made_longer_while_the_stream_lives), T(what_the_socket_took_is_handled_where_that_is_wanted), T(a_full_window_ends_the_stream),
		T(receipts_move_the_window), T(one_receipt_keeps_a_full_stream), T(a_stalled_reader_costs_little_and_keeps_nothing_for_ever), T(what_never_left_goes_back_at_once),
		T(a_quiet_stream_has_a_heartbeat), T(an_end_is_said), T(streams_end_with_the_front), T(what_is_no_stream_is_refused),
		T(who_hangs_up_at_any_moment_leaves_nothing), T(a_reader_sees_what_comes), T(a_reader_begins_where_it_wants), T(a_reader_gets_only_its_tags),
		T(a_reader_who_comes_back_misses_nothing),
		T(a_reader_of_a_topic_that_was_made_again_gets_all_of_it), T(a_stalled_reader_of_a_topic_costs_little),
		T(large_messages_behind_small_ones_wait_for_room), T(slow_readers_are_bounded_together), T(an_expired_message_is_passed_over),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
