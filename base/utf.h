/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* UTF-8, and Java's idea of a string's hash. */
#ifndef BASE_UTF_H
#define BASE_UTF_H

#include "base/slice.h"

bool utf8_valid(struct slice s);              /* no surrogates, no overlong forms, at most U+10FFFF */
#define UTF8_BAD UINT32_MAX
/*
 * Reads the code point at the front of 's' (not empty): returns the bytes that it takes. Bad bytes give UTF8_BAD and take as many as
 * Java's decoder replaces by one U+FFFD.
 */
size_t utf8_take(struct slice s, uint32_t *ret);
/* java.lang.String.hashCode over the UTF-16 units of a UTF-8 string; a bad byte counts as U+FFFD, as Java decodes it. */
int32_t java_hash(struct slice s);

#endif
