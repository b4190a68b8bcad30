/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The topics: a list with a filter, create, delete. */
import { Problem, deadLettersOf, isSystem, topics } from './api.js';
import { button, check, confirm, count, el, failure, field, form, head, loading, set, table, text, toast, topicLink } from './ui.js';

const EVERY_MS = 5000;
const SHOWN_MAX = 500;   /* rows; a filter finds the rest */

const byName = (a, b) => (a.name < b.name ? -1 : 1);

export function mount(root, ctx) {
	let all = [], asked = 0, known = 0, system = ctx.query.get('system') === '1', words = '';
	const filter = el('input', { type: 'search', placeholder: 'Filter by name', 'aria-label': 'Filter by name', oninput: () => { words = filter.value; show(); } });
	const more = el('p', { class: 'muted', role: 'status' });
	const state = el('div', null, loading());
	const list = table('Topics', [['Topic', 'main'], ['Queues', 'num'], ['Messages', 'num'], ['', 'end']], {
		key: (t) => t.name,
		cells: (t) => [
			[topicLink(t.name), t.system || isSystem(t.name) ? el('small', { class: 'tag' }, deadLettersOf(t.name) === null ? 'system' : 'dead letters') : null],
			'', '',
			(t.system || isSystem(t.name)) && deadLettersOf(t.name) === null ? null
				: button('Delete', () => remove(t.name, changed), { class: 'quiet', 'aria-label': `Delete ${t.name}` }),
		],
		update: (cells, t) => {
			text(cells[1], t.readQueues === t.writeQueues ? count(t.readQueues) : `${count(t.writeQueues)} written, ${count(t.readQueues)} read`);
			text(cells[2], count(t.messages));
		},
		empty: 'No topic has such a name. A topic comes into being when you create it, or when the first message is sent to it.',
	});

	const hide = (t) => !system && (t.system || isSystem(t.name));
	function fitting() {
		const low = words.trim().toLowerCase();
		return all.filter((t) => !hide(t) && t.name.toLowerCase().includes(low));
	}

	function show() {
		const fit = fitting();
		list.show(fit.slice(0, SHOWN_MAX));
		const hidden = all.length - fit.length;
		text(more, fit.length > SHOWN_MAX ? `The first ${SHOWN_MAX} of ${count(fit.length)}: filter to see others.`
			: `${count(fit.length)} shown${hidden ? `, ${count(hidden)} hidden` : ''}.`);
	}

	/* What was made or deleted by hand is seen at once: an answer that others have overtaken says nothing any more. */
	async function changed() {
		const turn = ++asked, found = (await topics.list(ctx.signal, system)).sort(byName);
		set(state);
		if (turn < known)
			return;
		known = turn;
		all = found;
		show();
	}

	async function reload() {
		try {
			await changed();
		} catch (e) {
			if (!ctx.signal.aborted)
				set(state, failure(e, reload));
		}
	}

	set(root, head('Topics', button('New topic', () => create(changed), { class: 'primary' })),
		el('div', { class: 'bar' }, filter, check('System topics, retries and dead letters', system, (on) => { system = on; reload(); })),
		state, list.node, more);
	ctx.every(EVERY_MS, reload);
}

function create(done) {
	const name = el('input', { required: true, maxlength: '127', pattern: '[%\\|a-zA-Z0-9_\\-]+', autocomplete: 'off', spellcheck: 'false', autofocus: true });
	const queues = el('input', { type: 'number', min: '1', max: '1024', value: '8', required: true });
	form('New topic', 'Create', [
		field('Name', name, 'Letters, digits, % | _ and -, at most 127.'),
		field('Queues', queues, 'Messages are in order within a queue; as many consumers of a group can share the topic.'),
	], async () => {
		/* A PUT would change a topic that is there. */
		if ((await topics.list(undefined, true)).some((t) => t.name === name.value))
			throw new Problem(409, 'Not created', `There is a topic ${name.value} already.`);
		await topics.create(name.value, Number(queues.value));
		toast(`Topic ${name.value} was created.`);
		await done();
	});
}

export function remove(topic, done) {
	confirm(`Delete ${topic}?`, 'Its messages and what groups have consumed of it are gone for ever. This cannot be undone.', 'Delete the topic', async () => {
		await topics.drop(topic);
		toast(`Topic ${topic} was deleted.`);
		await done();
	});
}
