/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The MQTT front: 3.1.1 and 5.0 over any carrier of base/stream.h. What is served, and how topics are mapped: docs/mqtt.md. */
#ifndef FRONT_MQTT_MQTT_H
#define FRONT_MQTT_MQTT_H

#include "front/front.h"

extern const struct front_ops front_mqtt;

#endif
