/*
 * Crossings of what is reserved, for limits that want them (limit.reserved_crossings). Pure.
 *
 * Reserved is committed + debt + held. held is what Redis counts: the units of the holds under the quota's
 * current lease there, the same that a Reserve answers. So these are not in it: holds that were made in
 * Postgres while Redis was away, until they are committed, and holds whose lease was set aside when
 * Redis was lost. Stops, levels and hysteresis are those of threshold.h.
 *
 * A script that changes a quota sees all of that at one moment, so it counts: each change of the level is a
 * `struct reached`, numbered, which Redis keeps until the database has it (counter/lua/levels.lua). Several
 * changes in one script are one. Up to REACHED_MAX wait; then the newest takes the place of the one before
 * it, and the numbers show it.
 *
 * The root keeps the level that was told last, and the name of the last change that is in it. Names only
 * rise, so each change is applied at most once, whoever brings it and however often. What is told is the
 * difference between levels, so ups and downs of a stop alternate, whatever was lost on the way. Redis
 * begins anew with each new lease and tells its level once, whatever it is: that is how a Redis that
 * has lost its data, or went back, comes to agree with the root again.
 */
#ifndef HOLDFAST_QUOTA_RESERVED_H
#define HOLDFAST_QUOTA_RESERVED_H

#include "quota/book.h"
#include "quota/threshold.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REACHED_MAX = 8 };

/* Of a change of a quota's level; ordered by the lease that the count began with, then n, from 1. */
struct reached_name {
    int64_t lease_id, n;
};

/* The quota right after it. */
struct reached {
    struct reached_name name;
    int level; /* bits of threshold.h */
    struct stops stops;
    int64_t used, used_seq, debt; /* used = committed + debt, at ledger_seq used_seq */
    int64_t held;
};

/* What the root remembers of a quota; all 0: nothing was told yet. */
struct reserved_level {
    struct reached_name last;
    int level;
};

int reached_compare(struct reached_name a, struct reached_name b);

/*
 * Applies what is newer than level->last, oldest first, and appends the crossings to the book, the row of
 * which is locked. A limit that is not there any more, or has become unlimited, has no stops. True: *level
 * has changed.
 */
bool reserved_apply(struct book *book, struct quota_row *quota, struct reserved_level *level,
                    const struct reached *reached, size_t count);

/* The quota has no stops any more (removed, or unlimited): all are below. True: the level has changed. */
bool reserved_drop(struct book *book, struct quota_row *quota, struct reserved_level *level);

#endif
