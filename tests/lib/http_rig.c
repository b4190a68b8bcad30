/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "tests/lib/http_rig.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/obj.h"

static struct http_call_rig *rig_of(struct http_call *c) { return container_of(c, struct http_call_rig, c); }

/* ---- The carrier -------------------------------------------------------------------------------------------------------------------- */

static void reply(struct http_call *call, unsigned status, struct slice headers, const struct piece *body, unsigned n)
{
	struct http_call_rig *c = rig_of(call);

	CHECK(!c->over && !c->gone && c->status == 0);
	c->status = status;
	c->over = true;
	buf_slice(&c->head, headers);
	for (unsigned i = 0; i < n; i++)
		buf_slice(&c->body, body[i].bytes);
}

static void stream_begin(struct http_call *call, unsigned status, struct slice headers)
{
	struct http_call_rig *c = rig_of(call);

	CHECK(!c->over && !c->gone && c->status == 0);
	c->status = status;
	c->streaming = true;
	buf_slice(&c->head, headers);
}

static void stream_write(struct http_call *call, const struct piece *v, unsigned n)
{
	struct http_call_rig *c = rig_of(call);

	CHECK(c->streaming && !c->over && !c->gone);
	for (unsigned i = 0; i < n; i++)
		buf_slice(&c->queued, v[i].bytes);
	call->unsent = c->queued.n;
}

static void stream_end(struct http_call *call)
{
	struct http_call_rig *c = rig_of(call);

	CHECK(c->streaming && !c->over && !c->gone);
	c->over = true;
	buf_slice(&c->body, buf_view(&c->queued));
	buf_reset(&c->queued);
}

size_t http_rig_room = SIZE_MAX, http_rig_kept = SIZE_MAX;

static size_t kept_of_streams(const struct http_rig *h)
{
	size_t sum = 0;

	for (unsigned i = 0; i < h->n_calls; i++)
		sum += h->calls[i]->gone ? 0 : h->calls[i]->queued.n;
	return sum;
}

static bool room(struct http_call *call, size_t n)
{
	struct http_call_rig *c = rig_of(call);

	return n <= http_rig_room && (!c->streaming || n <= http_rig_kept - u64_min(http_rig_kept, kept_of_streams(c->h)));
}

static const struct http_carrier_ops carrier_ops = {reply, stream_begin, stream_write, stream_end, room};

/* The sockets take what is queued. */
static void flush(struct http_rig *h)
{
	for (unsigned i = 0; i < h->n_calls; i++) {
		struct http_call_rig *c = h->calls[i];
		if (c->over || c->gone || c->stalled || c->queued.n == 0)
			continue;
		buf_slice(&c->body, buf_view(&c->queued));
		buf_reset(&c->queued);
		c->c.unsent = 0;
		http_api_writable(h->api, &c->c);
	}
	http_api_freed(h->api);
}

/* ---- Life --------------------------------------------------------------------------------------------------------------------------- */

static void no_wake(void *arg) { (void)arg; }

static struct http_rig *randomly;

static void fake_random(void *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = (uint8_t)((randomly->random = randomly->random * UINT64_C(6364136223846793005) + 1442695040888963407) >> 33);
}

void http_rig_init(struct http_rig *h)
{
	memset(h, 0, sizeof(*h));
	rig_init(&h->r);
	h->r.conf.auto_create_topic = h->r.conf.auto_create_group = true;
	h->random = 1;
	h->conf = (struct front_conf){
		.cluster = SLICE_LIT("DefaultCluster"), .broker = SLICE_LIT("broker-a"), .advertised_ip = 0x7f000001, .advertised_port = 10911,
		.max_message = h->r.conf.max_message, .max_wait_ms = 30000, .lease_ms = 30000, .default_queues = 4, .auto_create_topic = true,
		.http_max_batch = 100, .http_max_body = 1u << 20, .http_max_header = 16384, .http_request_ms = 30000, .http_heartbeat_ms = 15000,
		.http_stream_window = 32, .web_ui = true,
	};
	memcpy(h->conf.delay_ms, h->r.conf.delay_ms, sizeof(h->conf.delay_ms));
}

void http_rig_attach(struct http_rig *h, struct engine *e, struct clock *clock, struct log *log, const struct front_conf *conf)
{
	struct engine_port_conf pc = {e, no_wake, NULL, no_wake, NULL};

	randomly = h;
	h->port = engine_port_new(&pc);
	struct http_api_env env = {.engine = engine_port_engine(h->port), .clock = clock, .log = log, .conf = conf, .random = fake_random};
	h->api = http_api_open(&env);
}

void http_rig_attached_turn(struct http_rig *h, uint64_t now_ns)
{
	engine_port_turn(h->port);
	http_api_turn(h->api, now_ns);
	flush(h);
	engine_port_serve(h->port);
}

void http_rig_detach(struct http_rig *h)
{
	http_api_close(h->api);
	CHECK(engine_port_idle(h->port));
	engine_port_free(h->port);
}

static void open_front(struct http_rig *h)
{
	http_rig_attach(h, h->r.e, &h->r.clock.base, &h->r.log.log, &h->conf);
}

void http_rig_open(struct http_rig *h)
{
	h->r.conf.store_ip = h->conf.advertised_ip;
	h->r.conf.store_port = h->conf.advertised_port;
	rig_open(&h->r);
	open_front(h);
	http_rig_turns(h, 3);
}

/* One turn of both threads. Returns when something is due. */
static uint64_t turn(struct http_rig *h)
{
	engine_port_serve(h->port);
	uint64_t due = engine_turn(h->r.e);

	memdisk_run(&h->r.disk);
	engine_port_turn(h->port);
	due = u64_min(due, http_api_turn(h->api, h->r.clock.ns));
	flush(h);
	return due;
}

void http_rig_turns(struct http_rig *h, unsigned n)
{
	for (; n > 0; n--) {
		turn(h);
		h->r.clock.ns += 1000;
	}
}

/* Something is on its way between the threads whenever the engine has just been asked: a few turns at least. */
void http_rig_run(struct http_rig *h, uint64_t ms)
{
	uint64_t end = h->r.clock.ns + ms * MS_NS;

	http_rig_turns(h, 8);
	while (h->r.clock.ns < end) {
		uint64_t due = turn(h);
		for (unsigned i = 0; i < 4; i++) {
			h->r.clock.ns += 100;
			due = turn(h);
		}
		h->r.clock.ns = due <= h->r.clock.ns ? h->r.clock.ns + 1000 : u64_min(due, end);
	}
	http_rig_turns(h, 8);
}

static void close_front(struct http_rig *h)
{
	http_api_drain(h->api);
	http_rig_turns(h, 20);
	for (unsigned i = 0; i < h->n_calls; i++)
		if (!h->calls[i]->over && !h->calls[i]->gone)
			PANIC("a call was not answered when the front was drained");
	for (unsigned i = 0; i < 1000 && !(http_api_idle(h->api) && engine_port_idle(h->port)); i++)
		http_rig_turns(h, 10);
	CHECK(http_api_idle(h->api));
	http_rig_detach(h);
}

void http_rig_restart(struct http_rig *h)
{
	close_front(h);
	rig_restart(&h->r);
	open_front(h); /* no turn yet: the front asks for its key while the first calls come */
}

void http_rig_crash(struct http_rig *h)
{
	close_front(h);
	rig_crash(&h->r, NULL);
	open_front(h); /* no turn yet: the front asks for its key while the first calls come */
}

void http_rig_fini(struct http_rig *h)
{
	for (unsigned i = 0; i < h->n_calls; i++)
		http_rig_gone(h->calls[i]);
	http_rig_turns(h, 20);
	close_front(h);
	while (h->n_calls > 0)
		http_rig_free(h->calls[0]);
	rig_fini(&h->r);
}

/* ---- Calls -------------------------------------------------------------------------------------------------------------------------- */

static void split_headers(struct http_call_rig *c, struct slice lines)
{
	struct slice line, name;

	while (slice_split(&lines, '\n', &line)) {
		if (line.n == 0)
			continue;
		CHECK(c->c.n_headers < HTTP_RIG_HEADERS && slice_split(&line, ':', &name));
		c->headers[c->c.n_headers++] = (struct http_header){name, slice_trim(line)};
		if (slice_eq_str(name, "host"))
			c->c.host = slice_trim(line);
		else if (slice_eq_str(name, "origin"))
			c->c.origin = slice_trim(line);
	}
}

static char *put_text(char **at, const char *s, size_t n)
{
	char *to = *at;

	if (n > 0)
		memcpy(to, s, n);
	*at += n;
	return to;
}

struct http_call_rig *http_rig_start(struct http_rig *h, const char *method, const char *target, const char *headers, struct slice body)
{
	struct http_call_rig *c = mem_new(sizeof(*c));
	size_t nm = strlen(method), nt = strlen(target), nh = headers == NULL ? 0 : strlen(headers);
	const char *query = strchr(target, '?');
	char *at = c->text = mem_new(nm + nt + nh + body.n + 64);

	CHECK(h->n_calls < ARRAY_LEN(h->calls));
	h->calls[h->n_calls++] = c;
	c->h = h;
	c->c.ops = &carrier_ops;
	c->c.method = slice_of(put_text(&at, method, nm), nm);
	size_t np = query == NULL ? nt : (size_t)(query - target);
	c->c.path = slice_of(put_text(&at, target, np), np);
	if (query != NULL)
		c->c.query = slice_of(put_text(&at, query + 1, nt - np - 1), nt - np - 1);
	c->c.host = SLICE_LIT("localhost:8080");
	c->c.headers = c->headers;
	split_headers(c, slice_of(put_text(&at, headers, nh), nh));
	c->c.body = slice_of(put_text(&at, (const char *)body.p, body.n), body.n);
	c->c.peer = slice_of(put_text(&at, "127.0.0.1:40000", 15), 15);
	c->text_n = (size_t)(at - c->text);
	http_api_call(h->api, &c->c);
	return c;
}

void http_rig_gone(struct http_call_rig *c)
{
	if (c->over || c->gone)
		return;
	http_api_gone(c->h->api, &c->c);
	c->gone = true;
	CHECK(c->c.state == NULL);
	/* Nobody may look at the request any more. */
	memset(c->text, 0xdd, c->text_n);
}

unsigned http_rig_wait(struct http_call_rig *c, uint64_t ms)
{
	http_rig_turns(c->h, 30);
	for (uint64_t i = 0; i < ms && !c->over; i++)
		http_rig_run(c->h, 1);
	return c->status;
}

struct http_call_rig *http_rig_ask(struct http_rig *h, const char *method, const char *target, const char *headers, const char *body)
{
	struct http_call_rig *c = http_rig_start(h, method, target, headers, slice_str(body));

	http_rig_wait(c, 1000);
	return c;
}

const char *http_rig_body(struct http_call_rig *c) { return buf_cstr(&c->body); }

const char *http_rig_head(struct http_call_rig *c) { return buf_cstr(&c->head); }

void http_rig_stall(struct http_call_rig *c, bool stalled) { c->stalled = stalled; }

void http_rig_free(struct http_call_rig *c)
{
	struct http_rig *h = c->h;
	unsigned i = 0;

	http_rig_gone(c);
	while (h->calls[i] != c)
		i++;
	memmove(h->calls + i, h->calls + i + 1, (--h->n_calls - i) * sizeof(*h->calls));
	buf_fini(&c->head);
	buf_fini(&c->body);
	buf_fini(&c->queued);
	mem_free(c->text);
	mem_free(c);
}
