/*
 * Counts the crossings of one limit, from a Watch stream that begins before the run.
 *
 * Each has a thread of its own, which resumes after the last seq seen whenever the stream breaks, so
 * no event is missed and none is counted twice.
 */
#ifndef HOLDFAST_CLI_CROSSINGS_H
#define HOLDFAST_CLI_CROSSINGS_H

#include "stub/client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crossings;

struct crossings_counts {
    int64_t soft_stop, hard_stop, hard_cap; /* up, on committed use */
    int64_t over_units; /* most units by which an event's committed passed its hard cap */
    bool complete;      /* everything up to the position asked for was seen */
    char error[160];    /* the last error of a stream; "" if none */
};

/* Events of this tenant and limit after after_seq. The channels and texts must outlive it. */
struct crossings *crossings_start(struct stub_channel *const *channels, size_t channels_count,
                                  const char *tenant, const char *limit_id, int64_t after_seq);

/* Waits until everything up to until_seq was seen, at most 5 s, then ends the thread and frees. */
void crossings_finish(struct crossings *crossings, int64_t until_seq, struct crossings_counts *ret);

#endif
