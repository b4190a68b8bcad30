/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* MQTT packets as text, both ways: scripts that become bytes, and packets as one line that a test can compare. */
#ifndef TESTS_LIB_MQTT_TEXT_H
#define TESTS_LIB_MQTT_TEXT_H

#include "front/mqtt/codec.h"

/*
 * Appends the bytes of a script: pairs of hex digits; 'text' for its bytes; s'text' with two bytes of length in front; L in the place of the remaining length, made
 * from what follows; {...} for a section with its length in front (properties); blanks count for nothing. "10 L s'MQTT' 04 02 003C s'me'" is a CONNECT.
 */
void mqtt_bytes(struct buf *b, const char *script);
/* Appends "PUBLISH v5 qos1 dup retain id=7 topic=a/b props[expiry=5 user:k=v] payload=hi"; bytes that do not print as \xNN. */
void mqtt_show(struct buf *b, const struct mqtt_packet *p);

#endif
