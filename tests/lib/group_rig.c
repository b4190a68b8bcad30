/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/lib/group_rig.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/obj.h"
#include "base/props.h"
#include "record/record.h"

/* ---- Asking ------------------------------------------------------------------------------------------------------------------------------ */

struct wait {
	bool done;
	enum status st;
};

/* A request and its answer. */
#define ASK(type) struct ask_##type

#define DONE(type, name) \
	struct ask_##type { \
		struct type q; \
		struct wait w; \
	}; \
	static void name(struct engine_ask *a, enum status st) \
	{ \
		ASK(type) *x = (void *)a; \
		CHECK(!x->w.done); \
		x->w.done = true; \
		x->w.st = st; \
	}

DONE(engine_topic, topic_done)
DONE(engine_send, send_done)
DONE(engine_group, group_done)
DONE(engine_offset, offset_done)
DONE(engine_stats, stats_done)
DONE(engine_join, join_done)
DONE(engine_leave, leave_done)
DONE(engine_sub_open, open_done)
DONE(engine_settle, settle_done)

static enum status finish(struct rig *r, const struct wait *w)
{
	for (unsigned i = 0; i < 100000 && !w->done; i++)
		rig_turns(r, 1);
	CHECK(w->done);
	return w->st;
}

enum status rig_topic(struct rig *r, const char *name, uint32_t queues)
{
	ASK(engine_topic) x = {.q = {.ask = {.done = topic_done}, .name = slice_str(name), .conf = {queues, queues, PERM_READ | PERM_WRITE, 0, false}}};

	engine_topic_put(r->e, &x.q);
	return finish(r, &x.w);
}

enum status rig_topic_drop(struct rig *r, const char *name)
{
	ASK(engine_topic) x = {.q = {.ask = {.done = topic_done}, .name = slice_str(name)}};

	engine_topic_drop(r->e, &x.q);
	return finish(r, &x.w);
}

enum status rig_send_props(struct rig *r, const char *topic, int32_t queue, struct slice props, const char *body)
{
	ASK(engine_send) x = {.q = {.ask = {.done = send_done}}};

	x.q.msg = (struct msg){.topic = slice_str(topic), .body = slice_str(body), .props = props, .queue = queue, .max_reconsume = -1, .born_ms = 1};
	engine_send(r->e, &x.q);
	return finish(r, &x.w);
}

enum status rig_send(struct rig *r, const char *topic, int32_t queue, const char *tags, const char *body)
{
	struct buf props = {0};

	if (tags != NULL)
		props_put(&props, SLICE_LIT("TAGS"), slice_str(tags));
	enum status st = rig_send_props(r, topic, queue, buf_view(&props), body);
	buf_fini(&props);
	return st;
}

enum status rig_group(struct rig *r, const char *name, const struct group_conf *c)
{
	ASK(engine_group) x = {.q = {.ask = {.done = group_done}, .name = slice_str(name), .conf = *c}};

	engine_group_put(r->e, &x.q);
	return finish(r, &x.w);
}

enum status rig_group_get(struct rig *r, const char *name, struct group_conf *ret)
{
	ASK(engine_group) x = {.q = {.ask = {.done = group_done}, .name = slice_str(name)}};

	engine_group_get(r->e, &x.q);
	enum status st = finish(r, &x.w);
	*ret = x.q.conf;
	return st;
}

enum status rig_group_drop(struct rig *r, const char *name, bool offsets)
{
	ASK(engine_group) x = {.q = {.ask = {.done = group_done}, .name = slice_str(name), .drop_offsets = offsets}};

	engine_group_drop(r->e, &x.q);
	return finish(r, &x.w);
}

enum status rig_get(struct rig *r, const char *group, const char *topic, int32_t queue, uint64_t *ret, bool *ret_young)
{
	ASK(engine_offset) x = {.q = {.ask = {.done = offset_done}, .group = slice_str(group), .topic = slice_str(topic), .queue = queue}};

	engine_offset_get(r->e, &x.q);
	enum status st = finish(r, &x.w);
	*ret = x.q.offset;
	if (ret_young != NULL)
		*ret_young = x.q.young;
	return st;
}

enum status rig_commit(struct rig *r, const char *group, const char *topic, int32_t queue, uint64_t v, const struct engine_member *m,
	const char *address)
{
	struct actor who = {"test", {NULL, 0}, slice_str(address)};
	ASK(engine_offset) x = {.q = {.ask = {.done = offset_done}, .actor = &who, .group = slice_str(group), .topic = slice_str(topic),
		.queue = queue, .offset = v, .member = m}};

	engine_offset_commit(r->e, &x.q);
	return finish(r, &x.w);
}

enum status rig_reset(struct rig *r, const char *group, const char *topic, int32_t queue, uint64_t v)
{
	ASK(engine_offset) x = {.q = {.ask = {.done = offset_done}, .group = slice_str(group), .topic = slice_str(topic), .queue = queue,
		.offset = v}};

	engine_offset_reset(r->e, &x.q);
	return finish(r, &x.w);
}

enum status rig_forget(struct rig *r, const char *group, const char *topic)
{
	ASK(engine_offset) x = {.q = {.ask = {.done = offset_done}, .group = slice_str(group), .topic = slice_str(topic), .queue = -1}};

	engine_offset_drop(r->e, &x.q);
	return finish(r, &x.w);
}

uint64_t rig_stat(struct rig *r, enum engine_stat s)
{
	ASK(engine_stats) x = {.q = {.ask = {.done = stats_done}}};

	engine_stats(r->e, &x.q);
	CHECK(finish(r, &x.w) == ST_OK);
	return x.q.v[s];
}

/* ---- Members ----------------------------------------------------------------------------------------------------------------------------- */

static void on_changed(struct engine_member *m)
{
	container_of(m, struct rig_member, m)->changed++;
}

static void on_lost(struct engine_member *m)
{
	container_of(m, struct rig_member, m)->lost++;
}

enum status rig_join(struct rig *r, struct rig_member *m, const char *group, enum message_model model, const struct rig_subscription *s,
	size_t n, bool *ret_changed)
{
	struct actor who = {"test", {NULL, 0}, slice_str(m->address)};
	struct subscription *v = mem_array(n, sizeof *v);
	ASK(engine_join) x = {.q = {.ask = {.done = join_done}, .actor = &who, .member = &m->m, .group = slice_str(group),
		.client_id = slice_str(m->id), .type = CONSUME_PASSIVELY, .model = model, .from = FROM_LAST, .subs = v, .n_subs = n,
		.keep_subs = s == NULL}};

	m->m.changed = on_changed;
	m->m.lost = on_lost;
	for (size_t i = 0; i < n; i++)
		v[i] = (struct subscription){slice_str(s[i].topic), slice_str(s[i].expr), s[i].version};
	engine_join(r->e, &x.q);
	mem_free(v);
	enum status st = finish(r, &x.w);
	if (ret_changed != NULL)
		*ret_changed = x.q.subs_changed;
	return st;
}

enum status rig_leave(struct rig *r, struct rig_member *m)
{
	ASK(engine_leave) x = {.q = {.ask = {.done = leave_done}, .member = &m->m}};

	engine_leave(r->e, &x.q);
	return finish(r, &x.w);
}

struct members_ask {
	struct engine_members q;
	struct wait w;
	struct buf text;
};

static void members_done(struct engine_ask *a, enum status st)
{
	struct members_ask *x = (void *)a;

	x->w = (struct wait){true, st};
	for (size_t i = 0; st == ST_OK && i < x->q.count; i++) {
		buf_str(&x->text, i == 0 ? "" : " ");
		buf_slice(&x->text, x->q.v[i].client_id);
	}
}

char *rig_members(struct rig *r, const char *group)
{
	struct members_ask x = {.q = {.ask = {.done = members_done}, .group = slice_str(group), .kind = MEMBER_CONSUMER}};

	engine_members(r->e, &x.q);
	finish(r, &x.w);
	char *text = mem_dup(x.text.p, x.text.n);
	buf_fini(&x.text);
	return text;
}

struct pull_ask {
	struct engine_pull q;
	struct wait w;
	struct buf bytes;
	uint64_t next;
};

static void pull_done(struct engine_ask *a, enum status st)
{
	struct pull_ask *x = (void *)a;

	x->w = (struct wait){true, st};
	for (unsigned i = 0; i < x->q.n_pieces; i++)
		buf_slice(&x->bytes, x->q.pieces[i].bytes);
}

static void add_bodies(struct slice bytes, struct buf *text)
{
	struct record rec;

	while (bytes.n > 0 && record_decode(bytes, &rec) == ST_OK) {
		buf_str(text, text->n == 0 ? "" : " ");
		buf_slice(text, rec.body);
		bytes = slice_skip(bytes, rec.size);
	}
}

char *rig_pull(struct rig *r, const char *group, const struct rig_member *m, const char *topic, int32_t queue, uint64_t from, int64_t commit,
	enum status *ret)
{
	struct actor who = {"test", {NULL, 0}, slice_str(m == NULL ? "" : m->address)};
	struct pull_ask x = {.q = {.ask = {.done = pull_done}, .actor = &who, .topic = slice_str(topic), .queue = queue, .from = from,
		.max_msgs = 32, .max_bytes = 1u << 20, .group = slice_str(group), .commit = commit}};
	struct buf text = {0};

	engine_pull(r->e, &x.q);
	*ret = finish(r, &x.w);
	add_bodies(buf_view(&x.bytes), &text);
	char *s = mem_dup(text.p, text.n);
	buf_fini(&text);
	buf_fini(&x.bytes);
	return s;
}

char *rig_bodies(struct rig *r, const char *topic, int32_t queue)
{
	struct buf text = {0};
	uint64_t from = 0;

	for (;;) {
		struct pull_ask x = {.q = {.ask = {.done = pull_done}, .topic = slice_str(topic), .queue = queue, .from = from, .max_msgs = 32,
			.max_bytes = 1u << 20, .commit = -1}};
		engine_pull(r->e, &x.q);
		enum status st = finish(r, &x.w);
		add_bodies(buf_view(&x.bytes), &text);
		buf_fini(&x.bytes);
		if (st != ST_OK && st != ST_MOVED)
			break;
		if (st == ST_MOVED && x.q.next <= from)
			break;
		from = x.q.next;
	}
	char *s = mem_dup(text.p, text.n);
	buf_fini(&text);
	return s;
}

/* ---- Subscriptions ------------------------------------------------------------------------------------------------------------------------- */

static void free_settle(struct engine_ask *a, enum status st)
{
	CHECK(st == ST_OK);
	mem_free(container_of(a, struct engine_settle, ask));
}

static void on_deliver(struct engine_sub *es, const struct delivery *d)
{
	struct rig_sub *s = container_of(es, struct rig_sub, s);
	struct record rec;

	CHECK(!s->ended);
	CHECK(record_decode(d->record, &rec) == ST_OK);
	if (s->n == s->cap) {
		s->cap = s->cap == 0 ? 16 : s->cap * 2;
		s->v = mem_grow(s->v, s->cap * sizeof *s->v);
	}
	s->v[s->n++] = (struct rig_got){d->tag, d->incarnation, d->offset, d->queue, d->attempt, slice_dup(rec.body), slice_dup(d->topic), false};
	if (s->n > s->given)
		PANIC("%zu deliveries for %u credits", s->n, s->given);
	if (s->hook != NULL)
		s->hook(s, &s->v[s->n - 1]);
	if (s->ack_in_deliver > 0) {
		s->ack_in_deliver--;
		struct engine_settle *q = mem_new(sizeof *q);
		*q = (struct engine_settle){.ask = {.done = free_settle}, .sub = es, .tag = d->tag, .how = SETTLE_ACK};
		s->v[s->n - 1].settled = true;
		engine_settle(s->rig->e, q);
		rig_credit(s->rig, s, 1);
	}
}

static void on_ended(struct engine_sub *es, enum status why)
{
	struct rig_sub *s = container_of(es, struct rig_sub, s);

	CHECK(!s->ended);
	s->ended = true;
	s->why = why;
}

enum status rig_subscribe(struct rig *r, struct rig_sub *s, const struct rig_open *o)
{
	ASK(engine_sub_open) x = {.q = {.ask = {.done = open_done}, .sub = &s->s, .topic = slice_str(o->topic), .group = slice_str(o->group == NULL ? "" : o->group),
		.client_id = SLICE_LIT("c"), .expr = slice_str(o->expr == NULL ? "*" : o->expr), .start = o->start, .start_offset = o->start_offset, .lease_ms = o->lease_ms,
		.credit = o->credit, .tap = o->tap, .detach = o->detach, .from = o->from, .n_from = o->n_from}};

	s->rig = r;
	s->given = o->credit;
	s->s = (struct engine_sub){.deliver = on_deliver, .ended = on_ended};
	s->ended = false;
	engine_sub_open(r->e, &x.q);
	return finish(r, &x.w);
}

void rig_credit(struct rig *r, struct rig_sub *s, uint32_t more)
{
	s->given += more;
	engine_sub_credit(r->e, &s->s, more);
}

enum status rig_settle(struct rig *r, struct rig_sub *s, uint64_t tag, enum settle how, int64_t after_ms)
{
	ASK(engine_settle) x = {.q = {.ask = {.done = settle_done}, .sub = &s->s, .tag = tag, .how = how, .after_ms = after_ms}};

	engine_settle(r->e, &x.q);
	return finish(r, &x.w);
}

enum status rig_receipt(struct rig *r, const char *group, const char *topic, uint64_t incarnation, uint64_t tag, enum settle how, int64_t after_ms)
{
	ASK(engine_settle) x = {.q = {.ask = {.done = settle_done}, .group = slice_str(group), .topic = slice_str(topic), .incarnation = incarnation,
		.tag = tag, .how = how, .after_ms = after_ms}};

	engine_settle(r->e, &x.q);
	return finish(r, &x.w);
}

void rig_unsubscribe(struct rig *r, struct rig_sub *s)
{
	engine_sub_close(r->e, &s->s);
	for (unsigned i = 0; i < 1000 && !s->ended; i++)
		rig_turns(r, 1);
	CHECK(s->ended);
}

void rig_sub_free(struct rig_sub *s)
{
	for (size_t i = 0; i < s->n; i++) {
		mem_free(s->v[i].body);
		mem_free(s->v[i].topic);
	}
	mem_free(s->v);
	memset(s, 0, sizeof *s);
}

char *rig_texts(const struct rig_sub *s, size_t from)
{
	struct buf text = {0};

	for (size_t i = from; i < s->n; i++) {
		buf_str(&text, i == from ? "" : " ");
		buf_str(&text, s->v[i].body);
	}
	char *t = mem_dup(text.p, text.n);
	buf_fini(&text);
	return t;
}
