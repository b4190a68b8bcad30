/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A carrier for tests: bytes in by fake_stream_feed, bytes out into 'out'. Every input() gets a heap copy of exactly its bytes that
 * is freed right after the call, so that a protocol which keeps a slice of it is caught by the address sanitizer.
 */
#ifndef TESTS_LIB_FAKE_STREAM_H
#define TESTS_LIB_FAKE_STREAM_H

#include "base/buf.h"
#include "base/stream.h"

struct fake_stream {
	struct stream base;
	const struct stream_ops *ops;
	void *conn;
	struct buf in;        /* fed and not consumed */
	struct buf out;       /* sent by the protocol */
	size_t room;          /* what stream_room() answers, */
	bool real;            /* ... less what stands in 'out'; fake_stream_taken says when some of it was taken */
	bool full;            /* it was 0 since then */
	bool paused;
	bool eager;           /* resuming offers bytes from inside stream_pause, as a careless carrier might */
	bool offering;
	bool close_asked;     /* the protocol called stream_close, or input() failed */
	bool closed;          /* closed() has been called */
	unsigned pauses;      /* times that input was paused */
	char reason[160];     /* of stream_close */
	enum status why;      /* given to closed() */
};

void fake_stream_open(struct fake_stream *s, const struct stream_ops *ops, void *front, const char *peer);
void fake_stream_feed(struct fake_stream *s, struct slice bytes);  /* and offers what is there */
void fake_stream_step(struct fake_stream *s);                      /* a turn of the carrier: offers bytes, closes what asked for it */
void fake_stream_taken(struct fake_stream *s);                     /* the test has shortened 'out': tells the protocol, where it was full */
void fake_stream_hangup(struct fake_stream *s, enum status why);   /* the peer is gone: closed() */
void fake_stream_fini(struct fake_stream *s);                      /* hangs up if needed, frees */

#endif
