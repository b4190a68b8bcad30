/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The MQTT front over the real engine on a disk in memory, with a clock that the test moves; and clients of it, whose packets are written and shown as text
 * (tests/lib/mqtt_text.h).
 */
#ifndef TESTS_LIB_MQTT_RIG_H
#define TESTS_LIB_MQTT_RIG_H

#include "front/mqtt/mqtt.h"
#include "front/mqtt/codec.h"
#include "tests/lib/fake_stream.h"
#include "tests/lib/fake_clock.h"
#include "tests/lib/memdisk.h"
#include "tests/lib/mqtt_text.h"

struct mrig {
	struct memdisk disk;
	struct testlog log;
	struct fake_clock clock;
	struct prng prng;
	struct engine_conf engine_conf;
	struct front_conf conf;
	struct front_env env;
	struct engine *e;
	void *front;
	bool stopped;
	struct list clients;      /* open ones */
};
void mrig_init(struct mrig *r);                /* settings may be changed before mrig_open */
void mrig_open(struct mrig *r);
void mrig_run(struct mrig *r, uint64_t ms);    /* turns, for so long by the clock; at least until nothing is due at once */
void mrig_stop(struct mrig *r);                /* the front drains and stops, the engine closes; clients are closed */
void mrig_restart(struct mrig *r);
/* As kill -9: what was written is there, nothing else was done in order. */
void mrig_kill(struct mrig *r);
void mrig_fini(struct mrig *r);
/* The one of a test program, and the fixture of its cases: opened before each, gone after it. */
extern struct mrig mrig;
int mrig_setup(void **state);
int mrig_teardown(void **state);
uint64_t mrig_number(struct mrig *r, const char *name); /* of describe() */
enum status mrig_send(struct mrig *r, const char *topic, const char *props, const char *body); /* as another front would: props "a\1b\2" */
enum status mrig_topic(struct mrig *r, const char *name, uint32_t queues);
enum status mrig_topic_drop(struct mrig *r, const char *name);
/* The committed offset of a group; -1: none. */
int64_t mrig_offset(struct mrig *r, const char *group, const char *topic, int32_t queue);
/* Bodies of a queue, oldest first, separated by blanks; mem_free. */
char *mrig_bodies(struct mrig *r, const char *topic, int32_t queue);

struct mclient {
	struct mrig *rig;
	struct list link;
	struct fake_stream s;
	uint8_t version;
	bool stalled;             /* takes nothing of what it is sent */
	uint16_t id;              /* last one used */
	struct buf frame;         /* the packet looked at */
	struct mqtt_packet p;
	struct buf text;
};
void mclient_open(struct mrig *r, struct mclient *c, uint8_t version);
void mclient_close(struct mclient *c);         /* hangs up, frees */
/* Scripts of several packets, separated by '|'. */
void mclient_bytes(struct buf *b, const char *script);
void mclient_say(struct mclient *c, const char *script);
void mclient_put(struct mclient *c, const struct mqtt_packet *p);
/* The next packet, as text; "" when there is none, "closed" at the end. Runs the rig a little first. */
const char *mclient_next(struct mclient *c);
bool mclient_take_now(struct mclient *c);      /* ... as c->p, without running */
bool mclient_take(struct mclient *c);          /* likewise as c->p; false: none */
void mclient_expect(struct mclient *c, const char *text);
/* Shorthands, which expect the answer. */
void mclient_connect(struct mclient *c, const char *id, bool clean, uint32_t expiry_s);
void mclient_subscribe(struct mclient *c, const char *filter, uint8_t qos);
void mclient_publish(struct mclient *c, const char *topic, const char *body, uint8_t qos, bool retain);
void mclient_ack(struct mclient *c, uint16_t id);

#endif
