/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
package interop;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/*
 * mqadmin 5.3.3 against a broker and its name server: each command's own code runs in this process, and what it prints is looked at.
 * The cases build on each other and run in order.
 *
 *   java -cp ... interop.Tools NS_ADDR BROKER_ADDR RUN LOG_DIR [NAME,NAME...]
 */
public final class Tools {
	private static final long ASK_NS = 30_000_000_000L;
	private static final int MESSAGES = 20;
	private static final PrintStream OUT = System.out;
	private static int failed;
	private static Path dir;
	private static Set<String> only;

	/* Runs one command and gives what it printed on both streams. */
	private static String admin(String... words) {
		ByteArrayOutputStream bytes = new ByteArrayOutputStream();
		PrintStream catcher = new PrintStream(bytes, true, StandardCharsets.UTF_8), err = System.err;
		System.setOut(catcher);
		System.setErr(catcher);
		try {
			MQAdminStartup.main0(words, null);
		} finally {
			System.setOut(OUT);
			System.setErr(err);
		}
		return bytes.toString(StandardCharsets.UTF_8);
	}

	/* Good when every pattern is found in the output and no Java exception is. */
	private static void expect(String name, String[] command, String... patterns) throws Exception {
		if (only != null && !only.contains(name))
			return;
		long start = System.nanoTime();
		String text, bad;
		/* What clients and the broker tell each other now and then may come a moment later. What sets something sets it absolutely. */
		boolean asks = !command[0].matches("(delete|send|reset).*");
		do {
			bad = null;
			try {
				text = admin(command);
				if (Pattern.compile("^\\s*at org\\.apache", Pattern.MULTILINE).matcher(text).find())
					bad = "an exception";
				for (String p : patterns)
					if (bad == null && !Pattern.compile(p, Pattern.MULTILINE).matcher(text).find())
						bad = "no /" + p + "/ in the output";
			} catch (Throwable t) {
				text = "";
				bad = t.toString();
			}
		} while (bad != null && asks && System.nanoTime() - start < ASK_NS);
		Files.writeString(dir.resolve("tools." + name + ".out"), String.join(" ", command) + "\n" + text);
		if (bad == null) {
			OUT.printf("ok tools.%s %.1f s%n", name, (System.nanoTime() - start) / 1e9);
		} else {
			failed++;
			String shown = text.strip().replaceAll("\\s+", " ");
			OUT.printf("FAIL tools.%s %s: %s%n", name, bad, shown.length() > 300 ? shown.substring(0, 300) : shown);
		}
		OUT.flush();
	}

	private static String[] c(String... words) {
		return words;
	}

	public static void main(String[] args) throws Exception {
		String ns = args[0], broker = args[1], run = args[2];
		dir = Path.of(args[3]);
		only = args.length > 4 ? new HashSet<>(Arrays.asList(args[4].split(","))) : null;
		System.setProperty("rocketmq.namesrv.addr", ns);
		String topic = run + "-tools", group = "g-" + run + "-tools";
		String b = Pattern.quote(broker);

		expect("cluster-list", c("clusterList"), b, "DefaultCluster", "\\b0\\b");
		expect("update-topic", c("updateTopic", "-b", broker, "-t", topic, "-r", "6", "-w", "6"), "success");
		expect("update-topic-cluster", c("updateTopic", "-c", "DefaultCluster", "-t", topic + "-c"), "success");
		expect("topic-list", c("topicList"), "^" + topic + "$");
		expect("topic-route", c("topicRoute", "-t", topic), "\"writeQueueNums\":6", b);

		DefaultMQProducer p = new DefaultMQProducer("p-" + run + "-tools");
		p.setNamesrvAddr(ns);
		p.setMqClientApiTimeout(30_000);
		p.setSendMsgTimeout(30_000);
		p.start();
		SendResult sent = null;
		for (int i = 0; i < MESSAGES; i++)
			sent = p.send(new Message(topic, "TagT", "tool-" + i, ("tool body " + i).getBytes(StandardCharsets.UTF_8)));
		Set<String> seen = ConcurrentHashMap.newKeySet();
		DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
		consumer.setNamesrvAddr(ns);
		consumer.setMqClientApiTimeout(30_000);
		consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
		consumer.setPersistConsumerOffsetInterval(500);
		consumer.setHeartbeatBrokerInterval(1000);
		consumer.subscribe(topic, "*");
		consumer.registerMessageListener((List<MessageExt> ms, ConsumeConcurrentlyContext x) -> {
			ms.forEach(m -> seen.add(m.getKeys()));
			return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
		});
		consumer.start();
		for (int i = 0; i < 1200 && seen.size() < MESSAGES; i++)
			Thread.sleep(100);
		Thread.sleep(1500);

		expect("topic-status", c("topicStatus", "-t", topic), "#Max Offset", "\\b5\\b.*\\b0\\b");
		expect("topic-cluster-list", c("topicClusterList", "-t", topic), "DefaultCluster");
		expect("send-message", c("sendMessage", "-t", topic, "-p", "by hand", "-k", "hand"), "SEND_OK");
		expect("query-by-key", c("queryMsgByKey", "-t", topic, "-k", "tool-7"), "[0-9A-F]{32}");
		expect("query-by-id", c("queryMsgById", "-i", sent.getOffsetMsgId(), "-t", topic), "Keys:.*tool-19", "Topic:.*" + topic);
		expect("query-by-unique-key", c("queryMsgByUniqueKey", "-i", sent.getMsgId(), "-t", topic), "Keys:.*tool-19");
		expect("query-by-offset", c("queryMsgByOffset", "-t", topic, "-b", sent.getMessageQueue().getBrokerName(),
			"-i", "" + sent.getMessageQueue().getQueueId(), "-o", "" + sent.getQueueOffset()), "tool-19");
		expect("print-messages", c("printMsg", "-t", topic), "tool body 3");
		expect("consumer-progress", c("consumerProgress", "-g", group), topic, "Consume TPS", "Diff Total");
		expect("consumer-progress-all", c("consumerProgress"), group);
		expect("consumer-connection", c("consumerConnection", "-g", group), "MessageModel: CLUSTERING", topic, "JAVA");
		expect("consumer-status", c("consumerStatus", "-g", group), consumer.buildMQClientId());
		expect("producer-connection", c("producerConnection", "-g", "p-" + run + "-tools", "-t", topic), "JAVA", "127\\.0\\.0\\.1");
		expect("producer", c("producer", "-b", broker), "p-" + run + "-tools");
		expect("broker-status", c("brokerStatus", "-b", broker), "brokerVersionDesc", "msgPutTotalTodayNow");
		expect("broker-consume-stats", c("brokerConsumeStats", "-b", broker), group);
		expect("get-broker-config", c("getBrokerConfig", "-b", broker), "flushDiskType", "brokerName");
		expect("get-consumer-config", c("getConsumerConfig", "-g", group), group);
		expect("update-sub-group", c("updateSubGroup", "-b", broker, "-g", group + "2", "-r", "5"), "success");
		expect("stats-all", c("statsAll"), topic);
		expect("query-cq", c("queryCq", "-t", topic, "-q", "0", "-i", "0", "-c", "2", "-b", broker), "tagsCode|PhysicOffset|Subscription|[Oo]ffset");
		expect("reset-offset", c("resetOffsetByTime", "-g", group, "-t", topic, "-s", "-1"), "rollback|reset|brokerName|Offset");
		expect("update-topic-perm", c("updateTopicPerm", "-b", broker, "-t", topic, "-p", "4"), "success");
		expect("update-topic-perm-seen", c("topicRoute", "-t", topic), "\"perm\":4");
		expect("kv-put", c("updateKvConfig", "-s", "gantry-test", "-k", "a", "-v", "1"), "success");
		expect("kv-delete", c("deleteKvConfig", "-s", "gantry-test", "-k", "a"), "success");
		expect("namesrv-config", c("getNamesrvConfig"), "listenPort|kvConfigPath|=");
		expect("broker-halt-write", c("wipeWritePerm", "-b", sent.getMessageQueue().getBrokerName()), "wipe write perm of broker.*OK");
		expect("broker-allow-write", c("addWritePerm", "-b", sent.getMessageQueue().getBrokerName()), "add write perm of broker.*OK");
		consumer.shutdown();
		expect("delete-sub-group", c("deleteSubGroup", "-b", broker, "-g", group), "success");
		expect("delete-topic", c("deleteTopic", "-c", "DefaultCluster", "-t", topic), "success");
		expect("delete-topic-seen", c("topicList"), "(?s)\\A(?!.*^" + topic + "$)");
		p.shutdown();
		OUT.flush();
		Runtime.getRuntime().halt(failed == 0 ? 0 : 1);
	}
}
