/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Connections. The carrier's memory holds one pointer to the peer, which lives on until the last of its calls and members is done.
 *
 *   open     input is decoded and served
 *   paused   too many calls are under way, or the client does not read its answers: the carrier keeps further bytes
 *   closing  we asked the carrier to close: nothing is sent or served any more
 *   closed   stream is NULL: waiting pulls are cancelled, members leave, the rest of the calls end unheard
 *
 * A suspended pull is not counted as work, else a consumer with many idle queues could not send its heartbeat; it has a bound of its own.
 */
#include "front/native/native.h"
#include "front/native/nat.h"

struct conn {
	struct nat_peer *peer;
};

#define IDLE_CHECKS 4                /* looks at the clock per idle time: how late an idle connection may be closed */
#define INPUT_SLACK (1u << 20)       /* what a carrier may have read beyond the frame that it waits for */

void nat_peer_hold(struct nat_peer *p)
{
	CHECK(p->refs > 0);
	p->refs++;
}

void nat_peer_drop(struct nat_peer *p)
{
	CHECK_OBJ(p, NAT_PEER_MAGIC);
	CHECK(p->refs > 0);
	if (--p->refs > 0)
		return;
	struct nat *f = p->front;

	CHECK(p->stream == NULL && list_empty(&p->calls) && list_empty(&p->members) && list_empty(&p->relays));
	CHECK(p->busy == 0 && p->waits == 0);
	p->magic = 0;
	mem_free(p->text);
	mem_free(p);
	f->n_peers--;
	nat_settle(f);
}

void nat_peer_flow(struct nat_peer *p)
{
	CHECK_OBJ(p, NAT_PEER_MAGIC);
	if (p->stream == NULL || p->closing || p->feeding)
		return;
	if (p->front->stopped != NULL && p->busy == 0) {
		nat_peer_shut(p, "shutting down");
		return;
	}
	uint32_t most = p->front->conf->max_requests;
	bool full = stream_room(p->stream) == 0;

	if (!p->paused && (full || p->busy >= most)) {
		p->paused = true;
		stream_pause(p->stream, true);
	} else if (p->paused && !full && p->busy <= most / 2) {
		p->paused = false;
		stream_pause(p->stream, false);
	}
}

void nat_peer_shut(struct nat_peer *p, const char *why)
{
	CHECK_OBJ(p, NAT_PEER_MAGIC);
	if (p->stream == NULL || p->closing)
		return;
	p->closing = true;
	stream_close(p->stream, 0, why);
}

/* Peer's address and identity, kept in one block of text. */
static void name_actor(struct nat_peer *p, const struct stream_info *info)
{
	size_t a = info->peer.n, i = info->tls_identity.n;

	p->text = mem_new(a + i + 1);
	if (a > 0)
		memcpy(p->text, info->peer.p, a);
	if (i > 0)
		memcpy(p->text + a, info->tls_identity.p, i);
	p->actor = (struct actor){"native", slice_of(p->text + a, i), slice_of(p->text, a)};
}

static void opened(void *conn, void *front, struct stream *out, const struct stream_info *info)
{
	struct conn *k = conn;
	struct nat *f = front;

	CHECK_OBJ(f, NAT_MAGIC);
	struct nat_peer *p = mem_new(sizeof(*p));
	p->magic = NAT_PEER_MAGIC;
	p->front = f;
	p->stream = out;
	p->refs = 1;
	p->ip = info->peer_ip;
	p->port = info->peer_port;
	p->seen_ns = clock_mono_ns(f->clock);
	list_init(&p->calls);
	list_init(&p->members);
	list_init(&p->relays);
	name_actor(p, info);
	list_push(&f->peers, &p->link);
	f->n_peers++;
	k->peer = p;
	log_trace(f->log, "native", "peer=%.*s opened", (int)p->actor.address.n, (const char *)p->actor.address.p);
	nat_peer_flow(p);
}

static void serve(struct nat_peer *p, const struct wire_cmd *cmd)
{
	struct nat *f = p->front;

	if (wire_is_response(cmd)) {
		nat_relay_answer(p, cmd);
		return;
	}
	f->n.requests++;
	if (wire_is_oneway(cmd))
		f->n.oneways++;
	const struct nat_verb *v = cmd->code >= 0 && (uint32_t)cmd->code < NAT_CODES ? f->by_code[cmd->code] : NULL;
	struct nat_call *c = nat_call_new(p, cmd);

	if (v != NULL) {
		v->serve(c, cmd);
		return;
	}
	f->n.unknown++;
	struct buf *b = nat_body(c);
	buf_str(b, " request type ");
	buf_i64_dec(b, cmd->code);
	buf_str(b, " not supported");
	nat_answer(c, ANS_REQUEST_CODE_NOT_SUPPORTED, buf_view(b));
}

/* May the next request be taken on? */
static bool can_take(struct nat_peer *p)
{
	return !p->closing && p->stream != NULL && p->busy < p->front->conf->max_requests && stream_room(p->stream) > 0;
}

static ptrdiff_t input(void *conn, struct slice bytes)
{
	struct nat_peer *p = ((struct conn *)conn)->peer;
	CHECK_OBJ(p, NAT_PEER_MAGIC);
	struct nat *f = p->front;
	struct slice rest = bytes;
	const char *why = NULL;
	bool bad = false;

	/* A carrier might offer bytes from inside stream_pause; they will be offered again. */
	if (p->feeding || p->paused || p->closing)
		return 0;
	p->active = true;
	p->feeding = true;
	nat_members_notice(p);
	while (rest.n > 0 && can_take(p)) {
		size_t used = 0;
		enum wire_got got = wire_decode(rest, &f->limits, &f->unescaped, &f->cmd, &used, &why);

		if (got == WIRE_MORE)
			break;
		if (got == WIRE_BAD) {
			bad = true;
			break;
		}
		CHECK(used > 0 && used <= rest.n);
		rest = slice_skip(rest, used);
		serve(p, &f->cmd);
	}
	p->feeding = false;
	if (bad) {
		f->n.malformed++;
		p->closing = true;
		log_warn(f->log, "native", "peer=%.*s closed: malformed frame: %s", (int)p->actor.address.n,
		         (const char *)p->actor.address.p, why);
		return -1;
	}
	nat_peer_flow(p);
	return (ptrdiff_t)(bytes.n - rest.n);
}

static void drained(void *conn)
{
	nat_peer_flow(((struct conn *)conn)->peer);
}

static uint64_t turn(void *conn, uint64_t now_ns)
{
	struct nat_peer *p = ((struct conn *)conn)->peer;
	CHECK_OBJ(p, NAT_PEER_MAGIC);
	struct nat *f = p->front;
	uint64_t idle_ns = f->conf->idle_ms * MS_NS;

	nat_rates_turn(f, now_ns);
	if (p->closing)
		return NEVER;
	nat_members_notice(p);
	nat_relays_end(p, now_ns);
	if (p->active) {
		p->active = false;
		p->seen_ns = now_ns;
	} else if (idle_ns > 0 && now_ns >= p->seen_ns + idle_ns) {
		f->n.idle_closed++;
		log_info(f->log, "native", "peer=%.*s closed: idle", (int)p->actor.address.n, (const char *)p->actor.address.p);
		nat_peer_shut(p, "idle");
		return NEVER;
	}
	uint64_t next = idle_ns > 0 ? u64_min(NAT_TURN_MS * MS_NS, idle_ns / IDLE_CHECKS) : NAT_TURN_MS * MS_NS;
	return now_ns + u64_max(next, MS_NS);
}

static void closed(void *conn, enum status why)
{
	struct conn *k = conn;
	struct nat_peer *p = k->peer;
	CHECK_OBJ(p, NAT_PEER_MAGIC);
	struct nat *f = p->front;

	log_trace(f->log, "native", "peer=%.*s closed status=%s", (int)p->actor.address.n, (const char *)p->actor.address.p,
	          status_name(why));
	p->stream = NULL;
	list_remove(&p->link);
	LIST_EACH(&p->calls, n) {
		struct nat_call *c = container_of(n, struct nat_call, link);
		if (c->waits)
			engine_cancel(f->engine, &c->u.ask);
	}
	nat_members_leave(p);
	nat_relays_end(p, 0);
	k->peer = NULL;
	nat_peer_drop(p);
}

const struct stream_ops nat_stream = {
	.name = "native",
	.framed = false,
	.conn_size = sizeof(struct conn),
	.input_max = NAT_FRAME_MAX + INPUT_SLACK, /* the decoder refuses longer frames at their length word */
	.opened = opened,
	.input = input,
	.drained = drained,
	.turn = turn,
	.closed = closed,
};
