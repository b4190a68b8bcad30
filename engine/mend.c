/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The queue index, mended. An extent that cannot be read is filled again from the log between its neighbours, one extent at a time and a bounded
 * span of the log a turn; who needs it is told BUSY meanwhile. While the store is being opened it is done at once.
 *
 * Filling always succeeds, unless the disk fails: then nothing is mended for a while. Entries whose records were not found:
 *  - in front of all that were found, when the scan began at the log's first position: they left with their segments. Position 0, so that
 *    trimming takes them.
 *  - others: the log is damaged there. Size 0 and the position of the one before, so that positions keep ascending; read, each is CORRUPT.
 */
#include "base/mem.h"
#include "engine/eng.h"

#define MEND_TURN_BYTES (16u << 20)   /* of the log, scanned in one turn */
#define MEND_PAUSE_NS (5 * SEC_NS)    /* after the disk failed */

struct mend {
	struct queue *queue;       /* NULL: nothing is being mended; its topic is held */
	uint64_t first;            /* offset of the extent's first entry */
	uint64_t prev;             /* position of the entry before it */
	uint64_t at, end;          /* what is left to scan */
	unsigned found;
	struct qentry v[QI_EXTENT_ENTRIES];
	struct log_window win;
	uint64_t pause_ns;         /* no mending before this time */
};

static void begin(struct eng *g, struct queue *q, uint64_t offset)
{
	struct mend *m = g->mend;
	uint64_t next;
	qi_neighbours(g->qi, &q->index, offset, &m->first, &m->prev, &next);
	memset(m->v, 0, sizeof m->v);
	m->found = 0;
	m->queue = q;
	m->at = m->prev;
	m->end = g->recovering ? next : u64_min(next, clog_visible(&g->clog)); /* the marks are not known before the log was replayed */
	m->win.n = 0;
	topic_hold(q->topic);
}

static void end(struct eng *g)
{
	struct mend *m = g->mend;
	topic_drop_ref(g, m->queue->topic);
	m->queue = NULL;
	mem_free(m->win.buf);
	m->win = (struct log_window){0};
}

/* Puts the entries back, with what is missing marked. */
static void fill(struct eng *g)
{
	struct mend *m = g->mend;
	struct queue *q = m->queue;
	bool left = m->prev < g->clog.min;
	uint64_t before = left ? 0 : m->prev;
	unsigned lost = 0;
	if (q->topic->dead || m->first + QI_EXTENT_ENTRIES <= q->index.first)
		return; /* nobody needs it any more */
	for (unsigned i = 0; i < QI_EXTENT_ENTRIES; i++) {
		left &= m->v[i].size == 0;
		if (m->v[i].size == 0) {
			m->v[i].position = before;
			lost += !left;
		}
		before = m->v[i].position;
	}
	qi_repair_extent(g->qi, &q->index, m->first, m->v, QI_EXTENT_ENTRIES);
	eng_count(g, STAT_DAMAGED_RECORDS_TOTAL, lost);
	log_warn(g->log, "index", "topic=%s queue=%d offset=%llu found=%u lost=%u event=mended", q->topic->name, q->id, (unsigned long long)m->first, m->found,
		lost);
}

/* Looks at one record. OK; NOT_FOUND behind the last one; IO. */
static enum status step(struct eng *g)
{
	struct mend *m = g->mend;
	struct queue *q = m->queue;
	struct record r;
	uint64_t after;
	m->at = u64_max(m->at, g->clog.min);
	if (m->at >= m->end || clog_segment(&g->clog, m->at) == NULL || m->found == QI_EXTENT_ENTRIES || q->topic->dead)
		return ST_NOT_FOUND;
	enum status st = log_record(g, &m->win, m->at, &r, &after);
	if (st != ST_OK && st != ST_NOT_FOUND && st != ST_CORRUPT)
		return ST_IO;
	if (st == ST_OK && r.queue == q->id && slice_eq(r.topic, topic_name(q->topic)) && r.position >= q->topic->incarnation && r.queue_offset >= m->first &&
		r.queue_offset < m->first + QI_EXTENT_ENTRIES) {
		struct qentry *e = &m->v[r.queue_offset - m->first];
		m->found += e->size == 0;
		*e = (struct qentry){r.position, r.size, index_tag(g, &r)};
	}
	CHECK(after > m->at);
	m->at = after;
	return ST_OK;
}

/* Scans 'bytes' of the log. OK: the extent is whole; BUSY: there is more to scan; IO. */
static enum status scan(struct eng *g, uint64_t bytes)
{
	struct mend *m = g->mend;
	uint64_t from = u64_max(m->at, g->clog.min);
	enum status st = ST_OK;
	while (st == ST_OK && m->at < from + bytes)
		st = step(g);
	if (st == ST_OK)
		return ST_BUSY;
	if (st == ST_NOT_FOUND) {
		fill(g);
	} else {
		log_warn(g->log, "index", "topic=%s queue=%d offset=%llu event=not-mended reason=\"%s\"", m->queue->topic->name, m->queue->id,
			(unsigned long long)m->first, status_text(st));
		m->pause_ns = g->now_ns + MEND_PAUSE_NS;
	}
	end(g);
	return st == ST_NOT_FOUND ? ST_OK : st;
}

/* The extent of an offset cannot be read. OK: now it can; BUSY: soon; IO: not for now. */
static enum status mend(struct eng *g, struct queue *q, uint64_t offset)
{
	if (g->mend == NULL)
		g->mend = mem_new(sizeof *g->mend);
	if (g->mend->queue != NULL)
		return ST_BUSY;
	if (g->now_ns < g->mend->pause_ns)
		return ST_IO;
	begin(g, q, offset);
	return g->recovering ? scan(g, UINT64_MAX / 2) : ST_BUSY;
}

unsigned eng_index_read(struct eng *g, struct queue *q, uint64_t offset, struct qentry *v, unsigned n, enum status *ret)
{
	unsigned got = qi_read(g->qi, &q->index, offset, v, n, ret);
	if (got == 0 && *ret == ST_CORRUPT) {
		enum status st = mend(g, q, offset);
		if (st == ST_OK)
			got = qi_read(g->qi, &q->index, offset, v, n, ret);
		else
			*ret = st;
	}
	for (unsigned i = 0; i < got; i++)
		if (v[i].size == 0) {
			*ret = i > 0 ? ST_OK : ST_CORRUPT;
			return i;
		}
	return got;
}

bool mend_turn(struct eng *g)
{
	if (g->mend == NULL || g->mend->queue == NULL)
		return false;
	scan(g, MEND_TURN_BYTES);
	return g->mend->queue != NULL;
}

void mend_fini(struct eng *g)
{
	if (g->mend == NULL)
		return;
	mem_free(g->mend->win.buf);
	mem_free(g->mend);
}
