/* GetReconciliation, and the look that it shares with the janitor. */
#include "op/reconcile.h"

#include "op/admin.h"
#include "op/inbox.h"

#include <string.h>

enum {
    REFS_PER_CALL = 512
}; /* quotas that one script is about: Redis does nothing else meanwhile */

_Static_assert((int)REFS_PER_CALL <= (int)COUNTER_LIST_MAX, "");
_Static_assert((int)RECONCILE_KEYS_MAX <= 2 * (int)STORES_CALLS_MAX, "");

/* --- Redis ------------------------------------------------------------------------------------ */

struct asking {
    struct arena *arena;
    struct quota_ref *refs;
    struct counter_read *reads;
    struct counter_call **calls;
    size_t *firsts; /* of each call, the index of its first key */
    size_t count;
};

static bool goes_on(const struct asking *asking, const struct ledger_sums_key *keys, size_t i)
{
    return asking->count > 0 && keys[i].tenant_id == keys[i - 1].tenant_id &&
           asking->reads[asking->count - 1].refs_count < REFS_PER_CALL;
}

/* A call for each tenant, or some hundred quotas of it. */
static void prepare(struct asking *asking, const struct ledger_sums_key *keys, size_t count)
{
    asking->refs = arena_array(asking->arena, count, sizeof(*asking->refs));
    asking->reads = arena_array(asking->arena, count, sizeof(*asking->reads));
    asking->calls = arena_array(asking->arena, count, sizeof(struct counter_call *));
    asking->firsts = arena_array(asking->arena, count, sizeof(*asking->firsts));
    CHECK(asking->refs && asking->reads && asking->calls && asking->firsts);
    for (size_t i = 0; i < count; i++) {
        struct counter_read *read = &asking->reads[asking->count];

        asking->refs[i] = keys[i].ref;
        if (goes_on(asking, keys, i)) {
            asking->reads[asking->count - 1].refs_count++;
            continue;
        }
        *read = (struct counter_read){.call = {.kind = COUNTER_READ,
                                               .view.shard = keys[i].shard,
                                               .arena = asking->arena},
                                      .tenant_id = keys[i].tenant_id,
                                      .refs_count = 1,
                                      .refs = &asking->refs[i]};
        asking->calls[asking->count] = &read->call;
        asking->firsts[asking->count++] = i;
    }
}

static void ask_redis(struct stores *stores, struct arena *arena, struct reconcile_look *look)
{
    struct asking asking = {.arena = arena};
    enum recovery reason;

    prepare(&asking, look->keys, look->count);
    for (size_t done = 0; done < asking.count; done += STORES_CALLS_MAX) {
        size_t some = asking.count - done;

        if (some > STORES_CALLS_MAX)
            some = STORES_CALLS_MAX;
        if (!stores_run(stores, asking.calls + done, some, &reason))
            look->degraded = true;
    }
    for (size_t i = 0; i < asking.count; i++) {
        const struct counter_read *read = &asking.reads[i];

        if (read->call.status == STATUS_OK && read->call.guard == GUARD_PASSED)
            memcpy(look->redis + asking.firsts[i], read->states,
                   read->refs_count * sizeof(*look->redis));
    }
}

static struct drift_redis redis_of(const struct counter_quota *quota)
{
    return (struct drift_redis){.known = quota->exists,
                                .lease_id = quota->lease_id,
                                .granted = quota->granted,
                                .returned = quota->returned,
                                .spent = quota->spent,
                                .used = quota->used,
                                .debt = quota->debt,
                                .used_seq = quota->used_seq};
}

enum status reconcile_look(struct stores *stores, struct database *db, struct arena *arena,
                           struct reconcile_look *look)
{
    enum status status;

    CHECK(look->count <= RECONCILE_KEYS_MAX);
    look->degraded = false;
    look->redis = arena_array(arena, look->count + 1, sizeof(*look->redis));
    CHECK(look->redis);
    memset(look->redis, 0, (look->count + 1) * sizeof(*look->redis));
    if (!look->without_redis && look->count > 0)
        ask_redis(stores, arena, look);
    status = stores->table->sums_read(db, arena, look->keys, look->count, look->from, &look->sums);
    for (size_t i = 0; status == STATUS_OK && i < look->count; i++)
        look->sums[i].sums.redis = redis_of(&look->redis[i]);
    return status;
}

/* --- GetReconciliation ------------------------------------------------------------------------ */

static void take(struct op_reconciliation *op, const struct reconcile_look *look)
{
    op->degraded = look->degraded;
    op->quotas = arena_array(op->op.arena, look->count + 1, sizeof(*op->quotas));
    CHECK(op->quotas);
    for (size_t i = 0; i < look->count; i++) {
        struct op_reconciled *quota = &op->quotas[op->quotas_count];

        if (!look->sums[i].exists)
            continue;
        *quota = (struct op_reconciled){.sums = &look->sums[i], .redis_held = look->redis[i].held};
        quota->drifts_count = drift_find(&look->sums[i].sums, quota->drifts);
        op->quotas_count++;
    }
}

static enum status read_page(struct op_reconciliation *op, struct stores *stores,
                             struct database *db)
{
    struct ledger_sums_page page = {.tenant = op->name,
                                    .after = {.ref = op->after},
                                    .max = op->max};
    struct reconcile_look look = {.from = ENTRIES_FROM_LEDGER};
    struct ledger_sums_key *keys;
    bool exists;
    enum status status =
        stores->table->sums_list(db, op->op.arena, &page, &exists, &keys, &look.count);

    if (status != STATUS_OK)
        return status;
    if (!exists)
        op_fail(&op->op, FAILURE_UNKNOWN_TENANT, false, "there is no tenant \"%.*s\"",
                SLICE_ARGS(op->name));
    look.keys = keys;
    op->more = look.count == op->max;
    if (op->more)
        op->after = keys[look.count - 1].ref;
    status = reconcile_look(stores, db, op->op.arena, &look);
    if (status == STATUS_OK)
        take(op, &look);
    return status;
}

static void get_reconciliation(struct op *base, struct stores *stores)
{
    struct op_reconciliation *op = container_of(base, struct op_reconciliation, op);
    struct services *services = base->services;

    if (atomic_exchange(&services->verifying, true)) {
        op_fail(base, FAILURE_OVERLOADED, false,
                "this server is reading another tenant's books: try again when that is done");
    } else {
        struct database *db = stores_connect_patiently(services);
        enum status status = read_page(op, stores, db);

        if (status != STATUS_OK)
            op_fail_read(base, status, stores->table->database_sqlstate(db));
        stores->table->database_destroy(db);
        atomic_store(&services->verifying, false);
    }
    op_finish(base);
}

void op_reconciliation_start(struct op_reconciliation *op)
{
    inbox_to_desk(&op->op, get_reconciliation);
}
