/*
 * What reconciliation reads: quotas, and for each of them what its leases, its holds in Postgres and its
 * entries of the ledger add up to (quota/drift.h), all in one state of the database. It takes no lock. What
 * Redis shows is the caller's to read, between list and read: then Redis may be behind and never ahead.
 */
#ifndef HOLDFAST_LEDGER_RECONCILE_H
#define HOLDFAST_LEDGER_RECONCILE_H

#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/ledger.h"
#include "quota/drift.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What rows of pg_hold hold, for a statement: (tenant_id, limit_id, period_start_ms, units), once for each
 * quota. Of the text in quota/hold.h it takes the last list. What nobody can read holds nothing.
 */
/* clang-format off */
#define LEDGER_HOLDS_OF(holds)                                                                     \
    "SELECT h.tenant_id, split_part(p.part, ':', 2)::bigint, split_part(p.part, ':', 3)::bigint,"  \
    " least(sum(split_part(p.part, ':', 5)::bigint), 9223372036854775807)::bigint"                 \
    " FROM " holds " h CROSS JOIN LATERAL regexp_split_to_table(split_part(h.hold, '|', 5), ';')"  \
    " AS p(part) WHERE p.part ~ '^[0-9]{1,9}:[0-9]{1,18}:[0-9]{1,18}:[0-9]{1,18}:[0-9]{1,18}(:|$)'"\
    " GROUP BY 1, 2, 3"
/* clang-format on */

/* Which quotas, in the order of (tenant, limit, period). */
struct ledger_sums_page {
    struct slice tenant;     /* empty: of all tenants */
    bool lent;               /* only those that have something lent */
    struct ledger_key after; /* its tenant_id is not looked at where a tenant is named */
    size_t max;
};

struct ledger_sums_key {
    int64_t tenant_id;
    struct quota_ref ref;
    int shard;
};

/* As many as max: there may be more. *ret_exists false: there is no such tenant. */
MUST_CHECK enum status ledger_sums_list(struct database *db, struct arena *arena,
                                        const struct ledger_sums_page *page, bool *ret_exists,
                                        struct ledger_sums_key **ret, size_t *ret_count);

struct ledger_sums {
    bool exists; /* else it is gone, and nothing is known */
    struct quota_row row;
    struct drift_sums sums; /* of row; without Redis */
};

enum ledger_entries_from {
    /*
     * The seal's sums, where it is as far as the row; else they are not known. What was altered in the
     * ledger since it was sealed does not show.
     */
    ENTRIES_FROM_SEALS,
    /* The entries themselves, added up: all of the tenant, which all keys must be of. May take long. */
    ENTRIES_FROM_LEDGER,
};

/*
 * ret[i] is of keys[i], which are in the order of ledger_sums_list. Holds of a tenant that has more than a
 * few hundred are not added up by ENTRIES_FROM_SEALS: not known.
 */
MUST_CHECK enum status ledger_sums_read(struct database *db, struct arena *arena,
                                        const struct ledger_sums_key *keys, size_t count,
                                        enum ledger_entries_from from, struct ledger_sums **ret);

#endif
