/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Subscriptions: of a group (each message is leased until the client settles it) or a tap (ephemeral, every message to everyone).
 *
 * Credit is the client's promise to take so many messages. It is not handed to the engine at once but in small windows, as the connection takes what
 * is queued: a client that promises much and reads nothing has a few frames waiting, whatever it promised, and what is large beside them comes later
 * (ws_late.c). Settling returns one credit in a group; a tap gets more by "credit", or by itself where it asked for "auto".
 */
#include "front/websocket/ws.h"

#include <stdio.h>

#include "base/mem.h"

enum { FRAME_GUESS = 24 << 10 }; /* before the first one is seen they come one by one: a window of large ones would be megabytes for a client that reads nothing */

/* ---- Lives -------------------------------------------------------------------------------------------------------------------- */

void ws_sub_free_if_over(struct ws_sub *s)
{
	struct ws_peer *p = s->peer;
	struct list *n;

	CHECK_OBJ(s, WS_SUB_MAGIC);
	if (!s->over || s->settling > 0 || s->viewing)
		return;
	while ((n = list_pop(&s->leases)) != NULL)
		mem_free(container_of(n, struct ws_lease, link));
	u64map_fini(&s->by_seq);
	ws_open_free(s->opening);
	mem_free((void *)(uintptr_t)s->name.p);
	s->magic = 0;
	mem_free(s);
	ws_peer_flow(p);
	ws_peer_drop(p);
}

/* Nothing will be delivered any more: the name is free for another. */
static void over(struct ws_sub *s)
{
	CHECK(!s->over);
	s->over = true;
	list_remove(&s->hungry);
	list_remove(&s->link);
	s->peer->n_subs--;
	ws_sub_free_if_over(s);
}

static void ended(struct engine_sub *e, enum status why)
{
	struct ws_sub *s = container_of(e, struct ws_sub, sub);
	struct ws_peer *p = s->peer;

	CHECK_OBJ(s, WS_SUB_MAGIC);
	if (ws_peer_open(p)) {
		struct buf *b = ws_begin(p, s->closed_by_client ? "unsubscribed" : "ended");
		buf_str(b, ",\"sub\":");
		buf_slice(b, s->name);
		if (!s->closed_by_client)
			ws_put_status(b, why, NULL);
		ws_end(p, b);
	}
	over(s);
}

void ws_sub_failed(struct ws_sub *s, enum status st, const char *detail)
{
	CHECK_OBJ(s, WS_SUB_MAGIC);
	if (s->state != SUB_ENDING || !s->closed_by_client) {
		struct ws_id id = {.n = (uint32_t)s->name.n};
		memcpy(id.text, s->name.p, s->name.n);
		ws_error(s->peer, &id, s, NULL, st, detail);
	} else {
		struct buf *b = ws_begin(s->peer, "unsubscribed");
		buf_str(b, ",\"sub\":");
		buf_slice(b, s->name);
		ws_end(s->peer, b);
	}
	over(s);
}

void ws_sub_close(struct ws_sub *s)
{
	CHECK_OBJ(s, WS_SUB_MAGIC);
	if (s->state == SUB_ENDING)
		return;
	bool asking = s->state == SUB_ASKING;
	s->state = SUB_ENDING;
	/* While it asks, the answer finds that it is ending; once the engine has it, ended() follows. */
	if (!asking)
		engine_sub_close(s->peer->front->engine, &s->sub);
}

void ws_sub_opened(struct ws_sub *s, struct slice cursor)
{
	struct ws_peer *p = s->peer;

	CHECK_OBJ(s, WS_SUB_MAGIC);
	if (s->state == SUB_ENDING) {
		engine_sub_close(p->front->engine, &s->sub);
		return;
	}
	s->state = SUB_OPEN;
	if (ws_peer_open(p)) {
		struct buf *b = ws_begin(p, "subscribed");
		buf_str(b, ",\"id\":");
		buf_slice(b, s->name);
		if (!s->group)
			ws_put_text(b, "cursor", cursor);
		ws_end(p, b);
	}
	ws_sub_flow(s);
}

/* ---- Credit and delivery --------------------------------------------------------------------------------------------------------- */

void ws_sub_flow(struct ws_sub *s)
{
	struct ws_peer *p = s->peer;

	CHECK_OBJ(s, WS_SUB_MAGIC);
	if (s->state != SUB_OPEN || !ws_peer_open(p) || list_linked(&s->hungry))
		return;
	if (s->n_late > 0) {
		ws_late_next(s);
		return;
	}
	uint64_t wanted = s->automatic ? WS_WINDOW_MAX : s->wanted;
	if (wanted == 0 || s->under_way > WS_WINDOW_MAX / 2)
		return;
	size_t room = stream_room(p->stream);
	if (room == 0)
		return; /* drained() comes */
	uint64_t window = u64_min(u64_max(room / s->frame_bytes / p->n_subs, 1), WS_WINDOW_MAX);
	if (window <= s->under_way)
		return;
	uint32_t more = (uint32_t)u64_min(wanted, window - s->under_way);
	if (!s->automatic)
		s->wanted -= more;
	s->under_way += more;
	engine_sub_credit(p->front->engine, &s->sub, more);
}

/* A delivery that the client does not see costs it nothing. */
static void skip(struct ws_sub *s, const struct delivery *d, enum settle how)
{
	if (!s->automatic)
		s->wanted++;
	if (s->group)
		ws_settle_quietly(s, d->tag, how);
	ws_sub_flow(s);
}

void ws_sub_send(struct ws_sub *s, const struct message *m, const struct delivery *d)
{
	struct ws_peer *p = s->peer;
	struct ws *w = p->front;
	struct piece piece = d != NULL ? ws_frame_own(w, s, m, d, ws_lease_new(s, d->tag)->seq) : ws_frame_shared(w, s, m, m->r.topic);

	s->frame_bytes = (uint32_t)u64_max(piece.bytes.n, s->frame_bytes - s->frame_bytes / 8);
	w->n.delivered++;
	stream_send(p->stream, &piece, 1);
}

static void deliver(struct engine_sub *e, const struct delivery *d)
{
	struct ws_sub *s = container_of(e, struct ws_sub, sub);
	struct ws_peer *p = s->peer;
	struct ws *w = p->front;
	struct message m;

	CHECK_OBJ(s, WS_SUB_MAGIC);
	CHECK(s->under_way > 0);
	s->under_way--;
	if (s->state != SUB_OPEN || !ws_peer_open(p))
		return; /* it is closed already: given back with the subscription */
	if (message_read(d->record, &m) != ST_OK) {
		log_error(w->log, "websocket", "topic=%.*s queue=%d offset=%llu event=unreadable", (int)d->topic.n, (const char *)d->topic.p,
			  d->queue, (unsigned long long)d->offset);
		skip(s, d, SETTLE_RETRY);
		return;
	}
	if (message_expired(&m, clock_wall_ms(w->clock))) {
		w->n.expired++;
		skip(s, d, SETTLE_ACK);
		return;
	}
	/* What another subscription of the connection reads again came before: else it would find the room taken each time. */
	bool turn = s->group || (s->n_late == 0 && (p->viewing == 0 || d->record.n <= WS_SMALL));
	bool room = turn && ws_late_room(s, d->record.n);
	if (room) {
		ws_sub_send(s, &m, s->group ? d : NULL);
		ws_sub_flow(s);
	} else if (!s->group) {
		ws_late_put(s, m.r.position, d->record.n);
		if (!turn)
			ws_sub_flow(s);
	} else {
		/* Perhaps another member of the group has room. */
		s->wanted++;
		ws_settle_quietly(s, d->tag, SETTLE_RELEASE);
	}
}

/* ---- Requests ----------------------------------------------------------------------------------------------------------------------- */

static struct ws_sub *find(const struct ws_peer *p, struct slice name)
{
	LIST_EACH(&p->subs, n) {
		struct ws_sub *s = container_of(n, struct ws_sub, link);
		if (slice_eq(s->name, name))
			return s;
	}
	return NULL;
}

/* A subscription's name as JSON text. */
static bool name_text(const json_t *v, struct buf *ret)
{
	struct slice t = slice_of(json_string_value(v), json_string_length(v));

	if (!json_is_string(v) || t.n == 0 || t.n > WS_NAME_MAX)
		return false;
	ret->max = WS_ID_MAX;
	buf_json_str(ret, t);
	return !ret->over;
}

struct ws_sub *ws_sub_named(struct ws_peer *p, const json_t *msg, const struct ws_id *id)
{
	const json_t *v = json_object_get(msg, "sub");
	struct ws_sub *s = NULL;
	struct buf name = {0};

	if (!name_text(v, &name))
		ws_error(p, id, NULL, NULL, ST_BAD_ARG, "\"sub\" must be the name of a subscription");
	else if ((s = find(p, buf_view(&name))) == NULL)
		ws_error(p, id, NULL, NULL, ST_NOT_SUBSCRIBED, "there is no subscription of this name");
	buf_fini(&name);
	return s;
}

static bool read_credit(struct ws_sub *s, const json_t *msg, const char **ret_why)
{
	const json_t *v = json_object_get(msg, "credit");
	json_int_t max = s->peer->front->conf->ws_max_credit;

	if (json_is_string(v) && strcmp(json_string_value(v), "auto") == 0 && !s->group) {
		s->automatic = true;
		return true;
	}
	*ret_why = s->group ? "\"credit\" must be a number up to maxCredit" : "\"credit\" must be a number up to maxCredit, or \"auto\"";
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max)
		return false;
	s->wanted = (uint32_t)json_integer_value(v);
	return true;
}

void ws_subscribe(struct ws_peer *p, const json_t *msg)
{
	static const char *const known[] = {"topic", "group", "tag", "from", "credit", "lease", NULL};
	struct ws *w = p->front;
	struct buf name = {0};
	const char *why = NULL;
	struct ws_id id;
	enum status st;

	if (!ws_get_id(p, msg, &id) || !ws_only(p, msg, &id, known))
		return;
	if (!name_text(json_object_get(msg, "id"), &name)) {
		st = ST_BAD_ARG;
		why = "\"id\" must be a text of at most 64 bytes: the subscription's name";
	} else if (find(p, buf_view(&name)) != NULL) {
		st = ST_EXISTS;
		why = "there is a subscription of this name already";
	} else if (p->n_subs >= w->conf->ws_max_subs) {
		st = ST_BUSY;
		why = "the connection has as many subscriptions as it may";
	} else {
		st = w->draining ? ST_CLOSED : ST_OK;
	}
	if (st != ST_OK) {
		ws_error(p, &id, NULL, NULL, st, why);
		buf_fini(&name);
		return;
	}
	struct ws_sub *s = mem_new(sizeof(*s));
	s->magic = WS_SUB_MAGIC;
	s->peer = p;
	s->name = slice_of(mem_dup(name.p, name.n), name.n);
	s->frame_bytes = FRAME_GUESS;
	s->sub.deliver = deliver;
	s->sub.ended = ended;
	list_init(&s->leases);
	list_init(&s->hungry);
	list_push(&p->subs, &s->link);
	p->n_subs++;
	ws_peer_hold(p);
	buf_fini(&name);
	s->group = json_object_get(msg, "group") != NULL;
	st = read_credit(s, msg, &why) ? ws_open_read(s, msg, &why) : ST_BAD_ARG;
	if (st != ST_OK)
		ws_sub_failed(s, st, why);
	else
		ws_open_go(s);
}

void ws_unsubscribe(struct ws_peer *p, const json_t *msg)
{
	static const char *const known[] = {"sub", NULL};
	struct ws_sub *s;
	struct ws_id id;

	if (!ws_get_id(p, msg, &id) || !ws_only(p, msg, &id, known) || (s = ws_sub_named(p, msg, &id)) == NULL)
		return;
	s->closed_by_client = true;
	ws_sub_close(s);
}

void ws_credit(struct ws_peer *p, const json_t *msg)
{
	static const char *const known[] = {"sub", "more", NULL};
	const json_t *v = json_object_get(msg, "more");
	uint64_t max = p->front->conf->ws_max_credit;
	struct ws_sub *s;
	struct ws_id id;

	if (!ws_get_id(p, msg, &id) || !ws_only(p, msg, &id, known) || (s = ws_sub_named(p, msg, &id)) == NULL)
		return;
	json_int_t more = json_integer_value(v);
	if (!json_is_integer(v) || more <= 0 || s->automatic) {
		ws_error(p, &id, s, NULL, ST_BAD_ARG, s->automatic ? "this subscription's credit is \"auto\"" : "\"more\" must be a number above 0");
		return;
	}
	if ((uint64_t)more > max || s->wanted + s->under_way + s->n_late + s->unsettled + (uint64_t)more > max) {
		ws_error(p, &id, s, NULL, ST_BAD_ARG, "that would be more than maxCredit");
		return;
	}
	s->wanted += (uint32_t)more;
	ws_sub_flow(s);
}
