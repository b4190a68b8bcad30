/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The queue index: see qindex.h. A queue's offsets stand, in this order, in slots (full extents) and in the tail:
 *
 *   slot_base          + 204            + 204 ...          tail_first      next
 *   |  slot (extent)   |  slot          |  slot            |  tail         |
 *         ^ first
 *
 * A slot is an extent of the file, PENDING (its bytes wait in the queue's list), or LOST (to be repaired). Invariants: first is below
 * slot_base + 204 when there are slots; first == next only with no slots and no tail, so an idle empty queue holds no memory.
 */
#include "engine/qindex.h"

#include "base/be.h"
#include "base/mem.h"
#include "base/obj.h"
#include "engine/qextent.h"

#define QI_MAGIC 0x51494458u
#define QI_QUEUE_MAGIC 0x51495155u
#define TAIL_FIRST_CAP 4u
#define NEIGHBOUR_STEPS 64u     /* damaged extents passed on each side, then the bound is as wide as it can be */
#define OFFSET_MAX (UINT64_C(1) << 62)

enum { SLOT_LOST = 0xFFFFFFFEu, SLOT_PENDING = 0xFFFFFFFFu };
_Static_assert(SLOT_LOST > QX_EXTENTS_MAX, "special slots are no extent numbers");
_Static_assert(QX_HEAD + QI_EXTENT_ENTRIES * QI_ENTRY_BYTES == QX_BYTES && QX_BYTES == QI_EXTENT_BYTES, "layout of an extent");

struct qi_pending {
	struct qi_pending *next;
	uint64_t first;
	uint8_t *bytes;
};

struct qindex {
	uint32_t magic;
	struct log *log;
	uint64_t pending, lost;
	struct qx x;
};

/* ---- Life -------------------------------------------------------------------------------------------------------------- */

enum status qi_open(struct qindex **ret, struct disk *disk, struct log *log, bool fresh)
{
	struct qindex *qi = mem_new(sizeof *qi);
	qi->magic = QI_MAGIC;
	qi->log = log;
	enum status st = qx_open(&qi->x, disk, QI_FILE, log, fresh);
	if (st != ST_OK) {
		mem_free(qi);
		return st;
	}
	*ret = qi;
	return ST_OK;
}

void qi_close(struct qindex *qi)
{
	CHECK_OBJ(qi, QI_MAGIC);
	CHECK(qi->pending == 0);
	qx_close(&qi->x);
	qi->magic = 0;
	mem_free(qi);
}

void qi_queue_init(struct qi_queue *q, uint32_t uid, uint64_t base)
{
	CHECK(base <= OFFSET_MAX);
	*q = (struct qi_queue){.magic = QI_QUEUE_MAGIC, .uid = uid, .first = base, .next = base, .slot_base = base};
}

static void drop_first_pending(struct qindex *qi, struct qi_queue *q)
{
	struct qi_pending *p = q->pending;
	CHECK(p != NULL && qi->pending > 0);
	q->pending = p->next;
	qi->pending--;
	mem_free(p->bytes);
	mem_free(p);
}

void qi_queue_fini(struct qindex *qi, struct qi_queue *q)
{
	CHECK_OBJ(qi, QI_MAGIC);
	CHECK_OBJ(q, QI_QUEUE_MAGIC);
	for (uint32_t i = 0; i < q->n_slots; i++)
		if (q->slots[q->slot_head + i] == SLOT_LOST)
			qi->lost--;
	while (q->pending != NULL)
		drop_first_pending(qi, q);
	mem_free(q->slots);
	mem_free(q->tail);
	qi_queue_init(q, q->uid, q->next);
}

void qi_queue_free(struct qindex *qi, struct qi_queue *q)
{
	CHECK_OBJ(q, QI_QUEUE_MAGIC);
	qi_trim(qi, q, q->next);
	qi_queue_fini(qi, q);
}

/* ---- Full extents ---------------------------------------------------------------------------------------------------------- */

static uint64_t slot_first(const struct qi_queue *q, uint32_t i) { return q->slot_base + (uint64_t)i * QI_EXTENT_ENTRIES; }
static uint32_t slot_of(const struct qi_queue *q, uint64_t offset) { return (uint32_t)((offset - q->slot_base) / QI_EXTENT_ENTRIES); }
static uint64_t tail_first(const struct qi_queue *q) { return q->next - q->n_tail; }

static void push_slot(struct qi_queue *q, uint32_t slot)
{
	if (q->slot_head + q->n_slots == q->slot_cap) {
		CHECK(q->slot_cap < UINT32_MAX / 2);
		q->slot_cap = q->slot_cap == 0 ? 2 : q->slot_cap + q->slot_cap / 2 + 1;
		q->slots = mem_grow(q->slots, q->slot_cap * sizeof q->slots[0]);
	}
	q->slots[q->slot_head + q->n_slots++] = slot;
}

static void set_slot(struct qindex *qi, struct qi_queue *q, uint32_t i, uint32_t slot)
{
	uint32_t *s = &q->slots[q->slot_head + i];
	if (*s == SLOT_LOST)
		qi->lost--;
	if (slot == SLOT_LOST)
		qi->lost++;
	*s = slot;
}

/* Keeps the full bytes of slot i in the queue's list, which ascends. */
static void pend(struct qindex *qi, struct qi_queue *q, uint32_t i, uint8_t *bytes)
{
	struct qi_pending *p = mem_new(sizeof *p), **at = &q->pending;
	p->first = slot_first(q, i);
	p->bytes = bytes;
	while (*at != NULL && (*at)->first < p->first)
		at = &(*at)->next;
	CHECK(*at == NULL || (*at)->first > p->first);
	p->next = *at;
	*at = p;
	qi->pending++;
	set_slot(qi, q, i, SLOT_PENDING);
}

/* Tries to write what waits, oldest first. True when nothing waits any more. */
static bool write_pending(struct qindex *qi, struct qi_queue *q)
{
	while (q->pending != NULL) {
		struct qi_pending *p = q->pending;
		uint32_t extent;
		if (qx_write(&qi->x, q->uid, p->first, p->bytes, &extent) != ST_OK)
			return false;
		p->bytes = NULL;
		set_slot(qi, q, slot_of(q, p->first), extent);
		drop_first_pending(qi, q);
	}
	return true;
}

/* Makes room for one more among those that wait by forgetting the queue's oldest. False when it has none. */
static bool forget_oldest(struct qindex *qi, struct qi_queue *q)
{
	if (q->pending == NULL)
		return false;
	set_slot(qi, q, slot_of(q, q->pending->first), SLOT_LOST);
	drop_first_pending(qi, q);
	return true;
}

/* The tail is full: it becomes a slot. */
static void fill(struct qindex *qi, struct qi_queue *q)
{
	uint32_t extent;
	uint64_t first = tail_first(q);
	uint8_t *bytes = q->tail;
	q->tail = NULL;
	q->n_tail = q->tail_cap = 0;
	if (write_pending(qi, q) && qx_write(&qi->x, q->uid, first, bytes, &extent) == ST_OK) {
		push_slot(q, extent);
		return;
	}
	push_slot(q, SLOT_PENDING);
	uint32_t i = q->n_slots - 1;
	CHECK(slot_first(q, i) == first);
	if (qi->pending < QI_PENDING_MAX || forget_oldest(qi, q)) {
		pend(qi, q, i, bytes);
	} else {
		mem_free(bytes);
		set_slot(qi, q, i, SLOT_LOST);
	}
}

/* The entries of slot i, valid until the next call. */
static enum status slot_entries(struct qindex *qi, struct qi_queue *q, uint32_t i, const uint8_t **ret)
{
	CHECK(i < q->n_slots);
	uint32_t slot = q->slots[q->slot_head + i];
	uint64_t first = slot_first(q, i);
	if (slot == SLOT_LOST)
		return ST_CORRUPT;
	if (slot != SLOT_PENDING)
		return qx_read(&qi->x, slot, q->uid, first, ret);
	struct qi_pending *p = q->pending;
	while (p != NULL && p->first != first)
		p = p->next;
	CHECK(p != NULL);
	*ret = p->bytes + QX_HEAD;
	return ST_OK;
}

/* ---- Entries ------------------------------------------------------------------------------------------------------------------ */

static void entry_put(uint8_t *to, const struct qentry *e)
{
	be64_put(to, e->position);
	be32_put(to + 8, e->size);
	be64_put(to + 12, e->tag);
}

static void entry_get(const uint8_t *from, struct qentry *ret)
{
	ret->position = be64_get(from);
	ret->size = be32_get(from + 8);
	ret->tag = be64_get(from + 12);
}

static void grow_tail(struct qi_queue *q)
{
	uint32_t cap = q->tail_cap == 0 ? TAIL_FIRST_CAP : q->tail_cap * 2u;
	if (cap > QI_EXTENT_ENTRIES)
		cap = QI_EXTENT_ENTRIES;
	q->tail = mem_grow(q->tail, QX_HEAD + cap * QI_ENTRY_BYTES);
	q->tail_cap = (uint16_t)cap;
}

void qi_append(struct qindex *qi, struct qi_queue *q, const struct qentry *e)
{
	CHECK_OBJ(q, QI_QUEUE_MAGIC);
	if (q->n_tail == q->tail_cap)
		grow_tail(q);
	entry_put(q->tail + QX_HEAD + q->n_tail * QI_ENTRY_BYTES, e);
	q->n_tail++;
	q->next++;
	if (q->n_tail == QI_EXTENT_ENTRIES)
		fill(qi, q);
}

unsigned qi_read(struct qindex *qi, struct qi_queue *q, uint64_t offset, struct qentry *v, unsigned n, enum status *ret)
{
	CHECK_OBJ(qi, QI_MAGIC);
	CHECK_OBJ(q, QI_QUEUE_MAGIC);
	*ret = offset < q->first || offset >= q->next ? ST_NOT_FOUND : ST_OK;
	if (*ret != ST_OK)
		return 0;
	unsigned done = 0;
	while (done < n && offset < q->next) {
		const uint8_t *from;
		uint64_t begin = tail_first(q), end = q->next;
		if (offset >= begin) {
			from = q->tail + QX_HEAD;
		} else {
			uint32_t i = slot_of(q, offset);
			enum status st = slot_entries(qi, q, i, &from);
			if (st != ST_OK) {
				*ret = done == 0 ? st : ST_OK;
				return done;
			}
			begin = slot_first(q, i);
			end = begin + QI_EXTENT_ENTRIES;
		}
		from += (offset - begin) * QI_ENTRY_BYTES;
		unsigned m = (unsigned)u64_min(n - done, end - offset);
		for (unsigned k = 0; k < m; k++, from += QI_ENTRY_BYTES)
			entry_get(from, &v[done + k]);
		done += m;
		offset += m;
	}
	return done;
}

enum status qi_get(struct qindex *qi, struct qi_queue *q, uint64_t offset, struct qentry *ret)
{
	struct qentry e;
	enum status st;
	if (qi_read(qi, q, offset, &e, 1, &st) == 1)
		*ret = e;
	return st;
}

void qi_trim(struct qindex *qi, struct qi_queue *q, uint64_t first)
{
	CHECK_OBJ(qi, QI_MAGIC);
	CHECK_OBJ(q, QI_QUEUE_MAGIC);
	CHECK(first <= q->next);
	if (first <= q->first)
		return;
	q->first = first;
	uint32_t drop = (uint32_t)u64_min((first - q->slot_base) / QI_EXTENT_ENTRIES, q->n_slots);
	for (uint32_t i = 0; i < drop; i++) {
		uint32_t slot = q->slots[q->slot_head + i];
		if (slot == SLOT_PENDING)
			drop_first_pending(qi, q);
		else if (slot == SLOT_LOST)
			qi->lost--;
		else
			qx_free(&qi->x, slot);
	}
	q->slot_head += drop;
	q->n_slots -= drop;
	q->slot_base += (uint64_t)drop * QI_EXTENT_ENTRIES;
	if (first == q->next) {
		mem_free(q->slots);
		mem_free(q->tail);
		qi_queue_init(q, q->uid, first);
	} else if (q->slot_head > q->n_slots) {
		memmove(q->slots, q->slots + q->slot_head, q->n_slots * sizeof q->slots[0]);
		q->slot_head = 0;
	}
}

/* The first of entries [from, to) whose position is 'position' or higher; 'to' when there is none. */
static uint32_t lower_bound(const uint8_t *entries, uint32_t from, uint32_t to, uint64_t position)
{
	while (from < to) {
		uint32_t mid = from + (to - from) / 2;
		if (be64_get(entries + mid * QI_ENTRY_BYTES) < position)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

enum status qi_lower_bound_position(struct qindex *qi, struct qi_queue *q, uint64_t position, uint64_t *ret)
{
	CHECK_OBJ(q, QI_QUEUE_MAGIC);
	const uint8_t *entries;
	uint32_t lo = 0, hi = q->n_slots;
	/* The first slot whose last entry is not below. */
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		enum status st = slot_entries(qi, q, mid, &entries);
		if (st != ST_OK) {
			*ret = u64_max(slot_first(q, mid), q->first);
			return st;
		}
		if (be64_get(entries + (QI_EXTENT_ENTRIES - 1) * QI_ENTRY_BYTES) < position)
			lo = mid + 1;
		else
			hi = mid;
	}
	uint64_t begin = slot_first(q, lo);
	uint32_t from = q->first > begin ? (uint32_t)(q->first - begin) : 0, to = q->n_tail;
	if (lo < q->n_slots) {
		enum status st = slot_entries(qi, q, lo, &entries);
		if (st != ST_OK) {
			*ret = u64_max(begin, q->first);
			return st;
		}
		to = QI_EXTENT_ENTRIES;
	} else if (q->n_tail > 0) {
		entries = q->tail + QX_HEAD;
	} else {
		*ret = q->next;
		return ST_OK;
	}
	*ret = begin + lower_bound(entries, from, to, position);
	return ST_OK;
}

/* ---- Repair --------------------------------------------------------------------------------------------------------------------- */

void qi_neighbours(struct qindex *qi, struct qi_queue *q, uint64_t offset, uint64_t *ret_extent_first, uint64_t *ret_prev_position,
	uint64_t *ret_next_position)
{
	CHECK_OBJ(q, QI_QUEUE_MAGIC);
	CHECK(offset >= q->slot_base && offset < tail_first(q));
	uint32_t i = slot_of(q, offset);
	const uint8_t *entries;
	*ret_extent_first = slot_first(q, i);
	*ret_prev_position = 0;
	for (uint32_t j = i; j > 0 && i - j < NEIGHBOUR_STEPS; j--) {
		if (slot_entries(qi, q, j - 1, &entries) == ST_OK) {
			*ret_prev_position = be64_get(entries + (QI_EXTENT_ENTRIES - 1) * QI_ENTRY_BYTES);
			break;
		}
	}
	*ret_next_position = q->n_tail > 0 ? be64_get(q->tail + QX_HEAD) : UINT64_MAX;
	for (uint32_t j = i + 1; j < q->n_slots && j - i <= NEIGHBOUR_STEPS; j++) {
		if (slot_entries(qi, q, j, &entries) == ST_OK) {
			*ret_next_position = be64_get(entries);
			break;
		}
	}
}

void qi_repair_extent(struct qindex *qi, struct qi_queue *q, uint64_t extent_first, const struct qentry *v, unsigned n)
{
	CHECK_OBJ(qi, QI_MAGIC);
	CHECK_OBJ(q, QI_QUEUE_MAGIC);
	CHECK(n == QI_EXTENT_ENTRIES);
	CHECK(extent_first >= q->slot_base && extent_first < tail_first(q));
	uint32_t i = slot_of(q, extent_first), slot = q->slots[q->slot_head + i], extent;
	CHECK(slot_first(q, i) == extent_first);
	if (slot == SLOT_PENDING)
		return;
	uint8_t *bytes = mem_new(QX_BYTES);
	for (unsigned k = 0; k < n; k++)
		entry_put(bytes + QX_HEAD + k * QI_ENTRY_BYTES, &v[k]);
	/* In place: it mends what the snapshots name, too. */
	if (slot != SLOT_LOST) {
		if (qx_rewrite(&qi->x, slot, q->uid, extent_first, bytes) == ST_OK)
			return;
		qx_free(&qi->x, slot);
	} else if (qx_write(&qi->x, q->uid, extent_first, bytes, &extent) == ST_OK) {
		set_slot(qi, q, i, extent);
		return;
	}
	/* Over the bound another one of the queue makes way, so that whoever reads on gets further. */
	if (qi->pending >= QI_PENDING_MAX)
		forget_oldest(qi, q);
	pend(qi, q, i, bytes);
}

/* ---- Sync, snapshot, statistics --------------------------------------------------------------------------------------------------- */

bool qi_sync(struct qindex *qi, struct disk_op *op, enum status *ret_now)
{
	CHECK_OBJ(qi, QI_MAGIC);
	return qx_sync(&qi->x, op, ret_now);
}

void qi_snapshot_begin(struct qindex *qi)
{
	CHECK_OBJ(qi, QI_MAGIC);
	qx_snapshot_begin(&qi->x);
}

void qi_snapshot_done(struct qindex *qi)
{
	CHECK_OBJ(qi, QI_MAGIC);
	qx_snapshot_done(&qi->x);
}

void qi_save(struct qindex *qi, struct buf *to)
{
	CHECK_OBJ(qi, QI_MAGIC);
	qx_save(&qi->x, to);
}

void qi_queue_save(struct qindex *qi, struct qi_queue *q, struct buf *to)
{
	CHECK_OBJ(qi, QI_MAGIC);
	CHECK_OBJ(q, QI_QUEUE_MAGIC);
	write_pending(qi, q);
	CHECK(q->first - q->slot_base < QI_EXTENT_ENTRIES);
	buf_be32(to, q->uid);
	buf_be64(to, q->slot_base);
	buf_be64(to, q->next);
	buf_u8(to, (uint8_t)(q->first - q->slot_base));
	for (uint32_t i = 0; i < q->n_slots; i++)
		buf_be32(to, q->slots[q->slot_head + i]);
	for (const struct qi_pending *p = q->pending; p != NULL; p = p->next)
		buf_put(to, p->bytes + QX_HEAD, QX_BYTES - QX_HEAD);
	if (q->n_tail > 0)
		buf_put(to, q->tail + QX_HEAD, q->n_tail * QI_ENTRY_BYTES);
}

enum status qi_load(struct qindex *qi, struct slice *rest)
{
	CHECK_OBJ(qi, QI_MAGIC);
	return qx_load(&qi->x, rest);
}

/* The slots at the front of *rest, then the bytes of the pending ones among them. */
static bool load_slots(struct qindex *qi, struct qi_queue *q, uint64_t n_slots, struct slice *rest)
{
	if (n_slots > rest->n / 4)
		return false;
	const uint8_t *slots = rest->p;
	*rest = slice_skip(*rest, n_slots * 4);
	for (uint32_t i = 0; i < n_slots; i++) {
		uint32_t slot = be32_get(slots + i * 4u);
		if (slot != SLOT_LOST && slot != SLOT_PENDING && !qx_claim(&qi->x, slot))
			return false;
		/* Neither lost nor pending is counted before set_slot says so. */
		push_slot(q, 0);
		if (slot != SLOT_PENDING) {
			set_slot(qi, q, i, slot);
			continue;
		}
		if (rest->n < QX_BYTES - QX_HEAD)
			return false;
		if (qi->pending < QI_PENDING_MAX) {
			uint8_t *bytes = mem_new(QX_BYTES);
			memcpy(bytes + QX_HEAD, rest->p, QX_BYTES - QX_HEAD);
			pend(qi, q, i, bytes);
		} else {
			set_slot(qi, q, i, SLOT_LOST);
		}
		*rest = slice_skip(*rest, QX_BYTES - QX_HEAD);
	}
	return true;
}

static bool load_tail(struct qi_queue *q, unsigned n_tail, struct slice *rest)
{
	size_t bytes = n_tail * QI_ENTRY_BYTES;
	if (bytes > rest->n)
		return false;
	while (q->tail_cap < n_tail)
		grow_tail(q);
	if (n_tail > 0)
		memcpy(q->tail + QX_HEAD, rest->p, bytes);
	q->n_tail = (uint16_t)n_tail;
	*rest = slice_skip(*rest, bytes);
	return true;
}

enum status qi_queue_load(struct qindex *qi, struct qi_queue *q, struct slice *rest)
{
	CHECK_OBJ(qi, QI_MAGIC);
	qi_queue_init(q, 0, 0);
	if (rest->n < 21)
		return ST_CORRUPT;
	uint32_t uid = be32_get(rest->p);
	uint64_t base = be64_get(rest->p + 4), next = be64_get(rest->p + 12), first = base + rest->p[20];
	if (base > OFFSET_MAX || next < base || next > OFFSET_MAX)
		return ST_CORRUPT;
	uint64_t n_slots = (next - base) / QI_EXTENT_ENTRIES;
	/* An empty queue saves nothing but its head. */
	if (first - base >= QI_EXTENT_ENTRIES || first > next || (first == next && next != base) || n_slots >= QX_EXTENTS_MAX)
		return ST_CORRUPT;
	*rest = slice_skip(*rest, 21);
	qi_queue_init(q, uid, base);
	if (!load_slots(qi, q, n_slots, rest) || !load_tail(q, (next - base) % QI_EXTENT_ENTRIES, rest)) {
		qi_queue_fini(qi, q);
		return ST_CORRUPT;
	}
	q->next = next;
	q->first = first;
	return ST_OK;
}

void qi_load_done(struct qindex *qi)
{
	CHECK_OBJ(qi, QI_MAGIC);
	qx_load_done(&qi->x);
}

void qi_stats(const struct qindex *qi, struct qi_stats *ret)
{
	CHECK_OBJ(qi, QI_MAGIC);
	const struct qx *x = &qi->x;
	*ret = (struct qi_stats){.extents = x->n, .free = x->n_free, .parked = x->parked_end - x->parked_head,
		.pending = qi->pending, .lost = qi->lost, .write_errors = x->write_errors, .damaged = x->damaged,
		.last_error = x->last_error};
}
