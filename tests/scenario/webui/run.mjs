// SPDX-License-Identifier: Apache-2.0
// Copyright The Gantry authors
//
// Runs the cases in one browser: node run.mjs HTTP-URL WS-URL CHROMIUM SHOTS-FOLDER [CASE,CASE]. One line for each; ends with "N passed, N failed".
// A line {"ask":"kill"} or {"ask":"start"} is for webui.py, which answers with a line when the server is gone, or up again.
import { createRequire } from 'node:module';
import readline from 'node:readline';
import * as pages from './pages.mjs';
import * as shape from './shape.mjs';
import * as streams from './streams.mjs';

const [base, ws, executablePath, shots, only] = process.argv.slice(2);
const { chromium } = createRequire(`${process.env.PLAYWRIGHT_FOLDER}/`)('playwright-core');
const STEP_MS = 45000;     // the longest that a page may take to show something; it is a hang that is looked for
const CASE_MS = 480000;
const LAUNCH_MS = 180000;

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/* Every page of every case is watched: it may talk to the server and to nobody else, and its console stays empty of errors. */
async function open(browser, options = {}) {
	const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
	const page = await context.newPage();
	const wrong = [];
	const watch = { wrong, quiet: false };
	context.setDefaultTimeout(STEP_MS);
	context.on('request', (r) => {
		const url = new URL(r.url());
		if (url.origin !== base && !['blob:', 'data:', 'about:'].includes(url.protocol))
			wrong.push(`asks another host: ${r.url()}`);
	});
	page.on('websocket', (s) => {
		if (!ws || !s.url().startsWith(ws))
			wrong.push(`opens ${s.url()}`);
	});
	page.on('console', (m) => {
		if (m.type() === 'error' && !watch.quiet)
			wrong.push(`console: ${m.text()}`);
	});
	page.on('pageerror', (e) => wrong.push(`script: ${e.message}`));
	return { context, page, watch };
}

/* What the cases have to work with. */
function tools(browser) {
	const opened = [];
	const http = async (method, path, body, headers) => {
		const answer = await fetch(base + path, { method, body, headers });
		const text = await answer.text();
		if (!answer.ok)
			throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 200)}`);
		return text ? JSON.parse(text) : {};
	};
	return {
		base, ws, shots, http,
		async page(options) {
			const o = await open(browser, options);
			opened.push(o);
			return Object.assign(o.page, { watch: o.watch });
		},
		publish: (topic, body, query = '') => http('POST', `/v1/topics/${topic}/messages?${query}`, body, { 'Content-Type': 'text/plain' }),
		async consume(topic, group, max) {
			let done = 0;
			for (let round = 0; done < max && round < 100; round++) {
				const { messages } = await http('GET', `/v1/topics/${topic}/groups/${group}/messages?max=${max - done}&wait=5s&from=earliest`);
				if (messages.length)
					await http('POST', '/v1/receipts/ack', JSON.stringify({ receipts: messages.map((m) => m.receipt) }), { 'Content-Type': 'application/json' });
				done += messages.length;
			}
			check(done === max, `the group got ${done} of ${max} messages`);
		},
		/* Until a function in the page says so. Playwright's own waits are stopped by the pages' policy, which forbids eval. */
		async until(page, what, arg, limit = STEP_MS) {
			for (const end = Date.now() + limit; !await page.evaluate(what, arg); await page.waitForTimeout(30))
				check(Date.now() < end, `not in ${limit} ms: ${what}`);
		},
		/* As after a crash, on the same ports: what happens in between is the case's. */
		async kill() {
			process.stdout.write('{"ask":"kill"}\n');
			await lines.next();
		},
		async start() {
			process.stdout.write('{"ask":"start"}\n');
			await lines.next();
		},
		async close() {
			for (const o of opened)
				await o.context.close();
			return opened.flatMap((o) => o.watch.wrong);
		},
	};
}

export function check(good, words) {
	if (!good)
		throw new Error(words);
}

async function main() {
	const browser = await chromium.launch({ executablePath, timeout: LAUNCH_MS, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
	const cases = [...Object.entries(pages), ...Object.entries(shape), ...Object.entries(streams)].filter(([, f]) => typeof f === 'function');
	const wanted = only ? only.split(',') : null;
	let passed = 0, failed = 0;
	for (const [name, run] of cases) {
		if (wanted ? !wanted.includes(name) : !ws && run.needsServer)
			continue;
		const began = Date.now(), t = tools(browser);
		let late;
		try {
			const limit = new Promise((_, no) => { late = setTimeout(() => no(new Error(`not done in ${CASE_MS} ms`)), CASE_MS); });
			const remark = await Promise.race([run(t, check), limit]);
			const wrong = await t.close();
			check(wrong.length === 0, wrong.slice(0, 5).join('; '));
			passed++;
			console.log(`ok webui.${name} ${((Date.now() - began) / 1000).toFixed(1)} s${remark ? ` (${remark})` : ''}`);
		} catch (e) {
			failed++;
			console.log(`FAIL webui.${name} ${String(e.message).replaceAll('\n', ' | ').slice(0, 600)}`);
			await t.close().catch(() => {});
		} finally {
			clearTimeout(late);
		}
	}
	await browser.close();
	console.log(`${passed} passed, ${failed} failed`);
	process.exit(failed || !passed ? 1 : 0);
}

main();
