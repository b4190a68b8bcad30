/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
package interop;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/*
 * The driver: runs the named cases with the stock Java client, several at once, and prints one line for each:
 * "ok NAME seconds" or "FAIL NAME reason". The same source is compiled against client 4.9.8 and 5.3.3.
 *
 *   java -cp ... interop.Main --ns ADDR --run ID --lang j4|j5 --dir LOGS [--peers j4,j5,go] [--only a,b] [--threads N] [--list]
 */
public final class Main {
	/* A case gets this long; each waits for single things with shorter limits of its own. */
	private static final int CASE_LIMIT_S = 300;

	interface Case {
		void run(Env env) throws Exception;
	}

	static final Map<String, Case> CASES = new LinkedHashMap<>();
	/* Run only when they are named: the runner prepares something for them. */
	static final Set<String> ON_DEMAND = new TreeSet<>();

	private static String option(List<String> args, String name, String otherwise) {
		int at = args.indexOf("--" + name);
		return at >= 0 ? args.get(at + 1) : otherwise;
	}

	private static String reason(Throwable t) {
		while (t instanceof java.util.concurrent.ExecutionException && t.getCause() != null)
			t = t.getCause();
		String text = t instanceof Env.Failed ? t.getMessage() : t.toString();
		return text.replace('\n', ' ').replaceAll("\\s+", " ");
	}

	public static void main(String[] argv) throws Exception {
		List<String> args = Arrays.asList(argv);
		/* What waits longest starts first. */
		RetryCases.register(CASES);
		PushCases.register(CASES);
		OffsetCases.register(CASES);
		PullCases.register(CASES);
		SendCases.register(CASES);
		FlowCases.register(CASES, ON_DEMAND);
		if (args.contains("--list")) {
			CASES.keySet().forEach(name -> System.out.println(name + (ON_DEMAND.contains(name) ? " (on demand)" : "")));
			return;
		}
		Env env = new Env(option(args, "ns", null), option(args, "run", "r"), option(args, "lang", "j5"),
			Path.of(option(args, "dir", ".")), option(args, "peers", ""));
		String only = option(args, "only", null);
		List<String> names = new ArrayList<>();
		for (String name : only == null ? CASES.keySet() : new TreeSet<>(Arrays.asList(only.split(",")))) {
			if (!CASES.containsKey(name)) {
				System.out.println("FAIL " + env.lang + "." + name + " there is no such case");
				System.exit(2);
			}
			if (only != null || !ON_DEMAND.contains(name))
				names.add(name);
		}
		try {
			env.warmUp();
		} catch (Exception e) {
			e.printStackTrace(); /* the cases will say what is wrong */
		}
		int failed = runAll(env, names, Integer.parseInt(option(args, "threads", "12")));
		env.close();
		System.out.flush();
		/* Clients that a failed case left behind must not keep the process alive. */
		Runtime.getRuntime().halt(failed == 0 ? 0 : 1);
	}

	private static int runAll(Env env, List<String> names, int threads) throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(threads);
		ExecutorService watch = Executors.newCachedThreadPool();
		int[] failed = new int[1];
		List<Future<?>> all = new ArrayList<>();
		for (String name : names)
			all.add(pool.submit(() -> {
				long start = System.nanoTime();
				Future<?> body = watch.submit(() -> {
					Thread.currentThread().setName("case-" + name);
					CASES.get(name).run(env);
					return null;
				});
				Throwable why = null;
				try {
					body.get(CASE_LIMIT_S, TimeUnit.SECONDS);
				} catch (TimeoutException e) {
					body.cancel(true);
					why = new Env.Failed("not done within " + CASE_LIMIT_S + " s");
				} catch (Throwable t) {
					why = t;
				}
				String took = String.format("%.1f", (System.nanoTime() - start) / 1e9);
				synchronized (failed) {
					if (why == null) {
						String note = env.notes.getOrDefault(name, "");
						System.out.println("ok " + env.lang + "." + name + " " + took + " s" + (note.isEmpty() ? "" : " (" + note + ")"));
					} else {
						failed[0]++;
						System.out.println("FAIL " + env.lang + "." + name + " " + reason(why) + " (" + took + " s)");
						StringWriter trace = new StringWriter();
						why.printStackTrace(new PrintWriter(trace));
						Files.writeString(env.dir.resolve(env.lang + "." + name + ".trace"), trace.toString());
					}
					System.out.flush();
				}
				return null;
			}));
		for (Future<?> f : all)
			f.get();
		pool.shutdownNow();
		return failed[0];
	}
}
