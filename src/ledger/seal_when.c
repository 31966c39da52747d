#include "ledger/seal_when.h"

/* clang-format off */
/* Takes a transaction id: all that were taken before are below it. */
static const struct statement take_id = {
    "seal_take_id", "SELECT pg_current_xact_id()::text::bigint"};

/* The oldest that runs, seen from behind an own id: a snapshot looks no further than the last that ended. */
static const struct statement find_oldest = {
    "seal_find_oldest", "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"};
/* clang-format on */

static enum status read_number(struct database *db, struct arena *arena,
                               const struct statement *statement, int64_t *ret)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, statement, NULL, &result);

    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    row.bad = sql_count(&row) != 1;
    while (sql_next(&row))
        *ret = sql_i64(&row);
    return sql_done(&row);
}

enum status seal_find_safe(struct database *db, struct arena *arena, struct ledger_sealing *sealing,
                           int64_t *ret_now_ms, int64_t *ret_safe_ms)
{
    int64_t own = 0, oldest = 0;
    enum status status = database_clock(db, ret_now_ms);

    if (status == STATUS_OK)
        status = read_number(db, arena, &take_id, &own);
    if (status == STATUS_OK)
        status = read_number(db, arena, &find_oldest, &oldest);
    if (status != STATUS_OK)
        return status;
    *ret_safe_ms = 0;
    if (oldest >= own)
        *ret_safe_ms = *ret_now_ms;
    else if (sealing->waits_ms > 0 && oldest >= sealing->waits_for)
        *ret_safe_ms = sealing->waits_ms;
    /* Ids of another database begin anew: what is waited for would never come. */
    if (*ret_safe_ms > 0 || sealing->waits_ms == 0 || own < sealing->waits_for) {
        sealing->waits_ms = *ret_now_ms;
        sealing->waits_for = own;
    }
    return STATUS_OK;
}

/* --- how far it is ---------------------------------------------------------------------------- */

static const struct statement read_progress = {
    "seal_progress", "SELECT clock_timestamp(), (SELECT sealed_to_ms FROM seal_state),"
                     " (SELECT count(*) FROM seal WHERE gap_seq > 0)"};

enum status ledger_seals_read(struct database *db, struct ledger_seals *ret)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, &read_progress, NULL, &result);

    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    row = sql_rows(result, NULL);
    while (sql_next(&row)) {
        ret->now_ms = sql_time_ms(&row);
        ret->sealed_to_ms = sql_i64_or(&row, 0);
        ret->gaps = sql_i64(&row);
    }
    return sql_done(&row);
}
