/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The engine: one log, and everything that is derived from it. This is the only header of engine/ that others include.
 *
 * The rules, once:
 *  1. In by borrow. Every slice in a request may be reused as soon as the asking call has returned.
 *  2. A request struct belongs to the caller, who zeroes it, fills the 'in' fields and leaves it alone until done(), which fires
 *     exactly once, also on close, and never from inside the asking call. Inside done() the request may be reused or freed.
 *  3. Out slices and pieces are valid during done() only, unless the field says that the caller frees it. A piece whose blob is
 *     held (blob_hold) stays valid as long as that.
 *  4. Callbacks fire only from engine_turn (or, through a port, from the port's turn in the thread that owns the caller).
 *  5. Retry, dead-lettering, delay and expiry are consequences of settle verbs and of time, never calls.
 *
 * Every verb is one engine_ask with a number, so that the same interface is served by the local engine and by a port on another
 * thread (engine/port.h); the typed functions below only fill that number in.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/blob.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/disk.h"
#include "base/list.h"
#include "base/log.h"
#include "base/prng.h"
#include "base/status.h"

struct engine;
struct engine_ask;
struct engine_sub;

/* Who asks. Access control will be one function over it; today everybody may do everything. */
struct actor {
	const char *front;     /* "native", "http", ... */
	struct slice identity; /* account or certificate subject, empty when anonymous */
	struct slice address;  /* "ip:port" of the peer */
};

/* The head of every request. */
struct engine_ask {
	void (*done)(struct engine_ask *, enum status); /* NULL: do not tell me */
	/* private to the engine */
	uint16_t verb;
	enum status status;
	struct list link;
	void *priv[2];
};

enum engine_verb {
	ENGINE_SEND, ENGINE_SEND_BACK, ENGINE_PULL, ENGINE_VIEW, ENGINE_FIND, ENGINE_RANGE, ENGINE_AT_TIME,
	ENGINE_TOPIC_PUT, ENGINE_TOPIC_GET, ENGINE_TOPIC_DROP, ENGINE_TOPIC_LIST,
	ENGINE_GROUP_PUT, ENGINE_GROUP_GET, ENGINE_GROUP_DROP, ENGINE_GROUP_LIST,
	ENGINE_JOIN, ENGINE_LEAVE, ENGINE_MEMBERS, ENGINE_LOCK, ENGINE_UNLOCK,
	ENGINE_OFFSET_GET, ENGINE_OFFSET_COMMIT, ENGINE_OFFSET_RESET, ENGINE_OFFSET_DROP, ENGINE_OFFSET_LIST,
	ENGINE_SUB_OPEN, ENGINE_SETTLE, ENGINE_CELL_PUT, ENGINE_CELL_LIST, ENGINE_STATS, ENGINE_VERB_COUNT
};

struct engine_ops {
	void (*submit)(struct engine *, struct engine_ask *);
	void (*cancel)(struct engine *, struct engine_ask *);
	void (*sub_credit)(struct engine *, struct engine_sub *, uint32_t more);
	void (*sub_close)(struct engine *, struct engine_sub *);
};
/* What every kind of engine begins with. */
struct engine {
	const struct engine_ops *ops;
};

static inline void engine_submit(struct engine *e, struct engine_ask *a, enum engine_verb verb)
{
	a->verb = verb;
	e->ops->submit(e, a);
}
/* Ends a waiting request early (a pull whose caller hung up): done(CLOSED) follows from the next turn, unless it was already due. */
static inline void engine_cancel(struct engine *e, struct engine_ask *a) { e->ops->cancel(e, a); }

/* ---- Sending ---------------------------------------------------------------------------------------------------------- */

/* A message as a front hands it in. Everything else (TAGS, KEYS, DELAY, WAIT ...) stands in its properties. */
struct msg {
	struct slice topic;
	struct slice body;
	struct slice props;      /* RocketMQ property text, as it came */
	int32_t queue;           /* -1: the engine picks one of the write queues, the same one for the same order key (__SHARDINGKEY) */
	int32_t flag;            /* the user's */
	int32_t sys_flag;        /* compression bits; transaction bits are refused with DENIED until there are transactions */
	int32_t reconsume_times;
	int32_t max_reconsume;   /* of a send to %RETRY%group; -1: the group's */
	int64_t born_ms;
	uint32_t born_ip, born_port; /* IPv4, host order */
};

struct engine_send {
	struct engine_ask ask;
	/* in */
	const struct actor *actor;
	struct msg msg;
	bool batch;               /* msg.body is a batch body (record/record.h: batch_next); msg.props are of the whole batch */
	struct slice default_topic; /* template for a topic that does not exist; empty: never create */
	int32_t default_queues;   /* how many queues the client wishes for such a topic */
	/* out */
	uint64_t position;        /* of the (first) record: its identity */
	uint64_t offset;          /* of the (first) message in its queue */
	int32_t queue;
	int64_t store_ms;
	bool durable;             /* the level that was reached: on disk, or in memory only */
	uint32_t count;           /* messages stored */
	uint64_t *positions;      /* batch only: 'count' positions; the caller frees it with mem_free. NULL otherwise */
};
/*
 * Stores one message or one batch, all or nothing (only a crash before the answer may leave the beginning of a batch). OK: stored to the configured level. Errors: NO_TOPIC, NO_QUEUE, BAD_NAME,
 * DENIED (reserved or not writable topic), ILLEGAL (properties, delay where none may be), TOO_BIG, BUSY, DISK_FULL, IO, CLOSED,
 * UNSUPPORTED (TIMER_* properties).
 */
static inline void engine_send(struct engine *e, struct engine_send *r) { engine_submit(e, &r->ask, ENGINE_SEND); }

struct engine_send_back {
	struct engine_ask ask;
	const struct actor *actor;
	struct slice group;
	uint64_t position;        /* of the record that could not be handled */
	int32_t delay_level;      /* 0: 3 + times so far; < 0: dead-letter at once */
	int32_t max_reconsume;    /* -1: the group's */
	struct slice origin_id;   /* message id to keep, may be empty */
};
/* Puts a message that a consumer could not handle into %RETRY%group after its delay, or into %DLQ%group when it had enough. NO_GROUP, NOT_FOUND. */
static inline void engine_send_back(struct engine *e, struct engine_send_back *r) { engine_submit(e, &r->ask, ENGINE_SEND_BACK); }

/* ---- Reading by position ------------------------------------------------------------------------------------------------ */

struct engine_pull {
	struct engine_ask ask;
	/* in */
	const struct actor *actor;
	struct slice topic;
	int32_t queue;
	uint64_t from;
	uint32_t max_msgs;        /* at least one message is given even when it is over max_bytes */
	uint32_t max_bytes;
	uint64_t wait_ms;         /* at the end of the queue: wait for a match so long; 0: answer at once */
	struct slice group;       /* empty: a reader without a group, no checks of membership */
	bool has_expr;            /* filter by 'expr'; otherwise by the subscription that the group's members announced */
	struct slice expr;        /* "*", empty, or "a || b" */
	int64_t sub_version;      /* of the announced subscription; 0: any */
	int64_t commit;           /* offset to commit on the way (only raises); -1: none */
	/* out, also with EMPTY, NO_MATCH and MOVED */
	uint64_t next;            /* where to go on */
	uint64_t min, max;        /* the queue's range; max is the next offset to be written */
	uint32_t count;
	uint32_t bytes;
	const struct piece *pieces; /* stored records, concatenated */
	unsigned n_pieces;
};
/*
 * OK (count >= 1), EMPTY (at the end, waited in vain), NO_MATCH, MOVED (from is outside; next says where), NO_TOPIC, NO_QUEUE,
 * NO_GROUP, NOT_SUBSCRIBED, STALE_SUB, BAD_FILTER, DENIED, CLOSED.
 */
static inline void engine_pull(struct engine *e, struct engine_pull *r) { engine_submit(e, &r->ask, ENGINE_PULL); }

struct engine_view {
	struct engine_ask ask;
	const struct actor *actor;
	uint64_t position;
	struct piece piece;       /* out: the record, contiguous, in a blob */
};
/* One record by its identity. NOT_FOUND when no message starts there, CORRUPT. */
static inline void engine_view(struct engine *e, struct engine_view *r) { engine_submit(e, &r->ask, ENGINE_VIEW); }

struct engine_find {
	struct engine_ask ask;
	/* in */
	const struct actor *actor;
	struct slice topic, key;
	bool unique;              /* key is a UNIQ_KEY: no KEYS are looked at */
	uint32_t max;
	int64_t begin_ms, end_ms; /* range of store times, both included */
	/* out */
	struct piece *pieces;     /* one record each, newest first */
	unsigned count;
	int64_t last_ms;          /* store time and position of the newest record that is indexed */
	uint64_t last_position;
};
/* Messages by key. OK or NOT_FOUND. */
static inline void engine_find(struct engine *e, struct engine_find *r) { engine_submit(e, &r->ask, ENGINE_FIND); }

struct engine_range {
	struct engine_ask ask;
	const struct actor *actor;
	struct slice topic;
	int32_t queue;
	int64_t time_ms;          /* AT_TIME: in */
	bool upper;               /* AT_TIME: the last message at or before the time instead of the first at or after it */
	uint64_t min, max;        /* out */
	uint64_t offset;          /* AT_TIME: out */
	int64_t first_ms;         /* RANGE: out: store time of the first message, -1 when there is none */
};
/* The bounds of a queue. NO_TOPIC, NO_QUEUE. */
static inline void engine_range(struct engine *e, struct engine_range *r) { engine_submit(e, &r->ask, ENGINE_RANGE); }
/* The offset for a store time: min before all, max after all. */
static inline void engine_at_time(struct engine *e, struct engine_range *r) { engine_submit(e, &r->ask, ENGINE_AT_TIME); }

/* ---- Topics --------------------------------------------------------------------------------------------------------------- */

enum { PERM_INHERIT = 1, PERM_WRITE = 2, PERM_READ = 4 };

struct topic_conf {
	uint32_t read_queues, write_queues;
	uint32_t perm;
	uint32_t sys_flag;
	bool order;
};
struct topic_info {
	struct slice name;
	struct topic_conf conf;
	uint64_t incarnation;     /* position of the record that created it */
	bool system;              /* made by the engine at start */
	uint64_t messages;        /* LIST with 'counts': how many there are; what retention dropped a moment ago may still count */
};
struct engine_topic {
	struct engine_ask ask;
	const struct actor *actor;
	struct slice name;
	struct topic_conf conf;   /* PUT: in; GET: out */
	struct topic_info info;   /* out; name is valid during done() */
};
/* Creates or changes; done once it is durable. BAD_NAME, BAD_ARG, DENIED (reserved name). */
static inline void engine_topic_put(struct engine *e, struct engine_topic *r) { engine_submit(e, &r->ask, ENGINE_TOPIC_PUT); }
static inline void engine_topic_get(struct engine *e, struct engine_topic *r) { engine_submit(e, &r->ask, ENGINE_TOPIC_GET); }
/* Removes a topic, its queues and all offsets in it. NO_TOPIC, DENIED (system topic). */
static inline void engine_topic_drop(struct engine *e, struct engine_topic *r) { engine_submit(e, &r->ask, ENGINE_TOPIC_DROP); }

struct engine_topics {
	struct engine_ask ask;
	const struct actor *actor;
	bool counts;              /* in */
	const struct topic_info *v; /* out, valid during done() */
	size_t count;
	uint64_t version;         /* grows with every change of any topic */
};
static inline void engine_topic_list(struct engine *e, struct engine_topics *r) { engine_submit(e, &r->ask, ENGINE_TOPIC_LIST); }

/* Tells of every topic that is created, changed or dropped, after it is durable. Local engine only; loop thread. */
struct engine_watch {
	void (*topic)(struct engine_watch *, const struct topic_info *, bool dropped);
	struct list link; /* private */
};
void engine_watch_add(struct engine *e, struct engine_watch *w);
void engine_watch_drop(struct engine *e, struct engine_watch *w);

/* ---- Groups ---------------------------------------------------------------------------------------------------------------- */

struct group_conf {
	bool consume, broadcast, from_min, orderly, notify;
	uint32_t retry_queues;
	uint32_t retry_max;       /* attempts before the dead-letter topic */
	uint32_t broker_id, slow_broker_id;
	uint32_t sys_flag;
	uint32_t consume_timeout_min;
};
void group_conf_default(struct group_conf *c);

struct engine_group {
	struct engine_ask ask;
	const struct actor *actor;
	struct slice name;
	struct group_conf conf;   /* PUT: in; GET: out */
	bool drop_offsets;        /* DROP: in */
};
static inline void engine_group_put(struct engine *e, struct engine_group *r) { engine_submit(e, &r->ask, ENGINE_GROUP_PUT); }
static inline void engine_group_get(struct engine *e, struct engine_group *r) { engine_submit(e, &r->ask, ENGINE_GROUP_GET); }
static inline void engine_group_drop(struct engine *e, struct engine_group *r) { engine_submit(e, &r->ask, ENGINE_GROUP_DROP); }

struct group_info {
	struct slice name;
	struct group_conf conf;
	uint32_t members;
};
struct engine_groups {
	struct engine_ask ask;
	const struct actor *actor;
	const struct group_info *v; /* out, valid during done() */
	size_t count;
};
static inline void engine_group_list(struct engine *e, struct engine_groups *r) { engine_submit(e, &r->ask, ENGINE_GROUP_LIST); }

/* ---- Members: who is there ----------------------------------------------------------------------------------------------------- */

enum member_kind { MEMBER_CONSUMER, MEMBER_PRODUCER };
enum consume_type { CONSUME_ACTIVELY, CONSUME_PASSIVELY, CONSUME_POP };
enum message_model { MODEL_BROADCASTING, MODEL_CLUSTERING };
enum consume_from {
	FROM_LAST, FROM_LAST_AND_MIN_AT_BOOT, FROM_MIN, FROM_MAX, FROM_FIRST, FROM_TIMESTAMP
};
struct subscription {
	struct slice topic;
	struct slice expr;        /* "*" or "a || b" */
	int64_t version;
};
/*
 * One member of one group on one connection; the front keeps it, zeroed, from the first join until leave is done or lost() fired.
 */
struct engine_member {
	void (*changed)(struct engine_member *); /* members or subscriptions of its group changed: time to rebalance; may be NULL */
	void (*lost)(struct engine_member *);    /* no sign of life for the configured time: forgotten; its last callback */
	void *priv[2];                           /* the engine's; priv[0] NULL: not joined */
};
struct engine_join {
	struct engine_ask ask;
	const struct actor *actor;
	struct engine_member *member;
	enum member_kind kind;
	struct slice group, client_id;
	uint32_t language, version;
	enum consume_type type;
	enum message_model model;
	enum consume_from from;
	const struct subscription *subs;
	size_t n_subs;
	bool keep_subs;           /* subs say nothing: keep what was announced before */
	bool subs_changed;        /* out: the group's subscription is not what it was */
};
/*
 * Joins, or says again that one is alive. Creates the group and its retry topic where the configuration allows. Takes effect inside
 * the call for what the same caller asks next; done() when durable. NO_GROUP, BAD_NAME, BAD_FILTER, DENIED.
 */
static inline void engine_join(struct engine *e, struct engine_join *r) { engine_submit(e, &r->ask, ENGINE_JOIN); }

struct engine_leave {
	struct engine_ask ask;
	struct engine_member *member;
};
static inline void engine_leave(struct engine *e, struct engine_leave *r) { engine_submit(e, &r->ask, ENGINE_LEAVE); }

struct member_info {
	struct slice client_id, address;
	uint32_t language, version;
	int64_t seen_ms;
};
struct engine_members {
	struct engine_ask ask;
	const struct actor *actor;
	struct slice group;
	enum member_kind kind;
	/* out, valid during done() */
	const struct member_info *v;
	size_t count;
	enum consume_type type;
	enum message_model model;
	enum consume_from from;
	const struct subscription *subs;
	size_t n_subs;
};
/* NO_GROUP when the group has no member. */
static inline void engine_members(struct engine *e, struct engine_members *r) { engine_submit(e, &r->ask, ENGINE_MEMBERS); }

struct queue_name {
	struct slice topic;
	int32_t queue;
};
struct engine_locks {
	struct engine_ask ask;
	const struct actor *actor;
	struct slice group, client_id;
	const struct queue_name *v;
	size_t count;
	bool *granted;            /* LOCK: 'count' answers, the caller's array, filled before done() */
};
/* Orderly consumption: one holder per (group, queue), who says it again within the lock's life (60 s unless configured). */
static inline void engine_lock(struct engine *e, struct engine_locks *r) { engine_submit(e, &r->ask, ENGINE_LOCK); }
static inline void engine_unlock(struct engine *e, struct engine_locks *r) { engine_submit(e, &r->ask, ENGINE_UNLOCK); }

/* ---- Offsets: how far a group has come --------------------------------------------------------------------------------------------- */

struct engine_offset {
	struct engine_ask ask;
	const struct actor *actor;
	struct slice group, topic;
	int32_t queue;
	const struct engine_member *member; /* COMMIT: who commits; NULL: nobody in particular */
	uint64_t offset;          /* GET: out; COMMIT, RESET: in */
	bool young;               /* GET with NOT_FOUND: out: all that was ever sent to the queue is still young: start at 0 */
};
/* The committed offset. NOT_FOUND when the group has none there; NO_TOPIC, NO_QUEUE. */
static inline void engine_offset_get(struct engine *e, struct engine_offset *r) { engine_submit(e, &r->ask, ENGINE_OFFSET_GET); }
/*
 * Sets it. A lower value than before counts only from the queue's present puller, or when there is none. Answered at once; durable
 * with the next sync, 100 ms later at most (configurable).
 */
static inline void engine_offset_commit(struct engine *e, struct engine_offset *r) { engine_submit(e, &r->ask, ENGINE_OFFSET_COMMIT); }
/* Sets it whatever it was; durable when done. */
static inline void engine_offset_reset(struct engine *e, struct engine_offset *r) { engine_submit(e, &r->ask, ENGINE_OFFSET_RESET); }
/*
 * Forgets all that the group has in the topic, in all its queues ('queue' says nothing), as if it had never been given a message: offsets, what is
 * leased or waits to be delivered again in place. Its subscriptions there end with GONE. What was sent back to its retry topic stays there, and so do its
 * members' locks. Durable when done. OK also where there is nothing to forget; NO_GROUP, NO_TOPIC.
 */
static inline void engine_offset_drop(struct engine *e, struct engine_offset *r) { engine_submit(e, &r->ask, ENGINE_OFFSET_DROP); }

struct offset_info {
	struct slice topic;
	int32_t queue;
	uint64_t offset, min, max;
	int64_t commit_ms;
};
struct engine_offsets {
	struct engine_ask ask;
	const struct actor *actor;
	struct slice group;
	const struct offset_info *v; /* out, valid during done() */
	size_t count;
};
static inline void engine_offset_list(struct engine *e, struct engine_offsets *r) { engine_submit(e, &r->ask, ENGINE_OFFSET_LIST); }

/* ---- Leases: the engine hands messages out one by one ---------------------------------------------------------------------------------- */

struct delivery {
	uint64_t tag;             /* names the delivery to its subscription */
	uint64_t incarnation;     /* for a receipt: of the topic's life, and of what the group counts in it; 0 without a group */
	struct slice record;      /* the stored record, contiguous */
	struct blob *blob;        /* holds it */
	struct slice topic;       /* the subscribed topic (a retry is delivered under its original topic) */
	int32_t queue;
	uint64_t offset;
	uint32_t attempt;         /* 1 for the first */
	int64_t lease_ms;         /* how long the member has */
};
struct engine_sub {
	void (*deliver)(struct engine_sub *, const struct delivery *);
	void (*ended)(struct engine_sub *, enum status); /* the last callback: CLOSED after engine_sub_close, else why */
	void *priv[2];
};
enum sub_start {
	SUB_START_COMMITTED, SUB_START_FIRST, SUB_START_LAST, SUB_START_OFFSET,
	SUB_START_POSITION        /* at the first message that the log holds at position start_offset or behind it; taps only */
};
/* Where a tap begins in one queue. */
struct queue_from {
	int32_t queue;
	uint64_t offset;
};
struct engine_sub_open {
	struct engine_ask ask;
	const struct actor *actor;
	struct engine_sub *sub;
	struct slice topic;
	struct slice group;       /* empty: ephemeral, nothing is remembered */
	struct slice client_id;
	struct slice expr;        /* tag filter */
	enum sub_start start;     /* where a group without a committed offset begins */
	uint64_t start_offset;    /* SUB_START_OFFSET, for every queue; SUB_START_POSITION: of the log */
	bool tap;                 /* reads by position: nothing is leased or remembered, a delivery's tag is 0; 'group' must be empty */
	const struct queue_from *from; /* taps: queues that begin elsewhere than 'start' says; below the queue's first: there */
	size_t n_from;
	uint64_t incarnation;     /* taps: out: the topic's; no message of it is before this position */
	bool detach;              /* leases outlive the subscription: they end by receipt (engine_settle without sub) or by time */
	uint32_t lease_ms;        /* 0: the configured default */
	uint32_t credit;          /* deliveries that may be under way at first */
};
/*
 * Starts to deliver the topic's messages (all its queues that no native member owns, and the group's retries), never more than credit
 * allows. NO_TOPIC, NO_GROUP, DENIED, BAD_FILTER. GONE: 'from' names offsets of a topic that was dropped since, because start_offset, a position other
 * than 0, is from before this one was made.
 */
static inline void engine_sub_open(struct engine *e, struct engine_sub_open *r) { engine_submit(e, &r->ask, ENGINE_SUB_OPEN); }
/* More deliveries may be under way; settling one gives none back by itself. */
static inline void engine_sub_credit(struct engine *e, struct engine_sub *s, uint32_t more) { e->ops->sub_credit(e, s, more); }
/* Unsettled deliveries go back at once, unless they are detached; ended(CLOSED) follows from a turn. */
static inline void engine_sub_close(struct engine *e, struct engine_sub *s) { e->ops->sub_close(e, s); }

enum settle {
	SETTLE_ACK, SETTLE_RETRY, SETTLE_REJECT, SETTLE_EXTEND,
	SETTLE_RELEASE            /* back at once, and the attempt does not count: it never reached anybody */
};
struct engine_settle {
	struct engine_ask ask;
	struct engine_sub *sub;   /* who got it; NULL: by receipt, which is (group, topic, tag) */
	struct slice group, topic; /* receipts only */
	uint64_t incarnation;     /* receipts only: as the delivery said, so that one of a dropped topic, or of before a reset, settles nothing */
	uint64_t tag;
	enum settle how;
	int64_t after_ms;         /* RETRY: delay, -1: the group's next; EXTEND: new lease from now */
};
/*
 * Ends or prolongs a lease. ACK: handled. RETRY: again after the delay, or dead-lettered when it had its attempts. REJECT: dead-letter
 * now. Answered at once, durable with the next sync. GONE when the lease has run out or was settled before. A receipt holds as long as its
 * attempt is the message's latest: also after the subscription closed, and after a restart while nobody else was given the message. Never when
 * the group's offset was set back or reset since, or forgotten.
 */
static inline void engine_settle(struct engine *e, struct engine_settle *r) { engine_submit(e, &r->ask, ENGINE_SETTLE); }

/* ---- Cells: the last value of a name ------------------------------------------------------------------------------------------------------- */

/* For what a front must remember beside messages: retained messages, sessions, a secret. Small in number and size beside messages. */
struct engine_cell {
	struct engine_ask ask;
	const struct actor *actor;
	struct slice space;       /* whose: "mqtt-session"; CELL_SPACE_MAX bytes */
	struct slice name;        /* CELL_NAME_MAX bytes, any */
	struct slice value;       /* max_message + 64 KiB */
	bool drop;                /* forget the name */
};
/* Sets (or drops) it; done once it is durable, in the order asked. TOO_BIG, BUSY (max_cells or max_cell_bytes are used up), DISK_FULL, IO. */
static inline void engine_cell_put(struct engine *e, struct engine_cell *r) { engine_submit(e, &r->ask, ENGINE_CELL_PUT); }
#define CELL_SPACE_MAX 64u
#define CELL_NAME_MAX 65535u
struct cell_info {
	struct slice name, value;
};
struct engine_cells {
	struct engine_ask ask;
	const struct actor *actor;
	struct slice space;
	struct slice name;        /* this one only, where 'one' is set */
	bool one;
	const struct cell_info *v; /* out, valid during done() */
	size_t count;
};
/* OK, also when there is none. What was put and is not durable yet counts. */
static inline void engine_cell_list(struct engine *e, struct engine_cells *r) { engine_submit(e, &r->ask, ENGINE_CELL_LIST); }

/* ---- Numbers --------------------------------------------------------------------------------------------------------------------------- */

enum engine_stat {
#define X(name, kind, text) STAT_##name,
#include "engine/stats.tbl"
#undef X
	STAT_COUNT
};
struct stat_row {
	const char *name; /* as metrics name it: "gantry_messages_in_total" */
	const char *kind; /* "counter" or "gauge" */
	const char *text;
};
extern const struct stat_row engine_stat_rows[STAT_COUNT];

struct engine_stats {
	struct engine_ask ask;
	const struct actor *actor;
	uint64_t v[STAT_COUNT];   /* out */
	uint64_t visible;         /* out: the position of the log behind the last message that readers can see */
	struct delay_numbers {
		uint64_t next, end;
	} delay[18];              /* out: of each delay level: the offset of the next message that will be due, and the one behind the last */
};
static inline void engine_stats(struct engine *e, struct engine_stats *r) { engine_submit(e, &r->ask, ENGINE_STATS); }

/* ---- Life ------------------------------------------------------------------------------------------------------------------------------ */

/* All the world that it has. */
struct engine_env {
	struct clock *clock;
	struct disk *disk;
	struct prng *prng;
	struct log *log;
};

enum flush_mode { FLUSH_SYNC, FLUSH_ASYNC };

struct engine_conf {
	struct slice cluster, broker; /* names; checked against the store's */
	uint32_t store_ip, store_port; /* stand in every record and message id; IPv4, host order */
	uint64_t segment_bytes;       /* size of a log segment; a multiple of 4096 */
	enum flush_mode flush;
	uint32_t flush_async_ms;      /* FLUSH_ASYNC: at most so long until a sync */
	uint32_t max_message;         /* body bytes */
	uint64_t ahead_bytes;         /* zero-filled ahead of the tail */
	uint64_t unsynced_bytes;      /* most of the log that is not synced at any time */
	uint64_t snapshot_bytes;      /* log between two snapshots, at least */
	uint64_t cache_bytes;         /* log blocks kept in memory */
	uint32_t block_bytes;         /* size of one; a power of two that divides segment_bytes */
	uint32_t offset_sync_ms;      /* offsets and acks are durable after so long at most */
	bool auto_create_topic, auto_create_group;
	uint32_t default_queues;      /* of TBW102 */
	uint64_t reserved_ms;         /* retention by age; 0: for ever */
	uint64_t retain_bytes;        /* retention by size of the log; 0: no limit */
	uint64_t disk_reserve_bytes;  /* free space kept back for consequences */
	bool keep_unconsumed;         /* refuse sends instead of dropping what a group has not consumed */
	uint32_t member_expire_ms, lock_expire_ms;
	uint32_t lease_ms;            /* default lease */
	uint64_t young_bytes;         /* a queue whose first message is at most so far behind the tail is young (engine_offset.young) */
	uint32_t delay_ms[18];        /* the delay levels */
	uint32_t max_waiting;         /* pulls that wait at once */
	uint32_t max_topics, max_groups;
	uint32_t max_cells;
	uint64_t max_cell_bytes;      /* of all names and values together */
	uint32_t feed_linger_ms;      /* a group keeps its place among native members so long after its last subscription closed */
};
void engine_conf_default(struct engine_conf *c);

/*
 * Opens (or creates) the store and recovers it: the only blocking call. On failure 'why' says what and where: VERSION (a format that is
 * not ours), CORRUPT (file and offset), LOCKED, DISK_FULL, IO, BAD_ARG.
 */
enum status engine_open(struct engine **ret, const struct engine_env *env, const struct engine_conf *conf, char *why, size_t why_size);
/* Does what is due and fires callbacks. Returns the next deadline in mono ns: 0 means "again at once". */
uint64_t engine_turn(struct engine *e);
/*
 * Two-phase: new requests are answered CLOSED, what is under way ends, the log is synced, a snapshot written; then closed(arg) fires
 * from a turn and the engine is freed after it.
 */
void engine_close(struct engine *e, void (*closed)(void *), void *arg);
/* Frees everything at once, as a crash would leave it: for the simulator. No callback fires. */
void engine_abandon(struct engine *e);

#endif
