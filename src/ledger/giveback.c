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
            lease_return(quota, returning->returns[i].lease_id, returning->returns[i].returned);
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
