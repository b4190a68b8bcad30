/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The queue index at start: any bytes as what a snapshot has saved of it, any bytes as its file. What loads is read, trimmed, repaired
 * and saved, and what was saved must load again with the same entries.
 */
#include "base/be.h"
#include "base/mem.h"
#include "base/obj.h"
#include "engine/qindex.h"
#include "tests/lib/memdisk.h"

enum { QUEUES = 4, NUMBER_AT = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned load(struct qindex *qi, struct qi_queue *q, struct slice saved)
{
	unsigned n = 0;
	if (qi_load(qi, &saved) != ST_OK)
		return 0;
	while (n < QUEUES && saved.n > 0) {
		if (qi_queue_load(qi, &q[n], &saved) != ST_OK) {
			while (n > 0)
				qi_queue_fini(qi, &q[--n]);
			return 0;
		}
		n++;
	}
	qi_load_done(qi);
	return n;
}

/* Reads all; where it is damaged, puts something there. Returns a sum over the entries. */
static uint64_t read_all(struct qindex *qi, struct qi_queue *q)
{
	struct qentry v[QI_EXTENT_ENTRIES];
	uint64_t sum = 0, offset = q->first;
	enum status st;
	while (offset < q->next) {
		unsigned n = qi_read(qi, q, offset, v, 100, &st);
		if (n == 0) {
			uint64_t first, prev, next;
			CHECK(st == ST_CORRUPT);
			qi_neighbours(qi, q, offset, &first, &prev, &next);
			CHECK(first <= offset);
			for (unsigned i = 0; i < QI_EXTENT_ENTRIES; i++)
				v[i] = (struct qentry){prev + i, i, offset};
			qi_repair_extent(qi, q, first, v, QI_EXTENT_ENTRIES);
			continue;
		}
		for (unsigned i = 0; i < n; i++)
			sum = sum * 31 + v[i].position + v[i].size + v[i].tag;
		offset += n;
	}
	return sum;
}

static void use(struct memdisk *disk, struct testlog *log, struct qindex *qi, struct qi_queue *q, unsigned n)
{
	struct buf saved = {0};
	struct disk_op op = {0};
	struct qi_queue again[QUEUES];
	struct qindex *other;
	enum status st;
	uint64_t sum[QUEUES], bound;
	for (unsigned i = 0; i < n; i++) {
		read_all(qi, &q[i]);
		qi_trim(qi, &q[i], q[i].first + (q[i].next - q[i].first) / 2);
		for (unsigned k = 0; k < 300; k++)
			qi_append(qi, &q[i], &(struct qentry){k, k, k});
		CHECK(qi_lower_bound_position(qi, &q[i], 17, &bound) == ST_OK && bound >= q[i].first && bound <= q[i].next);
	}
	qi_snapshot_begin(qi);
	qi_save(qi, &saved);
	for (unsigned i = 0; i < n; i++) {
		sum[i] = read_all(qi, &q[i]);
		qi_queue_save(qi, &q[i], &saved);
		qi_queue_fini(qi, &q[i]);
	}
	CHECK(qi_sync(qi, &op, &st) && st == ST_OK);
	qi_snapshot_done(qi);
	CHECK(qi_open(&other, &disk->disk, &log->log, false) == ST_OK);
	CHECK(load(other, again, buf_view(&saved)) == n);
	for (unsigned i = 0; i < n; i++) {
		CHECK(read_all(other, &again[i]) == sum[i]);
		qi_queue_free(other, &again[i]);
	}
	qi_close(other);
	buf_fini(&saved);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memdisk disk;
	struct testlog log;
	struct qindex *qi;
	struct qi_queue q[QUEUES];
	if (size < 2)
		return 0;
	size_t n_saved = u64_min(be16_get(data), size - 2);
	memdisk_init(&disk);
	testlog_init(&log);
	memdisk_put(&disk, QI_FILE, data + 2 + n_saved, size - 2 - n_saved);
	CHECK(qi_open(&qi, &disk.disk, &log.log, false) == ST_OK);
	/* The number of a snapshot before the last possible one: its successor would be refused, and rightly. */
	uint8_t *saved = mem_dup(data + 2, n_saved);
	if (n_saved > NUMBER_AT)
		saved[NUMBER_AT] &= 0x3f;
	unsigned n = load(qi, q, slice_of(saved, n_saved));
	mem_free(saved);
	if (n > 0)
		use(&disk, &log, qi, q, n);
	qi_close(qi);
	memdisk_fini(&disk);
	return 0;
}
