/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
package interop;

import java.nio.file.Path;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.common.message.MessageExt;

/* A consumer in a process of its own, so that a case can kill it. It ends when its standard input does. */
public final class Child {
	static Process start(Env env, String group, String topic) throws Exception {
		ProcessBuilder b = new ProcessBuilder(PushCases.javaBinary().toString(), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
			"-Drocketmq.client.logRoot=" + System.getProperty("rocketmq.client.logRoot", "."),
			"-Drmq.logback.configurationFile=" + System.getProperty("rmq.logback.configurationFile", ""),
			"-Duser.home=" + System.getProperty("user.home"),
			"-cp", System.getProperty("java.class.path"), "interop.Child", env.ns, env.run, env.lang, group, topic);
		b.redirectError(env.dir.resolve(env.lang + ".child.err").toFile());
		return b.start();
	}

	public static void main(String[] args) throws Exception {
		Env env = new Env(args[0], args[1], args[2], Path.of("."), "");
		DefaultMQPushConsumer c = env.push(args[3], args[4], "*");
		c.registerMessageListener((List<MessageExt> msgs, ConsumeConcurrentlyContext x) -> {
			for (MessageExt m : msgs)
				System.out.println("got " + m.getKeys());
			System.out.flush();
			return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
		});
		c.start();
		while (System.in.read() >= 0)
			;
		Runtime.getRuntime().halt(0);
	}
}
