/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * An engine for tests of fronts: it writes down what it is asked, as one line of text each, and answers from fake_engine_turn what the test
 * told it to. Nothing is stored. Members join and leave inside the call, as with the real one.
 */
#ifndef TESTS_LIB_FAKE_ENGINE_H
#define TESTS_LIB_FAKE_ENGINE_H

#include "engine/engine.h"

enum { FAKE_MEMBERS_MAX = 4096 };

struct fake_member {
	struct engine_member *member;
	enum member_kind kind;
	char *group, *client_id;
};

struct fake_engine {
	struct engine base;
	struct list asks;                      /* not answered yet, in order */
	struct list held;                      /* pulls that wait */
	struct buf trace;                      /* a line per ask: "SEND topic=T queue=3 ..." */
	bool quiet;                            /* write no trace */
	uint64_t asked[ENGINE_VERB_COUNT];
	enum status next[ENGINE_VERB_COUNT];   /* how the verb is answered */
	bool hold_pulls;                       /* pulls with wait_ms wait until fake_engine_wake or cancel */
	bool drop_subs_changed;                /* what joins answer as subs_changed */
	/* What answers say. */
	uint64_t position;                     /* of the next record */
	uint64_t offset, min, max;             /* of queues and groups */
	int64_t first_ms;
	bool young;
	bool last_is_late;                     /* the answer to LOCK grants every second queue only */
	struct piece *pieces;                  /* of pulls, views and finds; the test's */
	unsigned n_pieces;
	struct topic_conf topic_conf;
	struct topic_info *topics;
	size_t n_topics;
	struct group_conf group_conf;
	struct group_info *groups;
	size_t n_groups;
	struct offset_info *offsets;
	size_t n_offsets;
	struct subscription *subs;             /* of every group with members */
	size_t n_subs;
	uint64_t stats[STAT_COUNT];
	struct delay_numbers delay[18];
	struct fake_member members[FAKE_MEMBERS_MAX];
	size_t n_members;
};

void fake_engine_init(struct fake_engine *e);
void fake_engine_fini(struct fake_engine *e);             /* nothing may be under way */
unsigned fake_engine_turn(struct fake_engine *e);         /* answers what was asked before; how many */
void fake_engine_run(struct fake_engine *e);              /* turns until nothing is under way but held pulls */
void fake_engine_wake(struct fake_engine *e, enum status st);  /* answers the held pulls */
void fake_engine_changed(struct fake_engine *e, const char *group); /* tells the group's consumers */
void fake_engine_lose(struct fake_engine *e, const char *group);    /* forgets the group's members */
const char *fake_engine_trace(struct fake_engine *e);     /* the trace so far, which is then empty */

#endif
