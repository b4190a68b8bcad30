/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The binary header: code 2, language 1, version 2, opaque 4, flag 4, remark 4 + n, fields 4 + n; a field is name 2 +
 * n, value 4 + n. Big-endian; codes and versions are signed.
 */
#include "wire/scan.h"

#include "base/be.h"
#include "base/obj.h"

enum { FIXED = 21 }; /* all but remark and fields */

/* Takes a run of n bytes off the front. */
static bool take(struct slice *rest, uint64_t n, struct slice *ret)
{
	if (n > rest->n)
		return false;
	*ret = slice_of(rest->p, n);
	rest->p += n;
	rest->n -= n;
	return true;
}

static bool take_sized(struct slice *rest, size_t width, struct slice *ret)
{
	struct slice size;
	if (!take(rest, width, &size))
		return false;
	return take(rest, width == 2 ? be16_get(size.p) : be32_get(size.p), ret);
}

const char *scan_binary_header(struct slice header, uint32_t exts, struct wire_cmd *c)
{
	struct slice rest = header, fixed, fields;
	CHECK(exts <= WIRE_EXT_MAX);
	if (header.n < FIXED)
		return "binary header is too short";
	if (!take(&rest, 13, &fixed))
		return "binary header is too short";
	c->code = (int16_t)be16_get(fixed.p);
	c->language = fixed.p[2] < WIRE_LANGUAGE_COUNT ? fixed.p[2] : WIRE_OTHER;
	c->version = (int16_t)be16_get(fixed.p + 3);
	c->opaque = (int32_t)be32_get(fixed.p + 5);
	c->flag = (int32_t)be32_get(fixed.p + 9);
	c->n_ext = 0;
	if (!take_sized(&rest, 4, &c->remark))
		return "binary header's remark is longer than the header";
	if (!take_sized(&rest, 4, &fields))
		return "binary header's fields are longer than the header";
	if (rest.n != 0)
		return "bytes behind the binary header's fields";
	while (fields.n > 0) {
		struct wire_ext e;
		if (!take_sized(&fields, 2, &e.name) || !take_sized(&fields, 4, &e.value))
			return "binary header has a field that is longer than the fields";
		if (c->n_ext == exts)
			return "header has too many extension fields";
		c->ext[c->n_ext++] = e;
	}
	return NULL;
}
