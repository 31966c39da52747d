/*
 * A tenant with its limits, as read at one config version. Immutable once built; shared by
 * reference count between threads (plan_ref, plan_unref from any thread).
 */
#ifndef HOLDFAST_QUOTA_PLAN_H
#define HOLDFAST_QUOTA_PLAN_H

#include "base/check.h"
#include "base/slice.h"
#include "quota/hold.h"
#include "quota/period.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHARDS = 256 };

/* While Redis is away; values as in holdfast.v1.RedisAway. 0 given means POSTGRES. */
enum redis_away { REDIS_AWAY_POSTGRES = 1, REDIS_AWAY_CLOSED = 2, REDIS_AWAY_OPEN = 3 };

static inline bool redis_away_known(int64_t value)
{
    return value >= REDIS_AWAY_POSTGRES && value <= REDIS_AWAY_OPEN;
}

struct limit {
    int64_t limit_id;   /* numeric, never used again */
    struct slice name;  /* limit_id of the API, unique among the tenant's limits */
    struct slice scope; /* empty: the tenant itself */
    struct slice meter;
    enum period period;
    const struct calendar *calendar; /* NULL: a plain period */
    int64_t amount;                  /* AMOUNT_MAX if unlimited */
    bool unlimited;
    int64_t cap;  /* amount + overage, at most AMOUNT_MAX (also when overage is unlimited) */
    int64_t soft; /* ceil(amount x soft percent) */
    int soft_percent;
    int64_t max_ttl_ms; /* 0: the server's */
    enum redis_away redis_away;
    int64_t redis_away_units; /* OPEN: of a period, per server, as long as Redis is away; else 0 */
    bool reserved_crossings;  /* quota/reserved.h */
};

static inline int64_t limit_start_ms(const struct limit *limit, int64_t now_ms)
{
    return calendar_start_ms(limit->calendar, limit->period, now_ms);
}

static inline int64_t limit_end_ms(const struct limit *limit, int64_t start_ms)
{
    return calendar_end_ms(limit->calendar, limit->period, start_ms);
}

struct plan {
    int64_t tenant_id;
    struct slice tenant;
    int shard;       /* 0 to SHARDS-1, plan_shard(tenant) */
    int ledger_part; /* 1 to 16: the partition of the ledger with its jobs; 0: unknown */
    bool suspended;
    bool read_only; /* something of it was lost: nothing is reserved, committed, charged, extended */
    bool admit_unlimited_meters;
    bool has_max_ttl; /* some limit has one; plan_create sets it */
    int64_t config_version;
    size_t limits_count;
    struct limit *limits; /* sorted by limit_id */
};

/* Whatever its limits say, the tenant reserves nothing. */
static inline bool plan_refuses(const struct plan *plan)
{
    return plan->suspended || plan->read_only;
}

/*
 * Deep copy with one reference, and with an index of its own: only what this returns goes to
 * plan_select. The meter and scope of a limit must not be changed afterwards.
 */
struct plan *plan_create(const struct plan *from);
struct plan *plan_ref(struct plan *plan);
void plan_unref(struct plan *plan); /* accepts NULL */

/* The memory of a plan, names and index included. */
size_t plan_bytes(const struct plan *plan);

/* Virtual shard of a tenant name: xxh3 of it modulo SHARDS. Never changes. */
int plan_shard(struct slice tenant);

const struct limit *plan_limit(const struct plan *plan, int64_t limit_id); /* or NULL */

/* What the strictest of these limits does: CLOSED before POSTGRES before OPEN. */
enum redis_away plan_redis_away(const struct plan *plan, const struct hold_quota *quotas,
                                size_t count);

/* What a caller is told of PLAN_TOO_MANY: how many meters (%zu), and HOLD_QUOTAS_MAX (%d). */
#define PLAN_TOO_MANY_TEXT                                                                         \
    "the %zu meters together count against more than %d limits; reserve them in several jobs, or " \
    "delete limits of theirs"

enum plan_selection { PLAN_SELECTED, PLAN_NO_LIMIT, PLAN_TOO_MANY };

/*
 * The quotas that a reservation counts against at now_ms: every limit on one of its meters whose
 * scope is the tenant itself, the scope or an ancestor of it. Fills quotas (room for
 * HOLD_QUOTAS_MAX), sorted by quota_ref_compare. Each meter is looked up at each scope on the way
 * down: what it costs does not depend on how many limits the tenant has. The meters differ.
 *
 * PLAN_NO_LIMIT: meters[*ret_meter] has none; in a tenant that admits unlimited meters the caller
 * makes one (ledger_limit_implicit). PLAN_TOO_MANY: more than HOLD_QUOTAS_MAX. One meter alone does
 * not come to that, since PutLimit refuses it; several in one reservation may.
 */
MUST_CHECK enum plan_selection plan_select(const struct plan *plan, struct slice scope,
                                           const struct hold_meter *meters, size_t meters_count,
                                           int64_t now_ms, struct hold_quota *quotas,
                                           size_t *ret_quotas_count, size_t *ret_meter);

#endif
