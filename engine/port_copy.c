/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What a request borrows, verb by verb: which slices and arrays have to be copied on the way in, and which are only valid inside done() on the way
 * out. Everything else in a request is plain data and travels by itself.
 */
#include "base/mem.h"
#include "base/obj.h"
#include "engine/port_priv.h"

#define VERB(v, type, ...) [v] = {sizeof(struct type), {__VA_ARGS__}}
#define IN(type, field) (uint16_t)(offsetof(struct type, field) + 1)

/* Size of each verb's struct, and its slices that are arguments (offset + 1; 0 ends the list). */
static const struct verb {
	size_t size;
	uint16_t in[5];
} verbs[ENGINE_VERB_COUNT] = {
	VERB(ENGINE_SEND, engine_send, IN(engine_send, msg.topic), IN(engine_send, msg.body), IN(engine_send, msg.props), IN(engine_send, default_topic)),
	VERB(ENGINE_SEND_BACK, engine_send_back, IN(engine_send_back, group), IN(engine_send_back, origin_id)),
	VERB(ENGINE_PULL, engine_pull, IN(engine_pull, topic), IN(engine_pull, group), IN(engine_pull, expr)),
	VERB(ENGINE_VIEW, engine_view, 0),
	VERB(ENGINE_FIND, engine_find, IN(engine_find, topic), IN(engine_find, key)),
	VERB(ENGINE_RANGE, engine_range, IN(engine_range, topic)),
	VERB(ENGINE_AT_TIME, engine_range, IN(engine_range, topic)),
	VERB(ENGINE_TOPIC_PUT, engine_topic, IN(engine_topic, name)),
	VERB(ENGINE_TOPIC_GET, engine_topic, IN(engine_topic, name)),
	VERB(ENGINE_TOPIC_DROP, engine_topic, IN(engine_topic, name)),
	VERB(ENGINE_TOPIC_LIST, engine_topics, 0),
	VERB(ENGINE_GROUP_PUT, engine_group, IN(engine_group, name)),
	VERB(ENGINE_GROUP_GET, engine_group, IN(engine_group, name)),
	VERB(ENGINE_GROUP_DROP, engine_group, IN(engine_group, name)),
	VERB(ENGINE_GROUP_LIST, engine_groups, 0),
	VERB(ENGINE_JOIN, engine_join, IN(engine_join, group), IN(engine_join, client_id)),
	VERB(ENGINE_LEAVE, engine_leave, 0),
	VERB(ENGINE_MEMBERS, engine_members, IN(engine_members, group)),
	VERB(ENGINE_LOCK, engine_locks, IN(engine_locks, group), IN(engine_locks, client_id)),
	VERB(ENGINE_UNLOCK, engine_locks, IN(engine_locks, group), IN(engine_locks, client_id)),
	VERB(ENGINE_OFFSET_GET, engine_offset, IN(engine_offset, group), IN(engine_offset, topic)),
	VERB(ENGINE_OFFSET_COMMIT, engine_offset, IN(engine_offset, group), IN(engine_offset, topic)),
	VERB(ENGINE_OFFSET_RESET, engine_offset, IN(engine_offset, group), IN(engine_offset, topic)),
	VERB(ENGINE_OFFSET_DROP, engine_offset, IN(engine_offset, group), IN(engine_offset, topic)),
	VERB(ENGINE_OFFSET_LIST, engine_offsets, IN(engine_offsets, group)),
	VERB(ENGINE_SUB_OPEN, engine_sub_open, IN(engine_sub_open, topic), IN(engine_sub_open, group), IN(engine_sub_open, client_id), IN(engine_sub_open, expr)),
	VERB(ENGINE_SETTLE, engine_settle, IN(engine_settle, group), IN(engine_settle, topic)),
	VERB(ENGINE_CELL_PUT, engine_cell, IN(engine_cell, space), IN(engine_cell, name), IN(engine_cell, value)),
	VERB(ENGINE_CELL_LIST, engine_cells, IN(engine_cells, space), IN(engine_cells, name)),
	VERB(ENGINE_STATS, engine_stats, 0),
};

size_t port_size(enum engine_verb verb)
{
	CHECK(verb < ENGINE_VERB_COUNT && verbs[verb].size > 0);
	return verbs[verb].size;
}

static void *mem_of(struct port_ask *a, size_t n)
{
	struct port_mem *m = mem_new(sizeof *m + n);
	m->next = a->mem;
	a->mem = m;
	return m + 1;
}

static struct slice dup_slice(struct port_ask *a, struct slice s)
{
	if (s.n == 0)
		return (struct slice){NULL, 0};
	return slice_of(memcpy(mem_of(a, s.n), s.p, s.n), s.n);
}

static void *dup_array(struct port_ask *a, const void *v, size_t count, size_t size)
{
	return count == 0 ? NULL : memcpy(mem_of(a, count * size), v, count * size);
}

/* All requests but these three have the actor right behind their head. */
static bool has_actor(enum engine_verb verb)
{
	return verb != ENGINE_LEAVE && verb != ENGINE_SETTLE;
}

_Static_assert(offsetof(struct engine_send, actor) == sizeof(struct engine_ask) && offsetof(struct engine_pull, actor) == sizeof(struct engine_ask) &&
	offsetof(struct engine_stats, actor) == sizeof(struct engine_ask) && offsetof(struct engine_sub_open, actor) == sizeof(struct engine_ask) &&
	offsetof(struct engine_join, actor) == sizeof(struct engine_ask) && offsetof(struct engine_locks, actor) == sizeof(struct engine_ask) &&
	offsetof(struct engine_offset, actor) == sizeof(struct engine_ask) && offsetof(struct engine_topic, actor) == sizeof(struct engine_ask),
	"the actor stands right behind the head");

static void copy_actor(struct port_ask *a)
{
	const struct actor **at = (const struct actor **)(void *)((char *)a->shadow + sizeof(struct engine_ask));
	if (*at == NULL)
		return;
	struct actor *copy = dup_array(a, *at, 1, sizeof **at);
	copy->identity = dup_slice(a, copy->identity);
	copy->address = dup_slice(a, copy->address);
	*at = copy;
}

void port_copy_in(struct port_ask *a)
{
	enum engine_verb verb = (enum engine_verb)a->shadow->verb;
	const struct verb *v = &verbs[verb];
	for (unsigned i = 0; i < ARRAY_LEN(v->in) && v->in[i] != 0; i++) {
		struct slice *s = (struct slice *)(void *)((char *)a->shadow + v->in[i] - 1);
		*s = dup_slice(a, *s);
	}
	if (has_actor(verb))
		copy_actor(a);
	if (verb == ENGINE_JOIN) {
		struct engine_join *r = container_of(a->shadow, struct engine_join, ask);
		struct subscription *subs = dup_array(a, r->subs, r->n_subs, sizeof *subs);
		for (size_t i = 0; i < r->n_subs; i++) {
			subs[i].topic = dup_slice(a, subs[i].topic);
			subs[i].expr = dup_slice(a, subs[i].expr);
		}
		r->subs = subs;
	} else if (verb == ENGINE_SUB_OPEN) {
		struct engine_sub_open *r = container_of(a->shadow, struct engine_sub_open, ask);
		r->from = dup_array(a, r->from, r->n_from, sizeof *r->from);
	} else if (verb == ENGINE_LOCK || verb == ENGINE_UNLOCK) {
		struct engine_locks *r = container_of(a->shadow, struct engine_locks, ask);
		struct queue_name *names = dup_array(a, r->v, r->count, sizeof *names);
		for (size_t i = 0; i < r->count; i++)
			names[i].topic = dup_slice(a, names[i].topic);
		r->v = names;
		if (r->granted != NULL && r->count > 0)
			r->granted = mem_of(a, r->count * sizeof *r->granted);
	}
}

static void hold(struct port_ask *a, const struct piece *v, unsigned n)
{
	a->held = n > 0 ? mem_of(a, n * sizeof *a->held) : NULL;
	for (unsigned i = 0; i < n; i++)
		if (v[i].blob != NULL)
			a->held[a->n_held++] = blob_hold(v[i].blob);
}

static void keep_members(struct port_ask *a, struct engine_members *r)
{
	struct member_info *v = dup_array(a, r->v, r->count, sizeof *v);
	struct subscription *subs = dup_array(a, r->subs, r->n_subs, sizeof *subs);
	for (size_t i = 0; i < r->count; i++) {
		v[i].client_id = dup_slice(a, v[i].client_id);
		v[i].address = dup_slice(a, v[i].address);
	}
	for (size_t i = 0; i < r->n_subs; i++) {
		subs[i].topic = dup_slice(a, subs[i].topic);
		subs[i].expr = dup_slice(a, subs[i].expr);
	}
	r->v = v;
	r->subs = subs;
}

static void keep_topics(struct port_ask *a, struct engine_topics *r)
{
	struct topic_info *v = dup_array(a, r->v, r->count, sizeof *v);
	for (size_t i = 0; i < r->count; i++)
		v[i].name = dup_slice(a, v[i].name);
	r->v = v;
}

static void keep_groups(struct port_ask *a, struct engine_groups *r)
{
	struct group_info *v = dup_array(a, r->v, r->count, sizeof *v);
	for (size_t i = 0; i < r->count; i++)
		v[i].name = dup_slice(a, v[i].name);
	r->v = v;
}

static void keep_offsets(struct port_ask *a, struct engine_offsets *r)
{
	struct offset_info *v = dup_array(a, r->v, r->count, sizeof *v);
	for (size_t i = 0; i < r->count; i++)
		v[i].topic = dup_slice(a, v[i].topic);
	r->v = v;
}

static void keep_cells(struct port_ask *a, struct engine_cells *r)
{
	struct cell_info *v = dup_array(a, r->v, r->count, sizeof *v);
	for (size_t i = 0; i < r->count; i++) {
		v[i].name = dup_slice(a, v[i].name);
		v[i].value = dup_slice(a, v[i].value);
	}
	r->v = v;
}

void port_keep_out(struct port_ask *a)
{
	struct engine_ask *s = a->shadow;
	switch ((enum engine_verb)s->verb) {
	case ENGINE_PULL: {
		struct engine_pull *r = container_of(s, struct engine_pull, ask);
		hold(a, r->pieces, r->n_pieces);
		r->pieces = dup_array(a, r->pieces, r->n_pieces, sizeof *r->pieces);
		return;
	}
	case ENGINE_FIND: {
		struct engine_find *r = container_of(s, struct engine_find, ask);
		hold(a, r->pieces, r->count);
		r->pieces = dup_array(a, r->pieces, r->count, sizeof *r->pieces);
		return;
	}
	case ENGINE_VIEW: {
		struct engine_view *r = container_of(s, struct engine_view, ask);
		hold(a, &r->piece, r->piece.blob != NULL);
		return;
	}
	case ENGINE_TOPIC_PUT:
	case ENGINE_TOPIC_GET: {
		struct engine_topic *r = container_of(s, struct engine_topic, ask);
		if (s->verb == ENGINE_TOPIC_GET && a->status == ST_OK)
			r->info.name = dup_slice(a, r->info.name);
		return;
	}
	case ENGINE_TOPIC_LIST:
		if (a->status == ST_OK)
			keep_topics(a, container_of(s, struct engine_topics, ask));
		return;
	case ENGINE_GROUP_LIST:
		if (a->status == ST_OK)
			keep_groups(a, container_of(s, struct engine_groups, ask));
		return;
	case ENGINE_MEMBERS:
		if (a->status == ST_OK)
			keep_members(a, container_of(s, struct engine_members, ask));
		return;
	case ENGINE_OFFSET_LIST:
		if (a->status == ST_OK)
			keep_offsets(a, container_of(s, struct engine_offsets, ask));
		return;
	case ENGINE_CELL_LIST:
		if (a->status == ST_OK)
			keep_cells(a, container_of(s, struct engine_cells, ask));
		return;
	default:
		return;
	}
}

void port_copy_out(struct port_ask *a)
{
	enum engine_verb verb = (enum engine_verb)a->user->verb;
	size_t head = sizeof(struct engine_ask);
	bool *granted = NULL;
	if (verb == ENGINE_LOCK || verb == ENGINE_UNLOCK) {
		granted = container_of(a->user, struct engine_locks, ask)->granted;
		struct engine_locks *s = container_of(a->shadow, struct engine_locks, ask);
		if (granted != NULL && s->count > 0)
			memcpy(granted, s->granted, s->count * sizeof *granted);
	}
	struct engine_member *member = verb == ENGINE_JOIN ? container_of(a->user, struct engine_join, ask)->member : NULL;
	struct engine_sub *sub = verb == ENGINE_SUB_OPEN ? container_of(a->user, struct engine_sub_open, ask)->sub : NULL;
	if (verb != ENGINE_LEAVE && verb != ENGINE_SETTLE)
		memcpy((char *)a->user + head, (char *)a->shadow + head, verbs[verb].size - head);
	if (verb == ENGINE_JOIN)
		container_of(a->user, struct engine_join, ask)->member = member;
	if (verb == ENGINE_SUB_OPEN)
		container_of(a->user, struct engine_sub_open, ask)->sub = sub;
	if (granted != NULL)
		container_of(a->user, struct engine_locks, ask)->granted = granted;
}

void port_release(struct port_ask *a)
{
	for (unsigned i = 0; i < a->n_held; i++)
		blob_drop(a->held[i]);
	while (a->mem != NULL) {
		struct port_mem *m = a->mem;
		a->mem = m->next;
		mem_free(m);
	}
	mem_free(a->shadow);
}
