/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The native front under arbitrary bytes. The first byte chooses: the rest is the byte stream of a connection as it stands, or a script of
 * requests (made from a dictionary of codes and fields, so that handlers are reached), engine turns, failures, notices and hang-ups. Whatever comes, each
 * frame that goes out must be well formed, no more requests may be under way than allowed, and nothing may be left at the end.
 */
#include <stdlib.h>

#include "base/be.h"
#include "base/mem.h"
#include "front/native/native.h"
#include "tests/lib/fake_engine.h"
#include "tests/lib/fake_stream.h"
#include "wire/codes.h"
#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int32_t codes[] = {
	REQ_SEND_MESSAGE, REQ_SEND_MESSAGE_V2, REQ_SEND_BATCH_MESSAGE, REQ_SEND_REPLY_MESSAGE, REQ_PULL_MESSAGE, REQ_LITE_PULL_MESSAGE,
	REQ_QUERY_MESSAGE, REQ_VIEW_MESSAGE_BY_ID, REQ_QUERY_CONSUMER_OFFSET, REQ_UPDATE_CONSUMER_OFFSET, REQ_SEARCH_OFFSET_BY_TIMESTAMP,
	REQ_GET_MAX_OFFSET, REQ_GET_MIN_OFFSET, REQ_GET_EARLIEST_MSG_STORETIME, REQ_HEART_BEAT, REQ_UNREGISTER_CLIENT, REQ_CHECK_CLIENT_CONFIG,
	REQ_GET_CONSUMER_LIST_BY_GROUP, REQ_LOCK_BATCH_MQ, REQ_UNLOCK_BATCH_MQ, REQ_CONSUMER_SEND_MSG_BACK, REQ_END_TRANSACTION,
	REQ_UPDATE_AND_CREATE_TOPIC, REQ_DELETE_TOPIC_IN_BROKER, REQ_GET_TOPIC_CONFIG, REQ_GET_ALL_TOPIC_CONFIG,
	REQ_GET_SYSTEM_TOPIC_LIST_FROM_BROKER, REQ_GET_BROKER_RUNTIME_INFO, REQ_UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
	REQ_GET_ALL_SUBSCRIPTIONGROUP_CONFIG, REQ_GET_SUBSCRIPTIONGROUP_CONFIG, REQ_DELETE_SUBSCRIPTIONGROUP, REQ_GET_TOPIC_STATS_INFO,
	REQ_GET_CONSUMER_CONNECTION_LIST, REQ_GET_PRODUCER_CONNECTION_LIST, REQ_GET_CONSUME_STATS, REQ_QUERY_TOPIC_CONSUME_BY_WHO,
	REQ_INVOKE_BROKER_TO_RESET_OFFSET, REQ_GET_CONSUMER_RUNNING_INFO, REQ_CONSUME_MESSAGE_DIRECTLY, REQ_GET_BROKER_CONFIG,
	REQ_GET_BROKER_CONSUME_STATS, REQ_QUERY_CONSUME_QUEUE, REQ_GET_ALL_PRODUCER_INFO, 9999, -1,
};
static const char *const fields[] = {
	"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "topic", "consumerGroup", "producerGroup", "group", "groupName",
	"queueId", "queueOffset", "maxMsgNums", "sysFlag", "commitOffset", "suspendTimeoutMillis", "subVersion", "subscription",
	"expressionType", "maxMsgBytes", "offset", "timestamp", "boundaryType", "setZeroIfNotFound", "clientID", "delayLevel", "originMsgId",
	"maxReconsumeTimes", "key", "maxNum", "beginTimestamp", "endTimestamp", "_UNIQUE_KEY_QUERY", "readQueueNums", "writeQueueNums", "perm",
	"defaultTopic", "defaultTopicQueueNums", "bornTimestamp", "flag", "properties", "isForce", "clientId", "msgId", "index", "count",
	"isOrder",
};
#define BEAT "{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[{\"topic\":\"T\",\"subString\":" \
	"\"*\",\"subVersion\":1}]}],\"producerDataSet\":[{\"groupName\":\"p\"}]}"
#define SHORT_BEAT "{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\"}],\"heartbeatFingerprint\":5,\"withoutSub\":true}"
#define LOCKS "{\"clientId\":\"c\",\"consumerGroup\":\"g\",\"mqSet\":[{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"T\"}]}"
#define CHECK_BODY "{\"clientId\":\"c\",\"group\":\"g\",\"subscriptionData\":{\"topic\":\"T\",\"expressionType\":\"SQL92\"}}"
static const char *const bodies[] = {"", "hi", BEAT, SHORT_BEAT, LOCKS, "{\"groupName\":\"g\"}", CHECK_BODY};

static uint64_t mono_ns(struct clock *c)
{
	static uint64_t now = SEC_NS;

	(void)c;
	return now += MS_NS;
}

static int64_t wall_ms(struct clock *c)
{
	(void)c;
	return 1700000000000;
}

static void quiet_line(struct log *l, enum log_level level, const char *area, const char *line)
{
	(void)l;
	(void)level;
	(void)area;
	(void)line;
}

static const struct clock_ops clock_ops = {mono_ns, wall_ms};
static const struct log_ops log_ops = {quiet_line};

struct bytes {
	const uint8_t *p;
	size_t n;
};

static unsigned take(struct bytes *b)
{
	if (b->n == 0)
		return 0;
	b->n--;
	return *b->p++;
}

static struct slice take_some(struct bytes *b, size_t max)
{
	size_t n = take(b) % (max + 1);
	struct slice s;

	if (n > b->n)
		n = b->n;
	s = slice_of(b->p, n);
	b->p += n;
	b->n -= n;
	return s;
}

static void put_request(struct bytes *b, struct buf *to)
{
	struct wire_out o;
	static const char *const values[] = {
		"7F00000100002A9F00000000000003E8", "0", "1", "T", "g", "-1", "7", "true", "TAG", "9223372036854775807", "2147483647", "p", "c",
	};
	unsigned how = take(b), n = take(b) % 16;
	int32_t code = codes[take(b) % ARRAY_LEN(codes)], opaque = (int32_t)(take(b) % 4);
	int32_t flag = how >> 3 == 31 ? WIRE_FLAG_RESPONSE : how & 2 ? WIRE_FLAG_ONEWAY : 0;
	struct slice body;

	wire_begin(&o, to, how & 1 ? WIRE_BINARY : WIRE_JSON, code, opaque, flag);
	for (unsigned i = 0; i < n; i++) {
		const char *name = fields[take(b) % ARRAY_LEN(fields)];
		unsigned v = take(b);

		wire_put(&o, name, v < ARRAY_LEN(values) * 16 ? slice_str(values[v / 16]) : take_some(b, 40));
	}
	if (how & 4)
		body = take_some(b, 200);
	else
		body = slice_str(bodies[take(b) % ARRAY_LEN(bodies)]);
	wire_finish(&o, body.n);
	buf_slice(to, body);
}

/* Everything that came out must be frames. */
static void check_out(struct fake_stream *s)
{
	static const struct wire_limits limits = {1u << 30, 1u << 24, WIRE_EXT_MAX};
	struct buf unescaped = {0};
	struct slice rest = buf_view(&s->out);
	static struct wire_cmd cmd;

	while (rest.n > 0) {
		const char *why;
		size_t used = 0;

		if (wire_decode(rest, &limits, &unescaped, &cmd, &used, &why) != WIRE_GOT)
			abort();
		if (!wire_is_response(&cmd) && cmd.code != REQ_NOTIFY_CONSUMER_IDS_CHANGED && cmd.code != REQ_RESET_CONSUMER_CLIENT_OFFSET &&
		    cmd.code != REQ_GET_CONSUMER_RUNNING_INFO && cmd.code != REQ_CONSUME_MESSAGE_DIRECTLY)
			abort();
		rest = slice_skip(rest, used);
	}
	buf_reset(&s->out);
	buf_fini(&unescaped);
}

static void on_stopped(void *arg)
{
	*(int *)arg += 1;
}

static void script(struct bytes *b, struct fake_engine *e, struct fake_stream *s, void *front)
{
	struct buf request = {0};

	while (b->n > 0 && !s->closed) {
		switch (take(b) % 12) {
		case 0: fake_engine_turn(e); break;
		case 1: fake_engine_wake(e, (enum status)(take(b) % ST_COUNT)); break;
		case 2: fake_engine_changed(e, "g"); break;
		case 3: fake_engine_lose(e, take(b) & 1 ? "g" : "p"); break;
		case 4: {
			unsigned verb = take(b) % ENGINE_VERB_COUNT;
			e->next[verb] = (enum status)(take(b) % ST_COUNT);
			break;
		}
		case 5: e->hold_pulls = take(b) & 1; break;
		case 6:
			s->room = take(b) & 1 ? 0 : 1000;
			if (s->room > 0 && !s->close_asked)
				s->ops->drained(s->conn);
			break;
		case 7:
			if (!s->close_asked)
				s->ops->turn(s->conn, mono_ns(NULL));
			break;
		case 8:
			if (take(b) == 77)
				front_native.drain(front);
			break;
		default:
			buf_reset(&request);
			put_request(b, &request);
			fake_stream_feed(s, buf_view(&request));
			break;
		}
		fake_stream_step(s);
		if (take(b) == 99 && !s->closed)
			fake_stream_hangup(s, ST_OK);
		check_out(s);
	}
	buf_fini(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fake_engine e;
	struct clock clock = {&clock_ops};
	struct log log = {&log_ops, LOG_ERROR};
	struct front_conf conf = {
		.cluster = SLICE_LIT("c"), .broker = SLICE_LIT("b"), .advertised_ip = 0x7f000001, .advertised_port = 10911, .max_message = 4096,
		.max_header = 65536, .max_frame = 1u << 20, .max_requests = 8, .idle_ms = 120000, .max_wait_ms = 30000,
	};
	struct front_env env = {.engine = &e.base, .clock = &clock, .log = &log, .conf = &conf};
	struct piece pieces[] = {{SLICE_LIT("record"), NULL}, {SLICE_LIT("another"), NULL}};
	struct topic_info topics[] = {{.name = SLICE_LIT("T"), .system = true}};
	struct group_info groups[] = {{.name = SLICE_LIT("g")}};
	struct offset_info offsets[] = {{.topic = SLICE_LIT("T"), .offset = 4, .max = 9}};
	struct subscription subs[] = {{SLICE_LIT("T"), SLICE_LIT("a || b"), 3}};
	struct fake_stream s;
	struct bytes b = {data, size};
	void *front = mem_new(front_native.size);
	int stopped = 0;

	fake_engine_init(&e);
	e.quiet = true;
	e.pieces = pieces;
	e.n_pieces = 2;
	e.topics = topics;
	e.n_topics = 1;
	e.groups = groups;
	e.n_groups = 1;
	e.offsets = offsets;
	e.n_offsets = 1;
	e.subs = subs;
	e.n_subs = 1;
	e.max = 9;
	front_native.start(front, &env);
	fake_stream_open(&s, front_native.stream, front, "peer");
	if (take(&b) & 1)
		script(&b, &e, &s, front);
	else
		fake_stream_feed(&s, slice_of(b.p, b.n));
	if (!s.closed) {
		fake_engine_turn(&e);
		fake_stream_step(&s);
		check_out(&s);
	}
	fake_stream_fini(&s);
	front_native.stop(front, on_stopped, &stopped);
	fake_engine_run(&e);
	if (stopped != 1 || e.n_members != 0)
		abort();
	fake_engine_fini(&e);
	mem_free(front);
	return 0;
}
