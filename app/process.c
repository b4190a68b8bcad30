/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "app/process.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/obj.h"
#include "os/file.h"

enum { SPARE_FILES = 256, KV_FILE_MAX = 8 << 20, EXIT_AT_ONCE = 130 };

void process_complain(const char *what) { fprintf(stderr, "gantry: %s\n", what); }

static void on_signal(uv_signal_t *h, int number)
{
	struct process *p = h->data;

	/* Who asks twice wants no orderly stop; nothing that was acknowledged depends on one. */
	if (p->stopping)
		_exit(EXIT_AT_ONCE);
	log_info(&p->log.base, "app", "event=stopping signal=%d", number);
	p->stopping = true;
	p->stop(p);
	loop_again(&p->loop);
}

static void catch(struct process *p, uv_signal_t *h, int number)
{
	CHECK(uv_signal_init(&p->loop.uv, h) == 0);
	h->data = p;
	CHECK(uv_signal_start(h, on_signal, number) == 0);
}

static void log_warnings(struct process *p)
{
	struct slice rest = buf_view(&p->set->warnings), line;

	while (slice_split(&rest, '\n', &line))
		if (line.n > 0)
			log_warn(&p->log.base, "settings", "%.*s", (int)line.n, (const char *)line.p);
}

void process_init(struct process *p, struct settings *set, uint64_t (*turn)(void *arg, uint64_t now_ns), void *arg)
{
	struct tcp_conf tc;
	bool asked;
	uint64_t files, conns = set->n[SET_maxConnections];

	if (set->n[SET_httpEnable] != 0)
		conns += set->n[SET_httpMaxConnections];
	if (set->n[SET_websocketEnable] != 0)
		conns += set->n[SET_websocketMaxConnections];
	p->set = set;
	host_log_init(&p->log, STDERR_FILENO, (enum log_level)set->n[SET_logLevel]);
	log_warnings(p);
	signal(SIGPIPE, SIG_IGN);
	files = host_raise_files();
	asked = set->given[SET_maxConnections] || set->given[SET_httpMaxConnections] || set->given[SET_websocketMaxConnections];
	if (files < conns + SPARE_FILES)
		log_at(&p->log.base, asked ? LOG_WARN : LOG_INFO, "app",
		       "open files are limited to %llu: the %llu connections that the settings allow cannot be reached", (unsigned long long)files,
		       (unsigned long long)conns);
	loop_init(&p->loop, host_clock(), turn, arg);
	tcp_conf_default(&tc);
	tc.max_conns = (uint32_t)set->n[SET_maxConnections];
	tc.out_limit = set->n[SET_maxQueued];
	tc.in_limit = set->n[SET_maxIncoming];
	tc.stall_ms = (uint32_t)set->n[SET_stallTime];
	p->tcp = tcp_open(&p->loop.uv, host_clock(), &p->log.base, &tc);
	catch(p, &p->term, SIGTERM);
	catch(p, &p->intr, SIGINT);
	snprintf(p->kv_path, sizeof(p->kv_path), "%s/namesrv/kvConfig.json", set->text[SET_storePathRootDir]);
}

/* A listener's port is a setting with a name like its own; the native one's second port follows the first. */
static void cannot_bind(const char *name, enum status st, const char *why)
{
	bool native = strcmp(name, "native") == 0;

	fprintf(stderr, "gantry: %s: %s\n", name, why);
	if (st == ST_EXISTS)
		fprintf(stderr, "gantry: is another broker running? --set %sPort=PORT moves this one%s; 0 is any free port\n",
			native ? "listen" : name, native ? " and the second port two below it" : "");
}

bool process_bind(struct process *p, const char *name, uint16_t port, uint16_t *ret_port)
{
	struct listening *l = &p->listening[p->n_listening];
	char why[WHY_MAX];

	CHECK(p->n_listening < LISTENERS_MAX);
	enum status st = tcp_bind(p->tcp, p->set->text[SET_bindAddress], port, &l->listener, &l->port, why, sizeof(why));
	if (st != ST_OK) {
		cannot_bind(name, st, why);
		return false;
	}
	l->name = name;
	p->n_listening++;
	if (ret_port != NULL)
		*ret_port = l->port;
	return true;
}

bool process_bind_socket(struct process *p, const char *name, uint16_t port, int *ret_fd, uint16_t *ret_port)
{
	struct listening *l = &p->listening[p->n_listening];
	char why[WHY_MAX];

	CHECK(p->n_listening < LISTENERS_MAX);
	enum status st = tcp_socket(p->set->text[SET_bindAddress], port, ret_fd, &l->port, why, sizeof(why));
	if (st != ST_OK) {
		cannot_bind(name, st, why);
		return false;
	}
	l->name = name;
	p->n_listening++;
	*ret_port = l->port;
	return true;
}

bool process_listen_socket(const char *name, int fd)
{
	char why[WHY_MAX];

	if (tcp_socket_listen(fd, why, sizeof(why)) == ST_OK)
		return true;
	fprintf(stderr, "gantry: %s: %s\n", name, why);
	return false;
}

bool process_listen(struct process *p, const char *name, const struct stream_ops *ops, void *front)
{
	char why[WHY_MAX];

	for (unsigned i = 0; i < p->n_listening; i++) {
		struct listening *l = &p->listening[i];
		if (l->listener == NULL || strcmp(l->name, name) != 0)
			continue;
		if (tcp_listen(l->listener, ops, front, why, sizeof(why)) == ST_OK)
			continue;
		process_complain(why);
		return false;
	}
	return true;
}

void process_ready(struct process *p)
{
	const char *ip = p->set->text[SET_bindAddress];
	const char *open = strchr(ip, ':') != NULL ? "[" : "", *close = *open != '\0' ? "]" : "";
	uint64_t ms = (clock_mono_ns(host_clock()) - p->began_ns) / MS_NS;

	for (unsigned i = 0; i < p->n_listening; i++)
		printf("listening %s %s%s%s:%u\n", p->listening[i].name, open, ip, close, p->listening[i].port);
	printf("ready in %llu ms\n", (unsigned long long)ms);
	fflush(stdout);
	log_info(&p->log.base, "app", "event=ready ms=%llu", (unsigned long long)ms);
}

void process_fini(struct process *p)
{
	uv_close((uv_handle_t *)&p->term, NULL);
	uv_close((uv_handle_t *)&p->intr, NULL);
	/* All is closed: a signal that comes now must not make an orderly stop look like a crash. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	loop_fini(&p->loop);
}

/* ---- The name server ------------------------------------------------------------------------------------------------------------ */

static bool kv_changed(void *arg, struct slice text)
{
	struct process *p = arg;
	char why[WHY_MAX];

	if (file_replace(p->kv_path, text, why, sizeof(why)) == ST_OK)
		return true;
	log_error(&p->log.base, "namesrv", "%s", why);
	return false;
}

struct namesrv *process_namesrv(struct process *p, uint16_t port)
{
	struct namesrv_env env = {.clock = host_clock(), .log = &p->log.base, .kv_changed = kv_changed, .arg = p};
	struct settings *s = p->set;
	struct namesrv_conf c;
	struct buf text = {0};
	char why[WHY_MAX];
	struct namesrv *ns;
	enum status st;

	namesrv_conf_default(&c);
	c.listen_port = port;
	c.idle_ms = s->n[SET_serverChannelMaxIdleTimeSeconds] * 1000;
	c.order_conf = s->n[SET_orderMessageEnable] != 0;
	c.order_conf_to_brokers = s->n[SET_returnOrderTopicConfigToBroker] != 0;
	c.topic_list = s->n[SET_enableAllTopicList] != 0 && s->n[SET_enableTopicList] != 0;
	ns = namesrv_open(&env, &c);
	st = file_read(p->kv_path, KV_FILE_MAX, &text, why, sizeof(why));
	if (st != ST_OK && st != ST_NOT_FOUND) {
		process_complain(why);
		namesrv_close(ns);
		ns = NULL;
	} else if (!namesrv_kv_load(ns, buf_view(&text), why, sizeof(why))) {
		fprintf(stderr, "gantry: %s: %s\n", p->kv_path, why);
		namesrv_close(ns);
		ns = NULL;
	}
	buf_fini(&text);
	return ns;
}
