/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What group.c, member.c, offset.c, cursor.c, share.c, lease.c, copies.c, tap.c and cell.c share. Nobody else includes it.
 *
 * A group keeps a gtopic for each topic in which it has something (an offset, a lock, a lease), and in it a goff for each such queue.
 * A goff is where everything about (group, topic incarnation, queue) meets: the committed offset, the present puller, the holder of the
 * orderly lock, and the cursor, when the engine itself hands the queue's messages out.
 *
 * Callbacks to callers fire from one place, the pump: a timer that is set to "now" by whoever has something to say. What a callback
 * may cause to go away (feeds, cursors) is buried at the next pump and not at once.
 */
#ifndef ENGINE_GROUPS_H
#define ENGINE_GROUPS_H

#include "engine/eng.h"

#define GROUPS_MAGIC 0x47525331u
#define MEMBER_MAGIC 0x4d454d31u
#define SUB_MAGIC 0x53554231u
#define TAP_MAGIC 0x54415031u
#define FEED_MAGIC 0x46454431u
#define CURSOR_MAGIC 0x43555231u
#define ITEM_MAGIC 0x49544d31u

#define LEASE_WINDOW 65536u          /* offsets between a cursor's settled prefix and the furthest it looked at; a power of two */
#define LEASE_ITEMS_MAX 4096u        /* offsets of one cursor that are leased, wait for redelivery or are held back */
#define LEASE_SCAN_MAX 4096u         /* index entries that one feed looks at in one turn */
#define LEASE_BURST 256u             /* deliveries of one feed in one turn */
#define QUEUE_GRACE_MS UINT64_C(20000) /* a native member that still pulls may hold messages of a queue so long after its last pull */
#define PULLER_PRESENT_MS UINT64_C(60000) /* who pulled a queue within this time is its present puller */
#define LEASE_TRY_AGAIN_MS UINT64_C(1000) /* after a read or an append that failed */
#define GROUP_SUBS_MAX 4096u         /* topics in one group's subscription */
#define FILTER_TAGS_MAX 1024u        /* tags in one expression */
#define FILTER_BYTES_MAX 32768u      /* bytes of one expression */
#define CLIENT_ID_MAX 512u
#define LEASE_LARGE 1024u            /* a cursor with a wider window goes into one record in offset_sync_ms at most, not into each */
#define OFFSET_LIMIT (UINT64_C(1) << 62) /* no offset in a sane record reaches it */
#define PROP_LEASE_ORIGIN "LEASE_ORIGIN" /* of copies: which leased message they settle; see copies.c */

/* A tag filter with the memory that its codes are in. */
struct filter {
	struct tag_filter f;
	struct buf codes;
};
enum status filter_set(struct filter *f, struct slice expr); /* BAD_FILTER leaves it as it was */
void filter_fini(struct filter *f);

struct groups_state {
	uint32_t magic;
	struct eng *eng;
	char *gateway;             /* the client id under which the engine's own members take part */
	uint64_t serial;           /* of the group or gtopic that was made last */
	uint32_t renewals;         /* how often offsets began anew: item_given */
	struct list groups;        /* struct group, in order of serial */
	struct list gtopics;       /* struct gtopic of all groups, in order of serial */
	struct u64map users;       /* topic's address -> struct topic_users */
	struct list members;       /* struct member of all groups, longest silent first */
	struct list dirty;         /* struct goff whose last value is not in the log */
	struct list written;       /* struct goff in the record that groups_state_dirty made last */
	struct list later;         /* dirty struct goff whose cursor is large and was written just now */
	struct list replies;       /* struct reply not yet given */
	struct engine_watch watch;
	struct eng_timer pump, expire, copy_again, later_timer;
	bool pumping, ended;
	/* work for the pump */
	struct list told;          /* struct member: changed() is due */
	struct list lost;          /* struct member: lost() is due */
	struct list ended_subs;    /* struct sub: ended() is due */
	struct list checks;        /* struct group: who owns which queue may have changed */
	struct list routes;        /* struct cursor of %RETRY% topics with something to look at */
	struct list copies;        /* struct item: to be copied to a dead-letter or retry topic */
	struct list feeds_run;     /* struct feed with something to deliver */
	struct list dead_feeds, dead_cursors; /* to be freed */
	/* tap.c */
	struct u64map taps;        /* topic's address -> struct taps */
	struct list hands;         /* struct taps whose hand has something to do */
	struct list taps_run;      /* struct tap that reads for itself */
	struct list ended_taps;    /* struct tap: ended() is due */
	struct list dead_taps;     /* struct taps to be freed */
	struct clog_wait copy_wait;
};

/* ---- group.c ------------------------------------------------------------------------------------------------------------------- */

struct group {
	uint32_t magic;
	char *name;
	uint64_t serial;
	struct list link;          /* gs->groups */
	struct group_conf conf;
	bool known;                /* has a configuration; without one it only carries members of producers or kept offsets */
	bool system;               /* made at each start without a record */
	bool recorded;             /* its configuration is in the log */
	uint64_t defined_to;       /* where the log ended when it and its topics were defined */
	struct list topics;        /* struct gtopic */
	struct map by_topic;
	/* member.c */
	struct list members;       /* struct member, in order of joining */
	uint32_t n_consumers, n_producers;
	struct list subs;          /* struct announced */
	struct map by_sub;
	uint32_t n_subs;
	enum consume_type type;    /* of the latest heartbeat */
	enum message_model model;
	enum consume_from from;
	/* share.c, lease.c */
	struct list feeds;         /* struct feed with live subscriptions */
	struct list check;         /* gs->checks */
	struct eng_timer grace;    /* when a queue that falls to us may be taken */
	struct groups_state *gs;
	bool listed;               /* the gateway counts as a member */
	uint32_t idle_subs;        /* subscriptions to whose feed no queue falls */
};
static inline struct slice group_name(const struct group *gr) { return slice_str(gr->name); }

struct group *group_at(struct groups_state *gs, struct slice name);  /* known or not; NULL */
/* Makes the bare group: no configuration, no record. BAD_NAME, BUSY at the bound. */
enum status group_bare(struct groups_state *gs, struct slice name, struct group **ret);
/* group_need without the %RETRY% topic. *ret_made: a record was appended. */
enum status group_ensure(struct groups_state *gs, struct slice name, struct group **ret, bool *ret_made);
enum status group_ensure_topic(struct groups_state *gs, struct group *gr, const char *prefix, uint32_t queues, struct topic **ret,
	bool *ret_made);
/* Frees a bare group that carries nothing any more. */
void group_tidy(struct groups_state *gs, struct group *gr);
void pump_soon(struct groups_state *gs);
void groups_clock(struct groups_state *gs);           /* now is now */

/* An answer with variable contents, kept until its done() has fired. */
struct reply {
	struct engine_ask ask;
	struct engine_ask *user;
	struct list link;          /* gs->replies */
	uint8_t *text;             /* end of the text in use */
	uint8_t *text_end;
	void *rows;
	struct blob **held;        /* what rows point into; NULL: nothing */
	size_t n_held;
};
/* 'rows' bytes of zeroed rows and room for 'text' bytes of names. */
struct reply *reply_new(struct groups_state *gs, struct engine_ask *user, size_t rows, size_t text);
struct slice reply_text(struct reply *r, struct slice s);
void reply_send(struct groups_state *gs, struct reply *r, enum status st);

/* ---- member.c -------------------------------------------------------------------------------------------------------------------- */

struct member {
	uint32_t magic;
	struct group *group;
	struct engine_member *who;
	enum member_kind kind;
	char *client_id, *address;
	uint32_t language, version;
	uint64_t seen_ns;
	int64_t seen_ms;
	struct list link;          /* group->members */
	struct list seen;          /* gs->members */
	struct list due;           /* gs->told, or gs->lost */
};
/* What the members of a group announced for one topic. */
struct announced {
	struct list link;          /* group->subs */
	char *topic, *expr;
	int64_t version;
	struct filter filter;
	bool kept;                 /* mark of a heartbeat in progress */
};
void member_submit(struct groups_state *gs, struct engine_ask *a);
/* All, without a word. 'abandoned': the callers' structs may be gone too. */
void members_forget(struct groups_state *gs, bool abandoned);
void members_pump(struct groups_state *gs);           /* changed() and lost() */
void members_expire(struct eng *g, struct eng_timer *t);
void group_tell(struct groups_state *gs, struct group *gr); /* changed() to all consumers */
void group_free_members(struct groups_state *gs, struct group *gr);
bool member_present(const struct group *gr, struct slice address);
struct announced *group_announced(const struct group *gr, struct slice topic);

/* ---- offset.c ------------------------------------------------------------------------------------------------------------------------ */

struct cursor;
struct feed;

enum goff_state { GOFF_CLEAN, GOFF_DIRTY, GOFF_WRITTEN };
struct goff {
	struct gtopic *gt;
	int32_t queue;
	enum goff_state state;
	bool set;                  /* there is a committed offset */
	bool extra_logged;         /* the log's last word on it names more than the offset */
	uint64_t value;
	uint64_t incarnation;      /* drawn when the group began there, and whenever it began anew; 0: not yet, or by an early release */
	int64_t commit_ms;
	struct list dirty;         /* gs->dirty, gs->later or gs->written */
	uint64_t saved_ns;         /* when its cursor was last put into a record */
	struct cursor *cursor;     /* NULL: never leased by the engine */
	uint64_t pulled_ns;
	uint8_t puller_n;
	char puller[63];           /* address of who pulled last */
	char *holder;              /* client that holds the orderly lock */
	uint64_t held_ns;
};
struct gtopic {
	struct group *group;
	struct topic *topic;       /* goes with it: groups_topic_dropped */
	uint64_t incarnation, serial;
	struct list link;          /* group->topics */
	struct list all;           /* gs->gtopics */
	struct list user;          /* topic_users.gtopics */
	uint32_t n;
	struct goff **q;           /* [n], NULL: nothing there */
	bool retry;                /* the group's own %RETRY% topic */
	struct feed *feed;         /* the group's subscriptions to this topic */
	uint32_t n_cursors;
};
/* Who has something in a topic. */
struct topic_users {
	struct list gtopics;
	struct list feeds;         /* ephemeral ones */
};
struct topic_users *topic_users(struct groups_state *gs, struct topic *t, bool make);
struct gtopic *gtopic_find(struct group *gr, struct topic *t);
struct gtopic *gtopic_need(struct groups_state *gs, struct group *gr, struct topic *t);
struct goff *goff_find(struct gtopic *gt, int32_t queue);
struct goff *goff_need(struct gtopic *gt, int32_t queue);
void goff_dirty(struct groups_state *gs, struct goff *o);
/* It begins anew: what was given out before counts no more, and receipts of it settle nothing. */
void goff_renew(struct groups_state *gs, struct goff *o);
/* What a receipt of a delivery from there says. */
uint64_t goff_incarnation(const struct goff *o);
/* Native commits and resets, with the consequences for a cursor. */
void goff_set(struct groups_state *gs, struct goff *o, uint64_t value);
bool goff_puller_present(struct groups_state *gs, const struct goff *o);
void gtopic_free(struct groups_state *gs, struct gtopic *gt);
void offset_submit(struct groups_state *gs, struct engine_ask *a);
/* A topic was made or changed. */
void offset_watch(struct groups_state *gs, struct topic *t);
enum status groups_offsets_apply(struct groups_state *gs, enum state_type type, struct slice payload);
/* Offsets and leases as items, up to 'limit' bytes in all; *cursor is where to go on. False when finished. */
bool groups_offsets_all(struct groups_state *gs, struct buf *items, size_t limit, uint64_t *cursor);
/* Frees all offsets, cursors, feeds and subscriptions: memory only. */
void groups_offsets_fini(struct groups_state *gs);
/* What was put off is due. */
void offsets_later(struct eng *g, struct eng_timer *t);

/* ---- cursor.c: what the engine knows of one queue it hands out -------------------------------------------------------------------------- */

enum item_state {
	ITEM_NEW,      /* in no list yet */
	ITEM_LEASED,   /* a member has it */
	ITEM_WAITING,  /* for its time */
	ITEM_READY,    /* for credit, in feed->ready or feed->aside */
	ITEM_HELD,     /* for a subscription to its topic, in cursor->held */
	ITEM_UNROUTED, /* of a %RETRY% topic: its record must be looked at, in cursor->unrouted */
	ITEM_COPY      /* for its copy, in gs->copies */
};
/* One offset that was looked at and is not settled. */
struct item {
	uint32_t magic;
	struct cursor *cursor;
	uint64_t offset, position; /* size 0: place not known yet */
	uint32_t size;
	uint32_t tag;              /* what filters look at; known with the place */
	uint32_t attempts;         /* failed ones, in place */
	uint32_t base;             /* failed ones before: reconsume times of a %RETRY% record */
	enum item_state state;
	bool dead;                 /* its copy goes to the dead-letter topic */
	bool given;                /* delivered since this start */
	uint64_t incarnation;      /* what that delivery said */
	uint8_t turn;              /* of the delivery that was last; settle.c */
	struct sub *sub;           /* LEASED: who has it; NULL: detached */
	struct feed *feed;         /* where it is delivered, once that is known */
	struct eng_timer timer;    /* end of the lease, or of the wait */
	int64_t due_ms;            /* WAITING, COPY: wall time of its next delivery */
	struct list link;
	struct list all;           /* cursor->all */
};
struct cursor {
	uint32_t magic;
	struct groups_state *gs;
	struct topic *topic;
	int32_t queue;
	struct goff *off;          /* NULL: of an ephemeral subscription */
	struct feed *own;          /* ephemeral: its feed */
	bool retry;
	bool active;               /* the engine delivers from it now */
	bool handed;               /* a native member owns the queue: what fails is copied */
	bool buried;
	/* Everything below prefix is settled but for the items there; prefix == off->value. */
	uint64_t prefix, next;     /* next: the offset to be looked at next */
	uint8_t *bits;             /* ring of LEASE_WINDOW bits: settled offsets beyond the prefix; NULL while there are none */
	uint32_t n_ahead;
	uint64_t top;              /* behind the furthest settled one */
	struct u64map items;       /* offset -> struct item */
	struct list all;           /* items, in order of making */
	uint32_t n_items;
	struct list held, unrouted;
	struct list run;           /* feed->run or gs->routes */
	struct queue_waiter waiter;
	struct clog_wait wait;
	struct eng_timer again;
	struct qentry cache[16];   /* index entries from cache_at on */
	uint64_t cache_at;
	unsigned cache_n;
	struct list grave;
};
struct cursor *cursor_new(struct groups_state *gs, struct topic *t, int32_t queue, struct goff *off, struct feed *own);
struct cursor *cursor_of(struct groups_state *gs, struct goff *off);  /* made when there is none */
void cursor_bury(struct cursor *c);
void cursor_free(struct cursor *c);                                  /* memory only */
bool cursor_known(const struct cursor *c, uint64_t offset);          /* settled, or an item */
void cursor_settle(struct cursor *c, uint64_t offset);
void cursor_raise(struct cursor *c, uint64_t to);                    /* everything below is settled */
void cursor_reset(struct cursor *c, uint64_t to);                    /* forgets all, leases too */
void cursor_lower(struct cursor *c, uint64_t to);                    /* forgets what is at 'to' or behind it; what is owed before it stays */
bool cursor_full(const struct cursor *c);
struct feed *cursor_feed(const struct cursor *c);
void cursor_wake(struct cursor *c);
void cursor_activate(struct cursor *c, bool active);
void cursor_changed(struct cursor *c);                               /* dirty */
bool cursor_extra(const struct cursor *c);                           /* more than its prefix must be remembered */
void cursor_save(const struct cursor *c, struct buf *to);
enum status cursor_load(struct cursor *c, uint64_t prefix, struct slice *rest);
/* The lowest offset that is still needed. */
uint64_t cursor_lowest(const struct cursor *c);
struct item *item_new(struct cursor *c, uint64_t offset);
void item_free(struct item *it);                                      /* leaves its list, timer and cursor; settles nothing */
void item_settled(struct item *it);                                   /* settles and frees */
void item_ready(struct item *it);                                     /* to be delivered as soon as may be */
void item_wait(struct item *it, uint64_t ms);
void item_unlink(struct item *it);                                    /* out of whatever list and timer */
void item_placed(struct item *it, const struct qentry *e);
/* Its record's place, which stays known. IO: to be tried again later; other failures: it is gone. */
enum status item_place(struct item *it);
/* Its record's bytes; BUSY: 'w' hears of it. Other failures: it cannot be read. */
enum status item_fetch(struct item *it, struct blob **ret, struct slice *ret_bytes, struct clog_wait *w);
uint64_t queue_end(struct topic *t, int32_t queue);

/* ---- share.c: who owns which queue -------------------------------------------------------------------------------------------------------- */

void share_check(struct groups_state *gs, struct group *gr);           /* asks for a check */
void share_pump(struct groups_state *gs);
bool share_listed(const struct group *gr);
void share_grace(struct eng *g, struct eng_timer *t);
/* The averagely allocated share of member 'at' of 'members' in 'queues' queues: *ret_from and how many. */
uint32_t share_average(uint32_t queues, uint32_t members, uint32_t at, uint32_t *ret_from);

/* ---- lease.c --------------------------------------------------------------------------------------------------------------------------------- */

struct sub {
	uint32_t magic;
	struct groups_state *gs;
	struct engine_sub *who;    /* NULL: the open failed, nobody is told any more */
	struct feed *feed;         /* not to be touched once 'over' */
	struct list link;          /* feed->subs, or gs->ended_subs */
	struct list leases;        /* struct item */
	struct filter filter;
	uint64_t lease_ms;
	uint32_t credit;
	bool detach;               /* its leases outlive it */
	bool opening;              /* its open is not answered yet */
	bool over;
	enum status why;
	struct engine_ask open;    /* completes the caller's */
	struct engine_ask *user;
};
/* All subscriptions of one group to one topic, or one ephemeral subscription. */
struct feed {
	uint32_t magic;
	struct groups_state *gs;
	struct group *group;       /* NULL: ephemeral */
	struct gtopic *gt;         /* NULL: ephemeral */
	struct topic *topic;       /* NULL once it is dropped */
	struct list link;          /* group->feeds, topic_users.feeds, gs->dead_feeds */
	struct list subs;          /* the next to be served first */
	uint32_t n_subs;
	struct list ready;         /* items to deliver */
	struct list aside;         /* the same, older ones: when they were looked at, no subscription of their tags had credit */
	struct list run;           /* cursors with something to look at */
	struct list due;           /* gs->feeds_run */
	struct clog_wait wait;     /* for the record of the first ready item */
	struct eng_timer again;
	enum sub_start start;
	uint64_t start_offset;
	struct cursor **cursors;   /* ephemeral: [n_cursors] */
	uint32_t n_cursors;
	uint32_t n_owned;
	uint32_t n_detached;       /* leases without a subscription */
	uint64_t rest_ns;          /* at rest: until then at least */
	struct eng_timer linger;
	bool dead;
};
void lease_submit(struct groups_state *gs, struct engine_ask *a);
void lease_pump(struct groups_state *gs);
void lease_fire(struct eng *g, struct eng_timer *t);                   /* an item's timer */
void feed_wake(struct feed *f);
void feed_rest(struct feed *f);                                       /* a subscription or a detached lease has gone: the last one? */
struct gtopic *retry_gtopic(const struct group *gr);                  /* NULL: there is none yet */
bool sub_is_tap(const void *p);                                       /* what a caller's priv[0] points at */
void feed_end(struct feed *f, enum status why);                       /* ends its subscriptions */
void feed_bury(struct groups_state *gs);
void feed_free(struct feed *f);
void feed_grow(struct feed *f);                                       /* ephemeral: cursors for queues that are new */
uint64_t feed_start(struct feed *f, struct topic *t, int32_t queue, bool fresh);

/* ---- settle.c ---------------------------------------------------------------------------------------------------------------------------------- */

#define LEASE_MAX_MS (UINT64_C(40) * 24 * 3600 * 1000) /* the longest lease, and the longest wait for a retry */
uint32_t item_attempt(const struct item *it);
uint64_t item_tag(const struct item *it);
/* Leased from now on; 's' NULL: to nobody that is here. */
void item_lease(struct item *it, struct sub *s, struct feed *f, uint64_t ms);
void item_given(struct item *it);                                     /* its tag names a new delivery */
/* One more attempt failed: again after so long, or dead-lettered. */
void item_failed(struct item *it, uint64_t after_ms);
void settle_submit(struct groups_state *gs, struct engine_settle *r);

/* ---- tap.c: readers by position ------------------------------------------------------------------------------------------------------------------ */

struct tap;
void tap_open(struct groups_state *gs, struct engine_sub_open *r);
void tap_credit(struct tap *t, uint32_t more);
void tap_close(struct tap *t);
void taps_pump(struct groups_state *gs);
void taps_bury(struct groups_state *gs);
void taps_topic_changed(struct groups_state *gs, struct topic *t);
void taps_topic_dropped(struct groups_state *gs, struct topic *t);
void taps_end(struct groups_state *gs, enum status why);              /* all of them */
void taps_fini(struct groups_state *gs);                              /* memory only */

/* ---- copies.c ------------------------------------------------------------------------------------------------------------------------------------ */

void item_copy(struct item *it, bool dead);
void copies_pump(struct groups_state *gs);
void copies_again(struct eng *g, struct eng_timer *t);
void copies_ready(struct clog_wait *w);

#endif
