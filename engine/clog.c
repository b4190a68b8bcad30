/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The commit log: segments, the tail, and the marks. The invariants stand in clog.h. */
#include "engine/clog.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/obj.h"
#include "record/record.h"

void clog_path(char to[40], uint64_t start)
{
	snprintf(to, 40, CLOG_DIR "/%020llu", (unsigned long long)start);
}

void clog_init(struct clog *c, struct disk *disk, struct clock *clock, struct log *log, const struct clog_conf *conf)
{
	CHECK(conf->segment_bytes % conf->block_bytes == 0 && conf->block_bytes >= 4096);
	*c = (struct clog){.disk = disk, .clock = clock, .log = log, .conf = *conf};
	list_init(&c->lru);
	list_init(&c->limbo);
	list_init(&c->line);
}

bool clog_idle(const struct clog *c)
{
	if (c->syncing)
		return false;
	for (size_t i = 0; i < c->n_segs; i++)
		if (c->segs[i]->zeroing || c->segs[i]->readers > 0)
			return false;
	return true;
}

void clog_fini(struct clog *c)
{
	size_t at = 0;
	struct u64map_slot *slot;
	while ((slot = u64map_each(&c->blocks, &at)) != NULL) {
		struct clog_block *b = slot->value;
		b->log = NULL;
		b->loading = false;
		blob_drop(&b->blob);
	}
	u64map_fini(&c->blocks);
	clog_blocks_release(c);
	for (size_t i = 0; i < c->n_segs; i++) {
		c->segs[i]->file->ops->close(c->segs[i]->file);
		mem_free(c->segs[i]);
	}
	mem_free(c->segs);
	mem_free(c->spill);
	for (unsigned i = 0; i < c->n_spares; i++)
		mem_free(c->spares[i]);
}

struct segment *clog_segment(const struct clog *c, uint64_t position)
{
	if (c->n_segs == 0 || position < c->segs[0]->start)
		return NULL;
	uint64_t i = (position - c->segs[0]->start) / c->conf.segment_bytes;
	return i < c->n_segs ? c->segs[i] : NULL;
}

static struct segment *segment_push(struct clog *c, uint64_t start, struct disk_file *file)
{
	if (c->n_segs == c->cap_segs) {
		c->cap_segs = c->cap_segs == 0 ? 8 : c->cap_segs * 2;
		c->segs = mem_grow(c->segs, c->cap_segs * sizeof *c->segs);
	}
	struct segment *s = mem_new(sizeof *s);
	s->start = start;
	s->file = file;
	s->filled = start;
	s->log = c;
	s->data_end = start + c->conf.segment_bytes;
	c->segs[c->n_segs++] = s;
	return s;
}

/* ---- Opening ---------------------------------------------------------------------------------------------------------------- */

struct scan {
	uint64_t *starts;
	size_t n, cap;
	struct clog *log;
	bool odd;
	char odd_name[64];
};

static void scan_name(void *arg, const char *name)
{
	struct scan *sc = arg;
	uint64_t start;
	if (strncmp(name, "spare-", 6) == 0) {
		if (sc->log->n_spares < ARRAY_LEN(sc->log->spares))
			sc->log->spares[sc->log->n_spares++] = slice_dup(slice_str(name));
		return;
	}
	if (strlen(name) != 20 || !slice_u64(slice_str(name), &start)) {
		sc->odd = true;
		snprintf(sc->odd_name, sizeof sc->odd_name, "%s", name);
		return;
	}
	if (sc->n == sc->cap) {
		sc->cap = sc->cap == 0 ? 16 : sc->cap * 2;
		sc->starts = mem_grow(sc->starts, sc->cap * sizeof *sc->starts);
	}
	size_t i = sc->n++;
	for (; i > 0 && sc->starts[i - 1] > start; i--)
		sc->starts[i] = sc->starts[i - 1];
	sc->starts[i] = start;
}

static enum status scan_open(struct clog *c, uint64_t start, bool last, char *why, size_t why_size)
{
	char path[40];
	clog_path(path, start);
	if (c->n_segs > 0 && start != c->segs[c->n_segs - 1]->start + c->conf.segment_bytes) {
		snprintf(why, why_size, "%s does not follow the segment before it (segment size %llu)", path,
			(unsigned long long)c->conf.segment_bytes);
		return ST_CORRUPT;
	}
	struct disk_file *f = NULL;
	uint64_t size;
	enum status st = c->disk->ops->open(c->disk, path, DISK_WRITE, &f, &size);
	if (st == ST_OK && size != c->conf.segment_bytes && last && size == 0)
		st = f->ops->truncate(f, size = c->conf.segment_bytes); /* made, but the crash came before its length */
	if (st != ST_OK) {
		snprintf(why, why_size, "%s: %s", path, status_text(st));
		if (f != NULL)
			f->ops->close(f);
		return st;
	}
	segment_push(c, start, f);
	if (size != c->conf.segment_bytes) {
		snprintf(why, why_size, "%s has %llu bytes, segments have %llu", path, (unsigned long long)size,
			(unsigned long long)c->conf.segment_bytes);
		return ST_CORRUPT;
	}
	return ST_OK;
}

enum status clog_scan(struct clog *c, char *why, size_t why_size)
{
	struct scan sc = {.log = c};
	enum status st = c->disk->ops->list(c->disk, CLOG_DIR, scan_name, &sc);
	if (st != ST_OK)
		snprintf(why, why_size, CLOG_DIR ": %s", status_text(st));
	if (st == ST_OK && sc.odd) {
		snprintf(why, why_size, CLOG_DIR "/%s is not a log segment", sc.odd_name);
		st = ST_CORRUPT;
	}
	for (size_t i = 0; i < sc.n && st == ST_OK; i++)
		st = scan_open(c, sc.starts[i], i + 1 == sc.n, why, why_size);
	mem_free(sc.starts);
	if (st == ST_OK && c->n_segs > 0)
		c->min = c->segs[0]->start;
	return st;
}

enum status clog_add_segment(struct clog *c, uint64_t start)
{
	char path[40], spare[64];
	struct disk_file *f;
	uint64_t size;
	clog_path(path, start);
	if (c->n_spares > 0) {
		snprintf(spare, sizeof spare, CLOG_DIR "/%s", c->spares[c->n_spares - 1]);
		enum status st = c->disk->ops->rename(c->disk, spare, path);
		mem_free(c->spares[--c->n_spares]);
		if (st != ST_OK)
			return st;
		c->recycled++;
	}
	enum status st = c->disk->ops->open(c->disk, path, DISK_CREATE, &f, &size);
	if (st != ST_OK)
		return st;
	if (size != c->conf.segment_bytes)
		st = f->ops->truncate(f, c->conf.segment_bytes);
	if (st == ST_OK)
		st = f->ops->sync_now(f); /* its length is durable before anything may follow in another segment */
	if (st == ST_OK)
		st = c->disk->ops->sync_dir(c->disk, CLOG_DIR);
	if (st != ST_OK) {
		f->ops->close(f);
		return st;
	}
	segment_push(c, start, f)->fresh = size == 0;
	log_trace(c->log, "clog", "segment at=%llu", (unsigned long long)start);
	return ST_OK;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Zeroes what is not zero in [from, to) of a segment. */
static enum status wipe(struct segment *s, uint64_t from, uint64_t to, bool *ret_dirty)
{
	enum { STEP = 1 << 20 };
	static const uint8_t zeros[4096];
	uint8_t *buf = mem_grow(NULL, STEP);
	enum status st = ST_OK;
	for (uint64_t p = from; p < to && st == ST_OK;) {
		size_t n = (size_t)u64_min(STEP, to - p), got = 0;
		st = s->file->ops->read_at(s->file, p - s->start, buf, n, false, &got);
		if (st == ST_OK && got < n)
			st = ST_CORRUPT;
		for (size_t i = 0; st == ST_OK && i < n; i += sizeof zeros) {
			size_t k = u64_min(sizeof zeros, n - i);
			if (all_zero(buf + i, k))
				continue;
			struct slice v = slice_of(zeros, k);
			*ret_dirty = true;
			st = s->file->ops->write_at(s->file, p + i - s->start, &v, 1);
		}
		p += n;
	}
	mem_free(buf);
	return st;
}

/*
 * Writes [from, to) again as it is read. After a sync that failed, or a kill, what was read may stand in the page cache only, and the kernel may
 * take it for clean: only bytes that are written anew are sure to be synced.
 */
static enum status rewrite(struct segment *s, uint64_t from, uint64_t to)
{
	enum { STEP = 1 << 20 };
	uint8_t *buf = mem_grow(NULL, STEP);
	enum status st = ST_OK;
	for (uint64_t p = from; p < to && st == ST_OK;) {
		size_t n = (size_t)u64_min(STEP, to - p), got = 0;
		st = s->file->ops->read_at(s->file, p - s->start, buf, n, false, &got);
		if (st == ST_OK && got < n)
			st = ST_CORRUPT;
		struct slice v = slice_of(buf, n);
		if (st == ST_OK)
			st = s->file->ops->write_at(s->file, p - s->start, &v, 1);
		p += n;
	}
	mem_free(buf);
	return st;
}

/* A little space behind the end at once, so that the first records need not wait for a worker. */
static enum status first_space(struct clog *c, struct segment *s)
{
	struct slice v = slice_of(NULL, (size_t)u64_min(CLOG_FIRST_SPACE, segment_end(c, s) - s->filled));
	if (v.n == 0)
		return ST_OK;
	uint8_t *zeros = mem_new(v.n);
	v.p = zeros;
	enum status st = s->file->ops->write_at(s->file, s->filled - s->start, &v, 1);
	mem_free(zeros);
	if (st == ST_OK)
		s->filled += v.n;
	return st == ST_DISK_FULL ? ST_OK : st; /* full: the store opens all the same, for readers */
}

enum status clog_set_end(struct clog *c, uint64_t end, uint64_t sure)
{
	enum status st = ST_OK;
	for (size_t i = 0; i < c->n_segs && st == ST_OK; i++) {
		struct segment *s = c->segs[i];
		uint64_t from = u64_max(end, s->start), to = u64_min(segment_end(c, s), end + c->conf.unsynced_bytes + c->conf.block_bytes);
		uint64_t again = u64_max(sure, s->start), again_to = u64_min(end, segment_end(c, s));
		bool dirty = again < again_to;
		if (dirty)
			st = rewrite(s, again, again_to);
		if (from < to && st == ST_OK && !s->fresh)
			st = wipe(s, from, to, &dirty);
		if (st == ST_OK && dirty)
			st = s->file->ops->sync_now(s->file);
		if (from >= segment_end(c, s))
			continue;
		s->filled = u64_min(segment_end(c, s), (from + 4095) & ~UINT64_C(4095));
	}
	if (st != ST_OK)
		return st;
	c->tail = c->written = c->durable = end;
	struct segment *s = clog_segment(c, end);
	if (s != NULL && (st = first_space(c, s)) != ST_OK)
		return st;
	uint64_t start = end - end % c->conf.block_bytes;
	if (s != NULL && end > start) {
		size_t got = 0;
		c->tail_block = clog_block_new(c, start);
		c->tail_block->cold = true;
		c->tail_block->valid = (uint32_t)(end - start);
		st = s->file->ops->read_at(s->file, start - s->start, c->tail_block->blob.p, c->tail_block->valid, false, &got);
		if (st == ST_OK && got < c->tail_block->valid)
			st = ST_CORRUPT;
	}
	return st;
}

/* ---- Space ahead ------------------------------------------------------------------------------------------------------------------ */

static void set_full(struct clog *c, enum status st)
{
	if (!c->full)
		log_warn(c->log, "clog", "event=space-short reason=\"%s\" sends are refused until there is space", status_text(st));
	c->full = true;
	c->full_retry_ns = c->now_ns + CLOG_FULL_RETRY_NS;
}

static void set_space(struct clog *c)
{
	if (c->full)
		log_info(c->log, "clog", "event=space-back");
	c->full = false;
}

static void zero_done(struct disk_op *op, enum status st)
{
	struct segment *s = container_of(op, struct segment, zero_op);
	s->zeroing = false;
	if (st == ST_OK) {
		s->filled = s->zero_to;
		set_space(s->log);
	} else {
		set_full(s->log, st);
	}
}

static uint64_t prepared_most(const struct clog *c)
{
	return c->conf.ahead_bytes + c->conf.record_max;
}

/* How much prepared space lies ahead of the tail; the segment that needs more next goes to *ret. */
static uint64_t lead(const struct clog *c, struct segment **ret)
{
	uint64_t sum = 0;
	*ret = NULL;
	for (size_t i = c->n_segs == 0 ? 0 : (size_t)((c->tail - c->segs[0]->start) / c->conf.segment_bytes); i < c->n_segs; i++) {
		struct segment *s = c->segs[i];
		sum += s->filled - u64_min(s->filled, u64_max(c->tail, s->start));
		if (s->filled < segment_end(c, s)) {
			*ret = s;
			break;
		}
	}
	return sum;
}

uint64_t clog_turn(struct clog *c, uint64_t now_ns)
{
	struct segment *s;
	c->now_ns = now_ns;
	clog_blocks_release(c);
	clog_blocks_admit(c);
	if (c->poisoned)
		return NEVER;
	if (c->full && now_ns < c->full_retry_ns)
		return c->full_retry_ns;
	uint64_t ahead = lead(c, &s);
	if (ahead >= prepared_most(c))
		return NEVER;
	if (s == NULL) {
		enum status st = clog_add_segment(c, c->n_segs == 0 ? c->tail : segment_end(c, c->segs[c->n_segs - 1]));
		if (st != ST_OK) {
			set_full(c, st);
			return c->full_retry_ns;
		}
		s = c->segs[c->n_segs - 1];
	}
	if (!s->zeroing) {
		s->zeroing = true;
		s->zero_op.done = zero_done;
		/* The first step of a segment is short, so that an empty store takes messages at once. */
		uint64_t step = s->filled == s->start ? CLOG_ZERO_STEP / 8 : CLOG_ZERO_STEP;
		s->zero_to = u64_min(segment_end(c, s), s->filled + step);
		/* When it becomes short, sends will soon wait for nothing else: then there is nobody to leave the disk to. */
		s->file->ops->zero(s->file, s->filled - s->start, s->zero_to - s->start, ahead >= prepared_most(c) / 2, &s->zero_op);
	}
	return NEVER;
}

/* ---- Appending ------------------------------------------------------------------------------------------------------------------------ */

/* Puts the blank record at the tail and moves the tail to the next segment. */
static void roll(struct clog *c, struct segment *s)
{
	uint32_t rest = (uint32_t)u64_min(segment_end(c, s) - c->tail, UINT32_MAX);
	uint8_t *p = clog_reserve(c, RECORD_BLANK_SIZE);
	record_blank(p, rest);
	clog_commit(c, RECORD_BLANK_SIZE);
	s->data_end = c->tail;
	c->tail = segment_end(c, s);
	if (c->tail_block != NULL) {
		clog_block_settle(c, c->tail_block);
		c->tail_block = NULL;
	}
	log_trace(c->log, "clog", "roll to=%llu", (unsigned long long)c->tail);
}

/* Bytes of records that are not synced; what a roll skipped is none. */
static uint64_t unsynced(const struct clog *c)
{
	uint64_t sum = 0;
	for (uint64_t at = c->durable; at < c->tail;) {
		const struct segment *s = clog_segment(c, at);
		uint64_t end = u64_min(c->tail, s->data_end);
		sum += end > at ? end - at : 0;
		at = segment_end(c, s);
	}
	return sum;
}

enum status clog_spare(const struct clog *c, uint32_t size, uint32_t spare)
{
	struct segment *s;
	uint64_t end = clog_segment(c, c->tail) == NULL ? c->tail : segment_end(c, clog_segment(c, c->tail));
	uint64_t skip = c->tail + size + RECORD_BLANK_SIZE > end ? end - c->tail : 0; /* it will not fit here: the rest is no room */
	uint64_t waiting = unsynced(c);
	if (waiting > 0 && waiting + size > c->conf.unsynced_bytes - c->conf.unsynced_bytes / 8)
		return ST_BUSY;
	/* More than is ever prepared must not be waited for. */
	if (lead(c, &s) >= u64_min(skip + size + spare, prepared_most(c)))
		return ST_OK;
	return c->full ? ST_DISK_FULL : ST_BUSY;
}

enum status clog_room(struct clog *c, uint32_t size, uint64_t *ret)
{
	if (c->poisoned)
		return ST_IO;
	if (size + RECORD_BLANK_SIZE > c->conf.segment_bytes)
		return ST_TOO_BIG;
	if (unsynced(c) > 0 && unsynced(c) + size > c->conf.unsynced_bytes)
		return ST_BUSY;
	struct segment *s = clog_segment(c, c->tail);
	if (s == NULL)
		return c->full ? ST_DISK_FULL : ST_BUSY;
	if (c->tail + size + RECORD_BLANK_SIZE > segment_end(c, s)) {
		struct segment *next = clog_segment(c, segment_end(c, s));
		if (s->filled < segment_end(c, s) || next == NULL || next->filled < next->start + size + RECORD_BLANK_SIZE)
			return c->full ? ST_DISK_FULL : ST_BUSY;
		roll(c, s);
		s = next;
	}
	if (s->filled < c->tail + size + RECORD_BLANK_SIZE)
		return c->full ? ST_DISK_FULL : ST_BUSY;
	*ret = c->tail;
	return ST_OK;
}

static struct clog_block *tail_block(struct clog *c)
{
	if (c->tail_block != NULL && c->tail_block->valid == c->conf.block_bytes) {
		clog_block_settle(c, c->tail_block);
		c->tail_block = NULL;
	}
	if (c->tail_block == NULL) {
		c->tail_block = clog_block_new(c, c->tail - c->tail % c->conf.block_bytes);
		CHECK(c->tail % c->conf.block_bytes == 0);
	}
	return c->tail_block;
}

uint8_t *clog_reserve(struct clog *c, uint32_t size)
{
	struct clog_block *b = tail_block(c);
	if (b->valid + size <= c->conf.block_bytes)
		return b->blob.p + b->valid;
	if (c->spill_cap < size) {
		c->spill = mem_grow(c->spill, size);
		c->spill_cap = size;
	}
	return c->spill;
}

void clog_commit(struct clog *c, uint32_t size)
{
	struct clog_block *b = c->tail_block;
	CHECK(b != NULL && b->start + b->valid == c->tail);
	if (b->valid + size <= c->conf.block_bytes) {
		b->valid += size;
		c->tail += size;
		return;
	}
	for (uint32_t done = 0; done < size;) {
		b = tail_block(c);
		uint32_t n = (uint32_t)u64_min(size - done, c->conf.block_bytes - b->valid);
		memcpy(b->blob.p + b->valid, c->spill + done, n);
		b->valid += n;
		c->tail += n;
		done += n;
	}
	if (c->spill_cap > 1u << 20) { /* one big message must not be remembered for ever */
		mem_free(c->spill);
		c->spill = NULL;
		c->spill_cap = 0;
	}
}

/* ---- Writing and syncing ---------------------------------------------------------------------------------------------------------------- */

static void poison(struct clog *c, const char *what, enum status st)
{
	c->failures++;
	c->poisoned = true;
	log_error(c->log, "clog", "event=poisoned what=%s reason=\"%s\" written=%llu durable=%llu nothing is acknowledged until restart", what,
		status_text(st), (unsigned long long)c->written, (unsigned long long)c->durable);
}

/*
 * Writes blocks in memory up to 'limit', which lies in segment s. The last page is made whole with zeros, over the zeros that stand there: the space
 * was zeroed around the page cache, and a page that is only written in part would be read from the disk first.
 */
static bool write_span(struct clog *c, struct segment *s, uint64_t limit)
{
	enum { MAX = 64, PAGE = 4096 };
	static const uint8_t zeros[PAGE];
	struct slice v[MAX + 1];
	while (c->written < limit) {
		uint64_t at = c->written;
		unsigned n = 0;
		while (at < limit && n < MAX) {
			struct clog_block *b = clog_block_find(c, at);
			CHECK(b != NULL && at >= b->start && at < b->start + b->valid);
			uint64_t take = u64_min(limit, b->start + b->valid) - at;
			v[n++] = slice_of(b->blob.p + (at - b->start), take);
			at += take;
		}
		if (at == limit && at % PAGE != 0)
			v[n++] = slice_of(zeros, PAGE - at % PAGE);
		enum status st = s->file->ops->write_at(s->file, c->written - s->start, v, n);
		if (st != ST_OK) {
			poison(c, "write", st);
			return false;
		}
		c->written = at;
	}
	return true;
}

static void sync_settled(struct clog *c, enum status st, uint64_t took_ns)
{
	c->syncs++;
	c->sync_us += took_ns / 1000;
	c->syncing = false;
	if (st != ST_OK) {
		poison(c, "sync", st);
		return;
	}
	CHECK(c->sync_target >= c->durable);
	c->durable = c->sync_target;
	c->last_sync_ns = c->now_ns;
	log_trace(c->log, "clog", "durable to=%llu", (unsigned long long)c->durable);
}

static void sync_done(struct disk_op *op, enum status st)
{
	struct clog *c = container_of(op, struct clog, sync_op);
	c->sync_done = true;
	c->sync_status = st;
}

/* Syncs the segment of the durable mark up to 'target'. True when it has finished already. */
static bool start_sync(struct clog *c, uint64_t target)
{
	struct segment *s = clog_segment(c, c->durable);
	enum status st;
	CHECK(!c->syncing && s != NULL && target > c->durable && target <= segment_end(c, s));
	c->sync_target = target;
	c->syncing = true;
	log_trace(c->log, "clog", "sync to=%llu", (unsigned long long)target);
	c->sync_started_ns = clock_mono_ns(c->clock);
	c->sync_op.done = sync_done;
	if (!s->file->ops->sync(s->file, c->conf.sync_before_visible, &c->sync_op, &st))
		return false;
	sync_settled(c, st, clock_mono_ns(c->clock) - c->sync_started_ns);
	return !c->poisoned;
}

void clog_flush(struct clog *c, uint64_t now_ns, bool force)
{
	c->now_ns = now_ns;
	if (c->sync_done) {
		c->sync_done = false;
		sync_settled(c, c->sync_status, u64_max(now_ns, c->sync_started_ns) - c->sync_started_ns);
	}
	while (!c->poisoned && c->durable < c->tail) {
		struct segment *s = clog_segment(c, c->written);
		if (s != NULL && c->durable >= s->start && c->written < c->tail) {
			uint64_t from = c->written, limit = u64_min(c->tail, s->data_end);
			if (from < limit && !write_span(c, s, limit))
				return;
			if (from < limit)
				log_trace(c->log, "clog", "write from=%llu to=%llu", (unsigned long long)from, (unsigned long long)limit);
			if (c->written == s->data_end)
				c->written = segment_end(c, s); /* behind the blank record nothing is written: zeros stand there */
		}
		bool last = c->written == c->tail;
		bool due = c->conf.sync_before_visible || force || !last || now_ns - c->last_sync_ns >= c->conf.async_ns ||
			c->written - c->durable > c->conf.unsynced_bytes / 2;
		if (c->syncing || !due || c->written == c->durable)
			return;
		if (!start_sync(c, c->written) || c->durable == c->tail)
			return;
	}
}

/* ---- Reading and retention -------------------------------------------------------------------------------------------------------------- */

enum status clog_read_now(struct clog *c, uint64_t position, void *buf, size_t n, size_t *ret_n)
{
	struct segment *s = clog_segment(c, position);
	if (s == NULL)
		return ST_NOT_FOUND;
	n = (size_t)u64_min(n, segment_end(c, s) - position);
	return s->file->ops->read_at(s->file, position - s->start, buf, n, false, ret_n);
}

enum status clog_drop_first(struct clog *c)
{
	CHECK(c->n_segs > 1);
	struct segment *s = c->segs[0];
	char path[40], spare[64];
	CHECK(segment_end(c, s) <= c->durable);
	if (s->readers > 0 || s->zeroing)
		return ST_BUSY;
	clog_path(path, s->start);
	snprintf(spare, sizeof spare, CLOG_DIR "/spare-%020llu", (unsigned long long)s->start);
	bool keeps = c->n_spares < ARRAY_LEN(c->spares);
	enum status st = keeps ? c->disk->ops->rename(c->disk, path, spare) : c->disk->ops->remove(c->disk, path);
	if (st != ST_OK) {
		log_error(c->log, "clog", "segment=%s cannot be removed: %s", path, status_text(st));
		return st;
	}
	if (keeps)
		c->spares[c->n_spares++] = slice_dup(slice_str(spare + sizeof CLOG_DIR));
	/* One at a time: a crash must not undo this removal and keep a later one, which would look like a hole. */
	st = c->disk->ops->sync_dir(c->disk, CLOG_DIR);
	if (st != ST_OK)
		log_error(c->log, "clog", "segment=%s may come back after a crash: %s", path, status_text(st));
	clog_blocks_drop(c, s->start, segment_end(c, s));
	s->file->ops->close(s->file);
	memmove(c->segs, c->segs + 1, --c->n_segs * sizeof *c->segs);
	c->min = c->segs[0]->start;
	c->dropped++;
	mem_free(s);
	return ST_OK;
}
