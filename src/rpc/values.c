/*
 * Enums that have the values of holdfast.v1 without including it, held against the generated ones. A value
 * that is another, or is added on one side only, does not compile here.
 *
 * Each list is X(ours, theirs), and behind it stand the values that only holdfast.v1 has.
 */
#include "op/op.h"
#include "op/queries.h"
#include "quota/drift.h"
#include "quota/period.h"
#include "quota/plan.h"
#include "quota/settle.h"
#include "quota/threshold.h"

#include "holdfast/v1/admin_service.pb-c.h"
#include "holdfast/v1/quota.pb-c.h"
#include "holdfast/v1/quota_service.pb-c.h"

#define PERIODS(X)                                                                                 \
    X(PERIOD_NEVER, HOLDFAST__V1__PERIOD__PERIOD_NEVER)                                            \
    X(PERIOD_MINUTE, HOLDFAST__V1__PERIOD__PERIOD_MINUTE)                                          \
    X(PERIOD_HOUR, HOLDFAST__V1__PERIOD__PERIOD_HOUR)                                              \
    X(PERIOD_DAY, HOLDFAST__V1__PERIOD__PERIOD_DAY)                                                \
    X(PERIOD_WEEK, HOLDFAST__V1__PERIOD__PERIOD_WEEK)                                              \
    X(PERIOD_MONTH, HOLDFAST__V1__PERIOD__PERIOD_MONTH)                                            \
    X(PERIOD_YEAR, HOLDFAST__V1__PERIOD__PERIOD_YEAR)
#define PERIODS_OF_THEIRS                                                                          \
    case HOLDFAST__V1__PERIOD__PERIOD_UNSPECIFIED:                                                 \
    case _HOLDFAST__V1__PERIOD_IS_INT_SIZE:

#define EVENTS(X)                                                                                  \
    X(EVENT_SOFT_STOP, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_SOFT_STOP)                             \
    X(EVENT_HARD_STOP, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_HARD_STOP)                             \
    X(EVENT_HARD_CAP, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_HARD_CAP)                               \
    X(EVENT_PERIOD_STARTED, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_PERIOD_STARTED)                   \
    X(EVENT_LIMIT_CHANGED, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_LIMIT_CHANGED)                     \
    X(EVENT_HOLD_EXPIRED, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_HOLD_EXPIRED)                       \
    X(EVENT_LATE_COMMIT, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_LATE_COMMIT)                         \
    X(EVENT_DEGRADED, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_DEGRADED)                               \
    X(EVENT_RECOVERED, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_RECOVERED)                             \
    X(EVENT_DRIFT, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_DRIFT)                                     \
    X(EVENT_ADJUSTED, HOLDFAST__V1__EVENT_KIND__EVENT_KIND_ADJUSTED)
#define EVENTS_OF_THEIRS                                                                           \
    case HOLDFAST__V1__EVENT_KIND__EVENT_KIND_UNSPECIFIED:                                         \
    case _HOLDFAST__V1__EVENT_KIND_IS_INT_SIZE:

#define OVERRUNS(X)                                                                                \
    X(OVERRUN_RECORD, HOLDFAST__V1__OVERRUN_POLICY__OVERRUN_POLICY_RECORD)                         \
    X(OVERRUN_STRICT, HOLDFAST__V1__OVERRUN_POLICY__OVERRUN_POLICY_STRICT)                         \
    X(OVERRUN_CAP, HOLDFAST__V1__OVERRUN_POLICY__OVERRUN_POLICY_CAP)
#define OVERRUNS_OF_THEIRS                                                                         \
    case HOLDFAST__V1__OVERRUN_POLICY__OVERRUN_POLICY_UNSPECIFIED:                                 \
    case _HOLDFAST__V1__OVERRUN_POLICY_IS_INT_SIZE:

#define RESERVATIONS(X)                                                                            \
    X(RESERVATION_HELD, HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD)                   \
    X(RESERVATION_COMMITTED, HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED)         \
    X(RESERVATION_RELEASED, HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_RELEASED)           \
    X(RESERVATION_EXPIRED, HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_EXPIRED)
#define RESERVATIONS_OF_THEIRS                                                                     \
    case HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_UNSPECIFIED:                           \
    case _HOLDFAST__V1__RESERVATION_STATE_IS_INT_SIZE:

#define DECISIONS(X)                                                                               \
    X(DECISION_ALLOW, HOLDFAST__V1__DECISION__DECISION_ALLOW)                                      \
    X(DECISION_WARN, HOLDFAST__V1__DECISION__DECISION_WARN)                                        \
    X(DECISION_REJECT, HOLDFAST__V1__DECISION__DECISION_REJECT)                                    \
    X(DECISION_ALREADY_COMMITTED, HOLDFAST__V1__DECISION__DECISION_ALREADY_COMMITTED)
#define DECISIONS_OF_THEIRS                                                                        \
    case HOLDFAST__V1__DECISION__DECISION_UNSPECIFIED:                                             \
    case _HOLDFAST__V1__DECISION_IS_INT_SIZE:

#define REASONS(X)                                                                                 \
    X(REASON_SOFT_STOP, HOLDFAST__V1__REASON_CODE__REASON_CODE_SOFT_STOP)                          \
    X(REASON_OVERAGE, HOLDFAST__V1__REASON_CODE__REASON_CODE_OVERAGE)                              \
    X(REASON_HARD_CAP, HOLDFAST__V1__REASON_CODE__REASON_CODE_HARD_CAP)                            \
    X(REASON_NEVER_SATISFIABLE, HOLDFAST__V1__REASON_CODE__REASON_CODE_NEVER_SATISFIABLE)          \
    X(REASON_DEFERRED, HOLDFAST__V1__REASON_CODE__REASON_CODE_DEFERRED)                            \
    X(REASON_DEBT, HOLDFAST__V1__REASON_CODE__REASON_CODE_DEBT)                                    \
    X(REASON_SUSPENDED, HOLDFAST__V1__REASON_CODE__REASON_CODE_SUSPENDED)
#define REASONS_OF_THEIRS                                                                          \
    case HOLDFAST__V1__REASON_CODE__REASON_CODE_UNSPECIFIED:                                       \
    case _HOLDFAST__V1__REASON_CODE_IS_INT_SIZE:

#define RECEIPTS(X)                                                                                \
    X(RECEIPT_FOUND, HOLDFAST__V1__RECEIPT_VERDICT__RECEIPT_VERDICT_FOUND)                         \
    X(RECEIPT_MISSING, HOLDFAST__V1__RECEIPT_VERDICT__RECEIPT_VERDICT_MISSING)                     \
    X(RECEIPT_DIFFERENT, HOLDFAST__V1__RECEIPT_VERDICT__RECEIPT_VERDICT_DIFFERENT)                 \
    X(RECEIPT_FORGED, HOLDFAST__V1__RECEIPT_VERDICT__RECEIPT_VERDICT_FORGED)
#define RECEIPTS_OF_THEIRS                                                                         \
    case HOLDFAST__V1__RECEIPT_VERDICT__RECEIPT_VERDICT_UNSPECIFIED:                               \
    case _HOLDFAST__V1__RECEIPT_VERDICT_IS_INT_SIZE:

#define REDIS_AWAYS(X)                                                                             \
    X(REDIS_AWAY_POSTGRES, HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_POSTGRES)                          \
    X(REDIS_AWAY_CLOSED, HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_CLOSED)                              \
    X(REDIS_AWAY_OPEN, HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_OPEN)
#define REDIS_AWAYS_OF_THEIRS                                                                      \
    case HOLDFAST__V1__REDIS_AWAY__REDIS_AWAY_UNSPECIFIED:                                         \
    case _HOLDFAST__V1__REDIS_AWAY_IS_INT_SIZE:
#define DRIFTS(X)                                                                                  \
    X(DRIFT_LEASES, HOLDFAST__V1__DRIFT_KIND__DRIFT_KIND_LEASES)                                   \
    X(DRIFT_HOLDS, HOLDFAST__V1__DRIFT_KIND__DRIFT_KIND_HOLDS)                                     \
    X(DRIFT_LEDGER, HOLDFAST__V1__DRIFT_KIND__DRIFT_KIND_LEDGER)                                   \
    X(DRIFT_ENTRIES, HOLDFAST__V1__DRIFT_KIND__DRIFT_KIND_ENTRIES)                                 \
    X(DRIFT_REDIS, HOLDFAST__V1__DRIFT_KIND__DRIFT_KIND_REDIS)
#define DRIFTS_OF_THEIRS                                                                           \
    case HOLDFAST__V1__DRIFT_KIND__DRIFT_KIND_UNSPECIFIED:                                         \
    case _HOLDFAST__V1__DRIFT_KIND_IS_INT_SIZE:

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours " is not " #theirs);
#define CASE_OURS(ours, theirs) case ours:
#define CASE_THEIRS(ours, theirs) case theirs:

/* The switches are never run: -Wswitch refuses one that lacks a value. */
#define HELD(name, LIST, our_type, their_type)                                                     \
    LIST(SAME)                                                                                     \
    __attribute__((unused)) static void name(our_type ours, their_type theirs)                     \
    {                                                                                              \
        switch (ours) {                                                                            \
            LIST(CASE_OURS) break;                                                                 \
        }                                                                                          \
        switch (theirs) {                                                                          \
            LIST(CASE_THEIRS) LIST##_OF_THEIRS break;                                              \
        }                                                                                          \
    }

HELD(periods, PERIODS, enum period, Holdfast__V1__Period)
HELD(events, EVENTS, enum event_kind, Holdfast__V1__EventKind)
HELD(overruns, OVERRUNS, enum overrun, Holdfast__V1__OverrunPolicy)
HELD(reservations, RESERVATIONS, enum reservation_state, Holdfast__V1__ReservationState)
HELD(decisions, DECISIONS, enum decision, Holdfast__V1__Decision)
HELD(receipts, RECEIPTS, enum receipt_verdict, Holdfast__V1__ReceiptVerdict)
HELD(redis_aways, REDIS_AWAYS, enum redis_away, Holdfast__V1__RedisAway)
HELD(drifts, DRIFTS, enum drift_kind, Holdfast__V1__DriftKind)
HELD(reasons, REASONS, enum reason_code, Holdfast__V1__ReasonCode)
