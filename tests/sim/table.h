/*
 * Names to things, chained by hash: what the stand-in for Redis keeps keys, fields and members in.
 * Bytes are copied. One thread.
 */
#ifndef HOLDFAST_TESTS_SIM_TABLE_H
#define HOLDFAST_TESTS_SIM_TABLE_H

#include "base/slice.h"

#include <stddef.h>
#include <stdint.h>

struct value;

struct member {
    struct member *next;
    uint64_t hash;
    struct slice name;   /* owned */
    struct slice text;   /* owned: the value of a hash's field, or of a string key */
    double score;        /* of a sorted set's member */
    struct value *value; /* of a key; the table does not own it */
};

/* Zeroed: empty. */
struct table {
    struct member **buckets;
    size_t buckets_count;
    size_t count;
};

struct member *table_find(const struct table *table, struct slice name); /* or NULL */

/* The member of that name, new and zeroed if there was none. */
struct member *table_add(struct table *table, struct slice name, bool *ret_is_new);

void table_remove(struct table *table, struct member *member);
void table_clear(struct table *table);

/* Every member, in no order: NULL begins, NULL ends. Nothing may be added or removed meanwhile. */
struct member *table_next(const struct table *table, const struct member *after);

void member_set_text(struct member *member, struct slice text);

#endif
