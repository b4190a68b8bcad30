/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Frames of the remoting protocol: one command each, with a header in one of two forms (JSON or binary) and a raw body.
 * Bytes only; format: docs/framing.md.
 *
 * A decoded command does not own its bytes: its slices stand in the bytes that were decoded, or, where a JSON string
 * had escapes, in the scratch buffer that the caller lent. They are good until either changes; the next decode into the
 * same scratch resets it.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include "base/buf.h"
#include "base/slice.h"

enum { WIRE_EXT_MAX = 64 };            /* extension fields of one command */
#define WIRE_FRAME_MAX 16777216u       /* whole frame with its length word, as stock peers bound it */
#define WIRE_HEADER_MAX 131072u        /* default bound of the header; properties stand in it */
#define WIRE_VERSION 479               /* what Gantry says of itself: V5_3_3 */
#define WIRE_LANGUAGE_NAME "CPP"       /* likewise; the nearest name that every client knows */

enum { WIRE_FLAG_RESPONSE = 1, WIRE_FLAG_ONEWAY = 2 };
enum wire_form { WIRE_JSON = 0, WIRE_BINARY = 1 };
enum wire_language {
	WIRE_JAVA, WIRE_CPP, WIRE_DOTNET, WIRE_PYTHON, WIRE_DELPHI, WIRE_ERLANG, WIRE_RUBY, WIRE_OTHER, WIRE_HTTP, WIRE_GO, WIRE_PHP,
	WIRE_OMS, WIRE_RUST, WIRE_NODE_JS, WIRE_LANGUAGE_COUNT
};
/* "JAVA"; codes outside the table are "OTHER". */
const char *wire_language_name(uint8_t language);

struct wire_ext {
	struct slice name, value;      /* value is text, also where JSON had a number or a boolean */
};
struct wire_cmd {
	int32_t code;                  /* of a request, or of an answer */
	uint8_t language;              /* enum wire_language; WIRE_OTHER for unknown names */
	int32_t version;
	int32_t opaque;
	int32_t flag;
	enum wire_form form;
	uint32_t n_ext;
	struct slice remark;           /* empty when absent */
	struct slice body;
	struct wire_ext ext[WIRE_EXT_MAX];
};
static inline bool wire_is_response(const struct wire_cmd *c) { return (c->flag & WIRE_FLAG_RESPONSE) != 0; }
static inline bool wire_is_oneway(const struct wire_cmd *c) { return (c->flag & WIRE_FLAG_ONEWAY) != 0; }

struct wire_limits {
	uint32_t frame;                /* whole frame, length word included */
	uint32_t header;               /* header bytes */
	uint32_t exts;                 /* extension fields, at most WIRE_EXT_MAX */
};
#define WIRE_LIMITS_DEFAULT ((struct wire_limits){WIRE_FRAME_MAX, WIRE_HEADER_MAX, WIRE_EXT_MAX})

enum wire_got { WIRE_MORE, WIRE_GOT, WIRE_BAD };
/*
 * Decodes the frame at the front of 'bytes'. GOT: *ret is set, *ret_used is its size. MORE: *ret_used is the size of
 * the whole frame,
 * 0 while even that is not known; nothing was looked at but the length words, whose bounds are checked at once. BAD:
 * *ret_why says what is wrong (a constant string); the connection cannot go on.
 */
enum wire_got wire_decode(struct slice bytes, const struct wire_limits *limits, struct buf *scratch, struct wire_cmd *ret,
                          size_t *ret_used, const char **ret_why);

/*
 * The value of an extension field; false when it is absent. Where a name occurs twice the last one counts, as for every
 * other peer.
 */
bool wire_ext(const struct wire_cmd *c, const char *name, struct slice *ret);

/*
 * Reading fields with one test at the end: the first missing or illegal field is remembered, everything after it is
 * harmless.
 *
 *	struct wire_args a = wire_args(cmd);
 *	struct slice topic = wire_str(&a, "topic");
 *	int32_t queue = wire_i32(&a, "queueId");
 *	if (a.field != NULL) ... answer code 1 with wire_args_remark()
 *
 * An empty value counts as absent for numbers and booleans. The _or forms are for optional fields.
 */
struct wire_args {
	const struct wire_cmd *cmd;
	const char *field;             /* NULL: all well so far */
	const char *why;               /* "is missing", "is not a 32-bit integer" ... */
};
static inline struct wire_args wire_args(const struct wire_cmd *c) { return (struct wire_args){c, NULL, NULL}; }
struct slice wire_str(struct wire_args *a, const char *name);
struct slice wire_str_or(struct wire_args *a, const char *name, struct slice absent);
int32_t wire_i32(struct wire_args *a, const char *name);
int32_t wire_i32_or(struct wire_args *a, const char *name, int32_t absent);
int64_t wire_i64(struct wire_args *a, const char *name);
int64_t wire_i64_or(struct wire_args *a, const char *name, int64_t absent);
bool wire_bool(struct wire_args *a, const char *name);
bool wire_bool_or(struct wire_args *a, const char *name, bool absent);
/* Records a fault that the caller found itself; only the first counts. 'field' and 'why' are constant strings. */
void wire_args_bad(struct wire_args *a, const char *field, const char *why);
/* Appends "the field queueId is missing". */
void wire_args_remark(const struct wire_args *a, struct buf *b);

/*
 * Building a frame at the end of a buffer: begin (or answer), remark, fields, finish. The body follows the header:
 * append it to the same buffer after wire_finish, or send it as pieces of its own; wire_finish only needs its length.
 *
 *	wire_answer(&o, &out, cmd, ANS_SUCCESS);
 *	wire_put_i64(&o, "offset", 7);
 *	wire_finish(&o, 0);
 */
struct wire_out {
	struct buf *buf;
	enum wire_form form;
	size_t at;                     /* where the frame begins in the buffer */
	size_t exts_at;                /* binary: where the length of the fields stands */
	uint32_t n_ext;
	bool open;                     /* JSON: extFields has been opened; binary: its length word is there */
};
/* A request or answer of our own. A code that binary headers cannot hold (over 32767) makes the frame JSON. */
void wire_begin(struct wire_out *o, struct buf *b, enum wire_form form, int32_t code, int32_t opaque, int32_t flag);
/* The answer to a request, in its form. */
void wire_answer(struct wire_out *o, struct buf *b, const struct wire_cmd *request, int32_t code);
void wire_remark(struct wire_out *o, struct slice text); /* before the first field, at most once */
void wire_put(struct wire_out *o, const char *name, struct slice value);
void wire_put_i64(struct wire_out *o, const char *name, int64_t value);
void wire_put_bool(struct wire_out *o, const char *name, bool value);
void wire_finish(struct wire_out *o, size_t body_len);
/* A whole answer without fields and body. */
void wire_answer_plain(struct buf *b, const struct wire_cmd *request, int32_t code, struct slice remark);

#endif
