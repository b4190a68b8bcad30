/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The fields of the hot requests, in one pass over the command's extension fields, and their answers. All other
 * requests read their few fields with wire_args (wire/frame.h).
 */
#ifndef WIRE_FIELDS_H
#define WIRE_FIELDS_H

#include "wire/frame.h"

/* 10 and 324 with long names; 310, 320 and 325 with the letters a to n. */
struct wire_send {
	struct slice producer_group;
	struct slice topic;
	struct slice default_topic;    /* template for a topic that does not exist */
	int32_t default_queues;
	int32_t queue;                 /* < 0: the broker picks */
	int32_t sys_flag;
	int64_t born_ms;
	int32_t flag;
	struct slice props;
	int32_t reconsume_times;       /* 0 when absent */
	int32_t max_reconsume;         /* -1 when absent */
	bool unit_mode;
	bool batch;                    /* code 320, or the field says so (310 of the C++ client) */
	struct slice broker_name;
};
/* False: a->field and a->why say which field is missing or illegal. */
bool wire_send_decode(const struct wire_cmd *c, struct wire_send *ret, struct wire_args *a);

/* Bits of a pull's sysFlag. */
enum { PULL_COMMIT = 0x1, PULL_SUSPEND = 0x2, PULL_SUBSCRIPTION = 0x4, PULL_CLASS_FILTER = 0x8, PULL_LITE = 0x10 };

/* 11 and 361. */
struct wire_pull {
	struct slice group;
	struct slice topic;
	int32_t queue;
	int64_t offset;
	int32_t max_msgs;
	int32_t max_bytes;             /* 0 when absent */
	int32_t sys_flag;
	int64_t commit;                /* meaningful with PULL_COMMIT only */
	int64_t suspend_ms;
	bool has_subscription;         /* the field was there; counts only with PULL_SUBSCRIPTION */
	struct slice subscription;
	int64_t sub_version;
	struct slice expression_type;  /* "TAG" when absent or empty */
};
bool wire_pull_decode(const struct wire_cmd *c, struct wire_pull *ret, struct wire_args *a);

/* The answer to a send that was stored (codes 0, 10, 11, 12). Optional slices are left out when empty. */
struct wire_send_answer {
	struct slice msg_id;           /* offset id; comma-joined ones of a batch */
	int32_t queue;
	uint64_t offset;               /* of the (first) message in its queue */
	struct slice transaction_id;
	struct slice batch_uniq_id;
	struct slice region;           /* MSG_REGION */
	bool trace_on;                 /* TRACE_ON */
};
void wire_send_answer(struct buf *b, const struct wire_cmd *request, int32_t code, struct slice remark,
                      const struct wire_send_answer *v);

/* The answer to a pull: codes 0, 19, 20 and 21 all carry these. The pieces of the body follow the header. */
struct wire_pull_answer {
	int64_t suggest_broker;        /* 0: the master */
	uint64_t next, min, max;
};
void wire_pull_answer(struct buf *b, const struct wire_cmd *request, int32_t code, struct slice remark,
                      const struct wire_pull_answer *v, size_t body_len);

#endif
