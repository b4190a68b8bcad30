/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Calls: a request under way, from its decoding to its answer. A call that is not under way stands in the front's free list with its magic
 * cleared. Answers are built in the front's scratch buffer, copied once into the stream, and may go out in any order.
 */
#include "front/native/nat.h"

struct nat_call *nat_call_new(struct nat_peer *p, const struct wire_cmd *cmd)
{
	CHECK_OBJ(p, NAT_PEER_MAGIC);
	struct nat *f = p->front;
	struct list *free = list_pop(&f->idle);
	struct nat_call *c;

	if (free != NULL) {
		f->n_idle--;
		c = container_of(free, struct nat_call, link);
		CHECK(c->magic == 0);
	} else {
		c = mem_new(sizeof(*c));
	}
	c->magic = NAT_CALL_MAGIC;
	c->front = f;
	c->peer = p;
	c->code = cmd->code;
	c->opaque = cmd->opaque;
	c->form = cmd->form;
	c->oneway = wire_is_oneway(cmd);
	c->waits = false;
	c->note_n = 0;
	list_push(&p->calls, &c->link);
	p->busy++;
	nat_peer_hold(p);
	return c;
}

void nat_note(struct nat_call *c, struct slice what)
{
	CHECK_OBJ(c, NAT_CALL_MAGIC);
	c->note_n = (uint8_t)u64_min(what.n, NAT_NOTE_SIZE);
	if (c->note_n > 0)
		memcpy(c->note, what.p, c->note_n);
}

void nat_note_pair(struct nat_call *c, struct slice topic, struct slice group)
{
	nat_note(c, topic);
	size_t room = NAT_NOTE_SIZE - c->note_n;

	if (room == 0)
		return;
	c->note[c->note_n++] = '@';
	size_t n = u64_min(group.n, room - 1);
	if (n > 0)
		memcpy(c->note + c->note_n, group.p, n);
	c->note_n = (uint8_t)(c->note_n + n);
}

void nat_drop(struct nat_call *c)
{
	CHECK_OBJ(c, NAT_CALL_MAGIC);
	struct nat_peer *p = c->peer;
	struct nat *f = c->front;

	CHECK_OBJ(p, NAT_PEER_MAGIC);
	list_remove(&c->link);
	if (c->waits)
		p->waits--;
	else
		p->busy--;
	c->magic = 0;
	c->peer = NULL;
	if (f->n_idle < NAT_IDLE_CALLS_MAX) {
		list_push_front(&f->idle, &c->link);
		f->n_idle++;
	} else {
		mem_free(c);
	}
	nat_peer_flow(p);
	nat_peer_drop(p);
}

bool nat_wanted(const struct nat_call *c)
{
	CHECK_OBJ(c, NAT_CALL_MAGIC);
	return !c->oneway && c->peer->stream != NULL && !c->peer->closing;
}

const struct wire_cmd *nat_echo(struct nat_call *c)
{
	struct wire_cmd *e = &c->front->echo;

	e->code = c->code;
	e->opaque = c->opaque;
	e->form = c->form;
	return e;
}

/* Scratch that one large answer has blown up is not kept for ever. */
static struct buf *scratch(struct buf *b)
{
	if (b->cap > NAT_SCRATCH_KEEP)
		buf_fini(b);
	else
		buf_reset(b);
	return b;
}

struct buf *nat_body(struct nat_call *c)
{
	CHECK_OBJ(c, NAT_CALL_MAGIC);
	return scratch(&c->front->body);
}

/* A finished answer that waits at the gate; its call is still under way. */
struct held {
	struct front_wait wait;
	struct nat_call *call;
	size_t n;
	uint8_t bytes[];
};

static void put_out(struct nat_call *c, struct slice answer)
{
	c->front->n.answers++;
	c->peer->active = true;
	stream_put(c->peer->stream, answer);
	nat_drop(c);
}

static void let_go(struct front_wait *w)
{
	struct held *h = container_of(w, struct held, wait);

	if (nat_wanted(h->call))
		put_out(h->call, slice_of(h->bytes, h->n));
	else
		nat_drop(h->call);
	mem_free(h);
}

/* Does the answer to such a request tell of a topic that it may have made? *ret_topic: of which, empty when it may be several. */
static bool tells_of_topic(const struct nat_call *c, struct slice *ret_topic)
{
	switch (c->code) {
	case REQ_SEND_MESSAGE:
	case REQ_SEND_MESSAGE_V2:
	case REQ_SEND_BATCH_MESSAGE:
	case REQ_UPDATE_AND_CREATE_TOPIC:
		*ret_topic = slice_of(c->note, c->note_n);
		return true;
	case REQ_HEART_BEAT: /* makes the retry topics of its groups */
	case REQ_UPDATE_AND_CREATE_SUBSCRIPTIONGROUP:
		*ret_topic = slice_of(NULL, 0);
		return true;
	default:
		return false;
	}
}

/* Keeps the answer in front->out back when it must wait; true: it will go by itself. */
static bool hold_back(struct nat_call *c)
{
	struct nat *f = c->front;
	struct slice topic;

	if (f->gate == NULL || !tells_of_topic(c, &topic) || !f->gate->shut(f->gate, topic))
		return false;
	struct held *h = mem_new(sizeof(*h) + f->out.n);
	h->wait.go = let_go;
	h->call = c;
	h->n = f->out.n;
	memcpy(h->bytes, f->out.p, f->out.n);
	f->gate->wait(f->gate, &h->wait, topic);
	return true;
}

void nat_send_out(struct nat_call *c)
{
	CHECK_OBJ(c, NAT_CALL_MAGIC);
	CHECK(nat_wanted(c));
	if (!hold_back(c))
		put_out(c, buf_view(&c->front->out));
}

void nat_send_pieces(struct nat_call *c, const struct piece *v, unsigned n)
{
	CHECK_OBJ(c, NAT_CALL_MAGIC);
	struct nat *f = c->front;
	struct nat_peer *p = c->peer;

	if (n == 0) {
		nat_send_out(c);
		return;
	}
	CHECK(nat_wanted(c));
	f->n.answers++;
	p->active = true;
	if (f->cap_pieces < n + 1) {
		f->cap_pieces = (n + 1) * 2;
		f->pieces = mem_grow(f->pieces, f->cap_pieces * sizeof(*f->pieces));
	}
	f->pieces[0] = (struct piece){buf_view(&f->out), NULL};
	memcpy(f->pieces + 1, v, n * sizeof(*v));
	stream_send(p->stream, f->pieces, n + 1);
	nat_drop(c);
}

void nat_answer(struct nat_call *c, int32_t code, struct slice remark)
{
	CHECK_OBJ(c, NAT_CALL_MAGIC);
	struct nat *f = c->front;

	if (!nat_wanted(c)) {
		nat_drop(c);
		return;
	}
	wire_answer_plain(scratch(&f->out), nat_echo(c), code, remark);
	nat_send_out(c);
}

void nat_answer_str(struct nat_call *c, int32_t code, const char *remark)
{
	nat_answer(c, code, slice_str(remark));
}

void nat_answer_code(struct nat_call *c, int32_t code, enum status st)
{
	struct buf *b = nat_body(c);

	buf_str(b, status_text(st));
	if (c->note_n > 0) {
		buf_str(b, ": ");
		buf_put(b, c->note, c->note_n);
	}
	nat_answer(c, code, buf_view(b));
}

void nat_answer_status(struct nat_call *c, enum status st)
{
	CHECK((unsigned)st < ST_COUNT);
	if (st == ST_OK)
		nat_answer(c, ANS_SUCCESS, (struct slice){NULL, 0});
	else
		nat_answer_code(c, front_statuses[st].native, st);
}

void nat_answer_args(struct nat_call *c, const struct wire_args *a)
{
	struct buf *b = nat_body(c);

	CHECK(a->field != NULL);
	wire_args_remark(a, b);
	nat_answer(c, ANS_SYSTEM_ERROR, buf_view(b));
}

void nat_answer_body_bad(struct nat_call *c, const char *why)
{
	struct buf *b = nat_body(c);

	buf_str(b, "the body is not legal: ");
	buf_str(b, why);
	nat_answer(c, ANS_SYSTEM_ERROR, buf_view(b));
}

struct wire_out *nat_answer_begin(struct nat_call *c, struct wire_out *o, int32_t code)
{
	CHECK_OBJ(c, NAT_CALL_MAGIC);
	if (!nat_wanted(c)) {
		nat_drop(c);
		return NULL;
	}
	wire_answer(o, scratch(&c->front->out), nat_echo(c), code);
	return o;
}

void nat_answer_finish(struct nat_call *c, struct wire_out *o, struct slice body)
{
	wire_finish(o, body.n);
	if (body.n > 0) {
		struct piece v = {body, NULL};
		nat_send_pieces(c, &v, 1);
	} else {
		nat_send_out(c);
	}
}

void nat_answer_offset(struct nat_call *c, uint64_t offset)
{
	struct wire_out o;

	if (nat_answer_begin(c, &o, ANS_SUCCESS) == NULL)
		return;
	wire_put_i64(&o, "offset", (int64_t)offset);
	nat_answer_finish(c, &o, (struct slice){NULL, 0});
}

void nat_answer_body(struct nat_call *c, const struct buf *body)
{
	struct wire_out o;

	if (nat_answer_begin(c, &o, ANS_SUCCESS) == NULL)
		return;
	nat_answer_finish(c, &o, buf_view(body));
}
