/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Messages of the gateway fronts: what goes into a stored record's properties, and what is read out of them again. docs/mapping.md is its table.
 */
#include "front/message.h"

#include <stdio.h>
#include <zlib.h>

#include "base/props.h"
#include "front/front.h"

#define BASE64_MARK "base64:"
#define DEFAULT_TOPIC "TBW102" /* the engine's template of topics that are made by sending */
#define ZLIB_TYPE_MASK 0x700   /* sysFlag: how a body is compressed; 0 and 3 << 8: zlib */
#define ZLIB_TYPE 0x300

static const struct slice field_props[MESSAGE_FIELDS] = {
	[MESSAGE_TAG] = SLICE_LIT("TAGS"),
	[MESSAGE_KEYS] = SLICE_LIT("KEYS"),
	[MESSAGE_ORDER_KEY] = SLICE_LIT("__SHARDINGKEY"),
	[MESSAGE_CONTENT_TYPE] = SLICE_LIT("content-type"),
	[MESSAGE_CORRELATION] = SLICE_LIT("correlation-data"),
	[MESSAGE_REPLY_TO] = SLICE_LIT("reply-topic"),
	[MESSAGE_MQTT_TOPIC] = SLICE_LIT("mqtt-topic"),
	[MESSAGE_EXPIRES] = SLICE_LIT("expires-at"),
};

/* Names that RocketMQ's brokers and clients, or the engine, act upon. No user property may have one, and none is shown as one. */
static const char *const reserved[] = {
	"KEYS", "TAGS", "WAIT", "DELAY", "RETRY_TOPIC", "REAL_TOPIC", "REAL_QID", "TRAN_MSG", "PGROUP", "MIN_OFFSET", "MAX_OFFSET", "BUYER_ID",
	"ORIGIN_MESSAGE_ID", "TRANSFER_FLAG", "CORRECTION_FLAG", "MQ2_FLAG", "RECONSUME_TIME", "MSG_REGION", "TRACE_ON", "UNIQ_KEY",
	"EXTEND_UNIQ_INFO", "MAX_RECONSUME_TIMES", "CONSUME_START_TIME", "INNER_NUM", "INNER_BASE", "DUP_INFO", "CHECK_IMMUNITY_TIME_IN_SECONDS",
	"TRAN_PREPARED_QUEUE_OFFSET", "__transactionId__", "TRANSACTION_CHECK_TIMES", "INSTANCE_ID", "CORRELATION_ID", "REPLY_TO_CLIENT", "TTL",
	"ARRIVE_TIME", "PUSH_REPLY_TIME", "CLUSTER", "MSG_TYPE", "POP_CK", "POP_CK_OFFSET", "1ST_POP_TIME", "__SHARDINGKEY",
	"PROPERTY_FORWARD_QUEUE_ID", "REDIRECT", "INNER_MULTI_DISPATCH", "INNER_MULTI_QUEUE_OFFSET", "TRACE_CONTEXT", "TIMER_DELAY_SEC",
	"TIMER_DELAY_MS", "TIMER_DELIVER_MS", "TIMER_OUT_MS", "TIMER_ENQUEUE_MS", "TIMER_DEQUEUE_MS", "TIMER_ROLL_TIMES", "TIMER_DEL_UNIQKEY",
	"TIMER_DELAY_LEVEL", "__BORNHOST", "BORN_TIMESTAMP", "__RMQ.TRANSIENT.TOPIC_SYS_FLAG", "__RMQ.TRANSIENT.GROUP_SYS_FLAG", "__CRC32#",
	"DLQ_ORIGIN_TOPIC", "DLQ_ORIGIN_MESSAGE_ID", "LEASE_ORIGIN",
};

/* Which field a property stands for; MESSAGE_FIELDS: none. */
static enum message_field field_of(struct slice name)
{
	for (unsigned i = 0; i < MESSAGE_FIELDS; i++)
		if (slice_eq(field_props[i], name))
			return (enum message_field)i;
	return MESSAGE_FIELDS;
}

static bool is_reserved(struct slice name)
{
	/* Nearly every user's name has a small letter in front; only two reserved ones begin with neither a capital nor these. */
	if (name.n == 0 || (name.p[0] >= 'a' && name.p[0] <= 'z'))
		return false;
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (slice_eq_str(name, reserved[i]))
			return true;
	return false;
}

/* ---- Drafts -------------------------------------------------------------------------------------------------------------------------- */

void draft_init(struct draft *d)
{
	*d = (struct draft){.queue = -1};
}

void draft_reset(struct draft *d)
{
	buf_reset(&d->own);
	buf_reset(&d->props);
	d->topic = d->body = (struct slice){NULL, 0};
	d->queue = -1;
	d->why[0] = '\0';
}

void draft_fini(struct draft *d)
{
	buf_fini(&d->own);
	buf_fini(&d->props);
}

static enum status wrong(struct draft *d, const char *what, struct slice name, const char *why)
{
	snprintf(d->why, sizeof(d->why), "%s%s%.*s: %s", what, name.n > 0 ? " " : "", (int)(name.n > 60 ? 60 : name.n), (const char *)name.p, why);
	return ST_ILLEGAL;
}

/* Text that property text can carry. U+0000 goes no further than the first program that ends its strings with it. */
static bool plain(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= 2)
			return false;
	return utf8_valid(s);
}

static enum status add(struct draft *d, struct slice name, struct slice value)
{
	struct slice there;

	if (props_get(buf_view(&d->props), name, &there))
		return ST_OK;
	props_put(&d->props, name, value);
	return ST_OK;
}

enum status draft_put(struct draft *d, enum message_field f, struct slice value)
{
	struct buf coded = {0};
	uint64_t ms;
	enum status st;

	if (value.n == 0)
		return ST_OK;
	if (f == MESSAGE_CORRELATION && (!plain(value) || slice_starts(value, SLICE_LIT(BASE64_MARK)))) {
		buf_str(&coded, BASE64_MARK);
		base64_put(&coded, value);
		st = add(d, field_props[f], buf_view(&coded));
		buf_fini(&coded);
		return st;
	}
	if (!plain(value))
		return wrong(d, "the value of", field_props[f], "is not UTF-8 text, or has a control character that no property can hold");
	if (f == MESSAGE_EXPIRES && !slice_u64(value, &ms))
		return wrong(d, "the value of", field_props[f], "is not a number of milliseconds since 1970");
	if (f == MESSAGE_TAG && memchr(value.p, '|', value.n) != NULL)
		return wrong(d, "the tag", value, "a message has one tag, and '|' separates tags in filters");
	return add(d, field_props[f], value);
}

enum status draft_correlation(struct draft *d, struct slice text)
{
	struct buf bytes = {0};
	enum status st;

	if (!slice_starts(text, SLICE_LIT(BASE64_MARK)))
		return draft_put(d, MESSAGE_CORRELATION, text);
	if (base64_get(&bytes, slice_skip(text, sizeof(BASE64_MARK) - 1)))
		st = draft_put(d, MESSAGE_CORRELATION, buf_view(&bytes));
	else
		st = wrong(d, "the value of", field_props[MESSAGE_CORRELATION], "is not base64");
	buf_fini(&bytes);
	return st;
}

enum status draft_user(struct draft *d, struct slice name, struct slice value)
{
	enum message_field f = field_of(name);

	if (name.n == 0)
		return wrong(d, "a property", name, "its name is empty");
	if (f == MESSAGE_TAG || f == MESSAGE_KEYS || f == MESSAGE_MQTT_TOPIC)
		return draft_put(d, f, value);
	if (f != MESSAGE_FIELDS || is_reserved(name))
		return wrong(d, "property", name, "the name is reserved");
	if (!plain(name) || !plain(value))
		return wrong(d, "property", name, "its name or value is not UTF-8 text, or has a control character that no property can hold");
	return add(d, name, value);
}

enum status draft_delay(struct draft *d, const struct front_conf *conf, int64_t ms)
{
	char level[8];

	if (ms == 0)
		return ST_OK;
	for (unsigned i = 0; i < sizeof(conf->delay_ms) / sizeof(conf->delay_ms[0]); i++) {
		if (ms < 0 || conf->delay_ms[i] != (uint64_t)ms)
			continue;
		snprintf(level, sizeof(level), "%u", i + 1);
		return add(d, SLICE_LIT("DELAY"), slice_str(level));
	}
	struct buf b = {0};
	for (unsigned i = 0; i < sizeof(conf->delay_ms) / sizeof(conf->delay_ms[0]); i++)
		if (conf->delay_ms[i] % 1000 == 0)
			buf_fmt(&b, " %us", conf->delay_ms[i] / 1000);
		else
			buf_fmt(&b, " %ums", conf->delay_ms[i]);
	snprintf(d->why, sizeof(d->why), "a delay is one of%s", buf_cstr(&b));
	buf_fini(&b);
	return ST_ILLEGAL;
}

void draft_send(const struct draft *d, const struct front_conf *conf, int64_t now_ms, struct engine_send *r)
{
	r->msg = (struct msg){.topic = d->topic, .body = d->body, .props = buf_view(&d->props), .queue = d->queue, .max_reconsume = -1, .born_ms = now_ms,
		.born_ip = conf->advertised_ip};
	r->default_topic = conf->auto_create_topic ? SLICE_LIT(DEFAULT_TOPIC) : (struct slice){NULL, 0};
	r->default_queues = (int32_t)conf->default_queues;
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------------------- */

enum status message_read(struct slice record, struct message *ret)
{
	struct message m = {.expires_ms = 0};
	struct slice name, value;
	uint64_t ms;

	if (record_decode(record, &m.r) != ST_OK)
		return ST_CORRUPT;
	for (struct slice rest = m.r.props; props_next(&rest, &name, &value);) {
		if (name.n == 8 && memcmp(name.p, "UNIQ_KEY", 8) == 0) {
			m.id = m.id.n == 0 ? value : m.id;
			continue;
		}
		enum message_field f = field_of(name);
		if (f != MESSAGE_FIELDS && m.field[f].n == 0)
			m.field[f] = value;
		else if (slice_eq(name, SLICE_LIT("DLQ_ORIGIN_TOPIC")) || (m.origin.n == 0 && slice_eq(name, SLICE_LIT("RETRY_TOPIC"))))
			m.origin = value;
	}
	if (slice_u64(m.field[MESSAGE_EXPIRES], &ms) && ms <= INT64_MAX)
		m.expires_ms = (int64_t)ms;
	*ret = m;
	return ST_OK;
}

struct slice message_id(const struct message *m, char to[OFFSET_ID_SIZE + 1])
{
	if (m->id.n > 0)
		return m->id;
	offset_id_format(to, m->r.store_ip, m->r.store_port, m->r.position);
	return slice_of(to, OFFSET_ID_SIZE);
}

bool message_user(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
	while (props_next(rest, ret_name, ret_value))
		if (field_of(*ret_name) == MESSAGE_FIELDS && !is_reserved(*ret_name))
			return true;
	return false;
}

struct slice message_body(const struct message *m, size_t max, struct buf *scratch)
{
	int type = m->r.sys_flag & ZLIB_TYPE_MASK;
	z_stream z = {0};
	int end = Z_OK;

	if ((m->r.sys_flag & SYS_COMPRESSED) == 0 || (type != 0 && type != ZLIB_TYPE) || inflateInit(&z) != Z_OK)
		return m->r.body;
	buf_reset(scratch);
	z.next_in = (Bytef *)(uintptr_t)m->r.body.p;
	z.avail_in = (uInt)m->r.body.n;
	while (end == Z_OK && scratch->n < max) {
		size_t room = max - scratch->n < 65536 ? max - scratch->n : 65536;
		z.next_out = buf_room(scratch, room);
		z.avail_out = (uInt)room;
		end = inflate(&z, Z_NO_FLUSH);
		buf_used(scratch, room - z.avail_out);
		if (end == Z_BUF_ERROR || (end == Z_OK && z.avail_out > 0 && z.avail_in == 0))
			break;
	}
	/* All of it fits when the stream's end is what comes next. */
	if (end == Z_OK && scratch->n == max) {
		uint8_t more;
		z.next_out = &more;
		z.avail_out = 1;
		end = inflate(&z, Z_NO_FLUSH);
		end = z.avail_out == 0 ? Z_DATA_ERROR : end;
	}
	inflateEnd(&z);
	return end == Z_STREAM_END ? buf_view(scratch) : m->r.body;
}

struct slice message_correlation(const struct message *m, struct buf *scratch)
{
	struct slice v = m->field[MESSAGE_CORRELATION];

	if (!slice_starts(v, SLICE_LIT(BASE64_MARK)))
		return v;
	buf_reset(scratch);
	return base64_get(scratch, slice_skip(v, sizeof(BASE64_MARK) - 1)) ? buf_view(scratch) : v;
}

/* ---- As JSON ------------------------------------------------------------------------------------------------------------------------- */

static void member(struct buf *b, const char *name, struct slice value)
{
	if (value.n == 0)
		return;
	buf_str(b, ",\"");
	buf_str(b, name);
	buf_str(b, "\":");
	buf_json_str(b, value);
}

static void number(struct buf *b, const char *name, int64_t value)
{
	buf_str(b, ",\"");
	buf_str(b, name);
	buf_str(b, "\":");
	buf_i64_dec(b, value);
}

static void user_members(struct buf *b, struct slice props)
{
	struct slice name, value;
	bool any = false;

	while (message_user(&props, &name, &value)) {
		buf_str(b, any ? "," : ",\"properties\":{");
		any = true;
		buf_json_str(b, name);
		buf_u8(b, ':');
		buf_json_str(b, value);
	}
	if (any)
		buf_u8(b, '}');
}

void message_json(struct buf *b, const struct message *m, struct slice topic, uint32_t attempt, size_t max_body)
{
	struct buf scratch = {0};
	char id[OFFSET_ID_SIZE + 1];

	buf_str(b, "\"id\":");
	buf_json_str(b, message_id(m, id));
	buf_str(b, ",\"topic\":");
	buf_json_str(b, topic);
	number(b, "queue", m->r.queue);
	number(b, "offset", (int64_t)m->r.queue_offset);
	member(b, "tag", m->field[MESSAGE_TAG]);
	member(b, "keys", m->field[MESSAGE_KEYS]);
	member(b, "orderKey", m->field[MESSAGE_ORDER_KEY]);
	member(b, "contentType", m->field[MESSAGE_CONTENT_TYPE]);
	member(b, "correlationData", m->field[MESSAGE_CORRELATION]);
	member(b, "replyTo", m->field[MESSAGE_REPLY_TO]);
	member(b, "mqttTopic", m->field[MESSAGE_MQTT_TOPIC]);
	if (m->expires_ms != 0)
		number(b, "expiresAt", m->expires_ms);
	user_members(b, m->r.props);
	number(b, "bornAt", m->r.born_ms);
	number(b, "storedAt", m->r.store_ms);
	if (attempt > 0)
		number(b, "attempt", attempt);
	struct slice body = message_body(m, max_body, &scratch);
	if (utf8_valid(body)) {
		buf_str(b, ",\"body\":");
		buf_json_str(b, body);
	} else {
		buf_str(b, ",\"bodyBase64\":\"");
		base64_put(b, body);
		buf_u8(b, '"');
	}
	buf_fini(&scratch);
}
