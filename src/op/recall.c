#include "op/recall.h"

#include "base/amount.h"
#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "op/aside.h"
#include "op/commit.h"
#include "op/inbox.h"
#include "op/notify.h"
#include "op/reap.h"
#include "op/trace.h"

#include <inttypes.h>

/* Due holds of one tenant that are reaped in a turn; each can make room of its own. */
/* Of those in Postgres so many in a transaction, and so many transactions. */
enum { DUE_MAX = 512, PLACED_DUE_MAX = 256, PLACED_TURNS_MAX = 8 };

/* Of one commit: what came back may be lent to somebody else before the commit is decided. */
enum { RECALLS_MAX = 3 };

/* A row of the root whose idle capacity is to come back. */
struct lent {
    int shard;
    const struct quota_row *row;
    enum counter_recall_how how;
};

struct recalling {
    struct stores *stores;
    const struct lent *lent;
    size_t lent_count;
    struct counter_recall *recalls; /* each of one tenant, who has several if it has very many rows */
    size_t count;
    enum recovery reason; /* of the calls */
    bool flagged; /* the root wants to hear of each that was asked, also where nothing came back */
};

static int64_t tenant_of(const struct counter_recall *recall)
{
    return recall->totals[0].tenant_id;
}

/* For one more row of the tenant, and those after it. */
static struct counter_recall *add_recall(struct recalling *recalling, const struct lent *lent)
{
    struct counter_recall *recall = &recalling->recalls[recalling->count++];
    size_t room = 0;

    for (size_t i = 0; i < recalling->lent_count && room < COUNTER_PART_MAX; i++)
        room += recalling->lent[i].row->tenant_id == lent->row->tenant_id;
    *recall = (struct counter_recall){
        .call = {.kind = COUNTER_RECALL,
                 .view.shard = lent->shard,
                 .arena = &recalling->stores->scratch},
        .now_ms = stores_now_ms(recalling->stores),
        .lease_min_ms = recalling->stores->services->options.lease_min_ms,
        .totals = stores_scratch(recalling->stores, room, sizeof(struct counter_totals)),
        .spares = stores_scratch(recalling->stores, room, sizeof(struct counter_spare)),
    };
    return recall;
}

/* The later of two rows of a quota says more. False: the quota is not there yet. */
static bool merge_row(struct counter_recall *recall, const struct quota_row *row)
{
    for (size_t i = 0; i < recall->totals_count; i++) {
        struct counter_totals *totals = &recall->totals[i];

        if (!quota_ref_equal(totals->ref, row->ref))
            continue;
        if (quota_told_seq(row) > totals->used_seq || row->lease_id > totals->lease_id)
            *totals = totals_from_row(row);
        return true;
    }
    return false;
}

static void add_row(struct recalling *recalling, const struct lent *lent)
{
    struct counter_recall *with_room = NULL;

    for (size_t i = 0; i < recalling->count; i++) {
        struct counter_recall *recall = &recalling->recalls[i];

        if (tenant_of(recall) != lent->row->tenant_id)
            continue;
        if (merge_row(recall, lent->row))
            return;
        if (recall->totals_count < COUNTER_PART_MAX)
            with_room = recall;
    }
    if (!with_room)
        with_room = add_recall(recalling, lent);
    with_room->spares[with_room->totals_count] =
        (struct counter_spare){.how = lent->how, .room = amount_max(book_room(lent->row), 0)};
    with_room->totals[with_room->totals_count++] = totals_from_row(lent->row);
}

/* tenants_max: of how many tenants the rows are at most. */
static void collect(struct recalling *recalling, size_t tenants_max)
{
    size_t most = tenants_max + recalling->lent_count / COUNTER_PART_MAX;

    recalling->recalls = stores_scratch(recalling->stores, most, sizeof(*recalling->recalls));
    for (size_t i = 0; i < recalling->lent_count; i++)
        add_row(recalling, &recalling->lent[i]);
}

/* Its next commits go to the granter who has time. */
static void wait_alone(struct stores *stores, int64_t tenant_id)
{
    aside_put(stores->services->aside, tenant_id, stores_mono_us(stores));
}

/* Holds of these tenants that are due: what they hold is idle afterwards. */
static void reap_due(struct recalling *recalling)
{
    struct reap_want *wants = stores_scratch(recalling->stores, recalling->count, sizeof(*wants));
    size_t count = 0;

    for (size_t i = 0; i < recalling->count; i++) {
        int64_t tenant_id = tenant_of(&recalling->recalls[i]);
        bool known = false;

        for (size_t k = 0; k < count; k++)
            known |= wants[k].tenant_id == tenant_id;
        if (!known)
            wants[count++] = (struct reap_want){.shard = recalling->recalls[i].call.view.shard,
                                                .tenant_id = tenant_id,
                                                .max = DUE_MAX};
    }
    if (!reap_tenants(recalling->stores, wants, count))
        log_debug("granter", "recall.not_reaped");
    for (size_t i = 0; i < count; i++)
        if (wants[i].stuck)
            wait_alone(recalling->stores, wants[i].tenant_id);
}

/* Those with locked rows are left out; *count is what is left. */
static void leave_out_locked(struct stores *stores, struct ledger_return *returns, size_t *count)
{
    size_t kept = 0;

    for (size_t i = 0; i < *count; i++) {
        if (returns[i].locked)
            wait_alone(stores, returns[i].tenant_id);
        else
            returns[kept++] = returns[i];
    }
    *count = kept;
}

/* One transaction; where it ran into locked rows, one more without their tenants. */
static enum status record(struct stores *stores, struct ledger_return *returns, size_t count)
{
    enum status status = STATUS_CONFLICT;

    for (int i = 0; i < 2 && count > 0 && status == STATUS_CONFLICT; i++) {
        status = stores->table->return_run(stores->db, &stores->scratch, returns, count);
        if (status == STATUS_CONFLICT)
            leave_out_locked(stores, returns, &count);
    }
    if (status == STATUS_OK)
        trace_returns(stores->services->trace, stores_now_ms(stores), returns, count);
    return count > 0 ? status : STATUS_OK;
}

/* More than the root knows of. */
static bool came_back(const struct counter_totals *totals)
{
    return totals->took == TOTALS_TAKEN && totals->now.returned > totals->returned;
}

static bool is_told(const struct recalling *recalling, const struct counter_totals *totals)
{
    return recalling->flagged ? totals->took == TOTALS_TAKEN : came_back(totals);
}

/* What Redis gave back goes to the root. */
static enum status give_back(struct recalling *recalling)
{
    struct stores *stores = recalling->stores;
    struct ledger_return *returns = stores_scratch(stores, recalling->lent_count, sizeof(*returns));
    size_t count = 0;

    for (size_t i = 0; i < recalling->count; i++) {
        const struct counter_recall *recall = &recalling->recalls[i];

        if (recall->call.status != STATUS_OK || recall->call.guard != GUARD_PASSED)
            continue;
        for (size_t k = 0; k < recall->totals_count; k++)
            if (is_told(recalling, &recall->totals[k]))
                returns[count++] = (struct ledger_return){
                    .tenant_id = recall->totals[k].tenant_id,
                    .ref = recall->totals[k].ref,
                    .lease_id = recall->totals[k].lease_id,
                    .returned = recall->totals[k].now.returned,
                    .deadline_ms = recall->spares[k].lowered_deadline_ms,
                    .still = recall->spares[k].how == RECALL_STILL,
                };
    }
    if (FAULT("recall.between"))
        return STATUS_OK;
    return record(stores, returns, count);
}

/* Redis could not be asked about the op's tenant, because somebody else is making its shard ready. */
static bool left_busy(const struct recalling *recalling, const struct op_commit *op)
{
    for (size_t i = 0; i < recalling->count; i++)
        if (tenant_of(&recalling->recalls[i]) == op->op.plan->tenant_id)
            return stores_left_busy(recalling->stores, &recalling->recalls[i].call,
                                    recalling->reason);
    return false;
}

/* One round trip to Redis for all of them, one transaction for what came back. */
static enum status take_back(struct recalling *recalling)
{
    struct counter_call **calls =
        stores_scratch(recalling->stores, recalling->count, sizeof(struct counter_call *));

    for (size_t i = 0; i < recalling->count; i++)
        calls[i] = &recalling->recalls[i].call;
    /* Each call is looked at by itself. */
    (void)stores_run(recalling->stores, calls, recalling->count, &recalling->reason);
    return give_back(recalling);
}

/* --- for commits whose excess does not fit -------------------------------------------------------- */

/* Did Redis give anything back of the quotas of this tenant? */
static bool gave_back(const struct recalling *recalling, int64_t tenant_id)
{
    for (size_t i = 0; i < recalling->count; i++) {
        const struct counter_recall *recall = &recalling->recalls[i];

        if (tenant_of(recall) != tenant_id)
            continue;
        for (size_t k = 0; k < recall->totals_count; k++)
            if (came_back(&recall->totals[k]))
                return true;
    }
    return false;
}

static struct lent *list_lent(struct stores *stores, struct op_commit *const *ops, size_t ops_count,
                              size_t *ret_count)
{
    struct lent *lent;
    size_t max = 0, count = 0;

    for (size_t i = 0; i < ops_count; i++)
        max += ops[i]->item.quotas_count;
    lent = stores_scratch(stores, max, sizeof(*lent));
    for (size_t i = 0; i < ops_count; i++)
        for (size_t k = 0; k < ops[i]->item.quotas_count; k++)
            lent[count++] =
                (struct lent){ops[i]->op.plan->shard, &ops[i]->item.quotas[k], RECALL_ALL};
    *ret_count = count;
    return lent;
}

static bool holds_in_postgres(const struct op_commit *op)
{
    for (size_t i = 0; i < op->item.quotas_count; i++)
        if (op->item.quotas[i].pg_held > 0)
            return true;
    return false;
}

/* Until there are no more of the tenant. What cannot be reaped now keeps its units. */
static void reap_placed_of(struct stores *stores, int64_t tenant_id)
{
    const struct ledger_due_want want = {.tenant_id = tenant_id, .max = PLACED_DUE_MAX};
    enum status status = STATUS_OK;
    size_t found = PLACED_DUE_MAX;

    for (int i = 0; i < PLACED_TURNS_MAX && status == STATUS_OK && found == PLACED_DUE_MAX; i++) {
        struct ledger_due *dues;

        status = stores->table->placed_due(stores->db, &stores->scratch, &want, &dues, &found);
        if (status == STATUS_OK && found > 0)
            status = stores->table->placed_reap(stores->db, &stores->scratch, dues, found);
    }
    if (status == STATUS_CONFLICT)
        wait_alone(stores, tenant_id);
    if (status != STATUS_OK)
        log_debug("granter", "recall.not_reaped tenant_id=%" PRId64, tenant_id);
}

/* Due holds in Postgres, of each tenant once, if the rows say that there are any. */
static void reap_placed(struct stores *stores, struct op_commit *const *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t tenant_id = ops[i]->op.plan->tenant_id;
        size_t before = 0;

        while (before < i &&
               (ops[before]->op.plan->tenant_id != tenant_id || !holds_in_postgres(ops[before])))
            before++;
        if (before == i && holds_in_postgres(ops[i]))
            reap_placed_of(stores, tenant_id);
    }
}

void recall_ops(struct stores *stores, struct op_commit **ops, size_t count)
{
    struct recalling recalling = {.stores = stores};

    CHECK(count <= RECALL_OPS_MAX);
    if (count == 0)
        return;
    reap_placed(stores, ops, count);
    recalling.lent = list_lent(stores, ops, count, &recalling.lent_count);
    collect(&recalling, count);
    if (recalling.count > 0) {
        reap_due(&recalling);
        if (take_back(&recalling) != STATUS_OK)
            log_debug("granter", "recall.not_recorded");
    }
    for (size_t i = 0; i < count; i++) {
        if (left_busy(&recalling, ops[i]) && inbox_to_patient(&ops[i]->op, OP_RECALL))
            continue;
        ops[i]->recalls++;
        ops[i]->item.settle.recall_done =
            ops[i]->recalls >= RECALLS_MAX || !gave_back(&recalling, ops[i]->op.plan->tenant_id);
        commit_submit(ops[i]);
    }
}

/* --- for corrections whose excess does not fit ---------------------------------------------------- */

bool recall_tenant(struct stores *stores, const struct quota_row *rows, size_t count)
{
    struct recalling recalling = {.stores = stores};
    struct lent *lent = stores_scratch(stores, count, sizeof(*lent));
    bool placed = false;

    for (size_t i = 0; i < count && i < RECALL_ROWS_MAX; i++) {
        placed |= rows[i].pg_held > 0;
        lent[recalling.lent_count++] = (struct lent){rows[i].shard, &rows[i], RECALL_ALL};
    }
    if (recalling.lent_count == 0)
        return false;
    if (placed)
        reap_placed_of(stores, rows[0].tenant_id);
    recalling.lent = lent;
    collect(&recalling, 1);
    reap_due(&recalling);
    if (take_back(&recalling) != STATUS_OK)
        log_debug("desk", "recall.not_recorded");
    return gave_back(&recalling, rows[0].tenant_id);
}

/* --- for limits that were lowered ----------------------------------------------------------------- */

enum status recall_rows(struct stores *stores, const struct quota_row *rows, size_t count)
{
    struct recalling recalling = {.stores = stores, .lent_count = count, .flagged = true};
    struct lent *lent = stores_scratch(stores, count, sizeof(*lent));

    CHECK(count <= RECALL_ROWS_MAX);
    if (count == 0)
        return STATUS_OK;
    for (size_t i = 0; i < count; i++)
        lent[i] = (struct lent){rows[i].shard, &rows[i], RECALL_ALL};
    recalling.lent = lent;
    collect(&recalling, count);
    return take_back(&recalling);
}

/* --- what nobody has used lately ------------------------------------------------------------------ */

enum status recall_idle(struct stores *stores, const struct recall_want *wants, size_t count)
{
    struct recalling recalling = {.stores = stores, .lent_count = count};
    struct lent *lent = stores_scratch(stores, count, sizeof(*lent));

    CHECK(count <= RECALL_ROWS_MAX);
    if (count == 0)
        return STATUS_OK;
    for (size_t i = 0; i < count; i++)
        lent[i] = (struct lent){wants[i].row->shard, wants[i].row, wants[i].how};
    recalling.lent = lent;
    collect(&recalling, count);
    return take_back(&recalling);
}
