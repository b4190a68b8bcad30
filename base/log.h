/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * The log that people and tests read (the commit log is engine/clog.h). One line per fact: "area key=value ...", ids first.
 * The sink is injected: stderr in the process, an array in trace tests. Trace lines are always compiled.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_TRACE };

struct log;
struct log_ops {
	/* 'line' has no newline and is valid during the call only. */
	void (*line)(struct log *, enum log_level, const char *area, const char *line);
};
struct log {
	const struct log_ops *ops;
	enum log_level level; /* lines above it are not formatted */
};

void log_at(struct log *l, enum log_level level, const char *area, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#define log_error(l, area, ...) log_at((l), LOG_ERROR, (area), __VA_ARGS__)
#define log_warn(l, area, ...) log_at((l), LOG_WARN, (area), __VA_ARGS__)
#define log_info(l, area, ...) log_at((l), LOG_INFO, (area), __VA_ARGS__)
#define log_trace(l, area, ...) do { if ((l)->level >= LOG_TRACE) log_at((l), LOG_TRACE, (area), __VA_ARGS__); } while (0)

#endif
