/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What the process and its fronts count, for whoever asks in another thread. The loop writes a text when somebody has asked for it, and who asks
 * is given the last one: so a question never waits for the loop, and the loop does nothing when nobody looks.
 */
#ifndef APP_NUMBERS_H
#define APP_NUMBERS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"

struct numbers {
	pthread_mutex_t mutex;
	struct buf text;          /* under the mutex */
	atomic_bool wanted;
	void (*wake)(void *);     /* from any thread: numbers_wanted is to be looked at */
	void *wake_arg;
};
void numbers_init(struct numbers *n, void (*wake)(void *), void *wake_arg);
void numbers_fini(struct numbers *n);
/* From any thread: appends the last text. */
void numbers_ask(struct numbers *n, struct buf *out);
/* The loop's: was a text asked for since the last call? */
bool numbers_wanted(struct numbers *n);
/* The loop's: the text from now on; 'fresh' gets the old one's memory. */
void numbers_put(struct numbers *n, struct buf *fresh);

/* The flat object of numbers that a front describes itself with, as lines gantry_FRONT_NAME for Prometheus. */
void numbers_of_front(struct buf *out, const char *front, struct slice json);

#endif
