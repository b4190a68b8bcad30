/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Private to wire/: the two header forms, read into a command whose frame has been cut already. */
#ifndef WIRE_SCAN_H
#define WIRE_SCAN_H

#include "wire/frame.h"

/* NULL when the header is well-formed, else what is wrong with it. Sets every field of *c but form and body. */
const char *scan_json_header(struct slice header, uint32_t exts, struct buf *scratch, struct wire_cmd *c);
const char *scan_binary_header(struct slice header, uint32_t exts, struct wire_cmd *c);

#endif
