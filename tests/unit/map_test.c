/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Tables and the timer heap, against plain models that are slow and obviously right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/be.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/prng.h"

enum { KEYS = 700, STEPS = 60000 };

static void map_behaves_as_its_model(void **state)
{
	static char names[KEYS][24];
	static int values[KEYS * 2];
	void *model[KEYS] = {0};
	size_t count = 0;
	struct map m = {0};
	struct prng p;

	(void)state;
	prng_init(&p, 1);
	assert_null(map_get(&m, SLICE_LIT("x")));
	assert_null(map_drop(&m, SLICE_LIT("x")));
	for (int i = 0; i < KEYS; i++) {
		memset(names[i], 'k', sizeof(names[i]));
		be32_put(names[i], (uint32_t)i);
	}
	for (int step = 0; step < STEPS; step++) {
		size_t k = prng_below(&p, KEYS);
		struct slice key = slice_of(names[k], 4 + k % 20);

		switch (prng_below(&p, 3)) {
		case 0: {
			void *v = &values[k * 2 + prng_below(&p, 2)];

			assert_ptr_equal(map_put(&m, key, v), model[k]);
			count += model[k] == NULL;
			model[k] = v;
			break;
		}
		case 1:
			assert_ptr_equal(map_drop(&m, key), model[k]);
			count -= model[k] != NULL;
			model[k] = NULL;
			break;
		default:
			assert_ptr_equal(map_get(&m, key), model[k]);
		}
		assert_int_equal(m.count, count);
	}
	size_t at = 0, seen = 0;

	for (struct map_slot *s; (s = map_each(&m, &at)) != NULL; seen++) {
		size_t k = be32_get(s->key.p);

		assert_ptr_equal(s->value, model[k]);
		model[k] = NULL;
	}
	assert_int_equal(seen, count);
	map_fini(&m);
}

/* The key of a table's entry is a view: putting again must leave the new view in, as the old value may be freed. */
static void map_put_replaces_the_key_too(void **state)
{
	char a[] = "name", b[] = "name";
	struct map m = {0};
	size_t at = 0;

	(void)state;
	assert_null(map_put(&m, slice_str(a), a));
	assert_ptr_equal(map_put(&m, slice_str(b), b), a);
	assert_ptr_equal(map_each(&m, &at)->key.p, b);
	map_fini(&m);
}

static void u64map_behaves_as_its_model(void **state)
{
	static int values[KEYS * 2];
	void *model[KEYS] = {0};
	size_t count = 0;
	struct u64map m = {0};
	struct prng p;

	(void)state;
	prng_init(&p, 2);
	assert_null(u64map_get(&m, 0));
	assert_null(u64map_drop(&m, 0));
	for (int step = 0; step < STEPS; step++) {
		size_t k = prng_below(&p, KEYS);
		uint64_t key = k << 20; /* positions are multiples of something */

		switch (prng_below(&p, 3)) {
		case 0: {
			void *v = &values[k * 2 + prng_below(&p, 2)];

			assert_ptr_equal(u64map_put(&m, key, v), model[k]);
			count += model[k] == NULL;
			model[k] = v;
			break;
		}
		case 1:
			assert_ptr_equal(u64map_drop(&m, key), model[k]);
			count -= model[k] != NULL;
			model[k] = NULL;
			break;
		default:
			assert_ptr_equal(u64map_get(&m, key), model[k]);
		}
		assert_int_equal(m.count, count);
	}
	size_t at = 0, seen = 0;

	for (struct u64map_slot *s; (s = u64map_each(&m, &at)) != NULL; seen++)
		assert_ptr_equal(s->value, model[s->key >> 20]);
	assert_int_equal(seen, count);
	u64map_fini(&m);
}

static void slice_hash_spreads(void **state)
{
	enum { N = 1 << 16 };
	static unsigned low[256], high[256];
	struct u64map seen = {0};
	char name[64];

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		memset(name, 'q', sizeof(name));
		be32_put(name + i % 40, i);
		uint64_t h = slice_hash(slice_of(name, 4 + i % 60 + (i % 40 > i % 60 ? 40 : 0)));

		u64map_put(&seen, h, name);
		low[h & 255]++;
		high[h >> 56]++;
	}
	assert_int_equal(seen.count, N);
	for (int i = 0; i < 256; i++) {
		assert_in_range(low[i], N / 256 / 2, N / 256 * 2);
		assert_in_range(high[i], N / 256 / 2, N / 256 * 2);
	}
	u64map_fini(&seen);
	/* The length counts, also where the bytes are zeros. */
	char zeros[40] = {0};

	for (size_t a = 0; a <= sizeof(zeros); a++)
		for (size_t b = 0; b < a; b++)
			assert_int_not_equal(slice_hash(slice_of(zeros, a)), slice_hash(slice_of(zeros, b)));
}

static void heap_gives_the_first_due(void **state)
{
	enum { NODES = 300 };
	static struct heap_node nodes[NODES];
	struct heap h = {0};
	struct prng p;

	(void)state;
	prng_init(&p, 3);
	assert_null(heap_first(&h));
	for (int step = 0; step < STEPS; step++) {
		struct heap_node *n = &nodes[prng_below(&p, NODES)];

		switch (prng_below(&p, 3)) {
		case 0: heap_put(&h, n, prng_below(&p, 1000)); break;
		case 1: heap_drop(&h, n); break;
		default:
			if ((n = heap_first(&h)) != NULL)
				heap_drop(&h, n);
		}
		if (step % 16 != 0)
			continue;
		uint64_t least = UINT64_MAX;
		size_t in = 0;

		for (int i = 0; i < NODES; i++) {
			if (!heap_has(&nodes[i]))
				continue;
			in++;
			if (nodes[i].due < least)
				least = nodes[i].due;
		}
		assert_int_equal(in, h.n);
		if (in > 0)
			assert_int_equal(heap_first(&h)->due, least);
	}
	heap_fini(&h);
	for (int i = 0; i < NODES; i++)
		assert_false(heap_has(&nodes[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(map_behaves_as_its_model),
		cmocka_unit_test(map_put_replaces_the_key_too),
		cmocka_unit_test(u64map_behaves_as_its_model),
		cmocka_unit_test(slice_hash_spreads),
		cmocka_unit_test(heap_gives_the_first_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
