/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The seal of a receipt: HMAC-SHA256, cut to 128 bits. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "front/http/api.h"

void seal_make(const uint8_t key[32], struct slice text, uint8_t to[SEAL_SIZE])
{
	uint8_t whole[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	CHECK(HMAC(EVP_sha256(), key, 32, text.p, text.n, whole, &n) != NULL && n >= SEAL_SIZE);
	memcpy(to, whole, SEAL_SIZE);
}

/* Takes the same time wherever they differ: else a seal could be guessed byte by byte. */
bool seal_same(const uint8_t a[SEAL_SIZE], const uint8_t b[SEAL_SIZE])
{
	return CRYPTO_memcmp(a, b, SEAL_SIZE) == 0;
}
