/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Topics: list, make, describe, drop. A description asks for each queue's bounds, and for the groups that have an offset there. */
#include "front/http/api.h"

static void put_perm(struct buf *b, uint32_t perm)
{
	buf_fmt(b, "\"%s%s\"", (perm & PERM_READ) != 0 ? "r" : "", (perm & PERM_WRITE) != 0 ? "w" : "");
}

static void put_topic(struct buf *b, struct slice name, const struct topic_conf *c)
{
	buf_str(b, "\"name\":");
	buf_json_str(b, name);
	buf_fmt(b, ",\"readQueues\":%u,\"writeQueues\":%u,\"order\":%s,\"perm\":", c->read_queues, c->write_queues, c->order ? "true" : "false");
	put_perm(b, c->perm);
}

/* ---- List --------------------------------------------------------------------------------------------------------------------------- */

static bool is_system(const struct topic_info *t)
{
	return t->system || slice_starts(t->name, SLICE_LIT("%RETRY%")) || slice_starts(t->name, SLICE_LIT("%DLQ%"));
}

static void listed(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct buf *b = api_out(j->api);
		bool any = false;
		buf_str(b, "{\"topics\":[");
		for (size_t i = 0; i < j->u.topics.count; i++) {
			const struct topic_info *t = &j->u.topics.v[i];
			/* Dead letters are what people look for; they are shown with the others. */
			if (is_system(t) && j->at == 0 && !slice_starts(t->name, SLICE_LIT("%DLQ%")))
				continue;
			buf_str(b, any ? ",{" : "{");
			any = true;
			put_topic(b, t->name, &t->conf);
			buf_fmt(b, ",\"system\":%s,\"messages\":%llu}", is_system(t) ? "true" : "false", (unsigned long long)t->messages);
		}
		buf_str(b, "]}");
		api_reply_json(j, 200, b);
	}
	api_tidy(j);
}

void api_topics_list(struct api_job *j)
{
	bool all = false;

	if (!api_opt_bool(j, PARAM_SYSTEM, &all))
		return;
	j->at = all;
	API_ASK(j, topics, listed)->counts = true;
	engine_topic_list(j->api->engine, &j->u.topics);
}

/* ---- Make and change ---------------------------------------------------------------------------------------------------------------- */

static void put_done(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct buf *b = api_out(j->api);
		buf_u8(b, '{');
		put_topic(b, buf_view(&j->text), &j->u.topic.conf);
		buf_u8(b, '}');
		api_reply_json(j, j->at != 0 ? 200 : 201, b);
	}
	api_tidy(j);
}

static bool read_perm(struct api_job *j, const char *text, uint32_t *ret)
{
	static const struct {
		const char *text;
		uint32_t perm;
	} all[] = {{"rw", PERM_READ | PERM_WRITE}, {"r", PERM_READ}, {"w", PERM_WRITE}, {"", 0}};

	for (unsigned i = 0; text != NULL && i < ARRAY_LEN(all); i++)
		if (strcmp(all[i].text, text) == 0) {
			*ret = all[i].perm;
			return true;
		}
	api_problem(j, 400, ST_BAD_ARG, "member \"perm\" must be \"rw\", \"r\", \"w\" or \"\"");
	return false;
}

/* What the body says is laid over what the topic was, or over the defaults. */
static bool read_conf(struct api_job *j, struct topic_conf *c)
{
	static const char *const members[] = {"readQueues", "writeQueues", "perm", "order", NULL};
	uint64_t read = c->read_queues, write = c->write_queues;
	void *json;
	const char *perm;
	bool good;

	if (!api_json(j, members, &json))
		return false;
	good = api_json_u64(j, json, "readQueues", 1, UINT16_MAX, &read) && api_json_u64(j, json, "writeQueues", 1, UINT16_MAX, &write) &&
		api_json_bool(j, json, "order", &c->order);
	if (good && api_json_text(json, "perm", &perm))
		good = read_perm(j, perm, &c->perm);
	c->read_queues = (uint32_t)read;
	c->write_queues = (uint32_t)write;
	api_json_free(json);
	return good;
}

static void put_looked(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j)) {
		struct topic_conf c = {.read_queues = j->api->conf->default_queues, .write_queues = j->api->conf->default_queues, .perm = PERM_READ | PERM_WRITE};
		j->at = st == ST_OK;
		if (st == ST_OK)
			c = j->u.topic.conf;
		if (c.read_queues == 0)
			c.read_queues = c.write_queues = 1;
		if (st != ST_OK && st != ST_NO_TOPIC) {
			api_refuse(j, st, NULL);
		} else if (read_conf(j, &c)) {
			struct engine_topic *r = API_ASK(j, topic, put_done);
			r->name = buf_view(&j->text);
			r->conf = c;
			engine_topic_put(j->api->engine, r);
		}
	}
	api_tidy(j);
}

void api_topic_put(struct api_job *j)
{
	buf_slice(&j->text, j->arg[0]);
	struct engine_topic *r = API_ASK(j, topic, put_looked);
	r->name = buf_view(&j->text);
	engine_topic_get(j->api->engine, r);
}

static void dropped(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st))
		api_reply(j, 204, NULL, (struct slice){NULL, 0}, (struct slice){NULL, 0});
	api_tidy(j);
}

void api_topic_drop(struct api_job *j)
{
	struct engine_topic *r = API_ASK(j, topic, dropped);

	r->name = j->arg[0];
	engine_topic_drop(j->api->engine, r);
}

/* ---- Describe ----------------------------------------------------------------------------------------------------------------------- */

struct described;
struct bounds {
	struct engine_range r;
	struct described *all;
	enum status st;
};
struct described {
	struct api_job *job;
	struct topic_conf conf;
	bool system;
	unsigned n, left;
	struct bounds *v;
	struct buf groups;               /* names, each with a NUL behind it: to be looked at */
	size_t at;
	struct buf json;                 /* groups that read it */
};

static void fini(struct api_job *j)
{
	struct described *d = j->x;

	mem_free(d->v);
	buf_fini(&d->groups);
	buf_fini(&d->json);
	mem_free(d);
}

static const struct api_job_ops described_ops = {.fini = fini};

static void finish(struct described *d)
{
	struct api_job *j = d->job;
	struct buf *b = api_out(j->api);
	uint64_t messages = 0;

	if (j->call == NULL)
		return;
	buf_u8(b, '{');
	put_topic(b, buf_view(&j->text), &d->conf);
	buf_fmt(b, ",\"system\":%s,\"queues\":[", d->system ? "true" : "false");
	for (unsigned i = 0; i < d->n; i++) {
		const struct engine_range *r = &d->v[i].r;
		buf_fmt(b, "%s{\"queue\":%u,\"min\":%llu,\"max\":%llu}", i > 0 ? "," : "", i, (unsigned long long)r->min, (unsigned long long)r->max);
		messages += r->max - r->min;
	}
	buf_fmt(b, "],\"messages\":%llu,\"groups\":[", (unsigned long long)messages);
	buf_slice(b, buf_view(&d->json));
	buf_str(b, "]}");
	api_reply_json(j, 200, b);
}

static void next_group(struct described *d);

static void offsets_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j)) {
		struct described *d = j->x;
		struct slice name = slice_str((const char *)d->groups.p + d->at), topic = buf_view(&j->text);
		uint64_t lag = 0;
		bool reads = false;
		for (size_t i = 0; st == ST_OK && i < j->u.offsets.count; i++) {
			const struct offset_info *o = &j->u.offsets.v[i];
			if (!slice_eq(o->topic, topic))
				continue;
			reads = true;
			lag += o->max > o->offset ? o->max - o->offset : 0;
		}
		d->at += name.n + 1;
		if (reads) {
			buf_str(&d->json, d->json.n > 0 ? ",{\"name\":" : "{\"name\":");
			buf_json_str(&d->json, name);
			buf_fmt(&d->json, ",\"lag\":%llu}", (unsigned long long)lag);
		}
		next_group(d);
	}
	api_tidy(j);
}

static void next_group(struct described *d)
{
	struct api_job *j = d->job;

	if (d->at >= d->groups.n) {
		finish(d);
		return;
	}
	struct engine_offsets *r = API_ASK(j, offsets, offsets_known);
	r->group = slice_str((const char *)d->groups.p + d->at);
	engine_offset_list(j->api->engine, r);
}

static void groups_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j)) {
		struct described *d = j->x;
		for (size_t i = 0; st == ST_OK && i < j->u.groups.count; i++) {
			buf_slice(&d->groups, j->u.groups.v[i].name);
			buf_u8(&d->groups, 0);
		}
		next_group(d);
	}
	api_tidy(j);
}

static void bounds_known(struct engine_ask *ask, enum status st)
{
	struct bounds *r = container_of(ask, struct bounds, r.ask);
	struct described *d = r->all;
	struct api_job *j = d->job;

	if (st != ST_OK)
		r->r.min = r->r.max = 0;
	j->asks--;
	if (--d->left == 0 && j->call != NULL)
		engine_group_list(j->api->engine, API_ASK(j, groups, groups_known));
	api_tidy(j);
}

static void topic_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct described *d = mem_new(sizeof(*d));
		const struct topic_conf *c = &j->u.topic.conf;
		uint32_t n = c->read_queues > c->write_queues ? c->read_queues : c->write_queues;
		d->job = j;
		d->conf = *c;
		d->system = j->u.topic.info.system;
		d->n = d->left = n < API_QUEUES_MAX ? n : API_QUEUES_MAX;
		d->v = mem_array(d->n, sizeof(*d->v));
		j->x = d;
		j->ops = &described_ops;
		if (n == 0)
			engine_group_list(j->api->engine, API_ASK(j, groups, groups_known));
		for (uint32_t i = 0; i < d->n; i++) {
			d->v[i].all = d;
			d->v[i].r = (struct engine_range){.ask = {.done = bounds_known}, .actor = &j->actor, .topic = buf_view(&j->text), .queue = (int32_t)i};
			j->asks++;
			engine_range(j->api->engine, &d->v[i].r);
		}
	}
	api_tidy(j);
}

void api_topic_get(struct api_job *j)
{
	buf_slice(&j->text, j->arg[0]);
	struct engine_topic *r = API_ASK(j, topic, topic_known);
	r->name = buf_view(&j->text);
	engine_topic_get(j->api->engine, r);
}
