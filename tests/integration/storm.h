/*
 * Load for tests that kill things: threads that take job after job through Reserve, perhaps Extend,
 * and Commit, Release or nothing, repeat with the same job_id whatever passes, and remember what they
 * were told. storm_judge then compares that with the record.
 *
 * Along the way the storm keeps a lower bound of what the limit must bear: a hold counts from its
 * acknowledgement until its Commit or Release is sent, a commit from then on for ever. Should that
 * bound ever be above the limit, more was admitted than it says.
 */
#ifndef HOLDFAST_TESTS_INTEGRATION_STORM_H
#define HOLDFAST_TESTS_INTEGRATION_STORM_H

#include "tests/integration/caller.h"

struct storm_options {
    struct stub_channel *const *channels; /* repeats go to the next */
    int channels_count;
    const char *tenant; /* has one limit, "calls", on the meter "calls" */
    int64_t limit;
    int threads;
    int64_t units_max;     /* per job, from 1 */
    int64_t ttl_ms;
    int64_t hold_ms_max;   /* between Reserve and the end */
    int commit_percent, release_percent; /* the others are left to expire */
    int extend_percent;    /* of all */
    bool commit_little;    /* 1 unit, however much was held: the limit lasts longer */
    bool servers_die;      /* then an error may lack the server's own words */
    uint64_t seed;
};

struct storm;

struct storm_figures {
    int64_t jobs, reserved, rejected, extended, committed, released, repeated, late;
    int64_t unavailable; /* answers that said so */
    int64_t bound_max;   /* the highest lower bound */
};

struct storm *storm_start(const struct storm_options *options);

/* No new jobs; waits until each has been answered for good. */
void storm_stop(struct storm *storm);

struct storm_figures storm_figures(struct storm *storm);

/* So far nothing strange was answered and the limit held. Ends the test otherwise. */
void storm_check(struct storm *storm);

/*
 * After storm_stop: acknowledged commits are in the ledger exactly once, with their units; released
 * jobs are not; nothing else is; the books balance. Ends the test otherwise, and prints the figures.
 */
void storm_judge(struct storm *storm);

void storm_destroy(struct storm *storm);

#endif
