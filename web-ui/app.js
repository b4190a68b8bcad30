/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The frame: which page the address names, how it comes and goes, the theme, and the banner of a broker that does not answer. A page is a module with
 * mount(root, ctx); ctx.signal aborts when the page is left, and with it all timers and calls that were made through ctx.
 */
import { alive, line } from './api.js';
import { announce, button, el, failure, head, link, note, set } from './ui.js';
import * as overview from './overview.js';
import * as topics from './topics.js';
import * as topic from './topic.js';
import * as send from './send.js';
import * as groups from './groups.js';
import * as group from './group.js';
import * as find from './find.js';

const RETRY_MS = 2000;

/* First word of the address, number of words that must follow, the module, the row of the navigation. */
const PAGES = [
	['', 0, overview, 'overview'],
	['topics', 0, topics, 'topics'],
	['topics', 1, topic, 'topics'],
	['send', 0, send, 'send'],
	['groups', 0, groups, 'groups'],
	['groups', 1, group, 'groups'],
	['find', 0, find, 'find'],
];

const main = document.getElementById('main');
let leave = new AbortController();
let first = true;

function read() {
	const [path, search] = location.hash.replace(/^#\/?/, '').split('?');
	let words;
	try {
		words = path.split('/').filter(Boolean).map(decodeURIComponent);
	} catch (_) {
		words = ['?'];
	}
	return { words, query: new URLSearchParams(search || '') };
}

function context(words, query) {
	const { signal } = leave;
	return {
		name: words[1],
		query,
		signal,
		/* Now, and 'ms' after each time it is done, while the page is to be seen. */
		every(ms, work) {
			let timer = 0;
			async function turn() {
				if (signal.aborted)
					return;
				if (!document.hidden)
					await work();
				if (!signal.aborted)
					timer = setTimeout(turn, ms);
			}
			signal.addEventListener('abort', () => clearTimeout(timer));
			turn();
		},
	};
}

function show() {
	const { words, query } = read();
	const page = PAGES.find(([w, more]) => (words[0] || '') === w && words.length - (w ? 1 : 0) === more);
	leave.abort();
	leave = new AbortController();
	for (const dialog of document.querySelectorAll('dialog'))
		dialog.close();
	for (const a of document.querySelectorAll('nav a')) {
		if (page && a.dataset.page === page[3])
			a.setAttribute('aria-current', 'page');
		else
			a.removeAttribute('aria-current');
	}
	set(main);
	if (page) {
		try {
			page[2].mount(main, context(words, query));
		} catch (e) {
			set(main, head('Gantry'), failure(e, show));
		}
	} else {
		set(main, head('No such page'), note('', 'The address names none of the pages. ', link('#/', 'To the overview')));
	}
	const h1 = main.querySelector('h1');
	const title = h1 ? h1.textContent : 'Gantry';
	document.title = title === 'Gantry' ? title : `${title} · Gantry`;
	/* Whoever follows a link by keyboard or ear goes on from the new page's heading. */
	if (!first && h1) {
		h1.focus({ preventScroll: true });
		announce(title);
	}
	if (!first)
		window.scrollTo(0, 0);
	first = false;
}

/* ---- The broker does not answer ----------------------------------------------------------------------------------------------- */

const banner = document.getElementById('banner');
let retry = 0;

line.addEventListener('down', () => {
	set(banner, el('span', null, `The broker at ${location.host} does not answer. Trying again every ${RETRY_MS / 1000} seconds.`), ' ',
		button('Try now', alive));
	banner.hidden = false;
	retry = setInterval(alive, RETRY_MS);
});
line.addEventListener('up', () => {
	banner.hidden = true;
	clearInterval(retry);
	announce('The broker answers again.');
});

/* ---- Theme ---------------------------------------------------------------------------------------------------------------------- */

const THEMES = { auto: ['light', 'Theme: auto'], light: ['dark', 'Theme: light'], dark: ['auto', 'Theme: dark'] };
const toggle = document.getElementById('theme');

function themed() {
	toggle.textContent = THEMES[document.documentElement.dataset.theme][1];
}
toggle.addEventListener('click', () => {
	const next = THEMES[document.documentElement.dataset.theme][0];
	document.documentElement.dataset.theme = next;
	try {
		localStorage.setItem('gantry-theme', next);
	} catch (_) {
		/* It lasts as long as the page, then. */
	}
	themed();
});
themed();

/* The address after '#' is a page's: the link that skips the navigation must not change it. */
document.getElementById('skip').addEventListener('click', (e) => {
	e.preventDefault();
	main.focus();
});

window.addEventListener('hashchange', show);
show();
