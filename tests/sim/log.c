/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The captured log. */
#include "tests/sim/log.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/obj.h"

static void keep_line(struct log *base, enum log_level level, const char *area, const char *line)
{
	struct sim_log *l = container_of(base, struct sim_log, base);
	char text[1200];

	l->errors += level == LOG_ERROR;
	snprintf(text, sizeof(text), "[%4llu] %s %s", (unsigned long long)((l->clock->now_ns - l->began_ns) / MS_NS), area, line);
	if (l->echo)
		fprintf(stderr, "%s\n", text);
	if (l->keep == 0)
		return;
	char **slot = &l->lines[l->n++ % l->keep];

	mem_free(*slot);
	*slot = mem_dup(text, strlen(text));
}

static const struct log_ops log_ops = {.line = keep_line};

void sim_log_init(struct sim_log *l, struct sim_clock *clock, enum log_level level, size_t keep)
{
	*l = (struct sim_log){.base = {&log_ops, level}, .clock = clock, .began_ns = clock->now_ns, .keep = keep};
	l->lines = mem_array(keep, sizeof(*l->lines));
}

void sim_log_clear(struct sim_log *l)
{
	for (size_t i = 0; i < l->keep; i++) {
		mem_free(l->lines[i]);
		l->lines[i] = NULL;
	}
	l->n = 0;
}

void sim_log_fini(struct sim_log *l)
{
	sim_log_clear(l);
	mem_free(l->lines);
}

const char *sim_log_line(const struct sim_log *l, size_t i)
{
	size_t first = l->n > l->keep ? l->n - l->keep : 0;

	return first + i < l->n ? l->lines[(first + i) % l->keep] : NULL;
}

bool sim_log_has(const struct sim_log *l, const char *part)
{
	const char *line;

	for (size_t i = 0; (line = sim_log_line(l, i)) != NULL; i++)
		if (strstr(line, part) != NULL)
			return true;
	return false;
}

void sim_log_tail(const struct sim_log *l, size_t n)
{
	size_t kept = l->n < l->keep ? l->n : l->keep;

	for (size_t i = kept > n ? kept - n : 0; i < kept; i++)
		fprintf(stderr, "%s\n", sim_log_line(l, i));
}
