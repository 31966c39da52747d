/*
 * Is a Redis that nobody asks back? Its breaker says when to look; one script that only reads tells.
 */
#include "op/duty.h"

#include "base/breaker.h"
#include "op/dirty.h"
#include "op/redis.h"
#include "op/status.h"
#include "quota/times.h"

enum { EARLIEST_MS = 5 };

static void probe(struct stores *stores)
{
    struct services *services = stores->services;
    const struct clock *clock = services->clock;
    int64_t before_us = clock_mono_us(clock);
    struct counter_observe call = {.call = {.kind = COUNTER_OBSERVE, .arena = &stores->scratch}};

    stores->table->counter_add(stores->counter, &call.call);
    stores->table->counter_run(stores->counter);
    (void)status_note_redis(services->status_board, &call, clock_wall_ms(clock),
                            clock_mono_us(clock) - before_us,
                            stores->table->counter_last_error(stores->counter));
    if (call.call.status == STATUS_UNAVAILABLE || call.call.status == STATUS_UNKNOWN) {
        redis_note(stores, call.call.status);
        return;
    }
    dirty_doubt(services->dirty, clock_mono_us(clock));
    breaker_worked(services->redis_breaker, clock_mono_us(clock));
}

static enum duty_end turn(void *own, struct duty_tools *tools)
{
    struct stores *stores = tools->stores;
    struct breaker *breaker = stores->services->redis_breaker;
    int wait_ms;

    (void)own;
    if (breaker_probe(breaker, stores_mono_us(stores)))
        probe(stores);
    wait_ms = breaker_wait_ms(breaker, stores_mono_us(stores));
    if (wait_ms < 0 || wait_ms >= REDIS_PROBE_EVERY_MS)
        return DUTY_DONE;
    tools->again_ms = wait_ms > EARLIEST_MS ? wait_ms : EARLIEST_MS;
    return DUTY_SOONER;
}

const struct duty duty_probe = {.name = "probe",
                                .every_ms = REDIS_PROBE_EVERY_MS,
                                .create = NULL,
                                .destroy = NULL,
                                .turn = turn};
