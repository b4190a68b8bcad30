/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* One consumer group: how far it is behind, queue by queue, who consumes, and moving its offsets. */
import { groups } from './api.js';
import { button, card, clock, confirm, count, el, failure, field, form, head, link, loading, rate, set, sparkline, table, text, toast, topicLink } from './ui.js';

const EVERY_MS = 1000;

export function mount(root, ctx) {
	const group = ctx.name;
	const state = el('div', null, loading());
	const behind = el('strong', { id: 'lag' }, '–'), trend = el('small'), line = sparkline('Messages behind');
	let last = null, at = 0, read = [];
	const offsets = table('Offsets', [['Topic', 'main'], ['Queue', 'num'], ['Consumed to', 'num'], ['End', 'num'], ['Behind', 'num']], {
		key: (o) => `${o.queue} ${o.topic}`,
		cells: (o) => [topicLink(o.topic), String(o.queue), '', '', ''],
		update: (cells, o) => {
			text(cells[2], count(o.offset));
			text(cells[3], count(o.max));
			text(cells[4], count(o.lag));
		},
		empty: 'The group has consumed nothing yet.',
	});
	const members = table('Consumers', [['Client', 'main'], ['From', 'main'], ['Language', ''], ['Heard of', '']], {
		key: (m) => `${m.clientId} ${m.address}`,
		cells: (m) => [el('code', null, m.clientId), m.address || '', m.language === 'GANTRY' ? 'this broker, for other protocols' : m.language || '', ''],
		update: (cells, m) => text(cells[3], m.seenAt ? clock(m.seenAt).slice(0, -4) : ''),
		empty: 'Nobody is connected.',
	});

	async function refresh() {
		try {
			const a = await groups.get(group, ctx.signal);
			const now = performance.now();
			read = a.offsets || [];
			text(behind, count(a.lag));
			if (last !== null) {
				const change = ((a.lag - last) * 1000) / (now - at);
				text(trend, change === 0 ? 'not changing' : `${change > 0 ? 'growing' : 'shrinking'} by ${rate(Math.abs(change))} per second`);
			}
			last = a.lag;
			at = now;
			line.push(a.lag);
			offsets.show([...read].sort((x, y) => (x.topic === y.topic ? x.queue - y.queue : x.topic < y.topic ? -1 : 1)));
			members.show(a.members || []);
			set(state);
		} catch (e) {
			if (!ctx.signal.aborted)
				set(state, failure(e, refresh));
		}
	}

	const dead = `%DLQ%${group}`;
	set(root, head(group, link(`#/topics/${encodeURIComponent(dead)}`, 'Dead letters'),
		button('Move offsets', () => reset(group, read, refresh)),
		button('Delete', () => confirm(`Delete the group ${group}?`, 'What it has consumed is forgotten. Consumers that are connected make it anew.', 'Delete the group', async () => {
			await groups.drop(group);
			toast(`Group ${group} was deleted.`);
			location.hash = '#/groups';
		}), { class: 'quiet' })),
	state,
	el('div', { class: 'tiles flows' }, el('div', { class: 'tile wide' }, el('span', null, 'Messages behind'), behind, trend, line.node)),
	el('div', { class: 'pair' }, card('Offsets', offsets.node), card('Consumers', members.node)));
	ctx.every(EVERY_MS, refresh);
}

function reset(group, read, done) {
	const names = [...new Set(read.map((o) => o.topic))].sort();
	const topic = el('input', { required: true, list: 'read-topics', value: names[0] || '', autocomplete: 'off', spellcheck: 'false' });
	const to = el('select', { onchange: () => { box.hidden = to.value !== 'time'; time.required = to.value === 'time'; } },
		el('option', { value: 'earliest' }, 'The first message that is there'), el('option', { value: 'latest' }, 'The end: skip all there is'),
		el('option', { value: 'time' }, 'A moment'));
	const time = el('input', { type: 'datetime-local', step: '1' });
	const box = field('Moment, your local time', time);
	box.hidden = true;
	form(`Move the offsets of ${group}`, 'Move', [
		el('p', null, 'The group goes on from there: messages are consumed again, or skipped.'),
		field('Topic', topic), el('datalist', { id: 'read-topics' }, names.map((n) => el('option', { value: n }))), field('To', to), box,
	], async () => {
		await groups.reset(group, { topic: topic.value, to: to.value === 'time' ? new Date(time.value).toISOString() : to.value });
		toast('The offsets were moved.');
		await done();
	}, { danger: true });
}
