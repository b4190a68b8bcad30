/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* /openapi.json: the tables of routes and options as an OpenAPI 3.1 description. What is routed is described, for it is the same row. */
#include "front/http/api.h"

#define TEXT "{\"type\":\"string\"}"
#define NUMBER "{\"type\":\"integer\"}"
#define MOMENT "{\"type\":\"integer\",\"description\":\"ms since 1970\"}"
#define FLAG "{\"type\":\"boolean\"}"
#define DURATION "{\"type\":[\"string\",\"integer\"],\"description\":\"10s, 1500ms, 2m, 1h; or milliseconds\"}"
#define REF(name) "{\"$ref\":\"#/components/schemas/" name "\"}"
#define LIST(of) "{\"type\":\"array\",\"items\":" of "}"
#define OBJECT(members) "{\"type\":\"object\",\"properties\":{" members "}}"
#define MEMBER(name, type) "\"" name "\":" type
#define MESSAGE_IN MEMBER("tag", TEXT) "," MEMBER("keys", "{\"type\":[\"string\",\"array\"],\"items\":" TEXT "}") "," MEMBER("orderKey", TEXT) "," \
	MEMBER("contentType", TEXT) "," MEMBER("correlationData", TEXT) "," MEMBER("replyTo", TEXT) "," MEMBER("mqttTopic", TEXT) "," \
	MEMBER("properties", "{\"type\":\"object\",\"additionalProperties\":" TEXT "}") "," MEMBER("body", TEXT) "," MEMBER("bodyBase64", TEXT)
#define GROUP_CONF MEMBER("consume", FLAG) "," MEMBER("broadcast", FLAG) "," MEMBER("orderly", FLAG) "," MEMBER("retryMax", NUMBER)
#define TOPIC_CONF MEMBER("readQueues", NUMBER) "," MEMBER("writeQueues", NUMBER) "," MEMBER("perm", "{\"enum\":[\"rw\",\"r\",\"w\",\"\"]}") "," MEMBER("order", FLAG)
#define RECEIPTS MEMBER("receipts", LIST(TEXT)) "," MEMBER("receipt", TEXT)

static const struct {
	const char *name, *schema;
} schemas[] = {
	{"Problem", OBJECT(MEMBER("type", TEXT) "," MEMBER("title", TEXT) "," MEMBER("status", NUMBER) "," MEMBER("code", TEXT) "," MEMBER("detail", TEXT) ","
		MEMBER("instance", TEXT))},
	{"Sent", OBJECT(MEMBER("id", TEXT) "," MEMBER("topic", TEXT) "," MEMBER("queue", NUMBER) "," MEMBER("offset", NUMBER) "," MEMBER("delayed", FLAG) ","
		MEMBER("durability", "{\"enum\":[\"disk\",\"memory\"]}") "," MEMBER("storedAt", MOMENT))},
	{"Results", OBJECT(MEMBER("results", LIST("{\"anyOf\":[" REF("Done") "," REF("Problem") "]}")))},
	{"Done", "{\"allOf\":[{\"type\":\"object\",\"properties\":{" MEMBER("status", "{\"enum\":[200,201]}") "},\"required\":[\"status\"]}," REF("Sent") "]}"},
	{"MessageIn", OBJECT(MESSAGE_IN "," MEMBER("json", "{}") "," MEMBER("queue", NUMBER) "," MEMBER("delay", DURATION) "," MEMBER("expire", DURATION) ","
		MEMBER("expiresAt", MOMENT))},
	{"Batch", LIST(REF("MessageIn"))},
	{"Message", OBJECT(MEMBER("id", TEXT) "," MEMBER("topic", TEXT) "," MEMBER("queue", NUMBER) "," MEMBER("offset", NUMBER) "," MESSAGE_IN ","
		MEMBER("expiresAt", MOMENT) "," MEMBER("bornAt", MOMENT) "," MEMBER("storedAt", MOMENT) "," MEMBER("attempt", NUMBER) "," MEMBER("receipt", TEXT) ","
		MEMBER("leaseUntil", MOMENT))},
	{"Messages", OBJECT(MEMBER("messages", LIST(REF("Message"))) "," MEMBER("next", NUMBER) "," MEMBER("min", NUMBER) "," MEMBER("max", NUMBER))},
	{"Receipts", OBJECT(RECEIPTS)},
	{"Nack", OBJECT(RECEIPTS "," MEMBER("delay", DURATION) "," MEMBER("reject", FLAG))},
	{"Extend", OBJECT(RECEIPTS "," MEMBER("lease", DURATION))},
	{"TopicConf", OBJECT(TOPIC_CONF)},
	{"Topic", OBJECT(MEMBER("name", TEXT) "," TOPIC_CONF "," MEMBER("system", FLAG) "," MEMBER("queues", LIST(OBJECT(MEMBER("queue", NUMBER) ","
		MEMBER("min", NUMBER) "," MEMBER("max", NUMBER)))) "," MEMBER("messages", NUMBER) "," MEMBER("groups", LIST(OBJECT(MEMBER("name", TEXT) ","
		MEMBER("lag", NUMBER)))))},
	{"Topics", OBJECT(MEMBER("topics", LIST(REF("Topic"))))},
	{"GroupConf", OBJECT(GROUP_CONF)},
	{"Group", OBJECT(MEMBER("name", TEXT) "," GROUP_CONF "," MEMBER("lag", NUMBER) "," MEMBER("members", "{\"type\":[\"integer\",\"array\"],\"items\":"
		OBJECT(MEMBER("client", TEXT) "," MEMBER("address", TEXT) "," MEMBER("language", TEXT) "," MEMBER("seenAt", MOMENT)) "}") ","
		MEMBER("offsets", LIST(OBJECT(MEMBER("topic", TEXT) "," MEMBER("queue", NUMBER) "," MEMBER("offset", NUMBER) "," MEMBER("min", NUMBER) ","
		MEMBER("max", NUMBER) "," MEMBER("lag", NUMBER) "," MEMBER("committedAt", MOMENT)))) "," MEMBER("subscriptions", LIST(OBJECT(MEMBER("topic", TEXT) ","
		MEMBER("tag", TEXT)))))},
	{"Groups", OBJECT(MEMBER("groups", LIST(REF("Group"))))},
	{"Reset", OBJECT(MEMBER("topic", TEXT) "," MEMBER("to", "{\"description\":\"earliest, latest, a moment, or {queue: offset}\"}"))},
	{"Offsets", OBJECT(MEMBER("offsets", LIST(OBJECT(MEMBER("queue", NUMBER) "," MEMBER("offset", NUMBER)))))},
	{"Health", OBJECT(MEMBER("status", TEXT))},
	{"Any", "{\"type\":\"object\"}"},
};

static void put_path_params(struct buf *b, const char *path, bool *any)
{
	for (const char *p = path; (p = strchr(p, '{')) != NULL;) {
		const char *end = strchr(p, '}');
		buf_fmt(b, "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,\"schema\":" TEXT "}", *any ? "," : "", (int)(end - p - 1), p + 1);
		*any = true;
		p = end;
	}
}

/* An option as a query parameter; its text names the header too. */
static void put_params(struct buf *b, const struct api_route *r)
{
	bool any = false;

	buf_str(b, ",\"parameters\":[");
	put_path_params(b, r->path, &any);
	for (unsigned p = 0; p < PARAM_COUNT; p++) {
		if ((r->params >> p & 1) == 0)
			continue;
		buf_str(b, any ? "," : "");
		any = true;
		buf_fmt(b, "{\"name\":\"%s\",\"in\":\"query\",\"schema\":%s,\"description\":", api_params[p].name, api_params[p].schema);
		struct buf text = {0};
		buf_fmt(&text, "%s. Also as the header Gantry-%s", api_params[p].about, api_params[p].name);
		buf_json_str(b, buf_view(&text));
		buf_fini(&text);
		buf_u8(b, '}');
	}
	buf_u8(b, ']');
}

static void put_content(struct buf *b, const char *type, const char *schema)
{
	buf_fmt(b, "\"%s\":{\"schema\":" REF("%s") "}", type, schema);
}

static void put_body(struct buf *b, const struct api_route *r)
{
	if (r->body == NULL)
		return;
	buf_str(b, ",\"requestBody\":{\"content\":{");
	if (strcmp(r->body, "Body") == 0) {
		buf_str(b, "\"*/*\":{\"schema\":" TEXT "},");
		put_content(b, "application/json", "Batch");
		buf_u8(b, ',');
		put_content(b, "application/x-ndjson", "MessageIn");
	} else {
		put_content(b, "application/json", r->body);
		if (strcmp(r->body, "Receipts") == 0)
			buf_str(b, ",\"text/plain\":{\"schema\":" TEXT "}");
	}
	buf_str(b, "}}");
}

/* "200 Messages;404": statuses, and what comes with them. A status of failure comes with a problem. Statuses once each. */
static void put_answers(struct buf *b, const struct api_route *r)
{
	struct slice rest = slice_str(r->answer), one, status;
	bool any = false;

	buf_str(b, ",\"responses\":{");
	while (slice_split(&rest, ';', &one)) {
		slice_split(&one, ' ', &status);
		buf_fmt(b, "%s\"%.*s\":{\"description\":\"%s\"", any ? "," : "", (int)status.n, (const char *)status.p, *status.p == '2' ? "It is done" : "It is not");
		any = true;
		buf_str(b, *status.p == '2' && one.n == 0 ? "}" : ",\"content\":{");
		if (*status.p != '2') {
			put_content(b, "application/problem+json", "Problem");
		} else if (slice_eq_str(one, "Text")) {
			buf_str(b, "\"text/plain\":{\"schema\":" TEXT "}");
		} else if (one.n > 0) {
			buf_fmt(b, "\"application/json\":{\"schema\":" REF("%.*s") "}", (int)one.n, (const char *)one.p);
			if (slice_eq_str(one, "Messages") && strstr(r->summary, "event-stream") != NULL)
				buf_str(b, ",\"text/event-stream\":{\"schema\":" TEXT "}");
		}
		if (*status.p != '2' || one.n > 0)
			buf_str(b, "}}");
	}
	/* What may befall any request: a Host or an Origin that is refused, a disk that failed, the end of the process. */
	buf_str(b, ",\"default\":{\"description\":\"It is not\",\"content\":{");
	put_content(b, "application/problem+json", "Problem");
	buf_str(b, "}}}");
}

static void put_operation(struct buf *b, const struct api_route *r)
{
	buf_u8(b, '"');
	for (const char *m = r->method; *m != '\0'; m++)
		buf_u8(b, (uint8_t)*m | 0x20);
	buf_str(b, "\":{\"summary\":");
	buf_json_str(b, slice_str(r->summary));
	put_params(b, r);
	put_body(b, r);
	put_answers(b, r);
	buf_u8(b, '}');
}

void openapi_build(struct buf *b)
{
	bool any = false;

	buf_str(b, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Gantry\",\"version\":\"1\",\"license\":{\"name\":\"Apache-2.0\",\"identifier\":\"Apache-2.0\"}},\"paths\":{");
	for (unsigned i = 0; i < api_n_routes; i++) {
		bool seen = false, first = true;
		for (unsigned k = 0; k < i; k++)
			seen = seen || strcmp(api_routes[k].path, api_routes[i].path) == 0;
		if (seen)
			continue;
		buf_fmt(b, "%s\"%s\":{", any ? "," : "", api_routes[i].path);
		any = true;
		for (unsigned k = i; k < api_n_routes; k++) {
			if (strcmp(api_routes[k].path, api_routes[i].path) != 0)
				continue;
			buf_str(b, first ? "" : ",");
			first = false;
			put_operation(b, &api_routes[k]);
		}
		buf_u8(b, '}');
	}
	buf_str(b, "},\"components\":{\"schemas\":{");
	for (unsigned i = 0; i < ARRAY_LEN(schemas); i++)
		buf_fmt(b, "%s\"%s\":%s", i > 0 ? "," : "", schemas[i].name, schemas[i].schema);
	buf_str(b, "}}}\n");
}

void api_openapi(struct api_job *j)
{
	api_reply(j, 200, "application/json", SLICE_LIT("cache-control: no-cache\r\n"), buf_view(&j->api->openapi));
}
