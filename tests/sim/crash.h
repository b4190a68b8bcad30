/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The crash test: one store's life, from one seed. A random workload drives the engine through engine.h; it is crashed at a random I/O call
 * or between turns (also while it recovers), opened again, and compared with a model that only knows what was asked and what was answered.
 *
 * What must hold after each crash:
 *   - every message whose send was answered OK to the level "disk" is there, with its body, at its queue, offset and position;
 *   - so is every message that a reader has seen, under FLUSH_SYNC;
 *   - every other message is there whole, once, or not at all;
 *   - offsets of a queue are dense, and messages stand in the order in which they were sent;
 *   - the log (read from the disk's files) and what pulls return are the same;
 *   - a committed offset is one that was committed since the last that was known to be durable;
 *   - topics and groups exist as they were answered to exist;
 *   - leases and receipts: see lease.c; taps: tap.c; cells: cell.c; native clients: native.h;
 *   - a delayed message is delivered once, and not early; a message that was sent back comes back once.
 */
#ifndef TESTS_SIM_CRASH_H
#define TESTS_SIM_CRASH_H

#include <stdio.h>

#include "base/mem.h"
#include "base/obj.h"
#include "tests/sim/world.h"

enum { TOPICS = 5, QUEUES = 4, GROUPS = 3, MEMBERS = 4, SENDERS = 50, SUBS = 3, CLIENTS = 4, TAPS = 4, CELL_SPACES = 2, CELLS = 5, RECEIPTS = 64 };

struct options {
	uint64_t seed;
	unsigned crashes, steps;
	bool lying, verbose;
};

enum fate {
	FATE_NEW,     /* asked, not answered yet */
	FATE_ACKED,   /* answered OK */
	FATE_REFUSED, /* answered with an error that says: not stored */
	FATE_UNSURE,  /* never answered, or answered with IO */
	FATE_LOST     /* not there after a crash that may lose it, or given up to retention */
};

/* What the lease group has done with a message. */
enum lease_fate { LEASE_NONE, LEASE_ACKED, LEASE_REJECTED, LEASE_UNSURE };

struct message {
	uint8_t fate;
	uint8_t lease;
	bool durable;      /* answered to the level "disk", or seen by a reader who sees what is durable only */
	bool seen;         /* at 'queue', 'offset', 'position' */
	bool settled;      /* found by a check after a crash: it can never be lost any more */
	uint8_t delay;     /* level, 0 none */
	uint8_t via;       /* the native client that sent it, counted from 1; 0: the engine was asked */
	int16_t topic;
	uint32_t life;     /* of the topic */
	uint32_t size;     /* of the body */
	int32_t queue;
	uint64_t offset, position;
	uint64_t answered_ns;
	int64_t stored_ms; /* of a delayed one: when it was parked */
	uint64_t parked;   /* of a delayed one: its position in the schedule topic */
	uint64_t lease_ns; /* when it was settled */
	uint64_t lease_tag, lease_incarnation; /* of its latest delivery to the lease group */
	uint64_t given_ns; /* when that was */
	unsigned lease_run; /* the run of the engine that made it */
	bool again;        /* the lease group began anew since it was sent: it may be handled twice */
	uint32_t dead;     /* scratch of a check: how often it lies in the lease group's dead-letter topic */
	uint32_t found;    /* scratch of a check: how often */
	uint32_t backs_sure[GROUPS], backs_unsure[GROUPS]; /* times that it was sent back for a group */
	uint32_t back_found[GROUPS];
};

enum being { ABSENT, PRESENT, UNSURE };

struct topic_model {
	char name[32];
	enum being being;
	uint32_t life;        /* grows with every drop */
	bool busy;            /* a put or drop is under way */
	bool dropping;
	uint32_t queues;      /* as answered */
	uint32_t asked;       /* of the put under way */
	uint32_t maybe;       /* queues that it may have, by a put that was not answered */
	uint64_t incarnation; /* 0: not known yet */
	uint64_t next[QUEUES]; /* the end of each queue as seen at the last check */
};

struct commit {
	uint64_t value, answered_ns;
	bool answered, reset;
	bool none;          /* not a value: what was there was forgotten */
};

/* A group's offset in one queue: what was committed, oldest first. history[0] is what is known to be durable, when 'sure'. */
struct offset_model {
	struct commit *history;
	size_t n, cap;
	bool sure;
};

struct life;
struct native;
enum op_kind { OP_SEND, OP_TOPIC_PUT, OP_TOPIC_DROP, OP_COMMIT, OP_RESET, OP_FORGET, OP_JOIN, OP_LEAVE, OP_PULL, OP_SEND_BACK, OP_SUB, OP_SETTLE, OP_ANEW, OP_MEMBERS, OP_CELLS, OP_OTHER };

struct op {
	struct list link;
	struct life *life;
	enum op_kind kind;
	bool done;          /* of those that somebody waits for */
	bool waited;
	enum status status;
	uint64_t first, count; /* messages */
	int topic, group, sender;
	int32_t queue;
	uint32_t topic_life;
	size_t commit;      /* index in the history */
	size_t commits[QUEUES]; /* the same, of each queue */
	uint32_t anew;      /* of the lease group, when it was asked */
	/* Of those that go over a connection (native.c). */
	int via;            /* the client, counted from 1; 0: the engine was asked */
	int32_t opaque;
	uint8_t form;
	bool oneway;        /* never answered */
	bool early;         /* a send that may be answered before it is on disk */
	bool max_asked, lock_asked, granted;
	bool was_present, was_group; /* the topic, the group existed for sure when it was asked */
	uint64_t asked_ns;
	void (*then)(struct op *); /* inside done(), instead of freeing */
	void *arg;
	union {
		struct engine_ask ask;
		struct engine_send send;
		struct engine_topic topic;
		struct engine_offset offset;
		struct engine_join join;
		struct engine_leave leave;
		struct engine_pull pull;
		struct engine_range range;
		struct engine_send_back back;
		struct engine_stats stats;
		struct engine_group group;
		struct engine_sub_open sub;
		struct engine_settle settle;
		struct engine_members members;
		struct engine_cell cell;
		struct engine_cells cells;
	} u;
};

enum sub_state { SUB_OFF, SUB_ON, SUB_ENDING };
struct lease_out {
	uint64_t tag, incarnation, id;
	int32_t queue;
	uint32_t anew;
};
/* What is left of a delivery whose subscription was detached. */
struct receipt {
	uint64_t tag, incarnation, id;
	int topic;
	int32_t queue;
	uint32_t topic_life, anew;
};
struct sub_model {
	struct engine_sub sub;
	struct life *life;
	enum sub_state state;
	int topic;
	bool eager;             /* acknowledges all at once */
	bool detach;
	uint64_t credit;        /* granted and not used */
	struct lease_out out[64]; /* delivered and not settled */
	size_t n_out;
};

/* A tap; at 'next' it stands in each queue. */
struct tap_model {
	struct engine_sub sub;
	struct life *life;
	enum sub_state state;
	bool open;              /* its open was answered */
	bool resumes;           /* its next life begins where this one ends */
	int topic;
	uint32_t topic_life;
	uint64_t credit;
	uint64_t next[QUEUES];
};
struct cell_put {
	uint64_t id;            /* 0: dropped */
	uint64_t seq;
	uint32_t size;
	bool answered, refused, unsure;
};
/* What was put into a cell, oldest first; the first is what was there at the last check. */
struct cell_model {
	struct cell_put *history;
	size_t n, cap;
};

struct life {
	struct sim_world world;
	const struct options *opt;
	uint64_t seed;
	struct prng prng;
	struct message *msgs;   /* by id; [0] is nobody */
	size_t n_msgs, cap_msgs;
	struct topic_model topics[TOPICS];
	struct offset_model offsets[GROUPS][TOPICS][QUEUES];
	bool group_sure[GROUPS];
	struct engine_member members[MEMBERS];
	bool joined[MEMBERS];
	bool sender_busy[SENDERS];
	struct sub_model subs[SUBS], drains[TOPICS];
	/* How often the lease group was asked to begin anew in a topic, how often it did for sure, and in which queues: what was given out there before is stale. */
	uint32_t anew[TOPICS], anew_done[TOPICS], anew_sure[TOPICS][QUEUES];
	struct receipt receipts[RECEIPTS];
	size_t n_receipts;
	struct tap_model taps[TAPS];
	struct cell_model cells[CELL_SPACES][CELLS];
	uint64_t cell_id, cell_seq, cell_done; /* made; asked, and answered, in this order */
	struct list ops;
	struct buf body, props;
	unsigned n_ops;
	bool ending;            /* no new requests */
	bool faulty;            /* the disk was made to fail: IO is an answer */
	bool tight;             /* the disk is small: "disk full" is an answer, and what needs room may wait for ever */
	bool uniform;           /* all records have one size: what was cut off would fit behind a later end */
	bool forgets;           /* retention: the oldest segments go */
	bool clients;           /* part of the work goes over native connections */
	struct native *native;  /* NULL: no front runs */
	unsigned crash_no;
	uint64_t acked, refused, checked, carried; /* for the report */
};

/* Prints what broke, how to see it again, and the log's tail; exits with 1. */
_Noreturn void fail(struct life *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define MUST(l, cond, ...) do { if (!(cond)) fail((l), __VA_ARGS__); } while (0)

bool one_in(struct life *l, uint64_t n); /* true once in n */
uint64_t below(struct life *l, uint64_t n);
const char *group_of(int group);

/* The body of a message: its id and length, then bytes that follow from them. */
enum { BODY_MIN = 12 };
void body_put(struct buf *b, uint64_t id, uint32_t size);
/* The id of a body; 0 when it is not whole. */
uint64_t body_id(struct slice body);

/* work.c */
void work_step(struct life *l);
void op_free(struct op *op);
/* It will never be answered: what it asked for may have happened. */
void op_lost(struct op *op);
/* Is this an answer that a broken or a full disk explains? */
bool excused(const struct life *l, enum status st);
struct op *op_new(struct life *l, enum op_kind kind);
/* Forgets what was under way when the crash came. */
void work_crashed(struct life *l);
/* Asks and turns the world until the answer; fails the test when it does not come. */
enum status ask_wait(struct life *l, struct op *op, void (*submit)(struct life *, struct op *));

/* lease.c */
void lease_step(struct life *l);
void lease_crashed(struct life *l);
/* After a crash: which settlements may have been lost. */
void lease_recovered(struct life *l, bool lossy, uint64_t crashed_ns);
/* Takes and acknowledges all that is left. */
void lease_drain(struct life *l);

/* tap.c */
void tap_step(struct life *l);
void tap_crashed(struct life *l);
void tap_recovered(struct life *l, bool lossy);
/* Lets all come to their queues' ends, and ends them. */
void tap_drain(struct life *l);

/* cell.c */
void cell_step(struct life *l);
void cell_check(struct life *l, bool lossy);
void cell_fini(struct life *l);

/* check.c */
void submit_range(struct life *l, struct op *op);
void check_all(struct life *l, enum sim_crash how, uint64_t crashed_ns);
void check_end(struct life *l, bool drained); /* nothing is under way any more, and all delays are over */

#endif
