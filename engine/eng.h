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
#define RECORD_PIECES 72u          /* blocks that one record can span */
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
	uint64_t trimmed;          /* clog.min at the last trim of the index */
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
	bool changed;              /* somebody defined it: a system topic is else what the settings say */
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
	uint32_t uniq_hash;        /* key index hash of its UNIQ_KEY, when has_uniq */
	bool has_uniq, has_keys;
};

struct eng {
	struct engine head;        /* what callers see; first */
	uint32_t magic;
	struct engine_env env;
	struct engine_conf conf;
	struct log *log;
	uint64_t now_ns;           /* mono, sampled once a turn, and by the first request after one */
	int64_t now_ms;            /* wall, likewise */
	bool clock_seen;           /* both are of this turn, or of the requests since the last one */
	int64_t store_ms;          /* last store time stamp: never steps back */
	uint64_t stamp_ns;         /* mono, when it was that */
	int64_t found_ms;          /* the newest store time that this start found; 0: none */
	bool closing, recovering, final_snapshot;
	uint64_t closing_ns;       /* when it was asked to close */
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
	struct list at_mark;       /* requests that are answered once the visible mark passes priv[1] */
	uint64_t uniq_counter;
	uint64_t log_min;          /* recovery: first position of the log when the snapshot was taken */
	bool index_bad;            /* recovery: the queue index does not fit the snapshot */
	uint64_t crc_from;         /* records below this position may lack __CRC32# */
	struct list parked;        /* sends that wait for prepared space, in order */
	size_t parked_bytes;
	struct list backs;         /* requests to send back that are under way */
	/* topic.c */
	struct map topics;         /* name -> struct topic */
	struct topic **topic_list; /* [n_slots]; NULL where a topic was dropped */
	size_t n_slots, cap_slots;
	size_t *free_slots;        /* places of topic_list to use again */
	size_t n_free_slots;
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
	bool state_given_up;       /* closing on a full disk: what is dirty stays unwritten */
	uint64_t epoch;            /* number of this start; stands in a state record */
	bool epoch_due;            /* that record could not be written yet */
	uint64_t flushed_tail;     /* tail at the end of the last turn */
	uint64_t mark_position;    /* tail when the durable mark last went into a state record */
	bool space_low;            /* less free disk than the reserve: sends are refused */
	uint64_t turn_no;
	/* other parts, each its file's own */
	struct delay *delay;
	struct snapshot *snapshot;
	struct janitor *janitor;
	struct reader *reader;
	struct mend *mend;         /* an extent of the queue index that is being mended; NULL: there never was one */
	struct lookup *lookup;
	struct cells *cells;
	struct buf scratch;        /* encode scratch; valid within one call */
	struct buf props;          /* of the message that is being sent, where they differ from what its sender gave */
	uint64_t stats[STAT_COUNT];
};

static inline struct eng *eng_of(struct engine *e)
{
	struct eng *g = (struct eng *)(void *)e;
	CHECK_OBJ(g, ENG_MAGIC);
	return g;
}

/* ---- State items: what state records and snapshots consist of -------------------------------------------------------------- */

/* Items of state records and snapshots: u8 type, u32 length, payload. Absolute sets: applying one twice changes nothing. */
enum state_type {
	STATE_EPOCH = 1, STATE_MARK = 2, STATE_TOPIC = 3, STATE_TOPIC_DROP = 4, STATE_GROUP = 5, STATE_GROUP_DROP = 6, STATE_OFFSETS = 7,
	STATE_LEASES = 8, STATE_QUEUE = 9, STATE_DELAY = 10, STATE_LOG = 11, STATE_CELL = 12, STATE_CELL_DROP = 13, STATE_OFFSETS_DROP = 14,
	STATE_OFFSETS_FROM = 15, STATE_LEASES_FROM = 16
};

/* ---- eng.c: turn and completion -------------------------------------------------------------------------------------------- */

/* Queues done(status) for the end of this turn. */
void eng_complete(struct eng *g, struct engine_ask *a, enum status st);
/* Queues it for when all that is appended so far is visible (durable, with SYNC_FLUSH): for state changes. */
void eng_complete_durable(struct eng *g, struct engine_ask *a);
/* Queues it for when the visible (or only the written) mark has passed a position. Positions of one kind ascend. */
void eng_complete_at(struct eng *g, struct engine_ask *a, uint64_t position, bool written_only);
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
/* The same for a queue that a stored message names: its topic may have had more queues then than it has now. NULL: no topic has so many. */
struct queue *topic_queue_stored(struct eng *g, struct topic *t, int32_t id);
/* The same, but NULL too for one that never had a message. */
struct queue *topic_queue_peek(struct topic *t, int32_t id);
static inline void topic_hold(struct topic *t) { t->refs++; }
void topic_drop_ref(struct eng *g, struct topic *t);
/*
 * Forgets what retention took from the queue. BUSY: its index is being mended, so that its first offset may still be one whose message is gone;
 * IO: the same, and it is tried again later.
 */
enum status queue_trim(struct eng *g, struct queue *q);
/* First valid offset now, after retention. */
uint64_t queue_min(struct eng *g, struct queue *q);
/* The first offset whose message is at 'position' or behind it. BUSY and IO as above. */
enum status queue_find_position(struct eng *g, struct queue *q, uint64_t position, uint64_t *ret);
enum status topics_init(struct eng *g);
void topics_fini(struct eng *g);
void topic_submit(struct eng *g, struct engine_ask *a);     /* TOPIC_* */
/* Calls done() of requests whose answer is made at the last moment; false: not one of these. */
bool topic_finish(struct eng *g, struct engine_ask *a);
enum status topic_state_apply(struct eng *g, enum state_type type, struct slice payload, uint64_t position);
enum status topic_queue_apply(struct eng *g, struct slice payload); /* STATE_QUEUE of a snapshot */
/* Snapshot slices, as groups_state_all. */
bool topics_state_all(struct eng *g, struct buf *items, size_t max, uint64_t *cursor);
/* Frees dropped topics that nobody points at any more. */
void topics_bury(struct eng *g);

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

/*
 * The one place where a record enters the log. USER records may only name topics that users may send to; they are refused while the disk
 * is short, CONSEQUENCEs (retries, dead letters, due messages) and STATE records are not, as long as there is prepared space.
 */
enum append_kind { APPEND_USER, APPEND_CONSEQUENCE, APPEND_STATE };
struct append {
	enum append_kind kind;
	struct record r;           /* queue, offset, position, store time and host are filled in */
	struct topic *topic;       /* NULL for state records */
	struct queue *queue;
	bool tag_is_time;          /* schedule topic: the tag word is due_ms */
	int64_t due_ms;
	struct engine_ask *ask;
	void (*visible)(struct eng *, const struct pending *);
	uint64_t arg;
};
/* Is there room for 'size' bytes in one piece of the log? Then that many can be appended without failing. OK, BUSY, DISK_FULL, TOO_BIG, IO. */
enum status append_room(struct eng *g, enum append_kind kind, uint32_t size);
/* Appends. The record's position and queue offset are in a->r afterwards. DENIED, and what append_room says; nothing happened then. */
enum status append_record(struct eng *g, struct append *a);
/* The entry of the record that was appended last. */
struct pending *append_last(struct eng *g);
/* Indexes and completes everything below the visible mark. */
void append_visible(struct eng *g);
/* The log failed: everything pending is answered with IO. */
void append_fail(struct eng *g, enum status st);
/* A record of the log in memory, contiguous (in scratch when it spans blocks); visible or not. NULL slice when it is not in memory. */
struct slice append_bytes(struct eng *g, uint64_t position, uint32_t size);
/* The queue index's tag word and the keys of a stored record. */
uint64_t record_tag(const struct record *r);
void keys_add(struct eng *g, const struct record *r, bool with_uniq);
uint32_t key_hash(struct slice topic, struct slice key);
/* Time stamp for a record appended now: never below the one before. */
int64_t eng_stamp(struct eng *g);

/* ---- send.c, retry.c, delay.c ------------------------------------------------------------------------------------------------------ */

void send_submit(struct eng *g, struct engine_ask *a);      /* SEND */
void send_back_submit(struct eng *g, struct engine_ask *a); /* SEND_BACK */
void send_back_forget(struct eng *g);
/* Sends that waited for prepared space get another try. */
void send_parked_retry(struct eng *g);
void send_parked_fail(struct eng *g, enum status st);
void send_parked_forget(struct eng *g);
/* Picks a write queue for queue -1. */
int32_t send_pick_queue(struct eng *g, struct topic *t);
/* Applies a retry's rules: %RETRY%group after a delay, or %DLQ%group. */
enum status delay_init(struct eng *g);
void delay_fini(struct eng *g);
/* Parks what 'a' would append: to the schedule topic, due after the level's delay. Properties are rewritten into g->scratch. */
enum status delay_park(struct eng *g, struct append *a, int level);
/* A copy of the record that was parked at 'prepared' was seen in the log while replaying: that one is settled. */
void delay_replayed(struct eng *g, uint64_t prepared);
void delay_recovered(struct eng *g);
void delay_state_save(struct eng *g, struct buf *items);
enum status delay_state_apply(struct eng *g, struct slice payload);
void delay_numbers(struct eng *g, struct engine_stats *r);
/* Lowest position of a parked record that is still needed; UINT64_MAX when there is none. */
uint64_t delay_lowest(struct eng *g);
/* A dead-letter copy with 'prepared' set was seen in the log while replaying (lease.c). */
void groups_copy_replayed(struct eng *g, const struct record *copy);

/* ---- state.c: state records ------------------------------------------------------------------------------------------------------ */

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
/* The same, with a consequence once it is durable. */
enum status state_append_then(struct eng *g, struct slice items, struct engine_ask *ask, void (*visible)(struct eng *, const struct pending *),
	uint64_t arg, uint64_t *ret_position);
/* Something that changes often (offsets, leases) is dirty: it rides on the next write, or is written within offset_sync_ms. */
void state_dirty(struct eng *g);
/* Writes the epoch's record. */
enum status state_epoch(struct eng *g);
/* Writes what is dirty when something else is written anyway, or when it is due. */
void state_flush(struct eng *g);
/* Applies the items of a state record at 'position', or of a snapshot (position 0). */
enum status state_apply(struct eng *g, struct slice items, uint64_t position, uint64_t *ret_mark);

/* ---- recover.c, snapshot.c, janitor.c, lookup.c ------------------------------------------------------------------------------------- */

enum status recover(struct eng *g, char *why, size_t why_size);
/* Tells the log, applies, and indexes one record of the log while replaying. */
struct snapshot_head {
	uint64_t position, durable, state_seq, epoch;
	int64_t store_ms;
	uint32_t next_queue_uid;
};
void snapshot_init(struct eng *g);
void snapshot_fini(struct eng *g);
bool snapshot_idle(struct eng *g);
bool snapshot_turn(struct eng *g);                          /* starts one when due, does a slice; true: more to do at once */
void snapshot_want(struct eng *g);                          /* as soon as possible */
/* Position that both kept snapshots cover; 0 when there are not two. */
uint64_t snapshot_floor(struct eng *g);
/* Loads the newest readable one; NOT_FOUND when there is none at all, CORRUPT when none can be read. */
enum status snapshot_load(struct eng *g, struct snapshot_head *ret, bool *ret_index_bad, char *why, size_t why_size);
void janitor_init(struct eng *g);
void janitor_fini(struct eng *g);
void lookup_init(struct eng *g);
void lookup_fini(struct eng *g);
void lookup_submit(struct eng *g, struct engine_ask *a);    /* FIND, VIEW */
bool lookup_turn(struct eng *g);                            /* goes on with searches; true: more to do at once */
void lookup_cancel(struct eng *g, struct engine_ask *a);

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
void lease_credit(struct engine *e, struct engine_sub *who, uint32_t more);
void lease_close(struct engine *e, struct engine_sub *who);
void groups_submit(struct eng *g, struct engine_ask *a); /* verbs GROUP_* JOIN LEAVE MEMBERS LOCK UNLOCK OFFSET_* SUB_OPEN SETTLE */

/* ---- cell.c ---------------------------------------------------------------------------------------------------------------------------- */

void cells_init(struct eng *g);
void cells_fini(struct eng *g);
void cells_submit(struct eng *g, struct engine_ask *a);     /* CELL_PUT CELL_LIST */
void cells_retry(struct eng *g);                            /* what waits for room gets another try */
bool cells_waiting(const struct eng *g);
void cells_fail(struct eng *g, enum status st);             /* what waits is answered */
enum status cells_state_apply(struct eng *g, enum state_type type, struct slice payload);
/* Snapshot slices, as groups_state_all; one cell may be over 'max' by itself. */
bool cells_state_all(struct eng *g, struct buf *items, size_t max, uint64_t *cursor);

/* ---- read.c ---------------------------------------------------------------------------------------------------------------------------- */

/*
 * The bytes of one record by its index entry, as at most 'max' pieces (blobs not held). BUSY: not in memory, 'w' is called when it is;
 * CORRUPT, IO. A record spans more than one block rarely.
 */
enum status eng_record_pieces(struct eng *g, const struct qentry *e, struct piece *v, unsigned max, unsigned *ret_n, struct clog_wait *w);
/* The same as one contiguous blob with a reference for the caller (a copy only when it spans blocks), checked against its checksum. */
enum status eng_record_blob(struct eng *g, uint64_t position, uint32_t size, struct blob **ret, struct slice *ret_bytes, struct clog_wait *w);
/*
 * Index entries of a queue from an offset on; how many. With 0 *ret says why: NOT_FOUND outside the queue; BUSY while damage is being mended from the
 * log over several turns: ask again; IO: that failed and is tried again later; CORRUPT: this one message is lost for good.
 */
unsigned eng_index_read(struct eng *g, struct queue *q, uint64_t offset, struct qentry *v, unsigned n, enum status *ret);
/* Size of the visible record that begins at a position, by its head only. NOT_FOUND when none does. */
enum status record_at(struct eng *g, uint64_t position, uint32_t *ret_size);
/* Bytes of the log in memory, used again by the next look. Zeroed at first; whoever has it frees buf. */
struct log_window {
	uint8_t *buf;
	uint64_t start;            /* position of buf[0] */
	size_t n, cap;
};
/*
 * One record of the written log, read and checked, waiting for the disk if need be: for repairs. Its slices stand in the window. *ret_after, behind
 * 'position' unless the disk failed, is where the next one begins, also for a blank record (NOT_FOUND); where none is valid (CORRUPT) it is the next
 * place at which one may begin.
 */
enum status log_record(struct eng *g, struct log_window *win, uint64_t position, struct record *ret, uint64_t *ret_after);
/* The tag word that the index has for a stored record: its due time in the schedule topic. */
uint64_t index_tag(struct eng *g, const struct record *r);
/* Does a turn's part of what is being mended; true: more to do at once. */
bool mend_turn(struct eng *g);
void mend_fini(struct eng *g);
void reader_init(struct eng *g);
void reader_fini(struct eng *g);
void read_submit(struct eng *g, struct engine_ask *a);      /* PULL RANGE AT_TIME */
void read_cancel(struct eng *g, struct engine_ask *a);
bool read_turn(struct eng *g);                              /* answers pulls that are ready; true: more to do at once */
void read_topic_dropped(struct eng *g, struct topic *t);    /* its waiting pulls end with NO_TOPIC */
void read_close(struct eng *g);                             /* all waiting pulls end with CLOSED */

#endif
