/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Sending back: what happens to a message that a native consumer could not handle.
 *
 * It is copied to %RETRY%group, through the schedule topic, with one more reconsumeTimes; when it had its attempts (or the consumer wants no more
 * of it) to %DLQ%group instead. The copy keeps its history in properties: RETRY_TOPIC, ORIGIN_MESSAGE_ID, and in a dead letter
 * DLQ_ORIGIN_TOPIC and DLQ_ORIGIN_MESSAGE_ID.
 */
#include "base/mem.h"
#include "base/props.h"
#include "engine/eng.h"

/* A request that waits for its record to be read, or for room. */
struct back {
	struct list link;
	struct engine_send_back *r;
	struct eng *g;
	struct clog_wait wait;
	struct eng_timer timer;
	char *group;
	char *origin_id;
};

#define BACK_AGAIN_MS 10u

static struct slice origin_id(const struct record *r, struct slice given, char hex[OFFSET_ID_SIZE + 1])
{
	struct slice id;
	if (props_get(r->props, SLICE_LIT("ORIGIN_MESSAGE_ID"), &id) && id.n > 0)
		return id;
	if (given.n > 0)
		return given;
	if (props_get(r->props, SLICE_LIT("UNIQ_KEY"), &id) && id.n > 0)
		return id;
	offset_id_format(hex, r->store_ip, r->store_port, r->position);
	return slice_of(hex, OFFSET_ID_SIZE);
}

static enum status copy_back(struct eng *g, struct back *b, struct group *gr, const struct record *r)
{
	const struct group_conf *conf = group_conf_of(gr);
	struct engine_send_back *ask = b->r;
	uint32_t max = ask->max_reconsume >= 0 ? (uint32_t)ask->max_reconsume : conf->retry_max;
	bool dead = ask->delay_level < 0 || (uint32_t)r->reconsume_times >= max;
	char hex[OFFSET_ID_SIZE + 1];
	struct slice from = r->topic, name;
	struct buf topic = {0};
	struct topic *t;
	props_get(r->props, SLICE_LIT("RETRY_TOPIC"), &from);
	struct eng_copy c = {.from = r, .queue = -1, .reconsume_times = r->reconsume_times + 1, .drop = {SLICE_LIT("DELAY"), SLICE_LIT("WAIT")}, .n_drop = 2,
		.ask = &ask->ask};
	c.put[c.n_put][0] = SLICE_LIT("RETRY_TOPIC");
	c.put[c.n_put++][1] = from;
	c.put[c.n_put][0] = SLICE_LIT("ORIGIN_MESSAGE_ID");
	c.put[c.n_put++][1] = origin_id(r, slice_str(b->origin_id), hex);
	buf_str(&topic, dead ? DLQ_PREFIX : RETRY_PREFIX);
	buf_str(&topic, b->group);
	name = buf_view(&topic);
	if (dead) {
		c.put[c.n_put][0] = SLICE_LIT("DLQ_ORIGIN_TOPIC");
		c.put[c.n_put++][1] = from;
		c.put[c.n_put][0] = SLICE_LIT("DLQ_ORIGIN_MESSAGE_ID");
		c.put[c.n_put][1] = c.put[1][1];
		c.n_put++;
		c.queue = 0;
	} else {
		c.delay_level = (int)u64_min(ask->delay_level == 0 ? 3 + (uint32_t)r->reconsume_times : (uint32_t)ask->delay_level, DELAY_LEVELS);
	}
	uint32_t queues = dead ? 1 : conf->retry_queues;
	struct topic_conf tc = {.read_queues = queues, .write_queues = queues, .perm = PERM_READ | PERM_WRITE};
	enum status st = (t = topic_find(g, name)) != NULL ? ST_OK : topic_put(g, name, &tc, NULL, &t);
	c.topic = name;
	if (st == ST_OK)
		st = append_copy(g, &c);
	if (st == ST_OK)
		eng_count(g, dead ? STAT_DEAD_LETTERS_TOTAL : STAT_RETRIES_TOTAL, 1);
	buf_fini(&topic);
	return st;
}

static void back_free(struct eng *g, struct back *b)
{
	eng_timer_stop(g, &b->timer);
	list_remove(&b->wait.link);
	list_remove(&b->link);
	mem_free(b->group);
	mem_free(b->origin_id);
	mem_free(b);
}

static void back_run(struct eng *g, struct back *b)
{
	struct group *gr = NULL;
	struct blob *blob = NULL;
	struct slice bytes;
	struct record r;
	uint32_t size = 0;
	enum status st = g->closing ? ST_CLOSED : g->clog.poisoned ? ST_IO : group_need(g, slice_str(b->group), &gr);
	if (st == ST_OK && group_conf_of(gr)->retry_queues == 0) {
		eng_complete(g, &b->r->ask, ST_OK); /* the group wants no retries */
		back_free(g, b);
		return;
	}
	if (st == ST_OK)
		st = record_at(g, b->r->position, &size);
	if (st == ST_OK)
		st = eng_record_blob(g, b->r->position, size, &blob, &bytes, &b->wait);
	if (st == ST_OK) {
		CHECK(record_decode(bytes, &r) == ST_OK);
		st = slice_eq(r.topic, SLICE_LIT(TOPIC_STATE)) ? ST_NOT_FOUND : copy_back(g, b, gr, &r); /* not a message */
		blob_drop(blob);
	}
	if (st == ST_BUSY) {
		if (!list_linked(&b->wait.link))
			eng_timer_set(g, &b->timer, g->now_ns + BACK_AGAIN_MS * MS_NS);
		return;
	}
	if (st != ST_OK)
		eng_complete(g, &b->r->ask, st);
	back_free(g, b);
}

static void back_fire(struct eng *g, struct eng_timer *t)
{
	back_run(g, container_of(t, struct back, timer));
}

static void back_ready(struct clog_wait *w)
{
	struct back *b = container_of(w, struct back, wait);
	eng_timer_set(b->g, &b->timer, 0);
}

void send_back_submit(struct eng *g, struct engine_ask *a)
{
	struct back *b = mem_new(sizeof *b);
	b->r = container_of(a, struct engine_send_back, ask);
	b->g = g;
	b->wait.ready = back_ready;
	b->timer.fire = back_fire;
	b->group = slice_dup(b->r->group);
	b->origin_id = slice_dup(b->r->origin_id);
	list_push(&g->backs, &b->link);
	back_run(g, b);
}

void send_back_forget(struct eng *g)
{
	while (!list_empty(&g->backs))
		back_free(g, container_of(g->backs.next, struct back, link));
}
