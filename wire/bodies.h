/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Bodies of the remoting protocol that are JSON documents (and the binary form of a broker's registration).
 *
 * Decoding takes what the known peers send: Java's maps with unquoted integer or object keys, enums as names or
 * ordinals, numbers as strings, missing arrays. Size, depth and inflated size are bounded. A decoded body owns a struct
 * wire_doc in which its slices and arrays stand: free it with wire_doc_fini (also fine after a failed decode, which
 * leaves nothing behind). A decode that gives false has set *ret_why, a constant string that names what is wrong.
 *
 * Encoding appends to a buffer: compact, keys sorted, every map key quoted (the Go client cuts route data up by hand
 * and would dial to wrong addresses if there was a blank).
 */
#ifndef WIRE_BODIES_H
#define WIRE_BODIES_H

#include "base/buf.h"
#include "base/slice.h"

#define WIRE_BODY_MAX (16u << 20)      /* a document's bytes */
#define WIRE_BODY_DEPTH 32u            /* nested objects and arrays */
#define WIRE_INFLATED_MAX (64u << 20)  /* a registration's bytes, unpacked */

struct wire_doc {
	void *json;                    /* the parsed document */
	void *blocks;                  /* arrays that were made from it */
};
void wire_doc_fini(struct wire_doc *d);

/* A queue as clients name it. */
struct wire_mq {
	struct slice topic, broker;
	int32_t queue;
};

/* ---- 34 HEART_BEAT, 46 CHECK_CLIENT_CONFIG ----------------------------------------------------------------------- */

struct wire_sub {
	struct slice topic;
	struct slice expr;             /* subString */
	struct slice expr_type;        /* "TAG" when absent or empty */
	int64_t version;
	bool class_filter;
};
/* Enums are the ordinals of the protocol page: consumeType 0 to 2, messageModel 0 to 1, consumeFromWhere 0 to 5. */
struct wire_consumer {
	struct slice group;
	int type;                      /* 0 actively (pull), 1 passively (push), 2 pop */
	int model;                     /* 0 broadcasting, 1 clustering */
	int from;                      /* 0 last offset ... 4 first offset, 5 time stamp */
	bool unit_mode;
	struct wire_sub *subs;
	size_t n_subs;
};
struct wire_heartbeat {
	struct wire_doc doc;
	struct slice client_id;
	struct wire_consumer *consumers;
	size_t n_consumers;
	struct slice *producers;       /* group names */
	size_t n_producers;
	int32_t fingerprint;           /* heartbeatFingerprint, 0 when absent */
	bool without_sub;              /* the subscription sets are empty and must not erase the stored ones */
};
bool wire_heartbeat_decode(struct slice body, struct wire_heartbeat *ret, const char **ret_why);

struct wire_client_config {
	struct wire_doc doc;
	struct slice client_id, group;
	bool has_sub;
	struct wire_sub sub;
};
bool wire_client_config_decode(struct slice body, struct wire_client_config *ret, const char **ret_why);

/* ---- 41, 42: queue locks; 38: consumer ids; 220: reset ----------------------------------------------------------- */

struct wire_locks {
	struct wire_doc doc;
	struct slice client_id, group;
	struct wire_mq *v;
	size_t n;
};
bool wire_locks_decode(struct slice body, struct wire_locks *ret, const char **ret_why);
/* {"lockOKMQSet":[...]} of the v[i] whose granted[i] is set (all when granted is NULL). */
void wire_locks_answer(struct buf *b, const struct wire_mq *v, const bool *granted, size_t n);
void wire_consumer_ids(struct buf *b, const struct slice *ids, size_t n);
/* {"offsetTable":...}; 'as_list': the form that C++ clients read, else the one with objects as keys for Java and Go. */
void wire_reset_body(struct buf *b, const struct wire_mq *v, const int64_t *offsets, size_t n, bool as_list);

/* ---- Topics ------------------------------------------------------------------------------------------------------ */

struct wire_data_version {
	int64_t state, timestamp, counter;
};
static inline bool wire_data_version_eq(const struct wire_data_version *a, const struct wire_data_version *b)
{
	return a->state == b->state && a->timestamp == b->timestamp && a->counter == b->counter;
}
void wire_data_version(struct buf *b, const struct wire_data_version *v);
bool wire_data_version_decode(struct slice body, struct wire_data_version *ret, const char **ret_why);

struct wire_topic {
	struct slice name;
	uint32_t read_queues, write_queues;
	uint32_t perm;                 /* 4 read, 2 write, 1 inherit */
	uint32_t sys_flag;             /* 1 unit, 2 unit-sub */
	bool order;
};
/* 351: one TopicConfig. */
void wire_topic(struct buf *b, const struct wire_topic *t);
bool wire_topic_decode(struct slice body, struct wire_doc *doc, struct wire_topic *ret, const char **ret_why);

/* 21 and the inner part of 103: all topics of a broker with their version. */
struct wire_topics {
	struct wire_doc doc;
	struct wire_data_version version;
	struct wire_topic *v;
	size_t n;
};
void wire_topics(struct buf *b, const struct wire_data_version *version, const struct wire_topic *v, size_t n);
bool wire_topics_decode(struct slice body, struct wire_topics *ret, const char **ret_why);

/* 103. An empty body is a table without topics. 'compressed' is what the request's field says, not a guess. */
void wire_register(struct buf *b, const struct wire_data_version *version, const struct wire_topic *v, size_t n);
bool wire_register_packed(struct buf *b, const struct wire_data_version *version, const struct wire_topic *v, size_t n,
                          int32_t request_version);
bool wire_register_decode(struct slice body, bool compressed, int32_t request_version, struct wire_topics *ret,
                          const char **ret_why);

/* Subscription groups: 200, 201, 352. */
struct wire_group {
	struct slice name;
	bool consume, from_min, broadcast, orderly, notify;
	int32_t retry_queues, retry_max;
	int64_t broker_id, slow_broker_id;
	int32_t sys_flag;
	int32_t consume_timeout_min;
};
void wire_group_default(struct wire_group *g);
void wire_group(struct buf *b, const struct wire_group *g);
/* Absent fields are the defaults. */
bool wire_group_decode(struct slice body, struct wire_doc *doc, struct wire_group *ret, const char **ret_why);
/* 201. */
void wire_groups(struct buf *b, const struct wire_data_version *version, const struct wire_group *v, size_t n);

/* ---- Routes ------------------------------------------------------------------------------------------------------ */

struct wire_queue_data {
	struct slice broker;
	uint32_t read_queues, write_queues, perm, sys_flag;
};
struct wire_addr {
	int64_t id;                    /* 0: master */
	struct slice addr;             /* "ip:port" */
};
struct wire_broker_data {
	struct slice cluster, broker;
	struct wire_addr *addrs;
	size_t n_addrs;
	bool acting_master;            /* enableActingMaster */
};
/* 105 and 217. */
struct wire_route {
	struct wire_doc doc;           /* decode only */
	struct wire_broker_data *brokers;
	size_t n_brokers;
	struct wire_queue_data *queues;
	size_t n_queues;
	struct slice order_conf;       /* empty: left out */
};
void wire_route(struct buf *b, const struct wire_route *r);
bool wire_route_decode(struct slice body, struct wire_route *ret, const char **ret_why);

/* 106: brokers by name, names by cluster. The brokers are sorted or grouped as they come. */
struct wire_cluster_info {
	struct wire_doc doc;           /* decode only */
	struct wire_broker_data *brokers;
	size_t n_brokers;
};
void wire_cluster_info(struct buf *b, const struct wire_broker_data *brokers, size_t n);
bool wire_cluster_info_decode(struct slice body, struct wire_cluster_info *ret, const char **ret_why);
/* 901. */
void wire_member_group(struct buf *b, const struct wire_broker_data *broker);

/* ---- Lists and tables -------------------------------------------------------------------------------------------- */

/* {"brokerAddr":...,"topicList":[...]}; the address is left out when empty. 206, 224, 304, 305, 311 to 313. */
void wire_topic_list(struct buf *b, const struct slice *names, size_t n, struct slice broker_addr);
/* {"groupList":[...]}. */
void wire_group_list(struct buf *b, const struct slice *names, size_t n);
/* {"table":{...}} of texts: 28, 219, and the answer to 103. Between begin and end any number of puts. */
struct wire_table {
	struct buf *buf;
	bool any;
};
void wire_table_begin(struct wire_table *t, struct buf *b);
void wire_table_put(struct wire_table *t, struct slice name, struct slice value);
void wire_table_end(struct wire_table *t);
/* Reads such a table; the pairs stand in doc's memory. Numbers and booleans count as their text. */
struct wire_pair {
	struct slice name, value;
};
bool wire_table_decode(struct slice body, struct wire_doc *doc, struct wire_pair **ret, size_t *ret_n,
                       const char **ret_why);

/* A name server's KV configuration as a document, in the form of the stock kvConfig.json. 'v' is sorted by space. */
struct wire_kv {
	struct slice space, key, value;
};
void wire_kv(struct buf *b, const struct wire_kv *v, size_t n);
bool wire_kv_decode(struct slice text, struct wire_doc *doc, struct wire_kv **ret, size_t *ret_n, const char **ret_why);

/*
 * Java properties text, as 25, 26, 318 and 319 carry it: takes the next "name=value" line off *rest; false at the end.
 */
bool wire_properties_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value);
void wire_properties_put(struct buf *b, struct slice name, struct slice value);

#endif
