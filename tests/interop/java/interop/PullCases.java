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
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/* The two pull consumers. */
final class PullCases {
	static void register(Map<String, Main.Case> cases) {
		cases.put("lite-subscribe", PullCases::liteSubscribe);
		cases.put("lite-assign", PullCases::liteAssign);
		cases.put("pull-consumer", PullCases::pull);
		cases.put("pull-waits", PullCases::pullWaits);
	}

	private static void pull(Env env) throws Exception {
		String topic = env.topic("pull");
		for (int i = 0; i < 60; i++)
			env.send(new Message(topic, i % 2 == 0 ? "Even" : "Odd", "k-" + i, text("x")));
		DefaultMQPullConsumer c = env.puller("pull");
		try {
			Set<String> read = new TreeSet<>();
			env.readAll(c, topic).forEach(m -> read.add(m.getKeys()));
			same(keys(0, 60), read, "all keys");
			Set<String> even = new TreeSet<>(), wanted = new TreeSet<>();
			for (int i = 0; i < 60; i += 2)
				wanted.add("k-" + i);
			MessageQueue any = null;
			for (MessageQueue q : c.fetchSubscribeMessageQueues(topic)) {
				any = q;
				long at = 0;
				long max = c.maxOffset(q);
				while (at < max) {
					PullResult r = c.pull(q, "Even", at, 5);
					check(r.getNextBeginOffset() > at, "a pull at %d goes on at %d", at, r.getNextBeginOffset());
					at = r.getNextBeginOffset();
					if (r.getPullStatus() == PullStatus.FOUND)
						r.getMsgFoundList().forEach(m -> even.add(m.getKeys()));
					else
						same(PullStatus.NO_MATCHED_MSG, r.getPullStatus(), "status where nothing matches");
				}
				PullResult none = c.pull(q, "NoSuchTag", 0, 32);
				same(PullStatus.NO_MATCHED_MSG, none.getPullStatus(), "status for a tag that none has");
				same(max, none.getNextBeginOffset(), "where to go on after nothing matched");
				same(PullStatus.NO_NEW_MSG, c.pull(q, "*", max, 32).getPullStatus(), "status at the end");
				PullResult beyond = c.pull(q, "*", max + 1000, 32);
				same(PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus(), "status beyond the end");
				same(max, beyond.getNextBeginOffset(), "where to go on beyond the end");
				same(max, beyond.getMaxOffset(), "max in the answer");
				same(0L, beyond.getMinOffset(), "min in the answer");
			}
			same(wanted, even, "keys with the tag Even");
			/* Offsets that the caller keeps with the broker. */
			c.getOffsetStore().updateConsumeOffsetToBroker(any, 7, false);
			long[] stored = {-1};
			MessageQueue q = any;
			until(5, "the stored offset is 7", () -> {
				stored[0] = c.getOffsetStore().readOffset(q, ReadOffsetType.READ_FROM_STORE);
				return stored[0] == 7;
			}, () -> "" + stored[0]);
			/* A plain commit may also go back. */
			c.getOffsetStore().updateConsumeOffsetToBroker(any, 3, false);
			until(5, "the stored offset is 3", () -> {
				stored[0] = c.getOffsetStore().readOffset(q, ReadOffsetType.READ_FROM_STORE);
				return stored[0] == 3;
			}, () -> "" + stored[0]);
		} finally {
			c.shutdown();
		}
	}

	/* A pull that may wait is held by the server and answered when a message comes. */
	private static void pullWaits(Env env) throws Exception {
		String topic = env.topic("waits");
		SendResultAt first = new SendResultAt(env, topic);
		DefaultMQPullConsumer c = env.puller("waits");
		try {
			MessageQueue q = first.queue;
			long max = c.maxOffset(q);
			long[] sent = new long[1];
			Thread later = new Thread(() -> {
				try {
					pause(1500);
					sent[0] = System.nanoTime();
					env.producer().send(new Message(topic, "T", "late", text("x")), q);
				} catch (Exception e) {
					e.printStackTrace();
				}
			});
			long start = System.nanoTime();
			later.start();
			PullResult r = c.pullBlockIfNotFound(q, "*", max, 32);
			long end = System.nanoTime();
			later.join();
			double took = (end - start) / 1e9, behind = (end - sent[0]) / 1e9;
			same(PullStatus.FOUND, r.getPullStatus(), "status of the pull that waited");
			same("late", r.getMsgFoundList().get(0).getKeys(), "message");
			/* It waits for 20 s when nothing comes. */
			check(took > 1.4 && behind < 10, "it was answered after %.1f s, %.1f s after the message was sent", took, behind);
			env.notes.put("pull-waits", String.format("answered %.0f ms after the message was sent", behind * 1000));
		} finally {
			c.shutdown();
		}
	}

	private static final class SendResultAt {
		final MessageQueue queue;

		SendResultAt(Env env, String topic) throws Exception {
			queue = env.send(new Message(topic, "T", "first", text("x"))).getMessageQueue();
		}
	}

	private static DefaultLitePullConsumer lite(Env env, String group) {
		DefaultLitePullConsumer c = new DefaultLitePullConsumer(group);
		c.setNamesrvAddr(env.ns);
		c.setMqClientApiTimeout(Env.API_TIMEOUT_MS);
		c.setInstanceName(env.lang + "lite" + System.nanoTime());
		c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
		c.setPullThreadNums(4);
		return c;
	}

	/* Polls until so many messages came or the time is over. */
	private static List<MessageExt> take(DefaultLitePullConsumer c, int count, int seconds) {
		List<MessageExt> all = new ArrayList<>();
		long end = System.nanoTime() + 3 * seconds * 1_000_000_000L;
		while (all.size() < count && System.nanoTime() < end)
			all.addAll(c.poll(500));
		return all;
	}

	private static void liteSubscribe(Env env) throws Exception {
		String topic = env.topic("lite");
		String group = env.group("lite");
		for (int i = 0; i < 60; i++)
			env.send(new Message(topic, i % 3 == 0 ? "A" : i % 3 == 1 ? "B" : "C", "k-" + i, text("x")));
		Set<String> wanted = new TreeSet<>(), read = new TreeSet<>();
		for (int i = 0; i < 60; i++)
			if (i % 3 != 2)
				wanted.add("k-" + i);
		DefaultLitePullConsumer c = lite(env, group);
		c.subscribe(topic, "A || B");
		c.setAutoCommit(false);
		c.start();
		try {
			for (MessageExt m : take(c, 40, 30))
				check(read.add(m.getKeys()), "%s came twice", m.getKeys());
			same(wanted, read, "subscribed keys");
			c.commitSync();
			pause(1000);
		} finally {
			c.shutdown();
		}
		for (int i = 60; i < 90; i++)
			env.send(new Message(topic, "A", "k-" + i, text("x")));
		c = lite(env, group);
		c.subscribe(topic, "A || B");
		c.start();
		try {
			Set<String> next = new TreeSet<>();
			take(c, 30, 30).forEach(m -> next.add(m.getKeys()));
			same(keys(60, 90), next, "keys after a restart of the consumer");
		} finally {
			c.shutdown();
		}
	}

	private static void liteAssign(Env env) throws Exception {
		String topic = env.topic("assign");
		env.sendRange(topic, "T", 0, 40);
		DefaultLitePullConsumer c = lite(env, env.group("assign"));
		c.setAutoCommit(false);
		c.start();
		try {
			Collection<MessageQueue> queues = c.fetchMessageQueues(topic);
			same(Env.QUEUES, queues.size(), "queues");
			c.assign(queues);
			for (MessageQueue q : queues)
				c.seekToBegin(q);
			Set<String> read = new TreeSet<>();
			take(c, 40, 20).forEach(m -> read.add(m.getKeys()));
			same(keys(0, 40), read, "all keys");
			/* Back to the fifth message of one queue, and the others paused. */
			MessageQueue one = queues.iterator().next();
			List<MessageQueue> others = new ArrayList<>(queues);
			others.remove(one);
			c.pause(others);
			c.seek(one, 5);
			List<MessageExt> again = take(c, 5, 20);
			check(!again.isEmpty(), "nothing came after seek");
			same(5L, again.get(0).getQueueOffset(), "first offset after seek to 5");
			for (MessageExt m : again)
				same(one.getQueueId(), m.getQueueId(), "queue while the others are paused");
			c.commitSync();
			long[] committed = {-1};
			until(10, "the committed offset is 10", () -> {
				try {
					committed[0] = c.committed(one);
				} catch (Exception e) {
					throw new Env.Failed(e.toString());
				}
				return committed[0] == 10;
			}, () -> "" + committed[0]);
			/* To the end: only what comes later. */
			c.resume(others);
			for (MessageQueue q : queues)
				c.seekToEnd(q);
			pause(300);
			env.sendRange(topic, "T", 40, 60);
			Set<String> late = new TreeSet<>();
			take(c, 20, 20).forEach(m -> late.add(m.getKeys()));
			same(keys(40, 60), late, "keys after seek to the end");
			check(c.offsetForTimestamp(one, 0L) == 0, "offset for time 0");
		} finally {
			c.shutdown();
		}
	}
}
