/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "front/websocket/ws_queue.h"

#include "base/be.h"
#include "base/mem.h"
#include "base/obj.h"

enum { COPY_MAX = 128, CHUNK_FIRST = 960, CHUNK_NEXT = 16 << 10, CAP_FIRST = 4 };
enum { OP_CONTINUE = 0, OP_TEXT = 1, OP_BINARY = 2, FIN = 0x80, LEN_16 = 126, LEN_64 = 127 };

static struct ws_entry *entry_new(struct ws_queue *q)
{
	if (q->n == q->cap) {
		if (q->first > q->cap / 2) {
			q->n -= q->first;
			memmove(q->v, q->v + q->first, q->n * sizeof(*q->v));
			q->first = 0;
		} else {
			q->cap = q->cap == 0 ? CAP_FIRST : q->cap * 2;
			q->v = mem_grow(q->v, q->cap * sizeof(*q->v));
		}
	}
	return &q->v[q->n++];
}

void ws_queue_put(struct ws_queue *q, const struct piece *v, unsigned n)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += v[i].bytes.n;
	q->bytes += bytes;
	if (n == 1 && v[0].blob != NULL && bytes > COPY_MAX) {
		*entry_new(q) = (struct ws_entry){.blob = blob_hold(v[0].blob), .p = v[0].bytes.p, .n = bytes};
		return;
	}
	if (q->chunk == NULL || q->chunk->n - q->chunk_used < bytes) {
		size_t size = (size_t)u64_max(bytes, q->chunk == NULL ? CHUNK_FIRST : CHUNK_NEXT);
		blob_drop(q->chunk);
		q->chunk = blob_new(size);
		q->chunk_used = 0;
	}
	*entry_new(q) = (struct ws_entry){.blob = blob_hold(q->chunk), .p = q->chunk->p + q->chunk_used, .n = bytes};
	for (unsigned i = 0; i < n; i++) {
		if (v[i].bytes.n > 0)
			memcpy(q->chunk->p + q->chunk_used, v[i].bytes.p, v[i].bytes.n);
		q->chunk_used += v[i].bytes.n;
	}
}

static size_t put_head(uint8_t *to, uint8_t first, size_t n)
{
	to[0] = first;
	if (n < LEN_16) {
		to[1] = (uint8_t)n;
		return 2;
	}
	if (n <= UINT16_MAX) {
		to[1] = LEN_16;
		be16_put(to + 2, (uint16_t)n);
		return 4;
	}
	to[1] = LEN_64;
	be64_put(to + 2, n);
	return WS_HEAD_MAX;
}

size_t ws_queue_gather(struct ws_queue *q, uint8_t *to, bool text)
{
	size_t used = 0;

	while (!ws_queue_empty(q) && used < WS_GATHER) {
		struct ws_entry *e = &q->v[q->first];
		size_t n = (size_t)u64_min(e->n, WS_FRAGMENT);
		uint8_t op = e->begun ? OP_CONTINUE : text ? OP_TEXT : OP_BINARY;

		used += put_head(to + used, (uint8_t)(op | (n == e->n ? FIN : 0)), n);
		if (n > 0)
			memcpy(to + used, e->p, n);
		used += n;
		q->bytes -= n;
		e->p += n;
		e->n -= n;
		e->begun = true;
		if (e->n == 0) {
			blob_drop(e->blob);
			q->first++;
		}
	}
	CHECK(used <= WS_GATHER_MAX);
	if (ws_queue_empty(q))
		ws_queue_free(q);
	return used;
}

void ws_queue_free(struct ws_queue *q)
{
	for (uint32_t i = q->first; i < q->n; i++)
		blob_drop(q->v[i].blob);
	mem_free(q->v);
	blob_drop(q->chunk);
	*q = (struct ws_queue){0};
}
