/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The name server under anything: the bytes of one connection, in pieces whose sizes the first bytes choose, while a second connection
 * keeps a broker registered. Between the pieces time passes. Whatever comes, the second connection is served.
 */
#include "base/mem.h"
#include "base/obj.h"
#include "namesrv/namesrv.h"
#include "tests/lib/fake_stream.h"
#include "wire/codes.h"
#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t now_ns;
static uint64_t fake_mono(struct clock *c) { (void)c; return now_ns; }
static int64_t fake_wall(struct clock *c) { (void)c; return (int64_t)(now_ns / MS_NS); }
static const struct clock_ops clock_ops = {fake_mono, fake_wall};
static struct clock fake_clock = {&clock_ops};

static void no_line(struct log *l, enum log_level level, const char *area, const char *line)
{
	(void)l;
	(void)level;
	CHECK(area != NULL && line != NULL);
}
static const struct log_ops log_ops = {no_line};
static struct log fake_log = {&log_ops, LOG_TRACE};

static bool keep(void *arg, struct slice text)
{
	(void)arg;
	return text.n % 7 != 0; /* some changes cannot be stored */
}

/* The second connection's answer to a request about the clusters. */
static void must_serve(struct fake_stream *s)
{
	struct wire_limits limits = WIRE_LIMITS_DEFAULT;
	struct buf b = {0}, scratch = {0};
	struct wire_out o;
	struct wire_cmd c;
	size_t used;
	const char *why;
	wire_begin(&o, &b, WIRE_JSON, REQ_GET_BROKER_CLUSTER_INFO, 1, 0);
	wire_finish(&o, 0);
	fake_stream_feed(s, buf_view(&b));
	CHECK(wire_decode(buf_view(&s->out), &limits, &scratch, &c, &used, &why) == WIRE_GOT);
	CHECK(c.code == ANS_SUCCESS && used == s->out.n);
	buf_reset(&s->out);
	buf_fini(&b);
	buf_fini(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct namesrv_env env = {&fake_clock, &fake_log, keep, NULL};
	struct namesrv_conf conf;
	struct fake_stream first = {0}, second = {0};
	if (size < 2)
		return 0;
	now_ns = SEC_NS;
	namesrv_conf_default(&conf);
	conf.max_brokers = 3;
	conf.max_topics = 8;
	conf.max_queue_datas = 12;
	conf.max_kv = 4;
	struct namesrv *ns = namesrv_open(&env, &conf);
	struct wire_topic t = {SLICE_LIT("L"), 4, 4, 6, 1, false};
	namesrv_local_broker(ns, SLICE_LIT("c"), SLICE_LIT("me"), 0, SLICE_LIT("127.0.0.1:1"));
	namesrv_local_topic(ns, &t);
	fake_stream_open(&first, &namesrv_stream, ns, "127.0.0.1:40000");
	fake_stream_open(&second, &namesrv_stream, ns, "127.0.0.1:40001");
	size_t piece = (size_t)data[0] * 4 + 1;
	uint64_t step_ns = (uint64_t)data[1] * SEC_NS;
	for (size_t at = 2; at < size && !first.close_asked; at += piece) {
		fake_stream_feed(&first, slice_of(data + at, u64_min(piece, size - at)));
		now_ns += step_ns;
		namesrv_turn(ns);
	}
	must_serve(&second);
	fake_stream_fini(&first);
	must_serve(&second);
	fake_stream_fini(&second);
	namesrv_local_gone(ns);
	namesrv_close(ns);
	return 0;
}
