/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The JSON protocol over the real engine: every request, every way in which it can be wrong, and what a cut connection leaves. */
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

static struct actor me = {.front = "test"};

static void drop_topic(struct front_world *w, const char *name)
{
	struct engine_topic t = {.actor = &me, .name = slice_str(name)};

	engine_topic_drop(w->engine, &t);
	front_world_run(w, 200);
	assert_int_equal(t.ask.status, ST_OK);
}

static uint64_t expect_body(struct ws_client *c, const char *sub, const char *body)
{
	json_t *j = ws_expect(c, "message");

	assert_string_equal(ws_text(j, "sub"), sub);
	if (strcmp(ws_text(j, "body"), body) != 0)
		fail_msg("%s came where \"%s\" was expected", c->text, body);
	return (uint64_t)ws_number(j, "seq");
}

/* ---- Publishing ----------------------------------------------------------------------------------------------------------------------------- */

static void test_publish(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);
	json_t *j;

	ws_put_topic(w, "t", 1);
	ws_say(c, "{\"type\":\"publish\",\"id\":7,\"topic\":\"t\",\"tag\":\"A\",\"keys\":[\"k1\",\"k2\"],\"properties\":{\"a\":\"b\"},\"body\":\"one\"}");
	j = ws_expect(c, "published");
	assert_int_equal(ws_number(j, "id"), 7);
	assert_int_equal(strlen(ws_text(j, "messageId")), 32);
	assert_int_equal(ws_number(j, "queue"), 0);
	assert_int_equal(ws_number(j, "offset"), 0);
	assert_string_equal(ws_text(j, "durability"), "disk");
	char id[40];
	snprintf(id, sizeof(id), "%s", ws_text(j, "messageId"));
	/* The id is the one that readers see. */
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"t\",\"from\":\"earliest\",\"credit\":5}");
	ws_expect(c, "subscribed");
	j = ws_expect(c, "message");
	assert_string_equal(ws_text(j, "id"), id);
	assert_string_equal(ws_text(j, "topic"), "t");
	assert_string_equal(ws_text(j, "tag"), "A");
	assert_string_equal(ws_text(j, "keys"), "k1 k2");
	assert_string_equal(ws_text(j, "body"), "one");
	assert_string_equal(ws_text(json_object_get(j, "properties"), "a"), "b");
	/* Several under way: each answer names its own. */
	for (int i = 0; i < 20; i++)
		ws_say(c, "{\"type\":\"publish\",\"id\":\"p%d\",\"topic\":\"t\",\"json\":{\"n\":%d}}", i, i);
	bool seen[20] = {false};
	unsigned published = 0;
	while (published < 20) {
		j = ws_expect(c, "");
		if (strcmp(ws_text(j, "type"), "published") != 0)
			continue;
		int n = atoi(ws_text(j, "id") + 1);
		assert_false(seen[n]);
		seen[n] = true;
		published++;
	}
	ws_hang_up(c);
}

static void test_publish_errors(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);

	ws_put_topic(w, "t", 1);
	w->conf.auto_create_topic = false;
	ws_say(c, "{\"type\":\"publish\",\"id\":1,\"body\":\"x\"}");
	ws_expect_error(c, ST_BAD_ARG);
	assert_int_equal(ws_number(c->got, "id"), 1);
	ws_say(c, "{\"type\":\"publish\",\"id\":2,\"topic\":\"none\",\"body\":\"x\"}");
	ws_expect_error(c, ST_NO_TOPIC);
	assert_false(json_is_true(json_object_get(c->got, "retry")));
	ws_say(c, "{\"type\":\"publish\",\"id\":3,\"topic\":\"bad topic\",\"body\":\"x\"}");
	ws_expect(c, "error");
	ws_say(c, "{\"type\":\"publish\",\"id\":3,\"topic\":\"a\\u0000b\",\"body\":\"x\"}");
	ws_expect(c, "error");
	ws_say(c, "{\"type\":\"publish\",\"id\":4,\"topic\":\"t\",\"body\":\"x\",\"surprise\":1}");
	ws_expect_error(c, ST_ILLEGAL);
	assert_non_null(strstr(ws_text(c->got, "detail"), "surprise"));
	ws_say(c, "{\"type\":\"publish\",\"id\":5,\"topic\":\"t\",\"body\":{}}");
	ws_expect_error(c, ST_ILLEGAL);
	ws_say(c, "{\"type\":\"publish\",\"id\":6,\"topic\":\"t\",\"properties\":{\"UNIQ_KEY\":\"mine\"},\"body\":\"x\"}");
	ws_expect_error(c, ST_ILLEGAL);
	ws_say(c, "{\"type\":\"publish\",\"id\":[1],\"topic\":\"t\",\"body\":\"x\"}");
	ws_expect_error(c, ST_BAD_ARG);
	ws_say(c, "{\"type\":\"publish\",\"id\":\"%0200d\",\"topic\":\"t\",\"body\":\"x\"}", 0);
	ws_expect_error(c, ST_BAD_ARG);
	ws_put(c, "t", "the connection lives");
	ws_hang_up(c);
}

/* The carrier is asked to hold input back while too many publishes are under way, and again to let it through. */
static void test_publish_flow(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);
	unsigned got = 0;

	ws_put_topic(w, "t", 1);
	w->conf.max_requests = 4;
	for (int i = 0; i < 50; i++)
		ws_say(c, "{\"type\":\"publish\",\"id\":%d,\"topic\":\"t\",\"body\":\"x\"}", i);
	assert_true(c->paused);
	assert_false(list_empty(&c->in));
	for (; got < 50; got++)
		assert_int_equal(ws_number(ws_expect(c, "published"), "id"), got);
	ws_step(c);
	assert_false(c->paused);
	ws_hang_up(c);
}

/* ---- What ends a connection, and what does not ------------------------------------------------------------------------------------------------- */

static void test_not_json(void **state)
{
	struct front_world *w = *state;
	static const struct { const char *text; int code; } rows[] = {
		{"", 1007}, {"{", 1007}, {"hello", 1007}, {"{\"type\":\"ping\"} x", 1007}, {"{\"type\":\"ping\",\"type\":\"ping\"}", 1007}, {"{\"type\":\"\xff\"}", 1007},
		{"\xed\xa0\x80", 1007}, {"{\"a\\u0000\":1}", 1007}, {"[]", 1002}, {"{}", 1002}, {"{\"type\":7}", 1002}, {"[{\"type\":\"ping\"}]", 1002},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ws_client *c = ws_connect(w);
		ws_say_bytes(c, slice_str(rows[i].text));
		ws_expect_bye(c, rows[i].code, false);
		ws_hang_up(c);
	}
	for (unsigned nested = 0; nested < 2; nested++) { /* deeper than any reader of it wants to go */
		struct ws_client *c = ws_connect(w);
		struct buf b = {0};
		for (unsigned i = 0; i < 100000; i++)
			buf_str(&b, nested ? "{\"a\":" : "[");
		ws_say_bytes(c, buf_view(&b));
		ws_expect_bye(c, 1007, false);
		buf_fini(&b);
		ws_hang_up(c);
	}
	struct ws_client *c = ws_connect(w);
	struct buf b = {0};
	buf_str(&b, "{\"type\":\"ping\",\"id\":[0"); /* small as text, large as a tree */
	for (unsigned i = 0; i < JSON_VALUES_MAX; i++)
		buf_str(&b, ",0");
	buf_str(&b, "]}");
	assert_true(b.n < w->conf.ws_max_message);
	ws_say_bytes(c, buf_view(&b));
	ws_expect_bye(c, 1009, false);
	ws_hang_up(c);
	c = ws_connect(w);
	buf_reset(&b);
	buf_str(&b, "{\"type\":\"ping\",\"id\":\"");
	while (b.n <= w->conf.ws_max_message)
		buf_u8(&b, 'x');
	ws_say_bytes(c, buf_view(&b));
	ws_expect_bye(c, 1009, false);
	buf_fini(&b);
	ws_hang_up(c);
}

static void test_unknown(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);

	ws_say(c, "{\"type\":\"dance\",\"id\":\"d\"}");
	ws_expect_error(c, ST_BAD_ARG);
	assert_string_equal(ws_text(c->got, "id"), "d");
	ws_say(c, "{\"type\":\"ping\",\"id\":\"a\\\"b\\u00e4\"}");
	assert_string_equal(ws_text(ws_expect(c, "pong"), "id"), "a\"b\xc3\xa4");
	ws_say(c, "{\"type\":\"ping\"}");
	assert_null(json_object_get(ws_expect(c, "pong"), "id"));
	ws_hang_up(c);
}

/* ---- Taps -------------------------------------------------------------------------------------------------------------------------------------- */

static void test_tap_credit(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *p = ws_connect(w);
	char body[16];

	ws_put_topic(w, "t", 1);
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"t\",\"credit\":3}");
	ws_expect(c, "subscribed");
	ws_put_numbers(p, "t", 0, 10);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(body, sizeof(body), "%u", i);
		expect_body(c, "s", body);
	}
	ws_expect_nothing(c, 1000);
	ws_say(c, "{\"type\":\"credit\",\"sub\":\"s\",\"more\":2}");
	expect_body(c, "s", "3");
	expect_body(c, "s", "4");
	ws_expect_nothing(c, 1000);
	ws_say(c, "{\"type\":\"credit\",\"id\":1,\"sub\":\"s\",\"more\":%u}", w->conf.ws_max_credit + 1);
	ws_expect_error(c, ST_BAD_ARG);
	ws_say(c, "{\"type\":\"credit\",\"id\":1,\"sub\":\"s\",\"more\":0}");
	ws_expect_error(c, ST_BAD_ARG);
	ws_say(c, "{\"type\":\"credit\",\"id\":1,\"sub\":\"s\",\"more\":9223372036854775807}");
	ws_expect_error(c, ST_BAD_ARG);
	ws_say(c, "{\"type\":\"credit\",\"id\":1,\"sub\":\"x\",\"more\":1}");
	ws_expect_error(c, ST_NOT_SUBSCRIBED);
	ws_say(c, "{\"type\":\"credit\",\"sub\":\"s\",\"more\":%u}", w->conf.ws_max_credit);
	for (unsigned i = 5; i < 10; i++) {
		snprintf(body, sizeof(body), "%u", i);
		expect_body(c, "s", body);
	}
	ws_say(c, "{\"type\":\"credit\",\"id\":1,\"sub\":\"s\",\"more\":6}"); /* 5 were used */
	ws_expect_error(c, ST_BAD_ARG);
	ws_hang_up(c);
	ws_hang_up(p);
}

/* A client's own cursor: the one of "subscribed", and of each queue that it saw the next offset. */
struct cursor {
	char start[64];
	uint64_t next[64];
};

static void cursor_text(const struct cursor *c, char to[1024])
{
	int n = snprintf(to, 1024, "%s", c->start);

	for (unsigned q = 0; q < ARRAY_LEN(c->next); q++)
		if (c->next[q] > 0)
			n += snprintf(to + n, (size_t)(1024 - n), ",%u:%llu", q, (unsigned long long)c->next[q]);
}

/* Cuts at every few messages, comes back with the cursor, and must see each message exactly once. */
static void resume(struct front_world *w, const char *from, unsigned total, unsigned first)
{
	struct ws_client *p = ws_connect(w);
	struct cursor cur = {"", {0}};
	char at[1024];
	uint8_t *seen = mem_new(total);
	unsigned published = first, count = 0, rounds = 0;

	snprintf(at, sizeof(at), "%s", from);
	while (count < total - first) {
		struct ws_client *c = ws_connect(w);
		rounds++;
		ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"r\",\"from\":\"%s\",\"credit\":%u}", at, 1 + rounds % 7);
		json_t *j = ws_expect(c, "subscribed");
		if (cur.start[0] == '\0')
			snprintf(cur.start, sizeof(cur.start), "%s", ws_text(j, "cursor"));
		if (published < total) {
			unsigned more = published + 5 < total ? published + 5 : total;
			ws_put_numbers(p, "r", published, more);
			published = more;
		}
		for (unsigned i = 0; i < 1 + rounds % 7 && count < published - first; i++) {
			j = ws_expect(c, "message");
			uint64_t n = strtoull(ws_text(j, "body"), NULL, 10);
			assert_in_range(n, first, total - 1);
			if (seen[n]++)
				fail_msg("%llu came again in round %u", (unsigned long long)n, rounds);
			cur.next[ws_number(j, "queue")] = (uint64_t)ws_number(j, "offset") + 1;
			count++;
		}
		cursor_text(&cur, at);
		ws_hang_up(c);
		front_world_run(w, 20);
	}
	assert_true(rounds > 5);
	mem_free(seen);
	ws_hang_up(p);
}

static void test_resume_latest(void **state)
{
	struct front_world *w = *state;
	struct ws_client *p = ws_connect(w);

	ws_put_topic(w, "r", 4);
	ws_put_numbers(p, "r", 0, 10); /* are not seen */
	resume(w, "latest", 80, 10);
	ws_hang_up(p);
}

static void test_resume_earliest(void **state)
{
	ws_put_topic(*state, "r", 4);
	resume(*state, "earliest", 60, 0);
}

/* Nothing came before the cut: the cursor of "subscribed" alone must find what came meanwhile, in every queue. */
static void test_resume_unseen(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *p = ws_connect(w);
	char at[64];

	ws_put_topic(w, "r", 8);
	ws_put_numbers(p, "r", 0, 20);
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"r\",\"credit\":0}");
	snprintf(at, sizeof(at), "%s", ws_text(ws_expect(c, "subscribed"), "cursor"));
	ws_hang_up(c);
	ws_put_numbers(p, "r", 20, 36);
	c = ws_connect(w);
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"r\",\"from\":\"%s\",\"credit\":\"auto\"}", at);
	ws_expect(c, "subscribed");
	for (unsigned i = 0; i < 16; i++)
		assert_in_range(strtoul(ws_text(ws_expect(c, "message"), "body"), NULL, 10), 20, 35);
	ws_expect_nothing(c, 500);
	ws_hang_up(c);
	ws_hang_up(p);
}

/* The offsets of a cursor mean nothing in another topic of the name. */
static void test_resume_of_another_topic(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *p = ws_connect(w);
	char at[80];

	for (unsigned i = 0; i < 2; i++) {
		ws_put_topic(w, "r", 1);
		ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"r\",\"from\":\"%s\",\"credit\":0}", i == 0 ? "latest" : "earliest");
		snprintf(at, sizeof(at), "%s,0:3", ws_text(ws_expect(c, "subscribed"), "cursor"));
		ws_put_numbers(p, "r", 0, 5);
		ws_say(c, "{\"type\":\"subscribe\",\"id\":\"good\",\"topic\":\"r\",\"from\":\"%s\",\"credit\":9}", at);
		ws_expect(c, "subscribed");
		assert_string_equal(ws_text(ws_expect(c, "message"), "body"), "3");
		ws_expect(c, "message");
		drop_topic(w, "r");
		ws_expect(c, "ended");
		ws_expect(c, "ended");
		ws_put_topic(w, "r", 1);
		ws_put_numbers(p, "r", 0, 5);
		ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"r\",\"from\":\"%s\",\"credit\":9}", at);
		assert_string_equal(ws_text(ws_expect(c, "error"), "code"), "GONE");
		drop_topic(w, "r");
	}
	ws_hang_up(c);
	ws_hang_up(p);
}

static void test_from_time(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *p = ws_connect(w);

	ws_put_topic(w, "t", 3);
	ws_put_numbers(p, "t", 0, 6);
	front_world_run(w, 5000);
	long long middle = (long long)clock_wall_ms(&w->clock.base) - 2000;
	ws_put_numbers(p, "t", 6, 12);
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"t\",\"from\":%lld,\"credit\":100}", middle);
	json_t *j = ws_expect(c, "subscribed");
	assert_non_null(strchr(ws_text(j, "cursor"), ':'));
	char at[256];
	snprintf(at, sizeof(at), "%s", ws_text(j, "cursor"));
	for (unsigned i = 0; i < 6; i++)
		assert_in_range(strtoul(ws_text(ws_expect(c, "message"), "body"), NULL, 10), 6, 11);
	ws_expect_nothing(c, 200);
	/* Its cursor means the same place. */
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"again\",\"topic\":\"t\",\"from\":\"%s\",\"credit\":100}", at);
	ws_expect(c, "subscribed");
	for (unsigned i = 0; i < 6; i++)
		ws_expect(c, "message");
	ws_expect_nothing(c, 200);
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"none\",\"topic\":\"no-topic\",\"from\":%lld,\"credit\":100}", middle);
	ws_expect_error(c, ST_NO_TOPIC);
	ws_hang_up(c);
	ws_hang_up(p);
}

static void test_tags(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);

	ws_put_topic(w, "t", 1);
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"t\",\"tag\":\"A || B\",\"credit\":10}");
	ws_expect(c, "subscribed");
	static const char tags[] = "ABCABC";
	for (unsigned i = 0; tags[i] != '\0'; i++)
		ws_say(c, "{\"type\":\"publish\",\"topic\":\"t\",\"tag\":\"%c\",\"body\":\"%c%u\"}", tags[i], tags[i], i);
	struct buf got = {0};
	for (unsigned i = 0; i < 10; i++) {
		json_t *j = ws_expect(c, "");
		if (strcmp(ws_text(j, "type"), "message") == 0)
			buf_str(&got, ws_text(j, "body"));
	}
	assert_string_equal(buf_cstr(&got), "A0B1A3B4");
	buf_fini(&got);
	ws_hang_up(c);
}

/* The same message to many subscriptions of one name is encoded once. */
static void test_encoded_once(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c[20], *p = ws_connect(w);

	ws_put_topic(w, "t", 1);
	for (unsigned i = 0; i < 20; i++) {
		c[i] = ws_connect(w);
		ws_say(c[i], "{\"type\":\"subscribe\",\"id\":\"%s\",\"topic\":\"t\",\"credit\":\"auto\"}", i % 2 == 0 ? "even" : "odd");
		ws_expect(c[i], "subscribed");
	}
	ws_put_numbers(p, "t", 0, 30);
	for (unsigned i = 0; i < 20; i++)
		for (unsigned k = 0; k < 30; k++) {
			char body[8];
			snprintf(body, sizeof(body), "%u", k);
			expect_body(c[i], i % 2 == 0 ? "even" : "odd", body);
		}
	assert_int_equal(ws_front(w)->n.delivered, 600);
	assert_int_equal(ws_front(w)->n.encoded, 60);
	front_world_run(w, 5000);
	assert_int_equal(ws_front(w)->cache.bytes, 0); /* nobody asked for them for a while */
	for (unsigned i = 0; i < 20; i++)
		ws_hang_up(c[i]);
	ws_hang_up(p);
}

/* Whoever stops reading has a little queued, whatever credit was promised; what comes later is all there, in order. */
static void test_slow_tap(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *quick = ws_connect(w), *p = ws_connect(w);
	char big[1001], text[1100];

	ws_put_topic(w, "t", 1);
	c->room = 16 << 10;
	memset(big, 'b', sizeof(big) - 1);
	big[1000] = '\0';
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"t\",\"credit\":\"auto\"}");
	ws_expect(c, "subscribed");
	ws_say(quick, "{\"type\":\"subscribe\",\"id\":\"q\",\"topic\":\"t\",\"credit\":\"auto\"}");
	ws_expect(quick, "subscribed");
	c->stalled = true;
	for (unsigned i = 0; i < 500; i++) {
		snprintf(text, sizeof(text), "%u-%s", i, big);
		ws_put(p, "t", text);
		json_t *j = ws_expect(quick, "message");
		assert_int_equal(atoi(ws_text(j, "body")), i);
	}
	if (c->peak > (16 << 10) + 4096)
		fail_msg("%zu bytes were queued", c->peak);
	c->stalled = false;
	for (unsigned i = 0; i < 500; i++)
		assert_int_equal(atoi(ws_text(ws_expect(c, "message"), "body")), i);
	ws_hang_up(c);
	ws_hang_up(quick);
	ws_hang_up(p);
}

/* ---- Groups -------------------------------------------------------------------------------------------------------------------------------------- */

static void join(struct ws_client *c, const char *group, unsigned credit)
{
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"g\",\"topic\":\"t\",\"group\":\"%s\",\"from\":\"earliest\",\"credit\":%u}", group, credit);
	ws_expect(c, "subscribed");
}

static void test_acks(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *p = ws_connect(w);
	json_t *j;

	ws_put_topic(w, "t", 1);
	ws_put_numbers(p, "t", 0, 20);
	join(c, "workers", 4);
	for (unsigned i = 1; i <= 4; i++) {
		j = ws_expect(c, "message");
		assert_int_equal(ws_number(j, "seq"), i);
		assert_int_equal(ws_number(j, "attempt"), 1);
		assert_true(ws_number(j, "lease") > 0);
	}
	ws_expect_nothing(c, 500);
	ws_say(c, "{\"type\":\"ack\",\"id\":1,\"sub\":\"g\",\"seq\":2}"); /* one credit back */
	unsigned settled = 0, messages = 0;
	for (unsigned i = 0; i < 2; i++) {
		j = ws_expect(c, "");
		settled += strcmp(ws_text(j, "type"), "settled") == 0 && ws_number(j, "count") == 1 && ws_number(j, "failed") == 0;
		messages += strcmp(ws_text(j, "type"), "message") == 0 && ws_number(j, "seq") == 5;
	}
	assert_int_equal(settled + messages, 2);
	ws_expect_nothing(c, 500);
	ws_say(c, "{\"type\":\"ack\",\"sub\":\"g\",\"seq\":2}"); /* again: it is gone */
	ws_expect_error(c, ST_GONE);
	assert_int_equal(ws_number(c->got, "seq"), 2);
	ws_say(c, "{\"type\":\"ack\",\"sub\":\"g\",\"upTo\":4}"); /* 1, 3, 4 */
	for (unsigned i = 6; i <= 8; i++)
		assert_int_equal(ws_number(ws_expect(c, "message"), "seq"), i);
	ws_expect_nothing(c, 500);
	ws_say(c, "{\"type\":\"ack\",\"sub\":\"g\",\"seqs\":[5,8,99]}");
	unsigned errors = 0;
	for (unsigned i = 0; i < 3; i++)
		errors += strcmp(ws_text(ws_expect(c, ""), "type"), "error") == 0;
	assert_int_equal(errors, 1);
	ws_expect_nothing(c, 500);
	assert_int_equal(ws_front(w)->n.acks, 4);
	ws_hang_up(c);
	ws_hang_up(p);
}

static void test_ack_errors(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);
	static const char *const bad[] = {
		"{\"type\":\"ack\",\"sub\":\"g\"}", "{\"type\":\"ack\",\"sub\":\"g\",\"seq\":1,\"upTo\":1}", "{\"type\":\"ack\",\"sub\":\"g\",\"seq\":\"1\"}",
		"{\"type\":\"ack\",\"sub\":\"g\",\"seqs\":1}", "{\"type\":\"ack\",\"sub\":\"g\",\"seqs\":[null]}", "{\"type\":\"ack\",\"sub\":\"g\",\"upTo\":\"x\"}",
		"{\"type\":\"ack\",\"sub\":\"g\",\"seq\":1,\"delay\":5}", "{\"type\":\"nack\",\"sub\":\"g\",\"seq\":1,\"delay\":-1}",
		"{\"type\":\"nack\",\"sub\":\"g\",\"seq\":1,\"delay\":\"soon\"}", "{\"type\":\"nack\",\"sub\":\"g\",\"seq\":1,\"reject\":1}",
		"{\"type\":\"extend\",\"sub\":\"g\",\"seq\":1,\"lease\":0}", "{\"type\":\"ack\",\"sub\":\"tap\",\"seq\":1}", "{\"type\":\"ack\",\"seq\":1}",
		"{\"type\":\"ack\",\"sub\":5,\"seq\":1}", "{\"type\":\"ack\",\"sub\":\"\",\"seq\":1}",
	};

	ws_put_topic(w, "t", 1);
	join(c, "workers", 4);
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"tap\",\"topic\":\"t\",\"credit\":1}");
	ws_expect(c, "subscribed");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ws_say(c, "%s", bad[i]);
		ws_expect(c, "error");
		if (strcmp(ws_text(c->got, "code"), "BAD_ARG") != 0)
			fail_msg("%s was answered %s", bad[i], c->text);
	}
	ws_say(c, "{\"type\":\"ack\",\"sub\":\"g\",\"seq\":1}");
	ws_expect_error(c, ST_GONE);
	ws_say(c, "{\"type\":\"ack\",\"sub\":\"g\",\"seq\":-1}");
	ws_expect_error(c, ST_BAD_ARG);
	ws_say(c, "{\"type\":\"ack\",\"sub\":\"nobody\",\"seq\":1}");
	ws_expect_error(c, ST_NOT_SUBSCRIBED);
	ws_say(c, "{\"type\":\"ack\",\"id\":\"n\",\"sub\":\"g\",\"upTo\":-5}");
	assert_int_equal(ws_number(ws_expect(c, "settled"), "count"), 0);
	ws_hang_up(c);
}

static void test_nack(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *p = ws_connect(w), *dead = ws_connect(w);
	json_t *j;

	ws_put_topic(w, "t", 1);
	ws_put(p, "t", "one");
	join(c, "workers", 4);
	expect_body(c, "g", "one");
	uint64_t before = w->clock.ns;
	ws_say(c, "{\"type\":\"nack\",\"sub\":\"g\",\"seq\":1,\"delay\":\"3s\"}");
	j = ws_expect(c, "message");
	assert_int_equal(ws_number(j, "attempt"), 2);
	assert_int_equal(ws_number(j, "seq"), 2);
	assert_true(w->clock.ns - before >= 3 * SEC_NS);
	ws_say(c, "{\"type\":\"nack\",\"id\":\"x\",\"sub\":\"g\",\"seq\":2,\"reject\":true}");
	ws_expect(c, "settled");
	ws_expect_nothing(c, 60000);
	ws_say(dead, "{\"type\":\"subscribe\",\"id\":\"d\",\"topic\":\"%%DLQ%%workers\",\"from\":\"earliest\",\"credit\":4}");
	ws_expect(dead, "subscribed");
	expect_body(dead, "d", "one");
	ws_hang_up(c);
	ws_hang_up(p);
	ws_hang_up(dead);
}

static void test_extend(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w), *p = ws_connect(w);

	ws_put_topic(w, "t", 1);
	ws_put(p, "t", "one");
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"g\",\"topic\":\"t\",\"group\":\"workers\",\"from\":\"earliest\",\"credit\":4,\"lease\":\"5s\"}");
	ws_expect(c, "subscribed");
	assert_int_equal(ws_number(ws_expect(c, "message"), "lease"), 5000);
	front_world_run(w, 4000);
	ws_say(c, "{\"type\":\"extend\",\"id\":\"e\",\"sub\":\"g\",\"seq\":1,\"lease\":\"30s\"}");
	assert_int_equal(ws_number(ws_expect(c, "settled"), "count"), 1);
	ws_expect_nothing(c, 20000); /* it would have come again by now */
	front_world_run(w, 11000);
	assert_int_equal(ws_number(ws_expect(c, "message"), "attempt"), 2);
	ws_say(c, "{\"type\":\"ack\",\"sub\":\"g\",\"seq\":1}"); /* its lease is over: the second one counts */
	ws_expect_error(c, ST_GONE);
	ws_say(c, "{\"type\":\"ack\",\"id\":1,\"sub\":\"g\",\"seq\":2}");
	assert_int_equal(ws_number(ws_expect(c, "settled"), "count"), 1);
	ws_expect_nothing(c, 60000);
	ws_hang_up(c);
	ws_hang_up(p);
}

/* Unsubscribing, like hanging up, gives back what was not settled; at once, and to another. */
static void test_gives_back(void **state)
{
	struct front_world *w = *state;
	struct ws_client *a = ws_connect(w), *b = ws_connect(w), *p = ws_connect(w);

	ws_put_topic(w, "t", 1);
	ws_put_numbers(p, "t", 0, 6);
	join(a, "workers", 6);
	for (unsigned i = 0; i < 6; i++)
		ws_expect(a, "message");
	ws_say(a, "{\"type\":\"ack\",\"id\":1,\"sub\":\"g\",\"upTo\":2}");
	ws_expect(a, "settled");
	ws_say(a, "{\"type\":\"unsubscribe\",\"sub\":\"g\"}");
	ws_expect(a, "unsubscribed");
	join(b, "workers", 2);
	ws_expect(b, "message");
	ws_expect(b, "message");
	ws_hang_up(b);
	join(a, "workers", 10); /* the name is free again */
	unsigned got = 0;
	for (unsigned i = 0; i < 4; i++)
		got |= 1u << atoi(ws_text(ws_expect(a, "message"), "body"));
	assert_int_equal(got, 0x3c);
	ws_expect_nothing(a, 500);
	ws_hang_up(a);
	ws_hang_up(p);
}

static void test_expired(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);

	ws_put_topic(w, "t", 1);
	ws_say(c, "{\"type\":\"publish\",\"id\":1,\"topic\":\"t\",\"expire\":\"1s\",\"body\":\"old\"}");
	ws_expect(c, "published");
	ws_say(c, "{\"type\":\"publish\",\"id\":1,\"topic\":\"t\",\"body\":\"new\"}");
	ws_expect(c, "published");
	front_world_run(w, 2000);
	join(c, "workers", 1);
	expect_body(c, "g", "new");
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"tap\",\"topic\":\"t\",\"from\":\"earliest\",\"credit\":1}");
	ws_expect(c, "subscribed");
	expect_body(c, "tap", "new");
	ws_expect_nothing(c, 60000 / 4);
	assert_int_equal(ws_front(w)->n.expired, 2);
	ws_hang_up(c);
}

/* ---- Subscribing ------------------------------------------------------------------------------------------------------------------------------------ */

static void test_subscribe_errors(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);
	static const struct { enum status st; const char *text; } bad[] = {
		{ST_BAD_ARG, "\"topic\":\"t\",\"credit\":1"}, {ST_BAD_ARG, "\"id\":1,\"topic\":\"t\",\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"\",\"topic\":\"t\",\"credit\":1"},
		{ST_BAD_ARG, "\"id\":\"a\",\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":7,\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\""},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"credit\":-1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"credit\":257"},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"credit\":\"much\"}"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"group\":\"g\",\"credit\":\"auto\""},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"credit\":1,\"colour\":\"red\""}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"group\":\"\",\"credit\":1"},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"group\":1,\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"tag\":1,\"credit\":1"},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"group\":\"g\",\"from\":\"5\",\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"group\":\"g\",\"from\":5,\"credit\":1"},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"from\":\"now\",\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"from\":\"5,1\",\"credit\":1"},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"from\":\"5,1:2,1:3\",\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"from\":\"5,-1:2\",\"credit\":1"},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"from\":\"5,1:99999999999999999999\",\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"from\":-1,\"credit\":1"},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"from\":null,\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"from\":\"\",\"credit\":1"},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"lease\":1000,\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"group\":\"g\",\"lease\":0,\"credit\":1"},
		{ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\",\"group\":\"g\",\"lease\":\"2d\",\"credit\":1"}, {ST_NO_TOPIC, "\"id\":\"a\",\"topic\":\"none\",\"credit\":1"},
		{ST_NO_TOPIC, "\"id\":\"a\",\"topic\":\"none\",\"group\":\"g\",\"credit\":1"}, {ST_BAD_ARG, "\"id\":\"a\",\"topic\":\"t\\u0000\",\"credit\":1"},
	};

	ws_put_topic(w, "t", 1);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		bool closed = strchr(bad[i].text, '}') != NULL;
		ws_say(c, "{\"type\":\"subscribe\",%s%s", bad[i].text, closed ? "" : "}");
		ws_expect(c, "error");
		if (strcmp(ws_text(c->got, "code"), status_name(bad[i].st)) != 0)
			fail_msg("%s was answered %s", bad[i].text, c->text);
	}
	/* None of them left a name behind, or a place. */
	for (unsigned i = 0; i < w->conf.ws_max_subs; i++) {
		ws_say(c, "{\"type\":\"subscribe\",\"id\":\"%c\",\"topic\":\"t\",\"credit\":1}", (char)('a' + i));
		ws_expect(c, "subscribed");
	}
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"more\",\"topic\":\"t\",\"credit\":1}");
	ws_expect_error(c, ST_BUSY);
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"a\",\"topic\":\"t\",\"credit\":1}");
	ws_expect_error(c, ST_EXISTS);
	ws_say(c, "{\"type\":\"unsubscribe\",\"sub\":\"zz\"}");
	ws_expect_error(c, ST_NOT_SUBSCRIBED);
	ws_say(c, "{\"type\":\"unsubscribe\",\"sub\":\"b\"}");
	assert_string_equal(ws_text(ws_expect(c, "unsubscribed"), "sub"), "b");
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"more\",\"topic\":\"t\",\"credit\":1}");
	ws_expect(c, "subscribed");
	ws_hang_up(c);
}

/* Whoever goes while the opening is still under way leaves nothing behind. */
static void test_gone_while_opening(void **state)
{
	struct front_world *w = *state;
	static const char *const from[] = {"\"latest\"", "\"earliest\"", "\"5\"", "1000", "\"earliest\",\"group\":\"g\""};

	ws_put_topic(w, "t", 3);
	for (unsigned turns = 0; turns < 6; turns++)
		for (size_t i = 0; i < ARRAY_LEN(from); i++)
			for (unsigned how = 0; how < 3; how++) {
				struct ws_client *c = ws_connect(w);
				ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"%s\",\"from\":%s,\"credit\":1}", how == 2 ? "none" : "t", from[i]);
				for (unsigned k = 0; k < turns; k++)
					engine_turn(w->engine);
				if (how == 0) {
					ws_hang_up(c);
					front_world_run(w, 100);
					continue;
				}
				ws_say(c, "{\"type\":\"unsubscribe\",\"sub\":\"s\"}");
				front_world_run(w, 100);
				json_t *j = NULL;
				bool over = false;
				while ((j = ws_next(c)) != NULL)
					over = over || strcmp(ws_text(j, "type"), "unsubscribed") == 0 || strcmp(ws_text(j, "type"), "error") == 0;
				assert_true(over);
				ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"t\",\"credit\":1}");
				ws_expect(c, "subscribed");
				ws_hang_up(c);
			}
	front_world_run(w, 500);
	assert_int_equal(ws_front(w)->n_peers, 0);
}

static void test_topic_dropped(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);

	ws_put_topic(w, "t", 1);
	ws_say(c, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"t\",\"credit\":1}");
	ws_expect(c, "subscribed");
	drop_topic(w, "t");
	json_t *j = ws_expect(c, "ended");
	assert_string_equal(ws_text(j, "sub"), "s");
	assert_string_equal(ws_text(j, "code"), "NO_TOPIC");
	assert_true(json_is_false(json_object_get(j, "retry")));
	ws_hang_up(c);
}

/* A message that would not fit into a frame comes without its body, and can be settled. */
static void test_too_big_to_send(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);
	struct buf b = {0};

	ws_put_topic(w, "t", 1);
	buf_str(&b, "{\"type\":\"publish\",\"id\":1,\"topic\":\"t\",\"body\":\"");
	for (unsigned i = 0; i < 4000; i++)
		buf_str(&b, "\\u0001");
	buf_str(&b, "\"}");
	ws_say_bytes(c, buf_view(&b));
	ws_expect(c, "published");
	w->conf.ws_max_message = 8000;
	join(c, "workers", 1);
	json_t *j = ws_expect(c, "message");
	assert_true(json_is_true(json_object_get(j, "truncated")));
	assert_int_equal(ws_number(j, "bodyBytes"), 4000);
	ws_say(c, "{\"type\":\"ack\",\"id\":1,\"sub\":\"g\",\"seq\":1}");
	assert_int_equal(ws_number(ws_expect(c, "settled"), "count"), 1);
	buf_fini(&b);
	ws_hang_up(c);
}

/* ---- The end ----------------------------------------------------------------------------------------------------------------------------------------- */

static void test_stop(void **state)
{
	struct front_world *w = *state;
	struct ws_client *idle = ws_connect(w), *busy = ws_connect(w), *member = ws_connect(w);

	ws_put_topic(w, "t", 1);
	ws_put(idle, "t", "one");
	join(member, "workers", 4);
	expect_body(member, "g", "one");
	ws_say(member, "{\"type\":\"ack\",\"id\":1,\"sub\":\"g\",\"seq\":1}");
	ws_say(busy, "{\"type\":\"publish\",\"id\":1,\"topic\":\"t\",\"body\":\"two\"}");
	w->kind->drain(w);
	ws_say(busy, "{\"type\":\"publish\",\"id\":2,\"topic\":\"t\",\"body\":\"too late\"}");
	ws_say(busy, "{\"type\":\"subscribe\",\"id\":\"late\",\"topic\":\"t\",\"credit\":1}");
	w->kind->stop(w);
	assert_false(w->kind->stopped(w));
	ws_expect_bye(idle, 1001, true);
	/* What was under way is answered before bye. */
	unsigned published = 0, errors = 0;
	json_t *j;
	while (strcmp(ws_text(j = ws_expect(busy, ""), "type"), "bye") != 0) {
		published += strcmp(ws_text(j, "type"), "published") == 0 && ws_number(j, "id") == 1;
		errors += strcmp(ws_text(j, "code"), "CLOSED") == 0;
	}
	assert_int_equal(published, 1);
	assert_int_equal(errors, 2);
	unsigned settled = 0, ended = 0;
	while (strcmp(ws_text(j = ws_expect(member, ""), "type"), "bye") != 0) {
		settled += strcmp(ws_text(j, "type"), "settled") == 0 && ws_number(j, "count") == 1;
		ended += strcmp(ws_text(j, "type"), "ended") == 0 && json_is_true(json_object_get(j, "retry"));
	}
	assert_int_equal(settled, 1);
	assert_int_equal(ended, 1);
	ws_step(busy);
	ws_step(member);
	front_world_run(w, 100);
	assert_true(w->kind->stopped(w));
	ws_hang_up(idle);
	ws_hang_up(busy);
	ws_hang_up(member);
}

static int teardown_stopped(void **state)
{
	struct front_world *w = *state;

	/* The suite's teardown stops once more: a front that was stopped by the test is made anew. */
	w->kind->fini(w);
	w->kind->start(w);
	return front_contract_teardown(state);
}

static void test_describe(void **state)
{
	struct front_world *w = *state;
	struct ws_client *c = ws_connect(w);
	struct buf b = {0};

	ws_put_topic(w, "t", 1);
	ws_put(c, "t", "x");
	join(c, "workers", 4);
	ws_expect(c, "message");
	front_websocket.describe(ws_front(w), &b);
	json_t *j = json_loadb((const char *)b.p, b.n, 0, NULL);
	assert_non_null(j);
	assert_int_equal(ws_number(j, "connections"), 1);
	assert_int_equal(ws_number(j, "subscriptions"), 1);
	assert_int_equal(ws_number(j, "unsettled"), 1);
	assert_int_equal(ws_number(j, "published"), 1);
	json_decref(j);
	buf_fini(&b);
	ws_hang_up(c);
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, front_contract_setup, front_contract_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(publish), T(publish_errors), T(publish_flow), T(not_json), T(unknown), T(tap_credit), T(resume_latest), T(resume_earliest), T(resume_unseen), T(resume_of_another_topic),
		T(from_time),
		T(tags), T(encoded_once), T(slow_tap), T(acks), T(ack_errors), T(nack), T(extend), T(gives_back), T(expired), T(subscribe_errors), T(gone_while_opening),
		T(topic_dropped), T(too_big_to_send), cmocka_unit_test_setup_teardown(test_stop, front_contract_setup, teardown_stopped), T(describe),
	};

	front_kind_under_test = &ws_front_kind;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
