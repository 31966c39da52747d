/*
 * Which hold an item means, and what becomes of it. A job moves
 *
 *     (nothing) -- hold --> held -- Commit --> recorded          for ever
 *                           held -- Release -> fenced            this attempt; a later one may commit
 *
 * and the two arrows exclude each other because both are decided here, under the locks of all the
 * quotas of the hold, against the record and the fences read under the same locks.
 *
 * A Commit is decided for all meters first and applied afterwards, so that a refusal changes nothing.
 */
#include "quota/settle.h"

#include "base/amount.h"
#include "quota/settle_book.h"

#include <stdlib.h>

/* What a commit is about to do. */
struct verdict {
    bool late;
    int64_t actual[HOLD_METERS_MAX];  /* resolved: what was said, or held */
    int64_t booked[HOLD_METERS_MAX];  /* after CAP */
    int64_t debt[HOLD_METERS_MAX];    /* the largest over the quotas of the meter */
    enum overrun overrun[HOLD_METERS_MAX];
    struct settle_booking bookings[HOLD_QUOTAS_MAX];
};

static int attempt_compare(struct attempt a, struct attempt b)
{
    if (a.epoch != b.epoch)
        return a.epoch < b.epoch ? -1 : 1;
    return (a.seq > b.seq) - (a.seq < b.seq);
}

bool settle_is_fenced(const struct settle_facts *facts, struct attempt attempt)
{
    for (size_t i = 0; i < facts->fences_count; i++)
        if (attempt_compare(facts->fences[i], attempt) == 0)
            return true;
    return false;
}

static bool fenced_after(const struct settle_facts *facts, struct attempt attempt)
{
    for (size_t i = 0; i < facts->fences_count; i++)
        if (attempt_compare(facts->fences[i], attempt) > 0)
            return true;
    return false;
}

static struct attempt newest_fence(const struct settle_facts *facts)
{
    struct attempt newest = {0};

    for (size_t i = 0; i < facts->fences_count; i++)
        if (attempt_compare(facts->fences[i], newest) > 0)
            newest = facts->fences[i];
    return newest;
}

static bool is_live(struct settle_book *book, int64_t tenant_id, const struct hold *hold)
{
    return hold->deadline_ms > book->now_ms &&
           hold->deadline_ms > settle_book_reaped_to_ms(book, tenant_id, hold);
}

/* Without a reservation id the newest attempt is meant; NULL: none, or one that was released. */
static const struct hold *newest_hold(const struct settle_item *item)
{
    const struct settle_facts *facts = item->facts;

    if (item->live)
        return item->live;
    if (facts->expired && !fenced_after(facts, facts->expired->attempt))
        return facts->expired;
    return NULL;
}

static const struct hold *subject_of_commit(struct settle_book *book,
                                            const struct settle_item *item)
{
    if (!item->token)
        return newest_hold(item);
    /* An older reservation id goes on to mean the job after an Extend, or after a new attempt. */
    if (item->live && !is_live(book, item->tenant_id, item->token) &&
        !settle_is_fenced(item->facts, item->live->attempt))
        return item->live;
    return item->token;
}

static const struct settle_entry *find_entry(const struct settle_record *record,
                                             struct slice meter)
{
    for (size_t i = 0; i < record->entries_count; i++)
        if (slice_equal(record->entries[i].meter, meter))
            return &record->entries[i];
    return NULL;
}

static bool is_repeat(const struct settle_item *item, const struct settle_record *record)
{
    if (item->actual_count == 0) {
        for (size_t i = 0; i < record->entries_count; i++)
            if (record->entries[i].asked != record->entries[i].held)
                return false;
        return true;
    }
    if (item->actual_count != record->entries_count)
        return false;
    for (size_t i = 0; i < item->actual_count; i++) {
        const struct settle_entry *entry = find_entry(record, item->actual[i].meter);

        if (!entry || entry->asked != item->actual[i].units)
            return false;
        for (size_t earlier = 0; earlier < i; earlier++)
            if (slice_equal(item->actual[earlier].meter, item->actual[i].meter))
                return false;
    }
    return true;
}

static void bad_meter(struct settle_item *item, size_t at, struct slice meter)
{
    item->outcome = SETTLE_BAD_METERS;
    item->bad_actual = at;
    item->bad_meter = meter;
}

/* False: actual does not name every held meter exactly once; the item says so. */
static bool resolve(struct settle_item *item, const struct hold *hold, struct verdict *verdict)
{
    bool named[HOLD_METERS_MAX] = {false};

    for (size_t i = 0; i < hold->meters_count; i++) {
        verdict->actual[i] = hold->meters[i].units;
        verdict->overrun[i] = OVERRUN_RECORD;
    }
    if (item->actual_count == 0)
        return true;
    for (size_t i = 0; i < item->actual_count; i++) {
        const struct settle_actual *actual = &item->actual[i];
        size_t meter = 0;

        CHECK(amount_valid(actual->units));
        while (meter < hold->meters_count &&
               !slice_equal(hold->meters[meter].meter, actual->meter))
            meter++;
        if (meter == hold->meters_count || named[meter]) {
            bad_meter(item, i, actual->meter);
            return false;
        }
        named[meter] = true;
        verdict->actual[meter] = actual->units;
        verdict->overrun[meter] = actual->overrun;
    }
    for (size_t i = 0; i < hold->meters_count; i++) {
        if (!named[i]) {
            bad_meter(item, item->actual_count, hold->meters[i].meter);
            return false;
        }
    }
    return true;
}

/* Units of the excess that a quota's root can take. */
static int64_t root_takes(const struct settle_booking *booking)
{
    return amount_max(settle_room(booking->quota) - booking->forced, 0);
}

static bool may_recall(const struct settle_booking *booking, int64_t excess)
{
    const struct settle_quota *quota = booking->quota;

    return booking->forced + excess > amount_max(settle_room(quota), 0) &&
           quota->leased > booking->spend;
}

static void overrun(struct settle_item *item, struct slice meter, int64_t short_by)
{
    if (item->outcome == SETTLE_OVERRUN && item->overrun_short_by >= short_by)
        return;
    item->outcome = SETTLE_OVERRUN;
    item->overrun_meter = meter;
    item->overrun_short_by = short_by;
}

/* Splits what is booked at one root into what fits and debt; false if no number could hold it. */
static bool split(struct settle_booking *booking)
{
    const struct settle_quota *quota = booking->quota;
    int64_t wanted = booking->forced + booking->excess;
    int64_t sum = quota->committed + quota->debt + quota->pg_held + quota->leased;

    booking->debt = amount_max(wanted - amount_max(settle_room(quota), 0), 0);
    return booking->debt == 0 || wanted <= AMOUNT_MAX - sum;
}

/* One meter on all its quotas. False: the item is decided, and not committed. */
static bool fit_meter(struct settle_item *item, const struct hold *hold, uint32_t meter,
                      struct verdict *verdict)
{
    struct slice name = hold->meters[meter].meter;
    int64_t held = verdict->late ? 0 : hold->meters[meter].units;
    int64_t excess = amount_max(verdict->actual[meter] - held, 0);
    int64_t least = excess;

    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct settle_booking *booking = &verdict->bookings[i];

        if (booking->meter != meter || !booking->quota)
            continue;
        if (!item->recall_done && may_recall(booking, excess)) {
            item->outcome = SETTLE_WANTS_RECALL;
            return false;
        }
        least = amount_min(least, root_takes(booking));
    }
    if (least < excess && verdict->overrun[meter] == OVERRUN_STRICT)
        overrun(item, name, excess - least);
    if (verdict->overrun[meter] == OVERRUN_CAP)
        excess = least;
    verdict->booked[meter] = amount_min(verdict->actual[meter], held) + excess;
    verdict->debt[meter] = 0;
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct settle_booking *booking = &verdict->bookings[i];

        if (booking->meter != meter || !booking->quota)
            continue;
        booking->excess = excess;
        if (!split(booking))
            overrun(item, name, booking->debt);
        verdict->debt[meter] = amount_max(verdict->debt[meter], booking->debt);
    }
    return item->outcome == SETTLE_UNDECIDED;
}

static void fill_entry(struct settle_book *book, const struct settle_item *item,
                       const struct hold *hold, uint32_t meter, const struct verdict *verdict,
                       struct settle_entry *entry)
{
    *entry = (struct settle_entry){
        .meter = hold->meters[meter].meter,
        .asked_given = item->actual_count > 0,
        .asked = verdict->actual[meter],
        .amount = verdict->booked[meter] - verdict->debt[meter],
        .debt = verdict->debt[meter],
        .held = hold->meters[meter].units,
        .counted = arena_array(book->arena, hold->quotas_count, sizeof(*entry->counted)),
    };
    CHECK(entry->counted);
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct settle_booking *booking = &verdict->bookings[i];

        if (booking->meter != meter || !booking->quota)
            continue;
        entry->counted[entry->counted_count++] = (struct settle_counted){
            .ref = booking->quota->ref,
            .ledger_seq = booking->quota->ledger_seq,
            .amount = verdict->booked[meter] - booking->debt,
            .debt = booking->debt,
        };
    }
}

static struct settle_record *make_record(struct settle_book *book, const struct settle_item *item,
                                         const struct hold *hold, const struct verdict *verdict)
{
    struct settle_record *record = arena_zalloc(book->arena, sizeof(*record));

    CHECK(record);
    record->attempt = hold->attempt;
    record->scope = hold->scope;
    record->late = verdict->late;
    record->at_ms = book->now_ms;
    record->entries_count = hold->meters_count;
    record->entries = arena_array(book->arena, hold->meters_count, sizeof(*record->entries));
    CHECK(record->entries);
    for (uint32_t meter = 0; meter < hold->meters_count; meter++)
        fill_entry(book, item, hold, meter, verdict, &record->entries[meter]);
    return record;
}

static void apply(struct settle_book *book, struct settle_item *item, const struct hold *hold,
                  const struct verdict *verdict)
{
    for (size_t i = 0; i < hold->quotas_count; i++)
        settle_book_apply(&verdict->bookings[i]);
    item->record = make_record(book, item, hold, verdict);
    item->facts->record = item->record;
    item->made_record = true;
    item->late = verdict->late;
    item->outcome = SETTLE_COMMITTED;
    if (verdict->late)
        settle_book_event(book, item->tenant_id, EVENT_LATE_COMMIT, item->job_id, hold->attempt);
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct settle_quota *quota = verdict->bookings[i].quota;

        if (!quota)
            continue;
        settle_cross(book, quota, item->job_id, hold->attempt);
        settle_book_check(book, quota);
    }
}

static void commit_hold(struct settle_book *book, struct settle_item *item,
                        const struct hold *hold)
{
    struct verdict verdict;

    CHECK(hold->meters_count <= HOLD_METERS_MAX && hold->quotas_count <= HOLD_QUOTAS_MAX);
    if (!resolve(item, hold, &verdict))
        return;
    item->was_live = is_live(book, item->tenant_id, hold);
    verdict.late = !item->was_live;
    if (book->now_ms - hold->deadline_ms > book->late_window_ms) {
        item->outcome = SETTLE_EXPIRED;
        return;
    }
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct hold_quota *held = &hold->quotas[i];

        CHECK(held->meter < hold->meters_count);
        verdict.bookings[i] =
            settle_book_place(book, item->tenant_id, held,
                              amount_min(verdict.actual[held->meter], held->units), verdict.late);
    }
    for (uint32_t meter = 0; meter < hold->meters_count; meter++)
        if (!fit_meter(item, hold, meter, &verdict))
            return;
    apply(book, item, hold, &verdict);
}

static void commit(struct settle_book *book, struct settle_item *item)
{
    const struct settle_facts *facts = item->facts;

    if (facts->record) {
        item->record = facts->record;
        item->late = facts->record->late;
        item->replayed = is_repeat(item, facts->record);
        item->outcome = item->replayed ? SETTLE_COMMITTED : SETTLE_MISMATCH;
        return;
    }
    item->subject = subject_of_commit(book, item);
    if (!item->subject)
        item->outcome = facts->fences_count > 0 ? SETTLE_WAS_RELEASED : SETTLE_UNKNOWN_JOB;
    else if (settle_is_fenced(facts, item->subject->attempt))
        item->outcome = SETTLE_WAS_RELEASED;
    else
        commit_hold(book, item, item->subject);
}

static void make_fence(struct settle_book *book, struct settle_facts *facts,
                       struct attempt attempt)
{
    struct attempt *fences =
        arena_array(book->arena, facts->fences_count + 1, sizeof(*facts->fences));

    CHECK(fences);
    if (facts->fences_count > 0)
        memcpy(fences, facts->fences, facts->fences_count * sizeof(*fences));
    fences[facts->fences_count++] = attempt;
    facts->fences = fences;
}

/* The reservation id names the attempt; the same hold may live longer by an Extend. */
static const struct hold *subject_of_release(const struct settle_item *item)
{
    if (!item->token)
        return newest_hold(item);
    if (item->live && attempt_compare(item->live->attempt, item->token->attempt) == 0)
        return item->live;
    return item->token;
}

static void release(struct settle_book *book, struct settle_item *item)
{
    struct settle_facts *facts = item->facts;

    if (facts->record) {
        item->record = facts->record;
        item->outcome = SETTLE_WAS_COMMITTED;
        return;
    }
    item->subject = subject_of_release(item);
    if (!item->subject && facts->fences_count == 0) {
        item->outcome = SETTLE_UNKNOWN_JOB;
        return;
    }
    item->outcome = SETTLE_RELEASED;
    item->released = item->subject ? item->subject->attempt : newest_fence(facts);
    if (settle_is_fenced(facts, item->released)) {
        item->replayed = true;
        return;
    }
    item->was_live = is_live(book, item->tenant_id, item->subject);
    item->made_fence = true;
    make_fence(book, facts, item->subject->attempt);
}

void settle_decide(struct settle_book *book, struct settle_item *item)
{
    CHECK(item->facts);
    item->outcome = SETTLE_UNDECIDED;
    item->replayed = item->late = item->was_live = false;
    item->made_record = item->made_fence = false;
    item->subject = NULL;
    item->record = NULL;
    if (item->kind == SETTLE_COMMIT)
        commit(book, item);
    else
        release(book, item);
}

static size_t add_ref(struct quota_ref *refs, size_t count, size_t refs_max, struct quota_ref ref)
{
    for (size_t i = 0; i < count; i++)
        if (quota_ref_equal(refs[i], ref))
            return count;
    CHECK(count < refs_max);
    refs[count] = ref;
    return count + 1;
}

/* How long before its deadline a hold counts as one that may be late when its rows are locked. */
enum { LOCK_WAIT_MAX_MS = 10000 };

static size_t add_hold(struct quota_ref *refs, size_t count, size_t refs_max,
                       const struct hold *hold, const struct plan *plan, int64_t now_ms)
{
    bool may_be_late = hold->deadline_ms <= now_ms + LOCK_WAIT_MAX_MS;

    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct quota_ref ref = hold->quotas[i].quota;
        const struct limit *limit = plan ? plan_limit(plan, ref.limit_id) : NULL;

        count = add_ref(refs, count, refs_max, ref);
        if (!limit || !may_be_late)
            continue;
        ref.period_start_ms = period_start_ms(limit->period, now_ms);
        count = add_ref(refs, count, refs_max, ref);
    }
    return count;
}

static int ref_compare(const void *a, const void *b)
{
    return quota_ref_compare(*(const struct quota_ref *)a, *(const struct quota_ref *)b);
}

size_t settle_locks(const struct settle_item *item, const struct plan *plan_or_null, int64_t now_ms,
                    struct quota_ref *refs, size_t refs_max)
{
    const struct hold *expired = item->facts ? item->facts->expired : NULL;
    size_t count = 0;

    if (item->token)
        count = add_hold(refs, count, refs_max, item->token, plan_or_null, now_ms);
    if (item->live)
        count = add_hold(refs, count, refs_max, item->live, plan_or_null, now_ms);
    if (!item->token && !item->live && expired)
        count = add_hold(refs, count, refs_max, expired, plan_or_null, now_ms);
    qsort(refs, count, sizeof(*refs), ref_compare);
    return count;
}
