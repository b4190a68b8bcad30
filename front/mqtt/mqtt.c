/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The MQTT front as the process sees it. */
#include "front/mqtt/mqtt.h"

#include "base/obj.h"

#define MQTT_MAGIC 0x4d515454u

struct mqtt {
	uint32_t magic;
};

static enum status start(void *front, const struct front_env *env)
{
	struct mqtt *f = front;

	CHECK(env->engine != NULL && env->clock != NULL && env->log != NULL && env->conf != NULL);
	f->magic = MQTT_MAGIC;
	return ST_OK;
}

static void drain(void *front)
{
	CHECK_OBJ((struct mqtt *)front, MQTT_MAGIC);
}

static void stop(void *front, void (*stopped)(void *), void *arg)
{
	CHECK_OBJ((struct mqtt *)front, MQTT_MAGIC);
	stopped(arg);
}

static void describe(void *front, struct buf *json)
{
	CHECK_OBJ((struct mqtt *)front, MQTT_MAGIC);
	buf_str(json, "{}");
}

static void opened(void *conn, void *front, struct stream *out, const struct stream_info *info)
{
	(void)conn, (void)front, (void)info;
	stream_close(out, 0, "not served yet");
}

static ptrdiff_t input(void *conn, struct slice bytes)
{
	(void)conn, (void)bytes;
	return 0;
}

static void closed(void *conn, enum status why)
{
	(void)conn, (void)why;
}

static const struct stream_ops stream = {.name = "mqtt", .conn_size = 8, .input_max = 1u << 20, .opened = opened, .input = input, .closed = closed};

const struct front_ops front_mqtt = {
	.name = "mqtt", .size = sizeof(struct mqtt), .start = start, .drain = drain, .stop = stop, .describe = describe, .stream = &stream,
};
