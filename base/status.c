/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The names and texts of enum status. */
#include "base/status.h"

#include "base/obj.h"

static const struct {
	const char *name, *text;
} rows[ST_COUNT] = {
#define X(name, text) [ST_##name] = {#name, text},
#include "base/status.tbl"
#undef X
};

const char *status_name(enum status st)
{
	return (unsigned)st < ST_COUNT ? rows[st].name : "UNKNOWN";
}

const char *status_text(enum status st)
{
	return (unsigned)st < ST_COUNT ? rows[st].text : "unknown status";
}
