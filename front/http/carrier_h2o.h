/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What the files around libh2o share: http_h2o.c (the front and its thread), conn_h2o.c (connections), call_h2o.c (requests and their answers).
 *
 * libh2o 2.2 reads, writes, does TLS and timers, and takes chunked bodies apart. It is lenient with heads, merges deadlines, and does not look at the
 * socket while a request waits for its answer. So its callback for "something was read" goes through ours: a head is looked at, whole, before the
 * library sees it; refusals are ours; bytes of further requests are kept from it until the answer is out.
 *
 * States of a connection; in each it is in the list of the same name, oldest first, so that only the first has to be looked at for its deadline.
 *
 *   HANDSHAKE -> IDLE <-> READING -> CALL <-> WRITING
 *                  ^---------------------------|          READING -> LINGER
 *
 *   HANDSHAKE  TLS; the library's HTTP connection is not there yet
 *   IDLE       between requests
 *   READING    a part of a request is there
 *   CALL       the interface has it: 'req' is valid, and the library does not read
 *   WRITING    the same, and bytes of the answer are on their way to the socket
 *   LINGER     it was refused; what still comes is thrown away, so that the caller gets to read why
 *   CLOSING    the library has closed it, but for what TLS wants to say yet; also, for a moment, between an answer and the next request
 */
#ifndef FRONT_HTTP_CARRIER_H2O_H
#define FRONT_HTTP_CARRIER_H2O_H

#include <pthread.h>
#include <stdatomic.h>

#include <h2o.h>
#include <h2o/http1.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/obj.h"
#include "engine/port.h"
#include "front/http/head.h"
#include "front/http/http_front.h"

/* The ways around 2.2's habits were read in its sources; another version wants reading first. */
_Static_assert(H2O_LIBRARY_VERSION_MAJOR == 0 && H2O_LIBRARY_VERSION_MINOR == 13, "libh2o 2.2");

#define CONN_MAGIC 0x48434f4eu
#define HTTP_MAGIC 0x48545450u

enum {
	CONN_PEER_SIZE = 64,
	SLICE_MAX = 128 << 10,    /* bytes of an answer that are given to the socket at once: progress is seen in such steps */
	FEED_MAX = 8 << 10,       /* bytes of further requests that are given to the library at once */
	HEAD_LIMIT = 400 << 10,   /* the library refuses longer ones itself */
	LINGER_BYTES = 64 << 20,
	BODIES_HELD = 16,         /* so many of the largest bodies may be in memory at once, over all connections */
	BODIES_MIN = 64 << 20,
	SMALL_BODY = 64 << 10,    /* those that are never refused because of the others */
	UNSENT_MAX = 32 << 10,    /* bytes that the kernel keeps for one that takes nothing: without a limit it would be megabytes each */
	ACCEPTS_MAX = 64,         /* connections that are taken in one go */
};
#define LINGER_NS (2 * SEC_NS)
#define HANDSHAKE_NS (10 * SEC_NS)
#define GRACE_NS (2 * SEC_NS)     /* how long connections may take to finish after a drain */
#define LOOK_NS (100 * MS_NS)     /* how long a caller that closed his side may wait for his answer, and how often we look */

enum conn_state { CONN_HANDSHAKE, CONN_IDLE, CONN_READING, CONN_CALL, CONN_WRITING, CONN_LINGER, CONN_CLOSING, CONN_STATES };

struct http;
struct conn {
	uint32_t magic;
	enum conn_state state;
	struct http *front;
	h2o_socket_t *sock;
	struct list link;         /* front->conns[state] */
	struct list arming;       /* front->arming: the library will start to read, and our callback has to go before its own */
	struct list dirty;        /* front->dirty: bytes to send */
	struct list suspect;      /* front->suspects: the caller closed his side, or sends on while he waits */
	uint64_t since_ns;        /* when it came into its list */
	char peer[CONN_PEER_SIZE];
	unsigned peer_n;
	bool tls;
	/* Reading. */
	size_t scanned;           /* http_head_end's */
	uint8_t *head;            /* of the current request: its headers' places, then its bytes; NULL: none */
	struct http_head parsed;
	size_t head_n;            /* bytes of the head in the socket's buffer */
	struct http_chunks chunks;
	struct buf stash;         /* bytes of further requests, from stash_at on */
	size_t stash_at;
	size_t held;              /* bytes of it in front->held */
	size_t lingered;          /* bytes that were thrown away */
	/* The call. */
	h2o_req_t *req;           /* NULL: none */
	struct http_call call;
	h2o_generator_t generator;
	bool begun;               /* the library has the answer's head */
	bool streaming;
	size_t held_stream;       /* bytes of it in front->held_streams: what is unsent, and what it was promised room for */
	bool finished;            /* the interface has said its last word, or was told that the caller is gone */
	bool stirred;             /* something happened on the socket while the answer was on its way */
	bool flying_now;          /* the library has bytes that it did not confirm */
	struct buf queue;         /* bytes of the answer that nobody has given to the library */
	struct buf flying;        /* those it has, or gets next; from flown on */
	size_t flown, flight;     /* flight: how many of them it has */
};

struct http_listener {
	struct http *front;
	h2o_socket_t *sock;       /* NULL: not accepting */
	int fd;                   /* -1: given to the socket, or closed */
	bool tls;
};

/* All but 'env', 'thread', the atomics and what says so belongs to the HTTP thread. */
struct http {
	uint32_t magic;
	struct front_env env;
	const struct front_conf *conf;
	struct engine_port *port;
	struct http_api *api;
	size_t max_header;
	size_t held;              /* bytes of requests that are not answered, and of large answers */
	size_t held_streams;      /* of streams: their slow readers take nothing from those who send */
	size_t max_held;          /* of either */
	uint64_t request_ns, stall_ns;
	/* The library's. */
	h2o_globalconf_t config;
	h2o_context_t ctx;
	h2o_loop_t *loop;
	h2o_accept_ctx_t accept;
	SSL_CTX *ssl;
	h2o_socket_t *bell;       /* reads bell_fd */
	h2o_socket_cb h2o_read;   /* the library's callback for bytes of a request */
	struct http_listener listeners[FRONT_PORTS_MAX];
	unsigned n_listeners;
	uint64_t accept_at_ns;    /* no descriptors were left: accept again then; 0: accepting */
	/* Connections. */
	struct list conns[CONN_STATES];
	struct list arming, dirty, suspects, dead;
	uint64_t now_ns;          /* of this turn; old after a wait, until somebody asks carrier_now */
	bool now_fresh;
	uint64_t look_at_ns;      /* when suspects are looked at again */
	uint64_t drained_ns;      /* when the drain began; 0: it did not */
	bool engine_wanted;       /* the engine's thread has something to serve */
	/* The process's thread. */
	pthread_t thread;
	bool running, stopping;
	bool owner_wanted;        /* the HTTP thread has something to take */
	void (*stopped)(void *);
	void *stopped_arg;
	/* Both. */
	int bell_fd;
	atomic_bool asleep, rung, want_drain, want_stop, ended;
	atomic_ulong n_conns, n_requests, n_accepted, n_refused, n_turned_away;
};

/* The time, taken once after each wait. */
static inline uint64_t carrier_now(struct http *f)
{
	if (!f->now_fresh)
		f->now_ns = clock_mono_ns(f->env.clock);
	f->now_fresh = true;
	return f->now_ns;
}

/* ---- conn_h2o.c ---- */
void conn_accept(struct http *f, int fd, const struct sockaddr *peer, bool tls);
/* After each run of the library's loop: our callbacks go before its own, and further requests that are here already are begun. */
void conn_arm_all(struct http *f);
/* Deadlines. Returns the next. */
uint64_t conn_turn_all(struct http *f);
/* Ends a connection whatever it is doing. It is gone soon, not at once. */
void conn_kill(struct conn *c);
void conn_enter(struct conn *c, enum conn_state state);
/* Counts how many bytes of requests a connection holds now. False: all together hold too many. */
bool conn_hold(struct conn *c, size_t n);
/* The same for a stream's bytes, which are counted by themselves. */
bool conn_hold_stream(struct conn *c, size_t n);
void conn_bury(struct http *f);
size_t conn_count(const struct http *f);

/* ---- call_h2o.c ---- */
/* The library's handler of all requests. */
int call_begin(h2o_handler_t *self, h2o_req_t *req);
/* Sends what is queued. */
void call_flush_all(struct http *f);
/* The caller is gone, or has to go: the interface is told, and the connection ends. */
void call_kill(struct conn *c);

#endif
