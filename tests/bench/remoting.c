/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * As much of the remoting protocol as a load generator needs: frames of both header forms written, and read by the few fields that
 * matter. Deliberately no code of Gantry's: a client that shares the server's codec would share its mistakes.
 *
 *   frame  = u32 length of the rest | u8 form (0 JSON, 1 binary) | u24 header length | header | body
 *   binary = u16 code | u8 language | u16 version | u32 opaque | u32 flag | u32 n, remark | u32 n, { u16 n, key | u32 n, value }*
 */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 479, LANGUAGE_OTHER = 7, BINARY_FIXED = 21, FRAME_MAX = 16 << 20, OPAQUE_DIGITS = 10 };

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

/* Steps over a string that starts behind the opening quote; returns what follows the closing one. */
static const char *skip_string(const char *p, const char *end)
{
	for (; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p + 1;
}

static int64_t parse_int(const char *p, const char *end)
{
	bool minus = p < end && *p == '-';
	int64_t v = 0;
	for (p += minus; p < end && *p >= '0' && *p <= '9'; p++)
		v = v * 10 + (*p - '0');
	return minus ? -v : v;
}

/* Reads code, opaque and flag among the outermost keys of the JSON header. */
static void read_json_head(struct rm_reply *r)
{
	const char *p = r->head, *end = p + r->head_len;
	int depth = 0;
	while (p < end) {
		if (*p == '{' || *p == '[') {
			depth++;
		} else if (*p == '}' || *p == ']') {
			depth--;
		} else if (*p == '"') {
			const char *key = p + 1;
			p = skip_string(key, end);
			if (depth != 1 || p >= end || *p != ':')
				continue;
			size_t n = (size_t)(p - 1 - key);
			if (n == 4 && memcmp(key, "code", 4) == 0)
				r->code = (int)parse_int(p + 1, end);
			else if (n == 6 && memcmp(key, "opaque", 6) == 0)
				r->opaque = (uint32_t)parse_int(p + 1, end);
			else if (n == 4 && memcmp(key, "flag", 4) == 0)
				r->response = parse_int(p + 1, end) & 1;
		}
		p++;
	}
}

bool rm_next(struct conn *c, struct rm_reply *r)
{
	const char *p = c->in + c->in_pos;
	size_t have = c->in_len - c->in_pos;
	if (have < 8)
		return false;
	uint32_t total = be32_get(p), word = be32_get(p + 4);
	if (total < 4 || total > FRAME_MAX || (word & 0xffffff) > total - 4)
		fatal("a frame of %u bytes with a header of %u", total, word & 0xffffff);
	if (have < 4 + (size_t)total)
		return false;
	c->in_pos += 4 + (size_t)total;
	memset(r, 0, sizeof *r);
	r->json = word >> 24 == 0;
	r->head = p + 8;
	r->head_len = word & 0xffffff;
	r->body = r->head + r->head_len;
	r->body_len = total - 4 - r->head_len;
	if (r->json) {
		read_json_head(r);
	} else {
		if (r->head_len < BINARY_FIXED)
			fatal("a binary header of %u bytes", r->head_len);
		r->code = (int16_t)be16_get(r->head);
		r->opaque = be32_get(r->head + 5);
		r->response = be32_get(r->head + 9) & 1;
	}
	return true;
}

bool rm_number(const struct rm_reply *r, const char *key, int64_t *ret)
{
	const char *p = r->head, *end = p + r->head_len;
	size_t key_len = strlen(key);
	if (r->json) {
		char quoted[64];
		size_t n = (size_t)snprintf(quoted, sizeof quoted, "\"%s\":", key);
		p = memmem(p, r->head_len, quoted, n);
		if (p == NULL)
			return false;
		p += n;
		*ret = parse_int(p + (p < end && *p == '"'), end);
		return true;
	}
	p += 13;
	p += 4 + be32_get(p); /* the remark */
	if (p + 4 > end)
		return false;
	for (p += 4; p + 6 <= end;) {
		size_t n = be16_get(p);
		const char *value = p + 2 + n;
		if (value + 4 > end)
			return false;
		if (n == key_len && memcmp(p + 2, key, n) == 0) {
			*ret = parse_int(value + 4, end);
			return true;
		}
		p = value + 4 + be32_get(value);
	}
	return false;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static void put(struct rm_request *q, const void *bytes, size_t n)
{
	if (q->size - q->len < n)
		fatal("a request over %zu bytes", q->size);
	memcpy(q->at + q->len, bytes, n);
	q->len += n;
}

static void put_text(struct rm_request *q, const char *s) { put(q, s, strlen(s)); }

static void put16(struct rm_request *q, unsigned v)
{
	char b[2];
	be16_put(b, (uint16_t)v);
	put(q, b, 2);
}

static void put32(struct rm_request *q, uint32_t v)
{
	char b[4];
	be32_put(b, v);
	put(q, b, 4);
}

void rm_begin(struct rm_request *q, char *at, size_t size, bool binary, int code, uint32_t opaque)
{
	*q = (struct rm_request){ .at = at, .size = size, .binary = binary, .code = code };
	put(q, "\0\0\0\0\0\0\0\0", 8);
	if (binary) {
		put16(q, (unsigned)code);
		put(q, (char[]){ LANGUAGE_OTHER }, 1);
		put16(q, VERSION);
		q->opaque_at = q->len;
		put32(q, opaque);
		put32(q, 0); /* flag */
		put32(q, 0); /* remark */
		put32(q, 0); /* length of the fields, set at the end */
		q->ext_at = q->len;
	} else {
		char text[64];
		snprintf(text, sizeof text, "{\"code\":%d,\"extFields\":{", code);
		put_text(q, text);
		q->ext_at = q->len;
	}
}

size_t rm_text(struct rm_request *q, const char *key, const char *value)
{
	if (q->binary) {
		put16(q, (unsigned)strlen(key));
		put_text(q, key);
		put32(q, (uint32_t)strlen(value));
		put_text(q, value);
		return q->len - strlen(value);
	}
	if (q->len > q->ext_at)
		put_text(q, ",");
	put_text(q, "\"");
	put_text(q, key);
	put_text(q, "\":\"");
	size_t start = q->len;
	for (; *value; value++) {
		char escaped[8];
		if ((unsigned char)*value < 0x20) {
			snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned char)*value);
			put_text(q, escaped);
		} else {
			put(q, value, 1);
		}
	}
	put_text(q, "\"");
	return start;
}

size_t rm_int(struct rm_request *q, const char *key, int64_t value)
{
	char text[24];
	snprintf(text, sizeof text, "%lld", (long long)value);
	return rm_text(q, key, text);
}

size_t rm_end(struct rm_request *q, uint32_t opaque, const void *body, size_t body_len)
{
	if (q->binary) {
		be32_put(q->at + q->ext_at - 4, (uint32_t)(q->len - q->ext_at));
	} else {
		char text[128];
		put_text(q, "},\"flag\":0,\"language\":\"OTHER\",\"opaque\":");
		q->opaque_at = q->len;
		snprintf(text, sizeof text, "%010u,\"serializeTypeCurrentRPC\":\"JSON\",\"version\":%d}", opaque, VERSION);
		put_text(q, text);
	}
	size_t head_len = q->len - 8, body_at = q->len;
	if (q->size - q->len < body_len)
		fatal("a request over %zu bytes", q->size);
	if (body != NULL)
		memcpy(q->at + q->len, body, body_len);
	q->len += body_len;
	be32_put(q->at, (uint32_t)(q->len - 4));
	be32_put(q->at + 4, (uint32_t)head_len | (q->binary ? UINT32_C(1) << 24 : 0));
	rm_set_opaque(q->at, q, opaque);
	return body_at;
}

void rm_set_opaque(char *frame, const struct rm_request *q, uint32_t opaque)
{
	char *p = frame + q->opaque_at;
	if (q->binary) {
		be32_put(p, opaque);
		return;
	}
	for (int i = OPAQUE_DIGITS - 1; i >= 0; i--, opaque /= 10)
		p[i] = (char)('0' + opaque % 10);
}

void rm_put_pull(struct conn *c, uint32_t opaque, const char *topic, int queue, uint64_t offset, int wait_ms)
{
	enum { ROOM = 1024, SUSPEND = 2, SUBSCRIPTION = 4 };
	struct rm_request q;
	rm_begin(&q, conn_room(c, ROOM), ROOM, opt.binary, 11, opaque);
	rm_text(&q, "consumerGroup", "bench_consumer");
	rm_text(&q, "topic", topic);
	rm_int(&q, "queueId", queue);
	rm_int(&q, "queueOffset", (int64_t)offset);
	rm_int(&q, "maxMsgNums", opt.max_msgs);
	rm_int(&q, "sysFlag", SUBSCRIPTION | (wait_ms > 0 ? SUSPEND : 0));
	rm_text(&q, "commitOffset", "0");
	rm_int(&q, "suspendTimeoutMillis", wait_ms);
	rm_text(&q, "subscription", "*");
	rm_text(&q, "subVersion", "0");
	rm_text(&q, "expressionType", "TAG");
	rm_int(&q, "maxMsgBytes", opt.max_bytes);
	rm_end(&q, opaque, NULL, 0);
	conn_wrote(c, q.len);
}

/* ---- One request at a time --------------------------------------------------------------------------------------- */

static void caller_input(struct conn *c)
{
	struct rm_caller *w = c->owner;
	struct rm_reply r;
	while (rm_next(c, &r)) {
		if (!r.response || r.opaque != w->opaque)
			continue;
		size_t n = r.body_len < sizeof w->body - 1 ? r.body_len : sizeof w->body - 1;
		memcpy(w->body, r.body, n);
		w->body[n] = 0;
		w->code = r.code;
		if (!rm_number(&r, "offset", &w->offset))
			w->offset = -1;
		w->answered = true;
	}
}

void rm_caller_open(struct rm_caller *w, int port)
{
	memset(w, 0, sizeof *w);
	w->opaque = OPAQUE_BASE;
	conn_open(&w->conn, port, caller_input, w);
}

void rm_call(struct rm_caller *w, struct rm_request *q)
{
	uint64_t give_up = now_ns() + 60 * SECOND_NS;
	w->opaque++;
	rm_end(q, w->opaque, NULL, 0);
	memcpy(conn_room(&w->conn, q->len), q->at, q->len);
	conn_wrote(&w->conn, q->len);
	conn_flush(&w->conn);
	for (w->answered = false; !w->answered;) {
		net_poll(SECOND_NS / 10);
		if (now_ns() > give_up)
			fatal("no answer to code %d within 60 s", q->code);
	}
}

void rm_topic_put(struct rm_caller *w, const char *topic, int queues)
{
	char at[1024];
	struct rm_request q;
	rm_begin(&q, at, sizeof at, opt.binary, 17, w->opaque);
	rm_text(&q, "topic", topic);
	rm_text(&q, "defaultTopic", "TBW102");
	rm_int(&q, "readQueueNums", queues);
	rm_int(&q, "writeQueueNums", queues);
	rm_int(&q, "perm", 6);
	rm_text(&q, "topicFilterType", "SINGLE_TAG");
	rm_int(&q, "topicSysFlag", 0);
	rm_text(&q, "order", "false");
	rm_call(w, &q);
	if (w->code != 0)
		fatal("topic %s could not be created: code %d", topic, w->code);
}

int64_t rm_max_offset(struct rm_caller *w, const char *topic, int queue)
{
	char at[1024];
	struct rm_request q;
	rm_begin(&q, at, sizeof at, opt.binary, 30, w->opaque);
	rm_text(&q, "topic", topic);
	rm_int(&q, "queueId", queue);
	rm_call(w, &q);
	return w->code == 0 ? w->offset : -1;
}

int rm_find_broker(int namesrv_port)
{
	char at[256];
	struct rm_request q;
	struct rm_caller w;
	rm_caller_open(&w, namesrv_port);
	rm_begin(&q, at, sizeof at, opt.binary, 106, w.opaque);
	rm_call(&w, &q);
	/* ... "brokerAddrs":{0:"127.0.0.1:10911"} ... */
	char *p = strstr(w.body, "\"brokerAddrs\":{");
	p = p != NULL ? strstr(p, ":\"") : NULL;
	p = p != NULL ? strchr(p + 2, ':') : NULL;
	if (w.code != 0 || p == NULL)
		fatal("the name server knows no broker: code %d", w.code);
	conn_close(&w.conn);
	return atoi(p + 1);
}
