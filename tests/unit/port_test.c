/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The engine through a port: its turns run on a thread of their own, everything is asked from this one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/obj.h"
#include "engine/port.h"
#include "record/record.h"
#include "tests/lib/memdisk.h"

struct fixed_clock {
	struct clock base;
	_Atomic uint64_t ns;
};

static uint64_t mono(struct clock *c)
{
	return atomic_fetch_add(&((struct fixed_clock *)(void *)c)->ns, 1000) + 1000;
}

static int64_t wall(struct clock *c)
{
	return 1700000000000 + (int64_t)(atomic_load(&((struct fixed_clock *)(void *)c)->ns) / MS_NS);
}

static const struct clock_ops clock_ops = {mono, wall};

struct world {
	struct memdisk disk;
	struct testlog log;
	struct fixed_clock clock;
	struct prng prng;
	struct engine *e;
	struct engine_port *port;
	struct engine *mine;
	sem_t engine_wanted, owner_wanted;
	atomic_bool stop, closed;
	pthread_t thread;
};

static void wake(void *sem)
{
	sem_post(sem);
}

static void on_closed(void *arg)
{
	((struct world *)arg)->closed = true;
}

static void *engine_thread(void *arg)
{
	struct world *w = arg;
	bool closing = false;
	while (!w->closed) {
		uint64_t due = 0;
		engine_port_serve(w->port);
		if (w->stop && !closing) {
			closing = true;
			engine_close(w->e, on_closed, w);
		}
		due = engine_turn(w->e);
		if (w->closed)
			break;
		bool busy = !list_empty(&w->disk.ops);
		memdisk_run(&w->disk);
		if (due <= w->clock.ns + SEC_NS / 2)
			w->clock.ns = u64_max(due, w->clock.ns); /* a deadline that is near: its time has come */
		else if (!closing && !busy)
			sem_wait(&w->engine_wanted);
	}
	return NULL;
}

static void world_start(struct world *w)
{
	struct engine_conf conf;
	char why[128];
	memset(w, 0, sizeof *w);
	memdisk_init(&w->disk);
	w->disk.later = true;
	testlog_init(&w->log);
	w->clock.base.ops = &clock_ops;
	prng_init(&w->prng, 3);
	engine_conf_default(&conf);
	conf.segment_bytes = 8u << 20;
	conf.block_bytes = 64u << 10;
	conf.max_message = 256u << 10;
	conf.ahead_bytes = conf.unsynced_bytes = 1u << 20;
	struct engine_env env = {&w->clock.base, &w->disk.disk, &w->prng, &w->log.log};
	assert_int_equal(engine_open(&w->e, &env, &conf, why, sizeof why), ST_OK);
	sem_init(&w->engine_wanted, 0, 0);
	sem_init(&w->owner_wanted, 0, 0);
	struct engine_port_conf pc = {w->e, wake, &w->engine_wanted, wake, &w->owner_wanted};
	w->port = engine_port_new(&pc);
	w->mine = engine_port_engine(w->port);
	pthread_create(&w->thread, NULL, engine_thread, w);
}

static void world_stop(struct world *w)
{
	while (!engine_port_idle(w->port)) {
		sem_wait(&w->owner_wanted);
		engine_port_turn(w->port);
	}
	w->stop = true;
	sem_post(&w->engine_wanted);
	pthread_join(w->thread, NULL);
	engine_port_free(w->port);
	memdisk_fini(&w->disk);
}

static void wait_for(struct world *w, const bool *flag)
{
	while (!*flag) {
		sem_wait(&w->owner_wanted);
		engine_port_turn(w->port);
	}
}

struct asked {
	union {
		struct engine_ask ask;
		struct engine_send send;
		struct engine_pull pull;
		struct engine_topics topics;
		struct engine_join join;
		struct engine_leave leave;
		struct engine_members members;
		struct engine_sub_open open;
		struct engine_settle settle;
		struct engine_locks locks;
		struct engine_cell cell;
		struct engine_cells cells;
		struct engine_stats stats;
	} u;
	bool done;
	enum status st;
	uint64_t seen; /* what done() saw in the answer */
};

static void on_done(struct engine_ask *a, enum status st)
{
	struct asked *r = (struct asked *)(void *)a;
	struct record rec;
	r->done = true;
	r->st = st;
	if (a->verb == ENGINE_PULL && st == ST_OK) {
		assert_int_equal(record_decode(r->u.pull.pieces[0].bytes, &rec), ST_OK);
		r->seen = rec.body.n;
	} else if (a->verb == ENGINE_TOPIC_LIST) {
		for (size_t i = 0; i < r->u.topics.count; i++)
			r->seen += slice_eq_str(r->u.topics.v[i].name, "orders");
	} else if (a->verb == ENGINE_MEMBERS && st == ST_OK) {
		r->seen = slice_eq_str(r->u.members.v[0].client_id, "client-1") && slice_eq_str(r->u.members.subs[0].topic, "orders");
	} else if (a->verb == ENGINE_CELL_LIST && st == ST_OK) {
		for (size_t i = 0; i < r->u.cells.count; i++)
			r->seen = r->seen * 1000 + r->u.cells.v[i].name.n * 100 + r->u.cells.v[i].value.n;
	}
}

static struct asked *ask_new(void)
{
	struct asked *r = mem_new(sizeof *r);
	r->u.ask.done = on_done;
	return r;
}

static void test_sends_and_pulls(void **state)
{
	struct world w;
	enum { N = 2000 };
	static struct asked *sends[N];
	char body[64], topic[16];
	(void)state;
	world_start(&w);
	for (int i = 0; i < N; i++) {
		snprintf(body, sizeof body, "body of message %d", i);
		snprintf(topic, sizeof topic, "orders");
		sends[i] = ask_new();
		sends[i]->u.send.msg = (struct msg){.topic = slice_str(topic), .body = slice_str(body), .max_reconsume = -1};
		sends[i]->u.send.default_topic = SLICE_LIT("TBW102");
		engine_send(w.mine, &sends[i]->u.send);
		memset(topic, 'x', sizeof topic); /* in by borrow: what was named may be reused at once */
		memset(body, 'x', sizeof body);
	}
	for (int i = 0; i < N; i++) {
		wait_for(&w, &sends[i]->done);
		assert_int_equal(sends[i]->st, ST_OK);
		assert_int_equal(sends[i]->u.send.offset, i);
		mem_free(sends[i]);
	}
	struct asked *p = ask_new();
	p->u.pull = (struct engine_pull){.ask = {.done = on_done}, .topic = SLICE_LIT("orders"), .from = 7, .max_msgs = 1, .max_bytes = 4096};
	engine_pull(w.mine, &p->u.pull);
	wait_for(&w, &p->done);
	assert_int_equal(p->st, ST_OK);
	assert_int_equal(p->seen, sizeof "body of message 7" - 1);
	mem_free(p);
	/* One that waits is cancelled, once and twice, before and after its answer is on its way. */
	p = ask_new();
	p->u.pull = (struct engine_pull){.ask = {.done = on_done}, .topic = SLICE_LIT("orders"), .from = N, .max_msgs = 1, .max_bytes = 4096, .wait_ms = 1000000};
	engine_pull(w.mine, &p->u.pull);
	engine_cancel(w.mine, &p->u.ask);
	engine_cancel(w.mine, &p->u.ask);
	wait_for(&w, &p->done);
	assert_int_equal(p->st, ST_CLOSED);
	mem_free(p);
	p = ask_new();
	engine_topic_list(w.mine, &p->u.topics);
	wait_for(&w, &p->done);
	assert_int_equal(p->seen, 1);
	mem_free(p);
	world_stop(&w);
}

static unsigned changes;

static void on_changed(struct engine_member *m)
{
	(void)m;
	changes++;
}

static void on_lost(struct engine_member *m)
{
	(void)m;
	fail();
}

static void test_members(void **state)
{
	struct world w;
	struct engine_member member = {.changed = on_changed, .lost = on_lost};
	struct subscription sub = {SLICE_LIT("orders"), SLICE_LIT("*"), 1};
	(void)state;
	world_start(&w);
	struct asked *r = ask_new();
	r->u.join = (struct engine_join){.ask = {.done = on_done}, .member = &member, .group = SLICE_LIT("readers"), .client_id = SLICE_LIT("client-1"),
		.model = MODEL_CLUSTERING, .subs = &sub, .n_subs = 1};
	engine_join(w.mine, &r->u.join);
	wait_for(&w, &r->done);
	assert_int_equal(r->st, ST_OK);
	assert_ptr_equal(r->u.join.member, &member);
	mem_free(r);
	r = ask_new();
	r->u.members.group = SLICE_LIT("readers");
	engine_members(w.mine, &r->u.members);
	wait_for(&w, &r->done);
	assert_int_equal(r->seen, 1);
	mem_free(r);
	struct queue_name q = {SLICE_LIT("SELF_TEST_TOPIC"), 0};
	bool granted = false;
	r = ask_new();
	r->u.locks = (struct engine_locks){.ask = {.done = on_done}, .group = SLICE_LIT("readers"), .client_id = SLICE_LIT("client-1"), .v = &q, .count = 1,
		.granted = &granted};
	engine_lock(w.mine, &r->u.locks);
	wait_for(&w, &r->done);
	assert_true(granted);
	mem_free(r);
	r = ask_new();
	r->u.leave.member = &member;
	engine_leave(w.mine, &r->u.leave);
	wait_for(&w, &r->done);
	assert_null(member.priv[0]);
	mem_free(r);
	world_stop(&w);
}

struct reader {
	struct engine_sub sub;
	struct world *w;
	unsigned got, settled;
	bool all, ended;
};

static struct reader *the_reader;

static void on_settled(struct engine_ask *a, enum status st)
{
	assert_int_equal(st, ST_OK);
	the_reader->settled++;
	mem_free(container_of(a, struct engine_settle, ask));
}

static void on_deliver(struct engine_sub *s, const struct delivery *d)
{
	struct reader *r = container_of(s, struct reader, sub);
	struct record rec;
	assert_int_equal(record_decode(d->record, &rec), ST_OK);
	assert_true(slice_eq_str(d->topic, "orders"));
	struct engine_settle *ack = mem_new(sizeof *ack);
	*ack = (struct engine_settle){.ask = {.done = on_settled}, .sub = s, .tag = d->tag, .how = SETTLE_ACK};
	engine_settle(r->w->mine, ack);
	engine_sub_credit(r->w->mine, s, 1);
	r->all = ++r->got == 500;
}

static void on_ended(struct engine_sub *s, enum status st)
{
	assert_int_equal(st, ST_CLOSED);
	container_of(s, struct reader, sub)->ended = true;
}

static void test_subscription(void **state)
{
	struct world w;
	struct reader reader = {.sub = {.deliver = on_deliver, .ended = on_ended}, .w = &w};
	bool done = false;
	(void)state;
	world_start(&w);
	the_reader = &reader;
	for (int i = 0; i < 500; i++) {
		struct asked *s = ask_new();
		s->u.send.msg = (struct msg){.topic = SLICE_LIT("orders"), .body = SLICE_LIT("x"), .queue = -1, .max_reconsume = -1};
		s->u.send.default_topic = SLICE_LIT("TBW102");
		s->u.send.default_queues = 4;
		engine_send(w.mine, &s->u.send);
		wait_for(&w, &s->done);
		mem_free(s);
	}
	struct asked *o = ask_new();
	o->u.open = (struct engine_sub_open){.ask = {.done = on_done}, .sub = &reader.sub, .topic = SLICE_LIT("orders"), .group = SLICE_LIT("readers"),
		.client_id = SLICE_LIT("http-1"), .start = SUB_START_FIRST, .credit = 8};
	engine_sub_open(w.mine, &o->u.open);
	wait_for(&w, &o->done);
	assert_int_equal(o->st, ST_OK);
	wait_for(&w, &reader.all);
	engine_sub_close(w.mine, &reader.sub);
	engine_sub_credit(w.mine, &reader.sub, 5); /* behind the close: of no effect */
	wait_for(&w, &reader.ended);
	while (!(done = reader.settled == 500)) {
		sem_wait(&w.owner_wanted);
		engine_port_turn(w.port);
	}
	mem_free(o);
	world_stop(&w);
}

static void send_some(struct world *w, unsigned from, unsigned n)
{
	char body[16];
	for (unsigned i = from; i < from + n; i++) {
		struct asked *s = ask_new();
		snprintf(body, sizeof body, "%u", i);
		s->u.send.msg = (struct msg){.topic = SLICE_LIT("orders"), .body = slice_str(body), .queue = 0, .max_reconsume = -1};
		s->u.send.default_topic = SLICE_LIT("TBW102");
		s->u.send.default_queues = 1;
		engine_send(w->mine, &s->u.send);
		wait_for(w, &s->done);
		assert_int_equal(s->st, ST_OK);
		mem_free(s);
	}
}

/* A tap that keeps what it was given, and grants more when it has had all its credit. */
struct watcher {
	struct engine_sub sub;
	struct world *w;
	struct piece held[300];
	unsigned n, credit;
	bool all, ended;
};

static void on_tap(struct engine_sub *s, const struct delivery *d)
{
	struct watcher *t = container_of(s, struct watcher, sub);
	assert_true(slice_eq_str(d->topic, "orders") && d->tag == 0 && d->queue == 0 && d->offset == t->n + 3);
	t->held[t->n++] = (struct piece){d->record, blob_hold(d->blob)};
	if (--t->credit == 0)
		engine_sub_credit(t->w->mine, s, t->credit = 7);
	t->all = t->n == ARRAY_LEN(t->held);
}

static void on_tap_ended(struct engine_sub *s, enum status st)
{
	assert_int_equal(st, ST_CLOSED);
	container_of(s, struct watcher, sub)->ended = true;
}

static void test_taps(void **state)
{
	struct world w;
	static struct watcher t[3];
	struct queue_from from = {0, 3};
	(void)state;
	world_start(&w);
	send_some(&w, 0, 100);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		t[i] = (struct watcher){.sub = {.deliver = on_tap, .ended = on_tap_ended}, .w = &w, .credit = 5 + i};
		struct asked *o = ask_new();
		o->u.open = (struct engine_sub_open){.ask = {.done = on_done}, .sub = &t[i].sub, .topic = SLICE_LIT("orders"), .tap = true,
			.start = SUB_START_LAST, .from = &from, .n_from = 1, .credit = t[i].credit};
		engine_sub_open(w.mine, &o->u.open);
		from = (struct queue_from){77, 77}; /* in by borrow */
		wait_for(&w, &o->done);
		assert_int_equal(o->st, ST_OK);
		mem_free(o);
		from = (struct queue_from){0, 3};
	}
	send_some(&w, 100, 203);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		wait_for(&w, &t[i].all);
		engine_sub_close(w.mine, &t[i].sub);
		wait_for(&w, &t[i].ended);
		for (unsigned k = 0; k < t[i].n; k++) {
			struct record rec;
			char body[16];
			snprintf(body, sizeof body, "%u", k + 3);
			assert_int_equal(record_decode(t[i].held[k].bytes, &rec), ST_OK);
			assert_true(slice_eq_str(rec.body, body));
			blob_drop(t[i].held[k].blob);
		}
	}
	world_stop(&w);
}

struct taker {
	struct engine_sub sub;
	uint64_t tags[10], incarnations[10];
	unsigned n;
	bool enough, ended;
};

static void on_take(struct engine_sub *s, const struct delivery *d)
{
	struct taker *t = container_of(s, struct taker, sub);
	t->incarnations[t->n] = d->incarnation;
	t->tags[t->n++] = d->tag;
	t->enough = t->n == ARRAY_LEN(t->tags);
}

static void on_taker_ended(struct engine_sub *s, enum status st)
{
	assert_int_equal(st, ST_CLOSED);
	container_of(s, struct taker, sub)->ended = true;
}

static enum status settle(struct world *w, struct engine_sub *sub, const struct taker *t, unsigned i, enum settle how)
{
	char group[] = "readers", topic[] = "orders";
	struct asked *r = ask_new();
	r->u.settle = (struct engine_settle){.ask = {.done = on_done}, .sub = sub, .group = slice_str(group), .topic = slice_str(topic),
		.incarnation = t->incarnations[i], .tag = t->tags[i], .how = how, .after_ms = 1000};
	engine_settle(w->mine, &r->u.settle);
	memset(group, 'x', sizeof group - 1);
	memset(topic, 'x', sizeof topic - 1);
	wait_for(w, &r->done);
	enum status st = r->st;
	mem_free(r);
	return st;
}

static void test_receipts(void **state)
{
	struct world w;
	struct taker t = {.sub = {.deliver = on_take, .ended = on_taker_ended}};
	(void)state;
	world_start(&w);
	send_some(&w, 0, 20);
	struct asked *o = ask_new();
	o->u.open = (struct engine_sub_open){.ask = {.done = on_done}, .sub = &t.sub, .topic = SLICE_LIT("orders"), .group = SLICE_LIT("readers"),
		.client_id = SLICE_LIT("http-1"), .start = SUB_START_FIRST, .credit = ARRAY_LEN(t.tags), .detach = true, .lease_ms = 1000000};
	engine_sub_open(w.mine, &o->u.open);
	wait_for(&w, &t.enough);
	assert_int_equal(settle(&w, NULL, &t, 0, SETTLE_ACK), ST_OK);
	assert_int_equal(settle(&w, &t.sub, &t, 1, SETTLE_ACK), ST_OK);
	engine_sub_close(w.mine, &t.sub);
	wait_for(&w, &t.ended);
	assert_int_equal(settle(&w, &t.sub, &t, 2, SETTLE_ACK), ST_GONE); /* it has ended: that is no receipt */
	assert_int_equal(settle(&w, NULL, &t, 2, SETTLE_EXTEND), ST_OK);
	assert_int_equal(settle(&w, NULL, &t, 2, SETTLE_ACK), ST_OK);
	assert_int_equal(settle(&w, NULL, &t, 2, SETTLE_ACK), ST_GONE);
	assert_int_equal(settle(&w, NULL, &t, 3, SETTLE_RELEASE), ST_OK);
	mem_free(o);
	world_stop(&w);
}

static void test_cells(void **state)
{
	struct world w;
	char space[] = "space", name[] = "name-0";
	static char value[90];
	(void)state;
	world_start(&w);
	struct asked *put[3];
	for (int i = 0; i < 3; i++) {
		put[i] = ask_new();
		name[5] = (char)('0' + i % 2);
		memset(value, i, sizeof value);
		put[i]->u.cell = (struct engine_cell){.ask = {.done = on_done}, .space = slice_str(space), .name = slice_str(name),
			.value = slice_of(value, (size_t)(30 + i))};
		engine_cell_put(w.mine, &put[i]->u.cell);
		memset(name + 4, '!', 2);
		name[4] = '-';
		memset(value, 0xee, sizeof value);
	}
	for (int i = 0; i < 3; i++) {
		wait_for(&w, &put[i]->done);
		assert_int_equal(put[i]->st, ST_OK);
		mem_free(put[i]);
	}
	struct asked *l = ask_new();
	l->u.cells.space = SLICE_LIT("space");
	engine_cell_list(w.mine, &l->u.cells);
	wait_for(&w, &l->done);
	assert_int_equal(l->seen, 632 * 1000 + 631);
	mem_free(l);
	l = ask_new();
	l->u.stats.visible = 0;
	engine_stats(w.mine, &l->u.stats);
	wait_for(&w, &l->done);
	assert_true(l->u.stats.visible > 0 && l->u.stats.v[STAT_CELLS] == 2);
	mem_free(l);
	world_stop(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sends_and_pulls),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_subscription),
		cmocka_unit_test(test_taps),
		cmocka_unit_test(test_receipts),
		cmocka_unit_test(test_cells),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
