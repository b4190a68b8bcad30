/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "app/plugs.h"

#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/obj.h"
#include "os/cert.h"

/* ---- What they are told -------------------------------------------------------------------------------------------------------- */

static void configure_gateways(struct front_conf *c, const struct settings *s)
{
	c->hosts = slice_str(s->text[SET_allowedHosts]);
	c->origins = slice_str(s->text[SET_allowedOrigins]);
	c->http_max_batch = (uint32_t)s->n[SET_httpMaxBatch];
	c->http_max_body = (uint32_t)s->n[SET_httpMaxBody];
	c->http_max_header = (uint32_t)s->n[SET_httpMaxHeader];
	c->http_max_conns = (uint32_t)s->n[SET_httpMaxConnections];
	c->http_request_ms = s->n[SET_httpRequestTime];
	c->http_heartbeat_ms = s->n[SET_httpHeartbeat];
	c->http_stream_window = (uint32_t)s->n[SET_httpStreamWindow];
	c->web_ui = s->n[SET_webUiEnable] != 0;
	c->tls_cert = settings_https(s) ? s->text[SET_tlsCertPath] : NULL;
	c->tls_key = settings_https(s) ? s->text[SET_tlsKeyPath] : NULL;
	c->ws_max_conns = (uint32_t)s->n[SET_websocketMaxConnections];
	c->ws_max_message = (uint32_t)s->n[SET_websocketMaxMessage];
	c->ws_max_subs = (uint32_t)s->n[SET_websocketMaxSubs];
	c->ws_max_credit = (uint32_t)s->n[SET_websocketMaxCredit];
	c->ws_ping_ms = s->n[SET_websocketPing];
	c->mqtt_max_packet = (uint32_t)s->n[SET_mqttMaxPacket];
	c->mqtt_max_inflight = (uint32_t)s->n[SET_mqttMaxInflight];
	c->mqtt_max_sessions = (uint32_t)s->n[SET_mqttMaxSessions];
	c->mqtt_max_subs = (uint32_t)s->n[SET_mqttMaxSubs];
	c->mqtt_max_queues = (uint32_t)s->n[SET_mqttMaxQueues];
	c->mqtt_max_retained = (uint32_t)s->n[SET_mqttMaxRetained];
	c->mqtt_session_ms = s->n[SET_mqttSessionTime];
	c->mqtt_max_keep_alive_s = (uint32_t)s->n[SET_mqttMaxKeepAlive];
	c->mqtt_topics = slice_str(s->text[SET_mqttTopics]);
}

static void configure(struct front_conf *c, const struct settings *s)
{
	c->version = SLICE_LIT(GANTRY_VERSION);
	c->cluster = slice_str(s->text[SET_brokerClusterName]);
	c->broker = slice_str(s->text[SET_brokerName]);
	c->broker_id = s->n[SET_brokerId];
	c->max_message = (uint32_t)s->n[SET_maxMessageSize];
	c->max_header = (uint32_t)s->n[SET_maxHeader];
	c->max_frame = (uint32_t)s->n[SET_maxFrame];
	c->max_requests = (uint32_t)s->n[SET_maxRequests];
	c->idle_ms = s->n[SET_serverChannelMaxIdleTimeSeconds] * 1000;
	c->max_wait_ms = s->n[SET_maxWait];
	c->lease_ms = s->n[SET_leaseTime];
	c->default_queues = (uint32_t)s->n[SET_defaultTopicQueueNums];
	c->auto_create_topic = s->n[SET_autoCreateTopicEnable] != 0;
	memcpy(c->delay_ms, s->delay_ms, sizeof(c->delay_ms));
	configure_gateways(c, s);
}

static void wake(void *loop) { loop_wake(loop); }

void plugs_init(struct plugs *pl, struct process *p)
{
	*pl = (struct plugs){.p = p};
	numbers_init(&pl->numbers);
	configure(&pl->conf, p->set);
	for (const struct front_row *r = front_rows; r->ops != NULL; r++) {
		if (r->enable != SET_COUNT && p->set->n[r->enable] == 0)
			continue;
		CHECK(pl->n < FRONTS_MAX);
		pl->v[pl->n++] = (struct plug){.row = r, .plugs = pl};
	}
}

/* ---- Ports ------------------------------------------------------------------------------------------------------------------------ */

static bool take_port(struct plug *g, const char *name, enum setting key)
{
	struct process *p = g->plugs->p;
	uint16_t port = (uint16_t)p->set->n[key];

	if (g->row->ops->stream != NULL) {
		if (!process_bind(p, name, port, &port))
			return false;
	} else {
		struct front_port *fp = &g->env.ports[g->env.n_ports];
		if (!process_bind_socket(p, name, port, &fp->fd, &port))
			return false;
		fp->name = name;
		fp->port = port;
		g->env.n_ports++;
	}
	p->set->n[key] = port;
	return true;
}

/* Pages that our own HTTP front serves are at home on the other fronts' ports too. */
static void own_origins(struct plugs *pl)
{
	const char *ip = pl->p->set->text[SET_bindAddress];
	const char *open = strchr(ip, ':') != NULL ? "[" : "", *close = *open != '\0' ? "]" : "";

	buf_slice(&pl->origins, pl->conf.origins);
	for (unsigned i = 0; i < pl->n && pl->conf.web_ui; i++)
		for (unsigned k = 0; k < pl->v[i].env.n_ports; k++) {
			const struct front_port *fp = &pl->v[i].env.ports[k];
			if (strcmp(fp->name, "http") == 0 || strcmp(fp->name, "https") == 0)
				buf_fmt(&pl->origins, ",%s://%s%s%s:%u,%s://localhost:%u", fp->name, open, ip, close, fp->port, fp->name, fp->port);
		}
	pl->conf.origins = buf_view(&pl->origins);
}

bool plugs_ports(struct plugs *pl)
{
	char why[WHY_MAX];

	if (pl->conf.tls_cert != NULL && cert_check(pl->conf.tls_cert, pl->conf.tls_key, why, sizeof(why)) != ST_OK) {
		fprintf(stderr, "gantry: https: %s\n", why);
		return false;
	}
	for (unsigned i = 0; i < pl->n; i++)
		for (unsigned k = 0; k < FRONT_PORTS_MAX && pl->v[i].row->ports[k].name != NULL; k++) {
			enum setting key = pl->v[i].row->ports[k].port;
			if (key == SET_httpsPort && pl->conf.tls_cert == NULL)
				continue;
			if (!take_port(&pl->v[i], pl->v[i].row->ports[k].name, key))
				return false;
		}
	own_origins(pl);
	return true;
}

/* ---- Lives -------------------------------------------------------------------------------------------------------------------------- */

static void describe(void *arg, struct buf *metrics)
{
	struct plugs *pl = arg;

	if (metrics == NULL)
		numbers_want(&pl->numbers);
	else
		numbers_get(&pl->numbers, metrics);
}

/* What the fronts count; those that have a thread of their own say it there. */
static void describe_all(struct plugs *pl)
{
	struct buf json = {0};

	for (unsigned i = 0; i < pl->n; i++) {
		const struct front_row *r = pl->v[i].row;
		if (!pl->v[i].running || r->ops->describe == NULL || r->own_thread)
			continue;
		buf_reset(&json);
		r->ops->describe(pl->v[i].state, &json);
		numbers_of_front(&pl->fresh, r->ops->name, buf_view(&json));
	}
	buf_fini(&json);
	numbers_put(&pl->numbers, &pl->fresh);
}

bool plugs_start(struct plugs *pl, struct engine *engine, struct front_gate *gate)
{
	struct stream_bound *s = pl->streams;

	/* A front may be asked to carry another one's protocol, also of one that starts later. */
	for (unsigned i = 0; i < pl->n; i++) {
		pl->v[i].state = mem_new(pl->v[i].row->ops->size);
		if (pl->v[i].row->ops->stream != NULL)
			*s++ = (struct stream_bound){.ops = pl->v[i].row->ops->stream, .front = pl->v[i].state};
	}
	for (unsigned i = 0; i < pl->n; i++) {
		struct plug *g = &pl->v[i];
		struct front_env *e = &g->env;
		e->engine = engine;
		e->clock = host_clock();
		e->log = &pl->p->log.base;
		e->conf = &pl->conf;
		e->gate = gate;
		e->loop = &pl->p->loop.uv;
		e->wake = wake;
		e->wake_arg = &pl->p->loop;
		e->random = host_random_bytes;
		e->describe = describe;
		e->describe_arg = pl;
		e->streams = pl->streams;
		g->started = true;
		enum status st = g->row->ops->start(g->state, e);
		if (st != ST_OK) {
			fprintf(stderr, "gantry: cannot start the %s front: %s\n", g->row->ops->name, status_text(st));
			return false;
		}
		g->running = true;
		pl->running++;
	}
	return true;
}

bool plugs_open(struct plugs *pl)
{
	for (unsigned i = 0; i < pl->n; i++) {
		struct plug *g = &pl->v[i];
		const struct front_ops *ops = g->row->ops;
		for (unsigned k = 0; k < g->env.n_ports; k++)
			if (!process_listen_socket(g->env.ports[k].name, g->env.ports[k].fd))
				return false;
		if (ops->open != NULL)
			ops->open(g->state);
		if (ops->stream != NULL && !process_listen(pl->p, ops->name, ops->stream, g->state))
			return false;
	}
	describe_all(pl);
	return true;
}

uint64_t plugs_turn(struct plugs *pl, uint64_t now_ns)
{
	uint64_t due = NEVER;

	for (unsigned i = 0; i < pl->n; i++)
		if (pl->v[i].running && pl->v[i].row->ops->turn != NULL)
			due = u64_min(due, pl->v[i].row->ops->turn(pl->v[i].state, now_ns));
	/* Behind the turns, in which other threads' requests are taken, and before the engine answers them. */
	if (numbers_wanted(&pl->numbers))
		describe_all(pl);
	return due;
}

uint64_t plugs_flush(struct plugs *pl, uint64_t now_ns)
{
	uint64_t due = NEVER;

	for (unsigned i = 0; i < pl->n; i++)
		if (pl->v[i].running && pl->v[i].row->ops->flush != NULL)
			due = u64_min(due, pl->v[i].row->ops->flush(pl->v[i].state, now_ns));
	return due;
}

static void stopped(void *arg)
{
	struct plug *g = arg;

	CHECK(g->running && g->plugs->running > 0);
	g->running = false;
	g->plugs->running--;
	loop_again(&g->plugs->p->loop);
}

/* One front may carry another one's connections: nobody stops before all have been told that nothing new comes. */
void plugs_stop(struct plugs *pl)
{
	for (unsigned i = 0; i < pl->n; i++)
		if (pl->v[i].running)
			pl->v[i].row->ops->drain(pl->v[i].state);
	for (unsigned i = 0; i < pl->n; i++)
		if (pl->v[i].running)
			pl->v[i].row->ops->stop(pl->v[i].state, stopped, &pl->v[i]);
}

void plugs_complain(const struct plugs *pl)
{
	for (unsigned i = 0; i < pl->n; i++)
		if (pl->v[i].running)
			log_error(&pl->p->log.base, "app", "front=%s does not stop", pl->v[i].row->ops->name);
}

void plugs_fini(struct plugs *pl)
{
	CHECK(pl->running == 0);
	for (unsigned i = 0; i < pl->n; i++) {
		for (unsigned k = 0; k < pl->v[i].env.n_ports && !pl->v[i].started; k++)
			close(pl->v[i].env.ports[k].fd);
		mem_free(pl->v[i].state);
	}
	buf_fini(&pl->origins);
	buf_fini(&pl->fresh);
	numbers_fini(&pl->numbers);
}
