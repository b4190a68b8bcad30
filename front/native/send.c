/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Sending: 10 and 310 store one message, 320 (or 310 with its batch field set) a batch. The answer names the offset id of each stored record,
 * made of the advertised address, since clients connect to the address in an id. Half messages and replies are refused.
 */
#include "front/native/nat.h"

#include "base/props.h"
#include "record/record.h"

#define VERSION_3_4_9 121            /* older clients do not say how often a message may be consumed again */
#define REGION "DefaultRegion"
#define SHUTTING_DOWN "shutting down"

/* Is it the first phase of a transaction? A message on its way to a retry topic keeps the mark and is none. */
static bool is_half(const struct wire_send *s)
{
	static const struct slice mark = SLICE_LIT("TRAN_MSG");
	const uint8_t *p = s->props.p, *end = p + s->props.n;
	struct slice v;
	bool yes;

	if ((s->sys_flag & 0x4) != 0)
		return true;
	/* Nearly no message has it, so the names are only looked at for one that begins so. */
	while (p != NULL && (size_t)(end - p) > mark.n) {
		if (memcmp(p, mark.p, mark.n) == 0)
			return s->reconsume_times == 0 && props_get(s->props, mark, &v) && slice_bool(v, &yes) && yes;
		p = memchr(p, PROP_END, (size_t)(end - p));
		p = p == NULL ? NULL : p + 1;
	}
	return false;
}

/* Offset ids of all records of a batch, joined by commas. */
static struct slice batch_ids(struct nat_call *c, const struct engine_send *r)
{
	const struct front_conf *conf = c->front->conf;
	struct buf *b = nat_body(c);

	for (uint32_t i = 0; i < r->count; i++) {
		char *to = (char *)buf_room(b, OFFSET_ID_SIZE + 2);

		if (i > 0)
			*to = ',';
		offset_id_format(to + (i > 0), conf->advertised_ip, conf->advertised_port, r->positions[i]);
		buf_used(b, OFFSET_ID_SIZE + (i > 0));
	}
	return buf_view(b);
}

static void sent(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	struct engine_send *r = &c->u.send;
	struct nat *f = c->front;
	uint64_t *positions = r->positions;

	if (st != ST_OK) {
		mem_free(positions);
		nat_answer_status(c, st);
		return;
	}
	if (nat_wanted(c)) {
		char id[OFFSET_ID_SIZE + 1];
		struct wire_send_answer v = {.queue = r->queue, .offset = r->offset, .region = SLICE_LIT(REGION), .trace_on = true};

		if (positions != NULL) {
			v.msg_id = batch_ids(c, r);
		} else {
			offset_id_format(id, f->conf->advertised_ip, f->conf->advertised_port, r->position);
			v.msg_id = slice_of(id, OFFSET_ID_SIZE);
		}
		mem_free(positions);
		buf_reset(&f->out);
		wire_send_answer(&f->out, nat_echo(c), ANS_SUCCESS, (struct slice){NULL, 0}, &v);
		nat_send_out(c);
	} else {
		mem_free(positions);
		nat_drop(c);
	}
}

void nat_send(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct nat *f = c->front;
	struct nat_peer *p = c->peer;
	struct wire_args args = wire_args(cmd);
	struct wire_send s;

	if (f->draining) {
		nat_answer_str(c, ANS_SERVICE_NOT_AVAILABLE, SHUTTING_DOWN);
		return;
	}
	if (!wire_send_decode(cmd, &s, &args)) {
		nat_answer_args(c, &args);
		return;
	}
	nat_note(c, s.topic);
	if (is_half(&s)) {
		nat_answer_str(c, ANS_NO_PERMISSION, "transactional messages are not supported yet");
		return;
	}
	if (cmd->body.n > f->conf->max_message) {
		nat_answer_status(c, ST_TOO_BIG);
		return;
	}
	NAT_ASK(c, send, sent);
	struct engine_send *r = &c->u.send;
	r->actor = &p->actor;
	r->msg = (struct msg){
		.topic = s.topic,
		.body = cmd->body,
		.props = s.props,
		.queue = s.queue,
		.flag = s.flag,
		.sys_flag = s.sys_flag,
		.reconsume_times = s.reconsume_times,
		.max_reconsume = cmd->version >= VERSION_3_4_9 ? s.max_reconsume : -1,
		.born_ms = s.born_ms,
		.born_ip = p->ip,
		.born_port = p->port,
	};
	r->batch = s.batch;
	r->default_topic = s.default_topic;
	r->default_queues = s.default_queues;
	engine_send(f->engine, r);
}

void nat_reply_send(struct nat_call *c, const struct wire_cmd *cmd)
{
	(void)cmd;
	nat_answer_str(c, ANS_REQUEST_CODE_NOT_SUPPORTED, "request-reply is not supported yet");
}
