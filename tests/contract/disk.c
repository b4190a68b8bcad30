/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The suite of tests/contract/disk.h. */
#include "tests/contract/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/obj.h"

/* A real disk takes about 70 us of waiting a step here: that is a minute, for a machine may stall for seconds. */
enum { STEPS_MAX = 1000000 };

struct wait {
	struct disk_op op;
	enum status status;
	unsigned told;
};

static void wait_done(struct disk_op *op, enum status st)
{
	struct wait *w = container_of(op, struct wait, op);

	w->status = st;
	w->told++;
}

static enum status wait_for(struct disk_fixture *f, struct wait *w)
{
	for (int i = 0; i < STEPS_MAX && w->told == 0; i++)
		f->step(f);
	assert_int_equal(w->told, 1);
	return w->status;
}

static struct disk_file *open_file(struct disk *d, const char *path, uint64_t *ret_size)
{
	struct disk_file *file = NULL;

	assert_int_equal(d->ops->open(d, path, DISK_CREATE, &file, ret_size), ST_OK);
	assert_non_null(file);
	return file;
}

static void write_bytes(struct disk_file *f, uint64_t at, const void *p, size_t n)
{
	struct slice v = slice_of(p, n);

	assert_int_equal(f->ops->write_at(f, at, &v, 1), ST_OK);
}

static size_t read_bytes(struct disk_file *f, uint64_t at, void *p, size_t n)
{
	size_t got = SIZE_MAX;

	assert_int_equal(f->ops->read_at(f, at, p, n, false, &got), ST_OK);
	return got;
}

static bool all_are(const uint8_t *p, size_t n, uint8_t want)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != want)
			return false;
	return true;
}

void disk_contract_open(void **state)
{
	struct disk_fixture *f = *state;
	struct disk *d = f->disk;
	struct disk_file *file = NULL;
	uint64_t size = 77;

	assert_int_equal(d->ops->open(d, "absent", DISK_READ, &file, &size), ST_NOT_FOUND);
	assert_int_equal(d->ops->open(d, "absent", DISK_WRITE, &file, &size), ST_NOT_FOUND);
	assert_int_equal(d->ops->open(d, "no/such/folder", DISK_READ, &file, &size), ST_NOT_FOUND);
	assert_null(file);
	assert_int_equal(size, 77);

	file = open_file(d, "file", &size);
	assert_int_equal(size, 0);
	write_bytes(file, 0, "12345", 5);
	d->ops->close(file);
	/* CREATE keeps what is there. */
	file = open_file(d, "file", &size);
	assert_int_equal(size, 5);
	d->ops->close(file);
	assert_int_equal(d->ops->open(d, "file", DISK_READ, &file, &size), ST_OK);
	assert_int_equal(size, 5);
	d->ops->close(file);
}

void disk_contract_write_read(void **state)
{
	struct disk_fixture *f = *state;
	struct disk_file *a = open_file(f->disk, "file", NULL), *b;
	char got[32];

	write_bytes(a, 0, "hello world", 11);
	write_bytes(a, 6, "there", 5);
	assert_int_equal(read_bytes(a, 0, got, sizeof(got)), 11);
	assert_memory_equal(got, "hello there", 11);
	assert_int_equal(read_bytes(a, 6, got, 3), 3);
	assert_memory_equal(got, "the", 3);
	assert_int_equal(read_bytes(a, 11, got, 3), 0);
	assert_int_equal(read_bytes(a, 1000, got, 3), 0);
	/* Beyond the end: zeros between. */
	write_bytes(a, 20, "x", 1);
	memset(got, 'g', sizeof(got));
	assert_int_equal(read_bytes(a, 0, got, sizeof(got)), 21);
	assert_true(all_are((uint8_t *)got + 11, 9, 0));
	assert_int_equal(got[20], 'x');
	/* Another opening of the same file sees the same bytes. */
	assert_int_equal(f->disk->ops->open(f->disk, "file", DISK_READ, &b, NULL), ST_OK);
	assert_int_equal(read_bytes(b, 0, got, 5), 5);
	assert_memory_equal(got, "hello", 5);
	write_bytes(a, 0, "HELLO", 5);
	assert_int_equal(read_bytes(b, 0, got, 5), 5);
	assert_memory_equal(got, "HELLO", 5);
	f->disk->ops->close(a);
	f->disk->ops->close(b);
}

void disk_contract_gather(void **state)
{
	enum { N = 3000 };
	struct disk_fixture *f = *state;
	struct disk_file *file = open_file(f->disk, "file", NULL);
	static struct slice v[N];
	static char text[N][8], want[N * 8], got[N * 8];
	size_t n = 0;

	/* More pieces than a system call takes, some of them empty. */
	for (int i = 0; i < N; i++) {
		int k = i % 7 == 0 ? 0 : snprintf(text[i], sizeof(text[i]), "%d,", i);
		v[i] = slice_of(text[i], (size_t)k);
		memcpy(want + n, text[i], (size_t)k);
		n += (size_t)k;
	}
	assert_int_equal(file->ops->write_at(file, 100, v, N), ST_OK);
	assert_int_equal(file->ops->write_at(file, 100, v, 0), ST_OK);
	assert_int_equal(read_bytes(file, 100, got, sizeof(got)), n);
	assert_memory_equal(got, want, n);
	f->disk->ops->close(file);
}

void disk_contract_cached(void **state)
{
	struct disk_fixture *f = *state;
	struct disk_file *file = open_file(f->disk, "file", NULL);
	enum status st;
	char got[16];
	size_t n = 99;

	write_bytes(file, 0, "0123456789", 10);
	st = file->ops->read_at(file, 2, got, 4, true, &n);
	assert_true(st == ST_OK || st == ST_BUSY);
	if (st == ST_OK) {
		assert_int_equal(n, 4);
		assert_memory_equal(got, "2345", 4);
	}
	f->disk->ops->close(file);
}

void disk_contract_worker_read(void **state)
{
	struct disk_fixture *f = *state;
	struct disk_file *file = open_file(f->disk, "file", NULL);
	struct wait w = {.op = {.done = wait_done}};
	char got[16];
	size_t n = 99;

	write_bytes(file, 0, "0123456789", 10);
	file->ops->read(file, 2, got, 4, &n, &w.op);
	assert_int_equal(w.told, 0);
	assert_int_equal(wait_for(f, &w), ST_OK);
	assert_int_equal(n, 4);
	assert_memory_equal(got, "2345", 4);
	w.told = 0;
	file->ops->read(file, 8, got, 16, &n, &w.op);
	assert_int_equal(wait_for(f, &w), ST_OK);
	assert_int_equal(n, 2);
	assert_memory_equal(got, "89", 2);
	w.told = 0;
	file->ops->read(file, 800, got, 16, &n, &w.op);
	assert_int_equal(wait_for(f, &w), ST_OK);
	assert_int_equal(n, 0);
	f->disk->ops->close(file);
}

void disk_contract_sync(void **state)
{
	struct disk_fixture *f = *state;
	struct disk_file *file = open_file(f->disk, "file", NULL);

	for (int i = 0; i < 20; i++) {
		struct wait w = {.op = {.done = wait_done}};
		enum status now = ST_COUNT;
		bool hot = i % 2 == 0;
		write_bytes(file, (uint64_t)i, "x", 1);
		if (file->ops->sync(file, hot, &w.op, &now)) {
			assert_true(hot);
			assert_int_equal(now, ST_OK);
			/* done() must not come behind it. */
			for (int k = 0; k < 3; k++)
				f->step(f);
			assert_int_equal(w.told, 0);
		} else {
			assert_int_equal(w.told, 0);
			assert_int_equal(wait_for(f, &w), ST_OK);
		}
	}
	f->disk->ops->close(file);
}

static void zero_and_check(struct disk_fixture *f, uint64_t size, uint64_t from, uint64_t to)
{
	struct disk_file *file = open_file(f->disk, "zeroed", NULL);
	uint64_t end = u64_max(size, to);
	uint8_t *bytes = malloc(end + 1);
	struct wait w = {.op = {.done = wait_done}};

	assert_int_equal(file->ops->truncate(file, 0), ST_OK);
	memset(bytes, 0xAA, size);
	write_bytes(file, 0, bytes, size);
	file->ops->zero(file, from, to, false, &w.op);
	assert_int_equal(w.told, 0);
	assert_int_equal(wait_for(f, &w), ST_OK);
	memset(bytes, 0xBB, end + 1);
	assert_int_equal(read_bytes(file, 0, bytes, end + 1), end);
	assert_true(all_are(bytes, from < size ? from : size, 0xAA));
	assert_true(all_are(bytes + from, to - from, 0));
	if (to < size)
		assert_true(all_are(bytes + to, size - to, 0xAA));
	free(bytes);
	f->disk->ops->close(file);
}

void disk_contract_zero(void **state)
{
	struct disk_fixture *f = *state;

	zero_and_check(f, 65536, 0, 65536);
	zero_and_check(f, 65536, 4096, 8192);
	zero_and_check(f, 65536, 1, 65535);
	zero_and_check(f, 65536, 5000, 5001);
	zero_and_check(f, 65536, 4095, 4097);
	zero_and_check(f, 65536, 777, 777);
	zero_and_check(f, 10000, 9000, 200000);
	zero_and_check(f, 0, 0, (3 << 20) + 17);
}

void disk_contract_truncate(void **state)
{
	struct disk_fixture *f = *state;
	struct disk_file *file = open_file(f->disk, "file", NULL);
	uint8_t got[64];
	uint64_t size;

	write_bytes(file, 0, "0123456789", 10);
	assert_int_equal(file->ops->truncate(file, 4), ST_OK);
	assert_int_equal(read_bytes(file, 0, got, sizeof(got)), 4);
	assert_int_equal(file->ops->truncate(file, 40), ST_OK);
	assert_int_equal(read_bytes(file, 0, got, sizeof(got)), 40);
	assert_memory_equal(got, "0123", 4);
	assert_true(all_are(got + 4, 36, 0));
	f->disk->ops->close(file);
	file = open_file(f->disk, "file", &size);
	assert_int_equal(size, 40);
	f->disk->ops->close(file);
}

static void put_file(struct disk *d, const char *path, const char *text)
{
	struct disk_file *file = open_file(d, path, NULL);

	write_bytes(file, 0, text, strlen(text));
	d->ops->close(file);
}

static void expect_file(struct disk *d, const char *path, const char *text)
{
	struct disk_file *file;
	char got[64];

	assert_int_equal(d->ops->open(d, path, DISK_READ, &file, NULL), ST_OK);
	assert_int_equal(read_bytes(file, 0, got, sizeof(got)), strlen(text));
	assert_memory_equal(got, text, strlen(text));
	d->ops->close(file);
}

void disk_contract_names(void **state)
{
	struct disk_fixture *f = *state;
	struct disk *d = f->disk;
	struct disk_file *file, *gone;
	char got[8];

	put_file(d, "a", "one");
	put_file(d, "b", "two");
	assert_int_equal(d->ops->rename(d, "a", "c"), ST_OK);
	assert_int_equal(d->ops->open(d, "a", DISK_READ, &file, NULL), ST_NOT_FOUND);
	expect_file(d, "c", "one");
	/* It replaces. */
	assert_int_equal(d->ops->rename(d, "c", "b"), ST_OK);
	expect_file(d, "b", "one");
	assert_int_equal(d->ops->rename(d, "absent", "b"), ST_NOT_FOUND);
	expect_file(d, "b", "one");
	/* An open file outlives its name. */
	assert_int_equal(d->ops->open(d, "b", DISK_READ, &gone, NULL), ST_OK);
	assert_int_equal(d->ops->remove(d, "b"), ST_OK);
	assert_int_equal(d->ops->remove(d, "b"), ST_NOT_FOUND);
	assert_int_equal(d->ops->open(d, "b", DISK_READ, &file, NULL), ST_NOT_FOUND);
	assert_int_equal(read_bytes(gone, 0, got, 3), 3);
	assert_memory_equal(got, "one", 3);
	d->ops->close(gone);
	assert_int_equal(d->ops->sync_dir(d, ""), ST_OK);
}

struct names {
	unsigned n;
	bool seen[4];
};

static void each_name(void *arg, const char *name)
{
	struct names *v = arg;

	v->n++;
	for (unsigned i = 0; i < ARRAY_LEN(v->seen); i++) {
		char want[8];
		snprintf(want, sizeof(want), "f%u", i);
		if (strcmp(name, want) == 0)
			v->seen[i] = true;
	}
}

void disk_contract_folders(void **state)
{
	struct disk_fixture *f = *state;
	struct disk *d = f->disk;
	struct names v = {0};

	assert_int_equal(d->ops->list(d, "absent", each_name, &v), ST_OK);
	assert_int_equal(v.n, 0);
	put_file(d, "deep/er/f0", "zero");
	put_file(d, "deep/er/f1", "one");
	put_file(d, "deep/f2", "two");
	expect_file(d, "deep/er/f0", "zero");
	assert_int_equal(d->ops->sync_dir(d, "deep/er"), ST_OK);
	assert_int_equal(d->ops->sync_dir(d, "deep"), ST_OK);
	assert_int_equal(d->ops->list(d, "deep/er", each_name, &v), ST_OK);
	assert_int_equal(v.n, 2);
	assert_true(v.seen[0] && v.seen[1] && !v.seen[2]);
	/* Files only, and of this folder only. */
	v = (struct names){0};
	assert_int_equal(d->ops->list(d, "deep", each_name, &v), ST_OK);
	assert_int_equal(v.n, 1);
	assert_true(v.seen[2]);
	assert_int_equal(d->ops->rename(d, "deep/er/f1", "deep/f1"), ST_OK);
	expect_file(d, "deep/f1", "one");
}

void disk_contract_many_ops(void **state)
{
	enum { N = 40, BLOCK = 4096 };
	struct disk_fixture *f = *state;
	struct disk_file *file = open_file(f->disk, "file", NULL), *zeroed = open_file(f->disk, "other", NULL);
	static uint8_t bytes[N][BLOCK], got[N][BLOCK];
	static struct wait reads[N], zeros[N];
	static size_t lens[N];

	memset(reads, 0, sizeof(reads));
	memset(zeros, 0, sizeof(zeros));
	for (int i = 0; i < N; i++) {
		memset(bytes[i], i + 1, BLOCK);
		write_bytes(file, (uint64_t)i * BLOCK, bytes[i], BLOCK);
	}
	for (int i = 0; i < N; i++) {
		reads[i].op.done = zeros[i].op.done = wait_done;
		zeroed->ops->zero(zeroed, (uint64_t)i * BLOCK, (uint64_t)(i + 1) * BLOCK, true, &zeros[i].op);
		file->ops->read(file, (uint64_t)i * BLOCK, got[i], BLOCK, &lens[i], &reads[i].op);
	}
	for (int i = N - 1; i >= 0; i--) {
		assert_int_equal(wait_for(f, &reads[i]), ST_OK);
		assert_int_equal(wait_for(f, &zeros[i]), ST_OK);
		assert_int_equal(lens[i], BLOCK);
		assert_memory_equal(got[i], bytes[i], BLOCK);
	}
	f->disk->ops->close(file);
	f->disk->ops->close(zeroed);
}

struct chain {
	struct disk_op op;
	struct disk_file *file;
	unsigned left;
	bool inside;
	char got;
	size_t n;
};

static void chain_next(struct chain *c)
{
	c->inside = true;
	c->file->ops->read(c->file, 0, &c->got, 1, &c->n, &c->op);
	c->inside = false;
}

static void chain_done(struct disk_op *op, enum status st)
{
	struct chain *c = container_of(op, struct chain, op);

	assert_false(c->inside);
	assert_int_equal(st, ST_OK);
	assert_int_equal(c->got, 'x');
	if (--c->left > 0)
		chain_next(c);
}

void disk_contract_restart_in_done(void **state)
{
	struct disk_fixture *f = *state;
	struct chain c = {.op = {.done = chain_done}, .file = open_file(f->disk, "file", NULL), .left = 10};

	write_bytes(c.file, 0, "x", 1);
	chain_next(&c);
	for (int i = 0; i < STEPS_MAX && c.left > 0; i++)
		f->step(f);
	assert_int_equal(c.left, 0);
	f->disk->ops->close(c.file);
}

void disk_contract_space(void **state)
{
	struct disk_fixture *f = *state;
	uint64_t avail = 0, total = 0;

	assert_int_equal(f->disk->ops->space(f->disk, &avail, &total), ST_OK);
	assert_true(total > 0);
	assert_true(avail <= total);
	assert_int_equal(f->disk->ops->lock(f->disk, "lock"), ST_OK);
}
