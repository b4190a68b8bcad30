/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The HTTP front: its thread with the library's loop, its ports, and how it starts and ends.
 *
 * The process's thread calls the functions of front_http; all else runs in the HTTP thread, from open() to the end of stop(). Between them are the
 * engine's port and a few atomics. Each side wakes the other once per batch: what the HTTP thread asks of the engine during one run of its loop is
 * announced by one wake; what the engine's turn answered, by one ring of the bell, and only when the HTTP thread sleeps.
 *
 * End: drain() closes the listeners and lets requests end; two seconds later whatever is left is cut. When no connection, no call and no request to the
 * engine is left, and stop() was called, the thread ends, and the process's next turn joins it and says stopped.
 */
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "front/http/carrier_h2o.h"

enum { BODY_SLACK = 64 << 10, STACK_BYTES = 1 << 20 };
#define LIBRARY_MS UINT64_C(86400000) /* the library's own deadlines: ours come first */

/* ---- Waking ---------------------------------------------------------------------------------------------------------------------- */

/* In the HTTP thread. */
static void wake_engine(void *arg)
{
	((struct http *)arg)->engine_wanted = true;
}

/* In the process's thread. */
static void wake_owner(void *arg)
{
	((struct http *)arg)->owner_wanted = true;
}

static void ring(struct http *f)
{
	uint64_t one = 1;

	atomic_store(&f->rung, true);
	if (atomic_exchange(&f->asleep, false))
		while (write(f->bell_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
}

static void bell_rings(h2o_socket_t *sock, const char *err)
{
	CHECK(err == NULL);
	h2o_buffer_consume(&sock->input, sock->input->size);
}

/* ---- Listening -------------------------------------------------------------------------------------------------------------------- */

#define BUSY_PROBLEM "{\"type\":\"urn:gantry:problem:busy\",\"title\":\"too much under way, try again later\",\"status\":503," \
	"\"code\":\"BUSY\",\"detail\":\"too many connections now\"}\n"

static void turn_away(struct http *f, int fd, bool tls)
{
	static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nServer: gantry\r\nConnection: close\r\nRetry-After: 1\r\n"
				   "content-type: application/problem+json\r\nContent-Length: 144\r\n\r\n" BUSY_PROBLEM;

	_Static_assert(sizeof(BUSY_PROBLEM) == 144 + 1, "the Content-Length above");
	atomic_fetch_add_explicit(&f->n_turned_away, 1, memory_order_relaxed);
	if (!tls && send(fd, busy, sizeof(busy) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		shutdown(fd, SHUT_WR);
	close(fd);
}

static void on_connect(h2o_socket_t *sock, const char *err)
{
	struct http_listener *l = sock->data;
	struct http *f = l->front;

	(void)err;
	for (int i = 0; i < ACCEPTS_MAX && l->sock != NULL; i++) {
		struct sockaddr_storage peer = {0};
		socklen_t n = sizeof(peer);
		int fd = accept4(h2o_socket_get_fd(sock), (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0 && conn_count(f) >= f->conf->http_max_conns) {
			turn_away(f, fd, l->tls);
		} else if (fd >= 0) {
			conn_accept(f, fd, (struct sockaddr *)&peer, l->tls);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* Nobody closed one by looking at it again at once. */
			log_warn(f->env.log, "http", "event=accept-failed errno=%d", errno);
			for (unsigned k = 0; k < f->n_listeners; k++)
				h2o_socket_read_stop(f->listeners[k].sock);
			f->accept_at_ns = carrier_now(f) + LOOK_NS;
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

static uint64_t accept_again(struct http *f)
{
	if (f->accept_at_ns == 0 || f->drained_ns != 0)
		return NEVER;
	if (f->now_ns < f->accept_at_ns)
		return f->accept_at_ns;
	f->accept_at_ns = 0;
	for (unsigned i = 0; i < f->n_listeners; i++)
		h2o_socket_read_start(f->listeners[i].sock, on_connect);
	return NEVER;
}

static void unlisten(struct http *f)
{
	for (unsigned i = 0; i < f->n_listeners; i++) {
		if (f->listeners[i].sock != NULL) {
			h2o_socket_read_stop(f->listeners[i].sock);
			h2o_socket_close(f->listeners[i].sock);
		}
		f->listeners[i].sock = NULL;
	}
}

/* ---- The HTTP thread -------------------------------------------------------------------------------------------------------------- */

static void describe_metrics(void *arg, struct buf *b)
{
	struct http *f = arg;

	if (b == NULL) {
		if (f->env.describe != NULL)
			f->env.describe(f->env.describe_arg, NULL);
		return;
	}
	buf_str(b, "# HELP gantry_build_info What runs here.\n# TYPE gantry_build_info gauge\ngantry_build_info{version=");
	buf_json_str(b, f->conf->version);
	buf_str(b, ",cluster=");
	buf_json_str(b, f->conf->cluster);
	buf_str(b, ",broker=");
	buf_json_str(b, f->conf->broker);
	buf_str(b, "} 1\n");
	buf_fmt(b, "# HELP gantry_http_connections Connections to the HTTP front.\n# TYPE gantry_http_connections gauge\n"
		"gantry_http_connections %lu\n", atomic_load(&f->n_conns));
	buf_fmt(b, "# HELP gantry_http_accepted_total Connections that were accepted.\n# TYPE gantry_http_accepted_total counter\n"
		"gantry_http_accepted_total %lu\n", atomic_load(&f->n_accepted));
	buf_fmt(b, "# HELP gantry_http_turned_away_total Connections beyond httpMaxConnections.\n"
		"# TYPE gantry_http_turned_away_total counter\ngantry_http_turned_away_total %lu\n", atomic_load(&f->n_turned_away));
	buf_fmt(b, "# HELP gantry_http_refused_total Requests that were malformed, too large or too slow.\n"
		"# TYPE gantry_http_refused_total counter\ngantry_http_refused_total %lu\n", atomic_load(&f->n_refused));
	if (f->env.describe != NULL)
		f->env.describe(f->env.describe_arg, b);
}

static void open_library(struct http *f)
{
	/* HTTP/1.1 only: no upgrade, no preface. No temporary files. */
	f->config.http1.upgrade_to_http2 = 0;
	f->config.http1.req_timeout = LIBRARY_MS;
	f->config.handshake_timeout = LIBRARY_MS;
	f->config.max_request_entity_size = (size_t)f->conf->http_max_body + BODY_SLACK;
	f->config.server_name = h2o_iovec_init(H2O_STRLIT("gantry"));
	h2o_hostconf_t *host = h2o_config_register_host(&f->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
	h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
	h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = call_begin;
	/* "*" does not begin with a slash. */
	h2o_create_handler(&host->fallback_path, sizeof(h2o_handler_t))->on_req = call_begin;
	f->loop = h2o_evloop_create();
	h2o_context_init(&f->ctx, f->loop, &f->config);
	f->accept = (h2o_accept_ctx_t){.ctx = &f->ctx, .hosts = f->config.hosts};
	f->bell = h2o_evloop_socket_create(f->loop, f->bell_fd, 0);
	h2o_socket_read_start(f->bell, bell_rings);
	for (unsigned i = 0; i < f->n_listeners; i++) {
		struct http_listener *l = &f->listeners[i];
		l->sock = h2o_evloop_socket_create(f->loop, l->fd, H2O_SOCKET_FLAG_DONT_READ);
		l->fd = -1;
		l->sock->data = l;
		h2o_socket_read_start(l->sock, on_connect);
	}
}

static void close_library(struct http *f)
{
	h2o_socket_read_stop(f->bell);
	h2o_socket_close(f->bell);
	f->bell_fd = -1;
	h2o_context_dispose(&f->ctx);
	h2o_evloop_destroy(f->loop);
	h2o_config_dispose(&f->config);
}

static void begin_drain(struct http *f)
{
	struct list *n;
	struct list idle;

	f->drained_ns = f->now_ns;
	f->ctx.shutdown_requested = 1;
	unlisten(f);
	http_api_drain(f->api);
	list_init(&idle);
	list_move(&idle, &f->conns[CONN_IDLE]);
	while ((n = list_pop(&idle)) != NULL) {
		struct conn *c = container_of(n, struct conn, link);
		list_push(&f->conns[CONN_IDLE], n);
		conn_kill(c);
	}
}

/* One run of the library's loop, and of all that is ours. True: all is done. */
static bool run_once(struct http *f, uint64_t due)
{
	int32_t wait_ms = 0;

	carrier_now(f);
	/* What was written outside of the loop has callbacks that wait for its next run. */
	if (f->loop->_pending_as_server == NULL && f->loop->_pending_as_client == NULL && due > f->now_ns) {
		atomic_store(&f->asleep, true);
		uint64_t ms = due == NEVER ? LIBRARY_MS : (due - f->now_ns + MS_NS - 1) / MS_NS;
		wait_ms = atomic_load(&f->rung) ? 0 : (int32_t)u64_min(ms, LIBRARY_MS);
	}
	f->now_fresh = false;
	int ran = h2o_evloop_run(f->loop, wait_ms);
	CHECK(ran == 0 || errno == EINTR);
	atomic_store(&f->asleep, false);
	atomic_store(&f->rung, false);
	carrier_now(f);
	if (f->drained_ns == 0 && (atomic_load(&f->want_drain) || atomic_load(&f->want_stop)))
		begin_drain(f);
	conn_arm_all(f);
	engine_port_turn(f->port);
	return atomic_load(&f->want_stop) && conn_count(f) == 0 && http_api_idle(f->api) && engine_port_idle(f->port);
}

static void *http_main(void *arg)
{
	struct http *f = arg;
	uint64_t due = 0;
	bool done = false;

	open_library(f);
	f->api = http_api_open(&(struct http_api_env){
		.engine = engine_port_engine(f->port), .clock = f->env.clock, .log = f->env.log, .conf = f->conf, .random = f->env.random,
		.describe = describe_metrics, .describe_arg = f,
	});
	while (!done) {
		done = run_once(f, due);
		due = http_api_turn(f->api, f->now_ns);
		call_flush_all(f);
		due = u64_min(due, u64_min(conn_turn_all(f), accept_again(f)));
		conn_bury(f);
		http_api_freed(f->api);
		if (f->engine_wanted) {
			f->engine_wanted = false;
			f->env.wake(f->env.wake_arg);
		}
	}
	http_api_close(f->api);
	close_library(f);
	atomic_store(&f->ended, true);
	f->env.wake(f->env.wake_arg);
	return NULL;
}

/* ---- The process's thread --------------------------------------------------------------------------------------------------------- */

static bool tls_failed(struct http *f, const char *what, const char *path)
{
	char why[256];

	ERR_error_string_n(ERR_get_error(), why, sizeof(why));
	log_error(f->env.log, "http", "event=tls-failed what=%s file=%s why=%s", what, path, why);
	return false;
}

static bool open_tls(struct http *f)
{
	static const h2o_iovec_t protocols[] = {{H2O_STRLIT("http/1.1")}, {NULL, 0}};
	const char *cert = f->conf->tls_cert, *key = f->conf->tls_key;

	if (cert == NULL || key == NULL) {
		log_error(f->env.log, "http", "event=tls-failed what=missing: HTTPS needs a certificate and its key");
		return false;
	}
	ERR_clear_error();
	f->ssl = SSL_CTX_new(TLS_server_method());
	CHECK(f->ssl != NULL);
	SSL_CTX_set_min_proto_version(f->ssl, TLS1_2_VERSION);
	SSL_CTX_set_options(f->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(f->ssl, SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_use_certificate_chain_file(f->ssl, cert) != 1)
		return tls_failed(f, "certificate", cert);
	if (SSL_CTX_use_PrivateKey_file(f->ssl, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(f->ssl) != 1)
		return tls_failed(f, "key", key);
	h2o_ssl_register_alpn_protocols(f->ssl, protocols);
	return true;
}

/* Everything that start() made, but the port. */
static void close_all(struct http *f)
{
	for (unsigned i = 0; i < f->n_listeners; i++)
		if (f->listeners[i].fd >= 0)
			close(f->listeners[i].fd);
	f->n_listeners = 0;
	if (f->bell_fd >= 0)
		close(f->bell_fd);
	f->bell_fd = -1;
	if (f->ssl != NULL)
		SSL_CTX_free(f->ssl);
	f->ssl = NULL;
}

static enum status http_start(void *front, const struct front_env *env)
{
	struct http *f = front;
	bool fine = true;

	f->magic = HTTP_MAGIC;
	f->env = *env;
	f->conf = env->conf;
	f->max_header = f->conf->http_max_header < HEAD_LIMIT ? f->conf->http_max_header : HEAD_LIMIT;
	f->max_held = (size_t)f->conf->http_max_body * BODIES_HELD;
	if (f->max_held < BODIES_MIN)
		f->max_held = BODIES_MIN;
	f->request_ns = f->conf->http_request_ms * MS_NS;
	/* A stream has something to send with every heartbeat: who takes nothing of it for two is not there any more. */
	f->stall_ns = u64_max(f->request_ns, 2 * f->conf->http_heartbeat_ms * MS_NS);
	f->look_at_ns = NEVER;
	for (unsigned i = 0; i < CONN_STATES; i++)
		list_init(&f->conns[i]);
	list_init(&f->arming);
	list_init(&f->dirty);
	list_init(&f->suspects);
	list_init(&f->dead);
	f->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CHECK(f->bell_fd >= 0);
	for (unsigned i = 0; i < env->n_ports; i++) {
		bool tls = strcmp(env->ports[i].name, "https") == 0;
		f->listeners[f->n_listeners++] = (struct http_listener){.front = f, .fd = env->ports[i].fd, .tls = tls};
		fine = fine && (!tls || f->ssl != NULL || open_tls(f));
	}
	if (!fine) {
		close_all(f);
		return ST_BAD_ARG;
	}
	f->port = engine_port_new(&(struct engine_port_conf){
		.target = env->engine, .wake_engine = wake_engine, .wake_engine_arg = f, .wake_owner = wake_owner, .wake_owner_arg = f,
	});
	return ST_OK;
}

static void http_open(void *front)
{
	struct http *f = front;
	sigset_t all, old;
	pthread_attr_t attr;

	CHECK_OBJ(f, HTTP_MAGIC);
	CHECK(!f->running && !f->stopping);
	/* Its buffers may grow to the largest body: never into files. No other thread uses the library. */
	h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX;
	h2o_config_init(&f->config);
	/* Signals are the process's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	CHECK(pthread_create(&f->thread, &attr, http_main, f) == 0);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	f->running = true;
}

static void gone(struct http *f)
{
	void (*stopped)(void *) = f->stopped;

	close_all(f);
	engine_port_free(f->port);
	f->port = NULL;
	f->stopped = NULL;
	stopped(f->stopped_arg);
}

static uint64_t http_turn(void *front, uint64_t now_ns)
{
	struct http *f = front;

	(void)now_ns;
	CHECK_OBJ(f, HTTP_MAGIC);
	if (f->port == NULL)
		return NEVER;
	engine_port_serve(f->port);
	if (f->running && atomic_load(&f->ended)) {
		pthread_join(f->thread, NULL);
		f->running = false;
	}
	if (f->stopping && !f->running)
		gone(f);
	return NEVER;
}

static uint64_t http_flush(void *front, uint64_t now_ns)
{
	struct http *f = front;

	(void)now_ns;
	if (f->owner_wanted) {
		f->owner_wanted = false;
		ring(f);
	}
	return NEVER;
}

static void http_drain(void *front)
{
	struct http *f = front;

	CHECK_OBJ(f, HTTP_MAGIC);
	atomic_store(&f->want_drain, true);
	if (f->running)
		ring(f);
}

static void http_stop(void *front, void (*stopped)(void *), void *arg)
{
	struct http *f = front;

	CHECK_OBJ(f, HTTP_MAGIC);
	CHECK(!f->stopping);
	f->stopping = true;
	f->stopped = stopped;
	f->stopped_arg = arg;
	atomic_store(&f->want_stop, true);
	if (f->running)
		ring(f);
	else
		f->env.wake(f->env.wake_arg);
}

static void http_describe(void *front, struct buf *json)
{
	struct http *f = front;

	buf_fmt(json, "{\"connections\":%lu,\"accepted\":%lu,\"requests\":%lu,\"refused\":%lu,\"turnedAway\":%lu}", atomic_load(&f->n_conns),
		atomic_load(&f->n_accepted), atomic_load(&f->n_requests), atomic_load(&f->n_refused), atomic_load(&f->n_turned_away));
}

const struct front_ops front_http = {
	.name = "http",
	.size = sizeof(struct http),
	.start = http_start,
	.open = http_open,
	.turn = http_turn,
	.flush = http_flush,
	.drain = http_drain,
	.stop = http_stop,
	.describe = http_describe,
};
