/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Looking codes up in their tables, which stand in the order of the numbers. */
#include "wire/codes.h"

#include <stddef.h>

static const struct wire_code_row requests[] = {
#define X(number, name, class, text) {number, class, #name, text},
#include "wire/codes.tbl"
#undef X
};

static const struct wire_code_row answers[] = {
#define X(number, name, text) {number, 0, #name, text},
#include "wire/answers.tbl"
#undef X
};

/* The last row of a number: where there are two, the newer meaning comes second. */
static const struct wire_code_row *find(const struct wire_code_row *rows, size_t n, int32_t code)
{
	size_t low = 0, high = n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (rows[mid].code <= code)
			low = mid + 1;
		else
			high = mid;
	}
	return low > 0 && rows[low - 1].code == code ? &rows[low - 1] : NULL;
}

const struct wire_code_row *wire_request_row(int32_t code)
{
	return find(requests, sizeof(requests) / sizeof(requests[0]), code);
}

const struct wire_code_row *wire_answer_row(int32_t code)
{
	return find(answers, sizeof(answers) / sizeof(answers[0]), code);
}

const struct wire_code_row *wire_request_rows(unsigned *ret_n)
{
	*ret_n = sizeof(requests) / sizeof(requests[0]);
	return requests;
}
