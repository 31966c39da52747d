/* What is true of every table of stages. For tests. */
#ifndef HOLDFAST_TESTS_STUB_STAGE_TABLE_H
#define HOLDFAST_TESTS_STUB_STAGE_TABLE_H

#include "base/stage.h"

/* Each stage has a name of its own, can be reached from the first, and leads to an end that has no step. */
void expect_ends(const struct stage_table *table, unsigned first);

/* The same, with the first stage as the end of them all. */
void expect_recycled(const struct stage_table *table, unsigned first);

#endif
