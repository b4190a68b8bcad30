/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Subcommands and the command line. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/ask.h"
#include "admin/send.h"
#include "admin/status.h"
#include "app/process.h"
#include "base/obj.h"
#include "os/file.h"

enum { CONF_MAX = 1 << 20, EXIT_USAGE = 2 };

static const char usage[] =
	"usage:\n"
	"  gantry start [-c FILE] [--data DIR] [--set KEY=VALUE ...]     a broker, with a name server in the same process\n"
	"  gantry namesrv [-c FILE] [--data DIR] [--set KEY=VALUE ...]   a name server alone\n"
	"  gantry status [--addr HOST:PORT]                              the numbers of a running broker\n"
	"  gantry send TOPIC TEXT [--addr HOST:PORT]                     one message, to try a broker out\n"
	"  gantry help [settings]                                        this, or every setting\n"
	"  gantry version\n"
	"\n"
	"FILE has key=value lines; RocketMQ's broker.conf is read as it is. Without any of these a broker listens on loopback only,\n"
	"and keeps its data in ./data.\n";

static int misused(const char *what, const char *arg)
{
	fprintf(stderr, "gantry: %s%s%s\n%s", what, arg != NULL ? " " : "", arg != NULL ? arg : "", usage);
	return EXIT_USAGE;
}

static bool read_conf(struct settings *set, const char *path)
{
	struct buf text = {0};
	char why[WHY_MAX];
	bool fine = file_read(path, CONF_MAX, &text, why, sizeof(why)) == ST_OK;

	if (fine)
		settings_file(set, path, buf_view(&text));
	else
		process_complain(why);
	buf_fini(&text);
	return fine;
}

/* Files first, so that the command line wins wherever it stands. */
static int read_options(struct settings *set, int argc, char **argv)
{
	bool assigning = false;

	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < argc; i++) {
			const char *a = argv[i];
			bool takes_one = strcmp(a, "-c") == 0 || strcmp(a, "--data") == 0 || strcmp(a, "--set") == 0;
			struct buf b = {0};
			if (takes_one && i + 1 == argc)
				return misused("an argument is missing after", a);
			if (strcmp(a, "-c") == 0) {
				if (pass == 0 && !read_conf(set, argv[i + 1]))
					return EXIT_FAILURE;
			} else if (strcmp(a, "--data") == 0) {
				buf_fmt(&b, "storePathRootDir=%s", argv[i + 1]);
				if (pass == 1)
					settings_assign(set, "--data", buf_view(&b));
			} else if (strcmp(a, "--set") == 0 || (assigning && a[0] != '-' && strchr(a, '=') != NULL)) {
				if (pass == 1)
					settings_assign(set, "--set", slice_str(argv[takes_one ? i + 1 : i]));
			} else {
				return misused("unknown option", a);
			}
			assigning = strcmp(a, "--set") == 0 || (assigning && !takes_one);
			i += takes_one;
			buf_fini(&b);
		}
	return EXIT_SUCCESS;
}

static int run(bool broker, int argc, char **argv, uint64_t began_ns)
{
	struct settings set;
	int rc;

	settings_init(&set);
	rc = read_options(&set, argc, argv);
	if (rc == EXIT_SUCCESS) {
		if (!broker)
			settings_for_namesrv(&set);
		settings_check(&set);
		if (set.problems.n > 0) {
			fprintf(stderr, "gantry: the settings are not right:\n%s", buf_cstr(&set.problems));
			rc = EXIT_USAGE;
		} else {
			rc = broker ? broker_run(&set, began_ns) : nameserver_run(&set, began_ns);
		}
	}
	settings_fini(&set);
	return rc;
}

static int help(int argc, char **argv)
{
	struct buf b = {0};

	if (argc == 0) {
		fputs(usage, stdout);
	} else if (strcmp(argv[0], "settings") == 0) {
		settings_help(&b, argc > 1 && strcmp(argv[1], "--markdown") == 0);
		fwrite(b.p, 1, b.n, stdout);
	} else {
		return misused("no help for", argv[0]);
	}
	buf_fini(&b);
	return EXIT_SUCCESS;
}

/* status and send: so many plain arguments, and where the broker is. */
static int ask(bool send, int argc, char **argv)
{
	const char *addr = ADMIN_ADDR;
	int plain = send ? 2 : 0;

	if (argc == plain + 2 && strcmp(argv[plain], "--addr") == 0)
		addr = argv[plain + 1];
	else if (argc != plain)
		return misused(send ? "send takes TOPIC TEXT" : "status takes nothing but --addr HOST:PORT", NULL);
	return send ? send_run(addr, argv[0], argv[1], clock_wall_ms(host_clock())) : status_run(addr);
}

int main(int argc, char **argv)
{
	uint64_t began_ns = clock_mono_ns(host_clock());
	const char *verb = argc < 2 ? "" : argv[1];

	if (strcmp(verb, "start") == 0 || strcmp(verb, "namesrv") == 0)
		return run(verb[0] == 's', argc - 2, argv + 2, began_ns);
	if (strcmp(verb, "help") == 0 || strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)
		return help(argc - 2, argv + 2);
	if (strcmp(verb, "version") == 0 || strcmp(verb, "--version") == 0) {
		printf("gantry %s\n", GANTRY_VERSION);
		return EXIT_SUCCESS;
	}
	if (strcmp(verb, "status") == 0 || strcmp(verb, "send") == 0)
		return ask(verb[1] == 'e', argc - 2, argv + 2);
	return argc < 2 ? misused("no subcommand", NULL) : misused("no such subcommand:", verb);
}
