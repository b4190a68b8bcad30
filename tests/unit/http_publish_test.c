/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Publishing over HTTP, what is checked of every request, and the requests about topics, groups and numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/mem.h"
#include "front/message.h"
#include "tests/lib/http_rig.h"

static struct http_rig h;

static int setup(void **state)
{
	(void)state;
	http_rig_init(&h);
	http_rig_open(&h);
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

/* Asks and expects a status; the body. */
static const char *ask(unsigned status, const char *method, const char *target, const char *headers, const char *body)
{
	struct http_call_rig *c = http_rig_ask(&h, method, target, headers, body);

	if (c->status != status)
		fail_msg("%s %s: status %u (%s), expected %u", method, target, c->status, http_rig_body(c), status);
	if (status >= 400 && strcmp(method, "HEAD") != 0) {
		has(http_rig_head(c), "content-type: application/problem+json\r\n");
		json_t *json = json_loadb((const char *)c->body.p, c->body.n, 0, NULL);
		assert_non_null(json);
		assert_int_equal(json_integer_value(json_object_get(json, "status")), status);
		assert_non_null(json_object_get(json, "type"));
		assert_non_null(json_object_get(json, "title"));
		assert_non_null(json_object_get(json, "code"));
		assert_non_null(json_object_get(json, "instance"));
		json_decref(json);
	}
	return http_rig_body(c);
}

static void fresh(void)
{
	while (h.n_calls > 0)
		http_rig_free(h.calls[0]);
}

static json_t *json_of(const char *text)
{
	json_error_t e;
	json_t *j = json_loads(text, 0, &e);

	if (j == NULL)
		fail_msg("not JSON (%s): %s", e.text, text);
	return j;
}

static void one_message_is_stored_and_named(void **state)
{
	struct http_call_rig *c = http_rig_ask(&h, "POST", "/v1/topics/orders/messages?tag=red&keys=k1+k2", "gantry-order-key: o1\ncontent-type: text/plain\n", "hello");

	(void)state;
	assert_int_equal(c->status, 201);
	has(http_rig_head(c), "content-type: application/json\r\n");
	has(http_rig_body(c), "\"topic\":\"orders\"");
	has(http_rig_body(c), "\"durability\":\"disk\"");
	json_t *j = json_of(http_rig_body(c));
	const char *id = json_string_value(json_object_get(j, "id"));
	assert_int_equal(strlen(id), 32);
	char target[128];
	snprintf(target, sizeof(target), "location: /v1/messages/%s?topic=orders\r\n", id);
	has(http_rig_head(c), target);
	snprintf(target, sizeof(target), "/v1/messages/%s?topic=orders", id);
	const char *got = ask(200, "GET", target, NULL, NULL);
	has(got, id);
	has(got, "\"tag\":\"red\"");
	has(got, "\"keys\":\"k1 k2\"");
	has(got, "\"orderKey\":\"o1\"");
	has(got, "\"contentType\":\"text/plain\"");
	has(got, "\"body\":\"hello\"");
	snprintf(target, sizeof(target), "/v1/messages/%s", id);
	has(ask(200, "GET", target, NULL, NULL), id);
	json_decref(j);
}

static void ids_differ(void **state)
{
	(void)state;
	char *first = mem_dup(ask(201, "POST", "/v1/topics/t/messages", NULL, "a"), 60);
	assert_memory_not_equal(first, ask(201, "POST", "/v1/topics/t/messages", NULL, "a"), 40);
	mem_free(first);
}

static void options_are_headers_or_parameters(void **state)
{
	(void)state;
	const char *both[] = {"/v1/topics/t/messages?prop-Color=blue&correlation-data=c1&reply-to=answers&mqtt-topic=t/x&queue=2&expire=60s&key=1", NULL};
	ask(400, "POST", both[0], NULL, "x"); /* key is no option of a publish */
	ask(201, "POST", "/v1/topics/t/messages?prop-Color=blue&correlation-data=c1&reply-to=answers&mqtt-topic=t/x&queue=2&expire=60s", NULL, "x");
	ask(201, "POST", "/v1/topics/t/messages", "gantry-prop-color: blue\ngantry-correlation-data: c1\ngantry-reply-to: answers\ngantry-prop-mqtt-topic: t/x\n"
		"gantry-queue: 2\ngantry-expire: 60s\n", "y");
	const char *got = ask(200, "GET", "/v1/topics/t/messages?queue=2&offset=0", NULL, NULL);
	json_t *j = json_of(got);
	for (unsigned i = 0; i < 2; i++) {
		json_t *m = json_array_get(json_object_get(j, "messages"), i);
		assert_string_equal(json_string_value(json_object_get(m, "correlationData")), "c1");
		assert_string_equal(json_string_value(json_object_get(m, "replyTo")), "answers");
		assert_string_equal(json_string_value(json_object_get(m, "mqttTopic")), "t/x");
		assert_string_equal(json_string_value(json_object_get(json_object_get(m, "properties"), i == 0 ? "Color" : "color")), "blue");
		assert_true(json_integer_value(json_object_get(m, "expiresAt")) > 1700000000000);
		assert_int_equal(json_integer_value(json_object_get(m, "queue")), 2);
		assert_int_equal(json_integer_value(json_object_get(m, "offset")), i);
	}
	assert_int_equal(json_integer_value(json_object_get(j, "next")), 2);
	json_decref(j);
}

static void what_is_not_known_is_named(void **state)
{
	(void)state;
	has(ask(400, "POST", "/v1/topics/t/messages?tga=x", NULL, "x"), "tga");
	has(ask(400, "POST", "/v1/topics/t/messages", "gantry-tga: x\n", "x"), "tga");
	has(ask(400, "POST", "/v1/topics/t/messages?tag=a", "gantry-tag: b\n", "x"), "twice");
	has(ask(400, "POST", "/v1/topics/t/messages?prop-a=1&prop-a=2", NULL, "x"), "twice");
	has(ask(400, "POST", "/v1/topics/t/messages?tag=%zz", NULL, "x"), "percent");
	has(ask(400, "POST", "/v1/topics/t/messages?tag=%ff", NULL, "x"), "UTF-8");
	has(ask(400, "POST", "/v1/topics/t%/messages", NULL, "x"), "path");
	has(ask(400, "POST", "/v1/topics/t/messages?delay=soon", NULL, "x"), "delay");
	has(ask(422, "POST", "/v1/topics/t/messages?delay=7s", NULL, "x"), "10s");
	has(ask(400, "POST", "/v1/topics/t/messages?queue=-1", NULL, "x"), "queue");
	has(ask(404, "POST", "/v1/topics/t/messages?queue=99", NULL, "x"), "NO_QUEUE");
	has(ask(422, "POST", "/v1/topics/t/messages?prop-UNIQ_KEY=1", NULL, "x"), "UNIQ_KEY");
	has(ask(422, "POST", "/v1/topics/t/messages?tag=a%01b", NULL, "x"), "control");
	has(ask(400, "POST", "/v1/topics/t/messages?durability=maybe", NULL, "x"), "durability");
	has(ask(501, "POST", "/v1/topics/t/messages?deliver-at=2099-01-01T00:00:00Z", NULL, "x"), "UNSUPPORTED");
	ask(201, "POST", "/v1/topics/t/messages?deliver-at=2001-01-01T00:00:00Z", NULL, "x");
	has(ask(400, "POST", "/v1/topics/a.b/messages", NULL, "x"), "BAD_NAME");
	has(ask(400, "GET", "/v1/topics?all=1", NULL, NULL), "all");
	fresh();
}

static void names_in_the_path_are_decoded(void **state)
{
	(void)state;
	has(ask(201, "POST", "/v1/topics/a%7Cb/messages", NULL, "x"), "\"topic\":\"a|b\"");
	has(http_rig_head(h.calls[0]), "?topic=a%7Cb\r\n");
	has(ask(200, "GET", "/v1/topics/a%7cb", NULL, NULL), "\"name\":\"a|b\"");
}

static void a_topic_is_made_only_where_that_is_allowed(void **state)
{
	(void)state;
	h.conf.auto_create_topic = false;
	has(ask(404, "POST", "/v1/topics/absent/messages", NULL, "x"), "NO_TOPIC");
	h.conf.auto_create_topic = true;
	ask(201, "POST", "/v1/topics/absent/messages", NULL, "x");
	has(ask(200, "GET", "/v1/topics/absent", NULL, NULL), "\"writeQueues\":4");
}

static void memory_is_named_where_it_is_wanted(void **state)
{
	(void)state;
	has(ask(201, "POST", "/v1/topics/t/messages?durability=memory", NULL, "x"), "\"durability\":\"memory\"");
	has(ask(201, "POST", "/v1/topics/t/messages?durability=disk", NULL, "x"), "\"durability\":\"disk\"");
}

static void the_body_is_any_bytes(void **state)
{
	struct http_call_rig *c = http_rig_start(&h, "POST", "/v1/topics/t/messages?queue=0", "content-type: application/octet-stream\n", slice_of("\0\xff\1", 3));

	(void)state;
	assert_int_equal(http_rig_wait(c, 1000), 201);
	const char *got = ask(200, "GET", "/v1/topics/t/messages?queue=0", NULL, NULL);
	has(got, "\"bodyBase64\":\"AP8B\"");
	has_not(got, "contentType");
	ask(201, "POST", "/v1/topics/t/messages?queue=1", "content-type: application/x-www-form-urlencoded\n", "a=1");
	has_not(ask(200, "GET", "/v1/topics/t/messages?queue=1", NULL, NULL), "contentType");
	ask(201, "POST", "/v1/topics/t/messages?queue=1", "content-type: application/json; charset=utf-8\n", "{\"a\":1}");
	has(ask(200, "GET", "/v1/topics/t/messages?queue=1", NULL, NULL), "\"contentType\":\"application/json; charset=utf-8\"");
	ask(201, "POST", "/v1/topics/t/messages?queue=2", NULL, "");
	has(ask(200, "GET", "/v1/topics/t/messages?queue=2", NULL, NULL), "\"body\":\"\"");
}

static void a_delayed_message_has_no_place_yet(void **state)
{
	(void)state;
	const char *got = ask(201, "POST", "/v1/topics/t/messages?delay=5s&queue=0", NULL, "later");
	has(got, "\"delayed\":true");
	has_not(got, "offset");
	has_not(ask(200, "GET", "/v1/topics/t/messages?queue=0", NULL, NULL), "later");
	http_rig_run(&h, 6000);
	has(ask(200, "GET", "/v1/topics/t/messages?queue=0", NULL, NULL), "later");
}

static void too_big_is_refused(void **state)
{
	char *big = mem_new((1u << 20) + 2);

	(void)state;
	memset(big, 'x', h.conf.max_message + 1);
	has(ask(413, "POST", "/v1/topics/t/messages", NULL, big), "TOO_BIG");
	memset(big, 'x', (1u << 20) + 1);
	has(ask(413, "POST", "/v1/topics/t/messages", NULL, big), "TOO_BIG");
	mem_free(big);
	fresh();
}

static void a_full_disk_is_said(void **state)
{
	(void)state;
	char *body = mem_new(60001);
	memset(body, 'x', 60000);
	h.r.disk.write_fails = h.r.disk.open_fails = ST_DISK_FULL;
	h.r.disk.good_writes = 20;
	struct http_call_rig *c = NULL;
	for (unsigned i = 0; i < 300 && (c == NULL || c->status == 201); i++) {
		fresh();
		c = http_rig_ask(&h, "POST", "/v1/topics/t/messages", NULL, body);
	}
	assert_int_equal(c->status, 507);
	has(http_rig_body(c), "DISK_FULL");
	has(ask(503, "GET", "/readyz", NULL, NULL), "DISK_FULL");
	ask(200, "GET", "/healthz", NULL, NULL);
	h.r.disk.write_fails = h.r.disk.open_fails = ST_OK;
	http_rig_run(&h, 5000);
	ask(201, "POST", "/v1/topics/t/messages", NULL, "x");
	mem_free(body);
	fresh();
}

static void too_much_at_once_is_asked_to_come_back(void **state)
{
	char *body = mem_new(20001);
	unsigned ok = 0, busy = 0;

	(void)state;
	memset(body, 'x', 20000);
	h.r.disk.later = true;
	for (unsigned i = 0; i < 200; i++)
		http_rig_start(&h, "POST", "/v1/topics/t/messages?queue=0", NULL, slice_str(body));
	for (unsigned i = 0; i < 200; i++) {
		struct http_call_rig *c = h.calls[i];
		http_rig_wait(c, 1000);
		ok += c->status == 201;
		if (c->status == 201)
			continue;
		assert_int_equal(c->status, 503);
		has(http_rig_head(c), "retry-after: 1\r\n");
		has(http_rig_body(c), "\"code\":\"BUSY\"");
		busy++;
	}
	assert_true(ok > 0 && busy > 0);
	h.r.disk.later = false;
	fresh();
	ask(201, "POST", "/v1/topics/t/messages", NULL, "x");
	mem_free(body);
}

static void a_failed_log_acknowledges_nothing(void **state)
{
	(void)state;
	ask(201, "POST", "/v1/topics/t/messages", NULL, "x");
	h.r.disk.sync_fails = ST_IO;
	has(ask(500, "POST", "/v1/topics/t/messages", NULL, "x"), "\"code\":\"IO\"");
	h.r.disk.sync_fails = ST_OK;
	ask(500, "POST", "/v1/topics/t/messages", NULL, "x");
	has(ask(503, "GET", "/readyz", NULL, NULL), "\"code\":\"IO\"");
	ask(200, "GET", "/healthz", NULL, NULL);
	has(ask(200, "POST", "/v1/topics/t/messages", "content-type: application/json\n", "[{\"body\":\"x\"}]"), "\"status\":500");
}

static void who_hangs_up_during_a_publish_leaves_nothing(void **state)
{
	(void)state;
	for (unsigned turns = 0; turns < 8; turns++) {
		struct http_call_rig *c = http_rig_start(&h, "POST", "/v1/topics/t/messages?queue=0", NULL, SLICE_LIT("x"));
		http_rig_turns(&h, turns);
		http_rig_free(c);
	}
	http_rig_run(&h, 10);
	assert_true(http_api_idle(h.api));
}

/* ---- Batches ------------------------------------------------------------------------------------------------------------------------ */

static void a_batch_has_a_result_for_each(void **state)
{
	(void)state;
	const char *array = "[{\"body\":\"one\",\"queue\":0},{\"body\":\"two\",\"queue\":0,\"tag\":\"a|b\"},{\"bodyBase64\":\"AP8=\",\"queue\":0},"
		"{\"json\":{\"a\":[1]},\"queue\":0},{\"body\":\"x\",\"topic\":\"other\"},7,{\"body\":\"y\",\"queue\":77},{\"body\":\"d\",\"delay\":\"5s\"}]";
	json_t *j = json_of(ask(200, "POST", "/v1/topics/t/messages", "content-type: application/json\n", array)), *r = json_object_get(j, "results");
	static const int want[] = {201, 422, 201, 201, 422, 422, 404, 201};
	assert_int_equal(json_array_size(r), 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(json_integer_value(json_object_get(json_array_get(r, i), "status")), want[i]);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(r, 3), "offset")), 2);
	for (unsigned i = 0; i < 8; i++)
		if (want[i] == 201) {
			assert_string_equal(json_string_value(json_object_get(json_array_get(r, i), "durability")), "disk");
			assert_true(json_integer_value(json_object_get(json_array_get(r, i), "storedAt")) > 1700000000000);
		}
	assert_true(json_is_true(json_object_get(json_array_get(r, 7), "delayed")));
	assert_string_equal(json_string_value(json_object_get(json_array_get(r, 1), "code")), "ILLEGAL");
	assert_non_null(json_object_get(json_array_get(r, 1), "detail"));
	json_decref(j);
	const char *got = ask(200, "GET", "/v1/topics/t/messages?queue=0", NULL, NULL);
	has(got, "\"body\":\"one\"");
	has(got, "\"bodyBase64\":\"AP8=\"");
	has(got, "\"contentType\":\"application/json\",");
}

static void lines_are_a_batch(void **state)
{
	(void)state;
	const char *lines = "{\"body\":\"1\",\"queue\":0}\r\n\n{\"body\":}\n{\"body\":\"3\",\"queue\":0}\n";
	json_t *j = json_of(ask(200, "POST", "/v1/topics/t/messages", "content-type: application/x-ndjson\n", lines)), *r = json_object_get(j, "results");
	static const int want[] = {201, 400, 201};
	assert_int_equal(json_array_size(r), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(json_integer_value(json_object_get(json_array_get(r, i), "status")), want[i]);
	json_decref(j);
}

static void a_batch_is_bounded_before_it_is_read(void **state)
{
	(void)state;
	struct buf b = {0};
	buf_str(&b, "[{\"json\":[0");
	for (unsigned i = 0; i < JSON_VALUES_MAX; i++)
		buf_str(&b, ",0");
	buf_str(&b, "]}]");
	has(ask(413, "POST", "/v1/topics/t/messages", "content-type: application/json\n", buf_cstr(&b)), "JSON values");
	b.n--;
	has(ask(200, "POST", "/v1/topics/t/messages", "content-type: application/x-ndjson\n", buf_cstr(&b) + 1), "\"status\":413");
	buf_fini(&b);
}

static void a_batch_in_memory_says_so(void **state)
{
	(void)state;
	has(ask(200, "POST", "/v1/topics/t/messages?durability=memory", "content-type: application/json\n", "[{\"body\":\"1\"}]"), "\"durability\":\"memory\"");
	has(ask(400, "POST", "/v1/topics/t/messages?tag=a", "content-type: application/json\n", "[{\"body\":\"1\"}]"), "tag");
	has(ask(400, "POST", "/v1/topics/t/messages?durability=none", "content-type: application/json\n", "[{\"body\":\"1\"}]"), "durability");
}

static void an_array_may_be_one_message(void **state)
{
	(void)state;
	ask(201, "POST", "/v1/topics/t/messages?raw=true&queue=0", "content-type: application/json\n", "[1,2]");
	has(ask(200, "GET", "/v1/topics/t/messages?queue=0", NULL, NULL), "\"body\":\"[1,2]\"");
	has(ask(400, "POST", "/v1/topics/t/messages", "content-type: application/json\n", "[1,"), "not JSON");
	has(ask(400, "POST", "/v1/topics/t/messages", "content-type: application/json\n", " \t\r\n[]"), "without a message");
	has(ask(400, "POST", "/v1/topics/t/messages", "content-type: application/ndjson\n", "\n"), "without a message");
	has(ask(400, "POST", "/v1/topics/t/messages?raw=perhaps", "content-type: application/json\n", "[1]"), "raw");
	char many[1024] = "[1";
	for (unsigned i = 0; i < 100; i++)
		strcat(many, ",1");
	strcat(many, "]");
	has(ask(413, "POST", "/v1/topics/t/messages", "content-type: application/json\n", many), "100");
}

static void who_hangs_up_during_a_batch_leaves_nothing(void **state)
{
	(void)state;
	for (unsigned turns = 0; turns < 8; turns++) {
		struct http_call_rig *c = http_rig_start(&h, "POST", "/v1/topics/t/messages", "content-type: application/json\n",
			SLICE_LIT("[{\"body\":\"1\"},7,{\"body\":\"2\"}]"));
		http_rig_turns(&h, turns);
		http_rig_free(c);
	}
	http_rig_run(&h, 10);
	assert_true(http_api_idle(h.api));
}

/* ---- Every request ------------------------------------------------------------------------------------------------------------------ */

static void hosts_and_origins(void **state)
{
	(void)state;
	h.conf.hosts = SLICE_LIT("mq.example");
	h.conf.origins = SLICE_LIT("https://app.example");
	ask(201, "POST", "/v1/topics/t/messages", "host: 127.0.0.1:8080\n", "x");
	ask(201, "POST", "/v1/topics/t/messages", "host: mq.example\n", "x");
	has(ask(421, "GET", "/v1/topics", "host: evil.example\n", NULL), "evil.example");
	ask(201, "POST", "/v1/topics/t/messages", "origin: http://localhost:8080\n", "x");
	has(ask(403, "POST", "/v1/topics/t/messages", "origin: http://evil.example\n", "x"), "evil.example");
	has(ask(403, "DELETE", "/v1/topics/t", "origin: null\n", NULL), "DENIED");
	ask(403, "GET", "/v1/topics/t/groups/g/messages", "origin: http://evil.example\n", NULL);
	ask(403, "GET", "/v1/topics/t/groups/g/messages", "sec-fetch-site: cross-site\n", NULL);
	ask(403, "GET", "/v1/topics/t/groups/g/messages", "sec-fetch-site: same-site\n", NULL);
	ask(200, "GET", "/v1/topics/t/groups/g/messages", "sec-fetch-site: same-origin\n", NULL);
	ask(200, "GET", "/v1/topics/t/groups/g/messages", "sec-fetch-site: none\n", NULL);
	ask(200, "GET", "/v1/topics", "sec-fetch-site: cross-site\n", NULL);
	/* An image of a page, by plain HTTP to a name of the local network: no Origin, no Sec-Fetch-Site, and a Referer only where the page wants it. */
#define BROWSER "host: broker.lan:8080\nuser-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\naccept-language: en\n"
	h.conf.hosts = SLICE_LIT("broker.lan");
	ask(403, "GET", "/v1/topics/t/groups/g/messages?lease=12h", BROWSER, NULL);
	ask(403, "GET", "/v1/topics/t/groups/g/messages", BROWSER "referer: http://evil.example/page?http://broker.lan:8080/\n", NULL);
	ask(403, "GET", "/v1/topics/t/groups/g/messages", "referer: http://evil.example/\n", NULL);
	ask(403, "GET", "/v1/topics/t/groups/g/messages", "referer: about:blank\n", NULL);
	ask(200, "GET", "/v1/topics/t/groups/g/messages", BROWSER "referer: http://broker.lan:8080/app?x\n", NULL);
	ask(200, "GET", "/v1/topics/t/groups/g/messages", BROWSER "origin: http://broker.lan:8080\n", NULL);
	ask(200, "GET", "/v1/topics/t/groups/g/messages", "host: broker.lan\nuser-agent: Mozilla/5.0 (Windows NT 10.0) PowerShell/7.4\n", NULL);
	ask(200, "GET", "/v1/topics", BROWSER, NULL);
	fresh();
	struct http_call_rig *c = http_rig_ask(&h, "GET", "/v1/topics", "origin: http://evil.example\n", NULL);
	assert_int_equal(c->status, 200);
	has_not(http_rig_head(c), "access-control");
	c = http_rig_ask(&h, "POST", "/v1/topics/t/messages", "origin: https://app.example\n", "x");
	assert_int_equal(c->status, 201);
	has(http_rig_head(c), "access-control-allow-origin: https://app.example\r\n");
	has(http_rig_head(c), "vary: Origin\r\n");
	has(http_rig_head(c), "access-control-expose-headers: Location");
}

static void preflights(void **state)
{
	struct http_call_rig *c;

	(void)state;
	h.conf.origins = SLICE_LIT("https://app.example");
	c = http_rig_ask(&h, "OPTIONS", "/v1/topics/t/messages", "origin: https://app.example\naccess-control-request-method: POST\n"
		"access-control-request-headers: gantry-tag, content-type\n", NULL);
	assert_int_equal(c->status, 204);
	has(http_rig_head(c), "access-control-allow-origin: https://app.example\r\n");
	has(http_rig_head(c), "access-control-allow-methods: GET, HEAD, POST, OPTIONS\r\n");
	has(http_rig_head(c), "access-control-allow-headers: gantry-tag, content-type\r\n");
	c = http_rig_ask(&h, "OPTIONS", "/v1/topics/t/messages", "origin: https://evil.example\naccess-control-request-method: POST\n", NULL);
	assert_int_equal(c->status, 204);
	has_not(http_rig_head(c), "access-control");
	has(http_rig_head(c), "allow: GET, HEAD, POST, OPTIONS\r\n");
	ask(404, "OPTIONS", "/nowhere", NULL, NULL);
}

static void paths_and_methods(void **state)
{
	(void)state;
	ask(404, "GET", "/v1/nothing", NULL, NULL);
	ask(404, "POST", "/v1/topics//messages", NULL, "x");
	ask(404, "GET", "/v1/topics/", NULL, NULL);
	ask(404, "GET", "/v1/topics/t/messages/", NULL, NULL);
	struct http_call_rig *c = http_rig_ask(&h, "PATCH", "/v1/topics/t", NULL, NULL);
	assert_int_equal(c->status, 405);
	has(http_rig_head(c), "allow: GET, HEAD, PUT, DELETE, OPTIONS\r\n");
	c = http_rig_ask(&h, "HEAD", "/v1/topics/t/groups/g/messages", NULL, NULL);
	assert_int_equal(c->status, 405);
	has(http_rig_head(c), "allow: GET, OPTIONS\r\n");
	ask(200, "HEAD", "/v1/topics", NULL, NULL);
}

static void a_front_that_ends_refuses(void **state)
{
	(void)state;
	http_api_drain(h.api);
	has(ask(503, "POST", "/v1/topics/t/messages", NULL, "x"), "CLOSED");
	ask(503, "GET", "/readyz", NULL, NULL);
	ask(200, "GET", "/healthz", NULL, NULL);
	ask(200, "GET", "/metrics", NULL, NULL);
}

/* ---- Topics and groups -------------------------------------------------------------------------------------------------------------- */

static void topics_are_made_changed_and_dropped(void **state)
{
	(void)state;
	has(ask(201, "PUT", "/v1/topics/t1", NULL, NULL), "\"readQueues\":4,\"writeQueues\":4,\"order\":false,\"perm\":\"rw\"");
	has(ask(200, "PUT", "/v1/topics/t1", NULL, "{\"readQueues\":8,\"perm\":\"r\"}"), "\"readQueues\":8,\"writeQueues\":4,\"order\":false,\"perm\":\"r\"");
	has(ask(403, "POST", "/v1/topics/t1/messages", NULL, "x"), "DENIED");
	has(ask(400, "PUT", "/v1/topics/t1", NULL, "{\"queues\":8}"), "queues");
	has(ask(400, "PUT", "/v1/topics/t1", NULL, "{\"readQueues\":0}"), "readQueues");
	has(ask(400, "PUT", "/v1/topics/t1", NULL, "{\"perm\":\"x\"}"), "perm");
	has(ask(400, "PUT", "/v1/topics/t1", NULL, "{\"perm\":7}"), "perm");
	has(ask(400, "PUT", "/v1/topics/t1", NULL, "{\"order\":7}"), "order");
	has(ask(400, "PUT", "/v1/topics/t1", NULL, "[]"), "object");
	has(ask(400, "PUT", "/v1/topics/t1", NULL, "{"), "JSON");
	has(ask(400, "PUT", "/v1/topics/a.b", NULL, NULL), "BAD_NAME");
	const char *all = ask(200, "GET", "/v1/topics", NULL, NULL);
	has(all, "\"name\":\"t1\"");
	has_not(all, "TBW102");
	has(ask(200, "GET", "/v1/topics?system=true", NULL, NULL), "TBW102");
	ask(204, "DELETE", "/v1/topics/t1", NULL, NULL);
	has(ask(404, "DELETE", "/v1/topics/t1", NULL, NULL), "NO_TOPIC");
	has(ask(404, "GET", "/v1/topics/t1", NULL, NULL), "NO_TOPIC");
	ask(403, "DELETE", "/v1/topics/TBW102", NULL, NULL);
	fresh();
}

static void a_topic_shows_its_queues_and_readers(void **state)
{
	(void)state;
	ask(201, "PUT", "/v1/topics/t1", NULL, "{\"readQueues\":2,\"writeQueues\":2}");
	for (unsigned i = 0; i < 3; i++)
		ask(201, "POST", "/v1/topics/t1/messages?queue=1", NULL, "x");
	ask(201, "PUT", "/v1/groups/readers", NULL, NULL);
	ask(200, "POST", "/v1/groups/readers/offsets", NULL, "{\"topic\":\"t1\",\"to\":{\"1\":1}}");
	const char *got = ask(200, "GET", "/v1/topics/t1", NULL, NULL);
	has(got, "\"queues\":[{\"queue\":0,\"min\":0,\"max\":0},{\"queue\":1,\"min\":0,\"max\":3}],\"messages\":3");
	has(got, "\"groups\":[{\"name\":\"readers\",\"lag\":2}]");
	has(ask(200, "GET", "/v1/topics", NULL, NULL), "{\"name\":\"t1\",\"readQueues\":2,\"writeQueues\":2,\"order\":false,\"perm\":\"rw\",\"system\":false,\"messages\":3}");
}

static void groups_are_made_changed_and_dropped(void **state)
{
	(void)state;
	has(ask(201, "PUT", "/v1/groups/g1", NULL, NULL), "\"name\":\"g1\",\"consume\":true");
	has(ask(200, "PUT", "/v1/groups/g1", NULL, "{\"retryMax\":3,\"orderly\":true}"), "\"orderly\":true,\"retryMax\":3");
	has(ask(400, "PUT", "/v1/groups/g1", NULL, "{\"retryMax\":0}"), "retryMax");
	has(ask(400, "PUT", "/v1/groups/g1", NULL, "{\"retries\":1}"), "retries");
	const char *all = ask(200, "GET", "/v1/groups", NULL, NULL);
	has(all, "\"name\":\"g1\",\"members\":0,\"lag\":0");
	has_not(all, "TOOLS_CONSUMER");
	has(ask(200, "GET", "/v1/groups?system", NULL, NULL), "TOOLS_CONSUMER");
	has(ask(200, "GET", "/v1/groups/g1", NULL, NULL), "\"lag\":0,\"offsets\":[],\"members\":[]");
	ask(204, "DELETE", "/v1/groups/g1?offsets=true", NULL, NULL);
	has(ask(404, "GET", "/v1/groups/g1", NULL, NULL), "NO_GROUP");
	ask(404, "DELETE", "/v1/groups/g1", NULL, NULL);
}

static void offsets_are_set(void **state)
{
	char text[64];

	(void)state;
	ask(201, "PUT", "/v1/topics/t1", NULL, "{\"readQueues\":2,\"writeQueues\":2}");
	ask(201, "PUT", "/v1/groups/g1", NULL, NULL);
	ask(201, "POST", "/v1/topics/t1/messages?queue=0", NULL, "x");
	http_rig_run(&h, 1000);
	int64_t later = h.r.clock.wall_ms + (int64_t)(h.r.clock.ns / MS_NS);
	http_rig_run(&h, 1000);
	ask(201, "POST", "/v1/topics/t1/messages?queue=0", NULL, "y");
	has(ask(200, "POST", "/v1/groups/g1/offsets", NULL, "{\"topic\":\"t1\",\"to\":\"latest\"}"), "[{\"queue\":0,\"offset\":2},{\"queue\":1,\"offset\":0}]");
	has(ask(200, "GET", "/v1/groups/g1", NULL, NULL), "\"topic\":\"t1\",\"queue\":0,\"offset\":2,\"min\":0,\"max\":2,\"lag\":0");
	has(ask(200, "POST", "/v1/groups/g1/offsets", NULL, "{\"topic\":\"t1\",\"to\":\"earliest\"}"), "[{\"queue\":0,\"offset\":0},{\"queue\":1,\"offset\":0}]");
	has(ask(200, "GET", "/v1/groups/g1", NULL, NULL), "\"lag\":2,\"offsets\"");
	snprintf(text, sizeof(text), "{\"topic\":\"t1\",\"to\":%lld}", (long long)later);
	has(ask(200, "POST", "/v1/groups/g1/offsets", NULL, text), "[{\"queue\":0,\"offset\":1},{\"queue\":1,\"offset\":0}]");
	has(ask(200, "POST", "/v1/groups/g1/offsets", NULL, "{\"topic\":\"t1\",\"to\":{\"0\":1}}"), "[{\"queue\":0,\"offset\":1}]");
	ask(200, "POST", "/v1/groups/g1/offsets", NULL, "{\"topic\":\"t1\",\"to\":\"2001-01-01T00:00:00Z\"}");
	ask(400, "POST", "/v1/groups/g1/offsets", NULL, "{\"topic\":\"t1\",\"to\":{\"7\":1}}");
	ask(400, "POST", "/v1/groups/g1/offsets", NULL, "{\"topic\":\"t1\",\"to\":\"soon\"}");
	ask(400, "POST", "/v1/groups/g1/offsets", NULL, "{\"topic\":\"t1\"}");
	ask(400, "POST", "/v1/groups/g1/offsets", NULL, "{\"to\":\"latest\"}");
	ask(400, "POST", "/v1/groups/g1/offsets", NULL, "");
	ask(404, "POST", "/v1/groups/g2/offsets", NULL, "{\"topic\":\"t1\",\"to\":\"latest\"}");
	ask(404, "POST", "/v1/groups/g1/offsets", NULL, "{\"topic\":\"t2\",\"to\":\"latest\"}");
	fresh();
}

/* ---- Looking ------------------------------------------------------------------------------------------------------------------------ */

static void messages_are_found_by_key(void **state)
{
	(void)state;
	ask(201, "POST", "/v1/topics/t1/messages?keys=k1", NULL, "first");
	ask(201, "POST", "/v1/topics/t1/messages?keys=k1+k2", NULL, "second");
	http_rig_run(&h, 200);
	json_t *j = json_of(ask(200, "GET", "/v1/messages?topic=t1&key=k1", NULL, NULL)), *m = json_object_get(j, "messages");
	assert_int_equal(json_array_size(m), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(m, 0), "body")), "second");
	json_decref(j);
	j = json_of(ask(200, "GET", "/v1/messages?topic=t1&key=k1&max=1", NULL, NULL));
	assert_int_equal(json_array_size(json_object_get(j, "messages")), 1);
	json_decref(j);
	has(ask(200, "GET", "/v1/messages?topic=t1&key=none", NULL, NULL), "\"messages\":[]");
	has(ask(200, "GET", "/v1/messages?topic=t1&key=k1&to=2001-01-01T00:00:00Z", NULL, NULL), "\"messages\":[]");
	has(ask(404, "GET", "/v1/messages?topic=t2&key=k1", NULL, NULL), "NO_TOPIC");
	has(ask(400, "GET", "/v1/messages?topic=t1", NULL, NULL), "key");
	has(ask(400, "GET", "/v1/messages?topic=t1&key=k1&from=x", NULL, NULL), "from");
}

static void stored(struct engine_ask *a, enum status st)
{
	assert_int_equal(st, ST_OK);
	a->done = NULL;
}

static void messages_are_found_by_id(void **state)
{
	(void)state;
	ask(201, "POST", "/v1/topics/t1/messages", NULL, "first");
	ask(404, "GET", "/v1/messages/nothing", NULL, NULL);
	ask(404, "GET", "/v1/messages/nothing?topic=t1", NULL, NULL);
	ask(404, "GET", "/v1/messages/7F00000100002A9F0000000000000007", NULL, NULL);
	has(ask(404, "GET", "/v1/messages/nothing?topic=t2", NULL, NULL), "NO_TOPIC");
	/* An offset id says itself where the message is. */
	struct engine_send r = {.ask = {.done = stored}, .msg = {.topic = SLICE_LIT("t1"), .body = SLICE_LIT("placed"), .queue = -1, .max_reconsume = -1}};
	char target[96];
	engine_send(h.r.e, &r);
	for (unsigned i = 0; i < 100 && r.ask.done != NULL; i++)
		http_rig_turns(&h, 1);
	snprintf(target, sizeof(target), "/v1/messages/7F00000100002A9F%016llX", (unsigned long long)r.position);
	has(ask(200, "GET", target, NULL, NULL), "\"body\":\"placed\"");
	strcat(target, "?topic=t1");
	has(ask(200, "GET", target, NULL, NULL), "\"body\":\"placed\"");
	ask(201, "PUT", "/v1/topics/t2", NULL, NULL);
	target[strlen(target) - 1] = '2';
	ask(404, "GET", target, NULL, NULL);
	/* It names a broker, too. */
	snprintf(target, sizeof(target), "/v1/messages/7F00000100002A9E%016llX", (unsigned long long)r.position);
	ask(404, "GET", target, NULL, NULL);
}

static void stored_messages_are_looked_at(void **state)
{
	(void)state;
	ask(201, "PUT", "/v1/topics/t1", NULL, "{\"readQueues\":2,\"writeQueues\":2}");
	for (unsigned i = 0; i < 6; i++) {
		char target[64], body[8];
		snprintf(target, sizeof(target), "/v1/topics/t1/messages?queue=%u&tag=%s", i % 2, i < 3 ? "a" : "b");
		snprintf(body, sizeof(body), "m%u", i);
		ask(201, "POST", target, NULL, body);
		http_rig_run(&h, 5);
	}
	json_t *j = json_of(ask(200, "GET", "/v1/topics/t1/messages?max=4", NULL, NULL)), *m = json_object_get(j, "messages");
	assert_int_equal(json_array_size(m), 4);
	assert_string_equal(json_string_value(json_object_get(json_array_get(m, 0), "body")), "m2");
	assert_string_equal(json_string_value(json_object_get(json_array_get(m, 3), "body")), "m5");
	json_decref(j);
	j = json_of(ask(200, "GET", "/v1/topics/t1/messages?queue=0&offset=1&max=1", NULL, NULL));
	assert_int_equal(json_integer_value(json_object_get(j, "next")), 2);
	assert_int_equal(json_integer_value(json_object_get(j, "max")), 3);
	json_decref(j);
	has_not(ask(200, "GET", "/v1/topics/t1/messages?tag=b", NULL, NULL), "m0");
	has(ask(416, "GET", "/v1/topics/t1/messages?queue=0&offset=99", NULL, NULL), "from 0 to 3");
	has(ask(404, "GET", "/v1/topics/t1/messages?queue=9", NULL, NULL), "NO_QUEUE");
	has(ask(404, "GET", "/v1/topics/t2/messages", NULL, NULL), "NO_TOPIC");
	has(ask(400, "GET", "/v1/topics/t1/messages?offset=9", NULL, NULL), "queue");
	has(ask(400, "GET", "/v1/topics/t1/messages?from=latest", NULL, NULL), "from");
	has(ask(400, "GET", "/v1/topics/t1/messages?max=101", NULL, NULL), "max");
	fresh();
}

static void numbers_are_told(void **state)
{
	(void)state;
	ask(201, "POST", "/v1/topics/t1/messages", NULL, "x");
	ask(404, "GET", "/nowhere", NULL, NULL);
	const char *m = ask(200, "GET", "/metrics", NULL, NULL);
	has(m, "# TYPE gantry_messages_in_total counter\ngantry_messages_in_total 1\n");
	has(m, "gantry_http_requests_total{method=\"POST\",route=\"/v1/topics/{topic}/messages\",status=\"2xx\"} 1\n");
	has(m, "gantry_http_requests_total{method=\"\",route=\"other\",status=\"4xx\"} 1\n");
	has(ask(200, "GET", "/readyz", NULL, NULL), "ready");
}

static void the_description_is_json_and_whole(void **state)
{
	(void)state;
	json_t *j = json_of(ask(200, "GET", "/openapi.json", NULL, NULL));
	assert_string_equal(json_string_value(json_object_get(j, "openapi")), "3.1.0");
	json_t *paths = json_object_get(j, "paths"), *schemas = json_object_get(json_object_get(j, "components"), "schemas");
	assert_int_equal(json_object_size(paths), 16);
	assert_non_null(json_object_get(json_object_get(paths, "/v1/topics/{topic}"), "put"));
	/* Every schema that is named is there. */
	char *text = json_dumps(j, 0);
	for (char *p = text; (p = strstr(p, "#/components/schemas/")) != NULL;) {
		char name[40];
		p += strlen("#/components/schemas/");
		assert_int_equal(sscanf(p, "%39[A-Za-z]", name), 1);
		if (json_object_get(schemas, name) == NULL)
			fail_msg("no schema %s", name);
	}
	free(text);
	json_decref(j);
}

static void the_pages_are_served(void **state)
{
	struct http_call_rig *c = http_rig_ask(&h, "GET", "/", NULL, NULL);
	char tag[64];

	(void)state;
	assert_int_equal(c->status, 200);
	has(http_rig_head(c), "content-security-policy: default-src 'self'");
	has(http_rig_head(c), "x-content-type-options: nosniff\r\n");
	const char *etag = strstr(http_rig_head(c), "etag: ");
	assert_non_null(etag);
	snprintf(tag, sizeof(tag), "if-none-match: W/\"x\", %.18s\n", etag + 6);
	assert_int_equal(http_rig_ask(&h, "GET", "/", tag, NULL)->status, 304);
	assert_int_equal(http_rig_ask(&h, "HEAD", "/", NULL, NULL)->status, 200);
	ask(405, "POST", "/", NULL, "x");
	h.conf.web_ui = false;
	ask(404, "GET", "/", NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(one_message_is_stored_and_named), T(ids_differ), T(options_are_headers_or_parameters), T(what_is_not_known_is_named),
		T(names_in_the_path_are_decoded), T(a_topic_is_made_only_where_that_is_allowed), T(memory_is_named_where_it_is_wanted),
		T(the_body_is_any_bytes), T(a_delayed_message_has_no_place_yet), T(too_big_is_refused), T(a_full_disk_is_said),
		T(too_much_at_once_is_asked_to_come_back), T(a_failed_log_acknowledges_nothing),
		T(who_hangs_up_during_a_publish_leaves_nothing), T(a_batch_has_a_result_for_each), T(lines_are_a_batch), T(a_batch_in_memory_says_so), T(a_batch_is_bounded_before_it_is_read),
		T(an_array_may_be_one_message), T(who_hangs_up_during_a_batch_leaves_nothing), T(hosts_and_origins), T(preflights), T(paths_and_methods),
		T(a_front_that_ends_refuses), T(topics_are_made_changed_and_dropped), T(a_topic_shows_its_queues_and_readers),
		T(groups_are_made_changed_and_dropped), T(offsets_are_set), T(messages_are_found_by_key), T(messages_are_found_by_id),
		T(stored_messages_are_looked_at), T(numbers_are_told), T(the_description_is_json_and_whole), T(the_pages_are_served),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
