/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Event streams as bytes. A stream that its reader does not read costs what is named here, for no more is asked of the engine. */
#include "front/http/api.h"

#define RETRY "retry: 1000\n\n" /* how long a browser waits before it comes back, ms */

void sse_begin(struct api_job *j)
{
	struct http_api *a = j->api;
	struct buf *h = &a->head;

	buf_reset(h);
	buf_str(h, "content-type: text/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n");
	api_cors(a, j->call, h);
	api_count(a, j->route, 200);
	a->n_streams++;
	j->call->ops->stream_begin(j->call, 200, buf_view(h));
	sse_write(j, SLICE_LIT(RETRY));
}

void sse_write(struct api_job *j, struct slice text)
{
	struct piece v = {text, NULL};

	j->call->ops->stream_write(j->call, &v, 1);
}

void sse_end(struct api_job *j)
{
	struct http_call *c = j->call;

	j->call = NULL;
	j->actor.address = (struct slice){NULL, 0};
	c->state = NULL;
	api_due(j, NEVER);
	c->ops->stream_end(c);
}

void sse_fail(struct api_job *j, enum status why)
{
	struct buf *b = api_out(j->api);

	buf_str(b, "event: problem\ndata: ");
	api_problem_json(b, front_statuses[why].http, why, (struct slice){NULL, 0}, j->call->path);
	buf_str(b, "\n\n");
	sse_write(j, buf_view(b));
	sse_end(j);
}

/* ---- What comes, and what there is room for ------------------------------------------------------------------------------------------- */

void sse_flow_init(struct sse_flow *f, struct api_job *j)
{
	*f = (struct sse_flow){.job = j};
	list_init(&f->hungry);
}

void sse_flow_fini(struct sse_flow *f)
{
	list_remove(&f->hungry);
}

uint32_t sse_more(struct sse_flow *f, uint32_t most)
{
	const struct api_job *j = f->job;

	if (j->call == NULL || j->call->unsent >= API_UNSENT_MAX || list_linked(&f->hungry))
		return 0;
	/* As long as nothing is known of their size one is enough. */
	size_t size = f->size == 0 ? API_UNSENT_MAX : f->size, all = (API_UNSENT_MAX - j->call->unsent) / size;
	all = all < 1 ? 1 : all > API_STREAM_CREDIT ? API_STREAM_CREDIT : all;
	if (all <= f->waits_for)
		return 0;
	uint32_t more = (uint32_t)all - f->waits_for;
	more = more < most ? more : most;
	f->waits_for += more;
	return more;
}

bool sse_room(struct sse_flow *f, size_t n)
{
	struct api_job *j = f->job;

	if (n <= API_SMALL)
		return true;
	if (j->call->unsent >= API_UNSENT_MAX)
		return false;
	if (api_room(j, n))
		return true;
	f->hungry_n = n;
	if (!list_linked(&f->hungry))
		list_push(&j->api->hungry, &f->hungry);
	return false;
}

bool sse_came(struct sse_flow *f, size_t n)
{
	f->waits_for--;
	return sse_room(f, n);
}

void http_api_freed(struct http_api *a)
{
	CHECK_OBJ(a, API_MAGIC);
	while (!list_empty(&a->hungry)) {
		struct sse_flow *f = container_of(a->hungry.next, struct sse_flow, hungry);
		struct api_job *j = f->job;
		/* Those behind it wait too, else it would wait for ever. */
		if (j->call != NULL && !api_room(j, f->hungry_n))
			return;
		list_remove(&f->hungry);
		if (j->call != NULL)
			j->ops->writable(j);
		api_tidy(j);
	}
}

/* Large ones are believed at once, small ones after a while. */
void sse_sized(struct sse_flow *f, size_t n)
{
	f->size = n >= f->size ? n : f->size - (f->size - n) / 4;
}
