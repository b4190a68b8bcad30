/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Options of requests: a query parameter, or a header Gantry- of the same name. They are read strictly: what a route does not know, or what is
 * given twice, is refused by name, for a mistyped option that is passed over loses a tag or a delay without a word.
 */
#include <stdio.h>

#include "front/http/api.h"

#define HEADER_MARK "gantry-"
#define PROP_MARK "prop-"
#define SHOWN 60

const struct api_param_row api_params[PARAM_COUNT] = {
#define X(name, text, schema, about) [PARAM_##name] = {text, schema, about},
#include "front/http/params.tbl"
#undef X
};

static int shown(struct slice s)
{
	return (int)(s.n < SHOWN ? s.n : SHOWN);
}

/* Decodes into the scratch, which has room for all of the request's text: nothing in it moves. */
static bool decode(struct api_job *j, struct slice text, bool plus, struct slice *ret)
{
	struct buf *b = &j->api->scratch;
	size_t from = b->n;

	if ((text.n == 0 || memchr(text.p, '%', text.n) == NULL) && (!plus || text.n == 0 || memchr(text.p, '+', text.n) == NULL))
		*ret = text;
	else if (percent_get(b, text, plus))
		*ret = slice_of(b->p + from, b->n - from);
	else
		return false;
	return utf8_valid(*ret);
}

static int find_param(struct slice name)
{
	for (int i = 0; i < PARAM_COUNT; i++)
		if (slice_eq_str(name, api_params[i].name))
			return i;
	return -1;
}

static bool put_prop(struct api_job *j, struct slice name, struct slice value)
{
	struct api_opts *o = &j->api->opts;

	if ((j->route->params & P(PROP)) == 0) {
		api_problem(j, 400, ST_BAD_ARG, "\"prop-%.*s\" is no option of this request", shown(name), (const char *)name.p);
		return false;
	}
	if (o->n_props == API_PROPS_MAX) {
		api_problem(j, 400, ST_BAD_ARG, "more than %u properties", API_PROPS_MAX);
		return false;
	}
	for (unsigned i = 0; i < o->n_props; i++)
		if (slice_eq(o->prop[i].name, name)) {
			api_problem(j, 400, ST_BAD_ARG, "property \"%.*s\" is given twice", shown(name), (const char *)name.p);
			return false;
		}
	o->prop[o->n_props].name = name;
	o->prop[o->n_props++].value = value;
	o->set |= P(PROP);
	return true;
}

static bool put(struct api_job *j, struct slice name, struct slice value, const char *what)
{
	struct api_opts *o = &j->api->opts;

	if (slice_starts(name, SLICE_LIT(PROP_MARK)))
		return put_prop(j, slice_skip(name, sizeof(PROP_MARK) - 1), value);
	int p = find_param(name);
	if (p < 0 || p == PARAM_PROP || (j->route->params >> p & 1) == 0) {
		api_problem(j, 400, ST_BAD_ARG, "%s \"%.*s\" is no option of this request", what, shown(name), (const char *)name.p);
		return false;
	}
	if (api_has(o, (enum api_param)p)) {
		api_problem(j, 400, ST_BAD_ARG, "option \"%s\" is given twice", api_params[p].name);
		return false;
	}
	o->set |= UINT64_C(1) << p;
	o->v[p] = value;
	return true;
}

static bool read_query(struct api_job *j)
{
	struct slice rest = j->call->query, one, name, value;

	while (slice_split(&rest, '&', &one)) {
		if (one.n == 0)
			continue;
		const uint8_t *eq = memchr(one.p, '=', one.n);
		struct slice raw = eq == NULL ? one : slice_of(one.p, (size_t)(eq - one.p));
		if (!decode(j, raw, true, &name) || !decode(j, eq == NULL ? (struct slice){NULL, 0} : slice_skip(one, raw.n + 1), true, &value)) {
			api_problem(j, 400, ST_BAD_ARG, "query parameter \"%.*s\" is not percent-encoded UTF-8", shown(raw), (const char *)raw.p);
			return false;
		}
		if (!put(j, name, value, "query parameter"))
			return false;
	}
	return true;
}

static bool read_headers(struct api_job *j)
{
	const struct http_call *c = j->call;

	for (unsigned i = 0; i < c->n_headers; i++) {
		struct slice name = c->headers[i].name, value = c->headers[i].value;
		/* Most names differ from ours in the first letter. */
		if (name.n <= sizeof(HEADER_MARK) - 1 || (name.p[0] != 'g' && name.p[0] != 'l'))
			continue;
		if (slice_eq(name, SLICE_LIT("last-event-id")) && (j->route->params & P(LAST_EVENT_ID)) != 0) {
			name = SLICE_LIT("last-event-id");
		} else if (slice_starts(name, SLICE_LIT(HEADER_MARK))) {
			name = slice_skip(name, sizeof(HEADER_MARK) - 1);
		} else {
			continue;
		}
		value = slice_trim(value);
		if (!utf8_valid(value)) {
			api_problem(j, 400, ST_BAD_ARG, "header \"%.*s\" is not UTF-8", shown(name), (const char *)name.p);
			return false;
		}
		if (!put(j, name, value, "header Gantry-"))
			return false;
	}
	return true;
}

bool api_params_read(struct api_job *j)
{
	struct http_api *a = j->api;

	a->opts.set = 0;
	a->opts.n_props = 0;
	for (unsigned i = 0; i < ARRAY_LEN(j->arg) && j->arg[i].n > 0; i++)
		if (!decode(j, j->arg[i], false, &j->arg[i])) {
			api_problem(j, 400, ST_BAD_ARG, "the path is not percent-encoded UTF-8");
			return false;
		}
	return (j->call->query.n == 0 || read_query(j)) && read_headers(j);
}

/* ---- Values ------------------------------------------------------------------------------------------------------------------------- */

static bool wrong(struct api_job *j, enum api_param p, const char *what)
{
	struct slice v = j->api->opts.v[p];

	api_problem(j, 400, ST_BAD_ARG, "option \"%s\" is \"%.*s\", and must be %s", api_params[p].name, shown(v), (const char *)v.p, what);
	return false;
}

bool api_opt_u64(struct api_job *j, enum api_param p, uint64_t min, uint64_t max, uint64_t *ret)
{
	const struct api_opts *o = &j->api->opts;
	char what[80];
	uint64_t v;

	if (!api_has(o, p))
		return true;
	if (!slice_u64(o->v[p], &v) || v < min || v > max) {
		snprintf(what, sizeof(what), "a number from %llu to %llu", (unsigned long long)min, (unsigned long long)max);
		return wrong(j, p, what);
	}
	*ret = v;
	return true;
}

bool api_opt_duration(struct api_job *j, enum api_param p, int64_t min, int64_t max, int64_t *ret)
{
	const struct api_opts *o = &j->api->opts;
	char what[100];
	int64_t v;

	if (!api_has(o, p))
		return true;
	if (!duration_parse(o->v[p], &v) || v < min || v > max) {
		snprintf(what, sizeof(what), "a duration from %lldms to %lldms: 10s, 1500ms, 2m", (long long)min, (long long)max);
		return wrong(j, p, what);
	}
	*ret = v;
	return true;
}

bool api_opt_moment(struct api_job *j, enum api_param p, int64_t *ret)
{
	const struct api_opts *o = &j->api->opts;

	if (!api_has(o, p) || moment_parse(o->v[p], ret))
		return true;
	return wrong(j, p, "a moment: RFC 3339, or milliseconds since 1970");
}

bool api_opt_bool(struct api_job *j, enum api_param p, bool *ret)
{
	const struct api_opts *o = &j->api->opts;

	if (!api_has(o, p))
		return true;
	if (o->v[p].n == 0)
		*ret = true; /* ?system */
	else if (!slice_bool(o->v[p], ret))
		return wrong(j, p, "true or false");
	return true;
}

/* ---- Types -------------------------------------------------------------------------------------------------------------------------- */

bool api_is_type(struct slice type, const char *what)
{
	size_t n = strlen(what);

	if (type.n != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint8_t c = type.p[i];
		if ((c >= 'A' && c <= 'Z' ? (c | 0x20) : c) != (uint8_t)what[i])
			return false;
	}
	return true;
}

struct slice api_content_type(const struct http_call *c)
{
	struct slice type = http_header(c, "content-type"), bare;

	return slice_split(&type, ';', &bare) ? slice_trim(bare) : (struct slice){NULL, 0};
}

bool api_accepts(const struct http_call *c, const char *type)
{
	struct slice rest = http_header(c, "accept"), one, bare;

	while (slice_split(&rest, ',', &one))
		if (slice_split(&one, ';', &bare) && api_is_type(slice_trim(bare), type))
			return true;
	return false;
}
