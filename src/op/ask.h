/*
 * What many ops ask of the database at once, so that no tenant is in another's way:
 *
 *     a tenant with a locked row   is left out and set aside (op/aside.h); the others are asked again
 *     an answer that is an error   is looked for by halves, until the ask that it is about is alone
 *     no answer                    is that of all: no connection, no time, no memory
 *
 * Each ask has a status of its own. Of a step of a story, on its thread.
 */
#ifndef HOLDFAST_OP_ASK_H
#define HOLDFAST_OP_ASK_H

#include "ledger/alarms.h"
#include "ledger/ledger.h"
#include "op/op.h"
#include "op/stores.h"

#include <stdbool.h>
#include <stddef.h>

struct ask {
    int64_t tenant_id;
    /* ask_root: what is asked for; afterwards what was lent, if the status is OK */
    struct ledger_grant *grants;
    size_t grants_count;
    /* ask_record: of which job; facts are there if the status is OK */
    struct slice job_id;
    struct settle_facts facts;
    /* out */
    enum status status;            /* as of ledger_grant_run and ledger_facts_read */
    bool locked;                   /* CONFLICT: somebody keeps rows of the tenant locked */
    char sqlstate[SQLSTATE_BYTES]; /* of an error that the database answered, else "" */
};

/* Grants, all of an ask in one transaction. Whose rows could be locked is left out no longer. */
void ask_root(struct stores *stores, struct ask *asks, size_t count);

/* Record, fences and expired hold of each job. */
void ask_record(struct stores *stores, struct ask *asks, size_t count);

/* Not OK: the database is there and answered an error, or something that makes no sense. */
bool ask_is_refused(const struct ask *ask);

/* A script did not run for the op, or nobody knows. undone: as for op_fail_status. */
void ask_fail_redis(struct op *op, const struct counter_call *call, enum recovery reason,
                    const char *undone);

#endif
