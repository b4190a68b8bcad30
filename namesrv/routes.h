/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Private to namesrv/: the route table. Time comes in as 'now' (mono ns), text is copied, nothing here speaks a
 * protocol.
 *
 * A broker is a name with one address per id (0 is the master). Topics belong to names, not to addresses: they are set
 * by the registrations of masters and leave with the last address of the name. The write permission that an
 * administrator takes from a broker is kept beside its topics, so that the broker's next registration does not give it
 * back.
 */
#ifndef NAMESRV_ROUTES_H
#define NAMESRV_ROUTES_H

#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "wire/bodies.h"

enum { ROUTE_NAME_MAX = 255, ROUTE_ADDR_MAX = 255, ROUTE_ADDRS_MAX = 64 }; /* bytes of a name, of an address; addresses of one broker */
enum { ROUTE_READ = 4, ROUTE_WRITE = 2 };

struct route_addr {
	struct list link;         /* in its broker */
	struct route_broker *broker;
	int64_t id;
	char *addr, *ha_addr;
	uint64_t timeout_ns;      /* NEVER: does not expire */
	struct heap_node expiry;
	struct wire_data_version version;
	const void *owner;        /* the connection that registered it last; NULL: none */
};
struct route_broker {
	struct list link;         /* in the table */
	char *name, *cluster;
	struct list addrs;        /* struct route_addr, ascending id */
	unsigned n_addrs;
	uint32_t n_topics;
	bool wiped;               /* no topic of it is writable */
	bool acting_master;       /* enableActingMaster, handed through */
};
struct route_queue {
	struct route_broker *broker;
	uint32_t read_queues, write_queues, perm, sys_flag;
};
struct route_topic {
	struct list link;         /* in the table */
	char *name;
	struct route_queue *v;
	unsigned n, cap;
};
struct routes {
	struct list brokers, topics; /* in the order in which they came */
	struct map broker_names, topic_names;
	struct heap expiry;
	uint32_t n_queues;        /* of all topics */
	uint32_t max_brokers, max_topics, max_queues;
};
void routes_init(struct routes *r, uint32_t max_brokers, uint32_t max_topics, uint32_t max_queues);
void routes_fini(struct routes *r);

struct route_register {
	struct slice cluster, broker, addr, ha_addr;
	int64_t id;
	uint64_t timeout_ns;
	bool acting_master;
	const void *owner;
	const struct wire_topics *topics;
};
/*
 * A broker says what it is and has. OK; BAD_ARG: a name or address that clients could not use; BUSY: a limit is
 * reached, what fitted was taken; NO_MEMBER: a single topic of a broker that is not known, which shall register with
 * all it has first.
 */
enum status routes_register(struct routes *r, const struct route_register *v, uint64_t now);
/* What a slave needs to know of its master; empty when there is none. */
void routes_master(const struct routes *r, struct slice broker, struct slice *ret_addr, struct slice *ret_ha_addr);
/* One address leaves; with the last one the broker and its topics. */
void routes_unregister(struct routes *r, struct slice broker, int64_t id, struct slice addr);
void routes_owner_gone(struct routes *r, const void *owner, void (*gone)(void *arg, const struct route_addr *), void *arg);
/* A sign of life. False when the address is not known. */
bool routes_touch(struct routes *r, struct slice broker, struct slice addr, uint64_t now);
const struct route_addr *routes_find_addr(const struct routes *r, struct slice broker, struct slice addr);
/* Drops what has expired; gone() is told before. Returns the next deadline. */
uint64_t routes_turn(struct routes *r, uint64_t now, void (*gone)(void *arg, const struct route_addr *), void *arg);

/* Adds or changes a topic of a broker. False: a limit is reached, or the name is not usable. */
bool routes_topic_put(struct routes *r, struct route_broker *b, const struct wire_topic *t);
/*
 * Drops a topic of one broker (by name), of all brokers of a cluster, or altogether (both empty). False when there was
 * nothing.
 */
bool routes_topic_drop(struct routes *r, struct slice topic, struct slice broker, struct slice cluster);
struct route_broker *routes_broker(const struct routes *r, struct slice name);
struct route_topic *routes_topic(const struct routes *r, struct slice name);
/* Takes or gives back the write permission; the number of topics that it concerns. */
uint32_t routes_write_perm(struct routes *r, struct slice broker, bool writable);

/* The permission that clients are told. */
static inline uint32_t route_perm(const struct route_queue *q)
{
	return q->broker->wiped ? q->perm & ~(uint32_t)ROUTE_WRITE : q->perm;
}
/* True when clients can use the text as it is: not empty, not too long, no blanks, quotes or control characters. */
bool route_text_ok(struct slice s, size_t max);

#endif
