/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Private to front/websocket. */
#ifndef FRONT_WEBSOCKET_WS_H
#define FRONT_WEBSOCKET_WS_H

#include "front/front.h"
#include "front/message.h"

enum { WS_MAGIC = 0x77736672 };

/* The front's state. */
struct ws {
	uint32_t magic;
	struct front_env env;
	bool draining;
};

#endif
