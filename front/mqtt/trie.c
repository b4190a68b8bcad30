/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Trees of topic levels: one of filters, asked with names, and one of names, asked with filters. A node stays while somebody holds it or a node below it.
 * Wildcards at the first level match no name that begins with $.
 */
#include "front/mqtt/mq.h"

static struct mq_node *node_new(struct mq_node *parent, struct slice level)
{
	struct mq_node *n = mem_new(sizeof(*n) + level.n);

	n->parent = parent;
	n->n = (uint32_t)level.n;
	if (level.n > 0)
		memcpy(n->level, level.p, level.n);
	list_init(&n->subs);
	return n;
}

struct mq_node *mq_node_new(void)
{
	struct mq_node *n = node_new(NULL, (struct slice){NULL, 0});

	n->refs = 1;
	return n;
}

static bool is_empty(const struct mq_node *n)
{
	return n->refs == 0 && n->children.count == 0 && n->plus == NULL && n->rest == NULL;
}

void mq_node_free(struct mq_node *root)
{
	CHECK(root->parent == NULL && root->refs == 1);
	root->refs = 0;
	CHECK(is_empty(root) && list_empty(&root->subs));
	map_fini(&root->children);
	mem_free(root);
}

static bool is_one(struct slice level, char c)
{
	return level.n == 1 && level.p[0] == (uint8_t)c;
}

/* Takes the level that begins at '*at' (at most path.n); '*at' is behind path.n after the last one. */
static struct slice take_level(struct slice path, size_t *at)
{
	size_t from = *at;
	const uint8_t *slash = from < path.n ? memchr(path.p + from, '/', path.n - from) : NULL;
	size_t end = slash == NULL ? path.n : (size_t)(slash - path.p);

	*at = end + 1;
	return slice_of(path.p + from, end - from);
}

static struct mq_node *child_of(const struct mq_node *n, struct slice level)
{
	return is_one(level, '+') ? n->plus : is_one(level, '#') ? n->rest : map_get(&n->children, level);
}

struct mq_node *mq_node_hold(struct mq_node *root, struct slice path)
{
	struct mq_node *n = root;

	for (size_t at = 0; at <= path.n;) {
		struct slice level = take_level(path, &at);
		struct mq_node *child = child_of(n, level);
		if (child == NULL) {
			child = node_new(n, level);
			if (is_one(level, '+'))
				n->plus = child;
			else if (is_one(level, '#'))
				n->rest = child;
			else
				map_put(&n->children, slice_of(child->level, child->n), child);
		}
		n = child;
	}
	n->refs++;
	return n;
}

struct mq_node *mq_node_find(struct mq_node *root, struct slice path)
{
	struct mq_node *n = root;

	for (size_t at = 0; at <= path.n && n != NULL;)
		n = child_of(n, take_level(path, &at));
	return n;
}

void mq_node_drop(struct mq_node *n)
{
	CHECK(n->refs > 0);
	n->refs--;
	while (n->parent != NULL && is_empty(n)) {
		struct mq_node *up = n->parent;
		CHECK(list_empty(&n->subs) && n->value == NULL);
		if (up->plus == n)
			up->plus = NULL;
		else if (up->rest == n)
			up->rest = NULL;
		else
			CHECK(map_drop(&up->children, slice_of(n->level, n->n)) == n);
		map_fini(&n->children);
		mem_free(n);
		n = up;
	}
}

static void match(struct mq_node *n, struct slice topic, size_t at, bool wild, mq_node_f *f, void *arg)
{
	struct mq_node *child;
	struct slice level;

	if (n->rest != NULL && wild)
		f(n->rest, arg);
	if (at > topic.n) {
		f(n, arg);
		return;
	}
	level = take_level(topic, &at);
	child = map_get(&n->children, level);
	if (child != NULL)
		match(child, topic, at, true, f, arg);
	if (n->plus != NULL && wild)
		match(n->plus, topic, at, true, f, arg);
}

void mq_trie_match(struct mq_node *root, struct slice topic, mq_node_f *f, void *arg)
{
	match(root, topic, 0, topic.n == 0 || topic.p[0] != '$', f, arg);
}

static bool begins_with_dollar(const struct mq_node *n)
{
	return n->n > 0 && n->level[0] == '$';
}

static void all_below(struct mq_node *n, bool first, mq_node_f *f, void *arg)
{
	struct map_slot *slot;

	if (n->value != NULL)
		f(n, arg);
	for (size_t at = 0; (slot = map_each(&n->children, &at)) != NULL;)
		if (!first || !begins_with_dollar(slot->value))
			all_below(slot->value, false, f, arg);
}

static void names(struct mq_node *n, struct slice filter, size_t at, mq_node_f *f, void *arg)
{
	bool first = n->parent == NULL;
	struct map_slot *slot;
	struct mq_node *child;

	if (at > filter.n) {
		if (n->value != NULL)
			f(n, arg);
		return;
	}
	struct slice level = take_level(filter, &at);
	if (is_one(level, '#')) {
		all_below(n, first, f, arg);
	} else if (is_one(level, '+')) {
		for (size_t i = 0; (slot = map_each(&n->children, &i)) != NULL;)
			if (!first || !begins_with_dollar(slot->value))
				names(slot->value, filter, at, f, arg);
	} else if ((child = map_get(&n->children, level)) != NULL) {
		names(child, filter, at, f, arg);
	}
}

void mq_trie_names(struct mq_node *root, struct slice filter, mq_node_f *f, void *arg)
{
	names(root, filter, 0, f, arg);
}

void mq_trie_below(struct mq_node *n, mq_node_f *f, void *arg)
{
	all_below(n, false, f, arg);
}
