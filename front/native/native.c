/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The native front as the process sees it, and the table of what it serves. */
#include "front/native/native.h"
#include "front/native/nat.h"

const struct nat_verb nat_verbs[] = {
	{REQ_SEND_MESSAGE, nat_send},
	{REQ_SEND_MESSAGE_V2, nat_send},
	{REQ_SEND_BATCH_MESSAGE, nat_send},
	{REQ_SEND_REPLY_MESSAGE, nat_reply_send},
	{REQ_SEND_REPLY_MESSAGE_V2, nat_reply_send},
	{REQ_PULL_MESSAGE, nat_pull},
	{REQ_LITE_PULL_MESSAGE, nat_pull},
	{REQ_QUERY_MESSAGE, nat_query},
	{REQ_VIEW_MESSAGE_BY_ID, nat_view},
	{REQ_QUERY_CONSUMER_OFFSET, nat_offset_get},
	{REQ_UPDATE_CONSUMER_OFFSET, nat_offset_commit},
	{REQ_SEARCH_OFFSET_BY_TIMESTAMP, nat_offset_at_time},
	{REQ_GET_MAX_OFFSET, nat_offset_max},
	{REQ_GET_MIN_OFFSET, nat_offset_min},
	{REQ_GET_EARLIEST_MSG_STORETIME, nat_offset_earliest},
	{REQ_HEART_BEAT, nat_heartbeat},
	{REQ_UNREGISTER_CLIENT, nat_unregister},
	{REQ_CHECK_CLIENT_CONFIG, nat_check_config},
	{REQ_GET_CONSUMER_LIST_BY_GROUP, nat_consumer_ids},
	{REQ_LOCK_BATCH_MQ, nat_lock},
	{REQ_UNLOCK_BATCH_MQ, nat_unlock},
	{REQ_CONSUMER_SEND_MSG_BACK, nat_send_back},
	{REQ_END_TRANSACTION, nat_end_transaction},
	{REQ_UPDATE_AND_CREATE_TOPIC, nat_topic_put},
	{REQ_DELETE_TOPIC_IN_BROKER, nat_topic_drop},
	{REQ_GET_TOPIC_CONFIG, nat_topic_get},
	{REQ_GET_ALL_TOPIC_CONFIG, nat_topic_all},
	{REQ_GET_SYSTEM_TOPIC_LIST_FROM_BROKER, nat_topic_system},
	{REQ_GET_BROKER_RUNTIME_INFO, nat_runtime},
	{REQ_GET_BROKER_CONFIG, nat_broker_config},
	{REQ_INVOKE_BROKER_TO_RESET_OFFSET, nat_reset},
	{REQ_GET_CONSUMER_RUNNING_INFO, nat_running_info},
	{REQ_CONSUME_MESSAGE_DIRECTLY, nat_consume_directly},
	{REQ_UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, nat_group_put},
	{REQ_GET_ALL_SUBSCRIPTIONGROUP_CONFIG, nat_group_all},
	{REQ_GET_SUBSCRIPTIONGROUP_CONFIG, nat_group_get},
	{REQ_DELETE_SUBSCRIPTIONGROUP, nat_group_drop},
	{REQ_GET_TOPIC_STATS_INFO, nat_topic_stats},
	{REQ_GET_CONSUMER_CONNECTION_LIST, nat_consumers},
	{REQ_GET_PRODUCER_CONNECTION_LIST, nat_producers},
	{REQ_GET_CONSUME_STATS, nat_consume_stats},
	{REQ_QUERY_TOPIC_CONSUME_BY_WHO, nat_who_consumes},
	{REQ_GET_BROKER_CONSUME_STATS, nat_broker_consume_stats},
	{REQ_GET_ALL_PRODUCER_INFO, nat_all_producers},
	{REQ_QUERY_CONSUME_QUEUE, nat_queue_index},
};
const unsigned nat_n_verbs = ARRAY_LEN(nat_verbs);

static enum status start(void *front, const struct front_env *env)
{
	struct nat *f = front;

	CHECK(env->engine != NULL && env->clock != NULL && env->log != NULL && env->conf != NULL);
	if (env->conf->max_requests == 0 || env->conf->max_frame == 0 || env->conf->max_header == 0) {
		log_error(env->log, "native", "max_requests, max_frame and max_header must not be 0");
		return ST_BAD_ARG;
	}
	f->magic = NAT_MAGIC;
	f->engine = env->engine;
	f->clock = env->clock;
	f->log = env->log;
	f->conf = env->conf;
	f->gate = env->gate;
	f->limits = (struct wire_limits){(uint32_t)u64_min(env->conf->max_frame, NAT_FRAME_MAX), env->conf->max_header, WIRE_EXT_MAX};
	list_init(&f->peers);
	list_init(&f->idle);
	f->boot_ms = clock_wall_ms(f->clock);
	f->boot_ns = clock_mono_ns(f->clock);
	for (unsigned i = 0; i < nat_n_verbs; i++) {
		int32_t code = nat_verbs[i].code;

		CHECK(code >= 0 && (uint32_t)code < NAT_CODES && f->by_code[code] == NULL);
		f->by_code[code] = &nat_verbs[i];
	}
	return ST_OK;
}

static void drain(void *front)
{
	struct nat *f = front;
	CHECK_OBJ(f, NAT_MAGIC);

	f->draining = true;
	LIST_EACH(&f->peers, pn) {
		struct nat_peer *p = container_of(pn, struct nat_peer, link);

		nat_relays_end(p, NEVER);
		LIST_EACH(&p->calls, cn) {
			struct nat_call *c = container_of(cn, struct nat_call, link);
			if (c->waits)
				engine_cancel(f->engine, &c->u.ask);
		}
	}
}

static void release_scratch(struct nat *f)
{
	struct list *n;

	while ((n = list_pop(&f->idle)) != NULL)
		mem_free(container_of(n, struct nat_call, link));
	f->n_idle = 0;
	buf_fini(&f->unescaped);
	buf_fini(&f->out);
	buf_fini(&f->body);
	mem_free(f->pieces);
	f->pieces = NULL;
	f->cap_pieces = 0;
}

static void stop(void *front, void (*stopped)(void *), void *arg)
{
	struct nat *f = front;
	CHECK_OBJ(f, NAT_MAGIC);
	CHECK(stopped != NULL && f->stopped == NULL);

	drain(f);
	f->stopped = stopped;
	f->stopped_arg = arg;
	/* Connections with work under way are closed once it is answered (conn.c: nat_peer_flow). */
	LIST_EACH(&f->peers, n)
		nat_peer_flow(container_of(n, struct nat_peer, link));
	nat_settle(f);
}

void nat_settle(struct nat *f)
{
	CHECK_OBJ(f, NAT_MAGIC);
	if (f->stopped == NULL || f->n_peers > 0 || f->rates.asking)
		return;
	void (*stopped)(void *) = f->stopped;

	f->stopped = NULL;
	release_scratch(f);
	stopped(f->stopped_arg);
}

static void put_number(struct buf *json, const char *name, uint64_t v)
{
	buf_str(json, ",\"");
	buf_str(json, name);
	buf_str(json, "\":");
	buf_u64_dec(json, v);
}

static void describe(void *front, struct buf *json)
{
	struct nat *f = front;
	CHECK_OBJ(f, NAT_MAGIC);
	uint64_t open = 0, busy = 0, waits = 0, paused = 0;

	LIST_EACH(&f->peers, n) {
		struct nat_peer *p = container_of(n, struct nat_peer, link);

		open++;
		busy += p->busy;
		waits += p->waits;
		paused += p->paused;
	}
	buf_str(json, "{\"connections\":");
	buf_u64_dec(json, open);
	put_number(json, "pausedConnections", paused);
	put_number(json, "requestsUnderWay", busy);
	put_number(json, "waitingPulls", waits);
	put_number(json, "requests", f->n.requests);
	put_number(json, "oneways", f->n.oneways);
	put_number(json, "answers", f->n.answers);
	put_number(json, "unknownRequests", f->n.unknown);
	put_number(json, "malformedFrames", f->n.malformed);
	put_number(json, "pullsFound", f->n.pulls_found);
	put_number(json, "pullsMissed", f->n.pulls_missed);
	put_number(json, "notices", f->n.notices);
	put_number(json, "idleClosed", f->n.idle_closed);
	buf_str(json, "}");
}

const struct front_ops front_native = {
	.name = "native",
	.size = sizeof(struct nat),
	.start = start,
	.drain = drain,
	.stop = stop,
	.describe = describe,
	.stream = &nat_stream,
};
