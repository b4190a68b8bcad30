/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The head of an HTTP/1 request, and the frames of a chunked body, checked more strictly than the library that reads them afterwards: whatever two
 * readers of the same bytes could understand differently is refused, because a proxy before us may be one of them.
 */
#ifndef FRONT_HTTP_HEAD_H
#define FRONT_HTTP_HEAD_H

#include "front/http/http.h"

enum {
	HEAD_HEADERS_MAX = 96,    /* header lines of one request */
	HEAD_CHUNK_EXTRA = 4096,  /* bytes of a chunked body that are no data: extensions and the trailer; the sizes come on top */
};

struct http_head {
	struct slice method, path, query, host, origin;
	struct http_header *headers; /* the caller's, with room for HEAD_HEADERS_MAX, or for as many as the head has lines */
	unsigned n_headers;
	bool http10;
	bool close;               /* Connection: close, or HTTP/1.0 without keep-alive */
	bool expect;              /* waits for 100 before it sends the body */
	bool chunked;
	uint64_t length;          /* of the body, when it is not chunked */
};

/*
 * Looks for the end of the head. Returns its length with the empty line behind it, 0 when more must come, -1 when no head can become of these
 * bytes. '*scanned' is how far an earlier call came, 0 at first.
 */
ptrdiff_t http_head_end(struct slice in, size_t *scanned);
/* Lines of a whole head, the request line and the empty one included. */
unsigned http_head_lines(struct slice head);
/*
 * Takes a whole head apart. Names of headers become lower case in place; everything views the bytes. Returns 0, or the HTTP status to refuse it
 * with, and why.
 */
unsigned http_head_parse(uint8_t *p, size_t n, struct http_head *ret, const char **ret_why);

/* A chunked body; zeroed at first. */
struct http_chunks {
	enum { CHUNK_SIZE, CHUNK_EXT, CHUNK_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF, CHUNK_TRAILER, CHUNK_TRAILER_LF, CHUNK_END } state;
	unsigned digits;
	unsigned line;            /* bytes of the trailer's current line */
	unsigned extra;
	uint64_t left;            /* of the current chunk */
	uint64_t total;           /* bytes of data that were announced */
};
/* Looks at more of the body. False: it is not well formed. 'state' is CHUNK_END when it is complete; what follows is not looked at. */
bool http_chunks_scan(struct http_chunks *c, struct slice more);

/* The words of a status line. */
const char *http_reason(unsigned status);

#endif
