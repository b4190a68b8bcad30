/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Opening a store: what the folder holds becomes the engine's state.
 *
 *   1. The lock, then the format file. A folder that is not empty and has none is somebody else's: refused before a byte is touched.
 *   2. The newest readable snapshot, or nothing when there never was one.
 *   3. The log from the snapshot's position on, record by record, each checked in full: state records are applied, messages indexed, copies settle
 *      what they are copies of. When the index file was lost or does not fit, all messages of the log are indexed anew first.
 *   4. The first place that is not a valid record is the end, if it is torn; it is damage, and refused, if anything shows that it once was
 *      on disk: it lies below the durable mark of the snapshot or of any state record; a later segment begins with a valid record (a segment is
 *      only left when all of it is durable); or a valid record stands further behind it than the log is ever unsynced. A valid record nearer than
 *      that proves nothing: sectors that were not synced survive a crash in any order (docs/decisions/0002-torn-or-rotten.md).
 *   5. What stands behind the end is zeroed and synced, and the new epoch is written.
 */
#include <stdio.h>

#include "base/be.h"
#include "base/mem.h"
#include "engine/eng.h"
#include "engine/kindex.h"

#define FORMAT_FILE "format"
#define FORMAT_VERSION 1
#define LOCK_FILE "lock"
#define WINDOW (4u << 20)

/* ---- The format file -------------------------------------------------------------------------------------------------------- */

static void see_name(void *arg, const char *name)
{
	if (strcmp(name, LOCK_FILE) != 0 && strcmp(name, FORMAT_FILE) != 0 && strcmp(name, FORMAT_FILE ".new") != 0)
		*(bool *)arg = true;
}

static enum status format_write(struct eng *g)
{
	struct disk *d = g->env.disk;
	struct disk_file *f;
	uint64_t size;
	struct buf b = {0};
	buf_fmt(&b, "gantry=%d\ncluster=", FORMAT_VERSION);
	buf_slice(&b, g->conf.cluster);
	buf_str(&b, "\nbroker=");
	buf_slice(&b, g->conf.broker);
	buf_fmt(&b, "\nsegmentBytes=%llu\ncrcFrom=0\n", (unsigned long long)g->conf.segment_bytes);
	struct slice v = buf_view(&b);
	enum status st = d->ops->open(d, FORMAT_FILE ".new", DISK_CREATE, &f, &size);
	if (st == ST_OK) {
		st = f->ops->truncate(f, 0);
		if (st == ST_OK)
			st = f->ops->write_at(f, 0, &v, 1);
		if (st == ST_OK)
			st = f->ops->sync_now(f);
		f->ops->close(f);
	}
	if (st == ST_OK)
		st = d->ops->rename(d, FORMAT_FILE ".new", FORMAT_FILE);
	if (st == ST_OK)
		st = d->ops->sync_dir(d, "");
	buf_fini(&b);
	return st;
}

static bool format_value(struct slice text, const char *key, struct slice *ret)
{
	struct slice line, k;
	while (slice_split(&text, '\n', &line))
		if (slice_split(&line, '=', &k) && slice_eq_str(k, key)) {
			*ret = line;
			return true;
		}
	return false;
}

static enum status format_check(struct eng *g, struct slice text, char *why, size_t n)
{
	struct slice v;
	uint64_t num;
	if (!format_value(text, "gantry", &v) || !slice_u64(v, &num)) {
		snprintf(why, n, "the file 'format' is damaged");
		return ST_CORRUPT;
	}
	if (num != FORMAT_VERSION) {
		snprintf(why, n, "the store has format %llu, this release knows %d", (unsigned long long)num, FORMAT_VERSION);
		return ST_VERSION;
	}
	if (!format_value(text, "cluster", &v) || !slice_eq(v, g->conf.cluster) || !format_value(text, "broker", &v) || !slice_eq(v, g->conf.broker)) {
		snprintf(why, n, "the store belongs to another broker (see its file 'format')");
		return ST_VERSION;
	}
	if (!format_value(text, "segmentBytes", &v) || !slice_u64(v, &num) || num != g->conf.segment_bytes) {
		snprintf(why, n, "the store has segments of another size (see its file 'format')");
		return ST_VERSION;
	}
	if (!format_value(text, "crcFrom", &v) || !slice_u64(v, &g->crc_from)) {
		snprintf(why, n, "the file 'format' is damaged");
		return ST_CORRUPT;
	}
	return ST_OK;
}

/* Before anything is written, the lock's file included: is this an empty folder, or ours? */
static enum status format_probe(struct eng *g, char *why, size_t n)
{
	struct disk *d = g->env.disk;
	struct disk_file *f;
	uint64_t size;
	bool others = false;
	enum status st = d->ops->open(d, FORMAT_FILE, DISK_READ, &f, &size);
	if (st == ST_OK)
		f->ops->close(f);
	if (st != ST_NOT_FOUND)
		return ST_OK; /* what is wrong with it is told by format_open */
	st = d->ops->list(d, "", see_name, &others);
	if (st == ST_OK && !others)
		st = d->ops->list(d, CLOG_DIR, see_name, &others);
	if (st != ST_OK)
		snprintf(why, n, "the folder cannot be listed: %s", status_text(st));
	if (st == ST_OK && others) {
		snprintf(why, n, "the folder is not empty and is not a Gantry store (no file 'format'): nothing in it was touched");
		return ST_VERSION;
	}
	return st;
}

static enum status format_open(struct eng *g, bool *ret_fresh, char *why, size_t n)
{
	struct disk *d = g->env.disk;
	struct disk_file *f;
	uint64_t size;
	size_t got = 0;
	char text[1024];
	enum status st = d->ops->open(d, FORMAT_FILE, DISK_READ, &f, &size);
	*ret_fresh = st == ST_NOT_FOUND;
	if (st == ST_NOT_FOUND) {
		st = format_write(g);
		if (st != ST_OK)
			snprintf(why, n, "the file 'format' cannot be written: %s", status_text(st));
		return st;
	}
	if (st == ST_OK) {
		st = f->ops->read_at(f, 0, text, sizeof text, false, &got);
		f->ops->close(f);
	}
	if (st != ST_OK) {
		snprintf(why, n, "the file 'format' cannot be read: %s", status_text(st));
		return st;
	}
	return format_check(g, slice_of(text, got), why, n);
}

/* ---- Reading the log ------------------------------------------------------------------------------------------------------------- */

struct walker {
	struct eng *g;
	struct log_window win;
	uint64_t mark;        /* highest durable mark that was seen */
};

/* At least 'want' bytes from 'position' on, fewer only at the end of the segment. */
static enum status window(struct walker *w, uint64_t position, size_t want, struct slice *ret)
{
	struct log_window *v = &w->win;
	if (position < v->start || position + want > v->start + v->n) {
		if (v->cap < want || v->buf == NULL) {
			v->cap = want > WINDOW ? want : WINDOW;
			v->buf = mem_grow(v->buf, v->cap);
		}
		v->start = position;
		v->n = 0;
		enum status st = clog_read_now(&w->g->clog, position, v->buf, v->cap, &v->n);
		if (st != ST_OK)
			return st;
	}
	size_t at = (size_t)(position - v->start);
	*ret = slice_of(v->buf + at, v->n - at);
	return ST_OK;
}

enum found { FOUND_RECORD, FOUND_BLANK, FOUND_NOTHING };

/* What stands at a position. FOUND_NOTHING: no valid record. */
static enum status look(struct walker *w, uint64_t position, enum found *ret, struct record *r, uint64_t *ret_after)
{
	struct slice b;
	uint32_t size;
	struct segment *s = clog_segment(&w->g->clog, position);
	*ret = FOUND_NOTHING;
	if (s == NULL || position + RECORD_BLANK_SIZE > segment_end(&w->g->clog, s))
		return ST_OK;
	enum status st = window(w, position, RECORD_BLANK_SIZE, &b);
	if (st != ST_OK)
		return st;
	enum record_kind kind = b.n < RECORD_BLANK_SIZE ? RECORD_NOTHING : record_peek(b.p, &size);
	if (kind == RECORD_BLANK && (position + size == segment_end(&w->g->clog, s) || segment_end(&w->g->clog, s) - position > UINT32_MAX)) {
		*ret = FOUND_BLANK;
		*ret_after = segment_end(&w->g->clog, s);
		return ST_OK;
	}
	if (kind != RECORD_MESSAGE || size > segment_end(&w->g->clog, s) - position)
		return ST_OK;
	st = window(w, position, size, &b);
	if (st != ST_OK)
		return st;
	if (b.n >= size && record_check(slice_of(b.p, size), position, position < w->g->crc_from, r) == ST_OK) {
		*ret = FOUND_RECORD;
		*ret_after = position + size;
	}
	return ST_OK;
}

enum status log_record(struct eng *g, struct log_window *win, uint64_t position, struct record *ret, uint64_t *ret_after)
{
	struct walker w = {.g = g, .win = *win};
	enum found found;
	struct slice b;
	enum status st = look(&w, position, &found, ret, ret_after);
	if (st == ST_OK && found == FOUND_BLANK)
		st = ST_NOT_FOUND;
	if (st == ST_OK && found == FOUND_NOTHING) {
		struct segment *s = clog_segment(&g->clog, position);
		uint64_t end = s == NULL ? position + 1 : segment_end(&g->clog, s);
		st = s == NULL ? ST_OK : window(&w, position, (size_t)u64_min(RECORD_SIZE_MIN, end - position), &b);
		*ret_after = end;
		/* A record's second word is its magic number: look for its first byte. */
		const uint8_t *hit = st == ST_OK && s != NULL && b.n > 5 ? memchr(b.p + 5, RECORD_MAGIC_V1 >> 24, b.n - 5) : NULL;
		if (hit != NULL)
			*ret_after = position + (uint64_t)(hit - b.p) - 4;
		else if (st == ST_OK && s != NULL && b.n > 5 && position + b.n < end)
			*ret_after = position + b.n - 4;
		st = st == ST_OK ? ST_CORRUPT : st;
	}
	if (st != ST_OK && st != ST_NOT_FOUND && st != ST_CORRUPT)
		*ret_after = position;
	*win = w.win;
	return st;
}

/* ---- Applying --------------------------------------------------------------------------------------------------------------------- */

uint64_t index_tag(struct eng *g, const struct record *r)
{
	if (slice_eq(r->topic, SLICE_LIT(TOPIC_SCHEDULE)) && r->queue >= 0 && r->queue < DELAY_LEVELS)
		return (uint64_t)(r->store_ms + g->conf.delay_ms[r->queue]);
	return record_tag(r);
}

/* A message seen in the log gets its index entry, unless the index has it. */
static enum status index_message(struct eng *g, const struct record *r, bool rebuild)
{
	struct topic *t = topic_find(g, r->topic);
	if (t == NULL || r->position < t->incarnation)
		return ST_OK; /* of a topic that was dropped later */
	struct queue *q = topic_queue_stored(g, t, r->queue);
	if (q == NULL)
		return ST_CORRUPT;
	if (rebuild && q->index.next == 0 && q->index.first == 0 && r->queue_offset > 0) {
		uint32_t uid = q->index.uid;
		qi_queue_fini(g->qi, &q->index);
		qi_queue_init(&q->index, uid, r->queue_offset); /* the older ones left with their segments */
	}
	if (r->queue_offset > q->index.next)
		return ST_CORRUPT;
	if (r->queue_offset == q->index.next) {
		struct qentry e = {r->position, r->size, index_tag(g, r)};
		qi_append(g->qi, &q->index, &e);
	}
	q->next = q->index.next;
	return ST_OK;
}

static void note_segment(struct eng *g, const struct record *r)
{
	struct segment *s = clog_segment(&g->clog, r->position);
	if (s->first_ms == 0)
		s->first_ms = r->store_ms;
	s->last_ms = r->store_ms;
}

static enum status apply_record(struct eng *g, struct walker *w, const struct record *r)
{
	note_segment(g, r);
	if (r->store_ms > g->store_ms)
		g->store_ms = r->store_ms;
	if (slice_eq(r->topic, SLICE_LIT(TOPIC_STATE))) {
		g->state_seq = u64_max(g->state_seq, r->queue_offset + 1);
		return state_apply(g, r->body, r->position, &w->mark);
	}
	enum status st = index_message(g, r, false);
	if (st != ST_OK)
		return st;
	if (r->position >= ki_covered(g->ki))
		keys_add(g, r, true);
	if (r->prepared > 0) { /* the copy is the decision: it settles what it is a copy of, whichever of the two that is */
		groups_copy_replayed(g, r);
		delay_replayed(g, (uint64_t)r->prepared);
	}
	return ST_OK;
}

/* The queues' index anew, from all messages before 'to'. */
static enum status rebuild_index(struct eng *g, struct walker *w, uint64_t to, char *why, size_t n)
{
	uint64_t position = g->clog.min, after;
	enum found found;
	struct record r;
	log_warn(g->log, "recover", "event=index-rebuild from=%llu to=%llu", (unsigned long long)position, (unsigned long long)to);
	while (position < to) {
		enum status st = look(w, position, &found, &r, &after);
		if (st == ST_OK && found == FOUND_NOTHING)
			st = ST_CORRUPT;
		if (st == ST_OK && found == FOUND_RECORD && !slice_eq(r.topic, SLICE_LIT(TOPIC_STATE)))
			st = index_message(g, &r, true);
		if (st != ST_OK) {
			snprintf(why, n, CLOG_DIR ": damaged record at position %llu: %s", (unsigned long long)position, status_text(st));
			return st;
		}
		if (found == FOUND_RECORD)
			note_segment(g, &r);
		position = after;
	}
	return ST_OK;
}

static enum status replay(struct eng *g, struct walker *w, uint64_t from, uint64_t *ret_end, char *why, size_t n)
{
	uint64_t position = from, after;
	enum found found;
	struct record r;
	for (;;) {
		enum status st = look(w, position, &found, &r, &after);
		if (st == ST_OK && found == FOUND_NOTHING)
			break;
		if (st == ST_OK && found == FOUND_RECORD)
			st = apply_record(g, w, &r);
		if (st != ST_OK) {
			snprintf(why, n, CLOG_DIR ": record at position %llu cannot be applied: %s", (unsigned long long)position, status_text(st));
			return st;
		}
		position = after;
	}
	*ret_end = position;
	return ST_OK;
}

/* ---- Torn or rotten ------------------------------------------------------------------------------------------------------------------ */

static enum status refuse_damage(struct eng *g, uint64_t end, uint64_t by, const char *reason, char *why, size_t n)
{
	struct segment *s = clog_segment(&g->clog, end);
	char path[40] = "";
	if (s != NULL)
		clog_path(path, s->start);
	snprintf(why, n, "%s: damaged at byte %llu (position %llu), although %s (position %llu). Nothing was changed.", path,
		(unsigned long long)(s != NULL ? end - s->start : 0), (unsigned long long)end, reason, (unsigned long long)by);
	return ST_CORRUPT;
}

/*
 * Searches for valid records behind the end. Those within reach of one unsynced span may be survivors of a torn write, but the durable mark
 * that a state record among them carries is evidence all the same.
 */
static enum status search_behind(struct eng *g, struct walker *w, uint64_t end, char *why, size_t n)
{
	struct segment *s = clog_segment(&g->clog, end);
	uint64_t stop = s == NULL ? end : u64_min(segment_end(&g->clog, s), end + 2 * g->conf.unsynced_bytes);
	uint64_t after;
	enum found found;
	struct record r;
	struct slice b;
	for (size_t i = 0; i < g->clog.n_segs; i++) {
		uint64_t start = g->clog.segs[i]->start;
		if (start <= end)
			continue;
		enum status st = look(w, start, &found, &r, &after);
		if (st != ST_OK)
			return st;
		if (found == FOUND_RECORD)
			return refuse_damage(g, end, start, "a later segment holds records", why, n);
	}
	for (uint64_t p = end; p + RECORD_SIZE_MIN <= stop;) {
		enum status st = window(w, p, (size_t)u64_min(WINDOW / 2, stop - p), &b);
		if (st != ST_OK)
			return st;
		/* A record's second word is its magic number: look for its first byte. */
		size_t span = (size_t)u64_min(b.n, stop - p);
		const uint8_t *hit = span <= 4 ? NULL : memchr(b.p + 4, RECORD_MAGIC_V1 >> 24, span - 4);
		if (hit == NULL) {
			p += span > 8 ? span - 7 : span;
			if (span <= 8)
				break;
			continue;
		}
		p += (uint64_t)(hit - b.p) - 4;
		st = look(w, p, &found, &r, &after);
		if (st != ST_OK)
			return st;
		if (found != FOUND_RECORD) {
			p++;
			continue;
		}
		uint64_t mark = 0;
		struct slice items = r.body;
		uint8_t type;
		uint32_t len;
		if (slice_eq(r.topic, SLICE_LIT(TOPIC_STATE)) && state_get_u8(&items, &type) && type == STATE_MARK && state_get_u32(&items, &len))
			state_get_u64(&items, &mark);
		if (mark > end)
			return refuse_damage(g, end, p, "a later record says that it was on disk", why, n);
		if (p >= end + g->conf.unsynced_bytes)
			return refuse_damage(g, end, p, "a valid record stands further behind it than is ever unsynced", why, n);
		p = after;
	}
	return ST_OK;
}

static enum status check_end(struct eng *g, struct walker *w, uint64_t end, char *why, size_t n)
{
	if (g->clog.n_segs == 1 && g->clog.segs[0]->fresh)
		return ST_OK; /* made a moment ago: there is nothing to be found */
	if (end < w->mark)
		return refuse_damage(g, end, w->mark, "the log was durable beyond it", why, n);
	return search_behind(g, w, end, why, n);
}

/* ---- All of it -------------------------------------------------------------------------------------------------------------------------- */

static enum status open_indexes(struct eng *g, bool fresh, char *why, size_t n)
{
	enum status st = qi_open(&g->qi, g->env.disk, g->log, fresh);
	if (st == ST_OK)
		st = ki_open(&g->ki, g->env.disk, g->log, g->conf.segment_bytes);
	if (st != ST_OK)
		snprintf(why, n, "the index cannot be opened: %s", status_text(st));
	return st;
}

/* Topics were made before the index was open (the system's), or come from the snapshot: their queues' index is thrown away. */
static void forget_queues(struct eng *g)
{
	for (size_t i = 0; i < g->n_slots; i++)
		for (uint32_t q = 0; g->topic_list[i] != NULL && q < g->topic_list[i]->n_queues; q++)
			if (g->topic_list[i]->queues[q] != NULL) {
				qi_queue_fini(g->qi, &g->topic_list[i]->queues[q]->index);
				mem_free(g->topic_list[i]->queues[q]);
				g->topic_list[i]->queues[q] = NULL;
			}
}

/* What the index file holds is of no use: an empty one takes its place. */
static enum status renew_index(struct eng *g, char *why, size_t n)
{
	forget_queues(g);
	qi_close(g->qi);
	g->qi = NULL;
	enum status st = qi_open(&g->qi, g->env.disk, g->log, true);
	if (st != ST_OK)
		snprintf(why, n, "the index cannot be made: %s", status_text(st));
	return st;
}

/*
 * A snapshot is only made of what is durable: a log that ends before it has lost its files, and must not be taken for an empty one. The segment that
 * it ends in begins with a record; where zeros stand, the file was lost and made anew.
 */
static enum status check_reach(struct eng *g, struct walker *w, uint64_t position, char *why, size_t n)
{
	static const uint8_t zeros[RECORD_BLANK_SIZE];
	const struct segment *s = position == 0 ? NULL : clog_segment(&g->clog, position - 1);
	struct slice b;
	char path[40];
	if (position == 0)
		return ST_OK;
	if (s == NULL) {
		snprintf(why, n, CLOG_DIR ": the segment of position %llu is missing, although the log was durable up to there", (unsigned long long)position - 1);
		return ST_CORRUPT;
	}
	clog_path(path, s->start);
	enum status st = window(w, s->start, sizeof zeros, &b);
	if (st == ST_OK && (b.n < sizeof zeros || memcmp(b.p, zeros, sizeof zeros) == 0))
		st = ST_CORRUPT;
	if (st != ST_OK)
		snprintf(why, n, "%s: empty at byte 0 (position %llu), although the log was durable up to position %llu", path, (unsigned long long)s->start,
			(unsigned long long)position);
	return st;
}

static enum status load_state(struct eng *g, struct walker *w, uint64_t *ret_from, char *why, size_t n)
{
	struct snapshot_head head = {0};
	bool index_bad = false;
	enum status st = snapshot_load(g, &head, &index_bad, why, n);
	if (st == ST_NOT_FOUND && g->clog.min > 0) {
		snprintf(why, n, "the log begins at position %llu, and there is no snapshot of what came before", (unsigned long long)g->clog.min);
		return ST_CORRUPT;
	}
	if (st == ST_NOT_FOUND) {
		*ret_from = 0;
		ki_load(g->ki, 0);
		return renew_index(g, why, n);
	}
	if (st == ST_OK)
		st = check_reach(g, w, head.position, why, n);
	if (st != ST_OK)
		return st;
	w->mark = u64_max(head.durable, head.position);
	g->state_seq = head.state_seq;
	g->epoch = head.epoch;
	g->store_ms = head.store_ms;
	*ret_from = head.position;
	ki_load(g->ki, head.position);
	if (!index_bad) {
		qi_load_done(g->qi);
		g->next_queue_uid = head.next_queue_uid > g->next_queue_uid ? head.next_queue_uid : g->next_queue_uid;
		return ST_OK;
	}
	st = renew_index(g, why, n);
	if (st != ST_OK)
		return st;
	g->next_queue_uid = head.next_queue_uid > g->next_queue_uid ? head.next_queue_uid : g->next_queue_uid;
	return rebuild_index(g, w, head.position, why, n);
}

/* Store times of segments that the replay did not touch, for retention. */
static void date_segments(struct eng *g, struct walker *w)
{
	uint64_t after;
	enum found found;
	struct record r;
	for (size_t i = 0; i < g->clog.n_segs; i++) {
		struct segment *s = g->clog.segs[i];
		if (s->first_ms == 0 && look(w, s->start, &found, &r, &after) == ST_OK && found == FOUND_RECORD) {
			s->first_ms = r.store_ms;
			if (i > 0 && g->clog.segs[i - 1]->last_ms == 0)
				g->clog.segs[i - 1]->last_ms = r.store_ms;
		}
	}
}

/* The first record of this start. Where there is no room for it yet, a turn will write it. */
static enum status begin_epoch(struct eng *g, char *why, size_t n)
{
	g->epoch++;
	g->epoch_due = true;
	enum status st = state_epoch(g);
	if (st == ST_OK || (g->clog.tail > 0 && (st == ST_BUSY || st == ST_DISK_FULL)))
		return ST_OK;
	snprintf(why, n, "the log cannot be written: %s", status_text(st));
	return st;
}

/* Names that were found may stand in the page cache only (the process was killed before its sync_dir): what is built on them must not lose them. */
static enum status sync_names(struct eng *g, char *why, size_t n)
{
	static const char *const dirs[] = {"", CLOG_DIR, "snapshot", "index"};
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		enum status st = g->env.disk->ops->sync_dir(g->env.disk, dirs[i]);
		if (st != ST_OK && st != ST_NOT_FOUND) {
			snprintf(why, n, "the folder '%s' cannot be synced: %s", dirs[i], status_text(st));
			return st;
		}
	}
	return ST_OK;
}

static enum status recover_log(struct eng *g, struct walker *w, uint64_t *ret_end, char *why, size_t n)
{
	uint64_t from = 0, end = 0;
	enum status st = load_state(g, w, &from, why, n);
	if (st == ST_OK)
		st = replay(g, w, from, &end, why, n);
	if (st == ST_OK)
		st = check_end(g, w, end, why, n);
	if (st == ST_OK && ki_recovered(g->ki, g->clog.min, end) != ST_OK) {
		snprintf(why, n, "the key index cannot be brought in order");
		st = ST_IO;
	}
	if (st == ST_OK)
		date_segments(g, w);
	*ret_end = end;
	return st;
}

enum status recover(struct eng *g, char *why, size_t n)
{
	struct disk *d = g->env.disk;
	struct walker w = {.g = g};
	bool fresh = false;
	uint64_t end = 0;
	enum status st = format_probe(g, why, n);
	if (st != ST_OK)
		return st;
	st = d->ops->lock(d, LOCK_FILE);
	if (st != ST_OK) {
		snprintf(why, n, "the store cannot be locked: %s", status_text(st));
		return st;
	}
	st = format_open(g, &fresh, why, n);
	if (st == ST_OK && !fresh)
		st = sync_names(g, why, n);
	if (st == ST_OK)
		st = clog_scan(&g->clog, why, n);
	if (st == ST_OK)
		st = open_indexes(g, fresh, why, n);
	if (st == ST_OK && g->clog.n_segs == 0) {
		st = clog_add_segment(&g->clog, 0);
		if (st != ST_OK)
			snprintf(why, n, "the first segment cannot be made: %s", status_text(st));
	}
	if (st == ST_OK)
		st = recover_log(g, &w, &end, why, n);
	mem_free(w.win.buf);
	if (st != ST_OK)
		return st;
	/* Retention gives up only what is synced, and says so in the log: a log that ends before it has lost something. */
	if (g->log_min > end) {
		snprintf(why, n, "the log ends at %llu, but retention had come to %llu", (unsigned long long)end, (unsigned long long)g->log_min);
		return ST_CORRUPT;
	}
	st = clog_set_end(&g->clog, end, w.mark);
	if (st != ST_OK) {
		snprintf(why, n, "the log's end at %llu cannot be cleaned: %s", (unsigned long long)end, status_text(st));
		return st;
	}
	/* A segment that retention gave up, and that a crash brought back: the indexes know nothing of it any more. */
	while (g->clog.n_segs > 1 && segment_end(&g->clog, g->clog.segs[0]) <= g->log_min && clog_drop_first(&g->clog) == ST_OK)
		;
	g->flushed_tail = g->mark_position = end;
	g->found_ms = g->store_ms;
	g->stamp_ns = g->now_ns;
	log_info(g->log, "recover", "event=open min=%llu end=%llu topics=%llu groups=%llu epoch=%llu", (unsigned long long)g->clog.min,
		(unsigned long long)end, (unsigned long long)g->stats[STAT_TOPICS], (unsigned long long)g->stats[STAT_GROUPS], (unsigned long long)g->epoch + 1);
	return begin_epoch(g, why, n);
}
