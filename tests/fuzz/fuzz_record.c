/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Any bytes as a run of records, as a batch body, as properties and ids. What decodes must stay inside the bytes, and what is encoded again from it
 * must pass its check and read the same.
 */
#include "base/mem.h"
#include "base/obj.h"
#include "base/props.h"
#include "base/utf.h"
#include "record/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct slice part, struct slice all)
{
	return part.n == 0 || (part.p >= all.p && part.p + part.n <= all.p + all.n);
}

static void again(const struct record *r)
{
	struct record copy = *r, back;
	struct slice props = r->props;
	if (r->has_crc)
		props.n -= RECORD_CRC_SIZE;
	copy.props = props;
	copy.sys_flag &= ~(SYS_BORN_V6 | SYS_STORE_V6);
	if (props.n + RECORD_CRC_SIZE + 1 > RECORD_PROPS_MAX)
		return;
	uint32_t n = record_size(&copy);
	uint8_t *p = mem_new(n);
	record_encode(&copy, p);
	CHECK(record_check(slice_of(p, n), copy.position, false, &back) == ST_OK);
	CHECK(back.size == n && back.has_crc && slice_eq(back.body, r->body) && slice_eq(back.topic, r->topic) && back.queue_offset == r->queue_offset);
	mem_free(p);
}

static void walk(struct slice all)
{
	struct record r;
	uint64_t position = 0;
	for (struct slice rest = all; rest.n > 0;) {
		uint32_t n;
		if (rest.n >= 8)
			(void)record_peek(rest.p, &n);
		if (record_decode(rest, &r) != ST_OK)
			break;
		CHECK(r.size >= RECORD_SIZE_MIN && r.size <= rest.n);
		CHECK(inside(r.body, rest) && inside(r.topic, rest) && inside(r.props, rest));
		(void)record_check(slice_of(rest.p, r.size), position, true, &r);
		CHECK(record_decode(rest, &r) == ST_OK);
		again(&r);
		rest = slice_skip(rest, r.size);
		position += r.size;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice all = slice_of(data, size), rest = all, body, props, name, value;
	struct buf b = {0};
	uint32_t ip, port;
	uint64_t position;
	int32_t flag;
	walk(all);
	while (batch_next(&rest, &flag, &body, &props) == ST_OK)
		CHECK(inside(body, all) && inside(props, all));
	for (rest = all; props_next(&rest, &name, &value);) {
		CHECK(inside(name, all) && inside(value, all));
		props_put(&b, name, value);
		CHECK(props_get(buf_view(&b), name, &value));
	}
	(void)props_valid(all);
	(void)utf8_valid(all);
	(void)java_hash(all);
	(void)offset_id_parse(all, &ip, &port, &position);
	buf_fini(&b);
	return 0;
}
