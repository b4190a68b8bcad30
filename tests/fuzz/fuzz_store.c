/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The files that a start reads. A small store is made once, with something of everything that a store holds: a snapshot, and a log that goes on behind it. Each input
 * takes the place of a part of it, and the store is opened: it must open or be refused, never crash, hang or leak. What opened is used, closed in order, and opened
 * again: who was let in once must not be refused for what it wrote itself. So that the fuzzer gets behind the checksums, most ways wrap the bytes in a valid record or
 * snapshot. The first byte says which way.
 */
#include "base/be.h"
#include "base/crc.h"
#include "base/mem.h"
#include "base/obj.h"
#include "engine/engine.h"
#include "record/record.h"
#include "tests/lib/memdisk.h"

#define SEGMENT "commitlog/00000000000000000000"
#define STATE_TOPIC "rmq_sys_gantry_state"
#define SNAPSHOT_HEAD 60u
enum { TURNS = 60, CLOSE_TURNS = 3000, FILES = 12, QUEUES = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct store {
	struct memdisk disk;
	struct clock clock;
	uint64_t ns;
	struct prng prng;
	struct log log;
	struct engine *e;
	struct engine_sub group, tap;
	bool grouped, tapped;           /* they are open */
	unsigned given, asks;
};
static struct store s;

static uint64_t mono(struct clock *c)
{
	(void)c;
	return s.ns += 100000;
}

static int64_t wall(struct clock *c)
{
	(void)c;
	return 1700000000000 + (int64_t)(s.ns / MS_NS);
}

static const struct clock_ops clock_ops = {mono, wall};

static void no_line(struct log *l, enum log_level level, const char *area, const char *line)
{
	(void)l, (void)level, (void)area, (void)line;
}

static const struct log_ops no_log = {no_line};

static void store_init(void)
{
	memset(&s, 0, sizeof(s));
	s.clock.ops = &clock_ops;
	s.ns = SEC_NS;
	s.log = (struct log){&no_log, LOG_ERROR};
	memdisk_init(&s.disk);
	prng_init(&s.prng, 1);
}

static enum status store_open(void)
{
	struct engine_env env = {&s.clock, &s.disk.disk, &s.prng, &s.log};
	struct engine_conf conf;
	char why[256] = "";

	engine_conf_default(&conf);
	conf.segment_bytes = 128u << 10;
	conf.block_bytes = 4096;
	conf.max_message = 16u << 10;
	conf.ahead_bytes = conf.unsynced_bytes = 96u << 10;
	conf.cache_bytes = 64u << 10;
	for (unsigned i = 0; i < 18; i++)
		conf.delay_ms[i] = 1 + i;
	return engine_open(&s.e, &env, &conf, why, sizeof(why));
}

static void turns(unsigned n)
{
	for (unsigned i = 0; i < n && s.e != NULL; i++) {
		engine_turn(s.e);
		memdisk_run(&s.disk);
	}
}

static void closed(void *arg)
{
	(void)arg;
	s.e = NULL;
}

static void store_close(void)
{
	engine_close(s.e, closed, NULL);
	turns(CLOSE_TURNS);
	CHECK(s.e == NULL && s.asks == 0 && !s.grouped && !s.tapped);
}

/* ---- What is asked of it -------------------------------------------------------------------------------------------------------------------- */

static struct actor actor = {.front = "test"};

static void answered(struct engine_ask *a, enum status st)
{
	(void)st;
	s.asks--;
	mem_free(a); /* each request begins with it */
}

#define ASK_FOR(answer, verb, kind, ...) \
	do { \
		struct kind *q_ = mem_new(sizeof(*q_)); \
		*q_ = (struct kind){.ask = {.done = (answer)}, .actor = &actor, __VA_ARGS__}; \
		s.asks++; \
		verb(s.e, q_); \
	} while (0)
#define ASK(verb, kind, ...) ASK_FOR(answered, verb, kind, __VA_ARGS__)

static void send_one(struct slice topic, int32_t queue, const char *props)
{
	ASK(engine_send, engine_send, .msg = {.topic = topic, .body = SLICE_LIT("body"), .props = slice_str(props), .queue = queue, .max_reconsume = -1},
		.default_topic = SLICE_LIT("TBW102"), .default_queues = 4);
}

static void settle_one(struct engine_sub *sub, const struct delivery *d)
{
	static const enum settle how[] = {SETTLE_ACK, SETTLE_RETRY, SETTLE_REJECT, SETTLE_EXTEND, SETTLE_ACK, SETTLE_RELEASE};
	unsigned n = s.given++;
	struct engine_settle *q = mem_new(sizeof(*q));

	*q = (struct engine_settle){.ask = {.done = answered}, .sub = sub, .tag = d->tag, .how = how[n % ARRAY_LEN(how)], .after_ms = n % 3 == 0 ? -1 : 2};
	s.asks++;
	engine_settle(s.e, q);
}

static void ended(struct engine_sub *sub, enum status st)
{
	(void)st;
	*(sub == &s.tap ? &s.tapped : &s.grouped) = false;
}

static void tapped(struct engine_sub *sub, const struct delivery *d)
{
	(void)sub;
	CHECK(d->record.n >= RECORD_SIZE_MIN);
}

static void opened(struct engine_ask *a, enum status st)
{
	bool tap = container_of(a, struct engine_sub_open, ask)->sub == &s.tap;

	if (st == ST_OK)
		*(tap ? &s.tapped : &s.grouped) = true;
	answered(a, st);
}

static void subscribe(uint32_t credit)
{
	s.group = (struct engine_sub){.deliver = settle_one, .ended = ended};
	s.tap = (struct engine_sub){.deliver = tapped, .ended = ended};
	ASK_FOR(opened, engine_sub_open, engine_sub_open, .sub = &s.group, .topic = SLICE_LIT("orders"), .group = SLICE_LIT("g"), .client_id = SLICE_LIT("c"),
		.start = SUB_START_FIRST, .lease_ms = 5, .detach = true, .credit = credit);
	ASK_FOR(opened, engine_sub_open, engine_sub_open, .sub = &s.tap, .topic = SLICE_LIT("orders"), .start = SUB_START_FIRST, .tap = true, .credit = credit);
}

/* Where the first message stands. */
static uint64_t message_at(void)
{
	size_t n;
	const uint8_t *log = memdisk_bytes(&s.disk, SEGMENT, &n);
	struct record r;

	for (uint64_t at = 0; record_decode(slice_of(log + at, n - at), &r) == ST_OK; at += r.size)
		if (slice_eq_str(r.topic, "orders"))
			return at;
	return 0;
}

/* Something of everything. */
static void fill(void)
{
	struct slice orders = SLICE_LIT("orders"), g = SLICE_LIT("g");
	struct engine_group *group = mem_new(sizeof(*group));

	for (int i = 0; i < 12; i++)
		send_one(orders, i % 4, i % 5 == 4 ? "DELAY\1" "2\2" : "KEYS\1k\2TAGS\1a\2");
	send_one(SLICE_LIT("gone"), 0, "");
	turns(20);
	ASK(engine_topic_drop, engine_topic, .name = SLICE_LIT("gone"));
	*group = (struct engine_group){.ask = {.done = answered}, .actor = &actor, .name = SLICE_LIT("h")};
	group_conf_default(&group->conf);
	s.asks++;
	engine_group_put(s.e, group);
	for (int i = 0; i < 3; i++)
		ASK(engine_cell_put, engine_cell, .space = SLICE_LIT("s"), .name = i == 0 ? g : orders, .value = SLICE_LIT("value"), .drop = i == 2);
	turns(20);
	ASK(engine_offset_commit, engine_offset, .group = SLICE_LIT("h"), .topic = orders, .queue = 1, .offset = 2);
	ASK(engine_send_back, engine_send_back, .group = SLICE_LIT("h"), .position = message_at(), .delay_level = 1, .max_reconsume = -1);
	subscribe(7);
	turns(200);
}

/* What is asked of a store that opened. */
static void use(void)
{
	struct slice orders = SLICE_LIT("orders"), g = SLICE_LIT("g");

	subscribe(40);
	for (int32_t i = 0; i < 5; i++) {
		ASK(engine_pull, engine_pull, .topic = orders, .queue = i, .max_msgs = 32, .max_bytes = 1u << 20, .has_expr = true, .commit = -1);
		ASK(engine_range, engine_range, .topic = orders, .queue = i);
		ASK(engine_at_time, engine_range, .topic = orders, .queue = i, .time_ms = 1700000001010);
	}
	ASK(engine_find, engine_find, .topic = orders, .key = SLICE_LIT("k"), .max = 8, .end_ms = INT64_MAX);
	ASK(engine_view, engine_view, .position = message_at());
	ASK(engine_offset_list, engine_offsets, .group = g);
	ASK(engine_offset_get, engine_offset, .group = g, .topic = orders, .queue = 1);
	ASK(engine_group_list, engine_groups, .v = NULL);
	ASK(engine_topic_list, engine_topics, .v = NULL);
	ASK(engine_cell_list, engine_cells, .space = SLICE_LIT("s"));
	ASK(engine_offset_commit, engine_offset, .group = SLICE_LIT("h"), .topic = orders, .queue = 0, .offset = 1);
	send_one(orders, 1, "KEYS\1k\2DELAY\1" "1\2");
	send_one(SLICE_LIT("new"), -1, "KEYS\1k\2");
	turns(TURNS);
	ASK(engine_send_back, engine_send_back, .group = SLICE_LIT("h"), .position = message_at(), .max_reconsume = 1);
	ASK(engine_topic_drop, engine_topic, .name = SLICE_LIT("new"));
	turns(TURNS);
}

/* ---- The store that inputs are put into ---------------------------------------------------------------------------------------------------------- */

static struct kept {
	char path[64];
	uint8_t *p;
	size_t n;
} kept[FILES];
static unsigned n_kept;
static const char *snapshot;
/* The log's end, and where each queue ends. */
static uint64_t end;
static int64_t last_ms;
static struct ending {
	char topic[64];
	int32_t queue;
	uint64_t next;
} endings[QUEUES];
static unsigned n_endings;

static void keep(const char *path, void *arg)
{
	struct kept *k = &kept[n_kept++];
	const uint8_t *p;

	(void)arg;
	CHECK(n_kept <= ARRAY_LEN(kept) && strlen(path) < sizeof(k->path));
	memcpy(k->path, path, strlen(path) + 1);
	p = memdisk_bytes(&s.disk, path, &k->n);
	k->p = mem_dup(p, k->n);
	if (strncmp(path, "snapshot/", 9) == 0 && (snapshot == NULL || strcmp(path, snapshot) > 0))
		snapshot = k->path;
}

static void note_ends(void)
{
	size_t n;
	const uint8_t *log = memdisk_bytes(&s.disk, SEGMENT, &n);
	struct record r;

	for (; record_decode(slice_of(log + end, n - end), &r) == ST_OK; end += r.size) {
		unsigned i = 0;
		while (i < n_endings && !(slice_eq_str(r.topic, endings[i].topic) && endings[i].queue == r.queue))
			i++;
		if (i == n_endings) {
			CHECK(++n_endings <= QUEUES && r.topic.n < sizeof(endings[i].topic));
			memcpy(endings[i].topic, r.topic.p, r.topic.n);
			endings[i].queue = r.queue;
		}
		endings[i].next = r.queue_offset + 1;
		last_ms = r.store_ms;
	}
}

static void make_store(void)
{
	store_init();
	for (unsigned i = 0; i < 2; i++) {
		CHECK(store_open() == ST_OK);
		fill();
		if (i == 0)
			store_close();
	}
	CHECK(s.asks == 0 && s.given > 4);
	memdisk_each(&s.disk, keep, NULL);
	note_ends();
	CHECK(snapshot != NULL && n_endings > 6);
	engine_abandon(s.e);
	memdisk_fini(&s.disk);
}

/* ---- Ways ----------------------------------------------------------------------------------------------------------------------------------------- */

/* A snapshot with a right head and right checksums, whose items are the input. */
static void put_snapshot(struct slice items)
{
	size_t n;
	uint8_t *p = memdisk_bytes(&s.disk, snapshot, &n);
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
	memdisk_put(&s.disk, snapshot, b.p, b.n);
	buf_fini(&b);
}

/* A right record at 'position', and nothing behind it. */
static void put_record(struct record *r, uint64_t position)
{
	size_t n;
	uint8_t *log = memdisk_bytes(&s.disk, SEGMENT, &n);
	uint8_t *copy = mem_dup(log, n);

	r->position = position;
	if (r->props.n <= 8192 && r->body.n <= 8192) {
		record_encode(r, copy + position);
		memset(copy + position + record_size(r), 0, n - position - record_size(r));
		memdisk_put(&s.disk, SEGMENT, copy, n);
	}
	mem_free(copy);
}

/* The log begins with a record that has the input as body, or as topic and properties. */
static void put_first(struct slice in, bool state)
{
	struct record r = {.body = in, .topic = SLICE_LIT(STATE_TOPIC), .store_ms = 1};

	if (!state) {
		size_t n = in.n > 0 ? in.p[0] % 100u : 0;
		r.topic = slice_of(in.p, u64_min(n, in.n));
		r.props = slice_skip(in, n);
		r.body = SLICE_LIT("x");
	}
	put_record(&r, 0);
	s.disk.disk.ops->remove(&s.disk.disk, snapshot);
}

static uint64_t ending_of(const char *topic, int32_t queue)
{
	for (unsigned i = 0; i < n_endings; i++)
		if (strcmp(endings[i].topic, topic) == 0 && endings[i].queue == queue)
			return endings[i].next;
	return 0;
}

/* The log goes on: with changes of state, or with a message in one of the queues that are there. */
static void put_last(struct slice in, bool state)
{
	struct record r = {.body = in, .topic = SLICE_LIT(STATE_TOPIC), .store_ms = last_ms, .queue_offset = ending_of(STATE_TOPIC, 0)};

	if (!state && in.n > 4) {
		const struct ending *to = &endings[in.p[0] % n_endings];
		r.topic = slice_str(to->topic);
		r.queue = to->queue;
		r.queue_offset = to->next + in.p[1] / 250u;
		r.reconsume_times = in.p[2] / 8;
		r.prepared = in.p[3] < 128 ? 0 : (int64_t)(in.p[3] - 128) * (int64_t)end / 128;
		r.props = slice_skip(in, 4);
		r.body = SLICE_LIT("x");
	}
	put_record(&r, end);
}

static void put_log(struct slice in)
{
	size_t n;
	uint8_t *copy = mem_dup(memdisk_bytes(&s.disk, SEGMENT, &n), n);
	size_t at = in.n >= 2 ? be16_get(in.p) : 0;

	in = slice_skip(in, 2);
	if (in.n > 0)
		memcpy(copy + at, in.p, u64_min(in.n, n - at));
	memdisk_put(&s.disk, SEGMENT, copy, n);
	mem_free(copy);
}

/* A part of an index file, or all of it. */
static void put_index(struct slice in)
{
	unsigned which = in.n > 0 ? in.p[0] : 0;

	for (unsigned i = 0; i < n_kept; i++) {
		struct kept *k = &kept[(i + which) % n_kept];
		if (strncmp(k->path, "index/", 6) != 0)
			continue;
		if (which < 128) {
			memdisk_put(&s.disk, k->path, in.p, in.n);
			return;
		}
		uint8_t *copy = mem_dup(k->p, k->n);
		size_t at = in.n >= 3 && k->n > 0 ? be16_get(in.p + 1) % k->n : 0;
		in = slice_skip(in, 3);
		if (in.n > 0)
			memcpy(copy + at, in.p, u64_min(in.n, k->n - at));
		memdisk_put(&s.disk, k->path, copy, k->n);
		mem_free(copy);
		return;
	}
}

static void put(uint8_t way, struct slice in)
{
	switch (way % 9) {
	case 0: memdisk_put(&s.disk, snapshot, in.p, in.n); break;
	case 1: put_snapshot(in); break;
	case 2: put_log(in); break;
	case 3: put_first(in, true); break;
	case 4: put_first(in, false); break;
	case 5: memdisk_put(&s.disk, "format", in.p, in.n); break;
	case 6: put_last(in, true); break;
	case 7: put_last(in, false); break;
	default: put_index(in); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (n_kept == 0)
		make_store();
	if (size < 1)
		return 0;
	store_init();
	for (unsigned i = 0; i < n_kept; i++)
		memdisk_put(&s.disk, kept[i].path, kept[i].p, kept[i].n);
	put(data[0], slice_of(data + 1, size - 1));
	if (store_open() == ST_OK) {
		use();
		store_close();
		CHECK(store_open() == ST_OK);
		turns(TURNS);
		engine_abandon(s.e);
	}
	memdisk_fini(&s.disk);
	return 0;
}
