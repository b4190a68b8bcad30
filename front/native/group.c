/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What the members of a group share: who they are (38), and the locks of queues that are consumed in order (41, 42). */
#include "front/native/nat.h"

static void ids_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	const struct engine_members *r = &c->u.members;

	if (nat_members_refused(c, st, ANS_SYSTEM_ERROR))
		return;
	struct buf *b = nat_body(c);
	struct slice *ids = mem_array(r->count, sizeof(*ids));
	for (size_t i = 0; i < r->count; i++)
		ids[i] = r->v[i].client_id;
	wire_consumer_ids(b, ids, r->count);
	mem_free(ids);
	nat_answer_body(c, b);
}

void nat_consumer_ids(struct nat_call *c, const struct wire_cmd *cmd)
{
	nat_members_ask(c, cmd, "consumerGroup", MEMBER_CONSUMER, ids_got);
}

/* ---- Locks ------------------------------------------------------------------------------------------------------------------- */

static void locks_fini(struct nat_locks_call *l)
{
	wire_doc_fini(&l->locks.doc);
	mem_free(l->names);
	mem_free(l->granted);
}

static void locked(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	struct nat_locks_call l = c->u.locks;

	if (st == ST_OK) {
		struct buf *b = nat_body(c);
		wire_locks_answer(b, l.locks.v, l.granted, l.locks.n);
		nat_answer_body(c, b);
	} else {
		nat_answer_status(c, st);
	}
	locks_fini(&l);
}

static void unlocked(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	struct nat_locks_call l = c->u.locks;

	nat_answer_status(c, st);
	locks_fini(&l);
}

/* Reads the queues of a lock request into the call; false: it has been answered. */
static bool locks_read(struct nat_call *c, const struct wire_cmd *cmd, void (*done)(struct engine_ask *, enum status))
{
	const char *why;

	NAT_ASK(c, locks, done);
	struct nat_locks_call *l = &c->u.locks;
	if (!wire_locks_decode(cmd->body, &l->locks, &why)) {
		nat_answer_body_bad(c, why);
		return false;
	}
	if (l->locks.group.n == 0 || l->locks.client_id.n == 0 || l->locks.n > NAT_LOCKS_MAX) {
		bool many = l->locks.n > NAT_LOCKS_MAX;
		locks_fini(l);
		nat_answer_str(c, ANS_INVALID_PARAMETER, many ? "too many queues" : "consumerGroup or clientId is missing");
		return false;
	}
	nat_note(c, l->locks.group);
	l->names = mem_array(l->locks.n + 1, sizeof(*l->names));
	l->granted = mem_array(l->locks.n + 1, sizeof(*l->granted));
	for (size_t i = 0; i < l->locks.n; i++)
		l->names[i] = (struct queue_name){l->locks.v[i].topic, l->locks.v[i].queue};
	l->ask.actor = &c->peer->actor;
	l->ask.group = l->locks.group;
	l->ask.client_id = l->locks.client_id;
	l->ask.v = l->names;
	l->ask.count = l->locks.n;
	l->ask.granted = l->granted;
	return true;
}

void nat_lock(struct nat_call *c, const struct wire_cmd *cmd)
{
	if (locks_read(c, cmd, locked))
		engine_lock(c->front->engine, &c->u.locks.ask);
}

void nat_unlock(struct nat_call *c, const struct wire_cmd *cmd)
{
	if (locks_read(c, cmd, unlocked))
		engine_unlock(c->front->engine, &c->u.locks.ask);
}
