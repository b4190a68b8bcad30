/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Questions of tools that a client has to answer: what it is doing (307), and to consume one message at once (309). The request goes on to the
 * client's connection under a number of ours, with the fields and the body as they came (309: with the record as its body), and its answer comes
 * back as it is.
 *
 *   asked    the call waits in target->relays, until the answer, the deadline, or the end of the client's connection
 *
 * A call that waits for its record first (309) is in no list; it looks for its target when it has it.
 */
#include "front/native/nat.h"
#include "record/record.h"

#define NOT_ONLINE "the consumer is not connected to this broker"
#define FORWARD_SIZE_MAX 1048576u /* of a request that is passed on */

/* The request on its way: its header is begun, its length comes with the body. */
struct nat_forward {
	struct buf frame;
	struct wire_out out;
	uint32_t opaque;
	char *group, *client_id;
};

static void forward_free(struct nat_forward *w)
{
	buf_fini(&w->frame);
	mem_free(w->group);
	mem_free(w->client_id);
	mem_free(w);
}

static struct nat_forward *forward_new(struct nat *f, const struct wire_cmd *cmd, struct slice group, struct slice client_id)
{
	struct nat_forward *w = mem_new(sizeof(*w));

	w->group = slice_dup(group);
	w->client_id = slice_dup(client_id);
	w->opaque = f->opaque++;
	wire_begin(&w->out, &w->frame, WIRE_JSON, cmd->code, (int32_t)w->opaque, 0);
	for (uint32_t i = 0; i < cmd->n_ext; i++) {
		char name[64];

		/* Longer names are nobody's. */
		if (cmd->ext[i].name.n >= sizeof(name))
			continue;
		memcpy(name, cmd->ext[i].name.p, cmd->ext[i].name.n);
		name[cmd->ext[i].name.n] = '\0';
		wire_put(&w->out, name, cmd->ext[i].value);
	}
	return w;
}

/* The connection of a client of the group; any of the group when no id is given. */
static struct nat_peer *find_client(struct nat *f, const char *group, const char *client_id)
{
	LIST_EACH(&f->peers, pn) {
		struct nat_peer *p = container_of(pn, struct nat_peer, link);

		if (p->closing)
			continue;
		LIST_EACH(&p->members, mn) {
			struct nat_member *m = container_of(mn, struct nat_member, link);
			if (m->kind == MEMBER_CONSUMER && strcmp(m->group, group) == 0 &&
			    (client_id[0] == '\0' || (m->client_id != NULL && strcmp(m->client_id, client_id) == 0)))
				return p;
		}
	}
	return NULL;
}

/* Sends the request on with its body, and waits. */
static void forward(struct nat_call *c, struct nat_forward *w, struct slice body)
{
	struct nat *f = c->front;
	struct nat_peer *target = f->draining ? NULL : find_client(f, w->group, w->client_id);

	if (target == NULL || target->n_relays >= NAT_RELAYS_MAX) {
		bool many = target != NULL;
		forward_free(w);
		if (many)
			nat_answer_str(c, ANS_SYSTEM_BUSY, "too many questions to this client are open");
		else
			nat_answer_str(c, ANS_SYSTEM_ERROR, NOT_ONLINE);
		return;
	}
	struct nat_relay_call *r = &c->u.relay;
	memset(r, 0, sizeof(*r));
	r->opaque = w->opaque;
	r->call = c;
	r->target = target;
	r->due_ns = clock_mono_ns(f->clock) + NAT_RELAY_MS * MS_NS;
	list_push(&target->relays, &r->link);
	target->n_relays++;
	wire_finish(&w->out, body.n);
	struct piece pieces[] = {{buf_view(&w->frame), NULL}, {body, NULL}};
	stream_send(target->stream, pieces, body.n > 0 ? 2 : 1);
	target->active = true;
	forward_free(w);
}

static struct nat_call *relay_take(struct nat_relay_call *r)
{
	struct nat_call *c = r->call;

	CHECK_OBJ(c, NAT_CALL_MAGIC);
	CHECK(r->target->n_relays > 0);
	list_remove(&r->link);
	r->target->n_relays--;
	return c;
}

void nat_relay_answer(struct nat_peer *p, const struct wire_cmd *answer)
{
	LIST_EACH(&p->relays, n) {
		struct nat_relay_call *r = container_of(n, struct nat_relay_call, link);
		struct wire_out o;

		if (r->opaque != (uint32_t)answer->opaque)
			continue;
		struct nat_call *c = relay_take(r);
		if (nat_answer_begin(c, &o, answer->code) == NULL)
			return;
		if (answer->remark.n > 0)
			wire_remark(&o, answer->remark);
		nat_answer_finish(c, &o, answer->body);
		return;
	}
}

void nat_relays_end(struct nat_peer *p, uint64_t now_ns)
{
	LIST_EACH_SAFE(&p->relays, n, t) {
		struct nat_relay_call *r = container_of(n, struct nat_relay_call, link);

		if (p->stream == NULL)
			nat_answer_str(relay_take(r), ANS_SYSTEM_ERROR, NOT_ONLINE);
		else if (now_ns >= r->due_ns)
			nat_answer_str(relay_take(r), ANS_CONSUME_MSG_TIMEOUT, "the consumer did not answer in time");
	}
}

/* ---- The requests ---------------------------------------------------------------------------------------------------------------- */

void nat_running_info(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct wire_args a = wire_args(cmd);
	struct slice group = wire_str(&a, "consumerGroup");
	struct slice client_id = wire_str(&a, "clientId");

	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	if (cmd->body.n > FORWARD_SIZE_MAX) {
		nat_answer_status(c, ST_TOO_BIG);
		return;
	}
	forward(c, forward_new(c->front, cmd, group, client_id), cmd->body);
}

static void record_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	struct nat_forward *w = c->u.direct.forward;
	struct piece piece = c->u.direct.ask.piece;

	if (st != ST_OK) {
		forward_free(w);
		nat_answer_code(c, ANS_SYSTEM_ERROR, st);
		return;
	}
	forward(c, w, piece.bytes);
}

void nat_consume_directly(struct nat_call *c, const struct wire_cmd *cmd)
{
	static const struct slice none = {NULL, 0};
	struct wire_args a = wire_args(cmd);
	struct slice group = wire_str(&a, "consumerGroup");
	struct slice client_id = wire_str_or(&a, "clientId", none);
	struct slice id = wire_str(&a, "msgId");
	uint32_t ip, port;
	uint64_t position;

	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note(c, id);
	if (!offset_id_parse(id, &ip, &port, &position)) {
		nat_answer_str(c, ANS_INVALID_PARAMETER, "msgId is not an offset message id");
		return;
	}
	NAT_ASK(c, direct, record_got);
	c->u.direct.forward = forward_new(c->front, cmd, group, client_id);
	c->u.direct.ask.actor = &c->peer->actor;
	c->u.direct.ask.position = position;
	engine_view(c->front->engine, &c->u.direct.ask);
}
