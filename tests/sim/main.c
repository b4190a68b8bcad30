/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * sim [--seed N | SEED | FIRST-LAST] [--crashes N] [--steps N | STEPS] [--lying-sync] [--verbose]
 *
 * Without a range: lives from the seed on until there were N crashes. With one: one life a seed. Exit 0: all is well; 1: something broke,
 * and how to see it again is printed; 2: usage. With --lying-sync the disk does not sync, and 1 is what must come.
 */
#include <stdlib.h>

#include "tests/sim/run.h"

enum { CRASHES_OF_A_LIFE = 12, STEPS_DEFAULT = 120, CRASHES_DEFAULT = 240 };

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: sim [--seed N | SEED | FIRST-LAST] [--crashes N] [--steps N | STEPS] [--lying-sync] [--verbose]\n");
	exit(2);
}

static uint64_t number(const char *text)
{
	uint64_t v;

	if (text == NULL || !slice_u64(slice_str(text), &v))
		usage();
	return v;
}

int main(int argc, char **argv)
{
	struct options o = {.seed = 1, .crashes = CRASHES_DEFAULT, .steps = STEPS_DEFAULT};
	struct run_report rep = {0};
	uint64_t last = 0, lives = 0;
	int plain = 0;

	for (int i = 1; i < argc; i++) {
		struct slice rest = slice_str(argv[i]), first;
		uint64_t a, b;

		if (strcmp(argv[i], "--seed") == 0)
			o.seed = number(argv[++i]);
		else if (strcmp(argv[i], "--crashes") == 0)
			o.crashes = (unsigned)number(argv[++i]);
		else if (strcmp(argv[i], "--steps") == 0)
			o.steps = (unsigned)number(argv[++i]);
		else if (strcmp(argv[i], "--lying-sync") == 0)
			o.lying = true;
		else if (strcmp(argv[i], "--verbose") == 0)
			o.verbose = true;
		else if (plain == 0 && slice_split(&rest, '-', &first) && slice_u64(first, &a) && slice_u64(rest, &b) && a <= b) {
			o.seed = a;
			last = b;
			plain++;
		} else if (plain++ == 0)
			o.seed = number(argv[i]);
		else
			o.steps = (unsigned)number(argv[i]);
	}
	if (o.steps == 0 || o.crashes == 0)
		usage();
	for (uint64_t seed = o.seed; last != 0 ? seed <= last : rep.crashes < o.crashes; seed++, lives++)
		run_life(&o, seed, CRASHES_OF_A_LIFE, &rep);
	printf("sim: %llu lives, %llu crashes, %llu disk calls, %llu messages sent, %llu acknowledged, %llu looked at, %llu requests over connections: all is well\n",
		(unsigned long long)lives, (unsigned long long)rep.crashes, (unsigned long long)rep.calls, (unsigned long long)rep.messages,
		(unsigned long long)rep.acked, (unsigned long long)rep.checked, (unsigned long long)rep.carried);
	return 0;
}
