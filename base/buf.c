/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* A growing run of bytes; see buf.h for the meaning of 'max' and 'over'. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/obj.h"
#include "base/text.h"
#include "base/utf.h"

enum { CAP_MIN = 64 };

void buf_fini(struct buf *b)
{
	mem_free(b->p);
	b->p = NULL;
	b->n = b->cap = 0;
	b->over = false;
}

void buf_reset(struct buf *b)
{
	b->n = 0;
	b->over = false;
}

static void reserve(struct buf *b, size_t need)
{
	if (need <= b->cap)
		return;
	size_t cap = b->cap < CAP_MIN ? CAP_MIN : b->cap;

	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	b->p = mem_grow(b->p, cap);
	b->cap = cap;
}

uint8_t *buf_room(struct buf *b, size_t n)
{
	CHECK(n <= SIZE_MAX - b->n);
	if (b->over || (b->max != 0 && b->n + n > b->max)) {
		b->over = true;
		return NULL;
	}
	reserve(b, b->n + n);
	return b->p + b->n;
}

void buf_used(struct buf *b, size_t n)
{
	CHECK(n <= b->cap - b->n);
	b->n += n;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	uint8_t *to = buf_room(b, n);

	if (to == NULL)
		return;
	memcpy(to, p, n);
	b->n += n;
}

void buf_slice(struct buf *b, struct slice s)
{
	buf_put(b, s.p, s.n);
}

void buf_str(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void buf_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void buf_be16(struct buf *b, uint16_t v)
{
	uint8_t t[2];

	be16_put(t, v);
	buf_put(b, t, sizeof(t));
}

void buf_be32(struct buf *b, uint32_t v)
{
	uint8_t t[4];

	be32_put(t, v);
	buf_put(b, t, sizeof(t));
}

void buf_be64(struct buf *b, uint64_t v)
{
	uint8_t t[8];

	be64_put(t, v);
	buf_put(b, t, sizeof(t));
}

void buf_u64_dec(struct buf *b, uint64_t v)
{
	uint8_t t[TEXT_U64_MAX];
	size_t n = text_u64(t + sizeof(t), v);

	buf_put(b, t + sizeof(t) - n, n);
}

void buf_i64_dec(struct buf *b, int64_t v)
{
	if (v < 0)
		buf_u8(b, '-');
	buf_u64_dec(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void buf_fmt(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	CHECK(n >= 0);
	if (buf_room(b, (size_t)n) == NULL)
		return;
	reserve(b, b->n + (size_t)n + 1); /* the NUL that vsnprintf writes is not content */
	va_start(ap, fmt);
	vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
}

static void json_char(struct buf *b, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	const char *at = c == 0 ? NULL : strchr(from, c);

	if (at != NULL) {
		const char t[2] = {'\\', to[at - from]};
		buf_put(b, t, sizeof(t));
	} else {
		const char t[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
		buf_put(b, t, sizeof(t));
	}
}

void buf_json_str(struct buf *b, struct slice s)
{
	size_t from = 0, len; /* what needs no change is copied in runs */

	buf_u8(b, '"');
	for (size_t i = 0; i < s.n; i += len) {
		uint8_t c = s.p[i];
		uint32_t code = c;

		if ((len = text_plain(s.p + i, s.n - i)) > 0)
			continue;
		len = c < 0x80 ? 1 : utf8_take(slice_skip(s, i), &code);
		if (code != UTF8_BAD && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
			continue;
		buf_put(b, s.p + from, i - from);
		from = i + len;
		if (code == UTF8_BAD)
			buf_str(b, "\xef\xbf\xbd");
		else
			json_char(b, c);
	}
	if (from < s.n)
		buf_put(b, s.p + from, s.n - from);
	buf_u8(b, '"');
}

void buf_drop_front(struct buf *b, size_t n)
{
	CHECK(n <= b->n);
	b->n -= n;
	if (n > 0 && b->n > 0)
		memmove(b->p, b->p + n, b->n);
}

const char *buf_cstr(struct buf *b)
{
	reserve(b, b->n + 1);
	b->p[b->n] = '\0';
	return (const char *)b->p;
}
