/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * MQTT 3.1.1: publishes of QoS 1 for the sending loop, one publisher with many subscribers, and connections that are idle. It shares no code with the broker.
 *
 * PUBACKs come in the order of the publishes, so the sending loop needs no numbers; that the identifiers are those of that order is looked at all the same.
 */
#include "tests/bench/send.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, QOS_1 = 0x02, PUBACK = 0x40, SUBSCRIBE = 0x82, SUBACK = 0x90 };
enum { NAME_MAX_BYTES = 200, HEAD_MAX = 5, KEEP_ALIVE_S = 600, ID_BYTES = 8, SETTLE_S = 10, FDS = 65536, WAIT_S = 60 };

/* ---- Packets ------------------------------------------------------------------------------------------------------ */

static size_t put_head(char *out, int first, size_t length)
{
	size_t n = 0;
	out[n++] = (char)first;
	do {
		out[n++] = (char)((length & 0x7F) | (length > 0x7F ? 0x80 : 0));
		length >>= 7;
	} while (length > 0);
	return n;
}

static size_t put_text(char *out, const char *text)
{
	size_t n = strlen(text);
	be16_put(out, (uint16_t)n);
	memcpy(out + 2, text, n);
	return n + 2;
}

static void put_connect(struct conn *c)
{
	static unsigned serial;
	char name[64], body[96];
	size_t n = put_text(body, "MQTT");
	body[n++] = 4;
	body[n++] = 2; /* a clean session */
	be16_put(body + n, KEEP_ALIVE_S);
	n += 2;
	snprintf(name, sizeof name, "bench-%d-%u", getpid(), serial++);
	n += put_text(body + n, name);
	char *out = conn_room(c, HEAD_MAX + n);
	size_t head = put_head(out, CONNECT, n);
	memcpy(out + head, body, n);
	conn_wrote(c, head + n);
}

static void put_subscribe(struct conn *c, const char *filter)
{
	char *out = conn_room(c, HEAD_MAX + NAME_MAX_BYTES + 8);
	size_t n = put_head(out, SUBSCRIBE, 2 + 2 + strlen(filter) + 1);
	be16_put(out + n, 1);
	n += 2;
	n += put_text(out + n, filter);
	out[n++] = 0;
	conn_wrote(c, n);
}

struct packet {
	int first;
	const char *body;
	size_t n;
};

static bool next_packet(struct conn *c, struct packet *ret)
{
	const uint8_t *p = (const uint8_t *)c->in + c->in_pos;
	size_t have = c->in_len - c->in_pos, length = 0, n = 1;
	for (unsigned shift = 0;; shift += 7) {
		if (n >= have)
			return false;
		length |= (size_t)(p[n] & 0x7F) << shift;
		if (p[n++] < 0x80)
			break;
		if (shift == 21)
			fatal("a length of more than four bytes");
	}
	if (have - n < length)
		return false;
	*ret = (struct packet){ p[0], (const char *)p + n, length };
	c->in_pos += n + length;
	return true;
}

/* ---- Publishes of QoS 1 -------------------------------------------------------------------------------------------- */

static struct rm_caller caller;
static char *frame;
static size_t frame_len, topic_at, id_at, body_at;
static uint16_t expected[FDS];

/* "TOPIC/dNNNN": one MQTT topic per queue of the schedule; the broker puts each into a queue by its hash. */
static void mqtt_prepare(void)
{
	size_t name = strlen(opt.topic) + 6, length = 2 + name + 2 + (size_t)opt.body;
	if (opt.body < ID_BYTES || strlen(opt.topic) > NAME_MAX_BYTES)
		fatal("at least %d bytes of body, and a shorter topic", ID_BYTES);
	frame = calloc(1, HEAD_MAX + length);
	frame_len = put_head(frame, PUBLISH | QOS_1, length);
	be16_put(frame + frame_len, (uint16_t)name);
	sprintf(frame + frame_len + 2, "%s/d0000", opt.topic);
	topic_at = frame_len + 2 + name - 4;
	id_at = frame_len + 2 + name;
	body_at = id_at + 2;
	frame_len = body_at + (size_t)opt.body;
	memset(frame + body_at, 'x', (size_t)opt.body);
	if (opt.verify_port > 0) {
		rm_caller_open(&caller, opt.verify_port);
		rm_topic_put(&caller, opt.topic, opt.queues);
	}
}

static void mqtt_tick(void) {}
static size_t mqtt_frame_size(void) { return frame_len; }

static void mqtt_open(struct conn *c)
{
	put_connect(c);
	expected[c->fd % FDS] = 0;
}

static size_t mqtt_put(char *out, uint32_t opaque, uint64_t id, unsigned queue)
{
	memcpy(out, frame, frame_len);
	for (unsigned i = 4; i-- > 0; queue /= 10)
		out[topic_at + i] = (char)('0' + queue % 10);
	be16_put(out + id_at, (uint16_t)((opaque & 0x7FFF) + 1)); /* the slot: they are used in turn */
	be64_put(out + body_at, id);
	return frame_len;
}

static bool mqtt_take(struct conn *c, uint32_t *ret_opaque, int *ret_code)
{
	struct packet p;
	uint16_t *next = &expected[c->fd % FDS];
	(void)ret_opaque;
	while (next_packet(c, &p)) {
		if (p.first == CONNACK && p.n == 2 && p.body[1] == 0)
			continue;
		if (p.first != PUBACK || p.n != 2)
			fatal("a packet of type %02x where a PUBACK should be", p.first);
		*ret_code = be16_get(p.body) == *next + 1 ? 0 : 1;
		*next = (uint16_t)((*next + 1) % opt.window);
		return true;
	}
	return false;
}

static const char *mqtt_verify(const uint64_t *stored, unsigned queues)
{
	static char why[96];
	uint64_t give_up = now_ns() + SETTLE_S * SECOND_NS, want = 0, have = 0;
	if (opt.verify_port <= 0)
		return NULL;
	for (unsigned i = 0; i < queues; i++)
		want += stored[i];
	do {
		if (have != 0)
			usleep(10000);
		have = 0;
		for (unsigned i = 0; i < queues; i++)
			have += (uint64_t)rm_max_offset(&caller, opt.topic, (int)i);
	} while (have != want && now_ns() < give_up);
	if (have == want)
		return NULL;
	snprintf(why, sizeof why, "%" PRIu64 "-stored-of-%" PRIu64, have, want);
	return why;
}

const struct codec codec_mqtt = {
	.name = "mqtt", .fifo = true, .prepare = mqtt_prepare, .open = mqtt_open, .tick = mqtt_tick, .frame_size = mqtt_frame_size, .put = mqtt_put,
	.take = mqtt_take, .verify = mqtt_verify,
};

/* ---- Connections that wait ---------------------------------------------------------------------------------------- */

static struct waiting {
	uint64_t connected, subscribed, received, bytes;
	struct hist hist;
	bool recording;
} w;

static void waiting_input(struct conn *c)
{
	struct packet p;
	while (next_packet(c, &p)) {
		if (p.first == CONNACK) {
			w.connected += p.n == 2 && p.body[1] == 0;
		} else if (p.first == SUBACK) {
			w.subscribed += p.n == 3 && p.body[2] == 0;
		} else if ((p.first & 0xF0) == PUBLISH) {
			size_t at = 2u + be16_get(p.body);
			w.received++;
			w.bytes += p.n - at;
			if (w.recording)
				hist_add(&w.hist, c->read_ns - be64_get(p.body + at));
		}
	}
}

/* All connected, and subscribed to 'filter' where there is one. */
static struct conn *open_waiting(int n, const char *filter)
{
	struct rlimit lim = { (rlim_t)n + 64, (rlim_t)n + 64 };
	struct conn *conns = calloc((size_t)n, sizeof *conns);
	uint64_t start = now_ns();
	if (setrlimit(RLIMIT_NOFILE, &lim) != 0)
		fatal("not so many descriptors: %d", n);
	for (int i = 0; i < n; i++) {
		conn_open(&conns[i], opt.port, waiting_input, NULL);
		put_connect(&conns[i]);
		if (filter != NULL)
			put_subscribe(&conns[i], filter);
		conn_flush(&conns[i]);
		net_poll(0);
	}
	while ((w.connected < (uint64_t)n || (filter != NULL && w.subscribed < (uint64_t)n)) && now_ns() - start < WAIT_S * SECOND_NS)
		net_poll(SECOND_NS / 10);
	return conns;
}

/* --topics 1: each with one subscription. */
void mode_mqtt_idle(void)
{
	uint64_t rss = proc_rss_kb(opt.server_pid), start = now_ns();
	char filter[NAME_MAX_BYTES + 3];
	snprintf(filter, sizeof filter, "%.200s/#", opt.topic);
	open_waiting(opt.conns, opt.topics > 0 ? filter : NULL);
	double s = (double)(now_ns() - start) / 1e9;
	uint64_t cpu = proc_cpu_us(opt.server_pid), quiet = now_ns();
	while (now_ns() - quiet < (uint64_t)(opt.seconds * 1e9))
		net_poll(SECOND_NS / 10);
	uint64_t rss_after = proc_rss_kb(opt.server_pid);
	printf("mode=mqtt-idle server=%s conns=%d subscriptions=%d seconds=%.3f rate=%.0f", opt.label, opt.conns, opt.topics > 0, s, opt.conns / s);
	printf(" rss_before_kb=%" PRIu64 " rss_after_kb=%" PRIu64 " bytes_per_conn=%.0f", rss, rss_after,
	       ((double)rss_after - (double)rss) * 1024 / opt.conns);
	printf(" idle_cpu=%.4f", (double)(proc_cpu_us(opt.server_pid) - cpu) / 1e6 / (opt.seconds > 0 ? opt.seconds : 1));
	verdict(w.connected == (uint64_t)opt.conns && (opt.topics <= 0 || w.subscribed == (uint64_t)opt.conns) ? NULL : "not-all-answered");
}

/* One publisher, 'conns' subscribers of QoS 0, 'window' messages that are not with all of them yet. */
void mode_mqtt_fan(void)
{
	char filter[NAME_MAX_BYTES + 3], name[NAME_MAX_BYTES + 8];
	struct conn pub;
	uint64_t sent = 0, subs = (uint64_t)opt.conns;
	size_t length;
	snprintf(filter, sizeof filter, "%.200s/#", opt.topic);
	snprintf(name, sizeof name, "%.200s/fan", opt.topic);
	length = 2 + strlen(name) + (size_t)opt.body;
	if (opt.body < ID_BYTES)
		fatal("at least %d bytes of body", ID_BYTES);
	open_waiting(opt.conns, filter);
	if (w.subscribed != subs)
		verdict("not-all-subscribed");
	conn_open(&pub, opt.port, waiting_input, NULL);
	put_connect(&pub);
	uint64_t start = now_ns(), from = start + (uint64_t)(opt.warmup * 1e9), stop = from + (uint64_t)(opt.seconds * 1e9), now = start;
	uint64_t received = 0, cpu = 0, last = start, last_received = 0;
	while (now < stop || w.received < sent * subs) {
		if (!w.recording && now >= from && now < stop) {
			w.recording = true;
			received = w.received;
			cpu = proc_cpu_us(opt.server_pid);
			from = now;
		}
		while (now < stop && w.connected > subs && sent * subs < w.received + (uint64_t)opt.window * subs) {
			char *out = conn_room(&pub, HEAD_MAX + length);
			size_t n = put_head(out, PUBLISH, length);
			n += put_text(out + n, name);
			memset(out + n, 'x', (size_t)opt.body);
			be64_put(out + n, now_ns());
			conn_wrote(&pub, n + (size_t)opt.body);
			sent++;
		}
		conn_flush(&pub);
		net_poll(SECOND_NS / 100);
		now = now_ns();
		if (now >= stop && w.recording) {
			w.recording = false;
			received = w.received - received;
			cpu = proc_cpu_us(opt.server_pid) - cpu;
			stop = now;
		}
		if (w.received != last_received) {
			last_received = w.received;
			last = now;
		} else if (now - last > SETTLE_S * SECOND_NS) {
			break;
		}
	}
	double s = (double)(stop - from) / 1e9;
	printf("mode=mqtt-fan server=%s conns=%d window=%d body=%d seconds=%.3f messages=%" PRIu64 " rate=%.0f published=%" PRIu64, opt.label, opt.conns,
	       opt.window, opt.body, s, received, (double)received / s, sent);
	hist_print(&w.hist, "");
	printf(" server_cpu_us=%.3f", received > 0 ? (double)cpu / (double)received : 0);
	verdict(w.received == sent * subs ? NULL : "not-all-delivered");
}
