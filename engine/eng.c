/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The engine's life and its turn. What happens in which order is told in eng.h. */
#include "engine/eng.h"

#include <stdio.h>

#include "base/mem.h"
#include "engine/kindex.h"

const struct stat_row engine_stat_rows[STAT_COUNT] = {
#define X(name, kind, text) [STAT_##name] = {#name, kind, text},
#include "engine/stats.tbl"
#undef X
};

void engine_conf_default(struct engine_conf *c)
{
	static const uint32_t delays_s[DELAY_LEVELS] = {1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200};
	*c = (struct engine_conf){
		.cluster = SLICE_LIT("DefaultCluster"),
		.broker = SLICE_LIT("gantry"),
		.store_ip = 0x7F000001,
		.store_port = 10911,
		.segment_bytes = 1u << 30,
		.flush = FLUSH_SYNC,
		.flush_async_ms = 500,
		.max_message = 4u << 20,
		.ahead_bytes = 64u << 20,
		.unsynced_bytes = 64u << 20,
		.snapshot_bytes = 128u << 20,
		.cache_bytes = 64u << 20,
		.block_bytes = 256u << 10,
		.offset_sync_ms = 100,
		.auto_create_topic = true,
		.auto_create_group = true,
		.default_queues = 8,
		.reserved_ms = UINT64_C(72) * 3600 * 1000,
		.member_expire_ms = 120000,
		.lock_expire_ms = 60000,
		.lease_ms = 30000,
		.young_bytes = 1u << 30,
		.max_waiting = 1u << 20,
		.max_topics = 1u << 20,
		.max_groups = 1u << 20,
		.max_cells = 1u << 20,
		.max_cell_bytes = UINT64_C(256) << 20,
		.feed_linger_ms = 30000,
	};
	for (int i = 0; i < DELAY_LEVELS; i++)
		c->delay_ms[i] = delays_s[i] * 1000;
}

/* ---- Completion and timers --------------------------------------------------------------------------------------------------- */

void eng_complete(struct eng *g, struct engine_ask *a, enum status st)
{
	a->status = st;
	list_push(&g->done, &a->link);
}

void eng_complete_at(struct eng *g, struct engine_ask *a, uint64_t position, bool written_only)
{
	a->priv[1] = (void *)(uintptr_t)position;
	list_push(written_only ? &g->early : &g->at_mark, &a->link);
}

void eng_complete_durable(struct eng *g, struct engine_ask *a)
{
	eng_complete_at(g, a, g->clog.tail, false);
}

static void complete_passed(struct eng *g, struct list *waiting, uint64_t mark)
{
	while (!list_empty(waiting)) {
		struct engine_ask *a = container_of(waiting->next, struct engine_ask, link);
		if ((uint64_t)(uintptr_t)a->priv[1] > mark)
			return;
		list_remove(&a->link);
		eng_complete(g, a, ST_OK);
	}
}

static void complete_all(struct eng *g, struct list *waiting, enum status st)
{
	struct list *n;
	while ((n = list_pop(waiting)) != NULL)
		eng_complete(g, container_of(n, struct engine_ask, link), st);
}

void eng_timer_set(struct eng *g, struct eng_timer *t, uint64_t due_ns)
{
	heap_put(&g->timers, &t->node, due_ns);
}

void eng_timer_stop(struct eng *g, struct eng_timer *t)
{
	heap_drop(&g->timers, &t->node);
}

static void fire_timers(struct eng *g)
{
	struct heap_node *n;
	while ((n = heap_first(&g->timers)) != NULL && n->due <= g->now_ns) {
		struct eng_timer *t = container_of(n, struct eng_timer, node);
		heap_drop(&g->timers, n);
		t->fire(g, t);
	}
}

static void finish_stats(struct eng *g, struct engine_stats *r)
{
	g->stats[STAT_LOG_MIN] = g->clog.min;
	g->stats[STAT_LOG_WRITTEN] = g->clog.written;
	g->stats[STAT_LOG_DURABLE] = g->clog.durable;
	g->stats[STAT_LOG_VISIBLE] = clog_visible(&g->clog);
	g->stats[STAT_SEGMENTS] = g->clog.n_segs;
	g->stats[STAT_SEGMENTS_RECYCLED_TOTAL] = g->clog.recycled;
	g->stats[STAT_SEGMENTS_DROPPED_TOTAL] = g->clog.dropped;
	g->stats[STAT_SYNCS_TOTAL] = g->clog.syncs;
	g->stats[STAT_SYNC_MICROSECONDS_TOTAL] = g->clog.sync_us;
	g->stats[STAT_SYNC_FAILURES_TOTAL] = g->clog.failures;
	g->stats[STAT_COLD_READS_TOTAL] = g->clog.cold_reads;
	g->stats[STAT_POISONED] = g->clog.poisoned;
	g->stats[STAT_DISK_FULL] = g->clog.full || g->space_low;
	memcpy(r->v, g->stats, sizeof r->v);
	r->visible = clog_visible(&g->clog);
	delay_numbers(g, r);
}

/* Calls what is in the list now; what the callbacks add waits for the next turn. */
static void fire_done(struct eng *g)
{
	struct list now, *n;
	list_init(&now);
	list_move(&now, &g->done);
	while ((n = list_pop(&now)) != NULL) {
		struct engine_ask *a = container_of(n, struct engine_ask, link);
		enum status st = a->status;
		if (a->verb == ENGINE_STATS)
			finish_stats(g, container_of(a, struct engine_stats, ask));
		if (topic_finish(g, a))
			continue;
		if (a->done != NULL)
			a->done(a, st);
	}
}

/* ---- Requests ------------------------------------------------------------------------------------------------------------------- */

/* Requests come between turns, long after the last one maybe: the first of them looks at the clock again. */
static void see_clock(struct eng *g)
{
	if (g->clock_seen)
		return;
	g->clock_seen = true;
	g->now_ns = clock_mono_ns(g->env.clock);
	g->now_ms = clock_wall_ms(g->env.clock);
}

static void local_submit(struct engine *e, struct engine_ask *a)
{
	struct eng *g = eng_of(e);
	list_init(&a->link);
	see_clock(g);
	if (g->closing) {
		eng_complete(g, a, ST_CLOSED);
		return;
	}
	switch ((enum engine_verb)a->verb) {
	case ENGINE_SEND:
		send_submit(g, a);
		return;
	case ENGINE_SEND_BACK:
		send_back_submit(g, a);
		return;
	case ENGINE_PULL:
	case ENGINE_RANGE:
	case ENGINE_AT_TIME:
		read_submit(g, a);
		return;
	case ENGINE_VIEW:
	case ENGINE_FIND:
		lookup_submit(g, a);
		return;
	case ENGINE_TOPIC_PUT:
	case ENGINE_TOPIC_GET:
	case ENGINE_TOPIC_DROP:
	case ENGINE_TOPIC_LIST:
		topic_submit(g, a);
		return;
	case ENGINE_CELL_PUT:
	case ENGINE_CELL_LIST:
		cells_submit(g, a);
		return;
	case ENGINE_STATS:
		eng_complete(g, a, ST_OK);
		return;
	case ENGINE_VERB_COUNT:
		PANIC("no such verb");
	default:
		groups_submit(g, a);
	}
}

static void local_cancel(struct engine *e, struct engine_ask *a)
{
	struct eng *g = eng_of(e);
	if (a->verb == ENGINE_PULL)
		read_cancel(g, a);
	else if (a->verb == ENGINE_FIND || a->verb == ENGINE_VIEW)
		lookup_cancel(g, a);
}

static const struct engine_ops local_ops = {local_submit, local_cancel, lease_credit, lease_close};

/* ---- The turn --------------------------------------------------------------------------------------------------------------------- */

static void fail_pending(struct eng *g, enum status st)
{
	append_fail(g, st);
	complete_all(g, &g->early, st);
	complete_all(g, &g->at_mark, st);
	send_parked_fail(g, st);
	cells_fail(g, st);
}

/* Closing: true when nothing is under way any more. */
static bool closed_enough(struct eng *g)
{
	send_parked_fail(g, ST_CLOSED);
	cells_fail(g, ST_CLOSED);
	read_close(g);
	bool quiet = groups_close(g);
	if (g->clog.poisoned)
		return quiet && list_empty(&g->done) && clog_idle(&g->clog) && snapshot_idle(g);
	if (g->ring_n > 0 || g->clog.durable < g->clog.tail || g->state_due_ns != NEVER)
		return false;
	if (!g->final_snapshot) {
		g->final_snapshot = true;
		snapshot_want(g);
	}
	return quiet && list_empty(&g->done) && clog_idle(&g->clog) && snapshot_idle(g);
}

static uint64_t next_deadline(struct eng *g, bool again, uint64_t clog_due)
{
	uint64_t due = u64_min(clog_due, g->state_due_ns);
	struct heap_node *n = heap_first(&g->timers);
	if (n != NULL)
		due = u64_min(due, n->due);
	if (g->clog.poisoned)
		return again || !list_empty(&g->done) ? 0 : due;
	/* While one sync is under way the next is not due, however late it is: its end wakes us. */
	if (!g->clog.conf.sync_before_visible && g->clog.durable < g->clog.written && !g->clog.syncing)
		due = u64_min(due, g->clog.last_sync_ns + g->clog.conf.async_ns);
	/* Appended since the flush: write it in the next turn, unless a sync is under way that will wake us. */
	if (again || !list_empty(&g->done) || (g->clog.tail != g->clog.written && !g->clog.syncing))
		return 0;
	return due;
}

uint64_t engine_turn(struct engine *e)
{
	struct eng *g = eng_of(e);
	g->clock_seen = false;
	see_clock(g);
	g->turn_no++;
	fire_timers(g);
	uint64_t clog_due = clog_turn(&g->clog, g->now_ns);
	send_parked_retry(g);
	cells_retry(g);
	state_flush(g);
	uint64_t durable = g->clog.durable;
	clog_flush(&g->clog, g->now_ns, g->closing);
	g->flushed_tail = g->clog.tail;
	append_visible(g);
	complete_passed(g, &g->early, g->clog.written);
	complete_passed(g, &g->at_mark, clog_visible(&g->clog));
	if (g->clog.poisoned)
		fail_pending(g, ST_IO);
	bool again = snapshot_turn(g);
	again |= lookup_turn(g);
	fire_done(g);
	again |= read_turn(g);
	again |= g->clog.durable != durable && (!list_empty(&g->parked) || cells_waiting(g)); /* what they waited for has come */
	again |= clog_line_moves(&g->clog);
	topics_bury(g);
	if (g->closing && closed_enough(g)) {
		void (*closed)(void *) = g->closed;
		void *arg = g->closed_arg;
		log_info(g->log, "engine", "event=closed durable=%llu", (unsigned long long)g->clog.durable);
		engine_abandon(e);
		if (closed != NULL)
			closed(arg);
		return NEVER;
	}
	g->clock_seen = false;
	return g->closing ? u64_min(g->now_ns + MS_NS, next_deadline(g, again, clog_due)) : next_deadline(g, again, clog_due);
}

/* ---- Opening and closing ----------------------------------------------------------------------------------------------------------- */

static enum status check_conf(const struct engine_conf *c, char *why, size_t n)
{
	uint64_t largest = (uint64_t)c->max_message + RECORD_PROPS_MAX + RECORD_SIZE_MIN + NAME_MAX_SYSTEM + RECORD_BLANK_SIZE;
	const char *bad = NULL;
	if (topic_check_name(c->cluster, NAME_MAX_TOPIC - 12) != ST_OK || topic_check_name(c->broker, NAME_MAX_TOPIC) != ST_OK)
		bad = "the cluster's and the broker's name must be legal topic names";
	else if (c->block_bytes < 4096 || (c->block_bytes & (c->block_bytes - 1)) != 0 || c->segment_bytes % c->block_bytes != 0)
		bad = "the segment size must be a multiple of the block size, a power of two of at least 4096";
	else if (c->segment_bytes < largest)
		bad = "a segment must hold the largest message: raise the segment size or lower the message size";
	else if (((uint64_t)c->max_message + RECORD_PROPS_MAX + NAME_MAX_SYSTEM) / c->block_bytes + 2 > RECORD_PIECES)
		bad = "the largest message spans too many blocks: raise the block size or lower the message size";
	else if (c->segment_bytes > KI_SEGMENT_BYTES_MAX)
		bad = "a segment is at most 4 GiB";
	else if (c->unsynced_bytes < largest || c->ahead_bytes < largest)
		bad = "the bytes ahead of the tail and the unsynced bytes must each hold the largest message";
	else if (c->default_queues == 0 || c->default_queues > QUEUES_MAX)
		bad = "the default number of queues is out of range";
	if (bad != NULL)
		snprintf(why, n, "%s", bad);
	return bad != NULL ? ST_BAD_ARG : ST_OK;
}

static struct eng *eng_new(const struct engine_env *env, const struct engine_conf *conf)
{
	struct eng *g = mem_new(sizeof *g);
	g->head.ops = &local_ops;
	g->magic = ENG_MAGIC;
	g->env = *env;
	g->conf = *conf;
	g->conf.cluster = slice_str(slice_dup(conf->cluster));
	g->conf.broker = slice_str(slice_dup(conf->broker));
	g->log = env->log;
	g->state_due_ns = NEVER;
	g->now_ns = clock_mono_ns(env->clock);
	g->now_ms = clock_wall_ms(env->clock);
	list_init(&g->done);
	list_init(&g->early);
	list_init(&g->at_mark);
	list_init(&g->parked);
	list_init(&g->backs);
	list_init(&g->watches);
	struct clog_conf cc = {
		.segment_bytes = conf->segment_bytes,
		.ahead_bytes = conf->ahead_bytes,
		.record_max = (uint64_t)conf->max_message + RECORD_PROPS_MAX + RECORD_SIZE_MIN + NAME_MAX_SYSTEM + RECORD_BLANK_SIZE,
		.unsynced_bytes = conf->unsynced_bytes,
		.cache_bytes = u64_max(conf->cache_bytes, 2 * ((uint64_t)conf->max_message + RECORD_PROPS_MAX) + 8u * conf->block_bytes),
		.block_bytes = conf->block_bytes,
		.sync_before_visible = conf->flush == FLUSH_SYNC,
		.async_ns = conf->flush_async_ms * MS_NS,
	};
	clog_init(&g->clog, env->disk, env->clock, env->log, &cc);
	return g;
}

enum status engine_open(struct engine **ret, const struct engine_env *env, const struct engine_conf *conf, char *why, size_t why_size)
{
	enum status st = check_conf(conf, why, why_size);
	if (st != ST_OK)
		return st;
	struct eng *g = eng_new(env, conf);
	g->recovering = true;
	reader_init(g);
	snapshot_init(g);
	lookup_init(g);
	cells_init(g);
	st = delay_init(g);
	if (st == ST_OK)
		st = topics_init(g);
	if (st == ST_OK)
		st = groups_init(g);
	if (st == ST_OK)
		st = recover(g, why, why_size);
	if (st != ST_OK) {
		engine_abandon(&g->head);
		return st;
	}
	g->recovering = false;
	janitor_init(g);
	delay_recovered(g);
	groups_recovered(g);
	*ret = &g->head;
	return ST_OK;
}

void engine_close(struct engine *e, void (*closed)(void *), void *arg)
{
	struct eng *g = eng_of(e);
	CHECK(!g->closing);
	g->closing = true;
	g->closing_ns = clock_mono_ns(g->env.clock);
	g->closed = closed;
	g->closed_arg = arg;
}

void engine_abandon(struct engine *e)
{
	struct eng *g = eng_of(e);
	heap_fini(&g->timers); /* first: it lets go of nodes that stand in what is freed next */
	clog_waits_forget(&g->clog); /* likewise */
	lookup_fini(g);
	send_back_forget(g);
	janitor_fini(g);
	snapshot_fini(g);
	send_parked_forget(g);
	reader_fini(g); /* before the cursors: its pulls are linked into the same queues */
	groups_fini(g);
	cells_fini(g);
	delay_fini(g);
	topics_fini(g);
	if (g->qi != NULL)
		qi_close(g->qi);
	if (g->ki != NULL)
		ki_close(g->ki);
	clog_fini(&g->clog);
	mem_free(g->ring);
	buf_fini(&g->scratch);
	buf_fini(&g->props);
	buf_fini(&g->state_items);
	mem_free((void *)(uintptr_t)g->conf.cluster.p);
	mem_free((void *)(uintptr_t)g->conf.broker.p);
	g->magic = 0;
	mem_free(g);
}
