/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Configuration as text: one name=value per line, as the administration tools write it (no escapes, no continued
 * lines).
 */
#include "wire/bodies.h"

bool wire_properties_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
	struct slice line;
	while (slice_split(rest, '\n', &line)) {
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		line = slice_trim(line);
		if (line.n == 0 || line.p[0] == '#' || line.p[0] == '!')
			continue;
		struct slice name;
		slice_split(&line, '=', &name);
		*ret_name = slice_trim(name);
		*ret_value = slice_trim(line);
		return true;
	}
	return false;
}

void wire_properties_put(struct buf *b, struct slice name, struct slice value)
{
	buf_slice(b, name);
	buf_u8(b, '=');
	buf_slice(b, value);
	buf_u8(b, '\n');
}
