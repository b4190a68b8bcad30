// SPDX-License-Identifier: Apache-2.0
// Copyright The Gantry authors
//
// The browser's own EventSource and WebSocket, and what the pages do while the server is away.

export async function eventSourceGoesOnWhereItWas(t, check) {
	await t.publish('es', 'before');
	const p = await t.page();
	await p.goto(`${t.base}/`);
	p.watch.quiet = true;
	await p.evaluate(() => new Promise((resolve) => {
		window.got = [];
		window.es = new EventSource('/v1/topics/es/messages?from=latest');
		window.es.onmessage = (e) => window.got.push([e.lastEventId, JSON.parse(e.data).body]);
		window.es.onerror = () => { window.broken = true; };
		window.es.onopen = resolve;
	}));
	for (let i = 0; i < 5; i++)
		await t.publish('es', `a${i}`);
	await t.until(p, () => window.got.length === 5);
	await t.kill();
	await t.until(p, () => window.broken);
	await t.start();
	/* These are there before the browser is back: only the id that it brings along can make them come. */
	for (let i = 0; i < 5; i++)
		await t.publish('es', `b${i}`);
	await t.until(p, () => window.got.length >= 10);
	await t.publish('es', 'last');
	await t.until(p, () => window.got.some(([, b]) => b === 'last'));
	const bodies = (await p.evaluate(() => window.got)).map(([, b]) => b);
	const want = [0, 1, 2, 3, 4].flatMap((i) => [`a${i}`, `b${i}`]).concat('last').sort();
	check(JSON.stringify([...bodies].sort()) === JSON.stringify(want), `got ${bodies}`);
	const ids = (await p.evaluate(() => window.got)).map(([id]) => id);
	check(ids.every(Boolean) && new Set(ids).size === ids.length, `ids: ${ids}`);
}
eventSourceGoesOnWhereItWas.needsServer = true;

export async function serverThatIsAwayIsSaid(t, check) {
	await t.publish('ui-away', 'before');
	const p = await t.page(), q = await t.page();
	p.watch.quiet = q.watch.quiet = true;
	await p.goto(`${t.base}/#/topics/ui-away`);
	await q.goto(`${t.base}/#/send?topic=ui-away`);
	await p.locator('.live').waitFor();
	await q.getByLabel('Body').fill('kept while the server is away');
	await t.kill();
	await p.locator('#banner').waitFor();
	await t.start();
	await p.locator('#banner').waitFor({ state: 'hidden' });
	await p.locator('.live').waitFor();
	await q.getByRole('button', { name: 'Send', exact: true }).click();
	await q.locator('.answers .good').waitFor();
	await p.getByText('kept while the server is away').waitFor();
	check(await q.getByLabel('Body').inputValue() === 'kept while the server is away', 'the form was lost');
}
serverThatIsAwayIsSaid.needsServer = true;

export async function webSocketOfTheBrowser(t, check) {
	const p = await t.page();
	await t.http('PUT', '/v1/topics/ui-ws', '{}', { 'Content-Type': 'application/json' });
	p.watch.quiet = true;   /* there is no /favicon.ico */
	await p.goto(`${t.base}/openapi.json`);   /* of the same origin; the pages themselves need no sockets, and may have none */
	const said = await p.evaluate((url) => new Promise((resolve, reject) => {
		const ws = new WebSocket(url, 'gantry.v1.json'), all = [];
		const say = (frame) => ws.send(JSON.stringify(frame));
		ws.onerror = () => reject(new Error('the socket failed'));
		ws.onclose = (e) => resolve({ all, code: e.code, protocol: ws.protocol });
		ws.onmessage = (e) => {
			const m = JSON.parse(e.data);
			all.push(m);
			if (m.type === 'welcome')
				say({ type: 'subscribe', id: 'mine', topic: 'ui-ws', group: 'ui-ws-group', credit: 10 });
			else if (m.type === 'subscribed')
				say({ type: 'publish', id: 1, topic: 'ui-ws', tag: 'eu', keys: ['k1', 'k2'], properties: { colour: 'grün' }, body: 'from the browser' });
			else if (m.type === 'message')
				say({ type: 'ack', id: 2, sub: m.sub, seq: m.seq });
			else if (m.type === 'error')
				reject(new Error(e.data));
			if (['published', 'settled'].every((type) => all.some((x) => x.type === type)))
				ws.close(1000);
		};
	}), t.ws);
	const of = (type) => said.all.find((m) => m.type === type) || {};
	check(said.protocol === 'gantry.v1.json' && said.code === 1000, `protocol ${said.protocol}, closed with ${said.code}`);
	check(of('published').queue !== undefined, `no confirmation: ${JSON.stringify(said.all)}`);
	const m = of('message');
	check(m.body === 'from the browser' && m.tag === 'eu' && m.properties.colour === 'grün', `the message is ${JSON.stringify(m)}`);
	check(m.keys === 'k1 k2', `its keys are ${m.keys}`);
	const found = (await t.http('GET', '/v1/messages?topic=ui-ws&key=k2')).messages;
	check(found.length === 1 && found[0].body === 'from the browser', 'HTTP does not find what WebSocket published');
	const group = await t.http('GET', '/v1/groups/ui-ws-group');
	check(group.lag === 0, `the acknowledged message still counts: ${JSON.stringify(group)}`);
}
webSocketOfTheBrowser.needsServer = true;
