#include "op/grant_pass.h"

#include "base/check.h"
#include "base/fault.h"

enum { GRANT_ROUNDS_MAX = 3, REAPS_MAX = 6 };

/* What goes to one shard: fills, removals, scripts, in this order on one connection. */
struct shard_calls {
    int shard;
    size_t items_count, totals_count, jobs_count; /* at first: for how many there is room */
    size_t versions_count, quotas_count;
    struct counter_reserve_item *items;
    struct op_reserve **ops; /* of the items */
    struct counter_totals *totals;
    struct counter_notify_job *jobs;
    struct counter_version *versions;
    struct counter_fill *fills; /* cut to what one call may be about; the first has the versions */
    size_t fills_count;
    struct counter_notify notify;
    struct script *scripts;
    size_t scripts_count;
};

/* Some of a shard's items. */
struct script {
    struct counter_reserve reserve;
    struct op_reserve **ops;
};

struct calls {
    struct pass *pass;
    struct shard_calls *of[SHARDS]; /* NULL: nothing for it */
    struct shard_calls *all;
    size_t count;
};

static struct shard_calls *calls_of(struct calls *calls, int shard)
{
    if (!calls->of[shard]) {
        calls->of[shard] = &calls->all[calls->count++];
        calls->of[shard]->shard = shard;
    }
    return calls->of[shard];
}

/* Whose answer may have changed. */
static bool runs(const struct op_reserve *op)
{
    return !reserve_is(op, RESERVE_ANSWERED) && !reserve_is(op, RESERVE_STUCK) &&
           !reserve_is(op, RESERVE_BEGUN) && !reserve_is(op, RESERVE_NEVER) &&
           !reserve_is(op, RESERVE_AWAY);
}

/* How much there is for each shard, and room for it. */
static void make_room(struct calls *calls)
{
    struct pass *pass = calls->pass;

    for (size_t i = 0; i < pass->count; i++)
        if (runs(pass->ops[i])) {
            struct shard_calls *of = calls_of(calls, pass->ops[i]->op.plan->shard);

            of->items_count++;
            of->quotas_count += pass->ops[i]->work->quotas_count;
        }
    for (size_t i = 0; i < pass->totals_count; i++)
        calls_of(calls, pass->totals_shards[i])->totals_count++;
    for (size_t i = 0; i < pass->removals_count; i++)
        calls_of(calls, pass->removals[i].shard)->jobs_count++;
    for (size_t i = 0; i < calls->count; i++) {
        struct shard_calls *of = &calls->all[i];

        of->items = stores_scratch(pass->stores, of->items_count, sizeof(*of->items));
        of->ops = stores_scratch(pass->stores, of->items_count, sizeof(struct op_reserve *));
        of->versions = stores_scratch(pass->stores, of->items_count, sizeof(*of->versions));
        of->totals = stores_scratch(pass->stores, of->totals_count, sizeof(*of->totals));
        of->jobs = stores_scratch(pass->stores, of->jobs_count, sizeof(*of->jobs));
        of->items_count = of->totals_count = of->jobs_count = 0;
    }
}

static void add_reserve(struct calls *calls, struct op_reserve *op)
{
    struct shard_calls *of = calls_of(calls, op->op.plan->shard);
    size_t at = of->items_count++;

    of->ops[at] = op;
    of->items[at] = reserve_item(op, calls->pass->now_ms);
    if (reserve_is(op, RESERVE_PLANNED))
        of->versions[of->versions_count++] =
            (struct counter_version){.tenant_id = op->op.plan->tenant_id,
                                     .config_version = op->op.plan->config_version};
}

static struct counter_call call_for(const struct calls *calls, enum counter_kind kind, int shard)
{
    return (struct counter_call){.kind = kind,
                                 .view.shard = shard,
                                 .arena = &calls->pass->stores->scratch};
}

static void cut_fills(struct calls *calls, struct shard_calls *of)
{
    size_t most = of->totals_count / COUNTER_PART_MAX + 1, at = 0;

    of->fills = stores_scratch(calls->pass->stores, most, sizeof(*of->fills));
    if (of->totals_count == 0 && of->versions_count == 0)
        return;
    do {
        struct counter_fill *fill = &of->fills[of->fills_count++];
        size_t left = of->totals_count - at;

        fill->call = call_for(calls, COUNTER_FILL, of->shard);
        fill->now_ms = calls->pass->now_ms;
        fill->totals = of->totals + at;
        fill->totals_count = left < COUNTER_PART_MAX ? left : COUNTER_PART_MAX;
        at += fill->totals_count;
    } while (at < of->totals_count);
    of->fills[0].versions = of->versions;
    of->fills[0].versions_count = of->versions_count;
}

static void cut_scripts(struct calls *calls, struct shard_calls *of)
{
    size_t most = of->quotas_count / (COUNTER_PART_MAX - HOLD_QUOTAS_MAX) + 1, quotas = 0;
    struct script *script = NULL;

    of->scripts = stores_scratch(calls->pass->stores, most, sizeof(*of->scripts));
    for (size_t i = 0; i < of->items_count; i++) {
        size_t own = of->ops[i]->work->quotas_count;

        if (!script || quotas + own > COUNTER_PART_MAX) {
            CHECK(of->scripts_count < most);
            script = &of->scripts[of->scripts_count++];
            script->reserve.call = call_for(calls, COUNTER_RESERVE, of->shard);
            script->reserve.now_ms = calls->pass->now_ms;
            script->reserve.items = of->items + i;
            script->ops = of->ops + i;
            quotas = 0;
        }
        script->reserve.items_count++;
        quotas += own;
    }
}

static void build_calls(struct calls *calls)
{
    struct pass *pass = calls->pass;

    make_room(calls);
    for (size_t i = 0; i < pass->count; i++)
        if (runs(pass->ops[i]))
            add_reserve(calls, pass->ops[i]);
    for (size_t i = 0; i < pass->totals_count; i++) {
        struct shard_calls *of = calls_of(calls, pass->totals_shards[i]);

        of->totals[of->totals_count++] = pass->totals[i];
    }
    for (size_t i = 0; i < pass->removals_count; i++) {
        struct shard_calls *of = calls_of(calls, pass->removals[i].shard);

        of->jobs[of->jobs_count++] = pass->removals[i].job;
    }
    for (size_t i = 0; i < calls->count; i++) {
        struct shard_calls *of = &calls->all[i];

        cut_fills(calls, of);
        of->notify.call = call_for(calls, COUNTER_NOTIFY, of->shard);
        of->notify.now_ms = pass->now_ms;
        of->notify.jobs = of->jobs;
        of->notify.jobs_count = of->jobs_count;
        cut_scripts(calls, of);
    }
}

/* --- what the answers mean -------------------------------------------------------------------------- */

static bool refused_for_good(const struct op_reserve *op)
{
    const struct op_reserve_work *work = op->work;

    for (size_t i = 0; i < work->quotas_count; i++) {
        int bits = work->item.shortfalls[i];

        if (bits & SHORT_SOFT)
            return true;
        if ((bits & SHORT_UNITS) && work->known[i].root_refused)
            return true;
    }
    return false;
}

/* The root, as it refused, held something in Postgres: what of that is due makes room there. */
static bool may_have_due_in_postgres(const struct op_reserve *op)
{
    const struct op_reserve_work *work = op->work;

    for (size_t i = 0; i < work->quotas_count; i++)
        if ((work->item.shortfalls[i] & SHORT_UNITS) && work->known[i].root_refused &&
            work->known[i].have_row && work->known[i].row.pg_held > 0)
            return !work->none_due;
    return false;
}

static void judge_short(const struct pass *pass, struct op_reserve *op)
{
    struct op_reserve_work *work = op->work;

    if (refused_for_good(op)) {
        if (may_have_due_in_postgres(op)) {
            work->has_placed = true;
            reserve_step(op, RESERVE_CROWDED);
            return;
        }
        if (work->item.tenant_has_due && work->reaps < REAPS_MAX) {
            work->reaps++;
            reserve_step(op, RESERVE_CROWDED);
            if (pass->granting->quick && work->reaps > 2)
                reserve_step(op, RESERVE_STUCK);
            return;
        }
        if (work->item.tenant_has_due) { /* room may be among them: no REJECT */
            op_fail(
                &op->op, FAILURE_CONTENTION, false,
                "the tenant's expired holds are still being reaped; nothing was held: try again");
            reserve_step(op, RESERVE_ANSWERED);
            return;
        }
        reserve_rejected(op, work->item.earliest_deadline_ms, work->item.latest_deadline_ms);
        reserve_step(op, RESERVE_ANSWERED);
    } else if (++work->rounds > GRANT_ROUNDS_MAX) {
        op_fail(&op->op, FAILURE_CONTENTION, false,
                "other callers took what was granted, %d times; nothing was held: try again",
                GRANT_ROUNDS_MAX);
        reserve_step(op, RESERVE_ANSWERED);
    }
}

/* Redis was given the op's config version before the script ran. */
static bool was_told(const struct shard_calls *of, const struct op_reserve *op)
{
    const struct counter_call *fill = &of->fills[0].call;

    return reserve_is(op, RESERVE_PLANNED) && fill->status == STATUS_OK &&
           fill->guard == GUARD_PASSED && !fill->by_text;
}

static void judge_script(struct pass *pass, const struct shard_calls *of,
                         const struct script *script, size_t i, enum recovery reason)
{
    const struct counter_call *call = &script->reserve.call;
    const struct counter_reserve_item *item = &script->reserve.items[i];
    struct op_reserve *op = script->ops[i];

    if (call->status != STATUS_OK || call->guard != GUARD_PASSED) {
        pass_fail_redis(pass, op, call, reason);
        return;
    }
    op->work->stales += item->answer == RESERVED_STALE && was_told(of, op);
    reserve_take_answer(op, item);
    if (reserve_is(op, RESERVE_SHORT))
        judge_short(pass, op);
}

static size_t list_calls(const struct calls *calls, struct counter_call **list)
{
    size_t count = 0;

    for (size_t i = 0; i < calls->count; i++) {
        struct shard_calls *of = &calls->all[i];

        CHECK(count + of->fills_count + 1 + of->scripts_count <= STORES_CALLS_MAX);
        for (size_t k = 0; k < of->fills_count; k++)
            list[count++] = &of->fills[k].call;
        if (of->jobs_count > 0)
            list[count++] = &of->notify.call;
        for (size_t k = 0; k < of->scripts_count; k++)
            list[count++] = &of->scripts[k].reserve.call;
    }
    return count;
}

static void judge_scripts(struct pass *pass, const struct shard_calls *of, enum recovery reason)
{
    for (size_t i = 0; i < of->scripts_count; i++)
        for (size_t k = 0; k < of->scripts[i].reserve.items_count; k++)
            judge_script(pass, of, &of->scripts[i], k, reason);
}

/* They may have run: what they held, their repeats find. */
static void lose_answers(const struct shard_calls *of)
{
    for (size_t i = 0; i < of->scripts_count; i++) {
        struct counter_call *call = &of->scripts[i].reserve.call;

        if (call->status == STATUS_OK && FAULT("reserve.after_script"))
            call->status = STATUS_UNKNOWN;
    }
}

void pass_run_scripts(struct pass *pass)
{
    struct calls calls = {.pass = pass};
    struct counter_call **list =
        stores_scratch(pass->stores, STORES_CALLS_MAX, sizeof(struct counter_call *));
    size_t count;
    enum recovery reason;

    if (pass->totals_count > 0 && FAULT("grant.between")) /* lent, and Redis does not hear of it */
        pass->totals_count = 0;
    calls.all = stores_scratch(pass->stores, SHARDS, sizeof(*calls.all));
    build_calls(&calls);
    count = list_calls(&calls, list);
    if (count == 0)
        return;
    stores_run(pass->stores, list, count, &reason);
    for (size_t i = 0; i < calls.count; i++) {
        lose_answers(&calls.all[i]);
        judge_scripts(pass, &calls.all[i], reason);
    }
}
