/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Properties and reasons of MQTT 5: which packet may have which, and properties as bytes. The tables say it all. */
#include "front/mqtt/codec_priv.h"

/* The words of the tables' sets of packets. */
enum {
	CONNECT = 1 << MQTT_CONNECT, CONNACK = 1 << MQTT_CONNACK, PUBLISH = 1 << MQTT_PUBLISH, PUBACK = 1 << MQTT_PUBACK, PUBREC = 1 << MQTT_PUBREC,
	PUBREL = 1 << MQTT_PUBREL, PUBCOMP = 1 << MQTT_PUBCOMP, SUBSCRIBE = 1 << MQTT_SUBSCRIBE, SUBACK = 1 << MQTT_SUBACK,
	UNSUBSCRIBE = 1 << MQTT_UNSUBSCRIBE, UNSUBACK = 1 << MQTT_UNSUBACK, DISCONNECT = 1 << MQTT_DISCONNECT, AUTH = 1 << MQTT_AUTH,
	W = MQTT_WHERE_WILL, SUBS = SUBACK | UNSUBACK,
};
enum kind { KIND_NONE, KIND_BIT, KIND_U16, KIND_U16_POS, KIND_U32, KIND_U32_POS, KIND_VAR_POS, KIND_STR, KIND_TOPIC, KIND_BIN, KIND_PAIR };

enum { PROPS_END = MQTT_P_SHARED_AVAILABLE + 1 };
static const struct prop_row {
	uint8_t kind;      /* KIND_NONE: there is no such property */
	uint16_t at;       /* of its field in struct mqtt_props */
	uint32_t where;
} rows[PROPS_END] = {
#define ACK (PUBACK | PUBREC | PUBREL | PUBCOMP)
#define X(NAME, id, kind, field, packets) [id] = {KIND_##kind, offsetof(struct mqtt_props, field), packets},
#include "front/mqtt/props.tbl"
#undef X
#undef ACK
};

static const struct reason_row {
	uint32_t where;
	const char *text;
} reasons[256] = {
#define ACK (PUBACK | PUBREC)
#define X(NAME, value, packets, words) [value] = {packets, words},
#include "front/mqtt/reasons.tbl"
#undef X
#undef ACK
};

bool mqtt_reason_allowed(enum mqtt_type type, uint8_t reason)
{
	return (reasons[reason].where & mqtt_where(type)) != 0;
}

const char *mqtt_reason_text(uint8_t reason)
{
	return reasons[reason].text == NULL ? "unknown reason" : reasons[reason].text;
}

static const struct prop_row *row_of(uint32_t id)
{
	return id < PROPS_END && rows[id].kind != KIND_NONE ? &rows[id] : NULL;
}

static void *field_of(struct mqtt_props *p, const struct prop_row *row)
{
	return (char *)p + row->at;
}

static const void *const_field_of(const struct mqtt_props *p, const struct prop_row *row)
{
	return (const char *)p + row->at;
}

static void put_u16(void *to, uint16_t v) { memcpy(to, &v, sizeof(v)); }
static void put_u32(void *to, uint32_t v) { memcpy(to, &v, sizeof(v)); }
static void put_slice(void *to, struct slice v) { memcpy(to, &v, sizeof(v)); }

static void read_bit(struct cursor *c, uint8_t *to)
{
	*to = cur_u8(c);
	if (*to > 1)
		cur_fail(c, MQTT_PROTOCOL_ERROR, "a property that is 0 or 1 is neither");
}

static void read_positive(struct cursor *c, void *to, const struct prop_row *row)
{
	uint32_t v;

	if (row->kind == KIND_U16_POS) {
		v = cur_u16(c);
		put_u16(to, (uint16_t)v);
	} else {
		v = row->kind == KIND_U32_POS ? cur_u32(c) : cur_var(c);
		put_u32(to, v);
	}
	if (v == 0 && row == &rows[MQTT_P_TOPIC_ALIAS])
		cur_fail(c, MQTT_BAD_ALIAS, "a topic alias of 0");
	else if (v == 0)
		cur_fail(c, MQTT_PROTOCOL_ERROR, "a property that may not be 0 is 0");
}

static void read_topic(struct cursor *c, void *to)
{
	struct slice s = cur_str(c);

	if (c->why == NULL && (s.n == 0 || mqtt_has_wildcard(s)))
		cur_fail(c, MQTT_PROTOCOL_ERROR, "a response topic is empty or has a wildcard");
	put_slice(to, s);
}

static void read_value(struct cursor *c, const struct prop_row *row, void *to)
{
	switch (row->kind) {
	case KIND_BIT:
		read_bit(c, to);
		break;
	case KIND_U16:
		put_u16(to, cur_u16(c));
		break;
	case KIND_U32:
		put_u32(to, cur_u32(c));
		break;
	case KIND_U16_POS:
	case KIND_U32_POS:
	case KIND_VAR_POS:
		read_positive(c, to, row);
		break;
	case KIND_STR:
		put_slice(to, cur_str(c));
		break;
	case KIND_TOPIC:
		read_topic(c, to);
		break;
	case KIND_BIN:
		put_slice(to, cur_bin(c));
		break;
	default:
		cur_str(c);
		cur_str(c);
	}
}

/* A PUBLISH to a client tells all subscriptions that it is for; nothing else but user properties may come twice. */
static bool may_repeat(uint32_t id, unsigned where)
{
	return id == MQTT_P_USER || (id == MQTT_P_SUB_ID && where == PUBLISH);
}

void mqtt_props_read(struct cursor *c, unsigned where, struct mqtt_props *ret)
{
	uint32_t size = cur_var(c), again;
	struct slice section = cur_take(c, size);
	struct cursor in = cur_of(section);

	if (c->why != NULL)
		return;
	while (cur_left(&in) > 0) {
		uint32_t id = cur_var(&in);
		const struct prop_row *row = row_of(id);

		if (in.why == NULL && row == NULL)
			cur_fail(&in, MQTT_MALFORMED, "an unknown property");
		else if (in.why == NULL && (row->where & where) == 0)
			cur_fail(&in, MQTT_PROTOCOL_ERROR, "a property that this packet may not have");
		else if (in.why == NULL && mqtt_has(ret, (enum mqtt_prop)id) && !may_repeat(id, where))
			cur_fail(&in, MQTT_PROTOCOL_ERROR, "a property that is there twice");
		if (in.why != NULL)
			break;
		/* The first subscription identifier stays in the field. */
		read_value(&in, row, id == MQTT_P_SUB_ID && mqtt_has(ret, MQTT_P_SUB_ID) ? &again : field_of(ret, row));
		ret->has |= 1ull << id;
	}
	if (in.why != NULL)
		cur_fail(c, in.reason, in.why);
	else if (mqtt_has(ret, MQTT_P_AUTH_DATA) && !mqtt_has(ret, MQTT_P_AUTH_METHOD))
		cur_fail(c, MQTT_PROTOCOL_ERROR, "authentication data without a method");
	ret->repeated = (ret->has & (1ull << MQTT_P_USER | 1ull << MQTT_P_SUB_ID)) != 0 ? section : (struct slice){NULL, 0};
}

/* Takes the next property off '*rest', which has been read or made by us: a bad one ends it. */
static bool next(struct slice *rest, uint32_t *ret_id, struct slice *ret_value)
{
	struct cursor c = cur_of(*rest);
	struct mqtt_props scratch;
	const struct prop_row *row;
	const uint8_t *value;

	if (rest->n == 0)
		return false;
	*ret_id = cur_var(&c);
	row = row_of(*ret_id);
	value = c.p;
	if (row != NULL)
		read_value(&c, row, row->kind == KIND_PAIR ? NULL : field_of(&scratch, row));
	if (row == NULL || c.why != NULL) {
		*rest = (struct slice){NULL, 0};
		return false;
	}
	*ret_value = slice_of(value, (size_t)(c.p - value));
	*rest = slice_of(c.p, cur_left(&c));
	return true;
}

bool mqtt_user_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
	struct slice value;
	uint32_t id;

	while (next(rest, &id, &value))
		if (id == MQTT_P_USER) {
			size_t n = be16_get(value.p);

			*ret_name = slice_of(value.p + 2, n);
			*ret_value = slice_of(value.p + 2 + n + 2, value.n - n - 4);
			return true;
		}
	return false;
}

bool mqtt_sub_id_next(struct slice *rest, uint32_t *ret)
{
	struct slice value;
	uint32_t id;

	while (next(rest, &id, &value))
		if (id == MQTT_P_SUB_ID)
			return mqtt_var_get(value.p, value.n, ret) > 0;
	return false;
}

/* ---- Writing ---- */

static void emit_value(struct sink *s, const struct prop_row *row, const void *from)
{
	struct slice text;
	uint32_t u32;
	uint16_t u16;

	switch (row->kind) {
	case KIND_BIT:
		sink_u8(s, *(const uint8_t *)from);
		break;
	case KIND_U16:
	case KIND_U16_POS:
		memcpy(&u16, from, sizeof(u16));
		sink_u16(s, u16);
		break;
	case KIND_U32:
	case KIND_U32_POS:
	case KIND_VAR_POS:
		memcpy(&u32, from, sizeof(u32));
		if (row->kind == KIND_VAR_POS)
			sink_var(s, u32);
		else
			sink_u32(s, u32);
		break;
	default:
		memcpy(&text, from, sizeof(text));
		sink_str(s, text);
	}
}

/* User properties and subscription identifiers as they stand; true when one of the latter was there. */
static bool emit_repeated(struct sink *s, unsigned where, struct slice rest, bool brief)
{
	bool sub_id = false;
	struct slice value;
	uint32_t id;

	while (next(&rest, &id, &value)) {
		if ((id != MQTT_P_USER || brief) && (id != MQTT_P_SUB_ID || (where & rows[MQTT_P_SUB_ID].where) == 0))
			continue;
		sink_u8(s, (uint8_t)id);
		sink_raw(s, value);
		sub_id |= id == MQTT_P_SUB_ID;
	}
	return sub_id;
}

static uint64_t single_bits(const struct mqtt_props *p, bool brief)
{
	return p->has & ~(1ull << MQTT_P_USER | 1ull << MQTT_P_SUB_ID | (brief ? 1ull << MQTT_P_REASON : 0));
}

static void emit_all(struct sink *s, unsigned where, const struct mqtt_props *p, bool brief)
{
	for (uint64_t left = single_bits(p, brief); left != 0; left &= left - 1) {
		unsigned id = (unsigned)__builtin_ctzll(left);
		const struct prop_row *row = row_of(id);

		CHECK(row != NULL && (row->where & where) != 0);
		sink_u8(s, (uint8_t)id);
		emit_value(s, row, const_field_of(p, row));
	}
	if (!emit_repeated(s, where, p->repeated, brief) && mqtt_has(p, MQTT_P_SUB_ID)) {
		CHECK((rows[MQTT_P_SUB_ID].where & where) != 0);
		sink_u8(s, MQTT_P_SUB_ID);
		sink_var(s, p->sub_id);
	}
}

bool mqtt_props_none(const struct mqtt_props *p, bool brief)
{
	struct sink count = {NULL, 0};

	if (single_bits(p, brief) != 0)
		return false;
	emit_repeated(&count, 0, p->repeated, brief);
	return count.n == 0;
}

void mqtt_props_emit(struct sink *s, unsigned where, const struct mqtt_props *p, bool brief)
{
	struct sink count = {NULL, 0};

	emit_all(&count, where, p, brief);
	sink_var(s, (uint32_t)count.n);
	emit_all(s, where, p, brief);
}

void mqtt_put_user(struct buf *b, struct slice name, struct slice value)
{
	CHECK(name.n <= MQTT_STRING_MAX && value.n <= MQTT_STRING_MAX);
	buf_u8(b, MQTT_P_USER);
	buf_be16(b, (uint16_t)name.n);
	buf_slice(b, name);
	buf_be16(b, (uint16_t)value.n);
	buf_slice(b, value);
}

void mqtt_put_sub_id(struct buf *b, uint32_t id)
{
	uint8_t bytes[5];
	struct sink s = {bytes, 0};

	CHECK(id > 0);
	sink_u8(&s, MQTT_P_SUB_ID);
	sink_var(&s, id);
	buf_put(b, bytes, s.n);
}
