/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Tag filters: "*", or tags separated by "||". A tag is compared by Java's hash code of its text, as it stands in the index entries: a
 * message may match by accident (clients compare the text again), but none is ever missed.
 */
#include <stdlib.h>

#include "base/utf.h"
#include "engine/groups.h"

static int cmp_code(const void *a, const void *b)
{
	int32_t x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return (x > y) - (x < y);
}

/* Takes the part before "||" off; false at the end. */
static bool next_tag(struct slice *rest, bool *more, struct slice *ret)
{
	if (!*more)
		return false;
	for (size_t i = 0; i + 1 < rest->n; i++)
		if (rest->p[i] == '|' && rest->p[i + 1] == '|') {
			*ret = slice_trim(slice_of(rest->p, i));
			*rest = slice_skip(*rest, i + 2);
			return true;
		}
	*ret = slice_trim(*rest);
	*more = false;
	return true;
}

enum status tag_filter_parse(struct slice expr, struct buf *scratch, struct tag_filter *ret)
{
	struct slice tag;
	bool more = true;
	unsigned n = 0, kept = 0;

	buf_reset(scratch);
	expr = slice_trim(expr);
	if (expr.n > FILTER_BYTES_MAX)
		return ST_BAD_FILTER;
	if (expr.n == 0 || slice_eq_str(expr, "*")) {
		*ret = (struct tag_filter){.all = true};
		return ST_OK;
	}
	while (next_tag(&expr, &more, &tag)) {
		if (tag.n == 0)
			continue;
		if (++n > FILTER_TAGS_MAX)
			return ST_BAD_FILTER;
		int32_t code = java_hash(tag);
		buf_put(scratch, &code, sizeof code);
	}
	if (n == 0)
		return ST_BAD_FILTER;
	int32_t *codes = (int32_t *)(void *)scratch->p;
	qsort(codes, n, sizeof *codes, cmp_code);
	for (unsigned i = 0; i < n; i++)
		if (kept == 0 || codes[kept - 1] != codes[i])
			codes[kept++] = codes[i];
	*ret = (struct tag_filter){.n = kept, .codes = codes};
	return ST_OK;
}

enum status filter_set(struct filter *f, struct slice expr)
{
	struct filter made = {0};
	enum status st = tag_filter_parse(expr, &made.codes, &made.f);

	if (st != ST_OK) {
		buf_fini(&made.codes);
		return st;
	}
	filter_fini(f);
	*f = made;
	return ST_OK;
}

void filter_fini(struct filter *f)
{
	buf_fini(&f->codes);
	f->f = (struct tag_filter){0};
}
