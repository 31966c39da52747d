/*
 * One pass of the granter over its Reserves, in parts; private to grant*.c. grant.h says what a pass is.
 *
 *     grant.c         the passes
 *     grant_plan.c    the plan, and which quotas count
 *     grant_known.c   jobs that are known already, and repeats that the plan would refuse now
 *     grant_place.c   holds in Postgres, where Redis cannot be used
 *     grant_open.c    what the limits say of a Redis that is away
 *     grant_root.c    reaps; what the root lends
 *     grant_script.c  what goes to Redis, and what its answers mean
 */
#ifndef HOLDFAST_OP_GRANT_PASS_H
#define HOLDFAST_OP_GRANT_PASS_H

#include "op/granting.h"
#include "op/reserve.h"
#include "op/stores.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A hold that Redis is to let go of before the script runs. */
struct pass_removal {
    int shard;
    struct counter_notify_job job;
};

/* The ops that are not answered yet, and what the present pass gathers for Redis (in scratch memory). */
struct pass {
    struct granting *granting;
    struct stores *stores;
    struct op_reserve **ops;
    size_t count;
    int64_t now_ms;
    struct counter_totals *totals; /* of every grant, shard by shard picked below */
    int *totals_shards;
    size_t totals_count;
    struct pass_removal *removals;
    size_t removals_count;
    int64_t none_due_tenant_id; /* its due holds in Postgres were reaped in this pass, to the last */
    bool waited;                /* for Redis, in this pass */
    bool postgres_silent; /* it did not answer in this pass: what can do without does not ask */
    struct op_reserve **stuck; /* who left the passes to wait alone */
    size_t stuck_count;
};

/* These step to ANSWERED. An answered op is finished at the end of the pass: it may point into scratch. */
void pass_fail_postgres(struct pass *pass, struct op_reserve *op, enum status status,
                        bool effect_unknown);
void pass_fail_refused(struct op_reserve *op, enum status status, const char *sqlstate);
/*
 * Or to AWAY: the database takes the hold. Or to STUCK: somebody else is making the shard ready, which the
 * quick granter does not wait for.
 */
void pass_fail_redis(struct pass *pass, struct op_reserve *op, const struct counter_call *call,
                     enum recovery reason);

/*
 * Of an op that is AWAY, by the strictest of its limits. True: it is ANSWERED. CLOSED: it has failed; OPEN:
 * it has the hold that no store counts, as before or, where the stores cannot have it, a new one.
 */
bool pass_is_closed(struct op_reserve *op);
bool pass_open_again(struct pass *pass, struct op_reserve *op);
bool pass_open(struct pass *pass, struct op_reserve *op);

/*
 * The op has no room, and there may be due holds of its tenant in Postgres: some are reaped, and it tries
 * again. True: so it is, or it is STUCK or ANSWERED. False: there are no more of them.
 */
bool pass_make_room(struct pass *pass, struct op_reserve *op);

/* Answered: whoever watches its tenant is told, if Redis is away. */
void pass_note_degraded(struct pass *pass, const struct op_reserve *op);

/* The steps of a pass, in this order; each does its part for all ops at once. */
void pass_plan(struct pass *pass);        /* BEGUN, STALE: plans and quotas; deadlines */
void pass_look_up(struct pass *pass);     /* REFUSED: is it a repeat? */
void pass_read_facts(struct pass *pass);  /* KNOWN, REFUSED: what the ledger says */
void pass_place(struct pass *pass);       /* AWAY, and whoever needs a Redis that is not asked */
void pass_reap(struct pass *pass);        /* DUE, CROWDED */
void pass_ask_root(struct pass *pass);    /* SHORT, NEVER */
void pass_run_scripts(struct pass *pass); /* whoever is left, with all that was gathered */

#endif
