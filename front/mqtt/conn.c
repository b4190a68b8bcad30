/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Connections: bytes to packets, and who may send which packet when.
 *
 *   new          nothing but CONNECT is heard, and that within a time
 *   connecting   CONNECT is being answered: what follows it waits
 *   up           everything; SUBSCRIBE and UNSUBSCRIBE are answered one after the other, and what follows them waits
 *   closing      we closed, or refused: nothing is sent or heard any more
 *
 * Input pauses while as many publishes are under way as may be, while something waits that must be answered first, and while the peer does not take its answers.
 */
#include "front/mqtt/mq.h"

#define INPUT_MAX ((256u << 20) + (1u << 20)) /* a packet of the largest length; it is refused at its header when it is over mqtt_max_packet */

/* ---- Output ------------------------------------------------------------------------------------------------------------------------- */

bool mq_conn_takes(const struct mq_conn *c)
{
	return c->state != MQ_CLOSING && stream_room(c->stream) > 0;
}

void mq_conn_send(struct mq_conn *c, const struct mqtt_packet *p)
{
	struct mq *f = c->f;

	if (c->state == MQ_CLOSING)
		return;
	buf_reset(&f->out);
	if (mqtt_put(&f->out, c->version, c->max_packet, p))
		stream_put(c->stream, buf_view(&f->out));
}

void mq_conn_shut(struct mq_conn *c, const char *why)
{
	if (c->state == MQ_CLOSING)
		return;
	c->state = MQ_CLOSING;
	stream_close(c->stream, 0, why);
}

void mq_conn_refuse(struct mq_conn *c, uint8_t reason, const char *why)
{
	struct mqtt_packet p = {.type = MQTT_DISCONNECT, .reason = reason};

	if (c->state == MQ_CLOSING)
		return;
	log_info(c->f->log, "mqtt", "peer=%s client=%.*s closed reason=0x%02x: %s", c->peer, c->session == NULL ? 0 : (int)u64_min(c->session->id.n, 64),
		 c->session == NULL ? "" : (const char *)c->session->id.p, reason, why);
	if (c->state == MQ_UP && c->version == MQTT_5) {
		if (c->problems)
			MQTT_SET(&p.props, REASON, reason, slice_str(why));
		mq_conn_send(c, &p);
	}
	mq_conn_shut(c, why);
}

/* ---- Input ------------------------------------------------------------------------------------------------------------------------------- */

/* May the next packet be read? */
static bool can_take(struct mq_conn *c)
{
	struct mq *f = c->f;

	return c->state != MQ_CLOSING && !c->busy && f->loading == 0 && !f->draining && c->n_pubs < f->max_inflight && mq_conn_takes(c);
}

void mq_conn_flow(struct mq_conn *c)
{
	struct mq *f = c->f;

	if (c->state == MQ_CLOSING || c->feeding)
		return;
	if (f->draining && c->n_pubs == 0 && !c->busy) {
		mq_conn_refuse(c, MQTT_SHUTTING_DOWN, "the broker is shutting down");
		return;
	}
	bool can = can_take(c);
	if (!can && !c->paused) {
		c->paused = true;
		stream_pause(c->stream, true);
	} else if (can && c->paused && (c->n_pubs <= f->max_inflight / 2)) {
		c->paused = false;
		stream_pause(c->stream, false);
	}
}

static void on_disconnect(struct mq_conn *c, const struct mqtt_packet *p)
{
	struct mq_session *s = c->session;

	if (mqtt_has(&p->props, MQTT_P_SESSION_EXPIRY)) {
		if (s->expiry_s == 0 && p->props.session_expiry != 0) {
			mq_conn_refuse(c, MQTT_PROTOCOL_ERROR, "a session that ends with its connection cannot be given a longer life by DISCONNECT");
			return;
		}
		(void)mq_session_durable(s, p->props.session_expiry, false);
	}
	c->goodbye = p->reason == MQTT_OK; /* with any other reason the will is published */
	mq_conn_shut(c, "DISCONNECT");
}

static void serve(struct mq_conn *c, const struct mqtt_packet *p)
{
	struct mqtt_packet pong = {.type = MQTT_PINGRESP};

	if (c->state == MQ_NEW) {
		if (p->type == MQTT_CONNECT)
			mq_connect(c, p);
		else
			mq_conn_shut(c, "the first packet is not CONNECT");
		return;
	}
	switch (p->type) {
	case MQTT_PUBLISH:
		mq_publish(c, p);
		break;
	case MQTT_PUBACK:
		mq_acked(c->session, p->id);
		break;
	case MQTT_SUBSCRIBE:
		mq_subscribe(c, p);
		break;
	case MQTT_UNSUBSCRIBE:
		mq_unsubscribe(c, p);
		break;
	case MQTT_PINGREQ:
		mq_conn_send(c, &pong);
		break;
	case MQTT_DISCONNECT:
		on_disconnect(c, p);
		break;
	case MQTT_CONNECT:
		mq_conn_refuse(c, MQTT_PROTOCOL_ERROR, "a second CONNECT");
		break;
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		/* QoS 2 is neither taken nor sent, so none of them can be meant. */
		mq_conn_refuse(c, MQTT_PROTOCOL_ERROR, "an acknowledgement of QoS 2, which is not served");
		break;
	default:
		mq_conn_refuse(c, MQTT_PROTOCOL_ERROR, "a packet that only servers send, or AUTH without a method");
	}
}

/* The bytes are no packet. */
static void malformed(struct mq_conn *c, const struct mqtt_packet *p, uint8_t reason)
{
	struct mqtt_packet refusal = {.type = MQTT_CONNACK, .reason = reason};

	c->f->n.malformed++;
	if (c->state == MQ_NEW && p->type == MQTT_CONNECT && p->version != 0) {
		c->version = p->version;
		if (c->version == MQTT_5 || mqtt_return_code(reason) >= 0)
			mq_conn_send(c, &refusal);
	}
	mq_conn_refuse(c, reason, p->why == NULL ? "malformed" : p->why);
}

static ptrdiff_t input(void *conn, struct slice bytes)
{
	struct mq_conn *c = conn;
	CHECK_OBJ(c, MQ_CONN_MAGIC);
	struct mq *f = c->f;
	struct slice rest = bytes;
	struct mqtt_packet p;

	if (c->feeding || c->paused || c->state == MQ_CLOSING)
		return 0;
	c->feeding = true;
	while (rest.n > 0 && can_take(c)) {
		ptrdiff_t used = mqtt_next(rest, c->version, f->conf->mqtt_max_packet, &p);
		if (used == 0)
			break;
		if (used < 0) {
			malformed(c, &p, (uint8_t)-used);
			break;
		}
		CHECK((size_t)used <= rest.n);
		if (rest.n == bytes.n)
			c->seen_ns = clock_mono_ns(f->clock);
		rest = slice_skip(rest, (size_t)used);
		serve(c, &p);
	}
	c->feeding = false;
	mq_conn_flow(c);
	/* After stream_close nothing is offered again. */
	return c->state == MQ_CLOSING ? (ptrdiff_t)bytes.n : (ptrdiff_t)(bytes.n - rest.n);
}

/* ---- Life ---------------------------------------------------------------------------------------------------------------------------------- */

static void opened(void *conn, void *front, struct stream *out, const struct stream_info *info)
{
	struct mq_conn *c = conn;
	struct mq *f = front;

	CHECK_OBJ(f, MQ_MAGIC);
	c->magic = MQ_CONN_MAGIC;
	c->f = f;
	c->stream = out;
	c->state = MQ_NEW;
	c->ip = info->peer_ip;
	c->port = info->peer_port;
	c->peer = slice_dup(info->peer);
	c->seen_ns = clock_mono_ns(f->clock);
	list_init(&c->pubs);
	list_push(&f->conns, &c->link);
	f->n_conns++;
	mq_conn_flow(c);
}

static void drained(void *conn)
{
	struct mq_conn *c = conn;
	CHECK_OBJ(c, MQ_CONN_MAGIC);

	mq_conn_flow(c);
	if (c->session != NULL)
		mq_session_wake(c->session);
}

static uint64_t turn(void *conn, uint64_t now_ns)
{
	struct mq_conn *c = conn;
	CHECK_OBJ(c, MQ_CONN_MAGIC);
	uint64_t due = c->state == MQ_NEW ? c->seen_ns + MQ_CONNECT_MS * MS_NS : c->keep_alive_s == 0 ? NEVER : c->seen_ns + c->keep_alive_s * 3 * SEC_NS / 2;

	if (c->state == MQ_CLOSING)
		return NEVER;
	/* Nobody asks again for the deadline of who says nothing more once it is connected. */
	if (c->state == MQ_CONNECTING)
		return now_ns + SEC_NS;
	/* What we do not read cannot show that the peer is alive. */
	if (c->state == MQ_UP && c->paused && due != NEVER && now_ns >= due) {
		c->seen_ns = now_ns;
		return now_ns + c->keep_alive_s * 3 * SEC_NS / 2;
	}
	if (now_ns < due)
		return due;
	if (c->state == MQ_NEW)
		mq_conn_shut(c, "no CONNECT");
	else
		mq_conn_refuse(c, MQTT_KEEP_ALIVE_TIMEOUT, "nothing was heard for one and a half times the keep alive");
	return NEVER;
}

static void closed(void *conn, enum status why)
{
	struct mq_conn *c = conn;
	CHECK_OBJ(c, MQ_CONN_MAGIC);
	struct mq *f = c->f;
	struct mq_session *s = c->session;

	log_trace(f->log, "mqtt", "peer=%s closed status=%s", c->peer, status_name(why));
	bool connecting = c->state == MQ_CONNECTING;

	c->state = MQ_CLOSING;
	mq_connect_gone(c);
	mq_subscribe_gone(c);
	mq_pubs_orphan(c);
	c->session = NULL;
	if (s != NULL && s->conn == c) {
		s->conn = NULL;
		if (c->goodbye || connecting)
			mq_will_drop(s);
		mq_session_away(s);
	}
	list_remove(&c->link);
	f->n_conns--;
	for (unsigned i = 0; c->aliases != NULL && i < MQ_ALIAS_MAX; i++)
		mem_free(c->aliases[i]);
	mem_free(c->aliases);
	mem_free(c->peer);
	c->magic = 0;
}

const struct stream_ops mq_stream = {
	.name = "mqtt",
	.framed = false,
	.conn_size = sizeof(struct mq_conn),
	.out_max = MQ_OUT_MAX,
	.input_max = INPUT_MAX,
	.opened = opened,
	.input = input,
	.drained = drained,
	.turn = turn,
	.closed = closed,
};
