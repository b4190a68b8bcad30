/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "admin/ask.h"

#include <stdio.h>

#include "base/be.h"
#include "os/file.h"
#include "wire/codes.h"

enum { TIMEOUT_MS = 5000, HOST_MAX = 256, WHY_MAX = 512 };

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

bool ask_broker(struct ask *a, const char *addr)
{
	struct wire_limits limits = WIRE_LIMITS_DEFAULT;
	const char *fault = "not a whole frame";
	char host[HOST_MAX], why[WHY_MAX];
	uint16_t port;
	size_t used;

	if (!split_addr(addr, host, &port)) {
		fprintf(stderr, "gantry: %s is not host:port\n", addr);
		return false;
	}
	enum status st = host_ask(host, port, TIMEOUT_MS, buf_view(&a->request), whole_frame, WIRE_FRAME_MAX, &a->answer, why, sizeof(why));
	if (st != ST_OK) {
		fprintf(stderr, "gantry: %s\ngantry: %s\n", why, st == ST_NO_MEMBER ? "is a broker running there? --addr HOST:PORT asks another one" :
			"is that a broker's native port? It is 10911 unless listenPort says otherwise");
		return false;
	}
	if (wire_decode(buf_view(&a->answer), &limits, &a->scratch, &a->cmd, &used, &fault) != WIRE_GOT) {
		fprintf(stderr, "gantry: %s: the answer is not one of a broker: %s\n", addr, fault);
		return false;
	}
	if (a->cmd.code != ANS_SUCCESS) {
		fprintf(stderr, "gantry: %s: answered with code %d: %.*s\n", addr, a->cmd.code, (int)a->cmd.remark.n,
			(const char *)a->cmd.remark.p);
		return false;
	}
	return true;
}

void ask_fini(struct ask *a)
{
	buf_fini(&a->request);
	buf_fini(&a->answer);
	buf_fini(&a->scratch);
}
