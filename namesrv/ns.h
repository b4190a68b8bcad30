/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Private to namesrv/: the name server's state, its connections, and one request under way. */
#ifndef NAMESRV_NS_H
#define NAMESRV_NS_H

#include "namesrv/kv.h"
#include "namesrv/namesrv.h"
#include "namesrv/routes.h"
#include "wire/codes.h"
#include "wire/frame.h"

enum { NS_MAGIC = 0x4e534d31, NS_CONN_MAGIC = 0x4e534331, NS_PEER_MAX = 64 };
#define NS_ORDER_SPACE SLICE_LIT("ORDER_TOPIC_CONFIG")

struct namesrv {
	uint32_t magic;
	struct namesrv_env env;
	struct namesrv_conf conf;
	struct routes routes;
	struct kv kv;
	struct list conns;
	/* The process's own broker; local_name NULL: none. */
	char *local_name, *local_addr;
	int64_t local_id;
	/* Reused by every request: its fields' escapes, its answer, the answer's body. */
	struct buf scratch, out, body;
	struct wire_cmd cmd;
	uint32_t n_conns;
	uint64_t requests, refused, bad_frames, registrations, expired;
};

struct ns_conn {
	uint32_t magic;
	struct namesrv *ns;
	struct stream *stream;
	struct list link;
	uint64_t last_ns;     /* of the last bytes */
	char peer[NS_PEER_MAX];
	bool registered;      /* a broker has registered over it */
	bool blocked;         /* paused until the peer takes what was sent */
	bool closing;
};

struct ns_call {
	struct namesrv *ns;
	struct ns_conn *conn;
	const struct wire_cmd *cmd;
	struct wire_args args;
};
/* Serves the request; the answer stands in ns->out. */
void ns_serve(struct ns_call *c);
/* The parts of it that have a file of their own. */
void ns_serve_kv_put(struct ns_call *c);
void ns_serve_kv_get(struct ns_call *c);
void ns_serve_kv_drop(struct ns_call *c);
void ns_serve_kv_list(struct ns_call *c);
void ns_serve_config_get(struct ns_call *c);
void ns_serve_config_put(struct ns_call *c);

/* Answers. Bodies are built in ns->body before. */
void ns_answer(struct ns_call *c, int32_t code, const char *remark);
void ns_answer_body(struct ns_call *c);                        /* SUCCESS with ns->body */
void ns_answer_field(struct ns_call *c, const char *name, struct slice value);
void ns_answer_count(struct ns_call *c, const char *name, int64_t value);
/* False: a field was missing or illegal, and the request has been answered so. */
bool ns_fields_ok(struct ns_call *c);

#endif
