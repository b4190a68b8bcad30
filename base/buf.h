/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A growing run of bytes. Appending never fails (memory is bounded by whoever fills it); 'max' makes a builder sticky: once an
 * append would pass it, 'over' is set and nothing more is added, so the caller tests once at the end.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"

struct buf {
	uint8_t *p;
	size_t n;    /* bytes in use */
	size_t cap;  /* bytes allocated */
	size_t max;  /* 0: no bound */
	bool over;   /* an append was refused because of max */
};

void buf_fini(struct buf *b);                              /* frees, back to empty */
void buf_reset(struct buf *b);                             /* empty, keeps its memory */
uint8_t *buf_room(struct buf *b, size_t n);                /* at least n writable bytes behind the end; NULL when over max */
void buf_used(struct buf *b, size_t n);                    /* n of the bytes from buf_room are now content */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_slice(struct buf *b, struct slice s);
void buf_str(struct buf *b, const char *s);
void buf_u8(struct buf *b, uint8_t v);
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);
void buf_be64(struct buf *b, uint64_t v);
void buf_u64_dec(struct buf *b, uint64_t v);               /* decimal text */
void buf_i64_dec(struct buf *b, int64_t v);
void buf_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_json_str(struct buf *b, struct slice s);          /* quoted and escaped; bytes that are not UTF-8 become U+FFFD */
void buf_drop_front(struct buf *b, size_t n);              /* removes the first n bytes */
const char *buf_cstr(struct buf *b);                       /* NUL behind the content; valid until the next change */
static inline struct slice buf_view(const struct buf *b) { return slice_of(b->p, b->n); }

#endif
