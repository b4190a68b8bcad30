/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * How a front plugs into the process. A front is a directory, one row in app/fronts.c, a section of settings, and a row in the
 * contract suite. A front whose 'stream' is set has all its I/O done by a carrier (os/tcp_uv.c).
 */
#ifndef FRONT_FRONT_H
#define FRONT_FRONT_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/stream.h"
#include "engine/engine.h"

/* What a front needs to know of the broker it serves. */
struct front_conf {
	struct slice cluster, broker;
	struct slice version;     /* of this program */
	uint64_t broker_id;
	uint32_t advertised_ip;   /* brokerIP1, IPv4 host order */
	uint16_t advertised_port; /* listenPort */
	uint32_t max_message;     /* body bytes */
	uint32_t max_header;      /* bytes of a request's header */
	uint32_t max_frame;       /* bytes of a whole frame, length word included */
	uint32_t max_requests;    /* requests of one connection under way at once */
	uint64_t idle_ms;         /* a connection without traffic is closed after it */
	uint64_t max_wait_ms;     /* longest long poll */
	struct slice settings;    /* the settings that tools may see, as lines of name=value; may be empty */
	uint64_t lease_ms;        /* default lease of a message that a member was given */
	uint32_t default_queues;  /* of a topic that is made because somebody sends to it */
	bool auto_create_topic;
	uint32_t delay_ms[18];    /* what the delay levels 1 to 18 mean */
	/* Browsers: who may talk to us from where. Lists are separated by commas. */
	struct slice hosts;       /* Host names that are answered beside IP addresses and localhost; "*": all */
	struct slice origins;     /* Origins beside our own that may write and open WebSockets: "https://app.example:8443"; "*": all */
	/* HTTP */
	uint32_t http_max_batch;  /* messages of one request */
	uint32_t http_max_body;   /* bytes of one request's body, a batch's too */
	uint32_t http_max_header; /* bytes of the request line and the header */
	uint32_t http_max_conns;
	uint64_t http_request_ms; /* until the whole request is there, and idle time of a connection */
	uint64_t http_heartbeat_ms; /* of event streams */
	uint32_t http_stream_window; /* events of a group's stream that are not acknowledged */
	bool web_ui;              /* serve the web UI's files */
	const char *tls_cert, *tls_key; /* PEM files; NULL: no TLS */
	/* WebSocket */
	uint32_t ws_max_conns;
	uint32_t ws_max_message;  /* bytes of one message of the JSON protocol, both ways */
	uint32_t ws_max_subs;     /* subscriptions of one connection */
	uint32_t ws_max_credit;   /* messages under way to one subscription */
	uint64_t ws_ping_ms;      /* an idle connection is asked for a sign of life; twice as long without one: closed */
	/* MQTT */
	uint32_t mqtt_max_packet; /* bytes of one packet */
	uint32_t mqtt_max_inflight; /* QoS 1 messages under way in each direction of one connection */
	uint32_t mqtt_max_sessions; /* durable sessions */
	uint32_t mqtt_max_subs;   /* filters of one session */
	uint32_t mqtt_max_queues; /* queues whose place one session keeps */
	uint32_t mqtt_max_retained; /* retained messages */
	uint64_t mqtt_session_ms; /* longest life of a session without a connection */
	uint32_t mqtt_max_keep_alive_s; /* longest keep alive; 0: any */
	struct slice mqtt_topics; /* rules "filter=topic", separated by ';': which topic holds what is published below a filter; else the first level does */
};
/*
 * A socket that is bound already, so that a taken port is found before the store is opened. The process calls listen() right before open(): until
 * then nobody may poll it. A front that is stopped without having been opened closes it too.
 */
struct front_port {
	const char *name;         /* "http", "https", "websocket" */
	int fd;                   /* non-blocking; the front's from start() on, which closes it even when it fails */
	uint16_t port;
};
enum { FRONT_PORTS_MAX = 4 };
/*
 * Whoever is answered that a topic is there asks a name server for its route next. An answer that tells of a topic (an empty name: of any)
 * which the name servers do not know yet waits at the gate until they do, or for a bounded time.
 */
struct front_wait {
	void (*go)(struct front_wait *); /* from the process's turn, exactly once; the gate does not touch it any more */
	struct list link;                /* the gate's */
};
struct front_gate {
	bool (*shut)(struct front_gate *, struct slice topic);
	void (*wait)(struct front_gate *, struct front_wait *, struct slice topic); /* only where it is shut */
};
struct stream_bound;
struct front_env {
	struct engine *engine;
	struct clock *clock;
	struct log *log;
	const struct front_conf *conf;
	struct front_gate *gate;                /* NULL: nothing waits */
	/* For fronts with carriers of their own. */
	struct uv_loop_s *loop;                 /* the process's loop; NULL in tests */
	void (*wake)(void *);                   /* from any thread: a turn of the process's loop is wanted */
	void *wake_arg;
	void (*random)(void *to, size_t n);     /* secret bytes from the kernel */
	struct front_port ports[FRONT_PORTS_MAX]; /* this front's */
	unsigned n_ports;
	/*
	 * From any thread: what the fronts of the process's loop count, as lines for Prometheus. They are as old as the last wish: a call with NULL wishes for new ones,
	 * which are there when the engine has answered a request that was made after it. May be NULL.
	 */
	void (*describe)(void *, struct buf *metrics);
	void *describe_arg;
	const struct stream_bound *streams;     /* protocols of this process that a carrier may bring in; ended by ops NULL */
};
/* A protocol and the front that it belongs to. */
struct stream_bound {
	const struct stream_ops *ops;
	void *front;
};
struct front_ops {
	const char *name;                       /* settings section, log area, label of its numbers */
	size_t size;                            /* bytes of front state, zeroed by the process */
	enum status (*start)(void *front, const struct front_env *);
	void (*open)(void *front);              /* everything is up: accept from now on; NULL for fronts whose I/O a carrier does */
	uint64_t (*turn)(void *front, uint64_t now_ns); /* each turn of the process, before the engine's; returns its next deadline, NEVER for none; may be NULL */
	uint64_t (*flush)(void *front, uint64_t now_ns); /* each turn, after the engine's: sends what is queued; as turn; may be NULL */
	void (*drain)(void *front);             /* accept nothing new; settle or give back what is under way */
	void (*stop)(void *front, void (*stopped)(void *), void *arg); /* stopped(arg) when nothing is left */
	void (*describe)(void *front, struct buf *json);
	const struct stream_ops *stream;
};

/* How a status looks on each front. */
struct front_status {
	uint16_t native;
	uint16_t http;
	uint8_t mqtt;
	uint16_t ws_close;
};
extern const struct front_status front_statuses[ST_COUNT];

#endif
