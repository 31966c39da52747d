/*
 * Capacity on its way back to the root: recalls, old leases whose deadline has passed, periods that
 * are over.
 */
#include "ledger/ledger.h"
#include "ledger/rows.h"
#include "quota/lease.h"

#include <string.h>

/* A period closes when no hold of it can be live or committed on time any more (protocol.md 3.8). */
#define PERIOD_GRACE "interval '24 hours 10 minutes'"

/*
 * Under current leases of active shards only: an earlier lease comes home by its deadline. In no order:
 * rows that cannot be served now must not keep others out.
 */
#define LEASE_IDS_TEXT "1048576"
_Static_assert(LEASE_IDS_PER_EPOCH == 1048576, "LEASE_IDS_TEXT says so");

static const struct statement find_recalls = {
    "giveback_recalls",
    "SELECT " ROWS_QUOTA_COLUMNS ", t.shard, a.epoch FROM " ROWS_QUOTA_TABLES
    " JOIN tenant t ON t.tenant_id = q.tenant_id JOIN shard_authority a ON a.shard = t.shard"
    " WHERE q.recall AND a.state = 'A' AND q.lease_id / " LEASE_IDS_TEXT " = a.epoch"
    " ORDER BY random() LIMIT $1::bigint"};

/* A subquery is run once, and gives a bigint: only so the comparison can use an index. */
#define MS_OF(time) "(SELECT floor(extract(epoch FROM " time ") * 1000)::bigint)"

static const struct statement find_old = {
    "giveback_old",
    "SELECT tenant_id, limit_id, period_start_ms FROM old_lease"
    " WHERE deadline_ms < " MS_OF("clock_timestamp()") " ORDER BY deadline_ms LIMIT $1::bigint"};

static const struct statement find_over = {
    "giveback_over",
    "SELECT tenant_id, limit_id, period_start_ms FROM quota WHERE state <> 'X'"
    " AND period_end_ms < " MS_OF("clock_timestamp() - " PERIOD_GRACE)
    " ORDER BY period_end_ms LIMIT $1::bigint"};

struct returning {
    struct arena *arena;
    struct ledger_return *returns;
    size_t count;
    struct rows_ref *refs;
    size_t refs_count;
    struct settle_book book;
};

static enum status return_body(struct database *db, void *user)
{
    struct returning *returning = user;
    enum status status;

    returning->book = (struct settle_book){.arena = returning->arena};
    status = rows_lock(db, &returning->book, returning->refs, returning->refs_count);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < returning->count; i++) {
        struct settle_quota *quota = settle_find_quota(
            &returning->book, returning->returns[i].tenant_id, returning->returns[i].ref);

        if (quota)
            lease_return(quota, returning->returns[i].lease_id, returning->returns[i].returned);
    }
    return rows_write(db, &returning->book);
}

enum status ledger_return_run(struct database *db, struct arena *arena,
                              struct ledger_return *returns, size_t count)
{
    struct returning returning = {.arena = arena, .returns = returns, .count = count};
    enum status status;

    if (count == 0)
        return STATUS_OK;
    returning.refs = arena_array(arena, count, sizeof(*returning.refs));
    if (!returning.refs)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < count; i++)
        returning.refs[i] =
            (struct rows_ref){.tenant_id = returns[i].tenant_id, .ref = returns[i].ref};
    returning.refs_count = rows_refs_sort(returning.refs, count);
    status = database_transact(db, return_body, &returning);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct settle_quota *quota =
            settle_find_quota(&returning.book, returns[i].tenant_id, returns[i].ref);

        if (quota)
            returns[i].quota = *quota;
    }
    return status;
}

enum status ledger_recalls(struct database *db, struct arena *arena, size_t max,
                           struct settle_quota **ret, size_t *ret_count)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;
    size_t count = 0;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, &find_recalls, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row)) {
        rows_quota_read(&row, &(*ret)[count]);
        (*ret)[count].shard = (int)sql_i64(&row);
        (*ret)[count].epoch = sql_i64(&row);
        count++;
    }
    *ret_count = count;
    return sql_done(&row);
}

/* --- closing ------------------------------------------------------------------------------------------ */

struct closing {
    struct arena *arena;
    struct rows_ref *refs;
    size_t count;
};

static enum status find(struct database *db, struct closing *closing,
                        const struct statement *statement, size_t max)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    closing->count = 0;
    sql_params_begin(&params, closing->arena);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, statement, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, closing->arena);
    closing->refs = arena_array(closing->arena, sql_count(&row) + 1, sizeof(*closing->refs));
    row.bad = !closing->refs;
    while (sql_next(&row)) {
        struct rows_ref *ref = &closing->refs[closing->count++];

        ref->tenant_id = sql_i64(&row);
        ref->ref.limit_id = sql_i64(&row);
        ref->ref.period_start_ms = sql_i64(&row);
    }
    closing->count = rows_refs_sort(closing->refs, closing->count);
    return sql_done(&row);
}

static enum status close_leases(struct database *db, void *user)
{
    struct closing *closing = user;
    struct settle_book book = {.arena = closing->arena};
    struct settle_lease *closed;
    size_t count = 0;
    enum status status = rows_lock(db, &book, closing->refs, closing->count);

    if (status != STATUS_OK)
        return status;
    closed = arena_array(closing->arena, book.leases_count + 1, sizeof(*closed));
    if (!closed)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < book.leases_count; i++) {
        struct settle_quota *quota =
            settle_find_quota(&book, book.leases[i].tenant_id, book.leases[i].ref);

        if (quota && lease_close(quota, &book.leases[i], book.now_ms))
            closed[count++] = book.leases[i];
    }
    status = rows_write(db, &book);
    return status == STATUS_OK ? rows_leases_delete(db, closing->arena, closed, count) : status;
}

/* What was lent for the period comes home, and the row takes part in nothing any more. */
static enum status close_periods(struct database *db, void *user)
{
    struct closing *closing = user;
    struct settle_book book = {.arena = closing->arena};
    enum status status = rows_lock(db, &book, closing->refs, closing->count);

    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < book.quotas_count; i++) {
        struct settle_quota *quota = &book.quotas[i];

        if (quota->state == QUOTA_CLOSED)
            continue;
        quota->returned = quota->granted - quota->spent;
        quota->leased = 0;
        quota->recall = false;
        if (quota->reaped_to_ms < book.now_ms)
            quota->reaped_to_ms = book.now_ms;
        quota->state = QUOTA_CLOSED;
        quota->dirty = true;
    }
    for (size_t i = 0; i < book.leases_count; i++)
        book.leases[i].dirty = false;
    status = rows_write(db, &book);
    return status == STATUS_OK
               ? rows_leases_delete(db, closing->arena, book.leases, book.leases_count)
               : status;
}

static enum status close_all(struct database *db, struct closing *closing, size_t max,
                             bool *ret_more)
{
    enum status status = find(db, closing, &find_old, max);

    *ret_more = closing->count == max;
    if (status == STATUS_OK && closing->count > 0)
        status = database_transact(db, close_leases, closing);
    if (status == STATUS_OK)
        status = find(db, closing, &find_over, max);
    if (status != STATUS_OK)
        return status;
    *ret_more = *ret_more || closing->count == max;
    return closing->count > 0 ? database_transact(db, close_periods, closing) : STATUS_OK;
}

enum status ledger_close_due(struct database *db, size_t max, bool *ret_more)
{
    struct arena arena;
    struct closing closing = {.arena = &arena};
    enum status status;

    arena_init(&arena, 64 * 1024, 64u << 20);
    status = close_all(db, &closing, max, ret_more);
    arena_done(&arena);
    return status;
}
