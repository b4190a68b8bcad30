/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Objects that know what they are, and assertions that stay on in production.
 *
 * A struct that lives on the heap begins with (or contains) 'uint32_t magic'; CHECK_OBJ at the entry of a function proves that
 * the pointer is what its type claims. CHECK is for the programmer's mistakes only: the outside world gets an enum status.
 */
#ifndef BASE_OBJ_H
#define BASE_OBJ_H

#include <stddef.h>
#include <stdint.h>

/* Prints where and what, runs the panic printers, aborts. */
_Noreturn void panic_at(const char *file, int line, const char *func, const char *what, ...)
	__attribute__((format(printf, 4, 5)));
/* Registers a function that prints its object's state when the process panics; at most 16, the rest are ignored. */
void panic_printer_add(void (*print)(void *arg), void *arg);

#define PANIC(...) panic_at(__FILE__, __LINE__, __func__, __VA_ARGS__)
#define CHECK(cond) do { if (__builtin_expect(!(cond), 0)) PANIC("%s", #cond); } while (0)
#define CHECK_OBJ(p, m) CHECK((p) != NULL && (p)->magic == (m))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static inline uint64_t u64_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t u64_max(uint64_t a, uint64_t b) { return a > b ? a : b; }

#endif
