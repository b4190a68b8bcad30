/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* CRC-32 (IEEE 802.3, as zlib and Java compute it). */
#ifndef BASE_CRC_H
#define BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Continues 'crc' (0 to begin) over n bytes. */
uint32_t crc32_more(uint32_t crc, const void *p, size_t n);
static inline uint32_t crc32_of(const void *p, size_t n) { return crc32_more(0, p, n); }

#endif
