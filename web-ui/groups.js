/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The consumer groups, with how far each is behind. */
import { groups } from './api.js';
import { count, el, failure, groupLink, head, loading, set, table, text } from './ui.js';

const EVERY_MS = 3000;
const LAGS_MAX = 50;       /* groups of the list whose lag is asked for in one round */
const AT_ONCE = 4;
const SHOWN_MAX = 500;

export function mount(root, ctx) {
	let all = [], words = '';
	const lags = new Map();
	const filter = el('input', { type: 'search', placeholder: 'Filter by name', 'aria-label': 'Filter by name', oninput: () => { words = filter.value; show(); } });
	const state = el('div', null, loading()), more = el('p', { class: 'muted', role: 'status' });
	const list = table('Consumer groups', [['Group', 'main'], ['Behind', 'num'], ['Consumers', 'num']], {
		key: (g) => g.name,
		cells: (g) => [groupLink(g.name), '–', ''],
		update: (cells, g) => {
			text(cells[1], count(lags.get(g.name)));
			text(cells[2], count(Array.isArray(g.members) ? g.members.length : g.members));
		},
		empty: 'No group. One comes into being when its first consumer asks for messages.',
	});

	const fitting = () => all.filter((g) => g.name.toLowerCase().includes(words.trim().toLowerCase()));

	function show() {
		const fit = fitting();
		list.show(fit.slice(0, SHOWN_MAX));
		text(more, fit.length > SHOWN_MAX ? `The first ${SHOWN_MAX} of ${count(fit.length)}: filter to see others.` : '');
	}

	/* A few at a time, so that a long list does not take all connections of the browser. */
	async function measure() {
		const rest = fitting().slice(0, LAGS_MAX).map((g) => g.name);
		async function work() {
			for (let g = rest.shift(); g !== undefined; g = rest.shift()) {
				const a = await groups.get(g, ctx.signal).catch(() => null);
				if (a)
					lags.set(g, a.lag);
			}
		}
		await Promise.all(Array.from({ length: AT_ONCE }, work));
	}

	async function reload() {
		try {
			all = (await groups.list(ctx.signal)).sort((a, b) => (a.name < b.name ? -1 : 1));
			set(state);
			show();
			await measure();
			show();
		} catch (e) {
			if (!ctx.signal.aborted)
				set(state, failure(e, reload));
		}
	}

	set(root, head('Groups'), el('div', { class: 'bar' }, filter), state, list.node, more);
	ctx.every(EVERY_MS, reload);
}
