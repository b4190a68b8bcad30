/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Publishing: an answer comes when the engine has stored the message to its configured level, not before. */
#include <stdio.h>

#include "base/mem.h"
#include "base/props.h"
#include "front/websocket/ws.h"

enum { UNIQ_SIZE = 32 };

struct publish {
	uint32_t magic;
	struct engine_send send;
	struct ws_peer *peer;
	struct ws_id id;
	char message_id[UNIQ_SIZE + 1];
};

static void published(struct engine_ask *a, enum status st)
{
	struct publish *q = container_of(container_of(a, struct engine_send, ask), struct publish, send);
	struct ws_peer *p = q->peer;

	CHECK_OBJ(q, WS_PUB_MAGIC);
	p->publishing--;
	if (ws_peer_open(p) && st != ST_OK) {
		ws_error(p, &q->id, NULL, NULL, st, NULL);
	} else if (ws_peer_open(p)) {
		struct buf *b = ws_begin(p, "published");
		ws_put_id(b, &q->id);
		ws_put_text(b, "messageId", slice_str(q->message_id));
		ws_put_number(b, "queue", (uint64_t)q->send.queue);
		ws_put_number(b, "offset", q->send.offset);
		ws_put_text(b, "durability", q->send.durable ? SLICE_LIT("disk") : SLICE_LIT("memory"));
		ws_end(p, b);
		p->front->n.published++;
	}
	q->magic = 0;
	mem_free(q);
	ws_peer_flow(p);
	ws_peer_drop(p);
}

void ws_publish(struct ws_peer *p, const json_t *msg)
{
	static const char *const ours[] = {"type", "id", NULL};
	struct ws *w = p->front;
	struct draft *d = &w->draft;
	int64_t now_ms = clock_wall_ms(w->clock);
	struct ws_id id;
	enum status st;

	if (!ws_get_id(p, msg, &id))
		return;
	w->n.publishes++;
	if (w->draining) {
		ws_error(p, &id, NULL, NULL, ST_CLOSED, NULL);
		return;
	}
	draft_reset(d);
	st = draft_json(d, w->conf, now_ms, msg, ours);
	if (st == ST_OK && d->topic.n == 0) {
		st = ST_BAD_ARG;
		snprintf(d->why, sizeof(d->why), "\"topic\" is missing");
	}
	if (st != ST_OK) {
		ws_error(p, &id, NULL, NULL, st, d->why);
		return;
	}
	struct publish *q = mem_new(sizeof(*q));
	q->magic = WS_PUB_MAGIC;
	q->peer = p;
	q->id = id;
	/* The engine would make an id, but it would not tell us which. */
	snprintf(q->message_id, sizeof(q->message_id), "%08X%08X%016llX", w->conf->advertised_ip, w->uniq_counter++,
		 (unsigned long long)w->uniq_random);
	props_put(&d->props, SLICE_LIT("UNIQ_KEY"), slice_str(q->message_id));
	draft_send(d, w->conf, now_ms, &q->send);
	q->send.ask.done = published;
	q->send.actor = &p->actor;
	ws_peer_hold(p);
	p->publishing++;
	engine_send(w->engine, &q->send);
}
