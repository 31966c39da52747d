#include "op/usage.h"

#include "base/check.h"
#include "counter/counter.h"
#include "ledger/ledger.h"
#include "op/queries.h"
#include "op/quotas.h"
#include "op/services.h"

#include <stdlib.h>

/* What Redis holds of each; NULL if it cannot be asked. */
static const struct counter_quota *read_counter(struct op *op, struct desk *desk,
                                                const struct quota_ref *refs, size_t count,
                                                bool *ret_recovering)
{
    struct counter_read read = {
        .call = {.kind = COUNTER_READ, .arena = op->arena},
        .tenant_id = op->plan->tenant_id,
        .refs_count = count,
        .refs = refs,
    };
    struct counter_call *call = &read.call;

    return op_run_counter(op->services, desk->db, desk->counter, op->plan->shard, &call, 1,
                          ret_recovering)
               ? read.states
               : NULL;
}

/* The limit as planned, with the numbers of its row; a row that is not there yet is all zeroes. */
static void fill(struct op_quota *quota, const struct limit *limit, struct quota_ref ref,
                 const struct ledger_usage *row, const struct counter_quota *state)
{
    const struct counter_quota none = {0};

    quota_from_counter(quota, limit, ref, &none);
    quota->committed = row->quota.committed;
    quota->debt = row->quota.debt;
    quota->ledger_seq = row->quota.ledger_seq;
    quota->held = row->quota.pg_held + row->quota.leased;
    quota->held_is_upper_bound = row->quota.leased > 0;
    if (state)
        quota_set_held(quota, &row->quota, state, row->old_leases_units);
}

bool usage_read(struct op *op, struct desk *desk, const struct limit *const *limits, size_t count,
                struct usage *ret_usage)
{
    struct quota_ref *refs = arena_array(op->arena, count, sizeof(*refs));
    int64_t *limit_ids = arena_array(op->arena, count, sizeof(*limit_ids));
    const struct counter_quota *states = NULL;
    struct ledger_usage *rows = NULL;
    int64_t config_version;

    *ret_usage = (struct usage){.quotas = arena_array(op->arena, count, sizeof(struct op_quota))};
    CHECK(refs && limit_ids && ret_usage->quotas);
    for (size_t i = 0; i < count; i++) {
        limit_ids[i] = limits[i]->limit_id;
        refs[i] = (struct quota_ref){limits[i]->limit_id,
                                     period_start_ms(limits[i]->period, op->now_ms)};
    }
    if (count > 0)
        states = read_counter(op, desk, refs, count, &ret_usage->recovering);
    ret_usage->redis_away = count > 0 && !states;
    if (ledger_usage_read(desk->db, op->arena, op->plan, limit_ids, count, op->now_ms, &rows,
                          &ret_usage->event_seq, &config_version) != STATUS_OK) {
        op_fail(op, FAILURE_POSTGRES_UNAVAILABLE, false,
                "the database cannot be reached: try again in a moment");
        return false;
    }
    for (size_t i = 0; i < count; i++)
        fill(&ret_usage->quotas[i], limits[i], refs[i], &rows[i], states ? &states[i] : NULL);
    return true;
}

/* --- GetUsage --------------------------------------------------------------------------------- */

static bool selects(const struct op_usage *op, const struct limit *limit)
{
    bool below = op->scope.len == 0 ||
                 (slice_starts_with(limit->scope, op->scope) &&
                  limit->scope.len > op->scope.len && limit->scope.data[op->scope.len] == '/');

    if (op->meter.len > 0 && !slice_equal(op->meter, limit->meter))
        return false;
    return slice_equal(limit->scope, op->scope) || (op->include_descendants && below);
}

static int by_name(const void *a, const void *b)
{
    const struct limit *const *left = a;
    const struct limit *const *right = b;

    return slice_compare((*left)->name, (*right)->name);
}

/* The page's limits, sorted by name; one more than max if there are more. */
static size_t select_page(struct op_usage *op, const struct limit **page)
{
    const struct plan *plan = op->op.plan;
    size_t count = 0;

    for (size_t i = 0; i < plan->limits_count; i++)
        if (selects(op, &plan->limits[i]) &&
            (op->after.len == 0 || slice_compare(plan->limits[i].name, op->after) > 0))
            page[count++] = &plan->limits[i];
    qsort(page, count, sizeof(*page), by_name);
    op->more = count > op->max;
    if (op->more)
        op->last = page[op->max - 1]->name;
    return op->more ? op->max : count;
}

static void get_usage(struct op *base, void *thread)
{
    struct op_usage *op = container_of(base, struct op_usage, op);
    struct desk *desk = thread;
    const struct limit **page;
    struct usage usage;

    if (query_plan(base, desk)) {
        page = arena_array(base->arena, base->plan->limits_count, sizeof(*page));
        CHECK(page);
        op->quotas_count = select_page(op, page);
        base->now_ms = estimate_now_ms(base->services->estimate,
                                       clock_mono_us(base->services->clock));
        if (usage_read(base, desk, page, op->quotas_count, &usage)) {
            op->quotas = usage.quotas;
            op->degraded = usage.redis_away;
            op->event_seq = usage.event_seq;
        }
    }
    op_finish(base);
}

void op_usage_start(struct op_usage *op)
{
    op_desk_start(&op->op, get_usage);
}
