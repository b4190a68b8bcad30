/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The disk in memory: see memdisk.h. */
#include "tests/lib/memdisk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/obj.h"

#define SECTOR 512u

struct image {
	uint8_t *p;
	size_t n, cap;
};
struct memfile {
	struct list link;
	char *name, *durable_name; /* NULL: none */
	struct image now, synced;
	unsigned handles;
};
struct handle {
	struct disk_file file;
	struct memdisk *m;
	struct memfile *f;
};
struct under_way {
	struct list link;
	struct disk_op *op;
	enum status st;
	struct memfile *loses;    /* takes this file back to its last sync; NULL: nothing */
};

static char *copy(const char *s) { return slice_dup(slice_str(s)); }

static void image_size(struct image *i, size_t n)
{
	if (n > i->cap) {
		i->cap = n * 2;
		i->p = mem_grow(i->p, i->cap);
	}
	if (n > i->n)
		memset(i->p + i->n, 0, n - i->n);
	i->n = n;
}

static void copy_image(struct image *to, const struct image *from)
{
	image_size(to, from->n);
	if (from->n > 0)
		memcpy(to->p, from->p, from->n);
}

static struct memfile *find(struct memdisk *m, const char *name)
{
	LIST_EACH(&m->files, l) {
		struct memfile *f = container_of(l, struct memfile, link);
		if (f->name != NULL && strcmp(f->name, name) == 0)
			return f;
	}
	return NULL;
}

static void free_file(struct memfile *f)
{
	list_remove(&f->link);
	mem_free(f->name);
	mem_free(f->durable_name);
	mem_free(f->now.p);
	mem_free(f->synced.p);
	mem_free(f);
}

static void free_unused(struct memfile *f)
{
	if (f->name == NULL && f->durable_name == NULL && f->handles == 0)
		free_file(f);
}

static struct memfile *make(struct memdisk *m, const char *name)
{
	struct memfile *f = mem_new(sizeof *f);
	f->name = copy(name);
	list_push(&m->files, &f->link);
	return f;
}

static enum status md_open(struct disk *d, const char *path, unsigned flags, struct disk_file **ret, uint64_t *ret_size)
{
	struct memdisk *m = container_of(d, struct memdisk, disk);
	if (m->open_fails != ST_OK)
		return m->open_fails;
	struct memfile *f = find(m, path);
	if (f == NULL && (flags & DISK_CREATE) == 0)
		return ST_NOT_FOUND;
	if (f == NULL)
		f = make(m, path);
	struct handle *h = mem_new(sizeof *h);
	h->file.ops = d->ops;
	h->m = m;
	h->f = f;
	f->handles++;
	*ret = &h->file;
	*ret_size = f->now.n;
	return ST_OK;
}

static struct handle *handle_of(struct disk_file *f) { return container_of(f, struct handle, file); }

static void md_close(struct disk_file *file)
{
	struct handle *h = handle_of(file);
	h->f->handles--;
	free_unused(h->f);
	mem_free(h);
}

static enum status md_write_at(struct disk_file *file, uint64_t at, const struct slice *v, unsigned n)
{
	struct handle *h = handle_of(file);
	h->m->writes++;
	if (h->m->write_fails != ST_OK) {
		if (h->m->good_writes == 0)
			return h->m->write_fails;
		h->m->good_writes--;
	}
	for (unsigned i = 0; i < n; i++) {
		if (at + v[i].n > h->f->now.n)
			image_size(&h->f->now, at + v[i].n);
		if (v[i].n > 0)
			memcpy(h->f->now.p + at, v[i].p, v[i].n);
		at += v[i].n;
	}
	return ST_OK;
}

static enum status md_read_at(struct disk_file *file, uint64_t at, void *buf, size_t n, bool cached_only, size_t *ret_n)
{
	struct handle *h = handle_of(file);
	if (cached_only && h->m->cold)
		return ST_BUSY;
	h->m->reads++;
	if (h->m->read_fails != ST_OK)
		return h->m->read_fails;
	const struct image *now = &h->f->now;
	size_t m = at >= now->n ? 0 : (size_t)u64_min(n, now->n - at);
	if (m > 0)
		memcpy(buf, now->p + at, m);
	*ret_n = m;
	return ST_OK;
}

static void later(struct memdisk *m, struct disk_op *op, enum status st, struct memfile *loses)
{
	struct under_way *u = mem_new(sizeof *u);
	u->op = op;
	u->st = st;
	u->loses = loses;
	list_push(&m->ops, &u->link);
}

static void md_read(struct disk_file *file, uint64_t at, void *buf, size_t n, size_t *ret_n, struct disk_op *op)
{
	handle_of(file)->m->loads++;
	later(handle_of(file)->m, op, md_read_at(file, at, buf, n, false, ret_n), NULL);
}

static enum status md_sync_now(struct disk_file *file)
{
	struct handle *h = handle_of(file);
	h->m->syncs++;
	if (h->m->sync_fails != ST_OK) {
		if (h->m->sync_loses && !h->m->later)
			copy_image(&h->f->now, &h->f->synced);
		return h->m->sync_fails;
	}
	copy_image(&h->f->synced, &h->f->now);
	return ST_OK;
}

static bool md_sync(struct disk_file *file, bool hot, struct disk_op *op, enum status *ret_now)
{
	struct handle *h = handle_of(file);
	enum status st = md_sync_now(file);
	(void)hot;
	if (h->m->later) {
		later(h->m, op, st, st != ST_OK && h->m->sync_loses ? h->f : NULL);
		return false;
	}
	*ret_now = st;
	return true;
}

static void md_zero(struct disk_file *file, uint64_t from, uint64_t to, bool paced, struct disk_op *op)
{
	struct handle *h = handle_of(file);
	h->m->paced = paced;
	if (h->f->now.n < to)
		image_size(&h->f->now, to);
	memset(h->f->now.p + from, 0, to - from);
	later(h->m, op, ST_OK, NULL);
}

static enum status md_truncate(struct disk_file *file, uint64_t size)
{
	struct handle *h = handle_of(file);
	if (h->m->write_fails != ST_OK)
		return ST_IO;
	image_size(&h->f->now, size);
	return ST_OK;
}

static bool is_in(const char *name, const char *dir)
{
	size_t n = strlen(dir);
	if (n > 0 && (strncmp(name, dir, n) != 0 || name[n++] != '/'))
		return false;
	return strchr(name + n, '/') == NULL;
}

static enum status md_sync_dir(struct disk *d, const char *dir)
{
	struct memdisk *m = container_of(d, struct memdisk, disk);
	if (m->sync_fails != ST_OK)
		return m->sync_fails;
	LIST_EACH_SAFE(&m->files, l, t) {
		struct memfile *f = container_of(l, struct memfile, link);
		if (f->durable_name != NULL && is_in(f->durable_name, dir)) {
			mem_free(f->durable_name);
			f->durable_name = NULL;
		}
		if (f->name != NULL && is_in(f->name, dir)) {
			mem_free(f->durable_name);
			f->durable_name = copy(f->name);
		}
		free_unused(f);
	}
	return ST_OK;
}

static enum status md_remove(struct disk *d, const char *path)
{
	struct memdisk *m = container_of(d, struct memdisk, disk);
	if (m->remove_fails != ST_OK)
		return m->remove_fails;
	struct memfile *f = find(m, path);
	if (f == NULL)
		return ST_NOT_FOUND;
	mem_free(f->name);
	f->name = NULL;
	free_unused(f);
	return ST_OK;
}

static enum status md_rename(struct disk *d, const char *from, const char *to)
{
	struct memdisk *m = container_of(d, struct memdisk, disk);
	struct memfile *f = find(m, from);
	if (f == NULL)
		return ST_NOT_FOUND;
	if (strcmp(from, to) != 0)
		md_remove(d, to);
	mem_free(f->name);
	f->name = copy(to);
	return ST_OK;
}

static enum status md_list(struct disk *d, const char *dir, void (*each)(void *arg, const char *name), void *arg)
{
	struct memdisk *m = container_of(d, struct memdisk, disk);
	size_t n = strlen(dir);
	LIST_EACH_SAFE(&m->files, l, t) {
		struct memfile *f = container_of(l, struct memfile, link);
		if (f->name != NULL && is_in(f->name, dir))
			each(arg, f->name + (n == 0 ? 0 : n + 1));
	}
	return ST_OK;
}

static enum status md_space(struct disk *d, uint64_t *ret_free, uint64_t *ret_total)
{
	(void)d;
	*ret_free = *ret_total = UINT64_C(1) << 40;
	return ST_OK;
}

static enum status md_lock(struct disk *d, const char *path)
{
	(void)d;
	(void)path;
	return ST_OK;
}

static const struct disk_ops ops = {
	.open = md_open, .close = md_close, .write_at = md_write_at, .read_at = md_read_at, .read = md_read, .sync = md_sync, .sync_now = md_sync_now,
	.zero = md_zero, .truncate = md_truncate, .sync_dir = md_sync_dir, .rename = md_rename, .remove = md_remove,
	.list = md_list, .space = md_space, .lock = md_lock,
};

void memdisk_init(struct memdisk *m)
{
	*m = (struct memdisk){.disk.ops = &ops};
	list_init(&m->files);
	list_init(&m->ops);
}

static void drop_ops(struct memdisk *m)
{
	for (struct list *l; (l = list_pop(&m->ops)) != NULL;)
		mem_free(container_of(l, struct under_way, link));
}

void memdisk_fini(struct memdisk *m)
{
	drop_ops(m);
	LIST_EACH_SAFE(&m->files, l, t) {
		struct memfile *f = container_of(l, struct memfile, link);
		CHECK(f->handles == 0);
		free_file(f);
	}
}

void memdisk_run(struct memdisk *m)
{
	for (struct list *l; (l = list_pop(&m->ops)) != NULL;) {
		struct under_way *u = container_of(l, struct under_way, link);
		struct disk_op *op = u->op;
		enum status st = u->st;
		if (u->loses != NULL)
			copy_image(&u->loses->now, &u->loses->synced);
		mem_free(u);
		op->done(op, st);
	}
}

/* What a crash leaves of one file. */
static void tear(struct memfile *f, struct prng *r)
{
	size_t n = f->synced.n;
	if (r != NULL && f->now.n != n)
		n = prng_below(r, 2) == 0 ? n : f->now.n;
	image_size(&f->synced, n);
	for (size_t at = 0; r != NULL && at < n && at < f->now.n; at += SECTOR)
		if (prng_below(r, 2) == 0)
			memcpy(f->synced.p + at, f->now.p + at, u64_min(SECTOR, u64_min(n, f->now.n) - at));
	copy_image(&f->now, &f->synced);
}

void memdisk_crash(struct memdisk *m, struct prng *r)
{
	drop_ops(m);
	LIST_EACH_SAFE(&m->files, l, t) {
		struct memfile *f = container_of(l, struct memfile, link);
		CHECK(f->handles == 0);
		mem_free(f->name);
		f->name = f->durable_name == NULL ? NULL : copy(f->durable_name);
		if (f->name == NULL)
			free_file(f);
		else
			tear(f, r);
	}
}

uint8_t *memdisk_bytes(struct memdisk *m, const char *path, size_t *ret_n)
{
	struct memfile *f = find(m, path);
	if (f == NULL)
		return NULL;
	*ret_n = f->now.n;
	return f->now.p;
}

void memdisk_each(struct memdisk *m, void (*each)(const char *path, void *arg), void *arg)
{
	LIST_EACH(&m->files, l) {
		struct memfile *f = container_of(l, struct memfile, link);
		if (f->name != NULL)
			each(f->name, arg);
	}
}

void memdisk_put(struct memdisk *m, const char *path, const void *p, size_t n)
{
	struct memfile *f = find(m, path);
	if (f == NULL)
		f = make(m, path);
	image_size(&f->now, n);
	image_size(&f->synced, n);
	if (n > 0) {
		memcpy(f->now.p, p, n);
		memcpy(f->synced.p, p, n);
	}
	mem_free(f->durable_name);
	f->durable_name = copy(f->name);
}

static void count_line(struct log *log, enum log_level level, const char *area, const char *line)
{
	struct testlog *l = container_of(log, struct testlog, log);
	l->lines[level]++;
	if (getenv("TEST_LOG") != NULL)
		fprintf(stderr, "%s %s\n", area, line);
}

void testlog_init(struct testlog *l)
{
	static const struct log_ops log_ops = {count_line};
	*l = (struct testlog){.log = {&log_ops, LOG_INFO}};
}
