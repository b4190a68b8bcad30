/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Cells: the last value of a name, in memory, for what the fronts remember beside messages.
 *
 * Each put is a state record of its own: a STATE_CELL sets the whole value, a STATE_CELL_DROP forgets the name, so that replaying ends where the log
 * ends. Memory follows when the record has its place, and a list sees that. A put for which the log has no prepared space waits with a copy of its bytes,
 * and everything that is asked behind it waits too, so that order holds.
 *
 * A snapshot walks the list of all cells with a marker in it: cells that come and go around it are in the replay.
 *
 * STATE_CELL: space, name, and the value to the item's end. STATE_CELL_DROP: space, name.
 */
#include "base/mem.h"
#include "engine/groups.h"

#define CELLS_MAGIC 0x43454c4cu
#define CELL_VALUE_SPARE (64u << 10)  /* a value may be so much over the largest message */
#define CELL_ITEM_MAX (32u << 20)     /* of one item, whatever the settings say: a snapshot's chunk must hold it */

/* All cells of one front. */
struct space {
	char *name;
	struct map by_name;
	struct list cells;
	size_t count;
};
struct cell {
	struct space *space;
	struct blob *blob;         /* name, then value: whoever was told of them holds it */
	uint32_t name_n;
	struct list link;          /* space->cells */
	struct list all;           /* cells->all */
};
/* A request that waits for room in the log. */
struct waiting {
	struct list link;
	struct engine_ask *ask;
	struct engine_cell put;    /* of a put: its slices stand behind this */
	struct engine_cells *list;
	struct slice space, name;  /* of a list */
	bool one;
	size_t bytes;
};
struct cells {
	uint32_t magic;
	struct map spaces;
	struct list all;           /* struct cell, and the marker */
	struct list marker;        /* where the snapshot goes on; not linked: none is being written */
	struct list waiting;
	size_t waiting_bytes;
};

static struct slice cell_name(const struct cell *c)
{
	return slice_of(c->blob->p, c->name_n);
}

static struct slice cell_value(const struct cell *c)
{
	return slice_of(c->blob->p + c->name_n, c->blob->n - c->name_n);
}

static size_t cell_bytes(const struct cell *c)
{
	return c->blob->n;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------------------------- */

static struct cell *cell_find(struct cells *cs, struct slice space, struct slice name)
{
	struct space *s = map_get(&cs->spaces, space);

	return s == NULL ? NULL : map_get(&s->by_name, name);
}

static void cell_drop(struct eng *g, struct cell *c)
{
	struct space *s = c->space;

	CHECK(map_drop(&s->by_name, cell_name(c)) == c);
	list_remove(&c->link);
	list_remove(&c->all);
	g->stats[STAT_CELLS]--;
	g->stats[STAT_CELL_BYTES] -= cell_bytes(c);
	blob_drop(c->blob);
	mem_free(c);
	if (--s->count > 0)
		return;
	CHECK(map_drop(&g->cells->spaces, slice_str(s->name)) == s);
	map_fini(&s->by_name);
	mem_free(s->name);
	mem_free(s);
}

static void cell_set(struct eng *g, struct slice space, struct slice name, struct slice value)
{
	struct cells *cs = g->cells;
	struct space *s = map_get(&cs->spaces, space);
	struct blob *blob = blob_new(name.n + value.n);

	if (name.n > 0)
		memcpy(blob->p, name.p, name.n);
	if (value.n > 0)
		memcpy(blob->p + name.n, value.p, value.n);
	if (s == NULL) {
		s = mem_new(sizeof *s);
		s->name = slice_dup(space);
		list_init(&s->cells);
		CHECK(map_put(&cs->spaces, slice_str(s->name), s) == NULL);
	}
	struct cell *c = map_get(&s->by_name, name);
	if (c == NULL) {
		c = mem_new(sizeof *c);
		c->space = s;
		list_push(&s->cells, &c->link);
		list_push(&cs->all, &c->all);
		s->count++;
		g->stats[STAT_CELLS]++;
	} else {
		CHECK(map_drop(&s->by_name, name) == c);
		g->stats[STAT_CELL_BYTES] -= cell_bytes(c);
		blob_drop(c->blob);
	}
	c->blob = blob;
	c->name_n = (uint32_t)name.n;
	CHECK(map_put(&s->by_name, cell_name(c), c) == NULL);
	g->stats[STAT_CELL_BYTES] += cell_bytes(c);
}

/* ---- State -------------------------------------------------------------------------------------------------------------------------- */

static void put_item(struct buf *b, struct slice space, struct slice name, struct slice value)
{
	size_t at = state_item_begin(b, STATE_CELL);

	state_put_name(b, space);
	state_put_name(b, name);
	buf_slice(b, value);
	state_item_end(b, at);
}

enum status cells_state_apply(struct eng *g, enum state_type type, struct slice payload)
{
	struct slice space, name;

	if (!state_get_name(&payload, &space) || !state_get_name(&payload, &name) || space.n == 0 || space.n > CELL_SPACE_MAX ||
		memchr(space.p, 0, space.n) != NULL)
		return ST_CORRUPT;
	if (type == STATE_CELL) {
		cell_set(g, space, name, payload);
		return ST_OK;
	}
	struct cell *c = cell_find(g->cells, space, name);
	if (c != NULL)
		cell_drop(g, c);
	return ST_OK;
}

/* cursor: 0 begins; what is behind the marker is still to be written. */
bool cells_state_all(struct eng *g, struct buf *items, size_t max, uint64_t *cursor)
{
	struct cells *cs = g->cells;
	size_t limit = items->n + max;

	if (*cursor == 0) {
		list_remove(&cs->marker); /* of a snapshot that was given up */
		list_push_front(&cs->all, &cs->marker);
		*cursor = 1;
	}
	struct list *n = cs->marker.next;
	for (; n != &cs->all && items->n < limit; n = n->next) {
		const struct cell *c = container_of(n, struct cell, all);
		put_item(items, slice_str(c->space->name), cell_name(c), cell_value(c));
	}
	list_remove(&cs->marker);
	if (n == &cs->all)
		return false;
	list_insert_before(n, &cs->marker);
	return true;
}

/* ---- Verbs ---------------------------------------------------------------------------------------------------------------------------- */

/* The largest item for which there is always room sooner or later, wherever in a segment the tail stands. */
static uint64_t item_max(const struct eng *g)
{
	const struct clog_conf *c = &g->clog.conf;
	uint64_t record = u64_min(u64_min(c->segment_bytes, c->unsynced_bytes), (c->ahead_bytes + c->record_max) / 2);

	return u64_min(record - u64_min(record, 4096), CELL_ITEM_MAX); /* 4096: what a record is beside the item */
}

static enum status check_space(struct slice space)
{
	return space.n == 0 || space.n > CELL_SPACE_MAX || memchr(space.p, 0, space.n) != NULL ? ST_BAD_ARG : ST_OK;
}

static enum status check_put(const struct eng *g, const struct engine_cell *r)
{
	enum status st = check_space(r->space);

	if (st != ST_OK || r->drop)
		return st != ST_OK ? st : r->name.n > CELL_NAME_MAX ? ST_TOO_BIG : ST_OK;
	if (r->name.n > CELL_NAME_MAX || r->value.n > (uint64_t)g->conf.max_message + CELL_VALUE_SPARE)
		return ST_TOO_BIG;
	return r->space.n + r->name.n + r->value.n + 64 > item_max(g) ? ST_TOO_BIG : ST_OK;
}

/* Is there room among the cells? What a put replaces does not count. */
static enum status check_bounds(const struct eng *g, const struct cell *old, const struct engine_cell *r)
{
	uint64_t bytes = g->stats[STAT_CELL_BYTES] - (old == NULL ? 0 : cell_bytes(old)) + r->name.n + r->value.n;

	if (old == NULL && g->stats[STAT_CELLS] >= g->conf.max_cells)
		return ST_BUSY;
	return bytes > g->conf.max_cell_bytes && (old == NULL || r->value.n > cell_value(old).n) ? ST_BUSY : ST_OK;
}

/* *later: it could only not be done now. */
static enum status try_put(struct eng *g, const struct engine_cell *r, struct engine_ask *ask, bool *later)
{
	struct cell *c = cell_find(g->cells, r->space, r->name);
	struct buf items = {0};

	*later = false;
	if (r->drop && c == NULL && clog_visible(&g->clog) == g->clog.tail) { /* else an earlier request may be on its way: behind it, by a record */
		eng_complete(g, ask, ST_OK);
		return ST_OK;
	}
	enum status st = r->drop ? ST_OK : g->clog.full || g->space_low ? ST_DISK_FULL : check_bounds(g, c, r);
	if (st != ST_OK)
		return st;
	if (r->drop) {
		size_t at = state_item_begin(&items, STATE_CELL_DROP);
		state_put_name(&items, r->space);
		state_put_name(&items, r->name);
		state_item_end(&items, at);
	} else {
		put_item(&items, r->space, r->name, r->value);
	}
	st = state_append(g, buf_view(&items), ask, NULL);
	buf_fini(&items);
	*later = st == ST_BUSY;
	if (st != ST_OK)
		return st;
	if (r->drop && c != NULL)
		cell_drop(g, c);
	else if (!r->drop)
		cell_set(g, r->space, r->name, r->value);
	return ST_OK;
}

static void list_one(struct cell_info *v, struct blob **held, size_t i, struct cell *c)
{
	held[i] = blob_hold(c->blob);
	v[i] = (struct cell_info){cell_name(c), cell_value(c)};
}

static void do_list(struct eng *g, struct engine_cells *r, struct slice space, struct slice name, bool one)
{
	struct space *s = map_get(&g->cells->spaces, space);
	struct cell *c = one ? cell_find(g->cells, space, name) : NULL;
	size_t n = one ? c != NULL : s == NULL ? 0 : s->count, i = 0;
	struct reply *rep = reply_new(g->gs, &r->ask, n * sizeof(struct cell_info), 0);
	struct cell_info *v = rep->rows;

	rep->held = mem_array(n, sizeof *rep->held);
	rep->n_held = n;
	if (c != NULL)
		list_one(v, rep->held, i++, c);
	else if (!one && s != NULL)
		LIST_EACH(&s->cells, l)
			list_one(v, rep->held, i++, container_of(l, struct cell, link));
	CHECK(i == n);
	r->v = v;
	r->count = n;
	reply_send(g->gs, rep, ST_OK);
}

/* ---- Waiting ---------------------------------------------------------------------------------------------------------------------------- */

static struct slice copied(uint8_t **at, struct slice s)
{
	struct slice c = slice_of(*at, s.n);

	if (s.n > 0)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return c;
}

static bool wait_for_room(struct eng *g, struct engine_ask *a, struct slice space, struct slice name, struct slice value)
{
	struct cells *cs = g->cells;
	size_t bytes = sizeof(struct waiting) + space.n + name.n + value.n;

	if (cs->waiting_bytes + bytes > g->conf.unsynced_bytes)
		return false;
	struct waiting *w = mem_new(bytes);
	uint8_t *at = (uint8_t *)(w + 1);
	w->ask = a;
	w->bytes = bytes;
	w->space = copied(&at, space);
	w->name = copied(&at, name);
	if (a->verb == ENGINE_CELL_PUT) {
		w->put.space = w->space;
		w->put.name = w->name;
		w->put.value = copied(&at, value);
		w->put.drop = container_of(a, struct engine_cell, ask)->drop;
	} else {
		w->list = container_of(a, struct engine_cells, ask);
		w->one = w->list->one;
	}
	cs->waiting_bytes += bytes;
	list_push(&cs->waiting, &w->link);
	return true;
}

static void waiting_free(struct cells *cs, struct waiting *w)
{
	list_remove(&w->link);
	cs->waiting_bytes -= w->bytes;
	mem_free(w);
}

void cells_retry(struct eng *g)
{
	struct cells *cs = g->cells;
	bool later = false;

	while (!list_empty(&cs->waiting)) {
		struct waiting *w = container_of(cs->waiting.next, struct waiting, link);
		if (w->list != NULL) {
			do_list(g, w->list, w->space, w->name, w->one);
		} else {
			enum status st = try_put(g, &w->put, w->ask, &later);
			if (later)
				return;
			if (st != ST_OK)
				eng_complete(g, w->ask, st);
		}
		waiting_free(cs, w);
	}
}

bool cells_waiting(const struct eng *g)
{
	return !list_empty(&g->cells->waiting);
}

void cells_fail(struct eng *g, enum status st)
{
	while (cells_waiting(g)) {
		struct waiting *w = container_of(g->cells->waiting.next, struct waiting, link);
		eng_complete(g, w->ask, st);
		waiting_free(g->cells, w);
	}
}

void cells_submit(struct eng *g, struct engine_ask *a)
{
	bool later = cells_waiting(g);

	if (a->verb == ENGINE_CELL_LIST) {
		struct engine_cells *r = container_of(a, struct engine_cells, ask);
		enum status st = check_space(r->space);
		if (st == ST_OK && !later)
			do_list(g, r, r->space, r->name, r->one);
		else if (st != ST_OK || !wait_for_room(g, a, r->space, r->one ? r->name : slice_of(NULL, 0), slice_of(NULL, 0)))
			eng_complete(g, a, st != ST_OK ? st : ST_BUSY);
		return;
	}
	struct engine_cell *r = container_of(a, struct engine_cell, ask);
	enum status st = check_put(g, r);
	if (st == ST_OK && !later)
		st = try_put(g, r, a, &later);
	if (later && (st == ST_OK || st == ST_BUSY))
		st = wait_for_room(g, a, r->space, r->name, r->drop ? slice_of(NULL, 0) : r->value) ? ST_OK : ST_BUSY;
	if (st != ST_OK)
		eng_complete(g, a, st);
}

/* ---- Life -------------------------------------------------------------------------------------------------------------------------------- */

void cells_init(struct eng *g)
{
	struct cells *cs = mem_new(sizeof *cs);

	cs->magic = CELLS_MAGIC;
	list_init(&cs->all);
	list_init(&cs->marker);
	list_init(&cs->waiting);
	g->cells = cs;
}

void cells_fini(struct eng *g)
{
	struct cells *cs = g->cells;

	if (cs == NULL)
		return;
	CHECK_OBJ(cs, CELLS_MAGIC);
	list_remove(&cs->marker);
	while (!list_empty(&cs->all))
		cell_drop(g, container_of(cs->all.next, struct cell, all));
	while (!list_empty(&cs->waiting))
		waiting_free(cs, container_of(cs->waiting.next, struct waiting, link));
	map_fini(&cs->spaces);
	cs->magic = 0;
	mem_free(cs);
	g->cells = NULL;
}
