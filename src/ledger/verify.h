/*
 * Do the books of a tenant prove themselves? All of its ledger is read once, in one state of the database,
 * and held against its quotas, leases and seals:
 *
 *     the entries of each quota have the numbers 1 to ledger_seq, each once
 *     committed and debt are their sums; leased is the sum of what the leases have out, pg_held that of the
 *     holds in Postgres
 *     the chain of the entries is the one that was sealed, and the seal is genuine (quota/chain.h)
 *     the tenant has as many seals as its head says, and the head is genuine
 *     what is older than the last sealing is sealed
 *
 * Reads only, holds no lock, and needs little memory however many entries there are: the database sorts
 * them.
 */
#ifndef HOLDFAST_LEDGER_VERIFY_H
#define HOLDFAST_LEDGER_VERIFY_H

#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/database.h"
#include "quota/chain.h"

#include <stdbool.h>
#include <stdint.h>

enum { VERIFY_FOUND_MAX = 16, VERIFY_TEXT_BYTES = 256 };

struct ledger_verified {
    bool tenant_exists;
    int64_t entries, quotas, seals; /* that were looked at; entries once for each of their quotas */
    int64_t unsealed;               /* entries too young to be sealed */
    int64_t wrong;                  /* quotas that are wrong, and one for the head */
    int found_count;
    char found[VERIFY_FOUND_MAX]
              [VERIFY_TEXT_BYTES]; /* sentences, in the order of limits and periods */
};

struct ledger_verifying {
    struct slice tenant;
    struct chain_signer *signer;
    /* Called now and then; false: nobody waits for the answer any more (CANCELLED). */
    bool (*progress)(void *user, const struct ledger_verified *so_far);
    void *user;
};

/* A connection whose statements may take long: the first one sorts. */
MUST_CHECK enum status ledger_verify(struct database *db, const struct ledger_verifying *how,
                                     struct ledger_verified *ret);

#endif
