/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Sends one message, and says where it is. */
import { isSystem, messages, topics } from './api.js';
import { announce, button, el, failure, field, head, link, set, topicLink } from './ui.js';

const DELAYS = ['1s', '5s', '10s', '30s', '1m', '2m', '3m', '4m', '5m', '6m', '7m', '8m', '9m', '10m', '20m', '30m', '1h', '2h'];
const TYPES = ['text/plain', 'application/json', 'application/xml', 'application/octet-stream'];
const ANSWERS_MAX = 5;

const options = (list) => list.map((v) => el('option', { value: v }, v));

export function mount(root, ctx) {
	const plain = { autocomplete: 'off', spellcheck: 'false' };
	const topic = el('input', { ...plain, required: true, list: 'known-topics', maxlength: '127', value: ctx.query.get('topic') || '' });
	const known = el('datalist', { id: 'known-topics' });
	const tag = el('input', plain), keys = el('input', plain), order = el('input', plain);
	const delay = el('select', null, el('option', { value: '' }, 'none'), options(DELAYS));
	const type = el('input', { ...plain, list: 'known-types', value: TYPES[0] });
	const body = el('textarea', { rows: '8', spellcheck: 'false' });
	const pairs = el('div', { class: 'pairs' });
	const answers = el('div', { class: 'answers' });
	let busy = false;

	function pair() {
		const name = el('input', { ...plain, 'aria-label': 'Name of the property', placeholder: 'name' });
		const value = el('input', { ...plain, 'aria-label': 'Value of the property', placeholder: 'value' });
		const row = el('div', { class: 'row' }, name, value,
			button('Remove', () => { row.remove(); add.focus(); }, { class: 'quiet', 'aria-label': 'Remove this property' }));
		pairs.append(row);
		name.focus();
	}
	const add = button('Add a property', pair);

	function collected() {
		const o = { tag: tag.value.trim(), keys: keys.value.trim(), 'order-key': order.value, delay: delay.value };
		for (const row of pairs.children) {
			const [name, value] = row.querySelectorAll('input');
			if (name.value.trim())
				o[`prop-${name.value.trim()}`] = value.value;
		}
		return o;
	}

	function keep(node) {
		answers.prepend(node);
		while (answers.childElementCount > ANSWERS_MAX)
			answers.lastElementChild.remove();
	}

	async function submit(e) {
		e.preventDefault();
		/* The button is not disabled: it would lose the focus. */
		if (busy)
			return;
		const to = topic.value.trim(), late = delay.value, began = performance.now();
		busy = true;
		try {
			const a = await messages.send(to, type.value.trim(), body.value, collected());
			const place = a.durability === 'memory' ? 'in memory' : 'on disk';
			const took = `${(performance.now() - began).toFixed(1)} ms`;
			keep(el('div', { class: 'note good', 'data-id': a.id },
				el('strong', null, late ? `Stored ${place}, delivered in ${late}.` : `Stored ${place}.`), ` ${took}, `, topicLink(to),
				late ? '' : ` queue ${a.queue}, offset ${a.offset}. `, ' ',
				el('code', null, a.id), ' ', late ? null : link(`#/find?topic=${encodeURIComponent(to)}&id=${encodeURIComponent(a.id)}`, 'Look at it')));
			announce(`The message is stored ${place}.`);
		} catch (problem) {
			keep(failure(problem));
		} finally {
			busy = false;
		}
	}

	const form = el('form', {
		class: 'card',
		onsubmit: submit,
		onkeydown: (e) => {
			if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) {
				e.preventDefault();
				form.requestSubmit();
			}
		},
	},
	field('Topic', topic, 'A topic that does not exist is created, where the broker is set so.'), known,
	field('Body', body), el('div', { class: 'grid narrow' },
		field('Content type', type), el('datalist', { id: 'known-types' }, options(TYPES)),
		field('Tag', tag, 'One word, to filter by.'), field('Keys', keys, 'To find it by; separated by blanks.'),
		field('Order key', order, 'Messages with the same one stay in order.'), field('Delay', delay)),
	el('fieldset', null, el('legend', null, 'Properties'), pairs, add),
	el('div', { class: 'actions' }, el('button', { type: 'submit', class: 'primary' }, 'Send'), el('small', { class: 'muted' }, 'or Ctrl+Enter')));

	set(root, head('Send a message'), answers, form);
	topics.list(ctx.signal).then((all) => set(known, options(all.map((t) => t.name).filter((n) => !isSystem(n)).slice(0, 1000))), () => {});
}
