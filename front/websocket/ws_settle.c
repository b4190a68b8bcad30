/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Settling what a group's member was given: ack, nack (again later, or rejected) and extend, of one delivery, of several, or of all up to one.
 *
 * Each delivery that is settled returns one credit to its subscription, also when its lease had run out: the place is free either way. A request with
 * an id is answered when all of it is done; what could not be settled is told in any case.
 */
#include "front/websocket/ws.h"

#include "base/mem.h"

enum { AFTER_MAX_MS = 40 * 24 * 3600 * 1000LL };

struct call;
struct one {
	struct engine_settle settle;
	struct call *call;
	uint64_t seq;
};
/* A request of the client's, or (quiet) one of our own. */
struct call {
	uint32_t magic;
	struct ws_sub *sub;
	struct ws_id id;
	bool quiet;
	uint32_t n, left, good;
	struct one v[];
};

struct ws_lease *ws_lease_new(struct ws_sub *s, uint64_t tag)
{
	struct ws_lease *l = mem_new(sizeof(*l));

	l->tag = tag;
	l->seq = ++s->seq;
	list_push(&s->leases, &l->link);
	CHECK(u64map_put(&s->by_seq, l->seq, l) == NULL);
	s->unsettled++;
	return l;
}

void ws_lease_drop(struct ws_sub *s, struct ws_lease *l)
{
	CHECK(u64map_drop(&s->by_seq, l->seq) == l && s->unsettled > 0);
	s->unsettled--;
	list_remove(&l->link);
	mem_free(l);
}

/* ---- Asking the engine ------------------------------------------------------------------------------------------------------------- */

static void call_done(struct call *c)
{
	struct ws_sub *s = c->sub;
	struct ws_peer *p = s->peer;

	if (c->id.n > 0) {
		struct buf *b = ws_begin(p, "settled");
		ws_put_id(b, &c->id);
		buf_str(b, ",\"sub\":");
		buf_slice(b, s->name);
		ws_put_number(b, "count", c->good);
		ws_put_number(b, "failed", c->n - c->good);
		ws_end(p, b);
	}
	c->magic = 0;
	mem_free(c);
	p->calls--;
	s->settling--;
	ws_sub_free_if_over(s);
	ws_peer_flow(p);
	ws_peer_drop(p);
}

static void one_done(struct engine_ask *a, enum status st)
{
	struct one *o = container_of(container_of(a, struct engine_settle, ask), struct one, settle);
	struct call *c = o->call;
	struct ws_sub *s = c->sub;
	struct ws_lease *l = c->quiet ? NULL : u64map_get(&s->by_seq, o->seq);

	CHECK_OBJ(c, WS_CALL_MAGIC);
	c->good += st == ST_OK;
	if (l != NULL) {
		l->busy = false;
		if (st == ST_GONE || (st == ST_OK && o->settle.how != SETTLE_EXTEND)) {
			ws_lease_drop(s, l);
			s->wanted++;
			ws_sub_flow(s);
		}
	}
	if (st != ST_OK && !c->quiet)
		ws_error(s->peer, &c->id, s, &o->seq, st, NULL);
	if (--c->left == 0)
		call_done(c);
}

static struct call *call_new(struct ws_sub *s, const struct ws_id *id, uint32_t n)
{
	struct call *c = mem_new(sizeof(*c) + n * sizeof(c->v[0]));

	c->magic = WS_CALL_MAGIC;
	c->sub = s;
	c->id = *id;
	ws_peer_hold(s->peer);
	s->peer->calls++;
	s->settling++;
	return c;
}

static void add(struct call *c, uint64_t seq, uint64_t tag, enum settle how, int64_t after_ms)
{
	struct one *o = &c->v[c->n++];

	o->call = c;
	o->seq = seq;
	o->settle.ask.done = one_done;
	o->settle.sub = &c->sub->sub;
	o->settle.tag = tag;
	o->settle.how = how;
	o->settle.after_ms = after_ms;
}

static void go(struct call *c)
{
	struct engine *e = c->sub->peer->front->engine;
	uint32_t n = c->left = c->n;

	if (n == 0) {
		call_done(c);
		return;
	}
	/* The last answer frees the call, but none comes from inside the asking. */
	for (uint32_t i = 0; i < n; i++)
		engine_settle(e, &c->v[i].settle);
}

void ws_settle_quietly(struct ws_sub *s, uint64_t tag, enum settle how)
{
	static const struct ws_id none;
	struct call *c = call_new(s, &none, 1);

	c->quiet = true;
	add(c, 0, tag, how, -1);
	go(c);
}

/* ---- Which of them ---------------------------------------------------------------------------------------------------------------------- */

static void add_lease(struct call *c, struct ws_lease *l, enum settle how, int64_t after_ms)
{
	l->busy = true;
	add(c, l->seq, l->tag, how, after_ms);
}

static void add_seq(struct call *c, const json_t *v, enum settle how, int64_t after_ms)
{
	bool number = json_is_integer(v) && json_integer_value(v) >= 0;
	uint64_t seq = number ? (uint64_t)json_integer_value(v) : 0;
	struct ws_lease *l = number ? u64map_get(&c->sub->by_seq, seq) : NULL;

	if (l != NULL && !l->busy)
		add_lease(c, l, how, after_ms);
	else if (number)
		ws_error(c->sub->peer, &c->id, c->sub, &seq, ST_GONE,
			 l != NULL ? "this message is being settled" : "there is no such message under way");
	else
		ws_error(c->sub->peer, &c->id, c->sub, NULL, ST_BAD_ARG, "a message is named by its seq");
}

/* One of "seq", "seqs" and "upTo" says which messages are meant. */
static void settle(struct ws_peer *p, const json_t *msg, const struct ws_id *id, enum settle how, int64_t after_ms)
{
	const json_t *seq = json_object_get(msg, "seq"), *seqs = json_object_get(msg, "seqs"), *up_to = json_object_get(msg, "upTo");
	struct ws_sub *s = ws_sub_named(p, msg, id);
	json_t *v;
	size_t i;

	if (s == NULL)
		return;
	if (!s->group || (seq != NULL) + (seqs != NULL) + (up_to != NULL) != 1 || (seqs != NULL && !json_is_array(seqs)) ||
	    (seqs != NULL && json_array_size(seqs) > p->front->conf->ws_max_credit) || (up_to != NULL && !json_is_integer(up_to))) {
		ws_error(p, id, s, NULL, ST_BAD_ARG, !s->group ? "only a group's messages are settled"
							       : "one of \"seq\", \"seqs\" and \"upTo\" says which messages are meant");
		return;
	}
	struct call *c = call_new(s, id, seqs != NULL ? (uint32_t)json_array_size(seqs) : up_to != NULL ? s->unsettled : 1);
	if (seq != NULL)
		add_seq(c, seq, how, after_ms);
	json_array_foreach(seqs, i, v)
		add_seq(c, v, how, after_ms);
	if (up_to != NULL) {
		LIST_EACH(&s->leases, n) {
			struct ws_lease *l = container_of(n, struct ws_lease, link);
			if (json_integer_value(up_to) < 0 || l->seq > (uint64_t)json_integer_value(up_to))
				break;
			if (!l->busy)
				add_lease(c, l, how, after_ms);
		}
	}
	go(c);
}

/* A duration, or 'fallback' where there is none; false: it is something else. */
static bool duration(const json_t *v, int64_t fallback, int64_t *ret)
{
	int64_t ms = fallback;
	bool good = v == NULL || json_is_integer(v);

	if (json_is_string(v))
		good = duration_parse(slice_of(json_string_value(v), json_string_length(v)), &ms);
	else if (json_is_integer(v))
		ms = json_integer_value(v);
	if (!good || (v != NULL && (ms < 0 || ms > AFTER_MAX_MS)))
		return false;
	*ret = ms;
	return true;
}

void ws_ack(struct ws_peer *p, const json_t *msg)
{
	static const char *const known[] = {"sub", "seq", "seqs", "upTo", NULL};
	struct ws_id id;

	if (!ws_get_id(p, msg, &id) || !ws_only(p, msg, &id, known))
		return;
	p->front->n.acks++;
	settle(p, msg, &id, SETTLE_ACK, 0);
}

void ws_nack(struct ws_peer *p, const json_t *msg)
{
	static const char *const known[] = {"sub", "seq", "seqs", "upTo", "delay", "reject", NULL};
	const json_t *reject = json_object_get(msg, "reject");
	struct ws_id id;
	int64_t after;

	if (!ws_get_id(p, msg, &id) || !ws_only(p, msg, &id, known))
		return;
	if (!duration(json_object_get(msg, "delay"), -1, &after) || (reject != NULL && !json_is_boolean(reject))) {
		ws_error(p, &id, NULL, NULL, ST_BAD_ARG, "\"delay\" must be a duration, and \"reject\" true or false");
		return;
	}
	p->front->n.nacks++;
	settle(p, msg, &id, json_is_true(reject) ? SETTLE_REJECT : SETTLE_RETRY, after);
}

void ws_extend(struct ws_peer *p, const json_t *msg)
{
	static const char *const known[] = {"sub", "seq", "seqs", "upTo", "lease", NULL};
	struct ws_id id;
	int64_t lease;

	if (!ws_get_id(p, msg, &id) || !ws_only(p, msg, &id, known))
		return;
	if (!duration(json_object_get(msg, "lease"), (int64_t)p->front->conf->lease_ms, &lease) || lease == 0) {
		ws_error(p, &id, NULL, NULL, ST_BAD_ARG, "\"lease\" must be a duration");
		return;
	}
	settle(p, msg, &id, SETTLE_EXTEND, lease);
}
