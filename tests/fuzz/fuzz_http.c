/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The HTTP interface under arbitrary requests, over a real engine on a disk in memory. An input is a row of requests, each a byte that chooses
 * method and path, one that says when its caller hangs up and what becomes of its socket, and four texts: the rest of the path, query, headers, body;
 * each ended by the byte 0. '$' stands for the last receipt in a body, and for the last event's id in a header: no fuzzer guesses those. Whatever comes: what is answered as JSON must be JSON, and nothing may be left at the end.
 */
#include <stdlib.h>

#include <jansson.h>

#include "base/mem.h"
#include "base/obj.h"
#include "tests/lib/http_rig.h"

#define INPUTS_A_LIFE 500u /* then the engine is opened again, so that its log stays small */
#define REQUESTS_MAX 12u

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
	const char *method, *path;
} routes[] = {
	{"POST", "/v1/topics/t/messages"}, {"GET", "/v1/topics/t/groups/g/messages"}, {"POST", "/v1/receipts/ack"}, {"POST", "/v1/receipts/nack"},
	{"POST", "/v1/receipts/extend"}, {"GET", "/v1/topics/t/messages"}, {"GET", "/v1/topics"}, {"GET", "/v1/topics/t"}, {"PUT", "/v1/topics/t"},
	{"DELETE", "/v1/topics/t"}, {"GET", "/v1/groups"}, {"GET", "/v1/groups/g"}, {"PUT", "/v1/groups/g"}, {"DELETE", "/v1/groups/g"},
	{"POST", "/v1/groups/g/offsets"}, {"GET", "/v1/messages"}, {"GET", "/v1/messages/"}, {"GET", "/metrics"}, {"GET", "/readyz"}, {"GET", "/openapi.json"},
	{"OPTIONS", "/v1/topics/t/messages"}, {"GET", "/"}, {"HEAD", "/v1/topics"}, {"POST", "/v1/topics/"}, {"GET", "/v1/topics/"}, {"PATCH", ""},
};

static struct http_rig h;
static unsigned inputs;

static char receipt[512], event[512];

static void learn_one(const char *text, const char *mark, char end, char to[512])
{
	const char *last = NULL;

	for (const char *p = text; (p = strstr(p, mark)) != NULL; p++)
		last = p + strlen(mark);
	const char *stop = last == NULL ? NULL : strchr(last, end);
	if (stop == NULL || stop - last > 511)
		return;
	memcpy(to, last, (size_t)(stop - last));
	to[stop - last] = '\0';
}

static void learn(void)
{
	for (unsigned i = 0; i < h.n_calls; i++) {
		learn_one(http_rig_body(h.calls[i]), "\"receipt\":\"", '"', receipt);
		learn_one(http_rig_body(h.calls[i]), "id: ", '\n', event);
	}
}

static void put_filled(struct buf *to, struct slice text, const char *with)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == '$')
			buf_str(to, with);
		else
			buf_u8(to, text.p[i]);
}

static struct slice take(struct slice *rest)
{
	struct slice one = {NULL, 0};

	slice_split(rest, '\0', &one);
	return one;
}

static void check(struct http_call_rig *c)
{
	if (!c->over || c->streaming || c->body.n == 0 || strstr(http_rig_head(c), "json\r\n") == NULL)
		return;
	json_t *j = json_loadb((const char *)c->body.p, c->body.n, JSON_ALLOW_NUL, NULL);
	CHECK(j != NULL);
	json_decref(j);
}

/* A carrier hands in header lines that are well formed. */
static void put_headers(struct buf *to, struct slice text)
{
	struct slice line;

	for (unsigned n = 0; n < HTTP_RIG_HEADERS - 2 && slice_split(&text, '\n', &line);)
		if (line.n > 0 && memchr(line.p, ':', line.n) != NULL && memchr(line.p, ':', line.n) != line.p) {
			put_filled(to, line, event);
			buf_u8(to, '\n');
			n++;
		}
}

static void request(struct slice *rest)
{
	uint8_t which = rest->p[0], how = rest->p[1];
	struct buf target = {0}, headers = {0}, text = {0};

	learn();
	*rest = slice_skip(*rest, 2);
	buf_str(&target, routes[which % ARRAY_LEN(routes)].path);
	struct slice more = take(rest), query = take(rest), lines = take(rest), body = take(rest);
	buf_slice(&target, more);
	if (query.n > 0) {
		buf_u8(&target, '?');
		buf_slice(&target, query);
	}
	if ((how & 1) != 0)
		buf_str(&headers, "accept: text/event-stream\n");
	put_headers(&headers, lines);
	put_filled(&text, body, receipt);
	struct http_call_rig *c = http_rig_start(&h, routes[which % ARRAY_LEN(routes)].method, buf_cstr(&target), buf_cstr(&headers), buf_view(&text));
	http_rig_stall(c, (how & 2) != 0);
	http_rig_turns(&h, how >> 2 & 31);
	if ((how & 128) != 0)
		http_rig_gone(c);
	buf_fini(&target);
	buf_fini(&headers);
	buf_fini(&text);
}

/* An input leaves a longer log behind: no leak, but libFuzzer would search for one after each. The end of the process is soon enough. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char option[] = "-detect_leaks=0";
	char **v = calloc((size_t)*argc + 2, sizeof(*v));

	CHECK(v != NULL);
	memcpy(v, *argv, (size_t)*argc * sizeof(*v));
	v[(*argc)++] = option;
	*argv = v;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of(data, size);

	if (inputs == 0) {
		http_rig_init(&h);
		h.conf.http_stream_window = 4;
		http_rig_open(&h);
	}
	for (unsigned i = 0; i < REQUESTS_MAX && rest.n > 2; i++)
		request(&rest);
	for (unsigned i = 0; i < 3; i++) {
		http_rig_turns(&h, 8);
		h.r.clock.ns += 60 * MS_NS;
	}
	for (unsigned i = 0; i < h.n_calls; i++)
		check(h.calls[i]);
	while (h.n_calls > 0)
		http_rig_free(h.calls[0]);
	http_rig_turns(&h, 10);
	CHECK(http_api_idle(h.api));
	CHECK(engine_port_idle(h.port));
	if (++inputs == INPUTS_A_LIFE) {
		http_rig_fini(&h);
		inputs = 0;
	}
	return 0;
}
