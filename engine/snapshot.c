/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Snapshots: all state as items, so that a start replays only what follows. Format: docs/log-format.md.
 *
 * A snapshot stands for position P0, the visible mark when it was begun, but it is written in slices over many turns while the state goes on
 * changing. That is sound because items are absolute sets and the replay from P0 sets again what changed since. It becomes valid (by its rename)
 * only when (1) the index files that it refers to are synced, (2) everything that was in the log when its last slice was taken is durable, (3) it
 * is synced itself and has been read back. The two newest are kept; no segment goes before both cover it.
 */
#include "engine/eng.h"

#include <stdio.h>

#include "base/be.h"
#include "base/crc.h"
#include "base/mem.h"
#include "engine/kindex.h"

#define SNAPSHOT_DIR "snapshot"
#define SNAPSHOT_TMP SNAPSHOT_DIR "/writing"
#define SNAPSHOT_MAGIC 0x47534E50u
#define SNAPSHOT_VERSION 1u
#define HEAD_SIZE 60u
#define SLICE_BYTES (256u << 10)      /* items written in one turn */
#define CHUNK_MAX (64u << 20)         /* no chunk is larger: what says so is damaged */
#define SNAPSHOT_RETRY_NS (5 * SEC_NS)

enum step { STEP_IDLE, STEP_TOPICS, STEP_GROUPS, STEP_CELLS, STEP_END, STEP_SYNC_QUEUES, STEP_SYNC_KEYS, STEP_SYNC_FILE, STEP_DURABLE, STEP_VERIFY, STEP_NAME };

struct snapshot {
	enum step step;
	bool wanted;
	uint64_t position;         /* of the one that is being written */
	uint64_t need_durable;
	uint64_t cursor;
	struct disk_file *file;
	uint64_t size, verified;
	uint32_t crc;              /* of the chunk that is being read back */
	uint64_t chunks;
	bool syncing, sync_done;
	enum status sync_status;
	struct disk_op op;
	struct buf items;
	uint64_t last, before;     /* positions of the two kept ones; 0: none */
	unsigned done_here;        /* written and read back by this process */
	bool checked;              /* 'last' as of the start was read in full by this process */
	uint64_t last_size;
	uint64_t retry_ns;
};

/* Positions of the snapshots that are there, newest first. */
struct names {
	uint64_t *v;
	size_t n, cap;
};

static void snapshot_path(char to[48], uint64_t position)
{
	snprintf(to, 48, SNAPSHOT_DIR "/%020llu", (unsigned long long)position);
}

void snapshot_init(struct eng *g)
{
	g->snapshot = mem_new(sizeof *g->snapshot);
}

void snapshot_fini(struct eng *g)
{
	struct snapshot *s = g->snapshot;
	if (s->file != NULL)
		s->file->ops->close(s->file);
	buf_fini(&s->items);
	mem_free(s);
}

bool snapshot_idle(struct eng *g)
{
	return g->snapshot->step == STEP_IDLE && !g->snapshot->wanted;
}

void snapshot_want(struct eng *g)
{
	g->snapshot->wanted = true;
}

uint64_t snapshot_floor(struct eng *g)
{
	return g->snapshot->done_here >= 2 || (g->snapshot->done_here == 1 && g->snapshot->checked) ? g->snapshot->before : 0;
}

/* ---- Writing ------------------------------------------------------------------------------------------------------------------ */

static void give_up(struct eng *g, enum status st)
{
	struct snapshot *s = g->snapshot;
	log_warn(g->log, "snapshot", "position=%llu event=failed reason=\"%s\"", (unsigned long long)s->position, status_text(st));
	if (s->file != NULL)
		s->file->ops->close(s->file);
	s->file = NULL;
	s->step = STEP_IDLE;
	s->wanted = false;
	s->retry_ns = g->now_ns + SNAPSHOT_RETRY_NS;
}

static enum status write_chunk(struct snapshot *s, struct slice items)
{
	uint8_t head[8];
	be32_put(head, (uint32_t)items.n);
	be32_put(head + 4, crc32_of(items.p, items.n));
	struct slice v[2] = {slice_of(head, 8), items};
	enum status st = s->file->ops->write_at(s->file, s->size, v, items.n > 0 ? 2 : 1);
	s->size += 8 + items.n;
	s->chunks++;
	return st;
}

static enum status begin(struct eng *g)
{
	struct snapshot *s = g->snapshot;
	uint8_t h[HEAD_SIZE] = {0};
	uint64_t size;
	s->wanted = false;
	s->position = clog_visible(&g->clog);
	s->cursor = s->size = s->verified = s->chunks = 0;
	enum status st = g->env.disk->ops->open(g->env.disk, SNAPSHOT_TMP, DISK_CREATE, &s->file, &size);
	if (st == ST_OK)
		st = s->file->ops->truncate(s->file, 0);
	if (st != ST_OK)
		return st;
	qi_snapshot_begin(g->qi);
	ki_flush(g->ki, s->position);
	be32_put(h, SNAPSHOT_MAGIC);
	be32_put(h + 4, SNAPSHOT_VERSION);
	be64_put(h + 8, s->position);
	be64_put(h + 16, u64_min(g->clog.durable, s->position));
	be64_put(h + 24, g->state_seq);
	be64_put(h + 32, g->epoch);
	be64_put(h + 40, (uint64_t)g->store_ms);
	be32_put(h + 48, g->next_queue_uid);
	be32_put(h + 56, crc32_of(h, 56));
	struct slice v = slice_of(h, sizeof h);
	st = s->file->ops->write_at(s->file, 0, &v, 1);
	s->size = sizeof h;
	buf_reset(&s->items);
	qi_save(g->qi, &s->items);
	if (st == ST_OK)
		st = write_chunk(s, buf_view(&s->items));
	s->step = STEP_TOPICS;
	log_trace(g->log, "snapshot", "position=%llu event=begun", (unsigned long long)s->position);
	return st;
}

static enum status write_slice(struct eng *g)
{
	struct snapshot *s = g->snapshot;
	bool more;
	buf_reset(&s->items);
	if (s->step == STEP_TOPICS)
		more = topics_state_all(g, &s->items, SLICE_BYTES, &s->cursor);
	else if (s->step == STEP_GROUPS)
		more = groups_state_all(g, &s->items, SLICE_BYTES, &s->cursor);
	else
		more = cells_state_all(g, &s->items, SLICE_BYTES, &s->cursor);
	if (!more) {
		s->cursor = 0;
		s->step++;
	}
	if (s->step == STEP_END) {
		delay_state_save(g, &s->items);
		size_t at = state_item_begin(&s->items, STATE_LOG);
		buf_be64(&s->items, g->clog.min);
		state_item_end(&s->items, at);
	}
	return s->items.n > 0 ? write_chunk(s, buf_view(&s->items)) : ST_OK;
}

static void sync_done(struct disk_op *op, enum status st)
{
	struct snapshot *s = container_of(op, struct snapshot, op);
	s->sync_done = true;
	s->sync_status = st;
}

/* One sync of the three, started and waited for. BUSY while it is under way. */
static enum status sync_step(struct eng *g, bool (*start)(struct eng *, struct disk_op *, enum status *))
{
	struct snapshot *s = g->snapshot;
	enum status st;
	if (!s->syncing) {
		s->syncing = true;
		s->sync_done = false;
		s->op.done = sync_done;
		if (start(g, &s->op, &st)) {
			s->sync_done = true;
			s->sync_status = st;
		}
	}
	if (!s->sync_done)
		return ST_BUSY;
	s->syncing = false;
	return s->sync_status;
}

static bool start_queues(struct eng *g, struct disk_op *op, enum status *now)
{
	return qi_sync(g->qi, op, now);
}

static bool start_keys(struct eng *g, struct disk_op *op, enum status *now)
{
	return ki_sync(g->ki, op, now);
}

static bool start_file(struct eng *g, struct disk_op *op, enum status *now)
{
	struct disk_file *f = g->snapshot->file;
	return f->ops->sync(f, false, op, now);
}

/* Reads one chunk back and compares its checksum. OK: that was the last one; BUSY: more to do. */
static enum status verify_chunk(struct snapshot *s)
{
	uint8_t head[HEAD_SIZE];
	size_t got = 0;
	if (s->verified == 0) {
		enum status st = s->file->ops->read_at(s->file, 0, head, HEAD_SIZE, false, &got);
		if (st != ST_OK || got < HEAD_SIZE || be32_get(head + 56) != crc32_of(head, 56))
			return st != ST_OK ? st : ST_CORRUPT;
		s->verified = HEAD_SIZE;
		return ST_BUSY;
	}
	enum status st = s->file->ops->read_at(s->file, s->verified, head, 8, false, &got);
	if (st != ST_OK || got < 8)
		return st != ST_OK ? st : ST_CORRUPT;
	uint32_t n = be32_get(head);
	if (n == 0)
		return s->verified + 8 == s->size ? ST_OK : ST_CORRUPT;
	if (n > s->size - s->verified)
		return ST_CORRUPT;
	uint8_t *p = mem_grow(NULL, n);
	st = s->file->ops->read_at(s->file, s->verified + 8, p, n, false, &got);
	if (st == ST_OK && (got < n || crc32_of(p, n) != be32_get(head + 4)))
		st = ST_CORRUPT;
	mem_free(p);
	s->verified += 8 + n;
	return st == ST_OK ? ST_BUSY : st;
}

static void see_snapshot(void *arg, const char *name);

/* Removes all but the two newest. */
static void prune(struct eng *g)
{
	struct snapshot *s = g->snapshot;
	struct names names = {0};
	char path[48];
	if (g->env.disk->ops->list(g->env.disk, SNAPSHOT_DIR, see_snapshot, &names) == ST_OK)
		for (size_t i = 0; i < names.n; i++) {
			snapshot_path(path, names.v[i]);
			if (names.v[i] != s->last && names.v[i] != s->before && g->env.disk->ops->remove(g->env.disk, path) != ST_OK)
				log_warn(g->log, "snapshot", "file=%s cannot be removed", path);
		}
	mem_free(names.v);
}

static enum status name_it(struct eng *g)
{
	struct snapshot *s = g->snapshot;
	struct disk *d = g->env.disk;
	char path[48];
	s->file->ops->close(s->file);
	s->file = NULL;
	snapshot_path(path, s->position);
	enum status st = d->ops->rename(d, SNAPSHOT_TMP, path);
	if (st == ST_OK)
		st = d->ops->sync_dir(d, SNAPSHOT_DIR);
	if (st != ST_OK)
		return st;
	if (s->last == 0 || s->position != s->last) {
		s->before = s->last;
		s->last = s->position;
	}
	s->done_here++;
	prune(g);
	s->last_size = s->size;
	qi_snapshot_done(g->qi);
	s->step = STEP_IDLE;
	eng_count(g, STAT_SNAPSHOTS_TOTAL, 1);
	g->stats[STAT_SNAPSHOT_POSITION] = s->position;
	log_info(g->log, "snapshot", "position=%llu bytes=%llu event=done", (unsigned long long)s->position, (unsigned long long)s->size);
	return ST_OK;
}

/* OK: the next step may follow at once; BUSY: it waits for something. */
static enum status go_on(struct eng *g)
{
	struct snapshot *s = g->snapshot;
	enum status st;
	switch (s->step) {
	case STEP_IDLE:
		return begin(g);
	case STEP_TOPICS:
	case STEP_GROUPS:
	case STEP_CELLS:
		return write_slice(g);
	case STEP_END:
		log_trace(g->log, "snapshot", "position=%llu bytes=%llu event=written", (unsigned long long)s->position, (unsigned long long)s->size);
		s->need_durable = g->clog.tail;
		s->step = STEP_SYNC_QUEUES;
		return write_chunk(s, (struct slice){NULL, 0});
	case STEP_SYNC_QUEUES:
	case STEP_SYNC_KEYS:
	case STEP_SYNC_FILE:
		st = sync_step(g, s->step == STEP_SYNC_QUEUES ? start_queues : s->step == STEP_SYNC_KEYS ? start_keys : start_file);
		if (st == ST_OK)
			s->step++;
		return st;
	case STEP_DURABLE:
		if (g->clog.durable < s->need_durable)
			return ST_BUSY;
		log_trace(g->log, "snapshot", "position=%llu event=synced", (unsigned long long)s->position);
		s->step = STEP_VERIFY;
		return ST_OK;
	case STEP_VERIFY:
		st = verify_chunk(s);
		if (st == ST_OK) {
			log_trace(g->log, "snapshot", "position=%llu event=read-back", (unsigned long long)s->position);
			s->step = STEP_NAME;
		}
		return st == ST_BUSY ? ST_OK : st;
	case STEP_NAME:
		return name_it(g);
	}
	return ST_OK;
}

static bool is_due(struct eng *g)
{
	struct snapshot *s = g->snapshot;
	uint64_t every = u64_max(g->conf.snapshot_bytes, 4 * s->last_size), visible = clog_visible(&g->clog);
	if (s->last > 0 && visible == s->last)
		s->wanted = false; /* it would say what the newest one says */
	if (g->closing)
		return s->wanted; /* the last one, whatever became of the one before */
	return g->now_ns >= s->retry_ns && (s->wanted || visible - s->last >= every);
}

bool snapshot_turn(struct eng *g)
{
	struct snapshot *s = g->snapshot;
	if (s->step == STEP_IDLE && !is_due(g))
		return false;
	if (g->clog.poisoned && !s->syncing) {
		if (s->step != STEP_IDLE)
			give_up(g, ST_IO);
		s->wanted = false;
		return false;
	}
	enum status st = go_on(g);
	if (st != ST_OK && st != ST_BUSY)
		give_up(g, st);
	return st == ST_OK && s->step != STEP_IDLE;
}

/* ---- Loading ---------------------------------------------------------------------------------------------------------------------- */

static void see_snapshot(void *arg, const char *name)
{
	struct names *s = arg;
	uint64_t position;
	if (strlen(name) != 20 || !slice_u64(slice_str(name), &position))
		return; /* one that was being written */
	if (s->n == s->cap)
		s->v = mem_grow(s->v, (s->cap = s->cap == 0 ? 8 : s->cap * 2) * sizeof *s->v);
	size_t i = s->n++;
	for (; i > 0 && s->v[i - 1] < position; i--)
		s->v[i] = s->v[i - 1];
	s->v[i] = position;
}

static enum status read_all(struct eng *g, uint64_t position, struct buf *to)
{
	char path[48];
	struct disk_file *f;
	uint64_t size;
	size_t got = 0;
	snapshot_path(path, position);
	enum status st = g->env.disk->ops->open(g->env.disk, path, DISK_READ, &f, &size);
	if (st == ST_OK && size < HEAD_SIZE) {
		f->ops->close(f);
		st = ST_CORRUPT;
	}
	if (st != ST_OK)
		return st;
	uint8_t *p = buf_room(to, size);
	st = f->ops->read_at(f, 0, p, size, false, &got);
	f->ops->close(f);
	buf_used(to, got);
	return st == ST_OK && got < size ? ST_CORRUPT : st;
}

/* Is the whole file what was written? Only then a byte of it is applied. */
static enum status check_all(struct slice b, uint64_t position, struct snapshot_head *ret)
{
	if (b.n < HEAD_SIZE + 8 || be32_get(b.p) != SNAPSHOT_MAGIC || be32_get(b.p + 56) != crc32_of(b.p, 56) || be64_get(b.p + 8) != position)
		return ST_CORRUPT;
	if (be32_get(b.p + 4) != SNAPSHOT_VERSION)
		return ST_VERSION;
	*ret = (struct snapshot_head){be64_get(b.p + 8), be64_get(b.p + 16), be64_get(b.p + 24), be64_get(b.p + 32), (int64_t)be64_get(b.p + 40),
		be32_get(b.p + 48)};
	for (size_t at = HEAD_SIZE; at + 8 <= b.n;) {
		uint32_t n = be32_get(b.p + at), crc = be32_get(b.p + at + 4);
		if (n == 0)
			return at + 8 == b.n ? ST_OK : ST_CORRUPT;
		if (n > CHUNK_MAX || n > b.n - at - 8 || crc32_of(b.p + at + 8, n) != crc)
			return ST_CORRUPT;
		at += 8 + n;
	}
	return ST_CORRUPT;
}

static enum status apply_all(struct eng *g, struct slice b, bool *ret_index_bad)
{
	uint64_t mark = 0;
	bool first = true;
	for (size_t at = HEAD_SIZE;;) {
		uint32_t n = be32_get(b.p + at);
		struct slice items = slice_of(b.p + at + 8, n);
		if (n == 0)
			return ST_OK;
		if (first) {
			*ret_index_bad = qi_load(g->qi, &items) != ST_OK;
			g->index_bad = *ret_index_bad;
		} else {
			enum status st = state_apply(g, items, 0, &mark);
			if (st != ST_OK)
				return st;
		}
		first = false;
		at += 8 + n;
	}
}

enum status snapshot_load(struct eng *g, struct snapshot_head *ret, bool *ret_index_bad, char *why, size_t why_size)
{
	struct snapshot *s = g->snapshot;
	struct names names = {0};
	struct buf b = {0};
	enum status st = g->env.disk->ops->list(g->env.disk, SNAPSHOT_DIR, see_snapshot, &names);
	enum status last = ST_NOT_FOUND;
	size_t i = 0;
	for (; st == ST_OK && i < names.n && last != ST_OK; i++) {
		buf_reset(&b);
		last = read_all(g, names.v[i], &b);
		if (last == ST_OK)
			last = check_all(buf_view(&b), names.v[i], ret);
		if (last != ST_OK) {
			log_warn(g->log, "snapshot", "position=%llu event=unreadable reason=\"%s\"", (unsigned long long)names.v[i], status_text(last));
			snprintf(why, why_size, SNAPSHOT_DIR "/%020llu: %s, and no other snapshot can be read", (unsigned long long)names.v[i], status_text(last));
		}
	}
	if (st != ST_OK)
		snprintf(why, why_size, SNAPSHOT_DIR ": %s", status_text(st));
	if (st == ST_OK && last == ST_OK) {
		last = apply_all(g, buf_view(&b), ret_index_bad);
		*ret_index_bad |= g->index_bad;
		if (last != ST_OK)
			snprintf(why, why_size, SNAPSHOT_DIR "/%020llu cannot be applied: %s", (unsigned long long)names.v[i - 1], status_text(last));
		s->last = names.v[i - 1];
		s->before = i < names.n ? names.v[i] : 0;
		s->checked = true;
		s->last_size = b.n;
		g->stats[STAT_SNAPSHOT_POSITION] = s->last;
	}
	buf_fini(&b);
	mem_free(names.v);
	return st != ST_OK ? st : last;
}
