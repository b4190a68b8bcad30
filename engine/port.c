/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The mailboxes of a port.
 *
 * Each direction is a stack that is pushed with one compare-and-swap and taken as a whole, then turned round: many may post, one takes, and order is
 * kept. The poster that finds the stack empty wakes the other side; so a batch costs one wake-up.
 *
 * Members and subscriptions have shadows, made by the owner's JOIN and SUB_OPEN. Every note about one that goes to the engine comes back when it was
 * served, so the owner knows when nobody can name the shadow any more, and frees it then.
 */
#include <stdatomic.h>

#include "base/mem.h"
#include "base/obj.h"
#include "engine/port_priv.h"

#define PORT_MAGIC 0x504f5254u

struct note {
	struct note *next;
	enum note_kind { NOTE_ASK, NOTE_CANCEL, NOTE_CREDIT, NOTE_CLOSE, NOTE_DONE, NOTE_CHANGED, NOTE_LOST, NOTE_DELIVER, NOTE_ENDED } kind;
	union {
		struct port_ask *ask;
		struct shadow_member *member;
		struct shadow_sub *sub;
	} u;
	uint32_t credit;
	enum status status;
	struct delivery delivery;  /* its blob is held, its topic copied behind the note */
};

struct box {
	_Atomic(struct note *) top;
};

/* All but 'engine' belongs to the owner's thread. 'refs': requests and notes under way that name it. */
struct shadow_member {
	struct engine_member engine;  /* what the engine sees */
	struct engine_member *user;
	struct engine_port *port;
	unsigned refs;
	bool known;                   /* a JOIN went well */
	bool over;                    /* left or lost: freed with the last reference */
};

struct shadow_sub {
	struct engine_sub engine;
	struct engine_sub *user;
	struct engine_port *port;
	unsigned refs;
	bool over;
};

struct engine_port {
	struct engine head;
	uint32_t magic;
	struct engine_port_conf conf;
	struct box to_engine, to_owner;
	struct engine_sub gone;       /* stands for a subscription that has ended: what is asked of it is GONE */
	size_t under_way;             /* owner's thread: requests, members and subscriptions that have not ended */
};

static struct engine_port *port_of(struct engine *e)
{
	struct engine_port *p = (struct engine_port *)(void *)e;
	CHECK_OBJ(p, PORT_MAGIC);
	return p;
}

/* True when the box was empty: the other side has to be woken. */
static bool box_push(struct box *b, struct note *n)
{
	struct note *top = atomic_load_explicit(&b->top, memory_order_relaxed);
	do
		n->next = top;
	while (!atomic_compare_exchange_weak_explicit(&b->top, &top, n, memory_order_release, memory_order_relaxed));
	return top == NULL;
}

/* All that was posted, oldest first. */
static struct note *box_take(struct box *b)
{
	struct note *n = atomic_exchange_explicit(&b->top, NULL, memory_order_acquire), *order = NULL;
	while (n != NULL) {
		struct note *next = n->next;
		n->next = order;
		order = n;
		n = next;
	}
	return order;
}

static void to_engine(struct engine_port *p, struct note *n)
{
	if (box_push(&p->to_engine, n))
		p->conf.wake_engine(p->conf.wake_engine_arg);
}

static void to_owner(struct engine_port *p, struct note *n)
{
	if (box_push(&p->to_owner, n))
		p->conf.wake_owner(p->conf.wake_owner_arg);
}

static struct note *note_new(enum note_kind kind)
{
	struct note *n = mem_new(sizeof *n);
	n->kind = kind;
	return n;
}

/* ---- The engine's thread --------------------------------------------------------------------------------------------------------- */

static void shadow_done(struct engine_ask *shadow, enum status st)
{
	struct port_ask *a = *(struct port_ask **)(void *)((char *)shadow + port_size((enum engine_verb)shadow->verb));
	struct note *n = note_new(NOTE_DONE);
	a->status = st;
	port_keep_out(a);
	n->u.ask = a;
	to_owner(a->port, n);
}

static void shadow_changed(struct engine_member *m)
{
	struct shadow_member *s = container_of(m, struct shadow_member, engine);
	struct note *n = note_new(NOTE_CHANGED);
	n->u.member = s;
	to_owner(s->port, n);
}

static void shadow_lost(struct engine_member *m)
{
	struct shadow_member *s = container_of(m, struct shadow_member, engine);
	struct note *n = note_new(NOTE_LOST);
	n->u.member = s;
	to_owner(s->port, n);
}

static void shadow_deliver(struct engine_sub *sub, const struct delivery *d)
{
	struct shadow_sub *s = container_of(sub, struct shadow_sub, engine);
	struct note *n = mem_new(sizeof *n + d->topic.n);
	n->kind = NOTE_DELIVER;
	n->u.sub = s;
	n->delivery = *d;
	n->delivery.topic = slice_of(n + 1, d->topic.n);
	if (d->topic.n > 0)
		memcpy(n + 1, d->topic.p, d->topic.n);
	blob_hold(d->blob);
	to_owner(s->port, n);
}

static void shadow_ended(struct engine_sub *sub, enum status st)
{
	struct shadow_sub *s = container_of(sub, struct shadow_sub, engine);
	struct note *n = note_new(NOTE_ENDED);
	n->u.sub = s;
	n->status = st;
	to_owner(s->port, n);
}

void engine_port_serve(struct engine_port *p)
{
	struct engine *e = p->conf.target;
	struct note *n, *next;
	CHECK_OBJ(p, PORT_MAGIC);
	for (n = box_take(&p->to_engine); n != NULL; n = next) {
		next = n->next;
		switch (n->kind) {
		case NOTE_ASK:
			engine_submit(e, n->u.ask->shadow, (enum engine_verb)n->u.ask->shadow->verb);
			break;
		case NOTE_CANCEL:
			engine_cancel(e, n->u.ask->shadow);
			break;
		case NOTE_CREDIT:
			engine_sub_credit(e, &n->u.sub->engine, n->credit);
			break;
		case NOTE_CLOSE:
			engine_sub_close(e, &n->u.sub->engine);
			break;
		default:
			PANIC("not a note for the engine: %d", n->kind);
		}
		if (n->kind == NOTE_ASK)
			mem_free(n);
		else
			to_owner(p, n); /* served: it gives its reference back */
	}
}

/* ---- The owner's thread ------------------------------------------------------------------------------------------------------------- */

static struct shadow_member *member_shadow(struct engine_port *p, struct engine_member *user)
{
	struct shadow_member *s = user->priv[0];
	if (s == NULL) {
		s = mem_new(sizeof *s);
		s->engine.changed = shadow_changed;
		s->engine.lost = shadow_lost;
		s->user = user;
		s->port = p;
		user->priv[0] = s;
		p->under_way++;
	}
	return s;
}

/* Members, subscriptions: the engine gets the shadow, and the user's struct remembers it. */
static void replace_objects(struct engine_port *p, struct port_ask *a)
{
	if (a->user->verb == ENGINE_JOIN) {
		struct engine_join *r = container_of(a->shadow, struct engine_join, ask);
		if (r->member != NULL)
			r->member = &member_shadow(p, r->member)->engine;
	} else if (a->user->verb == ENGINE_LEAVE) {
		struct engine_leave *r = container_of(a->shadow, struct engine_leave, ask);
		r->member = &member_shadow(p, r->member)->engine;
	} else if (a->user->verb == ENGINE_OFFSET_COMMIT) {
		struct engine_offset *r = container_of(a->shadow, struct engine_offset, ask);
		if (r->member != NULL)
			r->member = &((struct shadow_member *)r->member->priv[0])->engine;
	} else if (a->user->verb == ENGINE_SUB_OPEN) {
		struct engine_sub_open *r = container_of(a->shadow, struct engine_sub_open, ask);
		struct shadow_sub *s = mem_new(sizeof *s);
		s->engine.deliver = shadow_deliver;
		s->engine.ended = shadow_ended;
		s->user = r->sub;
		s->port = p;
		r->sub->priv[0] = s;
		r->sub = &s->engine;
		p->under_way++;
	} else if (a->user->verb == ENGINE_SETTLE) {
		struct engine_settle *r = container_of(a->shadow, struct engine_settle, ask);
		struct shadow_sub *s = r->sub == NULL ? NULL : r->sub->priv[0];
		if (r->sub != NULL)
			r->sub = s == NULL ? &p->gone : &s->engine;
	}
}

/* The shadows that a request names live at least as long as it. */
static struct shadow_member *named_member(struct port_ask *a)
{
	if (a->shadow->verb == ENGINE_JOIN && container_of(a->shadow, struct engine_join, ask)->member != NULL)
		return container_of(container_of(a->shadow, struct engine_join, ask)->member, struct shadow_member, engine);
	if (a->shadow->verb == ENGINE_LEAVE)
		return container_of(container_of(a->shadow, struct engine_leave, ask)->member, struct shadow_member, engine);
	return NULL;
}

static struct shadow_sub *named_sub(struct port_ask *a)
{
	if (a->shadow->verb == ENGINE_SUB_OPEN)
		return container_of(container_of(a->shadow, struct engine_sub_open, ask)->sub, struct shadow_sub, engine);
	if (a->shadow->verb == ENGINE_SETTLE) {
		struct engine_sub *sub = container_of(a->shadow, struct engine_settle, ask)->sub;
		return sub == NULL || sub == &a->port->gone ? NULL : container_of(sub, struct shadow_sub, engine);
	}
	return NULL;
}

static void member_drop(struct shadow_member *m)
{
	if (m == NULL || m->refs > 0 || !m->over)
		return;
	m->port->under_way--;
	mem_free(m);
}

static void sub_drop(struct shadow_sub *s)
{
	if (s == NULL || s->refs > 0 || !s->over)
		return;
	s->port->under_way--;
	mem_free(s);
}

static void port_submit(struct engine *e, struct engine_ask *user)
{
	struct engine_port *p = port_of(e);
	size_t size = port_size((enum engine_verb)user->verb);
	struct port_ask *a = mem_new(sizeof *a);
	a->port = p;
	a->user = user;
	a->shadow = mem_new(size + sizeof a);
	memcpy(a->shadow, user, size);
	memcpy((char *)a->shadow + size, &a, sizeof a);
	a->shadow->done = shadow_done;
	replace_objects(p, a);
	port_copy_in(a);
	struct shadow_member *m = named_member(a);
	struct shadow_sub *s = named_sub(a);
	if (m != NULL)
		m->refs++;
	if (s != NULL)
		s->refs++;
	user->priv[0] = a;
	p->under_way++;
	struct note *n = note_new(NOTE_ASK);
	n->u.ask = a;
	to_engine(p, n);
}

/* The answer may be on its way already: the engine ignores a cancel of what it has answered, and the shadow lives until the note is back. */
static void port_cancel(struct engine *e, struct engine_ask *user)
{
	struct note *n = note_new(NOTE_CANCEL);
	n->u.ask = user->priv[0];
	CHECK(n->u.ask != NULL && n->u.ask->user == user);
	n->u.ask->cancels++;
	to_engine(port_of(e), n);
}

static void post_sub(struct engine *e, struct engine_sub *user, enum note_kind kind, uint32_t credit)
{
	struct shadow_sub *s = user->priv[0];
	if (s == NULL || s->over)
		return;
	struct note *n = note_new(kind);
	n->u.sub = s;
	n->credit = credit;
	s->refs++;
	to_engine(port_of(e), n);
}

static void port_credit(struct engine *e, struct engine_sub *user, uint32_t more)
{
	post_sub(e, user, NOTE_CREDIT, more);
}

static void port_close(struct engine *e, struct engine_sub *user)
{
	post_sub(e, user, NOTE_CLOSE, 0);
}

static void ask_drop(struct port_ask *a)
{
	if (!a->answered || a->cancels > 0)
		return;
	a->port->under_way--;
	port_release(a);
	mem_free(a);
}

static void answer(struct port_ask *a)
{
	struct shadow_member *m = named_member(a);
	struct shadow_sub *s = named_sub(a);
	struct engine_ask *user = a->user;
	enum status st = a->status;
	port_copy_out(a);
	user->priv[0] = NULL;
	user->status = st;
	a->answered = true;
	if (m != NULL) {
		m->refs--;
		m->known |= user->verb == ENGINE_JOIN && st == ST_OK;
		if (user->verb == ENGINE_LEAVE || (!m->known && m->refs == 0)) {
			m->over = true;
			m->user->priv[0] = NULL;
		}
	}
	if (s != NULL) {
		s->refs--;
		if (user->verb == ENGINE_SUB_OPEN && st != ST_OK) {
			s->over = true;
			s->user->priv[0] = NULL;
		}
	}
	if (user->done != NULL)
		user->done(user, st);
	member_drop(m);
	sub_drop(s);
	ask_drop(a);
}

static void sub_note(struct note *n)
{
	struct shadow_sub *s = n->u.sub;
	if (n->kind == NOTE_DELIVER) {
		s->user->deliver(s->user, &n->delivery);
		blob_drop(n->delivery.blob);
		return;
	}
	if (n->kind == NOTE_ENDED) {
		s->over = true;
		s->user->priv[0] = NULL;
		s->user->ended(s->user, n->status);
	} else {
		s->refs--;
	}
	sub_drop(s);
}

void engine_port_turn(struct engine_port *p)
{
	struct note *n, *next;
	CHECK_OBJ(p, PORT_MAGIC);
	for (n = box_take(&p->to_owner); n != NULL; n = next) {
		next = n->next;
		switch (n->kind) {
		case NOTE_DONE:
			answer(n->u.ask);
			break;
		case NOTE_CANCEL:
			n->u.ask->cancels--;
			ask_drop(n->u.ask);
			break;
		case NOTE_CHANGED:
			if (!n->u.member->over && n->u.member->user->changed != NULL)
				n->u.member->user->changed(n->u.member->user);
			break;
		case NOTE_LOST:
			n->u.member->over = true;
			n->u.member->user->priv[0] = NULL;
			n->u.member->user->lost(n->u.member->user);
			member_drop(n->u.member);
			break;
		case NOTE_CREDIT:
		case NOTE_CLOSE:
		case NOTE_DELIVER:
		case NOTE_ENDED:
			sub_note(n);
			break;
		case NOTE_ASK:
			PANIC("a note for the engine");
		}
		mem_free(n);
	}
}

bool engine_port_idle(const struct engine_port *p)
{
	CHECK_OBJ(p, PORT_MAGIC);
	return p->under_way == 0;
}

struct engine *engine_port_engine(struct engine_port *p)
{
	CHECK_OBJ(p, PORT_MAGIC);
	return &p->head;
}

static const struct engine_ops port_ops = {port_submit, port_cancel, port_credit, port_close};

struct engine_port *engine_port_new(const struct engine_port_conf *conf)
{
	struct engine_port *p = mem_new(sizeof *p);
	p->head.ops = &port_ops;
	p->magic = PORT_MAGIC;
	p->conf = *conf;
	return p;
}

void engine_port_free(struct engine_port *p)
{
	CHECK(engine_port_idle(p) && box_take(&p->to_engine) == NULL && box_take(&p->to_owner) == NULL);
	p->magic = 0;
	mem_free(p);
}
