/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Who is connected: the consumers (203) and the producers (204) of a group, and all producers (328), as the tools show them. */
#include <stdlib.h>

#include "base/utf.h"
#include "front/native/nat.h"

static const char *const types[] = {"CONSUME_ACTIVELY", "CONSUME_PASSIVELY", "CONSUME_POP"};
static const char *const models[] = {"BROADCASTING", "CLUSTERING"};
static const char *const froms[] = {
	"CONSUME_FROM_LAST_OFFSET", "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST", "CONSUME_FROM_MIN_OFFSET",
	"CONSUME_FROM_MAX_OFFSET", "CONSUME_FROM_FIRST_OFFSET", "CONSUME_FROM_TIMESTAMP",
};

static const char *name_of(const char *const *names, size_t n, unsigned at)
{
	return names[at < n ? at : 0];
}

static void put_connections(struct buf *b, const struct engine_members *r)
{
	buf_str(b, "\"connectionSet\":[");
	for (size_t i = 0; i < r->count; i++) {
		const struct member_info *m = &r->v[i];

		buf_str(b, i > 0 ? ",{\"clientAddr\":" : "{\"clientAddr\":");
		buf_json_str(b, m->address);
		buf_str(b, ",\"clientId\":");
		buf_json_str(b, m->client_id);
		buf_str(b, ",\"language\":\"");
		buf_str(b, wire_language_name((uint8_t)(m->language < WIRE_LANGUAGE_COUNT ? m->language : WIRE_OTHER)));
		buf_str(b, "\",\"version\":");
		buf_u64_dec(b, m->version);
		buf_str(b, "}");
	}
	buf_str(b, "]");
}

/* The next tag of "a || b"; false at the end. */
static bool next_tag(struct slice *rest, struct slice *ret)
{
	while (rest->n > 0) {
		const uint8_t *bars = memmem(rest->p, rest->n, "||", 2);
		size_t n = bars == NULL ? rest->n : (size_t)(bars - rest->p);

		*ret = slice_trim(slice_of(rest->p, n));
		*rest = bars == NULL ? (struct slice){NULL, 0} : slice_skip(*rest, n + 2);
		if (ret->n > 0)
			return true;
	}
	return false;
}

static void put_tags(struct buf *b, struct slice expr, bool hashes)
{
	struct slice tag;
	bool any = false;

	if (slice_eq_str(expr, "*"))
		return;
	while (next_tag(&expr, &tag)) {
		if (any)
			buf_str(b, ",");
		any = true;
		if (hashes)
			buf_i64_dec(b, java_hash(tag));
		else
			buf_json_str(b, tag);
	}
}

static void put_subscription(struct buf *b, const struct subscription *s)
{
	buf_str(b, "{\"classFilterMode\":false,\"codeSet\":[");
	put_tags(b, s->expr, true);
	buf_str(b, "],\"expressionType\":\"TAG\",\"subString\":");
	buf_json_str(b, s->expr);
	buf_str(b, ",\"subVersion\":");
	buf_i64_dec(b, s->version);
	buf_str(b, ",\"tagsSet\":[");
	put_tags(b, s->expr, false);
	buf_str(b, "],\"topic\":");
	buf_json_str(b, s->topic);
	buf_str(b, "}");
}

void nat_members_ask(struct nat_call *c, const struct wire_cmd *cmd, const char *field, enum member_kind kind,
                     void (*done)(struct engine_ask *, enum status))
{
	struct wire_args a = wire_args(cmd);

	NAT_ASK(c, members, done);
	struct engine_members *r = &c->u.members;
	r->actor = &c->peer->actor;
	r->group = wire_str(&a, field);
	r->kind = kind;
	if (a.field != NULL) {
		nat_answer_args(c, &a);
		return;
	}
	nat_note(c, r->group);
	engine_members(c->front->engine, r);
}

bool nat_members_refused(struct nat_call *c, enum status st, int32_t nobody)
{
	if (st == ST_NO_GROUP || (st == ST_OK && c->u.members.count == 0)) {
		nat_answer_code(c, nobody, ST_NO_MEMBER);
		return true;
	}
	if (st != ST_OK)
		nat_answer_status(c, st);
	return st != ST_OK;
}

static void consumers_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	const struct engine_members *r = &c->u.members;

	if (nat_members_refused(c, st, ANS_CONSUMER_NOT_ONLINE))
		return;
	struct buf *b = nat_body(c);
	buf_str(b, "{");
	put_connections(b, r);
	buf_fmt(b, ",\"consumeFromWhere\":\"%s\",\"consumeType\":\"%s\",\"messageModel\":\"%s\",\"subscriptionTable\":{",
	        name_of(froms, ARRAY_LEN(froms), r->from), name_of(types, ARRAY_LEN(types), r->type),
	        name_of(models, ARRAY_LEN(models), r->model));
	for (size_t i = 0; i < r->n_subs; i++) {
		if (i > 0)
			buf_str(b, ",");
		buf_json_str(b, r->subs[i].topic);
		buf_str(b, ":");
		put_subscription(b, &r->subs[i]);
	}
	buf_str(b, "}}");
	nat_answer_body(c, b);
}

static void producers_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	const struct engine_members *r = &c->u.members;

	if (nat_members_refused(c, st, ANS_SYSTEM_ERROR))
		return;
	struct buf *b = nat_body(c);
	buf_str(b, "{");
	put_connections(b, r);
	buf_str(b, "}");
	nat_answer_body(c, b);
}

void nat_consumers(struct nat_call *c, const struct wire_cmd *cmd)
{
	nat_members_ask(c, cmd, "consumerGroup", MEMBER_CONSUMER, consumers_got);
}

void nat_producers(struct nat_call *c, const struct wire_cmd *cmd)
{
	nat_members_ask(c, cmd, "producerGroup", MEMBER_PRODUCER, producers_got);
}

/* ---- 328 ------------------------------------------------------------------------------------------------------------------------- */

static int by_group(const void *a, const void *b)
{
	const struct nat_member *const *x = a, *const *y = b;

	return strcmp((*x)->group, (*y)->group);
}

static void put_producer(struct buf *b, const struct nat_member *m)
{
	buf_str(b, "{\"clientId\":");
	buf_json_str(b, slice_str(m->client_id));
	buf_str(b, ",\"language\":\"");
	buf_str(b, wire_language_name(m->language));
	buf_str(b, "\",\"lastUpdateTimestamp\":");
	buf_i64_dec(b, m->seen_ms);
	buf_str(b, ",\"remoteIP\":");
	buf_json_str(b, m->peer->actor.address);
	buf_str(b, ",\"version\":");
	buf_i64_dec(b, m->version);
	buf_str(b, "}");
}

/* The producers of this front's own connections: no other front has any. */
void nat_all_producers(struct nat_call *c, const struct wire_cmd *cmd)
{
	struct nat *f = c->front;
	size_t n = 0, cap = 0;

	(void)cmd;
	LIST_EACH(&f->peers, pn)
		cap += container_of(pn, struct nat_peer, link)->n_members;
	struct nat_member **v = mem_array(cap + 1, sizeof(*v));
	LIST_EACH(&f->peers, pn) {
		struct nat_peer *p = container_of(pn, struct nat_peer, link);
		LIST_EACH(&p->members, mn) {
			struct nat_member *m = container_of(mn, struct nat_member, link);
			if (m->kind == MEMBER_PRODUCER)
				v[n++] = m;
		}
	}
	CHECK(n <= cap);
	qsort(v, n, sizeof(*v), by_group);
	struct buf *b = nat_body(c);
	buf_str(b, "{\"data\":{");
	for (size_t i = 0; i < n; i++) {
		bool first = i == 0 || strcmp(v[i]->group, v[i - 1]->group) != 0;

		if (first) {
			buf_str(b, i > 0 ? "]," : "");
			buf_json_str(b, slice_str(v[i]->group));
		}
		buf_str(b, first ? ":[" : ",");
		put_producer(b, v[i]);
	}
	buf_str(b, n > 0 ? "]}}" : "}}");
	mem_free(v);
	nat_answer_body(c, b);
}
