/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Intrusive doubly linked list: a ring through its head. A node that is not linked points at itself. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include "base/obj.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline bool list_linked(const struct list *n) { return n->next != NULL && n->next != n; }
static inline void list_insert_before(struct list *at, struct list *n)
{
	n->prev = at->prev;
	n->next = at;
	at->prev->next = n;
	at->prev = n;
}
static inline void list_push(struct list *head, struct list *n) { list_insert_before(head, n); }        /* at the end */
static inline void list_push_front(struct list *head, struct list *n) { list_insert_before(head->next, n); }
static inline void list_remove(struct list *n)
{
	if (n->next != NULL) {
		n->prev->next = n->next;
		n->next->prev = n->prev;
	}
	n->next = n->prev = n;
}
static inline struct list *list_pop(struct list *head) /* the first node, NULL when empty */
{
	struct list *n = head->next;
	if (n == head)
		return NULL;
	list_remove(n);
	return n;
}
/* Moves all nodes of 'from' behind those of 'to'. */
static inline void list_move(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define LIST_EACH(head, n) for (struct list *n = (head)->next; n != (head); n = n->next)
/* Safe when the body removes n. */
#define LIST_EACH_SAFE(head, n, t) for (struct list *n = (head)->next, *t = n->next; n != (head); n = t, t = n->next)

#endif
