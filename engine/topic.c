/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Topics and their queues.
 *
 * A topic's incarnation is the position of the record that created it: a message, offset or index entry from before that position belongs to
 * an earlier topic of the same name and is dead. System topics are made at every start without a record (incarnation 0) and cannot be dropped.
 *
 * A dropped topic leaves the table at once; its memory goes when the last pending append, waiting pull or lease has let go of it.
 */
#include "base/mem.h"
#include "engine/eng.h"

enum status topic_check_name(struct slice name, size_t max)
{
	if (name.n == 0 || name.n > max)
		return ST_BAD_NAME;
	for (size_t i = 0; i < name.n; i++) {
		uint8_t ch = name.p[i];
		bool ok = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-' || ch == '%' || ch == '|';
		if (!ok)
			return ST_BAD_NAME;
	}
	return ST_OK;
}

struct topic *topic_find(struct eng *g, struct slice name)
{
	struct topic *t = map_get(&g->topics, name);
	if (t != NULL)
		CHECK_OBJ(t, TOPIC_MAGIC);
	return t;
}

static uint32_t conf_queues(const struct topic_conf *c)
{
	return c->read_queues > c->write_queues ? c->read_queues : c->write_queues;
}

static void grow_queues(struct eng *g, struct topic *t, uint32_t n)
{
	if (n <= t->n_queues)
		return;
	t->queues = mem_grow(t->queues, n * sizeof *t->queues);
	memset(t->queues + t->n_queues, 0, (n - t->n_queues) * sizeof *t->queues);
	g->stats[STAT_QUEUES] += n - t->n_queues;
	t->n_queues = n;
}

static void set_conf(struct eng *g, struct topic *t, const struct topic_conf *c)
{
	grow_queues(g, t, conf_queues(c));
	t->conf = *c;
	g->topics_version++;
}

/*
 * A place in the list. Places never move while their topic lives, so that a snapshot may walk the list in slices; one that was freed
 * may be used again: a topic made meanwhile is in the replay.
 */
static size_t slot_take(struct eng *g)
{
	if (g->n_free_slots > 0)
		return g->free_slots[--g->n_free_slots];
	if (g->n_slots == g->cap_slots) {
		g->cap_slots = g->cap_slots == 0 ? 64 : g->cap_slots * 2;
		g->topic_list = mem_grow(g->topic_list, g->cap_slots * sizeof *g->topic_list);
		g->free_slots = mem_grow(g->free_slots, g->cap_slots * sizeof *g->free_slots);
	}
	return g->n_slots++;
}

static struct topic *topic_new(struct eng *g, struct slice name, const struct topic_conf *c, uint64_t incarnation)
{
	struct topic *t = mem_new(sizeof *t);
	t->magic = TOPIC_MAGIC;
	t->name = slice_dup(name);
	t->incarnation = incarnation;
	t->sendable = true;
	t->rotor = (uint32_t)prng_u64(g->env.prng);
	t->slot = slot_take(g);
	g->topic_list[t->slot] = t;
	CHECK(map_put(&g->topics, topic_name(t), t) == NULL);
	set_conf(g, t, c);
	g->stats[STAT_TOPICS]++;
	return t;
}

static void queue_free(struct eng *g, struct queue *q, bool give_back)
{
	if (give_back)
		qi_queue_free(g->qi, &q->index);
	else
		qi_queue_fini(g->qi, &q->index);
	mem_free(q);
}

static void topic_free(struct eng *g, struct topic *t, bool give_back)
{
	for (uint32_t i = 0; i < t->n_queues; i++)
		if (t->queues[i] != NULL)
			queue_free(g, t->queues[i], give_back);
	mem_free(t->queues);
	mem_free(t->name);
	t->magic = 0;
	mem_free(t);
}

void topic_drop_ref(struct eng *g, struct topic *t)
{
	(void)g;
	CHECK_OBJ(t, TOPIC_MAGIC);
	CHECK(t->refs > 0);
	t->refs--;
}

/* The dead stand at the end of a list of their own; topic->slot chains nothing any more. */
struct grave {
	struct list link;
	struct topic *topic;
};

void topics_bury(struct eng *g)
{
	LIST_EACH_SAFE(&g->graveyard, n, t) {
		struct grave *v = container_of(n, struct grave, link);
		if (v->topic->refs > 0)
			continue;
		list_remove(n);
		topic_free(g, v->topic, true);
		mem_free(v);
	}
}

static void topic_kill(struct eng *g, struct topic *t)
{
	CHECK(!t->dead);
	t->dead = true;
	CHECK(map_drop(&g->topics, topic_name(t)) == t);
	g->topic_list[t->slot] = NULL;
	g->free_slots[g->n_free_slots++] = t->slot;
	g->topics_version++;
	g->stats[STAT_TOPICS]--;
	g->stats[STAT_QUEUES] -= t->n_queues;
	groups_topic_dropped(g, t);
	read_topic_dropped(g, t);
	struct grave *v = mem_new(sizeof *v);
	v->topic = t;
	list_push(&g->graveyard, &v->link);
}

struct queue *topic_queue_peek(struct topic *t, int32_t id)
{
	return id >= 0 && (uint32_t)id < t->n_queues ? t->queues[id] : NULL;
}

struct queue *topic_queue(struct eng *g, struct topic *t, int32_t id)
{
	CHECK_OBJ(t, TOPIC_MAGIC);
	if (id < 0 || (uint32_t)id >= t->n_queues)
		return NULL;
	struct queue *q = t->queues[id];
	if (q == NULL) {
		q = mem_new(sizeof *q);
		q->topic = t;
		q->id = id;
		list_init(&q->waiters);
		qi_queue_init(&q->index, ++g->next_queue_uid, 0);
		t->queues[id] = q;
	}
	return q;
}

struct queue *topic_queue_stored(struct eng *g, struct topic *t, int32_t id)
{
	CHECK(g->recovering);
	if (id < 0 || (uint32_t)id >= QUEUES_MAX)
		return NULL;
	grow_queues(g, t, (uint32_t)id + 1);
	return topic_queue(g, t, id);
}

enum status queue_find_position(struct eng *g, struct queue *q, uint64_t position, uint64_t *ret)
{
	uint64_t first;
	enum status st;
	while ((st = qi_lower_bound_position(g->qi, &q->index, position, &first)) == ST_CORRUPT) {
		struct qentry e;
		/* CORRUPT: this entry is lost, but its extent can be read again. */
		if (eng_index_read(g, q, first, &e, 1, &st) == 0 && st != ST_CORRUPT)
			return st;
	}
	if (st == ST_OK)
		*ret = first;
	return st;
}

enum status queue_trim(struct eng *g, struct queue *q)
{
	uint64_t first;
	if (q->trimmed == g->clog.min)
		return ST_OK;
	enum status st = queue_find_position(g, q, g->clog.min, &first);
	if (st == ST_OK) {
		qi_trim(g->qi, &q->index, first);
		q->trimmed = g->clog.min;
	}
	return st;
}

uint64_t queue_min(struct eng *g, struct queue *q)
{
	queue_trim(g, q);
	return q->index.first;
}

/* ---- State ------------------------------------------------------------------------------------------------------------------------ */

static void put_topic_item(struct buf *b, struct slice name, const struct topic_conf *c, uint64_t incarnation)
{
	size_t at = state_item_begin(b, STATE_TOPIC);
	state_put_name(b, name);
	buf_be64(b, incarnation); /* 0: the record that carries this creates it */
	buf_be32(b, c->read_queues);
	buf_be32(b, c->write_queues);
	buf_be32(b, c->perm);
	buf_be32(b, c->sys_flag);
	buf_u8(b, c->order);
	state_item_end(b, at);
}

static bool get_topic_item(struct slice *p, struct slice *name, struct topic_conf *c, uint64_t *incarnation)
{
	uint8_t order;
	if (!state_get_name(p, name) || !state_get_u64(p, incarnation) || !state_get_u32(p, &c->read_queues) || !state_get_u32(p, &c->write_queues) ||
		!state_get_u32(p, &c->perm) || !state_get_u32(p, &c->sys_flag) || !state_get_u8(p, &order))
		return false;
	c->order = order != 0;
	return c->read_queues <= QUEUES_MAX && c->write_queues <= QUEUES_MAX && topic_check_name(*name, NAME_MAX_SYSTEM) == ST_OK;
}

static enum status apply_put(struct eng *g, struct slice payload, uint64_t position)
{
	struct slice name;
	struct topic_conf c;
	uint64_t incarnation;
	if (!get_topic_item(&payload, &name, &c, &incarnation))
		return ST_CORRUPT;
	struct topic *t = topic_find(g, name);
	bool creates = incarnation == 0 && position > 0;
	if (creates)
		incarnation = position;
	if (t != NULL && t->system) {
		t->changed = true;
		set_conf(g, t, &c);
		return ST_OK;
	}
	if (t != NULL && t->incarnation > incarnation)
		return ST_OK; /* of a life that ended: the snapshot knows a later one */
	if (t != NULL && t->incarnation < incarnation)
		topic_kill(g, t);
	if (t == NULL || t->dead)
		topic_new(g, name, &c, incarnation);
	else
		set_conf(g, t, &c);
	return ST_OK;
}

enum status topic_state_apply(struct eng *g, enum state_type type, struct slice payload, uint64_t position)
{
	struct slice name;
	uint64_t incarnation;
	if (type == STATE_TOPIC)
		return apply_put(g, payload, position);
	if (!state_get_name(&payload, &name) || !state_get_u64(&payload, &incarnation))
		return ST_CORRUPT;
	struct topic *t = topic_find(g, name);
	if (t != NULL && !t->system && t->incarnation <= incarnation)
		topic_kill(g, t);
	return ST_OK;
}

enum status topic_queue_apply(struct eng *g, struct slice payload)
{
	struct slice name;
	uint64_t incarnation;
	uint32_t id;
	if (!state_get_name(&payload, &name) || !state_get_u64(&payload, &incarnation) || !state_get_u32(&payload, &id))
		return ST_CORRUPT;
	struct topic *t = topic_find(g, name);
	if (t == NULL || t->incarnation != incarnation || id >= QUEUES_MAX || topic_queue_peek(t, (int32_t)id) != NULL)
		return ST_CORRUPT;
	grow_queues(g, t, id + 1); /* the topic may have had more queues than its definition says today */
	struct queue *q = mem_new(sizeof *q);
	q->topic = t;
	q->id = (int32_t)id;
	list_init(&q->waiters);
	enum status st = g->index_bad ? ST_CORRUPT : qi_queue_load(g->qi, &q->index, &payload);
	if (st != ST_OK) {
		/* The snapshot is whole, but the index is not what it says: recovery makes it anew from the log. */
		g->index_bad = true;
		mem_free(q);
		return ST_OK;
	}
	q->next = q->index.next;
	if (q->index.uid > g->next_queue_uid)
		g->next_queue_uid = q->index.uid;
	t->queues[id] = q;
	return ST_OK;
}

/* Cursor: slot in the list * 2^20 + step; step 0 is the topic itself, step n its queue n - 1. */
bool topics_state_all(struct eng *g, struct buf *items, size_t max, uint64_t *cursor)
{
	size_t limit = items->n + max;
	uint32_t step = (uint32_t)(*cursor & 0xFFFFF);
	for (size_t slot = (size_t)(*cursor >> 20); slot < g->n_slots; slot++, step = 0) {
		struct topic *t = g->topic_list[slot];
		for (; t != NULL && step <= t->n_queues; step++) {
			if (items->n >= limit) {
				*cursor = (uint64_t)slot << 20 | step;
				return true;
			}
			if (step == 0) {
				if (!t->system || t->changed) /* else the settings of the next start say what it is */
					put_topic_item(items, topic_name(t), &t->conf, t->incarnation);
				continue;
			}
			struct queue *q = t->queues[step - 1];
			if (q == NULL)
				continue;
			size_t at = state_item_begin(items, STATE_QUEUE);
			state_put_name(items, topic_name(t));
			buf_be64(items, t->incarnation);
			buf_be32(items, step - 1);
			qi_queue_save(g->qi, &q->index, items);
			state_item_end(items, at);
		}
	}
	return false;
}

/* ---- Life ------------------------------------------------------------------------------------------------------------------------------ */

static void system_topic(struct eng *g, struct slice name, uint32_t queues, uint32_t perm, bool sendable)
{
	struct topic_conf c = {.read_queues = queues, .write_queues = queues, .perm = perm};
	if (topic_find(g, name) != NULL)
		return; /* a broker named like its cluster has one topic for both */
	struct topic *t = topic_new(g, name, &c, 0);
	t->system = true;
	t->sendable = sendable;
}

enum status topics_init(struct eng *g)
{
	enum { RW = PERM_READ | PERM_WRITE };
	struct buf name = {0};
	list_init(&g->graveyard);
	system_topic(g, SLICE_LIT(TOPIC_TEMPLATE), g->conf.default_queues, g->conf.auto_create_topic ? RW | PERM_INHERIT : RW, true);
	system_topic(g, SLICE_LIT(TOPIC_SCHEDULE), DELAY_LEVELS, RW, false);
	system_topic(g, SLICE_LIT("SELF_TEST_TOPIC"), 1, RW, false);
	system_topic(g, SLICE_LIT("OFFSET_MOVED_EVENT"), 1, RW, false);
	system_topic(g, SLICE_LIT("BenchmarkTest"), 1024, RW, true);
	system_topic(g, SLICE_LIT("RMQ_SYS_TRANS_HALF_TOPIC"), 1, RW, false);
	system_topic(g, SLICE_LIT("RMQ_SYS_TRANS_OP_HALF_TOPIC"), 1, RW, false);
	system_topic(g, SLICE_LIT("RMQ_SYS_TRACE_TOPIC"), 1, RW, true);
	system_topic(g, g->conf.cluster, 16, RW | PERM_INHERIT, true);
	system_topic(g, g->conf.broker, 1, RW | PERM_INHERIT, true);
	buf_slice(&name, g->conf.cluster);
	buf_str(&name, "_REPLY_TOPIC");
	system_topic(g, buf_view(&name), 1, RW, true);
	buf_fini(&name);
	return ST_OK;
}

void topics_fini(struct eng *g)
{
	for (size_t i = 0; i < g->n_slots; i++)
		if (g->topic_list[i] != NULL)
			topic_free(g, g->topic_list[i], false);
	struct list *n;
	while ((n = list_pop(&g->graveyard)) != NULL) {
		struct grave *v = container_of(n, struct grave, link);
		topic_free(g, v->topic, false);
		mem_free(v);
	}
	mem_free(g->topic_list);
	mem_free(g->free_slots);
	map_fini(&g->topics);
}

/* ---- Requests ------------------------------------------------------------------------------------------------------------------------ */

static void tell(struct eng *g, struct topic *t, bool dropped)
{
	struct topic_info info = {.name = topic_name(t), .conf = t->conf, .incarnation = t->incarnation, .system = t->system};
	LIST_EACH_SAFE(&g->watches, n, next) {
		struct engine_watch *w = container_of(n, struct engine_watch, link);
		w->topic(w, &info, dropped);
	}
}

static void put_visible(struct eng *g, const struct pending *p)
{
	struct topic *t = (struct topic *)(uintptr_t)p->arg;
	tell(g, t, t->dead);
	topic_drop_ref(g, t);
}

static bool reserved_name(struct slice name)
{
	static const char *const names[] = {"TRANS_CHECK_MAX_TIME_TOPIC"};
	if (slice_starts(name, SLICE_LIT("rmq_sys_")))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (slice_eq_str(name, names[i]))
			return true;
	return false;
}

enum status topic_put(struct eng *g, struct slice name, const struct topic_conf *c, struct engine_ask *ask, struct topic **ret_topic)
{
	bool made = slice_starts(name, SLICE_LIT(RETRY_PREFIX)) || slice_starts(name, SLICE_LIT(DLQ_PREFIX));
	struct topic *t = topic_find(g, name);
	uint64_t position;
	enum status st = topic_check_name(name, made ? NAME_MAX_SYSTEM : NAME_MAX_TOPIC);
	if (st != ST_OK)
		return st;
	if (reserved_name(name) || (t != NULL && !t->sendable))
		return ST_DENIED;
	if (conf_queues(c) == 0 || c->read_queues > QUEUES_MAX || c->write_queues > QUEUES_MAX || (c->perm & ~(uint32_t)(PERM_READ | PERM_WRITE | PERM_INHERIT | 8)) != 0)
		return ST_BAD_ARG;
	if (t == NULL && g->stats[STAT_TOPICS] >= g->conf.max_topics)
		return ST_BUSY;
	if (t != NULL && memcmp(&t->conf, c, sizeof *c) == 0) {
		if (ask != NULL)
			eng_complete_durable(g, ask);
	} else {
		struct buf item = {0};
		put_topic_item(&item, name, c, t == NULL ? 0 : t->incarnation);
		/* The record is appended before the topic exists: its visible() gets the topic by the ring's last entry, set below. */
		st = state_append_then(g, buf_view(&item), ask, put_visible, 0, &position);
		buf_fini(&item);
		if (st != ST_OK)
			return st;
		if (t == NULL)
			t = topic_new(g, name, c, position);
		else
			set_conf(g, t, c);
		t->changed = true;
		topic_hold(t);
		append_last(g)->arg = (uint64_t)(uintptr_t)t;
		log_info(g->log, "topic", "topic=%s event=put read=%u write=%u perm=%u incarnation=%llu", t->name, c->read_queues, c->write_queues, c->perm,
			(unsigned long long)t->incarnation);
	}
	if (ret_topic != NULL)
		*ret_topic = t;
	return ST_OK;
}

static void drop_visible(struct eng *g, const struct pending *p)
{
	put_visible(g, p); /* the topic is dead by now, and that is what it tells */
}

static enum status topic_drop(struct eng *g, struct slice name, struct engine_ask *ask)
{
	struct topic *t = topic_find(g, name);
	uint64_t position;
	if (t == NULL)
		return ST_NO_TOPIC;
	if (t->system)
		return ST_DENIED;
	struct buf item = {0};
	size_t at = state_item_begin(&item, STATE_TOPIC_DROP);
	state_put_name(&item, name);
	buf_be64(&item, t->incarnation);
	state_item_end(&item, at);
	enum status st = state_append_then(g, buf_view(&item), ask, drop_visible, (uint64_t)(uintptr_t)t, &position);
	buf_fini(&item);
	if (st != ST_OK)
		return st;
	log_info(g->log, "topic", "topic=%s event=drop incarnation=%llu", t->name, (unsigned long long)t->incarnation);
	topic_hold(t);
	topic_kill(g, t);
	return ST_OK;
}

/* Without finding out where its queues begin after the log was cut: that may have to be read, and the janitor is at it. */
static uint64_t count_messages(const struct topic *t)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < t->n_queues && (i < t->conf.read_queues || i < t->conf.write_queues); i++)
		if (t->queues[i] != NULL)
			n += t->queues[i]->index.next - t->queues[i]->index.first;
	return n;
}

/* The list is made when its done() is about to fire, so that its slices are valid there. */
static void list_all(struct eng *g, struct engine_topics *r)
{
	struct topic_info *v = mem_array(g->n_slots + 1, sizeof *v);
	size_t n = 0;
	for (size_t i = 0; i < g->n_slots; i++)
		if (g->topic_list[i] != NULL) {
			struct topic *t = g->topic_list[i];
			v[n++] = (struct topic_info){topic_name(t), t->conf, t->incarnation, t->system, r->counts ? count_messages(t) : 0};
		}
	r->v = v;
	r->count = n;
	r->version = g->topics_version;
	if (r->ask.done != NULL)
		r->ask.done(&r->ask, ST_OK);
	mem_free(v);
}

bool topic_finish(struct eng *g, struct engine_ask *a)
{
	if (a->verb == ENGINE_TOPIC_LIST && a->status == ST_OK) {
		list_all(g, container_of(a, struct engine_topics, ask));
		return true;
	}
	if (a->verb == ENGINE_TOPIC_GET && a->status == ST_OK) {
		struct engine_topic *r = container_of(a, struct engine_topic, ask);
		struct topic *t = a->priv[0];
		r->conf = t->conf;
		r->info = (struct topic_info){.name = topic_name(t), .conf = t->conf, .incarnation = t->incarnation, .system = t->system};
		if (a->done != NULL)
			a->done(a, ST_OK);
		topic_drop_ref(g, t);
		return true;
	}
	return false;
}

void topic_submit(struct eng *g, struct engine_ask *a)
{
	struct engine_topic *r = container_of(a, struct engine_topic, ask);
	struct topic *t;
	enum status st = ST_OK;
	switch (a->verb) {
	case ENGINE_TOPIC_PUT:
		st = topic_put(g, r->name, &r->conf, a, NULL);
		if (st != ST_OK)
			eng_complete(g, a, st);
		return;
	case ENGINE_TOPIC_DROP:
		st = topic_drop(g, r->name, a);
		if (st != ST_OK)
			eng_complete(g, a, st);
		return;
	case ENGINE_TOPIC_GET:
		t = topic_find(g, r->name);
		if (t != NULL)
			topic_hold(t);
		a->priv[0] = t;
		eng_complete(g, a, t == NULL ? ST_NO_TOPIC : ST_OK);
		return;
	default:
		CHECK(a->verb == ENGINE_TOPIC_LIST);
		eng_complete(g, a, ST_OK);
	}
}

void engine_watch_add(struct engine *e, struct engine_watch *w)
{
	list_push(&eng_of(e)->watches, &w->link);
}

void engine_watch_drop(struct engine *e, struct engine_watch *w)
{
	(void)eng_of(e);
	list_remove(&w->link);
}
