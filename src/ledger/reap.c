/*
 * First half of a reap: under the locks of all quotas of the holds, the moment up to which holds are
 * dead is fixed, and what was spent until then is read. Redis lets go of the holds only afterwards,
 * with these totals; so a commit that landed in between is never forgotten.
 */
#include "ledger/ledger.h"
#include "ledger/rows.h"

#include <stdlib.h>

/* How long a late commit by job_id, and GetReservation, find an expired hold. */
#define KEEP "interval '7 days'"

static const struct statement insert_expired = {
    "reap_expired",
    "INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold, deadline_ms, purge_after)"
    " SELECT $1::bigint, n.*, clock_timestamp() + " KEEP " FROM unnest($2::text[], $3::bigint[],"
    " $4::bigint[], $5::text[], $6::bigint[]) AS n"
    " ON CONFLICT (tenant_id, job_id, epoch, hold_seq) DO NOTHING"
    " RETURNING job_id, epoch, hold_seq"};

struct reaping {
    struct arena *arena;
    int64_t tenant_id;
    struct ledger_reap_job *jobs;
    size_t count;
    struct rows_ref *refs;
    size_t refs_count;
    struct rows_job *facts; /* sorted by job */
    size_t facts_count;
    struct settle_book book;
    struct ledger_reap_job **expired; /* neither committed nor released, and due */
    size_t expired_count;
};

static int compare_facts(const void *a, const void *b)
{
    return rows_job_compare(a, b);
}

static int compare_jobs(const void *a, const void *b)
{
    const struct ledger_reap_job *const *one = a, *const *other = b;

    return slice_compare((*one)->job_id, (*other)->job_id);
}

static const struct settle_facts *facts_of(const struct reaping *reaping,
                                           const struct ledger_reap_job *job)
{
    struct rows_job wanted = {.tenant_id = reaping->tenant_id, .job_id = job->job_id};
    const struct rows_job *found = bsearch(&wanted, reaping->facts, reaping->facts_count,
                                           sizeof(wanted), compare_facts);

    CHECK(found);
    return &found->facts;
}

static void raise_reaped_to(struct reaping *reaping)
{
    for (size_t i = 0; i < reaping->book.quotas_count; i++) {
        struct settle_quota *quota = &reaping->book.quotas[i];

        if (quota->reaped_to_ms >= reaping->book.now_ms)
            continue;
        quota->reaped_to_ms = reaping->book.now_ms;
        quota->dirty = true;
    }
}

static void judge(struct reaping *reaping)
{
    reaping->expired_count = 0;
    for (size_t i = 0; i < reaping->count; i++) {
        struct ledger_reap_job *job = &reaping->jobs[i];
        const struct settle_facts *facts = facts_of(reaping, job);

        job->committed = facts->record != NULL;
        if (!job->committed && !settle_is_fenced(facts, job->hold->attempt) &&
            job->hold->deadline_ms <= reaping->book.now_ms)
            reaping->expired[reaping->expired_count++] = job;
    }
    qsort(reaping->expired, reaping->expired_count, sizeof(*reaping->expired), compare_jobs);
}

static void add_event(struct reaping *reaping, struct slice job_id, struct attempt attempt)
{
    struct settle_event *event = arena_zalloc(reaping->arena, sizeof(*event));

    CHECK(event);
    event->tenant_id = reaping->tenant_id;
    event->kind = EVENT_HOLD_EXPIRED;
    event->job_id = job_id;
    event->attempt = attempt;
    *reaping->book.events_tail = event;
    reaping->book.events_tail = &event->next;
}

/* An event only for rows that are new: two servers may reap the same hold. */
static enum status write_expired(struct database *db, struct reaping *reaping)
{
    struct ledger_reap_job **jobs = reaping->expired;
    size_t count = reaping->expired_count, job_bytes = 0, text_bytes = 0;
    struct sql_params params;
    struct sql_array array;
    struct sql_row row;
    PGresult *result;
    enum status status;

    if (count == 0)
        return STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        job_bytes += jobs[i]->job_id.len;
        text_bytes += jobs[i]->text.len;
    }
    sql_params_begin(&params, reaping->arena);
    sql_add_i64(&params, reaping->tenant_id);
    array = sql_array_begin(&params, SQL_TEXT, count, job_bytes);
    for (size_t i = 0; i < count; i++)
        sql_array_text(&array, jobs[i]->job_id);
    array = sql_array_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, jobs[i]->hold->attempt.epoch);
    array = sql_array_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, jobs[i]->hold->attempt.seq);
    array = sql_array_begin(&params, SQL_TEXT, count, text_bytes);
    for (size_t i = 0; i < count; i++)
        sql_array_text(&array, jobs[i]->text);
    array = sql_array_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, jobs[i]->hold->deadline_ms);
    status = database_run(db, &insert_expired, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, reaping->arena);
    while (sql_next(&row)) {
        struct slice job_id = sql_text(&row);
        struct attempt attempt = {.epoch = sql_i64(&row)};

        attempt.seq = sql_i64(&row);
        add_event(reaping, job_id, attempt);
    }
    return sql_done(&row);
}

static enum status reap_body(struct database *db, void *user)
{
    struct reaping *reaping = user;
    enum status status;

    reaping->book = (struct settle_book){.arena = reaping->arena};
    status = rows_lock(db, &reaping->book, reaping->refs, reaping->refs_count);
    if (status != STATUS_OK)
        return status;
    status = rows_facts(db, reaping->arena, reaping->facts, reaping->facts_count);
    if (status != STATUS_OK)
        return status;
    raise_reaped_to(reaping);
    judge(reaping);
    status = write_expired(db, reaping);
    return status == STATUS_OK ? rows_write(db, &reaping->book) : status;
}

static bool list_keys(struct reaping *reaping)
{
    size_t refs_max = reaping->count * HOLD_QUOTAS_MAX, kept = 0;

    reaping->refs = arena_array(reaping->arena, refs_max, sizeof(*reaping->refs));
    reaping->facts = arena_array(reaping->arena, reaping->count, sizeof(*reaping->facts));
    reaping->expired = arena_array(reaping->arena, reaping->count, sizeof(*reaping->expired));
    if (!reaping->refs || !reaping->facts || !reaping->expired)
        return false;
    for (size_t i = 0; i < reaping->count; i++) {
        const struct hold *hold = reaping->jobs[i].hold;

        for (size_t k = 0; k < hold->quotas_count; k++)
            reaping->refs[reaping->refs_count++] =
                (struct rows_ref){reaping->tenant_id, hold->quotas[k].quota};
        reaping->facts[i] = (struct rows_job){.tenant_id = reaping->tenant_id,
                                              .job_id = reaping->jobs[i].job_id};
    }
    reaping->refs_count = rows_refs_sort(reaping->refs, reaping->refs_count);
    qsort(reaping->facts, reaping->count, sizeof(*reaping->facts), compare_facts);
    for (size_t i = 0; i < reaping->count; i++)
        if (kept == 0 || rows_job_compare(&reaping->facts[kept - 1], &reaping->facts[i]) != 0)
            reaping->facts[kept++] = reaping->facts[i];
    reaping->facts_count = kept;
    return true;
}

enum status ledger_reap_run(struct database *db, struct arena *arena, int64_t tenant_id,
                            struct ledger_reap_job *jobs, size_t count, int64_t *ret_reaped_to_ms,
                            struct settle_quota **ret_quotas, size_t *ret_quotas_count)
{
    struct reaping reaping = {
        .arena = arena, .tenant_id = tenant_id, .jobs = jobs, .count = count};
    enum status status;

    CHECK(count > 0);
    if (!list_keys(&reaping))
        return STATUS_EXHAUSTED;
    status = database_transact(db, reap_body, &reaping);
    if (status != STATUS_OK)
        return status;
    *ret_reaped_to_ms = reaping.book.now_ms;
    *ret_quotas = reaping.book.quotas;
    *ret_quotas_count = reaping.book.quotas_count;
    return STATUS_OK;
}
