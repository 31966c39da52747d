#include "op/reserve.h"

#include "base/amount.h"
#include "base/check.h"
#include "base/stage.h"
#include "op/inbox.h"
#include "op/plans.h"
#include "op/quotas.h"
#include "op/services.h"
#include "op/trace.h"
#include "op/verdict.h"

#include <inttypes.h>
#include <string.h>

/* --- stages -------------------------------------------------------------------------------------- */

static const struct op_reserve_work *work_of(const void *owner)
{
    return ((const struct op_reserve *)owner)->work;
}

static bool is_planned(const void *owner)
{
    const struct op_reserve *op = owner;

    return op->op.plan && op->work->quotas_count > 0;
}

static bool is_known(const void *owner)
{
    enum counter_reserved answer = work_of(owner)->item.answer;

    return is_planned(owner) && (answer == RESERVED_KNOWN || answer == RESERVED_FINAL);
}

static bool is_due(const void *owner)
{
    return is_planned(owner) && work_of(owner)->item.entry.len > 0;
}

static bool is_short(const void *owner)
{
    return is_planned(owner) && work_of(owner)->item.states && work_of(owner)->item.shortfalls;
}

static bool has_plan(const void *owner)
{
    return ((const struct op_reserve *)owner)->op.plan != NULL;
}

static bool is_answered(const void *owner)
{
    const struct op_reserve *op = owner;

    return op->op.error.failure != FAILURE_NONE || op->decision != 0;
}

enum {
    /* What a script may say, or nothing any more. */
    SAID = STAGE(RESERVE_STALE) | STAGE(RESERVE_KNOWN) | STAGE(RESERVE_DUE) | STAGE(RESERVE_SHORT) |
           STAGE(RESERVE_ANSWERED),
    /* Before the script, from any stage: the plan or the period changed, or the tenant is stuck. */
    AGAIN = STAGE(RESERVE_BEGUN) | STAGE(RESERVE_PLANNED) | STAGE(RESERVE_REFUSED) |
            STAGE(RESERVE_STUCK) | STAGE(RESERVE_AWAY),
};

static const struct stage_rule rules[] = {
    [RESERVE_BEGUN] = {"begun", AGAIN | STAGE(RESERVE_ANSWERED), NULL},
    [RESERVE_PLANNED] = {"planned", SAID | AGAIN, is_planned},
    [RESERVE_STALE] = {"stale", SAID | AGAIN, is_planned},
    [RESERVE_KNOWN] = {"known", SAID | AGAIN, is_known},
    [RESERVE_DUE] = {"due", SAID | AGAIN, is_due},
    [RESERVE_SHORT] = {"short", SAID | AGAIN | STAGE(RESERVE_CROWDED) | STAGE(RESERVE_NEVER),
                       is_short},
    [RESERVE_CROWDED] = {"crowded", SAID | AGAIN, is_short},
    [RESERVE_NEVER] = {"never", AGAIN | STAGE(RESERVE_ANSWERED), is_short},
    [RESERVE_AWAY] = {"away", AGAIN | STAGE(RESERVE_ANSWERED), is_planned},
    [RESERVE_REFUSED] = {"refused", AGAIN | STAGE(RESERVE_ANSWERED), has_plan},
    [RESERVE_STUCK] = {"stuck", AGAIN | STAGE(RESERVE_ANSWERED), NULL},
    [RESERVE_ANSWERED] = {"answered", STAGE_END, is_answered},
};
static const struct stage_table stages = STAGE_TABLE("reserve", rules);

void reserve_step(struct op_reserve *op, enum reserve_stage to)
{
    stage_step(&stages, op->work->stage, to, op);
    op->work->stage = to;
}

bool reserve_has_answer(const struct op_reserve *op)
{
    const uint64_t with = STAGE(RESERVE_STALE) | STAGE(RESERVE_KNOWN) | STAGE(RESERVE_DUE) |
                          STAGE(RESERVE_SHORT) | STAGE(RESERVE_CROWDED) | STAGE(RESERVE_NEVER);

    return (with & STAGE(op->work->stage)) != 0;
}

/* --- plan ---------------------------------------------------------------------------------------- */

int64_t reserve_ttl_ms(const struct op_reserve *op, bool in_postgres)
{
    const struct op_reserve_work *work = op->work;
    int64_t ttl_ms = op->ttl_ms;
    int64_t most_ms = in_postgres ? TTL_ASKED_MAX_MS : op->op.services->options.ttl_max_ms;

    if (ttl_ms > most_ms)
        ttl_ms = most_ms;
    for (size_t i = 0; i < work->quotas_count; i++) {
        const struct limit *limit = plan_limit(op->op.plan, work->quotas[i].quota.limit_id);

        if (limit->max_ttl_ms > 0 && ttl_ms > limit->max_ttl_ms)
            ttl_ms = limit->max_ttl_ms;
    }
    return ttl_ms;
}

bool reserve_is_long(const struct op_reserve *op)
{
    return !op->work->shortened && reserve_ttl_ms(op, true) > op->op.services->options.ttl_max_ms;
}

static void *allocate(struct op_reserve *op, size_t count, size_t size)
{
    void *memory = arena_array(op->op.arena, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

/* The i-th quota's limit wants to be told of what is reserved. */
static void keep_crossings(struct op_reserve *op, const struct limit *limit, size_t i)
{
    struct op_reserve_work *work = op->work;
    struct stops *stops = allocate(op, 1, sizeof(*stops));

    if (!work->crossings)
        work->crossings = allocate(op, work->quotas_count, sizeof(struct stops *));
    *stops = (struct stops){.soft = limit->soft,
                            .amount = limit->amount,
                            .cap = limit->cap,
                            .unlimited = limit->unlimited};
    work->crossings[i] = stops;
}

/* A limit that a reservation may count against is rarely not alone: memory is taken for what is found. */
static void keep_quotas(struct op_reserve *op, const struct hold_quota *found, size_t count)
{
    struct op_reserve_work *work = op->work;

    work->quotas_count = count;
    work->quotas = allocate(op, count, sizeof(*work->quotas));
    work->softs = allocate(op, count, sizeof(*work->softs));
    work->warnings = allocate(op, count, sizeof(*work->warnings));
    work->crossings = NULL;
    memcpy(work->quotas, found, count * sizeof(*found));
    for (size_t i = 0; i < count; i++) {
        const struct limit *limit = plan_limit(op->op.plan, found[i].quota.limit_id);

        work->softs[i] = limit->soft;
        /* An unlimited one never warns, and no hold has room for a name that no server gave. */
        if (!limit->unlimited && limit->name.len <= NAME_BYTES_MAX)
            work->warnings[i] = (struct hold_warning){.limit_name = limit->name,
                                                      .scope_len = limit->scope.len,
                                                      .soft = limit->soft,
                                                      .amount = limit->amount,
                                                      .cap = limit->cap};
        if (limit->reserved_crossings)
            keep_crossings(op, limit, i);
    }
}

bool reserve_plan(struct op_reserve *op, int64_t now_ms)
{
    struct hold_quota found[HOLD_QUOTAS_MAX];
    size_t meter = 0, count;

    op->work->quotas_count = 0;
    switch (plan_select(op->op.plan, op->scope, op->meters, op->meters_count, now_ms, found, &count,
                        &meter)) {
    case PLAN_SELECTED:
        keep_quotas(op, found, count);
        return true;
    case PLAN_NO_LIMIT:
        op_fail_no_limit(&op->op,
                         arena_printf(op->op.arena, "amounts[%zu].meter", op->amounts_index[meter]),
                         op->meters[meter].meter);
        return false;
    case PLAN_TOO_MANY:
        op_fail_field(&op->op, FAILURE_INVALID_FIELD, "amounts", PLAN_TOO_MANY_TEXT,
                      op->meters_count, HOLD_QUOTAS_MAX);
        return false;
    }
    UNREACHABLE();
}

struct counter_reserve_item reserve_item(struct op_reserve *op, int64_t now_ms)
{
    struct op_reserve_work *work = op->work;

    work->now_ms = now_ms;
    op->op.now_ms = now_ms;
    return (struct counter_reserve_item){
        .tenant_id = op->op.plan->tenant_id,
        .config_version = op->op.plan->config_version,
        .job_id = op->job_id,
        .identity = slice_from_cstr(work->identity),
        .deadline_ms = now_ms + reserve_ttl_ms(op, false),
        .deferrable = op->deferrable,
        .quotas_count = work->quotas_count,
        .quotas = work->quotas,
        .softs = work->softs,
        .warnings = work->warnings,
        .crossings = work->crossings,
    };
}

static void keep_answer(struct op_reserve *op)
{
    struct counter_reserve_item *item = &op->work->item;
    size_t count = op->work->quotas_count;

    if (item->entry.len > 0) {
        item->entry.data = arena_strndup(op->op.arena, item->entry.data, item->entry.len);
        CHECK(item->entry.data);
    }
    if (item->states) {
        const struct counter_quota *states = item->states;

        item->states = allocate(op, count, sizeof(*item->states));
        memcpy(item->states, states, count * sizeof(*states));
    }
    if (item->shortfalls) {
        const int *shortfalls = item->shortfalls;

        item->shortfalls = allocate(op, count, sizeof(*item->shortfalls));
        memcpy(item->shortfalls, shortfalls, count * sizeof(*shortfalls));
    }
}

static void quotas_from_states(struct op_reserve *op)
{
    const struct op_reserve_work *work = op->work;

    op->quotas = allocate(op, work->quotas_count, sizeof(*op->quotas));
    op->quotas_count = work->quotas_count;
    for (size_t i = 0; i < work->quotas_count; i++)
        quota_from_counter(&op->quotas[i], plan_limit(op->op.plan, work->quotas[i].quota.limit_id),
                           work->quotas[i].quota, &work->item.states[i]);
}

/* As it was when the hold was made: by what the hold keeps, whatever the limits are now. */
static void decide_by_hold(struct op_reserve *op, const struct hold *hold)
{
    int64_t projected_units[HOLD_QUOTAS_MAX];
    struct op_quota *warned = NULL;
    size_t count = 0;

    if (hold->warnings)
        warned = allocate(op, hold->quotas_count, sizeof(*warned));
    for (size_t i = 0; warned && i < hold->quotas_count; i++) {
        const struct hold_warning *warning = &hold->warnings[i];

        if (warning->limit_name.len == 0)
            continue;
        projected_units[count] = warning->projected;
        warned[count++] = (struct op_quota){
            .limit_name = warning->limit_name,
            .scope = slice_of(hold->scope.data, warning->scope_len),
            .meter = hold->meters[hold->quotas[i].meter].meter,
            .stops = {.soft = warning->soft, .amount = warning->amount, .cap = warning->cap},
        };
    }
    op->decision = verdict_admitted(op->op.arena, warned, projected_units, count, &op->reasons,
                                    &op->reasons_count);
}

/* What the script put into this hold. */
static void take_warnings(struct op_reserve *op, struct hold *hold)
{
    const struct op_reserve_work *work = op->work;
    const int64_t *projected = work->item.projected;

    if (!projected)
        return;
    hold->warnings = allocate(op, work->quotas_count, sizeof(*hold->warnings));
    for (size_t i = 0; i < work->quotas_count; i++) {
        if (projected[i] < 0)
            continue;
        hold->warnings[i] = work->warnings[i];
        hold->warnings[i].projected = projected[i];
    }
}

static void admit(struct op_reserve *op)
{
    struct op_reserve_work *work = op->work;
    struct hold *hold = allocate(op, 1, sizeof(*hold));

    for (size_t i = 0; i < work->quotas_count; i++)
        work->quotas[i].lease_id = work->item.states[i].lease_id;
    *hold = (struct hold){
        .attempt = work->item.attempt,
        .deadline_ms = work->item.deadline_ms,
        .created_ms = work->now_ms,
        .scope = op->scope,
        .mode = op->mode,
        .meters_count = op->meters_count,
        .meters = allocate(op, op->meters_count, sizeof(*hold->meters)),
        .quotas_count = work->quotas_count,
        .quotas = work->quotas,
    };
    memcpy(hold->meters, op->meters, op->meters_count * sizeof(*hold->meters));
    op->hold = hold;
    quotas_from_states(op);
    take_warnings(op, hold);
    trace_held(op->op.services->trace, work->now_ms, op->op.plan->tenant_id, op->job_id, hold);
    decide_by_hold(op, hold);
    op->retry_after_ms = -1;
}

void reserve_take_answer(struct op_reserve *op, const struct counter_reserve_item *item)
{
    static const enum reserve_stage next[] = {
        [RESERVED_ADMITTED] = RESERVE_ANSWERED, [RESERVED_SHORT] = RESERVE_SHORT,
        [RESERVED_KNOWN] = RESERVE_KNOWN,       [RESERVED_DUE] = RESERVE_DUE,
        [RESERVED_FINAL] = RESERVE_KNOWN,       [RESERVED_STALE] = RESERVE_STALE,
    };

    op->work->item = *item;
    if (item->answer == RESERVED_ADMITTED) {
        services_note_hold(op->op.services, item->deadline_ms);
        admit(op);
    } else {
        keep_answer(op);
    }
    reserve_step(op, next[item->answer]);
}

static void mismatch(struct op_reserve *op, const struct hold *hold)
{
    const char *asked =
        hold_identity(op->op.arena, op->scope, op->mode, hold->meters, hold->meters_count);

    if (!slice_equal(hold->scope, op->scope))
        op_fail_field(&op->op, FAILURE_JOB_MISMATCH, "scope",
                      "the job was reserved before with scope \"%.*s\"", SLICE_ARGS(hold->scope));
    if (hold->mode != op->mode)
        op_fail_field(&op->op, FAILURE_JOB_MISMATCH, "mode",
                      "the job was reserved before with mode %d", hold->mode);
    if (!asked || strcmp(asked, op->work->identity) != 0)
        op_fail_field(&op->op, FAILURE_JOB_MISMATCH, "amounts",
                      "the job was reserved before with other amounts; use a new job_id");
}

/* The replayed hold's quotas as they are now, with the live states where the script gave them. */
static void replay_quotas(struct op_reserve *op, const struct hold *hold)
{
    size_t count = 0;

    op->quotas = allocate(op, hold->quotas_count, sizeof(*op->quotas));
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct limit *limit = plan_limit(op->op.plan, hold->quotas[i].quota.limit_id);
        struct counter_quota none = {.lease_id = hold->quotas[i].lease_id};
        const struct counter_quota *state = &none;

        if (!limit)
            continue;
        for (size_t k = 0; op->work->item.states && k < op->work->quotas_count; k++)
            if (quota_ref_equal(op->work->quotas[k].quota, hold->quotas[i].quota))
                state = &op->work->item.states[k];
        quota_from_counter(&op->quotas[count++], limit, hold->quotas[i].quota, state);
    }
    op->quotas_count = count;
}

void reserve_replay(struct op_reserve *op, struct slice entry)
{
    struct hold *hold;

    if (hold_parse(op->op.arena, entry, &hold))
        reserve_replay_hold(op, hold);
    else
        op_fail_unreadable(&op->op, true);
}

void reserve_replay_hold(struct op_reserve *op, const struct hold *hold)
{
    const char *identity =
        hold_identity(op->op.arena, hold->scope, hold->mode, hold->meters, hold->meters_count);

    if (!identity || strcmp(identity, op->work->identity) != 0) {
        mismatch(op, hold);
        return;
    }
    op->hold = hold;
    op->replayed = true;
    replay_quotas(op, hold);
    decide_by_hold(op, hold);
    op->retry_after_ms = -1;
}

static void quotas_from_rows(struct op_reserve *op, const struct quota_row *rows)
{
    size_t count = op->work->quotas_count;

    op->quotas = allocate(op, count, sizeof(*op->quotas));
    op->quotas_count = count;
    for (size_t i = 0; i < count; i++)
        quota_from_row(&op->quotas[i], op->op.plan, &rows[i]);
}

void reserve_placed(struct op_reserve *op, const struct hold *hold, const struct quota_row *rows)
{
    op->hold = hold;
    op->degraded = true;
    quotas_from_rows(op, rows);
    decide_by_hold(op, hold);
    op->retry_after_ms = -1;
}

void reserve_opened(struct op_reserve *op, const struct hold *hold)
{
    op->hold = hold;
    decide_by_hold(op, hold);
    op->retry_after_ms = -1;
}

void reserve_committed(struct op_reserve *op, const struct settle_record *record)
{
    op->decision = DECISION_ALREADY_COMMITTED;
    op->replayed = true;
    op->record = record;
    op->retry_after_ms = -1;
}

/* Under a quota without a limit it is the numbers that end, and no waiting helps: a final error. */
static bool fail_at_bound(struct op_reserve *op)
{
    for (size_t i = 0; i < op->quotas_count; i++) {
        const struct op_quota *quota = &op->quotas[i];

        if (!quota->stops.unlimited ||
            quota->committed + quota->debt + op->work->quotas[i].units <= AMOUNT_MAX)
            continue;
        op_fail(&op->op, FAILURE_AMOUNT_BOUND, false,
                "limit \"%.*s\": %" PRId64 " used and %" PRId64 " asked for pass %" PRId64
                " (2^53-1), the most that can be counted; nothing was held",
                SLICE_ARGS(quota->limit_name), quota->committed + quota->debt,
                op->work->quotas[i].units, AMOUNT_MAX);
        return true;
    }
    return false;
}

/* By the op's quotas. */
static void reject(struct op_reserve *op, int64_t earliest_free_ms, int64_t latest_free_ms)
{
    const struct op_reserve_work *work = op->work;

    if (fail_at_bound(op))
        return;
    op->decision = DECISION_REJECT;
    verdict_rejected(op->op.arena, op->quotas, work->quotas, work->quotas_count, op->deferrable,
                     work->now_ms, earliest_free_ms, latest_free_ms, &op->reasons,
                     &op->reasons_count, &op->retry_after_ms);
}

void reserve_rejected(struct op_reserve *op, int64_t earliest_free_ms, int64_t latest_free_ms)
{
    const struct op_reserve_work *work = op->work;

    op->quotas = allocate(op, work->quotas_count, sizeof(*op->quotas));
    op->quotas_count = work->quotas_count;
    for (size_t i = 0; i < work->quotas_count; i++) {
        const struct reserve_quota *known = work->known ? &work->known[i] : NULL;
        const struct counter_quota none = {0};
        const struct counter_quota *state =
            reserve_has_answer(op) && work->item.states ? &work->item.states[i] : &none;

        if (known && known->have_row) {
            quota_from_row(&op->quotas[i], op->op.plan, &known->row);
            quota_set_held(&op->quotas[i], &known->row, state);
        } else {
            quota_from_counter(&op->quotas[i],
                               plan_limit(op->op.plan, work->quotas[i].quota.limit_id),
                               work->quotas[i].quota, state);
        }
    }
    reject(op, earliest_free_ms, latest_free_ms);
}

void reserve_root_rejected(struct op_reserve *op, const struct quota_row *rows)
{
    quotas_from_rows(op, rows);
    op->degraded = true;
    reject(op, -1, -1);
}

void reserve_suspended(struct op_reserve *op)
{
    op->reasons = allocate(op, 1, sizeof(*op->reasons));
    op->reasons[0] = (struct op_reason){
        .code = REASON_SUSPENDED,
        .retry_after_ms = -1,
        .message = "the tenant is suspended: nothing is reserved; Commit and Release still work",
    };
    op->reasons_count = 1;
    op->decision = DECISION_REJECT;
    op->retry_after_ms = -1;
}

void reserve_finish(struct op_reserve *op)
{
    if (!reserve_is(op, RESERVE_ANSWERED))
        reserve_step(op, RESERVE_ANSWERED);
    op_finish(&op->op);
}

void reserve_to_granter(struct op_reserve *op)
{
    if (inbox_to_granter(&op->op, OP_RESERVE))
        return;
    op_fail(&op->op, FAILURE_OVERLOADED, false,
            "too many reservations wait for the database; try again in a moment");
    reserve_finish(op);
}

/* Makes the work, before anything else. */
static void begin(struct op_reserve *op)
{
    op->work = allocate(op, 1, sizeof(*op->work));
    op->retry_after_ms = -1;
    op->work->identity =
        hold_identity(op->op.arena, op->scope, op->mode, op->meters, op->meters_count);
    CHECK(op->work->identity);
}

void reserve_doubt_plan(struct op_reserve *op)
{
    if (plans_may_refuse(op->op.services->plans, op->op.plan))
        return;
    plan_unref(op->op.plan);
    op->op.plan = NULL;
}

void op_reserve_start(struct op_reserve *op, struct inbox_worker *worker)
{
    begin(op);
    op->op.plan = plans_get(op->op.services->plans, op->op.tenant);
    if (op->op.plan && plan_refuses(op->op.plan))
        reserve_doubt_plan(op);
    if (!op->op.plan || plan_refuses(op->op.plan)) /* a repeat gets its first answer all the same */
        reserve_to_granter(op);
    else
        inbox_to_worker(worker, &op->op, OP_RESERVE);
}
