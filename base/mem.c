/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Heap memory; see mem.h for who may run out of it. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

static unsigned fail_nth; /* mem_try calls left until one fails; 0: off */

void *mem_array(size_t count, size_t n)
{
	void *p = calloc(count == 0 ? 1 : count, n == 0 ? 1 : n);

	if (p == NULL)
		PANIC("out of memory: %zu times %zu bytes", count, n);
	return p;
}

void *mem_new(size_t n)
{
	return mem_array(1, n);
}

void *mem_grow(void *p, size_t n)
{
	void *q = realloc(p, n == 0 ? 1 : n);

	if (q == NULL)
		PANIC("out of memory: %zu bytes", n);
	return q;
}

void *mem_try(size_t n)
{
	if (fail_nth != 0 && --fail_nth == 0)
		return NULL;
	return malloc(n == 0 ? 1 : n);
}

void *mem_dup(const void *p, size_t n)
{
	CHECK(n < SIZE_MAX);
	char *q = mem_grow(NULL, n + 1);

	if (n > 0)
		memcpy(q, p, n);
	q[n] = '\0';
	return q;
}

void mem_free(void *p)
{
	free(p);
}

void mem_fail_nth(unsigned nth)
{
	fail_nth = nth;
}
