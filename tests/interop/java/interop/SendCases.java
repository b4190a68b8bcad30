/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
package interop;

import static interop.Env.check;
import static interop.Env.keys;
import static interop.Env.noise;
import static interop.Env.repeat;
import static interop.Env.same;
import static interop.Env.text;
import static interop.Env.until;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/* Sending in every way that the client has, and that what was sent is what is read. */
final class SendCases {
	private static final int ILLEGAL = 13; /* MESSAGE_ILLEGAL */
	private static final int MAX_BODY = 4 * 1024 * 1024;

	static void register(Map<String, Main.Case> cases) {
		cases.put("autocreate-first-send", SendCases::autocreate);
		cases.put("send-sync", SendCases::sync);
		cases.put("send-async", SendCases::async);
		cases.put("send-oneway", SendCases::oneway);
		cases.put("send-batch", SendCases::batch);
		cases.put("send-to-queue", SendCases::toQueue);
		cases.put("properties-intact", SendCases::properties);
		cases.put("body-sizes", SendCases::bodySizes);
		cases.put("too-big", SendCases::tooBig);
		cases.put("create-topic", SendCases::createTopic);
		cases.put("vip-channel", SendCases::vip);
		cases.put("unknown-topic", SendCases::unknownTopic);
		cases.put("cross-language", SendCases::crossLanguage);
	}

	private static void autocreate(Env env) throws Exception {
		String topic = env.topic("autocreate");
		DefaultMQProducer p = env.newProducer("autocreate");
		p.start();
		try {
			SendResult r = p.send(new Message(topic, "T", "k-0", text("first")));
			same(SendStatus.SEND_OK, r.getSendStatus(), "status of the first send to a topic that did not exist");
			same(0L, r.getQueueOffset(), "offset of the first message");
			same(topic, r.getMessageQueue().getTopic(), "topic in the result");
			check(r.getMsgId().length() >= 32, "message id %s", r.getMsgId());
			DefaultMQPullConsumer c = env.puller("autocreate");
			try {
				same(Env.QUEUES, env.queues(c, topic, 5).size(), "queues of the new topic");
				List<MessageExt> all = env.readAll(c, topic);
				same(1, all.size(), "messages");
				same("first", new String(all.get(0).getBody()), "body");
			} finally {
				c.shutdown();
			}
		} finally {
			p.shutdown();
		}
	}

	/* Offsets that a set of results claims: dense from 0 in every queue. */
	private static void dense(List<SendResult> all, String what) {
		Map<MessageQueue, Set<Long>> byQueue = new HashMap<>();
		for (SendResult r : all)
			check(byQueue.computeIfAbsent(r.getMessageQueue(), q -> new TreeSet<>()).add(r.getQueueOffset()),
				"%s: offset %d of %s was given twice", what, r.getQueueOffset(), r.getMessageQueue());
		byQueue.forEach((q, offsets) -> check(offsets.iterator().next() == 0 && ((TreeSet<Long>) offsets).last() == offsets.size() - 1,
			"%s: offsets of %s have gaps: %s", what, q, offsets));
	}

	private static void sync(Env env) throws Exception {
		String topic = env.topic("sync");
		List<SendResult> sent = env.sendRange(topic, "T", 0, 100);
		dense(sent, "sync");
		same(100, new HashSet<>(sent.stream().map(SendResult::getMsgId).toList()).size(), "different message ids");
		same(100, new HashSet<>(sent.stream().map(SendResult::getOffsetMsgId).toList()).size(), "different offset ids");
		DefaultMQPullConsumer c = env.puller("sync");
		try {
			Map<String, MessageExt> read = new HashMap<>();
			env.readAll(c, topic).forEach(m -> read.put(m.getKeys(), m));
			same(keys(0, 100), new TreeSet<>(read.keySet()), "keys read");
			for (int i = 0; i < 100; i++) {
				MessageExt m = read.get("k-" + i);
				SendResult r = sent.get(i);
				same(r.getMessageQueue().getQueueId(), m.getQueueId(), "queue of k-" + i);
				same(r.getQueueOffset(), m.getQueueOffset(), "offset of k-" + i);
				same(r.getMsgId(), m.getMsgId(), "message id of k-" + i);
				same("body " + i, new String(m.getBody()), "body of k-" + i);
			}
		} finally {
			c.shutdown();
		}
	}

	private static void async(Env env) throws Exception {
		String topic = env.topic("async");
		ConcurrentLinkedQueue<SendResult> good = new ConcurrentLinkedQueue<>();
		AtomicReference<Throwable> bad = new AtomicReference<>();
		env.send(new Message(topic, "T", "k-0", text("0")));
		for (int i = 1; i < 300; i++)
			env.producer().send(new Message(topic, "T", "k-" + i, text("" + i)), new SendCallback() {
				@Override
				public void onSuccess(SendResult r) {
					good.add(r);
				}

				@Override
				public void onException(Throwable t) {
					bad.set(t);
				}
			});
		until(20, "299 callbacks", () -> good.size() == 299 || bad.get() != null, () -> good.size() + " came");
		check(bad.get() == null, "a callback failed: %s", bad.get());
		check(good.stream().allMatch(r -> r.getSendStatus() == SendStatus.SEND_OK), "a status is not SEND_OK");
		DefaultMQPullConsumer c = env.puller("async");
		try {
			Set<String> read = new TreeSet<>();
			env.readAll(c, topic).forEach(m -> check(read.add(m.getKeys()), "%s is stored twice", m.getKeys()));
			same(keys(0, 300), read, "keys read");
		} finally {
			c.shutdown();
		}
	}

	private static void oneway(Env env) throws Exception {
		String topic = env.topic("oneway");
		env.send(new Message(topic, "T", "k-0", text("0")));
		for (int i = 1; i < 50; i++)
			env.producer().sendOneway(new Message(topic, "T", "k-" + i, text("" + i)));
		DefaultMQPullConsumer c = env.puller("oneway");
		try {
			Set<MessageQueue> queues = env.queues(c, topic, 5);
			until(10, "50 messages stored", () -> {
				try {
					long sum = 0;
					for (MessageQueue q : queues)
						sum += c.maxOffset(q);
					return sum == 50;
				} catch (MQClientException e) {
					throw new Env.Failed(e.toString());
				}
			}, null);
			Set<String> read = new TreeSet<>();
			env.readAll(c, topic).forEach(m -> read.add(m.getKeys()));
			same(keys(0, 50), read, "keys read");
		} finally {
			c.shutdown();
		}
	}

	private static void batch(Env env) throws Exception {
		String topic = env.topic("batch");
		env.send(new Message(topic, "first", "first", text("first")));
		List<Message> batch = new ArrayList<>();
		for (int i = 0; i < 100; i++) {
			Message m = new Message(topic, "tag" + i % 3, "k-" + i, noise(1 + i * 7, i));
			m.putUserProperty("number", "" + i);
			batch.add(m);
		}
		SendResult r = env.producer().send(batch);
		same(SendStatus.SEND_OK, r.getSendStatus(), "batch status");
		same(100, r.getMsgId().split(",").length, "message ids in the result");
		DefaultMQPullConsumer c = env.puller("batch");
		try {
			Map<Long, MessageExt> read = new TreeMap<>();
			for (MessageExt m : env.readAll(c, topic))
				if (!"first".equals(m.getKeys()))
					read.put(m.getQueueOffset(), m);
			same(100, read.size(), "messages of the batch");
			long at = r.getQueueOffset();
			String[] ids = r.getMsgId().split(",");
			for (int i = 0; i < 100; i++, at++) {
				MessageExt m = read.get(at);
				check(m != null, "nothing of the batch at offset %d", at);
				same(r.getMessageQueue().getQueueId(), m.getQueueId(), "queue");
				same("k-" + i, m.getKeys(), "key at offset " + at);
				same("tag" + i % 3, m.getTags(), "tag of k-" + i);
				same("" + i, m.getUserProperty("number"), "property of k-" + i);
				/* Apache's broker gives every message of a batch the batch's own id as well, and that one wins when read. */
				check(ids[i].equals(m.getMsgId()) || !r.getMsgId().contains(m.getMsgId()), "id of k-%d is that of another: %s", i, m.getMsgId());
				check(Arrays.equals(noise(1 + i * 7, i), m.getBody()), "body of k-%d differs", i);
			}
		} finally {
			c.shutdown();
		}
	}

	private static void toQueue(Env env) throws Exception {
		String topic = env.topic("queue");
		env.send(new Message(topic, "T", "first", text("first")));
		List<MessageQueue> queues = new ArrayList<>(env.producer().fetchPublishMessageQueues(topic));
		same(Env.QUEUES, queues.size(), "queues to publish to");
		for (MessageQueue q : queues)
			for (int i = 0; i < 5; i++) {
				SendResult r = env.producer().send(new Message(topic, "T", q.getQueueId() + ":" + i, text("x")), q);
				same(q, r.getMessageQueue(), "queue in the result");
			}
		for (int i = 0; i < 20; i++) {
			SendResult r = env.producer().send(new Message(topic, "T", "sel" + i, text("x")),
				(qs, m, arg) -> qs.get((Integer) arg % qs.size()), i);
			same(SendStatus.SEND_OK, r.getSendStatus(), "send with a selector");
		}
		DefaultMQPullConsumer c = env.puller("queue");
		try {
			int[] perQueue = new int[Env.QUEUES];
			for (MessageExt m : env.readAll(c, topic)) {
				perQueue[m.getQueueId()]++;
				if (m.getKeys().contains(":"))
					check(m.getKeys().startsWith(m.getQueueId() + ":"), "%s is in queue %d", m.getKeys(), m.getQueueId());
			}
			same(41, Arrays.stream(perQueue).sum(), "messages in " + Arrays.toString(perQueue));
			check(Arrays.stream(perQueue).allMatch(n -> n >= 10), "messages per queue: %s", Arrays.toString(perQueue));
		} finally {
			c.shutdown();
		}
	}

	private static void properties(Env env) throws Exception {
		String topic = env.topic("props");
		byte[] every = new byte[256];
		for (int i = 0; i < 256; i++)
			every[i] = (byte) i;
		Message m = new Message(topic, "тег-标签", "ключ-1 key2 鍵3", every);
		m.setFlag(0x1234567);
		m.putUserProperty("plain", "value");
		m.putUserProperty("имя", "значение – ünïcödé 🚀");
		m.putUserProperty("punct", "=;,:|\"'\\{}[]<>&%$ \t/");
		m.putUserProperty("long", "x".repeat(8000));
		for (int i = 0; i < 50; i++)
			m.putUserProperty("p" + i, "v" + i);
		long before = System.currentTimeMillis();
		SendResult sent = env.send(m);
		long after = System.currentTimeMillis();
		DefaultMQPullConsumer c = env.puller("props");
		try {
			List<MessageExt> all = env.readAll(c, topic);
			same(1, all.size(), "messages");
			MessageExt got = all.get(0);
			check(Arrays.equals(every, got.getBody()), "the body differs");
			same("тег-标签", got.getTags(), "tag");
			same("ключ-1 key2 鍵3", got.getKeys(), "keys");
			same(0x1234567, got.getFlag(), "flag");
			same(topic, got.getTopic(), "topic");
			same(0, got.getReconsumeTimes(), "reconsume times");
			for (String name : m.getProperties().keySet())
				same(m.getProperty(name), got.getProperty(name), "property " + name);
			same(sent.getMsgId(), got.getMsgId(), "message id");
			check(got.getBornTimestamp() >= before && got.getBornTimestamp() <= after, "born at %d, sent from %d to %d", got.getBornTimestamp(), before, after);
			check(Math.abs(got.getStoreTimestamp() - before) < 10_000, "stored at %d, sent at %d", got.getStoreTimestamp(), before);
			same("127.0.0.1", got.getBornHostString(), "born host");
			check(got.getStoreHost().toString().contains("127.0.0.1"), "store host %s", got.getStoreHost());
		} finally {
			c.shutdown();
		}
	}

	private static void bodySizes(Env env) throws Exception {
		String topic = env.topic("sizes");
		Map<String, byte[]> bodies = new TreeMap<>();
		bodies.put("one", new byte[] {0});
		for (int n : new int[] {2, 255, 4095, 4096, 4097, 65535, 65536, 262144})
			bodies.put("noise" + n, noise(n, n));
		bodies.put("compressed5000", repeat(5000));
		bodies.put("compressed1M", repeat(1_200_000));
		bodies.put("compressed4M", repeat(MAX_BODY));
		bodies.put("noise1M", noise(1_100_000, 1));
		bodies.put("noise4M", noise(MAX_BODY - 4096, 2));
		DefaultMQProducer p = env.newProducer("sizes");
		p.start();
		Env.Seen seen = new Env.Seen();
		DefaultMQPushConsumer push = null;
		DefaultMQPullConsumer c = env.puller("sizes");
		try {
			for (Map.Entry<String, byte[]> e : bodies.entrySet())
				same(SendStatus.SEND_OK, p.send(new Message(topic, "T", e.getKey(), e.getValue())).getSendStatus(), e.getKey());
			push = env.collect(env.group("sizes"), topic, "*", seen);
			seen.awaitExactly(bodies.keySet(), 30, "bodies pushed");
			for (MessageExt m : seen.messages)
				check(Arrays.equals(bodies.get(m.getKeys()), m.getBody()), "body %s differs (pushed)", m.getKeys());
			Set<String> read = new TreeSet<>();
			for (MessageExt m : env.readAll(c, topic)) {
				read.add(m.getKeys());
				check(Arrays.equals(bodies.get(m.getKeys()), m.getBody()), "body %s differs", m.getKeys());
			}
			same(new TreeSet<>(bodies.keySet()), read, "bodies read");
		} finally {
			c.shutdown();
			p.shutdown();
			if (push != null)
				push.shutdown();
		}
	}

	private static void tooBig(Env env) throws Exception {
		String topic = env.topic("toobig");
		env.send(new Message(topic, "T", "k-0", text("small")));
		try {
			env.producer().send(new Message(topic, "T", "big", noise(MAX_BODY + 1, 1)));
			throw new Env.Failed("the client sent more than its limit");
		} catch (MQClientException e) {
			same(ILLEGAL, e.getResponseCode(), "code of the client's own refusal");
		}
		DefaultMQProducer p = env.newProducer("toobig");
		p.setMaxMessageSize(3 * MAX_BODY);
		p.start();
		try {
			for (int size : new int[] {MAX_BODY + 128 * 1024, 2 * MAX_BODY}) {
				try {
					p.send(new Message(topic, "T", "big", noise(size, 1)));
					throw new Env.Failed("the server took a body of " + size + " bytes");
				} catch (MQBrokerException e) {
					same(ILLEGAL, e.getResponseCode(), "code of the server's refusal (" + e.getErrorMessage() + ")");
					check(e.getErrorMessage() != null && !e.getErrorMessage().isEmpty(), "the refusal says nothing");
				}
			}
			same(SendStatus.SEND_OK, p.send(new Message(topic, "T", "k-1", text("after"))).getSendStatus(), "send after a refusal");
			/* Properties are limited too: 32767 bytes on the wire. */
			Message m = new Message(topic, "T", "props", text("x"));
			m.putUserProperty("long", "y".repeat(40_000));
			try {
				p.send(m);
				throw new Env.Failed("the server took 40000 bytes of properties");
			} catch (MQBrokerException e) {
				same(ILLEGAL, e.getResponseCode(), "code for too long properties (" + e.getErrorMessage() + ")");
			}
			DefaultMQPullConsumer c = env.puller("toobig");
			try {
				Set<String> read = new TreeSet<>();
				env.readAll(c, topic).forEach(x -> read.add(x.getKeys()));
				same(keys(0, 2), read, "what is stored");
			} finally {
				c.shutdown();
			}
		} finally {
			p.shutdown();
		}
	}

	/* createTopic has one parameter more in the newer client. */
	static void newTopic(DefaultMQProducer p, String topic, int queues) throws Exception {
		for (Method m : p.getClass().getMethods()) {
			if (!m.getName().equals("createTopic"))
				continue;
			Class<?>[] types = m.getParameterTypes();
			if (types.length == 3 && types[2] == int.class) {
				m.invoke(p, "TBW102", topic, queues);
				return;
			}
			if (types.length == 4 && types[2] == int.class && types[3] == Map.class) {
				m.invoke(p, "TBW102", topic, queues, new HashMap<String, String>());
				return;
			}
		}
		throw new Env.Failed("the client has no createTopic");
	}

	private static void createTopic(Env env) throws Exception {
		String topic = env.topic("create");
		newTopic(env.producer(), topic, 8);
		DefaultMQPullConsumer c = env.puller("create");
		try {
			same(8, env.queues(c, topic, 5).size(), "queues to read");
		} finally {
			c.shutdown();
		}
		DefaultMQProducer p = env.newProducer("create");
		p.start();
		try {
			same(8, p.fetchPublishMessageQueues(topic).size(), "queues to write");
			Set<Integer> used = new TreeSet<>();
			for (int i = 0; i < 16; i++)
				used.add(p.send(new Message(topic, "T", "k-" + i, text("x"))).getMessageQueue().getQueueId());
			same(8, used.size(), "queues that 16 sends used");
		} finally {
			p.shutdown();
		}
	}

	/* Old clients send to the port two below the main one. */
	private static void vip(Env env) throws Exception {
		String topic = env.topic("vip");
		DefaultMQProducer p = env.newProducer("vip");
		p.setVipChannelEnabled(true);
		p.start();
		try {
			for (int i = 0; i < 10; i++)
				same(SendStatus.SEND_OK, p.send(new Message(topic, "T", "k-" + i, text("x"))).getSendStatus(), "send to the fast port");
		} finally {
			p.shutdown();
		}
	}

	private static void unknownTopic(Env env) throws Exception {
		DefaultMQPullConsumer c = env.puller("unknown");
		try {
			try {
				Set<MessageQueue> q = c.fetchSubscribeMessageQueues(env.topic("nosuch"));
				check(q == null || q.isEmpty(), "a topic that nobody made has queues: %s", q);
			} catch (MQClientException e) {
				/* This is how the client says that there is no route. */
			}
			String known = env.topic("known");
			SendResult sent = env.send(new Message(known, "T", "k-0", text("x")));
			MessageQueue wrong = new MessageQueue(env.topic("nosuch"), sent.getMessageQueue().getBrokerName(), 0);
			try {
				c.pull(wrong, "*", 0, 1);
				throw new Env.Failed("a pull from a topic that nobody made was answered");
			} catch (MQBrokerException e) {
				same(17, e.getResponseCode(), "code of the pull (" + e.getErrorMessage() + ")");
			} catch (MQClientException e) {
				/* Some clients find out from the route. */
			}
			MessageQueue outside = new MessageQueue(known, sent.getMessageQueue().getBrokerName(), 77);
			try {
				c.pull(outside, "*", 0, 1);
				throw new Env.Failed("a pull from queue 77 of 4 was answered");
			} catch (MQBrokerException e) {
				check(e.getResponseCode() != 0 && e.getErrorMessage() != null, "queue 77: %s", e);
			}
		} finally {
			c.shutdown();
		}
	}

	/* Every client of this run sends to one topic; each reads what all of them sent. */
	private static void crossLanguage(Env env) throws Exception {
		String topic = env.run + "-cross";
		Set<String> wanted = new TreeSet<>();
		for (String peer : env.peers)
			for (int i = 0; i < 10; i++)
				wanted.add(peer + "-" + i);
		for (int i = 0; i < 10; i++) {
			Message m = new Message(topic, "tag-" + env.lang, env.lang + "-" + i, i % 2 == 0 ? repeat(6000 + i) : noise(300 + i, i));
			m.putUserProperty("von", "größe " + i);
			env.send(m);
		}
		Env.Seen seen = new Env.Seen();
		DefaultMQPushConsumer c = env.collect(env.group("cross"), topic, "*", seen);
		try {
			seen.await(wanted, 60, "messages of all clients");
			for (MessageExt m : seen.messages) {
				int dash = m.getKeys().indexOf('-');
				int i = Integer.parseInt(m.getKeys().substring(dash + 1));
				same("tag-" + m.getKeys().substring(0, dash), m.getTags(), "tag of " + m.getKeys());
				same("größe " + i, m.getUserProperty("von"), "property of " + m.getKeys());
				if (i % 2 == 0)
					check(Arrays.equals(repeat(6000 + i), m.getBody()), "body of %s differs", m.getKeys());
				else
					same(300 + i, m.getBody().length, "length of " + m.getKeys());
			}
		} finally {
			c.shutdown();
		}
	}
}
