/*
 * A tenant may admit meters that no limit names. Such a meter gets an unlimited limit of its own at
 * first touch, so that a hold always has a quota row, whose lock decides its fate and whose numbers
 * say what was used.
 */
#include "ledger/audit.h"
#include "ledger/ledger.h"

#include "base/amount.h"

static const struct statement insert = {
    "limit_implicit",
    "INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited, amount,"
    " soft_percent, overage_kind, overage, cap, soft, implicit) VALUES ($1::bigint,"
    " 'unlimited.' || $2::text, '', $2::text, $3::bigint, true, $4::bigint, 90, 0, 0, $4::bigint,"
    " $4::bigint, true) ON CONFLICT (tenant_id, name) WHERE deleted_at IS NULL DO NOTHING"};

struct implicit {
    struct arena *arena;
    int64_t tenant_id;
    struct slice meter;
};

static enum status body(struct database *db, void *user)
{
    struct implicit *implicit = user;
    struct sql_params params;
    enum status status;
    size_t rows;

    sql_params_begin(&params, implicit->arena);
    sql_add_i64(&params, implicit->tenant_id);
    sql_add_text(&params, implicit->meter);
    sql_add_i64(&params, PERIOD_NEVER);
    sql_add_i64(&params, AMOUNT_MAX);
    status = database_run_counted(db, &insert, &params, &rows);
    if (status != STATUS_OK || rows == 0)
        return status;
    return audit_bump_config(db, implicit->arena, implicit->tenant_id);
}

enum status ledger_limit_implicit(struct database *db, int64_t tenant_id, struct slice meter)
{
    struct arena arena;
    struct implicit implicit = {.arena = &arena, .tenant_id = tenant_id, .meter = meter};
    enum status status;

    arena_init(&arena, 4096, 1 << 20);
    status = database_transact(db, body, &implicit);
    arena_done(&arena);
    return status;
}
