/*
 * A migrated database and tenants in it, for the tests of src/ledger/.
 */
#ifndef HOLDFAST_TESTS_LEDGER_SUPPORT_H
#define HOLDFAST_TESTS_LEDGER_SUPPORT_H

#include "base/arena.h"
#include "base/estimate.h"
#include "ledger/database_internal.h"
#include "quota/hold.h"
#include "quota/plan.h"

#include <stdint.h>

/* Connected to the test's Postgres, with the schema in place. */
struct database *support_open(void);

/* The same without the schema. */
struct database *support_connect(const char *conninfo);

struct support_tenant {
    int64_t tenant_id;
    int64_t limit_id;      /* meter "tokens", whole tenant */
    int64_t epoch;         /* of its shard */
    int64_t lease_id;      /* of the quota row of period 0 */
    char name[64];
};

/*
 * A tenant with one limit of the meter "tokens" that never starts anew, its quota row, and `leased`
 * units lent under a lease of the current epoch.
 */
struct support_tenant support_tenant_make(const char *name, int64_t amount, int64_t cap,
                                          int64_t leased);

/* A hold of `units` under the tenant's lease, as Redis would have made it. */
struct hold *support_hold(struct arena *arena, const struct support_tenant *tenant, int64_t seq,
                          int64_t units, int64_t deadline_ms);

/* Postgres' clock. */
int64_t support_now_ms(void);

/* Connections of the tests' programs that are not this thread's own; ends them. */
void support_terminate_backends(const char *like_query);

/* plan->ledger_part. */
int support_ledger_part(const struct support_tenant *tenant);

/* The plan of the tenant: one reference. */
struct plan *support_plan(const struct support_tenant *tenant);

/* A column of the tenant's newest quota row. */
int64_t support_of_quota(const struct support_tenant *tenant, const char *column);
int64_t support_ledger_rows(const struct support_tenant *tenant);

/* Events of the tenant must be numbered 1, 2, 3 ...; returns how many there are. */
int64_t support_check_events(const struct support_tenant *tenant);

/* Fails unless the equations of every quota row of the tenant hold. */
void support_check_quotas(const struct support_tenant *tenant);

#endif
