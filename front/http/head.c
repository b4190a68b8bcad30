/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "front/http/head.h"

#include "base/obj.h"

enum { LENGTH_DIGITS = 18, CHUNK_DIGITS = 8 };

/* Bytes of a token (RFC 9110 5.6.2). */
static bool is_token(uint8_t c)
{
	static const bool token[256] = {
		['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1, ['^'] = 1,
		['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['a' ... 'z'] = 1, ['A' ... 'Z'] = 1,
	};

	return token[c];
}

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c; }

static bool eq_nocase(struct slice a, const char *b)
{
	size_t n = strlen(b);

	if (a.n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (lower(a.p[i]) != (uint8_t)b[i])
			return false;
	return true;
}

static bool same_nocase(struct slice a, struct slice b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

ptrdiff_t http_head_end(struct slice in, size_t *scanned)
{
	size_t from = *scanned > 3 ? *scanned - 3 : 0;
	const uint8_t *end = memmem(in.p + from, in.n - from, "\r\n\r\n", 4);

	if (end != NULL)
		return end + 4 - in.p;
	/* Something else than HTTP would leave us waiting for an end that never comes. */
	for (size_t i = *scanned; i < in.n; i++)
		if (in.p[i] == 0x7f || (in.p[i] < 0x20 && in.p[i] != '\r' && in.p[i] != '\n' && in.p[i] != '\t') ||
		    (in.p[i] == '\n' && (i == 0 || in.p[i - 1] != '\r')))
			return -1;
	if (in.n > 0 && !is_token(in.p[0]))
		return -1;
	*scanned = in.n;
	return 0;
}

unsigned http_head_lines(struct slice head)
{
	const uint8_t *p = head.p, *end = head.p + head.n;
	unsigned n = 0;

	while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
		n++;
		p++;
	}
	return n;
}

/* Takes the next line off, without its CRLF. False: a line that ends otherwise, or a control character in it. */
static bool next_line(struct slice *rest, struct slice *ret)
{
	const uint8_t *lf = rest->n == 0 ? NULL : memchr(rest->p, '\n', rest->n);

	if (lf == NULL || lf == rest->p || lf[-1] != '\r')
		return false;
	*ret = slice_of(rest->p, (size_t)(lf - 1 - rest->p));
	*rest = slice_skip(*rest, (size_t)(lf + 1 - rest->p));
	for (size_t i = 0; i < ret->n; i++)
		if (ret->p[i] == 0x7f || (ret->p[i] < 0x20 && ret->p[i] != '\t'))
			return false;
	return true;
}

static unsigned refuse(unsigned status, const char **ret_why, const char *why)
{
	*ret_why = why;
	return status;
}

static bool host_fine(struct slice host);

/* "http://HOST/path", as a proxy is asked: the host goes to *ret_host, and the target begins at the path. */
static bool absolute_form(struct slice *target, struct slice *ret_host)
{
	static const char *const schemes[] = {"http://", "https://"};

	for (unsigned i = 0; i < ARRAY_LEN(schemes); i++) {
		size_t n = strlen(schemes[i]);
		if (target->n < n || !eq_nocase(slice_of(target->p, n), schemes[i]))
			continue;
		struct slice rest = slice_skip(*target, n);
		const uint8_t *path = rest.n == 0 ? NULL : memchr(rest.p, '/', rest.n);
		if (path == NULL)
			return false;
		*ret_host = slice_of(rest.p, (size_t)(path - rest.p));
		*target = slice_skip(rest, ret_host->n);
		return host_fine(*ret_host);
	}
	return false;
}

static unsigned request_line(struct slice line, struct http_head *h, const char **ret_why)
{
	const uint8_t *sp = memchr(line.p, ' ', line.n), *sp2;
	struct slice target, version;

	if (sp == NULL || (sp2 = memchr(sp + 1, ' ', line.n - (size_t)(sp + 1 - line.p))) == NULL)
		return refuse(400, ret_why, "the request line is not METHOD TARGET VERSION");
	h->method = slice_of(line.p, (size_t)(sp - line.p));
	target = slice_of(sp + 1, (size_t)(sp2 - sp - 1));
	version = slice_skip(line, (size_t)(sp2 + 1 - line.p));
	for (size_t i = 0; i < h->method.n; i++)
		if (!is_token(h->method.p[i]))
			return refuse(400, ret_why, "the method is not a token");
	if (h->method.n == 0)
		return refuse(400, ret_why, "there is no method");
	if (version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0 || version.p[6] != '.')
		return refuse(400, ret_why, "the request line does not end in a version of HTTP");
	if (version.p[5] != '1' || (version.p[7] != '0' && version.p[7] != '1'))
		return refuse(505, ret_why, "only HTTP/1.1 and HTTP/1.0 are spoken here");
	h->http10 = version.p[7] == '0';
	h->close = h->http10;
	for (size_t i = 0; i < target.n; i++)
		if (target.p[i] <= 0x20 || target.p[i] >= 0x7f || target.p[i] == '#')
			return refuse(400, ret_why, "the request target has characters that must be percent-encoded");
	if (slice_eq_str(target, "*") && slice_eq_str(h->method, "OPTIONS"))
		h->path = target;
	else if ((target.n == 0 || target.p[0] != '/') && !absolute_form(&target, &h->host))
		return refuse(400, ret_why, "the request target is neither a path that begins with a slash nor http://HOST/PATH");
	const uint8_t *q = memchr(target.p, '?', target.n);
	h->path = q == NULL ? target : slice_of(target.p, (size_t)(q - target.p));
	h->query = q == NULL ? (struct slice){NULL, 0} : slice_skip(target, (size_t)(q + 1 - target.p));
	return 0;
}

/* A name, an address, or one in brackets, with or without a port. */
static bool host_fine(struct slice host)
{
	if (host.n == 0)
		return false;
	for (size_t i = 0; i < host.n; i++) {
		uint8_t c = host.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != 0 && strchr(".-_:[]%~", c) != NULL)))
			return false;
	}
	return true;
}

struct seen {
	bool host, length, encoding, expect, keep_alive;
};

static unsigned content_length(struct slice value, struct http_head *h, const char **ret_why)
{
	/* At most 18 digits: no sum with it overflows. */
	if (value.n == 0 || value.n > LENGTH_DIGITS)
		return refuse(400, ret_why, "Content-Length is not a number of bytes");
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < '0' || value.p[i] > '9')
			return refuse(400, ret_why, "Content-Length is not a number of bytes");
	CHECK(slice_u64(value, &h->length));
	return 0;
}

/* The headers that say where the request ends and whom it is for. */
static unsigned one_header(struct slice name, struct slice value, struct http_head *h, struct seen *seen, const char **ret_why)
{
	if (slice_eq_str(name, "host")) {
		if (seen->host || !host_fine(value))
			return refuse(400, ret_why, seen->host ? "Host is there twice" : "Host is not a host");
		seen->host = true;
		if (h->host.n > 0 && !same_nocase(h->host, value))
			return refuse(400, ret_why, "Host and the request target contradict each other");
		h->host = value;
	} else if (slice_eq_str(name, "content-length")) {
		if (seen->length)
			return refuse(400, ret_why, "Content-Length is there twice");
		seen->length = true;
		return content_length(value, h, ret_why);
	} else if (slice_eq_str(name, "transfer-encoding")) {
		if (seen->encoding)
			return refuse(400, ret_why, "Transfer-Encoding is there twice");
		if (!eq_nocase(value, "chunked"))
			return refuse(400, ret_why, "the only Transfer-Encoding is chunked");
		seen->encoding = h->chunked = true;
	} else if (slice_eq_str(name, "expect")) {
		if (seen->expect || !eq_nocase(value, "100-continue"))
			return refuse(417, ret_why, "the only expectation is 100-continue");
		seen->expect = h->expect = true;
	} else if (slice_eq_str(name, "connection")) {
		struct slice token;
		while (slice_split(&value, ',', &token)) {
			token = slice_trim(token);
			h->close |= eq_nocase(token, "close");
			seen->keep_alive |= eq_nocase(token, "keep-alive");
		}
	} else if (slice_eq_str(name, "origin")) {
		if (h->origin.n > 0)
			return refuse(400, ret_why, "Origin is there twice");
		h->origin = value;
	}
	return 0;
}

static unsigned header_line(struct slice line, struct http_head *h, struct seen *seen, const char **ret_why)
{
	uint8_t *p = (uint8_t *)(uintptr_t)line.p;
	size_t n = 0;

	while (n < line.n && is_token(p[n])) {
		p[n] = lower(p[n]);
		n++;
	}
	/* This also refuses a folded line, and a blank before the colon. */
	if (n == 0 || n == line.n || p[n] != ':')
		return refuse(400, ret_why, "a header line is not NAME: VALUE");
	if (h->n_headers == HEAD_HEADERS_MAX)
		return refuse(431, ret_why, "too many header lines");
	struct http_header *to = &h->headers[h->n_headers++];
	to->name = slice_of(p, n);
	to->value = slice_trim(slice_skip(line, n + 1));
	return one_header(to->name, to->value, h, seen, ret_why);
}

unsigned http_head_parse(uint8_t *p, size_t n, struct http_head *ret, const char **ret_why)
{
	struct slice rest = slice_of(p, n), line;
	struct http_header *room = ret->headers;
	struct seen seen = {0};
	unsigned status;

	*ret = (struct http_head){.headers = room};
	if (!next_line(&rest, &line))
		return refuse(400, ret_why, "the request line has control characters, or does not end in CRLF");
	status = request_line(line, ret, ret_why);
	while (status == 0) {
		if (!next_line(&rest, &line))
			return refuse(400, ret_why, "a header line has control characters, or does not end in CRLF");
		if (line.n == 0)
			break;
		status = header_line(line, ret, &seen, ret_why);
	}
	if (status != 0)
		return status;
	if (rest.n != 0)
		return refuse(400, ret_why, "the head goes on behind its end");
	if (!seen.host)
		return refuse(400, ret_why, "Host is missing");
	if (ret->chunked && (seen.length || ret->http10))
		return refuse(400, ret_why, seen.length ? "Content-Length and Transfer-Encoding contradict each other" :
							  "HTTP/1.0 knows no Transfer-Encoding");
	if (ret->expect && ret->http10)
		return refuse(417, ret_why, "HTTP/1.0 knows no expectations");
	if (seen.keep_alive && ret->http10)
		ret->close = false;
	return 0;
}

/* ---- Chunked bodies ------------------------------------------------------------------------------------------------------------ */

static int hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool chunk_size(struct http_chunks *c, uint8_t b)
{
	int v = hex(b);

	if (v >= 0) {
		c->left = c->left << 4 | (uint64_t)v;
		return ++c->digits <= CHUNK_DIGITS;
	}
	c->state = b == '\r' ? CHUNK_LF : CHUNK_EXT;
	return c->digits > 0 && (b == '\r' || b == ';');
}

/* Behind a line of a size comes its data; behind the last one the trailer. */
static bool chunk_begins(struct http_chunks *c, uint8_t b)
{
	c->total += c->left;
	c->state = c->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
	c->line = 0;
	return b == '\n';
}

static bool chunk_byte(struct http_chunks *c, uint8_t b)
{
	bool control = b == 0x7f || (b < 0x20 && b != '\t');

	switch (c->state) {
	case CHUNK_SIZE:
		return chunk_size(c, b);
	case CHUNK_EXT:
		if (b == '\r')
			c->state = CHUNK_LF;
		return (b == '\r' || !control) && ++c->extra <= HEAD_CHUNK_EXTRA;
	case CHUNK_LF:
		return chunk_begins(c, b);
	case CHUNK_DATA_CR:
		c->state = CHUNK_DATA_LF;
		return b == '\r';
	case CHUNK_DATA_LF:
		c->state = CHUNK_SIZE;
		c->digits = 0;
		c->left = 0;
		return b == '\n';
	case CHUNK_TRAILER:
		if (b == '\r')
			c->state = CHUNK_TRAILER_LF;
		else
			c->line++;
		return (b == '\r' || !control) && ++c->extra <= HEAD_CHUNK_EXTRA;
	case CHUNK_TRAILER_LF:
		c->state = c->line == 0 ? CHUNK_END : CHUNK_TRAILER;
		c->line = 0;
		return b == '\n';
	case CHUNK_DATA:
	case CHUNK_END:
		break;
	}
	PANIC("data is skipped, the end is not passed: %d", (int)c->state);
}

bool http_chunks_scan(struct http_chunks *c, struct slice more)
{
	while (more.n > 0 && c->state != CHUNK_END) {
		if (c->state == CHUNK_DATA) {
			size_t n = more.n < c->left ? more.n : (size_t)c->left;
			c->left -= n;
			more = slice_skip(more, n);
			if (c->left == 0)
				c->state = CHUNK_DATA_CR;
			continue;
		}
		if (!chunk_byte(c, more.p[0]))
			return false;
		more = slice_skip(more, 1);
	}
	return true;
}

/* ---- Status lines --------------------------------------------------------------------------------------------------------------- */

const char *http_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *text;
	} reasons[] = {
		{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {206, "Partial Content"}, {207, "Multi-Status"},
		{301, "Moved Permanently"}, {302, "Found"}, {303, "See Other"}, {304, "Not Modified"}, {307, "Temporary Redirect"},
		{308, "Permanent Redirect"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
		{405, "Method Not Allowed"}, {406, "Not Acceptable"}, {408, "Request Timeout"}, {409, "Conflict"}, {410, "Gone"},
		{411, "Length Required"}, {412, "Precondition Failed"}, {413, "Content Too Large"}, {414, "URI Too Long"},
		{415, "Unsupported Media Type"}, {416, "Range Not Satisfiable"}, {417, "Expectation Failed"}, {421, "Misdirected Request"},
		{422, "Unprocessable Content"}, {429, "Too Many Requests"}, {431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"}, {501, "Not Implemented"}, {502, "Bad Gateway"}, {503, "Service Unavailable"},
		{504, "Gateway Timeout"}, {505, "HTTP Version Not Supported"}, {507, "Insufficient Storage"},
	};

	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}
