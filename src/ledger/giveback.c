/*
 * Capacity on its way back to the root: what Redis gave back, and what it is to be asked for.
 */
#include "ledger/ledger.h"
#include "ledger/locked.h"
#include "ledger/rows.h"
#include "quota/lease.h"

#define LEASE_IDS TEXT_OF(LEASE_IDS_PER_EPOCH)

/*
 * Under current leases of active shards only: an earlier lease comes home by its deadline. Rows that
 * cannot be served now must not keep others out: each tenant has its first row before any has its second,
 * in no order otherwise, and rows that somebody has locked are for a later call. The rows are locked
 * one by one, in that order, until there are enough.
 */
/* clang-format off */
static const struct statement find_recalls = {
    "giveback_recalls",
    "WITH r AS MATERIALIZED (SELECT q.place, q.tenant_id, q.limit_id, t.shard, a.epoch FROM"
    " (SELECT ctid AS place,"
    " tenant_id, limit_id, lease_id, row_number() OVER (PARTITION BY tenant_id ORDER BY random()) AS turn"
    " FROM quota WHERE recall) q"
    ROWS_OF(tenant, "tenant_id = q.tenant_id") " AS t"
    ROWS_OF(shard_authority, "shard = t.shard") " AS a"
    " WHERE a.state = 'A' AND q.lease_id / " LEASE_IDS " = a.epoch ORDER BY q.turn, random())"
    " SELECT " ROWS_QUOTA_COLUMNS ", r.shard, r.epoch FROM r"
    ROWS_OF(limit_, "tenant_id = r.tenant_id AND limit_id = r.limit_id") " AS l"
    ROWS_OF(quota, "ctid = r.place AND recall") " AS q"
    " LIMIT $1::bigint FOR UPDATE OF q SKIP LOCKED"};
/* clang-format on */

/*
 * The inner SELECT reads the index of such rows from where the last call ended, so that it costs what it
 * lists. Rows of a shard that is not active are passed over and count all the same.
 */
/* clang-format off */
static const struct statement find_lent = {
    "giveback_lent",
    "SELECT r.tenant_id, r.limit_id, r.period_start_ms, a.state IS NOT DISTINCT FROM 'A',"
    " t.shard, coalesce(a.epoch, 0), " ROWS_QUOTA_COLUMNS
    " FROM (SELECT tenant_id, limit_id, period_start_ms FROM quota WHERE lent"
    " AND (tenant_id, limit_id, period_start_ms) > ($1::bigint, $2::bigint, $3::bigint)"
    " ORDER BY tenant_id, limit_id, period_start_ms LIMIT $4::bigint) r"
    ROWS_OF(quota, "tenant_id = r.tenant_id AND limit_id = r.limit_id"
                   " AND period_start_ms = r.period_start_ms") " AS q"
    ROWS_OF(limit_, "tenant_id = r.tenant_id AND limit_id = r.limit_id") " AS l"
    ROWS_OF(tenant, "tenant_id = r.tenant_id") " AS t"
    " LEFT JOIN LATERAL (SELECT * FROM shard_authority WHERE shard = t.shard OFFSET 0) AS a ON true"
    " ORDER BY 1, 2, 3"};
/* clang-format on */

struct returning {
    struct arena *arena;
    struct ledger_return *returns;
    size_t count;
    struct rows_ref *refs;
    size_t refs_count;
    struct book book;
};

static enum status return_body(struct database *db, void *user)
{
    struct returning *returning = user;
    enum status status;

    returning->book = (struct book){.arena = returning->arena};
    status = rows_lock(db, &returning->book, returning->refs, returning->refs_count);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < returning->count; i++) {
        struct quota_row *quota = book_find_quota(&returning->book, returning->returns[i].tenant_id,
                                                  returning->returns[i].ref);

        if (quota)
            lease_ebb(quota, returning->returns[i].lease_id, returning->returns[i].returned,
                      returning->returns[i].deadline_ms, returning->returns[i].still);
    }
    return rows_write(db, &returning->book);
}

static void mark_locked(struct database *db, struct returning *returning)
{
    const struct rows_locked locked =
        rows_locked_find(db, returning->arena, returning->refs, returning->refs_count);

    for (size_t i = 0; i < returning->count; i++)
        returning->returns[i].locked = rows_locked_has(&locked, returning->returns[i].tenant_id);
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
    if (status == STATUS_CONFLICT)
        mark_locked(db, &returning);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct quota_row *quota =
            book_find_quota(&returning.book, returns[i].tenant_id, returns[i].ref);

        if (quota)
            returns[i].quota = *quota;
    }
    return status;
}

enum status ledger_recalls(struct database *db, struct arena *arena, size_t max,
                           struct quota_row **ret, size_t *ret_count)
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

enum status ledger_lent(struct database *db, struct arena *arena, struct ledger_key *after,
                        size_t max, struct quota_row **ret, size_t *ret_count, bool *ret_more)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;
    size_t count = 0;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, after->tenant_id);
    sql_add_i64(&params, after->ref.limit_id);
    sql_add_i64(&params, after->ref.period_start_ms);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, &find_lent, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    *ret_more = sql_count(&row) >= max;
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row)) {
        struct quota_row *lent = &(*ret)[count];
        int64_t epoch;
        bool active;
        int shard;

        after->tenant_id = sql_i64(&row);
        after->ref.limit_id = sql_i64(&row);
        after->ref.period_start_ms = sql_i64(&row);
        active = sql_bool(&row);
        shard = (int)sql_i64(&row);
        epoch = sql_i64(&row);
        rows_quota_read(&row, lent);
        lent->shard = shard;
        lent->epoch = epoch;
        count += active;
    }
    *ret_count = count;
    return sql_done(&row);
}
