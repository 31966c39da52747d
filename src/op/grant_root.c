#include "op/grant_pass.h"

#include "base/amount.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "op/aside.h"
#include "op/authority.h"
#include "op/notify.h"
#include "op/plans.h"
#include "op/reap.h"
#include "op/recover.h"
#include "op/refusals.h"
#include "op/tenant.h"
#include "op/trace.h"
#include "quota/lease.h"

#include <inttypes.h>

/* How many due holds a Reserve has reaped for itself at first; the next time four times as many. */
enum { REAP_FIRST_MAX = 128 };

/* What would have to become free for the op, quota by quota. */
static size_t list_needs(struct pass *pass, const struct op_reserve *op, struct reap_need **ret)
{
    const struct op_reserve_work *work = op->work;
    size_t count = 0;

    *ret = stores_scratch(pass->stores, work->quotas_count, sizeof(**ret));
    for (size_t i = 0; i < work->quotas_count; i++)
        if (work->item.shortfalls[i] & SHORT_UNITS)
            (*ret)[count++] = (struct reap_need){.ref = work->quotas[i].quota,
                                                 .units = work->quotas[i].units -
                                                          counter_available(&work->item.states[i])};
    return count;
}

static struct reap_want *find_want(struct reap_want *wants, size_t count, int64_t tenant_id)
{
    for (size_t i = 0; i < count; i++)
        if (wants[i].tenant_id == tenant_id)
            return &wants[i];
    return NULL;
}

/* A second op of the tenant: more holds rather than a list of both their needs. */
static void join(struct reap_want *want, const struct reap_want *other)
{
    want->needs_count = 0;
    want->max += other->max;
    if (want->entry.len == 0) {
        want->job_id = other->job_id;
        want->entry = other->entry;
    } else if (other->entry.len > 0) {
        want->max += REAP_FIRST_MAX;
    }
}

static struct reap_want want_of(struct pass *pass, struct op_reserve *op)
{
    struct reap_want want = {.shard = op->op.plan->shard, .tenant_id = op->op.plan->tenant_id};
    struct reap_need *needs;

    if (reserve_is(op, RESERVE_DUE)) {
        want.job_id = op->job_id;
        want.entry = op->work->item.entry;
        return want;
    }
    want.max = (size_t)REAP_FIRST_MAX << (2 * (op->work->reaps > 1 ? op->work->reaps - 1 : 0));
    want.needs_count = list_needs(pass, op, &needs);
    want.needs = needs;
    return want;
}

/*
 * Whose holds cannot be reaped now waits alone: asking again at once would keep everybody else. Where no
 * waiting helps, it is told.
 */
static void set_stuck_aside(struct pass *pass, struct reap_want *wants, size_t count)
{
    struct services *services = pass->stores->services;

    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];
        const struct reap_want *want;

        if (!reserve_is(op, RESERVE_DUE) && !reserve_is(op, RESERVE_CROWDED))
            continue;
        want = find_want(wants, count, op->op.plan->tenant_id);
        if (!want || !want->stuck)
            continue;
        if (op_fail_if_bad(&op->op)) {
            reserve_step(op, RESERVE_ANSWERED);
        } else if (want->refused != STATUS_OK) {
            pass_fail_refused(op, want->refused, want->sqlstate);
        } else {
            aside_put(services->aside, want->tenant_id, services_mono_us(services));
            reserve_step(op, RESERVE_STUCK);
        }
    }
}

/* Due holds in Postgres: what they had is at the root, which is asked again. */
static void reap_in_postgres(struct pass *pass)
{
    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];

        if (!reserve_is(op, RESERVE_CROWDED) || !op->work->has_placed)
            continue;
        op->work->has_placed = false;
        op->work->asks_anew = true;
        (void)pass_make_room(pass, op);
        if (!reserve_is(op, RESERVE_CROWDED))
            continue;
        for (size_t k = 0; k < op->work->quotas_count; k++)
            op->work->known[k].root_refused = false;
        reserve_step(op, RESERVE_SHORT);
    }
}

/* One go for all tenants that need it: of each the oldest due holds, as many as make room. */
void pass_reap(struct pass *pass)
{
    struct reap_want *wants = stores_scratch(pass->stores, pass->count, sizeof(*wants));
    size_t count = 0;

    reap_in_postgres(pass);
    for (size_t i = 0; i < pass->count && count < REAP_TENANTS_MAX; i++) {
        struct op_reserve *op = pass->ops[i];
        struct reap_want want, *known;

        if (!reserve_is(op, RESERVE_DUE) && !reserve_is(op, RESERVE_CROWDED))
            continue;
        want = want_of(pass, op);
        known = find_want(wants, count, want.tenant_id);
        if (known)
            join(known, &want);
        else
            wants[count++] = want;
    }
    if (count > 0 && !reap_tenants(pass->stores, wants, count))
        log_debug("granter", "reap.incomplete tenants=%zu", count);
    set_stuck_aside(pass, wants, count);
}

/* --- grants ----------------------------------------------------------------------------------- */

enum { ROOT_BITS = SHORT_UNITS | SHORT_DEADLINE | SHORT_UNFILLED | SHORT_VANISHED };

/*
 * What the op asks of the root for its i-th quota. claimed: units of the quota that ops before it in
 * this pass want; what is available in Redis is theirs first. So together they ask for the sum of
 * what they want less what there is, once.
 */
static struct ledger_grant grant_for(const struct op_reserve *op, size_t i, int64_t claimed)
{
    const struct op_reserve_work *work = op->work;
    const struct counter_quota none = {0};
    const struct counter_quota *state =
        reserve_has_answer(op) && work->item.states ? &work->item.states[i] : &none;
    int bits = reserve_has_answer(op) && work->item.shortfalls ? work->item.shortfalls[i] : 0;
    int64_t units = work->quotas[i].units;
    struct ledger_grant grant = {
        .tenant_id = op->op.plan->tenant_id,
        .shard = op->op.plan->shard,
        .ref = work->quotas[i].quota,
        .outstanding = amount_add_saturated(state->held, units),
    };

    if (bits & (SHORT_UNFILLED | SHORT_VANISHED))
        grant.needed = units;
    else
        grant.needed = amount_max(0, amount_min(units, claimed + units - counter_available(state)));
    if (state->exists) {
        grant.seen_lease_id = state->lease_id;
        grant.seen_returned = state->returned;
    }
    if (bits & SHORT_VANISHED)
        grant.vanished_lease_id = state->lease_id;
    return grant;
}

/*
 * The lease is to outlive the hold, by lease_min and no more: what is lent is set aside for as long when
 * Redis is lost.
 */
static int64_t lease_deadline_ms(const struct services *services, const struct op_reserve *op,
                                 int64_t now_ms)
{
    int64_t ahead_ms =
        amount_min(op->ttl_ms, services->options.ttl_max_ms) + services->options.lease_min_ms;

    return now_ms + amount_min(ahead_ms, services->options.lease_max_ms);
}

static struct refusal_key refusal_key(const struct op_reserve *op, size_t i, int64_t lacks)
{
    return (struct refusal_key){
        .tenant_id = op->op.plan->tenant_id,
        .ref = op->work->quotas[i].quota,
        .config_version = op->op.plan->config_version,
        .lacks = lacks,
    };
}

/*
 * Nobody has asked Redis about it yet. Where a quota has no row yet Redis cannot have it either, so the
 * first lease is lent before the script is run for the first time; a quota with a row is left as it is.
 */
static bool is_unasked(const struct op_reserve *op)
{
    if (!reserve_is(op, RESERVE_PLANNED))
        return false;
    for (size_t i = 0; i < op->work->quotas_count; i++)
        if (op->work->quotas[i].units >
            plan_limit(op->op.plan, op->work->quotas[i].quota.limit_id)->cap)
            return false; /* it will never be admitted: nothing is lent for it */
    return true;
}

/* Which of the op's quotas go to the root in this pass. */
static bool asks_root(struct pass *pass, struct op_reserve *op, size_t i,
                      const struct ledger_grant *grant, int64_t mono_us)
{
    struct reserve_quota *known = &op->work->known[i];
    struct refusal_key key;
    int bits;

    if (reserve_is(op, RESERVE_NEVER) || grant->only_new)
        return true;
    if (!reserve_is(op, RESERVE_SHORT))
        return false;
    bits = op->work->item.shortfalls[i];
    if (!(bits & ROOT_BITS) && grant->needed == 0)
        return false;
    key = refusal_key(op, i, grant->needed);
    if (bits == SHORT_UNITS && !op->work->asks_anew &&
        refusals_get(pass->granting->refusals, &key, mono_us, &known->row,
                     &known->old_leases_units)) {
        known->have_row = true;
        known->root_refused = true;
        return false;
    }
    return true;
}

/* Units wanted of each quota so far in this pass; open addressing, at most half full. */
struct claim {
    int64_t tenant_id; /* 0: free */
    struct quota_ref ref;
    int64_t units;
};

struct claims {
    size_t slots_count; /* a power of two */
    struct claim *slots;
};

static void claims_init(struct claims *claims, struct stores *stores, size_t quotas_max)
{
    claims->slots_count = 16;
    while (claims->slots_count < 2 * quotas_max)
        claims->slots_count *= 2;
    claims->slots = stores_scratch(stores, claims->slots_count, sizeof(*claims->slots));
}

static int64_t *claims_find(struct claims *claims, int64_t tenant_id, struct quota_ref ref)
{
    const int64_t key[3] = {tenant_id, ref.limit_id, ref.period_start_ms};
    size_t at = hash_bytes(key, sizeof(key)) & (claims->slots_count - 1);

    while (claims->slots[at].tenant_id != 0 && (claims->slots[at].tenant_id != tenant_id ||
                                                !quota_ref_equal(claims->slots[at].ref, ref)))
        at = (at + 1) & (claims->slots_count - 1);
    claims->slots[at].tenant_id = tenant_id;
    claims->slots[at].ref = ref;
    return &claims->slots[at].units;
}

static size_t quotas_in_all(const struct pass *pass)
{
    size_t count = 0;

    for (size_t i = 0; i < pass->count; i++)
        count += pass->ops[i]->work->quotas_count;
    return count;
}

struct grant_owner {
    struct op_reserve *op;
    size_t quota;
};

static struct grant_owner *list_grants(struct pass *pass, struct ledger_grant **ret_grants,
                                       size_t *ret_count)
{
    size_t max = quotas_in_all(pass), count = 0;
    struct ledger_grant *grants = stores_scratch(pass->stores, max, sizeof(*grants));
    struct grant_owner *owners = stores_scratch(pass->stores, max, sizeof(*owners));
    int64_t mono_us = stores_mono_us(pass->stores);
    struct claims claims;

    claims_init(&claims, pass->stores, max);
    for (size_t k = 0; k < pass->count; k++) {
        struct op_reserve *op = pass->ops[k];
        struct shard_view view;
        bool unasked = is_unasked(op);

        if ((!reserve_is(op, RESERVE_SHORT) && !reserve_is(op, RESERVE_NEVER) && !unasked) ||
            !authority_get(pass->stores->services->authority, op->op.plan->shard, &view))
            continue;
        for (size_t i = 0; i < op->work->quotas_count; i++) {
            int64_t *claimed =
                claims_find(&claims, op->op.plan->tenant_id, op->work->quotas[i].quota);
            struct ledger_grant grant = grant_for(op, i, *claimed);

            grant.only_new = unasked;
            if (!reserve_is(op, RESERVE_NEVER))
                *claimed = amount_add_saturated(*claimed, op->work->quotas[i].units);
            if (!asks_root(pass, op, i, &grant, mono_us))
                continue;
            grants[count] = grant;
            grants[count].epoch = view.epoch;
            if (!reserve_is(op, RESERVE_NEVER))
                grants[count].deadline_ms =
                    lease_deadline_ms(pass->stores->services, op, pass->now_ms);
            owners[count++] = (struct grant_owner){.op = op, .quota = i};
        }
    }
    *ret_grants = grants;
    *ret_count = count;
    return owners;
}

static void keep_totals(struct pass *pass, const struct ledger_grant *grant)
{
    for (size_t i = 0; i < pass->totals_count; i++)
        if (pass->totals[i].tenant_id == grant->tenant_id &&
            quota_ref_equal(pass->totals[i].ref, grant->ref)) {
            pass->totals[i] = totals_from_row(&grant->quota);
            return;
        }
    pass->totals_shards[pass->totals_count] = grant->shard;
    pass->totals[pass->totals_count++] = totals_from_row(&grant->quota);
}

/*
 * The row has another epoch than we believe, or a lease of an epoch that it does not know, or the last
 * lease that this epoch has an id for.
 */
static void look_again(struct pass *pass, const struct ledger_grant *grant)
{
    int64_t lease = lease_epoch(grant->quota.lease_id);

    if (grant->quota.epoch > 0 && lease > grant->quota.epoch)
        recover_above(pass->stores, grant->shard, lease, "a lease of a later epoch");
    else if (grant->quota.epoch == grant->epoch && !lease_may_begin(&grant->quota))
        recover_above(pass->stores, grant->shard, lease, "the last lease of an epoch");
    else
        recover_look(pass->stores, grant->shard);
}

/*
 * Redis had, before the row was locked, a later lease of this epoch than the row has, or more of it:
 * whatever it had came from the row, and these numbers only rise.
 */
static bool redis_is_ahead(const struct grant_owner *owner, const struct ledger_grant *grant)
{
    const struct op_reserve_work *work = owner->op->work;
    const struct counter_quota *state;

    if (!reserve_has_answer(owner->op) || !work->item.states)
        return false;
    state = &work->item.states[owner->quota];
    if (lease_epoch(state->lease_id) != grant->quota.epoch)
        return false;
    return state->lease_id > grant->quota.lease_id ||
           (state->exists && state->lease_id == grant->quota.lease_id &&
            (state->granted > grant->quota.granted - grant->granted_units ||
             state->spent > grant->quota.spent));
}

static void take_grant(struct pass *pass, const struct grant_owner *owner,
                       const struct ledger_grant *grant)
{
    struct op_reserve *op = owner->op;
    struct reserve_quota *known = &op->work->known[owner->quota];

    if (grant->only_new && !grant->made)
        return; /* the script says what is there */
    if (!reserve_is(op, RESERVE_SHORT) && !reserve_is(op, RESERVE_NEVER) &&
        !reserve_is(op, RESERVE_PLANNED))
        return; /* another grant of the op was answered otherwise */
    if (grant->bad && op_fail_if_bad(&op->op)) {
        reserve_step(op, RESERVE_ANSWERED);
        return;
    }
    if (grant->missing) { /* the limit was deleted or the period closed: plan anew */
        plans_forget(pass->stores->services->plans, op->op.tenant);
        plan_unref(op->op.plan);
        op->op.plan = NULL;
        op->work->rounds++;
        reserve_step(op, RESERVE_BEGUN);
        return;
    }
    if (grant->epoch_changed) {
        look_again(pass, grant);
        return;
    }
    if (redis_is_ahead(owner, grant)) {
        recover_above(pass->stores, grant->shard, grant->quota.epoch, "a later lease");
        return;
    }
    known->have_row = true;
    known->row = grant->quota;
    known->old_leases_units = grant->old_leases_units;
    services_note_reaped_to(pass->stores->services, grant->quota.reaped_to_ms);
    if (reserve_is(op, RESERVE_NEVER)) /* the root was shown to us, and not asked for anything */
        return;
    /* Of nothing the root can lend nothing: whether nothing fits, the script says that runs next. */
    known->root_refused =
        grant->granted_units < grant->needed || op->work->quotas[owner->quota].units == 0;
    if (grant->granted_units < grant->needed) {
        struct refusal_key key =
            refusal_key(op, owner->quota, grant->needed - grant->granted_units);

        refusals_put(pass->granting->refusals, &key, &grant->quota, grant->old_leases_units,
                     stores_mono_us(pass->stores));
    }
    keep_totals(pass, grant);
}

/* Those with locked rows are set aside; *count is what is left of the lists. */
static void set_aside(struct pass *pass, struct grant_owner *owners, struct ledger_grant *grants,
                      size_t *count)
{
    struct services *services = pass->stores->services;
    size_t kept = 0;

    for (size_t i = 0; i < *count; i++) {
        struct op_reserve *op = owners[i].op;

        if (grants[i].locked) {
            if (!reserve_is(op, RESERVE_STUCK)) {
                aside_put(services->aside, grants[i].tenant_id, services_mono_us(services));
                reserve_step(op, RESERVE_STUCK);
            }
        } else if (!reserve_is(op, RESERVE_STUCK)) {
            owners[kept] = owners[i];
            grants[kept++] = grants[i];
        }
    }
    *count = kept;
}

/* Whose rows were locked without a wait is left out no longer. */
static void take_back(struct pass *pass, const struct ledger_grant *grants, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (i == 0 || grants[i].tenant_id != grants[i - 1].tenant_id)
            aside_forget(pass->stores->services->aside, grants[i].tenant_id);
}

/* Where the second half of the ops begins; 0: there is one op only. */
static size_t half_of(const struct grant_owner *owners, size_t count)
{
    for (size_t at = (count + 1) / 2; at < count; at++)
        if (owners[at].op != owners[at - 1].op)
            return at;
    for (size_t at = count / 2; at > 0; at--)
        if (owners[at].op != owners[at - 1].op)
            return at;
    return 0;
}

/*
 * One transaction for all; where it ran into locked rows, one more without their tenants. If that
 * conflicts again, the next pass asks anew. What the database refuses is looked for by halves.
 */
static void ask(struct pass *pass, struct grant_owner *owners, struct ledger_grant *grants,
                size_t count)
{
    struct stores *stores = pass->stores;
    enum status status = STATUS_CONFLICT;
    int64_t now_ms;
    size_t half;

    for (int i = 0; i < 2 && count > 0 && status == STATUS_CONFLICT; i++) {
        status = stores->table->grant_run(stores->db, &stores->scratch, grants, count, &now_ms);
        if (status == STATUS_CONFLICT)
            set_aside(pass, owners, grants, &count);
    }
    if (status == STATUS_CONFLICT)
        return;
    half = half_of(owners, count);
    if (half > 0 && stores_refused(stores, status)) {
        ask(pass, owners, grants, half);
        ask(pass, owners + half, grants + half, count - half);
        return;
    }
    if (status == STATUS_OK)
        trace_grants(stores->services->trace, now_ms, grants, count);
    for (size_t i = 0; i < count; i++) {
        if (status == STATUS_OK)
            take_grant(pass, &owners[i], &grants[i]);
        else if (!reserve_is(owners[i].op, RESERVE_ANSWERED))
            pass_fail_postgres(pass, owners[i].op, status, false);
    }
    if (status == STATUS_OK)
        take_back(pass, grants, count);
}

void pass_ask_root(struct pass *pass)
{
    struct ledger_grant *grants;
    struct grant_owner *owners;
    size_t count;

    owners = list_grants(pass, &grants, &count);
    pass->totals = stores_scratch(pass->stores, count, sizeof(*pass->totals));
    pass->totals_shards = stores_scratch(pass->stores, count, sizeof(int));
    if (count == 0)
        return;
    ask(pass, owners, grants, count);
}
