/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The HTTP interface: jobs and their lives, what is checked of every call, and how answers leave. What calls mean is told in the files of their handlers. */
#include "front/http/api.h"

#include "front/http/route.h"

#define PREFLIGHT_AGE "600"
#define REQUESTED_MAX 1024u /* bytes of a preflight's header names that are answered */

/* ---- Jobs --------------------------------------------------------------------------------------------------------------------------- */

static struct api_job *job_new(struct http_api *a, struct http_call *c)
{
	struct list *n = list_pop(&a->free_jobs);
	struct api_job *j;

	if (n != NULL) {
		j = container_of(n, struct api_job, link);
		a->n_free--;
	} else {
		j = mem_new(sizeof(*j));
		j->api = a;
		list_init(&j->link);
		list_init(&j->ready);
	}
	j->magic = JOB_MAGIC;
	j->call = c;
	j->route = NULL;
	j->ops = NULL;
	j->asks = 0;
	j->head = j->delayed = false;
	j->actor = (struct actor){"http", {NULL, 0}, c->peer};
	j->arg[0] = j->arg[1] = (struct slice){NULL, 0};
	j->at = j->count = 0;
	j->x = NULL;
	list_push(&a->jobs, &j->link);
	a->n_jobs++;
	c->state = j;
	return j;
}

void api_tidy(struct api_job *j)
{
	struct http_api *a = j->api;

	CHECK_OBJ(j, JOB_MAGIC);
	if (j->call != NULL || j->asks > 0)
		return;
	if (j->ops != NULL && j->ops->fini != NULL)
		j->ops->fini(j);
	list_remove(&j->link);
	list_remove(&j->ready);
	heap_drop(&a->timers, &j->timer);
	a->n_jobs--;
	j->magic = 0;
	if (a->n_free < API_JOBS_KEPT && j->text.cap <= 4096) {
		buf_reset(&j->text);
		list_push_front(&a->free_jobs, &j->link);
		a->n_free++;
		return;
	}
	buf_fini(&j->text);
	mem_free(j);
}

void api_ready(struct api_job *j)
{
	if (!list_linked(&j->ready))
		list_push(&j->api->ready, &j->ready);
}

void api_due(struct api_job *j, uint64_t at_ns)
{
	if (at_ns == NEVER)
		heap_drop(&j->api->timers, &j->timer);
	else
		heap_put(&j->api->timers, &j->timer, at_ns);
}

void api_ask(struct api_job *j, size_t size, void (*done)(struct engine_ask *, enum status))
{
	memset(&j->u, 0, size);
	j->u.ask.done = done;
	j->asks++;
}

bool api_asked(struct engine_ask *ask, struct api_job **ret)
{
	struct api_job *j = container_of(ask, struct api_job, u);

	CHECK_OBJ(j, JOB_MAGIC);
	CHECK(j->asks > 0);
	j->asks--;
	*ret = j;
	return j->call != NULL;
}

int64_t api_now_ms(struct http_api *a)
{
	return clock_wall_ms(a->env.clock);
}

static void hex(char *to, uint64_t v, unsigned digits)
{
	while (digits-- > 0) {
		to[digits] = "0123456789ABCDEF"[v & 15];
		v >>= 4;
	}
}

/* As the engine's own: our address, then what no other message has. */
void api_new_id(struct http_api *a, char to[API_ID_SIZE])
{
	if (a->id_count == 0) {
		hex(a->id_head, a->conf->advertised_ip, 8);
		hex(a->id_head + 8, a->id_seed++, 16);
	}
	memcpy(to, a->id_head, sizeof(a->id_head));
	hex(to + sizeof(a->id_head), a->id_count++, 8);
}

/* ---- Answers ------------------------------------------------------------------------------------------------------------------------ */

struct buf *api_out(struct http_api *a)
{
	buf_reset(&a->out);
	return &a->out;
}

void api_count(struct http_api *a, const struct api_route *route, unsigned status)
{
	size_t at = route == NULL ? api_n_routes : (size_t)(route - api_routes);

	if (status >= 100 && status < 600)
		a->requests[at * 5 + status / 100 - 1]++;
}

void api_cors(struct http_api *a, const struct http_call *c, struct buf *head)
{
	if (c->origin.n == 0 || !origin_allowed(a->conf, c->origin, c->host))
		return;
	buf_str(head, "access-control-allow-origin: ");
	buf_slice(head, c->origin);
	buf_str(head, "\r\nvary: Origin\r\naccess-control-expose-headers: Location, Retry-After\r\n");
}

void api_reply(struct api_job *j, unsigned status, const char *type, struct slice extra, struct slice body)
{
	struct http_api *a = j->api;
	struct http_call *c = j->call;
	struct piece piece = {body, NULL};

	if (c == NULL)
		return;
	buf_reset(&a->head);
	if (type != NULL) {
		buf_str(&a->head, "content-type: ");
		buf_str(&a->head, type);
		buf_str(&a->head, "\r\n");
	}
	buf_slice(&a->head, extra);
	api_cors(a, c, &a->head);
	api_count(a, j->route, status);
	j->call = NULL;
	j->actor.address = (struct slice){NULL, 0};
	c->state = NULL;
	c->ops->reply(c, status, buf_view(&a->head), &piece, body.n > 0 ? 1 : 0);
	if (a->out.cap > API_OUT_KEPT)
		buf_fini(&a->out);
}

bool api_room(struct api_job *j, size_t n)
{
	return j->call->ops->room(j->call, n);
}

void api_refuse_large(struct api_job *j)
{
	api_refuse(j, ST_BUSY, "too many large answers are on their way, try again later");
}

void api_reply_json(struct api_job *j, unsigned status, struct buf *json)
{
	if (slice_eq_str(j->call->method, "GET") && (j->route->flags & ROUTE_TAKES) == 0 && !api_room(j, json->n)) {
		api_refuse_large(j);
		return;
	}
	api_reply(j, status, "application/json", SLICE_LIT("cache-control: no-store\r\n"), buf_view(json));
}

struct slice http_header(const struct http_call *c, const char *name)
{
	for (unsigned i = 0; i < c->n_headers; i++)
		if (slice_eq_str(c->headers[i].name, name))
			return c->headers[i].value;
	return (struct slice){NULL, 0};
}

/* ---- Calls -------------------------------------------------------------------------------------------------------------------------- */

static void put_allow(struct buf *b, const struct route_found *f)
{
	static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE"};

	for (unsigned i = 0; i < ARRAY_LEN(methods); i++)
		if ((f->methods >> i & 1) != 0) {
			buf_str(b, methods[i]);
			buf_str(b, ", ");
		}
	buf_str(b, "OPTIONS\r\n");
}

/* What a browser asks before a page of another origin may do more than look. */
static void preflight(struct api_job *j, const struct route_found *f)
{
	struct http_api *a = j->api;
	struct http_call *c = j->call;
	struct slice wanted = http_header(c, "access-control-request-headers");
	struct buf extra = {0};

	buf_str(&extra, "allow: ");
	put_allow(&extra, f);
	if (c->origin.n > 0 && origin_allowed(a->conf, c->origin, c->host)) {
		buf_str(&extra, "access-control-allow-methods: ");
		put_allow(&extra, f);
		buf_str(&extra, "access-control-max-age: " PREFLIGHT_AGE "\r\n");
		for (size_t i = 0; i < wanted.n; i++)
			if (wanted.p[i] < 0x20 || wanted.p[i] > 0x7e)
				wanted.n = 0;
		if (wanted.n > 0 && wanted.n <= REQUESTED_MAX) {
			buf_str(&extra, "access-control-allow-headers: ");
			buf_slice(&extra, wanted);
			buf_str(&extra, "\r\n");
		}
	}
	api_reply(j, 204, NULL, buf_view(&extra), (struct slice){NULL, 0});
	buf_fini(&extra);
}

/* OPTIONS of no path: is anybody there? */
static void whole_server(struct api_job *j)
{
	api_reply(j, 204, NULL, SLICE_LIT("allow: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n"), (struct slice){NULL, 0});
}

static void wrong_method(struct api_job *j, const struct route_found *f)
{
	struct buf *b = api_out(j->api);
	struct buf extra = {0};

	buf_str(&extra, "allow: ");
	put_allow(&extra, f);
	api_problem_json(b, 405, ST_UNSUPPORTED, SLICE_LIT("the path is there, the method is not"), j->call->path);
	api_reply(j, 405, "application/problem+json", buf_view(&extra), buf_view(b));
	buf_fini(&extra);
}

/* The origin of the page that a Referer names. */
static struct slice referer_origin(struct slice referer)
{
	const uint8_t *mark = memmem(referer.p, referer.n, "://", 3);
	size_t n = mark == NULL ? 0 : (size_t)(mark + 3 - referer.p);

	while (n < referer.n && referer.p[n] != '/' && referer.p[n] != '?' && referer.p[n] != '#')
		n++;
	return mark == NULL ? referer : slice_of(referer.p, n);
}

/*
 * What other methods ask for comes with an Origin. A GET without one may be an image or a link of some page. Browsers say where from, but over plain HTTP only to addresses of loopback; else there is
 * the Referer, which a page can keep them from sending. What it cannot do is pass for something that is not a browser.
 */
static bool foreign_site(const struct http_api *a, const struct http_call *c, bool get)
{
	struct slice site = http_header(c, "sec-fetch-site"), referer = http_header(c, "referer");

	if (site.n > 0 || !get)
		return site.n > 0 && !slice_eq_str(site, "same-origin") && !slice_eq_str(site, "none");
	if (referer.n > 0)
		return !origin_allowed(a->conf, referer_origin(referer), c->host);
	return slice_starts(http_header(c, "user-agent"), SLICE_LIT("Mozilla/")) && http_header(c, "accept-language").n > 0;
}

/* A page of another site must neither write nor take messages away, whatever its browser lets it see of the answer. */
static bool foreign(struct api_job *j)
{
	const struct http_call *c = j->call;
	bool get = slice_eq_str(c->method, "GET") || j->head;

	if (get && (j->route->flags & ROUTE_TAKES) == 0)
		return false;
	if (!origin_allowed(j->api->conf, c->origin, c->host)) {
		api_problem(j, 403, ST_DENIED, "origin \"%.*s\" may not do this: see allowedOrigins", (int)(c->origin.n < 100 ? c->origin.n : 100),
			(const char *)c->origin.p);
		return true;
	}
	if (c->origin.n > 0 || !foreign_site(j->api, c, get))
		return false;
	api_problem(j, 403, ST_DENIED, "a page of another origin may not do this, and a browser must say which page it is that asks");
	return true;
}

void api_dispatch(struct api_job *j)
{
	struct http_api *a = j->api;
	struct http_call *c = j->call;

	if ((j->route->flags & ROUTE_NEEDS_KEY) != 0 && a->key_state != KEY_THERE) {
		receipts_key_open(a);
		list_push(&a->key_waiters, &j->ready);
		return;
	}
	buf_reset(&a->scratch);
	if (memchr(c->path.p, '%', c->path.n) != NULL || c->query.n > 0)
		buf_room(&a->scratch, c->path.n + c->query.n + 1);
	if (api_params_read(j))
		j->route->handle(j);
}

/* True when it is answered, or a handler has it. */
static void look(struct api_job *j)
{
	struct http_api *a = j->api;
	struct http_call *c = j->call;
	struct route_found f;

	j->head = slice_eq_str(c->method, "HEAD");
	route_find(c->method, c->path, &f);
	j->route = f.route;
	if (!host_allowed(a->conf, c->host)) {
		api_problem(j, 421, ST_DENIED, "host \"%.*s\" is none of ours: see allowedHosts", (int)(c->host.n < 100 ? c->host.n : 100), (const char *)c->host.p);
		return;
	}
	if (a->draining && (f.route == NULL || (f.route->flags & ROUTE_DRAINING) == 0)) {
		api_problem(j, 503, ST_CLOSED, NULL);
		return;
	}
	if (f.methods == 0 && !slice_eq_str(c->path, "*") && static_serve(j))
		return;
	if (slice_eq_str(c->path, "*")) {
		whole_server(j);
	} else if (f.methods == 0) {
		api_problem(j, 404, ST_NOT_FOUND, "no such path: see /openapi.json");
	} else if (slice_eq_str(c->method, "OPTIONS")) {
		preflight(j, &f);
	} else if (f.route == NULL) {
		wrong_method(j, &f);
	} else if (foreign(j)) {
		return;
	} else if (c->body.n > a->conf->http_max_body) {
		api_problem(j, 413, ST_TOO_BIG, "a body has %u bytes at most", a->conf->http_max_body);
	} else {
		j->arg[0] = f.arg[0];
		j->arg[1] = f.arg[1];
		api_dispatch(j);
	}
}

void http_api_call(struct http_api *a, struct http_call *c)
{
	CHECK_OBJ(a, API_MAGIC);
	struct api_job *j = job_new(a, c);

	look(j);
	api_tidy(j);
}

void http_api_writable(struct http_api *a, struct http_call *c)
{
	struct api_job *j = c->state;

	CHECK_OBJ(a, API_MAGIC);
	if (j == NULL)
		return;
	CHECK_OBJ(j, JOB_MAGIC);
	if (j->ops != NULL && j->ops->writable != NULL)
		j->ops->writable(j);
	api_tidy(j);
}

void http_api_gone(struct http_api *a, struct http_call *c)
{
	struct api_job *j = c->state;

	CHECK_OBJ(a, API_MAGIC);
	if (j == NULL)
		return;
	CHECK_OBJ(j, JOB_MAGIC);
	if (j->ops != NULL && j->ops->gone != NULL)
		j->ops->gone(j);
	c->state = NULL;
	j->call = NULL;
	j->actor.address = (struct slice){NULL, 0};
	list_remove(&j->ready);
	api_tidy(j);
}

static void run_timers(struct http_api *a)
{
	struct heap_node *n;

	while ((n = heap_first(&a->timers)) != NULL && n->due <= a->now_ns) {
		struct api_job *j = container_of(n, struct api_job, timer);
		CHECK_OBJ(j, JOB_MAGIC);
		heap_drop(&a->timers, n);
		if (j->ops != NULL && j->ops->due != NULL)
			j->ops->due(j, a->now_ns);
		api_tidy(j);
	}
}

uint64_t http_api_turn(struct http_api *a, uint64_t now_ns)
{
	struct list now, *n;

	CHECK_OBJ(a, API_MAGIC);
	a->now_ns = now_ns;
	list_init(&now);
	list_move(&now, &a->ready);
	while ((n = list_pop(&now)) != NULL) {
		struct api_job *j = container_of(n, struct api_job, ready);
		CHECK_OBJ(j, JOB_MAGIC);
		if (j->ops != NULL && j->ops->ready != NULL)
			j->ops->ready(j);
		api_tidy(j);
	}
	run_timers(a);
	uint64_t due = streams_turn(a, now_ns);
	struct heap_node *first = heap_first(&a->timers);
	if (first != NULL)
		due = u64_min(due, first->due);
	return list_empty(&a->ready) ? due : 0;
}

void http_api_drain(struct http_api *a)
{
	struct list now, *n;

	CHECK_OBJ(a, API_MAGIC);
	a->draining = true;
	list_init(&now);
	list_move(&now, &a->jobs);
	while ((n = list_pop(&now)) != NULL) {
		struct api_job *j = container_of(n, struct api_job, link);
		CHECK_OBJ(j, JOB_MAGIC);
		list_push(&a->jobs, n);
		if (j->call != NULL && j->ops != NULL && j->ops->drain != NULL)
			j->ops->drain(j);
		api_tidy(j);
	}
}

bool http_api_idle(const struct http_api *a)
{
	CHECK_OBJ(a, API_MAGIC);
	return a->n_jobs == 0 && a->loose == 0;
}

/* ---- Life --------------------------------------------------------------------------------------------------------------------------- */

struct http_api *http_api_open(const struct http_api_env *env)
{
	struct http_api *a = mem_new(sizeof(*a));

	a->magic = API_MAGIC;
	a->env = *env;
	a->engine = env->engine;
	a->conf = env->conf;
	list_init(&a->jobs);
	list_init(&a->free_jobs);
	list_init(&a->ready);
	list_init(&a->key_waiters);
	list_init(&a->hungry);
	list_init(&a->cuts);
	a->cuts_due = NEVER;
	draft_init(&a->draft);
	env->random(&a->id_seed, sizeof(a->id_seed));
	a->now_ns = clock_mono_ns(env->clock);
	a->requests = mem_array((api_n_routes + 1) * 5, sizeof(*a->requests));
	openapi_build(&a->openapi);
	a->key_state = KEY_FAILED;
	receipts_key_open(a);
	return a;
}

void http_api_close(struct http_api *a)
{
	struct list *n;

	CHECK(http_api_idle(a));
	streams_fini(a);
	while ((n = list_pop(&a->free_jobs)) != NULL) {
		struct api_job *j = container_of(n, struct api_job, link);
		buf_fini(&j->text);
		mem_free(j);
	}
	heap_fini(&a->timers);
	u64map_fini(&a->by_id);
	u64map_fini(&a->by_event);
	draft_fini(&a->draft);
	buf_fini(&a->scratch);
	buf_fini(&a->out);
	buf_fini(&a->head);
	buf_fini(&a->openapi);
	mem_free(a->requests);
	a->magic = 0;
	mem_free(a);
}
