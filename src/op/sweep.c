#include "op/sweep.h"

#include "base/check.h"
#include "base/fault.h"
#include "ledger/ledger.h"
#include "op/op.h"
#include "op/recover.h"
#include "op/settle.h"

enum {
    SWEEP_HOLDS_MAX = 128,  /* in one transaction */
    SWEEP_ROUNDS_MAX = 64,  /* of one tenant in one go */
    SWEEP_TENANTS_MAX = 64, /* of one shard in one go */
};

struct sweep {
    struct services *services;
    struct database *db;
    struct counter *counter;
    struct arena *arena;
    int shard;
    int64_t tenant_id;
};

static int64_t now_ms(const struct sweep *sweep)
{
    return estimate_now_ms(sweep->services->estimate, clock_mono_us(sweep->services->clock));
}

static void *allocate(const struct sweep *sweep, size_t count, size_t size)
{
    void *memory = arena_array(sweep->arena, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

static bool run(const struct sweep *sweep, struct counter_call *call)
{
    enum recovery reason;

    call->view.shard = sweep->shard;
    call->arena = sweep->arena;
    return run_counter_calls(sweep->services, sweep->db, sweep->counter, &call, 1, &reason);
}

/* Second half: Redis lets go of the holds, knowing what was spent. */
static bool let_go(const struct sweep *sweep, const struct ledger_reap_job *jobs, size_t count,
                   int64_t reaped_to_ms, const struct settle_quota *rows, size_t rows_count,
                   size_t *ret_removed)
{
    struct counter_settle_job *named = allocate(sweep, count, sizeof(*named));
    struct counter_totals *totals = allocate(sweep, rows_count, sizeof(*totals));
    struct counter_reap reap = {
        .call = {.kind = COUNTER_REAP},
        .now_ms = now_ms(sweep),
        .tenant_id = sweep->tenant_id,
        .reaped_to_ms = reaped_to_ms,
        .jobs_count = count,
        .jobs = named,
        .totals_count = rows_count,
        .totals = totals,
    };

    for (size_t i = 0; i < count; i++)
        named[i] = (struct counter_settle_job){.tenant_id = sweep->tenant_id,
                                               .job_id = jobs[i].job_id,
                                               .committed = jobs[i].committed,
                                               .attempt = jobs[i].hold->attempt};
    for (size_t i = 0; i < rows_count; i++)
        totals[i] = totals_from_row(&rows[i]);
    if (!run(sweep, &reap.call))
        return false;
    *ret_removed += reap.removed_count;
    return true;
}

/* One transaction and one script for up to SWEEP_HOLDS_MAX holds. *ret_found: how many were due. */
static bool reap_some(const struct sweep *sweep, size_t *ret_found, size_t *ret_removed)
{
    struct counter_due due = {
        .call = {.kind = COUNTER_DUE},
        .now_ms = now_ms(sweep),
        .tenant_id = sweep->tenant_id,
        .max = SWEEP_HOLDS_MAX,
    };
    struct ledger_reap_job *jobs;
    struct settle_quota *rows;
    size_t count = 0, rows_count;
    int64_t reaped_to_ms;

    if (!run(sweep, &due.call))
        return false;
    jobs = allocate(sweep, due.holds_count, sizeof(*jobs));
    for (size_t i = 0; i < due.holds_count; i++) {
        struct hold *hold;

        if (!hold_parse(sweep->arena, due.holds[i].entry, &hold))
            continue;
        jobs[count++] = (struct ledger_reap_job){
            .job_id = due.holds[i].job_id, .hold = hold, .text = due.holds[i].entry};
    }
    *ret_found = count;
    if (count == 0)
        return true;
    if (ledger_reap_run(sweep->db, sweep->arena, sweep->tenant_id, jobs, count, &reaped_to_ms,
                        &rows, &rows_count) != STATUS_OK)
        return false;
    estimate_floor(sweep->services->estimate, reaped_to_ms);
    if (FAULT("reap.between"))
        return false;
    return let_go(sweep, jobs, count, reaped_to_ms, rows, rows_count, ret_removed);
}

bool sweep_tenant(struct services *services, struct database *db, struct counter *counter,
                  struct arena *arena, int shard, int64_t tenant_id, size_t *ret_removed)
{
    struct sweep sweep = {services, db, counter, arena, shard, tenant_id};
    size_t found = SWEEP_HOLDS_MAX;

    *ret_removed = 0;
    for (int i = 0; i < SWEEP_ROUNDS_MAX && found == SWEEP_HOLDS_MAX; i++)
        if (!reap_some(&sweep, &found, ret_removed))
            return false;
    return true;
}

bool sweep_shard(struct services *services, struct database *db, struct counter *counter,
                 struct arena *arena, int shard, size_t *ret_removed)
{
    struct sweep sweep = {services, db, counter, arena, shard, 0};
    struct counter_due due = {
        .call = {.kind = COUNTER_DUE}, .now_ms = now_ms(&sweep), .max = SWEEP_TENANTS_MAX};

    *ret_removed = 0;
    if (!run(&sweep, &due.call))
        return false;
    for (size_t i = 0; i < due.tenants_count; i++) {
        size_t removed;

        if (!sweep_tenant(services, db, counter, arena, shard, due.tenants[i], &removed))
            return false;
        *ret_removed += removed;
    }
    return true;
}
