/*
 * Reading the rows of the root under their locks. Every statement here gets its keys as arrays and
 * finds them by the primary key; texts are copied into the arena of the book or of the caller.
 */
#include "ledger/rows.h"

#include <stdlib.h>

static int i64_compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

int rows_ref_compare(struct rows_ref a, struct rows_ref b)
{
    int order = i64_compare(a.tenant_id, b.tenant_id);

    return order ? order : quota_ref_compare(a.ref, b.ref);
}

static int ref_order(const void *a, const void *b)
{
    return rows_ref_compare(*(const struct rows_ref *)a, *(const struct rows_ref *)b);
}

size_t rows_refs_sort(struct rows_ref *refs, size_t count)
{
    size_t kept = 0;

    qsort(refs, count, sizeof(*refs), ref_order);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || rows_ref_compare(refs[kept - 1], refs[i]) != 0)
            refs[kept++] = refs[i];
    return kept;
}

int rows_job_compare(const struct rows_job *a, const struct rows_job *b)
{
    int order = i64_compare(a->tenant_id, b->tenant_id);

    return order ? order : slice_compare(a->job_id, b->job_id);
}

static void *room(struct arena *arena, struct sql_row *row, size_t size)
{
    size_t count = sql_count(row);
    void *memory = arena_array(arena, count ? count : 1, size);

    if (!memory)
        row->bad = true;
    return memory;
}

/* --- quota rows ------------------------------------------------------------------------------- */

#define REFS_JOIN(table)                                                                           \
    " FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n(tenant, lim, start)"              \
    " JOIN " table " q ON q.tenant_id = n.tenant AND q.limit_id = n.lim"                           \
    " AND q.period_start_ms = n.start"

const struct statement rows_quota_lock = {
    "rows_quota_lock",
    "SELECT " ROWS_QUOTA_COLUMNS REFS_JOIN("quota")
    " JOIN limit_ l ON l.tenant_id = n.tenant AND l.limit_id = n.lim"
    " ORDER BY 1, 2, 3 FOR UPDATE OF q"};

void rows_quota_lock_params(struct sql_params *params, const struct rows_ref *refs, size_t count)
{
    struct sql_array array = sql_array_begin(params, SQL_BIGINT, count, 0);

    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, refs[i].tenant_id);
    array = sql_array_begin(params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, refs[i].ref.limit_id);
    array = sql_array_begin(params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, refs[i].ref.period_start_ms);
}

void rows_quota_read(struct sql_row *row, struct settle_quota *ret)
{
    *ret = (struct settle_quota){.tenant_id = sql_i64(row)};
    ret->ref.limit_id = sql_i64(row);
    ret->ref.period_start_ms = sql_i64(row);
    ret->period_end_ms = sql_i64(row);
    ret->limit_name = sql_text(row);
    ret->scope = sql_text(row);
    ret->meter = sql_text(row);
    ret->period = (enum period)sql_i64(row);
    ret->stops.soft = sql_i64(row);
    ret->stops.amount = sql_i64(row);
    ret->stops.cap = sql_i64(row);
    ret->stops.unlimited = sql_bool(row);
    ret->committed = sql_i64(row);
    ret->debt = sql_i64(row);
    ret->pg_held = sql_i64(row);
    ret->leased = sql_i64(row);
    ret->lease_id = sql_i64(row);
    ret->granted = sql_i64(row);
    ret->returned = sql_i64(row);
    ret->spent = sql_i64(row);
    ret->lease_deadline_ms = sql_i64(row);
    ret->lease_target = sql_i64(row);
    ret->recall = sql_bool(row);
    ret->reaped_to_ms = sql_i64(row);
    ret->ledger_seq = sql_i64(row);
    ret->level = (int)sql_i64(row);
    ret->state = (enum quota_state)sql_char(row);
}

enum status rows_quota_lock_read(PGresult *result, struct settle_book *book)
{
    struct sql_row row = sql_rows(result, book->arena);

    book->quotas = room(book->arena, &row, sizeof(*book->quotas));
    book->quotas_count = 0;
    while (sql_next(&row))
        rows_quota_read(&row, &book->quotas[book->quotas_count++]);
    return sql_done(&row);
}

const struct statement rows_lease_lock = {
    "rows_lease_lock",
    "SELECT q.tenant_id, q.limit_id, q.period_start_ms, q.lease_id, q.granted, q.returned, q.spent,"
    " q.deadline_ms" REFS_JOIN("old_lease")
    " ORDER BY 1, 2, 3, 4 FOR UPDATE OF q"};

enum status rows_lease_lock_read(PGresult *result, struct settle_book *book)
{
    struct sql_row row = sql_rows(result, book->arena);

    book->leases = room(book->arena, &row, sizeof(*book->leases));
    book->leases_count = 0;
    while (sql_next(&row)) {
        struct settle_lease *lease = &book->leases[book->leases_count++];

        *lease = (struct settle_lease){.tenant_id = sql_i64(&row)};
        lease->ref.limit_id = sql_i64(&row);
        lease->ref.period_start_ms = sql_i64(&row);
        lease->lease_id = sql_i64(&row);
        lease->granted = sql_i64(&row);
        lease->returned = sql_i64(&row);
        lease->spent = sql_i64(&row);
        lease->deadline_ms = sql_i64(&row);
    }
    return sql_done(&row);
}

const struct statement rows_clock = {"rows_clock", "SELECT clock_timestamp()"};

enum status rows_clock_read(PGresult *result, int64_t *ret_now_ms)
{
    struct sql_row row = sql_rows(result, NULL);

    if (sql_next(&row))
        *ret_now_ms = sql_time_ms(&row);
    else
        row.bad = true;
    return sql_done(&row);
}

/* Read without a lock: many committers sharing one would starve whoever raises the epoch. */
const struct statement rows_epochs = {
    "rows_epochs",
    "SELECT t.tenant_id, coalesce(a.epoch, 0) FROM unnest($1::bigint[]) AS n(tenant)"
    " JOIN tenant t ON t.tenant_id = n.tenant"
    " LEFT JOIN shard_authority a ON a.shard = t.shard ORDER BY 1"};

void rows_epochs_params(struct sql_params *params, const struct rows_ref *refs, size_t count)
{
    struct sql_array array;
    size_t tenants = 0;

    for (size_t i = 0; i < count; i++)
        tenants += i == 0 || refs[i].tenant_id != refs[i - 1].tenant_id;
    array = sql_array_begin(params, SQL_BIGINT, tenants, 0);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || refs[i].tenant_id != refs[i - 1].tenant_id)
            sql_array_i64(&array, refs[i].tenant_id);
}

enum status rows_epochs_read(PGresult *result, struct settle_book *book)
{
    struct sql_row row = sql_rows(result, book->arena);
    size_t at = 0;

    while (sql_next(&row)) {
        int64_t tenant_id = sql_i64(&row);
        int64_t epoch = sql_i64(&row);

        for (; at < book->quotas_count && book->quotas[at].tenant_id <= tenant_id; at++)
            if (book->quotas[at].tenant_id == tenant_id)
                book->quotas[at].epoch = epoch;
    }
    return sql_done(&row);
}

/* --- facts of jobs ---------------------------------------------------------------------------- */

#define JOBS "unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS n(tenant, job, at)"

void rows_jobs_params(struct sql_params *params, const struct rows_job *jobs, size_t count)
{
    struct sql_array array = sql_array_begin(params, SQL_BIGINT, count, 0);
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        sql_array_i64(&array, jobs[i].tenant_id);
        bytes += jobs[i].job_id.len;
    }
    array = sql_array_begin(params, SQL_TEXT, count, bytes);
    for (size_t i = 0; i < count; i++)
        sql_array_text(&array, jobs[i].job_id);
}

/* The job that a row belongs to, by its ordinal; NULL and bad if there is no such. */
static struct rows_job *next_job(struct sql_row *row, struct rows_job *jobs, size_t count)
{
    int64_t at = sql_i64(row);

    if (at >= 1 && (size_t)at <= count)
        return &jobs[at - 1];
    row->bad = true;
    return NULL;
}

#define LEDGER_FIND(part)                                                                          \
    {                                                                                              \
        "rows_ledger_find" part,                                                                   \
        "SELECT n.at, l.hold_epoch, l.hold_seq, l.scope, l.late, l.at, l.meter, l.asked,"          \
        " l.amount, l.debt, l.held, l.counted FROM " JOBS " JOIN ledger" part " l"                 \
        " ON l.tenant_id = n.tenant AND l.job_id = n.job ORDER BY n.at, l.entry"                   \
    }

const struct statement rows_ledger_find[] = {ROWS_LEDGER_PARTS(LEDGER_FIND)};

static void read_counted(struct sql_row *row, struct settle_entry *entry)
{
    int64_t *numbers;
    size_t count = sql_i64s(row, &numbers) / 5;

    entry->counted = arena_array(row->arena, count ? count : 1, sizeof(*entry->counted));
    if (!entry->counted) {
        row->bad = true;
        return;
    }
    entry->counted_count = count;
    for (size_t i = 0; i < count; i++, numbers += 5)
        entry->counted[i] = (struct settle_counted){
            .ref = {.limit_id = numbers[0], .period_start_ms = numbers[1]},
            .ledger_seq = numbers[2],
            .amount = numbers[3],
            .debt = numbers[4],
        };
}

/* What all entries of a record share comes with each of them; the first one sets it. */
static struct settle_record *read_record(struct sql_row *row, struct settle_facts *facts)
{
    struct settle_record *record = arena_zalloc(row->arena, sizeof(*record));

    if (!record) {
        row->bad = true;
        return NULL;
    }
    record->attempt.epoch = sql_i64(row);
    record->attempt.seq = sql_i64(row);
    record->scope = sql_text(row);
    record->late = sql_bool(row);
    record->at_ms = sql_time_ms(row);
    if (!facts->record) {
        record->entries = arena_array(row->arena, HOLD_METERS_MAX, sizeof(*record->entries));
        row->bad |= !record->entries;
        facts->record = record;
    }
    return facts->record;
}

enum status rows_ledger_find_read(PGresult *result, struct arena *arena, struct rows_job *jobs,
                                  size_t count)
{
    struct sql_row row = sql_rows(result, arena);

    while (sql_next(&row)) {
        struct rows_job *job = next_job(&row, jobs, count);
        struct settle_record *record = job ? read_record(&row, &job->facts) : NULL;
        struct settle_entry *entry;

        if (!record || row.bad || record->entries_count == HOLD_METERS_MAX) {
            row.bad = true;
            break;
        }
        entry = &record->entries[record->entries_count++];
        entry->meter = sql_text(&row);
        entry->asked_given = !sql_is_null(&row);
        entry->asked = sql_i64_or(&row, 0);
        entry->amount = sql_i64(&row);
        entry->debt = sql_i64(&row);
        entry->held = sql_i64(&row);
        if (!entry->asked_given)
            entry->asked = entry->held;
        read_counted(&row, entry);
    }
    return sql_done(&row);
}

const struct statement rows_fence_find = {
    "rows_fence_find", "SELECT n.at, f.epoch, f.hold_seq FROM " JOBS
                       " JOIN job_fence f ON f.tenant_id = n.tenant AND f.job_id = n.job"
                       " ORDER BY n.at, f.epoch, f.hold_seq"};

/* All fences in one array, by job; a job's facts name its part of it. */
enum status rows_fence_find_read(PGresult *result, struct arena *arena, struct rows_job *jobs,
                                 size_t count)
{
    struct sql_row row = sql_rows(result, arena);
    struct attempt *fence = room(arena, &row, sizeof(*fence));

    while (sql_next(&row)) {
        struct rows_job *job = next_job(&row, jobs, count);

        if (!job)
            break;
        if (!job->facts.fences)
            job->facts.fences = fence;
        *fence = (struct attempt){.epoch = sql_i64(&row)};
        fence->seq = sql_i64(&row);
        fence++;
        job->facts.fences_count++;
    }
    return sql_done(&row);
}

const struct statement rows_expired_find = {
    "rows_expired_find",
    "SELECT n.at, e.hold FROM " JOBS " CROSS JOIN LATERAL (SELECT hold FROM expired_hold"
    " WHERE tenant_id = n.tenant AND job_id = n.job ORDER BY epoch DESC, hold_seq DESC LIMIT 1) e"};

enum status rows_expired_find_read(PGresult *result, struct arena *arena, struct rows_job *jobs,
                                   size_t count)
{
    struct sql_row row = sql_rows(result, arena);

    while (sql_next(&row)) {
        struct rows_job *job = next_job(&row, jobs, count);
        struct slice text = sql_text(&row);
        struct hold *hold = NULL;

        if (!job || !hold_parse(arena, text, &hold)) {
            row.bad = true;
            break;
        }
        job->facts.expired = hold;
    }
    return sql_done(&row);
}

/* --- blocking --------------------------------------------------------------------------------- */

enum status rows_lock(struct database *db, struct settle_book *book, const struct rows_ref *refs,
                      size_t count)
{
    struct sql_params params;
    PGresult *result;
    enum status status;

    book->events = NULL;
    book->events_tail = &book->events;
    sql_params_begin(&params, book->arena);
    rows_quota_lock_params(&params, refs, count);
    status = database_run(db, &rows_quota_lock, &params, &result);
    if (status == STATUS_OK)
        status = rows_quota_lock_read(result, book);
    if (status == STATUS_OK)
        status = database_run(db, &rows_lease_lock, &params, &result);
    if (status == STATUS_OK)
        status = rows_lease_lock_read(result, book);
    if (status == STATUS_OK)
        status = database_clock(db, &book->now_ms);
    if (status != STATUS_OK)
        return status;
    sql_params_begin(&params, book->arena);
    rows_epochs_params(&params, refs, count);
    status = database_run(db, &rows_epochs, &params, &result);
    return status == STATUS_OK ? rows_epochs_read(result, book) : status;
}

enum status rows_facts(struct database *db, struct arena *arena, struct rows_job *jobs,
                       size_t count)
{
    struct sql_params params;
    PGresult *result;
    enum status status;

    for (size_t i = 0; i < count; i++)
        jobs[i].facts = (struct settle_facts){0};
    sql_params_begin(&params, arena);
    rows_jobs_params(&params, jobs, count);
    status = database_run(db, &rows_ledger_find[0], &params, &result);
    if (status == STATUS_OK)
        status = rows_ledger_find_read(result, arena, jobs, count);
    if (status == STATUS_OK)
        status = database_run(db, &rows_fence_find, &params, &result);
    if (status == STATUS_OK)
        status = rows_fence_find_read(result, arena, jobs, count);
    if (status == STATUS_OK)
        status = database_run(db, &rows_expired_find, &params, &result);
    return status == STATUS_OK ? rows_expired_find_read(result, arena, jobs, count) : status;
}
