/*
 * One tenant, its rows in a pretended Postgres, a stand-in for Redis, and a messenger between them
 * that loses, repeats and reorders. Random operations run the rules of src/quota on the rows, the
 * way the ledger and the stories do, and compare every answer with the model.
 */
#ifndef HOLDFAST_TESTS_MODEL_WORLD_H
#define HOLDFAST_TESTS_MODEL_WORLD_H

#include "standin.h"

#include <stdint.h>

struct world_counts {
    int64_t reserves, rejects, commits, debts, lates, strict_refusals, capped, releases, extends,
        recalls, losses, events, closed_leases, late_elsewhere, replays, notifies_lost,
        notifies_again;
};

/*
 * Runs `steps` operations from a seed. NULL: every answer was the model's. Otherwise what was not,
 * valid until the next call. Adds to *counts.
 */
const char *world_run(uint64_t seed, int steps, enum mutant mutant, struct world_counts *counts);

#endif
