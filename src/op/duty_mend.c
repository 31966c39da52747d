/* Keys of Redis that were lost singly, in the active shards that this server looks after. */
#include "op/duty.h"

#include "op/authority.h"
#include "op/mend.h"
#include "op/shares.h"
#include "quota/times.h"

static void *create(void)
{
    return mend_create();
}

static void destroy(void *own)
{
    mend_destroy(own);
}

static enum duty_end turn(void *own, struct duty_tools *tools)
{
    struct services *services = tools->stores->services;
    int shards[SHARDS];
    size_t active = authority_active(services->authority, shards), count = 0;
    bool more;

    if (!estimate_ready(services->estimate))
        return DUTY_DONE;
    for (size_t i = 0; i < active; i++)
        if (shares_own(services->shares, shards[i]))
            shards[count++] = shards[i];
    if (!mend_turn(own, tools->stores, shards, count, &more))
        return DUTY_FAILED;
    return more ? DUTY_MORE : DUTY_DONE;
}

const struct duty duty_mend = {
    .name = "mend", .every_ms = MEND_EVERY_MS, .create = create, .destroy = destroy, .turn = turn};
