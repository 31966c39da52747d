/*
 * Which hold an item means, and what becomes of it. A job moves
 *
 *     (nothing) -- hold --> held -- Commit --> recorded          for ever
 *                           held -- Release -> fenced            this attempt; a later one may commit
 *
 * and the two arrows exclude each other because both are decided here, under the locks of all the
 * quotas of the hold, against the record and the fences read under the same locks.
 *
 * A Commit is decided for all meters first and applied afterwards, so that a refusal changes nothing (but
 * that old leases past their deadline may be closed).
 */
#include "quota/settle.h"

#include "base/amount.h"
#include "quota/book.h"
#include "quota/times.h"

#include <stdlib.h>

/* What a commit is about to do. */
struct verdict {
    bool late;                       /* past its deadline */
    bool own;                        /* what it holds is still in its leases */
    int64_t actual[HOLD_METERS_MAX]; /* resolved: what was said, or held */
    int64_t booked[HOLD_METERS_MAX]; /* after CAP */
    int64_t debt[HOLD_METERS_MAX];   /* the largest over the quotas of the meter */
    enum overrun overrun[HOLD_METERS_MAX];
    struct booking bookings[HOLD_QUOTAS_MAX];
};

bool settle_is_fenced(const struct settle_facts *facts, struct attempt attempt)
{
    for (size_t i = 0; i < facts->fences_count; i++)
        if (attempt_compare(facts->fences[i], attempt) == 0)
            return true;
    return false;
}

/* The millisecond in which an attempt that is not of Redis was made, or a little later. */
static int64_t made_ms(struct attempt attempt)
{
    return attempt_is_open(attempt) ? (attempt.seq - HOLD_SEQ_OPEN) / HOLD_SEQ_OPEN_CHANCES
                                    : attempt.seq - HOLD_SEQ_POSTGRES;
}

/* Attempts of two places have no order but that of their making, in the database's time. */
static bool is_after(const struct settle_facts *facts, struct attempt fence,
                     const struct hold *hold)
{
    if (attempts_share_place(fence, hold->attempt))
        return attempt_compare(fence, hold->attempt) > 0;
    return (attempt_is_in_redis(fence) ? facts->fenced_ms : made_ms(fence)) > hold->created_ms;
}

static bool fenced_after(const struct settle_facts *facts, const struct hold *hold)
{
    for (size_t i = 0; i < facts->fences_count; i++)
        if (is_after(facts, facts->fences[i], hold))
            return true;
    return false;
}

const struct hold *settle_newer(const struct hold *a, const struct hold *b)
{
    if (!a || !b)
        return a ? a : b;
    if (attempts_share_place(a->attempt, b->attempt))
        return attempt_compare(a->attempt, b->attempt) >= 0 ? a : b;
    return a->created_ms >= b->created_ms ? a : b;
}

/* Does the row of this hold in Postgres stand? */
static bool stands(const struct settle_facts *facts, const struct hold *hold)
{
    return facts->placed && attempt_compare(facts->placed->attempt, hold->attempt) == 0;
}

static struct attempt newest_fence(const struct settle_facts *facts)
{
    struct attempt newest = {0};

    for (size_t i = 0; i < facts->fences_count; i++)
        if (attempt_compare(facts->fences[i], newest) > 0)
            newest = facts->fences[i];
    return newest;
}

static bool is_live(struct book *book, const struct settle_item *item, const struct hold *hold)
{
    if (attempt_is_in_postgres(hold->attempt))
        return stands(item->facts, hold) && item->facts->placed->deadline_ms > book->now_ms;
    if (attempt_is_open(hold->attempt))
        return hold->deadline_ms > book->now_ms;
    return hold->deadline_ms > book->now_ms &&
           hold->deadline_ms > book_reaped_to_ms(book, item->tenant_id, hold);
}

/*
 * A late hold that no reap has seen, and of which every lease still has the units. Redis lets go of a
 * hold only after a reap has raised reaped_to of all its quotas past the hold's deadline.
 */
static bool has_own(struct book *book, const struct settle_item *item, const struct hold *hold,
                    const int64_t *actual)
{
    int64_t tenant_id = item->tenant_id;

    if (attempt_is_open(hold->attempt))
        return false;
    if (attempt_is_in_postgres(hold->attempt)
            ? !stands(item->facts, hold)
            : hold->deadline_ms <= book_reaped_to_ms(book, tenant_id, hold))
        return false;
    for (size_t i = 0; i < hold->quotas_count; i++)
        if (!book_covers(book, tenant_id, &hold->quotas[i],
                         amount_min(actual[hold->quotas[i].meter], hold->quotas[i].units)))
            return false;
    return true;
}

/*
 * Redis lost its data after this attempt was made, or the tenant's (a lease follows another within an
 * epoch only then): a newer attempt may have been lost with it.
 */
static bool is_of_lost_redis(struct book *book, int64_t tenant_id, const struct hold *hold)
{
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct quota_row *quota = book_find_quota(book, tenant_id, hold->quotas[i].quota);

        if (quota &&
            (quota->epoch > hold->attempt.epoch ||
             (attempt_is_in_redis(hold->attempt) && quota->lease_id > hold->quotas[i].lease_id)))
            return true;
    }
    return false;
}

/* By the job's id alone: is there nobody who could say which attempt is the newest? */
static bool is_unsure(struct book *book, const struct settle_item *item)
{
    const struct hold *expired = item->facts->expired, *placed = item->facts->placed;

    if (item->token || item->live || (placed && placed->deadline_ms > book->now_ms))
        return false;
    return !item->redis_asked || (expired && is_of_lost_redis(book, item->tenant_id, expired));
}

/* Of what the job holds in both places, that which is live, or else that which was made later. */
static const struct hold *newest_held(struct book *book, const struct settle_item *item)
{
    const struct hold *placed = item->facts->placed, *live = item->live;

    if (placed && live && is_live(book, item, placed) != is_live(book, item, live))
        return is_live(book, item, placed) ? placed : live;
    return settle_newer(placed, live);
}

/* Without a reservation id the newest attempt is meant; NULL: none, or one that was released. */
static const struct hold *newest_hold(struct book *book, const struct settle_item *item)
{
    const struct settle_facts *facts = item->facts;

    if (item->live || facts->placed)
        return newest_held(book, item);
    if (facts->expired && !fenced_after(facts, facts->expired))
        return facts->expired;
    return NULL;
}

static const struct hold *subject_of_commit(struct book *book, const struct settle_item *item)
{
    const struct hold *newer = newest_held(book, item);

    if (!item->token)
        return newest_hold(book, item);
    /*
     * An older reservation id goes on to mean the job after an Extend, or after a new attempt; that of
     * a released attempt means nothing but this attempt, for ever.
     */
    if (newer && !is_live(book, item, item->token) &&
        !settle_is_fenced(item->facts, item->token->attempt) &&
        !settle_is_fenced(item->facts, newer->attempt))
        return newer;
    return stands(item->facts, item->token) ? item->facts->placed : item->token;
}

static const struct settle_entry *find_entry(const struct settle_record *record, struct slice meter)
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
        while (meter < hold->meters_count && !slice_equal(hold->meters[meter].meter, actual->meter))
            meter++;
        if (meter == hold->meters_count || named[meter]) {
            bad_meter(item, i, actual->meter);
            return false;
        }
        named[meter] = true;
        verdict->actual[meter] = actual->units;
        /* Nothing was held, so nothing can be refused or left out: the use is recorded as it was. */
        if (!attempt_is_open(hold->attempt) || item->kind == SETTLE_CHARGE)
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
static int64_t root_takes(const struct booking *booking)
{
    return amount_max(book_room(booking->quota) - booking->forced, 0);
}

static bool is_short(const struct booking *booking, int64_t excess)
{
    return booking->forced + excess > amount_max(book_room(booking->quota), 0);
}

static bool may_recall(const struct booking *booking, int64_t excess)
{
    const struct quota_row *quota = booking->quota;
    int64_t own = booking->placed > 0 ? 0 : booking->spend;

    return is_short(booking, excess) && (quota->leased > own || quota->pg_held > booking->placed);
}

/* What was set aside comes back at its deadline: nothing is short beside it. */
static void close_due(struct book *book, const struct hold *hold, const struct verdict *verdict,
                      uint32_t meter, int64_t excess)
{
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct booking *booking = &verdict->bookings[i];

        if (booking->meter == meter && booking->quota && is_short(booking, excess))
            book_close_due(book, booking->quota, booking->lease);
    }
}

static void too_large(struct settle_item *item, struct slice meter)
{
    item->outcome = SETTLE_TOO_LARGE;
    item->overrun_meter = meter;
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
static bool split(struct booking *booking)
{
    const struct quota_row *quota = booking->quota;
    int64_t wanted = booking->forced + booking->excess;
    int64_t sum = quota->committed + quota->debt + quota->pg_held + quota->leased;

    booking->debt = amount_max(wanted - amount_max(book_room(quota), 0), 0);
    return booking->debt == 0 || wanted <= AMOUNT_MAX - sum;
}

/* A Charge of what Redis may hold: with the units of that hold it might fit. */
static bool is_guess(const struct settle_item *item, const struct hold *hold)
{
    return item->kind == SETTLE_CHARGE && hold == item->token && !item->redis_asked;
}

/* One meter on all its quotas. False: the item is decided, and not committed. */
static bool fit_meter(struct book *book, struct settle_item *item, const struct hold *hold,
                      uint32_t meter, struct verdict *verdict)
{
    struct slice name = hold->meters[meter].meter;
    int64_t held = verdict->own ? hold->meters[meter].units : 0;
    int64_t excess = amount_max(verdict->actual[meter] - held, 0);
    int64_t least = excess;
    bool is_bound = false; /* what has no limit falls short: it is the numbers that end */

    close_due(book, hold, verdict, meter, excess);
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct booking *booking = &verdict->bookings[i];

        if (booking->meter != meter || !booking->quota)
            continue;
        if (!item->recall_done && may_recall(booking, excess)) {
            item->outcome = SETTLE_WANTS_RECALL;
            return false;
        }
        least = amount_min(least, root_takes(booking));
        is_bound |= booking->quota->stops.unlimited && root_takes(booking) < excess;
    }
    if (is_bound && verdict->overrun[meter] != OVERRUN_CAP) {
        too_large(item, name);
        return false;
    }
    if (least < excess && verdict->overrun[meter] != OVERRUN_RECORD && is_guess(item, hold)) {
        item->outcome = SETTLE_WHICH_HOLD;
        return false;
    }
    if (least < excess && verdict->overrun[meter] == OVERRUN_STRICT)
        overrun(item, name, excess - least);
    if (verdict->overrun[meter] == OVERRUN_CAP)
        excess = least;
    verdict->booked[meter] = amount_min(verdict->actual[meter], held) + excess;
    verdict->debt[meter] = 0;
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct booking *booking = &verdict->bookings[i];

        if (booking->meter != meter || !booking->quota)
            continue;
        booking->excess = excess;
        if (!split(booking))
            too_large(item, name);
        verdict->debt[meter] = amount_max(verdict->debt[meter], booking->debt);
    }
    return item->outcome == SETTLE_UNDECIDED;
}

static void fill_entry(struct book *book, const struct settle_item *item, const struct hold *hold,
                       uint32_t meter, const struct verdict *verdict, struct settle_entry *entry)
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
        const struct booking *booking = &verdict->bookings[i];

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

static struct settle_record *make_record(struct book *book, const struct settle_item *item,
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

bool settle_let_go(struct book *book, int64_t tenant_id, const struct hold *hold)
{
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct quota_row *quota = book_find_quota(book, tenant_id, hold->quotas[i].quota);

        if (!quota || quota->pg_held < hold->quotas[i].units)
            return false;
    }
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct quota_row *quota = book_find_quota(book, tenant_id, hold->quotas[i].quota);

        quota->pg_held -= hold->quotas[i].units;
        quota->dirty = true;
    }
    return true;
}

/* Its row goes with the decision; what it had is not in pg_held any more. */
static void drop_placed(struct settle_item *item)
{
    item->dropped = item->facts->placed;
    item->facts->placed = NULL;
}

static void apply(struct book *book, struct settle_item *item, const struct hold *hold,
                  const struct verdict *verdict)
{
    const struct hold *placed = item->facts->placed;

    for (size_t i = 0; i < hold->quotas_count; i++)
        book_apply(&verdict->bookings[i]);
    if (placed && ((placed == hold && verdict->own) ||
                   (hold_is_sound(placed) && settle_let_go(book, item->tenant_id, placed))))
        drop_placed(item);
    item->record = make_record(book, item, hold, verdict);
    item->facts->record = item->record;
    item->made_record = true;
    item->late = verdict->late;
    item->outcome = SETTLE_COMMITTED;
    if (verdict->late)
        book_event(book, item->tenant_id, EVENT_LATE_COMMIT, item->job_id, hold->attempt);
    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct quota_row *quota = verdict->bookings[i].quota;

        if (!quota)
            continue;
        book_cross(book, quota, item->job_id, hold->attempt);
        book_check(book, quota);
    }
}

static void commit_hold(struct book *book, struct settle_item *item, const struct hold *hold)
{
    struct verdict verdict;

    if (!hold_is_sound(hold)) { /* the bookings below would be taken one for the other */
        item->outcome = SETTLE_INCONSISTENT;
        return;
    }
    if (!resolve(item, hold, &verdict))
        return;
    item->was_live = is_live(book, item, hold);
    verdict.late = !item->was_live;
    verdict.own = (item->was_live && attempt_is_in_redis(hold->attempt)) ||
                  has_own(book, item, hold, verdict.actual);
    if (book->now_ms - hold->deadline_ms > book->late_window_ms) {
        item->outcome = SETTLE_EXPIRED;
        return;
    }
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct hold_quota *held = &hold->quotas[i];

        verdict.bookings[i] =
            book_place(book, item->tenant_id, held,
                       amount_min(verdict.actual[held->meter], held->units), verdict.own);
    }
    for (uint32_t meter = 0; meter < hold->meters_count; meter++)
        if (!fit_meter(book, item, hold, meter, &verdict))
            return;
    apply(book, item, hold, &verdict);
}

/* Past its deadline now, but not when Redis was asked last. */
static bool may_be_extended(const struct book *book, const struct settle_item *item,
                            const struct hold *hold)
{
    return hold != item->facts->expired && hold != item->facts->placed &&
           !attempt_is_open(hold->attempt) && hold->deadline_ms <= book->now_ms &&
           hold->deadline_ms > item->looked_up_ms;
}

/* A hold of the job that lives, or may have been extended since Redis was asked; else what is charged. */
static const struct hold *subject_of_charge(struct book *book, const struct settle_item *item)
{
    const struct hold *held[] = {item->facts->placed, item->live}, *extended = NULL;

    for (size_t i = 0; i < 2; i++) {
        if (!held[i] || settle_is_fenced(item->facts, held[i]->attempt))
            continue;
        if (is_live(book, item, held[i]))
            return held[i];
        if (may_be_extended(book, item, held[i]))
            extended = held[i];
    }
    return extended ? extended : item->token;
}

/* False: the job has another scope than is charged; the item is decided. */
static bool shares_scope(struct settle_item *item, struct slice scope)
{
    if (item->kind != SETTLE_CHARGE || slice_equal(item->scope, scope))
        return true;
    item->outcome = SETTLE_OTHER_SCOPE;
    return false;
}

static void replay(struct settle_item *item)
{
    const struct settle_record *record = item->facts->record;

    item->record = item->facts->record;
    if (!shares_scope(item, record->scope))
        return;
    item->late = record->late;
    item->replayed = is_repeat(item, record);
    item->outcome = item->replayed ? SETTLE_COMMITTED : SETTLE_MISMATCH;
}

/*
 * A limit that was there before this transaction has its locks counts, though nobody has told this server: a
 * Reserve is held against Redis' version, and of a Charge only the rows know.
 */
static bool is_of_old_plan(struct book *book, struct settle_item *item)
{
    const struct hold *hold = item->token;

    if (item->plan_version == 0)
        return false;
    /* What changed since is beside this Charge, not before it: else many changes would keep it out. */
    for (size_t i = 0; item->plan_wanted == 0 && i < hold->quotas_count; i++) {
        const struct quota_row *quota =
            book_find_quota(book, item->tenant_id, hold->quotas[i].quota);

        if (quota)
            item->plan_wanted = quota->config_version;
    }
    return item->plan_version < item->plan_wanted;
}

static void commit(struct book *book, struct settle_item *item)
{
    const struct settle_facts *facts = item->facts;

    if (facts->record) {
        replay(item);
        return;
    }
    if (is_unsure(book, item)) {
        item->outcome = SETTLE_WHICH_HOLD;
        return;
    }
    item->subject =
        item->kind == SETTLE_CHARGE ? subject_of_charge(book, item) : subject_of_commit(book, item);
    if (item->subject && !shares_scope(item, item->subject->scope))
        return;
    if (!item->subject && item->kind == SETTLE_CHARGE)
        item->outcome = SETTLE_UNKNOWN_JOB;
    else if (!item->subject)
        item->outcome = facts->fences_count > 0 ? SETTLE_WAS_RELEASED : SETTLE_UNKNOWN_JOB;
    else if (settle_is_fenced(facts, item->subject->attempt))
        item->outcome = SETTLE_WAS_RELEASED;
    else if (item->kind == SETTLE_CHARGE && item->subject == item->token &&
             is_of_old_plan(book, item))
        item->outcome = SETTLE_WANTS_PLAN;
    else if (may_be_extended(book, item, item->subject))
        item->outcome = SETTLE_WANTS_LOOKUP;
    else
        commit_hold(book, item, item->subject);
}

static void make_fence(struct book *book, struct settle_facts *facts, struct attempt attempt)
{
    struct attempt *fences = facts->fences;

    if (facts->fences_count >= facts->fences_room) {
        facts->fences_room = 2 * facts->fences_count + 1;
        fences = arena_array(book->arena, facts->fences_room, sizeof(*fences));
        CHECK(fences);
        if (facts->fences_count > 0)
            memcpy(fences, facts->fences, facts->fences_count * sizeof(*fences));
        facts->fences = fences;
    }
    fences[facts->fences_count++] = attempt;
}

/* The reservation id names the attempt; the same hold may live longer by an Extend. */
static const struct hold *subject_of_release(struct book *book, const struct settle_item *item)
{
    if (!item->token)
        return newest_hold(book, item);
    if (stands(item->facts, item->token))
        return item->facts->placed;
    if (item->live && attempt_compare(item->live->attempt, item->token->attempt) == 0)
        return item->live;
    return item->token;
}

static void fence(struct book *book, struct settle_item *item, const struct hold *hold)
{
    struct settle_facts *facts = item->facts;

    make_fence(book, facts, hold->attempt);
    item->made_fence = true;
    CHECK(item->fenced_count < ARRAY_COUNT(item->fenced));
    item->fenced[item->fenced_count++] = hold->attempt;
    if (attempt_is_in_redis(hold->attempt))
        facts->fenced_ms = book->now_ms;
    else if (hold == facts->placed && hold_is_sound(hold) &&
             settle_let_go(book, item->tenant_id, hold))
        drop_placed(item);
}

/* A job that holds in both places by two attempts: its id means both. */
static void fence_other(struct book *book, struct settle_item *item)
{
    const struct hold *holds[] = {item->facts->placed, item->live};

    for (size_t i = 0; i < ARRAY_COUNT(holds); i++) {
        if (!holds[i] || attempt_compare(holds[i]->attempt, item->released) == 0 ||
            settle_is_fenced(item->facts, holds[i]->attempt))
            continue;
        fence(book, item, holds[i]);
    }
}

static void release(struct book *book, struct settle_item *item)
{
    struct settle_facts *facts = item->facts;

    if (facts->record) {
        item->record = facts->record;
        item->outcome = SETTLE_WAS_COMMITTED;
        return;
    }
    if (is_unsure(book, item)) {
        item->outcome = SETTLE_WHICH_HOLD;
        return;
    }
    item->subject = subject_of_release(book, item);
    if (!item->subject && facts->fences_count == 0) {
        item->outcome = SETTLE_UNKNOWN_JOB;
        return;
    }
    item->outcome = SETTLE_RELEASED;
    item->released = item->subject ? item->subject->attempt : newest_fence(facts);
    if (!item->token)
        fence_other(book, item);
    if (settle_is_fenced(facts, item->released)) {
        item->replayed = true;
        return;
    }
    item->was_live = is_live(book, item, item->subject);
    fence(book, item, item->subject);
}

void settle_decide(struct book *book, struct settle_item *item)
{
    CHECK(item->facts);
    item->outcome = SETTLE_UNDECIDED;
    item->replayed = item->late = item->was_live = false;
    item->made_record = item->made_fence = false;
    item->fenced_count = 0;
    item->dropped = item->subject = NULL;
    item->record = NULL;
    if (book_is_bad(book, item->tenant_id))
        item->outcome = SETTLE_INCONSISTENT;
    else if (item->kind == SETTLE_RELEASE)
        release(book, item);
    else
        commit(book, item);
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

static size_t add_hold(struct quota_ref *refs, size_t count, size_t refs_max,
                       const struct hold *hold, const struct plan *plan, int64_t now_ms)
{
    bool may_be_late = hold->deadline_ms <= now_ms + LATE_AHEAD_MS;

    for (size_t i = 0; i < hold->quotas_count; i++) {
        struct quota_ref ref = hold->quotas[i].quota;
        const struct limit *limit = plan ? plan_limit(plan, ref.limit_id) : NULL;

        count = add_ref(refs, count, refs_max, ref);
        if (!limit || !may_be_late)
            continue;
        ref.period_start_ms = limit_start_ms(limit, now_ms);
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
    const struct hold *placed = item->facts ? item->facts->placed : NULL;
    size_t count = 0;

    if (item->token)
        count = add_hold(refs, count, refs_max, item->token, plan_or_null, now_ms);
    if (item->live)
        count = add_hold(refs, count, refs_max, item->live, plan_or_null, now_ms);
    if (placed)
        count = add_hold(refs, count, refs_max, placed, plan_or_null, now_ms);
    if (!item->token && !item->live && !placed && expired)
        count = add_hold(refs, count, refs_max, expired, plan_or_null, now_ms);
    qsort(refs, count, sizeof(*refs), ref_compare);
    return count;
}

size_t settle_locks_max(const struct settle_item *item)
{
    const struct hold *holds[] = {item->token, item->live, item->facts ? item->facts->placed : NULL,
                                  item->facts ? item->facts->expired : NULL};
    size_t count = 0;

    for (size_t i = 0; i < sizeof(holds) / sizeof(holds[0]); i++)
        count += holds[i] ? 2 * holds[i]->quotas_count : 0;
    return count;
}
