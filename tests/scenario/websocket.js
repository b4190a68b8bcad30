// SPDX-License-Identifier: Apache-2.0
// Copyright The Gantry authors
// The JSON protocol with node's ws: publish, a tap that is cut and comes back with its cursor, a group. Prints "fine".
'use strict';
const WebSocket = require('ws');
const url = `ws://127.0.0.1:${process.argv[2]}/v1/ws`;
const topic = `node-${process.pid}`;
const TOTAL = 200;

function connect(on) {
	const ws = new WebSocket(url, 'gantry.v1.json');
	ws.on('message', (data) => on(JSON.parse(data), ws));
	ws.on('error', (e) => fail(e.message));
	return ws;
}
function fail(why) {
	console.log(`failed: ${why}`);
	process.exit(1);
}
setTimeout(() => fail('not finished in time'), 180000);

let base = null;
const next = new Map();
const seen = [];
function reader(publish) {
	let left = 7 + (seen.length % 13);
	connect((m, ws) => {
		if (m.type === 'welcome') {
			const from = base === null ? 'latest' : [base, ...[...next].map(([q, o]) => `${q}:${o}`)].join(',');
			ws.send(JSON.stringify({type: 'subscribe', id: 'tap', topic, from, credit: 'auto'}));
		} else if (m.type === 'subscribed') {
			base = base === null ? m.cursor : base;
			if (publish) publisher();
		} else if (m.type === 'message' && left > 0) {
			next.set(m.queue, m.offset + 1);
			seen.push(Number(m.body));
			if (seen.length === TOTAL) {
				ws.close();
				group();
			} else if (--left === 0) {
				ws.terminate();
				setTimeout(() => reader(false), 5);
			}
		} else if (m.type === 'error') {
			fail(JSON.stringify(m));
		}
	});
}
function publisher() {
	let n = 0, answered = 0;
	connect((m, ws) => {
		if (m.type === 'error') fail(JSON.stringify(m));
		if (m.type === 'published' && ++answered === TOTAL) ws.close();
		if (m.type !== 'welcome') return;
		const timer = setInterval(() => {
			for (let i = 0; i < 10 && n < TOTAL; i++, n++) ws.send(JSON.stringify({type: 'publish', id: n, topic, body: String(n)}));
			if (n === TOTAL) clearInterval(timer);
		}, 1);
	});
}
function group() {
	const all = new Set(seen);
	if (all.size !== TOTAL || seen.length !== TOTAL) fail(`${seen.length} messages, ${all.size} different ones`);
	let got = 0;
	connect((m, ws) => {
		if (m.type === 'welcome') {
			ws.send(JSON.stringify({type: 'subscribe', id: 'g', topic, group: `${topic}-g`, from: 'earliest', credit: 10}));
		} else if (m.type === 'message') {
			got++;
			ws.send(JSON.stringify({type: 'ack', id: got, sub: 'g', seq: m.seq}));
		} else if (m.type === 'settled' && m.id === TOTAL + 1) {
			ws.close(1000, 'done');
		} else if (m.type === 'error') {
			fail(JSON.stringify(m));
		}
	}).on('close', (code) => {
		if (code !== 1000 || got !== TOTAL + 1) fail(`closed with ${code} after ${got}`);
		console.log('fine');
		process.exit(0);
	});
}
// The topic is there before somebody subscribes to it.
connect((m, ws) => {
	if (m.type === 'welcome') ws.send(JSON.stringify({type: 'publish', id: 'make', topic, body: '-1'}));
	if (m.type === 'published') {
		ws.close();
		reader(true);
	}
});
