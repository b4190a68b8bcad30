/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Building blocks of the pages. Text reaches the document through text nodes only: what a message holds is never read as HTML. */

const SVG = 'http://www.w3.org/2000/svg';

/* el('p', {class: 'note', onclick: f}, 'text', child): attributes, listeners (on...), then children; null and false are left out. */
export function el(tag, attributes, ...children) {
	return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
	return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
	for (const [k, v] of Object.entries(attributes || {})) {
		if (v === null || v === undefined || v === false)
			continue;
		if (k.startsWith('on'))
			node.addEventListener(k.slice(2), v);
		else
			node.setAttribute(k, v === true ? '' : String(v));
	}
	put(node, children);
	return node;
}

function put(node, children) {
	for (const c of children.flat())
		if (c !== null && c !== undefined && c !== false)
			node.append(c);
}

export function set(node, ...children) {
	node.replaceChildren();
	put(node, children);
	return node;
}

/* Sets a text only where it differs, so that a selection in it survives. */
export function text(node, value) {
	if (node.textContent !== value)
		node.textContent = value;
}

/* ---- Numbers and times ------------------------------------------------------------------------------------------------------- */

const whole = new Intl.NumberFormat('en');
const stamp = (ms) => new Date(typeof ms === 'number' ? ms : /^\d+$/.test(ms) ? Number(ms) : Date.parse(ms));

export const count = (n) => (n === undefined || n === null || Number.isNaN(Number(n)) ? '–' : whole.format(Number(n)));

export function rate(n) {
	if (n === undefined || Number.isNaN(n))
		return '–';
	return n >= 100 || n === 0 ? whole.format(Math.round(n)) : n.toFixed(n >= 10 ? 0 : 1);
}

export function bytes(n) {
	if (n === undefined || Number.isNaN(n))
		return '–';
	const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
	let i = 0;
	for (; n >= 1024 && i < units.length - 1; i++)
		n /= 1024;
	return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

const two = (n) => String(n).padStart(2, '0');

/* Local time of day with milliseconds; the day too where it is not today. */
export function clock(ms) {
	const d = stamp(ms);
	if (Number.isNaN(d.getTime()))
		return '';
	const time = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, '0')}`;
	return d.toDateString() === new Date().toDateString() ? time : `${day(d)} ${time}`;
}

const day = (d) => `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;

export function moment(ms) {
	const d = stamp(ms);
	if (Number.isNaN(d.getTime()))
		return String(ms);
	const local = `${day(d)} ${clock(ms).slice(-12)}`;
	return d.getTimezoneOffset() ? `${local} (${d.toISOString()})` : `${local} UTC`;
}

/* ---- Parts of pages ------------------------------------------------------------------------------------------------------------ */

export const link = (href, ...children) => el('a', { href }, ...children);
export const topicLink = (t) => el('a', { href: `#/topics/${encodeURIComponent(t)}`, class: 'name' }, t);
export const groupLink = (g) => el('a', { href: `#/groups/${encodeURIComponent(g)}`, class: 'name' }, g);
export const note = (kind, ...children) => el('p', { class: `note ${kind}` }, ...children);
export const loading = () => el('p', { class: 'note wait' }, 'Loading…');
export const button = (label, onclick, more) => el('button', { type: 'button', onclick, ...more }, label);

export function head(title, ...actions) {
	return el('div', { class: 'head' }, el('h1', { tabindex: '-1' }, title), actions.length ? el('div', { class: 'actions' }, ...actions) : null);
}

export function card(title, ...children) {
	return el('section', { class: 'card', 'aria-label': title }, el('h2', null, title), ...children);
}

/* A labelled field of a form; 'hint' is read out with it. */
let ids = 0;
export function field(label, input, hint) {
	const id = input.id || `f${++ids}`;
	input.id = id;
	if (hint)
		input.setAttribute('aria-describedby', `${id}-hint`);
	return el('div', { class: 'field' }, el('label', { for: id }, label), input, hint ? el('small', { id: `${id}-hint` }, hint) : null);
}

export function check(label, on, changed) {
	const box = el('input', { type: 'checkbox', onchange: () => changed(box.checked) });
	box.checked = on;
	return el('label', { class: 'check' }, box, label);
}

/* An error, with the way to try again. */
export function failure(e, again) {
	return el('div', { class: 'note bad', role: 'alert' },
		el('strong', null, e.title || 'Something went wrong'), ' ', e.detail || e.message || String(e), ' ',
		again ? button('Try again', again) : null);
}

/*
 * A table whose rows keep their identity, so that the focus and a selection survive a refresh. 'columns' are [heading, class]; 'row(item)' makes the cells
 * once, and 'update(cells, item)' writes what changes.
 */
export function table(label, columns, { key, cells, update, empty }) {
	const body = el('tbody');
	const none = el('p', { class: 'empty' }, empty || 'Nothing here.');
	const grid = el('table', null, el('caption', { class: 'unseen' }, label),
		el('thead', null, el('tr', null, columns.map(([h, c]) => el('th', { scope: 'col', class: c }, h)))), body);
	const box = el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label }, grid);
	const known = new Map();

	function show(items) {
		const live = new Set();
		let at = body.firstChild;
		for (const item of items) {
			const k = key(item);
			let row = known.get(k);
			live.add(k);
			if (!row) {
				const made = cells(item);
				row = el('tr', null, made.map((c, i) => el('td', { class: columns[i][1], 'data-label': columns[i][0] }, c)));
				known.set(k, row);
			}
			if (update)
				update(row.children, item);
			if (row === at)
				at = at.nextSibling;
			else
				body.insertBefore(row, at);
		}
		for (const [k, row] of known)
			if (!live.has(k)) {
				row.remove();
				known.delete(k);
			}
		box.hidden = items.length === 0;
		none.hidden = items.length > 0;
	}
	show([]);
	none.hidden = true;
	return { node: el('div', null, box, none), show };
}

/* A line of the last values; drawn again by push(). */
export function sparkline(label, points = 60) {
	const values = [];
	const path = svg('path', { class: 'line' }), area = svg('path', { class: 'area' });
	const node = svg('svg', { viewBox: `0 0 ${points - 1} 30`, preserveAspectRatio: 'none', class: 'spark', role: 'img', 'aria-label': label }, area, path);
	return {
		node,
		push(v) {
			values.push(v);
			if (values.length > points)
				values.shift();
			const top = Math.max(1, ...values);
			const from = points - values.length;
			const d = values.map((y, i) => `${i ? 'L' : 'M'}${from + i} ${(28.5 - (y / top) * 27).toFixed(2)}`).join('');
			path.setAttribute('d', d);
			area.setAttribute('d', `${d}L${points - 1} 30L${from} 30Z`);
			node.setAttribute('aria-label', `${label}: now ${rate(v)}, highest ${rate(Math.max(...values))} in the last ${values.length} seconds`);
		},
	};
}

/* ---- Dialogs and short messages ------------------------------------------------------------------------------------------------ */

/* Read out by screen readers. */
export function announce(words) {
	document.getElementById('said').textContent = words;
}

/* Shown for some seconds, and read out. */
export function toast(words) {
	const node = el('p', { class: 'toast' }, words);
	announce(words);
	document.body.append(node);
	setTimeout(() => node.remove(), 5000);
}

function open(dialog) {
	document.body.append(dialog);
	dialog.addEventListener('close', () => dialog.remove());
	/* A click beside it closes it, as Escape does. */
	dialog.addEventListener('click', (e) => e.target === dialog && dialog.close());
	dialog.showModal();
	return dialog;
}

/* A panel at the side. */
export function drawer(title, ...children) {
	const dialog = el('dialog', { class: 'drawer', 'aria-label': title });
	dialog.append(el('div', { class: 'head' }, el('h2', null, title), button('Close', () => dialog.close(), { class: 'quiet' })), ...children.flat());
	return open(dialog);
}

/* A form in a dialog: 'submit' does the work; what it throws is shown and the dialog stays. */
export function form(title, action, fields, submit, { danger } = {}) {
	const wrong = el('div', { 'aria-live': 'assertive' });
	const dialog = el('dialog', { 'aria-label': title });
	let busy = false;
	dialog.append(el('form', {
		onsubmit: async (e) => {
			e.preventDefault();
			if (busy)
				return;
			busy = true;
			set(wrong);
			try {
				await submit();
				dialog.close();
			} catch (problem) {
				set(wrong, failure(problem));
			} finally {
				busy = false;
			}
		},
	}, el('h2', null, title), ...fields, wrong,
	el('div', { class: 'actions' }, button('Cancel', () => dialog.close(), { autofocus: danger }),
		el('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, action))));
	return open(dialog);
}

export const confirm = (title, words, action, submit) => form(title, action, [el('p', null, words)], submit, { danger: true });

export async function copy(words) {
	try {
		await navigator.clipboard.writeText(words);
		toast('Copied.');
	} catch (_) {
		toast('The browser does not allow copying here.');
	}
}
