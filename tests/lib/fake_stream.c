/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/lib/fake_stream.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/obj.h"

#define FAKE_ROOM (1u << 20)

static void offer(struct fake_stream *s)
{
	if (s->offering)
		return;
	s->offering = true;
	while (!s->paused && !s->close_asked && !s->closed && s->in.n > 0) {
		size_t n = s->in.n;
		uint8_t *copy = malloc(n);
		CHECK(copy != NULL);
		memcpy(copy, s->in.p, n);
		ptrdiff_t used = s->ops->input(s->conn, slice_of(copy, n));
		free(copy);
		CHECK(used <= (ptrdiff_t)n);
		if (used < 0) {
			s->close_asked = true;
			s->why = ST_PROTO;
			break;
		}
		buf_drop_front(&s->in, (size_t)used);
		if (used == 0)
			break;
	}
	s->offering = false;
}

static void out_send(struct stream *base, const struct piece *v, unsigned n)
{
	struct fake_stream *s = container_of(base, struct fake_stream, base);

	CHECK(!s->closed);
	if (s->close_asked)
		return;
	for (unsigned i = 0; i < n; i++)
		buf_slice(&s->out, v[i].bytes);
}

static size_t out_room(struct stream *base)
{
	struct fake_stream *s = container_of(base, struct fake_stream, base);

	if (!s->real)
		return s->room;
	s->full = s->full || s->out.n >= s->room;
	return s->out.n >= s->room ? 0 : s->room - s->out.n;
}

static void out_pause(struct stream *base, bool pause)
{
	struct fake_stream *s = container_of(base, struct fake_stream, base);

	CHECK(!s->closed);
	if (pause && !s->paused)
		s->pauses++;
	s->paused = pause;
	if (!pause && s->eager)
		offer(s);
}

static void out_close(struct stream *base, int code, const char *reason)
{
	struct fake_stream *s = container_of(base, struct fake_stream, base);

	CHECK(!s->closed);
	s->close_asked = true;
	snprintf(s->reason, sizeof(s->reason), "%d %s", code, reason == NULL ? "" : reason);
}

static const struct stream_out_ops out_ops = {out_send, out_room, out_pause, out_close};

void fake_stream_open(struct fake_stream *s, const struct stream_ops *ops, void *front, const char *peer)
{
	struct stream_info info = {.peer = slice_str(peer), .peer_ip = 0x7f000001, .peer_port = 40000, .local_ip = 0x7f000001,
		.local_port = 10911};

	memset(s, 0, sizeof(*s));
	s->base.out = &out_ops;
	s->ops = ops;
	s->room = FAKE_ROOM;
	s->conn = mem_new(ops->conn_size);
	ops->opened(s->conn, front, &s->base, &info);
}

void fake_stream_feed(struct fake_stream *s, struct slice bytes)
{
	buf_slice(&s->in, bytes);
	offer(s);
}

void fake_stream_step(struct fake_stream *s)
{
	offer(s);
	if (s->close_asked && !s->closed)
		fake_stream_hangup(s, s->why);
}

void fake_stream_taken(struct fake_stream *s)
{
	if (!s->full || s->closed || s->close_asked || s->out.n > s->room / 2)
		return;
	s->full = false;
	s->ops->drained(s->conn);
}

void fake_stream_hangup(struct fake_stream *s, enum status why)
{
	CHECK(!s->closed);
	s->why = why;
	s->ops->closed(s->conn, why);
	s->closed = true;
	/* The connection's memory goes with closed(): whoever touches it later is caught. */
	mem_free(s->conn);
	s->conn = NULL;
}

void fake_stream_fini(struct fake_stream *s)
{
	if (!s->closed)
		fake_stream_hangup(s, ST_OK);
	buf_fini(&s->in);
	buf_fini(&s->out);
}
