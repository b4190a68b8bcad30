/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What the files of the HTTP interface share. Nobody else includes it.
 *
 * A job is what becomes of one call: it lives until the call is answered (or its caller hung up) and no request to the engine that names it is
 * under way. Whoever may have ended one of the two calls api_tidy as the last thing it does with the job.
 *
 * All routes stand in one table (route.c): requests are routed by it, 405 and its Allow come from it, and so does /openapi.json. Options stand
 * in another (params.tbl); each is a header Gantry-Some-Name and a query parameter some-name.
 */
#ifndef FRONT_HTTP_API_H
#define FRONT_HTTP_API_H

#include "base/heap.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/obj.h"
#include "front/http/http.h"
#include "front/message.h"

#define API_MAGIC 0x48415049u
#define JOB_MAGIC 0x484a4f42u
#define API_PROPS_MAX 128u           /* user properties of one request's options */
#define API_JOBS_KEPT 256u           /* jobs that are kept for the next calls */
#define API_OUT_KEPT (256u << 10)    /* a buffer for answers that grew over it is given back */
#define API_ANSWER_BYTES (4u << 20)  /* of records in one answer; and one more */
#define API_ID_SIZE 32u              /* of a message's id that is made here */
#define API_UNSENT_MAX (16u << 10)   /* bytes of a stream on their way to the socket, and one event; what may come counts */
#define API_STREAM_CREDIT 16u        /* messages under way from the engine to one stream */
#define API_SMALL (4u << 10)         /* bytes of a record that is sent to a stream whenever it comes */
#define API_LEASE_MAX_MS INT64_C(43200000)
#define API_SETTLE_MS 50u            /* so long after a subscription opened it is clear whether queues fall to it */
#define API_LOOK_MS 100u             /* a poll that does not want to wait looks so long */
#define API_CUTS_MAX 1024u           /* streams that were cut and may be resumed */
#define API_CUT_EVENTS_MAX 65536u   /* events of all of them */
#define API_QUEUES_MAX 4096u         /* queues of a topic that are described one by one */
#define API_FIND_TOPICS 256u         /* topics that are searched for an id */
#define API_MAX_DEFAULT 16u          /* messages of a poll or a search */

enum api_param {
#define X(name, text, schema, about) PARAM_##name,
#include "front/http/params.tbl"
#undef X
	PARAM_COUNT
};
#define P(name) (UINT64_C(1) << PARAM_##name)
_Static_assert(PARAM_COUNT <= 64, "a set of parameters is one word");
#define PARAMS_MESSAGE (P(TAG) | P(KEYS) | P(ORDER_KEY) | P(DELAY) | P(DELIVER_AT) | P(EXPIRE) | P(QUEUE) | P(CORRELATION_DATA) | P(REPLY_TO) | \
	P(MQTT_TOPIC) | P(CONTENT_TYPE) | P(DURABILITY) | P(PROP) | P(RAW))

/* The options of the call that is being looked at. Slices view the request, or the interface's scratch: only until the handler returns. */
struct api_opts {
	uint64_t set;
	struct slice v[PARAM_COUNT];
	unsigned n_props;
	struct {
		struct slice name, value;
	} prop[API_PROPS_MAX];
};

struct api_job;
struct api_route {
	const char *method;
	const char *path;                    /* with {names} */
	void (*handle)(struct api_job *);
	uint64_t params;
	unsigned flags;
	const char *summary;
	const char *body;                    /* name of its schema; NULL: none */
	const char *answer;                  /* "201 Sent" */
};
enum {
	ROUTE_NEEDS_KEY = 1,                 /* of the receipts */
	ROUTE_TAKES = 2,                     /* a GET that is no mere look: other sites' pages may not ask for it, and HEAD means nothing */
	ROUTE_DRAINING = 4                   /* answered while the process ends */
};
extern const struct api_route api_routes[];
extern const unsigned api_n_routes;

/* What a job does when it waits. All may be NULL. */
struct api_job_ops {
	void (*gone)(struct api_job *);      /* the caller hung up */
	void (*drain)(struct api_job *);     /* answer what can be answered now */
	void (*due)(struct api_job *, uint64_t now_ns); /* its timer */
	void (*ready)(struct api_job *);     /* behind the engine's turn, when api_ready was called */
	void (*writable)(struct api_job *);
	void (*fini)(struct api_job *);      /* frees what hangs on it */
};
struct api_job {
	uint32_t magic;
	struct http_api *api;
	struct http_call *call;              /* NULL: answered, or the caller hung up */
	const struct api_route *route;
	const struct api_job_ops *ops;       /* NULL: nothing special */
	struct list link;                    /* api->jobs */
	struct list ready;                   /* api->ready */
	struct heap_node timer;
	unsigned asks;                       /* requests and subscriptions under way that name it */
	bool head;                           /* HEAD */
	struct actor actor;
	struct slice arg[2];                 /* names in the path, decoded; until the handler returns, unless kept in 'text' */
	struct buf text;                     /* of its own */
	char id[API_ID_SIZE];
	bool delayed;
	uint64_t at, count;                  /* the handler's */
	union {
		struct engine_ask ask;
		struct engine_send send;
		struct engine_topic topic;
		struct engine_topics topics;
		struct engine_group group;
		struct engine_groups groups;
		struct engine_members members;
		struct engine_offset offset;
		struct engine_offsets offsets;
		struct engine_range range;
		struct engine_pull pull;
		struct engine_view view;
		struct engine_find find;
		struct engine_stats stats;
	} u;
	void *x;                             /* the handler's, freed by ops->fini */
};

enum key_state { KEY_ASKED, KEY_THERE, KEY_FAILED };
struct http_api {
	uint32_t magic;
	struct http_api_env env;
	struct engine *engine;
	const struct front_conf *conf;
	struct list jobs, free_jobs;
	size_t n_jobs, n_free;
	size_t loose;                        /* requests to the engine that no job waits for */
	struct list ready;                   /* jobs */
	struct list key_waiters;             /* jobs, by 'ready' */
	struct list hungry;                  /* struct sse_flow: they have a message that waits until less is kept for all, the first one for the longest time */
	struct heap timers;                  /* jobs */
	uint64_t now_ns;
	bool draining;
	/* Receipts */
	enum key_state key_state;
	uint8_t key[32];
	struct engine_cell cell;
	struct engine_cells cells;
	/* Ids of messages */
	char id_head[24];
	uint32_t id_count;
	uint64_t id_seed;
	/* Event streams of groups (stream.c) */
	struct list cuts;                    /* struct sse without a job, those that were cut first in front */
	size_t n_cuts, n_cut_events;
	uint64_t cuts_due;                   /* nothing is forgotten before it */
	struct u64map by_id, by_event;
	/* What one call at a time uses */
	struct api_opts opts;
	struct draft draft;
	struct buf scratch, out, head;
	struct buf openapi;
	/* Numbers */
	uint64_t *requests;                  /* by route (+ files, + nothing), by status class */
	uint64_t n_streams, n_polls;
};

/* ---- api.c ---- */
void api_tidy(struct api_job *j);
void api_ready(struct api_job *j);
void api_due(struct api_job *j, uint64_t at_ns);   /* NEVER: not at all */
int64_t api_now_ms(struct http_api *a);
void api_new_id(struct http_api *a, char to[API_ID_SIZE]);
/* The job's own request for the engine: zeroed, with its done(), and counted. The done() ends in api_tidy. */
void api_ask(struct api_job *j, size_t size, void (*done)(struct engine_ask *, enum status));
#define API_ASK(j, field, fn) (api_ask((j), sizeof((j)->u.field), (fn)), (j)->u.field.actor = &(j)->actor, &(j)->u.field)
/* In done(): the job of such a request; it is not under way any more. False: nobody waits for the answer. */
bool api_asked(struct engine_ask *ask, struct api_job **ret);
/* Answers. 'extra' are whole header lines. After it the job has no call. */
void api_reply(struct api_job *j, unsigned status, const char *type, struct slice extra, struct slice body);
/* no-store. What was only looked at is BUSY where there is no room for it; what was taken or changed is answered for anyway. */
void api_reply_json(struct api_job *j, unsigned status, struct buf *json);
bool api_room(struct api_job *j, size_t n);        /* for an answer of so many bytes; else it is to be refused by api_refuse_large */
void api_refuse_large(struct api_job *j);
void api_count(struct http_api *a, const struct api_route *route, unsigned status);
/* Lines that a browser's page of an allowed origin needs. */
void api_cors(struct http_api *a, const struct http_call *c, struct buf *head);
struct buf *api_out(struct http_api *a);           /* empty, for one answer */
void api_dispatch(struct api_job *j);

/* ---- problem.c ---- */
/* A problem document (RFC 9457). 'fmt' may be NULL. */
void api_problem(struct api_job *j, unsigned http, enum status st, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* With the HTTP status of front/status.tbl. */
void api_refuse(struct api_job *j, enum status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* True, with the answer given, unless OK. */
bool api_failed(struct api_job *j, enum status st);

/* ---- params.c ---- */
struct api_param_row {
	const char *name, *schema, *about;
};
extern const struct api_param_row api_params[PARAM_COUNT];
/* Reads the call's options into api->opts. False: refused, and answered. */
bool api_params_read(struct api_job *j);
static inline bool api_has(const struct api_opts *o, enum api_param p) { return (o->set >> p & 1) != 0; }
/* The value of an option as what it must be; *ret stays as it is when it is not set. False: refused, and answered. */
bool api_opt_u64(struct api_job *j, enum api_param p, uint64_t min, uint64_t max, uint64_t *ret);
bool api_opt_duration(struct api_job *j, enum api_param p, int64_t min, int64_t max, int64_t *ret);
bool api_opt_moment(struct api_job *j, enum api_param p, int64_t *ret);
bool api_opt_bool(struct api_job *j, enum api_param p, bool *ret);
/* Does the Accept header name this type (or, with 'any', everything)? */
bool api_accepts(const struct http_call *c, const char *type);
struct slice api_content_type(const struct http_call *c); /* without its parameters; the text's case as it came */
bool api_is_type(struct slice type, const char *what);    /* any case */

/* ---- body.c: JSON of a request ---- */
/* The body as a JSON object (json_t, to be freed with api_json_free); NULL in *ret for an empty body. False: refused, and answered. */
bool api_json(struct api_job *j, const char *const *members, void **ret);
void api_json_free(void *json);
bool api_json_u64(struct api_job *j, const void *json, const char *name, uint64_t min, uint64_t max, uint64_t *ret);
bool api_json_bool(struct api_job *j, const void *json, const char *name, bool *ret);
/* Is there such a member? *ret: NULL when it is no text. */
bool api_json_text(const void *json, const char *name, const char **ret);
/* A duration: text, or milliseconds. */
bool api_json_duration(struct api_job *j, const void *json, const char *name, int64_t min, int64_t max, int64_t *ret);

/* ---- receipts.c ---- */
struct api_receipt {
	struct slice group, topic;
	uint64_t incarnation, tag;
};
void receipt_put(struct http_api *a, struct buf *b, const struct api_receipt *r);
/* Slices view 'scratch'. False: not one of ours. */
bool receipt_get(const struct http_api *a, struct slice text, struct buf *scratch, struct api_receipt *ret);
void receipts_key_open(struct http_api *a);
/* Settles by receipt and lets nobody wait for it; 'told' may be NULL. */
typedef void settle_told_fn(struct http_api *, void *arg, uint64_t arg2, enum status);
void api_settle(struct http_api *a, const struct api_receipt *r, enum settle how, int64_t after_ms, settle_told_fn *told, void *arg, uint64_t arg2);

/* ---- consume.c ---- */
/* True when native members own every queue of the topic, by what a request for the group's members answered. */
bool api_idle_group(const struct engine_members *m, enum status st, struct slice topic, uint32_t queues);
/* Common to polls and streams: ?wait= and the like are theirs. */
bool api_sub_options(struct api_job *j, struct engine_sub_open *o);

/* A message as one JSON object, one line. 'receipt' may be NULL. */
void api_message(struct http_api *a, struct buf *b, const struct message *m, struct slice topic, uint32_t attempt, const struct api_receipt *receipt,
	int64_t until_ms);

/* ---- sse.c: event streams, whatever they are of ---- */
void sse_begin(struct api_job *j);
void sse_write(struct api_job *j, struct slice text);
void sse_end(struct api_job *j);                   /* after it the job has no call */
/* An event that says why the stream ends, and its end. */
void sse_fail(struct api_job *j, enum status why);
/* What a stream has asked the engine for; zeroed at first. */
struct sse_flow {
	struct api_job *job;
	uint32_t waits_for;
	size_t size;                         /* of its events, about */
	struct list hungry;                  /* api->hungry */
	size_t hungry_n;                     /* bytes of the record that waits */
};
void sse_flow_init(struct sse_flow *f, struct api_job *j);
void sse_flow_fini(struct sse_flow *f);
/* How many more messages, 'most' of them, to ask for now, so that what may come has room; they are waited for then. */
uint32_t sse_more(struct sse_flow *f, uint32_t most);
/*
 * A message that was waited for came: has its record room? Credit counts messages, and what was asked for in view of small ones may be large ones. False: the
 * stream hears of it by writable().
 */
bool sse_came(struct sse_flow *f, size_t n);
/* The same of one that came before and waits. */
bool sse_room(struct sse_flow *f, size_t n);
/* An event was so many bytes of the stream. */
void sse_sized(struct sse_flow *f, size_t n);

/* ---- stream.c: a group's, tap.c: a reader's ---- */
void stream_group_start(struct api_job *j);
void stream_tap_start(struct api_job *j);
/* A receipt was settled: an event of a stream may be done with it. */
void streams_settled(struct http_api *a, const struct api_receipt *r);
uint64_t streams_turn(struct http_api *a, uint64_t now_ns);
void streams_fini(struct http_api *a);

/* ---- files.c is the carrier's side; static.c serves them ---- */
bool static_serve(struct api_job *j);

/* ---- handlers ---- */
void api_publish(struct api_job *j);
void api_publish_batch(struct api_job *j, bool lines);
void api_consume(struct api_job *j);
void api_browse(struct api_job *j);
void api_ack(struct api_job *j);
void api_nack(struct api_job *j);
void api_extend(struct api_job *j);
void api_topics_list(struct api_job *j);
void api_topic_put(struct api_job *j);
void api_topic_get(struct api_job *j);
void api_topic_drop(struct api_job *j);
void api_groups_list(struct api_job *j);
void api_group_put(struct api_job *j);
void api_group_get(struct api_job *j);
void api_group_drop(struct api_job *j);
void api_group_reset(struct api_job *j);
void api_find(struct api_job *j);
void api_find_id(struct api_job *j);
void api_metrics(struct api_job *j);
void api_health(struct api_job *j);
void api_readiness(struct api_job *j);
void api_openapi(struct api_job *j);
void openapi_build(struct buf *b);

/* ---- seal_ssl.c ---- */
#define SEAL_SIZE 16u
void seal_make(const uint8_t key[32], struct slice text, uint8_t to[SEAL_SIZE]);
bool seal_same(const uint8_t a[SEAL_SIZE], const uint8_t b[SEAL_SIZE]);

#endif
