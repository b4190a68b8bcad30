/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The one table of how an engine status looks to the users of each front; its rows stand in front/status.tbl. */
#include "front/front.h"

const struct front_status front_statuses[ST_COUNT] = {
#define X(name, native, http, mqtt, ws_close) [ST_##name] = {native, http, mqtt, ws_close},
#include "front/status.tbl"
#undef X
};

enum {
	STATUS_TBL_ROWS = 0
#define X(name, native, http, mqtt, ws_close) + 1
#include "front/status.tbl"
#undef X
};
/* Names that are not in base/status.tbl do not compile above; a name that is forgotten there does not compile here. */
_Static_assert((int)STATUS_TBL_ROWS == (int)ST_COUNT, "front/status.tbl lacks a row of base/status.tbl");
