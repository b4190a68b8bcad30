/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The registrar against a real name server over a pair of byte streams, under a virtual clock. The network here does
 * what base/dial.h and base/stream.h ask for: nothing is called from inside the asking call, everything from step().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/obj.h"
#include "namesrv/namesrv.h"
#include "namesrv/registrar.h"
#include "tests/lib/fake_clock.h"
#include "tests/lib/memdisk.h"
#include "wire/codes.h"
#include "wire/frame.h"

static struct fake_clock now;
static struct testlog lines;

/* ---- A network of one registrar and some name servers ------------------------------------------------------------ */

enum { SERVERS = 2, LINKS = 8 };

struct end {
	struct stream stream;
	const struct stream_ops *ops;
	void *conn;
	struct buf in;
	bool close_asked, closed;
	struct end *other;
};
static struct link {
	bool used;
	unsigned server;
	struct end client, peer;
} links[LINKS];

static struct server {
	struct namesrv *ns;       /* NULL: down */
	bool mute;                /* takes connections and says nothing */
	unsigned refuse;          /* so many requests are answered with code 1 */
	unsigned registers, unregisters, topics; /* what has come: 103, 104, topics in the last 103 */
	unsigned dials;
	bool packed;              /* the last 103 was */
} servers[SERVERS];

static struct dial_call *calls[SERVERS * 2];
static unsigned n_calls;
static unsigned cancelled;
static struct buf scratch, held;

static void end_send(struct stream *s, const struct piece *v, unsigned n)
{
	struct end *e = container_of(s, struct end, stream);
	assert_false(e->closed);
	for (unsigned i = 0; i < n && !e->close_asked; i++)
		buf_slice(&e->other->in, v[i].bytes);
}
static size_t end_room(struct stream *s) { (void)s; return 1 << 20; }
static void end_pause(struct stream *s, bool pause) { (void)s; (void)pause; }
static void end_close(struct stream *s, int code, const char *reason)
{
	struct end *e = container_of(s, struct end, stream);
	(void)code;
	(void)reason;
	assert_false(e->closed);
	e->close_asked = true;
}
static const struct stream_out_ops end_ops = {end_send, end_room, end_pause, end_close};

static void net_connect(struct dial *d, struct dial_call *c)
{
	(void)d;
	assert_true(n_calls < SERVERS * 2);
	assert_int_equal(c->host.n, 3);
	c->priv[0] = (void *)(uintptr_t)(c->host.p[2] - '0' + 1); /* "ns0" */
	calls[n_calls++] = c;
}
static void net_cancel(struct dial *d, struct dial_call *c)
{
	(void)d;
	for (unsigned i = 0; i < n_calls; i++)
		if (calls[i] == c) {
			calls[i] = calls[--n_calls];
			cancelled++;
			return;
		}
}
static const struct dial_ops net_ops = {net_connect, net_cancel};
static struct dial net = {&net_ops};

static void end_open(struct end *e, const struct stream_ops *ops, void *front, struct end *other)
{
	struct stream_info info = {.peer = SLICE_LIT("127.0.0.1:1")};
	*e = (struct end){.stream = {&end_ops}, .ops = ops, .conn = mem_new(ops->conn_size), .other = other};
	ops->opened(e->conn, front, &e->stream, &info);
}

static void end_shut(struct end *e)
{
	if (e->closed)
		return;
	e->ops->closed(e->conn, ST_OK);
	e->closed = true;
	mem_free(e->conn);
	buf_fini(&e->in);
}

static void link_cut(struct link *l)
{
	end_shut(&l->client);
	end_shut(&l->peer);
	l->used = false;
}

static void end_feed(struct end *e)
{
	if (e->closed || e->close_asked || e->in.n == 0)
		return;
	ptrdiff_t used = e->ops->input(e->conn, buf_view(&e->in));
	assert_true(used >= 0);
	buf_drop_front(&e->in, (size_t)used);
}

/* Counts what goes to a server; true: the request was answered here. */
static bool spy(struct link *l)
{
	struct server *s = &servers[l->server];
	struct wire_limits limits = WIRE_LIMITS_DEFAULT;
	struct wire_cmd c;
	struct wire_topics topics;
	size_t used;
	const char *why;
	if (wire_decode(buf_view(&l->peer.in), &limits, &scratch, &c, &used, &why) != WIRE_GOT)
		return false;
	s->registers += c.code == REQ_REGISTER_BROKER;
	s->unregisters += c.code == REQ_UNREGISTER_BROKER;
	if (c.code == REQ_REGISTER_BROKER) {
		struct slice packed = {NULL, 0};
		wire_ext(&c, "compressed", &packed);
		assert_true(wire_register_decode(c.body, slice_eq_str(packed, "true"), c.version, &topics, &why));
		s->topics = (unsigned)topics.n;
		s->packed = slice_eq_str(packed, "true");
		wire_doc_fini(&topics.doc);
	}
	if (s->mute || s->refuse > 0) {
		if (!s->mute)
			wire_answer_plain(&l->client.in, &c, ANS_SYSTEM_ERROR, SLICE_LIT("not now"));
		s->refuse -= s->refuse > 0;
		buf_drop_front(&l->peer.in, used);
		return true;
	}
	return false;
}

static void accept_all(void)
{
	while (n_calls > 0) {
		struct dial_call *c = calls[--n_calls];
		unsigned at = (unsigned)(uintptr_t)c->priv[0] - 1, i = 0;
		servers[at].dials++;
		if (servers[at].ns == NULL) {
			c->failed(c, ST_NO_MEMBER, "refused");
			continue;
		}
		while (links[i].used)
			assert_true(++i < LINKS);
		links[i] = (struct link){.used = true, .server = at};
		end_open(&links[i].peer, &namesrv_stream, servers[at].ns, &links[i].client);
		end_open(&links[i].client, c->ops, c->front, &links[i].peer);
	}
}

static void step(void)
{
	for (int round = 0; round < 4; round++) {
		accept_all();
		for (unsigned i = 0; i < LINKS; i++) {
			struct link *l = &links[i];
			if (!l->used)
				continue;
			if (!spy(l))
				end_feed(&l->peer);
			end_feed(&l->client);
			if (l->client.close_asked || l->peer.close_asked)
				link_cut(l);
		}
	}
}

/* ---- The tests' hands -------------------------------------------------------------------------------------------- */

static struct registrar *r;
static bool is_closed;

static void on_closed(void *arg)
{
	assert_ptr_equal(arg, &is_closed);
	is_closed = true;
}

/* Runs turns and the network until nothing is due before 'until'. */
static void run_to(uint64_t until)
{
	for (int guard = 0;; guard++) {
		assert_true(guard < 1000);
		uint64_t due = registrar_turn(r);
		step();
		uint64_t next = registrar_turn(r);
		step();
		next = u64_min(next, due);
		if (next <= now.ns)
			next = now.ns + MS_NS;
		if (next > until)
			break;
		now.ns = next;
	}
	now.ns = until;
}

static void server_up(unsigned i)
{
	struct namesrv_env env = {&now.base, &lines.log, NULL, NULL};
	struct namesrv_conf conf;
	namesrv_conf_default(&conf);
	servers[i].ns = namesrv_open(&env, &conf);
}

static void server_down(unsigned i)
{
	for (unsigned k = 0; k < LINKS; k++)
		if (links[k].used && links[k].server == i)
			link_cut(&links[k]);
	namesrv_close(servers[i].ns);
	servers[i].ns = NULL;
}

static void topic(const char *name)
{
	struct wire_topic t = {slice_str(name), 4, 4, 6, 0, false};
	registrar_topic(r, &t);
}

static void start(const char *list)
{
	struct registrar_env env = {&now.base, &lines.log, &net};
	struct registrar_conf conf;
	char why[80];
	registrar_conf_default(&conf);
	conf.servers = slice_str(list);
	conf.cluster = SLICE_LIT("c");
	conf.broker = SLICE_LIT("b");
	conf.addr = SLICE_LIT("10.0.0.1:10911");
	conf.ha_addr = SLICE_LIT("10.0.0.1:10912");
	assert_int_equal(registrar_open(&r, &env, &conf, why, sizeof(why)), ST_OK);
	topic("TBW102");
	topic("A");
}

/* Does the server know a route? Asked by a stream of its own. */
static bool knows(unsigned server, const char *name)
{
	struct buf b = {0};
	struct wire_out o;
	struct end sink = {0}, asker;
	struct wire_limits limits = WIRE_LIMITS_DEFAULT;
	struct wire_cmd c;
	size_t used;
	const char *why;
	end_open(&asker, &namesrv_stream, servers[server].ns, &sink);
	wire_begin(&o, &b, WIRE_JSON, REQ_GET_ROUTEINFO_BY_TOPIC, 1, 0);
	wire_put(&o, "topic", slice_str(name));
	wire_finish(&o, 0);
	buf_slice(&asker.in, buf_view(&b));
	end_feed(&asker);
	assert_int_equal(wire_decode(buf_view(&sink.in), &limits, &scratch, &c, &used, &why), WIRE_GOT);
	end_shut(&asker);
	buf_fini(&sink.in);
	buf_fini(&b);
	return c.code == ANS_SUCCESS;
}

static int setup(void **state)
{
	(void)state;
	fake_clock_init(&now);
	testlog_init(&lines);
	lines.log.level = LOG_TRACE;
	memset(servers, 0, sizeof(servers));
	memset(links, 0, sizeof(links));
	n_calls = cancelled = 0;
	is_closed = false;
	r = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (!is_closed && r != NULL) {
		registrar_close(r, on_closed, &is_closed);
		for (int i = 0; i < 10 && !is_closed; i++) {
			registrar_turn(r);
			step();
			now.ns += SEC_NS;
		}
		assert_true(is_closed);
	}
	for (unsigned i = 0; i < SERVERS; i++)
		if (servers[i].ns != NULL)
			server_down(i);
	buf_fini(&scratch);
	buf_fini(&held);
	return 0;
}

static void everything_is_said_at_once_again_and_every_30_seconds(void **state)
{
	(void)state;
	server_up(0);
	server_up(1);
	start("ns0:9876;ns1:9876");
	run_to(now.ns + SEC_NS);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(servers[i].registers, 1);
		assert_int_equal(servers[i].topics, 2);
		assert_true(knows(i, "A") && knows(i, "TBW102"));
	}
	run_to(SEC_NS + 9999 * MS_NS);
	assert_int_equal(servers[0].registers, 1);
	run_to(SEC_NS + 10001 * MS_NS);
	assert_int_equal(servers[0].registers, 2);
	run_to(SEC_NS + 39999 * MS_NS);
	assert_int_equal(servers[0].registers, 2);
	run_to(SEC_NS + 130001 * MS_NS);
	assert_int_equal(servers[0].registers, 6);
	assert_int_equal(servers[1].registers, 6);
	assert_int_equal(servers[0].dials, 1);
}

static void a_change_goes_at_once_and_those_right_after_it_together(void **state)
{
	(void)state;
	server_up(0);
	start("ns0:9876");
	run_to(2 * SEC_NS);
	topic("B");
	topic("E");
	assert_int_equal(registrar_known(r), registrar_said(r) - 2);
	registrar_turn(r);
	step();
	assert_int_equal(servers[0].registers, 2);
	assert_int_equal(servers[0].topics, 2);
	assert_true(knows(0, "B") && knows(0, "E"));
	assert_int_equal(registrar_known(r), registrar_said(r));
	uint64_t at = now.ns;
	run_to(at + 50 * MS_NS);
	topic("C");
	topic("B");
	run_to(at + 99 * MS_NS);
	assert_int_equal(servers[0].registers, 2);
	assert_false(knows(0, "C"));
	assert_true(registrar_known(r) < registrar_said(r));
	run_to(at + 101 * MS_NS);
	assert_int_equal(servers[0].registers, 3);
	assert_int_equal(servers[0].topics, 2);
	assert_true(knows(0, "C"));
	assert_int_equal(registrar_known(r), registrar_said(r));
	assert_false(servers[0].packed);
	run_to(at + 500 * MS_NS);
	topic("D");
	registrar_turn(r);
	step();
	assert_int_equal(servers[0].registers, 4);
	assert_int_equal(servers[0].topics, 1);
	registrar_topic_drop(r, SLICE_LIT("D"));
	registrar_topic_drop(r, SLICE_LIT("never was"));
	run_to(now.ns + 500 * MS_NS);
	assert_int_equal(servers[0].registers, 4);
	run_to(12 * SEC_NS);
	assert_int_equal(servers[0].registers, 5);
	assert_int_equal(servers[0].topics, 5);
}

static void only_connected_servers_are_waited_for(void **state)
{
	(void)state;
	server_up(0);
	start("ns0:9876;ns1:9876");
	assert_true(registrar_known(r) == UINT64_MAX);
	run_to(2 * SEC_NS);
	topic("B");
	assert_true(registrar_known(r) < registrar_said(r));
	run_to(now.ns + SEC_NS);
	assert_true(registrar_known(r) >= registrar_said(r));
	servers[0].mute = true;
	topic("C");
	run_to(now.ns + SEC_NS);
	assert_true(registrar_known(r) < registrar_said(r));
	server_down(0);
	assert_true(registrar_known(r) == UINT64_MAX);
}

static void a_refused_change_makes_everything_be_said_again(void **state)
{
	(void)state;
	server_up(0);
	start("ns0:9876");
	run_to(2 * SEC_NS);
	servers[0].refuse = 1;
	topic("B");
	run_to(now.ns + 200 * MS_NS);
	assert_int_equal(servers[0].registers, 3);
	assert_int_equal(servers[0].topics, 3);
	assert_true(knows(0, "B"));
	/* Everything refused is not said again before its time. */
	servers[0].refuse = 1;
	run_to(SEC_NS + 32 * SEC_NS);
	assert_int_equal(servers[0].registers, 4);
	topic("C");
	run_to(now.ns + SEC_NS);
	assert_int_equal(servers[0].registers, 4);
	run_to(now.ns + 30 * SEC_NS);
	assert_true(knows(0, "C"));
}

static void a_server_that_was_away_hears_everything_when_it_is_back(void **state)
{
	(void)state;
	server_up(0);
	start("ns0:9876;ns1:9876");
	run_to(2 * SEC_NS);
	assert_true(knows(0, "A"));
	assert_int_equal(servers[1].registers, 0);
	assert_true(servers[1].dials >= 1);
	server_down(0);
	server_up(1);
	run_to(now.ns + 3 * SEC_NS);
	assert_true(knows(1, "A"));
	topic("B");
	run_to(now.ns + SEC_NS);
	assert_true(knows(1, "B"));
	server_up(0);
	run_to(now.ns + 6 * SEC_NS);
	assert_true(knows(0, "B"));
	/* The pauses grow: a server that is down for long is not asked every second. */
	server_down(1);
	unsigned before = servers[1].dials;
	run_to(now.ns + 300 * SEC_NS);
	assert_in_range(servers[1].dials - before, 55, 65);
	assert_true(knows(0, "A"));
}

static void a_server_that_does_not_answer_is_left_and_tried_again(void **state)
{
	(void)state;
	server_up(0);
	servers[0].mute = true;
	start("ns0:9876");
	run_to(SEC_NS + 23 * SEC_NS);
	assert_int_equal(servers[0].dials, 1);
	assert_int_equal(servers[0].registers, 1);
	servers[0].mute = false;
	run_to(SEC_NS + 27 * SEC_NS);
	assert_int_equal(servers[0].dials, 2);
	assert_true(knows(0, "A"));
}

static void closing_says_good_bye(void **state)
{
	(void)state;
	server_up(0);
	start("ns0:9876;ns1:9876");
	run_to(2 * SEC_NS);
	assert_true(knows(0, "A"));
	registrar_close(r, on_closed, &is_closed);
	for (int i = 0; i < 10 && !is_closed; i++) {
		registrar_turn(r);
		step();
	}
	assert_true(is_closed);
	assert_int_equal(servers[0].unregisters, 1);
	assert_false(knows(0, "A"));
}

static void closing_does_not_wait_for_ever(void **state)
{
	(void)state;
	server_up(0);
	servers[0].mute = true;
	start("ns0:9876;ns1:9876");
	registrar_turn(r); /* dialling */
	struct dial_call *call = calls[n_calls - 1];
	assert_non_null(call);
	step();
	registrar_close(r, on_closed, &is_closed);
	uint64_t due = registrar_turn(r);
	step();
	assert_true(due == now.ns + 3 * SEC_NS);
	assert_false(is_closed);
	now.ns = due;
	registrar_turn(r);
	step();
	assert_false(is_closed);
	registrar_turn(r);
	assert_true(is_closed);
}

static void a_dial_under_way_is_cancelled(void **state)
{
	(void)state;
	start("ns0:9876");
	registrar_turn(r);
	assert_int_equal(n_calls, 1);
	registrar_close(r, on_closed, &is_closed);
	registrar_turn(r);
	assert_int_equal(cancelled, 1);
	assert_true(is_closed);
}

static void many_topics_go_out_packed(void **state)
{
	(void)state;
	struct buf name = {0};
	server_up(0);
	start("ns0:9876");
	for (unsigned i = 0; i < 5000; i++) {
		buf_reset(&name);
		buf_fmt(&name, "topic-%u", i);
		topic(buf_cstr(&name));
	}
	buf_fini(&name);
	run_to(2 * SEC_NS);
	assert_int_equal(servers[0].topics, 5002);
	assert_true(servers[0].packed);
	assert_true(knows(0, "topic-4999") && knows(0, "A"));
}

static void lists_of_servers(void **state)
{
	struct registrar_env env = {&now.base, &lines.log, &net};
	struct registrar_conf conf;
	static const char *const bad[] = {"ns0", "ns0:", ":9876", "ns0:0", "ns0:70000", "ns0:x", "a:1;b", "[]:1x"};
	static const char *const good[] = {"", ";", "ns0:1", " ns0:1 ; ns1:2 ;", "[::1]:9876"};
	struct registrar *one;
	char why[80];
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		registrar_conf_default(&conf);
		conf.servers = slice_str(bad[i]);
		why[0] = '\0';
		assert_int_equal(registrar_open(&one, &env, &conf, why, sizeof(why)), ST_BAD_ARG);
		assert_int_equal(strncmp(why, "not host:port: ", 15), 0);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		registrar_conf_default(&conf);
		conf.servers = slice_str(good[i]);
		is_closed = false;
		assert_int_equal(registrar_open(&one, &env, &conf, why, sizeof(why)), ST_OK);
		if (i < 2)
			assert_int_equal(registrar_turn(one), NEVER);
		registrar_close(one, on_closed, &is_closed);
		assert_int_equal(registrar_turn(one), NEVER);
		assert_true(is_closed);
	}
	conf.max_servers = 1;
	conf.servers = SLICE_LIT("a:1;b:2");
	assert_int_equal(registrar_open(&one, &env, &conf, why, sizeof(why)), ST_BAD_ARG);
	assert_string_equal(why, "too many name servers, from this one on: b:2");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(everything_is_said_at_once_again_and_every_30_seconds), T(a_change_goes_at_once_and_those_right_after_it_together),
		T(only_connected_servers_are_waited_for),
			T(a_refused_change_makes_everything_be_said_again),
		T(a_server_that_was_away_hears_everything_when_it_is_back),
			T(a_server_that_does_not_answer_is_left_and_tried_again), T(closing_says_good_bye),
		T(closing_does_not_wait_for_ever), T(a_dial_under_way_is_cancelled), T(many_topics_go_out_packed),
			T(lists_of_servers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
