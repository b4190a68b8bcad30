/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The key index at start: any bytes as the file of a segment, which is once the open one and once a sealed one. Lookups end, give
 * positions of the span in descending order, and after all gaps are rebuilt meet none.
 */
#include "base/be.h"
#include "base/mem.h"
#include "base/obj.h"
#include "engine/kindex.h"
#include "tests/lib/memdisk.h"

enum { SEGMENT = 65536, FINDS = 12 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void find_all(struct kindex *ki, uint32_t hash, uint64_t newest, bool gaps_may_be)
{
	struct ki_cursor c;
	uint64_t position, before = newest;
	ki_find_begin(&c, hash, 0, newest);
	for (;;) {
		unsigned budget = 3;
		enum status st = ki_find_next(ki, &c, &budget, &position);
		if (st == ST_NOT_FOUND)
			return;
		if (st == ST_CORRUPT) {
			CHECK(gaps_may_be);
			ki_find_skip(&c);
		} else if (st == ST_OK) {
			CHECK(position < before);
			before = position;
		} else {
			CHECK(st == ST_BUSY && budget == 0);
		}
	}
}

static void rebuild(struct kindex *ki)
{
	uint64_t segment, from, to;
	while (ki_damaged(ki, &segment, &from, &to)) {
		struct ki_key v[2] = {{from, 5}, {to - 1, 6}};
		CHECK(ki_rebuild_run(ki, segment, from, to, v, to - from > 1 ? 2 : 1) == ST_OK);
	}
}

static void run(const uint8_t *data, size_t size, bool sealed)
{
	struct memdisk disk;
	struct testlog log;
	struct kindex *ki;
	uint64_t end = sealed ? SEGMENT + 10 : SEGMENT - 1;
	memdisk_init(&disk);
	testlog_init(&log);
	memdisk_put(&disk, KI_DIR "/00000000000000000000", data, size);
	CHECK(ki_open(&ki, &disk.disk, &log.log, SEGMENT) == ST_OK);
	ki_load(ki, sealed ? SEGMENT : 100);
	for (uint32_t i = 0; i < 5; i++)
		ki_add(ki, end - 5 + i, i);
	CHECK(ki_recovered(ki, 0, end) == ST_OK);
	/* The hashes that the file has, most likely; then others. */
	for (uint32_t i = 0; i < FINDS; i++)
		find_all(ki, size >= 36 + i * 8 ? be32_get(data + 32 + i * 8) : i, end, true);
	rebuild(ki);
	/* The last lookup may have found damage that the others did not touch. */
	for (uint32_t i = 0; i < 300; i++) {
		find_all(ki, i, end, true);
		rebuild(ki);
	}
	find_all(ki, 6, end, false);
	ki_close(ki);
	memdisk_fini(&disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	run(data, size, false);
	run(data, size, true);
	return 0;
}
