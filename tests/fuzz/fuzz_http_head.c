/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Heads and chunked bodies of anybody. A head that is taken says one thing only; a chunked body is the same wherever it is cut. The first byte chooses.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/obj.h"
#include "front/http/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void heads(const uint8_t *data, size_t size)
{
	size_t scanned = 0, step = 0;
	ptrdiff_t end = http_head_end(slice_of(data, size), &scanned), other = 0;
	unsigned lengths = 0, encodings = 0, hosts = 0;
	const char *why = NULL;

	/* However the bytes come: a whole head is found at once, or what came before it was no beginning of one. */
	for (scanned = 0; other == 0 && step <= size; step++)
		other = http_head_end(slice_of(data, step), &scanned);
	CHECK(other == end || other < 0);
	if (end <= 0)
		return;
	unsigned lines = http_head_lines(slice_of(data, (size_t)end));
	struct http_head h = {.headers = mem_array(lines < HEAD_HEADERS_MAX ? lines : HEAD_HEADERS_MAX, sizeof(struct http_header))};
	uint8_t *copy = mem_grow(NULL, (size_t)end);
	memcpy(copy, data, (size_t)end);
	unsigned status = http_head_parse(copy, (size_t)end, &h, &why);
	CHECK(status == 0 || (why != NULL && strcmp(http_reason(status), "Unknown") != 0));
	for (unsigned i = 0; status == 0 && i < h.n_headers; i++) {
		lengths += slice_eq_str(h.headers[i].name, "content-length");
		encodings += slice_eq_str(h.headers[i].name, "transfer-encoding");
		hosts += slice_eq_str(h.headers[i].name, "host");
	}
	if (status == 0)
		CHECK(hosts == 1 && lengths + encodings <= 1 && h.chunked == (encodings == 1) && (h.path.p[0] == '/' || h.path.p[0] == '*'));
	mem_free(h.headers);
	mem_free(copy);
}

static void chunks(const uint8_t *data, size_t size)
{
	struct http_chunks whole = {0}, parts = {0};
	bool a = http_chunks_scan(&whole, slice_of(data, size)), b = true;

	for (size_t i = 0; b && i < size; i++)
		b = http_chunks_scan(&parts, slice_of(data + i, 1));
	CHECK(a == b);
	if (a)
		CHECK(whole.state == parts.state && whole.total == parts.total && whole.left == parts.left);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 2 == 0)
		heads(data + 1, size - 1);
	else
		chunks(data + 1, size - 1);
	return 0;
}
