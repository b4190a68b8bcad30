/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A load generator that runs identically against Gantry, Apache RocketMQ, Redis and a bare echo loop. One run, one line of
 * key=value; README.md tells what the keys mean. Exit status 0: a valid run, 1: finished but invalid, 2: broken off.
 */
#include "tests/bench/send.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

struct options opt = {
	.label = "server", .topic = "bench", .conns = 1, .window = 1, .queues = 8, .body = 128, .wait = true, .seconds = 5, .warmup = 1,
	.max_msgs = 32, .max_bytes = 262144, .loops = 1, .request_bytes = 480, .reply_bytes = 200,
};

enum kind { TEXT, INT, REAL, COUNT, YES, NO };
static const struct {
	const char *name;
	enum kind kind;
	void *at;
	const char *help;
} table[] = {
	{ "server", TEXT, &opt.label, "name to print" },
	{ "port", INT, &opt.port, "the broker's port on loopback" },
	{ "namesrv", INT, &opt.namesrv_port, "ask the name server on this port for the broker instead" },
	{ "topic", TEXT, &opt.topic, "made anew by the sending modes; must be empty" },
	{ "conns", INT, &opt.conns, "connections" },
	{ "window", INT, &opt.window, "requests in flight per connection" },
	{ "queues", INT, &opt.queues, "queues of the topic" },
	{ "body", INT, &opt.body, "bytes of body" },
	{ "batch", INT, &opt.batch, "messages per request (code 320)" },
	{ "binary", YES, &opt.binary, "ROCKETMQ headers instead of JSON" },
	{ "no-wait", NO, &opt.wait, "send with WAIT=false" },
	{ "spin", YES, &opt.spin, "the client polls without sleeping" },
	{ "rate", REAL, &opt.rate, "open loop: messages per second on a fixed schedule" },
	{ "deliver", YES, &opt.deliver, "with --rate: also consume, and time the delivery" },
	{ "warmup", REAL, &opt.warmup, "seconds before measuring" },
	{ "seconds", REAL, &opt.seconds, "seconds of measuring (boot, idle: of being idle)" },
	{ "count", COUNT, &opt.count, "send so many messages, instead of for a time" },
	{ "max-msgs", INT, &opt.max_msgs, "pull: messages per pull" },
	{ "max-bytes", INT, &opt.max_bytes, "pull: bytes per pull" },
	{ "loops", INT, &opt.loops, "pull: how often to read everything" },
	{ "topics", INT, &opt.topics, "topics: how many" },
	{ "server-pid", INT, &opt.server_pid, "the server's process, for its CPU time" },
	{ "verify-port", INT, &opt.verify_port, "mqtt: the broker's native port, where what it has stored is asked for; 0: not" },
	{ "request-bytes", INT, &opt.request_bytes, "echo: size of a request" },
	{ "expect", COUNT, &opt.expect, "boot: the offset that queue 0 must have" },
};
enum { OPTIONS = sizeof table / sizeof table[0] };

static const struct codec *codec_now;
static void send_with_codec(void) { mode_send(codec_now); }

static const struct {
	const char *name;
	void (*run)(void);
	const struct codec *codec;
	const char *help;
} modes[] = {
	{ "send", send_with_codec, &codec_remoting, "send messages (310, or 320 with --batch)" },
	{ "redis", send_with_codec, &codec_redis, "XADD to a Redis stream" },
	{ "echo", send_with_codec, &codec_echo, "requests to bare echo" },
	{ "mqtt", send_with_codec, &codec_mqtt, "publish MQTT messages of QoS 1" },
	{ "mqtt-fan", mode_mqtt_fan, NULL, "publish MQTT messages of QoS 0 to many subscribers (--conns)" },
	{ "mqtt-idle", mode_mqtt_idle, NULL, "open MQTT connections and be quiet (--topics 1: with a subscription each)" },
	{ "pull", mode_pull, NULL, "read a topic from its beginning" },
	{ "topics", mode_topics, NULL, "create many topics, and time the first message of each" },
	{ "idle", mode_idle, NULL, "open connections and be quiet" },
	{ "fan", mode_fan, NULL, "one WebSocket publisher, --conns subscribers" },
	{ "fan-bare", mode_fan, NULL, "the same with bare fan" },
	{ "fan-idle", mode_fan_idle, NULL, "open --conns WebSockets and be quiet" },
	{ "boot", mode_boot, NULL, "start the command behind -- and time its first answer" },
};
enum { MODES = sizeof modes / sizeof modes[0] };

void verdict(const char *why)
{
	printf(" valid=%d why=%s\n", why == NULL, why != NULL ? why : "-");
	fflush(stdout);
	exit(why == NULL ? 0 : 1);
}

static void usage(void)
{
	fprintf(stderr, "usage: load MODE [options] [-- command]\n");
	for (int i = 0; i < MODES; i++)
		fprintf(stderr, "  %-16s %s\n", modes[i].name, modes[i].help);
	for (int i = 0; i < OPTIONS; i++)
		fprintf(stderr, "  --%-14s %s\n", table[i].name, table[i].help);
	exit(2);
}

static void set_option(int i, const char *value)
{
	char *end = "";
	switch (table[i].kind) {
	case TEXT: *(const char **)table[i].at = value; break;
	case INT: *(int *)table[i].at = (int)strtol(value, &end, 10); break;
	case REAL: *(double *)table[i].at = strtod(value, &end); break;
	case COUNT: *(uint64_t *)table[i].at = strtoull(value, &end, 10); break;
	case YES: *(bool *)table[i].at = true; break;
	case NO: *(bool *)table[i].at = false; break;
	}
	if (*end != 0)
		fatal("--%s %s is no number", table[i].name, value);
}

int main(int argc, char **argv)
{
	struct option longs[OPTIONS + 1] = { 0 };
	int which;
	if (argc < 2)
		usage();
	for (int i = 0; i < OPTIONS; i++)
		longs[i] = (struct option){ table[i].name, table[i].kind != YES && table[i].kind != NO, NULL, i };
	opt.mode = argv[1];
	while ((which = getopt_long(argc - 1, argv + 1, "+", longs, NULL)) >= 0) {
		if (which >= OPTIONS)
			usage();
		set_option(which, optarg);
	}
	if (optind + 1 < argc)
		opt.command = argv + optind + 1;
	prctl(PR_SET_TIMERSLACK, 1UL); /* an open-loop schedule needs timers that are on time */
	if (opt.namesrv_port > 0)
		opt.port = rm_find_broker(opt.namesrv_port);
	if (opt.port <= 0)
		fatal("--port or --namesrv is missing");
	for (int i = 0; i < MODES; i++) {
		if (strcmp(modes[i].name, opt.mode) != 0)
			continue;
		codec_now = modes[i].codec;
		modes[i].run();
		return 0;
	}
	usage();
}
