/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* A native front with a fake engine behind it and one fake connection before it. Requests in, answers out. */
#ifndef TESTS_LIB_NATIVE_RIG_H
#define TESTS_LIB_NATIVE_RIG_H

#include "front/native/native.h"
#include "tests/lib/fake_engine.h"
#include "tests/lib/fake_stream.h"
#include "wire/codes.h"
#include "wire/frame.h"

struct rig {
	struct fake_engine e;
	struct fake_stream s;
	struct front_conf conf;
	struct clock clock;
	struct log log;
	struct front_env env;
	void *front;
	uint64_t now_ns;
	int64_t now_ms;
	struct buf lines;        /* of the log */
	struct buf frame;        /* the answer looked at */
	struct buf request;
	struct buf unescaped;
	struct wire_cmd got;     /* the answer looked at */
	int32_t opaque;          /* of the last request */
	enum wire_form form;     /* of requests by rig_ask */
	int32_t version;
	bool stopped;
};

void rig_open(struct rig *r);
void rig_close(struct rig *r);  /* hangs up, stops the front, checks that nothing is left */

/* A request with name-value pairs of fields, ended by NULL. Feeds it; answers come after rig_turn. */
void rig_ask(struct rig *r, int32_t code, struct slice body, ...) __attribute__((sentinel));
void rig_ask_oneway(struct rig *r, int32_t code, struct slice body, ...) __attribute__((sentinel));
/* Appends a frame with a header that is given as it stands. */
void rig_frame_json(struct buf *b, const char *header, struct slice body);
void rig_feed_json(struct rig *r, const char *header, struct slice body);
void rig_turn(struct rig *r);   /* runs the engine until nothing is due */
bool rig_next(struct rig *r);   /* takes the next answer; false when there is none */
/* Takes the next answer, which must be there and have this code. */
void rig_expect(struct rig *r, int32_t code);
void rig_none(struct rig *r);   /* there must be no answer */
const char *rig_ext(struct rig *r, const char *name);  /* "(absent)" when it is */
const char *rig_remark(struct rig *r);
const char *rig_body(struct rig *r);

#endif
