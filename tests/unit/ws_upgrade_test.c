/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The request that asks for a WebSocket: what passes, what is refused, with which answer, cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "front/websocket/ws_upgrade.h"

static const char *const protocols[] = {"gantry.v1.json", "mqtt", "mqttv3.1", NULL};
static const struct front_conf conf = {.hosts = SLICE_LIT("broker.example"), .origins = SLICE_LIT("https://app.example:8443")};

/* A good request, of which a test changes one line: its name decides which is replaced, an empty text drops it. */
static const char *const lines[] = {
	"GET /v1/ws HTTP/1.1", "Host: localhost:8083", "Origin: http://localhost:8083", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
	"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: gantry.v1.json",
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "User-Agent: test/1.0", "Accept-Language: en-US,en;q=0.5",
};

static size_t name_n(const char *line)
{
	const char *colon = strchr(line, ':');

	return colon == NULL || strncmp(line, "GET", 3) == 0 ? 3 : (size_t)(colon - line);
}

static void build(struct buf *b, const char *which, const char *instead)
{
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		bool it = which != NULL && strlen(which) == name_n(lines[i]) && strncmp(which, lines[i], strlen(which)) == 0;
		const char *line = it ? instead : lines[i];
		if (line[0] != '\0' || !it) {
			buf_str(b, line);
			buf_str(b, "\r\n");
		}
	}
	buf_str(b, "\r\n");
}

/* Exactly the bytes, on the heap, so that a look beyond their end is caught. */
static enum upgrade_got read_exact(struct slice s, struct upgrade *u, struct slice *ret_copy)
{
	uint8_t *copy = malloc(s.n > 0 ? s.n : 1);

	assert_non_null(copy);
	if (s.n > 0)
		memcpy(copy, s.p, s.n);
	*ret_copy = slice_of(copy, s.n);
	return upgrade_read(*ret_copy, &conf, protocols, u);
}

static unsigned status_of(struct slice head)
{
	struct upgrade u;
	struct slice copy;
	enum upgrade_got got = read_exact(head, &u, &copy);
	unsigned status = got == UPGRADE_GOT ? 101 : got == UPGRADE_MORE ? 0 : u.status;

	if (got == UPGRADE_REFUSED) {
		struct buf b = {0};
		char start[32];
		upgrade_refusal(&b, &u, protocols);
		snprintf(start, sizeof(start), "HTTP/1.1 %u ", u.status);
		assert_memory_equal(b.p, start, strlen(start));
		assert_non_null(memmem(b.p, b.n, "\r\n\r\n", 4));
		assert_non_null(memmem(b.p, b.n, "gantry.v1.json", 14));
		assert_true((memmem(b.p, b.n, "Sec-WebSocket-Version: 13", 25) != NULL) == (u.status == 426));
		buf_fini(&b);
	}
	free((void *)(uintptr_t)copy.p);
	return status;
}

static unsigned with(const char *which, const char *instead)
{
	struct buf b = {0};
	unsigned status;

	build(&b, which, instead);
	status = status_of(buf_view(&b));
	buf_fini(&b);
	return status;
}

static void test_good(void **state)
{
	(void)state;
	static const char *const good[][2] = {
		{NULL, NULL}, {"GET", "GET / HTTP/1.1"}, {"GET", "GET /ws HTTP/1.1"}, {"GET", "GET /mqtt?x=1 HTTP/1.1"}, {"Host", "Host: 127.0.0.1"},
		{"Host", "host:broker.example:8083"}, {"Origin", ""}, {"Origin", "Origin: https://app.example:8443"}, {"Host", "Host: [::1]:8083\r\nX: y"},
		{"Upgrade", "UPGRADE:  WebSocket\t"}, {"Connection", "connection:Upgrade"}, {"Connection", "Connection: upgrade , keep-alive"},
		{"Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: foo,mqtt , gantry.v1.json"}, {"Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqttv3.1"},
		{"Sec-WebSocket-Extensions", ""}, {"User-Agent", "Content-Length: 0"}, {"User-Agent", "Cookie: a=b; c=\"d\""},
	};
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		bool foreign = good[i][0] != NULL && strcmp(good[i][0], "Host") == 0; /* then the Origin is not the Host's any more */
		struct buf b = {0};
		build(&b, good[i][0], good[i][1]);
		unsigned status = status_of(buf_view(&b));
		if (status != (foreign && status == 403 ? 403 : 101))
			fail_msg("%s: %u", good[i][1], status);
		buf_fini(&b);
	}
}

static void test_chosen(void **state)
{
	(void)state;
	static const struct { const char *offered; const char *chosen; } rows[] = {
		{"gantry.v1.json", "gantry.v1.json"}, {"mqtt, gantry.v1.json", "mqtt"}, {"x, mqttv3.1,mqtt", "mqttv3.1"}, {"graphql-ws,  gantry.v1.json", "gantry.v1.json"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf b = {0}, plain = {0};
		char line[128];
		struct upgrade u;
		snprintf(line, sizeof(line), "Sec-WebSocket-Protocol: %s", rows[i].offered);
		build(&b, "Sec-WebSocket-Protocol", line);
		size_t n = b.n;
		buf_str(&b, "\x81\x85" "frame that came with it");
		assert_int_equal(upgrade_read(buf_view(&b), &conf, protocols, &u), UPGRADE_GOT);
		assert_int_equal(u.bytes, n);
		assert_string_equal(protocols[u.protocol], rows[i].chosen);
		assert_true(slice_eq_str(u.key, "dGhlIHNhbXBsZSBub25jZQ=="));
		assert_true(slice_eq_str(u.origin, "http://localhost:8083"));
		/* What the library reads says the same, and passes the same check. */
		upgrade_plain(&plain, &u, protocols);
		struct upgrade again;
		assert_int_equal(upgrade_read(buf_view(&plain), &conf, protocols, &again), UPGRADE_GOT);
		assert_int_equal(again.protocol, u.protocol);
		assert_int_equal(again.bytes, plain.n);
		buf_fini(&b);
		buf_fini(&plain);
	}
}

static void test_refused(void **state)
{
	(void)state;
	static const struct { unsigned status; const char *which, *instead; } rows[] = {
		/* the request line */
		{405, "GET", "POST /v1/ws HTTP/1.1"}, {405, "GET", "get / HTTP/1.1"}, {405, "GET", "PRI * HTTP/2.0"}, {400, "GET", "\x16\x03\x01\x02"}, {400, "GET", " GET / HTTP/1.1"},
		{400, "GET", "GET / HTTP/1.0"}, {400, "GET", "GET / HTTP/2"}, {400, "GET", "GET / HTTP/1.1 "}, {400, "GET", "GET /"}, {400, "GET", "GET  / HTTP/1.1"},
		{400, "GET", "GET http://localhost/ HTTP/1.1"}, {400, "GET", "GET * HTTP/1.1"}, {400, "GET", "GET /\xc3\xa4 HTTP/1.1"}, {400, "GET", "GET /a b HTTP/1.1"},
		{404, "GET", "GET /wsx HTTP/1.1"}, {404, "GET", "GET /../ HTTP/1.1"}, {404, "GET", "GET //ws HTTP/1.1"}, {404, "GET", "GET /%77s HTTP/1.1"}, {405, "GET", ""},
		/* Host and Origin */
		{400, "Host", ""}, {400, "Host", "Host: localhost\r\nHost: localhost"}, {403, "Host", "Host: evil.example"}, {403, "Host", "Host:"}, {400, "Host", "Host : localhost"},
		{403, "Host", "Host: localhost.evil.example"}, {403, "Host", "Host: 127.0.0.1.evil.example"}, {403, "Origin", "Origin: http://evil.example"},
		{403, "Origin", "Origin: null"}, {403, "Origin", "Origin: http://localhost:9999"}, {403, "Origin", "Origin: http://localhost:8083.evil.example"},
		{403, "Origin", "Origin: http://app.example:8443"}, {400, "Origin", "Origin: http://localhost:8083\r\norigin: http://localhost:8083"},
		/* Upgrade and Connection */
		{426, "Upgrade", ""}, {400, "Upgrade", "Upgrade:"}, {400, "Upgrade", "Upgrade: h2c"}, {400, "Upgrade", "Upgrade: websocket, h2c"}, {400, "Upgrade", "Upgrade: websocketx"},
		{400, "Upgrade", "Upgrade: web socket"}, {400, "Upgrade", "Upgrade: \"websocket\""}, {400, "Upgrade", "Upgrade: websocket\r\nUpgrade: websocket"},
		{400, "Upgrade", "Upgrade:\r\n websocket"}, {400, "Connection", ""}, {400, "Connection", "Connection: close"}, {400, "Connection", "Connection: upgraded"},
		{400, "Connection", "Connection: up"}, {400, "Connection", "Connection: upgrade;"}, {400, "Connection", "Connection: ,upgrade"},
		{400, "Connection", "Connection: Upgrade\r\nConnection: close"},
		/* the WebSocket's own */
		{426, "Sec-WebSocket-Version", ""}, {426, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"}, {426, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 13, 8"},
		{426, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 013"}, {400, "Sec-WebSocket-Key", ""}, {400, "Sec-WebSocket-Key", "Sec-WebSocket-Key: short"},
		{400, "Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ="}, {400, "Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="},
		{400, "Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==="}, {400, "Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhl*HNhbXBsZSBub25jZQ=="},
		{400, "Sec-WebSocket-Protocol", ""}, {400, "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol:"}, {400, "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: soap"},
		{400, "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: GANTRY.V1.JSON"}, {400, "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqtt;"},
		{400, "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqtt,"}, {400, "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: gantry.v1.json mqtt"},
		{400, "Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: gantry.v1.json"},
		{400, "Sec-WebSocket-Extensions", "Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b"},
		/* anything else that is wrong */
		{400, "User-Agent", "Content-Length: 5"}, {400, "User-Agent", "Content-Length: 0\r\nContent-Length: 0"}, {400, "User-Agent", "Transfer-Encoding: chunked"},
		{400, "User-Agent", "NoColon"}, {400, "User-Agent", ": nameless"}, {400, "User-Agent", "Na me: x"}, {400, "User-Agent", "X: a\r\n folded"}, {400, "User-Agent", "X: a\r\n\tfolded"},
		{400, "User-Agent", "X: a\nY: b"}, {400, "User-Agent", "X: a\rY: b"}, {400, "User-Agent", "X: \x01"}, {400, "User-Agent", "X: \x7f"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		unsigned status = with(rows[i].which, rows[i].instead);
		if (status != rows[i].status)
			fail_msg("\"%s\" was answered %u instead of %u", rows[i].instead, status, rows[i].status);
	}
}

static void test_nul(void **state)
{
	(void)state;
	struct buf b = {0};

	build(&b, NULL, NULL);
	for (size_t i = 0; i < b.n; i++) {
		uint8_t was = b.p[i];
		b.p[i] = 0;
		unsigned status = status_of(buf_view(&b));
		if (status == 101 || status == 0)
			fail_msg("a NUL at byte %zu was taken", i);
		b.p[i] = was;
	}
	buf_fini(&b);
}

/* Whatever comes first, the rest is waited for; nothing is refused early that would pass when it is whole. */
static void test_cut(void **state)
{
	(void)state;
	struct buf b = {0};

	build(&b, NULL, NULL);
	for (size_t n = 0; n < b.n; n++)
		if (status_of(slice_of(b.p, n)) != 0)
			fail_msg("judged after %zu of %zu bytes", n, b.n);
	assert_int_equal(status_of(buf_view(&b)), 101);
	buf_fini(&b);
}

static void test_bounds(void **state)
{
	(void)state;
	struct buf b = {0};

	/* the longest head that is read, and one byte more */
	for (int over = 0; over < 2; over++) {
		buf_reset(&b);
		build(&b, NULL, NULL);
		b.n -= 2;
		buf_str(&b, "X: ");
		while (b.n < UPGRADE_HEAD_MAX - 4 + (size_t)over)
			buf_u8(&b, 'x');
		buf_str(&b, "\r\n\r\n");
		assert_int_equal(status_of(buf_view(&b)), over ? 431 : 101);
	}
	for (unsigned n = 0; n < 2; n++) {
		buf_reset(&b);
		build(&b, NULL, NULL);
		b.n -= 2;
		for (unsigned i = 0; i < UPGRADE_HEADERS_MAX - (ARRAY_LEN(lines) - 1) + n; i++)
			buf_str(&b, "a: b\r\n");
		buf_str(&b, "\r\n");
		assert_int_equal(status_of(buf_view(&b)), n ? 400 : 101);
	}
	buf_reset(&b);
	buf_str(&b, "GET /");
	while (b.n < UPGRADE_HEAD_MAX - 1)
		buf_u8(&b, 'a');
	assert_int_equal(status_of(buf_view(&b)), 0);
	buf_u8(&b, 'a');
	assert_int_equal(status_of(buf_view(&b)), 431);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_chosen), cmocka_unit_test(test_refused), cmocka_unit_test(test_nul), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
