#include "op/extend_turn.h"

#include "base/check.h"
#include "base/fault.h"
#include "op/ask.h"
#include "op/dirty.h"
#include "quota/token.h"

/* --- what the database says, after Redis was changed -------------------------------------------- */

void turns_cut_off(struct turn *turns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (turn_needs_script(&turns[i]))
            op_fail(&turns[i].op->op, FAILURE_POSTGRES_UNAVAILABLE, true,
                    "the database did not answer; the expiry may be later now: repeat the call");
}

/* The job or its attempt is over. */
static void judge_facts(struct turn *turn)
{
    const struct hold *hold = turn_hold(turn);

    if (turn->facts.record) {
        turn_end(turn, EXTEND_COMMITTED);
        turn->op->op.error.record = turn->facts.record;
    } else if (hold && settle_is_fenced(&turn->facts, hold->attempt)) {
        turn_end(turn, EXTEND_RELEASED);
    } else if (!turn->op->token && !turn->placed && turn_is_placed(turn, &turn->facts) &&
               (!hold || hold->created_ms <= turn->facts.placed->created_ms)) {
        /* Another server has taken it a moment ago: now this one knows, and begins anew with that. */
        dirty_add(turn->op->op.services->dirty, turn->op->op.plan->tenant_id,
                  services_mono_us(turn->op->op.services));
        turn->locked = true;
    }
}

/*
 * It was not asked. What the script has moved stood in Redis, under leases that last: it may be said,
 * with a mark. A hold that would have to be written again may be one that was released.
 */
static void judge_unasked(struct turn *turn, const struct ask *ask)
{
    if (ask_is_refused(ask)) {
        op_fail_status(&turn->op->op, ask->status, ask->sqlstate, "the expiry may be later now");
        turn->op->op.error.effect_unknown = true;
    } else if (turn_is_done(turn)) {
        turn->op->degraded = true;
    } else if (turn->asked) {
        op_fail(&turn->op->op, FAILURE_POSTGRES_UNAVAILABLE, false,
                "the database cannot be asked what has become of the hold; %s: try again",
                EXTEND_UNCHANGED);
    } /* else the script did not run */
}

static void read_facts(struct stores *stores, struct turn **turns, size_t count,
                       void (*unasked)(struct turn *turn, const struct ask *ask))
{
    struct ask *asks = stores_scratch(stores, count, sizeof(*asks));

    for (size_t i = 0; i < count; i++)
        asks[i] = (struct ask){.tenant_id = turns[i]->op->op.plan->tenant_id,
                               .job_id = turns[i]->op->job_id};
    ask_record(stores, asks, count);
    for (size_t i = 0; i < count; i++) {
        turns[i]->facts = asks[i].facts;
        if (asks[i].status != STATUS_OK)
            unasked(turns[i], &asks[i]);
        else
            judge_facts(turns[i]);
    }
}

static bool is_degraded(const struct turn *turn)
{
    return turn_is_open(turn) && turn->op->degraded;
}

/*
 * Without the database: all that this server has acknowledged has reached Redis now. Is the hold still
 * there?
 */
static void look_again(struct granting *granting, struct turn *turns, size_t count)
{
    bool any = false;

    for (size_t i = 0; i < count; i++) {
        turns[i].looks = is_degraded(&turns[i]);
        any |= turns[i].looks;
    }
    if (!any)
        return;
    granting->collect(granting->user);
    turns_run(granting->stores, turns, count, is_degraded);
    for (size_t i = 0; i < count; i++) {
        if (!is_degraded(&turns[i]))
            continue;
        if (!turns[i].asked)
            op_fail(&turns[i].op->op, FAILURE_REDIS_UNAVAILABLE, true,
                    "Redis does not answer any more; the expiry may be later now: repeat the call");
        else if (!turn_is_done(&turns[i]))
            op_fail(&turns[i].op->op, FAILURE_POSTGRES_UNAVAILABLE, false,
                    "the hold is not there any more, and the database cannot be asked why");
    }
}

static void judge_absent(struct turn *turn)
{
    struct op_extend *op = turn->op;

    if (op->token && op->token->hold.deadline_ms > op->op.now_ms)
        turn->retakes = true;
    else if (op->token || turn->facts.expired || turn->facts.expired_unreadable ||
             turn->facts.placed || turn->facts.placed_unreadable)
        turn_end(turn, EXTEND_EXPIRED);
    else if (turn->facts.fences_count > 0)
        turn_end(turn, EXTEND_RELEASED);
    else
        turn_end(turn, EXTEND_UNKNOWN_JOB);
}

static void judge_script(struct turn *turn)
{
    if (!turn->asked) {
        ask_fail_redis(&turn->op->op, &turn->script.call, turn->reason, EXTEND_UNCHANGED);
        return;
    }
    switch (turn->script.answer) {
    case EXTENDED_DONE:
        turn_end(turn, EXTEND_MOVED);
        break;
    case EXTENDED_ABSENT:
        judge_absent(turn);
        break;
    case EXTENDED_DUE:
        turn_end(turn, EXTEND_EXPIRED);
        break;
    case EXTENDED_SHORT:
        turn_end(turn, EXTEND_CHANGING);
        break;
    case EXTENDED_OLD_LEASE:
        turn->retakes = true;
        break;
    }
}

/* --- holds that are to stand again -------------------------------------------------------------- */

static const struct hold *old_hold(const struct turn *turn)
{
    return turn->script.answer == EXTENDED_ABSENT ? &turn->op->token->hold : turn->found;
}

static int64_t retake_deadline_ms(struct turn *turn)
{
    const struct hold *old = old_hold(turn);
    int64_t deadline_ms = turn_last_ms(turn, old);

    turn->wanted_ms = turn_wanted_ms(turn);
    deadline_ms = deadline_ms < turn->wanted_ms ? deadline_ms : turn->wanted_ms;
    return deadline_ms > old->deadline_ms ? deadline_ms : old->deadline_ms;
}

/* Nobody says that the attempt has not ended meanwhile: one that was lost is lost again. */
static void retaken_unasked(struct turn *turn, const struct ask *ask)
{
    turn->undo = turn->retake->lost && turn->retake->end == RETAKE_STANDS;
    if (ask_is_refused(ask))
        op_fail_status(&turn->op->op, ask->status, ask->sqlstate, "the expiry may be later now");
    op_fail(&turn->op->op, FAILURE_POSTGRES_UNAVAILABLE, true,
            "the database did not answer; the expiry may be later now: repeat the call");
    turn->op->op.error.effect_unknown = true;
}

static void judge_retake(struct turn *turn)
{
    switch (turn->retake->end) {
    case RETAKE_STANDS:
    case RETAKE_KEPT:
        turn->found = turn->retake->hold;
        turn_end(turn, EXTEND_MOVED);
        break;
    case RETAKE_NO_ROOM:
        turn_end(turn, EXTEND_NO_ROOM);
        break;
    case RETAKE_OTHER:
        turn_end(turn, EXTEND_OTHER);
        break;
    case RETAKE_DUE:
        turn_end(turn, EXTEND_EXPIRED);
        break;
    case RETAKE_GONE:
        turn_end(turn, EXTEND_GONE);
        break;
    case RETAKE_CHANGING:
        turn_end(turn, EXTEND_CHANGING);
        break;
    case RETAKE_LOCKED:
    case RETAKE_FAILED:
    case RETAKE_OPEN:
        UNREACHABLE();
    }
}

/* Those that have ended meanwhile give up what was written for them. */
static void undo_ended(struct stores *stores, const struct turn *turns, size_t count)
{
    struct counter_notify_job *jobs = stores_scratch(stores, count, sizeof(*jobs));
    int *shards = stores_scratch(stores, count, sizeof(*shards));
    size_t jobs_count = 0;

    for (size_t i = 0; i < count; i++) {
        const struct turn *turn = &turns[i];
        const struct hold *hold = turn->retakes ? old_hold(turn) : turn->found;
        enum failure failure = turn->op->op.error.failure;

        if (turn->placed || !hold ||
            (failure != FAILURE_COMMITTED && failure != FAILURE_RELEASED && !turn->undo))
            continue;
        shards[jobs_count] = turn->op->op.plan->shard;
        jobs[jobs_count++] = (struct counter_notify_job){.tenant_id = turn->op->op.plan->tenant_id,
                                                         .job_id = turn->op->job_id,
                                                         .committed = failure == FAILURE_COMMITTED,
                                                         .attempt = hold->attempt};
    }
    retake_undo(stores, jobs, shards, jobs_count);
}

/* They stand, or do not; then whether their attempts have ended. */
static void retake_and_ask(struct stores *stores, struct turn **owners, struct retake *retakes,
                           size_t count)
{
    size_t left = 0;

    retake_holds(stores, retakes, count);
    for (size_t i = 0; i < count; i++) {
        owners[i]->retake = &retakes[i];
        owners[i]->locked = retakes[i].end == RETAKE_LOCKED;
        if (turn_is_open(owners[i]))
            owners[left++] = owners[i];
    }
    if (FAULT("extend.after_retake")) {
        for (size_t i = 0; i < left; i++)
            turns_cut_off(owners[i], 1);
        return;
    }
    read_facts(stores, owners, left, retaken_unasked);
    for (size_t i = 0; i < left; i++)
        if (turn_is_open(owners[i]))
            judge_retake(owners[i]);
}

static void retake(struct stores *stores, struct turn *turns, size_t count)
{
    struct retake *retakes = stores_scratch(stores, count, sizeof(*retakes));
    struct turn **owners = stores_scratch(stores, count, sizeof(struct turn *));
    size_t retakes_count = 0;

    for (size_t i = 0; i < count; i++) {
        if (!turn_is_open(&turns[i]) || !turns[i].retakes)
            continue;
        owners[retakes_count] = &turns[i];
        retakes[retakes_count++] = (struct retake){
            .op = turns[i].op,
            .old = old_hold(&turns[i]),
            .deadline_ms = retake_deadline_ms(&turns[i]),
            .lost = turns[i].script.answer == EXTENDED_ABSENT,
        };
    }
    if (retakes_count == 0)
        return;
    if (FAULT("extend.before_retake"))
        turns_cut_off(turns, count);
    else
        retake_and_ask(stores, owners, retakes, retakes_count);
}

/* The record is asked about all; then what the scripts said counts. */
void turns_judge(struct granting *granting, struct turn *turns, size_t count)
{
    struct stores *stores = granting->stores;
    struct turn **open = stores_scratch(stores, count, sizeof(struct turn *));
    size_t open_count = 0;

    for (size_t i = 0; i < count; i++)
        if (turn_needs_script(&turns[i]))
            open[open_count++] = &turns[i];
    read_facts(stores, open, open_count, judge_unasked);
    look_again(granting, turns, count);
    for (size_t i = 0; i < open_count; i++)
        if (turn_is_open(open[i]))
            judge_script(open[i]);
    retake(stores, turns, count);
    undo_ended(stores, turns, count);
}
