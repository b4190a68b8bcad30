/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What the codec's files share: a reader whose first error stays, and a writer that counts first. */
#ifndef FRONT_MQTT_CODEC_PRIV_H
#define FRONT_MQTT_CODEC_PRIV_H

#include "base/be.h"
#include "base/obj.h"
#include "front/mqtt/codec.h"

/* Packets as a set; a will's properties stand beside them. */
enum { MQTT_WHERE_WILL = 1 << 16 };
static inline unsigned mqtt_where(enum mqtt_type type) { return 1u << type; }

/* After an error it is at its end and gives zeroes, so that whoever reads tests once. */
struct cursor {
	const uint8_t *p, *end;
	const char *why;      /* NULL: all is well */
	uint8_t reason;
};

static inline struct cursor cur_of(struct slice s)
{
	static const uint8_t none;
	const uint8_t *p = s.p == NULL ? &none : s.p; /* NULL is not to be counted from */

	return (struct cursor){p, p + s.n, NULL, 0};
}
static inline void cur_fail(struct cursor *c, uint8_t reason, const char *why)
{
	if (c->why == NULL) {
		c->reason = reason;
		c->why = why;
	}
	c->p = c->end;
}
static inline size_t cur_left(const struct cursor *c) { return (size_t)(c->end - c->p); }
static inline struct slice cur_take(struct cursor *c, size_t n)
{
	struct slice s = {c->p, n};

	if (cur_left(c) < n) {
		cur_fail(c, MQTT_MALFORMED, "the packet ends within a field");
		return (struct slice){NULL, 0};
	}
	c->p += n;
	return s;
}
static inline uint8_t cur_u8(struct cursor *c)
{
	struct slice s = cur_take(c, 1);

	return s.p == NULL ? 0 : s.p[0];
}
static inline uint16_t cur_u16(struct cursor *c)
{
	struct slice s = cur_take(c, 2);

	return s.p == NULL ? 0 : be16_get(s.p);
}
static inline uint32_t cur_u32(struct cursor *c)
{
	struct slice s = cur_take(c, 4);

	return s.p == NULL ? 0 : be32_get(s.p);
}
static inline struct slice cur_bin(struct cursor *c)
{
	uint16_t n = cur_u16(c);

	return cur_take(c, n);
}
static inline struct slice cur_str(struct cursor *c)
{
	struct slice s = cur_bin(c);

	if (!mqtt_text_valid(s)) {
		cur_fail(c, MQTT_MALFORMED, "a string is not UTF-8, or has U+0000 in it");
		return (struct slice){NULL, 0};
	}
	return s;
}
/*
 * A variable byte integer at the front of 'n' bytes: how many it takes, 0: more are needed, -1: it has no end within four bytes, or takes more bytes
 * than it needs.
 */
static inline int mqtt_var_get(const uint8_t *p, size_t n, uint32_t *ret)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 4; i++) {
		if (i == n)
			return 0;
		v |= (uint32_t)(p[i] & 0x7F) << 7 * i;
		if (p[i] < 0x80) {
			if (p[i] == 0 && i > 0)
				return -1;
			*ret = v;
			return (int)i + 1;
		}
	}
	return -1;
}
static inline uint32_t cur_var(struct cursor *c)
{
	uint32_t v = 0;
	int n = mqtt_var_get(c->p, cur_left(c), &v);

	if (n <= 0)
		cur_fail(c, MQTT_MALFORMED, "a variable byte integer is not legal");
	else
		c->p += n;
	return v;
}

/* Writes, or only counts where p is NULL, so that sizes and bytes come from the same code. */
struct sink {
	uint8_t *p;
	size_t n;
};

static inline void sink_u8(struct sink *s, uint8_t v)
{
	if (s->p != NULL)
		s->p[s->n] = v;
	s->n++;
}
static inline void sink_u16(struct sink *s, uint16_t v)
{
	if (s->p != NULL)
		be16_put(s->p + s->n, v);
	s->n += 2;
}
static inline void sink_u32(struct sink *s, uint32_t v)
{
	if (s->p != NULL)
		be32_put(s->p + s->n, v);
	s->n += 4;
}
static inline void sink_raw(struct sink *s, struct slice v)
{
	if (s->p != NULL && v.n > 0)
		memcpy(s->p + s->n, v.p, v.n);
	s->n += v.n;
}
static inline void sink_str(struct sink *s, struct slice v)
{
	CHECK(v.n <= MQTT_STRING_MAX);
	sink_u16(s, (uint16_t)v.n);
	sink_raw(s, v);
}
static inline void sink_var(struct sink *s, uint32_t v)
{
	CHECK(v <= MQTT_LENGTH_MAX);
	for (; v >= 0x80; v >>= 7)
		sink_u8(s, (uint8_t)(v | 0x80));
	sink_u8(s, (uint8_t)v);
}

/* A section of properties with its length in front; 'where' is one packet, or a will. */
void mqtt_props_read(struct cursor *c, unsigned where, struct mqtt_props *ret);
/* 'brief': without the reason text and user properties. Properties that may not stand there are a bug of the caller's. */
void mqtt_props_emit(struct sink *s, unsigned where, const struct mqtt_props *p, bool brief);
bool mqtt_props_none(const struct mqtt_props *p, bool brief);
bool mqtt_reason_allowed(enum mqtt_type type, uint8_t reason);

#endif
