/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Reading and checking settings. */
#include "app/settings.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/obj.h"
#include "engine/engine.h"

enum type { BOOL, NUMBER, SIZE, TIME, PORT, TEXT, NAME, IP, FLUSH, LEVEL, DELAYS };
enum origin { APACHE, OWN };

struct row {
	const char *key, *def, *text;
	enum type type;
	enum origin origin;
	uint64_t min, max;
};
static const struct row rows[SET_COUNT] = {
#define X(k, ty, d, lo, hi, o, t) [SET_##k] = {.key = #k, .def = d, .text = t, .type = ty, .origin = o, .min = lo, .max = hi},
#include "app/settings.tbl"
#undef X
};

enum why {
#define WHY(name, text) WHY_##name,
#include "app/apache.tbl"
	WHY_COUNT
};
static const char *const whys[] = {
#define WHY(name, text) text,
#include "app/apache.tbl"
};
static const struct {
	const char *key;
	enum why why;
} ignored[] = {
#define IGNORED(k, w) {#k, WHY_##w},
#include "app/apache.tbl"
};
static const struct {
	const char *key, *value, *why;
} refused[] = {
#define REFUSED(k, v, w) {#k, v, w},
#include "app/apache.tbl"
};

enum { MESSAGE_EXTRA = 64 << 10 }; /* what a front's form of a message has besides its body, at most */
enum { NAME_MAX_BYTES = 115, KEY_MAX = 64, SUGGEST_DISTANCE = 2 };

/* ---- Values -------------------------------------------------------------------------------------------------------------- */

struct unit {
	const char *name;
	uint64_t factor;
};
static const struct unit size_units[] = {{"", 1}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}};
static const struct unit time_units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
static const struct unit no_units[] = {{"", 1}};

/* Digits and one of the units behind them. */
static bool number(struct slice v, const struct unit *units, size_t n_units, uint64_t *ret)
{
	size_t digits = 0;
	uint64_t n;

	while (digits < v.n && v.p[digits] >= '0' && v.p[digits] <= '9')
		digits++;
	if (digits == 0 || !slice_u64(slice_of(v.p, digits), &n))
		return false;
	for (size_t i = 0; i < n_units; i++) {
		if (!slice_eq_str(slice_skip(v, digits), units[i].name))
			continue;
		return !__builtin_mul_overflow(n, units[i].factor, ret);
	}
	return false;
}

static bool legal_name(struct slice v)
{
	if (v.n == 0 || v.n > NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i < v.n; i++) {
		uint8_t c = v.p[i];
		bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '%' ||
			    c == '|';
		if (!fine)
			return false;
	}
	return true;
}

static bool legal_ip(const char *ip)
{
	struct in6_addr a;

	return inet_pton(AF_INET, ip, &a) == 1 || inet_pton(AF_INET6, ip, &a) == 1;
}

/* Exactly 18 delays: messages name them by number, and clients know 18. */
static bool delays(struct slice v, uint32_t *ret)
{
	struct slice word;
	size_t n = 0;

	while (slice_split(&v, ' ', &word)) {
		uint64_t ms;
		if (word.n == 0)
			continue;
		if (n == DELAY_LEVELS_MAX || !number(word, time_units + 2, ARRAY_LEN(time_units) - 2, &ms) || ms == 0 || ms > UINT32_MAX)
			return false;
		ret[n++] = (uint32_t)ms;
	}
	return n == DELAY_LEVELS_MAX;
}

static bool word_of(struct slice v, const char *const *words, size_t n, uint64_t *ret)
{
	for (size_t i = 0; i < n; i++)
		if (slice_eq_str(v, words[i])) {
			*ret = i;
			return true;
		}
	return false;
}

static const char *const flush_words[] = {[FLUSH_SYNC] = "SYNC_FLUSH", [FLUSH_ASYNC] = "ASYNC_FLUSH"};
static const char *const level_words[] = {[LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_TRACE] = "trace"};

/* What a value of the type must look like. */
static const char *expected(enum type t)
{
	static const char *const texts[] = {
		[BOOL] = "true or false", [NUMBER] = "a number", [SIZE] = "a size such as 65536, 64k, 64m or 1g",
		[TIME] = "a time such as 500, 500ms, 30s, 5m, 2h or 3d", [PORT] = "a port", [TEXT] = "a text",
		[NAME] = "1 to 115 letters, digits, '_', '-', '%' or '|'", [IP] = "an IP address", [FLUSH] = "SYNC_FLUSH or ASYNC_FLUSH",
		[LEVEL] = "error, warn, info or trace", [DELAYS] = "18 delays such as \"1s 5s 10s ...\" with s, m, h or d"};

	return texts[t];
}

/* Puts a value where it belongs; false when it is not of its type. An empty one is "unset", where that may be. */
static bool take(struct settings *s, enum setting k, struct slice v)
{
	const struct row *r = &rows[k];
	bool fine = true, b;
	uint64_t n = 0;

	switch (r->type) {
	case BOOL:
		fine = slice_bool(v, &b);
		n = fine && b;
		break;
	case NUMBER:
	case PORT:
		fine = number(v, no_units, 1, &n);
		break;
	case SIZE:
		fine = (v.n == 0 && r->def[0] == '\0') || number(v, size_units, ARRAY_LEN(size_units), &n);
		break;
	case TIME:
		fine = number(v, time_units, ARRAY_LEN(time_units), &n);
		break;
	case FLUSH:
		fine = word_of(v, flush_words, ARRAY_LEN(flush_words), &n);
		break;
	case LEVEL:
		fine = word_of(v, level_words, ARRAY_LEN(level_words), &n);
		break;
	case NAME:
		fine = legal_name(v);
		break;
	case DELAYS:
		fine = delays(v, s->delay_ms);
		break;
	case IP:
	case TEXT:
		fine = memchr(v.p == NULL ? (const void *)"" : v.p, '\0', v.n) == NULL;
		break;
	}
	if (!fine)
		return false;
	mem_free(s->text[k]);
	s->text[k] = slice_dup(v);
	if (r->type == IP && v.n > 0 && !legal_ip(s->text[k]))
		return false;
	s->n[k] = n;
	return true;
}

/* ---- Keys ------------------------------------------------------------------------------------------------------------------ */

static bool ranged(enum type t) { return t == NUMBER || t == SIZE || t == TIME || t == PORT; }

/* Edits that make b of a; letters that differ in case only count nothing. More than the limit is the limit plus one. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[KEY_MAX + 1];
	size_t na = strlen(a), nb = strlen(b);

	if (na > KEY_MAX || nb > KEY_MAX)
		return SUGGEST_DISTANCE + 1;
	for (size_t j = 0; j <= nb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned change = diagonal + ((a[i - 1] | 32) != (b[j - 1] | 32));
			unsigned edit = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
			diagonal = row[j];
			row[j] = change < edit ? change : edit;
		}
	}
	return row[nb];
}

/* The known key that comes nearest, if one is near. */
static const char *suggest(const char *key)
{
	unsigned best = SUGGEST_DISTANCE + 1;
	const char *found = NULL;

	for (size_t i = 0; i < SET_COUNT + ARRAY_LEN(refused) + ARRAY_LEN(ignored); i++) {
		const char *k = i < SET_COUNT                        ? rows[i].key
				: i < SET_COUNT + ARRAY_LEN(refused) ? refused[i - SET_COUNT].key
								     : ignored[i - SET_COUNT - ARRAY_LEN(refused)].key;
		unsigned d = distance(key, k);
		if (d < best) {
			best = d;
			found = k;
		}
	}
	return found;
}

static void set_known(struct settings *s, enum setting k, const char *where, struct slice value)
{
	const struct row *r = &rows[k];

	if (!take(s, k, value)) {
		buf_fmt(&s->problems, "%s: %s=%.*s: expected %s\n", where, r->key, (int)value.n, (const char *)value.p, expected(r->type));
		return;
	}
	if (ranged(r->type) && value.n > 0 && (s->n[k] < r->min || s->n[k] > r->max)) {
		buf_fmt(&s->problems, "%s: %s=%.*s: must be between %llu and %llu\n", where, r->key, (int)value.n, (const char *)value.p,
			(unsigned long long)r->min, (unsigned long long)r->max);
		return;
	}
	s->given[k] = true;
	mem_free(s->where[k]);
	s->where[k] = slice_dup(slice_str(where));
}

static void set_key(struct settings *s, const char *where, const char *key, struct slice value)
{
	for (size_t i = 0; i < SET_COUNT; i++)
		if (strcmp(rows[i].key, key) == 0) {
			set_known(s, (enum setting)i, where, value);
			return;
		}
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		if (strcmp(refused[i].key, key) != 0)
			continue;
		if (!slice_eq_str(value, refused[i].value))
			buf_fmt(&s->problems, "%s: %s=%.*s is refused: %s\n", where, key, (int)value.n, (const char *)value.p, refused[i].why);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
		if (strcmp(ignored[i].key, key) == 0) {
			buf_fmt(&s->warnings, "%s: %s is ignored: %s\n", where, key, whys[ignored[i].why]);
			return;
		}
	const char *near = suggest(key);
	buf_fmt(&s->problems, "%s: unknown key %s%s%s%s\n", where, key, near != NULL ? " (did you mean " : "", near != NULL ? near : "",
		near != NULL ? "?)" : "");
}

void settings_assign(struct settings *s, const char *where, struct slice assignment)
{
	struct slice key, value = assignment;
	char *k;

	if (memchr(assignment.p == NULL ? (const void *)"" : assignment.p, '=', assignment.n) == NULL) {
		buf_fmt(&s->problems, "%s: \"%.*s\" is not key=value\n", where, (int)assignment.n, (const char *)assignment.p);
		return;
	}
	slice_split(&value, '=', &key);
	k = slice_dup(slice_trim(key));
	set_key(s, where, k, slice_trim(value));
	mem_free(k);
}

void settings_file(struct settings *s, const char *name, struct slice content)
{
	struct slice line;
	char where[512];

	if (slice_starts(content, SLICE_LIT("\xEF\xBB\xBF")))
		content = slice_skip(content, 3);
	for (unsigned no = 1; slice_split(&content, '\n', &line); no++) {
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		line = slice_trim(line);
		if (line.n == 0 || line.p[0] == '#' || line.p[0] == '!')
			continue;
		struct buf b = {.max = sizeof(where) - 1};
		buf_fmt(&b, "%s:%u", name, no);
		snprintf(where, sizeof(where), "%s", buf_cstr(&b));
		buf_fini(&b);
		if (line.p[line.n - 1] == '\\')
			buf_fmt(&s->problems, "%s: a value must stand on one line\n", where);
		else
			settings_assign(s, where, line);
	}
}

void settings_init(struct settings *s)
{
	*s = (struct settings){.given = {false}};
	for (size_t i = 0; i < SET_COUNT; i++)
		CHECK(take(s, (enum setting)i, slice_str(rows[i].def)));
}

void settings_fini(struct settings *s)
{
	for (size_t i = 0; i < SET_COUNT; i++) {
		mem_free(s->text[i]);
		mem_free(s->where[i]);
	}
	buf_fini(&s->problems);
	buf_fini(&s->warnings);
}

/* ---- Together ----------------------------------------------------------------------------------------------------------------- */

bool settings_loopback(const char *ip) { return strncmp(ip, "127.", 4) == 0 || strcmp(ip, "::1") == 0; }

bool settings_any_address(const char *ip) { return strcmp(ip, "0.0.0.0") == 0 || strcmp(ip, "::") == 0; }

static const char *where_of(const struct settings *s, enum setting k) { return s->where[k] == NULL ? "default" : s->where[k]; }

bool settings_https(const struct settings *s) { return s->n[SET_httpEnable] != 0 && s->text[SET_tlsCertPath][0] != '\0'; }

/* Two listeners of one process on one port: the system would say so only after the store is open. */
static void check_ports(struct settings *s)
{
	struct {
		enum setting key;
		bool used;
		uint64_t below;
	} v[] = {{SET_listenPort, true, 0}, {SET_listenPort, s->n[SET_listenPort] > 2, 2}, {SET_namesrvPort, s->n[SET_namesrvEnable] != 0, 0},
		 {SET_httpPort, s->n[SET_httpEnable] != 0, 0}, {SET_httpsPort, settings_https(s), 0}, {SET_mqttPort, s->n[SET_mqttEnable] != 0, 0},
		 {SET_websocketPort, s->n[SET_websocketEnable] != 0, 0}};

	for (size_t i = 1; i < ARRAY_LEN(v); i++)
		for (size_t k = 0; k < i; k++) {
			uint64_t port = s->n[v[i].key] - v[i].below;
			if (!v[i].used || !v[k].used || port == 0 || port != s->n[v[k].key] - v[k].below)
				continue;
			buf_fmt(&s->problems, "%s: %s: port %llu is taken by %s%s\n", where_of(s, v[i].key), rows[v[i].key].key,
				(unsigned long long)port, rows[v[k].key].key, v[k].below != 0 ? ", as the second port of the broker" : "");
		}
}

/* RocketMQ's files know nothing of our limits: one that nobody set follows maxMessageSize, one that somebody set is his decision. */
static void check_at_least(struct settings *s, enum setting k, uint64_t least, const char *what)
{
	if (!s->given[k])
		s->n[k] = u64_max(s->n[k], least);
	else if (s->n[k] < least)
		buf_fmt(&s->problems, "%s: %s=%llu: must be at least %llu to hold %s\n", where_of(s, k), rows[k].key, (unsigned long long)s->n[k],
			(unsigned long long)least, what);
}

/* Who mistypes a list of hosts or origins would learn of it from a browser that is refused. */
static void check_list(struct settings *s, enum setting k, bool origins)
{
	struct slice rest = slice_str(s->text[k]), one;

	while (slice_split(&rest, ',', &one)) {
		bool scheme = slice_starts(one = slice_trim(one), SLICE_LIT("http://")) || slice_starts(one, SLICE_LIT("https://"));
		if (one.n > 0 && !slice_eq_str(one, "*") && (origins ? !scheme : memchr(one.p, '/', one.n) != NULL))
			buf_fmt(&s->problems, "%s: %s: \"%.*s\" is not %s\n", where_of(s, k), rows[k].key, (int)one.n, (const char *)one.p,
				origins ? "an origin such as https://app.example, or *" : "the name of a host, or *");
	}
}

static void check_fronts(struct settings *s)
{
	uint64_t base64 = (s->n[SET_maxMessageSize] + 2) / 3 * 4 + MESSAGE_EXTRA;

	if ((s->text[SET_tlsCertPath][0] != '\0') != (s->text[SET_tlsKeyPath][0] != '\0'))
		buf_fmt(&s->problems, "%s: tlsCertPath and tlsKeyPath must both be set, or neither\n",
			where_of(s, s->text[SET_tlsCertPath][0] != '\0' ? SET_tlsCertPath : SET_tlsKeyPath));
	check_list(s, SET_allowedHosts, false);
	check_list(s, SET_allowedOrigins, true);
	check_ports(s);
	if (s->n[SET_httpEnable] != 0)
		check_at_least(s, SET_httpMaxBody, base64, "a message of maxMessageSize in base64");
	if (s->n[SET_websocketEnable] != 0)
		check_at_least(s, SET_websocketMaxMessage, base64, "a message of maxMessageSize in base64");
	if (s->n[SET_mqttEnable] != 0)
		check_at_least(s, SET_mqttMaxPacket, s->n[SET_maxMessageSize] + MESSAGE_EXTRA, "a message of maxMessageSize");
}

void settings_check(struct settings *s)
{
	const char *bind = s->text[SET_bindAddress], *ip1 = s->text[SET_brokerIP1];

	if (bind[0] == '\0')
		buf_fmt(&s->problems, "%s: bindAddress must be an IP address\n", where_of(s, SET_bindAddress));
	else if (!settings_loopback(bind) && s->n[SET_allowInsecureListen] == 0)
		buf_fmt(&s->problems,
			"%s: bindAddress=%s: anybody who reaches this address could read and write everything, since there is no access control in "
			"this build; say allowInsecureListen=true if that is what you want\n",
			where_of(s, SET_bindAddress), bind);
	if (ip1[0] != '\0' && settings_any_address(ip1))
		buf_fmt(&s->problems, "%s: brokerIP1=%s: clients cannot connect to it\n", where_of(s, SET_brokerIP1), ip1);
	else if (ip1[0] != '\0' && settings_loopback(bind) && !settings_loopback(ip1))
		buf_fmt(&s->problems, "%s: brokerIP1=%s: clients would be sent there, but this broker listens on %s only; set bindAddress too\n",
			where_of(s, SET_brokerIP1), ip1, bind);
	if (ip1[0] != '\0' && strchr(ip1, ':') != NULL)
		buf_fmt(&s->problems, "%s: brokerIP1=%s: must be IPv4, as message ids hold four bytes\n", where_of(s, SET_brokerIP1), ip1);
	if (s->n[SET_listenPort] != 0 && s->n[SET_listenPort] <= 2)
		buf_fmt(&s->problems, "%s: listenPort=%llu: there is no port two below it\n", where_of(s, SET_listenPort),
			(unsigned long long)s->n[SET_listenPort]);
	if (s->n[SET_maxFrame] < s->n[SET_maxMessageSize] + s->n[SET_maxHeader] + 4)
		buf_fmt(&s->problems, "%s: maxFrame=%llu: must hold maxMessageSize and maxHeader\n", where_of(s, SET_maxFrame),
			(unsigned long long)s->n[SET_maxFrame]);
	if (s->n[SET_mappedFileSizeCommitLog] % s->n[SET_blockBytes] != 0 || (s->n[SET_blockBytes] & (s->n[SET_blockBytes] - 1)) != 0)
		buf_fmt(&s->problems, "%s: mappedFileSizeCommitLog must be a multiple of blockBytes, and that a power of two\n",
			where_of(s, s->given[SET_blockBytes] ? SET_blockBytes : SET_mappedFileSizeCommitLog));
	if (s->text[SET_storePathRootDir][0] == '\0')
		buf_fmt(&s->problems, "%s: storePathRootDir must name a folder\n", where_of(s, SET_storePathRootDir));
	check_fronts(s);
}

void settings_for_namesrv(struct settings *s)
{
	if (s->given[SET_listenPort] && !s->given[SET_namesrvPort])
		s->n[SET_namesrvPort] = s->n[SET_listenPort];
	if (!s->given[SET_storePathRootDir]) {
		mem_free(s->text[SET_storePathRootDir]);
		s->text[SET_storePathRootDir] = slice_dup(SLICE_LIT("./data-namesrv"));
	}
	s->n[SET_listenPort] = s->n[SET_httpEnable] = s->n[SET_mqttEnable] = s->n[SET_websocketEnable] = 0;
}

static void text_value(const struct settings *s, enum setting k, struct buf *out)
{
	switch (rows[k].type) {
	case BOOL:
		buf_str(out, s->n[k] != 0 ? "true" : "false");
		break;
	case NUMBER:
	case SIZE:
	case TIME:
	case PORT:
		buf_u64_dec(out, s->n[k]);
		break;
	default:
		buf_str(out, s->text[k]);
		break;
	}
}

void settings_text(const struct settings *s, struct buf *out, const enum setting *without, size_t n_without)
{
	for (size_t i = 0; i < SET_COUNT; i++) {
		bool left_out = s->text[i][0] == '\0';
		for (size_t k = 0; k < n_without; k++)
			left_out |= without[k] == i;
		if (left_out)
			continue;
		buf_fmt(out, "%s=", rows[i].key);
		text_value(s, (enum setting)i, out);
		buf_u8(out, '\n');
	}
}

/* ---- Help ---------------------------------------------------------------------------------------------------------------------- */

static void help_row(struct buf *out, const struct row *r, bool markdown)
{
	static const char *const origins[] = {[APACHE] = "RocketMQ", [OWN] = "Gantry"};

	if (markdown)
		buf_fmt(out, "| `%s` | %s%s%s | %s | %s |\n", r->key, r->def[0] ? "`" : "", r->def[0] ? r->def : "unset", r->def[0] ? "`" : "",
			origins[r->origin], r->text);
	else
		buf_fmt(out, "%s = %s\n        %s\n", r->key, r->def[0] ? r->def : "(unset)", r->text);
}

void settings_help(struct buf *out, bool markdown)
{
	if (markdown)
		buf_str(out, "| key | default | whose | meaning |\n|---|---|---|---|\n");
	else
		buf_str(out, "Settings, as lines key=value of a file (-c FILE) or as --set key=value.\n\n");
	for (size_t i = 0; i < SET_COUNT; i++)
		help_row(out, &rows[i], markdown);
	if (markdown)
		return;
	buf_str(out, "\nKeys of RocketMQ's broker.conf with one legal value here:\n");
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		buf_fmt(out, "%s = %s\n        %s\n", refused[i].key, refused[i].value, refused[i].why);
	buf_fmt(out, "\n%zu more keys of RocketMQ's files are taken and ignored, each with a warning that says why.\n", ARRAY_LEN(ignored));
}
