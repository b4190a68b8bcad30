/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
#ifndef APP_FRONTS_H
#define APP_FRONTS_H

#include "front/front.h"

enum { FRONTS_MAX = 8 };

/* All fronts of this build, ended by NULL. */
extern const struct front_ops *const fronts[];

#endif
