/*
 * Extend, on the granter, all of a turn together: the script first, the record and the fences after it. If
 * the plan is to be loaded, that is done on a desk before.
 *
 *     DONE        the deadline is moved
 *     SHORT       a lease ends too early: it is pushed, then the script again; also when its period is
 *                 over, because a hold lives as long as its Extends say
 *     ABSENT      Redis lost the hold, or somebody ended it: with a token before its deadline it is
 *                 taken again (retake.h)
 *     OLD_LEASE   it stands under leases of an earlier epoch, which end: the same
 *     DUE         too late
 *
 * A Commit, a Release or a reap may be decided at any moment. The database is asked after Redis was
 * changed, so that whatever ended before the question is seen, and a caller is told so; what ends after
 * it ends in Redis as well, since Redis is told after the end. If an end is seen and the hold still
 * stands in Redis, it is removed here, in case whoever ended it could not.
 *
 * OK says that the hold lasts until max(old deadline, now + ttl), or until the end of its lifetime; ttl is
 * at most the server's and that of each limit of the hold. Nothing else is OK:
 *
 *     what is found                                   the answer
 *     moved, and not ended                            OK
 *     lost, no room, what is set aside for it kept    OK: known by its token alone, as before
 *     moved, and the ledger cannot be asked           OK, degraded: it stood in Redis, also after all that
 *                                                     this server had acknowledged was told to Redis
 *     committed                                       COMMITTED
 *     fenced                                          RELEASED
 *     past its deadline                               EXPIRED
 *     nothing known of the job                        UNKNOWN_JOB
 *     to stand again, no room, nothing set aside      CONTENTION
 *     to stand again, another attempt holds           CONTENTION
 *     leases or epochs kept changing                  CONTENTION
 *     a quota that the database does not have         NO_LIMIT
 *     rows that contradict each other, or an error    INTERNAL, the tenant alone
 *     rows that stay locked                           left for later: the tenant waits alone
 *     not to be moved without the database, which     POSTGRES_UNAVAILABLE
 *     is away: absent, an old lease, a short lease
 *     no script                                       REDIS_UNAVAILABLE, SHARD_RECOVERING
 *     held in Postgres: its row moved                 OK, whether Redis is there or not; no script runs
 *     held in Postgres, and its row is gone           COMMITTED, RELEASED, or else EXPIRED
 *     Redis says DONE, and shows another deadline     INTERNAL, unknown
 *
 * Older reservation ids commit until their own deadlines, from what was set aside for them; all of
 * them name the same attempt.
 */
#ifndef HOLDFAST_OP_EXTEND_H
#define HOLDFAST_OP_EXTEND_H

#include "base/check.h"
#include "op/granting.h"
#include "op/op.h"

/*
 * Answers all that it can, at most EXTEND_OPS_MAX at a time. Whose rows stay locked, or whose shard is left
 * to the patient granter by hurried stores (op/stores.h), has no answer: it stands in front of the list
 * afterwards, and their number is returned. Nothing was moved for it.
 */
enum { EXTEND_OPS_MAX = 128 };
MUST_CHECK size_t extend_ops(struct granting *granting, struct op_extend **ops, size_t count);

#endif
