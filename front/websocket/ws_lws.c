/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The WebSocket carrier over libwebsockets: the only file that knows it. The library runs on the process's loop, answers the upgrade (a request that
 * the door has read and put into plain words), unmasks what comes, and answers pings and a peer's close. Ours are: reassembling under a limit,
 * frames that go out, our own pings and closes, stalls and every deadline.
 *
 *   open      messages flow; 'paused' keeps input back
 *   closing   stream_close was called: the queue is written, then our close frame; input is dropped
 *   leaving   the closing handshake is under way, whoever began it
 * The connection is freed in the library's last callback for it; closed() is called right before that, and only there.
 *
 * What is written goes to the library as whole frames, so its own control frames never fall into one of ours. It keeps the part of a write that the
 * socket did not take; nothing more is written until that has gone.
 *
 * On a foreign loop the library's end takes two calls: the first closes its handles, and the second may come only when their close callbacks have
 * run, which a bounded number of turns makes sure of.
 */
#include <libwebsockets.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "base/heap.h"
#include "base/mem.h"
#include "front/websocket/ws_carrier.h"
#include "front/websocket/ws_door.h"
#include "front/websocket/ws_queue.h"

enum {
	CARRIER_MAGIC = 0x77736361, CONN_MAGIC = 0x7773636f,
	CARRIED_MAX = 4,
	RX_BYTES = 4096,              /* the library's buffer of a connection */
	FILES_MAX = 128 << 10,        /* a socket whose number is beyond is refused */
	HEADER_BYTES = 1024,          /* the plain request is far smaller */
	OUT_MAX = 24 << 10,           /* queued bytes of a connection beyond which stream_room() is 0 */
	PARTS_HELD = 16,              /* so many of the largest messages may be here in part, over all connections */
	PARTS_MIN = 64 << 20,
	SMALL_PART = 64 << 10,        /* those that are never refused because of the others */
	OUT_LIMIT = 64 << 20,         /* and beyond which it is cut: answers that nobody reads */
	REASON_MAX = 120,             /* bytes of a close frame's text; the protocol allows 123 */
	END_TURNS = 32,               /* turns of the loop in which the library's handles are closed */
	CLOSE_FRAME = 0x88,           /* FIN and the opcode */
	CLOSE_UNSUPPORTED = 1003, CLOSE_PROTOCOL = 1002, CLOSE_TOO_BIG = 1009, CLOSE_AWAY = 1001, CLOSE_NORMAL = 1000, CLOSE_LATER = 1013, CLOSE_OWN = 3000, CLOSE_LAST = 4999,
};
#define STALL_NS (30 * SEC_NS)         /* a peer that takes nothing of what is queued for so long is cut */
#define LINGER_NS (3 * SEC_NS)         /* after stream_close: longest wait for the rest to go, and then for the peer to answer */
#define MESSAGE_NS (120 * SEC_NS)      /* from the first part of a message to its last */
#define ENDING_NS (SEC_NS / 2)         /* the same when the process ends */
#define WRITES_PER_FLUSH 16            /* of one connection, so that others get their turn */

/* A protocol that is carried, and its name on the wire. */
struct carried {
	const char *subprotocol;
	const struct stream_ops *ops;
	void *front;
	bool text;
};

struct ws_carrier {
	uint32_t magic;
	const struct front_env *env;
	struct clock *clock;
	struct carried carried[CARRIED_MAX];
	const char *names[CARRIED_MAX + 1];
	struct lws_protocols protocols[CARRIED_MAX + 1];
	unsigned n_carried;
	struct lws_context *lws;      /* NULL: not there yet, or gone */
	struct ws_door *door;
	int fd;                       /* listening; -1: the door's */
	struct list conns, dirty, resumed, active;
	uint32_t n_conns;
	struct heap timers;
	size_t held;                  /* bytes that connections keep of messages that are not whole */
	uint8_t *out;                 /* WS_GATHER_MAX: frames on their way into a socket; holds nothing between two writes */
	const struct ws_arrival *arriving; /* inside the library's adoption of it */
	bool unlistened;              /* nobody new comes */
	bool called;                  /* a protocol was called since the turn of what answers */
	unsigned ending;              /* turns left until the library's second end; 0: not ending */
	void (*closed)(void *);
	void *closed_arg;
	struct {
		uint64_t opened, messages_in, bytes_in, writes, bytes_out, cut, pings;
	} n;
};

enum conn_state { CONN_OPEN, CONN_CLOSING, CONN_LEAVING };
struct conn {
	struct stream stream;
	uint32_t magic;
	enum conn_state state;
	struct ws_carrier *carrier;
	const struct carried *carried;
	struct lws *wsi;
	struct list link, dirty, resumed, active;
	bool paused, full, pinged, said_goodbye, dead;
	uint16_t close_code;
	char *reason;                 /* of closing; may be NULL */
	enum status why;              /* what closed() will say */
	struct heap_node timer;
	uint64_t heard_ns;            /* last sign of life */
	uint64_t proto_due;           /* the protocol's deadline */
	uint64_t stall_due;           /* NEVER while nothing is queued */
	uint64_t linger_due;          /* NEVER while open */
	uint64_t message_due;         /* NEVER while no part of a message waits for the rest */
	uint8_t *in;                  /* the beginning of a message, or bytes that were not consumed; NULL when there are none */
	size_t in_n, in_cap;
	struct ws_queue out;
	_Alignas(16) uint8_t state_of_ops[];
};

static struct conn *conn_of(struct stream *s)
{
	struct conn *c = container_of(s, struct conn, stream);

	CHECK_OBJ(c, CONN_MAGIC);
	return c;
}

static uint64_t now_ns(const struct ws_carrier *c) { return clock_mono_ns(c->clock); }

/* ---- Deadlines --------------------------------------------------------------------------------------------------------------------- */

/* The next sign of life that is due: first a ping, then the end. */
static uint64_t silence_due(const struct conn *c)
{
	uint64_t ping = c->carrier->env->conf->ws_ping_ms * MS_NS;

	return ping == 0 || c->state != CONN_OPEN ? NEVER : c->heard_ns + (c->pinged ? 2 * ping : ping);
}

static void set_timer(struct conn *c)
{
	uint64_t due = u64_min(u64_min(u64_min(c->proto_due, silence_due(c)), u64_min(c->stall_due, c->linger_due)), c->message_due);

	if (due == NEVER)
		heap_drop(&c->carrier->timers, &c->timer);
	else if (!heap_has(&c->timer) || due < c->timer.due)
		heap_put(&c->carrier->timers, &c->timer, due);
}

/* The library closes it in the next round of the loop, whatever is queued in it; it looks at its timers only when something wakes it. */
static void close_at_once(struct ws_carrier *k, struct lws *wsi)
{
	lws_set_timeout(wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_ASYNC);
	lws_cancel_service(k->lws);
}

/* The library's last callback frees the connection. */
static void cut(struct conn *c, enum status why)
{
	if (c->dead)
		return;
	c->dead = true;
	c->state = CONN_LEAVING;
	c->why = why;
	c->carrier->n.cut++;
	ws_queue_free(&c->out);
	c->stall_due = c->linger_due = c->proto_due = c->message_due = NEVER;
	heap_drop(&c->carrier->timers, &c->timer);
	close_at_once(c->carrier, c->wsi);
}

static void let_go(struct conn *c)
{
	c->carrier->held -= c->in_cap;
	mem_free(c->in);
	c->in = NULL;
	c->in_n = c->in_cap = 0;
	c->message_due = NEVER;
}

static void close_soon(struct conn *c, uint16_t code, const char *reason, enum status why)
{
	if (c->state != CONN_OPEN)
		return;
	c->state = CONN_CLOSING;
	c->why = why;
	c->close_code = code;
	c->reason = reason != NULL ? mem_dup(reason, strnlen(reason, REASON_MAX)) : NULL;
	c->linger_due = now_ns(c->carrier) + LINGER_NS;
	c->proto_due = NEVER;
	if (c->paused)
		lws_rx_flow_control(c->wsi, 1); /* the peer's answer to the close is to be seen */
	let_go(c);
	list_remove(&c->resumed);
	if (!list_linked(&c->dirty))
		list_push(&c->carrier->dirty, &c->dirty);
	set_timer(c);
}

/* ---- Output ----------------------------------------------------------------------------------------------------------------------------- */

static void out_send(struct stream *s, const struct piece *v, unsigned n)
{
	struct conn *c = conn_of(s);

	if (c->state != CONN_OPEN)
		return;
	ws_queue_put(&c->out, v, n);
	if (!list_linked(&c->dirty))
		list_push(&c->carrier->dirty, &c->dirty);
}

static size_t out_max(const struct conn *c)
{
	size_t asked = c->carried->ops->out_max;

	return asked > 0 && asked < OUT_MAX ? asked : OUT_MAX;
}

static size_t out_room(struct stream *s)
{
	struct conn *c = conn_of(s);

	if (c->out.bytes < out_max(c))
		return out_max(c) - c->out.bytes;
	c->full = true;
	return 0;
}

static void out_pause(struct stream *s, bool pause)
{
	struct conn *c = conn_of(s);

	if (c->paused == pause || c->state != CONN_OPEN)
		return;
	c->paused = pause;
	lws_rx_flow_control(c->wsi, pause ? 0 : 1);
	if (pause)
		list_remove(&c->resumed);
	else if (c->in_n > 0 && !c->carried->ops->framed && !list_linked(&c->resumed))
		list_push(&c->carrier->resumed, &c->resumed);
}

static void out_close(struct stream *s, int code, const char *reason)
{
	bool legal = (code >= CLOSE_NORMAL && code <= CLOSE_UNSUPPORTED) || (code >= 1007 && code <= 1013) || (code >= CLOSE_OWN && code <= CLOSE_LAST);

	close_soon(conn_of(s), legal ? (uint16_t)code : CLOSE_NORMAL, reason, ST_OK);
}

static const struct stream_out_ops out_ops = {.send = out_send, .room = out_room, .pause = out_pause, .close = out_close};

/* False: the connection cannot be written to any more. */
static bool write_raw(struct conn *c, uint8_t *p, size_t n)
{
	struct ws_carrier *k = c->carrier;

	if (lws_write(c->wsi, p, n, LWS_WRITE_RAW) < 0)
		return false;
	k->n.writes++;
	k->n.bytes_out += n;
	return true;
}

/* Writes until the queue is empty or the socket takes no more. */
static bool write_queue(struct conn *c, bool *ret_progress)
{
	struct ws_carrier *k = c->carrier;

	for (int i = 0; i < WRITES_PER_FLUSH && !lws_partial_buffered(c->wsi) && !ws_queue_empty(&c->out); i++) {
		size_t n = ws_queue_gather(&c->out, k->out, c->carried->text);
		if (!write_raw(c, k->out, n))
			return false;
		*ret_progress = true;
	}
	return true;
}

static bool all_gone(const struct conn *c)
{
	return ws_queue_empty(&c->out) && !lws_partial_buffered(c->wsi);
}

/*
 * Our own close frame, behind all that was sent. The library can do this too, but Debian's build of it (a debug one, on libuv) closes a second time
 * "to confirm that it has no problem being called again", and then the frame never goes.
 */
static bool say_goodbye(struct conn *c, uint64_t now)
{
	size_t n = c->reason != NULL ? strlen(c->reason) : 0;
	uint8_t frame[4 + REASON_MAX] = {CLOSE_FRAME, (uint8_t)(2 + n), (uint8_t)(c->close_code >> 8), (uint8_t)c->close_code};

	if (n > 0)
		memcpy(frame + 4, c->reason, n);
	c->state = CONN_LEAVING;
	c->said_goodbye = true;
	c->linger_due = now + (c->carrier->unlistened ? ENDING_NS : LINGER_NS);
	c->stall_due = NEVER;
	set_timer(c);
	return write_raw(c, frame, 4 + n);
}

static void flush_conn(struct conn *c, uint64_t now)
{
	struct ws_carrier *k = c->carrier;
	bool progress = false;

	CHECK_OBJ(c, CONN_MAGIC);
	list_remove(&c->dirty);
	if (c->state == CONN_LEAVING)
		return;
	if (!write_queue(c, &progress)) {
		cut(c, ST_OK);
		return;
	}
	if (c->out.bytes > OUT_LIMIT) {
		log_warn(k->env->log, "websocket", "proto=%s cut why=\"too much is queued for it\" queued=%zu", c->carried->ops->name, c->out.bytes);
		cut(c, ST_BUSY);
		return;
	}
	if (all_gone(c)) {
		c->stall_due = NEVER;
		if (c->state == CONN_CLOSING && !say_goodbye(c, now))
			cut(c, c->why);
	} else {
		if (progress || c->stall_due == NEVER)
			c->stall_due = now + STALL_NS;
		lws_callback_on_writable(c->wsi);
		set_timer(c);
	}
	if (c->full && c->state == CONN_OPEN && c->out.bytes <= out_max(c) / 2) {
		c->full = false;
		k->called = true;
		c->carried->ops->drained(c->state_of_ops);
	}
}

/* ---- Input --------------------------------------------------------------------------------------------------------------------------------- */

static void keep(struct conn *c, const void *p, size_t n)
{
	struct ws_carrier *k = c->carrier;

	if (c->in_cap - c->in_n < n) {
		k->held -= c->in_cap;
		c->in_cap = (size_t)u64_max(c->in_n + n, c->in_cap * 2);
		c->in = mem_grow(c->in, c->in_cap);
		k->held += c->in_cap;
	}
	if (n > 0)
		memcpy(c->in + c->in_n, p, n);
	c->in_n += n;
	if (c->in_n > SMALL_PART && k->held > u64_max((uint64_t)k->env->conf->ws_max_message * PARTS_HELD, PARTS_MIN))
		close_soon(c, CLOSE_LATER, "too many large messages are on their way, try again later", ST_BUSY);
}

/* Offers bytes; returns how many were consumed. A protocol that refuses them is closed. */
static size_t offer(struct conn *c, struct slice bytes)
{
	struct ws_carrier *k = c->carrier;
	ptrdiff_t used;

	k->called = true;
	if (!list_linked(&c->active))
		list_push(&k->active, &c->active);
	used = c->carried->ops->input(c->state_of_ops, bytes);
	CHECK(used <= (ptrdiff_t)bytes.n);
	if (used >= 0)
		return (size_t)used;
	close_soon(c, CLOSE_PROTOCOL, "protocol error", ST_PROTO);
	return bytes.n;
}

/* Bytes of a protocol that is a run of them: messages have no meaning. */
static void run_came(struct conn *c, struct slice bytes)
{
	if (c->in_n == 0 && !c->paused) {
		size_t used = offer(c, bytes);
		bytes = slice_skip(bytes, used);
		if (c->state == CONN_OPEN && bytes.n > 0)
			keep(c, bytes.p, bytes.n);
		return;
	}
	keep(c, bytes.p, bytes.n);
	if (c->in_n > c->carried->ops->input_max)
		close_soon(c, CLOSE_PROTOCOL, "too much without an end", ST_PROTO);
	else if (!c->paused && !list_linked(&c->resumed))
		list_push(&c->carrier->resumed, &c->resumed);
}

/* What was kept of a run is offered again, with what came behind it. */
static void offer_kept(struct conn *c)
{
	size_t used;

	if (c->state != CONN_OPEN || c->paused || c->in_n == 0)
		return;
	do {
		used = offer(c, slice_of(c->in, c->in_n));
		if (c->state != CONN_OPEN)
			return;
		c->in_n -= used;
		memmove(c->in, c->in + used, c->in_n);
	} while (used > 0 && c->in_n > 0 && !c->paused);
	if (c->in_n == 0)
		let_go(c);
}

/* A part of a message. Offered also while paused: pausing holds the next one back, and this one is here. */
static void part_came(struct conn *c, struct slice part, bool last)
{
	if (last && c->in_n == 0) {
		c->carrier->n.messages_in++;
		(void)offer(c, part);
		return;
	}
	bool first = c->in_n == 0;
	keep(c, part.p, part.n);
	if (c->state == CONN_OPEN && first) {
		c->message_due = now_ns(c->carrier) + MESSAGE_NS;
		set_timer(c);
	}
	if (!last || c->state != CONN_OPEN)
		return;
	c->carrier->n.messages_in++;
	uint8_t *whole = c->in;
	size_t n = c->in_n;
	c->in = NULL;
	let_go(c);
	(void)offer(c, slice_of(whole, n));
	mem_free(whole);
}

static void received(struct conn *c, const uint8_t *p, size_t n)
{
	struct ws_carrier *k = c->carrier;
	uint64_t left = lws_remaining_packet_payload(c->wsi);
	bool last = lws_is_final_fragment(c->wsi) != 0 && left == 0;

	c->heard_ns = now_ns(k);
	c->pinged = false;
	k->n.bytes_in += n;
	if (c->state != CONN_OPEN)
		return;
	if ((lws_frame_is_binary(c->wsi) != 0) == c->carried->text) {
		close_soon(c, CLOSE_UNSUPPORTED, c->carried->text ? "messages are text here" : "messages are binary here", ST_PROTO);
		return;
	}
	if (!c->carried->ops->framed) {
		run_came(c, slice_of(p, n));
		return;
	}
	/* A length that cannot be is refused at the first byte of its frame, before anything of it is kept. */
	uint64_t max = k->env->conf->ws_max_message;
	if (left > max || c->in_n + n + left > max) {
		close_soon(c, CLOSE_TOO_BIG, "the message is over maxMessage", ST_TOO_BIG);
		return;
	}
	part_came(c, slice_of(p, n), last);
}

/* ---- Lives ----------------------------------------------------------------------------------------------------------------------------------- */

static int established(struct ws_carrier *k, struct lws *wsi, struct conn **slot)
{
	const struct ws_arrival *a = k->arriving;

	if (a == NULL || k->ending > 0)
		return -1; /* nobody comes but through the door */
	const struct carried *p = &k->carried[a->protocol];
	struct conn *c = mem_new(sizeof(*c) + p->ops->conn_size);
	*slot = c;
	c->magic = CONN_MAGIC;
	c->stream.out = &out_ops;
	c->carrier = k;
	c->carried = p;
	c->wsi = wsi;
	c->heard_ns = now_ns(k);
	c->proto_due = c->stall_due = c->linger_due = c->message_due = NEVER;
	list_push(&k->conns, &c->link);
	k->n_conns++;
	k->n.opened++;
	k->called = true;
	p->ops->opened(c->state_of_ops, p->front, &c->stream, &a->info);
	if (!list_linked(&c->active))
		list_push(&k->active, &c->active);
	set_timer(c);
	return 0;
}

static void conn_gone(struct conn *c)
{
	struct ws_carrier *k = c->carrier;

	CHECK_OBJ(c, CONN_MAGIC);
	list_remove(&c->link);
	list_remove(&c->dirty);
	list_remove(&c->resumed);
	list_remove(&c->active);
	heap_drop(&k->timers, &c->timer);
	c->state = CONN_LEAVING;
	k->called = true;
	c->carried->ops->closed(c->state_of_ops, c->why);
	ws_queue_free(&c->out);
	let_go(c);
	mem_free(c->reason);
	c->magic = 0;
	mem_free(c);
	k->n_conns--;
}

/* The peer's close frame: the answer to ours, and the library may close; or the first one, which it answers, and nothing is sent behind that. */
static int peer_leaves(struct conn *c)
{
	if (c->said_goodbye)
		return -1;
	c->state = CONN_LEAVING;
	ws_queue_free(&c->out);
	let_go(c);
	c->proto_due = c->stall_due = NEVER;
	c->linger_due = now_ns(c->carrier) + LINGER_NS;
	set_timer(c);
	return 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct ws_carrier *k = lws_context_user(lws_get_context(wsi));
	struct conn **slot = user;

	switch (reason) {
	case LWS_CALLBACK_ESTABLISHED:
		return established(k, wsi, slot);
	case LWS_CALLBACK_RECEIVE:
		received(*slot, in, len);
		return 0;
	case LWS_CALLBACK_RECEIVE_PONG:
		(*slot)->heard_ns = now_ns(k);
		(*slot)->pinged = false;
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		flush_conn(*slot, now_ns(k));
		return 0;
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		return peer_leaves(*slot);
	case LWS_CALLBACK_CLOSED:
		if (*slot != NULL)
			conn_gone(*slot);
		*slot = NULL;
		return 0;
	case LWS_CALLBACK_HTTP:
		return -1; /* only upgrades are handed to it */
	default:
		return 0;
	}
}

/* ---- The door and the library -------------------------------------------------------------------------------------------------------------------- */

static bool full(void *arg)
{
	struct ws_carrier *k = arg;

	return k->n_conns >= k->env->conf->ws_max_conns;
}

static void arrived(void *arg, const struct ws_arrival *a)
{
	struct ws_carrier *k = arg;
	uint64_t before = k->n.opened;
	struct lws *wsi;

	CHECK(k->arriving == NULL);
	k->arriving = a;
	wsi = lws_adopt_socket_readbuf(k->lws, a->fd, (const char *)a->request.p, a->request.n);
	k->arriving = NULL;
	/* The whole request was there, so it is open now, or it never will be. */
	if (wsi != NULL && k->n.opened == before)
		close_at_once(k, wsi);
}

static char lws_words[160]; /* the last that the library complained about while it was made */

static void lws_says(int level, const char *line)
{
	size_t n = strcspn(line, "\n");

	(void)level;
	n = n < sizeof(lws_words) - 1 ? n : sizeof(lws_words) - 1;
	memcpy(lws_words, line, n);
	lws_words[n] = '\0';
}

static struct lws_context *library(struct ws_carrier *k, uv_loop_t *loop)
{
	static const lws_retry_bo_t no_pings; /* ours are finer */
	void *loops[1] = {loop};
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER, .protocols = k->protocols, .options = LWS_SERVER_OPTION_LIBUV,
		.foreign_loops = loops, .retry_and_idle_policy = &no_pings, .gid = -1, .uid = -1,
		.pt_serv_buf_size = RX_BYTES * 2, .max_http_header_data = HEADER_BYTES, .user = k, .timeout_secs = 5,
	};
	struct lws_context *made;
	struct rlimit files, fewer;

	/* It makes (and writes) tables for as many descriptors as the process may ever have: where that is a billion, it would take all memory. */
	bool limited = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > FILES_MAX;
	fewer = (struct rlimit){FILES_MAX, files.rlim_max};
	limited = limited && setrlimit(RLIMIT_NOFILE, &fewer) == 0;
	lws_set_log_level(LLL_ERR, lws_says);
	made = lws_create_context(&info);
	lws_set_log_level(0, NULL); /* from now on it would speak of what peers do wrong */
	if (limited)
		(void)setrlimit(RLIMIT_NOFILE, &files);
	return made;
}

/* A library that cannot work here (its part for this kind of loop is a package of its own) is found out at the start, not behind it. */
static bool library_works(struct ws_carrier *k)
{
	struct lws_context *trial;
	uv_loop_t loop;

	CHECK(uv_loop_init(&loop) == 0);
	trial = library(k, &loop);
	if (trial != NULL)
		lws_context_destroy(trial);
	for (int i = 0; i < END_TURNS; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	if (trial != NULL)
		lws_context_destroy(trial);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop) == 0 && trial != NULL;
}

static void carry(struct ws_carrier *k, const char *name, const struct stream_ops *ops, void *front, bool text)
{
	unsigned i = k->n_carried++;

	CHECK(i < CARRIED_MAX);
	k->carried[i] = (struct carried){name, ops, front, text};
	k->names[i] = name;
	k->protocols[i] = (struct lws_protocols){.name = name, .callback = on_event, .per_session_data_size = sizeof(struct conn *),
						 .rx_buffer_size = RX_BYTES, .tx_packet_size = WS_GATHER_MAX};
}

struct ws_carrier *ws_carrier_new(const struct front_env *env, const struct stream_ops *json, void *json_front)
{
	struct ws_carrier *k = mem_new(sizeof(*k));

	CHECK(env->n_ports == 1);
	k->magic = CARRIER_MAGIC;
	k->env = env;
	k->clock = env->clock;
	k->fd = env->ports[0].fd;
	list_init(&k->conns);
	list_init(&k->dirty);
	list_init(&k->resumed);
	list_init(&k->active);
	carry(k, "gantry.v1.json", json, json_front, true);
	for (const struct stream_bound *s = env->streams; s != NULL && s->ops != NULL; s++) {
		if (strcmp(s->ops->name, "mqtt") != 0 || s->ops->framed)
			continue;
		carry(k, "mqtt", s->ops, s->front, false);
		carry(k, "mqttv3.1", s->ops, s->front, false);
	}
	if (!library_works(k)) {
		log_error(env->log, "websocket", "libwebsockets does not start: %s", lws_words);
		close(k->fd);
		mem_free(k);
		return NULL;
	}
	k->out = mem_grow(NULL, WS_GATHER_MAX);
	return k;
}

void ws_carrier_open(struct ws_carrier *k)
{
	struct ws_door_conf dc = {.env = k->env, .fd = k->fd, .protocols = k->names, .full = full, .arrived = arrived, .arg = k};

	CHECK_OBJ(k, CARRIER_MAGIC);
	CHECK(k->lws == NULL && k->fd >= 0);
	k->lws = library(k, k->env->loop);
	if (k->lws == NULL) {
		log_error(k->env->log, "websocket", "libwebsockets does not start: %s", lws_words);
		return;
	}
	k->door = ws_door_open(&dc);
	k->fd = -1;
}

/* ---- Turns ------------------------------------------------------------------------------------------------------------------------------------------ */

/* A deadline of the connection has come, or what the protocol wants may have changed. */
static void tick(struct conn *c, uint64_t now)
{
	static uint8_t ping[] = {0x89, 6, 'g', 'a', 'n', 't', 'r', 'y'};
	struct ws_carrier *k = c->carrier;

	heap_drop(&k->timers, &c->timer);
	if (c->linger_due <= now || c->stall_due <= now) {
		log_info(k->env->log, "websocket", "proto=%s cut why=\"%s\"", c->carried->ops->name, c->linger_due <= now ? "does not close" : "takes nothing");
		cut(c, c->linger_due <= now ? c->why : ST_TIMEOUT);
		return;
	}
	if (silence_due(c) <= now && c->pinged) {
		cut(c, ST_TIMEOUT);
		return;
	}
	if (silence_due(c) <= now) {
		c->pinged = true;
		k->n.pings++;
		/* Behind what the socket has not taken it would say nothing of the peer: then the stall's limit counts. */
		if (!lws_partial_buffered(c->wsi) && !write_raw(c, ping, sizeof(ping))) {
			cut(c, ST_OK);
			return;
		}
	}
	if (c->message_due <= now)
		close_soon(c, CLOSE_PROTOCOL, "the rest of the message did not come", ST_TIMEOUT);
	if (c->state == CONN_OPEN && c->carried->ops->turn != NULL)
		c->proto_due = c->carried->ops->turn(c->state_of_ops, now);
	set_timer(c);
}

static uint64_t end_turn(struct ws_carrier *k)
{
	void (*closed)(void *) = k->closed;
	void *arg = k->closed_arg;

	if (--k->ending > 0 || (k->door != NULL && !ws_door_empty(k->door))) {
		k->ending = k->ending > 0 ? k->ending : 1;
		return 0;
	}
	if (k->lws != NULL)
		lws_context_destroy(k->lws);
	if (k->door != NULL)
		ws_door_free(k->door);
	heap_fini(&k->timers);
	mem_free(k->out);
	k->magic = 0;
	mem_free(k);
	closed(arg);
	return NEVER;
}

uint64_t ws_carrier_turn(struct ws_carrier *k, uint64_t now)
{
	struct list resumed, *n;
	struct heap_node *h;
	uint64_t due = NEVER;

	CHECK_OBJ(k, CARRIER_MAGIC);
	if (k->ending > 0)
		return end_turn(k);
	list_init(&resumed);
	list_move(&resumed, &k->resumed);
	while ((n = list_pop(&resumed)) != NULL)
		offer_kept(container_of(n, struct conn, resumed));
	while ((n = list_pop(&k->active)) != NULL) {
		struct conn *c = container_of(n, struct conn, active);
		if (c->state == CONN_OPEN && c->carried->ops->turn != NULL) {
			c->proto_due = c->carried->ops->turn(c->state_of_ops, now);
			set_timer(c);
		}
	}
	while ((h = heap_first(&k->timers)) != NULL && h->due <= now)
		tick(container_of(h, struct conn, timer), now);
	if (k->door != NULL)
		due = ws_door_turn(k->door, now);
	/* The last connection has gone, and nobody comes any more. */
	if (k->closed != NULL && k->n_conns == 0) {
		if (k->lws != NULL)
			lws_context_destroy(k->lws);
		k->ending = END_TURNS;
		return 0;
	}
	k->called = false;
	return due;
}

uint64_t ws_carrier_flush(struct ws_carrier *k, uint64_t now)
{
	struct list dirty, *n;
	struct heap_node *h;

	CHECK_OBJ(k, CARRIER_MAGIC);
	if (k->ending > 0)
		return 0;
	/* What becomes dirty meanwhile has its turn after the next poll: a peer that takes all may not keep us here. */
	list_init(&dirty);
	list_move(&dirty, &k->dirty);
	while ((n = list_pop(&dirty)) != NULL)
		flush_conn(container_of(n, struct conn, dirty), now);
	if (k->called || !list_empty(&k->dirty) || !list_empty(&k->resumed) || !list_empty(&k->active))
		return 0;
	h = heap_first(&k->timers);
	return h == NULL ? NEVER : h->due;
}

void ws_carrier_unlisten(struct ws_carrier *k)
{
	CHECK_OBJ(k, CARRIER_MAGIC);
	k->unlistened = true;
	if (k->door != NULL)
		ws_door_shut(k->door);
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
}

void ws_carrier_close(struct ws_carrier *k, void (*closed)(void *), void *arg)
{
	CHECK_OBJ(k, CARRIER_MAGIC);
	CHECK(k->closed == NULL);
	ws_carrier_unlisten(k);
	k->closed = closed;
	k->closed_arg = arg;
	k->env->wake(k->env->wake_arg);
}

void ws_carrier_describe(const struct ws_carrier *k, struct buf *json)
{
	CHECK_OBJ(k, CARRIER_MAGIC);
	buf_fmt(json, ",\"sockets\":%u,\"messagesIn\":%llu,\"bytesIn\":%llu,\"writes\":%llu,\"bytesOut\":%llu,\"cut\":%llu,\"pings\":%llu", k->n_conns,
		(unsigned long long)k->n.messages_in, (unsigned long long)k->n.bytes_in, (unsigned long long)k->n.writes,
		(unsigned long long)k->n.bytes_out, (unsigned long long)k->n.cut, (unsigned long long)k->n.pings);
	if (k->door == NULL)
		return;
	struct ws_door_numbers d = ws_door_numbers(k->door);
	buf_fmt(json, ",\"accepted\":%llu,\"refused\":%llu,\"atTheDoor\":%llu", (unsigned long long)d.accepted, (unsigned long long)d.refused,
		(unsigned long long)d.waiting);
}
