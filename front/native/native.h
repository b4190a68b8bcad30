/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The native front: RocketMQ's remoting protocol, as existing clients and tools speak it. What is served: docs/native-protocol.md. */
#ifndef FRONT_NATIVE_NATIVE_H
#define FRONT_NATIVE_NATIVE_H

#include "front/front.h"

extern const struct front_ops front_native;

#endif
