/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* One file of the key index: see krun.h, and docs/index-format.md for the bytes. */
#include "engine/krun.h"

#include "base/be.h"
#include "base/crc.h"
#include "base/mem.h"
#include "base/obj.h"
#include "engine/kindex.h"

#define KR_MAGIC 0x4b525347u
#define RUN_MAGIC 0x474b5231u   /* "GKR1": the last letter is the version */
#define RUN_HEAD 32u
#define SCAN_CHUNK 65536u       /* read at once in search of the next head behind damage */
#define WINDOW 512u             /* entries read at once in search of one: 4 KiB */
enum { HEAD_MAGIC = 0, HEAD_COUNT = 4, HEAD_FROM = 8, HEAD_TO = 16, HEAD_CRC = 24, HEAD_OWN_CRC = 28 };

static uint64_t run_bytes(const struct kr_run *r) { return RUN_HEAD + (uint64_t)r->count * 8; }
static uint64_t run_at(const struct kr_run *r) { return (uint64_t)r->at * 8; }

static void file_path(char to[KR_PATH_SIZE], uint64_t start)
{
	size_t n = sizeof KI_DIR - 1;
	_Static_assert(sizeof KI_DIR + 21 <= KR_PATH_SIZE, "path fits");
	memcpy(to, KI_DIR "/", n + 1);
	for (unsigned i = 0; i < KR_NAME_DIGITS; i++, start /= 10)
		to[n + KR_NAME_DIGITS - i] = (char)('0' + start % 10);
	to[n + 1 + KR_NAME_DIGITS] = '\0';
}

static uint8_t *scratch(struct kr_env *env, size_t n)
{
	if (env->scratch_cap < n) {
		env->scratch = mem_grow(env->scratch, n);
		env->scratch_cap = n;
	}
	return env->scratch;
}

uint64_t *kr_sort(uint64_t *v, uint64_t *tmp, size_t n)
{
	/* By hash only, 11 bits at a time: that is stable, and the positions ascend already. */
	uint32_t counts[2048];
	for (unsigned shift = 32; shift < 64; shift += 11) {
		memset(counts, 0, sizeof counts);
		for (size_t i = 0; i < n; i++)
			counts[(v[i] >> shift) & 2047]++;
		uint32_t sum = 0;
		for (unsigned k = 0; k < 2048; k++) {
			uint32_t c = counts[k];
			counts[k] = sum;
			sum += c;
		}
		for (size_t i = 0; i < n; i++)
			tmp[counts[(v[i] >> shift) & 2047]++] = v[i];
		uint64_t *t = v;
		v = tmp;
		tmp = t;
	}
	return v;
}

/* ---- Runs known ---------------------------------------------------------------------------------------------------------- */

/* Index of the first run whose last position is 'rel' or higher. */
static uint32_t first_reaching(const struct kr_segment *s, uint64_t rel)
{
	uint32_t lo = 0, hi = s->n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (s->runs[mid].last < rel)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void forget(struct kr_segment *s, uint32_t i, uint32_t n)
{
	CHECK(i + n <= s->n);
	if (n == 0)
		return;
	memmove(s->runs + i, s->runs + i + n, (s->n - i - n) * sizeof s->runs[0]);
	s->n -= n;
}

static void insert(struct kr_segment *s, const struct kr_run *r)
{
	uint32_t i = first_reaching(s, r->from), over = 0;
	while (i + over < s->n && s->runs[i + over].from <= r->last)
		over++;
	if (over > 0)
		s->gap = true;
	forget(s, i, over);
	if (s->n == s->cap) {
		s->cap = s->cap == 0 ? 8 : s->cap * 2;
		s->runs = mem_grow(s->runs, s->cap * sizeof s->runs[0]);
	}
	memmove(s->runs + i + 1, s->runs + i, (s->n - i) * sizeof s->runs[0]);
	s->runs[i] = *r;
	s->n++;
}

uint64_t kr_covered(const struct kr_segment *s)
{
	CHECK_OBJ(s, KR_MAGIC);
	return s->n == 0 ? s->start : s->start + s->runs[s->n - 1].last + 1;
}

int64_t kr_covering(const struct kr_segment *s, uint64_t position, uint64_t *ret_gap_from)
{
	CHECK_OBJ(s, KR_MAGIC);
	CHECK(position >= s->start);
	uint64_t rel = position - s->start;
	uint32_t i = first_reaching(s, rel);
	if (i < s->n && s->runs[i].from <= rel)
		return i;
	*ret_gap_from = i == 0 ? s->start : s->start + s->runs[i - 1].last + 1;
	return -1;
}

bool kr_last_gap(const struct kr_segment *s, uint64_t upper, uint64_t *ret_from, uint64_t *ret_to)
{
	CHECK_OBJ(s, KR_MAGIC);
	for (uint32_t i = s->n; i > 0; i--) {
		const struct kr_run *r = &s->runs[i - 1];
		uint64_t end = s->start + r->last + 1;
		if (end < upper) {
			*ret_from = end;
			*ret_to = upper;
			return true;
		}
		upper = u64_min(upper, s->start + r->from);
	}
	if (upper <= s->start)
		return false;
	*ret_from = s->start;
	*ret_to = upper;
	return true;
}

/* ---- Reading --------------------------------------------------------------------------------------------------------------- */

static bool read_all(struct kr_segment *s, uint64_t at, void *buf, size_t n)
{
	size_t got = 0;
	return s->file != NULL && s->file->ops->read_at(s->file, at, buf, n, false, &got) == ST_OK && got == n;
}

/* Reads the head of a run that stands at 'at'; false when it is none, or does not fit into segment and file. */
static bool parse_head(const struct kr_env *env, const struct kr_segment *s, uint64_t at, const uint8_t *head, struct kr_run *ret)
{
	if (be32_get(head + HEAD_MAGIC) != RUN_MAGIC || be32_get(head + HEAD_OWN_CRC) != crc32_of(head, HEAD_OWN_CRC))
		return false;
	uint64_t from = be64_get(head + HEAD_FROM), to = be64_get(head + HEAD_TO);
	uint32_t count = be32_get(head + HEAD_COUNT);
	if (count > KI_RUN_MAX || from < s->start || from >= to || to - s->start > env->segment_bytes)
		return false;
	*ret = (struct kr_run){.from = (uint32_t)(from - s->start), .last = (uint32_t)(to - 1 - s->start), .at = (uint32_t)(at / 8),
		.count = count, .crc = be32_get(head + HEAD_CRC)};
	return at + run_bytes(ret) <= s->size && at / 8 <= UINT32_MAX;
}

/* The place of the next valid head at 'at' or behind it; the file's size when there is none. */
static uint64_t next_head(struct kr_env *env, struct kr_segment *s, uint64_t at)
{
	struct kr_run r;
	uint8_t *chunk = scratch(env, SCAN_CHUNK);
	while (at + RUN_HEAD <= s->size) {
		size_t n = (size_t)u64_min(SCAN_CHUNK, s->size - at);
		bool readable = read_all(s, at, chunk, n);
		uint64_t step = 0;
		for (; step + RUN_HEAD <= n; step += 8)
			if (readable && parse_head(env, s, at + step, chunk + step, &r))
				return at + step;
		at += step;
	}
	return s->size;
}

static void walk(struct kr_env *env, struct kr_segment *s)
{
	uint64_t at = 0;
	uint8_t head[RUN_HEAD];
	struct kr_run r;
	while (at + RUN_HEAD <= s->size && s->n < KR_RUNS_MAX) {
		if (!read_all(s, at, head, RUN_HEAD) || !parse_head(env, s, at, head, &r)) {
			at = next_head(env, s, at + 8);
			continue;
		}
		insert(s, &r);
		at += run_bytes(&r);
		s->end = at;
	}
}

/* Reads all of a run's entries into the scratch buffer and proves them. */
static const uint8_t *check_run(struct kr_env *env, struct kr_segment *s, struct kr_run *r)
{
	size_t n = (size_t)r->count * 8;
	uint8_t *entries = scratch(env, n + 1);
	if ((n > 0 && !read_all(s, run_at(r) + RUN_HEAD, entries, n)) || crc32_of(entries, n) != r->crc)
		return NULL;
	uint64_t before = 0;
	for (size_t i = 0; i < n; i += 8) {
		uint64_t e = be64_get(entries + i);
		if (e < before || (uint32_t)e < r->from || (uint32_t)e > r->last)
			return NULL;
		before = e;
	}
	r->checked = true;
	return entries;
}

static void damaged(struct kr_env *env, struct kr_segment *s, uint32_t i)
{
	const struct kr_run *r = &s->runs[i];
	env->damaged++;
	log_warn(env->log, "kindex", "damaged segment=%llu run at=%llu from=%llu to=%llu", (unsigned long long)s->start,
		(unsigned long long)run_at(r), (unsigned long long)(s->start + r->from), (unsigned long long)(s->start + r->last + 1));
	forget(s, i, 1);
	s->gap = true;
}

struct kr_segment *kr_open(struct kr_env *env, uint64_t start, bool check)
{
	char path[KR_PATH_SIZE];
	struct kr_segment *s = mem_new(sizeof *s);
	s->magic = KR_MAGIC;
	s->start = start;
	list_init(&s->link);
	file_path(path, start);
	enum status st = env->disk->ops->open(env->disk, path, DISK_READ | DISK_WRITE, &s->file, &s->size);
	if (st != ST_OK) {
		s->file = NULL;
		s->size = 0;
		if (st != ST_NOT_FOUND)
			log_warn(env->log, "kindex", "cannot open file=%s status=%s", path, status_name(st));
		return s;
	}
	walk(env, s);
	if (!check)
		return s;
	for (uint32_t i = s->n; i > 0; i--)
		if (check_run(env, s, &s->runs[i - 1]) == NULL)
			damaged(env, s, i - 1);
	s->end = 0;
	for (uint32_t i = 0; i < s->n; i++)
		s->end = u64_max(s->end, run_at(&s->runs[i]) + run_bytes(&s->runs[i]));
	return s;
}

void kr_close(struct kr_segment *s)
{
	CHECK_OBJ(s, KR_MAGIC);
	CHECK(!list_linked(&s->link));
	if (s->file != NULL)
		s->file->ops->close(s->file);
	mem_free(s->runs);
	s->magic = 0;
	mem_free(s);
}

enum status kr_unlink(struct kr_env *env, uint64_t start)
{
	char path[KR_PATH_SIZE];
	file_path(path, start);
	enum status st = env->disk->ops->remove(env->disk, path);
	if (st == ST_NOT_FOUND)
		return ST_OK;
	if (st != ST_OK)
		log_warn(env->log, "kindex", "cannot remove file=%s status=%s", path, status_name(st));
	return st;
}

enum status kr_remove(struct kr_env *env, struct kr_segment *s)
{
	CHECK_OBJ(s, KR_MAGIC);
	CHECK(!s->syncing);
	if (s->file != NULL)
		s->file->ops->close(s->file);
	s->file = NULL;
	s->size = s->end = 0;
	s->n = 0;
	s->dirty = s->sync_due = false;
	s->gap = true;
	return kr_unlink(env, s->start);
}

/* ---- Writing ----------------------------------------------------------------------------------------------------------------- */

static enum status make_file(struct kr_env *env, struct kr_segment *s)
{
	char path[KR_PATH_SIZE];
	file_path(path, s->start);
	enum status st = env->disk->ops->open(env->disk, path, DISK_READ | DISK_WRITE | DISK_CREATE, &s->file, &s->size);
	if (st != ST_OK) {
		s->file = NULL;
		return st;
	}
	/* It has content when it could not be opened before: that stays where it is. */
	s->end = (s->size + 7) / 8 * 8;
	env->dir_dirty = true;
	return ST_OK;
}

static enum status wrote(struct kr_env *env, const struct kr_segment *s, enum status st)
{
	if (st != ST_OK)
		env->write_errors++;
	if (st != ST_OK && env->last_error == ST_OK)
		log_warn(env->log, "kindex", "write failed segment=%llu status=%s", (unsigned long long)s->start, status_name(st));
	if (st == ST_OK && env->last_error != ST_OK)
		log_info(env->log, "kindex", "writes go well again");
	env->last_error = st;
	return st;
}

enum status kr_append(struct kr_env *env, struct kr_segment *s, uint64_t from, uint64_t to, const uint64_t *sorted, size_t n)
{
	CHECK_OBJ(s, KR_MAGIC);
	CHECK(n <= KI_RUN_MAX && from >= s->start && from < to && to - s->start <= env->segment_bytes);
	enum status st = s->file == NULL ? make_file(env, s) : ST_OK;
	if (st != ST_OK)
		return wrote(env, s, st);
	/* A torn tail goes; were it to stay, a later open would only have more to look through. */
	if (s->size > s->end && s->file->ops->truncate(s->file, s->end) == ST_OK)
		s->size = s->end;
	if (s->end / 8 > UINT32_MAX)
		return wrote(env, s, ST_DISK_FULL);
	uint8_t *bytes = scratch(env, RUN_HEAD + n * 8);
	for (size_t i = 0; i < n; i++)
		be64_put(bytes + RUN_HEAD + i * 8, sorted[i]);
	struct kr_run r = {.from = (uint32_t)(from - s->start), .last = (uint32_t)(to - 1 - s->start), .at = (uint32_t)(s->end / 8),
		.count = (uint32_t)n, .crc = crc32_of(bytes + RUN_HEAD, n * 8), .checked = true};
	be32_put(bytes + HEAD_MAGIC, RUN_MAGIC);
	be32_put(bytes + HEAD_COUNT, r.count);
	be64_put(bytes + HEAD_FROM, from);
	be64_put(bytes + HEAD_TO, to);
	be32_put(bytes + HEAD_CRC, r.crc);
	be32_put(bytes + HEAD_OWN_CRC, crc32_of(bytes, HEAD_OWN_CRC));
	struct slice v = slice_of(bytes, RUN_HEAD + n * 8);
	st = wrote(env, s, s->file->ops->write_at(s->file, s->end, &v, 1));
	/* Even a failed write may have changed the file. */
	s->dirty = true;
	if (st != ST_OK) {
		s->size = u64_max(s->size, s->end + v.n);
		return st;
	}
	s->end += v.n;
	s->size = u64_max(s->size, s->end);
	insert(s, &r);
	return ST_OK;
}

/* ---- Searching ----------------------------------------------------------------------------------------------------------------- */

/* How many of n entries are not above 'key'. */
static uint32_t count_upto(const uint8_t *entries, uint32_t n, uint64_t key)
{
	uint32_t lo = 0, hi = n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (be64_get(entries + mid * 8u) <= key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/*
 * The highest entry that is not above 'key', if there is one. The hashes are spread evenly, so the first window nearly always has it;
 * after that the span is halved. False: unreadable.
 */
static bool search_windows(struct kr_segment *s, const struct kr_run *r, uint64_t key, bool *ret_found, uint64_t *ret)
{
	uint8_t window[WINDOW * 8];
	uint32_t lo = 0, hi = r->count;
	uint64_t guess = (key >> 32) * r->count >> 32;
	*ret_found = false;
	while (lo < hi) {
		uint32_t m = (uint32_t)u64_min(WINDOW, hi - lo);
		uint64_t w = guess > WINDOW / 2 ? guess - WINDOW / 2 : 0;
		w = u64_min(u64_max(w, lo), hi - m);
		if (!read_all(s, run_at(r) + RUN_HEAD + w * 8, window, m * 8u))
			return false;
		uint32_t k = count_upto(window, m, key);
		if (k > 0) {
			*ret_found = true;
			*ret = be64_get(window + (k - 1) * 8u);
			lo = (uint32_t)w + k;
		}
		if (k < m)
			hi = (uint32_t)w + k;
		guess = lo + (hi - lo) / 2;
	}
	return true;
}

enum status kr_search(struct kr_env *env, struct kr_segment *s, uint32_t i, uint32_t hash, uint64_t last, uint64_t *ret)
{
	CHECK_OBJ(s, KR_MAGIC);
	CHECK(i < s->n && last >= s->start && last - s->start <= UINT32_MAX);
	struct kr_run *r = &s->runs[i];
	uint64_t key = (uint64_t)hash << 32 | (last - s->start), entry = 0;
	bool found = false;
	if (!r->checked) {
		const uint8_t *entries = check_run(env, s, r);
		if (entries == NULL) {
			damaged(env, s, i);
			return ST_CORRUPT;
		}
		uint32_t k = count_upto(entries, r->count, key);
		found = k > 0;
		if (found)
			entry = be64_get(entries + (k - 1) * 8u);
	} else if (!search_windows(s, r, key, &found, &entry)) {
		damaged(env, s, i);
		return ST_CORRUPT;
	}
	if (!found || entry >> 32 != hash)
		return ST_NOT_FOUND;
	*ret = s->start + (uint32_t)entry;
	return ST_OK;
}
