/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* `gantry namesrv`: the name server in a process of its own. */
#include <stdio.h>
#include <stdlib.h>

#include "app/process.h"
#include "base/mem.h"
#include "base/obj.h"

struct nameserver {
	struct process p;
	struct namesrv *ns;
};

static uint64_t turn(void *arg, uint64_t now_ns)
{
	struct nameserver *s = arg;
	uint64_t due;
	struct tcp_stats st;

	if (s->ns == NULL)
		return NEVER;
	tcp_turn(s->p.tcp, now_ns);
	due = namesrv_turn(s->ns);
	due = u64_min(due, tcp_flush(s->p.tcp, now_ns));
	tcp_stats(s->p.tcp, &st);
	if (s->p.stopping && st.conns == 0)
		loop_stop(&s->p.loop);
	return due;
}

static void stop(struct process *p)
{
	tcp_unlisten(p->tcp);
	tcp_hang_up(p->tcp);
}

int nameserver_run(struct settings *set, uint64_t began_ns)
{
	struct nameserver *s = mem_new(sizeof(*s));
	uint16_t port = 0;
	int rc = EXIT_FAILURE;

	process_init(&s->p, set, turn, s);
	s->p.began_ns = began_ns;
	s->p.stop = stop;
	if (process_bind(&s->p, "namesrv", (uint16_t)set->n[SET_namesrvPort], &port) &&
	    (s->ns = process_namesrv(&s->p, port)) != NULL && process_listen(&s->p, "namesrv", &namesrv_stream, s->ns)) {
		process_ready(&s->p);
		loop_run(&s->p.loop);
		rc = EXIT_SUCCESS;
	}
	tcp_close(s->p.tcp);
	if (s->ns != NULL)
		namesrv_close(s->ns);
	s->ns = NULL;
	process_fini(&s->p);
	mem_free(s);
	return rc;
}
