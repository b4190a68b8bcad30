/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* os/disk: the contract on a real folder, and what is its own. */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "os/disk.h"
#include "os/disk_sync.h"
#include "os/disk_work.h"
#include "os/host.h"
#include "tests/contract/disk.h"

struct fixture {
	struct disk_fixture base;
	uv_loop_t loop;
	struct host_log log;
	char root[64];
};

static void step(struct disk_fixture *base)
{
	struct fixture *f = container_of(base, struct fixture, base);

	if (uv_run(&f->loop, UV_RUN_NOWAIT) != 0)
		usleep(20);
}

static int setup(void **state)
{
	struct fixture *f = mem_new(sizeof(*f));
	char why[256], deeper[96];

	snprintf(f->root, sizeof(f->root), "/var/tmp/gantry-disk-XXXXXX");
	assert_non_null(mkdtemp(f->root));
	host_log_init(&f->log, 2, LOG_ERROR);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	snprintf(deeper, sizeof(deeper), "%s/made/on/demand", f->root);
	assert_int_equal(disk_posix_open(&f->base.disk, &f->loop, host_clock(), &f->log.base, deeper, why, sizeof(why)), ST_OK);
	f->base.step = step;
	*state = &f->base;
	return 0;
}

static int unlink_one(const char *path, const struct stat *s, int type, struct FTW *ftw)
{
	(void)s;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = container_of((struct disk_fixture *)*state, struct fixture, base);

	disk_posix_close(f->base.disk);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	assert_int_equal(nftw(f->root, unlink_one, 8, FTW_DEPTH | FTW_PHYS), 0);
	mem_free(f);
	return 0;
}

static void a_store_has_one_owner(void **state)
{
	struct fixture *f = container_of((struct disk_fixture *)*state, struct fixture, base);
	char why[256], path[96];
	struct disk *second;

	snprintf(path, sizeof(path), "%s/made/on/demand", f->root);
	assert_int_equal(f->base.disk->ops->lock(f->base.disk, "lock"), ST_OK);
	assert_int_equal(disk_posix_open(&second, &f->loop, host_clock(), &f->log.base, path, why, sizeof(why)), ST_OK);
	assert_int_equal(second->ops->lock(second, "lock"), ST_LOCKED);
	disk_posix_close(second);
}

static void a_folder_that_cannot_be_is_named(void **state)
{
	struct fixture *f = container_of((struct disk_fixture *)*state, struct fixture, base);
	char why[256] = "";
	struct disk *d = NULL;

	assert_int_not_equal(disk_posix_open(&d, &f->loop, host_clock(), &f->log.base, "/dev/null/x", why, sizeof(why)), ST_OK);
	assert_null(d);
	assert_non_null(strstr(why, "/dev/null/x"));
}

static void told(struct disk_op *op, enum status st)
{
	(void)st;
	op->priv[0] = op;
}

static void closing_with_ops_under_way_neither_hangs_nor_leaks(void **state)
{
	struct fixture *f = container_of((struct disk_fixture *)*state, struct fixture, base);
	char why[256], path[96];
	struct disk_op ops[6] = {{.done = told}, {.done = told}, {.done = told}, {.done = told}, {.done = told}, {.done = told}};
	struct disk_file *file;
	enum status now;
	static char got[3][16];
	size_t n[3];
	struct disk *d;

	snprintf(path, sizeof(path), "%s/other", f->root);
	assert_int_equal(disk_posix_open(&d, &f->loop, host_clock(), &f->log.base, path, why, sizeof(why)), ST_OK);
	assert_int_equal(d->ops->open(d, "x", DISK_CREATE, &file, NULL), ST_OK);
	d->ops->zero(file, 0, 64 << 20, true, &ops[0]);
	d->ops->zero(file, 0, 64 << 20, false, &ops[1]);
	d->ops->sync(file, false, &ops[2], &now);
	for (int i = 0; i < 3; i++)
		d->ops->read(file, 0, got[i], sizeof(got[i]), &n[i], &ops[3 + i]);
	disk_posix_close(d);
	d->ops->close(file);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	for (int i = 0; i < 6; i++)
		assert_null(ops[i].priv[0]);
}

static void a_full_disk_is_told_from_a_broken_one(void **state)
{
	(void)state;
	assert_int_equal(disk_status(0), ST_OK);
	assert_int_equal(disk_status(ENOSPC), ST_DISK_FULL);
	assert_int_equal(disk_status(EDQUOT), ST_DISK_FULL);
	assert_int_equal(disk_status(ENOENT), ST_NOT_FOUND);
	assert_int_equal(disk_status(EIO), ST_IO);
	assert_int_equal(disk_status(EROFS), ST_IO);
}

static void quick_syncs_stay_on_the_loop(void **state)
{
	struct sync_place p = {0};

	(void)state;
	for (int i = 0; i < 10000; i++) {
		/* One slow one in 200 is no reason to move. */
		sync_place_took(&p, (uint64_t)i * MS_NS, i % 200 == 0 ? 20 * MS_NS : MS_NS / 5);
		assert_true(sync_place_on_loop(&p));
	}
}

static void slow_syncs_leave_the_loop_soon(void **state)
{
	struct sync_place p = {0};
	int n = 0;

	(void)state;
	for (; sync_place_on_loop(&p); n++)
		sync_place_took(&p, (uint64_t)n * 5 * MS_NS, 5 * MS_NS);
	assert_int_equal(n, SYNC_SLOW_MAX + 1);
	for (int i = 0; i < 100000; i++) {
		sync_place_took(&p, (uint64_t)(n + i) * 5 * MS_NS, 5 * MS_NS);
		assert_false(sync_place_on_loop(&p));
	}
}

static void syncs_come_back_to_the_loop_when_quick_again(void **state)
{
	struct sync_place p = {0};
	uint64_t now = 0;
	int n = 0;

	(void)state;
	while (sync_place_on_loop(&p))
		sync_place_took(&p, now += 5 * MS_NS, 5 * MS_NS);
	for (; !sync_place_on_loop(&p); n++)
		sync_place_took(&p, now += MS_NS, MS_NS / 5);
	assert_true(n >= SYNC_TRIAL_MIN);
	assert_true(n <= 1001);
	/* A trial that fails ends soon, and the next comes a second later at the earliest. */
	for (n = 0; sync_place_on_loop(&p); n++)
		sync_place_took(&p, now += MS_NS, 5 * MS_NS);
	assert_int_equal(n, SYNC_SLOW_MAX + 1);
	for (n = 0; n < 900; n++) {
		sync_place_took(&p, now += MS_NS, MS_NS / 5);
		assert_false(sync_place_on_loop(&p));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_CONTRACT_TESTS(setup, teardown),
		cmocka_unit_test_setup_teardown(a_store_has_one_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(closing_with_ops_under_way_neither_hangs_nor_leaks, setup, teardown),
		cmocka_unit_test(a_full_disk_is_told_from_a_broken_one),
		cmocka_unit_test(quick_syncs_stay_on_the_loop),
		cmocka_unit_test(slow_syncs_leave_the_loop_soon),
		cmocka_unit_test(syncs_come_back_to_the_loop_when_quick_again),
	};

	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
