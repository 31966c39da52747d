/* The pretended Postgres: corrections of the record (ledger/adjust.h). */
#include "tests/sim/postgres_rows.h"

#include "base/check.h"
#include "quota/times.h"
#include "tests/sim/mutants.h"

#include <string.h>

struct adjusting {
    struct arena *arena;
    struct ledger_adjusting *how;
    struct pg_ref *refs;
    size_t refs_count;
    struct book book;
};

/* --- what was changed before ---------------------------------------------------------------------- */

static void add_counted(struct adjust_row *sum, const struct settle_counted *counted)
{
    size_t i = 0;

    while (i < sum->counted_count && !quota_ref_equal(sum->counted[i].ref, counted->ref))
        i++;
    if (i == sum->counted_count)
        sum->counted[sum->counted_count++] = (struct settle_counted){.ref = counted->ref};
    sum->counted[i].amount += counted->amount;
    sum->counted[i].debt += counted->debt;
}

/* Of the meter, all of them as one. */
static void add_up(struct arena *arena, const struct pg_job *job, struct adjust_row *sum)
{
    size_t room = 0;

    for (const struct pg_correction *each = job->corrections; each; each = each->next)
        room += each->row.counted_count;
    sum->counted = pg_alloc(arena, room + 1, sizeof(*sum->counted));
    for (const struct pg_correction *each = job->corrections; each; each = each->next) {
        if (!slice_equal(each->row.meter, sum->meter))
            continue;
        sum->delta += each->row.delta;
        for (size_t i = 0; i < each->row.counted_count; i++)
            add_counted(sum, &each->row.counted[i]);
    }
}

static void read_past(struct postgres *pg, struct adjusting *adjusting)
{
    struct adjust_item *item = &adjusting->how->item;
    const struct pg_job *job = postgres_job(pg, item->tenant_id, item->job_id, false);
    struct adjust_row *past = pg_alloc(adjusting->arena, HOLD_METERS_MAX, sizeof(*past));

    item->past = past;
    item->past_count = 0;
    item->past_number = job && job->corrections ? job->corrections->row.number : 0;
    if (mutant_is(MUTANT_ADJUST_FORGETS))
        return;
    for (size_t i = 0; item->past_number > 0 && i < job->record->entries_count; i++) {
        past[item->past_count].meter = job->record->entries[i].meter;
        add_up(adjusting->arena, job, &past[item->past_count++]);
    }
}

static void read_same(struct postgres *pg, struct adjusting *adjusting)
{
    struct adjust_item *item = &adjusting->how->item;
    const struct pg_tenant *tenant = postgres_tenant(pg, item->tenant_id);
    struct adjust_row *same = pg_alloc(adjusting->arena, HOLD_METERS_MAX, sizeof(*same));

    item->same = same;
    item->same_count = 0;
    if (mutant_is(MUTANT_ADJUST_IS_NEW))
        return;
    for (size_t bucket = 0; bucket < PG_JOB_BUCKETS; bucket++)
        for (const struct pg_job *job = tenant->jobs[bucket]; job; job = job->next)
            for (const struct pg_correction *each = job->corrections; each; each = each->next)
                if (slice_equal(each->row.adjust_id, item->adjust_id)) {
                    same[item->same_count++] = each->row;
                    item->same_job_id = job->job_id;
                }
}

/* --- the transaction -------------------------------------------------------------------------------- */

static void find_bindings(struct adjusting *adjusting)
{
    struct ledger_adjusting *how = adjusting->how;
    struct adjust_item *item = &how->item;
    struct adjust_binding *bindings =
        pg_alloc(adjusting->arena, item->changes_count * HOLD_QUOTAS_MAX, sizeof(*bindings));

    item->bindings = bindings;
    item->bindings_count = 0;
    for (size_t i = 0; item->record && i < item->changes_count; i++) {
        const struct hold_meter meter = {.meter = item->changes[i].meter};
        struct hold_quota found[HOLD_QUOTAS_MAX];
        size_t count = 0, bad;

        if (item->changes[i].delta < 0 ||
            plan_select(how->plan, item->record->scope, &meter, 1, how->now_ms, found, &count,
                        &bad) != PLAN_SELECTED)
            continue;
        for (size_t k = 0; k < count; k++)
            bindings[item->bindings_count++] =
                (struct adjust_binding){meter.meter, found[k].quota};
    }
}

static size_t find_refs(struct adjusting *adjusting, struct pg_ref **ret)
{
    const struct adjust_item *item = &adjusting->how->item;
    struct quota_ref *refs = pg_alloc(adjusting->arena, adjust_locks_max(item) + 1, sizeof(*refs));
    size_t count = adjust_locks(item, refs);

    *ret = pg_alloc(adjusting->arena, count + 1, sizeof(**ret));
    for (size_t i = 0; i < count; i++)
        (*ret)[i] = (struct pg_ref){item->tenant_id, refs[i]};
    return pg_refs_sort(*ret, count);
}

static struct adjust_row keep_row(struct postgres *pg, const struct adjust_row *from)
{
    struct adjust_row row = *from;

    row.adjust_id = pg_keep(pg, from->adjust_id);
    row.meter = pg_keep(pg, from->meter);
    row.counted = pg_alloc(&pg->storage, row.counted_count + 1, sizeof(*row.counted));
    memcpy(row.counted, from->counted, row.counted_count * sizeof(*row.counted));
    row.closed = pg_alloc(&pg->storage, row.closed_count + 1, sizeof(*row.closed));
    memcpy(row.closed, from->closed, row.closed_count * sizeof(*row.closed));
    return row;
}

static void add_corrections(struct pg_tx *tx, const struct adjust_item *item)
{
    for (size_t i = 0; i < item->changes_count; i++) {
        struct pg_correction *correction = pg_alloc(&tx->pg->storage, 1, sizeof(*correction));
        struct pg_change *change = pg_add(tx, PG_ADD_CORRECTION, item->tenant_id);

        correction->row = keep_row(tx->pg, &item->rows[i]);
        change->job_id = pg_keep(tx->pg, item->job_id);
        change->user = correction;
    }
}

/* What was changed while the locks were waited for may count elsewhere. */
static bool has_all(struct adjusting *adjusting)
{
    struct pg_ref *refs;
    size_t count = find_refs(adjusting, &refs);

    for (size_t i = 0; i < count; i++) {
        size_t at = 0;

        while (at < adjusting->refs_count &&
               !quota_ref_equal(adjusting->refs[at].ref, refs[i].ref))
            at++;
        if (at == adjusting->refs_count)
            return false;
    }
    return true;
}

static enum status body(struct database *db, void *user)
{
    struct adjusting *adjusting = user;
    struct adjust_item *item = &adjusting->how->item;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, adjusting->arena, LOCK_WAIT_MS);

    item->outcome = ADJUST_UNDECIDED;
    if (status != STATUS_OK)
        return status;
    read_past(db->pg, adjusting);
    adjusting->refs_count = find_refs(adjusting, &adjusting->refs);
    adjusting->book = (struct book){.arena = adjusting->arena};
    status = pg_lock(&tx, db, &adjusting->book, adjusting->refs, adjusting->refs_count);
    read_past(db->pg, adjusting);
    read_same(db->pg, adjusting);
    if (status == STATUS_OK && db->pg->timeline != db->pg->compared)
        status = STATUS_UNAVAILABLE;
    if (status == STATUS_OK && !has_all(adjusting))
        status = STATUS_CONFLICT;
    if (status == STATUS_OK)
        adjust_decide(&adjusting->book, item);
    if (status != STATUS_OK || item->outcome != ADJUST_MADE) {
        pg_rollback(&tx);
        return status;
    }
    add_corrections(&tx, item);
    pg_write(&tx, &adjusting->book);
    return pg_commit(&tx);
}

bool pg_is_corrected(struct postgres *pg, const struct pg_change *change)
{
    const struct pg_correction *new = change->user;
    const struct pg_tenant *tenant = postgres_tenant(pg, change->tenant_id);

    for (size_t bucket = 0; bucket < PG_JOB_BUCKETS; bucket++)
        for (const struct pg_job *job = tenant->jobs[bucket]; job; job = job->next)
            for (const struct pg_correction *each = job->corrections; each; each = each->next)
                if ((slice_equal(each->row.adjust_id, new->row.adjust_id) &&
                     slice_equal(each->row.meter, new->row.meter)) ||
                    (slice_equal(job->job_id, change->job_id) &&
                     each->row.number == new->row.number))
                    return true;
    return false;
}

enum status sim_adjust(struct database *db, struct arena *arena, struct ledger_adjusting *how)
{
    struct adjusting adjusting = {.arena = arena, .how = how};
    struct adjust_item *item = &how->item;
    enum status status = pg_ask(db);
    struct pg_ref *refs;

    if (status != STATUS_OK)
        return status;
    item->record = pg_facts(db->pg, arena, item->tenant_id, item->job_id).record;
    find_bindings(&adjusting);
    refs = pg_alloc(arena, item->bindings_count + 1, sizeof(*refs));
    for (size_t i = 0; i < item->bindings_count; i++)
        refs[i] = (struct pg_ref){item->tenant_id, item->bindings[i].ref};
    status = pg_make(db, arena, refs, pg_refs_sort(refs, item->bindings_count));
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    status = pg_transact(db, body, &adjusting);
    how->quotas = adjusting.book.quotas;
    how->quotas_count = adjusting.book.quotas_count;
    for (size_t i = 0; i < how->quotas_count && status == STATUS_OK; i++)
        how->quotas[i].shard = how->plan->shard;
    return status;
}
