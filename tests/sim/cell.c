/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Cells in the crash test: values of a few names are set and dropped, small and large. What must hold:
 *   - a list tells the last value that was put before it was asked, and nothing else;
 *   - after a crash a cell has the last value that was answered OK, or one that was put later;
 *   - a put is answered in the order in which it was asked, and none is refused without a reason.
 */
#include "base/be.h"
#include "tests/sim/crash.h"

enum { VALUE_MIN = 12, SMALL_VALUE = 300, ALWAYS_FITS = 24000, NAME_SIZE = 24 };

static const struct actor keeper = {.front = "sim", .address = {(const uint8_t *)"10.0.0.4:4", 10}};
static const char *const spaces[CELL_SPACES] = {"retained", "sessions"};

static void name_of(char to[NAME_SIZE], int cell)
{
	snprintf(to, NAME_SIZE, "cell-%d", cell);
}

/* What was put last and not refused; 0: nothing. */
static uint64_t last_of(const struct cell_model *c, size_t n)
{
	while (n > 0)
		if (!c->history[--n].refused)
			return c->history[n].id;
	return 0;
}

static void push(struct cell_model *c, struct cell_put p)
{
	if (c->n == c->cap) {
		c->cap = c->cap == 0 ? 8 : c->cap * 2;
		c->history = mem_grow(c->history, c->cap * sizeof(*c->history));
	}
	c->history[c->n++] = p;
}

static void put_answered(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct life *l = op->life;
	struct cell_put *p = &l->cells[op->group][op->topic].history[op->commit];

	if (st == ST_OK) {
		for (size_t i = 0; i < op->commit; i++) {
			const struct cell_put *before = &l->cells[op->group][op->topic].history[i];
			MUST(l, before->answered || before->refused, "a cell's put was answered before an earlier one");
		}
		MUST(l, p->seq > l->cell_done, "a cell's put was answered before an earlier one of another cell");
		l->cell_done = p->seq;
		p->answered = true;
	} else {
		bool large = p->size > ALWAYS_FITS;
		MUST(l, excused(l, st) || st == ST_CLOSED || (st == ST_TOO_BIG && large) || st == ST_BUSY || (st == ST_DISK_FULL && l->tight),
			"a cell's put of %u bytes was answered with %s", p->size, status_name(st));
		p->refused = st != ST_IO && st != ST_CLOSED;
		p->answered = !p->refused; /* its fate is not known, but nothing waits for it */
		p->unsure = !p->refused;
	}
	op_free(op);
}

static void put(struct life *l, int space, int cell)
{
	struct op *op = op_new(l, OP_OTHER);
	bool drop = one_in(l, 5), large = one_in(l, 6);
	uint32_t size = VALUE_MIN + (uint32_t)below(l, large ? l->world.conf.max_message + 70000 : SMALL_VALUE);
	uint64_t id = drop ? 0 : ++l->cell_id;
	struct cell_model *c = &l->cells[space][cell];
	char name[NAME_SIZE];

	name_of(name, cell);
	op->group = space;
	op->topic = cell;
	op->commit = c->n;
	push(c, (struct cell_put){.id = id, .size = drop ? 0 : size, .seq = ++l->cell_seq});
	buf_reset(&l->body);
	if (!drop)
		body_put(&l->body, id, size);
	op->u.cell = (struct engine_cell){.ask = {.done = put_answered}, .actor = &keeper, .space = slice_str(spaces[space]), .name = slice_str(name),
		.value = buf_view(&l->body), .drop = drop};
	engine_cell_put(l->world.engine, &op->u.cell);
	if (l->body.n > 0)
		memset(l->body.p, 0xdb, l->body.n);
	memset(name, 0xdb, sizeof(name));
}

/* Which cell is told of, and with which value; the answer is compared there and then. */
static void see(struct life *l, int space, const struct engine_cells *r, bool seen[CELLS], uint64_t ids[CELLS])
{
	char name[NAME_SIZE];

	for (size_t i = 0; i < r->count; i++) {
		int cell = 0;
		for (; cell < CELLS; cell++) {
			name_of(name, cell);
			if (slice_eq_str(r->v[i].name, name))
				break;
		}
		MUST(l, cell < CELLS && !seen[cell], "%s: a cell that nobody put, or twice", spaces[space]);
		seen[cell] = true;
		ids[cell] = body_id(r->v[i].value);
		MUST(l, ids[cell] > 0, "%s cell-%d: its value is damaged", spaces[space], cell);
	}
}

static void listed(struct engine_ask *a, enum status st)
{
	struct op *op = container_of(a, struct op, u.ask);
	struct life *l = op->life;
	size_t *asked = op->arg;
	bool seen[CELLS] = {false};
	uint64_t ids[CELLS] = {0};

	MUST(l, st == ST_OK || excused(l, st) || st == ST_CLOSED || st == ST_BUSY, "a list of cells was answered with %s", status_name(st));
	if (st == ST_OK) {
		see(l, op->group, &op->u.cells, seen, ids);
		for (int i = 0; i < CELLS; i++)
			MUST(l, (op->u.cells.one && i != op->topic) || excused(l, ST_IO) || ids[i] == last_of(&l->cells[op->group][i], asked[i]),
				"%s cell-%d: value %llu was put last, a list tells %llu", spaces[op->group], i,
				(unsigned long long)last_of(&l->cells[op->group][i], asked[i]), (unsigned long long)ids[i]);
	}
	mem_free(asked);
	op->arg = NULL;
	op_free(op);
}

static void list(struct life *l, int space)
{
	struct op *op = op_new(l, OP_CELLS);
	size_t *asked = mem_array(CELLS, sizeof(*asked));
	char name[NAME_SIZE];

	for (int i = 0; i < CELLS; i++)
		asked[i] = l->cells[space][i].n;
	op->group = space;
	op->topic = (int)below(l, CELLS);
	op->arg = asked;
	name_of(name, op->topic);
	op->u.cells = (struct engine_cells){.ask = {.done = listed}, .actor = &keeper, .space = slice_str(spaces[space]), .name = slice_str(name),
		.one = one_in(l, 3)};
	engine_cell_list(l->world.engine, &op->u.cells);
	memset(name, 0xdb, sizeof(name));
}

void cell_step(struct life *l)
{
	int space = (int)below(l, CELL_SPACES);

	if (one_in(l, 5))
		list(l, space);
	else
		for (uint64_t n = one_in(l, 10) ? below(l, 10) : 1; n > 0; n--)
			put(l, space, (int)below(l, CELLS));
}

struct found {
	bool seen[CELLS];
	uint64_t ids[CELLS];
	bool done;
	int space;
};

static void submit_list(struct life *l, struct op *op) { engine_cell_list(l->world.engine, &op->u.cells); }

static void found(struct op *op)
{
	struct found *f = op->arg;

	MUST(op->life, op->status == ST_OK, "a list of cells was answered with %s", status_name(op->status));
	see(op->life, f->space, &op->u.cells, f->seen, f->ids);
}

static void check_cell(struct life *l, int space, int i, uint64_t got, bool lossy)
{
	struct cell_model *c = &l->cells[space][i];
	size_t floor = 0;
	bool fits = false;

	for (size_t k = 0; k < c->n && !lossy; k++)
		if (c->history[k].answered && !c->history[k].unsure)
			floor = k;
	for (size_t k = floor; k < c->n; k++)
		fits |= !c->history[k].refused && c->history[k].id == got;
	if (c->n == 0 || (floor == 0 && !(c->history[0].answered && !c->history[0].unsure)))
		fits |= got == 0; /* nothing is known to be there */
	MUST(l, fits || lossy, "%s cell-%d: value %llu is there, of %zu puts since the last durable one", spaces[space], i, (unsigned long long)got, c->n - floor);
	c->n = 0;
	push(c, (struct cell_put){.id = got, .answered = true});
}

void cell_check(struct life *l, bool lossy)
{
	for (int s = 0; s < CELL_SPACES; s++) {
		struct op *op = op_new(l, OP_OTHER);
		struct found f = {.space = s};

		op->arg = &f;
		op->then = found;
		op->u.cells.space = slice_str(spaces[s]);
		ask_wait(l, op, submit_list);
		op_free(op);
		for (int i = 0; i < CELLS; i++)
			check_cell(l, s, i, f.ids[i], lossy);
	}
}

void cell_fini(struct life *l)
{
	for (int s = 0; s < CELL_SPACES; s++)
		for (int i = 0; i < CELLS; i++)
			mem_free(l->cells[s][i].history);
}
