/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The group verbs as plain calls that run an engine's turns until they are answered. Tests of groups, members, offsets and leases share it. */
#ifndef TESTS_LIB_GROUP_RIG_H
#define TESTS_LIB_GROUP_RIG_H

#include "tests/lib/engine_rig.h"

/* ---- Verbs, answered ---- */
enum status rig_topic(struct rig *r, const char *name, uint32_t queues);
enum status rig_topic_drop(struct rig *r, const char *name);
enum status rig_send(struct rig *r, const char *topic, int32_t queue, const char *tags, const char *body);
/* The same with properties as they are stored. */
enum status rig_send_props(struct rig *r, const char *topic, int32_t queue, struct slice props, const char *body);
enum status rig_group(struct rig *r, const char *name, const struct group_conf *c);
enum status rig_group_get(struct rig *r, const char *name, struct group_conf *ret);
enum status rig_group_drop(struct rig *r, const char *name, bool offsets);
enum status rig_get(struct rig *r, const char *group, const char *topic, int32_t queue, uint64_t *ret, bool *ret_young);
enum status rig_commit(struct rig *r, const char *group, const char *topic, int32_t queue, uint64_t v, const struct engine_member *m,
	const char *address);
enum status rig_reset(struct rig *r, const char *group, const char *topic, int32_t queue, uint64_t v);
/* Forgets the group's offsets in the topic. */
enum status rig_forget(struct rig *r, const char *group, const char *topic);
uint64_t rig_stat(struct rig *r, enum engine_stat s);

/* A member that counts what it is told. */
struct rig_member {
	struct engine_member m;
	const char *id, *address;
	unsigned changed, lost;
};
struct rig_subscription {
	const char *topic, *expr;
	int64_t version;
};
enum status rig_join(struct rig *r, struct rig_member *m, const char *group, enum message_model model, const struct rig_subscription *s,
	size_t n, bool *ret_changed);
enum status rig_leave(struct rig *r, struct rig_member *m);
/* Client ids of the consumers, separated by blanks, in order of the list; "" when NO_GROUP. Free with mem_free. */
char *rig_members(struct rig *r, const char *group);
/* A native pull of the group from a member's address: one long body text of what came, "a b c". Free with mem_free. */
char *rig_pull(struct rig *r, const char *group, const struct rig_member *m, const char *topic, int32_t queue, uint64_t from, int64_t commit,
	enum status *ret);
/* All bodies of a queue, oldest first. */
char *rig_bodies(struct rig *r, const char *topic, int32_t queue);

/* A subscription that keeps its deliveries. */
struct rig_got {
	uint64_t tag, incarnation, offset;
	int32_t queue;
	uint32_t attempt;
	char *body, *topic;
	bool settled;            /* the test's mark */
};
struct rig_sub {
	struct engine_sub s;
	struct rig *rig;
	struct rig_got *v;
	size_t n, cap;
	uint32_t given;          /* credit that was granted in all */
	bool ended;
	enum status why;
	void (*hook)(struct rig_sub *, struct rig_got *); /* inside each delivery; may be NULL */
	void *arg;
	uint32_t ack_in_deliver; /* acks and grants one more as soon as something comes, so many times */
};
struct rig_open {
	const char *topic, *group, *expr;
	enum sub_start start;
	uint64_t start_offset;
	uint32_t lease_ms, credit;
	bool tap, detach;
	const struct queue_from *from;
	size_t n_from;
};
enum status rig_subscribe(struct rig *r, struct rig_sub *s, const struct rig_open *o);
void rig_credit(struct rig *r, struct rig_sub *s, uint32_t more);
enum status rig_settle(struct rig *r, struct rig_sub *s, uint64_t tag, enum settle how, int64_t after_ms);
/* By receipt. */
enum status rig_receipt(struct rig *r, const char *group, const char *topic, uint64_t incarnation, uint64_t tag, enum settle how, int64_t after_ms);
void rig_unsubscribe(struct rig *r, struct rig_sub *s); /* close and wait for ended */
void rig_sub_free(struct rig_sub *s);
/* Bodies that came since the last call of this, sorted when asked. Free with mem_free. */
char *rig_texts(const struct rig_sub *s, size_t from);

#endif
