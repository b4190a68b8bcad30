/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Numbers for Prometheus, and the two questions of whoever watches over processes. */
#include "front/http/api.h"

static void put_head(struct buf *b, const char *name, const char *kind, const char *text)
{
	buf_fmt(b, "# HELP %s %s\n# TYPE %s %s\n", name, text, name, kind);
}

static void put_requests(struct http_api *a, struct buf *b)
{
	put_head(b, "gantry_http_requests_total", "counter", "HTTP requests answered");
	for (unsigned i = 0; i <= api_n_routes; i++)
		for (unsigned class = 0; class < 5; class++) {
			const struct api_route *r = &api_routes[i];
			uint64_t n = a->requests[i * 5 + class];
			if (n > 0)
				buf_fmt(b, "gantry_http_requests_total{method=\"%s\",route=\"%s\",status=\"%uxx\"} %llu\n", i < api_n_routes ? r->method : "",
					i < api_n_routes ? r->path : "other", class + 1, (unsigned long long)n);
		}
	put_head(b, "gantry_http_polls", "gauge", "HTTP callers that wait for messages");
	buf_fmt(b, "gantry_http_polls %llu\n", (unsigned long long)a->n_polls);
	put_head(b, "gantry_http_streams", "gauge", "event streams over HTTP");
	buf_fmt(b, "gantry_http_streams %llu\n", (unsigned long long)a->n_streams);
}

static void metrics_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct http_api *a = j->api;
		struct buf *b = api_out(a);
		for (unsigned i = 0; i < STAT_COUNT; i++) {
			const struct stat_row *r = &engine_stat_rows[i];
			char name[80] = "gantry_";
			size_t n = strlen(name);
			for (const char *p = r->name; *p != '\0' && n < sizeof(name) - 1; p++)
				name[n++] = *p == '_' ? '_' : (char)(*p | 0x20);
			put_head(b, name, r->kind, r->text);
			buf_fmt(b, "%s %llu\n", name, (unsigned long long)j->u.stats.v[i]);
		}
		put_requests(a, b);
		if (a->env.describe != NULL)
			a->env.describe(a->env.describe_arg, b);
		api_reply(j, 200, "text/plain; version=0.0.4; charset=utf-8", SLICE_LIT("cache-control: no-store\r\n"), buf_view(b));
	}
	api_tidy(j);
}

void api_metrics(struct api_job *j)
{
	const struct http_api_env *env = &j->api->env;

	if (env->describe != NULL)
		env->describe(env->describe_arg, NULL);
	engine_stats(j->api->engine, API_ASK(j, stats, metrics_known));
}

static void say(struct api_job *j, const char *text)
{
	struct buf *b = api_out(j->api);

	buf_fmt(b, "{\"status\":\"%s\"}", text);
	api_reply_json(j, 200, b);
}

void api_health(struct api_job *j)
{
	say(j, "ok");
}

static void state_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		if (j->api->draining)
			api_problem(j, 503, ST_CLOSED, NULL);
		else if (j->u.stats.v[STAT_POISONED] != 0)
			api_problem(j, 503, ST_IO, NULL);
		else if (j->u.stats.v[STAT_DISK_FULL] != 0)
			api_problem(j, 503, ST_DISK_FULL, NULL);
		else
			say(j, "ready");
	}
	api_tidy(j);
}

void api_readiness(struct api_job *j)
{
	if (j->api->draining)
		api_problem(j, 503, ST_CLOSED, NULL);
	else
		engine_stats(j->api->engine, API_ASK(j, stats, state_known));
}
