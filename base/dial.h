/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Connecting to somebody, injected. What comes back is a byte stream as in base/stream.h: the one who dials is a
 * protocol like any other, so its conn_size bytes of connection state are the carrier's, and everything after opened()
 * is as for an accepted connection.
 *
 * What an implementer (os/dial_uv.c, a test's fake network) owes:
 *  - connect() takes the call, copies host, and returns. Exactly one of these follows, from the loop and never from inside connect():
 *    ops->opened(conn, front, stream, info) once the connection stands (TLS included, when it is asked for), or failed(call, why, text)
 *    with NO_MEMBER (refused, unreachable, unknown name), TIMEOUT, DENIED (TLS check failed) or CLOSED (the process ends); 'text' is
 *    for the log and valid during the call. After either the call struct is the caller's again and may be reused inside the callback.
 *  - Names are resolved without blocking the loop; the addresses are tried in turn until one answers or timeout_ms is over. A literal
 *    IPv4 or IPv6 address (no brackets) resolves at once.
 *  - info->peer is the address that was reached ("ip:port"); local_ip and local_port are our end of it.
 *  - TCP_NODELAY is set. Bytes that the protocol sends inside opened() go out first.
 *  - cancel() ends a call that has not been answered: neither callback follows, and the struct is the caller's at once. On a call that was
 *    answered already it does nothing.
 *  - The stream obeys base/stream.h: closed() exactly once at its end, whoever ended it; turn() is called when its deadline comes.
 */
#ifndef BASE_DIAL_H
#define BASE_DIAL_H

#include "base/stream.h"

struct dial;

/*
 * One attempt to connect. The caller zeroes it, fills the 'in' fields and leaves it alone until it is answered or
 * cancelled.
 */
struct dial_call {
	/* in */
	struct slice host;             /* name or literal address; borrowed for the connect() call only */
	uint16_t port;
	uint32_t timeout_ms;           /* for the whole attempt */
	bool tls;                      /* speak TLS, and check the peer's certificate as the process is configured to */
	const struct stream_ops *ops;  /* what is spoken over it */
	void *front;                   /* handed to ops->opened */
	void (*failed)(struct dial_call *, enum status why, const char *text);
	/* private to the implementer; priv[0] NULL: idle */
	void *priv[4];
};

struct dial_ops {
	void (*connect)(struct dial *, struct dial_call *);
	void (*cancel)(struct dial *, struct dial_call *);
};
struct dial {
	const struct dial_ops *ops;
};
static inline void dial_connect(struct dial *d, struct dial_call *c) { d->ops->connect(d, c); }
static inline void dial_cancel(struct dial *d, struct dial_call *c) { d->ops->cancel(d, c); }

#endif
