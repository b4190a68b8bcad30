/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Polls and receipts over HTTP: what is given, to whom it goes next, and what is left when a caller hangs up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/mem.h"
#include "tests/lib/http_rig.h"

#define POLL "/v1/topics/t/groups/g/messages"

static struct http_rig h;

static int setup(void **state)
{
	(void)state;
	http_rig_init(&h);
	http_rig_open(&h);
	http_rig_ask(&h, "PUT", "/v1/topics/t", NULL, "{\"readQueues\":1,\"writeQueues\":1}");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	http_rig_fini(&h);
	return 0;
}

static void has(const char *text, const char *what)
{
	if (strstr(text, what) == NULL)
		fail_msg("no '%s' in '%s'", what, text);
}

static void fresh(void)
{
	while (h.n_calls > 0)
		http_rig_free(h.calls[0]);
}

static const char *ask(unsigned status, const char *method, const char *target, const char *headers, const char *body)
{
	struct http_call_rig *c = http_rig_ask(&h, method, target, headers, body);

	if (c->status != status)
		fail_msg("%s %s: status %u (%s), expected %u", method, target, c->status, http_rig_body(c), status);
	return http_rig_body(c);
}

static void publish(const char *body, const char *options)
{
	char target[200];

	snprintf(target, sizeof(target), "/v1/topics/t/messages?%s", options);
	ask(201, "POST", target, NULL, body);
	http_rig_free(h.calls[h.n_calls - 1]);
}

/* Bodies of an answer, separated by blanks; the receipts of the first ones go to 'receipts'. */
static const char *bodies(const char *text, char receipts[][200], unsigned n)
{
	static char all[1000];
	json_t *j = json_loads(text, 0, NULL), *v = json_object_get(j, "messages"), *m;
	size_t i;

	if (!json_is_array(v))
		fail_msg("not messages: %s", text);
	all[0] = '\0';
	json_array_foreach(v, i, m) {
		strcat(all, i > 0 ? " " : "");
		strcat(all, json_string_value(json_object_get(m, "body")));
		if (i < n)
			strcpy(receipts[i], json_string_value(json_object_get(m, "receipt")));
	}
	json_decref(j);
	return all;
}

static const char *poll(const char *options)
{
	char target[200];

	snprintf(target, sizeof(target), POLL "?%s", options);
	return ask(200, "GET", target, NULL, NULL);
}

static char receipts[8][200];

static void expect(const char *options, const char *what)
{
	const char *got = bodies(poll(options), receipts, 8);

	if (strcmp(got, what) != 0)
		fail_msg("got '%s', expected '%s'", got, what);
	fresh();
}

static unsigned settle(const char *verb, const char *receipt, const char *more)
{
	char body[400], target[40];

	snprintf(target, sizeof(target), "/v1/receipts/%s", verb);
	snprintf(body, sizeof(body), "{\"receipt\":\"%s\"%s}", receipt, more);
	struct http_call_rig *c = http_rig_ask(&h, "POST", target, NULL, body);
	unsigned status = c->status;
	http_rig_free(c);
	return status;
}

/* ---- Polls -------------------------------------------------------------------------------------------------------------------------- */

static void a_poll_gives_what_is_there(void **state)
{
	(void)state;
	publish("one", "tag=a&keys=k&prop-x=y");
	publish("two", "");
	const char *got = poll("max=5&lease=20s");
	has(got, "\"tag\":\"a\"");
	has(got, "\"keys\":\"k\"");
	has(got, "\"properties\":{\"x\":\"y\"}");
	has(got, "\"attempt\":1");
	has(got, "\"leaseUntil\":17000000");
	assert_string_equal(bodies(got, receipts, 2), "one two");
	expect("max=5", "");
	assert_int_equal(settle("ack", receipts[0], ""), 200);
	assert_int_equal(settle("ack", receipts[1], ""), 200);
	http_rig_run(&h, 30000);
	expect("max=5", "");
}

static void a_poll_waits_for_the_first_message(void **state)
{
	struct http_call_rig *c = http_rig_start(&h, "GET", POLL "?wait=10s", NULL, (struct slice){NULL, 0});

	(void)state;
	http_rig_run(&h, 3000);
	assert_false(c->over);
	publish("late", "");
	http_rig_run(&h, 5);
	assert_true(c->over);
	assert_string_equal(bodies(http_rig_body(c), receipts, 1), "late");
}

static void a_poll_ends_in_time_with_nothing(void **state)
{
	struct http_call_rig *c = http_rig_start(&h, "GET", POLL "?wait=10s", NULL, (struct slice){NULL, 0});

	(void)state;
	http_rig_run(&h, 9900);
	assert_false(c->over);
	http_rig_run(&h, 300);
	assert_int_equal(c->status, 200);
	assert_string_equal(http_rig_body(c), "{\"messages\":[]}");
	assert_true(http_api_idle(h.api));
}

static void a_poll_takes_no_more_than_it_asked_for(void **state)
{
	(void)state;
	publish("1", "");
	publish("2", "");
	publish("3", "");
	expect("max=2", "1 2");
	expect("max=2", "3");
}

static void an_answer_has_a_size(void **state)
{
	char *body = mem_new(60001);
	size_t got = 0;
	unsigned polls = 0;

	(void)state;
	memset(body, 'x', 60000);
	for (unsigned i = 0; i < 90; i++)
		publish(body, "");
	for (; got < 90 && polls < 20; polls++) {
		struct http_call_rig *c = http_rig_ask(&h, "GET", POLL "?max=100", NULL, NULL);
		json_t *j = json_loads(http_rig_body(c), 0, NULL), *v = json_object_get(j, "messages"), *m;
		size_t i;
		assert_true(c->body.n < (4u << 20) + (1u << 17));
		json_array_foreach(v, i, m)
			assert_int_equal(json_integer_value(json_object_get(m, "attempt")), 1);
		got += json_array_size(v);
		json_decref(j);
		fresh();
	}
	assert_int_equal(got, 90);
	const char *newest = ask(200, "GET", "/v1/topics/t/messages?max=90", NULL, NULL);
	assert_true(strlen(newest) < (4u << 20) + (1u << 17));
	mem_free(body);
}

static void a_poll_gets_only_its_tags(void **state)
{
	(void)state;
	publish("1", "tag=a");
	publish("2", "tag=b");
	publish("3", "tag=c");
	expect("max=5&tag=a%7C%7Cc", "1 3");
}

static void a_group_begins_where_it_is_told(void **state)
{
	(void)state;
	publish("1", "");
	ask(200, "GET", "/v1/topics/t/groups/late/messages?from=latest", NULL, NULL);
	has(http_rig_body(h.calls[h.n_calls - 1]), "[]");
	has(ask(200, "GET", "/v1/topics/t/groups/early/messages?from=earliest", NULL, NULL), "\"body\":\"1\"");
	has(ask(400, "GET", "/v1/topics/t/groups/early/messages?from=0:1", NULL, NULL), "earliest");
}

static void two_groups_each_get_it(void **state)
{
	(void)state;
	publish("1", "");
	expect("", "1");
	has(ask(200, "GET", "/v1/topics/t/groups/other/messages", NULL, NULL), "\"body\":\"1\"");
}

static void an_expired_message_is_handled_already(void **state)
{
	(void)state;
	publish("stale", "expire=1s");
	publish("good", "expire=1h");
	http_rig_run(&h, 1500);
	expect("max=5", "good");
	assert_int_equal(settle("ack", receipts[0], ""), 200);
	has(ask(200, "GET", "/v1/groups/g", NULL, NULL), "\"lag\":0,");
}

static void a_topic_must_be_there(void **state)
{
	(void)state;
	has(ask(404, "GET", "/v1/topics/absent/groups/g/messages", NULL, NULL), "NO_TOPIC");
	has(ask(400, "GET", "/v1/topics/t/groups/a.b/messages", NULL, NULL), "BAD_NAME");
	has(ask(400, "GET", POLL "?max=0", NULL, NULL), "max");
	has(ask(400, "GET", POLL "?wait=31s", NULL, NULL), "wait");
	has(ask(400, "GET", POLL "?lease=0", NULL, NULL), "lease");
	has(ask(400, "GET", POLL "?lease=13h", NULL, NULL), "lease");
	has(ask(400, "GET", POLL "?ack=auto", NULL, NULL), "ack");
	assert_true(http_api_idle(h.api));
}

static void a_topic_that_goes_ends_the_poll(void **state)
{
	struct http_call_rig *c = http_rig_start(&h, "GET", POLL "?wait=10s", NULL, (struct slice){NULL, 0});

	(void)state;
	http_rig_run(&h, 1000);
	ask(204, "DELETE", "/v1/topics/t", NULL, NULL);
	http_rig_run(&h, 10);
	assert_true(c->over);
	assert_int_equal(c->status, 404);
}

/* Natives that own every queue: silence would look like an empty topic. */
static void natives_that_own_all_queues_are_named(void **state)
{
	struct rig_member m = {.id = "AAA", .address = "10.0.0.1:1"};
	const struct rig_subscription s = {"t", "*", 1};

	(void)state;
	rig_group(&h.r, "g", &(struct group_conf){.consume = true, .retry_queues = 1, .retry_max = 16});
	assert_int_equal(rig_join(&h.r, &m, "g", MODEL_CLUSTERING, &s, 1, NULL), ST_OK);
	publish("1", "");
	const char *got = ask(409, "GET", POLL "?wait=10s", NULL, NULL);
	has(got, "no queue assigned");
	has(got, "own all 1 queues");
	has(ask(409, "GET", POLL, "accept: text/event-stream\n", NULL), "no queue assigned");
	assert_int_equal(rig_leave(&h.r, &m), ST_OK);
	http_rig_run(&h, 100);
	expect("", "1");
}

static void a_poll_is_answered_when_the_front_ends(void **state)
{
	struct http_call_rig *c = http_rig_start(&h, "GET", POLL "?wait=10s", NULL, (struct slice){NULL, 0});

	(void)state;
	http_rig_run(&h, 1000);
	http_api_drain(h.api);
	assert_true(c->over);
	assert_int_equal(c->status, 200);
	http_rig_run(&h, 10);
	assert_true(http_api_idle(h.api));
}

/* ---- Hanging up --------------------------------------------------------------------------------------------------------------------- */

static void who_hangs_up_before_the_answer_leaves_all_as_it_was(void **state)
{
	(void)state;
	publish("1", "");
	for (unsigned turns = 0; turns < 12; turns++) {
		struct http_call_rig *c = http_rig_start(&h, "GET", POLL "?max=2&wait=10s", NULL, (struct slice){NULL, 0});
		http_rig_turns(&h, turns);
		if (c->over) {
			bodies(http_rig_body(c), receipts, 1);
			has(http_rig_body(c), "\"attempt\":1");
			http_rig_free(c);
			assert_int_equal(settle("nack", receipts[0], ",\"delay\":0"), 200);
			break;
		}
		http_rig_free(c);
		http_rig_run(&h, 5);
		assert_true(http_api_idle(h.api));
		assert_int_equal(rig_stat(&h.r, STAT_LEASES), 0);
	}
	has(poll("max=2"), "\"attempt\":2");
}

/* The engine has given messages, and the front had no turn yet in which to answer. */
static void who_hangs_up_with_messages_at_the_door_gives_them_back(void **state)
{
	(void)state;
	publish("1", "");
	publish("2", "");
	struct http_call_rig *c = http_rig_start(&h, "GET", POLL "?max=5&wait=10s&lease=1h", NULL, (struct slice){NULL, 0});
	for (unsigned i = 0; i < 50 && rig_stat(&h.r, STAT_LEASES) < 2; i++) {
		engine_port_serve(h.port);
		engine_turn(h.r.e);
		memdisk_run(&h.r.disk);
		engine_port_turn(h.port);
		h.r.clock.ns += 1000;
	}
	engine_port_turn(h.port);
	assert_false(c->over);
	http_rig_free(c);
	http_rig_run(&h, 10);
	assert_int_equal(rig_stat(&h.r, STAT_LEASES), 0);
	has(poll("max=5"), "\"attempt\":1");
}

static void an_answer_for_which_there_is_no_room_leaves_all_as_it_was(void **state)
{
	(void)state;
	publish("one", "queue=0");
	publish("two", "queue=0");
	http_rig_room = 100;
	ask(503, "GET", POLL "?from=earliest", NULL, NULL);
	ask(503, "GET", "/v1/topics/t/messages", NULL, NULL);
	http_rig_room = SIZE_MAX;
	const char *text = ask(200, "GET", POLL, NULL, NULL);
	has(text, "one");
	has(text, "two");
	has(text, "\"attempt\":1");
}

static void who_hangs_up_while_waiting_leaves_nothing(void **state)
{
	struct http_call_rig *c = http_rig_start(&h, "GET", POLL "?wait=10s", NULL, (struct slice){NULL, 0});

	(void)state;
	http_rig_run(&h, 2000);
	http_rig_free(c);
	http_rig_run(&h, 10);
	assert_true(http_api_idle(h.api));
	assert_true(engine_port_idle(h.port));
	publish("1", "");
	expect("", "1");
}

static void who_hangs_up_before_the_key_is_there_leaves_nothing(void **state)
{
	(void)state;
	http_rig_restart(&h);
	struct http_call_rig *c = http_rig_start(&h, "GET", POLL, NULL, (struct slice){NULL, 0});
	http_rig_free(c);
	http_rig_run(&h, 10);
	assert_true(http_api_idle(h.api));
}

/* A poll that would wait for seconds does not begin once the process is about to end. */
static void who_waits_for_the_key_is_refused_by_a_drain(void **state)
{
	(void)state;
	http_rig_restart(&h);
	struct http_call_rig *c = http_rig_start(&h, "GET", POLL "?wait=10s", NULL, (struct slice){NULL, 0});
	http_api_drain(h.api);
	http_rig_run(&h, 10);
	assert_true(http_api_idle(h.api));
	assert_int_equal(c->status, 503);
	http_rig_free(c);
}

/* ---- Receipts ----------------------------------------------------------------------------------------------------------------------- */

static void a_lease_that_ran_out_is_stale(void **state)
{
	(void)state;
	publish("1", "");
	expect("lease=5s", "1");
	char first[200];
	strcpy(first, receipts[0]);
	http_rig_run(&h, 6000);
	has(poll("lease=5s"), "\"attempt\":2");
	assert_int_equal(settle("ack", first, ""), 410);
	bodies(http_rig_body(h.calls[h.n_calls - 1]), receipts, 1);
	assert_int_equal(settle("ack", receipts[0], ""), 200);
	assert_int_equal(settle("ack", receipts[0], ""), 410);
}

static void a_forged_receipt_is_refused(void **state)
{
	(void)state;
	publish("1", "");
	expect("", "1");
	char forged[200];
	for (size_t i = 0; i < strlen(receipts[0]); i++) {
		strcpy(forged, receipts[0]);
		forged[i] = forged[i] == 'A' ? 'B' : 'A';
		if (strcmp(forged, receipts[0]) != 0)
			assert_int_equal(settle("ack", forged, ""), 400);
		strcpy(forged, receipts[0]);
		forged[i] = '\0';
		assert_int_equal(settle("ack", forged, ""), 400);
	}
	assert_int_equal(settle("ack", "***", ""), 400);
	assert_int_equal(settle("ack", receipts[0], ""), 200);
}

static void a_receipt_holds_over_a_restart(void **state)
{
	(void)state;
	publish("1", "");
	publish("2", "");
	expect("max=2&lease=60s", "1 2");
	http_rig_restart(&h);
	assert_int_equal(settle("ack", receipts[0], ""), 200);
	http_rig_run(&h, 200);
	http_rig_crash(&h);
	expect("max=2", "2");
	assert_int_equal(settle("ack", receipts[0], ""), 200);
}

static void a_receipt_of_a_dropped_topic_settles_nothing(void **state)
{
	(void)state;
	publish("1", "");
	expect("", "1");
	char old[200];
	strcpy(old, receipts[0]);
	ask(204, "DELETE", "/v1/topics/t", NULL, NULL);
	assert_int_equal(settle("ack", old, ""), 410);
	ask(201, "PUT", "/v1/topics/t", NULL, "{\"readQueues\":1,\"writeQueues\":1}");
	publish("2", "");
	expect("", "2");
	assert_int_equal(settle("ack", old, ""), 410);
	assert_int_equal(settle("ack", receipts[0], ""), 200);
}

static void nack_gives_back(void **state)
{
	(void)state;
	publish("1", "");
	expect("", "1");
	assert_int_equal(settle("nack", receipts[0], ",\"delay\":\"5s\""), 200);
	expect("", "");
	http_rig_run(&h, 5100);
	expect("", "1");
	assert_int_equal(settle("nack", receipts[0], ""), 200);
	expect("", "");
	http_rig_run(&h, 60000);
	expect("", "1");
}

static void nack_with_reject_is_a_dead_letter(void **state)
{
	(void)state;
	publish("1", "");
	expect("", "1");
	assert_int_equal(settle("nack", receipts[0], ",\"reject\":true"), 200);
	http_rig_run(&h, 1000);
	expect("", "");
	has(ask(200, "GET", "/v1/topics/%25DLQ%25g/messages", NULL, NULL), "\"body\":\"1\"");
	has(ask(200, "GET", "/v1/topics", NULL, NULL), "%DLQ%g");
}

static void extend_keeps_a_message(void **state)
{
	(void)state;
	publish("1", "");
	expect("lease=5s", "1");
	char first[200];
	strcpy(first, receipts[0]);
	http_rig_run(&h, 4000);
	assert_int_equal(settle("extend", first, ",\"lease\":\"20s\""), 200);
	http_rig_run(&h, 10000);
	expect("", "");
	assert_int_equal(settle("ack", first, ""), 200);
	assert_int_equal(settle("extend", first, ""), 410);
}

static void many_receipts_have_a_result_each(void **state)
{
	char body[1000];

	(void)state;
	publish("1", "");
	publish("2", "");
	expect("max=2", "1 2");
	snprintf(body, sizeof(body), "{\"receipts\":[\"%s\",\"nonsense\",\"%s\",7]}", receipts[0], receipts[1]);
	json_t *j = json_loads(ask(200, "POST", "/v1/receipts/ack", NULL, body), 0, NULL), *r = json_object_get(j, "results");
	static const int want[] = {200, 400, 200, 400};
	assert_int_equal(json_array_size(r), 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(json_integer_value(json_object_get(json_array_get(r, i), "status")), want[i]);
	json_decref(j);
	snprintf(body, sizeof(body), "%s\n\n%s\r\n", receipts[0], receipts[1]);
	has(ask(200, "POST", "/v1/receipts/ack", "content-type: text/plain\n", body), "\"status\":410");
}

static void a_receipt_may_be_an_option(void **state)
{
	char target[300];

	(void)state;
	publish("1", "");
	expect("", "1");
	snprintf(target, sizeof(target), "/v1/receipts/ack?receipt=%s", receipts[0]);
	has(ask(200, "POST", target, NULL, NULL), "{\"results\":[{\"status\":200}]}");
	has(ask(410, "POST", target, NULL, NULL), "GONE");
	snprintf(target, sizeof(target), "/v1/receipts/nack?receipt=%s&reject&delay=1s", receipts[0]);
	has(ask(410, "POST", target, NULL, NULL), "GONE");
}

static void what_is_no_settling_is_refused(void **state)
{
	(void)state;
	has(ask(400, "POST", "/v1/receipts/ack", NULL, NULL), "no receipt");
	has(ask(400, "POST", "/v1/receipts/ack", NULL, "{}"), "wanted");
	has(ask(400, "POST", "/v1/receipts/ack", NULL, "{\"receipts\":[]}"), "no receipt");
	has(ask(400, "POST", "/v1/receipts/ack", NULL, "{\"receipts\":\"x\"}"), "array");
	has(ask(400, "POST", "/v1/receipts/ack", NULL, "{\"receipt\":\"x\",\"receipts\":[]}"), "wanted");
	has(ask(400, "POST", "/v1/receipts/ack", NULL, "{\"receipt\":\"x\",\"delay\":1}"), "delay");
	has(ask(400, "POST", "/v1/receipts/nack", NULL, "{\"receipt\":\"x\",\"delay\":\"x\"}"), "delay");
	has(ask(400, "POST", "/v1/receipts/nack", NULL, "{\"receipt\":\"x\",\"reject\":1}"), "reject");
	has(ask(400, "POST", "/v1/receipts/extend", NULL, "{\"receipt\":\"x\",\"lease\":0}"), "lease");
	has(ask(400, "POST", "/v1/receipts/ack", NULL, "["), "not JSON");
}

static void who_hangs_up_during_an_ack_has_acked(void **state)
{
	char target[300];

	(void)state;
	publish("1", "");
	expect("lease=1s", "1");
	snprintf(target, sizeof(target), "/v1/receipts/ack?receipt=%s", receipts[0]);
	struct http_call_rig *c = http_rig_start(&h, "POST", target, NULL, (struct slice){NULL, 0});
	http_rig_free(c);
	http_rig_run(&h, 3000);
	expect("", "");
	assert_true(http_api_idle(h.api));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_poll_gives_what_is_there), T(a_poll_waits_for_the_first_message), T(a_poll_ends_in_time_with_nothing),
		T(a_poll_takes_no_more_than_it_asked_for),
		T(an_answer_for_which_there_is_no_room_leaves_all_as_it_was), T(an_answer_has_a_size), T(a_poll_gets_only_its_tags), T(a_group_begins_where_it_is_told), T(two_groups_each_get_it),
		T(an_expired_message_is_handled_already), T(a_topic_must_be_there), T(a_topic_that_goes_ends_the_poll),
		T(natives_that_own_all_queues_are_named), T(a_poll_is_answered_when_the_front_ends), T(who_hangs_up_before_the_answer_leaves_all_as_it_was),
		T(who_hangs_up_with_messages_at_the_door_gives_them_back),
		T(who_hangs_up_while_waiting_leaves_nothing), T(who_hangs_up_before_the_key_is_there_leaves_nothing),
		T(who_waits_for_the_key_is_refused_by_a_drain), T(a_lease_that_ran_out_is_stale),
		T(a_forged_receipt_is_refused), T(a_receipt_holds_over_a_restart), T(a_receipt_of_a_dropped_topic_settles_nothing), T(nack_gives_back),
		T(nack_with_reject_is_a_dead_letter), T(extend_keeps_a_message), T(many_receipts_have_a_result_each), T(a_receipt_may_be_an_option),
		T(what_is_no_settling_is_refused), T(who_hangs_up_during_an_ack_has_acked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
