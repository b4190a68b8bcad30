/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What the files of the native front share. Nobody outside the folder includes it.
 *
 * Three kinds of objects. The front (struct nat) lives as long as the process. A peer is a client's connection: it stands on the heap, not in
 * the carrier's memory, because requests and group members outlive the connection; it is freed when the connection is closed and the
 * last of them is done. A call is one request under way: it holds everything that its answer needs, since the bytes of the request are gone
 * when input() returns; calls come from a free list, so that the hot path does not allocate.
 *
 * Every call ends in exactly one nat_answer... or nat_drop, which also frees it.
 */
#ifndef FRONT_NATIVE_NAT_H
#define FRONT_NATIVE_NAT_H

#include "base/list.h"
#include "base/mem.h"
#include "base/obj.h"
#include "front/front.h"
#include "wire/bodies.h"
#include "wire/codes.h"
#include "wire/fields.h"
#include "wire/frame.h"

#define NAT_MAGIC 0x4e415446u
#define NAT_PEER_MAGIC 0x4e415450u
#define NAT_CALL_MAGIC 0x4e415443u
#define NAT_MEMBER_MAGIC 0x4e41544du

#define NAT_CODES 514u                /* request codes below it are found by index; all that are served are */
#define NAT_FRAME_MAX 134217728u       /* largest frame that may be configured; stock peers bound theirs to an eighth of it */
#define NAT_RELAYS_MAX 64u            /* questions to one client that may be open */
#define NAT_RELAY_MS 10000u           /* how long a client has to answer one */
#define NAT_WAITS_MAX 4096u           /* pulls of one connection that may wait at once */
#define NAT_MEMBERS_MAX 1024u         /* groups of one connection, producers and consumers together */
#define NAT_IDLE_CALLS_MAX 4096u      /* free calls that are kept */
#define NAT_NOTE_SIZE 128u            /* what a call remembers for its error text, usually the topic */
#define NAT_LOCKS_MAX 16384u          /* queues of one lock request */
#define NAT_NAME_MAX 1024u            /* bytes of a group name or client id in a heartbeat; the engine's bounds are tighter */
#define NAT_PULL_MSGS_MAX 1024u       /* messages of one pull */
#define NAT_PULL_BYTES 262144u        /* bytes of one pull, unless the client asks for another bound */
#define NAT_BODY_MAX 8388608u         /* record bytes of one answer; with one message more it is still within a frame */
#define NAT_FIND_MAX 256u             /* messages of one query by key */
#define NAT_FIND_UNIQUE_MAX 32u       /* likewise by UNIQ_KEY */
#define NAT_ROWS_MAX 100000u           /* queues in one answer about a topic's or a group's state */
#define NAT_SCRATCH_KEEP 1048576u     /* scratch buffers above it are given back after use */
#define NAT_TURN_MS 10000u            /* peers look at their clock at least so often; also the period of the rate samples */

struct nat;
struct nat_peer;
struct nat_call;

/* Numbers of the front itself; describe() and 28 show them. */
struct nat_counters {
	uint64_t requests, answers, oneways, unknown, malformed, pulls_found, pulls_missed, notices, idle_closed;
};

/* Rates for 28: a ring of samples, one each NAT_TURN_MS, ten minutes long. */
#define NAT_SAMPLES 62u
struct nat_sample {
	uint64_t at_ns;
	uint64_t in, out, found, missed, parked, unparked;
};
struct nat_rates {
	struct engine_stats ask;
	bool asking;
	uint64_t due_ns;
	unsigned n, next;                  /* samples in the ring, and where the next one goes */
	struct nat_sample ring[NAT_SAMPLES];
	int64_t day;                       /* days since 1970 (UTC) of the last sample */
	uint64_t in_yesterday, in_today;   /* totals at the last two midnights */
	uint64_t out_yesterday, out_today;
};

struct nat_verb {
	int32_t code;
	/* Answers the call, or asks the engine and answers later. The command is valid during the call only. */
	void (*serve)(struct nat_call *, const struct wire_cmd *);
};
extern const struct nat_verb nat_verbs[];
extern const unsigned nat_n_verbs;

struct nat {
	uint32_t magic;
	struct engine *engine;
	struct clock *clock;
	struct log *log;
	const struct front_conf *conf;
	struct front_gate *gate;           /* NULL: no answer waits for the name servers */
	const struct nat_verb *by_code[NAT_CODES];
	struct wire_limits limits;
	struct list peers;                 /* with an open connection */
	unsigned n_peers;                  /* all peers that are not freed */
	struct list idle;                  /* free calls */
	unsigned n_idle;
	bool draining;                     /* nothing new is taken on that could keep us */
	void (*stopped)(void *);
	void *stopped_arg;
	int64_t boot_ms;
	uint64_t boot_ns;
	uint32_t opaque;                   /* of our own requests; may wrap */
	struct nat_counters n;
	struct nat_rates rates;
	/* Scratch of one call; nothing in it survives a return to the loop. */
	struct wire_cmd cmd, echo;
	struct buf unescaped;              /* wire_decode's */
	struct buf out, body;
	struct piece *pieces;
	unsigned cap_pieces;
};

/* One group of one connection, as consumer or as producer. The engine holds 'member' from the first join until leave is done or lost() came. */
struct nat_member {
	uint32_t magic;
	struct engine_member member;
	struct nat_peer *peer;
	struct list link;                  /* in peer->members; not linked once it is leaving or lost */
	enum member_kind kind;
	char *group;
	char *client_id;                   /* as its last heartbeat said */
	uint8_t language;
	int32_t version;
	int64_t seen_ms;                   /* when that was, wall clock */
	uint32_t refs;                     /* the list, joins and the leave under way */
	int32_t fingerprint;               /* of the last full heartbeat; 0: none */
	bool known;                        /* a join was accepted: only leave or lost() ends it */
	bool announced;                    /* a full heartbeat has come */
	bool noticed;                      /* a 40 was sent and the peer has said nothing since */
	bool again;                        /* the group changed after that 40: another one is owed */
	struct engine_leave leave;
	struct nat_call *leaver;           /* the 35 that waits for it, or NULL */
};

struct nat_peer {
	uint32_t magic;
	struct nat *front;
	struct stream *stream;             /* NULL after the connection is closed */
	struct list link;                  /* in front->peers */
	struct list calls;                 /* under way */
	struct list members;
	struct list relays;                /* questions to the client that are not answered */
	uint32_t n_relays;
	uint32_t refs;                     /* the connection, its calls, its members */
	uint32_t busy;                     /* calls under way, without the waiting pulls */
	uint32_t waits;                    /* waiting pulls */
	uint32_t n_members;
	uint32_t noticed;                  /* members with 'noticed' set */
	bool paused, feeding, closing;     /* input is paused; input() is running; we asked to close */
	bool active;                       /* bytes went either way since the last turn */
	uint64_t seen_ns;
	uint32_t ip, port;
	struct actor actor;                /* its slices stand in 'text' */
	char *text;
};

struct nat_locks_call {
	struct engine_locks ask;
	struct wire_locks locks;
	struct queue_name *names;
	bool *granted;
};
struct nat_beat_call {
	uint32_t left;                     /* joins under way, and one while they are being started */
	enum status status;                /* the first failure */
	bool answers_v2, sub_changed;
};
struct nat_pull_call {
	struct engine_pull ask;
	bool waits;
};
/* A question that went on to a client (relay.c). */
struct nat_relay_call {
	struct list link;                  /* in target->relays */
	struct nat_call *call;
	struct nat_peer *target;           /* stays until its relays have ended */
	uint32_t opaque;
	uint64_t due_ns;
};
struct nat_forward;
struct nat_job;                        /* progress.c: a request that needs many answers of the engine */

struct nat_call {
	uint32_t magic;
	struct nat *front;
	struct nat_peer *peer;
	struct list link;                  /* in peer->calls, or front->idle */
	int32_t code, opaque;
	enum wire_form form;
	bool oneway, waits;
	uint8_t note_n;
	char note[NAT_NOTE_SIZE];
	union {
		struct engine_ask ask;
		struct engine_send send;
		struct nat_pull_call pull;
		struct engine_send_back back;
		struct engine_view view;
		struct engine_find find;
		struct engine_range range;
		struct { struct engine_offset ask; bool zero; } offset;
		struct engine_offsets offsets;
		struct engine_topic topic;
		struct engine_topics topics;
		struct engine_group group;
		struct engine_groups groups;
		struct engine_members members;
		struct nat_locks_call locks;
		struct nat_beat_call beat;
		struct { uint32_t left; } leave;
		struct engine_stats stats;
		struct nat_job *job;
		struct nat_relay_call relay;
		struct { struct engine_view ask; struct nat_forward *forward; } direct;
	} u;
};
/* The call of an ask that stands first in its union. */
static inline struct nat_call *nat_call_of(struct engine_ask *a)
{
	struct nat_call *c = container_of(a, struct nat_call, u.ask);
	CHECK_OBJ(c, NAT_CALL_MAGIC);
	return c;
}
/* Zeroes a member of a call's union and names who is told: every ask begins so. */
#define NAT_ASK(c, field, on_done) \
	(memset(&(c)->u.field, 0, sizeof((c)->u.field)), nat_ask_init((c), &(c)->u.ask, (on_done)))
static inline void nat_ask_init(struct nat_call *c, struct engine_ask *a, void (*done)(struct engine_ask *, enum status))
{
	CHECK_OBJ(c, NAT_CALL_MAGIC);
	a->done = done;
}

/* ---- call.c: calls and their answers ---------------------------------------------------------------------------------- */

struct nat_call *nat_call_new(struct nat_peer *p, const struct wire_cmd *cmd);
void nat_note(struct nat_call *c, struct slice what);     /* remembered for the text of an error answer */
void nat_note_pair(struct nat_call *c, struct slice topic, struct slice group); /* "topic@group" */
/* Frees the call without an answer: its connection is gone, or nobody wants one. */
void nat_drop(struct nat_call *c);
/* Answers without a body, and frees the call. */
void nat_answer(struct nat_call *c, int32_t code, struct slice remark);
void nat_answer_str(struct nat_call *c, int32_t code, const char *remark);
/* Answers as front/status.tbl says: OK without a remark, everything else with the status's text and the call's note. */
void nat_answer_status(struct nat_call *c, enum status st);
void nat_answer_code(struct nat_call *c, int32_t code, enum status st);  /* another code, the same text */
void nat_answer_args(struct nat_call *c, const struct wire_args *a);     /* code 1: a field is missing or illegal */
void nat_answer_body_bad(struct nat_call *c, const char *why);            /* code 1: so is the body */
void nat_answer_offset(struct nat_call *c, uint64_t offset);             /* code 0 with header field "offset" */
void nat_answer_body(struct nat_call *c, const struct buf *body);        /* code 0 with a body */
/* For answers with fields: build begins (NULL: nobody wants it), then wire_put..., then finish sends header and body and frees the call. */
struct wire_out *nat_answer_begin(struct nat_call *c, struct wire_out *o, int32_t code);
void nat_answer_finish(struct nat_call *c, struct wire_out *o, struct slice body);
/* Sends what stands in front->out and the pieces behind it, and frees the call. */
void nat_send_pieces(struct nat_call *c, const struct piece *v, unsigned n);
void nat_send_out(struct nat_call *c);
/* Scratch for an answer that is not begun by nat_answer_begin, empty. */
/* The request as far as wire_answer... need it. */
const struct wire_cmd *nat_echo(struct nat_call *c);
bool nat_wanted(const struct nat_call *c);                /* is there anybody to answer? */
struct buf *nat_body(struct nat_call *c);                 /* the front's scratch for a body, empty */

/* ---- native.c -------------------------------------------------------------------------------------------------------------- */

void nat_settle(struct nat *f);                           /* tells that the front has stopped, once nothing is left */

/* ---- conn.c: connections -------------------------------------------------------------------------------------------------- */

extern const struct stream_ops nat_stream;
void nat_peer_hold(struct nat_peer *p);
void nat_peer_drop(struct nat_peer *p);
void nat_peer_flow(struct nat_peer *p);                   /* pauses or resumes input as the number of calls and the room ask for */
void nat_peer_shut(struct nat_peer *p, const char *why);  /* asks the carrier to close */

/* ---- client.c: members ------------------------------------------------------------------------------------------------------ */

const struct engine_member *nat_member_find(struct nat_peer *p, enum member_kind kind, struct slice group);
void nat_members_leave(struct nat_peer *p);               /* the connection is gone */
void nat_members_notice(struct nat_peer *p);              /* the peer has spoken, or time has passed: sends the notices that are owed */

/* ---- relay.c ---------------------------------------------------------------------------------------------------------------- */

void nat_relay_answer(struct nat_peer *p, const struct wire_cmd *answer); /* a client has answered something */
void nat_relays_end(struct nat_peer *p, uint64_t now_ns); /* ends what is over time, or all when the connection is gone */

/* ---- connections.c: asking for the members of a group ------------------------------------------------------------------------- */

void nat_members_ask(struct nat_call *c, const struct wire_cmd *cmd, const char *field, enum member_kind kind,
                     void (*done)(struct engine_ask *, enum status));
/* True: the call is answered, with the code 'nobody' where the group has no members. */
bool nat_members_refused(struct nat_call *c, enum status st, int32_t nobody);

/* ---- runtime.c ---------------------------------------------------------------------------------------------------------------- */

void nat_rates_turn(struct nat *f, uint64_t now_ns);

/* ---- the handlers, by file ------------------------------------------------------------------------------------------------------ */

typedef void nat_serve(struct nat_call *, const struct wire_cmd *);
/* send.c */
nat_serve nat_send, nat_reply_send;
/* pull.c */
nat_serve nat_pull;
/* offsets.c */
nat_serve nat_offset_get, nat_offset_commit, nat_offset_at_time, nat_offset_max, nat_offset_min, nat_offset_earliest;
/* client.c */
nat_serve nat_heartbeat, nat_unregister, nat_check_config;
/* group.c */
nat_serve nat_consumer_ids, nat_lock, nat_unlock;
/* retry.c */
nat_serve nat_send_back, nat_end_transaction;
/* topic.c */
nat_serve nat_topic_put, nat_topic_drop, nat_topic_get, nat_topic_all, nat_topic_system;
/* lookup.c */
nat_serve nat_query, nat_view, nat_queue_index;
/* runtime.c */
nat_serve nat_runtime, nat_broker_config;
/* reset.c */
nat_serve nat_reset;
/* relay.c */
nat_serve nat_running_info, nat_consume_directly;
/* subscription.c */
nat_serve nat_group_put, nat_group_all, nat_group_get, nat_group_drop;
/* connections.c */
nat_serve nat_consumers, nat_producers, nat_all_producers;
/* progress.c */
nat_serve nat_topic_stats, nat_consume_stats, nat_who_consumes, nat_broker_consume_stats;

#endif
