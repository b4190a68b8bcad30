/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Messages of the gateway fronts: drafts, what is read from records, text forms, and the checks for browsers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>
#include <zlib.h>

#include "base/mem.h"
#include "base/props.h"
#include "front/front.h"
#include "front/message.h"

#define L(s) SLICE_LIT(s)
static const struct front_conf conf = {.delay_ms = {1000, 5000, 10000}, .hosts = SLICE_LIT("broker.example, *.no"), .origins = SLICE_LIT("https://app.example, http://other:81"),
	.auto_create_topic = true, .default_queues = 4};

static struct slice prop(const struct draft *d, const char *name)
{
	struct slice v = {NULL, 0};

	props_get(buf_view(&d->props), slice_str(name), &v);
	return v;
}
#define assert_text(got, want) do { struct slice g_ = (got); assert_int_equal(g_.n, strlen(want)); assert_memory_equal(g_.p, want, g_.n); } while (0)

/* A record of what a draft holds. */
static uint8_t *store(const struct draft *d, int sys_flag, struct slice body, struct slice *ret)
{
	struct record r = {.topic = L("orders"), .body = body, .props = buf_view(&d->props), .queue = 3, .queue_offset = 7, .position = 1000, .sys_flag = sys_flag,
		.born_ms = 11, .store_ms = 12, .store_ip = 0x7F000001, .store_port = 10911};
	uint32_t n = record_size(&r);
	uint8_t *p = mem_new(n);

	record_encode(&r, p);
	*ret = slice_of(p, n);
	return p;
}

static void fields_go_in_and_come_out(void **state)
{
	(void)state;
	struct draft d;
	struct message m;
	struct slice rec, name, value;
	struct buf b = {0};
	draft_init(&d);
	assert_int_equal(draft_put(&d, MESSAGE_TAG, L("eu")), ST_OK);
	assert_int_equal(draft_put(&d, MESSAGE_KEYS, L("k1 k2")), ST_OK);
	assert_int_equal(draft_put(&d, MESSAGE_ORDER_KEY, L("cust-1")), ST_OK);
	assert_int_equal(draft_put(&d, MESSAGE_CONTENT_TYPE, L("text/plain")), ST_OK);
	assert_int_equal(draft_put(&d, MESSAGE_CORRELATION, L("\0\1\2\xFF")), ST_OK);
	assert_int_equal(draft_put(&d, MESSAGE_REPLY_TO, L("answers")), ST_OK);
	assert_int_equal(draft_put(&d, MESSAGE_EXPIRES, L("1700000000000")), ST_OK);
	assert_int_equal(draft_user(&d, L("colour"), L("gr\xC3\xBCn")), ST_OK);
	assert_int_equal(draft_put(&d, MESSAGE_TAG, L("us")), ST_OK); /* the first one stays */
	uint8_t *p = store(&d, 0, L("hello"), &rec);
	assert_int_equal(message_read(rec, &m), ST_OK);
	assert_text(m.field[MESSAGE_TAG], "eu");
	assert_text(m.field[MESSAGE_KEYS], "k1 k2");
	struct slice c = message_correlation(&m, &b);
	assert_int_equal(c.n, 4);
	assert_memory_equal(c.p, "\0\1\2\xFF", 4);
	assert_int_equal(m.expires_ms, 1700000000000);
	assert_true(message_expired(&m, 1700000000000));
	assert_false(message_expired(&m, 1699999999999));
	struct slice rest = m.r.props;
	assert_true(message_user(&rest, &name, &value));
	assert_text(name, "colour");
	assert_false(message_user(&rest, &name, &value)); /* __CRC32# is no user's */
	buf_reset(&b);
	message_json(&b, &m, L("orders"), 2, 1 << 20);
	assert_text(buf_view(&b), "\"id\":\"7F00000100002A9F00000000000003E8\",\"topic\":\"orders\",\"queue\":3,\"offset\":7,\"tag\":\"eu\",\"keys\":\"k1 k2\","
		"\"orderKey\":\"cust-1\",\"contentType\":\"text/plain\",\"correlationData\":\"base64:AAEC/w==\",\"replyTo\":\"answers\",\"expiresAt\":1700000000000,"
		"\"properties\":{\"colour\":\"gr\xC3\xBCn\"},\"bornAt\":11,\"storedAt\":12,\"attempt\":2,\"body\":\"hello\"");
	mem_free(p);
	buf_fini(&b);
	draft_fini(&d);
}

static void bad_values_are_refused(void **state)
{
	(void)state;
	struct draft d;
	draft_init(&d);
	assert_int_equal(draft_put(&d, MESSAGE_TAG, L("a||b")), ST_ILLEGAL);
	assert_int_equal(draft_put(&d, MESSAGE_KEYS, L("a\1b")), ST_ILLEGAL);
	assert_int_equal(draft_put(&d, MESSAGE_CONTENT_TYPE, L("a\xFF")), ST_ILLEGAL);
	assert_int_equal(draft_put(&d, MESSAGE_EXPIRES, L("soon")), ST_ILLEGAL);
	assert_int_equal(draft_user(&d, L(""), L("x")), ST_ILLEGAL);
	assert_int_equal(draft_user(&d, L("UNIQ_KEY"), L("x")), ST_ILLEGAL);
	assert_int_equal(draft_user(&d, L("__CRC32#"), L("x")), ST_ILLEGAL);
	assert_int_equal(draft_user(&d, L("1ST_POP_TIME"), L("x")), ST_ILLEGAL);
	assert_int_equal(draft_user(&d, L("TIMER_DELAY_MS"), L("x")), ST_ILLEGAL);
	assert_int_equal(draft_user(&d, L("content-type"), L("x")), ST_ILLEGAL);
	assert_int_equal(draft_user(&d, L("a\2"), L("x")), ST_ILLEGAL);
	assert_int_equal(draft_user(&d, L("a"), L("x\0")), ST_ILLEGAL);
	assert_true(strlen(d.why) > 0);
	assert_int_equal(d.props.n, 0);
	assert_int_equal(draft_user(&d, L("TAGS"), L("t")), ST_OK);
	assert_text(prop(&d, "TAGS"), "t");
	assert_int_equal(draft_delay(&d, &conf, 7000), ST_ILLEGAL);
	assert_non_null(strstr(d.why, "1s 5s 10s"));
	assert_int_equal(draft_delay(&d, &conf, 5000), ST_OK);
	assert_text(prop(&d, "DELAY"), "2");
	draft_fini(&d);
}

static void bodies_of_native_clients_are_inflated(void **state)
{
	(void)state;
	struct draft d;
	struct message m;
	struct slice rec;
	struct buf b = {0};
	char text[5000];
	uint8_t packed[6000];
	uLongf n = sizeof(packed);
	memset(text, 'a', sizeof(text));
	assert_int_equal(compress(packed, &n, (const Bytef *)text, sizeof(text)), Z_OK);
	draft_init(&d);
	uint8_t *p = store(&d, SYS_COMPRESSED, slice_of(packed, n), &rec);
	assert_int_equal(message_read(rec, &m), ST_OK);
	struct slice body = message_body(&m, sizeof(text), &b);
	assert_int_equal(body.n, sizeof(text));
	assert_memory_equal(body.p, text, sizeof(text));
	assert_int_equal(message_body(&m, sizeof(text) - 1, &b).n, n); /* over the bound: as it is stored */
	mem_free(p);
	p = store(&d, SYS_COMPRESSED, slice_of(packed, n - 1), &rec);
	assert_int_equal(message_read(rec, &m), ST_OK);
	assert_int_equal(message_body(&m, 1 << 20, &b).n, n - 1);
	mem_free(p);
	p = store(&d, SYS_COMPRESSED, L("no zlib"), &rec);
	assert_int_equal(message_read(rec, &m), ST_OK);
	assert_text(message_body(&m, 1 << 20, &b), "no zlib");
	mem_free(p);
	buf_fini(&b);
	draft_fini(&d);
}

static enum status from_json(struct draft *d, const char *text)
{
	static const char *const mine[] = {"type", NULL};
	json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
	assert_non_null(v);
	draft_reset(d);
	enum status st = draft_json(d, &conf, 1000, v, mine);
	if (st == ST_OK && d->own.n == 0 && d->body.n > 0) {
		buf_slice(&d->own, d->body);
		d->body = buf_view(&d->own);
	}
	d->topic = (struct slice){NULL, 0};
	json_decref(v);
	return st;
}

static void json_becomes_a_draft(void **state)
{
	(void)state;
	struct draft d;
	draft_init(&d);
	assert_int_equal(from_json(&d, "{\"type\":1,\"topic\":\"t\",\"tag\":\"a\",\"keys\":[\"x\",\"y\"],\"delay\":\"5s\",\"expire\":\"2s\",\"properties\":{\"p\":\"q\"},\"queue\":3,\"body\":\"hi\"}"), ST_OK);
	assert_text(prop(&d, "KEYS"), "x y");
	assert_text(prop(&d, "expires-at"), "3000");
	assert_text(prop(&d, "DELAY"), "2");
	assert_text(prop(&d, "p"), "q");
	assert_text(d.body, "hi");
	assert_int_equal(d.queue, 3);
	assert_int_equal(from_json(&d, "{\"json\":{\"a\":[1,2]}}"), ST_OK);
	assert_text(d.body, "{\"a\":[1,2]}");
	assert_text(prop(&d, "content-type"), "application/json");
	assert_int_equal(from_json(&d, "{\"json\":null,\"contentType\":\"x/y\"}"), ST_OK);
	assert_text(d.body, "null");
	assert_text(prop(&d, "content-type"), "x/y");
	assert_int_equal(from_json(&d, "{\"bodyBase64\":\"AP8\"}"), ST_OK);
	assert_int_equal(d.body.n, 2);
	assert_int_equal(from_json(&d, "{\"correlationData\":\"base64:AAEC/w==\",\"body\":\"\"}"), ST_OK);
	assert_text(prop(&d, "correlation-data"), "base64:AAEC/w=="); /* what comes out goes in again */
	static const char *const bad[] = {"[]", "{\"body\":1}", "{\"body\":\"a\",\"json\":1}", "{\"bodyBase64\":\"A\"}", "{\"keys\":[\"a b\"]}", "{\"keys\":[1]}", "{\"queue\":-1}",
		"{\"queue\":\"1\"}", "{\"delay\":\"7s\"}", "{\"delay\":-1}", "{\"expire\":\"x\"}", "{\"expiresAt\":\"2026-13-01T00:00:00Z\"}", "{\"properties\":{\"a\":1}}",
		"{\"properties\":{\"KEYS#\":\"1\",\"WAIT\":\"1\"}}", "{\"frob\":1}", "{\"correlationData\":\"base64:?\"}", "{\"topic\":1}", "{\"tag\":\"a|b\"}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(from_json(&d, bad[i]), ST_ILLEGAL);
		assert_true(strlen(d.why) > 0);
	}
	draft_fini(&d);
}

static void text_forms(void **state)
{
	(void)state;
	struct buf b = {0};
	int64_t ms;
	static const struct { const char *plain, *coded; } pairs[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		buf_reset(&b);
		base64_put(&b, slice_str(pairs[i].plain));
		assert_text(buf_view(&b), pairs[i].coded);
		buf_reset(&b);
		assert_true(base64_get(&b, slice_str(pairs[i].coded)));
		assert_text(buf_view(&b), pairs[i].plain);
	}
	assert_false(base64_get(&b, L("Zh==")));  /* bits that mean nothing */
	assert_false(base64_get(&b, L("Z")));
	assert_false(base64_get(&b, L("Zg=a")));
	buf_reset(&b);
	assert_true(percent_get(&b, L("a%20b+c%c3%BC"), true));
	assert_text(buf_view(&b), "a b c\xC3\xBC");
	assert_false(percent_get(&b, L("a%2"), true));
	assert_false(percent_get(&b, L("%zz"), true));
	buf_fini(&b);
	assert_true(duration_parse(L("90s"), &ms) && ms == 90000);
	assert_true(duration_parse(L("1500"), &ms) && ms == 1500);
	assert_true(duration_parse(L("3d"), &ms) && ms == 259200000);
	assert_false(duration_parse(L("-1s"), &ms));
	assert_false(duration_parse(L("s"), &ms));
	assert_false(duration_parse(L("1w"), &ms));
	assert_false(duration_parse(L("99999999999999999999d"), &ms));
	assert_true(moment_parse(L("1970-01-01T00:00:01.5Z"), &ms) && ms == 1500);
	assert_true(moment_parse(L("2026-01-31T12:00:00+02:00"), &ms) && ms == 1769853600000);
	assert_true(moment_parse(L("2024-02-29T00:00:00Z"), &ms) && ms == 1709164800000);
	assert_false(moment_parse(L("2023-02-29T00:00:00Z"), &ms));
	assert_false(moment_parse(L("2026-01-31T12:00:00"), &ms));
	assert_false(moment_parse(L("2026-01-31"), &ms));
}

static void json_is_bounded_before_it_is_read(void **state)
{
	(void)state;
	assert_true(json_bounded(L("[1,2,3]"), 4));
	assert_false(json_bounded(L("[1,2,3,4]"), 4));
	assert_true(json_bounded(L("[\"a,b,[{:\\\",,,\"]"), 2));
	assert_false(json_bounded(L("[\"\\\\\",1,2]"), 3)); /* an escaped backslash does not escape the quote */
	assert_true(json_bounded(L("\"open, and never [ closed"), 1));
	assert_true(json_bounded(L("\"\\"), 1));
	assert_false(json_bounded(L("[[],[],[]"), 5));
}

static void browsers(void **state)
{
	(void)state;
	assert_true(origin_allowed(&conf, L(""), L("localhost:8080")));
	assert_true(origin_allowed(&conf, L("http://localhost:8080"), L("localhost:8080")));
	assert_true(origin_allowed(&conf, L("https://App.example"), L("localhost:8080")));
	assert_false(origin_allowed(&conf, L("http://app.example"), L("localhost:8080")));
	assert_false(origin_allowed(&conf, L("http://localhost:8081"), L("localhost:8080")));
	assert_false(origin_allowed(&conf, L("null"), L("localhost:8080")));
	assert_false(origin_allowed(&conf, L("http://"), L("")));
	static const char *const good[] = {"localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "[::1]", "broker.example", "broker.example:80", "10.0.0.7"};
	static const char *const bad[] = {"", ":80", "evil.example", "127.0.0.1.evil.example", "localhost.evil", "[::1", "1.2.3", "1.2.3.256", "localhost:99999", "localhost:x", "broker.example.evil"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(host_allowed(&conf, slice_str(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(host_allowed(&conf, slice_str(bad[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_go_in_and_come_out), cmocka_unit_test(bad_values_are_refused), cmocka_unit_test(bodies_of_native_clients_are_inflated),
		cmocka_unit_test(json_becomes_a_draft), cmocka_unit_test(text_forms), cmocka_unit_test(json_is_bounded_before_it_is_read),
		cmocka_unit_test(browsers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
