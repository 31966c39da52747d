#include "op/retake.h"

#include "base/amount.h"
#include "base/check.h"
#include "base/log.h"
#include "op/ask.h"
#include "op/authority.h"
#include "op/notify.h"
#include "op/recover.h"
#include "op/tenant.h"
#include "quota/lease.h"

#include <inttypes.h>

enum { ROUNDS_MAX = 4 };

static const char unchanged[] = "the expiry is unchanged";

static bool is_open(const struct retake *retake)
{
    return retake->end == RETAKE_OPEN;
}

/* --- what the root says ------------------------------------------------------------------------- */

static struct ledger_grant grant_of(struct stores *stores, const struct retake *retake, size_t i)
{
    const struct op *op = &retake->op->op;
    struct shard_view view = {0};

    /* Not known: no row has epoch 0, and we look again. */
    (void)authority_get(stores->services->authority, op->plan->shard, &view);
    return (struct ledger_grant){
        .tenant_id = op->plan->tenant_id,
        .shard = op->plan->shard,
        .epoch = view.epoch,
        .ref = retake->old->quotas[i].quota,
        .deadline_ms = retake->deadline_ms + stores->services->options.lease_min_ms,
        .over_too = true,
    };
}

/* What it is to stand under. */
static void list_wanted(struct stores *stores, struct retake *retake)
{
    for (size_t i = 0; i < retake->old->quotas_count; i++) {
        retake->grants[i] = grant_of(stores, retake, i);
        retake->grants[i].needed = retake->lends ? retake->old->quotas[i].units : 0;
        retake->grants[i].vanished_lease_id = retake->vanished[i];
        if (retake->fill.totals)
            grant_show(&retake->grants[i], &retake->fill.totals[i]);
    }
}

/* What it stood under. */
static void list_kept(struct stores *stores, struct retake *retake)
{
    for (size_t i = 0; i < retake->old->quotas_count; i++) {
        retake->grants[i] = grant_of(stores, retake, i);
        retake->grants[i].kept_lease_id = retake->old->quotas[i].lease_id;
    }
}

static void take_failure(struct retake *retake, const struct ask *ask)
{
    if (ask->locked) {
        retake->end = RETAKE_LOCKED;
        return;
    }
    retake->end = RETAKE_FAILED;
    op_fail_harmless(&retake->op->op, ask->status, ask->sqlstate, unchanged);
}

/* False: its rows cannot be used in this round, or it is at its end. */
static bool look_at_rows(struct stores *stores, struct retake *retake)
{
    for (size_t i = 0; i < retake->old->quotas_count; i++) {
        const struct ledger_grant *grant = &retake->grants[i];

        if (grant->bad && op_fail_if_bad(&retake->op->op)) {
            retake->end = RETAKE_FAILED;
            return false;
        }
        if (grant->missing) {
            retake->end = RETAKE_GONE;
            return false;
        }
        /* An epoch before the attempt's own, or a lease of one: the database went back. */
        if (grant->epoch_changed || grant->quota.epoch < retake->old->attempt.epoch ||
            lease_epoch(grant->quota.lease_id) < retake->old->attempt.epoch) {
            recover_look(stores, grant->shard);
            return false;
        }
    }
    return true;
}

/* Asks for all of them; sent[i]: the rows of the i-th are there and of this epoch. */
static void ask_rows(struct stores *stores, struct retake *const *retakes, size_t count, bool *sent)
{
    struct ask *asks = stores_scratch(stores, count, sizeof(*asks));

    for (size_t i = 0; i < count; i++)
        asks[i] = (struct ask){.tenant_id = retakes[i]->op->op.plan->tenant_id,
                               .grants = retakes[i]->grants,
                               .grants_count = retakes[i]->old->quotas_count};
    ask_root(stores, asks, count);
    for (size_t i = 0; i < count; i++) {
        sent[i] = asks[i].status == STATUS_OK && look_at_rows(stores, retakes[i]);
        if (asks[i].status != STATUS_OK)
            take_failure(retakes[i], &asks[i]);
    }
}

/* --- what Redis takes --------------------------------------------------------------------------- */

/* The old hold under the leases that the rows have now. */
static const struct hold *under_new_leases(struct stores *stores, const struct retake *retake)
{
    struct hold *hold = stores_scratch(stores, 1, sizeof(*hold));

    *hold = *retake->old;
    hold->deadline_ms = retake->deadline_ms;
    hold->quotas = stores_scratch(stores, hold->quotas_count, sizeof(*hold->quotas));
    for (size_t i = 0; i < hold->quotas_count; i++) {
        hold->quotas[i] = retake->old->quotas[i];
        hold->quotas[i].lease_id = retake->grants[i].quota.lease_id;
    }
    return hold;
}

/* What is set aside for it stays so for as long. */
static const struct hold *under_old_leases(const struct retake *retake)
{
    struct hold *hold = arena_zalloc(retake->op->op.arena, sizeof(*hold));

    CHECK(hold);
    *hold = *retake->old;
    hold->deadline_ms = retake->deadline_ms;
    return hold;
}

static struct counter_call *build_fill(struct stores *stores, struct retake *retake)
{
    struct counter_fill *fill = &retake->fill;

    *fill = (struct counter_fill){.call = {.kind = COUNTER_FILL,
                                           .view.shard = retake->op->op.plan->shard,
                                           .arena = &stores->scratch},
                                  .totals_count = retake->old->quotas_count,
                                  .totals = stores_scratch(stores, retake->old->quotas_count,
                                                           sizeof(*fill->totals))};
    for (size_t i = 0; i < fill->totals_count; i++)
        fill->totals[i] = totals_from_row(&retake->grants[i].quota);
    return &fill->call;
}

static struct counter_call *build_script(struct stores *stores, struct retake *retake)
{
    retake->script = (struct counter_retake){
        .call = {.kind = COUNTER_RETAKE,
                 .view.shard = retake->op->op.plan->shard,
                 .arena = retake->op->op.arena},
        .now_ms = stores_now_ms(stores),
        .tenant_id = retake->op->op.plan->tenant_id,
        .job_id = retake->op->job_id,
        .hold = under_new_leases(stores, retake),
        .was_there = !retake->lost,
    };
    return &retake->script.call;
}

static void stands(struct retake *retake, struct slice entry)
{
    struct op *op = &retake->op->op;
    struct hold *hold;

    if (hold_parse(op->arena, entry, &hold)) {
        retake->hold = hold;
        retake->end = RETAKE_STANDS;
        return;
    }
    op_fail_unreadable(op, true);
    retake->end = RETAKE_FAILED;
}

/* False: the script did not run, and the op has failed. */
static bool has_run(struct retake *retake, const struct counter_call *call, enum recovery reason)
{
    if (call->status == STATUS_OK && call->guard == GUARD_PASSED)
        return true;
    ask_fail_redis(&retake->op->op, call, reason, unchanged);
    retake->end = RETAKE_FAILED;
    return false;
}

/* The keys of leases that Redis lost: the next round sets these aside. */
static bool note_vanished(struct retake *retake)
{
    const struct counter_fill *fill = &retake->fill;
    bool found = false;

    if (fill->call.status != STATUS_OK || fill->call.guard != GUARD_PASSED)
        return false;
    for (size_t i = 0; i < fill->totals_count; i++) {
        if (fill->totals[i].took != TOTALS_VANISHED)
            continue;
        retake->vanished[i] = fill->totals[i].lease_id;
        found = true;
    }
    return found;
}

static void judge(struct retake *retake, enum recovery reason)
{
    if (!has_run(retake, &retake->script.call, reason))
        return;
    switch (retake->script.answer) {
    case RETAKEN_DONE:
        stands(retake, retake->script.entry);
        break;
    case RETAKEN_OTHER:
        retake->end = RETAKE_OTHER;
        break;
    case RETAKEN_SHORT: /* what is left under the leases was tried first */
        if (!note_vanished(retake) && retake->lends && retake->refused)
            retake->end = RETAKE_NO_ROOM;
        retake->lends = true;
        break;
    }
}

/* --- the rounds --------------------------------------------------------------------------------- */

static bool is_refused(const struct retake *retake)
{
    for (size_t i = 0; i < retake->old->quotas_count; i++)
        if (retake->grants[i].granted_units < retake->grants[i].needed)
            return true;
    return false;
}

static size_t list_open(struct retake *retakes, size_t count, struct retake **ret)
{
    size_t open = 0;

    for (size_t i = 0; i < count; i++)
        if (is_open(&retakes[i]))
            ret[open++] = &retakes[i];
    return open;
}

/* False: all are at their ends. */
static bool round_of(struct stores *stores, struct retake *retakes, size_t count)
{
    struct retake **open = stores_scratch(stores, count, sizeof(struct retake *));
    struct counter_call **calls = stores_scratch(stores, 2 * count, sizeof(struct counter_call *));
    bool *sent = stores_scratch(stores, count, sizeof(*sent));
    size_t open_count = list_open(retakes, count, open), calls_count = 0;
    enum recovery reason;

    if (open_count == 0)
        return false;
    for (size_t i = 0; i < open_count; i++)
        list_wanted(stores, open[i]);
    ask_rows(stores, open, open_count, sent);
    for (size_t i = 0; i < open_count; i++) {
        if (!sent[i])
            continue;
        open[i]->refused = is_refused(open[i]);
        calls[calls_count++] = build_fill(stores, open[i]);
        calls[calls_count++] = build_script(stores, open[i]);
    }
    if (calls_count > 0)
        (void)stores_run(stores, calls, calls_count, &reason); /* each is looked at by itself */
    for (size_t i = 0; i < open_count; i++)
        if (sent[i])
            judge(open[i], reason);
    return true;
}

/* --- without room ------------------------------------------------------------------------------- */

/* Its leases may still be there, current or set aside. */
static bool may_be_kept(const struct retake *retake)
{
    return retake->end == RETAKE_NO_ROOM || retake->end == RETAKE_CHANGING ||
           (retake->end == RETAKE_OTHER && retake->lost);
}

static bool is_kept(const struct retake *retake)
{
    for (size_t i = 0; i < retake->old->quotas_count; i++)
        if (!retake->grants[i].kept && retake->old->quotas[i].units > 0)
            return false;
    return true;
}

/* What Redis has given back of its leases, as the root knew it when it kept them. */
static const int64_t *list_returned(struct stores *stores, const struct retake *retake)
{
    int64_t *returned = stores_scratch(stores, retake->old->quotas_count, sizeof(*returned));

    for (size_t i = 0; i < retake->old->quotas_count; i++) {
        const struct quota_row *row = &retake->grants[i].quota;

        /* One that was set aside keeps its deadline. */
        returned[i] = row->lease_id == retake->old->quotas[i].lease_id ? row->returned : AMOUNT_MAX;
    }
    return returned;
}

/* Its deadline moves where it stands. */
static struct counter_call *build_moving(struct stores *stores, struct retake *retake)
{
    retake->moving = (struct counter_extend){
        .call = {.kind = COUNTER_EXTEND,
                 .view.shard = retake->op->op.plan->shard,
                 .arena = retake->op->op.arena},
        .now_ms = stores_now_ms(stores),
        .tenant_id = retake->op->op.plan->tenant_id,
        .job_id = retake->op->job_id,
        .attempt = retake->old->attempt,
        .deadline_ms = retake->deadline_ms,
        .lifetime_ms = stores->services->options.lifetime_max_ms,
        .kept = retake->old,
        .kept_returned = list_returned(stores, retake),
    };
    return &retake->moving.call;
}

static void judge_moving(struct retake *retake, enum recovery reason)
{
    if (!has_run(retake, &retake->moving.call, reason))
        return;
    switch (retake->moving.answer) {
    case EXTENDED_DONE:
        stands(retake, retake->moving.entry);
        break;
    case EXTENDED_ABSENT:
        retake->end = RETAKE_OTHER;
        break;
    case EXTENDED_DUE:
        retake->end = RETAKE_DUE;
        break;
    case EXTENDED_SHORT:
    case EXTENDED_OLD_LEASE: /* somebody took it under other leases */
        retake->end = RETAKE_CHANGING;
        break;
    }
}

static void keep(struct stores *stores, struct retake *retakes, size_t count)
{
    struct retake **list = stores_scratch(stores, count, sizeof(struct retake *));
    struct retake **moving = stores_scratch(stores, count, sizeof(struct retake *));
    struct counter_call **calls = stores_scratch(stores, count, sizeof(struct counter_call *));
    bool *sent = stores_scratch(stores, count, sizeof(*sent));
    size_t list_count = 0, moving_count = 0;
    enum recovery reason;

    for (size_t i = 0; i < count; i++) {
        if (!may_be_kept(&retakes[i]))
            continue;
        list_kept(stores, &retakes[i]);
        list[list_count++] = &retakes[i];
    }
    if (list_count == 0)
        return;
    ask_rows(stores, list, list_count, sent);
    for (size_t i = 0; i < list_count; i++) {
        if (!sent[i] || !is_kept(list[i]))
            continue;
        if (list[i]->lost) {
            list[i]->hold = under_old_leases(list[i]);
            list[i]->end = RETAKE_KEPT;
        } else {
            calls[moving_count] = build_moving(stores, list[i]);
            moving[moving_count++] = list[i];
        }
    }
    if (moving_count > 0)
        (void)stores_run(stores, calls, moving_count, &reason); /* each is looked at by itself */
    for (size_t i = 0; i < moving_count; i++)
        judge_moving(moving[i], reason);
}

void retake_holds(struct stores *stores, struct retake *retakes, size_t count)
{
    CHECK(2 * count <= STORES_CALLS_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t quotas = retakes[i].old->quotas_count;

        retakes[i].end = RETAKE_OPEN;
        retakes[i].grants = stores_scratch(stores, quotas, sizeof(struct ledger_grant));
        retakes[i].vanished = stores_scratch(stores, quotas, sizeof(int64_t));
    }
    for (int round = 0; round < ROUNDS_MAX && round_of(stores, retakes, count); round++)
        continue;
    for (size_t i = 0; i < count; i++)
        if (is_open(&retakes[i]))
            retakes[i].end = RETAKE_CHANGING;
    keep(stores, retakes, count);
}

void retake_undo(struct stores *stores, const struct counter_notify_job *jobs, const int *shards,
                 size_t count)
{
    struct counter_notify *notifies = stores_scratch(stores, count, sizeof(*notifies));
    struct counter_call **calls = stores_scratch(stores, count, sizeof(struct counter_call *));
    enum recovery reason;

    CHECK(count <= STORES_CALLS_MAX);
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        notifies[i] = (struct counter_notify){.call = {.kind = COUNTER_NOTIFY,
                                                       .view.shard = shards[i],
                                                       .arena = &stores->scratch},
                                              .now_ms = stores_now_ms(stores),
                                              .jobs_count = 1,
                                              .jobs = &jobs[i]};
        calls[i] = &notifies[i].call;
    }
    if (!stores_run(stores, calls, count, &reason))
        log_warn("granter", "retake.not_undone holds=%zu: they stand until their deadlines", count);
}
