/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Formats a line of the log on the stack; what is longer is cut. Names that peers made up stand in it, so no control character does. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

enum { LINE_MAX_BYTES = 1024 };

void log_at(struct log *l, enum log_level level, const char *area, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	if (level > l->level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (char *c = line; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	l->ops->line(l, level, area, line);
}
