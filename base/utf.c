/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* UTF-8 as Java's decoder takes it: what it replaces by one U+FFFD is one bad piece here. */
#include "base/utf.h"

#include "base/obj.h"
#include "base/text.h"

static bool is_tail(uint8_t c)
{
	return (c & 0xc0) == 0x80;
}

/* The second byte of a three or four byte form whose first byte restricts it: no overlong forms, nothing beyond U+10FFFF. */
static bool second_fits(uint8_t first, uint8_t second)
{
	switch (first) {
	case 0xe0: return second >= 0xa0 && second <= 0xbf;
	case 0xf0: return second >= 0x90 && second <= 0xbf;
	case 0xf4: return second >= 0x80 && second <= 0x8f;
	default: return is_tail(second);
	}
}

size_t utf8_take(struct slice s, uint32_t *ret)
{
	CHECK(s.n > 0);
	uint8_t c = s.p[0];
	size_t need = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;

	*ret = UTF8_BAD;
	if (need == 0)
		return 1;
	if (need == 1) {
		*ret = c;
		return 1;
	}
	uint32_t code = c & (0x7fu >> need);

	for (size_t i = 1; i < need; i++) {
		if (i == s.n || !(i == 1 ? second_fits(c, s.p[1]) : is_tail(s.p[i])))
			return i;
		code = code << 6 | (s.p[i] & 0x3fu);
	}
	if (code < 0xd800 || code > 0xdfff)
		*ret = code; /* else a surrogate: Java replaces its three bytes by one */
	return need;
}

bool utf8_valid(struct slice s)
{
	while (s.n > 0) {
		uint32_t code;
		size_t n;

		while (s.n >= TEXT_STEP && (text_load(s.p) & TEXT_EACH(0x80)) == 0) /* most text is ASCII */
			s = slice_of(s.p + TEXT_STEP, s.n - TEXT_STEP);
		if (s.n == 0)
			return true;
		n = utf8_take(s, &code);

		if (code == UTF8_BAD)
			return false;
		s = slice_skip(s, n);
	}
	return true;
}

int32_t java_hash(struct slice s)
{
	uint32_t h = 0;

	while (s.n > 0) {
		uint32_t code;
		size_t n = utf8_take(s, &code);

		if (code == UTF8_BAD)
			code = 0xfffd;
		if (code > 0xffff) {
			h = h * 31 + (0xd800 + ((code - 0x10000) >> 10));
			code = 0xdc00 + ((code - 0x10000) & 0x3ff);
		}
		h = h * 31 + code;
		s = slice_skip(s, n);
	}
	return (int32_t)h;
}
