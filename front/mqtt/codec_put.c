/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Writing packets. Each is gone through twice by the same code, once to count and once to write, so that lengths cannot be wrong. */
#include "front/mqtt/codec_priv.h"

enum { LONGEST_ACK = 6 };

struct form {
	const struct mqtt_packet *p;
	uint8_t version;
	bool brief;        /* without reason text and user properties */
	bool no_payload;   /* PUBLISH: its bytes come from elsewhere */
	size_t id_at;      /* PUBLISH: where its packet identifier stands behind the fixed header */
};

int mqtt_return_code(uint8_t reason)
{
	switch (reason) {
	case MQTT_OK:
		return 0;
	case MQTT_BAD_VERSION:
		return 1;
	case MQTT_BAD_CLIENT_ID:
		return 2;
	case MQTT_FAILED:
	case MQTT_IMPLEMENTATION:
	case MQTT_UNAVAILABLE:
	case MQTT_SERVER_BUSY:
	case MQTT_SHUTTING_DOWN:
	case MQTT_QUOTA_EXCEEDED:
	case MQTT_USE_ANOTHER:
	case MQTT_MOVED:
	case MQTT_CONNECTION_RATE:
		return 3;
	case MQTT_BAD_USER:
		return 4;
	case MQTT_NOT_AUTHORIZED:
	case MQTT_BANNED:
	case MQTT_BAD_AUTH_METHOD:
		return 5;
	default:
		return -1;
	}
}

static uint8_t legal_reason(enum mqtt_type type, uint8_t reason)
{
	if (mqtt_reason_allowed(type, reason))
		return reason;
	return mqtt_reason_allowed(type, MQTT_FAILED) ? MQTT_FAILED : type == MQTT_AUTH ? MQTT_OK : MQTT_ID_NOT_FOUND;
}

static void emit_props(struct sink *s, const struct form *f)
{
	if (f->version == MQTT_5)
		mqtt_props_emit(s, mqtt_where(f->p->type), &f->p->props, f->brief);
}

static void emit_connect(struct sink *s, const struct form *f)
{
	const struct mqtt_packet *p = f->p;
	uint8_t flags = (uint8_t)(p->clean_start << 1 | p->has_will << 2 | p->has_password << 6 | p->has_user << 7);

	if (p->has_will)
		flags |= (uint8_t)(p->will.qos << 3 | p->will.retain << 5);
	sink_str(s, SLICE_LIT("MQTT"));
	sink_u8(s, f->version);
	sink_u8(s, flags);
	sink_u16(s, p->keep_alive);
	emit_props(s, f);
	sink_str(s, p->client_id);
	if (p->has_will) {
		if (f->version == MQTT_5)
			mqtt_props_emit(s, MQTT_WHERE_WILL, &p->will.props, false);
		sink_str(s, p->will.topic);
		sink_str(s, p->will.payload);
	}
	if (p->has_user)
		sink_str(s, p->user);
	if (p->has_password)
		sink_str(s, p->password);
}

static void emit_connack(struct sink *s, const struct form *f)
{
	uint8_t reason = legal_reason(MQTT_CONNACK, f->p->reason);

	sink_u8(s, f->p->session_present);
	sink_u8(s, f->version == MQTT_5 ? reason : (uint8_t)mqtt_return_code(f->p->reason));
	emit_props(s, f);
}

static void emit_publish(struct sink *s, struct form *f)
{
	sink_str(s, f->p->topic);
	f->id_at = s->n;
	if (f->p->qos > 0)
		sink_u16(s, f->p->id);
	emit_props(s, f);
	if (f->no_payload)
		s->n += f->p->payload.n;
	else
		sink_raw(s, f->p->payload);
}

/* Reason and properties of 5.0, as short as may be. */
static void emit_reason(struct sink *s, const struct form *f)
{
	uint8_t reason = legal_reason(f->p->type, f->p->reason);
	bool bare = mqtt_props_none(&f->p->props, f->brief);

	if (f->version != MQTT_5 || (bare && reason == MQTT_OK))
		return;
	sink_u8(s, reason);
	if (!bare)
		emit_props(s, f);
}

static void emit_codes(struct sink *s, const struct form *f)
{
	const struct mqtt_packet *p = f->p;

	sink_u16(s, p->id);
	emit_props(s, f);
	if (f->version != MQTT_5 && p->type == MQTT_UNSUBACK)
		return;
	for (size_t i = 0; i < p->list.n; i++)
		if (f->version == MQTT_5)
			sink_u8(s, legal_reason(p->type, p->list.p[i]));
		else
			sink_u8(s, p->list.p[i] > MQTT_GRANTED_2 ? MQTT_FAILED : p->list.p[i]);
}

/* All behind the fixed header. */
static void emit(struct sink *s, struct form *f)
{
	const struct mqtt_packet *p = f->p;

	switch (p->type) {
	case MQTT_CONNECT:
		emit_connect(s, f);
		break;
	case MQTT_CONNACK:
		emit_connack(s, f);
		break;
	case MQTT_PUBLISH:
		emit_publish(s, f);
		break;
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		sink_u16(s, p->id);
		emit_reason(s, f);
		break;
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE:
		sink_u16(s, p->id);
		emit_props(s, f);
		sink_raw(s, p->list);
		break;
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
		emit_codes(s, f);
		break;
	case MQTT_DISCONNECT:
	case MQTT_AUTH:
		emit_reason(s, f);
		break;
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
		break;
	}
}

static uint8_t first_byte(const struct mqtt_packet *p)
{
	uint8_t flags = p->type == MQTT_PUBREL || p->type == MQTT_SUBSCRIBE || p->type == MQTT_UNSUBSCRIBE ? 2 : 0;

	if (p->type == MQTT_PUBLISH)
		flags = (uint8_t)((p->qos > 0 && p->dup) << 3 | p->qos << 1 | p->retain);
	return (uint8_t)(p->type << 4 | flags);
}

static bool may_be_brief(enum mqtt_type type)
{
	return type != MQTT_CONNECT && type != MQTT_PUBLISH && type != MQTT_SUBSCRIBE && type != MQTT_UNSUBSCRIBE;
}

static size_t var_size(size_t v)
{
	return 1 + (v >= 1u << 7) + (v >= 1u << 14) + (v >= 1u << 21);
}

/* The size of the whole packet; 0: it cannot be written. */
static size_t measure(struct form *f, uint32_t max_packet, size_t *ret_length)
{
	struct sink count = {NULL, 0};

	emit(&count, f);
	*ret_length = count.n;
	if (count.n > MQTT_LENGTH_MAX || (max_packet != 0 && 1 + var_size(count.n) + count.n > max_packet))
		return 0;
	return 1 + var_size(count.n) + count.n;
}

static bool put(struct buf *b, uint32_t max_packet, struct form *f)
{
	const struct mqtt_packet *p = f->p;
	struct sink s = {NULL, 0};
	size_t length, size, absent = f->no_payload ? p->payload.n : 0;

	CHECK((f->version == MQTT_5 || f->version == MQTT_3_1_1) && p->type >= MQTT_CONNECT && p->type <= MQTT_AUTH && p->qos <= 2);
	CHECK(p->type != MQTT_AUTH || f->version == MQTT_5);
	if (p->type == MQTT_CONNACK && f->version != MQTT_5 && mqtt_return_code(p->reason) < 0)
		return false;
	size = measure(f, max_packet, &length);
	if (size == 0 && f->version == MQTT_5 && may_be_brief(p->type)) {
		f->brief = true;
		size = measure(f, max_packet, &length);
	}
	if (size == 0)
		return false;
	s.p = buf_room(b, size - absent);
	if (s.p == NULL)
		return false;
	sink_u8(&s, first_byte(p));
	sink_var(&s, (uint32_t)length);
	emit(&s, f);
	CHECK(s.n == size);
	buf_used(b, size - absent);
	return true;
}

bool mqtt_put(struct buf *b, uint8_t version, uint32_t max_packet, const struct mqtt_packet *p)
{
	struct form f = {.p = p, .version = version};

	return put(b, max_packet, &f);
}

bool mqtt_put_publish_head(struct buf *b, uint8_t version, uint32_t max_packet, const struct mqtt_packet *p, size_t *ret_id_at)
{
	struct form f = {.p = p, .version = version, .no_payload = true};
	size_t start = b->n;

	CHECK(p->type == MQTT_PUBLISH);
	if (!put(b, max_packet, &f))
		return false;
	*ret_id_at = start + f.id_at; /* the sink began at the first byte */
	return true;
}

void mqtt_set_id(uint8_t *head, size_t id_at, uint16_t id, bool dup)
{
	be16_put(head + id_at, id);
	head[0] = (uint8_t)((head[0] & ~8) | dup << 3);
}

void mqtt_put_ack(struct buf *b, uint8_t version, enum mqtt_type type, uint16_t id, uint8_t reason)
{
	uint8_t bytes[LONGEST_ACK];
	struct sink s = {bytes, 0};
	bool bare;

	CHECK(type >= MQTT_PUBACK && type <= MQTT_PUBCOMP);
	reason = legal_reason(type, reason);
	bare = version != MQTT_5 || reason == MQTT_OK;
	sink_u8(&s, (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 2 : 0)));
	sink_u8(&s, bare ? 2 : 3);
	sink_u16(&s, id);
	if (!bare)
		sink_u8(&s, reason);
	buf_put(b, bytes, s.n);
}

void mqtt_put_filter(struct buf *b, enum mqtt_type type, const struct mqtt_filter *f)
{
	CHECK(f->filter.n <= MQTT_STRING_MAX && f->qos <= 2 && f->retain_handling <= 2);
	buf_be16(b, (uint16_t)f->filter.n);
	buf_slice(b, f->filter);
	if (type == MQTT_SUBSCRIBE)
		buf_u8(b, (uint8_t)(f->qos | f->no_local << 2 | f->retain_as_published << 3 | f->retain_handling << 4));
}
