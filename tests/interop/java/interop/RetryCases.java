/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
package interop;

import static interop.Env.check;
import static interop.Env.keys;
import static interop.Env.pause;
import static interop.Env.same;
import static interop.Env.text;
import static interop.Env.until;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

/* Handling that fails: the message comes again after its delay, and after the last attempt lies in the dead-letter topic. */
final class RetryCases {
	private static final int LEVEL_1_MS = 1000;
	/* The broker stamps with its own clock and the client with its own; they are the same machine's. */
	private static final int EARLY_MS = 0;

	static void register(Map<String, Main.Case> cases) {
		cases.put("dead-letter", RetryCases::deadLetter);
		cases.put("delay-levels", RetryCases::delayLevels);
		cases.put("retry", RetryCases::retry);
		cases.put("orderly-dead-letter", RetryCases::orderlyDeadLetter);
	}

	private record Attempt(int times, long at, String topic, String id) { }

	/*
	 * The first consumer of a group makes the server create the group's retry topic; the client takes that topic's queue only
	 * at its next turn of 20 s. So the group is made known before the case itself starts.
	 */
	private static void warm(Env env, String group, String topic) throws Exception {
		DefaultMQPushConsumer c = env.collect(group, topic, "*", new Env.Seen());
		DefaultMQPullConsumer look = env.puller("warm" + System.nanoTime());
		try {
			env.queues(look, "%RETRY%" + group, 10);
		} finally {
			look.shutdown();
			c.shutdown();
		}
	}

	private static void retry(Env env) throws Exception {
		String topic = env.topic("retry");
		String group = env.group("retry");
		env.send(new Message(topic + "-warm", "T", "w", text("x")));
		warm(env, group, topic + "-warm");
		Map<String, List<Attempt>> attempts = new ConcurrentHashMap<>();
		Map<String, String> ids = new TreeMap<>();
		DefaultMQPushConsumer c = env.push(group, topic, "*");
		c.registerMessageListener((List<MessageExt> msgs, ConsumeConcurrentlyContext x) -> {
			MessageExt m = msgs.get(0);
			attempts.computeIfAbsent(m.getKeys(), k -> java.util.Collections.synchronizedList(new ArrayList<>()))
				.add(new Attempt(m.getReconsumeTimes(), System.currentTimeMillis(), m.getTopic(), m.getMsgId()));
			int failures = Integer.parseInt(m.getUserProperty("failures"));
			if (m.getReconsumeTimes() < failures) {
				x.setDelayLevelWhenNextConsume(1);
				return ConsumeConcurrentlyStatus.RECONSUME_LATER;
			}
			return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
		});
		for (int i = 0; i < 8; i++) {
			Message m = new Message(topic, "T", "k-" + i, text("body " + i));
			m.putUserProperty("failures", "" + i % 3);
			SendResult r = env.send(m);
			ids.put("k-" + i, r.getMsgId());
		}
		c.start();
		try {
			for (int i = 0; i < 8; i++) {
				String key = "k-" + i;
				int want = i % 3 + 1;
				until(30, key + " is handled " + want + " times", () -> attempts.containsKey(key) && attempts.get(key).size() >= want,
					() -> "" + attempts.get(key));
			}
			pause(2500);
			for (int i = 0; i < 8; i++) {
				List<Attempt> all = attempts.get("k-" + i);
				same(i % 3 + 1, all.size(), "attempts of k-" + i + " " + all);
				for (int n = 0; n < all.size(); n++) {
					same(n, all.get(n).times, "reconsumeTimes of attempt " + n + " of k-" + i);
					same(topic, all.get(n).topic, "topic that the listener sees");
					same(ids.get("k-" + i), all.get(n).id, "message id of attempt " + n);
					if (n > 0) {
						long gap = all.get(n).at - all.get(n - 1).at;
						check(gap >= LEVEL_1_MS - EARLY_MS, "attempt %d of k-%d came after %d ms", n, i, gap);
						check(gap < 40_000, "attempt %d of k-%d came after %d ms", n, i, gap);
					}
				}
			}
		} finally {
			c.shutdown();
		}
	}

	private static void deadLetter(Env env) throws Exception {
		String topic = env.topic("dlq");
		String group = env.group("dlq");
		env.send(new Message(topic + "-warm", "T", "w", text("x")));
		warm(env, group, topic + "-warm");
		Map<String, Set<Integer>> attempts = new ConcurrentHashMap<>();
		DefaultMQPushConsumer c = env.push(group, topic, "*");
		c.setMaxReconsumeTimes(2);
		c.registerMessageListener((List<MessageExt> msgs, ConsumeConcurrentlyContext x) -> {
			MessageExt m = msgs.get(0);
			attempts.computeIfAbsent(m.getKeys(), k -> ConcurrentHashMap.newKeySet()).add(m.getReconsumeTimes());
			/* k-3 asks for the dead-letter topic at once. */
			x.setDelayLevelWhenNextConsume(m.getKeys().equals("k-3") ? -1 : 1);
			return ConsumeConcurrentlyStatus.RECONSUME_LATER;
		});
		Map<String, SendResult> sent = new TreeMap<>();
		for (int i = 0; i < 4; i++) {
			Message m = new Message(topic, "TagD", "k-" + i, text("body " + i));
			m.putUserProperty("colour", "grün");
			sent.put("k-" + i, env.send(m));
		}
		c.start();
		DefaultMQPullConsumer pull = env.puller("dlqread");
		try {
			env.queues(pull, "%DLQ%" + group, 40);
			List<MessageExt> dead = new ArrayList<>();
			until(40, "four messages in the dead-letter topic", () -> {
				try {
					dead.clear();
					dead.addAll(env.readAll(pull, "%DLQ%" + group));
					return dead.size() >= 4;
				} catch (Exception e) {
					throw new Env.Failed(e.toString());
				}
			}, () -> dead.size() + " there, attempts " + attempts);
			pause(1500);
			same(4, env.readAll(pull, "%DLQ%" + group).size(), "messages in the dead-letter topic");
			for (int i = 0; i < 4; i++)
				same(i == 3 ? Set.of(0) : Set.of(0, 1, 2), new TreeSet<>(attempts.get("k-" + i)), "attempts of k-" + i);
			for (MessageExt m : dead) {
				String key = m.getKeys();
				same("body " + key.substring(2), new String(m.getBody()), "body of the dead " + key);
				same("TagD", m.getTags(), "tag of the dead " + key);
				same("grün", m.getUserProperty("colour"), "property of the dead " + key);
				same(topic, m.getProperty(MessageConst.PROPERTY_RETRY_TOPIC), "where the dead " + key + " came from");
				same(sent.get(key).getMsgId(), m.getMsgId(), "message id of the dead " + key);
				check(m.getReconsumeTimes() == (key.equals("k-3") ? 1 : 3) || m.getReconsumeTimes() == (key.equals("k-3") ? 0 : 2),
					"reconsumeTimes of the dead %s is %d", key, m.getReconsumeTimes());
			}
		} finally {
			pull.shutdown();
			c.shutdown();
		}
	}

	/* An orderly consumer retries in place and then sends the message to its retry topic itself. */
	private static void orderlyDeadLetter(Env env) throws Exception {
		String topic = env.topic("odlq");
		String group = env.group("odlq");
		Set<String> good = ConcurrentHashMap.newKeySet();
		Set<Integer> bad = ConcurrentHashMap.newKeySet();
		DefaultMQPushConsumer c = env.push(group, topic, "*");
		c.setMaxReconsumeTimes(2);
		c.registerMessageListener((List<MessageExt> msgs, ConsumeOrderlyContext x) -> {
			for (MessageExt m : msgs) {
				if (m.getKeys().equals("k-1")) {
					bad.add(m.getReconsumeTimes());
					x.setSuspendCurrentQueueTimeMillis(50);
					return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
				}
				good.add(m.getKeys());
			}
			return ConsumeOrderlyStatus.SUCCESS;
		});
		for (int i = 0; i < 4; i++)
			env.producer().send(new Message(topic, "T", "k-" + i, text("body " + i)), (qs, m, arg) -> qs.get(0), null);
		c.start();
		DefaultMQPullConsumer pull = env.puller("odlqread");
		try {
			until(40, "the messages behind the bad one", () -> good.containsAll(Set.of("k-0", "k-2", "k-3")), () -> good + ", bad " + bad);
			env.queues(pull, "%DLQ%" + group, 40);
			List<MessageExt> dead = new ArrayList<>();
			until(30, "the dead-letter topic", () -> {
				try {
					dead.clear();
					dead.addAll(env.readAll(pull, "%DLQ%" + group));
					return !dead.isEmpty();
				} catch (Exception e) {
					throw new Env.Failed(e.toString());
				}
			}, null);
			same(1, dead.size(), "messages in the dead-letter topic");
			same("k-1", dead.get(0).getKeys(), "the dead message");
			same("body 1", new String(dead.get(0).getBody()), "its body");
		} finally {
			pull.shutdown();
			c.shutdown();
		}
	}

	private static void delayLevels(Env env) throws Exception {
		String topic = env.topic("delay");
		long[] delayMs = {0, 1000, 5000, 10_000};
		Map<String, Long> due = new TreeMap<>(), came = new ConcurrentHashMap<>();
		DefaultMQPushConsumer c = env.push(env.group("delay"), topic, "TagD");
		env.sendRange(topic, "TagX", 0, 4);
		Env.Seen seen = new Env.Seen();
		c.registerMessageListener((List<MessageExt> msgs, ConsumeConcurrentlyContext x) -> {
			long now = System.currentTimeMillis();
			msgs.forEach(m -> {
				came.putIfAbsent(m.getKeys(), now);
				seen.add(m);
			});
			return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
		});
		c.start();
		try {
			Set<String> wanted = new TreeSet<>();
			for (int level = 0; level <= 3; level++)
				for (int i = 0; i < 5; i++) {
					String key = "d-" + level + "-" + i;
					Message m = new Message(topic, "TagD", key, text("x"));
					m.setDelayTimeLevel(level);
					long before = System.currentTimeMillis();
					env.send(m);
					due.put(key, before + delayMs[level]);
					wanted.add(key);
				}
			seen.awaitExactly(wanted, 40, "delayed messages");
			long worst = 0;
			for (String key : wanted) {
				long late = came.get(key) - due.get(key);
				worst = Math.max(worst, late);
				check(late >= -EARLY_MS, "%s came %d ms too early", key, -late);
				check(late < 18_000, "%s came %d ms late", key, late);
				MessageExt m = seen.get(key);
				same(topic, m.getTopic(), "topic of " + key);
				same("TagD", m.getTags(), "tag of " + key);
			}
			env.notes.put("delay-levels", "at most " + worst + " ms late");
			same(20, keys(0, 20).size(), "cases");
		} finally {
			c.shutdown();
		}
	}
}
