/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Retention, and the watch over free space.
 *
 * The oldest segment goes when its last record is older than reserved_ms, or when the log is longer than retain_bytes. Before it goes: two synced and
 * re-read snapshots cover it; no parked message in it is still to be delivered (its delay is at most hours, so the segment is kept that long);
 * and, with keep_unconsumed, every group has consumed what is in it: otherwise what a group had not consumed is counted and said, and with
 * keep_unconsumed sends are refused instead while the log is over its size.
 *
 * Age is told by a clock that follows the wall clock, but is never ahead of it and never gains on time by more than time: it begins at the newest
 * record and goes at double speed at most. So a wall clock that is set far ahead by mistake, or jumps ahead, does not make everything old at once.
 *
 * Free space under the reserve refuses sends, so that what messages cause later (acknowledgements, dead letters) still has room.
 */
#include "base/mem.h"
#include "engine/eng.h"
#include "engine/kindex.h"

#define JANITOR_EVERY_MS 1000u
#define TRIM_QUEUES 4096u     /* queues whose index is trimmed in one round */

struct janitor {
	struct eng_timer timer;
	int64_t age_ms;           /* now, for what is too old */
	uint64_t age_ns;          /* mono, when it was that */
	bool held;                /* over the size, but groups have not consumed what would go */
	size_t trim_slot;         /* next topic to trim */
	bool trimming;
};

static void see_clock(struct eng *g, struct janitor *j)
{
	uint64_t passed_ms = (g->now_ns - j->age_ns) / MS_NS;
	j->age_ns += passed_ms * MS_NS;
	j->age_ms += 2 * (int64_t)passed_ms;
	if (j->age_ms > g->now_ms)
		j->age_ms = g->now_ms;
}

static bool is_expired(struct eng *g, const struct segment *s)
{
	uint64_t length = g->clog.tail - g->clog.min;
	bool old = g->conf.reserved_ms > 0 && s->last_ms > 0 && g->janitor->age_ms - s->last_ms > (int64_t)g->conf.reserved_ms;
	return old || (g->conf.retain_bytes > 0 && length > g->conf.retain_bytes);
}

/* Messages below 'to' that a group still wants: they are about to be lost to it. False: some index is being mended, it cannot be told yet. */
static bool unconsumed(struct eng *g, uint64_t to, uint64_t *ret)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < g->n_slots; i++) {
		struct topic *t = g->topic_list[i];
		for (uint32_t q = 0; t != NULL && q < t->n_queues; q++) {
			uint64_t end, lowest = groups_lowest(g, t, (int32_t)q);
			if (t->queues[q] == NULL || lowest == UINT64_MAX)
				continue;
			if (queue_find_position(g, t->queues[q], to, &end) != ST_OK || queue_trim(g, t->queues[q]) != ST_OK)
				return false;
			uint64_t from = u64_max(lowest, queue_min(g, t->queues[q]));
			sum += end > from ? end - from : 0;
		}
	}
	*ret = sum;
	return true;
}

static bool drop_oldest(struct eng *g)
{
	struct janitor *j = g->janitor;
	struct segment *s = g->clog.segs[0];
	uint64_t start = s->start, end = segment_end(&g->clog, s);
	if (g->clog.n_segs < 2 || end > g->clog.durable || !is_expired(g, s))
		return false;
	if (snapshot_floor(g) < end) {
		snapshot_want(g);
		return false;
	}
	if (delay_lowest(g) < end) {
		log_trace(g->log, "janitor", "segment=%llu event=kept reason=parked-messages", (unsigned long long)start);
		return false;
	}
	uint64_t lost;
	if (!unconsumed(g, end, &lost))
		return false;
	j->held = lost > 0 && g->conf.keep_unconsumed;
	if (j->held)
		return false;
	if (clog_drop_first(&g->clog) != ST_OK)
		return false;
	ki_drop_segment(g->ki, start);
	if (lost > 0) {
		eng_count(g, STAT_UNCONSUMED_DROPPED_TOTAL, lost);
		log_warn(g->log, "janitor", "segment=%llu event=dropped unconsumed=%llu", (unsigned long long)start, (unsigned long long)lost);
	} else {
		log_info(g->log, "janitor", "segment=%llu event=dropped", (unsigned long long)start);
	}
	j->trimming = true;
	j->trim_slot = 0;
	return true;
}

/* Gives index extents of dropped messages back, some queues at a time. */
static void trim_some(struct eng *g)
{
	struct janitor *j = g->janitor;
	unsigned n = 0;
	for (; j->trim_slot < g->n_slots && n < TRIM_QUEUES; j->trim_slot++) {
		struct topic *t = g->topic_list[j->trim_slot];
		for (uint32_t q = 0; t != NULL && q < t->n_queues; q++, n++)
			if (t->queues[q] != NULL)
				queue_min(g, t->queues[q]);
	}
	j->trimming = j->trim_slot < g->n_slots;
}

static void watch_space(struct eng *g)
{
	uint64_t free_bytes, total, reserve = g->conf.disk_reserve_bytes;
	if (g->env.disk->ops->space(g->env.disk, &free_bytes, &total) != ST_OK)
		return;
	g->stats[STAT_DISK_FREE_BYTES] = free_bytes;
	bool low = free_bytes < reserve || (g->janitor->held && g->conf.retain_bytes > 0 && g->clog.tail - g->clog.min > g->conf.retain_bytes);
	if (low != g->space_low)
		log_warn(g->log, "janitor", "event=%s free=%llu reserve=%llu sends are %s", low ? "space-low" : "space-back", (unsigned long long)free_bytes,
			(unsigned long long)reserve, low ? "refused until there is space" : "taken again");
	g->space_low = low;
}

static void janitor_fire(struct eng *g, struct eng_timer *t)
{
	struct janitor *j = container_of(t, struct janitor, timer);
	if (!g->closing && !g->clog.poisoned) {
		j->held = false;
		see_clock(g, j);
		while (drop_oldest(g))
			;
		if (j->trimming)
			trim_some(g);
		watch_space(g);
	}
	eng_timer_set(g, &j->timer, g->now_ns + JANITOR_EVERY_MS * MS_NS);
}

void janitor_init(struct eng *g)
{
	g->janitor = mem_new(sizeof *g->janitor);
	g->janitor->timer.fire = janitor_fire;
	g->janitor->age_ns = g->now_ns;
	g->janitor->age_ms = g->found_ms > 0 && g->found_ms < g->now_ms ? g->found_ms : g->now_ms;
	watch_space(g);
	eng_timer_set(g, &g->janitor->timer, g->now_ns + JANITOR_EVERY_MS * MS_NS);
}

void janitor_fini(struct eng *g)
{
	mem_free(g->janitor);
	g->janitor = NULL;
}
