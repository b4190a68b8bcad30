/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What a connection has to send: whole messages, which leave as WebSocket frames. Owned bytes are held and not copied until they leave, so a message
 * to a thousand connections stands in memory once. A message over WS_FRAGMENT goes as several frames, so that the library may put its own control
 * frames between them.
 */
#ifndef FRONT_WEBSOCKET_WS_QUEUE_H
#define FRONT_WEBSOCKET_WS_QUEUE_H

#include "base/blob.h"

#define WS_FRAGMENT (64u << 10)
#define WS_GATHER (16u << 10)              /* frames are put together up to here */
#define WS_HEAD_MAX 10u
#define WS_GATHER_MAX (WS_FRAGMENT + WS_HEAD_MAX + WS_GATHER)

struct ws_entry {
	struct blob *blob;       /* owns p */
	const uint8_t *p;        /* what is not sent yet */
	size_t n;
	bool begun;              /* a fragment of it has gone */
};
struct ws_queue {
	struct ws_entry *v;      /* v[first] .. v[n - 1]; NULL when empty */
	uint32_t first, n, cap;
	size_t bytes;
	struct blob *chunk;      /* what is copied goes here; NULL when nothing is queued */
	size_t chunk_used;
};

static inline bool ws_queue_empty(const struct ws_queue *q) { return q->first == q->n; }
void ws_queue_put(struct ws_queue *q, const struct piece *v, unsigned n); /* one message */
/* Takes whole frames off, into 'to' (WS_GATHER_MAX bytes); returns their bytes, 0 when the queue is empty. */
size_t ws_queue_gather(struct ws_queue *q, uint8_t *to, bool text);
void ws_queue_free(struct ws_queue *q);

#endif
