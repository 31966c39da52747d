#include "quota/drift.h"

#include "base/check.h"

enum { LARGE_PARTS = 1000 };

static int64_t between(int64_t a, int64_t b)
{
    uint64_t distance = a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;

    return distance > INT64_MAX ? INT64_MAX : (int64_t)distance;
}

static size_t add(struct drift *drifts, size_t count, enum drift_kind kind, int64_t is,
                  int64_t other)
{
    drifts[count] =
        (struct drift){.kind = kind, .is = is, .other = other, .units = between(is, other)};
    return count + 1;
}

/* Of sums that may be anything. */
static int64_t sum(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* Where the sums agree all the same, what differs is the number of entries. */
static size_t find_in_ledger(const struct drift_sums *sums, struct drift *drifts, size_t count)
{
    const struct quota_row *row = sums->row;
    int64_t is = sum(row->committed, row->debt), other = sum(sums->amount, sums->debt);

    if (!sums->entries_known)
        return count;
    if (sums->entries != row->ledger_seq)
        return is != other ? add(drifts, count, DRIFT_ENTRIES, is, other)
                           : add(drifts, count, DRIFT_ENTRIES, row->ledger_seq, sums->entries);
    if (row->committed != sums->amount)
        return add(drifts, count, DRIFT_LEDGER, row->committed, sums->amount);
    if (row->debt != sums->debt)
        return add(drifts, count, DRIFT_LEDGER, row->debt, sums->debt);
    return count;
}

bool drift_is_compared(const struct drift_sums *sums)
{
    return sums->redis.known && sums->row->lease_id > 0 &&
           sums->redis.lease_id == sums->row->lease_id;
}

/* returned is not compared: Redis raises its own first. */
static size_t find_in_redis(const struct drift_sums *sums, struct drift *drifts, size_t count)
{
    const struct quota_row *row = sums->row;
    const struct drift_redis *redis = &sums->redis;

    if (!drift_is_compared(sums))
        return count;
    if (redis->spent > row->spent)
        return add(drifts, count, DRIFT_REDIS, redis->spent, row->spent);
    if (redis->granted > row->granted)
        return add(drifts, count, DRIFT_REDIS, redis->granted, row->granted);
    if (redis->used_seq > quota_told_seq(row))
        return add(drifts, count, DRIFT_REDIS, redis->used_seq, quota_told_seq(row));
    if (redis->used_seq == quota_told_seq(row) && redis->used != sum(row->committed, row->debt))
        return add(drifts, count, DRIFT_REDIS, redis->used, sum(row->committed, row->debt));
    return count;
}

size_t drift_find(const struct drift_sums *sums, struct drift ret[DRIFT_KINDS])
{
    size_t count = 0;

    if (sums->row->leased != sums->leases)
        count = add(ret, count, DRIFT_LEASES, sums->row->leased, sums->leases);
    if (sums->holds_known && sums->row->pg_held != sums->holds)
        count = add(ret, count, DRIFT_HOLDS, sums->row->pg_held, sums->holds);
    count = find_in_ledger(sums, ret, count);
    return find_in_redis(sums, ret, count);
}

bool drift_is_behind(const struct drift_sums *sums)
{
    const struct quota_row *row = sums->row;
    const struct drift_redis *redis = &sums->redis;

    return drift_is_compared(sums) && row->leased == sums->leases &&
           (redis->spent < row->spent || redis->granted < row->granted ||
            redis->returned < row->returned || redis->used_seq < quota_told_seq(row));
}

bool drift_is_large(const struct drift *drift, const struct stops *stops)
{
    return stops->unlimited || drift->units > stops->cap / LARGE_PARTS;
}

const char *drift_kind_name(enum drift_kind kind)
{
    switch (kind) {
    case DRIFT_LEASES:
        return "leases";
    case DRIFT_HOLDS:
        return "holds";
    case DRIFT_LEDGER:
        return "ledger";
    case DRIFT_ENTRIES:
        return "entries";
    case DRIFT_REDIS:
        return "redis";
    }
    return "unknown";
}
