// SPDX-License-Identifier: Apache-2.0
// Copyright The Gantry authors
// What MQTT.js sees: cases.mjs NAME URL PREFIX [--standard]. A line "ok NAME.case" or "FAIL NAME.case why" each; --standard leaves out what is Gantry's own.
import mqtt from "mqtt";
import { setTimeout as sleep } from "node:timers/promises";

const [name, url, prefix, standard] = process.argv.slice(2);
const COME_MS = 60000, QUIET_MS = 400;
let clients = [], serial = 0;

// MQTT.js throws this where a connection breaks while it sends its store again, and nobody can catch it.
process.on("uncaughtException", (e) => {
	if (e.message === "Connection closed")
		return;
	console.error(e);
	process.exit(1);
});

class Client {
	constructor(c) {
		this.c = c;
		this.waiting = [];
		this.come = [];
		c.on("error", () => {});
		c.on("message", (topic, body, packet) => {
			const m = { topic, body, packet };
			this.waiting.length ? this.waiting.shift()(m) : this.come.push(m);
		});
	}
	async message(ms = COME_MS) {
		if (this.come.length)
			return this.come.shift();
		return await limited(new Promise((done) => this.waiting.push(done)), "message", ms);
	}
	async quiet() {
		await sleep(QUIET_MS);
		want(this.come.length === 0, `a message that must not come: ${this.come[0]?.topic} ${String(this.come[0]?.body).slice(0, 60)}`);
	}
	publish(topic, body, options = { qos: 1 }) {
		return limited(this.c.publishAsync(topic, body, options), "PUBACK");
	}
	async subscribe(filter, options = { qos: 1 }) {
		return (await limited(this.c.subscribeAsync(filter, options), "SUBACK"))[0]?.qos;
	}
	end() {
		return limited(this.c.endAsync(), "end");
	}
}

function want(is, what) {
	if (!is)
		throw new Error(what);
}

function equal(got, expected, what) {
	const [a, b] = [JSON.stringify(got), JSON.stringify(expected)];
	want(a === b, `${what}: ${a?.slice(0, 300)}, expected ${b?.slice(0, 300)}`);
}

async function limited(promise, what, ms = COME_MS) {
	let timer;
	const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`no ${what} in ${ms} ms`)), ms); });
	try {
		return await Promise.race([promise, late]);
	} finally {
		clearTimeout(timer);
	}
}

async function connect(version, options = {}) {
	const clientId = options.clientId ?? `${prefix}-${name}-${++serial}`;
	const c = mqtt.connect(url, { protocolVersion: version, reconnectPeriod: 0, connectTimeout: COME_MS, ...options, clientId });
	const client = new Client(c);
	clients.push(client);
	await limited(new Promise((done, fail) => {
		c.once("connect", (connack) => { client.connack = connack; done(); });
		c.once("error", fail);
		c.once("close", () => fail(new Error("closed before CONNACK")));
	}), "CONNACK");
	return client;
}

// The connection breaks as when a cable is pulled: nothing is said.
function cut(client) {
	client.c.stream.destroy();
}

const text = (m) => m.body.toString();

const cases = {
	async "qos-and-wildcards"(v, t) {
		const [pub, s] = [await connect(v), await connect(v)];
		equal(await s.subscribe(`${t}/+/x`, { qos: 1 }), 1, "granted");
		await s.subscribe(`${t}/deep/#`, { qos: 0 });
		await pub.publish(`${t}/a/x`, "one", { qos: 1 });
		let m = await s.message();
		equal([m.topic, text(m), m.packet.qos, m.packet.retain, m.packet.dup], [`${t}/a/x`, "one", 1, false, false], "QoS 1");
		await pub.publish(`${t}/a/x`, "zero", { qos: 0 });
		equal((await s.message()).packet.qos, 0, "QoS 0");
		await pub.publish(`${t}/deep/er/still`, "two", { qos: 1 });
		m = await s.message();
		equal([m.topic, m.packet.qos], [`${t}/deep/er/still`, 0], "lowered QoS");
		await s.c.unsubscribeAsync(`${t}/+/x`);
		await pub.publish(`${t}/a/x`, "nobody");
		await s.quiet();
	},
	async "order"(v, t) {
		const [pub, s] = [await connect(v), await connect(v)];
		await s.subscribe(t);
		const all = [];
		for (let i = 0; i < 500; i++)
			all.push(pub.publish(t, String(i)));
		for (let i = 0; i < 500; i++)
			equal(text(await s.message()), String(i), "order");
		await Promise.all(all);
	},
	async "retained-and-will"(v, t) {
		const [pub, s] = [await connect(v), await connect(v)];
		await pub.publish(`${t}/r`, "kept", { qos: 1, retain: true });
		await s.subscribe(`${t}/#`);
		let m = await s.message();
		equal([text(m), m.packet.retain], ["kept", true], "retained");
		await pub.publish(`${t}/r`, "", { qos: 1, retain: true });
		equal(text(await s.message()), "", "the empty one");
		const c = await connect(v, { will: { topic: `${t}/w`, payload: Buffer.from("gone"), qos: 1, retain: false } });
		cut(c);
		m = await s.message();
		equal([m.topic, text(m)], [`${t}/w`, "gone"], "will");
		const late = await connect(v);
		await late.subscribe(`${t}/r`);
		await late.quiet();
	},
	async "offline-messages"(v, t) {
		const session = { clientId: `${t}-session`, clean: false, properties: v === 5 ? { sessionExpiryInterval: 300 } : undefined };
		let s = await connect(v, session);
		equal(s.connack.sessionPresent, false, "session present");
		await s.subscribe(`${t}/#`);
		await s.end();
		const pub = await connect(v);
		for (let i = 0; i < 50; i++)
			await pub.publish(`${t}/x`, String(i));
		s = await connect(v, session);
		equal(s.connack.sessionPresent, true, "session present");
		for (let i = 0; i < 50; i++)
			equal(text(await s.message()), String(i), "what came meanwhile");
		await s.quiet();
		await s.end();
	},
	// What MQTT.js keeps for a broken connection it sends again: every message arrives, whatever was cut.
	async "cut-and-resumed"(v, t) {
		const session = (id) => ({ clientId: `${t}-${id}`, clean: false, reconnectPeriod: 50, properties: v === 5 ? { sessionExpiryInterval: 300 } : undefined });
		const [pub, s] = [await connect(v, session("p")), await connect(v, session("s"))];
		await s.subscribe(t);
		const all = [];
		for (let i = 0; i < 300; i++) {
			all.push(pub.publish(t, String(i)).catch(() => pub.publish(t, String(i))));
			if (i % 60 === 30)
				cut(pub);
			if (i % 60 === 59)
				cut(s);
			if (i % 10 === 0)
				await sleep(5);
		}
		await Promise.all(all);
		const seen = new Set();
		while (seen.size < 300)
			seen.add(text(await s.message()));
		await Promise.all([pub.end(), s.end()]);
	},
	async "big-payload"(v, t) {
		const [pub, s] = [await connect(v), await connect(v)];
		await s.subscribe(t);
		const body = Buffer.alloc(1 << 20, "0123456789abcdef");
		body[777777] = 0;
		await pub.publish(t, body);
		want((await s.message()).body.equals(body), "the body is another one");
	},
	async "properties"(v, t) {
		if (v !== 5)
			return;
		const [pub, s] = [await connect(v), await connect(v)];
		await s.subscribe(t, { qos: 1, properties: { subscriptionIdentifier: 9 } });
		await pub.publish(t, "x", { qos: 1, properties: { contentType: "a/b", responseTopic: `${t}/r`, correlationData: Buffer.from([0, 255]), messageExpiryInterval: 60,
			userProperties: { k: "v", colour: "grün" } } });
		const p = (await s.message()).packet.properties;
		equal([p.contentType, p.responseTopic, [...p.correlationData], p.subscriptionIdentifier], ["a/b", `${t}/r`, [0, 255], 9], "properties");
		equal([p.userProperties.k, p.userProperties.colour], ["v", "grün"], "user properties");
		want(p.messageExpiryInterval > 50 && p.messageExpiryInterval <= 60, `${p.messageExpiryInterval} s are left`);
	},
	async "reasons"(v, t) {
		if (standard)
			return;
		const c = await connect(v);
		if (v === 5) {
			const error = await c.publish("no.such name/x", "x").then(() => null, (e) => e);
			equal(error?.code, 0x90, "PUBACK");
			equal(c.connack.properties.maximumQoS, 1, "maximum QoS");
		}
		const granted = await limited(c.c.subscribeAsync("$share/g/" + t, { qos: 1 }), "SUBACK").then((g) => g[0]?.qos, (e) => e.code ?? 128);
		want(granted >= 0x80, `a shared subscription was granted: ${granted}`);
	},
	async "ping"(v, t) {
		/* Whoever is held up for three seconds here and now pings too late, and is closed for good reason: the best of three. */
		for (let left = 3; left > 0; left--) {
			const c = await connect(v, { keepalive: 6 });
			await sleep(10000);
			if (c.c.connected)
				return;
		}
		throw new Error("closed although it pings, three times");
	},
};

for (const v of [4, 5])
	for (const [title, run] of Object.entries(cases)) {
		const label = `${name}.${title}-v${v}`, topic = `${prefix}-${name}-${title}-v${v}`;
		try {
			await limited(run(v, topic), "end of the case", 240000);
			console.log(`ok ${label}`);
		} catch (e) {
			console.log(`FAIL ${label} ${String(e.message ?? e).replace(/\s+/g, " ")}`);
		}
		await Promise.all(clients.map((c) => new Promise((done) => c.c.end(true, done))));
		clients = [];
	}
process.exit(0);
