/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The WebSocket front as the process sees it. */
#include "front/websocket/websocket.h"
#include "front/websocket/ws.h"

static enum status start(void *front, const struct front_env *env)
{
	struct ws *w = front;

	CHECK(env->engine != NULL && env->clock != NULL && env->log != NULL && env->conf != NULL);
	if (env->conf->ws_max_conns == 0 || env->conf->ws_max_message == 0 || env->conf->ws_max_subs == 0 || env->conf->ws_max_credit == 0) {
		log_error(env->log, "websocket", "no limit of connections, messages, subscriptions and credit may be 0");
		return ST_BAD_ARG;
	}
	w->magic = WS_MAGIC;
	w->env = *env;
	return ST_OK;
}

static void open(void *front)
{
	struct ws *w = front;

	CHECK_OBJ(w, WS_MAGIC);
}

static void drain(void *front)
{
	struct ws *w = front;

	CHECK_OBJ(w, WS_MAGIC);
	w->draining = true;
}

static void stop(void *front, void (*stopped)(void *), void *arg)
{
	drain(front);
	stopped(arg);
}

static void describe(void *front, struct buf *json)
{
	struct ws *w = front;

	CHECK_OBJ(w, WS_MAGIC);
	buf_str(json, "{}");
}

const struct front_ops front_websocket = {
	.name = "websocket",
	.size = sizeof(struct ws),
	.start = start,
	.open = open,
	.drain = drain,
	.stop = stop,
	.describe = describe,
};
