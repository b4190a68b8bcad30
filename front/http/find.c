/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Messages by key, and one by its id. An id is a UNIQ_KEY, which is looked for in a topic (without one, in all of them in turn), or an offset id,
 * which says itself where the message is.
 */
#include "front/http/api.h"

/* ---- By key ------------------------------------------------------------------------------------------------------------------------- */

static void found(struct engine_ask *ask, enum status st)
{
	struct api_job *j;
	struct message m;
	size_t bytes = 0;
	bool any = false;

	if (api_asked(ask, &j) && !(st != ST_NOT_FOUND && api_failed(j, st))) {
		const struct engine_find *r = &j->u.find;
		struct buf *b = api_out(j->api);
		buf_str(b, "{\"messages\":[");
		for (unsigned i = 0; st == ST_OK && i < r->count && bytes < API_ANSWER_BYTES; i++) {
			bytes += r->pieces[i].bytes.n;
			if (message_read(r->pieces[i].bytes, &m) != ST_OK)
				continue;
			buf_str(b, any ? "," : "");
			any = true;
			api_message(j->api, b, &m, m.r.topic, 0, NULL, 0);
		}
		buf_str(b, "]}");
		api_reply_json(j, 200, b);
	}
	api_tidy(j);
}

void api_find(struct api_job *j)
{
	struct http_api *a = j->api;
	const struct api_opts *o = &a->opts;
	int64_t from = 0, to = INT64_MAX;
	uint64_t max = API_MAX_DEFAULT;

	if (!api_has(o, PARAM_TOPIC) || !api_has(o, PARAM_KEY) || o->v[PARAM_KEY].n == 0) {
		api_problem(j, 400, ST_BAD_ARG, "options \"topic\" and \"key\" say what is wanted");
		return;
	}
	if (!api_opt_u64(j, PARAM_MAX, 1, a->conf->http_max_batch, &max) || !api_opt_moment(j, PARAM_FROM, &from) || !api_opt_moment(j, PARAM_TO, &to))
		return;
	struct engine_find *r = API_ASK(j, find, found);
	r->topic = o->v[PARAM_TOPIC];
	r->key = o->v[PARAM_KEY];
	r->max = (uint32_t)max;
	r->begin_ms = from;
	r->end_ms = to;
	engine_find(a->engine, r);
}

/* ---- By id -------------------------------------------------------------------------------------------------------------------------- */

struct hunt {
	struct buf id, topic;            /* topic: as asked; empty: any */
	struct buf topics;               /* each with a NUL behind it */
	size_t at;
};

static void fini(struct api_job *j)
{
	struct hunt *h = j->x;

	buf_fini(&h->id);
	buf_fini(&h->topic);
	buf_fini(&h->topics);
	mem_free(h);
}

static const struct api_job_ops hunt_ops = {.fini = fini};

static void answer(struct api_job *j, const struct message *m)
{
	struct buf *b = api_out(j->api);

	api_message(j->api, b, m, m->r.topic, 0, NULL, 0);
	api_reply_json(j, 200, b);
}

static void view_known(struct engine_ask *ask, enum status st);
static void next_topic(struct api_job *j);

static bool view(struct api_job *j)
{
	struct hunt *h = j->x;
	uint32_t ip, port;
	uint64_t position;

	if (!offset_id_parse(buf_view(&h->id), &ip, &port, &position))
		return false;
	struct engine_view *r = API_ASK(j, view, view_known);
	r->position = position;
	engine_view(j->api->engine, r);
	return true;
}

static void not_found(struct api_job *j)
{
	api_refuse(j, ST_NOT_FOUND, "no message has this id");
}

static void unique_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;
	struct message m;

	if (api_asked(ask, &j)) {
		struct hunt *h = j->x;
		if (st == ST_OK && j->u.find.count > 0 && message_read(j->u.find.pieces[0].bytes, &m) == ST_OK)
			answer(j, &m);
		else if (st != ST_OK && st != ST_NOT_FOUND && !(st == ST_NO_TOPIC && h->topic.n == 0))
			api_refuse(j, st, NULL);
		else if (h->topic.n == 0)
			next_topic(j);
		else if (!view(j))
			not_found(j);
	}
	api_tidy(j);
}

static void find_unique(struct api_job *j, struct slice topic)
{
	struct hunt *h = j->x;
	struct engine_find *r = API_ASK(j, find, unique_known);

	r->topic = topic;
	r->key = buf_view(&h->id);
	r->unique = true;
	r->max = 1;
	r->end_ms = INT64_MAX;
	engine_find(j->api->engine, r);
}

static void next_topic(struct api_job *j)
{
	struct hunt *h = j->x;

	if (h->at >= h->topics.n) {
		not_found(j);
		return;
	}
	struct slice topic = slice_str((const char *)h->topics.p + h->at);
	h->at += topic.n + 1;
	find_unique(j, topic);
}

static void topics_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct hunt *h = j->x;
		unsigned n = 0;
		for (size_t i = 0; i < j->u.topics.count; i++) {
			const struct topic_info *t = &j->u.topics.v[i];
			if (t->system)
				continue;
			n++;
			buf_slice(&h->topics, t->name);
			buf_u8(&h->topics, 0);
		}
		if (n > API_FIND_TOPICS)
			api_problem(j, 400, ST_BAD_ARG, "there are %u topics: option \"topic\" says which one the message is in", n);
		else
			next_topic(j);
	}
	api_tidy(j);
}

static void view_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;
	struct message m;
	uint32_t ip, port;
	uint64_t position;

	if (api_asked(ask, &j)) {
		struct hunt *h = j->x;
		CHECK(offset_id_parse(buf_view(&h->id), &ip, &port, &position));
		if (st == ST_OK && message_read(j->u.view.piece.bytes, &m) == ST_OK && m.r.store_ip == ip && m.r.store_port == port &&
			(h->topic.n == 0 || slice_eq(m.r.topic, buf_view(&h->topic))))
			answer(j, &m);
		else if (h->topic.n > 0)
			not_found(j);
		else
			engine_topic_list(j->api->engine, API_ASK(j, topics, topics_known));
	}
	api_tidy(j);
}

void api_find_id(struct api_job *j)
{
	struct http_api *a = j->api;
	const struct api_opts *o = &a->opts;
	struct hunt *h = mem_new(sizeof(*h));

	j->x = h;
	j->ops = &hunt_ops;
	buf_slice(&h->id, j->arg[0]);
	if (api_has(o, PARAM_TOPIC))
		buf_slice(&h->topic, o->v[PARAM_TOPIC]);
	if (h->topic.n > 0)
		find_unique(j, buf_view(&h->topic));
	else if (!view(j))
		engine_topic_list(a->engine, API_ASK(j, topics, topics_known));
}
