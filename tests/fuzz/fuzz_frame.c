/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Frames: any bytes are decoded as a run of frames. What was accepted is read by every field decoder and getter,
 * answered, and the answer must be readable again.
 */
#include "base/mem.h"
#include "base/obj.h"
#include "wire/codes.h"
#include "wire/fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answer(const struct wire_cmd *c, const struct wire_args *a)
{
	struct wire_limits limits = WIRE_LIMITS_DEFAULT;
	struct buf out = {0}, scratch = {0}, remark = {0};
	struct wire_cmd back;
	size_t used;
	const char *why;
	if (a->field != NULL)
		wire_args_remark(a, &remark);
	wire_answer_plain(&out, c, ANS_SYSTEM_ERROR, buf_view(&remark));
	CHECK(wire_decode(buf_view(&out), &limits, &scratch, &back, &used, &why) == WIRE_GOT);
	CHECK(used == out.n && back.opaque == c->opaque && back.code == 1 && back.remark.n == remark.n);
	buf_fini(&out);
	buf_fini(&scratch);
	buf_fini(&remark);
}

/* What came, sent again in its form, must come again. */
static void check_copy(const struct wire_cmd *c)
{
	struct wire_limits limits = WIRE_LIMITS_DEFAULT;
	struct buf out = {0}, scratch = {0};
	struct wire_cmd back;
	struct wire_out o;
	size_t used;
	const char *why;
	bool plain = true;
	wire_begin(&o, &out, c->form, c->code, c->opaque, c->flag);
	for (uint32_t i = 0; i < c->n_ext; i++) {
		char *name = mem_dup(c->ext[i].name.p, c->ext[i].name.n);
		if (c->ext[i].name.n == 0 || strlen(name) != c->ext[i].name.n || strpbrk(name, "\"\\") != NULL)
			plain = false;
		else
			wire_put(&o, name, c->ext[i].value);
		mem_free(name);
	}
	wire_finish(&o, c->body.n);
	buf_slice(&out, c->body);
	limits.header *= 8; /* escapes grow */
	limits.frame *= 2;
	enum wire_got got = wire_decode(buf_view(&out), &limits, &scratch, &back, &used, &why);
	CHECK(!plain || (got == WIRE_GOT && back.n_ext == c->n_ext && back.flag == c->flag && slice_eq(back.body, c->body)));
	buf_fini(&out);
	buf_fini(&scratch);
}

static void use(struct wire_cmd *c)
{
	static const int32_t codes[] = {10, 310, 320, 324, 325, 11, 361};
	struct wire_send send;
	struct wire_pull pull;
	struct wire_args a;
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		int32_t code = c->code;
		c->code = codes[i];
		if (i < 5)
			CHECK(wire_send_decode(c, &send, &a) == (a.field == NULL));
		else
			CHECK(wire_pull_decode(c, &pull, &a) == (a.field == NULL));
		c->code = code;
		check_answer(c, &a);
	}
	a = wire_args(c);
	wire_str(&a, "topic");
	wire_i32_or(&a, "queueId", 0);
	wire_i64(&a, "offset");
	wire_bool(&a, "k");
	check_answer(c, &a);
	check_copy(c);
	wire_request_row(c->code);
	wire_answer_row(c->code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_limits limits = {1 << 20, 1 << 16, WIRE_EXT_MAX};
	struct slice rest = {data, size};
	struct buf scratch = {0};
	static struct wire_cmd c;
	size_t used;
	const char *why = NULL;
	while (wire_decode(rest, &limits, &scratch, &c, &used, &why) == WIRE_GOT) {
		CHECK(used >= 8 && used <= rest.n);
		use(&c);
		rest = slice_skip(rest, used);
	}
	buf_fini(&scratch);
	return 0;
}
