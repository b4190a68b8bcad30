/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Messages that come when there is no room for them. Credit counts messages, and what was granted to small ones may be used by large ones. So a message
 * over WS_SMALL is only sent when less is queued for its connection than that may have, and one over WS_OWN only when all connections together hold
 * less than WS_HELD_FRAMES of the largest: a thousand readers who do not read cost the same as a few.
 *
 * What cannot be sent is not kept. A group's message goes back, and the subscription gets no credit until there is room. A tap remembers the places of
 * its messages, at most as many as it had credit for, and reads them again, one by one.
 */
#include "front/websocket/ws.h"

/* What nobody holds and nobody is promised. */
static size_t unheld(const struct ws *w)
{
	size_t used = w->held + w->reserved;

	return used < w->held_max ? w->held_max - used : 0;
}

bool ws_late_room(struct ws_sub *s, size_t n)
{
	struct ws *w = s->peer->front;

	if (n <= WS_SMALL)
		return true;
	if (stream_room(s->peer->stream) == 0)
		return false; /* drained() comes */
	if (n <= WS_OWN || n <= unheld(w))
		return true;
	s->hungry_n = n;
	if (!list_linked(&s->hungry))
		list_push(&w->hungry, &s->hungry);
	return false;
}

void ws_late_put(struct ws_sub *s, uint64_t position, size_t n)
{
	CHECK(s->n_late < WS_WINDOW_MAX);
	s->late[s->n_late++] = (struct ws_late){position, n};
}

static void shift(struct ws_sub *s)
{
	s->n_late--;
	memmove(s->late, s->late + 1, s->n_late * sizeof(s->late[0]));
}

static void viewed(struct engine_ask *a, enum status st)
{
	struct ws_sub *s = container_of(container_of(a, struct engine_view, ask), struct ws_sub, view);
	struct ws_peer *p = s->peer;
	struct ws *w = p->front;
	struct message m;

	CHECK_OBJ(s, WS_SUB_MAGIC);
	s->viewing = false;
	p->viewing--;
	w->reserved -= s->late[0].n;
	if (s->over || s->state != SUB_OPEN || !ws_peer_open(p)) {
		ws_sub_free_if_over(s);
		return;
	}
	if (st == ST_OK)
		st = message_read(s->view.piece.bytes, &m);
	bool sent = st == ST_OK && !message_expired(&m, clock_wall_ms(w->clock));
	if (sent && s->late[0].n > WS_SMALL && stream_room(p->stream) == 0)
		return; /* others were quicker: once more when it drained */
	if (st != ST_OK && st != ST_NOT_FOUND) /* which is what retention dropped */
		log_error(w->log, "websocket", "position=%llu event=unreadable status=%s", (unsigned long long)s->late[0].position, status_name(st));
	shift(s);
	if (sent) {
		ws_sub_send(s, &m, NULL);
		/* One message may be all that there is room for: the connection's others come first next time. */
		list_remove(&s->link);
		list_push(&p->subs, &s->link);
	} else if (!s->automatic) {
		s->wanted++;
	}
	ws_sub_flow(s);
}

void ws_late_next(struct ws_sub *s)
{
	struct ws_peer *p = s->peer;

	CHECK_OBJ(s, WS_SUB_MAGIC);
	if (s->viewing || !ws_late_room(s, s->late[0].n))
		return;
	s->viewing = true;
	p->viewing++;
	p->front->reserved += s->late[0].n;
	s->view = (struct engine_view){.ask.done = viewed, .actor = &p->actor, .position = s->late[0].position};
	engine_view(p->front->engine, &s->view);
}

bool ws_late_turn(struct ws *w)
{
	size_t left = unheld(w);
	bool any = false;

	while (!list_empty(&w->hungry)) {
		struct ws_sub *s = container_of(w->hungry.next, struct ws_sub, hungry);
		CHECK_OBJ(s, WS_SUB_MAGIC);
		if (s->hungry_n > left)
			break; /* those behind it wait too, else it would wait for ever */
		left -= s->hungry_n;
		list_remove(&s->hungry);
		ws_sub_flow(s);
		any = true;
	}
	return any;
}
