/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Groups: list, make, describe, drop; and their offsets. */
#include "front/http/api.h"

static void put_conf(struct buf *b, const struct group_conf *c)
{
	buf_fmt(b, "\"consume\":%s,\"broadcast\":%s,\"orderly\":%s,\"retryMax\":%u", c->consume ? "true" : "false", c->broadcast ? "true" : "false",
		c->orderly ? "true" : "false", c->retry_max);
}

static uint64_t lag_of(const struct offset_info *o)
{
	return o->max > o->offset ? o->max - o->offset : 0;
}

/* A group's own retries are waiting too, but they are in no topic that anybody sent to. */
static bool is_retry(struct slice topic)
{
	return slice_starts(topic, SLICE_LIT("%RETRY%"));
}

/* ---- List --------------------------------------------------------------------------------------------------------------------------- */

struct row {
	char *name;
	struct group_conf conf;
	uint32_t members;
};
struct listing {
	struct row *v;
	size_t n, at;
	struct buf json;
};

static void list_fini(struct api_job *j)
{
	struct listing *l = j->x;

	for (size_t i = 0; i < l->n; i++)
		mem_free(l->v[i].name);
	mem_free(l->v);
	buf_fini(&l->json);
	mem_free(l);
}

static const struct api_job_ops list_ops = {.fini = list_fini};

static void next_row(struct api_job *j);

static void row_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j)) {
		struct listing *l = j->x;
		const struct row *r = &l->v[l->at++];
		struct buf *b = &l->json;
		uint64_t lag = 0;
		for (size_t i = 0; st == ST_OK && i < j->u.offsets.count; i++)
			lag += is_retry(j->u.offsets.v[i].topic) ? 0 : lag_of(&j->u.offsets.v[i]);
		buf_str(b, b->n > 0 ? ",{\"name\":" : "{\"name\":");
		buf_json_str(b, slice_str(r->name));
		buf_fmt(b, ",\"members\":%u,\"lag\":%llu,", r->members, (unsigned long long)lag);
		put_conf(b, &r->conf);
		buf_u8(b, '}');
		next_row(j);
	}
	api_tidy(j);
}

static void next_row(struct api_job *j)
{
	struct listing *l = j->x;
	struct buf *b;

	if (l->at < l->n) {
		struct engine_offsets *r = API_ASK(j, offsets, row_known);
		r->group = slice_str(l->v[l->at].name);
		engine_offset_list(j->api->engine, r);
		return;
	}
	b = api_out(j->api);
	buf_str(b, "{\"groups\":[");
	buf_slice(b, buf_view(&l->json));
	buf_str(b, "]}");
	api_reply_json(j, 200, b);
}

/* Names that Apache's tools and this broker use themselves. */
static bool is_system(struct slice name)
{
	static const char *const names[] = {"TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP", "SELF_TEST_P_GROUP", "CID_ONS-HTTP-PROXY",
		"CID_ONSAPI_PULL", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER", "CID_RMQ_SYS_TRANS", "CLIENT_INNER_PRODUCER"};

	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if (slice_eq_str(name, names[i]))
			return true;
	return slice_starts(name, SLICE_LIT("CID_RMQ_SYS_")) || slice_starts(name, SLICE_LIT("CID_SYS_RMQ_"));
}

static void listed(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct listing *l = mem_new(sizeof(*l));
		l->v = mem_array(j->u.groups.count, sizeof(*l->v));
		for (size_t i = 0; i < j->u.groups.count; i++) {
			const struct group_info *g = &j->u.groups.v[i];
			if (j->at != 0 || !is_system(g->name))
				l->v[l->n++] = (struct row){slice_dup(g->name), g->conf, g->members};
		}
		j->x = l;
		j->ops = &list_ops;
		next_row(j);
	}
	api_tidy(j);
}

void api_groups_list(struct api_job *j)
{
	bool all = false;

	if (!api_opt_bool(j, PARAM_SYSTEM, &all))
		return;
	j->at = all;
	engine_group_list(j->api->engine, API_ASK(j, groups, listed));
}

/* ---- Make, change, drop ------------------------------------------------------------------------------------------------------------- */

static void put_done(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct buf *b = api_out(j->api);
		buf_str(b, "{\"name\":");
		buf_json_str(b, buf_view(&j->text));
		buf_u8(b, ',');
		put_conf(b, &j->u.group.conf);
		buf_u8(b, '}');
		api_reply_json(j, j->at != 0 ? 200 : 201, b);
	}
	api_tidy(j);
}

static bool read_conf(struct api_job *j, struct group_conf *c)
{
	static const char *const members[] = {"consume", "broadcast", "orderly", "retryMax", NULL};
	uint64_t retries = c->retry_max;
	void *json;

	if (!api_json(j, members, &json))
		return false;
	bool good = api_json_bool(j, json, "consume", &c->consume) && api_json_bool(j, json, "broadcast", &c->broadcast) &&
		api_json_bool(j, json, "orderly", &c->orderly) && api_json_u64(j, json, "retryMax", 1, INT32_MAX, &retries);
	c->retry_max = (uint32_t)retries;
	api_json_free(json);
	return good;
}

static void put_looked(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j)) {
		struct group_conf c;
		group_conf_default(&c);
		j->at = st == ST_OK;
		if (st == ST_OK)
			c = j->u.group.conf;
		if (st != ST_OK && st != ST_NO_GROUP) {
			api_refuse(j, st, NULL);
		} else if (read_conf(j, &c)) {
			struct engine_group *r = API_ASK(j, group, put_done);
			r->name = buf_view(&j->text);
			r->conf = c;
			engine_group_put(j->api->engine, r);
		}
	}
	api_tidy(j);
}

void api_group_put(struct api_job *j)
{
	buf_slice(&j->text, j->arg[0]);
	struct engine_group *r = API_ASK(j, group, put_looked);
	r->name = buf_view(&j->text);
	engine_group_get(j->api->engine, r);
}

static void dropped(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st))
		api_reply(j, 204, NULL, (struct slice){NULL, 0}, (struct slice){NULL, 0});
	api_tidy(j);
}

void api_group_drop(struct api_job *j)
{
	bool offsets = false;

	if (!api_opt_bool(j, PARAM_OFFSETS, &offsets))
		return;
	struct engine_group *r = API_ASK(j, group, dropped);
	r->name = j->arg[0];
	r->drop_offsets = offsets;
	engine_group_drop(j->api->engine, r);
}

/* ---- Describe ----------------------------------------------------------------------------------------------------------------------- */

static const char *const languages[] = {"JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST", "NODE_JS"};

struct description {
	struct buf json;
};

static void description_fini(struct api_job *j)
{
	struct description *d = j->x;

	buf_fini(&d->json);
	mem_free(d);
}

static const struct api_job_ops description_ops = {.fini = description_fini};

static void members_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j)) {
		struct description *d = j->x;
		struct buf *b = &d->json;
		buf_str(b, ",\"members\":[");
		for (size_t i = 0; st == ST_OK && i < j->u.members.count; i++) {
			const struct member_info *m = &j->u.members.v[i];
			bool gateway = slice_starts(m->client_id, SLICE_LIT("gateway@"));
			buf_str(b, i > 0 ? ",{\"client\":" : "{\"client\":");
			buf_json_str(b, m->client_id);
			buf_str(b, ",\"address\":");
			buf_json_str(b, m->address);
			buf_fmt(b, ",\"language\":\"%s\",\"seenAt\":%lld}", gateway ? "GANTRY" : m->language < ARRAY_LEN(languages) ? languages[m->language] : "OTHER",
				(long long)m->seen_ms);
		}
		buf_str(b, "],\"subscriptions\":[");
		for (size_t i = 0; st == ST_OK && i < j->u.members.n_subs; i++) {
			buf_str(b, i > 0 ? ",{\"topic\":" : "{\"topic\":");
			buf_json_str(b, j->u.members.subs[i].topic);
			buf_str(b, ",\"tag\":");
			buf_json_str(b, j->u.members.subs[i].expr);
			buf_u8(b, '}');
		}
		buf_str(b, "]}");
		api_reply_json(j, 200, b);
	}
	api_tidy(j);
}

static void offsets_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct description *d = j->x;
		struct buf *b = &d->json;
		uint64_t lag = 0;
		bool any = false;
		for (size_t i = 0; i < j->u.offsets.count; i++)
			lag += is_retry(j->u.offsets.v[i].topic) ? 0 : lag_of(&j->u.offsets.v[i]);
		buf_fmt(b, ",\"lag\":%llu,\"offsets\":[", (unsigned long long)lag);
		for (size_t i = 0; i < j->u.offsets.count; i++) {
			const struct offset_info *o = &j->u.offsets.v[i];
			if (is_retry(o->topic))
				continue;
			buf_str(b, any ? ",{\"topic\":" : "{\"topic\":");
			any = true;
			buf_json_str(b, o->topic);
			buf_fmt(b, ",\"queue\":%d,\"offset\":%llu,\"min\":%llu,\"max\":%llu,\"lag\":%llu,\"committedAt\":%lld}", o->queue,
				(unsigned long long)o->offset, (unsigned long long)o->min, (unsigned long long)o->max, (unsigned long long)lag_of(o),
				(long long)o->commit_ms);
		}
		buf_u8(b, ']');
		struct engine_members *r = API_ASK(j, members, members_known);
		r->group = buf_view(&j->text);
		r->kind = MEMBER_CONSUMER;
		engine_members(j->api->engine, r);
	}
	api_tidy(j);
}

static void group_known(struct engine_ask *ask, enum status st)
{
	struct api_job *j;

	if (api_asked(ask, &j) && !api_failed(j, st)) {
		struct description *d = mem_new(sizeof(*d));
		j->x = d;
		j->ops = &description_ops;
		buf_str(&d->json, "{\"name\":");
		buf_json_str(&d->json, buf_view(&j->text));
		buf_u8(&d->json, ',');
		put_conf(&d->json, &j->u.group.conf);
		struct engine_offsets *r = API_ASK(j, offsets, offsets_known);
		r->group = buf_view(&j->text);
		engine_offset_list(j->api->engine, r);
	}
	api_tidy(j);
}

void api_group_get(struct api_job *j)
{
	buf_slice(&j->text, j->arg[0]);
	struct engine_group *r = API_ASK(j, group, group_known);
	r->name = buf_view(&j->text);
	engine_group_get(j->api->engine, r);
}
