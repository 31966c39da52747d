#include "tests/sim/calls.h"

#include "base/check.h"
#include "op/commit.h"
#include "op/plans.h"
#include "op/services.h"
#include "op/worker.h"
#include "quota/token.h"
#include "tests/sim/fibre.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 16 * 1024, ARENA_MAX = 1 << 20 };

const char *const sim_meters[SIM_METERS] = {"jobs", "tokens"};

const char *const verb_names[VERBS] = {
    [VERB_RESERVE] = "Reserve",        [VERB_COMMIT] = "Commit",
    [VERB_RELEASE] = "Release",        [VERB_EXTEND] = "Extend",
    [VERB_GET] = "GetReservation",     [VERB_USAGE] = "GetUsage",
    [VERB_PUT_LIMIT] = "PutLimit",     [VERB_DELETE_LIMIT] = "DeleteLimit",
    [VERB_TENANT] = "UpdateTenant",    [VERB_CHARGE] = "Charge",
    [VERB_ADJUST] = "Adjust",
};

static int64_t open_calls;

struct call {
    struct sim_call door; /* first: op->user points here */
    struct arena arena;
    enum verb verb;
    struct reply *reply; /* NULL: the client has gone */
    bool answered, released;
    struct server *server;
    struct op *op;
    union {
        struct op_reserve reserve;
        struct op_commit commit;
        struct op_extend extend;
        struct op_get_reservation get;
        struct op_usage usage;
        struct op_limit limit;
        struct op_tenant tenant;
        struct op_adjust adjust;
    };
};

int64_t calls_open(void)
{
    return open_calls;
}

/* --- what it asks ------------------------------------------------------------------------------- */

static void *allocate(struct call *call, size_t count, size_t size)
{
    void *memory = arena_array(&call->arena, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

static struct slice text(struct call *call, const char *from)
{
    char *copy = arena_strndup(&call->arena, from ? from : "", from ? strlen(from) : 0);

    CHECK(copy);
    return slice_from_cstr(copy);
}

static size_t fill_meters(struct call *call, const int64_t units[SIM_METERS],
                          struct hold_meter **ret)
{
    size_t count = 0;

    *ret = allocate(call, SIM_METERS, sizeof(**ret));
    for (size_t i = 0; i < SIM_METERS; i++)
        if (units[i] >= 0)
            (*ret)[count++] = (struct hold_meter){slice_from_cstr(sim_meters[i]), units[i]};
    return count;
}

static const struct token *make_token(struct call *call, const struct ask *ask)
{
    struct token *token;
    struct hold *hold;

    if (!ask->token)
        return NULL;
    token = allocate(call, 1, sizeof(*token));
    token->tenant = text(call, ask->tenant);
    token->job_id = text(call, ask->job);
    hold = &token->hold;
    hold->attempt = ask->token->attempt;
    hold->created_ms = ask->token->created_ms;
    hold->deadline_ms = ask->token->deadline_ms;
    hold->scope = text(call, "");
    hold->mode = 1;
    hold->meters_count = fill_meters(call, ask->token->units, &hold->meters);
    hold->quotas_count = ask->token->quotas_count;
    hold->quotas = allocate(call, hold->quotas_count, sizeof(*hold->quotas));
    memcpy(hold->quotas, ask->token->quotas, hold->quotas_count * sizeof(*hold->quotas));
    return token;
}

static void fill_reserve(struct call *call, const struct ask *ask)
{
    struct op_reserve *op = &call->reserve;
    struct hold_meter *meters;
    size_t *index;

    op->job_id = text(call, ask->job);
    op->scope = text(call, "");
    op->meters_count = fill_meters(call, ask->units, &meters);
    op->meters = meters;
    index = allocate(call, SIM_METERS, sizeof(*index));
    for (size_t i = 0; i < op->meters_count; i++)
        index[i] = i;
    op->amounts_index = index;
    op->ttl_ms = ask->ttl_ms;
    op->deferrable = ask->deferrable;
    op->mode = 1;
}

static void fill_commit(struct call *call, const struct ask *ask)
{
    struct op_commit *op = &call->commit;
    struct settle_actual *actual = allocate(call, SIM_METERS, sizeof(*actual));
    size_t count = 0;

    op->token = make_token(call, ask);
    op->job_id = text(call, ask->job);
    op->brief = ask->brief;
    op->item.settle.kind = ask->verb == VERB_COMMIT   ? SETTLE_COMMIT
                           : ask->verb == VERB_CHARGE ? SETTLE_CHARGE
                                                      : SETTLE_RELEASE;
    op->item.settle.scope = text(call, "");
    for (size_t i = 0; i < SIM_METERS && ask->verb != VERB_RELEASE; i++)
        if (ask->units[i] >= 0)
            actual[count++] = (struct settle_actual){slice_from_cstr(sim_meters[i]), ask->units[i],
                                                     ask->overrun};
    op->item.settle.actual = actual;
    op->item.settle.actual_count = count;
}

static void fill_limit(struct call *call, const struct ask *ask)
{
    struct op_limit *op = &call->limit;

    op->note = (struct ledger_note){text(call, "sim"), text(call, "test"),
                                    text(call, ask->request_id)};
    op->limit = (struct ledger_limit){
        .tenant = text(call, ask->tenant),
        .limit_name = text(call, ask->job),
        .scope = text(call, ""),
        .meter = text(call, ask->meter),
        .period = ask->period,
        .amount = ask->amount,
        .overage_kind = ask->overage_percent > 0 ? OVERAGE_PERCENT : OVERAGE_NONE,
        .overage = ask->overage_percent,
        .reserved_crossings = ask->amount % 2 == 0,
        .redis_away = ask->redis_away,
        .redis_away_units = ask->redis_away_units,
    };
}

static void fill_adjust(struct call *call, const struct ask *ask)
{
    struct ledger_adjusting *adjusting = &call->adjust.adjusting;
    struct adjust_change *changes = allocate(call, SIM_METERS, sizeof(*changes));

    adjusting->reason = text(call, "test");
    adjusting->item.adjust_id = text(call, ask->request_id);
    adjusting->item.job_id = text(call, ask->job);
    adjusting->item.changes = changes;
    for (size_t i = 0; i < SIM_METERS; i++)
        if (ask->units[i] != 0)
            changes[adjusting->item.changes_count++] =
                (struct adjust_change){slice_from_cstr(sim_meters[i]), ask->units[i]};
}

static void fill(struct call *call, const struct ask *ask)
{
    switch (ask->verb) {
    case VERB_RESERVE:
        call->op = &call->reserve.op;
        fill_reserve(call, ask);
        break;
    case VERB_COMMIT:
    case VERB_CHARGE:
    case VERB_RELEASE:
        call->op = &call->commit.op;
        fill_commit(call, ask);
        break;
    case VERB_EXTEND:
        call->op = &call->extend.op;
        call->extend.token = make_token(call, ask);
        call->extend.job_id = text(call, ask->job);
        call->extend.ttl_ms = ask->ttl_ms;
        break;
    case VERB_GET:
        call->op = &call->get.op;
        call->get.token = make_token(call, ask);
        call->get.job_id = text(call, ask->job);
        break;
    case VERB_USAGE:
        call->op = &call->usage.op;
        call->usage.include_descendants = true;
        call->usage.max = SIM_USAGES;
        break;
    case VERB_PUT_LIMIT:
    case VERB_DELETE_LIMIT:
        call->op = &call->limit.op;
        fill_limit(call, ask);
        break;
    case VERB_TENANT:
        call->op = &call->tenant.op;
        call->tenant.note = (struct ledger_note){text(call, "sim"), text(call, "test"),
                                                 text(call, ask->request_id)};
        call->tenant.tenant.tenant = text(call, ask->tenant);
        call->tenant.tenant.display_name = text(call, "");
        call->tenant.tenant.suspended = ask->suspended;
        break;
    case VERB_ADJUST:
        call->op = &call->adjust.op;
        fill_adjust(call, ask);
        break;
    case VERBS:
        UNREACHABLE();
    }
}

/* --- what it was told --------------------------------------------------------------------------- */

static size_t meter_index(struct slice meter)
{
    for (size_t i = 0; i < SIM_METERS; i++)
        if (slice_equal_cstr(meter, sim_meters[i]))
            return i;
    UNREACHABLE();
}

static void keep_hold(struct reply *reply, const struct hold *hold)
{
    reply->has_hold = hold != NULL;
    if (!hold)
        return;
    reply->hold = (struct sim_hold){.attempt = hold->attempt,
                                    .created_ms = hold->created_ms,
                                    .deadline_ms = hold->deadline_ms};
    for (size_t i = 0; i < SIM_METERS; i++)
        reply->hold.units[i] = -1;
    for (size_t i = 0; i < hold->meters_count; i++)
        reply->hold.units[meter_index(hold->meters[i].meter)] = hold->meters[i].units;
    for (size_t i = 0; i < hold->quotas_count && i < SIM_HOLD_QUOTAS; i++)
        reply->hold.quotas[reply->hold.quotas_count++] = hold->quotas[i];
}

static void keep_record(struct reply *reply, const struct settle_record *record)
{
    reply->has_record = record != NULL;
    if (!record)
        return;
    reply->recorded = record->attempt;
    reply->late = record->late;
    for (size_t i = 0; i < record->entries_count; i++) {
        size_t meter = meter_index(record->entries[i].meter);

        reply->amount[meter] = record->entries[i].amount;
        reply->debt[meter] = record->entries[i].debt;
    }
}

static void keep_usages(struct reply *reply, const struct op_usage *op)
{
    for (size_t i = 0; i < op->quotas_count && i < SIM_USAGES; i++) {
        const struct op_quota *quota = &op->quotas[i];

        if (quota->limit)
            reply->usages[reply->usages_count++] = (struct sim_usage){
                quota->limit->limit_id, quota->period_start_ms, quota->committed, quota->debt,
                quota->held, quota->stops.cap, quota->held_is_upper_bound};
    }
}

static void keep_adjusted(struct reply *reply, const struct adjust_item *item)
{
    reply->replayed = item->outcome == ADJUST_REPLAYED;
    for (size_t i = 0; i < item->changes_count; i++)
        reply->left[meter_index(item->rows[i].meter)] = item->rows[i].left;
}

static void keep(struct call *call)
{
    struct reply *reply = call->reply;
    const struct op_error *error = &call->op->error;

    reply->answered = true;
    reply->failure = error->failure;
    reply->unknown = error->effect_unknown;
    reply->now_ms = call->op->now_ms;
    if (error->failure != FAILURE_NONE) {
        snprintf(reply->text, sizeof(reply->text), "%s", error->text ? error->text : "");
        keep_record(reply, error->record);
        return;
    }
    switch (call->verb) {
    case VERB_RESERVE:
        reply->decision = call->reserve.decision;
        reply->replayed = call->reserve.replayed;
        reply->degraded = call->reserve.degraded;
        reply->uncounted = call->reserve.uncounted;
        if (call->reserve.reasons_count > 0)
            reply->reason = call->reserve.reasons[0].code;
        keep_hold(reply, call->reserve.hold);
        keep_record(reply, call->reserve.record);
        break;
    case VERB_COMMIT:
    case VERB_CHARGE:
    case VERB_RELEASE:
        reply->replayed = call->commit.item.settle.replayed;
        if (call->verb != VERB_RELEASE)
            keep_record(reply, call->commit.item.settle.record);
        else
            reply->recorded = call->commit.item.settle.released;
        break;
    case VERB_EXTEND:
        keep_hold(reply, call->extend.hold);
        reply->degraded = call->extend.degraded;
        break;
    case VERB_GET:
        reply->state = call->get.found.state;
        reply->hold.attempt = call->get.found.attempt;
        reply->hold.deadline_ms = call->get.found.expire_ms;
        keep_record(reply, call->get.found.record);
        break;
    case VERB_USAGE:
        keep_usages(reply, &call->usage);
        break;
    case VERB_ADJUST:
        keep_adjusted(reply, &call->adjust.adjusting.item);
        break;
    case VERB_PUT_LIMIT:
    case VERB_DELETE_LIMIT:
    case VERB_TENANT:
    case VERBS:
        break;
    }
}

static struct call *call_of(struct op *op)
{
    return op->user;
}

static void let_go(struct call *call)
{
    if (!call->released || call->reply)
        return;
    arena_done(&call->arena);
    free(call);
}

static void answered(struct op *op)
{
    struct call *call = call_of(op);

    CHECK(!call->answered && !call->released);
    call->answered = true;
    if (call->reply)
        keep(call);
    fibre_wake(call);
}

static void released(struct op *op)
{
    struct call *call = call_of(op);

    CHECK(call->answered && !call->released);
    call->released = true;
    open_calls--;
    let_go(call);
}

/* On the worker. */
static void begin(void *user, void *worker)
{
    struct call *call = user;

    switch (call->verb) {
    case VERB_RESERVE:
        op_reserve_start(&call->reserve, worker);
        break;
    case VERB_COMMIT:
    case VERB_CHARGE:
    case VERB_RELEASE:
        op_commit_start(&call->commit, worker);
        break;
    case VERB_EXTEND:
        op_extend_start(&call->extend, worker);
        break;
    case VERB_GET:
        op_get_reservation_start(&call->get);
        break;
    case VERB_USAGE:
        op_usage_start(&call->usage);
        break;
    case VERB_PUT_LIMIT:
        op_limit_put_start(&call->limit);
        break;
    case VERB_DELETE_LIMIT:
        op_limit_delete_start(&call->limit);
        break;
    case VERB_TENANT:
        op_tenant_update_start(&call->tenant);
        break;
    case VERB_ADJUST:
        op_adjust_start(&call->adjust);
        break;
    case VERBS:
        UNREACHABLE();
    }
}

void sim_call(struct server *server, const struct ask *ask, struct reply *reply)
{
    struct call *call = calloc(1, sizeof(*call));

    CHECK(call);
    *reply = (struct reply){.group = server->group};
    if (!server->up) {
        free(call);
        reply->failure = FAILURE_DRAINING;
        return;
    }
    call->door.door = server->door;
    call->verb = ask->verb;
    call->reply = reply;
    call->server = server;
    arena_init(&call->arena, ARENA_BYTES, ARENA_MAX);
    fill(call, ask);
    call->op->services = &server->services;
    call->op->arena = &call->arena;
    call->op->tenant = text(call, ask->tenant);
    call->op->give_up_us = ask->give_up_us;
    call->op->done = answered;
    call->op->release = released;
    call->op->user = call;
    open_calls++;
    sim_door_put(server->door, begin, call);
    while (!call->answered && server->up && fibre_now_us() < ask->give_up_us)
        fibre_wait(call, ask->give_up_us < fibre_now_us() + 100000 ? ask->give_up_us
                                                                   : fibre_now_us() + 100000);
    call->reply = NULL;
    if (!server->up)
        open_calls -= !call->released;
    let_go(call);
}
