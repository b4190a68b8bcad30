/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* How calls end: enum status, its names and texts. The rows are in status.tbl. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

enum status {
#define X(name, text) ST_##name,
#include "base/status.tbl"
#undef X
	ST_COUNT
};

/* The name of a status as the log prints it, "NO_TOPIC"; never NULL. */
const char *status_name(enum status st);
/* The sentence that a person reads; never NULL. */
const char *status_text(enum status st);

#endif
