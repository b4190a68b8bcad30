/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The consumer groups, with how far each is behind. */
import { groups } from './api.js';
import { check, count, el, failure, groupLink, head, loading, set, table, text } from './ui.js';

const EVERY_MS = 3000;
const SHOWN_MAX = 500;     /* rows; a filter finds the rest */

export function mount(root, ctx) {
	let all = [], system = false, words = '';
	const filter = el('input', { type: 'search', placeholder: 'Filter by name', 'aria-label': 'Filter by name', oninput: () => { words = filter.value; show(); } });
	const state = el('div', null, loading()), more = el('p', { class: 'muted', role: 'status' });
	const list = table('Consumer groups', [['Group', 'main'], ['Behind', 'num'], ['Consumers', 'num']], {
		key: (g) => g.name,
		cells: (g) => [groupLink(g.name), '', ''],
		update: (cells, g) => {
			text(cells[1], count(g.lag));
			text(cells[2], count(g.members));
		},
		empty: 'No group. One comes into being when its first consumer asks for messages.',
	});

	function show() {
		const low = words.trim().toLowerCase();
		const fit = all.filter((g) => g.name.toLowerCase().includes(low));
		list.show(fit.slice(0, SHOWN_MAX));
		text(more, fit.length > SHOWN_MAX ? `The first ${SHOWN_MAX} of ${count(fit.length)}: filter to see others.` : '');
	}

	async function reload() {
		try {
			all = (await groups.list(ctx.signal, system)).sort((a, b) => (a.name < b.name ? -1 : 1));
			set(state);
			show();
		} catch (e) {
			if (!ctx.signal.aborted)
				set(state, failure(e, reload));
		}
	}

	set(root, head('Groups'), el('div', { class: 'bar' }, filter, check('System groups', system, (on) => { system = on; reload(); })), state, list.node, more);
	ctx.every(EVERY_MS, reload);
}
