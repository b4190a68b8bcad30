/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Any bytes as a configuration file, and as an assignment on the command line. */
#include "app/settings.h"
#include "base/obj.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings s;
	struct buf text = {0};
	settings_init(&s);
	settings_file(&s, "broker.conf", slice_of(data, size));
	settings_assign(&s, "--set", slice_of(data, size));
	settings_check(&s);
	settings_text(&s, &text, NULL, 0);
	CHECK(s.n[SET_maxTopics] > 0);
	buf_fini(&text);
	settings_fini(&s);
	return 0;
}
