#include "op/commit.h"

#include "base/amount.h"
#include "base/check.h"
#include "base/stage.h"
#include "op/charge.h"
#include "op/inbox.h"
#include "op/plans.h"
#include "op/quotas.h"
#include "op/returns.h"
#include "op/services.h"
#include "op/notifies.h"
#include "op/stores.h"
#include "op/tenant.h"
#include "op/trace.h"
#include "quota/times.h"
#include "quota/token.h"
#include "stub/call.h"

static const char *verb(const struct op_commit *op)
{
    return op->item.settle.kind == SETTLE_RELEASE ? "released" : "recorded";
}

static bool is_charge(const struct op_commit *op)
{
    return op->item.settle.kind == SETTLE_CHARGE;
}

/* --- stages -------------------------------------------------------------------------------------- */

static bool has_plan(const void *owner)
{
    const struct op_commit *op = owner;

    return op->op.plan && op->item.plan == op->op.plan;
}

static bool has_no_plan(const void *owner)
{
    return !((const struct op_commit *)owner)->op.plan;
}

/* A job's id alone says nothing before Redis was asked. */
static bool may_be_decided(const void *owner)
{
    const struct op_commit *op = owner;

    return has_plan(op) && (op->token || op->item.settle.looked_up_ms > 0);
}

static bool wants_recall(const void *owner)
{
    const struct op_commit *op = owner;

    return op->item.settle.outcome == SETTLE_WANTS_RECALL && !op->item.settle.recall_done;
}

/* Redis is to hear of it in each of these cases: a hold may still stand there that has ended. */
static bool wants_notify(const void *owner)
{
    const struct op_commit *op = owner;

    if (op->item.status != STATUS_OK)
        return false;
    switch (op->item.settle.outcome) {
    case SETTLE_COMMITTED:
    case SETTLE_RELEASED:
    case SETTLE_WAS_COMMITTED:
    case SETTLE_MISMATCH:
        return true;
    case SETTLE_WAS_RELEASED:
        return op->item.settle.subject; /* that attempt's hold */
    case SETTLE_UNDECIDED:
    case SETTLE_UNKNOWN_JOB:
    case SETTLE_OTHER_SCOPE:
    case SETTLE_EXPIRED:
    case SETTLE_OVERRUN:
    case SETTLE_TOO_LARGE:
    case SETTLE_BAD_METERS:
    case SETTLE_WHICH_HOLD:
    case SETTLE_WANTS_RECALL:
    case SETTLE_WANTS_LOOKUP:
    case SETTLE_WANTS_PLAN:
    case SETTLE_INCONSISTENT:
        break;
    }
    return false;
}

/*
 * A late commit, or one of what no store held: nothing of it may be in Redis. Then no reap would ever bring
 * what the notify did not, and only the mark keeps a Reserve of the job from a new hold.
 */
static bool leaves_no_hold(const struct op_commit *op)
{
    const struct settle_record *record = op->item.settle.record;

    return record && (record->late || attempt_is_open(record->attempt));
}

/* From each of them op_finish may end it with an error. */
static const struct stage_rule rules[] = {
    [COMMIT_ARRIVED] = {"arrived",
                        STAGE(COMMIT_LOADING) | STAGE(COMMIT_LOOKING) | STAGE(COMMIT_DECIDING),
                        NULL},
    [COMMIT_LOADING] = {"loading", STAGE(COMMIT_LOOKING) | STAGE(COMMIT_DECIDING), has_no_plan},
    [COMMIT_LOOKING] = {"looking", STAGE(COMMIT_DECIDING), has_plan},
    [COMMIT_DECIDING] = {"deciding",
                         STAGE(COMMIT_LOADING) | STAGE(COMMIT_LOOKING) | STAGE(COMMIT_RECALLING) |
                             STAGE(COMMIT_TELLING),
                         may_be_decided},
    [COMMIT_RECALLING] = {"recalling", STAGE(COMMIT_DECIDING), wants_recall},
    [COMMIT_TELLING] = {"telling", STAGE_END, wants_notify},
};
static const struct stage_table stages = STAGE_TABLE("commit", rules);

static void go(struct op_commit *op, enum commit_stage to)
{
    stage_step(&stages, op->stage, to, op);
    op->stage = to;
}

/* --- before the committer ------------------------------------------------------------------------ */

void commit_submit(struct op_commit *op)
{
    go(op, COMMIT_DECIDING);
    if (op->item.settle.kind != SETTLE_RELEASE &&
        op_fail_if_read_only(&op->op,
                             is_charge(op)
                                 ? "nothing more was recorded"
                                 : "nothing more was recorded, and the hold stays (an earlier call "
                                   "without an answer may have been recorded)")) {
        op_finish(&op->op);
        return;
    }
    if (inbox_to_committer(op))
        return;
    op_fail(&op->op, FAILURE_OVERLOADED, false,
            "too many commits wait for the database; nothing was %s: try again", verb(op));
    op_finish(&op->op);
}

/* What time it is in the database, at least: the estimate, or what a transaction has read. */
static int64_t latest_ms(const struct op_commit *op)
{
    int64_t now_ms = services_now_ms(op->op.services);

    return op->item.now_ms > now_ms ? op->item.now_ms : now_ms;
}

void commit_looked_up(struct op_commit *op, bool asked, struct slice entry)
{
    struct hold *hold = NULL;

    op->item.settle.redis_asked = asked;
    op->item.settle.looked_up_ms = amount_max(latest_ms(op), 1); /* 0 would mean never */
    if (entry.len > 0) {
        char *copy = arena_strndup(op->op.arena, entry.data, entry.len);

        CHECK(copy);
        /* It holds something, and nobody can say what: as if Redis had not answered. */
        if (!hold_parse(op->op.arena, slice_of(copy, entry.len), &hold)) {
            hold = NULL;
            op->item.settle.redis_asked = false;
            op->unreadable = true;
        }
    }
    op->item.settle.live = hold;
    commit_submit(op);
}

/* A token before its deadline names the hold that counts; otherwise Redis may know a newer one. */
static bool needs_lookup(const struct op_commit *op)
{
    return !op->token || op->token->hold.deadline_ms <= latest_ms(op);
}

static void fill_item(struct op_commit *op)
{
    op->item.plan = op->op.plan;
    op->item.give_up_us = op->op.give_up_us;
    op->item.arena = op->op.arena;
    op->item.settle.tenant_id = op->op.plan->tenant_id;
    op->item.settle.job_id = op->job_id;
    if (!is_charge(op)) /* whose token charge_choose has made */
        op->item.settle.token = op->token ? &op->token->hold : NULL;
}

/* What the job holds, from here: a shard that this server knows nothing of yet is looked at first. */
static void look_up_on_desk(struct op *base, struct stores *stores)
{
    struct op_commit *op = container_of(base, struct op_commit, op);
    struct slice job = op->job_id;
    struct counter_lookup lookup = {
        .call = {.kind = COUNTER_LOOKUP, .arena = op->op.arena},
        .tenant_id = op->op.plan->tenant_id,
        .jobs_count = 1,
        .jobs = &job,
    };
    struct counter_call *call = &lookup.call;
    bool recovering, asked = stores_run_shard(stores, op->op.plan->shard, &call, 1, &recovering);

    commit_looked_up(op, asked && !lookup.lost[0], asked ? lookup.entries[0] : slice_of(NULL, 0));
}

void commit_look_up_elsewhere(struct op_commit *op)
{
    inbox_to_desk(&op->op, look_up_on_desk);
}

/* With the plan. False: Redis is to be asked which hold is meant. */
static bool submit_if_known(struct op_commit *op)
{
    fill_item(op);
    if (needs_lookup(op)) {
        go(op, COMMIT_LOOKING);
        return false;
    }
    commit_submit(op);
    return true;
}

/* The tenant was not known to this server, or not well enough: load it, look Redis up, then commit. */
static void start_on_desk(struct op *base, struct stores *stores)
{
    struct op_commit *op = container_of(base, struct op_commit, op);

    if (is_charge(op) ? !charge_plan(op, stores) : !op_need_plan(&op->op, stores)) {
        op_finish(&op->op);
        return;
    }
    if (!submit_if_known(op))
        look_up_on_desk(base, stores);
}

void op_commit_start(struct op_commit *op, struct inbox_worker *worker)
{
    op->op.plan = plans_get(op->op.services->plans, op->op.tenant);
    if (op->op.plan && is_charge(op) && !charge_choose(op)) {
        plan_unref(op->op.plan);
        op->op.plan = NULL;
    }
    if (!op->op.plan) {
        go(op, COMMIT_LOADING);
        inbox_to_desk(&op->op, start_on_desk);
        return;
    }
    if (!submit_if_known(op))
        inbox_to_worker(worker, &op->op, OP_LOOKUP);
}

/* --- after the committer ----------------------------------------------------------------------------- */

static void fail_status(struct op_commit *op, enum status status)
{
    op_fail_status(&op->op, status, op->item.sqlstate,
                   op->item.settle.kind == SETTLE_COMMIT
                       ? "nothing was recorded (the hold can be extended meanwhile)"
                   : is_charge(op) ? "nothing was recorded"
                                   : "nothing was released");
}

/* Which attempt is meant is not guessed: an older one may have expired, a newer one be live. */
static void fail_which_hold(struct op_commit *op)
{
    if (is_charge(op) && op->item.settle.redis_asked && op->selection != PLAN_SELECTED)
        charge_refuse(op);
    else if (op->item.settle.redis_asked)
        op_fail(&op->op, FAILURE_UNKNOWN_JOB, false,
                "Redis has lost its data since this job's last known attempt expired, and a newer "
                "one with it: only the reservation_id still names the hold");
    else if (op->unreadable)
        op_fail_unreadable(&op->op, false);
    else if (is_charge(op))
        op_fail(
            &op->op, FAILURE_REDIS_UNAVAILABLE, false,
            "it does not fit, or a meter has no limit, unless the job is held, and Redis cannot be "
            "asked; nothing was recorded: try again");
    else
        op_fail(&op->op, FAILURE_REDIS_UNAVAILABLE, false,
                "Redis cannot be asked what this job holds; nothing was %s: give the "
                "reservation_id, or try again",
                verb(op));
}

static void fail_bad_meters(struct op_commit *op)
{
    const struct settle_item *item = &op->item.settle;

    if (item->bad_actual < item->actual_count)
        op_fail_field(&op->op, FAILURE_INVALID_FIELD,
                      arena_printf(op->op.arena, "actual[%zu].meter", item->bad_actual),
                      "meter \"%.*s\" is not held by this job, or named twice",
                      SLICE_ARGS(item->bad_meter));
    else
        op_fail_field(&op->op, FAILURE_INVALID_FIELD, "actual",
                      "held meter \"%.*s\" is missing; name every held meter (0 means 0), or none "
                      "to commit the whole hold",
                      SLICE_ARGS(item->bad_meter));
}

/* Outcomes that are errors to the caller. */
static void judge_outcome(struct op_commit *op)
{
    const struct settle_item *item = &op->item.settle;

    switch (item->outcome) {
    case SETTLE_COMMITTED:
    case SETTLE_RELEASED:
        break;
    case SETTLE_UNKNOWN_JOB:
        if (is_charge(op))
            charge_refuse(op);
        else
            op_fail(&op->op, FAILURE_UNKNOWN_JOB, false,
                    "no hold and no record of this job; after a loss of Redis only the "
                    "reservation_id still names the hold");
        break;
    case SETTLE_WHICH_HOLD:
        fail_which_hold(op);
        break;
    case SETTLE_WAS_RELEASED:
        op_fail(&op->op, FAILURE_RELEASED, false,
                "this attempt was released before; reserve again to commit");
        break;
    case SETTLE_WAS_COMMITTED:
        op_fail(&op->op, FAILURE_COMMITTED, false, "the job is committed and stays so");
        op->op.error.record = item->record;
        break;
    case SETTLE_EXPIRED:
        op_fail(&op->op, FAILURE_EXPIRED, false,
                "the hold expired longer ago than late commits are accepted");
        break;
    case SETTLE_OVERRUN:
        op_fail(&op->op, FAILURE_OVERRUN, false,
                "policy STRICT: meter \"%.*s\" lacks %lld units for the excess; %s",
                SLICE_ARGS(item->overrun_meter), (long long)item->overrun_short_by,
                is_charge(op) ? "nothing was recorded" : "the hold stays");
        break;
    case SETTLE_TOO_LARGE:
        op_fail_field(&op->op, FAILURE_AMOUNT_BOUND, "actual",
                      "meter \"%.*s\": what is used and held would pass %lld (2^53-1), the most "
                      "that can be counted; nothing was recorded",
                      SLICE_ARGS(item->overrun_meter), (long long)AMOUNT_MAX);
        break;
    case SETTLE_INCONSISTENT:
        op_fail(&op->op, FAILURE_INTERNAL, false,
                "the rows of tenant \"%.*s\" contradict each other; nothing is decided for it until "
                "that is mended, nothing was %s; the server's log says more",
                SLICE_ARGS(op->op.tenant), verb(op));
        break;
    case SETTLE_MISMATCH:
        op_fail_field(&op->op, FAILURE_JOB_MISMATCH, "actual",
                      "the job was committed before with other amounts");
        break;
    case SETTLE_OTHER_SCOPE:
        op_fail_field(&op->op, FAILURE_JOB_MISMATCH, "scope",
                      "the job was reserved or recorded before with another scope");
        break;
    case SETTLE_BAD_METERS:
        fail_bad_meters(op);
        break;
    case SETTLE_UNDECIDED:
    case SETTLE_WANTS_RECALL:
    case SETTLE_WANTS_LOOKUP:
    case SETTLE_WANTS_PLAN:
        CHECK_MSG(false, "outcome %d has no answer", (int)item->outcome);
    }
}

static void fill_quotas(struct op_commit *op)
{
    size_t count = op->item.quotas_count;

    op->quotas = arena_array(op->op.arena, count ? count : 1, sizeof(*op->quotas));
    CHECK(op->quotas);
    op->quotas_count = count;
    for (size_t i = 0; i < count; i++)
        quota_from_row(&op->quotas[i], op->op.plan, &op->item.quotas[i]);
}

/* Through the granter, who makes room of what is due or idle, before it is decided. */
static void recall(struct op_commit *op)
{
    go(op, COMMIT_RECALLING);
    if (inbox_to_granter(&op->op, OP_RECALL))
        return;
    op->item.settle.recall_done = true;
    commit_submit(op);
}

/* The tenant's limits are others than this server knows: a Charge chooses its quotas anew. */
static void plan_anew(struct op_commit *op)
{
    plans_forget(op->op.services->plans, op->op.tenant);
    plan_unref(op->op.plan);
    op->op.plan = op->item.plan = NULL;
    go(op, COMMIT_LOADING);
    inbox_to_desk(&op->op, start_on_desk);
}

/* True: what is left is the notify and, if op->answered, the answer. False: the op is gone. */
static bool conclude(struct op_commit *op, struct inbox_worker *worker)
{
    op->op.now_ms = op->item.now_ms;
    if (op->item.status != STATUS_OK) {
        fail_status(op, op->item.status);
        op_finish(&op->op);
        return false;
    }
    if (op->item.settle.outcome == SETTLE_WANTS_RECALL) {
        recall(op);
        return false;
    }
    if (op->item.settle.outcome == SETTLE_WANTS_PLAN) {
        plan_anew(op);
        return false;
    }
    if (op->item.settle.outcome == SETTLE_WANTS_LOOKUP) {
        go(op, COMMIT_LOOKING);
        inbox_to_worker(worker, &op->op, OP_LOOKUP);
        return false;
    }
    judge_outcome(op);
    if (!op->brief && op->op.error.failure == FAILURE_NONE)
        fill_quotas(op);
    if (!wants_notify(op)) {
        op_finish(&op->op);
        return false;
    }
    go(op, COMMIT_TELLING);
    return true;
}

/* Answer and notify may run on two threads at once; the later one lets go of the memory. */
static void part_done(struct op_commit *op)
{
    if (atomic_fetch_sub(&op->parts, 1) == 1)
        op_release(&op->op);
}

/*
 * A brief one is answered before its notify runs; what the others show comes from the notify. One that
 * leaves no hold never is: if this server dies in between, its caller has no answer yet, and his repeat
 * notifies again.
 */
static void commit_return(struct op_commit *op, struct inbox_worker *worker)
{
    bool brief = op->brief;

    if (!conclude(op, worker))
        return;
    brief = (brief || op->op.error.failure != FAILURE_NONE) && !leaves_no_hold(op);
    op->answered = brief;
    op->parts = brief ? 2 : 1;
    notifies_add(op->op.services->notifies, op);
    if (!brief)
        return; /* it may be gone already */
    op->op.done(&op->op);
    part_done(op);
}

void commit_notified(struct op_commit *op)
{
    if (!op->answered)
        op->op.done(&op->op);
    part_done(op);
}

void commit_not_notified(struct op_commit *op)
{
    struct services *services = op->op.services;

    if (leaves_no_hold(op))
        notifies_keep_mark(services->notifies, op->item.settle.tenant_id, op->op.plan->shard,
                           op->job_id, services_mono_us(services) + FINAL_MARK_MS * INT64_C(1000));
    commit_notified(op);
}

/* --- back to a worker -------------------------------------------------------------------------------- */

static void take_returns(void *user, void *worker)
{
    struct services *services = user;
    struct commit_item *item, *next;

    for (item = returns_take(services->returns); item; item = next) {
        next = item->next;
        commit_return(container_of(item, struct op_commit, item), worker);
    }
}

void commit_done(void *user, struct commit_item *const *items, size_t count)
{
    struct services *services = user;

    trace_commits(services->trace, items, count);
    if (returns_add(services->returns, items, count))
        stub_call_post(container_of(items[0], struct op_commit, item)->op.user, take_returns,
                       services);
}
