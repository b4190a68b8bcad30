/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The HTTP front: HTTP/1.1 on the ports "http" and "https", on a thread of its own. What it serves: docs/http.md.
 */
#ifndef FRONT_HTTP_HTTP_FRONT_H
#define FRONT_HTTP_HTTP_FRONT_H

#include "front/front.h"

extern const struct front_ops front_http;

#endif
