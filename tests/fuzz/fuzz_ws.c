/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The JSON protocol over the real engine on a disk in memory: each line of the input is a message of one of two clients (by its first byte), and
 * between lines the world runs a little. A line "\x01" hangs one client up, "\x02" lets it stop reading. Whatever is said, every answer is a JSON
 * object with a type, the engine's credit is kept, and in the end nothing of any connection is left. A world serves a number of inputs, for making one takes far longer
 * than an input; what one input leaves in it are messages and groups.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/obj.h"
#include "front/websocket/websocket.h"
#include "front/websocket/ws.h"
#include "tests/lib/memdisk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUTS_OF_A_WORLD = 200, CLIENTS = 2, TURNS = 12, LINES_MAX = 64, ROOM = 32 << 10 };

struct client {
	struct stream stream;
	void *conn;             /* NULL: hung up */
	size_t queued;
	bool stalled, full, closing;
};
static struct {
	struct memdisk disk;
	struct testlog log;
	struct clock clock;
	struct prng prng;
	uint64_t ns;
	struct engine *engine;
	struct front_conf conf;
	void *front;
	struct client clients[CLIENTS];
	bool stopped, closed;
} world;

static uint64_t mono(struct clock *c) { (void)c; return world.ns; }
static int64_t wall(struct clock *c) { (void)c; return 1700000000000 + (int64_t)(world.ns / MS_NS); }
static const struct clock_ops clock_ops = {mono, wall};
static void random_bytes(void *to, size_t n) { memset(to, 7, n); }

static void out_send(struct stream *s, const struct piece *v, unsigned n)
{
	struct client *c = container_of(s, struct client, stream);

	CHECK(c->conn != NULL);
	for (unsigned i = 0; i < n; i++) {
		json_t *j = json_loadb((const char *)v[i].bytes.p, v[i].bytes.n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
		CHECK(j != NULL && json_is_string(json_object_get(j, "type")));
		json_decref(j);
		c->queued += c->stalled ? v[i].bytes.n : 0;
	}
}
static size_t out_room(struct stream *s)
{
	struct client *c = container_of(s, struct client, stream);

	c->full = c->full || c->queued >= ROOM;
	return c->queued < ROOM ? ROOM - c->queued : 0;
}
static void out_pause(struct stream *s, bool pause) { (void)s; (void)pause; }
static void out_close(struct stream *s, int code, const char *reason)
{
	struct client *c = container_of(s, struct client, stream);

	CHECK(code >= 1000 && code < 5000 && reason != NULL && !c->closing);
	c->closing = true;
}
static const struct stream_out_ops out_ops = {out_send, out_room, out_pause, out_close};

static void hang_up(struct client *c)
{
	if (c->conn == NULL)
		return;
	ws_json_stream.closed(c->conn, ST_OK);
	mem_free(c->conn);
	c->conn = NULL;
}

static void connect_client(struct client *c)
{
	struct stream_info info = {.peer = SLICE_LIT("127.0.0.1:1")};

	*c = (struct client){.stream = {&out_ops}, .conn = mem_new(ws_json_stream.conn_size)};
	ws_json_stream.opened(c->conn, world.front, &c->stream, &info);
}

static void run(unsigned turns)
{
	for (unsigned i = 0; i < turns && world.engine != NULL; i++) {
		front_websocket.turn(world.front, world.ns);
		uint64_t due = engine_turn(world.engine);
		memdisk_run(&world.disk);
		if (due > world.ns)
			world.ns += u64_min(due - world.ns, 200 * MS_NS);
		for (unsigned k = 0; k < CLIENTS; k++)
			if (world.clients[k].closing)
				hang_up(&world.clients[k]);
	}
}

static void make_topic(const char *name)
{
	static struct actor me = {.front = "test"};
	struct engine_topic t = {.actor = &me, .name = slice_str(name), .conf = {.read_queues = 2, .write_queues = 2, .perm = PERM_READ | PERM_WRITE}};

	engine_topic_put(world.engine, &t);
	run(50);
	CHECK(t.ask.status == ST_OK);
}

static void open_world(void)
{
	struct engine_env ee = {&world.clock, &world.disk.disk, &world.prng, &world.log.log};
	struct engine_conf ec;
	struct front_env fe = {.clock = &world.clock, .log = &world.log.log, .conf = &world.conf, .random = random_bytes};
	char why[200];

	memset(&world, 0, sizeof(world));
	memdisk_init(&world.disk);
	testlog_init(&world.log);
	world.log.log.level = LOG_ERROR;
	world.clock.ops = &clock_ops;
	world.ns = SEC_NS;
	prng_init(&world.prng, 3);
	engine_conf_default(&ec);
	ec.segment_bytes = 1u << 20;
	ec.block_bytes = 16384;
	ec.max_message = 32u << 10;
	ec.unsynced_bytes = ec.ahead_bytes = 256u << 10;
	ec.snapshot_bytes = 1u << 20;
	ec.cache_bytes = 256u << 10;
	ec.max_topics = ec.max_groups = 64;
	CHECK(engine_open(&world.engine, &ee, &ec, why, sizeof(why)) == ST_OK);
	world.conf = (struct front_conf){.max_message = ec.max_message, .max_requests = 16, .lease_ms = 3000, .default_queues = 2, .auto_create_topic = true,
		.ws_max_conns = 8, .ws_max_message = 64u << 10, .ws_max_subs = 4, .ws_max_credit = 64, .ws_ping_ms = 30000};
	memcpy(world.conf.delay_ms, ec.delay_ms, sizeof(world.conf.delay_ms));
	fe.engine = world.engine;
	world.front = mem_new(front_websocket.size);
	CHECK(front_websocket.start(world.front, &fe) == ST_OK);
	make_topic("t");
}

static void on_stopped(void *arg) { *(bool *)arg = true; }
static void on_closed(void *arg)
{
	*(bool *)arg = true;
	world.engine = NULL;
}

static void close_world(void)
{
	front_websocket.drain(world.front);
	front_websocket.stop(world.front, on_stopped, &world.stopped);
	for (unsigned i = 0; i < 2000 && !world.stopped; i++)
		run(1);
	CHECK(world.stopped);
	engine_close(world.engine, on_closed, &world.closed);
	for (unsigned i = 0; i < 2000 && !world.closed; i++)
		run(1);
	CHECK(world.closed);
	mem_free(world.front);
	memdisk_fini(&world.disk);
}

static void stop_reading(struct client *c)
{
	c->stalled = !c->stalled;
	c->queued = 0;
	if (!c->stalled && c->full) {
		c->full = false;
		ws_json_stream.drained(c->conn);
	}
}

static void say(struct client *c, struct slice line)
{
	uint8_t *copy = malloc(line.n + 1);

	CHECK(copy != NULL);
	memcpy(copy, line.p, line.n);
	CHECK(ws_json_stream.input(c->conn, slice_of(copy, line.n)) == (ptrdiff_t)line.n);
	free(copy);
	/* A client that is stalled holds a bounded queue: what it was sent, and one window. */
	CHECK(c->queued <= ROOM + WS_WINDOW_MAX * world.conf.ws_max_message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of(data, size), line;
	static unsigned inputs;

	if (inputs == 0)
		open_world();
	for (unsigned i = 0; i < LINES_MAX && slice_split(&rest, '\n', &line); i++) {
		struct client *c = &world.clients[line.n > 0 && line.p[0] == ' '];
		if (c->conn == NULL)
			connect_client(c);
		if (line.n == 1 && line.p[0] == 1)
			hang_up(c);
		else if (line.n == 1 && line.p[0] == 2)
			stop_reading(c);
		else if (line.n > 0 && !c->closing)
			say(c, line);
		run(i % 3 == 0 ? TURNS : 1);
	}
	for (unsigned k = 0; k < CLIENTS; k++)
		hang_up(&world.clients[k]);
	for (unsigned i = 0; i < 200 && ((struct ws *)world.front)->n_peers > 0; i++)
		run(1);
	CHECK(((struct ws *)world.front)->n_peers == 0);
	inputs = (inputs + 1) % INPUTS_OF_A_WORLD;
	if (inputs == 0)
		close_world();
	return 0;
}
