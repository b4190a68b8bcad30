/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The web UI's files, out of the program's image. They are small and never change while it runs: an ETag, and no other caching. */
#include "front/http/api.h"

#define POLICY "content-security-policy: default-src 'self'; object-src 'none'; base-uri 'none'; " \
	"frame-ancestors 'none'; form-action 'self'\r\nx-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\ncache-control: no-cache\r\n"

static const struct http_file *find(struct slice path)
{
	for (const struct http_file *f = http_files; f->path != NULL; f++)
		if (slice_eq_str(path, f->path))
			return f;
	return NULL;
}

static bool has_tag(struct slice list, struct slice tag)
{
	struct slice one;

	while (slice_split(&list, ',', &one)) {
		one = slice_trim(one);
		if (slice_starts(one, SLICE_LIT("W/")))
			one = slice_skip(one, 2);
		if (slice_eq(one, tag) || slice_eq_str(one, "*"))
			return true;
	}
	return false;
}

bool static_serve(struct api_job *j)
{
	struct http_api *a = j->api;
	const struct http_file *f = a->conf->web_ui ? find(j->call->path) : NULL;
	struct buf extra = {0};

	if (f == NULL)
		return false;
	if (!j->head && !slice_eq_str(j->call->method, "GET")) {
		struct buf *b = api_out(a);
		api_problem_json(b, 405, ST_UNSUPPORTED, SLICE_LIT("the path is there, the method is not"), j->call->path);
		api_reply(j, 405, "application/problem+json", SLICE_LIT("allow: GET, HEAD\r\n"), buf_view(b));
		return true;
	}
	struct slice bytes = slice_of(f->bytes, (size_t)(f->end - f->bytes));
	buf_str(&extra, "etag: ");
	size_t at = extra.n;
	buf_fmt(&extra, "\"%016llx\"", (unsigned long long)slice_hash(bytes));
	struct slice tag = slice_of(extra.p + at, extra.n - at);
	bool same = has_tag(http_header(j->call, "if-none-match"), tag);
	buf_str(&extra, "\r\n" POLICY);
	if (same)
		api_reply(j, 304, NULL, buf_view(&extra), (struct slice){NULL, 0});
	else
		api_reply(j, 200, f->type, buf_view(&extra), bytes);
	buf_fini(&extra);
	return true;
}
