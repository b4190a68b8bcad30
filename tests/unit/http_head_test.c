/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Heads of requests, cut at every byte; chunked bodies, cut at every byte. What is refused over a socket: tests/scenario/http_carrier.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "front/http/head.h"

static unsigned parse(const char *text, struct http_head *h, uint8_t **ret_copy)
{
	static struct http_header headers[HEAD_HEADERS_MAX];
	const char *why = "";

	*ret_copy = mem_dup(text, strlen(text));
	h->headers = headers;
	return http_head_parse(*ret_copy, strlen(text), h, &why);
}

static void whole_head(void **state)
{
	struct http_head h = {0};
	uint8_t *copy;

	(void)state;
	assert_int_equal(parse("POST /v1/a%20b?c=d&e HTTP/1.1\r\nHost: [::1]:80\r\nContent-LENGTH: 12\r\nGantry-Tag:  x \r\nOrigin: http://a\r\n"
			       "Connection: a,  CLOSE\r\n\r\n", &h, &copy), 0);
	assert_true(slice_eq_str(h.method, "POST") && slice_eq_str(h.path, "/v1/a%20b") && slice_eq_str(h.query, "c=d&e"));
	assert_true(slice_eq_str(h.host, "[::1]:80") && slice_eq_str(h.origin, "http://a"));
	assert_true(h.length == 12 && !h.chunked && !h.http10 && h.close && !h.expect);
	assert_int_equal(h.n_headers, 5);
	assert_true(slice_eq_str(h.headers[2].name, "gantry-tag") && slice_eq_str(h.headers[2].value, "x"));
	mem_free(copy);
	assert_int_equal(parse("OPTIONS * HTTP/1.0\r\nHost: a\r\nConnection:keep-alive\r\n\r\n", &h, &copy), 0);
	assert_true(h.http10 && !h.close && slice_eq_str(h.path, "*") && h.query.n == 0);
	mem_free(copy);
	assert_int_equal(parse("GET HTTP://A.example:80/v1/x?y HTTP/1.1\r\nHost: a.EXAMPLE:80\r\n\r\n", &h, &copy), 0);
	assert_true(slice_eq_str(h.path, "/v1/x") && slice_eq_str(h.query, "y") && slice_eq_str(h.host, "a.EXAMPLE:80"));
	mem_free(copy);
	assert_int_equal(parse("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nTransfer-Encoding: Chunked\r\n\r\n", &h, &copy), 0);
	assert_true(h.expect && h.chunked);
	mem_free(copy);
}

/* The end is found where it is, however the bytes come. */
static void end_of_head(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
	size_t end = sizeof(text) - 1 - 3, scanned = 0;

	(void)state;
	for (size_t n = 0; n < end; n++)
		assert_int_equal(http_head_end(slice_of(text, n), &scanned), 0);
	assert_int_equal(http_head_end(slice_of(text, end), &scanned), end);
	scanned = 0;
	assert_int_equal(http_head_end(slice_of(text, sizeof(text) - 1), &scanned), end);
	assert_int_equal(http_head_lines(slice_of(text, end)), 3);
	scanned = 0;
	assert_int_equal(http_head_end(slice_of("\x16\x03\x01", 3), &scanned), -1);
	scanned = 0;
	assert_int_equal(http_head_end(slice_of("GET\0", 4), &scanned), -1);
	scanned = 0;
	assert_int_equal(http_head_end(slice_of("{", 1), &scanned), -1);
	scanned = 0;
	assert_int_equal(http_head_end(slice_of("GET / HTTP/1.1\r", 15), &scanned), 0);
	assert_int_equal(http_head_end(slice_of("GET / HTTP/1.1\r\n", 16), &scanned), 0);
	assert_int_equal(http_head_end(slice_of("GET / HTTP/1.1\r\n\n", 17), &scanned), -1);
}

static void too_many_lines(void **state)
{
	struct http_head h = {0};
	char text[2048] = "GET / HTTP/1.1\r\nHost: a\r\n";
	uint8_t *copy;

	(void)state;
	for (unsigned i = 1; i < HEAD_HEADERS_MAX; i++)
		strcat(text, "a: b\r\n");
	size_t n = strlen(text);
	strcpy(text + n, "\r\n");
	assert_int_equal(parse(text, &h, &copy), 0);
	assert_int_equal(h.n_headers, HEAD_HEADERS_MAX);
	mem_free(copy);
	strcpy(text + n, "a: b\r\n\r\n");
	assert_int_equal(parse(text, &h, &copy), 431);
	mem_free(copy);
}

/* Cut at every byte: a part of a good head is refused when it is taken for a whole one, and nothing behind it is touched. */
static void cut_heads(void **state)
{
	static const char text[] = "POST /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
	struct http_header headers[HEAD_HEADERS_MAX];
	const char *why;

	(void)state;
	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		uint8_t *exact = mem_grow(NULL, n);
		struct http_head h = {.headers = headers};
		memcpy(exact, text, n);
		why = NULL;
		assert_int_equal(http_head_parse(exact, n, &h, &why), 400);
		assert_non_null(why);
		mem_free(exact);
	}
}

static bool scan(const char *text, size_t cut, struct http_chunks *c)
{
	size_t n = strlen(text);

	*c = (struct http_chunks){0};
	return http_chunks_scan(c, slice_of(text, cut)) && http_chunks_scan(c, slice_of(text + cut, n - cut));
}

static void chunked_bodies(void **state)
{
	static const char fine[] = "5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nA: b\r\n\r\nGET / ";
	static const char *const bad[] = {
		"\r\n", ";a\r\n", "g\r\n", "5 \r\n", "5\n", "5\r\r", "5\r\nhelloX", "5\r\nhello\rX", "5\r\nhello\n", "5;a\nb\r\n", "5;\x01\r\n", "123456789\r\n",
		"0\r\nA\nB", "0\r\n\r\r", "-1\r\n", "0x5\r\n", "5\r\nhello\r\n\r\n",
	};
	struct http_chunks c;

	(void)state;
	for (size_t cut = 0; cut <= sizeof(fine) - 1; cut++) {
		assert_true(scan(fine, cut, &c));
		assert_true(c.state == CHUNK_END && c.total == 15);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (size_t cut = 0; cut <= strlen(bad[i]); cut++)
			if (scan(bad[i], cut, &c))
				fail_msg("%s was taken", bad[i]);
	assert_true(scan("ffffffff\r\n", 3, &c) && c.total == UINT32_MAX);
}

/* What is no data is bounded, too. */
static void chunk_extras(void **state)
{
	struct http_chunks c = {0};
	char a[HEAD_CHUNK_EXTRA];

	(void)state;
	memset(a, 'a', sizeof(a));
	assert_true(http_chunks_scan(&c, slice_str("1;")));
	assert_true(http_chunks_scan(&c, slice_of(a, sizeof(a))));
	assert_false(http_chunks_scan(&c, slice_of(a, 1)));
	c = (struct http_chunks){0};
	assert_true(http_chunks_scan(&c, slice_str("0\r\n")));
	assert_true(http_chunks_scan(&c, slice_of(a, sizeof(a))));
	assert_false(http_chunks_scan(&c, slice_of(a, 1)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_head), cmocka_unit_test(end_of_head), cmocka_unit_test(too_many_lines), cmocka_unit_test(cut_heads),
		cmocka_unit_test(chunked_bodies), cmocka_unit_test(chunk_extras),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
