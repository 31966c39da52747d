#include "op/extend_turn.h"

#include "base/check.h"
#include "base/fault.h"
#include "op/ask.h"
#include "op/authority.h"
#include "op/notify.h"
#include "op/recover.h"
#include "op/tenant.h"

enum { TRIES_MAX = 2 };

/* A lease to be pushed, of one op. */
struct push {
    struct turn *turn;
    struct ledger_grant *grants; /* one per quota of what was found */
    struct counter_fill fill;
};

static struct ledger_grant *list_pushes(struct stores *stores, const struct push *push)
{
    const struct turn *turn = push->turn;
    const struct op *op = &turn->op->op;
    const struct hold *hold = turn->found;
    struct ledger_grant *grants = stores_scratch(stores, hold->quotas_count, sizeof(*grants));
    struct shard_view view = {0};

    (void)authority_get(stores->services->authority, op->plan->shard, &view);
    for (size_t i = 0; i < hold->quotas_count; i++)
        grants[i] = (struct ledger_grant){
            .tenant_id = op->plan->tenant_id,
            .shard = op->plan->shard,
            .epoch = view.epoch,
            .ref = hold->quotas[i].quota,
            .deadline_ms = turn->script.deadline_ms + stores->services->options.lease_min_ms,
            .over_too = true,
        };
    for (size_t i = 0; push->fill.totals && i < hold->quotas_count; i++)
        grant_show(&grants[i], &push->fill.totals[i]);
    return grants;
}

/* False: there is nothing that Redis could be told. */
static bool look_at_push(struct stores *stores, struct push *push)
{
    struct turn *turn = push->turn;

    for (size_t i = 0; i < turn->found->quotas_count; i++) {
        const struct ledger_grant *grant = &push->grants[i];

        if (grant->bad && op_fail_if_bad(&turn->op->op))
            return false;
        if (grant->missing) {
            turn_end(turn, EXTEND_GONE);
            return false;
        }
        if (grant->epoch_changed) { /* the next script says what has become of the hold */
            recover_look(stores, grant->shard);
            return false;
        }
    }
    return true;
}

static struct counter_call *build_fill(struct stores *stores, struct push *push)
{
    const struct hold *hold = push->turn->found;
    struct counter_totals *totals = stores_scratch(stores, hold->quotas_count, sizeof(*totals));

    for (size_t i = 0; i < hold->quotas_count; i++)
        totals[i] = totals_from_row(&push->grants[i].quota);
    push->fill = (struct counter_fill){.call = {.kind = COUNTER_FILL,
                                                .view.shard = push->turn->op->op.plan->shard,
                                                .arena = &stores->scratch},
                                       .totals_count = hold->quotas_count,
                                       .totals = totals};
    return &push->fill.call;
}

/* The leases in the database, of all that are short. */
static void push_rows(struct stores *stores, struct push *pushes, size_t count, bool *pushed)
{
    struct ask *asks = stores_scratch(stores, count, sizeof(*asks));

    for (size_t i = 0; i < count; i++) {
        pushes[i].grants = list_pushes(stores, &pushes[i]);
        asks[i] = (struct ask){.tenant_id = pushes[i].turn->op->op.plan->tenant_id,
                               .grants = pushes[i].grants,
                               .grants_count = pushes[i].turn->found->quotas_count};
    }
    ask_root(stores, asks, count);
    for (size_t i = 0; i < count; i++) {
        struct turn *turn = pushes[i].turn;

        pushed[i] = asks[i].status == STATUS_OK && look_at_push(stores, &pushes[i]);
        turn->locked = asks[i].locked;
        if (asks[i].status != STATUS_OK && !asks[i].locked)
            op_fail_harmless(&turn->op->op, asks[i].status, asks[i].sqlstate, EXTEND_UNCHANGED);
    }
}

/* Redis has given back what the root did not know of when it pushed: once more, with that. */
static bool is_behind(const struct push *push)
{
    const struct counter_fill *fill = &push->fill;

    if (fill->call.status != STATUS_OK || fill->call.guard != GUARD_PASSED)
        return false;
    for (size_t i = 0; i < fill->totals_count; i++)
        if (grant_is_behind(&fill->totals[i]))
            return true;
    return false;
}

/* Root, then Redis. Afterwards those that are behind come first; returns how many. */
static size_t push_once(struct stores *stores, struct push *pushes, size_t count)
{
    struct counter_call **calls = stores_scratch(stores, count, sizeof(struct counter_call *));
    bool *pushed = stores_scratch(stores, count, sizeof(*pushed));
    size_t calls_count = 0, behind = 0;
    enum recovery reason;

    push_rows(stores, pushes, count, pushed);
    if (FAULT("extend.between"))
        return 0;
    for (size_t i = 0; i < count; i++)
        if (pushed[i])
            calls[calls_count++] = build_fill(stores, &pushes[i]);
    if (calls_count > 0) /* if Redis does not hear of it, the next script says so */
        (void)stores_run(stores, calls, calls_count, &reason);
    for (size_t i = 0; i < count; i++)
        if (pushed[i] && is_behind(&pushes[i]))
            pushes[behind++] = pushes[i];
    return behind;
}

bool turns_push(struct stores *stores, struct turn *turns, size_t count)
{
    struct push *pushes = stores_scratch(stores, count, sizeof(*pushes));
    size_t pushes_count = 0;

    for (size_t i = 0; i < count; i++)
        if (turn_is_short(&turns[i]))
            pushes[pushes_count++].turn = &turns[i];
    if (pushes_count == 0)
        return false;
    for (int tries = 0; tries < TRIES_MAX && pushes_count > 0; tries++)
        pushes_count = push_once(stores, pushes, pushes_count);
    return true;
}
