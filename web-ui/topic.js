/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* One topic: its queues, the groups that read it, and a live tail. */
import { alive, bodyBytes, deadLettersOf, messages, retriesOf, topics } from './api.js';
import { preview, showMessage } from './message.js';
import { remove } from './topics.js';
import { announce, button, card, clock, count, el, failure, groupLink, head, link, loading, note, set, table, text } from './ui.js';

const EVERY_MS = 2000;
const ROWS_MAX = 500;      /* of the tail; older ones go */
const RETRY_MS = 2000;
const HIDDEN_MS = 3000;    /* a hidden page lets its stream go: a browser has but six connections to a server, for all its tabs */
const DRAW_MS = 200;       /* rows are drawn together */

export function mount(root, ctx) {
	const topic = ctx.name;
	const state = el('div', null, loading());
	const queues = table('Queues', [['Queue', 'num'], ['First', 'num'], ['Next', 'num'], ['Messages', 'num']], {
		key: (q) => q.queue,
		cells: (q) => [String(q.queue), '', '', ''],
		update: (cells, q) => {
			text(cells[1], count(q.min));
			text(cells[2], count(q.max));
			text(cells[3], count(q.max - q.min));
		},
		empty: 'No queues.',
	});
	const readers = table('Groups that read this topic', [['Group', 'main'], ['Behind', 'num']], {
		key: (g) => g.name,
		cells: (g) => [groupLink(g.name), ''],
		update: (cells, g) => text(cells[1], count(g.lag)),
		empty: 'No group has read this topic.',
	});
	const sum = el('p', { class: 'muted' });

	async function refresh() {
		try {
			const t = await topics.get(topic, ctx.signal);
			queues.show(t.queues);
			text(sum, `${count(t.queues.reduce((n, q) => n + q.max - q.min, 0))} messages in ${count(t.queues.length)} queues`);
			readers.show(t.groups || []);
			set(state);
		} catch (e) {
			if (!ctx.signal.aborted)
				set(state, failure(e, refresh));
		}
	}

	const q = encodeURIComponent(topic);
	set(root, head(topic, link(`#/send?topic=${q}`, 'Send a message'), link(`#/find?topic=${q}`, 'Find'),
		button('Delete', () => remove(topic, () => { location.hash = '#/topics'; }), { class: 'quiet' })),
	hint(topic), state, tail(topic, ctx),
	el('div', { class: 'pair' }, card('Queues', sum, queues.node), card('Groups that read it', readers.node)));
	ctx.every(EVERY_MS, refresh);
}

function hint(topic) {
	const dead = deadLettersOf(topic), again = retriesOf(topic);
	if (dead !== null)
		return note('', 'Dead letters: messages that the group ', groupLink(dead),
			' could not handle in all its attempts. Nobody gets them by themselves; look into each, and send it again where it belongs.');
	if (again !== null)
		return note('', 'Messages that the group ', groupLink(again), ' will be given again.');
	return null;
}

/* What arrives from now on, newest first. */
function tail(topic, ctx) {
	const rows = el('ol', { class: 'tail', 'aria-label': 'Messages, newest first' });
	const state = el('p', { class: 'muted' }, 'Connecting…');
	const empty = el('p', { class: 'empty' }, 'No message yet. What arrives appears here.');
	const pause = button('Pause', () => hold(!paused), { 'aria-pressed': 'false' });
	/* Dead letters do not come often: what is there is worth more than what will come. */
	const from = el('select', { 'aria-label': 'Begin at', onchange: again },
		el('option', { value: 'latest' }, 'From now on'), el('option', { value: 'earliest' }, 'From the start'));
	from.value = deadLettersOf(topic) === null ? 'latest' : 'earliest';
	let waiting = [], seen = 0, paused = false, gap = false, due = 0, source = null, timer = 0;

	function row(data) {
		const m = JSON.parse(data);
		return el('li', null, el('button', { type: 'button', onclick: () => showMessage(m) },
			el('time', { title: `queue ${m.queue}, offset ${m.offset}` }, clock(m.storedAt)),
			el('span', { class: 'where' }, `${m.queue}:${m.offset}`),
			m.tag ? el('span', { class: 'tag' }, m.tag) : null,
			m.keys ? el('span', { class: 'keys' }, m.keys) : null,
			el('span', { class: 'body' }, preview(bodyBytes(m)))));
	}

	function draw() {
		due = 0;
		if (!paused && waiting.length) {
			rows.prepend(...waiting.map(row).reverse());
			waiting = [];
			while (rows.childElementCount > ROWS_MAX)
				rows.lastElementChild.remove();
		}
		empty.hidden = rows.childElementCount > 0;
		tell();
	}

	function tell() {
		const open = source && source.readyState === EventSource.OPEN;
		const words = paused ? `Paused; ${count(waiting.length)}${waiting.length === ROWS_MAX ? ' or more' : ''} came meanwhile.`
			: open ? `Live. ${count(seen)} so far${seen > ROWS_MAX ? `, the last ${ROWS_MAX} are here` : ''}.${gap ? ' What came during a break is not shown.' : ''}` : 'Connecting…';
		text(state, words);
		state.classList.toggle('live', Boolean(open) && !paused);
	}

	/* Messages may come by the ten thousand: only those that are shown are parsed. */
	function take(event) {
		seen++;
		waiting.push(event.data);
		if (waiting.length > ROWS_MAX)
			waiting.shift();
		if (!due)
			due = setTimeout(draw, DRAW_MS);
	}

	function hold(on) {
		paused = on;
		pause.setAttribute('aria-pressed', String(on));
		text(pause, on ? 'Go on' : 'Pause');
		announce(on ? 'Paused' : 'Live again');
		draw();
	}

	/* EventSource comes back by itself after a cut, with the last id; it gives up only when the answer is an error. */
	function connect(start) {
		source = new EventSource(messages.tailUrl(topic, start));
		source.onopen = tell;
		source.onmessage = take;
		source.onerror = () => {
			tell();
			alive();   /* says so at once, if it is the whole broker */
			if (source.readyState === EventSource.CLOSED)
				timer = setTimeout(goOn, RETRY_MS);
		};
	}

	function clear() {
		rows.replaceChildren();
		waiting = [];
		draw();
	}

	function again() {
		clearTimeout(timer);
		source.close();
		seen = 0;
		gap = false;
		clear();
		connect(from.value);
	}

	/* What came meanwhile may be more than anybody would read: the tail goes on from now, and says so. */
	function goOn() {
		gap = seen > 0 || from.value === 'latest';
		connect(gap ? 'latest' : from.value);
	}

	function seenOrNot() {
		clearTimeout(timer);
		if (document.hidden) {
			timer = setTimeout(() => source.close(), HIDDEN_MS);
		} else if (source.readyState === EventSource.CLOSED) {
			goOn();
		}
	}

	ctx.signal.addEventListener('abort', () => {
		clearTimeout(timer);
		clearTimeout(due);
		source.close();
	});
	document.addEventListener('visibilitychange', seenOrNot, { signal: ctx.signal });
	connect(from.value);
	seenOrNot();
	return card('Live', el('div', { class: 'bar' }, state,
		el('div', { class: 'actions' }, from, pause, button('Clear', clear))), empty, rows);
}
