/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The WebSocket front: a port where browsers speak the JSON protocol of docs/websocket.md, and where other protocols of the process (MQTT) are
 * carried in binary frames. It does its own I/O, on libwebsockets; the port is the one named "websocket" in front_env.
 */
#ifndef FRONT_WEBSOCKET_WEBSOCKET_H
#define FRONT_WEBSOCKET_WEBSOCKET_H

#include "front/front.h"

extern const struct front_ops front_websocket;

#endif
