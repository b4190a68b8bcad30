/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The RocketMQ message record: bytes only, no state. Layout and checksum: docs/log-format.md.
 *
 * Everything Gantry writes ends its properties with "__CRC32#" U+0001 ten digits U+0002 (20 bytes): CRC-32 & 0x7FFFFFFF over
 * all bytes of the record but those 20, digits least significant first.
 */
#ifndef RECORD_RECORD_H
#define RECORD_RECORD_H

#include "base/buf.h"
#include "base/status.h"

#define RECORD_MAGIC_V1 0xDAA320A7u
#define RECORD_MAGIC_V2 0xDAA320ABu    /* two-byte topic length, for topics over 127 bytes */
#define RECORD_MAGIC_BLANK 0xCBD43194u /* fills the rest of a segment */
#define RECORD_BLANK_SIZE 8u           /* size and magic; the rest of a blank record is arbitrary */
#define RECORD_CRC_SIZE 20u
#define RECORD_PROPS_MAX 32767u        /* of all properties together */
#define RECORD_SIZE_MIN 91u            /* V1, IPv4, nothing variable; topic of length 0 */

/* Places in a record with IPv4 hosts, which are the only kind that Gantry writes. */
enum {
	RECORD_AT_SIZE = 0, RECORD_AT_MAGIC = 4, RECORD_AT_BODY_CRC = 8, RECORD_AT_QUEUE = 12, RECORD_AT_FLAG = 16,
	RECORD_AT_QUEUE_OFFSET = 20, RECORD_AT_POSITION = 28, RECORD_AT_SYS_FLAG = 36, RECORD_AT_BORN_MS = 40,
	RECORD_AT_BORN_HOST = 48, RECORD_AT_STORE_MS = 56, RECORD_AT_STORE_HOST = 64, RECORD_AT_RECONSUME = 72,
	RECORD_AT_PREPARED = 76, RECORD_AT_BODY_SIZE = 84, RECORD_AT_BODY = 88
};

/* sysFlag bits. */
enum {
	SYS_COMPRESSED = 0x1, SYS_MULTI_TAGS = 0x2, SYS_TXN_PREPARED = 0x4, SYS_TXN_COMMIT = 0x8, SYS_TXN_ROLLBACK = 0xC,
	SYS_TXN_MASK = 0xC, SYS_BORN_V6 = 0x10, SYS_STORE_V6 = 0x20, SYS_INNER_BATCH = 0x80
};

/* A record's fields; slices point into the encoded bytes after record_decode. */
struct record {
	uint32_t size;           /* of the whole record; out */
	uint32_t body_crc;       /* masked CRC-32 of the body; out */
	int32_t queue;
	int32_t flag;
	uint64_t queue_offset;
	uint64_t position;       /* physical offset */
	int32_t sys_flag;        /* without the IPv6 bits on encode */
	int64_t born_ms;
	uint32_t born_ip;        /* IPv4 host order; 0 after decode of an IPv6 host */
	uint32_t born_port;
	int64_t store_ms;
	uint32_t store_ip;
	uint32_t store_port;
	int32_t reconsume_times;
	int64_t prepared;        /* preparedTransactionOffset: identity of the parked record that this one settles, 0 none */
	struct slice body;
	struct slice topic;
	struct slice props;      /* encode: without __CRC32#, which is added; decode: with it, when the record has one */
	bool has_crc;            /* out: the properties end in __CRC32# */
};

/* Size of the record that record_encode would write, checksum property included (and the U+0002 that it may need before it). */
uint32_t record_size(const struct record *r);
/* Writes the record into exactly record_size(r) bytes at 'to', body CRC and whole-record checksum included. */
void record_encode(const struct record *r, uint8_t *to);
/*
 * Reads one record from the front of 'bytes' (more may follow). Checks every length against the bytes, not the checksums.
 * PROTO when it is not a record; TOO_BIG when 'bytes' ends before the size that it names. *ret is set only on OK.
 */
enum status record_decode(struct slice bytes, struct record *ret);
/*
 * The full check of one whole record at its place: lengths, body CRC, own position == 'position', and __CRC32#, which must be
 * there unless 'crc_optional'. OK or CORRUPT.
 */
enum status record_check(struct slice bytes, uint64_t position, bool crc_optional, struct record *ret);
/*
 * What stands at a place of a segment, from its first 8 bytes: RECORD (size set), BLANK (size set), NOTHING (zeros), or BAD.
 */
enum record_kind { RECORD_NOTHING, RECORD_MESSAGE, RECORD_BLANK, RECORD_BAD };
enum record_kind record_peek(const uint8_t head[8], uint32_t *ret_size);
/* Writes the 8 bytes of a blank record over 'size' bytes (the rest stays as it is). */
void record_blank(uint8_t to[8], uint32_t size);

/* Offset message id: 32 upper-case hex digits of IPv4 address, port and position, and a NUL. */
#define OFFSET_ID_SIZE 32
void offset_id_format(char to[OFFSET_ID_SIZE + 1], uint32_t ip, uint32_t port, uint64_t position);
bool offset_id_parse(struct slice id, uint32_t *ret_ip, uint32_t *ret_port, uint64_t *ret_position);

/* One element of a batch body (request 320): takes it off '*rest'. PROTO when it is malformed; NOT_FOUND at the end. */
enum status batch_next(struct slice *rest, int32_t *ret_flag, struct slice *ret_body, struct slice *ret_props);

#endif
