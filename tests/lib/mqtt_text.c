/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/lib/mqtt_text.h"

#include <stdlib.h>

#include "base/obj.h"

static const char *quoted(struct buf *b, const char *p, bool length)
{
	const char *end = strchr(p, '\'');

	CHECK(end != NULL);
	if (length)
		buf_be16(b, (uint16_t)(end - p));
	buf_put(b, p, (size_t)(end - p));
	return end + 1;
}

static const char *pair(struct buf *b, const char *p)
{
	char digits[3] = {p[0], p[0] == '\0' ? '\0' : p[1], '\0'}, *end;
	unsigned long v = strtoul(digits, &end, 16);

	CHECK(end == digits + 2);
	buf_u8(b, (uint8_t)v);
	return p + 2;
}

/* Puts the length of all from 'at' on in front of it. */
static void put_length(struct buf *b, size_t at)
{
	size_t length = b->n - at, n = 0;
	uint8_t var[4];

	for (size_t left = length; n == 0 || left > 0; left >>= 7)
		var[n++] = (uint8_t)((left & 0x7F) | (left > 0x7F ? 0x80 : 0));
	buf_room(b, n);
	memmove(b->p + at + n, b->p + at, length);
	memcpy(b->p + at, var, n);
	buf_used(b, n);
}

void mqtt_bytes(struct buf *b, const char *script)
{
	size_t packet_at = 0, section_at = 0;

	while (*script != '\0')
		if (*script == ' ') {
			script++;
		} else if (*script == 'L') {
			packet_at = b->n;
			script++;
		} else if (*script == '{') {
			section_at = b->n;
			script++;
		} else if (*script == '}') {
			put_length(b, section_at);
			script++;
		} else if (*script == '\'') {
			script = quoted(b, script + 1, false);
		} else if (script[0] == 's' && script[1] == '\'') {
			script = quoted(b, script + 2, true);
		} else {
			script = pair(b, script);
		}
	if (packet_at > 0)
		put_length(b, packet_at);
}

static void show_text(struct buf *b, const char *name, struct slice s)
{
	buf_str(b, name);
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] > 0x20 && s.p[i] < 0x7F && s.p[i] != '\\')
			buf_u8(b, s.p[i]);
		else
			buf_fmt(b, "\\x%02X", s.p[i]);
}

static void show_flag(struct buf *b, bool is, const char *name)
{
	if (is)
		buf_str(b, name);
}

static void show_props(struct buf *b, const struct mqtt_props *p)
{
	struct slice rest = p->repeated, name, value;
	uint32_t id;
	char sep = '[';

	if (p->has == 0)
		return;
	buf_str(b, " props");
#define NUMBER(field) buf_fmt(b, "%c" #field "=%lu", sep, (unsigned long)p->field)
#define TEXT(field) (buf_u8(b, (uint8_t)sep), show_text(b, #field "=", p->field))
#define SHOW_BIT NUMBER
#define SHOW_U16 NUMBER
#define SHOW_U16_POS NUMBER
#define SHOW_U32 NUMBER
#define SHOW_U32_POS NUMBER
#define SHOW_VAR_POS NUMBER
#define SHOW_STR TEXT
#define SHOW_TOPIC TEXT
#define SHOW_BIN TEXT
#define SHOW_PAIR(field) (void)0
#define X(NAME, id_, kind, field, where) \
	if (MQTT_P_##NAME != MQTT_P_USER && mqtt_has(p, MQTT_P_##NAME)) { \
		SHOW_##kind(field); \
		sep = ' '; \
	}
#include "front/mqtt/props.tbl"
#undef X
	while (mqtt_sub_id_next(&rest, &id)) {
		buf_fmt(b, "%cid:%u", sep, id);
		sep = ' ';
	}
	rest = p->repeated;
	while (mqtt_user_next(&rest, &name, &value)) {
		buf_u8(b, (uint8_t)sep);
		show_text(b, "user:", name);
		show_text(b, "=", value);
		sep = ' ';
	}
	buf_u8(b, ']');
}

static void show_connect(struct buf *b, const struct mqtt_packet *p)
{
	show_flag(b, p->clean_start, " clean");
	buf_fmt(b, " keepalive=%u", p->keep_alive);
	show_text(b, " client=", p->client_id);
	show_props(b, &p->props);
	if (p->has_user)
		show_text(b, " user=", p->user);
	if (p->has_password)
		show_text(b, " password=", p->password);
	if (p->has_will) {
		buf_fmt(b, " will{qos%u", p->will.qos);
		show_flag(b, p->will.retain, " retain");
		show_text(b, " topic=", p->will.topic);
		show_props(b, &p->will.props);
		show_text(b, " payload=", p->will.payload);
		buf_str(b, "}");
	}
}

static void show_publish(struct buf *b, const struct mqtt_packet *p)
{
	buf_fmt(b, " qos%u", p->qos);
	show_flag(b, p->dup, " dup");
	show_flag(b, p->retain, " retain");
	if (p->id != 0)
		buf_fmt(b, " id=%u", p->id);
	show_text(b, " topic=", p->topic);
	show_props(b, &p->props);
	show_text(b, " payload=", p->payload);
}

static void show_list(struct buf *b, const struct mqtt_packet *p)
{
	struct slice rest = p->list;
	struct mqtt_filter f;

	buf_fmt(b, " id=%u", p->id);
	show_props(b, &p->props);
	if (p->type == MQTT_SUBSCRIBE || p->type == MQTT_UNSUBSCRIBE)
		while (mqtt_filter_next(p->type, &rest, &f)) {
			show_text(b, " ", f.filter);
			if (p->type == MQTT_SUBSCRIBE)
				buf_fmt(b, ":%u%s%s%s", f.qos, f.no_local ? "n" : "", f.retain_as_published ? "p" : "",
					(const char *[]){"", "h1", "h2"}[f.retain_handling]);
		}
	else
		for (size_t i = 0; i < p->list.n; i++)
			buf_fmt(b, " %02X", p->list.p[i]);
}

void mqtt_show(struct buf *b, const struct mqtt_packet *p)
{
	buf_fmt(b, "%s v%u", mqtt_type_name(p->type), p->version);
	switch (p->type) {
	case MQTT_CONNECT:
		show_connect(b, p);
		break;
	case MQTT_PUBLISH:
		show_publish(b, p);
		break;
	case MQTT_SUBSCRIBE:
	case MQTT_SUBACK:
	case MQTT_UNSUBSCRIBE:
	case MQTT_UNSUBACK:
		show_list(b, p);
		break;
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
		break;
	default:
		show_flag(b, p->session_present, " present");
		if (p->id != 0)
			buf_fmt(b, " id=%u", p->id);
		buf_fmt(b, " reason=%02X", p->reason);
		show_props(b, &p->props);
	}
}
