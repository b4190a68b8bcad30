/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The interface's one table: what is routed, allowed and described. A route that many requests take stands above others. */
#include "front/http/route.h"

const struct api_route api_routes[] = {
	{"POST", "/v1/topics/{topic}/messages", api_publish, PARAMS_MESSAGE, 0,
		"Publish a message: the body, of any content type. A JSON array, or NDJSON, is a batch of message objects", "Body",
		"201 Sent;200 Results;400;403;404;413;422;501;503;507"},
	{"GET", "/v1/topics/{topic}/groups/{group}/messages", api_consume, P(MAX) | P(WAIT) | P(LEASE) | P(TAG) | P(FROM) | P(ACK) | P(LAST_EVENT_ID),
		ROUTE_NEEDS_KEY | ROUTE_TAKES, "Take messages for a group, with receipts; waits for the first. With Accept: text/event-stream a stream of them", NULL,
		"200 Messages;400;403;404;409;503"},
	{"POST", "/v1/receipts/ack", api_ack, P(RECEIPT), ROUTE_NEEDS_KEY, "Say that messages are handled", "Receipts", "200 Results;400;410"},
	{"POST", "/v1/receipts/nack", api_nack, P(RECEIPT) | P(DELAY) | P(REJECT), ROUTE_NEEDS_KEY, "Give messages back: again after a delay, or into the dead-letter topic",
		"Nack", "200 Results;400;410"},
	{"POST", "/v1/receipts/extend", api_extend, P(RECEIPT) | P(LEASE), ROUTE_NEEDS_KEY, "Keep messages for longer", "Extend", "200 Results;400;410"},
	{"GET", "/v1/topics/{topic}/messages", api_browse, P(QUEUE) | P(OFFSET) | P(MAX) | P(TAG) | P(FROM) | P(LAST_EVENT_ID), 0,
		"Look at stored messages, for no group. With Accept: text/event-stream a live stream of them", NULL, "200 Messages;400;404;416"},
	{"GET", "/v1/topics", api_topics_list, P(SYSTEM), 0, "All topics", NULL, "200 Topics"},
	{"GET", "/v1/topics/{topic}", api_topic_get, 0, 0, "One topic: its queues, and the groups that read it", NULL, "200 Topic;404"},
	{"PUT", "/v1/topics/{topic}", api_topic_put, 0, 0, "Make or change a topic", "TopicConf", "200 Topic;201 Topic;400;403"},
	{"DELETE", "/v1/topics/{topic}", api_topic_drop, 0, 0, "Drop a topic, its messages and all offsets in it", NULL, "204;403;404"},
	{"GET", "/v1/groups", api_groups_list, P(SYSTEM), 0, "All groups", NULL, "200 Groups"},
	{"GET", "/v1/groups/{group}", api_group_get, 0, 0, "One group: its settings, members, offsets and lag", NULL, "200 Group;404"},
	{"PUT", "/v1/groups/{group}", api_group_put, 0, 0, "Make or change a group", "GroupConf", "200 Group;201 Group;400;403"},
	{"DELETE", "/v1/groups/{group}", api_group_drop, P(OFFSETS), 0, "Drop a group", NULL, "204;403;404"},
	{"POST", "/v1/groups/{group}/offsets", api_group_reset, 0, 0, "Set how far a group has come in a topic", "Reset", "200 Offsets;400;404"},
	{"GET", "/v1/messages", api_find, P(TOPIC) | P(KEY) | P(MAX) | P(FROM) | P(TO), 0, "Find messages by key, newest first", NULL, "200 Messages;400;404"},
	{"GET", "/v1/messages/{id}", api_find_id, P(TOPIC), 0, "Find a message by its id", NULL, "200 Message;400;404"},
	{"GET", "/metrics", api_metrics, 0, ROUTE_DRAINING, "Numbers, as Prometheus reads them", NULL, "200 Text"},
	{"GET", "/healthz", api_health, 0, ROUTE_DRAINING, "Is the process alive?", NULL, "200 Health"},
	{"GET", "/readyz", api_readiness, 0, ROUTE_DRAINING, "Does it take messages?", NULL, "200 Health;503"},
	{"GET", "/openapi.json", api_openapi, 0, 0, "This description", NULL, "200 Any"},
};
const unsigned api_n_routes = ARRAY_LEN(api_routes);

/* Compares a path with a pattern; what stands for its {names} goes to 'arg'. */
static bool matches(const char *pattern, struct slice path, struct slice arg[2])
{
	const uint8_t *p = path.p, *end = path.p + path.n;
	unsigned n = 0;

	for (; *pattern != '\0'; pattern++) {
		if (*pattern != '{') {
			if (p == end || *p++ != (uint8_t)*pattern)
				return false;
			continue;
		}
		const uint8_t *from = p;
		while (p < end && *p != '/')
			p++;
		if (p == from)
			return false;
		arg[n++] = slice_of(from, (size_t)(p - from));
		pattern = strchr(pattern, '}');
	}
	return p == end;
}

static unsigned method_bit(const struct api_route *r)
{
	switch (r->method[1]) {
	case 'E':
		return r->method[0] == 'D' ? METHOD_DELETE : (r->flags & ROUTE_TAKES) != 0 ? METHOD_GET : METHOD_GET | METHOD_HEAD;
	case 'U':
		return METHOD_PUT;
	default:
		return METHOD_POST;
	}
}

void route_find(struct slice method, struct slice path, struct route_found *ret)
{
	bool head = slice_eq_str(method, "HEAD");

	*ret = (struct route_found){.methods = 0};
	for (unsigned i = 0; i < api_n_routes; i++) {
		const struct api_route *r = &api_routes[i];
		struct slice arg[2] = {{NULL, 0}, {NULL, 0}};
		unsigned bit = method_bit(r);
		if (!matches(r->path, path, arg))
			continue;
		ret->methods |= bit;
		if (!slice_eq_str(method, r->method) && !(head && (bit & METHOD_HEAD) != 0))
			continue;
		ret->route = r;
		ret->arg[0] = arg[0];
		ret->arg[1] = arg[1];
		return;
	}
}
