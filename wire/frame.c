/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Cutting frames off a byte run, and reading the fields of what was in them. */
#include "wire/frame.h"

#include "base/be.h"
#include "base/obj.h"
#include "wire/scan.h"

enum { LENGTHS = 8 }; /* the frame's length word, and the word of form and header length */

const char *wire_language_name(uint8_t language)
{
	static const char *const names[WIRE_LANGUAGE_COUNT] = {
		"JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST", "NODE_JS"
	};
	return language < WIRE_LANGUAGE_COUNT ? names[language] : names[WIRE_OTHER];
}

static enum wire_got refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return WIRE_BAD;
}

enum wire_got wire_decode(struct slice bytes, const struct wire_limits *limits, struct buf *scratch, struct wire_cmd *ret,
                          size_t *ret_used, const char **ret_why)
{
	CHECK(limits->frame >= LENGTHS && limits->exts <= WIRE_EXT_MAX);
	*ret_used = 0;
	if (bytes.n < 4)
		return WIRE_MORE;
	uint32_t total = be32_get(bytes.p);
	if (total > limits->frame - 4)
		return refuse(ret_why, bytes.p[0] == 0x16 && bytes.p[1] == 0x03 ? "TLS handshake on a port without TLS"
		                                                                : "frame is over the limit");
	if (total < 4)
		return refuse(ret_why, "frame is shorter than its header's length word");
	*ret_used = (size_t)total + 4;
	if (bytes.n < LENGTHS)
		return WIRE_MORE;
	uint8_t form = bytes.p[4];
	uint32_t header = be32_get(bytes.p + 4) & 0xFFFFFF;
	if (form != WIRE_JSON && form != WIRE_BINARY)
		return refuse(ret_why, "header is of an unknown form");
	if (header > total - 4)
		return refuse(ret_why, "header is longer than its frame");
	if (header > limits->header)
		return refuse(ret_why, "header is over the limit");
	if (bytes.n < *ret_used)
		return WIRE_MORE;

	struct slice head = slice_of(bytes.p + LENGTHS, header);
	buf_reset(scratch);
	const char *why = form == WIRE_JSON ? scan_json_header(head, limits->exts, scratch, ret)
	                                    : scan_binary_header(head, limits->exts, ret);
	if (why != NULL)
		return refuse(ret_why, why);
	ret->form = (enum wire_form)form;
	ret->body = slice_of(head.p + header, total - 4 - header);
	return WIRE_GOT;
}

bool wire_ext(const struct wire_cmd *c, const char *name, struct slice *ret)
{
	struct slice want = slice_str(name);
	for (uint32_t i = c->n_ext; i-- > 0;)
		if (slice_eq(c->ext[i].name, want)) {
			*ret = c->ext[i].value;
			return true;
		}
	return false;
}

void wire_args_bad(struct wire_args *a, const char *field, const char *why)
{
	if (a->field == NULL) {
		a->field = field;
		a->why = why;
	}
}

void wire_args_remark(const struct wire_args *a, struct buf *b)
{
	CHECK(a->field != NULL);
	buf_str(b, "the field ");
	buf_str(b, a->field);
	buf_u8(b, ' ');
	buf_str(b, a->why);
}

struct slice wire_str_or(struct wire_args *a, const char *name, struct slice absent)
{
	struct slice v;
	return wire_ext(a->cmd, name, &v) ? v : absent;
}

struct slice wire_str(struct wire_args *a, const char *name)
{
	struct slice v = {NULL, 0};
	if (!wire_ext(a->cmd, name, &v))
		wire_args_bad(a, name, "is missing");
	return v;
}

/* False when the field is absent, empty or illegal; only illegal ones are recorded. */
static bool number(struct wire_args *a, const char *name, int64_t min, int64_t max, const char *why, int64_t *ret)
{
	struct slice v;
	if (!wire_ext(a->cmd, name, &v) || v.n == 0)
		return false;
	int64_t n;
	if (!slice_i64(v, &n) || n < min || n > max) {
		wire_args_bad(a, name, why);
		return false;
	}
	*ret = n;
	return true;
}

#define WHY_I32 "is not a 32-bit integer"
#define WHY_I64 "is not a 64-bit integer"

int32_t wire_i32_or(struct wire_args *a, const char *name, int32_t absent)
{
	int64_t v = absent;
	number(a, name, INT32_MIN, INT32_MAX, WHY_I32, &v);
	return (int32_t)v;
}

int64_t wire_i64_or(struct wire_args *a, const char *name, int64_t absent)
{
	int64_t v = absent;
	number(a, name, INT64_MIN, INT64_MAX, WHY_I64, &v);
	return v;
}

int32_t wire_i32(struct wire_args *a, const char *name)
{
	int64_t v = 0;
	if (!number(a, name, INT32_MIN, INT32_MAX, WHY_I32, &v))
		wire_args_bad(a, name, "is missing");
	return (int32_t)v;
}

int64_t wire_i64(struct wire_args *a, const char *name)
{
	int64_t v = 0;
	if (!number(a, name, INT64_MIN, INT64_MAX, WHY_I64, &v))
		wire_args_bad(a, name, "is missing");
	return v;
}

static bool boolean(struct wire_args *a, const char *name, bool *ret)
{
	struct slice v;
	if (!wire_ext(a->cmd, name, &v) || v.n == 0)
		return false;
	if (slice_bool(v, ret))
		return true;
	wire_args_bad(a, name, "is neither true nor false");
	return false;
}

bool wire_bool_or(struct wire_args *a, const char *name, bool absent)
{
	bool v;
	return boolean(a, name, &v) ? v : absent;
}

bool wire_bool(struct wire_args *a, const char *name)
{
	bool v = false;
	if (!boolean(a, name, &v))
		wire_args_bad(a, name, "is missing");
	return v;
}
