/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The name server's life, its connections, and the calls of the broker in the same process. */
#include "namesrv/namesrv.h"

#include "base/mem.h"
#include "base/obj.h"
#include "namesrv/ns.h"

void namesrv_conf_default(struct namesrv_conf *c)
{
	*c = (struct namesrv_conf){
		.listen_port = 9876,
		.max_frame = WIRE_FRAME_MAX,
		.max_header = WIRE_HEADER_MAX,
		.idle_ms = 120000,
		.expire_ms = 120000,
		.expire_max_ms = 3600000,
		.max_brokers = 2000,
		.max_topics = 200000,
		.max_queue_datas = 1000000,
		.max_kv = 20000,
		.max_kv_bytes = 4u << 20,
		.order_conf = false,
		.order_conf_to_brokers = true,
		.topic_list = true,
	};
}

struct namesrv *namesrv_open(const struct namesrv_env *env, const struct namesrv_conf *conf)
{
	CHECK(env->clock != NULL && env->log != NULL && conf->max_frame >= 1024 && conf->max_frame <= WIRE_FRAME_MAX);
	struct namesrv *ns = mem_new(sizeof(*ns));
	ns->magic = NS_MAGIC;
	ns->env = *env;
	ns->conf = *conf;
	list_init(&ns->conns);
	routes_init(&ns->routes, conf->max_brokers, conf->max_topics, conf->max_queue_datas);
	kv_init(&ns->kv, conf->max_kv, conf->max_kv_bytes);
	return ns;
}

void namesrv_close(struct namesrv *ns)
{
	CHECK_OBJ(ns, NS_MAGIC);
	routes_fini(&ns->routes);
	kv_fini(&ns->kv);
	buf_fini(&ns->scratch);
	buf_fini(&ns->out);
	buf_fini(&ns->body);
	mem_free(ns->local_name);
	mem_free(ns->local_addr);
	ns->magic = 0;
	mem_free(ns);
}

static void expired(void *arg, const struct route_addr *a)
{
	struct namesrv *ns = arg;
	ns->expired++;
	log_warn(ns->env.log, "namesrv", "broker=%s id=%lld addr=%s expired: nothing was heard of it", a->broker->name,
	         (long long)a->id, a->addr);
}

static void owner_gone(void *arg, const struct route_addr *a)
{
	struct namesrv *ns = arg;
	log_warn(ns->env.log, "namesrv", "broker=%s id=%lld addr=%s dropped: its connection is closed", a->broker->name,
	         (long long)a->id, a->addr);
}

uint64_t namesrv_turn(struct namesrv *ns)
{
	CHECK_OBJ(ns, NS_MAGIC);
	return routes_turn(&ns->routes, clock_mono_ns(ns->env.clock), expired, ns);
}

bool namesrv_kv_load(struct namesrv *ns, struct slice text, char *why, size_t why_size)
{
	struct wire_doc doc;
	struct wire_kv *v;
	const char *fault = NULL;
	struct kv loaded;
	size_t n = 0;
	CHECK_OBJ(ns, NS_MAGIC);
	CHECK(why_size > 0);
	if (text.n == 0)
		return true;
	kv_init(&loaded, ns->conf.max_kv, ns->conf.max_kv_bytes);
	bool ok = wire_kv_decode(text, &doc, &v, &n, &fault);
	for (size_t i = 0; i < n; i++)
		if (kv_put(&loaded, v[i].space, v[i].key, v[i].value) != ST_OK) {
			fault = "too many or empty names";
			ok = false;
			break;
		}
	wire_doc_fini(&doc);
	if (!ok) {
		struct buf b = {0};
		buf_fmt(&b, "KV configuration: %s", fault);
		size_t size = u64_min(b.n + 1, why_size);
		memcpy(why, buf_cstr(&b), size);
		why[size - 1] = '\0';
		buf_fini(&b);
		kv_fini(&loaded);
		return false;
	}
	kv_fini(&ns->kv);
	ns->kv = loaded;
	return true;
}

/* ---- Connections ------------------------------------------------------------------------------------------------- */

static void opened(void *conn, void *front, struct stream *out, const struct stream_info *info)
{
	struct ns_conn *c = conn;
	struct namesrv *ns = front;
	CHECK_OBJ(ns, NS_MAGIC);
	c->magic = NS_CONN_MAGIC;
	c->ns = ns;
	c->stream = out;
	c->last_ns = clock_mono_ns(ns->env.clock);
	memcpy(c->peer, info->peer.p, u64_min(info->peer.n, NS_PEER_MAX - 1));
	list_push(&ns->conns, &c->link);
	ns->n_conns++;
}

static void serve(struct ns_conn *c)
{
	struct namesrv *ns = c->ns;
	struct ns_call call = {ns, c, &ns->cmd, wire_args(&ns->cmd)};
	if (wire_is_response(&ns->cmd))
		return; /* nothing was asked */
	ns->requests++;
	buf_reset(&ns->out);
	buf_reset(&ns->body);
	ns_serve(&call);
	CHECK(ns->out.n > 0);
	if (!wire_is_oneway(&ns->cmd))
		stream_put(c->stream, buf_view(&ns->out));
}

static ptrdiff_t input(void *conn, struct slice bytes)
{
	struct ns_conn *c = conn;
	CHECK_OBJ(c, NS_CONN_MAGIC);
	struct namesrv *ns = c->ns;
	struct wire_limits limits = {ns->conf.max_frame, ns->conf.max_header, WIRE_EXT_MAX};
	size_t eaten = 0, used;
	const char *why;
	c->last_ns = clock_mono_ns(ns->env.clock);
	while (!c->closing) {
		if (stream_room(c->stream) == 0) {
			c->blocked = true;
			stream_pause(c->stream, true);
			break;
		}
		enum wire_got got = wire_decode(slice_skip(bytes, eaten), &limits, &ns->scratch, &ns->cmd, &used, &why);
		if (got == WIRE_BAD) {
			ns->bad_frames++;
			log_info(ns->env.log, "namesrv", "peer=%s closed: %s", c->peer, why);
			return -1;
		}
		if (got == WIRE_MORE)
			break;
		serve(c);
		eaten += used;
	}
	return (ptrdiff_t)eaten;
}

static void drained(void *conn)
{
	struct ns_conn *c = conn;
	CHECK_OBJ(c, NS_CONN_MAGIC);
	if (!c->blocked || c->closing)
		return;
	c->blocked = false;
	stream_pause(c->stream, false);
}

static uint64_t turn(void *conn, uint64_t now_ns)
{
	struct ns_conn *c = conn;
	CHECK_OBJ(c, NS_CONN_MAGIC);
	uint64_t due = c->last_ns + c->ns->conf.idle_ms * MS_NS;
	if (c->closing)
		return NEVER;
	if (now_ns < due)
		return due;
	c->closing = true;
	stream_close(c->stream, 0, "idle");
	return NEVER;
}

static void closed(void *conn, enum status why)
{
	struct ns_conn *c = conn;
	CHECK_OBJ(c, NS_CONN_MAGIC);
	struct namesrv *ns = c->ns;
	log_trace(ns->env.log, "namesrv", "peer=%s gone: %s", c->peer, status_text(why));
	if (c->registered)
		routes_owner_gone(&ns->routes, c, owner_gone, ns);
	list_remove(&c->link);
	ns->n_conns--;
	c->magic = 0;
}

const struct stream_ops namesrv_stream = {
	.name = "namesrv",
	.conn_size = sizeof(struct ns_conn),
	.input_max = WIRE_FRAME_MAX,
	.opened = opened,
	.input = input,
	.drained = drained,
	.turn = turn,
	.closed = closed,
};

/* ---- The broker in the same process ------------------------------------------------------------------------------ */

void namesrv_local_broker(struct namesrv *ns, struct slice cluster, struct slice broker, int64_t id, struct slice addr)
{
	static const struct wire_topics none;
	struct route_register v = {
		.cluster = cluster, .broker = broker, .addr = addr, .id = id, .timeout_ns = NEVER, .topics = &none
	};
	CHECK_OBJ(ns, NS_MAGIC);
	if (ns->local_name != NULL && (!slice_eq_str(broker, ns->local_name) || id != ns->local_id))
		namesrv_local_gone(ns);
	mem_free(ns->local_name);
	mem_free(ns->local_addr);
	ns->local_name = slice_dup(broker);
	ns->local_addr = slice_dup(addr);
	ns->local_id = id;
	enum status st = routes_register(&ns->routes, &v, clock_mono_ns(ns->env.clock));
	CHECK(st == ST_OK);
}

void namesrv_local_topic(struct namesrv *ns, const struct wire_topic *topic)
{
	CHECK_OBJ(ns, NS_MAGIC);
	CHECK(ns->local_name != NULL);
	struct route_broker *b = routes_broker(&ns->routes, slice_str(ns->local_name));
	CHECK(b != NULL);
	if (!routes_topic_put(&ns->routes, b, topic))
		log_error(ns->env.log, "namesrv", "topic=%.*s has no route: the limit of the table is reached", (int)topic->name.n,
		          (const char *)topic->name.p);
}

void namesrv_local_topic_drop(struct namesrv *ns, struct slice topic)
{
	CHECK_OBJ(ns, NS_MAGIC);
	CHECK(ns->local_name != NULL);
	routes_topic_drop(&ns->routes, topic, slice_str(ns->local_name), slice_of(NULL, 0));
}

void namesrv_local_gone(struct namesrv *ns)
{
	CHECK_OBJ(ns, NS_MAGIC);
	if (ns->local_name == NULL)
		return;
	routes_unregister(&ns->routes, slice_str(ns->local_name), ns->local_id, slice_str(ns->local_addr));
	mem_free(ns->local_name);
	mem_free(ns->local_addr);
	ns->local_name = ns->local_addr = NULL;
}

void namesrv_describe(struct namesrv *ns, struct buf *json)
{
	CHECK_OBJ(ns, NS_MAGIC);
	buf_fmt(json, "{\"brokers\":%zu,\"topics\":%zu,\"kv\":%zu,\"connections\":%u,\"requests\":%llu,"
	        "\"refused\":%llu,\"badFrames\":%llu,\"registrations\":%llu,\"expired\":%llu}",
	        ns->routes.broker_names.count, ns->routes.topic_names.count, ns->kv.n, ns->n_conns, (unsigned long long)ns->requests,
	        (unsigned long long)ns->refused, (unsigned long long)ns->bad_frames, (unsigned long long)ns->registrations,
	        (unsigned long long)ns->expired);
}
