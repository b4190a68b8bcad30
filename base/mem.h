/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Heap memory. Every bound is set at admission, so running out inside is a bug or a machine without memory: these panic.
 * mem_try is for payload-sized buffers whose owner answers BUSY; mem_fail_nth makes it fail in tests.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void *mem_new(size_t n);                  /* zeroed; panics when there is none */
void *mem_array(size_t count, size_t n);  /* zeroed, overflow-checked */
void *mem_grow(void *p, size_t n);        /* realloc; the new part is not zeroed */
void *mem_try(size_t n);                  /* not zeroed; NULL when there is none */
void *mem_dup(const void *p, size_t n);   /* copy, with a NUL behind it */
void mem_free(void *p);
/* Makes the nth following mem_try fail (1 = the next one); 0 switches it off. Tests only. */
void mem_fail_nth(unsigned nth);

#endif
