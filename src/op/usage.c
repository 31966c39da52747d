#include "op/usage.h"

#include "base/amount.h"
#include "base/check.h"
#include "counter/counter.h"
#include "ledger/ledger.h"
#include "op/inbox.h"
#include "op/queries.h"
#include "op/quotas.h"
#include "op/services.h"
#include "op/stores.h"
#include "op/tenant.h"

#include <stdlib.h>
#include <string.h>

enum {
    READ_MAX = 512, /* quotas that one script is about: Redis does nothing else meanwhile */
    PERIOD_TRIES = 3,
};

_Static_assert((int)READ_MAX <= (int)COUNTER_LIST_MAX, "");

/* What Redis holds of each; NULL if it cannot be asked. */
static const struct counter_quota *read_counter(struct op *op, struct stores *stores,
                                                const struct quota_ref *refs, size_t count,
                                                bool *ret_recovering)
{
    size_t calls_count = (count + READ_MAX - 1) / READ_MAX;
    struct counter_quota *states = arena_array(op->arena, count, sizeof(*states));
    struct counter_read read;
    struct counter_call *call = &read.call;

    CHECK(states);
    for (size_t i = 0; i < calls_count; i++) {
        size_t from = i * READ_MAX;

        read = (struct counter_read){
            .call = {.kind = COUNTER_READ, .arena = op->arena},
            .tenant_id = op->plan->tenant_id,
            .refs_count = count - from < READ_MAX ? count - from : READ_MAX,
            .refs = refs + from,
        };
        if (!stores_run_shard(stores, op->plan->shard, &call, 1, ret_recovering))
            return NULL;
        memcpy(states + from, read.states, read.refs_count * sizeof(*states));
    }
    return states;
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
    quota_set_lent(quota, &row->quota);
    if (quota->set_aside > 0)
        quota->set_aside_until_ms = amount_max(quota->set_aside_until_ms, row->old_deadline_ms);
    if (state)
        quota_set_held(quota, &row->quota, state);
}

/* Of these limits, at op->now_ms. */
static bool read_at(struct op *op, struct stores *stores, const struct limit *const *limits,
                    size_t count, struct usage *ret_usage)
{
    struct quota_ref *refs = arena_array(op->arena, count, sizeof(*refs));
    int64_t *limit_ids = arena_array(op->arena, count, sizeof(*limit_ids));
    const struct counter_quota *states = NULL;
    struct ledger_usage *rows = NULL;
    enum status status;

    *ret_usage = (struct usage){.quotas = arena_array(op->arena, count, sizeof(struct op_quota))};
    CHECK(refs && limit_ids && ret_usage->quotas);
    for (size_t i = 0; i < count; i++) {
        limit_ids[i] = limits[i]->limit_id;
        refs[i] = (struct quota_ref){limits[i]->limit_id, limit_start_ms(limits[i], op->now_ms)};
    }
    if (count > 0)
        states = read_counter(op, stores, refs, count, &ret_usage->recovering);
    ret_usage->redis_away = count > 0 && !states;
    status =
        stores->table->usage_read(stores->db, op->arena, op->plan, limit_ids, count, op->now_ms,
                                  &rows, &ret_usage->event_seq, &ret_usage->config_version);
    if (status != STATUS_OK) {
        op_fail_read(op, status, stores_sqlstate(stores));
        return false;
    }
    for (size_t i = 0; i < count; i++)
        fill(&ret_usage->quotas[i], limits[i], refs[i], &rows[i], states ? &states[i] : NULL);
    return true;
}

static bool same_periods(const struct limit *const *limits, size_t count, int64_t a_ms,
                         int64_t b_ms)
{
    bool same = true;

    for (size_t i = 0; i < count && same; i++)
        same = limit_start_ms(limits[i], a_ms) == limit_start_ms(limits[i], b_ms);
    return same;
}

/*
 * The database's clock came with the answer. If a period ended before that, its PERIOD_STARTED may lie
 * below the seq that was read, and nobody would be told of it again: then all is read once more.
 */
bool usage_read(struct op *op, struct stores *stores, const struct limit *const *limits,
                size_t count, struct usage *ret_usage)
{
    for (int i = 0; i < PERIOD_TRIES; i++) {
        int64_t asked_ms = op->now_ms;

        if (!read_at(op, stores, limits, count, ret_usage))
            return false;
        op->now_ms = services_now_ms(op->services);
        if (same_periods(limits, count, asked_ms, op->now_ms))
            return true;
    }
    op_fail(op, FAILURE_CONTENTION, false, "periods kept ending while they were read: try again");
    return false;
}

/* --- GetUsage --------------------------------------------------------------------------------- */

static bool selects(const struct op_usage *op, const struct limit *limit)
{
    bool below = op->scope.len == 0 ||
                 (slice_starts_with(limit->scope, op->scope) && limit->scope.len > op->scope.len &&
                  limit->scope.data[op->scope.len] == '/');

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

/* The smallest `max` names so far; the largest of them is on top, none below is larger than the one above. */
struct heap {
    const struct limit **limits;
    size_t count, max;
};

static void swap(struct heap *heap, size_t a, size_t b)
{
    const struct limit *limit = heap->limits[a];

    heap->limits[a] = heap->limits[b];
    heap->limits[b] = limit;
}

static bool is_larger(const struct heap *heap, size_t a, size_t b)
{
    return slice_compare(heap->limits[a]->name, heap->limits[b]->name) > 0;
}

static void sift_up(struct heap *heap, size_t at)
{
    for (; at > 0 && is_larger(heap, at, (at - 1) / 2); at = (at - 1) / 2)
        swap(heap, at, (at - 1) / 2);
}

static void sift_down(struct heap *heap)
{
    size_t at = 0;

    for (size_t below = 1; below < heap->count; below = 2 * at + 1) {
        below += below + 1 < heap->count && is_larger(heap, below + 1, below);
        if (!is_larger(heap, below, at))
            return;
        swap(heap, at, below);
        at = below;
    }
}

static void offer(struct heap *heap, const struct limit *limit)
{
    if (heap->count < heap->max) {
        heap->limits[heap->count++] = limit;
        sift_up(heap, heap->count - 1);
    } else if (slice_compare(limit->name, heap->limits[0]->name) < 0) {
        heap->limits[0] = limit;
        sift_down(heap);
    }
}

/*
 * The page's limits, sorted by name. A plan is not in that order: all limits are looked at, and as many as
 * the page has, and one that tells whether there are more, are kept and sorted.
 */
static const struct limit **select_page(struct op_usage *op)
{
    const struct plan *plan = op->op.plan;
    struct heap heap = {.max = op->max + 1};

    heap.limits = arena_array(op->op.arena, heap.max, sizeof(*heap.limits));
    CHECK(heap.limits);
    for (size_t i = 0; i < plan->limits_count; i++)
        if (selects(op, &plan->limits[i]) &&
            (op->after.len == 0 || slice_compare(plan->limits[i].name, op->after) > 0))
            offer(&heap, &plan->limits[i]);
    qsort(heap.limits, heap.count, sizeof(*heap.limits), by_name);
    op->more = heap.count > op->max;
    if (op->more)
        op->last = heap.limits[op->max - 1]->name;
    op->quotas_count = op->more ? op->max : heap.count;
    return heap.limits;
}

enum { USAGE_TRIES = 2 };

/*
 * By the plan that is known, if the database has no other by now, else by that one. Of limits that change
 * all the time, the last plan that was read must do.
 */
static void get_usage(struct op *base, struct stores *stores)
{
    struct op_usage *op = container_of(base, struct op_usage, op);
    bool ready = op_need_plan(base, stores), done = false;
    struct usage usage = {0};

    for (int i = 0; ready && !done; i++) {
        const struct limit **page = select_page(op);

        base->now_ms = services_now_ms(base->services);
        ready = usage_read(base, stores, page, op->quotas_count, &usage);
        done =
            ready && (i + 1 == USAGE_TRIES || usage.config_version == base->plan->config_version);
        if (ready && !done)
            ready = query_plan(base, stores);
    }
    if (done) {
        op->quotas = usage.quotas;
        op->degraded = usage.redis_away;
        op->event_seq = usage.event_seq;
    }
    op_finish(base);
}

void op_usage_start(struct op_usage *op)
{
    inbox_to_desk(&op->op, get_usage);
}

/* --- the snapshot that a Watch begins with ---------------------------------------------------- */

enum { SNAPSHOT_TRIES = 5, SNAPSHOT_ARENA_BYTES = 256 * 1024 };

static size_t select_wanted(struct op_snapshot *op, const struct limit **wanted)
{
    const struct plan *plan = op->op.plan;
    size_t count = 0;

    for (size_t i = 0; i < plan->limits_count; i++)
        if (op->wants(op, plan->limits[i].scope, plan->limits[i].meter))
            wanted[count++] = &plan->limits[i];
    return count;
}

/*
 * Quotas of one state of the database, by the plan that it has there. False: there is another plan, or
 * the op has failed.
 */
static bool try_snapshot(struct op_snapshot *op, struct stores *stores, bool anew)
{
    struct op *base = &op->op;
    const struct limit **wanted;
    struct usage usage;
    size_t count;

    if (anew ? !query_plan(base, stores) : !op_need_plan(base, stores))
        return false;
    base->now_ms = services_now_ms(base->services);
    wanted = arena_array(base->arena, base->plan->limits_count, sizeof(*wanted));
    CHECK(wanted);
    count = select_wanted(op, wanted);
    if (!usage_read(base, stores, wanted, count, &usage) ||
        usage.config_version != base->plan->config_version)
        return false;
    op->event_seq = usage.event_seq;
    op->degraded = usage.redis_away;
    op->show(op, usage.quotas, count);
    return true;
}

static void take_snapshot(struct op *base, struct stores *stores)
{
    struct op_snapshot *op = container_of(base, struct op_snapshot, op);
    struct arena *own = base->arena, arena;
    bool done = false;

    arena_init(&arena, SNAPSHOT_ARENA_BYTES, SIZE_MAX / 2);
    base->arena = &arena;
    for (int i = 0; i < SNAPSHOT_TRIES && !done && base->error.failure == FAILURE_NONE; i++) {
        arena_reset(&arena);
        done = try_snapshot(op, stores, i > 0);
    }
    base->arena = own;
    /* The error's text stays valid: op_finish answers before the arena goes. */
    if (!done)
        op_fail(base, FAILURE_CONTENTION, false,
                "the limits kept changing while they were read: try again");
    op_finish(base);
    arena_done(&arena);
}

void op_snapshot_start(struct op_snapshot *op)
{
    inbox_to_desk(&op->op, take_snapshot);
}
