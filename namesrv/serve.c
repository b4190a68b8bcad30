/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The requests about brokers and routes. Each is one function; the table at the end says which code is whose. */
#include "base/crc.h"
#include "base/mem.h"
#include "base/obj.h"
#include "namesrv/ns.h"

/* ---- Answers ----------------------------------------------------------------------------------------------------- */

void ns_answer(struct ns_call *c, int32_t code, const char *remark)
{
	if (code != ANS_SUCCESS)
		c->ns->refused++;
	wire_answer_plain(&c->ns->out, c->cmd, code, slice_str(remark));
}

void ns_answer_body(struct ns_call *c)
{
	struct wire_out o;
	wire_answer(&o, &c->ns->out, c->cmd, ANS_SUCCESS);
	wire_finish(&o, c->ns->body.n);
	buf_slice(&c->ns->out, buf_view(&c->ns->body));
}

void ns_answer_field(struct ns_call *c, const char *name, struct slice value)
{
	struct wire_out o;
	wire_answer(&o, &c->ns->out, c->cmd, ANS_SUCCESS);
	wire_put(&o, name, value);
	wire_finish(&o, c->ns->body.n);
	buf_slice(&c->ns->out, buf_view(&c->ns->body));
}

void ns_answer_count(struct ns_call *c, const char *name, int64_t value)
{
	struct wire_out o;
	wire_answer(&o, &c->ns->out, c->cmd, ANS_SUCCESS);
	wire_put_i64(&o, name, value);
	wire_finish(&o, 0);
}

bool ns_fields_ok(struct ns_call *c)
{
	if (c->args.field == NULL)
		return true;
	wire_args_remark(&c->args, &c->ns->body);
	ns_answer(c, ANS_SYSTEM_ERROR, buf_cstr(&c->ns->body));
	return false;
}

/* ---- Registration ------------------------------------------------------------------------------------------------ */

/* Of a registration: the broker of this process may not be spoken for by others. */
enum whose { OTHERS, OURS, CONFLICT };
static enum whose whose(const struct namesrv *ns, struct slice broker, int64_t id, struct slice addr)
{
	if (ns->local_name == NULL || !slice_eq_str(broker, ns->local_name) || id != ns->local_id)
		return OTHERS;
	return slice_eq_str(addr, ns->local_addr) ? OURS : CONFLICT;
}

static uint64_t lease_ns(const struct namesrv *ns, int64_t asked_ms)
{
	uint64_t ms = asked_ms <= 0 ? ns->conf.expire_ms : u64_min((uint64_t)asked_ms, ns->conf.expire_max_ms);
	return ms * MS_NS;
}

/* The master of a slave in the header, the order configuration in the body. */
static void answer_registered(struct ns_call *c, struct slice broker, int64_t id)
{
	struct namesrv *ns = c->ns;
	struct slice master = {NULL, 0}, ha = {NULL, 0};
	struct wire_out o;
	size_t from, n = ns->conf.order_conf_to_brokers ? kv_space(&ns->kv, NS_ORDER_SPACE, &from) : 0;
	if (id != 0)
		routes_master(&ns->routes, broker, &master, &ha);
	if (n > 0) {
		struct wire_table t;
		wire_table_begin(&t, &ns->body);
		for (size_t i = from; i < from + n; i++)
			wire_table_put(&t, ns->kv.v[i].key, ns->kv.v[i].value);
		wire_table_end(&t);
	}
	wire_answer(&o, &ns->out, c->cmd, ANS_SUCCESS);
	if (master.n > 0) {
		wire_put(&o, "masterAddr", master);
		wire_put(&o, "haServerAddr", ha);
	}
	wire_finish(&o, ns->body.n);
	buf_slice(&ns->out, buf_view(&ns->body));
}

static void registered(struct ns_call *c, const struct route_register *v, bool known)
{
	struct namesrv *ns = c->ns;
	c->conn->registered = true; /* also when a limit let only a part in */
	switch (routes_register(&ns->routes, v, clock_mono_ns(ns->env.clock))) {
	case ST_OK:
		break;
	case ST_BAD_ARG:
		ns_answer(c, ANS_SYSTEM_ERROR, "a name or address of the broker is not usable");
		return;
	case ST_NO_MEMBER:
		ns_answer(c, ANS_SYSTEM_ERROR, "register broker failed");
		return;
	default:
		ns_answer(c, ANS_SYSTEM_ERROR, "a limit of the name server is reached, or a topic has an illegal name");
		return;
	}
	ns->registrations++;
	if (!known)
		log_info(ns->env.log, "namesrv", "broker=%.*s id=%lld addr=%.*s registered topics=%zu peer=%s", (int)v->broker.n,
		         (const char *)v->broker.p, (long long)v->id, (int)v->addr.n, (const char *)v->addr.p, v->topics->n,
		         c->conn->peer);
	answer_registered(c, v->broker, v->id);
}

static void serve_register(struct ns_call *c)
{
	struct namesrv *ns = c->ns;
	struct wire_args *a = &c->args;
	struct wire_topics topics;
	const char *why;
	struct route_register v = {
		.broker = wire_str(a, "brokerName"),
		.addr = wire_str(a, "brokerAddr"),
		.cluster = wire_str(a, "clusterName"),
		.ha_addr = wire_str(a, "haServerAddr"),
		.id = wire_i64(a, "brokerId"),
		.acting_master = wire_bool_or(a, "enableActingMaster", false),
		.owner = c->conn,
		.topics = &topics,
	};
	v.timeout_ns = lease_ns(ns, wire_i64_or(a, "heartbeatTimeoutMillis", 0));
	bool compressed = wire_bool_or(a, "compressed", false);
	uint32_t crc = (uint32_t)wire_i32_or(a, "bodyCrc32", 0);
	if (!ns_fields_ok(c))
		return;
	if (crc != 0 && crc != (crc32_of(c->cmd->body.p, c->cmd->body.n) & 0x7FFFFFFF)) {
		ns_answer(c, ANS_SYSTEM_ERROR, "crc32 not match");
		return;
	}
	enum whose w = whose(ns, v.broker, v.id, v.addr);
	if (w != OTHERS) {
		if (w == CONFLICT)
			ns_answer(c, ANS_SYSTEM_ERROR, "this broker name and id belong to the name server's own process");
		else
			answer_registered(c, v.broker, v.id);
		return;
	}
	if (!wire_register_decode(c->cmd->body, compressed, c->cmd->version, &topics, &why)) {
		buf_str(&ns->body, "the body is not a registration: ");
		buf_str(&ns->body, why);
		ns_answer(c, ANS_SYSTEM_ERROR, buf_cstr(&ns->body));
		return;
	}
	registered(c, &v, routes_find_addr(&ns->routes, v.broker, v.addr) != NULL);
	wire_doc_fini(&topics.doc);
}

static void serve_unregister(struct ns_call *c)
{
	struct slice broker = wire_str(&c->args, "brokerName"), addr = wire_str(&c->args, "brokerAddr");
	int64_t id = wire_i64(&c->args, "brokerId");
	wire_str(&c->args, "clusterName");
	if (!ns_fields_ok(c))
		return;
	if (whose(c->ns, broker, id, addr) != OTHERS) {
		ns_answer(c, ANS_SYSTEM_ERROR, "this broker name and id belong to the name server's own process");
		return;
	}
	routes_unregister(&c->ns->routes, broker, id, addr);
	log_info(c->ns->env.log, "namesrv", "broker=%.*s id=%lld addr=%.*s unregistered", (int)broker.n,
	         (const char *)broker.p, (long long)id, (int)addr.n, (const char *)addr.p);
	ns_answer(c, ANS_SUCCESS, NULL);
}

static void serve_data_version(struct ns_call *c)
{
	struct namesrv *ns = c->ns;
	struct wire_data_version theirs;
	const char *why;
	struct slice broker = wire_str(&c->args, "brokerName"), addr = wire_str(&c->args, "brokerAddr");
	wire_str(&c->args, "clusterName");
	wire_i64(&c->args, "brokerId");
	if (!ns_fields_ok(c))
		return;
	if (!wire_data_version_decode(c->cmd->body, &theirs, &why)) {
		ns_answer(c, ANS_SYSTEM_ERROR, "the body is not a data version");
		return;
	}
	const struct route_addr *a = routes_find_addr(&ns->routes, broker, addr);
	bool changed = a == NULL || !wire_data_version_eq(&a->version, &theirs);
	if (a != NULL)
		wire_data_version(&ns->body, &a->version);
	if (!changed)
		routes_touch(&ns->routes, broker, addr, clock_mono_ns(ns->env.clock));
	ns_answer_field(c, "changed", changed ? SLICE_LIT("true") : SLICE_LIT("false"));
}

static void serve_heartbeat(struct ns_call *c)
{
	struct slice broker = wire_str(&c->args, "brokerName"), addr = wire_str(&c->args, "brokerAddr");
	if (!ns_fields_ok(c))
		return;
	routes_touch(&c->ns->routes, broker, addr, clock_mono_ns(c->ns->env.clock));
	ns_answer(c, ANS_SUCCESS, NULL);
}

static void serve_register_topic(struct ns_call *c)
{
	struct namesrv *ns = c->ns;
	struct wire_route r;
	const char *why;
	struct slice topic = wire_str(&c->args, "topic");
	if (!ns_fields_ok(c))
		return;
	if (!wire_route_decode(c->cmd->body, &r, &why)) {
		ns_answer(c, ANS_SYSTEM_ERROR, "the body is not a route");
		return;
	}
	why = NULL;
	for (size_t i = 0; i < r.n_queues && why == NULL; i++) {
		const struct wire_queue_data *q = &r.queues[i];
		struct route_broker *b = routes_broker(&ns->routes, q->broker);
		struct wire_topic t = {topic, q->read_queues, q->write_queues, q->perm, q->sys_flag, false};
		if (b == NULL)
			why = "the route names a broker that is not registered";
		else if (!routes_topic_put(&ns->routes, b, &t))
			why = "a limit of the name server is reached, or the topic has an illegal name";
	}
	wire_doc_fini(&r.doc);
	ns_answer(c, why == NULL ? ANS_SUCCESS : ANS_SYSTEM_ERROR, why);
}

/* ---- Routes ------------------------------------------------------------------------------------------------------ */

/* Appends a broker's addresses to 'addrs', which has room for them. */
static struct wire_broker_data broker_data(struct route_broker *b, struct wire_addr *addrs)
{
	struct wire_broker_data d = {slice_str(b->cluster), slice_str(b->name), addrs, 0, b->acting_master};
	LIST_EACH(&b->addrs, n) {
		const struct route_addr *a = container_of(n, struct route_addr, link);
		addrs[d.n_addrs++] = (struct wire_addr){a->id, slice_str(a->addr)};
	}
	return d;
}

static void serve_route(struct ns_call *c)
{
	struct namesrv *ns = c->ns;
	struct slice topic = wire_str(&c->args, "topic");
	if (!ns_fields_ok(c))
		return;
	const struct route_topic *t = routes_topic(&ns->routes, topic);
	if (t == NULL) {
		buf_str(&ns->body, "No topic route info in name server for the topic: ");
		buf_slice(&ns->body, topic);
		ns_answer(c, ANS_TOPIC_NOT_EXIST, buf_cstr(&ns->body));
		return;
	}
	size_t n_addrs = 0;
	for (unsigned i = 0; i < t->n; i++)
		n_addrs += t->v[i].broker->n_addrs;
	struct wire_broker_data *brokers = mem_array(t->n, sizeof(*brokers));
	struct wire_queue_data *queues = mem_array(t->n, sizeof(*queues));
	struct wire_addr *addrs = mem_array(n_addrs, sizeof(*addrs));
	struct wire_route r = {.brokers = brokers, .n_brokers = t->n, .queues = queues, .n_queues = t->n};
	size_t at = 0;
	for (unsigned i = 0; i < t->n; i++) {
		const struct route_queue *q = &t->v[i];
		brokers[i] = broker_data(q->broker, addrs + at);
		at += brokers[i].n_addrs;
		queues[i] = (struct wire_queue_data){
			slice_str(q->broker->name), q->read_queues, q->write_queues, route_perm(q), q->sys_flag
		};
	}
	if (ns->conf.order_conf)
		kv_get(&ns->kv, NS_ORDER_SPACE, topic, &r.order_conf);
	wire_route(&ns->body, &r);
	mem_free(brokers);
	mem_free(queues);
	mem_free(addrs);
	ns_answer_body(c);
}

static void serve_cluster_info(struct ns_call *c)
{
	struct namesrv *ns = c->ns;
	size_t n = ns->routes.broker_names.count, i = 0, n_addrs = 0, at = 0;
	LIST_EACH(&ns->routes.brokers, l)
		n_addrs += container_of(l, struct route_broker, link)->n_addrs;
	struct wire_broker_data *brokers = mem_array(n + 1, sizeof(*brokers));
	struct wire_addr *addrs = mem_array(n_addrs + 1, sizeof(*addrs));
	LIST_EACH(&ns->routes.brokers, l) {
		brokers[i] = broker_data(container_of(l, struct route_broker, link), addrs + at);
		at += brokers[i++].n_addrs;
	}
	CHECK(i == n && at == n_addrs);
	wire_cluster_info(&ns->body, brokers, n);
	mem_free(brokers);
	mem_free(addrs);
	ns_answer_body(c);
}

static void serve_member_group(struct ns_call *c)
{
	struct wire_addr addrs[ROUTE_ADDRS_MAX];
	struct wire_broker_data d = {wire_str(&c->args, "clusterName"), wire_str(&c->args, "brokerName"), NULL, 0, false};
	if (!ns_fields_ok(c))
		return;
	struct route_broker *b = routes_broker(&c->ns->routes, d.broker);
	if (b != NULL && slice_eq_str(d.cluster, b->cluster))
		d = broker_data(b, addrs);
	wire_member_group(&c->ns->body, &d);
	ns_answer_body(c);
}

static void write_perm(struct ns_call *c, bool writable, const char *count)
{
	struct slice broker = wire_str(&c->args, "brokerName");
	if (!ns_fields_ok(c))
		return;
	uint32_t n = routes_write_perm(&c->ns->routes, broker, writable);
	log_info(c->ns->env.log, "namesrv", "broker=%.*s writable=%d topics=%u peer=%s", (int)broker.n,
	         (const char *)broker.p, writable, n, c->conn->peer);
	ns_answer_count(c, count, n);
}

static void serve_wipe_write(struct ns_call *c) { write_perm(c, false, "wipeTopicCount"); }
static void serve_add_write(struct ns_call *c) { write_perm(c, true, "addTopicCount"); }

static void serve_drop_topic(struct ns_call *c)
{
	struct slice topic = wire_str(&c->args, "topic"), cluster = wire_str_or(&c->args, "clusterName", slice_of(NULL, 0));
	if (!ns_fields_ok(c))
		return;
	routes_topic_drop(&c->ns->routes, topic, slice_of(NULL, 0), cluster);
	ns_answer(c, ANS_SUCCESS, NULL);
}

/* ---- Lists ------------------------------------------------------------------------------------------------------- */

enum { UNIT = 1, UNIT_SUB = 2 }; /* bits of topicSysFlag */

static bool any_topic(const struct route_topic *t, struct slice arg)
{
	(void)t;
	(void)arg;
	return true;
}

static bool of_cluster(const struct route_topic *t, struct slice cluster)
{
	for (unsigned i = 0; i < t->n; i++)
		if (slice_eq_str(cluster, t->v[i].broker->cluster))
			return true;
	return false;
}

/* The flags of a topic are the same on all its brokers; the first speaks for them. */
static bool unit(const struct route_topic *t, struct slice arg)
{
	(void)arg;
	return (t->v[0].sys_flag & UNIT) != 0;
}

static bool unit_sub(const struct route_topic *t, struct slice arg)
{
	(void)arg;
	return (t->v[0].sys_flag & UNIT_SUB) != 0;
}

static bool unit_sub_only(const struct route_topic *t, struct slice arg)
{
	return unit_sub(t, arg) && !unit(t, arg);
}

static void list_topics(struct ns_call *c, bool (*want)(const struct route_topic *, struct slice), struct slice arg)
{
	struct namesrv *ns = c->ns;
	size_t n = 0;
	if (!ns_fields_ok(c))
		return;
	if (!ns->conf.topic_list) {
		ns_answer(c, ANS_SYSTEM_ERROR, "disable");
		return;
	}
	struct slice *names = mem_array(ns->routes.topic_names.count + 1, sizeof(*names));
	LIST_EACH(&ns->routes.topics, l) {
		const struct route_topic *t = container_of(l, struct route_topic, link);
		if (want(t, arg))
			names[n++] = slice_str(t->name);
	}
	wire_topic_list(&ns->body, names, n, slice_of(NULL, 0));
	mem_free(names);
	ns_answer_body(c);
}

static void serve_topics(struct ns_call *c) { list_topics(c, any_topic, slice_of(NULL, 0)); }
static void serve_cluster_topics(struct ns_call *c) { list_topics(c, of_cluster, wire_str(&c->args, "cluster")); }
static void serve_unit(struct ns_call *c) { list_topics(c, unit, slice_of(NULL, 0)); }
static void serve_unit_sub(struct ns_call *c) { list_topics(c, unit_sub, slice_of(NULL, 0)); }
static void serve_unit_sub_only(struct ns_call *c) { list_topics(c, unit_sub_only, slice_of(NULL, 0)); }

/* Cluster names, then broker names, and the address of a broker to ask on. */
static void serve_system_topics(struct ns_call *c)
{
	struct namesrv *ns = c->ns;
	size_t n = 0, clusters = 0;
	struct slice addr = {NULL, 0};
	struct slice *names = mem_array(2 * ns->routes.broker_names.count + 1, sizeof(*names));
	LIST_EACH(&ns->routes.brokers, l) {
		struct slice cluster = slice_str(container_of(l, struct route_broker, link)->cluster);
		size_t i = 0;
		while (i < clusters && !slice_eq(names[i], cluster))
			i++;
		if (i == clusters)
			names[clusters++] = cluster;
	}
	n = clusters;
	LIST_EACH(&ns->routes.brokers, l) {
		struct route_broker *b = container_of(l, struct route_broker, link);
		names[n++] = slice_str(b->name);
		if (addr.n == 0)
			addr = slice_str(container_of(b->addrs.next, struct route_addr, link)->addr);
	}
	wire_topic_list(&ns->body, names, n, addr);
	mem_free(names);
	ns_answer_body(c);
}

/* ---- Which code is whose ----------------------------------------------------------------------------------------- */

void ns_serve(struct ns_call *c)
{
	static const struct {
		int32_t code;
		void (*serve)(struct ns_call *);
	} rows[] = {
		{REQ_GET_ROUTEINFO_BY_TOPIC, serve_route},
		{REQ_REGISTER_BROKER, serve_register},
		{REQ_UNREGISTER_BROKER, serve_unregister},
		{REQ_QUERY_DATA_VERSION, serve_data_version},
		{REQ_BROKER_HEARTBEAT, serve_heartbeat},
		{REQ_GET_BROKER_CLUSTER_INFO, serve_cluster_info},
		{REQ_PUT_KV_CONFIG, ns_serve_kv_put},
		{REQ_GET_KV_CONFIG, ns_serve_kv_get},
		{REQ_DELETE_KV_CONFIG, ns_serve_kv_drop},
		{REQ_GET_KVLIST_BY_NAMESPACE, ns_serve_kv_list},
		{REQ_WIPE_WRITE_PERM_OF_BROKER, serve_wipe_write},
		{REQ_ADD_WRITE_PERM_OF_BROKER, serve_add_write},
		{REQ_GET_ALL_TOPIC_LIST_FROM_NAMESERVER, serve_topics},
		{REQ_DELETE_TOPIC_IN_NAMESRV, serve_drop_topic},
		{REQ_REGISTER_TOPIC_IN_NAMESRV, serve_register_topic},
		{REQ_GET_TOPICS_BY_CLUSTER, serve_cluster_topics},
		{REQ_GET_SYSTEM_TOPIC_LIST_FROM_NS, serve_system_topics},
		{REQ_GET_UNIT_TOPIC_LIST, serve_unit},
		{REQ_GET_HAS_UNIT_SUB_TOPIC_LIST, serve_unit_sub},
		{REQ_GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, serve_unit_sub_only},
		{REQ_UPDATE_NAMESRV_CONFIG, ns_serve_config_put},
		{REQ_GET_NAMESRV_CONFIG, ns_serve_config_get},
		{REQ_GET_BROKER_MEMBER_GROUP, serve_member_group},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].code == c->cmd->code) {
			rows[i].serve(c);
			return;
		}
	buf_fmt(&c->ns->body, " request type %d not supported", (int)c->cmd->code);
	ns_answer(c, ANS_REQUEST_CODE_NOT_SUPPORTED, buf_cstr(&c->ns->body));
}
