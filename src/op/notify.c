#include "op/notify.h"

#include "base/amount.h"
#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "op/commit.h"
#include "op/inbox.h"
#include "op/notifies.h"
#include "op/quotas.h"
#include "op/stores.h"

#include <stdlib.h>
#include <string.h>

struct counter_totals totals_from_row(const struct quota_row *row)
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
        .used_seq = quota_told_seq(row),
        .over = amount_max(-book_room(row), 0),
        .period_end_ms = row->period_end_ms < AMOUNT_MAX ? row->period_end_ms : 0,
    };
}

bool grant_is_behind(const struct counter_totals *brought)
{
    return brought->took == TOTALS_TAKEN && brought->now.exists &&
           brought->now.lease_id == brought->lease_id && brought->now.returned > brought->returned;
}

void grant_show(struct ledger_grant *grant, const struct counter_totals *brought)
{
    if (!grant_is_behind(brought))
        return;
    grant->seen_lease_id = brought->lease_id;
    grant->seen_returned = brought->now.returned;
}

/* One script of them. */
struct notify_part {
    struct counter_notify notify;
    struct counter_notify_job *jobs;
    struct shard_view *views; /* what notify.call.views is; by tag only */
};

static void *scratch(struct arena *arena, size_t count, size_t size)
{
    void *memory = arena_array(arena, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

static bool belongs(const struct notify_turn *turn, int shard_a, int shard_b)
{
    if (turn->grouping == NOTIFY_BY_SHARD)
        return shard_a == shard_b;
    return counter_tag(shard_a) == counter_tag(shard_b);
}

/* All of an op goes into one script, which may be about COUNTER_PART_MAX quotas. */
static bool has_room(const struct notify_part *part, const struct op_commit *op)
{
    return part->notify.totals_count + op->item.quotas_count <= COUNTER_PART_MAX;
}

static struct notify_part *find_part(const struct notify_turn *turn, const struct op_commit *op)
{
    for (size_t i = turn->parts_count; i-- > 0;)
        if (belongs(turn, turn->parts[i].notify.call.view.shard, op->op.plan->shard))
            return has_room(&turn->parts[i], op) ? &turn->parts[i] : NULL;
    return NULL;
}

/* Room for what the ops from this one on have for its part. */
static struct notify_part *add_part(struct notify_turn *turn, struct arena *arena, int64_t now_ms,
                                    size_t first)
{
    struct notify_part *part = &turn->parts[turn->parts_count++];
    int shard = turn->ops[first]->op.plan->shard;
    size_t jobs = 0, totals = 0;

    for (size_t i = first; i < turn->ops_count && totals < COUNTER_PART_MAX; i++) {
        if (!belongs(turn, turn->ops[i]->op.plan->shard, shard))
            continue;
        totals += turn->ops[i]->item.quotas_count;
    }
    for (size_t i = first; i < turn->ops_count; i++)
        if (belongs(turn, turn->ops[i]->op.plan->shard, shard))
            jobs += 1 + turn->ops[i]->item.settle.fenced_count;
    part->jobs = scratch(arena, jobs, sizeof(*part->jobs));
    if (turn->grouping == NOTIFY_BY_TAG)
        part->views = scratch(arena, COUNTER_TAG_SHARDS - 1, sizeof(*part->views));
    part->notify = (struct counter_notify){
        .call = {.kind = COUNTER_NOTIFY, .view.shard = shard, .views = part->views, .arena = arena},
        .now_ms = now_ms,
        .jobs = part->jobs,
        .totals = scratch(arena, totals < COUNTER_PART_MAX ? totals : COUNTER_PART_MAX,
                          sizeof(struct counter_totals)),
    };
    return part;
}

static void add_shard(struct notify_part *part, int shard)
{
    struct counter_call *call = &part->notify.call;

    if (call->view.shard == shard)
        return;
    for (size_t i = 0; i < call->views_count; i++)
        if (part->views[i].shard == shard)
            return;
    part->views[call->views_count++].shard = shard;
}

static bool is_later(const struct quota_row *row, const struct counter_totals *totals)
{
    if (row->lease_id != totals->lease_id)
        return row->lease_id > totals->lease_id;
    if (quota_told_seq(row) != totals->used_seq)
        return quota_told_seq(row) > totals->used_seq;
    return row->granted > totals->granted;
}

static void merge_totals(struct counter_notify *notify, const struct quota_row *row)
{
    for (size_t i = 0; i < notify->totals_count; i++) {
        struct counter_totals *totals = &notify->totals[i];

        if (totals->tenant_id != row->tenant_id || !quota_ref_equal(totals->ref, row->ref))
            continue;
        if (is_later(row, totals))
            *totals = totals_from_row(row);
        return;
    }
    notify->totals[notify->totals_count++] = totals_from_row(row);
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
 * them. Of what no store held nothing was spent from a lease.
 */
static bool may_remove(const struct commit_item *item)
{
    const struct settle_record *record = item->settle.record;

    if (item->settle.made_record || !record || attempt_is_open(record->attempt))
        return true;
    for (size_t i = 0; i < record->entries_count; i++)
        for (size_t k = 0; k < record->entries[i].counted_count; k++)
            if (!has_row(item, record->entries[i].counted[k].ref))
                return false;
    return true;
}

static struct counter_notify_job job_of(const struct op_commit *op)
{
    const struct settle_item *item = &op->item.settle;

    return (struct counter_notify_job){
        .tenant_id = item->tenant_id,
        .job_id = item->job_id,
        .committed = item->record != NULL,
        .attempt = item->subject ? item->subject->attempt : (struct attempt){0},
    };
}

/* By job id both attempts may have ended that it held, in either place. */
static void add_jobs(struct notify_part *part, const struct op_commit *op)
{
    const struct settle_item *settle = &op->item.settle;
    struct counter_notify_job job = job_of(op);

    part->jobs[part->notify.jobs_count++] = job;
    for (size_t i = 0; i < settle->fenced_count; i++) {
        if (attempt_compare(settle->fenced[i], job.attempt) == 0)
            continue;
        job.attempt = settle->fenced[i];
        part->jobs[part->notify.jobs_count++] = job;
    }
}

/* What is held now, as the script left it. */
static void show_held(struct op_commit *op, const struct counter_notify *notify)
{
    for (size_t i = 0; i < op->item.quotas_count; i++) {
        const struct quota_row *row = &op->item.quotas[i];

        for (size_t k = 0; k < notify->totals_count; k++)
            if (notify->totals[k].tenant_id == row->tenant_id &&
                quota_ref_equal(notify->totals[k].ref, row->ref) && op->quotas)
                quota_set_held(&op->quotas[i], row, &notify->totals[k].now);
    }
}

void notify_turn_begin(struct notify_turn *turn, enum notify_grouping grouping,
                       struct services *services, struct arena *arena, struct op_commit **ops,
                       size_t count)
{
    int64_t now_ms = services_now_ms(services);

    *turn = (struct notify_turn){.grouping = grouping, .ops = ops, .ops_count = count};
    if (count > 0 && FAULT("notify.lost")) {
        turn->lost = true;
        return;
    }
    turn->parts = scratch(arena, count, sizeof(*turn->parts));
    turn->part_of = scratch(arena, count, sizeof(*turn->part_of));
    for (size_t i = 0; i < count; i++) {
        struct notify_part *part = find_part(turn, ops[i]);

        if (!part)
            part = add_part(turn, arena, now_ms, i);
        turn->part_of[i] = (size_t)(part - turn->parts);
        add_shard(part, ops[i]->op.plan->shard);
        if (may_remove(&ops[i]->item))
            add_jobs(part, ops[i]);
        for (size_t k = 0; k < ops[i]->item.quotas_count; k++)
            merge_totals(&part->notify, &ops[i]->item.quotas[k]);
    }
}

struct counter_call *notify_turn_call(struct notify_turn *turn, size_t i)
{
    return &turn->parts[i].notify.call;
}

bool notify_turn_ready(struct notify_turn *turn, size_t i, struct authority *authority)
{
    struct notify_part *part = &turn->parts[i];
    struct counter_call *call = &part->notify.call;
    bool ready = authority_get(authority, call->view.shard, &call->view);

    for (size_t k = 0; ready && k < call->views_count; k++)
        ready = authority_get(authority, part->views[k].shard, &part->views[k]) &&
                strcmp(part->views[k].replid, call->view.replid) == 0;
    return ready;
}

bool notify_turn_done(const struct notify_turn *turn, size_t i)
{
    const struct notify_part *part;

    if (turn->lost)
        return false;
    part = &turn->parts[turn->part_of[i]];
    if (part->notify.call.status != STATUS_OK || part->notify.call.guard != GUARD_PASSED)
        return false;
    show_held(turn->ops[i], &part->notify);
    return true;
}

/* Somebody else is making the shard ready, and whoever has the time tells it then. */
static bool left_to_patient(struct stores *stores, const struct notify_turn *turn, size_t i,
                            enum recovery reason)
{
    return !turn->lost &&
           stores_left_busy(stores, &turn->parts[turn->part_of[i]].notify.call, reason) &&
           inbox_to_patient(&turn->ops[i]->op, OP_NOTIFY);
}

void notify_ops(struct stores *stores, struct op_commit **ops, size_t count)
{
    struct counter_call *calls[STORES_CALLS_MAX];
    struct notify_turn turn;
    enum recovery reason = RECOVERED;

    CHECK(count <= STORES_CALLS_MAX);
    notify_turn_begin(&turn, NOTIFY_BY_SHARD, stores->services, &stores->scratch, ops, count);
    if (count > 0 && FAULT("notify.given_up")) {
        turn.lost = true;
        turn.parts_count = 0;
    }
    for (size_t i = 0; i < turn.parts_count; i++)
        calls[i] = notify_turn_call(&turn, i);
    if (turn.parts_count > 0 && !stores_run(stores, calls, turn.parts_count, &reason))
        log_debug("granter", "notify.incomplete reason=%d", (int)reason);
    for (size_t i = 0; i < count; i++) {
        if (notify_turn_done(&turn, i))
            commit_notified(ops[i]);
        else if (!left_to_patient(stores, &turn, i, reason))
            commit_not_notified(ops[i]);
    }
}

/* --- marks that are missing ----------------------------------------------------------------------- */

enum { MARKS_MAX = 64 };

/* A reap up to nothing: it marks the job, and lets go of no hold. */
static struct counter_reap marking(struct stores *stores, const struct notify_mark *mark,
                                   struct counter_notify_job *job)
{
    *job = (struct counter_notify_job){.tenant_id = mark->tenant_id,
                                       .job_id = slice_of(mark->job_id, mark->job_len),
                                       .committed = true};
    return (struct counter_reap){
        .call = {.kind = COUNTER_REAP, .view.shard = mark->shard, .arena = &stores->scratch},
        .now_ms = stores_now_ms(stores),
        .tenant_id = mark->tenant_id,
        .jobs_count = 1,
        .jobs = job,
    };
}

static bool has_run(const struct counter_call *call)
{
    return call->status == STATUS_OK && call->guard == GUARD_PASSED;
}

bool notify_marks(struct stores *stores)
{
    struct notifies *notifies = stores->services->notifies;
    struct notify_mark *marks[MARKS_MAX];
    struct counter_notify_job jobs[MARKS_MAX];
    struct counter_reap reaps[MARKS_MAX];
    struct counter_call *calls[MARKS_MAX];
    size_t count = notifies_take_marks(notifies, marks, MARKS_MAX), left = 0;
    bool lost = count > 0 && FAULT("notify.marks");
    enum recovery reason;

    for (size_t i = 0; i < count; i++) {
        reaps[i] = marking(stores, marks[i], &jobs[i]);
        calls[i] = &reaps[i].call;
    }
    if (count > 0 && !lost)
        (void)stores_run(stores, calls, count, &reason); /* each is looked at by itself */
    for (size_t i = 0; i < count; i++) {
        if ((!lost && has_run(calls[i])) || marks[i]->until_us < stores_mono_us(stores)) {
            free(marks[i]);
            continue;
        }
        notifies_give_back_mark(notifies, marks[i]);
        left++;
    }
    return count == MARKS_MAX && left == 0;
}
