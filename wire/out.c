/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Building frames. The two length words are left open by begin and filled in by finish. */
#include "wire/frame.h"

#include "base/be.h"
#include "base/obj.h"
#include "base/text.h"

enum { LENGTHS = 8, CODE_BINARY_MAX = 32767, HEADER_BITS_MAX = 0xFFFFFF };

void wire_begin(struct wire_out *o, struct buf *b, enum wire_form form, int32_t code, int32_t opaque, int32_t flag)
{
	static const uint8_t lengths[LENGTHS];
	if (code > CODE_BINARY_MAX)
		form = WIRE_JSON;
	*o = (struct wire_out){.buf = b, .form = form, .at = b->n};
	buf_put(b, lengths, LENGTHS);
	if (form == WIRE_BINARY) {
		buf_be16(b, (uint16_t)code);
		buf_u8(b, WIRE_CPP);
		buf_be16(b, WIRE_VERSION);
		buf_be32(b, (uint32_t)opaque);
		buf_be32(b, (uint32_t)flag);
		return;
	}
	buf_slice(b, SLICE_LIT("{\"code\":"));
	buf_i64_dec(b, code);
	buf_slice(b, SLICE_LIT(",\"flag\":"));
	buf_i64_dec(b, flag);
	buf_slice(b, SLICE_LIT(",\"language\":\"" WIRE_LANGUAGE_NAME "\",\"version\":"));
	buf_i64_dec(b, WIRE_VERSION);
	buf_slice(b, SLICE_LIT(",\"opaque\":"));
	buf_i64_dec(b, opaque);
}

void wire_answer(struct wire_out *o, struct buf *b, const struct wire_cmd *request, int32_t code)
{
	wire_begin(o, b, request->form, code, request->opaque, WIRE_FLAG_RESPONSE);
}

void wire_remark(struct wire_out *o, struct slice text)
{
	CHECK(!o->open);
	if (text.n == 0)
		return;
	if (o->form == WIRE_BINARY) {
		buf_be32(o->buf, (uint32_t)text.n);
		buf_slice(o->buf, text);
		o->exts_at = o->buf->n;
		buf_be32(o->buf, 0);
		o->open = true;
		return;
	}
	buf_slice(o->buf, SLICE_LIT(",\"remark\":"));
	buf_json_str(o->buf, text);
}

/* Makes the place for fields, when there is none yet. */
static void open_fields(struct wire_out *o)
{
	if (o->open)
		return;
	o->open = true;
	if (o->form == WIRE_BINARY) {
		buf_be32(o->buf, 0); /* no remark */
		o->exts_at = o->buf->n;
		buf_be32(o->buf, 0);
	} else {
		buf_slice(o->buf, SLICE_LIT(",\"extFields\":{"));
	}
}

void wire_put(struct wire_out *o, const char *name, struct slice value)
{
	struct buf *b = o->buf;
	struct slice n = slice_str(name);
	open_fields(o);
	CHECK(n.n > 0 && n.n <= INT16_MAX && o->n_ext < WIRE_EXT_MAX);
	if (o->form == WIRE_BINARY) {
		buf_be16(b, (uint16_t)n.n);
		buf_slice(b, n);
		buf_be32(b, (uint32_t)value.n);
		buf_slice(b, value);
	} else {
		if (o->n_ext > 0)
			buf_u8(b, ',');
		buf_u8(b, '"');
		buf_slice(b, n);
		buf_slice(b, SLICE_LIT("\":"));
		buf_json_str(b, value);
	}
	o->n_ext++;
}

void wire_put_i64(struct wire_out *o, const char *name, int64_t value)
{
	uint8_t digits[1 + TEXT_U64_MAX];
	size_t at = sizeof(digits) - text_u64(digits + sizeof(digits), value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
	if (value < 0)
		digits[--at] = '-';
	wire_put(o, name, slice_of(digits + at, sizeof(digits) - at));
}

void wire_put_bool(struct wire_out *o, const char *name, bool value)
{
	wire_put(o, name, value ? SLICE_LIT("true") : SLICE_LIT("false"));
}

void wire_finish(struct wire_out *o, size_t body_len)
{
	struct buf *b = o->buf;
	if (o->form == WIRE_BINARY)
		open_fields(o);
	else if (o->open)
		buf_slice(b, SLICE_LIT("}}"));
	else
		buf_u8(b, '}');
	if (b->over)
		return;
	size_t header = b->n - o->at - LENGTHS;
	CHECK(header <= HEADER_BITS_MAX && body_len <= INT32_MAX - LENGTHS - header);
	if (o->form == WIRE_BINARY)
		be32_put(b->p + o->exts_at, (uint32_t)(b->n - o->exts_at - 4));
	be32_put(b->p + o->at, (uint32_t)(4 + header + body_len));
	be32_put(b->p + o->at + 4, (uint32_t)o->form << 24 | (uint32_t)header);
}

void wire_answer_plain(struct buf *b, const struct wire_cmd *request, int32_t code, struct slice remark)
{
	struct wire_out o;
	wire_answer(&o, b, request, code);
	wire_remark(&o, remark);
	wire_finish(&o, 0);
}
