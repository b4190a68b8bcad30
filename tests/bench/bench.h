/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What the parts of the load generator share. It is a measuring tool, not a client library: one thread, one epoll set, and no
 * recovery. Anything that goes wrong with the world ends the run with a message and a non-zero status, so that a broken run can
 * never pass for a slow one.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include "base/be.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECOND_NS UINT64_C(1000000000)

/* ---- Clock, failure, measures (measure.c) ------------------------------------------------------------------------ */

uint64_t now_ns(void);
int64_t wall_ms(void);
void fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A histogram with 128 steps per power of two: values are right to under one per cent, from 1 ns to 18 minutes. */
enum { HIST_SUB_BITS = 7, HIST_OCTAVES = 34, HIST_SLOTS = HIST_OCTAVES << HIST_SUB_BITS };
struct hist {
	uint64_t count, max, sum;
	uint32_t slot[HIST_SLOTS];
};
void hist_add(struct hist *, uint64_t ns);
uint64_t hist_quantile(const struct hist *, double q);
/* Prints " PREFIXp50_us=... PREFIXp99_us= PREFIXp999_us= PREFIXmax_us=". */
void hist_print(const struct hist *, const char *prefix);

/* CPU time in microseconds that a process has used (user and system, all threads); 0 when there is no such process. */
uint64_t proc_cpu_us(int pid);
uint64_t self_cpu_us(void);
uint64_t proc_rss_kb(int pid);

/* Answer codes other than success, counted. */
enum { ERROR_KINDS = 32 };
struct errors {
	uint64_t total;
	int code[ERROR_KINDS];
	uint64_t count[ERROR_KINDS];
};
void errors_add(struct errors *, int code);
void errors_print(const struct errors *); /* " errors=N error_codes=code:count,..." */

/* The contribution of one message id to the checksum over a set of ids; sums of it do not depend on the order. */
static inline uint64_t id_mix(uint64_t id)
{
	uint64_t z = id + UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* ---- Connections (net.c) ----------------------------------------------------------------------------------------- */

struct conn {
	int fd;
	char *in;
	size_t in_pos, in_len, in_size;
	char *out;
	size_t out_pos, out_len, out_size;
	bool blocked;                   /* the socket took no more: wait for it to be writable */
	void (*input)(struct conn *);   /* eats what it can of in[in_pos, in_len) by moving in_pos */
	void *owner;
	uint64_t read_ns;               /* when the bytes now in 'in' arrived */
};

/* Connects to the loopback port, without blocking from then on, and enters the epoll set. */
void conn_open(struct conn *, int port, void (*input)(struct conn *), void *owner);
void conn_close(struct conn *);
char *conn_room(struct conn *, size_t n); /* n writable bytes at the end of 'out' */
static inline void conn_wrote(struct conn *c, size_t n) { c->out_len += n; }
void conn_flush(struct conn *);
/* Waits at most timeout_ns (0: only looks), feeds what has arrived to the input functions and writes what they left in 'out'. */
void net_poll(uint64_t timeout_ns);
/* Tries to connect once; returns the descriptor or -1. */
int net_try(int port);

/* ---- The remoting protocol (remoting.c) -------------------------------------------------------------------------- */

struct rm_reply {
	int code;
	uint32_t opaque;
	bool response; /* false: a request or a notice of the server's own */
	bool json;
	const char *head;
	uint32_t head_len;
	const char *body;
	uint32_t body_len;
};
/* Takes the next whole frame from the connection. The slices stay valid until the input function returns. */
bool rm_next(struct conn *, struct rm_reply *);
/* A number among the reply's extension fields. */
bool rm_number(const struct rm_reply *, const char *key, int64_t *ret);

/* Builds a request in memory that the caller gave. */
struct rm_request {
	char *at;
	size_t size, len;
	bool binary;
	int code;
	size_t ext_at, opaque_at;
};
/* Opaque numbers have ten decimal digits, so that one in a finished JSON frame can be overwritten in place. */
#define OPAQUE_BASE UINT32_C(0x40000000)
void rm_begin(struct rm_request *, char *at, size_t size, bool binary, int code, uint32_t opaque);
/* Both return where the value starts. Control characters are escaped in the JSON form. */
size_t rm_text(struct rm_request *, const char *key, const char *value);
size_t rm_int(struct rm_request *, const char *key, int64_t value);
/* Ends the header; 'body' (may be NULL: left for the caller to fill) follows. Returns where the body starts. */
size_t rm_end(struct rm_request *, uint32_t opaque, const void *body, size_t body_len);
void rm_set_opaque(char *frame, const struct rm_request *, uint32_t opaque);

/* A record as it is stored and pulled, as far as is looked at here. */
struct rm_record {
	uint64_t offset;
	uint32_t queue;
	const char *body;
	uint32_t body_len;
};
/* Takes the record at *at and steps over it; false at the end. A record that cannot be one ends the run. */
static inline bool rm_record_next(const char **at, const char *end, struct rm_record *ret)
{
	enum { MAGIC_V1 = 0xa7, MAGIC_V2 = 0xab, FIXED = 88, BORN_V6 = 0x10, STORE_V6 = 0x20, V6_MORE = 12 };
	const char *p = *at;
	if (p == end)
		return false;
	if (end - p < FIXED)
		fatal("%td stray bytes behind the last record", end - p);
	uint32_t size = be32_get(p), magic = be32_get(p + 4), flags = be32_get(p + 36);
	size_t more = (flags & BORN_V6 ? V6_MORE : 0) + (flags & STORE_V6 ? V6_MORE : 0);
	if (magic >> 8 != 0xdaa320 || ((magic & 0xff) != MAGIC_V1 && (magic & 0xff) != MAGIC_V2) || size < FIXED + more ||
	    size > (size_t)(end - p) || be32_get(p + 84 + more) > size - FIXED - more)
		fatal("no record where one should start: size %u magic %08x", size, magic);
	ret->queue = be32_get(p + 12);
	ret->offset = be64_get(p + 20);
	ret->body_len = be32_get(p + 84 + more);
	ret->body = p + FIXED + more;
	*at = p + size;
	return true;
}
/* A pull (11) of everything from 'offset' on; wait_ms 0: do not wait for messages. Appends it to the connection's output. */
void rm_put_pull(struct conn *, uint32_t opaque, const char *topic, int queue, uint64_t offset, int wait_ms);

/* One request at a time, waiting for its answer, on a connection of its own. */
struct rm_caller {
	struct conn conn;
	uint32_t opaque;
	bool answered;
	int code;
	int64_t offset;   /* the extension field "offset" */
	char body[4096];  /* beginning of the answer's body, ends in 0 */
};
void rm_caller_open(struct rm_caller *, int port);
void rm_call(struct rm_caller *, struct rm_request *);
void rm_topic_put(struct rm_caller *, const char *topic, int queues); /* 17; fatal when refused */
int64_t rm_max_offset(struct rm_caller *, const char *topic, int queue); /* 30 */
/* The port of the first broker that a name server knows (106). */
int rm_find_broker(int namesrv_port);

/* ---- What is asked for, and the modes ---------------------------------------------------------------------------- */

struct options {
	const char *mode;
	const char *label;      /* printed as server=... */
	const char *topic;
	int port, namesrv_port;
	int conns;
	int window;             /* requests in flight per connection */
	int queues;
	int body;               /* bytes */
	int batch;              /* messages per request (code 320); 0: code 310 */
	bool binary;            /* header form */
	bool wait;              /* property WAIT */
	bool spin;              /* poll without sleeping */
	bool deliver;           /* with a rate: also pull the messages, and take the time until they arrive */
	double rate;            /* messages per second on a fixed schedule; 0: as fast as the window allows */
	double warmup, seconds;
	uint64_t count;         /* end after so many messages; 0: after 'seconds' */
	int max_msgs, max_bytes; /* of a pull */
	int loops;              /* how often to read the backlog */
	int topics;
	int server_pid;
	int verify_port;        /* mqtt: the remoting port of the same broker; 0: none */
	int request_bytes, reply_bytes; /* of the echo protocol */
	uint64_t expect;        /* boot: what code 30 must answer for queue 0 */
	char **command;         /* boot: what to start */
};
extern struct options opt;

/* Ends the line of results with the verdict. Why is NULL for a valid run. */
void verdict(const char *why);

struct codec; /* what a sender speaks: send_codec.c */
void mode_send(const struct codec *);
void mode_pull(void);
void mode_topics(void);
void mode_idle(void);
void mode_mqtt_fan(void);
void mode_mqtt_idle(void);
void mode_fan(void);
void mode_fan_idle(void);
void mode_boot(void);

/* Long polls over all queues of the topic that time each message against its schedule (watch.c). */
struct watch;
struct watch *watch_open(uint64_t start_ns, double per_second, uint64_t record_from_ns);
const struct hist *watch_hist(const struct watch *);
uint64_t watch_seen(const struct watch *);

#endif
