/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * `gantry start`: the broker's process. Everything is put together here, and only here.
 *
 * Start: take the ports, open the store (which blocks), start the fronts, ask for the topics, tell the name servers, accept, say "ready".
 * A port that is taken is found out before the store is touched.
 *
 * Stop, each step when the one before is done:
 *   STOP_FRONTS   nothing new is accepted; fronts settle what is under way and close, threads of theirs end; the broker leaves the name servers
 *   STOP_ENGINE   the rest of the connections hang up; the log is synced, a snapshot written
 *   STOP_DONE     the loop ends
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/gate.h"
#include "app/plugs.h"
#include "base/mem.h"
#include "base/obj.h"
#include "namesrv/registrar.h"
#include "os/disk.h"
#include "os/file.h"

enum { ADDR_MAX = 32, FAST_PORT_BELOW = 2 };
/* Who does not stop by then is left behind: nothing that was acknowledged depends on an orderly stop. */
#define STOP_MAX_NS (20 * SEC_NS)
enum stage { RUNNING, STOP_FRONTS, STOP_ENGINE, STOP_DONE };

struct broker {
	struct process p;
	enum stage stage;
	struct disk *disk;
	struct prng prng;
	struct engine *engine;       /* NULL: not open yet, or closed */
	struct plugs plugs;
	struct buf settings;         /* what plugs.conf.settings views */
	uint64_t stop_due_ns;        /* from STOP_FRONTS on */
	struct namesrv *ns;          /* NULL: off */
	struct dial *dial;
	struct registrar *registrar; /* NULL: before the topics are known, and after it closed */
	struct gate gate;
	struct engine_watch watch;
	struct engine_topics topics; /* the first question: which are there */
	char addr[ADDR_MAX];         /* "ip:port" that clients use */
	uint16_t port, ns_port;
	bool failed;
};

static struct actor self = {.front = "app", .identity = {NULL, 0}, .address = {NULL, 0}};

/* ---- Topics to the name servers ---------------------------------------------------------------------------------------------- */

static void tell_topic(struct broker *b, const struct topic_info *t, bool dropped)
{
	struct wire_topic w = {.name = t->name, .read_queues = t->conf.read_queues, .write_queues = t->conf.write_queues,
			       .perm = t->conf.perm, .sys_flag = t->conf.sys_flag, .order = t->conf.order};

	if (b->ns != NULL && dropped)
		namesrv_local_topic_drop(b->ns, t->name);
	else if (b->ns != NULL)
		namesrv_local_topic(b->ns, &w);
	if (b->registrar != NULL && dropped)
		registrar_topic_drop(b->registrar, t->name);
	else if (b->registrar != NULL)
		registrar_topic(b->registrar, &w);
}

static void topic_changed(struct engine_watch *w, const struct topic_info *t, bool dropped)
{
	struct broker *b = container_of(w, struct broker, watch);

	/* A broker that stops has left the name servers: they want no more topics of it. */
	if (b->stage != RUNNING)
		return;
	tell_topic(b, t, dropped);
	if (!dropped && b->registrar != NULL && registrar_known(b->registrar) < registrar_said(b->registrar))
		gate_topic(&b->gate, t->name, registrar_said(b->registrar));
}

static bool open_registrar(struct broker *b)
{
	struct settings *s = b->p.set;
	struct registrar_env env = {.clock = host_clock(), .log = &b->p.log.base, .dial = b->dial};
	struct registrar_conf c;
	char why[WHY_MAX];

	registrar_conf_default(&c);
	c.servers = slice_str(s->text[SET_namesrvAddr]);
	c.cluster = b->plugs.conf.cluster;
	c.broker = b->plugs.conf.broker;
	c.broker_id = (int64_t)b->plugs.conf.broker_id;
	c.addr = c.ha_addr = slice_str(b->addr);
	c.every_ms = (uint32_t)s->n[SET_registerNameServerPeriod];
	c.timeout_ms = (uint32_t)s->n[SET_registerBrokerTimeoutMills];
	if (registrar_open(&b->registrar, &env, &c, why, sizeof(why)) == ST_OK)
		return true;
	fprintf(stderr, "gantry: namesrvAddr: %s\n", why);
	return false;
}

/* The topics are known: the last step of the start. */
static void topics_known(struct engine_ask *a, enum status st)
{
	struct broker *b = container_of(container_of(a, struct engine_topics, ask), struct broker, topics);

	/* A signal may come while the store is opened: then the listeners are gone before the answer is here. */
	if (st == ST_CLOSED || b->stage != RUNNING)
		return;
	CHECK(st == ST_OK);
	if (!open_registrar(b)) {
		b->failed = true;
		b->p.stopping = true;
		b->p.stop(&b->p);
		return;
	}
	if (b->ns != NULL)
		namesrv_local_broker(b->ns, b->plugs.conf.cluster, b->plugs.conf.broker, (int64_t)b->plugs.conf.broker_id,
				     slice_str(b->addr));
	for (size_t i = 0; i < b->topics.count; i++)
		tell_topic(b, &b->topics.v[i], false);
	if (plugs_open(&b->plugs) && (b->ns == NULL || process_listen(&b->p, "namesrv", &namesrv_stream, b->ns))) {
		process_ready(&b->p);
		return;
	}
	b->failed = true;
	b->p.stopping = true;
	b->p.stop(&b->p);
}

/* ---- Stopping -------------------------------------------------------------------------------------------------------------------- */

static void registrar_gone(void *arg)
{
	struct broker *b = arg;

	b->registrar = NULL;
	loop_again(&b->p.loop);
}

static void engine_gone(void *arg)
{
	struct broker *b = arg;

	b->engine = NULL;
	b->stage = STOP_DONE;
	loop_again(&b->p.loop);
}

static void broker_stop(struct process *p)
{
	struct broker *b = container_of(p, struct broker, p);

	CHECK(b->stage == RUNNING);
	b->stage = STOP_FRONTS;
	tcp_unlisten(p->tcp);
	if (b->ns != NULL)
		namesrv_local_gone(b->ns);
	if (b->registrar != NULL)
		registrar_close(b->registrar, registrar_gone, b);
	b->stop_due_ns = clock_mono_ns(host_clock()) + STOP_MAX_NS;
	plugs_stop(&b->plugs);
}

/* Goes on with stopping when the last step is done. */
static void next_stage(struct broker *b, uint64_t now_ns)
{
	if (b->stage == STOP_FRONTS && b->plugs.running == 0 && b->registrar == NULL) {
		b->stage = STOP_ENGINE;
		engine_watch_drop(b->engine, &b->watch);
		tcp_hang_up(b->p.tcp);
		engine_close(b->engine, engine_gone, b);
		loop_again(&b->p.loop);
	}
	if (b->stage == STOP_FRONTS && now_ns >= b->stop_due_ns) {
		plugs_complain(&b->plugs);
		_exit(EXIT_FAILURE);
	}
	if (b->stage == STOP_DONE)
		loop_stop(&b->p.loop);
}

static uint64_t broker_turn(void *arg, uint64_t now_ns)
{
	struct broker *b = arg;
	uint64_t due;

	if (b->engine == NULL)
		return b->stage == STOP_DONE ? 0 : NEVER;
	tcp_turn(b->p.tcp, now_ns);
	due = plugs_turn(&b->plugs, now_ns);
	due = u64_min(due, engine_turn(b->engine));
	if (b->ns != NULL)
		due = u64_min(due, namesrv_turn(b->ns));
	if (b->registrar != NULL)
		due = u64_min(due, registrar_turn(b->registrar));
	due = u64_min(due, gate_turn(&b->gate, b->registrar != NULL ? registrar_known(b->registrar) : UINT64_MAX));
	due = u64_min(due, plugs_flush(&b->plugs, now_ns));
	due = u64_min(due, tcp_flush(b->p.tcp, now_ns));
	if (b->stage != RUNNING)
		next_stage(b, now_ns);
	return b->stage == STOP_FRONTS ? u64_min(due, b->stop_due_ns) : due;
}

/* ---- Starting -------------------------------------------------------------------------------------------------------------------- */

static bool take_ports(struct broker *b)
{
	struct settings *s = b->p.set;
	uint16_t want = (uint16_t)s->n[SET_listenPort];

	if (!process_bind(&b->p, "native", want, &b->port))
		return false;
	if (want != 0 && !process_bind(&b->p, "native", (uint16_t)(want - FAST_PORT_BELOW), NULL))
		return false;
	if (s->n[SET_namesrvEnable] != 0 && !process_bind(&b->p, "namesrv", (uint16_t)s->n[SET_namesrvPort], &b->ns_port))
		return false;
	return plugs_ports(&b->plugs);
}

/* The address that clients are told to use. */
static bool choose_address(struct broker *b)
{
	struct settings *s = b->p.set;
	const char *ip1 = s->text[SET_brokerIP1], *bound = s->text[SET_bindAddress];
	struct in_addr a;
	uint32_t ip = 0;
	char text[INET_ADDRSTRLEN];

	if (ip1[0] != '\0')
		ip = inet_pton(AF_INET, ip1, &a) == 1 ? ntohl(a.s_addr) : 0;
	else if (settings_any_address(bound))
		ip = host_ipv4();
	else if (inet_pton(AF_INET, bound, &a) == 1)
		ip = ntohl(a.s_addr);
	if (ip == 0) {
		process_complain("no IPv4 address to tell clients: set brokerIP1");
		return false;
	}
	a.s_addr = htonl(ip);
	inet_ntop(AF_INET, &a, text, sizeof(text));
	snprintf(b->addr, sizeof(b->addr), "%s:%u", text, b->port);
	b->plugs.conf.advertised_ip = ip;
	b->plugs.conf.advertised_port = b->port;
	return true;
}

/* What tools are shown: the settings, and the address and port that they became. */
static void describe_settings(struct broker *b)
{
	static const enum setting known_better[] = {SET_brokerIP1, SET_listenPort};
	const char *colon = strchr(b->addr, ':');

	settings_text(b->p.set, &b->settings, known_better, ARRAY_LEN(known_better));
	buf_fmt(&b->settings, "brokerIP1=%.*s\nlistenPort=%u\n", (int)(colon - b->addr), b->addr, b->port);
	b->plugs.conf.settings = buf_view(&b->settings);
}

static void configure_engine(struct broker *b, struct engine_conf *c)
{
	struct settings *s = b->p.set;

	engine_conf_default(c);
	c->cluster = b->plugs.conf.cluster;
	c->broker = b->plugs.conf.broker;
	c->store_ip = b->plugs.conf.advertised_ip;
	c->store_port = b->plugs.conf.advertised_port;
	c->segment_bytes = s->n[SET_mappedFileSizeCommitLog];
	c->flush = (enum flush_mode)s->n[SET_flushDiskType];
	c->flush_async_ms = (uint32_t)s->n[SET_flushIntervalCommitLog];
	c->max_message = (uint32_t)s->n[SET_maxMessageSize];
	c->ahead_bytes = s->n[SET_aheadBytes];
	c->unsynced_bytes = s->n[SET_unsyncedBytes];
	c->snapshot_bytes = s->n[SET_snapshotBytes];
	c->cache_bytes = s->n[SET_cacheBytes];
	c->block_bytes = (uint32_t)s->n[SET_blockBytes];
	c->offset_sync_ms = (uint32_t)s->n[SET_offsetSyncMs];
	c->auto_create_topic = s->n[SET_autoCreateTopicEnable] != 0;
	c->auto_create_group = s->n[SET_autoCreateSubscriptionGroup] != 0;
	c->default_queues = (uint32_t)s->n[SET_defaultTopicQueueNums];
	c->reserved_ms = s->n[SET_fileReservedTime] * 3600 * 1000;
	c->retain_bytes = s->n[SET_retainBytes];
	c->disk_reserve_bytes = s->text[SET_diskReserve][0] != '\0' ? s->n[SET_diskReserve] : c->segment_bytes;
	c->keep_unconsumed = s->n[SET_keepUnconsumed] != 0;
	c->member_expire_ms = (uint32_t)s->n[SET_channelExpiredTimeout];
	c->lock_expire_ms = (uint32_t)s->n[SET_lockTime];
	c->lease_ms = (uint32_t)s->n[SET_leaseTime];
	c->young_bytes = s->n[SET_youngBytes];
	c->max_waiting = (uint32_t)s->n[SET_maxWaiting];
	c->max_topics = (uint32_t)s->n[SET_maxTopics];
	c->max_groups = (uint32_t)s->n[SET_maxGroups];
	c->max_cells = (uint32_t)s->n[SET_maxCells];
	c->max_cell_bytes = s->n[SET_maxCellBytes];
	c->feed_linger_ms = (uint32_t)s->n[SET_feedLinger];
	memcpy(c->delay_ms, s->delay_ms, sizeof(c->delay_ms));
}

static bool open_store(struct broker *b)
{
	struct engine_env env = {.clock = host_clock(), .prng = &b->prng, .log = &b->p.log.base};
	const char *root = b->p.set->text[SET_storePathRootDir];
	struct engine_conf conf;
	char why[WHY_MAX] = "";
	enum status st;

	if (disk_posix_open(&b->disk, &b->p.loop.uv, host_clock(), &b->p.log.base, root, why, sizeof(why)) != ST_OK) {
		process_complain(why);
		return false;
	}
	prng_init(&b->prng, host_random());
	env.disk = b->disk;
	configure_engine(b, &conf);
	st = engine_open(&b->engine, &env, &conf, why, sizeof(why));
	if (st == ST_OK)
		return true;
	fprintf(stderr, "gantry: cannot open the store in %s: %s (%s)\n", root, why[0] != '\0' ? why : status_text(st), status_name(st));
	return false;
}

static bool start(struct broker *b)
{
	if (!take_ports(b) || !choose_address(b))
		return false;
	describe_settings(b);
	if (!open_store(b))
		return false;
	b->dial = dial_tcp_open(b->p.tcp, &b->p.loop.uv);
	if (b->p.set->n[SET_namesrvEnable] != 0 && (b->ns = process_namesrv(&b->p, b->ns_port)) == NULL)
		return false;
	b->watch.topic = topic_changed;
	engine_watch_add(b->engine, &b->watch);
	if (!plugs_start(&b->plugs, b->engine, &b->gate.base)) {
		/* Those that have started may have threads: they are stopped like everybody else. */
		b->failed = b->p.stopping = true;
		broker_stop(&b->p);
		return true;
	}
	b->topics.ask.done = topics_known;
	b->topics.actor = &self;
	engine_topic_list(b->engine, &b->topics);
	return true;
}

int broker_run(struct settings *set, uint64_t began_ns)
{
	struct broker *b = mem_new(sizeof(*b));
	bool fine;

	process_init(&b->p, set, broker_turn, b);
	b->p.began_ns = began_ns;
	gate_init(&b->gate, host_clock());
	plugs_init(&b->plugs, &b->p);
	b->p.stop = broker_stop;
	fine = start(b);
	if (fine)
		loop_run(&b->p.loop);
	/* A start that failed half way: as after a crash, nothing is written any more. */
	if (b->engine != NULL)
		engine_abandon(b->engine);
	b->engine = NULL;
	if (b->dial != NULL)
		dial_tcp_close(b->dial);
	tcp_close(b->p.tcp);
	gate_fini(&b->gate);
	if (b->ns != NULL)
		namesrv_close(b->ns);
	if (b->disk != NULL)
		disk_posix_close(b->disk);
	process_fini(&b->p);
	plugs_fini(&b->plugs);
	buf_fini(&b->settings);
	fine = fine && !b->failed;
	if (fine)
		log_info(&b->p.log.base, "app", "event=stopped");
	mem_free(b);
	return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}
