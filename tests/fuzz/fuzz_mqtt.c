/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The MQTT codec under arbitrary bytes: the first one chooses the version and a bound, the rest is a connection's byte run. What is read, written and read again must be the
 * same packet; its written form must be read to the last byte, be stable, and need every byte; a bound that it fits must not change it, and one below must refuse it
 * or, for an answer, make it shorter.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/obj.h"
#include "tests/lib/mqtt_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct buf written, again, shown, shown_again;

/* Reads a copy that ends where it ends, so that the sanitizer sees one byte too many. */
static ptrdiff_t read_copy(struct slice s, uint8_t version, uint32_t max, struct mqtt_packet *p, uint8_t **copy)
{
	*copy = malloc(s.n + 1);
	CHECK(*copy != NULL);
	if (s.n > 0)
		memcpy(*copy + 1, s.p, s.n);
	return mqtt_next(slice_of(*copy + 1, s.n), version, max, p);
}

static void names(struct slice name)
{
	struct slice group, filter;

	mqtt_topic_valid(name);
	if (mqtt_filter_valid(name) && mqtt_share_parse(name, &group, &filter))
		CHECK(mqtt_filter_valid(filter) || slice_starts(filter, SLICE_LIT("$share/")));
	mqtt_filter_matches(name, SLICE_LIT("a/b/c"));
	CHECK(name.n == 0 || mqtt_has_wildcard(name) || mqtt_filter_matches(name, name));
}

static void head(const struct mqtt_packet *p)
{
	size_t id_at = 0;

	buf_reset(&again);
	CHECK(mqtt_put_publish_head(&again, p->version, 0, p, &id_at));
	CHECK(p->qos == 0 || (id_at + 2 <= again.n && again.p[id_at] == p->id >> 8 && again.p[id_at + 1] == (p->id & 0xFF)));
	buf_slice(&again, p->payload);
	CHECK(slice_eq(buf_view(&again), buf_view(&written)));
}

static void bounds(const struct mqtt_packet *p)
{
	uint32_t n = (uint32_t)written.n;

	buf_reset(&again);
	CHECK(mqtt_put(&again, p->version, n, p));
	CHECK(slice_eq(buf_view(&again), buf_view(&written)));
	buf_reset(&again);
	if (n > 1 && mqtt_put(&again, p->version, n - 1, p))
		CHECK(again.n < n && again.n > 0);
	else
		CHECK(again.n == 0);
}

static void one(const struct mqtt_packet *p)
{
	struct slice rest = p->list;
	struct mqtt_filter f;
	struct mqtt_packet q;
	uint8_t *copy;

	buf_reset(&written);
	buf_reset(&shown);
	buf_reset(&shown_again);
	mqtt_show(&shown, p);
	CHECK(mqtt_put(&written, p->version, 0, p));
	CHECK(read_copy(buf_view(&written), p->version, 0, &q, &copy) == (ptrdiff_t)written.n);
	mqtt_show(&shown_again, &q);
	CHECK(slice_eq(buf_view(&shown), buf_view(&shown_again)));
	buf_reset(&again);
	CHECK(mqtt_put(&again, p->version, 0, &q));
	CHECK(slice_eq(buf_view(&again), buf_view(&written)));
	free(copy);
	CHECK(read_copy(slice_of(written.p, written.n - 1), p->version, 0, &q, &copy) == 0);
	free(copy);
	bounds(p);
	if (p->type == MQTT_PUBLISH)
		head(p);
	if (p->type == MQTT_SUBSCRIBE || p->type == MQTT_UNSUBSCRIBE)
		while (mqtt_filter_next(p->type, &rest, &f))
			names(f.filter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of(data, size);
	uint8_t version;
	uint32_t max;
	ptrdiff_t n = 1;

	if (size == 0)
		return 0;
	version = (const uint8_t[]){0, MQTT_3_1_1, MQTT_5, MQTT_5}[data[0] & 3];
	max = data[0] & 4 ? data[0] >> 3 : 0;
	rest = slice_skip(rest, 1);
	names(rest);
	while (n > 0 && rest.n > 0) {
		struct mqtt_packet p;
		uint8_t *copy;

		n = read_copy(rest, version, max, &p, &copy);
		CHECK(n >= 0 || (n >= -0xFF && p.why != NULL));
		CHECK(n <= (ptrdiff_t)rest.n && (max == 0 || n <= (ptrdiff_t)max));
		if (n > 0) {
			one(&p);
			version = p.version; /* a CONNECT's own from then on */
			rest = slice_skip(rest, (size_t)n);
		}
		free(copy);
	}
	return 0;
}
