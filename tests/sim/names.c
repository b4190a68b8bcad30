/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A change of the name space is absolute (this name means that file; this name is gone), so that any subset of them can be applied to the
 * durable names. Those that share a name or a file depend on each other and are kept from the front on.
 */
#include "base/mem.h"
#include "base/obj.h"
#include "tests/sim/names.h"

struct sim_dirop {
	struct list link;
	char *set, *unset;       /* set: now means the file; unset: now means nothing; either may be NULL */
	struct sim_inode *inode; /* NULL with a plain remove */
	struct sim_inode *was;   /* what 'set' or a removed name meant before, for dependencies; not held */
	bool synced[2];          /* the folders of set and unset */
	bool undone;             /* scratch of names_crash */
};

static struct sim_name *seek(struct sim_names *v, const char *path)
{
	for (size_t i = 0; i < v->n; i++)
		if (strcmp(v->v[i].path, path) == 0)
			return &v->v[i];
	return NULL;
}

static void set(struct sim_names *v, const char *path, struct sim_inode *i)
{
	struct sim_name *n = seek(v, path);

	i->refs++;
	if (n != NULL) {
		inode_drop(n->inode);
		n->inode = i;
		return;
	}
	if (v->n == v->cap) {
		v->cap = v->cap == 0 ? 16 : v->cap * 2;
		v->v = mem_grow(v->v, v->cap * sizeof(*v->v));
	}
	v->v[v->n++] = (struct sim_name){mem_dup(path, strlen(path)), i};
}

static void unset(struct sim_names *v, const char *path)
{
	struct sim_name *n = seek(v, path);

	if (n == NULL)
		return;
	inode_drop(n->inode);
	mem_free(n->path);
	*n = v->v[--v->n];
}

static void clear(struct sim_names *v)
{
	while (v->n > 0)
		unset(v, v->v[0].path);
	mem_free(v->v);
	*v = (struct sim_names){NULL, 0, 0};
}

struct sim_inode *names_find(struct sim_disk *d, const char *path)
{
	struct sim_name *n = seek(&d->now, path);

	return n == NULL ? NULL : n->inode;
}

static void apply(struct sim_names *v, const struct sim_dirop *op)
{
	if (op->set != NULL)
		set(v, op->set, op->inode);
	if (op->unset != NULL)
		unset(v, op->unset);
}

static void op_free(struct sim_dirop *op)
{
	list_remove(&op->link);
	if (op->inode != NULL)
		inode_drop(op->inode);
	mem_free(op->set);
	mem_free(op->unset);
	mem_free(op);
}

static void change(struct sim_disk *d, const char *to, const char *from, struct sim_inode *i)
{
	struct sim_dirop *op = mem_new(sizeof(*op));
	struct sim_name *n = seek(&d->now, to != NULL ? to : from);

	op->set = to == NULL ? NULL : mem_dup(to, strlen(to));
	op->unset = from == NULL ? NULL : mem_dup(from, strlen(from));
	op->was = n == NULL ? NULL : n->inode;
	op->inode = i;
	if (i != NULL)
		i->refs++;
	list_push(&d->pending, &op->link);
	apply(&d->now, op);
}

void names_create(struct sim_disk *d, const char *path, struct sim_inode *i)
{
	change(d, path, NULL, i);
}

void names_rename(struct sim_disk *d, const char *from, const char *to)
{
	if (strcmp(from, to) != 0)
		change(d, to, from, names_find(d, from));
}

void names_remove(struct sim_disk *d, const char *path)
{
	change(d, NULL, path, NULL);
}

bool names_in_dir(const char *path, const char *dir)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash == NULL ? 0 : (size_t)(slash - path);

	return strlen(dir) == n && memcmp(path, dir, n) == 0;
}

void names_sync_dir(struct sim_disk *d, const char *dir)
{
	LIST_EACH_SAFE(&d->pending, n, t) {
		struct sim_dirop *op = container_of(n, struct sim_dirop, link);

		op->synced[0] |= op->set == NULL || names_in_dir(op->set, dir);
		op->synced[1] |= op->unset == NULL || names_in_dir(op->unset, dir);
		if (op->synced[0] && op->synced[1]) {
			apply(&d->durable, op);
			op_free(op);
		}
	}
}

static bool same(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static bool depends(const struct sim_dirop *later, const struct sim_dirop *op)
{
	return same(later->set, op->set) || same(later->set, op->unset) || same(later->unset, op->set) || same(later->unset, op->unset) ||
	       (op->inode != NULL && (later->inode == op->inode || later->was == op->inode));
}

void names_crash(struct sim_disk *d, struct prng *r, uint32_t new_permille)
{
	LIST_EACH(&d->pending, n) {
		struct sim_dirop *op = container_of(n, struct sim_dirop, link);

		op->undone = prng_below(r, 1000) >= new_permille;
		for (struct list *k = d->pending.next; k != n && !op->undone; k = k->next) {
			const struct sim_dirop *before = container_of(k, struct sim_dirop, link);

			op->undone = before->undone && depends(op, before);
		}
		if (!op->undone)
			apply(&d->durable, op);
	}
	while (!list_empty(&d->pending))
		op_free(container_of(d->pending.next, struct sim_dirop, link));
	clear(&d->now);
	for (size_t i = 0; i < d->durable.n; i++)
		set(&d->now, d->durable.v[i].path, d->durable.v[i].inode);
}

void names_fini(struct sim_disk *d)
{
	while (!list_empty(&d->pending))
		op_free(container_of(d->pending.next, struct sim_dirop, link));
	clear(&d->now);
	clear(&d->durable);
}
