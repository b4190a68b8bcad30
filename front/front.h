/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * How a front plugs into the process. A front is a directory, one row in app/fronts.c, a section of settings, and a row in the
 * contract suite. A front whose 'stream' is set has all its I/O done by a carrier (os/tcp_uv.c).
 */
#ifndef FRONT_FRONT_H
#define FRONT_FRONT_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/stream.h"
#include "engine/engine.h"

/* What a front needs to know of the broker it serves. */
struct front_conf {
	struct slice cluster, broker;
	uint64_t broker_id;
	uint32_t advertised_ip;   /* brokerIP1, IPv4 host order */
	uint16_t advertised_port; /* listenPort */
	uint32_t max_message;     /* body bytes */
	uint32_t max_header;      /* bytes of a request's header */
	uint32_t max_frame;       /* bytes of a whole frame, length word included */
	uint32_t max_requests;    /* requests of one connection under way at once */
	uint64_t idle_ms;         /* a connection without traffic is closed after it */
	uint64_t max_wait_ms;     /* longest long poll */
	struct slice settings;    /* the settings that tools may see, as lines of name=value; may be empty */
};
/*
 * Whoever is answered that a topic is there asks a name server for its route next. An answer that tells of a topic (an empty name: of any)
 * which the name servers do not know yet waits at the gate until they do, or for a bounded time.
 */
struct front_wait {
	void (*go)(struct front_wait *); /* from the process's turn, exactly once; the gate does not touch it any more */
	struct list link;                /* the gate's */
};
struct front_gate {
	bool (*shut)(struct front_gate *, struct slice topic);
	void (*wait)(struct front_gate *, struct front_wait *, struct slice topic); /* only where it is shut */
};
struct front_env {
	struct engine *engine;
	struct clock *clock;
	struct log *log;
	const struct front_conf *conf;
	struct front_gate *gate;                /* NULL: nothing waits */
};
struct front_ops {
	const char *name;                       /* settings section, log area, label of its numbers */
	size_t size;                            /* bytes of front state, zeroed by the process */
	enum status (*start)(void *front, const struct front_env *);
	void (*drain)(void *front);             /* accept nothing new; settle or give back what is under way */
	void (*stop)(void *front, void (*stopped)(void *), void *arg); /* stopped(arg) when nothing is left */
	void (*describe)(void *front, struct buf *json);
	const struct stream_ops *stream;
};

/* How a status looks on each front. */
struct front_status {
	uint16_t native;
	uint16_t http;
	uint8_t mqtt;
	uint16_t ws_close;
};
extern const struct front_status front_statuses[ST_COUNT];

#endif
