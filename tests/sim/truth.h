/*
 * What was promised, and whether it was kept: the invariants of src/op/PROTOCOL.md 5 over what clients saw.
 *
 * It knows the calls' beginnings and ends and the answers, and at certain moments looks at the rows of
 * the record. It predicts no answer (tests/model does that, for one call at a time); many answers are
 * right while calls overlap and stores fail, and it says which are not. Times are virtual.
 *
 *   strict   nothing was lost, slow, away or killed so far: every call must succeed, and what was
 *            finished is free at once
 *   lenient  an error that names a store is right; what may be held counts as held until its deadline
 */
#ifndef HOLDFAST_TESTS_SIM_TRUTH_H
#define HOLDFAST_TESTS_SIM_TRUTH_H

#include "tests/sim/calls.h"
#include "tests/sim/postgres.h"

#include <stdbool.h>
#include <stdint.h>

enum { TRUTH_ATTEMPTS = 12, TRUTH_JOB_NAME = 24, TRUTH_ADJUSTS = 6 };

struct truth_attempt {
    struct sim_hold hold;        /* deadline: the latest that was acknowledged */
    int64_t deadline_max_ms;     /* or may be in force */
    int64_t deadline_first_ms;   /* of its first token */
    enum decision decision;
    int64_t acked_us;
    int64_t finish_invoked_us;   /* the first Commit or Release that may mean it; -1 */
    bool released;               /* acknowledged */
    int64_t released_us;         /* first */
};

/* A correction that was asked for, perhaps several times. */
struct truth_adjust {
    char id[TRUTH_JOB_NAME];
    int64_t delta[SIM_METERS]; /* 0: not changed */
    int64_t left[SIM_METERS];  /* as it was told */
    bool made, maybe;
};

struct truth_job {
    struct truth_job *next;
    struct truth_tenant *tenant;
    char name[TRUTH_JOB_NAME];
    int64_t units[SIM_METERS];
    int64_t actual[SIM_METERS];  /* what every Commit of it says; -1: the whole hold */
    int64_t first_us;
    size_t attempts_count;
    struct truth_attempt attempts[TRUTH_ATTEMPTS];
    int reserves_open, finishes_open, extends_open;
    int64_t reserve_last_us;     /* when one was last under way */
    int64_t extend_max_ms;       /* the latest deadline that anyone asked for */
    int64_t finish_last_us;      /* when a Commit or Release was last under way */
    bool reserve_maybe;          /* one may have taken effect without an answer */
    bool commit_maybe, release_maybe;
    bool commit_asked, release_asked, retaken;
    int commits_asked;
    bool committed;              /* acknowledged */
    struct reply record;         /* the first acknowledgement */
    int64_t committed_us;
    int64_t released_us;         /* the last acknowledgement, or -1 */
    size_t adjusts_count;
    struct truth_adjust adjusts[TRUTH_ADJUSTS];
    bool forgotten;              /* the database went back behind something of it: nothing is promised */
};

struct truth_tenant {
    const char *name;
    int64_t tenant_id;
    struct truth_job *jobs; /* newest first */
    int64_t cap_changed_us; /* a limit or the tenant was last changed, or may have been */
    int adjusts_open;
    int64_t adjusted_us;    /* a correction was last under way; or -1 */
    int64_t lost_us;        /* Redis last lost something of it, or may have; -1 never */
    bool suspended, suspended_maybe;
    int64_t admin_open;
    bool stuck;             /* an outsider has its rows */
    int64_t stuck_until_us; /* and what it held up may last until then */
    int64_t read_only_us;   /* a loss was found of it and waits since then; -1: none does */
    int64_t accepted_us;    /* the last one was accepted */
};

struct truth {
    struct postgres *postgres;
    bool strict;
    bool deaf;              /* a broken promise is not looked at */
    int64_t trouble_us;     /* of any kind, last; -1: none yet */
    bool redis_lost;        /* at any time */
    bool split;             /* an old primary lives on beside the new one */
    bool only_away;         /* nothing but its absences happens to Redis */
    int64_t absences;       /* of Redis, so far */
    struct truth_open *opens; /* what servers have admitted without any store */
    int64_t calls, checks, leases_looks;
    int64_t latency_worst_us; /* of a call that nothing should hold up */
    const char *broken;     /* the first broken promise */
    char text[512];
};

void truth_break(struct truth *truth, const char *promise, const struct truth_job *job,
                 const char *format, ...) PRINTF_LIKE(4, 5);

struct truth_attempt *truth_newest(struct truth_job *job); /* acknowledged; or NULL */

/* Around each call of a client. begun_us: when it was asked. */
void truth_begin(struct truth *truth, struct truth_job *job, const struct ask *ask);
void truth_end(struct truth *truth, struct truth_job *job, const struct ask *ask, int64_t begun_us,
               const struct reply *reply);
void truth_usage(struct truth *truth, struct truth_tenant *tenant, int64_t begun_us,
                 const struct reply *reply);

/* Every lease, in its row or set aside, lasts until the deadlines of its live holds. */
void truth_leases(struct truth *truth, struct truth_job *of);

/* A new hold: what its limits say of a Redis that is away (PROTOCOL.md 3.9). */
void truth_away(struct truth *truth, struct truth_job *job, int64_t begun_us,
                const struct reply *reply);
void truth_away_done(struct truth *truth);
/* An answer: nothing new while a loss waits, once every server has had its beat; and READ_ONLY only then. */
void truth_read_only(struct truth *truth, struct truth_job *job, const struct ask *ask,
                     int64_t begun_us, const struct reply *reply);

/* A standby takes over next: which jobs does it know another state of? */
void truth_forget(struct truth *truth, struct truth_tenant *tenant, const struct pg_tenant *before);

/* An answer to a correction; was_made: it was acknowledged before it was asked for. */
void truth_adjusted(struct truth *truth, struct truth_job *job, struct truth_adjust *adjust,
                    int64_t begun_us, bool was_made, const struct reply *reply);
void truth_audit_adjusts(struct truth *truth, struct truth_job *job, const struct pg_job *row);

/* Whatever the call: no INTERNAL; while every store answers no error that names one, and no delay. */
void truth_answered(struct truth *truth, struct truth_job *job, const struct ask *ask,
                    const struct reply *reply, int64_t begun_us);

/* An error that only says that a store or this server could not, just now. */
bool truth_is_excuse(const struct reply *reply);

/* At rest: the record against what was acknowledged. */
void truth_audit(struct truth *truth, struct truth_tenant *tenant);

/* Units that are held for certain, or may be, of a quota (limit_id) in a period. */
int64_t truth_live(const struct truth_tenant *tenant, struct quota_ref ref, int64_t now_ms,
                   const struct truth_attempt *but);
int64_t truth_maybe(const struct truth *truth, const struct truth_tenant *tenant, size_t meter,
                    int64_t since_us, const struct truth_job *but);

#endif
