/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Settings: what is honoured, ignored and refused, and what is said about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "app/settings.h"
#include "engine/engine.h"

static struct settings made(const char *file)
{
	struct settings s;

	settings_init(&s);
	settings_file(&s, "b.conf", slice_str(file));
	settings_check(&s);
	return s;
}

static void expect_fine(const char *file)
{
	struct settings s = made(file);

	if (s.problems.n > 0)
		print_error("%s\n", buf_cstr(&s.problems));
	assert_int_equal(s.problems.n, 0);
	settings_fini(&s);
}

static void expect_problem(const char *file, const char *said)
{
	struct settings s = made(file);

	if (strstr(buf_cstr(&s.problems), said) == NULL)
		fail_msg("\"%s\" gave \"%s\" instead of \"%s\"", file, buf_cstr(&s.problems), said);
	settings_fini(&s);
}

static void defaults_are_legal(void **state)
{
	struct settings s;

	(void)state;
	settings_init(&s);
	settings_check(&s);
	assert_int_equal(s.problems.n, 0);
	assert_int_equal(s.warnings.n, 0);
	assert_int_equal(s.n[SET_listenPort], 10911);
	assert_int_equal(s.n[SET_namesrvPort], 9876);
	assert_int_equal(s.n[SET_flushDiskType], FLUSH_SYNC);
	assert_string_equal(s.text[SET_bindAddress], "127.0.0.1");
	assert_int_equal(s.delay_ms[0], 1000);
	assert_int_equal(s.delay_ms[17], 7200000);
	for (int i = 0; i < SET_COUNT; i++)
		assert_false(s.given[i]);
	settings_fini(&s);
}

static void an_apache_file_is_read_as_it_is(void **state)
{
	static const char file[] =
		"# Licensed to the Apache Software Foundation\r\n"
		"! also a comment\r\n"
		"\r\n"
		"brokerClusterName = DefaultCluster\r\n"
		"brokerName=broker-a\r\n"
		"brokerId = 0\r\n"
		"deleteWhen = 04\r\n"
		"fileReservedTime = 48\r\n"
		"brokerRole = ASYNC_MASTER\r\n"
		"flushDiskType = ASYNC_FLUSH\r\n"
		"mappedFileSizeCommitLog=1073741824\r\n"
		"sendMessageThreadPoolNums=128\r\n"
		"namesrvAddr=10.0.0.1:9876;10.0.0.2:9876";
	struct settings s = made(file);

	(void)state;
	assert_int_equal(s.problems.n, 0);
	assert_string_equal(s.text[SET_brokerName], "broker-a");
	assert_int_equal(s.n[SET_fileReservedTime], 48);
	assert_int_equal(s.n[SET_flushDiskType], FLUSH_ASYNC);
	assert_int_equal(s.n[SET_mappedFileSizeCommitLog], 1073741824);
	assert_string_equal(s.text[SET_namesrvAddr], "10.0.0.1:9876;10.0.0.2:9876");
	assert_string_equal(s.where[SET_brokerName], "b.conf:5");
	assert_non_null(strstr(buf_cstr(&s.warnings), "b.conf:7: deleteWhen is ignored"));
	assert_non_null(strstr(buf_cstr(&s.warnings), "b.conf:12: sendMessageThreadPoolNums is ignored: requests are served by one loop"));
	settings_fini(&s);
}

static void what_would_silently_weaken_is_refused(void **state)
{
	(void)state;
	expect_problem("aclEnable=true", "b.conf:1: aclEnable=true is refused: there is no access control");
	expect_problem("\nbrokerRole=SLAVE", "b.conf:2: brokerRole=SLAVE is refused");
	expect_problem("brokerRole=SYNC_MASTER", "is refused");
	expect_problem("enableDLegerCommitLog=true", "is refused");
	expect_problem("inSyncReplicas=2", "is refused");
	expect_problem("useTLS=true", "is refused");
	expect_problem("brokerPermission=4", "is refused");
	expect_problem("brokerId=1", "must be between 0 and 0");
	/* What says what is so anyway is fine. */
	expect_fine("aclEnable=false\nbrokerRole=ASYNC_MASTER\nenableDLegerCommitLog=false\nbrokerPermission=6\nbrokerId=0");
}

static void unknown_keys_are_refused_with_a_suggestion(void **state)
{
	(void)state;
	expect_problem("lisenPort=1", "b.conf:1: unknown key lisenPort (did you mean listenPort?)");
	expect_problem("listenport=1", "did you mean listenPort?");
	expect_problem("flushDiskTyp=SYNC_FLUSH", "did you mean flushDiskType?");
	expect_problem("entirelyElse=1", "b.conf:1: unknown key entirelyElse\n");
	expect_problem("just words", "b.conf:1: \"just words\" is not key=value");
	expect_problem("=1", "unknown key");
	expect_problem("a=b\\\nc", "must stand on one line");
}

static void bad_values_are_refused_with_their_place(void **state)
{
	(void)state;
	expect_problem("listenPort=abc", "b.conf:1: listenPort=abc: expected a port");
	expect_problem("listenPort=70000", "must be between 0 and 65535");
	expect_problem("listenPort=-1", "expected a port");
	expect_problem("listenPort=", "expected a port");
	expect_problem("listenPort=2", "no port two below");
	expect_problem("autoCreateTopicEnable=yes", "expected true or false");
	expect_problem("flushDiskType=sync", "expected SYNC_FLUSH or ASYNC_FLUSH");
	expect_problem("brokerName=has blank", "expected 1 to 115");
	expect_problem("brokerName=", "expected 1 to 115");
	expect_problem("brokerIP1=localhost", "expected an IP address");
	expect_problem("cacheBytes=64q", "expected a size");
	expect_problem("cacheBytes=99999999999999999999", "expected a size");
	expect_problem("cacheBytes=18446744073709551615k", "expected a size");
	expect_problem("cacheBytes=1k", "must be between");
	expect_problem("maxWait=1y", "expected a time");
	expect_problem("messageDelayLevel=1s 5s", "expected 18 delays");
	expect_problem("messageDelayLevel=1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h 3h", "expected 18 delays");
	expect_problem("logLevel=debug", "expected error, warn, info or trace");
	/* Apache's keys keep Apache's units. */
	expect_problem("fileReservedTime=3d", "expected a number");
}

static void sizes_and_times_take_units(void **state)
{
	struct settings s = made("cacheBytes=2m\nretainBytes=3g\nblockBytes=64k\nmaxWait=15s\nleaseTime=2m\nlockTime=1500\nstallTime=1500ms\n"
				 "messageDelayLevel= 1s  5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 1d\n");

	(void)state;
	assert_int_equal(s.problems.n, 0);
	assert_int_equal(s.n[SET_cacheBytes], 2 << 20);
	assert_int_equal(s.n[SET_retainBytes], UINT64_C(3) << 30);
	assert_int_equal(s.n[SET_blockBytes], 65536);
	assert_int_equal(s.n[SET_maxWait], 15000);
	assert_int_equal(s.n[SET_leaseTime], 120000);
	assert_int_equal(s.n[SET_lockTime], 1500);
	assert_int_equal(s.n[SET_stallTime], 1500);
	assert_int_equal(s.delay_ms[17], 86400000);
	settings_fini(&s);
}

static void listening_beyond_loopback_must_be_meant(void **state)
{
	(void)state;
	expect_problem("bindAddress=0.0.0.0", "b.conf:1: bindAddress=0.0.0.0: anybody who reaches this address");
	expect_problem("bindAddress=192.168.1.2", "allowInsecureListen=true");
	expect_problem("bindAddress=::", "anybody");
	expect_fine("bindAddress=0.0.0.0\nallowInsecureListen=true");
	expect_fine("bindAddress=127.0.0.2");
	expect_fine("bindAddress=::1\nbrokerIP1=127.0.0.1");
	/* Clients would be sent to where nobody listens. */
	expect_problem("brokerIP1=10.0.0.5", "b.conf:1: brokerIP1=10.0.0.5: clients would be sent there");
	expect_fine("brokerIP1=10.0.0.5\nbindAddress=0.0.0.0\nallowInsecureListen=true");
	expect_problem("brokerIP1=0.0.0.0\nbindAddress=0.0.0.0\nallowInsecureListen=true", "cannot connect to it");
	expect_problem("bindAddress=", "must be an IP address");
}

static void two_listeners_do_not_share_a_port(void **state)
{
	(void)state;
	expect_problem("mqttPort=8080", "b.conf:1: mqttPort: port 8080 is taken by httpPort");
	expect_problem("listenPort=8082\nhttpPort=8080", "httpPort: port 8080 is taken by listenPort, as the second port of the broker");
	expect_problem("websocketPort=9876", "websocketPort: port 9876 is taken by namesrvPort");
	expect_problem("tlsCertPath=c\ntlsKeyPath=k\nhttpsPort=1883", "mqttPort: port 1883 is taken by httpsPort");
	/* Who does not listen takes none, and 0 is any free one. */
	expect_fine("httpsPort=1883");
	expect_fine("mqttPort=8080\nhttpEnable=false");
	expect_fine("websocketPort=9876\nnamesrvEnable=false");
	expect_fine("listenPort=0\nhttpPort=0\nmqttPort=0\nwebsocketPort=0\nnamesrvPort=0");
	expect_fine("listenPort=65533\nhttpPort=65534");
}

static void https_needs_a_certificate_and_its_key(void **state)
{
	struct settings s = made("tlsCertPath=c.pem\ntlsKeyPath=k.pem");

	(void)state;
	assert_int_equal(s.problems.n, 0);
	assert_true(settings_https(&s));
	settings_fini(&s);
	s = made("tlsCertPath=c.pem\ntlsKeyPath=k.pem\nhttpEnable=false");
	assert_false(settings_https(&s));
	settings_fini(&s);
	expect_problem("tlsCertPath=c.pem", "b.conf:1: tlsCertPath and tlsKeyPath must both be set, or neither");
	expect_problem("\ntlsKeyPath=k.pem", "b.conf:2: tlsCertPath and tlsKeyPath must both be set, or neither");
	expect_problem("allowedOrigins=https://a.example, b.example", "b.conf:1: allowedOrigins: \"b.example\" is not an origin such as");
	expect_problem("allowedHosts=a.example,https://b.example", "b.conf:1: allowedHosts: \"https://b.example\" is not the name of a host");
	expect_problem("blockBytes=5000", "b.conf:1: mappedFileSizeCommitLog must be a multiple of blockBytes");
}

static void a_name_server_alone_has_no_fronts(void **state)
{
	struct settings s;

	(void)state;
	settings_init(&s);
	settings_assign(&s, "--set", slice_str("listenPort=8080"));
	settings_for_namesrv(&s);
	settings_check(&s);
	assert_int_equal(s.problems.n, 0);
	assert_int_equal(s.n[SET_namesrvPort], 8080);
	settings_fini(&s);
}

static void limits_must_fit_each_other(void **state)
{
	(void)state;
	expect_problem("maxMessageSize=33554432", "maxFrame=16777216: must hold maxMessageSize");
	expect_fine("maxMessageSize=33554432\nmaxFrame=64m\nunsyncedBytes=64m");
	expect_problem("blockBytes=5000", "power of two");
	/* Limits of the fronts that somebody set are looked at; the others follow. */
	expect_problem("httpMaxBody=1m", "b.conf:1: httpMaxBody=1048576: must be at least 5657944 to hold a message of maxMessageSize in base64");
	expect_problem("websocketMaxMessage=4m", "websocketMaxMessage=4194304: must be at least 5657944");
	expect_problem("mqttMaxPacket=4194304", "mqttMaxPacket=4194304: must be at least 4259840 to hold a message of maxMessageSize");
	expect_fine("mqttMaxPacket=4259840\nhttpMaxBody=5657944");
	expect_fine("httpMaxBody=1m\nhttpEnable=false");
	struct settings s = made("maxMessageSize=33554432\nmaxFrame=64m");
	assert_int_equal(s.problems.n, 0);
	assert_int_equal(s.n[SET_mqttMaxPacket], (32 << 20) + 65536);
	assert_int_equal(s.n[SET_httpMaxBody], (32u << 20) / 3 * 4 + 4 + 65536);
	settings_fini(&s);
	expect_problem("storePathRootDir=", "must name a folder");
}

static void the_command_line_comes_last(void **state)
{
	struct settings s;

	(void)state;
	settings_init(&s);
	settings_file(&s, "b.conf", slice_str("\xEF\xBB\xBFlistenPort=5000\nbrokerName=file\n"));
	settings_assign(&s, "--set", slice_str("listenPort = 6000"));
	settings_check(&s);
	assert_int_equal(s.problems.n, 0);
	assert_int_equal(s.n[SET_listenPort], 6000);
	assert_string_equal(s.where[SET_listenPort], "--set");
	assert_string_equal(s.text[SET_brokerName], "file");
	settings_fini(&s);
	/* For a name server, Apache's listenPort is its own. */
	settings_init(&s);
	settings_assign(&s, "--set", slice_str("listenPort=6001"));
	settings_for_namesrv(&s);
	settings_check(&s);
	assert_int_equal(s.problems.n, 0);
	assert_int_equal(s.n[SET_namesrvPort], 6001);
	assert_string_not_equal(s.text[SET_storePathRootDir], "./data");
	settings_fini(&s);
}

static void the_help_has_every_key(void **state)
{
	static const char *const keys[] = {
#define X(key, type, def, min, max, origin, text) #key,
#include "app/settings.tbl"
#undef X
	};
	struct buf text = {0}, markdown = {0};

	(void)state;
	settings_help(&text, false);
	settings_help(&markdown, true);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		assert_non_null(strstr(buf_cstr(&text), keys[i]));
		assert_non_null(strstr(buf_cstr(&markdown), keys[i]));
	}
	buf_fini(&text);
	buf_fini(&markdown);
}

static void what_is_in_force_is_told_in_plain_numbers(void **state)
{
	static const enum setting without[] = {SET_listenPort};
	struct settings s = made("cacheBytes=2m\nflushDiskType=ASYNC_FLUSH\nkeepUnconsumed=TRUE\nlistenPort=7000");
	struct buf b = {0};

	(void)state;
	settings_text(&s, &b, without, 1);
	assert_non_null(strstr(buf_cstr(&b), "\ncacheBytes=2097152\n"));
	assert_non_null(strstr(buf_cstr(&b), "\nflushDiskType=ASYNC_FLUSH\n"));
	assert_non_null(strstr(buf_cstr(&b), "\nkeepUnconsumed=true\n"));
	assert_non_null(strstr(buf_cstr(&b), "\nmaxWait=60000\n"));
	assert_null(strstr(buf_cstr(&b), "listenPort"));
	assert_null(strstr(buf_cstr(&b), "brokerIP1"));
	buf_fini(&b);
	settings_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_legal),
		cmocka_unit_test(an_apache_file_is_read_as_it_is),
		cmocka_unit_test(what_would_silently_weaken_is_refused),
		cmocka_unit_test(unknown_keys_are_refused_with_a_suggestion),
		cmocka_unit_test(bad_values_are_refused_with_their_place),
		cmocka_unit_test(sizes_and_times_take_units),
		cmocka_unit_test(listening_beyond_loopback_must_be_meant),
		cmocka_unit_test(two_listeners_do_not_share_a_port),
		cmocka_unit_test(https_needs_a_certificate_and_its_key),
		cmocka_unit_test(a_name_server_alone_has_no_fronts),
		cmocka_unit_test(limits_must_fit_each_other),
		cmocka_unit_test(the_command_line_comes_last),
		cmocka_unit_test(what_is_in_force_is_told_in_plain_numbers),
		cmocka_unit_test(the_help_has_every_key),
	};

	return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
