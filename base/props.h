/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* RocketMQ's property text: name U+0001 value U+0002, repeated; 4.9 clients leave the last U+0002 out. */
#ifndef BASE_PROPS_H
#define BASE_PROPS_H

#include "base/buf.h"

#define PROP_KV '\1'
#define PROP_END '\2'

/* Takes the next pair off '*rest'; false at the end. A piece without U+0001 is skipped. */
bool props_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value);
/* The value of a name; false when it is not there. The first one wins. */
bool props_get(struct slice props, struct slice name, struct slice *ret_value);
/* True when each piece has a name and a separator, and the text is valid: no empty name, no stray U+0001. */
bool props_valid(struct slice props);
/* Appends a pair, with the U+0002 before it where the text so far lacks one. */
void props_put(struct buf *b, struct slice name, struct slice value);

#endif
