/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Record bytes: encode, decode, check. Decoding trusts nothing: each length is tested against what is left, and the parts must add up
 * to the size in the record's head exactly. Hosts may be IPv6 on the way in (20 bytes instead of 8), never on the way out.
 */
#include "record/record.h"

#include "base/be.h"
#include "base/crc.h"
#include "base/obj.h"
#include "base/props.h"

enum {
	FIXED_V4 = 88,       /* up to and with the body's length, IPv4 hosts */
	HOST_V6_EXTRA = 12,  /* what an IPv6 host takes more */
	TOPIC_V1_MAX = 127,  /* Java reads the length as a signed byte */
	TOPIC_MAX = 32767,
	CRC_NAME_SIZE = 9,   /* "__CRC32#" and U+0001 */
	CRC_DIGITS = 10
};
#define CRC_MASK 0x7fffffffu

static const char crc_name[] = "__CRC32#\1";

static bool lacks_end(struct slice props)
{
	return props.n > 0 && props.p[props.n - 1] != PROP_END;
}

uint32_t record_size(const struct record *r)
{
	size_t props = r->props.n + lacks_end(r->props) + RECORD_CRC_SIZE;

	CHECK(r->body.n <= INT32_MAX / 2 && r->topic.n <= TOPIC_MAX && props <= RECORD_PROPS_MAX);
	return (uint32_t)(FIXED_V4 + r->body.n + (r->topic.n > TOPIC_V1_MAX ? 2 : 1) + r->topic.n + 2 + props);
}

/* The checksum property as it must stand behind 'n' bytes at 'p'. */
static void put_crc(uint8_t to[RECORD_CRC_SIZE], const uint8_t *p, size_t n)
{
	uint32_t crc = crc32_of(p, n) & CRC_MASK;

	memcpy(to, crc_name, CRC_NAME_SIZE);
	for (unsigned i = 0; i < CRC_DIGITS; i++) {
		to[CRC_NAME_SIZE + i] = (uint8_t)('0' + crc % 10);
		crc /= 10;
	}
	to[CRC_NAME_SIZE + CRC_DIGITS] = PROP_END;
}

static uint8_t *put_bytes(uint8_t *at, struct slice s)
{
	if (s.n > 0)
		memcpy(at, s.p, s.n);
	return at + s.n;
}

void record_encode(const struct record *r, uint8_t *to)
{
	uint32_t size = record_size(r);
	bool v2 = r->topic.n > TOPIC_V1_MAX, end = lacks_end(r->props);

	CHECK((r->sys_flag & (SYS_BORN_V6 | SYS_STORE_V6)) == 0);
	be32_put(to + RECORD_AT_SIZE, size);
	be32_put(to + RECORD_AT_MAGIC, v2 ? RECORD_MAGIC_V2 : RECORD_MAGIC_V1);
	be32_put(to + RECORD_AT_BODY_CRC, crc32_of(r->body.p, r->body.n) & CRC_MASK);
	be32_put(to + RECORD_AT_QUEUE, (uint32_t)r->queue);
	be32_put(to + RECORD_AT_FLAG, (uint32_t)r->flag);
	be64_put(to + RECORD_AT_QUEUE_OFFSET, r->queue_offset);
	be64_put(to + RECORD_AT_POSITION, r->position);
	be32_put(to + RECORD_AT_SYS_FLAG, (uint32_t)r->sys_flag);
	be64_put(to + RECORD_AT_BORN_MS, (uint64_t)r->born_ms);
	be32_put(to + RECORD_AT_BORN_HOST, r->born_ip);
	be32_put(to + RECORD_AT_BORN_HOST + 4, r->born_port);
	be64_put(to + RECORD_AT_STORE_MS, (uint64_t)r->store_ms);
	be32_put(to + RECORD_AT_STORE_HOST, r->store_ip);
	be32_put(to + RECORD_AT_STORE_HOST + 4, r->store_port);
	be32_put(to + RECORD_AT_RECONSUME, (uint32_t)r->reconsume_times);
	be64_put(to + RECORD_AT_PREPARED, (uint64_t)r->prepared);
	be32_put(to + RECORD_AT_BODY_SIZE, (uint32_t)r->body.n);
	uint8_t *at = put_bytes(to + RECORD_AT_BODY, r->body);

	if (v2) {
		be16_put(at, (uint16_t)r->topic.n);
		at += 2;
	} else {
		*at++ = (uint8_t)r->topic.n;
	}
	at = put_bytes(at, r->topic);
	be16_put(at, (uint16_t)(r->props.n + end + RECORD_CRC_SIZE));
	at = put_bytes(at + 2, r->props);
	if (end)
		*at++ = PROP_END;
	CHECK(at == to + size - RECORD_CRC_SIZE);
	put_crc(at, to, (size_t)(at - to));
}

static bool ends_in_crc(struct slice props)
{
	if (props.n < RECORD_CRC_SIZE)
		return false;
	const uint8_t *tail = props.p + props.n - RECORD_CRC_SIZE;

	return memcmp(tail, crc_name, CRC_NAME_SIZE) == 0 && tail[RECORD_CRC_SIZE - 1] == PROP_END &&
	       (tail == props.p || tail[-1] == PROP_END);
}

/* Fields at fixed places; 'v6' bytes push what stands behind the hosts. Returns where the body's length stands. */
static const uint8_t *decode_fixed(const uint8_t *p, struct record *r)
{
	size_t born_v6 = (be32_get(p + RECORD_AT_SYS_FLAG) & SYS_BORN_V6) ? HOST_V6_EXTRA : 0;
	size_t store_v6 = (be32_get(p + RECORD_AT_SYS_FLAG) & SYS_STORE_V6) ? HOST_V6_EXTRA : 0;

	r->body_crc = be32_get(p + RECORD_AT_BODY_CRC);
	r->queue = (int32_t)be32_get(p + RECORD_AT_QUEUE);
	r->flag = (int32_t)be32_get(p + RECORD_AT_FLAG);
	r->queue_offset = be64_get(p + RECORD_AT_QUEUE_OFFSET);
	r->position = be64_get(p + RECORD_AT_POSITION);
	r->sys_flag = (int32_t)be32_get(p + RECORD_AT_SYS_FLAG);
	r->born_ms = (int64_t)be64_get(p + RECORD_AT_BORN_MS);
	r->born_ip = born_v6 ? 0 : be32_get(p + RECORD_AT_BORN_HOST);
	r->born_port = be32_get(p + RECORD_AT_BORN_HOST + born_v6 + 4);
	p += born_v6;
	r->store_ms = (int64_t)be64_get(p + RECORD_AT_STORE_MS);
	r->store_ip = store_v6 ? 0 : be32_get(p + RECORD_AT_STORE_HOST);
	r->store_port = be32_get(p + RECORD_AT_STORE_HOST + store_v6 + 4);
	p += store_v6;
	r->reconsume_times = (int32_t)be32_get(p + RECORD_AT_RECONSUME);
	r->prepared = (int64_t)be64_get(p + RECORD_AT_PREPARED);
	return p + RECORD_AT_BODY_SIZE;
}

/* Takes n bytes off '*rest'. */
static bool take(struct slice *rest, size_t n, struct slice *ret)
{
	if (n > rest->n)
		return false;
	*ret = slice_of(rest->p, n);
	rest->p += n;
	rest->n -= n;
	return true;
}

/* Body, topic and properties, which must fill 'rest' exactly. */
static bool decode_parts(struct slice rest, bool v2, struct record *r)
{
	struct slice len;

	if (!take(&rest, 4, &len) || !take(&rest, be32_get(len.p), &r->body))
		return false;
	if (!take(&rest, v2 ? 2 : 1, &len))
		return false;
	size_t topic = v2 ? be16_get(len.p) : len.p[0];

	if (topic > (v2 ? TOPIC_MAX : TOPIC_V1_MAX) || !take(&rest, topic, &r->topic))
		return false;
	if (!take(&rest, 2, &len) || be16_get(len.p) > RECORD_PROPS_MAX || !take(&rest, be16_get(len.p), &r->props))
		return false;
	return rest.n == 0;
}

enum status record_decode(struct slice bytes, struct record *ret)
{
	struct record r = {0};
	uint32_t magic;

	if (bytes.n < RECORD_BLANK_SIZE)
		return ST_TOO_BIG;
	r.size = be32_get(bytes.p + RECORD_AT_SIZE);
	magic = be32_get(bytes.p + RECORD_AT_MAGIC);
	if ((magic != RECORD_MAGIC_V1 && magic != RECORD_MAGIC_V2) || r.size < RECORD_SIZE_MIN || r.size > INT32_MAX)
		return ST_PROTO;
	if (r.size > bytes.n)
		return ST_TOO_BIG;
	uint32_t sys = be32_get(bytes.p + RECORD_AT_SYS_FLAG);
	size_t fixed = FIXED_V4 - 4 + (sys & SYS_BORN_V6 ? HOST_V6_EXTRA : 0) + (sys & SYS_STORE_V6 ? HOST_V6_EXTRA : 0);

	if (r.size < fixed)
		return ST_PROTO;
	const uint8_t *parts = decode_fixed(bytes.p, &r);

	CHECK(parts == bytes.p + fixed);
	if (!decode_parts(slice_of(parts, r.size - fixed), magic == RECORD_MAGIC_V2, &r))
		return ST_PROTO;
	r.has_crc = ends_in_crc(r.props);
	*ret = r;
	return ST_OK;
}

enum status record_check(struct slice bytes, uint64_t position, bool crc_optional, struct record *ret)
{
	struct record r;

	if (record_decode(bytes, &r) != ST_OK || r.position != position || (!r.has_crc && !crc_optional))
		return ST_CORRUPT;
	if (r.has_crc) {
		uint8_t want[RECORD_CRC_SIZE];
		size_t covered = r.size - RECORD_CRC_SIZE;

		put_crc(want, bytes.p, covered);
		if (memcmp(want, bytes.p + covered, RECORD_CRC_SIZE) != 0)
			return ST_CORRUPT;
	}
	if ((crc32_of(r.body.p, r.body.n) & CRC_MASK) != r.body_crc)
		return ST_CORRUPT;
	*ret = r;
	return ST_OK;
}

enum record_kind record_peek(const uint8_t head[8], uint32_t *ret_size)
{
	uint32_t size = be32_get(head), magic = be32_get(head + 4);

	if (size == 0 && magic == 0)
		return RECORD_NOTHING;
	if (size > INT32_MAX)
		return RECORD_BAD;
	if (magic == RECORD_MAGIC_BLANK && size >= RECORD_BLANK_SIZE) {
		*ret_size = size;
		return RECORD_BLANK;
	}
	if ((magic == RECORD_MAGIC_V1 || magic == RECORD_MAGIC_V2) && size >= RECORD_SIZE_MIN) {
		*ret_size = size;
		return RECORD_MESSAGE;
	}
	return RECORD_BAD;
}

void record_blank(uint8_t to[8], uint32_t size)
{
	CHECK(size >= RECORD_BLANK_SIZE && size <= INT32_MAX);
	be32_put(to, size);
	be32_put(to + 4, RECORD_MAGIC_BLANK);
}
