#include "tests/stub/stage_table.h"

#include <criterion/criterion.h>
#include <string.h>

/* The stages that can be reached from this one, itself included. */
static uint64_t reach(const struct stage_table *table, unsigned from)
{
    uint64_t known = STAGE(from), before;

    do {
        before = known;
        for (unsigned i = 0; i < table->count; i++)
            if (known & STAGE(i))
                known |= table->rules[i].next;
    } while (known != before);
    return known;
}

static void expect_names(const struct stage_table *table)
{
    for (unsigned i = 0; i < table->count; i++) {
        cr_assert(table->rules[i].name, "%s: stage %u has no name", table->machine, i);
        for (unsigned j = 0; j < i; j++)
            cr_assert_str_neq(table->rules[i].name, table->rules[j].name);
    }
}

static void expect_from_first(const struct stage_table *table, unsigned first, uint64_t ends)
{
    const uint64_t all = STAGE(table->count) - 1;

    expect_names(table);
    cr_assert_eq(reach(table, first), all, "%s: a stage is never reached", table->machine);
    for (unsigned i = 0; i < table->count; i++)
        cr_assert(reach(table, i) & ends, "%s: %s never ends", table->machine, table->rules[i].name);
}

void expect_ends(const struct stage_table *table, unsigned first)
{
    uint64_t ends = 0;

    for (unsigned i = 0; i < table->count; i++)
        if (table->rules[i].next == STAGE_END)
            ends |= STAGE(i);
    expect_from_first(table, first, ends);
}

void expect_recycled(const struct stage_table *table, unsigned first)
{
    expect_from_first(table, first, STAGE(first));
}
