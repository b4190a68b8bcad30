/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * One peer per name server:
 *
 *	IDLE --due--> DIALING --opened--> UP --closed, no answer in time--> IDLE
 *	                 +------failed------------------------------------> IDLE
 *
 * Every change of a topic has a number; a topic keeps that of its last change, and the topics stand in a list by it. A
 * peer knows up to which number it has heard, so what it lacks is the tail of that list. The number is also the counter
 * of the data version.
 */
#include "namesrv/registrar.h"

#include "base/crc.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/obj.h"
#include "wire/codes.h"
#include "wire/frame.h"

enum {
	REGISTRAR_MAGIC = 0x4e535231, PEER_MAGIC = 0x4e535031,
	PACK_ABOVE = 2000, /* topics: a registration of more goes out packed, which keeps it under the limit of a frame */
	ANSWER_MAX = 1 << 20,
};

enum state { IDLE, DIALING, UP };
enum said { NOTHING, ALL, CHANGES, BYE };

struct topic {
	struct list link;       /* in registrar.topics */
	uint64_t change;
	char *name;
	struct wire_topic conf; /* its name is the text above */
};
struct peer {
	uint32_t magic;
	struct registrar *r;
	char *host;
	uint16_t port;
	enum state state;
	struct dial_call call;
	struct stream *stream;  /* UP */
	void *conn;
	enum said waiting;      /* what the answer that is awaited was about */
	int32_t opaque;
	uint64_t heard;         /* change number that was said, and not refused */
	uint64_t known;         /* likewise, and confirmed: routes have it */
	bool all;               /* everything was said on this connection */
	uint64_t dial_due, all_due, changes_due, answer_due;
	uint64_t rest_due;      /* changes that come before it wait for it: topics were said a moment ago */
	uint64_t pause_ns;      /* before the next attempt to connect */
	unsigned rounds;        /* full registrations so far */
};
struct registrar {
	uint32_t magic;
	struct registrar_env env;
	struct registrar_conf conf;
	char *cluster, *broker, *addr, *ha_addr;
	struct list topics;     /* by change, ascending */
	struct map names;
	uint64_t change;
	int64_t changed_ms;
	struct peer *peers;
	unsigned n_peers, n_streams;
	struct buf out, body, scratch;
	struct wire_cmd cmd;
	void (*closed)(void *arg); /* not NULL: closing */
	void *closed_arg;
	uint64_t close_due;
};
struct reg_conn {
	struct peer *peer;      /* NULL once we have closed it */
	struct registrar *r;
	bool closing;
};

void registrar_conf_default(struct registrar_conf *c)
{
	*c = (struct registrar_conf){
		.again_ms = 10000, .every_ms = 30000, .retry_ms = 1000, .retry_max_ms = 5000, .coalesce_ms = 100,
		.timeout_ms = 24000, .close_ms = 3000, .max_servers = 16,
	};
}

/* ---- Opening ----------------------------------------------------------------------------------------------------- */

/* "host:port", "[v6]:port" */
static bool host_port(struct slice s, struct slice *ret_host, uint16_t *ret_port)
{
	size_t colon = s.n;
	uint64_t port;
	while (colon > 0 && s.p[colon - 1] != ':')
		colon--;
	if (colon == 0 || !slice_u64(slice_skip(s, colon), &port) || port == 0 || port > UINT16_MAX)
		return false;
	struct slice host = slice_of(s.p, colon - 1);
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = slice_of(host.p + 1, host.n - 2);
	*ret_host = host;
	*ret_port = (uint16_t)port;
	return host.n > 0;
}

static void registrar_free(struct registrar *r)
{
	CHECK(r->n_streams == 0);
	for (unsigned i = 0; i < r->n_peers; i++)
		mem_free(r->peers[i].host);
	while (!list_empty(&r->topics)) {
		struct topic *t = container_of(list_pop(&r->topics), struct topic, link);
		mem_free(t->name);
		mem_free(t);
	}
	map_fini(&r->names);
	mem_free(r->peers);
	mem_free(r->cluster);
	mem_free(r->broker);
	mem_free(r->addr);
	mem_free(r->ha_addr);
	buf_fini(&r->out);
	buf_fini(&r->body);
	buf_fini(&r->scratch);
	r->magic = 0;
	mem_free(r);
}

enum status registrar_open(struct registrar **ret, const struct registrar_env *env, const struct registrar_conf *conf,
                           char *why, size_t why_size)
{
	struct slice rest = conf->servers, one, host;
	CHECK(conf->every_ms > 0 && conf->retry_ms > 0 && why_size > 0);
	struct registrar *r = mem_new(sizeof(*r));
	*r = (struct registrar){.magic = REGISTRAR_MAGIC, .env = *env, .conf = *conf, .change = 1};
	list_init(&r->topics);
	r->cluster = slice_dup(conf->cluster);
	r->broker = slice_dup(conf->broker);
	r->addr = slice_dup(conf->addr);
	r->ha_addr = slice_dup(conf->ha_addr);
	r->changed_ms = clock_wall_ms(env->clock);
	r->peers = mem_array(conf->max_servers + 1, sizeof(*r->peers));
	while (slice_split(&rest, ';', &one)) {
		struct peer *p = &r->peers[r->n_peers];
		uint16_t port;
		one = slice_trim(one);
		if (one.n == 0)
			continue;
		if (r->n_peers == conf->max_servers || !host_port(one, &host, &port)) {
			struct buf b = {0};
			buf_str(&b, r->n_peers == conf->max_servers ? "too many name servers, from this one on: " : "not host:port: ");
			buf_slice(&b, one);
			size_t n = u64_min(b.n, why_size - 1);
			memcpy(why, b.p, n);
			why[n] = '\0';
			buf_fini(&b);
			registrar_free(r);
			return ST_BAD_ARG;
		}
		*p = (struct peer){.magic = PEER_MAGIC, .r = r, .host = slice_dup(host), .port = port};
		p->all_due = p->changes_due = p->answer_due = NEVER;
		p->pause_ns = conf->retry_ms * MS_NS;
		r->n_peers++;
	}
	*ret = r;
	return ST_OK;
}

/* ---- Topics ------------------------------------------------------------------------------------------------------ */

static void changed(struct registrar *r)
{
	r->change++;
	r->changed_ms = clock_wall_ms(r->env.clock);
	for (unsigned i = 0; i < r->n_peers; i++)
		r->peers[i].changes_due = r->peers[i].rest_due;
}

void registrar_topic(struct registrar *r, const struct wire_topic *topic)
{
	CHECK_OBJ(r, REGISTRAR_MAGIC);
	CHECK(topic->name.n > 0);
	struct topic *t = map_get(&r->names, topic->name);
	if (t == NULL) {
		t = mem_new(sizeof(*t));
		t->name = slice_dup(topic->name);
		map_put(&r->names, slice_of(t->name, topic->name.n), t);
	} else {
		list_remove(&t->link);
	}
	t->conf = *topic;
	t->conf.name = slice_str(t->name);
	changed(r);
	t->change = r->change;
	list_push(&r->topics, &t->link);
}

void registrar_topic_drop(struct registrar *r, struct slice topic)
{
	CHECK_OBJ(r, REGISTRAR_MAGIC);
	struct topic *t = map_drop(&r->names, topic);
	if (t == NULL)
		return;
	list_remove(&t->link);
	mem_free(t->name);
	mem_free(t);
	r->change++;
	r->changed_ms = clock_wall_ms(r->env.clock);
}

uint64_t registrar_said(const struct registrar *r)
{
	CHECK_OBJ(r, REGISTRAR_MAGIC);
	return r->change;
}

uint64_t registrar_known(const struct registrar *r)
{
	uint64_t known = UINT64_MAX;
	CHECK_OBJ(r, REGISTRAR_MAGIC);
	for (unsigned i = 0; i < r->n_peers; i++)
		if (r->peers[i].state == UP && r->closed == NULL)
			known = u64_min(known, r->peers[i].known);
	return known;
}

/* ---- Saying things ----------------------------------------------------------------------------------------------- */

static void identity(struct registrar *r, struct wire_out *o)
{
	wire_put(o, "brokerName", slice_str(r->broker));
	wire_put(o, "brokerAddr", slice_str(r->addr));
	wire_put(o, "clusterName", slice_str(r->cluster));
	wire_put_i64(o, "brokerId", r->conf.broker_id);
}

static void send(struct peer *p, enum said what)
{
	p->waiting = what;
	p->answer_due = clock_mono_ns(p->r->env.clock) + p->r->conf.timeout_ms * MS_NS;
	stream_put(p->stream, buf_view(&p->r->out));
}

/* 103 with the topics that changed after number 'after'; all of them when it is 0. */
static void send_topics(struct peer *p, uint64_t after)
{
	struct registrar *r = p->r;
	struct wire_data_version version = {0, r->changed_ms, (int64_t)r->change};
	struct wire_topic *v = mem_array(r->names.count + 1, sizeof(*v));
	struct wire_out o;
	size_t n = 0;
	for (struct list *l = r->topics.prev; l != &r->topics; l = l->prev) {
		const struct topic *t = container_of(l, struct topic, link);
		if (t->change <= after)
			break;
		v[n++] = t->conf;
	}
	bool packed = n > PACK_ABOVE;
	buf_reset(&r->body);
	if (packed)
		packed = wire_register_packed(&r->body, &version, v, n, WIRE_VERSION);
	if (!packed)
		wire_register(&r->body, &version, v, n);
	mem_free(v);

	buf_reset(&r->out);
	wire_begin(&o, &r->out, WIRE_JSON, REQ_REGISTER_BROKER, ++p->opaque, 0);
	identity(r, &o);
	wire_put(&o, "haServerAddr", slice_str(r->ha_addr));
	wire_put_bool(&o, "compressed", packed);
	wire_put_i64(&o, "bodyCrc32", crc32_of(r->body.p, r->body.n) & 0x7FFFFFFF);
	wire_finish(&o, r->body.n);
	buf_slice(&r->out, buf_view(&r->body));
	p->heard = r->change;
	p->changes_due = NEVER;
	p->rest_due = clock_mono_ns(r->env.clock) + r->conf.coalesce_ms * MS_NS;
	send(p, after == 0 ? ALL : CHANGES);
}

static void send_all(struct peer *p, uint64_t now)
{
	const struct registrar_conf *c = &p->r->conf;
	p->all_due = now + (p->rounds == 0 ? c->again_ms : c->every_ms) * MS_NS;
	p->rounds++;
	send_topics(p, 0);
}

static void send_bye(struct peer *p)
{
	struct registrar *r = p->r;
	struct wire_out o;
	buf_reset(&r->out);
	wire_begin(&o, &r->out, WIRE_JSON, REQ_UNREGISTER_BROKER, ++p->opaque, 0);
	identity(r, &o);
	wire_finish(&o, 0);
	send(p, BYE);
}

/* ---- Connections ------------------------------------------------------------------------------------------------- */

static void idle(struct peer *p)
{
	const struct registrar *r = p->r;
	p->state = IDLE;
	p->stream = NULL;
	p->conn = NULL;
	p->waiting = NOTHING;
	p->all = false;
	p->known = 0; /* it may come back without any memory of us */
	p->all_due = p->answer_due = NEVER;
	p->dial_due = clock_mono_ns(r->env.clock) + p->pause_ns;
	p->pause_ns = u64_min(p->pause_ns * 2, r->conf.retry_max_ms * MS_NS);
}

/* Lets go of a connection; its closed() follows later. */
static void hang_up(struct peer *p, const char *why)
{
	struct reg_conn *c = p->conn;
	CHECK(p->state == UP && c->peer == p);
	c->peer = NULL;
	c->closing = true;
	stream_close(p->stream, 0, why);
	idle(p);
}

static void failed(struct dial_call *call, enum status why, const char *text)
{
	struct peer *p = container_of(call, struct peer, call);
	CHECK_OBJ(p, PEER_MAGIC);
	log_warn(p->r->env.log, "registrar", "server=%s:%u not reached: %s (%s)", p->host, p->port, status_name(why), text);
	idle(p);
}

static void opened(void *conn, void *front, struct stream *out, const struct stream_info *info)
{
	struct reg_conn *c = conn;
	struct peer *p = front;
	CHECK_OBJ(p, PEER_MAGIC);
	CHECK(p->state == DIALING);
	(void)info;
	c->peer = p;
	c->r = p->r;
	c->r->n_streams++;
	p->state = UP;
	p->stream = out;
	p->conn = conn;
	p->dial_due = NEVER;
	if (p->r->closed == NULL)
		send_all(p, clock_mono_ns(p->r->env.clock));
	else
		hang_up(p, "closing");
}

static void answered(struct peer *p, const struct wire_cmd *cmd)
{
	struct registrar *r = p->r;
	enum said what = p->waiting;
	p->waiting = NOTHING;
	p->answer_due = NEVER;
	if (what == BYE) {
		hang_up(p, "unregistered");
		return;
	}
	if (cmd->code == ANS_SUCCESS) {
		if (!p->all && what == ALL)
			log_info(r->env.log, "registrar", "server=%s:%u broker=%s registered topics=%zu", p->host, p->port, r->broker,
			         r->names.count);
		p->all = p->all || what == ALL;
		p->known = p->heard;
		p->pause_ns = r->conf.retry_ms * MS_NS;
		return;
	}
	log_warn(r->env.log, "registrar", "server=%s:%u refused %s: code=%d %.*s", p->host, p->port,
	         what == ALL ? "all topics" : "changed topics", (int)cmd->code, (int)cmd->remark.n, (const char *)cmd->remark.p);
	/* Changes that were refused make everything due again; everything refused waits for its next time. */
	p->all = false;
	p->changes_due = NEVER;
	if (what == CHANGES)
		p->all_due = 0;
}

static ptrdiff_t input(void *conn, struct slice bytes)
{
	struct reg_conn *c = conn;
	struct registrar *r = c->r;
	struct wire_limits limits = {ANSWER_MAX, WIRE_HEADER_MAX, WIRE_EXT_MAX};
	size_t eaten = 0, used;
	const char *why;
	CHECK_OBJ(r, REGISTRAR_MAGIC);
	while (!c->closing) {
		enum wire_got got = wire_decode(slice_skip(bytes, eaten), &limits, &r->scratch, &r->cmd, &used, &why);
		if (got == WIRE_MORE)
			break;
		if (got == WIRE_BAD) {
			log_warn(r->env.log, "registrar", "server=%s:%u closed: %s", c->peer->host, c->peer->port, why);
			return -1;
		}
		eaten += used;
		/* What the server asks or tells by itself is about roles of replication, which nobody here waits for. */
		if (wire_is_response(&r->cmd) && c->peer->waiting != NOTHING && r->cmd.opaque == c->peer->opaque)
			answered(c->peer, &r->cmd);
	}
	return (ptrdiff_t)eaten;
}

static void drained(void *conn)
{
	(void)conn; /* one request at a time: nothing waits for room */
}

static void closed(void *conn, enum status why)
{
	struct reg_conn *c = conn;
	CHECK_OBJ(c->r, REGISTRAR_MAGIC);
	CHECK(c->r->n_streams > 0);
	c->r->n_streams--;
	if (c->peer != NULL) {
		log_warn(c->r->env.log, "registrar", "server=%s:%u connection lost: %s", c->peer->host, c->peer->port,
		         status_name(why));
		idle(c->peer);
	}
}

static const struct stream_ops ops = {
	.name = "registrar",
	.conn_size = sizeof(struct reg_conn),
	.input_max = ANSWER_MAX,
	.opened = opened,
	.input = input,
	.drained = drained,
	.closed = closed,
};

/* ---- Turns ------------------------------------------------------------------------------------------------------- */

static void dial(struct peer *p)
{
	struct registrar *r = p->r;
	p->state = DIALING;
	p->dial_due = NEVER;
	p->call = (struct dial_call){
		.host = slice_str(p->host), .port = p->port, .timeout_ms = r->conf.timeout_ms, .tls = r->conf.tls, .ops = &ops,
		.front = p, .failed = failed,
	};
	dial_connect(r->env.dial, &p->call);
}

static uint64_t peer_turn(struct peer *p, uint64_t now)
{
	switch (p->state) {
	case IDLE:
		if (p->dial_due > now)
			return p->dial_due;
		dial(p);
		return NEVER;
	case DIALING:
		return NEVER;
	case UP:
		break;
	}
	if (p->waiting != NOTHING) {
		if (p->answer_due > now)
			return p->answer_due;
		log_warn(p->r->env.log, "registrar", "server=%s:%u did not answer in time", p->host, p->port);
		hang_up(p, "no answer");
		return p->dial_due;
	}
	if (p->all_due <= now) {
		send_all(p, now);
		return p->answer_due;
	}
	if (p->all && p->changes_due <= now) {
		if (p->heard < p->r->change)
			send_topics(p, p->heard);
		p->changes_due = NEVER;
		return u64_min(p->answer_due, p->all_due);
	}
	return p->all ? u64_min(p->all_due, p->changes_due) : p->all_due;
}

static uint64_t close_turn(struct registrar *r, uint64_t now)
{
	bool late = now >= r->close_due, waits = false;
	for (unsigned i = 0; i < r->n_peers; i++) {
		struct peer *p = &r->peers[i];
		if (p->state == DIALING) {
			dial_cancel(r->env.dial, &p->call);
			p->state = IDLE;
		}
		if (p->state != UP)
			continue;
		if (late)
			hang_up(p, "closing");
		else if (p->waiting == NOTHING)
			send_bye(p);
		waits = waits || p->state == UP;
	}
	if (waits)
		return r->close_due;
	if (r->n_streams > 0)
		return NEVER; /* their closed() wakes the loop */
	void (*done)(void *) = r->closed;
	void *arg = r->closed_arg;
	done(arg);
	registrar_free(r);
	return NEVER;
}

uint64_t registrar_turn(struct registrar *r)
{
	CHECK_OBJ(r, REGISTRAR_MAGIC);
	uint64_t now = clock_mono_ns(r->env.clock), next = NEVER;
	if (r->closed != NULL)
		return close_turn(r, now);
	for (unsigned i = 0; i < r->n_peers; i++)
		next = u64_min(next, peer_turn(&r->peers[i], now));
	return next;
}

void registrar_close(struct registrar *r, void (*done)(void *arg), void *arg)
{
	CHECK_OBJ(r, REGISTRAR_MAGIC);
	CHECK(r->closed == NULL && done != NULL);
	r->closed = done;
	r->closed_arg = arg;
	r->close_due = clock_mono_ns(r->env.clock) + r->conf.close_ms * MS_NS;
}
