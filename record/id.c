/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Offset message ids: where a record is, as 32 hex digits. */
#include "base/be.h"
#include "record/record.h"

void offset_id_format(char to[OFFSET_ID_SIZE + 1], uint32_t ip, uint32_t port, uint64_t position)
{
	static const char hex[] = "0123456789ABCDEF";
	uint8_t raw[OFFSET_ID_SIZE / 2];

	be32_put(raw, ip);
	be32_put(raw + 4, port);
	be64_put(raw + 8, position);
	for (size_t i = 0; i < sizeof(raw); i++) {
		to[2 * i] = hex[raw[i] >> 4];
		to[2 * i + 1] = hex[raw[i] & 15];
	}
	to[OFFSET_ID_SIZE] = '\0';
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool offset_id_parse(struct slice id, uint32_t *ret_ip, uint32_t *ret_port, uint64_t *ret_position)
{
	uint8_t raw[OFFSET_ID_SIZE / 2];

	if (id.n != OFFSET_ID_SIZE)
		return false;
	for (size_t i = 0; i < sizeof(raw); i++) {
		int high = hex_value(id.p[2 * i]), low = hex_value(id.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		raw[i] = (uint8_t)(high << 4 | low);
	}
	*ret_ip = be32_get(raw);
	*ret_port = be32_get(raw + 4);
	*ret_position = be64_get(raw + 8);
	return true;
}
