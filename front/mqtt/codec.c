/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Reading packets. The fixed header is judged as soon as it is there, the rest when the packet is whole. */
#include "front/mqtt/codec_priv.h"

/* Bits of CONNECT's flags. */
enum { CONNECT_RESERVED = 0x01, CONNECT_CLEAN = 0x02, CONNECT_WILL = 0x04, CONNECT_WILL_RETAIN = 0x20, CONNECT_PASSWORD = 0x40, CONNECT_USER = 0x80 };
enum { CONNECT_WILL_QOS_SHIFT = 3, LEVEL_OF_3_1 = 3 };

static const char *const type_names[] = {
	"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK",
	"PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
};

const char *mqtt_type_name(enum mqtt_type type)
{
	return (unsigned)type < ARRAY_LEN(type_names) ? type_names[type] : type_names[0];
}

/* ---- CONNECT ---- */

/* The protocol's name and level. What comes behind them in another version is not ours to read. */
static void read_version(struct cursor *c, struct mqtt_packet *p)
{
	struct slice name = cur_bin(c);
	uint8_t level = cur_u8(c);

	if (c->why != NULL)
		return;
	if (slice_eq(name, SLICE_LIT("MQIsdp")) && level == LEVEL_OF_3_1) {
		p->version = MQTT_3_1_1; /* its CONNACK looks the same */
		cur_fail(c, MQTT_BAD_VERSION, "MQTT 3.1 is not spoken here");
	} else if (!slice_eq(name, SLICE_LIT("MQTT"))) {
		cur_fail(c, MQTT_BAD_VERSION, "the protocol is not MQTT");
	} else if (level != MQTT_3_1_1 && level != MQTT_5) {
		p->version = level < MQTT_5 ? MQTT_3_1_1 : MQTT_5;
		cur_fail(c, MQTT_BAD_VERSION, "a protocol level that is not known");
	} else {
		p->version = level;
	}
}

static void read_will(struct cursor *c, uint8_t flags, struct mqtt_packet *p)
{
	struct mqtt_will *w = &p->will;

	w->retain = (flags & CONNECT_WILL_RETAIN) != 0;
	w->qos = flags >> CONNECT_WILL_QOS_SHIFT & 3;
	if (p->version == MQTT_5)
		mqtt_props_read(c, MQTT_WHERE_WILL, &w->props);
	w->topic = cur_str(c);
	w->payload = cur_bin(c);
	if (c->why == NULL && !mqtt_topic_valid(w->topic))
		cur_fail(c, MQTT_BAD_TOPIC, "the will's topic is empty or has a wildcard");
}

static void read_connect(struct cursor *c, struct mqtt_packet *p)
{
	uint8_t flags;

	read_version(c, p);
	flags = cur_u8(c);
	if ((flags & CONNECT_RESERVED) != 0)
		cur_fail(c, MQTT_MALFORMED, "a reserved flag of CONNECT is set");
	if ((flags & CONNECT_WILL) == 0 && (flags & (CONNECT_WILL_RETAIN | 3 << CONNECT_WILL_QOS_SHIFT)) != 0)
		cur_fail(c, MQTT_MALFORMED, "QoS or retain of a will that is not there");
	if ((flags >> CONNECT_WILL_QOS_SHIFT & 3) == 3)
		cur_fail(c, MQTT_MALFORMED, "a will with QoS 3");
	if (p->version == MQTT_3_1_1 && (flags & (CONNECT_USER | CONNECT_PASSWORD)) == CONNECT_PASSWORD)
		cur_fail(c, MQTT_MALFORMED, "a password without a user name");
	p->clean_start = (flags & CONNECT_CLEAN) != 0;
	p->has_will = (flags & CONNECT_WILL) != 0;
	p->has_user = (flags & CONNECT_USER) != 0;
	p->has_password = (flags & CONNECT_PASSWORD) != 0;
	p->keep_alive = cur_u16(c);
	if (p->version == MQTT_5)
		mqtt_props_read(c, mqtt_where(MQTT_CONNECT), &p->props);
	p->client_id = cur_str(c);
	if (p->has_will)
		read_will(c, flags, p);
	if (p->has_user)
		p->user = cur_str(c);
	if (p->has_password)
		p->password = cur_bin(c);
	if (c->why == NULL && p->version == MQTT_3_1_1 && p->client_id.n == 0 && !p->clean_start)
		cur_fail(c, MQTT_BAD_CLIENT_ID, "a session that is kept needs a client identifier");
}

static void read_connack(struct cursor *c, struct mqtt_packet *p)
{
	static const uint8_t reasons[] = {MQTT_OK, MQTT_BAD_VERSION, MQTT_BAD_CLIENT_ID, MQTT_UNAVAILABLE, MQTT_BAD_USER, MQTT_NOT_AUTHORIZED};
	uint8_t flags = cur_u8(c), code = cur_u8(c);

	if (flags > 1)
		cur_fail(c, MQTT_MALFORMED, "a reserved flag of CONNACK is set");
	if (code != 0 && flags != 0)
		cur_fail(c, MQTT_PROTOCOL_ERROR, "a refused connection with a session");
	p->session_present = flags == 1;
	p->reason = code;
	if (p->version == MQTT_5)
		mqtt_props_read(c, mqtt_where(MQTT_CONNACK), &p->props);
	else if (code < ARRAY_LEN(reasons))
		p->reason = reasons[code];
	else
		cur_fail(c, MQTT_MALFORMED, "an unknown return code");
}

/* ---- PUBLISH and its acknowledgements ---- */

static void read_id(struct cursor *c, struct mqtt_packet *p)
{
	p->id = cur_u16(c);
	if (c->why == NULL && p->id == 0)
		cur_fail(c, MQTT_PROTOCOL_ERROR, "a packet identifier of 0");
}

static void read_publish(struct cursor *c, uint8_t flags, struct mqtt_packet *p)
{
	p->dup = (flags & 8) != 0;
	p->qos = flags >> 1 & 3;
	p->retain = (flags & 1) != 0;
	p->topic = cur_str(c);
	if (p->qos > 0)
		read_id(c, p);
	if (p->version == MQTT_5)
		mqtt_props_read(c, mqtt_where(MQTT_PUBLISH), &p->props);
	p->payload = cur_take(c, cur_left(c));
	if (c->why != NULL)
		return;
	if (p->topic.n == 0 && p->version == MQTT_5 && !mqtt_has(&p->props, MQTT_P_TOPIC_ALIAS))
		cur_fail(c, MQTT_PROTOCOL_ERROR, "neither a topic nor an alias");
	else if (p->topic.n == 0 && p->version != MQTT_5)
		cur_fail(c, MQTT_BAD_TOPIC, "the topic is empty");
	else if (mqtt_has_wildcard(p->topic))
		cur_fail(c, MQTT_BAD_TOPIC, "the topic has a wildcard");
}

/* A reason and properties at the end of a packet of 5.0; either may be left out when nothing follows. */
static void read_reason(struct cursor *c, struct mqtt_packet *p)
{
	if (p->version == MQTT_5 && cur_left(c) > 0)
		p->reason = cur_u8(c);
	if (p->version == MQTT_5 && cur_left(c) > 0)
		mqtt_props_read(c, mqtt_where(p->type), &p->props);
}

/* ---- SUBSCRIBE and the like ---- */

static void check_options(struct cursor *c, uint8_t version, uint8_t options, struct slice filter)
{
	if ((options & 3) == 3)
		cur_fail(c, MQTT_MALFORMED, "a subscription with QoS 3");
	else if ((options & (version == MQTT_5 ? 0xC0 : 0xFC)) != 0)
		cur_fail(c, MQTT_MALFORMED, "a reserved bit of a subscription is set");
	else if ((options >> 4 & 3) == 3)
		cur_fail(c, MQTT_PROTOCOL_ERROR, "a subscription with retain handling 3");
	else if ((options & 4) != 0 && slice_starts(filter, SLICE_LIT("$share/")))
		cur_fail(c, MQTT_PROTOCOL_ERROR, "a shared subscription with no local");
}

static void read_filters(struct cursor *c, struct mqtt_packet *p)
{
	read_id(c, p);
	if (p->version == MQTT_5)
		mqtt_props_read(c, mqtt_where(p->type), &p->props);
	if (c->why == NULL && cur_left(c) == 0)
		cur_fail(c, MQTT_PROTOCOL_ERROR, "no filter");
	p->list = slice_of(c->p, cur_left(c));
	while (cur_left(c) > 0) {
		struct slice filter = cur_str(c);

		if (c->why == NULL && filter.n == 0)
			cur_fail(c, MQTT_PROTOCOL_ERROR, "an empty filter");
		if (p->type == MQTT_SUBSCRIBE)
			check_options(c, p->version, cur_u8(c), filter);
	}
}

bool mqtt_filter_next(enum mqtt_type type, struct slice *rest, struct mqtt_filter *ret)
{
	struct cursor c = cur_of(*rest);
	uint8_t options = 0;

	if (rest->n == 0)
		return false;
	ret->filter = cur_bin(&c);
	if (type == MQTT_SUBSCRIBE)
		options = cur_u8(&c);
	CHECK(c.why == NULL);
	ret->qos = options & 3;
	ret->no_local = (options & 4) != 0;
	ret->retain_as_published = (options & 8) != 0;
	ret->retain_handling = options >> 4 & 3;
	*rest = slice_of(c.p, cur_left(&c));
	return true;
}

static void read_codes(struct cursor *c, struct mqtt_packet *p)
{
	read_id(c, p);
	if (p->version == MQTT_5)
		mqtt_props_read(c, mqtt_where(p->type), &p->props);
	else if (p->type == MQTT_UNSUBACK)
		return;
	if (c->why == NULL && cur_left(c) == 0)
		cur_fail(c, MQTT_PROTOCOL_ERROR, "no reason code");
	p->list = cur_take(c, cur_left(c));
	for (size_t i = 0; i < p->list.n; i++)
		if (!mqtt_reason_allowed(p->type, p->list.p[i]) || (p->version != MQTT_5 && p->list.p[i] > MQTT_FAILED))
			cur_fail(c, MQTT_MALFORMED, "a reason code that this packet may not have");
}

/* ---- All ---- */

static void read_body(struct cursor *c, uint8_t flags, struct mqtt_packet *p)
{
	switch (p->type) {
	case MQTT_CONNECT:
		read_connect(c, p);
		break;
	case MQTT_CONNACK:
		read_connack(c, p);
		break;
	case MQTT_PUBLISH:
		read_publish(c, flags, p);
		break;
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		read_id(c, p);
		read_reason(c, p);
		break;
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE:
		read_filters(c, p);
		break;
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
		read_codes(c, p);
		break;
	case MQTT_DISCONNECT:
	case MQTT_AUTH:
		read_reason(c, p);
		break;
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
		break;
	}
	if (c->why == NULL && cur_left(c) > 0)
		cur_fail(c, MQTT_MALFORMED, "bytes behind the end of the packet's fields");
	/* Packets that have no reason leave it 0, and those that have one may say 0. */
	if (c->why == NULL && p->reason != MQTT_OK && !mqtt_reason_allowed(p->type, p->reason))
		cur_fail(c, MQTT_PROTOCOL_ERROR, "a reason code that this packet may not have");
}

/* The first byte alone. */
static void check_first(struct cursor *c, uint8_t flags, const struct mqtt_packet *p)
{
	uint8_t expected = p->type == MQTT_PUBREL || p->type == MQTT_SUBSCRIBE || p->type == MQTT_UNSUBSCRIBE ? 2 : 0;

	if (p->type == 0 || (p->type == MQTT_AUTH && p->version == MQTT_3_1_1))
		cur_fail(c, MQTT_MALFORMED, "a packet of a reserved type");
	else if (p->version == 0 && p->type != MQTT_CONNECT)
		cur_fail(c, MQTT_PROTOCOL_ERROR, "the first packet is not CONNECT");
	else if (p->type != MQTT_PUBLISH && flags != expected)
		cur_fail(c, MQTT_MALFORMED, "flags that this type of packet may not have");
	else if (p->type == MQTT_PUBLISH && (flags >> 1 & 3) == 3)
		cur_fail(c, MQTT_MALFORMED, "a PUBLISH with QoS 3");
	else if (p->type == MQTT_PUBLISH && (flags & 0xE) == 8)
		cur_fail(c, MQTT_MALFORMED, "a PUBLISH with QoS 0 that says it is a duplicate");
}

ptrdiff_t mqtt_next(struct slice bytes, uint8_t version, uint32_t max_packet, struct mqtt_packet *ret)
{
	struct cursor c = cur_of((struct slice){NULL, 0});
	uint32_t length = 0;
	uint8_t flags;
	int n;

	if (bytes.n == 0)
		return 0;
	memset(ret, 0, sizeof(*ret));
	ret->type = (enum mqtt_type)(bytes.p[0] >> 4);
	ret->version = version;
	flags = bytes.p[0] & 0xF;
	n = mqtt_var_get(bytes.p + 1, bytes.n - 1, &length);
	check_first(&c, flags, ret);
	if (n < 0)
		cur_fail(&c, MQTT_MALFORMED, "the length is not legal");
	if (n > 0 && max_packet != 0 && 1u + (uint32_t)n + length > max_packet)
		cur_fail(&c, MQTT_TOO_LARGE, "the packet is too large");
	if (c.why == NULL && (n == 0 || bytes.n - 1 - (size_t)n < length))
		return 0;
	if (c.why == NULL) {
		c = cur_of(slice_of(bytes.p + 1 + n, length));
		read_body(&c, flags, ret);
	}
	if (c.why != NULL) {
		ret->why = c.why;
		return -(ptrdiff_t)c.reason;
	}
	return 1 + n + (ptrdiff_t)length;
}
