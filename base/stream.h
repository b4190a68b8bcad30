/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A byte stream between a carrier (TCP, TLS, WebSocket, the simulator's network) and a protocol (native, MQTT, WebSocket JSON),
 * neither of which knows the other. All calls happen on one thread.
 *
 * Life of a connection: opened, then any of input, drained, turn, then closed exactly once as the last call ever made. The
 * protocol may call stream_send and stream_close from any of its functions and from engine callbacks; after stream_close it
 * may still be called with closed() only, and that comes later, never inside stream_close.
 */
#ifndef BASE_STREAM_H
#define BASE_STREAM_H

#include "base/blob.h"
#include "base/status.h"

struct stream;

/* What the carrier knows about the peer; valid during opened() only. */
struct stream_info {
	struct slice peer;        /* "ip:port" as text */
	uint32_t peer_ip;         /* IPv4, host order; 0 when the peer is IPv6 */
	uint16_t peer_port;
	uint32_t local_ip;        /* IPv4 address the peer connected to, host order; 0 when IPv6 */
	uint16_t local_port;
	struct slice tls_identity; /* subject of the verified client certificate, empty without */
	struct slice subprotocol; /* WebSocket: the negotiated one */
	struct slice origin;      /* WebSocket: the Origin header */
};

/* What a protocol implements. */
struct stream_ops {
	const char *name;   /* "native", "namesrv", "mqtt", "ws-json": log area and label */
	bool framed;        /* input() gets whole messages instead of a byte run */
	size_t conn_size;   /* bytes of connection state; the carrier allocates them zeroed */
	size_t out_max;     /* queued bytes beyond which stream_room() is 0; 0, or more than the carrier's own bound: that one */
	size_t input_max;   /* the most unconsumed bytes that the carrier keeps for it; beyond: closed with PROTO */
	void (*opened)(void *conn, void *front, struct stream *out, const struct stream_info *);
	/*
	 * Bytes have come. Returns how many were consumed (0: needs more), negative: protocol error, the carrier closes. The rest is
	 * offered again, with more behind it.
	 */
	ptrdiff_t (*input)(void *conn, struct slice bytes);
	void (*drained)(void *conn);                     /* stream_room() is positive again after it was 0 */
	uint64_t (*turn)(void *conn, uint64_t now_ns);   /* keep-alive and the like; returns its next deadline, NEVER for none; may be NULL */
	void (*closed)(void *conn, enum status why);     /* OK: the peer closed; the conn's memory goes after it */
};

/* What a carrier implements. */
struct stream_out_ops {
	void (*send)(struct stream *, const struct piece *v, unsigned n);
	size_t (*room)(struct stream *);
	void (*pause)(struct stream *, bool pause);
	void (*close)(struct stream *, int code, const char *reason);
};
struct stream {
	const struct stream_out_ops *out;
};

/* Queues pieces in order; flushed at the end of the loop's turn. Never fails: after the peer is gone it does nothing. */
static inline void stream_send(struct stream *s, const struct piece *v, unsigned n) { s->out->send(s, v, n); }
static inline void stream_put(struct stream *s, struct slice b)
{
	struct piece v = {b, NULL};
	s->out->send(s, &v, 1);
}
/* How many more bytes the protocol should queue; 0: stop, and wait for drained(). Advice, not a wall: answers still go out. */
static inline size_t stream_room(struct stream *s) { return s->out->room(s); }
/* Stops (or resumes) input(). */
static inline void stream_pause(struct stream *s, bool pause) { s->out->pause(s, pause); }
/* Sends what is queued, then closes. 'code' matters to framed carriers only. */
static inline void stream_close(struct stream *s, int code, const char *reason) { s->out->close(s, code, reason); }

#endif
