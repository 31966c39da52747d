/*
 * First half of a reap: under the locks of all quotas of the holds, the moment up to which holds are
 * dead is fixed, and what was spent until then is read. Redis lets go of the holds only afterwards,
 * with these totals; so a commit that landed in between is never forgotten.
 *
 * Many holds of many tenants go in one transaction, each step in one statement whatever their number:
 * what tells a reap of 2,000 from one of 10 is the work in the database alone.
 */
#include "ledger/expired.h"
#include "ledger/ledger.h"
#include "ledger/locked.h"
#include "ledger/rows.h"

#include "quota/threshold.h"

#include <stdlib.h>

/* How long a late commit by job_id, and GetReservation, find an expired hold. */
#define KEEP "interval '" TEXT_OF(EXPIRED_KEEP_DAYS) " days'"

/*
 * Only of those that are in the ledger, or whose attempt is fenced. Each is looked up: an EXISTS in this
 * place may become a table of all fences that there are, made anew for each reap.
 */
static const struct statement find_ended = {
    "reap_ended",
    "SELECT n.number, coalesce(n.committed, false) FROM (SELECT n.number, (SELECT true FROM ledger l"
    " WHERE l.tenant_id = n.tenant AND l.job_id = n.job AND l.entry = 0) AS committed,"
    " (SELECT true FROM job_fence f WHERE f.tenant_id = n.tenant AND f.job_id = n.job"
    " AND f.epoch = n.epoch AND f.hold_seq = n.seq) AS fenced"
    " FROM (SELECT " SQL_ROWS(1, bigint, number) ", " SQL_ROWS(2, bigint, tenant) ", " SQL_ROWS(
        3, text,
        job) ", " SQL_ROWS(4, bigint,
                           epoch) ", " SQL_ROWS(5, bigint,
                                                seq) " OFFSET 0) AS n) AS n WHERE n.committed OR n.fenced"};

/* clang-format off */
/*
 * expired_hold, and an event for each row that is new: two servers may reap the same hold. The tenants
 * are locked by a statement before, so that their event_seq is read after it was waited for.
 */
static const struct statement insert_expired = {
    "reap_expired",
    "WITH n AS MATERIALIZED (SELECT " SQL_ROWS(1, bigint, tenant_id) ", " SQL_ROWS(2, text, job_id) ", "
    SQL_ROWS(3, bigint, epoch) ", " SQL_ROWS(4, bigint, seq) ", " SQL_ROWS(5, text, hold) ", "
    SQL_ROWS(6, bigint, deadline) "),"
    " fresh AS (INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold, deadline_ms,"
    " purge_after) SELECT n.*, clock_timestamp() + " KEEP " FROM n"
    " ON CONFLICT (tenant_id, job_id, epoch, hold_seq) DO NOTHING"
    " RETURNING tenant_id, job_id, epoch, hold_seq),"
    " " ROWS_NUMBERED("fresh") ","
    " done AS (INSERT INTO event (at, tenant_id, seq, kind, job_id, epoch, hold_seq)"
    " SELECT $7::timestamptz, f.tenant_id,"
    " b.before + row_number() OVER (PARTITION BY f.tenant_id ORDER BY f.epoch, f.hold_seq),"
    " $8::bigint, f.job_id, f.epoch, f.hold_seq FROM fresh f JOIN numbered b USING (tenant_id)) "
    ROWS_WENT_BACK};
/* clang-format on */

struct reaping {
    struct arena *arena;
    struct ledger_reap_job *jobs;
    size_t count;
    struct rows_ref *refs;
    size_t refs_count;
    struct book book;
    struct ledger_reap_job **expired; /* neither committed nor released, and due */
    size_t expired_count;
};

/* The order in which two transactions that insert the same rows wait for each other. */
static int compare_jobs(const void *a, const void *b)
{
    const struct ledger_reap_job *const *one = a, *const *other = b;

    if ((*one)->tenant_id != (*other)->tenant_id)
        return (*one)->tenant_id < (*other)->tenant_id ? -1 : 1;
    return slice_compare((*one)->job_id, (*other)->job_id);
}

static void raise_reaped_to(struct reaping *reaping)
{
    for (size_t i = 0; i < reaping->book.quotas_count; i++) {
        struct quota_row *quota = &reaping->book.quotas[i];

        if (quota->reaped_to_ms >= reaping->book.now_ms)
            continue;
        quota->reaped_to_ms = reaping->book.now_ms;
        quota->dirty = true;
    }
}

static void add_jobs(struct sql_params *params, struct ledger_reap_job *const *jobs, size_t count)
{
    struct sql_array array = sql_array_begin(params, SQL_BIGINT, count, 0);
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, jobs[i]->tenant_id);
    for (size_t i = 0; i < count; i++)
        bytes += jobs[i]->job_id.len;
    array = sql_array_begin(params, SQL_TEXT, count, bytes);
    for (size_t i = 0; i < count; i++)
        sql_array_text(&array, jobs[i]->job_id);
    array = sql_array_begin(params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, jobs[i]->hold->attempt.epoch);
    array = sql_array_begin(params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, jobs[i]->hold->attempt.seq);
}

/* Sets `committed` of the jobs, and lists who is expired. */
static enum status judge(struct database *db, struct reaping *reaping)
{
    struct ledger_reap_job **all = reaping->expired;
    struct sql_params params;
    struct sql_array array;
    struct sql_row row;
    PGresult *result;
    enum status status;
    size_t kept = 0;

    sql_params_begin(&params, reaping->arena);
    array = sql_array_begin(&params, SQL_BIGINT, reaping->count, 0);
    for (size_t i = 0; i < reaping->count; i++) {
        all[i] = &reaping->jobs[i];
        all[i]->committed = false;
        sql_array_i64(&array, (int64_t)i);
    }
    add_jobs(&params, all, reaping->count);
    status = database_run(db, &find_ended, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, reaping->arena);
    while (sql_next(&row)) {
        size_t number = (size_t)sql_i64(&row);
        bool committed = sql_bool(&row);

        if (row.bad || number >= reaping->count) {
            row.bad = true;
            break;
        }
        reaping->jobs[number].committed = committed;
        all[number] = NULL;
    }
    for (size_t i = 0; i < reaping->count; i++)
        if (all[i] && all[i]->hold->deadline_ms <= reaping->book.now_ms)
            all[kept++] = all[i];
    reaping->expired_count = kept;
    return sql_done(&row);
}

static enum status lock_tenants(struct database *db, struct arena *arena,
                                struct ledger_reap_job *const *jobs, size_t jobs_count)
{
    int64_t *tenants = arena_array(arena, jobs_count, sizeof(*tenants));
    struct sql_params params;
    size_t count = 0;

    if (!tenants)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < jobs_count; i++)
        if (count == 0 || tenants[count - 1] != jobs[i]->tenant_id)
            tenants[count++] = jobs[i]->tenant_id;
    sql_params_begin(&params, arena);
    rows_event_lock_params(&params, tenants, count);
    return database_run(db, &rows_event_lock, &params, NULL);
}

enum status reap_write_expired(struct database *db, struct arena *arena, int64_t now_ms,
                               struct ledger_reap_job **jobs, size_t count)
{
    struct sql_params params;
    struct sql_array array;
    PGresult *result;
    enum status status;
    size_t bytes = 0;

    if (count == 0)
        return STATUS_OK;
    qsort(jobs, count, sizeof(struct ledger_reap_job *), compare_jobs);
    status = lock_tenants(db, arena, jobs, count);
    if (status != STATUS_OK)
        return status;
    sql_params_begin(&params, arena);
    add_jobs(&params, jobs, count);
    for (size_t i = 0; i < count; i++)
        bytes += jobs[i]->text.len;
    array = sql_array_begin(&params, SQL_TEXT, count, bytes);
    for (size_t i = 0; i < count; i++)
        sql_array_text(&array, jobs[i]->text);
    array = sql_array_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, jobs[i]->hold->deadline_ms);
    sql_add_time_ms(&params, now_ms);
    sql_add_i64(&params, EVENT_HOLD_EXPIRED);
    status = database_run(db, &insert_expired, &params, &result);
    if (status == STATUS_OK)
        rows_event_told(result);
    return status;
}

static enum status reap_body(struct database *db, void *user)
{
    struct reaping *reaping = user;
    enum status status;

    reaping->book = (struct book){.arena = reaping->arena};
    status = rows_lock(db, &reaping->book, reaping->refs, reaping->refs_count);
    if (status == STATUS_OK && reaping->book.bad_count > 0)
        status = database_corrupt(db, "the rows of a tenant contradict each other");
    if (status == STATUS_OK)
        status = judge(db, reaping);
    if (status != STATUS_OK)
        return status;
    raise_reaped_to(reaping);
    status = rows_write(db, &reaping->book);
    return status == STATUS_OK ? reap_write_expired(db, reaping->arena, reaping->book.now_ms,
                                                    reaping->expired, reaping->expired_count)
                               : status;
}

static bool list_keys(struct reaping *reaping)
{
    size_t refs = 0;

    for (size_t i = 0; i < reaping->count; i++)
        refs += reaping->jobs[i].hold->quotas_count;
    reaping->refs = arena_array(reaping->arena, refs + 1, sizeof(*reaping->refs));
    reaping->expired =
        arena_array(reaping->arena, reaping->count, sizeof(struct ledger_reap_job *));
    if (!reaping->refs || !reaping->expired)
        return false;
    for (size_t i = 0; i < reaping->count; i++) {
        const struct ledger_reap_job *job = &reaping->jobs[i];

        for (size_t k = 0; k < job->hold->quotas_count; k++)
            reaping->refs[reaping->refs_count++] =
                (struct rows_ref){job->tenant_id, job->hold->quotas[k].quota};
    }
    reaping->refs_count = rows_refs_sort(reaping->refs, reaping->refs_count);
    return true;
}

static void mark_locked(struct database *db, struct reaping *reaping)
{
    const struct rows_locked locked =
        rows_locked_find(db, reaping->arena, reaping->refs, reaping->refs_count);

    for (size_t i = 0; i < reaping->count; i++)
        reaping->jobs[i].locked = rows_locked_has(&locked, reaping->jobs[i].tenant_id);
}

/* Who cannot be reaped is left out like one whose rows are locked. */
static enum status mark_bad(struct reaping *reaping)
{
    for (size_t i = 0; i < reaping->count; i++)
        reaping->jobs[i].locked = book_is_bad(&reaping->book, reaping->jobs[i].tenant_id);
    return STATUS_CONFLICT;
}

enum status ledger_reap_run(struct database *db, struct arena *arena, struct ledger_reap_job *jobs,
                            size_t count, int64_t *ret_reaped_to_ms, struct quota_row **ret_quotas,
                            size_t *ret_quotas_count)
{
    struct reaping reaping = {.arena = arena, .jobs = jobs, .count = count};
    enum status status;

    CHECK(count > 0);
    if (!list_keys(&reaping))
        return STATUS_EXHAUSTED;
    status = database_transact(db, reap_body, &reaping);
    if (status == STATUS_CONFLICT)
        mark_locked(db, &reaping);
    if (status == STATUS_CORRUPT && reaping.book.bad_count > 0)
        status = mark_bad(&reaping);
    if (status != STATUS_OK)
        return status;
    *ret_reaped_to_ms = reaping.book.now_ms;
    *ret_quotas = reaping.book.quotas;
    *ret_quotas_count = reaping.book.quotas_count;
    return STATUS_OK;
}
