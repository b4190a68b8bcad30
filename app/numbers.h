/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What the process and its fronts count, for another thread. The loop writes a text when somebody wants one, and does nothing when nobody looks. Who wants
 * it says so and then asks the engine for something: the loop writes the text in the turn that serves that request, so it is there with the answer.
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
};
void numbers_init(struct numbers *n);
void numbers_fini(struct numbers *n);
/* From any thread. */
void numbers_want(struct numbers *n);
/* From any thread: appends the last text. */
void numbers_get(struct numbers *n, struct buf *out);
/* The loop's: is a new text wanted since the last call? */
bool numbers_wanted(struct numbers *n);
/* The loop's: the text from now on; 'fresh' gets the old one's memory. */
void numbers_put(struct numbers *n, struct buf *fresh);

/* The flat object of numbers that a front describes itself with, as lines gantry_FRONT_NAME for Prometheus. */
void numbers_of_front(struct buf *out, const char *front, struct slice json);

#endif
