/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Our own check of the request that asks for a WebSocket, before libwebsockets sees anything of it. Strict: what a browser or a client library sends
 * passes; whatever could be read in two ways is refused with a plain answer that says why.
 */
#ifndef FRONT_WEBSOCKET_WS_UPGRADE_H
#define FRONT_WEBSOCKET_WS_UPGRADE_H

#include "front/front.h"

#define UPGRADE_HEAD_MAX 8192u    /* bytes of the request with its header */
#define UPGRADE_HEADERS_MAX 100u
#define UPGRADE_KEY_SIZE 24u
#define UPGRADE_ORIGIN_MAX 512u

enum upgrade_got { UPGRADE_MORE, UPGRADE_GOT, UPGRADE_REFUSED };
struct upgrade {
	size_t bytes;          /* of the head; GOT */
	unsigned protocol;     /* index of the chosen one; GOT */
	struct slice key, origin; /* views of the head; GOT */
	unsigned status;       /* REFUSED: of HTTP */
	const char *why;       /* REFUSED: a sentence */
};
/*
 * Reads the head at the front of 'bytes'. 'protocols' are those that there are, ended by NULL; the client's order decides. A head that is longer than
 * UPGRADE_HEAD_MAX is refused.
 */
enum upgrade_got upgrade_read(struct slice bytes, const struct front_conf *conf, const char *const *protocols, struct upgrade *ret);
/* The answer to a refused one. */
void upgrade_refusal(struct buf *b, const struct upgrade *u, const char *const *protocols);
/* The same request in the plainest words: what the library is given to read. */
void upgrade_plain(struct buf *b, const struct upgrade *u, const char *const *protocols);

#endif
