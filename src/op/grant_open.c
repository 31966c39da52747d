/*
 * What the limits of a reservation say of a Redis that is away (enum redis_away, the strictest decides).
 *
 *     CLOSED     UNAVAILABLE, before anything is asked
 *     POSTGRES   grant_place.c
 *     OPEN       the same; where it would end UNAVAILABLE, a hold that no store counts (open.h)
 *
 * A certain no of the root stays a no: then a store has said so.
 */
#include "op/grant_pass.h"

#include "base/breaker.h"
#include "base/check.h"
#include "op/ask.h"
#include "op/open.h"
#include "op/redis.h"

#include <string.h>

static enum redis_away away_of(const struct op_reserve *op)
{
    return plan_redis_away(op->op.plan, op->work->quotas, op->work->quotas_count);
}

bool pass_is_closed(struct op_reserve *op)
{
    if (away_of(op) != REDIS_AWAY_CLOSED)
        return false;
    op_fail(
        &op->op, FAILURE_REDIS_UNAVAILABLE, false,
        "Redis is away, and a limit of the reservation is closed then; nothing was held: try again");
    reserve_step(op, RESERVE_ANSWERED);
    return true;
}

static void answer(struct pass *pass, struct op_reserve *op)
{
    op->degraded = op->uncounted = op->op.error.failure == FAILURE_NONE;
    pass_note_degraded(pass, op);
    reserve_step(op, RESERVE_ANSWERED);
}

bool pass_open_again(struct pass *pass, struct op_reserve *op)
{
    struct services *services = pass->stores->services;
    struct ask ask = {.tenant_id = op->op.plan->tenant_id, .job_id = op->job_id};
    const struct hold *hold =
        open_find(services->open, op->op.arena, op->op.plan->tenant_id, op->job_id, pass->now_ms);

    if (!hold)
        return false;
    if (!pass->postgres_silent)
        ask_record(pass->stores, &ask, 1);
    pass->postgres_silent |= ask.status == STATUS_UNAVAILABLE;
    if (ask.status == STATUS_OK && !pass->postgres_silent &&
        (ask.facts.record || settle_is_fenced(&ask.facts, hold->attempt))) {
        open_forget(services->open, op->op.plan->tenant_id, op->job_id);
        return false; /* Postgres tells what it is now */
    }
    reserve_replay_hold(op, hold);
    answer(pass, op);
    return true;
}

static struct hold *make_hold(struct pass *pass, struct op_reserve *op)
{
    struct arena *arena = op->op.arena;
    struct hold *hold = arena_zalloc(arena, sizeof(*hold));
    size_t count = op->work->quotas_count;

    CHECK(hold);
    *hold = (struct hold){
        .attempt = open_attempt(pass->stores->services, op->op.plan->shard, pass->now_ms),
        .created_ms = pass->now_ms,
        .deadline_ms = pass->now_ms + reserve_ttl_ms(op, true),
        .scope = op->scope,
        .mode = op->mode,
        .meters_count = op->meters_count,
        .meters = arena_array(arena, op->meters_count, sizeof(*hold->meters)),
        .quotas_count = count,
        .quotas = arena_array(arena, count, sizeof(*hold->quotas)),
    };
    CHECK(hold->meters && hold->quotas);
    memcpy(hold->meters, op->meters, op->meters_count * sizeof(*hold->meters));
    memcpy(hold->quotas, op->work->quotas, count * sizeof(*hold->quotas));
    for (size_t i = 0; i < count; i++)
        hold->quotas[i].lease_id = 0;
    return hold;
}

bool pass_open(struct pass *pass, struct op_reserve *op)
{
    struct services *services = pass->stores->services;
    const struct hold *hold;

    if (away_of(op) != REDIS_AWAY_OPEN || (reserve_is_long(op) && !redis_is_away(services)))
        return false;
    hold = make_hold(pass, op);
    if (!open_admit(services->open, breaker_episode(services->redis_breaker), op->op.plan,
                    op->job_id, hold, pass->now_ms))
        return false;
    reserve_opened(op, hold);
    answer(pass, op);
    return true;
}
