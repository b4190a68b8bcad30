/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * 26: what of the broker's configuration clients may know. 28: its numbers, under the keys that RocketMQ's tools read, and the engine's and the front's own under their metric names.
 *
 * The tools want rates over ten seconds, a minute and ten minutes and totals at midnight (UTC). Whenever a peer looks at its clock and ten seconds
 * have passed, a sample is taken into a ring; a rate is the difference to the youngest sample that is old enough, else to the oldest.
 */
#include "front/native/nat.h"

#define DAY_MS INT64_C(86400000)

/* ---- Samples ------------------------------------------------------------------------------------------------------------------- */

static struct nat_sample sample_of(const struct nat *f, const uint64_t *v, uint64_t now_ns)
{
	return (struct nat_sample){
		.at_ns = now_ns,
		.in = v[STAT_MESSAGES_IN_TOTAL],
		.out = v[STAT_MESSAGES_OUT_TOTAL],
		.found = f->n.pulls_found,
		.missed = f->n.pulls_missed,
		.parked = v[STAT_DELAYED_IN_TOTAL],
		.unparked = v[STAT_DELAYED_OUT_TOTAL],
	};
}

static void sampled(struct engine_ask *a, enum status st)
{
	struct nat_rates *r = container_of(a, struct nat_rates, ask.ask);
	struct nat *f = container_of(r, struct nat, rates);
	CHECK_OBJ(f, NAT_MAGIC);

	r->asking = false;
	if (st == ST_OK) {
		r->ring[r->next] = sample_of(f, r->ask.v, clock_mono_ns(f->clock));
		int64_t day = clock_wall_ms(f->clock) / DAY_MS;
		if (day != r->day && r->n > 0) {
			r->in_yesterday = r->in_today;
			r->out_yesterday = r->out_today;
			r->in_today = r->ring[r->next].in;
			r->out_today = r->ring[r->next].out;
		}
		r->day = day;
		r->next = (r->next + 1) % NAT_SAMPLES;
		if (r->n < NAT_SAMPLES)
			r->n++;
	}
	nat_settle(f);
}

void nat_rates_turn(struct nat *f, uint64_t now_ns)
{
	struct nat_rates *r = &f->rates;

	if (r->asking || f->draining || now_ns < r->due_ns)
		return;
	r->due_ns = now_ns + NAT_TURN_MS * MS_NS;
	r->asking = true;
	memset(&r->ask, 0, sizeof(r->ask));
	r->ask.ask.done = sampled;
	engine_stats(f->engine, &r->ask);
}

/* The sample to compare with for a rate over 'ns'; the state at start when there is none. */
static struct nat_sample before(const struct nat *f, uint64_t now_ns, uint64_t ns)
{
	const struct nat_rates *r = &f->rates;
	struct nat_sample s = {.at_ns = f->boot_ns};

	for (unsigned i = 0; i < r->n; i++) {
		unsigned at = (r->next + NAT_SAMPLES - 1 - i) % NAT_SAMPLES; /* from the youngest to the oldest */
		s = r->ring[at];
		if (now_ns - s.at_ns >= ns)
			return s;
	}
	if (r->n < NAT_SAMPLES)
		s = (struct nat_sample){.at_ns = f->boot_ns};
	return s;
}

/* ---- The table --------------------------------------------------------------------------------------------------------------------- */

struct table {
	struct wire_table t;
	struct buf text;
};

static void put(struct table *t, const char *name, const char *value)
{
	wire_table_put(&t->t, slice_str(name), slice_str(value));
}

static void put_u64(struct table *t, const char *name, uint64_t v)
{
	buf_reset(&t->text);
	buf_u64_dec(&t->text, v);
	wire_table_put(&t->t, slice_str(name), buf_view(&t->text));
}

static void put_i64(struct table *t, const char *name, int64_t v)
{
	buf_reset(&t->text);
	buf_i64_dec(&t->text, v);
	wire_table_put(&t->t, slice_str(name), buf_view(&t->text));
}

static void put_double(struct table *t, const char *name, double v)
{
	buf_reset(&t->text);
	buf_fmt(&t->text, "%.4f", v);
	wire_table_put(&t->t, slice_str(name), buf_view(&t->text));
}

static double rate(uint64_t now, uint64_t then, uint64_t ns)
{
	return ns == 0 || now < then ? 0 : (double)(now - then) * 1e9 / (double)ns;
}

enum what { RATE_IN, RATE_OUT, RATE_FOUND, RATE_MISSED, RATE_PULLS };

static uint64_t pick(const struct nat_sample *s, enum what what)
{
	switch (what) {
	case RATE_IN: return s->in;
	case RATE_OUT: return s->out;
	case RATE_FOUND: return s->found;
	case RATE_MISSED: return s->missed;
	default: return s->found + s->missed;
	}
}

static void put_rates(struct table *t, const struct nat *f, const struct nat_sample *now, const char *name, enum what what)
{
	static const uint64_t spans_s[] = {10, 60, 600};

	buf_reset(&t->text);
	for (unsigned i = 0; i < ARRAY_LEN(spans_s); i++) {
		struct nat_sample then = before(f, now->at_ns, spans_s[i] * SEC_NS);

		buf_fmt(&t->text, "%s%.2f", i > 0 ? " " : "", rate(pick(now, what), pick(&then, what), now->at_ns - then.at_ns));
	}
	wire_table_put(&t->t, slice_str(name), buf_view(&t->text));
}

static void put_uptime(struct table *t, const struct nat *f, uint64_t now_ns)
{
	unsigned long long s = (now_ns - f->boot_ns) / SEC_NS;

	buf_reset(&t->text);
	buf_fmt(&t->text, "[ %llu days, %llu hours, %llu minutes, %llu seconds ]", s / 86400, s / 3600 % 24, s / 60 % 60, s % 60);
	wire_table_put(&t->t, slice_str("runtime"), buf_view(&t->text));
	put_i64(t, "bootTimestamp", f->boot_ms);
	put_i64(t, "startAcceptSendRequestTimeStamp", f->boot_ms);
}

static void put_puts_and_gets(struct table *t, const struct nat *f, const struct nat_sample *now, const uint64_t *v)
{
	const struct nat_rates *r = &f->rates;
	uint64_t in = v[STAT_MESSAGES_IN_TOTAL], bytes = v[STAT_BYTES_IN_TOTAL];

	put_u64(t, "putMessageTimesTotal", in);
	put_u64(t, "putMessageFailedTimes", v[STAT_SENDS_REFUSED_TOTAL]);
	put_u64(t, "putMessageSizeTotal", bytes);
	put_double(t, "putMessageAverageSize", in == 0 ? 0 : (double)bytes / (double)in);
	put_rates(t, f, now, "putTps", RATE_IN);
	put_rates(t, f, now, "getFoundTps", RATE_FOUND);
	put_rates(t, f, now, "getMissTps", RATE_MISSED);
	put_rates(t, f, now, "getTotalTps", RATE_PULLS);
	put_rates(t, f, now, "getTransferredTps", RATE_OUT);
	put_u64(t, "msgPutTotalYesterdayMorning", r->in_yesterday);
	put_u64(t, "msgPutTotalTodayMorning", r->in_today);
	put_u64(t, "msgPutTotalTodayNow", in);
	put_u64(t, "msgGetTotalYesterdayMorning", r->out_yesterday);
	put_u64(t, "msgGetTotalTodayMorning", r->out_today);
	put_u64(t, "msgGetTotalTodayNow", v[STAT_MESSAGES_OUT_TOTAL]);
}

static void put_store(struct table *t, const uint64_t *v)
{
	uint64_t log = v[STAT_LOG_WRITTEN] - v[STAT_LOG_MIN], disk = log + v[STAT_DISK_FREE_BYTES];

	put_u64(t, "commitLogMinOffset", v[STAT_LOG_MIN]);
	put_u64(t, "commitLogMaxOffset", v[STAT_LOG_VISIBLE]);
	put_double(t, "commitLogDiskRatio", disk == 0 ? 0 : (double)log / (double)disk);
	put(t, "consumeQueueDiskRatio", "0.0");
	buf_reset(&t->text);
	buf_fmt(&t->text, "Total : %llu, Free : %llu", (unsigned long long)disk, (unsigned long long)v[STAT_DISK_FREE_BYTES]);
	wire_table_put(&t->t, slice_str("commitLogDirCapacity"), buf_view(&t->text));
	put_u64(t, "dispatchBehindBytes", v[STAT_LOG_WRITTEN] - v[STAT_LOG_VISIBLE]);
	buf_reset(&t->text);
	buf_fmt(&t->text, "%llu B", (unsigned long long)(v[STAT_LOG_WRITTEN] - v[STAT_LOG_DURABLE]));
	wire_table_put(&t->t, slice_str("remainHowManyDataToFlush"), buf_view(&t->text));
}

/* One number each, over ten seconds. */
static void put_timers(struct table *t, const struct nat *f, const struct nat_sample *now)
{
	struct nat_sample then = before(f, now->at_ns, 10 * SEC_NS);
	uint64_t ns = now->at_ns - then.at_ns;

	put_double(t, "timerEnqueueTps", rate(now->parked, then.parked, ns));
	put_double(t, "timerDequeueTps", rate(now->unparked, then.unparked, ns));
}

/* Of each delay level: how far it was delivered, and how far it is filled. */
static void put_delays(struct table *t, const struct delay_numbers *levels, unsigned n)
{
	struct buf name = {0};

	for (unsigned i = 0; i < n; i++) {
		buf_reset(&name);
		buf_fmt(&name, "scheduleMessageOffset_%u", i + 1);
		buf_reset(&t->text);
		buf_fmt(&t->text, "%llu,%llu", (unsigned long long)levels[i].next, (unsigned long long)levels[i].end);
		wire_table_put(&t->t, buf_view(&name), buf_view(&t->text));
	}
	buf_fini(&name);
}

/* What tools read and Gantry has no such thing of: thread pools, their queues, and the locks and buffers of another store. */
static void put_absent(struct table *t)
{
	static const char *const pools[] = {"send", "pull", "litePull", "query", "ack"};
	static const char *const parts[] = {"Size", "Capacity", "HeadWaitTimeMills"};
	static const char *const zero[] = {
		"EndTransactionQueueSize", "EndTransactionThreadPoolQueueCapacity", "dispatchMaxBuffer", "getMessageEntireTimeMax",
		"pageCacheLockTimeMills", "putMessageEntireTimeMax", "remainTransientStoreBufferNumbs", "timerCongestNum",
		"timerOffsetBehind", "timerReadBehind",
	};

	for (unsigned i = 0; i < ARRAY_LEN(pools); i++)
		for (unsigned k = 0; k < ARRAY_LEN(parts); k++) {
			buf_reset(&t->text);
			buf_fmt(&t->text, "%sThreadPoolQueue%s", pools[i], parts[k]);
			wire_table_put(&t->t, buf_view(&t->text), SLICE_LIT("0"));
		}
	for (unsigned i = 0; i < ARRAY_LEN(zero); i++)
		put(t, zero[i], "0");
	put(t, "putMessageDistributeTime", "");
	put(t, "putLatency99", "0.00");
	put(t, "putLatency999", "0.00");
	put(t, "earliestMessageTimeStamp", "-1");
}

static void runtime_got(struct engine_ask *a, enum status st)
{
	struct nat_call *c = nat_call_of(a);
	struct nat *f = c->front;
	const uint64_t *v = c->u.stats.v;
	struct table t = {.text = {0}};
	uint64_t now_ns = clock_mono_ns(f->clock);

	if (st != ST_OK) {
		nat_answer_status(c, st);
		return;
	}
	struct nat_sample now = sample_of(f, v, now_ns);
	struct buf *b = nat_body(c);
	wire_table_begin(&t.t, b);
	put_u64(&t, "brokerVersion", WIRE_VERSION);
	put(&t, "brokerVersionDesc", "V5_3_3");
	put(&t, "brokerActive", f->draining ? "false" : "true");
	put_uptime(&t, f, now_ns);
	put_puts_and_gets(&t, f, &now, v);
	put_store(&t, v);
	put_timers(&t, f, &now);
	put_delays(&t, c->u.stats.delay, ARRAY_LEN(c->u.stats.delay));
	put_absent(&t);
	for (unsigned i = 0; i < STAT_COUNT; i++)
		put_u64(&t, engine_stat_rows[i].name, v[i]);
	put_u64(&t, "gantry_native_requests_total", f->n.requests);
	put_u64(&t, "gantry_native_unknown_requests_total", f->n.unknown);
	put_u64(&t, "gantry_native_malformed_frames_total", f->n.malformed);
	wire_table_end(&t.t);
	buf_fini(&t.text);
	nat_answer_body(c, b);
}

void nat_runtime(struct nat_call *c, const struct wire_cmd *cmd)
{
	(void)cmd;
	NAT_ASK(c, stats, runtime_got);
	c->u.stats.actor = &c->peer->actor;
	engine_stats(c->front->engine, &c->u.stats);
}

/* ---- 26 -------------------------------------------------------------------------------------------------------------------------- */

static void config_u64(struct buf *b, const char *name, uint64_t v)
{
	struct buf text = {0};

	buf_u64_dec(&text, v);
	wire_properties_put(b, slice_str(name), buf_view(&text));
	buf_fini(&text);
}

void nat_broker_config(struct nat_call *c, const struct wire_cmd *cmd)
{
	const struct front_conf *conf = c->front->conf;
	struct wire_data_version version = {.state = 0, .timestamp = c->front->boot_ms, .counter = 0};
	uint32_t ip = conf->advertised_ip;
	struct buf text = {0};
	struct wire_out o;

	(void)cmd;
	if (nat_answer_begin(c, &o, ANS_SUCCESS) == NULL)
		return;
	wire_data_version(&text, &version);
	wire_put(&o, "version", buf_view(&text));
	struct buf *b = nat_body(c);
	if (conf->settings.n > 0) {
		buf_fini(&text);
		nat_answer_finish(c, &o, conf->settings);
		return;
	}
	wire_properties_put(b, SLICE_LIT("brokerClusterName"), conf->cluster);
	wire_properties_put(b, SLICE_LIT("brokerName"), conf->broker);
	config_u64(b, "brokerId", conf->broker_id);
	buf_reset(&text);
	buf_fmt(&text, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
	wire_properties_put(b, SLICE_LIT("brokerIP1"), buf_view(&text));
	buf_fini(&text);
	config_u64(b, "listenPort", conf->advertised_port);
	config_u64(b, "maxMessageSize", conf->max_message);
	nat_answer_finish(c, &o, buf_view(b));
}
