/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Errors as problem documents (RFC 9457). "code" is the status' name in base/status.tbl, for programs; "type" is made of it. */
#include <stdarg.h>
#include <stdio.h>

#include "front/http/api.h"

#define DETAIL_MAX 400u
#define PROBLEM_TYPE "application/problem+json"

static void put_type(struct buf *b, const char *code)
{
	buf_str(b, "urn:gantry:problem:");
	for (; *code != '\0'; code++)
		buf_u8(b, *code == '_' ? '-' : (uint8_t)(*code | 0x20));
}

void api_problem_json(struct buf *b, unsigned http, enum status st, struct slice detail, struct slice instance)
{
	buf_str(b, "{\"type\":\"");
	put_type(b, status_name(st));
	buf_fmt(b, "\",\"title\":\"%s\",\"status\":%u,\"code\":\"%s\"", status_text(st), http, status_name(st));
	if (detail.n > 0) {
		buf_str(b, ",\"detail\":");
		buf_json_str(b, detail);
	}
	if (instance.n > 0) {
		buf_str(b, ",\"instance\":");
		buf_json_str(b, instance);
	}
	buf_u8(b, '}');
}

static void answer(struct api_job *j, unsigned http, enum status st, const char *detail)
{
	struct buf *b = api_out(j->api);
	struct buf extra = {0};

	if (j->call == NULL)
		return;
	api_problem_json(b, http, st, slice_str(detail), j->call->path);
	buf_str(&extra, "cache-control: no-store\r\n");
	if (http == 429 || http == 503)
		buf_str(&extra, "retry-after: 1\r\n");
	api_reply(j, http, PROBLEM_TYPE, buf_view(&extra), buf_view(b));
	buf_fini(&extra);
}

void api_problem(struct api_job *j, unsigned http, enum status st, const char *fmt, ...)
{
	char detail[DETAIL_MAX] = "";
	va_list ap;

	if (fmt != NULL) {
		va_start(ap, fmt);
		vsnprintf(detail, sizeof(detail), fmt, ap);
		va_end(ap);
	}
	answer(j, http, st, detail);
}

void api_refuse(struct api_job *j, enum status st, const char *fmt, ...)
{
	char detail[DETAIL_MAX] = "";
	va_list ap;

	if (fmt != NULL) {
		va_start(ap, fmt);
		vsnprintf(detail, sizeof(detail), fmt, ap);
		va_end(ap);
	}
	answer(j, front_statuses[st].http, st, detail);
}

bool api_failed(struct api_job *j, enum status st)
{
	if (st == ST_OK)
		return false;
	answer(j, front_statuses[st].http, st, "");
	return true;
}
