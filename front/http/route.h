/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Finds the row of api_routes that a request is for. */
#ifndef FRONT_HTTP_ROUTE_H
#define FRONT_HTTP_ROUTE_H

#include "front/http/api.h"

enum { METHOD_GET = 1, METHOD_HEAD = 2, METHOD_POST = 4, METHOD_PUT = 8, METHOD_DELETE = 16 };
struct route_found {
	const struct api_route *route;       /* NULL: none */
	unsigned methods;                    /* that this path has; 0: no such path */
	struct slice arg[2];                 /* names in the path, not decoded */
};
void route_find(struct slice method, struct slice path, struct route_found *ret);

#endif
