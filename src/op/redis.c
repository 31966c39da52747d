#include "op/redis.h"

#include "base/breaker.h"
#include "base/log.h"
#include "quota/times.h"

#include <string.h>

struct breaker *redis_breaker_create(const struct service_options *options)
{
    const struct breaker_options breaker = {
        .first_ms = REDIS_BACK_FIRST_MS,
        .max_ms = REDIS_BACK_MAX_MS,
        .probe_ms = 2 * options->redis_timeout_ms,
    };

    return breaker_create(&breaker);
}

bool redis_is_away(const struct services *services)
{
    return !breaker_is_closed(services->redis_breaker);
}

/* It answers, and does not write. */
static bool refuses_writes(const char *error)
{
    static const char *const words[] = {"OOM ", "MISCONF "};

    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (strncmp(error, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

void redis_note(struct stores *stores, enum status status)
{
    struct services *services = stores->services;
    const char *error;

    if (status != STATUS_UNAVAILABLE && status != STATUS_UNKNOWN)
        return;
    error = stores->table->counter_last_error(stores->counter);
    if (refuses_writes(error))
        return;
    if (breaker_failed(services->redis_breaker, services_mono_us(services),
                       entropy_u64(services->entropy)))
        log_warn("store", "redis.not_asked error=%s: holds are taken in Postgres meanwhile",
                 LOG_VALUE(error));
}
