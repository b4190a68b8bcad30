/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The files that a start reads. A small store is made once; each input takes the place of a part of it, and the store is opened: it must open or be
 * refused, never crash, hang or leak. So that the fuzzer gets behind the checksums, some ways wrap the bytes in a valid record or snapshot.
 * The first byte says which way.
 */
#include "base/be.h"
#include "base/crc.h"
#include "base/mem.h"
#include "base/obj.h"
#include "engine/engine.h"
#include "record/record.h"
#include "tests/lib/memdisk.h"

#define SEGMENT "commitlog/00000000000000000000"
#define SNAPSHOT_HEAD 60u
enum { TURNS = 200, WAYS = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fixed_clock {
	struct clock base;
	uint64_t ns;
};

static uint64_t mono(struct clock *c)
{
	return ((struct fixed_clock *)(void *)c)->ns += 100000;
}

static int64_t wall(struct clock *c)
{
	return 1700000000000 + (int64_t)(((struct fixed_clock *)(void *)c)->ns / MS_NS);
}

static const struct clock_ops clock_ops = {mono, wall};

static void no_line(struct log *l, enum log_level level, const char *area, const char *line)
{
	(void)l, (void)level, (void)area, (void)line;
}

static const struct log_ops no_log = {no_line};

struct store {
	struct memdisk disk;
	struct fixed_clock clock;
	struct prng prng;
	struct log log;
	struct engine *e;
};

static enum status store_open(struct store *s)
{
	struct engine_conf conf;
	char why[256] = "";
	engine_conf_default(&conf);
	conf.segment_bytes = 128u << 10;
	conf.block_bytes = 4096;
	conf.max_message = 16u << 10;
	conf.ahead_bytes = conf.unsynced_bytes = 96u << 10;
	conf.cache_bytes = 64u << 10;
	struct engine_env env = {&s->clock.base, &s->disk.disk, &s->prng, &s->log};
	return engine_open(&s->e, &env, &conf, why, sizeof why);
}

static void store_init(struct store *s)
{
	*s = (struct store){.clock = {{&clock_ops}, SEC_NS}, .log = {&no_log, LOG_ERROR}};
	memdisk_init(&s->disk);
	prng_init(&s->prng, 1);
}

static void closed(void *arg)
{
	((struct store *)arg)->e = NULL;
}

static void turns(struct store *s)
{
	for (int i = 0; i < TURNS && s->e != NULL; i++) {
		engine_turn(s->e);
		memdisk_run(&s->disk);
	}
}

/* The files of a store with some messages and an orderly end. */
static struct kept {
	char path[64];
	uint8_t *p;
	size_t n;
} kept[8];
static unsigned n_kept;
static char snapshot[64];

static void keep(void *arg, const char *name)
{
	struct kept *k = &kept[n_kept++];
	CHECK(n_kept <= ARRAY_LEN(kept));
	struct buf path = {0};
	buf_str(&path, arg);
	buf_str(&path, name);
	CHECK(path.n < sizeof k->path);
	memcpy(k->path, buf_cstr(&path), path.n + 1);
	buf_fini(&path);
}

static void make_store(void)
{
	struct store s;
	struct engine_send sends[20];
	store_init(&s);
	CHECK(store_open(&s) == ST_OK);
	for (int i = 0; i < 20; i++) {
		sends[i] = (struct engine_send){.msg = {.topic = SLICE_LIT("orders"), .body = SLICE_LIT("body"), .props = SLICE_LIT("KEYS\1k\2"), .queue = i % 4,
			.max_reconsume = -1}, .default_topic = SLICE_LIT("TBW102"), .default_queues = 4};
		engine_send(s.e, &sends[i]);
	}
	turns(&s);
	engine_close(s.e, closed, &s);
	turns(&s);
	CHECK(s.e == NULL);
	const char *dirs[] = {"", "commitlog/", "snapshot/", "index/"};
	for (unsigned i = 0; i < ARRAY_LEN(dirs); i++) {
		char dir[16];
		size_t n = strlen(dirs[i]);
		memcpy(dir, dirs[i], n + 1);
		if (n > 0)
			dir[n - 1] = '\0';
		s.disk.disk.ops->list(&s.disk.disk, dir, keep, (void *)(uintptr_t)dirs[i]);
	}
	for (unsigned i = 0; i < n_kept; i++) {
		uint8_t *p = memdisk_bytes(&s.disk, kept[i].path, &kept[i].n);
		kept[i].p = mem_dup(p, kept[i].n);
		if (strncmp(kept[i].path, "snapshot/", 9) == 0)
			memcpy(snapshot, kept[i].path, sizeof snapshot);
	}
	memdisk_fini(&s.disk);
}

/* A snapshot with a right head and right checksums, whose items are the input. */
static void put_snapshot(struct store *s, struct slice items)
{
	size_t n;
	uint8_t *p = memdisk_bytes(&s->disk, snapshot, &n);
	struct buf b = {0};
	uint32_t first = be32_get(p + SNAPSHOT_HEAD);
	buf_put(&b, p, SNAPSHOT_HEAD + 8 + first);
	buf_be32(&b, (uint32_t)items.n);
	buf_be32(&b, crc32_of(items.p, items.n));
	buf_slice(&b, items);
	if (items.n > 0) {
		buf_be32(&b, 0);
		buf_be32(&b, 0);
	}
	memdisk_put(&s->disk, snapshot, b.p, b.n);
	buf_fini(&b);
}

/* The log begins with a right record that has the input as body, or as topic and properties. */
static void put_record(struct store *s, struct slice in, bool state)
{
	struct record r = {.body = in, .topic = SLICE_LIT("rmq_sys_gantry_state"), .store_ms = 1};
	if (!state) {
		size_t n = in.n > 0 ? in.p[0] % 100u : 0;
		r.topic = slice_of(in.p, u64_min(n, in.n));
		r.props = slice_skip(in, n);
		r.body = SLICE_LIT("x");
	}
	if (r.props.n > 8192 || r.body.n > 8192)
		return;
	size_t n;
	uint8_t *log = memdisk_bytes(&s->disk, SEGMENT, &n);
	uint8_t *copy = mem_dup(log, n);
	CHECK(record_size(&r) < n);
	record_encode(&r, copy);
	memset(copy + record_size(&r), 0, n - record_size(&r));
	memdisk_put(&s->disk, SEGMENT, copy, n);
	mem_free(copy);
	s->disk.disk.ops->remove(&s->disk.disk, snapshot);
}

static void put_log(struct store *s, struct slice in)
{
	size_t n;
	uint8_t *copy = mem_dup(memdisk_bytes(&s->disk, SEGMENT, &n), n);
	size_t at = in.n >= 2 ? be16_get(in.p) : 0;
	in = slice_skip(in, 2);
	memcpy(copy + at, in.p == NULL ? copy + at : in.p, u64_min(in.n, n - at));
	memdisk_put(&s->disk, SEGMENT, copy, n);
	mem_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store s;
	if (n_kept == 0)
		make_store();
	if (size < 1)
		return 0;
	struct slice in = slice_of(data + 1, size - 1);
	store_init(&s);
	for (unsigned i = 0; i < n_kept; i++)
		memdisk_put(&s.disk, kept[i].path, kept[i].p, kept[i].n);
	switch (data[0] % WAYS) {
	case 0: memdisk_put(&s.disk, snapshot, in.p, in.n); break;
	case 1: put_snapshot(&s, in); break;
	case 2: put_log(&s, in); break;
	case 3: put_record(&s, in, true); break;
	case 4: put_record(&s, in, false); break;
	default: memdisk_put(&s.disk, "format", in.p, in.n); break;
	}
	if (store_open(&s) == ST_OK) {
		turns(&s);
		engine_abandon(s.e);
	}
	memdisk_fini(&s.disk);
	return 0;
}
