/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What views of bytes are asked: order, parts, numbers, hash. */
#include "base/slice.h"

#include "base/mem.h"

int slice_cmp(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n == 0 ? 0 : memcmp(a.p, b.p, n);

	return c != 0 ? c : a.n < b.n ? -1 : a.n > b.n;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice a)
{
	while (a.n > 0 && is_blank(a.p[0])) {
		a.p++;
		a.n--;
	}
	while (a.n > 0 && is_blank(a.p[a.n - 1]))
		a.n--;
	return a;
}

bool slice_split(struct slice *rest, char sep, struct slice *ret)
{
	if (rest->n == 0)
		return false;
	const uint8_t *end = memchr(rest->p, sep, rest->n);
	size_t n = end == NULL ? rest->n : (size_t)(end - rest->p);

	*ret = slice_of(rest->p, n);
	*rest = slice_skip(*rest, end == NULL ? n : n + 1);
	return true;
}

#define U64_DIGITS 20 /* of the largest number */

bool slice_u64(struct slice a, uint64_t *ret)
{
	uint64_t v = 0;

	if (a.n == 0)
		return false;
	if (a.n < U64_DIGITS) { /* too short to overflow */
		for (size_t i = 0; i < a.n; i++) {
			unsigned d = a.p[i] - (unsigned)'0';

			if (d > 9)
				return false;
			v = v * 10 + d;
		}
		*ret = v;
		return true;
	}
	for (size_t i = 0; i < a.n; i++) {
		if (a.p[i] < '0' || a.p[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(a.p[i] - '0'), &v))
			return false;
	}
	*ret = v;
	return true;
}

bool slice_i64(struct slice a, int64_t *ret)
{
	bool minus = a.n > 0 && a.p[0] == '-';
	uint64_t v;

	if (a.n > 0 && (a.p[0] == '-' || a.p[0] == '+'))
		a = slice_skip(a, 1);
	if (!slice_u64(a, &v) || v > (uint64_t)INT64_MAX + minus)
		return false;
	*ret = minus ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

static bool eq_nocase(struct slice a, const char *lower)
{
	if (a.n != strlen(lower))
		return false;
	for (size_t i = 0; i < a.n; i++) {
		uint8_t c = a.p[i];

		if (c >= 'A' && c <= 'Z')
			c = (uint8_t)(c - 'A' + 'a');
		if (c != (uint8_t)lower[i])
			return false;
	}
	return true;
}

bool slice_bool(struct slice a, bool *ret)
{
	if (eq_nocase(a, "true"))
		*ret = true;
	else if (eq_nocase(a, "false"))
		*ret = false;
	else
		return false;
	return true;
}

char *slice_dup(struct slice a)
{
	return mem_dup(a.p, a.n);
}

/* ---- Hash: 16 bytes a step, folded by a 64x64->128 bit product, after the idea of wyhash ------------------------------------ */

#define HASH_A UINT64_C(0xa0761d6478bd642f)
#define HASH_B UINT64_C(0xe7037ed1a0b428db)
#define HASH_C UINT64_C(0x8ebc6af09c88c6e3)

static inline uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline uint64_t load8(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static inline uint64_t load4(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

uint64_t slice_hash(struct slice s)
{
	const uint8_t *p = s.p;
	size_t n = s.n;
	uint64_t h = HASH_A, a, b;

	if (n > 16) {
		for (; n > 16; n -= 16, p += 16)
			h = fold(load8(p) ^ HASH_B, load8(p + 8) ^ h);
		/* The last 16 bytes overlap what was taken already, so no tail is special. */
		a = load8(p + n - 16);
		b = load8(p + n - 8);
	} else if (n >= 8) {
		a = load8(p);
		b = load8(p + n - 8);
	} else if (n >= 4) {
		a = load4(p);
		b = load4(p + n - 4);
	} else if (n > 0) {
		a = (uint64_t)p[0] << 16 | (uint64_t)p[n >> 1] << 8 | p[n - 1];
		b = 0;
	} else {
		a = b = 0;
	}
	return fold(HASH_C ^ s.n, fold(a ^ HASH_B, b ^ h));
}
