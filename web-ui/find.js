/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Finds messages of a topic by a key, or one by its id. What is looked for stands in the address, so that it can be passed on. */
import { isSystem, messages, topics } from './api.js';
import { details, messageList } from './message.js';
import { announce, card, count, el, failure, field, head, loading, set } from './ui.js';

export function mount(root, ctx) {
	const plain = { autocomplete: 'off', spellcheck: 'false', required: true };
	const topic = el('input', { ...plain, list: 'known-topics', value: ctx.query.get('topic') || '' });
	const known = el('datalist', { id: 'known-topics' });
	const by = el('select', { onchange: need }, el('option', { value: 'key' }, 'key'), el('option', { value: 'id' }, 'message id'));
	const what = el('input', { ...plain, value: ctx.query.get('id') || ctx.query.get('key') || '' });
	const found = el('div');
	by.value = ctx.query.get('id') ? 'id' : 'key';
	need();

	/* An id is found without its topic. */
	function need() {
		topic.required = by.value === 'key';
		topic.placeholder = topic.required ? '' : 'any';
	}

	async function look() {
		const t = topic.value.trim(), words = what.value.trim();
		set(found, loading());
		try {
			if (by.value === 'id') {
				set(found, card('Message', ...details(await messages.byId(t, words, ctx.signal))));
				announce('Found.');
			} else {
				const list = await messages.byKey(t, words, ctx.signal);
				announce(`${list.length} found.`);
				set(found, list.length === 1 ? card('Message', ...details(list[0]))
					: list.length ? card(`${count(list.length)} messages`, messageList(list))
						: el('p', { class: 'empty' }, `No message of ${t} has the key ${words}.`));
			}
		} catch (e) {
			if (ctx.signal.aborted)
				return;
			set(found, e.status === 404 ? el('p', { class: 'empty', role: 'alert' }, e.detail || e.title) : failure(e, look));
		}
	}

	set(root, head('Find a message'),
		el('form', {
			class: 'card grid',
			onsubmit: (e) => {
				e.preventDefault();
				const to = `#/find?topic=${encodeURIComponent(topic.value.trim())}&${by.value}=${encodeURIComponent(what.value.trim())}`;
				history.replaceState(null, '', to);
				look();
			},
		}, field('Topic', topic), known, field('By', by), field('Which', what),
		el('div', { class: 'actions low' }, el('button', { type: 'submit', class: 'primary' }, 'Find'))), found);
	topics.list(ctx.signal).then((all) => set(known, all.map((t) => t.name).filter((n) => !isSystem(n)).slice(0, 1000)
		.map((n) => el('option', { value: n }))), () => {});
	if (what.value && (topic.value || !topic.required))
		look();
}
