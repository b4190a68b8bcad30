/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Reading documents. normalise() walks the text once: it counts, bounds the depth, and rewrites keys that are integers
 * or objects into strings. It does not judge the rest of the grammar, which jansson does.
 */
#include "wire/doc.h"

#include "base/mem.h"
#include "base/obj.h"

struct block {
	struct block *next;
	max_align_t data[];
};

void wire_doc_fini(struct wire_doc *d)
{
	struct block *b = d->blocks;
	json_decref(d->json);
	while (b != NULL) {
		struct block *next = b->next;
		mem_free(b);
		b = next;
	}
	*d = (struct wire_doc){NULL, NULL};
}

void *doc_array(struct wire_doc *d, size_t count, size_t size)
{
	CHECK(size > 0 && count <= (SIZE_MAX - sizeof(struct block)) / size);
	if (count == 0)
		return NULL;
	struct block *b = mem_new(sizeof(*b) + count * size);
	b->next = d->blocks;
	d->blocks = b;
	return b->data;
}

bool doc_refuse(struct wire_doc *d, const char **ret_why, const char *why)
{
	wire_doc_fini(d);
	*ret_why = why;
	return false;
}

/* ---- Normalising ------------------------------------------------------------------------------------------------- */

struct walk {
	struct slice in;
	size_t at;
	size_t copied;            /* so much of 'in' is in 'out', when anything is */
	struct buf *out;
	size_t values, max_values;
	uint64_t objects;         /* bit per level: an object, not an array */
	unsigned depth;
	bool key_next;            /* the next token is a key */
};

/* The index behind a string whose opening quote is at 'at'; the end of the text when it does not end. */
static size_t string_end(struct slice in, size_t at)
{
	for (at++; at < in.n && in.p[at] != '"'; at++)
		if (in.p[at] == '\\')
			at++;
	return at < in.n ? at + 1 : in.n;
}

/* The index behind the object or array that begins at 'at'; 0 when it does not end or is nested too deeply. */
static size_t container_end(struct slice in, size_t at)
{
	unsigned depth = 0;
	while (at < in.n) {
		uint8_t c = in.p[at];
		if (c == '"') {
			at = string_end(in, at);
			continue;
		}
		at++;
		if ((c == '{' || c == '[') && ++depth > WIRE_BODY_DEPTH)
			return 0;
		if ((c == '}' || c == ']') && --depth == 0)
			return at;
	}
	return 0;
}

/* Puts in[from, to) into the output as a JSON string, after all that came before it. */
static void quote(struct walk *w, size_t from, size_t to)
{
	buf_put(w->out, w->in.p + w->copied, from - w->copied);
	buf_json_str(w->out, slice_of(w->in.p + from, to - from));
	w->copied = to;
}

/* A key that is not a string: an integer or an object. Returns the index behind it; 0 when it is neither. */
static size_t odd_key(struct walk *w)
{
	size_t from = w->at, to = from;
	if (w->in.p[from] == '{') {
		to = container_end(w->in, from);
	} else {
		if (w->in.p[to] == '-')
			to++;
		while (to < w->in.n && w->in.p[to] >= '0' && w->in.p[to] <= '9')
			to++;
		if (to == from)
			return 0;
	}
	if (to != 0)
		quote(w, from, to);
	return to;
}

static bool enter(struct walk *w, bool object)
{
	if (++w->depth > WIRE_BODY_DEPTH)
		return false;
	w->objects = w->objects << 1 | object;
	w->key_next = object;
	return true;
}

static const char *normalise(struct walk *w)
{
	while (w->at < w->in.n) {
		uint8_t c = w->in.p[w->at];
		if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
			w->at++;
			continue;
		}
		if (w->key_next && c != '"' && c != '}' && c != ',') {
			w->key_next = false;
			w->at = odd_key(w);
			if (w->at == 0)
				return "document has a key that is neither text, integer nor object";
			continue;
		}
		switch (c) {
		case '"':
			w->at = string_end(w->in, w->at);
			w->key_next = false;
			continue;
		case '{':
		case '[':
			if (!enter(w, c == '{'))
				return "document is nested too deeply";
			w->values++;
			break;
		case '}':
		case ']':
			if (w->depth == 0)
				return "document is not JSON";
			w->depth--;
			w->objects >>= 1;
			w->key_next = false;
			break;
		case ',':
			w->key_next = w->depth > 0 && (w->objects & 1) != 0;
			w->values++;
			break;
		default:
			break;
		}
		if (w->values > w->max_values)
			return "document has too many values";
		w->at++;
	}
	if (w->copied > 0)
		buf_put(w->out, w->in.p + w->copied, w->in.n - w->copied);
	return NULL;
}

bool doc_parse(struct wire_doc *d, struct slice text, size_t max_bytes, size_t max_values, const char **ret_why)
{
	struct buf rewritten = {0};
	struct walk w = {.in = text, .out = &rewritten, .max_values = max_values};
	json_error_t error;
	CHECK(d->json == NULL && WIRE_BODY_DEPTH < 64);
	if (text.n > max_bytes) {
		*ret_why = "document is over the limit";
		return false;
	}
	const char *why = normalise(&w);
	if (why == NULL) {
		struct slice use = w.copied > 0 ? buf_view(&rewritten) : text;
		d->json = json_loadb((const char *)use.p, use.n, 0, &error);
		if (d->json == NULL)
			why = "document is not JSON";
	}
	buf_fini(&rewritten);
	if (why != NULL)
		*ret_why = why;
	return why == NULL;
}

/* ---- Members ----------------------------------------------------------------------------------------------------- */

static void blame(const char **fault, const char *key)
{
	if (*fault == NULL)
		*fault = key;
}

/* NULL when absent or null. */
static json_t *member(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);
	return json_is_null(v) ? NULL : v;
}

struct slice doc_str(const json_t *o, const char *key, const char **fault)
{
	json_t *v = member(o, key);
	if (v == NULL)
		return slice_of(NULL, 0);
	if (!json_is_string(v)) {
		blame(fault, key);
		return slice_of(NULL, 0);
	}
	return doc_text(v);
}

int64_t doc_int(const json_t *o, const char *key, int64_t absent, const char **fault)
{
	json_t *v = member(o, key);
	int64_t n;
	if (v == NULL)
		return absent;
	if (json_is_integer(v))
		return json_integer_value(v);
	if (json_is_string(v) && slice_i64(doc_text(v), &n))
		return n;
	blame(fault, key);
	return absent;
}

int64_t doc_range(const json_t *o, const char *key, int64_t absent, int64_t min, int64_t max, const char **fault)
{
	int64_t v = doc_int(o, key, absent, fault);
	if (v >= min && v <= max)
		return v;
	blame(fault, key);
	return absent;
}

bool doc_bool(const json_t *o, const char *key, bool absent, const char **fault)
{
	json_t *v = member(o, key);
	bool b;
	if (v == NULL)
		return absent;
	if (json_is_boolean(v))
		return json_is_true(v);
	if (json_is_string(v) && slice_bool(doc_text(v), &b))
		return b;
	if (json_is_integer(v) && (json_integer_value(v) == 0 || json_integer_value(v) == 1))
		return json_integer_value(v) == 1;
	blame(fault, key);
	return absent;
}

int doc_enum(const json_t *o, const char *key, const char *const *names, int n, int absent, const char **fault)
{
	json_t *v = member(o, key);
	if (v == NULL)
		return absent;
	if (json_is_string(v))
		for (int i = 0; i < n; i++)
			if (slice_eq_str(doc_text(v), names[i]))
				return i;
	return (int)doc_range(o, key, absent, 0, n - 1, fault);
}

json_t *doc_list(const json_t *o, const char *key, const char **fault)
{
	json_t *v = member(o, key);
	if (v != NULL && !json_is_array(v)) {
		blame(fault, key);
		return NULL;
	}
	return v;
}

json_t *doc_object(const json_t *o, const char *key, const char **fault)
{
	json_t *v = member(o, key);
	if (v != NULL && !json_is_object(v)) {
		blame(fault, key);
		return NULL;
	}
	return v;
}

void doc_key(struct buf *b, bool first, const char *name)
{
	if (!first)
		buf_u8(b, ',');
	buf_u8(b, '"');
	buf_str(b, name);
	buf_str(b, "\":");
}
