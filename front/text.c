/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Text forms that several gateway fronts read: base64, percent-encoding, durations, moments; and who may talk to us from a browser. */
#include "front/front.h"
#include "front/message.h"

/* ---- base64, percent-encoding ------------------------------------------------------------------------------------------------------- */

void base64_put(struct buf *b, struct slice s)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t *to = buf_room(b, (s.n + 2) / 3 * 4);
	size_t n = 0, i;

	if (to == NULL)
		return;
	for (i = 0; i + 3 <= s.n; i += 3) {
		uint32_t v = (uint32_t)s.p[i] << 16 | (uint32_t)s.p[i + 1] << 8 | s.p[i + 2];
		to[n++] = (uint8_t)digits[v >> 18];
		to[n++] = (uint8_t)digits[v >> 12 & 63];
		to[n++] = (uint8_t)digits[v >> 6 & 63];
		to[n++] = (uint8_t)digits[v & 63];
	}
	if (i < s.n) {
		uint32_t v = (uint32_t)s.p[i] << 16 | (i + 1 < s.n ? (uint32_t)s.p[i + 1] << 8 : 0);
		to[n++] = (uint8_t)digits[v >> 18];
		to[n++] = (uint8_t)digits[v >> 12 & 63];
		to[n++] = i + 1 < s.n ? (uint8_t)digits[v >> 6 & 63] : '=';
		to[n++] = '=';
	}
	buf_used(b, n);
}

static int digit64(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

bool base64_get(struct buf *b, struct slice text)
{
	uint32_t v = 0;
	unsigned have = 0;

	if (text.n % 4 == 0)
		for (unsigned pad = 0; pad < 2 && text.n > 0 && text.p[text.n - 1] == '='; pad++)
			text.n--;
	if (text.n % 4 == 1)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		int d = digit64(text.p[i]);
		if (d < 0)
			return false;
		v = v << 6 | (uint32_t)d;
		if (++have < 4)
			continue;
		buf_u8(b, (uint8_t)(v >> 16));
		buf_u8(b, (uint8_t)(v >> 8));
		buf_u8(b, (uint8_t)v);
		have = v = 0;
	}
	/* Bits that no byte is made of must be zero: else two texts would mean the same. */
	if (have == 2) {
		buf_u8(b, (uint8_t)(v >> 4));
		return (v & 15) == 0;
	}
	if (have == 3) {
		buf_u8(b, (uint8_t)(v >> 10));
		buf_u8(b, (uint8_t)(v >> 2));
		return (v & 3) == 0;
	}
	return true;
}

static int digit16(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_get(struct buf *b, struct slice text, bool plus)
{
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];
		if (c == '+' && plus) {
			c = ' ';
		} else if (c == '%') {
			int high = i + 2 < text.n ? digit16(text.p[i + 1]) : -1, low = i + 2 < text.n ? digit16(text.p[i + 2]) : -1;
			if (high < 0 || low < 0)
				return false;
			c = (uint8_t)(high << 4 | low);
			i += 2;
		}
		buf_u8(b, c);
	}
	return true;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------------------ */

bool json_bounded(struct slice text, size_t max)
{
	size_t n = 1;
	bool quoted = false;

	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];
		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == ',' || c == ':' || c == '[' || c == '{') && ++n > max)
			return false;
	}
	return true;
}

/* ---- Times ------------------------------------------------------------------------------------------------------------------------------ */

#define TIME_LIMIT_MS (INT64_C(1) << 53) /* JSON's numbers are exact so far */

bool duration_parse(struct slice text, int64_t *ret_ms)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
	size_t n = 0;
	uint64_t v;

	while (n < text.n && text.p[n] >= '0' && text.p[n] <= '9')
		n++;
	if (!slice_u64(slice_of(text.p, n), &v))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!slice_eq_str(slice_skip(text, n), units[i].unit) || v > (uint64_t)(TIME_LIMIT_MS / units[i].ms))
			continue;
		*ret_ms = (int64_t)v * units[i].ms;
		return true;
	}
	return false;
}

/* Takes 'n' digits and the character behind them (0: none) off the text. */
static bool take_digits(struct slice *s, size_t n, char after, int64_t *ret)
{
	uint64_t v;

	if (s->n < n + (after != 0) || !slice_u64(slice_of(s->p, n), &v) || (after != 0 && (char)s->p[n] != after))
		return false;
	*ret = (int64_t)v;
	*s = slice_skip(*s, n + (after != 0));
	return true;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar. */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1, doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

	return era * 146097 + doe - 719468;
}

static bool take_zone(struct slice s, int64_t *ret_ms)
{
	int64_t h, m;

	*ret_ms = 0;
	if (slice_eq_str(s, "Z") || slice_eq_str(s, "z"))
		return true;
	if (s.n != 6 || (s.p[0] != '+' && s.p[0] != '-'))
		return false;
	bool minus = s.p[0] == '-';
	s = slice_skip(s, 1);
	if (!take_digits(&s, 2, ':', &h) || !take_digits(&s, 2, 0, &m) || h > 23 || m > 59)
		return false;
	*ret_ms = (h * 60 + m) * 60000 * (minus ? -1 : 1);
	return true;
}

bool moment_parse(struct slice text, int64_t *ret_ms)
{
	static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int64_t y, mo, d, h, mi, s, ms = 0, zone, scale = 100;
	uint64_t plain;

	if (slice_u64(text, &plain)) {
		*ret_ms = (int64_t)plain;
		return plain <= (uint64_t)TIME_LIMIT_MS;
	}
	struct slice r = text;
	if (!take_digits(&r, 4, '-', &y) || !take_digits(&r, 2, '-', &mo) || !take_digits(&r, 2, 0, &d) || r.n < 1 || (r.p[0] != 'T' && r.p[0] != 't' && r.p[0] != ' '))
		return false;
	r = slice_skip(r, 1);
	if (!take_digits(&r, 2, ':', &h) || !take_digits(&r, 2, ':', &mi) || !take_digits(&r, 2, 0, &s))
		return false;
	if (r.n > 1 && r.p[0] == '.') {
		size_t n = 1;
		for (; n < r.n && r.p[n] >= '0' && r.p[n] <= '9'; n++, scale /= 10)
			ms += (r.p[n] - '0') * scale;
		if (n == 1)
			return false;
		r = slice_skip(r, n);
	}
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
	if (y < 1970 || mo < 1 || mo > 12 || d < 1 || d > month_days[mo - 1] + (mo == 2 && leap) || h > 23 || mi > 59 || s > 60 || !take_zone(r, &zone))
		return false;
	*ret_ms = ((days_of(y, mo, d) * 24 + h) * 60 + mi) * 60000 + s * 1000 + ms - zone;
	return *ret_ms >= 0;
}

/* ---- Browsers ------------------------------------------------------------------------------------------------------------------------------ */

static bool same_text(struct slice a, struct slice b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++) {
		uint8_t x = a.p[i], y = b.p[i];
		x = x >= 'A' && x <= 'Z' ? (uint8_t)(x | 0x20) : x;
		y = y >= 'A' && y <= 'Z' ? (uint8_t)(y | 0x20) : y;
		if (x != y)
			return false;
	}
	return true;
}

static bool listed(struct slice list, struct slice what)
{
	struct slice one;

	while (slice_split(&list, ',', &one)) {
		one = slice_trim(one);
		if (slice_eq_str(one, "*") || (one.n > 0 && same_text(one, what)))
			return true;
	}
	return false;
}

bool origin_allowed(const struct front_conf *conf, struct slice origin, struct slice host)
{
	struct slice bare = origin;

	if (origin.n == 0)
		return true;
	if (slice_starts(origin, SLICE_LIT("http://")))
		bare = slice_skip(origin, 7);
	else if (slice_starts(origin, SLICE_LIT("https://")))
		bare = slice_skip(origin, 8);
	if (bare.n != origin.n && host.n > 0 && same_text(bare, host))
		return true;
	return listed(conf->origins, origin);
}

/* The name without its port; an IPv6 address keeps its brackets. False: not the form of a Host header. */
static bool host_name(struct slice host, struct slice *ret)
{
	size_t n = 0;
	uint64_t port;

	if (host.n > 0 && host.p[0] == '[') {
		while (n < host.n && host.p[n] != ']')
			n++;
		if (n++ == host.n)
			return false;
	} else {
		while (n < host.n && host.p[n] != ':')
			n++;
	}
	*ret = slice_of(host.p, n);
	struct slice rest = slice_skip(host, n);
	return n > 0 && (rest.n == 0 || (rest.p[0] == ':' && (rest.n == 1 || (slice_u64(slice_skip(rest, 1), &port) && port <= 65535))));
}

static bool is_ipv4(struct slice s)
{
	unsigned parts = 0;
	struct slice part;
	uint64_t v;

	while (slice_split(&s, '.', &part)) {
		if (part.n == 0 || part.n > 3 || !slice_u64(part, &v) || v > 255)
			return false;
		parts++;
	}
	return parts == 4;
}

static bool is_ipv6(struct slice s)
{
	if (s.n < 4 || s.p[0] != '[')
		return false;
	for (size_t i = 1; i + 1 < s.n; i++)
		if (digit16(s.p[i]) < 0 && s.p[i] != ':' && s.p[i] != '.')
			return false;
	return true;
}

bool host_allowed(const struct front_conf *conf, struct slice host)
{
	struct slice name;

	if (!host_name(host, &name))
		return false;
	return is_ipv4(name) || is_ipv6(name) || same_text(name, SLICE_LIT("localhost")) || listed(conf->hosts, name);
}
