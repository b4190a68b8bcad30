/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Wills: published as any message when a connection ends without a DISCONNECT that says goodbye, at once or after a delay, at the latest with the session's end; not, when
 * the client is back before. A durable session's will is in its cell, so that it is published even if the process ends first. When the process stops in order, wills of
 * sessions that end with it are not published.
 */
#include "front/mqtt/mq.h"

struct mq_will *mq_will_new(uint32_t delay_s, struct slice packet)
{
	struct mq_will *w = mem_new(sizeof(*w) + packet.n);

	memcpy(w + 1, packet.p, packet.n);
	w->delay_s = delay_s;
	w->packet = slice_of(w + 1, packet.n);
	return w;
}

void mq_will_set(struct mq_session *s, const struct mqtt_will *w)
{
	struct mqtt_packet p = {.type = MQTT_PUBLISH, .qos = w->qos, .retain = w->retain, .id = w->qos > 0 ? 1 : 0, .topic = w->topic, .payload = w->payload, .props = w->props};
	struct mq *f = s->f;

	p.props.has &= ~(1ull << MQTT_P_WILL_DELAY);
	buf_reset(&f->scratch);
	CHECK(mqtt_put(&f->scratch, MQTT_5, 0, &p));
	s->will = mq_will_new(w->props.will_delay, buf_view(&f->scratch));
}

void mq_will_drop(struct mq_session *s)
{
	mq_timer_drop(s->f, &s->will_due);
	mem_free(s->will);
	s->will = NULL;
}

void mq_will_now(struct mq_session *s)
{
	struct mqtt_packet p;

	if (s->will == NULL)
		return;
	if (mqtt_next(s->will->packet, MQTT_5, 0, &p) == (ptrdiff_t)s->will->packet.n) {
		s->f->n.wills++;
		mq_publish_stored(s, &p);
	}
	mq_will_drop(s);
}

void mq_will_due(struct mq_session *s)
{
	mq_will_now(s);
	if (s->stored)
		mq_persist(s, NULL, NULL);
}

void mq_will_ended(struct mq_session *s)
{
	if (s->will == NULL || s->f->draining)
		return;
	if (s->will->delay_s == 0)
		mq_will_now(s);
	else
		mq_timer_set(s->f, &s->will_due, s->will->delay_s * 1000ull);
}

void mq_will_load(struct mq_session *s)
{
	int64_t left;

	if (s->will == NULL)
		return;
	left = s->seen_ms + (int64_t)s->will->delay_s * 1000 - clock_wall_ms(s->f->clock);
	mq_timer_set(s->f, &s->will_due, left <= 0 ? 0 : (uint64_t)left);
}
