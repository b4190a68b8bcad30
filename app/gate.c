/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "app/gate.h"

#include "base/mem.h"
#include "base/obj.h"

struct fresh {
	struct list link;
	struct list waits;
	uint64_t number, due_ns;
	struct slice name;
	char text[];
};

static struct gate *gate_of(struct front_gate *f) { return container_of(f, struct gate, base); }

static struct fresh *find(struct gate *g, struct slice topic)
{
	if (topic.n > 0)
		return map_get(&g->names, topic);
	return list_empty(&g->fresh) ? NULL : container_of(g->fresh.prev, struct fresh, link);
}

static bool shut(struct front_gate *f, struct slice topic)
{
	struct gate *g = gate_of(f);

	return !list_empty(&g->fresh) && find(g, topic) != NULL;
}

static void wait(struct front_gate *f, struct front_wait *w, struct slice topic)
{
	struct fresh *t = find(gate_of(f), topic);

	CHECK(t != NULL && w->go != NULL);
	list_push(&t->waits, &w->link);
}

void gate_init(struct gate *g, struct clock *clock)
{
	*g = (struct gate){.base = {shut, wait}, .clock = clock};
	list_init(&g->fresh);
}

void gate_topic(struct gate *g, struct slice topic, uint64_t number)
{
	CHECK(topic.n > 0);
	/* One that changes again is routed already once its first number is known. */
	if (map_get(&g->names, topic) != NULL)
		return;
	struct fresh *t = mem_new(sizeof(*t) + topic.n);
	memcpy(t->text, topic.p, topic.n);
	t->name = slice_of(t->text, topic.n);
	t->number = number;
	t->due_ns = clock_mono_ns(g->clock) + GATE_MS * MS_NS;
	list_init(&t->waits);
	list_push(&g->fresh, &t->link);
	map_put(&g->names, t->name, t);
}

uint64_t gate_turn(struct gate *g, uint64_t known)
{
	if (list_empty(&g->fresh))
		return NEVER;
	uint64_t now = clock_mono_ns(g->clock);
	while (!list_empty(&g->fresh)) {
		struct fresh *t = container_of(g->fresh.next, struct fresh, link);
		struct list *n;

		if (t->number > known && t->due_ns > now)
			return t->due_ns;
		list_remove(&t->link);
		map_drop(&g->names, t->name);
		while ((n = list_pop(&t->waits)) != NULL) {
			struct front_wait *w = container_of(n, struct front_wait, link);
			w->go(w);
		}
		mem_free(t);
	}
	return NEVER;
}

void gate_fini(struct gate *g)
{
	gate_turn(g, UINT64_MAX);
	map_fini(&g->names);
}
