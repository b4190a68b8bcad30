/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Upgrade requests: any bytes. What passes must read the same when more follows, must have been waited for at every byte before its end, and what is
 * made of it in plain words must pass again.
 */
#include "base/mem.h"
#include "base/obj.h"
#include "front/websocket/ws_upgrade.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const protocols[] = {"gantry.v1.json", "mqtt", "mqttv3.1", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct front_conf conf = {.hosts = SLICE_LIT("broker.example"), .origins = SLICE_LIT("https://app.example")};
	struct upgrade u, again;
	struct buf b = {0};
	enum upgrade_got got = upgrade_read(slice_of(data, size), &conf, protocols, &u);

	if (got == UPGRADE_GOT) {
		CHECK(u.bytes <= size && u.protocol < ARRAY_LEN(protocols) - 1 && u.key.n == UPGRADE_KEY_SIZE);
		CHECK(memchr(data, 0, u.bytes) == NULL && memmem(data, u.bytes, "\r\n\r\n", 4) == data + u.bytes - 4);
		for (size_t n = 0; n < u.bytes; n++)
			CHECK(upgrade_read(slice_of(data, n), &conf, protocols, &again) == UPGRADE_MORE);
		upgrade_plain(&b, &u, protocols);
		CHECK(upgrade_read(buf_view(&b), &conf, protocols, &again) == UPGRADE_GOT);
		CHECK(again.bytes == b.n && again.protocol == u.protocol && slice_eq(again.key, u.key));
	} else if (got == UPGRADE_REFUSED) {
		CHECK(u.status >= 400 && u.status < 500 && u.why != NULL);
		upgrade_refusal(&b, &u, protocols);
		CHECK(b.n > 0);
	} else {
		CHECK(size < UPGRADE_HEAD_MAX);
	}
	buf_fini(&b);
	return 0;
}
