// SPDX-License-Identifier: Apache-2.0
// Copyright The Gantry authors
//
// A page in headless Chromium with the browser's own WebSocket, told what to do by JSON lines on standard input:
//   {"do":"publish","frame":{...}}                     -> {"published":...}
//   {"do":"subscribe","frame":{...}}                   -> {"subscribed":...}, then {"message":...} for each, acknowledged where it was leased
// Arguments: the page's URL, the WebSocket's URL, Chromium's path. Ends with its input.
import { chromium } from 'playwright-core';
import readline from 'node:readline';

const [page_url, ws_url, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, timeout: 180000, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
const page = await browser.newPage();
page.setDefaultTimeout(120000);
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
await page.exposeFunction('say', say);
/* A document without the web UI's policy, which lets its pages talk to their own server alone. */
await page.goto(page_url + 'openapi.json');
await page.evaluate((url) => new Promise((resolve, reject) => {
	const ws = new WebSocket(url, 'gantry.v1.json');
	window.ws = ws;
	ws.onerror = () => window.say({ error: 'the socket failed' });
	ws.onclose = (e) => { window.say({ closed: e.code, reason: e.reason }); reject(new Error('closed ' + e.code)); };
	ws.onmessage = (e) => {
		const m = JSON.parse(e.data);
		if (m.type === 'welcome') resolve();
		window.say({ [m.type]: m });
		if (m.type === 'message' && m.seq !== undefined) ws.send(JSON.stringify({ type: 'ack', sub: m.sub, seq: m.seq }));
	};
}), ws_url);
say({ ready: true });
for await (const line of readline.createInterface({ input: process.stdin }))
	await page.evaluate((frame) => window.ws.send(JSON.stringify(frame)), JSON.parse(line).frame);
await browser.close();
