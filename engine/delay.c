/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Delayed messages: the eighteen levels.
 *
 * A message with a level is parked as a record of SCHEDULE_TOPIC_XXXX, queue level - 1, its real destination in REAL_TOPIC and REAL_QID, its
 * due time as the tag word of its index entry. All messages of a level have the same delay and come in the order of their store times, so the
 * first that is not delivered yet (the level's cursor) is always the next one due: no more state than one offset a level is needed.
 *
 * Delivery is a copy with its real destination whose preparedTransactionOffset is the position of the parked record. The copy is the decision:
 * replaying it moves the cursor behind the parked one. Nothing is delivered before store time + delay by the store's clock (eng_stamp), which never
 * steps back.
 */
#include <stdio.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/props.h"
#include "engine/eng.h"

#define DELAY_A_TURN 512u  /* messages of one level that are delivered in one turn */
#define DELAY_AGAIN_MS 20u /* until the next try when there is no room for a copy */

struct level {
	struct delay *owner;
	struct topic *topic;
	int32_t id;
	uint64_t cursor;          /* offset in the level's queue of the next message due */
	struct eng_timer timer;
	struct clog_wait wait;    /* the record is being read */
	struct queue_waiter waiter;
	bool waiting;
};

struct delay {
	struct eng *g;
	struct level level[DELAY_LEVELS];
	struct buf props;         /* of a message that is being parked; valid until the next one */
};

static void level_run(struct eng *g, struct level *l);

static void level_fire(struct eng *g, struct eng_timer *t)
{
	level_run(g, container_of(t, struct level, timer));
}

static void level_ready(struct clog_wait *w)
{
	struct level *l = container_of(w, struct level, wait);
	eng_timer_set(l->owner->g, &l->timer, 0);
}

static void set_timer(struct eng *g, struct level *l, int64_t due_ms)
{
	int64_t in_ms = due_ms - eng_stamp(g);
	eng_timer_set(g, &l->timer, in_ms <= 0 ? g->now_ns : g->now_ns + (uint64_t)in_ms * MS_NS);
}

static void level_arrived(struct eng *g, struct queue_waiter *w, const struct qentry *e)
{
	struct level *l = container_of(w, struct level, waiter);
	if (!heap_has(&l->timer.node) && !list_linked(&l->wait.link))
		set_timer(g, l, (int64_t)e->tag);
}

/* Delivers one parked message. OK: settled (delivered, or its destination is gone); BUSY and the like: try again. */
static enum status deliver(struct eng *g, struct level *l, const struct qentry *e)
{
	struct blob *blob;
	struct slice bytes, topic, qid;
	struct record r;
	uint64_t queue = 0;
	enum status st = eng_record_blob(g, e->position, e->size, &blob, &bytes, &l->wait);
	if (st == ST_CORRUPT) {
		log_error(g->log, "delay", "position=%llu event=damaged the parked message cannot be delivered", (unsigned long long)e->position);
		return ST_OK;
	}
	if (st != ST_OK)
		return st;
	CHECK(record_decode(bytes, &r) == ST_OK);
	if (!props_get(r.props, SLICE_LIT("REAL_TOPIC"), &topic) || !props_get(r.props, SLICE_LIT("REAL_QID"), &qid) || !slice_u64(qid, &queue)) {
		log_error(g->log, "delay", "position=%llu event=no-destination", (unsigned long long)e->position);
		blob_drop(blob);
		return ST_OK;
	}
	struct eng_copy c = {.from = &r, .topic = topic, .queue = (int32_t)queue, .reconsume_times = r.reconsume_times, .prepared = (int64_t)e->position,
		.drop = {SLICE_LIT("DELAY"), SLICE_LIT("REAL_TOPIC"), SLICE_LIT("REAL_QID")}, .n_drop = 3};
	st = append_copy(g, &c);
	if (st == ST_NO_TOPIC || st == ST_NO_QUEUE) {
		log_warn(g->log, "delay", "position=%llu event=dropped reason=\"%s\"", (unsigned long long)e->position, status_text(st));
		st = ST_OK;
	} else if (st == ST_OK) {
		eng_count(g, STAT_DELAYED_OUT_TOTAL, 1);
		log_trace(g->log, "delay", "level=%d position=%llu event=due", l->id + 1, (unsigned long long)e->position);
	}
	blob_drop(blob);
	return st;
}

static void level_run(struct eng *g, struct level *l)
{
	struct queue *q = topic_queue_peek(l->topic, l->id);
	struct qentry e;
	enum status st = ST_OK;
	if (g->closing || g->clog.poisoned)
		return;
	if (q != NULL && queue_trim(g, q) != ST_OK) {
		eng_timer_set(g, &l->timer, g->now_ns + DELAY_AGAIN_MS * MS_NS);
		return;
	}
	if (q != NULL && l->cursor < q->index.first) {
		g->stats[STAT_DELAYED] -= q->index.first - l->cursor;
		l->cursor = q->index.first;
	}
	for (unsigned n = 0; q != NULL && l->cursor < q->index.next; n++) {
		if (n == DELAY_A_TURN) { /* after a long stop many are due at once: others have their turns between */
			eng_timer_set(g, &l->timer, g->now_ns + 1);
			return;
		}
		if (eng_index_read(g, q, l->cursor, &e, 1, &st) == 0 && st == ST_CORRUPT) {
			l->cursor++; /* lost for good: mend.c has said so */
			g->stats[STAT_DELAYED]--;
			continue;
		}
		if (st != ST_OK) {
			eng_timer_set(g, &l->timer, g->now_ns + DELAY_AGAIN_MS * MS_NS);
			return;
		}
		if ((int64_t)e.tag > eng_stamp(g)) {
			set_timer(g, l, (int64_t)e.tag);
			return;
		}
		st = deliver(g, l, &e);
		if (st == ST_BUSY && list_linked(&l->wait.link))
			return;
		if (st != ST_OK) {
			eng_timer_set(g, &l->timer, g->now_ns + DELAY_AGAIN_MS * MS_NS);
			return;
		}
		l->cursor++;
		g->stats[STAT_DELAYED]--;
	}
}

static void parked_visible(struct eng *g, const struct pending *p)
{
	(void)p;
	g->stats[STAT_DELAYED]++;
}

enum status delay_park(struct eng *g, struct append *a, int level)
{
	struct delay *d = g->delay;
	char qid[16];
	struct slice rest = a->r.props, name, value;
	CHECK(level >= 1 && level <= DELAY_LEVELS);
	struct level *l = &d->level[level - 1];
	snprintf(qid, sizeof qid, "%d", a->queue->id);
	buf_reset(&d->props);
	while (props_next(&rest, &name, &value))
		if (!slice_eq(name, SLICE_LIT("REAL_TOPIC")) && !slice_eq(name, SLICE_LIT("REAL_QID")))
			props_put(&d->props, name, value);
	props_put(&d->props, SLICE_LIT("REAL_TOPIC"), topic_name(a->topic));
	props_put(&d->props, SLICE_LIT("REAL_QID"), slice_str(qid));
	if (d->props.n + RECORD_CRC_SIZE + 1 > RECORD_PROPS_MAX)
		return ST_ILLEGAL;
	if (a->kind == APPEND_USER && (g->clog.full || g->space_low))
		return ST_DISK_FULL;
	a->kind = APPEND_CONSEQUENCE; /* the schedule topic takes no user's sends */
	a->topic = l->topic;
	a->queue = topic_queue(g, l->topic, l->id);
	a->r.topic = topic_name(l->topic);
	a->r.queue = l->id;
	a->r.props = buf_view(&d->props);
	a->tag_is_time = true;
	g->now_ms = clock_wall_ms(g->env.clock); /* never early: the sample of this turn may be some milliseconds old */
	a->due_ms = eng_stamp(g) + (int64_t)g->conf.delay_ms[level - 1];
	if (a->visible == NULL)
		a->visible = parked_visible;
	log_trace(g->log, "delay", "level=%d in_ms=%u event=parked", level, g->conf.delay_ms[level - 1]);
	eng_count(g, STAT_DELAYED_IN_TOTAL, 1);
	return ST_OK;
}

enum status delay_init(struct eng *g)
{
	struct delay *d = g->delay = mem_new(sizeof *d);
	d->g = g;
	for (int i = 0; i < DELAY_LEVELS; i++) {
		struct level *l = &d->level[i];
		l->owner = d;
		l->id = i;
		l->timer.fire = level_fire;
		l->wait.ready = level_ready;
		l->waiter.arrived = level_arrived;
	}
	return ST_OK;
}

void delay_fini(struct eng *g)
{
	if (g->delay == NULL)
		return;
	for (int i = 0; i < DELAY_LEVELS; i++)
		list_remove(&g->delay->level[i].wait.link);
	buf_fini(&g->delay->props);
	mem_free(g->delay);
}

void delay_replayed(struct eng *g, uint64_t prepared)
{
	struct topic *t = topic_find(g, SLICE_LIT(TOPIC_SCHEDULE));
	for (int i = 0; i < DELAY_LEVELS; i++) {
		struct queue *q = topic_queue_peek(t, i);
		struct level *l = &g->delay->level[i];
		uint64_t offset;
		struct qentry e;
		enum status st;
		if (q == NULL || queue_find_position(g, q, prepared, &offset) != ST_OK)
			continue;
		if (eng_index_read(g, q, offset, &e, 1, &st) == 1 && e.position == prepared) {
			l->cursor = u64_max(l->cursor, offset + 1);
			return;
		}
	}
}

void delay_recovered(struct eng *g)
{
	struct topic *t = topic_find(g, SLICE_LIT(TOPIC_SCHEDULE));
	g->stats[STAT_DELAYED] = 0;
	for (int i = 0; i < DELAY_LEVELS; i++) {
		struct level *l = &g->delay->level[i];
		l->topic = t;
		struct queue *q = topic_queue(g, t, i);
		l->cursor = u64_max(l->cursor, queue_min(g, q));
		g->stats[STAT_DELAYED] += q->index.next - u64_min(l->cursor, q->index.next);
		list_push(&q->waiters, &l->waiter.link);
		eng_timer_set(g, &l->timer, 0);
	}
}

void delay_state_save(struct eng *g, struct buf *items)
{
	size_t at = state_item_begin(items, STATE_DELAY);
	for (int i = 0; i < DELAY_LEVELS; i++)
		buf_be64(items, g->delay->level[i].cursor);
	state_item_end(items, at);
}

enum status delay_state_apply(struct eng *g, struct slice payload)
{
	for (int i = 0; i < DELAY_LEVELS; i++)
		if (!state_get_u64(&payload, &g->delay->level[i].cursor))
			return ST_CORRUPT;
	return ST_OK;
}

void delay_numbers(struct eng *g, struct engine_stats *r)
{
	for (int i = 0; i < DELAY_LEVELS; i++) {
		const struct level *l = &g->delay->level[i];
		struct queue *q = topic_queue_peek(l->topic, i);
		r->delay[i] = (struct delay_numbers){l->cursor, q == NULL ? 0 : q->index.next};
	}
}

uint64_t delay_lowest(struct eng *g)
{
	uint64_t lowest = UINT64_MAX;
	for (int i = 0; i < DELAY_LEVELS; i++) {
		struct level *l = &g->delay->level[i];
		struct queue *q = topic_queue_peek(l->topic, i);
		struct qentry e;
		enum status st;
		if (q == NULL || l->cursor >= q->index.next)
			continue;
		if (eng_index_read(g, q, l->cursor, &e, 1, &st) == 1)
			lowest = u64_min(lowest, e.position);
		else if (st != ST_CORRUPT)
			return 0; /* not known yet */
	}
	return lowest;
}
