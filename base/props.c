/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* RocketMQ's property text. */
#include "base/props.h"

bool props_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
	struct slice piece;

	while (slice_split(rest, PROP_END, &piece)) {
		const uint8_t *sep = piece.n == 0 ? NULL : memchr(piece.p, PROP_KV, piece.n);

		if (sep == NULL)
			continue;
		*ret_name = slice_of(piece.p, (size_t)(sep - piece.p));
		*ret_value = slice_skip(piece, ret_name->n + 1);
		return true;
	}
	return false;
}

bool props_get(struct slice props, struct slice name, struct slice *ret_value)
{
	struct slice n, v;

	while (props_next(&props, &n, &v)) {
		if (slice_eq(n, name)) {
			*ret_value = v;
			return true;
		}
	}
	return false;
}

bool props_valid(struct slice props)
{
	struct slice piece;

	while (slice_split(&props, PROP_END, &piece)) {
		const uint8_t *sep = piece.n == 0 ? NULL : memchr(piece.p, PROP_KV, piece.n);

		if (sep == NULL || sep == piece.p)
			return false;
		size_t behind = piece.n - (size_t)(sep - piece.p) - 1;

		if (behind > 0 && memchr(sep + 1, PROP_KV, behind) != NULL)
			return false;
	}
	return true;
}

void props_put(struct buf *b, struct slice name, struct slice value)
{
	if (b->n > 0 && b->p[b->n - 1] != PROP_END)
		buf_u8(b, PROP_END);
	buf_slice(b, name);
	buf_u8(b, PROP_KV);
	buf_slice(b, value);
	buf_u8(b, PROP_END);
}
