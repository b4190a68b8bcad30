/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "app/numbers.h"

#include "base/obj.h"

void numbers_init(struct numbers *n)
{
	*n = (struct numbers){.wanted = false};
	CHECK(pthread_mutex_init(&n->mutex, NULL) == 0);
}

void numbers_fini(struct numbers *n)
{
	CHECK(pthread_mutex_destroy(&n->mutex) == 0);
	buf_fini(&n->text);
}

void numbers_want(struct numbers *n) { atomic_store(&n->wanted, true); }

void numbers_get(struct numbers *n, struct buf *out)
{
	CHECK(pthread_mutex_lock(&n->mutex) == 0);
	buf_slice(out, buf_view(&n->text));
	CHECK(pthread_mutex_unlock(&n->mutex) == 0);
}

bool numbers_wanted(struct numbers *n) { return atomic_load(&n->wanted) && atomic_exchange(&n->wanted, false); }

void numbers_put(struct numbers *n, struct buf *fresh)
{
	struct buf old;

	CHECK(pthread_mutex_lock(&n->mutex) == 0);
	old = n->text;
	n->text = *fresh;
	CHECK(pthread_mutex_unlock(&n->mutex) == 0);
	*fresh = old;
	buf_reset(fresh);
}

/* "waitingPulls" is waiting_pulls. */
static void put_name(struct buf *out, const char *front, struct slice name)
{
	buf_fmt(out, "gantry_%s_", front);
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] >= 'A' && name.p[i] <= 'Z')
			buf_u8(out, '_');
		buf_u8(out, name.p[i] | 0x20);
	}
}

void numbers_of_front(struct buf *out, const char *front, struct slice json)
{
	while (json.n > 0) {
		struct slice name;
		size_t digits = 0;
		/* A name ends at a quote, and its number begins behind a colon. */
		if (json.p[0] != '"') {
			json = slice_skip(json, 1);
			continue;
		}
		json = slice_skip(json, 1);
		if (!slice_split(&json, '"', &name) || json.n == 0 || json.p[0] != ':')
			return;
		json = slice_skip(json, 1);
		while (digits < json.n && json.p[digits] >= '0' && json.p[digits] <= '9')
			digits++;
		if (digits == 0)
			continue;
		buf_str(out, "# TYPE ");
		put_name(out, front, name);
		buf_str(out, " untyped\n");
		put_name(out, front, name);
		buf_u8(out, ' ');
		buf_slice(out, slice_of(json.p, digits));
		buf_u8(out, '\n');
		json = slice_skip(json, digits);
	}
}
