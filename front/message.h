/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * A message as the gateway fronts see it: the one place that knows which property of a stored record stands for what. The table for users is
 * docs/mapping.md. Fronts fill a draft from what their callers say, and read a message from a stored record; a name that means something to the
 * engine or to RocketMQ's clients cannot be set by the way of a user property.
 */
#ifndef FRONT_MESSAGE_H
#define FRONT_MESSAGE_H

#include "base/utf.h"
#include "engine/engine.h"
#include "record/record.h"

struct front_conf;

enum message_field {
	MESSAGE_TAG,          /* TAGS */
	MESSAGE_KEYS,         /* KEYS, separated by blanks */
	MESSAGE_ORDER_KEY,    /* __SHARDINGKEY: messages with the same one go into one queue, of the engine's choice */
	MESSAGE_CONTENT_TYPE, /* content-type */
	MESSAGE_CORRELATION,  /* correlation-data: any bytes */
	MESSAGE_REPLY_TO,     /* reply-topic */
	MESSAGE_MQTT_TOPIC,   /* mqtt-topic: the whole MQTT topic */
	MESSAGE_EXPIRES,      /* expires-at: ms since 1970 */
	MESSAGE_FIELDS
};

#define MESSAGE_WHY 160u
/* A message on its way in. Zeroed at first; draft_fini frees it, draft_reset makes it empty and keeps its memory. */
struct draft {
	struct slice topic;   /* borrowed */
	struct slice body;    /* borrowed, or a view of 'own' */
	struct buf own;       /* a body that had to be decoded */
	struct buf props;     /* property text as the engine takes it */
	int32_t queue;        /* -1: the engine's choice; draft_init sets it */
	char why[MESSAGE_WHY]; /* what is wrong with it, for the caller, after an error */
};
void draft_init(struct draft *d);
void draft_reset(struct draft *d);
void draft_fini(struct draft *d);
/* ILLEGAL: a control character, or a value that cannot be. An empty value sets nothing. A field set twice: the first one stays. */
enum status draft_put(struct draft *d, enum message_field f, struct slice value);
/* Correlation data as headers and JSON say it: text, or any bytes as base64 behind "base64:". ILLEGAL. */
enum status draft_correlation(struct draft *d, struct slice text);
/* A user's own property. TAGS and KEYS set the tag and the keys; other names of RocketMQ's own, and names that stand for a field: ILLEGAL. */
enum status draft_user(struct draft *d, struct slice name, struct slice value);
/* Delay before it can be received: 0 none; else it must be one of the levels' (conf->delay_ms). ILLEGAL says which there are. */
enum status draft_delay(struct draft *d, const struct front_conf *conf, int64_t ms);
/* Parses "10s", "1500ms", "2m", "1h", "3d", or a plain number of milliseconds. False: no such thing. */
bool duration_parse(struct slice text, int64_t *ret_ms);
/* Parses ms since 1970, or RFC 3339 ("2026-01-31T12:00:00Z", with fraction and offset). */
bool moment_parse(struct slice text, int64_t *ret_ms);
/*
 * A message as a JSON object: {"topic"?, "tag", "keys" (text, or an array of texts), "orderKey", "contentType", "correlationData", "replyTo", "expire" (duration or
 * ms from now), "expiresAt", "delay", "mqttTopic", "properties": {}, "body" (text) or "bodyBase64" or "json" (any value; content type application/json unless
 * said)}. 'value' is a json_t (front/message_json.c). Strings are borrowed from it: it outlives the draft. An unknown member: ILLEGAL, and 'ignore' names one that
 * is the caller's (may be NULL, ended by NULL).
 */
enum status draft_json(struct draft *d, const struct front_conf *conf, int64_t now_ms, const void *value, const char *const *ignore);
/* Fills an engine_send from a draft, for a topic that is made when it is not there and the settings allow. The rest of 'r' is the caller's (zeroed). */
void draft_send(const struct draft *d, const struct front_conf *conf, int64_t now_ms, struct engine_send *r);

/* A stored message. Slices view the record. */
struct message {
	struct record r;
	struct slice id;      /* UNIQ_KEY; empty when the record has none: message_id makes one of its place */
	struct slice field[MESSAGE_FIELDS]; /* MESSAGE_EXPIRES as text; see expires_ms */
	int64_t expires_ms;   /* 0: never */
	struct slice origin;  /* of a dead letter or a retry: the topic that it was sent to; else empty */
};
/* CORRUPT when the bytes are no record. */
enum status message_read(struct slice record, struct message *ret);
static inline bool message_expired(const struct message *m, int64_t now_ms) { return m->expires_ms != 0 && m->expires_ms <= now_ms; }
/* The id: UNIQ_KEY, else the offset id, into 'to'. */
struct slice message_id(const struct message *m, char to[OFFSET_ID_SIZE + 1]);
/* The properties that users set and no field stands for, one after the other; *rest starts as m->r.props. */
bool message_user(struct slice *rest, struct slice *ret_name, struct slice *ret_value);
/* The body as its sender gave it: a native client may have compressed it. 'scratch' holds an inflated one, at most 'max' bytes; else as stored. */
struct slice message_body(const struct message *m, size_t max, struct buf *scratch);
/* The correlation data as bytes: stored as base64 behind "base64:" where they are no plain text. */
struct slice message_correlation(const struct message *m, struct buf *scratch);
/*
 * The members of its JSON object, without the braces, beginning with "id": topic, queue, offset, tag, keys, orderKey, contentType, correlationData, replyTo,
 * expiresAt, mqttTopic, properties, bornAt, storedAt, attempt (where > 0), and body, or bodyBase64 where it is not UTF-8. Absent fields are left out.
 */
void message_json(struct buf *b, const struct message *m, struct slice topic, uint32_t attempt, size_t max_body);

/*
 * Has a JSON text at most 'max' values (names of members count too)? By its brackets and commas, before anybody makes a tree of it: a value of two bytes
 * costs fifty in a tree.
 */
bool json_bounded(struct slice text, size_t max);
#define JSON_VALUES_MAX 262144u /* of one text that somebody sends */
void base64_put(struct buf *b, struct slice s);
bool base64_get(struct buf *b, struct slice text); /* both alphabets, padding or not; false: not base64, b may have grown */
/* Percent-decoding ('plus': '+' is a blank). False: a bad escape. */
bool percent_get(struct buf *b, struct slice text, bool plus);

/*
 * May a browser's page of this origin write here? True without an Origin, for our own ("http://HOST" with the Host header's value, or https), and for
 * conf->origins. Foreign ones are refused: a page on the web must not be able to post to a broker on loopback.
 */
bool origin_allowed(const struct front_conf *conf, struct slice origin, struct slice host);
/* Is this Host header one that we answer to? IP addresses, localhost and conf->hosts; a name that somebody rebound to our address is not. */
bool host_allowed(const struct front_conf *conf, struct slice host);

#endif
