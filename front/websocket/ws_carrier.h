/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The WebSocket carrier of base/stream.h, on the process's loop: ws_door_uv.c accepts and looks at requests before libwebsockets does, ws_lws.c is
 * the only file that knows that library. All calls happen on the loop's thread.
 */
#ifndef FRONT_WEBSOCKET_WS_CARRIER_H
#define FRONT_WEBSOCKET_WS_CARRIER_H

#include "front/front.h"

struct ws_carrier;

/* NULL: the library cannot run here, and the log says why. Nothing is on the loop before ws_carrier_open. */
struct ws_carrier *ws_carrier_new(const struct front_env *env, const struct stream_ops *json, void *json_front);
void ws_carrier_open(struct ws_carrier *c);                        /* accepts from now on */
uint64_t ws_carrier_turn(struct ws_carrier *c, uint64_t now_ns);   /* deadlines and resumed input; returns the next deadline */
uint64_t ws_carrier_flush(struct ws_carrier *c, uint64_t now_ns);  /* writes what is queued */
void ws_carrier_unlisten(struct ws_carrier *c);
/* Two-phase: closed(arg) from a turn, when every connection has gone (those of other protocols too) and nothing of ours is on the loop. */
void ws_carrier_close(struct ws_carrier *c, void (*closed)(void *), void *arg);
void ws_carrier_describe(const struct ws_carrier *c, struct buf *json); /* more members of the front's object */

#endif
