/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What a broker tells name servers in other processes: its address and all its topics (103) when it starts, 10 s later
 * and then every 30 s; a topic that was created or changed at once, in a smaller 103, and those that change within 100 ms
 * after one together in the next; 104 when it stops.
 *
 * It keeps a connection to each server, and says everything at once when one had to be made anew or a server refused
 * something. A server that cannot be reached is tried again after a second, then after twice as long each time, up to
 * 5 s; the others do not wait for it. One request is under way to each server at a time.
 */
#ifndef NAMESRV_REGISTRAR_H
#define NAMESRV_REGISTRAR_H

#include "base/clock.h"
#include "base/dial.h"
#include "base/log.h"
#include "wire/bodies.h"

struct registrar;

struct registrar_env {
	struct clock *clock;
	struct log *log;
	struct dial *dial;
};

struct registrar_conf {
	struct slice servers;          /* "host:port;host:port" */
	struct slice cluster, broker;
	int64_t broker_id;
	struct slice addr;             /* "ip:port" that clients shall use */
	struct slice ha_addr;          /* "ip:port" of replication */
	uint32_t again_ms;             /* second registration after the first */
	uint32_t every_ms;             /* between all others */
	uint32_t retry_ms;             /* first pause before a connection is tried again; doubles up to retry_max_ms */
	uint32_t retry_max_ms;
	uint32_t coalesce_ms;          /* after changes of topics were said, further ones wait until so long has passed */
	uint32_t timeout_ms;           /* to connect; also to answer */
	uint32_t close_ms;             /* how long registrar_close waits for the answers */
	uint32_t max_servers;
	bool tls;
};
void registrar_conf_default(struct registrar_conf *c);

/* BAD_ARG: 'why' says what is wrong with the list of servers. An empty list is legal: then it does nothing. */
enum status registrar_open(struct registrar **ret, const struct registrar_env *env, const struct registrar_conf *conf,
                           char *why, size_t why_size);
/*
 * A topic is there or has changed, with the permission that it shall have in routes. What was said before the first
 * turn is in the first registration.
 */
void registrar_topic(struct registrar *r, const struct wire_topic *topic);
/*
 * A topic is gone: it is not in the registrations any more (name servers forget it when they are told to, or with the
 * broker).
 */
void registrar_topic_drop(struct registrar *r, struct slice topic);
/*
 * Whoever is told that a topic is there asks a name server for it next. So the teller can wait: the topic of the last
 * registrar_topic has the number registrar_said; every server that is connected has confirmed the changes up to number
 * registrar_known. Servers that cannot be reached do not count: with none connected, all is known.
 */
uint64_t registrar_said(const struct registrar *r);
uint64_t registrar_known(const struct registrar *r);
/*
 * Does what is due; returns the next deadline in mono ns, NEVER for none. The process calls it after every poll of its
 * loop, because what the calls above and the streams bring about is done here.
 */
uint64_t registrar_turn(struct registrar *r);
/* Says good-bye to every connected server; closed(arg) fires from a turn, and the registrar is freed after it. */
void registrar_close(struct registrar *r, void (*closed)(void *arg), void *arg);

#endif
