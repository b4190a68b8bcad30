/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#ifndef ADMIN_SEND_H
#define ADMIN_SEND_H

#include <stdint.h>

/* `gantry send`: sends one message as a stock producer would, and prints where it went. Returns the exit status. */
int send_run(const char *addr, const char *topic, const char *body, int64_t now_ms);

#endif
