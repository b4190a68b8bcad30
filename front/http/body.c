/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Small JSON bodies of requests. As strict as the options: an unknown member is refused by name. */
#include <jansson.h>
#include <stdio.h>

#include "front/http/api.h"

bool api_json(struct api_job *j, const char *const *members, void **ret)
{
	struct slice body = j->call->body;
	json_error_t error;
	const char *name;
	json_t *v;

	*ret = NULL;
	if (slice_trim(body).n == 0)
		return true;
	if (!json_bounded(body, JSON_VALUES_MAX)) {
		api_problem(j, 413, ST_TOO_BIG, "the body has more than %u JSON values", JSON_VALUES_MAX);
		return false;
	}
	json_t *json = json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (json == NULL) {
		api_problem(j, 400, ST_BAD_ARG, "the body is not JSON: line %d column %d: %.100s", error.line, error.column, error.text);
		return false;
	}
	if (!json_is_object(json)) {
		api_problem(j, 400, ST_BAD_ARG, "the body must be a JSON object");
		json_decref(json);
		return false;
	}
	json_object_foreach(json, name, v) {
		bool known = false;
		for (unsigned i = 0; members[i] != NULL; i++)
			known = known || strcmp(members[i], name) == 0;
		if (known)
			continue;
		api_problem(j, 400, ST_BAD_ARG, "member \"%.60s\" is not known", name);
		json_decref(json);
		return false;
	}
	*ret = json;
	return true;
}

void api_json_free(void *json)
{
	json_decref(json);
}

static bool wrong(struct api_job *j, const char *name, const char *what)
{
	api_problem(j, 400, ST_BAD_ARG, "member \"%s\" must be %s", name, what);
	return false;
}

bool api_json_u64(struct api_job *j, const void *json, const char *name, uint64_t min, uint64_t max, uint64_t *ret)
{
	const json_t *v = json_object_get(json, name);
	char what[80];

	if (v == NULL)
		return true;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) < min || (uint64_t)json_integer_value(v) > max) {
		snprintf(what, sizeof(what), "a number from %llu to %llu", (unsigned long long)min, (unsigned long long)max);
		return wrong(j, name, what);
	}
	*ret = (uint64_t)json_integer_value(v);
	return true;
}

bool api_json_bool(struct api_job *j, const void *json, const char *name, bool *ret)
{
	const json_t *v = json_object_get(json, name);

	if (v != NULL && !json_is_boolean(v))
		return wrong(j, name, "true or false");
	if (v != NULL)
		*ret = json_is_true(v);
	return true;
}

bool api_json_duration(struct api_job *j, const void *json, const char *name, int64_t min, int64_t max, int64_t *ret)
{
	const json_t *v = json_object_get(json, name);
	int64_t ms = -1;
	char what[100];

	if (v == NULL)
		return true;
	bool good = json_is_integer(v);
	if (good)
		ms = json_integer_value(v);
	else if (json_is_string(v))
		good = duration_parse(slice_of(json_string_value(v), json_string_length(v)), &ms);
	if (!good || ms < min || ms > max) {
		snprintf(what, sizeof(what), "a duration from %lldms to %lldms: \"10s\", or milliseconds", (long long)min, (long long)max);
		return wrong(j, name, what);
	}
	*ret = ms;
	return true;
}

bool api_json_text(const void *json, const char *name, const char **ret)
{
	const json_t *v = json_object_get(json, name);

	*ret = json_string_value(v);
	return v != NULL;
}
