/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
package interop;

import static interop.Env.check;
import static interop.Env.pause;
import static interop.Env.same;
import static interop.Env.text;
import static interop.Env.until;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/* Cases for which the runner does something to the servers meanwhile. They talk to it through files in the log folder. */
final class FlowCases {
	private static final int SENDERS = 4;
	private static final int AFTER = 300; /* messages that must be acknowledged after the server is back */

	static void register(Map<String, Main.Case> cases, Set<String> onDemand) {
		cases.put("broker-killed", FlowCases::brokerKilled);
		cases.put("two-brokers", FlowCases::twoBrokers);
		onDemand.add("broker-killed");
		onDemand.add("two-brokers");
	}

	private static void flag(Env env, String name) throws Exception {
		Files.writeString(env.dir.resolve(name), "");
	}

	/* The server is killed with SIGKILL while producers send and a consumer handles; nothing that was acknowledged may be missing. */
	private static void brokerKilled(Env env) throws Exception {
		String topic = env.topic("flow");
		Path back = env.dir.resolve("flow.back");
		Map<String, SendResult> acked = new ConcurrentHashMap<>();
		AtomicInteger refused = new AtomicInteger(), next = new AtomicInteger();
		AtomicBoolean stop = new AtomicBoolean();
		DefaultMQProducer p = env.newProducer("flow");
		p.setSendMsgTimeout(2000);
		p.setRetryTimesWhenSendFailed(0);
		p.start();
		p.send(new Message(topic, "T", "first", text("x")), 60_000);
		Env.Seen seen = new Env.Seen();
		DefaultMQPushConsumer c = env.push(env.group("flow"), topic, "*");
		/* How soon a consumer is known to a restarted broker is the client's setting. */
		c.setHeartbeatBrokerInterval(2000);
		c.registerMessageListener((List<MessageExt> msgs, ConsumeConcurrentlyContext x) -> {
			msgs.forEach(seen::add);
			return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
		});
		c.start();
		List<Thread> senders = new ArrayList<>();
		for (int i = 0; i < SENDERS; i++) {
			Thread t = new Thread(() -> {
				while (!stop.get()) {
					String key = "f-" + next.getAndIncrement();
					try {
						SendResult r = p.send(new Message(topic, "T", key, text("body " + key)));
						if (r.getSendStatus() == SendStatus.SEND_OK)
							acked.put(key, r);
						pause(2);
					} catch (Exception e) {
						refused.incrementAndGet();
						try {
							pause(50);
						} catch (InterruptedException x) {
							return;
						}
					}
				}
			});
			t.start();
			senders.add(t);
		}
		try {
			until(20, "the flow starts", () -> acked.size() > 200 && seen.times.size() > 100, () -> acked.size() + " sent, " + seen.times.size() + " handled");
			flag(env, "flow." + env.lang + ".ready");
			until(60, "the server is back", () -> Files.exists(back), null);
			int before = acked.size();
			until(60, "sending goes on", () -> acked.size() >= before + AFTER, () -> acked.size() - before + " acknowledged since, " + refused + " refused");
			stop.set(true);
			for (Thread t : senders)
				t.join();
			seen.await(acked.keySet(), 60, "every acknowledged message is handled");
			stored(env, topic, acked);
			env.notes.put("broker-killed", acked.size() + " acknowledged, " + refused + " refused, " + seen.twice().size() + " handled again");
			check(refused.get() > 0, "no send failed: was the server killed at all?");
		} finally {
			stop.set(true);
			c.shutdown();
			p.shutdown();
		}
	}

	/* The store agrees with the answers: each acknowledged message lies where its answer said, and no offset is missing. */
	private static void stored(Env env, String topic, Map<String, SendResult> acked) throws Exception {
		DefaultMQPullConsumer pull = env.puller("flowread");
		try {
			/* Apache's broker registers again a while after it is back. */
			env.queues(pull, topic, 30);
			Map<String, MessageExt> byKey = new HashMap<>();
			for (MessageExt m : env.readAll(pull, topic))
				byKey.put(m.getQueueId() + "/" + m.getQueueOffset(), m);
			acked.forEach((key, r) -> {
				MessageExt m = byKey.get(r.getMessageQueue().getQueueId() + "/" + r.getQueueOffset());
				check(m != null && key.equals(m.getKeys()), "%s was acknowledged at queue %d offset %d, where %s lies", key,
					r.getMessageQueue().getQueueId(), r.getQueueOffset(), m == null ? "nothing" : m.getKeys());
			});
		} finally {
			pull.shutdown();
		}
	}

	/* Every broker that the name server knows (the runner says how many) takes part in a new topic. */
	private static void twoBrokers(Env env) throws Exception {
		int brokers = Integer.parseInt(System.getProperty("interop.brokers", "2"));
		String topic = env.topic("brokers");
		Set<String> names = new TreeSet<>(), keys = new TreeSet<>();
		for (int i = 0; i < 64; i++) {
			names.add(env.send(new Message(topic, "T", "k-" + i, text("x"))).getMessageQueue().getBrokerName());
			keys.add("k-" + i);
		}
		same(brokers, names.size(), "brokers that took messages: " + names);
		Env.Seen seen = new Env.Seen();
		DefaultMQPushConsumer c = env.collect(env.group("brokers"), topic, "*", seen);
		DefaultMQPullConsumer pull = env.puller("brokersread");
		try {
			seen.awaitExactly(keys, 40, "messages of " + names);
			Set<String> routed = new TreeSet<>();
			for (MessageQueue q : env.queues(pull, topic, 5))
				routed.add(q.getBrokerName());
			same(names, routed, "brokers in the route");
			env.notes.put("two-brokers", "" + names);
		} finally {
			pull.shutdown();
			c.shutdown();
		}
	}
}
