/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Answers that tell of a topic wait here until every reachable name server of another process knows the topic, or for GATE_MS: a client that
 * finds no route at first may look again only half a minute later.
 */
#ifndef APP_GATE_H
#define APP_GATE_H

#include "base/clock.h"
#include "base/map.h"
#include "front/front.h"

#define GATE_MS 1000u /* a slow name server holds answers up so long at most */

struct gate {
	struct front_gate base;
	struct clock *clock;
	struct list fresh;  /* topics that are not known yet, by number and time */
	struct map names;
};

void gate_init(struct gate *g, struct clock *clock);
/* Everything that waits is let go of. */
void gate_fini(struct gate *g);
/* A topic is told to the name servers under this number (registrar_said). */
void gate_topic(struct gate *g, struct slice topic, uint64_t number);
/* Lets go of what waited for numbers up to 'known' (registrar_known), or long enough. Returns the next deadline, mono ns. */
uint64_t gate_turn(struct gate *g, uint64_t known);

#endif
