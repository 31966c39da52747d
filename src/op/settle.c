#include "op/settle.h"

#include "base/amount.h"
#include "base/check.h"
#include "base/log.h"
#include "ledger/ledger.h"
#include "op/commit.h"
#include "op/quotas.h"
#include "op/recover.h"

#include <string.h>

struct counter_totals totals_from_row(const struct settle_quota *row)
{
    return (struct counter_totals){
        .tenant_id = row->tenant_id,
        .ref = row->ref,
        .lease_id = row->lease_id,
        .granted = row->granted,
        .returned = row->returned,
        .spent = row->spent,
        .lease_deadline_ms = row->lease_deadline_ms,
        .used = row->committed + row->debt,
        .debt = row->debt,
        .used_seq = row->ledger_seq,
        .over = amount_max(-settle_room(row), 0),
    };
}

/* One shard's settle. Totals and jobs have room for everything of the turn. */
struct shard_settle {
    struct counter_settle settle;
    struct counter_settle_job *jobs;
};

static void *scratch(struct grant_context *context, size_t count, size_t size)
{
    void *memory = arena_array(&context->scratch, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

static struct shard_settle *settle_of(struct grant_context *context, struct shard_settle *settles,
                                      size_t *count, int shard, size_t jobs_max,
                                      size_t totals_max)
{
    struct shard_settle *settle;

    for (size_t i = 0; i < *count; i++)
        if (settles[i].settle.call.view.shard == shard)
            return &settles[i];
    settle = &settles[(*count)++];
    settle->jobs = scratch(context, jobs_max, sizeof(*settle->jobs));
    settle->settle = (struct counter_settle){
        .call = {.kind = COUNTER_SETTLE, .view.shard = shard, .arena = &context->scratch},
        .now_ms = estimate_now_ms(context->services->estimate,
                                  clock_mono_us(context->services->clock)),
        .jobs = settle->jobs,
        .totals = scratch(context, totals_max, sizeof(struct counter_totals)),
    };
    return settle;
}

static bool is_later(const struct settle_quota *row, const struct counter_totals *totals)
{
    if (row->lease_id != totals->lease_id)
        return row->lease_id > totals->lease_id;
    if (row->ledger_seq != totals->used_seq)
        return row->ledger_seq > totals->used_seq;
    return row->granted > totals->granted;
}

static void merge_totals(struct counter_settle *settle, const struct settle_quota *row)
{
    for (size_t i = 0; i < settle->totals_count; i++) {
        struct counter_totals *totals = &settle->totals[i];

        if (totals->tenant_id != row->tenant_id || !quota_ref_equal(totals->ref, row->ref))
            continue;
        if (is_later(row, totals))
            *totals = totals_from_row(row);
        return;
    }
    settle->totals[settle->totals_count++] = totals_from_row(row);
}

static bool has_row(const struct commit_item *item, struct quota_ref ref)
{
    for (size_t i = 0; i < item->quotas_count; i++)
        if (quota_ref_equal(item->quotas[i].ref, ref))
            return true;
    return false;
}

/*
 * A hold that was committed may go only together with what was spent: otherwise its units would be
 * free again in Redis. A repeat whose rows are not at hand leaves the hold to the reap, which reads
 * them. A late commit spent nothing of a lease.
 */
static bool may_remove(const struct commit_item *item)
{
    const struct settle_record *record = item->settle.record;

    if (item->settle.made_record || !record || record->late)
        return true;
    for (size_t i = 0; i < record->entries_count; i++)
        for (size_t k = 0; k < record->entries[i].counted_count; k++)
            if (!has_row(item, record->entries[i].counted[k].ref))
                return false;
    return true;
}

static struct counter_settle_job job_of(const struct op_commit *op)
{
    const struct settle_item *item = &op->item.settle;

    return (struct counter_settle_job){
        .tenant_id = item->tenant_id,
        .job_id = item->job_id,
        .committed = item->outcome == SETTLE_COMMITTED || item->outcome == SETTLE_WAS_COMMITTED,
        .attempt = item->subject ? item->subject->attempt : (struct attempt){0},
    };
}

/* What is held now, as the script left it. */
static void show_held(struct op_commit *op, const struct counter_settle *settle)
{
    for (size_t i = 0; i < op->item.quotas_count; i++) {
        const struct settle_quota *row = &op->item.quotas[i];

        for (size_t k = 0; k < settle->totals_count; k++)
            if (settle->totals[k].tenant_id == row->tenant_id &&
                quota_ref_equal(settle->totals[k].ref, row->ref) && op->quotas)
                quota_set_held(&op->quotas[i], row, &settle->totals[k].now, 0);
    }
}

void settle_ops(struct grant_context *context, struct op_commit **ops, size_t count)
{
    struct shard_settle *settles = scratch(context, count, sizeof(*settles));
    struct counter_call **calls = scratch(context, count, sizeof(struct counter_call *));
    size_t shards = 0, totals_max = 0;
    enum recovery reason;

    CHECK(count <= RUN_CALLS_MAX);
    for (size_t i = 0; i < count; i++)
        totals_max += ops[i]->item.quotas_count;
    for (size_t i = 0; i < count; i++) {
        struct shard_settle *settle = settle_of(context, settles, &shards,
                                                ops[i]->op.plan->shard, count, totals_max);

        if (may_remove(&ops[i]->item))
            settle->jobs[settle->settle.jobs_count++] = job_of(ops[i]);
        for (size_t k = 0; k < ops[i]->item.quotas_count; k++)
            merge_totals(&settle->settle, &ops[i]->item.quotas[k]);
    }
    for (size_t i = 0; i < shards; i++)
        calls[i] = &settles[i].settle.call;
    if (shards > 0 && !run_counter_calls(context->services, context->db, context->counter, calls,
                                         shards, &reason))
        log_debug("granter", "settle.incomplete reason=%d", (int)reason);
    for (size_t i = 0; i < count; i++) {
        const struct shard_settle *settle =
            settle_of(context, settles, &shards, ops[i]->op.plan->shard, 0, 0);

        if (settle->settle.call.status == STATUS_OK &&
            settle->settle.call.guard == GUARD_PASSED)
            show_held(ops[i], &settle->settle);
        commit_settled(ops[i]);
    }
}

void recall_op(struct grant_context *context, struct op_commit *op)
{
    size_t count = op->item.quotas_count;
    struct counter_recall recall = {
        .call = {.kind = COUNTER_RECALL,
                 .view.shard = op->op.plan->shard,
                 .arena = &context->scratch},
        .totals_count = count,
        .totals = scratch(context, count, sizeof(struct counter_totals)),
    };
    struct counter_call *call = &recall.call;
    struct ledger_return *returns = scratch(context, count, sizeof(*returns));
    size_t returned = 0;
    enum recovery reason;

    for (size_t i = 0; i < count; i++)
        recall.totals[i] = totals_from_row(&op->item.quotas[i]);
    if (count > 0 && run_counter_calls(context->services, context->db, context->counter, &call, 1,
                                       &reason))
        for (size_t i = 0; i < count; i++)
            if (recall.totals[i].took == TOTALS_TAKEN)
                returns[returned++] = (struct ledger_return){
                    .tenant_id = recall.totals[i].tenant_id,
                    .ref = recall.totals[i].ref,
                    .lease_id = recall.totals[i].lease_id,
                    .returned = recall.totals[i].now.returned,
                };
    if (returned > 0 &&
        ledger_return_run(context->db, &context->scratch, returns, returned) != STATUS_OK)
        log_debug("granter", "recall.not_recorded");
    op->item.settle.recall_done = true;
    commit_submit(op);
}
