#include "op/extend.h"

#include "base/check.h"
#include "base/fault.h"
#include "op/extend_turn.h"
#include "op/inbox.h"
#include "op/plans.h"
#include "op/quotas.h"
#include "op/tenant.h"
#include "op/trace.h"
#include "quota/token.h"
#include "stub/call.h"

enum { SCRIPT_ROUNDS_MAX = 3 };

static const struct {
    enum failure failure;
    bool effect_unknown;
    const char *text;
} ends[EXTEND_ENDS] = {
    [EXTEND_MOVED] = {FAILURE_NONE, false, ""},
    [EXTEND_COMMITTED] = {FAILURE_COMMITTED, false, "the job is committed: nothing to extend"},
    [EXTEND_RELEASED] = {FAILURE_RELEASED, false, "this attempt was released: reserve again"},
    [EXTEND_EXPIRED] = {FAILURE_EXPIRED, false,
                        "the hold has expired: commit it late, or reserve again"},
    [EXTEND_UNKNOWN_JOB] = {FAILURE_UNKNOWN_JOB, false, "no hold of this job"},
    [EXTEND_NO_ROOM] =
        {FAILURE_CONTENTION, false,
         "the hold was lost with its lease, and there is no room for it to stand again "
         "now; the expiry is unchanged: try again, or commit before it"},
    [EXTEND_OTHER] = {FAILURE_CONTENTION, false,
                      "another attempt of the job holds, or this one ended meanwhile; the expiry is "
                      "unchanged: try again"},
    [EXTEND_CHANGING] = {FAILURE_CONTENTION, false,
                         "the leases of the hold kept changing; the expiry is unchanged: try again"},
    [EXTEND_GONE] = {FAILURE_NO_LIMIT, false,
                     "the database does not have a limit or period that the hold counts against; the "
                     "expiry is unchanged: commit before it"},
    [EXTEND_UNMOVED] = {FAILURE_INTERNAL, true,
                        "Redis answered with another expiry than it was asked for; read the hold "
                        "(GetReservation) to learn what holds"},
};

static bool failed(const struct turn *turn)
{
    return turn->op->op.error.failure != FAILURE_NONE;
}

bool turn_is_open(const struct turn *turn)
{
    return !failed(turn) && !turn->locked;
}

bool turn_needs_script(const struct turn *turn)
{
    return turn_is_open(turn) && !turn->placed;
}

void turn_end(struct turn *turn, enum extend_end how)
{
    if (ends[how].failure != FAILURE_NONE)
        op_fail(&turn->op->op, ends[how].failure, ends[how].effect_unknown, "%s", ends[how].text);
}

/* Fails the ops that are over before anything is asked. */
static void refuse_some(struct stores *stores, struct turn *turns, size_t count)
{
    int64_t mono_us = stores_mono_us(stores);

    for (size_t i = 0; i < count; i++) {
        struct op *op = &turns[i].op->op;

        op->now_ms = stores_now_ms(stores);
        if (op->give_up_us <= mono_us)
            op_fail(op, FAILURE_DEADLINE, false, "the deadline passed; %s", EXTEND_UNCHANGED);
        else
            (void)(op_fail_if_bad(op) || op_fail_if_read_only(op, EXTEND_UNCHANGED));
    }
}

/* --- what is wanted ----------------------------------------------------------------------------- */

const struct hold *turn_hold(const struct turn *turn)
{
    return turn->found ? turn->found : turn->op->token ? &turn->op->token->hold : NULL;
}

/* As a Reserve's: no longer than the server allows, and each limit of the hold. */
int64_t turn_wanted_ms(const struct turn *turn)
{
    const struct op *op = &turn->op->op;
    const struct hold *hold = turn_hold(turn);
    int64_t ttl_ms = turn->op->ttl_ms;
    int64_t most_ms = turn->placed ? TTL_ASKED_MAX_MS : op->services->options.ttl_max_ms;

    if (ttl_ms > most_ms)
        ttl_ms = most_ms;
    for (size_t i = 0; hold && i < hold->quotas_count; i++) {
        const struct limit *limit = plan_limit(op->plan, hold->quotas[i].quota.limit_id);

        if (limit && limit->max_ttl_ms > 0 && ttl_ms > limit->max_ttl_ms)
            ttl_ms = limit->max_ttl_ms;
    }
    return op->now_ms + ttl_ms;
}

/* No hold lives longer than this. */
int64_t turn_last_ms(const struct turn *turn, const struct hold *hold)
{
    return hold->created_ms + turn->op->op.services->options.lifetime_max_ms;
}

/* By job alone, its limits are known when the hold is. */
static void look_first(struct turn *turns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        turns[i].looks = turn_needs_script(&turns[i]) && !turns[i].op->token &&
                         turns[i].op->op.plan->has_max_ttl;
}

/* --- the script --------------------------------------------------------------------------------- */

/* By job alone the newest is meant; once more, the one that was found. */
static struct attempt attempt_of(const struct turn *turn)
{
    if (turn->op->token)
        return turn->op->token->hold.attempt;
    return turn->looks && turn->found ? turn->found->attempt : (struct attempt){0};
}

static void build_script(struct stores *stores, struct turn *turn)
{
    struct op_extend *op = turn->op;

    op->op.now_ms = services_now_ms(stores->services);
    if (!turn->looks)
        turn->wanted_ms = turn_wanted_ms(turn);
    turn->script = (struct counter_extend){
        .call = {.kind = COUNTER_EXTEND, .view.shard = op->op.plan->shard, .arena = op->op.arena},
        .now_ms = op->op.now_ms,
        .tenant_id = op->op.plan->tenant_id,
        .job_id = op->job_id,
        .attempt = attempt_of(turn),
        .deadline_ms = turn->looks ? 0 : turn->wanted_ms, /* a deadline never moves back */
        .lifetime_ms = stores->services->options.lifetime_max_ms,
    };
}

static void land_script(const struct stores *stores, struct turn *turn, enum recovery reason)
{
    const struct counter_call *call = &turn->script.call;
    struct hold *hold;

    turn->reason = reason;
    turn->asked = call->status == STATUS_OK && call->guard == GUARD_PASSED;
    turn->found = NULL;
    turn->locked = stores_left_busy(stores, call, reason);
    /* The entry that comes with ABSENT is another attempt's. */
    if (!turn->asked || turn->script.answer == EXTENDED_ABSENT || turn->script.entry.len == 0)
        return;
    if (hold_parse(turn->op->op.arena, turn->script.entry, &hold))
        turn->found = hold;
    else
        op_fail_unreadable(&turn->op->op, true);
}

bool turn_is_done(const struct turn *turn)
{
    return turn_is_open(turn) && turn->asked && turn->script.answer == EXTENDED_DONE;
}

bool turn_is_short(const struct turn *turn)
{
    return turn_is_open(turn) && turn->asked && turn->script.answer == EXTENDED_SHORT &&
           turn->found;
}

static bool is_shown(const struct turn *turn)
{
    return turn_is_open(turn) && turn->shown;
}

void turns_run(struct stores *stores, struct turn *turns, size_t count,
               bool (*wanted)(const struct turn *turn))
{
    struct counter_call **calls = stores_scratch(stores, count, sizeof(struct counter_call *));
    bool *sent = stores_scratch(stores, count, sizeof(*sent));
    size_t calls_count = 0;
    enum recovery reason;

    for (size_t i = 0; i < count; i++) {
        sent[i] = wanted(&turns[i]);
        if (!sent[i])
            continue;
        build_script(stores, &turns[i]);
        calls[calls_count++] = &turns[i].script.call;
    }
    if (calls_count == 0)
        return;
    (void)stores_run(stores, calls, calls_count, &reason); /* each is looked at by itself */
    for (size_t i = 0; i < count; i++)
        if (sent[i])
            land_script(stores, &turns[i], reason);
}

/* Those that were looked at first are moved now. */
static void move_shown(struct stores *stores, struct turn *turns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        turns[i].shown = turns[i].looks && turn_is_done(&turns[i]);
        turns[i].looks = false;
    }
    turns_run(stores, turns, count, is_shown);
}

/* --- the answers -------------------------------------------------------------------------------- */

static bool reads(const struct counter_read *read)
{
    return read->call.status == STATUS_OK && read->call.guard == GUARD_PASSED;
}

static struct counter_read build_read(struct stores *stores, const struct op_extend *op)
{
    const struct hold *hold = op->hold;
    struct quota_ref *refs = stores_scratch(stores, hold->quotas_count, sizeof(*refs));

    for (size_t i = 0; i < hold->quotas_count; i++)
        refs[i] = hold->quotas[i].quota;
    return (struct counter_read){
        .call = {.kind = COUNTER_READ, .view.shard = op->op.plan->shard, .arena = &stores->scratch},
        .tenant_id = op->op.plan->tenant_id,
        .refs_count = hold->quotas_count,
        .refs = refs,
    };
}

static void take_quotas(struct op_extend *op, const struct counter_read *read)
{
    op->quotas = arena_array(op->op.arena, read->refs_count + 1, sizeof(*op->quotas));
    CHECK(op->quotas);
    for (size_t i = 0; i < read->refs_count; i++) {
        const struct limit *limit = plan_limit(op->op.plan, read->refs[i].limit_id);

        if (limit)
            quota_from_counter(&op->quotas[op->quotas_count++], limit, read->refs[i],
                               &read->states[i]);
    }
}

/* The quotas of all, in one round trip; whose cannot be read shows none. */
static void show_quotas(struct stores *stores, struct turn *turns, size_t count)
{
    struct counter_read *all = stores_scratch(stores, count, sizeof(*all));
    struct counter_call **calls = stores_scratch(stores, count, sizeof(struct counter_call *));
    size_t calls_count = 0;
    enum recovery reason;

    for (size_t i = 0; i < count; i++) {
        if (!turn_is_open(&turns[i]))
            continue;
        all[i] = build_read(stores, turns[i].op);
        calls[calls_count++] = &all[i].call;
    }
    if (calls_count > 0)
        (void)stores_run(stores, calls, calls_count, &reason); /* each is looked at by itself */
    for (size_t i = 0; i < count; i++)
        if (turn_is_open(&turns[i]) && reads(&all[i]))
            take_quotas(turns[i].op, &all[i]);
}

/* What is promised: the later of the old deadline and the one asked for, within the hold's lifetime. */
static bool is_as_asked(const struct turn *turn)
{
    const struct hold *hold = turn->found;

    return hold &&
           (hold->deadline_ms >= turn->wanted_ms || hold->deadline_ms >= turn_last_ms(turn, hold));
}

static void take_hold(struct turn *turn)
{
    struct op_extend *op = turn->op;

    if (!is_as_asked(turn)) {
        turn_end(turn, EXTEND_UNMOVED);
        return;
    }
    op->hold = turn->found;
    op->held_job_id = op->job_id;
    op->lifetime_end_ms = turn_last_ms(turn, turn->found);
    services_note_hold(op->op.services, turn->found->deadline_ms);
    trace_moved(op->op.services->trace, op->op.now_ms, op->traced_at, op->op.plan->tenant_id,
                op->job_id, turn->found);
}

/* All but those that wait alone, who are left in front of the list. */
static size_t answer(struct stores *stores, struct turn *turns, size_t count,
                     struct op_extend **ops)
{
    size_t left = 0;

    for (size_t i = 0; i < count; i++)
        if (turn_is_open(&turns[i]))
            take_hold(&turns[i]);
    show_quotas(stores, turns, count);
    stub_cork();
    for (size_t i = 0; i < count; i++) {
        if (!failed(&turns[i]) && turns[i].locked)
            ops[left++] = turns[i].op;
        else
            op_finish(&turns[i].op->op);
    }
    stub_uncork();
    return left;
}

size_t extend_ops(struct granting *granting, struct op_extend **ops, size_t count)
{
    struct stores *stores = granting->stores;
    struct turn *turns = stores_scratch(stores, count, sizeof(*turns));

    if (count == 0)
        return 0;
    CHECK(count <= EXTEND_OPS_MAX);
    for (size_t i = 0; i < count; i++)
        turns[i] = (struct turn){.op = ops[i]};
    refuse_some(stores, turns, count);
    turns_move(stores, turns, count);
    look_first(turns, count);
    turns_run(stores, turns, count, turn_needs_script);
    move_shown(stores, turns, count);
    for (int round = 0; round < SCRIPT_ROUNDS_MAX && turns_push(stores, turns, count); round++)
        turns_run(stores, turns, count, turn_is_short);
    if (FAULT("extend.before_facts"))
        turns_cut_off(turns, count);
    else
        turns_judge(granting, turns, count);
    return answer(stores, turns, count, ops);
}

static void to_granter(struct op_extend *op)
{
    if (inbox_to_granter(&op->op, OP_EXTEND))
        return;
    op_fail(&op->op, FAILURE_OVERLOADED, false, "too many calls wait; try again in a moment");
    op_finish(&op->op);
}

/* A plan may have thousands of limits: nobody else waits while it is loaded. */
static void load_on_desk(struct op *base, struct stores *stores)
{
    if (op_need_plan(base, stores))
        to_granter(container_of(base, struct op_extend, op));
    else
        op_finish(base);
}

void op_extend_start(struct op_extend *op, struct inbox_worker *worker)
{
    (void)worker;
    op->traced_at = trace_position(op->op.services->trace);
    op->op.plan = plans_get(op->op.services->plans, op->op.tenant);
    if (op->op.plan)
        to_granter(op); /* its tenant may be one that waits alone */
    else
        inbox_to_desk(&op->op, load_on_desk);
}
