/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The message record: published bytes, random round trips, every truncation and every flipped bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/be.h"
#include "base/crc.h"
#include "base/mem.h"
#include "base/obj.h"
#include "base/prng.h"
#include "base/props.h"
#include "record/record.h"

static struct slice hex(const char *s, uint8_t *to)
{
	size_t n = 0;

	for (; *s != '\0'; s++) {
		if (*s == ' ')
			continue;
		char t[3] = {s[0], s[1], '\0'};

		to[n++] = (uint8_t)strtoul(t, NULL, 16);
		s++;
	}
	return slice_of(to, n);
}

/* Made by the Java encoder. */
#define JAVA_RECORD \
	"00000068 daa320a7 58932aac 00000003 00000000 0000000000000007 00000000000003e8 00000000 0000018bcfe56800 7f000001 " \
	"00009c40 0000018bcfe56801 7f000001 00002a9f 00000000 0000000000000000 00000002 6869 01 54 000a 54414753 01 54616741 02"

static struct record sample(void)
{
	return (struct record){.queue = 3, .queue_offset = 7, .position = 1000, .born_ms = 1700000000000, .born_ip = 0x7f000001,
		.born_port = 40000, .store_ms = 1700000000001, .store_ip = 0x7f000001, .store_port = 10911,
		.body = SLICE_LIT("hi"), .topic = SLICE_LIT("T"), .props = SLICE_LIT("TAGS\1TagA\2")};
}

static void assert_same(const struct record *a, const struct record *b)
{
	assert_int_equal(a->queue, b->queue);
	assert_int_equal(a->flag, b->flag);
	assert_int_equal(a->queue_offset, b->queue_offset);
	assert_int_equal(a->position, b->position);
	assert_int_equal(a->sys_flag, b->sys_flag);
	assert_int_equal(a->born_ms, b->born_ms);
	assert_int_equal(a->born_ip, b->born_ip);
	assert_int_equal(a->born_port, b->born_port);
	assert_int_equal(a->store_ms, b->store_ms);
	assert_int_equal(a->store_ip, b->store_ip);
	assert_int_equal(a->store_port, b->store_port);
	assert_int_equal(a->reconsume_times, b->reconsume_times);
	assert_int_equal(a->prepared, b->prepared);
	assert_true(slice_eq(a->body, b->body));
	assert_true(slice_eq(a->topic, b->topic));
}

static void a_java_record_decodes(void **state)
{
	uint8_t raw[200];
	struct slice bytes = hex(JAVA_RECORD, raw);
	struct record r, want = sample();

	(void)state;
	assert_int_equal(bytes.n, 104);
	assert_int_equal(record_decode(bytes, &r), ST_OK);
	assert_int_equal(r.size, 104);
	assert_int_equal(r.body_crc, 0x58932aac);
	assert_false(r.has_crc);
	assert_same(&r, &want);
	assert_true(slice_eq(r.props, want.props));
	assert_int_equal(record_check(bytes, 1000, true, &r), ST_OK);
	assert_int_equal(record_check(bytes, 1000, false, &r), ST_CORRUPT);
	assert_int_equal(record_check(bytes, 1001, true, &r), ST_CORRUPT);
}

/* Encoding the same record gives the Java bytes, but for the size, the properties' length and the checksum behind them. */
static void encode_matches_java(void **state)
{
	uint8_t raw[200], mine[200];
	struct slice java = hex(JAVA_RECORD, raw);
	struct record r = sample(), back;

	(void)state;
	assert_int_equal(record_size(&r), 124);
	record_encode(&r, mine);
	be32_put(raw, 124);
	be16_put(raw + java.n - 12, 30);
	assert_memory_equal(raw, mine, java.n);
	uint32_t crc = crc32_of(mine, java.n) & 0x7fffffff;
	char want[21] = "__CRC32#\1";

	for (int i = 0; i < 10; i++, crc /= 10)
		want[9 + i] = (char)('0' + crc % 10);
	want[19] = '\2';
	assert_memory_equal(mine + java.n, want, 20);
	assert_int_equal(record_check(slice_of(mine, 124), 1000, false, &back), ST_OK);
	assert_true(back.has_crc);
}

static void the_missing_end_of_4_9_properties_is_inserted(void **state)
{
	uint8_t mine[200];
	struct record r = sample(), back;
	struct slice tag;

	(void)state;
	r.props = SLICE_LIT("TAGS\1TagA");
	assert_int_equal(record_size(&r), 124);
	record_encode(&r, mine);
	assert_int_equal(record_check(slice_of(mine, 124), 1000, false, &back), ST_OK);
	assert_int_equal(back.props.n, 30);
	assert_true(props_get(back.props, SLICE_LIT("TAGS"), &tag));
	assert_true(slice_eq_str(tag, "TagA"));
	r.props = SLICE_LIT("");
	assert_int_equal(record_size(&r), 114);
	record_encode(&r, mine);
	assert_int_equal(record_check(slice_of(mine, 114), 1000, false, &back), ST_OK);
	assert_int_equal(back.props.n, 20);
}

static struct slice random_bytes(struct prng *p, size_t n, uint8_t *to)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)prng_u64(p);
	return slice_of(to, n);
}

static void random_records_round_trip(void **state)
{
	static uint8_t body[70000], topic[300], props[RECORD_PROPS_MAX], to[200000];
	struct prng p;

	(void)state;
	prng_init(&p, 7);
	for (int i = 0; i < 3000; i++) {
		struct record back, r = {.queue = (int32_t)prng_u64(&p), .flag = (int32_t)prng_u64(&p), .queue_offset = prng_u64(&p),
			.position = prng_u64(&p), .sys_flag = (int32_t)(prng_u64(&p) & ~0x30u), .born_ms = (int64_t)prng_u64(&p),
			.born_ip = (uint32_t)prng_u64(&p), .born_port = (uint32_t)prng_u64(&p), .store_ms = (int64_t)prng_u64(&p),
			.store_ip = (uint32_t)prng_u64(&p), .store_port = (uint32_t)prng_u64(&p),
			.reconsume_times = (int32_t)prng_u64(&p), .prepared = (int64_t)prng_u64(&p)};

		r.body = random_bytes(&p, prng_below(&p, prng_below(&p, 70000) + 1), body);
		r.topic = random_bytes(&p, prng_below(&p, 300), topic);
		r.props = random_bytes(&p, prng_below(&p, RECORD_PROPS_MAX - 21), props);
		uint32_t size = record_size(&r);

		to[size] = 0xa5;
		record_encode(&r, to);
		assert_int_equal(to[size], 0xa5);
		assert_int_equal(record_check(slice_of(to, size + 1), r.position, false, &back), ST_OK);
		assert_int_equal(back.size, size);
		assert_same(&r, &back);
		assert_true(slice_starts(back.props, r.props));
		assert_true(back.has_crc);
		assert_int_equal(record_check(slice_of(to, size), r.position + 1, false, &back), ST_CORRUPT);
	}
}

static void every_truncation_is_seen(void **state)
{
	uint8_t mine[400];
	struct record r = sample(), back;

	(void)state;
	for (int v2 = 0; v2 < 2; v2++) {
		static uint8_t long_topic[140];

		if (v2)
			r.topic = slice_of(long_topic, sizeof(long_topic));
		uint32_t size = record_size(&r);

		record_encode(&r, mine);
		for (uint32_t n = 0; n < size; n++) {
			/* On the heap, so that the address sanitizer sees a read behind the end. */
			uint8_t *cut = mem_grow(NULL, n);

			memcpy(cut, mine, n);
			assert_int_equal(record_decode(slice_of(cut, n), &back), ST_TOO_BIG);
			if (n >= RECORD_SIZE_MIN) {
				be32_put(cut, n); /* a size that agrees with the bytes, but not with the parts */
				assert_int_equal(record_decode(slice_of(cut, n), &back), ST_PROTO);
			}
			assert_int_equal(record_check(slice_of(cut, n), 1000, true, &back), ST_CORRUPT);
			mem_free(cut);
		}
	}
}

static void every_flipped_bit_is_caught(void **state)
{
	uint8_t mine[400];
	struct record r = sample(), back;
	uint32_t size = record_size(&r);

	(void)state;
	record_encode(&r, mine);
	for (uint32_t bit = 0; bit < size * 8; bit++) {
		mine[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(record_check(slice_of(mine, size), 1000, false, &back), ST_CORRUPT);
		mine[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(record_check(slice_of(mine, size), 1000, false, &back), ST_OK);
	/* Without the demand for a checksum only a flip that spoils the property's own name may pass. */
	for (uint32_t bit = 0; bit < size * 8; bit++) {
		bool in_name = bit / 8 == size - RECORD_CRC_SIZE - 1 || (bit / 8 >= size - RECORD_CRC_SIZE && bit / 8 < size - 11) ||
			bit / 8 == size - 1;

		mine[bit / 8] ^= (uint8_t)(1u << bit % 8);
		enum status st = record_check(slice_of(mine, size), 1000, true, &back);

		if (!in_name)
			assert_int_equal(st, ST_CORRUPT);
		mine[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

/* A record of an Apache broker with IPv6 hosts: 12 bytes more for each. */
static void ipv6_hosts_push_what_stands_behind(void **state)
{
	uint8_t mine[200], wide[300];
	struct record r = sample(), back;
	uint32_t size = record_size(&r);

	(void)state;
	record_encode(&r, mine);
	for (uint32_t sys = 0x10; sys <= 0x30; sys += 0x10) {
		uint32_t born = sys & 0x10 ? 12 : 0, store = sys & 0x20 ? 12 : 0;

		memset(wide, 0xee, sizeof(wide));
		memcpy(wide, mine, 48);
		memcpy(wide + 48 + born, mine + 48, 16);
		memcpy(wide + 64 + born + store, mine + 64, size - 64);
		be32_put(wide, size + born + store);
		be32_put(wide + RECORD_AT_SYS_FLAG, sys);
		assert_int_equal(record_decode(slice_of(wide, size + born + store), &back), ST_OK);
		assert_int_equal(back.sys_flag, sys);
		assert_int_equal(back.born_ip, born ? 0 : 0x7f000001);
		assert_int_equal(back.store_ip, store ? 0 : 0x7f000001);
		assert_int_equal(back.born_port, 40000);
		assert_int_equal(back.store_port, 10911);
		assert_int_equal(back.store_ms, 1700000000001);
		assert_true(slice_eq_str(back.body, "hi"));
		assert_true(slice_eq_str(back.topic, "T"));
		assert_int_equal(back.props.n, 30);
		/* The same bytes without the room for the hosts do not add up. */
		be32_put(wide, size);
		assert_int_equal(record_decode(slice_of(wide, size), &back), ST_PROTO);
	}
}

static void random_bytes_never_pass(void **state)
{
	uint8_t mine[200], raw[200];
	struct record r = sample(), back;
	uint32_t size = record_size(&r);
	struct prng p;

	(void)state;
	prng_init(&p, 11);
	record_encode(&r, mine);
	for (int i = 0; i < 20000; i++) {
		memcpy(raw, mine, size);
		for (uint64_t k = prng_below(&p, 8) + 1; k > 0; k--)
			raw[8 + prng_below(&p, size - 8)] = (uint8_t)prng_u64(&p);
		if (memcmp(raw, mine, size) != 0)
			assert_int_equal(record_check(slice_of(raw, size), 1000, false, &back), ST_CORRUPT);
		random_bytes(&p, size - 8, raw + 8);
		assert_int_equal(record_check(slice_of(raw, size), be64_get(raw + 28), false, &back), ST_CORRUPT);
	}
}

static void peek_tells_what_stands_there(void **state)
{
	uint8_t head[8] = {0};
	uint32_t size = 0;

	(void)state;
	assert_int_equal(record_peek(head, &size), RECORD_NOTHING);
	record_blank(head, 8);
	assert_int_equal(record_peek(head, &size), RECORD_BLANK);
	assert_int_equal(size, 8);
	record_blank(head, 100000);
	assert_int_equal(record_peek(head, &size), RECORD_BLANK);
	assert_int_equal(size, 100000);
	be32_put(head, 7);
	assert_int_equal(record_peek(head, &size), RECORD_BAD);
	be32_put(head + 4, RECORD_MAGIC_V1);
	be32_put(head, 90);
	assert_int_equal(record_peek(head, &size), RECORD_BAD);
	be32_put(head, 91);
	assert_int_equal(record_peek(head, &size), RECORD_MESSAGE);
	be32_put(head + 4, RECORD_MAGIC_V2);
	assert_int_equal(record_peek(head, &size), RECORD_MESSAGE);
	be32_put(head, 0x80000000u);
	assert_int_equal(record_peek(head, &size), RECORD_BAD);
	be32_put(head, 91);
	be32_put(head + 4, 0);
	assert_int_equal(record_peek(head, &size), RECORD_BAD);
}

static void offset_ids(void **state)
{
	char id[OFFSET_ID_SIZE + 1];
	uint32_t ip, port;
	uint64_t position;

	(void)state;
	offset_id_format(id, 0x7f000001, 10911, 1000);
	assert_string_equal(id, "7F00000100002A9F00000000000003E8");
	assert_true(offset_id_parse(slice_str(id), &ip, &port, &position));
	assert_int_equal(ip, 0x7f000001);
	assert_int_equal(port, 10911);
	assert_int_equal(position, 1000);
	assert_true(offset_id_parse(slice_str("7f00000100002a9f00000000000003e8"), &ip, &port, &position));
	assert_false(offset_id_parse(slice_str("7F00000100002A9F00000000000003E"), &ip, &port, &position));
	assert_false(offset_id_parse(slice_str("7F00000100002A9F00000000000003E80"), &ip, &port, &position));
	assert_false(offset_id_parse(slice_str("7G00000100002A9F00000000000003E8"), &ip, &port, &position));
}

#define JAVA_ELEMENT \
	"00000033 00000000 00000000 00000000 00000002 6869 001b 4b455953016b02 574149540174727565 02 5441475301 54616741 02"

static void batch_elements(void **state)
{
	uint8_t raw[200];
	struct slice one = hex(JAVA_ELEMENT, raw), rest, body, props, key;
	int32_t flag = 1;

	(void)state;
	assert_int_equal(one.n, 0x33);
	memcpy(raw + one.n, raw, one.n);
	be32_put(raw + one.n + 12, 0xfffffffeu);
	rest = slice_of(raw, 2 * one.n);
	assert_int_equal(batch_next(&rest, &flag, &body, &props), ST_OK);
	assert_int_equal(flag, 0);
	assert_true(slice_eq_str(body, "hi"));
	assert_true(props_get(props, SLICE_LIT("KEYS"), &key) && slice_eq_str(key, "k"));
	assert_true(props_get(props, SLICE_LIT("TAGS"), &key) && slice_eq_str(key, "TagA"));
	assert_int_equal(batch_next(&rest, &flag, &body, &props), ST_OK);
	assert_int_equal(flag, -2);
	assert_int_equal(batch_next(&rest, &flag, &body, &props), ST_NOT_FOUND);
	for (size_t n = 1; n < one.n; n++) {
		rest = slice_of(raw, n);
		assert_int_equal(batch_next(&rest, &flag, &body, &props), ST_PROTO);
		be32_put(raw, (uint32_t)n);
		assert_int_equal(batch_next(&rest, &flag, &body, &props), ST_PROTO);
		be32_put(raw, 0x33);
	}
	be32_put(raw + 16, 0xfffffff0u);
	rest = slice_of(raw, one.n);
	assert_int_equal(batch_next(&rest, &flag, &body, &props), ST_PROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_java_record_decodes),
		cmocka_unit_test(encode_matches_java),
		cmocka_unit_test(the_missing_end_of_4_9_properties_is_inserted),
		cmocka_unit_test(random_records_round_trip),
		cmocka_unit_test(every_truncation_is_seen),
		cmocka_unit_test(every_flipped_bit_is_caught),
		cmocka_unit_test(ipv6_hosts_push_what_stands_behind),
		cmocka_unit_test(random_bytes_never_pass),
		cmocka_unit_test(peek_tells_what_stands_there),
		cmocka_unit_test(offset_ids),
		cmocka_unit_test(batch_elements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
