/*
 * GetReservation: Redis is asked first, the record after it, so that a commit or release in between
 * is seen. The newest attempt that anything knows of is the answer:
 *
 *     recorded                                          COMMITTED
 *     newest of Redis' hold, that in Postgres, the reaped hold, the token
 *         fenced                                        RELEASED
 *         its deadline is past                          EXPIRED   (reaped or not)
 *         otherwise                                     HELD      (the token: Redis lost it)
 *     a fence newer than all these                      RELEASED
 */
#include "op/queries.h"

#include "base/check.h"
#include "counter/counter.h"
#include "ledger/ledger.h"
#include "op/inbox.h"
#include "op/services.h"
#include "op/stores.h"
#include "op/tenant.h"
#include "quota/token.h"

/* False: Redis cannot be asked, or lost the tenant's holds (*ret_recovering), so "none" says nothing. */
static bool look_up(struct op_get_reservation *op, struct stores *stores,
                    const struct hold **ret_hold, bool *ret_unreadable, bool *ret_recovering)
{
    struct op *base = &op->op;
    struct slice job = op->job_id;
    struct counter_lookup lookup = {
        .call = {.kind = COUNTER_LOOKUP, .arena = base->arena},
        .tenant_id = base->plan->tenant_id,
        .jobs_count = 1,
        .jobs = &job,
    };
    struct counter_call *call = &lookup.call;
    struct hold *hold = NULL;

    *ret_hold = NULL;
    *ret_unreadable = false;
    if (!stores_run_shard(stores, base->plan->shard, &call, 1, ret_recovering))
        return false;
    if (lookup.entries[0].len > 0 && hold_parse(base->arena, lookup.entries[0], &hold))
        *ret_hold = hold;
    else
        *ret_unreadable = lookup.entries[0].len > 0;
    /* A reservation id speaks for itself. */
    if (lookup.lost[0] && !*ret_hold && !op->token) {
        *ret_recovering = true;
        return false;
    }
    return true;
}

static void show_record(struct op_get_reservation *op, const struct settle_record *record)
{
    struct op *base = &op->op;
    struct op_reservation *found = &op->found;
    struct hold_meter *meters = arena_array(base->arena, record->entries_count, sizeof(*meters));
    size_t counted = 0;

    CHECK(meters);
    found->state = RESERVATION_COMMITTED;
    found->record = record;
    found->attempt = record->attempt;
    found->scope = record->scope;
    found->finish_ms = record->at_ms;
    found->meters = meters;
    found->meters_count = record->entries_count;
    for (size_t i = 0; i < record->entries_count; i++) {
        meters[i] = (struct hold_meter){record->entries[i].meter, record->entries[i].held};
        counted += record->entries[i].counted_count;
    }
    found->counted = arena_array(base->arena, counted, sizeof(*found->counted));
    CHECK(found->counted);
    for (size_t i = 0; i < record->entries_count; i++)
        for (size_t k = 0; k < record->entries[i].counted_count; k++) {
            struct quota_ref ref = record->entries[i].counted[k].ref;
            const struct limit *limit = plan_limit(base->plan, ref.limit_id);

            if (limit)
                found->counted[found->counted_count++] =
                    (struct op_counted){limit->name, ref.period_start_ms};
        }
}

/* Of a committed job a hold of the same attempt still tells when it was made. */
static void show_times(struct op_get_reservation *op, const struct hold *hold)
{
    if (!hold || attempt_compare(hold->attempt, op->found.attempt) != 0)
        return;
    op->found.created_ms = hold->created_ms;
    op->found.expire_ms = hold->deadline_ms;
}

static void show(struct op_get_reservation *op, const struct hold *live,
                 const struct settle_facts *facts)
{
    const struct hold *token = op->token ? &op->token->hold : NULL;
    /* An Extend gave the live hold a later deadline than the token of the same attempt has. */
    const struct hold *hold =
        settle_newer(settle_newer(facts->placed, settle_newer(live, facts->expired)), token);
    struct attempt fence = {0};

    if (facts->record) {
        show_record(op, facts->record);
        show_times(op, hold);
        return;
    }
    for (size_t i = 0; i < facts->fences_count; i++)
        if (attempt_compare(facts->fences[i], fence) > 0)
            fence = facts->fences[i];
    if (!hold && facts->fences_count == 0) {
        op_fail(&op->op, FAILURE_UNKNOWN_JOB, false, "no hold and no record of this job");
        return;
    }
    if (hold)
        reservation_from_hold(&op->op, hold, &op->found);
    if (!hold ||
        (attempts_share_place(fence, hold->attempt) && attempt_compare(fence, hold->attempt) > 0)) {
        op->found = (struct op_reservation){.job_id = op->job_id};
        op->found.attempt = fence;
        op->found.state = RESERVATION_RELEASED;
    } else if (settle_is_fenced(facts, hold->attempt)) {
        op->found.state = RESERVATION_RELEASED;
    } else {
        bool reaped =
            facts->expired && attempt_compare(facts->expired->attempt, hold->attempt) == 0;

        op->found.state =
            reaped || hold->deadline_ms <= op->op.now_ms ? RESERVATION_EXPIRED : RESERVATION_HELD;
    }
}

static void get(struct op *base, struct stores *stores)
{
    struct op_get_reservation *op = container_of(base, struct op_get_reservation, op);
    struct ledger_job job;
    const struct hold *live;
    bool asked, unreadable, recovering = false;
    enum status status;

    if (!op_need_plan(base, stores)) {
        op_finish(base);
        return;
    }
    op->found.job_id = op->job_id;
    asked = look_up(op, stores, &live, &unreadable, &recovering);
    job = (struct ledger_job){.tenant_id = base->plan->tenant_id, .job_id = op->job_id};
    status = stores->table->facts_read(stores->db, base->arena, &job, 1, &base->now_ms);
    if (status != STATUS_OK)
        op_fail_read(base, status, stores_sqlstate(stores));
    else if (!asked && !job.facts.record && !job.facts.placed)
        query_fail_counter(base, recovering);
    else if ((unreadable || job.facts.placed_unreadable) && !job.facts.record)
        op_fail_unreadable(base, false);
    else if (job.facts.expired_unreadable && !live && !job.facts.record)
        op_fail_read(base, STATUS_CORRUPT, "");
    else
        show(op, live, &job.facts);
    op_finish(base);
}

void op_get_reservation_start(struct op_get_reservation *op)
{
    inbox_to_desk(&op->op, get);
}
