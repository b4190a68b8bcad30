/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The door: accepts connections, and reads each one's request without taking it off the socket until it is whole and judged (ws_upgrade.h). Who is
 * refused gets a plain answer; who passes is handed on with the request already read.
 */
#ifndef FRONT_WEBSOCKET_WS_DOOR_H
#define FRONT_WEBSOCKET_WS_DOOR_H

#include "front/front.h"

/* Somebody who passed; valid during arrived(), which owns the socket from then on. */
struct ws_arrival {
	int fd;
	unsigned protocol;     /* index */
	struct slice request;  /* in plain words, for the library */
	struct slice origin;
	struct stream_info info;
};
struct ws_door_conf {
	const struct front_env *env;
	int fd;                /* listening */
	const char *const *protocols; /* ended by NULL */
	bool (*full)(void *arg); /* may nobody more come in? */
	void (*arrived)(void *arg, const struct ws_arrival *a);
	void *arg;
};
struct ws_door_numbers {
	uint64_t accepted, refused, waiting;
};
struct ws_door;
struct ws_door *ws_door_open(const struct ws_door_conf *conf);
uint64_t ws_door_turn(struct ws_door *d, uint64_t now_ns); /* time limits; returns the next deadline */
void ws_door_shut(struct ws_door *d);                      /* accepts nobody more; who waits is cut */
bool ws_door_empty(const struct ws_door *d);               /* nothing of it is on the loop any more */
void ws_door_free(struct ws_door *d);                      /* once it is empty */
struct ws_door_numbers ws_door_numbers(const struct ws_door *d);

#endif
