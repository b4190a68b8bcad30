/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The plug board: adding a front is a folder, and a row here. */
#include "app/fronts.h"

#include "front/native/native.h"

const struct front_ops *const fronts[] = {&front_native, NULL};
