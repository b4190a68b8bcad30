/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * What every implementer of base/disk.h must do. A test program stamps the suite on its disk: its cmocka setup puts a pointer to a
 * struct disk_fixture with an empty store into *state, its teardown removes it.
 */
#ifndef TESTS_CONTRACT_DISK_H
#define TESTS_CONTRACT_DISK_H

#include "base/disk.h"

struct disk_fixture {
	struct disk *disk;
	void (*step)(struct disk_fixture *); /* lets started ops get on; waits for the world if it must */
};

void disk_contract_open(void **state);
void disk_contract_write_read(void **state);
void disk_contract_gather(void **state);
void disk_contract_cached(void **state);
void disk_contract_worker_read(void **state);
void disk_contract_sync(void **state);
void disk_contract_zero(void **state);
void disk_contract_truncate(void **state);
void disk_contract_names(void **state);
void disk_contract_folders(void **state);
void disk_contract_many_ops(void **state);
void disk_contract_restart_in_done(void **state);
void disk_contract_space(void **state);

#define DISK_CONTRACT_TESTS(setup, teardown) \
	cmocka_unit_test_setup_teardown(disk_contract_open, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_write_read, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_gather, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_cached, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_worker_read, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_sync, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_zero, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_truncate, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_names, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_folders, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_many_ops, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_restart_in_done, setup, teardown), \
	cmocka_unit_test_setup_teardown(disk_contract_space, setup, teardown)

#endif
