/*
 * Tells that tenants are served from Postgres, and that they no longer are (op/degraded.h,
 * ledger/degraded.c). Each server tells of itself, and that it is over once its Redis has answered for a
 * while: so a Redis that flaps does not fill the event table. What a server that is gone has told, any
 * other ends that can use Redis.
 */
#include "op/duty.h"

#include "op/degraded.h"
#include "op/redis.h"
#include "quota/times.h"

#include <stdlib.h>

enum { TELL_MAX = 256 };

struct telling {
    int64_t away_us; /* when Redis was away last, or this server began */
};

static void *create(void)
{
    struct telling *telling = calloc(1, sizeof(*telling));

    CHECK(telling);
    return telling;
}

static enum duty_end begin(struct duty_tools *tools)
{
    struct stores *stores = tools->stores;
    struct degraded *degraded = stores->services->degraded;
    int64_t tenants[TELL_MAX];
    size_t count = degraded_waiting(degraded, tenants, TELL_MAX), told = 0;
    enum status status;

    if (count == 0)
        return DUTY_DONE;
    status = stores->table->degraded_note(stores->db, &stores->scratch,
                                          slice_from_cstr(stores->services->server_name), tenants,
                                          count, &told);
    if (status != STATUS_OK)
        return duty_failed(tools, "degraded", status);
    degraded_told(degraded, tenants, told, stores_mono_us(stores));
    tools->news->degraded = true;
    /* Those whose row is locked wait alone, until the next turn. */
    return count == TELL_MAX && told > 0 ? DUTY_MORE : DUTY_DONE;
}

static bool is_calm(struct telling *telling, const struct stores *stores)
{
    int64_t mono_us = stores_mono_us(stores);
    int64_t last_us = degraded_last_us(stores->services->degraded);

    if (telling->away_us == 0 || redis_is_away(stores->services))
        telling->away_us = mono_us;
    if (last_us < telling->away_us)
        last_us = telling->away_us;
    return mono_us - last_us >= DEGRADED_CALM_MS * INT64_C(1000);
}

static enum duty_end turn(void *own, struct duty_tools *tools)
{
    struct stores *stores = tools->stores;
    bool calm = is_calm(own, stores), more;
    enum duty_end end = begin(tools);
    enum status status;

    if (end != DUTY_DONE || !calm || !tools->news->degraded)
        return end;
    degraded_over(
        stores->services->degraded); /* before it is: who is served so meanwhile is told again */
    status = stores->table->degraded_end(stores->db, &stores->scratch,
                                         slice_from_cstr(stores->services->server_name), TELL_MAX,
                                         &more);
    if (status != STATUS_OK)
        return duty_failed(tools, "recovered", status);
    tools->news->degraded = more; /* what others have told, the next beat says */
    return more ? DUTY_MORE : DUTY_DONE;
}

const struct duty duty_degraded = {.name = "degraded",
                                   .every_ms = DEGRADED_EVERY_MS,
                                   .create = create,
                                   .destroy = free,
                                   .turn = turn};
