/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The MQTT codec: packets as both specifications show them, each read whole, cut at every byte and byte by byte, and written again; and what must be refused. In the scripts
 * L is the remaining length (tests/lib/mqtt_text.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "tests/lib/mqtt_text.h"

static struct buf bytes, shown, again;

static int teardown(void **state)
{
	(void)state;
	buf_fini(&bytes);
	buf_fini(&shown);
	buf_fini(&again);
	return 0;
}

/* Reads from a copy that ends where the bytes end, so that a sanitizer sees whoever looks further. */
static ptrdiff_t read_exactly(struct slice s, uint8_t version, uint32_t max, struct mqtt_packet *p, uint8_t **ret_copy)
{
	*ret_copy = malloc(s.n > 0 ? s.n : 1);
	if (s.n > 0)
		memcpy(*ret_copy, s.p, s.n);
	return mqtt_next(slice_of(*ret_copy, s.n), version, max, p);
}

/* ---- Packets that are fine ---- */

static const struct good {
	uint8_t version;
	const char *script, *shown;
	const char *written; /* what it is written as, where that is another form; else NULL */
} goods[] = {
	/* 3.1.1, figures 3.2 to 3.6: a CONNECT with everything */
	{4, "10 L s'MQTT' 04 CE 000A s'' s'W/t' s'bye' s'u' s'p'",
		"CONNECT v4 clean keepalive=10 client= user=u password=p will{qos1 topic=W/t payload=bye}", NULL},
	{4, "10 0E 0004 'MQTT' 04 02 003C 0002 'id'", "CONNECT v4 clean keepalive=60 client=id", NULL},
	{4, "10 L s'MQTT' 04 36 0000 s'x' s'w' 0002 00FF", "CONNECT v4 clean keepalive=0 client=x will{qos2 retain topic=w payload=\\x00\\xFF}", NULL},
	{4, "10 L s'MQTT' 04 80 0000 s'x' s'u'", "CONNECT v4 keepalive=0 client=x user=u", NULL},
	{5, "10 L s'MQTT' 05 CE 000A {11 00000E10} s'me' {01 01 03 s't/x' 18 00000005} s'W' s'bye' s'u' s'p'",
		"CONNECT v5 clean keepalive=10 client=me props[session_expiry=3600] user=u password=p "
		"will{qos1 topic=W props[payload_format=1 content_type=t/x will_delay=5] payload=bye}", NULL},
	{5, "10 L s'MQTT' 05 40 0000 {} s'' s'p'", "CONNECT v5 keepalive=0 client= password=p", NULL},
	{5, "10 L s'MQTT' 05 00 0000 {11 FFFFFFFF 15 s'SCRAM' 16 0002 0001 17 00 19 01 21 0014 22 000A 27 00010000 26 s'k' s'v' 26 s'k' s'w'} s'a'",
		"CONNECT v5 keepalive=0 client=a props[session_expiry=4294967295 auth_method=SCRAM auth_data=\\x00\\x01 request_problem=0 "
		"request_response=1 receive_max=20 alias_max=10 max_packet=65536 user:k=v user:k=w]", NULL},
	{4, "20 02 00 00", "CONNACK v4 reason=00", NULL},
	{4, "20 02 01 00", "CONNACK v4 present reason=00", NULL},
	{4, "20 02 00 01", "CONNACK v4 reason=84", NULL},
	{4, "20 02 00 05", "CONNACK v4 reason=87", NULL},
	{5, "20 03 01 00 00", "CONNACK v5 present reason=00", NULL},
	{5, "20 L 00 87 {1F s'no way'}", "CONNACK v5 reason=87 props[reason=no\\x20way]", NULL},
	{5, "20 L 00 00 {11 00000001 12 s'gen' 13 0005 1A s'r' 1C s'o' 21 0010 22 0000 24 01 25 01 27 00000800 28 01 29 00 2A 00 26 s'a' s'b'}",
		"CONNACK v5 reason=00 props[session_expiry=1 client_id=gen server_keep_alive=5 response_info=r server_reference=o receive_max=16 "
		"alias_max=0 max_qos=1 retain_available=1 max_packet=2048 wildcards_available=1 sub_ids_available=0 shared_available=0 user:a=b]", NULL},
	/* 3.1.1, figure 3.11: topic a/b, identifier 10 */
	{4, "32 07 0003 'a/b' 000A", "PUBLISH v4 qos1 id=10 topic=a/b payload=", NULL},
	{4, "30 L s'a/b' 'hello'", "PUBLISH v4 qos0 topic=a/b payload=hello", NULL},
	{4, "3D L s'a' FFFF 00", "PUBLISH v4 qos2 dup retain id=65535 topic=a payload=\\x00", NULL},
	{4, "30 L s'\xEF\xBB\xBF\xF0\x90\x80\x80' 'x'", "PUBLISH v4 qos0 topic=\\xEF\\xBB\\xBF\\xF0\\x90\\x80\\x80 payload=x", NULL},
	{5, "32 L s'a/b' 000A {} 'hi'", "PUBLISH v5 qos1 id=10 topic=a/b payload=hi", NULL},
	{5, "31 L s'a' {26 s'k' s'v' 01 01 02 0000000A 08 s'r/s' 03 s'text' 23 0007 09 0003 00FF01 26 s'k' s''}",
		"PUBLISH v5 qos0 retain topic=a props[payload_format=1 message_expiry=10 content_type=text response_topic=r/s "
		"correlation=\\x00\\xFF\\x01 topic_alias=7 user:k=v user:k=] payload=",
		"31 L s'a' {01 01 02 0000000A 03 s'text' 08 s'r/s' 09 0003 00FF01 23 0007 26 s'k' s'v' 26 s'k' s''}"},
	{5, "30 L s'' {23 0001} 'x'", "PUBLISH v5 qos0 topic= props[topic_alias=1] payload=x", NULL},
	{5, "30 L s'a' {0B 01 0B FFFFFF7F 26 s'n' s'v' 0B 05}",
		"PUBLISH v5 qos0 topic=a props[sub_id=1 id:1 id:268435455 id:5 user:n=v] payload=", NULL},
	{4, "40 02 000A", "PUBACK v4 id=10 reason=00", NULL},
	{5, "40 02 000A", "PUBACK v5 id=10 reason=00", NULL},
	{5, "40 03 000A 10", "PUBACK v5 id=10 reason=10", NULL},
	{5, "40 03 000A 00", "PUBACK v5 id=10 reason=00", "40 02 000A"},
	{5, "40 04 000A 00 00", "PUBACK v5 id=10 reason=00", "40 02 000A"},
	{5, "40 L 000A 97 {26 s'k' s'v' 1F s'full'}", "PUBACK v5 id=10 reason=97 props[reason=full user:k=v]",
		"40 L 000A 97 {1F s'full' 26 s'k' s'v'}"},
	{4, "50 02 0001", "PUBREC v4 id=1 reason=00", NULL},
	{5, "50 03 0001 91", "PUBREC v5 id=1 reason=91", NULL},
	{4, "62 02 0001", "PUBREL v4 id=1 reason=00", NULL},
	{5, "62 03 0001 92", "PUBREL v5 id=1 reason=92", NULL},
	{4, "70 02 0001", "PUBCOMP v4 id=1 reason=00", NULL},
	{5, "70 L 0001 00 {26 s'' s''}", "PUBCOMP v5 id=1 reason=00 props[user:=]", NULL},
	/* 3.1.1, figure 3.23: a/b with QoS 1, c/d with QoS 2 */
	{4, "82 0E 000A 0003 'a/b' 01 0003 'c/d' 02", "SUBSCRIBE v4 id=10 a/b:1 c/d:2", NULL},
	{4, "82 L 0001 s'#' 00 s'$share/g/+/x' 01", "SUBSCRIBE v4 id=1 #:0 $share/g/+/x:1", NULL},
	{5, "82 L 000A {} s'a/b' 01 s'c' 2E s'd' 18", "SUBSCRIBE v5 id=10 a/b:1 c:2nph2 d:0ph1", NULL},
	{5, "82 L 000A {0B 8001} s'a' 00", "SUBSCRIBE v5 id=10 props[sub_id=128 id:128] a:0", NULL},
	{4, "90 03 000A 00", "SUBACK v4 id=10 00", NULL},
	{4, "90 06 000A 00 01 02 80", "SUBACK v4 id=10 00 01 02 80", NULL},
	{5, "90 L 000A {} 00 01 8F A2", "SUBACK v5 id=10 00 01 8F A2", NULL},
	/* 3.1.1, figure 3.30 */
	{4, "A2 0C 000A 0003 'a/b' 0003 'c/d'", "UNSUBSCRIBE v4 id=10 a/b c/d", NULL},
	{5, "A2 L 000A {26 s'k' s'v'} s'a/b'", "UNSUBSCRIBE v5 id=10 props[user:k=v] a/b", NULL},
	{4, "B0 02 000A", "UNSUBACK v4 id=10", NULL},
	{5, "B0 L 000A {1F s'x'} 00 11", "UNSUBACK v5 id=10 props[reason=x] 00 11", NULL},
	{4, "C0 00", "PINGREQ v4", NULL},
	{5, "C0 00", "PINGREQ v5", NULL},
	{5, "D0 00", "PINGRESP v5", NULL},
	{4, "E0 00", "DISCONNECT v4 reason=00", NULL},
	{5, "E0 00", "DISCONNECT v5 reason=00", NULL},
	{5, "E0 01 04", "DISCONNECT v5 reason=04", NULL},
	{5, "E0 02 8E 00", "DISCONNECT v5 reason=8E", "E0 01 8E"},
	{5, "E0 L 00 {11 00000000}", "DISCONNECT v5 reason=00 props[session_expiry=0]", NULL},
	{5, "F0 L 18 {15 s'X' 16 0003 010203}", "AUTH v5 reason=18 props[auth_method=X auth_data=\\x01\\x02\\x03]", NULL},
	{5, "F0 00", "AUTH v5 reason=00", NULL},
};

static void the_whole_packet(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
		struct mqtt_packet p;
		uint8_t *copy;

		buf_reset(&bytes);
		buf_reset(&shown);
		mqtt_bytes(&bytes, goods[i].script);
		ptrdiff_t n = read_exactly(buf_view(&bytes), goods[i].version, 0, &p, &copy);

		if (n != (ptrdiff_t)bytes.n)
			fail_msg("%s: %td, %s", goods[i].script, n, n < 0 ? p.why : "");
		mqtt_show(&shown, &p);
		assert_string_equal(buf_cstr(&shown), goods[i].shown);
		free(copy);
	}
}

static void and_written_again(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
		struct mqtt_packet p;

		buf_reset(&bytes);
		buf_reset(&again);
		mqtt_bytes(&bytes, goods[i].script);
		assert_true(mqtt_next(buf_view(&bytes), goods[i].version, 0, &p) > 0);
		assert_true(mqtt_put(&again, goods[i].version, 0, &p));
		if (goods[i].written != NULL) {
			/* What 'p' views must not move: its bytes are done with. */
			buf_reset(&bytes);
			mqtt_bytes(&bytes, goods[i].written);
		}
		if (!slice_eq(buf_view(&again), buf_view(&bytes)))
			fail_msg("%s is written differently", goods[i].script);
	}
}

static void cut_at_every_byte_it_needs_more(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
		buf_reset(&bytes);
		mqtt_bytes(&bytes, goods[i].script);
		for (size_t n = 0; n < bytes.n; n++) {
			struct mqtt_packet p;
			uint8_t *copy;

			assert_int_equal(read_exactly(slice_of(bytes.p, n), goods[i].version, 0, &p, &copy), 0);
			free(copy);
		}
	}
}

/* A run of packets in pieces of every size up to 17 bytes, as a carrier offers it: the rest again, with more behind it. */
static void pieces_of_any_size_are_the_same_packets(void **state)
{
	(void)state;
	for (uint8_t version = MQTT_3_1_1; version <= MQTT_5; version++)
		for (size_t piece = 1; piece <= 17; piece++) {
			size_t at = 0, have = 0, next = 0;

			buf_reset(&bytes);
			for (size_t i = 0; i < ARRAY_LEN(goods); i++)
				if (goods[i].version == version)
					mqtt_bytes(&bytes, goods[i].script);
			while (at < bytes.n) {
				struct mqtt_packet p;
				uint8_t *copy;

				have = u64_min(have + piece, bytes.n);
				for (ptrdiff_t n = 1; n > 0 && at < have; at += (size_t)n) {
					n = read_exactly(slice_of(bytes.p + at, have - at), version, 0, &p, &copy);
					assert_true(n >= 0);
					while (n > 0 && goods[next].version != version)
						next++;
					if (n > 0) {
						buf_reset(&shown);
						mqtt_show(&shown, &p);
						assert_string_equal(buf_cstr(&shown), goods[next++].shown);
					}
					free(copy);
				}
			}
			while (next < ARRAY_LEN(goods) && goods[next].version != version)
				next++;
			assert_int_equal(next, ARRAY_LEN(goods));
		}
}

/* ---- Packets that are not ---- */

static const struct bad {
	uint8_t version;
	uint8_t reason;
	const char *script;
} bads[] = {
	/* The fixed header */
	{4, 0x81, "00 00"},
	{5, 0x81, "00"},
	{4, 0x81, "F0 00"},
	{4, 0x81, "F0"},
	{0, 0x82, "C0 00"},
	{0, 0x82, "30"},
	{4, 0x81, "C1 00"},
	{5, 0x81, "80 L 0001 {} s'a' 00"},
	{5, 0x81, "60 02 0001"},
	{5, 0x81, "A0"},
	{4, 0x81, "11"},
	{4, 0x81, "42 02 0001"},
	{4, 0x81, "36 07 s'a/b' 000A"},
	{4, 0x81, "36"},
	{4, 0x81, "38 03 s'a'"},
	{5, 0x81, "E1 00"},
	{4, 0x81, "C0 FFFFFFFF 7F"},
	{4, 0x81, "C0 FFFFFFFF"},
	{4, 0x81, "C0 8000"},
	{4, 0x81, "40 828000 0001"},
	{4, 0x81, "C0 01 00"},
	{4, 0x81, "D0 01 00"},
	{4, 0x81, "E0 01 00"},
	/* CONNECT */
	{0, 0x84, "10 L s'MQIsdp' 03 02 003C s'id'"},
	{0, 0x84, "10 L s'MQTT' 03 02 003C s'id'"},
	{0, 0x84, "10 L s'MQTT' 06 02 003C 00 s'id'"},
	{0, 0x84, "10 L s'MQIsdp' 04 02 003C s'id'"},
	{0, 0x84, "10 L s'mqtt' 04 02 003C s'id'"},
	{0, 0x84, "10 L s'' 04 02 003C s'id'"},
	{0, 0x81, "10 L s'MQTT'"},
	{0, 0x81, "10 00"},
	{0, 0x81, "10 L s'MQTT' 04 03 003C s'id'"},
	{0, 0x81, "10 L s'MQTT' 04 42 003C s'id' s'p'"},
	{0, 0x81, "10 L s'MQTT' 04 22 003C s'id'"},
	{0, 0x81, "10 L s'MQTT' 04 0A 003C s'id'"},
	{0, 0x81, "10 L s'MQTT' 05 12 003C {} s'id'"},
	{0, 0x81, "10 L s'MQTT' 04 1E 003C s'id' s'w' s''"},
	{0, 0x90, "10 L s'MQTT' 04 06 003C s'id' s'' s''"},
	{0, 0x90, "10 L s'MQTT' 04 06 003C s'id' s'a/+' s''"},
	{0, 0x90, "10 L s'MQTT' 05 06 003C {} s'id' {} s'#' s''"},
	{0, 0x85, "10 L s'MQTT' 04 00 003C s''"},
	{0, 0x81, "10 L s'MQTT' 04 02 003C s'id' 00"},
	{0, 0x81, "10 L s'MQTT' 04 02 003C s'id' s'user'"},
	{0, 0x81, "10 L s'MQTT' 04 82 003C s'id'"},
	{0, 0x81, "10 L s'MQTT' 04 06 003C s'id' s'w'"},
	{0, 0x81, "10 L s'MQTT' 04 C2 003C s'id' s'u'"},
	{0, 0x81, "10 L s'MQTT' 04 02 003C 0002 C080"},
	{0, 0x81, "10 L s'MQTT' 04 02 003C 0003 EDA080"},
	{0, 0x81, "10 L s'MQTT' 04 02 003C 0002 4100"},
	{0, 0x81, "10 L s'MQTT' 04 82 003C s'id' 0001 FF"},
	{0, 0x81, "10 L s'MQTT' 05 02 003C"},
	{0, 0x82, "10 L s'MQTT' 05 02 003C {21 0000} s'id'"},
	{0, 0x82, "10 L s'MQTT' 05 02 003C {27 00000000} s'id'"},
	{0, 0x82, "10 L s'MQTT' 05 02 003C {17 02} s'id'"},
	{0, 0x82, "10 L s'MQTT' 05 02 003C {19 02} s'id'"},
	{0, 0x82, "10 L s'MQTT' 05 02 003C {16 0001 00} s'id'"},
	{0, 0x82, "10 L s'MQTT' 05 02 003C {11 00000000 11 00000001} s'id'"},
	{0, 0x82, "10 L s'MQTT' 05 02 003C {01 00} s'id'"},
	{0, 0x82, "10 L s'MQTT' 05 02 003C {18 00000000} s'id'"},
	{0, 0x82, "10 L s'MQTT' 05 06 003C {} s'id' {11 00000000} s'w' s''"},
	{0, 0x82, "10 L s'MQTT' 05 06 003C {} s'id' {18 00000000 18 00000000} s'w' s''"},
	/* CONNACK */
	{4, 0x81, "20 02 02 00"},
	{4, 0x81, "20 02 00 06"},
	{4, 0x82, "20 02 01 01"},
	{4, 0x81, "20 01 00"},
	{4, 0x81, "20 03 00 00 00"},
	{5, 0x81, "20 02 00 00"},
	{5, 0x82, "20 03 00 8E 00"},
	{5, 0x82, "20 L 00 00 {24 02}"},
	{5, 0x82, "20 L 00 00 {25 02}"},
	{5, 0x82, "20 L 00 00 {26 s'a' s'b' 17 00}"},
	/* PUBLISH */
	{4, 0x90, "30 L s''"},
	{4, 0x90, "30 L s'a/#' 'x'"},
	{5, 0x90, "30 L s'+' {} 'x'"},
	{5, 0x82, "30 L s'' {} 'x'"},
	{5, 0x94, "30 L s'a' {23 0000}"},
	{4, 0x82, "32 L s'a' 0000"},
	{5, 0x82, "34 L s'a' 0000 {}"},
	{4, 0x81, "32 L s'a' 00"},
	{4, 0x81, "30 01 00"},
	{4, 0x81, "30 02 0005"},
	{5, 0x81, "30 L s'a'"},
	{5, 0x81, "30 L s'a' 02 01"},
	{5, 0x81, "30 L s'a' 8000"},
	{5, 0x81, "30 L s'a' FFFFFFFF00"},
	{5, 0x81, "30 L s'a' {04 00}"},
	{5, 0x81, "30 L s'a' {00}"},
	{5, 0x81, "30 L s'a' {2B 00}"},
	{5, 0x81, "30 L s'a' {8100 00}"},
	{5, 0x81, "30 L s'a' {FF7F 00}"},
	{5, 0x82, "30 L s'a' {01 02}"},
	{5, 0x82, "30 L s'a' {01 00 01 00}"},
	{5, 0x82, "30 L s'a' {02 00000001 02 00000001}"},
	{5, 0x82, "30 L s'a' {0B 00}"},
	{5, 0x81, "30 L s'a' {0B 8000}"},
	{5, 0x82, "30 L s'a' {08 s'r/+'}"},
	{5, 0x82, "30 L s'a' {08 s''}"},
	{5, 0x82, "30 L s'a' {11 00000000}"},
	{5, 0x81, "30 L s'a' {26 s'k'}"},
	{5, 0x81, "30 L s'a' {26 s'k' 0002 FFFE}"},
	{5, 0x81, "30 L s'a' {26 0001 00 s'v'}"},
	{5, 0x81, "30 L s'a' {03 0001 80}"},
	{5, 0x81, "30 L s'a' {02 0000}"},
	{4, 0x81, "30 L 0003 612F00"},
	{4, 0x81, "30 L 0004 F4908080"},
	/* PUBACK and so on */
	{4, 0x82, "40 02 0000"},
	{4, 0x81, "40 01 00"},
	{4, 0x81, "40 03 0001 00"},
	{5, 0x82, "40 03 0001 92"},
	{5, 0x82, "62 03 0001 10"},
	{5, 0x82, "70 03 0001 80"},
	{5, 0x81, "40 L 0001 00 {} 00"},
	{5, 0x82, "40 L 0001 00 {11 00000001}"},
	{5, 0x82, "40 L 0001 00 {1F s'a' 1F s'a'}"},
	/* SUBSCRIBE and UNSUBSCRIBE */
	{4, 0x82, "82 02 0001"},
	{5, 0x82, "82 03 0001 00"},
	{4, 0x82, "82 L 0000 s'a' 00"},
	{4, 0x81, "82 L 0001 s'a'"},
	{4, 0x81, "82 L 0001 s'a' 03"},
	{4, 0x81, "82 L 0001 s'a' 04"},
	{4, 0x81, "82 L 0001 s'a' 80"},
	{5, 0x81, "82 L 0001 {} s'a' 03"},
	{5, 0x81, "82 L 0001 {} s'a' 40"},
	{5, 0x82, "82 L 0001 {} s'a' 30"},
	{5, 0x82, "82 L 0001 {} s'$share/g/a' 04"},
	{5, 0x82, "82 L 0001 {0B 01 0B 02} s'a' 00"},
	{5, 0x82, "82 L 0001 {0B 00} s'a' 00"},
	{4, 0x82, "82 L 0001 s'' 00"},
	{4, 0x81, "82 L 0001 s'a' 00 0005 'b'"},
	{4, 0x81, "82 L 0001 0001 FF 00"},
	{4, 0x82, "A2 02 0001"},
	{4, 0x82, "A2 L 0001 s'a' s''"},
	{5, 0x82, "A2 L 0001 {0B 01} s'a'"},
	{4, 0x82, "90 02 0001"},
	{4, 0x81, "90 03 0001 03"},
	{4, 0x81, "90 03 0001 87"},
	{5, 0x81, "90 04 0001 00 10"},
	{5, 0x82, "B0 03 0001 00"},
	{5, 0x81, "B0 04 0001 00 01"},
	{4, 0x81, "B0 03 0001 00"},
	/* DISCONNECT and AUTH */
	{5, 0x82, "E0 01 01"},
	{5, 0x81, "E0 L 00 {} 00"},
	{5, 0x82, "F0 01 80"},
	{5, 0x82, "F0 L 18 {16 s'x'}"},
};

static void each_of_these_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
		struct mqtt_packet p;
		uint8_t *copy;

		buf_reset(&bytes);
		mqtt_bytes(&bytes, bads[i].script);
		ptrdiff_t n = read_exactly(buf_view(&bytes), bads[i].version, 0, &p, &copy);

		if (n != -(ptrdiff_t)bads[i].reason || p.why == NULL)
			fail_msg("%s: %td instead of -0x%02X, %s", bads[i].script, n, bads[i].reason, n < 0 ? p.why : "");
		free(copy);
		/* Cut anywhere it is refused already, or needs more; it is never fine. */
		for (size_t cut = 0; cut < bytes.n; cut++) {
			assert_true(read_exactly(slice_of(bytes.p, cut), bads[i].version, 0, &p, &copy) <= 0);
			free(copy);
		}
	}
}

/* One byte of a good packet changed, in each of its eight bits and to all ones: it is read within its bounds, and what is read can be written. */
static void any_byte_may_be_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
		buf_reset(&bytes);
		mqtt_bytes(&bytes, goods[i].script);
		for (size_t at = 0; at < bytes.n; at++)
			for (unsigned bit = 0; bit <= 8; bit++) {
				uint8_t before = bytes.p[at], *copy;
				struct mqtt_packet p;

				bytes.p[at] = bit == 8 ? 0xFF : (uint8_t)(before ^ 1u << bit);
				if (read_exactly(buf_view(&bytes), goods[i].version, 0, &p, &copy) > 0) {
					buf_reset(&shown);
					buf_reset(&again);
					mqtt_show(&shown, &p);
					assert_true(mqtt_put(&again, p.version, 0, &p));
				}
				free(copy);
				bytes.p[at] = before;
			}
	}
}

static void a_refused_connect_says_how_to_answer_it(void **state)
{
	static const struct {
		const char *script;
		uint8_t version;
	} rows[] = {
		{"10 L s'MQIsdp' 03 02 003C s'id'", MQTT_3_1_1},
		{"10 L s'MQTT' 09 02 003C s'id'", MQTT_5},
		{"10 L s'MQTT' 04 00 003C s''", MQTT_3_1_1},
		{"10 L s'MQTT' 05 01 003C {} s''", MQTT_5},
		{"10 L s'HTTP' 05 02 003C {} s''", 0},
		{"11", 0},
	};
	struct mqtt_packet p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_reset(&bytes);
		mqtt_bytes(&bytes, rows[i].script);
		assert_true(mqtt_next(buf_view(&bytes), 0, 0, &p) < 0);
		assert_int_equal(p.version, rows[i].version);
	}
}

/* ---- Sizes ---- */

static void lengths_of_one_to_four_bytes(void **state)
{
	static const size_t sizes[] = {0, 127, 128, 16383, 16384, 2097151, 2097152};
	struct mqtt_packet p = {.type = MQTT_PUBLISH, .topic = SLICE_LIT("abc")}, q;
	uint8_t *body = calloc(1, sizes[ARRAY_LEN(sizes) - 1]);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		if (sizes[i] < 5)
			continue;
		buf_reset(&bytes);
		p.payload = slice_of(body, sizes[i] - 5);
		assert_true(mqtt_put(&bytes, MQTT_3_1_1, 0, &p));
		assert_int_equal(bytes.n, 1 + (sizes[i] > 127) + (sizes[i] > 16383) + (sizes[i] > 2097151) + 1 + sizes[i]);
		assert_int_equal(mqtt_next(buf_view(&bytes), MQTT_3_1_1, 0, &q), bytes.n);
		assert_int_equal(q.payload.n, p.payload.n);
		/* The bound counts the header too, and holds before the body is there. */
		assert_int_equal(mqtt_next(buf_view(&bytes), MQTT_3_1_1, (uint32_t)bytes.n, &q), bytes.n);
		assert_int_equal(mqtt_next(slice_of(bytes.p, 5), MQTT_3_1_1, (uint32_t)bytes.n - 1, &q), -MQTT_TOO_LARGE);
		buf_reset(&again);
		assert_true(mqtt_put(&again, MQTT_3_1_1, (uint32_t)bytes.n, &p));
		buf_reset(&again);
		assert_false(mqtt_put(&again, MQTT_3_1_1, (uint32_t)bytes.n - 1, &p));
		assert_int_equal(again.n, 0);
	}
	free(body);
}

static void the_largest_packet_needs_only_its_header_to_be_refused(void **state)
{
	static const uint8_t header[] = {0x30, 0xFF, 0xFF, 0xFF, 0x7F};
	struct mqtt_packet p;

	(void)state;
	assert_int_equal(mqtt_next(slice_of(header, sizeof(header)), MQTT_5, 0, &p), 0);
	assert_int_equal(mqtt_next(slice_of(header, sizeof(header)), MQTT_5, 1 << 20, &p), -MQTT_TOO_LARGE);
}

static void an_answer_leaves_out_its_reason_where_it_does_not_fit(void **state)
{
	struct mqtt_packet p = {.type = MQTT_PUBACK, .id = 7, .reason = MQTT_QUOTA_EXCEEDED}, q;
	struct buf users = {0};

	(void)state;
	MQTT_SET(&p.props, REASON, reason, SLICE_LIT("the disk is full"));
	mqtt_put_user(&users, SLICE_LIT("k"), SLICE_LIT("v"));
	p.props.repeated = buf_view(&users);
	assert_true(mqtt_put(&bytes, MQTT_5, 0, &p));
	assert_int_equal(mqtt_next(buf_view(&bytes), MQTT_5, 0, &q), bytes.n);
	assert_true(slice_eq_str(q.props.reason, "the disk is full"));
	assert_true(mqtt_put(&again, MQTT_5, (uint32_t)bytes.n - 1, &p));
	assert_int_equal(again.n, 5);
	buf_reset(&again);
	assert_true(mqtt_put(&again, MQTT_5, 5, &p));
	assert_int_equal(again.n, 5);
	assert_false(mqtt_put(&again, MQTT_5, 4, &p));
	assert_int_equal(again.n, 5);
	/* What a CONNACK must say stays. */
	buf_reset(&again);
	p = (struct mqtt_packet){.type = MQTT_CONNACK, .props.repeated = buf_view(&users)};
	MQTT_SET(&p.props, RECEIVE_MAX, receive_max, 9);
	MQTT_SET(&p.props, REASON, reason, SLICE_LIT("welcome"));
	assert_true(mqtt_put(&again, MQTT_5, 12, &p));
	assert_true(mqtt_next(buf_view(&again), MQTT_5, 0, &q) > 0);
	assert_int_equal(q.props.receive_max, 9);
	assert_false(mqtt_has(&q.props, MQTT_P_REASON));
	/* A message's properties are the message's: it fits, or it does not go. */
	buf_reset(&again);
	p = (struct mqtt_packet){.type = MQTT_PUBLISH, .topic = SLICE_LIT("a"), .props.repeated = buf_view(&users)};
	assert_false(mqtt_put(&again, MQTT_5, 12, &p));
	assert_true(mqtt_put(&again, MQTT_5, 13, &p));
	buf_fini(&users);
}

/* ---- Writing ---- */

static void a_head_serves_many_receivers(void **state)
{
	struct mqtt_packet p = {.type = MQTT_PUBLISH, .qos = 1, .retain = true, .topic = SLICE_LIT("a/b"), .payload = SLICE_LIT("hello")}, q;
	struct buf ids = {0};
	size_t id_at;

	(void)state;
	mqtt_put_sub_id(&ids, 200);
	mqtt_put_user(&ids, SLICE_LIT("k"), SLICE_LIT("v"));
	p.props.repeated = buf_view(&ids);
	for (uint8_t version = MQTT_3_1_1; version <= MQTT_5; version++)
		for (uint16_t id = 1; id < 400; id += 99) {
			bool dup = id % 2 == 0;

			buf_reset(&again);
			buf_str(&again, "before");
			assert_true(mqtt_put_publish_head(&again, version, 0, &p, &id_at));
			mqtt_set_id(again.p + 6, id_at - 6, id, dup);
			buf_slice(&again, p.payload);
			assert_int_equal(mqtt_next(slice_skip(buf_view(&again), 6), version, 0, &q), again.n - 6);
			assert_int_equal(q.id, id);
			assert_int_equal(q.dup, dup);
			assert_true(q.retain && slice_eq(q.payload, p.payload) && slice_eq(q.topic, p.topic));
			buf_reset(&bytes);
			p.id = id;
			p.dup = dup;
			assert_true(mqtt_put(&bytes, version, 0, &p));
			assert_true(slice_eq(buf_view(&bytes), slice_skip(buf_view(&again), 6)));
			p.dup = false;
		}
	assert_false(mqtt_put_publish_head(&again, MQTT_5, 20, &p, &id_at));
	buf_fini(&ids);
}

static void short_acknowledgements(void **state)
{
	(void)state;
	mqtt_put_ack(&again, MQTT_5, MQTT_PUBACK, 10, MQTT_OK);
	mqtt_put_ack(&again, MQTT_5, MQTT_PUBACK, 10, MQTT_NO_SUBSCRIBERS);
	mqtt_put_ack(&again, MQTT_3_1_1, MQTT_PUBACK, 10, MQTT_NO_SUBSCRIBERS);
	mqtt_put_ack(&again, MQTT_3_1_1, MQTT_PUBREL, 258, MQTT_OK);
	mqtt_put_ack(&again, MQTT_5, MQTT_PUBCOMP, 1, MQTT_ID_NOT_FOUND);
	mqtt_bytes(&bytes, "40 02 000A 40 03 000A 10 40 02 000A 62 02 0102 70 03 0001 92");
	assert_true(slice_eq(buf_view(&again), buf_view(&bytes)));
}

/* Statuses of the engine map to reasons that not every packet may say. */
static void a_reason_that_the_packet_may_not_say(void **state)
{
	struct mqtt_packet p = {.type = MQTT_SUBACK, .id = 1, .list = SLICE_LIT("\x01\x90\x97")};

	(void)state;
	assert_true(mqtt_put(&again, MQTT_5, 0, &p));
	assert_true(mqtt_put(&again, MQTT_3_1_1, 0, &p));
	mqtt_put_ack(&again, MQTT_5, MQTT_PUBACK, 1, MQTT_SHUTTING_DOWN);
	mqtt_put_ack(&again, MQTT_5, MQTT_PUBREL, 1, MQTT_SHUTTING_DOWN);
	p = (struct mqtt_packet){.type = MQTT_DISCONNECT, .reason = MQTT_UNAVAILABLE};
	assert_true(mqtt_put(&again, MQTT_5, 0, &p));
	mqtt_bytes(&bytes, "90 06 0001 00 01 80 97 90 05 0001 01 80 80 40 03 0001 80 62 03 0001 92 E0 01 80");
	assert_true(slice_eq(buf_view(&again), buf_view(&bytes)));
}

static void refusals_in_3_1_1(void **state)
{
	static const struct {
		uint8_t reason;
		int code;
	} rows[] = {
		{MQTT_OK, 0}, {MQTT_BAD_VERSION, 1}, {MQTT_BAD_CLIENT_ID, 2}, {MQTT_SERVER_BUSY, 3}, {MQTT_BAD_USER, 4}, {MQTT_NOT_AUTHORIZED, 5},
		{MQTT_MALFORMED, -1}, {MQTT_BAD_TOPIC, -1}, {MQTT_TOO_LARGE, -1},
	};
	struct mqtt_packet p = {.type = MQTT_CONNACK}, q;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		p.reason = rows[i].reason;
		buf_reset(&again);
		assert_int_equal(mqtt_return_code(p.reason), rows[i].code);
		assert_int_equal(mqtt_put(&again, MQTT_3_1_1, 0, &p), rows[i].code >= 0);
		if (rows[i].code < 0)
			continue;
		assert_int_equal(again.n, 4);
		assert_int_equal(again.p[3], rows[i].code);
		assert_int_equal(mqtt_next(buf_view(&again), MQTT_3_1_1, 0, &q), 4);
	}
}

static void filters_are_made_and_read(void **state)
{
	static const struct mqtt_filter made[] = {
		{SLICE_LIT("a/#"), 1, true, false, 2}, {SLICE_LIT("$share/g/b"), 0, false, true, 0}, {SLICE_LIT("+"), 2, false, false, 1},
	};
	struct mqtt_packet p = {.type = MQTT_SUBSCRIBE, .id = 3}, q;
	struct mqtt_filter f;
	struct buf list = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(made); i++)
		mqtt_put_filter(&list, MQTT_SUBSCRIBE, &made[i]);
	p.list = buf_view(&list);
	MQTT_SET(&p.props, SUB_ID, sub_id, 300);
	assert_true(mqtt_put(&again, MQTT_5, 0, &p));
	assert_int_equal(mqtt_next(buf_view(&again), MQTT_5, 0, &q), again.n);
	assert_int_equal(q.props.sub_id, 300);
	for (size_t i = 0; i < ARRAY_LEN(made); i++) {
		assert_true(mqtt_filter_next(q.type, &q.list, &f));
		assert_true(slice_eq(f.filter, made[i].filter));
		assert_true(f.qos == made[i].qos && f.no_local == made[i].no_local && f.retain_as_published == made[i].retain_as_published &&
			f.retain_handling == made[i].retain_handling);
	}
	assert_false(mqtt_filter_next(q.type, &q.list, &f));
	buf_fini(&list);
}

/* ---- Names ---- */

static void which_names_are_legal(void **state)
{
	static const struct {
		const char *name;
		bool topic, filter;
	} rows[] = {
		{"", false, false}, {"a", true, true}, {"/", true, true}, {"//", true, true}, {"a/", true, true}, {" ", true, true},
		{"$SYS/x", true, true}, {"+", false, true}, {"#", false, true}, {"a/#", false, true}, {"a/+/b", false, true}, {"+/+", false, true},
		{"/+", false, true}, {"/#", false, true}, {"+/#", false, true}, {"a#", false, false}, {"a/#/b", false, false}, {"a+", false, false},
		{"+a", false, false}, {"a/+b", false, false}, {"##", false, false}, {"#/", false, false}, {"a/b+/c", false, false},
		{"$share", true, true}, {"$share/g/a", true, true}, {"$share/g/#", false, true}, {"$share/g", true, false}, {"$share/g/", true, false},
		{"$share//a", true, false}, {"$share/+/a", false, false}, {"$share/g#/a", false, false}, {"$share/g/a#", false, false},
		{"$share/g//", true, true}, {"\xC3\xA9", true, true}, {"a\xFF", false, false}, {"12345678\xED\xA0\x80", false, false},
		{"12345678901234567890\xE2\x82\xAC", true, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (mqtt_topic_valid(slice_str(rows[i].name)) != rows[i].topic)
			fail_msg("topic '%s'", rows[i].name);
		if (mqtt_filter_valid(slice_str(rows[i].name)) != rows[i].filter)
			fail_msg("filter '%s'", rows[i].name);
	}
	assert_false(mqtt_topic_valid(slice_of("a\0b", 3)));
	assert_false(mqtt_topic_valid(slice_of("12345678\0abcdefg", 16)));
	assert_false(mqtt_topic_valid(slice_of("1234567\0abcdefgh", 16)));
	assert_false(mqtt_filter_valid(slice_of("\xC3\xA9\0", 3)));
}

static void which_topics_a_filter_matches(void **state)
{
	static const struct {
		const char *filter, *topic;
		bool matches;
	} rows[] = {
		/* Examples of 4.7.1 to 4.7.3 */
		{"sport/tennis/player1/#", "sport/tennis/player1", true}, {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true}, {"sport/#", "sport", true}, {"sport/#", "sports", false},
		{"sport/tennis/+", "sport/tennis/player1", true}, {"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false}, {"sport/+", "sport/", true}, {"+/+", "/finance", true}, {"/+", "/finance", true}, {"+", "/finance", false},
		{"#", "$SYS/x", false}, {"+/monitor/Clients", "$SYS/monitor/Clients", false}, {"$SYS/#", "$SYS/x/y", true}, {"$SYS/#", "$SYS", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true}, {"ACCOUNTS", "Accounts", false}, {"/finance", "finance", false},
		/* And more */
		{"#", "a", true}, {"#", "/", true}, {"#", "a/b/c", true}, {"a", "a", true}, {"a", "a/", false}, {"a/", "a", false}, {"a/", "a/", true},
		{"a//b", "a//b", true}, {"a/+/b", "a//b", true}, {"a/b", "a//b", false}, {"+/#", "a", true}, {"+/#", "/", true}, {"+", "a", true},
		{"a/#", "a/", true}, {"a/+/#", "a", false}, {"a/+/#", "a/b", true}, {"+/$x", "a/$x", true}, {"a/+", "a/$x", true},
		{"a/b/c", "a/b", false}, {"a/b", "a/b/c", false}, {"+/+/+", "a/b", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (mqtt_filter_matches(slice_str(rows[i].filter), slice_str(rows[i].topic)) != rows[i].matches)
			fail_msg("'%s' and '%s'", rows[i].filter, rows[i].topic);
}

static void parts_of_a_shared_filter(void **state)
{
	struct slice group, filter;

	(void)state;
	assert_true(mqtt_share_parse(SLICE_LIT("$share/g/a/#"), &group, &filter));
	assert_true(slice_eq_str(group, "g") && slice_eq_str(filter, "a/#"));
	assert_true(mqtt_share_parse(SLICE_LIT("$share/g//"), &group, &filter));
	assert_true(slice_eq_str(filter, "/"));
	assert_false(mqtt_share_parse(SLICE_LIT("$shared/g/a"), &group, &filter));
	assert_false(mqtt_share_parse(SLICE_LIT("a/$share/g/a"), &group, &filter));
}

static void texts_for_people(void **state)
{
	(void)state;
	assert_string_equal(mqtt_type_name(MQTT_AUTH), "AUTH");
	assert_string_equal(mqtt_type_name((enum mqtt_type)16), "reserved");
	assert_string_equal(mqtt_reason_text(MQTT_TOO_LARGE), "packet too large");
	assert_string_equal(mqtt_reason_text(0x7F), "unknown reason");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_whole_packet, teardown),
		cmocka_unit_test_teardown(and_written_again, teardown),
		cmocka_unit_test_teardown(cut_at_every_byte_it_needs_more, teardown),
		cmocka_unit_test_teardown(pieces_of_any_size_are_the_same_packets, teardown),
		cmocka_unit_test_teardown(each_of_these_is_refused, teardown),
		cmocka_unit_test_teardown(any_byte_may_be_wrong, teardown),
		cmocka_unit_test_teardown(a_refused_connect_says_how_to_answer_it, teardown),
		cmocka_unit_test_teardown(lengths_of_one_to_four_bytes, teardown),
		cmocka_unit_test_teardown(the_largest_packet_needs_only_its_header_to_be_refused, teardown),
		cmocka_unit_test_teardown(an_answer_leaves_out_its_reason_where_it_does_not_fit, teardown),
		cmocka_unit_test_teardown(a_head_serves_many_receivers, teardown),
		cmocka_unit_test_teardown(short_acknowledgements, teardown),
		cmocka_unit_test_teardown(a_reason_that_the_packet_may_not_say, teardown),
		cmocka_unit_test_teardown(refusals_in_3_1_1, teardown),
		cmocka_unit_test_teardown(filters_are_made_and_read, teardown),
		cmocka_unit_test_teardown(which_names_are_legal, teardown),
		cmocka_unit_test_teardown(which_topics_a_filter_matches, teardown),
		cmocka_unit_test_teardown(parts_of_a_shared_filter, teardown),
		cmocka_unit_test_teardown(texts_for_people, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
