/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* One message from the command line: to try a broker out without a client library. */
#include "admin/send.h"

#include <stdio.h>
#include <stdlib.h>

#include "admin/ask.h"
#include "wire/codes.h"

enum { TOPIC_QUEUES = 4 };

static struct slice field(const struct wire_cmd *cmd, const char *name)
{
	struct slice v = SLICE_LIT("?");

	(void)wire_ext(cmd, name, &v);
	return v;
}

int send_run(const char *addr, const char *topic, const char *body, int64_t now_ms)
{
	struct ask a = {.request = {0}};
	struct wire_out o;
	int rc = EXIT_FAILURE;

	wire_begin(&o, &a.request, WIRE_JSON, REQ_SEND_MESSAGE, 1, 0);
	wire_put(&o, "producerGroup", SLICE_LIT("gantry_send"));
	wire_put(&o, "topic", slice_str(topic));
	wire_put(&o, "defaultTopic", SLICE_LIT("TBW102"));
	wire_put_i64(&o, "defaultTopicQueueNums", TOPIC_QUEUES);
	wire_put_i64(&o, "queueId", -1);
	wire_put_i64(&o, "sysFlag", 0);
	wire_put_i64(&o, "bornTimestamp", now_ms);
	wire_put_i64(&o, "flag", 0);
	wire_put_i64(&o, "reconsumeTimes", 0);
	wire_put_bool(&o, "unitMode", false);
	wire_put_bool(&o, "batch", false);
	wire_put(&o, "properties", SLICE_LIT(""));
	wire_finish(&o, strlen(body));
	buf_str(&a.request, body);
	if (ask_broker(&a, addr)) {
		struct slice id = field(&a.cmd, "msgId"), queue = field(&a.cmd, "queueId"), offset = field(&a.cmd, "queueOffset");
		printf("stored: id %.*s, queue %.*s, offset %.*s\n", (int)id.n, (const char *)id.p, (int)queue.n, (const char *)queue.p,
		       (int)offset.n, (const char *)offset.p);
		rc = EXIT_SUCCESS;
	}
	ask_fini(&a);
	return rc;
}
