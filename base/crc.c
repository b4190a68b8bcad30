/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * CRC-32: by carry-less multiplication where the processor has it (64 bytes a step), else eight bytes a step by tables. The tables are written by the compiler: the CRC is linear, so each of their entries is the XOR of the
 * entries for its single bits, of which there are eight a table.
 */
#include "base/crc.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BIT(i, b, v) (((i) >> (b) & 1) * (v))
#define ENTRY(i, a, b, c, d, e, f, g, h) \
	(BIT(i, 0, a) ^ BIT(i, 1, b) ^ BIT(i, 2, c) ^ BIT(i, 3, d) ^ BIT(i, 4, e) ^ BIT(i, 5, f) ^ BIT(i, 6, g) ^ BIT(i, 7, h))
#define T0(i) ENTRY((uint32_t)(i), 0x77073096u, 0xee0e612cu, 0x076dc419u, 0x0edb8832u, \
	0x1db71064u, 0x3b6e20c8u, 0x76dc4190u, 0xedb88320u)
#define T1(i) ENTRY((uint32_t)(i), 0x191b3141u, 0x32366282u, 0x646cc504u, 0xc8d98a08u, \
	0x4ac21251u, 0x958424a2u, 0xf0794f05u, 0x3b83984bu)
#define T2(i) ENTRY((uint32_t)(i), 0x01c26a37u, 0x0384d46eu, 0x0709a8dcu, 0x0e1351b8u, \
	0x1c26a370u, 0x384d46e0u, 0x709a8dc0u, 0xe1351b80u)
#define T3(i) ENTRY((uint32_t)(i), 0xb8bc6765u, 0xaa09c88bu, 0x8f629757u, 0xc5b428efu, \
	0x5019579fu, 0xa032af3eu, 0x9b14583du, 0xed59b63bu)
#define T4(i) ENTRY((uint32_t)(i), 0x3d6029b0u, 0x7ac05360u, 0xf580a6c0u, 0x30704bc1u, \
	0x60e09782u, 0xc1c12f04u, 0x58f35849u, 0xb1e6b092u)
#define T5(i) ENTRY((uint32_t)(i), 0xcb5cd3a5u, 0x4dc8a10bu, 0x9b914216u, 0xec53826du, \
	0x03d6029bu, 0x07ac0536u, 0x0f580a6cu, 0x1eb014d8u)
#define T6(i) ENTRY((uint32_t)(i), 0xa6770bb4u, 0x979f1129u, 0xf44f2413u, 0x33ef4e67u, \
	0x67de9cceu, 0xcfbd399cu, 0x440b7579u, 0x8816eaf2u)
#define T7(i) ENTRY((uint32_t)(i), 0xccaa009eu, 0x4225077du, 0x844a0efau, 0xd3e51bb5u, \
	0x7cbb312bu, 0xf9766256u, 0x299dc2edu, 0x533b85dau)
#define R4(t, i) t(i), t((i) + 1), t((i) + 2), t((i) + 3)
#define R16(t, i) R4(t, i), R4(t, (i) + 4), R4(t, (i) + 8), R4(t, (i) + 12)
#define R64(t, i) R16(t, i), R16(t, (i) + 16), R16(t, (i) + 32), R16(t, (i) + 48)
#define R256(t) {R64(t, 0), R64(t, 64), R64(t, 128), R64(t, 192)}

/* tables[k][b]: what byte b does to the CRC with k zero bytes behind it. */
static const uint32_t tables[8][256] = {R256(T0), R256(T1), R256(T2), R256(T3), R256(T4), R256(T5), R256(T6), R256(T7)};

/* What the loads below assume. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little endian only");

/* The register (the CRC inverted) after n more bytes. */
static uint32_t by_tables(uint32_t reg, const uint8_t *at, size_t n)
{
	for (; n >= 8; n -= 8, at += 8) {
		uint64_t v;

		memcpy(&v, at, 8);
		v ^= reg;
		reg = tables[7][v & 0xff] ^ tables[6][v >> 8 & 0xff] ^ tables[5][v >> 16 & 0xff] ^ tables[4][v >> 24 & 0xff] ^
		      tables[3][v >> 32 & 0xff] ^ tables[2][v >> 40 & 0xff] ^ tables[1][v >> 48 & 0xff] ^ tables[0][v >> 56];
	}
	for (; n > 0; n--, at++)
		reg = reg >> 8 ^ tables[0][(reg ^ *at) & 0xff];
	return reg;
}

#if defined(__x86_64__)
enum { FOLD_MIN = 64 };

__attribute__((target("pclmul,sse4.1"))) static inline __m128i fold(__m128i x, __m128i k, __m128i next)
{
	return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)), next);
}

__attribute__((target("pclmul,sse4.1"))) static inline __m128i load(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/*
 * n is a multiple of 16 and at least FOLD_MIN. Four lanes of 16 bytes are folded 64 bytes ahead, then into one, then reduced to 32 bits
 * by Barrett's method; the constants are powers of x modulo the polynomial, bit-reflected (Gopal et al., Intel 2009).
 */
__attribute__((target("pclmul,sse4.1"))) static uint32_t by_folding(uint32_t reg, const uint8_t *p, size_t n)
{
	const __m128i far = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4), near = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
	const __m128i last = _mm_set_epi64x(0, 0x0163cd6124), barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);
	const __m128i low32 = _mm_setr_epi32(-1, 0, -1, 0);
	__m128i a = _mm_xor_si128(load(p), _mm_cvtsi32_si128((int)reg)), b = load(p + 16), c = load(p + 32), d = load(p + 48), t;

	for (p += 64, n -= 64; n >= 64; p += 64, n -= 64) {
		a = fold(a, far, load(p));
		b = fold(b, far, load(p + 16));
		c = fold(c, far, load(p + 32));
		d = fold(d, far, load(p + 48));
	}
	a = fold(fold(fold(a, near, b), near, c), near, d);
	for (; n >= 16; p += 16, n -= 16)
		a = fold(a, near, load(p));
	a = _mm_xor_si128(_mm_srli_si128(a, 8), _mm_clmulepi64_si128(a, near, 0x10));
	a = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(a, low32), last, 0x00), _mm_srli_si128(a, 4));
	t = _mm_clmulepi64_si128(_mm_and_si128(a, low32), barrett, 0x10);
	t = _mm_clmulepi64_si128(_mm_and_si128(t, low32), barrett, 0x00);
	return (uint32_t)_mm_extract_epi32(_mm_xor_si128(a, t), 1);
}
#endif

uint32_t crc32_more(uint32_t crc, const void *p, size_t n)
{
	const uint8_t *at = p;
	uint32_t reg = ~crc;

#if defined(__x86_64__)
	if (n >= FOLD_MIN && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1")) {
		size_t whole = n & ~(size_t)15;

		reg = by_folding(reg, at, whole);
		at += whole;
		n -= whole;
	}
#endif
	return ~by_tables(reg, at, n);
}
