#include "op/grant_pass.h"

#include "base/check.h"
#include "op/ask.h"
#include "op/dirty.h"
#include "op/redis.h"
#include "op/tenant.h"

/* It has a live hold in Postgres, later than what Redis holds of it: that is the one. */
static bool replay_placed(struct pass *pass, struct op_reserve *op,
                          const struct settle_facts *facts, const struct hold *other_or_null)
{
    if (!facts->placed || facts->placed->deadline_ms <= pass->now_ms ||
        settle_newer(facts->placed, other_or_null) != facts->placed)
        return false;
    reserve_replay_hold(op, facts->placed);
    reserve_step(op, RESERVE_ANSWERED);
    return true;
}

/* Its tenant has holds in Postgres: those are looked for before the script makes one in Redis. */
static bool may_be_placed(struct pass *pass, const struct op_reserve *op)
{
    struct services *services = pass->stores->services;

    return reserve_is(op, RESERVE_PLANNED) && !op->work->placed_asked && !redis_is_away(services) &&
           dirty_has(services->dirty, op->op.plan->tenant_id, services_mono_us(services));
}

static void judge_planned(struct pass *pass, struct op_reserve *op,
                          const struct settle_facts *facts)
{
    op->work->placed_asked = true;
    if (facts->record) {
        reserve_committed(op, facts->record);
        reserve_step(op, RESERVE_ANSWERED);
    } else if (facts->placed_unreadable) {
        op_fail_unreadable(&op->op, true);
        reserve_step(op, RESERVE_ANSWERED);
    } else {
        (void)replay_placed(pass, op, facts, NULL); /* one that is due is another attempt's */
    }
}

static void judge_known(struct pass *pass, struct op_reserve *op, const struct settle_facts *facts)
{
    struct hold *hold;

    if (facts->record) {
        reserve_committed(op, facts->record);
        reserve_step(op, RESERVE_ANSWERED);
        return;
    }
    if (op->work->item.answer == RESERVED_FINAL) {
        op_fail(
            &op->op, FAILURE_READ_ONLY, false,
            "Redis remembers a commit of this job of tenant \"%.*s\" that the database has lost; nothing "
            "was held: once the loss is accepted, reserve under another job_id, or this one after ten "
            "minutes",
            SLICE_ARGS(op->op.tenant));
        reserve_step(op, RESERVE_ANSWERED);
        return;
    }
    if (!hold_parse(&pass->stores->scratch, op->work->item.entry, &hold))
        hold = NULL;
    if (replay_placed(pass, op, facts, hold))
        return;
    if (hold && settle_is_fenced(facts, hold->attempt)) {
        pass->removals[pass->removals_count++] = (struct pass_removal){
            .shard = op->op.plan->shard,
            .job = {.tenant_id = op->op.plan->tenant_id,
                    .job_id = op->job_id,
                    .committed = false,
                    .attempt = hold->attempt},
        };
        return;
    }
    reserve_replay(op, op->work->item.entry);
    reserve_step(op, RESERVE_ANSWERED);
}

/* --- refused by the plan -------------------------------------------------------------------------- */

static void found(struct op_reserve *op, const struct counter_lookup *look)
{
    op->work->item = (struct counter_reserve_item){.entry = look->entries[0]};
    op->work->holds_lost = look->lost[0];
}

void pass_look_up(struct pass *pass)
{
    struct stores *stores = pass->stores;
    struct counter_lookup *looks = stores_scratch(stores, pass->count, sizeof(*looks));
    struct counter_call **calls =
        stores_scratch(stores, pass->count, sizeof(struct counter_call *));
    struct op_reserve **ops = stores_scratch(stores, pass->count, sizeof(struct op_reserve *));
    enum recovery reason;
    size_t count = 0;

    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];

        if (!reserve_is(op, RESERVE_REFUSED))
            continue;
        looks[count] = (struct counter_lookup){.call = {.kind = COUNTER_LOOKUP,
                                                        .view.shard = op->op.plan->shard,
                                                        .arena = &stores->scratch},
                                               .tenant_id = op->op.plan->tenant_id,
                                               .jobs_count = 1,
                                               .jobs = &op->job_id};
        calls[count] = &looks[count].call;
        ops[count++] = op;
    }
    if (count == 0 || stores_run(stores, calls, count, &reason))
        reason = RECOVERED;
    for (size_t i = 0; i < count; i++) {
        ops[i]->work->redis_unasked = false;
        if (calls[i]->status == STATUS_UNAVAILABLE && reason == RECOVERY_NO_REDIS)
            ops[i]->work->redis_unasked = true; /* the ledger may know */
        else if (calls[i]->status != STATUS_OK || calls[i]->guard != GUARD_PASSED)
            pass_fail_redis(pass, ops[i], calls[i], reason);
        else
            found(ops[i], &looks[i]);
    }
}

/* A plan that refused has chosen no quotas, and nothing was known of any. */
static bool plan_anew(struct pass *pass, struct op_reserve *op)
{
    struct op_reserve_work *work = op->work;

    if (!reserve_plan(op, pass->now_ms))
        return false;
    work->known = arena_array(op->op.arena, work->quotas_count, sizeof(*work->known));
    CHECK(work->known);
    return true;
}

/* What the plan says; if that is no refusal (any more), the op goes on. */
static void refuse(struct pass *pass, struct op_reserve *op)
{
    if (op_fail_if_read_only(&op->op, "nothing was held")) {
        reserve_step(op, RESERVE_ANSWERED);
        return;
    }
    if (op->op.plan->suspended) {
        reserve_suspended(op);
    } else if (plan_anew(pass, op)) {
        reserve_step(op, reserve_is_long(op) ? RESERVE_AWAY : RESERVE_PLANNED);
        return;
    }
    reserve_step(op, RESERVE_ANSWERED);
}

static void judge_refused(struct pass *pass, struct op_reserve *op,
                          const struct settle_facts *facts)
{
    struct slice entry = op->work->item.entry;
    struct hold *hold;

    if (facts->record) {
        reserve_committed(op, facts->record);
        reserve_step(op, RESERVE_ANSWERED);
        return;
    }
    if (!hold_parse(&pass->stores->scratch, entry, &hold))
        hold = NULL;
    if (replay_placed(pass, op, facts, hold))
        return;
    if (op->work->redis_unasked && !plan_refuses(op->op.plan) && plan_anew(pass, op) &&
        reserve_is_long(op)) {
        reserve_step(op, RESERVE_AWAY);
        return;
    }
    op->op.error = (struct op_error){0};
    if (op->work->redis_unasked) {
        op_fail(&op->op, FAILURE_REDIS_UNAVAILABLE, true,
                "Redis cannot be asked whether it holds this job; repeat with the same job_id");
        reserve_step(op, RESERVE_ANSWERED);
        return;
    }
    if (entry.len == 0 && op->work->holds_lost) {
        /* A repeat of what was held there would get a refusal that is none. */
        op_fail(
            &op->op, FAILURE_SHARD_RECOVERING, true,
            "Redis lost the tenant's holds, and this job may have one: repeat with the same job_id");
        reserve_step(op, RESERVE_ANSWERED);
        return;
    }
    if (entry.len == 0 ||
        (hold && (hold->deadline_ms <= pass->now_ms || settle_is_fenced(facts, hold->attempt)))) {
        refuse(pass, op);
        return;
    }
    reserve_replay(op, entry); /* or what cannot be read, which it says */
    reserve_step(op, RESERVE_ANSWERED);
}

/* --- what the ledger says ------------------------------------------------------------------------- */

static void fail_unread(struct op_reserve *op, const struct ask *ask)
{
    if (ask_is_refused(ask))
        op_fail_harmless(&op->op, ask->status, ask->sqlstate,
                         "repeat with the same job_id when it is mended");
    op_fail(&op->op, FAILURE_POSTGRES_UNAVAILABLE, true,
            "the database cannot be reached; repeat with the same job_id in a moment");
    op->op.error.effect_unknown = true;
    reserve_step(op, RESERVE_ANSWERED);
}

void pass_read_facts(struct pass *pass)
{
    struct stores *stores = pass->stores;
    struct ask *asks = stores_scratch(stores, pass->count, sizeof(*asks));
    struct op_reserve **asking = stores_scratch(stores, pass->count, sizeof(struct op_reserve *));
    size_t count = 0;

    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];

        if (!reserve_is(op, RESERVE_KNOWN) && !reserve_is(op, RESERVE_REFUSED) &&
            !may_be_placed(pass, op))
            continue;
        asks[count] = (struct ask){.tenant_id = op->op.plan->tenant_id, .job_id = op->job_id};
        asking[count++] = op;
    }
    ask_record(stores, asks, count);
    for (size_t i = 0; i < count; i++) {
        if (asks[i].status != STATUS_OK && reserve_is(asking[i], RESERVE_PLANNED))
            asking[i]->work->placed_asked = true; /* a second hold would be counted once */
        else if (asks[i].status != STATUS_OK)
            fail_unread(asking[i], &asks[i]);
        else if (reserve_is(asking[i], RESERVE_PLANNED))
            judge_planned(pass, asking[i], &asks[i].facts);
        else if (reserve_is(asking[i], RESERVE_KNOWN))
            judge_known(pass, asking[i], &asks[i].facts);
        else
            judge_refused(pass, asking[i], &asks[i].facts);
    }
}
