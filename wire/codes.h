/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Request and answer codes of the remoting protocol. The rows are in codes.tbl and answers.tbl. */
#ifndef WIRE_CODES_H
#define WIRE_CODES_H

#include <stdint.h>

enum wire_request {
#define X(number, name, class, text) REQ_##name = number,
#include "wire/codes.tbl"
#undef X
};

enum wire_answer_code {
#define X(number, name, text) ANS_##name = number,
#include "wire/answers.tbl"
#undef X
};

struct wire_code_row {
	int32_t code;
	char class;            /* 'A' stock clients, 'B' administration, 'C' extras of 5.x, 'U' defined but never used; 0 for answers */
	const char *name;
	const char *text;
};
/* The row of a request code; NULL when it is not defined. */
const struct wire_code_row *wire_request_row(int32_t code);
/*
 * The row of an answer code; NULL when it is not defined. Where two releases gave a number two meanings, the newer one.
 */
const struct wire_code_row *wire_answer_row(int32_t code);
/* All request rows in the order of the numbers; for documents and counters. */
const struct wire_code_row *wire_request_rows(unsigned *ret_n);

#endif
