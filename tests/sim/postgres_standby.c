/*
 * A standby of the pretended Postgres: its rows at one moment, and what becomes of them when it takes over.
 */
#include "tests/sim/postgres_rows.h"

#include "tests/sim/fibre.h"

#include <string.h>

struct pg_standby {
    struct pg_tenant *tenants;
    struct pg_authority authority[SHARDS];
    struct pg_request *requests; /* which never change */
    struct pg_loss *losses;
    int64_t tenants_count, limits_count, config_position;
};

/* Each node of a list, in order, into the storage. */
#define COPY_LIST(pg, type, from, to)                                                              \
    do {                                                                                           \
        type **end_ = &(to);                                                                      \
        for (const type *node = (from); node; node = node->next) {                                 \
            *end_ = pg_alloc(&(pg)->storage, 1, sizeof(type));                                     \
            **end_ = *node;                                                                        \
            end_ = &(*end_)->next;                                                                 \
        }                                                                                          \
        *end_ = NULL;                                                                              \
    } while (0)

/* What a job's row points to is never changed, only replaced. */
static struct pg_tenant *copy_tenant(struct postgres *pg, const struct pg_tenant *from)
{
    struct pg_tenant *to = pg_alloc(&pg->storage, 1, sizeof(*to));

    *to = *from;
    COPY_LIST(pg, struct pg_limit, from->limits, to->limits);
    COPY_LIST(pg, struct pg_quota, from->quotas, to->quotas);
    COPY_LIST(pg, struct pg_lease, from->leases, to->leases);
    COPY_LIST(pg, struct pg_event, from->events, to->events);
    for (size_t i = 0; i < PG_JOB_BUCKETS; i++)
        COPY_LIST(pg, struct pg_job, from->jobs[i], to->jobs[i]);
    /* Locks are the primary's. */
    for (struct pg_limit *limit = to->limits; limit; limit = limit->next)
        limit->locked_by = 0;
    for (struct pg_quota *quota = to->quotas; quota; quota = quota->next)
        quota->locked_by = 0;
    to->events_tail = &to->events;
    while (*to->events_tail)
        to->events_tail = &(*to->events_tail)->next;
    return to;
}

struct pg_standby *postgres_standby(struct postgres *pg)
{
    struct pg_standby *standby = pg_alloc(&pg->storage, 1, sizeof(*standby));
    struct pg_tenant **link = &standby->tenants;

    for (const struct pg_tenant *tenant = pg->tenants; tenant; tenant = tenant->next) {
        *link = copy_tenant(pg, tenant);
        link = &(*link)->next;
    }
    *link = NULL;
    COPY_LIST(pg, struct pg_loss, pg->losses, standby->losses);
    memcpy(standby->authority, pg->authority, sizeof(standby->authority));
    standby->requests = pg->requests;
    standby->tenants_count = pg->tenants_count;
    standby->limits_count = pg->limits_count;
    standby->config_position = pg->config_position;
    return standby;
}

void postgres_take_over(struct postgres *pg, struct pg_standby *standby)
{
    pg->tenants = standby->tenants;
    pg->losses = standby->losses;
    memcpy(pg->authority, standby->authority, sizeof(pg->authority));
    pg->requests = standby->requests;
    pg->tenants_count = standby->tenants_count;
    pg->limits_count = standby->limits_count;
    pg->config_position = standby->config_position;
    pg->timeline++;
    fibre_wake(pg);
}
