/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Where a subscription begins, and its opening.
 *
 * A tap's cursor says where in each queue its reader is: "POSITION,QUEUE:NEXT,QUEUE:NEXT...". A queue that is not named begins at the first message
 * that the log holds at POSITION or behind it. So "from now on" is the position behind the last visible message, asked for before the tap opens:
 * a client that keeps this, and the next offset of each queue that it has seen, can come back without losing or repeating one.
 *
 * A time becomes such a cursor too: the position behind the last message, and for each queue that there is the offset of the time.
 */
#include "front/websocket/ws.h"

#include "base/mem.h"

enum { LEASE_MAX = 24 * 3600 * 1000 };

enum from { FROM_GROUP, FROM_EARLIEST, FROM_LATEST, FROM_CURSOR, FROM_TIME };

struct ws_opening {
	struct ws_sub *sub;
	enum from from;
	char *topic, *group, *tag; /* NULL: absent */
	int64_t time_ms;
	uint64_t position;
	struct queue_from *queues;
	size_t n_queues, known_queues;
	uint32_t lease_ms;
	struct engine_stats stats;
	struct engine_topic get;
	struct engine_range at;
	struct engine_sub_open open;
};

void ws_open_free(struct ws_opening *o)
{
	if (o == NULL)
		return;
	mem_free(o->topic);
	mem_free(o->group);
	mem_free(o->tag);
	mem_free(o->queues);
	mem_free(o);
}

/* ---- What the client says --------------------------------------------------------------------------------------------------------- */

static bool read_cursor(struct ws_opening *o, struct slice text)
{
	struct slice part, queue;
	uint64_t q, offset;

	if (!slice_split(&text, ',', &part) || !slice_u64(part, &o->position))
		return false;
	while (slice_split(&text, ',', &part)) {
		if (o->n_queues == WS_QUEUES_MAX || !slice_split(&part, ':', &queue) || !slice_u64(queue, &q) || !slice_u64(part, &offset) ||
		    q > INT32_MAX || offset > INT64_MAX)
			return false;
		for (size_t i = 0; i < o->n_queues; i++)
			if (o->queues[i].queue == (int32_t)q)
				return false;
		o->queues = mem_grow(o->queues, (o->n_queues + 1) * sizeof(*o->queues));
		o->queues[o->n_queues++] = (struct queue_from){(int32_t)q, offset};
	}
	return true;
}

static bool read_from(struct ws_opening *o, const json_t *v, bool group)
{
	const char *text = json_string_value(v);

	if (v == NULL) {
		o->from = group ? FROM_GROUP : FROM_LATEST;
	} else if (text != NULL && strcmp(text, "earliest") == 0) {
		o->from = FROM_EARLIEST;
	} else if (text != NULL && strcmp(text, "latest") == 0) {
		o->from = FROM_LATEST;
	} else if (text != NULL && !group) {
		o->from = FROM_CURSOR;
		return read_cursor(o, slice_of(text, json_string_length(v)));
	} else if (json_is_integer(v) && !group) {
		o->from = FROM_TIME;
		o->time_ms = json_integer_value(v);
		return o->time_ms >= 0;
	} else {
		return false;
	}
	return true;
}

/* A text member, or none; false: it is something else, or has a U+0000. */
static bool read_text(const json_t *msg, const char *name, char **ret)
{
	const json_t *v = json_object_get(msg, name);

	if (v == NULL)
		return true;
	if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
		return false;
	*ret = mem_dup(json_string_value(v), json_string_length(v));
	return true;
}

static bool read_lease(struct ws_opening *o, const json_t *v, bool group)
{
	int64_t ms = 0;

	if (v == NULL)
		return true;
	if (json_is_string(v) && !duration_parse(slice_of(json_string_value(v), json_string_length(v)), &ms))
		return false;
	if (json_is_integer(v))
		ms = json_integer_value(v);
	o->lease_ms = ms > 0 && ms <= LEASE_MAX ? (uint32_t)ms : 0;
	return group && o->lease_ms > 0;
}

enum status ws_open_read(struct ws_sub *s, const json_t *msg, const char **ret_why)
{
	struct ws_opening *o = s->opening = mem_new(sizeof(*o));

	o->sub = s;
	if (!read_text(msg, "topic", &o->topic) || o->topic == NULL)
		*ret_why = "\"topic\" must be text";
	else if (!read_text(msg, "group", &o->group) || (s->group && o->group[0] == '\0'))
		*ret_why = "\"group\" must be text";
	else if (!read_text(msg, "tag", &o->tag))
		*ret_why = "\"tag\" must be text";
	else if (!read_from(o, json_object_get(msg, "from"), s->group))
		*ret_why = s->group ? "\"from\" must be \"earliest\" or \"latest\" in a group"
				    : "\"from\" must be \"earliest\", \"latest\", a cursor, or a number: milliseconds since 1970";
	else if (!read_lease(o, json_object_get(msg, "lease"), s->group))
		*ret_why = s->group ? "\"lease\" must be a duration of at most a day" : "only a group has leases";
	else
		return ST_OK;
	return ST_BAD_ARG;
}

/* ---- Opening ------------------------------------------------------------------------------------------------------------------------- */

static void failed(struct ws_opening *o, enum status st)
{
	ws_sub_failed(o->sub, st, NULL);
}

/* Whoever unsubscribed or hung up meanwhile needs no answer of the engine any more. */
static bool goes_on(struct ws_opening *o, enum status st)
{
	if (st == ST_OK && o->sub->state == SUB_ENDING)
		st = ST_CLOSED;
	if (st != ST_OK)
		failed(o, st);
	return st == ST_OK;
}

static void sub_opened(struct engine_ask *a, enum status st)
{
	struct ws_opening *o = container_of(container_of(a, struct engine_sub_open, ask), struct ws_opening, open);
	struct ws_sub *s = o->sub;
	struct buf cursor = {0};

	if (st == ST_GONE) {
		ws_sub_failed(s, st, "the cursor is of a topic that was dropped since: begin anew");
		return;
	}
	if (st != ST_OK) {
		failed(o, st);
		return;
	}
	/* A cursor says by its position of which topic of the name it is. */
	buf_u64_dec(&cursor, u64_max(o->position, s->group ? 0 : o->open.incarnation));
	for (size_t i = 0; i < o->n_queues; i++)
		buf_fmt(&cursor, ",%d:%llu", o->queues[i].queue, (unsigned long long)o->queues[i].offset);
	s->opening = NULL;
	ws_open_free(o);
	ws_sub_opened(s, buf_view(&cursor));
	buf_fini(&cursor);
}

static void open_now(struct ws_opening *o)
{
	static const enum sub_start starts[] = {
		[FROM_GROUP] = SUB_START_COMMITTED, [FROM_EARLIEST] = SUB_START_FIRST, [FROM_LATEST] = SUB_START_LAST,
		[FROM_CURSOR] = SUB_START_POSITION, [FROM_TIME] = SUB_START_POSITION,
	};
	struct ws_peer *p = o->sub->peer;
	struct engine_sub_open *r = &o->open;

	r->ask.done = sub_opened;
	r->actor = &p->actor;
	r->sub = &o->sub->sub;
	r->topic = slice_str(o->topic);
	r->group = slice_str(o->group);
	r->client_id = p->actor.address;
	r->expr = slice_str(o->tag);
	r->lease_ms = o->lease_ms;
	r->start = starts[o->from];
	if (!o->sub->group) {
		r->tap = true;
		r->start = o->from == FROM_EARLIEST ? SUB_START_FIRST : SUB_START_POSITION;
		r->start_offset = r->start == SUB_START_POSITION ? o->position : 0;
		r->from = o->queues;
		r->n_from = o->n_queues;
	}
	engine_sub_open(p->front->engine, r);
}

static void time_found(struct engine_ask *a, enum status st);

static void find_time(struct ws_opening *o)
{
	if (o->n_queues == o->known_queues) {
		open_now(o);
		return;
	}
	o->at = (struct engine_range){.ask.done = time_found, .actor = &o->sub->peer->actor, .topic = slice_str(o->topic),
				      .queue = (int32_t)o->n_queues, .time_ms = o->time_ms};
	engine_at_time(o->sub->peer->front->engine, &o->at);
}

static void time_found(struct engine_ask *a, enum status st)
{
	struct ws_opening *o = container_of(container_of(a, struct engine_range, ask), struct ws_opening, at);

	if (!goes_on(o, st))
		return;
	o->queues[o->n_queues] = (struct queue_from){(int32_t)o->n_queues, o->at.offset};
	o->n_queues++;
	find_time(o);
}

static void topic_known(struct engine_ask *a, enum status st)
{
	struct ws_opening *o = container_of(container_of(a, struct engine_topic, ask), struct ws_opening, get);

	if (st == ST_OK && o->get.conf.read_queues > WS_QUEUES_MAX)
		st = ST_TOO_BIG;
	if (!goes_on(o, st))
		return;
	o->known_queues = o->get.conf.read_queues;
	o->queues = mem_array(o->known_queues + 1, sizeof(*o->queues));
	find_time(o);
}

static void now_known(struct engine_ask *a, enum status st)
{
	struct ws_opening *o = container_of(container_of(a, struct engine_stats, ask), struct ws_opening, stats);

	if (!goes_on(o, st))
		return;
	o->position = o->stats.visible;
	if (o->from != FROM_TIME) {
		open_now(o);
		return;
	}
	o->get.ask.done = topic_known;
	o->get.actor = &o->sub->peer->actor;
	o->get.name = slice_str(o->topic);
	engine_topic_get(o->sub->peer->front->engine, &o->get);
}

void ws_open_go(struct ws_sub *s)
{
	struct ws_opening *o = s->opening;

	if (s->group || o->from == FROM_CURSOR || o->from == FROM_EARLIEST) {
		open_now(o);
		return;
	}
	o->stats.ask.done = now_known;
	o->stats.actor = &s->peer->actor;
	engine_stats(s->peer->front->engine, &o->stats);
}
