/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Leased messages that end as copies: in %DLQ%group when they had their attempts or were rejected, in %RETRY%group when their queue was
 * handed to a native member. The copy is the decision: once it is in the log the original is settled, and a copy that is met while the
 * log is replayed settles its original again. So the copy names it, in the property LEASE_ORIGIN:
 *
 *   position "@" incarnation "@" queue "@" offset "@" prefix "@" group "@" topic      (names hold no "@")
 *
 * and only where the copy's preparedTransactionOffset is that position: later copies of the copy carry the property but settle nothing.
 * 'prefix' is the committed offset of that moment, for a group whose first offset is not in the log before the copy.
 */
#include "base/mem.h"
#include "base/props.h"
#include "engine/groups.h"

#define COPIES_BURST 256u /* copies in one turn */
#define ID_TEXT_MAX 24u

void item_copy(struct item *it, bool dead)
{
	struct groups_state *gs = it->cursor->gs;

	CHECK_OBJ(it, ITEM_MAGIC);
	CHECK(it->cursor->off != NULL);
	item_unlink(it);
	it->state = ITEM_COPY;
	it->dead = it->dead || dead;
	list_push(&gs->copies, &it->link);
	cursor_changed(it->cursor);
	pump_soon(gs);
}

void copies_ready(struct clog_wait *w)
{
	pump_soon(container_of(w, struct groups_state, copy_wait));
}

void copies_again(struct eng *g, struct eng_timer *t)
{
	(void)t;
	pump_soon(g->gs);
}

static void origin_text(struct buf *b, const struct item *it)
{
	const struct cursor *c = it->cursor;

	buf_fmt(b, "%llu@%llu@%d@%llu@%llu@%s@%s", (unsigned long long)it->position, (unsigned long long)c->off->gt->incarnation, c->queue,
		(unsigned long long)it->offset, (unsigned long long)c->prefix, c->off->gt->group->name, c->topic->name);
}

/* The smallest delay level that does not come before the wait is over; 0: none. */
static int level_for(const struct eng *g, int64_t ms)
{
	int level = 1;

	if (ms <= 0)
		return 0;
	while (level < DELAY_LEVELS && (int64_t)g->conf.delay_ms[level - 1] < ms)
		level++;
	return level;
}

/* What the copy is to say besides what the record says. 'text' holds the values. */
static void fill_props(struct eng_copy *k, const struct item *it, const struct record *r, struct buf *text)
{
	struct slice origin, id, name;
	char id_text[OFFSET_ID_SIZE + 1];
	size_t a = 0, b, c, d;

	if (!props_get(r->props, SLICE_LIT("RETRY_TOPIC"), &origin))
		origin = r->topic;
	if (!props_get(r->props, SLICE_LIT("UNIQ_KEY"), &id)) {
		offset_id_format(id_text, r->store_ip, r->store_port, r->position);
		id = slice_of(id_text, OFFSET_ID_SIZE);
	}
	origin_text(text, it);
	a = text->n;
	buf_slice(text, origin);
	b = text->n;
	buf_slice(text, id);
	c = text->n;
	buf_u64_dec(text, (uint64_t)k->reconsume_times);
	d = text->n;
	k->put[k->n_put][0] = SLICE_LIT(PROP_LEASE_ORIGIN);
	k->put[k->n_put++][1] = slice_of(text->p, a);
	k->put[k->n_put][0] = SLICE_LIT("RETRY_TOPIC");
	k->put[k->n_put++][1] = slice_of(text->p + a, b - a);
	if (!props_get(r->props, SLICE_LIT("ORIGIN_MESSAGE_ID"), &name)) {
		k->put[k->n_put][0] = SLICE_LIT("ORIGIN_MESSAGE_ID");
		k->put[k->n_put++][1] = slice_of(text->p + b, c - b);
	}
	if (!it->dead)
		return;
	k->put[k->n_put][0] = SLICE_LIT("DLQ_ORIGIN_TOPIC");
	k->put[k->n_put++][1] = slice_of(text->p + a, b - a);
	k->put[k->n_put][0] = SLICE_LIT("DLQ_ORIGIN_MESSAGE_ID");
	k->put[k->n_put++][1] = slice_of(text->p + b, c - b);
	k->put[k->n_put][0] = SLICE_LIT("RECONSUME_TIME");
	k->put[k->n_put++][1] = slice_of(text->p + c, d - c);
}

static enum status append_item(struct groups_state *gs, struct item *it, const struct record *r)
{
	struct group *gr = it->cursor->off->gt->group;
	uint32_t queues = it->dead ? 1 : gr->conf.retry_queues == 0 ? 1 : gr->conf.retry_queues;
	struct buf text = {0};
	struct topic *t;
	bool made;
	enum status st = group_ensure_topic(gs, gr, it->dead ? DLQ_PREFIX : RETRY_PREFIX, queues, &t, &made);

	if (st != ST_OK)
		return st;
	int64_t times = (int64_t)it->attempts + (r->reconsume_times > 0 ? r->reconsume_times : 0);
	struct eng_copy k = {.from = r, .topic = topic_name(t), .queue = -1, .prepared = (int64_t)it->position,
		.reconsume_times = times > INT32_MAX ? INT32_MAX : (int32_t)times};
	if (!it->dead)
		k.delay_level = level_for(gs->eng, it->due_ms - gs->eng->now_ms);
	fill_props(&k, it, r, &text);
	st = append_copy(gs->eng, &k);
	buf_fini(&text);
	if (st == ST_OK)
		eng_count(gs->eng, it->dead ? STAT_DEAD_LETTERS_TOTAL : STAT_RETRIES_TOTAL, 1);
	return st;
}

/* OK: the item is no more. BUSY: its block is being read. Else: to be tried again later. */
static enum status copy_one(struct groups_state *gs, struct item *it)
{
	struct blob *blob;
	struct slice bytes;
	struct record r;
	enum status st = item_fetch(it, &blob, &bytes, &gs->copy_wait);

	if (st == ST_BUSY || st == ST_IO)
		return st;
	if (st == ST_OK) {
		st = record_decode(bytes, &r);
		if (st == ST_OK) {
			enum status put = append_item(gs, it, &r);
			blob_drop(blob);
			if (put != ST_OK)
				return put == ST_BUSY ? ST_DISK_FULL : put;
			log_trace(gs->eng->log, "lease", "group=%s topic=%s queue=%d offset=%llu copied to=%s", it->cursor->off->gt->group->name,
				it->cursor->topic->name, it->cursor->queue, (unsigned long long)it->offset, it->dead ? "dlq" : "retry");
			item_settled(it);
			return ST_OK;
		}
		blob_drop(blob);
	}
	log_error(gs->eng->log, "lease", "group=%s topic=%s queue=%d offset=%llu lost before its copy: %s", it->cursor->off->gt->group->name,
		it->cursor->topic->name, it->cursor->queue, (unsigned long long)it->offset, status_text(st));
	item_settled(it);
	return ST_OK;
}

void copies_pump(struct groups_state *gs)
{
	unsigned n = 0;

	while (!list_empty(&gs->copies)) {
		if (list_linked(&gs->copy_wait.link) || heap_has(&gs->copy_again.node))
			return;
		if (n++ == COPIES_BURST) {
			pump_soon(gs);
			return;
		}
		enum status st = copy_one(gs, container_of(gs->copies.next, struct item, link));
		if (st == ST_BUSY)
			return;
		if (st != ST_OK) {
			eng_timer_set(gs->eng, &gs->copy_again, gs->eng->now_ns + LEASE_TRY_AGAIN_MS * MS_NS);
			return;
		}
	}
}

/* ---- Replay -------------------------------------------------------------------------------------------------------------------------------- */

static bool next_u64(struct slice *rest, uint64_t *ret)
{
	struct slice part;

	return slice_split(rest, '@', &part) && slice_u64(part, ret);
}

void groups_copy_replayed(struct eng *g, const struct record *copy)
{
	struct slice v, group, topic;
	uint64_t position, incarnation, queue, offset, prefix;

	if (copy->prepared <= 0 || !props_get(copy->props, SLICE_LIT(PROP_LEASE_ORIGIN), &v))
		return;
	if (!next_u64(&v, &position) || !next_u64(&v, &incarnation) || !next_u64(&v, &queue) || !next_u64(&v, &offset) ||
		!next_u64(&v, &prefix) || !slice_split(&v, '@', &group) || !slice_split(&v, '@', &topic))
		return; /* a user's property of the same name */
	if (position != (uint64_t)copy->prepared || offset >= OFFSET_LIMIT || prefix >= OFFSET_LIMIT)
		return;
	struct group *gr = group_at(g->gs, group);
	struct topic *t = topic_find(g, topic);
	if (gr == NULL || t == NULL || t->incarnation != incarnation || queue >= t->n_queues)
		return;
	struct goff *o = goff_need(gtopic_need(g->gs, gr, t), (int32_t)queue);
	struct cursor *c = cursor_of(g->gs, o);
	if (!o->set)
		cursor_reset(c, prefix);
	struct item *it = u64map_get(&c->items, offset);
	if (it != NULL)
		item_settled(it);
	else if (offset >= c->prefix && offset - c->prefix < LEASE_WINDOW)
		cursor_settle(c, offset);
}
