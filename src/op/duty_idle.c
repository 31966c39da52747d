/*
 * Idle capacity comes back (idle.h): as long as the beat says that something is lent, a page a turn. One
 * server does it for all, since most of it is one look at the database.
 */
#include "op/duty.h"

#include "op/idle.h"
#include "op/shares.h"
#include "quota/times.h"

#include <stdlib.h>

struct rounds {
    struct idle *idle;
    bool under_way;
    int64_t next_us; /* when the next round may begin */
};

static void *create(void)
{
    struct rounds *rounds = calloc(1, sizeof(*rounds));

    CHECK(rounds);
    rounds->idle = idle_create();
    return rounds;
}

static void destroy(void *own)
{
    struct rounds *rounds = own;

    idle_destroy(rounds->idle);
    free(rounds);
}

static enum duty_end turn(void *own, struct duty_tools *tools)
{
    struct rounds *rounds = own;
    int64_t mono_us = stores_mono_us(tools->stores);
    enum status status;

    if (!estimate_ready(tools->stores->services->estimate) ||
        !shares_own(tools->stores->services->shares, SHARES_HOUSE))
        return DUTY_DONE;
    if (!rounds->under_way && (!tools->news->lent || mono_us < rounds->next_us))
        return DUTY_DONE;
    if (!rounds->under_way)
        rounds->next_us = mono_us + IDLE_ROUND_MS * INT64_C(1000);
    status = idle_turn(rounds->idle, tools->stores, &rounds->under_way);
    return status == STATUS_OK ? DUTY_DONE : duty_failed(tools, "idle", status);
}

const struct duty duty_idle = {
    .name = "idle", .every_ms = IDLE_EVERY_MS, .create = create, .destroy = destroy, .turn = turn};
