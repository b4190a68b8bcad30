/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Files of the simulated disk: bytes, versions of unsynced sectors and lengths, and what a crash makes of them. */
#include "base/mem.h"
#include "base/obj.h"
#include "tests/sim/disk_inode.h"

struct sim_inode *inode_new(struct sim_disk *d)
{
	struct sim_inode *i = mem_new(sizeof(*i));

	i->disk = d;
	list_init(&i->dirty);
	list_push(&d->inodes, &i->link);
	return i;
}

static void sector_free(struct sim_inode *i, struct sim_sector *s)
{
	CHECK(u64map_drop(&i->sectors, s->no) == s);
	list_remove(&s->link);
	mem_free(s->old);
	mem_free(s);
}

static void forget_versions(struct sim_inode *i)
{
	LIST_EACH_SAFE(&i->dirty, n, t)
		sector_free(i, container_of(n, struct sim_sector, link));
	i->n_lengths = i->n_cuts = 0;
	i->durable_size = i->size;
}

static uint64_t allocated(const struct sim_inode *i)
{
	uint64_t sum = 0;

	for (uint64_t p = 0; p < i->cap / SIM_PAGE; p++)
		sum += i->pages[p];
	return sum * SIM_PAGE;
}

void inode_drop(struct sim_inode *i)
{
	CHECK(i->refs > 0);
	if (--i->refs > 0)
		return;
	i->disk->used -= allocated(i);
	forget_versions(i);
	u64map_fini(&i->sectors);
	list_remove(&i->link);
	mem_free(i->lengths);
	mem_free(i->cuts);
	mem_free(i->pages);
	mem_free(i->bytes);
	mem_free(i);
}

static void reserve(struct sim_inode *i, uint64_t size)
{
	if (size <= i->cap)
		return;
	uint64_t cap = u64_max(i->cap * 2, (size + SIM_PAGE - 1) / SIM_PAGE * SIM_PAGE);

	i->bytes = mem_grow(i->bytes, cap);
	memset(i->bytes + i->cap, 0, cap - i->cap);
	i->pages = mem_grow(i->pages, cap / SIM_PAGE);
	memset(i->pages + i->cap / SIM_PAGE, 0, (cap - i->cap) / SIM_PAGE);
	i->cap = cap;
}

uint64_t inode_cost(const struct sim_inode *i, uint64_t at, uint64_t n)
{
	uint64_t cost = 0;

	for (uint64_t p = at / SIM_PAGE; n > 0 && p <= (at + n - 1) / SIM_PAGE; p++)
		cost += p >= i->cap / SIM_PAGE || i->pages[p] == 0 ? SIM_PAGE : 0;
	return cost;
}

static void set_length(struct sim_inode *i, uint64_t seq, uint64_t size)
{
	if (i->n_lengths == i->cap_lengths) {
		i->cap_lengths = i->cap_lengths == 0 ? 4 : i->cap_lengths * 2;
		i->lengths = mem_grow(i->lengths, i->cap_lengths * sizeof(*i->lengths));
	}
	i->lengths[i->n_lengths++] = (struct sim_length){seq, size};
	i->size = size;
}

/* Before the newest content of a sector is changed: it becomes a version that a crash may bring back. */
static void sector_keep(struct sim_inode *i, uint64_t no, uint64_t seq)
{
	const uint8_t *now = i->bytes + no * SIM_SECTOR;
	struct sim_sector *s = u64map_get(&i->sectors, no);

	if (s == NULL) {
		s = mem_new(sizeof(*s));
		s->no = no;
		memcpy(s->base, now, SIM_SECTOR);
		u64map_put(&i->sectors, no, s);
		list_push(&i->dirty, &s->link);
	} else if (!s->lost) {
		if (s->n_old == s->cap_old) {
			s->cap_old = s->cap_old == 0 ? 2 : s->cap_old * 2;
			s->old = mem_grow(s->old, s->cap_old * sizeof(*s->old));
		}
		s->old[s->n_old].seq = s->seq;
		memcpy(s->old[s->n_old++].data, now, SIM_SECTOR);
	}
	s->seq = seq;
	s->lost = false;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Changes bytes that are inside the file's memory, without its length. */
static void put_bytes(struct sim_inode *i, uint64_t seq, uint64_t at, const uint8_t *p, uint64_t n)
{
	while (n > 0) {
		uint64_t no = at / SIM_SECTOR, take = u64_min(n, SIM_SECTOR - at % SIM_SECTOR);

		/* Zeros over durable zeros change nothing: most of what zero() does. */
		if (p != NULL || u64map_get(&i->sectors, no) != NULL || !all_zero(i->bytes + at, take)) {
			sector_keep(i, no, seq);
			if (p != NULL)
				memcpy(i->bytes + at, p, take);
			else
				memset(i->bytes + at, 0, take);
		}
		p = p == NULL ? NULL : p + take;
		at += take;
		n -= take;
	}
}

void inode_write(struct sim_inode *i, uint64_t at, const uint8_t *p, uint64_t n)
{
	uint64_t seq = ++i->disk->seq;

	if (n == 0)
		return;
	reserve(i, at + n);
	for (uint64_t page = at / SIM_PAGE; page <= (at + n - 1) / SIM_PAGE; page++) {
		i->disk->used += i->pages[page] ? 0 : SIM_PAGE;
		i->pages[page] = 1;
	}
	put_bytes(i, seq, at, p, n);
	if (at + n > i->size)
		set_length(i, seq, at + n);
}

void inode_truncate(struct sim_inode *i, uint64_t size)
{
	uint64_t seq = ++i->disk->seq;

	if (size == i->size)
		return;
	reserve(i, size);
	if (size < i->size) {
		put_bytes(i, seq, size, NULL, i->size - size);
		if (i->n_cuts == i->cap_cuts) {
			i->cap_cuts = i->cap_cuts == 0 ? 2 : i->cap_cuts * 2;
			i->cuts = mem_grow(i->cuts, i->cap_cuts * sizeof(*i->cuts));
		}
		i->cuts[i->n_cuts++] = (struct sim_cut){seq, size / SIM_SECTOR};
		for (uint64_t p = (size + SIM_PAGE - 1) / SIM_PAGE; p < i->cap / SIM_PAGE; p++) {
			i->disk->used -= i->pages[p] ? SIM_PAGE : 0;
			i->pages[p] = 0;
		}
	}
	set_length(i, seq, size);
}

static void promote_sector(struct sim_inode *i, struct sim_sector *s, uint64_t seq)
{
	size_t k = 0;

	if (s->lost)
		return;
	if (s->seq <= seq) {
		sector_free(i, s);
		return;
	}
	while (k < s->n_old && s->old[k].seq <= seq)
		k++;
	if (k == 0)
		return;
	memcpy(s->base, s->old[k - 1].data, SIM_SECTOR);
	s->n_old -= k;
	memmove(s->old, s->old + k, s->n_old * sizeof(*s->old));
}

void inode_promote(struct sim_inode *i, uint64_t seq, uint64_t from, uint64_t to)
{
	size_t k = 0;

	LIST_EACH_SAFE(&i->dirty, n, t) {
		struct sim_sector *s = container_of(n, struct sim_sector, link);

		if (s->no >= from && s->no < to)
			promote_sector(i, s, seq);
	}
	while (k < i->n_lengths && i->lengths[k].seq <= seq)
		i->durable_size = i->lengths[k++].size;
	i->n_lengths -= k;
	if (k > 0)
		memmove(i->lengths, i->lengths + k, i->n_lengths * sizeof(*i->lengths));
	/* A cut is as durable as the length: no sector behind it keeps what stood there before. */
	for (k = 0; k < i->n_cuts && i->cuts[k].seq <= seq; k++) {
		LIST_EACH_SAFE(&i->dirty, n, t) {
			struct sim_sector *s = container_of(n, struct sim_sector, link);

			if (s->no >= i->cuts[k].sector)
				promote_sector(i, s, i->cuts[k].seq);
		}
	}
	i->n_cuts -= k;
	if (k > 0)
		memmove(i->cuts, i->cuts + k, i->n_cuts * sizeof(*i->cuts));
}

void inode_sync_failed(struct sim_inode *i, struct prng *r)
{
	uint64_t seq = i->disk->seq;

	LIST_EACH_SAFE(&i->dirty, n, t) {
		struct sim_sector *s = container_of(n, struct sim_sector, link);

		switch (prng_below(r, 3)) {
		case 0: promote_sector(i, s, seq); break;
		case 1: s->lost = true; break;
		default: break;
		}
	}
}

/* What a sector holds after the crash, given which cuts were kept: those up to 'kept_seq'. */
static const uint8_t *pick_version(const struct sim_inode *i, const struct sim_sector *s, struct prng *r, uint32_t new_permille, uint64_t kept_seq)
{
	static const uint8_t zeros[SIM_SECTOR];
	uint64_t low = 0, high = UINT64_MAX; /* versions with low <= seq < high are possible */

	for (size_t k = 0; k < i->n_cuts; k++) {
		if (s->no < i->cuts[k].sector)
			continue;
		if (i->cuts[k].seq <= kept_seq)
			low = i->cuts[k].seq;
		else
			high = u64_min(high, i->cuts[k].seq);
	}
	size_t first = 0, end = s->n_old;

	while (first < end && s->old[first].seq < low)
		first++;
	while (end > first && s->old[end - 1].seq >= high)
		end--;
	bool newest = s->seq >= low && s->seq < high && !(s->lost && new_permille < 1000);
	bool oldest = low == 0;

	if (newest && (prng_below(r, 1000) < new_permille || (!oldest && first == end)))
		return i->bytes + s->no * SIM_SECTOR;
	size_t n = end - first + oldest;

	if (n == 0)
		return zeros; /* cut, and nothing that came after it was written */
	size_t pick = new_permille == 0 && oldest ? 0 : prng_below(r, n);

	return oldest && pick == 0 ? s->base : s->old[first + pick - oldest].data;
}

void inode_crash(struct sim_inode *i, struct prng *r, uint32_t new_permille)
{
	uint64_t size = i->durable_size, kept_seq = 0;

	if (i->n_lengths > 0 && prng_below(r, 1000) < u64_max(new_permille, 500) && new_permille > 0) {
		size_t pick = new_permille >= 1000 ? i->n_lengths - 1 : prng_below(r, i->n_lengths);

		size = i->lengths[pick].size;
		kept_seq = i->lengths[pick].seq;
	}
	LIST_EACH(&i->dirty, n) {
		struct sim_sector *s = container_of(n, struct sim_sector, link);
		uint8_t *to = i->bytes + s->no * SIM_SECTOR;
		const uint8_t *from = pick_version(i, s, r, new_permille, kept_seq);

		if (from != to)
			memcpy(to, from, SIM_SECTOR);
	}
	reserve(i, size);
	if (size < i->cap)
		memset(i->bytes + size, 0, i->cap - size);
	i->size = size;
	forget_versions(i);
	/* Space is what the file has now; holes stay holes. */
	for (uint64_t p = (size + SIM_PAGE - 1) / SIM_PAGE; p < i->cap / SIM_PAGE; p++) {
		i->disk->used -= i->pages[p] ? SIM_PAGE : 0;
		i->pages[p] = 0;
	}
}
