/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* The broker as these pages see it: its HTTP interface, and nothing else. A call answers with JSON or throws a Problem. */

const LIMIT_MS = 10000;

/* What went wrong, in the words of the broker's problem document. Status 0: there was no answer at all. */
export class Problem extends Error {
	constructor(status, title, detail, code) {
		super(detail || title);
		this.status = status;
		this.title = title;
		this.detail = detail || '';
		this.code = code || '';
	}
}

/* "down" when a call got no answer, "up" when one did again. */
export const line = new EventTarget();
let up = true;

function heard(now) {
	if (up === now)
		return;
	up = now;
	line.dispatchEvent(new Event(now ? 'up' : 'down'));
}

async function ask(method, path, { query, body, headers, signal } = {}) {
	const url = new URL(path, location.origin);
	for (const [k, v] of Object.entries(query || {}))
		if (v !== undefined && v !== null && v !== '')
			url.searchParams.append(k, v);
	const stop = new AbortController();
	const late = setTimeout(() => stop.abort(), LIMIT_MS);
	const leave = () => stop.abort();
	if (signal)
		signal.addEventListener('abort', leave);
	try {
		const answer = await fetch(url, { method, body, headers, signal: stop.signal, cache: 'no-store', credentials: 'same-origin' });
		const text = await answer.text();
		heard(true);
		return [answer, text];
	} catch (_) {
		if (signal && signal.aborted)
			throw new DOMException('left', 'AbortError');
		heard(false);
		throw new Problem(0, 'No answer', `The broker at ${location.host} does not answer.`, 'no-answer');
	} finally {
		clearTimeout(late);
		if (signal)
			signal.removeEventListener('abort', leave);
	}
}

async function call(method, path, how) {
	const [answer, text] = await ask(method, path, how);
	let json = null;
	try {
		json = text ? JSON.parse(text) : {};
	} catch (_) {
		if (answer.ok)
			throw new Problem(answer.status, 'Unreadable answer', 'The answer is not JSON.', 'unreadable');
	}
	if (!answer.ok) {
		const p = json || {};
		throw new Problem(answer.status, p.title || `Status ${answer.status}`, p.detail, p.code);
	}
	return json;
}

const name = encodeURIComponent;
const json = (value) => ({ body: JSON.stringify(value), headers: { 'Content-Type': 'application/json' } });

export const topics = {
	list: (signal, system) => call('GET', '/v1/topics', { query: { system: system ? 'true' : '' }, signal }).then((a) => a.topics || []),
	get: (t, signal) => call('GET', `/v1/topics/${name(t)}`, { signal }),
	create: (t, queues) => call('PUT', `/v1/topics/${name(t)}`, json({ readQueues: queues, writeQueues: queues })),
	drop: (t) => call('DELETE', `/v1/topics/${name(t)}`),
};

export const groups = {
	list: (signal, system) => call('GET', '/v1/groups', { query: { system: system ? 'true' : '' }, signal }).then((a) => a.groups || []),
	get: (g, signal) => call('GET', `/v1/groups/${name(g)}`, { signal }),
	drop: (g) => call('DELETE', `/v1/groups/${name(g)}`, { query: { offsets: 'true' } }),
	reset: (g, what) => call('POST', `/v1/groups/${name(g)}/offsets`, json(what)),
};

export const messages = {
	byKey: (topic, key, signal) => call('GET', '/v1/messages', { query: { topic, key }, signal }).then((a) => a.messages || []),
	byId: (topic, id, signal) => call('GET', `/v1/messages/${name(id)}`, { query: { topic }, signal }),
	/* 'options' are the query parameters of the send: tag, keys, order-key, delay, prop-NAME. A JSON array is one message too. */
	send: (topic, type, body, options) => call('POST', `/v1/topics/${name(topic)}/messages`, {
		query: { ...options, raw: /json/.test(type) ? 'true' : '' },
		body: new TextEncoder().encode(body),
		headers: type ? { 'Content-Type': type } : {},
	}),
	tailUrl: (topic, from) => `/v1/topics/${name(topic)}/messages?from=${from}`,
};

export const alive = () => ask('GET', '/healthz').then(([a]) => a.ok, () => false);
/* True, or the sentence that says why the broker does not take messages now. */
export async function ready(signal) {
	const [answer, text] = await ask('GET', '/readyz', { signal });
	if (answer.ok)
		return true;
	try {
		const p = JSON.parse(text);
		return p.detail || p.title || text;
	} catch (_) {
		return text.trim() || `Status ${answer.status}`;
	}
}

/* Prometheus' text as Map name -> [{labels, value}]. */
export async function metrics(signal) {
	const [answer, text] = await ask('GET', '/metrics', { signal });
	if (!answer.ok)
		throw new Problem(answer.status, 'No numbers', `/metrics answers with status ${answer.status}.`, 'metrics');
	return parseMetrics(text);
}

export function parseMetrics(text) {
	const all = new Map();
	for (const row of text.split('\n')) {
		const m = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(row);
		if (!m)
			continue;
		const labels = {};
		for (const l of (m[2] || '').matchAll(/(\w+)="((?:\\.|[^"\\])*)"/g))
			labels[l[1]] = l[2].replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
		if (!all.has(m[1]))
			all.set(m[1], []);
		all.get(m[1]).push({ labels, value: Number(m[3]) });
	}
	return all;
}

/* The sum of a metric over its labels; undefined where there is none. */
export function total(all, metric) {
	const v = all.get(`gantry_${metric}`);
	return v ? v.reduce((sum, s) => sum + s.value, 0) : undefined;
}

/* ---- What a name says ---------------------------------------------------------------------------------------------------------- */

const RETRY = '%RETRY%', DEAD = '%DLQ%';
const SYSTEM = new Set(['TBW102', 'SELF_TEST_TOPIC', 'OFFSET_MOVED_EVENT', 'RMQ_SYS_TRANS_HALF_TOPIC', 'BenchmarkTest']);

export function isSystem(topic) {
	return topic.startsWith(RETRY) || topic.startsWith(DEAD) || /^(rmq_sys|RMQ_SYS|SCHEDULE_TOPIC|TRANS_CHECK)/.test(topic) || SYSTEM.has(topic);
}

/* The group whose dead letters or retries a topic holds; null for any other topic. */
export function deadLettersOf(topic) {
	return topic.startsWith(DEAD) ? topic.slice(DEAD.length) : null;
}

export function retriesOf(topic) {
	return topic.startsWith(RETRY) ? topic.slice(RETRY.length) : null;
}

/* The bytes of a message's body. */
export function bodyBytes(message) {
	if (message.bodyBase64 !== undefined) {
		const text = atob(message.bodyBase64);
		return Uint8Array.from(text, (c) => c.charCodeAt(0));
	}
	return new TextEncoder().encode(message.body || '');
}
