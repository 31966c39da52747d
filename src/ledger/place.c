/*
 * Holds in Postgres are taken: all that the granter has queued, together, in one transaction.
 *
 * Under the locks of all their quotas the job's row of pg_hold is read before its record and fences: who has
 * ended a hold meanwhile has deleted its row in the same transaction, so what he wrote is seen. Two servers
 * that take a hold for one job in different periods have no lock in common: the key of pg_hold tells, and the
 * later one runs again.
 */
#include "ledger/ledger.h"
#include "ledger/locked.h"
#include "ledger/rows.h"
#include "quota/lease.h"

struct placing {
    struct arena *arena;
    struct ledger_place *places;
    size_t count;
    struct rows_ref *refs;
    size_t refs_count;
    struct rows_job *jobs;
    size_t jobs_count;
    struct book book;
    struct rows_placed *taken;
    size_t taken_count;
    struct lease_row *closed;
    size_t closed_count;
};

static const struct statement find_versions = {
    "place_versions",
    "SELECT tenant_id, config_version FROM tenant WHERE tenant_id = ANY($1::bigint[])"};

/* A plan that is not the root's newest may lack a limit. */
static enum status read_versions(struct database *db, struct placing *placing)
{
    struct sql_params params;
    struct sql_array array;
    struct sql_row row;
    PGresult *result;
    enum status status;
    size_t tenants = 0;

    for (size_t i = 0; i < placing->jobs_count; i++)
        tenants += i == 0 || placing->jobs[i].tenant_id != placing->jobs[i - 1].tenant_id;
    sql_params_begin(&params, placing->arena);
    array = sql_array_begin(&params, SQL_BIGINT, tenants, 0);
    for (size_t i = 0; i < placing->jobs_count; i++)
        if (i == 0 || placing->jobs[i].tenant_id != placing->jobs[i - 1].tenant_id)
            sql_array_i64(&array, placing->jobs[i].tenant_id);
    status = database_run(db, &find_versions, &params, &result);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < placing->count; i++)
        placing->places[i].stale = true;
    row = sql_rows(result, placing->arena);
    while (sql_next(&row)) {
        int64_t tenant_id = sql_i64(&row), version = sql_i64(&row);

        for (size_t i = 0; i < placing->count; i++)
            if (placing->places[i].place.tenant_id == tenant_id)
                placing->places[i].stale = placing->places[i].config_version != version;
    }
    return sql_done(&row);
}

/* The part of the ledger that all jobs are in; 0: they are in several. */
static int common_part(const struct placing *placing)
{
    for (size_t i = 1; i < placing->count; i++)
        if (placing->places[i].ledger_part != placing->places[0].ledger_part)
            return 0;
    return placing->places[0].ledger_part;
}

static void close_due(struct placing *placing)
{
    struct book *book = &placing->book;

    placing->closed_count = 0;
    for (size_t i = 0; i < book->leases_count; i++) {
        struct lease_row *lease = &book->leases[i];
        struct quota_row *quota = book_find_quota(book, lease->tenant_id, lease->ref);

        if (quota && lease_close(quota, lease, book->now_ms))
            placing->closed[placing->closed_count++] = *lease;
    }
}

static void decide(struct placing *placing)
{
    placing->taken_count = 0;
    for (size_t i = 0; i < placing->count; i++) {
        struct place *place = &placing->places[i].place;
        struct rows_job *job =
            rows_jobs_find(placing->jobs, placing->jobs_count, place->tenant_id, place->job_id);

        place->facts = &job->facts;
        place->end = PLACE_OPEN;
        if (placing->places[i].stale)
            continue;
        place_decide(&placing->book, place);
        if (place->end == PLACE_TAKEN)
            placing->taken[placing->taken_count++] =
                (struct rows_placed){place->tenant_id, place->job_id, place->hold};
    }
}

/* CONFLICT: somebody was faster to hold one of the jobs. */
static enum status write_taken(struct database *db, struct placing *placing)
{
    struct sql_params params;
    enum status status;
    size_t written;

    if (placing->taken_count == 0)
        return STATUS_OK;
    sql_params_begin(&params, placing->arena);
    rows_placed_params(&params, placing->taken, placing->taken_count);
    status = database_run_counted(db, &rows_placed_insert, &params, &written);
    return status == STATUS_OK && written != placing->taken_count ? STATUS_CONFLICT : status;
}

static enum status place_body(struct database *db, void *user)
{
    struct placing *placing = user;
    enum status status;

    placing->book = (struct book){.arena = placing->arena};
    status = rows_lock(db, &placing->book, placing->refs, placing->refs_count);
    if (status == STATUS_OK)
        status = rows_facts_in(db, placing->arena, common_part(placing), placing->jobs,
                               placing->jobs_count);
    if (status == STATUS_OK)
        status = read_versions(db, placing);
    if (status != STATUS_OK)
        return status;
    placing->closed =
        arena_array(placing->arena, placing->book.leases_count + 1, sizeof(*placing->closed));
    if (!placing->closed)
        return STATUS_EXHAUSTED;
    close_due(placing);
    decide(placing);
    status = write_taken(db, placing);
    if (status == STATUS_OK)
        status = rows_write(db, &placing->book);
    if (status == STATUS_OK)
        status = rows_leases_delete(db, placing->arena, placing->closed, placing->closed_count);
    return status;
}

static bool list_keys(struct placing *placing)
{
    size_t refs = 0;

    for (size_t i = 0; i < placing->count; i++)
        refs += placing->places[i].place.wanted->quotas_count;
    placing->refs = arena_array(placing->arena, refs + 1, sizeof(*placing->refs));
    placing->jobs = arena_array(placing->arena, placing->count, sizeof(*placing->jobs));
    placing->taken = arena_array(placing->arena, placing->count, sizeof(*placing->taken));
    if (!placing->refs || !placing->jobs || !placing->taken)
        return false;
    for (size_t i = 0; i < placing->count; i++) {
        const struct place *place = &placing->places[i].place;

        placing->places[i].locked = placing->places[i].stale = false;
        placing->jobs[i] =
            (struct rows_job){.tenant_id = place->tenant_id, .job_id = place->job_id};
        for (size_t k = 0; k < place->wanted->quotas_count; k++)
            placing->refs[placing->refs_count++] =
                (struct rows_ref){place->tenant_id, place->wanted->quotas[k].quota};
    }
    placing->jobs_count = rows_jobs_sort(placing->jobs, placing->count);
    placing->refs_count = rows_refs_sort(placing->refs, placing->refs_count);
    return true;
}

static int64_t old_leases_units(const struct book *book, const struct quota_row *quota)
{
    int64_t units = 0;

    for (size_t i = 0; i < book->leases_count; i++) {
        const struct lease_row *lease = &book->leases[i];

        if (lease->tenant_id == quota->tenant_id && quota_ref_equal(lease->ref, quota->ref))
            units += lease->granted - lease->returned - lease->spent;
    }
    return units;
}

static bool show_rows(struct placing *placing, struct ledger_place *place)
{
    const struct hold *wanted = place->place.wanted;

    place->rows = arena_array(placing->arena, wanted->quotas_count + 1, sizeof(*place->rows));
    place->old_leases_units =
        arena_array(placing->arena, wanted->quotas_count + 1, sizeof(*place->old_leases_units));
    if (!place->rows || !place->old_leases_units)
        return false;
    for (size_t i = 0; i < wanted->quotas_count; i++) {
        const struct quota_row *quota =
            book_find_quota(&placing->book, place->place.tenant_id, wanted->quotas[i].quota);

        place->rows[i] = quota ? *quota : (struct quota_row){0};
        place->old_leases_units[i] = quota ? old_leases_units(&placing->book, quota) : 0;
    }
    return true;
}

static void mark_locked(struct database *db, struct placing *placing)
{
    const struct rows_locked locked =
        rows_locked_find(db, placing->arena, placing->refs, placing->refs_count);

    for (size_t i = 0; i < placing->count; i++)
        placing->places[i].locked = rows_locked_has(&locked, placing->places[i].place.tenant_id);
}

enum status ledger_place_run(struct database *db, struct arena *arena, struct ledger_place *places,
                             size_t count, int64_t *ret_now_ms)
{
    struct placing placing = {.arena = arena, .places = places, .count = count};
    enum status status;

    CHECK(count > 0);
    if (!list_keys(&placing))
        return STATUS_EXHAUSTED;
    status = rows_make(db, arena, placing.refs, placing.refs_count, NULL);
    if (status == STATUS_OK)
        status = database_transact(db, place_body, &placing);
    if (status == STATUS_CONFLICT)
        mark_locked(db, &placing);
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        if (!show_rows(&placing, &places[i]))
            return STATUS_UNKNOWN; /* they are taken */
    *ret_now_ms = placing.book.now_ms;
    return status;
}
