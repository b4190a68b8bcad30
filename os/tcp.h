/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The TCP carrier of base/stream.h: one per loop. Everything happens on the loop's thread.
 *
 * Bytes that come are offered to the protocol during the loop's poll; what the protocol sends is written once per turn, by
 * tcp_flush. Order within a turn: tcp_turn (deadlines, resumed input), then whatever answers, then tcp_flush.
 */
#ifndef OS_TCP_H
#define OS_TCP_H

#include <uv.h>

#include "base/clock.h"
#include "base/dial.h"
#include "base/log.h"
#include "base/stream.h"

struct tcp;
struct tcp_listener;

struct tcp_conf {
	uint32_t max_conns;  /* accepted connections at once; more are closed right after accept */
	size_t out_max;      /* queued bytes of a connection beyond which stream_room() is 0 */
	size_t out_limit;    /* queued bytes of a connection beyond which it is cut */
	size_t in_limit;     /* bytes kept of requests that are not whole, of all connections: beyond, one that adds more than its share is cut */
	uint32_t stall_ms;   /* a peer that takes nothing of what is queued for so long is cut */
	uint32_t linger_ms;  /* after stream_close: longest wait for the peer to take the rest and to hang up */
};
void tcp_conf_default(struct tcp_conf *c);

struct tcp_stats {
	uint64_t conns, accepted, refused, bytes_in, bytes_out, reads, writes;
};

struct tcp *tcp_open(uv_loop_t *loop, struct clock *clock, struct log *log, const struct tcp_conf *conf);
/*
 * Takes a port (0: a free one, *ret_port says which) without accepting yet: whoever connects before tcp_listen is refused.
 * EXISTS: somebody else has it; BAD_ARG: not an address of this machine; DENIED: not permitted. 'why' says what and where.
 */
enum status tcp_bind(struct tcp *t, const char *ip, uint16_t port, struct tcp_listener **ret, uint16_t *ret_port, char *why,
		     size_t why_size);
/* The same for who brings a carrier of his own: a socket that is bound, does not block and is not inherited. */
enum status tcp_socket(const char *ip, uint16_t port, int *ret, uint16_t *ret_port, char *why, size_t why_size);
/* Makes it listen. EXISTS: somebody else was quicker. */
enum status tcp_socket_listen(int fd, char *why, size_t why_size);
/* Accepts from now on; each connection speaks 'ops' and belongs to 'front'. */
enum status tcp_listen(struct tcp_listener *l, const struct stream_ops *ops, void *front, char *why, size_t why_size);
/*
 * Closes all listeners; connections live on. Those that are closed from now on wait for the peer to take the rest, but hardly for it to hang
 * up: a process that ends is not to be kept by a client that does not look.
 */
void tcp_unlisten(struct tcp *t);
/* Asks every connection to close as stream_close does, outgoing ones too. */
void tcp_hang_up(struct tcp *t);
/* Deadlines and resumed input; before the turn of what answers. */
void tcp_turn(struct tcp *t, uint64_t now_ns);
/* Writes what is queued. Returns the carrier's next deadline; 0 when a protocol was called meanwhile, and so a turn is due. */
uint64_t tcp_flush(struct tcp *t, uint64_t now_ns);
void tcp_stats(const struct tcp *t, struct tcp_stats *ret);
/* Cuts what is left; closed(CLOSED) is called for each inside. The memory goes when the loop has run its close callbacks. */
void tcp_close(struct tcp *t);

/* A connected socket of ours as a stream: opened() is called inside. The descriptor is the carrier's from now on. */
void tcp_adopt(struct tcp *t, int fd, const struct stream_ops *ops, void *front);

/* base/dial.h over this carrier (dial_uv.c). No TLS in this build: a call that asks for it fails with DENIED. */
struct dial *dial_tcp_open(struct tcp *t, uv_loop_t *loop);
/* Calls that are not answered fail with CLOSED inside. Before tcp_close. */
void dial_tcp_close(struct dial *d);

#endif
