/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The WebSocket front over the real engine, and clients of its JSON protocol on a carrier of whole messages. The world is the contract suite's
 * (tests/contract/front.h): set front_kind_under_test to &ws_front_kind.
 */
#ifndef TESTS_LIB_WS_RIG_H
#define TESTS_LIB_WS_RIG_H

#include <jansson.h>

#include "base/list.h"
#include "base/stream.h"
#include "tests/contract/front.h"

struct ws_client {
	struct front_peer base;
	struct stream stream;
	void *conn;
	struct list in;        /* messages that a paused protocol has not been offered yet */
	struct list out;       /* messages that it sent, not read yet */
	size_t out_bytes;
	size_t room;           /* of the carrier's queue */
	size_t peak;           /* most bytes ever queued */
	bool stalled;          /* does not read: what is queued stays */
	bool full;             /* stream_room() was 0 */
	bool paused, close_asked, closed;
	int code;              /* of the close */
	char reason[160];
	json_t *got;           /* the last one read */
	char text[512];        /* and its beginning */
	struct front_answers answers;
	uint64_t seq;          /* of the message received last */
};

extern const struct front_kind ws_front_kind;

struct ws_client *ws_connect(struct front_world *w);
void ws_say(struct ws_client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ws_say_bytes(struct ws_client *c, struct slice bytes);
void ws_step(struct ws_client *c);                   /* a turn of the carrier */
/* The next message, NULL when there is none; valid until the next call. */
json_t *ws_next(struct ws_client *c);
/* Runs the world until a message comes; it must have this type. "": any type. */
json_t *ws_expect(struct ws_client *c, const char *type);
void ws_expect_nothing(struct ws_client *c, uint64_t ms);
/* An error must come, of this status. */
void ws_expect_error(struct ws_client *c, enum status st);
/* bye must come with this, and then the close. */
void ws_expect_bye(struct ws_client *c, int code, bool reconnect);
const char *ws_text(const json_t *j, const char *name);     /* "(absent)" */
json_int_t ws_number(const json_t *j, const char *name);    /* -1: absent */
void ws_hang_up(struct ws_client *c);                /* and frees it */
struct ws *ws_front(struct front_world *w);
void ws_put_topic(struct front_world *w, const char *name, uint32_t queues);
/* One message at a time, each stored when this returns; bodies are numbers. */
void ws_put(struct ws_client *c, const char *topic, const char *body);
void ws_put_numbers(struct ws_client *c, const char *topic, unsigned from, unsigned to);

#endif
