/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The JSON protocol's connections (docs/websocket.md): one message, one JSON object with a "type". What is wrong with a request is answered; what is
 * not JSON, or no object with a type, ends the connection.
 *
 *   open     messages are served
 *   paused   too many publishes are under way, or the client does not read what it is sent
 *   closing  bye was sent, the carrier was asked to close: nothing is sent or served any more
 *   closed   stream is NULL: subscriptions close, which gives back what was not settled; what is under way ends unheard
 */
#include "front/websocket/ws.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/utf.h"

struct conn {
	struct ws_peer *peer;
};

enum { CLOSE_AWAY = 1001, CLOSE_PROTOCOL = 1002, CLOSE_PAYLOAD = 1007, DETAIL_MAX = 160 };

/* ---- Lives ------------------------------------------------------------------------------------------------------------------ */

void ws_peer_hold(struct ws_peer *p)
{
	CHECK(p->refs > 0);
	p->refs++;
}

void ws_peer_drop(struct ws_peer *p)
{
	struct ws *w = p->front;

	CHECK_OBJ(p, WS_PEER_MAGIC);
	CHECK(p->refs > 0);
	if (--p->refs > 0)
		return;
	CHECK(p->stream == NULL && p->n_subs == 0 && p->publishing == 0 && p->calls == 0 && list_empty(&p->subs));
	p->magic = 0;
	mem_free(p->text);
	mem_free(p);
	w->n_peers--;
	ws_settled(w);
}

void ws_peer_bye(struct ws_peer *p, enum status st, uint16_t code, bool reconnect, const char *why)
{
	struct buf *b;

	CHECK_OBJ(p, WS_PEER_MAGIC);
	if (!ws_peer_open(p))
		return;
	b = ws_begin(p, "bye");
	ws_put_text(b, "code", slice_str(status_name(st)));
	ws_put_text(b, "detail", slice_str(why));
	buf_str(b, reconnect ? ",\"reconnect\":true" : ",\"reconnect\":false");
	if (reconnect)
		ws_put_number(b, "retryAfter", WS_RETRY_AFTER_MS);
	ws_end(p, b);
	p->closing = true;
	stream_close(p->stream, code, why);
}

void ws_peer_flow(struct ws_peer *p)
{
	struct ws *w = p->front;

	CHECK_OBJ(p, WS_PEER_MAGIC);
	if (!ws_peer_open(p))
		return;
	if (w->stopped != NULL && p->publishing == 0 && p->calls == 0 && p->n_subs == 0) {
		ws_peer_bye(p, ST_CLOSED, CLOSE_AWAY, true, "the server is shutting down");
		return;
	}
	uint32_t most = w->conf->max_requests;
	bool full = stream_room(p->stream) == 0;
	if (!p->paused && (full || p->publishing >= most)) {
		p->paused = true;
		stream_pause(p->stream, true);
	} else if (p->paused && !full && p->publishing <= most / 2) {
		p->paused = false;
		stream_pause(p->stream, false);
	}
}

static void opened(void *conn, void *front, struct stream *out, const struct stream_info *info)
{
	struct ws *w = front;
	struct ws_peer *p = mem_new(sizeof(*p));
	size_t a = info->peer.n, i = info->tls_identity.n;
	struct buf *b;

	CHECK_OBJ(w, WS_MAGIC);
	p->magic = WS_PEER_MAGIC;
	p->front = w;
	p->stream = out;
	p->refs = 1;
	list_init(&p->subs);
	p->text = mem_new(a + i + 1);
	if (a > 0)
		memcpy(p->text, info->peer.p, a);
	if (i > 0)
		memcpy(p->text + a, info->tls_identity.p, i);
	p->actor = (struct actor){"websocket", slice_of(p->text + a, i), slice_of(p->text, a)};
	list_push(&w->peers, &p->link);
	w->n_peers++;
	w->n.opened++;
	((struct conn *)conn)->peer = p;
	log_trace(w->log, "websocket", "peer=%s opened", p->text);
	b = ws_begin(p, "welcome");
	buf_str(b, ",\"server\":\"gantry\",\"version\":1");
	ws_put_number(b, "maxMessage", w->conf->ws_max_message);
	ws_put_number(b, "maxSubscriptions", w->conf->ws_max_subs);
	ws_put_number(b, "maxCredit", w->conf->ws_max_credit);
	ws_put_number(b, "ping", w->conf->ws_ping_ms);
	ws_end(p, b);
	ws_peer_flow(p);
}

static void closed(void *conn, enum status why)
{
	struct ws_peer *p = ((struct conn *)conn)->peer;

	CHECK_OBJ(p, WS_PEER_MAGIC);
	log_trace(p->front->log, "websocket", "peer=%s closed status=%s", p->text, status_name(why));
	p->stream = NULL;
	list_remove(&p->link);
	LIST_EACH_SAFE(&p->subs, n, t)
		ws_sub_close(container_of(n, struct ws_sub, link));
	((struct conn *)conn)->peer = NULL;
	ws_peer_drop(p);
}

static void drained(void *conn)
{
	struct ws_peer *p = ((struct conn *)conn)->peer;

	CHECK_OBJ(p, WS_PEER_MAGIC);
	LIST_EACH_SAFE(&p->subs, n, t)
		ws_sub_flow(container_of(n, struct ws_sub, link));
	ws_peer_flow(p);
}

/* ---- What is sent -------------------------------------------------------------------------------------------------------------- */

struct buf *ws_begin(struct ws_peer *p, const char *type)
{
	struct buf *b = &p->front->out;

	buf_reset(b);
	buf_str(b, "{\"type\":\"");
	buf_str(b, type);
	buf_u8(b, '"');
	return b;
}

static void put_name(struct buf *b, const char *name)
{
	buf_str(b, ",\"");
	buf_str(b, name);
	buf_str(b, "\":");
}

void ws_put_id(struct buf *b, const struct ws_id *id)
{
	if (id == NULL || id->n == 0)
		return;
	put_name(b, "id");
	buf_put(b, id->text, id->n);
}

void ws_put_text(struct buf *b, const char *name, struct slice v)
{
	put_name(b, name);
	buf_json_str(b, v);
}

void ws_put_number(struct buf *b, const char *name, uint64_t v)
{
	put_name(b, name);
	buf_u64_dec(b, v);
}

void ws_end(struct ws_peer *p, struct buf *b)
{
	buf_u8(b, '}');
	if (ws_peer_open(p))
		stream_put(p->stream, buf_view(b));
}

/* Would the same request, sent later, perhaps be served? */
static bool worth_a_retry(enum status st)
{
	return st == ST_BUSY || st == ST_DISK_FULL || st == ST_IO || st == ST_CLOSED || st == ST_TIMEOUT;
}

void ws_put_status(struct buf *b, enum status st, const char *detail)
{
	ws_put_text(b, "code", slice_str(status_name(st)));
	ws_put_number(b, "status", front_statuses[st].http);
	ws_put_text(b, "detail", slice_str(detail != NULL && detail[0] != '\0' ? detail : status_text(st)));
	buf_str(b, worth_a_retry(st) ? ",\"retry\":true" : ",\"retry\":false");
}

void ws_error(struct ws_peer *p, const struct ws_id *id, const struct ws_sub *s, const uint64_t *seq, enum status st, const char *detail)
{
	struct buf *b = ws_begin(p, "error");

	p->front->n.errors++;
	ws_put_id(b, id);
	if (s != NULL) {
		put_name(b, "sub");
		buf_slice(b, s->name);
	}
	if (seq != NULL)
		ws_put_number(b, "seq", *seq);
	ws_put_status(b, st, detail);
	ws_end(p, b);
}

/* ---- What is read --------------------------------------------------------------------------------------------------------------- */

bool ws_get_id(struct ws_peer *p, const json_t *msg, struct ws_id *ret)
{
	const json_t *v = json_object_get(msg, "id");
	struct buf text = {.max = WS_ID_MAX};
	bool good = true;

	ret->n = 0;
	if (v == NULL)
		return true;
	if (json_is_string(v))
		buf_json_str(&text, slice_of(json_string_value(v), json_string_length(v)));
	else if (json_is_integer(v))
		buf_i64_dec(&text, json_integer_value(v));
	else
		good = false;
	if (good && !text.over) {
		memcpy(ret->text, text.p, text.n);
		ret->n = (uint32_t)text.n;
	} else {
		good = false;
		ws_error(p, NULL, NULL, NULL, ST_BAD_ARG, "\"id\" is a short text or a whole number");
	}
	buf_fini(&text);
	return good;
}

bool ws_only(struct ws_peer *p, const json_t *msg, const struct ws_id *id, const char *const *known)
{
	const char *name;
	json_t *v;
	char why[DETAIL_MAX];

	json_object_foreach((json_t *)(uintptr_t)msg, name, v) {
		bool found = strcmp(name, "type") == 0 || strcmp(name, "id") == 0;
		for (size_t i = 0; known[i] != NULL && !found; i++)
			found = strcmp(name, known[i]) == 0;
		if (found)
			continue;
		snprintf(why, sizeof(why), "member \"%.60s\" is not known here", name);
		ws_error(p, id, NULL, NULL, ST_BAD_ARG, why);
		return false;
	}
	return true;
}

static void ping(struct ws_peer *p, const json_t *msg)
{
	struct ws_id id;
	struct buf *b;

	if (!ws_get_id(p, msg, &id))
		return;
	b = ws_begin(p, "pong");
	ws_put_id(b, &id);
	ws_end(p, b);
}

static const struct verb {
	const char *type;
	void (*serve)(struct ws_peer *, const json_t *);
} verbs[] = {
	{"publish", ws_publish}, {"subscribe", ws_subscribe}, {"ack", ws_ack}, {"nack", ws_nack}, {"extend", ws_extend}, {"credit", ws_credit},
	{"unsubscribe", ws_unsubscribe}, {"ping", ping},
};

static void serve(struct ws_peer *p, const json_t *msg)
{
	const char *type = json_string_value(json_object_get(msg, "type"));
	char why[DETAIL_MAX];
	struct ws_id id;

	if (type == NULL) {
		p->front->n.malformed++;
		ws_peer_bye(p, ST_PROTO, CLOSE_PROTOCOL, false, "a message is a JSON object with a type");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (strcmp(verbs[i].type, type) == 0) {
			verbs[i].serve(p, msg);
			return;
		}
	}
	if (!ws_get_id(p, msg, &id))
		return;
	snprintf(why, sizeof(why), "type \"%.60s\" is not known", type);
	ws_error(p, &id, NULL, NULL, ST_BAD_ARG, why);
}

static ptrdiff_t input(void *conn, struct slice bytes)
{
	struct ws_peer *p = ((struct conn *)conn)->peer;
	json_error_t err;
	json_t *msg;

	CHECK_OBJ(p, WS_PEER_MAGIC);
	if (p->closing)
		return (ptrdiff_t)bytes.n;
	if (bytes.n > p->front->conf->ws_max_message) {
		ws_peer_bye(p, ST_TOO_BIG, front_statuses[ST_TOO_BIG].ws_close, false, "the message is over maxMessage");
		return (ptrdiff_t)bytes.n;
	}
	if (!json_bounded(bytes, JSON_VALUES_MAX)) {
		ws_peer_bye(p, ST_TOO_BIG, front_statuses[ST_TOO_BIG].ws_close, false, "the message has too many JSON values");
		return (ptrdiff_t)bytes.n;
	}
	msg = json_loadb((const char *)bytes.p, bytes.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &err);
	if (msg == NULL) {
		p->front->n.malformed++;
		ws_peer_bye(p, ST_PROTO, CLOSE_PAYLOAD, false, utf8_valid(bytes) ? "the message is not JSON" : "the message is not UTF-8");
		return (ptrdiff_t)bytes.n;
	}
	serve(p, msg);
	json_decref(msg);
	ws_peer_flow(p);
	return (ptrdiff_t)bytes.n;
}

const struct stream_ops ws_json_stream = {
	.name = "ws-json",
	.framed = true,
	.conn_size = sizeof(struct conn),
	.opened = opened,
	.input = input,
	.drained = drained,
	.closed = closed,
};
