// SPDX-License-Identifier: Apache-2.0
// Copyright The Gantry authors
//
// How the pages look and are operated: keyboard alone, narrow screens, light and dark, contrast, names for screen readers; and pictures to look at.

const NARROW = 360;
const LONG = 'ui_a_rather_long_topic_name_that_has_to_wrap_somewhere_on_a_narrow_screen_01';

/* name, address, what must be there before it is looked at */
const PAGES = [
	['overview', '#/', '.spark .line'], ['topics', '#/topics', 'td'], ['topics-system', '#/topics?system=1', 'td'], ['topic', '#/topics/ui-shop', 'td'],
	['topic-long', `#/topics/${LONG}`, 'td'], ['send', '#/send?topic=ui-shop', 'form'], ['groups', '#/groups', 'td'], ['group', '#/groups/ui-buyers', 'td'],
	['find', '#/find?topic=ui-shop&key=order-3', 'pre'], ['find-many', '#/find?topic=ui-shop&key=customer-7', '.tail li'], ['find-none', '#/find', 'form'],
	['no-page', '#/nowhere', 'h1'],
];

async function seed(t) {
	await t.publish(LONG, 'x');
	const there = (await t.http('GET', '/v1/topics')).topics.some((x) => x.name === 'ui-shop');
	if (there)
		return;
	for (let i = 0; i < 12; i++)
		await t.http('POST', `/v1/topics/ui-shop/messages?tag=${i % 2 ? 'new' : 'paid'}&keys=order-${i}%20customer-7&prop-region=eu-west&prop-priority=high`,
			JSON.stringify({ order: i, item: 'Kräuter <b>tea</b>', total: i * 1.5, note: 'a line of text that is longer than a narrow screen is wide' }),
			{ 'Content-Type': 'application/json' });
	await t.consume('ui-shop', 'ui-buyers', 9);
	await t.publish('ui-shop', Buffer.from([0, 1, 2, 255, 254]), 'keys=binary');
}

async function go(p, t, [, hash, ready]) {
	await p.goto(`${t.base}/${hash}`);
	await p.reload();
	await p.locator(ready).first().waitFor({ state: 'attached' });
}

export async function narrowScreensDoNotScrollSideways(t, check) {
	await seed(t);
	const p = await t.page({ viewport: { width: NARROW, height: 740 } });
	const wide = async (name) => {
		const over = await p.evaluate(() => {
			const width = document.documentElement.clientWidth;
			return [document.documentElement.scrollWidth - width, ...[...document.querySelectorAll('main *, dialog *')]
				.filter((e) => e.getBoundingClientRect().right > width + 1 && !e.closest('svg, .unseen, .tail, pre')).map((e) => e.outerHTML.slice(0, 80))];
		});
		check(over[0] <= 0 && over.length === 1, `${name} is too wide: ${over.slice(0, 3)}`);
	};
	for (const page of PAGES) {
		await go(p, t, page);
		await wide(page[0]);
	}
	await p.goto(`${t.base}/#/topics`);
	await p.getByRole('button', { name: 'New topic' }).click();
	await wide('the dialog');
	await p.keyboard.press('Escape');
	await go(p, t, PAGES[9]);
	await p.locator('.tail li button').first().click();
	await wide('the drawer');
}

/* Runs in the page: texts whose contrast with what is behind them is below 4.5 (3 for large ones), and controls without a name. */
function faults() {
	const part = (c) => c.match(/[\d.]+/g).map(Number);
	const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const ground = (e) => {
		for (; e; e = e.parentElement) {
			const c = part(getComputedStyle(e).backgroundColor);
			if (c.length < 4 || c[3] > 0.99)
				return c;
		}
		return [255, 255, 255];
	};
	const bad = [];
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n = walker.nextNode(); n; n = walker.nextNode()) {
		const e = n.parentElement, box = e.getBoundingClientRect();
		if (!n.textContent.trim() || !box.width || e.closest('.unseen, noscript, script, datalist, option, .skip'))
			continue;
		const style = getComputedStyle(e), a = light(part(style.color)), b = light(ground(e));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size = parseFloat(style.fontSize);
		if (ratio < (size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5))
			bad.push(`"${n.textContent.trim().slice(0, 30)}" has a contrast of ${ratio.toFixed(2)}`);
	}
	for (const e of document.querySelectorAll('a, button, input, select, textarea')) {
		const name = e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && [...e.labels].map((l) => l.textContent).join('')) || '';
		if (!name.trim())
			bad.push(`no name: ${e.outerHTML.slice(0, 80)}`);
	}
	if (document.querySelectorAll('h1').length !== 1)
		bad.push('not one h1');
	const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
	if (new Set(ids).size !== ids.length)
		bad.push('an id stands twice');
	return bad;
}

export async function contrastAndNames(t, check) {
	await seed(t);
	for (const colorScheme of ['light', 'dark']) {
		const p = await t.page({ colorScheme });
		for (const page of PAGES) {
			await go(p, t, page);
			const bad = await p.evaluate(faults);
			check(bad.length === 0, `${page[0]}, ${colorScheme}: ${bad.slice(0, 3).join('; ')}`);
		}
		await go(p, t, PAGES[9]);
		await p.locator('.tail li button').first().click();
		const bad = await p.evaluate(faults);
		check(bad.length === 0, `the drawer, ${colorScheme}: ${bad.slice(0, 3).join('; ')}`);
	}
}

export async function policyForbidsOthers(t, check) {
	for (const path of ['/', '/app.js', '/style.css']) {
		const policy = (await fetch(t.base + path)).headers.get('content-security-policy') || '';
		check(/default-src 'self';/.test(policy) && !/unsafe|\*|ws:|data:/.test(policy), `${path}: the policy is "${policy}"`);
	}
	const p = await t.page();
	p.watch.quiet = true;
	await p.goto(`${t.base}/`);
	const ran = await p.evaluate(() => {
		const s = document.createElement('script');
		s.textContent = 'window.ran = true';
		document.body.append(s);
		return Boolean(window.ran);
	});
	check(!ran, 'an inline script ran');
}

export async function themeFollowsAndCanBeChosen(t, check) {
	const p = await t.page({ colorScheme: 'dark' });
	const ground = () => p.evaluate(() => getComputedStyle(document.body).backgroundColor);
	const toggle = p.locator('#theme');
	await p.goto(`${t.base}/`);
	const dark = await ground();
	await p.emulateMedia({ colorScheme: 'light' });
	const light = await ground();
	check(dark !== light, 'the page does not follow the system');
	await toggle.click();
	await p.emulateMedia({ colorScheme: 'dark' });
	check(await ground() === light, 'light was chosen and is not shown');
	await toggle.click();
	await p.emulateMedia({ colorScheme: 'light' });
	check(await ground() === dark, 'dark was chosen and is not shown');
	await p.reload();
	check(await ground() === dark, 'the choice is forgotten');
	await toggle.click();
	check(await ground() === light, 'it does not follow the system again');
}

export async function keyboardAlone(t, check) {
	await t.publish('ui-keys', 'so that the topic is there');
	const p = await t.page();
	const active = () => p.evaluate(() => {
		const e = document.activeElement, s = getComputedStyle(e);
		return { text: (e.getAttribute('aria-label') || e.textContent || '').trim(), id: e.id, tag: e.tagName,
			label: e.labels && e.labels[0] ? e.labels[0].textContent : '', ring: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 };
	});
	const tabTo = async (words, what = (a) => a.text === words || a.label === words) => {
		for (let i = 0; i < 60; i++) {
			await p.keyboard.press('Tab');
			const a = await active();
			if (what(a)) {
				check(a.ring, `the focus on ${words} is not visible`);
				return;
			}
		}
		throw new Error(`Tab does not lead to ${words}`);
	};

	await p.goto(`${t.base}/`);
	await p.keyboard.press('Tab');
	check((await active()).id === 'skip', 'the first stop is not the link that skips the navigation');
	await p.keyboard.press('Enter');
	check((await active()).id === 'main', 'skipping does not lead into the page');

	await p.goto(`${t.base}/`);
	await tabTo('Topics');
	await p.keyboard.press('Enter');
	await t.until(p, () => document.activeElement.tagName === 'H1' && document.activeElement.textContent === 'Topics');
	await tabTo('New topic');
	await p.keyboard.press('Enter');
	await t.until(p, () => document.activeElement.closest('dialog'));
	check((await active()).label === 'Name', 'the dialog does not begin with the name');
	await p.keyboard.type('ui-typed');
	await p.keyboard.press('Enter');
	await p.locator('dialog').waitFor({ state: 'detached' });
	check((await active()).text === 'New topic', 'the focus does not come back from the dialog');

	await p.getByRole('row', { name: /ui-typed/ }).waitFor();
	await tabTo('Delete ui-typed');
	await p.keyboard.press('Enter');
	await t.until(p, () => document.activeElement.textContent === 'Cancel');
	await p.keyboard.press('Escape');
	await p.locator('dialog').waitFor({ state: 'detached' });
	check((await active()).text === 'Delete ui-typed', 'the focus does not come back from the question');
	await p.keyboard.press('Enter');
	await tabTo('Delete the topic');
	await p.keyboard.press('Enter');
	await p.getByRole('row', { name: /ui-typed/ }).waitFor({ state: 'detached' });

	await p.goto(`${t.base}/`);
	await tabTo('Send');
	await p.keyboard.press('Enter');
	await tabTo('Topic');
	await p.keyboard.type('ui-keys');
	await tabTo('Body');
	await p.keyboard.type('typed');
	await tabTo('Keys');
	await p.keyboard.type('typed-key');
	await tabTo('Send', (a) => a.text === 'Send' && a.tag === 'BUTTON');
	await p.keyboard.press('Enter');
	await p.locator('.answers .good').waitFor();
	await p.keyboard.press('Control+Enter');
	await p.locator('.answers .good').nth(1).waitFor();

	await p.goto(`${t.base}/#/find?topic=ui-keys&key=typed-key`);
	await p.reload();
	await p.locator('.tail li').nth(1).waitFor();
	await tabTo('a found message', (a) => a.tag === 'BUTTON' && a.text.includes('typed-key'));
	await p.keyboard.press('Enter');
	await p.locator('dialog.drawer').waitFor();
	await tabTo('Hex');
	await p.keyboard.press('Enter');
	check((await p.locator('dialog pre').innerText()).startsWith('000000  74 79 70 65 64'), 'Enter does not choose the view');
	await p.keyboard.press('Escape');
	await p.locator('dialog').waitFor({ state: 'detached' });
}

export async function screenshots(t) {
	await seed(t);
	const load = setInterval(() => t.publish('ui-shop', '{"tick":true}', 'tag=tick&keys=t1').catch(() => {}), 150);
	const modes = [['light', 1280, 860, 'light'], ['dark', 1280, 860, 'dark'], ['narrow', NARROW, 740, 'light']];
	try {
		await Promise.all(modes.map(async ([mode, width, height, colorScheme]) => {
			const p = await t.page({ viewport: { width, height }, colorScheme });
			for (const page of PAGES) {
				await go(p, t, page);
				await p.waitForTimeout(page[0] === 'overview' || page[0] === 'group' ? 2200 : 300);
				await p.screenshot({ path: `${t.shots}/${page[0]}-${mode}.png`, fullPage: mode === 'narrow' });
			}
			await go(p, t, PAGES[9]);
			await p.locator('.tail li button').first().click();
			await p.screenshot({ path: `${t.shots}/message-${mode}.png` });
		}));
	} finally {
		clearInterval(load);
	}
	return `${t.shots}`;
}
