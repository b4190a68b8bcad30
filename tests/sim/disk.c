/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The simulated disk: verbs, faults, time. Files are in inode.c, the name space in names.c. */
#include "tests/sim/disk.h"

#include "base/mem.h"
#include "base/obj.h"
#include "tests/sim/disk_inode.h"
#include "tests/sim/names.h"

#define QUOTA_DEFAULT (UINT64_C(1) << 40)

struct sim_file {
	struct disk_file base;
	struct list link;
	struct sim_disk *disk;
	struct sim_inode *inode;
	unsigned ops;
	bool writable;
};

enum async_kind { ASYNC_READ, ASYNC_SYNC, ASYNC_ZERO };

struct sim_async {
	struct list link;
	struct sim_event event;
	struct sim_file *file;
	struct disk_op *op;
	enum async_kind kind;
	uint64_t seq, at, to; /* sync, zero: what stood at seq becomes durable */
	bool late;            /* zero: the bytes change when it ends, not when it begins */
	enum status status;   /* decided when it was started */
	void *buf;
	size_t n, *ret_n;
};

static const struct disk_ops sim_ops;

static struct sim_disk *disk_of(struct disk *base)
{
	return container_of(base, struct sim_disk, base);
}

static struct sim_file *file_of(struct disk_file *base)
{
	struct sim_file *f = container_of(base, struct sim_file, base);

	CHECK(base->ops == &sim_ops);
	return f;
}

static bool chance(struct sim_disk *d, uint32_t permille)
{
	return permille > 0 && prng_below(&d->prng, 1000) < permille;
}

/* Every verb begins here: counts, dies, fails. '*ret_dying': this very call is the one in which the disk dies. */
static enum status enter_dying(struct sim_disk *d, enum sim_verb verb, bool *ret_dying)
{
	struct sim_fault *f = &d->faults[verb];

	*ret_dying = false;
	d->calls++;
	if (d->dead)
		return ST_IO;
	if (d->crash_at != 0 && d->calls >= d->crash_at) {
		d->dead = *ret_dying = true;
		return ST_IO;
	}
	if (f->nth == 0)
		return ST_OK;
	if (f->nth > 1) {
		f->nth--;
		return ST_OK;
	}
	if (!f->for_ever)
		f->nth = 0;
	return f->status;
}

static enum status enter(struct sim_disk *d, enum sim_verb verb)
{
	bool dying;

	return enter_dying(d, verb, &dying);
}

static uint64_t quota(const struct sim_disk *d)
{
	return d->conf.quota == 0 ? QUOTA_DEFAULT : d->conf.quota;
}

static bool fits(const struct sim_disk *d, const struct sim_inode *i, uint64_t at, uint64_t n)
{
	return d->used + inode_cost(i, at, n) <= quota(d);
}

/* ---- Async ops -------------------------------------------------------------------------------------------------------------- */

static void zero_some(struct sim_async *a)
{
	/* Of a zero that was cut short any part may have happened. */
	for (uint64_t at = a->at; at < a->to;) {
		uint64_t n = u64_min(a->to - at, SIM_SECTOR - at % SIM_SECTOR);

		if (prng_below(&a->file->disk->prng, 2) == 0 && fits(a->file->disk, a->file->inode, at, n))
			inode_write(a->file->inode, at, NULL, n);
		at += n;
	}
}

static enum status async_outcome(struct sim_async *a)
{
	struct sim_disk *d = a->file->disk;
	struct sim_inode *i = a->file->inode;

	if (d->dead)
		return ST_IO;
	if (a->status != ST_OK) {
		if (a->kind == ASYNC_SYNC && !d->conf.lying)
			inode_sync_failed(i, &d->prng);
		return a->status;
	}
	switch (a->kind) {
	case ASYNC_READ: {
		uint64_t n = a->at >= i->size ? 0 : u64_min(a->n, i->size - a->at);

		if (n > 0)
			memcpy(a->buf, i->bytes + a->at, n);
		*a->ret_n = n;
		return ST_OK;
	}
	case ASYNC_SYNC:
		if (!d->conf.lying)
			inode_promote(i, a->seq, 0, UINT64_MAX);
		return ST_OK;
	case ASYNC_ZERO:
		if (a->late) {
			if (!fits(d, i, a->at, a->to - a->at))
				return ST_DISK_FULL;
			inode_write(i, a->at, NULL, a->to - a->at);
			a->seq = d->seq;
		}
		/* Whole sectors only: the device was written around the cache, the rest of a shared one went through it and was synced. */
		if (!d->conf.lying)
			inode_promote(i, a->seq, a->at / SIM_SECTOR, (a->to + SIM_SECTOR - 1) / SIM_SECTOR);
		return ST_OK;
	}
	return ST_IO;
}

static void async_fire(struct sim_event *e)
{
	struct sim_async *a = container_of(e, struct sim_async, event);
	struct disk_op *op = a->op;
	enum status st = async_outcome(a);

	a->file->ops--;
	list_remove(&a->link);
	mem_free(a);
	op->done(op, st);
}

static struct sim_async *async_start(struct sim_file *f, enum async_kind kind, struct disk_op *op, enum status st)
{
	struct sim_disk *d = f->disk;
	struct sim_async *a = mem_new(sizeof(*a));

	CHECK(op->done != NULL);
	a->event.fire = async_fire;
	a->file = f;
	a->op = op;
	a->kind = kind;
	a->status = st;
	a->seq = d->seq;
	f->ops++;
	list_push(&d->ops, &a->link);
	sim_event_set(d->clock, &a->event, d->conf.latency_min_ns +
		prng_below(&d->prng, d->conf.latency_max_ns - d->conf.latency_min_ns + 1));
	return a;
}

/* ---- Verbs of a file ---------------------------------------------------------------------------------------------------------- */

static void sim_close(struct disk_file *base)
{
	struct sim_file *f = file_of(base);

	CHECK(f->ops == 0);
	list_remove(&f->link);
	inode_drop(f->inode);
	mem_free(f);
}

static enum status sim_write_at(struct disk_file *base, uint64_t at, const struct slice *v, unsigned n)
{
	struct sim_file *f = file_of(base);
	struct sim_disk *d = f->disk;
	bool dying;
	enum status st = enter_dying(d, SIM_WRITE, &dying);
	uint64_t total = 0, limit;

	CHECK(f->writable);
	for (unsigned i = 0; i < n; i++)
		total += v[i].n;
	if (st == ST_OK && !fits(d, f->inode, at, total))
		st = ST_DISK_FULL;
	/* A write that fails may have been done in part. */
	limit = st == ST_OK ? total : dying || !d->dead ? prng_below(&d->prng, total + 1) : 0;
	for (unsigned i = 0; i < n && limit > 0; i++) {
		uint64_t take = u64_min(limit, v[i].n);

		if (take > 0 && fits(d, f->inode, at, take))
			inode_write(f->inode, at, v[i].p, take);
		at += take;
		limit -= take;
	}
	d->writes++;
	return st;
}

static enum status sim_read_at(struct disk_file *base, uint64_t at, void *buf, size_t n, bool cached_only, size_t *ret_n)
{
	struct sim_file *f = file_of(base);
	enum status st = enter(f->disk, SIM_READ);

	if (st != ST_OK)
		return st;
	if (cached_only && chance(f->disk, f->disk->conf.uncached_permille))
		return ST_BUSY;
	uint64_t take = at >= f->inode->size ? 0 : u64_min(n, f->inode->size - at);

	if (take > 0)
		memcpy(buf, f->inode->bytes + at, take);
	*ret_n = take;
	return ST_OK;
}

static void sim_read(struct disk_file *base, uint64_t at, void *buf, size_t n, size_t *ret_n, struct disk_op *op)
{
	struct sim_file *f = file_of(base);
	struct sim_async *a = async_start(f, ASYNC_READ, op, enter(f->disk, SIM_READ));

	a->at = at;
	a->buf = buf;
	a->n = n;
	a->ret_n = ret_n;
}

/* A sync that waits. */
static enum status sync_wait(struct sim_file *f, enum status st)
{
	struct sim_disk *d = f->disk;

	d->syncs++;
	if (d->conf.lying)
		return st;
	if (st == ST_OK)
		inode_promote(f->inode, d->seq, 0, UINT64_MAX);
	else if (!d->dead)
		inode_sync_failed(f->inode, &d->prng);
	return st;
}

static bool sim_sync(struct disk_file *base, bool hot, struct disk_op *op, enum status *ret_now)
{
	struct sim_file *f = file_of(base);
	enum status st = enter(f->disk, SIM_SYNC);

	if (hot && chance(f->disk, f->disk->conf.sync_now_permille)) {
		*ret_now = sync_wait(f, st);
		return true;
	}
	f->disk->syncs++;
	async_start(f, ASYNC_SYNC, op, st);
	return false;
}

static enum status sim_sync_now(struct disk_file *base)
{
	struct sim_file *f = file_of(base);

	return sync_wait(f, enter(f->disk, SIM_SYNC));
}

static void sim_zero(struct disk_file *base, uint64_t from, uint64_t to, bool paced, struct disk_op *op)
{
	struct sim_file *f = file_of(base);
	struct sim_disk *d = f->disk;
	enum status st = enter(d, SIM_ZERO);

	(void)paced;
	CHECK(f->writable && from <= to);
	if (st == ST_OK && !fits(d, f->inode, from, to - from))
		st = ST_DISK_FULL;
	struct sim_async *a = async_start(f, ASYNC_ZERO, op, st);

	a->at = from;
	a->to = to;
	if (st != ST_OK) {
		if (!d->dead)
			zero_some(a);
		return;
	}
	a->late = prng_below(&d->prng, 2) == 0;
	if (!a->late)
		inode_write(f->inode, from, NULL, to - from);
	a->seq = d->seq;
}

static enum status sim_truncate(struct disk_file *base, uint64_t size)
{
	struct sim_file *f = file_of(base);
	enum status st = enter(f->disk, SIM_TRUNCATE);

	CHECK(f->writable);
	if (st == ST_OK)
		inode_truncate(f->inode, size);
	return st;
}

/* ---- Verbs of the disk -------------------------------------------------------------------------------------------------------- */

static enum status sim_open(struct disk *base, const char *path, unsigned flags, struct disk_file **ret, uint64_t *ret_size)
{
	struct sim_disk *d = disk_of(base);
	enum status st = enter(d, SIM_OPEN);
	struct sim_inode *i;

	CHECK(path[0] != '\0' && path[0] != '/');
	if (st != ST_OK)
		return st;
	i = names_find(d, path);
	if (i == NULL) {
		if ((flags & DISK_CREATE) == 0)
			return ST_NOT_FOUND;
		if (d->used >= quota(d))
			return ST_DISK_FULL;
		i = inode_new(d);
		names_create(d, path, i);
	}
	struct sim_file *f = mem_new(sizeof(*f));

	f->base.ops = &sim_ops;
	f->disk = d;
	f->inode = i;
	f->writable = flags != DISK_READ;
	i->refs++;
	list_push(&d->files, &f->link);
	*ret = &f->base;
	if (ret_size != NULL)
		*ret_size = i->size;
	return ST_OK;
}

static enum status sim_sync_dir(struct disk *base, const char *dir)
{
	struct sim_disk *d = disk_of(base);
	enum status st = enter(d, SIM_SYNC_DIR);

	if (st == ST_OK && !d->conf.lying)
		names_sync_dir(d, dir);
	return st;
}

static enum status sim_rename(struct disk *base, const char *from, const char *to)
{
	struct sim_disk *d = disk_of(base);
	enum status st = enter(d, SIM_RENAME);

	if (st == ST_OK && names_find(d, from) == NULL)
		st = ST_NOT_FOUND;
	if (st == ST_OK)
		names_rename(d, from, to);
	return st;
}

static enum status sim_remove(struct disk *base, const char *path)
{
	struct sim_disk *d = disk_of(base);
	enum status st = enter(d, SIM_REMOVE);

	if (st == ST_OK && names_find(d, path) == NULL)
		st = ST_NOT_FOUND;
	if (st == ST_OK)
		names_remove(d, path);
	return st;
}

static enum status sim_list(struct disk *base, const char *dir, void (*each)(void *arg, const char *name), void *arg)
{
	struct sim_disk *d = disk_of(base);
	enum status st = enter(d, SIM_LIST);
	size_t skip = dir[0] == '\0' ? 0 : strlen(dir) + 1;

	for (size_t i = 0; st == ST_OK && i < d->now.n; i++)
		if (names_in_dir(d->now.v[i].path, dir))
			each(arg, d->now.v[i].path + skip);
	return st;
}

static enum status sim_space(struct disk *base, uint64_t *ret_free, uint64_t *ret_total)
{
	struct sim_disk *d = disk_of(base);
	enum status st = enter(d, SIM_SPACE);

	if (st != ST_OK)
		return st;
	*ret_total = quota(d);
	*ret_free = quota(d) - u64_min(d->used, quota(d));
	return ST_OK;
}

static enum status sim_lock(struct disk *base, const char *path)
{
	struct sim_disk *d = disk_of(base);
	enum status st = enter(d, SIM_LOCK);

	(void)path;
	if (st != ST_OK)
		return st;
	if (d->locked)
		return ST_LOCKED;
	d->locked = true;
	return ST_OK;
}

static const struct disk_ops sim_ops = {
	.open = sim_open,
	.close = sim_close,
	.write_at = sim_write_at,
	.read_at = sim_read_at,
	.read = sim_read,
	.sync = sim_sync,
	.sync_now = sim_sync_now,
	.zero = sim_zero,
	.truncate = sim_truncate,
	.sync_dir = sim_sync_dir,
	.rename = sim_rename,
	.remove = sim_remove,
	.list = sim_list,
	.space = sim_space,
	.lock = sim_lock,
};

/* ---- The world's side ----------------------------------------------------------------------------------------------------------- */

struct sim_disk *sim_disk_new(struct sim_clock *clock, const struct sim_disk_conf *conf, uint64_t seed)
{
	struct sim_disk *d = mem_new(sizeof(*d));

	CHECK(conf->latency_min_ns <= conf->latency_max_ns);
	d->base.ops = &sim_ops;
	d->conf = *conf;
	d->clock = clock;
	prng_init(&d->prng, seed);
	list_init(&d->pending);
	list_init(&d->inodes);
	list_init(&d->ops);
	list_init(&d->files);
	return d;
}

void sim_disk_free(struct sim_disk *d)
{
	sim_disk_kill(d);
	CHECK(list_empty(&d->files));
	names_fini(d);
	CHECK(list_empty(&d->inodes) && d->used == 0);
	mem_free(d);
}

void sim_disk_fault(struct sim_disk *d, enum sim_verb verb, uint64_t nth, bool for_ever, enum status st)
{
	CHECK(st == ST_IO || st == ST_DISK_FULL);
	d->faults[verb] = (struct sim_fault){nth, for_ever, st};
}

void sim_disk_heal(struct sim_disk *d)
{
	memset(d->faults, 0, sizeof(d->faults));
	d->crash_at = 0;
}

static const char *names_of(struct sim_disk *d, const struct sim_inode *i)
{
	for (size_t k = 0; k < d->now.n; k++)
		if (d->now.v[k].inode == i)
			return d->now.v[k].path;
	return "a file without a name";
}

void sim_disk_kill(struct sim_disk *d)
{
	LIST_EACH_SAFE(&d->ops, n, t) {
		struct sim_async *a = container_of(n, struct sim_async, link);

		if (a->kind == ASYNC_ZERO && a->late && a->status == ST_OK)
			zero_some(a);
		sim_event_stop(d->clock, &a->event);
		a->file->ops--;
		list_remove(n);
		mem_free(a);
	}
	d->dead = true;
}

void sim_disk_crash(struct sim_disk *d, enum sim_crash how)
{
	static const uint32_t biases[] = {100, 300, 500, 500, 700, 900};
	uint32_t bias = how == SIM_CRASH_OLD ? 0 : how == SIM_CRASH_NEW ? 1000 : biases[prng_below(&d->prng, ARRAY_LEN(biases))];

	CHECK(d->dead && list_empty(&d->ops));
	LIST_EACH(&d->files, n)
		PANIC("%s was not closed", names_of(d, container_of(n, struct sim_file, link)->inode));
	if (how != SIM_CRASH_KILL) {
		LIST_EACH(&d->inodes, n)
			inode_crash(container_of(n, struct sim_inode, link), &d->prng, bias);
		names_crash(d, &d->prng, bias);
	}
	sim_disk_heal(d);
	d->dead = d->locked = false;
}

bool sim_disk_bytes(struct sim_disk *d, const char *path, struct slice *ret)
{
	struct sim_inode *i = names_find(d, path);

	if (i == NULL)
		return false;
	*ret = slice_of(i->bytes, i->size);
	return true;
}

void sim_disk_rot(struct sim_disk *d, const char *path, uint64_t at, uint8_t mask)
{
	struct sim_inode *i = names_find(d, path);

	CHECK(i != NULL && at < i->size);
	i->bytes[at] ^= mask;
	struct sim_sector *s = u64map_get(&i->sectors, at / SIM_SECTOR);

	if (s != NULL)
		s->base[at % SIM_SECTOR] ^= mask;
}

const char *sim_disk_path(struct sim_disk *d, size_t i)
{
	return i < d->now.n ? d->now.v[i].path : NULL;
}
