/*
 * Jobs in flight: takes each job of a list through Reserve and then Commit (or Release), many at
 * once, over asynchronous calls.
 *
 *   a slot:   idle -> RESERVE -> COMMIT or RELEASE -> the next job
 *                        \-> REJECT: the next job
 *             an error that may pass -> waits in `waiting` -> the same call with the same job_id
 *
 * There are `concurrency` slots and no thread for any of them: the answer to a call is handled on the
 * channel's thread, which sends the next one. The caller's thread, inside flight_run, only starts
 * what is due later (repeats, and jobs of a paced trace) and reports progress. One mutex guards the
 * flight; it is never held over a call.
 */
#ifndef HOLDFAST_CLI_FLIGHT_H
#define HOLDFAST_CLI_FLIGHT_H

#include "base/histogram.h"
#include "stub/client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flight_mode {
    FLIGHT_SPEND, /* reserve, then commit or release */
    FLIGHT_READ,  /* GetReservation: what does the record say about each job? */
};

enum job_outcome {
    JOB_PENDING,
    JOB_COMMITTED, /* acknowledged */
    JOB_EARLIER,   /* was on the record before this flight */
    JOB_RELEASED,
    JOB_REJECTED,
    JOB_FAILED, /* given up; it may or may not be on the record */
};

struct flight_job {
    int64_t at_us;      /* when to begin, since the start of the run */
    int64_t held_units; /* to reserve */
    int64_t used_units; /* to commit */
    enum job_outcome outcome;
    bool release;           /* give it back instead of committing it */
    int64_t acked_units;    /* JOB_COMMITTED, _EARLIER: committed + debt, as acknowledged */
    bool read;              /* FLIGHT_READ: an answer came */
    int64_t recorded_units; /* FLIGHT_READ: committed + debt on the record; -1: no record */
};

struct flight_options {
    enum flight_mode mode;
    struct stub_channel *const *channels; /* calls are dealt out to them */
    size_t channels_count;
    const char *const *tenants; /* job i belongs to tenant i % tenants_count */
    size_t tenants_count;
    const char *job_prefix; /* job_id is the prefix and the number of the job */
    const char *meter;
    int64_t ttl_us;
    int64_t timeout_us;
    int concurrency;
    int retries_max;              /* repeats of one call after errors that may pass */
    double speed_up;              /* at_us is divided by it; 0: as fast as it goes */
    void (*progress)(void *user); /* called about twice a second from flight_run */
    void *user;
};

/* What was counted. Readable from progress, too: flight_totals copies it. */
struct flight_totals {
    int64_t finished; /* jobs */
    int64_t reserved, committed, released, rejected, expired, replayed, retried, failed;
    int64_t reserved_sum, committed_sum;
    int64_t reserve_answers, commit_answers;
    int64_t elapsed_us;
    char last_error[200]; /* of a call that was given up; "" if none */
    struct histogram reserve_us, commit_us;
};

struct flight;

/* Jobs and options must outlive the flight; the jobs' outcomes are written into them. */
struct flight *flight_create(const struct flight_options *options, struct flight_job *jobs,
                             size_t jobs_count);
void flight_destroy(struct flight *flight);

/* Returns when every job has an outcome. */
void flight_run(struct flight *flight);

void flight_totals(struct flight *flight, struct flight_totals *ret);

#endif
