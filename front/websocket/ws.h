/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Private to front/websocket: the JSON protocol. A connection (ws_peer) lives on until the last of its publishes, subscriptions and settlements is
 * answered; its stream is NULL as soon as the carrier has said closed().
 */
#ifndef FRONT_WEBSOCKET_WS_H
#define FRONT_WEBSOCKET_WS_H

#include <jansson.h>

#include "base/map.h"
#include "front/front.h"
#include "front/message.h"

enum { WS_MAGIC = 0x77736672, WS_PEER_MAGIC = 0x77737072, WS_SUB_MAGIC = 0x77737362, WS_PUB_MAGIC = 0x77737062, WS_CALL_MAGIC = 0x7773636c };

#define WS_SUBPROTOCOL "gantry.v1.json"
#define WS_ID_MAX 128u          /* bytes of an id as JSON text */
#define WS_NAME_MAX 64u         /* bytes of a subscription's name */
#define WS_WINDOW_MAX 16u       /* deliveries that the engine may have under way to one subscription at once */
#define WS_QUEUES_MAX 4096u     /* queues of a cursor */
#define WS_SMALL (4u << 10)     /* a message up to here is sent whenever there is credit */
#define WS_OWN (32u << 10)      /* one up to here waits for its own connection alone, never for what all of them hold */
#define WS_HELD_FRAMES 16u      /* so many of the largest frames may be in memory at once, over all connections */
#define WS_HELD_MIN (64u << 20)
#define WS_RETRY_AFTER_MS 1000u /* what a client is told to wait before it comes again */

struct ws_carrier;

/* Frames that were encoded lately: the same message goes to many subscriptions of the same name as the same bytes. */
#define WS_CACHE_SLOTS 512u
#define WS_CACHE_BYTES (2u << 20)
#define WS_CACHE_NS (2 * SEC_NS) /* without use for so long: given back */
struct ws_cached {
	uint64_t position;
	struct blob *frame;     /* NULL: free */
	uint32_t name_n;        /* bytes of the subscription's name, which stands in the frame */
};
struct ws_cache {
	struct ws_cached v[WS_CACHE_SLOTS];
	struct blob *own;       /* the last large frame for a group's member: whoever sends it holds it too */
	size_t bytes;
	uint32_t hand;          /* who is given up next when there are too many bytes */
	uint64_t used_ns;       /* 0: empty */
};

struct ws_numbers {
	uint64_t opened, publishes, published, delivered, encoded, acks, nacks, errors, malformed, expired;
};

/* The front's state. */
struct ws {
	uint32_t magic;
	struct front_env env;
	struct engine *engine;
	struct clock *clock;
	struct log *log;
	const struct front_conf *conf;
	bool draining;
	struct list peers;
	uint32_t n_peers;
	struct ws_carrier *carrier; /* NULL: not open, or gone */
	struct draft draft;     /* of the publish that is read */
	struct buf out;         /* a frame that is written */
	struct ws_cache cache;
	size_t held_max;
	size_t held;            /* bytes of frames that are in memory, whoever holds them */
	size_t reserved;        /* bytes of messages that are read again to become frames */
	struct list hungry;     /* struct ws_sub: they have a message that waits until less is held, the first one for the longest time */
	uint64_t uniq_random;   /* half of every message id that we make */
	uint32_t uniq_counter;
	uint64_t now_ns;        /* of the last turn */
	struct ws_numbers n;
	void (*stopped)(void *); /* NULL: not asked to stop */
	void *stopped_arg;
};

struct ws_peer {
	uint32_t magic;
	struct ws *front;
	struct stream *stream;  /* NULL: closed */
	struct list link;       /* front->peers, until closed */
	struct list subs;       /* struct ws_sub */
	uint32_t refs;          /* the connection, and every request and subscription of it */
	uint32_t publishing;    /* publishes under way */
	uint32_t calls;         /* settlements under way */
	uint32_t n_subs;
	uint32_t viewing;       /* subscriptions that read a message again */
	bool closing;           /* we asked the carrier to close */
	bool paused;
	struct actor actor;
	char *text;             /* what actor views */
};

/* A request's id, as JSON text; n 0: it has none. */
struct ws_id {
	uint32_t n;
	char text[WS_ID_MAX];
};

/*
 *   SUB_ASKING  finding out where to begin, or waiting for the engine to open it
 *   SUB_OPEN    delivers
 *   SUB_ENDING  closed by us: ended() follows
 */
enum ws_sub_state { SUB_ASKING, SUB_OPEN, SUB_ENDING };
struct ws_opening;
/* A message that came to a tap when there was no room for it: it is read again, from its place. */
struct ws_late {
	uint64_t position;
	size_t n;               /* bytes of its record */
};
struct ws_sub {
	uint32_t magic;
	enum ws_sub_state state;
	struct engine_sub sub;
	struct ws_peer *peer;
	struct list link;       /* peer->subs */
	struct ws_opening *opening; /* while SUB_ASKING */
	struct slice name;      /* as JSON text, with its quotes */
	bool group;
	bool automatic;         /* a tap that gets credit as the connection takes what is sent */
	bool closed_by_client;
	bool over;              /* ended() came; waits for settlements */
	uint32_t wanted;        /* credit that the client granted and the engine does not have yet */
	uint32_t under_way;     /* credit that the engine has */
	uint32_t unsettled;     /* group: deliveries that wait for the client's word */
	uint32_t settling;      /* requests under way about them */
	uint32_t frame_bytes;   /* what a frame takes lately */
	struct ws_late late[WS_WINDOW_MAX]; /* in order; what comes behind them goes there too */
	uint32_t n_late;
	bool viewing;           /* the first of them is being read */
	struct engine_view view;
	struct list hungry;     /* front->hungry */
	size_t hungry_n;        /* bytes of what waits */
	uint64_t seq;           /* of the last delivery */
	struct list leases;     /* struct ws_lease, by seq */
	struct u64map by_seq;
};

/* ---- websocket.c ---- */
void ws_settled(struct ws *w); /* something ended: perhaps that was the last thing before stopped() */

/* ---- ws_proto.c ---- */
extern const struct stream_ops ws_json_stream;
void ws_peer_hold(struct ws_peer *p);
void ws_peer_drop(struct ws_peer *p);
void ws_peer_flow(struct ws_peer *p);        /* pauses or resumes input; says bye when the front stops and nothing is under way */
static inline bool ws_peer_open(const struct ws_peer *p) { return p->stream != NULL && !p->closing; }
/* Sends bye and closes. */
void ws_peer_bye(struct ws_peer *p, enum status st, uint16_t code, bool reconnect, const char *why);
struct buf *ws_begin(struct ws_peer *p, const char *type); /* {"type":"..." */
void ws_put_id(struct buf *b, const struct ws_id *id);     /* ,"id":... where there is one */
void ws_put_text(struct buf *b, const char *name, struct slice v);
void ws_put_number(struct buf *b, const char *name, uint64_t v);
void ws_end(struct ws_peer *p, struct buf *b);             /* } and sends */
/* Members of an error: code, status, detail, retry. 'detail' NULL: the status's text. */
void ws_put_status(struct buf *b, enum status st, const char *detail);
void ws_error(struct ws_peer *p, const struct ws_id *id, const struct ws_sub *s, const uint64_t *seq, enum status st, const char *detail);
/* The member "id"; false: it cannot be one, and an error was sent. */
bool ws_get_id(struct ws_peer *p, const json_t *msg, struct ws_id *ret);
/* Refuses members that 'known' (ended by NULL) does not name. */
bool ws_only(struct ws_peer *p, const json_t *msg, const struct ws_id *id, const char *const *known);

/* ---- ws_publish.c ---- */
void ws_publish(struct ws_peer *p, const json_t *msg);

/* ---- ws_sub.c, ws_open.c ---- */
void ws_subscribe(struct ws_peer *p, const json_t *msg);
void ws_unsubscribe(struct ws_peer *p, const json_t *msg);
void ws_credit(struct ws_peer *p, const json_t *msg);
void ws_sub_flow(struct ws_sub *s);          /* hands credit on as the connection has room */
void ws_sub_send(struct ws_sub *s, const struct message *m, const struct delivery *d); /* a message; 'd' of a group's, else NULL */
void ws_sub_close(struct ws_sub *s);
void ws_sub_free_if_over(struct ws_sub *s);
/* The subscription that "sub" names; NULL: none, and an error was sent. */
struct ws_sub *ws_sub_named(struct ws_peer *p, const json_t *msg, const struct ws_id *id);
/* The opening of 's' failed: an error was sent, the subscription goes. */
void ws_sub_failed(struct ws_sub *s, enum status st, const char *detail);
void ws_sub_opened(struct ws_sub *s, struct slice cursor);
enum status ws_open_read(struct ws_sub *s, const json_t *msg, const char **ret_why); /* what the client wants, into s->opening */
void ws_open_go(struct ws_sub *s);
void ws_open_free(struct ws_opening *o);

/* ---- ws_late.c ---- */
/* Is there room for a message of so many bytes? When there is none the subscription hears of it: by drained(), or by ws_late_turn. */
bool ws_late_room(struct ws_sub *s, size_t n);
void ws_late_put(struct ws_sub *s, uint64_t position, size_t n);
void ws_late_next(struct ws_sub *s);         /* reads the first one, if there is room now */
bool ws_late_turn(struct ws *w);             /* those that less is held for now; true: the engine was asked for something */

/* ---- ws_settle.c ---- */
struct ws_lease {
	struct list link;
	uint64_t seq, tag;
	bool busy;              /* its end is under way */
};
void ws_ack(struct ws_peer *p, const json_t *msg);
void ws_nack(struct ws_peer *p, const json_t *msg);
void ws_extend(struct ws_peer *p, const json_t *msg);
struct ws_lease *ws_lease_new(struct ws_sub *s, uint64_t tag);
void ws_lease_drop(struct ws_sub *s, struct ws_lease *l);
/* Settles a delivery that the client never hears of. */
void ws_settle_quietly(struct ws_sub *s, uint64_t tag, enum settle how);

/* ---- ws_frame.c ---- */
/* A message for a tap: a frame that others may share. Valid until the next call; hold its blob to keep it. */
struct piece ws_frame_shared(struct ws *w, const struct ws_sub *s, const struct message *m, struct slice topic);
/* A message for a group's member, the same way. */
struct piece ws_frame_own(struct ws *w, const struct ws_sub *s, const struct message *m, const struct delivery *d, uint64_t seq);
void ws_cache_clear(struct ws *w);
uint64_t ws_cache_turn(struct ws *w, uint64_t now_ns); /* returns its deadline */

#endif
