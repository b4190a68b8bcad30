/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* xoshiro256** of Blackman and Vigna, seeded through splitmix64 as they advise. */
#include "base/prng.h"

#include "base/obj.h"

static uint64_t rotl(uint64_t v, int by)
{
	return v << by | v >> (64 - by);
}

void prng_init(struct prng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		r->s[i] = z ^ (z >> 31);
	}
}

uint64_t prng_u64(struct prng *r)
{
	uint64_t *s = r->s, ret = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return ret;
}

uint64_t prng_below(struct prng *r, uint64_t n)
{
	CHECK(n > 0);
	/* The high half of a product is below n; the few low halves that would favour some results are drawn again. */
	uint64_t least = (0 - n) % n;

	for (;;) {
		unsigned __int128 m = (unsigned __int128)prng_u64(r) * n;

		if ((uint64_t)m >= least)
			return (uint64_t)(m >> 64);
	}
}
