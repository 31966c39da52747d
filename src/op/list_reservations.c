#include "op/queries.h"

#include "base/check.h"
#include "counter/counter.h"
#include "op/dirty.h"
#include "op/inbox.h"
#include "op/redis.h"
#include "op/services.h"
#include "op/stores.h"
#include "op/tenant.h"

#include <stdlib.h>

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

/* One of either place. */
struct found {
    struct slice job_id;
    const struct hold *hold;
};

static int order(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    if (x->hold->deadline_ms != y->hold->deadline_ms)
        return x->hold->deadline_ms < y->hold->deadline_ms ? -1 : 1;
    return slice_compare(x->job_id, y->job_id);
}

/* A page of each place, and of both together what one page holds. */
static size_t join(struct op_list_reservations *op, const struct counter_holds *holds,
                   const struct ledger_placed *placed, size_t placed_count, struct found **ret)
{
    struct op *base = &op->op;
    struct found *all =
        arena_array(base->arena, holds->holds_count + placed_count + 1, sizeof(*all));
    size_t count = 0;

    CHECK(all);
    for (size_t i = 0; i < holds->holds_count; i++) {
        struct hold *hold;

        if (hold_parse(base->arena, holds->holds[i].entry, &hold))
            all[count++] = (struct found){holds->holds[i].job_id, hold};
    }
    for (size_t i = 0; i < placed_count; i++)
        all[count++] = (struct found){placed[i].job_id, placed[i].hold};
    qsort(all, count, sizeof(*all), order);
    *ret = all;
    return count < op->max ? count : op->max;
}

static void show(struct op_list_reservations *op, const struct counter_holds *holds,
                 const struct ledger_placed *placed, size_t placed_count)
{
    struct op *base = &op->op;
    struct found *all;
    size_t count = join(op, holds, placed, placed_count, &all);

    op->found = arena_array(base->arena, count + 1, sizeof(*op->found));
    CHECK(op->found);
    op->more = holds->holds_count == op->max || placed_count == op->max ||
               holds->holds_count + placed_count > count;
    for (size_t i = 0; i < count; i++) {
        struct op_reservation *found = &op->found[op->found_count];

        op->after_deadline_ms = all[i].hold->deadline_ms;
        op->after_job_id = all[i].job_id;
        if (!covers(op->scope, all[i].hold->scope))
            continue;
        reservation_from_hold(base, all[i].hold, found);
        found->job_id = all[i].job_id;
        found->state = RESERVATION_HELD;
        op->found_count++;
    }
    /* The next page would begin where this one does. */
    if (count == 0 && op->more)
        op_fail(base, FAILURE_INTERNAL, false,
                "the holds that Redis has of tenant \"%.*s\" are not readable",
                SLICE_ARGS(base->tenant));
}

/*
 * Those in Postgres, whether this server has heard of any or not. While the database is away the tenant has
 * none unless it is known to, or Redis is away too. False: the op has failed.
 */
static bool list_placed(struct op_list_reservations *op, struct stores *stores,
                        const struct counter_holds *page, struct ledger_placed **ret,
                        size_t *ret_count)
{
    struct op *base = &op->op;
    enum status status;

    *ret_count = 0;
    status = stores->table->placed_list(stores->db, base->arena, base->plan->tenant_id,
                                        page->after_deadline_ms, page->after_job_id, op->max, ret,
                                        ret_count);
    if (status == STATUS_OK && *ret_count > 0) /* known from here on, whatever the last beat said */
        dirty_add(base->services->dirty, base->plan->tenant_id, stores_mono_us(stores));
    if (status == STATUS_OK)
        return true;
    *ret_count = 0;
    if (!stores_refused(stores, status) && !op->degraded &&
        !dirty_has(base->services->dirty, base->plan->tenant_id, stores_mono_us(stores)))
        return true;
    op_fail_read(base, status, stores_sqlstate(stores));
    return false;
}

static void list(struct op *base, struct stores *stores)
{
    struct op_list_reservations *op = container_of(base, struct op_list_reservations, op);
    struct counter_holds holds;
    struct counter_call *call = &holds.call;
    struct ledger_placed *placed = NULL;
    size_t placed_count;
    bool recovering;

    base->now_ms = services_now_ms(base->services);
    if (op_need_plan(base, stores)) {
        holds = page_of(op);
        op->degraded = !stores_run_shard(stores, base->plan->shard, &call, 1, &recovering);
        if (op->degraded)
            holds.holds_count = 0;
        if (op->degraded && (recovering || !redis_is_away(base->services)))
            query_fail_counter(base, recovering);
        else if (list_placed(op, stores, &holds, &placed, &placed_count))
            show(op, &holds, placed, placed_count);
    }
    op_finish(base);
}

void op_list_reservations_start(struct op_list_reservations *op)
{
    inbox_to_desk(&op->op, list);
}
