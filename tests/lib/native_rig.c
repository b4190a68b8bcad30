/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/lib/native_rig.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/be.h"
#include "base/mem.h"

static uint64_t mono_ns(struct clock *c)
{
	return container_of(c, struct rig, clock)->now_ns;
}

static int64_t wall_ms(struct clock *c)
{
	return container_of(c, struct rig, clock)->now_ms;
}

static void log_line(struct log *l, enum log_level level, const char *area, const char *line)
{
	struct rig *r = container_of(l, struct rig, log);

	buf_fmt(&r->lines, "%d %s %s\n", (int)level, area, line);
}

static const struct clock_ops clock_ops = {mono_ns, wall_ms};
static const struct log_ops log_ops = {log_line};

void rig_open(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	fake_engine_init(&r->e);
	r->clock.ops = &clock_ops;
	r->log = (struct log){&log_ops, LOG_INFO};
	r->now_ns = 5 * SEC_NS;
	r->now_ms = 1700000000000;
	r->version = 407;
	r->conf = (struct front_conf){
		.cluster = SLICE_LIT("DefaultCluster"), .broker = SLICE_LIT("broker-a"), .advertised_ip = 0x7f000001, .advertised_port = 10911,
		.max_message = 4194304, .max_header = WIRE_HEADER_MAX, .max_frame = WIRE_FRAME_MAX, .max_requests = 64, .idle_ms = 120000,
		.max_wait_ms = 30000,
	};
	r->env = (struct front_env){.engine = &r->e.base, .clock = &r->clock, .log = &r->log, .conf = &r->conf};
	r->front = mem_new(front_native.size);
	assert_int_equal(front_native.start(r->front, &r->env), ST_OK);
	fake_stream_open(&r->s, front_native.stream, r->front, "127.0.0.1:40000");
}

static void on_stopped(void *arg)
{
	struct rig *r = arg;

	assert_false(r->stopped);
	r->stopped = true;
}

void rig_close(struct rig *r)
{
	fake_stream_fini(&r->s);
	front_native.stop(r->front, on_stopped, r);
	fake_engine_run(&r->e);
	assert_true(r->stopped);
	assert_int_equal(r->e.n_members, 0);
	mem_free(r->front);
	fake_engine_fini(&r->e);
	buf_fini(&r->lines);
	buf_fini(&r->frame);
	buf_fini(&r->request);
	buf_fini(&r->unescaped);
}

static void ask(struct rig *r, int32_t code, int32_t flag, struct slice body, va_list ap)
{
	struct wire_out o;
	const char *name;

	buf_reset(&r->request);
	wire_begin(&o, &r->request, r->form, code, ++r->opaque, flag);
	while ((name = va_arg(ap, const char *)) != NULL)
		wire_put(&o, name, slice_str(va_arg(ap, const char *)));
	wire_finish(&o, body.n);
	buf_slice(&r->request, body);
	fake_stream_feed(&r->s, buf_view(&r->request));
}

void rig_ask(struct rig *r, int32_t code, struct slice body, ...)
{
	va_list ap;

	va_start(ap, body);
	ask(r, code, 0, body, ap);
	va_end(ap);
}

void rig_ask_oneway(struct rig *r, int32_t code, struct slice body, ...)
{
	va_list ap;

	va_start(ap, body);
	ask(r, code, WIRE_FLAG_ONEWAY, body, ap);
	va_end(ap);
}

void rig_frame_json(struct buf *b, const char *header, struct slice body)
{
	size_t n = strlen(header);

	buf_be32(b, (uint32_t)(4 + n + body.n));
	buf_be32(b, (uint32_t)n);
	buf_str(b, header);
	buf_slice(b, body);
}

void rig_feed_json(struct rig *r, const char *header, struct slice body)
{
	buf_reset(&r->request);
	rig_frame_json(&r->request, header, body);
	fake_stream_feed(&r->s, buf_view(&r->request));
}

void rig_turn(struct rig *r)
{
	fake_engine_run(&r->e);
	if (!r->s.closed)
		fake_stream_step(&r->s);
	fake_engine_run(&r->e);
}

bool rig_next(struct rig *r)
{
	static const struct wire_limits limits = {WIRE_FRAME_MAX, WIRE_FRAME_MAX, WIRE_EXT_MAX};
	const char *why = "";
	size_t used = 0;

	if (r->s.out.n < 4)
		return false;
	size_t size = 4 + (size_t)be32_get(r->s.out.p);
	assert_true(r->s.out.n >= size);
	buf_reset(&r->frame);
	buf_put(&r->frame, r->s.out.p, size);
	buf_drop_front(&r->s.out, size);
	if (wire_decode(buf_view(&r->frame), &limits, &r->unescaped, &r->got, &used, &why) != WIRE_GOT)
		fail_msg("answer is not a frame: %s", why);
	assert_int_equal(used, size);
	return true;
}

void rig_expect(struct rig *r, int32_t code)
{
	if (!rig_next(r))
		fail_msg("no answer where code %d was expected", code);
	if (r->got.code != code)
		fail_msg("answer code %d (%s), expected %d", r->got.code, rig_remark(r), code);
	assert_true(wire_is_response(&r->got));
	assert_int_equal(r->got.version, WIRE_VERSION);
}

void rig_none(struct rig *r)
{
	if (rig_next(r))
		fail_msg("unexpected frame with code %d flag %d", r->got.code, r->got.flag);
}

static const char *text(struct slice s)
{
	static char many[4][65536];
	static unsigned at;
	char *to = many[at++ % 4];
	size_t n = s.n < sizeof(many[0]) - 1 ? s.n : sizeof(many[0]) - 1;

	if (n > 0)
		memcpy(to, s.p, n);
	to[n] = '\0';
	return to;
}

const char *rig_ext(struct rig *r, const char *name)
{
	struct slice v;

	return wire_ext(&r->got, name, &v) ? text(v) : "(absent)";
}

const char *rig_remark(struct rig *r)
{
	return text(r->got.remark);
}

const char *rig_body(struct rig *r)
{
	return text(r->got.body);
}
