/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* What the broker does now: rates made of two readings of /metrics, and its state. */
import { metrics, ready, total } from './api.js';
import { bytes, card, count, el, failure, head, link, loading, note, rate, set, sparkline, text } from './ui.js';

const EVERY_MS = 1000;

function tile(label, href) {
	const value = el('strong', null, '–');
	const hint = el('small');
	return { node: el('div', { class: 'tile' }, el('span', null, href ? link(href, label) : label), value, hint), value, hint };
}

function flow(label) {
	const t = tile(label);
	const line = sparkline(label);
	t.node.classList.add('wide');
	t.node.append(line.node);
	return { ...t, line };
}

/* Level and sentence for the disk and what is promised of it. */
function health(m, ok) {
	if (total(m, 'poisoned'))
		return ['bad', 'The log failed: nothing is acknowledged until a restart.'];
	if (total(m, 'disk_full'))
		return ['bad', 'The disk is full: messages are refused, consumers go on. It recovers by itself when there is space.'];
	if (total(m, 'damaged_records_total'))
		return ['warn', `${count(total(m, 'damaged_records_total'))} records failed their check when they were read. The log tells where.`];
	if (ok !== true)
		return ['warn', `Not ready: ${ok}`];
	if (total(m, 'unconsumed_dropped_total'))
		return ['warn', `Retention dropped ${count(total(m, 'unconsumed_dropped_total'))} messages before a group had consumed them.`];
	return ['good', 'Ready.'];
}

/* One row for each set of labels that differs by front. */
function connections(m) {
	const rows = [];
	for (const [name, samples] of m)
		if (/^gantry_(\w+_)?connections$/.test(name))
			for (const s of samples)
				rows.push([s.labels.front || name.slice(7).replace(/_?connections$/, '') || 'all', s.value]);
	return rows;
}

export function mount(root, ctx) {
	const state = el('div', { role: 'status' }, loading());
	const flows = {
		in: flow('Messages in, per second'),
		out: flow('Messages out, per second'),
	};
	const tiles = {
		topics: tile('Topics', '#/topics'),
		groups: tile('Groups', '#/groups'),
		members: tile('Consumers'),
		delayed: tile('Delayed messages'),
		leases: tile('Deliveries under way'),
		retries: tile('Retries'),
		dead: tile('Dead letters'),
		unsynced: tile('Not yet synced'),
		sync: tile('A sync takes'),
		disk: tile('Free on disk'),
	};
	const fronts = el('dl', { class: 'facts' });
	const build = el('p', { class: 'muted' });
	let last = null, at = 0;

	set(root, head('Overview'), state,
		el('div', { class: 'tiles flows' }, flows.in.node, flows.out.node),
		el('div', { class: 'tiles' }, Object.values(tiles).map((t) => t.node)),
		card('Connections', fronts), build);

	function per(m, metric, seconds) {
		const now = total(m, metric), before = last && total(last, metric);
		/* A counter that went back: the broker was started again. */
		return last && now >= before && seconds > 0 ? (now - before) / seconds : undefined;
	}

	function draw(m, ok) {
		const now = performance.now(), seconds = (now - at) / 1000;
		const [kind, words] = health(m, ok);
		if (state.dataset.words !== words) {
			state.dataset.words = words;
			set(state, note(kind, words));
		}
		for (const [f, way] of [[flows.in, 'in'], [flows.out, 'out']]) {
			const v = per(m, `messages_${way}_total`, seconds);
			text(f.value, rate(v));
			text(f.hint, `${bytes(per(m, `bytes_${way}_total`, seconds))}/s · ${count(total(m, `messages_${way}_total`))} since the start`);
			if (v !== undefined)
				f.line.push(v);
		}
		text(tiles.topics.value, count(total(m, 'topics')));
		text(tiles.topics.hint, `${count(total(m, 'queues'))} queues; with the system's`);
		text(tiles.groups.value, count(total(m, 'groups')));
		text(tiles.groups.hint, 'with the system\'s');
		text(tiles.members.value, count(total(m, 'members')));
		text(tiles.members.hint, `${count(total(m, 'pulls_waiting'))} waiting for messages`);
		text(tiles.delayed.value, count(total(m, 'delayed')));
		text(tiles.leases.value, count(total(m, 'leases')));
		text(tiles.retries.value, count(total(m, 'retries_total')));
		text(tiles.retries.hint, 'since the start');
		text(tiles.dead.value, count(total(m, 'dead_letters_total')));
		text(tiles.dead.hint, 'since the start');
		text(tiles.unsynced.value, bytes(Math.max(0, total(m, 'log_written') - total(m, 'log_durable'))));
		const syncs = per(m, 'syncs_total', 1), micros = per(m, 'sync_microseconds_total', 1);
		text(tiles.sync.value, syncs > 0 ? `${(micros / syncs / 1000).toFixed(2)} ms` : '–');
		text(tiles.sync.hint, `${rate(syncs === undefined ? undefined : syncs / seconds)} per second`);
		text(tiles.disk.value, bytes(total(m, 'disk_free_bytes')));
		text(tiles.disk.hint, `log: ${bytes(total(m, 'log_written') - total(m, 'log_min'))}`);
		const rows = connections(m);
		const shown = rows.length ? rows : [['', 'The broker does not count them.']];
		set(fronts, shown.map(([k, v]) => [el('dt', null, k), el('dd', null, typeof v === 'number' ? count(v) : v)]).flat());
		const info = (m.get('gantry_build_info') || m.get('gantry_info') || [{ labels: {} }])[0].labels;
		text(build, [info.version && `Gantry ${info.version}`, info.cluster && `cluster ${info.cluster}`, info.broker && `broker ${info.broker}`].filter(Boolean).join(' · '));
		last = m;
		at = now;
	}

	ctx.every(EVERY_MS, async () => {
		try {
			const [m, ok] = await Promise.all([metrics(ctx.signal), ready(ctx.signal)]);
			draw(m, ok);
		} catch (e) {
			if (ctx.signal.aborted)
				return;
			last = null;
			delete state.dataset.words;
			set(state, failure(e));
		}
	});
}
