/*
 * What time it is in the database, without asking it.
 *
 * Every deadline is in the database's time, so that no two servers argue about it. A server reads
 * clock_timestamp() now and then and notes its own clock (clock_mono_us) before it sent the query
 * and after the answer came. The reading was made in between, so at time t
 *
 *     earliest = db + (t - after)  - drift        drift = 0.1 % of (t - after)
 *     latest   = db + (t - before) + drift
 *     now      = db + (t - after), never less than any now told before or any floor seen
 *
 * The estimate lags rather than leads: a stale now only makes holds end earlier. The floor is a
 * reaped_to that was seen in a quota row: everything with a deadline up to there is dead already.
 *
 * Any thread may call everything. Readers do not lock.
 */
#ifndef HOLDFAST_BASE_ESTIMATE_H
#define HOLDFAST_BASE_ESTIMATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Fields are private. */
struct estimate {
    pthread_mutex_t write_lock;
    _Atomic uint64_t sequence;   /* odd while a writer is in between */
    _Atomic int64_t at_us;       /* own clock when the newest answer came; INT64_MIN: none yet */
    _Atomic int64_t earliest_us; /* database time at at_us, at least */
    _Atomic int64_t latest_us;   /* database time at at_us, at most */
    _Atomic int64_t highest_ms;  /* told before, or a floor */
};

/* Times since 1970 in ms. earliest <= true time <= latest as long as no clock is broken. */
struct estimate_reading {
    int64_t now_ms;
    int64_t earliest_ms;
    int64_t latest_ms;
};

void estimate_init(struct estimate *estimate);
void estimate_done(struct estimate *estimate);

/* True after the first observation. Before it there is no now, only the floor (0 at first). */
bool estimate_ready(const struct estimate *estimate);

/*
 * The database said db_ms (rounded down) between the two times of this machine's clock. Answers may
 * be reported late and out of order. One that contradicts what is known replaces it if it is newer.
 */
void estimate_observe(struct estimate *estimate, int64_t db_ms, int64_t mono_before_us,
                      int64_t mono_after_us);

/* No now below ms from here on. */
void estimate_floor(struct estimate *estimate, int64_t ms);

/* The `now` to pass to scripts. mono_us is the caller's clock at this moment. */
int64_t estimate_now_ms(struct estimate *estimate, int64_t mono_us);

/* Now with its bounds; the bounds follow the clock alone, not the floor. */
struct estimate_reading estimate_read(struct estimate *estimate, int64_t mono_us);

#endif
