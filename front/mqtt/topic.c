/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * MQTT topics and RocketMQ topics: the first rule "filter=topic" that matches says where a message is kept, else the first level does.
 *
 * A message in a topic has the MQTT topic that its property says, if the rules lead from there to this topic; else the topic's name. So whatever is in the log
 * is found by whoever subscribes to the name that it appears under, and only there.
 */
#include "front/mqtt/mq.h"

#define TOPIC_MAX 127u

bool mq_levels_fine(struct slice name)
{
	unsigned n = 1;

	for (size_t i = 0; i < name.n; i++)
		n += name.p[i] == '/';
	return n <= MQ_LEVELS_MAX;
}

static bool legal(struct slice topic)
{
	if (topic.n == 0 || topic.n > TOPIC_MAX)
		return false;
	for (size_t i = 0; i < topic.n; i++) {
		uint8_t c = topic.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '%' || c == '|' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

bool mq_user_topic(struct slice topic)
{
	static const char *const begins[] = {"%", "rmq_sys_", "RMQ_SYS_", "SCHEDULE_TOPIC_", "CID_RMQ_SYS_"};
	static const char *const names[] = {"TBW102", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT"};

	for (size_t i = 0; i < ARRAY_LEN(begins); i++)
		if (slice_starts(topic, slice_str(begins[i])))
			return false;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (slice_eq_str(topic, names[i]))
			return false;
	return legal(topic);
}

static struct slice first_level(struct slice name)
{
	const uint8_t *slash = name.n == 0 ? NULL : memchr(name.p, '/', name.n);

	return slash == NULL ? name : slice_of(name.p, (size_t)(slash - name.p));
}

bool mq_map(const struct mq *f, struct slice name, struct slice *ret)
{
	for (unsigned i = 0; i < f->n_rules; i++) {
		if (mqtt_filter_matches(f->rules[i].filter, name)) {
			*ret = f->rules[i].topic;
			return true;
		}
	}
	*ret = first_level(name);
	return mq_user_topic(*ret);
}

bool mq_filter_wide(struct slice filter)
{
	return filter.n > 0 && (filter.p[0] == '#' || filter.p[0] == '+') && (filter.n == 1 || filter.p[1] == '/');
}

static struct slice next_level(struct slice *rest, bool *more)
{
	struct slice level = first_level(*rest);

	*more = level.n < rest->n;
	*rest = slice_skip(*rest, level.n + 1);
	return level;
}

bool mq_filters_meet(struct slice a, struct slice b)
{
	bool more_a = true, more_b = true, first = true;

	/* A wildcard in front matches nothing that begins with $. */
	for (; more_a && more_b; first = false) {
		struct slice x = next_level(&a, &more_a), y = next_level(&b, &more_b);
		bool wild_x = slice_eq_str(x, "+"), wild_y = slice_eq_str(y, "+"), rest_x = slice_eq_str(x, "#"), rest_y = slice_eq_str(y, "#");
		if (first && ((wild_x || rest_x) ? slice_starts(y, SLICE_LIT("$")) : (wild_y || rest_y) && slice_starts(x, SLICE_LIT("$"))))
			return false;
		if (rest_x || rest_y)
			return true;
		if (!wild_x && !wild_y && !slice_eq(x, y))
			return false;
	}
	/* "a/#" matches "a" too. */
	return (!more_a && !more_b) || (more_a && slice_eq_str(a, "#")) || (more_b && slice_eq_str(b, "#"));
}

bool mq_filter_touches(const struct mq *f, struct slice filter, struct slice topic)
{
	if (mq_filter_wide(filter) || slice_eq(first_level(filter), topic))
		return true;
	for (unsigned i = 0; i < f->n_rules; i++)
		if (slice_eq(f->rules[i].topic, topic) && mq_filters_meet(filter, f->rules[i].filter))
			return true;
	return false;
}

void mq_filter_topics(struct mq *f, struct slice filter, void (*each)(struct mq *f, struct slice topic, void *arg), void *arg)
{
	if (mq_user_topic(first_level(filter)))
		each(f, first_level(filter), arg);
	for (unsigned i = 0; i < f->n_rules; i++)
		if (mq_filters_meet(filter, f->rules[i].filter))
			each(f, f->rules[i].topic, arg);
}

/* One "filter=topic". The topic stands behind the last '=', which no topic has in it. */
static bool rule_parse(struct slice text, struct mq_rule *ret)
{
	size_t at = text.n;

	while (at > 0 && text.p[at - 1] != '=')
		at--;
	if (at == 0)
		return false;
	ret->filter = slice_trim(slice_of(text.p, at - 1));
	ret->topic = slice_trim(slice_skip(text, at));
	return mqtt_filter_valid(ret->filter) && !slice_starts(ret->filter, SLICE_LIT("$share/")) && mq_levels_fine(ret->filter) &&
		mq_user_topic(ret->topic);
}

enum status mq_rules_init(struct mq *f)
{
	struct slice rest = f->conf->mqtt_topics, one;

	while (slice_split(&rest, ';', &one)) {
		one = slice_trim(one);
		if (one.n == 0)
			continue;
		f->rules = mem_grow(f->rules, (f->n_rules + 1) * sizeof(*f->rules));
		if (!rule_parse(one, &f->rules[f->n_rules])) {
			log_error(f->log, "mqtt", "mqttTopics: not a rule \"filter=topic\" with a legal filter and topic: %.*s", (int)one.n, (const char *)one.p);
			return ST_BAD_ARG;
		}
		f->n_rules++;
	}
	return ST_OK;
}
