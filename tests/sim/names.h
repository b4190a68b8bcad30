/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Names of the simulated disk: what programs see, what is durable, and the changes between. */
#ifndef TESTS_SIM_NAMES_H
#define TESTS_SIM_NAMES_H

#include "tests/sim/disk_inode.h"

struct sim_inode *names_find(struct sim_disk *d, const char *path); /* NULL: absent */
void names_create(struct sim_disk *d, const char *path, struct sim_inode *i);
void names_rename(struct sim_disk *d, const char *from, const char *to);
void names_remove(struct sim_disk *d, const char *path);
/* The folder's changes are durable; of a rename between two folders, once both were synced. */
void names_sync_dir(struct sim_disk *d, const char *dir);
/* Leaves one of the name spaces that a crash may leave. */
void names_crash(struct sim_disk *d, struct prng *r, uint32_t new_permille);
void names_fini(struct sim_disk *d);
bool names_in_dir(const char *path, const char *dir);

#endif
