/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/*
 * Private to wire/: JSON documents as peers send them, on top of jansson. Java's keys that are not strings (integers,
 * objects) are made into strings before parsing; bytes, depth and number of values are bounded before anything is
 * allocated for them.
 */
#ifndef WIRE_DOC_H
#define WIRE_DOC_H

#include <jansson.h>

#include "wire/bodies.h"

#define DOC_VALUES_SMALL 100000u      /* commas and brackets in what a client sends */
#define DOC_VALUES_LARGE 1500000u     /* in a broker's registration of about 100,000 topics */
#define DOC_BYTES_SMALL (1u << 20)

/* Parses one object (or array) into *d, which must be empty; d->json is the root. */
bool doc_parse(struct wire_doc *d, struct slice text, size_t max_bytes, size_t max_values, const char **ret_why);
/* Zeroed memory that lives as long as the document. */
void *doc_array(struct wire_doc *d, size_t count, size_t size);
/* Gives up *d and reports; for the failing ends of decoders. */
bool doc_refuse(struct wire_doc *d, const char **ret_why, const char *why);

/*
 * Members of an object. Absent and null give the default; a value of the wrong kind is a fault: *fault is set to the
 * key's name.
 */
struct slice doc_str(const json_t *o, const char *key, const char **fault);
int64_t doc_int(const json_t *o, const char *key, int64_t absent, const char **fault);  /* a number, or a string that holds one */
int64_t doc_range(const json_t *o, const char *key, int64_t absent, int64_t min, int64_t max, const char **fault);
bool doc_bool(const json_t *o, const char *key, bool absent, const char **fault);
/* A name out of 'names' or its index. */
int doc_enum(const json_t *o, const char *key, const char *const *names, int n, int absent, const char **fault);
/* An array or object; NULL when absent, null or (a fault) something else. */
json_t *doc_list(const json_t *o, const char *key, const char **fault);
json_t *doc_object(const json_t *o, const char *key, const char **fault);
static inline struct slice doc_text(const json_t *s) { return slice_of(json_string_value(s), json_string_length(s)); }

/* "name": with the comma before it, unless it is the first of its object. */
void doc_key(struct buf *b, bool first, const char *name);

#endif
