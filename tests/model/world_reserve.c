#include "world_state.h"

#include "base/amount.h"
#include "quota/plan.h"

#include <stdio.h>
#include <string.h>

enum { ADMIT_ROUNDS = 24 };

static const char *const scopes[] = {"", "a", "a/u", "ab"};

int world_any_job(struct world *world)
{
    int recent = world_one_in(world, 5) ? 300 : 12;
    int oldest = world->jobs_count > recent ? world->jobs_count - recent : 0;

    if (world->jobs_count == 0 || (world_one_in(world, 3) && world->jobs_count < STANDIN_JOBS_MAX)) {
        struct job *job = &world->jobs[world->jobs_count];

        *job = (struct job){0};
        snprintf(job->name, sizeof(job->name), "job-%d", world->jobs_count);
        return world->jobs_count++;
    }
    return oldest + (int)world_below(world, world->jobs_count - oldest);
}

static void keep_token(struct world *world, int job, const struct hold *hold)
{
    struct job *at = &world->jobs[job];

    if (at->tokens_count == TOKENS_MAX)
        memmove(at->tokens, at->tokens + 1, (size_t)--at->tokens_count * sizeof(*at->tokens));
    at->tokens[at->tokens_count++] = world_copy_hold(world, hold);
}

bool world_is_fenced(const struct settle_facts *facts, struct attempt attempt)
{
    for (size_t i = 0; i < facts->fences_count; i++)
        if (world_seq(facts->fences[i]) == world_seq(attempt))
            return true;
    return false;
}

static struct hold *plan_hold(struct world *world, struct model_attempt *attempt, int64_t ttl_ms)
{
    struct hold_meter meters[MODEL_METERS];
    struct hold_quota quotas[HOLD_QUOTAS_MAX];
    struct hold hold = {.mode = 1, .meters = meters, .quotas = quotas};
    size_t missing, counted = 0;

    hold.scope = slice_from_cstr(attempt->scope);
    hold.created_ms = world->now;
    hold.deadline_ms = world->now + ttl_ms;
    for (int meter = 0; meter < MODEL_METERS; meter++)
        if (attempt->units[meter] >= 0)
            meters[hold.meters_count++] = (struct hold_meter){
                slice_from_cstr(world_meters[meter]), attempt->units[meter]};
    CHECK(plan_select(world->plan, hold.scope, meters, hold.meters_count, world->now, quotas,
                      &hold.quotas_count, &missing) == PLAN_SELECTED);
    for (int i = 0; i < MODEL_LIMITS; i++) {
        const struct model_limit *limit = &world->model.limits[i];

        if (!model_counts(limit, attempt))
            continue;
        world_expect(world,
               counted < hold.quotas_count && quotas[counted].quota.limit_id == i &&
                   quotas[counted].quota.period_start_ms == model_period(limit, world->now),
               "the plan selects other quotas");
        counted++;
    }
    world_expect(world, counted == hold.quotas_count, "the plan selects more quotas");
    for (size_t i = 0; i < hold.quotas_count; i++)
        world_make_rows(world, &quotas[i].quota, 1);
    return world_copy_hold(world, &hold);
}

static bool admit(struct world *world, int job, struct hold *hold)
{
    size_t at, last = HOLD_QUOTAS_MAX;

    for (int round = 0; round < ADMIT_ROUNDS; round++) {
        struct quota_ref ref;
        int64_t available;

        if (standin_reserve(&world->redis, job, hold, world->now, &at))
            return true;
        ref = hold->quotas[at].quota;
        if (round == 8) {
            world_deliver(world);
            world_reap_due(world);
            if (world->prompt)
                world_serve_recalls(world);
        }
        available = standin_available(&world->redis, standin_key(&world->redis, ref));
        if (round == ADMIT_ROUNDS - 1 && at == last)
            world_expect(world, book_room(world_row(world, ref)) + available < hold->quotas[at].units,
                   "refused beside idle capacity");
        last = at;
        world_grant(world, ref, amount_max(hold->quotas[at].units - available, 0),
              world->now + TTL_MAX_MS + world_below(world, 5000));
    }
    return false;
}

/* True: the job has a hold in Redis already, or must not get one. */
static bool is_taken(struct world *world, int job)
{
    const struct hold *hold = world->redis.holds[job];
    const struct settle_facts *facts = &world->jobs[job].facts;

    if (hold && world_is_fenced(facts, hold->attempt))
        standin_remove(&world->redis, job, hold->attempt);
    else if (hold && hold->deadline_ms <= world->now)
        world_reap(world, job);
    return facts->record || world->redis.holds[job];
}

void world_reserve(struct world *world)
{
    int job = world_any_job(world);
    bool zombie = world->zombie_lives && world_one_in(world, 4);
    struct model_attempt attempt = {.job = job, .created = world->now};
    struct hold *hold;
    size_t at;

    attempt.scope = scopes[world_below(world, 4)];
    for (int meter = 0; meter < MODEL_METERS; meter++)
        attempt.units[meter] = meter != 2 && world_one_in(world, 4) ? -1 : world_below(world, 12);
    if (is_taken(world, job))
        return;
    if (world->prompt)
        world_serve_recalls(world);
    hold = plan_hold(world, &attempt, 1 + world_below(world, TTL_MAX_MS));
    world->counts->reserves++;
    /* A server that has not heard of the failover goes on with the old node, inside its leases. */
    if (zombie ? !standin_reserve(&world->zombie, job, hold, world->now, &at)
               : !admit(world, job, hold)) {
        world->counts->rejects++;
        return;
    }
    attempt.seq = world_seq(hold->attempt);
    attempt.deadline = hold->deadline_ms;
    keep_token(world, job, hold);
    world_expect(world, model_reserve(&world->model, &attempt, world->prompt && !zombie), "reserve");
}

void world_extend(struct world *world)
{
    int job = world_any_job(world);
    const struct hold *hold = world->redis.holds[job];
    struct hold *extended;

    if (!hold || hold->deadline_ms <= world->now)
        return;
    extended = world_copy_hold(world, hold);
    extended->deadline_ms = world->now + 1 + world_below(world, TTL_MAX_MS);
    if (extended->deadline_ms > hold->created_ms + LIFETIME_MAX_MS)
        return;
    for (size_t i = 0; i < hold->quotas_count; i++)
        world_grant(world, hold->quotas[i].quota, 0, extended->deadline_ms);
    if (!standin_extend(&world->redis, job, extended, world->now))
        return;
    world->counts->extends++;
    keep_token(world, job, extended);
    model_extend(&world->model, job, world_seq(hold->attempt), extended->deadline_ms);
}
