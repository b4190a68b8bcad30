/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Between the sending loop (send.c), which is the same for every server, and what it speaks (send_codec.c). */
#ifndef TESTS_BENCH_SEND_H
#define TESTS_BENCH_SEND_H

#include "tests/bench/bench.h"

struct codec {
	const char *name;
	bool fifo;              /* answers do not name their requests: they come in the order of the requests */
	void (*prepare)(void);  /* makes the topic and the templates */
	void (*tick)(void);     /* once per wake-up: refreshes what changes with the clock */
	size_t (*frame_size)(void);
	void (*open)(struct conn *); /* writes what a connection begins with; may be NULL */
	/* Writes one request that carries the ids [id, id + messages per request). Returns its length. */
	size_t (*put)(char *out, uint32_t opaque, uint64_t id, unsigned queue);
	/* Takes one answer. 'ret_opaque' is left alone by a fifo codec. */
	bool (*take)(struct conn *, uint32_t *ret_opaque, int *ret_code);
	/* Asks the server how much it has stored, and compares with what it acknowledged; returns NULL or what is wrong. */
	const char *(*verify)(const uint64_t *stored, unsigned queues);
};

extern const struct codec codec_remoting, codec_redis, codec_echo, codec_mqtt;

#endif
