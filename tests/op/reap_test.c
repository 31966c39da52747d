/* The reap of many tenants: bounded in quotas, and a shard that cannot be asked keeps no other one. */
#include "op/reap.h"

#include "op/recover.h"
#include "tests/op/pretend.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { TENANT = 7, SHARD = 2, AWAY = 1, HOLDS = 40, QUOTAS_OF_HOLD = HOLD_QUOTAS_MAX };

static struct pretend *pretend;
static bool same_quotas; /* all holds count against the same */
static bool reaped[HOLDS];
static size_t most_totals;

/* Hold i, as Redis has it. */
static struct slice entry_of(struct arena *arena, int i)
{
    static struct hold_quota quotas[QUOTAS_OF_HOLD];
    struct hold_meter meter = {SLICE("calls"), 1};
    struct hold hold = {.attempt = {1, 1 + i},
                        .deadline_ms = 1000 + i,
                        .created_ms = 1,
                        .mode = 1,
                        .meters_count = 1,
                        .meters = &meter,
                        .quotas_count = QUOTAS_OF_HOLD,
                        .quotas = quotas};

    for (int k = 0; k < QUOTAS_OF_HOLD; k++)
        quotas[k] = (struct hold_quota){
            .quota = {.limit_id = 1 + k + (same_quotas ? 0 : i * QUOTAS_OF_HOLD)},
            .lease_id = 1,
            .units = 1};
    return slice_from_cstr(hold_text(arena, &hold));
}

static struct slice job_of(struct arena *arena, int i)
{
    return slice_from_cstr(arena_printf(arena, "job-%d", i));
}

static void list_holds(struct counter_due *due)
{
    due->holds = arena_array(due->call.arena, HOLDS, sizeof(*due->holds));
    due->holds_count = 0;
    for (int i = 0; i < HOLDS && due->holds_count < due->max; i++)
        if (!reaped[i])
            due->holds[due->holds_count++] =
                (struct counter_due_hold){.job_id = job_of(due->call.arena, i),
                                          .entry = entry_of(due->call.arena, i)};
}

static void list_tenants(struct counter_due *due)
{
    due->tenants = arena_array(due->call.arena, 1, sizeof(*due->tenants));
    due->tenants[0] = TENANT;
    due->tenants_count = 1;
}

static void let_go(struct counter_reap *reap)
{
    cr_assert(reap->totals_count <= COUNTER_LIST_MAX && reap->jobs_count <= COUNTER_LIST_MAX,
              "%zu quotas and %zu holds in one script", reap->totals_count, reap->jobs_count);
    if (reap->totals_count > most_totals)
        most_totals = reap->totals_count;
    for (size_t i = 0; i < reap->jobs_count; i++)
        reaped[reap->jobs[i].attempt.seq - 1] = true;
    reap->removed_count = reap->jobs_count;
}

static void answer(struct counter_call *call)
{
    if (call->view.shard == AWAY)
        call->status = STATUS_UNAVAILABLE;
    else if (call->kind == COUNTER_REAP)
        let_go(container_of(call, struct counter_reap, call));
    else if (container_of(call, struct counter_due, call)->tenant_id == 0)
        list_tenants(container_of(call, struct counter_due, call));
    else
        list_holds(container_of(call, struct counter_due, call));
}

static int ref_order(const void *a, const void *b)
{
    return quota_ref_compare(*(const struct quota_ref *)a, *(const struct quota_ref *)b);
}

/* The rows of all quotas of the holds, each once. */
static enum status write_down(struct database *db, struct arena *arena,
                              struct ledger_reap_job *jobs, size_t count, int64_t *ret_reaped_to_ms,
                              struct quota_row **ret_rows, size_t *ret_rows_count)
{
    struct quota_ref *refs = arena_array(arena, count * QUOTAS_OF_HOLD, sizeof(*refs));
    size_t refs_count = 0, kept = 0;

    (void)db;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < jobs[i].hold->quotas_count; k++)
            refs[refs_count++] = jobs[i].hold->quotas[k].quota;
    qsort(refs, refs_count, sizeof(*refs), ref_order);
    *ret_rows = arena_array(arena, refs_count, sizeof(**ret_rows));
    for (size_t i = 0; i < refs_count; i++)
        if (i == 0 || !quota_ref_equal(refs[i], refs[i - 1]))
            (*ret_rows)[kept++] = (struct quota_row){.tenant_id = TENANT, .ref = refs[i]};
    *ret_rows_count = kept;
    *ret_reaped_to_ms = 1000000;
    return STATUS_OK;
}

static void begin(void)
{
    pretend = pretend_begin();
    pretend->table.reap_run = write_down;
    pretend->redis = answer;
}

static void end(void)
{
    pretend_end(pretend);
}

TestSuite(reap, .init = begin, .fini = end, .timeout = 30);

static struct reap_want reap_once(void)
{
    struct reap_want want = {.shard = SHARD, .tenant_id = TENANT, .max = HOLDS};

    arena_reset(&pretend->stores->scratch);
    cr_assert(reap_tenants(pretend->stores, &want, 1));
    return want;
}

Test(reap, holds_with_very_many_quotas_go_in_parts)
{
    int goes = 0;
    struct reap_want want;

    do {
        want = reap_once();
        cr_assert(want.removed > 0 && ++goes <= HOLDS);
    } while (want.more);
    for (int i = 0; i < HOLDS; i++)
        cr_assert(reaped[i], "hold %d", i);
    cr_assert_eq(most_totals, COUNTER_PART_MAX, "a part is as large as it may be");
    cr_assert_eq(goes, (HOLDS * QUOTAS_OF_HOLD + COUNTER_PART_MAX - 1) / COUNTER_PART_MAX);
}

Test(reap, holds_with_the_same_quotas_go_together)
{
    same_quotas = true;
    cr_assert_eq(reap_once().removed, HOLDS);
    cr_assert_eq(most_totals, QUOTAS_OF_HOLD);
}

Test(reap, a_shard_that_cannot_be_asked_keeps_no_other)
{
    const int shards[] = {AWAY, SHARD};
    struct reap_want wants[REAP_TENANTS_MAX], both[2];
    size_t count;

    cr_assert_not(reap_list(pretend->stores, shards, 2, 0, wants, &count));
    cr_assert_eq(count, 1, "nobody is listed because of shard %d", AWAY);
    cr_assert(wants[0].shard == SHARD && wants[0].tenant_id == TENANT);
    same_quotas = true;
    both[0] = (struct reap_want){.shard = AWAY, .tenant_id = 8, .max = HOLDS};
    both[1] = (struct reap_want){.shard = SHARD, .tenant_id = TENANT, .max = HOLDS};
    cr_assert_not(reap_tenants(pretend->stores, both, 2));
    cr_assert(both[0].removed == 0 && both[1].removed == HOLDS);
}
