/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* A certificate and its key, looked at before anything is opened: who starts with wrong ones is told at once, and what is wrong. */
#ifndef OS_CERT_H
#define OS_CERT_H

#include <stddef.h>

#include "base/status.h"

/* PEM files. NOT_FOUND: cannot be read; BAD_ARG: not what they should be, or not of each other. 'why' names the file. */
enum status cert_check(const char *cert, const char *key, char *why, size_t why_size);

#endif
