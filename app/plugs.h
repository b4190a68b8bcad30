/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The fronts of a broker: what they are told, their ports, and their lives. In this order: init, ports, start, open; turn and flush from then on;
 * stop, and when none is running any more, fini. A front that a setting switched off does not exist here.
 */
#ifndef APP_PLUGS_H
#define APP_PLUGS_H

#include "app/fronts.h"
#include "app/numbers.h"
#include "app/process.h"

struct plug {
	const struct front_row *row;
	void *state;
	struct front_env env;
	bool started;             /* the sockets are its own */
	bool running;             /* started, and it did not say stopped yet */
	struct plugs *plugs;
};

struct plugs {
	struct process *p;
	struct front_conf conf;
	struct buf origins;       /* what conf.origins views */
	struct plug v[FRONTS_MAX];
	unsigned n;
	struct numbers numbers;   /* of the fronts without a thread of their own */
	struct buf fresh;
	struct stream_bound streams[FRONTS_MAX + 1];
	unsigned running;
};

/* Puts into 'conf' what stands in the settings. */
void plugs_init(struct plugs *pl, struct process *p);
/* Looks at the certificate and takes the ports. The settings say afterwards which they became. False: said on stderr. */
bool plugs_ports(struct plugs *pl);
/* False: said on stderr; those that have started are to be stopped. */
bool plugs_start(struct plugs *pl, struct engine *engine, struct front_gate *gate);
/* Lets all of them accept. False: said on stderr. */
bool plugs_open(struct plugs *pl);
uint64_t plugs_turn(struct plugs *pl, uint64_t now_ns);
uint64_t plugs_flush(struct plugs *pl, uint64_t now_ns);
/* Drains all, then stops all. */
void plugs_stop(struct plugs *pl);
/* Logs who is still running. */
void plugs_complain(const struct plugs *pl);
/* When none is running. */
void plugs_fini(struct plugs *pl);

#endif
