/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#ifndef APP_FRONTS_H
#define APP_FRONTS_H

#include "app/settings.h"
#include "front/front.h"

enum { FRONTS_MAX = 8 };

struct front_row {
	const struct front_ops *ops;
	enum setting enable;          /* SET_COUNT: always */
	bool own_thread;              /* what it counts is told there */
	struct {
		const char *name;
		enum setting port;
	} ports[FRONT_PORTS_MAX];     /* ended by name NULL; none: somebody else binds for it */
};

/* All fronts of this build, ended by ops NULL. */
extern const struct front_row front_rows[];

#endif
