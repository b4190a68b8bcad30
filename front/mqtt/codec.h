/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * MQTT 3.1.1 and 5.0 as bytes: packets in and out. Pure: no allocation when reading (a packet's slices view the input), and writing goes to a buf that the
 * caller owns. All packets of both directions are here, because tests and bridges speak the client's half. What a packet means is the session's.
 *
 * Reading is strict: a packet that mqtt_next accepts follows its version's rules in everything that can be seen from the packet alone. What needs a
 * session's memory (who may send which packet when, receive maximum, alias limits, duplicate CONNECT, rules about legal filters) is not looked at.
 */
#ifndef FRONT_MQTT_CODEC_H
#define FRONT_MQTT_CODEC_H

#include "base/buf.h"

enum {
	MQTT_3_1_1 = 4, MQTT_5 = 5,            /* protocol levels; 0: no CONNECT yet */
	MQTT_LENGTH_MAX = 268435455,           /* of what follows the fixed header; also the largest variable byte integer */
	MQTT_HEADER_MAX = 5,                   /* bytes of the fixed header */
	MQTT_STRING_MAX = 65535,
};
enum mqtt_type {
	MQTT_CONNECT = 1, MQTT_CONNACK, MQTT_PUBLISH, MQTT_PUBACK, MQTT_PUBREC, MQTT_PUBREL, MQTT_PUBCOMP, MQTT_SUBSCRIBE, MQTT_SUBACK,
	MQTT_UNSUBSCRIBE, MQTT_UNSUBACK, MQTT_PINGREQ, MQTT_PINGRESP, MQTT_DISCONNECT, MQTT_AUTH,
};
/* Reasons of MQTT 5: MQTT_TOO_LARGE and so on (front/mqtt/reasons.tbl); 3.1.1 is told what it can understand of them (mqtt_put). */
enum mqtt_reason {
#define X(NAME, value, packets, text) MQTT_##NAME = value,
#include "front/mqtt/reasons.tbl"
#undef X
};

/* Properties of MQTT 5 by their identifiers: MQTT_P_SESSION_EXPIRY and so on (front/mqtt/props.tbl). */
enum mqtt_prop {
#define X(NAME, id, kind, field, where) MQTT_P_##NAME = id,
#include "front/mqtt/props.tbl"
#undef X
};
struct mqtt_props {
	uint64_t has;              /* bit (1 << identifier) for each that is there; a field without its bit is 0 and is not written */
	uint8_t payload_format, request_problem, request_response, max_qos, retain_available, wildcards_available, sub_ids_available,
		shared_available;
	uint16_t server_keep_alive, receive_max, alias_max, topic_alias;
	uint32_t message_expiry, session_expiry, will_delay, max_packet; /* seconds; max_packet: bytes */
	uint32_t sub_id;           /* the first subscription identifier; a PUBLISH to a client may have more: see mqtt_sub_id_next */
	struct slice content_type, response_topic, correlation, client_id, auth_method, auth_data, response_info, server_reference, reason;
	/*
	 * Property bytes in which the ones that may come repeatedly stand: user properties and subscription identifiers. Others in it are passed over.
	 * In: the whole section; iterate with mqtt_user_next. Out: made with mqtt_put_user and mqtt_put_sub_id; where no subscription identifier
	 * is in it, 'sub_id' is written if it is there.
	 */
	struct slice repeated;
};
static inline bool mqtt_has(const struct mqtt_props *p, enum mqtt_prop id) { return p->has >> id & 1; }
#define MQTT_SET(props, NAME, field_, ...) ((props)->has |= 1ull << MQTT_P_##NAME, (props)->field_ = __VA_ARGS__)

struct mqtt_will {
	bool retain;
	uint8_t qos;
	struct slice topic, payload;
	struct mqtt_props props;
};
/* A packet. Everything that its type does not have is 0. */
struct mqtt_packet {
	enum mqtt_type type;
	uint8_t version;           /* the level it was read with; a CONNECT's own */
	const char *why;           /* after an error: a sentence without a full stop, static */
	uint16_t id;               /* PUBLISH with QoS > 0, the acknowledgements, SUBSCRIBE, UNSUBSCRIBE and theirs */
	uint8_t reason;            /* CONNACK (3.1.1: see mqtt_return_code), PUBACK to PUBCOMP, DISCONNECT, AUTH */
	struct mqtt_props props;
	/* CONNECT */
	bool clean_start, has_will, has_user, has_password;
	uint16_t keep_alive;       /* seconds */
	struct slice client_id, user, password;
	struct mqtt_will will;
	/* CONNACK */
	bool session_present;
	/* PUBLISH */
	bool dup, retain;
	uint8_t qos;
	struct slice topic;        /* empty: the alias's */
	struct slice payload;
	/*
	 * SUBSCRIBE, UNSUBSCRIBE: the filters as they stand on the wire, for mqtt_filter_next; made with mqtt_put_filter.
	 * SUBACK, and UNSUBACK of 5.0: a reason byte each.
	 */
	struct slice list;
};

/*
 * Reads the packet at the front of 'bytes'. 'version' is what the connection's CONNECT said (0 before it: everything else is a protocol error; CONNECT itself is read
 * by its own level). 'max_packet' bounds the whole packet, 0: by the protocol only.
 * Returns the bytes it takes; 0: needs more; negative: minus a reason, and ret->why says what is wrong. Of 'ret' only type, version and why are then of use: version
 * is what a CONNACK or DISCONNECT that tells the peer should be written in, 0 when nothing is known. What the fixed header shows (a bad type, flags, length, or too
 * large) is told when it is there, all else when the packet is whole.
 * A CONNECT of another version (3.1's too) gives MQTT_BAD_VERSION; a CONNECT of 3.1.1 with no client id and without clean session gives MQTT_BAD_CLIENT_ID; a
 * PUBLISH or will to a name with a wildcard gives MQTT_BAD_TOPIC; alias 0 gives MQTT_BAD_ALIAS.
 */
ptrdiff_t mqtt_next(struct slice bytes, uint8_t version, uint32_t max_packet, struct mqtt_packet *ret);

/* One filter of a SUBSCRIBE or UNSUBSCRIBE, whose options are 0. */
struct mqtt_filter {
	struct slice filter;       /* UTF-8, not empty; mqtt_filter_valid is the session's to ask, who answers for each */
	uint8_t qos;
	bool no_local, retain_as_published;
	uint8_t retain_handling;   /* 0: send retained ones, 1: if the subscription is new, 2: do not */
};
/* Takes the next filter off '*rest', which starts as p->list of a packet that mqtt_next read. */
bool mqtt_filter_next(enum mqtt_type type, struct slice *rest, struct mqtt_filter *ret);
/* Take the next user property, or subscription identifier, off '*rest', which starts as props->repeated. */
bool mqtt_user_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value);
bool mqtt_sub_id_next(struct slice *rest, uint32_t *ret);

/* ---- Names (4.7) ---------------------------------------------------------------------------------------------------------------- */

bool mqtt_text_valid(struct slice s);        /* UTF-8 without U+0000; may be empty */
bool mqtt_topic_valid(struct slice topic);   /* one to publish to: not empty, UTF-8, no wildcards */
bool mqtt_filter_valid(struct slice filter); /* wildcards only as whole levels, # only at the end; a shared one: group and filter are legal */
/* Does the filter (valid, not shared) match the topic? Wildcards at the front match no topic that begins with $. */
bool mqtt_filter_matches(struct slice filter, struct slice topic);
/* "$share/GROUP/FILTER": true, and its parts. mqtt_filter_valid must have said yes. */
bool mqtt_share_parse(struct slice filter, struct slice *ret_group, struct slice *ret_filter);
bool mqtt_has_wildcard(struct slice filter);

/* ---- Writing -------------------------------------------------------------------------------------------------------------------- */

/*
 * Appends the packet (p->type; p->version is not looked at) in the form of 'version'. False, and nothing is appended, when it would be longer than 'max_packet'
 * (0: by the protocol only) even without its reason text and user properties, which are left out of answers (CONNACK, PUBACK to PUBCOMP, SUBACK, UNSUBACK,
 * DISCONNECT, AUTH) where they do not fit. A reason that the packet may not say becomes MQTT_FAILED. In 3.1.1: a CONNACK's reason becomes a return code, SUBACK's failures 0x80, other reasons and properties vanish.
 */
bool mqtt_put(struct buf *b, uint8_t version, uint32_t max_packet, const struct mqtt_packet *p);
/*
 * A PUBLISH without its payload, whose bytes (p->payload, only its length is looked at) the caller sends behind it as a piece of its own.
 * '*ret_id_at': where in 'b' the packet identifier stands (QoS > 0), so that one head, copied, serves many receivers (mqtt_set_id). False as in mqtt_put.
 */
bool mqtt_put_publish_head(struct buf *b, uint8_t version, uint32_t max_packet, const struct mqtt_packet *p, size_t *ret_id_at);
/* Makes a head its receiver's own: 'head' begins at the head's first byte, id_at counts from there. */
void mqtt_set_id(uint8_t *head, size_t id_at, uint16_t id, bool dup);
/* Short answers: PUBACK to PUBCOMP with a reason and no properties. */
void mqtt_put_ack(struct buf *b, uint8_t version, enum mqtt_type type, uint16_t id, uint8_t reason);
/* Parts of packets: what props.repeated and p->list are made of. Strings of at most MQTT_STRING_MAX bytes. */
void mqtt_put_user(struct buf *b, struct slice name, struct slice value);
void mqtt_put_sub_id(struct buf *b, uint32_t id);
void mqtt_put_filter(struct buf *b, enum mqtt_type type, const struct mqtt_filter *f);

/* What a CONNACK of 3.1.1 says for a reason, 0 to 5; -1: it has no word for it, the connection is closed without an answer. */
int mqtt_return_code(uint8_t reason);
const char *mqtt_type_name(enum mqtt_type type);
const char *mqtt_reason_text(uint8_t reason);

#endif
