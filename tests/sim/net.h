/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A network between a protocol (base/stream.h) and a simulated peer: bytes are cut into other pieces than they were sent in, come late, and
 * connections break, all from one seed. With 'exact' each send arrives at once and whole, as a test of a codec wants it.
 *
 * What is offered to the protocol is a heap copy of just those bytes, freed right after, so that a protocol that keeps a view of it is
 * caught. Nothing is ever called from inside a call of the other side: all of it happens in events of the clock.
 */
#ifndef TESTS_SIM_NET_H
#define TESTS_SIM_NET_H

#include "base/buf.h"
#include "base/list.h"
#include "base/prng.h"
#include "base/stream.h"
#include "tests/sim/clock.h"

struct sim_net_conf {
	bool exact;
	uint64_t latency_min_ns, latency_max_ns;
	uint32_t chunk_max;      /* bytes of a piece, at most; 0: no limit */
	uint32_t tiny_permille;  /* chance that a piece is one byte */
	uint32_t cut_per_million; /* chance that a delivery finds the connection broken */
	size_t window;           /* bytes on their way to the peer at which stream_room() is 0 */
};

struct sim_net {
	struct sim_clock *clock;
	struct sim_net_conf conf;
	struct prng prng;
	struct list conns;
	uint32_t next_port;
	uint64_t cuts, deliveries; /* counters */
};

struct sim_conn;

/* What a simulated peer implements. */
struct sim_peer {
	void (*input)(struct sim_peer *, struct slice bytes); /* all of it is taken */
	void (*closed)(struct sim_peer *);                    /* the last call; the connection is gone after it */
};

struct sim_conn {
	struct stream base;
	struct list link;
	struct sim_net *net;
	const struct stream_ops *ops;
	void *conn;              /* the protocol's state */
	struct sim_peer *peer;
	struct buf in, out;      /* on their way to the protocol, to the peer */
	struct buf offered;      /* arrived, not consumed */
	struct list messages;    /* framed protocols: struct sim_message, what 'in' is for others */
	struct sim_event in_event, out_event, turn_event, close_event;
	bool paused, full, closing, hungup, closed;
	bool held;               /* the peer does not read */
	enum status why;
	char reason[128];        /* of stream_close */
	int code;
};

void sim_net_init(struct sim_net *n, struct sim_clock *clock, const struct sim_net_conf *conf, uint64_t seed);
/* Cuts what is open: the protocols hear closed(), the peers do not. */
void sim_net_fini(struct sim_net *n);
struct sim_conn *sim_net_connect(struct sim_net *n, const struct stream_ops *ops, void *front, struct sim_peer *peer);
/* From the peer to the protocol; one message where the protocol is framed. */
void sim_conn_send(struct sim_conn *c, struct slice bytes);
/* The peer hangs up: what it sent arrives, then closed(OK). The peer hears nothing any more. */
void sim_conn_hangup(struct sim_conn *c);
/* The peer stops reading, or goes on. What it does not read fills the window. */
void sim_conn_hold(struct sim_conn *c, bool hold);
/* The connection breaks now, for both. */
void sim_conn_cut(struct sim_conn *c);

#endif
