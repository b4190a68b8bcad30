# SPDX-License-Identifier: Apache-2.0
# Copyright The Gantry authors
"""Medians, ratios and goals, as one page of Markdown."""
import os
import platform
import statistics
import subprocess
import time

from servers import ROOT

TICK = os.sysconf("SC_CLK_TCK")
NOISY_CORES = 0.25  # more than this beside server and client: the figures of that row are doubtful
NOT_SENDS = ("pull", "topics", "idle", "boot", "recover", "fill", "ws-", "mqtt-fan", "mqtt-idle")


def cpu_seconds(pids):
    """Busy seconds of the whole machine, and those of the processes."""
    with open("/proc/stat", encoding="ascii") as f:
        t = [int(x) for x in f.readline().split()[1:]]
    mine = 0
    for pid in pids:
        try:
            with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            mine += int(fields[11]) + int(fields[12])
        except FileNotFoundError:
            pass
    return (sum(t) - t[3] - t[4]) / TICK, mine / TICK


def folder_bytes(folder, part):
    """Bytes on disk of the files under folders whose path names the part."""
    total = 0
    for path, _, names in os.walk(folder):
        if part in path:
            total += sum(os.lstat(os.path.join(path, n)).st_blocks * 512 for n in names)
    return total


class LoadWatch:
    """What the machine was doing when the comparison began."""

    def __init__(self):
        self.begin, self.load = time.time(), os.getloadavg()[0]


def said(*command):
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False)
        return (done.stdout.strip().splitlines() or ["?"])[0]
    except (OSError, subprocess.TimeoutExpired):
        return "not there"


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


class Results:
    def __init__(self, results):
        self.results = results

    def runs(self, case, server):
        return self.results.get((case, server), [])

    def median(self, case, server, key):
        """Of the valid runs; None when there is none."""
        values = [float(r[key]) for r in self.runs(case, server) if r["valid"] == "1" and key in r]
        return statistics.median(values) if values else None

    def worst(self, case, server, key):
        values = [float(r[key]) for r in self.runs(case, server) if r["valid"] == "1" and key in r]
        return max(values) if values else None

    def rate(self, case, server="gantry"):
        return self.median(case, server, "rate")

    def ratio(self, case, peer, own="gantry"):
        mine, other = self.rate(case, own), self.rate(case, peer)
        return mine / other if mine and other else None

    def share(self, case, of):
        mine, other = self.rate(case, of), self.rate(case)
        return mine / other if mine and other else None

    def cases(self):
        seen = []
        for case, _ in self.results:
            if case not in seen:
                seen.append(case)
        return seen

    def servers(self, case):
        return [s for c, s in self.results if c == case]


def scaled(value, factor):
    return None if value is None else value * factor


# What is asked of Gantry: text, value, at least or at most, bound, unit, and whether missing it fails the comparison.
GOALS = [
    ("synced sends, 1 connection, polling client: share of the bare fdatasync loop", lambda r: r.ratio("sync-1-spin", "bare"), ">=", 0.8, "x", True),
    ("synced sends, 64 connections: against Apache SYNC_FLUSH", lambda r: r.ratio("sync-64", "apache"), ">=", 2, "x", True),
    ("synced sends, 64 connections: against Redis appendfsync always", lambda r: r.ratio("sync-64", "redis"), ">=", 1, "x", True),
    ("synced sends, 8 connections x 64 in flight: against Apache", lambda r: r.ratio("sync-8x64", "apache"), ">=", 3, "x", True),
    ("page-cache sends, 64 connections: against Apache ASYNC_FLUSH", lambda r: r.ratio("page-64", "apache"), ">=", 2, "x", True),
    ("page-cache sends, 8 connections x 64 in flight: against Apache", lambda r: r.ratio("page-8x64", "apache"), ">=", 3, "x", True),
    ("HTTP POST of 1 KiB, 64 connections, page cache: share of nginx answering 204", lambda r: r.ratio("http-64", "nginx"), ">=", 0.4, "x", True),
    ("the same, synced: share of the page-cache rate", lambda r: r.share("http-64", "gantry-sync"), ">=", 0.4, "x", True),
    ("WebSocket, one publisher to 1,000 subscribers: share of a bare send loop", lambda r: r.ratio("ws-fan-1000", "bare"), ">=", 0.7, "x", True),
    ("memory of an idle WebSocket connection", lambda r: scaled(r.median("ws-idle", "gantry", "rss_per_conn"), 1 / 1024), "<=", 8, "KiB", True),
    ("MQTT publishes of QoS 1, 64 connections, page cache: against Mosquitto", lambda r: r.ratio("mqtt-64", "mosquitto"), ">=", 1, "x", True),
    ("the same with 1 KiB", lambda r: r.ratio("mqtt-64-1k", "mosquitto"), ">=", 1, "x", True),
    ("the same with 8 connections x 64 in flight", lambda r: r.ratio("mqtt-8x64", "mosquitto"), ">=", 1, "x", True),
    ("MQTT publishes of QoS 1, 64 connections, synced: against Mosquitto, which syncs nothing", lambda r: r.ratio("mqtt-64", "mosquitto", "gantry-sync"),
     ">=", 0.5, "x", True),
    ("the same with 1 KiB", lambda r: r.ratio("mqtt-64-1k", "mosquitto", "gantry-sync"), ">=", 0.5, "x", True),
    ("an idle MQTT connection", lambda r: scaled(r.median("mqtt-idle", "gantry", "bytes_per_conn"), 1 / 1024), "<=", 4, "KB", True),
    ("backlog read, pulls of 32 as stock clients send them", lambda r: scaled(r.rate("pull-32"), 1e-6), ">=", 1, "M/s", True),
    ("backlog read, pulls of up to 1024", lambda r: scaled(r.rate("pull-1024"), 1e-6), ">=", 1, "M/s", False),
    ("empty start, exec to first answer", lambda r: r.median("boot-empty", "gantry", "boot_ms"), "<=", 50, "ms", True),
    ("{gb:.3g} GB of log after kill -9, exec to first answer", lambda r: scaled(r.median("recover", "gantry", "boot_ms"), 1e-3), "<=", 2, "s", True),
    ("resident memory when idle", lambda r: scaled(r.median("boot-empty", "gantry", "rss_kb"), 1 / 1024), "<=", 20, "MB", True),
    ("{topics:,} topics created", lambda r: r.median("topics", "gantry", "create_s"), "<=", 2, "s", True),
    ("first message of each of them: slowest, after its acknowledgement", lambda r: scaled(r.worst("topics", "gantry", "seen_after_ack_max_us"), 1e-3),
     "<=", 50, "ms", True),
    ("20 k/s to delivery, page cache: p50", lambda r: r.median("page-rate-20k", "gantry", "deliver_p50_us"), "<=", 150, "us", False),
    ("20 k/s to delivery, page cache: p99", lambda r: r.median("page-rate-20k", "gantry", "deliver_p99_us"), "<=", 500, "us", False),
    ("20 k/s to delivery, page cache: p99.9", lambda r: r.median("page-rate-20k", "gantry", "deliver_p999_us"), "<=", 2000, "us", False),
    ("20 k/s to delivery, page cache: max", lambda r: scaled(r.median("page-rate-20k", "gantry", "deliver_max_us"), 1e-3), "<=", 20, "ms", False),
]


def goals(r, args):
    lines = ["| goal | bound | measured | |", "|---|---|---|---|"]
    missed = 0
    for text, value_of, how, bound, unit, must in GOALS:
        value = value_of(r)
        if value is None:
            mark, shown = "not measured", "-"
        else:
            good = value >= bound if how == ">=" else value <= bound
            mark, shown = ("pass" if good else "**FAIL**" if must else "missed (an aim)"), "%.3g %s" % (value, unit)
            missed += must and not good
        text = text.format(gb=args.recover_bytes / (1 << 30), topics=args.topics)
        lines.append("| %s | %s %g %s | %s | %s |" % (text, how, bound, unit, shown, mark))
    invalid = sum(run["valid"] != "1" for (_, s), runs in r.results.items() if s == "gantry" for run in runs)
    if invalid:
        lines.append("| runs of Gantry that were invalid | <= 0 | %d | **FAIL** |" % invalid)
    return lines, missed + invalid


def number(value, digits=0):
    return "-" if value is None else "{:,.{}f}".format(value, digits)


def send_table(r):
    lines = ["| case | server | per second | Gantry is | p50 us | p99 us | p99.9 us | max ms | CPU us/msg | other work | runs |",
             "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for case in r.cases():
        if case.startswith(NOT_SENDS):
            continue
        for server in r.servers(case):
            runs = r.runs(case, server)
            against = r.ratio(case, server) if server != "gantry" else None
            noise = max(float(run["foreign_cpu"]) for run in runs)
            lines.append("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %d/%d |" % (
                case, server, number(r.rate(case, server)), "-" if against is None else "%.2f x" % against, number(r.median(case, server, "p50_us")),
                number(r.median(case, server, "p99_us")), number(r.median(case, server, "p999_us")),
                number(scaled(r.median(case, server, "max_us"), 1e-3), 1), number(r.median(case, server, "server_cpu_us"), 2),
                "%.2f%s" % (noise, " (!)" if noise > NOISY_CORES else ""), sum(x["valid"] == "1" for x in runs), len(runs)))
    return lines


def delivery_table(r):
    lines = ["| case | server | p50 us | p99 us | p99.9 us | max ms |", "|---|---|---:|---:|---:|---:|"]
    for case in r.cases():
        for server in r.servers(case):
            if r.median(case, server, "deliver_p50_us") is not None:
                lines.append("| %s | %s | %s | %s | %s | %s |" % (
                    case, server, *[number(r.median(case, server, "deliver_%s_us" % q)) for q in ("p50", "p99", "p999")],
                    number(scaled(r.median(case, server, "deliver_max_us"), 1e-3), 1)))
    return lines if len(lines) > 2 else []


# Cases that are no rate of sends: which keys of their runs are shown.
OTHERS = [
    ("fill", "Filling the backlog", ["messages", "rate", "server_cpu_us"]),
    ("pull-32", "Backlog read, 32 a pull", ["messages", "rate", "mb_s", "per_pull", "server_cpu_us", "server_cpu", "client_cpu_us"]),
    ("pull-1024", "Backlog read, up to 1024 a pull", ["messages", "rate", "mb_s", "per_pull", "server_cpu_us", "server_cpu", "client_cpu_us"]),
    ("boot-empty", "Start with an empty store", ["boot_ms", "rss_kb", "idle_cpu", "stop_ms"]),
    ("idle", "Idle connections", ["conns", "rate", "bytes_per_conn", "rss_after_kb", "idle_cpu"]),
    ("mqtt-fan", "MQTT: one publisher, 1,000 subscribers", ["conns", "published", "rate", "p50_us", "p99_us", "server_cpu_us"]),
    ("mqtt-idle", "Idle MQTT connections", ["conns", "rate", "bytes_per_conn", "rss_after_kb", "idle_cpu"]),
    ("mqtt-idle-subscribed", "Idle MQTT connections with a subscription each", ["conns", "rate", "bytes_per_conn", "rss_after_kb", "idle_cpu"]),
    ("topics", "Many topics", ["topics", "create_s", "rate", "seen_p50_us", "seen_p99_us", "seen_after_ack_p99_us", "seen_after_ack_max_us",
                               "late", "unseen", "rss_kb_per_1000"]),
    ("recover-fill", "Filling the log", ["messages", "rate"]),
    ("recover", "Start after kill -9", ["boot_ms", "log_bytes", "rss_kb"]),
]


def other_tables(r):
    lines = []
    for case, title, keys in OTHERS:
        servers = r.servers(case)
        if not servers:
            continue
        lines += ["", "### %s" % title, "", "| server | " + " | ".join(keys) + " | runs |", "|---" * (len(keys) + 2) + "|"]
        for server in servers:
            runs = r.runs(case, server)
            cells = [number(r.median(case, server, k), 2 if (r.median(case, server, k) or 0) < 100 else 0) for k in keys]
            lines.append("| %s | %s | %d/%d |" % (server, " | ".join(cells), sum(x["valid"] == "1" for x in runs), len(runs)))
    return lines


def invalid_runs(r):
    lines = []
    for (case, server), runs in r.results.items():
        for run in runs:
            if run["valid"] != "1":
                lines.append("- %s %s: %s %s" % (case, server, run["why"], run.get("error_codes", "")))
    return ["", "## Invalid runs (left out of the medians)", ""] + lines if lines else []


def render(results, args, watch):
    r = Results(results)
    goal_lines, missed = goals(r, args)
    text = ["# Gantry beside its peers", "",
            "Medians of %d rounds of %g s after %g s of warm-up, in A-B-B-A order, one client for all, 128-byte bodies over 8 queues. Ratios say"
            " how many times as fast Gantry is." % (args.rounds, args.seconds, args.warmup), "",
            "- machine: %s, %d cores, Linux %s%s" % (cpu_model(), os.cpu_count(), platform.release(), ", pinned" if args.pin else ""),
            "- Gantry %s; Apache RocketMQ 5.3.3, heap %s, %s; %s" % (said("git", "describe", "--always", "--dirty"), args.heap,
                                                                  said("java", "-version"), said("redis-server", "--version")),
            "- began %s with a load average of %.2f, took %d s; settings for Gantry: %s" % (
                time.strftime("%Y-%m-%d %H:%M", time.localtime(watch.begin)), watch.load, time.time() - watch.begin, " ".join(args.set) or "defaults"),
            "", "## Goals", ""] + goal_lines + ["", "## Sends", ""] + send_table(r)
    delivery = delivery_table(r)
    if delivery:
        text += ["", "## From the scheduled moment to a waiting consumer", ""] + delivery
    text += ["", "## The rest"] + other_tables(r) + invalid_runs(r)
    return "\n".join(text) + "\n", missed
