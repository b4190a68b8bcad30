/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The route table: brokers by name, topics by name, and one heap for the addresses that can expire. */
#include "namesrv/routes.h"

#include "base/mem.h"
#include "base/obj.h"
#include "base/status.h"

static struct route_addr *addr_of(struct list *l) { return container_of(l, struct route_addr, link); }
static struct route_broker *broker_of(struct list *l) { return container_of(l, struct route_broker, link); }
static struct route_topic *topic_of(struct list *l) { return container_of(l, struct route_topic, link); }

void routes_init(struct routes *r, uint32_t max_brokers, uint32_t max_topics, uint32_t max_queues)
{
	*r = (struct routes){.max_brokers = max_brokers, .max_topics = max_topics, .max_queues = max_queues};
	list_init(&r->brokers);
	list_init(&r->topics);
}

bool route_text_ok(struct slice s, size_t max)
{
	if (s.n == 0 || s.n > max)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] == 0x7F || s.p[i] == '"' || s.p[i] == '\\')
			return false;
	return true;
}

struct route_broker *routes_broker(const struct routes *r, struct slice name)
{
	return map_get(&r->broker_names, name);
}

struct route_topic *routes_topic(const struct routes *r, struct slice name)
{
	return map_get(&r->topic_names, name);
}

/* ---- Dropping ---------------------------------------------------------------------------------------------------- */

static void topic_free(struct routes *r, struct route_topic *t)
{
	CHECK(t->n == 0);
	map_drop(&r->topic_names, slice_str(t->name));
	list_remove(&t->link);
	mem_free(t->name);
	mem_free(t->v);
	mem_free(t);
}

/* Takes one broker's queues out of a topic; the topic must be looked at afterwards, it may be empty. */
static void queue_drop(struct routes *r, struct route_topic *t, unsigned i)
{
	CHECK(i < t->n && t->v[i].broker->n_topics > 0);
	t->v[i].broker->n_topics--;
	r->n_queues--;
	memmove(&t->v[i], &t->v[i + 1], (t->n - i - 1) * sizeof(*t->v));
	t->n--;
}

static void addr_free(struct routes *r, struct route_addr *a)
{
	heap_drop(&r->expiry, &a->expiry);
	list_remove(&a->link);
	a->broker->n_addrs--;
	mem_free(a->addr);
	mem_free(a->ha_addr);
	mem_free(a);
}

/* A broker without addresses leaves with its topics. */
static void broker_free(struct routes *r, struct route_broker *b)
{
	CHECK(list_empty(&b->addrs) && b->n_addrs == 0);
	LIST_EACH_SAFE(&r->topics, n, next) {
		struct route_topic *t = topic_of(n);
		if (b->n_topics == 0)
			break;
		for (unsigned i = t->n; i-- > 0;)
			if (t->v[i].broker == b)
				queue_drop(r, t, i);
		if (t->n == 0)
			topic_free(r, t);
	}
	CHECK(b->n_topics == 0);
	map_drop(&r->broker_names, slice_str(b->name));
	list_remove(&b->link);
	mem_free(b->name);
	mem_free(b->cluster);
	mem_free(b);
}

static void addr_drop(struct routes *r, struct route_addr *a)
{
	struct route_broker *b = a->broker;
	addr_free(r, a);
	if (list_empty(&b->addrs))
		broker_free(r, b);
}

void routes_fini(struct routes *r)
{
	while (!list_empty(&r->topics)) {
		struct route_topic *t = topic_of(r->topics.next);
		while (t->n > 0)
			queue_drop(r, t, t->n - 1);
		topic_free(r, t);
	}
	while (!list_empty(&r->brokers)) {
		struct route_broker *b = broker_of(r->brokers.next);
		while (!list_empty(&b->addrs))
			addr_free(r, addr_of(b->addrs.next));
		broker_free(r, b);
	}
	map_fini(&r->broker_names);
	map_fini(&r->topic_names);
	heap_fini(&r->expiry);
}

/* ---- Brokers ----------------------------------------------------------------------------------------------------- */

static void set_text(char **to, struct slice s)
{
	if (*to != NULL && slice_eq_str(s, *to))
		return;
	mem_free(*to);
	*to = slice_dup(s);
}

static struct route_addr *addr_by_id(const struct route_broker *b, int64_t id)
{
	LIST_EACH((struct list *)(uintptr_t)&b->addrs, n) {
		struct route_addr *a = addr_of(n);
		if (a->id == id)
			return a;
	}
	return NULL;
}

static struct route_addr *addr_by_text(const struct route_broker *b, struct slice addr)
{
	LIST_EACH((struct list *)(uintptr_t)&b->addrs, n) {
		struct route_addr *a = addr_of(n);
		if (slice_eq_str(addr, a->addr))
			return a;
	}
	return NULL;
}

const struct route_addr *routes_find_addr(const struct routes *r, struct slice broker, struct slice addr)
{
	const struct route_broker *b = routes_broker(r, broker);
	return b == NULL ? NULL : addr_by_text(b, addr);
}

static struct route_broker *broker_new(struct routes *r, struct slice name)
{
	struct route_broker *b = mem_new(sizeof(*b));
	b->name = slice_dup(name);
	list_init(&b->addrs);
	list_push(&r->brokers, &b->link);
	map_put(&r->broker_names, slice_str(b->name), b);
	return b;
}

static struct route_addr *addr_new(struct route_broker *b, int64_t id)
{
	struct route_addr *a = mem_new(sizeof(*a));
	struct list *before = &b->addrs;
	LIST_EACH(&b->addrs, n) {
		if (addr_of(n)->id > id) {
			before = n;
			break;
		}
	}
	a->broker = b;
	a->id = id;
	list_insert_before(before, &a->link);
	b->n_addrs++;
	return a;
}

static void alive(struct routes *r, struct route_addr *a, uint64_t now)
{
	if (a->timeout_ns == NEVER)
		heap_drop(&r->expiry, &a->expiry);
	else
		heap_put(&r->expiry, &a->expiry, now + a->timeout_ns);
}

enum status routes_register(struct routes *r, const struct route_register *v, uint64_t now)
{
	enum status st = ST_OK;
	if (!route_text_ok(v->cluster, ROUTE_NAME_MAX) || !route_text_ok(v->broker, ROUTE_NAME_MAX) ||
	    !route_text_ok(v->addr, ROUTE_ADDR_MAX) || v->ha_addr.n > ROUTE_ADDR_MAX || v->id < 0)
		return ST_BAD_ARG;
	struct route_broker *b = routes_broker(r, v->broker);
	struct route_addr *a = b == NULL ? NULL : addr_by_id(b, v->id);
	if (a == NULL && v->topics->n == 1)
		return ST_NO_MEMBER;
	if (a == NULL && (b == NULL ? r->broker_names.count >= r->max_brokers : b->n_addrs >= ROUTE_ADDRS_MAX))
		return ST_BUSY;
	if (b == NULL)
		b = broker_new(r, v->broker);
	set_text(&b->cluster, v->cluster);
	b->acting_master = v->acting_master;

	/* One address has one id: a slave that became master leaves its old one. */
	struct route_addr *same = addr_by_text(b, v->addr);
	if (same != NULL && same != a)
		addr_free(r, same);
	if (a == NULL)
		a = addr_new(b, v->id);
	set_text(&a->addr, v->addr);
	set_text(&a->ha_addr, v->ha_addr);
	a->timeout_ns = v->timeout_ns;
	a->version = v->topics->version;
	a->owner = v->owner;
	alive(r, a, now);

	for (size_t i = 0; v->id == 0 && i < v->topics->n; i++)
		if (!routes_topic_put(r, b, &v->topics->v[i]))
			st = ST_BUSY;
	return st;
}

void routes_master(const struct routes *r, struct slice broker, struct slice *ret_addr, struct slice *ret_ha_addr)
{
	const struct route_broker *b = routes_broker(r, broker);
	const struct route_addr *a = b == NULL ? NULL : addr_by_id(b, 0);
	*ret_addr = slice_str(a == NULL ? "" : a->addr);
	*ret_ha_addr = slice_str(a == NULL ? "" : a->ha_addr);
}

void routes_unregister(struct routes *r, struct slice broker, int64_t id, struct slice addr)
{
	struct route_broker *b = routes_broker(r, broker);
	struct route_addr *a = b == NULL ? NULL : addr_by_id(b, id);
	if (a != NULL && slice_eq_str(addr, a->addr))
		addr_drop(r, a);
}

void routes_owner_gone(struct routes *r, const void *owner, void (*gone)(void *arg, const struct route_addr *), void *arg)
{
	CHECK(owner != NULL);
	LIST_EACH_SAFE(&r->brokers, n, next) {
		struct route_broker *b = broker_of(n);
		LIST_EACH_SAFE(&b->addrs, m, after) {
			struct route_addr *a = addr_of(m);
			if (a->owner != owner)
				continue;
			gone(arg, a);
			addr_free(r, a);
		}
		if (list_empty(&b->addrs))
			broker_free(r, b);
	}
}

bool routes_touch(struct routes *r, struct slice broker, struct slice addr, uint64_t now)
{
	struct route_broker *b = routes_broker(r, broker);
	struct route_addr *a = b == NULL ? NULL : addr_by_text(b, addr);
	if (a == NULL)
		return false;
	alive(r, a, now);
	return true;
}

uint64_t routes_turn(struct routes *r, uint64_t now, void (*gone)(void *arg, const struct route_addr *), void *arg)
{
	for (;;) {
		struct heap_node *n = heap_first(&r->expiry);
		if (n == NULL)
			return NEVER;
		if (n->due > now)
			return n->due;
		struct route_addr *a = container_of(n, struct route_addr, expiry);
		gone(arg, a);
		addr_drop(r, a);
	}
}

uint32_t routes_write_perm(struct routes *r, struct slice broker, bool writable)
{
	struct route_broker *b = routes_broker(r, broker);
	if (b == NULL)
		return 0;
	b->wiped = !writable;
	return b->n_topics;
}

/* ---- Topics ------------------------------------------------------------------------------------------------------ */

static struct route_topic *topic_new(struct routes *r, struct slice name)
{
	struct route_topic *t = mem_new(sizeof(*t));
	t->name = slice_dup(name);
	list_push(&r->topics, &t->link);
	map_put(&r->topic_names, slice_str(t->name), t);
	return t;
}

static struct route_queue *queue_new(struct routes *r, struct route_topic *t, struct route_broker *b)
{
	if (t->n == t->cap) {
		t->cap = t->cap == 0 ? 1 : t->cap * 2;
		t->v = mem_grow(t->v, t->cap * sizeof(*t->v));
	}
	t->v[t->n].broker = b;
	b->n_topics++;
	r->n_queues++;
	return &t->v[t->n++];
}

bool routes_topic_put(struct routes *r, struct route_broker *b, const struct wire_topic *conf)
{
	struct route_topic *t = routes_topic(r, conf->name);
	struct route_queue *q = NULL;
	for (unsigned i = 0; t != NULL && i < t->n; i++)
		if (t->v[i].broker == b)
			q = &t->v[i];
	if (q == NULL) {
		if (!route_text_ok(conf->name, ROUTE_NAME_MAX) || r->n_queues >= r->max_queues ||
		    (t == NULL && r->topic_names.count >= r->max_topics))
			return false;
		if (t == NULL)
			t = topic_new(r, conf->name);
		q = queue_new(r, t, b);
	}
	q->read_queues = conf->read_queues;
	q->write_queues = conf->write_queues;
	q->perm = conf->perm;
	q->sys_flag = conf->sys_flag;
	return true;
}

bool routes_topic_drop(struct routes *r, struct slice topic, struct slice broker, struct slice cluster)
{
	struct route_topic *t = routes_topic(r, topic);
	bool any = false;
	if (t == NULL)
		return false;
	for (unsigned i = t->n; i-- > 0;) {
		const struct route_broker *b = t->v[i].broker;
		if ((broker.n > 0 && !slice_eq_str(broker, b->name)) || (cluster.n > 0 && !slice_eq_str(cluster, b->cluster)))
			continue;
		queue_drop(r, t, i);
		any = true;
	}
	if (t->n == 0)
		topic_free(r, t);
	return any;
}
