/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Asks a broker for its numbers over the native protocol, as RocketMQ's own tools do, and prints those that people look for. */
#include "admin/status.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/be.h"
#include "base/obj.h"
#include "os/file.h"
#include "wire/bodies.h"
#include "wire/codes.h"
#include "wire/frame.h"

enum { TIMEOUT_MS = 5000, HOST_MAX = 256, WHY_MAX = 512, NAME_MAX = 96 };

/* What the engine counts, with the sentence of its own table. */
static const struct {
	const char *name, *kind, *text;
} rows[] = {
#define X(n, k, t) {#n, k, t},
#include "engine/stats.tbl"
#undef X
};

static size_t whole_frame(struct slice got) { return got.n < 4 ? 0 : 4 + (size_t)be32_get(got.p); }

static bool split_addr(const char *addr, char *host, uint16_t *port)
{
	const char *colon = strrchr(addr, ':');
	uint64_t n;

	if (colon == NULL || colon == addr || (size_t)(colon - addr) >= HOST_MAX || !slice_u64(slice_str(colon + 1), &n) || n == 0 || n > 65535)
		return false;
	memcpy(host, addr, (size_t)(colon - addr));
	host[colon - addr] = '\0';
	*port = (uint16_t)n;
	return true;
}

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
			printf("%-60s %.*s\n", heads[i].text, (int)p->value.n, (const char *)p->value.p);
	}
	putchar('\n');
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct wire_pair *p = find_row(v, n, rows[i].name);
		char value[64];
		if (p == NULL)
			continue;
		grouped(p->value, value, sizeof(value));
		printf("%-60s %20s\n", rows[i].text, value);
	}
}

static int print_answer(const char *addr, struct slice frame)
{
	struct wire_limits limits = WIRE_LIMITS_DEFAULT;
	struct buf scratch = {0};
	struct wire_cmd cmd;
	struct wire_doc doc;
	struct wire_pair *v = NULL;
	const char *why = "not a whole frame";
	size_t used, n = 0;
	int rc = EXIT_FAILURE;

	if (wire_decode(frame, &limits, &scratch, &cmd, &used, &why) != WIRE_GOT) {
		fprintf(stderr, "gantry: %s: the answer is not one of a broker: %s\n", addr, why);
	} else if (cmd.code != ANS_SUCCESS) {
		fprintf(stderr, "gantry: %s: answered with code %d: %.*s\n", addr, cmd.code, (int)cmd.remark.n, (const char *)cmd.remark.p);
	} else {
		if (wire_table_decode(cmd.body, &doc, &v, &n, &why)) {
			print_table(addr, v, n);
			rc = EXIT_SUCCESS;
		} else {
			fprintf(stderr, "gantry: %s: %s\n", addr, why);
		}
		wire_doc_fini(&doc);
	}
	buf_fini(&scratch);
	return rc;
}

int status_run(const char *addr)
{
	struct buf request = {0}, answer = {0};
	char host[HOST_MAX], why[WHY_MAX];
	struct wire_out o;
	uint16_t port;
	int rc = EXIT_FAILURE;

	if (!split_addr(addr, host, &port)) {
		fprintf(stderr, "gantry: %s is not host:port\n", addr);
		return rc;
	}
	wire_begin(&o, &request, WIRE_JSON, REQ_GET_BROKER_RUNTIME_INFO, 1, 0);
	wire_finish(&o, 0);
	if (host_ask(host, port, TIMEOUT_MS, buf_view(&request), whole_frame, WIRE_FRAME_MAX, &answer, why, sizeof(why)) == ST_OK)
		rc = print_answer(addr, buf_view(&answer));
	else
		fprintf(stderr, "gantry: %s\n", why);
	buf_fini(&request);
	buf_fini(&answer);
	return rc;
}
