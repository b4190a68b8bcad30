/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The HTTP interface over a real engine on a disk in memory, through a port as in the process, with a clock that the test moves. Calls are made by
 * hand; their answers are kept.
 */
#ifndef TESTS_LIB_HTTP_RIG_H
#define TESTS_LIB_HTTP_RIG_H

#include "engine/port.h"
#include "front/front.h"
#include "front/http/http.h"
#include "tests/lib/group_rig.h"

#define HTTP_RIG_HEADERS 16
struct http_call_rig {
	struct http_call c;
	struct http_rig *h;
	char *text;                  /* of the request */
	size_t text_n;
	struct http_header headers[HTTP_RIG_HEADERS];
	unsigned status;             /* 0: no answer yet */
	bool streaming, over;        /* over: answered, or its stream ended */
	bool stalled;                /* the socket takes nothing */
	bool gone;
	struct buf head, body;       /* body: what the socket took of a stream */
	struct buf queued;           /* what it did not */
};
struct http_rig {
	struct rig r;
	struct engine_port *port;
	struct http_api *api;
	struct front_conf conf;
	uint64_t random;             /* the next "secret" bytes */
	struct http_call_rig *calls[1024];
	unsigned n_calls;
};
/* For worlds with an engine of their own: the interface and its port only. A turn serves the engine's side last. */
void http_rig_attach(struct http_rig *h, struct engine *e, struct clock *clock, struct log *log, const struct front_conf *conf);
void http_rig_attached_turn(struct http_rig *h, uint64_t now_ns);
void http_rig_detach(struct http_rig *h);  /* when it is idle */

extern size_t http_rig_room;               /* bytes that an answer may have */
extern size_t http_rig_kept;               /* bytes that all streams together may have queued, but for small events */
void http_rig_init(struct http_rig *h);    /* conf may be changed before http_rig_open */
void http_rig_open(struct http_rig *h);
void http_rig_restart(struct http_rig *h); /* drain, close, open again */
void http_rig_crash(struct http_rig *h);   /* the engine dies; what is not synced is lost */
void http_rig_fini(struct http_rig *h);    /* hangs up all, checks that nothing is left */
void http_rig_run(struct http_rig *h, uint64_t ms);
void http_rig_turns(struct http_rig *h, unsigned n);

/* 'target' with its query; 'headers' as "name: value\n..." in lower-case names, NULL: none. Host is localhost unless among them. */
struct http_call_rig *http_rig_start(struct http_rig *h, const char *method, const char *target, const char *headers, struct slice body);
void http_rig_gone(struct http_call_rig *c);
/* Goes on until the call is over, or 'ms' have passed. */
unsigned http_rig_wait(struct http_call_rig *c, uint64_t ms);
/* All three: the status; the answer stays in h->calls. */
struct http_call_rig *http_rig_ask(struct http_rig *h, const char *method, const char *target, const char *headers, const char *body);
const char *http_rig_body(struct http_call_rig *c);
const char *http_rig_head(struct http_call_rig *c);
void http_rig_stall(struct http_call_rig *c, bool stalled);
void http_rig_free(struct http_call_rig *c);

#endif
