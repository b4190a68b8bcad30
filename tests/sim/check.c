/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The checkers. They share nothing with the engine but the record format: what pulls return is compared with what was answered before the
 * crash, and with the log as it stands in the disk's files.
 */
#include <stdlib.h>

#include "base/crc.h"
#include "base/props.h"
#include "record/record.h"
#include "tests/sim/crash.h"

#define COMMIT_SLACK_NS (2 * SEC_NS) /* a commit is durable after offset_sync_ms and this */
enum { SCAN_QUEUES_MAX = 16 };

/* What pulls returned of one queue. */
struct scan {
	uint64_t min, max;
	uint64_t *positions; /* [max - min] */
	size_t n, cap;
	uint64_t last_id[CLIENTS + 1]; /* of the messages that were not delayed, by who sent them */
};

struct checker {
	struct life *life;
	bool lossy; /* the crash may have taken the end of what was acknowledged */
	bool killed; /* only the process died: nothing acknowledged may be missing */
	bool end;   /* nothing is under way, all delays are over */
	bool drained; /* and the lease group has taken all */
	struct scan scans[TOPICS][QUEUES];
};

static void submit_topic_get(struct life *l, struct op *op) { engine_topic_get(l->world.engine, &op->u.topic); }
void submit_range(struct life *l, struct op *op) { engine_range(l->world.engine, &op->u.range); }
static void submit_pull(struct life *l, struct op *op) { engine_pull(l->world.engine, &op->u.pull); }
static void submit_offset_get(struct life *l, struct op *op) { engine_offset_get(l->world.engine, &op->u.offset); }
static void submit_group_get(struct life *l, struct op *op) { engine_group_get(l->world.engine, &op->u.group); }
static void submit_stats(struct life *l, struct op *op) { engine_stats(l->world.engine, &op->u.stats); }

/* ---- Topics ------------------------------------------------------------------------------------------------------------------- */

static void topic_gone(struct life *l, int i)
{
	struct topic_model *t = &l->topics[i];

	t->being = ABSENT;
	t->life++;
	t->queues = t->maybe = 0;
	t->incarnation = 0;
	memset(t->next, 0, sizeof(t->next));
	for (int g = 0; g < GROUPS; g++)
		for (int q = 0; q < QUEUES; q++) {
			l->offsets[g][i][q].n = 0;
			l->offsets[g][i][q].sure = false;
		}
}

static void check_topic(struct checker *c, int i)
{
	struct life *l = c->life;
	struct topic_model *t = &l->topics[i];
	struct op *op = op_new(l, OP_OTHER);

	op->u.topic.name = slice_str(t->name);
	enum status st = ask_wait(l, op, submit_topic_get);
	const struct topic_info *info = &op->u.topic.info;

	MUST(l, st == ST_OK || st == ST_NO_TOPIC, "%s: TOPIC_GET says %s", t->name, status_name(st));
	if (st == ST_NO_TOPIC) {
		MUST(l, t->being != PRESENT || c->lossy, "%s was created, and is gone", t->name);
		if (t->being != ABSENT)
			topic_gone(l, i);
		op_free(op);
		return;
	}
	MUST(l, t->being != ABSENT || c->lossy, "%s was dropped, and is back", t->name);
	MUST(l, t->incarnation == 0 || t->incarnation == info->incarnation || c->lossy, "%s is of another life (%llu) than before (%llu)", t->name,
		(unsigned long long)info->incarnation, (unsigned long long)t->incarnation);
	MUST(l, op->u.topic.conf.read_queues >= t->queues || c->lossy, "%s has %u queues, had %u", t->name, op->u.topic.conf.read_queues, t->queues);
	t->being = PRESENT;
	t->incarnation = info->incarnation;
	t->queues = op->u.topic.conf.read_queues;
	MUST(l, t->queues <= QUEUES, "%s has %u queues", t->name, t->queues);
	op_free(op);
}

/* The checksum property by its definition, so that a mistake in record_check does not hide itself. */
static bool crc_fits(struct slice record)
{
	const uint8_t *digits = record.p + record.n - RECORD_CRC_SIZE + 9;
	uint64_t crc = 0;

	for (int i = 9; i >= 0; i--)
		crc = crc * 10 + (uint64_t)(digits[i] - '0');
	return crc == (crc32_of(record.p, record.n - RECORD_CRC_SIZE) & 0x7fffffff);
}

/* ---- Reading whole queues ------------------------------------------------------------------------------------------------------- */

typedef void see_record(struct checker *c, int what, int32_t queue, const struct record *r);

static void see_bytes(struct checker *c, const struct engine_pull *r, const char *name, int what, uint64_t *at, see_record *see)
{
	struct life *l = c->life;
	struct buf all = {0};

	for (unsigned i = 0; i < r->n_pieces; i++)
		buf_slice(&all, r->pieces[i].bytes);
	struct slice rest = buf_view(&all);

	for (uint32_t i = 0; i < r->count; i++) {
		struct record rec;

		MUST(l, record_decode(rest, &rec) == ST_OK && record_check(rest, rec.position, false, &rec) == ST_OK,
			"%s/%d at %llu: not a valid record", name, r->queue, (unsigned long long)*at);
		MUST(l, crc_fits(slice_of(rest.p, rec.size)), "%s/%d at %llu: the checksum is wrong", name, r->queue, (unsigned long long)*at);
		MUST(l, rec.queue_offset == *at, "%s/%d: offset %llu stands where %llu should", name, r->queue,
			(unsigned long long)rec.queue_offset, (unsigned long long)*at);
		MUST(l, rec.queue == r->queue && slice_eq_str(rec.topic, name), "%s/%d at %llu: a record of another queue", name, r->queue,
			(unsigned long long)*at);
		see(c, what, r->queue, &rec);
		++*at;
		rest = slice_skip(rest, rec.size);
		l->checked++;
	}
	MUST(l, rest.n == 0, "%s/%d: bytes behind the last record", name, r->queue);
	buf_fini(&all);
}

struct reading {
	struct checker *c;
	const char *name;
	int what;
	uint64_t at;
	see_record *see;
};

static void pull_answered(struct op *op)
{
	struct reading *rd = op->arg;

	/* The pieces are valid now only. */
	if (op->status == ST_OK)
		see_bytes(rd->c, &op->u.pull, rd->name, rd->what, &rd->at, rd->see);
}

/* Reads all queues of a topic; false when there is no such topic. */
static bool read_topic(struct checker *c, const char *name, int what, see_record *see)
{
	struct life *l = c->life;

	for (int32_t q = 0; q < SCAN_QUEUES_MAX; q++) {
		struct op *op = op_new(l, OP_OTHER);

		op->u.range.topic = slice_str(name);
		op->u.range.queue = q;
		enum status st = ask_wait(l, op, submit_range);
		uint64_t min = op->u.range.min, max = op->u.range.max;

		op_free(op);
		if (st == ST_NO_TOPIC || st == ST_NO_QUEUE)
			return st == ST_NO_QUEUE && q > 0;
		MUST(l, st == ST_OK && min <= max, "%s/%d: RANGE says %s, %llu to %llu", name, q, status_name(st), (unsigned long long)min,
			(unsigned long long)max);
		if (what < TOPICS && q < QUEUES) {
			c->scans[what][q].min = min;
			c->scans[what][q].max = max;
			l->topics[what].next[q] = max;
		}
		struct reading rd = {c, name, what, min, see};

		while (rd.at < max) {
			uint64_t from = rd.at;

			op = op_new(l, OP_OTHER);
			op->then = pull_answered;
			op->arg = &rd;
			op->u.pull = (struct engine_pull){.topic = slice_str(name), .queue = q, .from = from, .max_msgs = 1 + (uint32_t)below(l, 100),
				.max_bytes = 1 + (uint32_t)below(l, 300000), .commit = -1, .has_expr = true, .expr = SLICE_LIT("*")};
			st = ask_wait(l, op, submit_pull);
			MUST(l, st == ST_OK, "%s/%d: the pull from %llu (of %llu to %llu) says %s", name, q, (unsigned long long)from,
				(unsigned long long)min, (unsigned long long)max, status_name(st));
			MUST(l, rd.at > from && op->u.pull.next == rd.at, "%s/%d: next is %llu after %llu", name, q, (unsigned long long)op->u.pull.next,
				(unsigned long long)rd.at);
			op_free(op);
		}
	}
	return true;
}

static void see_message(struct checker *c, int what, int32_t queue, const struct record *r)
{
	struct life *l = c->life;
	struct topic_model *t = &l->topics[what];
	uint64_t id = body_id(r->body);

	MUST(l, id > 0 && id < l->n_msgs && l->msgs[id].topic == what, "%s/%d at %llu: a message that nobody sent", t->name, queue,
		(unsigned long long)r->queue_offset);
	struct message *m = &l->msgs[id];
	struct scan *s = &c->scans[what][queue];

	MUST(l, m->life == t->life || m->delay > 0 || c->lossy, "%s/%d: message %llu of a topic that was dropped", t->name, queue, (unsigned long long)id);
	m->life = t->life;
	MUST(l, ++m->found == 1, "%s: message %llu is there twice (at %d/%llu)", t->name, (unsigned long long)id, queue,
		(unsigned long long)r->queue_offset);
	MUST(l, m->fate != FATE_REFUSED, "%s/%d: message %llu is there, but its send was refused", t->name, queue, (unsigned long long)id);
	MUST(l, m->fate != FATE_LOST, "%s/%d: message %llu was lost in a crash before, and is back", t->name, queue, (unsigned long long)id);
	MUST(l, !m->seen || c->lossy || (m->queue == queue && m->offset == r->queue_offset && m->position == r->position),
		"%s: message %llu stood at %d/%llu (%llu), and stands at %d/%llu (%llu)", t->name, (unsigned long long)id, m->queue,
		(unsigned long long)m->offset, (unsigned long long)m->position, queue, (unsigned long long)r->queue_offset, (unsigned long long)r->position);
	MUST(l, r->body.n == m->size && r->flag == 7, "%s/%d: message %llu is changed", t->name, queue, (unsigned long long)id);
	if (m->delay > 0 && m->stored_ms > 0)
		MUST(l, r->store_ms >= m->stored_ms + l->world.conf.delay_ms[m->delay - 1], "%s/%d: message %llu is early", t->name, queue,
			(unsigned long long)id);
	m->seen = true;
	m->queue = queue;
	m->offset = r->queue_offset;
	m->position = r->position;
	/* Sent in the order of ids. */
	if (m->delay == 0) {
		MUST(l, id > s->last_id[m->via] || c->lossy, "%s/%d at %llu: message %llu stands behind %llu, which was sent later", t->name, queue,
			(unsigned long long)r->queue_offset, (unsigned long long)id, (unsigned long long)s->last_id[m->via]);
		s->last_id[m->via] = id;
	}
	if (s->n == s->cap) {
		s->cap = s->cap == 0 ? 64 : s->cap * 2;
		s->positions = mem_grow(s->positions, s->cap * sizeof(*s->positions));
	}
	s->positions[s->n++] = r->position;
	t->next[queue] = r->queue_offset + 1;
}

static void see_back(struct checker *c, int what, int32_t queue, const struct record *r)
{
	struct life *l = c->life;
	int group = what - TOPICS;
	uint64_t id = body_id(r->body);

	(void)queue;
	MUST(l, id > 0 && id < l->n_msgs, "a retry topic holds a message that nobody sent");
	struct message *m = &l->msgs[id];

	MUST(l, ++m->back_found[group] <= m->backs_sure[group] + m->backs_unsure[group], "message %llu came back %u times to %s, was sent back %u to %u times",
		(unsigned long long)id, m->back_found[group], group_of(group), m->backs_sure[group], m->backs_sure[group] + m->backs_unsure[group]);
}

static void see_dead(struct checker *c, int what, int32_t queue, const struct record *r)
{
	struct life *l = c->life;
	uint64_t id = body_id(r->body);

	(void)what;
	(void)queue;
	MUST(l, id > 0 && id < l->n_msgs, "a dead-letter topic holds a message that nobody sent");
	l->msgs[id].dead++;
	MUST(l, l->msgs[id].dead == 1 || l->msgs[id].again || c->lossy, "message %llu is dead twice", (unsigned long long)id);
}

/* ---- What should have been found ------------------------------------------------------------------------------------------------ */

static void check_message(struct checker *c, uint64_t id)
{
	struct life *l = c->life;
	struct message *m = &l->msgs[id];
	const struct topic_model *t = &l->topics[m->topic];

	for (int g = 0; g < GROUPS && c->end && !l->tight && !l->forgets; g++)
		MUST(l, m->back_found[g] >= m->backs_sure[g], "message %llu was sent back %u times for %s, and came back %u times", (unsigned long long)id,
			m->backs_sure[g], group_of(g), m->back_found[g]);
	if (c->lossy && m->delay > 0 && !m->found)
		m->seen = false; /* the copy that was seen is lost: the parked one is delivered again, to another place */
	if (t->being != PRESENT || m->life != t->life)
		return;
	if (c->drained && m->found && !l->tight && !l->forgets)
		MUST(l, m->lease == LEASE_ACKED || m->lease == LEASE_UNSURE || m->dead > 0, "%s: message %llu at %d/%llu was %s", t->name,
			(unsigned long long)id, m->queue, (unsigned long long)m->offset,
			m->lease == LEASE_REJECTED ? "rejected, and is not in the dead-letter topic" : "never delivered and settled");
	/* Given up to retention. */
	if (l->forgets && !m->found && m->seen && m->offset < c->scans[m->topic][m->queue].min) {
		m->fate = FATE_LOST;
		return;
	}
	bool must = m->fate == FATE_ACKED && (m->durable || c->killed || c->end) && !c->lossy;

	if (m->delay > 0 && !m->settled)
		must = must && c->end && !l->tight && !l->forgets;
	if (m->settled)
		must = !c->lossy;
	if (m->seen && m->durable && !c->lossy)
		must = true;
	MUST(l, !must || m->found == 1, "%s: message %llu is gone (it was %s at %d/%llu, position %llu)", t->name, (unsigned long long)id,
		m->settled ? "there after an earlier crash" : m->fate == FATE_ACKED ? "acknowledged" : "seen by a reader", m->queue,
		(unsigned long long)m->offset, (unsigned long long)(m->delay > 0 && !m->seen ? m->parked : m->position));
	if (m->found) {
		m->fate = FATE_ACKED;
		m->durable = m->settled = true;
	} else if (m->delay == 0 && m->fate != FATE_REFUSED) {
		m->fate = FATE_LOST;
	} else if (m->delay > 0 && (c->lossy || (m->fate == FATE_ACKED && !m->durable && !c->killed && !c->end))) {
		m->fate = FATE_UNSURE;
		m->seen = m->settled = m->durable = false;
	}
}

/* ---- The log against the index --------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void match_record(struct checker *c, const struct record *r, uint64_t counts[TOPICS][QUEUES])
{
	struct life *l = c->life;

	for (int i = 0; i < TOPICS; i++) {
		const struct topic_model *t = &l->topics[i];

		if (t->being != PRESENT || r->position < t->incarnation || !slice_eq_str(r->topic, t->name))
			continue;
		MUST(l, r->queue >= 0 && r->queue < QUEUES, "the log has a record of %s/%d", t->name, r->queue);
		const struct scan *s = &c->scans[i][r->queue];

		MUST(l, r->queue_offset >= s->min, "%s/%d: offset %llu stands in the log, below the first one", t->name, r->queue,
			(unsigned long long)r->queue_offset);
		if (r->queue_offset >= s->max)
			return; /* came after the queue was read */
		MUST(l, s->positions[r->queue_offset - s->min] == r->position, "%s/%d: offset %llu stands at %llu in the log, at %llu in the index", t->name,
			r->queue, (unsigned long long)r->queue_offset, (unsigned long long)r->position,
			(unsigned long long)s->positions[r->queue_offset - s->min]);
		counts[i][r->queue]++;
	}
}

/* Behind the end no valid record may stand, or it would come back to life when the log grows up to it. */
static void check_behind(struct life *l, struct slice bytes, uint64_t at, uint64_t start)
{
	while (at + RECORD_SIZE_MIN <= bytes.n) {
		const uint8_t *hit = memchr(bytes.p + at + 4, RECORD_MAGIC_V1 >> 24, bytes.n - at - 4);
		struct record r;

		if (hit == NULL)
			return;
		at = (uint64_t)(hit - bytes.p) - 4;
		MUST(l, record_check(slice_skip(bytes, at), start + at, true, &r) != ST_OK, "a valid record stands at %llu, behind the end of the log",
			(unsigned long long)(start + at));
		at++;
	}
}

/* Walks all segments. */
static void check_log(struct checker *c)
{
	struct life *l = c->life;
	const char *names[4096], *path;
	uint64_t counts[TOPICS][QUEUES] = {{0}}, position = 0, first = 0;
	size_t n = 0, k;
	bool ended = false;

	for (size_t i = 0; (path = sim_disk_path(l->world.disk, i)) != NULL; i++)
		if (strncmp(path, "commitlog/0", 11) == 0 && n < ARRAY_LEN(names))
			names[n++] = path;
	qsort(names, n, sizeof(names[0]), by_name);
	for (k = 0; k < n; k++) {
		struct slice bytes;
		uint64_t start, at = 0;

		MUST(l, sim_disk_bytes(l->world.disk, names[k], &bytes) && slice_u64(slice_str(names[k] + 10), &start), "odd segment %s", names[k]);
		if (k == 0)
			first = position = start;
		MUST(l, start == position || ended, "segment %s does not follow the one before", names[k]);
		while (!ended && at + RECORD_BLANK_SIZE <= bytes.n) {
			uint32_t size = 0;
			struct record r;
			enum record_kind kind = record_peek(bytes.p + at, &size);

			if (kind == RECORD_BLANK && at + size == bytes.n)
				break;
			if (kind != RECORD_MESSAGE || size > bytes.n - at ||
			    record_check(slice_of(bytes.p + at, size), start + at, false, &r) != ST_OK) {
				ended = true;
				check_behind(l, bytes, at + 1, start);
				break;
			}
			match_record(c, &r, counts);
			at += size;
		}
		position = start + bytes.n;
	}
	for (int i = 0; i < TOPICS; i++)
		for (int q = 0; q < QUEUES && l->topics[i].being == PRESENT; q++) {
			const struct scan *s = &c->scans[i][q];
			uint64_t want = 0;

			/* Segments may have gone to retention since the queue was read. */
			for (size_t at = 0; at < s->n && at < s->max - s->min; at++)
				want += s->positions[at] >= first;
			MUST(l, counts[i][q] == want, "%s/%d: the index has %llu messages, the log %llu", l->topics[i].name, q,
				(unsigned long long)want, (unsigned long long)counts[i][q]);
		}
}

/* ---- Offsets and groups -------------------------------------------------------------------------------------------------------------- */

static void check_offset(struct checker *c, int g, int i, int32_t q, uint64_t crashed_ns)
{
	struct life *l = c->life;
	struct offset_model *o = &l->offsets[g][i][q];
	struct op *op = op_new(l, OP_OTHER);
	size_t floor = 0;
	bool none_ok = !o->sure, fits = false;

	op->u.offset.group = slice_str(group_of(g));
	op->u.offset.topic = slice_str(l->topics[i].name);
	op->u.offset.queue = q;
	enum status st = ask_wait(l, op, submit_offset_get);
	uint64_t got = op->u.offset.offset;

	op_free(op);
	MUST(l, st == ST_OK || st == ST_NOT_FOUND || st == ST_NO_QUEUE, "%s %s/%d: OFFSET_GET says %s", group_of(g), l->topics[i].name, q, status_name(st));
	for (size_t k = 0; k < o->n; k++) {
		const struct commit *m = &o->history[k];
		uint64_t due = l->world.conf.offset_sync_ms * MS_NS + COMMIT_SLACK_NS;

		if (m->answered && (m->reset ? !l->faulty : !l->faulty && !l->tight && m->answered_ns + due < crashed_ns)) {
			floor = k;
			none_ok = false;
		}
	}
	for (size_t k = floor; k < o->n; k++) {
		fits |= st == ST_OK && !o->history[k].none && o->history[k].value == got;
		none_ok |= o->history[k].none;
	}
	MUST(l, fits || (st != ST_OK && none_ok) || c->lossy, "%s %s/%d: the offset is %lld, which is not one that was committed since the last durable one (%lld)",
		group_of(g), l->topics[i].name, q, st == ST_OK ? (long long)got : -1, o->n > 0 ? (long long)o->history[floor].value : -1);
	o->n = 0;
	o->sure = st == ST_OK;
	if (st != ST_OK)
		return;
	MUST(l, got <= c->scans[i][q].max || c->lossy, "%s %s/%d: offset %llu is behind the queue's end %llu", group_of(g), l->topics[i].name, q,
		(unsigned long long)got, (unsigned long long)c->scans[i][q].max);
	if (o->cap == 0)
		o->history = mem_array(o->cap = 8, sizeof(*o->history));
	o->history[o->n++] = (struct commit){.value = got, .answered = true, .reset = true};
}

static void check_group(struct checker *c, int g)
{
	struct life *l = c->life;
	struct op *op = op_new(l, OP_OTHER);

	op->u.group.name = slice_str(group_of(g));
	enum status st = ask_wait(l, op, submit_group_get);

	op_free(op);
	MUST(l, st == ST_OK || (st == ST_NO_GROUP && (!l->group_sure[g] || c->lossy)), "group %s: GROUP_GET says %s", group_of(g), status_name(st));
	l->group_sure[g] = st == ST_OK;
}

/* ---- All of it ------------------------------------------------------------------------------------------------------------------------- */

static void forgive(struct life *l)
{
	for (uint64_t id = 1; id < l->n_msgs; id++)
		for (int g = 0; g < GROUPS; g++) {
			l->msgs[id].backs_unsure[g] += l->msgs[id].backs_sure[g];
			l->msgs[id].backs_sure[g] = 0;
		}
}

/* What is in the log is visible. */
static void wait_visible(struct life *l)
{
	for (int i = 0; i < 1000; i++) {
		struct op *op = op_new(l, OP_OTHER);

		ask_wait(l, op, submit_stats);
		bool good = op->u.stats.v[STAT_LOG_VISIBLE] == op->u.stats.v[STAT_LOG_WRITTEN];

		op_free(op);
		if (good)
			return;
		sim_world_run(&l->world, MS_NS);
	}
	fail(l, "what is written does not become visible");
}

static void run_checks(struct checker *c, uint64_t crashed_ns)
{
	struct life *l = c->life;
	char name[64];

	for (uint64_t id = 1; id < l->n_msgs; id++) {
		l->msgs[id].found = l->msgs[id].dead = 0;
		memset(l->msgs[id].back_found, 0, sizeof(l->msgs[id].back_found));
	}
	wait_visible(l);
	for (int i = 0; i < TOPICS; i++) {
		check_topic(c, i);
		if (l->topics[i].being == PRESENT)
			MUST(l, read_topic(c, l->topics[i].name, i, see_message), "%s cannot be read", l->topics[i].name);
	}
	for (int g = 0; g < GROUPS; g++) {
		snprintf(name, sizeof(name), "%%RETRY%%%s", group_of(g));
		read_topic(c, name, TOPICS + g, see_back);
		snprintf(name, sizeof(name), "%%DLQ%%%s", group_of(g));
		read_topic(c, name, TOPICS + g, see_back);
	}
	read_topic(c, "%DLQ%leasers", TOPICS + GROUPS, see_dead);
	for (uint64_t id = 1; id < l->n_msgs; id++)
		check_message(c, id);
	check_log(c);
	for (int g = 0; g < GROUPS; g++) {
		check_group(c, g);
		for (int i = 0; i < TOPICS; i++)
			for (int32_t q = 0; q < QUEUES && l->topics[i].being == PRESENT; q++)
				check_offset(c, g, i, q, crashed_ns);
	}
	cell_check(l, c->lossy);
	for (int i = 0; i < TOPICS; i++)
		for (int q = 0; q < QUEUES; q++)
			mem_free(c->scans[i][q].positions);
}

void check_all(struct life *l, enum sim_crash how, uint64_t crashed_ns)
{
	bool async = l->world.conf.flush == FLUSH_ASYNC;
	struct checker c = {.life = l, .lossy = async && how != SIM_CRASH_KILL, .killed = how == SIM_CRASH_KILL};

	if (c.lossy) {
		forgive(l);
		for (int i = 0; i < TOPICS; i++) /* what readers saw may be gone: the ends are found out anew */
			memset(l->topics[i].next, 0, sizeof(l->topics[i].next));
	}
	lease_recovered(l, c.lossy, crashed_ns);
	tap_recovered(l, c.lossy);
	run_checks(&c, crashed_ns);
}

void check_end(struct life *l, bool drained)
{
	struct checker c = {.life = l, .end = true, .drained = drained};

	run_checks(&c, l->world.clock.now_ns);
}
