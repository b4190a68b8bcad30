/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* One pass over the extension fields sorts their values into slots; then the slots are read in order. */
#include "wire/fields.h"

#include "base/be.h"
#include "base/text.h"
#include "wire/codes.h"

/* Slots of a send, in the order of their letters. */
enum {
	SEND_GROUP, SEND_TOPIC, SEND_DEFAULT_TOPIC, SEND_DEFAULT_QUEUES, SEND_QUEUE, SEND_SYS_FLAG, SEND_BORN, SEND_FLAG, SEND_PROPS,
	SEND_RECONSUME, SEND_UNIT, SEND_MAX_RECONSUME, SEND_BATCH, SEND_BROKER, SEND_SLOTS
};
enum {
	PULL_S_GROUP, PULL_S_TOPIC, PULL_S_QUEUE, PULL_S_OFFSET, PULL_S_MAX_MSGS, PULL_S_SYS_FLAG, PULL_S_COMMIT, PULL_S_SUSPEND,
	PULL_S_SUBSCRIPTION, PULL_S_SUB_VERSION, PULL_S_EXPRESSION, PULL_S_MAX_BYTES, PULL_SLOTS
};
enum { NO_SLOT = -1, SLOTS_MAX = 16 };

struct slots {
	struct slice v[SLOTS_MAX];
	uint32_t seen;             /* bit per slot */
	const char *const *names;  /* for messages */
	struct wire_args *a;
};

static bool is(struct slice name, const char *s)
{
	return memcmp(name.p, s, name.n) == 0;
}

static int send_slot(struct slice name)
{
	switch (name.n) {
	case 4: return is(name, "flag") ? SEND_FLAG : NO_SLOT;
	case 5: return is(name, "topic") ? SEND_TOPIC : is(name, "batch") ? SEND_BATCH : is(name, "bname") ? SEND_BROKER : NO_SLOT;
	case 7: return is(name, "queueId") ? SEND_QUEUE : is(name, "sysFlag") ? SEND_SYS_FLAG : NO_SLOT;
	case 8: return is(name, "unitMode") ? SEND_UNIT : NO_SLOT;
	case 10: return is(name, "properties") ? SEND_PROPS : is(name, "brokerName") ? SEND_BROKER : NO_SLOT;
	case 12: return is(name, "defaultTopic") ? SEND_DEFAULT_TOPIC : NO_SLOT;
	case 13: return is(name, "producerGroup") ? SEND_GROUP : is(name, "bornTimestamp") ? SEND_BORN : NO_SLOT;
	case 14: return is(name, "reconsumeTimes") ? SEND_RECONSUME : NO_SLOT;
	case 17: return is(name, "maxReconsumeTimes") ? SEND_MAX_RECONSUME : NO_SLOT;
	case 21: return is(name, "defaultTopicQueueNums") ? SEND_DEFAULT_QUEUES : NO_SLOT;
	default: return NO_SLOT;
	}
}

static int letter_slot(struct slice name)
{
	return name.n == 1 && name.p[0] >= 'a' && name.p[0] < 'a' + SEND_SLOTS ? name.p[0] - 'a' : NO_SLOT;
}

static int pull_slot(struct slice name)
{
	switch (name.n) {
	case 5: return is(name, "topic") ? PULL_S_TOPIC : NO_SLOT;
	case 7: return is(name, "queueId") ? PULL_S_QUEUE : is(name, "sysFlag") ? PULL_S_SYS_FLAG : NO_SLOT;
	case 10: return is(name, "maxMsgNums") ? PULL_S_MAX_MSGS : is(name, "subVersion") ? PULL_S_SUB_VERSION : NO_SLOT;
	case 11: return is(name, "queueOffset") ? PULL_S_OFFSET : is(name, "maxMsgBytes") ? PULL_S_MAX_BYTES : NO_SLOT;
	case 12: return is(name, "commitOffset") ? PULL_S_COMMIT : is(name, "subscription") ? PULL_S_SUBSCRIPTION : NO_SLOT;
	case 13: return is(name, "consumerGroup") ? PULL_S_GROUP : NO_SLOT;
	case 14: return is(name, "expressionType") ? PULL_S_EXPRESSION : NO_SLOT;
	case 20: return is(name, "suspendTimeoutMillis") ? PULL_S_SUSPEND : NO_SLOT;
	default: return NO_SLOT;
	}
}

static void sort_in(struct slots *s, const struct wire_cmd *c, int (*slot)(struct slice name))
{
	for (uint32_t i = 0; i < c->n_ext; i++) {
		int at = slot(c->ext[i].name);
		if (at == NO_SLOT)
			continue;
		s->v[at] = c->ext[i].value;
		s->seen |= 1u << at;
	}
}

static bool seen(const struct slots *s, int slot)
{
	return (s->seen >> slot & 1) != 0;
}

static struct slice text(struct slots *s, int slot)
{
	if (!seen(s, slot))
		wire_args_bad(s->a, s->names[slot], "is missing");
	return s->v[slot];
}

static bool number(struct slots *s, int slot, int64_t min, int64_t max, const char *why, int64_t *ret)
{
	if (s->v[slot].n == 0)
		return false;
	if (slice_i64(s->v[slot], ret) && *ret >= min && *ret <= max)
		return true;
	wire_args_bad(s->a, s->names[slot], why);
	return true;
}

static int32_t i32_or(struct slots *s, int slot, int32_t absent)
{
	int64_t v = absent;
	return number(s, slot, INT32_MIN, INT32_MAX, "is not a 32-bit integer", &v) ? (int32_t)v : absent;
}

static int32_t i32(struct slots *s, int slot)
{
	int64_t v = 0;
	if (!number(s, slot, INT32_MIN, INT32_MAX, "is not a 32-bit integer", &v))
		wire_args_bad(s->a, s->names[slot], "is missing");
	return (int32_t)v;
}

static int64_t i64(struct slots *s, int slot)
{
	int64_t v = 0;
	if (!number(s, slot, INT64_MIN, INT64_MAX, "is not a 64-bit integer", &v))
		wire_args_bad(s->a, s->names[slot], "is missing");
	return v;
}

static bool boolean_or(struct slots *s, int slot, bool absent)
{
	bool v = absent;
	if (s->v[slot].n > 0 && !slice_bool(s->v[slot], &v))
		wire_args_bad(s->a, s->names[slot], "is neither true nor false");
	return v;
}

bool wire_send_decode(const struct wire_cmd *c, struct wire_send *ret, struct wire_args *a)
{
	static const char *const long_names[SEND_SLOTS] = {
		"producerGroup", "topic", "defaultTopic", "defaultTopicQueueNums", "queueId", "sysFlag", "bornTimestamp", "flag",
		"properties", "reconsumeTimes", "unitMode", "maxReconsumeTimes", "batch", "brokerName"
	};
	static const char *const letters[SEND_SLOTS] = {
		"a (producerGroup)", "b (topic)", "c (defaultTopic)", "d (defaultTopicQueueNums)", "e (queueId)", "f (sysFlag)",
		"g (bornTimestamp)", "h (flag)", "i (properties)", "j (reconsumeTimes)", "k (unitMode)", "l (maxReconsumeTimes)",
		"m (batch)", "n (brokerName)"
	};
	bool spelled = c->code == REQ_SEND_MESSAGE || c->code == REQ_SEND_REPLY_MESSAGE;
	struct slots s = {.names = spelled ? long_names : letters, .a = a};
	*a = wire_args(c);
	sort_in(&s, c, spelled ? send_slot : letter_slot);
	ret->producer_group = text(&s, SEND_GROUP);
	ret->topic = text(&s, SEND_TOPIC);
	ret->default_topic = text(&s, SEND_DEFAULT_TOPIC);
	ret->default_queues = i32(&s, SEND_DEFAULT_QUEUES);
	ret->queue = i32(&s, SEND_QUEUE);
	ret->sys_flag = i32(&s, SEND_SYS_FLAG);
	ret->born_ms = i64(&s, SEND_BORN);
	ret->flag = i32(&s, SEND_FLAG);
	ret->props = s.v[SEND_PROPS];
	ret->reconsume_times = i32_or(&s, SEND_RECONSUME, 0);
	ret->unit_mode = boolean_or(&s, SEND_UNIT, false);
	ret->max_reconsume = i32_or(&s, SEND_MAX_RECONSUME, -1);
	ret->batch = boolean_or(&s, SEND_BATCH, false) || c->code == REQ_SEND_BATCH_MESSAGE;
	ret->broker_name = s.v[SEND_BROKER];
	return a->field == NULL;
}

bool wire_pull_decode(const struct wire_cmd *c, struct wire_pull *ret, struct wire_args *a)
{
	static const char *const names[PULL_SLOTS] = {
		"consumerGroup", "topic", "queueId", "queueOffset", "maxMsgNums", "sysFlag", "commitOffset", "suspendTimeoutMillis",
		"subscription", "subVersion", "expressionType", "maxMsgBytes"
	};
	struct slots s = {.names = names, .a = a};
	*a = wire_args(c);
	sort_in(&s, c, pull_slot);
	ret->group = text(&s, PULL_S_GROUP);
	ret->topic = text(&s, PULL_S_TOPIC);
	ret->queue = i32(&s, PULL_S_QUEUE);
	ret->offset = i64(&s, PULL_S_OFFSET);
	ret->max_msgs = i32(&s, PULL_S_MAX_MSGS);
	ret->sys_flag = i32(&s, PULL_S_SYS_FLAG);
	ret->commit = i64(&s, PULL_S_COMMIT);
	ret->suspend_ms = i64(&s, PULL_S_SUSPEND);
	ret->sub_version = i64(&s, PULL_S_SUB_VERSION);
	ret->has_subscription = seen(&s, PULL_S_SUBSCRIPTION);
	ret->subscription = s.v[PULL_S_SUBSCRIPTION];
	ret->expression_type = s.v[PULL_S_EXPRESSION].n > 0 ? s.v[PULL_S_EXPRESSION] : SLICE_LIT("TAG");
	ret->max_bytes = i32_or(&s, PULL_S_MAX_BYTES, 0);
	return a->field == NULL;
}

/* ---- Answers ----------------------------------------------------------------------------------------------------- */

static uint8_t *put_text(uint8_t *to, const void *p, size_t n)
{
	if (n > 0)
		memcpy(to, p, n);
	return to + n;
}
#define PUT(to, text) put_text((to), (text), sizeof(text) - 1)

static uint8_t *put_number(uint8_t *to, int64_t v)
{
	uint8_t digits[TEXT_U64_MAX];
	if (v < 0)
		*to++ = '-';
	size_t n = text_u64(digits + sizeof(digits), v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
	return put_text(to, digits + sizeof(digits) - n, n);
}

enum { SEND_ANSWER_ROOM = 512 }; /* of the usual answer below, without its id and region */

/*
 * The usual answer to a send is a quarter of a send's work when it is built piece by piece. False: it is not of that kind.
 * The bytes are those that the pieces give.
 */
static bool usual_send_answer(struct buf *b, const struct wire_cmd *request, int32_t code, const struct wire_send_answer *v)
{
	if (request->form != WIRE_JSON || v->transaction_id.n > 0 || v->batch_uniq_id.n > 0 || v->region.n == 0 ||
	    text_plain(v->msg_id.p, v->msg_id.n) != v->msg_id.n || text_plain(v->region.p, v->region.n) != v->region.n)
		return false;
	uint8_t *start = buf_room(b, SEND_ANSWER_ROOM + v->msg_id.n + v->region.n), *to = start;
	if (start == NULL)
		return true; /* over, as with pieces */
	to = PUT(to + 8, "{\"code\":");
	to = put_number(to, code);
	to = PUT(to, ",\"flag\":1,\"language\":\"" WIRE_LANGUAGE_NAME "\",\"version\":");
	to = put_number(to, WIRE_VERSION);
	to = PUT(to, ",\"opaque\":");
	to = put_number(to, request->opaque);
	to = PUT(to, ",\"extFields\":{\"msgId\":\"");
	to = put_text(to, v->msg_id.p, v->msg_id.n);
	to = PUT(to, "\",\"queueId\":\"");
	to = put_number(to, v->queue);
	to = PUT(to, "\",\"queueOffset\":\"");
	to = put_number(to, (int64_t)v->offset);
	to = PUT(to, "\",\"MSG_REGION\":\"");
	to = put_text(to, v->region.p, v->region.n);
	to = v->trace_on ? PUT(to, "\",\"TRACE_ON\":\"true\"}}") : PUT(to, "\",\"TRACE_ON\":\"false\"}}");
	size_t n = (size_t)(to - start);
	be32_put(start, (uint32_t)(n - 4));
	be32_put(start + 4, (uint32_t)WIRE_JSON << 24 | (uint32_t)(n - 8));
	buf_used(b, n);
	return true;
}

void wire_send_answer(struct buf *b, const struct wire_cmd *request, int32_t code, struct slice remark,
                      const struct wire_send_answer *v)
{
	struct wire_out o;
	if (remark.n == 0 && usual_send_answer(b, request, code, v))
		return;
	wire_answer(&o, b, request, code);
	wire_remark(&o, remark);
	wire_put(&o, "msgId", v->msg_id);
	wire_put_i64(&o, "queueId", v->queue);
	wire_put_i64(&o, "queueOffset", (int64_t)v->offset);
	if (v->transaction_id.n > 0)
		wire_put(&o, "transactionId", v->transaction_id);
	if (v->batch_uniq_id.n > 0)
		wire_put(&o, "batchUniqId", v->batch_uniq_id);
	if (v->region.n > 0)
		wire_put(&o, "MSG_REGION", v->region);
	wire_put_bool(&o, "TRACE_ON", v->trace_on);
	wire_finish(&o, 0);
}

void wire_pull_answer(struct buf *b, const struct wire_cmd *request, int32_t code, struct slice remark,
                      const struct wire_pull_answer *v, size_t body_len)
{
	struct wire_out o;
	wire_answer(&o, b, request, code);
	wire_remark(&o, remark);
	wire_put_i64(&o, "suggestWhichBrokerId", v->suggest_broker);
	wire_put_i64(&o, "nextBeginOffset", (int64_t)v->next);
	wire_put_i64(&o, "minOffset", (int64_t)v->min);
	wire_put_i64(&o, "maxOffset", (int64_t)v->max);
	wire_finish(&o, body_len);
}
