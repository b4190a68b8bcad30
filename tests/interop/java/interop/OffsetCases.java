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

import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/* Where consumers start and go on, and looking messages up by key, by id and by time. */
final class OffsetCases {
	static void register(Map<String, Main.Case> cases) {
		cases.put("restart-continues", OffsetCases::restart);
		cases.put("from-first", OffsetCases::fromFirst);
		cases.put("from-last", OffsetCases::fromLast);
		cases.put("from-timestamp", OffsetCases::fromTimestamp);
		cases.put("query-by-key", OffsetCases::queryByKey);
		cases.put("view-by-id", OffsetCases::viewById);
		cases.put("offsets-of-queue", OffsetCases::ofQueue);
	}

	private static void restart(Env env) throws Exception {
		String topic = env.topic("restart");
		String group = env.group("restart");
		env.sendRange(topic, "T", 0, 50);
		int at = 50;
		Env.Seen first = new Env.Seen();
		DefaultMQPushConsumer c = env.collect(group, topic, "*", first);
		try {
			first.awaitExactly(keys(0, 50), 20, "before the restart");
		} finally {
			c.shutdown();
		}
		for (int round = 0; round < 2; round++, at += 30) {
			env.sendRange(topic, "T", at, at + 30);
			Env.Seen next = new Env.Seen();
			c = env.collect(group, topic, "*", next);
			try {
				next.awaitExactly(keys(at, at + 30), 20, "after restart " + round);
			} finally {
				c.shutdown();
			}
		}
	}

	private static void fromFirst(Env env) throws Exception {
		String topic = env.topic("first");
		env.sendRange(topic, "T", 0, 40);
		Env.Seen seen = new Env.Seen();
		DefaultMQPushConsumer c = env.collect(env.group("first"), topic, "*", seen);
		try {
			seen.awaitExactly(keys(0, 40), 20, "from the first offset");
		} finally {
			c.shutdown();
		}
	}

	private static DefaultMQPushConsumer startAt(Env env, String group, String topic, ConsumeFromWhere where, String time, Env.Seen seen) throws Exception {
		DefaultMQPushConsumer c = env.push(group, topic, "*");
		c.setConsumeFromWhere(where);
		if (time != null)
			c.setConsumeTimestamp(time);
		c.registerMessageListener((List<MessageExt> msgs, ConsumeConcurrentlyContext x) -> {
			msgs.forEach(seen::add);
			return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
		});
		c.start();
		return c;
	}

	/*
	 * A new group on a young topic may be started at offset 0 by the server, whatever the client asks for (the server answers
	 * the question for its offset with 0 as long as message 0 is at hand). So old messages may come, but new ones must, once.
	 */
	private static void fromLast(Env env) throws Exception {
		String topic = env.topic("last");
		env.sendRange(topic, "T", 0, 40);
		Env.Seen seen = new Env.Seen();
		DefaultMQPushConsumer c = startAt(env, env.group("last"), topic, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET, null, seen);
		try {
			until(20, "the consumer has its queues", () -> share(c, topic) == Env.QUEUES, null);
			pause(1000);
			env.sendRange(topic, "T", 40, 80);
			seen.await(keys(40, 80), 20, "what came after the start");
			pause(500);
			check(seen.twice().isEmpty(), "handled twice: %s", seen.twice());
			env.notes.put("from-last", seen.times.size() - 40 + " of 40 older messages came too");
		} finally {
			c.shutdown();
		}
	}

	private static void fromTimestamp(Env env) throws Exception {
		String topic = env.topic("time");
		env.sendRange(topic, "T", 0, 40);
		pause(1200);
		/* The setting has seconds only. */
		long cut = (System.currentTimeMillis() + 999) / 1000 * 1000;
		pause(cut - System.currentTimeMillis() + 200);
		env.sendRange(topic, "T", 40, 80);
		Env.Seen seen = new Env.Seen();
		DefaultMQPushConsumer c = startAt(env, env.group("time"), topic, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP,
			new SimpleDateFormat("yyyyMMddHHmmss").format(new Date(cut)), seen);
		try {
			seen.await(keys(40, 80), 20, "what is younger than the time");
			pause(500);
			check(seen.twice().isEmpty(), "handled twice: %s", seen.twice());
			env.notes.put("from-timestamp", seen.times.size() - 40 + " of 40 older messages came too");
		} finally {
			c.shutdown();
		}
	}

	/* The index may be built a moment after the message is stored. */
	private static QueryResult query(Env env, String topic, String key, int want) throws Exception {
		long end = System.nanoTime() + 30_000_000_000L;
		long now = System.currentTimeMillis();
		while (true) {
			QueryResult r = null;
			try {
				r = env.producer().queryMessage(topic, key, 64, now - 3_600_000, now + 3_600_000);
				if (r.getMessageList().size() >= want)
					return r;
			} catch (MQClientException e) {
				if (System.nanoTime() > end)
					throw e;
			}
			check(System.nanoTime() < end, "query for %s gives %s, not %d", key, r == null ? null : r.getMessageList().size(), want);
			pause(100);
		}
	}

	private static void queryByKey(Env env) throws Exception {
		String topic = env.topic("query");
		for (int i = 0; i < 10; i++)
			env.send(new Message(topic, "T", "order-" + i + " customer-" + i % 2 + " ключ", text("body " + i)));
		QueryResult one = query(env, topic, "order-7", 1);
		same(1, one.getMessageList().size(), "messages of a key of one message");
		same("body 7", new String(one.getMessageList().get(0).getBody()), "body");
		same(5, query(env, topic, "customer-1", 5).getMessageList().size(), "messages of a shared key");
		same(10, query(env, topic, "ключ", 10).getMessageList().size(), "messages of a key outside ASCII");
		try {
			QueryResult r = env.producer().queryMessage(topic, "no-such-key", 64, 0, System.currentTimeMillis() + 1000);
			same(0, r.getMessageList().size(), "messages of a key that none has");
		} catch (MQClientException e) {
			/* This is how the client says that it found none. */
		}
	}

	private static MessageExt byUniqueId(Env env, String topic, String id) throws Exception {
		long end = System.nanoTime() + 30_000_000_000L;
		while (true) {
			try {
				MessageExt m = env.producer().viewMessage(topic, id);
				if (m != null)
					return m;
			} catch (MQClientException e) {
				if (System.nanoTime() > end)
					throw e;
			}
			check(System.nanoTime() < end, "nothing is found by the unique id %s", id);
			pause(100);
		}
	}

	private static void viewById(Env env) throws Exception {
		String topic = env.topic("view");
		List<SendResult> sent = env.sendRange(topic, "T", 0, 10);
		for (int i = 0; i < 10; i++) {
			SendResult r = sent.get(i);
			MessageExt m = env.producer().viewMessage(topic, r.getOffsetMsgId());
			same("body " + i, new String(m.getBody()), "body by offset id");
			same("k-" + i, m.getKeys(), "key by offset id");
			same(r.getQueueOffset(), m.getQueueOffset(), "queue offset by offset id");
		}
		/* The unique id goes through the key index. */
		for (int i = 0; i < 10; i += 3) {
			MessageExt m = byUniqueId(env, topic, sent.get(i).getMsgId());
			same("body " + i, new String(m.getBody()), "body by unique id");
			same(sent.get(i).getMsgId(), m.getMsgId(), "unique id");
		}
		String good = sent.get(0).getOffsetMsgId();
		String wrong = good.substring(0, 16) + "00000000000FFFF7";
		try {
			MessageExt m = env.producer().viewMessage(topic, wrong);
			check(m == null, "an id that points nowhere gives %s", m);
		} catch (MQBrokerException | MQClientException e) {
			/* Not found is an error in this client. */
		}
	}

	private static void ofQueue(Env env) throws Exception {
		String topic = env.topic("range");
		env.send(new Message(topic, "T", "first", text("x")));
		DefaultMQPullConsumer c = env.puller("range");
		try {
			List<MessageQueue> queues = new ArrayList<>(env.queues(c, topic, 5));
			queues.sort(null);
			MessageQueue q = queues.get(0);
			long base = c.maxOffset(q);
			List<Long> stored = new ArrayList<>();
			for (int i = 0; i < 5; i++) {
				env.producer().send(new Message(topic, "T", "k-" + i, text("x")), q);
				pause(30);
			}
			same(0L, c.minOffset(q), "min");
			same(base + 5, c.maxOffset(q), "max");
			Set<Long> offsets = new TreeSet<>();
			for (MessageExt m : env.readAll(c, topic))
				if (m.getQueueId() == q.getQueueId() && m.getQueueOffset() >= base) {
					offsets.add(m.getQueueOffset());
					stored.add(m.getStoreTimestamp());
				}
			same(5, offsets.size(), "messages in the queue");
			for (int i = 0; i < 5; i++) {
				/* Exactly at, and a moment before, the time of message i. */
				same(base + i, c.searchOffset(q, stored.get(i)), "search at the time of message " + i);
				if (i > 0 && stored.get(i) - stored.get(i - 1) > 2)
					same(base + i, c.searchOffset(q, stored.get(i) - 1), "search just before message " + i);
			}
			same(0L, c.searchOffset(q, stored.get(0) - 3_600_000), "search before everything");
			long after = c.searchOffset(q, stored.get(4) + 3_600_000);
			check(after == base + 5 || after == base + 4, "search after everything gives %d of %d", after, base + 5);
			long earliest = c.earliestMsgStoreTime(q);
			check(earliest > 0 && earliest <= stored.get(0), "earliest store time %d, first message %d", earliest, stored.get(0));
			/* A queue without messages: 0 and 0. */
			MessageQueue empty = null;
			for (MessageQueue x : queues)
				if (c.maxOffset(x) == 0)
					empty = x;
			check(empty != null, "all queues have messages");
			same(0L, c.minOffset(empty), "min of an empty queue");
			same(0L, c.searchOffset(empty, System.currentTimeMillis()), "search in an empty queue");
		} finally {
			c.shutdown();
		}
	}
}
