/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Leases against a model, from seeds: subscriptions come and go, messages are sent, acknowledged, retried, rejected, or time runs out,
 * and the engine crashes in between. What must hold:
 *
 *   - one live lease of a message at a time, credit never exceeded, attempts never above the group's;
 *   - what was acknowledged, and had time to reach the disk, is never delivered again;
 *   - in the end each message was acknowledged, or stands in the dead-letter topic exactly once;
 *   - an engine that replays the log has the same offsets and leases as the one that wrote it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/groups.h"
#include "tests/lib/group_rig.h"

enum { MESSAGES_MAX = 4000, SUBS = 3, QUEUES = 3, RETRY_MAX = 4, LEASE_MS = 1000, STEPS = 600, SEEDS = 12 };

struct message {
	bool matches;         /* the subscriptions' filter */
	bool acked, maybe;    /* maybe: the last acknowledgement may have been lost in a crash */
	bool given_up;        /* rejected, or its last attempt failed, as far as the model can tell */
	uint64_t acked_ns, live_until_ns;
	struct rig_sub *holder;
	uint64_t tag;
	uint32_t attempt, seen;
};
struct model {
	struct rig rig;
	struct prng rnd;
	uint64_t seed;
	struct message v[MESSAGES_MAX];
	unsigned n;
	struct rig_sub subs[SUBS];
	bool open[SUBS];
};

static unsigned below(struct model *m, unsigned n)
{
	return (unsigned)prng_below(&m->rnd, n);
}

static void on_message(struct rig_sub *s, struct rig_got *got)
{
	struct model *m = s->arg;
	unsigned id = (unsigned)atoi(got->body);
	uint64_t now = m->rig.clock.ns;

	CHECK(id < m->n);
	struct message *x = &m->v[id];
	if (!x->matches)
		PANIC("seed %llu: message %u does not match the filter", (unsigned long long)m->seed, id);
	if (x->acked && !x->maybe)
		PANIC("seed %llu: message %u delivered after it was acknowledged", (unsigned long long)m->seed, id);
	if (x->holder != NULL && now < x->live_until_ns)
		PANIC("seed %llu: message %u leased twice at a time", (unsigned long long)m->seed, id);
	if (got->attempt > RETRY_MAX || got->attempt == 0)
		PANIC("seed %llu: message %u attempt %u", (unsigned long long)m->seed, id, got->attempt);
	x->holder = s;
	x->live_until_ns = now + LEASE_MS * MS_NS;
	x->tag = got->tag;
	x->attempt = got->attempt;
	x->seen++;
}

static void forget_holders(struct model *m, const struct rig_sub *s)
{
	for (unsigned i = 0; i < m->n; i++)
		if (s == NULL || m->v[i].holder == s)
			m->v[i].holder = NULL;
}

static void step_send(struct model *m)
{
	char body[16];
	const char *tags[] = {"A", "B", NULL, "C"};
	unsigned t = below(m, 4);

	if (m->n == MESSAGES_MAX)
		return;
	snprintf(body, sizeof body, "%u", m->n);
	m->v[m->n++] = (struct message){.matches = t < 2};
	CHECK(rig_send(&m->rig, "t", (int32_t)below(m, QUEUES), tags[t], body) == ST_OK);
}

static void step_open(struct model *m, unsigned i)
{
	struct rig_open o = {.topic = "t", .group = "g", .expr = "A || B", .start = SUB_START_FIRST, .lease_ms = LEASE_MS,
		.credit = below(m, 10)};

	rig_sub_free(&m->subs[i]);
	m->subs[i].hook = on_message;
	m->subs[i].arg = m;
	CHECK(rig_subscribe(&m->rig, &m->subs[i], &o) == ST_OK);
	m->open[i] = true;
}

static void step_close(struct model *m, unsigned i)
{
	forget_holders(m, &m->subs[i]); /* given back inside the call */
	engine_sub_close(m->rig.e, &m->subs[i].s);
	m->open[i] = false;
	while (!m->subs[i].ended)
		rig_turns(&m->rig, 1);
}

static void step_settle(struct model *m)
{
	unsigned from = below(m, m->n + 1), what = below(m, 20);
	struct message *x = NULL;

	for (unsigned i = 0; i < m->n && x == NULL; i++)
		if (m->v[(from + i) % m->n].holder != NULL)
			x = &m->v[(from + i) % m->n];
	if (x == NULL)
		return;
	struct rig_sub *s = x->holder;
	bool late = m->rig.clock.ns >= x->live_until_ns;
	enum settle how = what < 11 ? SETTLE_ACK : what < 16 ? SETTLE_RETRY : what < 17 ? SETTLE_REJECT : SETTLE_EXTEND;
	int64_t after = how == SETTLE_EXTEND ? 400 + (int64_t)below(m, 1500) : (int64_t)below(m, 3) * 300;
	/* The model follows before the call: a redelivery may come before its answer. */
	struct message before = *x;
	if (how != SETTLE_EXTEND)
		x->holder = NULL;
	uint64_t until = m->rig.clock.ns + (uint64_t)after * MS_NS;
	if (how == SETTLE_EXTEND && !late) /* a late one may have run out already */
		x->live_until_ns = until;
	enum status st = rig_settle(&m->rig, s, x->tag, how, after);
	if (st == ST_OK && how == SETTLE_EXTEND && x->seen == before.seen)
		x->live_until_ns = until;
	if (st == ST_GONE && x->seen == before.seen) {
		CHECK(late || m->rig.clock.ns >= before.live_until_ns);
		x->live_until_ns = before.live_until_ns;
		x->holder = NULL; /* it ran out */
		return;
	}
	if (st != ST_OK)
		return;
	if (how == SETTLE_ACK) {
		x->acked = true;
		x->maybe = false;
		x->acked_ns = m->rig.clock.ns;
	}
}

/* What must survive of a cursor. A wait that is over in a moment may be over after the crash. */
static void cursor_text(const struct cursor *c, int64_t now_ms, struct buf *text)
{
	for (uint64_t at = c->prefix; at < c->top; at++)
		if (cursor_known(c, at) && u64map_get(&c->items, at) == NULL)
			buf_fmt(text, " %llu", (unsigned long long)at);
	LIST_EACH(&c->all, n) {
		const struct item *it = container_of(n, struct item, all);
		bool waits = it->state == ITEM_WAITING && it->due_ms > now_ms + 5;
		if (it->attempts > 0 || it->dead || waits || it->offset < c->prefix)
			buf_fmt(text, " (%llu attempts %u%s due %lld)", (unsigned long long)it->offset, it->attempts, it->dead ? " dead" : "",
				waits ? (long long)it->due_ms : 0);
	}
}

/* The state as text, a line for each queue. */
static char *state_text(struct model *m)
{
	struct eng *g = eng_of(m->rig.e);
	struct buf text = {0};

	for (int32_t q = 0; q < QUEUES; q++) {
		struct group *gr = group_at(g->gs, SLICE_LIT("g"));
		struct topic *t = topic_find(g, SLICE_LIT("t"));
		struct gtopic *gt = gr == NULL ? NULL : gtopic_find(gr, t);
		struct goff *o = gt == NULL ? NULL : goff_find(gt, q);
		if (o == NULL)
			continue;
		buf_fmt(&text, "%d: %d %llu %lld", q, o->set, (unsigned long long)o->value, (long long)o->commit_ms);
		if (o->cursor != NULL)
			cursor_text(o->cursor, g->now_ms, &text);
		buf_str(&text, "\n");
	}
	char *s = mem_dup(text.p, text.n);
	buf_fini(&text);
	return s;
}

static void step_crash(struct model *m, bool quiet)
{
	char *before = NULL;

	if (quiet) { /* all that happened is in the log: the replay must come to the same */
		struct eng *g = eng_of(m->rig.e);
		for (unsigned i = 0; i < 100000 && !(list_empty(&g->gs->dirty) && g->clog.durable == g->clog.tail); i++) {
			rig_turns(&m->rig, 1);
			m->rig.clock.ns += MS_NS;
		}
		CHECK(list_empty(&g->gs->dirty));
		before = state_text(m);
	}
	for (unsigned i = 0; i < m->n; i++)
		if (!quiet && m->v[i].acked && m->v[i].acked_ns + (m->rig.conf.offset_sync_ms + 20) * MS_NS > m->rig.clock.ns)
			m->v[i].maybe = true;
	forget_holders(m, NULL);
	for (unsigned i = 0; i < SUBS; i++) {
		m->open[i] = false;
		rig_sub_free(&m->subs[i]);
	}
	rig_crash(&m->rig, &m->rnd);
	if (quiet) {
		char *after = state_text(m);
		if (strcmp(before, after) != 0)
			PANIC("seed %llu: before:\n%safter:\n%s", (unsigned long long)m->seed, before, after);
		mem_free(after);
	}
	mem_free(before);
}

static void finish(struct model *m, bool crashes)
{
	unsigned dead[MESSAGES_MAX] = {0};

	if (!m->open[0])
		step_open(m, 0);
	for (unsigned rounds = 0; rounds < 400; rounds++) {
		for (unsigned i = 0; i < SUBS; i++)
			if (m->open[i])
				rig_credit(&m->rig, &m->subs[i], 100);
		rig_run(&m->rig, 100);
		for (unsigned i = 0; i < m->n; i++) {
			struct message *x = &m->v[i];
			if (x->holder == NULL || m->rig.clock.ns >= x->live_until_ns)
				continue;
			struct rig_sub *s = x->holder;
			x->holder = NULL;
			if (rig_settle(&m->rig, s, x->tag, SETTLE_ACK, 0) == ST_OK) {
				x->acked = true;
				x->maybe = false;
			}
		}
	}
	char *text = rig_bodies(&m->rig, "%DLQ%g", 0);
	struct slice rest = slice_str(text), one;
	while (rest.n > 0 && slice_split(&rest, ' ', &one)) {
		uint64_t id;
		CHECK(slice_u64(one, &id) && id < m->n);
		dead[id]++;
	}
	for (unsigned i = 0; i < m->n; i++) {
		const struct message *x = &m->v[i];
		bool fine = !x->matches ? !x->acked && dead[i] == 0 : x->acked ? dead[i] <= (crashes ? 1 : 0) : dead[i] == 1;
		if (!fine)
			PANIC("seed %llu: message %u of %u: acked %d dead letters %u attempts %u", (unsigned long long)m->seed, i, m->n, x->acked,
				dead[i], x->attempt);
	}
	for (int32_t q = 0; q < QUEUES; q++) {
		uint64_t v;
		struct topic *t = topic_find(eng_of(m->rig.e), SLICE_LIT("t"));
		CHECK(rig_get(&m->rig, "g", "t", q, &v, NULL) == ST_OK);
		CHECK(v == queue_end(t, q));
	}
	CHECK(rig_stat(&m->rig, STAT_LEASES) == 0);
	mem_free(text);
}

static void run(uint64_t seed, bool crashes)
{
	struct model *m = mem_new(sizeof *m);
	struct group_conf c;

	m->seed = seed;
	prng_init(&m->rnd, seed);
	rig_init(&m->rig);
	rig_open(&m->rig);
	CHECK(rig_topic(&m->rig, "t", QUEUES) == ST_OK);
	group_conf_default(&c);
	c.retry_max = RETRY_MAX;
	CHECK(rig_group(&m->rig, "g", &c) == ST_OK);
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned what = below(m, 100), sub = below(m, SUBS);
		if (what < 30)
			step_send(m);
		else if (what < 36 && !m->open[sub])
			step_open(m, sub);
		else if (what < 38 && m->open[sub])
			step_close(m, sub);
		else if (what < 50 && m->open[sub])
			rig_credit(&m->rig, &m->subs[sub], 1 + below(m, 8));
		else if (what < 85)
			step_settle(m);
		else if (what < 98)
			rig_run(&m->rig, below(m, 500));
		else if (crashes)
			step_crash(m, what == 98);
	}
	finish(m, crashes);
	for (unsigned i = 0; i < SUBS; i++) {
		if (m->open[i])
			rig_unsubscribe(&m->rig, &m->subs[i]);
		rig_sub_free(&m->subs[i]);
	}
	rig_fini(&m->rig);
	mem_free(m);
}

static void many_seeds_without_crashes(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run(seed, false);
}

static void many_seeds_with_crashes(void **state)
{
	const char *one = getenv("SEED");

	(void)state;
	if (one != NULL) {
		run(strtoull(one, NULL, 10), true);
		return;
	}
	for (uint64_t seed = 100; seed < 100 + 2 * SEEDS; seed++)
		run(seed, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_seeds_without_crashes),
		cmocka_unit_test(many_seeds_with_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
