-- SPDX-License-Identifier: Apache-2.0
-- Copyright The Gantry authors
-- For wrk: POSTs of 1 KiB, and one line of key=value at the end.
wrk.method = "POST"
wrk.body = string.rep("x", 1024)
wrk.headers["Content-Type"] = "application/octet-stream"

function done(summary, latency, requests)
	local e = summary.errors
	local bad = e.connect + e.read + e.write + e.status + e.timeout
	io.write(string.format("messages=%d rate=%.0f p50_us=%d p99_us=%d p999_us=%d max_us=%d valid=%d why=%s\n", summary.requests,
		summary.requests / summary.duration * 1e6, latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
		bad == 0 and 1 or 0, bad == 0 and "-" or string.format("errors-%d-%d-%d-%d-%d", e.connect, e.read, e.write, e.status, e.timeout)))
end
