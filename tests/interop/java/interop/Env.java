/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
package interop;

import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/* What every case uses: names of its own, clients that are given nothing but the name server's address, waiting and checking. */
final class Env {
	/* Limits of time are those of an idle machine; on a busy one everything may take so many times as long. */
	private static final int PATIENCE = 3;
	/* How long a client waits for a route or an answer to a question: 3 s are not enough where all clients start at once on two cores. */
	static final int API_TIMEOUT_MS = 30_000;
	static final int QUEUES = 4; /* of a topic that the first send creates */

	static final class Failed extends RuntimeException {
		private static final long serialVersionUID = 1L;

		Failed(String what) {
			super(what);
		}
	}

	final String ns, run, lang;
	final Path dir;
	final List<String> peers;
	final Map<String, String> notes = new ConcurrentHashMap<>();
	private DefaultMQProducer shared;

	Env(String ns, String run, String lang, Path dir, String peers) {
		this.ns = ns;
		this.run = run;
		this.lang = lang;
		this.dir = dir;
		this.peers = peers.isEmpty() ? List.of(lang) : Arrays.asList(peers.split(","));
	}

	String topic(String name) {
		return run + "-" + lang + "-" + name;
	}

	String group(String name) {
		return "g-" + run + "-" + lang + "-" + name;
	}

	/* ---- checking ---- */

	static void check(boolean good, String what, Object... args) {
		if (!good)
			throw new Failed(String.format(what, args));
	}

	static void same(Object expected, Object got, String what) {
		boolean good = expected == null ? got == null : expected.equals(got);
		check(good, "%s: expected <%s>, got <%s>", what, expected, got);
	}

	static void until(int seconds, String what, BooleanSupplier good, Supplier<String> state) throws InterruptedException {
		long end = System.nanoTime() + PATIENCE * seconds * 1_000_000_000L;
		while (!good.getAsBoolean()) {
			if (System.nanoTime() > end)
				throw new Failed(what + ": not within " + PATIENCE * seconds + " s" + (state == null ? "" : ": " + state.get()));
			Thread.sleep(20);
		}
	}

	static void pause(long ms) throws InterruptedException {
		Thread.sleep(ms);
	}

	/* ---- bodies ---- */

	static byte[] text(String s) {
		return s.getBytes(StandardCharsets.UTF_8);
	}

	static byte[] noise(int size, long seed) {
		byte[] b = new byte[size];
		new Random(seed).nextBytes(b);
		return b;
	}

	static byte[] repeat(int size) {
		byte[] b = new byte[size];
		for (int i = 0; i < size; i++)
			b[i] = (byte) ("gantry and rocket ".charAt(i % 18));
		return b;
	}

	/* ---- producers ---- */

	synchronized DefaultMQProducer producer() throws Exception {
		if (shared == null) {
			shared = newProducer("shared");
			shared.start();
		}
		return shared;
	}

	DefaultMQProducer newProducer(String name) {
		DefaultMQProducer p = new DefaultMQProducer("p-" + run + "-" + lang + "-" + name);
		p.setNamesrvAddr(ns);
		p.setMqClientApiTimeout(API_TIMEOUT_MS);
		p.setInstanceName(lang + name + System.nanoTime());
		/* Two cores carry many clients at once here. */
		p.setSendMsgTimeout(30_000);
		return p;
	}

	/* What a JVM does slowly for the first time is done before all cases begin at once. */
	void warmUp() throws Exception {
		send(new Message(topic("warm-up"), "T", "k", text("x")));
	}

	synchronized void close() {
		if (shared != null)
			shared.shutdown();
	}

	SendResult send(Message m) throws Exception {
		SendResult r = producer().send(m);
		same(SendStatus.SEND_OK, r.getSendStatus(), "send status");
		return r;
	}

	/* Messages k-FROM .. k-(TO-1), each with its number as key and body. */
	List<SendResult> sendRange(String topic, String tag, int from, int to) throws Exception {
		List<SendResult> all = new ArrayList<>();
		for (int i = from; i < to; i++)
			all.add(send(new Message(topic, tag, "k-" + i, text("body " + i))));
		return all;
	}

	static Set<String> keys(int from, int to) {
		Set<String> s = new TreeSet<>();
		for (int i = from; i < to; i++)
			s.add("k-" + i);
		return s;
	}

	/* ---- consumers ---- */

	DefaultMQPushConsumer push(String group, String topic, String expression) throws Exception {
		DefaultMQPushConsumer c = new DefaultMQPushConsumer(group);
		c.setNamesrvAddr(ns);
		c.setMqClientApiTimeout(API_TIMEOUT_MS);
		c.setInstanceName(lang + "c" + System.nanoTime());
		c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
		c.setConsumeThreadMin(2);
		c.setConsumeThreadMax(4);
		/* A new group's retry topic becomes known at the next look at the name server. */
		c.setPollNameServerInterval(2000);
		/*
		 * Client 5.3.3 sends its first regular heartbeat one second after its start, when it also balances for the second time; of the
		 * two, one gives way, and if it is the one with the newer subscription, its pulls are refused (25) until the next heartbeat.
		 */
		c.setHeartbeatBrokerInterval(2000);
		c.subscribe(topic, expression);
		return c;
	}

	DefaultMQPushConsumer collect(String group, String topic, String expression, Seen seen) throws Exception {
		DefaultMQPushConsumer c = push(group, topic, expression);
		/* What a listener has handled counts as handled when it ends, although its thread had no time to say so yet. */
		c.setAwaitTerminationMillisWhenShutdown(30_000);
		c.registerMessageListener((List<MessageExt> msgs, org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext x) -> {
			msgs.forEach(seen::add);
			return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
		});
		c.start();
		return c;
	}

	/* In a group of its own: a pull consumer is a member of its group, and would be counted when queues are shared out. */
	DefaultMQPullConsumer puller(String name) throws Exception {
		@SuppressWarnings("deprecation")
		DefaultMQPullConsumer c = new DefaultMQPullConsumer("gl" + group(name));
		c.setNamesrvAddr(ns);
		c.setMqClientApiTimeout(API_TIMEOUT_MS);
		c.setInstanceName(lang + "l" + System.nanoTime());
		c.start();
		return c;
	}

	/* The two client versions keep the enum in different packages. */
	static void broadcast(DefaultMQPushConsumer c) throws Exception {
		for (Method m : c.getClass().getMethods())
			if (m.getName().equals("setMessageModel")) {
				Object value = Arrays.stream(m.getParameterTypes()[0].getEnumConstants())
					.filter(e -> e.toString().equals("BROADCASTING")).findFirst().orElseThrow();
				m.invoke(c, value);
				return;
			}
		throw new Failed("the client has no setMessageModel");
	}

	/* How many queues of a topic this consumer holds just now. */
	static int share(DefaultMQPushConsumer c, String topic) {
		return (int) c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
			.filter(q -> q.getTopic().equals(topic)).count();
	}

	/* Everything that a topic holds, by plain pulls, checked to be dense. */
	List<MessageExt> readAll(DefaultMQPullConsumer c, String topic) throws Exception {
		List<MessageExt> all = new ArrayList<>();
		for (MessageQueue q : c.fetchSubscribeMessageQueues(topic)) {
			long at = c.minOffset(q);
			long max = c.maxOffset(q);
			while (at < max) {
				PullResult r = c.pull(q, "*", at, 32);
				same(PullStatus.FOUND, r.getPullStatus(), "pull of " + q + " at " + at + " below its end " + max);
				for (MessageExt m : r.getMsgFoundList()) {
					check(m.getQueueOffset() == at, "queue %s: offset %d where %d should be", q, m.getQueueOffset(), at);
					at++;
					all.add(m);
				}
				check(at == r.getNextBeginOffset(), "queue %s: next offset %d after %d", q, r.getNextBeginOffset(), at - 1);
			}
		}
		return all;
	}

	/* The queues of a topic that was just created may be a moment away from the name server. */
	Set<MessageQueue> queues(DefaultMQPullConsumer c, String topic, int seconds) throws Exception {
		long end = System.nanoTime() + PATIENCE * seconds * 1_000_000_000L;
		while (true) {
			try {
				Set<MessageQueue> s = c.fetchSubscribeMessageQueues(topic);
				if (s != null && !s.isEmpty())
					return s;
			} catch (org.apache.rocketmq.client.exception.MQClientException e) {
				if (System.nanoTime() > end)
					throw e;
			}
			check(System.nanoTime() < end, "topic %s has no route after %d s", topic, PATIENCE * seconds);
			pause(100);
		}
	}

	/* ---- what consumers saw ---- */

	static final class Seen {
		final Map<String, AtomicInteger> times = new ConcurrentHashMap<>();
		final List<MessageExt> messages = java.util.Collections.synchronizedList(new ArrayList<>());

		void add(MessageExt m) {
			messages.add(m);
			times.computeIfAbsent(m.getKeys(), k -> new AtomicInteger()).incrementAndGet();
		}

		Set<String> keys() {
			return new TreeSet<>(times.keySet());
		}

		MessageExt get(String key) {
			synchronized (messages) {
				return messages.stream().filter(m -> key.equals(m.getKeys())).findFirst().orElse(null);
			}
		}

		Map<String, Integer> twice() {
			Map<String, Integer> all = new TreeMap<>();
			times.forEach((k, n) -> {
				if (n.get() > 1)
					all.put(k, n.get());
			});
			return all;
		}

		String missing(Collection<String> wanted) {
			Set<String> s = new TreeSet<>(wanted);
			s.removeAll(times.keySet());
			return s.size() + " of " + wanted.size() + " missing, for example "
				+ s.stream().limit(5).collect(java.util.stream.Collectors.toList());
		}

		void await(Set<String> wanted, int seconds, String what) throws InterruptedException {
			until(seconds, what, () -> times.keySet().containsAll(wanted), () -> missing(wanted));
		}

		/* All of these, none twice, nothing else. */
		void awaitExactly(Set<String> wanted, int seconds, String what) throws InterruptedException {
			await(wanted, seconds, what);
			pause(500);
			check(twice().isEmpty(), "%s: handled more than once: %s", what, twice());
			same(new TreeSet<>(wanted), keys(), what);
		}
	}
}
