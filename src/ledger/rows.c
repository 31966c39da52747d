/*
 * Reading the rows of the root under their locks. Every statement here gets its keys as parameters
 * and finds them by the primary key; texts are copied into the arena of the book or of the caller.
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

static int job_order(const void *a, const void *b)
{
    return rows_job_compare(a, b);
}

size_t rows_jobs_sort(struct rows_job *jobs, size_t count)
{
    size_t kept = 0;

    qsort(jobs, count, sizeof(*jobs), job_order);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || rows_job_compare(&jobs[kept - 1], &jobs[i]) != 0)
            jobs[kept++] = jobs[i];
    return kept;
}

struct rows_job *rows_jobs_find(struct rows_job *jobs, size_t count, int64_t tenant_id,
                                struct slice job_id)
{
    struct rows_job wanted = {.tenant_id = tenant_id, .job_id = job_id};
    struct rows_job *job = bsearch(&wanted, jobs, count, sizeof(*jobs), job_order);

    CHECK(job);
    return job;
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

#define QUOTA_LOCK_END " ORDER BY 1, 2, 3 FOR UPDATE OF q"

/*
 * Of several rows, each is looked up by its whole key, in the order of the parameters, which is that of
 * locks. A plain join may read all quotas that there are instead, where the table was small when the
 * statement was planned.
 */
/* clang-format off */
const struct statement rows_quota_lock[] = {
    [SQL_FORM_ROW] =
        {"rows_quota_lock_row",
         "SELECT " ROWS_QUOTA_COLUMNS " FROM " ROWS_REFS(
             SQL_ROW) " JOIN quota q ON q.tenant_id = n.tenant"
                      " AND q.limit_id = n.lim AND q.period_start_ms = n.start"
                      " JOIN limit_ l ON l.tenant_id = n.tenant AND l.limit_id = n.lim" QUOTA_LOCK_END},
    [SQL_FORM_ROWS] =
        {"rows_quota_lock_rows",
         "SELECT " ROWS_QUOTA_COLUMNS " FROM " ROWS_REFS(
             SQL_ROWS) ROWS_OF(quota, ROWS_KEY_QUOTA) " AS q" ROWS_OF(limit_, ROWS_KEY_LIMIT) " AS l"
             QUOTA_LOCK_END},
};
/* clang-format on */

void rows_refs_params(struct sql_params *params, const struct rows_ref *refs, size_t count)
{
    struct sql_array column = sql_column_begin(params, SQL_BIGINT, count, 0);

    for (size_t i = 0; i < count; i++)
        sql_array_i64(&column, refs[i].tenant_id);
    column = sql_column_begin(params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&column, refs[i].ref.limit_id);
    column = sql_column_begin(params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&column, refs[i].ref.period_start_ms);
}

void rows_quota_read(struct sql_row *row, struct quota_row *ret)
{
    *ret = (struct quota_row){.tenant_id = sql_i64(row)};
    ret->ref.limit_id = sql_i64(row);
    ret->ref.period_start_ms = sql_i64(row);
    ret->period_end_ms = sql_i64(row);
    ret->limit_name = sql_text(row);
    ret->scope = sql_text(row);
    ret->meter = sql_text(row);
    ret->period = (enum period)ledger_period(sql_i64(row));
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
    ret->seq_lost = sql_i64(row);
}

enum status rows_quota_lock_read(PGresult *result, struct book *book)
{
    struct sql_row row = sql_rows(result, book->arena);

    book->quotas = room(book->arena, &row, sizeof(*book->quotas));
    book->quotas_count = 0;
    while (sql_next(&row))
        rows_quota_read(&row, &book->quotas[book->quotas_count++]);
    return sql_done(&row);
}

/*
 * The clock comes also when there are no rows. Epochs are read without a lock: many committers sharing
 * one would starve whoever raises it. LEFT JOINs leave the planner no other order than this one.
 */
#define NOW(rows)                                                                                            \
    "SELECT c.now, n.tenant, n.lim, n.start, coalesce(a.epoch, 0), t.config_version, o.lease_id, o.granted," \
    " o.returned, o.spent, o.deadline_ms FROM (SELECT clock_timestamp() AS now) AS c LEFT JOIN (" ROWS_REFS( \
        rows) " LEFT JOIN tenant t ON t.tenant_id = n.tenant"                                                \
              " LEFT JOIN shard_authority a ON a.shard = t.shard"                                            \
              " LEFT JOIN old_lease o ON o.tenant_id = n.tenant AND o.limit_id = n.lim"                      \
              " AND o.period_start_ms = n.start) ON true"

const struct statement rows_now[] = SQL_FORMS("rows_now", NOW);

static int lease_order(const void *a, const void *b)
{
    const struct lease_row *x = a;
    const struct lease_row *y = b;
    int order = rows_ref_compare((struct rows_ref){x->tenant_id, x->ref},
                                 (struct rows_ref){y->tenant_id, y->ref});

    return order ? order : i64_compare(x->lease_id, y->lease_id);
}

/* The columns from lease_id on; they are null where there is no lease. */
static void read_lease(struct sql_row *row, const struct quota_row *quota, struct book *book)
{
    struct lease_row lease = {0};
    bool is_lease = quota && !sql_is_null(row);

    lease.lease_id = sql_i64_or(row, 0);
    lease.granted = sql_i64_or(row, 0);
    lease.returned = sql_i64_or(row, 0);
    lease.spent = sql_i64_or(row, 0);
    lease.deadline_ms = sql_i64_or(row, 0);
    if (!is_lease)
        return;
    lease.tenant_id = quota->tenant_id;
    lease.ref = quota->ref;
    book->leases[book->leases_count++] = lease;
}

enum status rows_now_read(PGresult *result, struct book *book)
{
    struct sql_row row = sql_rows(result, book->arena);

    book->leases = room(book->arena, &row, sizeof(*book->leases));
    book->leases_count = 0;
    row.bad |= sql_count(&row) == 0;
    while (sql_next(&row)) {
        int64_t now_ms = sql_time_ms(&row);
        int64_t tenant_id = sql_i64_or(&row, 0);
        struct quota_ref ref = {.limit_id = sql_i64_or(&row, 0)};
        struct quota_row *quota;
        int64_t epoch, config_version;

        ref.period_start_ms = sql_i64_or(&row, 0);
        epoch = sql_i64(&row);
        config_version = sql_i64_or(&row, 0);
        book->now_ms = now_ms;
        quota = book_find_quota(book, tenant_id, ref); /* NULL: there is no such row */
        if (quota) {
            quota->epoch = epoch;
            quota->config_version = config_version;
        }
        read_lease(&row, quota, book);
    }
    qsort(book->leases, book->leases_count, sizeof(*book->leases), lease_order);
    return sql_done(&row);
}

/* --- facts of jobs ---------------------------------------------------------------------------- */

/*
 * A look-up for each job, by the whole key whatever the planner believes of the table. Neither a plain
 * join nor a list of jobs is that: where a table was small when the statement was planned, the first may
 * be turned round and the second become a filter, and then each batch reads all that has come since.
 */
#define FIND(columns, table)                                                                       \
    "SELECT " columns " FROM (SELECT " SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(                  \
        2, text, job) ") AS n CROSS JOIN LATERAL (SELECT * FROM " table                            \
                      " WHERE tenant_id = n.tenant AND job_id = n.job OFFSET 0) AS f"

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

/* The job that a row belongs to, by its first two columns; NULL and bad if there is no such. */
static struct rows_job *next_job(struct sql_row *row, struct rows_job *jobs, size_t count)
{
    struct rows_job wanted = {.tenant_id = sql_i64(row)};
    struct rows_job *job;

    wanted.job_id = sql_text(row);
    job = bsearch(&wanted, jobs, count, sizeof(*jobs), job_order);
    if (!job)
        row->bad = true;
    return job;
}

#define LEDGER_COLUMNS                                                                             \
    "f.tenant_id, f.job_id, f.hold_epoch, f.hold_seq, f.scope, f.late, f.at, f.entry, f.meter,"    \
    " f.asked, f.amount, f.debt, f.held, f.counted"
#define LEDGER_FIND(part)                                                                          \
    {                                                                                              \
        "rows_ledger_find" part, FIND(LEDGER_COLUMNS, "ledger" part)                               \
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

/* Entries come in any order and have a number. */
static void read_entry(struct sql_row *row, struct settle_record *record)
{
    int64_t number = sql_i64(row);
    struct settle_entry *entry;

    if (row->bad || number < 0 || number >= HOLD_METERS_MAX) {
        row->bad = true;
        return;
    }
    if (record->entries_count <= (size_t)number)
        record->entries_count = (size_t)number + 1;
    entry = &record->entries[number];
    entry->meter = sql_text(row);
    entry->asked_given = !sql_is_null(row);
    entry->asked = sql_i64_or(row, 0);
    entry->amount = sql_i64(row);
    entry->debt = sql_i64(row);
    entry->held = sql_i64(row);
    if (!entry->asked_given)
        entry->asked = entry->held;
    read_counted(row, entry);
}

enum status rows_ledger_find_read(PGresult *result, struct arena *arena, struct rows_job *jobs,
                                  size_t count)
{
    struct sql_row row = sql_rows(result, arena);
    size_t entries = 0;

    while (sql_next(&row)) {
        struct rows_job *job = next_job(&row, jobs, count);
        struct settle_record *record = job ? read_record(&row, &job->facts) : NULL;

        if (record)
            read_entry(&row, record);
    }
    /* As many as the numbers say: none is missing between them. */
    for (size_t i = 0; sql_count(&row) > 0 && i < count; i++)
        if (jobs[i].facts.record)
            entries += jobs[i].facts.record->entries_count;
    row.bad |= entries != sql_count(&row);
    return sql_done(&row);
}

const struct statement rows_fence_find = {"rows_fence_find",
                                          FIND("f.tenant_id, f.job_id, f.epoch, f.hold_seq, f.at",
                                               "job_fence")};

struct fence {
    struct rows_job *job;
    struct attempt attempt;
};

static int fence_order(const void *a, const void *b)
{
    const struct fence *x = a;
    const struct fence *y = b;

    if (x->job != y->job)
        return x->job < y->job ? -1 : 1;
    if (x->attempt.epoch != y->attempt.epoch)
        return i64_compare(x->attempt.epoch, y->attempt.epoch);
    return i64_compare(x->attempt.seq, y->attempt.seq);
}

/* All fences in one array, by job; a job's facts name its part of it. */
static void share_fences(struct arena *arena, struct sql_row *row, struct fence *fences,
                         size_t count)
{
    struct attempt *attempts = room(arena, row, sizeof(*attempts));

    if (!attempts)
        return;
    qsort(fences, count, sizeof(*fences), fence_order);
    for (size_t i = 0; i < count; i++) {
        struct settle_facts *facts = &fences[i].job->facts;

        attempts[i] = fences[i].attempt;
        if (facts->fences_count++ == 0)
            facts->fences = &attempts[i];
    }
}

enum status rows_fence_find_read(PGresult *result, struct arena *arena, struct rows_job *jobs,
                                 size_t count)
{
    struct sql_row row = sql_rows(result, arena);
    struct fence *fences = room(arena, &row, sizeof(*fences));
    size_t found = 0;

    while (sql_next(&row)) {
        struct fence *fence = &fences[found++];
        int64_t at_ms;

        fence->job = next_job(&row, jobs, count);
        fence->attempt.epoch = sql_i64(&row);
        fence->attempt.seq = sql_i64(&row);
        at_ms = sql_time_ms(&row);
        if (fence->job && attempt_is_in_redis(fence->attempt) &&
            fence->job->facts.fenced_ms < at_ms)
            fence->job->facts.fenced_ms = at_ms;
    }
    if (!row.bad && found > 0)
        share_fences(arena, &row, fences, found);
    return sql_done(&row);
}

/* --- holds of jobs ---------------------------------------------------------------------------- */

const struct statement rows_placed_find = {"rows_placed_find",
                                           FIND("f.tenant_id, f.job_id, f.hold", "pg_hold")};

/* Of an attempt the text is what counts. NULL: nobody can read it, which *ret_unreadable says. */
static struct hold *read_hold(struct sql_row *row, bool *ret_unreadable)
{
    struct slice text = sql_text(row);
    struct hold *hold = NULL;

    if (!hold_parse(row->arena, text, &hold)) {
        row->bad |= hold_is_readable(text); /* it was the memory */
        hold = NULL;
    }
    *ret_unreadable = !hold;
    return hold;
}

enum status rows_placed_find_read(PGresult *result, struct arena *arena, struct rows_job *jobs,
                                  size_t count)
{
    struct sql_row row = sql_rows(result, arena);

    while (sql_next(&row)) {
        struct rows_job *job = next_job(&row, jobs, count);

        if (!job)
            break;
        job->facts.placed = read_hold(&row, &job->facts.placed_unreadable);
    }
    return sql_done(&row);
}

/* clang-format off */
#define EXPIRED_NEWEST(place)                                                                      \
    " CROSS JOIN LATERAL (SELECT hold FROM expired_hold WHERE tenant_id = n.tenant AND job_id = n.job" \
    " AND hold_seq " place " ORDER BY epoch DESC, hold_seq DESC LIMIT 1) e"
#define EXPIRED_JOBS                                                                               \
    "SELECT n.tenant, n.job, e.hold FROM (SELECT " SQL_ROWS(1, bigint, tenant) ", "                \
    SQL_ROWS(2, text, job) ") AS n"

/* The newest of each place; which of the two was made later, their texts say. */
const struct statement rows_expired_find = {
    "rows_expired_find",
    EXPIRED_JOBS EXPIRED_NEWEST("< " ROWS_PLACED_SEQ) " UNION ALL "
    EXPIRED_JOBS EXPIRED_NEWEST(">= " ROWS_PLACED_SEQ)};
/* clang-format on */

enum status rows_expired_find_read(PGresult *result, struct arena *arena, struct rows_job *jobs,
                                   size_t count)
{
    struct sql_row row = sql_rows(result, arena);

    while (sql_next(&row)) {
        struct rows_job *job = next_job(&row, jobs, count);
        bool unreadable = false;
        struct hold *hold;

        if (!job)
            break;
        hold = read_hold(&row, &unreadable);
        job->facts.expired = settle_newer(job->facts.expired, hold);
        job->facts.expired_unreadable |= unreadable;
    }
    for (size_t i = 0; i < count; i++)
        if (jobs[i].facts.expired_unreadable)
            jobs[i].facts.expired = NULL;
    return sql_done(&row);
}

/* --- blocking --------------------------------------------------------------------------------- */

enum status rows_lock_as_they_are(struct database *db, struct book *book,
                                  const struct rows_ref *refs, size_t count)
{
    struct sql_params params;
    PGresult *result;
    enum status status;
    int64_t sent_us;

    book->events = NULL;
    book->events_tail = &book->events;
    sql_params_begin(&params, book->arena);
    rows_refs_params(&params, refs, count);
    status = database_run(db, &rows_quota_lock[sql_form(count)], &params, &result);
    if (status == STATUS_OK)
        status = rows_quota_lock_read(result, book);
    if (status != STATUS_OK)
        return status;
    sent_us = database_mono_us(db);
    status = database_run(db, &rows_now[sql_form(count)], &params, &result);
    if (status == STATUS_OK)
        status = rows_now_read(result, book);
    if (status != STATUS_OK)
        return status;
    database_observe(db, book->now_ms, sent_us);
    return STATUS_OK;
}

enum status rows_lock(struct database *db, struct book *book, const struct rows_ref *refs,
                      size_t count)
{
    char what[ALARMS_TEXT_BYTES];
    enum status status = rows_lock_as_they_are(db, book, refs, count);

    if (status != STATUS_OK)
        return status;
    if (!book_audit(book, what, sizeof(what)))
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < book->bad_count; i++)
        alarms_set_aside(database_alarms(db), book->bad[i], what);
    return STATUS_OK;
}

enum status rows_lock_tenant(struct database *db, struct book *book, const struct rows_ref *refs,
                             size_t count)
{
    enum status status = rows_lock(db, book, refs, count);

    if (status == STATUS_OK && book->bad_count > 0)
        return database_corrupt(db, "the rows of the tenant contradict each other");
    return status;
}

enum status rows_facts(struct database *db, struct arena *arena, struct rows_job *jobs,
                       size_t count)
{
    return rows_facts_in(db, arena, 0, jobs, count);
}

enum status rows_facts_in(struct database *db, struct arena *arena, int ledger_part,
                          struct rows_job *jobs, size_t count)
{
    struct sql_params params;
    PGresult *result;
    enum status status;

    for (size_t i = 0; i < count; i++)
        jobs[i].facts = (struct settle_facts){0};
    sql_params_begin(&params, arena);
    rows_jobs_params(&params, jobs, count);
    /* First: whose row is gone by then, his record, fence or expired hold is there afterwards. */
    status = database_run(db, &rows_placed_find, &params, &result);
    if (status == STATUS_OK)
        status = rows_placed_find_read(result, arena, jobs, count);
    if (status == STATUS_OK)
        status = database_run(db, &rows_ledger_find[ledger_part], &params, &result);
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
