/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What the sending loop speaks: remoting (310 and 320), Redis (XADD), and a bare echo. Requests are templates in which only the
 * opaque number, the birth time, the unique key and the id at the start of the body change, so that the client's own cost per
 * message is a copy.
 *
 * The remoting request is what a Java producer sends: letters a..n, properties UNIQ_KEY and WAIT, one template per queue.
 */
#include "tests/bench/send.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ID_BYTES = 8, UNIQ_PREFIX = 16, UNIQ_DIGITS = 16, BORN_DIGITS = 13, ECHO_HEAD = 8, SETTLE_S = 30 };

static const char hex[] = "0123456789ABCDEF";

static void put_hex(char *p, uint64_t v)
{
	for (int i = UNIQ_DIGITS - 1; i >= 0; i--, v >>= 4)
		p[i] = hex[v & 15];
}

static void *take_memory(size_t n)
{
	void *p = malloc(n);
	if (p == NULL)
		fatal("out of memory");
	return p;
}

/* Text that no compressor or checksum would find trivial, the same in every run. */
static void fill_body(char *p, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (char)('a' + (id_mix((uint64_t)i) >> 32) % 26);
}

/* ---- Remoting ---------------------------------------------------------------------------------------------------- */

struct template {
	char *bytes;
	struct rm_request shape;
	size_t born_at, uniq_at, body_at;
};
static struct template *templates;
static char born[24];
static char uniq_prefix[UNIQ_PREFIX + 1];
/* One element of a batch body, and where its id and key stand in it. */
static size_t element_size, element_uniq_at;
static struct rm_caller caller;

static const char *properties(void)
{
	static char text[128];
	snprintf(text, sizeof text, "UNIQ_KEY\001%s%0*d\002WAIT\001%s\002", uniq_prefix, UNIQ_DIGITS, 0, opt.wait ? "true" : "false");
	return text;
}

enum { ELEMENT_HEAD = 20 };

/* total, magic, crc, flag, body length | body | u16 properties length, properties */
static char *batch_body(size_t *ret_len)
{
	const char *props = properties();
	size_t props_len = strlen(props);
	element_size = ELEMENT_HEAD + (size_t)opt.body + 2 + props_len;
	element_uniq_at = ELEMENT_HEAD + (size_t)opt.body + 2 + strlen("UNIQ_KEY\001") + UNIQ_PREFIX;
	*ret_len = element_size * (size_t)opt.batch;
	char *body = take_memory(*ret_len);
	for (char *p = body; p < body + *ret_len; p += element_size) {
		memset(p, 0, ELEMENT_HEAD);
		be32_put(p, (uint32_t)element_size);
		be32_put(p + 16, (uint32_t)opt.body);
		fill_body(p + ELEMENT_HEAD, opt.body);
		be16_put(p + ELEMENT_HEAD + opt.body, (uint16_t)props_len);
		memcpy(p + ELEMENT_HEAD + opt.body + 2, props, props_len);
	}
	return body;
}

static void make_template(struct template *t, int queue, const char *body, size_t body_len)
{
	struct rm_request *q = &t->shape;
	size_t size = 1024 + body_len;
	t->bytes = take_memory(size);
	rm_begin(q, t->bytes, size, opt.binary, opt.batch > 0 ? 320 : 310, OPAQUE_BASE);
	rm_text(q, "a", "bench_producer");
	rm_text(q, "b", opt.topic);
	rm_text(q, "c", "TBW102");
	rm_text(q, "d", "4");
	rm_int(q, "e", queue);
	rm_text(q, "f", "0");
	t->born_at = rm_text(q, "g", born);
	rm_text(q, "h", "0");
	rm_text(q, "i", properties());
	rm_text(q, "j", "0");
	rm_text(q, "k", "false");
	rm_text(q, "l", "0");
	rm_text(q, "m", opt.batch > 0 ? "true" : "false");
	t->body_at = rm_end(q, OPAQUE_BASE, body, body_len);
	char *uniq = memmem(t->bytes, t->body_at, uniq_prefix, UNIQ_PREFIX);
	t->uniq_at = (size_t)(uniq - t->bytes) + UNIQ_PREFIX;
}

static void remoting_tick(void) { snprintf(born, sizeof born, "%0*lld", BORN_DIGITS, (long long)wall_ms()); }

static void remoting_prepare(void)
{
	if (opt.body < ID_BYTES)
		fatal("the body carries the message's id: at least %d bytes", ID_BYTES);
	rm_caller_open(&caller, opt.port);
	rm_topic_put(&caller, opt.topic, opt.queues);
	for (int i = 0; i < opt.queues; i++)
		if (rm_max_offset(&caller, opt.topic, i) != 0)
			fatal("topic %s is not empty", opt.topic);
	remoting_tick();
	put_hex(uniq_prefix, id_mix(now_ns() ^ (uint64_t)getpid() << 32));
	size_t body_len = (size_t)opt.body;
	char *body = opt.batch > 0 ? batch_body(&body_len) : take_memory(body_len);
	if (opt.batch == 0)
		fill_body(body, opt.body);
	templates = take_memory((size_t)opt.queues * sizeof *templates);
	for (int i = 0; i < opt.queues; i++)
		make_template(&templates[i], i, body, body_len);
	free(body);
}

static size_t remoting_frame_size(void) { return templates[0].shape.len + 8; /* queue numbers differ in length */ }

static size_t remoting_put(char *out, uint32_t opaque, uint64_t id, unsigned queue)
{
	const struct template *t = &templates[queue];
	memcpy(out, t->bytes, t->shape.len);
	rm_set_opaque(out, &t->shape, opaque);
	memcpy(out + t->born_at, born, BORN_DIGITS);
	put_hex(out + t->uniq_at, id);
	if (opt.batch == 0) {
		be64_put(out + t->body_at, id);
		return t->shape.len;
	}
	char *p = out + t->body_at;
	for (int i = 0; i < opt.batch; i++, p += element_size) {
		be64_put(p + ELEMENT_HEAD, id + (uint64_t)i);
		put_hex(p + element_uniq_at, id + (uint64_t)i);
	}
	return t->shape.len;
}

static bool remoting_take(struct conn *c, uint32_t *ret_opaque, int *ret_code)
{
	struct rm_reply r;
	while (rm_next(c, &r)) {
		if (!r.response)
			continue;
		*ret_opaque = r.opaque;
		*ret_code = r.code;
		return true;
	}
	return false;
}

/* The index of a queue may follow the answers: wait for it, but demand the exact number in the end. */
static const char *remoting_verify(const uint64_t *stored, unsigned queues)
{
	static char why[160];
	uint64_t give_up = now_ns() + SETTLE_S * SECOND_NS;
	for (unsigned i = 0; i < queues; i++) {
		int64_t max;
		while ((max = rm_max_offset(&caller, opt.topic, (int)i)) != (int64_t)stored[i] && now_ns() < give_up)
			usleep(10000);
		if (max == (int64_t)stored[i])
			continue;
		snprintf(why, sizeof why, "queue-%u-holds-%lld-of-%llu", i, (long long)max, (unsigned long long)stored[i]);
		return why;
	}
	return NULL;
}

const struct codec codec_remoting = {
	.name = "remoting", .prepare = remoting_prepare, .tick = remoting_tick, .frame_size = remoting_frame_size, .put = remoting_put,
	.take = remoting_take, .verify = remoting_verify,
};

/* ---- Redis ------------------------------------------------------------------------------------------------------- */

static char *redis_bytes;
static size_t redis_len, redis_id_at;

static void no_tick(void) {}

static void redis_prepare(void)
{
	if (opt.body < UNIQ_DIGITS)
		fatal("at least %d bytes of body", UNIQ_DIGITS);
	redis_bytes = take_memory((size_t)opt.body + 256);
	redis_len = (size_t)sprintf(redis_bytes, "*5\r\n$4\r\nXADD\r\n$%zu\r\n%s\r\n$1\r\n*\r\n$1\r\nb\r\n$%d\r\n", strlen(opt.topic), opt.topic,
				    opt.body);
	redis_id_at = redis_len;
	fill_body(redis_bytes + redis_len, opt.body);
	redis_len += (size_t)opt.body;
	memcpy(redis_bytes + redis_len, "\r\n", 2);
	redis_len += 2;
}

static size_t redis_frame_size(void) { return redis_len; }

static size_t redis_put(char *out, uint32_t opaque, uint64_t id, unsigned queue)
{
	(void)opaque;
	(void)queue;
	memcpy(out, redis_bytes, redis_len);
	put_hex(out + redis_id_at, id);
	return redis_len;
}

/* "$15\r\n1700000000000-0\r\n", or a line that starts with - or : */
static bool redis_take(struct conn *c, uint32_t *ret_opaque, int *ret_code)
{
	const char *p = c->in + c->in_pos, *end = c->in + c->in_len, *line;
	(void)ret_opaque;
	if (p == end || (line = memchr(p, '\n', (size_t)(end - p))) == NULL)
		return false;
	size_t need = (size_t)(line + 1 - p);
	if (*p == '$')
		need += (size_t)atoi(p + 1) + 2;
	if ((size_t)(end - p) < need)
		return false;
	*ret_code = *p == '$' ? 0 : 1;
	c->in_pos += need;
	return true;
}

static const char *redis_verify(const uint64_t *stored, unsigned queues)
{
	char ask[256], answer[64];
	uint64_t want = 0;
	for (unsigned i = 0; i < queues; i++)
		want += stored[i];
	int fd = net_try(opt.port), n = snprintf(ask, sizeof ask, "*2\r\n$4\r\nXLEN\r\n$%zu\r\n%s\r\n", strlen(opt.topic), opt.topic);
	if (fd < 0 || write(fd, ask, (size_t)n) != n || (n = (int)read(fd, answer, sizeof answer - 1)) < 2)
		return "no-answer-to-XLEN";
	close(fd);
	answer[n] = 0;
	return answer[0] == ':' && strtoull(answer + 1, NULL, 10) == want ? NULL : "XLEN-differs";
}

const struct codec codec_redis = {
	.name = "redis", .fifo = true, .prepare = redis_prepare, .tick = no_tick, .frame_size = redis_frame_size, .put = redis_put,
	.take = redis_take, .verify = redis_verify,
};

/* ---- Echo: u32 length of the rest | u32 opaque | padding --------------------------------------------------------- */

static char *echo_bytes;

static void echo_prepare(void)
{
	if (opt.request_bytes < ECHO_HEAD)
		fatal("an echo request has at least %d bytes", ECHO_HEAD);
	echo_bytes = calloc(1, (size_t)opt.request_bytes);
	be32_put(echo_bytes, (uint32_t)opt.request_bytes - 4);
}

static size_t echo_frame_size(void) { return (size_t)opt.request_bytes; }

static size_t echo_put(char *out, uint32_t opaque, uint64_t id, unsigned queue)
{
	(void)id;
	(void)queue;
	memcpy(out, echo_bytes, (size_t)opt.request_bytes);
	be32_put(out + 4, opaque);
	return (size_t)opt.request_bytes;
}

static bool echo_take(struct conn *c, uint32_t *ret_opaque, int *ret_code)
{
	const char *p = c->in + c->in_pos;
	size_t have = c->in_len - c->in_pos;
	if (have < ECHO_HEAD || have < 4 + (size_t)be32_get(p))
		return false;
	*ret_opaque = be32_get(p + 4);
	*ret_code = 0;
	c->in_pos += 4 + (size_t)be32_get(p);
	return true;
}

static const char *echo_verify(const uint64_t *stored, unsigned queues)
{
	(void)stored;
	(void)queues;
	return NULL;
}

const struct codec codec_echo = {
	.name = "echo", .prepare = echo_prepare, .tick = no_tick, .frame_size = echo_frame_size, .put = echo_put, .take = echo_take,
	.verify = echo_verify,
};
