/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What the files of the MQTT front share. Nobody outside the folder includes it.
 *
 *   conn     a connection, in the carrier's memory. It has a session from its CONNECT on.
 *   session  what a client id stands for: subscriptions, and QoS 1 messages under way to it. A durable one outlives its connections; its record is a cell,
 *            its progress the offsets of a group.
 *   topic    a RocketMQ topic that is there or that somebody subscribed to. The hub reads each topic that a filter of a connected session may match, once, by a tap.
 *   flow     a session's place in one queue, for QoS 1. It is live while it takes what the hub sees when the hub sees it; it is behind when it could not: then
 *            it reads the log by itself until it has caught up. So a slow client costs an offset, not memory.
 *   pub      a message on its way from a client (or a will) into the engine.
 *
 * A session that cannot take anything for a while is parked: its subscriptions leave the filters' tree, so that it costs nothing per message.
 */
#ifndef FRONT_MQTT_MQ_H
#define FRONT_MQTT_MQ_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/obj.h"
#include "front/front.h"
#include "front/message.h"
#include "front/mqtt/codec.h"
#include "front/mqtt/mqtt.h"

#define MQ_MAGIC 0x4d510001u
#define MQ_CONN_MAGIC 0x4d510002u
#define MQ_SESSION_MAGIC 0x4d510003u
#define MQ_TOPIC_MAGIC 0x4d510004u
#define MQ_FLOW_MAGIC 0x4d510005u
#define MQ_PUB_MAGIC 0x4d510006u
#define MQ_SUB_MAGIC 0x4d510007u
#define MQ_OP_MAGIC 0x4d510008u

#define MQ_LEVELS_MAX 128u            /* levels of a topic or filter: the tree is walked by recursion */
#define MQ_CLIENT_ID_MAX 1024u        /* bytes */
#define MQ_ALIAS_MAX 16u              /* topic aliases of one client */
#define MQ_CONNECT_MS 10000u          /* a connection that sends no CONNECT is closed after it */
#define MQ_OUT_MAX (48u << 10)         /* bytes queued for a connection beyond which nothing is sent to it but answers */
#define MQ_PARK_AFTER 64u             /* messages that a session could not take before it is parked; and one per subscription */
#define MQ_FAN_OUT 4096u              /* deliveries of one topic in one turn, about */
#define MQ_DEAL_MANY 256u             /* after more deliveries than this in one turn, publishers get their turns first: */
#define MQ_DEAL_NS 4000u              /* as long as so much for each of them */
#define MQ_TURN_BYTES (32u << 10)     /* bytes of one topic in one turn, about */
#define MQ_TURN_RECORDS 64u           /* records of one topic in one turn */
#define MQ_PULL_MSGS 64u              /* a session that catches up reads so many at once */
#define MQ_PULL_BYTES (32u << 10)
#define MQ_COMMIT_MS 50u              /* acknowledged messages are committed after so long at most */
#define MQ_COMMIT_MANY 2048u          /* ... so many in one turn */
#define MQ_SWEEP_MS 5000u             /* progress without acknowledgements (what did not match): so often */
#define MQ_IDLE_PUBS 4096u            /* free ones that are kept */
#define MQ_COPY_MAX 8192u             /* bodies up to here are copied behind their head; larger ones are sent from where they stand */
#define MQ_KEEP_SENT 1024u            /* of what is sent and not acknowledged a session's cell remembers so many */
#define MQ_SEEK_SLACK_MS 1000         /* clocks of the front and of the engine's records differ by less within a process */

/*
 * The record's flag, of messages that came by MQTT: what a subscriber must be told and no other front has a word for. Its upper half is a mark.
 */
#define MQ_FLAG_MARK 0x4d510000
enum { MQ_FLAG_QOS_0 = 1, MQ_FLAG_RETAIN = 2, MQ_FLAG_UTF8 = 4 };
/* The property that names the publisher, on messages of clients that have a subscription with No Local. */
#define MQ_RETAINED_SPACE SLICE_LIT("mqtt-retained")
#define MQ_PROP_CLIENT "mqtt-client"

struct mq;
struct mq_conn;
struct mq_session;
struct mq_flow;
struct mq_topic;
struct mq_read;
struct mq_opening;
struct mq_connecting;
struct mq_subscribing;

struct mq_counters {
	uint64_t connects, refused, takeovers, published, refused_publishes, delivered, dropped, expired, too_large, malformed, subscribes, retained_sent,
		resent, wills, sessions_expired, parked, pulls;
};

/* ---- trie.c: names and filters by levels -------------------------------------------------------------------------------------------- */

struct mq_node {
	struct mq_node *parent;
	struct map children;               /* by level, but "+" and "#" */
	struct mq_node *plus, *rest;       /* children "+" and "#" */
	struct list subs;                  /* filters: subscriptions of sessions that take messages */
	uint32_t parked;                   /* filters: subscriptions of parked sessions */
	uint64_t hits;                     /* messages that matched while there were any */
	void *value;                       /* names: the retained message */
	uint32_t refs;
	uint32_t n;
	uint8_t level[];
};
typedef void mq_node_f(struct mq_node *n, void *arg);
struct mq_node *mq_node_new(void);                               /* a root */
void mq_node_free(struct mq_node *root);                         /* which must be empty */
struct mq_node *mq_node_hold(struct mq_node *root, struct slice path); /* makes what is missing; one reference */
void mq_node_drop(struct mq_node *n);
struct mq_node *mq_node_find(struct mq_node *root, struct slice path);
/* Each filter that matches the topic. */
void mq_trie_match(struct mq_node *root, struct slice topic, mq_node_f *f, void *arg);
/* Each name with a value that the filter matches. The tree must not change meanwhile. */
void mq_trie_below(struct mq_node *n, mq_node_f *f, void *arg);   /* each with a value, itself too */
void mq_trie_names(struct mq_node *root, struct slice filter, mq_node_f *f, void *arg);

/* ---- topic.c: which RocketMQ topic holds what --------------------------------------------------------------------------------------------- */

struct mq_rule {
	struct slice filter, topic;        /* views of conf->mqtt_topics */
};
enum status mq_rules_init(struct mq *f);
bool mq_levels_fine(struct slice name);                          /* not deeper than MQ_LEVELS_MAX */
/* The topic that messages published to 'name' are kept in; false: there can be none. */
bool mq_map(const struct mq *f, struct slice name, struct slice *ret);
bool mq_user_topic(struct slice topic);                          /* a legal name, and none of RocketMQ's own */
/* Does it begin with a wildcard? Then every topic may hold what it matches. */
bool mq_filter_wide(struct slice filter);
/* May a message in this topic match the filter? */
bool mq_filter_touches(const struct mq *f, struct slice filter, struct slice topic);
/* The topics that may, of a filter that is not wide; some may come twice. */
void mq_filter_topics(struct mq *f, struct slice filter, void (*each)(struct mq *f, struct slice topic, void *arg), void *arg);
bool mq_filters_meet(struct slice a, struct slice b);            /* is there a topic that both match? */

/* ---- The front --------------------------------------------------------------------------------------------------------------------------------- */

struct mq_timer {
	struct heap_node node;
	void (*fire)(struct mq_timer *);
};

/* One subscriber of the message that is looked at. */
struct mq_hit {
	struct mq_session *session;
	struct mq_sub *subs;               /* those that match, by 'chain' */
};
/* The message that is looked at, and its encoded forms: made once for all who get the same bytes. */
struct mq_outgoing {
	struct message m;                  /* of a record; zero of a retained message */
	struct mqtt_packet p;              /* as a PUBLISH; id, qos, dup, retain and sub_id are the receiver's */
	bool dressed;                      /* p has its properties */
	uint8_t qos;                       /* it was published with */
	bool retain;                       /* likewise */
	bool utf8;                         /* the payload is text, its publisher says */
	bool many;                         /* worth to be encoded as a blob */
	struct blob *blob;                 /* holds the payload; NULL: nobody does */
	struct {
		struct blob *blob;         /* the head, and the payload when it is small */
		size_t id_at;
	} made[2][2][2];                   /* by version, QoS, retain */
};

struct mq {
	uint32_t magic;
	struct engine *engine;
	struct clock *clock;
	struct log *log;
	const struct front_conf *conf;
	struct actor actor;                /* for what the front asks by itself */
	void (*random)(void *to, size_t n);
	uint64_t serial;                   /* of assigned client ids, where there is no 'random' */
	struct mq_rule *rules;
	unsigned n_rules;
	uint16_t max_inflight;             /* in each direction of a connection */
	uint64_t began;                    /* what is before this place of the log was there when the process began */
	uint32_t spread;
	unsigned loading;                  /* questions of the start that are not answered: CONNECTs wait */
	bool draining;
	void (*stopped)(void *);
	void *stopped_arg;
	uint32_t asks;                     /* engine requests and taps under way */
	struct list conns;
	uint32_t n_conns;
	struct map sessions;               /* by client id */
	uint32_t n_durable;
	struct mq_node *filters;
	struct mq_node *names;             /* of retained messages */
	uint32_t n_retained;
	struct map keeping;                /* names whose retained messages are being changed in the log */
	struct map topics;                 /* by name */
	uint64_t topic_serial, topic_changes;
	uint64_t n_queues;                 /* of all topics that a subscription may see */
	uint64_t reach_serial;
	uint32_t wide;                     /* subscriptions that begin with a wildcard */
	struct engine_watch watch;
	bool watching, unloading;
	struct heap timers;
	struct list work;                  /* sessions that may go on with what they are behind in, or with retained messages */
	struct list dirty;                 /* flows whose offset is to be committed */
	uint64_t commit_due, sweep_due;
	struct list owing;                 /* topics whose tap gets credit back */
	uint64_t dealt, dealt_published;   /* deliveries since the last flush; publishes until then */
	uint64_t deal_due;                 /* no credit before */
	struct list subscribing;           /* SUBSCRIBEs under way */
	struct list idle;                  /* free pubs */
	uint32_t n_idle;
	struct mq_counters n;
	/* Scratch of one call. */
	struct draft draft;
	struct buf out, repeated, body, correlation, scratch, ids;
	struct mq_hit *hits;
	uint32_t n_hits, cap_hits;
	uint64_t hit_serial;
};

void mq_timer_set(struct mq *f, struct mq_timer *t, uint64_t in_ms);
void mq_timer_drop(struct mq *f, struct mq_timer *t);
/* Each engine request is counted from asking to done. */
static inline void mq_asked(struct mq *f) { f->asks++; }
void mq_answered(struct mq *f);
void mq_loaded(struct mq *f, enum status st);                    /* one of the start's questions is answered */

/* ---- conn.c, connect.c: connections --------------------------------------------------------------------------------------------------------- */

enum mq_conn_state { MQ_NEW, MQ_CONNECTING, MQ_UP, MQ_CLOSING };

struct mq_conn {
	uint32_t magic;
	uint8_t version;                   /* 0 before CONNECT */
	uint8_t state;
	bool paused, feeding;
	bool goodbye;                      /* DISCONNECT came: no will */
	bool problems;                     /* wants reasons as text */
	bool busy;                         /* CONNECT or SUBSCRIBE is under way: what follows waits */
	struct mq *f;
	struct stream *stream;
	struct list link;                  /* in f->conns */
	struct mq_session *session;
	struct mq_connecting *connecting;  /* what 'busy' is about */
	struct mq_subscribing *subscribing;
	struct list pubs;                  /* in the order they came; PUBACKs keep it */
	uint32_t n_pubs;
	uint32_t max_packet;               /* of the client; 0: any */
	uint16_t receive_max;              /* likewise, QoS 1 messages under way to it */
	uint16_t keep_alive_s;
	uint32_t ip;
	uint32_t port;
	uint64_t seen_ns;
	char **aliases;                    /* MQ_ALIAS_MAX, from 1; NULL until one is used */
	char *peer;
};
extern const struct stream_ops mq_stream;

/* May more be sent to it now? When not, drained() comes, and its session then goes on. */
bool mq_conn_takes(const struct mq_conn *c);
void mq_conn_flow(struct mq_conn *c);                            /* pauses or resumes its input */
void mq_conn_send(struct mq_conn *c, const struct mqtt_packet *p);
/* Says why (5.0) and closes. 'reason' is for a DISCONNECT, after CONNACK. */
void mq_conn_refuse(struct mq_conn *c, uint8_t reason, const char *why);
void mq_conn_shut(struct mq_conn *c, const char *why);
/* CONNECT has been read. */
void mq_connect(struct mq_conn *c, const struct mqtt_packet *p);
void mq_connect_gone(struct mq_conn *c);                         /* its connection closed while it was under way */

/* ---- session.c, window.c ------------------------------------------------------------------------------------------------------------------------ */

struct mq_sub {
	uint32_t magic;
	struct mq_session *session;
	struct list link;                  /* in session->subs */
	struct list in_node;               /* in node->subs, when attached */
	struct mq_node *node;              /* held while the session takes part in the tree, parked or not; else NULL */
	struct mq_sub *chain;              /* of the message that is looked at */
	uint64_t hits;                     /* the node's, when it was parked */
	uint64_t from;                     /* messages before this place of the log are not for it */
	int64_t from_ms;                   /* when that was */
	uint32_t id;                       /* subscription identifier; 0: none */
	uint8_t qos, handling;
	bool no_local, as_published;
	struct slice filter;
};

/* A QoS 1 message that is sent and not acknowledged. */
struct mq_sent {
	uint16_t id;
	bool old;                          /* sent to an earlier connection, and not again yet */
	bool maybe;                        /* perhaps sent by an earlier process */
	struct mq_flow *flow;              /* NULL: retained, or the flow's topic is gone */
	uint64_t offset;
	struct list link;                  /* in flow->sent, by offset; or in session->sent_retained */
	struct mq_retained *retained;      /* held */
	uint8_t qos;
	uint32_t sub_id;
};
struct mq_window {
	struct mq_sent **v;                /* by id, modulo cap */
	uint32_t cap, count;
	uint32_t out;                      /* of these, not old: what the receive maximum is about */
	uint16_t last;
};

/* A message that waits as the bytes of a PUBLISH of 5.0. */
struct mq_will {
	uint32_t delay_s;
	struct slice packet;               /* behind it in memory */
};

/* Retained messages that a subscription still has to be sent: looked up when it is their turn. */
struct mq_backlog {
	struct list link;
	bool begun;                        /* 'v' is there */
	bool away;                         /* an earlier connection asked for it */
	struct mq_retained **v;
	uint32_t n, at;
	uint8_t qos;
	bool no_local;
	uint32_t sub_id;
	struct slice filter;               /* behind it in memory */
};

struct mq_session {
	uint32_t magic;
	struct mq *f;
	struct slice id;
	char *group;                       /* of its offsets; NULL while it is not durable */
	struct mq_conn *conn;              /* NULL: away */
	struct list work;                  /* in f->work */
	bool durable;
	bool cold;                         /* known from its cell only: its offsets have to be asked for */
	bool attached;                     /* its subscriptions have nodes, and hold their topics */
	bool parked;                       /* they are not in the nodes' lists */
	bool stored;                       /* a cell is there */
	bool dropped;                      /* forgotten; waits for its last request */
	uint8_t version;
	uint32_t expiry_s;
	int64_t seen_ms;                   /* when its connection ended; 0: there is one */
	uint32_t skips;
	uint32_t refs;                     /* requests under way */
	struct mq_will *will;
	struct mq_timer expiry, will_due, retry;
	struct list subs;
	uint32_t n_subs, n_no_local, n_qos1;
	uint64_t topic_changes;            /* the front's, when its flows were made last */
	struct list flows;
	uint32_t n_flows;
	bool beyond;                       /* there are more queues for it than it may have flows, and the log says so */
	struct u64map by_queue;
	struct list behind;                /* flows, in the order they fell back */
	struct mq_window window;
	struct list sent_retained;
	bool unsure;                       /* it had a connection when an earlier process ended: what that had sent is not known */
	bool unnoted;                      /* ... and its cell does not say yet since when it is away */
	struct slice unacked;              /* while it is cold: what its cell says was sent and not acknowledged */
	struct list backlog;
	uint32_t n_backlog;                /* how many */
	struct mq_read *read;              /* that catches up */
	uint64_t hit_serial;
	uint32_t hit;
};

struct mq_session *mq_session_find(struct mq *f, struct slice id);
struct mq_session *mq_session_new(struct mq *f, struct slice id);
/* Forgets it, in the log too. Its connection must be gone. */
void mq_session_drop(struct mq_session *s);
void mq_session_hold(struct mq_session *s);
void mq_session_release(struct mq_session *s);
void mq_session_forget(struct mq_session *s);                    /* in memory only */
void mq_session_free_all(struct mq *f);
/* Sets how long it outlives its connection; names its group when it does. BUSY: there are too many, and it is not one of them already. */
enum status mq_session_durable(struct mq_session *s, uint32_t expiry_s, bool loaded);
/* Its connection ended: parks, commits, and waits for the next one or for its end. */
void mq_session_away(struct mq_session *s);
void mq_session_expire_in(struct mq_session *s);                 /* sets the timer */
struct mq_sub *mq_session_sub(struct mq_session *s, struct slice filter);
struct mq_sub *mq_sub_new(struct mq_session *s, struct slice filter);
void mq_sub_options(struct mq_sub *sub, uint8_t qos, bool no_local, bool as_published, uint8_t handling, uint32_t id);
void mq_sub_free(struct mq_sub *sub);
void mq_sub_attach(struct mq_sub *sub);                          /* takes its node, and its topics */
void mq_sub_detach(struct mq_sub *sub);

/* Room for one more QoS 1 message? */
bool mq_window_open(const struct mq_session *s);
bool mq_window_again(const struct mq_session *s);                /* ... for one that has its identifier already? */
struct mq_sent *mq_window_put(struct mq_session *s, struct mq_flow *w, uint64_t offset);
void mq_window_put_again(struct mq_session *s, struct mq_flow *w, uint64_t offset, uint16_t id); /* what an earlier process had sent */
struct mq_sent *mq_window_get(struct mq_session *s, uint16_t id);
void mq_window_drop(struct mq_session *s, struct mq_sent *e);
void mq_window_old(struct mq_session *s);                        /* all that was sent was sent to a connection that is gone */
void mq_window_fini(struct mq_session *s);
void mq_acked(struct mq_session *s, uint16_t id);

/* ---- persist.c: sessions as cells ----------------------------------------------------------------------------------------------------------------- */

void mq_persist_load(struct mq *f);
/* Writes the session's cell; done (may be NULL) once durable. */
void mq_persist(struct mq_session *s, void (*done)(void *arg, enum status), void *arg);
void mq_persist_drop(struct mq_session *s);
/*
 * Forgets its offsets in topics that no subscription reads any more: once the cell says so, else a crash in between would leave a subscription that does not know how
 * far it has come. What a crash leaves behind goes when the client comes back.
 */
void mq_persist_forget(struct mq_session *s);
void mq_persist_tidy(struct mq_session *s, const struct engine_offsets *r); /* ... of these */
/* What its cell says was sent before: into the flow, which begins at the group's offset. */
void mq_persist_sent(struct mq_flow *w);
/* Makes the group that its offsets stand in. */
void mq_persist_group(struct mq_session *s, void (*done)(void *arg, enum status), void *arg);
void mq_session_encode(const struct mq_session *s, struct buf *b);
bool mq_session_decode(struct mq_session *s, struct slice value);

/* ---- flow.c: places in queues, and catching up ------------------------------------------------------------------------------------------------------ */

enum mq_flow_state {
	MQ_LIVE,                           /* the hub feeds it */
	MQ_BEHIND,                         /* goes on at 'next' by itself */
	MQ_SEEK                            /* where it begins has to be found out by its subscriptions' time */
};
struct mq_flow {
	uint32_t magic;
	uint8_t state;
	bool dirty;
	int32_t queue;
	struct mq_session *session;
	struct mq_topic *topic;
	struct list link;                  /* in session->flows */
	struct list in_topic;
	struct list behind;                /* in session->behind */
	struct list commit;                /* in f->dirty */
	struct list sent;                  /* by offset */
	struct list *old;                  /* the first of them that was not sent to this connection yet; &sent: none */
	uint64_t next;                     /* behind: goes on here; live: what is before it is done */
	uint64_t again_below;              /* up to here all was sent before: only what is not acknowledged is sent again */
	uint64_t committed;                /* last; UINT64_MAX: never */
};
struct mq_flow *mq_flow_find(struct mq_session *s, struct mq_topic *t, int32_t queue);
/* NULL: the session has as many as may be. What is in such a queue it gets while it takes it, and nothing of that is kept for it. */
struct mq_flow *mq_flow_need(struct mq_session *s, struct mq_topic *t, int32_t queue, uint64_t next);
/* Would the filter at QoS 1 lead the session to more queues than it may have flows? */
bool mq_reaches_too_far(struct mq_session *s, struct slice filter);
void mq_flow_free(struct mq_flow *w);
void mq_flow_behind(struct mq_flow *w, uint64_t at);
void mq_flow_first(struct mq_flow *w);                           /* ... before the session's others */
void mq_flow_dirty(struct mq_flow *w);
uint64_t mq_flow_prefix(const struct mq_flow *w);                /* all before it is done */
/* The session takes nothing for now: out of the tree; each queue that it reads gets a flow that knows where. */
void mq_park(struct mq_session *s);
void mq_flows_all(struct mq_session *s, bool seek);
void mq_flows_tidy(struct mq_session *s);                        /* those that no subscription needs go */
bool mq_session_reads(struct mq_session *s, struct mq_topic *t); /* at QoS 1 */
void mq_flows_away(struct mq_session *s);                        /* its connection ended: parked, and back to what is not acknowledged */
void mq_unpark(struct mq_session *s);
void mq_session_work(struct mq_session *s);                      /* goes on, as far as there is room */
void mq_session_wake(struct mq_session *s);                      /* ... in the next turn */
void mq_commit_turn(struct mq *f, uint64_t now_ns);
void mq_commit_all(struct mq_session *s);

/* ---- hub.c: topics and taps ------------------------------------------------------------------------------------------------------------------------ */

enum mq_tap { MQ_TAP_CLOSED, MQ_TAP_OPENING, MQ_TAP_OPEN, MQ_TAP_CLOSING };
struct mq_topic {
	uint32_t magic;
	uint8_t tap;
	bool exists, user;                 /* is there; may be matched */
	bool again;                        /* changed while its tap was opening or closing: look again */
	bool fresh;                        /* created while somebody waited for it: all of it is new */
	bool keep;                         /* 'next' holds although the tap is closed */
	bool stale;                        /* 'next' is of a topic of that name that was dropped since */
	struct mq *f;
	uint64_t serial;
	struct slice name;
	uint32_t queues;                   /* read queues */
	uint32_t counted;                  /* in the front's n_queues */
	uint64_t reached;                  /* the front's serial, when it was counted last for a session */
	uint32_t interest;                 /* filters that may match, but wide ones */
	struct engine_sub sub;
	uint32_t n_next;
	uint64_t *next;                    /* per queue: the hub has seen what is before it */
	uint64_t *swept;                   /* likewise at the last sweep */
	struct list flows;
	struct list owing;
	uint32_t owed, granted;            /* credit to be given back; under way */
	uint32_t fan_out, size;            /* of late: deliveries of a record, times 8; bytes of one */
	struct mq_opening *op;
};
void mq_hub_load(struct mq *f);
void mq_hub_unload(struct mq *f);                                /* closes all taps; they are counted in f->asks */
void mq_hub_free(struct mq *f);
struct mq_topic *mq_topic_find(struct mq *f, struct slice name);
void mq_topic_hold(struct mq *f, struct slice name, void *unused);
void mq_topic_drop(struct mq *f, struct slice name, void *unused);
void mq_topics_wide(struct mq *f, int change);
bool mq_hub_settled(struct mq *f, struct slice filter);          /* no tap that the filter needs is being opened */
bool mq_topic_at(const struct mq_topic *t, int32_t queue, uint64_t *ret); /* where the hub is */
bool mq_topic_tapped(const struct mq_topic *t);
/* Is it one of the broker's own, which no subscription sees? */
bool mq_topic_own(struct mq *f, struct slice name);
/* Gives credit back; returns when there is more to give. */
uint64_t mq_hub_flush(struct mq *f, uint64_t now_ns);
void mq_hub_sweep(struct mq *f);                                 /* tries what failed again */

/* ---- deliver.c: from records to subscribers -------------------------------------------------------------------------------------------------------- */

/* Reads a record into 'o'; false: nobody gets it (expired, unreadable). 'o' views the record and the front's scratch. */
bool mq_outgoing_read(struct mq *f, struct slice record, struct blob *blob, struct mq_topic *t, struct mq_outgoing *o);
void mq_outgoing_fini(struct mq_outgoing *o);
/* The hub's: to everybody in the tree. Returns how many got it. */
uint32_t mq_dispatch(struct mq *f, struct mq_topic *t, int32_t queue, uint64_t offset, struct mq_outgoing *o);
/* To one session that catches up. False: no room; nothing was sent. */
bool mq_catch_up(struct mq_flow *w, uint64_t offset, struct mq_outgoing *o);
/* Sends it: with 'e' as QoS 1 under its id. False: the packet is too large for the client. */
bool mq_send(struct mq_conn *c, struct mq_outgoing *o, const struct mq_sent *e, bool retain, const struct mq_sub *subs, uint32_t sub_id);

/* ---- publish.c, subscribe.c, retained.c, will.c --------------------------------------------------------------------------------------------------------- */

void mq_publish(struct mq_conn *c, const struct mqtt_packet *p);
/* A message of no connection: the session's will. */
void mq_publish_stored(struct mq_session *s, const struct mqtt_packet *p);
void mq_pubs_orphan(struct mq_conn *c);
void mq_pubs_free(struct mq *f);

void mq_subscribe(struct mq_conn *c, const struct mqtt_packet *p);
void mq_unsubscribe(struct mq_conn *c, const struct mqtt_packet *p);
void mq_subscribe_turn(struct mq *f);
bool mq_subscribes_ready(const struct mq *f);                    /* one of them can go on */
void mq_subscribe_gone(struct mq_conn *c);

struct mq_retained {
	uint32_t refs;
	struct mq_node *node;              /* NULL: it was replaced or dropped */
	int64_t expires_ms;
	struct blob *value;                /* the cell's value */
	struct slice client, packet;       /* in it: its publisher, and a PUBLISH of 5.0 */
};
/* Its cell is about to be set, or dropped where 'value' is NULL; and the answer. References of 'value' are taken. */
void mq_retained_change(struct mq *f, struct slice name, struct blob *value);
void mq_retained_changed(struct mq *f, struct slice name, struct blob *value, bool refused);
bool mq_retained_room(struct mq *f, struct slice name);          /* may one more be kept? */
/* NULL: with its topic in place of an alias it is no packet any more. */
struct blob *mq_retained_encode(struct mq *f, const struct mqtt_packet *p, struct slice name, int64_t expires_ms, struct slice client);
void mq_retained_expired(struct mq *f, struct mq_retained *r);   /* forgets it, in the log too */
void mq_retained_release(struct mq_retained *r);
void mq_retained_load(struct mq *f);
void mq_retained_free(struct mq *f);
/* Queues what matches for the session. */
void mq_retained_queue(struct mq_session *s, const struct mq_sub *sub);
/* Sends as much as there is room for. True: all is sent. */
bool mq_retained_work(struct mq_session *s);
void mq_retained_resend(struct mq_session *s);
void mq_backlog_free(struct mq_session *s);
void mq_backlog_drop(struct mq_session *s, struct slice filter, bool away); /* the filter's; 'away': of earlier connections only */
void mq_backlog_away(struct mq_session *s);                      /* the connection ended: what is owed with QoS 1 stays owed */

struct mq_will *mq_will_new(uint32_t delay_s, struct slice packet);
void mq_will_set(struct mq_session *s, const struct mqtt_will *w);
void mq_will_drop(struct mq_session *s);
void mq_will_ended(struct mq_session *s);                        /* the connection ended without a goodbye */
void mq_will_now(struct mq_session *s);                          /* its time has come, or its session ends */
void mq_will_due(struct mq_session *s);                          /* its delay is over */
void mq_will_load(struct mq_session *s);                         /* after a restart */

#endif
