#include "quota/adjust.h"

#include "base/amount.h"
#include "base/check.h"

#include <stdlib.h>
#include <string.h>

/* What one change does to one quota. */
struct part {
    struct quota_row *quota;
    int64_t amount, debt; /* signed */
};

/* All of one change. */
struct draft {
    struct part *parts;
    size_t parts_count;
    struct quota_ref *closed;
    size_t closed_count;
};

/* What the job has in a quota. */
struct share {
    struct quota_ref ref;
    int64_t units;
};

static const struct settle_entry *entry_of(const struct adjust_item *item, struct slice meter)
{
    for (size_t i = 0; item->record && i < item->record->entries_count; i++)
        if (slice_equal(item->record->entries[i].meter, meter))
            return &item->record->entries[i];
    return NULL;
}

/* Quotas that have to do with the meter. */
static size_t quotas_of(const struct adjust_item *item, struct slice meter)
{
    const struct settle_entry *entry = entry_of(item, meter);
    size_t count = entry ? entry->counted_count : 0;

    for (size_t i = 0; i < item->past_count; i++)
        if (slice_equal(item->past[i].meter, meter))
            count += item->past[i].counted_count;
    for (size_t i = 0; i < item->bindings_count; i++)
        count += slice_equal(item->bindings[i].meter, meter);
    return count;
}

size_t adjust_locks_max(const struct adjust_item *item)
{
    size_t count = 0;

    for (size_t i = 0; i < item->changes_count; i++)
        count += quotas_of(item, item->changes[i].meter);
    return count;
}

static bool changes_meter(const struct adjust_item *item, struct slice meter)
{
    for (size_t i = 0; i < item->changes_count; i++)
        if (slice_equal(item->changes[i].meter, meter))
            return true;
    return false;
}

size_t adjust_locks(const struct adjust_item *item, struct quota_ref *refs)
{
    size_t count = 0;

    for (size_t i = 0; item->record && i < item->record->entries_count; i++) {
        const struct settle_entry *entry = &item->record->entries[i];

        for (size_t k = 0; k < entry->counted_count && changes_meter(item, entry->meter); k++)
            refs[count++] = entry->counted[k].ref;
    }
    for (size_t i = 0; i < item->past_count; i++)
        for (size_t k = 0;
             k < item->past[i].counted_count && changes_meter(item, item->past[i].meter); k++)
            refs[count++] = item->past[i].counted[k].ref;
    for (size_t i = 0; i < item->bindings_count; i++)
        refs[count++] = item->bindings[i].ref;
    return count;
}

/* --- is it a repeat, may it be? --------------------------------------------------------------- */

static void replay(struct book *book, struct adjust_item *item)
{
    struct adjust_row *rows = arena_array(book->arena, item->changes_count, sizeof(*rows));
    size_t found = 0;

    CHECK(rows);
    item->differs_job = !slice_equal(item->same_job_id, item->job_id);
    for (size_t i = 0; i < item->changes_count; i++)
        for (size_t k = 0; k < item->same_count; k++)
            if (slice_equal(item->same[k].meter, item->changes[i].meter) &&
                item->same[k].delta == item->changes[i].delta) {
                rows[i] = item->same[k];
                found++;
            }
    item->differs_changes = found != item->changes_count || found != item->same_count;
    item->rows = rows;
    item->outcome = item->differs_job || item->differs_changes ? ADJUST_MISMATCH : ADJUST_REPLAYED;
}

static int64_t left_of(const struct adjust_item *item, const struct settle_entry *entry)
{
    int64_t left = entry->amount + entry->debt;

    for (size_t i = 0; i < item->past_count; i++)
        if (slice_equal(item->past[i].meter, entry->meter))
            left += item->past[i].delta;
    return left;
}

static void refuse(struct adjust_item *item, enum adjust_outcome outcome, size_t bad)
{
    if (item->outcome != ADJUST_UNDECIDED)
        return;
    item->outcome = outcome;
    item->bad = bad;
}

static bool may_be(struct adjust_item *item)
{
    for (size_t i = 0; i < item->changes_count; i++) {
        const struct settle_entry *entry = entry_of(item, item->changes[i].meter);

        if (!entry) {
            refuse(item, ADJUST_BAD_METER, i);
            return false;
        }
        item->left[i] = left_of(item, entry);
        if (!amount_valid(item->left[i])) {
            refuse(item, ADJUST_INCONSISTENT, i);
            return false;
        }
    }
    if (adjust_locks_max(item) > ADJUST_QUOTAS_MAX)
        refuse(item, ADJUST_TOO_MANY, 0);
    for (size_t i = 0; i < item->changes_count; i++) {
        if (item->left[i] + item->changes[i].delta < 0)
            refuse(item, ADJUST_BELOW_ZERO, i);
        else if (!amount_valid(item->left[i] + item->changes[i].delta))
            refuse(item, ADJUST_TOO_LARGE, i);
    }
    return item->outcome == ADJUST_UNDECIDED;
}

/* --- what the job has, and where -------------------------------------------------------------- */

static void add_share(struct share *shares, size_t *count, const struct settle_counted *counted)
{
    size_t i = 0;

    while (i < *count && !quota_ref_equal(shares[i].ref, counted->ref))
        i++;
    if (i == *count)
        shares[(*count)++] = (struct share){.ref = counted->ref};
    shares[i].units += counted->amount + counted->debt;
}

/* By limit, the newest period first. */
static int share_order(const void *a, const void *b)
{
    const struct share *x = a, *y = b;

    if (x->ref.limit_id != y->ref.limit_id)
        return x->ref.limit_id < y->ref.limit_id ? -1 : 1;
    return (x->ref.period_start_ms < y->ref.period_start_ms) -
           (x->ref.period_start_ms > y->ref.period_start_ms);
}

static struct share *shares_of(struct book *book, const struct adjust_item *item,
                               const struct settle_entry *entry, size_t *ret_count)
{
    struct share *shares =
        arena_array(book->arena, quotas_of(item, entry->meter) + 1, sizeof(*shares));

    CHECK(shares);
    *ret_count = 0;
    for (size_t i = 0; i < entry->counted_count; i++)
        add_share(shares, ret_count, &entry->counted[i]);
    for (size_t i = 0; i < item->past_count; i++)
        for (size_t k = 0;
             k < item->past[i].counted_count && slice_equal(item->past[i].meter, entry->meter); k++)
            add_share(shares, ret_count, &item->past[i].counted[k]);
    if (*ret_count > 0)
        qsort(shares, *ret_count, sizeof(*shares), share_order);
    return shares;
}

/* The row, if something can still be booked in it. */
static struct quota_row *open_row(struct book *book, int64_t tenant_id, struct quota_ref ref)
{
    struct quota_row *quota = book_find_quota(book, tenant_id, ref);

    return quota && quota->state != QUOTA_CLOSED ? quota : NULL;
}

/* --- less ------------------------------------------------------------------------------------- */

/* False: the row has less than the job has in it. */
static bool take(struct draft *draft, struct quota_row *quota, int64_t units)
{
    int64_t debt = amount_min(units, quota->debt);

    if (units - debt > quota->committed)
        return false;
    draft->parts[draft->parts_count++] =
        (struct part){.quota = quota, .amount = debt - units, .debt = -debt};
    return true;
}

/* From each limit; what is left over of it in closed periods stays there. */
static void draft_less(struct book *book, struct adjust_item *item, size_t at,
                       const struct share *shares, size_t count, struct draft *draft)
{
    int64_t left = 0;

    for (size_t i = 0; i < count; i++) {
        struct quota_row *quota = open_row(book, item->tenant_id, shares[i].ref);
        int64_t units;

        if (i == 0 || shares[i].ref.limit_id != shares[i - 1].ref.limit_id)
            left = -item->changes[at].delta;
        units = amount_min(shares[i].units, left);
        if (units < 0) {
            refuse(item, ADJUST_INCONSISTENT, at);
            return;
        }
        if (units == 0)
            continue;
        left -= units;
        if (!quota)
            draft->closed[draft->closed_count++] = shares[i].ref;
        else if (!take(draft, quota, units))
            refuse(item, ADJUST_INCONSISTENT, at);
    }
}

/* --- more ------------------------------------------------------------------------------------- */

/* Of the binding's limit: the newest period that the job counts in, if that is open; else the current one. */
static struct quota_row *row_for(struct book *book, const struct adjust_item *item,
                                 const struct adjust_binding *binding, const struct share *shares,
                                 size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct quota_row *quota = shares[i].ref.limit_id == binding->ref.limit_id
                                      ? open_row(book, item->tenant_id, shares[i].ref)
                                      : NULL;

        if (quota)
            return quota;
    }
    return open_row(book, item->tenant_id, binding->ref);
}

/* As a Commit's excess under RECORD. */
static void draft_more_in(struct book *book, struct adjust_item *item, size_t at,
                          struct quota_row *quota, struct draft *draft)
{
    int64_t units = item->changes[at].delta, debt;
    int64_t sum = quota->committed + quota->debt + quota->pg_held + quota->leased;

    if (units > amount_max(book_room(quota), 0))
        book_close_due(book, quota, NULL);
    debt = amount_max(units - amount_max(book_room(quota), 0), 0);
    if (debt > 0 && !item->recall_done && quota->leased + quota->pg_held > 0)
        refuse(item, ADJUST_WANTS_RECALL, at);
    else if (debt > 0 && (quota->stops.unlimited || units > AMOUNT_MAX - sum))
        refuse(item, ADJUST_TOO_LARGE, at);
    draft->parts[draft->parts_count++] =
        (struct part){.quota = quota, .amount = units - debt, .debt = debt};
}

static void draft_more(struct book *book, struct adjust_item *item, size_t at,
                       const struct share *shares, size_t count, struct draft *draft)
{
    for (size_t i = 0; i < item->bindings_count; i++) {
        const struct adjust_binding *binding = &item->bindings[i];
        struct quota_row *quota;

        if (!slice_equal(binding->meter, item->changes[at].meter))
            continue;
        quota = row_for(book, item, binding, shares, count);
        if (quota)
            draft_more_in(book, item, at, quota, draft);
    }
    if (draft->parts_count == 0)
        refuse(item, ADJUST_NO_LIMIT, at);
}

/* --- deciding --------------------------------------------------------------------------------- */

static struct draft draft_of(struct book *book, struct adjust_item *item, size_t at)
{
    const struct settle_entry *entry = entry_of(item, item->changes[at].meter);
    size_t room = quotas_of(item, entry->meter) + 1, count;
    struct share *shares = shares_of(book, item, entry, &count);
    struct draft draft = {.parts = arena_array(book->arena, room, sizeof(*draft.parts)),
                          .closed = arena_array(book->arena, room, sizeof(*draft.closed))};

    CHECK(draft.parts && draft.closed);
    if (item->changes[at].delta < 0)
        draft_less(book, item, at, shares, count, &draft);
    else
        draft_more(book, item, at, shares, count, &draft);
    return draft;
}

static void book_part(struct book *book, const struct adjust_item *item, const struct part *part)
{
    struct quota_row *quota = part->quota;
    struct event_row *event;

    if (part->amount + part->debt > 0) {
        const struct booking booking = {.quota = quota,
                                        .excess = part->amount + part->debt,
                                        .debt = part->debt};

        book_apply(&booking);
    } else {
        quota->committed += part->amount;
        quota->debt += part->debt;
        quota->ledger_seq++;
        quota->dirty = true;
    }
    event = book_event(book, item->tenant_id, EVENT_ADJUSTED, item->job_id, item->record->attempt);
    event->quota = quota;
    event->committed = quota->committed;
    event->debt = quota->debt;
    event->ledger_seq = quota->ledger_seq;
    event->level = threshold_level(&quota->stops, quota->committed + quota->debt);
    book_cross(book, quota, item->job_id, item->record->attempt);
    book_check(book, quota);
}

static void apply(struct book *book, struct adjust_item *item, const struct draft *drafts)
{
    struct adjust_row *rows = arena_array(book->arena, item->changes_count, sizeof(*rows));

    CHECK(rows);
    for (size_t i = 0; i < item->changes_count; i++) {
        const struct draft *draft = &drafts[i];

        rows[i] = (struct adjust_row){
            .number = item->past_number + 1 + (int64_t)i,
            .adjust_id = item->adjust_id,
            .meter = item->changes[i].meter,
            .delta = item->changes[i].delta,
            .left = item->left[i] + item->changes[i].delta,
            .counted_count = draft->parts_count,
            .counted =
                arena_array(book->arena, draft->parts_count + 1, sizeof(struct settle_counted)),
            .closed_count = draft->closed_count,
            .closed = draft->closed,
            .at_ms = book->now_ms,
        };
        CHECK(rows[i].counted);
        for (size_t k = 0; k < draft->parts_count; k++) {
            const struct part *part = &draft->parts[k];

            book_part(book, item, part);
            rows[i].counted[k] = (struct settle_counted){.ref = part->quota->ref,
                                                         .ledger_seq = part->quota->ledger_seq,
                                                         .amount = part->amount,
                                                         .debt = part->debt};
        }
    }
    item->rows = rows;
    item->outcome = ADJUST_MADE;
}

void adjust_decide(struct book *book, struct adjust_item *item)
{
    struct draft *drafts = arena_array(book->arena, item->changes_count, sizeof(*drafts));

    CHECK(drafts && item->changes_count > 0 && item->changes_count <= HOLD_METERS_MAX);
    item->outcome = ADJUST_UNDECIDED;
    item->rows = NULL;
    item->differs_job = item->differs_changes = false;
    if (item->same_count > 0) {
        replay(book, item);
        return;
    }
    if (book_is_bad(book, item->tenant_id)) {
        item->outcome = ADJUST_INCONSISTENT;
        return;
    }
    if (!item->record) {
        item->outcome = ADJUST_NOT_FINAL;
        return;
    }
    if (!may_be(item))
        return;
    for (size_t i = 0; i < item->changes_count; i++)
        drafts[i] = draft_of(book, item, i);
    if (item->outcome == ADJUST_UNDECIDED)
        apply(book, item, drafts);
}
