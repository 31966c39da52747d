/*
 * Redis cannot be used: the database takes the holds of all that wait, in one transaction and without a word
 * to Redis. What is committed, held in Postgres or lent to Redis counts in full (quota/place.h).
 *
 *     taken, or there already   ALLOW or WARN, degraded; a repeat gets its hold again
 *     the job's hold is due     it is reaped, then again
 *     no room                   what is due in the tenant is reaped, then again; then REJECT, if there would
 *                               be no room without what is lent either; else UNAVAILABLE: Redis could tell
 *     another plan              it is loaded, then again
 *
 * So comes one that is to last longer than holds in Redis may, after Redis was asked whether it holds the
 * job. If there is no room beside what is lent, or Postgres is away, Redis has it for as long as it may.
 */
#include "op/grant_pass.h"

#include "base/breaker.h"
#include "base/check.h"
#include "base/fault.h"
#include "op/aside.h"
#include "op/degraded.h"
#include "op/dirty.h"
#include "op/plans.h"
#include "op/redis.h"
#include "op/tenant.h"
#include "op/trace.h"
#include "quota/times.h"

#include <string.h>

enum {
    PLACES_MAX = 4,      /* tries of one op */
    REAP_MAX = 256,      /* due holds that are reaped for one op at a time */
    ROOMS_MAX = 6,       /* so many times, and then as many again by who is patient */
    ROOMS_QUICK_MAX = 2, /* by who serves others too */
    WAIT_MS = 50,        /* in a pass; there are enough of them for REDIS_BACK_SOON_MS */
};

/* An op with what is asked for it. */
struct placing {
    struct op_reserve *op;
    struct ledger_place *place;
};

/* Would go to Redis next. */
static bool needs_redis(const struct op_reserve *op)
{
    switch (op->work->stage) {
    case RESERVE_PLANNED:
    case RESERVE_STALE:
    case RESERVE_KNOWN:
    case RESERVE_DUE:
    case RESERVE_SHORT:
    case RESERVE_CROWDED:
        return true;
    case RESERVE_AWAY:
    case RESERVE_BEGUN:
    case RESERVE_NEVER:
    case RESERVE_REFUSED:
    case RESERVE_STUCK:
    case RESERVE_ANSWERED:
        break;
    }
    return false;
}

static struct ledger_place place_for(struct pass *pass, const struct op_reserve *op)
{
    struct hold *wanted = stores_scratch(pass->stores, 1, sizeof(*wanted));
    struct hold_meter *meters = stores_scratch(pass->stores, op->meters_count, sizeof(*meters));

    memcpy(meters, op->meters, op->meters_count * sizeof(*meters));
    *wanted = (struct hold){
        .scope = op->scope,
        .mode = op->mode,
        .meters_count = op->meters_count,
        .meters = meters,
        .quotas_count = op->work->quotas_count,
        .quotas = op->work->quotas,
    };
    return (struct ledger_place){
        .place = {.tenant_id = op->op.plan->tenant_id,
                  .job_id = op->job_id,
                  .wanted = wanted,
                  .ttl_ms = reserve_ttl_ms(op, true),
                  .deferrable = op->deferrable},
        .config_version = op->op.plan->config_version,
        .ledger_part = op->op.plan->ledger_part,
    };
}

/* The plan, or a quota of it, is not the root's any more. */
static void begin_anew(struct pass *pass, struct op_reserve *op)
{
    plans_forget(pass->stores->services->plans, op->op.tenant);
    plan_unref(op->op.plan);
    op->op.plan = NULL;
    reserve_step(op, RESERVE_BEGUN);
}

/* It is here because it is to last long: for less, Redis may have it. */
static bool leave_to_redis(struct pass *pass, struct op_reserve *op)
{
    if (!reserve_is_long(op) || redis_is_away(pass->stores->services))
        return false;
    op->work->shortened = true;
    reserve_step(op, RESERVE_PLANNED);
    return true;
}

/* Postgres is away. If it was sent and not answered, a row may be there, which ends by its deadline. */
static bool goes_without(struct pass *pass, struct op_reserve *op, enum status status)
{
    if (status == STATUS_UNAVAILABLE && leave_to_redis(pass, op))
        return true;
    return !stores_refused(pass->stores, status) && pass_open(pass, op);
}

/* Those of the tenant, or this one. Whatever comes of it, the op tries again. */
static enum status reap_due(struct pass *pass, struct op_reserve *op,
                            const struct hold *due_or_null)
{
    const struct ledger_due_want want = {.tenant_id = op->op.plan->tenant_id, .max = REAP_MAX};
    struct stores *stores = pass->stores;
    struct ledger_due one, *dues = &one;
    size_t count = 1;
    enum status status = STATUS_OK;

    if (due_or_null) {
        one = (struct ledger_due){.tenant_id = want.tenant_id,
                                  .job_id = op->job_id,
                                  .attempt = due_or_null->attempt};
    } else {
        status = stores->table->placed_due(stores->db, &stores->scratch, &want, &dues, &count);
        op->work->none_due = status == STATUS_OK && count < REAP_MAX;
    }
    if (status == STATUS_OK && count > 0)
        status = stores->table->placed_reap(stores->db, &stores->scratch, dues, count);
    return status;
}

/* Its rows are locked, or it has had its turns here: it waits alone. */
static void wait_alone(struct pass *pass, struct op_reserve *op)
{
    aside_put(pass->stores->services->aside, op->op.plan->tenant_id, stores_mono_us(pass->stores));
    reserve_step(op, RESERVE_STUCK);
}

static void make_room(struct pass *pass, struct op_reserve *op, const struct hold *due_or_null)
{
    enum status status = reap_due(pass, op, due_or_null);

    if (status == STATUS_CONFLICT) {
        op->work->none_due = false;
        wait_alone(pass, op);
    } else if (status != STATUS_OK &&
               !(reserve_is(op, RESERVE_AWAY) && goes_without(pass, op, status))) {
        pass_fail_postgres(pass, op, status, false);
    }
}

bool pass_make_room(struct pass *pass, struct op_reserve *op)
{
    struct op_reserve_work *work = op->work;

    if (work->none_due)
        return false;
    work->none_due = pass->none_due_tenant_id == op->op.plan->tenant_id;
    if (work->none_due)
        return true; /* another op has just found out */
    if (++work->rooms > ROOMS_MAX) {
        op_fail(&op->op, FAILURE_CONTENTION, false,
                "the tenant's expired holds are still being reaped; nothing was held: try again");
        reserve_step(op, RESERVE_ANSWERED);
    } else if (pass->granting->quick && work->rooms > ROOMS_QUICK_MAX) {
        work->rooms = 0;
        reserve_step(op, RESERVE_STUCK);
    } else {
        make_room(pass, op, NULL);
        if (work->none_due)
            pass->none_due_tenant_id = op->op.plan->tenant_id;
    }
    return true;
}

/* False: it has had its tries. */
static bool may_try_again(struct op_reserve *op)
{
    if (++op->work->places < PLACES_MAX)
        return true;
    op_fail(&op->op, FAILURE_CONTENTION, false,
            "what the reservation needs kept changing; nothing was held: try again");
    reserve_step(op, RESERVE_ANSWERED);
    return false;
}

/* Redis has only just gone: whoever has the time waits a moment. */
static bool waits_for_redis(struct pass *pass, struct op_reserve *op)
{
    struct stores *stores = pass->stores;
    int open_ms = breaker_open_ms(stores->services->redis_breaker, stores_mono_us(stores));

    if (open_ms >= REDIS_BACK_SOON_MS)
        return false;
    if (pass->granting->quick) {
        reserve_step(op, RESERVE_STUCK);
        return true;
    }
    if (!pass->waited)
        stores->table->pause_ms(WAIT_MS);
    pass->waited = true;
    reserve_step(op, RESERVE_PLANNED);
    return true;
}

void pass_note_degraded(struct pass *pass, const struct op_reserve *op)
{
    struct services *services = pass->stores->services;

    if (op->degraded && redis_is_away(services))
        degraded_note(services->degraded, op->op.plan->tenant_id, services_mono_us(services));
}

/* With Redis there: that is no fallback. */
static bool is_here_for_its_length(struct pass *pass, const struct op_reserve *op)
{
    return reserve_is_long(op) && !redis_is_away(pass->stores->services);
}

static void take_short(struct pass *pass, const struct placing *placing)
{
    struct op_reserve *op = placing->op;

    if (pass_make_room(pass, op))
        return;
    if (!placing->place->place.certain &&
        (leave_to_redis(pass, op) || pass_open(pass, op) || waits_for_redis(pass, op)))
        return;
    if (placing->place->place.certain && !op->work->maybe_held)
        reserve_root_rejected(op, placing->place->rows);
    else
        op_fail(&op->op, FAILURE_REDIS_UNAVAILABLE, false,
                "Redis cannot be asked whether what it was lent is in use, and there is no room "
                "beside that; nothing was held: try again");
    op->degraded &= !is_here_for_its_length(pass, op);
    pass_note_degraded(pass, op);
    reserve_step(op, RESERVE_ANSWERED);
}

static void take_hold(struct pass *pass, const struct placing *placing, bool is_new)
{
    struct services *services = pass->stores->services;
    struct op_reserve *op = placing->op;
    const struct hold *hold = placing->place->place.hold;

    if (is_new)
        reserve_placed(op, hold, placing->place->rows);
    else
        reserve_replay_hold(op, hold);
    op->degraded = !is_here_for_its_length(pass, op);
    services_note_hold(services, hold->deadline_ms);
    dirty_add(services->dirty, op->op.plan->tenant_id, services_mono_us(services));
    pass_note_degraded(pass, op);
    reserve_step(op, RESERVE_ANSWERED);
}

static void take_answer(struct pass *pass, const struct placing *placing)
{
    struct op_reserve *op = placing->op;
    const struct place *place = &placing->place->place;

    if (placing->place->stale) {
        if (may_try_again(op))
            begin_anew(pass, op);
        return;
    }
    switch (place->end) {
    case PLACE_TAKEN:
    case PLACE_STANDS:
        take_hold(pass, placing, place->end == PLACE_TAKEN);
        return;
    case PLACE_DUE:
        if (may_try_again(op))
            make_room(pass, op, place->hold);
        return;
    case PLACE_COMMITTED:
        reserve_committed(op, place->facts->record);
        break;
    case PLACE_SHORT:
        take_short(pass, placing);
        return;
    case PLACE_GONE:
        if (may_try_again(op))
            begin_anew(pass, op);
        return;
    case PLACE_UNREADABLE:
        op_fail_unreadable(&op->op, true);
        break;
    case PLACE_INCONSISTENT:
        if (!op_fail_if_bad(&op->op))
            return; /* it has been mended since */
        break;
    case PLACE_OPEN:
        UNREACHABLE();
    }
    reserve_step(op, RESERVE_ANSWERED);
}

/* Those with locked rows wait alone; returns how many are left. */
static size_t set_aside(struct pass *pass, struct placing *all, size_t count)
{
    struct services *services = pass->stores->services;
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (!all[i].place->locked) {
            all[kept++] = all[i];
            continue;
        }
        aside_put(services->aside, all[i].place->place.tenant_id, services_mono_us(services));
        reserve_step(all[i].op, RESERVE_STUCK);
    }
    return kept;
}

static enum status run(struct pass *pass, struct placing *all, size_t count)
{
    struct stores *stores = pass->stores;
    struct ledger_place *places = stores_scratch(stores, count, sizeof(*places));
    enum status status;
    int64_t now_ms;

    if (FAULT("place.before"))
        return STATUS_UNAVAILABLE;
    for (size_t i = 0; i < count; i++)
        places[i] = *all[i].place;
    status = stores->table->place_run(stores->db, &stores->scratch, places, count, &now_ms);
    for (size_t i = 0; i < count; i++)
        *all[i].place = places[i];
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        if (places[i].rows)
            trace_rows(stores->services->trace, now_ms, places[i].rows,
                       places[i].place.wanted->quotas_count);
    /* Taken, and nobody knows. */
    return status == STATUS_OK && FAULT("place.after") ? STATUS_UNKNOWN : status;
}

/* As the grants: once more without those whose rows are locked; what is refused is looked for by halves. */
static void ask(struct pass *pass, struct placing *all, size_t count)
{
    enum status status = STATUS_CONFLICT;

    for (int i = 0; i < 2 && count > 0 && status == STATUS_CONFLICT; i++) {
        status = run(pass, all, count);
        if (status == STATUS_CONFLICT)
            count = set_aside(pass, all, count);
    }
    if (status == STATUS_CONFLICT)
        return;
    if (count > 1 && stores_refused(pass->stores, status)) {
        ask(pass, all, count / 2);
        ask(pass, all + count / 2, count - count / 2);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (status == STATUS_OK)
            take_answer(pass, &all[i]);
        else if (!goes_without(pass, all[i].op, status))
            pass_fail_postgres(pass, all[i].op, status, status == STATUS_UNKNOWN);
    }
}

void pass_place(struct pass *pass)
{
    struct placing *all = stores_scratch(pass->stores, pass->count, sizeof(*all));
    bool away = redis_is_away(pass->stores->services);
    size_t count = 0;

    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];

        if (away && needs_redis(op))
            reserve_step(op, RESERVE_AWAY);
        if (!reserve_is(op, RESERVE_AWAY))
            continue;
        if (!is_here_for_its_length(pass, op) && (pass_is_closed(op) || pass_open_again(pass, op)))
            continue;
        all[count].op = op;
        all[count].place = stores_scratch(pass->stores, 1, sizeof(*all[count].place));
        *all[count++].place = place_for(pass, op);
    }
    if (count > 0)
        ask(pass, all, count);
}
