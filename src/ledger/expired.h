/*
 * What is kept of holds that have expired: one way for those of Redis and those of Postgres.
 */
#ifndef HOLDFAST_LEDGER_EXPIRED_H
#define HOLDFAST_LEDGER_EXPIRED_H

#include "base/check.h"
#include "ledger/ledger.h"

/*
 * Writes expired_hold, and an event for each row that is new; locks the tenants. Sorts the jobs. Inside a
 * transaction that has locked their quotas, as its last statements.
 */
MUST_CHECK enum status reap_write_expired(struct database *db, struct arena *arena, int64_t now_ms,
                                          struct ledger_reap_job **jobs, size_t count);

#endif
