#include "tests/sim/table.h"

#include "base/check.h"
#include "base/hash.h"

#include <stdlib.h>

enum { BUCKETS_FIRST = 8 };

static struct slice copy(struct slice from)
{
    char *data = malloc(from.len + 1);

    CHECK(data);
    if (from.len > 0)
        memcpy(data, from.data, from.len);
    data[from.len] = '\0';
    return slice_of(data, from.len);
}

static struct member **link_of(const struct table *table, struct slice name, uint64_t hash)
{
    struct member **link = &table->buckets[hash & (table->buckets_count - 1)];

    while (*link && ((*link)->hash != hash || !slice_equal((*link)->name, name)))
        link = &(*link)->next;
    return link;
}

struct member *table_find(const struct table *table, struct slice name)
{
    if (table->count == 0)
        return NULL;
    return *link_of(table, name, hash_bytes(name.data, name.len));
}

static void grow(struct table *table)
{
    size_t count = table->buckets_count ? 2 * table->buckets_count : BUCKETS_FIRST;
    struct member **buckets = calloc(count, sizeof(struct member *));

    CHECK(buckets);
    for (size_t i = 0; i < table->buckets_count; i++) {
        struct member *next;

        for (struct member *member = table->buckets[i]; member; member = next) {
            next = member->next;
            member->next = buckets[member->hash & (count - 1)];
            buckets[member->hash & (count - 1)] = member;
        }
    }
    free(table->buckets);
    table->buckets = buckets;
    table->buckets_count = count;
}

struct member *table_add(struct table *table, struct slice name, bool *ret_is_new)
{
    uint64_t hash = hash_bytes(name.data, name.len);
    struct member **link;

    if (table->count >= table->buckets_count)
        grow(table);
    link = link_of(table, name, hash);
    *ret_is_new = !*link;
    if (!*link) {
        *link = calloc(1, sizeof(**link));
        CHECK(*link);
        (*link)->hash = hash;
        (*link)->name = copy(name);
        table->count++;
    }
    return *link;
}

static void free_member(struct member *member)
{
    free((void *)(uintptr_t)member->name.data);
    free((void *)(uintptr_t)member->text.data);
    free(member);
}

void table_remove(struct table *table, struct member *member)
{
    struct member **link = link_of(table, member->name, member->hash);

    CHECK(*link == member);
    *link = member->next;
    table->count--;
    free_member(member);
}

void table_clear(struct table *table)
{
    for (size_t i = 0; i < table->buckets_count; i++) {
        struct member *next;

        for (struct member *member = table->buckets[i]; member; member = next) {
            next = member->next;
            free_member(member);
        }
    }
    free(table->buckets);
    *table = (struct table){0};
}

struct member *table_next(const struct table *table, const struct member *after)
{
    size_t bucket = 0;

    if (after && after->next)
        return after->next;
    if (after)
        bucket = (after->hash & (table->buckets_count - 1)) + 1;
    for (; bucket < table->buckets_count; bucket++)
        if (table->buckets[bucket])
            return table->buckets[bucket];
    return NULL;
}

void member_set_text(struct member *member, struct slice text)
{
    struct slice before = member->text;

    member->text = copy(text);
    free((void *)(uintptr_t)before.data);
}
