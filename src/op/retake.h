/*
 * A hold stands again: the attempt of an Extend whose hold Redis has lost, or that stands under leases
 * of an earlier epoch, which end. It is the same attempt, in the same periods, as old as it was; only
 * the leases are current ones. So whatever is decided about the attempt is decided about this hold.
 *
 * A Release, a Commit or a reap may be decided meanwhile. They write their fence or record in the
 * database and then tell Redis to let go of the attempt (of the job). Here the hold is written to Redis
 * and then the database is asked. In whatever order the four steps come,
 *
 *     fence or record before our question     we see it, and take back what we wrote before we answer
 *     fence or record after our question      Redis is told after it, and so after our writing: the
 *                                             hold is there and goes
 *
 * So no hold of an attempt stands after its end was answered and Redis was told. If this server
 * dies between writing and asking, or Redis does not hear of the taking back, the hold of an ended
 * attempt stands until its deadline at most: a Reserve of the job removes it (op/grant_known.c), or the
 * reap. Two Extends at once write the same hold twice; the later deadline stays. What stood under earlier
 * leases is written only if it is still there.
 *
 * Without room for it under current leases the root keeps the leases that it has, current or set aside,
 * for as long as the hold is to last. Then a hold that is there goes on under them, and a lost one is
 * known by its token alone, as before.
 */
#ifndef HOLDFAST_OP_RETAKE_H
#define HOLDFAST_OP_RETAKE_H

#include "op/op.h"
#include "op/stores.h"
#include "quota/hold.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum retake_end {
    RETAKE_OPEN,   /* private: not at its end */
    RETAKE_STANDS, /* hold: as it stands in Redis now, with its deadline */
    RETAKE_KEPT,   /* hold: lost as before, and what is set aside for it lasts until its deadline */
    RETAKE_NO_ROOM,  /* neither room nor the leases that it had; here and below nothing has moved */
    RETAKE_OTHER,    /* another attempt of the job holds, or it is not there any more */
    RETAKE_DUE,      /* its deadline passed meanwhile */
    RETAKE_GONE,     /* the database does not have a quota of it, or has closed it */
    RETAKE_CHANGING, /* its leases were others each time */
    RETAKE_LOCKED,   /* rows of the tenant stay locked; it is set aside */
    RETAKE_FAILED,   /* the op has failed: a store was away, or refused it */
};

struct retake {
    struct op_extend *op;
    const struct hold *old; /* what the attempt held */
    int64_t deadline_ms;    /* not before the old one's */
    bool lost;              /* Redis has nothing of it */
    /* out */
    enum retake_end end;
    const struct hold *hold; /* STANDS, KEPT; in the op's arena */
    /* private */
    struct ledger_grant *grants; /* one per quota of old */
    int64_t *vanished;           /* per quota: the lease whose key Redis lost, or 0 */
    bool lends;                  /* the leases as they were did not have enough left */
    bool refused;                /* the root has no more for it */
    struct counter_fill fill;
    struct counter_retake script;
    struct counter_extend moving;
};

/* All together; then ask the database about those that have a hold. */
void retake_holds(struct stores *stores, struct retake *retakes, size_t count);

/*
 * Takes back the holds of these attempts: they are over. If Redis does not hear of it, no lasting harm is
 * done.
 */
void retake_undo(struct stores *stores, const struct counter_notify_job *jobs, const int *shards,
                 size_t count);

#endif
