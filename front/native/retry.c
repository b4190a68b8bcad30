/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* 36: a consumer could not handle a message. 37, the end of a transaction, is refused until there are transactions. */
#include "front/native/nat.h"

#define VERSION_3_4_9 121 /* older clients do not say how often a message may be consumed again */

static void sent_back(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);

	/* Clients know no "not found" here; any failure makes them send the message to the retry topic themselves. */
	if (st == ST_NOT_FOUND)
		nat_answer_code(c, ANS_SYSTEM_ERROR, st);
	else
		nat_answer_status(c, st);
}

void nat_send_back(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct nat *f = c->front;
	struct wire_args a = wire_args(cmd);

	if (f->draining) {
		nat_answer_str(c, ANS_SERVICE_NOT_AVAILABLE, "shutting down");
		return;
	}
	NAT_ASK(c, back, sent_back);
	struct engine_send_back *r = &c->u.back;
	int64_t position = wire_i64(&a, "offset");
	r->actor = &c->peer->actor;
	r->group = wire_str(&a, "group");
	r->delay_level = wire_i32(&a, "delayLevel");
	r->origin_id = wire_str_or(&a, "originMsgId", (struct slice){NULL, 0});
	r->max_reconsume = wire_i32_or(&a, "maxReconsumeTimes", -1);
	if (cmd->version < VERSION_3_4_9)
		r->max_reconsume = -1;
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note(c, r->group);
	if (position < 0) {
		nat_answer_code(c, ANS_SYSTEM_ERROR, ST_NOT_FOUND);
		return;
	}
	r->position = (uint64_t)position;
	engine_send_back(f->engine, r);
}

void nat_end_transaction(struct nat_call *c, const struct wire_cmd *cmd)
{
	(void)cmd;
	nat_answer_str(c, ANS_REQUEST_CODE_NOT_SUPPORTED, "transactions are not supported yet");
}
