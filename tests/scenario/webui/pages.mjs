// SPDX-License-Identifier: Apache-2.0
// Copyright The Gantry authors
//
// What the pages are for: topics, sending, the live tail, finding, groups.

const NASTY = '<img src="http://other.example/x.png" onerror="document.title=1"><script>document.title=2</script>';

async function send(t, p, { topic, body, tag, keys, order, props = {} }) {
	await p.goto(`${t.base}/#/send`);
	await p.getByLabel('Topic', { exact: true }).fill(topic);
	await p.getByLabel('Body').fill(body);
	if (tag)
		await p.getByLabel('Tag').fill(tag);
	if (keys)
		await p.getByLabel('Keys').fill(keys);
	if (order)
		await p.getByLabel('Order key').fill(order);
	for (const [name, value] of Object.entries(props)) {
		await p.getByRole('button', { name: 'Add a property' }).click();
		await p.getByLabel('Name of the property').last().fill(name);
		await p.getByLabel('Value of the property').last().fill(value);
	}
	const before = await p.locator('.answers > *').count();
	await p.getByRole('button', { name: 'Send', exact: true }).click();
	await t.until(p, (n) => document.querySelectorAll('.answers > *').length > n, before);
	return p.locator('.answers > *').first().getAttribute('data-id');
}

export async function topicIsMadeAndDeleted(t, check) {
	const p = await t.page();
	await p.goto(`${t.base}/#/topics`);
	await p.getByRole('button', { name: 'New topic' }).click();
	await p.getByLabel('Name', { exact: true }).fill('ui-made');
	await p.getByLabel('Queues').fill('3');
	await p.getByRole('button', { name: 'Create' }).click();
	const row = p.getByRole('row', { name: /ui-made/ });
	await row.waitFor();
	check((await t.http('GET', '/v1/topics/ui-made')).queues.length === 3, 'it has not the queues that were asked for');

	await p.getByLabel('Filter by name').fill('nothing like it');
	await p.getByText('No topic has such a name.').waitFor();
	await p.getByLabel('Filter by name').fill('UI-m');
	await row.waitFor();

	await row.getByRole('button', { name: 'Delete ui-made' }).click();
	await p.getByRole('button', { name: 'Cancel' }).click();
	await t.http('GET', '/v1/topics/ui-made');
	await row.getByRole('button', { name: 'Delete ui-made' }).click();
	await p.getByRole('button', { name: 'Delete the topic' }).click();
	await row.waitFor({ state: 'detached' });
	const there = (await t.http('GET', '/v1/topics')).topics.map((x) => x.name);
	check(!there.includes('ui-made'), 'the topic is still there');
}

export async function listThatIsOvertakenIsNotShown(t, check) {
	const p = await t.page();
	let release, asked = 0, held = false, done;
	const free = new Promise((yes) => { release = yes; }), over = new Promise((yes) => { done = yes; });
	/* The page's first list is of a time before the topic is made, and comes after it. */
	await p.route('**/v1/topics*', async (route) => {
		if (asked++)
			return route.continue();
		const response = await route.fetch();
		held = true;
		await free;
		await route.fulfill({ response });
		return done();
	});
	await p.goto(`${t.base}/#/topics`);
	for (const end = Date.now() + 45000; !held; await p.waitForTimeout(10))
		check(Date.now() < end, 'the page asks for no list');
	await p.getByRole('button', { name: 'New topic' }).click();
	await p.getByLabel('Name', { exact: true }).fill('ui-newer');
	await p.getByRole('button', { name: 'Create' }).click();
	const row = p.getByRole('row', { name: /ui-newer/ });
	await row.waitFor();
	release();
	await over;
	await p.waitForTimeout(300);
	check(await row.isVisible(), 'the topic vanished with an answer that is older than it');
}

export async function wrongNameIsExplained(t) {
	const p = await t.page();
	p.watch.quiet = true;
	await t.http('PUT', '/v1/topics/ui-there', '{}', { 'Content-Type': 'application/json' });
	await p.goto(`${t.base}/#/topics`);
	await p.getByRole('button', { name: 'New topic' }).click();
	await p.getByLabel('Name', { exact: true }).fill('ui-there');
	await p.getByRole('button', { name: 'Create' }).click();
	await p.getByText('There is a topic ui-there already.').waitFor();
	await p.getByLabel('Name', { exact: true }).fill('rmq_sys_mine');
	await p.getByRole('button', { name: 'Create' }).click();
	await p.getByText('There is a topic').waitFor({ state: 'detached' });
	await p.locator('dialog [role=alert]').waitFor();
	await p.getByRole('button', { name: 'Cancel' }).click();
	await p.goto(`${t.base}/#/topics/not-there`);
	await p.locator('main [role=alert]').first().waitFor();
}

export async function sentIsSeenLiveAndFound(t, check) {
	await t.http('PUT', '/v1/topics/ui-orders', '{}', { 'Content-Type': 'application/json' });
	const tail = await t.page();
	await tail.goto(`${t.base}/#/topics/ui-orders`);
	await tail.locator('.live').waitFor();

	const p = await t.page();
	const body = '{"item":"Kräuter <b>tea</b>","n":[1,2]}';
	const id = await send(t, p, { topic: 'ui-orders', body, tag: 'paid', keys: 'o-17 c-4', order: 'c-4', props: { 'région': 'süd & <i>', second: '2' } });
	check(Boolean(id), `there is no id: ${await p.locator('.answers').innerText()}`);
	check((await p.locator('.answers').innerText()).includes('Stored on disk.'), 'the answer does not name the level');

	const row = tail.locator('.tail li').first();
	await row.waitFor();
	check((await row.innerText()).includes('Kräuter <b>tea</b>'), `the tail shows ${await row.innerText()}`);
	await row.locator('button').click();
	const drawer = tail.locator('dialog.drawer');
	for (const words of [id, 'paid', 'o-17', 'c-4', 'région', 'süd & <i>', 'second', '"item": "Kräuter <b>tea</b>"'])
		check((await drawer.innerText()).includes(words), `the details lack ${words}: ${await drawer.innerText()}`);
	await drawer.getByRole('button', { name: 'Text' }).click();
	check((await drawer.locator('pre').innerText()) === body, 'the text is not the body');
	await drawer.getByRole('button', { name: 'Hex' }).click();
	check((await drawer.locator('pre').innerText()).startsWith('000000  7b 22 69 74 65 6d'), 'the hex view is wrong');
	await drawer.getByRole('button', { name: 'Close' }).click();
	await drawer.waitFor({ state: 'detached' });

	await p.getByRole('link', { name: 'Look at it' }).first().click();
	await p.locator('main code').filter({ hasText: id }).waitFor();
	await p.goto(`${t.base}/#/find`);
	await p.getByLabel('Topic').fill('ui-orders');
	await p.getByLabel('Which').fill('o-17');
	await p.getByRole('button', { name: 'Find' }).click();
	await p.locator('main code').filter({ hasText: id }).waitFor();
	await p.getByLabel('Which').fill('no-such-key');
	await p.getByRole('button', { name: 'Find' }).click();
	await p.getByText('No message of ui-orders has the key no-such-key.').waitFor();
	await p.getByLabel('By').selectOption('id');
	await p.getByLabel('Topic').fill('');
	await p.getByLabel('Which').fill(id);
	await p.getByRole('button', { name: 'Find' }).click();
	await p.locator('main code').filter({ hasText: id }).waitFor();
}

export async function contentIsNeverMarkup(t, check) {
	const p = await t.page();
	await t.publish('ui-nasty', 'first, so that the topic is there');
	await p.goto(`${t.base}/#/topics/ui-nasty`);
	await p.locator('.live').waitFor();
	const q = await t.page();
	await send(t, q, { topic: 'ui-nasty', body: NASTY, keys: '<b>key</b>', props: { '<u>name</u>': NASTY } });
	await p.locator('.tail li button').first().click();
	const drawer = p.locator('dialog.drawer');
	check((await drawer.locator('pre').innerText()) === NASTY, 'the body is not shown as it is');
	check(await p.locator('main img, dialog img, main script, dialog script, dialog b, dialog u, .tail b').count() === 0, 'content became elements');
	check((await p.title()).includes('ui-nasty'), `the title is now ${await p.title()}`);
}

export async function tailPausesAndIsBounded(t, check) {
	await t.publish('ui-many', 'first');
	const p = await t.page();
	await p.goto(`${t.base}/#/topics/ui-many`);
	await p.locator('.live').waitFor();
	const burst = async (name, n) => {
		const batch = Array.from({ length: n }, (_, i) => ({ body: `${name}-${i}` }));
		for (let i = 0; i < n; i += 100)
			await t.http('POST', '/v1/topics/ui-many/messages', JSON.stringify(batch.slice(i, i + 100)), { 'Content-Type': 'application/json' });
	};
	const rows = p.locator('.tail li');
	await burst('a', 600);
	await p.getByText('Live. 600 so far').waitFor();
	check(await rows.count() === 500, `${await rows.count()} rows are kept`);
	await p.getByRole('button', { name: 'Pause' }).click();
	await burst('b', 7);
	await p.getByText('Paused; 7 came meanwhile.').waitFor();
	check(await p.getByText(/b-\d/).count() === 0, 'a paused tail went on');
	await p.getByRole('button', { name: 'Go on' }).click();
	await p.getByText('b-3').first().waitFor();
	check(await rows.count() === 500, `${await rows.count()} rows are kept after the pause`);
	await p.getByRole('button', { name: 'Clear' }).click();
	check(await rows.count() === 0, 'Clear leaves rows');
	await burst('c', 1);
	await p.getByText('c-0').waitFor();
	await p.getByLabel('Begin at').selectOption('earliest');
	await p.getByText('Live. 609 so far').waitFor();
}

export async function hiddenPageHoldsNoStream(t, check) {
	await t.publish('ui-hidden', 'first');
	const p = await t.page();
	const streams = async () => Number(/^gantry_http_streams (\d+)/m.exec(await (await fetch(`${t.base}/metrics`)).text())[1]);
	const turn = (hidden) => p.evaluate((h) => {
		Object.defineProperty(document, 'hidden', { configurable: true, get: () => h });
		document.dispatchEvent(new Event('visibilitychange'));
	}, hidden);
	const reach = async (n) => {
		for (let i = 0; await streams() !== n; i++, await p.waitForTimeout(100))
			check(i < 450, `${await streams()} streams instead of ${n}`);
	};
	await reach(0);
	await p.goto(`${t.base}/#/topics/ui-hidden`);
	await p.locator('.live').waitFor();
	await reach(1);
	await turn(true);
	await reach(0);
	await t.publish('ui-hidden', 'unseen');
	await turn(false);
	await p.getByText('What came during a break is not shown.').waitFor();
	await t.publish('ui-hidden', 'seen again');
	await p.locator('.tail li', { hasText: 'seen again' }).waitFor();
}

export async function lagGoesUpAndDown(t, check) {
	await t.http('PUT', '/v1/topics/ui-jobs', '{"readQueues":4,"writeQueues":4}', { 'Content-Type': 'application/json' });
	for (let i = 0; i < 8; i++)
		await t.publish('ui-jobs', `job ${i}`);
	await t.consume('ui-jobs', 'ui-workers', 8);
	const p = await t.page();
	await p.goto(`${t.base}/#/groups`);
	await p.getByRole('link', { name: 'ui-workers' }).click();
	const lag = (n) => t.until(p, (v) => document.getElementById('lag')?.textContent === v, String(n));
	await lag(0);
	check(await p.locator('table').first().locator('tbody tr').count() === 4, 'not each queue has a row');
	for (let i = 0; i < 20; i++)
		await t.publish('ui-jobs', `more ${i}`);
	await lag(20);
	await t.consume('ui-jobs', 'ui-workers', 15);
	await lag(5);
	await t.consume('ui-jobs', 'ui-workers', 5);
	await lag(0);

	await p.getByRole('button', { name: 'Move offsets' }).click();
	await p.getByLabel('To', { exact: true }).selectOption('earliest');
	await p.getByRole('button', { name: 'Move', exact: true }).click();
	await lag(28);
	const q = await t.page();
	await q.goto(`${t.base}/#/topics/ui-jobs`);
	await q.getByRole('row', { name: /ui-workers/ }).getByText('28').waitFor();
}

export async function groupIsDeleted(t) {
	await t.publish('ui-gone', 'x');
	await t.consume('ui-gone', 'ui-gone-group', 1);
	const p = await t.page();
	p.watch.quiet = true;
	await p.goto(`${t.base}/#/groups/ui-gone-group`);
	await t.until(p, () => document.getElementById('lag')?.textContent === '0');
	await p.getByRole('button', { name: 'Delete' }).click();
	await p.getByRole('button', { name: 'Delete the group' }).click();
	await p.getByRole('heading', { name: 'Groups' }).waitFor();
	await p.getByRole('link', { name: 'ui-gone-group' }).waitFor({ state: 'detached' });
}

export async function deadLettersAreExplained(t, check) {
	await t.publish('ui-poison', 'poison', 'keys=p1');
	const { messages } = await t.http('GET', '/v1/topics/ui-poison/groups/ui-careful/messages?max=1&wait=5s&from=earliest');
	check(messages.length === 1, 'the group gets nothing');
	await t.http('POST', '/v1/receipts/nack?reject=true', JSON.stringify({ receipts: [messages[0].receipt] }), { 'Content-Type': 'application/json' });
	const p = await t.page();
	await p.goto(`${t.base}/#/topics?system=1`);
	await p.getByRole('link', { name: '%DLQ%ui-careful' }).click();
	await p.getByText('Dead letters: messages that the group').waitFor();
	await p.locator('.tail li', { hasText: 'poison' }).waitFor();
	await p.getByRole('link', { name: 'ui-careful', exact: true }).first().click();
	await p.getByRole('heading', { name: 'ui-careful' }).waitFor();
}

export async function delayedIsSaidAndComes(t, check) {
	await t.publish('ui-late', 'first');
	const p = await t.page(), q = await t.page();
	await p.goto(`${t.base}/#/topics/ui-late`);
	await p.locator('.live').waitFor();
	await q.goto(`${t.base}/#/send?topic=ui-late`);
	await q.getByLabel('Body').fill('later');
	await q.getByLabel('Delay').selectOption('1s');
	const began = Date.now();
	await q.getByRole('button', { name: 'Send', exact: true }).click();
	await q.getByText('delivered in 1s').waitFor();
	await p.locator('.tail li', { hasText: 'later' }).waitFor();
	check(Date.now() - began >= 1000, 'it came early');
}

export async function overviewIsLive(t, check) {
	const p = await t.page();
	await p.goto(`${t.base}/#/`);
	await p.getByText('Ready.').waitFor();
	const rate = p.locator('.tile', { hasText: 'Messages in, per second' }).locator('strong');
	let top = 0;
	for (const end = Date.now() + 60000; top <= 1 && Date.now() < end;) {
		await Promise.all(Array.from({ length: 10 }, () => t.publish('ui-rate', 'x')));
		await p.waitForTimeout(50);
		top = Math.max(top, Number(await rate.innerText()) || 0);
	}
	check(top > 1, `the highest rate shown is ${top}`);
	check(await p.locator('.spark .line').first().getAttribute('d') !== null, 'nothing is drawn');
	const topics = await p.locator('.tile', { hasText: 'Topics' }).locator('strong').innerText();
	check(Number(topics) > 0, `topics: ${topics}`);
}

export async function systemTopicsAreHidden(t, check) {
	const p = await t.page();
	await t.publish('ui-plain', 'x');
	await p.goto(`${t.base}/#/topics`);
	await p.getByRole('row', { name: /ui-plain/ }).waitFor();
	check(await p.getByRole('link', { name: /TBW102|%RETRY%|SCHEDULE_TOPIC/ }).count() === 0, 'system topics are shown');
	await p.getByLabel('System topics, retries and dead letters').check();
	await p.getByRole('link', { name: 'SCHEDULE_TOPIC_XXXX' }).waitFor();
}
