/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The JSON header: one flat object with one object of texts in it. A document parser would cost several times what the
 * rest of a request costs, so this is a scanner for just that shape. Keys come in any order with any white space; what
 * is not known is skipped.
 *
 * Strings without escapes stay where they are. Those with escapes are written into the scratch buffer, which is made
 * large enough for the whole header at the first of them: unescaping never makes a string longer, so the slices into it
 * do not move.
 */
#include "wire/scan.h"

#include "base/obj.h"
#include "base/text.h"

enum {
	SKIP_DEPTH = 16, /* of values under unknown keys */
	SHORT = 4,       /* strings up to here are read byte by byte */
};

struct scan {
	const uint8_t *p, *end;
	size_t size;           /* of the whole header */
	struct buf *scratch;
	bool room;             /* scratch is large enough */
	const char *why;       /* the first fault */
};

static bool bad(struct scan *s, const char *why)
{
	if (s->why == NULL)
		s->why = why;
	return false;
}

static inline void blanks(struct scan *s)
{
	while (s->p < s->end && *s->p <= ' ' && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
		s->p++;
}

/* Takes 'c', with blanks before it. */
static inline bool take(struct scan *s, uint8_t c)
{
	blanks(s);
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Four hex digits at p; -1 when they are not. */
static int32_t hex4(const uint8_t *p, const uint8_t *end)
{
	int32_t v = 0;
	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int d = hex_digit(p[i]);
		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

static size_t utf8_put(uint8_t *to, uint32_t c)
{
	if (c < 0x80) {
		to[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (uint8_t)(0xC0 | c >> 6);
		to[1] = (uint8_t)(0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (uint8_t)(0xE0 | c >> 12);
		to[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
		to[2] = (uint8_t)(0x80 | (c & 0x3F));
		return 3;
	}
	to[0] = (uint8_t)(0xF0 | c >> 18);
	to[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
	to[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
	to[3] = (uint8_t)(0x80 | (c & 0x3F));
	return 4;
}

/*
 * What stands behind \u, s->p being at the first hex digit; half of a surrogate pair without the other becomes U+FFFD.
 */
static bool unicode(struct scan *s, uint8_t *to, size_t *n)
{
	int32_t c = hex4(s->p, s->end);
	if (c < 0)
		return bad(s, "header has a bad \\u escape");
	s->p += 4;
	if (c >= 0xD800 && c < 0xDC00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
		int32_t low = hex4(s->p + 2, s->end);
		if (low >= 0xDC00 && low < 0xE000) {
			s->p += 6;
			*n += utf8_put(to + *n, 0x10000u + ((uint32_t)(c - 0xD800) << 10) + (uint32_t)(low - 0xDC00));
			return true;
		}
	}
	if (c >= 0xD800 && c < 0xE000)
		c = 0xFFFD;
	*n += utf8_put(to + *n, (uint32_t)c);
	return true;
}

/* The first quote or backslash from p on; 'end' when there is none. */
static const uint8_t *to_quote_or_escape(const uint8_t *p, const uint8_t *end)
{
	for (; (size_t)(end - p) >= TEXT_STEP; p += TEXT_STEP) {
		uint64_t v = text_load(p), marks = text_is(v, '"') | text_is(v, '\\');
		if (marks != 0)
			return p + text_first(marks);
	}
	while (p < end && *p != '"' && *p != '\\')
		p++;
	return p;
}

/* The rest of a string that has escapes: 'start' is behind its opening quote, s->p at the first backslash. */
static bool unescape(struct scan *s, const uint8_t *start, struct slice *ret)
{
	if (!s->room) {
		if (buf_room(s->scratch, s->size) == NULL)
			return bad(s, "header is over the bound of the scratch memory");
		s->room = true;
	}
	uint8_t *to = s->scratch->p + s->scratch->n;
	size_t n = (size_t)(s->p - start);
	memcpy(to, start, n);
	while (s->p < s->end && *s->p != '"') {
		uint8_t c = *s->p;
		if (c != '\\') {
			const uint8_t *next = to_quote_or_escape(s->p, s->end);
			memcpy(to + n, s->p, (size_t)(next - s->p));
			n += (size_t)(next - s->p);
			s->p = next;
			continue;
		}
		s->p++;
		if (s->p == s->end)
			break;
		c = *s->p++;
		switch (c) {
		case 'b': to[n++] = '\b'; break;
		case 'f': to[n++] = '\f'; break;
		case 'n': to[n++] = '\n'; break;
		case 'r': to[n++] = '\r'; break;
		case 't': to[n++] = '\t'; break;
		case '"': case '\\': case '/': to[n++] = c; break;
		case 'u':
			if (!unicode(s, to, &n))
				return false;
			break;
		default:
			return bad(s, "header has an unknown escape");
		}
	}
	if (s->p == s->end)
		return bad(s, "header has an unfinished string");
	s->p++;
	buf_used(s->scratch, n);
	*ret = slice_of(to, n);
	return true;
}

static bool string(struct scan *s, struct slice *ret)
{
	if (!take(s, '"'))
		return bad(s, "header lacks a string where one must be");
	const uint8_t *start = s->p, *p = start, *end = s->end;
	/* Most strings of a header are a letter or a small number. */
	while (p < end && *p != '"' && *p != '\\' && p < start + SHORT)
		p++;
	if (p == start + SHORT)
		p = to_quote_or_escape(p, end);
	s->p = p;
	if (p == end)
		return bad(s, "header has an unfinished string");
	if (*p == '\\')
		return unescape(s, start, ret);
	s->p++;
	*ret = slice_of(start, (size_t)(p - start));
	return true;
}

/* A number, true, false or null, as its text. */
static bool word(struct scan *s, struct slice *ret)
{
	blanks(s);
	const uint8_t *start = s->p;
	while (s->p < s->end && ((*s->p >= '0' && *s->p <= '9') || (*s->p >= 'a' && *s->p <= 'z') || *s->p == '-' || *s->p == '+' ||
	                         *s->p == '.' || *s->p == 'E'))
		s->p++;
	*ret = slice_of(start, (size_t)(s->p - start));
	bool number = ret->n > 0 && (start[0] == '-' || (start[0] >= '0' && start[0] <= '9'));
	if (number || slice_eq_str(*ret, "true") || slice_eq_str(*ret, "false") || slice_eq_str(*ret, "null"))
		return true;
	return bad(s, "header has a value that is not JSON");
}

/* A string, or a word as text; *ret_null: it was null. */
static bool text(struct scan *s, struct slice *ret, bool *ret_null)
{
	blanks(s);
	*ret_null = false;
	if (s->p < s->end && *s->p == '"')
		return string(s, ret);
	if (!word(s, ret))
		return false;
	*ret_null = slice_eq_str(*ret, "null");
	return true;
}

static bool skip(struct scan *s, unsigned depth)
{
	struct slice ignored;
	bool null;
	blanks(s);
	bool object = s->p < s->end && *s->p == '{';
	if (!object && (s->p == s->end || *s->p != '['))
		return text(s, &ignored, &null);
	if (depth == 0)
		return bad(s, "header is nested too deeply");
	uint8_t close = object ? '}' : ']';
	s->p++;
	if (take(s, close))
		return true;
	do {
		if (object && (!string(s, &ignored) || !take(s, ':')))
			return bad(s, "header has an object without a colon");
		if (!skip(s, depth - 1))
			return false;
	} while (take(s, ','));
	return take(s, close) || bad(s, "header has an unfinished object or array");
}

static bool integer(struct scan *s, int32_t *ret)
{
	struct slice t;
	bool null;
	int64_t v = 0;
	if (!text(s, &t, &null))
		return false;
	if (!null && (!slice_i64(t, &v) || v < INT32_MIN || v > INT32_MAX))
		return bad(s, "header has a number that is not a 32-bit integer");
	*ret = (int32_t)v;
	return true;
}

static uint8_t language_of(struct slice t)
{
	uint64_t number;
	for (uint8_t i = 0; i < WIRE_LANGUAGE_COUNT; i++)
		if (slice_eq_str(t, wire_language_name(i)))
			return i;
	return slice_u64(t, &number) && number < WIRE_LANGUAGE_COUNT ? (uint8_t)number : WIRE_OTHER;
}

static bool ext_fields(struct scan *s, uint32_t exts, struct wire_cmd *c)
{
	struct slice t;
	bool null;
	c->n_ext = 0;
	if (!take(s, '{'))
		return (text(s, &t, &null) && null) || bad(s, "extFields is not an object");
	if (take(s, '}'))
		return true;
	do {
		struct wire_ext e;
		if (!string(s, &e.name))
			return false;
		if (!take(s, ':'))
			return bad(s, "header has an object without a colon");
		if (!text(s, &e.value, &null))
			return false;
		if (null)
			continue;
		if (c->n_ext == exts)
			return bad(s, "header has too many extension fields");
		c->ext[c->n_ext++] = e;
	} while (take(s, ','));
	return take(s, '}') || bad(s, "header has an unfinished object or array");
}

/* One member of the header's object, its colon taken already. */
static bool member(struct scan *s, struct slice key, uint32_t exts, struct wire_cmd *c, bool *ret_code)
{
	struct slice t;
	bool null;
	switch (key.n) {
	case 4:
		if (memcmp(key.p, "code", 4) == 0) {
			*ret_code = true;
			return integer(s, &c->code);
		}
		if (memcmp(key.p, "flag", 4) == 0)
			return integer(s, &c->flag);
		break;
	case 6:
		if (memcmp(key.p, "opaque", 6) == 0)
			return integer(s, &c->opaque);
		if (memcmp(key.p, "remark", 6) == 0) {
			if (!text(s, &t, &null))
				return false;
			c->remark = null ? slice_of(NULL, 0) : t;
			return true;
		}
		break;
	case 7:
		if (memcmp(key.p, "version", 7) == 0)
			return integer(s, &c->version);
		break;
	case 8:
		if (memcmp(key.p, "language", 8) == 0) {
			if (!text(s, &t, &null))
				return false;
			c->language = language_of(t);
			return true;
		}
		break;
	case 9:
		if (memcmp(key.p, "extFields", 9) == 0)
			return ext_fields(s, exts, c);
		break;
	default:
		break;
	}
	return skip(s, SKIP_DEPTH);
}

const char *scan_json_header(struct slice header, uint32_t exts, struct buf *scratch, struct wire_cmd *c)
{
	struct scan s = {.p = header.p, .end = header.p + header.n, .size = header.n, .scratch = scratch};
	struct slice key;
	bool has_code = false;
	CHECK(exts <= WIRE_EXT_MAX);
	c->code = c->version = c->opaque = c->flag = 0;
	c->language = WIRE_OTHER;
	c->n_ext = 0;
	c->remark = slice_of(NULL, 0);
	if (!take(&s, '{'))
		return "header is not a JSON object";
	if (!take(&s, '}')) {
		do {
			if (!string(&s, &key))
				return s.why;
			if (!take(&s, ':'))
				return "header has an object without a colon";
			if (!member(&s, key, exts, c, &has_code))
				return s.why;
		} while (take(&s, ','));
		if (!take(&s, '}'))
			return "header has an unfinished object or array";
	}
	blanks(&s);
	if (s.p != s.end)
		return "bytes behind the header's object";
	return has_code ? NULL : "header has no code";
}
