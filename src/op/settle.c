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

/* One shard's settle. */
struct shard_settle {
    struct counter_settle settle;
    struct counter_settle_job *jobs;
};

static void *scratch(struct arena *arena, size_t count, size_t size)
{
    void *memory = arena_array(arena, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

static struct shard_settle *find_shard(const struct settle_turn *turn, const struct op_commit *op)
{
    for (size_t i = 0; i < turn->shards_count; i++)
        if (turn->shards[i].settle.call.view.shard == op->op.plan->shard)
            return &turn->shards[i];
    return NULL;
}

/* Room for what the ops from this one on have for its shard. */
static struct shard_settle *add_shard(struct settle_turn *turn, struct arena *arena, int64_t now_ms,
                                      size_t first)
{
    struct shard_settle *of = &turn->shards[turn->shards_count++];
    int shard = turn->ops[first]->op.plan->shard;
    size_t jobs = 0, totals = 0;

    for (size_t i = first; i < turn->ops_count; i++) {
        if (turn->ops[i]->op.plan->shard != shard)
            continue;
        jobs++;
        totals += turn->ops[i]->item.quotas_count;
    }
    of->jobs = scratch(arena, jobs, sizeof(*of->jobs));
    of->settle = (struct counter_settle){
        .call = {.kind = COUNTER_SETTLE, .view.shard = shard, .arena = arena},
        .now_ms = now_ms,
        .jobs = of->jobs,
        .totals = scratch(arena, totals, sizeof(struct counter_totals)),
    };
    return of;
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

void settle_turn_begin(struct settle_turn *turn, struct services *services, struct arena *arena,
                       struct op_commit **ops, size_t count)
{
    int64_t now_ms = estimate_now_ms(services->estimate, clock_mono_us(services->clock));

    *turn = (struct settle_turn){.ops = ops, .ops_count = count};
    turn->shards = scratch(arena, count, sizeof(*turn->shards));
    for (size_t i = 0; i < count; i++) {
        struct shard_settle *of = find_shard(turn, ops[i]);

        if (!of)
            of = add_shard(turn, arena, now_ms, i);
        if (may_remove(&ops[i]->item))
            of->jobs[of->settle.jobs_count++] = job_of(ops[i]);
        for (size_t k = 0; k < ops[i]->item.quotas_count; k++)
            merge_totals(&of->settle, &ops[i]->item.quotas[k]);
    }
}

struct counter_call *settle_turn_call(struct settle_turn *turn, size_t i)
{
    return &turn->shards[i].settle.call;
}

bool settle_turn_done(const struct settle_turn *turn, struct op_commit *op)
{
    const struct shard_settle *of = find_shard(turn, op);

    CHECK(of);
    if (of->settle.call.status != STATUS_OK || of->settle.call.guard != GUARD_PASSED)
        return false;
    show_held(op, &of->settle);
    return true;
}

void settle_ops(struct grant_context *context, struct op_commit **ops, size_t count)
{
    struct counter_call *calls[RUN_CALLS_MAX];
    struct settle_turn turn;
    enum recovery reason;

    CHECK(count <= RUN_CALLS_MAX);
    settle_turn_begin(&turn, context->services, &context->scratch, ops, count);
    for (size_t i = 0; i < turn.shards_count; i++)
        calls[i] = settle_turn_call(&turn, i);
    if (turn.shards_count > 0 &&
        !run_counter_calls(context->services, context->db, context->counter, calls,
                           turn.shards_count, &reason))
        log_debug("granter", "settle.incomplete reason=%d", (int)reason);
    for (size_t i = 0; i < count; i++) {
        (void)settle_turn_done(&turn, ops[i]);
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
        .totals = scratch(&context->scratch, count, sizeof(struct counter_totals)),
    };
    struct counter_call *call = &recall.call;
    struct ledger_return *returns = scratch(&context->scratch, count, sizeof(*returns));
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
