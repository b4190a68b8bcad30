/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The engine, seen from another thread: the same interface as engine.h, served through two mailboxes.
 *
 * One port has one owner thread. What the owner asks is copied into a shadow request and posted; the engine's thread submits the shadow; its answer is
 * posted back and copied into the owner's request before done() fires from engine_port_turn. So the owner's memory is never touched by the engine's
 * thread. Bytes of messages are not copied: their blobs are held (the count is atomic) until the owner's callback has returned.
 *
 * Threads are the process's business: 'wake' functions are called, from either thread, when the other one has something to do, once per batch.
 */
#ifndef ENGINE_PORT_H
#define ENGINE_PORT_H

#include "engine/engine.h"

struct engine_port;

struct engine_port_conf {
	struct engine *target;       /* the engine itself */
	void (*wake_engine)(void *); /* called in the owner's thread: engine_port_serve is wanted */
	void *wake_engine_arg;
	void (*wake_owner)(void *);  /* called in the engine's thread: engine_port_turn is wanted */
	void *wake_owner_arg;
};

struct engine_port *engine_port_new(const struct engine_port_conf *conf);
/* What the owner's code uses; its turn is engine_port_turn. */
struct engine *engine_port_engine(struct engine_port *p);
/* In the engine's thread, before engine_turn: submits what was posted. */
void engine_port_serve(struct engine_port *p);
/* In the owner's thread: fires what was answered. */
void engine_port_turn(struct engine_port *p);
/* True (owner's thread) when no request, member or subscription is under way. */
bool engine_port_idle(const struct engine_port *p);
/* After it is idle and neither thread uses it any more. */
void engine_port_free(struct engine_port *p);

#endif
