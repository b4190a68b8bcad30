/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Text in steps of more than a byte: for what every request's header goes through. Little-endian, as base/be.h. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TEXT_EACH(c) (UINT64_C(0x0101010101010101) * (uint8_t)(c))
#define TEXT_STEP 8u                     /* bytes in a word of text */
#define TEXT_U64_MAX 20u                 /* digits of the largest number */

static inline uint64_t text_load(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/*
 * The top bit of each byte that is c. What lies above the first such byte may be marked falsely (the subtraction borrows), so only "none"
 * and the first are to be trusted; a union of marks is trusted likewise.
 */
static inline uint64_t text_is(uint64_t v, char c)
{
	uint64_t x = v ^ TEXT_EACH(c);

	return (x - TEXT_EACH(1)) & ~x & TEXT_EACH(0x80);
}

/* Likewise each byte that JSON escapes, or that is not ASCII. */
static inline uint64_t text_not_plain(uint64_t v)
{
	uint64_t control = (v - TEXT_EACH(0x20)) & ~v & TEXT_EACH(0x80);

	return control | (v & TEXT_EACH(0x80)) | text_is(v, '"') | text_is(v, '\\') | text_is(v, 0x7f);
}

/* Index of the first marked byte; there must be one. */
static inline size_t text_first(uint64_t marks)
{
	return (size_t)__builtin_ctzll(marks) / 8;
}

/* How many bytes at the front stand in JSON as they are, without a look at what UTF-8 they may be. */
static inline size_t text_plain(const uint8_t *p, size_t n)
{
	size_t i = 0;

	for (; n - i >= TEXT_STEP; i += TEXT_STEP) {
		uint64_t marks = text_not_plain(text_load(p + i));

		if (marks != 0)
			return i + text_first(marks);
	}
	while (i < n && p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\')
		i++;
	return i;
}

/* Writes decimal digits so that they end before 'end', which has TEXT_U64_MAX bytes in front of it; returns how many. */
static inline size_t text_u64(uint8_t *end, uint64_t v)
{
	static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
				    "4950515253545556575859606162636465666768697071727374757677787980818283848586878889909192939495969798"
				    "99";
	uint8_t *p = end;

	for (; v >= 100; v /= 100) {
		p -= 2;
		memcpy(p, pairs + v % 100 * 2, 2);
	}
	if (v >= 10) {
		p -= 2;
		memcpy(p, pairs + v * 2, 2);
	} else {
		*--p = (uint8_t)('0' + v);
	}
	return (size_t)(end - p);
}

#endif
