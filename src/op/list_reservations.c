#include "op/queries.h"

#include "base/check.h"
#include "counter/counter.h"
#include "op/inbox.h"
#include "op/services.h"
#include "op/stores.h"
#include "op/tenant.h"

/* Sorts after every job_id, which is printable ASCII. */
#define AFTER_EVERY_JOB SLICE("\x7f")

static bool covers(struct slice above, struct slice scope)
{
    return above.len == 0 || (slice_starts_with(scope, above) &&
                              (scope.len == above.len || scope.data[above.len] == '/'));
}

/* The page begins after the holds that are due: those are EXPIRED, reaped or not. */
static struct counter_holds page_of(const struct op_list_reservations *op)
{
    struct counter_holds holds = {
        .call = {.kind = COUNTER_HOLDS, .arena = op->op.arena},
        .tenant_id = op->op.plan->tenant_id,
        .after_deadline_ms = op->after_deadline_ms,
        .after_job_id = op->after_job_id,
        .max = op->max,
        .now_ms = op->op.now_ms,
    };

    if (holds.after_deadline_ms < holds.now_ms) {
        holds.after_deadline_ms = holds.now_ms;
        holds.after_job_id = AFTER_EVERY_JOB;
    }
    return holds;
}

static void show(struct op_list_reservations *op, const struct counter_holds *holds)
{
    struct op *base = &op->op;
    size_t read = 0;

    op->found = arena_array(base->arena, holds->holds_count, sizeof(*op->found));
    CHECK(op->found);
    op->more = holds->holds_count == op->max;
    for (size_t i = 0; i < holds->holds_count; i++) {
        struct op_reservation *found = &op->found[op->found_count];
        struct hold *hold;

        if (!hold_parse(base->arena, holds->holds[i].entry, &hold))
            continue;
        read++;
        op->after_deadline_ms = hold->deadline_ms;
        op->after_job_id = holds->holds[i].job_id;
        if (!covers(op->scope, hold->scope))
            continue;
        reservation_from_hold(base, hold, found);
        found->job_id = holds->holds[i].job_id;
        found->state = RESERVATION_HELD;
        op->found_count++;
    }
    /* The next page would begin where this one does. */
    if (read == 0 && op->more)
        op_fail(base, FAILURE_INTERNAL, false,
                "the holds that Redis has of tenant \"%.*s\" are not readable",
                SLICE_ARGS(base->tenant));
}

static void list(struct op *base, struct stores *stores)
{
    struct op_list_reservations *op = container_of(base, struct op_list_reservations, op);
    struct counter_holds holds;
    struct counter_call *call = &holds.call;
    bool recovering;

    base->now_ms = services_now_ms(base->services);
    if (op_need_plan(base, stores)) {
        holds = page_of(op);
        if (stores_run_shard(stores, base->plan->shard, &call, 1, &recovering))
            show(op, &holds);
        else
            query_fail_counter(base, recovering);
    }
    op_finish(base);
}

void op_list_reservations_start(struct op_list_reservations *op)
{
    inbox_to_desk(&op->op, list);
}
