/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The name server: which brokers there are, and which of them have which topics. It runs alone or inside a broker's
 * process.
 *
 * Brokers register over the wire (their topics leave the table when they say so, when their connection closes, or when
 * nothing was heard of them for their time), and the process's own broker by calls. The only thing that outlives the
 * process is the KV configuration, which the process keeps. Everything happens on one thread.
 */
#ifndef NAMESRV_NAMESRV_H
#define NAMESRV_NAMESRV_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"
#include "wire/bodies.h"

struct namesrv;

struct namesrv_env {
	struct clock *clock;
	struct log *log;
	/*
	 * The KV configuration changed: 'text' is all of it, to be stored and handed to namesrv_kv_load at the next start.
	 * Called before the change is answered. False: it could not be stored; then the change is taken back and refused.
	 * NULL: nothing is kept.
	 */
	bool (*kv_changed)(void *arg, struct slice text);
	void *arg;
};

struct namesrv_conf {
	uint16_t listen_port;          /* shown by request 319 only */
	uint32_t max_frame, max_header; /* of one request */
	uint64_t idle_ms;              /* a connection without traffic is closed after it */
	uint64_t expire_ms;            /* a broker that is silent so long is dropped, unless its registration names a time of its own */
	uint64_t expire_max_ms;        /* the longest time that a registration may name */
	uint32_t max_brokers, max_topics, max_queue_datas; /* of all brokers together */
	uint32_t max_kv, max_kv_bytes; /* pairs; bytes of the whole KV configuration */
	bool order_conf;               /* orderMessageEnable: routes carry the order configuration of their topic */
	bool order_conf_to_brokers;    /* returnOrderTopicConfigToBroker: the answer to a registration carries all of it */
	bool topic_list;               /* enableAllTopicList, enableTopicList: 206 and its like are answered */
};
void namesrv_conf_default(struct namesrv_conf *c);

struct namesrv *namesrv_open(const struct namesrv_env *env, const struct namesrv_conf *conf);
/* Frees everything. No connection may be used afterwards: close the carriers first. */
void namesrv_close(struct namesrv *ns);
/* Drops brokers whose time is over. Returns the next deadline in mono ns, NEVER when there is none. */
uint64_t namesrv_turn(struct namesrv *ns);

/* The protocol; a carrier gives a struct namesrv as 'front'. */
extern const struct stream_ops namesrv_stream;

/*
 * Takes over a stored KV configuration; at start, before any connection. False: 'why' says which line is wrong; nothing
 * was taken.
 */
bool namesrv_kv_load(struct namesrv *ns, struct slice text, char *why, size_t why_size);

/*
 * The broker of this process. It does not expire. Called again with the same names it moves to the new address. A topic
 * is put with the permission that it shall have in routes.
 */
void namesrv_local_broker(struct namesrv *ns, struct slice cluster, struct slice broker, int64_t id, struct slice addr);
void namesrv_local_topic(struct namesrv *ns, const struct wire_topic *topic);
void namesrv_local_topic_drop(struct namesrv *ns, struct slice topic);
void namesrv_local_gone(struct namesrv *ns); /* the broker stops: its address and its topics leave the table */

/* A JSON object of its numbers. */
void namesrv_describe(struct namesrv *ns, struct buf *json);

#endif
