/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Settings: one table (settings.tbl) and one of Apache's other keys (apache.tbl). Nothing is guessed: an unknown key or a bad value is a
 * problem that names its place, and a start with problems does not happen.
 */
#ifndef APP_SETTINGS_H
#define APP_SETTINGS_H

#include "base/buf.h"

enum setting {
#define X(key, type, def, min, max, origin, text) SET_##key,
#include "app/settings.tbl"
#undef X
	SET_COUNT
};

enum { DELAY_LEVELS_MAX = 18 };

struct settings {
	uint64_t n[SET_COUNT];      /* numbers, sizes, times (ms), ports, booleans, choices */
	char *text[SET_COUNT];      /* texts, names, addresses; "" when unset */
	bool given[SET_COUNT];      /* said by somebody, not the default */
	char *where[SET_COUNT];     /* "broker.conf:12", "--set"; NULL: the default */
	uint32_t delay_ms[DELAY_LEVELS_MAX];
	struct buf problems;        /* a line each; empty: all is well */
	struct buf warnings;
};

void settings_init(struct settings *s); /* all defaults */
void settings_fini(struct settings *s);
/* The content of a configuration file: key=value lines, # comments. 'name' is for problems. */
void settings_file(struct settings *s, const char *name, struct slice content);
/* One "key=value" of the command line; 'where' is for problems. */
void settings_assign(struct settings *s, const char *where, struct slice assignment);
/* What settings must be together; after the last of them was said. */
void settings_check(struct settings *s);
/* Like Apache's own name server file, where listenPort means the name server. */
void settings_for_namesrv(struct settings *s);

/* The table as text for a terminal, or as Markdown. */
void settings_help(struct buf *out, bool markdown);
/* What is in force, as lines key=value in plain numbers; without the listed keys, which the caller knows better. */
void settings_text(const struct settings *s, struct buf *out, const enum setting *without, size_t n_without);
/* Is HTTPS wanted? */
bool settings_https(const struct settings *s);
/* True for 127.x.y.z and ::1. */
bool settings_loopback(const char *ip);
/* True for 0.0.0.0 and ::. */
bool settings_any_address(const char *ip);

#endif
