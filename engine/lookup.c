/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Messages by key and by position.
 *
 * The key index gives candidates, newest first; each is read and its keys are compared. A search does a bounded piece of work in a turn and goes on
 * in the next, so that a long one delays nobody. A gap in the key index (damage, or keys that could not be written) is filled from the log, a piece at
 * a time, before the search goes on.
 */
#include "base/mem.h"
#include "base/props.h"
#include "engine/eng.h"
#include "engine/kindex.h"

#define RUNS_A_TURN 64u
#define FIND_MAX 1024u         /* messages in one answer */
#define MEND_KEYS KI_RUN_KEYS  /* keys put into one rebuilt run */

struct search {
	struct list link;
	struct eng *g;
	struct engine_ask *ask;
	struct ki_cursor cursor;
	char *topic, *key;
	struct clog_wait wait;      /* linked: waits for a block */
	uint64_t position;          /* of the candidate that is being read; 0 with has_candidate false: none */
	bool has_candidate, cancelled, finished;
	uint64_t incarnation;
	struct piece *v;
	unsigned n, cap;
};

struct lookup {
	struct list active;
	struct list waiting;
};

static void search_loaded(struct clog_wait *w)
{
	struct search *s = container_of(w, struct search, wait);
	list_remove(&s->link);
	list_push(&s->g->lookup->active, &s->link);
}

static void search_free(struct search *s)
{
	list_remove(&s->link);
	list_remove(&s->wait.link);
	for (unsigned i = 0; i < s->n; i++)
		blob_drop(s->v[i].blob);
	mem_free(s->v);
	mem_free(s->topic);
	mem_free(s->key);
	mem_free(s);
}

static void search_answer(struct search *s, enum status st)
{
	struct engine_ask *a = s->ask;
	if (a->verb == ENGINE_VIEW) {
		struct engine_view *r = container_of(a, struct engine_view, ask);
		r->piece = s->n > 0 ? s->v[0] : (struct piece){{NULL, 0}, NULL};
	} else {
		struct engine_find *r = container_of(a, struct engine_find, ask);
		r->pieces = s->v;
		r->count = s->n;
	}
	a->priv[0] = NULL;
	if (a->done != NULL)
		a->done(a, st);
	search_free(s);
}

static void add_piece(struct search *s, struct slice bytes, struct blob *blob)
{
	if (s->n == s->cap)
		s->v = mem_grow(s->v, (s->cap = s->cap == 0 ? 4 : s->cap * 2) * sizeof *s->v);
	s->v[s->n++] = (struct piece){bytes, blob};
}

static bool has_key(const struct record *r, struct slice key, bool unique)
{
	struct slice rest = r->props, name, value, word;
	while (props_next(&rest, &name, &value)) {
		if (slice_eq(name, SLICE_LIT("UNIQ_KEY")) && slice_eq(value, key))
			return true;
		if (unique || !slice_eq(name, SLICE_LIT("KEYS")))
			continue;
		while (slice_split(&value, ' ', &word))
			if (slice_eq(word, key))
				return true;
	}
	return false;
}

/* Looks at the candidate. BUSY: its block is being read. */
static enum status take_candidate(struct search *s)
{
	struct eng *g = s->g;
	struct engine_find *r = container_of(s->ask, struct engine_find, ask);
	struct blob *blob;
	struct slice bytes;
	struct record rec;
	uint32_t size;
	enum status st = record_at(g, s->position, &size);
	if (st == ST_OK)
		st = eng_record_blob(g, s->position, size, &blob, &bytes, &s->wait);
	if (st == ST_BUSY)
		return st;
	s->has_candidate = false;
	if (st != ST_OK)
		return ST_OK; /* said where it was found; the others may be whole */
	CHECK(record_decode(bytes, &rec) == ST_OK);
	if (slice_eq_str(rec.topic, s->topic) && rec.position >= s->incarnation && rec.store_ms >= r->begin_ms && rec.store_ms <= r->end_ms &&
		has_key(&rec, slice_str(s->key), r->unique))
		add_piece(s, bytes, blob);
	else
		blob_drop(blob);
	return ST_OK;
}

struct gathered {
	struct ki_key *v;
	size_t n, cap;
	struct slice topic;
};

static void gather(struct gathered *k, uint64_t position, struct slice topic, struct slice key)
{
	if (k->n == k->cap)
		k->v = mem_grow(k->v, (k->cap = k->cap == 0 ? 1024 : k->cap * 2) * sizeof *k->v);
	k->v[k->n++] = (struct ki_key){position, ki_hash(topic, key)};
}

static void gather_record(struct gathered *k, const struct record *r)
{
	struct slice rest = r->props, name, value, word;
	while (props_next(&rest, &name, &value)) {
		if (slice_eq(name, SLICE_LIT("UNIQ_KEY")) && value.n > 0)
			gather(k, r->position, r->topic, value);
		else if (slice_eq(name, SLICE_LIT("KEYS")))
			while (slice_split(&value, ' ', &word))
				if (word.n > 0)
					gather(k, r->position, r->topic, word);
	}
}

/* Fills a part of the newest gap of the key index from the log. False: it cannot be filled. */
static bool mend_gap(struct eng *g)
{
	struct gathered k = {0};
	struct log_window win = {0};
	uint64_t segment, from, to, at, after;
	if (!ki_damaged(g->ki, &segment, &from, &to))
		return false;
	for (at = from; at < to && k.n < MEND_KEYS; at = after) {
		struct record r;
		enum status st = log_record(g, &win, at, &r, &after);
		if (st == ST_OK && !slice_eq(r.topic, SLICE_LIT(TOPIC_STATE)))
			gather_record(&k, &r);
		if (after <= at)
			break;
	}
	uint64_t end = u64_min(at, to);
	bool ok = end > from && ki_rebuild_run(g->ki, segment, from, end, k.v, k.n) == ST_OK;
	log_info(g->log, "index", "keys segment=%llu from=%llu to=%llu event=%s", (unsigned long long)segment, (unsigned long long)from, (unsigned long long)end,
		ok ? "mended" : "beyond-repair");
	mem_free(k.v);
	mem_free(win.buf);
	return ok;
}

/* One turn's piece of work. True: goes on at once. */
static bool search_run(struct search *s)
{
	struct eng *g = s->g;
	struct engine_find *r = container_of(s->ask, struct engine_find, ask);
	unsigned budget = RUNS_A_TURN, max = (unsigned)u64_min(r->max > 0 ? r->max : 1, FIND_MAX);
	while (!s->cancelled && !g->closing && s->n < max) {
		enum status st = s->has_candidate ? ST_OK : ki_find_next(g->ki, &s->cursor, &budget, &s->position);
		if (st == ST_BUSY)
			return true;
		if (st == ST_NOT_FOUND)
			break;
		if (st == ST_CORRUPT) {
			if (!mend_gap(g))
				ki_find_skip(&s->cursor);
			return true;
		}
		s->has_candidate = true;
		if (take_candidate(s) == ST_BUSY) {
			if (!list_linked(&s->wait.link))
				return true;
			list_remove(&s->link);
			list_push(&g->lookup->waiting, &s->link);
			return false;
		}
	}
	r->last_ms = g->store_ms;
	r->last_position = clog_visible(&g->clog);
	search_answer(s, s->cancelled || g->closing ? ST_CLOSED : s->n > 0 ? ST_OK : ST_NOT_FOUND);
	return false;
}

static bool view_run(struct search *s)
{
	struct eng *g = s->g;
	struct blob *blob;
	struct slice bytes;
	uint32_t size;
	enum status st = s->cancelled || g->closing ? ST_CLOSED : record_at(g, s->position, &size);
	if (st == ST_OK)
		st = eng_record_blob(g, s->position, size, &blob, &bytes, &s->wait);
	if (st == ST_BUSY) {
		if (!list_linked(&s->wait.link))
			return true;
		list_remove(&s->link);
		list_push(&g->lookup->waiting, &s->link);
		return false;
	}
	struct record rec;
	if (st == ST_OK && record_decode(bytes, &rec) == ST_OK) {
		add_piece(s, bytes, blob);
		if (slice_eq(rec.topic, SLICE_LIT(TOPIC_STATE)))
			st = ST_NOT_FOUND; /* not a message */
	}
	/* What does not check out where a caller points is no record for him: he may have pointed anywhere. */
	search_answer(s, st == ST_CORRUPT || st == ST_TOO_BIG ? ST_NOT_FOUND : st);
	return false;
}

bool lookup_turn(struct eng *g)
{
	struct list now, *n;
	list_init(&now);
	list_move(&now, &g->lookup->active);
	while ((n = list_pop(&now)) != NULL) {
		struct search *s = container_of(n, struct search, link);
		bool view = s->ask->verb == ENGINE_VIEW;
		if (view ? view_run(s) : search_run(s))
			list_push(&g->lookup->active, n);
	}
	return !list_empty(&g->lookup->active);
}

void lookup_submit(struct eng *g, struct engine_ask *a)
{
	struct search *s = mem_new(sizeof *s);
	s->g = g;
	s->ask = a;
	s->wait.ready = search_loaded;
	list_init(&s->wait.link);
	list_init(&s->link);
	a->priv[0] = s;
	if (a->verb == ENGINE_VIEW) {
		s->position = container_of(a, struct engine_view, ask)->position;
	} else {
		struct engine_find *r = container_of(a, struct engine_find, ask);
		struct topic *t = topic_find(g, r->topic);
		if (t == NULL) {
			a->priv[0] = NULL;
			search_free(s);
			eng_complete(g, a, ST_NO_TOPIC);
			return;
		}
		s->incarnation = t->incarnation;
		s->topic = slice_dup(r->topic);
		s->key = slice_dup(r->key);
		ki_find_begin(&s->cursor, ki_hash(r->topic, r->key), g->clog.min, clog_visible(&g->clog));
	}
	list_push(&g->lookup->active, &s->link);
}

void lookup_cancel(struct eng *g, struct engine_ask *a)
{
	struct search *s = a->priv[0];
	if (s == NULL)
		return; /* answered already */
	s->cancelled = true;
	list_remove(&s->wait.link);
	list_remove(&s->link);
	list_push(&g->lookup->active, &s->link);
}

void lookup_init(struct eng *g)
{
	g->lookup = mem_new(sizeof *g->lookup);
	list_init(&g->lookup->active);
	list_init(&g->lookup->waiting);
}

void lookup_fini(struct eng *g)
{
	while (!list_empty(&g->lookup->active))
		search_free(container_of(g->lookup->active.next, struct search, link));
	while (!list_empty(&g->lookup->waiting))
		search_free(container_of(g->lookup->waiting.next, struct search, link));
	mem_free(g->lookup);
}
