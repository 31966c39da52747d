#include "op/ask.h"

#include "base/check.h"
#include "op/aside.h"
#include "op/trace.h"

#include <stdio.h>

enum { TRIES_MAX = 2 }; /* against locked rows: the second time without their tenants */

/* One transaction for all; the answers go to the asks if it returns OK. */
typedef enum status run_fn(struct stores *stores, struct ask **asks, size_t count);

static void settle(struct stores *stores, struct ask *ask, enum status status)
{
    ask->status = status;
    snprintf(ask->sqlstate, sizeof(ask->sqlstate), "%s",
             stores_refused(stores, status) ? stores_sqlstate(stores) : "");
}

/* Those with locked rows get their answer; returns how many are left. */
static size_t leave_out_locked(struct stores *stores, struct ask **asks, size_t count)
{
    size_t left = 0;

    for (size_t i = 0; i < count; i++) {
        if (!asks[i]->locked) {
            asks[left++] = asks[i];
            continue;
        }
        asks[i]->status = STATUS_CONFLICT;
        aside_put(stores->services->aside, asks[i]->tenant_id, stores_mono_us(stores));
    }
    return left;
}

static void run_apart(struct stores *stores, run_fn *run, struct ask **asks, size_t count)
{
    enum status status = STATUS_CONFLICT;

    for (int i = 0; i < TRIES_MAX && count > 0 && status == STATUS_CONFLICT; i++) {
        status = run(stores, asks, count);
        if (status == STATUS_CONFLICT)
            count = leave_out_locked(stores, asks, count);
    }
    if (count > 1 && stores_refused(stores, status)) {
        run_apart(stores, run, asks, count / 2);
        run_apart(stores, run, asks + count / 2, count - count / 2);
        return;
    }
    for (size_t i = 0; i < count; i++)
        settle(stores, asks[i], status);
}

static void run_all(struct stores *stores, run_fn *run, struct ask *asks, size_t count)
{
    struct ask **list = stores_scratch(stores, count, sizeof(struct ask *));

    for (size_t i = 0; i < count; i++) {
        asks[i].locked = false;
        asks[i].sqlstate[0] = '\0';
        list[i] = &asks[i];
    }
    if (count > 0)
        run_apart(stores, run, list, count);
}

/* --- the root ----------------------------------------------------------------------------------- */

static enum status run_grants(struct stores *stores, struct ask **asks, size_t count)
{
    size_t total = 0, at = 0;
    struct ledger_grant *grants;
    enum status status;
    int64_t now_ms;

    for (size_t i = 0; i < count; i++)
        total += asks[i]->grants_count;
    grants = stores_scratch(stores, total, sizeof(*grants));
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < asks[i]->grants_count; k++)
            grants[at++] = asks[i]->grants[k];
    status = stores->table->grant_run(stores->db, &stores->scratch, grants, total, &now_ms);
    if (status == STATUS_OK)
        trace_grants(stores->services->trace, now_ms, grants, total);
    at = 0;
    for (size_t i = 0; i < count; at += asks[i++]->grants_count) {
        struct ask *ask = asks[i];

        if (status == STATUS_OK)
            aside_forget(stores->services->aside, ask->tenant_id);
        for (size_t k = 0; k < ask->grants_count; k++) {
            if (status == STATUS_OK)
                ask->grants[k] = grants[at + k];
            ask->locked |= status == STATUS_CONFLICT && grants[at + k].locked;
        }
    }
    return status;
}

void ask_root(struct stores *stores, struct ask *asks, size_t count)
{
    run_all(stores, run_grants, asks, count);
}

/* --- the record --------------------------------------------------------------------------------- */

static enum status run_facts(struct stores *stores, struct ask **asks, size_t count)
{
    struct ledger_job *jobs = stores_scratch(stores, count, sizeof(*jobs));
    enum status status;
    int64_t now_ms;

    for (size_t i = 0; i < count; i++)
        jobs[i] = (struct ledger_job){.tenant_id = asks[i]->tenant_id, .job_id = asks[i]->job_id};
    status = stores->table->facts_read(stores->db, &stores->scratch, jobs, count, &now_ms);
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        asks[i]->facts = jobs[i].facts;
    return status;
}

void ask_record(struct stores *stores, struct ask *asks, size_t count)
{
    run_all(stores, run_facts, asks, count);
}

/* --- what an answer means ----------------------------------------------------------------------- */

bool ask_is_refused(const struct ask *ask)
{
    return ask->status == STATUS_FAULT || ask->status == STATUS_INVALID ||
           ask->status == STATUS_CORRUPT || (ask->status == STATUS_UNKNOWN && ask->sqlstate[0]);
}

void ask_fail_redis(struct op *op, const struct counter_call *call, enum recovery reason,
                    const char *undone)
{
    enum failure failure = reason == RECOVERY_NO_REDIS      ? FAILURE_REDIS_UNAVAILABLE
                           : reason == RECOVERY_NO_POSTGRES ? FAILURE_POSTGRES_UNAVAILABLE
                                                            : FAILURE_SHARD_RECOVERING;

    if (call->status != STATUS_OK && status_may_have_happened(call->status))
        op_fail(op, failure, true, "Redis did not answer, and may have done it: repeat the call");
    else
        op_fail(op, failure, false,
                "the live balance cannot be used now; %s: repeat the call in a moment", undone);
}
