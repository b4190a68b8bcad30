/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What the files of engine/ share. Nobody outside includes it.
 *
 * One idea per file: clog (the commit log: segments, tail, marks), block (its bytes in memory), append (a record gets its place),
 * send (admission of messages), state (state records and what they carry), snapshot, recover, topic, group, member, offset, lease,
 * read (pulls), lookup, delay, retry, janitor.
 *
 * The turn: due timers fire; requests have been executed when they were submitted; what they appended is written and synced; what became
 * visible is indexed, wakes waiting pulls and completes its request; done() callbacks fire last, from eng->done.
 */
#ifndef ENGINE_ENG_H
#define ENGINE_ENG_H

#include "base/heap.h"
#include "base/map.h"
#include "base/obj.h"
#include "engine/clog.h"
#include "engine/engine.h"
#include "engine/qindex.h"
#include "record/record.h"

#define ENG_MAGIC 0x454e4731u
#define TOPIC_MAGIC 0x544f5031u
#define GROUP_MAGIC 0x47525031u

#define NAME_MAX_TOPIC 127u        /* of a topic that a user makes */
#define NAME_MAX_SYSTEM 255u       /* of %RETRY% and %DLQ% topics */
#define NAME_MAX_GROUP 120u
#define QUEUES_MAX 65536u          /* of one topic */
#define RETRY_PREFIX "%RETRY%"
#define DLQ_PREFIX "%DLQ%"
#define TOPIC_STATE "rmq_sys_gantry_state"   /* the state records' topic; nobody can name it in a request */
#define TOPIC_SCHEDULE "SCHEDULE_TOPIC_XXXX" /* parked messages; queue = delay level - 1 */
#define TOPIC_TEMPLATE "TBW102"
#define DELAY_LEVELS 18

struct eng;
struct topic;
struct group;

/* A moment at which something has to be done. fire() runs in the turn, after the timer has left the heap; it may set it again. */
struct eng_timer {
	struct heap_node node;
	void (*fire)(struct eng *, struct eng_timer *);
};

struct queue {
	struct qi_queue index;     /* offsets that readers see: [index.first, index.next) */
	struct topic *topic;
	int32_t id;
	uint64_t next;             /* offset of the next append; runs ahead of index.next by what is not visible yet */
	struct list waiters;       /* pulls (read.c) and subscriptions (lease.c) that wait for a message: struct queue_waiter */
};
/* Somebody who wants to hear of new messages of a queue. Called in the turn, after the entry is indexed; stays linked until removed. */
struct queue_waiter {
	struct list link;
	void (*arrived)(struct eng *, struct queue_waiter *, const struct qentry *);
};

struct topic {
	uint32_t magic;
	char *name;                /* NUL-terminated heap copy */
	struct topic_conf conf;
	uint64_t incarnation;      /* position of its creation record; identity of this life of the name */
	uint32_t n_queues;         /* max(read, write) ever had: queues[] never shrinks in one incarnation */
	struct queue **queues;     /* [n_queues], made on first use: NULL is an empty queue */
	bool system;               /* cannot be dropped */
	bool sendable;             /* users may send to it */
	bool dead;                 /* dropped; freed when nothing points at it any more */
	uint32_t refs;             /* pending appends, waiting pulls, leases */
	uint32_t rotor;            /* last queue picked for queue -1 */
	size_t slot;               /* place in eng->topic_list */
};
static inline struct slice topic_name(const struct topic *t) { return slice_str(t->name); }

/* A record that has its place but is not visible yet. In log order. */
struct pending {
	uint64_t position;
	uint32_t size;
	struct queue *queue;       /* NULL for state records */
	uint64_t offset;
	uint64_t tag;              /* the index entry's tag word */
	struct engine_ask *ask;    /* completes with it (the last record of a batch, a state change); may be NULL */
	void (*visible)(struct eng *, const struct pending *); /* extra consequence, may be NULL */
	uint64_t arg;              /* for visible() */
};

struct eng {
	struct engine head;        /* what callers see; first */
	uint32_t magic;
	struct engine_env env;
	struct engine_conf conf;
	struct log *log;
	uint64_t now_ns;           /* mono, sampled once a turn */
	int64_t now_ms;            /* wall, sampled once a turn */
	int64_t store_ms;          /* last store time stamp: never steps back */
	bool closing, recovering;
	void (*closed)(void *);
	void *closed_arg;
	struct clog clog;
	struct qindex *qi;
	struct kindex *ki;
	struct list done;          /* completed requests, in order */
	struct heap timers;
	/* append.c */
	struct pending *ring;      /* FIFO of appended, not yet visible records */
	size_t ring_head, ring_n, ring_cap;
	struct list early;         /* WAIT=false sends that are answered once written */
	struct list parked;        /* sends that wait for prepared space, in order */
	size_t parked_bytes;
	/* topic.c */
	struct map topics;         /* name -> struct topic */
	struct topic **topic_list; /* dense, in no order */
	size_t n_topics, cap_topics;
	uint64_t topics_version;
	uint32_t next_queue_uid;
	struct list watches;
	struct list graveyard;
	/* group.c and its neighbours */
	struct map groups;         /* name -> struct group */
	struct groups_state *gs;   /* what group.c, member.c, offset.c and lease.c keep for themselves */
	/* state.c */
	struct buf state_items;    /* scratch for a record's items */
	uint64_t state_seq;        /* queue offset of the next state record */
	uint64_t state_due_ns;     /* when changed offsets and leases must be written at the latest; NEVER: nothing is dirty */
	uint64_t epoch;
	/* other parts, each its file's own */
	struct delay *delay;
	struct snapshot *snapshot;
	struct janitor *janitor;
	struct reader *reader;
	struct lookup *lookup;
	struct buf scratch;        /* encode scratch; valid within one call */
	uint64_t stats[STAT_COUNT];
};

static inline struct eng *eng_of(struct engine *e)
{
	struct eng *g = (struct eng *)(void *)e;
	CHECK_OBJ(g, ENG_MAGIC);
	return g;
}

/* ---- eng.c: turn and completion -------------------------------------------------------------------------------------------- */

/* Queues done(status) for the end of this turn. */
void eng_complete(struct eng *g, struct engine_ask *a, enum status st);
/* Queues it for when all that is appended so far is visible (durable, with SYNC_FLUSH): for state changes. */
void eng_complete_durable(struct eng *g, struct engine_ask *a);
void eng_timer_set(struct eng *g, struct eng_timer *t, uint64_t due_ns); /* also moves one that is set */
void eng_timer_stop(struct eng *g, struct eng_timer *t);
static inline void eng_count(struct eng *g, enum engine_stat s, uint64_t n) { g->stats[s] += n; }

/* ---- topic.c ------------------------------------------------------------------------------------------------------------------ */

struct topic *topic_find(struct eng *g, struct slice name);          /* NULL when there is none (or it is dead) */
enum status topic_check_name(struct slice name, size_t max);        /* BAD_NAME */
/* Creates (durably, through a state record) or changes; ret_topic is usable at once. Completes 'ask' (may be NULL) when durable. */
enum status topic_put(struct eng *g, struct slice name, const struct topic_conf *c, struct engine_ask *ask, struct topic **ret_topic);
/* The queue, made on first use; NULL when id is outside [0, n_queues). */
struct queue *topic_queue(struct eng *g, struct topic *t, int32_t id);
/* The same, but NULL too for one that never had a message. */
struct queue *topic_queue_peek(struct topic *t, int32_t id);
static inline void topic_hold(struct topic *t) { t->refs++; }
void topic_drop_ref(struct eng *g, struct topic *t);
/* First valid offset now, after retention. */
uint64_t queue_min(struct eng *g, struct queue *q);

/* ---- append.c: records get their places ------------------------------------------------------------------------------------------ */

/*
 * A copy of a stored message with another destiny: a delayed message that is due, a retry, a dead letter. What is not named is taken
 * from 'from'. Appended at once; OK, DISK_FULL (the reserve is used up too), BUSY (prepared space is short: try again next turn), IO.
 */
struct eng_copy {
	const struct record *from; /* decoded source, slices valid during the call */
	struct slice topic;        /* destination; must exist */
	int32_t queue;             /* -1: any write queue */
	int32_t reconsume_times;
	int64_t prepared;          /* identity of the parked record that this copy settles, 0 none */
	struct slice drop[8];      /* names of properties that are left out; __CRC32# always is */
	unsigned n_drop;
	struct slice put[8][2];    /* properties that are added (or replaced) */
	unsigned n_put;
	int delay_level;           /* > 0: park it in the schedule topic first */
	struct engine_ask *ask;    /* completes when visible; may be NULL */
	void (*visible)(struct eng *, const struct pending *); /* consequence when visible; may be NULL */
	uint64_t arg;
};
enum status append_copy(struct eng *g, const struct eng_copy *c);

/* ---- state.c: state records ------------------------------------------------------------------------------------------------------ */

/* Items of state records and snapshots: u8 type, u32 length, payload. Absolute sets: applying one twice changes nothing. */
enum state_type {
	STATE_EPOCH = 1, STATE_MARK = 2, STATE_TOPIC = 3, STATE_TOPIC_DROP = 4, STATE_GROUP = 5, STATE_GROUP_DROP = 6, STATE_OFFSETS = 7,
	STATE_LEASES = 8, STATE_QUEUE = 9, STATE_DELAY = 10, STATE_LOG = 11, STATE_KEYS = 12
};
/* Starts an item in 'b'; state_item_end fills its length in. */
size_t state_item_begin(struct buf *b, enum state_type type);
void state_item_end(struct buf *b, size_t begun);
void state_put_name(struct buf *b, struct slice name);              /* u16 length and bytes */
bool state_get_name(struct slice *rest, struct slice *ret);
bool state_get_u8(struct slice *rest, uint8_t *ret);
bool state_get_u32(struct slice *rest, uint32_t *ret);
bool state_get_u64(struct slice *rest, uint64_t *ret);
/*
 * Appends one state record with these items now, in log order; its position goes to *ret_position. 'ask' (may be NULL) completes when it is
 * durable. OK, BUSY, DISK_FULL, IO: nothing was appended.
 */
enum status state_append(struct eng *g, struct slice items, struct engine_ask *ask, uint64_t *ret_position);
/* Something that changes often (offsets, leases) is dirty: it rides on the next write, or is written within offset_sync_ms. */
void state_dirty(struct eng *g);

/* ---- group.c, member.c, offset.c, lease.c ---------------------------------------------------------------------------------------------- */

struct group *group_find(struct eng *g, struct slice name);
/* The group; made, with its %RETRY% topic, when the configuration allows. NO_GROUP, BAD_NAME, BUSY, DISK_FULL, IO. */
enum status group_need(struct eng *g, struct slice name, struct group **ret);
const struct group_conf *group_conf_of(const struct group *gr);
/* May members of this group pull this topic with the subscription that they announced? Fills the filter. */
struct tag_filter {
	bool all;
	unsigned n;
	const int32_t *codes;      /* sorted */
};
enum status group_filter(struct eng *g, struct slice group, struct topic *t, int64_t sub_version, struct tag_filter *ret);
/* Parses "*", "" or "a || b"; codes go to 'scratch'. BAD_FILTER. */
enum status tag_filter_parse(struct slice expr, struct buf *scratch, struct tag_filter *ret);
static inline bool tag_filter_match(const struct tag_filter *f, uint64_t tag)
{
	if (f->all)
		return true;
	for (unsigned i = 0; i < f->n; i++)
		if (f->codes[i] == (int32_t)(uint32_t)tag)
			return true;
	return false;
}
/* A pull of this queue for this group by this peer: remembered as its present puller. 'commit' < 0: none; only raises. */
void group_pulled(struct eng *g, struct slice group, struct topic *t, int32_t queue, struct slice address, int64_t commit);
/* The lowest offset that any group still needs of a queue; UINT64_MAX when no group has one. For retention. */
uint64_t groups_lowest(struct eng *g, struct topic *t, int32_t queue);
/* The topic's offsets and leases end with it. */
void groups_topic_dropped(struct eng *g, struct topic *t);

enum status groups_init(struct eng *g);   /* at open, before recovery */
void groups_fini(struct eng *g);
/* Writes the dirty ones as state items, at most 'max' bytes; true when some are left. */
bool groups_state_dirty(struct eng *g, struct buf *items, size_t max);
/*
 * Snapshot: writes all as state items in slices; *cursor starts at 0 and is opaque; false when finished. Changes between slices are fine:
 * the replay from the snapshot's position sets them again.
 */
bool groups_state_all(struct eng *g, struct buf *items, size_t max, uint64_t *cursor);
/* Applies an item of types GROUP, GROUP_DROP, OFFSETS, LEASES from a state record at 'position' or from a snapshot (position 0). CORRUPT. */
enum status groups_state_apply(struct eng *g, enum state_type type, struct slice payload, uint64_t position);
/* After recovery: timers and redeliveries are set up. */
void groups_recovered(struct eng *g);
/* engine_close: ends subscriptions and members; true when nothing is under way any more. */
bool groups_close(struct eng *g);
void groups_submit(struct eng *g, struct engine_ask *a); /* verbs GROUP_* JOIN LEAVE MEMBERS LOCK UNLOCK OFFSET_* SUB_OPEN SETTLE */

/* ---- read.c ---------------------------------------------------------------------------------------------------------------------------- */

/*
 * The bytes of one record by its index entry, as at most 'max' pieces (blobs not held). BUSY: not in memory, 'w' is called when it is;
 * CORRUPT, IO. A record spans more than one block rarely.
 */
enum status eng_record_pieces(struct eng *g, const struct qentry *e, struct piece *v, unsigned max, unsigned *ret_n, struct clog_wait *w);
/* The same as one contiguous blob with a reference for the caller (a copy only when it spans blocks), checked against its checksum. */
enum status eng_record_blob(struct eng *g, uint64_t position, uint32_t size, struct blob **ret, struct slice *ret_bytes, struct clog_wait *w);
/* Index entries of a queue from an offset on, with damage repaired from the log. Fewer than n only at the end. */
unsigned eng_index_read(struct eng *g, struct queue *q, uint64_t offset, struct qentry *v, unsigned n, enum status *ret);

#endif
