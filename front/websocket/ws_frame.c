/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Messages as frames. A frame for a tap says nothing that differs from one subscription to the next but the subscription's name, so what was
 * encoded for one is sent to all others of that name: one publisher and a thousand subscribers cost one encoding.
 *
 * The cache is a table by position; a name beside it must be the same. It is bounded in frames and in bytes.
 */
#include "front/websocket/ws.h"

#include "base/mem.h"

#define HEAD "{\"type\":\"message\",\"sub\":"
#define HEAD_N (sizeof(HEAD) - 1)
#define HASH_FACTOR UINT64_C(0x9E3779B97F4A7C15)

static void begin(struct ws *w, const struct ws_sub *s)
{
	buf_reset(&w->out);
	buf_put(&w->out, HEAD, HEAD_N);
	buf_slice(&w->out, s->name);
}

/*
 * The message behind what begin() and its caller wrote. One that is too big for a frame goes without its body: its reader can fetch it
 * elsewhere, and may settle it.
 */
static void finish(struct ws *w, const struct message *m, struct slice topic, uint32_t attempt)
{
	size_t at = w->out.n, max = w->conf->ws_max_message;

	buf_u8(&w->out, ',');
	message_json(&w->out, m, topic, attempt, max);
	buf_u8(&w->out, '}');
	if (w->out.n <= max)
		return;
	struct message bare = *m;
	bare.r.body.n = 0;
	bare.r.sys_flag &= ~SYS_COMPRESSED;
	w->out.n = at;
	ws_put_number(&w->out, "bodyBytes", m->r.body.n);
	buf_str(&w->out, ",\"truncated\":true,");
	message_json(&w->out, &bare, topic, attempt, 0);
	buf_u8(&w->out, '}');
}

/* A frame that is counted as long as it is in memory. */
struct kept {
	struct blob blob;
	struct ws *front;
	uint8_t p[];
};

static void kept_free(struct blob *b)
{
	struct kept *k = container_of(b, struct kept, blob);

	CHECK(k->front->held >= b->n);
	k->front->held -= b->n;
	mem_free(k);
}

static struct blob *keep(struct ws *w, struct slice frame)
{
	struct kept *k = mem_grow(NULL, sizeof(*k) + frame.n);

	k->blob = (struct blob){.free = kept_free, .n = frame.n, .p = k->p};
	atomic_init(&k->blob.refs, 1);
	k->front = w;
	memcpy(k->p, frame.p, frame.n);
	w->held += frame.n;
	return &k->blob;
}

struct piece ws_frame_own(struct ws *w, const struct ws_sub *s, const struct message *m, const struct delivery *d, uint64_t seq)
{
	struct ws_cache *c = &w->cache;

	begin(w, s);
	ws_put_number(&w->out, "seq", seq);
	ws_put_number(&w->out, "lease", d->lease_ms < 0 ? 0 : (uint64_t)d->lease_ms);
	finish(w, m, d->topic, d->attempt);
	w->n.encoded++;
	blob_drop(c->own);
	c->own = NULL;
	if (w->out.n <= WS_SMALL)
		return (struct piece){buf_view(&w->out), NULL};
	c->own = keep(w, buf_view(&w->out));
	c->used_ns = w->now_ns;
	return (struct piece){slice_of(c->own->p, c->own->n), c->own};
}

static void forget(struct ws_cache *c, struct ws_cached *e)
{
	if (e->frame == NULL)
		return;
	c->bytes -= e->frame->n;
	blob_drop(e->frame);
	e->frame = NULL;
}

void ws_cache_clear(struct ws *w)
{
	for (size_t i = 0; i < WS_CACHE_SLOTS; i++)
		forget(&w->cache, &w->cache.v[i]);
	blob_drop(w->cache.own);
	w->cache.own = NULL;
	w->cache.used_ns = 0;
}

uint64_t ws_cache_turn(struct ws *w, uint64_t now_ns)
{
	if (w->cache.used_ns == 0)
		return NEVER;
	if (now_ns >= w->cache.used_ns + WS_CACHE_NS) {
		ws_cache_clear(w);
		return NEVER;
	}
	return w->cache.used_ns + WS_CACHE_NS;
}

struct piece ws_frame_shared(struct ws *w, const struct ws_sub *s, const struct message *m, struct slice topic)
{
	struct ws_cache *c = &w->cache;
	struct ws_cached *e = &c->v[(m->r.position * HASH_FACTOR ^ slice_hash(s->name)) % WS_CACHE_SLOTS];

	c->used_ns = w->now_ns;
	if (e->frame != NULL && e->position == m->r.position && e->name_n == s->name.n &&
	    memcmp(e->frame->p + HEAD_N, s->name.p, s->name.n) == 0)
		return (struct piece){slice_of(e->frame->p, e->frame->n), e->frame};
	begin(w, s);
	finish(w, m, topic, 0);
	w->n.encoded++;
	forget(c, e);
	while (c->bytes > 0 && c->bytes + w->out.n > WS_CACHE_BYTES)
		forget(c, &c->v[c->hand++ % WS_CACHE_SLOTS]);
	*e = (struct ws_cached){.position = m->r.position, .frame = keep(w, buf_view(&w->out)), .name_n = (uint32_t)s->name.n};
	c->bytes += e->frame->n;
	return (struct piece){slice_of(e->frame->p, e->frame->n), e->frame};
}
