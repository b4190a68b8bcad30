/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * One publisher, many WebSocket subscribers that all get everything: how many frames a second arrive. Mode "fan" speaks Gantry's JSON protocol; "fan-bare" the
 * same frames with `bare fan`, which sends to every socket in a loop and does nothing else. The publisher has 'window' messages that are not answered, or not
 * with every subscriber yet; so nobody's queue grows, and the slowest one sets the pace for both.
 *
 * Mode "fan-idle" opens WebSockets and is quiet: memory of a connection.
 */
#include "tests/bench/send.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 256 << 10, EVENTS = 512, SMALL = 4096, HEAD_MAX = 10, FILES = 20000 };

struct sub {
	int fd;
	uint64_t left;            /* bytes of the frame that are still to come */
	unsigned head_n;          /* bytes of its head that have come */
	uint8_t head[HEAD_MAX];
};
static struct fan {
	bool bare;
	int ep;
	struct sub *subs;         /* 'conns' subscribers, then the publisher */
	uint8_t *publish;         /* one masked frame that publishes */
	size_t publish_n;
	uint64_t sent, answered, frames, bytes;
	char buf[READ_BYTES];
} fan;

static int dial(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
		fatal("cannot connect to %d", opt.port);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

static void put(int fd, const void *p, size_t n)
{
	for (size_t k; n > 0; p = (const char *)p + k, n -= k) {
		ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
		if (w <= 0)
			fatal("a connection was cut");
		k = (size_t)w;
	}
}

/* Reads until the text has come; what follows it must not be needed. */
static void await(int fd, const char *text)
{
	char b[SMALL];
	size_t n = 0;

	while (n < sizeof b) {
		ssize_t k = recv(fd, b + n, sizeof b - n, 0);
		if (k <= 0)
			fatal("hung up before \"%s\"", text);
		n += (size_t)k;
		if (memmem(b, n, text, strlen(text)) != NULL)
			return;
	}
	fatal("no \"%s\" in %.*s", text, 200, b);
}

/* A text frame of a client, masked with zeros: to unmask it costs the server the same. */
static size_t frame(uint8_t *to, const char *text)
{
	size_t n = strlen(text), h = 2;

	to[0] = 0x81;
	if (n < 126) {
		to[1] = (uint8_t)(0x80 | n);
	} else {
		to[1] = 0x80 | 126;
		be16_put(to + 2, (uint16_t)n);
		h = 4;
	}
	memset(to + h, 0, 4);
	memcpy(to + h + 4, text, n);
	return h + 4 + n;
}

static void say(int fd, const char *text)
{
	uint8_t b[SMALL];

	put(fd, b, frame(b, text));
}

static int open_websocket(void)
{
	static const char request[] = "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
				      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: gantry.v1.json\r\n\r\n";
	int fd = dial();

	put(fd, request, sizeof request - 1);
	await(fd, "\"ping\":");
	return fd;
}

/* Counts the frames that end in these bytes. */
static uint64_t count(struct sub *s, const uint8_t *p, size_t n)
{
	uint64_t frames = 0;

	while (n > 0) {
		if (s->left > 0) {
			size_t k = n < s->left ? n : (size_t)s->left;
			s->left -= k;
			p += k;
			n -= k;
			frames += s->left == 0;
			continue;
		}
		s->head[s->head_n++] = *p++;
		n--;
		unsigned len = s->head_n > 1 ? s->head[1] & 127 : 0, need = len < 126 ? 2 : len == 126 ? 4 : HEAD_MAX;
		if (s->head_n < need)
			continue;
		s->left = len < 126 ? len : len == 126 ? be16_get(s->head + 2) : be64_get(s->head + 2);
		s->head_n = 0;
	}
	return frames;
}

static void publish_more(void)
{
	uint64_t window = (uint64_t)opt.window, conns = (uint64_t)opt.conns;

	while (fan.sent < fan.answered + window && (fan.sent < window || fan.frames >= (fan.sent - window) * conns)) {
		put(fan.subs[opt.conns].fd, fan.publish, fan.publish_n);
		fan.sent++;
	}
}

static void read_some(int timeout_ms)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(fan.ep, ev, EVENTS, timeout_ms);

	if (n <= 0)
		fatal("stalled: %llu frames of %llu messages to %d subscribers", (unsigned long long)fan.frames, (unsigned long long)fan.sent, opt.conns);
	for (int i = 0; i < n; i++) {
		struct sub *s = ev[i].data.ptr;
		ssize_t k = recv(s->fd, fan.buf, sizeof fan.buf, 0);
		if (k <= 0)
			fatal("a subscriber was cut");
		uint64_t frames = count(s, (const uint8_t *)fan.buf, (size_t)k);
		if (s == &fan.subs[opt.conns]) {
			fan.answered += frames;
		} else {
			fan.frames += frames;
			fan.bytes += (uint64_t)k;
		}
	}
}

static void watch(struct sub *s)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};

	epoll_ctl(fan.ep, EPOLL_CTL_ADD, s->fd, &e);
}

static void many_files(void)
{
	struct rlimit r = {FILES, FILES};

	(void)setrlimit(RLIMIT_NOFILE, &r);
}

static void open_all(void)
{
	char text[SMALL], body[SMALL / 2];
	struct sub *p = &fan.subs[opt.conns];

	if (opt.body >= SMALL / 2)
		fatal("--body is below %d", SMALL / 2);
	memset(body, 'x', (size_t)opt.body);
	body[opt.body] = 0;
	if (!fan.bare) {
		p->fd = open_websocket();
		snprintf(text, sizeof text, "{\"type\":\"publish\",\"id\":1,\"topic\":\"%s\",\"body\":\"first\"}", opt.topic);
		say(p->fd, text);
		await(p->fd, "\"durability\":");
	}
	for (int i = 0; i < opt.conns; i++) {
		fan.subs[i].fd = fan.bare ? dial() : open_websocket();
		snprintf(text, sizeof text, "{\"type\":\"subscribe\",\"id\":\"s\",\"topic\":\"%s\",\"credit\":\"auto\"}", opt.topic);
		if (!fan.bare) {
			say(fan.subs[i].fd, text);
			await(fan.subs[i].fd, "\"cursor\":");
		}
		watch(&fan.subs[i]);
	}
	if (fan.bare) {
		p->fd = dial();
		fan.publish_n = (size_t)opt.body;
		fan.publish = calloc(1, fan.publish_n);
		be32_put(fan.publish, (uint32_t)fan.publish_n - 4);
	} else {
		snprintf(text, sizeof text, "{\"type\":\"publish\",\"id\":1,\"topic\":\"%s\",\"body\":\"%s\"}", opt.topic, body);
		fan.publish = malloc(SMALL + 16);
		fan.publish_n = frame(fan.publish, text);
	}
	watch(p);
}

void mode_fan(void)
{
	fan.bare = strcmp(opt.mode, "fan-bare") == 0;
	many_files();
	fan.ep = epoll_create1(EPOLL_CLOEXEC);
	fan.subs = calloc((size_t)opt.conns + 1, sizeof *fan.subs);
	open_all();
	uint64_t start = now_ns(), frames = 0, bytes = 0, server = 0, self = 0;
	uint64_t from = start + (uint64_t)(opt.warmup * 1e9), end = from + (uint64_t)(opt.seconds * 1e9), now = start;
	while (now < end) {
		publish_more();
		read_some(10000);
		now = now_ns();
		if (server == 0 && now >= from) {
			from = now;
			frames = fan.frames;
			bytes = fan.bytes;
			server = 1 + proc_cpu_us(opt.server_pid);
			self = self_cpu_us();
		}
	}
	double s = (double)(now - from) / 1e9, n = (double)(fan.frames - frames);
	uint64_t counted = fan.frames - frames, server_cpu = 1 + proc_cpu_us(opt.server_pid) - server, self_cpu = self_cpu_us() - self;
	bytes = fan.bytes - bytes;
	while (fan.frames < fan.sent * (uint64_t)opt.conns || fan.answered < fan.sent)
		read_some(10000);
	printf("mode=%s server=%s conns=%d window=%d seconds=%.3f messages=%llu rate=%.0f frame_bytes=%.0f", opt.mode, opt.label, opt.conns, opt.window, s,
	       (unsigned long long)counted, n / s, n > 0 ? (double)bytes / n : 0);
	printf(" server_cpu_us=%.2f client_cpu_us=%.2f", (double)server_cpu / n, (double)self_cpu / n);
	verdict(fan.frames == fan.sent * (uint64_t)opt.conns ? NULL : "some-came-twice");
}

void mode_fan_idle(void)
{
	many_files();
	int warm = open_websocket();
	say(warm, "{\"type\":\"ping\"}");
	await(warm, "pong");
	uint64_t before = proc_rss_kb(opt.server_pid);
	for (int i = 0; i < opt.conns; i++)
		(void)open_websocket();
	uint64_t cpu = proc_cpu_us(opt.server_pid);
	usleep((useconds_t)(opt.seconds * 1e6));
	cpu = proc_cpu_us(opt.server_pid) - cpu;
	uint64_t after = proc_rss_kb(opt.server_pid);
	printf("mode=%s server=%s conns=%d rss_kb=%llu rss_per_conn=%.0f cpu_share=%.4f", opt.mode, opt.label, opt.conns, (unsigned long long)after,
	       (double)(after - before) * 1024 / opt.conns, (double)cpu / 1e6 / opt.seconds);
	verdict(NULL);
}
