/*
 * The rules of src/quota against the model, in random runs. HOLDFAST_SEED repeats one run;
 * HOLDFAST_RUNS asks for more of them.
 */
#include "world.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STEPS = 3000, RUNS = 64, MUTANT_RUNS_MAX = 60 };

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void run_from(uint64_t seed, uint64_t runs, struct world_counts *counts)
{
    for (uint64_t i = 0; i < runs; i++) {
        const char *complaint = world_run(seed + i, STEPS, MUTANT_NONE, counts);

        cr_assert_null(complaint, "HOLDFAST_SEED=%" PRIu64 ": %s", seed + i, complaint);
    }
}

Test(model, agrees_with_every_answer_in_runs_from_fixed_seeds)
{
    struct world_counts counts = {0};

    run_from(1, RUNS / 2, &counts);
    /* What the runs are there for does happen in them. */
    cr_assert(counts.rejects && counts.commits && counts.debts && counts.lates);
    cr_assert(counts.strict_refusals && counts.capped && counts.releases && counts.extends);
    cr_assert(counts.recalls && counts.losses && counts.events && counts.closed_leases);
    cr_assert(counts.late_elsewhere && counts.replays);
    cr_assert(counts.notifies_lost && counts.notifies_again);
    printf("%" PRId64 " reserves, %" PRId64 " refused; %" PRId64 " commits, %" PRId64
           " late, %" PRId64 " with debt; %" PRId64 " releases; %" PRId64 " events; %" PRId64
           " losses\n",
           counts.reserves, counts.rejects, counts.commits, counts.lates, counts.debts,
           counts.releases, counts.events, counts.losses);
}

Test(model, agrees_with_every_answer_in_runs_that_are_new_each_time)
{
    struct world_counts counts = {0};
    uint64_t seed = number_from("HOLDFAST_SEED", (uint64_t)time(NULL) * 1000);
    uint64_t runs = getenv("HOLDFAST_SEED") ? 1 : RUNS / 2;

    printf("HOLDFAST_SEED=%" PRIu64 "\n", seed);
    run_from(seed, number_from("HOLDFAST_RUNS", runs), &counts);
    cr_assert_gt(counts.commits, 0);
}

static void notices(enum mutant mutant)
{
    struct world_counts counts = {0};

    for (uint64_t seed = 1; seed <= MUTANT_RUNS_MAX; seed++) {
        const char *complaint = world_run(seed, STEPS, mutant, &counts);

        if (complaint) {
            printf("seed %" PRIu64 ": %s\n", seed, complaint);
            return;
        }
    }
    cr_assert_fail("nobody noticed");
}

Test(model, notices_a_settle_that_adds)
{
    notices(MUTANT_SETTLE_ADDS);
}

Test(model, notices_an_old_settle_that_overwrites)
{
    notices(MUTANT_SETTLE_OVERWRITES);
}

Test(model, notices_a_reap_that_does_not_read_what_was_spent)
{
    notices(MUTANT_REAP_WITHOUT_SPENT);
}

Test(model, notices_a_release_without_a_fence)
{
    notices(MUTANT_RELEASE_WITHOUT_FENCE);
}

Test(model, notices_a_late_removal_of_another_attempt)
{
    notices(MUTANT_RELEASE_OF_ANY_ATTEMPT);
}

Test(model, notices_a_removal_under_another_lease)
{
    notices(MUTANT_REMOVAL_IGNORES_LEASE);
}

Test(model, notices_a_return_that_subtracts)
{
    notices(MUTANT_RETURN_SUBTRACTS);
}

Test(model, notices_a_lost_key_that_is_filled_again)
{
    notices(MUTANT_MISSING_MEANS_NEW);
}

Test(model, notices_an_old_lease_without_quarantine)
{
    notices(MUTANT_OLD_LEASE_ENDS_AT_ONCE);
}
