/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
package interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/*
 * A stock native client that is told what to do on its standard input, a line at a time, fields separated by tabs:
 *
 *   send TOPIC TAG KEYS NAME VALUE BODY(base64)     answers: sent ID
 *   listen TOPIC GROUP                              answers: ready GROUP when queues are assigned, then for each message:
 *                                                   got GROUP TAG KEYS BODY(base64) NAME=VALUE...
 *   holds TOPIC GROUP                               answers: holds N, the queues of the topic that the listener has just now
 */
public final class Bridge {
	private static final long READY_LIMIT_MS = 150000;
	private static final Map<String, DefaultMQPushConsumer> LISTENING = new ConcurrentHashMap<>();

	private static synchronized void say(String line) {
		System.out.println(line);
		System.out.flush();
	}

	private static String text(String s) {
		return s == null ? "" : s;
	}

	private static void listen(String ns, String topic, String group) throws Exception {
		DefaultMQPushConsumer c = new DefaultMQPushConsumer(group);
		c.setNamesrvAddr(ns);
		c.setMqClientApiTimeout(30_000);
		c.setInstanceName("bridge-" + group);
		c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
		c.setConsumeThreadMin(2);
		c.setConsumeThreadMax(2);
		/* What a server has not understood of a first heartbeat it learns from the next, which is half a minute away otherwise. */
		c.setHeartbeatBrokerInterval(2000);
		c.setPollNameServerInterval(2000);
		c.subscribe(topic, "*");
		c.registerMessageListener((MessageListenerConcurrently) (msgs, context) -> {
			for (MessageExt m : msgs) {
				StringBuilder line = new StringBuilder("got\t" + group + "\t" + text(m.getTags()) + "\t" + text(m.getKeys()) + "\t"
					+ Base64.getEncoder().encodeToString(m.getBody()));
				for (Map.Entry<String, String> p : m.getProperties().entrySet())
					line.append('\t').append(p.getKey()).append('=').append(p.getValue());
				say(line.toString());
			}
			return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
		});
		c.start();
		LISTENING.put(group, c);
		long end = System.currentTimeMillis() + READY_LIMIT_MS;
		while (c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().isEmpty() && System.currentTimeMillis() < end)
			Thread.sleep(20);
		say("ready\t" + group);
	}

	private static long holds(String topic, String group) {
		return LISTENING.get(group).getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
			.filter(q -> q.getTopic().equals(topic)).count();
	}

	public static void main(String[] args) throws Exception {
		System.setOut(new PrintStream(System.out, true, "UTF-8"));
		DefaultMQProducer producer = new DefaultMQProducer("bridge");
		producer.setNamesrvAddr(args[0]);
		producer.setMqClientApiTimeout(30_000);
		producer.start();
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
		for (String line = in.readLine(); line != null; line = in.readLine()) {
			String[] f = line.split("\t", -1);
			try {
				if (f[0].equals("send")) {
					Message m = new Message(f[1], f[2], f[3], Base64.getDecoder().decode(f[6]));
					m.putUserProperty(f[4], f[5]);
					say("sent\t" + producer.send(m, 60000).getMsgId());
				} else if (f[0].equals("holds")) {
					say("holds\t" + holds(f[1], f[2]));
				} else {
					listen(args[0], f[1], f[2]);
				}
			} catch (Exception e) {
				say("failed\t" + e.toString().replaceAll("\\s+", " "));
			}
		}
		System.exit(0);
	}
}
