/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The key index: see kindex.h. What covers the positions of the log, from old to new:
 *
 *   sealed segments: runs (and gaps)  |  open segment: runs (and gaps) up to mem_from, from there on the keys in memory
 *
 * A sealed segment's last run ends where the segment ends, so that "not covered" always means "not known". A lookup goes down
 * through positions and remembers nothing but the position that it has reached; therefore runs, segments and memory may change in
 * any way between its steps.
 */
#include "engine/kindex.h"

#include "base/mem.h"
#include "base/obj.h"
#include "engine/krun.h"

#define KI_MAGIC 0x4b494458u
#define MEM_FIRST_CAP 256u
#define RETRY_KEYS 1024u        /* after a failed write so many more keys are gathered before the next try */

struct kindex {
	uint32_t magic;
	struct kr_env env;
	struct list segments;     /* struct kr_segment, most recently used first */
	unsigned n_segments;
	struct kr_segment *cur;   /* the open one; NULL before ki_load */
	bool live;                /* recovery is over: whoever adds below mem_from has missed a flush */
	uint64_t first;           /* segments below are dropped */
	uint64_t mem_from;        /* memory has all keys of the records from here on */
	uint64_t last;            /* position added last; below mem_from when nothing was */
	uint64_t *mem;            /* hash << 32 | position in the open segment; positions ascend */
	uint64_t *sort;           /* room for twice 'cap' to sort in: 'mem' stays as it is until its run is written */
	size_t n, cap;
	size_t write_at;          /* a run is tried when so many are gathered */
	struct disk_op sync_op;   /* one file of a ki_sync */
	struct disk_op *sync_asker; /* NULL: none under way */
	struct kr_segment *sync_segment;
};

uint32_t ki_hash(struct slice topic, struct slice key)
{
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < topic.n; i++)
		h = (h ^ topic.p[i]) * 16777619u;
	h = (h ^ '#') * 16777619u;
	for (size_t i = 0; i < key.n; i++)
		h = (h ^ key.p[i]) * 16777619u;
	h = (h ^ (h >> 16)) * 0x85ebca6bu;
	h = (h ^ (h >> 13)) * 0xc2b2ae35u;
	return h ^ (h >> 16);
}

/* ---- Segments ------------------------------------------------------------------------------------------------------------ */

static uint64_t start_of(const struct kindex *ki, uint64_t position) { return position - position % ki->env.segment_bytes; }
static uint64_t end_of(const struct kindex *ki, const struct kr_segment *s) { return s->start + ki->env.segment_bytes; }
/* Below this a segment's records must be in its runs. */
static uint64_t upper_of(const struct kindex *ki, const struct kr_segment *s) { return s == ki->cur ? ki->mem_from : end_of(ki, s); }

static void look_for_gap(struct kindex *ki, struct kr_segment *s)
{
	uint64_t from, to;
	s->gap = kr_last_gap(s, upper_of(ki, s), &from, &to);
}

static void drop_known(struct kindex *ki, struct kr_segment *s)
{
	list_remove(&s->link);
	ki->n_segments--;
	if (s->syncing)
		s->dropped = true;
	else
		kr_close(s);
}

static void evict(struct kindex *ki)
{
	struct list *at = ki->segments.prev;
	while (ki->n_segments > KI_SEGMENTS_MAX && at != &ki->segments) {
		struct kr_segment *s = container_of(at, struct kr_segment, link);
		at = at->prev;
		/* What of it is not synced yet may be lost in a crash, and is a gap then. */
		if (s != ki->cur && !s->syncing)
			drop_known(ki, s);
	}
}

static struct kr_segment *find_known(struct kindex *ki, uint64_t start)
{
	LIST_EACH(&ki->segments, l) {
		struct kr_segment *s = container_of(l, struct kr_segment, link);
		if (s->start == start)
			return s;
	}
	return NULL;
}

static struct kr_segment *know(struct kindex *ki, uint64_t start, bool check)
{
	struct kr_segment *s = kr_open(&ki->env, start, check);
	list_push_front(&ki->segments, &s->link);
	ki->n_segments++;
	return s;
}

static struct kr_segment *segment_get(struct kindex *ki, uint64_t start)
{
	struct kr_segment *s = find_known(ki, start);
	if (s != NULL) {
		list_remove(&s->link);
		list_push_front(&ki->segments, &s->link);
		return s;
	}
	s = know(ki, start, false);
	evict(ki);
	look_for_gap(ki, s);
	return s;
}

/* Makes the segment at 'start' the open one; records from 'from' on will be added. */
static void enter(struct kindex *ki, uint64_t start, uint64_t from)
{
	struct kr_segment *s = find_known(ki, start);
	if (s != NULL)
		drop_known(ki, s);
	s = know(ki, start, true);
	ki->cur = s;
	ki->mem_from = u64_max(kr_covered(s), from);
	ki->last = 0;
	ki->n = 0;
	ki->write_at = KI_RUN_KEYS;
	evict(ki);
	look_for_gap(ki, s);
}

/* ---- Life ------------------------------------------------------------------------------------------------------------------ */

static void sync_done(struct disk_op *op, enum status st);

enum status ki_open(struct kindex **ret, struct disk *disk, struct log *log, uint64_t segment_bytes)
{
	if (segment_bytes == 0 || segment_bytes > KI_SEGMENT_BYTES_MAX)
		return ST_BAD_ARG;
	struct kindex *ki = mem_new(sizeof *ki);
	ki->magic = KI_MAGIC;
	ki->env = (struct kr_env){.disk = disk, .log = log, .segment_bytes = segment_bytes};
	list_init(&ki->segments);
	ki->sync_op.done = sync_done;
	*ret = ki;
	return ST_OK;
}

void ki_close(struct kindex *ki)
{
	CHECK_OBJ(ki, KI_MAGIC);
	if (ki->sync_segment != NULL && ki->sync_segment->dropped) {
		ki->sync_segment->syncing = false;
		kr_close(ki->sync_segment);
	}
	for (struct list *l; (l = list_pop(&ki->segments)) != NULL;)
		kr_close(container_of(l, struct kr_segment, link));
	mem_free(ki->mem);
	mem_free(ki->sort);
	mem_free(ki->env.scratch);
	ki->magic = 0;
	mem_free(ki);
}

void ki_load(struct kindex *ki, uint64_t replay_from)
{
	CHECK_OBJ(ki, KI_MAGIC);
	CHECK(ki->cur == NULL);
	enter(ki, start_of(ki, replay_from), replay_from);
}

uint64_t ki_covered(const struct kindex *ki)
{
	CHECK_OBJ(ki, KI_MAGIC);
	CHECK(ki->cur != NULL);
	return ki->mem_from;
}

/* ---- Gathering -------------------------------------------------------------------------------------------------------------- */

static void grow_mem(struct kindex *ki)
{
	ki->cap = ki->cap == 0 ? MEM_FIRST_CAP : ki->cap * 2;
	ki->mem = mem_grow(ki->mem, ki->cap * sizeof ki->mem[0]);
	ki->sort = mem_grow(ki->sort, 2 * ki->cap * sizeof ki->sort[0]);
}

/* What is gathered is forgotten; it is a gap up to 'to'. */
static void give_up(struct kindex *ki, uint64_t to)
{
	log_warn(ki->env.log, "kindex", "keys not written segment=%llu from=%llu to=%llu: left for repair",
		(unsigned long long)ki->cur->start, (unsigned long long)ki->mem_from, (unsigned long long)to);
	ki->n = 0;
	ki->mem_from = to;
	ki->write_at = KI_RUN_KEYS;
	ki->cur->gap = true;
}

/* All records below 'to' were added: makes a run of what is gathered. */
static bool write_run(struct kindex *ki, uint64_t to)
{
	CHECK(ki->n == 0 || ki->last < to);
	uint64_t *keys = NULL;
	if (ki->n > 0) {
		memcpy(ki->sort, ki->mem, ki->n * sizeof ki->mem[0]);
		keys = kr_sort(ki->sort, ki->sort + ki->cap, ki->n);
	}
	if (kr_append(&ki->env, ki->cur, ki->mem_from, to, keys, ki->n) != ST_OK) {
		ki->write_at = u64_min(ki->n + RETRY_KEYS, KI_RUN_MAX);
		return false;
	}
	ki->n = 0;
	ki->mem_from = to;
	ki->write_at = KI_RUN_KEYS;
	return true;
}

/* Seals segments until the one at 'start' is the open one. */
static void advance(struct kindex *ki, uint64_t start)
{
	CHECK(start >= ki->cur->start && start % ki->env.segment_bytes == 0);
	while (ki->cur->start < start) {
		uint64_t end = end_of(ki, ki->cur);
		if (ki->mem_from < end && !write_run(ki, end))
			give_up(ki, end);
		enter(ki, end, end);
	}
}

void ki_add(struct kindex *ki, uint64_t position, uint32_t hash)
{
	CHECK_OBJ(ki, KI_MAGIC);
	CHECK(ki->cur != NULL);
	if (position < ki->mem_from) {
		/* Only more keys of the record that was given up half-way. */
		CHECK(!ki->live || position == ki->mem_from - 1);
		return;
	}
	if (position - ki->cur->start >= ki->env.segment_bytes) {
		advance(ki, start_of(ki, position));
		if (position < ki->mem_from)
			return;
	}
	CHECK(position >= ki->last);
	if (position > ki->last && ki->n >= ki->write_at && !write_run(ki, position) && ki->n >= KI_RUN_MAX)
		give_up(ki, position);
	if (ki->n >= KI_RUN_MAX) {
		/* Held back too much, in the middle of a record's keys: its other keys are below mem_from then. */
		give_up(ki, position + 1);
		return;
	}
	if (ki->n == ki->cap)
		grow_mem(ki);
	ki->mem[ki->n++] = (uint64_t)hash << 32 | (position - ki->cur->start);
	ki->last = position;
}

void ki_flush(struct kindex *ki, uint64_t position)
{
	CHECK_OBJ(ki, KI_MAGIC);
	CHECK(ki->cur != NULL);
	if (position >= end_of(ki, ki->cur))
		advance(ki, start_of(ki, position));
	/* Without keys too: else the next start would take a span without any for a gap. */
	if (position > ki->mem_from)
		write_run(ki, position);
}

/* ---- Recovery and dropping ------------------------------------------------------------------------------------------------------ */

struct stray {
	struct kindex *ki;
	uint64_t log_first, log_end;
	uint64_t *v;              /* starts of the files to be removed */
	size_t n, cap;
};

static void each_file(void *arg, const char *name)
{
	struct stray *w = arg;
	uint64_t start;
	uint64_t bytes = w->ki->env.segment_bytes;
	if (strlen(name) != KR_NAME_DIGITS || !slice_u64(slice_str(name), &start))
		return;
	if (start % bytes == 0 && start < w->log_end && (start >= w->log_first || w->log_first - start < bytes))
		return;
	if (w->n == w->cap) {
		w->cap = w->cap == 0 ? 16 : w->cap * 2;
		w->v = mem_grow(w->v, w->cap * sizeof w->v[0]);
	}
	w->v[w->n++] = start;
}

static bool remove_strays(struct kindex *ki, uint64_t log_first, uint64_t log_end, enum status *ret)
{
	struct stray w = {.ki = ki, .log_first = log_first, .log_end = log_end};
	*ret = ki->env.disk->ops->list(ki->env.disk, KI_DIR, each_file, &w);
	for (size_t i = 0; i < w.n; i++) {
		struct kr_segment *s = find_known(ki, w.v[i]);
		if (s == NULL)
			s = know(ki, w.v[i], false);
		enum status st = kr_remove(&ki->env, s);
		*ret = st != ST_OK ? st : *ret;
		if (s != ki->cur)
			drop_known(ki, s);
		log_info(ki->env.log, "kindex", "removed segment=%llu: outside the log", (unsigned long long)w.v[i]);
	}
	mem_free(w.v);
	return w.n > 0;
}

enum status ki_recovered(struct kindex *ki, uint64_t log_first, uint64_t log_end)
{
	CHECK_OBJ(ki, KI_MAGIC);
	CHECK(ki->cur != NULL && ki->sync_asker == NULL);
	CHECK(log_end >= ki->cur->start && (ki->n == 0 || ki->last < log_end));
	enum status st;
	if (log_end >= end_of(ki, ki->cur))
		advance(ki, start_of(ki, log_end));
	bool removed = remove_strays(ki, log_first, log_end, &st);
	if (kr_covered(ki->cur) > log_end) {
		log_warn(ki->env.log, "kindex", "segment=%llu covers to=%llu but the log ends at=%llu: left for repair",
			(unsigned long long)ki->cur->start, (unsigned long long)kr_covered(ki->cur), (unsigned long long)log_end);
		enum status gone = kr_remove(&ki->env, ki->cur);
		st = gone != ST_OK ? gone : st;
		removed = true;
	}
	/* A removal that a crash undid would bring back runs that know nothing of the records written meanwhile. */
	if (st == ST_OK && removed)
		st = ki->env.disk->ops->sync_dir(ki->env.disk, KI_DIR);
	ki->mem_from = u64_min(ki->mem_from, log_end);
	ki->first = start_of(ki, log_first);
	ki->live = true;
	look_for_gap(ki, ki->cur);
	return st;
}

void ki_drop_segment(struct kindex *ki, uint64_t segment_start)
{
	CHECK_OBJ(ki, KI_MAGIC);
	CHECK(ki->cur != NULL && segment_start < ki->cur->start && segment_start % ki->env.segment_bytes == 0);
	struct kr_segment *s = find_known(ki, segment_start);
	if (s != NULL)
		drop_known(ki, s);
	/* A file that stays goes with the next ki_recovered. */
	kr_unlink(&ki->env, segment_start);
	ki->first = u64_max(ki->first, segment_start + ki->env.segment_bytes);
}

/* ---- Sync ------------------------------------------------------------------------------------------------------------------------- */

static void synced(struct kindex *ki, enum status st)
{
	struct kr_segment *s = ki->sync_segment;
	ki->sync_segment = NULL;
	s->syncing = s->sync_due = false;
	if (s->dropped) {
		kr_close(s);
		return;
	}
	if (st == ST_OK)
		return;
	/* What the failed sync has lost will still be read from the page cache for a while: nothing of the file can be trusted. */
	log_warn(ki->env.log, "kindex", "sync failed segment=%llu status=%s: left for repair", (unsigned long long)s->start,
		status_name(st));
	kr_remove(&ki->env, s);
	look_for_gap(ki, s);
}

/* Syncs file after file. True: there is none left, or one failed; *ret is the outcome. */
static bool sync_files(struct kindex *ki, enum status *ret)
{
	struct list *l = ki->segments.next;
	*ret = ST_OK;
	while (l != &ki->segments && *ret == ST_OK) {
		struct kr_segment *s = container_of(l, struct kr_segment, link);
		l = l->next;
		if (!s->sync_due)
			continue;
		s->dirty = false;
		s->syncing = true;
		ki->sync_segment = s;
		if (!s->file->ops->sync(s->file, false, &ki->sync_op, ret))
			return false;
		synced(ki, *ret);
	}
	return true;
}

static void sync_done(struct disk_op *op, enum status st)
{
	struct kindex *ki = container_of(op, struct kindex, sync_op);
	CHECK_OBJ(ki, KI_MAGIC);
	CHECK(ki->sync_asker != NULL && ki->sync_segment != NULL);
	synced(ki, st);
	if (st == ST_OK && !sync_files(ki, &st))
		return;
	struct disk_op *asker = ki->sync_asker;
	ki->sync_asker = NULL;
	asker->done(asker, st);
}

bool ki_sync(struct kindex *ki, struct disk_op *op, enum status *ret_now)
{
	CHECK_OBJ(ki, KI_MAGIC);
	CHECK(ki->sync_asker == NULL);
	if (ki->env.dir_dirty) {
		*ret_now = ki->env.disk->ops->sync_dir(ki->env.disk, KI_DIR);
		if (*ret_now != ST_OK)
			return true;
		ki->env.dir_dirty = false;
	}
	LIST_EACH(&ki->segments, l) {
		struct kr_segment *s = container_of(l, struct kr_segment, link);
		s->sync_due = s->dirty && s->file != NULL;
	}
	ki->sync_asker = op;
	if (!sync_files(ki, ret_now))
		return false;
	ki->sync_asker = NULL;
	return true;
}

/* ---- Lookup ------------------------------------------------------------------------------------------------------------------------ */

void ki_find_begin(struct ki_cursor *c, uint32_t hash, uint64_t oldest, uint64_t newest)
{
	*c = (struct ki_cursor){.hash = hash, .below = newest, .oldest = oldest, .gap_from = newest};
}

void ki_find_skip(struct ki_cursor *c)
{
	CHECK(c->gap_from <= c->below);
	c->below = c->gap_from;
}

static bool find_in_memory(const struct kindex *ki, struct ki_cursor *c)
{
	for (size_t i = ki->n; i > 0; i--) {
		uint64_t position = ki->cur->start + (uint32_t)ki->mem[i - 1];
		if (ki->mem[i - 1] >> 32 == c->hash && position < c->below) {
			c->below = position;
			return true;
		}
	}
	c->below = ki->mem_from;
	return false;
}

/* Looks at the run just below c->below. OK: c->below is the candidate. NOT_FOUND: c->below is the run's begin. CORRUPT: a gap. */
static enum status find_in_run(struct kindex *ki, struct ki_cursor *c)
{
	struct kr_segment *s = segment_get(ki, start_of(ki, c->below - 1));
	int64_t i = kr_covering(s, c->below - 1, &c->gap_from);
	if (i < 0) {
		s->gap = true;
		return ST_CORRUPT;
	}
	uint64_t from = s->start + s->runs[i].from, position;
	enum status st = kr_search(&ki->env, s, (uint32_t)i, c->hash, c->below - 1, &position);
	if (st == ST_CORRUPT)
		c->gap_from = from;
	else
		c->below = st == ST_OK ? position : from;
	return st;
}

enum status ki_find_next(struct kindex *ki, struct ki_cursor *c, unsigned *budget, uint64_t *ret_position)
{
	CHECK_OBJ(ki, KI_MAGIC);
	CHECK(ki->cur != NULL);
	uint64_t floor = u64_max(c->oldest, ki->first);
	while (c->below > floor) {
		enum status st;
		if (c->below > ki->mem_from) {
			st = find_in_memory(ki, c) ? ST_OK : ST_NOT_FOUND;
		} else {
			if (*budget == 0)
				return ST_BUSY;
			--*budget;
			st = find_in_run(ki, c);
		}
		if (st == ST_CORRUPT)
			return st;
		if (st == ST_OK && c->below >= floor) {
			*ret_position = c->below;
			return ST_OK;
		}
	}
	return ST_NOT_FOUND;
}

/* ---- Repair -------------------------------------------------------------------------------------------------------------------------- */

bool ki_damaged(struct kindex *ki, uint64_t *ret_segment, uint64_t *ret_from, uint64_t *ret_to)
{
	CHECK_OBJ(ki, KI_MAGIC);
	bool found = false;
	LIST_EACH(&ki->segments, l) {
		struct kr_segment *s = container_of(l, struct kr_segment, link);
		uint64_t from, to;
		if (!s->gap || s->start < ki->first || (found && s->start < *ret_segment))
			continue;
		if (!kr_last_gap(s, upper_of(ki, s), &from, &to)) {
			s->gap = false;
			continue;
		}
		found = true;
		*ret_segment = s->start;
		*ret_from = from;
		*ret_to = to;
	}
	return found;
}

enum status ki_rebuild_run(struct kindex *ki, uint64_t segment_start, uint64_t from, uint64_t to, const struct ki_key *v, size_t n)
{
	CHECK_OBJ(ki, KI_MAGIC);
	CHECK(ki->cur != NULL && segment_start % ki->env.segment_bytes == 0 && n <= KI_RUN_MAX);
	if (segment_start < ki->first)
		return ST_OK;
	struct kr_segment *s = segment_get(ki, segment_start);
	CHECK(from >= segment_start && from < to && to <= upper_of(ki, s));
	uint64_t *keys = mem_array(n + 1, sizeof *keys), *tmp = mem_array(n + 1, sizeof *tmp);
	for (size_t i = 0; i < n; i++) {
		CHECK(v[i].position >= from && v[i].position < to && (i == 0 || v[i].position >= v[i - 1].position));
		keys[i] = (uint64_t)v[i].hash << 32 | (v[i].position - segment_start);
	}
	enum status st = kr_append(&ki->env, s, from, to, kr_sort(keys, tmp, n), n);
	mem_free(keys);
	mem_free(tmp);
	return st;
}

void ki_stats(const struct kindex *ki, struct ki_stats *ret)
{
	CHECK_OBJ(ki, KI_MAGIC);
	*ret = (struct ki_stats){.gathered = ki->n, .segments = ki->n_segments, .write_errors = ki->env.write_errors,
		.damaged = ki->env.damaged, .last_error = ki->env.last_error};
	LIST_EACH(&ki->segments, l)
		ret->runs += container_of(l, struct kr_segment, link)->n;
}
