/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The trees of filters and names against a matcher that compares level by level, and the rules from MQTT topics to RocketMQ's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/prng.h"
#include "front/mqtt/mq.h"
#include "tests/lib/memdisk.h"

enum { FILTERS = 300, NAMES = 2000 };

/* The specification's words (4.7), as plainly as they can be said. */
static bool naive(const char *filter, const char *name)
{
	if ((filter[0] == '+' || filter[0] == '#') && name[0] == '$')
		return false;
	for (;;) {
		if (strcmp(filter, "#") == 0)
			return true;
		size_t f = strcspn(filter, "/"), n = strcspn(name, "/");
		if (!(f == 1 && filter[0] == '+') && (f != n || memcmp(filter, name, f) != 0))
			return false;
		if (filter[f] == '\0' && name[n] == '\0')
			return true;
		if (name[n] == '\0')
			return strcmp(filter + f, "/#") == 0;
		if (filter[f] == '\0')
			return false;
		filter += f + 1;
		name += n + 1;
	}
}

static void make(struct prng *r, char *to, bool wild)
{
	static const char *const levels[] = {"a", "b", "c", "", "$x", "aa"};
	unsigned n = 1 + (unsigned)prng_below(r, 4);

	to[0] = '\0';
	for (unsigned i = 0; i < n; i++) {
		if (i > 0)
			strcat(to, "/");
		if (wild && prng_below(r, 4) == 0) {
			strcat(to, "+");
		} else if (wild && i + 1 == n && prng_below(r, 3) == 0) {
			strcat(to, "#");
		} else {
			strcat(to, levels[prng_below(r, i == 0 || prng_below(r, 3) == 0 ? 6 : 3)]);
		}
	}
	if (to[0] == '\0')
		strcpy(to, "a");
}

static void count(struct mq_node *n, void *arg)
{
	(void)n;
	++*(unsigned *)arg;
}

/* Counts how many references a node has: several equal filters share one. */
static void count_refs(struct mq_node *n, void *arg)
{
	*(unsigned *)arg += n->refs;
}

static void filters_match_as_the_specification_says(void **state)
{
	struct mq_node *root = mq_node_new(), *nodes[FILTERS];
	static char filters[FILTERS][64];
	struct prng r;
	char name[64];

	(void)state;
	prng_init(&r, 3);
	for (unsigned i = 0; i < FILTERS; i++) {
		make(&r, filters[i], true);
		assert_true(mqtt_filter_valid(slice_str(filters[i])));
		nodes[i] = mq_node_hold(root, slice_str(filters[i]));
	}
	for (unsigned i = 0; i < NAMES; i++) {
		unsigned want = 0, got = 0;
		make(&r, name, false);
		for (unsigned k = 0; k < FILTERS; k++) {
			want += naive(filters[k], name);
			assert_int_equal(mqtt_filter_matches(slice_str(filters[k]), slice_str(name)), naive(filters[k], name));
		}
		mq_trie_match(root, slice_str(name), count_refs, &got);
		if (want != got)
			fail_msg("%s: %u of the filters match, the tree says %u", name, want, got);
		if (i % 10 == 0) { /* filters come and go */
			unsigned k = (unsigned)prng_below(&r, FILTERS);
			mq_node_drop(nodes[k]);
			make(&r, filters[k], true);
			nodes[k] = mq_node_hold(root, slice_str(filters[k]));
		}
	}
	for (unsigned i = 0; i < FILTERS; i++)
		mq_node_drop(nodes[i]);
	mq_node_free(root);
}

static void names_are_found_as_the_specification_says(void **state)
{
	struct mq_node *root = mq_node_new(), *nodes[FILTERS];
	static char names[FILTERS][64];
	struct prng r;
	char filter[64];

	(void)state;
	prng_init(&r, 4);
	for (unsigned i = 0; i < FILTERS; i++) {
		make(&r, names[i], false);
		nodes[i] = mq_node_hold(root, slice_str(names[i]));
		nodes[i]->value = nodes[i];
	}
	for (unsigned i = 0; i < NAMES; i++) {
		unsigned want = 0, got = 0;
		make(&r, filter, true);
		for (unsigned k = 0; k < FILTERS; k++) {
			bool first = true;
			for (unsigned j = 0; j < k; j++)
				first = first && strcmp(names[j], names[k]) != 0;
			want += first && naive(filter, names[k]);
		}
		mq_trie_names(root, slice_str(filter), count, &got);
		if (want != got)
			fail_msg("%s matches %u names, the tree says %u", filter, want, got);
	}
	for (unsigned i = 0; i < FILTERS; i++) {
		nodes[i]->value = nodes[i]->refs > 1 ? nodes[i]->value : NULL;
		mq_node_drop(nodes[i]);
	}
	mq_node_free(root);
}

/* Two filters meet if some name matches both; for short names over a few levels, all of them are tried. */
static void filters_meet_if_a_name_matches_both(void **state)
{
	static const char *const levels[] = {"a", "b", "", "$x", "z"};
	static char names[800][32];
	unsigned n = 0;
	struct prng r;
	char a[64], b[64];

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		snprintf(names[n++], 32, "%s", levels[i]);
		for (unsigned j = 0; j < 5; j++) {
			snprintf(names[n++], 32, "%s/%s", levels[i], levels[j]);
			for (unsigned k = 0; k < 5; k++) {
				snprintf(names[n++], 32, "%s/%s/%s", levels[i], levels[j], levels[k]);
				for (unsigned l = 0; l < 5; l++)
					snprintf(names[n++], 32, "%s/%s/%s/%s", levels[i], levels[j], levels[k], levels[l]);
			}
		}
	}
	prng_init(&r, 9);
	for (unsigned i = 0; i < 5000; i++) {
		bool meet = false;
		make(&r, a, true);
		make(&r, b, true);
		if (strstr(a, "c") != NULL || strstr(b, "c") != NULL || strstr(a, "aa") != NULL || strstr(b, "aa") != NULL)
			continue;
		for (unsigned k = 0; k < n && !meet; k++)
			meet = naive(a, names[k]) && naive(b, names[k]);
		if (mq_filters_meet(slice_str(a), slice_str(b)) != meet)
			fail_msg("%s and %s %s", a, b, meet ? "meet" : "do not meet");
	}
}

static void rules_say_which_topic_holds_what(void **state)
{
	struct front_conf conf = {.mqtt_topics = SLICE_LIT("sensors/+/temp = temps ;sensors/#=other; /legacy/#=old;")};
	struct testlog log;
	struct mq f = {.conf = &conf};
	struct slice t;

	(void)state;
	testlog_init(&log);
	f.log = &log.log;
	assert_int_equal(mq_rules_init(&f), ST_OK);
	assert_int_equal(f.n_rules, 3);
	assert_true(mq_map(&f, SLICE_LIT("sensors/1/temp"), &t) && slice_eq_str(t, "temps"));
	assert_true(mq_map(&f, SLICE_LIT("sensors/1/hum"), &t) && slice_eq_str(t, "other"));
	assert_true(mq_map(&f, SLICE_LIT("sensors"), &t) && slice_eq_str(t, "other"));
	assert_true(mq_map(&f, SLICE_LIT("/legacy/x"), &t) && slice_eq_str(t, "old"));
	assert_true(mq_map(&f, SLICE_LIT("orders/7"), &t) && slice_eq_str(t, "orders"));
	assert_false(mq_map(&f, SLICE_LIT("/x"), &t));
	assert_false(mq_map(&f, SLICE_LIT("a b/x"), &t));
	assert_false(mq_map(&f, SLICE_LIT("$SYS/x"), &t));
	assert_false(mq_map(&f, SLICE_LIT("%RETRY%g/x"), &t));
	assert_false(mq_map(&f, SLICE_LIT("TBW102/x"), &t));
	assert_true(mq_filter_touches(&f, SLICE_LIT("sensors/1/temp"), SLICE_LIT("temps")));
	assert_false(mq_filter_touches(&f, SLICE_LIT("sensors/1/hum"), SLICE_LIT("temps")));
	assert_true(mq_filter_touches(&f, SLICE_LIT("#"), SLICE_LIT("temps")));
	mem_free(f.rules);
	static const char *const bad[] = {"x", "=t", "a/#/b=t", "a=b/c", "a=", "$share/g/a=t", "a=%RETRY%g"};
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		f.rules = NULL;
		f.n_rules = 0;
		conf.mqtt_topics = slice_str(bad[i]);
		if (mq_rules_init(&f) != ST_BAD_ARG)
			fail_msg("%s is taken for a rule", bad[i]);
		mem_free(f.rules);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filters_match_as_the_specification_says),
		cmocka_unit_test(names_are_found_as_the_specification_says),
		cmocka_unit_test(filters_meet_if_a_name_matches_both),
		cmocka_unit_test(rules_say_which_topic_holds_what),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
