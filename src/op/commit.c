#include "op/commit.h"

#include "base/check.h"
#include "op/granter.h"
#include "op/plans.h"
#include "op/quotas.h"
#include "op/returns.h"
#include "op/services.h"
#include "op/settles.h"
#include "op/worker.h"
#include "quota/token.h"
#include "stub/call.h"

static const char *verb(const struct op_commit *op)
{
    return op->item.settle.kind == SETTLE_COMMIT ? "recorded" : "released";
}

void commit_submit(struct op_commit *op)
{
    if (committer_submit(op->op.services->committer, &op->item))
        return;
    op_fail(&op->op, FAILURE_OVERLOADED, false,
            "too many commits wait for the database; nothing was %s: try again", verb(op));
    op_finish(&op->op);
}

void commit_looked_up(struct op_commit *op, bool asked, struct slice entry)
{
    struct hold *hold = NULL;

    op->item.redis_asked = asked;
    if (entry.len > 0) {
        char *copy = arena_strndup(op->op.arena, entry.data, entry.len);

        CHECK(copy);
        if (!hold_parse(op->op.arena, slice_of(copy, entry.len), &hold))
            hold = NULL;
    }
    op->item.settle.live = hold;
    commit_submit(op);
}

/* A token before its deadline names the hold that counts; otherwise Redis may know a newer one. */
static bool needs_lookup(struct op_commit *op)
{
    const struct services *services = op->op.services;

    if (!op->token)
        return true;
    return op->token->hold.deadline_ms <=
           estimate_now_ms(op->op.services->estimate, clock_mono_us(services->clock));
}

static void fill_item(struct op_commit *op)
{
    op->item.plan = op->op.plan;
    op->item.give_up_us = op->op.give_up_us;
    op->item.arena = op->op.arena;
    op->item.settle.tenant_id = op->op.plan->tenant_id;
    op->item.settle.job_id = op->job_id;
    op->item.settle.token = op->token ? &op->token->hold : NULL;
}

/* The tenant was not known to this server: load it here, look Redis up here, then commit. */
static void start_on_desk(struct op *base, void *thread)
{
    struct op_commit *op = container_of(base, struct op_commit, op);
    struct desk *desk = thread;
    struct slice entry = slice_of(NULL, 0);
    bool asked = false;

    if (!op_need_plan(&op->op, desk->db)) {
        op_finish(&op->op);
        return;
    }
    fill_item(op);
    if (!needs_lookup(op)) {
        commit_submit(op);
        return;
    }
    {
        struct slice job = op->job_id;
        struct counter_lookup lookup = {
            .call = {.kind = COUNTER_LOOKUP, .arena = op->op.arena},
            .tenant_id = op->op.plan->tenant_id,
            .jobs_count = 1,
            .jobs = &job,
        };
        struct counter_call *call = &lookup.call;
        bool recovering;

        asked = op_run_counter(op->op.services, desk->db, desk->counter, op->op.plan->shard,
                               &call, 1, &recovering);
        if (asked)
            entry = lookup.entries[0];
    }
    commit_looked_up(op, asked, entry);
}

void op_commit_start(struct op_commit *op, struct worker *worker)
{
    op->op.plan = plans_get(op->op.services->plans, op->op.tenant);
    if (!op->op.plan) {
        op_desk_start(&op->op, start_on_desk);
        return;
    }
    fill_item(op);
    if (needs_lookup(op))
        worker_add_lookup(worker, op);
    else
        commit_submit(op);
}

/* --- after the committer ----------------------------------------------------------------------------- */

static void fail_status(struct op_commit *op, enum status status)
{
    if (status == STATUS_TIMEOUT)
        op_fail(&op->op, FAILURE_DEADLINE, false, "the deadline passed; nothing was %s", verb(op));
    else if (status_may_have_happened(status))
        op_fail(&op->op, FAILURE_POSTGRES_UNAVAILABLE, true,
                "the database did not confirm; it may be %s: repeat the call to find out",
                verb(op));
    else
        op_fail(&op->op, FAILURE_POSTGRES_UNAVAILABLE, false,
                "the database cannot be reached; nothing was %s: try again (the hold can be "
                "extended meanwhile)",
                verb(op));
}

static void fail_unknown_job(struct op_commit *op)
{
    if (op->item.redis_asked || op->token)
        op_fail(&op->op, FAILURE_UNKNOWN_JOB, false,
                "no hold and no record of this job; after a loss of Redis only the "
                "reservation_id still names the hold");
    else
        op_fail(&op->op, FAILURE_REDIS_UNAVAILABLE, false,
                "Redis cannot be asked what this job holds; give the reservation_id, or try again");
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
        fail_unknown_job(op);
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
                "policy STRICT: meter \"%.*s\" lacks %lld units for the excess; the hold stays",
                SLICE_ARGS(item->overrun_meter), (long long)item->overrun_short_by);
        break;
    case SETTLE_MISMATCH:
        op_fail_field(&op->op, FAILURE_JOB_MISMATCH, "actual",
                      "the job was committed before with other amounts");
        break;
    case SETTLE_BAD_METERS:
        fail_bad_meters(op);
        break;
    case SETTLE_UNDECIDED:
    case SETTLE_WANTS_RECALL:
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

/* Redis is to hear of it in each of these cases: a hold may still stand there. */
static bool wants_settle(const struct op_commit *op)
{
    enum settle_outcome outcome = op->item.settle.outcome;

    return outcome == SETTLE_COMMITTED || outcome == SETTLE_RELEASED ||
           outcome == SETTLE_WAS_COMMITTED;
}

/* Sends it through Redis once more, before it is decided. */
static void recall(struct op_commit *op)
{
    op->op.run = granter_run_recall;
    if (granter_push(op->op.services->granter, &op->op))
        return;
    op->item.settle.recall_done = true;
    commit_submit(op);
}

/* True: what is left is the settle and, if op->answered, the answer. False: the op is gone. */
static bool conclude(struct op_commit *op)
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
    judge_outcome(op);
    if (!op->brief && op->op.error.failure == FAILURE_NONE)
        fill_quotas(op);
    if (!wants_settle(op)) {
        op_finish(&op->op);
        return false;
    }
    return true;
}

/* Answer and settle may run on two threads at once; the later one lets go of the memory. */
static void part_done(struct op_commit *op)
{
    if (atomic_fetch_sub(&op->parts, 1) == 1)
        op_release(&op->op);
}

/* A brief one is answered before its settle runs; what the others show comes from the settle. */
static void commit_return(struct op_commit *op)
{
    bool brief = op->brief;

    if (!conclude(op))
        return;
    brief = brief || op->op.error.failure != FAILURE_NONE;
    op->answered = brief;
    op->parts = brief ? 2 : 1;
    settles_add(op->op.services->settles, op);
    if (!brief)
        return; /* it may be gone already */
    op->op.done(&op->op);
    part_done(op);
}

void commit_settled(struct op_commit *op)
{
    if (!op->answered)
        op->op.done(&op->op);
    part_done(op);
}

/* --- back to a worker -------------------------------------------------------------------------------- */

static void take_returns(void *user, void *worker)
{
    struct services *services = user;
    struct commit_item *item, *next;

    (void)worker;
    for (item = returns_take(services->returns); item; item = next) {
        next = item->next;
        commit_return(container_of(item, struct op_commit, item));
    }
}

void commit_done(void *user, struct commit_item *const *items, size_t count)
{
    struct services *services = user;

    if (returns_add(services->returns, items, count))
        stub_call_post(container_of(items[0], struct op_commit, item)->op.user, take_returns,
                       services);
}
