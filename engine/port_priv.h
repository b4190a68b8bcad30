/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What port.c and port_copy.c share. */
#ifndef ENGINE_PORT_PRIV_H
#define ENGINE_PORT_PRIV_H

#include "engine/port.h"

/* Memory of one shadow request: freed as a whole. */
struct port_mem {
	struct port_mem *next;
};

/* A request on its way. 'shadow' is what the engine sees. */
struct port_ask {
	struct engine_port *port;
	struct engine_ask *user;
	struct engine_ask *shadow;
	struct port_mem *mem;        /* copies of what the slices named */
	struct blob **held;          /* blobs of the answer */
	unsigned n_held;
	enum status status;
	unsigned cancels;            /* owner's thread: cancel notes that have not come back */
	bool answered;               /* owner's thread: the user has had its done() */
};

/* Bytes of the request struct of a verb. */
size_t port_size(enum engine_verb verb);
/* Owner's thread: gives the shadow (a plain copy so far) copies of everything that it borrows. */
void port_copy_in(struct port_ask *a);
/* Engine's thread, inside the shadow's done(): keeps what is only valid there. */
void port_keep_out(struct port_ask *a);
/* Owner's thread: the answer goes into the user's request. */
void port_copy_out(struct port_ask *a);
/* Owner's thread, after the user's done(). */
void port_release(struct port_ask *a);

#endif
