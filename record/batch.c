/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The body of a batch: elements of size, magic, body CRC (both 0, not looked at), flag, body with a 4-byte length, properties with a
 * 2-byte length. The parts must fill the element exactly.
 */
#include "base/be.h"
#include "record/record.h"

enum { AT_FLAG = 12, AT_BODY_SIZE = 16, AT_BODY = 20, ELEMENT_MIN = 22 };

enum status batch_next(struct slice *rest, int32_t *ret_flag, struct slice *ret_body, struct slice *ret_props)
{
	if (rest->n == 0)
		return ST_NOT_FOUND;
	if (rest->n < ELEMENT_MIN)
		return ST_PROTO;
	uint32_t size = be32_get(rest->p), body = be32_get(rest->p + AT_BODY_SIZE);

	if (size < ELEMENT_MIN || size > rest->n || body > size - ELEMENT_MIN)
		return ST_PROTO;
	uint16_t props = be16_get(rest->p + AT_BODY + body);

	if (props > RECORD_PROPS_MAX || (size_t)ELEMENT_MIN + body + props != size)
		return ST_PROTO;
	*ret_flag = (int32_t)be32_get(rest->p + AT_FLAG);
	*ret_body = slice_of(rest->p + AT_BODY, body);
	*ret_props = slice_of(rest->p + AT_BODY + body + 2, props);
	*rest = slice_skip(*rest, size);
	return ST_OK;
}
