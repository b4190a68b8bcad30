/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The panic: says where and what, lets the registered objects print themselves, aborts. */
#include "base/obj.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { PRINTERS_MAX = 16 };

static struct {
	void (*print)(void *arg);
	void *arg;
} printers[PRINTERS_MAX];
static unsigned n_printers;
static int panicking; /* a printer that panics in its turn must not start over */

void panic_printer_add(void (*print)(void *arg), void *arg)
{
	if (n_printers == PRINTERS_MAX)
		return;
	printers[n_printers].print = print;
	printers[n_printers].arg = arg;
	n_printers++;
}

_Noreturn void panic_at(const char *file, int line, const char *func, const char *what, ...)
{
	va_list ap;

	fprintf(stderr, "panic: %s:%d: %s: ", file, line, func);
	va_start(ap, what);
	vfprintf(stderr, what, ap);
	va_end(ap);
	fputc('\n', stderr);
	if (!panicking) {
		panicking = 1;
		for (unsigned i = 0; i < n_printers; i++)
			printers[i].print(printers[i].arg);
	}
	fflush(stderr);
	abort();
}
