/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Native clients in the crash test: in some lives part of the workload goes through the real native front (front/native) over the simulated
 * network. What the model learns does not change: a request that is carried over a connection is filled with what its answer says, and then
 * answered as if the engine had done it. A request whose connection went is as unsure as one that a crash took.
 *
 * What must hold besides:
 *   - every request of a connection that lives is answered once, in its own form, and soon; a one-way request never;
 *   - requests of one connection take effect in their order;
 *   - the front closes no connection but one that sent garbage;
 *   - when a connection is gone nothing of it is left: its members, its waiting pulls, its calls; a front stops when all of them are;
 *   - a lock that was granted is not granted to somebody else.
 */
#ifndef TESTS_SIM_NATIVE_H
#define TESTS_SIM_NATIVE_H

#include "tests/sim/crash.h"

/* A front and its clients, on the engine that runs; no connection is open yet. Nothing in a life without native clients. */
void native_open(struct life *l);
/* Sends a request over a connection instead of asking the engine; false: the caller asks. 'op' is filled in, with done() and all. */
bool native_carry(struct life *l, struct op *op);
/* What clients do by themselves: connect, beat, lock, read slowly, hang up, send garbage. */
void native_step(struct life *l);
/* Makes one-way requests end: asks something behind each. */
void native_flush(struct life *l);
/* A topic was dropped, and the locks of its queues with it. */
void native_topic_gone(struct life *l, int topic);
/* Ends all connections and the front, on an engine that lives. */
void native_stop(struct life *l);
/* The engine is gone: so are the connections and the front, and nothing is left of them. */
void native_crashed(struct life *l);

#endif
