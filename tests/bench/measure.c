/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Time, histograms, counted errors, and what /proc says about the server. */
#include "tests/bench/bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

int64_t wall_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void fatal(const char *fmt, ...)
{
	va_list ap;
	fflush(stdout);
	fprintf(stderr, "load: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

/* Values below 2^HIST_SUB_BITS have a slot each; above, the leading bit names the octave and the next bits the step in it. */
static unsigned hist_slot(uint64_t ns)
{
	if (ns < (1u << HIST_SUB_BITS))
		return (unsigned)ns;
	unsigned top = 63u - (unsigned)__builtin_clzll(ns);
	unsigned octave = top - HIST_SUB_BITS + 1;
	unsigned slot = (octave << HIST_SUB_BITS) + (unsigned)((ns >> (top - HIST_SUB_BITS)) & ((1u << HIST_SUB_BITS) - 1));
	return slot < HIST_SLOTS ? slot : HIST_SLOTS - 1;
}

static uint64_t hist_value(unsigned slot)
{
	unsigned octave = slot >> HIST_SUB_BITS;
	if (octave == 0)
		return slot;
	uint64_t step = slot & ((1u << HIST_SUB_BITS) - 1);
	return ((UINT64_C(1) << HIST_SUB_BITS) + step) << (octave - 1);
}

void hist_add(struct hist *h, uint64_t ns)
{
	h->slot[hist_slot(ns)]++;
	h->count++;
	h->sum += ns;
	if (ns > h->max)
		h->max = ns;
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)(q * (double)h->count), seen = 0;
	for (unsigned i = 0; i < HIST_SLOTS; i++) {
		seen += h->slot[i];
		if (seen > want)
			return hist_value(i) < h->max ? hist_value(i) : h->max;
	}
	return h->max;
}

void hist_print(const struct hist *h, const char *prefix)
{
	printf(" %sp50_us=%.1f %sp99_us=%.1f %sp999_us=%.1f %smax_us=%.1f", prefix, (double)hist_quantile(h, 0.50) / 1e3, prefix,
	       (double)hist_quantile(h, 0.99) / 1e3, prefix, (double)hist_quantile(h, 0.999) / 1e3, prefix, (double)h->max / 1e3);
}

uint64_t proc_cpu_us(int pid)
{
	char path[64], line[1024];
	unsigned long user, system;
	if (pid <= 0)
		return 0;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return 0;
	size_t n = fread(line, 1, sizeof line - 1, f);
	fclose(f);
	line[n] = 0;
	/* The command's name may hold spaces; what follows its closing bracket does not. */
	char *p = strrchr(line, ')');
	if (p == NULL || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
		return 0;
	return (user + system) * (1000000 / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t self_cpu_us(void)
{
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000 + (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

uint64_t proc_rss_kb(int pid)
{
	char path[64], line[256];
	unsigned long kb = 0;
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return 0;
	while (fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "VmRSS: %lu", &kb) == 1)
			break;
	fclose(f);
	return kb;
}

void errors_add(struct errors *e, int code)
{
	e->total++;
	for (unsigned i = 0; i < ERROR_KINDS; i++) {
		if (e->count[i] == 0)
			e->code[i] = code;
		if (e->code[i] == code) {
			e->count[i]++;
			return;
		}
	}
}

void errors_print(const struct errors *e)
{
	printf(" errors=%llu error_codes=", (unsigned long long)e->total);
	for (unsigned i = 0; i < ERROR_KINDS && e->count[i] != 0; i++)
		printf("%s%d:%llu", i ? "," : "", e->code[i], (unsigned long long)e->count[i]);
	if (e->total == 0)
		printf("none");
}
