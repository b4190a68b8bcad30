/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#ifndef ADMIN_STATUS_H
#define ADMIN_STATUS_H

/* `gantry status`: asks the broker at "host:port" for its numbers and prints them. Returns the exit status. */
int status_run(const char *addr);

#endif
