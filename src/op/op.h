/*
 * A request on its way through the server, between the wire (rpc/) and the stores.
 *
 * rpc/ allocates the op of its request (struct op_reserve ...) in the call's arena, fills the
 * in-part, sets `done`, and starts it. From then on the op belongs to op/, which moves it from thread
 * to thread by doors (op/inbox.h), and calls done exactly once, then release exactly once, on whichever
 * thread finished it (a worker, the granter, the committer's callback, a desk). done encodes and sends the
 * reply; rpc/ holds a reference of the call from start to release. What an op points to
 * must live in its arena, or be a counted reference of its own (plan).
 *
 *   worker     Reserve that Redis can answer; looks holds up for a Commit by job_id
 *   granter    everything of Reserve and Extend that needs Postgres; notifies
 *   committer  Commit, Release, Charge
 *   desk       reads and admin changes, blocking, a few threads
 */
#ifndef HOLDFAST_OP_OP_H
#define HOLDFAST_OP_OP_H

#include "base/arena.h"
#include "base/slice.h"
#include "ledger/committer.h"
#include "quota/hold.h"
#include "quota/plan.h"
#include "quota/settle.h"
#include "work/mailbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inbox_worker;
struct services;
struct stores;

/* Why an op failed; rpc/failure.c maps each to a gRPC code and an ErrorInfo reason. */
enum failure {
    FAILURE_NONE,
    FAILURE_INVALID_FIELD, /* fields say which */
    FAILURE_UNKNOWN_TENANT,
    FAILURE_UNKNOWN_JOB,
    FAILURE_UNKNOWN_LIMIT,
    FAILURE_NO_LIMIT,     /* fields[0]: the meter's path */
    FAILURE_JOB_MISMATCH, /* fields: amounts, scope, mode, actual */
    FAILURE_RELEASED,
    FAILURE_EXPIRED,
    FAILURE_COMMITTED, /* Release or Extend of a committed job */
    FAILURE_OVERRUN,
    FAILURE_READ_ONLY,        /* the database has lost something of the tenant */
    FAILURE_NOT_FINAL,        /* Adjust of a job without a record */
    FAILURE_BELOW_ZERO,       /* Adjust takes more than is left; left says what */
    FAILURE_ADJUST_ID_REUSED, /* fields: job_id, changes */
    FAILURE_AMOUNT_BOUND,     /* a sum would pass 2^53-1; final */
    FAILURE_CONTENTION,
    FAILURE_ETAG_MISMATCH,
    FAILURE_TENANT_EXISTS,
    FAILURE_REQUEST_ID_REUSED,
    FAILURE_LIMIT_CONFLICT, /* scope, meter, period, zone or anchor of a limit cannot change */
    FAILURE_LIMITS_FULL,    /* a bound on limits: of a tenant, or of a reservation */
    FAILURE_SEQ_TOO_OLD,
    FAILURE_SEQ_TOO_NEW,
    FAILURE_REDIS_UNAVAILABLE,
    FAILURE_POSTGRES_UNAVAILABLE,
    FAILURE_SHARD_RECOVERING,
    FAILURE_DRAINING,
    FAILURE_OVERLOADED,
    FAILURE_DEADLINE,
    FAILURE_INTERNAL,
    FAILURE_COUNT
};

enum { OP_FIELDS_MAX = 24 };

struct op_field {
    const char *field;       /* path as in the request, "amounts[1].units" */
    const char *description; /* a sentence */
};

struct op_left {
    struct slice meter;
    int64_t units;
};

struct op_error {
    enum failure failure;
    bool effect_unknown;
    const char *text; /* a sentence for people, says what to do; arena or static */
    const struct settle_record *record; /* COMMITTED: what was recorded, if known; else NULL */
    const struct op_left *left;         /* BELOW_ZERO: of each meter, at most HOLD_METERS_MAX */
    size_t left_count;
    size_t fields_count;
    struct op_field fields[OP_FIELDS_MAX];
};

/* What an op comes to a thread for (op/inbox.h). */
enum op_errand {
    OP_RESERVE, /* op_reserve, to a worker or the granter */
    OP_LOOKUP,  /* op_commit, to a worker: what does Redis hold of the job? */
    OP_EXTEND,  /* op_extend, to the granter */
    OP_NOTIFY,  /* op_commit, to the granter: decided, and a worker could not tell Redis */
    OP_RECALL,  /* op_commit, to the granter: idle capacity is to come back before it is decided */
};

struct op {
    struct mailbox_item mailbox;
    enum op_errand errand; /* what the thread behind the door does with it */
    void (*run)(struct op *op, struct stores *stores); /* on a desk */
    void (*done)(struct op *op);    /* encodes and sends the answer; frees nothing */
    void (*release)(struct op *op); /* last of all: the memory may go (a call's unref) */
    struct services *services;
    struct arena *arena;
    struct plan *plan; /* one reference, or NULL */
    struct slice tenant;
    int64_t give_up_us; /* clock_mono_us of the caller's deadline */
    int64_t now_ms;     /* server_time of the reply */
    struct op_error error;
    void *user; /* the stub_call */
};

/* Calls done, gives the plan back, calls release: the op is gone afterwards. */
void op_finish(struct op *op);

/* The second half alone, where done was called before. */
void op_release(struct op *op);

/* Sets the error (formatted text in the arena). The first error wins. */
void op_fail(struct op *op, enum failure failure, bool effect_unknown, const char *format, ...)
    PRINTF_LIKE(4, 5);
void op_fail_field(struct op *op, enum failure failure, const char *field, const char *format, ...)
    PRINTF_LIKE(4, 5); /* adds a field; the error's text becomes the first field's */

/*
 * The failure that a status of the ledger means to the caller, in this one place; not for OK.
 * sqlstate: stores_sqlstate or that of the item, may be "". undone: what did not happen, as
 * "nothing was held" (for UNKNOWN the text says that it may have).
 *
 *     UNAVAILABLE REFUSED CANCELLED   POSTGRES_UNAVAILABLE, definite
 *     UNKNOWN                         unknown: INTERNAL if COMMIT answered an error (then there is an
 *                                     SQLSTATE), else POSTGRES_UNAVAILABLE
 *     TIMEOUT                         DEADLINE
 *     CONFLICT                        CONTENTION: a row stays locked, or others were always first
 *     EXHAUSTED                       OVERLOADED
 *     FAULT INVALID CORRUPT           INTERNAL, with the SQLSTATE
 */
void op_fail_status(struct op *op, enum status status, const char *sqlstate, const char *undone);

/* NO_LIMIT of the meter that `field` names: no limit is on it, and the tenant does not admit such meters. */
void op_fail_no_limit(struct op *op, const char *field, struct slice meter);

/* LIMITS_FULL: a meter without a limit, and no room for one of its own. */
void op_fail_limits_full(struct op *op, struct slice meter);

/* What Redis has of the job is no hold: INTERNAL, with the tenant's name. */
void op_fail_unreadable(struct op *op, bool effect_unknown);

/*
 * The same where it makes no difference to the caller whether it happened: UNKNOWN is definite too.
 */
void op_fail_harmless(struct op *op, enum status status, const char *sqlstate, const char *undone);

/* The same for what only read: it changed nothing, whatever became of the answer. */
void op_fail_read(struct op *op, enum status status, const char *sqlstate);

/* A limit in one period as a reply shows it. */
struct op_quota {
    const struct limit *limit; /* NULL: take the names below (row of a deleted limit) */
    struct slice limit_name, scope, meter;
    enum period period;
    int64_t period_start_ms, period_end_ms;
    struct stops stops;
    int64_t committed, debt, ledger_seq;
    int64_t held;               /* by live holds; */
    bool held_is_upper_bound;   /* or all that Redis may hold, because it could not be asked */
    int64_t set_aside;          /* for holds that Redis lost; 0 where Redis alone was asked */
    int64_t set_aside_until_ms; /* it is free then at the latest; 0: nothing, or not known */
};

/* What an amount has to fit beside: committed + debt + held + set_aside. */
static inline int64_t op_quota_taken(const struct op_quota *quota)
{
    return quota->committed + quota->debt + quota->held + quota->set_aside;
}

enum decision { DECISION_ALLOW = 1, DECISION_WARN, DECISION_REJECT, DECISION_ALREADY_COMMITTED };

/* Values as in holdfast.v1.ReasonCode. */
enum reason_code {
    REASON_SOFT_STOP = 1,
    REASON_OVERAGE,
    REASON_HARD_CAP,
    REASON_NEVER_SATISFIABLE,
    REASON_DEFERRED,
    REASON_DEBT,
    REASON_SUSPENDED,
};

struct op_reason {
    enum reason_code code;
    const struct op_quota *quota; /* NULL for SUSPENDED */
    int64_t short_by;
    int64_t retry_after_ms; /* -1: unknown or never */
    const char *message;
};

struct op_reserve {
    struct op op;
    /* in */
    struct slice scope, job_id;
    size_t meters_count;
    const struct hold_meter *meters; /* sorted by meter: one order for one identity */
    const size_t *amounts_index;     /* meters[i] is the request's amounts[amounts_index[i]] */
    int64_t ttl_ms;
    bool deferrable;
    int mode; /* RESERVE_MODE_NORMAL */
    /* out */
    enum decision decision;
    size_t reasons_count;
    struct op_reason *reasons;
    bool replayed;
    const struct hold *hold; /* ALLOW, WARN */
    int64_t retry_after_ms;  /* -1: unset */
    size_t quotas_count;
    struct op_quota *quotas;
    const struct settle_record *record; /* ALREADY_COMMITTED */
    bool degraded; /* Redis was not asked: what it has is counted in full, and the hold is in Postgres */
    bool uncounted; /* with degraded: in no store at all (open.h) */
    /* private to op/ */
    struct op_reserve_work *work;
};

void op_reserve_start(struct op_reserve *op, struct inbox_worker *worker);

/* Where a Commit, Release or Charge is; commit.c has the steps and what is true in each. */
enum commit_stage {
    COMMIT_ARRIVED,   /* on a worker; nothing is known yet */
    COMMIT_LOADING,   /* on a desk: the plan of its tenant */
    COMMIT_LOOKING,   /* on a worker or a desk: what does Redis hold of the job? */
    COMMIT_DECIDING,  /* at the committer, or on its way from there */
    COMMIT_RECALLING, /* at the granter: reap and recall */
    COMMIT_TELLING,   /* decided; Redis is told, by a worker or the granter */
};

struct op_commit { /* Commit, Release and Charge */
    struct op op;
    enum commit_stage stage; /* private */
    /* in */
    bool brief;
    const struct token *token; /* verified; or NULL */
    struct slice job_id;
    struct commit_item item; /* in: settle.kind, actual, actual_count, scope */
    /* out: item.settle, and */
    size_t quotas_count;
    struct op_quota *quotas;       /* unless brief */
    int recalls;                   /* private: how often capacity was taken back for it */
    bool unreadable;               /* private: what Redis has of the job is no hold */
    enum plan_selection selection; /* private to Charge: what the plan says of it, */
    size_t selection_meter;        /* and of which of its meters */
    bool answered;                 /* private: done comes before the notify */
    _Atomic int parts;             /* private: of answer and notify, those still to be done */
};

void op_commit_start(struct op_commit *op, struct inbox_worker *worker);

struct op_extend {
    struct op op;
    const struct token *token;
    struct slice job_id;
    int64_t ttl_ms;
    /* out */
    const struct hold *hold; /* with its new deadline */
    struct slice held_job_id;
    int64_t traced_at; /* private: how far the trace was as it began (op/trace.h) */
    int64_t lifetime_end_ms;
    bool degraded; /* the ledger could not be asked whether the attempt has ended */
    size_t quotas_count;
    struct op_quota *quotas;
};

void op_extend_start(struct op_extend *op, struct inbox_worker *worker);

#endif
