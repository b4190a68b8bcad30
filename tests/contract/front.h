/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What every front must do, whatever it speaks. A test program implements 'struct front_kind' for one front, over the real engine on a disk in memory, and
 * stamps the suite on it: FRONT_CONTRACT_TESTS(), after it has set front_kind_under_test.
 */
#ifndef TESTS_CONTRACT_FRONT_H
#define TESTS_CONTRACT_FRONT_H

#include "base/buf.h"
#include "front/front.h"
#include "tests/lib/fake_clock.h"
#include "tests/lib/memdisk.h"

struct front_world;
/* One client on one connection; the kind's own struct begins with it. */
struct front_peer {
	struct front_world *w;
};

/* How a publish ended, in the terms of every protocol. */
enum front_said { SAID_NOTHING, SAID_OK, SAID_ERROR, SAID_GOODBYE /* the connection was closed over it */ };

/* What was answered to publishes and not asked for yet, for kinds that count it. */
struct front_answers {
	unsigned ok, errors, code; /* the code is the last error's */
};
enum front_said front_next_answer(struct front_answers *a, bool closed, unsigned *ret_code);

struct front_kind {
	const char *name;
	void (*start)(struct front_world *);                       /* w->engine, w->conf, w->clock are there; keeps its state in w->front */
	void (*turn)(struct front_world *);                        /* what the process does in a turn besides engine_turn */
	void (*drain)(struct front_world *);
	void (*stop)(struct front_world *);                        /* asks; done when *stopped says so */
	bool (*stopped)(struct front_world *);
	void (*fini)(struct front_world *);
	struct front_peer *(*connect)(struct front_world *);       /* a healthy client, handshake done */
	void (*hang_up)(struct front_peer *);                      /* without a word; frees it */
	bool (*is_open)(struct front_peer *);
	void (*publish)(struct front_peer *, const char *topic, struct slice body);
	/* The next answer to a publish; *ret_code (may be NULL) is the protocol's number for an error. */
	enum front_said (*said)(struct front_peer *, unsigned *ret_code);
	unsigned (*code)(enum status st);                          /* the number that it has for a status */
	/*
	 * Consumes a topic as a member of a group (MQTT: as a durable session of that name). Messages stored after this, or not settled by the group, come; one
	 * at a time is enough.
	 */
	void (*subscribe)(struct front_peer *, const char *topic, const char *group);
	bool (*received)(struct front_peer *, struct buf *body);   /* takes the next message; asks for more where the protocol wants that */
	void (*settle)(struct front_peer *);                       /* the message that was received last is handled */
	void (*stall)(struct front_peer *, bool stalled);          /* the client stops (or resumes) reading */
	size_t (*queued)(struct front_peer *);                     /* bytes that the front queued for a stalled client */
	void (*request)(struct front_peer *, struct buf *to);      /* the bytes of one legal publish, to be cut; empty: connection bytes come by 'raw' only */
	void (*raw)(struct front_peer *, struct slice bytes);      /* as they are */
	bool needs_topic;                                          /* its publish never makes a topic */
};

struct front_world {
	const struct front_kind *kind;
	struct memdisk disk;
	struct testlog log;
	struct fake_clock clock;
	struct prng prng;
	struct engine_conf engine_conf;
	struct front_conf conf;
	struct front_env env;
	struct engine *engine;
	bool closed;
	void *front;                                               /* the kind's */
	char why[256];
};
/* Runs engine and front until nothing is due any more within 'ms' of virtual time. */
void front_world_run(struct front_world *w, uint64_t ms);

extern const struct front_kind *front_kind_under_test;

int front_contract_setup(void **state);
int front_contract_teardown(void **state);
void front_contract_answers_when_stored(void **state);
void front_contract_unknown_topic(void **state);
void front_contract_too_big(void **state);
void front_contract_disk_full(void **state);
void front_contract_disk_failed(void **state);
void front_contract_busy(void **state);
void front_contract_hang_up_gives_back(void **state);
void front_contract_settled_is_settled(void **state);
void front_contract_two_groups(void **state);
void front_contract_slow_reader(void **state);
void front_contract_drain(void **state);
void front_contract_cut_requests(void **state);
void front_contract_garbage(void **state);

#define FRONT_TEST(name) cmocka_unit_test_setup_teardown(front_contract_##name, front_contract_setup, front_contract_teardown)
#define FRONT_CONTRACT_TESTS() \
	FRONT_TEST(answers_when_stored), FRONT_TEST(unknown_topic), FRONT_TEST(too_big), FRONT_TEST(disk_full), FRONT_TEST(disk_failed), FRONT_TEST(busy), \
	FRONT_TEST(hang_up_gives_back), FRONT_TEST(settled_is_settled), FRONT_TEST(two_groups), FRONT_TEST(slow_reader), FRONT_TEST(drain), \
	FRONT_TEST(cut_requests), FRONT_TEST(garbage)

#endif
