/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* A view of bytes that somebody else owns. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const uint8_t *p; /* may be NULL when n is 0 */
	size_t n;
};

#define SLICE_LIT(s) ((struct slice){(const uint8_t *)("" s), sizeof(s) - 1})

static inline struct slice slice_of(const void *p, size_t n) { return (struct slice){(const uint8_t *)p, n}; }
static inline struct slice slice_str(const char *s) { return slice_of(s, s == NULL ? 0 : strlen(s)); }
static inline bool slice_eq(struct slice a, struct slice b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool slice_eq_str(struct slice a, const char *s) { return slice_eq(a, slice_str(s)); }
static inline bool slice_starts(struct slice a, struct slice b) { return a.n >= b.n && (b.n == 0 || memcmp(a.p, b.p, b.n) == 0); }
static inline struct slice slice_skip(struct slice a, size_t n) { return n >= a.n ? (struct slice){NULL, 0} : (struct slice){a.p + n, a.n - n}; }
int slice_cmp(struct slice a, struct slice b);             /* bytewise, then by length */
struct slice slice_trim(struct slice a);                   /* without blanks and tabs at both ends */
/* Takes the part before 'sep' off '*rest'; false when '*rest' is used up. "a,,b" gives "a", "", "b". */
bool slice_split(struct slice *rest, char sep, struct slice *ret);
bool slice_u64(struct slice a, uint64_t *ret);             /* decimal; false on anything else or overflow */
bool slice_i64(struct slice a, int64_t *ret);              /* decimal with an optional sign */
bool slice_bool(struct slice a, bool *ret);                /* true or false, any case */
char *slice_dup(struct slice a);                           /* heap copy with a NUL behind it */
uint64_t slice_hash(struct slice a);                       /* fast 64-bit hash for tables in memory; not stable across versions */

#endif
