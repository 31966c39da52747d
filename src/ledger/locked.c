#include "ledger/locked.h"

#include "ledger/rows.h"

/* clang-format off */
/*
 * What can be locked is locked, for as long as the statement runs; who is missing there is locked by
 * another. Each kind of row in the strength in which transactions here take it.
 */
static const struct statement find_locked = {
    "locked_find",
    "WITH n AS MATERIALIZED (SELECT " SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, bigint, lim) ", "
    SQL_ROWS(3, bigint, start) "),"
    " quotas AS MATERIALIZED (SELECT q.tenant_id, q.limit_id, q.period_start_ms FROM n"
    ROWS_OF(quota, ROWS_KEY_QUOTA) " AS q FOR UPDATE OF q SKIP LOCKED),"
    " limits AS MATERIALIZED (SELECT l.tenant_id, l.limit_id FROM n"
    ROWS_OF(limit_, ROWS_KEY_LIMIT) " AS l FOR SHARE OF l SKIP LOCKED),"
    " tenants AS MATERIALIZED (SELECT t.tenant_id FROM n" ROWS_OF(tenant, ROWS_KEY_TENANT)
    " AS t FOR NO KEY UPDATE OF t SKIP LOCKED),"
    " leases AS MATERIALIZED (SELECT o.tenant_id, o.limit_id, o.period_start_ms, o.lease_id FROM n"
    ROWS_OF(old_lease, ROWS_KEY_QUOTA) " AS o FOR UPDATE OF o SKIP LOCKED)"
    " SELECT n.tenant FROM n" ROWS_OF(quota, ROWS_KEY_QUOTA) " AS q WHERE NOT EXISTS (SELECT FROM quotas f"
    " WHERE f.tenant_id = n.tenant AND f.limit_id = n.lim AND f.period_start_ms = n.start)"
    " UNION SELECT n.tenant FROM n" ROWS_OF(limit_, ROWS_KEY_LIMIT) " AS l"
    " WHERE NOT EXISTS (SELECT FROM limits f WHERE f.tenant_id = n.tenant AND f.limit_id = n.lim)"
    " UNION SELECT n.tenant FROM n" ROWS_OF(tenant, ROWS_KEY_TENANT) " AS t"
    " WHERE NOT EXISTS (SELECT FROM tenants f WHERE f.tenant_id = n.tenant)"
    " UNION SELECT n.tenant FROM n" ROWS_OF(old_lease, ROWS_KEY_QUOTA) " AS o"
    " WHERE NOT EXISTS (SELECT FROM leases f WHERE f.tenant_id = o.tenant_id AND f.limit_id = o.limit_id"
    " AND f.period_start_ms = o.period_start_ms AND f.lease_id = o.lease_id)"};
/* clang-format on */

struct rows_locked rows_locked_find(struct database *db, struct arena *arena,
                                    const struct rows_ref *refs, size_t count)
{
    struct rows_locked locked = {.tenants = NULL};
    struct sql_params params;
    struct sql_array array;
    struct sql_row row;
    PGresult *result;

    sql_params_begin(&params, arena);
    array = sql_array_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, refs[i].tenant_id);
    array = sql_array_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, refs[i].ref.limit_id);
    array = sql_array_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_i64(&array, refs[i].ref.period_start_ms);
    if (database_run(db, &find_locked, &params, &result) != STATUS_OK)
        return locked;
    row = sql_rows(result, arena);
    locked.tenants = arena_array(arena, sql_count(&row) + 1, sizeof(*locked.tenants));
    row.bad = !locked.tenants;
    while (sql_next(&row))
        locked.tenants[locked.count++] = sql_i64(&row);
    if (sql_done(&row) != STATUS_OK)
        locked.count = 0;
    return locked;
}

bool rows_locked_has(const struct rows_locked *locked, int64_t tenant_id)
{
    for (size_t i = 0; i < locked->count; i++)
        if (locked->tenants[i] == tenant_id)
            return true;
    return false;
}
