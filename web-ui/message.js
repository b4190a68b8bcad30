/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* One message: its fields, its properties, and its body as text, JSON or hex. */
import { bodyBytes } from './api.js';
import { button, bytes, copy, drawer, el, link, moment, text, topicLink } from './ui.js';

const PREVIEW = 300;               /* characters in a list */
const TEXT_MAX = 256 * 1024;       /* characters shown of a body */
const HEX_MAX = 16 * 1024;         /* bytes shown as hex */

const strict = new TextDecoder('utf-8', { fatal: true }), loose = new TextDecoder();

function asText(raw) {
	try {
		return strict.decode(raw);
	} catch (_) {
		return null;
	}
}

/* The beginning of a body on one line. */
export function preview(raw) {
	if (raw.length === 0)
		return '(empty)';
	const words = loose.decode(raw.subarray(0, PREVIEW * 4));
	const strange = /[\0-\x08\x0e-\x1f\ufffd]/.test(words.slice(0, PREVIEW - 1));
	return strange ? `${bytes(raw.length)} of binary data` : words.slice(0, PREVIEW).replace(/\s+/g, ' ');
}

function asJson(words) {
	try {
		return words !== null && /^\s*[[{"]/.test(words) ? JSON.stringify(JSON.parse(words), null, 2) : null;
	} catch (_) {
		return null;
	}
}

export function hex(raw) {
	const lines = [];
	for (let at = 0; at < Math.min(raw.length, HEX_MAX); at += 16) {
		const part = [...raw.subarray(at, at + 16)];
		const digits = part.map((b) => b.toString(16).padStart(2, '0')).join(' ');
		const signs = part.map((b) => (b >= 32 && b < 127 ? String.fromCharCode(b) : '.')).join('');
		lines.push(`${at.toString(16).padStart(6, '0')}  ${digits.padEnd(47)}  ${signs}`);
	}
	return lines.join('\n');
}

/* The body with buttons for the forms that it can be shown in. */
function body(raw) {
	const words = asText(raw), json = asJson(words);
	const views = [];
	if (json !== null)
		views.push(['JSON', () => cut(json)]);
	views.push(['Text', () => cut(words === null ? loose.decode(raw) : words)]);
	views.push(['Hex', () => [hex(raw), raw.length > HEX_MAX ? `The first ${bytes(HEX_MAX)} are shown.` : '']]);
	const shown = el('pre', { tabindex: '0', 'aria-label': 'Body' }), rest = el('p', { class: 'muted' });
	const tabs = views.map(([label, make]) => button(label, () => choose(label, make), { 'aria-pressed': 'false' }));

	function cut(all) {
		return [all.slice(0, TEXT_MAX), all.length > TEXT_MAX ? `The first ${TEXT_MAX} of ${all.length} characters are shown.` : ''];
	}
	function choose(label, make) {
		const [content, remark] = make();
		shown.textContent = content;
		text(rest, remark);
		for (const t of tabs)
			t.setAttribute('aria-pressed', String(t.textContent === label));
	}
	choose(...(words === null && raw.length ? views[views.length - 1] : views[0]));
	return el('section', { 'aria-label': 'Body' },
		el('div', { class: 'bar' }, el('h3', null, 'Body ', el('small', null, bytes(raw.length))),
			el('div', { class: 'actions', role: 'group', 'aria-label': 'Show the body as' }, tabs, button('Copy', () => copy(shown.textContent), { class: 'quiet' }))),
		shown, rest);
}

const FIELDS = [
	['tag', 'Tag'], ['keys', 'Keys'], ['orderKey', 'Order key'], ['contentType', 'Content type'], ['correlationData', 'Correlation data'],
	['replyTo', 'Reply to'], ['mqttTopic', 'MQTT topic'], ['attempt', 'Attempt'],
];
const TIMES = [['bornAt', 'Sent'], ['storedAt', 'Stored'], ['expiresAt', 'Expires']];

function keyLinks(m) {
	const words = Array.isArray(m.keys) ? m.keys : String(m.keys).split(' ');
	return words.filter(Boolean).map((k, i) =>
		[i ? ' ' : null, link(`#/find?topic=${encodeURIComponent(m.topic)}&key=${encodeURIComponent(k)}`, k)]).flat();
}

export function details(m) {
	const rows = [['Id', el('code', null, m.id)], ['Topic', topicLink(m.topic)], ['Place', `queue ${m.queue}, offset ${m.offset}`]];
	for (const [k, label] of FIELDS)
		if (m[k] !== undefined && m[k] !== '')
			rows.push([label, k === 'keys' ? keyLinks(m) : String(m[k])]);
	for (const [k, label] of TIMES)
		if (m[k])
			rows.push([label, moment(m[k])]);
	const properties = Object.entries(m.properties || {});
	return [
		el('dl', { class: 'facts' }, rows.map(([k, v]) => [el('dt', null, k), el('dd', null, v)]).flat()),
		el('section', { 'aria-label': 'Properties' }, el('h3', null, 'Properties'),
			properties.length
				? el('dl', { class: 'facts props' }, properties.map(([k, v]) => [el('dt', null, k), el('dd', null, String(v))]).flat())
				: el('p', { class: 'muted' }, 'None.')),
		body(bodyBytes(m)),
	];
}

export function showMessage(m) {
	drawer('Message', details(m));
}

/* A list of found messages; each opens its details. */
export function messageList(list) {
	return el('ol', { class: 'tail', 'aria-label': 'Messages' }, list.map((m) => el('li', null,
		el('button', { type: 'button', onclick: () => showMessage(m) },
			el('time', null, moment(m.storedAt).slice(0, 23)), el('span', { class: 'where' }, `${m.queue}:${m.offset}`),
			m.tag ? el('span', { class: 'tag' }, m.tag) : null, m.keys ? el('span', { class: 'keys' }, String(m.keys)) : null,
			el('span', { class: 'body' }, preview(bodyBytes(m)))))));
}
