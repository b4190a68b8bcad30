/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* One request of the native protocol and its answer; what the small commands share. */
#ifndef ADMIN_ASK_H
#define ADMIN_ASK_H

#include "wire/frame.h"

#define ADMIN_ADDR "127.0.0.1:10911"

struct ask {
	struct buf request, answer, scratch;
	struct wire_cmd cmd; /* the answer; good until ask_fini */
};
/* Sends 'request', a whole frame, to "host:port". True when a broker answered with success; otherwise the reason is on stderr. */
bool ask_broker(struct ask *a, const char *addr);
void ask_fini(struct ask *a);

#endif
