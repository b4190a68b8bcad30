/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Topic names and filters (4.7 of both specifications), and shared subscriptions' (4.8.2 of 5.0). */
#include "base/utf.h"
#include "front/mqtt/codec_priv.h"

#define SHARE SLICE_LIT("$share/")

bool mqtt_text_valid(struct slice s)
{
	size_t i = 0;

	/* Nearly every name is plain ASCII: eight bytes at a time, none of them above 0x7F and none 0. */
	for (uint64_t v; i + 8 <= s.n; i += 8) {
		memcpy(&v, s.p + i, 8);
		if (((v | (v - 0x0101010101010101ull)) & 0x8080808080808080ull) != 0)
			break;
	}
	for (; i < s.n; i++)
		if (s.p[i] == 0)
			return false;
		else if (s.p[i] >= 0x80)
			return memchr(s.p + i, 0, s.n - i) == NULL && utf8_valid(slice_skip(s, i));
	return true;
}

bool mqtt_has_wildcard(struct slice filter)
{
	return filter.n > 0 && (memchr(filter.p, '+', filter.n) != NULL || memchr(filter.p, '#', filter.n) != NULL);
}

bool mqtt_topic_valid(struct slice topic)
{
	return topic.n > 0 && topic.n <= MQTT_STRING_MAX && !mqtt_has_wildcard(topic) && mqtt_text_valid(topic);
}

/* Wildcards fill their level, and # is the last one. */
static bool levels_valid(struct slice filter)
{
	for (size_t i = 0; i < filter.n; i++) {
		uint8_t c = filter.p[i];
		bool first = i == 0 || filter.p[i - 1] == '/', last = i + 1 == filter.n;

		if (c == '#' && !(first && last))
			return false;
		if (c == '+' && !(first && (last || filter.p[i + 1] == '/')))
			return false;
	}
	return filter.n > 0;
}

bool mqtt_share_parse(struct slice filter, struct slice *ret_group, struct slice *ret_filter)
{
	struct slice rest = slice_skip(filter, SHARE.n), group;
	const uint8_t *slash;

	if (!slice_starts(filter, SHARE))
		return false;
	slash = rest.n > 0 ? memchr(rest.p, '/', rest.n) : NULL;
	if (slash == NULL)
		return false;
	group = slice_of(rest.p, (size_t)(slash - rest.p));
	if (group.n == 0 || mqtt_has_wildcard(group))
		return false;
	*ret_group = group;
	*ret_filter = slice_skip(rest, group.n + 1);
	return true;
}

bool mqtt_filter_valid(struct slice filter)
{
	struct slice group;

	if (filter.n > MQTT_STRING_MAX || !mqtt_text_valid(filter))
		return false;
	if (slice_starts(filter, SHARE) && !mqtt_share_parse(filter, &group, &filter))
		return false;
	return levels_valid(filter);
}

/* The levels of a name: "a/" has two, the last one empty. */
struct levels {
	struct slice rest;
	bool ended;
};

static bool next_level(struct levels *l, struct slice *ret)
{
	const uint8_t *slash = l->rest.n > 0 ? memchr(l->rest.p, '/', l->rest.n) : NULL;

	if (l->ended)
		return false;
	l->ended = slash == NULL;
	*ret = slash == NULL ? l->rest : slice_of(l->rest.p, (size_t)(slash - l->rest.p));
	l->rest = slash == NULL ? (struct slice){NULL, 0} : slice_skip(l->rest, ret->n + 1);
	return true;
}

bool mqtt_filter_matches(struct slice filter, struct slice topic)
{
	struct levels filters = {filter, false}, topics = {topic, false};
	struct slice f, t;

	if (topic.n > 0 && topic.p[0] == '$' && filter.n > 0 && (filter.p[0] == '+' || filter.p[0] == '#'))
		return false;
	while (next_level(&filters, &f)) {
		if (slice_eq(f, SLICE_LIT("#")))
			return true; /* "a/#" is for "a" as well */
		if (!next_level(&topics, &t) || !(slice_eq(f, SLICE_LIT("+")) || slice_eq(f, t)))
			return false;
	}
	return !next_level(&topics, &t);
}
