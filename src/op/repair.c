/*
 * RepairDrift: a person has accounts that differ put right (ledger/repair.h). Redis is read first; after the
 * database's COMMIT it is told of the leases that begin. If that is lost, the next grant tells it; until then
 * it admits inside the lease that was set aside.
 */
#include "op/admin.h"

#include "base/fault.h"
#include "op/inbox.h"
#include "op/notify.h"
#include "op/reconcile.h"

#include <string.h>

enum { TELL_MAX = COUNTER_LIST_MAX / 4 };

/* Only those of the limit that was named; returns how many. */
static size_t choose(const struct op_repair *op, const struct reconcile_look *look,
                     struct ledger_sums_key *keys, struct drift_redis *redis)
{
    struct drift drifts[DRIFT_KINDS];
    size_t count = 0;

    for (size_t i = 0; i < look->count; i++) {
        const struct ledger_sums *sums = &look->sums[i];

        if (!sums->exists || drift_find(&sums->sums, drifts) == 0 ||
            (op->limit_name.len > 0 && !slice_equal(sums->row.limit_name, op->limit_name)))
            continue;
        keys[count] = look->keys[i];
        redis[count++] = sums->sums.redis;
    }
    return count;
}

static bool is_done(const struct repaired *repaired)
{
    for (size_t i = 0; i < repaired->count; i++)
        if (repaired->repairs[i].done)
            return true;
    return false;
}

/* Redis has to hear of it: of a lease that began, or of other numbers of the one that it has. */
static bool is_news(const struct ledger_repaired *quota, const struct drift_redis *redis)
{
    if (!quota->exists || quota->row.lease_id == 0)
        return false;
    return quota->repaired.begun_count > 0 ||
           (is_done(&quota->repaired) && redis->known && redis->lease_id == quota->row.lease_id);
}

static void tell_redis(struct op_repair *op, struct stores *stores,
                       const struct ledger_repairing *how)
{
    struct counter_totals *totals = arena_array(op->op.arena, TELL_MAX, sizeof(*totals));
    struct counter_fill fill = {.call = {.kind = COUNTER_FILL, .arena = op->op.arena},
                                .now_ms = stores_now_ms(stores),
                                .totals = totals};
    struct counter_call *call = &fill.call;
    bool recovering;

    CHECK(totals);
    for (size_t i = 0; i < op->quotas_count; i++) {
        if (is_news(&op->quotas[i], &how->redis[i]))
            totals[fill.totals_count++] = totals_from_row(&op->quotas[i].row);
        if (fill.totals_count == TELL_MAX || (i + 1 == op->quotas_count && fill.totals_count > 0)) {
            op->degraded |= FAULT("repair.between") ||
                            !stores_run_shard(stores, how->keys[0].shard, &call, 1, &recovering);
            fill.totals_count = 0;
        }
    }
}

static void take_since(struct op_repair *op, const struct ledger_drift *kept, size_t count)
{
    op->since_ms = arena_zalloc(op->op.arena, (op->quotas_count + 1) * sizeof(*op->since_ms));
    CHECK(op->since_ms);
    for (size_t i = 0; i < op->quotas_count; i++)
        for (size_t r = 0; r < op->quotas[i].repaired.count; r++)
            for (size_t k = 0; k < count; k++)
                if (kept[k].tenant_id == op->quotas[i].row.tenant_id &&
                    quota_ref_equal(kept[k].ref, op->quotas[i].row.ref) &&
                    kept[k].drift.kind == op->quotas[i].repaired.repairs[r].drift.kind)
                    op->since_ms[i][r] = kept[k].since_ms;
}

static enum status repair_chosen(struct op_repair *op, struct stores *stores, struct database *db,
                                 const struct reconcile_look *look)
{
    struct arena *arena = op->op.arena;
    struct ledger_sums_key *keys = arena_array(arena, look->count + 1, sizeof(*keys));
    struct drift_redis *redis = arena_array(arena, look->count + 1, sizeof(*redis));
    struct ledger_repairing how = {.tenant = op->name,
                                   .note = op->note,
                                   .validate_only = op->validate_only,
                                   .keys = keys,
                                   .redis = redis};
    enum ledger_admin answer;
    enum status status;

    CHECK(keys && redis);
    how.count = choose(op, look, keys, redis);
    how.signer = chain_signer_create(op->op.services->token_keys);
    status = stores->table->repair(db, arena, &how, &op->quotas, &answer);
    chain_signer_destroy(how.signer);
    if (status != STATUS_OK)
        return status;
    op->quotas_count = how.count;
    if (answer == ADMIN_REQUEST_REUSED)
        (void)admin_done(&op->op, stores, status, answer);
    else if (answer == ADMIN_DONE && !op->validate_only)
        tell_redis(op, stores, &how);
    return STATUS_OK;
}

static enum status repair_page(struct op_repair *op, struct stores *stores, struct database *db)
{
    struct ledger_sums_page page = {.tenant = op->name,
                                    .after = {.ref = op->after},
                                    .max = op->max};
    struct reconcile_look look = {.from = ENTRIES_FROM_LEDGER};
    struct ledger_sums_key *keys;
    struct ledger_drift *kept;
    size_t kept_count;
    bool exists;
    enum status status =
        stores->table->sums_list(db, op->op.arena, &page, &exists, &keys, &look.count);

    if (status != STATUS_OK)
        return status;
    if (!exists)
        op_fail(&op->op, FAILURE_UNKNOWN_TENANT, false, "there is no tenant \"%.*s\"",
                SLICE_ARGS(op->name));
    look.keys = keys;
    op->looked_at = (int64_t)look.count;
    op->more = look.count == op->max;
    if (op->more)
        op->after = keys[look.count - 1].ref;
    status = reconcile_look(stores, db, op->op.arena, &look);
    op->degraded = look.degraded;
    if (status == STATUS_OK)
        status = stores->table->drifts_read(db, op->op.arena, &kept, &kept_count);
    if (status == STATUS_OK)
        status = repair_chosen(op, stores, db, &look);
    if (status == STATUS_OK)
        take_since(op, kept, kept_count);
    return status;
}

static void repair(struct op *base, struct stores *stores)
{
    struct op_repair *op = container_of(base, struct op_repair, op);
    struct services *services = base->services;

    if (atomic_exchange(&services->verifying, true)) {
        op_fail(base, FAILURE_OVERLOADED, false,
                "this server is reading another tenant's books: try again when that is done");
    } else {
        struct database *db = stores_connect_patiently(services);
        enum status status = repair_page(op, stores, db);

        if (status == STATUS_UNKNOWN && !stores->table->database_sqlstate(db)[0])
            op_fail(base, FAILURE_POSTGRES_UNAVAILABLE, true,
                    "the database did not confirm the repair; repeat it");
        else if (status != STATUS_OK)
            op_fail_status(base, status, stores->table->database_sqlstate(db),
                           "nothing was changed");
        stores->table->database_destroy(db);
        atomic_store(&services->verifying, false);
    }
    op_finish(base);
}

void op_repair_start(struct op_repair *op)
{
    inbox_to_desk(&op->op, repair);
}
