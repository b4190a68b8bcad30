/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
package interop;

import static interop.Env.check;
import static interop.Env.keys;
import static interop.Env.pause;
import static interop.Env.same;
import static interop.Env.share;
import static interop.Env.text;
import static interop.Env.until;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/* The push consumer: clustered, broadcast, shared, orderly, filtered by tag. */
final class PushCases {
	/* Without the server's word that the members changed, a client looks again only after 20 s; with all patience these are 18. */
	private static final int REBALANCE_S = 6;

	static void register(Map<String, Main.Case> cases) {
		cases.put("orderly-rebalance", PushCases::orderlyRebalance);
		cases.put("consumer-killed", PushCases::consumerKilled);
		cases.put("rebalance-two", PushCases::rebalanceTwo);
		cases.put("push-clustered", PushCases::clustered);
		cases.put("push-broadcast", PushCases::broadcast);
		cases.put("orderly", PushCases::orderly);
		cases.put("tags", PushCases::tags);
		cases.put("push-latency", PushCases::latency);
	}

	private static void clustered(Env env) throws Exception {
		String topic = env.topic("push");
		env.sendRange(topic, "T", 0, 100);
		Env.Seen seen = new Env.Seen();
		DefaultMQPushConsumer c = env.collect(env.group("push"), topic, "*", seen);
		try {
			env.sendRange(topic, "T", 100, 200);
			seen.awaitExactly(keys(0, 200), 20, "one consumer");
			for (MessageExt m : seen.messages)
				same("body " + m.getKeys().substring(2), new String(m.getBody()), "body of " + m.getKeys());
		} finally {
			c.shutdown();
		}
	}

	private static void broadcast(Env env) throws Exception {
		String topic = env.topic("broadcast");
		env.sendRange(topic, "T", 0, 20);
		List<Env.Seen> seen = new ArrayList<>();
		List<DefaultMQPushConsumer> all = new ArrayList<>();
		try {
			for (int i = 0; i < 3; i++) {
				Env.Seen s = new Env.Seen();
				seen.add(s);
				DefaultMQPushConsumer c = env.push(env.group("broadcast"), topic, "*");
				Env.broadcast(c);
				c.registerMessageListener((List<MessageExt> msgs, org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext x) -> {
					msgs.forEach(s::add);
					return org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
				});
				c.start();
				all.add(c);
			}
			env.sendRange(topic, "T", 20, 60);
			for (int i = 0; i < 3; i++)
				seen.get(i).awaitExactly(keys(0, 60), 20, "broadcast consumer " + i);
		} finally {
			all.forEach(DefaultMQPushConsumer::shutdown);
		}
	}

	private static void rebalanceTwo(Env env) throws Exception {
		String topic = env.topic("rebalance");
		String group = env.group("rebalance");
		env.sendRange(topic, "T", 0, 20);
		Env.Seen a = new Env.Seen(), b = new Env.Seen(), both = new Env.Seen();
		DefaultMQPushConsumer ca = env.collect(group, topic, "*", a), cb = null;
		AtomicBoolean stop = new AtomicBoolean();
		AtomicReference<Exception> bad = new AtomicReference<>();
		int[] sent = {20};
		Thread load = new Thread(() -> {
			try {
				for (; !stop.get(); sent[0]++) {
					env.send(new Message(topic, "T", "k-" + sent[0], text("x")));
					pause(5);
				}
			} catch (Exception e) {
				bad.set(e);
			}
		});
		try {
			until(REBALANCE_S, "the first consumer holds all queues", () -> share(ca, topic) == Env.QUEUES, () -> "" + share(ca, topic));
			load.start();
			pause(300);
			long joined = System.nanoTime();
			cb = env.collect(group, topic, "*", b);
			DefaultMQPushConsumer second = cb;
			until(REBALANCE_S, "two queues each", () -> share(ca, topic) == 2 && share(second, topic) == 2,
				() -> share(ca, topic) + " and " + share(second, topic));
			env.notes.put("rebalance-two", String.format("second consumer had its share after %.1f s", (System.nanoTime() - joined) / 1e9));
			pause(300);
			stop.set(true);
			load.join();
			check(bad.get() == null, "sending failed: %s", bad.get());
			/* While queues change hands a message may come twice, but none may be missed. */
			Set<String> wanted = keys(0, sent[0]);
			until(20, "all messages handled", () -> {
				Set<String> s = new TreeSet<>(a.times.keySet());
				s.addAll(b.times.keySet());
				return s.containsAll(wanted);
			}, () -> "the first has " + a.times.size() + ", the second " + b.times.size() + " of " + wanted.size());
			/* Settled: each exactly once, and both have work. */
			int from = sent[0], aHad = a.times.size(), bHad = b.times.size();
			env.sendRange(topic, "T", from, from + 100);
			Set<String> more = keys(from, from + 100);
			until(20, "messages after settling", () -> a.times.size() + b.times.size() - aHad - bHad >= 100, null);
			pause(500);
			a.times.forEach((k, n) -> both.times.put(k, n));
			for (String k : more) {
				int n = (a.times.containsKey(k) ? a.times.get(k).get() : 0) + (b.times.containsKey(k) ? b.times.get(k).get() : 0);
				same(1, n, "times that " + k + " was handled after settling");
			}
			check(a.times.size() > aHad && b.times.size() > bHad, "one consumer got nothing: %d and %d", a.times.size() - aHad, b.times.size() - bHad);
			/* One leaves in good order: the other takes all, and nothing is handled again. */
			cb.shutdown();
			cb = null;
			until(REBALANCE_S, "the first consumer holds all queues again", () -> share(ca, topic) == Env.QUEUES, () -> "" + share(ca, topic));
			env.sendRange(topic, "T", from + 100, from + 140);
			a.await(keys(from + 100, from + 140), 20, "messages after the second left");
		} finally {
			stop.set(true);
			ca.shutdown();
			if (cb != null)
				cb.shutdown();
		}
	}

	/* A consumer in a process of its own, killed with SIGKILL: what it held goes to the one that stays. */
	private static void consumerKilled(Env env) throws Exception {
		String topic = env.topic("killed");
		String group = env.group("killed");
		env.sendRange(topic, "T", 0, 8);
		Set<String> child = ConcurrentHashMap.newKeySet();
		Process process = Child.start(env, group, topic);
		Env.Seen here = new Env.Seen();
		DefaultMQPushConsumer c = null;
		try {
			BufferedReader in = new BufferedReader(new InputStreamReader(process.getInputStream()));
			Thread reader = new Thread(() -> {
				try {
					for (String line; (line = in.readLine()) != null;)
						if (line.startsWith("got "))
							child.add(line.substring(4));
				} catch (IOException e) {
					/* The end of the child. */
				}
			});
			reader.start();
			until(30, "the child got the first messages", () -> child.containsAll(keys(0, 8)), () -> "" + child);
			c = env.collect(group, topic, "*", here);
			DefaultMQPushConsumer mine = c;
			until(REBALANCE_S, "two queues here", () -> share(mine, topic) == 2, () -> "" + share(mine, topic));
			pause(500);
			int next = 8;
			for (; next < 100; next++)
				env.send(new Message(topic, "T", "k-" + next, text("x")));
			int childHad = child.size();
			/* Through the handle: what the child has written is still to be read. */
			process.toHandle().destroyForcibly();
			check(process.waitFor() != 0, "the child ended by itself");
			reader.join(5000);
			long killed = System.nanoTime();
			for (; next < 200; next++)
				env.send(new Message(topic, "T", "k-" + next, text("x")));
			Set<String> wanted = keys(0, 200);
			until(40, "every message handled by one of both", () -> {
				Set<String> s = new TreeSet<>(child);
				s.addAll(here.times.keySet());
				return s.containsAll(wanted);
			}, () -> here.times.size() + " here, " + childHad + " by the dead one");
			env.notes.put("consumer-killed", String.format("taken over after %.1f s", (System.nanoTime() - killed) / 1e9));
			same(Env.QUEUES, share(mine, topic), "queues held by the one that stays");
			until(5, "nothing else", () -> here.keys().size() >= 100, () -> "" + here.keys().size());
		} finally {
			process.destroyForcibly();
			if (c != null)
				c.shutdown();
		}
	}

	/* Per key, a number may come again after a rebalance but none may be skipped. */
	static final class Order {
		final Map<String, Integer> last = new ConcurrentHashMap<>();
		final Set<String> holders = ConcurrentHashMap.newKeySet();
		final AtomicReference<String> broken = new AtomicReference<>();

		void add(MessageExt m, String who) {
			holders.add(who);
			String key = m.getUserProperty("key");
			int n = Integer.parseInt(m.getUserProperty("number"));
			last.compute(key, (k, had) -> {
				int want = had == null ? 0 : had + 1;
				if (n > want)
					broken.compareAndSet(null, "key " + key + ": " + n + " came where " + want + " was next (" + who + ")");
				return Math.max(n, want - 1);
			});
		}

		boolean complete(int keys, int numbers) {
			return last.size() == keys && last.values().stream().allMatch(n -> n == numbers - 1);
		}
	}

	private static DefaultMQPushConsumer orderlyConsumer(Env env, String group, String topic, Order order, String who) throws Exception {
		DefaultMQPushConsumer c = env.push(group, topic, "*");
		c.registerMessageListener((List<MessageExt> msgs, ConsumeOrderlyContext x) -> {
			msgs.forEach(m -> order.add(m, who));
			return ConsumeOrderlyStatus.SUCCESS;
		});
		c.start();
		return c;
	}

	private static void sendOrdered(Env env, String topic, int keys, int from, int to) throws Exception {
		for (int n = from; n < to; n++)
			for (int k = 0; k < keys; k++) {
				Message m = new Message(topic, "T", "o-" + k + "-" + n, text("x"));
				m.putUserProperty("key", "" + k);
				m.putUserProperty("number", "" + n);
				env.producer().send(m, (qs, msg, arg) -> qs.get(Math.floorMod((Integer) arg, qs.size())), k);
			}
	}

	private static void orderly(Env env) throws Exception {
		String topic = env.topic("orderly");
		Order order = new Order();
		AtomicBoolean suspended = new AtomicBoolean();
		sendOrdered(env, topic, 8, 0, 10);
		DefaultMQPushConsumer c = env.push(env.group("orderly"), topic, "*");
		c.registerMessageListener((List<MessageExt> msgs, ConsumeOrderlyContext x) -> {
			/* One refusal on the way: the queue waits and the same message comes again, first. */
			if (order.last.size() >= 8 && suspended.compareAndSet(false, true)) {
				x.setSuspendCurrentQueueTimeMillis(100);
				return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
			}
			msgs.forEach(m -> order.add(m, "only"));
			return ConsumeOrderlyStatus.SUCCESS;
		});
		c.start();
		try {
			sendOrdered(env, topic, 8, 10, 30);
			until(30, "8 keys with 30 numbers", () -> order.complete(8, 30) || order.broken.get() != null, () -> "" + order.last);
			check(order.broken.get() == null, "%s", order.broken.get());
			check(suspended.get(), "the refusal never happened");
		} finally {
			c.shutdown();
		}
	}

	private static void orderlyRebalance(Env env) throws Exception {
		String topic = env.topic("orderly2");
		String group = env.group("orderly2");
		Order order = new Order();
		sendOrdered(env, topic, 8, 0, 5);
		DefaultMQPushConsumer a = orderlyConsumer(env, group, topic, order, "a"), b = null;
		try {
			until(30, "the first consumer has all", () -> order.complete(8, 5), () -> "" + order.last);
			b = orderlyConsumer(env, group, topic, order, "b");
			int n = 5;
			/* The lock of a queue may be handed over only after the client's own 20 s. */
			long end = System.nanoTime() + 150_000_000_000L;
			while (!order.holders.contains("b") && System.nanoTime() < end) {
				sendOrdered(env, topic, 8, n, n + 1);
				n++;
				pause(200);
			}
			check(order.holders.contains("b"), "the second consumer never got a queue");
			sendOrdered(env, topic, 8, n, n + 5);
			int total = n + 5;
			until(30, "all numbers", () -> order.complete(8, total) || order.broken.get() != null, () -> total + " numbers, last seen " + order.last);
			check(order.broken.get() == null, "%s", order.broken.get());
			/* The first leaves in good order: it unlocks, and the other takes its queues. */
			a.shutdown();
			a = null;
			sendOrdered(env, topic, 8, total, total + 5);
			until(40, "all numbers after the first left", () -> order.complete(8, total + 5) || order.broken.get() != null, () -> "" + order.last);
			check(order.broken.get() == null, "%s", order.broken.get());
		} finally {
			if (a != null)
				a.shutdown();
			if (b != null)
				b.shutdown();
		}
	}

	private static void tags(Env env) throws Exception {
		String topic = env.topic("tags");
		/* "Aa" and "BB" have the same hash code; the last has tags outside ASCII. */
		String[] tags = {"TagA", "TagB", "TagC", null, "Aa", "BB", "标签", "тег"};
		Env.Seen ab = new Env.Seen(), hash = new Env.Seen(), wide = new Env.Seen(), all = new Env.Seen(), none = new Env.Seen();
		for (int i = 0; i < 80; i++)
			env.send(new Message(topic, tags[i % 8], "k-" + i, text("x")));
		List<DefaultMQPushConsumer> cs = new ArrayList<>();
		try {
			cs.add(env.collect(env.group("tags1"), topic, "TagA || TagB", ab));
			cs.add(env.collect(env.group("tags2"), topic, "Aa", hash));
			cs.add(env.collect(env.group("tags3"), topic, "标签||тег", wide));
			cs.add(env.collect(env.group("tags4"), topic, "*", all));
			cs.add(env.collect(env.group("tags5"), topic, "Nothing", none));
			for (int i = 80; i < 160; i++)
				env.send(new Message(topic, tags[i % 8], "k-" + i, text("x")));
			Set<String> wantAb = new TreeSet<>(), wantHash = new TreeSet<>(), wantWide = new TreeSet<>();
			for (int i = 0; i < 160; i++) {
				if (i % 8 < 2)
					wantAb.add("k-" + i);
				if (i % 8 == 4)
					wantHash.add("k-" + i);
				if (i % 8 > 5)
					wantWide.add("k-" + i);
			}
			ab.awaitExactly(wantAb, 20, "TagA || TagB");
			hash.awaitExactly(wantHash, 20, "Aa, whose hash is that of BB");
			wide.awaitExactly(wantWide, 20, "tags outside ASCII");
			all.awaitExactly(keys(0, 160), 20, "*");
			same(0, none.times.size(), "messages for a tag that none has");
			env.send(new Message(topic, "Nothing", "late", text("x")));
			none.awaitExactly(Set.of("late"), 10, "the one message that matches");
		} finally {
			cs.forEach(DefaultMQPushConsumer::shutdown);
		}
	}

	/* A waiting consumer is woken by the message, not by a timer: half of the messages are there soon after their senders have their answers. */
	private static void latency(Env env) throws Exception {
		String topic = env.topic("latency");
		env.sendRange(topic, "T", 0, 4);
		Map<String, Long> came = new ConcurrentHashMap<>();
		DefaultMQPushConsumer c = env.push(env.group("latency"), topic, "*");
		c.registerMessageListener((List<MessageExt> msgs, org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext x) -> {
			msgs.forEach(m -> came.putIfAbsent(m.getKeys(), System.nanoTime()));
			return org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
		});
		c.start();
		try {
			until(20, "the first messages", () -> came.size() == 4, () -> "" + came.size());
			pause(2000);
			List<Double> ms = new ArrayList<>(), behind = new ArrayList<>();
			for (int i = 0; i < 20; i++) {
				String key = "l-" + i;
				long start = System.nanoTime();
				env.send(new Message(topic, "T", key, text("x")));
				long answered = System.nanoTime();
				until(6, "message " + i + " reaches a waiting consumer", () -> came.containsKey(key), null);
				ms.add((came.get(key) - start) / 1e6);
				behind.add((came.get(key) - answered) / 1e6);
				pause(100);
			}
			ms.sort(null);
			behind.sort(null);
			env.notes.put("push-latency", String.format("median %.1f ms, worst %.1f ms", ms.get(10), ms.get(19)));
			check(behind.get(10) < 1000, "the median from the answer to a send to the message's handling is %.1f ms", behind.get(10));
		} finally {
			c.shutdown();
		}
	}

	/* For Child: the file that says where the class path and settings of this JVM are. */
	static Path javaBinary() {
		Path java = Path.of(System.getProperty("java.home"), "bin", "java");
		return Files.exists(java) ? java : Path.of("java");
	}
}
