/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Connections of the TCP carrier, private to os/tcp_*.c. */
#ifndef OS_TCP_CONN_H
#define OS_TCP_CONN_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/obj.h"
#include "os/tcp.h"

enum {
	TCP_MAGIC = 0x74637021,
	CONN_MAGIC = 0x636f6e6e,
	READ_BYTES = 256 << 10, /* the loop's shared read buffer */
};

struct tcp {
	uint32_t magic;
	uv_loop_t *loop;
	struct clock *clock;
	struct log *log;
	struct tcp_conf conf;
	struct list listeners, conns;
	struct list dirty;     /* conns with something to write, or to close */
	struct list active;    /* conns that got input since the last turn: their deadline may have changed */
	struct list resumed;   /* conns that are to be offered bytes that were kept while they were paused */
	struct heap timers;
	uint8_t *read_buf;     /* READ_BYTES; holds nothing between two events */
	int reserve_fd;        /* given up for a moment to refuse a connection when there is no other descriptor */
	uint64_t full_logged_ns, fds_logged_ns; /* last complaint of each kind; 0: none */
	uint32_t n_accepted;   /* live connections that count against max_conns */
	size_t kept;           /* in_cap of all connections */
	bool called;           /* a protocol was called since the turn of what answers */
	bool ending;           /* tcp_unlisten: nobody new comes, so the rest may go sooner */
	bool closing;          /* tcp_close: freed when 'handles' is 0 */
	size_t handles;        /* uv handles that are not closed yet */
	struct tcp_stats stats;
};

struct tcp_out {
	struct blob *blob;     /* owns p */
	const uint8_t *p;
	size_t n;
};

/*
 *   open      bytes flow; 'paused' keeps input back
 *   closing   stream_close was called, or the protocol refused its input: the queue is written, input is dropped
 *   shut      all is written and our end is shut; waits for the peer's end, so that what is on its way is not destroyed
 *   dead      closed() was called; waits for libuv to let go
 */
enum conn_state { CONN_OPEN, CONN_CLOSING, CONN_SHUT, CONN_DEAD };

struct conn {
	struct stream stream;
	uint32_t magic;
	enum conn_state state;
	struct tcp *tcp;
	const struct stream_ops *ops;
	uv_poll_t poll;
	int fd;
	int events;            /* polled for */
	bool paused, full, accepted;
	enum status why;       /* what closed() will say */
	struct list link, dirty, active, resumed;
	struct heap_node timer;
	uint64_t proto_due;    /* the protocol's deadline; once it is shut, when to look whether the peer has all */
	uint64_t stall_due;    /* NEVER while nothing is queued */
	uint64_t linger_due;   /* NEVER while open */
	uint8_t *in;           /* bytes that the protocol has not consumed; NULL when there are none */
	size_t in_n, in_cap;
	struct tcp_out *out;   /* ring-less queue: out_first .. out_n; NULL when empty */
	uint32_t out_first, out_n, out_cap;
	size_t out_bytes;
	struct blob *chunk;    /* what is copied goes here; NULL when nothing is queued */
	size_t chunk_used;
	_Alignas(16) uint8_t state_of_ops[];
};

/* tcp_conn_uv.c */
void conn_open(struct tcp *t, int fd, const struct stream_ops *ops, void *front, bool accepted);
void conn_die(struct conn *c, enum status why);
void conn_offer(struct conn *c);                  /* bytes kept while paused */
void conn_tick(struct conn *c, uint64_t now_ns);  /* its deadline has come */
void conn_deadline(struct conn *c, uint64_t now_ns); /* asks the protocol again */
void conn_poll(struct conn *c);                   /* polls for what the state needs */
void conn_hang_up(struct conn *c, enum status why);
void conn_ending(struct conn *c, uint64_t now_ns); /* shut, and the process ends: goes when the peer has all */
void conn_set_timer(struct conn *c, uint64_t earliest);
/* tcp_out_uv.c */
extern const struct stream_out_ops tcp_out_ops;
void conn_flush(struct conn *c, uint64_t now_ns);
void conn_out_free(struct conn *c);

/* Text and numbers of an address. */
struct tcp_addr {
	char text[64];         /* "ip:port" */
	uint32_t ip;           /* IPv4, host order; 0 for IPv6 */
	uint16_t port;
};
void tcp_addr(const struct sockaddr_storage *s, struct tcp_addr *ret);
/* A literal address; false when it is none. */
bool tcp_parse(const char *ip, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_n);

void tcp_handle_gone(struct tcp *t);              /* one of 'handles' is closed */

#endif
