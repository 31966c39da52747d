#include "quota/repair.h"

#include "base/amount.h"
#include "base/check.h"
#include "quota/lease.h"
#include "quota/times.h"

struct repairing {
    struct book *book;
    struct quota_row *quota;
    const struct repair_seen *seen;
    struct repaired *out;
    bool refused;  /* the leases were: nothing else is put upon them */
    bool recorded; /* committed, debt and ledger_seq are those of the entries now */
};

static int64_t lent(const struct quota_row *quota)
{
    return quota->granted - quota->returned - quota->spent;
}

static struct repair_numbers numbers_of(const struct quota_row *quota)
{
    return (struct repair_numbers){.committed = quota->committed,
                                   .debt = quota->debt,
                                   .pg_held = quota->pg_held,
                                   .leased = quota->leased,
                                   .lease_id = quota->lease_id,
                                   .granted = quota->granted,
                                   .returned = quota->returned,
                                   .spent = quota->spent,
                                   .ledger_seq = quota->ledger_seq};
}

/* Of its current lease, those that were set aside before, and those that this repair sets aside. */
static bool leases_sum(const struct repairing *repairing, int64_t *ret)
{
    const struct quota_row *quota = repairing->quota;
    const struct book *book = repairing->book;
    bool sound = quota->returned >= 0 && quota->spent >= 0 && amount_valid(quota->granted) &&
                 lent(quota) >= 0;

    *ret = lent(quota);
    for (size_t i = 0; i < book->leases_count && sound; i++) {
        const struct lease_row *lease = &book->leases[i];
        int64_t rest = lease->granted - lease->returned - lease->spent;

        if (lease->tenant_id != quota->tenant_id || !quota_ref_equal(lease->ref, quota->ref))
            continue;
        sound = amount_valid(lease->granted) && amount_valid(rest) && amount_add(*ret, rest, ret);
    }
    for (size_t i = 0; i < repairing->out->begun_count && sound; i++) {
        const struct lease_row *lease = &repairing->out->begun[i];

        sound = amount_add(*ret, lease->granted - lease->returned - lease->spent, ret);
    }
    return sound;
}

static bool is_in_range(const struct quota_row *quota)
{
    int64_t sum = 0;

    return amount_valid(quota->granted) && amount_add(quota->committed, quota->debt, &sum) &&
           amount_add(sum, quota->pg_held, &sum) && amount_add(sum, quota->leased, &sum);
}

/* --- leases ----------------------------------------------------------------------------------- */

/* The current lease is set aside; an empty one begins. */
static void begin_lease(struct repairing *repairing)
{
    struct lease_row old;

    CHECK(repairing->out->begun_count < REPAIR_LEASES_MAX);
    lease_begin(repairing->quota, &old);
    if (old.lease_id != 0)
        repairing->out->begun[repairing->out->begun_count++] = old;
}

/* Two more leases can be begun: each repair needs no more. */
static bool may_begin(const struct quota_row *quota)
{
    struct quota_row next = *quota;

    next.lease_id++;
    return lease_may_begin(quota) && lease_may_begin(&next);
}

static const char no_epoch[] =
    "the shard is beginning a new epoch, or has no more leases in this one: try again in a second";
static const char out_of_range[] = "the numbers would not be those of a quota: restore the row";

static bool is_lease_in_redis(const struct repairing *repairing)
{
    const struct drift_redis *redis = &repairing->seen->sums.redis;

    return redis->known && redis->lease_id == repairing->quota->lease_id && redis->lease_id > 0;
}

/* What Redis was granted may be promised, whatever the row says. */
static void take_granted(struct repairing *repairing)
{
    struct quota_row *quota = repairing->quota;
    const struct drift_redis *redis = &repairing->seen->sums.redis;

    if (!is_lease_in_redis(repairing) || redis->granted <= quota->granted)
        return;
    quota->granted = redis->granted;
    quota->lease_deadline_ms =
        amount_max(quota->lease_deadline_ms, repairing->book->now_ms + LEASE_MAX_MS);
}

static const char *repair_leases(struct repairing *repairing, bool *ret_done)
{
    struct quota_row *quota = repairing->quota;
    const struct drift_redis *redis = &repairing->seen->sums.redis;
    int64_t leases, missing;

    *ret_done = false;
    take_granted(repairing);
    if (!leases_sum(repairing, &leases) || !amount_valid(quota->leased))
        return "the numbers of a lease cannot be: restore the row";
    missing = quota->leased - leases;
    *ret_done = true;
    if (missing == 0)
        return "granted follows Redis, with which leased agrees";
    if (missing < 0 && is_lease_in_redis(repairing) && redis->spent - quota->spent == -missing &&
        redis->spent <= quota->granted - quota->returned) {
        quota->spent = redis->spent;
        return "spent follows Redis, with which leased agrees";
    }
    if (missing < 0) {
        quota->leased = leases;
        return "leased rises to what the leases have out";
    }
    if (!may_begin(quota)) {
        *ret_done = false;
        return no_epoch;
    }
    if (quota->lease_id == 0)
        begin_lease(repairing);
    quota->granted += missing;
    quota->lease_deadline_ms =
        amount_max(quota->lease_deadline_ms, repairing->book->now_ms + LEASE_MAX_MS);
    begin_lease(repairing);
    return "what no lease accounts for is set aside with the lease, for 30 minutes; then it is back";
}

/* --- holds in Postgres ------------------------------------------------------------------------ */

static const char *repair_holds(struct repairing *repairing, bool *ret_done)
{
    struct quota_row *quota = repairing->quota;
    const struct drift_sums *sums = &repairing->seen->sums;
    int64_t above = sums->row->pg_held - sums->holds;

    *ret_done = true;
    quota->pg_held -= above;
    if (above < 0)
        return "pg_held rises to what the holds add up to";
    if (!may_begin(quota)) {
        *ret_done = false;
        return no_epoch;
    }
    begin_lease(repairing);
    quota->granted = above;
    quota->leased += above;
    quota->lease_deadline_ms = repairing->book->now_ms + LIFETIME_MAX_MS;
    begin_lease(repairing);
    return "what no hold accounts for is set aside as a lease, for 24 hours; then it is back";
}

/* --- the record ------------------------------------------------------------------------------- */

/* NULL: the entries may be believed. up: the row is to say more than it did. */
static const char *doubt_entries(const struct repair_seen *seen, bool up)
{
    if (!seen->whole)
        return "entries are missing or stand twice: restore them; VerifyTenant names the first";
    if (seen->seal == SEAL_REFUTES)
        return "entries were altered or taken out since they were sealed: restore them; VerifyTenant names "
               "the first";
    if (seen->sums.entries < seen->sums.row->ledger_seq)
        return "the row has numbered more entries than there are: restore them, or the row";
    if (up)
        return NULL;
    if (seen->seal == SEAL_ABSENT)
        return "the entries are not sealed yet, or by a key that is not here, so nothing proves them: try "
               "again in some seconds";
    if (seen->unsealed > 0 && !seen->unsealed_sound)
        return "entries that are not sealed contradict themselves or are old: nothing proves them";
    return NULL;
}

static const char *repair_record(struct repairing *repairing, bool *ret_done)
{
    struct quota_row *quota = repairing->quota;
    const struct repair_seen *seen = repairing->seen;
    int64_t committed = seen->sums.row->committed - seen->sums.amount;
    int64_t debt = seen->sums.row->debt - seen->sums.debt;
    const char *why = doubt_entries(seen, committed <= 0 && debt <= 0);

    *ret_done = !why;
    if (why)
        return why;
    quota->committed -= committed;
    quota->debt -= debt;
    quota->ledger_seq -= seen->sums.row->ledger_seq - seen->sums.entries;
    repairing->recorded = true;
    book_cross(repairing->book, quota, slice_of(NULL, 0), (struct attempt){0});
    return "the row becomes what the entries add up to";
}

/* --- Redis ------------------------------------------------------------------------------------ */

/* Committed and debt of the row as it was seen, or as it would have been. */
static int64_t used_then(const struct repairing *repairing)
{
    const struct drift_sums *sums = &repairing->seen->sums;

    return repairing->recorded ? sums->amount + sums->debt : sums->row->committed + sums->row->debt;
}

/* Redis has the use of the same entries, and shows another. */
static bool shows_other_use(const struct repairing *repairing)
{
    const struct drift_sums *sums = &repairing->seen->sums;
    int64_t seq = repairing->recorded ? sums->entries : sums->row->ledger_seq;

    return is_lease_in_redis(repairing) && sums->redis.used_seq == seq + sums->row->seq_lost &&
           sums->redis.used != used_then(repairing);
}

static const char *repair_redis(struct repairing *repairing, bool *ret_done)
{
    struct quota_row *quota = repairing->quota;
    const struct drift_redis *redis = &repairing->seen->sums.redis;
    int64_t before = quota->granted;

    *ret_done = false;
    if (repairing->seen->sums.loss_waits)
        return "the database has lost acknowledged use: accept the loss first (AcceptLoss)";
    if (redis->used_seq > quota_told_seq(quota))
        return "Redis has heard of more entries than there are: the database may have lost acknowledged use";
    *ret_done = true;
    if (!is_lease_in_redis(repairing))
        return "another lease has begun, with the right totals";
    if (redis->spent <= quota->spent && redis->granted <= quota->granted &&
        !shows_other_use(repairing))
        return "nothing is left to be done: the row agrees with Redis again";
    if (!may_begin(quota)) {
        *ret_done = false;
        return no_epoch;
    }
    take_granted(repairing);
    quota->leased += quota->granted - before;
    begin_lease(repairing);
    return "the lease is set aside until its end, and the next begins with the right totals";
}

/* --- all of it -------------------------------------------------------------------------------- */

static const char *repair_kind(struct repairing *repairing, enum drift_kind kind, bool *ret_done)
{
    switch (kind) {
    case DRIFT_LEASES:
        return repair_leases(repairing, ret_done);
    case DRIFT_HOLDS:
        return repair_holds(repairing, ret_done);
    case DRIFT_LEDGER:
    case DRIFT_ENTRIES:
        return repair_record(repairing, ret_done);
    case DRIFT_REDIS:
        return repair_redis(repairing, ret_done);
    }
    UNREACHABLE();
}

/* What the row is to keep, whatever its numbers were. */
static bool is_sound(const struct repairing *repairing)
{
    int64_t leases;

    return is_in_range(repairing->quota) && leases_sum(repairing, &leases) &&
           leases == repairing->quota->leased;
}

/* All or nothing: where it is refused, or the result cannot be, the row is as before. */
static void repair_one(struct repairing *repairing, struct repair *repair)
{
    struct quota_row before = *repairing->quota;
    struct book book = *repairing->book;
    size_t begun = repairing->out->begun_count;

    repair->before = repair->after = numbers_of(&before);
    if (repairing->refused) {
        repair->what = "its leases come first";
        return;
    }
    repair->what = repair_kind(repairing, repair->drift.kind, &repair->done);
    if (repair->done && !is_sound(repairing)) {
        repair->done = false;
        repair->what = out_of_range;
    }
    if (repair->done) {
        repairing->quota->dirty = true;
        repair->after = numbers_of(repairing->quota);
        return;
    }
    *repairing->quota = before;
    repairing->book->events = book.events;
    repairing->book->events_tail = book.events_tail;
    if (book.events_tail)
        *book.events_tail = NULL;
    repairing->out->begun_count = begun;
    repairing->refused = repair->drift.kind == DRIFT_LEASES;
}

/* Redis last of what it is compared with; holds after it, because they begin leases. */
static const enum drift_kind order[] = {DRIFT_LEASES, DRIFT_LEDGER, DRIFT_ENTRIES, DRIFT_REDIS,
                                        DRIFT_HOLDS};

void repair_quota(struct book *book, struct quota_row *quota, const struct repair_seen *seen,
                  struct repaired *ret)
{
    struct repairing repairing = {.book = book, .quota = quota, .seen = seen, .out = ret};
    struct drift drifts[DRIFT_KINDS];
    size_t count = drift_find(&seen->sums, drifts);

    *ret = (struct repaired){0};
    for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++)
        for (size_t i = 0; i < count; i++)
            if (drifts[i].kind == order[k]) {
                ret->repairs[ret->count].drift = drifts[i];
                repair_one(&repairing, &ret->repairs[ret->count++]);
            }
    if (ret->begun_count == 0 && repairing.recorded && shows_other_use(&repairing) &&
        may_begin(quota))
        begin_lease(&repairing);
}
