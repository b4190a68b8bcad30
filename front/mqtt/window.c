/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * QoS 1 messages that were sent to a client and not acknowledged: by packet identifier, and each in its flow's list by offset, so that the first one says how far
 * the flow is done.
 *
 * Identifiers go round. An entry stands at its identifier modulo the table's size; growing keeps them apart. Entries of an earlier connection ('old') keep their
 * identifiers until they are sent again.
 */
#include "front/mqtt/mq.h"

#define CAP_MIN 8u
#define IDS_MAX (UINT16_MAX / 2) /* identifiers in use, old ones too: so the next one is always soon found */
#define ROOM_MS 5u /* until a session reads on into less than half of its window */

bool mq_window_again(const struct mq_session *s)
{
	const struct mq_conn *c = s->conn;

	return c != NULL && s->window.out < c->receive_max && s->window.out < s->f->max_inflight;
}

bool mq_window_open(const struct mq_session *s)
{
	return mq_window_again(s) && s->window.count < IDS_MAX;
}

static void grow(struct mq_window *w)
{
	uint32_t cap = w->cap == 0 ? CAP_MIN : w->cap * 2;
	struct mq_sent **v = mem_array(cap, sizeof(*v));

	for (uint32_t i = 0; i < w->cap; i++)
		if (w->v[i] != NULL)
			v[w->v[i]->id & (cap - 1)] = w->v[i];
	mem_free(w->v);
	w->v = v;
	w->cap = cap;
}

struct mq_sent *mq_window_put(struct mq_session *s, struct mq_flow *flow, uint64_t offset)
{
	struct mq_window *w = &s->window;
	struct mq_sent *e = mem_new(sizeof(*e));

	if (w->count * 2 >= w->cap && w->cap <= UINT16_MAX)
		grow(w);
	do {
		w->last = w->last == UINT16_MAX ? 1 : (uint16_t)(w->last + 1);
	} while (w->v[w->last & (w->cap - 1)] != NULL);
	e->id = w->last;
	e->flow = flow;
	e->offset = offset;
	w->v[e->id & (w->cap - 1)] = e;
	w->count++;
	w->out++;
	list_push(flow != NULL ? &flow->sent : &s->sent_retained, &e->link);
	return e;
}

void mq_window_put_again(struct mq_session *s, struct mq_flow *flow, uint64_t offset, uint16_t id)
{
	struct mq_window *w = &s->window;
	struct mq_sent *e;

	while (w->cap == 0 || (w->v[id & (w->cap - 1)] != NULL && w->cap <= UINT16_MAX) || w->count * 2 >= w->cap)
		grow(w);
	if (w->v[id & (w->cap - 1)] != NULL)
		return;
	e = mem_new(sizeof(*e));
	e->id = id;
	e->old = true;
	e->flow = flow;
	e->offset = offset;
	w->v[id & (w->cap - 1)] = e;
	w->count++;
	w->last = id;
	list_push(&flow->sent, &e->link);
}

struct mq_sent *mq_window_get(struct mq_session *s, uint16_t id)
{
	struct mq_window *w = &s->window;
	struct mq_sent *e = w->cap == 0 ? NULL : w->v[id & (w->cap - 1)];

	return e != NULL && e->id == id ? e : NULL;
}

void mq_window_drop(struct mq_session *s, struct mq_sent *e)
{
	struct mq_window *w = &s->window;

	CHECK(w->v[e->id & (w->cap - 1)] == e && w->count > 0);
	w->v[e->id & (w->cap - 1)] = NULL;
	w->count--;
	if (!e->old) {
		CHECK(w->out > 0);
		w->out--;
	}
	if (e->flow != NULL && e->flow->old == &e->link)
		e->flow->old = e->link.next;
	list_remove(&e->link);
	if (e->flow != NULL)
		mq_flow_dirty(e->flow);
	if (e->retained != NULL)
		mq_retained_release(e->retained);
	mem_free(e);
}

void mq_window_old(struct mq_session *s)
{
	for (uint32_t i = 0; i < s->window.cap; i++)
		if (s->window.v[i] != NULL)
			s->window.v[i]->old = true;
	s->window.out = 0;
}

void mq_window_fini(struct mq_session *s)
{
	struct mq_window *w = &s->window;

	for (uint32_t i = 0; i < w->cap; i++)
		if (w->v[i] != NULL)
			mq_window_drop(s, w->v[i]);
	mem_free(w->v);
	*w = (struct mq_window){.v = NULL};
}

void mq_acked(struct mq_session *s, uint16_t id)
{
	struct mq_sent *e = mq_window_get(s, id);

	/* One that we do not know was sent before we forgot it: nothing to be done. An old one was not sent to this connection, but to this client. */
	if (e == NULL)
		return;
	mq_window_drop(s, e);
	if (s->window.cap > CAP_MIN * 8 && s->window.count == 0) {
		mem_free(s->window.v);
		s->window.v = NULL;
		s->window.cap = 0;
	}
	bool again = s->window.count > s->window.out; /* retained ones, say, that no flow reads again */
	if (!again && list_empty(&s->behind) && list_empty(&s->backlog) && !s->parked)
		return;
	/* Half of the room at once, so that a read brings more than one message; less of it after a moment, for who keeps some for long. */
	if (s->window.out <= s->conn->receive_max / 2u && s->window.out <= s->f->max_inflight / 2)
		mq_session_wake(s);
	else if (!heap_has(&s->retry.node))
		mq_timer_set(s->f, &s->retry, ROOM_MS);
}
