/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The requests about the KV configuration and about the name server's own settings. */
#include "base/mem.h"
#include "base/obj.h"
#include "namesrv/ns.h"

/* ---- KV ---------------------------------------------------------------------------------------------------------- */

/* Hands the whole configuration to the process for keeping. */
static bool keep(struct namesrv *ns)
{
	struct buf text = {0};
	if (ns->env.kv_changed == NULL)
		return true;
	wire_kv(&text, ns->kv.v, ns->kv.n);
	bool ok = ns->env.kv_changed(ns->env.arg, buf_view(&text));
	buf_fini(&text);
	return ok;
}

static void not_found(struct ns_call *c, struct slice space, struct slice key)
{
	struct buf *b = &c->ns->body;
	buf_str(b, "No config item, Namespace: ");
	buf_slice(b, space);
	if (key.n > 0) {
		buf_str(b, " Key: ");
		buf_slice(b, key);
	}
	ns_answer(c, ANS_QUERY_NOT_FOUND, buf_cstr(b));
}

void ns_serve_kv_put(struct ns_call *c)
{
	struct kv *kv = &c->ns->kv;
	struct slice space = wire_str(&c->args, "namespace"), key = wire_str(&c->args, "key"), old;
	struct slice value = wire_str(&c->args, "value");
	if (!ns_fields_ok(c))
		return;
	bool had = kv_get(kv, space, key, &old);
	char *was = had ? slice_dup(old) : NULL;
	size_t was_n = had ? old.n : 0;
	enum status st = kv_put(kv, space, key, value);
	if (st == ST_OK && !keep(c->ns)) {
		if (had)
			kv_put(kv, space, key, slice_of(was, was_n));
		else
			kv_drop(kv, space, key);
		st = ST_IO;
	}
	mem_free(was);
	ns_answer(c, st == ST_OK ? ANS_SUCCESS : ANS_SYSTEM_ERROR,
	          st == ST_OK ? NULL : st == ST_IO ? "the KV configuration could not be stored" : status_text(st));
}

void ns_serve_kv_get(struct ns_call *c)
{
	struct slice space = wire_str(&c->args, "namespace"), key = wire_str(&c->args, "key"), value;
	if (!ns_fields_ok(c))
		return;
	if (kv_get(&c->ns->kv, space, key, &value))
		ns_answer_field(c, "value", value);
	else
		not_found(c, space, key);
}

void ns_serve_kv_drop(struct ns_call *c)
{
	struct kv *kv = &c->ns->kv;
	struct slice space = wire_str(&c->args, "namespace"), key = wire_str(&c->args, "key"), old;
	if (!ns_fields_ok(c))
		return;
	if (kv_get(kv, space, key, &old)) {
		char *was = slice_dup(old);
		size_t was_n = old.n;
		kv_drop(kv, space, key);
		bool kept = keep(c->ns);
		if (!kept)
			kv_put(kv, space, key, slice_of(was, was_n));
		mem_free(was);
		if (!kept) {
			ns_answer(c, ANS_SYSTEM_ERROR, "the KV configuration could not be stored");
			return;
		}
	}
	ns_answer(c, ANS_SUCCESS, NULL);
}

void ns_serve_kv_list(struct ns_call *c)
{
	const struct kv *kv = &c->ns->kv;
	struct slice space = wire_str(&c->args, "namespace");
	struct wire_table t;
	size_t from, n;
	if (!ns_fields_ok(c))
		return;
	n = kv_space(kv, space, &from);
	if (n == 0) {
		not_found(c, space, slice_of(NULL, 0));
		return;
	}
	wire_table_begin(&t, &c->ns->body);
	for (size_t i = from; i < from + n; i++)
		wire_table_put(&t, kv->v[i].key, kv->v[i].value);
	wire_table_end(&t);
	ns_answer_body(c);
}

/* ---- Settings ---------------------------------------------------------------------------------------------------- */

enum kind { FLAG, MILLIS };
enum { EXPIRE_MIN_MS = 1000 };

/* What may be changed at run time, by the names that the administration tools know. */
static const struct setting {
	const char *name;
	enum kind kind;
	size_t at;
} settings[] = {
	{"orderMessageEnable", FLAG, offsetof(struct namesrv_conf, order_conf)},
	{"returnOrderTopicConfigToBroker", FLAG, offsetof(struct namesrv_conf, order_conf_to_brokers)},
	{"enableAllTopicList", FLAG, offsetof(struct namesrv_conf, topic_list)},
	{"enableTopicList", FLAG, offsetof(struct namesrv_conf, topic_list)},
	{"brokerExpireMillis", MILLIS, offsetof(struct namesrv_conf, expire_ms)},
};

void ns_serve_config_get(struct ns_call *c)
{
	struct buf *b = &c->ns->body;
	buf_fmt(b, "listenPort=%u\n", c->ns->conf.listen_port);
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		const char *p = (const char *)&c->ns->conf + settings[i].at;
		bool flag;
		uint64_t millis;
		buf_str(b, settings[i].name);
		buf_u8(b, '=');
		if (settings[i].kind == FLAG) {
			memcpy(&flag, p, sizeof(flag));
			buf_str(b, flag ? "true" : "false");
		} else {
			memcpy(&millis, p, sizeof(millis));
			buf_u64_dec(b, millis);
		}
		buf_u8(b, '\n');
	}
	ns_answer_body(c);
}

/* A key that says where something lies or listens is never changed over the network, whatever it is called. */
static bool forbidden(struct slice name)
{
	static const char *const parts[] = {"path", "home", "dir", "file", "address", "port", "blacklist", "productenvname"};
	char lower[128];
	size_t n = u64_min(name.n, sizeof(lower) - 1);
	for (size_t i = 0; i < n; i++)
		lower[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
	lower[n] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (strstr(lower, parts[i]) != NULL)
			return true;
	return false;
}

/* Changes a copy of the configuration; NULL when the value is fine. */
static const char *change(struct namesrv_conf *conf, struct slice name, struct slice value)
{
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		char *p = (char *)conf + settings[i].at;
		bool flag;
		uint64_t millis;
		if (!slice_eq_str(name, settings[i].name))
			continue;
		if (settings[i].kind == FLAG) {
			if (!slice_bool(value, &flag))
				return "is neither true nor false";
			memcpy(p, &flag, sizeof(flag));
			return NULL;
		}
		if (!slice_u64(value, &millis) || millis < EXPIRE_MIN_MS || millis > conf->expire_max_ms)
			return "is out of range";
		memcpy(p, &millis, sizeof(millis));
		return NULL;
	}
	return "is not a setting that can be changed";
}

/* All lines or none. */
void ns_serve_config_put(struct ns_call *c)
{
	struct namesrv *ns = c->ns;
	struct namesrv_conf conf = ns->conf;
	struct slice rest = c->cmd->body, name, value;
	while (wire_properties_next(&rest, &name, &value)) {
		const char *why = forbidden(name) ? "cannot be changed" : change(&conf, name, value);
		if (why == NULL)
			continue;
		buf_slice(&ns->body, name);
		buf_u8(&ns->body, ' ');
		buf_str(&ns->body, why);
		ns_answer(c, forbidden(name) ? ANS_NO_PERMISSION : ANS_INVALID_PARAMETER, buf_cstr(&ns->body));
		return;
	}
	ns->conf = conf;
	log_info(ns->env.log, "namesrv", "settings changed peer=%s", c->conn->peer);
	ns_answer(c, ANS_SUCCESS, NULL);
}
