/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The extent file: see qextent.h, and docs/index-format.md for the bytes. */
#include "engine/qextent.h"

#include "base/be.h"
#include "base/crc.h"
#include "base/mem.h"
#include "base/obj.h"

#define QX_MAGIC 0x51455854u
#define FILE_MAGIC 0x47515831u  /* "GQX1": the last letter is the version */
#define SAVE_MAGIC 0x47515331u  /* "GQS1" */
#define GENERATION_MAX 0x7FFFFFFFu /* of a snapshot that makes sense */
enum { HEAD_UID = 0, HEAD_FIRST = 4, HEAD_CRC = 12 };               /* of an extent */
enum { FILE_AT_MAGIC = 0, FILE_AT_LIFE = 4, FILE_AT_CRC = 8, FILE_HEAD = 12 };
enum { LISTED_NO = 0, LISTED_FREE, LISTED_PARKED };

/* ---- Numbers: in use, free, parked ------------------------------------------------------------------------------------- */

static void *grow(void *v, uint32_t *cap, uint32_t need, size_t size)
{
	if (need <= *cap)
		return v;
	uint64_t want = u64_max(need, (uint64_t)*cap * 2);
	want = u64_min(u64_max(want, 64), UINT32_MAX);
	*cap = (uint32_t)want;
	return mem_grow(v, want * size);
}

static void push_free(struct qx *x, uint32_t extent)
{
	x->state[extent] = QX_FREE;
	x->free = grow(x->free, &x->free_cap, x->n_free + 1, sizeof x->free[0]);
	x->free[x->n_free++] = extent;
}

static void park(struct qx *x, uint32_t extent, uint32_t generation)
{
	if (x->parked_head > 64 && x->parked_head >= x->parked_end - x->parked_head) {
		memmove(x->parked, x->parked + x->parked_head, (x->parked_end - x->parked_head) * sizeof x->parked[0]);
		x->parked_end -= x->parked_head;
		x->parked_head = 0;
	}
	CHECK(x->parked_end == x->parked_head || x->parked[x->parked_end - 1].generation <= generation);
	x->state[extent] = QX_PARKED;
	x->parked = grow(x->parked, &x->parked_cap, x->parked_end + 1, sizeof x->parked[0]);
	x->parked[x->parked_end++] = (struct qx_parked){extent, generation};
}

static void set_extents(struct qx *x, uint32_t n)
{
	x->state = grow(x->state, &x->state_cap, n, 1);
	if (n > x->n)
		memset(x->state + x->n, QX_FREE, n - x->n);
	x->n = n;
}

void qx_free(struct qx *x, uint32_t extent)
{
	CHECK_OBJ(x, QX_MAGIC);
	CHECK(!x->loading && extent > 0 && extent < x->n && x->state[extent] == QX_USED);
	park(x, extent, x->generation);
}

/* ---- Open and close ------------------------------------------------------------------------------------------------------ */

/* The life in the file's head; 0 when there is no valid one. */
static uint32_t read_life(struct qx *x, uint64_t size)
{
	uint8_t head[FILE_HEAD];
	size_t got;
	if (size < FILE_HEAD || x->file->ops->read_at(x->file, 0, head, FILE_HEAD, false, &got) != ST_OK || got != FILE_HEAD)
		return 0;
	if (be32_get(head + FILE_AT_MAGIC) != FILE_MAGIC || be32_get(head + FILE_AT_CRC) != crc32_of(head, FILE_AT_CRC))
		return 0;
	return be32_get(head + FILE_AT_LIFE);
}

static enum status wrote(struct qx *x, enum status st)
{
	if (st != ST_OK)
		x->write_errors++;
	if (st != ST_OK && x->last_error == ST_OK)
		log_warn(x->log, "qindex", "write failed status=%s: extents wait in memory", status_name(st));
	if (st == ST_OK && x->last_error != ST_OK)
		log_info(x->log, "qindex", "writes go well again");
	x->last_error = st;
	return st;
}

static void write_head(struct qx *x)
{
	uint8_t head[QX_BYTES] = {0};
	be32_put(head + FILE_AT_MAGIC, FILE_MAGIC);
	be32_put(head + FILE_AT_LIFE, x->life);
	be32_put(head + FILE_AT_CRC, crc32_of(head, FILE_AT_CRC));
	struct slice v = slice_of(head, sizeof head);
	x->head_due = wrote(x, x->file->ops->write_at(x->file, 0, &v, 1)) != ST_OK;
}

static uint32_t u32_next(uint32_t life)
{
	return life == UINT32_MAX ? 1 : life + 1;
}

enum status qx_open(struct qx *x, struct disk *disk, const char *path, struct log *log, bool fresh)
{
	uint64_t size;
	struct disk_file *file;
	enum status st = disk->ops->open(disk, path, DISK_READ | DISK_WRITE | DISK_CREATE, &file, &size);
	if (st != ST_OK)
		return st;
	*x = (struct qx){.magic = QX_MAGIC, .file = file, .log = log};
	uint32_t life = read_life(x, size);
	if (fresh && size > 0)
		st = file->ops->truncate(file, 0);
	if (st == ST_OK && (fresh || size == 0))
		st = disk->ops->sync_dir(disk, "index");
	if (st != ST_OK) {
		qx_close(x);
		return st;
	}
	/* Not 0, which stands for "no valid head" and then makes way for the snapshot's. */
	x->life = fresh ? u32_next(life) : life;
	x->loading = !fresh;
	uint64_t n = fresh ? 0 : size / QX_BYTES;
	set_extents(x, (uint32_t)u64_min(u64_max(n, 1), QX_EXTENTS_MAX));
	x->state[0] = QX_USED;
	if (fresh)
		write_head(x);
	return ST_OK;
}

void qx_close(struct qx *x)
{
	CHECK_OBJ(x, QX_MAGIC);
	x->file->ops->close(x->file);
	for (unsigned i = 0; i < QX_CACHE; i++)
		mem_free(x->cache[i].bytes);
	mem_free(x->state);
	mem_free(x->free);
	mem_free(x->parked);
	mem_free(x->listed);
	x->magic = 0;
}

/* ---- Bytes ------------------------------------------------------------------------------------------------------------------ */

/* Over uid, first offset and entries, not over itself; what is checked first is the life that the extent was written in. */
static uint32_t extent_crc(const struct qx *x, const uint8_t *bytes)
{
	uint8_t life[4];
	be32_put(life, x->life);
	uint32_t crc = crc32_more(crc32_of(life, 4), bytes, HEAD_CRC);
	return crc32_more(crc, bytes + QX_HEAD, QX_BYTES - QX_HEAD);
}

static enum status write_bytes(struct qx *x, uint32_t extent, uint32_t uid, uint64_t first, uint8_t *bytes)
{
	be32_put(bytes + HEAD_UID, uid);
	be64_put(bytes + HEAD_FIRST, first);
	be32_put(bytes + HEAD_CRC, extent_crc(x, bytes));
	struct slice v = slice_of(bytes, QX_BYTES);
	struct qx_cached *c = &x->cache[extent % QX_CACHE];
	if (c->extent == extent)
		c->extent = 0;
	enum status st = wrote(x, x->file->ops->write_at(x->file, (uint64_t)extent * QX_BYTES, &v, 1));
	if (st != ST_OK)
		return st;
	/* What was just written is usually read next. */
	mem_free(c->bytes);
	*c = (struct qx_cached){extent, bytes};
	return ST_OK;
}

enum status qx_write(struct qx *x, uint32_t uid, uint64_t first, uint8_t *bytes, uint32_t *ret_extent)
{
	CHECK_OBJ(x, QX_MAGIC);
	CHECK(!x->loading);
	if (x->n_free == 0 && x->n >= QX_EXTENTS_MAX)
		return wrote(x, ST_DISK_FULL);
	uint32_t extent = x->n_free > 0 ? x->free[x->n_free - 1] : x->n;
	enum status st = write_bytes(x, extent, uid, first, bytes);
	if (st != ST_OK)
		return st;
	if (x->n_free > 0)
		x->n_free--;
	else
		set_extents(x, x->n + 1);
	CHECK(x->state[extent] == QX_FREE);
	x->state[extent] = QX_USED;
	*ret_extent = extent;
	return ST_OK;
}

enum status qx_rewrite(struct qx *x, uint32_t extent, uint32_t uid, uint64_t first, uint8_t *bytes)
{
	CHECK_OBJ(x, QX_MAGIC);
	CHECK(extent > 0 && extent < x->n && x->state[extent] == QX_USED);
	if (x->damaged_last == extent)
		x->damaged_last = 0;
	return write_bytes(x, extent, uid, first, bytes);
}

static bool is_extent_of(const uint8_t *bytes, uint32_t uid, uint64_t first)
{
	return be32_get(bytes + HEAD_UID) == uid && be64_get(bytes + HEAD_FIRST) == first;
}

static enum status damaged(struct qx *x, uint32_t extent, uint32_t uid, uint64_t first, const char *why)
{
	x->damaged++;
	if (x->damaged_last != extent)
		log_warn(x->log, "qindex", "damaged extent=%u uid=%u offset=%llu: %s", extent, uid, (unsigned long long)first, why);
	x->damaged_last = extent;
	return ST_CORRUPT;
}

enum status qx_read(struct qx *x, uint32_t extent, uint32_t uid, uint64_t first, const uint8_t **ret_entries)
{
	CHECK(extent > 0 && extent < x->n && x->state[extent] == QX_USED);
	struct qx_cached *c = &x->cache[extent % QX_CACHE];
	if (c->extent != extent) {
		size_t got = 0;
		c->extent = 0;
		if (c->bytes == NULL)
			c->bytes = mem_new(QX_BYTES);
		enum status st = x->file->ops->read_at(x->file, (uint64_t)extent * QX_BYTES, c->bytes, QX_BYTES, false, &got);
		if (st != ST_OK || got != QX_BYTES)
			return damaged(x, extent, uid, first, st != ST_OK ? status_name(st) : "file too short");
		if (be32_get(c->bytes + HEAD_CRC) != extent_crc(x, c->bytes))
			return damaged(x, extent, uid, first, "checksum");
		c->extent = extent;
	}
	if (!is_extent_of(c->bytes, uid, first))
		return damaged(x, extent, uid, first, "another queue's");
	*ret_entries = c->bytes + QX_HEAD;
	return ST_OK;
}

bool qx_sync(struct qx *x, struct disk_op *op, enum status *ret_now)
{
	CHECK_OBJ(x, QX_MAGIC);
	if (x->head_due)
		write_head(x);
	return x->file->ops->sync(x->file, false, op, ret_now);
}

/* ---- Snapshots ---------------------------------------------------------------------------------------------------------------- */

void qx_snapshot_begin(struct qx *x)
{
	CHECK_OBJ(x, QX_MAGIC);
	CHECK(!x->loading && x->generation < GENERATION_MAX);
	x->generation++;
}

void qx_snapshot_done(struct qx *x)
{
	CHECK_OBJ(x, QX_MAGIC);
	CHECK(x->generation > x->done[0]);
	x->done[1] = x->done[0];
	x->done[0] = x->generation;
	while (x->parked_head < x->parked_end && x->parked[x->parked_head].generation < x->done[1])
		push_free(x, x->parked[x->parked_head++].extent);
}

/* Free is what neither this snapshot nor the one before it can name; the rest of what is not in use waits for one more. */
void qx_save(const struct qx *x, struct buf *to)
{
	CHECK_OBJ(x, QX_MAGIC);
	uint32_t clean = x->parked_head;
	while (clean < x->parked_end && x->parked[clean].generation < x->done[0])
		clean++;
	buf_be32(to, SAVE_MAGIC);
	buf_be32(to, x->life);
	buf_be32(to, x->generation);
	buf_be32(to, x->done[0]);
	buf_be32(to, x->n);
	buf_be32(to, x->n_free + clean - x->parked_head);
	for (uint32_t i = x->n_free; i > 0; i--)
		buf_be32(to, x->free[i - 1]);
	for (uint32_t i = x->parked_head; i < clean; i++)
		buf_be32(to, x->parked[i].extent);
	buf_be32(to, x->parked_end - clean);
	for (uint32_t i = clean; i < x->parked_end; i++)
		buf_be32(to, x->parked[i].extent);
}

static bool take_be32(struct slice *rest, uint32_t *ret)
{
	if (rest->n < 4)
		return false;
	*ret = be32_get(rest->p);
	*rest = slice_skip(*rest, 4);
	return true;
}

static bool load_list(struct qx *x, struct slice *rest, uint8_t mark)
{
	uint32_t count, extent;
	if (!take_be32(rest, &count) || count > rest->n / 4)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (!take_be32(rest, &extent) || extent == 0 || extent >= x->listed_n)
			return false;
		/* What the file lost behind its last sync was not in use. */
		if (extent >= x->n)
			continue;
		if (x->listed[extent] != LISTED_NO)
			return false;
		x->listed[extent] = mark;
	}
	return true;
}

enum status qx_load(struct qx *x, struct slice *rest)
{
	CHECK_OBJ(x, QX_MAGIC);
	CHECK(x->loading && x->listed == NULL);
	uint32_t magic, life, generation, done, n;
	if (!take_be32(rest, &magic))
		return ST_CORRUPT;
	if (magic != SAVE_MAGIC)
		return ST_VERSION;
	if (!take_be32(rest, &life) || !take_be32(rest, &generation) || !take_be32(rest, &done) || !take_be32(rest, &n))
		return ST_CORRUPT;
	if (life == 0 || generation == 0 || generation >= GENERATION_MAX || done >= generation || n == 0 || n > QX_EXTENTS_MAX)
		return ST_CORRUPT;
	/* The file was started afresh behind this snapshot's back. A damaged head says nothing: each extent proves its own life. */
	if (x->life != 0 && x->life != life)
		return ST_CORRUPT;
	x->head_due = x->life == 0;
	x->listed_n = n;
	x->listed = mem_array(x->n, 1);
	if (!load_list(x, rest, LISTED_FREE) || !load_list(x, rest, LISTED_PARKED))
		return ST_CORRUPT;
	x->generation = x->done[0] = generation;
	x->done[1] = done;
	x->life = life;
	return ST_OK;
}

bool qx_claim(struct qx *x, uint32_t extent)
{
	CHECK(x->loading && x->listed != NULL);
	if (extent == 0 || extent >= x->n || x->state[extent] == QX_USED)
		return false;
	x->state[extent] = QX_USED;
	return true;
}

void qx_load_done(struct qx *x)
{
	CHECK_OBJ(x, QX_MAGIC);
	CHECK(x->loading && x->listed != NULL);
	for (uint32_t e = 1; e < x->n; e++)
		if (x->state[e] != QX_USED && x->listed[e] == LISTED_PARKED)
			park(x, e, x->generation - 1);
	for (uint32_t e = x->n; e > 1; e--) {
		uint32_t extent = e - 1;
		if (x->state[extent] != QX_FREE)
			continue;
		/* From listed_n on the file has grown since the snapshot: no other one can know these. */
		if (x->listed[extent] == LISTED_FREE || extent >= x->listed_n)
			push_free(x, extent);
		else
			park(x, extent, x->generation);
	}
	mem_free(x->listed);
	x->listed = NULL;
	x->loading = false;
	if (x->head_due)
		write_head(x);
}
