/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The seam of the HTTP front: a call, as http_h2o.c hands it to the interface (api.c and its neighbours), which knows no type of h2o.
 *
 * Everything of a call happens on the HTTP thread. Life of a call: http_api_call (which may answer inside), then any of writable and gone, then
 * http_call_end from the carrier as its last word; the call's memory is the carrier's. What the interface needs of the request beyond http_api_call
 * it may keep pointing at: the request's bytes live as long as the call.
 *
 * An answer is one http_reply; or http_stream_begin, any number of http_stream_write, http_stream_end. After http_reply or http_stream_end the
 * interface does not touch the call any more, except that gone() never comes after them.
 */
#ifndef FRONT_HTTP_HTTP_H
#define FRONT_HTTP_HTTP_H

#include "base/blob.h"
#include "base/buf.h"
#include "front/front.h"

struct http_api;
struct http_call;

struct http_header {
	struct slice name;        /* lower case */
	struct slice value;
};

/* What a carrier implements. */
struct http_carrier_ops {
	/* 'headers' are whole lines "name: value\r\n", copied. 'body' is copied unless its blob is held. Content-Length and Date are the carrier's. */
	void (*reply)(struct http_call *, unsigned status, struct slice headers, const struct piece *body, unsigned n);
	void (*stream_begin)(struct http_call *, unsigned status, struct slice headers);
	/* Queues bytes. The carrier calls api.writable when all that was queued is gone to the socket. */
	void (*stream_write)(struct http_call *, const struct piece *v, unsigned n);
	void (*stream_end)(struct http_call *);
	/*
	 * May so many bytes of an answer be kept for a caller who perhaps does not take them? What all callers are kept is bounded. True: they count, of a stream until
	 * something is written: then it counts by what is unsent.
	 */
	bool (*room)(struct http_call *, size_t n);
};

struct http_call {
	const struct http_carrier_ops *ops;
	/* The request, filled by the carrier. */
	struct slice method;      /* "GET" */
	struct slice path;        /* as it came, without the query, not decoded */
	struct slice query;       /* without '?', not decoded */
	struct slice host, origin; /* empty when absent */
	const struct http_header *headers;
	unsigned n_headers;
	struct slice body;
	struct slice peer;        /* "ip:port" */
	bool tls;
	/* The interface's. */
	void *state;              /* what waits for an answer; NULL: nothing */
	size_t unsent;            /* bytes of a stream that were queued and did not go to the socket yet; the carrier's count */
};

/* ---- What the interface implements (api.c) ---- */

struct http_api_env {
	struct engine *engine;    /* of the HTTP thread: a port */
	struct clock *clock;
	struct log *log;
	const struct front_conf *conf;
	void (*random)(void *to, size_t n);
	/* The process's part of /metrics, as front_env's: may be NULL. */
	void (*describe)(void *arg, struct buf *metrics);
	void *describe_arg;
};
struct http_api *http_api_open(const struct http_api_env *env);
/* A request has come, whole. */
void http_api_call(struct http_api *a, struct http_call *c);
/* All that was queued of a stream went to the socket. */
void http_api_writable(struct http_api *a, struct http_call *c);
/* Perhaps something was given back of what is kept for all callers (room()): streams that wait for it go on. Before the carrier sleeps. */
void http_api_freed(struct http_api *a);
/* The caller hung up before the answer was complete: what was given to him and is not settled goes back. No answer is wanted any more. */
void http_api_gone(struct http_api *a, struct http_call *c);
/* What is due (waits that ran out, heartbeats); returns the next deadline in mono ns, NEVER for none. After engine_port_turn. */
uint64_t http_api_turn(struct http_api *a, uint64_t now_ns);
/* New calls are answered 503; waiting ones are answered and streams ended at once. */
void http_api_drain(struct http_api *a);
/* No call and no request to the engine is under way. */
bool http_api_idle(const struct http_api *a);
void http_api_close(struct http_api *a);

/* A problem document (RFC 9457); without a detail or an instance where they are empty. For refusals that the carrier makes itself, too. */
void api_problem_json(struct buf *b, unsigned http, enum status st, struct slice detail, struct slice instance);

/* Header by lower-case name; empty slice when absent. */
struct slice http_header(const struct http_call *c, const char *name);

/* A file of the web UI, from the program's own image (files.c). */
struct http_file {
	const char *path;         /* "/", "/app.js" */
	const char *type;
	const uint8_t *bytes, *end;
};
extern const struct http_file http_files[]; /* ended by path NULL */

#endif
