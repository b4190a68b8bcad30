/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What the broker and the lone name server have in common: loop, carrier, log, listeners, signals. */
#ifndef APP_PROCESS_H
#define APP_PROCESS_H

#include "app/settings.h"
#include "namesrv/namesrv.h"
#include "os/host.h"
#include "os/loop_uv.h"
#include "os/tcp.h"

#ifndef GANTRY_VERSION
#define GANTRY_VERSION "0.1.0"
#endif

enum { LISTENERS_MAX = 12, WHY_MAX = 512 };

struct process {
	struct settings *set;
	struct host_log log;
	struct loop loop;
	struct tcp *tcp;
	uv_signal_t term, intr;
	uint64_t began_ns;
	bool stopping;
	void (*stop)(struct process *); /* the first signal has come */
	struct listening {
		const char *name;
		struct tcp_listener *listener; /* NULL: a socket of somebody else's carrier */
		uint16_t port;
	} listening[LISTENERS_MAX];
	unsigned n_listening;
	char kv_path[4096];             /* where the name server keeps its KV configuration */
};

/* 'turn' gets arg. */
void process_init(struct process *p, struct settings *set, uint64_t (*turn)(void *arg, uint64_t now_ns), void *arg);
/* Takes a port on bindAddress; *ret_port is the one it became. False: said on stderr. */
bool process_bind(struct process *p, const char *name, uint16_t port, uint16_t *ret_port);
/* Lets the listener of that name accept. */
bool process_listen(struct process *p, const char *name, const struct stream_ops *ops, void *front);
/* The same for a carrier of somebody else's: the socket is his. */
bool process_bind_socket(struct process *p, const char *name, uint16_t port, int *ret_fd, uint16_t *ret_port);
/* It may accept. */
bool process_listen_socket(const char *name, int fd);
/* Prints the ports and that all is ready. */
void process_ready(struct process *p);
/* Closes what init opened, but the carrier; everything else on the loop is closed or closing. */
void process_fini(struct process *p);

/* The name server of this process, with its KV configuration from the store's folder. NULL: said on stderr. */
struct namesrv *process_namesrv(struct process *p, uint16_t port);

/* Prints "gantry: " and a line on stderr. */
void process_complain(const char *what);

/* Subcommands: their exit status. */
int broker_run(struct settings *set, uint64_t began_ns);
int nameserver_run(struct settings *set, uint64_t began_ns);

#endif
