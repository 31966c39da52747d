/*
 * One of the committer's connections: libpq's pipeline mode, never waiting. A round is any number of
 * statements and a sync, sent together; their results come back together.
 *
 *     down --lane_connect--> idle --lane_begin, lane_add..., lane_send--> busy --LANE_ANSWERED--> idle
 *       ^------------------------------- the connection broke, or took too long --------------'
 *
 * One thread. (Connecting waits, at most the connect timeout.)
 */
#ifndef HOLDFAST_LEDGER_LANE_H
#define HOLDFAST_LEDGER_LANE_H

#include "base/check.h"
#include "base/clock.h"
#include "base/status.h"
#include "ledger/database_internal.h"
#include "ledger/session.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum lane_state { LANE_DOWN, LANE_IDLE, LANE_BUSY };

enum lane_progress {
    LANE_PENDING,  /* wait for lane_fd */
    LANE_ANSWERED, /* the round is over: lane_take, lane_status */
    LANE_BROKEN,   /* no answer and no connection any more; now down */
};

enum { LANE_STEPS_MAX = 12 };

/* Fields are private, but for state, error and sqlstate. */
struct lane {
    enum lane_state state;
    char error[SESSION_ERROR_MAX]; /* of the last failure */
    char sqlstate[SQLSTATE_BYTES]; /* of that one; "" if it has none */
    struct session_options options;
    PGconn *conn;
    int warnings;
    int64_t sent_us; /* clock_mono_us of the last round */
    int64_t answer_by_us;
    const struct statement *steps[LANE_STEPS_MAX];
    PGresult *results[LANE_STEPS_MAX];
    size_t steps_count;
    size_t step; /* whose results are being read */
    size_t failed_step;
    bool synced;
    bool exhausted; /* a parameter list was bad */
    bool bad;       /* libpq would not take a statement */
};

void lane_init(struct lane *lane, const struct session_options *options);
void lane_done(struct lane *lane);

/* Opens, checks, and prepares the statements. */
MUST_CHECK enum status lane_connect(struct lane *lane, const struct statement *const *statements,
                                    size_t count);

/* Back to down; the server rolls back what is open, unless COMMIT has reached it. */
void lane_close(struct lane *lane);

/* Begins a round; returns the step's number for lane_take. */
void lane_begin(struct lane *lane);
size_t lane_add(struct lane *lane, const struct statement *statement, struct sql_params *params);

/*
 * UNAVAILABLE: the connection broke before all statements were taken. EXHAUSTED: there was no memory
 * for the parameters. In both cases the last statement, the COMMIT, was not sent. UNKNOWN: it broke
 * while sending. After each of them the lane is down.
 */
MUST_CHECK enum status lane_send(struct lane *lane);

/* While busy: the answer is waited for until then (clock_mono_us), if not less long. */
void lane_hurry(struct lane *lane, int64_t answer_by_us);

enum lane_progress lane_advance(struct lane *lane);

/* While idle, when lane_fd is readable: nothing is expected, most likely the connection is gone. */
void lane_idle(struct lane *lane);

/* To be polled unless down. */
int lane_fd(const struct lane *lane);
bool lane_wants_write(const struct lane *lane);

enum lane_cause { LANE_OTHER, LANE_DUPLICATE /* a unique key was hit */, LANE_LOCK_TIMEOUT };

/* After LANE_ANSWERED: the first failure of the round, or OK. */
enum status lane_status(struct lane *lane, enum lane_cause *ret_cause);

/* After lane_status said a failure: the first step that failed; else how many there are. */
size_t lane_failed_step(const struct lane *lane);

/* The result of a step, which becomes the caller's. */
PGresult *lane_take(struct lane *lane, size_t step);

/* After LANE_ANSWERED: warnings that came since lane_begin. */
int lane_warnings(const struct lane *lane);

#endif
