#include "base/estimate.h"

#include "base/check.h"

/* The parts of an observation that belong together. */
struct snapshot {
    int64_t at_us;
    int64_t earliest_us;
    int64_t latest_us;
};

void estimate_init(struct estimate *estimate)
{
    CHECK(pthread_mutex_init(&estimate->write_lock, NULL) == 0);
    atomic_init(&estimate->sequence, 0);
    atomic_init(&estimate->at_us, INT64_MIN);
    atomic_init(&estimate->earliest_us, 0);
    atomic_init(&estimate->latest_us, 0);
    atomic_init(&estimate->highest_ms, 0);
}

void estimate_done(struct estimate *estimate)
{
    pthread_mutex_destroy(&estimate->write_lock);
}

bool estimate_ready(const struct estimate *estimate)
{
    return atomic_load_explicit(&estimate->at_us, memory_order_acquire) != INT64_MIN;
}

/*
 * A sequence lock without fences (ThreadSanitizer does not know them): the data are loaded with
 * acquire, so the second look at the sequence cannot move before them; the writer stores them with
 * release, so whoever sees a new one also sees the odd sequence that came first.
 */
static struct snapshot snapshot_load(struct estimate *estimate)
{
    for (;;) {
        uint64_t before = atomic_load_explicit(&estimate->sequence, memory_order_acquire);
        struct snapshot snapshot = {
            .at_us = atomic_load_explicit(&estimate->at_us, memory_order_acquire),
            .earliest_us = atomic_load_explicit(&estimate->earliest_us, memory_order_acquire),
            .latest_us = atomic_load_explicit(&estimate->latest_us, memory_order_acquire),
        };
        uint64_t after = atomic_load_explicit(&estimate->sequence, memory_order_relaxed);

        if (before == after && before % 2 == 0)
            return snapshot;
    }
}

/* With the write lock held. */
static void snapshot_store(struct estimate *estimate, const struct snapshot *snapshot)
{
    uint64_t sequence = atomic_load_explicit(&estimate->sequence, memory_order_relaxed);

    atomic_store_explicit(&estimate->sequence, sequence + 1, memory_order_relaxed);
    atomic_store_explicit(&estimate->at_us, snapshot->at_us, memory_order_release);
    atomic_store_explicit(&estimate->earliest_us, snapshot->earliest_us, memory_order_release);
    atomic_store_explicit(&estimate->latest_us, snapshot->latest_us, memory_order_release);
    atomic_store_explicit(&estimate->sequence, sequence + 2, memory_order_release);
}

/* The same knowledge at another time: both bounds move on and drift apart. */
static struct snapshot snapshot_at(struct snapshot snapshot, int64_t mono_us)
{
    int64_t elapsed_us = mono_us - snapshot.at_us;
    int64_t drift_us = (elapsed_us < 0 ? -elapsed_us : elapsed_us) / 1000;

    return (struct snapshot){
        .at_us = mono_us,
        .earliest_us = snapshot.earliest_us + elapsed_us - drift_us,
        .latest_us = snapshot.latest_us + elapsed_us + drift_us,
    };
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What both say together; what the newer one says alone when they contradict each other. */
static struct snapshot snapshot_merge(struct snapshot old, struct snapshot new)
{
    bool newer = new.at_us >= old.at_us;
    int64_t at_us = larger(old.at_us, new.at_us);
    struct snapshot a = snapshot_at(old, at_us);
    struct snapshot b = snapshot_at(new, at_us);
    struct snapshot both = {
        .at_us = at_us,
        .earliest_us = larger(a.earliest_us, b.earliest_us),
        .latest_us = smaller(a.latest_us, b.latest_us),
    };

    if (both.earliest_us <= both.latest_us)
        return both;
    return newer ? b : a;
}

void estimate_observe(struct estimate *estimate, int64_t db_ms, int64_t mono_before_us,
                      int64_t mono_after_us)
{
    struct snapshot seen = {
        .at_us = mono_after_us,
        .earliest_us = db_ms * 1000,
        /* The database's time was rounded down to a millisecond. */
        .latest_us = db_ms * 1000 + 999 + (mono_after_us - mono_before_us),
    };

    CHECK(mono_before_us <= mono_after_us);
    pthread_mutex_lock(&estimate->write_lock);
    if (estimate_ready(estimate))
        seen = snapshot_merge(snapshot_load(estimate), seen);
    snapshot_store(estimate, &seen);
    pthread_mutex_unlock(&estimate->write_lock);
}

void estimate_floor(struct estimate *estimate, int64_t ms)
{
    int64_t highest_ms = atomic_load_explicit(&estimate->highest_ms, memory_order_relaxed);

    while (highest_ms < ms && !atomic_compare_exchange_weak(&estimate->highest_ms, &highest_ms, ms))
        continue;
}

struct estimate_reading estimate_read(struct estimate *estimate, int64_t mono_us)
{
    struct snapshot known = snapshot_load(estimate);
    struct estimate_reading reading = {0};

    if (known.at_us != INT64_MIN) {
        struct snapshot here = snapshot_at(known, mono_us);

        reading.earliest_ms = here.earliest_us / 1000;
        reading.latest_ms = here.latest_us / 1000;
        estimate_floor(estimate, (known.earliest_us + mono_us - known.at_us) / 1000);
    }
    reading.now_ms = atomic_load_explicit(&estimate->highest_ms, memory_order_relaxed);
    return reading;
}

int64_t estimate_now_ms(struct estimate *estimate, int64_t mono_us)
{
    return estimate_read(estimate, mono_us).now_ms;
}
