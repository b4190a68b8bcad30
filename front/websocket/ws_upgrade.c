/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#include "front/websocket/ws_upgrade.h"

#include "front/message.h"

static const char *const paths[] = {"/", "/ws", "/mqtt", "/v1/ws"};

enum field { FIELD_HOST, FIELD_ORIGIN, FIELD_UPGRADE, FIELD_CONNECTION, FIELD_VERSION, FIELD_KEY, FIELD_PROTOCOL, FIELD_EXTENSIONS,
	     FIELD_LENGTH, FIELD_ENCODING, FIELDS };
static const char *const field_names[FIELDS] = {
	[FIELD_HOST] = "host", [FIELD_ORIGIN] = "origin", [FIELD_UPGRADE] = "upgrade", [FIELD_CONNECTION] = "connection",
	[FIELD_VERSION] = "sec-websocket-version", [FIELD_KEY] = "sec-websocket-key", [FIELD_PROTOCOL] = "sec-websocket-protocol",
	[FIELD_EXTENSIONS] = "sec-websocket-extensions", [FIELD_LENGTH] = "content-length", [FIELD_ENCODING] = "transfer-encoding",
};
struct head {
	struct slice path;
	struct slice field[FIELDS];
	bool has[FIELDS];
};

static enum upgrade_got refuse(struct upgrade *u, unsigned status, const char *why)
{
	u->status = status;
	u->why = why;
	return UPGRADE_REFUSED;
}

static bool alnum(uint8_t c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool token_char(uint8_t c) { return alnum(c) || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL); }

static bool eq_nocase(struct slice s, const char *lower)
{
	size_t n = strlen(lower);

	if (s.n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]) != (uint8_t)lower[i])
			return false;
	return true;
}

static bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!token_char(s.p[i]))
			return false;
	return s.n > 0;
}

static bool ends_in_comma(struct slice s) { return s.n > 0 && s.p[s.n - 1] == ','; }

/* Is 'want' (in lower case) among these tokens? *ret_bad: it is no list of tokens. */
static bool list_has(struct slice list, const char *want, bool *ret_bad)
{
	struct slice one;
	bool found = false;

	*ret_bad = ends_in_comma(list);
	while (slice_split(&list, ',', &one)) {
		one = slice_trim(one);
		*ret_bad = *ret_bad || !is_token(one);
		found = found || eq_nocase(one, want);
	}
	return found;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------------------------- */

/* The bytes of the head with its empty line; 0: not there yet. *ret_bad: a byte that no head may hold. */
static size_t head_end(struct slice b, bool *ret_bad)
{
	for (size_t i = 0; i < b.n && i < UPGRADE_HEAD_MAX; i++) {
		uint8_t c = b.p[i];
		bool cr = c == '\r' && (i + 1 == b.n || b.p[i + 1] == '\n');
		if (c == '\n' && i > 0 && b.p[i - 1] == '\r') {
			if (i >= 3 && b.p[i - 2] == '\n' && b.p[i - 3] == '\r')
				return i + 1;
		} else if (!cr && (c == 0x7f || (c < 0x20 && c != '\t'))) {
			*ret_bad = true;
			return 0;
		}
	}
	return 0;
}

static bool take_line(struct slice *rest, struct slice *ret)
{
	const uint8_t *end = rest->n > 0 ? memchr(rest->p, '\r', rest->n) : NULL;

	if (end == NULL)
		return false;
	*ret = slice_of(rest->p, (size_t)(end - rest->p));
	*rest = slice_skip(*rest, ret->n + 2);
	return true;
}

static const char *read_request_line(struct slice line, struct head *h)
{
	struct slice method, target, version;
	const uint8_t *end = line.p + line.n;

	if (!slice_split(&line, ' ', &method) || !slice_split(&line, ' ', &target) || !slice_split(&line, ' ', &version) || version.p + version.n != end)
		return "the request line is not \"GET PATH HTTP/1.1\"";
	if (!slice_eq_str(version, "HTTP/1.1"))
		return "a WebSocket needs HTTP/1.1";
	for (size_t i = 0; i < target.n; i++)
		if (target.p[i] <= 0x20 || target.p[i] > 0x7e)
			return "the path has a character that must be escaped";
	if (target.n == 0 || target.p[0] != '/')
		return "the request must name a path";
	const uint8_t *query = memchr(target.p, '?', target.n);
	h->path = query == NULL ? target : slice_of(target.p, (size_t)(query - target.p));
	return NULL;
}

static const char *read_field(struct slice line, struct head *h)
{
	const uint8_t *colon = memchr(line.p, ':', line.n);

	if (line.p[0] == ' ' || line.p[0] == '\t')
		return "a header is continued on the next line";
	if (colon == NULL)
		return "a header has no colon";
	struct slice name = slice_of(line.p, (size_t)(colon - line.p));
	if (!is_token(name))
		return "a header's name is not legal";
	for (int i = 0; i < FIELDS; i++) {
		if (!eq_nocase(name, field_names[i]))
			continue;
		if (h->has[i])
			return "a header that must stand alone is there twice";
		h->has[i] = true;
		h->field[i] = slice_trim(slice_skip(line, name.n + 1));
	}
	return NULL;
}

static const char *read_head(struct slice bytes, struct head *h)
{
	struct slice line;
	const char *why;
	unsigned n = 0;

	if (!take_line(&bytes, &line))
		return "the request line is missing";
	why = read_request_line(line, h);
	while (why == NULL && take_line(&bytes, &line) && line.n > 0)
		why = ++n > UPGRADE_HEADERS_MAX ? "there are too many headers" : read_field(line, h);
	return why;
}

/* ---- Judging -------------------------------------------------------------------------------------------------------------------------- */

static bool known_path(struct slice path)
{
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (slice_eq_str(path, paths[i]))
			return true;
	return false;
}

/* Sixteen bytes in base64: 22 digits, of which the last carries two bits, and the padding. */
static bool good_key(struct slice k)
{
	if (k.n != UPGRADE_KEY_SIZE || k.p[22] != '=' || k.p[23] != '=' || strchr("AQgw", k.p[21]) == NULL)
		return false;
	for (size_t i = 0; i < 22; i++)
		if (!alnum(k.p[i]) && k.p[i] != '+' && k.p[i] != '/')
			return false;
	return true;
}

/* The first of the client's that there is. */
static bool choose(struct slice offered, const char *const *protocols, unsigned *ret, bool *ret_bad)
{
	struct slice one;
	bool found = false;

	*ret_bad = ends_in_comma(offered);
	while (slice_split(&offered, ',', &one)) {
		one = slice_trim(one);
		*ret_bad = *ret_bad || !is_token(one);
		for (unsigned i = 0; protocols[i] != NULL && !found; i++) {
			found = slice_eq_str(one, protocols[i]);
			if (found)
				*ret = i;
		}
	}
	return found;
}

static enum upgrade_got judge(const struct head *h, const struct front_conf *conf, const char *const *protocols, struct upgrade *u)
{
	bool bad = false;

	if (!h->has[FIELD_HOST])
		return refuse(u, 400, "the Host header is missing");
	if (!host_allowed(conf, h->field[FIELD_HOST]))
		return refuse(u, 403, "this server does not answer to that Host");
	if (h->has[FIELD_ENCODING] || (h->has[FIELD_LENGTH] && !slice_eq_str(h->field[FIELD_LENGTH], "0")))
		return refuse(u, 400, "a request for a WebSocket has no body");
	if (!known_path(h->path))
		return refuse(u, 404, "WebSockets are at / /ws /mqtt and /v1/ws");
	if (!h->has[FIELD_UPGRADE])
		return refuse(u, 426, "this port speaks WebSocket only: ask for an upgrade, with a WebSocket client or new WebSocket(...) in a browser");
	if (!eq_nocase(h->field[FIELD_UPGRADE], "websocket"))
		return refuse(u, 400, "the Upgrade header must be \"websocket\"");
	if (!h->has[FIELD_CONNECTION] || !list_has(h->field[FIELD_CONNECTION], "upgrade", &bad) || bad)
		return refuse(u, 400, "the Connection header must name \"Upgrade\"");
	if (!h->has[FIELD_VERSION] || !slice_eq_str(h->field[FIELD_VERSION], "13"))
		return refuse(u, 426, "the WebSocket version is 13");
	if (!h->has[FIELD_KEY] || !good_key(h->field[FIELD_KEY]))
		return refuse(u, 400, "Sec-WebSocket-Key must be 16 bytes in base64");
	if (h->has[FIELD_ORIGIN] && h->field[FIELD_ORIGIN].n > UPGRADE_ORIGIN_MAX)
		return refuse(u, 400, "the Origin header is too long");
	if (!origin_allowed(conf, h->field[FIELD_ORIGIN], h->field[FIELD_HOST]))
		return refuse(u, 403, "pages of this Origin may not open a WebSocket here");
	if (!h->has[FIELD_PROTOCOL])
		return refuse(u, 400, "a subprotocol is missing");
	if (!choose(h->field[FIELD_PROTOCOL], protocols, &u->protocol, &bad) || bad)
		return refuse(u, 400, bad ? "Sec-WebSocket-Protocol must be a list of names" : "none of these subprotocols is known");
	u->key = h->field[FIELD_KEY];
	u->origin = h->field[FIELD_ORIGIN];
	return UPGRADE_GOT;
}

enum upgrade_got upgrade_read(struct slice bytes, const struct front_conf *conf, const char *const *protocols, struct upgrade *ret)
{
	static const char get[] = "GET ";
	size_t seen = bytes.n < sizeof(get) - 1 ? bytes.n : sizeof(get) - 1;
	struct head h = {0};
	bool bad = false;

	*ret = (struct upgrade){0};
	if (seen > 0 && memcmp(bytes.p, get, seen) != 0)
		return refuse(ret, token_char(bytes.p[0]) ? 405 : 400, token_char(bytes.p[0]) ? "a WebSocket begins with GET" : "this is not HTTP");
	ret->bytes = head_end(bytes, &bad);
	if (bad)
		return refuse(ret, 400, "the header has a control character");
	if (ret->bytes == 0 && bytes.n >= UPGRADE_HEAD_MAX)
		return refuse(ret, 431, "the header is too long");
	if (ret->bytes == 0)
		return UPGRADE_MORE;
	const char *why = read_head(slice_of(bytes.p, ret->bytes), &h);
	return why != NULL ? refuse(ret, 400, why) : judge(&h, conf, protocols, ret);
}

/* ---- Answering ------------------------------------------------------------------------------------------------------------------------- */

static const char *reason(unsigned status)
{
	switch (status) {
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 426: return "Upgrade Required";
	case 431: return "Request Header Fields Too Large";
	case 503: return "Service Unavailable";
	default: return "Bad Request";
	}
}

void upgrade_refusal(struct buf *b, const struct upgrade *u, const char *const *protocols)
{
	struct buf text = {0};

	buf_fmt(&text, "%s.\nSubprotocols here:", u->why);
	for (size_t i = 0; protocols[i] != NULL; i++)
		buf_fmt(&text, " %s", protocols[i]);
	buf_str(&text, "\n");
	buf_fmt(b, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n", u->status,
		reason(u->status), text.n);
	buf_str(b, "X-Content-Type-Options: nosniff\r\n");
	if (u->status == 426)
		buf_str(b, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
	if (u->status == 405)
		buf_str(b, "Allow: GET\r\n");
	buf_str(b, "\r\n");
	buf_slice(b, buf_view(&text));
	buf_fini(&text);
}

void upgrade_plain(struct buf *b, const struct upgrade *u, const char *const *protocols)
{
	buf_str(b, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
	buf_slice(b, u->key);
	buf_fmt(b, "\r\nSec-WebSocket-Protocol: %s\r\n\r\n", protocols[u->protocol]);
}
