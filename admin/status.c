/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Asks a broker for its numbers over the native protocol, as RocketMQ's own tools do, and prints those that people look for. */
#include "admin/status.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/ask.h"
#include "base/obj.h"
#include "wire/bodies.h"
#include "wire/codes.h"

enum { NAME_MAX = 96 };

/* What the engine counts, with the sentence of its own table. */
static const struct {
	const char *name, *kind, *text;
} rows[] = {
#define X(n, k, t) {#n, k, t},
#include "engine/stats.tbl"
#undef X
};

/* 12345678 as "12 345 678". */
static void grouped(struct slice v, char *ret, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < v.n && n + 2 < size; i++) {
		if (i > 0 && (v.n - i) % 3 == 0)
			ret[n++] = ' ';
		ret[n++] = (char)v.p[i];
	}
	ret[n] = '\0';
}

static const struct wire_pair *find(const struct wire_pair *v, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (slice_eq_str(v[i].name, name))
			return &v[i];
	return NULL;
}

/* A row of the engine's table, under the name that metrics use or under the bare one. */
static const struct wire_pair *find_row(const struct wire_pair *v, size_t n, const char *row)
{
	char metric[NAME_MAX];
	const struct wire_pair *p;
	size_t k = (size_t)snprintf(metric, sizeof(metric), "gantry_%s", row);

	for (size_t i = 0; i < k && i < sizeof(metric); i++)
		metric[i] = (char)tolower((unsigned char)metric[i]);
	p = find(v, n, metric);
	return p != NULL ? p : find(v, n, row);
}

static void print_table(const char *addr, const struct wire_pair *v, size_t n)
{
	static const struct {
		const char *key, *text;
	} heads[] = {{"brokerVersionDesc", "speaks as"}, {"runtime", "up"}, {"putTps", "messages in per second (10 s, 1 min, 10 min)"},
		     {"getTransferredTps", "messages out per second (10 s, 1 min, 10 min)"}};

	printf("broker at %s\n", addr);
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		const struct wire_pair *p = find(v, n, heads[i].key);
		if (p != NULL)
			printf("%-46s %.*s\n", heads[i].text, (int)p->value.n, (const char *)p->value.p);
	}
	putchar('\n');
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct wire_pair *p = find_row(v, n, rows[i].name);
		char value[64];
		if (p == NULL)
			continue;
		grouped(p->value, value, sizeof(value));
		printf("%20s  %s\n", value, rows[i].text);
	}
}

int status_run(const char *addr)
{
	struct ask a = {.request = {0}};
	struct wire_pair *v = NULL;
	struct wire_doc doc;
	struct wire_out o;
	const char *why;
	int rc = EXIT_FAILURE;
	size_t n = 0;

	wire_begin(&o, &a.request, WIRE_JSON, REQ_GET_BROKER_RUNTIME_INFO, 1, 0);
	wire_finish(&o, 0);
	if (ask_broker(&a, addr)) {
		if (wire_table_decode(a.cmd.body, &doc, &v, &n, &why)) {
			print_table(addr, v, n);
			rc = EXIT_SUCCESS;
		} else {
			fprintf(stderr, "gantry: %s: %s\n", addr, why);
		}
		wire_doc_fini(&doc);
	}
	ask_fini(&a);
	return rc;
}
